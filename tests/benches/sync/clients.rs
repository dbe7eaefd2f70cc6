//! The clients that are compared. Each does what a program does between its start and its end: it
//! makes its HTTP client, reads what it knows from disk, syncs, and leaves on disk what it learnt.
//! The start of a process is not counted.

use std::io::{BufRead as _, BufReader, Write as _};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, ChildStdout, Command, Stdio};
use std::time::Duration;

use client::file::Locked;
use client::{Clock, Context, Web, doors};
use tough::{RepositoryLoader, TargetName};

use super::start;
use super::world::{World, moment};

/// What a device reads.
const WANTED: [&str; 3] = ["limits.json", "recovery-kit.json", "catalogs/default.json"];

/// A client.
pub enum Client {
    Ours,
    Tough,
    Python(Box<Python>),
}

/// Where a client's sync begins.
pub struct Place<'a> {
    pub world: &'a World,
    pub url: &'a str,
    /// Its own folder, empty at first.
    pub folder: &'a Path,
}

impl Client {
    pub fn name(&self) -> &'static str {
        match self {
            Self::Ours => "`postern`",
            Self::Tough => "tough 0.24",
            Self::Python(_) => "python-tuf 7.0",
        }
    }

    /// Syncs, and says how long that took.
    pub async fn sync(&mut self, place: &Place<'_>) -> Duration {
        match self {
            Self::Ours => ours(place).await,
            Self::Tough => tough(place).await,
            Self::Python(python) => python.sync(place),
        }
    }
}

struct SystemTime;

impl Clock for SystemTime {
    fn now(&self) -> jiff::Timestamp {
        moment().now
    }
}

async fn ours(place: &Place<'_>) -> Duration {
    let path = place.folder.join("device.json");
    if !path.exists() {
        // Enrollment is not a part of a sync.
        let device = place.world.device(&[place.url.to_owned()]);
        let file = Locked::open(&path, Duration::ZERO).await.expect("no other");
        file.save(&device).expect("it is written");
    }
    let began = start();
    let web = Web::new().expect("a client");
    let context = Context {
        web: &web,
        clock: &SystemTime,
        options: doors::Options::default(),
    };
    let file = Locked::open(&path, Duration::ZERO).await.expect("no other");
    let mut device = file.read().expect("a device");
    let synced = client::sync::sync(&mut device, &context).await;
    file.save(&device).expect("it is written");
    let took = began.elapsed();
    let gateways = synced.expect("the door serves").gateways;
    assert_eq!(gateways, super::GATEWAYS);
    took
}

async fn tough(place: &Place<'_>) -> Duration {
    let began = start();
    let files = place.folder.join("files");
    let state = place.folder.join("state");
    for folder in [&files, &state] {
        std::fs::create_dir_all(folder).expect("a folder");
    }
    let url = |part: &str| {
        let url = format!("{}/{part}/", place.url);
        url.parse().expect("a URL")
    };
    let root = place.world.root();
    let loader = RepositoryLoader::new(&root, url("metadata"), url("targets"));
    let repository = loader.datastore(&state).load().await.expect("it verifies");
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
    began.elapsed()
}

/// An interpreter that stays: its start and its imports are not counted.
pub struct Python {
    process: Child,
    to: ChildStdin,
    from: BufReader<ChildStdout>,
}

impl Python {
    pub fn start(python: PathBuf) -> Self {
        let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("benches/sync/python_tuf.py");
        let mut process = Command::new(python)
            .arg(script)
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .spawn()
            .expect("Python starts");
        let to = process.stdin.take().expect("it is piped");
        let from = BufReader::new(process.stdout.take().expect("it is piped"));
        Self { process, to, from }
    }

    fn sync(&mut self, place: &Place<'_>) -> Duration {
        let root = place.folder.join("trusted.json");
        std::fs::write(&root, place.world.root()).expect("it is written");
        let (root, folder) = (root.display(), place.folder.display());
        writeln!(self.to, "{} {root} {folder}", place.url).expect("Python listens");
        let mut line = String::new();
        self.from.read_line(&mut line).expect("Python answers");
        let seconds: f64 = line.trim().parse().expect("python-tuf verifies");
        Duration::from_secs_f64(seconds)
    }
}

impl Drop for Python {
    fn drop(&mut self) {
        // Ending a process that has ended is no error that matters here.
        let _gone = self.process.kill();
        let _gone = self.process.wait();
    }
}
