//! A network with one front door, and what is done with it.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::Duration;

use harness::cdn::{Cdn, Running};
use harness::programs::{posternctl_lines, program};
use harness::{Door, Fault, Site, Tap, Up, posternctl, until};
use serde_json::Value;
use tokio::process::Command;

/// For how long the doors keep what changes here. Their own rule says a minute.
pub const BRIEF: Duration = Duration::from_secs(2);
/// The programs count whole seconds, and a look takes a while.
pub const ROUNDING: Duration = Duration::from_millis(1500);
pub const TIMESTAMP: &str = "metadata/timestamp.json";
/// What `up` publishes, and a copy of it, in the test's folder.
pub const PUBLISHED: &str = "network/site";
pub const COPY: &str = "copy";
pub const BUNDLE: &str = "bundles/cohort/default";

/// A network with one front door.
pub struct World {
    pub cdn: Cdn,
    program: PathBuf,
    folder: tempfile::TempDir,
    pub data: PathBuf,
    pub address: SocketAddr,
    /// What the door stands before.
    pub origin: Door,
    /// The way there, which can be shut: that cuts the connections that a door keeps open.
    way: Tap,
    /// What publishes, once the door runs.
    pub up: Option<Up>,
    pub http: reqwest::Client,
}

impl World {
    /// `None`, which is said, where this machine lacks the program.
    pub async fn make(cdn: Cdn) -> Option<Self> {
        let program = cdn.installed(&format!("doors-{}", cdn.name()))?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let (_let_go, address) = harness::serverless::listener();
        let door = format!("http://{address}");
        let init = [
            "init",
            "--port=0",
            "--gateways=4",
            "--heartbeat=1",
            "--door",
            &door,
        ];
        posternctl(&data, &init).await;
        let origin = Door::open(Site::Folder(data.join("site"))).await;
        Some(Self {
            cdn,
            program,
            address,
            way: Tap::to(&origin.url()),
            origin,
            up: None,
            http: api::http_client("tests", Duration::from_secs(30)).unwrap(),
            folder,
            data,
        })
    }

    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `posternctl deploy doors` for this door, which serves the folder `site` if it serves one.
    pub fn deploy(&self, site: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let listen = match self.cdn {
            Cdn::Caddy => self.url(),
            Cdn::Nginx | Cdn::Varnish => self.address.to_string(),
        };
        let brief = BRIEF.as_secs().to_string();
        let (url, origin) = (self.url(), self.way.url());
        let (out, cache, site) = (path("site.conf"), path("cache"), path(site));
        let arguments = [
            "deploy",
            "doors",
            "--server",
            self.cdn.name(),
            "--origin",
            &origin,
            "--listen",
            &listen,
            "--out",
            &out,
            "--cache",
            &cache,
            "--site",
            &site,
            "--brief",
            &brief,
            "--control",
            "--url",
            &url,
        ];
        let all = arguments.iter();
        all.map(|argument| (*argument).to_owned()).collect()
    }

    pub async fn deployed(&self, site: &str) -> Vec<Value> {
        let arguments = self.deploy(site);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        posternctl_lines(&self.data, &arguments).await
    }

    /// What it says on a failure.
    pub async fn refused(&self, arguments: &[String]) -> String {
        let mut command = Command::new(program("posternctl"));
        command.arg("--data").arg(&self.data).args(arguments);
        let output = command.output().await.unwrap();
        assert!(
            !output.status.success(),
            "{arguments:?} was to fail: {output:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    pub async fn start(&self) -> Running {
        let config = self.path("site.conf");
        let work = self.folder.path();
        self.cdn
            .start(&self.program, &config, self.address, work)
            .await
    }

    /// From now on the origin fails so.
    pub async fn origin_fails(&mut self, fault: Fault) {
        if fault == Fault::Stopped {
            self.way.shut().await;
        } else {
            self.origin.set(fault).await;
            self.way.open();
        }
    }

    /// What brings a copy for a door that has no cache.
    pub fn pulling(&self) -> Vec<String> {
        let (origin, site) = (self.way.url(), self.path(COPY));
        let site = site.to_str().unwrap();
        let pull = ["deploy", "doors", "--pull", site, "--origin", &origin];
        pull.map(str::to_owned).to_vec()
    }

    /// Brings a copy.
    pub async fn pull(&self) -> Vec<Value> {
        let pull = self.pulling();
        let pull: Vec<&str> = pull.iter().map(String::as_str).collect();
        posternctl_lines(&self.data, &pull).await
    }

    pub async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let answer = self.http.get(format!("{}/{path}", self.url())).send().await;
        let answer = answer.expect("the door answers");
        let status = answer.status().as_u16();
        (status, answer.bytes().await.expect("a whole answer").into())
    }

    pub fn invite(&self) -> &str {
        &self.up.as_ref().expect("it publishes").invite
    }

    pub fn published(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.data.join("site").join(path)).unwrap()
    }

    /// What never changes, as it stands in the folder `site` now.
    pub fn kept_for_good(&self, site: &str) -> Vec<String> {
        let site = self.path(site);
        let mut files = Vec::new();
        list(&site, &site, &mut files);
        files.retain(|path| path != TIMESTAMP && !path.starts_with("bundles/"));
        files
    }

    /// Takes a gateway out, so that there is a new catalog, and gives the new timestamp.
    pub async fn publish_anew(&self) -> Vec<u8> {
        let before = self.published(TIMESTAMP);
        let gateways = posternctl(&self.data, &["gateways"]).await;
        let mut gateways = gateways.as_array().unwrap().iter();
        let active = gateways.find(|gateway| gateway["state"] == "active");
        let id = active.unwrap()["id"].as_str().unwrap();
        posternctl(&self.data, &["gateways", "drain", id]).await;
        until("a new catalog", async || {
            let now = self.published(TIMESTAMP);
            (now != before).then_some(now)
        })
        .await
    }
}

fn list(site: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(site).unwrap().to_str().unwrap();
        // What a publisher locks, or is about to put in its place, is not served.
        if name.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            list(site, &path, files);
        } else {
            files.push(name.to_owned());
        }
    }
}
