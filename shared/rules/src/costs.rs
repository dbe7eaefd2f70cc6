//! What a network costs a month on a cloud: how often who asks for what, what each of that takes, and the
//! prices.
//!
//! What a call takes of the database is measured: a test (`tests/requests/costs.rs`) makes the calls and
//! holds the constants here against what they took. How often devices and gateways ask is what their
//! programs do; how often people do something is asked for.

use serde::{Deserialize, Serialize};

/// Seconds of a month: a twelfth of a year of 365.25 days.
pub const MONTH: f64 = 365.25 / 12.0 * 86_400.0;
/// A device asks the control plane about itself so often (`client::contact`).
const CONTACTS_A_DAY: f64 = 4.0;
/// After how many heartbeats a gateway asks for its config (`gateway::agent`).
const HEARTBEATS_A_CONFIG: f64 = 10.0;
/// Bytes of a bundle: of its metadata and kits, and of each gateway in its catalog, sealed.
const BUNDLE: f64 = 6_000.0;
const BUNDLE_A_GATEWAY: f64 = 210.0;
/// Bytes of an answer that says that nothing is new, with its headers.
const NOTHING_NEW: f64 = 400.0;
/// Requests to mirrors, to each of them, of a publishing run that finds nothing new.
const LOOKS_A_RUN: f64 = 2.0;
/// Files that a change in one cohort puts on each mirror.
const FILES_A_CHANGE: f64 = 6.0;
/// Milliseconds that a request's function runs: most of it waits for the database.
const REQUEST_MS: f64 = 25.0;
/// The same of a scheduled run, and for each gateway that it reads.
const RUN_MS: f64 = 300.0;
const RUN_MS_A_GATEWAY: f64 = 0.2;
/// Bytes of log that an invocation leaves, the platform's own lines included.
const LOGGED: f64 = 600.0;
/// Bytes that the state has of a device and of a gateway, keys and index entries included.
const BYTES_A_DEVICE: f64 = 4_000.0;
const BYTES_A_GATEWAY: f64 = 4_000.0;

/// Request units that a call takes of DynamoDB (on-demand): 4 KB read consistently, 1 KB written.
#[derive(Clone, Copy, PartialEq, Debug, Default)]
pub struct Units {
    /// Of reads.
    pub read: f64,
    /// Of writes; twice where a transaction makes them.
    pub write: f64,
}

const fn units(read: f64, write: f64) -> Units {
    Units { read, write }
}

/// A gateway's heartbeat.
pub const HEARTBEAT: Units = units(0.0, 1.0);
/// A gateway that asks for its roster, and nothing is new: so it does with each heartbeat.
pub const ROSTER: Units = units(3.0, 0.0);
/// A part of the roster that changed, in each gateway that holds it.
pub const ROSTER_PART: Units = units(1.0, 0.0);
/// A gateway that asks for its config.
pub const CONFIG: Units = units(1.0, 0.0);
/// A device that asks about itself.
pub const CONTACT: Units = units(3.0, 0.0);
/// A device that enrolls, and whose first place is free.
pub const ENROLLMENT: Units = units(4.0, 16.0);

/// The look at the background's progress that is in each publishing run, where no item is old.
pub const UPKEEP: Units = units(3.0, 0.0);

/// What a publishing run takes that finds nothing new.
pub fn publishing(gateways: f64) -> Units {
    units(11.0 + 0.185 * gateways, 0.0)
}

/// How large a network is, and how busy.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Size {
    /// Devices that are enrolled.
    pub devices: f64,
    /// Gateways that are in service.
    pub gateways: f64,
    /// How many of them one catalog lists, at most.
    pub listed: f64,
    /// Where catalogs are published.
    pub mirrors: f64,
    /// From one heartbeat to the next, in seconds.
    pub heartbeat: f64,
    /// From one run of the schedule to the next, in seconds.
    pub schedule: f64,
    /// Syncs of one device a day.
    pub syncs: f64,
    /// New catalogs a day.
    pub catalogs: f64,
    /// Devices that enroll a month.
    pub enrollments: f64,
}

/// What one kind of work takes in a month.
#[derive(Clone, Copy, PartialEq, Debug, Default, Serialize)]
pub struct Usage {
    /// Invocations of functions.
    pub invocations: f64,
    /// How long they run, in milliseconds, all together.
    pub milliseconds: f64,
    /// Read request units of the database.
    pub read_units: f64,
    /// Write request units.
    pub write_units: f64,
    /// Writes to object storage.
    pub puts: f64,
    /// Reads from object storage by the schedule.
    pub gets: f64,
    /// Requests that front doors answer.
    pub door_requests: f64,
    /// Bytes that front doors and functions send.
    pub sent_bytes: f64,
    /// Bytes that the database keeps.
    pub stored_bytes: f64,
}

impl Usage {
    /// `times` calls of a function, each with these units.
    fn calls(times: f64, milliseconds: f64, units: Units) -> Self {
        Self {
            invocations: times,
            milliseconds: times * milliseconds,
            read_units: times * units.read,
            write_units: times * units.write,
            ..Self::default()
        }
    }

    /// Both.
    #[must_use]
    pub fn plus(self, other: Self) -> Self {
        Self {
            invocations: self.invocations + other.invocations,
            milliseconds: self.milliseconds + other.milliseconds,
            read_units: self.read_units + other.read_units,
            write_units: self.write_units + other.write_units,
            puts: self.puts + other.puts,
            gets: self.gets + other.gets,
            door_requests: self.door_requests + other.door_requests,
            sent_bytes: self.sent_bytes + other.sent_bytes,
            stored_bytes: self.stored_bytes + other.stored_bytes,
        }
    }
}

/// What a network of this size takes in a month, by kind of work.
pub fn usage(size: &Size) -> Vec<(&'static str, Usage)> {
    let beats = size.gateways * MONTH / size.heartbeat;
    let contacts = size.devices * CONTACTS_A_DAY * MONTH / 86_400.0;
    let runs = MONTH / size.schedule;
    let run_ms = RUN_MS + RUN_MS_A_GATEWAY * size.gateways;
    let changes = size.catalogs * MONTH / 86_400.0;
    let syncs = size.devices * size.syncs * MONTH / 86_400.0;
    // A device that syncs less often than catalogs change gets a new one each time.
    let fresh = size.devices * size.syncs.min(size.catalogs) * MONTH / 86_400.0;
    let parts = size.enrollments * size.gateways;
    vec![
        ("heartbeats", Usage::calls(beats, REQUEST_MS, HEARTBEAT)),
        (
            "rosters",
            Usage::calls(beats, REQUEST_MS, ROSTER).plus(Usage {
                read_units: parts * ROSTER_PART.read,
                ..Usage::default()
            }),
        ),
        (
            "configs",
            Usage::calls(beats / HEARTBEATS_A_CONFIG, REQUEST_MS, CONFIG),
        ),
        ("contacts", Usage::calls(contacts, REQUEST_MS, CONTACT)),
        (
            "enrollments",
            Usage::calls(size.enrollments, REQUEST_MS, ENROLLMENT),
        ),
        (
            "publishing",
            Usage {
                puts: changes * FILES_A_CHANGE * size.mirrors,
                gets: runs * LOOKS_A_RUN * size.mirrors,
                ..Usage::calls(runs, run_ms, publishing(size.gateways))
            }
            .plus(Usage {
                read_units: runs * UPKEEP.read,
                ..Usage::default()
            }),
        ),
        (
            // Each reads what publishing reads: gateways, nodes, heartbeats.
            "reconcile and clean up",
            Usage::calls(2.0 * runs, run_ms, publishing(size.gateways)),
        ),
        (
            "syncs",
            Usage {
                door_requests: syncs,
                sent_bytes: fresh * (BUNDLE + BUNDLE_A_GATEWAY * size.listed)
                    + (syncs - fresh) * NOTHING_NEW,
                ..Usage::default()
            },
        ),
        (
            "state",
            Usage {
                stored_bytes: BYTES_A_DEVICE * size.devices + BYTES_A_GATEWAY * size.gateways,
                ..Usage::default()
            },
        ),
    ]
}

/// What a cloud asks for, in US dollars.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Prices {
    /// A month, whatever is used.
    pub base: f64,
    /// A million invocations, and how many a month are free.
    pub invocations: Tier,
    /// A million milliseconds that functions run, with the memory that they have, and how many are free.
    pub milliseconds: Tier,
    /// Which share of that time is paid, from 0 to 1: not the waiting, where only the processor's time is.
    pub paid_share: f64,
    /// A million read request units.
    pub read_units: f64,
    /// A million write request units.
    pub write_units: f64,
    /// A gigabyte (10^9 bytes) of the database for a month, copies for point-in-time recovery included.
    pub stored: f64,
    /// A gigabyte (10^9 bytes) of logs.
    pub logged: Tier,
    /// A million writes to object storage.
    pub puts: Tier,
    /// A million reads from it.
    pub gets: Tier,
    /// A million requests to front doors.
    pub door_requests: Tier,
    /// A gigabyte (10^9 bytes) that is sent.
    pub sent: Tier,
}

/// A price, and what is free of it in a month.
#[derive(Clone, Copy, PartialEq, Debug, Serialize, Deserialize)]
pub struct Tier {
    /// For each unit beyond what is free.
    pub price: f64,
    /// In the same units.
    #[serde(default)]
    pub free: f64,
}

impl Tier {
    fn of(self, units: f64) -> f64 {
        self.price * (units - self.free).max(0.0)
    }
}

/// What the network's whole usage costs, in US dollars a month, by what is paid for.
pub fn bill(usage: &Usage, prices: &Prices) -> Vec<(&'static str, f64)> {
    let million = 1e6;
    let gigabyte = 1e9;
    vec![
        ("base", prices.base),
        (
            "invocations",
            prices.invocations.of(usage.invocations / million),
        ),
        (
            "run time",
            prices
                .milliseconds
                .of(usage.milliseconds * prices.paid_share / million),
        ),
        (
            "database reads",
            prices.read_units * usage.read_units / million,
        ),
        (
            "database writes",
            prices.write_units * usage.write_units / million,
        ),
        (
            "database storage",
            prices.stored * usage.stored_bytes / gigabyte,
        ),
        (
            "logs",
            prices.logged.of(usage.invocations * LOGGED / gigabyte),
        ),
        ("object writes", prices.puts.of(usage.puts / million)),
        ("object reads", prices.gets.of(usage.gets / million)),
        (
            "front door requests",
            prices.door_requests.of(usage.door_requests / million),
        ),
        ("traffic", prices.sent.of(usage.sent_bytes / gigabyte)),
    ]
}

#[cfg(test)]
mod tests;
