//! A fleet rented by the deployed functions, on Lambda's Runtime API and in `workerd`: a few steps a run,
//! each run within the 50 requests that Workers allow on their free plan, and the next goes on.

use std::path::PathBuf;

use harness::serverless::{self, Account, Bucket, Clouds, ControlPlane, Runtime, Table};
use harness::{Agent, posternctl, until};
use serde_json::{Value, json};
use simcloud::{Served, SimCloud};

/// What a run may ask for ("Workers limits": subrequests on the free plan).
const CALLS: u32 = 50;
/// What is kept for what is around a run: whose session it is, what all costs, the record.
const AROUND: u32 = 4;
/// More runs than any turn of this story takes.
const MOST_RUNS: usize = 60;

struct Network {
    folder: tempfile::TempDir,
    control: ControlPlane,
    agent: Agent,
    cloud: SimCloud,
    evidence: Bucket,
    _served: Served,
}

impl Network {
    /// `None`, which is said, where this machine lacks a tool.
    async fn start(runtime: Runtime, test: &'static str) -> Option<Self> {
        let clouds = Clouds::shared(runtime, test)?;
        let folder = tempfile::tempdir().unwrap();
        let machines = folder.path().join("machines");
        let (cloud, served) = harness::cloud::with_machines(test, &machines).await?;
        let data = folder.path().join("network");
        let bucket = Bucket::make(clouds.aws.url(), test).await;
        let evidence = Bucket::make(clouds.aws.url(), &format!("{test}-evidence")).await;
        let door = harness::Door::open(bucket.site()).await;
        let (listener, address) = serverless::listener();
        let (control, door_url) = (format!("http://{address}"), door.url());
        let init = [
            "init",
            "--port=0",
            "--heartbeat=1",
            "--gateway-network=198.18.0.0/15",
            "--control",
            &control,
            "--door",
            &door_url,
        ];
        let made = posternctl(&data, &init).await;
        let table = Table::make(clouds.database.url(), test).await;
        let account = Account {
            url: served.url.clone(),
            evidence: evidence.clone(),
            calls: CALLS,
        };
        let (buckets, account) = (&[bucket], Some(&account));
        let control =
            ControlPlane::start_renting(runtime, &data, listener, &table, buckets, account).await;
        let network = Self {
            folder,
            control,
            agent: Agent::serve().await,
            cloud,
            evidence,
            _served: served,
        };
        let code = made["setup"].as_str().unwrap();
        network.owner(&["setup", code, "--name", "owner"]).await;
        // Gateways trust what has been signed once.
        network.control.publish().await;
        Some(network)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    async fn owner(&self, arguments: &[&str]) -> Value {
        let profile = self.path("owner.json");
        self.control.asked_by(&profile, arguments).await
    }

    async fn apply(&self, pools: Value) {
        let fleet = json!({
            "schema": "postern-fleet/1", "currency": "EUR", "most_per_month": "100",
            "most_changes": 10, "drain_seconds": 1, "agent": {"x86": self.agent.setting()},
            "pools": pools,
        });
        let file = self.path("fleet.json");
        tokio::fs::write(&file, fleet.to_string()).await.unwrap();
        self.owner(&["fleet", "apply", file.to_str().unwrap()])
            .await;
    }

    /// One run of the schedule: what it did, within what it may ask for. It counts its own requests, to the
    /// database and to the provider; the provider counts, too.
    async fn wake(&self, function: &str) -> Value {
        let before = self.cloud.calls();

        let done = self.control.wake(function).await;

        let of_provider = self.cloud.calls() - before;
        let said = done["report"]["calls"].as_u64().unwrap_or(of_provider);
        assert!(said <= u64::from(CALLS - AROUND), "{done}");
        assert!(of_provider <= u64::from(CALLS - AROUND), "{done}");
        done
    }

    /// Wakes `reconcile` until `seen`, and gives how many runs began or ended something.
    async fn until(&self, what: &str, seen: impl AsyncFn() -> bool) -> usize {
        let mut runs = 0;
        for _ in 0..MOST_RUNS {
            if seen().await {
                return runs;
            }
            let done = self.wake("reconcile").await;
            runs += usize::from(!done["evidence"].is_null());
            // Which gateways are well is judged when catalogs are published.
            self.control.publish().await;
            tokio::time::sleep(std::time::Duration::from_millis(500)).await;
        }
        panic!("{MOST_RUNS} runs, and not {what}");
    }

    async fn active(&self) -> usize {
        let listed = self.owner(&["gateways"]).await;
        let listed = listed.as_array().unwrap().iter();
        listed
            .filter(|gateway| gateway["state"] == "active")
            .count()
    }
}

fn pool(role: &str, count: u32) -> Value {
    json!({
        "role": role, "provider": "hetzner", "regions": ["fsn1"], "sizes": ["cx23"],
        "image": "debian-12", "count": count, "cohorts": ["default"],
    })
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lambdas_rent_a_fleet_a_few_steps_a_run() {
    a_fleet_a_few_steps_a_run(Runtime::Lambda, "fleet-lambdas").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_rent_a_fleet_a_few_steps_a_run() {
    a_fleet_a_few_steps_a_run(Runtime::Workers, "fleet-workers").await;
}

async fn a_fleet_a_few_steps_a_run(runtime: Runtime, test: &'static str) {
    let Some(network) = Network::start(runtime, test).await else {
        return;
    };
    let pools = json!({"ingress": pool("ingress", 3), "egress": pool("egress", 2)});
    network.apply(pools).await;
    let held = network.wake("reconcile").await;
    assert_eq!(
        network.cloud.resources(),
        Vec::<String>::new(),
        "mode plan: {held}"
    );
    let live = ["providers", "policy", "hetzner", "live", "--reason=we open"];
    network.owner(&live).await;
    network.wake("reconcile").await;
    assert_eq!(
        network.cloud.resources(),
        Vec::<String>::new(),
        "nobody has carried out a plan of it"
    );
    let begin = ["reconcile", "--yes", "--once"];
    network.owner(&begin).await;

    let came = network.until("five in service", async || network.active().await == 5);
    let came = came.await;
    // The owner's own run, before these, was not enough either.
    assert!(came > 0, "one run for five nodes");

    let published = until("all in a catalog", async || {
        let published = network.control.publish().await;
        (published["listed"] == 5).then_some(published)
    });
    published.await;

    network.apply(json!({})).await;
    network.owner(&begin).await;
    let nothing = async || network.cloud.resources().is_empty();
    let went = network.until("nothing left", nothing).await;
    // The owner's own run, before these, was not enough either.
    assert!(went > 0, "one run for five nodes");

    let swept = network.wake("cleanup").await;
    assert_eq!(swept[0]["cleaned"]["done"], true, "{swept}");
    let asked = ["cleanup", "hetzner", "--dry-run"];
    let shown = network.owner(&asked).await;
    assert_eq!(shown["cleaned"]["removals"], json!([]), "{shown}");
    let inventory = ["providers", "inventory", "hetzner"];
    let listed = network.owner(&inventory).await;
    assert_eq!(listed["inventory"]["servers"], json!([]), "{listed}");
    let records = network.evidence.paths().await;
    assert!(records.len() >= came + went, "{records:?}");
}
