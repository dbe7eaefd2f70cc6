//! Nodes and offers for tests and benches.

use jiff::{SignedDuration, Timestamp};
use model::provider::{
    Address, Family, Firewall, ImageOffer, Offers, Price, RegionOffer, ResourceId, Server,
    ServerStatus, SizeOffer,
};
use model::{Amount, Fleet, Gateway, GatewayState, Mode, NetworkId, Node, Place, Role, Stage};

use super::labels;

/// When all of it is.
pub const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

/// The network.
pub fn network() -> NetworkId {
    "n-abcdefgh".parse().expect("a constant, valid id")
}

fn name<T: std::str::FromStr<Err = model::Invalid>>(text: &str) -> T {
    text.parse().expect("a valid name")
}

/// An active ingress node in `fsn1`, a `cx23`, number `number` of the pool.
pub fn node(pool: &str, number: u64) -> Node {
    let pool = name(pool);
    let made = NOW - SignedDuration::from_secs(1000);
    Node {
        gateway: labels::node_id(&network(), &pool, number),
        pool,
        role: Role::Ingress,
        provider: name("hetzner"),
        place: Place {
            region: name("fsn1"),
            size: name("cx23"),
            image: name("debian-12"),
        },
        port: 51_820,
        cohorts: vec![name("default")],
        mode: Mode::Live,
        expires_at: None,
        stage: Stage::Active,
        changed_at: made,
        created_at: made,
        hints: model::node::Hints::default(),
        price: None,
        server_at: Some(made),
        proved_at: Some(made),
        leaving: None,
        tries: 0,
        not_before: None,
        last_error: None,
    }
}

/// The record of the node's gateway.
pub fn gateway(node: &Node, state: GatewayState) -> Gateway {
    Gateway {
        id: node.gateway.clone(),
        role: node.role,
        state,
        region: node.place.region.to_string(),
        endpoint: "192.0.2.1:51820"
            .parse()
            .expect("a constant, valid endpoint"),
        pool: node.pool.clone(),
        cohorts: node.cohorts.clone(),
        bootstrap: None,
        keys: None,
        previous: None,
        rotation_wanted_at: None,
        created_at: node.created_at,
        changed_at: node.created_at,
    }
}

fn id(what: &str, node: &Node) -> ResourceId {
    ResourceId(format!("{what}-{}", node.gateway))
}

/// The node's server, which runs.
pub fn server(node: &Node) -> Server {
    Server {
        id: id("server", node),
        name: labels::node_name(&network(), &node.gateway),
        labels: labels::of_node(&network(), node),
        status: ServerStatus::Running,
        region: Some(node.place.region.clone()),
        size: Some(node.place.size.clone()),
        image: Some(node.place.image.clone()),
        ipv4: None,
        ipv6: None,
        addresses: [id("address", node)].into(),
        created_at: Some(node.created_at),
    }
}

/// The node's address, which its server has.
pub fn address(node: &Node) -> Address {
    Address {
        id: id("address", node),
        name: labels::node_name(&network(), &node.gateway),
        labels: labels::of_node(&network(), node),
        ip: [192, 0, 2, 1].into(),
        region: Some(node.place.region.clone()),
        server: Some(id("server", node)),
        created_at: Some(node.created_at),
    }
}

/// The firewall of a role, before the nodes' servers.
pub fn firewall(role: Role, nodes: &[&Node]) -> Firewall {
    let name = labels::firewall_name(&network(), role, 51_820);
    Firewall {
        id: ResourceId(format!("id-{name}")),
        name,
        labels: labels::of_firewall(&network(), role),
        lets_in: std::collections::BTreeSet::new(),
        servers: nodes.iter().map(|node| id("server", node)).collect(),
    }
}

fn price(hour: u64, month: u64) -> Price {
    Price {
        hour: Amount(hour),
        month: Amount(month),
    }
}

/// `fsn1` and `nbg1`; `cx23` at 4.00 and `cx33` at 6.00 a month, addresses at 0.50; `cax11` is arm;
/// `debian-12` for both, `fedora` for x86.
pub fn offers() -> Offers {
    let offer = |hour, month| {
        let regions = ["fsn1", "nbg1"].map(|region| {
            let offer = RegionOffer {
                price: price(hour, month),
                available: true,
            };
            (name(region), offer)
        });
        regions.into()
    };
    let size = |architecture: &str, hour, month| SizeOffer {
        architecture: architecture.to_owned(),
        regions: offer(hour, month),
    };
    let image = |architectures: &[&str]| ImageOffer {
        architectures: architectures.iter().map(|&name| name.to_owned()).collect(),
    };
    let addresses = ["fsn1", "nbg1"].map(|region| (name(region), price(800, 500_000)));
    Offers {
        currency: "EUR".parse().expect("a constant, valid code"),
        regions: [name("fsn1"), name("nbg1")].into(),
        sizes: [
            (name("cx23"), size("x86", 6_000, 4_000_000)),
            (name("cx33"), size("x86", 9_000, 6_000_000)),
            (name("cax11"), size("arm", 5_000, 3_500_000)),
        ]
        .into(),
        images: [
            (name("debian-12"), image(&["x86", "arm"])),
            (name("fedora"), image(&["x86"])),
        ]
        .into(),
        addresses: [(Family::Ipv4, addresses.into())].into(),
    }
}

/// A fleet of `count` ingress gateways of `cx23` in `fsn1`, with `nbg1` and `cx33` to fall back on.
pub fn fleet(count: u32) -> Fleet {
    let fleet = serde_json::json!({
        "schema": Fleet::SCHEMA,
        "currency": "EUR",
        "most_per_month": "100000.00",
        "most_changes": 24,
        "agent": {"x86": {"url": "https://example.org/agent", "sha256": "ab".repeat(32)}},
        "pools": {"ingress": {
            "role": "ingress",
            "provider": "hetzner",
            "regions": ["fsn1", "nbg1"],
            "sizes": ["cx23", "cx33"],
            "image": "debian-12",
            "count": count,
            "cohorts": ["default"],
        }},
    });
    serde_json::from_value(fleet).expect("a constant, valid fleet")
}
