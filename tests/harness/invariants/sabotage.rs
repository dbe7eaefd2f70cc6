//! What must not escape the invariants: each of these damages good books in one place.

use control::items::Read as _;
use model::{Device, DeviceState, Gateway};
use serde_json::{Value, json};
use store::{Item, Key};

use super::Books;

/// Damages books; panics where there is nothing to damage.
pub type Sabotage = fn(&mut Books);

/// All that the invariants are tried on after a storm, by name.
pub fn sabotages() -> Vec<(&'static str, Sabotage)> {
    let mut all = sabotages_of_enrollment();
    all.extend(sabotages_of_the_rest());
    all
}

/// Those that books can be damaged by in which there is nothing but an invite and devices.
pub fn sabotages_of_enrollment() -> Vec<(&'static str, Sabotage)> {
    vec![
        ("a device is lost", |books| lose(books, "device#")),
        ("a lease is lost", |books| lose(books, "lease#")),
        ("a use of an invite is lost", |books| lose(books, "slot#")),
        ("a key is free again", |books| lose(books, "key#")),
        ("an entry of a roster is lost", |books| {
            lose(books, "roster#");
        }),
        ("a shard has no version", |books| {
            lose(books, "roster-versions#");
        }),
        ("an event is lost", |books| lose(books, "audit#")),
        ("an invite is lost", |books| lose(books, "invite")),
        ("a lease without a device", |books| copy(books, "lease#")),
        ("a key without a holder", |books| copy(books, "key#")),
        ("a use too many", |books| copy(books, "slot#")),
        ("an entry too many", |books| copy(books, "roster#")),
        ("a lease is another's", |books| {
            set(books, "lease#", "by", |_| true, json!("d-another"));
        }),
        ("a key is another's", |books| {
            set(books, "key#", "by", |_| true, json!("d-another"));
        }),
        ("a shard's change was not counted", |books| {
            let item = find(books, "roster-versions#", |_| true);
            item.body["version"] = json!(item.version - 1);
        }),
        ("a record changed without an event", |books| {
            find(books, "device#", |_| true).version += 1;
        }),
        ("an event is there twice", event_twice),
        ("an address is held twice", address_twice),
    ]
}

fn sabotages_of_the_rest() -> Vec<(&'static str, Sabotage)> {
    vec![
        ("a session is lost", |books| lose(books, "session#")),
        ("a heartbeat is lost", |books| lose(books, "heartbeat")),
        ("a gateway is lost", |books| lose(books, "gateway")),
        ("an old heartbeat stays", |books| copy(books, "heartbeat")),
        ("a session without a login", |books| copy(books, "session#")),
        ("a heartbeat went back", |books| {
            find(books, "heartbeat", |item| item.version > 1).version -= 1;
        }),
        ("a rotation was undone", rotation_undone),
        ("a gateway's rotation was undone", gateway_rotation_undone),
        ("a revocation was undone", revocation_undone),
        ("a revoked device's address does not rest", |books| {
            find(books, "lease#", |item| item.expires_at.is_some()).expires_at = None;
        }),
        ("a revocation was not counted", |books| {
            let item = find(books, "epoch", |item| item.body.get("count").is_some());
            item.body["count"] = json!(item.version - 1);
        }),
        ("an epoch's secret changed without an event", |books| {
            find(books, "epoch", |item| item.body.get("salt").is_some()).version += 1;
        }),
        ("a roster has the keys of before", |books| {
            let old = |item: &Item| item.body.get("previous").is_some();
            let item = find(books, "roster#", old);
            item.body["tunnel_key"] = item.body["previous"]["tunnel_key"].clone();
        }),
    ]
}

fn find<'a>(books: &'a mut Books, prefix: &str, fits: impl Fn(&Item) -> bool) -> &'a mut Item {
    let mut items = books.items.values_mut();
    let found = items.find(|item| item.key.pk.starts_with(prefix) && fits(item));
    found.unwrap_or_else(|| panic!("the storm left no '{prefix}' of that kind"))
}

fn lose(books: &mut Books, prefix: &str) {
    let key = find(books, prefix, |_| true).key.clone();
    books.items.remove(&key);
}

/// Puts a copy of an item where nothing is.
fn copy(books: &mut Books, prefix: &str) {
    let mut item = find(books, prefix, |_| true).clone();
    item.key.sk = format!("{}-copy", item.key.sk);
    books.items.insert(item.key.clone(), item);
}

fn set(books: &mut Books, prefix: &str, field: &str, fits: impl Fn(&Item) -> bool, value: Value) {
    find(books, prefix, fits).body[field] = value;
}

fn event_twice(books: &mut Books) {
    let mut item = find(books, "audit#", |_| true).clone();
    // Another event of the same: its id ends otherwise, in a partition of the same spread.
    let id = item.key.sk.clone();
    let digit = if id.as_bytes()[30] == b'0' { "1" } else { "0" };
    let id = format!("{}{digit}{}", &id[..30], &id[31..]);
    item.body["id"] = json!(id);
    item.key = Key::new(item.key.pk, id);
    books.items.insert(item.key.clone(), item);
}

fn address_twice(books: &mut Books) {
    let lease = find(books, "device#", |_| true).body["lease"].clone();
    let other = find(books, "device#", |item| item.body["lease"] != lease);
    other.body["lease"] = lease;
}

fn rotation_undone(books: &mut Books) {
    let item = find(books, "device#", |item| item.body.get("previous").is_some());
    let mut device: Device = item.read().expect("a device");
    let previous = device.previous.take().expect("it has rotated");
    device.identity_key = previous.identity_key;
    device.tunnel_key = previous.tunnel_key;
    device.exit_key = previous.exit_key;
    item.body = json!(device);
}

fn gateway_rotation_undone(books: &mut Books) {
    let item = find(books, "gateway", |item| item.body.get("previous").is_some());
    let mut gateway: Gateway = item.read().expect("a gateway");
    gateway.keys = gateway.previous.take().map(|previous| previous.keys);
    item.body = json!(gateway);
}

fn revocation_undone(books: &mut Books) {
    let item = find(books, "device#", |item| {
        item.body.get("revoked_at").is_some()
    });
    let mut device: Device = item.read().expect("a device");
    device.state = DeviceState::Active;
    device.revoked_at = None;
    item.body = json!(device);
}
