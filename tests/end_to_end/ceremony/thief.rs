//! Online keys in the hands of a thief: what he can do with them, what bounds it, and that a rotation
//! ends it.

use std::collections::BTreeMap;
use std::fs;
use std::path::{Path, PathBuf};

use harness::{Fault, Site, postern, postern_refused, posternctl, until};
use jiff::{SignedDuration, Timestamp};
use serde_json::{Value, json};
use tuf::bundle::Bundle;
use tuf::repository::{self, Pin, TIMESTAMP_PATH, sign_catalogs, sign_snapshot, sign_timestamp};
use tuf::{PublicKey, SigningKey};

use crate::network::{Network, Trusted};

/// Beyond what the network publishes in its life, and within what `publish` follows.
const ENORMOUS: u64 = 1_000_000_000;
const BUNDLES: [&str; 2] = ["bundles/cohort/default", "bundles/trust"];

/// The online keys of `publish`, as they were when they were stolen.
struct Thief {
    catalogs: SigningKey,
    snapshot: SigningKey,
    timestamp: SigningKey,
}

impl Thief {
    fn steal(data: &Path) -> Self {
        let key = |name: &str| {
            let text = fs::read_to_string(data.join(format!("keys/online/{name}.json")));
            SigningKey::from_file_json(&text.unwrap()).unwrap()
        };
        Self {
            catalogs: key("catalogs"),
            snapshot: key("snapshot"),
            timestamp: key("timestamp"),
        }
    }

    /// What he signs over a bundle: two gateways more, one of them outside the limits, of an enormous
    /// version and good for ten years.
    fn bundle(&self, honest: &[u8], version: u64) -> Vec<u8> {
        let bundle = Bundle::read(honest).unwrap();
        let part = |end: &str| {
            let mut names = bundle.names();
            let name = names.find(|name| name.ends_with(end));
            name.map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec()))
        };
        let expires = now() + SignedDuration::from_hours(10 * 365 * 24);
        let catalog = part(".default.json").map(|(_, bytes)| with_gateways(&bytes));
        let files: BTreeMap<String, Vec<u8>> = catalog
            .iter()
            .map(|bytes| ("catalogs/default.json".to_owned(), bytes.clone()))
            .collect();
        let catalogs = sign_catalogs(version, expires, &files, &[&self.catalogs]).unwrap();
        let (targets_name, targets) = part(".targets.json").unwrap();
        let number = targets_name
            .split(['/', '.'])
            .nth(1)
            .unwrap()
            .parse()
            .unwrap();
        let (pin, pins) = (Pin::of(number, &targets), Pin::of(version, &catalogs));
        let snapshot = sign_snapshot(version, expires, &pin, &pins, &[&self.snapshot]).unwrap();
        let timestamp = self.timestamp(version, &snapshot);
        let mut parts: Vec<(String, Vec<u8>)> = bundle
            .names()
            .filter(|name| name.ends_with("root.json") || is_offline(name))
            .map(|name| (name.to_owned(), bundle.get(name).unwrap().to_vec()))
            .collect();
        parts.push((TIMESTAMP_PATH.to_owned(), timestamp));
        parts.push((repository::snapshot_path(version), snapshot));
        parts.push((repository::catalogs_path(version), catalogs));
        for (path, bytes) in files {
            let place = repository::target_paths(&path, &Pin::of(1, &bytes).sha256).swap_remove(0);
            parts.push((place, bytes));
        }
        let parts: Vec<(&str, &[u8])> = parts
            .iter()
            .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
            .collect();
        Bundle::write(&parts)
    }

    fn timestamp(&self, version: u64, snapshot: &[u8]) -> Vec<u8> {
        let expires = now() + SignedDuration::from_hours(10 * 365 * 24);
        sign_timestamp(
            version,
            expires,
            &Pin::of(version, snapshot),
            &[&self.timestamp],
        )
        .unwrap()
    }

    /// A copy of what is published with what he signs in it.
    async fn site(&self, network: &Network, version: u64) -> PathBuf {
        let folder = network.folder.path().join(format!("thief-{version}"));
        Site::Folder(network.data.join("site")).copy(&folder).await;
        for path in BUNDLES {
            let path = folder.join(path);
            let planted = self.bundle(&fs::read(&path).unwrap(), version);
            fs::write(&path, planted).unwrap();
        }
        folder
    }
}

fn is_offline(name: &str) -> bool {
    [
        ".targets.json",
        ".limits.json",
        ".trust.json",
        ".recovery-kit.json",
    ]
    .iter()
    .any(|end| name.ends_with(end))
}

fn with_gateways(catalog: &[u8]) -> Vec<u8> {
    let mut catalog: Value = serde_json::from_slice(catalog).unwrap();
    let gateway = |id: &str, endpoint: &str| {
        json!({"id": id, "role": "ingress", "region": "thief", "endpoint": endpoint,
            "tunnel_key": "AAECAwQFBgcICQoLDA0ODxAREhMUFRYXGBkaGxwdHh8=", "load": 0})
    };
    let slices = catalog["slices"].as_array_mut().unwrap();
    slices.push(json!({"kind": "open", "gateways": [
        gateway("g-inside", "127.0.0.99:51820"), gateway("g-outside", "198.51.100.7:51820")]}));
    catalog.to_string().into_bytes()
}

#[allow(
    clippy::disallowed_methods,
    reason = "the programs' times are the system's, and what the thief signs must be good then"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thief_of_the_online_keys_did_is_bounded_and_ends_with_a_rotation() {
    let mut network = Network::start(2).await;
    let device = network.device("device");
    let thief = Thief::steal(&network.data);
    let planted = thief.site(&network, ENORMOUS).await;

    // Only the thief's door answers.
    network.doors[0].set(Fault::Stopped).await;
    network.doors[1].set(Fault::Older(planted.clone())).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["version"], ENORMOUS, "{report}");
    assert_eq!(
        report["gateways"], 3,
        "what is outside the signed limits is left out: {report}"
    );
    assert!(
        report["skipped"].to_string().contains("g-outside"),
        "{report}"
    );
    for gateway in &network.gateways {
        let file = network.folder.path().join(&gateway.id).join("gateway.json");
        until("a gateway that was led on", async || {
            let trusted = Trusted::of(&file)?;
            (trusted.timestamp == ENORMOUS).then_some(())
        })
        .await;
    }

    // The honest doors are back, and all that they serve seems old.
    for door in &mut network.doors {
        door.set(Fault::None).await;
    }
    let refused = postern_refused(&device, &["sync"]).await.to_string();
    assert!(refused.contains("older"), "{refused}");
    let status = postern(&device, &["status"]).await;
    assert_eq!(
        status["catalog"]["gateways"], 3,
        "it is not stuck: {status}"
    );

    let rotation = [
        "--rotate=timestamp",
        "--rotate=snapshot",
        "--rotate=catalogs",
    ];
    network
        .ceremony("theft", &rotation, &["root", "targets"])
        .await;
    let version = network.await_published().await;
    assert!(
        version < ENORMOUS,
        "what the thief signed is not followed: {version}"
    );
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["gateways"], 2, "{report}");
    let trusted = Trusted::of(&device).unwrap();
    assert!(
        trusted.timestamp < ENORMOUS && trusted.root == 2,
        "{trusted:?}"
    );
    network.await_gateways().await;
    network.assert_in_service().await;

    // What he serves now is refused, alone and beside an honest door.
    network.doors[1].set(Fault::Older(planted)).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["gateways"], 2, "{report}");
    network.doors[0].set(Fault::Stopped).await;
    postern_refused(&device, &["sync"]).await;
    network.up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_a_thief_plants_on_a_mirror_neither_ends_publishing_nor_outlives_a_rotation() {
    let network = Network::start(1).await;
    let thief = Thief::steal(&network.data);
    let path = network.data.join("site").join(TIMESTAMP_PATH);
    let plant = |version: u64| {
        fs::write(
            &path,
            thief.timestamp(version, b"a snapshot that nobody has"),
        )
        .unwrap();
    };
    let served = || {
        let bytes = fs::read(&path).ok()?;
        let timestamp: Value = serde_json::from_slice(&bytes).ok()?;
        timestamp["signed"]["version"].as_u64()
    };

    // So far ahead is nobody but a thief: it is replaced, and not followed.
    for version in [u64::MAX, u64::MAX - 1, 1 << 50] {
        plant(version);
        until("the right timestamp", async || {
            (served()? < 1_000).then_some(())
        })
        .await;
    }
    // So far ahead another publisher could be: ours goes beyond, so that clients take it.
    plant(ENORMOUS);
    until("a version beyond", async || {
        (served()? > ENORMOUS).then_some(())
    })
    .await;
    let report = postern(&network.device("device"), &["sync"]).await;
    assert!(report["version"].as_u64().unwrap() > ENORMOUS, "{report}");

    network
        .ceremony("theft", &["--rotate=timestamp"], &["root"])
        .await;
    let version = network.await_published().await;
    for ahead in [2 * ENORMOUS, u64::MAX] {
        plant(ahead);
        until("the right timestamp", async || {
            let served = served()?;
            (served >= version && served < ahead).then_some(())
        })
        .await;
    }
    let catalog = posternctl(&network.data, &["status"]).await;
    assert!(
        catalog["version"].as_u64().unwrap() < 2 * ENORMOUS,
        "{catalog}"
    );
    postern(&network.device("device"), &["sync"]).await;
    network.assert_in_service().await;
    network.up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_stolen_config_key_is_trusted_by_no_gateway_after_its_rotation() {
    let network = Network::start(1).await;
    let stolen = fs::read_to_string(network.data.join("keys/online/config.json")).unwrap();
    let stolen = SigningKey::from_file_json(&stolen).unwrap().public();

    network
        .ceremony("theft", &["--rotate=config"], &["targets"])
        .await;
    network.await_gateways().await;

    let PublicKey::Ed25519(bytes) = stolen else {
        panic!("config keys are Ed25519");
    };
    let stolen = model::IdentityKey::from_bytes(bytes).to_string();
    for gateway in &network.gateways {
        let file = network.folder.path().join(&gateway.id).join("gateway.json");
        let state: Value = serde_json::from_slice(&fs::read(file).unwrap()).unwrap();
        let trust = state["trusted"]["files"]["trust.json"].as_str().unwrap();
        assert!(
            trust.contains("config_keys") && !trust.contains(&stolen),
            "{trust}"
        );
    }
    network.assert_in_service().await;
    network.up.stop().await;
}
