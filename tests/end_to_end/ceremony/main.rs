//! Ceremonies by the real programs: the keys of every role change while devices and gateways work,
//! holders sign on machines of their own, and what a thief of online keys did ends with a rotation.

mod control_key;
mod deployed;
mod network;
mod refusals;
mod thief;

use std::fs;

use harness::{postern, until};
use network::{Network, Trusted};

/// Rotates a key of each role, one ceremony after the other.
const CEREMONIES: [(&str, &[&str], &[&str]); 4] = [
    ("timestamp", &["--rotate=timestamp"], &["root"]),
    ("snapshot", &["--rotate=snapshot"], &["root"]),
    ("catalogs", &["--rotate=catalogs"], &["targets"]),
    ("config", &["--rotate=config"], &["targets"]),
];

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn keys_of_every_role_change_while_devices_and_gateways_work() {
    let network = Network::start(1).await;
    let device = network.device("device");
    fs::copy(&device, network.device("sleeper")).unwrap();

    for (name, arguments, roles) in CEREMONIES {
        let before = network.keys(name).await;
        network.ceremony(name, arguments, roles).await;
        let after = network.keys(name).await;
        assert!(after.len() == 1 && after != before, "{name}: {after:?}");
        follows(&network).await;
    }
    a_root_key_and_a_targets_key_are_replaced(&network).await;
    for count in 0..3 {
        let name = format!("renewal-{count}");
        network.ceremony(&name, &["--renew=root"], &["root"]).await;
        follows(&network).await;
    }

    // A gateway takes what only the new config key has signed: the roster with a new device.
    network.await_gateways().await;
    let rosters = network.gateways.iter();
    for (gateway, field) in rosters.zip(["tunnel_key", "exit_key"]) {
        let roster = network.folder.path().join(&gateway.id).join("roster.json");
        let count = || {
            let text = fs::read_to_string(&roster).unwrap_or_default();
            text.matches(&format!("\"{field}\":")).count()
        };
        let before = count();
        network.enroll(&format!("newcomer-{field}")).await;
        until("the newcomer in a roster", async || {
            (count() > before).then_some(())
        })
        .await;
    }
    network.assert_in_service().await;
    a_sleeper_recovers_in_one_request(&network).await;
    network.up.stop().await;
}

/// The device follows with its next sync.
async fn follows(network: &Network) {
    network.await_published().await;
    let device = network.device("device");
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["stale"], false, "{report}");
    assert_eq!(report["gateways"], 2, "{report}");
    let shown = network.shown().await;
    let trusted = Trusted::of(&device).unwrap();
    assert_eq!(shown["root"]["version"], trusted.root);
    assert_eq!(shown["targets"]["version"], trusted.targets);
}

/// The third holder leaves: a fourth takes both places, with keys that were made where they are.
async fn a_root_key_and_a_targets_key_are_replaced(network: &Network) {
    let home = network.home(4);
    fs::create_dir(&home).unwrap();
    let mut arguments = Vec::new();
    for role in ["root", "targets"] {
        let key = home.join(format!("{role}-4.pem"));
        let passphrase = network.folder.path().join("passphrase");
        let told = format!("--passphrase-file={}", passphrase.display());
        harness::posternctl(&home, &["root", "key", key.to_str().unwrap(), &told]).await;
        let public = key.with_extension("pub");
        let gone = fs::read_to_string(network.data.join(format!("keys/offline/{role}-3.pub")));
        let gone = tuf::key_file::read_public(&gone.unwrap()).unwrap().key_id();
        arguments.push(format!("--add={role}={}", public.display()));
        arguments.push(format!("--remove={role}={}", &gone[..10]));
    }
    let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
    let file = network.begin("holders", &arguments).await;
    // Of the old keys and of the new ones two must sign: 1 and 2 would do, 1 and 4 are too few of the old.
    network.sign(&file, 4, "root-4").await;
    network.sign(&file, 1, "root-1").await;
    let early = network::refused(&network.data, &["root", "finish", file.to_str().unwrap()]).await;
    assert!(
        early.contains("1 of 2 signatures of the root keys in force"),
        "{early}"
    );
    let said = network.sign(&file, 2, "root-2").await;
    let goes = said["keys"].as_array().unwrap().iter();
    assert_eq!(
        goes.filter(|key| key["comes"] == false).count(),
        2,
        "{said}"
    );
    network.finish(&file).await;
    follows(network).await;
}

/// A device that saw none of the roots meanwhile asks once, and has all.
async fn a_sleeper_recovers_in_one_request(network: &Network) {
    let sleeper = network.device("sleeper");
    let slept = Trusted::of(&sleeper).unwrap();
    let shown = network.shown().await;
    let missed = shown["root"]["version"].as_u64().unwrap() - slept.root;
    assert!(missed >= 5, "{missed} roots");
    network.doors[0].take_answers();

    let report = postern(&sleeper, &["sync"]).await;

    assert_eq!(report["changed"], true, "{report}");
    let trusted = Trusted::of(&sleeper).unwrap();
    assert_eq!(shown["root"]["version"], trusted.root);
    let answers = network.doors[0].take_answers();
    let asked: Vec<_> = answers
        .iter()
        .filter(|answer| answer.path != "bundles/trust")
        .map(|answer| (answer.path.as_str(), answer.status))
        .collect();
    assert_eq!(asked, [("bundles/cohort/default", 200)]);
    eprintln!(
        "a device that slept through {missed} roots: 1 request, {} bytes",
        answers.iter().map(|answer| answer.bytes).max().unwrap_or(0)
    );
}
