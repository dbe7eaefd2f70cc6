//! Clients that sync from a mirror's files and believe nothing that does not verify.

use jiff::Timestamp;
use model::{CatalogName, HeldKey, NetworkId, RootPin};
use tuf::client::{
    Start, TrustedState, Verified, VerifyError, Wanted, verify_bundle, verify_source,
};
use tuf::repository;

use super::mirror::{Files, MemoryMirror};

/// How a client reads.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Reads {
    /// A device: its cohort's bundle.
    Bundle,
    /// A gateway: the bundle without a catalog.
    Trust,
    /// Any TUF client: `timestamp.json` and what it leads to.
    Files,
}

/// A client and what it trusts.
pub struct Client {
    reads: Reads,
    network: NetworkId,
    pin: RootPin,
    state: Option<TrustedState>,
    /// The keys that it holds of sealed slices.
    pub keys: Vec<HeldKey>,
}

impl Client {
    /// A client that has not synced yet.
    pub fn new(reads: Reads, network: &NetworkId, pin: &RootPin) -> Self {
        Self {
            reads,
            network: network.clone(),
            pin: pin.clone(),
            state: None,
            keys: Vec::new(),
        }
    }

    /// The one path that this client reads first and that changes.
    pub fn path(&self) -> String {
        match self.reads {
            Reads::Bundle => repository::bundle_path(Some(&cohort())),
            Reads::Trust => repository::bundle_path(None),
            Reads::Files => repository::TIMESTAMP_PATH.to_owned(),
        }
    }

    /// Verifies what is in `files`, from what was verified before, and keeps it.
    pub fn sync(&mut self, files: &Files, now: Timestamp) -> Result<Verified, VerifyError> {
        let start = match &self.state {
            Some(state) => Start::State(state),
            None => Start::Pin(&self.pin),
        };
        let cohort = cohort();
        let wanted = Wanted {
            network: &self.network,
            catalog: (self.reads != Reads::Trust).then_some(&cohort),
            keys: &self.keys,
        };
        let verified = if self.reads == Reads::Files {
            let mut source = |name: &str, _: u64| Ok(files.get(name).map(|bytes| bytes.to_vec()));
            verify_source(start, &wanted, &mut source, now)
        } else {
            let missing = || VerifyError::Missing(self.path());
            let bytes = files.get(&self.path()).ok_or_else(missing)?;
            verify_bundle(start, &wanted, bytes, now)
        }?;
        self.state = Some(verified.state.clone());
        Ok(verified)
    }
}

/// A client of each kind.
pub fn clients(network: &NetworkId, pin: &RootPin) -> [Client; 3] {
    [Reads::Bundle, Reads::Trust, Reads::Files].map(|reads| Client::new(reads, network, pin))
}

/// Asserts that clients which sync from `mirror` at every moment of its life always succeed, so
/// that nothing half-done and no step back is ever served. How many moments there were.
pub fn assert_never_back(
    mirror: &MemoryMirror,
    network: &NetworkId,
    pin: &RootPin,
    now: Timestamp,
) -> usize {
    let served = mirror.served();
    for mut client in clients(network, pin) {
        let (path, mut version) = (client.path(), 0);
        for moment in served.iter().filter(|served| served.path == path) {
            let verified = client
                .sync(&moment.files, now)
                .unwrap_or_else(|error| panic!("after version {version}: {error}"));
            let next = verified.state.timestamp_version();
            assert!(version < next, "{path} was served twice");
            version = next;
        }
    }
    served.len()
}

pub fn cohort() -> CatalogName {
    "default".parse().unwrap()
}
