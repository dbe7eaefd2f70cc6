//! A Worker's wrangler configuration: the shipped one (`infra/cloudflare/`), made a network's own.
//!
//! The shipped files say all that does not depend on the network: modules, rules of the platform, routes,
//! cron triggers, and the names of what each is told. Only what they name is told.

use std::collections::BTreeMap;
use std::path::Path;

use anyhow::{Context, bail};
use edge::settings::in_parts;
use serde_json::{Map, Value, json};
use sha2::{Digest, Sha256};

use crate::settings::Function;

/// The host in the shipped routes, in the place of which the network's stands.
const HOST: &str = "control.example.org";
/// What is told past every file and message.
const SECRETS: [&str; 10] = [
    "AWS_ACCESS_KEY_ID",
    "AWS_SECRET_ACCESS_KEY",
    "POSTERN_BOOTSTRAP_KEY",
    "POSTERN_CATALOGS_KEY",
    "POSTERN_CONFIG_KEY",
    "POSTERN_CONTROL_KEY",
    "POSTERN_HETZNER_TOKEN",
    "POSTERN_MIRROR_KEYS",
    "POSTERN_SNAPSHOT_KEY",
    "POSTERN_TIMESTAMP_KEY",
];

/// Where a deployment's Workers are reached, and what they are called.
pub struct Place {
    /// What their names begin with.
    pub prefix: String,
    /// The control plane's host.
    pub host: String,
    /// The zone at Cloudflare that the host is in.
    pub zone: String,
}

/// A Worker as it is to be.
pub struct Worker {
    /// Its function.
    pub function: Function,
    /// Its name at Cloudflare.
    pub name: String,
    /// Its configuration, without its secrets.
    pub config: Value,
    /// Its secrets.
    pub secrets: BTreeMap<String, String>,
    /// A short hash of all of it, modules and secrets included: the tag of its versions.
    pub tag: String,
}

/// The shipped configuration of a function.
pub fn shipped(function: Function) -> anyhow::Result<Value> {
    let text = match function {
        Function::Enroll => include_str!("../../../../cloudflare/enroll.jsonc"),
        Function::Register => include_str!("../../../../cloudflare/register.jsonc"),
        Function::Admin => include_str!("../../../../cloudflare/admin.jsonc"),
        Function::Publish => include_str!("../../../../cloudflare/publish.jsonc"),
        Function::Reconcile => include_str!("../../../../cloudflare/reconcile.jsonc"),
        Function::Cleanup => include_str!("../../../../cloudflare/cleanup.jsonc"),
    };
    let lines = text.lines();
    let plain: String = lines
        .filter(|line| !line.trim_start().starts_with("//"))
        .collect();
    serde_json::from_str(&plain).context("a shipped wrangler configuration cannot be read")
}

/// The Worker of `function` at `place`, which is told `settings` and whose modules are below `archives`.
pub fn worker(
    function: Function,
    place: &Place,
    settings: Vec<(String, String)>,
    archives: &Path,
) -> anyhow::Result<Worker> {
    let short = function.name();
    let name = format!("{}-{short}", place.prefix);
    let folder = archives.join(format!("{short}-worker"));
    let folder = folder.canonicalize().with_context(|| {
        format!(
            "{} is not there: build the Workers ('infra/scripts/functions worker'), or name the folder of a \
             release's archives with --archives",
            folder.display()
        )
    })?;
    let mut config = shipped(function)?;
    let declared = declared(&config);
    let (mut vars, mut secrets) = (Map::new(), BTreeMap::new());
    for (whole, text) in settings {
        if text.is_empty() {
            continue;
        }
        if !declared.contains(&whole) {
            bail!("the wrangler configuration of {short} declares no {whole}");
        }
        let is_secret = SECRETS.contains(&&*whole);
        for (part, text) in in_parts(&whole, &text) {
            if is_secret {
                secrets.insert(part, text);
            } else {
                vars.insert(part, text.into());
            }
        }
    }
    for required in list(&config["secrets"]["required"]) {
        let required = required.as_str().unwrap_or_default();
        if !secrets.contains_key(required) {
            bail!("{short} needs the secret {required}: name it in the file of --secrets");
        }
    }
    let routes = list(&config["routes"]).iter().map(|route| {
        let pattern = route["pattern"].as_str().unwrap_or_default();
        json!({"pattern": pattern.replacen(HOST, &place.host, 1), "zone_name": place.zone})
    });
    config["routes"] = routes.collect();
    config["name"] = name.clone().into();
    config["vars"] = vars.into();
    let tag = tag(&config, &secrets, &folder)?;
    config["main"] = folder.join("index.js").display().to_string().into();
    Ok(Worker {
        function,
        name,
        config,
        secrets,
        tag,
    })
}

impl Worker {
    /// What its routes match, the host included; sorted.
    pub fn routes(&self) -> Vec<String> {
        let routes = list(&self.config["routes"]).iter();
        let patterns = routes.filter_map(|route| Some(route["pattern"].as_str()?.to_owned()));
        let mut patterns: Vec<_> = patterns.collect();
        patterns.sort();
        patterns
    }

    /// When it is woken; sorted.
    pub fn crons(&self) -> Vec<String> {
        let crons = list(&self.config["triggers"]["crons"]).iter();
        let mut crons: Vec<_> = crons
            .filter_map(|cron| Some(cron.as_str()?.to_owned()))
            .collect();
        crons.sort();
        crons
    }
}

/// The names of all that a Worker may be told.
fn declared(config: &Value) -> Vec<String> {
    let vars = config["vars"].as_object();
    let vars = vars.into_iter().flat_map(Map::keys).cloned();
    let secrets = list(&config["secrets"]["required"]).iter();
    let secrets = secrets.filter_map(|name| Some(name.as_str()?.to_owned()));
    vars.chain(secrets).collect()
}

/// A hash of all that a version is made of. It is shown, and its secrets are long and drawn at random.
fn tag(
    config: &Value,
    secrets: &BTreeMap<String, String>,
    folder: &Path,
) -> anyhow::Result<String> {
    let mut hash = Sha256::new();
    let mut whole = |bytes: &[u8]| {
        hash.update((bytes.len() as u64).to_be_bytes());
        hash.update(bytes);
    };
    whole(config.to_string().as_bytes());
    whole(&serde_json::to_vec(secrets)?);
    for file in ["index.js", "index_bg.wasm"] {
        let path = folder.join(file);
        whole(&std::fs::read(&path).with_context(|| path.display().to_string())?);
    }
    Ok(data_encoding::HEXLOWER.encode(&hash.finalize()[..8]))
}

fn list(value: &Value) -> &[Value] {
    value.as_array().map(Vec::as_slice).unwrap_or_default()
}

#[cfg(test)]
mod tests {
    use super::*;

    const ALL: [Function; 6] = [
        Function::Enroll,
        Function::Register,
        Function::Admin,
        Function::Publish,
        Function::Reconcile,
        Function::Cleanup,
    ];

    fn place() -> Place {
        Place {
            prefix: "net".to_owned(),
            host: "c.example.com".to_owned(),
            zone: "example.com".to_owned(),
        }
    }

    fn archives() -> tempfile::TempDir {
        let folder = tempfile::tempdir().unwrap();
        for function in ALL {
            let worker = folder.path().join(format!("{}-worker", function.name()));
            std::fs::create_dir(&worker).unwrap();
            std::fs::write(worker.join("index.js"), "").unwrap();
            std::fs::write(worker.join("index_bg.wasm"), "").unwrap();
        }
        folder
    }

    /// Every name that is declared, with a text.
    fn told(function: Function) -> Vec<(String, String)> {
        let all = declared(&shipped(function).unwrap()).into_iter();
        all.map(|name| {
            let text = format!("text of {name}");
            (name, text)
        })
        .collect()
    }

    #[test]
    fn secrets_and_nothing_else_are_kept_out_of_the_configuration() {
        let archives = archives();
        for function in ALL {
            let worker = worker(function, &place(), told(function), archives.path()).unwrap();

            let config = worker.config.to_string();
            for name in worker.secrets.keys() {
                assert!(!config.contains(&format!("text of {name}")), "{config}");
            }
            let vars = worker.config["vars"].as_object().unwrap();
            assert!(vars.contains_key("POSTERN_NETWORK"), "{vars:?}");
            let looks_secret = |name: &&String| name.ends_with("_KEY") || name.contains("TOKEN");
            assert_eq!(vars.keys().find(looks_secret), None);
            assert!(worker.secrets.contains_key("AWS_SECRET_ACCESS_KEY"));
        }
    }

    #[test]
    fn routes_lead_to_the_network_s_host_and_names_begin_as_asked() {
        let archives = archives();
        let function = Function::Enroll;

        let worker = worker(function, &place(), told(function), archives.path()).unwrap();

        let expected = ["c.example.com/v1/devices/*", "c.example.com/v1/enroll*"];
        assert_eq!(worker.routes(), expected);
        assert_eq!(worker.config["routes"][0]["zone_name"], "example.com");
        assert_eq!(worker.config["name"], "net-enroll");
    }

    #[test]
    fn what_is_not_declared_or_not_given_is_said() {
        let archives = archives();
        let refused = |settings| {
            let refused = worker(Function::Register, &place(), settings, archives.path());
            refused.err().unwrap().to_string()
        };
        let mut more = told(Function::Register);
        more.push(("POSTERN_HETZNER_TOKEN".to_owned(), "secret".to_owned()));
        let less = told(Function::Register).into_iter();
        let less = less.filter(|(name, _)| name != "POSTERN_CONFIG_KEY");

        let (more, less) = (refused(more), refused(less.collect()));

        assert!(more.contains("declares no POSTERN_HETZNER_TOKEN"), "{more}");
        assert!(!more.contains("secret\""), "{more}");
        assert!(
            less.contains("needs the secret POSTERN_CONFIG_KEY"),
            "{less}"
        );
    }

    #[test]
    fn another_secret_or_module_is_another_version() {
        let archives = archives();
        let function = Function::Admin;
        let tag = |settings| {
            let made = worker(function, &place(), settings, archives.path());
            made.unwrap().tag
        };
        let first = tag(told(function));
        let mut other = told(function);
        for (_, text) in &mut other {
            text.push('.');
        }

        let again = tag(told(function));
        let told_otherwise = tag(other);
        std::fs::write(archives.path().join("admin-worker/index.js"), "//").unwrap();
        let built_otherwise = tag(told(function));

        assert_eq!(first, again);
        assert_ne!(first, told_otherwise);
        assert_ne!(first, built_otherwise);
    }
}
