//! A state document of a network with as many devices as are asked for, written device by device.

use std::io::{self, Write};

use model::{DeviceId, ExitKey, IdentityKey, InviteId, TunnelKey};
use serde_json::{Value, json};

/// How many devices share an invite.
const A_INVITE: u32 = 1000;
/// When all of it happened.
const AT: &str = "2026-06-01T12:00:00Z";

/// Writes a document of `count` devices, each with its lease, its use of an invite and an audit event, up to
/// two millions of them.
pub fn write(out: &mut impl Write, count: u32) -> io::Result<()> {
    let network = json!({
        "id": "n-crowdedd",
        "pools": {"outer": "100.64.0.0/11", "inner": "100.96.0.0/11", "ula": "fd00:1:2::/48"},
    });
    write!(
        out,
        "{{\"version\":\"postern-state/1\",\n\"network\":{network}"
    )?;
    section(out, "devices", (0..count).map(device))?;
    let lease = |n: u32| json!({"index": index(n), "device": id(n)});
    section(out, "leases", (0..count).map(lease))?;
    section(out, "invites", (0..count.div_ceil(A_INVITE)).map(invite))?;
    section(out, "audit", (0..count).map(event))?;
    writeln!(out, "}}")
}

fn section(
    out: &mut impl Write,
    name: &str,
    records: impl Iterator<Item = Value>,
) -> io::Result<()> {
    write!(out, ",\n\"{name}\":[")?;
    let mut separator = "\n";
    for record in records {
        write!(out, "{separator}{record}")?;
        separator = ",\n";
    }
    write!(out, "\n]")
}

/// 32 bytes that only `kind` and `n` give.
fn bytes(kind: u8, n: u32) -> [u8; 32] {
    let mut bytes = [kind; 32];
    bytes[..4].copy_from_slice(&n.to_be_bytes());
    bytes
}

fn identity(n: u32) -> IdentityKey {
    IdentityKey::from_bytes(bytes(1, n))
}

/// The id of the device `n`.
pub fn id(n: u32) -> DeviceId {
    DeviceId::of(&identity(n))
}

fn index(n: u32) -> u32 {
    n + model::address::RESERVED_AT_START
}

fn invite_id(n: u32) -> InviteId {
    InviteId::of(&bytes(4, n))
}

fn invite(n: u32) -> Value {
    json!({
        "id": invite_id(n), "cohort": "default", "uses": A_INVITE,
        "created_at": AT, "expires_at": "2027-06-01T12:00:00Z",
    })
}

fn device(n: u32) -> Value {
    json!({
        "id": id(n), "state": "active", "identity_key": identity(n),
        "tunnel_key": TunnelKey::from_bytes(bytes(2, n)), "exit_key": ExitKey::from_bytes(bytes(3, n)),
        "lease": index(n), "cohort": "default", "invite": invite_id(n / A_INVITE),
        "enrolled_at": AT, "slot": n % A_INVITE,
    })
}

fn event(n: u32) -> Value {
    // A UUIDv7 of 2026-06-01.
    let id = format!("019e8323-9a00-7000-8000-{n:012x}");
    json!({
        "id": id, "at": AT, "actor": {"kind": "device", "id": self::id(n)},
        "action": "device.enrolled", "subject": self::id(n),
    })
}
