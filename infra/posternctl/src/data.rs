//! The data folder: where a network on one machine lives.
//!
//! ```text
//! network.json      settings; written last by `init`, so that a folder with it is complete
//! keys/offline/     root and targets keys: move them off this machine (docs/runbooks)
//! keys/online/      what `publish` and `register` sign with, what `reconcile` derives nodes'
//!                   bootstrap secrets from, and what `enroll` and `register` open requests with
//! offline/          what the offline keys have signed
//! setup             the setup code, until `up` has used it
//! operator.json     the profile of this machine's operator
//! state.sqlite      the state
//! site/             the signed repository, as front doors serve it
//! evidence/         the records of what was rented and removed
//! gateways/<n>/     the agents that `up` runs: the plan of each, and its keys
//! invite            the invite that `up` shows
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::io::Write;
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use api::sealed::ControlSecrets;
use control::publish::{Offline, OnlineKeys};
use model::{
    ControlKey, FirstContact, FrontDoor, Limits, Network, RecoveryKit, RootPin, SetupCode,
    TrustedKeys,
};
use serde::{Deserialize, Serialize};
use tuf::key::SigningKey;
use tuf::repository::Pin;

/// The data folder of who names none.
pub const DEFAULT: &str = "postern-data";
/// The setup code's text, for this machine.
pub const SETUP: &str = "setup";
/// What nodes' bootstrap secrets are derived from.
const BOOTSTRAP_KEY: &str = "keys/online/bootstrap";
/// What sealed requests are opened with.
const CONTROL_KEYS: &str = "keys/online/control.json";
/// The schema of `network.json`.
pub const SCHEMA: &str = "postern-network/1";

/// `network.json`.
#[derive(Clone, Serialize, Deserialize)]
pub struct Settings {
    /// [`SCHEMA`].
    pub schema: String,
    /// What every function knows.
    pub network: Network,
    /// The address that `up` listens on.
    pub listen: IpAddr,
    /// The ports that `up` listens on.
    pub ports: Ports,
    /// How many gateways `up` runs on this machine.
    pub gateways: u8,
    /// Base URLs of the control plane, as invites name them.
    pub control: Vec<String>,
    /// Front doors, as invites and catalogs name them.
    pub front_doors: Vec<FrontDoor>,
    /// The code that makes the first owner.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub setup: Option<SetupCode>,
}

/// Ports of one machine.
#[derive(Clone, Serialize, Deserialize)]
pub struct Ports {
    /// The control plane's.
    pub control: u16,
    /// The three front doors'.
    pub doors: [u16; 3],
}

/// A data folder.
#[derive(Clone)]
pub struct Folder {
    root: PathBuf,
}

impl Folder {
    /// The folder at `root`, which need not exist.
    pub fn new(root: PathBuf) -> Self {
        Self { root }
    }

    /// The folder itself.
    pub fn root(&self) -> &Path {
        &self.root
    }

    /// A place in the folder.
    pub fn path(&self, name: &str) -> PathBuf {
        self.root.join(name)
    }

    /// Takes the folder for this process alone, until the file is dropped; makes it if needed.
    pub fn lock(&self) -> anyhow::Result<File> {
        fs::create_dir_all(&self.root).with_context(|| self.root.display().to_string())?;
        let path = self.path(".lock");
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!(
                "another 'posternctl up' or 'init' works in {}: stop it first",
                self.root.display()
            ),
            Err(TryLockError::Error(error)) => {
                Err(error).with_context(|| path.display().to_string())
            }
        }
    }

    /// Whether `init` finished here.
    pub fn is_made(&self) -> bool {
        self.path("network.json").exists()
    }

    /// The settings.
    pub fn settings(&self) -> anyhow::Result<Settings> {
        if !self.is_made() {
            bail!(
                "{} holds no network: run 'posternctl init' or 'posternctl up' first, \
                 or name its folder with --data",
                self.root.display()
            );
        }
        let settings: Settings = serde_json::from_slice(&self.read("network.json")?)
            .with_context(|| format!("{} cannot be read", self.path("network.json").display()))?;
        if settings.schema != SCHEMA {
            bail!(
                "network.json has the schema '{}', this program reads '{SCHEMA}'",
                settings.schema
            );
        }
        Ok(settings)
    }

    /// A file's bytes.
    pub fn read(&self, name: &str) -> anyhow::Result<Vec<u8>> {
        let path = self.path(name);
        fs::read(&path).with_context(|| path.display().to_string())
    }

    /// Replaces a file as a whole, readable by its owner alone.
    pub fn write(&self, name: &str, bytes: &[u8]) -> anyhow::Result<()> {
        let path = self.path(name);
        let folder = path.parent().unwrap_or(&self.root);
        fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
        replace(&path, bytes)
    }

    /// Writes the settings.
    pub fn write_settings(&self, settings: &Settings) -> anyhow::Result<()> {
        self.write("network.json", &serde_json::to_vec_pretty(settings)?)
    }

    /// A key of `keys/`.
    pub fn key(&self, name: &str) -> anyhow::Result<SigningKey> {
        let file = format!("keys/{name}.json");
        let text = String::from_utf8(self.read(&file)?).with_context(|| file.clone())?;
        SigningKey::from_file_json(&text).with_context(|| file)
    }

    /// Writes a key of `keys/`.
    pub fn write_key(&self, name: &str, key: &SigningKey) -> anyhow::Result<()> {
        self.write(&format!("keys/{name}.json"), key.to_file_json().as_bytes())
    }

    /// The keys that `publish` signs with.
    pub fn online_keys(&self) -> anyhow::Result<OnlineKeys> {
        Ok(OnlineKeys {
            catalogs: self.key("online/catalogs")?,
            snapshot: self.key("online/snapshot")?,
            timestamp: self.key("online/timestamp")?,
        })
    }

    /// The key that `register` signs configs with.
    pub fn config_key(&self) -> anyhow::Result<Arc<SigningKey>> {
        Ok(Arc::new(self.key("online/config")?))
    }

    /// What `reconcile` derives nodes' bootstrap secrets from, in standard base64. It is made where there
    /// is none yet: networks of before have none.
    pub fn bootstrap_key(&self) -> anyhow::Result<String> {
        if !self.path(BOOTSTRAP_KEY).exists() {
            let key = data_encoding::BASE64.encode(&crate::random::<32>()?);
            self.write(BOOTSTRAP_KEY, key.as_bytes())?;
        }
        Ok(String::from_utf8(self.read(BOOTSTRAP_KEY)?)?)
    }

    /// What `enroll` and `register` open sealed requests with; networks of before have none.
    pub fn control_keys(&self) -> anyhow::Result<ControlSecrets> {
        if !self.path(CONTROL_KEYS).exists() {
            return Ok(ControlSecrets::default());
        }
        let text = String::from_utf8(self.read(CONTROL_KEYS)?).context(CONTROL_KEYS)?;
        ControlSecrets::from_json(&text).context(CONTROL_KEYS)
    }

    /// Writes them.
    pub fn write_control_keys(&self, keys: &ControlSecrets) -> anyhow::Result<()> {
        self.write(CONTROL_KEYS, keys.to_json().as_bytes())
    }

    /// What the offline keys have signed: the newest targets and all roots.
    pub fn offline(&self) -> anyhow::Result<Offline> {
        let mut roots = Vec::new();
        while self
            .path(&format!("offline/{}.root.json", roots.len() + 1))
            .exists()
        {
            roots.push(self.read(&format!("offline/{}.root.json", roots.len() + 1))?);
        }
        let mut targets_version = 0;
        while self
            .path(&format!("offline/{}.targets.json", targets_version + 1))
            .exists()
        {
            targets_version += 1;
        }
        if targets_version == 0 || roots.is_empty() {
            bail!(
                "{} holds no signed root and targets",
                self.path("offline").display()
            );
        }
        let mut files = BTreeMap::new();
        for path in [Limits::PATH, TrustedKeys::PATH, RecoveryKit::PATH] {
            files.insert(path.to_owned(), self.read(&format!("offline/{path}"))?);
        }
        Ok(Offline {
            limits: serde_json::from_slice(&files[Limits::PATH]).context(Limits::PATH)?,
            targets: self.read(&format!("offline/{targets_version}.targets.json"))?,
            targets_version,
            roots,
            files,
        })
    }

    /// What a stranger must hold to reach and trust the network.
    pub fn first_contact(&self, settings: &Settings) -> anyhow::Result<FirstContact> {
        let offline = self.offline()?;
        let root = offline.roots.last().context("offline/ holds no root")?;
        let version = offline.roots.len() as u64;
        Ok(FirstContact {
            network: settings.network.id.clone(),
            root: RootPin {
                version,
                sha256: Pin::of(version, root).sha256,
            },
            front_doors: settings.front_doors.clone(),
            control: settings.control.clone(),
            control_key: signed_control_key(&offline)?,
        })
    }
}

/// The control key that the offline keys have signed: what is sealed to it is opened wherever the
/// functions were told the key before, so texts that are handed out name it and no newer one.
pub fn signed_control_key(offline: &Offline) -> anyhow::Result<Option<ControlKey>> {
    let kit = offline.files.get(RecoveryKit::PATH);
    let kit: RecoveryKit = serde_json::from_slice(kit.context(RecoveryKit::PATH)?)?;
    Ok(kit.control_key)
}

/// Replaces a file as a whole, readable by its owner alone.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    let folder = match path.parent() {
        Some(folder) if !folder.as_os_str().is_empty() => folder,
        _ => Path::new("."),
    };
    let write = || -> std::io::Result<()> {
        // A temporary file has mode 0600.
        let mut file = tempfile::NamedTempFile::new_in(folder)?;
        file.write_all(bytes)?;
        file.as_file().sync_all()?;
        file.persist(path)?;
        fs::File::open(folder)?.sync_all()
    };
    write().with_context(|| path.display().to_string())
}
