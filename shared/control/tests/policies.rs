//! The policy: applied by one at a time, kept for good, and followed by catalogs, rosters and
//! explanations alike.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Kind;
use api::admin::WantedState;
use api::policy::{ApplyPolicy, Asker, ExplainPolicy, Explanation, PolicyView, Through};
use common::nodes::{gateway_id, new_gateway};
use common::rosters::{Holder, policy};
use common::world::World;
use common::{START, Stage, after, device_id, exit_key, identity, kind, operator, tunnel_key};
use control::gateways::states;
use control::items::Read as _;
use control::{Error, devices, gateways, items, publish};
use model::policy::Transport;
use model::{Catalog, CatalogName, Policy, Role};
use proptest::prelude::*;
use rules::policy::{Destination, among};
use serde_json::{Value, json};

async fn apply(stage: &Stage, expected: u64, policy: &Policy) -> Result<PolicyView, Error> {
    let request = ApplyPolicy {
        expected_version: expected,
        policy: policy.clone(),
    };
    control::policy::apply(&stage.context(after(1)), &operator(), request).await
}

async fn show(stage: &Stage) -> PolicyView {
    control::policy::show(&stage.context(START)).await.unwrap()
}

/// A policy whose one ingress rule has this name.
fn named(name: &str) -> Policy {
    let ingress = json!([{"name": name, "effect": "allow"}]);
    policy(&ingress, &json!([]))
}

#[tokio::test]
async fn each_policy_takes_the_place_of_the_one_before_which_is_kept() {
    let stage = Stage::memory();
    let before = show(&stage).await;
    assert_eq!((before.version, before.applied_at), (0, None));
    assert_eq!(before.policy, Policy::default());

    let first = apply(&stage, 0, &named("first")).await.unwrap();
    let second = apply(&stage, 1, &named("second")).await.unwrap();

    assert_eq!((first.version, second.version), (1, 2));
    assert_eq!(show(&stage).await, second);
    let keys = [items::policy_version(1), items::policy_version(2)];
    let kept = stage.store.get_many(START, &keys).await.unwrap();
    let kept = kept
        .iter()
        .map(|item| item.as_ref().unwrap().read::<PolicyView>().unwrap());
    assert_eq!(kept.collect::<Vec<_>>(), [first, second]);
    assert_eq!(keys[0].sk, "v00000001");
    assert_eq!(stage.subjects("policy.applied").await, ["1", "2"]);
}

#[tokio::test]
async fn whoever_has_not_seen_the_policy_in_force_cannot_replace_it() {
    let stage = Stage::memory();
    apply(&stage, 0, &named("first")).await.unwrap();

    let refused = apply(&stage, 0, &named("second")).await.unwrap_err();

    let Error::Refused { kind, version, .. } = refused else {
        panic!("a refusal was expected, not {refused:?}")
    };
    assert_eq!((kind, version), (Kind::PolicyConflict, Some(1)));
    assert_eq!(show(&stage).await.policy, named("first"));
    assert_eq!(stage.subjects("policy.applied").await, ["1"]);
}

#[tokio::test]
async fn the_same_request_again_changes_nothing() {
    let stage = Stage::memory();
    let first = apply(&stage, 0, &named("first")).await.unwrap();

    let again = apply(&stage, 0, &named("first")).await.unwrap();
    let on_top = apply(&stage, 1, &named("first")).await.unwrap();

    assert_eq!((&again, &on_top), (&first, &first));
    assert_eq!(stage.subjects("policy.applied").await, ["1"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_16_at_once_over_one_version_one_is_applied() {
    for stage in Stage::of_each_kind(24) {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 0..16 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { apply(&stage, 0, &named(&format!("r-{number}"))).await });
        }

        let (applied, refused): (Vec<_>, Vec<_>) =
            tasks.join_all().await.into_iter().partition(Result::is_ok);

        assert_eq!((applied.len(), refused.len()), (1, 15));
        let kinds = refused
            .into_iter()
            .map(|refused| kind(refused.unwrap_err()));
        assert!(kinds.into_iter().all(|kind| kind == Kind::PolicyConflict));
        assert_eq!(Some(&show(&stage).await), applied[0].as_ref().ok());
        assert_eq!(stage.subjects("policy.applied").await, ["1"]);
    }
}

#[tokio::test]
async fn an_invalid_policy_is_refused_and_nothing_is_written() {
    let stage = Stage::memory();
    let mut twice = named("same");
    twice.ingress.push(twice.ingress[0].clone());

    let refused = apply(&stage, 0, &twice).await.unwrap_err();

    assert!(refused.to_string().contains("give each a name of its own"));
    assert_eq!(kind(refused), Kind::PolicyInvalid);
    assert_eq!(show(&stage).await.version, 0);
    assert!(stage.events().await.is_empty());
}

/// The catalogs that a mirror serves, with the ids of their gateways.
async fn served(world: &World, now: jiff::Timestamp) -> BTreeMap<String, Vec<String>> {
    let context = world.stage.context(now);
    let (head, _) = publish::show(&context).await.unwrap().unwrap();
    let files = world.mirrors[0].files();
    let mut catalogs = BTreeMap::new();
    for (name, pin) in head.catalogs {
        let path = &tuf::repository::target_paths(&name.path(), &pin.sha256)[0];
        let (mut catalog, mut skipped) =
            Catalog::from_json(str::from_utf8(&files[path]).unwrap()).unwrap();
        assert_eq!(catalog.name, name);
        tuf::slices::open(&mut catalog, &world.stage.keys(&name), &mut skipped);
        assert!(skipped.is_empty(), "{skipped:?}");
        let bundle = tuf::repository::bundle_path(Some(&name));
        assert!(files.contains_key(&bundle), "{bundle}");
        let ids = catalog.gateways().map(|gateway| gateway.id.to_string());
        catalogs.insert(name.to_string(), ids.collect());
    }
    catalogs
}

#[tokio::test]
async fn there_is_a_catalog_for_each_combination_of_the_tags_that_the_policy_names() {
    let world = World::published(1, &[1, 2]).await;
    let stage = &world.stage;
    stage.invite_for(2, "default", &["staff", "unnamed"]).await;
    let before = stage.enroll(START, 2, 7).await.unwrap();
    assert_eq!(before.catalog.to_string(), "default");
    assert_eq!(served(&world, START).await.len(), 1);

    let ingress = json!([
        {"name": "no-guests", "effect": "deny", "who": {"tags": ["guest"]}},
        {"name": "staff", "effect": "allow", "who": {"tags": ["staff"]}, "pools": ["ingress"]},
    ]);
    stage.apply(after(1), &policy(&ingress, &json!([]))).await;
    let report = world.publish(after(2)).await;

    assert!(report.published);
    let both = vec!["g-0001".to_owned(), "g-0002".to_owned()];
    let expected = BTreeMap::from([
        ("default".to_owned(), vec![]),
        ("default.guest".to_owned(), vec![]),
        ("default.guest.staff".to_owned(), vec![]),
        ("default.staff".to_owned(), both),
    ]);
    assert_eq!(served(&world, after(2)).await, expected);
    let context = stage.context(after(2));
    let shown = devices::show(&context, identity(7), &device_id(7))
        .await
        .unwrap();
    assert_eq!(shown.catalog.to_string(), "default.staff");
    let again = stage.enroll(after(2), 2, 7).await.unwrap();
    assert_eq!(again.catalog, shown.catalog);

    // Back to where no rule names a tag.
    stage.apply(after(3), &Policy::default()).await;
    assert!(world.publish(after(4)).await.published);
    assert_eq!(served(&world, after(4)).await.len(), 1);
    assert!(
        !world.publish(after(5)).await.published,
        "nothing is left to do"
    );
    world.assert_history(after(5));
}

async fn tagged() -> (World, String) {
    let world = World::published(1, &[1]).await;
    let staff = json!([{"name": "staff", "effect": "allow", "who": {"tags": ["staff"]}}]);
    let policy = policy(&staff, &json!([]));
    world.stage.apply(after(1), &policy).await;
    assert!(world.publish(after(2)).await.published);
    let name = "default.staff".parse().unwrap();
    (world, tuf::repository::bundle_path(Some(&name)))
}

#[tokio::test]
async fn a_bundle_of_tagged_devices_that_was_altered_or_lost_is_repaired() {
    let (world, path) = tagged().await;
    let right = world.mirrors[0].files();
    world.mirrors[0].alter(&path, b"<html>404</html>");
    assert!(!world.publish(after(3)).await.published);
    assert_eq!(world.mirrors[0].files(), right);

    world.mirrors[0].lose(&path);
    assert!(!world.publish(after(4)).await.published);
    assert_eq!(world.mirrors[0].files(), right);
}

#[tokio::test]
async fn the_version_of_a_bundle_of_tagged_devices_is_published_over() {
    let (world, path) = tagged().await;
    let pin = tuf::repository::Pin::of(1, b"snapshot");
    let key = &world.keys.timestamp;
    let newer = tuf::repository::sign_timestamp(41, after(3600), &pin, &[key]).unwrap();
    let parts = [(tuf::repository::TIMESTAMP_PATH, newer.as_slice())];
    world.mirrors[0].alter(&path, tuf::Bundle::write(&parts).leak());

    // The default policy makes no catalog of that name: its bundle counts all the same.
    world.stage.apply(after(3), &Policy::default()).await;
    let report = world.publish(after(4)).await;

    assert_eq!((report.published, report.version), (true, 42));
}

async fn explain(stage: &Stage, question: Value) -> Result<Explanation, Error> {
    let request: ExplainPolicy = serde_json::from_value(question).unwrap();
    control::policy::explain(&stage.context(after(2)), &request).await
}

#[tokio::test]
async fn an_explanation_names_the_rule_that_decides() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();
    stage.create_gateway(1, Role::Ingress).await;
    stage.create_gateway(2, Role::Egress).await;
    stage.create_gateway(3, Role::Egress).await;
    let device = json!({"device": device_id(7)});

    let web = json!({"who": device, "to": "192.0.2.1:443"});
    let web = explain(&stage, web).await.unwrap();
    let [ingress, egress] = &web.decisions[..] else {
        panic!("two pools: {:?}", web.decisions)
    };
    assert_eq!(
        ingress.usable.why,
        "rule 'everyone' allows the pool 'ingress'"
    );
    assert_eq!(ingress.reaches, None);
    assert_eq!(egress.gateways, [gateway_id(2), gateway_id(3)]);
    assert_eq!(egress.usable.rule.as_ref().unwrap().as_str(), "internet");
    let reaches = egress.reaches.as_ref().unwrap();
    let why = "rule 'internet' allows 192.0.2.1 port 443 through the pool 'egress'";
    assert_eq!((reaches.allowed, reaches.why.as_str()), (true, why));

    for (to, protocol, rule) in [
        ("10.0.0.1:443", "tcp", "no-private-ranges"),
        ("[::ffff:192.0.2.1]:443", "tcp", "no-private-ranges"),
        ("192.0.2.1:25", "tcp", "no-mail"),
        ("192.0.2.1:25", "udp", "internet"),
    ] {
        let asks = json!({"who": device, "to": to, "protocol": protocol,
                          "through": {"gateway": "g-0002"}});
        let explanation = explain(&stage, asks).await.unwrap();
        let reaches = explanation.decisions[0].reaches.as_ref().unwrap();
        assert_eq!(
            reaches.rule.as_ref().unwrap().as_str(),
            rule,
            "{to} {protocol}"
        );
        assert_eq!(reaches.allowed, rule == "internet");
    }

    let kind_of = json!({"kind": {"cohort": "canary", "tags": ["staff"]}});
    let asks = json!({"who": kind_of, "through": {"pool": "ingress"}});
    let elsewhere = explain(&stage, asks).await.unwrap();
    assert_eq!(elsewhere.catalog.to_string(), "canary");
    assert!(!elsewhere.decisions[0].usable.allowed);
    assert_eq!(
        elsewhere.decisions[0].usable.why,
        "the gateway is for other cohorts"
    );
}

#[tokio::test]
async fn an_explanation_leaves_out_gateways_that_are_over() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();
    stage.create_gateway(1, Role::Ingress).await;
    stage.create_gateway(2, Role::Ingress).await;
    let (context, id) = (stage.context(after(1)), gateway_id(1));
    states::change(&context, &operator(), &id, WantedState::Retired)
        .await
        .unwrap();
    let who = json!({"device": device_id(7)});

    let all = explain(&stage, json!({"who": who})).await.unwrap();
    let gone = json!({"who": who, "through": {"gateway": "g-0001"}});
    let gone = explain(&stage, gone).await.unwrap_err();

    assert_eq!(all.decisions[0].gateways, [gateway_id(2)]);
    assert_eq!(kind(gone), Kind::GatewayState);
}

#[tokio::test]
async fn an_explanation_of_a_revoked_device_says_so_and_of_an_unknown_one_is_refused() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();
    devices::revoke(&stage.context(after(1)), &operator(), &device_id(7))
        .await
        .unwrap();

    let revoked = explain(&stage, json!({"who": {"device": device_id(7)}})).await;
    let unknown = explain(&stage, json!({"who": {"device": device_id(8)}})).await;
    let no_gateway = json!({"who": {"device": device_id(7)}, "through": {"gateway": "g-0009"}});
    let no_gateway = explain(&stage, no_gateway).await;

    assert!(revoked.unwrap().revoked);
    assert_eq!(kind(unknown.unwrap_err()), Kind::DeviceUnknown);
    assert_eq!(kind(no_gateway.unwrap_err()), Kind::GatewayUnknown);
}

const COHORTS: [&str; 2] = ["default", "canary"];
const TAGS: [&str; 3] = ["staff", "press", "unnamed"];
const POOLS: [&str; 2] = ["near", "far"];

fn some(names: &'static [&'static str], most: usize) -> impl Strategy<Value = Vec<&'static str>> {
    prop::sample::subsequence(names.to_vec(), 0..=most)
}

/// Rules of either list; `traffic` gives those of egress their destinations.
fn rules(
    prefix: &'static str,
    traffic: impl Strategy<Value = Value>,
) -> impl Strategy<Value = Value> {
    let effect = prop::sample::select(vec!["allow", "deny"]);
    // No rule names the last tag.
    let rule = (
        effect,
        some(&COHORTS, 1),
        some(&TAGS[..2], 1),
        some(&POOLS, 1),
        traffic,
    );
    prop::collection::vec(rule, 1..5).prop_map(move |rules| {
        let rules = rules.into_iter().enumerate();
        let rules = rules.map(|(n, (effect, cohorts, tags, pools, traffic))| {
            let mut rule = json!({
                "name": format!("{prefix}-{n}"), "effect": effect,
                "who": {"cohorts": cohorts, "tags": tags}, "pools": pools,
            });
            for (name, value) in traffic.as_object().unwrap() {
                rule[name] = value.clone();
            }
            rule
        });
        Value::Array(rules.collect())
    })
}

fn policies() -> impl Strategy<Value = Policy> {
    let to = some(&["0.0.0.0/0", "192.0.2.0/24", "::/0"], 2);
    let protocol = prop::sample::select(vec!["any", "tcp", "udp"]);
    let traffic = (to, some(&["443", "1-442"], 1), protocol)
        .prop_map(|(to, ports, protocol)| json!({"to": to, "ports": ports, "protocol": protocol}));
    (rules("in", Just(json!({}))), rules("out", traffic))
        .prop_map(|(ingress, egress)| policy(&ingress, &egress))
}

/// Devices by cohort and tags, gateways by role, pool and cohorts.
type Fleet = (
    Vec<(&'static str, Vec<&'static str>)>,
    Vec<(Role, &'static str, Vec<&'static str>)>,
);

fn fleets() -> impl Strategy<Value = Fleet> {
    let device = (prop::sample::select(COHORTS.to_vec()), some(&TAGS, 3));
    let role = prop::sample::select(vec![Role::Ingress, Role::Egress]);
    let cohorts = prop::sample::subsequence(COHORTS.to_vec(), 1..=2);
    let gateway = (role, prop::sample::select(POOLS.to_vec()), cohorts);
    (
        prop::collection::vec(device, 1..4),
        prop::collection::vec(gateway, 1..5),
    )
}

proptest! {
    // Each case publishes and pulls: some 50 ms.
    #![proptest_config(ProptestConfig::with_cases(48))]

    #[test]
    fn catalogs_rosters_and_explanations_agree_on_every_device_and_gateway(
        policy in policies(), fleet in fleets(),
    ) {
        let runtime = tokio::runtime::Builder::new_current_thread().build().unwrap();
        runtime.block_on(assert_all_agree(&policy, &fleet));
    }
}

async fn assert_all_agree(policy: &Policy, (devices, fleet): &Fleet) {
    let mut world = World::new(1);
    world.offline.limits.cohorts = COHORTS.map(|name| name.parse().unwrap()).to_vec();
    let stage = &world.stage;
    let gateways: Vec<u8> = (1..).take(fleet.len()).collect();
    for (number, (role, pool, cohorts)) in gateways.iter().zip(fleet) {
        let mut new = new_gateway(*number, *role);
        new.pool = pool.parse().unwrap();
        new.cohorts = cohorts
            .iter()
            .map(|cohort| cohort.parse().unwrap())
            .collect();
        gateways::create(
            &stage.context(START),
            &world.offline.limits,
            &operator(),
            new,
        )
        .await
        .unwrap();
    }
    stage.beat(START, &gateways).await;
    // Enrolled before the policy was: what follows must not depend on when.
    for (number, (cohort, tags)) in (1..).zip(devices) {
        stage.invite_for(number, cohort, tags).await;
        stage.enroll(START, number, number.into()).await.unwrap();
    }
    stage.apply(after(1), policy).await;
    world.publish(after(2)).await;
    let catalogs = served(&world, after(2)).await;

    for (gateway, (role, ..)) in gateways.iter().zip(fleet) {
        let mut holder = Holder::new(*gateway);
        holder.pull(stage, after(2)).await;
        for device in (1..).take(devices.len()) {
            let context = stage.context(after(2));
            let id = device_id(device);
            let shown = control::devices::show(&context, identity(device), &id);
            let name: CatalogName = shown.await.unwrap().catalog;
            let listed = &catalogs[&name.to_string()];
            let is_listed = listed.contains(&gateway_id(*gateway).to_string());
            let key = match role {
                Role::Ingress => *tunnel_key(device).as_bytes(),
                Role::Egress => *exit_key(device).as_bytes(),
            };
            let usable = check_explanation(stage, &holder, *gateway, *role, device).await;
            assert_eq!(
                holder.keys().contains(&key),
                usable,
                "roster of {gateway}, {device}"
            );
            assert_eq!(is_listed, usable, "catalog {name}, gateway {gateway}");
        }
    }
}

/// Asserts that explanations about a device and a gateway say what the gateway's rules do; whether
/// the device may use the gateway.
async fn check_explanation(
    stage: &Stage,
    holder: &Holder,
    gateway: u8,
    role: Role,
    device: u32,
) -> bool {
    let mut usable = BTreeSet::new();
    for to in ["192.0.2.1:443", "198.51.100.1:80", "[2001:db8::1]:443"] {
        let to: std::net::SocketAddr = to.parse().unwrap();
        let request = ExplainPolicy {
            who: Asker::Device(device_id(device)),
            through: Some(Through::Gateway(gateway_id(gateway))),
            to: Some(to),
            protocol: Transport::Udp,
        };
        let context = stage.context(after(2));
        let explanation = control::policy::explain(&context, &request).await.unwrap();
        let [decision] = &explanation.decisions[..] else {
            panic!("one gateway was asked about")
        };
        usable.insert(decision.usable.allowed);
        if role == Role::Ingress {
            assert_eq!(decision.reaches, None);
            continue;
        }
        let destination = Destination {
            address: to.ip(),
            port: to.port(),
            transport: Transport::Udp,
        };
        let peers = holder.egress();
        let peer = peers
            .iter()
            .find(|(peer, _)| peer.exit_key == exit_key(device));
        let verdict = peer.map(|(_, rules)| among(*rules, destination));
        let reaches = decision.reaches.as_ref().unwrap();
        assert_eq!(
            reaches.allowed,
            verdict.as_ref().is_some_and(|v| v.allowed),
            "{to}"
        );
        if let Some(verdict) = verdict {
            assert_eq!(reaches.rule, verdict.rule, "{to}");
        }
    }
    assert_eq!(
        usable.len(),
        1,
        "a destination does not change who may use a gateway"
    );
    usable.contains(&true)
}
