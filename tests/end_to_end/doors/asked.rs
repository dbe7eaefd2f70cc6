//! Doors with a certificate, and those that nobody has written a configuration for.

use std::path::Path;

use emulator::Aws;
use harness::cdn::Cdn;
use harness::programs::program;
use harness::serverless::Bucket;
use harness::{Door, Fault, Site, Up, posternctl, until};
use tokio::process::Command;

use crate::world::{TIMESTAMP, World};

/// With a certificate, nginx needs nothing before it.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_ends_tls_with_the_certificate_that_it_is_given() {
    let Some(world) = World::make(Cdn::Nginx).await else {
        return;
    };
    let path = |name: &str| world.path(name).to_str().unwrap().to_owned();
    let (certificate, key, out, cache) = (
        path("door.pem"),
        path("door.key"),
        path("site.conf"),
        path("cache"),
    );
    let made = Command::new("openssl")
        .args([
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
        ])
        .args([
            "-days",
            "2",
            "-subj",
            "/CN=door",
            "-addext",
            "subjectAltName=IP:127.0.0.1",
        ])
        .args([
            "-addext",
            "basicConstraints=critical,CA:FALSE",
            "-keyout",
            &key,
            "-out",
            &certificate,
        ])
        .output();
    let made = made.await.unwrap();
    assert!(made.status.success(), "{made:?}");
    let listen = format!("{} ssl", world.address);
    let write = [
        "deploy",
        "doors",
        "--server",
        "nginx",
        "--origin",
        "http://127.0.0.1:9",
        "--listen",
        &listen,
        "--certificate",
        &certificate,
        "--certificate-key",
        &key,
        "--out",
        &out,
        "--cache",
        &cache,
    ];
    posternctl(&world.data, &write).await;
    let _door = world.start().await;

    let root = reqwest::Certificate::from_pem(&std::fs::read(certificate).unwrap()).unwrap();
    let http = reqwest::Client::builder()
        .tls_certs_only([root])
        .build()
        .unwrap();
    let answer = http.get(format!("https://{}/", world.address)).send().await;

    assert_eq!(answer.unwrap().status().as_u16(), 404);
}

/// What `posternctl deploy doors` says of a door that nobody has written a configuration for.
async fn asks(data: &Path, url: &str, more: &[&str]) -> (bool, String) {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(data)
        .args(["deploy", "doors", "--url", url])
        .args(more);
    let output = command.output().await.unwrap();
    let text = |bytes: &[u8]| String::from_utf8_lossy(bytes).into_owned();
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.success(), said)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_plain_bucket_is_a_door_and_one_that_does_not_do_is_told_what_to_change() {
    let test = "doors-bucket";
    let Some(aws) = Aws::shared(test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let data = folder.path().join("network");
    let up = Up::start(&data, &["--port=0", "--gateways=2", "--heartbeat=1"]).await;
    // What stands there must not change while it is compared.
    up.stop().await;
    let site = data.join("site");
    let bucket = Bucket::make(aws.url(), test).await;
    bucket.fill(&site).await;
    let url = format!("{}/{test}", aws.url());

    let (ok, said) = asks(&data, &url, &["--origin", &url]).await;
    assert!(ok, "{said}");
    assert!(said.contains("no device knows of it yet"), "{said}");

    // The same files by a server that says nothing of caches.
    let mut door = Door::open(Site::Folder(site.clone())).await;
    let (ok, said) = asks(&data, &door.url(), &[]).await;
    assert!(!ok && said.contains("(rules)"), "{said}");
    for fault in [
        "metadata/timestamp.json changes, and its Cache-Control is '': make it 'public, max-age=60'",
        "metadata/1.root.json never changes",
    ] {
        assert!(said.contains(fault), "{fault}: {said}");
    }
    door.set(Fault::Altered).await;
    let (ok, said) = asks(&data, &door.url(), &[]).await;
    assert!(
        !ok && said.contains("(verify)") && said.contains("not to be believed"),
        "{said}"
    );

    // A door that lags behind what it stands before.
    let older = folder.path().join("older");
    Site::Folder(site).copy(&older).await;
    let up = Up::start(&data, &[]).await;
    let gateways = posternctl(&data, &["gateways"]).await;
    let id = gateways[0]["id"].as_str().unwrap();
    let before = std::fs::read(older.join(TIMESTAMP)).unwrap();
    posternctl(&data, &["gateways", "drain", id]).await;
    until("a new catalog", async || {
        let now = std::fs::read(data.join("site").join(TIMESTAMP)).unwrap();
        (now != before).then_some(())
    })
    .await;
    let lagging = Door::open(Site::Folder(older)).await;
    let (ok, said) = asks(&data, &lagging.url(), &["--origin", &up.doors[0]]).await;
    assert!(
        !ok && said.contains("(current)") && said.contains("run this again after them"),
        "{said}"
    );
}
