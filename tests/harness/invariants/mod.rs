//! What must hold of a store after a storm, whatever happened in it:
//!
//! - every answered request holds: its record says what the last answer said;
//! - none is half there: a device has its lease, its use of the invite, both items of every set of
//!   keys that it took, its entry in the roster while it is not revoked, and its shard's version
//!   counts the changes; a gateway has its keys and the one heartbeat of its present key;
//! - no address is held twice;
//! - the audit has exactly one event for each change. A record's version counts its changes, so it is
//!   the number of its events; and each event fits one answered request;
//! - nothing else is there: each item and each event belongs to one of the above.
//!
//! All of it is a function of what the store holds ([`Books`]) and of what the callers know
//! ([`Ledger`]): it knows no database.

mod books;
mod devices;
mod gateways;
mod sabotage;

use control::epochs::Revocations;
use control::items::{self, Read as _, Taken};
use control::publish::Head;
use control::sessions::{Challenge, Session};
use jiff::Timestamp;
use model::{Admin, AuditEvent, Invite, Network, id};
use rules::epochs::Epochs;
use store::Key;

pub use books::{Audit, Books};
pub use sabotage::{Sabotage, sabotages, sabotages_of_enrollment};

use crate::ledger::Ledger;

/// Everything that is not as it must be.
pub fn breaches(books: &Books, ledger: &Ledger, network: &Network) -> Vec<String> {
    let mut audit = Audit::open(books);
    devices::check(&mut audit, ledger, network);
    gateways::check(&mut audit, ledger);
    invites(&mut audit, ledger);
    admins(&mut audit, ledger);
    catalog(&mut audit);
    epochs(&mut audit);
    // What the background keeps of itself is no change of the network's.
    for item in audit.books.partition(control::migration::PARTITION) {
        audit.claim_any(item);
    }
    audit.close()
}

/// The record of `subject` was changed as often as the audit says.
fn changes(audit: &mut Audit<'_>, subject: &str, version: u64) {
    let events = audit.count(subject);
    let what = format!("{subject}: the record's changes, beside its events");
    audit.equal(&what, &version, &events);
}

/// The operators wanted the keys of `subject` rotated as often as they were told, or lost answers;
/// now since `since`. Each want but the last was answered by a rotation: there are `most` at most.
fn wants(
    audit: &mut Audit<'_>,
    ledger: &Ledger,
    (subject, action): (&str, &str),
    since: Option<Timestamp>,
    most: usize,
) {
    let (answered, lost) = ledger.admins.wants(subject);
    let events = audit.take(subject, |event| event.action == action);
    let times: Vec<_> = events.iter().map(|event| event.at).collect();
    for at in &answered {
        let count = times.iter().filter(|time| *time == at).count();
        audit.equal(&format!("{subject}: events '{action}' at {at}"), &count, &1);
    }
    let more = times.len().saturating_sub(answered.len());
    if more > lost {
        audit.breach(format!(
            "{subject}: {more} events '{action}' more than answers, and {lost} were lost"
        ));
    }
    if times.len() > most {
        let count = times.len();
        audit.breach(format!(
            "{subject}: {count} rotations wanted where {most} can be"
        ));
    }
    if let Some(at) = since.filter(|at| !times.contains(at)) {
        audit.breach(format!(
            "{subject}: a rotation is wanted since {at}, without event"
        ));
    }
}

/// An item that says who holds something.
fn held(audit: &mut Audit<'_>, by: &str, key: &Key) {
    if let Some((taken, item)) = audit.claim::<Taken>(by, key) {
        let what = format!("the holder of {}", key.pk);
        audit.equal(&what, &taken.by.as_str(), &by);
        audit.equal(&format!("{what}: expiry"), &item.expires_at, &None);
    }
}

fn invites(audit: &mut Audit<'_>, ledger: &Ledger) {
    for (id, made) in &ledger.admins.invites {
        changes(audit, id.as_str(), version(audit, &items::invite(id)));
        let withdrawn_at = ledger.admins.withdrawn.get(id).copied();
        if let Some((found, _)) = audit.claim::<Invite>(id.as_str(), &items::invite(id)) {
            let expected = Invite {
                withdrawn_at,
                ..made.clone()
            };
            audit.equal("an invite", &found, &expected);
        }
        audit.one(id.as_str(), "invite.created", |event| {
            event.at == made.created_at
        });
        if let Some(at) = withdrawn_at {
            audit.one(id.as_str(), "invite.withdrawn", |event| event.at == at);
        }
        let slots = audit.books.partition(&items::slots(id)).count();
        if slots > usize::try_from(made.uses).expect("a count") {
            audit.breach(format!("{id}: {slots} of {} uses are taken", made.uses));
        }
    }
}

/// The version of the item at `key`; 0 if it is missing.
fn version(audit: &Audit<'_>, key: &Key) -> u64 {
    audit.books.items.get(key).map_or(0, |item| item.version)
}

/// Admins, their logins and sessions. Every session that was told is there, and each has its event.
fn admins(audit: &mut Audit<'_>, ledger: &Ledger) {
    let books = audit.books;
    for token in &ledger.admins.sessions {
        let key = items::session(&token.admin, &id::session_hash(&token.secret));
        if !books.items.contains_key(&key) {
            audit.breach(format!("a session of {} is missing", token.admin));
        }
    }
    for item in books.partition(items::ADMINS) {
        let Some(admin) = audit.claim_item::<Admin>(item) else {
            continue;
        };
        let id = admin.id.as_str();
        audit.one(id, "admin.added", |event| event.at == admin.created_at);
        audit.equal("the changes of the admin", &item.version, &1);
        let opened = audit.take(id, |event| event.action == "session.opened");
        let mut sessions = Vec::new();
        for item in books.partition(&format!("session#{id}")) {
            sessions.extend(audit.claim_item::<Session>(item));
        }
        let mut told: Vec<_> = opened.iter().map(|event| event.at).collect();
        let mut there: Vec<_> = sessions.iter().map(|session| session.opened_at).collect();
        told.sort_unstable();
        there.sort_unstable();
        audit.equal("the sessions, beside their events", &there, &told);
        for item in books.partitions("challenge#") {
            if let Some(challenge) = audit.claim_item::<Challenge>(item) {
                audit.equal("who is challenged", &challenge.admin, &admin.id);
            }
        }
        for item in books.partitions("setup#") {
            held(audit, id, &item.key);
        }
    }
}

/// What publishing keeps: each head has its event.
fn catalog(audit: &mut Audit<'_>) {
    let mut heads = 0;
    for item in audit.books.partition(items::CATALOG) {
        audit.claim_any(item);
        if item.key == items::head() {
            heads = item.version;
            if let Ok(head) = item.read::<Head>()
                && head.version < heads
            {
                audit.breach("fewer versions were reserved than published");
            }
        }
    }
    let mut events = 0;
    for version in audit.subjects(|event| event.action == "catalog.published") {
        let event = audit.one(&version, "catalog.published", |_| true);
        events += u64::from(event.is_some());
    }
    audit.equal("the catalogs, beside their events", &heads, &events);
}

/// The epochs of slices' keys: each change has its event, every revocation was counted, once, and none is
/// counted that was not there when the next secret was drawn.
fn epochs(audit: &mut Audit<'_>) {
    let books = audit.books;
    let devices = books.partitions("device#");
    let revoked = devices.filter(|item| item.body.get("revoked_at").is_some());
    let revoked = u64::try_from(revoked.count()).expect("a count");
    let counted = if books.items.contains_key(&items::revocations()) {
        let found = audit.claim::<Revocations>("revocations", &items::revocations());
        found.map_or(0, |(revocations, _)| revocations.count)
    } else {
        0
    };
    audit.equal("the revocations that were counted", &counted, &revoked);
    // The publisher draws them before it publishes anything.
    if !books.items.contains_key(&items::head()) && !books.items.contains_key(&items::epochs()) {
        return;
    }
    let Some((found, item)) = audit.claim::<Epochs>("epochs", &items::epochs()) else {
        return;
    };
    if found.next.revocations > counted {
        audit.breach("the next epoch knows of a revocation that nobody asked for");
    }
    let of_epochs =
        |event: &AuditEvent| matches!(&*event.action, "epoch.begun" | "epoch.next-replaced");
    let mut events = 0;
    for number in audit.subjects(of_epochs) {
        events += audit.take(&number, of_epochs).len();
    }
    let events = u64::try_from(events).expect("a count");
    audit.equal(
        "the changes of the epochs, beside their events",
        &item.version,
        &events,
    );
}
