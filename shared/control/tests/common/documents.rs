//! State documents: written from stores, read into stores, and what is told of them.

use std::path::{Path, PathBuf};

use control::state::{
    self, Document, Exported, Finding, Imported, Level, MemorySpool, Rules, Settled, StateError,
    Step, Watcher,
};
use jiff::Timestamp;
use model::Network;
use store::Archive;

/// When the fixture's network was written down: leases of its revoked devices still rest.
pub const OF_FIXTURE: Timestamp = Timestamp::constant(1_793_523_600, 0);

/// Keeps what it is told.
#[derive(Default)]
pub struct Told {
    pub findings: Vec<Finding>,
    pub steps: Vec<Step>,
}

impl Told {
    /// What was said at this level, as people see it.
    pub fn at(&self, level: Level) -> Vec<String> {
        let findings = self.findings.iter();
        let findings = findings.filter(|finding| finding.level == level);
        findings.map(ToString::to_string).collect()
    }
}

impl Watcher for Told {
    fn found(&mut self, finding: Finding) {
        self.findings.push(finding);
    }

    fn progress(&mut self, step: Step, done: u64, of: Option<u64>) {
        assert!(of.is_none_or(|of| done <= of), "{step:?}: {done} of {of:?}");
        if self.steps.last() != Some(&step) {
            self.steps.push(step);
        }
    }
}

/// The fixture of an old state.
pub fn fixture() -> Vec<u8> {
    std::fs::read(path()).unwrap()
}

fn path() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/state-1.json")
}

/// A document that was read and settled.
pub struct Checked {
    pub document: Document,
    pub settled: Settled,
    pub spool: MemorySpool,
    pub told: Told,
}

pub fn check(bytes: &[u8]) -> Result<Checked, StateError> {
    check_by(bytes, &Rules::default())
}

pub fn check_by(bytes: &[u8], rules: &Rules) -> Result<Checked, StateError> {
    let (mut spool, mut told) = (MemorySpool::default(), Told::default());
    let size = Some(bytes.len() as u64);
    let document = state::read(bytes, size, &mut spool, &mut told)?;
    let settled = state::settle(&document.network, rules, &mut spool, &mut told)?;
    Ok(Checked {
        document,
        settled,
        spool,
        told,
    })
}

pub async fn import(
    store: &dyn Archive,
    now: Timestamp,
    bytes: &[u8],
) -> Result<Imported, StateError> {
    let mut checked = check(bytes)?;
    let sources = (&checked.document, &checked.settled);
    state::import(store, now, sources, &checked.spool, &mut checked.told).await
}

/// A store's document, and what is told of it.
pub async fn export(
    store: &dyn Archive,
    now: Timestamp,
    network: Option<&Network>,
) -> Result<(String, Exported, Told), StateError> {
    let (mut spool, mut told) = (MemorySpool::default(), Told::default());
    let mut document = Vec::new();
    let exported =
        state::export(store, now, network, (&mut spool, &mut document), &mut told).await?;
    Ok((String::from_utf8(document).unwrap(), exported, told))
}
