//! From a store to a file and into any other, with an end at every step on the way.

use std::collections::BTreeMap;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use control::{Context, Moment, items};
use model::{AddressPools, Network, NetworkId, Timing};
use serde_json::json;
use store::conformance::{Between, Call, Fate, Watched};
use store::{Expect, Key, MemoryStore, SqliteStore, Store, Write};

use super::*;
use crate::backup::take::take;

#[path = "../../../../../shared/store/tests/common/dynamodb.rs"]
mod dynamodb;
#[path = "../../../../../shared/store/tests/common/postgres.rs"]
mod postgres;

const TAKEN: Timestamp = Timestamp::constant(1_800_000_000, 0);
const RESTORED: Timestamp = Timestamp::constant(1_800_000_600, 0);
const PASSPHRASE: &str = "correct horse";
/// Cheap, for tests.
const WORK: u8 = 4;

fn network() -> Network {
    let pool = |third: u8| format!("10.0.{third}.0/24").parse().unwrap();
    let ula = "fd00:1:2::/48".parse().unwrap();
    Network {
        id: NetworkId::from_random([7; 5]),
        pools: AddressPools::new(pool(0), pool(1), ula).unwrap(),
        timing: Timing::default(),
        sealed_only: false,
    }
}

/// A store with what every network has, and so many items of a kind that comes back as it was.
async fn filled(count: usize) -> MemoryStore {
    let store = MemoryStore::new();
    let put = |key, body| Write::put(key, Expect::Absent, &body);
    let mut writes = vec![
        put(items::reserved(), json!({"version": 7})),
        put(items::revocations(), json!({"count": 2})),
        put(items::challenge("hash"), json!({"admin": "someone"})),
    ];
    for number in 0..count {
        let key = Key::new(format!("lease#{number:08x}"), "lease");
        writes.push(put(key, json!({"by": format!("holder {number}")})));
    }
    let brief = Write::put_until(
        Key::new("lease#ffffffff", "lease"),
        Expect::Absent,
        &json!({"by": "rests"}),
        Some(RESTORED),
    );
    writes.push(brief);
    for writes in writes.chunks(MOST_WRITES) {
        store.commit(TAKEN, writes.to_vec()).await.unwrap();
    }
    store
}

struct Backup {
    folder: tempfile::TempDir,
    checked: Checked,
}

impl Backup {
    async fn of(store: &dyn Archive) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let path = folder.path().join("backup.age");
        let header = Header::new(network().id, TAKEN, "memory:".to_owned());
        take(store, &header, &path, (PASSPHRASE, WORK))
            .await
            .unwrap();
        let checked = check(&path, PASSPHRASE).unwrap();
        Self { folder, checked }
    }

    fn path(&self) -> std::path::PathBuf {
        self.folder.path().join("backup.age")
    }

    async fn restore(&self, store: &dyn Archive, now: Timestamp) -> anyhow::Result<Done> {
        let network = network();
        let context = Context {
            store,
            network: &network,
            moment: Moment::new(now, [1; 32]),
        };
        let path = self.path();
        restore(&context, store, (&path, PASSPHRASE, &self.checked), false).await
    }
}

/// All that stands in a store, but for what tells of the restore itself.
async fn contents(store: &dyn Archive) -> Vec<Item> {
    let mut snapshot = store.snapshot(RESTORED, |_| true).await.unwrap();
    let mut items = Vec::new();
    loop {
        let more = snapshot.next(100).await.unwrap();
        if more.is_empty() {
            break;
        }
        items.extend(more);
    }
    items.retain(|item| item.key != items::restored() && !item.key.pk.starts_with("audit#"));
    items.sort_by(|a, b| a.key.cmp(&b.key));
    items
}

#[tokio::test]
async fn a_backup_comes_back_into_a_store_of_each_kind() {
    let source = filled(250).await;
    let backup = Backup::of(&source).await;
    let folder = tempfile::tempdir().unwrap();
    let sqlite = SqliteStore::open(&folder.path().join("state")).unwrap();
    let mut stores: Vec<Arc<dyn Archive>> = vec![Arc::new(MemoryStore::new()), Arc::new(sqlite)];
    if let Some(store) = dynamodb::fresh("a restore into DynamoDB").await {
        stores.push(Arc::new(store));
    }
    if let Some(store) = postgres::fresh("a restore into PostgreSQL").await {
        stores.push(Arc::new(store));
    }

    let mut all = Vec::new();
    for store in stores {
        let done = backup.restore(store.as_ref(), RESTORED).await.unwrap();
        let items = contents(store.as_ref()).await;
        // Without the challenge and what has expired; with a policy, and the record of it.
        assert_eq!((done.items, items.len()), (254, 254));
        all.push(items);
    }

    let leases = |items: &[Item]| {
        let leases = items
            .iter()
            .filter(|item| item.key.pk.starts_with("lease#"));
        leases.cloned().collect::<Vec<_>>()
    };
    assert_eq!(leases(&all[0]), leases(&contents(&source).await));
    assert!(all.iter().all(|items| *items == all[0]));
}

#[tokio::test]
async fn a_restore_that_ends_at_any_step_goes_on() {
    let source = filled(350).await;
    let backup = Backup::of(&source).await;
    let later = RESTORED + jiff::SignedDuration::from_secs(3600);
    let mut expected = BTreeMap::new();
    for begun in [RESTORED, later] {
        let whole = MemoryStore::new();
        backup.restore(&whole, begun).await.unwrap();
        expected.insert(begun, contents(&whole).await);
    }

    let mut ends = 0;
    for step in 0.. {
        for is_done in [false, true] {
            let store = ending(MemoryStore::new(), step, is_done);
            let first = backup.restore(&store, RESTORED).await;
            if first.is_ok() {
                assert!(step > 8, "{step} steps were all that there is to end at");
                assert_eq!(ends, 2 * step);
                return;
            }
            ends += 1;
            store.between.left.store(usize::MAX, Ordering::Relaxed);
            let second = backup.restore(&store, later).await.unwrap();

            // Where not even the marker was put, the second restore is the first.
            let begun = second.marker.restored_at;
            assert_eq!(contents(&store).await, expected[&begun], "step {step}");
            let marker = restore::marker(&store, later).await.unwrap().unwrap().0;
            assert!(marker.done_at.is_some());
        }
    }
}

#[tokio::test]
async fn a_restore_that_was_done_is_done_no_second_time() {
    let backup = Backup::of(&filled(3).await).await;
    let store = MemoryStore::new();
    backup.restore(&store, RESTORED).await.unwrap();
    let mine = Write::put(Key::new("lease#mine", "lease"), Expect::Absent, &json!({}));
    store.commit(RESTORED, vec![mine]).await.unwrap();
    let before = contents(&store).await;

    let again = backup.restore(&store, RESTORED).await.unwrap();

    assert!(again.already);
    assert_eq!(contents(&store).await, before);
}

#[tokio::test]
async fn a_store_that_holds_something_else_is_left_alone() {
    let backup = Backup::of(&filled(3).await).await;
    let other = Backup::of(&filled(4).await).await;
    let restored = MemoryStore::new();
    other.restore(&restored, RESTORED).await.unwrap();
    for (store, expected) in [(filled(3).await, "not empty"), (restored, "another backup")] {
        let before = contents(&store).await;

        let error = backup.restore(&store, RESTORED).await.unwrap_err();

        assert!(error.to_string().contains(expected), "{error}");
        assert_eq!(contents(&store).await, before);
    }
}

#[tokio::test]
async fn somebody_who_writes_meanwhile_is_noticed() {
    let backup = Backup::of(&filled(3).await).await;
    for key in [
        Key::new("lease#00000001", "lease"),
        Key::new("other", "item"),
    ] {
        let store = MemoryStore::new();
        // Stopped behind its marker.
        let ending = ending(store, 3, true);
        backup.restore(&ending, RESTORED).await.unwrap_err();
        ending.between.left.store(usize::MAX, Ordering::Relaxed);
        let delete = Write {
            key: key.clone(),
            expect: Expect::Any,
            change: store::Change::Delete,
        };
        ending.commit(RESTORED, vec![delete]).await.unwrap();
        let theirs = Write::put(key, Expect::Absent, &json!({"by": "somebody else"}));
        ending.commit(RESTORED, vec![theirs]).await.unwrap();

        let error = backup.restore(&ending, RESTORED).await.unwrap_err();

        assert!(
            error.to_string().contains("something else writes"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_backup_of_a_newer_release_is_refused_before_anything_is_put() {
    let source = filled(3).await;
    let newer = json!({"by": "somebody", "schema": 1_000});
    let write = Write::put(Key::new("lease#7", "lease"), Expect::Absent, &newer);
    source.commit(TAKEN, vec![write]).await.unwrap();
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.age");
    let header = Header::new(network().id, TAKEN, "memory:".to_owned());
    // It can be taken: items are as they are.
    take(&source, &header, &path, (PASSPHRASE, WORK))
        .await
        .unwrap();

    let error = format!("{:#}", check(&path, PASSPHRASE).unwrap_err());

    assert!(
        error.contains("lease#7/lease has the form 1000 of 'taken'"),
        "{error}"
    );
    assert!(error.contains("install the newest release"), "{error}");
}

#[tokio::test]
async fn nothing_is_written_of_a_file_that_is_not_whole() {
    let backup = Backup::of(&filled(2000).await).await;
    let whole = std::fs::read(backup.path()).unwrap();
    let wrong = check(&backup.path(), "wrong").unwrap_err();
    let mut altered = whole.clone();
    altered[whole.len() / 2] ^= 1;
    let cases = [
        (altered, "damaged"),
        (whole[..whole.len() - 1].to_vec(), "cut off"),
        (whole[..100_000].to_vec(), "cut off"),
        (whole[..70].to_vec(), "cut off"),
        (Vec::new(), "no backup"),
        (b"PK something else\n".to_vec(), "not encrypted by age"),
    ];

    assert!(format!("{wrong:#}").contains("passphrase"), "{wrong:#}");
    for (bytes, expected) in cases {
        let path = backup.folder.path().join("other.age");
        std::fs::write(&path, bytes).unwrap();
        let error = format!("{:#}", check(&path, PASSPHRASE).unwrap_err());
        assert!(
            error.contains(expected) && error.contains("other.age"),
            "{error}"
        );
    }
}

#[tokio::test]
async fn a_backup_is_for_its_owner_alone_and_appears_whole() {
    use std::os::unix::fs::PermissionsExt;
    let backup = Backup::of(&filled(3).await).await;
    let mode = std::fs::metadata(backup.path())
        .unwrap()
        .permissions()
        .mode();
    assert_eq!(mode & 0o777, 0o600);

    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("backup.age");
    let header = Header::new(network().id, TAKEN, "memory:".to_owned());
    let empty = take(&MemoryStore::new(), &header, &path, (PASSPHRASE, WORK)).await;
    let broken = ending(filled(300).await, 1, false);
    let cut = take(&broken, &header, &path, (PASSPHRASE, WORK)).await;

    assert!(empty.unwrap_err().to_string().contains("holds nothing"));
    assert!(cut.is_err());
    assert_eq!(std::fs::read_dir(folder.path()).unwrap().count(), 0);
}

/// What lets a store end after so many calls: the last one is done, or not.
struct Ends {
    left: AtomicUsize,
    is_done: bool,
}

impl Between for Ends {
    fn fate(&self, call: Call<'_>) -> Fate {
        if matches!(call, Call::Query(_)) {
            return Fate::Answered;
        }
        let less = |left: usize| Some(left.saturating_sub(1));
        let left = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
        match left {
            Ok(0) if self.is_done => Fate::Lost,
            Ok(0) => Fate::Refused,
            _ => Fate::Answered,
        }
    }
}

/// `store`, which ends after so many calls.
fn ending(store: MemoryStore, left: usize, is_done: bool) -> Watched<MemoryStore, Ends> {
    let left = AtomicUsize::new(left);
    Watched::new(store, Ends { left, is_done })
}
