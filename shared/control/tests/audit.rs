//! Long lists: the audit of a day and the devices come page by page, in order, none twice and
//! none missing, also from a store whose pages are shorter than asked for.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use async_trait::async_trait;
use common::{START, Stage, after, device_id, operator};
use control::{audit, devices};
use jiff::Timestamp;
use model::{AuditEvent, Device, DeviceState, LeaseIndex};
use store::{CommitError, Expect, Item, Key, MemoryStore, Page, Range, Store, StoreError, Write};

/// A store whose pages are the shortest that the interface allows: at most 3 items, and each empty
/// one first says that more follows.
struct ShortPages(MemoryStore);

#[async_trait]
impl Store for ShortPages {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.0.get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        // A cursor before the range's end in its direction, and behind no item.
        let edge = if range.descending { "~~" } else { "!" };
        if after.is_none() {
            return Ok(Page {
                items: Vec::new(),
                next: Some(edge.to_owned()),
            });
        }
        let after = after.filter(|after| *after != edge);
        self.0.query(now, range, after, limit.min(3)).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.0.commit(now, writes).await
    }
}

fn stages() -> [Arc<Stage>; 3] {
    let [memory, sqlite] = Stage::of_each_kind(24);
    let short = memory.through(Arc::new(ShortPages(MemoryStore::new())));
    [memory, sqlite, Arc::new(short)]
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_events_of_a_day_come_newest_first_none_twice_and_none_missing() {
    for stage in stages() {
        let mut written = BTreeSet::new();
        // Several events share a moment, several moments a commit.
        for second in 0..230 {
            let context = stage.context(after(second / 2));
            let event = |number| {
                let subject = format!("{second}-{number}");
                audit::write(&context, number, &operator(), "test.done", &subject, "")
            };
            let writes = vec![event(0), event(1)];
            stage.store.commit(START, writes).await.unwrap();
            written.extend([format!("{second}-0"), format!("{second}-1")]);
        }
        let next_day = stage.context(after(24 * 3600));
        let other = audit::write(&next_day, 0, &operator(), "test.done", "tomorrow", "");
        stage.store.commit(START, vec![other]).await.unwrap();

        let (first, next) = audit::list(&stage.context(START), audit::day_of(START), None)
            .await
            .unwrap();
        let all = stage.events().await;

        assert_eq!((first.len(), next.is_some()), (100, true));
        assert_eq!(first[..], all[..100]);
        assert!(all.is_sorted_by(|a, b| a.id > b.id));
        assert!(all.is_sorted_by(|a, b| a.at >= b.at));
        let subjects = |event: &AuditEvent| event.subject.clone();
        let listed: Vec<String> = all.iter().map(subjects).collect();
        assert_eq!(listed.len(), 460);
        assert_eq!(listed.into_iter().collect::<BTreeSet<_>>(), written);
    }
}

#[tokio::test]
async fn a_day_without_events_is_an_empty_end() {
    let stage = Stage::memory();
    let answer = audit::list(&stage.context(START), audit::day_of(START), None).await;
    assert_eq!(answer.unwrap(), (Vec::new(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_of_1200_devices_holds_each_once() {
    for stage in stages() {
        let written: BTreeSet<u32> = (0..1200).collect();
        let numbers: Vec<u32> = written.iter().copied().collect();
        for some in numbers.chunks(store::MOST_WRITES) {
            let writes = some.iter().map(|number| put(*number)).collect();
            stage.store.commit(START, writes).await.unwrap();
        }

        let (listed, pages) = list_all(&stage).await;

        let ids: BTreeSet<String> = listed.iter().map(|d| d.id.to_string()).collect();
        let expected: BTreeSet<String> =
            written.iter().map(|n| device_id(*n).to_string()).collect();
        assert_eq!(listed.len(), 1200);
        assert_eq!(ids, expected);
        assert!(listed.is_sorted_by(|a, b| a.id < b.id));
        assert!((2..=4).contains(&pages), "{pages} pages");
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn devices_of_one_partition_are_listed_over_several_pages() {
    for stage in stages() {
        // Of so many devices, those whose ids begin alike.
        let alike = (0..).filter(|n| device_id(*n).as_str().starts_with("d-z"));
        let numbers: Vec<u32> = alike.take(1001).collect();
        for some in numbers.chunks(store::MOST_WRITES) {
            let writes = some.iter().map(|number| put(*number)).collect();
            stage.store.commit(START, writes).await.unwrap();
        }

        let (listed, pages) = list_all(&stage).await;

        let ids: BTreeSet<String> = listed.iter().map(|d| d.id.to_string()).collect();
        assert_eq!((listed.len(), ids.len(), pages), (1001, 1001, 3));
    }
}

/// All devices, and over how many pages they came.
async fn list_all(stage: &Stage) -> (Vec<Device>, usize) {
    let (mut listed, mut after, mut pages) = (Vec::new(), None::<String>, 0);
    loop {
        let context = stage.context(START);
        let (page, next) = devices::list(&context, after.as_deref()).await.unwrap();
        listed.extend(page);
        pages += 1;
        assert!(pages < 20, "the list does not end");
        let Some(next) = next else {
            return (listed, pages);
        };
        assert_ne!(after.as_ref(), Some(&next), "the list stands still");
        after = Some(next);
    }
}

fn put(number: u32) -> Write {
    let device = Device {
        id: device_id(number),
        state: DeviceState::Active,
        identity_key: common::identity(number),
        tunnel_key: common::tunnel_key(number),
        exit_key: common::exit_key(number),
        lease: LeaseIndex(number),
        cohort: "default".parse().unwrap(),
        invite: model::InviteId::of(&common::secret(1)),
        enrolled_at: START,
        tags: std::collections::BTreeSet::new(),
        previous: None,
        rotation_wanted_at: None,
        revoked_at: None,
    };
    Write::put(control::items::device(&device.id), Expect::Absent, &device)
}
