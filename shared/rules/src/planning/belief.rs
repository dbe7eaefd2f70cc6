//! When a provider's list is not believed.
//!
//! A list that was read is not yet a list of what is there: a token of another project reads well and
//! shows nothing, and so does one whose servers lost their labels. Whoever takes that for the truth
//! replaces a whole fleet that serves, and leaves it running and paid for.

use std::collections::BTreeSet;

use jiff::{SignedDuration, Timestamp};
use model::provider::Inventory;
use model::{Gateway, GatewayState, Mode, NetworkId, Node, ProviderName, Stage, Timing};

use super::labels;

/// Why a provider's list is not believed, if so: it lacks more than a third, and at least two, of the
/// live nodes whose servers should be on it. Those whose gateways an operator drains or retired are
/// not expected any more; those that leave by a plan are, until their servers were switched off.
pub fn disbelief<'a>(
    network: &NetworkId,
    provider: &ProviderName,
    nodes: impl Iterator<Item = (&'a Node, Option<&'a Gateway>)>,
    inventory: &Inventory,
) -> Option<String> {
    let listed: BTreeSet<&str> = inventory
        .servers
        .iter()
        .map(|server| server.name.as_str())
        .collect();
    let given_up = |gateway: &Gateway| {
        matches!(
            gateway.state,
            GatewayState::Draining
                | GatewayState::Drained
                | GatewayState::Retired
                | GatewayState::Failed
        )
    };
    let (mut expected, mut lacking) = (0_usize, 0_usize);
    for (node, gateway) in nodes {
        let stands = (Stage::Server..=Stage::Active).contains(&node.stage);
        let leaves = matches!(node.stage, Stage::Draining | Stage::Drained);
        let is_expected = match gateway {
            Some(gateway) if leaves => {
                node.server_at.is_some() && gateway.state != GatewayState::Retired
            }
            Some(gateway) => stands && !given_up(gateway),
            None => stands,
        };
        if node.provider != *provider || node.mode != Mode::Live || !is_expected {
            continue;
        }
        expected += 1;
        let name = labels::node_name(network, &node.gateway);
        lacking += usize::from(!listed.contains(name.as_str()));
    }
    (lacking >= 2 && lacking * 3 > expected).then(|| {
        format!(
            "its list lacks {lacking} of {expected} servers that should be on it, and is not believed: \
             nothing is changed there; see whether the token is that of another project and whether \
             labels were removed; if they are really gone, drain their gateways, and retire those that \
             drain already ('posternctl gateways drain ID', 'retire ID')"
        )
    })
}

/// Whether a gateway that was last heard at `seen_at` counts as alive.
pub fn alive(seen_at: Option<Timestamp>, timing: &Timing, now: Timestamp) -> bool {
    let silent = i64::from(timing.heartbeat) * i64::from(timing.missed_heartbeats);
    seen_at.is_some_and(|seen| now.duration_since(seen) <= SignedDuration::from_secs(silent))
}
