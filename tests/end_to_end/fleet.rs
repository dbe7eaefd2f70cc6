//! A fleet from its document to nothing: an operator applies it with `posternctl`, nodes are rented at a
//! stand-in for Hetzner that really boots them, the real agents register, and all of it goes again. And a
//! trial of the provider, proved, or killed and cleaned up.

use std::collections::BTreeSet;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::time::Duration;

use harness::programs::{posternctl_command, posternctl_lines, program, run};
use harness::{Agent, Up, postern, posternctl, until};
use serde_json::{Value, json};
use simcloud::{Served, SimCloud};
use tokio::process::Command;

/// A network on this machine with an account at the stand-in.
struct Network {
    folder: tempfile::TempDir,
    agent: Agent,
    cloud: SimCloud,
    up: Up,
    served: Served,
}

impl Network {
    /// `None`, which is said, where this machine can boot no nodes.
    async fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let machines = folder.path().join("machines");
        let (cloud, served) = harness::cloud::with_machines(test, &machines).await?;
        let data = folder.path().join("network");
        let init = [
            "init",
            "--port=0",
            "--heartbeat=1",
            "--gateway-network=198.18.0.0/15",
        ];
        posternctl(&data, &init).await;
        let providers = json!([{"kind": "hetzner", "url": served.url}]).to_string();
        let told = [
            ("POSTERN_HETZNER_TOKEN", "sim-token"),
            ("POSTERN_PROVIDERS", &providers),
        ];
        let up = Up::start_told(&data, &["--reconcile-every=2"], &told).await;
        Some(Self {
            agent: Agent::serve().await,
            folder,
            cloud,
            up,
            served,
        })
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("network")
    }

    async fn posternctl(&self, arguments: &[&str]) -> Value {
        posternctl(&self.data(), arguments).await
    }

    async fn try_posternctl(&self, arguments: &[&str]) -> (bool, Value) {
        let profile = self.data().join("operator.json");
        run(posternctl_command(&profile, arguments)).await
    }

    /// Asks the stand-in for something as somebody else would.
    async fn ask_cloud(&self, path: &str, body: &Value) {
        let http = api::http_client("test", Duration::from_secs(10)).unwrap();
        let request = http.post(format!("{}{path}", self.served.url));
        let request = request.bearer_auth("sim-token").body(body.to_string());
        let answer = request.send().await.unwrap();
        assert_eq!(answer.status(), 201);
    }

    /// How many requests came to the stand-in that may have changed something.
    fn changes(&self) -> usize {
        let requests = self.cloud.requests();
        requests.iter().filter(|request| request.changes()).count()
    }

    /// Applies a fleet of these pools.
    async fn apply(&self, pools: Value) {
        let fleet = json!({
            "schema": "postern-fleet/1", "currency": "EUR", "most_per_month": "100",
            "most_changes": 10, "drain_seconds": 2, "agent": {"x86": self.agent.setting()},
            "pools": pools,
        });
        let file = self.folder.path().join("fleet.json");
        tokio::fs::write(&file, fleet.to_string()).await.unwrap();
        let file = file.to_str().unwrap();
        self.posternctl(&["fleet", "apply", file]).await;
    }

    /// The gateways in a state, as `(id, pool)`.
    async fn gateways(&self, state: &str) -> BTreeSet<(String, String)> {
        let listed = self.posternctl(&["gateways"]).await;
        let listed = listed.as_array().unwrap().iter();
        let text = |value: &Value| value.as_str().unwrap().to_owned();
        listed
            .filter(|gateway| gateway["state"] == state)
            .map(|gateway| (text(&gateway["id"]), text(&gateway["pool"])))
            .collect()
    }

    /// Whose turn of the audit came first: the ordinals of the actions on a gateway, oldest first.
    async fn story(&self, gateway: &str) -> Vec<String> {
        let events = self.posternctl(&["audit"]).await;
        let events = events.as_array().unwrap().iter().rev();
        events
            .filter(|event| event["subject"] == gateway)
            .map(|event| event["action"].as_str().unwrap().to_owned())
            .collect()
    }
}

fn pool(role: &str, region: &str, size: &str, count: u32) -> Value {
    json!({
        "role": role, "provider": "hetzner", "regions": [region], "sizes": [size],
        "image": "debian-12", "count": count, "cohorts": ["default"],
    })
}

/// How many gateways the catalog has that a device syncs.
async fn synced(device: &Path) -> u64 {
    let synced = postern(device, &["sync"]).await;
    synced["gateways"].as_u64().unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_fleet_comes_into_service_changes_and_leaves_nothing_behind() {
    let Some(network) = Network::start("fleet").await else {
        return;
    };
    let device = network.folder.path().join("device.json");
    postern(&device, &["enroll", &network.up.invite]).await;

    nothing_is_rented_before_an_owner_approves(&network).await;
    five_nodes_come_into_service(&network, &device).await;
    who_leaves_drains_first(&network, &device).await;
    nothing_is_left(&network).await;
    network.up.stop().await;
}

async fn nothing_is_rented_before_an_owner_approves(network: &Network) {
    network
        .apply(json!({
            "ingress": pool("ingress", "fsn1", "cx23", 3), "egress": pool("egress", "nbg1", "cx23", 2),
        }))
        .await;

    let plan = network.posternctl(&["plan"]).await;

    let steps = plan["steps"].as_array().unwrap();
    assert_eq!(steps.len(), 5, "{plan}");
    assert!(steps.iter().all(|step| step["held"] == "mode"), "{plan}");
    assert_eq!(network.changes(), 0);
    assert_eq!(network.cloud.resources(), Vec::<String>::new());
    let live = ["providers", "policy", "hetzner", "live", "--reason=we open"];
    let policy = network.posternctl(&live).await;
    assert_eq!(policy["mode"], "live", "{policy}");
}

async fn five_nodes_come_into_service(network: &Network, device: &Path) {
    let runs = posternctl_lines(&network.data(), &["reconcile", "--yes"]).await;

    let last = runs.last().unwrap();
    assert_eq!(last["report"]["under_way"], 0, "{last}");
    let active = network.gateways("active").await;
    assert_eq!(active.len(), 5, "{active:?}\n{runs:?}");
    let resources = network.cloud.resources();
    let servers = resources.iter().filter(|name| name.starts_with("server "));
    assert_eq!(servers.count(), 5, "{resources:?}");
    until("all are in a signed catalog", async || {
        (synced(device).await == 5).then_some(())
    })
    .await;
}

/// One ingress gateway fewer, and the egress gateways of another size.
async fn who_leaves_drains_first(network: &Network, device: &Path) {
    let before = network.gateways("active").await;
    network
        .apply(json!({
            "ingress": pool("ingress", "fsn1", "cx23", 2), "egress": pool("egress", "nbg1", "cx33", 2),
        }))
        .await;

    posternctl_lines(&network.data(), &["reconcile", "--yes"]).await;

    let after = until("two of each are in service", async || {
        let active = network.gateways("active").await;
        (active.len() == 4).then_some(active)
    })
    .await;
    let of = |pool: &str| after.iter().filter(|(_, of)| of == pool).count();
    assert_eq!((of("ingress"), of("egress")), (2, 2), "{after:?}");
    let left: Vec<_> = before.difference(&after).collect();
    assert_eq!(left.len(), 3, "one ingress, two egress: {left:?}");
    for (gateway, _) in left {
        let story = network.story(gateway).await;
        let at = |action: &str| story.iter().position(|one| one == action);
        assert!(at("node.draining").is_some(), "{story:?}");
        assert!(at("node.draining") < at("node.absent"), "{story:?}");
        let resources = network.cloud.resources();
        let is_there = resources.iter().any(|name| name.ends_with(gateway));
        assert!(!is_there, "{gateway}: {resources:?}");
    }
    until("four are in a signed catalog", async || {
        (synced(device).await == 4).then_some(())
    })
    .await;
}

async fn nothing_is_left(network: &Network) {
    network.apply(json!({})).await;

    posternctl_lines(&network.data(), &["reconcile", "--yes"]).await;

    let listed = network
        .posternctl(&["providers", "inventory", "hetzner"])
        .await;
    let inventory = &listed["inventory"];
    for kind in ["servers", "addresses", "firewalls"] {
        assert_eq!(inventory[kind], json!([]), "{listed}");
    }
    assert_eq!(network.cloud.resources(), Vec::<String>::new());
    let evidence = std::fs::read_dir(network.data().join("evidence")).unwrap();
    let files = evidence.map(|file| file.unwrap().path());
    let records: Vec<Value> = files
        .filter(|file| file.extension().is_some_and(|kind| kind == "json"))
        .map(|file| serde_json::from_slice(&std::fs::read(file).unwrap()).unwrap())
        .collect();
    let rented: usize = records
        .iter()
        .map(|record| record["created"].as_array().unwrap().len())
        .sum();
    let deleted: BTreeSet<String> = records
        .iter()
        .flat_map(|record| record["deleted"].as_array().unwrap())
        .map(|resource| format!("{} {}", resource["kind"], resource["id"]))
        .collect();
    assert_eq!(rented, deleted.len(), "all that was rented was deleted");
    let carried_out = records.iter().filter(|record| record["plan"].is_string());
    for record in carried_out {
        assert!(!record["by"].is_null(), "who asked: {record}");
    }
    let text = serde_json::to_string(&records).unwrap();
    assert!(!text.contains("sim-token"), "no record holds the token");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_trial_is_proved_and_one_that_was_killed_is_cleaned_up_without_a_control_plane() {
    let Some(network) = Network::start("trial").await else {
        return;
    };
    network
        .apply(json!({
            "ingress": pool("ingress", "fsn1", "cx23", 1), "egress": pool("egress", "nbg1", "cx23", 1),
        }))
        .await;
    let foreign = json!({
        "name": "theirs", "type": "ipv4", "location": "fsn1", "assignee_type": "server",
        "auto_delete": false,
    });
    network.ask_cloud("/primary_ips", &foreign).await;
    let theirs = network.cloud.resources();

    a_trial_in_mode_plan_changes_nothing(&network).await;
    a_trial_proves_and_leaves_nothing(&network, &theirs).await;
    what_a_killed_trial_left_is_found_by_its_labels(network, &theirs).await;
}

async fn a_trial_in_mode_plan_changes_nothing(network: &Network) {
    let before = network.changes();

    let (ok, refused) = network
        .try_posternctl(&["smoke", "hetzner", "ingress"])
        .await;

    assert!(!ok, "{refused}");
    assert_eq!(refused["error"]["kind"], "provider-mode", "{refused}");
    assert_eq!(network.changes(), before);
}

async fn a_trial_proves_and_leaves_nothing(network: &Network, theirs: &[String]) {
    let smoke = ["providers", "policy", "hetzner", "smoke"];
    network.posternctl(&smoke).await;

    let proof = network.posternctl(&["smoke", "hetzner", "ingress"]).await;

    assert_eq!(proof["outcome"], "proved", "{proof}");
    assert_eq!(proof["against"]["live"], false, "{proof}");
    assert_eq!(proof["lists"][0]["resources"], json!([]), "{proof}");
    assert_eq!(network.cloud.resources(), theirs);
    let dry = ["cleanup", "hetzner", "--trials", "--dry-run"];
    let left = network.posternctl(&dry).await;
    assert_eq!(left["cleaned"]["removals"], json!([]), "{left}");
    let asked = ["cleanup", "hetzner", "--trials"];
    let done = network.posternctl(&asked).await;
    let by = done["by"].to_string();
    assert!(by.contains("admin"), "who asked is in the record: {done}");
}

async fn what_a_killed_trial_left_is_found_by_its_labels(network: Network, theirs: &[String]) {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(network.data())
        .args(["smoke", "hetzner", "egress"])
        .stdout(Stdio::null())
        .kill_on_drop(true);
    let mut trial = command.spawn().unwrap();
    until("a server is rented", async || {
        let resources = network.cloud.resources();
        let server = resources.iter().any(|name| name.starts_with("server "));
        server.then_some(())
    })
    .await;
    trial.kill().await.unwrap();
    let Network {
        folder,
        cloud,
        up,
        served,
        ..
    } = network;
    up.kill().await;
    assert!(cloud.resources().len() > theirs.len());

    let data = folder.path().join("network");
    let providers = json!([{"kind": "hetzner", "url": served.url}]).to_string();
    let there = cloud.resources();
    let clean_up = async |last: &[&str]| {
        let mut alone = Command::new(program("posternctl"));
        alone
            .arg("--data")
            .arg(&data)
            .args(["--json", "cleanup", "hetzner", "--alone"])
            .args(last)
            .stdin(Stdio::null())
            .env("POSTERN_HETZNER_TOKEN", "sim-token")
            .env("POSTERN_PROVIDERS", &providers);
        run(alone).await
    };
    let (ok, refused) = clean_up(&[]).await;
    assert!(!ok, "nobody was asked: {refused}");
    assert!(refused.to_string().contains("--yes"), "{refused}");
    assert_eq!(cloud.resources(), there);

    let (ok, done) = clean_up(&["--yes"]).await;

    assert!(ok, "{done}");
    assert_eq!(done["outcome"], "nothing left to remove", "{done}");
    assert_eq!(cloud.resources(), theirs);
}
