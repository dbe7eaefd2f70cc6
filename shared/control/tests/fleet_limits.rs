//! What bounds a fleet: a run's budget of calls, failures in a row, the signed limits, other runs, and
//! what others did to its resources.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::fleet::ApplyFleet;
use common::board::{Act, Board};
use common::fleets::{World, fleet_of, hetzner};
use common::operator;
use control::fleet::{Order, Report, desired};
use jiff::SignedDuration;
use model::provider::{Labels, ResourceKind};
use model::{GatewayState, Mode, Stage};
use providers::{Family, NewAddress, NewFirewall};
use rules::planning::labels;
use simcloud::{Asked, Fault, Rule};

/// What a run may spend on Workers' free plan, which the platform's own calls have a part of.
const FREE_PLAN: u32 = 46;

#[tokio::test]
async fn a_small_budget_gets_there_in_more_runs_and_is_never_overdrawn() {
    let pools = [
        ("ingress", "ingress", "fsn1", "cx23", 3),
        ("egress", "egress", "nbg1", "cx23", 2),
    ];
    let mut world = World::live(fleet_of(&pools)).await;
    world.calls = FREE_PLAN;
    let mut larger = pools;
    larger[0].3 = "cx33";
    let mut runs = Vec::new();
    for fleet in [fleet_of(&pools), fleet_of(&larger), fleet_of(&[])] {
        if runs.last().is_some() {
            world.want(fleet).await;
        }
        runs.push(until_done(&world).await);
        world.assert_nothing_leaked("within the budget").await;
    }

    let all = || runs.iter().flatten();
    assert!(all().all(|report| report.calls <= FREE_PLAN));
    assert!(
        all().any(|report| report.unfinished),
        "it is enough for all of it"
    );
    assert_eq!(world.cloud.resources(), [""; 0]);
}

async fn until_done(world: &World) -> Vec<Report> {
    let mut reports = Vec::new();
    for _ in 0..60 {
        let report = world.run(Order::Heal).await.unwrap();
        let is_done = report.under_way == 0 && !report.unfinished;
        reports.push(report);
        if is_done && world.plan().await.steps.is_empty() {
            return reports;
        }
        world.pass(60).await;
    }
    panic!("no end: {:?}", reports.last());
}

#[tokio::test]
async fn nodes_that_never_register_are_replaced_counted_and_then_left_off() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    *world.machines.dumb.lock().unwrap() = true;
    // Six hours.
    for _ in 0..72 {
        world.run(Order::Heal).await.unwrap();
        world.pass(300).await;
    }

    // Three in the first hour, and then after half an hour, one, two and four hours.
    let nodes = world.nodes().await.len();
    assert!((5..=7).contains(&nodes), "{nodes}");
    let plan = world.plan().await;
    let why = &plan.blocked[0].why;
    assert!(
        why.contains("nodes in a row never came into service"),
        "{why}"
    );
    let states = world.states().await;
    let failed = states
        .iter()
        .filter(|state| **state == GatewayState::Retired);
    assert!(failed.count() + 1 >= nodes);

    *world.machines.dumb.lock().unwrap() = false;
    for _ in 0..72 {
        world.run(Order::Heal).await.unwrap();
        world.pass(300).await;
    }
    world.assert_nothing_leaked("the agent works again").await;
    assert_eq!(world.there().await.len(), 1);
}

#[tokio::test]
async fn an_address_outside_the_signed_limits_is_given_back_and_the_plan_says_so() {
    let mut world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    world.boot.limits.gateway_networks = vec!["192.0.2.0/30".parse().unwrap()];
    for _ in 0..8 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let plan = world.plan().await;
    let why = &plan.blocked[0].why;
    assert!(
        why.contains("outside the networks of the signed limits"),
        "{why}"
    );
    assert_eq!(world.nodes().await.len(), 1);
    assert_eq!(world.cloud.bill().running().count(), 0);
    let servers = world
        .cloud
        .bill()
        .rents
        .iter()
        .filter(|rent| rent.kind == "server")
        .count();
    assert_eq!(servers, 0);
}

#[tokio::test]
async fn a_second_run_does_nothing_while_the_first_is_under_way() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 2)])).await;
    let world = Arc::new(world);
    // The first run is frozen at each of its calls in turn, while a second one comes.
    for at in 1..40 {
        let board = Board::new(|_| true, [(at, Act::Freeze)]);
        let first = {
            let (world, board) = (Arc::clone(&world), Arc::clone(&board));
            tokio::spawn(async move { world.run_through(Order::Heal, Some(&board)).await })
        };
        tokio::select! {
            () = board.until_frozen() => {
                let second = world.run(Order::Heal).await.unwrap();
                assert!(second.busy || board.calls().last().unwrap() == "store commit");
                board.thaw();
            }
            () = async { while !first.is_finished() { tokio::task::yield_now().await; } } => {}
        }
        first.await.unwrap().unwrap();
        world.pass(60).await;
        if board.calls().len() <= at {
            break;
        }
    }
    world.settle().await;
    world.assert_nothing_leaked("two runs").await;
    assert_eq!(world.nodes().await.len(), 2);
}

#[tokio::test]
async fn a_server_whose_labels_somebody_took_away_is_not_taken_for_gone() {
    let mut world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    world.settle().await;
    let provider = world.provider();
    let name = format!(
        "postern-{}-{}",
        world.network(),
        world.nodes().await[0].gateway
    );
    let server = provider.server(&name).await.unwrap().unwrap();
    let none = Labels::new();
    let label = provider.label(ResourceKind::Server, &server.id, &none);
    label.await.unwrap();

    world.want(fleet_of(&[])).await;
    for _ in 0..8 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let left = &world.nodes().await[0];
    assert!(!left.stage.is_over(), "{left:?}");
    let report = world.run(Order::Heal).await.unwrap();
    let troubles = report.troubles.join("; ");
    assert!(troubles.contains("whose labels do not agree"), "{troubles}");

    let labels = server.labels.clone();
    let label = provider.label(ResourceKind::Server, &server.id, &labels);
    label.await.unwrap();
    world.settle().await;
    world.assert_nothing_leaked("its labels are back").await;
}

#[tokio::test]
async fn what_somebody_deleted_is_made_anew_and_what_they_relabelled_is_put_right() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 2)])).await;
    world.settle().await;
    let provider = world.provider();
    let inventory = provider.inventory(world.network()).await.unwrap();
    let [gone, relabelled] = &inventory.servers[..] else {
        panic!("{inventory:?}");
    };
    provider
        .delete(ResourceKind::Server, &gone.id)
        .await
        .unwrap();
    let mut labels = relabelled.labels.clone();
    labels.remove("postern-mode");
    let label = provider.label(ResourceKind::Server, &relabelled.id, &labels);
    label.await.unwrap();
    world.pass(60).await;

    world.settle().await;

    world.assert_nothing_leaked("one was deleted").await;
    assert_eq!(world.there().await.len(), 2);
    let inventory = provider.inventory(world.network()).await.unwrap();
    let labels = inventory.servers.iter().map(|server| &server.labels);
    assert!(
        labels
            .clone()
            .all(|labels| labels.contains_key("postern-mode"))
    );
}

#[tokio::test]
async fn what_no_record_knows_is_removed_by_a_plan_that_says_so() {
    let mut world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    world.settle().await;
    world.control = common::Stage::memory();
    world.version = 0;
    world.set_mode(Mode::Live).await;
    world.want(fleet_of(&[])).await;
    world.pass(4000).await;
    assert_eq!(world.plan().await.steps, []);

    let provider = world.provider();
    let plan = control::fleet::plan(&world.context(), &[provider], true)
        .await
        .unwrap();
    assert_eq!(plan.steps.len(), 1);
    let apply = Order::Apply {
        hash: plan.hash,
        by: operator(),
        remove_unknown: true,
    };
    world.run(apply).await.unwrap();
    world.pass(60).await;
    world.settle().await;

    assert_eq!(world.cloud.resources(), [""; 0]);
    assert_eq!(world.nodes().await[0].stage, Stage::Absent);
}

#[tokio::test]
async fn a_fleet_takes_the_place_of_the_one_that_its_author_saw() {
    let world = World::new();
    let limits = &world.boot.limits;
    let request = |expected_version, count| ApplyFleet {
        expected_version,
        fleet: fleet_of(&[("ingress", "ingress", "fsn1", "cx23", count)]),
    };
    let by = common::fleets::owner();
    let apply = async |request| {
        world.cloud.advance(SignedDuration::from_secs(1));
        desired::apply(&world.context(), limits, &by, request).await
    };

    assert_eq!(apply(request(0, 1)).await.unwrap().version, 1);
    assert_eq!(
        apply(request(0, 1)).await.unwrap().version,
        1,
        "the same again"
    );
    let late = apply(request(0, 2)).await.unwrap_err();
    assert!(late.to_string().contains("version 1 is in force"), "{late}");
    assert_eq!(apply(request(1, 2)).await.unwrap().version, 2);

    let mut wrong = request(2, 2);
    wrong.fleet.most_changes = 0;
    let refused = apply(wrong).await.unwrap_err();
    assert!(refused.to_string().contains("most_changes"), "{refused}");
    let mut elsewhere = request(2, 2);
    for pool in elsewhere.fleet.pools.values_mut() {
        pool.cohorts = vec!["nowhere".parse().unwrap()];
    }
    let refused = apply(elsewhere).await.unwrap_err();
    assert!(
        refused.to_string().contains("no cohort 'nowhere'"),
        "{refused}"
    );
    assert_eq!(desired::show(&world.context()).await.unwrap().version, 2);
}

#[tokio::test]
async fn a_node_whose_server_waited_for_days_boots_with_a_token_that_is_good() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let of_servers = |asked: &Asked<'_>| asked.is_change && asked.path == "/servers";
    world
        .cloud
        .inject(Rule::times(1, Fault::unavailable(), of_servers));
    world.run(Order::Heal).await.unwrap();
    world.set_mode(Mode::Plan).await;
    world.cloud.advance(SignedDuration::from_hours(72));
    world.set_mode(Mode::Live).await;

    world.settle().await;

    let nodes = world.nodes().await;
    assert_eq!((nodes.len(), nodes[0].stage), (1, Stage::Active));
    world.assert_nothing_leaked("it waited").await;
}

#[tokio::test]
async fn what_lacks_something_that_does_not_come_is_given_up_with_its_address() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let name = format!("postern-{}-ingress-51820", world.network());
    let provider = world.provider();
    let theirs = NewFirewall {
        name,
        lets_in: BTreeSet::new(),
        labels: Labels::new(),
    };
    provider.create_firewall(&theirs).await.unwrap();

    for _ in 0..200 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let resources = world.cloud.resources();
    let addresses = resources.iter().filter(|one| one.starts_with("primary_ip"));
    let plan = world.plan().await;
    let alarms: Vec<_> = plan.blocked.iter().map(|one| one.why.as_str()).collect();
    assert!(
        addresses.count() == 0 && alarms[0].contains("is not as it should be"),
        "{resources:?} {alarms:?}"
    );
}

#[tokio::test]
async fn a_mode_taken_back_while_a_plan_is_made_stops_it() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let world = Arc::new(world);
    let is_commit = |name: &str| name == "store commit";
    let board = Board::new(is_commit, [(1, Act::Freeze)]);
    let run = {
        let (world, board) = (Arc::clone(&world), Arc::clone(&board));
        tokio::spawn(async move { world.run_through(Order::Heal, Some(&board)).await })
    };
    board.until_frozen().await;
    world.set_mode(Mode::Plan).await;
    board.thaw();

    let stopped = run.await.unwrap();

    assert!(stopped.is_err(), "{stopped:?}");
    assert_eq!(world.nodes().await, []);
    assert_eq!(world.provider().name(), hetzner());
}

#[tokio::test]
async fn a_stranger_of_the_same_name_is_neither_adopted_nor_touched() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let gateway = labels::node_id(world.network(), &"ingress".parse().unwrap(), 0);
    let new = NewAddress {
        name: labels::node_name(world.network(), &gateway),
        region: "fsn1".parse().unwrap(),
        family: Family::Ipv4,
        labels: Labels::new(),
    };
    let provider = world.provider();
    let stranger = provider.create_address(&new).await.unwrap().resource;
    for _ in 0..3 {
        world.run(Order::Heal).await.unwrap();
        world.pass(60).await;
    }

    let stuck = &world.nodes().await[0];
    assert_eq!((stuck.stage, &stuck.gateway), (Stage::Intent, &gateway));
    let why = stuck.last_error.as_deref().unwrap();
    assert!(why.contains("another address called"), "{why}");
    assert_eq!(
        world.cloud.resources(),
        [format!("primary_ip {}", new.name)]
    );

    let deleted = provider.delete(ResourceKind::Address, &stranger.id).await;
    deleted.unwrap();
    world.settle().await;
    assert_eq!(world.there().await[0].stage, Stage::Active);
}

#[tokio::test]
async fn a_node_that_is_refused_for_hours_is_given_up_with_its_address() {
    let world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let of_servers = |asked: &Asked<'_>| asked.is_change && asked.path == "/servers";
    world
        .cloud
        .inject(Rule::always(Fault::conflict(), of_servers));
    for _ in 0..100 {
        world.run(Order::Heal).await.unwrap();
        world.pass(120).await;
    }

    let nodes = world.nodes().await;
    let given_up = nodes
        .iter()
        .filter(|node| node.stage == Stage::Absent)
        .count();
    assert!((1..=3).contains(&given_up), "{nodes:?}");
    let why = nodes.iter().find_map(|node| node.leaving.clone()).unwrap();
    assert!(why.contains("conflict"), "{why}");

    world.cloud.heal();
    world.pass(3600).await;
    world.settle().await;
    world.assert_nothing_leaked("it takes servers again").await;
}

#[tokio::test]
async fn what_a_run_costs_is_what_the_page_says() {
    let mut world = World::live(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", 1)])).await;
    let mut costs = Vec::new();
    for count in [1, 0] {
        world
            .want(fleet_of(&[("ingress", "ingress", "fsn1", "cx23", count)]))
            .await;
        for _ in 0..12 {
            costs.push(world.run(Order::Heal).await.unwrap().calls);
            world.pass(121).await;
        }
    }

    // The first makes the node, with its firewall; then it is noted, and there is nothing to do.
    assert_eq!(costs[..4], [23, 15, 14, 14]);
    // It drains, is noted, is switched off, loses its address, is deleted, is gone, the firewall too.
    assert_eq!(costs[12..20], [15, 17, 17, 17, 19, 15, 14, 14]);
}
