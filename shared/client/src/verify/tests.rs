use super::*;
use crate::fixture::{NOW, Repository, later};

/// The repository in a folder, without `gone`.
fn folder(repository: &Repository, gone: impl Fn(&str) -> bool) -> tempfile::TempDir {
    let folder = tempfile::tempdir().unwrap();
    for (name, bytes) in repository.files() {
        if !gone(&name) {
            write(folder.path(), &name, &bytes);
        }
    }
    folder
}

fn write(folder: &Path, name: &str, bytes: &[u8]) {
    let path = folder.join(name);
    std::fs::create_dir_all(path.parent().unwrap()).unwrap();
    std::fs::write(path, bytes).unwrap();
}

fn by_invite(repository: &Repository) -> Basis {
    Basis::of_contact(repository.invite(&[], &[]).contact)
}

/// With all the files that are checked in its own state.
fn by_device(repository: &Repository) -> Basis {
    Basis::of_device(&repository.synced_device())
}

fn kind(basis: &Basis, path: &Path) -> String {
    basis.verify(path, NOW).unwrap_err().kind().to_owned()
}

fn listed(gateways: usize) -> Vec<Listed> {
    let catalog = "default".parse().unwrap();
    let sealed = tuf::slices::Sealed::default();
    vec![Listed {
        catalog,
        gateways,
        sealed,
    }]
}

#[test]
fn a_folder_and_a_bundle_verify_alike_and_an_altered_one_does_not() {
    let repository = Repository::default();
    let folder = folder(&repository, |_| false);
    let bundle = folder.path().join("bundle");
    for basis in [by_invite(&repository), by_device(&repository)] {
        std::fs::write(&bundle, repository.bundle()).unwrap();
        let of_folder = basis.verify(folder.path(), NOW).unwrap();
        let of_bundle = basis.verify(&bundle, NOW).unwrap();
        assert_eq!((of_folder.version, of_folder.catalogs), (3, listed(4)));
        assert_eq!((of_bundle.version, of_bundle.catalogs), (3, listed(4)));
        assert_eq!((of_folder.files, of_bundle.files), (4, 3));
        assert_eq!(of_folder.changed, basis.trusted.is_none());

        let mut bytes = repository.bundle();
        let middle = bytes.len() / 2;
        bytes[middle] ^= 1;
        std::fs::write(&bundle, bytes).unwrap();
        assert_eq!(kind(&basis, &bundle), "altered");
        let expired = basis.verify(folder.path(), later(25));
        assert_eq!(expired.unwrap_err().kind(), "expired");
    }
}

#[test]
fn a_gutted_folder_is_refused_whatever_the_device_holds_itself() {
    let repository = Repository::default();
    for basis in [by_invite(&repository), by_device(&repository)] {
        let only_timestamp = folder(&repository, |name| !name.ends_with("timestamp.json"));
        assert_eq!(kind(&basis, only_timestamp.path()), "missing");
        let no_targets = folder(&repository, |name| name.starts_with("targets/"));
        assert_eq!(kind(&basis, no_targets.path()), "missing");
    }
}

#[test]
fn every_single_file_that_is_missing_or_garbage_is_found() {
    let repository = Repository::default();
    for basis in [by_invite(&repository), by_device(&repository)] {
        for (name, bytes) in repository.files() {
            let lacking = folder(&repository, |other| other == name);
            assert_eq!(kind(&basis, lacking.path()), "missing", "{name}");

            let garbage = folder(&repository, |_| false);
            write(garbage.path(), &name, &vec![b'x'; bytes.len()]);
            let error = basis.verify(garbage.path(), NOW);
            assert!(error.is_err(), "{name} is garbage");
        }
    }
}

#[test]
fn a_part_that_a_bundle_lacks_is_found_though_the_device_holds_it() {
    let repository = Repository::default();
    let files = repository.files();
    let place = tempfile::tempdir().unwrap();
    for gone in files
        .keys()
        .filter(|name| name.starts_with("targets/") && !name.ends_with("trust.json"))
    {
        let parts: Vec<_> = files
            .iter()
            .filter(|(name, _)| *name != gone)
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        write(
            place.path(),
            "bundles/cohort/default",
            &Bundle::write(&parts),
        );
        let bundle = place.path().join("bundles/cohort/default");
        assert_eq!(kind(&by_device(&repository), &bundle), "missing", "{gone}");
    }
}

#[test]
fn a_bundle_for_gateways_lists_none() {
    let repository = Repository::default();
    let place = tempfile::tempdir().unwrap();
    let files = repository.files();
    let parts: Vec<_> = files
        .iter()
        .filter(|(name, _)| !name.contains("catalogs/"))
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    write(place.path(), "bundles/trust", &Bundle::write(&parts));
    let bundle = place.path().join("bundles/trust");

    let report = by_device(&repository).verify(&bundle, NOW).unwrap();
    assert_eq!(report.catalogs, []);
    let insists = by_device(&repository).for_catalog("default".parse().unwrap());
    assert_eq!(kind(&insists, &bundle), "missing");
}

#[test]
fn what_is_older_than_the_device_knows_is_refused() {
    let newer = Repository {
        version: 4,
        ..Repository::default()
    };
    let folder = folder(&Repository::default(), |_| false);
    assert_eq!(kind(&by_device(&newer), folder.path()), "older");
    assert!(by_invite(&newer).verify(folder.path(), NOW).is_ok());
}

#[test]
fn a_cohort_that_is_insisted_on_must_be_there() {
    let repository = Repository::default();
    let folder = folder(&repository, |_| false);
    let basis = by_invite(&repository).for_catalog("early".parse().unwrap());
    assert_eq!(kind(&basis, folder.path()), "missing");
}

#[test]
fn a_bundle_in_its_place_says_whose_it_is() {
    let catalog = catalog_of(Path::new("/mirror/bundles/cohort/early"));
    assert_eq!(catalog, Some("early".parse().unwrap()));
    assert_eq!(catalog_of(Path::new("/mirror/bundles/trust")), None);
}

#[test]
fn no_name_leads_out_of_the_folder() {
    let folder = tempfile::tempdir().unwrap();
    for name in ["../x", "/etc/passwd", "a//b", "a/./b", "a\\..\\b"] {
        assert!(read(folder.path(), name, 10).is_err(), "{name}");
    }
}
