//! What comes next for one node: one thing at a time, from its record and from what its provider
//! shows under its name.
//!
//! A record's stage says what is about to be done, so the thing is done only if it is not there yet;
//! whoever died in between finds it done and notes that. Nothing of another's is adopted or touched:
//! where labels do not agree, an operator must look.

use jiff::{SignedDuration, Timestamp};
use model::provider::{Address, ResourceId, ResourceKind, Server, ServerStatus};
use model::{Gateway, GatewayState, Mode, NetworkId, Node, ProviderName, Stage};

use super::{REGISTRATION_SECONDS, labels};

/// What a decision is made of.
#[derive(Clone, Copy)]
pub struct Sight<'a> {
    /// Whose it is.
    pub network: &'a NetworkId,
    /// The record.
    pub node: &'a Node,
    /// Its gateway's record.
    pub gateway: Option<&'a Gateway>,
    /// When the gateway was last heard of.
    pub seen_at: Option<Timestamp>,
    /// The server of its name.
    pub server: Option<&'a Server>,
    /// The address of its name.
    pub address: Option<&'a Address>,
    /// Whether that was just now.
    pub is_heard: bool,
    /// For how long a gateway that leaves still serves its devices, in seconds.
    pub drain_seconds: u32,
    /// The time.
    pub now: Timestamp,
}

/// What comes next.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Next {
    /// Nothing, until something happens.
    Wait,
    /// Rent its address.
    RentAddress,
    /// Rent its server.
    RentServer,
    /// Write down that it is at this stage.
    Note(Stage),
    /// Write down that it leaves, without draining, and why.
    Leave {
        /// Why.
        why: String,
    },
    /// Switch its server off.
    PowerOff(ResourceId),
    /// Take its address from its server.
    Release(ResourceId),
    /// Delete one of its resources.
    Delete(ResourceKind, ResourceId),
    /// Nothing: an operator must look.
    Stuck(String),
}

/// Decides what comes next.
pub fn next(sight: Sight<'_>) -> Next {
    if let Some(why) = not_ours(sight) {
        return Next::Stuck(why);
    }
    if sight.node.mode == Mode::Smoke
        && !sight.node.stage.is_leaving()
        && let Some(next) = trial(sight)
    {
        return next;
    }
    match sight.node.stage {
        Stage::Intent if sight.address.is_some() => Next::Note(Stage::Address),
        Stage::Intent => Next::RentAddress,
        Stage::Address if sight.server.is_some() => Next::Note(Stage::Server),
        Stage::Address => match sight.address {
            Some(_) => Next::RentServer,
            None => Next::Leave {
                why: "its provider does not list its address any more".to_owned(),
            },
        },
        Stage::Server | Stage::Registered | Stage::Active => coming(sight),
        Stage::Draining => draining(sight),
        Stage::Drained => drained(sight),
        Stage::Off => off(sight),
        Stage::Released | Stage::Deleted => deleting(sight),
        Stage::Absent => Next::Wait,
    }
}

/// By how much the clock of a provider may be behind the one that wrote a record.
const CLOCKS: SignedDuration = SignedDuration::from_mins(5);

/// Whether something was there before the intent of a node that has adopted nothing yet: another made
/// it, even if its labels say the node's id, as after a database was lost.
pub(super) fn is_older(node: &Node, made: Option<Timestamp>) -> bool {
    node.stage <= Stage::Address && made.is_some_and(|made| made + CLOCKS < node.created_at)
}

/// What is said of that.
pub(super) fn older_than_its_record(
    kind: ResourceKind,
    name: &str,
    provider: &ProviderName,
) -> String {
    format!(
        "the {kind} {name} is older than the record of its node, so another record made it: if the \
         database was lost, restore it; else delete the {kind} at {provider}"
    )
}

/// What has the node's name and is somebody else's.
fn not_ours(sight: Sight<'_>) -> Option<String> {
    let Sight { network, node, .. } = sight;
    let name = labels::node_name(network, &node.gateway);
    let server_made = sight.server.and_then(|server| server.created_at);
    let address_made = sight.address.and_then(|address| address.created_at);
    let made = [
        (ResourceKind::Server, server_made),
        (ResourceKind::Address, address_made),
    ];
    if let Some((kind, _)) = made.iter().find(|(_, made)| is_older(node, *made)) {
        return Some(older_than_its_record(*kind, &name, &node.provider));
    }
    let server = sight
        .server
        .map(|server| (ResourceKind::Server, &server.labels));
    let address = sight
        .address
        .map(|address| (ResourceKind::Address, &address.labels));
    let (kind, _) = server
        .into_iter()
        .chain(address)
        .find(|(_, there)| !labels::agree(network, node, there))?;
    Some(format!(
        "there is another {kind} called {name}, whose labels do not agree: rename it or delete it at {}",
        node.provider
    ))
}

/// How a trial ends: as soon as its gateway is well, or when its time is over.
fn trial(sight: Sight<'_>) -> Option<Next> {
    let Sight { node, now, .. } = sight;
    if node.stage == Stage::Active {
        return Some(Next::Leave {
            why: "its gateway came into service".to_owned(),
        });
    }
    let over = node.expires_at.is_none_or(|at| at <= now);
    let limit = SignedDuration::from_secs(i64::from(REGISTRATION_SECONDS));
    let late = node.server_at.is_some_and(|made| made + limit <= now);
    (over || late).then(|| Next::Leave {
        why: "its gateway did not come into service in time".to_owned(),
    })
}

/// A node whose server is there: its stage follows its gateway's state.
fn coming(sight: Sight<'_>) -> Next {
    use GatewayState::{Active, Registered, Unhealthy};
    let Some(gateway) = sight.gateway else {
        return Next::Wait;
    };
    // A trial is in no catalog: a heartbeat is all that can be asked of it.
    let heard = sight.node.mode == Mode::Smoke && sight.seen_at.is_some();
    let reached = match gateway.state {
        Active | Unhealthy => Stage::Active,
        Registered if heard => Stage::Active,
        Registered => Stage::Registered,
        _ => return Next::Wait,
    };
    if reached > sight.node.stage {
        return Next::Note(reached);
    }
    Next::Wait
}

fn draining(sight: Sight<'_>) -> Next {
    match sight.gateway.map(|gateway| gateway.state) {
        Some(GatewayState::Active) => Next::Note(Stage::Active),
        Some(GatewayState::Draining) => {
            let drain = SignedDuration::from_secs(i64::from(sight.drain_seconds));
            if sight.node.changed_at + drain <= sight.now {
                Next::Note(Stage::Drained)
            } else {
                Next::Wait
            }
        }
        _ => Next::Note(Stage::Drained),
    }
}

fn drained(sight: Sight<'_>) -> Next {
    match sight.server {
        Some(server) if server.status == ServerStatus::Deleting => Next::Wait,
        Some(server) if server.status != ServerStatus::Off => Next::PowerOff(server.id.clone()),
        None if sight.is_heard => Next::Stuck(
            "its provider shows no server of its name, and its gateway is heard: see whether the token \
             is that of another project"
                .to_owned(),
        ),
        _ => Next::Note(Stage::Off),
    }
}

fn off(sight: Sight<'_>) -> Next {
    match sight.address {
        Some(address) if address.server.is_some() => Next::Release(address.id.clone()),
        _ => Next::Note(Stage::Released),
    }
}

/// The server first: an address that is somebody's cannot be deleted.
fn deleting(sight: Sight<'_>) -> Next {
    match (sight.server, sight.address) {
        (Some(server), _) if server.status == ServerStatus::Deleting => Next::Wait,
        (Some(server), _) => Next::Delete(ResourceKind::Server, server.id.clone()),
        (None, Some(address)) => Next::Delete(ResourceKind::Address, address.id.clone()),
        (None, None) if sight.node.stage == Stage::Released => Next::Note(Stage::Deleted),
        (None, None) => Next::Note(Stage::Absent),
    }
}

#[cfg(test)]
mod tests {
    use model::provider::Labels;
    use proptest::prelude::*;

    use super::*;
    use crate::planning::fixture::{NOW, address, gateway, network, node, server};

    const STAGES: [Stage; 11] = [
        Stage::Intent,
        Stage::Address,
        Stage::Server,
        Stage::Registered,
        Stage::Active,
        Stage::Draining,
        Stage::Drained,
        Stage::Off,
        Stage::Released,
        Stage::Deleted,
        Stage::Absent,
    ];

    fn sight<'a>(
        node: &'a Node,
        gateway: Option<&'a Gateway>,
        server: Option<&'a Server>,
        address: Option<&'a Address>,
    ) -> Sight<'a> {
        // The network is leaked once a test: a constant would have to be parsed.
        let network: &'static NetworkId = Box::leak(Box::new(network()));
        Sight {
            network,
            node,
            gateway,
            seen_at: None,
            is_heard: false,
            server,
            address,
            drain_seconds: 60,
            now: NOW,
        }
    }

    #[test]
    fn what_is_there_is_noted_and_not_rented_again() {
        let mut node = node("ingress", 1);
        node.stage = Stage::Intent;
        assert_eq!(next(sight(&node, None, None, None)), Next::RentAddress);
        let address = address(&node);
        let adopted = next(sight(&node, None, None, Some(&address)));
        assert_eq!(adopted, Next::Note(Stage::Address));

        node.stage = Stage::Address;
        let rent = next(sight(&node, None, None, Some(&address)));
        assert_eq!(rent, Next::RentServer);
        let server = server(&node);
        let adopted = next(sight(&node, None, Some(&server), Some(&address)));
        assert_eq!(adopted, Next::Note(Stage::Server));
    }

    #[test]
    fn what_is_not_ours_is_touched_at_no_stage() {
        for stage in STAGES {
            let mut node = node("ingress", 1);
            node.stage = stage;
            let (mut server, mut address) = (server(&node), address(&node));
            server.labels = Labels::new();
            let stuck = next(sight(&node, None, Some(&server), None));
            assert!(matches!(stuck, Next::Stuck(_)), "{stage}: {stuck:?}");
            address
                .labels
                .insert(labels::POOL.to_owned(), "other".to_owned());
            let stuck = next(sight(&node, None, None, Some(&address)));
            assert!(matches!(stuck, Next::Stuck(_)), "{stage}: {stuck:?}");
        }
    }

    #[test]
    fn what_is_older_than_the_intent_is_not_adopted_and_what_leaves_is_removed_however_old() {
        let mut node = node("ingress", 1);
        let (mut server, mut address) = (server(&node), address(&node));
        let older = Some(node.created_at - SignedDuration::from_secs(301));
        node.stage = Stage::Intent;
        address.created_at = older;
        let stuck = next(sight(&node, None, None, Some(&address)));
        assert!(
            matches!(&stuck, Next::Stuck(why) if why.contains("older")),
            "{stuck:?}"
        );
        address.created_at = Some(node.created_at - SignedDuration::from_secs(300));
        let adopted = next(sight(&node, None, None, Some(&address)));
        assert_eq!(adopted, Next::Note(Stage::Address));

        node.stage = Stage::Address;
        server.created_at = older;
        let stuck = next(sight(&node, None, Some(&server), Some(&address)));
        assert!(matches!(stuck, Next::Stuck(_)), "{stuck:?}");
        node.stage = Stage::Drained;
        let off = next(sight(&node, None, Some(&server), Some(&address)));
        assert!(matches!(off, Next::PowerOff(_)), "{off:?}");
    }

    #[test]
    fn a_server_that_nobody_shows_is_not_gone_while_its_gateway_is_heard() {
        let mut node = node("ingress", 1);
        node.stage = Stage::Drained;
        let unseen = sight(&node, None, None, None);
        let heard = Sight {
            is_heard: true,
            ..unseen
        };
        assert!(matches!(next(heard), Next::Stuck(why) if why.contains("another project")));
        assert_eq!(next(unseen), Next::Note(Stage::Off));
    }

    #[test]
    fn a_draining_gateway_has_its_time_and_an_operator_can_put_it_back() {
        let mut node = node("ingress", 1);
        node.stage = Stage::Draining;
        let mut gateway = gateway(&node, GatewayState::Draining);
        let after = |seconds| {
            let node = Node {
                changed_at: NOW - SignedDuration::from_secs(seconds),
                ..node.clone()
            };
            next(sight(&node, Some(&gateway), None, None))
        };
        assert_eq!(after(59), Next::Wait);
        assert_eq!(after(60), Next::Note(Stage::Drained));
        gateway.state = GatewayState::Active;
        let back = next(sight(&node, Some(&gateway), None, None));
        assert_eq!(back, Next::Note(Stage::Active));
    }

    #[test]
    fn a_node_is_gone_only_when_neither_of_its_resources_is_listed() {
        let mut node = node("ingress", 1);
        node.stage = Stage::Deleted;
        let (server, address) = (server(&node), address(&node));
        let both = [
            (Some(&server), Some(&address)),
            (Some(&server), None),
            (None, Some(&address)),
        ];
        for (server, address) in both {
            let again = next(sight(&node, None, server, address));
            assert!(matches!(again, Next::Delete(..)), "{again:?}");
        }
        let gone = next(sight(&node, None, None, None));
        assert_eq!(gone, Next::Note(Stage::Absent));
    }

    #[test]
    fn a_trial_ends_when_it_is_proved_and_when_its_time_is_over() {
        let mut node = node("smoke", 1);
        node.mode = Mode::Smoke;
        node.stage = Stage::Server;
        node.server_at = Some(NOW);
        node.expires_at = Some(NOW + SignedDuration::from_secs(1));
        let (server, address) = (server(&node), address(&node));
        let gateway = gateway(&node, GatewayState::Registered);
        let look = |node: &Node, seen_at| {
            next(Sight {
                seen_at,
                ..sight(node, Some(&gateway), Some(&server), Some(&address))
            })
        };
        assert_eq!(look(&node, None), Next::Note(Stage::Registered));
        assert_eq!(look(&node, Some(NOW)), Next::Note(Stage::Active));
        node.stage = Stage::Active;
        assert!(matches!(look(&node, Some(NOW)), Next::Leave { .. }));
        node.stage = Stage::Registered;
        assert_eq!(look(&node, None), Next::Wait);
        node.expires_at = Some(NOW);
        assert!(matches!(look(&node, None), Next::Leave { .. }));
    }

    proptest! {
        #[test]
        fn a_node_that_leaves_rents_nothing_and_one_that_stays_loses_nothing(
            stage in 0usize..11,
            there in (any::<bool>(), any::<bool>()),
            is_off in any::<bool>(),
            is_free in any::<bool>(),
        ) {
            let mut node = node("ingress", 1);
            node.stage = STAGES[stage];
            let (mut server, mut address) = (server(&node), address(&node));
            if is_off { server.status = ServerStatus::Off; }
            if is_free { address.server = None; }
            let server = there.0.then_some(&server);
            let address = there.1.then_some(&address);
            let next = next(sight(&node, None, server, address));
            let rents = matches!(next, Next::RentAddress | Next::RentServer);
            let takes = matches!(next, Next::PowerOff(_) | Next::Release(_) | Next::Delete(..));
            prop_assert!(!rents || !node.stage.is_leaving(), "{next:?}");
            prop_assert!(!takes || node.stage.is_leaving(), "{next:?}");
            prop_assert!(!rents || there != (true, true), "{next:?}");
            if let Next::Note(noted) = next {
                prop_assert!(noted > node.stage, "{noted}");
            }
        }
    }
}
