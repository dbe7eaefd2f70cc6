//! A server's user data is carried out, and what it starts runs until its power is cut.

mod common;

use std::path::Path;
use std::sync::Arc;
use std::time::Duration;

use axum::Router;
use axum::routing::get;
use common::Api;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simcloud::{Machines, Settings, SimCloud};
use tokio::net::TcpListener;

/// What stands for the agent: it shows what it was given and stays.
const AGENT: &str = "#!/bin/sh\n\
    echo \"agent $POSTERN_TOKEN $(cat /etc/hostname) $STATE_DIRECTORY\"\n\
    echo again >> /var/lib/agent/starts\n\
    test ! -w /usr/bin && echo \"the host is safe\"\n\
    exec sleep 1000\n";

/// Machines, or none where namespaces cannot be made, which is said.
async fn machines(folder: &Path) -> Option<Arc<Machines>> {
    match Machines::new(folder).await {
        Ok(machines) => Some(machines),
        Err(why) => {
            emulator::skipped("boot", &why.to_string());
            None
        }
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

async fn until(what: &str, machines: &Machines, server: u64, seen: impl Fn(&str) -> bool) {
    let look = async {
        while !seen(&machines.console(server)) {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let seen = tokio::time::timeout(Duration::from_secs(20), look).await;
    assert!(
        seen.is_ok(),
        "not seen: {what}\n{}",
        machines.console(server)
    );
}

async fn order(api: &Api, user_data: &str) -> u64 {
    let order = json!({
        "name": "postern-a", "server_type": "cx23", "image": "debian-13", "location": "fsn1",
        "user_data": user_data,
        "public_net": {"enable_ipv4": true, "enable_ipv6": false},
    });
    let made = api.ok("POST", "/servers", order).await;
    made["server"]["id"].as_u64().unwrap()
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
    let folder = tempfile::tempdir().unwrap();
    let Some(machines) = machines(folder.path()).await else {
        return;
    };
    let cloud = SimCloud::new(Settings::default());
    cloud.run_nodes(machines.clone());
    let api = Api::over(&cloud, Arc::new(cloud.http()), "http://sim/v1");
    let server = order(&api, &user_data(&mirror().await, &hash())).await;
    assert!(machines.powered().is_empty());

    cloud.finish_actions();
    let line = "agent s3cret postern-a /var/lib/agent";
    until("the agent", &machines, server, |console| {
        console.contains(line) && console.contains("the host is safe")
    })
    .await;
    assert!(machines.console(server).contains("runcmd goes on"));
    let secret = machines.path(server, "/etc/postern/gateway.env");
    let mode = std::os::unix::fs::PermissionsExt::mode(&secret.metadata().unwrap().permissions());
    assert_eq!(mode & 0o777, 0o600);
    assert!(!Path::new("/etc/postern/gateway.env").exists());
    assert!(processes(folder.path()) > 0);

    let path = format!("/servers/{server}");
    api.ok("POST", &format!("{path}/actions/poweroff"), Value::Null)
        .await;
    cloud.finish_actions();
    assert!(machines.powered().is_empty());
    ended(folder.path()).await;

    api.ok("POST", &format!("{path}/actions/poweron"), Value::Null)
        .await;
    cloud.finish_actions();
    until("the second boot", &machines, server, |console| {
        console.matches(line).count() == 2
    })
    .await;
    let runs = machines.console(server).matches("runcmd ended").count();
    assert_eq!(runs, 1, "cloud-init runs once");

    api.ok("DELETE", &path, Value::Null).await;
    cloud.finish_actions();
    ended(folder.path()).await;
    gone(&folder.path().join(server.to_string())).await;
}

/// Awaits the end of all processes of machines: the kernel ends them, and tells us nothing.
async fn ended(folder: &Path) {
    let look = async {
        while processes(folder) > 0 {
            tokio::time::sleep(Duration::from_millis(20)).await;
        }
    };
    let ended = tokio::time::timeout(Duration::from_secs(10), look).await;
    assert!(ended.is_ok(), "{} processes are left", processes(folder));
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
    let folder = tempfile::tempdir().unwrap();
    let Some(machines) = machines(folder.path()).await else {
        return;
    };
    let cloud = SimCloud::new(Settings::default());
    cloud.run_nodes(machines.clone());
    let api = Api::over(&cloud, Arc::new(cloud.http()), "http://sim/v1");
    let other = user_data(&mirror().await, &"0".repeat(64));
    let server = order(&api, &other).await;

    cloud.finish_actions();
    until("the end of runcmd", &machines, server, |console| {
        console.contains("runcmd ended")
    })
    .await;
    assert!(machines.console(server).contains("runcmd goes on"));
    assert!(!machines.console(server).contains("agent s3cret"));
    assert!(!machines.path(server, "/usr/local/bin/agent").exists());
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn user_data_that_nobody_understands_boots_a_machine_that_does_nothing() {
    let folder = tempfile::tempdir().unwrap();
    let Some(machines) = machines(folder.path()).await else {
        return;
    };
    let cloud = SimCloud::new(Settings::default());
    cloud.run_nodes(machines.clone());
    let api = Api::over(&cloud, Arc::new(cloud.http()), "http://sim/v1");
    let server = order(&api, "#cloud-config\nwrite_files: s3cret\n").await;
    cloud.finish_actions();
    until("a word of it", &machines, server, |console| {
        console.contains("cloud-init: the user data is not YAML")
    })
    .await;
    assert!(!machines.console(server).contains("s3cret"));
}
