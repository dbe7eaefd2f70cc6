//! What is not the caller's fault: they are told whether to try again, and nothing of the inside.

use api::Kind;
use api::admin::GATEWAYS;
use api::admins::{SESSION_END, SESSIONS};
use api::fleet::{FLEET, RUNS, check, inventory};
use api::policy::POLICY;
use control::items::{self, Taken};
use http::Method;
use model::{AdminRole, LeaseIndex};
use serde_json::json;
use store::{Change, Expect, Write};

use crate::routes::table;
use crate::stage::{Ask, Fault, Function};
use crate::world::{NEW_DEVICE, World, enrollment, signed};

#[tokio::test]
async fn a_store_that_is_away_or_broken_is_told_and_nothing_of_it() {
    for (fault, kind, says) in [
        (
            Fault::Away,
            Kind::StoreUnavailable,
            "nothing was lost: try again in a moment",
        ),
        (
            Fault::Misconfigured,
            Kind::StoreMisconfigured,
            "trying again does not help: the operator must act",
        ),
        (
            Fault::Newer,
            Kind::BeingUpdated,
            "nothing was changed: try again in a minute",
        ),
        (
            Fault::Corrupt,
            Kind::Internal,
            "tell the operator the request's id",
        ),
    ] {
        for line in table() {
            let world = World::new().await;
            let request = world.stage.request(&line.good(&world));
            world.stage.break_store(fault);
            let sent = (line.function, request);
            let answer = world.stage.refuses(&line.name(), sent, (kind, says)).await;
            let text = String::from_utf8(answer.body).unwrap();
            assert!(
                !text.contains("10.0.0.1") && !text.contains("device#x"),
                "{text}"
            );
        }
    }
}

/// Some see in a commit that failed what another must have done, and tell that instead: the challenge was
/// used, the session was ended, another heartbeat or policy came first, the gateway is there.
#[tokio::test]
async fn who_always_loses_against_others_is_told_to_try_again() {
    for line in table().iter().filter(|line| line.writes) {
        let world = World::new().await;
        let request = world.stage.request(&line.good(&world));
        world.stage.break_store(Fault::Contended);

        let expected = match line.path {
            "/v1/gateways/{id}/heartbeat" => (Kind::HeartbeatOutOfStep, "go on from version"),
            SESSIONS => (Kind::ChallengeRefused, "ask for a new one"),
            POLICY => (Kind::PolicyConflict, "apply again"),
            FLEET => (Kind::FleetConflict, "apply again"),
            GATEWAYS => (Kind::GatewayUnknown, "there is no gateway"),
            // It says that another run is under way.
            SESSION_END | RUNS => {
                let answer = world.stage.send(line.function, request).await;
                answer.read::<serde_json::Value>();
                continue;
            }
            _ => (Kind::Contended, "try again in a moment"),
        };
        let sent = (line.function, request);
        world.stage.refuses(&line.name(), sent, expected).await;
    }
}

#[tokio::test]
async fn a_pool_without_a_free_address_is_told() {
    let world = World::new().await;
    let edge = &world.stage.edge;
    let leases = (0..edge.network.pools.size()).map(|index| {
        let key = items::lease(LeaseIndex(index));
        Write::put(key, Expect::Any, &Taken::by(&"d-somebody"))
    });
    edge.store
        .commit(world.stage.now(), leases.collect())
        .await
        .unwrap();

    let ask = signed(
        Function::Enroll,
        NEW_DEVICE,
        api::enroll::ENROLL,
        &enrollment(NEW_DEVICE),
    );
    let sent = (ask.function, world.stage.request(&ask));
    let expected = (Kind::PoolCrowded, "try again, and tell the operator");
    world.stage.refuses("crowded", sent, expected).await;
}

#[tokio::test]
async fn a_catalog_that_was_not_published_is_told() {
    let world = World::new().await;
    let delete = Write {
        key: items::head(),
        expect: Expect::Present,
        change: Change::Delete,
    };
    let store = &world.stage.edge.store;
    store.commit(world.stage.now(), vec![delete]).await.unwrap();

    let ask = world.by(
        AdminRole::Auditor,
        Method::GET,
        api::admin::CATALOG,
        &json!({}),
    );
    let sent = (ask.function, world.stage.request(&ask));
    let expected = (Kind::NothingPublished, "the first run of 'publish'");
    world.stage.refuses("no catalog", sent, expected).await;
}

#[tokio::test]
async fn a_provider_that_does_not_answer_is_told() {
    let world = World::new().await;
    world.stage.cloud.set_down(true);
    let hetzner = "hetzner".parse().unwrap();

    for (method, uri) in [
        (Method::POST, check(&hetzner)),
        (Method::GET, inventory(&hetzner)),
    ] {
        let ask = Ask {
            function: Function::Reconcile,
            ..world.by(AdminRole::Operator, method, &uri, &json!({}))
        };
        let sent = (ask.function, world.stage.request(&ask));
        let expected = (Kind::ProviderFailed, "hetzner: ");
        world.stage.refuses("down", sent, expected).await;
    }
}
