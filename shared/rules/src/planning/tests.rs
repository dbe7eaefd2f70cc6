use jiff::SignedDuration;
use model::provider::Labels;
use model::{Amount, GatewayState, Stage};
use proptest::prelude::*;

use super::fixture::{NOW, firewall, network, node};
use super::*;

mod world;

use world::World;

fn changes(plan: &Plan) -> Vec<&'static str> {
    plan.steps
        .iter()
        .map(|step| match &step.change {
            Change::Create { .. } => "create",
            Change::Drain { .. } => "drain",
            Change::Remove { failed: false, .. } => "remove",
            Change::Remove { failed: true, .. } => "remove failed",
            Change::Adopt { .. } => "adopt",
            Change::RemoveUnknown { .. } => "remove unknown",
            Change::DeleteFirewall { .. } => "delete firewall",
            Change::Relabel { .. } => "relabel",
            Change::Cohorts { .. } => "cohorts",
        })
        .collect()
}

fn gates(plan: &Plan) -> Vec<Gate> {
    plan.blocked.iter().map(|blocked| blocked.gate).collect()
}

#[test]
fn a_new_fleet_is_made_with_its_costs_and_a_fleet_that_is_there_is_left_alone() {
    let plan = World::new(3, 0).plan();
    assert_eq!(changes(&plan), ["create"; 3]);
    assert_eq!((plan.before.month.0, plan.after.month.0), (0, 13_500_000));
    assert_eq!(plan.blocked, []);

    let plan = World::new(3, 3).plan();
    assert_eq!(plan.steps, []);
    assert_eq!(plan.before, plan.after);
    assert_eq!(plan.before.month.0, 13_500_000);
}

#[test]
fn the_hash_is_of_what_is_done_and_not_of_the_moment() {
    let world = World::new(3, 1);
    let hash = |change: &dyn Fn(&mut World)| {
        let mut world = world.clone();
        change(&mut world);
        world.plan().hash
    };
    let shown = world.plan().hash;
    assert_eq!(
        hash(&|world| world.now += SignedDuration::from_secs(5)),
        shown
    );
    assert_eq!(hash(&|world| world.nodes.reverse()), shown);
    assert_ne!(hash(&|world| world.pool().count = 2), shown);
    assert_ne!(hash(&|world| world.pool().sizes.reverse()), shown);
    assert_ne!(
        hash(&|world| world.set_state(0, GatewayState::Retired)),
        shown
    );
    let dearer = |world: &mut World| {
        for size in world.offers.sizes.values_mut() {
            for region in size.regions.values_mut() {
                region.price.month = Amount(5_000_000);
            }
        }
    };
    assert_ne!(hash(&dearer), shown);
}

#[test]
fn fallbacks_are_taken_in_order() {
    let mut world = World::new(1, 0);
    let mut places = Vec::new();
    loop {
        let plan = world.plan();
        let Some(Change::Create { place, .. }) = plan.steps.first().map(|step| &step.change) else {
            assert_eq!(gates(&plan), [Gate::SoldOut]);
            break;
        };
        let sizes = &mut world.offers.sizes;
        let region = sizes
            .get_mut(&place.size)
            .unwrap()
            .regions
            .get_mut(&place.region);
        region.unwrap().available = false;
        places.push(format!("{} {}", place.region, place.size));
    }
    assert_eq!(places, ["fsn1 cx23", "fsn1 cx33", "nbg1 cx23", "nbg1 cx33"]);
}

#[test]
fn what_the_provider_does_not_have_is_refused_with_what_it_has() {
    let refused = |change: &dyn Fn(&mut World)| {
        let mut world = World::new(1, 0);
        change(&mut world);
        let plan = world.plan();
        assert_eq!(plan.steps, []);
        assert_eq!(plan.refusals().count(), 1);
        (plan.blocked[0].gate, plan.blocked[0].why.clone())
    };
    let (gate, why) = refused(&|world| world.pool().regions.push("moon1".parse().unwrap()));
    assert_eq!(gate, Gate::UnknownRegion);
    assert!(
        why.contains("'moon1'") && why.contains("fsn1, nbg1"),
        "{why}"
    );
    let (gate, why) = refused(&|world| world.pool().sizes.push("cx99".parse().unwrap()));
    assert_eq!(gate, Gate::UnknownSize);
    assert!(why.contains("cax11, cx23, cx33"), "{why}");
    let (gate, _) = refused(&|world| world.pool().image = "beos".parse().unwrap());
    assert_eq!(gate, Gate::Image);
    let arm = |world: &mut World| world.pool().sizes = vec!["cax11".parse().unwrap()];
    let (gate, why) = refused(&|world| {
        arm(world);
        world.pool().image = "fedora".parse().unwrap();
    });
    assert_eq!(gate, Gate::Architecture);
    assert!(why.contains("x86 alone"), "{why}");
    let (gate, why) = refused(&arm);
    assert_eq!(gate, Gate::Architecture);
    assert!(why.contains("no program"), "{why}");
    let (gate, _) = refused(&|world| world.offers.currency = "USD".parse().unwrap());
    assert_eq!(gate, Gate::Currency);
}

#[test]
fn the_spend_cap_counts_what_is_there_and_what_leaves_until_it_is_gone() {
    let mut world = World::new(3, 2);
    world.fleet.most_per_month = "13.50".parse().unwrap();
    assert_eq!(world.plan().refusals().count(), 0);
    world.fleet.most_per_month = "13.49".parse().unwrap();
    let plan = world.plan();
    assert_eq!(gates(&plan), [Gate::SpendCap]);
    assert!(
        plan.blocked[0].why.contains("13.50 EUR"),
        "{}",
        plan.blocked[0].why
    );
    assert_eq!(plan.free().count(), 0);

    world.fleet.most_per_month = "13.50".parse().unwrap();
    let mut leaving = node("ingress", 7);
    leaving.stage = Stage::Drained;
    world.nodes.push(leaving);
    world.list();
    assert_eq!(gates(&world.plan()), [Gate::SpendCap]);

    world.fleet.most_per_month = "100.00".parse().unwrap();
    world.pool().most_per_month = Some("17.99".parse().unwrap());
    assert_eq!(gates(&world.plan()), [Gate::SpendCap]);
    world.pool().most_per_month = Some("18.00".parse().unwrap());
    assert_eq!(gates(&world.plan()), []);
}

#[test]
fn more_than_the_most_changes_holds_all_of_them() {
    let mut world = World::new(5, 0);
    world.fleet.most_changes = 4;
    let plan = world.plan();
    assert_eq!((plan.steps.len(), plan.free().count()), (5, 0));
    assert_eq!(gates(&plan), [Gate::MostChanges]);
}

#[test]
fn without_an_approval_that_holds_every_step_is_shown_and_none_is_free() {
    let mut world = World::new(3, 1);
    world.policy.approval.as_mut().unwrap().expires_at = Some(NOW);
    let ended = world.plan();
    assert_eq!((ended.steps.len(), ended.free().count()), (2, 0));
    assert!(ended.blocked[0].why.contains("has ended"));
    for mode in [Mode::Plan, Mode::Smoke] {
        world.policy = ProviderPolicy {
            mode,
            ..ProviderPolicy::default()
        };
        let plan = world.plan();
        assert_eq!(plan.free().count(), 0);
        assert_eq!(gates(&plan), [Gate::Mode]);
        assert_eq!(plan.after.month.0, 13_500_000);
    }
}

#[test]
fn a_provider_that_cannot_be_read_is_left_alone() {
    let mut world = World::new(1, 3);
    world.set_state(0, GatewayState::Retired);
    world.inventory = None;
    let plan = world.plan();
    assert_eq!(plan.free().count(), 0);
    assert!(plan.steps.len() >= 2);
    assert_eq!(gates(&plan), [Gate::Provider]);
    assert_eq!(
        plan.before.month.0, 13_500_000,
        "as offered for the records"
    );
}

#[test]
fn a_node_that_never_registers_is_removed_counted_and_replaced() {
    let mut world = World::new(2, 2);
    world.nodes[0].stage = Stage::Server;
    world.nodes[0].server_at = Some(NOW - SignedDuration::from_secs(899));
    world.set_state(0, GatewayState::Provisioning);
    assert_eq!(world.plan().steps, []);

    world.now += SignedDuration::from_secs(1);
    assert_eq!(changes(&world.plan()), ["remove failed", "create"]);

    let state = world.pools.values_mut().next().unwrap();
    state.not_before = Some(world.now + SignedDuration::from_secs(1));
    let plan = world.plan();
    assert_eq!(changes(&plan), ["remove failed"]);
    assert_eq!(gates(&plan), [Gate::Failures]);
}

#[test]
fn a_server_that_is_gone_counts_as_a_failure_where_it_never_served() {
    for (stage, state, change) in [
        (Stage::Server, GatewayState::Provisioning, "remove failed"),
        (Stage::Active, GatewayState::Unhealthy, "remove"),
    ] {
        let mut world = World::new(3, 3);
        world.nodes[0].stage = stage;
        world.nodes[0].server_at = Some(NOW);
        world.set_state(0, state);
        let name = labels::node_name(&network(), &world.nodes[0].gateway);
        let listed = world.inventory.as_mut().unwrap();
        listed.servers.retain(|server| server.name != name);
        assert_eq!(changes(&world.plan()), [change, "create"], "{stage}");
        world.set_state(0, GatewayState::Active);
        assert_eq!(changes(&world.plan()), [""; 0], "silence is judged first");
    }
}

#[test]
fn of_an_accepted_fleet_more_than_the_most_changes_are_made_in_parts_what_ends_first() {
    let mut world = World::new(4, 4);
    world.fleet.most_changes = 5;
    for node in 0..4 {
        world.set_state(node, GatewayState::Retired);
    }
    let held = |plan: &Plan| {
        let held = plan.steps.iter().filter(|step| step.held.is_some());
        held.count()
    };
    let whole = world.plan();
    assert_eq!((held(&whole), gates(&whole)), (8, vec![Gate::MostChanges]));

    world.in_parts = true;
    let plan = world.plan();
    assert_eq!((held(&plan), gates(&plan)), (3, vec![Gate::Later]));
    let begun: Vec<_> = plan.free().map(|step| &step.change).collect();
    let ends = begun
        .iter()
        .filter(|change| matches!(change, Change::Remove { .. }));
    assert_eq!((begun.len(), ends.count()), (5, 4));
    assert_eq!(plan.refusals().count(), 0);
}

#[test]
fn one_that_registered_and_is_heard_is_not_at_fault_if_nobody_judges_it() {
    let mut world = World::new(2, 2);
    world.set_state(0, GatewayState::Registered);
    world.now += SignedDuration::from_hours(1);
    assert_eq!(changes(&world.plan()), ["remove failed", "create"]);
    world.heard.insert(world.nodes[0].gateway.clone());
    assert_eq!(changes(&world.plan()), [""; 0]);
}

#[test]
fn the_long_unhealthy_are_replaced_but_not_while_the_control_plane_suspects_itself() {
    let mut world = World::new(2, 2);
    world.set_state(0, GatewayState::Unhealthy);
    world.fleet.unhealthy_seconds = 1001;
    assert_eq!(world.plan().steps, []);
    world.fleet.unhealthy_seconds = 1000;
    assert_eq!(changes(&world.plan()), ["remove", "create"]);
    world.mass_silence = true;
    let plan = world.plan();
    assert_eq!(plan.steps, []);
    assert_eq!(gates(&plan), [Gate::MassSilence]);
}

#[test]
fn a_node_that_is_heard_is_not_gone_because_a_list_lacks_it() {
    let mut world = World::new(2, 2);
    world.inventory.as_mut().unwrap().servers.remove(0);
    world.heard.insert(world.nodes[0].gateway.clone());
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::Provider]));
    assert!(plan.blocked[0].why.contains("but it is alive"));
}

#[test]
fn a_list_that_lacks_more_than_a_third_and_two_is_not_believed() {
    let why = |there: u64, lacking: usize, change: &dyn Fn(&mut World)| {
        let mut world = World::new(1, there);
        world.inventory.as_mut().unwrap().servers.drain(..lacking);
        change(&mut world);
        let nodes = world.nodes.iter();
        let nodes = nodes.map(|node| (node, world.gateways.get(&node.gateway)));
        let inventory = world.inventory.as_ref().unwrap();
        let provider = "hetzner".parse().unwrap();
        disbelief(&super::fixture::network(), &provider, nodes, inventory)
    };
    let nothing = |_: &mut World| {};
    assert_eq!(why(1, 1, &nothing), None);
    assert_eq!(why(6, 2, &nothing), None);
    let said = why(5, 2, &nothing).unwrap();
    assert!(
        said.contains("lacks 2 of 5") && said.contains("another project"),
        "{said}"
    );
    let retired = |world: &mut World| world.set_state(0, GatewayState::Retired);
    assert_eq!(why(5, 2, &retired), None);
    let off = |world: &mut World| world.nodes[0].stage = Stage::Off;
    assert_eq!(why(5, 2, &off), None);
    let all_leave = |world: &mut World| {
        for (number, node) in world.nodes.iter_mut().enumerate() {
            node.stage = [Stage::Draining, Stage::Drained][number % 2];
            node.server_at = Some(NOW);
        }
    };
    assert!(why(3, 3, &all_leave).unwrap().contains("lacks 3 of 3"));
    let trial = |world: &mut World| world.nodes[0].mode = Mode::Smoke;
    assert_eq!(why(5, 2, &trial), None);
}

#[test]
fn what_carries_a_nodes_labels_under_another_name_costs_as_well() {
    let mut world = World::new(1, 1);
    let before = world.plan().before.month.0;
    let inventory = world.inventory.as_mut().unwrap();
    let mut copy = inventory.servers[0].clone();
    "a-copy".clone_into(&mut copy.name);
    inventory.servers.push(copy);
    let plan = world.plan();
    assert!(plan.before.month.0 > before, "{}", plan.before.month);
    assert_eq!(plan.unpriced, [""; 0]);
}

#[test]
fn what_leaves_is_paid_for_until_its_record_says_that_it_is_gone_even_if_no_list_shows_it() {
    let mut world = World::new(1, 2);
    world.nodes[0].stage = Stage::Off;
    let inventory = world.inventory.as_mut().unwrap();
    inventory.servers.remove(0);
    inventory.addresses.remove(0);
    assert_eq!(world.plan().before.month.0, 9_000_000);
    world.nodes[0].stage = Stage::Absent;
    assert_eq!(world.plan().before.month.0, 4_500_000);
}

#[test]
fn an_operator_s_drain_takes_the_node_along_and_a_new_one_comes() {
    let mut world = World::new(2, 2);
    world.set_state(1, GatewayState::Draining);
    assert_eq!(changes(&world.plan()), ["drain", "create"]);
}

#[test]
fn another_size_comes_first_and_the_old_one_drains_when_it_serves() {
    let mut world = World::new(2, 2);
    world.pool().sizes = vec!["cx33".parse().unwrap()];
    assert_eq!(changes(&world.plan()), ["create"]);
    world.step();
    assert_eq!(changes(&world.plan()), [""; 0], "it boots");
    world.step();
    assert_eq!(changes(&world.plan()), ["drain"]);
}

#[test]
fn unknown_live_resources_are_removed_only_if_that_is_asked_for_and_they_are_old() {
    let mut world = World::new(2, 3);
    let stranger = world.nodes.pop().unwrap();
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::Unknown]));
    assert!(plan.before.month.0 > 9_000_000, "it is paid for");

    world.remove_unknown = true;
    assert_eq!(
        gates(&world.plan()),
        [Gate::Unknown],
        "it is 1,000 seconds old"
    );
    world.now += SignedDuration::from_secs(2600);
    let plan = world.plan();
    assert_eq!(changes(&plan), ["remove unknown"]);
    assert_eq!(plan.after.month.0, 9_000_000);

    world.remove_unknown = false;
    world.nodes.push(Node {
        stage: Stage::Absent,
        ..stranger
    });
    assert_eq!(
        changes(&world.plan()),
        ["remove unknown"],
        "its record says that it is gone"
    );
}

#[test]
fn a_count_that_begins_anew_gives_no_id_out_twice() {
    let mut world = World::new(2, 3);
    let old: Vec<GatewayId> = world
        .nodes
        .iter()
        .map(|node| node.gateway.clone())
        .collect();
    world.nodes.clear();
    world.gateways.clear();
    world.pools.clear();
    // Of the second only the name is left, of the third only the address.
    let inventory = world.inventory.as_mut().unwrap();
    inventory.servers[1].labels = Labels::new();
    inventory.addresses.remove(1);
    inventory.servers.remove(2);

    let plan = world.plan();

    let made = plan.steps.iter().filter_map(|step| match &step.change {
        Change::Create { gateway, .. } => Some(gateway.clone()),
        _ => None,
    });
    let made: Vec<GatewayId> = made.collect();
    assert_eq!(made.len(), 2);
    assert!(made.iter().all(|id| !old.contains(id)), "{made:?}");
    assert_eq!(plan.hash, world.plan().hash);
}

#[test]
fn what_is_older_than_its_record_is_shown_and_not_adopted() {
    let mut world = World::new(1, 1);
    world.nodes[0].stage = Stage::Address;
    world.nodes[0].created_at = NOW;
    world.gateways.clear();
    let plan = world.plan();
    assert_eq!(
        (plan.steps.len(), gates(&plan)),
        (0, vec![Gate::NotOurs; 2])
    );
}

#[test]
fn labels_that_went_wrong_are_written_anew_or_shown() {
    let mut world = World::new(1, 1);
    let labels = &mut world.inventory.as_mut().unwrap().servers[0].labels;
    labels.remove(super::labels::MODE);
    assert_eq!(changes(&world.plan()), ["relabel"]);
    let labels = &mut world.inventory.as_mut().unwrap().servers[0].labels;
    labels.remove(super::labels::POOL);
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::NotOurs]));
}

#[test]
fn what_a_lost_answer_made_is_adopted_where_the_labels_agree() {
    let mut world = World::new(1, 1);
    world.nodes[0].stage = Stage::Address;
    world.gateways.clear();
    assert_eq!(changes(&world.plan()), ["adopt"]);
    world.inventory.as_mut().unwrap().servers[0].labels = Labels::new();
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::NotOurs]));
}

#[test]
fn the_last_firewall_of_a_role_goes_with_its_last_node() {
    let mut world = World::new(0, 1);
    assert_eq!(changes(&world.plan()), ["drain"]);
    world.nodes[0].stage = Stage::Absent;
    world.list();
    let left = firewall(Role::Ingress, &[]);
    world.inventory.as_mut().unwrap().firewalls.push(left);
    assert_eq!(changes(&world.plan()), ["delete firewall"]);
}

#[test]
fn a_trial_that_expired_goes_in_every_mode() {
    let mut world = World::new(0, 0);
    world.policy = ProviderPolicy::default();
    let mut trial = node("smoke", 1);
    trial.mode = Mode::Smoke;
    trial.expires_at = Some(NOW + SignedDuration::from_secs(1));
    world.nodes.push(trial);
    world.list();
    assert_eq!(changes(&world.plan()), [""; 0]);
    world.now += SignedDuration::from_secs(1);
    let plan = world.plan();
    assert_eq!(changes(&plan), ["remove"]);
    assert_eq!(plan.free().count(), 1);
}

#[test]
fn other_cohorts_are_written_in_place() {
    let mut world = World::new(1, 1);
    world.pool().cohorts = vec!["canary".parse().unwrap()];
    assert_eq!(changes(&world.plan()), ["cohorts"]);
}

#[test]
fn what_leaves_is_not_changed_otherwise_in_the_same_plan() {
    let mut world = World::new(1, 3);
    world.pool().cohorts = vec!["canary".parse().unwrap()];
    assert_eq!(changes(&world.plan()), ["drain", "drain", "cohorts"]);
}

#[test]
fn a_second_resource_of_one_name_is_shown() {
    let mut world = World::new(1, 1);
    let inventory = world.inventory.as_mut().unwrap();
    let mut second = inventory.servers[0].clone();
    second.id = model::provider::ResourceId("another".to_owned());
    second.created_at = Some(NOW);
    inventory.servers.insert(0, second);
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::NotOurs]));
}

#[test]
fn labels_on_something_of_another_name_are_not_believed() {
    let mut world = World::new(0, 1);
    world.nodes.clear();
    world.remove_unknown = true;
    world.now += SignedDuration::from_secs(10_000);
    let inventory = world.inventory.as_mut().unwrap();
    inventory.servers[0].name = "somebody-else-s".to_owned();
    inventory.addresses.clear();
    let plan = world.plan();
    assert_eq!((plan.steps.len(), gates(&plan)), (0, vec![Gate::NotOurs]));
}

proptest! {
    /// From any mixture of good, outdated and unhealthy nodes the plans lead to the fleet, with at
    /// most one node more than wanted (or than there was), and without taking out of service what
    /// is still needed.
    #[test]
    fn plans_lead_to_the_fleet_and_never_below_what_serves(
        want in 0u32..6,
        states in prop::collection::vec(0u8..4, 0..8),
    ) {
        let mut world = World::new(want, u64::try_from(states.len()).unwrap());
        for (number, state) in states.iter().enumerate() {
            match state {
                0 => {}
                1 => world.nodes[number].place.size = "cax11".parse().unwrap(),
                2 => world.set_state(number, GatewayState::Unhealthy),
                _ => {
                    world.nodes[number].place.size = "cax11".parse().unwrap();
                    world.set_state(number, GatewayState::Unhealthy);
                }
            }
        }
        world.fleet.unhealthy_seconds = 1000;
        world.list();
        let want = usize::try_from(want).unwrap();
        let most = world.members().max(want + 1);

        for round in 0.. {
            let before = world.serving();
            let done = world.step();
            prop_assert!(world.members() <= most);
            prop_assert!(world.serving() >= before.min(want), "{before} → {}", world.serving());
            if done == 0 {
                break;
            }
            prop_assert!(round < 40, "no end");
        }
        prop_assert_eq!(world.members(), want);
        prop_assert_eq!(world.serving(), want);
        let rest = world.plan();
        prop_assert!(rest.blocked.is_empty() && rest.before == rest.after, "{:?}", rest);
        let outdated = world.nodes.iter().any(|node| {
            !node.stage.is_leaving() && node.place.size.as_str() == "cax11"
        });
        prop_assert!(!outdated);
    }
}
