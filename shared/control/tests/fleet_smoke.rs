//! Trials, clean-up from the provider's list alone, and the evidence.

mod common;

use std::sync::{Arc, Mutex};

use async_trait::async_trait;
use common::board::{Act, Board};
use common::fleets::{World, fleet_of, hetzner};
use common::{moment, operator};
use control::calls::Meter;
use control::fleet::Run;
use control::fleet::cleanup::{Cleaned, Cleanup, cleanup};
use control::fleet::evidence::{Against, Archive, Evidence, Listing, What};
use control::fleet::smoke::{self, Outcome, Smoke, SmokeOrder};
use control::{Context, Error};
use jiff::SignedDuration;
use model::provider::ResourceKind::{self, Address, Firewall, Server};
use model::{GatewayId, Mode, Role, Stage};
use providers::NewAddress;
use rules::planning::cleaning::Wanted;
use simcloud::{Asked, Fault, Rule};

/// A fleet that wants nothing, and names the agent that trials need.
async fn trying(mode: Mode) -> World {
    let mut world = World::new();
    world.set_mode(mode).await;
    world.want(fleet_of(&[])).await;
    world
}

fn order(role: Role) -> SmokeOrder {
    SmokeOrder {
        provider: hetzner(),
        role,
        regions: vec!["fsn1".parse().unwrap()],
        sizes: vec!["cx23".parse().unwrap()],
        image: "debian-12".parse().unwrap(),
        port: 51_820,
        expires_seconds: 3600,
    }
}

/// Calls `act` with a run whose calls go through a board, if there is one.
async fn with_run<T>(
    world: &World,
    board: Option<&Arc<Board>>,
    act: impl AsyncFnOnce(&Run<'_>) -> T,
) -> T {
    let meter = Arc::new(Meter::new(u32::MAX));
    let (store, provider) = world.means(&meter, board);
    let run = Run {
        context: Context {
            store: store.as_ref(),
            network: &world.control.network,
            moment: moment(world.now()),
        },
        providers: &[provider],
        boot: &world.boot,
        meter: &meter,
        seconds: 20,
        is_late: &|| false,
    };
    act(&run).await
}

async fn begin(world: &World, order: &SmokeOrder) -> Result<GatewayId, Error> {
    with_run(world, None, async |run| {
        smoke::begin(run, &operator(), order).await
    })
    .await
}

async fn step(world: &World, id: &GatewayId) -> Smoke {
    with_run(world, None, async |run| smoke::step(run, id).await)
        .await
        .unwrap()
}

async fn finish(world: &World, id: &GatewayId) -> Vec<Smoke> {
    let mut steps = Vec::new();
    for _ in 0..40 {
        let smoke = step(world, id).await;
        let is_over = smoke.outcome != Outcome::Running;
        steps.push(smoke);
        if is_over {
            return steps;
        }
        world.pass(60).await;
    }
    panic!("no end: {:?}", steps.last());
}

async fn clean(world: &World, with_records: bool, wanted: Wanted) -> Cleaned {
    let provider = world.provider();
    let context = world.context();
    cleanup(&Cleanup {
        network: world.network(),
        provider: provider.as_ref(),
        records: with_records.then_some(context),
        actor: operator(),
        wanted,
        dry_run: false,
        now: world.now(),
        is_late: &|| false,
    })
    .await
    .unwrap()
}

async fn clean_up(world: &World, with_records: bool, wanted: Wanted) {
    for _ in 0..10 {
        if clean(world, with_records, wanted).await.done {
            return;
        }
        world.pass(60).await;
    }
    panic!("no end: {:?}", world.cloud.resources());
}

const ALL_TRIALS: Wanted = Wanted {
    all_trials: true,
    unknown_live: false,
    grace_seconds: 0,
};

#[tokio::test]
async fn in_mode_plan_a_smoke_run_is_refused_before_any_change() {
    let world = trying(Mode::Plan).await;

    let refused = begin(&world, &order(Role::Ingress)).await.unwrap_err();

    assert!(
        refused.to_string().contains("set it to 'smoke' first"),
        "{refused}"
    );
    assert!(
        world
            .cloud
            .requests()
            .iter()
            .all(|request| request.method == "GET")
    );
    assert_eq!(world.nodes().await, []);
}

#[tokio::test]
async fn a_trial_is_made_proved_and_removed_and_its_evidence_says_so() {
    for role in [Role::Ingress, Role::Egress] {
        let world = trying(Mode::Smoke).await;
        let started_at = world.now();
        let id = begin(&world, &order(role)).await.unwrap();

        let steps = finish(&world, &id).await;

        let last = steps.last().unwrap();
        assert_eq!(last.outcome, Outcome::Proved);
        assert_eq!(last.node.stage, Stage::Absent);
        assert_eq!(world.cloud.resources(), [""; 0]);
        assert_eq!(
            clean(&world, false, ALL_TRIALS).await,
            Cleaned {
                done: true,
                ..Cleaned::default()
            }
        );

        let against = Against {
            providers: vec![hetzner()],
            live: false,
            base_url: "http://sim/v1".to_owned(),
        };
        let network = world.network().clone();
        let mut evidence = Evidence::new(What::Smoke, network, against, started_at, world.now());
        for smoke in &steps {
            evidence.add_smoke(smoke);
        }
        let provider = world.provider();
        let listing = Listing::read(provider.as_ref(), world.network(), world.now()).await;
        evidence.lists.push(listing.unwrap());
        let drawer = Drawer::default();
        evidence.keep(&drawer).await.unwrap();

        let kept = drawer.0.lock().unwrap();
        let (name, text) = &kept[0];
        assert!(name.ends_with("Z-smoke-hetzner.json"), "{name}");
        let read: Evidence = serde_json::from_str(text).unwrap();
        assert_eq!(read, evidence);
        let kinds = |all: &[control::fleet::Resource]| -> Vec<ResourceKind> {
            all.iter().map(|resource| resource.kind).collect()
        };
        assert_eq!(kinds(&read.created), [Address, Firewall, Server]);
        assert_eq!(kinds(&read.deleted), [Server, Address, Firewall]);
        assert_eq!((read.gone, read.outcome.as_str()), (vec![id], "proved"));
        assert_eq!(read.lists[0].resources, [""; 0]);
        assert!(!text.contains("sim-token") && !text.contains("POSTERN_TOKEN"));
    }
}

/// Keeps evidence in memory.
#[derive(Default)]
struct Drawer(Mutex<Vec<(String, String)>>);

#[async_trait]
impl Archive for Drawer {
    async fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let text = String::from_utf8(bytes.to_vec()).unwrap();
        self.0.lock().unwrap().push((name.to_owned(), text));
        Ok(())
    }
}

#[tokio::test]
async fn a_trial_whose_node_never_registers_fails_and_leaves_nothing() {
    let world = trying(Mode::Smoke).await;
    *world.machines.dumb.lock().unwrap() = true;
    let id = begin(&world, &order(Role::Ingress)).await.unwrap();

    let steps = finish(&world, &id).await;

    let Outcome::Failed(why) = &steps.last().unwrap().outcome else {
        panic!("{steps:?}");
    };
    assert!(why.contains("did not come into service"), "{why}");
    assert_eq!(world.cloud.resources(), [""; 0]);
}

#[tokio::test]
async fn what_was_sold_out_for_a_trial_is_passed_over_by_the_next() {
    let world = trying(Mode::Smoke).await;
    let of_servers = |asked: &Asked<'_>| asked.is_change && asked.path == "/servers";
    world
        .cloud
        .inject(Rule::times(1, Fault::sold_out(), of_servers));
    let mut order = order(Role::Ingress);
    order.sizes.push("cx33".parse().unwrap());
    let first = begin(&world, &order).await.unwrap();
    let outcome = finish(&world, &first).await.pop().unwrap().outcome;
    assert!(matches!(outcome, Outcome::Failed(_)), "{outcome:?}");

    let second = begin(&world, &order).await.unwrap();
    let other = SmokeOrder {
        sizes: vec!["cx23".parse().unwrap()],
        ..order
    };
    let refused = begin(&world, &other).await.unwrap_err();
    let done = finish(&world, &second).await.pop().unwrap();

    assert!(refused.to_string().contains("cx33 in fsn1"), "{refused}");
    assert_eq!(done.outcome, Outcome::Proved);
    assert_eq!(done.node.place.size.as_str(), "cx33");
}

#[tokio::test]
async fn one_trial_of_a_role_at_a_time_and_within_what_it_may_cost() {
    let world = trying(Mode::Smoke).await;
    let id = begin(&world, &order(Role::Ingress)).await.unwrap();
    assert_eq!(begin(&world, &order(Role::Ingress)).await.unwrap(), id);
    assert_ne!(begin(&world, &order(Role::Egress)).await.unwrap(), id);

    world
        .cloud
        .shop(|shop| shop.offer("cx23", "fsn1").price.hour = 60_000);
    finish(&world, &id).await;
    let refused = begin(&world, &order(Role::Ingress)).await.unwrap_err();
    assert!(
        refused.to_string().contains("a smoke run may cost 0.05"),
        "{refused}"
    );
}

/// A world with a trial that was killed at one of its calls, if it got so far.
async fn killed(at: usize, act: Act) -> (World, bool) {
    let world = trying(Mode::Smoke).await;
    let dead = (at + 1..at + 500).map(|number| (number, Act::FailBefore));
    let board = Board::new(|_| true, dead.chain([(at, act)]));
    let begun = with_run(&world, Some(&board), async |run| {
        smoke::begin(run, &operator(), &order(Role::Ingress)).await
    });
    let mut alive = begun.await;
    for _ in 0..20 {
        let Ok(id) = &alive else { break };
        let id = id.clone();
        world.pass(60).await;
        let stepped = with_run(&world, Some(&board), async |run| {
            smoke::step(run, &id).await
        });
        alive = match stepped.await {
            Ok(smoke) if smoke.outcome != Outcome::Running => return (world, false),
            Ok(_) => Ok(id),
            Err(error) => Err(error),
        };
    }
    (world, true)
}

#[tokio::test]
async fn killed_anywhere_clean_up_alone_removes_all_of_ours_and_nothing_else() {
    let mut points = 0;
    for at in 0.. {
        let (mut world, was_killed) = killed(at, Act::FailAfter).await;
        if !was_killed {
            break;
        }
        points += 1;
        let provider = world.provider();
        for (name, network) in [("another-network", "n-zzzzzzzz"), ("nobody", "")] {
            let mut labels = model::provider::Labels::new();
            if !network.is_empty() {
                labels.insert("postern-network".to_owned(), network.to_owned());
                labels.insert("postern-mode".to_owned(), "smoke".to_owned());
            }
            let new = NewAddress {
                name: name.to_owned(),
                region: "fsn1".parse().unwrap(),
                family: providers::Family::Ipv4,
                labels,
            };
            provider.create_address(&new).await.unwrap();
        }
        // The database is lost.
        world.control = common::Stage::memory();

        clean_up(&world, at % 2 == 0, ALL_TRIALS).await;

        let mut left = world.cloud.resources();
        left.sort();
        let others = ["primary_ip another-network", "primary_ip nobody"];
        assert_eq!(left, others, "killed at {at}");
    }
    assert!(points > 60, "{points}");
}

#[tokio::test]
async fn killed_anywhere_a_trial_is_gone_on_with_by_whoever_begins_it_again() {
    for at in 0.. {
        let (world, was_killed) = killed(at, Act::FailAfter).await;
        if !was_killed {
            break;
        }
        world.pass(60).await;
        let there = world.there().await.len();
        let id = begin(&world, &order(Role::Ingress)).await.unwrap();

        let steps = finish(&world, &id).await;

        let shown = format!("killed at {at}");
        assert_eq!(steps.last().unwrap().outcome, Outcome::Proved, "{shown}");
        assert_eq!(world.cloud.resources(), [""; 0], "{shown}");
        world.assert_nothing_leaked(&shown).await;
        let was_over = usize::from(there == 0 && world.nodes().await.len() == 2);
        assert_eq!(world.nodes().await.len(), 1 + was_over, "{shown}");
    }
}

#[tokio::test]
async fn a_trial_that_expired_is_cleaned_up_and_its_record_follows() {
    let (world, _) = killed(30, Act::FailBefore).await;
    assert!(!world.cloud.resources().is_empty());
    let provider = world.provider();
    let dry = Cleanup {
        network: world.network(),
        provider: provider.as_ref(),
        records: Some(world.context()),
        actor: operator(),
        wanted: ALL_TRIALS,
        dry_run: true,
        now: world.now(),
        is_late: &|| false,
    };
    let shown = cleanup(&dry).await.unwrap();
    assert!(!shown.removals.is_empty() && shown.deleted.is_empty());
    let unasked = Cleanup {
        wanted: Wanted::default(),
        dry_run: false,
        ..dry
    };
    assert_eq!(cleanup(&unasked).await.unwrap().removals, []);

    *world.machines.dumb.lock().unwrap() = true;
    world.cloud.advance(SignedDuration::from_hours(2));
    clean_up(&world, true, Wanted::default()).await;

    assert_eq!(world.cloud.resources(), [""; 0]);
    world.settle().await;
    assert!(
        world
            .nodes()
            .await
            .iter()
            .all(|node| node.stage == Stage::Absent)
    );
}

#[tokio::test]
async fn a_clean_up_that_dies_at_any_call_is_gone_on_with() {
    for act in [Act::FailBefore, Act::FailAfter] {
        for at in 0..12 {
            let (world, _) = killed(36, Act::FailBefore).await;
            let there = world.cloud.resources().len();
            let dead = (at + 1..at + 100).map(|number| (number, Act::FailBefore));
            let board = Board::new(|_| true, dead.chain([(at, act)]));
            for _ in 0..4 {
                let meter = Arc::new(Meter::new(u32::MAX));
                let (_, provider) = world.means(&meter, Some(&board));
                let run = Cleanup {
                    network: world.network(),
                    provider: provider.as_ref(),
                    records: None,
                    actor: operator(),
                    wanted: ALL_TRIALS,
                    dry_run: false,
                    now: world.now(),
                    is_late: &|| false,
                };
                cleanup(&run).await.unwrap();
                world.pass(60).await;
            }

            clean_up(&world, false, ALL_TRIALS).await;

            assert!(there > 0);
            assert_eq!(world.cloud.resources(), [""; 0], "{act:?} at {at}");
        }
    }
}

#[tokio::test]
async fn a_live_fleet_whose_database_was_lost_is_not_cleaned_up_unasked() {
    let mut world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 2)])).await;
    world.settle().await;
    let there = world.cloud.resources();

    clean_up(
        &world,
        true,
        Wanted {
            unknown_live: true,
            ..ALL_TRIALS
        },
    )
    .await;
    assert_eq!(
        world.cloud.resources(),
        there,
        "its records say that it is in use"
    );

    world.control = common::Stage::memory();
    clean_up(&world, true, ALL_TRIALS).await;
    assert_eq!(world.cloud.resources(), there, "nobody asked for it");

    let all = Wanted {
        unknown_live: true,
        ..ALL_TRIALS
    };
    clean_up(&world, true, all).await;
    assert_eq!(world.cloud.resources(), there, "the mode is 'plan'");
    let today = control::audit::day_of(world.now());
    let events = async || {
        let context = world.context();
        let (events, _) = control::audit::list(&context, today, None).await.unwrap();
        events
            .into_iter()
            .filter(|event| event.action == "provider.cleanup")
            .collect::<Vec<_>>()
    };
    assert_eq!(events().await, []);

    world.set_mode(Mode::Live).await;
    clean_up(&world, true, all).await;
    assert_eq!(world.cloud.resources(), [""; 0]);
    let events = events().await;
    assert!(events.iter().all(|event| event.actor == operator()));
    assert!(
        events
            .iter()
            .any(|event| event.detail.contains("server postern-")),
        "{events:?}"
    );
}
