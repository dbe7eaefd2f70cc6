//! A backup by the real programs: taken while devices enroll, restored after the state was lost, by a restore
//! that is killed on the way. Then the network goes on.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use emulator::Postgres;
use harness::programs::{postern_command, program, run};
use harness::{Up, postern, postern_refused, posternctl, until};
use jiff::Timestamp;
use serde_json::{Value, json};
use store::{Archive, Item, SqliteStore};
use tokio::process::Command;
use tokio::task::JoinSet;

/// How many enroll at once.
const AT_ONCE: usize = 3;
/// How many must be enrolled before the backup, and after it.
const ENOUGH: usize = 12;
/// How often a restore is killed.
const KILLS: u32 = 4;

/// Devices that enroll one after the other until they are told to stop.
struct Storm {
    ids: Arc<Mutex<Vec<String>>>,
    begun: Arc<AtomicUsize>,
    stop: Arc<AtomicBool>,
    tasks: JoinSet<()>,
}

impl Storm {
    fn begin(folder: &Path, invite: &str) -> Self {
        let mut storm = Self {
            ids: Arc::default(),
            begun: Arc::default(),
            stop: Arc::default(),
            tasks: JoinSet::new(),
        };
        for _ in 0..AT_ONCE {
            let (ids, begun, stop) = (
                Arc::clone(&storm.ids),
                Arc::clone(&storm.begun),
                Arc::clone(&storm.stop),
            );
            let (folder, invite) = (folder.to_owned(), invite.to_owned());
            storm.tasks.spawn(async move {
                while !stop.load(Ordering::Relaxed) {
                    let number = begun.fetch_add(1, Ordering::Relaxed);
                    let device = folder.join(format!("storm-{number}.json"));
                    let answer = postern(&device, &["enroll", &invite]).await;
                    let id = answer["device"].as_str().unwrap().to_owned();
                    ids.lock().unwrap().push(id);
                }
            });
        }
        storm
    }

    /// Those that were told that they are enrolled.
    fn enrolled(&self) -> Vec<String> {
        self.ids.lock().unwrap().clone()
    }

    async fn until_enrolled(&self, count: usize) {
        until(&format!("{count} devices"), async || {
            (self.enrolled().len() >= count).then_some(())
        })
        .await;
    }

    async fn end(self) -> Vec<String> {
        self.stop.store(true, Ordering::Relaxed);
        self.tasks.join_all().await;
        Arc::into_inner(self.ids).unwrap().into_inner().unwrap()
    }
}

fn passphrase(folder: &Path) -> PathBuf {
    let path = folder.join("passphrase");
    std::fs::write(&path, "correct horse battery\n").unwrap();
    path
}

/// `posternctl` about a backup, with its passphrase.
fn about_backup(data: &Path, passphrase: &Path, arguments: &[&str]) -> Command {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments)
        .arg("--passphrase-file")
        .arg(passphrase)
        .stdin(Stdio::null());
    command
}

async fn done(command: Command) -> Value {
    let (ok, document) = run(command).await;
    assert!(ok, "{document}");
    document
}

async fn refused(command: Command) -> String {
    let (ok, document) = run(command).await;
    assert!(!ok, "{document}");
    document["error"]["message"].as_str().unwrap().to_owned()
}

/// All items of a SQLite file.
async fn everything(path: &Path) -> Vec<Item> {
    let store = SqliteStore::open(path).unwrap();
    let mut snapshot = store.snapshot(now(), |_| true).await.unwrap();
    let mut items = Vec::new();
    loop {
        let more = snapshot.next(1000).await.unwrap();
        if more.is_empty() {
            return items;
        }
        items.extend(more);
    }
}

#[allow(
    clippy::disallowed_methods,
    reason = "the programs' times are the system's, and are held against it"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

/// Asserts that each device is whole, and that nothing is there of a device that is not; gives the devices.
fn assert_whole(items: &[Item]) -> BTreeSet<String> {
    let bodies: BTreeMap<(&str, &str), &Value> = items
        .iter()
        .map(|item| ((item.key.pk.as_str(), item.key.sk.as_str()), &item.body))
        .collect();
    let of = |kind: &str| {
        let kind = format!("{kind}#");
        let items = items
            .iter()
            .filter(move |item| item.key.pk.starts_with(&kind));
        items.collect::<Vec<&Item>>()
    };
    let holders = |kind: &str| {
        let items = of(kind).into_iter();
        let mut holders: Vec<String> = items
            .map(|item| item.body["by"].as_str().unwrap().to_owned())
            .collect();
        holders.sort();
        holders
    };
    let devices = of("device");
    let ids: BTreeSet<String> = devices.iter().map(|item| item.key.sk.clone()).collect();
    let sorted: Vec<String> = ids.iter().cloned().collect();
    for device in &devices {
        let lease = device.body["lease"].as_u64().unwrap();
        let place = format!("lease#{lease:08x}");
        let lease = bodies.get(&(place.as_str(), "lease"));
        assert_eq!(lease.unwrap()["by"], device.key.sk.as_str());
    }
    assert_eq!(holders("lease"), sorted, "one lease each");
    assert_eq!(holders("slot"), sorted, "one use each");
    let keys: Vec<String> = holders("key")
        .into_iter()
        .filter(|holder| ids.contains(holder) || holder.starts_with("d-"))
        .collect();
    let twice: Vec<String> = sorted
        .iter()
        .flat_map(|id| [id.clone(), id.clone()])
        .collect();
    assert_eq!(keys, twice, "two keys each");
    let mut listed: Vec<String> = of("roster")
        .iter()
        .map(|item| item.key.sk.clone())
        .collect();
    listed.sort();
    assert_eq!(listed, sorted, "one entry in the roster each");
    let mut told: Vec<String> = of("audit")
        .iter()
        .filter(|item| item.body["action"] == "device.enrolled")
        .map(|item| item.body["subject"].as_str().unwrap().to_owned())
        .collect();
    told.sort();
    assert_eq!(told, sorted, "one event each");
    ids
}

/// Removes the SQLite file of the network and what belongs to it.
fn lose_state(data: &Path) {
    for name in ["state.sqlite", "state.sqlite-wal", "state.sqlite-shm"] {
        let _ = std::fs::remove_file(data.join(name));
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_taken_in_a_storm_brings_the_network_back() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let passphrase = passphrase(folder.path());
    let file = folder.path().join("backup.age");
    let out = file.to_str().unwrap();
    let init = ["init", "--port=0", "--heartbeat=1", "--gateways=2"];
    posternctl(&data, &init).await;
    let up = Up::start(&data, &[]).await;
    let old = folder.path().join("old.json");
    postern(&old, &["enroll", &up.invite]).await;
    let invite = posternctl(&data, &["invite", "--uses=10000"]).await;
    let invite = invite["invite"].as_str().unwrap().to_owned();

    // The backup, with enrollments before, during and after it.
    let storm = Storm::begin(folder.path(), &invite);
    storm.until_enrolled(ENOUGH).await;
    let before = storm.enrolled();
    let backup = about_backup(&data, &passphrase, &["backup", "--out", out]);
    let taken = done(backup).await;
    let begun_before_end = storm.begun.load(Ordering::Relaxed);
    storm.until_enrolled(begun_before_end + ENOUGH).await;
    let all = storm.end().await;
    let check = about_backup(&data, &passphrase, &["backup", "check", out]);
    assert_eq!(done(check).await["items"], taken["items"]);
    let again = about_backup(&data, &passphrase, &["backup", "--out", out]);
    assert!(refused(again).await.contains("is there already"));
    let running = about_backup(&data, &passphrase, &["restore", out]);
    assert!(refused(running).await.contains("another 'posternctl up"));
    posternctl(&data, &["devices", "revoke", &before[0]]).await;

    // Everything is lost, and comes back, though the restore is killed on its way.
    up.kill().await;
    lose_state(&data);
    let elsewhere = format!("sqlite:{}", folder.path().join("elsewhere").display());
    let since = tokio::time::Instant::now();
    let command = about_backup(&data, &passphrase, &["restore", out, "--store", &elsewhere]);
    done(command).await;
    let duration = since.elapsed();
    for kill in 1..=KILLS {
        // Later and later: in the second half, when it writes.
        kill_after(
            about_backup(&data, &passphrase, &["restore", out]),
            duration.mul_f64(0.5 + 0.5 * f64::from(kill) / f64::from(KILLS + 1)),
        )
        .await;
    }
    done(about_backup(&data, &passphrase, &["restore", out])).await;

    let devices = assert_whole(&everything(&data.join("state.sqlite")).await);
    assert!(
        before.iter().all(|id| devices.contains(id)),
        "all of before"
    );
    let lost: Vec<&String> = all.iter().filter(|id| !devices.contains(*id)).collect();
    assert!(
        lost.len() >= ENOUGH,
        "what came after the backup is not in it"
    );

    // The network goes on with it.
    let up = Up::start(&data, &[]).await;
    assert_goes_on(&up, folder.path(), &old, (&invite, &before[0])).await;
    up.stop().await;
    let again = about_backup(&data, &passphrase, &["restore", out]);
    assert_eq!(done(again).await["was_done"], true);
}

/// Starts the command, and kills it after this time if it is not over.
async fn kill_after(mut command: Command, time: Duration) {
    command.stdout(Stdio::null()).stderr(Stdio::null());
    let mut child = command.kill_on_drop(true).spawn().unwrap();
    if tokio::time::timeout(time, child.wait()).await.is_err() {
        child.kill().await.unwrap();
    }
}

/// Gateways are heard again, devices of before sync, and new ones enroll with a new invite alone.
async fn assert_goes_on(up: &Up, folder: &Path, old: &Path, (invite, revoked): (&str, &str)) {
    until("both gateways heard again", async || {
        let gateways = posternctl(&up.data, &["gateways"]).await;
        let is_heard =
            |gateway: &Value| gateway["state"] == "active" && gateway["seen_at"].is_string();
        let all = gateways.as_array().unwrap();
        (all.len() == 2 && all.iter().all(is_heard)).then_some(())
    })
    .await;
    let synced = postern(old, &["sync", "--contact"]).await;
    assert_eq!(synced["gateways"], 2, "{synced}");
    let late = folder.join("late.json");
    let error = postern_refused(&late, &["enroll", invite]).await;
    assert!(error.to_string().contains("withdrawn"), "{error}");
    let (ok, new) = run(postern_command(&late, &["enroll", &up.invite])).await;
    assert!(ok, "{new}");
    // What was revoked after the backup is active again: 'restore' says so.
    let devices = posternctl(&up.data, &["devices"]).await;
    let back = devices
        .as_array()
        .unwrap()
        .iter()
        .find(|device| device["id"] == revoked);
    assert_eq!(back.unwrap()["state"], json!("active"));
}

/// A network moves while it runs: `up` holds its own store, and another one is filled beside it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_backup_of_a_file_comes_back_in_postgresql_beside_a_running_network() {
    let Some(server) = Postgres::shared("a backup that comes back in PostgreSQL") else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let passphrase = passphrase(folder.path());
    let file = folder.path().join("backup.age");
    let out = file.to_str().unwrap();
    posternctl(
        &data,
        &["init", "--port=0", "--heartbeat=1", "--gateways=2"],
    )
    .await;
    let up = Up::start(&data, &[]).await;
    let device = folder.path().join("device.json");
    let enrolled = postern(&device, &["enroll", &up.invite]).await;

    // What is not there is not read, and not made.
    let mistyped = folder.path().join("mistyped");
    let name = format!("sqlite:{}", mistyped.display());
    let nothing = about_backup(
        &data,
        &passphrase,
        &["backup", "--out", out, "--store", &name],
    );
    assert!(refused(nothing).await.contains("there is no store"));
    let empty = server.fresh_database();
    let nothing = about_backup(
        &data,
        &passphrase,
        &["backup", "--out", out, "--store", &empty],
    );
    assert!(
        refused(nothing)
            .await
            .contains("there is no store postgres")
    );
    assert!(!mistyped.exists() && !file.exists());

    let taken = done(about_backup(&data, &passphrase, &["backup", "--out", out])).await;
    let own = format!(
        "sqlite:{}",
        std::path::absolute(data.join("state.sqlite"))
            .unwrap()
            .display()
    );
    assert_eq!(taken["store"], own.as_str());
    let check = done(about_backup(&data, &passphrase, &["backup", "check", out])).await;
    assert_eq!(check["store"], own.as_str());
    let url = server.fresh_database();
    let restore = ["restore", out, "--store", &url];
    let restored = done(about_backup(&data, &passphrase, &restore)).await;
    assert_eq!(restored["was_done"], false, "{restored}");
    let again = done(about_backup(&data, &passphrase, &restore)).await;
    assert_eq!(again["was_done"], true, "{again}");
    for same in [&["restore", out][..], &["restore", out, "--store", &own]] {
        let refusal = refused(about_backup(&data, &passphrase, same)).await;
        assert!(refusal.contains("another 'posternctl up"), "{refusal}");
    }

    // The network goes on from there.
    up.stop().await;
    std::fs::write(data.join("store"), format!("{url}\n")).unwrap();
    let up = Up::start(&data, &[]).await;
    let devices = posternctl(&data, &["devices"]).await;
    assert_eq!(devices[0]["id"], enrolled["device"], "{devices}");
    until("the device finds both gateways", async || {
        let synced = postern(&device, &["sync", "--contact"]).await;
        (synced["gateways"] == 2).then_some(())
    })
    .await;
    up.stop().await;
}
