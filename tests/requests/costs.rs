//! What calls take of DynamoDB is what [`rules::costs`] says.

#![allow(clippy::float_cmp, reason = "units of calls are whole numbers")]

use std::collections::BTreeMap;
use std::sync::Arc;

use api::enroll::ENROLL;
use api::roster::RosterPart;
use control::calls::Meter;
use control::migration;
use harness::units::Units;
use jiff::SignedDuration;
use rules::costs;
use serde_json::{Value, json};

use crate::published;
use crate::routes::table;
use crate::stage::{Answer, Ask, Breakable, Function};
use crate::world::{World, enrollment, signed};

/// What a request takes that is answered well, and the answer.
async fn taken(world: &World, ask: &Ask) -> (Units, Answer) {
    world.stage.take_units();
    let answer = world.stage.ask(ask).await;
    let said = String::from_utf8_lossy(&answer.body);
    assert!(answer.status.is_success(), "{said}");
    (world.stage.take_units(), answer)
}

#[allow(clippy::cast_precision_loss, reason = "a few thousand at most")]
fn pair(measured: Units) -> [f64; 2] {
    [measured.read as f64, measured.write as f64]
}

fn assert_is(what: &str, measured: Units, said: costs::Units) {
    let said = [said.read, said.write];
    assert!(
        pair(measured) == said,
        "{what}: {measured:?} is not {said:?}"
    );
}

#[tokio::test]
async fn a_call_takes_the_units_that_the_costs_count_it_with() {
    for (method, path, said) in [
        ("GET", "/v1/devices/{id}", costs::CONTACT),
        ("POST", "/v1/gateways/{id}/heartbeat", costs::HEARTBEAT),
        ("GET", "/v1/gateways/{id}/config", costs::CONFIG),
    ] {
        let world = World::new().await;
        let lines = table();
        let line = lines
            .iter()
            .find(|line| line.method == method && line.path == path);
        let ask = line.expect("the table has it").good(&world);

        let (measured, _) = taken(&world, &ask).await;

        assert_is(path, measured, said);
    }
}

#[tokio::test]
async fn an_enrollment_whose_first_place_is_free_takes_what_the_costs_say() {
    // One whose first lease and use are free is found among some: `calls` tells of the others.
    for number in 100..110 {
        let world = World::new().await;
        let ask = signed(Function::Enroll, number, ENROLL, &enrollment(number));
        world.stage.take_calls();

        let (measured, _) = taken(&world, &ask).await;

        if world.stage.take_calls().commits == 1 {
            assert_is("enrollment", measured, costs::ENROLLMENT);
            return;
        }
    }
    panic!("of ten devices none found its first place free");
}

#[tokio::test]
async fn a_roster_takes_what_the_costs_say_new_or_not() {
    let world = World::new().await;
    let lines = table();
    let line = lines.iter().find(|line| line.path.ends_with("/roster"));
    let mut ask = line.expect("the table has it").good(&world);

    let (all_new, answer) = taken(&world, &ask).await;
    let envelope: Value = answer.read();
    let part: RosterPart = serde_json::from_value(envelope["signed"].clone()).unwrap();
    let mut held: BTreeMap<_, BTreeMap<_, _>> = BTreeMap::new();
    for shard in &part.shards {
        let of = held.entry(shard.cohort.clone()).or_default();
        of.insert(shard.shard, shard.version);
    }
    let held = json!({"policy_version": part.policy_version, "shards": held});
    ask.body = serde_json::to_vec(&held).unwrap();
    let (nothing_new, answer) = taken(&world, &ask).await;

    let envelope: Value = answer.read();
    assert_eq!(envelope["signed"]["shards"], json!([]), "nothing is new");
    assert_is("nothing new", nothing_new, costs::ROSTER);
    let read = costs::ROSTER.read + 2.0 * costs::ROSTER_PART.read;
    assert!(
        pair(all_new) == [read, 0.0],
        "two shards are new: {all_new:?}"
    );
}

#[tokio::test]
async fn a_look_at_a_network_without_old_items_takes_what_the_costs_say() {
    let world = World::new().await;
    let edge = &world.stage.edge;
    let look = async |later: SignedDuration| {
        let run = migration::Run {
            store: edge.store.as_ref(),
            meter: &Meter::new(1_000),
            now: edge.clock.moment().now + later,
            is_late: &|| false,
        };
        migration::run(&run).await.unwrap().left
    };
    // A pass, and the one that counts.
    look(SignedDuration::ZERO).await;
    look(migration::SETTLE).await;
    world.stage.take_units();

    assert_eq!(look(migration::SETTLE).await, migration::Left::Nothing);

    assert_is("a look", world.stage.take_units(), costs::UPKEEP);
}

#[tokio::test]
async fn a_publishing_run_that_finds_nothing_new_takes_what_the_costs_say() {
    for gateways in [10_u32, 300, 1_500] {
        let store = Arc::new(Breakable::default());
        let mut world = published::World::new();
        world.store = store.clone();
        world.gateways(gateways as usize).await;
        // The first epoch, and then the catalog sealed with its keys.
        world.publish().await;
        world.publish().await;
        store.meter.take();

        assert!(!world.publish().await.published);

        let measured = pair(store.meter.take());
        let said = costs::publishing(gateways.into());
        let off = (measured[0] - said.read).abs();
        assert!(
            off < 2.0 + measured[0] / 50.0,
            "{gateways}: {measured:?} is not {said:?}"
        );
        assert!(measured[1] <= said.write, "{gateways}: {measured:?}");
    }
}
