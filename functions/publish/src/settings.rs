//! `publish` as a deployment sets it up: keys, what the offline keys have signed, mirrors.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::publish::{Mirror, Offline, OnlineKeys, Publisher, Report};
use edge::Edge;
use edge::settings::{self, Reader, Setting};
use model::Limits;
use serde::{Deserialize, Serialize};
use tuf::key::SigningKey;

/// The key of the delegated role `catalogs`.
pub const CATALOGS_KEY: Setting = Setting {
    name: "POSTERN_CATALOGS_KEY",
    holds: "the catalogs key's file: JSON of the schema postern-signing-key/1",
};
/// The key of `snapshot`.
pub const SNAPSHOT_KEY: Setting = Setting {
    name: "POSTERN_SNAPSHOT_KEY",
    holds: "the snapshot key's file: JSON of the schema postern-signing-key/1",
};
/// The key of `timestamp`.
pub const TIMESTAMP_KEY: Setting = Setting {
    name: "POSTERN_TIMESTAMP_KEY",
    holds: "the timestamp key's file: JSON of the schema postern-signing-key/1",
};
/// What the offline keys have signed.
pub const OFFLINE: Setting = Setting {
    name: "POSTERN_OFFLINE",
    holds: "what the offline keys have signed, as 'posternctl settings publish' prints it",
};
/// Where the repository is served from.
pub const MIRRORS: Setting = Setting {
    name: "POSTERN_MIRRORS",
    holds: r#"a JSON list of at least one mirror, such as [{"kind":"folder","name":"site","path":"/mnt/site"}]"#,
};
/// Front doors that catalogs name.
pub const FRONT_DOORS: Setting = Setting {
    name: "POSTERN_FRONT_DOORS",
    holds: "a JSON list of the front doors' URLs",
};

/// The schema of [`OFFLINE`].
const SCHEMA: &str = "postern-offline/1";

/// A mirror as a deployment names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum MirrorSetting {
    /// A folder that is there for every run, a mounted file system.
    #[cfg(not(target_family = "wasm"))]
    Folder {
        /// The mirror's name; it never changes.
        name: String,
        /// Where it is.
        path: std::path::PathBuf,
    },
}

impl MirrorSetting {
    fn open(self) -> Result<Arc<dyn Mirror>, String> {
        match self {
            #[cfg(not(target_family = "wasm"))]
            Self::Folder { name, path } => {
                let folder = crate::Folder::new(name, &path);
                let folder = folder.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Arc::new(folder))
            }
        }
    }
}

/// What a run stands on besides the state.
pub struct Publish {
    offline: Offline,
    keys: OnlineKeys,
    mirrors: Vec<Arc<dyn Mirror>>,
    front_doors: Vec<String>,
}

impl Publish {
    /// Reads it from a deployment's settings.
    pub fn from_settings(reader: &mut Reader<'_>) -> Option<Self> {
        let catalogs = reader.required(CATALOGS_KEY, key);
        let snapshot = reader.required(SNAPSHOT_KEY, key);
        let timestamp = reader.required(TIMESTAMP_KEY, key);
        let offline = reader.required(OFFLINE, read_offline);
        let mirrors = reader.required(MIRRORS, mirrors);
        let front_doors = reader.required(FRONT_DOORS, settings::json);
        Some(Self {
            offline: offline?,
            keys: OnlineKeys {
                catalogs: catalogs?,
                snapshot: snapshot?,
                timestamp: timestamp?,
            },
            mirrors: mirrors?,
            front_doors: front_doors?,
        })
    }

    /// One run, at the moment that the edge's clock shows.
    pub async fn run(&self, edge: &Edge) -> Result<Report, control::Error> {
        let publisher = Publisher {
            context: edge.context(edge.clock.moment()),
            offline: &self.offline,
            keys: &self.keys,
            mirrors: &self.mirrors,
            front_doors: &self.front_doors,
        };
        let report = publisher.run().await?;
        Ok(report)
    }
}

/// Signed files are JSON, so that texts keep them to the byte.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct OfflineText {
    schema: String,
    roots: Vec<String>,
    targets: String,
    files: BTreeMap<String, String>,
}

/// What [`OFFLINE`] should hold for `offline`.
pub fn write_offline(offline: &Offline) -> String {
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let files = offline.files.iter();
    let offline = OfflineText {
        schema: SCHEMA.to_owned(),
        roots: offline.roots.iter().map(|root| text(root)).collect(),
        targets: text(&offline.targets),
        files: files
            .map(|(path, bytes)| (path.clone(), text(bytes)))
            .collect(),
    };
    serde_json::to_string(&offline).expect("it is plain data")
}

fn read_offline(text: &str) -> Result<Offline, String> {
    #[derive(Deserialize)]
    struct Targets {
        signed: Signed,
    }
    #[derive(Deserialize)]
    struct Signed {
        version: u64,
    }
    let offline: OfflineText = settings::json(text)?;
    if offline.schema != SCHEMA {
        return Err(format!("its schema is not {SCHEMA}"));
    }
    let targets: Targets =
        settings::json(&offline.targets).map_err(|why| format!("the signed targets: {why}"))?;
    let limits = offline.files.get(Limits::PATH);
    let limits = limits.ok_or("it lacks the file limits.json")?;
    let limits = settings::json(limits).map_err(|why| format!("limits.json: {why}"))?;
    let files = offline.files.into_iter();
    Ok(Offline {
        roots: offline.roots.into_iter().map(String::into_bytes).collect(),
        targets_version: targets.signed.version,
        targets: offline.targets.into_bytes(),
        files: files
            .map(|(path, text)| (path, text.into_bytes()))
            .collect(),
        limits,
    })
}

/// Its errors never quote the secret.
fn key(text: &str) -> Result<SigningKey, String> {
    SigningKey::from_file_json(text).map_err(|error| error.to_string())
}

fn mirrors(text: &str) -> Result<Vec<Arc<dyn Mirror>>, String> {
    let mirrors: Vec<MirrorSetting> = settings::json(text)?;
    if mirrors.is_empty() {
        return Err("it names none".to_owned());
    }
    mirrors.into_iter().map(MirrorSetting::open).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline() -> Offline {
        let limits = Limits {
            schema: Limits::SCHEMA.to_owned(),
            network: model::NetworkId::from_random([7; 5]),
            front_door_hosts: vec!["127.0.0.1".to_owned()],
            gateway_networks: Vec::new(),
            cohorts: vec!["default".parse().unwrap()],
        };
        let signed_limits = serde_json::to_vec(&limits).unwrap();
        Offline {
            roots: vec![b"{\"signed\": 1}".to_vec(), b"{ }\n".to_vec()],
            targets_version: 7,
            targets: b"{\"signed\":{\"version\":7}}".to_vec(),
            files: BTreeMap::from([(Limits::PATH.to_owned(), signed_limits)]),
            limits,
        }
    }

    #[test]
    fn what_the_offline_keys_signed_is_kept_to_the_byte() {
        let offline = offline();

        let read = read_offline(&write_offline(&offline)).unwrap();

        assert_eq!(read.roots, offline.roots);
        assert_eq!(read.targets_version, 7);
        assert_eq!(read.targets, offline.targets);
        assert_eq!(read.files, offline.files);
        assert_eq!(read.limits, offline.limits);
    }

    #[test]
    fn all_that_publishing_lacks_is_listed_at_once() {
        let mut reader = Reader::new(&|_| Ok(None));

        let publish = Publish::from_settings(&mut reader);

        assert!(publish.is_none());
        let error = reader.finish().unwrap_err().to_string();
        let wanted = [
            CATALOGS_KEY,
            SNAPSHOT_KEY,
            TIMESTAMP_KEY,
            OFFLINE,
            MIRRORS,
            FRONT_DOORS,
        ];
        for setting in wanted {
            assert!(
                error.contains(&format!("{} is missing", setting.name)),
                "{error}"
            );
        }
    }

    #[test]
    fn mirrors_are_opened_and_what_is_none_is_refused() {
        let folder = tempfile::tempdir().unwrap();
        let good = vec![MirrorSetting::Folder {
            name: "site".to_owned(),
            path: folder.path().join("site"),
        }];

        let opened = mirrors(&serde_json::to_string(&good).unwrap()).unwrap();

        assert_eq!(opened.len(), 1);
        assert_eq!(opened[0].name(), "site");
        assert!(mirrors("[]").is_err());
        assert!(mirrors(r#"[{"kind":"carrier-pigeon"}]"#).is_err());
    }
}
