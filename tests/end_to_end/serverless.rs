//! The functions as they are deployed, each a program of its own over DynamoDB's emulator: on
//! Lambda's Runtime API, and in `workerd`. One story, told on both.

use std::path::{Path, PathBuf};

use harness::serverless::{self, Bucket, Clouds, ControlPlane, Environment, Runtime, Table};
use harness::{Door, Gateway, postern, postern_refused, posternctl, until};
use serde_json::Value;

/// A network whose control plane is serverless.
struct Network {
    folder: tempfile::TempDir,
    control: ControlPlane,
    code: String,
    _door: Door,
}

impl Network {
    /// `None`, which is said, where this machine lacks a tool.
    async fn start(runtime: Runtime, test: &'static str) -> Option<Self> {
        let clouds = Clouds::shared(runtime, test)?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let bucket = Bucket::make(clouds.aws.url(), test).await;
        let door = Door::open(bucket.site()).await;
        let (listener, address) = serverless::listener();
        let (control, door_url) = (format!("http://{address}"), door.url());
        let init = [
            "init",
            "--port=0",
            "--heartbeat=1",
            // What is not sealed finds nobody here.
            "--requests=sealed",
            "--control",
            &control,
            "--door",
            &door_url,
        ];
        let made = posternctl(&data, &init).await;
        let code = made["setup"].as_str().expect("a setup code").to_owned();
        let table = Table::make(clouds.database.url(), test).await;
        let control = ControlPlane::start(runtime, &data, listener, &table, &[bucket]).await;
        Some(Self {
            folder,
            control,
            code,
            _door: door,
        })
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn owner(&self, arguments: &[&str]) -> Value {
        let profile = self.path("owner.json");
        self.control.asked_by(&profile, arguments).await
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_lambdas_from_setup_to_a_catalog() {
    from_setup_to_a_catalog(Runtime::Lambda, "lambdas").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_workers_from_setup_to_a_catalog() {
    from_setup_to_a_catalog(Runtime::Workers, "workers").await;
}

/// Owner, invite, device, gateway, heartbeats, catalog: every function answers, and what one wrote
/// another reads.
async fn from_setup_to_a_catalog(runtime: Runtime, test: &'static str) {
    let Some(network) = Network::start(runtime, test).await else {
        return;
    };
    network
        .owner(&["setup", &network.code, "--name", "owner"])
        .await;
    let device = network.path("device.json");

    a_device_enrolls_once(&network, &device).await;
    let published = network.control.publish().await;
    assert_eq!(published["published"], true, "{published}");
    // With the calls that were left it went through all items, of which a last look is due in an hour.
    assert_eq!(published["items"]["left"]["state"], "waits", "{published}");
    a_gateway_comes_into_service(&network).await;

    let published = network.control.publish().await;
    assert_eq!(published["published"], true, "{published}");
    assert_eq!(published["listed"], 1, "{published}");
    let synced = postern(&device, &["sync"]).await;
    assert_eq!(synced["gateways"], 1, "{synced}");
    let again = network.control.publish().await;
    assert_eq!(again["published"], false, "nothing changed: {again}");
}

async fn a_device_enrolls_once(network: &Network, device: &Path) {
    let made = network.owner(&["invite", "--uses", "1"]).await;
    let invite = made["invite"].as_str().expect("an invite");

    let enrolled = postern(device, &["enroll", invite]).await;

    let status = postern(device, &["status", "--online"]).await;
    assert_eq!(status["device"], enrolled["device"], "{status}");
    let other = network.path("other.json");
    let refused = postern_refused(&other, &["enroll", invite]).await;
    assert_eq!(refused["error"]["kind"], "invite-used-up", "{refused}");
    let devices = network.owner(&["devices"]).await;
    assert_eq!(devices.as_array().map(Vec::len), Some(1), "{devices}");
}

async fn a_gateway_comes_into_service(network: &Network) {
    let profile = network.path("owner.json");
    let gateway = Gateway::start_by(&profile, network.folder.path(), 1).await;
    let seen = async || {
        let gateways = network.owner(&["gateways"]).await;
        let gateway = gateways.as_array()?.first()?.clone();
        Some(gateway["seen_at"].as_str()?.to_owned())
    };

    let first = until("a heartbeat", seen).await;
    let next = until("the next heartbeat", async || {
        seen().await.filter(|at| *at != first)
    })
    .await;

    assert!(next > first, "{next} after {first}");
    // It was published before: the gateway could trust what 'register' signs.
    let state = network.path(&gateway.id).join("gateway.json");
    let pulled = until("a signed config", async || {
        let state = tokio::fs::read(&state).await.ok()?;
        let state: Value = serde_json::from_slice(&state).ok()?;
        (!state["config"].is_null()).then_some(state)
    })
    .await;
    assert_eq!(pulled["config"]["gateway"], gateway.id.as_str(), "{pulled}");
}

#[tokio::test]
async fn a_lambda_that_lacks_settings_ends_and_lists_them_all() {
    a_function_that_lacks_settings_lists_them_all(Runtime::Lambda, "settings-lambda").await;
}

#[tokio::test]
async fn a_function_whose_database_cannot_be_meant_says_why_without_its_password() {
    let runtime = Runtime::Lambda;
    if let Some(missing) = serverless::missing_tools(runtime) {
        harness::skipped("database-lambda", missing);
        return;
    }
    let url = "postgres://u:hidden@db.example/p";
    for (url, table, expected) in [
        (
            format!("{url}?sslmode=prefer"),
            "",
            "may not be allow or prefer",
        ),
        (
            url.to_owned(),
            "postern-test",
            "POSTERN_TABLE is there, too",
        ),
    ] {
        let told = [
            ("POSTERN_DATABASE", url),
            ("POSTERN_TABLE", table.to_owned()),
        ];
        let told = told.map(|(name, text)| (name.to_owned(), text)).into();

        let said = serverless::start_alone(runtime, "cleanup", told).await;

        assert!(said.contains("POSTERN_DATABASE cannot be used"), "{said}");
        assert!(said.contains(expected), "{said}");
        assert!(!said.contains("hidden"), "{said}");
    }
}

#[tokio::test]
async fn a_worker_that_lacks_settings_refuses_and_lists_them_all() {
    a_function_that_lacks_settings_lists_them_all(Runtime::Workers, "settings-workers").await;
}

async fn a_function_that_lacks_settings_lists_them_all(runtime: Runtime, test: &'static str) {
    if let Some(missing) = serverless::missing_tools(runtime) {
        harness::skipped(test, missing);
        return;
    }
    let told = [
        ("AWS_REGION", "eu-central-1"),
        ("AWS_ACCESS_KEY_ID", "AKIAHIDDEN"),
        ("AWS_SECRET_ACCESS_KEY", "hidden secret"),
        ("POSTERN_CONFIG_KEY", "{\"secret\": \"hidden\"}"),
    ];
    let told: Environment = told
        .into_iter()
        .map(|(name, text)| (name.to_owned(), text.to_owned()))
        .collect();

    let said = serverless::start_alone(runtime, "register", told).await;

    assert!(
        said.contains("4 of the function's settings are wrong"),
        "{said}"
    );
    for wrong in [
        "POSTERN_NETWORK is missing: it must hold the network's settings as JSON",
        "POSTERN_TABLE is missing",
        "AWS_SECRET_ACCESS_KEY cannot be used",
        "POSTERN_CONFIG_KEY cannot be used",
    ] {
        assert!(said.contains(wrong), "{wrong}: {said}");
    }
    assert!(!said.to_lowercase().contains("hidden"), "{said}");
    if runtime == Runtime::Workers {
        let answer = said.split_once("\r\n\r\n").expect("a head and a body").1;
        assert!(said.starts_with("HTTP/1.1 500"), "{said}");
        let body = answer
            .lines()
            .find(|line| line.starts_with('{'))
            .expect("a problem");
        assert!(
            !body.contains("POSTERN_"),
            "strangers learn nothing: {body}"
        );
    }
}
