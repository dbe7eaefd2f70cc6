//! The clients that are compared, each as a program of its own: it starts, reads what it knows from
//! disk, syncs, and leaves on disk what it learnt. This program is the first two itself, started
//! again with [`FLAG`].

use std::path::Path;
use std::process::Command;
use std::time::Duration;

use client::file::Locked;
use client::{Clock, Context, Web, doors};
use tough::{RepositoryLoader, TargetName};

use super::start;
use super::world::{World, moment};

/// Starts this program as a client.
pub const FLAG: &str = "--client";
/// What a device reads.
const WANTED: [&str; 3] = ["limits.json", "recovery-kit.json", "catalogs/default.json"];
const DEVICE: &str = "device.json";
const ROOT: &str = "trusted.json";

/// A client.
#[derive(Clone, PartialEq, Eq)]
pub enum Client {
    Ours,
    Tough,
    /// By this interpreter.
    Python(std::path::PathBuf),
}

/// How long a sync took.
pub struct Took {
    /// From the start of the program to its end.
    pub program: Duration,
    /// Until what was verified is kept on disk, in a program that runs already. What its owner does with it
    /// then is not counted.
    pub kept: Duration,
}

impl Client {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours => "`postern`",
            Self::Tough => "tough 0.24",
            Self::Python(_) => "python-tuf 7.0",
        }
    }

    /// Puts into an empty folder what a client has before its first sync.
    pub async fn prepare(&self, world: &World, url: &str, folder: &Path) {
        if *self == Self::Ours {
            let device = world.device(&[url.to_owned()]).await;
            let file = Locked::open(&folder.join(DEVICE), Duration::ZERO).await;
            let file = file.expect("nobody else has it");
            file.save(&device).expect("it is written");
        } else {
            let root = world.site().join("metadata/1.root.json");
            std::fs::copy(root, folder.join(ROOT)).expect("it is published");
        }
    }

    /// Syncs in a program of its own.
    pub async fn sync(&self, url: &str, folder: &Path) -> Took {
        let mut command = match self {
            Self::Python(python) => {
                let script = "benches/sync/python_tuf.py";
                let mut command = Command::new(python);
                command.arg(Path::new(env!("CARGO_MANIFEST_DIR")).join(script));
                command
            }
            Self::Ours | Self::Tough => {
                let this = std::env::current_exe().expect("a program knows its own path");
                let mut command = Command::new(this);
                command.args([FLAG, self.name()]);
                command
            }
        };
        command.arg(url).arg(folder);
        let began = start();
        let run = tokio::task::spawn_blocking(move || command.output());
        let output = run.await.expect("it is waited for").expect("it starts");
        let program = began.elapsed();
        assert!(output.status.success(), "{}: {output:?}", self.name());
        let seconds = String::from_utf8_lossy(&output.stdout);
        let seconds = seconds.trim().parse().expect("it says how long it took");
        Took {
            program,
            kept: Duration::from_secs_f64(seconds),
        }
    }
}

/// This program as a client: prints after how many seconds what it verified was kept on disk.
pub async fn run(mut arguments: impl Iterator<Item = String>) {
    let mut next = || arguments.next().expect("an argument");
    let (name, url, folder) = (next(), next(), next());
    let began = start();
    let kept = || println!("{}", began.elapsed().as_secs_f64());
    if name == Client::Ours.name() {
        ours(Path::new(&folder), kept).await;
    } else {
        tough(&url, Path::new(&folder)).await;
        kept();
    }
}

struct SystemTime;

impl Clock for SystemTime {
    fn now(&self) -> jiff::Timestamp {
        moment().now
    }
}

async fn ours(folder: &Path, kept: impl Fn()) {
    let web = Web::new().expect("a client");
    let context = Context {
        web: &web,
        clock: &SystemTime,
        options: doors::Options::default(),
    };
    let file = Locked::open(&folder.join(DEVICE), Duration::ZERO).await;
    let file = file.expect("nobody else has it");
    let mut device = file.read().expect("a device");
    let fetched = client::sync::fetch(&mut device, &context).await;
    file.save(&device).expect("it is written");
    kept();
    // What the others leave to their callers.
    let report = fetched.and_then(|fetched| fetched.read(&mut device, moment().now));
    let report = report.expect("the door serves");
    assert_eq!(report.gateways, super::GATEWAYS);
    file.save(&device).expect("it is written");
}

async fn tough(url: &str, folder: &Path) {
    let root = std::fs::read(folder.join(ROOT)).expect("a root");
    let (files, state) = (folder.join("files"), folder.join("state"));
    for folder in [&files, &state] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let url = |part: &str| format!("{url}/{part}/").parse().expect("a URL");
    let loader = RepositoryLoader::new(&root, url("metadata"), url("targets"));
    let repository = loader.datastore(&state).load().await;
    let repository = repository.expect("it verifies");
    for path in WANTED {
        let name = TargetName::new(path).expect("a plain name");
        // It keeps no downloads of its own: what a caller has by the signed length is taken as is.
        let known = std::fs::metadata(files.join(path)).map(|file| file.len());
        let listed = repository
            .all_targets()
            .find(|(listed, _)| **listed == name);
        let (_, target) = listed.expect("it is listed");
        if known.ok() != Some(target.length) {
            let saved = repository.save_target(&name, &files, tough::Prefix::None);
            saved.await.expect("it verifies");
        }
    }
}
