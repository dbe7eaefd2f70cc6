//! The policy and the rosters by the real programs: what an operator applies is what gateways let
//! in and what devices see.

use std::path::Path;

use harness::{Gateway, Up, postern, posternctl, until};
use serde_json::{Value, json};

/// Waits until the roster in a gateway's folder lets in so many devices, by the field of their key.
async fn lets_in(folder: &Path, gateway: &Gateway, field: &str, count: usize) -> String {
    let path = folder.join(&gateway.id).join("roster.json");
    let what = format!("{count} times '{field}' in {}", path.display());
    until(&what, async || {
        let text = tokio::fs::read_to_string(&path).await.ok()?;
        (text.matches(&format!("\"{field}\":")).count() == count).then_some(text)
    })
    .await
}

/// What is decided about egress gateways when the device goes to `to`.
async fn explained(data: &Path, device: &str, to: &str) -> Value {
    let arguments = ["policy", "explain", "--device", device, "--to", to];
    let explanation = posternctl(data, &arguments).await;
    let decisions = explanation["decisions"].as_array().unwrap();
    let egress = decisions
        .iter()
        .find(|decision| decision["role"] == "egress");
    egress.unwrap().clone()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_applied_is_what_gateways_let_in_and_devices_see() {
    let folder = tempfile::tempdir().unwrap();
    let (data, device) = (
        folder.path().join("network"),
        folder.path().join("device.json"),
    );
    posternctl(&data, &["init", "--port=0", "--heartbeat=1"]).await;
    let up = Up::start(&data, &[]).await;
    let ingress = Gateway::start(&data, folder.path(), 1).await;
    let egress = Gateway::start(&data, folder.path(), 2).await;
    let enrolled = postern(&device, &["enroll", &up.invite]).await;
    let id = enrolled["device"].as_str().unwrap().to_owned();

    // Each role is given its own key of the device, and no other.
    let roster = lets_in(folder.path(), &ingress, "tunnel_key", 1).await;
    assert!(
        !roster.contains("exit_key") && !roster.contains(&id),
        "{roster}"
    );
    let roster = lets_in(folder.path(), &egress, "exit_key", 1).await;
    assert!(
        !roster.contains("tunnel_key") && !roster.contains(&id),
        "{roster}"
    );
    let web = explained(&data, &id, "192.0.2.1:443").await;
    assert_eq!(
        (&web["reaches"]["allowed"], &web["reaches"]["rule"]),
        (&json!(true), &json!("internet"))
    );
    let inward = explained(&data, &id, "10.0.0.1:443").await;
    assert_eq!(inward["reaches"]["rule"], "no-private-ranges");
    lists(&device, 2).await;

    // Egress for staff alone, which this device is not.
    let shown = posternctl(&data, &["policy", "show"]).await;
    assert_eq!(shown["version"], 0);
    let mut policy = shown["policy"].clone();
    policy["egress"][2]["who"] = json!({"tags": ["staff"]});
    let file = folder.path().join("policy.json");
    std::fs::write(&file, policy.to_string()).unwrap();
    let applied = posternctl(&data, &["policy", "apply", file.to_str().unwrap()]).await;
    assert_eq!(applied["version"], 1);
    lets_in(folder.path(), &egress, "exit_key", 0).await;
    lists(&device, 1).await;
    let closed = explained(&data, &id, "192.0.2.1:443").await;
    assert_eq!(closed["usable"]["allowed"], false, "{closed}");

    // Out of the network: the last key is gone with the next pull.
    lets_in(folder.path(), &ingress, "tunnel_key", 1).await;
    posternctl(&data, &["devices", "revoke", &id]).await;
    lets_in(folder.path(), &ingress, "tunnel_key", 0).await;
    up.stop().await;
}

/// Waits until the device's catalog lists so many gateways.
async fn lists(device: &Path, count: usize) {
    until(&format!("{count} gateways in the catalog"), async || {
        let report = postern(device, &["sync"]).await;
        (report["gateways"] == count).then_some(())
    })
    .await;
}
