//! `publish` as a deployment sets it up: keys, what the offline keys have signed, mirrors.

use std::collections::BTreeMap;
use std::sync::Arc;

use control::measures::{Measure, Measured, WARNINGS};
use control::migration::{self, LEAST_CALLS as LEAST_TO_MIGRATE, Migrated};
use control::publish::{Budget, Mirror, Offline, OnlineKeys, Publisher, Report};
use edge::mirrors::{Keys, MakeHttp, mirrors};
use edge::settings::{self, Reader, Setting};
use edge::{Edge, is_late};
use jiff::Timestamp;
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
    holds: r#"a JSON list of at least one mirror, such as [{"kind":"s3","name":"main","bucket":"postern-site","region":"eu-central-1"}]"#,
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

/// What a run did.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Done {
    /// Of publishing.
    #[serde(flatten)]
    pub report: Report,
    /// Of the items of older forms; None where publishing left too few calls.
    pub items: Option<Items>,
}

/// What became of the items of older forms.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
#[serde(untagged)]
pub enum Items {
    /// They were looked at.
    Looked(Migrated),
    /// It failed; the next run tries again.
    Failed {
        /// Why.
        failed: String,
    },
}

impl Measured for Done {
    fn measures(&self, now: Timestamp) -> Vec<Measure> {
        let mut measures = self.report.measures(now);
        let wrong = match &self.items {
            None => 0,
            Some(Items::Looked(items)) => items.unreadable.len(),
            Some(Items::Failed { .. }) => 1,
        };
        let warnings = measures.iter_mut().find(|one| one.name == WARNINGS);
        if let Some(warnings) = warnings {
            warnings.value += Measure::count(WARNINGS, wrong).value;
        }
        measures
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

    /// One run, at the moment that the edge's clock shows: publishes, and with the calls that are left writes
    /// items of older forms anew. Every network has this schedule, whether it rents nodes or not.
    pub async fn run(&self, edge: &Edge) -> Result<Done, control::Error> {
        let moment = edge.clock.moment();
        let (now, is_late) = (moment.now, is_late(&edge.clock, moment.now));
        let publisher = Publisher {
            context: edge.context(moment),
            offline: &self.offline,
            keys: &self.keys,
            mirrors: &self.mirrors,
            front_doors: &self.front_doors,
            budget: self.budget,
        };
        let report = publisher.run().await?;
        let meter = self.budget.left(report.calls);
        let mut items = None;
        if meter.spare() >= LEAST_TO_MIGRATE {
            let run = migration::Run {
                store: edge.store.as_ref(),
                meter: &meter,
                now,
                is_late: &is_late,
            };
            // What was published stands, whatever comes of this.
            match migration::run(&run).await {
                Ok(migrated) => items = Some(Items::Looked(migrated)),
                Err(error) => {
                    let failed = error.to_string();
                    tracing::error!(failed, "items of older forms were not written anew");
                    items = Some(Items::Failed { failed });
                }
            }
        }
        Ok(Done { report, items })
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
    let offline: OfflineText = settings::json(text)?;
    if offline.schema != SCHEMA {
        return Err(format!("its schema is not {SCHEMA}"));
    }
    let files = offline.files.into_iter();
    Offline::read(
        offline.roots.into_iter().map(String::into_bytes).collect(),
        offline.targets.into_bytes(),
        files
            .map(|(path, text)| (path, text.into_bytes()))
            .collect(),
    )
    .map_err(|error| error.to_string())
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

#[cfg(test)]
mod tests {
    use super::*;
    use model::Limits;
    use tuf::repository::{RoleKeys, RootRoles, sign_root, sign_targets};

    fn offline() -> Offline {
        let key = |seed| SigningKey::ed25519_from_seed([seed; 32]);
        let single = |seed| RoleKeys {
            keys: vec![key(seed).public()],
            threshold: 1,
        };
        let expires = "2030-01-01T00:00:00Z".parse().unwrap();
        let roles = RootRoles {
            root: single(1),
            targets: single(2),
            snapshot: single(3),
            timestamp: single(4),
        };
        let limits = Limits {
            schema: Limits::SCHEMA.to_owned(),
            network: "n-abcdefgh".parse().unwrap(),
            front_door_hosts: vec!["127.0.0.1".to_owned()],
            gateway_networks: Vec::new(),
            cohorts: vec!["default".parse().unwrap()],
        };
        let signed_limits = serde_json::to_vec(&limits).unwrap();
        let files = BTreeMap::from([(Limits::PATH.to_owned(), signed_limits)]);
        let root = |version| sign_root(version, expires, &roles, &[&key(1)]).unwrap();
        let targets = sign_targets(7, expires, &files, &single(5), &[&key(2)]).unwrap();
        Offline::read(vec![root(1), root(2)], targets, files).unwrap()
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
    fn what_the_offline_keys_did_not_sign_so_is_refused() {
        let text = write_offline(&offline());
        let shorter = text.replacen("default", "defaul", 1);
        assert!(read_offline(&shorter).unwrap_err().contains("altered"));
        let mut offline = offline();
        offline.roots.pop();
        let error = read_offline(&write_offline(&offline));
        assert!(error.is_ok(), "a shorter chain is one, too");
        offline.roots.clear();
        assert!(read_offline(&write_offline(&offline)).is_err());
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
}
