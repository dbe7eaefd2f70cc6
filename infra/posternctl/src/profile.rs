//! The profile: one admin's key, how to reach and trust the network, and the session.
//!
//! It is a file for its owner alone (`0600`), replaced as a whole. It is the first that is named:
//! `--profile` (or `POSTERN_PROFILE`), `operator.json` in the folder of `--data` (or
//! `POSTERN_DATA`), `postern-data/operator.json` if it is there, and else `operator.json` in the
//! platform's config folder.

use std::fs::{self, DirBuilder};
use std::io::ErrorKind;
use std::os::unix::fs::DirBuilderExt;
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use api::IdentitySecret;
use api::admins::SessionAnswer;
use model::{AdminId, FirstContact};
use serde::{Deserialize, Serialize};
use tuf::client::TrustedState;

use crate::data::{self, DEFAULT, Folder};
use crate::random;

/// The schema of a profile.
const SCHEMA: &str = "postern-profile/1";
/// The profile's name in a data folder and in the config folder.
const NAME: &str = "operator.json";

/// One admin's side of one network.
#[derive(Clone, Serialize, Deserialize)]
pub struct Profile {
    schema: String,
    /// How to reach and trust the network.
    pub contact: FirstContact,
    /// What signs logins.
    pub key: IdentitySecret,
    /// The last session.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub session: Option<SessionAnswer>,
    /// What the offline keys have signed, as far as it was verified.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub trusted: Option<TrustedState>,
}

impl Profile {
    /// A profile with a key of its own.
    pub fn new(contact: FirstContact) -> anyhow::Result<Self> {
        Ok(Self {
            schema: SCHEMA.to_owned(),
            contact,
            key: IdentitySecret::from_seed(random()?),
            session: None,
            trusted: None,
        })
    }

    /// The id by which the network knows the admin.
    pub fn admin(&self) -> AdminId {
        AdminId::of(&self.key.public())
    }
}

/// Where a profile is, or will be.
#[derive(Clone)]
pub struct Place(PathBuf);

impl Place {
    /// The place that the arguments come to.
    pub fn find(profile: Option<PathBuf>, data: Option<&Path>) -> anyhow::Result<Self> {
        if let Some(path) = profile {
            return Ok(Self(path));
        }
        if let Some(data) = data {
            return Ok(Self(data.join(NAME)));
        }
        let local = Path::new(DEFAULT).join(NAME);
        if local.exists() {
            return Ok(Self(local));
        }
        let folders = directories::ProjectDirs::from("", "", "postern")
            .context("this system names no config folder: use --profile FILE")?;
        Ok(Self(folders.config_dir().join(NAME)))
    }

    /// The place in a data folder.
    pub fn of(data: &Folder) -> Self {
        Self(data.path(NAME))
    }

    /// The file's path.
    pub fn path(&self) -> &Path {
        &self.0
    }

    /// The profile, if there is one.
    pub fn load(&self) -> anyhow::Result<Option<Profile>> {
        let shown = self.0.display();
        let bytes = match fs::read(&self.0) {
            Ok(bytes) => bytes,
            Err(error) if error.kind() == ErrorKind::NotFound => return Ok(None),
            Err(error) => return Err(error).with_context(|| shown.to_string()),
        };
        // The schema first: a newer one may have another form.
        let header: Header = serde_json::from_slice(&bytes)
            .with_context(|| format!("{shown} is no profile: restore it from a copy"))?;
        if header.schema != SCHEMA {
            bail!(
                "{shown} has the schema '{}', this program reads '{SCHEMA}'",
                header.schema
            );
        }
        let profile = serde_json::from_slice(&bytes)
            .with_context(|| format!("{shown} is damaged: restore it from a copy"))?;
        Ok(Some(profile))
    }

    /// The profile, which must be there.
    pub fn read(&self) -> anyhow::Result<Profile> {
        self.load()?.with_context(|| {
            format!(
                "{} is not there: 'posternctl setup' or 'posternctl profile new' makes a profile, \
                 'posternctl up' makes one in its data folder, --profile names another",
                self.0.display()
            )
        })
    }

    /// Replaces the profile as a whole, readable by its owner alone.
    pub fn save(&self, profile: &Profile) -> anyhow::Result<()> {
        if let Some(folder) = self.0.parent()
            && !folder.as_os_str().is_empty()
        {
            let made = DirBuilder::new().recursive(true).mode(0o700).create(folder);
            made.with_context(|| folder.display().to_string())?;
        }
        data::replace(&self.0, &serde_json::to_vec_pretty(profile)?)
    }
}

#[derive(Deserialize)]
struct Header {
    schema: String,
}
