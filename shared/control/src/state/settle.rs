//! Records held against each other: what refers to nothing, and what two want, is left out and reported.
//!
//! Afterwards the spool holds exactly what is to be imported, completed where a document of old leaves out
//! what can be found: a use of the invite, a lease. The outcome depends on the document and the rules alone,
//! so that an import that is run again settles the same.
//!
//! Two whose keys or addresses collide cannot both be taken: the one that comes first in the document's order
//! of ids stays. A device is checked as a whole before anything is claimed for it.

mod devices;

use std::collections::{BTreeMap, BTreeSet};

use api::fleet::FleetView;
use api::policy::PolicyView;
use model::{CohortName, Invite, Shard};

use super::record::{self, AdminRecord, FleetRecord, GatewayRecord, NetworkRecord};
use super::report::Desk;
use super::spool::Pages;
use super::{
    Counts, Drawer, Level, Place, Row, Spool, SpoolError, StateError, Step, Watcher, parsed,
};

/// So many records are checked between two words about progress.
const TOLD_EVERY: u64 = 500;

/// What an operator knows besides the document.
#[derive(Clone, Debug, Default)]
pub struct Rules {
    /// The cohorts of the signed limits: no others have a catalog. All are taken if this is not known.
    pub cohorts: Option<BTreeSet<CohortName>>,
}

impl Rules {
    fn unknown<'c>(&self, mut cohorts: impl Iterator<Item = &'c CohortName>) -> Option<String> {
        let known = self.cohorts.as_ref()?;
        let other = cohorts.find(|cohort| !known.contains(*cohort))?;
        Some(format!(
            "the signed limits have no cohort '{other}': have it added to them first"
        ))
    }
}

/// What is to be imported.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Settled {
    /// How many records are taken, by section.
    pub taken: BTreeMap<&'static str, u64>,
    /// The versions that the rosters' shards begin with.
    pub rosters: BTreeMap<CohortName, BTreeMap<Shard, u64>>,
    /// What was found.
    pub counts: Counts,
}

/// Settles the records of `network` in `spool`.
pub fn settle(
    network: &NetworkRecord,
    rules: &Rules,
    spool: &mut dyn Spool,
    watcher: &mut dyn Watcher,
) -> Result<Settled, StateError> {
    let mut total = 0;
    for drawer in Drawer::SECTIONS {
        total += spool.count(drawer)?;
    }
    let mut settling = Settling {
        network,
        rules,
        spool,
        desk: Desk::new(watcher),
        done: 0,
        total,
        shards: BTreeMap::new(),
        incomplete: false,
        roster_changed: false,
    };
    settling.invites()?;
    settling.policies()?;
    settling.fleets()?;
    settling.admins()?;
    settling.gateways()?;
    settling.devices()?;
    settling.complete()?;
    settling.leases()?;
    settling.audit()?;
    settling.end()
}

struct Settling<'a> {
    network: &'a NetworkRecord,
    rules: &'a Rules,
    spool: &'a mut dyn Spool,
    desk: Desk<'a>,
    done: u64,
    total: u64,
    /// How many devices each shard has: as often it was changed at least.
    shards: BTreeMap<CohortName, BTreeMap<Shard, u64>>,
    /// Whether some device lacks what is to be found for it.
    incomplete: bool,
    /// Whether gateways must let in others than the document says.
    roster_changed: bool,
}

/// What becomes of a record, if it is taken.
enum Verdict {
    Taken,
    /// Written in another way.
    As(String),
}

type Judged = Result<Verdict, String>;

impl Settling<'_> {
    /// Judges each record of a drawer.
    fn each(
        &mut self,
        drawer: Drawer,
        judge: impl Fn(&mut Self, &Row) -> Result<Judged, SpoolError>,
    ) -> Result<(), StateError> {
        let mut rows = Pages::of(drawer, "");
        while let Some(row) = rows.next(self.spool)? {
            self.done += 1;
            if self.done.is_multiple_of(TOLD_EVERY) {
                let (done, total) = (self.done.min(self.total), Some(self.total));
                self.desk.watcher.progress(Step::Checking, done, total);
            }
            match judge(self, &row)? {
                Ok(Verdict::Taken) => {}
                Ok(Verdict::As(body)) => self.spool.replace(Row { body, ..row })?,
                Err(why) => self.reject(&row, why)?,
            }
        }
        Ok(())
    }

    fn reject(&mut self, row: &Row, why: String) -> Result<(), SpoolError> {
        let name = shown(row.drawer, &row.key);
        self.desk
            .about(Level::Rejected, (row.drawer, &name, row.line), why);
        self.spool.remove(row.drawer, &row.key)
    }

    /// Who has claimed `what`, if somebody has.
    fn holder(&self, what: &str) -> Result<Option<String>, SpoolError> {
        Ok(self.spool.get(Drawer::Claims, what)?.map(|row| row.body))
    }

    fn claim(&mut self, what: String, by: &str) -> Result<(), SpoolError> {
        self.spool.replace(Row {
            drawer: Drawer::Claims,
            key: what,
            line: 0,
            body: by.to_owned(),
        })
    }

    /// Why somebody else holds one of `keys`, if somebody does.
    fn key_held(&self, keys: &[[u8; 32]]) -> Result<Option<String>, SpoolError> {
        for key in keys {
            if let Some(holder) = self.holder(&key_claim(key))? {
                let key = data_encoding::BASE64.encode(key);
                return Ok(Some(format!(
                    "{holder} holds or held its WireGuard key {key}"
                )));
            }
        }
        Ok(None)
    }

    fn claim_keys(&mut self, keys: &[[u8; 32]], by: &str) -> Result<(), SpoolError> {
        for key in keys {
            self.claim(key_claim(key), by)?;
        }
        Ok(())
    }

    fn invites(&mut self) -> Result<(), StateError> {
        self.each(Drawer::Invites, |this, row| {
            let invite: Invite = parsed(row)?;
            let checked = record::check_invite(&invite);
            let unknown = this.rules.unknown([&invite.cohort].into_iter());
            Ok(checked.and(unknown.map_or(Ok(Verdict::Taken), Err)))
        })
    }

    fn policies(&mut self) -> Result<(), StateError> {
        let in_force = self.last(Drawer::Policies)?;
        self.each(Drawer::Policies, |this, row| {
            let view: PolicyView = parsed(row)?;
            let checked = match view.version {
                0 => Err("versions of policies begin with 1".to_owned()),
                _ => view.policy.check().map_err(|error| error.to_string()),
            };
            this.must_have(row, in_force.as_deref(), "the policy in force", &checked);
            Ok(checked.map(|()| Verdict::Taken))
        })
    }

    fn fleets(&mut self) -> Result<(), StateError> {
        let wanted = self.last(Drawer::Fleet)?;
        self.each(Drawer::Fleet, |this, row| {
            let FleetRecord { view, accepted } = parsed(row)?;
            let mut checked = this.fleet(&view);
            if accepted && checked.is_ok() {
                match this.holder("fleet accepted")? {
                    Some(other) => {
                        checked = Err(format!("fleet {other} is marked as accepted, too"));
                    }
                    None => this.claim("fleet accepted".to_owned(), &view.version.to_string())?,
                }
            }
            this.must_have(row, wanted.as_deref(), "the fleet that is wanted", &checked);
            Ok(checked.map(|()| Verdict::Taken))
        })
    }

    fn fleet(&self, view: &FleetView) -> Result<(), String> {
        if view.version == 0 {
            return Err("versions of fleets begin with 1".to_owned());
        }
        let Some(fleet) = &view.fleet else {
            return Err("it has no 'fleet'".to_owned());
        };
        fleet.check().map_err(|error| error.to_string())?;
        let cohorts = fleet.pools.values().flat_map(|pool| &pool.cohorts);
        self.rules.unknown(cohorts).map_or(Ok(()), Err)
    }

    /// Where the last record of a drawer decides what is in force, nothing is taken without it: one from
    /// before would be in force in its place.
    fn must_have(
        &mut self,
        row: &Row,
        last: Option<&str>,
        what: &str,
        checked: &Result<(), String>,
    ) {
        if let (Err(_), true) = (checked, last == Some(row.key.as_str())) {
            let name = shown(row.drawer, &row.key);
            let reason =
                format!("{what} cannot be taken, and an older one must not take its place");
            self.desk
                .about(Level::Fatal, (row.drawer, &name, row.line), reason);
        }
    }

    /// The last key of a drawer whose rows are few.
    fn last(&self, drawer: Drawer) -> Result<Option<String>, SpoolError> {
        let mut rows = Pages::of(drawer, "");
        let mut last = None;
        while let Some(row) = rows.next(self.spool)? {
            last = Some(row.key);
        }
        Ok(last)
    }

    fn admins(&mut self) -> Result<(), StateError> {
        self.each(Drawer::Admins, |this, row| {
            let record: AdminRecord = parsed(row)?;
            if let Err(why) = record::check_admin(&record) {
                return Ok(Err(why));
            }
            let codes: Vec<String> = record
                .setup_codes
                .iter()
                .map(|code| setup_claim(code))
                .collect();
            for code in &codes {
                if let Some(other) = this.holder(code)? {
                    return Ok(Err(format!("{other} has burned its setup code, too")));
                }
            }
            let id = record.admin.id.to_string();
            for code in codes {
                this.claim(code, &id)?;
            }
            if record.admin.is_owner() {
                this.claim("owner".to_owned(), &id)?;
            }
            Ok(Ok(Verdict::Taken))
        })?;
        if self.spool.count(Drawer::Admins)? > 0 && self.holder("owner")?.is_none() {
            let place = Place {
                section: Drawer::Admins.name(),
                id: None,
                line: 0,
            };
            let reason = "there is no owner among them: a new one must come by a setup code";
            self.desk.tell(Level::Note, place, reason);
        }
        Ok(())
    }

    fn gateways(&mut self) -> Result<(), StateError> {
        self.each(Drawer::Gateways, |this, row| {
            let record: GatewayRecord = parsed(row)?;
            if let Err(why) = record::check_gateway(&record) {
                return Ok(Err(why));
            }
            if let Some(why) = this.rules.unknown(record.gateway.cohorts.iter()) {
                return Ok(Err(why));
            }
            let keys = record.all_keys();
            if let Some(why) = this.key_held(&keys)? {
                return Ok(Err(why));
            }
            this.claim_keys(&keys, record.gateway.id.as_str())?;
            Ok(Ok(Verdict::Taken))
        })
    }

    fn audit(&mut self) -> Result<(), StateError> {
        self.each(Drawer::Audit, |_, _| Ok(Ok(Verdict::Taken)))
    }

    fn end(self) -> Result<Settled, StateError> {
        let mut taken = BTreeMap::new();
        for drawer in Drawer::SECTIONS {
            taken.insert(drawer.name(), self.spool.count(drawer)?);
        }
        let mut rosters = self.network.rosters.clone();
        for (cohort, shards) in self.shards {
            let known = rosters.entry(cohort).or_default();
            for (shard, count) in shards {
                let version = known.entry(shard).or_default();
                *version = count.max(*version);
            }
        }
        if self.roster_changed {
            // A gateway that holds the document's version of a shard would not see that somebody is gone.
            for version in rosters.values_mut().flat_map(BTreeMap::values_mut) {
                *version = version.saturating_add(1);
            }
        }
        Ok(Settled {
            taken,
            rosters,
            counts: self.desk.counts,
        })
    }
}

fn key_claim(key: &[u8; 32]) -> String {
    format!("key {}", data_encoding::HEXLOWER.encode(key))
}

fn setup_claim(code: &str) -> String {
    format!("setup {code}")
}

/// A key of a drawer as people know it.
fn shown(drawer: Drawer, key: &str) -> String {
    match drawer {
        Drawer::Leases | Drawer::Policies | Drawer::Fleet => {
            let number = key.trim_start_matches('0');
            if number.is_empty() { "0" } else { number }.to_owned()
        }
        _ => key.to_owned(),
    }
}
