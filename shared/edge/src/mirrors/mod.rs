//! Where files are put for others to read: a bucket, or a folder where there is one.
//!
//! A deployment names mirrors of its repository (`publish`), and a place of the same form for the evidence
//! of runs (`reconcile`, `cleanup`), with the keys that they are written with.

#[cfg(not(target_family = "wasm"))]
mod folder;
pub mod s3;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::http::Http;
use aws_credential_types::Credentials;
use control::publish::Mirror;
use serde::{Deserialize, Serialize};

use crate::settings::{self, Reader, Setting};
use crate::{Clock as _, SystemClock};

#[cfg(not(target_family = "wasm"))]
pub use folder::Folder;
use s3::S3;

/// Rights to buckets that the function's own right does not reach.
pub const MIRROR_KEYS: Setting = Setting {
    name: "POSTERN_MIRROR_KEYS",
    holds: r#"the access keys of mirrors elsewhere, as {"<mirror's name>":{"access_key_id":"…","secret_access_key":"…"}}, or nothing"#,
};
/// A stand-in for S3, by the name that AWS's own programs know.
pub const ENDPOINT: Setting = Setting {
    name: "AWS_ENDPOINT_URL_S3",
    holds: "an https URL to be used instead of AWS' S3 (http on loopback only), or nothing",
};
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
pub struct Keys {
    /// By the mirror's name.
    given: BTreeMap<String, Right>,
    /// The function's own, for all others.
    own: Option<Right>,
    /// What stands in for AWS' S3.
    endpoint: Option<String>,
}

impl Keys {
    /// Reads them from a deployment's settings.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let given = reader.optional(MIRROR_KEYS, settings::json);
        let id = reader.optional(settings::ACCESS_KEY, settings::one_word);
        let secret = reader.optional(settings::SECRET_KEY, settings::one_word);
        let session_token = reader.optional(settings::SESSION_TOKEN, settings::one_word);
        let endpoint = settings::endpoint_of(reader, ENDPOINT);
        let (id, secret, session_token) = (id?, secret?, session_token?);
        Some(Self {
            endpoint: endpoint?,
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
    /// Opens it: nothing is asked of it yet.
    pub fn open(self, keys: &Keys, http: &Arc<dyn Http>) -> Result<Arc<dyn Mirror>, String> {
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
                    // One that is named is not AWS'.
                    endpoint: endpoint.or_else(|| keys.endpoint.clone()),
                    credentials,
                    http: http.clone(),
                    now: || SystemClock.moment().now,
                }))
            }
            #[cfg(not(target_family = "wasm"))]
            Self::Folder { name, path } => {
                let folder = Folder::new(name, &path);
                let folder = folder.map_err(|error| format!("{}: {error}", path.display()))?;
                Ok(Arc::new(folder))
            }
        }
    }
}

/// Opens the mirrors of a setting: at least one, each with a name of its own.
pub fn mirrors(
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

#[cfg(all(test, not(target_family = "wasm")))]
mod tests {
    use async_trait::async_trait;
    use bytes::Bytes;
    use http::{Request, Response};

    use super::*;

    /// What nothing is asked of.
    #[derive(Debug)]
    struct Nowhere;

    #[async_trait]
    impl Http for Nowhere {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Bytes>, String> {
            Err("nowhere".to_owned())
        }
    }

    fn http() -> Arc<dyn Http> {
        Arc::new(Nowhere)
    }

    fn open(settings: &[MirrorSetting], keys: &Keys) -> Result<Vec<Arc<dyn Mirror>>, String> {
        let http = http();
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
            endpoint: None,
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
        let http = http();
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
