//! What the control plane tells after a storm is what its store holds.

use std::collections::{BTreeMap, BTreeSet};

use api::admin::{AUDIT, DEVICES, GATEWAYS, GatewayView, INVITES, InviteView};
use control::items;
use control::items::Read as _;
use model::{AuditEvent, Device, DeviceState, Gateway, Invite, Role};

use super::admins::Admin;
use super::gateways::Node;
use harness::invariants::Books;
use harness::plane::Plane;

/// Compares the admin's lists with the books, which were read before.
pub async fn check_lists(admin: &mut Admin, books: &Books) {
    let devices: Vec<Device> = admin.list(DEVICES).await;
    assert_eq!(devices, records(books, "device#"));

    let gateways: Vec<GatewayView> = admin.list(GATEWAYS).await;
    let gateways: Vec<Gateway> = gateways.into_iter().map(|view| view.gateway).collect();
    assert_eq!(gateways, records(books, items::GATEWAYS));

    let invites: Vec<InviteView> = admin.list(INVITES).await;
    for view in &invites {
        let used = books.partition(&items::slots(&view.invite.id)).count();
        assert_eq!(usize::try_from(view.used), Ok(used), "{}", view.invite.id);
    }
    let invites: Vec<Invite> = invites.into_iter().map(|view| view.invite).collect();
    assert_eq!(invites, records(books, items::INVITES));
}

/// Compares the audit with the books; since they were read, there are more logins and catalogs, and a
/// revocation may have been seen.
pub async fn check_audit(admin: &mut Admin, books: &Books) {
    let kept: Vec<AuditEvent> = records(books, "audit#");
    let kept: BTreeMap<_, _> = kept.into_iter().map(|event| (event.id, event)).collect();
    let days = kept.values().map(|event| control::audit::day_of(event.at));
    let mut told = BTreeMap::new();
    for day in days.collect::<BTreeSet<_>>() {
        let events: Vec<AuditEvent> = admin.list(&format!("{AUDIT}?day={day}")).await;
        for event in events {
            let is_new = !kept.contains_key(&event.id)
                && matches!(
                    event.action.as_str(),
                    "session.opened" | "catalog.published" | "epoch.next-replaced"
                );
            if !is_new {
                let before = told.insert(event.id, event);
                assert_eq!(before, None, "an event was told twice");
            }
        }
    }
    assert_eq!(told, kept);
}

/// Pulls the rest of a gateway's roster: it lets in who is enrolled, with the keys of now and of the
/// grace, and nobody else.
pub async fn check_roster(node: &mut Node, books: &Books) {
    let now = Plane::now();
    let mut expected = BTreeSet::new();
    let devices: Vec<Device> = records(books, "device#");
    let devices = devices.into_iter();
    for device in devices.filter(|device| device.state == DeviceState::Active) {
        let previous = device.previous_at(now);
        let (key, old) = match node.tale.made.role {
            Role::Ingress => (
                *device.tunnel_key.as_bytes(),
                previous.map(|old| *old.tunnel_key.as_bytes()),
            ),
            Role::Egress => (
                *device.exit_key.as_bytes(),
                previous.map(|old| *old.exit_key.as_bytes()),
            ),
        };
        expected.insert(key);
        expected.extend(old);
    }

    node.pull().await;

    let let_in = node.roster.keys(now);
    assert!(let_in == expected, "{}: the roster differs", node.tale.id());
}

/// All records whose partition's key begins so, in the order of their keys.
fn records<T: control::items::Body>(books: &Books, prefix: &'static str) -> Vec<T> {
    let items = books.partitions(prefix);
    let read = items.map(|item| item.read().expect("the invariants have read it"));
    read.collect()
}
