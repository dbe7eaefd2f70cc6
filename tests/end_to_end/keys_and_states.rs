//! Keys and states by the real programs: devices and gateways take new keys when an operator asks,
//! gateways drain, come back and retire, and the device's tunnel configs follow by themselves.

use std::path::{Path, PathBuf};

use harness::{Gateway, Up, postern, postern_refused, posternctl, until};
use serde_json::{Value, json};

/// A network with two gateways of each role, and an enrolled device that has written its configs.
struct Network {
    folder: tempfile::TempDir,
    up: Up,
    /// Their agents, which run as long as they are held.
    _gateways: Vec<Gateway>,
    id: String,
}

impl Network {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        posternctl(&data, &["init", "--port=0", "--heartbeat=1"]).await;
        let up = Up::start(&data, &[]).await;
        let mut gateways = Vec::new();
        for number in 1..=4 {
            gateways.push(Gateway::start(&data, folder.path(), number).await);
        }
        let device = folder.path().join("device.json");
        let enrolled = postern(&device, &["enroll", &up.invite]).await;
        let id = enrolled["device"].as_str().unwrap().to_owned();
        let network = Self {
            folder,
            up,
            _gateways: gateways,
            id,
        };
        network.await_listed(4).await;
        postern(&device, &["select"]).await;
        let tunnels = network.folder.path().join("tunnels");
        postern(&device, &["config", "--out", tunnels.to_str().unwrap()]).await;
        network
    }

    fn device(&self) -> PathBuf {
        self.folder.path().join("device.json")
    }

    async fn operate(&self, arguments: &[&str]) -> Value {
        posternctl(&self.up.data, arguments).await
    }

    async fn sync(&self) -> Value {
        postern(&self.device(), &["sync", "--contact"]).await
    }

    async fn await_listed(&self, count: usize) {
        until(&format!("{count} gateways in the catalog"), async || {
            let report = postern(&self.device(), &["sync"]).await;
            (report["gateways"] == count).then_some(())
        })
        .await;
    }

    /// The next sync that writes configs anew, with what it says.
    async fn await_reissue(&self) -> Value {
        until("configs that are written anew", async || {
            let report = self.sync().await;
            (!report["reissued"].is_null()).then_some(report["reissued"].clone())
        })
        .await
    }

    /// The field behind `name = ` in a tunnel's config.
    fn config(&self, tunnel: &str, name: &str) -> String {
        let path = self
            .folder
            .path()
            .join(format!("tunnels/postern-{tunnel}.conf"));
        let text = std::fs::read_to_string(path).unwrap();
        let start = format!("{name} = ");
        let line = text.lines().find_map(|line| line.strip_prefix(&start));
        line.unwrap_or_else(|| panic!("no '{name}' in {text}"))
            .to_owned()
    }

    /// The gateway in use that the outer tunnel enters at, as the control plane knows it.
    async fn ingress(&self) -> Value {
        let status = postern(&self.device(), &["status"]).await;
        let id = status["selection"]["ingress"]["id"].as_str().unwrap();
        self.gateway(id).await
    }

    async fn gateway(&self, id: &str) -> Value {
        let all = self.operate(&["gateways"]).await;
        let all = all.as_array().unwrap().iter();
        let mut one = all.filter(|gateway| gateway["id"] == id);
        one.next().unwrap().clone()
    }
}

fn copy(from: &Path, to: &str) -> PathBuf {
    let to = from.with_file_name(to);
    std::fs::copy(from, &to).unwrap();
    to
}

fn whats(reissued: &Value) -> Vec<String> {
    let changes = reissued["changes"].as_array().unwrap().iter();
    changes
        .map(|change| change["what"].as_str().unwrap().to_owned())
        .collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_and_states_change_and_the_configs_follow() {
    let network = Network::start().await;

    an_operator_has_the_device_take_new_keys(&network).await;
    the_device_takes_new_keys_of_itself(&network).await;
    a_gateway_takes_new_keys(&network).await;
    a_drained_gateway_is_left_and_a_retired_one_is_gone(&network).await;
    a_device_hears_of_another_catalog(&network).await;

    let audit = network.operate(&["audit"]).await.to_string();
    for (action, times) in [
        ("device.rotation-wanted", 1),
        ("device.rotated", 2),
        ("gateway.rotation-wanted", 1),
        ("gateway.rotated", 1),
        ("gateway.draining", 2),
        ("gateway.retired", 1),
    ] {
        let action = format!("\"{action}\"");
        assert_eq!(audit.matches(&action).count(), times, "{action}");
    }
    network.up.stop().await;
}

async fn an_operator_has_the_device_take_new_keys(network: &Network) {
    let first = copy(&network.device(), "first.json");
    let before = network.config("outer", "PrivateKey");
    network
        .operate(&["devices", "rotate", network.id.as_str()])
        .await;

    let report = network.sync().await;

    assert_eq!(report["rotation"]["resumed"], false, "{report}");
    assert_eq!(
        whats(&report["reissued"]),
        ["own-key", "own-key"],
        "{report}"
    );
    assert_ne!(network.config("outer", "PrivateKey"), before);
    let again = network.sync().await;
    assert_eq!(
        (&again["rotation"], &again["reissued"]),
        (&Value::Null, &Value::Null)
    );
    // Within the grace the keys from before are answered, and told that they were replaced.
    let old = postern(&first, &["sync", "--contact"]).await;
    assert_eq!(old["contact"]["state"], "other-keys", "{old}");
    let refused = postern_refused(&first, &["rotate"]).await;
    assert_eq!(refused["error"]["kind"], "device-conflict", "{refused}");
}

async fn the_device_takes_new_keys_of_itself(network: &Network) {
    let second = copy(&network.device(), "second.json");

    let rotated = postern(&network.device(), &["rotate"]).await;

    assert_eq!(rotated["device"], network.id.as_str());
    assert_eq!(whats(&rotated["reissued"]), ["own-key", "own-key"]);
    // One set of old keys at a time: the first ones have ended.
    let first = second.with_file_name("first.json");
    let ended = postern(&first, &["status", "--online"]).await;
    assert!(ended.to_string().contains("device-unknown"), "{ended}");
    let graced = postern(&second, &["status", "--online"]).await;
    assert_eq!(graced["online"]["answer"]["state"], "active", "{graced}");
}

async fn a_gateway_takes_new_keys(network: &Network) {
    let ingress = network.ingress().await;
    let (id, before) = (ingress["id"].as_str().unwrap(), &ingress["keys"]["tunnel"]);
    assert_eq!(
        network.config("outer", "PublicKey"),
        before.as_str().unwrap()
    );

    network.operate(&["gateways", "rotate", id]).await;
    let reissued = network.await_reissue().await;

    assert_eq!(whats(&reissued), ["gateway-key"], "{reissued}");
    let after = network.gateway(id).await;
    assert_ne!(&after["keys"]["tunnel"], before);
    assert_eq!(
        network.config("outer", "PublicKey"),
        after["keys"]["tunnel"].as_str().unwrap()
    );
    assert_eq!(after["state"], "active");
    assert_eq!(after["rotation_wanted_at"], Value::Null);
}

async fn a_drained_gateway_is_left_and_a_retired_one_is_gone(network: &Network) {
    let ingress = network.ingress().await;
    let id = ingress["id"].as_str().unwrap();
    network.operate(&["gateways", "drain", id]).await;

    let reissued = network.await_reissue().await;

    assert_eq!(whats(&reissued), ["gateway"], "{reissued}");
    assert_eq!(reissued["changes"][0]["from"], id);
    network.operate(&["gateways", "undrain", id]).await;
    network.await_listed(4).await;
    assert_ne!(network.ingress().await["id"], id, "a change has its price");
    network.operate(&["gateways", "drain", id]).await;
    network.operate(&["gateways", "retire", id]).await;
    network.await_listed(3).await;
    assert_eq!(network.gateway(id).await["keys"], Value::Null);
}

/// A policy that names the device's tag gives it a catalog of its own.
async fn a_device_hears_of_another_catalog(network: &Network) {
    let invite = network.operate(&["invite", "--tags", "press"]).await;
    let press = network.folder.path().join("press.json");
    postern(&press, &["enroll", invite["invite"].as_str().unwrap()]).await;
    let shown = network.operate(&["policy", "show"]).await;
    let mut policy = shown["policy"].clone();
    policy["egress"][2]["who"] = json!({"tags": ["press"]});
    let file = network.folder.path().join("policy.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    network
        .operate(&["policy", "apply", file.to_str().unwrap()])
        .await;

    // Until publishing has made it, no door has it.
    let report = until("the catalog for press", async || {
        let site = network.up.data.join("site/bundles/cohort/default.press");
        site.exists().then_some(())?;
        Some(postern(&press, &["sync", "--contact"]).await)
    })
    .await;

    assert_eq!(report["contact"]["other_catalog"], true, "{report}");
    assert_eq!(report["gateways"], 3, "{report}");
    let plain = network.sync().await;
    assert_eq!(plain["gateways"], 1, "no egress for others: {plain}");
}
