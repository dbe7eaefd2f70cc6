//! `publish` as a deployment sets it up: keys, what the offline keys have signed, mirrors.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::http::Http;
use aws_credential_types::Credentials;
use control::publish::{Budget, Mirror, Offline, OnlineKeys, Publisher, Report};
use edge::settings::{self, Reader, Setting};
use edge::{Clock as _, Edge, SystemClock};
use model::Limits;
use serde::{Deserialize, Serialize};
use tuf::key::SigningKey;

use crate::s3::S3;

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
    holds: r#"a JSON list of at least one mirror, such as [{"kind":"s3","name":"main","bucket":"postern-site","region":"eu-central-1"}]"#,
};
/// Rights to buckets that the function's own right does not reach.
pub const MIRROR_KEYS: Setting = Setting {
    name: "POSTERN_MIRROR_KEYS",
    holds: r#"the access keys of mirrors elsewhere, as {"<mirror's name>":{"access_key_id":"…","secret_access_key":"…"}}, or nothing"#,
};
/// Front doors that catalogs name.
pub const FRONT_DOORS: Setting = Setting {
    name: "POSTERN_FRONT_DOORS",
    holds: "a JSON list of the front doors' URLs",
};

/// How many calls a run may make.
pub const CALLS: Setting = Setting {
    name: "POSTERN_CALLS",
    holds: "how many requests a run may make, 20 or more, such as 50 on Workers' free plan; nothing for 150",
};

/// What a run may make where nothing is said: with few mirrors and cohorts all that there is to do, and
/// a check of some files each time and not of all.
const CALLS_UNSAID: u32 = 150;

/// The least budget that is taken: with one mirror and few gateways it still gets to an end.
const LEAST_CALLS: u32 = 20;

/// The schema of [`OFFLINE`].
const SCHEMA: &str = "postern-offline/1";

/// Makes what carries requests to buckets.
pub type MakeHttp = fn() -> Result<Arc<dyn Http>, String>;

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
    /// A bucket of S3, or of what speaks as S3 does.
    S3 {
        /// The mirror's name; it never changes.
        name: String,
        /// The bucket's.
        bucket: String,
        /// Its region; `auto` for R2.
        region: String,
        /// Where it is, if not at AWS; https, or on loopback.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        endpoint: Option<String>,
        /// The part of the bucket that is served; the whole if it is empty.
        #[serde(default, skip_serializing_if = "String::is_empty")]
        prefix: String,
    },
}

/// An access key of a bucket.
#[derive(Clone, Deserialize)]
#[serde(deny_unknown_fields)]
struct Right {
    access_key_id: String,
    secret_access_key: String,
    #[serde(default)]
    session_token: Option<String>,
}

/// With which right mirrors are written.
#[derive(Default)]
struct Keys {
    /// By the mirror's name.
    given: BTreeMap<String, Right>,
    /// The function's own, for all others.
    own: Option<Right>,
}

impl Keys {
    fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let given = reader.optional(MIRROR_KEYS, settings::json);
        let id = reader.optional(settings::ACCESS_KEY, settings::one_word);
        let secret = reader.optional(settings::SECRET_KEY, settings::one_word);
        let session_token = reader.optional(settings::SESSION_TOKEN, settings::one_word);
        let (id, secret, session_token) = (id?, secret?, session_token?);
        Some(Self {
            given: given?.unwrap_or_default(),
            own: id.zip(secret).map(|(id, secret)| Right {
                access_key_id: id,
                secret_access_key: secret,
                session_token,
            }),
        })
    }

    fn of(&self, mirror: &str) -> Result<Credentials, String> {
        let right = self.given.get(mirror).or(self.own.as_ref());
        let lacks = || format!("the mirror '{mirror}' has no key in {}", MIRROR_KEYS.name);
        let right = right.cloned().ok_or_else(lacks)?;
        Ok(Credentials::new(
            right.access_key_id,
            right.secret_access_key,
            right.session_token,
            None,
            "settings",
        ))
    }
}

impl MirrorSetting {
    fn open(self, keys: &Keys, http: &Arc<dyn Http>) -> Result<Arc<dyn Mirror>, String> {
        match self {
            Self::S3 {
                name,
                bucket,
                region,
                endpoint,
                prefix,
            } => {
                if let Some(endpoint) = &endpoint
                    && !api::contact::is_private(endpoint)
                {
                    return Err(format!("the endpoint of the mirror '{name}' is not https"));
                }
                let credentials = keys.of(&name)?;
                Ok(Arc::new(S3 {
                    name,
                    bucket,
                    prefix,
                    region,
                    endpoint,
                    credentials,
                    http: http.clone(),
                    now: || SystemClock.moment().now,
                }))
            }
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
    budget: Budget,
}

impl Publish {
    /// Reads it from a deployment's settings; `http` reaches buckets.
    pub fn from_settings(reader: &mut Reader<'_>, http: MakeHttp) -> Option<Self> {
        let catalogs = reader.required(CATALOGS_KEY, key);
        let snapshot = reader.required(SNAPSHOT_KEY, key);
        let timestamp = reader.required(TIMESTAMP_KEY, key);
        let offline = reader.required(OFFLINE, read_offline);
        let keys = Keys::read(reader);
        let mirrors = reader.required(MIRRORS, |text| mirrors(text, keys.as_ref(), &http()?));
        let front_doors = reader.required(FRONT_DOORS, settings::json);
        let budget = reader.optional(CALLS, budget);
        Some(Self {
            offline: offline?,
            keys: OnlineKeys {
                catalogs: catalogs?,
                snapshot: snapshot?,
                timestamp: timestamp?,
            },
            mirrors: mirrors?,
            front_doors: front_doors?,
            budget: budget?.unwrap_or(Budget::of(CALLS_UNSAID)),
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
            budget: self.budget,
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

fn budget(text: &str) -> Result<Budget, String> {
    let calls = text.parse().ok().filter(|calls| *calls >= LEAST_CALLS);
    calls
        .map(Budget::of)
        .ok_or_else(|| format!("it is no number from {LEAST_CALLS} on"))
}

/// Its errors never quote the secret.
fn key(text: &str) -> Result<SigningKey, String> {
    SigningKey::from_file_json(text).map_err(|error| error.to_string())
}

fn mirrors(
    text: &str,
    keys: Option<&Keys>,
    http: &Arc<dyn Http>,
) -> Result<Vec<Arc<dyn Mirror>>, String> {
    let mirrors: Vec<MirrorSetting> = settings::json(text)?;
    if mirrors.is_empty() {
        return Err("it names none".to_owned());
    }
    // Without keys there is a fault already.
    let none = Keys::default();
    let keys = keys.unwrap_or(&none);
    let mirrors: Vec<Arc<dyn Mirror>> = mirrors
        .into_iter()
        .map(|mirror| mirror.open(keys, http))
        .collect::<Result<_, _>>()?;
    let names: BTreeSet<&str> = mirrors.iter().map(|mirror| mirror.name()).collect();
    if names.len() < mirrors.len() {
        return Err("two mirrors have one name".to_owned());
    }
    Ok(mirrors)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn offline() -> Offline {
        let limits = Limits {
            schema: Limits::SCHEMA.to_owned(),
            network: "n-abcdefgh".parse().unwrap(),
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

        let publish = Publish::from_settings(&mut reader, crate::native::http);

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

    fn open(settings: &[MirrorSetting], keys: &Keys) -> Result<Vec<Arc<dyn Mirror>>, String> {
        let http = crate::native::http().unwrap();
        mirrors(&serde_json::to_string(settings).unwrap(), Some(keys), &http)
    }

    fn folder(path: &std::path::Path) -> MirrorSetting {
        MirrorSetting::Folder {
            name: "site".to_owned(),
            path: path.join("site"),
        }
    }

    fn bucket(endpoint: &str) -> MirrorSetting {
        MirrorSetting::S3 {
            name: "elsewhere".to_owned(),
            bucket: "postern-site".to_owned(),
            region: "auto".to_owned(),
            endpoint: Some(endpoint.to_owned()),
            prefix: String::new(),
        }
    }

    fn keys() -> Keys {
        let given = r#"{"elsewhere": {"access_key_id": "id", "secret_access_key": "secret"}}"#;
        Keys {
            given: serde_json::from_str(given).unwrap(),
            own: None,
        }
    }

    #[test]
    fn mirrors_are_opened_and_what_is_none_is_refused() {
        let there = tempfile::tempdir().unwrap();
        let both = [folder(there.path()), bucket("https://r2.example")];

        let opened = open(&both, &keys()).unwrap();

        let names: Vec<_> = opened.iter().map(|mirror| mirror.name()).collect();
        assert_eq!(names, ["site", "elsewhere"]);
        assert!(open(&[], &keys()).is_err());
        let http = crate::native::http().unwrap();
        let unknown = r#"[{"kind":"carrier-pigeon"}]"#;
        assert!(mirrors(unknown, Some(&keys()), &http).is_err());
    }

    #[test]
    fn a_bucket_without_a_key_in_the_clear_or_with_another_s_name_is_refused() {
        let there = tempfile::tempdir().unwrap();
        let refused = |settings: &[MirrorSetting], keys: &Keys| open(settings, keys).err().unwrap();

        let no_key = refused(&[bucket("https://r2.example")], &Keys::default());
        let clear = refused(&[bucket("http://r2.example")], &keys());
        let twice = refused(&[folder(there.path()), folder(there.path())], &keys());

        assert!(no_key.contains(MIRROR_KEYS.name), "{no_key}");
        assert!(clear.contains("not https"), "{clear}");
        assert!(twice.contains("one name"), "{twice}");
    }
}
