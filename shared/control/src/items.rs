//! The kinds of items and their keys. `docs/architecture.md` has the same list with writers,
//! readers and rates.

pub mod forms;
mod lifts;

use model::{
    AdminId, CohortName, DeviceId, GatewayId, IdentityKey, InviteId, LeaseIndex, PoolName,
    ProviderName, Shard, id,
};
use serde::{Deserialize, Serialize};
use store::{Item, Key, Range, StoreError};

use crate::Context;
pub use forms::{Body, Read, body, put, put_until};

/// The partition of all invites.
pub const INVITES: &str = "invite";
/// The partition of all gateways.
pub const GATEWAYS: &str = "gateway";
/// The partition of all heartbeats.
pub const HEARTBEATS: &str = "heartbeat";
/// The partition of all admins.
pub const ADMINS: &str = "admin";
/// The partition of what was published.
pub const CATALOG: &str = "catalog";
/// The partition of the policy and its versions.
pub const POLICY: &str = "policy";
/// The partition of the epochs of slices' keys.
pub const EPOCHS: &str = "epoch";
/// The partition of the fleet and its versions.
pub const FLEET: &str = "fleet";
/// The partition of all nodes.
pub const NODES: &str = "node";
/// The partition of what the fleet's pools went through.
pub const POOLS: &str = "pool";
/// The partition of what may be done at providers.
pub const PROVIDERS: &str = "provider";
/// The partition of how long providers want to be left alone.
pub const RESTS: &str = "provider-rest";
/// Over how many partitions a day's audit events spread.
pub const AUDIT_SPREAD: u8 = 8;

/// [`model::Invite`].
pub fn invite(id: &InviteId) -> Key {
    Key::new(INVITES, id.as_str())
}

/// The partition of the taken uses of an invite.
pub fn slots(invite: &InviteId) -> String {
    format!("slot#{invite}")
}

/// [`Taken`]: one use of an invite.
pub fn slot(invite: &InviteId, number: u32) -> Key {
    Key::new(slots(invite), format!("{number:05}"))
}

/// The characters that a device id's hash starts with: a partition of devices for each.
pub const DEVICE_PARTITIONS: &str = "234567abcdefghijklmnopqrstuvwxyz";

/// The partition of the devices whose id starts with this character.
pub fn devices(first: char) -> String {
    format!("device#{first}")
}

/// [`model::Device`].
pub fn device(id: &DeviceId) -> Key {
    let first = id.as_str().chars().nth(2).unwrap_or('2');
    Key::new(devices(first), id.as_str())
}

/// [`Taken`]: an index in the address pools.
pub fn lease(index: LeaseIndex) -> Key {
    Key::new(format!("lease#{:08x}", index.0), "lease")
}

/// [`Taken`]: a WireGuard key. Two holders of one key would take each other's packets.
pub fn wireguard_key(key: &[u8; 32]) -> Key {
    Key::new(
        format!("key#{}", data_encoding::HEXLOWER.encode(key)),
        "key",
    )
}

/// [`model::Gateway`].
pub fn gateway(id: &GatewayId) -> Key {
    Key::new(GATEWAYS, id.as_str())
}

/// [`Heartbeat`]. The key that signs is part of the item's key: a heartbeat is accepted by one
/// conditional write and no read.
pub fn heartbeat(id: &GatewayId, identity: &IdentityKey) -> Key {
    Key::new(HEARTBEATS, format!("{id}#{}", id::key_hash(identity)))
}

/// [`model::Admin`].
pub fn admin(id: &AdminId) -> Key {
    Key::new(ADMINS, id.as_str())
}

/// [`Taken`]: the setup code with this hash.
pub fn setup(hash: &str) -> Key {
    Key::new(format!("setup#{hash}"), "setup")
}

/// [`crate::sessions::Challenge`].
pub fn challenge(hash: &str) -> Key {
    Key::new(format!("challenge#{hash}"), "challenge")
}

/// [`crate::sessions::Session`]; `hash` is that of its secret.
pub fn session(admin: &AdminId, hash: &str) -> Key {
    Key::new(format!("session#{admin}"), hash)
}

/// [`crate::publish::Reserved`].
pub fn reserved() -> Key {
    Key::new(CATALOG, "reserved")
}

/// [`crate::publish::Head`].
pub fn head() -> Key {
    Key::new(CATALOG, "head")
}

/// [`crate::publish::Floor`].
pub fn floor() -> Key {
    Key::new(CATALOG, "floor")
}

/// [`crate::publish::Draft`].
pub fn draft() -> Key {
    Key::new(CATALOG, "draft")
}

/// [`crate::publish::Alarm`].
pub fn alarm() -> Key {
    Key::new(CATALOG, "alarm")
}

/// [`rules::listening::Listening`].
pub fn judged() -> Key {
    Key::new(CATALOG, "judged")
}

/// [`crate::publish::MirrorState`].
pub fn mirror(name: &str) -> Key {
    Key::new(CATALOG, format!("mirror#{name}"))
}

/// [`api::policy::PolicyView`]: the policy in force.
pub fn policy() -> Key {
    Key::new(POLICY, "current")
}

/// [`api::policy::PolicyView`]: a policy that is or was in force.
pub fn policy_version(version: u64) -> Key {
    Key::new(POLICY, format!("v{version:08}"))
}

/// [`rules::epochs::Epochs`], with their secrets.
pub fn epochs() -> Key {
    Key::new(EPOCHS, "current")
}

/// [`crate::epochs::Revocations`].
pub fn revocations() -> Key {
    Key::new(EPOCHS, "revocations")
}

/// [`api::fleet::FleetView`]: the fleet that is wanted.
pub fn fleet() -> Key {
    Key::new(FLEET, "current")
}

/// [`api::fleet::FleetView`]: a fleet that is or was wanted.
pub fn fleet_version(version: u64) -> Key {
    Key::new(FLEET, format!("v{version:08}"))
}

/// [`api::fleet::FleetView`]: the last fleet of which somebody has carried out a plan. The schedule
/// keeps to it.
pub fn fleet_accepted() -> Key {
    Key::new(FLEET, "accepted")
}

/// [`Taken`]: by the run that changes the fleet's nodes now; it expires.
pub fn fleet_run() -> Key {
    Key::new(FLEET, "run")
}

/// [`model::Node`].
pub fn node(gateway: &GatewayId) -> Key {
    Key::new(NODES, gateway.as_str())
}

/// [`model::node::PoolState`].
pub fn pool(name: &PoolName) -> Key {
    Key::new(POOLS, name.as_str())
}

/// [`model::ProviderPolicy`].
pub fn provider(name: &ProviderName) -> Key {
    Key::new(PROVIDERS, name.as_str())
}

/// [`crate::fleet::Rest`].
pub fn rest(name: &ProviderName) -> Key {
    Key::new(RESTS, name.as_str())
}

/// The partition of a shard of the roster.
pub fn roster_shard(cohort: &CohortName, shard: Shard) -> String {
    format!("roster#{cohort}#{shard}")
}

/// [`crate::roster::Entry`].
pub fn roster_entry(cohort: &CohortName, id: &DeviceId) -> Key {
    Key::new(roster_shard(cohort, Shard::of(id)), id.as_str())
}

/// The partition of the versions of all shards of a cohort: one query reads them.
pub fn roster_versions(cohort: &CohortName) -> String {
    format!("roster-versions#{cohort}")
}

/// [`crate::roster::ShardVersion`].
pub fn roster_version(cohort: &CohortName, shard: Shard) -> Key {
    Key::new(roster_versions(cohort), shard.to_string())
}

/// [`crate::migration::Progress`].
pub fn migration() -> Key {
    Key::new(crate::migration::PARTITION, "progress")
}

/// [`crate::restore::Marker`].
pub fn restored() -> Key {
    Key::new("restore", "last")
}

/// Whether the item at `key` is of one moment with others. The rest (signs of life, logins, what publishing
/// notes of mirrors and of itself) changes all the time, and no other item speaks of what it says: it may
/// be older or newer than they are in a backup.
pub fn is_settled(key: &Key) -> bool {
    let (kind, _) = key.pk.split_once('#').unwrap_or((&key.pk, ""));
    match kind {
        HEARTBEATS | RESTS | "challenge" | "session" => false,
        CATALOG => key.sk != "judged" && key.sk != "alarm" && !key.sk.starts_with("mirror#"),
        FLEET => key.sk != "run",
        _ => true,
    }
}

/// The partition of some of a day's audit events; `day` as `2026-11-22`.
pub fn audit(day: &str, spread: u8) -> String {
    format!("audit#{day}#{spread}")
}

/// The partition of what an import of a state document leaves behind.
pub const IMPORT: &str = "import";

/// [`crate::state::Cursor`].
pub fn import_cursor() -> Key {
    Key::new(IMPORT, "cursor")
}

/// [`model::Network`]: the settings that the document brought with it.
pub fn import_network() -> Key {
    Key::new(IMPORT, "network")
}

/// Something of which there is one, and who holds it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Taken {
    /// The id of the device, gateway or admin that holds it.
    pub by: String,
}

impl Taken {
    /// Held by `id`.
    pub fn by(id: &impl ToString) -> Self {
        Self { by: id.to_string() }
    }
}

/// A gateway's last sign of life.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Heartbeat {
    /// Whose it is.
    pub gateway: GatewayId,
    /// When it arrived; absent until the first one.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub seen_at: Option<jiff::Timestamp>,
    /// The load that it told, in percent.
    pub load: u8,
}

/// Reads an optional item.
pub(crate) fn read<T: Body>(item: Option<&Item>) -> Result<Option<T>, StoreError> {
    item.map(Read::read).transpose()
}

/// Up to `limit` items of `range`, from behind the sort key `after` if it is given, and whether
/// more may follow. A page of the store may be short before the end; this is not.
pub(crate) async fn read_up_to(
    context: &Context<'_>,
    range: &Range,
    after: Option<&str>,
    limit: usize,
) -> Result<(Vec<Item>, bool), StoreError> {
    let mut items = Vec::new();
    let mut after = after.map(str::to_owned);
    loop {
        let page = context
            .store
            .query(
                context.moment.now,
                range,
                after.as_deref(),
                limit - items.len(),
            )
            .await?;
        items.extend(page.items);
        if page.next.is_none() || items.len() >= limit {
            return Ok((items, page.next.is_some()));
        }
        after = page.next;
    }
}
