//! From a spool to the lines of a document: records, joined with what belongs to them.

use std::collections::BTreeSet;
use std::io::Write;

use api::fleet::FleetView;
use model::{Admin, Device, Gateway, InviteId};

use super::gather::orphan;
use super::record::{
    AdminRecord, DeviceRecord, FleetRecord, GatewayRecord, NetworkRecord, RetiredKey,
};
use super::report::Desk;
use super::spool::Pages;
use super::{Drawer, Row, Spool, SpoolError, StateError, Step, VERSION, line, parsed};

/// So many records are written between two words about progress.
const TOLD_EVERY: u64 = 500;

/// Writes the document.
pub fn assemble(
    network: &NetworkRecord,
    spool: &dyn Spool,
    document: &mut dyn Write,
    desk: &mut Desk<'_>,
) -> Result<u64, StateError> {
    let mut total = 0;
    for drawer in Drawer::SECTIONS {
        total += spool.count(drawer)?;
    }
    writeln!(document, "{{\"version\":\"{VERSION}\",")?;
    write!(document, "\"network\":{}", line(network))?;
    let mut done = 0;
    let mut joined = 0;
    for drawer in Drawer::SECTIONS {
        write!(document, ",\n\"{}\":[", drawer.name())?;
        let mut parts = Parts::of(drawer);
        let mut rows = Pages::of(drawer, "");
        let mut separator = "\n";
        while let Some(row) = rows.next(spool)? {
            let record = record(&row, &mut parts, spool, desk)?;
            write!(document, "{separator}{record}")?;
            separator = ",\n";
            done += 1;
            if done % TOLD_EVERY == 0 {
                desk.watcher.progress(Step::Writing, done, Some(total));
            }
        }
        parts.end(spool, desk)?;
        joined += parts.read;
        write!(document, "\n]")?;
    }
    writeln!(document, "\n}}")?;
    document.flush()?;
    let all = spool.count(Drawer::Parts)?;
    if joined != all {
        let others = format!("{} items of holders of another kind", all - joined);
        orphan(desk, &others);
    }
    Ok(done)
}

/// A record as it stands in the document.
fn record(
    row: &Row,
    parts: &mut Parts,
    spool: &dyn Spool,
    desk: &mut Desk<'_>,
) -> Result<String, SpoolError> {
    match row.drawer {
        Drawer::Devices => {
            let device: Device = parsed(row)?;
            let parts = parts.of_holder(&row.key, spool, desk)?;
            Ok(line(&device_record(device, parts, desk)))
        }
        Drawer::Gateways => {
            let gateway: Gateway = parsed(row)?;
            let parts = parts.of_holder(&row.key, spool, desk)?;
            let own = GatewayRecord::own_keys(&gateway);
            Ok(line(&GatewayRecord {
                retired_keys: retired(&row.key, &own, parts, desk),
                gateway,
            }))
        }
        Drawer::Admins => {
            let admin: Admin = parsed(row)?;
            let mut setup_codes = BTreeSet::new();
            for part in parts.of_holder(&row.key, spool, desk)? {
                match part.split_once(' ') {
                    Some(("setup", code)) => {
                        setup_codes.insert(code.to_owned());
                    }
                    _ => orphan(desk, &format!("{} {part}", row.key)),
                }
            }
            Ok(line(&AdminRecord { admin, setup_codes }))
        }
        Drawer::Fleet => {
            let mut record: FleetRecord = parsed(row)?;
            let accepted = spool.get(Drawer::Parts, &format!("fleet {}", row.key))?;
            let accepted: Option<FleetView> = accepted.as_ref().map(parsed).transpose()?;
            record.accepted = accepted.is_some_and(|accepted| accepted == record.view);
            parts.read += u64::from(record.accepted);
            Ok(line(&record))
        }
        _ => Ok(row.body.clone()),
    }
}

fn device_record(device: Device, parts: Vec<String>, desk: &mut Desk<'_>) -> DeviceRecord {
    let mut slot = None;
    let mut others = Vec::new();
    for part in parts {
        match own_slot(&part, &device.invite) {
            Some(number) if slot.is_none() => slot = Some(number),
            _ => others.push(part),
        }
    }
    let own = DeviceRecord::own_keys(&device);
    DeviceRecord {
        retired_keys: retired(device.id.as_str(), &own, others, desk),
        slot,
        device,
    }
}

/// The number of a use of this invite.
fn own_slot(part: &str, invite: &InviteId) -> Option<u32> {
    let rest = part.strip_prefix("slot ")?;
    let (of, number) = rest.split_once(' ')?;
    number.parse().ok().filter(|_| of == invite.as_str())
}

/// The keys among `parts` that are none of its `own`; anything else is reported.
fn retired(
    id: &str,
    own: &[[u8; 32]],
    parts: Vec<String>,
    desk: &mut Desk<'_>,
) -> BTreeSet<RetiredKey> {
    let mut keys = BTreeSet::new();
    for part in parts {
        let hex = part.strip_prefix("key ").unwrap_or_default();
        let bytes = data_encoding::HEXLOWER.decode(hex.as_bytes()).ok();
        match bytes.and_then(|bytes| <[u8; 32]>::try_from(bytes).ok()) {
            Some(key) if own.contains(&key) => {}
            Some(key) => {
                keys.insert(RetiredKey::from_bytes(key));
            }
            None => orphan(desk, &format!("{id} {part}")),
        }
    }
    keys
}

/// The parts of holders, read along with their records: both are in the order of ids.
struct Parts {
    prefix: &'static str,
    pages: Pages,
    next: Option<Row>,
    begun: bool,
    /// How many were read so far.
    read: u64,
}

impl Parts {
    fn of(drawer: Drawer) -> Self {
        let prefix = match drawer {
            Drawer::Devices => "d-",
            Drawer::Gateways => "g-",
            Drawer::Admins => "a-",
            // No part has such a holder.
            _ => "\u{10ffff}",
        };
        Self {
            prefix,
            pages: Pages::of(Drawer::Parts, prefix),
            next: None,
            begun: false,
            read: 0,
        }
    }

    fn advance(&mut self, spool: &dyn Spool) -> Result<(), SpoolError> {
        let next = self.pages.next(spool)?;
        self.next = next.filter(|row| row.key.starts_with(self.prefix));
        self.read += u64::from(self.next.is_some());
        Ok(())
    }

    /// The parts of `holder`, without its name. Those of holders before it have no record.
    fn of_holder(
        &mut self,
        holder: &str,
        spool: &dyn Spool,
        desk: &mut Desk<'_>,
    ) -> Result<Vec<String>, SpoolError> {
        if !self.begun {
            self.begun = true;
            self.advance(spool)?;
        }
        let mut parts = Vec::new();
        while let Some(row) = &self.next {
            let (of, what) = row.key.split_once(' ').unwrap_or((&row.key, ""));
            match of.cmp(holder) {
                std::cmp::Ordering::Greater => break,
                std::cmp::Ordering::Equal => parts.push(what.to_owned()),
                std::cmp::Ordering::Less => orphan(desk, &row.key),
            }
            self.advance(spool)?;
        }
        Ok(parts)
    }

    /// What is left has no record.
    fn end(&mut self, spool: &dyn Spool, desk: &mut Desk<'_>) -> Result<(), SpoolError> {
        self.of_holder("\u{10ffff}", spool, desk).map(drop)
    }
}
