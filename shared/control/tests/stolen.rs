//! Stolen and rotated online keys, as publishing sees them: what a thief signs is followed a little and
//! forgotten with his key, and nothing is signed by a key that the offline files do not name.

mod common;

use common::client::{Client, Reads};
use common::world::{World, key};
use common::{START, after};
use control::items;
use control::publish::{MirrorState, Offline};
use jiff::SignedDuration;
use store::{Expect, Write};
use tuf::Authority;
use tuf::key::SigningKey;
use tuf::repository::{self, Pin, RoleKeys, sign_root};

/// A year, which is what the offline files of a test's network live.
const YEAR: i64 = 365 * 24 * 3600;

/// A timestamp that a thief of our key signs.
fn stolen(world: &World, version: u64) -> &'static [u8] {
    let pin = Pin::of(version, b"a snapshot");
    let keys = [&world.keys.timestamp];
    let timestamp = repository::sign_timestamp(version, after(YEAR), &pin, &keys);
    timestamp.unwrap().leak()
}

/// The next root, which names `timestamp`.
fn rotated(offline: &Offline, timestamp: &SigningKey) -> Offline {
    let last = offline.roots.last().unwrap();
    let mut root = Authority::read(last, &offline.targets).unwrap().root;
    root.roles.timestamp = RoleKeys {
        keys: vec![timestamp.public()],
        threshold: 1,
    };
    let next = sign_root(root.version + 1, root.expires, &root.roles, &[&key(1)]).unwrap();
    let mut roots = offline.roots.clone();
    roots.push(next);
    Offline::read(roots, offline.targets.clone(), offline.files.clone()).unwrap()
}

#[tokio::test]
async fn a_version_that_only_a_thief_signs_is_replaced_and_said_and_not_followed() {
    for version in [u64::MAX, u64::MAX - 1, 1 << 41] {
        let world = World::published(2, &[1]).await;
        let right = world.mirrors[0].files();
        world.mirrors[0].alter(repository::TIMESTAMP_PATH, stolen(&world, version));

        let report = world.publish(after(1)).await;

        assert!(!report.published, "{version}");
        assert!(
            report
                .warnings
                .iter()
                .any(|said| said.contains("somebody else holds that key"))
        );
        assert_eq!(world.mirrors[0].files(), right, "{version}");
        // The same beside news.
        world.mirrors[0].alter(repository::TIMESTAMP_PATH, stolen(&world, version));
        world.stage.bring_up(after(2), &[2]).await;
        let report = world.publish(after(2)).await;
        assert_eq!((report.published, report.version), (true, 2), "{version}");
        assert_eq!(world.served(after(2)).0, 2);
    }
}

#[tokio::test]
async fn what_another_publisher_could_have_signed_is_followed() {
    let world = World::published(2, &[1]).await;
    world.mirrors[0].alter(repository::TIMESTAMP_PATH, stolen(&world, 1_000_000));

    let report = world.publish(after(1)).await;

    assert_eq!((report.published, report.version), (true, 1_000_001));
}

#[tokio::test]
async fn a_rotated_timestamp_key_takes_what_its_thief_signed_with_it() {
    let mut world = World::published(1, &[1]).await;
    let seen = MirrorState {
        seen: 1_000_000,
        seen_by: Some(world.keys.timestamp.key_id()),
        ..MirrorState::default()
    };
    let write = Write::put(items::mirror("mirror-0"), Expect::Present, &seen);
    world
        .stage
        .store
        .commit(after(1), vec![write])
        .await
        .unwrap();
    let planted = stolen(&world, 2_000_000);
    world.keys.timestamp = key(22);
    world.offline = rotated(&world.offline, &key(22));
    world.mirrors[0].alter(repository::TIMESTAMP_PATH, planted);

    let report = world.publish(after(2)).await;

    assert_eq!((report.published, report.version), (true, 2));
    assert_eq!(world.served(after(2)).0, 2);
}

#[tokio::test]
async fn clients_of_every_kind_follow_a_rotation() {
    let mut world = World::published(2, &[1]).await;
    let network = world.stage.network.id.clone();
    let kinds = [Reads::Bundle, Reads::Trust, Reads::Files];
    let mut clients = kinds.map(|reads| Client::new(reads, &network, &world.pin));
    for client in &mut clients {
        client.sync(&world.mirrors[1].files(), after(1)).unwrap();
    }
    for seed in 22..27 {
        world.keys.timestamp = key(seed);
        world.offline = rotated(&world.offline, &key(seed));
        let now = after(i64::from(seed));
        world.stage.beat(now, &[1]).await;
        let report = world.publish(now).await;
        assert!(report.published && report.lagging.is_empty(), "{report:?}");
        // The device is away meanwhile.
        clients[2].sync(&world.mirrors[0].files(), now).unwrap();
    }

    for client in &mut clients {
        let verified = client.sync(&world.mirrors[1].files(), after(30)).unwrap();
        assert_eq!(verified.state.root_version(), 6);
        assert_eq!(verified.state.timestamp_version(), 6);
    }
}

#[tokio::test]
async fn nothing_is_signed_by_a_key_that_the_offline_files_do_not_name() {
    for role in ["catalogs", "snapshot", "timestamp"] {
        let mut world = World::published(1, &[1]).await;
        let right = world.mirrors[0].files();
        match role {
            "catalogs" => world.keys.catalogs = key(22),
            "snapshot" => world.keys.snapshot = key(22),
            _ => world.keys.timestamp = key(22),
        }
        world.stage.bring_up(after(1), &[2]).await;

        let refused = world.run(after(1)).await.unwrap_err().to_string();

        assert!(
            refused.contains(&format!("another key for {role}")),
            "{refused}"
        );
        assert_eq!(world.mirrors[0].files(), right, "{role}");
    }
}

#[tokio::test]
async fn offline_files_that_expire_soon_are_said() {
    let world = World::published(1, &[1]).await;
    let warnings = async |now| {
        world.stage.beat(now, &[1]).await;
        world.publish(now).await.warnings
    };

    assert_eq!(warnings(after(1)).await, Vec::<String>::new());
    let soon = START + SignedDuration::from_hours(24 * 306);
    let said = warnings(soon).await;
    assert_eq!(said.len(), 2, "{said:?}");
    assert!(said[0].contains("the root expires in 59 days"), "{said:?}");
    // Who asks the control plane is told, too.
    let head = control::publish::show(&world.stage.context(soon))
        .await
        .unwrap();
    assert_eq!(head.unwrap().0.warnings(soon), said);
}
