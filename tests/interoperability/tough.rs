//! tough, another client in Rust, reads our repository from a front door.

use harness::Up;
use serde_json::Value;
use tough::{Prefix, RepositoryLoader, TargetName};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn tough_downloads_the_catalog_and_the_recovery_kit_through_the_delegation() {
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let up = Up::start(&data, &["--port=0", "--gateways=2", "--heartbeat=1"]).await;
    let root = std::fs::read(data.join("offline/1.root.json")).unwrap();
    let url = |part: &str| format!("{}/{part}/", up.doors[0]).parse().unwrap();

    let loader = RepositoryLoader::new(&root, url("metadata"), url("targets"));
    let repository = loader.load().await.unwrap();
    let files = folder.path().join("files");
    std::fs::create_dir(&files).unwrap();
    let mut read = Vec::new();
    for path in ["catalogs/default.json", "recovery-kit.json", "limits.json"] {
        let name = TargetName::new(path).unwrap();
        let saved = repository.save_target(&name, &files, Prefix::None);
        saved.await.unwrap();
        let bytes = std::fs::read(files.join(path)).unwrap();
        read.push(serde_json::from_slice::<Value>(&bytes).unwrap());
    }

    let slices = read[0]["slices"].as_array().unwrap();
    let kinds: Vec<_> = slices.iter().map(|slice| &slice["kind"]).collect();
    assert_eq!(kinds, ["sealed"], "what is listed is for devices alone");
    assert_eq!(read[1]["front_doors"].as_array().unwrap().len(), 3);
    assert_eq!(read[2]["network"], read[0]["network"]);
    assert!(repository.delegated_role("catalogs").is_some());
    up.stop().await;
}
