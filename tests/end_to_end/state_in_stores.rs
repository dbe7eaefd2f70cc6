//! The control plane's state is in its store alone: no code path rewrites a file as state.
//!
//! Small control planes keep one JSON document and write it anew at each change, which loses what another
//! writes at once and what a crash cuts off. Two tests hold the house to its promise. One reads the sources:
//! what can write files stands in a short list, with the reason. One looks at the disk: a whole network is run
//! and changed in every way, and no file changes but the database and what is made from it.

use std::collections::BTreeMap;
use std::path::{Path, PathBuf};

use harness::{Up, postern, posternctl};
use sha2::{Digest, Sha256};

/// Where the control plane's code is.
const SOURCES: [&str; 6] = [
    "shared/control/src",
    "shared/edge/src",
    "shared/store/src",
    "shared/rules/src",
    "functions",
    "infra/posternctl/src",
];

/// What a program calls to write files, or to move and remove them.
const WRITERS: [&str; 18] = [
    "fs::write",
    "fs::rename",
    "fs::copy",
    "fs::remove_file",
    "fs::create_dir",
    "File::create",
    "File::options",
    "OpenOptions",
    "DirBuilder",
    "NamedTempFile",
    "tempfile::tempfile",
    "tempfile()",
    "files::replace",
    "BufWriter",
    "set_len",
    "persist(",
    // posternctl's own.
    "data.write",
    "data::replace",
];

/// What may write files, and why that is no state of a network.
const ALLOWED: [(&str, &str); 15] = [
    (
        "shared/store/src/sqlite/file.rs",
        "makes the database's own file, for its owner alone",
    ),
    (
        "shared/edge/src/mirrors/folder.rs",
        "the signed repository and records of runs: written for others, never read back as state",
    ),
    (
        "infra/posternctl/src/data.rs",
        "what 'init' and ceremonies make: settings, keys, what the offline keys have signed",
    ),
    (
        "infra/posternctl/src/profile.rs",
        "an admin's own profile: their key and session",
    ),
    (
        "infra/posternctl/src/up/owner.rs",
        "the setup code's file goes when it was used; that it was is in the store",
    ),
    (
        "infra/posternctl/src/init.rs",
        "what a network is made of, once: keys, the first root, settings",
    ),
    (
        "infra/posternctl/src/deploy/cloudflare/wrangler.rs",
        "a Worker's configuration for wrangler, in a folder that goes when wrangler ends",
    ),
    (
        "infra/posternctl/src/deploy/doors",
        "a door's configuration, and a verified copy of the published repository for a door to serve",
    ),
    (
        "infra/posternctl/src/root",
        "a ceremony's keys and its change, a file that goes from hand to hand",
    ),
    (
        "infra/posternctl/src/control_keys.rs",
        "the secrets of control keys",
    ),
    (
        "infra/posternctl/src/stores.rs",
        "which database the network has",
    ),
    (
        "infra/posternctl/src/up/mod.rs",
        "the invite that 'up' shows again; what it is worth is in the store",
    ),
    (
        "infra/posternctl/src/up/agents.rs",
        "how the agents of this machine are started",
    ),
    (
        "infra/posternctl/src/backup",
        "a backup that an operator asked for; nothing reads it but a restore",
    ),
    (
        "infra/posternctl/src/state",
        "the document that an operator asked for; nothing reads it but an import",
    ),
];

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}

/// The code of a file that is not for tests alone: they stand at its end.
fn without_tests(source: &str) -> &str {
    let end = source.find("#[cfg(test)]\nmod tests {");
    &source[..end.unwrap_or(source.len())]
}

/// The lines of `source` that can write files.
fn writers(source: &str) -> Vec<&str> {
    let lines = without_tests(source).lines();
    let code = lines.filter(|line| !line.trim_start().starts_with("//"));
    code.filter(|line| WRITERS.iter().any(|writer| line.contains(writer)))
        .collect()
}

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() {
            if name != "tests" {
                sources(&path, all);
            }
        } else if path.extension().is_some_and(|end| end == "rs") && !name.ends_with("tests.rs") {
            all.push(path);
        }
    }
}

#[test]
fn only_what_is_listed_can_write_files() {
    let root = root();
    let mut all = Vec::new();
    for folder in SOURCES {
        sources(&root.join(folder), &mut all);
    }
    let mut used: BTreeMap<&str, usize> = BTreeMap::new();
    let mut strays = Vec::new();
    for path in &all {
        let source = std::fs::read_to_string(path).unwrap();
        let name = path
            .strip_prefix(&root)
            .unwrap()
            .to_string_lossy()
            .into_owned();
        for line in writers(&source) {
            match ALLOWED
                .iter()
                .find(|(allowed, _)| name.starts_with(allowed))
            {
                Some((allowed, _)) => *used.entry(allowed).or_default() += 1,
                None => strays.push(format!("{name}: {}", line.trim())),
            }
        }
    }

    assert!(
        all.len() > 100,
        "the sources were not found: {} files",
        all.len()
    );
    assert!(
        strays.is_empty(),
        "state belongs into the store. What else writes a file is listed here with its reason:\n{}",
        strays.join("\n")
    );
    let unused: Vec<&str> = ALLOWED
        .iter()
        .map(|(name, _)| *name)
        .filter(|name| !used.contains_key(name))
        .collect();
    assert!(
        unused.is_empty(),
        "these write no file any more: {unused:?}"
    );
}

#[test]
fn code_that_would_rewrite_a_file_is_seen() {
    let code = "//! Writes with fs::write.\nfn save(all: &All) {\n    // fs::write is a bad idea\n    \
                std::fs::write(\"devices.json\", all.json()).unwrap();\n}\n#[cfg(test)]\nmod tests {\n    \
                use std::fs::File; fn x() { File::create(\"x\"); }\n}\n";

    assert_eq!(
        writers(code),
        ["    std::fs::write(\"devices.json\", all.json()).unwrap();"]
    );
}

/// What each file in a folder holds.
fn contents(folder: &Path) -> BTreeMap<String, Vec<u8>> {
    let mut all = BTreeMap::new();
    let mut folders = vec![folder.to_owned()];
    while let Some(next) = folders.pop() {
        for entry in std::fs::read_dir(&next).unwrap() {
            let path = entry.unwrap().path();
            if path.is_dir() {
                folders.push(path);
                continue;
            }
            let name = path
                .strip_prefix(folder)
                .unwrap()
                .to_string_lossy()
                .into_owned();
            // A file of the site may be replaced just now.
            if let Ok(bytes) = std::fs::read(&path) {
                all.insert(name, Sha256::digest(&bytes).to_vec());
            }
        }
    }
    all
}

/// What may change while a network runs, and why.
const CHANGE: [(&str, &str); 4] = [
    ("state.sqlite", "the store"),
    ("site/", "the signed repository, made from the store"),
    ("gateways/", "the agents' own: what they hold as gateways"),
    ("operator.json", "the operator's own: their session"),
];

/// The files that came, went or changed although the network's state is in the store.
fn strays(before: &BTreeMap<String, Vec<u8>>, after: &BTreeMap<String, Vec<u8>>) -> Vec<String> {
    let names = before.keys().chain(after.keys());
    let changed = names.filter(|name| before.get(*name) != after.get(*name));
    let strays = changed.filter(|name| !CHANGE.iter().any(|(start, _)| name.starts_with(start)));
    let strays: std::collections::BTreeSet<&String> = strays.collect();
    strays.into_iter().cloned().collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_network_that_is_changed_in_every_way_changes_no_file_but_its_database() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let device = |name: &str| folder.path().join(name);
    posternctl(
        &data,
        &["init", "--port=0", "--heartbeat=1", "--gateways=2"],
    )
    .await;
    let up = Up::start(&data, &[]).await;
    // The operator has a session from here on.
    posternctl(&data, &["devices"]).await;
    let before = contents(&data);

    postern(&device("first"), &["enroll", &up.invite]).await;
    let second = postern(&device("second"), &["enroll", &up.invite]).await;
    postern(&device("first"), &["rotate"]).await;
    posternctl(
        &data,
        &["devices", "revoke", second["device"].as_str().unwrap()],
    )
    .await;
    posternctl(&data, &["invite"]).await;
    let policy = posternctl(&data, &["policy", "show"]).await;
    let file = folder.path().join("policy.json");
    std::fs::write(&file, policy["policy"].to_string()).unwrap();
    posternctl(&data, &["policy", "apply", file.to_str().unwrap()]).await;
    let add = [
        "gateways",
        "add",
        "--role",
        "ingress",
        "--endpoint",
        "127.0.0.9:51820",
    ];
    posternctl(&data, &add).await;
    harness::until("the gateways are listed", async || {
        let report = postern(&device("first"), &["sync"]).await;
        (report["gateways"] == 2).then_some(())
    })
    .await;
    up.stop().await;
    let after = contents(&data);

    assert_ne!(
        before.get("state.sqlite"),
        after.get("state.sqlite"),
        "nothing was changed"
    );
    assert_eq!(strays(&before, &after), Vec::<String>::new());
    // And it would be seen.
    let mut worse = after.clone();
    worse.insert("devices.json".to_owned(), Vec::new());
    worse.insert("network.json".to_owned(), Vec::new());
    assert_eq!(strays(&before, &worse), ["devices.json", "network.json"]);
}
