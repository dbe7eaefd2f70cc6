use super::*;
use crate::fixture::{NOW, Repository, gateway, later};
use crate::select::select;

/// A repository with one gateway of each role, and another ingress that is not listed yet.
fn repository() -> Repository {
    let mut repository = Repository::default();
    repository
        .gateways
        .retain(|gateway| !gateway.id.as_str().contains('2'));
    repository
}

/// A device whose configs were written into `folder`.
fn issued_into(folder: &std::path::Path) -> Device {
    let mut device = repository().synced_device();
    select(&mut device, &Request::default(), NOW).unwrap();
    let configs = tunnel::configs(&device, NOW).unwrap();
    for (role, name) in [(Role::Ingress, "outer"), (Role::Egress, "inner")] {
        let file = folder.join(name);
        std::fs::write(&file, configs.of(role).0).unwrap();
        let changes = issued(&mut device, &configs, role, Some(file));
        assert_eq!(changes, [], "there was none before");
    }
    device
}

/// The device after it verified this repository.
fn after(mut device: Device, repository: &Repository) -> Device {
    device.trusted = repository.synced_device().trusted;
    device
}

fn text(reissued: &Reissued) -> Vec<String> {
    reissued.changes.iter().map(ToString::to_string).collect()
}

#[test]
fn nothing_is_written_where_nothing_changed() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = issued_into(folder.path());
    let before = device.issued.clone();
    std::fs::remove_file(folder.path().join("outer")).unwrap();

    assert_eq!(reissue(&mut device, later(1)).unwrap(), None);

    assert_eq!(device.issued, before);
    assert!(!folder.path().join("outer").exists());
}

#[test]
fn a_gateway_s_new_key_is_said_and_only_its_config_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let device = issued_into(folder.path());
    let inner = std::fs::read(folder.path().join("inner")).unwrap();
    let mut repository = repository();
    repository.gateways[0].tunnel_key = gateway("g-0009", Role::Ingress, "192.0.2.9").tunnel_key;
    let mut device = after(device, &repository);

    let reissued = reissue(&mut device, NOW).unwrap().unwrap();

    assert_eq!(
        text(&reissued),
        ["the ingress gateway g-in1a has a new key"]
    );
    assert_eq!(reissued.files, [folder.path().join("outer")]);
    let outer = std::fs::read_to_string(folder.path().join("outer")).unwrap();
    let key = repository.gateways[0].tunnel_key.to_string();
    assert!(outer.contains(&key), "{outer}");
    assert_eq!(std::fs::read(folder.path().join("inner")).unwrap(), inner);
    assert_eq!(reissue(&mut device, NOW).unwrap(), None, "it is said once");
}

#[test]
fn an_egress_that_moved_changes_both_tunnels() {
    let folder = tempfile::tempdir().unwrap();
    let device = issued_into(folder.path());
    let mut repository = repository();
    repository.gateways[1].endpoint = "192.0.2.99:7".parse().unwrap();
    let mut device = after(device, &repository);

    let reissued = reissue(&mut device, NOW).unwrap().unwrap();

    assert_eq!(
        text(&reissued),
        [
            "the outer tunnel carries the way to 192.0.2.99 now",
            "the egress gateway g-out1 moved to 192.0.2.99:7",
        ]
    );
    let outer = std::fs::read_to_string(folder.path().join("outer")).unwrap();
    assert!(outer.contains("AllowedIPs = 192.0.2.99/32"), "{outer}");
}

#[test]
fn a_gateway_that_left_is_replaced_by_the_best_that_is_listed() {
    let folder = tempfile::tempdir().unwrap();
    let device = issued_into(folder.path());
    let mut repository = Repository::default();
    repository
        .gateways
        .retain(|gateway| gateway.id.as_str() != "g-in1a");
    let mut device = after(device, &repository);

    let reissued = reissue(&mut device, NOW).unwrap().unwrap();

    assert_eq!(
        text(&reissued)[0],
        "the ingress gateway is now g-in2a, it was g-in1a"
    );
    let selection = device.selection.unwrap();
    assert_eq!(selection.ingress.id.as_str(), "g-in2a");
    assert_eq!(selection.egress.id.as_str(), "g-out1", "it is good still");
}

#[test]
fn own_new_keys_change_both_tunnels_and_a_printed_config_is_to_be_made_by_hand() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = issued_into(folder.path());
    device.issued.inner.as_mut().unwrap().file = None;
    device.tunnel = api::WireGuardSecret::from_random([8; 32]);
    device.exit = api::WireGuardSecret::from_random([9; 32]);

    let reissued = reissue(&mut device, NOW).unwrap().unwrap();

    assert_eq!(
        text(&reissued),
        [
            "this device's key for the ingress gateway is new",
            "this device's key for the egress gateway is new",
        ]
    );
    assert_eq!(reissued.files.len(), 1);
    assert!(reissued.by_hand);
}

#[test]
fn what_cannot_be_written_is_an_error_and_is_tried_again() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = issued_into(folder.path());
    device.tunnel = api::WireGuardSecret::from_random([8; 32]);
    let gone = folder.path().join("gone/outer");
    device.issued.outer.as_mut().unwrap().file = Some(gone.clone());

    let error = reissue(&mut device, NOW).unwrap_err();
    std::fs::create_dir(folder.path().join("gone")).unwrap();
    let again = reissue(&mut device, NOW).unwrap().unwrap();

    assert!(error.to_string().contains("gone"), "{error}");
    assert_eq!(again.files, [gone]);
}

#[test]
fn a_device_that_never_wrote_a_config_is_left_alone() {
    let mut device = Repository::default().device(&[]);
    assert_eq!(reissue(&mut device, NOW).unwrap(), None);
}

#[test]
fn a_config_that_is_printed_as_well_is_written_anew_all_the_same() {
    let folder = tempfile::tempdir().unwrap();
    let device = issued_into(folder.path());
    let mut repository = repository();
    repository.gateways[0].tunnel_key = gateway("g-0009", Role::Ingress, "192.0.2.9").tunnel_key;
    let mut device = after(device, &repository);

    let configs = tunnel::configs(&device, NOW).unwrap();
    let printed = issued(&mut device, &configs, Role::Ingress, None);
    let reissued = reissue(&mut device, NOW).unwrap().unwrap();

    assert_eq!(printed, reissued.changes);
    assert_eq!(reissued.files, [folder.path().join("outer")]);
}

#[test]
fn a_config_whose_folder_is_gone_is_given_up_where_it_is_printed() {
    let folder = tempfile::tempdir().unwrap();
    let mut device = issued_into(folder.path());
    drop(folder);

    let configs = tunnel::configs(&device, NOW).unwrap();
    issued(&mut device, &configs, Role::Ingress, None);

    assert_eq!(device.issued.outer.unwrap().file, None);
    assert!(device.issued.inner.unwrap().file.is_some());
}
