//! Sealed slices by the real programs: what stands on a front door, who can read it, and until when.

use std::path::{Path, PathBuf};

use harness::{Up, postern, postern_refused, posternctl, until};
use serde_json::{Value, json};

/// Short enough to be over while the test waits, long enough for a device to be shown to read within it.
const GRACE: u32 = 5;

/// Every file below `folder`, and its text: what is published is text.
fn published(folder: &Path) -> Vec<(PathBuf, String)> {
    let mut files = Vec::new();
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        if path.is_dir() {
            files.extend(published(&path));
        } else {
            let text = std::fs::read_to_string(&path).unwrap();
            files.push((path, text));
        }
    }
    files
}

/// A network whose epochs' graces are short, with four gateways.
async fn network(data: &Path) -> Up {
    let arguments = ["init", "--port=0", "--heartbeat=1", "--gateways=4"];
    posternctl(data, &arguments).await;
    let path = data.join("network.json");
    let mut settings: Value = serde_json::from_slice(&std::fs::read(&path).unwrap()).unwrap();
    settings["network"]["timing"]["epoch_grace"] = json!(GRACE);
    std::fs::write(&path, settings.to_string()).unwrap();
    Up::start(data, &[]).await
}

/// Enrolls a device with an invite of its own.
async fn enrolled(data: &Path, folder: &Path, name: &str) -> (PathBuf, String) {
    let device = folder.join(format!("{name}.json"));
    let invite = posternctl(data, &["invite"]).await;
    let answer = postern(&device, &["enroll", invite["invite"].as_str().unwrap()]).await;
    (device, answer["device"].as_str().unwrap().to_owned())
}

/// Waits for a sync that opens what is published, and lists so many gateways.
async fn opens(device: &Path, count: usize) {
    until(&format!("{count} gateways that are opened"), async || {
        let report = postern(device, &["sync"]).await;
        let opened = report["sealed"]["opened"] == 1 && report["gateways"] == count;
        opened.then_some(())
    })
    .await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn front_doors_tell_nothing_and_a_revoked_device_reads_no_new_epoch() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let up = network(&data).await;
    let (revoked, id) = enrolled(&data, folder.path(), "revoked").await;
    let (stays, _) = enrolled(&data, folder.path(), "stays").await;
    let (away, _) = enrolled(&data, folder.path(), "away").await;
    opens(&revoked, 4).await;
    opens(&stays, 4).await;

    // All that the doors serve names no gateway, neither where it is reached nor what it is called.
    let gateways = posternctl(&data, &["gateways"]).await;
    let files = published(&data.join("site"));
    assert!(files.len() > 10, "{files:?}");
    for gateway in gateways.as_array().unwrap() {
        for field in ["id", "endpoint"] {
            let told = gateway[field].as_str().unwrap();
            let names = |(_, text): &&(PathBuf, String)| text.contains(told);
            let found = files.iter().find(names);
            assert_eq!(found.map(|(path, _)| path), None, "{told}");
        }
    }
    let site = data.join("site");
    let verified = postern(&revoked, &["verify", site.to_str().unwrap()]).await;
    assert_eq!(verified["catalogs"][0]["gateways"], 4, "{verified}");

    // What spies would learn.
    let report = posternctl(&data, &["policy", "disclosure", "--spies", "0,1"]).await;
    let ingress = &report["rows"][0];
    assert_eq!(ingress["role"], "ingress");
    assert_eq!(ingress["learned"][0]["most"], 0, "{report}");
    assert_eq!(
        ingress["learned"][1]["most"], ingress["gateways"],
        "{report}"
    );

    // An epoch after the revocation. What the revoked device was given does not help it.
    posternctl(&data, &["devices", "revoke", &id]).await;
    let before = posternctl(&data, &["policy", "epoch", "--begin"]).await;
    until("an epoch whose predecessor's grace is over", async || {
        let now = posternctl(&data, &["policy", "epoch"]).await;
        let over = now["past"].as_array().unwrap().is_empty();
        (over && now["present"]["number"] != before["present"]["number"]).then_some(())
    })
    .await;
    let shut = until(
        "a catalog that the revoked device cannot open",
        async || {
            let report = postern(&revoked, &["sync"]).await;
            (report["sealed"]["opened"] == 0).then_some(report)
        },
    )
    .await;
    let contact = &shut["contact"]["error"];
    assert_eq!(contact["kind"], "device-revoked", "{shut}");
    // Its last catalog stays for its grace: it is of no use, as no gateway lets the device in.
    assert_eq!(shut["gateways"], 4, "{shut}");

    // Whoever was away gets keys by the sync that finds it has none, and is as well off as the others.
    opens(&away, 4).await;
    opens(&stays, 4).await;
    let fresh = folder.path().join("none.json");
    postern_refused(&fresh, &["sync"]).await;
    up.stop().await;
}
