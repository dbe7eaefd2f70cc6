//! From the bytes of a document to records in a spool, each looked at by itself.
//!
//! Nothing but one record is in memory. A record that cannot be taken is reported and left out; where the
//! document itself cannot be read on, nothing of it can be taken. Sections may stand in any order.

use std::collections::BTreeMap;
use std::fmt;
use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicU64, Ordering};

use api::policy::PolicyView;
use model::{AuditEvent, Invite, NetworkId};
use serde::Serialize;
use serde::de::{
    DeserializeOwned, DeserializeSeed, Deserializer, Error, MapAccess, SeqAccess, Visitor,
};
use serde_json::Value;
use sha2::{Digest, Sha256};

use super::record::{
    self, AdminRecord, DeviceRecord, FleetRecord, GatewayRecord, LeaseRecord, NetworkRecord,
    numbered,
};
use super::report::Desk;
use super::spool::Pages;
use super::strict::{Strict, unknown};
use super::{
    Counts, Drawer, Level, Place, Row, Spool, SpoolError, StateError, Step, VERSION, Watcher, line,
};

/// So many records are read between two words about progress.
const TOLD_EVERY: u64 = 500;

/// A document that was read to its end.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Document {
    /// The SHA-256 of its bytes, lowercase hexadecimal: which document it is.
    pub sha256: String,
    /// The section `network`.
    pub network: NetworkRecord,
    /// How many records there are, good or bad.
    pub records: u64,
    /// What was found.
    pub counts: Counts,
}

/// Reads a document of `size` bytes, if that is known, into an empty `spool`.
///
/// Fails with [`StateError::Document`] where it is no document of this version, ends early, or names a
/// section twice.
pub fn read(
    document: impl Read,
    size: Option<u64>,
    spool: &mut dyn Spool,
    watcher: &mut dyn Watcher,
) -> Result<Document, StateError> {
    let at = Arc::new(At::default());
    let mut hashed = Sha256::new();
    let bytes = Watched {
        inner: document,
        at: at.clone(),
        hash: &mut hashed,
        pending: Vec::with_capacity(HASHED_AT_ONCE),
    };
    let mut reading = Reading {
        spool,
        desk: Desk::new(watcher),
        at,
        size,
        records: 0,
        version: None,
        network: None,
        seen: Vec::new(),
        refused: BTreeMap::new(),
        failed: None,
    };
    let mut deserializer = serde_json::Deserializer::from_reader(bytes);
    let parsed = Whole(&mut reading).deserialize(&mut deserializer);
    let parsed = parsed.and_then(|()| deserializer.end());
    if let Some(failed) = reading.failed.take() {
        return Err(failed.into());
    }
    parsed.map_err(broken)?;
    reading.check_in_force()?;
    let (version, network) = (reading.version.take(), reading.network.take());
    let (records, counts) = (reading.records, reading.desk.counts);
    drop(deserializer);
    let network = usable(version.as_deref(), network)?;
    Ok(Document {
        sha256: data_encoding::HEXLOWER.encode(&hashed.finalize()),
        network,
        records,
        counts,
    })
}

fn broken(error: serde_json::Error) -> StateError {
    match error.classify() {
        serde_json::error::Category::Io => StateError::Io(error.into()),
        _ => StateError::Document(format!("the document cannot be read on: {error}")),
    }
}

/// The settings, where the document has this program's version and good settings.
fn usable(version: Option<&str>, network: Option<Value>) -> Result<NetworkRecord, StateError> {
    let refuse = |why: String| Err(StateError::Document(why));
    match version {
        Some(VERSION) => {}
        Some(other) => {
            return refuse(format!(
                "the document's version is '{other}': this program takes '{VERSION}'"
            ));
        }
        None => {
            return refuse(format!(
                "the document has no 'version': '{VERSION}' is expected"
            ));
        }
    }
    let Some(network) = network else {
        return refuse("the document has no section 'network'".to_owned());
    };
    let network: NetworkRecord = serde_json::from_value(network)
        .map_err(|error| StateError::Document(format!("the section 'network': {error}")))?;
    record::check_network(&network)
        .map_err(|why| StateError::Document(format!("the section 'network': {why}")))?;
    Ok(network)
}

/// So many bytes are hashed at once: the parser takes one after the other.
const HASHED_AT_ONCE: usize = 8192;

/// The longest record, in bytes: twice what an item of a store can have.
const MOST_RECORD_BYTES: u64 = 2 * store::MOST_BODY_BYTES as u64;
/// The most names at the top of a document.
const MOST_SECTIONS: usize = 64;

/// How far a document was read.
#[derive(Default)]
struct At {
    bytes: AtomicU64,
    newlines: AtomicU64,
    /// Where the reader must be done with the record that it reads; 0 while it reads none.
    until: AtomicU64,
}

impl At {
    /// A record begins here, which must be short enough to be held.
    fn begin(&self) {
        let bytes = self.bytes.load(Ordering::Relaxed);
        self.until
            .store(bytes + MOST_RECORD_BYTES, Ordering::Relaxed);
    }

    fn end(&self) {
        self.until.store(0, Ordering::Relaxed);
    }
}

/// Counts and hashes what passes.
struct Watched<'a, R> {
    inner: R,
    at: Arc<At>,
    hash: &'a mut Sha256,
    pending: Vec<u8>,
}

impl<R: Read> Read for Watched<'_, R> {
    fn read(&mut self, buffer: &mut [u8]) -> std::io::Result<usize> {
        let count = self.inner.read(buffer)?;
        let read = &buffer[..count];
        let newlines = read.split(|byte| *byte == b'\n').count() - 1;
        let before = self.at.bytes.fetch_add(count as u64, Ordering::Relaxed);
        let until = self.at.until.load(Ordering::Relaxed);
        if until > 0 && before > until {
            let why = format!("a record has more than {MOST_RECORD_BYTES} bytes");
            return Err(std::io::Error::new(std::io::ErrorKind::InvalidData, why));
        }
        self.at
            .newlines
            .fetch_add(newlines as u64, Ordering::Relaxed);
        self.pending.extend_from_slice(read);
        if self.pending.len() >= HASHED_AT_ONCE {
            self.hash.update(&self.pending);
            self.pending.clear();
        }
        Ok(count)
    }
}

impl<R> Drop for Watched<'_, R> {
    fn drop(&mut self) {
        self.hash.update(&self.pending);
    }
}

struct Reading<'a> {
    spool: &'a mut dyn Spool,
    desk: Desk<'a>,
    at: Arc<At>,
    size: Option<u64>,
    records: u64,
    version: Option<String>,
    network: Option<Value>,
    /// The names at the top of the document, so far.
    seen: Vec<String>,
    /// The highest version that was left out, of the sections whose last record is in force.
    refused: BTreeMap<Drawer, u64>,
    /// Why the spool failed, which a parser's error cannot carry.
    failed: Option<SpoolError>,
}

impl Reading<'_> {
    /// The line that is being read, from 1.
    fn line(&self) -> u64 {
        self.at.newlines.load(Ordering::Relaxed) + 1
    }

    /// Takes a record of a section, or says why not.
    fn take(
        &mut self,
        drawer: Drawer,
        line: u64,
        value: &Value,
        flaw: Option<String>,
    ) -> Result<(), SpoolError> {
        self.records += 1;
        if self.records.is_multiple_of(TOLD_EVERY) {
            let bytes = self.at.bytes.load(Ordering::Relaxed);
            self.desk.watcher.progress(Step::Reading, bytes, self.size);
        }
        let place = Place {
            section: drawer.name(),
            id: name(value),
            line,
        };
        if let Some(flaw) = flaw {
            self.refuse(drawer, value, place, flaw);
            return Ok(());
        }
        let understood = match drawer {
            Drawer::Devices => understand::<DeviceRecord>(value, |r| r.device.id.to_string()),
            Drawer::Gateways => understand::<GatewayRecord>(value, |r| r.gateway.id.to_string()),
            Drawer::Leases => understand::<LeaseRecord>(value, |r| numbered(r.index.0.into())),
            Drawer::Invites => understand::<Invite>(value, |r| r.id.to_string()),
            Drawer::Policies => understand::<PolicyView>(value, |r| numbered(r.version)),
            Drawer::Fleet => understand::<FleetRecord>(value, |r| numbered(r.view.version)),
            Drawer::Admins => understand::<AdminRecord>(value, |r| r.admin.id.to_string()),
            Drawer::Audit => understand::<AuditEvent>(value, |r| r.id.to_string()),
            Drawer::Parts | Drawer::Claims => unreachable!("no section of a document"),
        };
        let (key, body, unknown) = match understood {
            Ok(understood) => understood,
            Err(why) => {
                self.refuse(drawer, value, place, why);
                return Ok(());
            }
        };
        for name in unknown {
            let reason = format!("'{name}' is not known to this program, and is left out");
            self.desk.tell(Level::Note, place.clone(), reason);
        }
        let row = Row {
            drawer,
            key,
            line,
            body,
        };
        if let Some(first) = self.spool.put(row)? {
            let reason = format!("it is there already, on line {}", first.line);
            self.refuse(drawer, value, place, reason);
        }
        Ok(())
    }

    fn refuse(&mut self, drawer: Drawer, value: &Value, place: Place, why: String) {
        if matches!(drawer, Drawer::Policies | Drawer::Fleet) {
            // One whose version cannot be read may be the last.
            let version = value.get("version").and_then(Value::as_u64);
            let highest = self.refused.entry(drawer).or_default();
            *highest = version.unwrap_or(u64::MAX).max(*highest);
        }
        self.desk.tell(Level::Rejected, place, why);
    }

    /// Where the last record of a section decides what is in force, nothing is taken without it.
    fn check_in_force(&mut self) -> Result<(), SpoolError> {
        for (drawer, refused) in std::mem::take(&mut self.refused) {
            let mut rows = Pages::of(drawer, "");
            let mut last = None;
            while let Some(row) = rows.next(self.spool)? {
                last = Some(row.key);
            }
            if last.is_none_or(|last| last <= numbered(refused)) {
                let place = Place {
                    section: drawer.name(),
                    id: None,
                    line: 0,
                };
                let reason = "the last of them, which is in force, cannot be taken, and an older one must \
                              not take its place";
                self.desk.tell(Level::Fatal, place, reason);
            }
        }
        Ok(())
    }
}

/// What to call a record of which perhaps nothing else can be read.
fn name(value: &Value) -> Option<String> {
    let member = ["id", "index", "version"]
        .iter()
        .find_map(|name| value.get(name))?;
    match member {
        Value::String(text) => Some(text.clone()),
        Value::Number(number) => Some(number.to_string()),
        _ => None,
    }
}

/// A record's key and its form in a spool, with the names of what in `value` is not understood.
fn understand<T: DeserializeOwned + Serialize>(
    value: &Value,
    key: impl FnOnce(&T) -> String,
) -> Result<(String, String, Vec<String>), String> {
    if !value.is_object() {
        return Err("a record must be a JSON object".to_owned());
    }
    let record = T::deserialize(value).map_err(|error| error.to_string())?;
    let again = serde_json::to_value(&record).map_err(|error| error.to_string())?;
    Ok((key(&record), line(&record), unknown(value, &again)))
}

/// The document.
struct Whole<'r, 'a>(&'r mut Reading<'a>);

impl<'de> DeserializeSeed<'de> for Whole<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_map(self)
    }
}

impl<'de> Visitor<'de> for Whole<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an object of the form '{VERSION}'")
    }

    fn visit_map<A: MapAccess<'de>>(self, mut map: A) -> Result<(), A::Error> {
        let reading = self.0;
        while let Some(name) = map.next_key::<String>()? {
            if reading.seen.contains(&name) {
                return Err(A::Error::custom(format!("'{name}' stands twice")));
            }
            reading.seen.push(name.clone());
            if reading.seen.len() > MOST_SECTIONS {
                return Err(A::Error::custom("it has too many sections"));
            }
            match name.as_str() {
                "version" => {
                    let version: String = map.next_value()?;
                    if version != VERSION {
                        return Err(A::Error::custom(format!(
                            "its version is '{version}', and this program takes '{VERSION}'"
                        )));
                    }
                    reading.version = Some(version);
                }
                "network" => {
                    let line = reading.line();
                    let mut flaw = None;
                    reading.at.begin();
                    let value = map.next_value_seed(Strict { flaw: &mut flaw })?;
                    reading.at.end();
                    if let Some(flaw) = flaw {
                        return Err(A::Error::custom(format!("in 'network', {flaw}")));
                    }
                    report_unknown(reading, line, &value);
                    reading.network = Some(value);
                }
                other => {
                    let mut sections = Drawer::SECTIONS.into_iter();
                    if let Some(drawer) = sections.find(|drawer| drawer.name() == other) {
                        map.next_value_seed(Section { reading, drawer })?;
                        continue;
                    }
                    let place = Place {
                        section: "document",
                        id: Some(name),
                        line: reading.line(),
                    };
                    let reason = "this section is not known to this program, and is left out";
                    reading.desk.tell(Level::Note, place, reason);
                    map.next_value::<serde::de::IgnoredAny>()?;
                }
            }
        }
        Ok(())
    }
}

fn report_unknown(reading: &mut Reading<'_>, line: u64, value: &Value) {
    let Ok(record) = serde_json::from_value::<NetworkRecord>(value.clone()) else {
        // What is wrong with it is said when all is read.
        return;
    };
    let again = serde_json::to_value(&record).unwrap_or(Value::Null);
    for name in unknown(value, &again) {
        let place = Place {
            section: "network",
            id: Some(NetworkId::to_string(&record.id)),
            line,
        };
        let reason = format!("'{name}' is not known to this program, and is left out");
        reading.desk.tell(Level::Note, place, reason);
    }
}

/// An array of records.
struct Section<'r, 'a> {
    reading: &'r mut Reading<'a>,
    drawer: Drawer,
}

impl<'de> DeserializeSeed<'de> for Section<'_, '_> {
    type Value = ();

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<(), D::Error> {
        deserializer.deserialize_seq(self)
    }
}

impl<'de> Visitor<'de> for Section<'_, '_> {
    type Value = ();

    fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "an array, as '{}' is", self.drawer.name())
    }

    fn visit_seq<A: SeqAccess<'de>>(self, mut seq: A) -> Result<(), A::Error> {
        let at = self.reading.at.clone();
        loop {
            let mut flaw = None;
            let begun = std::cell::Cell::new(0);
            let seed = Begun {
                inner: Strict { flaw: &mut flaw },
                at: &at,
                line: &begun,
            };
            let Some(value) = seq.next_element_seed(seed)? else {
                return Ok(());
            };
            if let Err(failed) = self.reading.take(self.drawer, begun.get(), &value, flaw) {
                self.reading.failed = Some(failed);
                return Err(A::Error::custom("the spool failed"));
            }
        }
    }
}

/// Notes the line on which a value begins.
struct Begun<'s> {
    inner: Strict<'s>,
    at: &'s At,
    line: &'s std::cell::Cell<u64>,
}

impl<'de> DeserializeSeed<'de> for Begun<'_> {
    type Value = Value;

    fn deserialize<D: Deserializer<'de>>(self, deserializer: D) -> Result<Value, D::Error> {
        self.line.set(self.at.newlines.load(Ordering::Relaxed) + 1);
        self.at.begin();
        let value = self.inner.deserialize(deserializer);
        self.at.end();
        value
    }
}
