//! Planning a fleet of so many gateways, beside reading and writing its records as JSON once, which
//! no control plane can leave out.

use std::collections::BTreeMap;
use std::hint::black_box;

use model::provider::{Approval, Inventory};
use model::{Gateway, GatewayState, Mode, Node, ProviderPolicy, Role};
use rules::planning::fixture::{
    NOW, address, firewall, fleet, gateway, network, node, offers, server,
};
use rules::planning::{Input, Providing, plan};

use super::{median, ms, row};

/// Gateways that one plan may be about.
const COUNTS: [u64; 3] = [1_000, 3_000, 10_000];
/// Of so many gateways one is to be replaced.
const ONE_OF: u64 = 1_000;

pub fn run() {
    for count in COUNTS {
        run_with(count);
    }
}

fn run_with(count: u64) {
    let mut fleet = fleet(u32::try_from(count).expect("a bench's count is small"));
    fleet.most_per_month = "1000000.00".parse().expect("a constant, valid amount");
    // In the order of their ids, as the store and the provider's list give them.
    let mut made: Vec<Node> = (0..count).map(|number| node("ingress", number)).collect();
    made.sort_unstable_by(|a, b| a.gateway.cmp(&b.gateway));
    let records = serde_json::to_vec(&made).expect("records are plain data");
    let read =
        || -> Vec<Node> { serde_json::from_slice(&records).expect("they were just written") };
    let nodes = read();
    let gateways: BTreeMap<_, Gateway> = nodes
        .iter()
        .zip(0..)
        .map(|(node, number)| {
            let state = match number % ONE_OF {
                0 => GatewayState::Retired,
                _ => GatewayState::Active,
            };
            (node.gateway.clone(), gateway(node, state))
        })
        .collect();
    let all: Vec<&Node> = nodes.iter().collect();
    let inventory = Inventory {
        servers: nodes.iter().map(server).collect(),
        addresses: nodes.iter().map(address).collect(),
        firewalls: vec![firewall(Role::Ingress, &all)],
    };
    let offers = offers();
    let policy = live();
    let providing = Providing {
        policy: &policy,
        inventory: Ok(&inventory),
        offers: Ok(&offers),
    };
    let providers = BTreeMap::from([("hetzner".parse().expect("a valid name"), providing)]);
    let network = network();
    let pools = BTreeMap::new();
    let plan_anew = || {
        plan(&Input {
            network: &network,
            fleet: &fleet,
            fleet_version: 1,
            nodes: &nodes,
            gateways: &gateways,
            heard: &std::collections::BTreeSet::new(),
            pools: &pools,
            providers: &providers,
            mass_silence: false,
            remove_unknown: false,
            in_parts: false,
            now: NOW,
        })
    };
    let steps = plan_anew().steps.len();
    let dead = usize::try_from(count / ONE_OF).expect("a bench's count is small");
    assert_eq!(steps, dead * 2, "each that is dead is removed and replaced");

    let took = median(11, || drop(black_box(plan_anew())));
    let floor = median(11, || drop(black_box(read())));
    row(
        &format!("plan for {count} gateways, {steps} steps"),
        &ms(took),
        &format!("{} reading the nodes' records from JSON", ms(floor)),
    );
}

fn live() -> ProviderPolicy {
    let approval = Approval {
        by: format!("a-{}", "a".repeat(26)).parse().expect("a valid id"),
        at: NOW,
        reason: "a bench".to_owned(),
        expires_at: None,
    };
    ProviderPolicy {
        mode: Mode::Live,
        approval: Some(approval),
        ..ProviderPolicy::default()
    }
}
