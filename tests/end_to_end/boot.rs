//! The real agent on a machine that `simcloud` boots: from a server's order to a gateway that is
//! listed, and silence when its power is cut.

use std::path::Path;
use std::sync::Arc;

use api::http::{Http, NativeHttp};
use harness::{Agent, Up, posternctl, skipped, until};
use serde_json::{Value, json};
use simcloud::{Machines, Settings, SimCloud};

const UNIT: &str = "[Unit]\nDescription=Postern gateway\nAfter=network-online.target\n\n\
    [Service]\nEnvironmentFile=/etc/postern/gateway.env\n\
    ExecStart=/usr/local/bin/postern-gateway\nStateDirectory=postern-gateway\n\
    Restart=always\nRestartSec=1\n\n[Install]\nWantedBy=multi-user.target\n";
const INSTALL: &str = "curl -fsS -o /usr/local/bin/postern-gateway \"$1\"\n\
    echo \"$2  /usr/local/bin/postern-gateway\" | sha256sum --check --status\n\
    chmod 0755 /usr/local/bin/postern-gateway\n\
    systemctl enable --now postern-gateway\n";

async fn post(base: &str, path: &str, body: &Value) -> Value {
    let http = NativeHttp::new("test", std::time::Duration::from_secs(10)).unwrap();
    let request = http::Request::post(format!("{base}{path}"))
        .header("authorization", "Bearer sim-token")
        .body(body.to_string().into());
    let answer = http.send(request.unwrap()).await.unwrap();
    assert_eq!(answer.status(), 201, "{answer:?}");
    serde_json::from_slice(answer.body()).unwrap()
}

async fn state(data: &Path, id: &str) -> String {
    let listed = posternctl(data, &["gateways"]).await;
    let gateways = listed.as_array().unwrap();
    let gateway = gateways.iter().find(|gateway| gateway["id"] == id);
    gateway.unwrap()["state"].as_str().unwrap().to_owned()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_server_boots_the_real_agent_which_registers_and_falls_silent_without_power() {
    let folder = tempfile::tempdir().unwrap();
    let machines = match Machines::new(&folder.path().join("machines")).await {
        Ok(machines) => machines,
        Err(why) => return skipped("boot", &why.to_string()),
    };
    let data = folder.path().join("network");
    posternctl(&data, &["init", "--port=0", "--heartbeat=1"]).await;
    let up = Up::start(&data, &[]).await;
    let add = [
        "gateways",
        "add",
        "--role",
        "ingress",
        "--endpoint",
        "127.0.0.9:51820",
    ];
    let made = posternctl(&data, &add).await;
    let id = made["gateway"].as_str().unwrap().to_owned();
    let Agent { url, sha256 } = Agent::serve().await;
    let token = made["token"].as_str().unwrap();
    let user_data = json!({
        "write_files": [
            {"path": "/etc/postern/gateway.env", "permissions": "0600",
                "content": format!("POSTERN_TOKEN={token}\n")},
            {"path": "/etc/systemd/system/postern-gateway.service", "content": UNIT},
        ],
        "runcmd": [["sh", "-euc", INSTALL, "install", url, sha256]],
    });
    let cloud = SimCloud::new(Settings::served());
    cloud.run_nodes(Arc::clone(&machines) as _);
    let served = cloud.serve().await.unwrap();

    let order = json!({
        "name": "postern-a", "server_type": "cx23", "image": "debian-13", "location": "fsn1",
        "user_data": format!("#cloud-config\n{user_data}\n"),
    });
    let ordered = post(&served.url, "/servers", &order).await;
    let node = ordered["server"]["id"].as_u64().unwrap();
    until("the gateway is active", async || {
        (state(&data, &id).await == "active").then_some(())
    })
    .await;

    let off = format!("/servers/{node}/actions/poweroff");
    post(&served.url, &off, &Value::Null).await;
    until("the gateway is silent", async || {
        (state(&data, &id).await == "unhealthy").then_some(())
    })
    .await;
    assert!(machines.powered().is_empty());
    assert!(!machines.console(node).contains(token));
    up.stop().await;
}
