//! The tracer bullet: the real programs over real sockets, from an invite to failover. One definition,
//! run six times: with the control plane in one process and a folder, over memory, SQLite and PostgreSQL;
//! as Lambda's programs over DynamoDB and over PostgreSQL, and as Workers in `workerd` over DynamoDB,
//! these three with a bucket.
//!
//! Simulated are the front doors, which are the test's own so that they can fail, and in the runs of
//! functions the clouds: emulators of DynamoDB, the bucket and Lambda's Runtime API. PostgreSQL is a
//! server of Debian's.

use std::net::{SocketAddr, TcpListener};
use std::path::{Path, PathBuf};

use emulator::Postgres;
use harness::programs::{postern_command, posternctl_command, run, without_network};
use harness::serverless::{
    self, Bucket, Clouds, ControlPlane, Database, Runtime, Schedule, State, Table,
};
use harness::{
    Answered, Door, Fault, Gateway, Site, Up, postern, postern_refused, posternctl, until,
};
use jiff::Timestamp;
use serde_json::Value;

/// What runs the control plane.
enum Plane {
    /// `posternctl up`.
    Up(Box<Up>),
    /// Functions, and the schedule that publishes.
    Deployed {
        control: ControlPlane,
        schedule: Schedule,
    },
}

/// Where the control plane is and what it stands on.
enum Place {
    /// One process, with its state in the store of this URL, or where it is if nothing is said.
    OneProcess { store: Option<String> },
    Deployed {
        runtime: Runtime,
        address: SocketAddr,
        state: Box<dyn State>,
        bucket: Bucket,
    },
}

impl Place {
    /// `None`, which is said, where this machine lacks a tool.
    async fn deployed(
        runtime: Runtime,
        listener: &TcpListener,
        test: &'static str,
    ) -> Option<Self> {
        let clouds = Clouds::shared(runtime, test)?;
        Some(Self::Deployed {
            runtime,
            address: listener.local_addr().unwrap(),
            state: Box::new(Table::make(clouds.database.url(), test).await),
            bucket: Bucket::make(clouds.aws.url(), test).await,
        })
    }

    /// The same with its state in PostgreSQL.
    async fn deployed_on_postgres(
        runtime: Runtime,
        listener: &TcpListener,
        test: &'static str,
    ) -> Option<Self> {
        let clouds = Clouds::shared(runtime, test)?;
        let server = Postgres::shared(test)?;
        Some(Self::Deployed {
            runtime,
            address: listener.local_addr().unwrap(),
            state: Box::new(Database::prepare(server.fresh_database()).await),
            bucket: Bucket::make(clouds.aws.url(), test).await,
        })
    }

    /// Whether what it holds outlives it.
    fn is_durable(&self) -> bool {
        !matches!(self, Self::OneProcess { store: Some(store) } if store == "memory:")
    }

    fn site(&self, data: &Path) -> Site {
        match self {
            Self::OneProcess { .. } => Site::Folder(data.join("site")),
            Self::Deployed { bucket, .. } => bucket.site(),
        }
    }

    /// Runs the control plane of the network in `data`, which is made already.
    async fn start(&self, data: &Path, listener: TcpListener) -> Plane {
        match self {
            Self::OneProcess { store } => {
                // A restart is told nothing: the network knows where its state is.
                let first = !data.join("operator.json").exists();
                let store = store.as_ref().filter(|_| first);
                let options: Vec<&str> = match store {
                    Some(url) => vec!["--store", url],
                    None => Vec::new(),
                };
                Plane::Up(Box::new(Up::start(data, &options).await))
            }
            Self::Deployed {
                runtime,
                state,
                bucket,
                ..
            } => {
                let buckets = std::slice::from_ref(bucket);
                let control =
                    ControlPlane::start(*runtime, data, listener, &**state, buckets).await;
                let schedule = control.on_schedule();
                Plane::Deployed { control, schedule }
            }
        }
    }

    /// The same again, after it was stopped.
    async fn restart(&self, data: &Path) -> Plane {
        let listener = match self {
            // It finds its own.
            Self::OneProcess { .. } => serverless::listener().0,
            Self::Deployed { address, .. } => serverless::listener_at(*address).await,
        };
        self.start(data, listener).await
    }
}

impl Plane {
    async fn stop(self) {
        match self {
            Self::Up(up) => up.stop().await,
            Self::Deployed { control, schedule } => {
                drop(schedule);
                drop(control);
            }
        }
    }
}

/// A network with three front doors of the test's own, six gateways and one device.
struct Network {
    folder: tempfile::TempDir,
    data: PathBuf,
    site: Site,
    doors: Vec<Door>,
    gateways: Vec<Gateway>,
    place: Place,
    plane: Plane,
}

impl Network {
    async fn start(place: Place, listener: TcpListener) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let site = place.site(&data);
        let mut doors = Vec::new();
        let mut arguments = vec![
            "init".to_owned(),
            "--port=0".to_owned(),
            "--heartbeat=1".to_owned(),
        ];
        for _ in 0..3 {
            let door = Door::open(site.clone()).await;
            arguments.push(format!("--door={}", door.url()));
            doors.push(door);
        }
        if let Place::Deployed { address, .. } = &place {
            arguments.push(format!("--control=http://{address}"));
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        let made = posternctl(&data, &arguments).await;
        let running = place.start(&data, listener).await;
        if let Plane::Deployed { .. } = &running {
            let code = made["setup"].as_str().expect("a setup code");
            posternctl(&data, &["setup", code, "--name", "owner"]).await;
        }
        let mut gateways = Vec::new();
        for number in 1..=6 {
            gateways.push(Gateway::start(&data, folder.path(), number).await);
        }
        let network = Self {
            folder,
            data,
            site,
            doors,
            gateways,
            place,
            plane: running,
        };
        network.await_active(6).await;
        network
    }

    fn data(&self) -> &Path {
        &self.data
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

    /// How many gateways the published catalog lists, as a device reads it that asks no door: what the
    /// doors answer is counted.
    async fn last_listed(&self) -> Option<usize> {
        let witness = self.folder.path().join("witness.json");
        if !witness.exists() {
            let invite = posternctl(self.data(), &["invite"]).await;
            postern(&witness, &["enroll", invite["invite"].as_str()?]).await;
        }
        // After the witness, which knows what was published when it enrolled.
        let bundle = self.site.get("bundles/cohort/default").await?;
        let path = self.folder.path().join("published.bundle");
        tokio::fs::write(&path, &bundle).await.ok()?;
        let report = postern(&witness, &["verify", path.to_str()?]).await;
        let listed = report["catalogs"][0]["gateways"].as_u64()?;
        usize::try_from(listed).ok()
    }

    /// What the doors answered to devices since this was asked last.
    fn catalog_answers(&self) -> Vec<Answered> {
        let all = self.doors.iter().flat_map(Door::take_answers);
        all.filter(|answer| answer.path.starts_with("bundles/cohort/"))
            .collect()
    }

    /// Waits until none of these gateways was heard for so long.
    async fn await_unheard(&self, ids: &[String], for_seconds: i64) {
        until("gateways long unheard", async || {
            let gateways = posternctl(self.data(), &["gateways"]).await;
            let gateways = gateways.as_array()?.iter();
            let mut of_these = gateways.filter(|gateway| {
                let id = gateway["id"].as_str().expect("a gateway has an id");
                ids.iter().any(|known| known == id)
            });
            let unheard = |gateway: &Value| {
                let seen: Timestamp = gateway["seen_at"].as_str()?.parse().ok()?;
                Some(now().duration_since(seen).as_secs() > for_seconds)
            };
            of_these
                .all(|gateway| unheard(gateway) == Some(true))
                .then_some(())
        })
        .await;
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

#[allow(
    clippy::disallowed_methods,
    reason = "the programs' times are the system's, and are held against it"
)]
fn now() -> Timestamp {
    Timestamp::now()
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

/// Syncs until nothing new was there, and checks that it cost a 304 without a body.
async fn an_unchanged_catalog_costs_a_304(network: &Network) {
    // The first sync may still find something new, or ask a door whose tag it does not hold.
    let (report, answered) = until("a sync that is answered by 304", async || {
        network.catalog_answers();
        let report = network.sync().await;
        let answered = network.catalog_answers();
        let not_modified = |answer: &Answered| answer.status == 304;
        let all = !answered.is_empty() && answered.iter().all(not_modified);
        all.then_some((report, answered))
    })
    .await;
    assert!(
        answered.iter().all(|answer| answer.bytes == 0),
        "{answered:?}"
    );
    assert_eq!(report["changed"], false, "{report}");
    let outcome = of_door(&report, report["door"].as_str().unwrap()).unwrap();
    assert_eq!(outcome["outcome"], "unchanged", "{report}");
}

/// Each door fails in its own way: the sync fails, and the device is as it was.
async fn bad_doors_alone_change_nothing(network: &mut Network, older: PathBuf) {
    let device = network.device();
    let (synced, before) = (network.sync().await, device_file(&device));
    // A bundle that a door serves unaltered would be right: all of them must be wrong.
    let faults = [Fault::Stopped, Fault::Altered, Fault::Older(older)];
    for (door, fault) in network.doors.iter_mut().zip(faults) {
        door.set(fault).await;
    }

    let failed = postern_refused(&device, &["sync"]).await;

    for kind in ["refused", "altered", "older"] {
        assert!(failed.to_string().contains(kind), "{kind}: {failed}");
    }
    let after = device_file(&device);
    assert_eq!(after["trusted"], before["trusted"]);
    let status = postern(&device, &["status"]).await;
    for field in ["version", "catalog_version", "gateways"] {
        assert_eq!(status["catalog"][field], synced[field], "{status}");
    }
    for door in &mut network.doors {
        door.set(Fault::None).await;
    }
}

fn device_file(device: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(device).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_in_one_process() {
    let (unused, _) = serverless::listener();
    from_an_invite_to_failover(Place::OneProcess { store: None }, unused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_in_memory() {
    let (unused, _) = serverless::listener();
    let store = Some("memory:".to_owned());
    from_an_invite_to_failover(Place::OneProcess { store }, unused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_on_postgres() {
    let Some(server) = Postgres::shared("the tracer bullet on PostgreSQL") else {
        return;
    };
    let (unused, _) = serverless::listener();
    let store = Some(server.fresh_database());
    from_an_invite_to_failover(Place::OneProcess { store }, unused).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_on_lambda_and_postgres() {
    let (listener, _) = serverless::listener();
    let place = Place::deployed_on_postgres(Runtime::Lambda, &listener, "tracer-postgres").await;
    if let Some(place) = place {
        from_an_invite_to_failover(place, listener).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_on_lambda() {
    let (listener, _) = serverless::listener();
    if let Some(place) = Place::deployed(Runtime::Lambda, &listener, "tracer-lambda").await {
        from_an_invite_to_failover(place, listener).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_an_invite_to_failover_on_workers() {
    let (listener, _) = serverless::listener();
    if let Some(place) = Place::deployed(Runtime::Workers, &listener, "tracer-workers").await {
        from_an_invite_to_failover(place, listener).await;
    }
}

async fn from_an_invite_to_failover(place: Place, listener: TcpListener) {
    let mut network = Network::start(place, listener).await;
    let device = network.device();

    let invite = posternctl(network.data(), &["invite", "--uses", "2"]).await;
    let invite = invite["invite"].as_str().unwrap().to_owned();
    let enrolled = postern(&device, &["enroll", &invite]).await;
    let id = enrolled["device"].as_str().unwrap().to_owned();
    let synced = network.sync().await;
    assert_eq!(synced["gateways"], 6, "{synced}");
    chooses_two_hops(&device).await;

    let older = network.folder.path().join("older");
    network.site.copy(&older).await;
    fails_over(&mut network, Fault::Stopped, "refused").await;
    fails_over(&mut network, Fault::Altered, "altered").await;
    fails_over(&mut network, Fault::Older(older.clone()), "older").await;
    fails_over(&mut network, Fault::Silent, "silent").await;
    an_unchanged_catalog_costs_a_304(&network).await;
    bad_doors_alone_change_nothing(&mut network, older).await;

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
    let mut gone = Vec::new();
    for _ in 0..5 {
        let gateway = network.gateways.remove(0);
        gone.push(gateway.id.clone());
        gateway.kill().await;
    }
    let alarm = async |network: &Network| {
        let catalog = posternctl(network.data(), &["catalog"]).await;
        let alarms = catalog["alarms"].as_array().expect("a list");
        (alarms.len() == 1).then(|| alarms[0].as_str().expect("a text").to_owned())
    };
    let raised = until("the alarm", async || alarm(network).await).await;
    assert!(raised.contains("went quiet at once"), "{raised}");
    // Now each of them counts as silent (three heartbeats of a second), and publishing has looked.
    network.await_unheard(&gone, 5).await;
    assert_eq!(network.sync().await["gateways"], listed, "the list is kept");
    assert!(alarm(network).await.is_some(), "the alarm stands");
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
    its_keys_enroll_no_more(network, device).await;
    // A new file with another identity takes the second use; the first identity stays shut out.
    let other = device.with_file_name("other.json");
    let second = postern(&other, &["enroll", invite]).await;
    assert_ne!(second["device"], id);
    let third = device.with_file_name("third.json");
    let refused = postern_refused(&third, &["enroll", invite]).await;
    assert_eq!(refused["error"]["kind"], "invite-used-up", "{refused}");
}

/// The revoked device's file, as it was before enrollment was answered, tries a fresh invite.
async fn its_keys_enroll_no_more(network: &Network, device: &Path) {
    let mut file = device_file(device);
    file.as_object_mut().unwrap().remove("answer").unwrap();
    let same_keys = device.with_file_name("same-keys.json");
    std::fs::write(&same_keys, file.to_string()).unwrap();
    let fresh = posternctl(network.data(), &["invite", "--uses", "1"]).await;
    let fresh = fresh["invite"].as_str().unwrap();
    let refused = postern_refused(&same_keys, &["enroll", fresh]).await;
    assert_eq!(refused["error"]["kind"], "device-revoked", "{refused}");
}

async fn every_decision_replays(device: &Path) {
    let explained = postern(device, &["explain"]).await;
    assert_eq!(explained["identical"], true, "{explained}");
    assert!(
        explained["decisions"].as_array().unwrap().len() > 8,
        "{explained}"
    );
}

async fn a_restart_forgets_nothing(mut network: Network, device: &Path, id: &str) {
    let version = network.version().await;
    let data = network.data().to_owned();
    for gateway in network.gateways.drain(..) {
        gateway.kill().await;
    }
    for door in &mut network.doors {
        door.set(Fault::Stopped).await;
    }
    let Network {
        folder,
        site,
        place,
        plane: running,
        ..
    } = network;
    running.stop().await;
    if !place.is_durable() {
        let profile = data.join("operator.json");
        let again = posternctl_command(&profile, &["--data", data.to_str().unwrap(), "up"]);
        let (ok, refused) = run(again).await;
        assert!(
            !ok && refused.to_string().contains("in memory"),
            "{refused}"
        );
        return;
    }

    // Nothing of the network runs now, and where the system allows it there is no network at all.
    let whole = folder.path().join("whole");
    site.copy(&whole).await;
    let verify = postern_command(device, &["verify", whole.to_str().unwrap()]);
    let (ok, verified) = run(without_network(verify).await).await;
    assert!(ok, "{verified}");
    assert_eq!(verified["version"], version, "{verified}");

    let running = place.restart(&data).await;
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
    running.stop().await;
    drop(folder);
}
