//! Which gateways a catalog lists.

use std::collections::BTreeMap;

use model::{CatalogGateway, CatalogName, GatewayId, GatewayState, Policy};

use crate::health::Observed;
use crate::policy;

/// Percent of capacity in one step of a catalog's load.
const STEP: i16 = 25;
/// How far the load must be from the listed step before it is listed anew. More than half a step:
/// a gateway at a step's edge does not change the catalog with every heartbeat.
const STICKY: i16 = 20;

/// The active gateways that the devices of the catalog `name` may use, ordered by id, as it lists
/// them. `listed` holds the loads that the last catalog gave.
pub fn list(
    observed: &[Observed],
    policy: &Policy,
    name: &CatalogName,
    listed: &BTreeMap<GatewayId, u8>,
) -> Vec<CatalogGateway> {
    let mut gateways: Vec<CatalogGateway> = observed
        .iter()
        .filter(|observed| observed.gateway.state == GatewayState::Active)
        .filter(|observed| policy::gateway(policy, name.into(), &observed.gateway).allowed)
        .filter_map(|observed| {
            let gateway = &observed.gateway;
            Some(CatalogGateway {
                id: gateway.id.clone(),
                role: gateway.role,
                region: gateway.region.clone(),
                endpoint: gateway.endpoint,
                tunnel_key: gateway.keys?.tunnel,
                load: coarse(observed.load, listed.get(&gateway.id).copied()),
            })
        })
        .collect();
    gateways.sort_unstable_by(|a, b| a.id.cmp(&b.id));
    gateways
}

/// The step nearest to `percent`, or the one that is listed while it is near enough.
fn coarse(percent: u8, listed: Option<u8>) -> u8 {
    let percent = i16::from(percent.min(100));
    let near = |listed: &u8| (percent - i16::from(*listed) * STEP).abs() <= STICKY;
    if let Some(listed) = listed.filter(near) {
        return listed;
    }
    u8::try_from((percent + STEP / 2) / STEP).expect("at most 100 percent are 4 steps")
}

#[cfg(test)]
mod tests {
    use model::gateway::GatewayKeys;
    use model::{IdentityKey, TunnelKey};

    use super::*;
    use crate::health::tests::gateway;

    fn with_keys(mut observed: Observed) -> Observed {
        observed.gateway.keys = Some(GatewayKeys {
            identity: IdentityKey::from_bytes([1; 32]),
            tunnel: TunnelKey::from_bytes([2; 32]),
        });
        observed
    }

    #[test]
    fn only_active_gateways_of_the_cohort_are_listed() {
        let mut elsewhere = with_keys(gateway(2, GatewayState::Active, Some(1)));
        elsewhere.gateway.cohorts = vec!["canary".parse().unwrap()];
        let observed = [
            with_keys(gateway(1, GatewayState::Active, Some(1))),
            elsewhere,
            with_keys(gateway(3, GatewayState::Draining, Some(1))),
            with_keys(gateway(0, GatewayState::Active, Some(1))),
        ];
        let name = "default".parse().unwrap();
        let listed = list(&observed, &Policy::default(), &name, &BTreeMap::new());
        let ids: Vec<_> = listed.iter().map(|gateway| gateway.id.as_str()).collect();
        assert_eq!(ids, ["g-0000", "g-0001"]);
    }

    #[test]
    fn a_load_at_a_step_s_edge_does_not_flicker() {
        assert_eq!(coarse(37, None), 1);
        assert_eq!(coarse(38, None), 2);
        assert_eq!(coarse(38, Some(1)), 1);
        assert_eq!(coarse(37, Some(2)), 2);
        assert_eq!(coarse(46, Some(1)), 2);
        assert_eq!(coarse(100, None), 4);
    }
}
