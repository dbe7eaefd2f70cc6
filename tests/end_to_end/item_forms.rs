//! A network whose items were written by releases of before: the real program goes on with it, and writes them
//! anew while it runs.

use std::path::Path;

use control::items::{self, forms::SCHEMA};
use harness::{Up, postern, posternctl, until};
use jiff::Timestamp;
use store::{Archive, Change, Expect, Item, SqliteStore, Store, Write};

#[allow(
    clippy::disallowed_methods,
    reason = "the programs' times are the system's, and are held against it"
)]
fn now() -> Timestamp {
    Timestamp::now()
}

async fn everything(store: &SqliteStore) -> Vec<Item> {
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

/// Writes every item as it was written at first, without a number, and gateways without a pool; nothing knows
/// of a background yet. How many gateways there are.
async fn make_old(state: &Path) -> usize {
    let store = SqliteStore::open(state).unwrap();
    let mut gateways = 0;
    for mut item in everything(&store).await {
        let body = item.body.as_object_mut().unwrap();
        body.remove(SCHEMA);
        if item.key.pk == items::GATEWAYS {
            body.remove("pool").unwrap();
            gateways += 1;
        }
        let change = if item.key == items::migration() {
            Change::Delete
        } else {
            Change::Put {
                body: item.body,
                expires_at: item.expires_at,
            }
        };
        let write = Write {
            key: item.key,
            expect: Expect::Version(item.version),
            change,
        };
        store.commit(now(), vec![write]).await.unwrap();
    }
    gateways
}

/// How many items there are of forms that are not written any more, and of kinds and forms in all.
async fn older(data: &Path) -> (u64, usize) {
    let told = posternctl(data, &["state", "forms"]).await;
    let rows = told["forms"].as_array().unwrap();
    assert!(rows.iter().all(|row| row["standing"] != "newer"), "{told}");
    let older = rows.iter().filter(|row| row["standing"] == "older");
    let count = older.map(|row| row["items"].as_u64().unwrap()).sum();
    (count, rows.len())
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_of_before_there_were_numbers_goes_on_and_is_written_anew() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    posternctl(
        &data,
        &["init", "--port=0", "--heartbeat=1", "--gateways=2"],
    )
    .await;
    let up = Up::start(&data, &[]).await;
    let device = folder.path().join("device.json");
    postern(&device, &["enroll", &up.invite]).await;
    up.stop().await;
    let state = data.join("state.sqlite");
    assert_eq!(make_old(&state).await, 2);
    let (old, kinds) = older(&data).await;
    assert!(old >= 5 && kinds > 10, "{old} items of {kinds} kinds");

    let up = Up::start(&data, &[]).await;

    until("every item has the form that is written now", async || {
        (older(&data).await.0 == 0).then_some(())
    })
    .await;
    let gateways = posternctl(&data, &["gateways"]).await;
    let pools = gateways.as_array().unwrap().iter();
    let mut pools: Vec<&str> = pools
        .map(|gateway| gateway["pool"].as_str().unwrap())
        .collect();
    pools.sort_unstable();
    assert_eq!(pools, ["egress", "ingress"]);
    until("both gateways are listed", async || {
        let synced = postern(&device, &["sync", "--contact"]).await;
        (synced["gateways"] == 2).then_some(())
    })
    .await;
    up.stop().await;
}
