//! The control key changes in its steps, and nobody is shut out in any of them.

use std::fs;
use std::path::{Path, PathBuf};

use harness::programs::{posternctl_command, run};
use harness::{Up, postern, posternctl, until};
use serde_json::Value;

use crate::network::{Network, refused};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_control_key_changes_by_a_ceremony_and_who_slept_through_it_finds_back_in_one_sync() {
    let mut network = Network::start(1).await;
    let elsewhere = elsewhere(&network).await;
    let (device, sleeper) = (network.device("device"), network.device("sleeper"));
    fs::copy(&device, &sleeper).unwrap();
    let before = key_of(&device).expect("it seals");

    let made = posternctl(&network.data, &["control-keys", "new"]).await;
    let mut made = made["control_keys"].as_array().unwrap().iter();
    let made = made.rfind(|key| key["named"] == false).unwrap();
    let new = made["key"].as_str().unwrap().to_owned();
    restart(&mut network).await;
    let named = format!("--control-key={new}");
    network.ceremony("control", &[&named], &["targets"]).await;
    network.await_published().await;

    // Who is there learns it by itself, and goes on under it.
    postern(&device, &["sync"]).await;
    assert_eq!(key_of(&device).as_ref(), Some(&new));
    for gateway in &network.gateways {
        let file = network.folder.path().join(&gateway.id).join("gateway.json");
        until("a gateway that knows the new control key", async || {
            (key_of(&file).as_ref() == Some(&new)).then_some(())
        })
        .await;
    }

    // The old one ends: it is named no more.
    let number = number_of(&network, &before).await;
    posternctl(&network.data, &["control-keys", "remove", &number]).await;
    let number = number_of(&network, &new).await;
    let said = refused(&network.data, &["control-keys", "remove", &number]).await;
    assert!(said.contains("clients seal to it"), "{said}");
    restart(&mut network).await;

    for file in [&device, &sleeper] {
        let report = postern(file, &["sync", "--contact"]).await;
        assert_eq!(report["contact"]["state"], "answered", "{report}");
        assert_eq!(key_of(file).as_ref(), Some(&new));
    }
    network.enroll("newcomer").await;
    // A profile of before, on another machine, names the key that is in force.
    let (ok, made) = run(posternctl_command(&elsewhere, &["invite"])).await;
    assert!(ok, "{made}");
    let invite = made["invite"].as_str().unwrap();
    postern(&network.device("invited"), &["enroll", invite]).await;
    assert_eq!(key_of(&network.device("invited")).as_ref(), Some(&new));
    network.await_gateways().await;
    network.assert_in_service().await;
    network.up.stop().await;
}

/// The profile of an operator who has nothing of the network's but its contact.
async fn elsewhere(network: &Network) -> PathBuf {
    let profile = network.folder.path().join("elsewhere.json");
    let contact = posternctl(&network.data, &["contact"]).await;
    let contact = contact["contact"].as_str().unwrap();
    let (ok, made) = run(posternctl_command(&profile, &["profile", "new", contact])).await;
    assert!(ok, "{made}");
    let key = made["key"].as_str().unwrap();
    let add = [
        "admins",
        "add",
        key,
        "--name",
        "elsewhere",
        "--role",
        "operator",
    ];
    posternctl(&network.data, &add).await;
    profile
}

async fn restart(network: &mut Network) {
    let data = network.data.clone();
    // Its ports are taken again by the next one, so it must have ended.
    network.up.end().await;
    network.up = Up::start(&data, &[]).await;
}

/// The control key that a device's or a gateway's file holds.
fn key_of(file: &Path) -> Option<String> {
    let state: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
    state["contact"]["k"].as_str().map(str::to_owned)
}

async fn number_of(network: &Network, key: &str) -> String {
    let listed = posternctl(&network.data, &["control-keys"]).await;
    let mut keys = listed["control_keys"].as_array().unwrap().iter();
    let found = keys
        .find(|listed| listed["key"] == key)
        .expect("it is listed");
    found["number"].to_string()
}
