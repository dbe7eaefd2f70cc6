//! python-tuf, the reference client, reads our repository from a front door.

use std::path::Path;

use harness::programs::python;
use harness::{Up, skipped};
use tokio::process::Command;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn python_tuf_downloads_the_catalog_and_the_recovery_kit_through_the_delegation() {
    let Some(python) = python() else {
        skipped(
            "python_tuf",
            "no Python with the package 'tuf'; the README's test command installs it",
        );
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let up = Up::start(&data, &["--port=0", "--gateways=2", "--heartbeat=1"]).await;

    let script = Path::new(env!("CARGO_MANIFEST_DIR")).join("interoperability/python_tuf.py");
    let output = Command::new(python)
        .arg(script)
        .arg(&up.doors[0])
        .arg(data.join("offline/1.root.json"))
        .arg(folder.path().join("python"))
        .output()
        .await
        .unwrap();

    let said = String::from_utf8_lossy(&output.stderr);
    assert!(
        output.status.success(),
        "python-tuf refused the repository:\n{said}"
    );
    let report: serde_json::Value = serde_json::from_slice(&output.stdout).unwrap();
    assert_eq!(report["slices"], serde_json::json!(["sealed"]), "{report}");
    assert_eq!(report["kit_doors"], 3, "{report}");
    assert!(report["version"].as_u64().unwrap() >= 1, "{report}");
    up.stop().await;
}
