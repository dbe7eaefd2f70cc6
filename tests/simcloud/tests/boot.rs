//! A server's user data is carried out, and what it starts runs until its power is cut.

mod common;

use std::os::unix::fs::PermissionsExt;
use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simcloud::{Machines, Settings};
use tokio::net::TcpListener;

/// What stands for the agent: it shows what it was given and stays.
const AGENT: &str = "#!/bin/sh\n\
    echo \"agent $POSTERN_TOKEN $(cat /etc/hostname) $STATE_DIRECTORY\"\n\
    echo again >> /var/lib/agent/starts\n\
    test ! -w /usr/bin && echo \"the host is safe\"\n\
    exec sleep 1000\n";

/// A cloud whose servers are machines with their disks in a folder.
struct World {
    folder: tempfile::TempDir,
    machines: Arc<Machines>,
    api: Api,
}

impl World {
    /// One, or none where namespaces cannot be made, which is said.
    async fn new() -> Option<Self> {
        let folder = tempfile::tempdir().unwrap();
        let machines = match Machines::new(folder.path()).await {
            Ok(machines) => machines,
            Err(why) => {
                emulator::skipped("boot", &why.to_string());
                return None;
            }
        };
        let api = Api::new(Settings::default());
        api.cloud.run_nodes(machines.clone());
        Some(Self {
            folder,
            machines,
            api,
        })
    }

    async fn order(&self, user_data: &str) -> u64 {
        let order = json!({
            "name": "postern-a", "server_type": "cx23", "image": "debian-13", "location": "fsn1",
            "user_data": user_data,
        });
        let made = self.api.ok("POST", "/servers", order).await;
        made["server"]["id"].as_u64().unwrap()
    }

    /// Carries out a change of a server and lets its action end.
    async fn change(&self, method: &str, path: &str) {
        self.api.ok(method, path, Value::Null).await;
        self.api.cloud.finish_actions();
    }

    /// Awaits what a machine says on its console.
    async fn until(&self, what: &str, server: u64, seen: impl Fn(&str) -> bool) {
        let look = async {
            while !seen(&self.machines.console(server)) {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let seen = tokio::time::timeout(Duration::from_secs(20), look).await;
        let console = self.machines.console(server);
        assert!(seen.is_ok(), "not seen: {what}\n{console}");
    }

    /// Awaits the end of all processes of machines: the kernel ends them, and tells us nothing.
    async fn ended(&self) {
        let look = async {
            while processes(self.folder.path()) > 0 {
                tokio::time::sleep(Duration::from_millis(20)).await;
            }
        };
        let ended = tokio::time::timeout(Duration::from_secs(10), look).await;
        assert!(ended.is_ok(), "processes are left");
    }
}

/// A web server that gives the agent: its URL.
async fn mirror() -> String {
    let listener = TcpListener::bind("127.0.0.1:0").await.unwrap();
    let url = format!("http://{}/agent", listener.local_addr().unwrap());
    let router = Router::new().route("/agent", get(async || AGENT));
    tokio::spawn(async move { axum::serve(listener, router).await });
    url
}

fn user_data(url: &str, hash: &str) -> String {
    let unit = "[Service]\nEnvironmentFile=/etc/postern/gateway.env\n\
        ExecStart=/usr/local/bin/agent\nStateDirectory=agent\nRestart=always\nRestartSec=1\n\
        [Install]\nWantedBy=multi-user.target\n";
    let install = "curl -fsS -o /usr/local/bin/agent.new \"$1\"\n\
        echo \"$2  /usr/local/bin/agent.new\" | sha256sum --check --status\n\
        chmod 0755 /usr/local/bin/agent.new\n\
        mv /usr/local/bin/agent.new /usr/local/bin/agent\n\
        systemctl daemon-reload\n\
        systemctl enable --now agent.service\n";
    let document = json!({
        "write_files": [
            {"path": "/etc/postern/gateway.env", "permissions": "0600", "content": "POSTERN_TOKEN=s3cret\n"},
            {"path": "/etc/systemd/system/agent.service", "content": unit},
        ],
        "runcmd": [["sh", "-euc", install, "install", url, hash], "echo runcmd goes on"],
    });
    format!("#cloud-config\n{document:#}\n")
}

fn hash() -> String {
    let hash = Sha256::digest(AGENT);
    data_encoding::HEXLOWER.encode(&hash)
}

/// The processes of this host that the agent of the test is: those that sleep in a machine.
fn processes(folder: &Path) -> usize {
    let marker = folder.to_string_lossy().into_owned();
    let all = std::fs::read_dir("/proc").unwrap().flatten();
    all.filter(|entry| {
        let command = std::fs::read(entry.path().join("cmdline")).unwrap_or_default();
        String::from_utf8_lossy(&command).contains(&marker)
    })
    .count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_machine_boots_from_its_user_data_and_ends_with_its_power() {
    let Some(world) = World::new().await else {
        return;
    };
    let machines = &world.machines;
    let server = world.order(&user_data(&mirror().await, &hash())).await;
    assert!(machines.powered().is_empty());

    world.api.cloud.finish_actions();
    let line = "agent s3cret postern-a /var/lib/agent";
    let runs = |console: &str| console.contains(line) && console.contains("the host is safe");
    world.until("the agent", server, runs).await;
    assert!(machines.console(server).contains("runcmd goes on"));
    let secret = machines.path(server, "/etc/postern/gateway.env");
    assert_eq!(
        secret.metadata().unwrap().permissions().mode() & 0o777,
        0o600
    );
    assert!(!Path::new("/etc/postern/gateway.env").exists());
    assert!(processes(world.folder.path()) > 0);

    let path = format!("/servers/{server}");
    world
        .change("POST", &format!("{path}/actions/poweroff"))
        .await;
    assert!(machines.powered().is_empty());
    world.ended().await;

    world
        .change("POST", &format!("{path}/actions/poweron"))
        .await;
    let again = |console: &str| console.matches(line).count() == 2;
    world.until("the second boot", server, again).await;
    let runs = machines.console(server).matches("runcmd ended").count();
    assert_eq!(runs, 1, "cloud-init runs once");

    world.change("DELETE", &path).await;
    world.ended().await;
    gone(&world.folder.path().join(server.to_string())).await;
}

async fn gone(path: &Path) {
    let look = async {
        while path.exists() {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let gone = tokio::time::timeout(Duration::from_secs(10), look).await;
    assert!(gone.is_ok(), "{} is still there", path.display());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_agent_with_another_hash_is_never_started() {
    let Some(world) = World::new().await else {
        return;
    };
    let other = user_data(&mirror().await, &"0".repeat(64));
    let server = world.order(&other).await;

    world.api.cloud.finish_actions();
    let ended = |console: &str| console.contains("runcmd ended");
    world.until("the end of runcmd", server, ended).await;

    let console = world.machines.console(server);
    assert!(console.contains("runcmd goes on"));
    assert!(!console.contains("agent s3cret"));
    assert!(!world.machines.path(server, "/usr/local/bin/agent").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_data_that_nobody_understands_boots_a_machine_that_does_nothing() {
    let Some(world) = World::new().await else {
        return;
    };
    let server = world.order("#cloud-config\nwrite_files: s3cret\n").await;

    world.api.cloud.finish_actions();
    let said = |console: &str| console.contains("cloud-init: the user data is not YAML");
    world.until("a word of it", server, said).await;

    assert!(!world.machines.console(server).contains("s3cret"));
}
