//! hcloud-python, Hetzner's official client, drives `simcloud` and agrees with it.

use std::path::Path;

use harness::programs::python;
use harness::skipped;
use simcloud::{Settings, SimCloud};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_official_client_rents_and_returns_everything_through_its_ordinary_calls() {
    let Some(python) = python() else {
        skipped(
            "python_hcloud",
            "no Python with the package 'hcloud'; the README's test command installs it",
        );
        return;
    };
    let settings = Settings::served();
    let token = settings.token.clone();
    let cloud = SimCloud::new(settings);
    let served = cloud.serve().await.unwrap();

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interoperability/python_hcloud.py");
    let output = Command::new(python)
        .args([script.as_os_str(), served.url.as_ref(), token.as_ref()])
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "hcloud-python disagrees:\n{said}");
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["locations"][0], "fsn1", "{report}");
    assert_eq!(report["available"], true, "{report}");
    assert_eq!((&report["images"], &report["left"]), (&1.into(), &0.into()));
    assert_eq!(report["currency"], "EUR", "{report}");
    assert!(cloud.resources().is_empty());
    assert_eq!(cloud.bill().running().count(), 0);
}
