//! Policies of a small world: two cohorts, three named tags and one that no rule names, two pools,
//! a handful of networks and ports. Small enough to be tried out whole, so that the clever parts
//! are held against the plain reading of the words.

use model::policy::PortRange;
use model::{GatewayState, TunnelKey};
use proptest::prelude::*;

use super::*;
use crate::health::tests::gateway as observed;
use crate::listing;

const COHORTS: [&str; 2] = ["default", "canary"];
const TAGS: [&str; 4] = ["staff", "press", "guest", "unnamed"];
const POOLS: [&str; 2] = ["near", "far"];
/// Every network that rules of the small world name, two halves of one among them.
const NETWORKS: [&str; 7] = [
    "0.0.0.0/0",
    "0.0.0.0/1",
    "128.0.0.0/1",
    "10.0.0.0/8",
    "::/0",
    "fd00::/8",
    "255.255.255.255/32",
];
const RANGES: [&str; 5] = ["1-65535", "1-79", "80", "81-65535", "443"];

fn pick<T: std::str::FromStr<Err: std::fmt::Debug> + std::fmt::Debug>(
    names: &'static [&'static str],
    most: usize,
) -> impl Strategy<Value = Vec<T>> {
    let names = prop::sample::subsequence(names.to_vec(), 0..=most);
    names.prop_map(|names| names.iter().map(|name| name.parse().unwrap()).collect())
}

fn effect() -> impl Strategy<Value = Effect> {
    prop_oneof![Just(Effect::Allow), Just(Effect::Deny)]
}

fn who() -> impl Strategy<Value = Who> {
    // No rule names the last tag.
    (pick(&COHORTS, 1), pick(&TAGS[..3], 1)).prop_map(|(cohorts, tags)| Who {
        cohorts: cohorts.into_iter().collect(),
        tags: tags.into_iter().collect(),
    })
}

fn ingress_rule() -> impl Strategy<Value = IngressRule> {
    (effect(), who(), pick(&POOLS, 1)).prop_map(|(effect, who, pools)| IngressRule {
        name: "named-later".parse().unwrap(),
        effect,
        who,
        pools: pools.into_iter().collect(),
    })
}

fn egress_rule() -> impl Strategy<Value = EgressRule> {
    let protocol = prop_oneof![
        Just(Protocol::Any),
        Just(Protocol::Tcp),
        Just(Protocol::Udp)
    ];
    let traffic = (pick(&NETWORKS, 3), pick(&RANGES, 2), protocol);
    (effect(), who(), pick(&POOLS, 1), traffic).prop_map(
        |(effect, who, pools, (to, ports, protocol))| EgressRule {
            name: "named-later".parse().unwrap(),
            effect,
            who,
            pools: pools.into_iter().collect(),
            to,
            ports,
            protocol,
        },
    )
}

fn policies() -> impl Strategy<Value = Policy> {
    let ingress = prop::collection::vec(ingress_rule(), 0..5);
    let egress = prop::collection::vec(egress_rule(), 0..7);
    (ingress, egress).prop_map(|(mut ingress, mut egress)| {
        for (n, rule) in ingress.iter_mut().enumerate() {
            rule.name = format!("in-{n}").parse().unwrap();
        }
        for (n, rule) in egress.iter_mut().enumerate() {
            rule.name = format!("out-{n}").parse().unwrap();
        }
        let schema = Policy::SCHEMA.to_owned();
        Policy {
            schema,
            ingress,
            egress,
            disclosure: model::Disclosure::default(),
        }
    })
}

#[derive(Debug)]
struct Asker {
    cohort: CohortName,
    tags: BTreeSet<Tag>,
}

impl Asker {
    fn subject(&self) -> Subject<'_> {
        Subject {
            cohort: &self.cohort,
            tags: &self.tags,
        }
    }
}

fn askers() -> impl Strategy<Value = Asker> {
    (prop::sample::select(&COHORTS[..]), pick(&TAGS, 4)).prop_map(|(cohort, tags)| Asker {
        cohort: cohort.parse().unwrap(),
        tags: tags.into_iter().collect(),
    })
}

fn pools() -> impl Strategy<Value = PoolName> {
    prop::sample::select(&POOLS[..]).prop_map(|pool| pool.parse().unwrap())
}

/// Every kind of destination that the small world's rules can tell apart.
fn destinations() -> Vec<Destination> {
    let addresses = [
        "0.0.0.0",
        "10.1.2.3",
        "11.0.0.0",
        "128.0.0.1",
        "255.255.255.255",
        "::1",
        "fd00::1",
        "2001:db8::1",
    ];
    let mut all = Vec::new();
    for address in addresses {
        for port in [1, 80, 81, 443, 444, 65535] {
            for transport in [Transport::Tcp, Transport::Udp] {
                let address = address.parse().unwrap();
                all.push(Destination {
                    address,
                    port,
                    transport,
                });
            }
        }
    }
    all
}

fn gateways() -> impl Strategy<Value = Vec<crate::health::Observed>> {
    let role = prop_oneof![Just(Role::Ingress), Just(Role::Egress)];
    let state = prop::sample::select(vec![
        GatewayState::Active,
        GatewayState::Draining,
        GatewayState::Unhealthy,
    ]);
    let one = (role, state, pools(), pick(&COHORTS, 2));
    prop::collection::vec(one, 0..8).prop_map(|all| {
        let gateways = all.into_iter().enumerate();
        let gateways = gateways.map(|(n, (role, state, pool, cohorts))| {
            let mut observed = observed(n, state, Some(1));
            observed.gateway.role = role;
            observed.gateway.pool = pool;
            observed.gateway.cohorts = cohorts;
            observed.gateway.keys = Some(model::gateway::GatewayKeys {
                identity: model::IdentityKey::from_bytes([1; 32]),
                tunnel: TunnelKey::from_bytes([2; 32]),
            });
            observed
        });
        gateways.collect()
    })
}

proptest! {
    #[test]
    fn a_device_s_catalog_lists_just_what_the_policy_allows_the_device(
        policy in policies(), asker in askers(), observed in gateways(),
    ) {
        let name = catalog_of(&policy, asker.subject());
        let listed = listing::list(&observed, &policy, &name, &std::collections::BTreeMap::new());
        for observed in &observed {
            let gateway = &observed.gateway;
            let is_listed = listed.iter().any(|listed| listed.id == gateway.id);
            let allowed = super::gateway(&policy, asker.subject(), gateway).allowed;
            prop_assert_eq!(is_listed, allowed && gateway.state == GatewayState::Active);
            prop_assert!(!is_listed || gateway.cohorts.contains(&asker.cohort));
        }
    }

    #[test]
    fn tags_that_no_rule_names_make_no_difference(
        policy in policies(), asker in askers(), pool in pools(),
    ) {
        let name = catalog_of(&policy, asker.subject());
        let (alike, subject) = (Subject::from(&name), asker.subject());
        prop_assert!(catalogs(&policy, &asker.cohort).contains(&name));
        prop_assert_eq!(ingress(&policy, alike, &pool), ingress(&policy, subject, &pool));
        prop_assert_eq!(
            egress_gateway(&policy, alike, &pool), egress_gateway(&policy, subject, &pool)
        );
        for to in destinations() {
            prop_assert_eq!(
                egress(&policy, alike, &pool, to), egress(&policy, subject, &pool, to)
            );
        }
    }

    #[test]
    fn an_egress_gateway_is_usable_exactly_if_some_destination_is(
        policy in policies(), asker in askers(), pool in pools(),
    ) {
        let verdict = egress_gateway(&policy, asker.subject(), &pool);
        let verdicts = destinations().into_iter()
            .map(|to| egress(&policy, asker.subject(), &pool, to));
        let allowing: BTreeSet<_> = verdicts.filter(|v| v.allowed).map(|v| v.rule).collect();
        prop_assert_eq!(verdict.allowed, !allowing.is_empty());
        prop_assert!(!verdict.allowed || allowing.contains(&verdict.rule));
    }

    #[test]
    fn the_rules_that_a_gateway_is_given_decide_as_the_policy_does(
        policy in policies(), asker in askers(), pool in pools(),
    ) {
        let rules = egress_rules(&policy, asker.subject(), &pool);
        for to in destinations() {
            prop_assert_eq!(among(&rules, to), egress(&policy, asker.subject(), &pool, to));
        }
    }

    #[test]
    fn the_rule_that_is_named_is_the_first_that_matches_and_decides_by_its_effect(
        policy in policies(), asker in askers(), pool in pools(),
    ) {
        let subject = asker.subject();
        let verdict = ingress(&policy, subject, &pool);
        let matching = policy.ingress.iter().find(|rule| {
            (rule.who.cohorts.is_empty() || rule.who.cohorts.contains(subject.cohort))
                && rule.who.tags.iter().all(|tag| subject.tags.contains(tag))
                && (rule.pools.is_empty() || rule.pools.contains(&pool))
        });
        prop_assert_eq!(&verdict.rule, &matching.map(|rule| rule.name.clone()));
        prop_assert_eq!(
            verdict.allowed, matching.is_some_and(|rule| rule.effect == Effect::Allow)
        );
        for to in destinations() {
            let verdict = egress(&policy, subject, &pool, to);
            let rule = policy.egress.iter().find(|rule| Some(&rule.name) == verdict.rule.as_ref());
            prop_assert_eq!(verdict.allowed, rule.is_some_and(|r| r.effect == Effect::Allow));
        }
    }
}

fn allowed(policy: &Policy, to: &str, transport: Transport) -> bool {
    let to: std::net::SocketAddr = to.parse().unwrap();
    let destination = Destination {
        address: to.ip(),
        port: to.port(),
        transport,
    };
    let (cohort, tags) = ("default".parse().unwrap(), BTreeSet::new());
    let subject = Subject {
        cohort: &cohort,
        tags: &tags,
    };
    egress(policy, subject, &"egress".parse().unwrap(), destination).allowed
}

#[test]
fn the_default_policy_leads_to_the_internet_and_neither_inward_nor_to_mail() {
    let policy = Policy::default();
    for to in [
        "192.0.2.1:443",
        "1.1.1.1:53",
        "[2001:db8::1]:443",
        "192.0.2.1:26",
    ] {
        assert!(allowed(&policy, to, Transport::Tcp), "{to}");
    }
    assert!(allowed(&policy, "192.0.2.1:25", Transport::Udp));
    let inward = [
        "10.0.0.1:80",
        "172.16.0.1:80",
        "172.31.255.255:80",
        "192.168.1.1:80",
        "100.64.0.17:80",
        "100.127.255.255:80",
        "169.254.169.254:80",
        "127.0.0.1:80",
        "0.0.0.0:80",
        "224.0.0.1:80",
        "255.255.255.255:80",
        "[::1]:80",
        "[::]:80",
        "[fe80::1]:80",
        "[fd00::1]:80",
        "[ff02::1]:80",
        "[::ffff:192.0.2.1]:80",
        "[::ffff:10.0.0.1]:80",
    ];
    for to in inward {
        assert!(!allowed(&policy, to, Transport::Tcp), "{to}");
        assert!(!allowed(&policy, to, Transport::Udp), "{to}");
    }
    for to in ["192.0.2.1:25", "192.0.2.1:465", "[2001:db8::1]:587"] {
        assert!(!allowed(&policy, to, Transport::Tcp), "{to}");
    }
}

#[test]
fn halves_that_deny_everything_together_close_a_gateway() {
    let rule = |name: &str, effect, to: &[&str], ports: &[&str]| EgressRule {
        name: name.parse().unwrap(),
        effect,
        who: Who::default(),
        pools: BTreeSet::new(),
        to: to.iter().map(|net| net.parse().unwrap()).collect(),
        ports: ports
            .iter()
            .map(|range| range.parse::<PortRange>().unwrap())
            .collect(),
        protocol: Protocol::Any,
    };
    let mut policy = Policy {
        egress: vec![
            rule("low", Effect::Deny, &["0.0.0.0/1"], &[]),
            rule("high", Effect::Deny, &["128.0.0.0/1", "::/0"], &["2-65535"]),
            rule("all", Effect::Allow, &[], &[]),
        ],
        ..Policy::default()
    };
    let (cohort, tags) = ("default".parse().unwrap(), BTreeSet::new());
    let subject = Subject {
        cohort: &cohort,
        tags: &tags,
    };
    let pool = "egress".parse().unwrap();
    assert!(
        egress_gateway(&policy, subject, &pool).allowed,
        "port 1 is open"
    );

    policy.egress[1].ports.push("1".parse().unwrap());

    assert_eq!(egress_gateway(&policy, subject, &pool), Verdict::NO_RULE);
}
