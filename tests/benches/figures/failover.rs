//! A sync with all front doors healthy, and with four of five failing in four ways.

use std::path::PathBuf;
use std::time::Duration;

use client::{Clock, Context, Device, Web, doors};
use harness::{Door, Fault, Site};
use rules::ranking::History;

use super::world::{World, moment};
use super::{ms, row, start};

const RUNS: usize = 15;

struct SystemTime;

impl Clock for SystemTime {
    fn now(&self) -> jiff::Timestamp {
        moment().now
    }
}

pub async fn run() {
    let world = World::new();
    world.gateways(100).await;
    world.publish().await;
    let older = world.folder.path().join("older");
    copy(&world.site(), &older);
    let mut five = Vec::new();
    for _ in 0..5 {
        five.push(Door::open(Site::Folder(world.site())).await);
    }
    let urls: Vec<_> = five.iter().map(Door::url).collect();
    let device = world.device(&urls).await;
    let healthy = sync_time(&device, None).await;
    row(
        "sync, five doors healthy, 100 gateways",
        &ms(healthy),
        &format!("{}: one GET of the bundle", ms(get(&five[4]).await)),
    );

    // The device holds a newer version than the door with the old copy has.
    let device = synced_to_newer(&world, device).await;
    let faults = [
        Fault::Stopped,
        Fault::Altered,
        Fault::Older(older),
        Fault::Silent,
    ];
    for (door, fault) in five.iter_mut().zip(faults) {
        door.set(fault).await;
    }
    // Worst case: the one healthy door is asked last.
    let failing = sync_time(&device, Some(&five[4].url())).await;
    row(
        "sync, four of five failing (refused, altered, older, silent), the healthy one asked last",
        &ms(failing),
        &format!(
            "{}: 1.5 times the healthy one's time and the silent door's stagger",
            ms(healthy * 3 / 2 + Duration::from_millis(250))
        ),
    );
}

/// The median time of a sync from the same beginning.
async fn sync_time(device: &Device, last: Option<&str>) -> Duration {
    let web = Web::new().expect("a client");
    let context = Context {
        web: &web,
        clock: &SystemTime,
        options: doors::Options::default(),
    };
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let mut device = device.clone();
        if let Some(last) = last {
            let history = History {
                rtt_ms: Some(390),
                ..History::default()
            };
            device.doors.entry(last.to_owned()).or_default().history = history;
        }
        let began = start();
        let report = client::sync::sync(&mut device, &context)
            .await
            .expect("a door serves");
        times.push(began.elapsed());
        if let Some(last) = last {
            assert_eq!(report.door, last);
        }
    }
    times.sort_unstable();
    times[RUNS / 2]
}

async fn get(door: &Door) -> Duration {
    let http = api::http_client::http_client("bench", Duration::from_secs(20)).expect("a client");
    let url = format!("{}/bundles/cohort/default", door.url());
    let mut times = Vec::new();
    for _ in 0..RUNS {
        let began = start();
        let answer = http.get(&url).send().await.expect("an answer");
        answer.bytes().await.expect("a body");
        times.push(began.elapsed());
    }
    times.sort_unstable();
    times[RUNS / 2]
}

/// The device after a sync of the first version, with a second one published since.
async fn synced_to_newer(world: &World, mut device: Device) -> Device {
    let web = Web::new().expect("a client");
    let context = Context {
        web: &web,
        clock: &SystemTime,
        options: doors::Options::default(),
    };
    world.gateways_from(100, 101).await;
    world.publish().await;
    client::sync::sync(&mut device, &context)
        .await
        .expect("a door serves");
    world.gateways_from(101, 102).await;
    world.publish().await;
    device.doors.clear();
    device
}

fn copy(from: &PathBuf, to: &PathBuf) {
    std::fs::create_dir_all(to).expect("a folder");
    for entry in std::fs::read_dir(from).expect("a folder") {
        let entry = entry.expect("an entry");
        let (path, target) = (entry.path(), to.join(entry.file_name()));
        if path.is_dir() {
            copy(&path, &target);
        } else {
            std::fs::copy(path, target).expect("it is copied");
        }
    }
}
