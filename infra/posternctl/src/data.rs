//! The data folder: where a network on one machine lives.
//!
//! ```text
//! network.json      settings; written last by `init`, so that a folder with it is complete
//! keys/offline/     root and targets keys: move them off this machine (docs/runbooks/key-ceremony.md)
//! keys/online/      what `publish` and `register` sign with, what `reconcile` derives nodes'
//!                   bootstrap secrets from, and what `enroll` and `register` open requests with;
//!                   which of several the offline files name is in use
//! offline/          what the offline keys have signed: files are added, none is replaced
//! setup             the setup code, until `up` has used it
//! operator.json     the profile of this machine's operator
//! state.sqlite      the state, where no other store was asked for
//! store             the URL of the store, where one was
//! site/             the signed repository, as front doors serve it
//! evidence/         the records of what was rented and removed
//! gateways/<n>/     the agents that `up` runs: the plan of each, and its keys
//! invite            the invite that `up` shows
//! ```

use std::collections::BTreeMap;
use std::fs::{self, File, TryLockError};
use std::net::IpAddr;
use std::path::{Path, PathBuf};
use std::sync::Arc;

use anyhow::{Context, bail};
use api::sealed::ControlSecrets;
use control::publish::{Offline, OnlineKeys};
use model::{
    ControlKey, FirstContact, FrontDoor, Network, RecoveryKit, RootPin, SetupCode, TrustedKeys,
};
use serde::{Deserialize, Serialize};
use tuf::ceremony::{Base, Role};
use tuf::key::SigningKey;
use tuf::key_file;
use tuf::repository::{Pin, RoleKeys};
use tuf::{Authority, PublicKey, VerifyError};

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
        self.lock_file(".lock", "up' or 'init")
    }

    /// Takes the offline files for this process alone, beside an `up` that runs.
    pub fn lock_offline(&self) -> anyhow::Result<File> {
        self.lock_file(".ceremony.lock", "root finish")
    }

    fn lock_file(&self, name: &str, work: &str) -> anyhow::Result<File> {
        let path = self.path(name);
        let file = File::options().create(true).append(true).open(&path);
        let file = file.with_context(|| path.display().to_string())?;
        match file.try_lock() {
            Ok(()) => Ok(file),
            Err(TryLockError::WouldBlock) => bail!(
                "another 'posternctl {work}' works in {}: stop it first",
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

    /// Writes an online key. It is in use once the offline files name it.
    pub fn write_online_key(&self, role: Role, key: &SigningKey) -> anyhow::Result<()> {
        let first = !self.path(&format!("keys/online/{role}.json")).exists();
        let name = if first {
            role.to_string()
        } else {
            format!("{role}-{}", &key.key_id()[..8])
        };
        let file = format!("keys/online/{name}.json");
        self.write(&file, key.to_file_json().as_bytes())
    }

    /// The online keys of a role that are here, with the names of their files.
    pub fn online_keys_of(&self, role: Role) -> anyhow::Result<Vec<(String, SigningKey)>> {
        let mut keys = Vec::new();
        for name in self.names("keys/online")? {
            let Some(stem) = name.strip_suffix(".json") else {
                continue;
            };
            if stem.split('-').next() != Some(role.as_str()) {
                continue;
            }
            let file = format!("keys/online/{name}");
            let text = String::from_utf8(self.read(&file)?).with_context(|| file.clone())?;
            let key = SigningKey::from_file_json(&text).with_context(|| file.clone())?;
            keys.push((file, key));
        }
        Ok(keys)
    }

    /// The first of the keys that the offline files name whose secret is here.
    fn online_key(&self, role: Role, named: &RoleKeys) -> anyhow::Result<SigningKey> {
        let held = self.online_keys_of(role)?;
        let find = |public: &PublicKey| held.iter().find(|(_, key)| key.public() == *public);
        let found = named.keys.iter().find_map(find);
        let ids: Vec<String> = named.keys.iter().map(PublicKey::key_id).collect();
        let (_, key) = found.with_context(|| {
            format!(
                "{} lacks the {role} key {}, which the offline files name",
                self.path("keys/online").display(),
                ids.join(" or ")
            )
        })?;
        Ok(key.clone())
    }

    /// The keys that `publish` signs with, by the offline files.
    pub fn online_keys(&self, authority: &Authority) -> anyhow::Result<OnlineKeys> {
        let roles = &authority.root.roles;
        Ok(OnlineKeys {
            catalogs: self.online_key(Role::Catalogs, &authority.targets.catalogs)?,
            snapshot: self.online_key(Role::Snapshot, &roles.snapshot)?,
            timestamp: self.online_key(Role::Timestamp, &roles.timestamp)?,
        })
    }

    /// The key that `register` signs configs with: the first of `trust.json` that is here.
    pub fn config_key(&self, offline: &Offline) -> anyhow::Result<Arc<SigningKey>> {
        let trust: TrustedKeys = serde_json::from_slice(&offline.files[TrustedKeys::PATH])?;
        let keys = trust.config_keys.into_iter().map(PublicKey::from);
        let named = RoleKeys {
            keys: keys.collect(),
            threshold: 1,
        };
        Ok(Arc::new(self.online_key(Role::Config, &named)?))
    }

    /// Writes an offline key, encrypted if there is a passphrase.
    pub fn write_offline_key(
        &self,
        name: &str,
        key: &SigningKey,
        passphrase: Option<&str>,
    ) -> anyhow::Result<()> {
        let text = crate::root::key_text(key, passphrase)?;
        self.write(&format!("keys/offline/{name}.pem"), text.as_bytes())?;
        let public = key_file::write_public(&key.public())?;
        self.write(&format!("keys/offline/{name}.pub"), public.as_bytes())
    }

    /// The names of the files in a folder, sorted; none if it is not there.
    pub fn names(&self, folder: &str) -> anyhow::Result<Vec<String>> {
        let path = self.path(folder);
        let mut names = Vec::new();
        if path.exists() {
            for entry in fs::read_dir(&path).with_context(|| path.display().to_string())? {
                names.push(entry?.file_name().to_string_lossy().into_owned());
            }
        }
        names.sort();
        Ok(names)
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

    /// What `enroll` and `register` open sealed requests with; networks of before have none. Where clients
    /// seal to a key that is not here, everything that they send would be refused: that is an error.
    pub fn control_keys(&self) -> anyhow::Result<ControlSecrets> {
        let keys = self.control_keys_held()?;
        let held = keys.public();
        let named = signed_control_keys(&self.offline()?)?;
        if let Some(lost) = named.iter().find(|key| !held.contains(key)) {
            bail!(
                "{} lacks the secret of the control key {}, which the offline files name: put it back from \
                 a copy, or make another ('posternctl control-keys new') and have it named ('posternctl \
                 root begin --control-key KEY')",
                self.path(CONTROL_KEYS).display(),
                lost.id()
            );
        }
        Ok(keys)
    }

    /// The control keys that are here, whatever the offline files name.
    pub fn control_keys_held(&self) -> anyhow::Result<ControlSecrets> {
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

    /// What the offline keys have signed: all roots, and the newest targets that the last one lets in. A
    /// root is written after all else of its ceremony, so that its name puts the whole in force at once.
    /// Only where signatures do not fit are older targets taken: a file that is missing or damaged is named.
    pub fn offline(&self) -> anyhow::Result<Offline> {
        let mut roots = Vec::new();
        for version in 1..=self.newest(".root.json")? {
            roots.push(self.read(&root_file(version))?);
        }
        tuf::authority::check_chain(&roots).context("offline/ holds roots that are no chain")?;
        let last = roots.last().context("there is no root")?;
        let mut refused = Vec::new();
        for version in (1..=self.newest(".targets.json")?).rev() {
            let name = targets_file(version);
            let targets = self.read(&name)?;
            match Authority::read(last, &targets) {
                Ok(authority) => return self.offline_with(&roots, targets, &authority),
                // Of a ceremony whose root is not there yet, or of keys that are no longer named.
                Err(error @ VerifyError::Altered(_)) => {
                    refused.push(format!("targets {version}: {error}"));
                }
                // What is damaged is no reason to go back to what was before it.
                Err(error) => {
                    return Err(error).with_context(|| self.path(&name).display().to_string());
                }
            }
        }
        bail!(
            "{} holds no signed root and targets that fit. {}",
            self.path("offline").display(),
            refused.join("; ")
        )
    }

    /// The highest version of a signed document, whose names end so; 0 if there is none.
    fn newest(&self, end: &str) -> anyhow::Result<u64> {
        let names = self.names("offline")?.into_iter();
        let versions = names.filter_map(|name| name.strip_suffix(end)?.parse().ok());
        Ok(versions.max().unwrap_or(0))
    }

    fn offline_with(
        &self,
        roots: &[Vec<u8>],
        targets: Vec<u8>,
        authority: &Authority,
    ) -> anyhow::Result<Offline> {
        let mut files = BTreeMap::new();
        for (path, pin) in &authority.targets.files {
            files.insert(path.clone(), self.signed_file(path, pin)?);
        }
        Ok(Offline::read(roots.to_vec(), targets, files)?)
    }

    /// A file that targets list. Networks of before have it under its plain name.
    fn signed_file(&self, path: &str, pin: &Pin) -> anyhow::Result<Vec<u8>> {
        let hashed = signed_file(path, &pin.sha256);
        let plain = format!("offline/{path}");
        let only_plain = !self.path(&hashed).exists() && self.path(&plain).exists();
        let name = if only_plain { plain } else { hashed };
        let bytes = self.read(&name)?;
        if Pin::of(1, &bytes).sha256 != pin.sha256 {
            bail!(
                "{} is not what the targets list",
                self.path(&name).display()
            );
        }
        Ok(bytes)
    }

    /// What is in force, as a ceremony starts from it.
    pub fn base(&self) -> anyhow::Result<Base> {
        let offline = self.offline()?;
        let text = |bytes: Vec<u8>| String::from_utf8(bytes).context("offline/ holds no JSON");
        let root = offline.roots.last().context("offline/ holds no root")?;
        let mut files = BTreeMap::new();
        for (path, bytes) in offline.files {
            files.insert(path, text(bytes)?);
        }
        Ok(Base {
            root: text(root.clone())?,
            targets: text(offline.targets)?,
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

/// The control keys that clients seal to: devices by the recovery kit, gateways by `trust.json`.
pub fn signed_control_keys(offline: &Offline) -> anyhow::Result<Vec<ControlKey>> {
    let trust = offline.files.get(TrustedKeys::PATH);
    let trust: TrustedKeys = serde_json::from_slice(trust.context(TrustedKeys::PATH)?)?;
    let named = [signed_control_key(offline)?, trust.control_key];
    Ok(named.into_iter().flatten().collect())
}

/// Where root `version` lies in the data folder.
pub fn root_file(version: u64) -> String {
    format!("offline/{version}.root.json")
}

/// Where targets `version` lie in the data folder.
pub fn targets_file(version: u64) -> String {
    format!("offline/{version}.targets.json")
}

/// Where a file lies that targets list: by its hash, so that none is replaced.
pub fn signed_file(path: &str, sha256: &str) -> String {
    format!("offline/{sha256}.{path}")
}

/// Replaces a file as a whole, readable by its owner alone.
pub fn replace(path: &Path, bytes: &[u8]) -> anyhow::Result<()> {
    api::files::replace(path, bytes).with_context(|| path.display().to_string())
}

#[cfg(test)]
pub mod tests;
