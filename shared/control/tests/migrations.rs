//! Items of older forms become the newest in the background, on every database: whatever was written before,
//! whoever writes meanwhile, wherever a run ends.

mod common;

use std::collections::BTreeMap;
use std::path::PathBuf;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};

use api::admin::WantedState;
use common::documents::export;
use common::{START, Stage, after, dynamodb, postgres};
use control::Error;
use control::calls::Meter;
use control::gateways::{self, states};
use control::items::forms::{self, Kind, SCHEMA};
use control::items::{self, Read as _};
use control::migration::{self, Census, Left, Migrated, Progress, Run, SETTLE, Standing};
use control::restore::{self, Marker};
use control::state::StateError;
use futures_util::FutureExt as _;
use jiff::{SignedDuration, Timestamp};
use model::{Gateway, GatewayId, Invite};
use serde_json::{Value, json};
use store::conformance::{Call, Fate, Kept, Watched};
use store::{
    Archive, Change, CommitError, Expect, Item, Key, MOST_WRITES, MemoryStore, SqliteStore, Store,
    StoreError, Write,
};

/// When the pass begins that counts.
fn settled() -> Timestamp {
    START + SETTLE
}

/// An empty store of each kind that is installed.
async fn stores(tests: &str) -> Vec<(&'static str, Arc<dyn Archive>)> {
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("state")).unwrap();
    let mut stores: Vec<(&str, Arc<dyn Archive>)> = vec![
        ("memory", Arc::new(MemoryStore::new())),
        ("SQLite", Arc::new(Watched::new(sqlite, Kept(folder)))),
    ];
    if let Some(store) = postgres::fresh(&format!("{tests} on PostgreSQL")).await {
        stores.push(("PostgreSQL", Arc::new(store)));
    }
    if let Some(store) = dynamodb::fresh(&format!("{tests} on DynamoDB")).await {
        stores.push(("DynamoDB", Arc::new(store)));
    }
    stores
}

/// The forms of a kind that were ever written, the first one first.
fn fixtures(kind: &Kind) -> Vec<Value> {
    let folder = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/items");
    let path = |number| folder.join(kind.name).join(format!("{number}.json"));
    let texts = (1..).map_while(|number| std::fs::read_to_string(path(number)).ok());
    texts
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect()
}

/// Where an item of the kind can be.
fn place(kind: &Kind) -> Key {
    let (pk, sk) = match kind.name {
        "audit" => ("audit#2027-01-15#0", "01900000-0000-7000-8000-000000000000"),
        "challenge" => ("challenge#00", "challenge"),
        "session" => ("session#a-2nbgc44nxp36zrxkliddlnamxi", "00"),
        "roster-entry" => ("roster#default#00", "d-gfkfeaean2g25lg3xkdpqjkqau"),
        "shard-version" => ("roster-versions#default", "00"),
        "taken" => ("lease#00000007", "lease"),
        "mirror" => ("catalog", "mirror#one"),
        "epochs" => ("epoch", "current"),
        "policy" | "fleet" => (kind.name, "current"),
        "import-cursor" => ("import", "cursor"),
        name => {
            let partitions = kind.partitions();
            let key = Key::new(partitions.last().unwrap(), name);
            assert_eq!(forms::of(&key).unwrap().name, name);
            return key;
        }
    };
    Key::new(pk, sk)
}

/// An item of each kind in the form of that number, or its last one; with or without the number.
fn items_of_form(form: usize, is_numbered: bool) -> Vec<Item> {
    // The background's own item is what it works with.
    let kinds = forms::ALL.iter().filter(|kind| kind.name != "migration");
    let kinds = kinds.map(|kind| {
        let fixtures = fixtures(kind);
        let form = form.min(fixtures.len());
        let mut body = fixtures[form - 1].clone();
        if is_numbered {
            body[SCHEMA] = form.into();
        }
        Item {
            key: place(kind),
            version: 3,
            body,
            expires_at: (kind.name == "node").then(|| after(1_000_000)),
        }
    });
    kinds.collect()
}

async fn run(store: &dyn Store, now: Timestamp) -> Migrated {
    within(u32::MAX, store, now).await.unwrap()
}

/// A run of so many calls.
async fn within(calls: u32, store: &dyn Store, now: Timestamp) -> Result<Migrated, Error> {
    let run = Run {
        store,
        meter: &Meter::new(calls),
        now,
        is_late: &|| false,
    };
    migration::run(&run).await
}

/// Runs until nothing is left.
async fn finish(store: &dyn Store) {
    run(store, START).await;
    for _ in 0..10 {
        if run(store, settled()).await.left == Left::Nothing {
            return;
        }
    }
    panic!("it does not come to an end");
}

async fn everything(store: &dyn Archive) -> BTreeMap<Key, Item> {
    let mut snapshot = store.snapshot(START, |_| true).await.unwrap();
    let mut items = BTreeMap::new();
    loop {
        let more = snapshot.next(500).await.unwrap();
        if more.is_empty() {
            return items;
        }
        items.extend(more.into_iter().map(|item| (item.key.clone(), item)));
    }
}

/// All but what the background keeps of itself.
async fn contents(store: &dyn Archive) -> BTreeMap<Key, Item> {
    let mut items = everything(store).await;
    items.remove(&items::migration());
    items
}

/// A gateway of before there were pools, with another id.
fn old_gateway(number: usize) -> Item {
    let id = format!("g-{number:04}");
    let mut body = fixtures(forms::of(&Key::new("gateway", "g")).unwrap()).remove(0);
    body["id"] = json!(id);
    Item {
        key: Key::new(items::GATEWAYS, id),
        version: 1,
        body,
        expires_at: None,
    }
}

fn gateway_key(number: usize) -> Key {
    old_gateway(number).key
}

async fn load(store: &dyn Archive, items: &[Item]) {
    for items in items.chunks(MOST_WRITES) {
        store.load(START, items).await.unwrap();
    }
}

#[tokio::test]
async fn every_form_that_was_ever_written_becomes_what_is_written_now() {
    let most = forms::ALL.iter().map(|kind| fixtures(kind).len()).max();
    for form in 1..=most.unwrap() {
        for is_numbered in [false, true] {
            for (name, store) in stores("migrations").await {
                let planted = items_of_form(form, is_numbered);
                load(&*store, &planted).await;

                finish(&*store).await;

                let found = contents(&*store).await;
                assert_eq!(found.len(), planted.len());
                for before in planted {
                    let kind = forms::of(&before.key).unwrap();
                    let is_old = forms::number(&before).unwrap() < kind.writes;
                    let expected = Item {
                        version: before.version + u64::from(is_old),
                        body: if is_old {
                            kind.rewritten(&before).unwrap()
                        } else {
                            before.body.clone()
                        },
                        ..before
                    };
                    assert_eq!(found[&expected.key], expected, "form {form} on {name}");
                }
            }
        }
    }
}

#[tokio::test]
async fn what_was_rewritten_is_counted_and_shown() {
    let store = MemoryStore::new();
    load(&store, &items_of_form(1, false)).await;
    let old = forms::ALL.iter().filter(|kind| kind.writes > 1).count() as u64;
    let census = async || {
        let mut census = Census::default();
        for item in contents(&store).await.values() {
            census.add(item);
        }
        let rows = census.rows().into_iter();
        let (older, others): (Vec<_>, Vec<_>) =
            rows.partition(|row| row.standing == Standing::Older);
        assert!(others.iter().all(|row| row.standing == Standing::Written));
        older.iter().map(|row| row.items).sum::<u64>()
    };
    assert_eq!(census().await, old);

    let done = run(&store, START).await;

    assert_eq!((done.rewritten, done.lost), (old, 0));
    assert_eq!(done.left, Left::Waits { until: settled() });
    assert_eq!(census().await, 0);
    let progress = migration::progress(&store, START).await.unwrap();
    assert_eq!(progress.pass.unwrap().rewritten, old);
}

#[tokio::test]
async fn a_network_at_rest_costs_one_read_a_run() {
    let store = MemoryStore::new();
    load(&store, &items_of_form(1, false)).await;
    finish(&store).await;
    let before = everything(&store).await;

    let meter = Meter::new(u32::MAX);
    let at_rest = Run {
        store: &store,
        meter: &meter,
        now: settled(),
        is_late: &|| false,
    };
    let done = migration::run(&at_rest).await.unwrap();

    assert_eq!(done.left, Left::Nothing);
    assert_eq!(meter.spent(), 1);
    assert_eq!(everything(&store).await, before);
}

#[tokio::test]
async fn what_somebody_else_changed_meanwhile_is_left_for_the_next_pass() {
    let store = Arc::new(MemoryStore::new());
    load(&*store, &[old_gateway(1), old_gateway(2), old_gateway(3)]).await;
    // A program of before writes its form between the read and the write.
    let (theirs, is_first) = (Arc::clone(&store), AtomicBool::new(true));
    let mut item = old_gateway(2);
    item.body["region"] = json!("hel1");
    let watched = Watched::new(Arc::clone(&store), move |call: Call<'_>| {
        if matches!(call, Call::Commit(_)) && is_first.swap(false, Ordering::Relaxed) {
            let write = Write {
                key: item.key.clone(),
                expect: Expect::Version(1),
                change: Change::Put {
                    body: item.body.clone(),
                    expires_at: None,
                },
            };
            let put = theirs.commit(START, vec![write]).now_or_never();
            put.unwrap().unwrap();
        }
        Fate::Answered
    });

    let first = run(&watched, START).await;

    assert_eq!((first.rewritten, first.lost), (2, 1));
    finish(&watched).await;
    let found = contents(&*store).await;
    let gateway: Gateway = found[&gateway_key(2)].read().unwrap();
    assert_eq!(
        (&*gateway.region, gateway.pool.as_str()),
        ("hel1", "ingress")
    );
    for item in found.values() {
        assert_eq!(item.body[SCHEMA], 2);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nothing_is_lost_while_others_write() {
    const GATEWAYS: usize = 12;
    const WRITERS: usize = 3;
    const CHANGES: usize = 40;
    for (name, store) in stores("migrations beside writers").await {
        let planted: Vec<Item> = (0..GATEWAYS).map(old_gateway).collect();
        load(&*store, &planted).await;
        // Each writer moves each gateway's last change on by a second, again and again.
        let writers = (0..WRITERS).map(|writer| {
            let store = Arc::clone(&store);
            tokio::spawn(async move {
                let mut changes = BTreeMap::<Key, i64>::new();
                for change in 0..CHANGES {
                    let key = gateway_key((writer * 5 + change) % GATEWAYS);
                    let found = store
                        .get_many(START, std::slice::from_ref(&key))
                        .await
                        .unwrap();
                    let item = found[0].as_ref().unwrap();
                    let mut gateway: Gateway = item.read().unwrap();
                    gateway.changed_at += SignedDuration::from_secs(1);
                    let expect = Expect::Version(item.version);
                    let write = items::put(key.clone(), expect, &gateway);
                    match store.commit(START, vec![write]).await {
                        Ok(()) => *changes.entry(key).or_default() += 1,
                        Err(CommitError::Failed(_)) => {}
                        Err(error) => panic!("{error}"),
                    }
                }
                changes
            })
        });
        let writers: Vec<_> = writers.collect();

        finish(&*store).await;
        let mut changes = BTreeMap::<Key, i64>::new();
        for writer in writers {
            for (key, count) in writer.await.unwrap() {
                *changes.entry(key).or_default() += count;
            }
        }

        let found = contents(&*store).await;
        assert_eq!(found.len(), GATEWAYS);
        for before in planted {
            let item = &found[&before.key];
            let mut expected: Gateway = before.read().unwrap();
            let count = changes.get(&before.key).copied().unwrap_or(0);
            expected.changed_at += SignedDuration::from_secs(count);
            assert_eq!(item.read::<Gateway>().unwrap(), expected, "on {name}");
            assert_eq!(item.body[SCHEMA], 2, "on {name}");
        }
    }
}

/// Old items of some kinds, more than fit a page of one.
fn many() -> Vec<Item> {
    let invites = fixtures(forms::of(&Key::new("invite", "i")).unwrap());
    let invites = (0..230).map(|number| Item {
        key: Key::new(items::INVITES, format!("i-{number:05}")),
        version: 1,
        body: invites[number % 2].clone(),
        expires_at: None,
    });
    let mut items = items_of_form(1, false);
    items.extend(invites);
    items
}

#[tokio::test]
async fn a_run_that_ends_at_any_call_is_gone_on_with() {
    let whole = MemoryStore::new();
    load(&whole, &many()).await;
    finish(&whole).await;
    let expected = contents(&whole).await;

    for fate in [Fate::Lost, Fate::Refused] {
        for step in 0.. {
            let store = Arc::new(MemoryStore::new());
            load(&*store, &many()).await;
            let left = AtomicUsize::new(step);
            let watched = Watched::new(Arc::clone(&store), move |_: Call<'_>| {
                let less = |left: usize| left.checked_sub(1);
                match left.fetch_update(Ordering::Relaxed, Ordering::Relaxed, less) {
                    Ok(_) => Fate::Answered,
                    Err(_) => fate,
                }
            });
            let ended = within(u32::MAX, &watched, START).await;
            if ended.is_ok() {
                assert!(step > 40, "{step} calls were all that there is to end at");
                break;
            }

            finish(&*store).await;

            assert_eq!(contents(&*store).await, expected, "ended at {step}");
        }
    }
}

#[tokio::test]
async fn small_runs_come_to_the_same_end_within_their_calls() {
    let whole = MemoryStore::new();
    load(&whole, &many()).await;
    finish(&whole).await;

    let store = MemoryStore::new();
    load(&store, &many()).await;
    let (mut runs, mut now) = (0, START);
    loop {
        let meter = Meter::new(6);
        let run = Run {
            store: &store,
            meter: &meter,
            now,
            is_late: &|| false,
        };
        let done = migration::run(&run).await.unwrap();
        assert!(meter.spent() <= 6);
        runs += 1;
        match done.left {
            Left::Nothing => break,
            Left::Waits { until } => now = until,
            Left::More => assert!(runs < 100, "it does not come to an end"),
            Left::Held => panic!("nothing holds it"),
        }
    }

    assert!(runs > 20, "{runs} runs of six calls");
    assert_eq!(contents(&store).await, contents(&whole).await);
}

#[tokio::test]
async fn what_a_release_of_before_writes_behind_a_pass_is_found_by_the_last() {
    let store = MemoryStore::new();
    load(&store, &[old_gateway(1)]).await;
    run(&store, START).await;
    load(&store, &[old_gateway(2)]).await;

    // Too early to know whether such a release still works.
    let early = run(&store, settled() - SignedDuration::from_millis(1)).await;
    assert_eq!(
        (early.read, early.left),
        (0, Left::Waits { until: settled() })
    );
    let found = run(&store, settled()).await;
    assert_eq!((found.rewritten, found.left), (1, Left::More));
    let last = run(&store, settled()).await;

    assert_eq!((last.rewritten, last.left), (0, Left::Nothing));
}

#[tokio::test]
async fn after_a_release_was_taken_back_its_items_are_looked_for_again() {
    let store = MemoryStore::new();
    finish(&store).await;
    let mut progress = migration::progress(&store, START).await.unwrap();
    assert_eq!(progress.done["gateway"], 2);
    progress.done.insert("gateway".to_owned(), 3);
    let later = Write {
        expect: Expect::Present,
        ..items::put(items::migration(), Expect::Any, &progress)
    };
    store.commit(START, vec![later]).await.unwrap();
    load(&store, &[old_gateway(1)]).await;

    let done = run(&store, START).await;

    assert_eq!(done.rewritten, 1);
    finish(&store).await;
    let progress: Progress = migration::progress(&store, START).await.unwrap();
    assert_eq!(progress.done["gateway"], 2);
}

/// A gateway that a newer release has written.
fn of_the_future() -> Item {
    let mut item = old_gateway(1);
    item.body = json!({"label": "g-0001", "schema": 3});
    item
}

#[tokio::test]
async fn an_item_from_the_future_is_refused_and_left_as_it_is() {
    for (name, store) in stores("items from the future").await {
        load(&*store, &[of_the_future(), old_gateway(2)]).await;
        let stage = Stage::memory().through(Arc::clone(&store) as Arc<dyn Store>);
        let context = stage.context(START);
        let id: GatewayId = "g-0001".parse().unwrap();

        let read = gateways::list(&context).await.map(drop);
        let by = common::operator();
        let changed = states::change(&context, &by, &id, WantedState::Draining);
        let changed = changed.await.map(drop);
        let exported = export(&*store, START, Some(&stage.network)).await.map(drop);
        finish(&*store).await;

        for refused in [read, changed] {
            let Err(Error::Store(StoreError::Newer(why))) = refused else {
                panic!("{refused:?} on {name}");
            };
            assert!(why.contains("gateway/g-0001 has the form 3"), "{why}");
            assert!(why.contains("install the newest release"), "{why}");
        }
        assert!(
            matches!(exported, Err(StateError::Store(StoreError::Newer(_)))),
            "{exported:?}"
        );
        let found = contents(&*store).await;
        assert_eq!(found[&gateway_key(1)], of_the_future());
        assert_eq!(found[&gateway_key(2)].body[SCHEMA], 2);
    }
}

#[tokio::test]
async fn what_cannot_be_read_is_named_and_stands_in_nobodys_way() {
    let store = MemoryStore::new();
    let mut broken = old_gateway(1);
    broken.body = json!({"id": "g-0001"});
    load(&store, &[broken.clone(), old_gateway(2)]).await;

    let done = run(&store, START).await;

    assert_eq!((done.rewritten, done.unreadable.len()), (1, 1));
    assert!(done.unreadable[0].contains("gateway/g-0001"), "{done:?}");
    finish(&store).await;
    assert_eq!(contents(&store).await[&broken.key], broken);
}

#[tokio::test]
async fn nothing_is_touched_while_a_restore_has_not_ended() {
    let store = MemoryStore::new();
    let marker = Marker {
        backup: "00".to_owned(),
        taken_at: START,
        restored_at: START,
        as_it_was: true,
        done_at: None,
    };
    restore::begin(&store, START, &marker).await.unwrap();
    load(&store, &[old_gateway(1)]).await;
    let before = everything(&store).await;

    let done = run(&store, START).await;

    assert_eq!((done.left, done.read), (Left::Held, 0));
    assert_eq!(everything(&store).await, before);
}

#[tokio::test]
async fn what_a_use_case_writes_has_its_number() {
    let stage = Stage::memory();
    let invite = stage.invite(1, 2).await;
    stage.bring_up(START, &[1]).await;
    stage.enroll(START, 1, 0).await.unwrap();

    let keys = [gateway_key(1), items::invite(&invite)];
    let found = stage.store.get_many(START, &keys).await.unwrap();

    for (item, number) in found.iter().zip([2, 3]) {
        assert_eq!(item.as_ref().unwrap().body[SCHEMA], number);
    }
    let invite: Invite = found[1].as_ref().unwrap().read().unwrap();
    assert_eq!(invite.uses, 2);
}
