//! The tracer bullet: the real programs over real sockets, from an invite to failover.
//!
//! Simulated is nothing but the front doors, which are the test's own so that they can fail.

use std::path::{Path, PathBuf};

use harness::programs::{postern_command, run};
use harness::{Door, Fault, Gateway, Up, postern, postern_refused, posternctl, until};
use serde_json::Value;

/// A network with three front doors of the test's own, six gateways and one device.
struct Network {
    folder: tempfile::TempDir,
    doors: Vec<Door>,
    gateways: Vec<Gateway>,
    up: Up,
}

impl Network {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let mut doors = Vec::new();
        let mut arguments = vec![
            "init".to_owned(),
            "--port=0".to_owned(),
            "--heartbeat=1".to_owned(),
        ];
        for _ in 0..3 {
            let door = Door::open(&data.join("site")).await;
            arguments.push(format!("--door={}", door.url()));
            doors.push(door);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        posternctl(&data, &arguments).await;
        let up = Up::start(&data, &[]).await;
        let mut gateways = Vec::new();
        for number in 1..=6 {
            gateways.push(Gateway::start(&data, folder.path(), number).await);
        }
        let network = Self {
            folder,
            doors,
            gateways,
            up,
        };
        network.await_active(6).await;
        network
    }

    fn data(&self) -> &Path {
        &self.up.data
    }

    fn device(&self) -> PathBuf {
        self.folder.path().join("device.json")
    }

    async fn sync(&self) -> Value {
        postern(&self.device(), &["sync"]).await
    }

    fn door(&mut self, url: &str) -> &mut Door {
        self.doors
            .iter_mut()
            .find(|door| door.url() == url)
            .expect("a door of this network")
    }

    /// Waits until just `count` gateways are in service and the published catalog says so.
    async fn await_active(&self, count: usize) {
        until(&format!("{count} active gateways"), async || {
            let gateways = posternctl(self.data(), &["gateways"]).await;
            let active = gateways
                .as_array()?
                .iter()
                .filter(|gateway| gateway["state"] == "active");
            (active.count() == count && self.last_listed().await? == count).then_some(())
        })
        .await;
    }

    /// How many gateways the published catalog lists, read from the folder that doors serve.
    async fn last_listed(&self) -> Option<usize> {
        let bundle = tokio::fs::read(self.data().join("site/bundles/cohort/default"))
            .await
            .ok()?;
        let text = String::from_utf8_lossy(&bundle);
        Some(text.matches(r#""tunnel_key":"#).count())
    }

    async fn version(&self) -> u64 {
        let catalog = posternctl(self.data(), &["catalog"]).await;
        catalog["version"].as_u64().unwrap()
    }

    /// The door that the device would ask first now: a probe of the same ranking that `sync` uses.
    async fn preferred(&self) -> String {
        let report = self.sync().await;
        first(&report["outcomes"])["door"]
            .as_str()
            .unwrap()
            .to_owned()
    }

    /// Adds a gateway, so that there is something new to fetch.
    async fn change(&mut self) {
        let number = u8::try_from(self.gateways.len() + 1).unwrap();
        let gateway = Gateway::start(self.data(), self.folder.path(), number).await;
        self.gateways.push(gateway);
        self.await_active(self.gateways.len()).await;
    }
}

fn first(outcomes: &Value) -> &Value {
    let outcomes = outcomes.as_array().expect("a list");
    outcomes
        .iter()
        .min_by_key(|outcome| outcome["started_ms"].as_u64())
        .expect("a door was asked")
}

fn of_door<'a>(report: &'a Value, door: &str) -> Option<&'a Value> {
    let outcomes = report["outcomes"].as_array().expect("a list").iter();
    outcomes.rev().find(|outcome| outcome["door"] == door)
}

/// Makes the preferred door fail so, syncs, and checks that another door served and that the log
/// says what was wrong.
async fn fails_over(network: &mut Network, fault: Fault, kind: &str) {
    // A door's rest may end while a change is on its way, and then another door is asked first.
    for _ in 0..5 {
        let preferred = network.preferred().await;
        let before = network.sync().await["version"].as_u64().unwrap();
        network.change().await;
        network.door(&preferred).set(fault.clone()).await;

        let report = network.sync().await;

        network.door(&preferred).set(Fault::None).await;
        assert!(
            report["version"].as_u64().unwrap() > before,
            "{fault:?}: {report}"
        );
        let Some(outcome) = of_door(&report, &preferred) else {
            continue;
        };
        assert_ne!(report["door"], preferred.as_str(), "{fault:?}: {report}");
        assert_eq!(outcome["outcome"], "failed", "{fault:?}: {report}");
        assert_eq!(outcome["kind"], kind, "{fault:?}: {report}");
        let explained = postern(&network.device(), &["explain"]).await;
        assert!(
            explained.to_string().contains(kind),
            "{fault:?}: {explained}"
        );
        return;
    }
    panic!("{fault:?}: the door that fails was never asked first");
}

/// A copy of the whole repository as it is now.
fn copy(from: &Path, to: &Path) {
    std::fs::create_dir_all(to).unwrap();
    for entry in std::fs::read_dir(from).unwrap() {
        let entry = entry.unwrap();
        let target = to.join(entry.file_name());
        if entry.file_type().unwrap().is_dir() {
            copy(&entry.path(), &target);
        } else {
            std::fs::copy(entry.path(), target).unwrap();
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover() {
    let mut network = Network::start().await;
    let device = network.device();

    let invite = posternctl(network.data(), &["invite", "--uses", "2"]).await;
    let invite = invite["invite"].as_str().unwrap().to_owned();
    let enrolled = postern(&device, &["enroll", &invite]).await;
    let id = enrolled["device"].as_str().unwrap().to_owned();
    let synced = network.sync().await;
    assert_eq!(synced["gateways"], 6, "{synced}");
    chooses_two_hops(&device).await;

    let older = network.folder.path().join("older");
    copy(&network.data().join("site"), &older);
    fails_over(&mut network, Fault::Stopped, "refused").await;
    fails_over(&mut network, Fault::Altered, "altered").await;
    fails_over(&mut network, Fault::Older(older), "older").await;
    fails_over(&mut network, Fault::Silent, "silent").await;

    a_silent_gateway_leaves(&mut network).await;
    most_gone_at_once_are_kept(&mut network).await;
    a_revoked_device_is_refused(&network, &device, &id, &invite).await;
    every_decision_replays(&device).await;
    a_restart_forgets_nothing(network, &device, &id).await;
}

async fn chooses_two_hops(device: &Path) {
    postern(device, &["select"]).await;
    let config = postern(device, &["config"]).await;
    let text = config.to_string();
    assert_eq!(text.matches("[Peer]").count(), 2, "two hops: {config}");
    assert!(text.contains("127.0.0."), "{config}");
}

async fn a_silent_gateway_leaves(network: &mut Network) {
    let gone = network.gateways.remove(0);
    let (gone_id, left) = (gone.id.clone(), network.gateways.len());
    gone.kill().await;
    network.await_active(left).await;
    let synced = until("a catalog without it", async || {
        let report = network.sync().await;
        (report["gateways"] == left).then_some(report)
    })
    .await;
    assert_eq!(synced["stale"], false);
    let gateways = posternctl(network.data(), &["gateways"]).await;
    let state = gateways
        .as_array()
        .unwrap()
        .iter()
        .find(|gateway| gateway["id"] == gone_id.as_str());
    assert_eq!(state.unwrap()["state"], "unhealthy");
}

async fn most_gone_at_once_are_kept(network: &mut Network) {
    let listed = network.sync().await["gateways"].clone();
    for _ in 0..5 {
        network.gateways.remove(0).kill().await;
    }
    let catalog = until("the alarm", async || {
        let catalog = posternctl(network.data(), &["catalog"]).await;
        (catalog["alarms"].as_array()?.len() == 1).then_some(catalog)
    })
    .await;
    assert!(
        catalog["alarms"][0]
            .as_str()
            .unwrap()
            .contains("went quiet at once"),
        "{catalog}"
    );
    assert_eq!(network.sync().await["gateways"], listed, "the list is kept");
    let audit = posternctl(network.data(), &["audit"]).await;
    assert_eq!(
        audit.to_string().matches("alarm.raised").count(),
        1,
        "raised once"
    );
}

async fn a_revoked_device_is_refused(network: &Network, device: &Path, id: &str, invite: &str) {
    postern(device, &["status", "--online"]).await;
    posternctl(network.data(), &["devices", "revoke", id]).await;
    let (_, status) = run(postern_command(device, &["status", "--online"])).await;
    assert!(status.to_string().contains("device-revoked"), "{status}");
    // A new file with another identity takes the second use; the first identity stays shut out.
    let other = device.with_file_name("other.json");
    let second = postern(&other, &["enroll", invite]).await;
    assert_ne!(second["device"], id);
    let third = device.with_file_name("third.json");
    let refused = postern_refused(&third, &["enroll", invite]).await;
    assert_eq!(refused["error"]["kind"], "invite-used-up", "{refused}");
}

async fn every_decision_replays(device: &Path) {
    let explained = postern(device, &["explain"]).await;
    assert_eq!(explained["identical"], true, "{explained}");
    assert!(
        explained["decisions"].as_array().unwrap().len() > 8,
        "{explained}"
    );
}

async fn a_restart_forgets_nothing(network: Network, device: &Path, id: &str) {
    let version = network.version().await;
    let data = network.data().to_owned();
    let folder = network.folder;
    network.up.stop().await;

    // Nothing of the network runs now: what verifies, verifies offline.
    let verified = postern(device, &["verify", data.join("site").to_str().unwrap()]).await;
    assert_eq!(verified["version"], version, "{verified}");

    let up = Up::start(&data, &[]).await;
    let devices = posternctl(&data, &["devices"]).await;
    let revoked = devices
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["id"] == id);
    assert_eq!(revoked.unwrap()["state"], "revoked", "{devices}");
    assert!(
        posternctl(&data, &["catalog"]).await["version"]
            .as_u64()
            .unwrap()
            >= version
    );
    up.stop().await;
    drop(folder);
}
