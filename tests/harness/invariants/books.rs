//! Everything that a store holds, and the marks of what has been accounted for.

use control::items::{Body, Read as _};
use std::collections::{BTreeMap, BTreeSet};

use jiff::Timestamp;
use model::AuditEvent;
use store::{Archive, Item, Key, MOST_KEYS, StoreError};

/// Everything that a store holds.
#[derive(Clone)]
pub struct Books {
    /// The items that have not expired.
    pub items: BTreeMap<Key, Item>,
}

impl Books {
    /// Reads all items of `store` at `now`, while nobody writes: which there are from a snapshot, and each
    /// as a use case would read it.
    ///
    /// # Panics
    ///
    /// If the snapshot has another item than a use case reads.
    pub async fn read(store: &dyn Archive, now: Timestamp) -> Result<Self, StoreError> {
        let mut items = BTreeMap::new();
        let mut snapshot = store.snapshot(now, |_| true).await?;
        loop {
            let some = snapshot.next(MOST_KEYS).await?;
            if some.is_empty() {
                break;
            }
            let keys: Vec<Key> = some.iter().map(|item| item.key.clone()).collect();
            let found = store.get_many(now, &keys).await?;
            for (item, found) in some.into_iter().zip(found) {
                assert_eq!(found.as_ref(), Some(&item), "the snapshot differs");
                let before = items.insert(item.key.clone(), item);
                assert_eq!(before, None, "the snapshot has it twice");
            }
        }
        snapshot.confirm().await?;
        Ok(Self { items })
    }

    /// All items of a partition.
    pub fn partition<'a>(&'a self, pk: &str) -> impl Iterator<Item = &'a Item> + use<'a> {
        let pk = pk.to_owned();
        let from = Key::new(pk.clone(), "");
        let items = self.items.range(from..);
        items
            .map(|(_, item)| item)
            .take_while(move |item| item.key.pk == pk)
    }

    /// All items whose partition's key begins so.
    pub fn partitions(&self, prefix: &'static str) -> impl Iterator<Item = &Item> {
        let items = self.items.values();
        items.filter(move |item| item.key.pk.starts_with(prefix))
    }
}

/// What is being checked: each item is to be claimed by what it belongs to, and so is each event of
/// the audit. What nobody claims should not be there.
pub struct Audit<'a> {
    /// What the store holds.
    pub books: &'a Books,
    claimed: BTreeSet<&'a Key>,
    /// The events that nobody has claimed yet, by subject.
    events: BTreeMap<String, Vec<AuditEvent>>,
    breaches: Vec<String>,
}

impl<'a> Audit<'a> {
    /// Nothing is claimed yet.
    pub fn open(books: &'a Books) -> Self {
        let mut audit = Self {
            books,
            claimed: BTreeSet::new(),
            events: BTreeMap::new(),
            breaches: Vec::new(),
        };
        for item in books.partitions("audit#") {
            if let Some(event) = audit.claim_item::<AuditEvent>(item) {
                let place = control::items::audit(
                    &control::audit::day_of(event.at).to_string(),
                    event.id.as_bytes()[15] % control::items::AUDIT_SPREAD,
                );
                audit.equal(
                    "the place of an event",
                    &item.key,
                    &Key::new(place, event.id),
                );
                audit.equal("the version of an event", &item.version, &1);
                let subject = audit.events.entry(event.subject.clone()).or_default();
                subject.push(event);
            }
        }
        audit
    }

    /// Something is not as it must be.
    pub fn breach(&mut self, what: impl Into<String>) {
        self.breaches.push(what.into());
    }

    /// What is found must be what is expected.
    pub fn equal<T: PartialEq + std::fmt::Debug>(&mut self, what: &str, found: &T, expected: &T) {
        if found != expected {
            self.breach(format!("{what}: {found:?} where {expected:?} is expected"));
        }
    }

    /// The item at `key`, which must be there and belong to `whose` alone.
    pub fn claim<T: Body>(&mut self, whose: &str, key: &Key) -> Option<(T, &'a Item)> {
        let Some(item) = self.books.items.get(key) else {
            self.breach(format!("{whose}: {} / {} is missing", key.pk, key.sk));
            return None;
        };
        self.claim_item(item).map(|body| (body, item))
    }

    /// `item`, whatever it says, must not have been claimed before.
    pub fn claim_any(&mut self, item: &'a Item) {
        if !self.claimed.insert(&item.key) {
            self.breach(format!("{} / {} belongs to two", item.key.pk, item.key.sk));
        }
    }

    /// The body of `item`, which must not have been claimed before.
    pub fn claim_item<T: Body>(&mut self, item: &'a Item) -> Option<T> {
        self.claim_any(item);
        match item.read() {
            Ok(body) => Some(body),
            Err(error) => {
                self.breach(error.to_string());
                None
            }
        }
    }

    /// How many events there are on `subject`, claimed or not: to be asked before they are claimed.
    pub fn count(&self, subject: &str) -> u64 {
        let events = self.events.get(subject).map_or(0, Vec::len);
        events.try_into().expect("a count")
    }

    /// The subjects of unclaimed events that `fits`.
    pub fn subjects(&self, fits: impl Fn(&AuditEvent) -> bool) -> BTreeSet<String> {
        let events = self.events.values().flatten();
        let fitting = events.filter(|event| fits(event));
        fitting.map(|event| event.subject.clone()).collect()
    }

    /// Takes the events on `subject` that `fits`.
    pub fn take(&mut self, subject: &str, fits: impl Fn(&AuditEvent) -> bool) -> Vec<AuditEvent> {
        let Some(events) = self.events.get_mut(subject) else {
            return Vec::new();
        };
        events.extract_if(.., |event| fits(event)).collect()
    }

    /// The one event on `subject` of this `action` that `fits`.
    pub fn one(
        &mut self,
        subject: &str,
        action: &str,
        fits: impl Fn(&AuditEvent) -> bool,
    ) -> Option<AuditEvent> {
        let mut events = self.take(subject, |event| event.action == action && fits(event));
        if events.len() != 1 {
            let count = events.len();
            self.breach(format!(
                "{subject}: {count} events '{action}' for one change"
            ));
        }
        events.pop()
    }

    /// Everything that is not as it must be, with what nobody has claimed.
    pub fn close(mut self) -> Vec<String> {
        for key in self.books.items.keys() {
            if !self.claimed.contains(key) {
                let orphan = format!("{} / {} belongs to nothing", key.pk, key.sk);
                self.breaches.push(orphan);
            }
        }
        for event in self.events.into_values().flatten() {
            self.breaches
                .push(format!("an event without a change: {event:?}"));
        }
        self.breaches
    }
}
