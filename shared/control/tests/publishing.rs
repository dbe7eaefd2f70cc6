//! Publishing while all goes well: what is listed, when a version is made and when not, and the
//! alarm.

mod common;

use common::client::{Client, Reads, cohort};
use common::nodes::{gateway_id, new_gateway};
use common::world::{World, offline};
use common::{START, after, limits, operator};
use control::{Error, gateways, publish};
use model::{GatewayState, Role};

/// A quarter of the default life of a timestamp.
const RENEWAL: i64 = 6 * 3600;

fn writes(world: &World) -> usize {
    world.mirrors.iter().map(|mirror| mirror.writes()).sum()
}

#[tokio::test]
async fn the_first_run_publishes_a_repository_that_verifies_on_every_mirror() {
    let world = World::new(3);

    let report = world.publish(START).await;

    assert!(report.published && report.lagging.is_empty());
    assert_eq!(world.served(START), (report.version, Vec::new()));
    world.assert_history(START);
}

#[tokio::test]
async fn a_run_without_news_writes_nothing() {
    let world = World::published(3, &[1]).await;
    let before = (writes(&world), world.stage.events().await.len());

    world.stage.beat(after(30), &[1]).await;
    let report = world.publish(after(60)).await;

    assert!(!report.published);
    assert_eq!(report.version, 1);
    assert_eq!((writes(&world), world.stage.events().await.len()), before);
}

#[tokio::test]
async fn the_repository_is_signed_anew_when_it_grows_old() {
    let world = World::published(2, &[1]).await;
    let mut device = Client::new(Reads::Bundle, &world.stage.network.id, &world.pin);
    let first = device.sync(&world.mirrors[0].files(), START).unwrap();

    world.stage.beat(after(RENEWAL - 1), &[1]).await;
    let early = world.publish(after(RENEWAL - 1)).await;
    let due = world.publish(after(RENEWAL)).await;

    assert!(!early.published && due.published);
    let later = device.sync(&world.mirrors[1].files(), after(RENEWAL));
    let later = later.unwrap();
    assert!(later.state.timestamp_expires() > first.state.timestamp_expires());
    assert_eq!(
        later.catalog, first.catalog,
        "nothing but the signatures is new"
    );
}

#[tokio::test]
async fn a_gateway_is_listed_from_its_first_heartbeat_until_it_falls_silent_and_again() {
    let world = World::published(1, &[1, 2, 3]).await;
    let listed = |now| world.served(now).1;
    let with = ["g-0001", "g-0002", "g-0003", "g-0004"];
    let without = ["g-0001", "g-0002", "g-0003"];

    world.stage.create_gateway(4, Role::Ingress).await;
    world.stage.register(after(10), 4).await.unwrap();
    world.publish(after(10)).await;
    assert_eq!(listed(after(10)), without, "registered is not in service");

    world.stage.beat(after(20), &[1, 2, 3, 4]).await;
    let report = world.publish(after(20)).await;
    assert_eq!(report.changes, [(gateway_id(4), GatewayState::Active)]);
    assert_eq!((report.published, report.listed), (true, 4));
    assert_eq!(listed(after(20)), with);

    for seconds in [50, 80, 110] {
        world.stage.beat(after(seconds), &[1, 2, 3]).await;
        let report = world.publish(after(seconds)).await;
        assert!(!report.published, "three beats late at most");
    }
    let report = world.publish(after(111)).await;
    assert_eq!(report.changes, [(gateway_id(4), GatewayState::Unhealthy)]);
    assert_eq!(listed(after(111)), without);

    world.stage.beat(after(120), &[1, 2, 3, 4]).await;
    world.publish(after(120)).await;
    assert_eq!(listed(after(120)), with);
    assert_eq!(world.stage.subjects("gateway.active").await.len(), 5);
    assert_eq!(world.stage.subjects("gateway.unhealthy").await, ["g-0004"]);
    world.assert_history(after(120));
}

#[tokio::test]
async fn a_gateway_outside_the_signed_limits_or_of_another_cohort_is_not_listed() {
    let world = World::published(1, &[1]).await;
    let mut outside = new_gateway(2, Role::Ingress);
    outside.endpoint = "192.0.2.1:51820".parse().unwrap();
    let mut elsewhere = new_gateway(3, Role::Ingress);
    elsewhere.cohorts = vec!["canary".parse().unwrap()];
    // They were made while the limits were wider.
    let mut wider = limits();
    wider.gateway_networks.push("192.0.2.0/24".parse().unwrap());
    wider.cohorts.push("canary".parse().unwrap());
    for new in [outside, elsewhere] {
        let context = world.stage.context(START);
        let made = gateways::create(&context, &wider, &operator(), new).await;
        made.unwrap();
    }
    world.stage.beat(START, &[2, 3]).await;

    let report = world.publish(after(10)).await;

    assert_eq!(report.changes.len(), 2, "both are in service");
    assert!(!report.published, "and neither is news for this cohort");
    assert_eq!(world.served(after(10)).1, ["g-0001"]);
}

#[tokio::test]
async fn mass_silence_keeps_the_list_and_sounds_the_alarm_once_until_it_ends() {
    let world = World::published(2, &[1, 2, 3, 4]).await;
    let before = world.served(START);

    world.listen(10, 80).await;
    world.stage.beat(after(85), &[1, 2]).await;
    world.listen(90, 190).await;
    world.stage.beat(after(200), &[1, 2]).await;
    for now in [200, 230] {
        let report = world.publish(after(now)).await;
        assert!(report.mass_silence && !report.published);
        assert_eq!(report.changes, []);
    }
    assert_eq!(world.served(after(230)), before);
    assert_eq!(world.stage.subjects("alarm.raised").await.len(), 1);
    assert_eq!(world.stage.subjects("alarm.cleared").await.len(), 0);
    let (_, alarm) = publish::show(&world.stage.context(after(230)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(alarm.quiet, [gateway_id(3), gateway_id(4)]);
    assert_eq!((alarm.active, alarm.since), (4, Some(after(100))));

    world.stage.beat(after(240), &[1, 2, 3, 4]).await;
    for now in [240, 250] {
        assert!(!world.publish(after(now)).await.mass_silence);
    }
    assert_eq!(world.stage.subjects("alarm.cleared").await.len(), 1);
    let shown = publish::show(&world.stage.context(after(250))).await;
    let (_, alarm) = shown.unwrap().unwrap();
    assert_eq!(alarm, publish::Alarm::default());
    assert_eq!(world.served(after(250)), before);
}

#[tokio::test]
async fn a_run_that_sounds_the_alarm_publishes_what_is_due_all_the_same() {
    let world = World::published(1, &[1, 2, 3]).await;

    // All have been silent for three beats when a renewal is due.
    world.listen(RENEWAL - 190, RENEWAL - 100).await;
    world.stage.beat(after(RENEWAL - 95), &[1, 2, 3]).await;
    world.listen(RENEWAL - 90, RENEWAL - 10).await;
    let raised = world.publish(after(RENEWAL)).await;
    world.stage.beat(after(2 * RENEWAL), &[1, 2, 3]).await;
    let cleared = world.publish(after(2 * RENEWAL)).await;

    assert!(raised.mass_silence && !cleared.mass_silence);
    assert!(raised.published && cleared.published);
    assert_eq!(world.served(after(2 * RENEWAL)).0, cleared.version);
    assert_eq!(world.stage.subjects("alarm.raised").await.len(), 1);
    assert_eq!(world.stage.subjects("alarm.cleared").await.len(), 1);
    assert_eq!(world.stage.subjects("catalog.published").await.len(), 3);
}

#[tokio::test]
async fn new_offline_files_are_published_and_older_ones_refused() {
    let world = World::published(2, &[1]).await;
    let mut device = Client::new(Reads::Bundle, &world.stage.network.id, &world.pin);
    device.sync(&world.mirrors[0].files(), START).unwrap();
    let newer = offline(&world.stage.network.id, &world.keys, 2);

    let report = world.run_with(&newer, after(10)).await.unwrap();
    // A publisher of the deployment before, which is still running.
    let stale = world.run(after(20)).await.unwrap_err();
    let renewal = world.run(after(RENEWAL + 10)).await.unwrap_err();

    assert!(report.published);
    assert!(matches!(stale, Error::Defect(_)), "{stale:?}");
    assert!(matches!(renewal, Error::Defect(_)), "{renewal:?}");
    let synced = device.sync(&world.mirrors[0].files(), after(20)).unwrap();
    assert_eq!(synced.state.timestamp_version(), report.version);
    world.assert_history(after(20));
}

#[tokio::test]
async fn a_cohort_that_the_limits_gain_gets_a_catalog() {
    let world = World::published(1, &[1]).await;
    let mut more = world.offline.clone();
    more.limits.cohorts.push("canary".parse().unwrap());

    let report = world.run_with(&more, after(10)).await.unwrap();

    assert!(report.published);
    let canary = tuf::repository::bundle_path(Some(&"canary".parse().unwrap()));
    assert!(world.mirrors[0].files().contains_key(&canary));
    let (head, _) = publish::show(&world.stage.context(after(10)))
        .await
        .unwrap()
        .unwrap();
    assert_eq!(head.catalogs.len(), 2);
    assert!(head.catalogs.contains_key(&cohort()));
}

#[tokio::test]
async fn an_outage_of_the_control_plane_takes_nobody_out_and_sounds_no_alarm() {
    for gateways in [&[1][..], &[1, 2, 3, 4]] {
        let world = World::published(1, gateways).await;
        world.listen(10, 60).await;

        // Nobody listens for an hour; the gateways come back within a heartbeat.
        world.listen(3600, 3620).await;
        world.stage.beat(after(3625), gateways).await;
        let report = world.listen(3630, 3710).await;

        assert_eq!(
            (report.listed, report.mass_silence),
            (gateways.len(), false)
        );
        assert_eq!(world.stage.subjects("gateway.unhealthy").await.len(), 0);
        assert_eq!(world.stage.subjects("alarm.raised").await.len(), 0);
    }
}

#[tokio::test]
async fn a_gateway_that_died_in_an_outage_of_the_control_plane_leaves_after_its_missed_beats() {
    let world = World::published(1, &[1, 2, 3, 4]).await;
    world.listen(3600, 3620).await;
    for seconds in [3625, 3655] {
        world.stage.beat(after(seconds), &[1, 2, 3]).await;
    }
    world.listen(3630, 3690).await;
    assert_eq!(world.stage.subjects("gateway.unhealthy").await.len(), 0);

    world.stage.beat(after(3691), &[1, 2, 3]).await;
    let report = world.publish(after(3691)).await;

    assert_eq!(report.changes, [(gateway_id(4), GatewayState::Unhealthy)]);
}

#[tokio::test]
async fn an_alarm_that_stands_outlasts_a_restart_of_the_control_plane() {
    let world = World::published(1, &[1, 2, 3]).await;
    world.listen(10, 100).await;
    assert_eq!(world.stage.subjects("alarm.raised").await.len(), 1);

    world.listen(3600, 3700).await;

    assert_eq!(world.stage.subjects("alarm.raised").await.len(), 1);
    assert_eq!(world.stage.subjects("alarm.cleared").await.len(), 0);
}
