//! A deployment from an empty account and back.

use std::os::unix::fs::PermissionsExt;
use std::path::PathBuf;
use std::time::Duration;

use emulator::Call;
use harness::amazon::{FUNCTIONS, Said, release};
use harness::programs::{posternctl_command, run};
use harness::{Agent, Amazon, Gateway, postern, postern_refused, posternctl, until};
use serde_json::{Value, json};
use simcloud::{Served, SimCloud};

use crate::roles;

/// What the provider's stand-in takes for a token; nothing may repeat it.
const TOKEN: &str = "sim-token";
/// More than the minute between two runs of a schedule.
const SCHEDULE: Duration = Duration::from_secs(100);
/// From one look to the next.
const LOOK: Duration = Duration::from_secs(1);
/// All that a function's environment may show.
const SHOWN: [&str; 6] = [
    "POSTERN_EVIDENCE",
    "POSTERN_MIRRORS",
    "POSTERN_RELEASE",
    "POSTERN_SECRET",
    "POSTERN_SECRET_VERSION",
    "POSTERN_TABLE",
];

struct Network {
    amazon: Amazon,
    code: String,
    cloud: SimCloud,
    served: Served,
    agent: Agent,
    calls: std::sync::Mutex<Vec<Call>>,
}

impl Network {
    /// A network that is made and not deployed; `None`, which is said, where this machine lacks a tool.
    async fn start(test: &str) -> Option<Self> {
        let amazon = Amazon::start(test).await?;
        let cloud = SimCloud::new(simcloud::Settings::served());
        let served = cloud.serve().await.expect("loopback has free ports");
        let url = amazon.front.url().to_owned();
        let init = [
            "init",
            "--port=0",
            "--heartbeat=1",
            "--gateway-network=198.18.0.0/15",
            "--gateway-network=127.0.0.0/8",
            "--control",
            &url,
            "--door",
            &url,
        ];
        let made = posternctl(&amazon.path("network"), &init).await;
        let network = Self {
            code: made["setup"].as_str().expect("a setup code").to_owned(),
            amazon,
            cloud,
            served,
            agent: Agent::serve().await,
            calls: std::sync::Mutex::default(),
        };
        network.give(150);
        Some(network)
    }

    /// The secrets that the operator gives; functions that rent may make so many calls.
    fn give(&self, calls: u32) {
        let providers = json!([{"kind": "hetzner", "url": self.served.url}]);
        let text = format!(
            "POSTERN_HETZNER_TOKEN='{TOKEN}'\nPOSTERN_PROVIDERS='{providers}'\nPOSTERN_CALLS={calls}\n"
        );
        let file = self.amazon.path("secrets");
        std::fs::write(&file, text).unwrap();
        std::fs::set_permissions(&file, std::fs::Permissions::from_mode(0o600)).unwrap();
    }

    fn path(&self, name: &str) -> PathBuf {
        self.amazon.path(name)
    }

    async fn deploy(&self, arguments: &[&str]) -> Said {
        self.deploy_of(release(), arguments).await
    }

    async fn deploy_of(&self, archives: &std::path::Path, arguments: &[&str]) -> Said {
        let (archives, secrets) = (archives.to_str().unwrap(), self.path("secrets"));
        let mut all = vec![
            "--archives",
            archives,
            "--secrets",
            secrets.to_str().unwrap(),
        ];
        all.extend_from_slice(arguments);
        let said = self.amazon.deploy(&self.path("network"), &all, &[]).await;
        assert!(!format!("{said:?}").contains(TOKEN), "{said:?}");
        self.calls
            .lock()
            .unwrap()
            .extend(self.amazon.watch.take_calls());
        said
    }

    async fn owner(&self, arguments: &[&str]) -> Value {
        let command = posternctl_command(&self.path("owner.json"), arguments);
        let (ok, document) = run(command).await;
        assert!(ok, "{arguments:?} failed: {document}");
        document
    }

    /// Which version of each function answers.
    async fn live(&self) -> Vec<String> {
        let functions = self.amazon.ask("functions").await;
        let live = FUNCTIONS.map(|name| functions[format!("postern-{name}")]["live"].clone());
        let live = live
            .iter()
            .map(|live| live.as_str().expect("an alias").to_owned());
        live.collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_is_deployed_used_changed_rolled_back_and_removed() {
    let Some(network) = Network::start("deploy-aws").await else {
        return;
    };
    what_would_be_done_is_shown_and_nothing_is_left(&network).await;
    it_is_deployed_with_its_secrets_where_they_belong(&network).await;
    let device = network.path("device.json");
    let gateway = a_gateway_and_a_device_come_in(&network, &device).await;
    keys_change_and_a_device_is_shut_out(&network, &device, &gateway).await;
    nodes_are_rented_and_removed(&network).await;
    the_same_again_changes_nothing(&network).await;

    a_change_answers_once_it_is_healthy(&network, &device).await;
    a_release_that_does_not_work_never_answers(&network, &device).await;
    the_versions_of_before_come_back(&network, &device).await;

    gateway.kill().await;
    let calls = network.calls.lock().unwrap().clone();
    roles::check(&calls, &network.amazon.ask("roles").await);
    all_is_removed(&network).await;
}

async fn what_would_be_done_is_shown_and_nothing_is_left(network: &Network) {
    let shown = network.deploy(&["--dry-run"]).await;

    assert!(shown.ok, "{shown:?}");
    let changes = shown.end()["changes"].as_array().expect("a list");
    let table = json!("Add Table (AWS::DynamoDB::Table)");
    assert!(changes.contains(&table), "{changes:?}");
    network.amazon.holds_nothing().await;
}

async fn it_is_deployed_with_its_secrets_where_they_belong(network: &Network) {
    let made = network
        .deploy(&["--yes", "--alarms", "ops@example.com"])
        .await;

    assert!(made.ok, "{made:?}");
    assert_eq!(made.end()["deployed"], true, "{made:?}");
    assert_eq!(network.live().await, ["1"; 6]);
    let functions = network.amazon.ask("functions").await;
    for (name, function) in functions.as_object().unwrap() {
        let environment = function["environment"].as_object().unwrap();
        let strays: Vec<_> = environment
            .keys()
            .filter(|name| !SHOWN.contains(&name.as_str()))
            .collect();
        assert!(strays.is_empty(), "{name} shows {strays:?}");
    }
    assert!(!functions.to_string().contains(TOKEN));
}

async fn a_gateway_and_a_device_come_in(network: &Network, device: &std::path::Path) -> Gateway {
    network
        .owner(&["setup", &network.code, "--name", "owner"])
        .await;
    let made = network.owner(&["invite", "--uses", "1"]).await;
    let invite = made["invite"].as_str().expect("an invite");
    postern(device, &["enroll", invite]).await;
    let late = network.path("late.json");
    let refused = postern_refused(&late, &["enroll", invite]).await;
    assert_eq!(refused["error"]["kind"], "invite-used-up", "{refused}");
    let folder = network.path("gateways");
    std::fs::create_dir(&folder).unwrap();
    let gateway = Gateway::start_by(&network.path("owner.json"), &folder, 1).await;

    // The schedule publishes it.
    let listed = async {
        loop {
            let synced = postern(device, &["sync"]).await;
            if synced["gateways"] == 1 {
                return;
            }
            tokio::time::sleep(LOOK).await;
        }
    };
    let listed = tokio::time::timeout(SCHEDULE, listed).await;

    assert!(
        listed.is_ok(),
        "no catalog with the gateway: {}",
        network.owner(&["catalog"]).await
    );
    let status = postern(device, &["status", "--online"]).await;
    assert!(status["device"].is_string(), "{status}");
    gateway
}

/// For the roles of those that answer: what removes items, too.
async fn keys_change_and_a_device_is_shut_out(
    network: &Network,
    device: &std::path::Path,
    gateway: &Gateway,
) {
    postern(device, &["rotate"]).await;
    network.owner(&["gateways", "rotate", &gateway.id]).await;
    let state = network
        .path("gateways")
        .join(&gateway.id)
        .join("gateway.json");
    let before = std::fs::read(&state).unwrap();
    until("a new key", async || {
        let gateways = network.owner(&["gateways"]).await;
        let rotated = std::fs::read(&state).ok()? != before;
        (rotated && gateways[0]["state"] == "active").then_some(())
    })
    .await;
    let made = network.owner(&["invite", "--uses", "1"]).await;
    let other = network.path("other.json");
    let enrolled = postern(&other, &["enroll", made["invite"].as_str().unwrap()]).await;
    let id = enrolled["device"].as_str().unwrap();
    network.owner(&["devices", "revoke", id]).await;
}

/// For the roles of the two functions that rent: a node is begun and removed, and the provider is swept.
async fn nodes_are_rented_and_removed(network: &Network) {
    let apply = async |pools: Value| {
        let fleet = json!({
            "schema": "postern-fleet/1", "currency": "EUR", "most_per_month": "100",
            "most_changes": 10, "drain_seconds": 1, "agent": {"x86": network.agent.setting()},
            "pools": pools,
        });
        let file = network.path("fleet.json");
        std::fs::write(&file, fleet.to_string()).unwrap();
        network
            .owner(&["fleet", "apply", file.to_str().unwrap()])
            .await;
        network.owner(&["reconcile", "--yes", "--once"]).await;
    };
    let live = ["providers", "policy", "hetzner", "live", "--reason=a test"];
    network.owner(&live).await;
    let pool = json!({
        "role": "ingress", "provider": "hetzner", "regions": ["fsn1"], "sizes": ["cx23"],
        "image": "debian-12", "count": 1, "cohorts": ["default"],
    });

    apply(json!({"ingress": pool})).await;
    assert_ne!(network.cloud.resources(), Vec::<String>::new());
    apply(json!({})).await;
    network.owner(&["cleanup", "hetzner", "--yes"]).await;
}

async fn the_same_again_changes_nothing(network: &Network) {
    let again = network.deploy(&["--yes"]).await;

    assert!(again.ok, "{again:?}");
    let changed: Vec<_> = again
        .steps()
        .into_iter()
        .filter(|(_, changed)| *changed)
        .collect();
    assert_eq!(changed, []);
    assert_eq!(network.live().await, ["1"; 6]);
}

async fn a_change_answers_once_it_is_healthy(network: &Network, device: &std::path::Path) {
    network.give(120);

    let changed = network.deploy(&["--yes"]).await;

    assert!(changed.ok, "{changed:?}");
    assert_eq!(changed.step("upload")["changed"], false, "{changed:?}");
    assert_eq!(
        changed.step("secrets")["said"],
        "2 new texts",
        "{changed:?}"
    );
    assert_eq!(changed.step("switch")["changed"], true, "{changed:?}");
    assert_eq!(network.live().await, ["2"; 6]);
    postern(device, &["status", "--online"]).await;
}

async fn a_release_that_does_not_work_never_answers(network: &Network, device: &std::path::Path) {
    let bad = network.path("bad");
    std::fs::create_dir(&bad).unwrap();
    for name in FUNCTIONS {
        // The program of publish where enroll's should be: it lacks its settings, and ends.
        let of = if name == "enroll" { "publish" } else { name };
        let of = release().join(format!("{of}-lambda.zip"));
        std::fs::copy(of, bad.join(format!("{name}-lambda.zip"))).unwrap();
    }

    let refused = network.deploy_of(&bad, &["--yes"]).await;

    assert!(!refused.ok, "{refused:?}");
    let error = refused.error();
    assert!(error.contains("(health)"), "{error}");
    assert!(
        error.contains("version 3 of postern-enroll fails"),
        "{error}"
    );
    assert!(error.contains("go on answering"), "{error}");
    assert_eq!(network.live().await, ["2"; 6]);
    postern(device, &["status", "--online"]).await;
}

async fn the_versions_of_before_come_back(network: &Network, device: &std::path::Path) {
    let back = network.deploy(&["--rollback", "--yes"]).await;

    assert!(back.ok, "{back:?}");
    assert_eq!(network.live().await, ["1"; 6]);
    // Fresh starts of the old versions read the secrets that they were deployed with.
    postern(device, &["status", "--online"]).await;
    network.owner(&["devices"]).await;
    let forth = network.deploy(&["--yes"]).await;
    assert!(forth.ok, "{forth:?}");
    assert_eq!(forth.step("switch")["changed"], true, "{forth:?}");
    postern(device, &["status", "--online"]).await;
}

async fn all_is_removed(network: &Network) {
    let shown = network.deploy(&["--destroy", "--dry-run"]).await;
    assert!(shown.ok, "{shown:?}");
    let changes = shown.end()["changes"].as_array().expect("a list");
    let table = json!("Remove Table (AWS::DynamoDB::Table)");
    assert!(changes.contains(&table), "{changes:?}");
    assert_eq!(network.live().await.len(), 6, "nothing is removed");

    let gone = network.deploy(&["--destroy", "--yes"]).await;

    assert!(gone.ok, "{gone:?}");
    assert_eq!(gone.step("left")["said"], "nothing", "{gone:?}");
    network.amazon.holds_nothing().await;
    let again = network.deploy(&["--destroy", "--yes"]).await;
    assert!(again.ok, "{again:?}");
    assert_eq!(again.step("stack")["said"], "there is none", "{again:?}");
}
