use serde_json::{Value, json};

use super::*;

fn read(document: &Value) -> Result<Policy, String> {
    let policy: Policy =
        serde_json::from_value(document.clone()).map_err(|error| error.to_string())?;
    policy.check().map_err(|error| error.to_string())?;
    Ok(policy)
}

fn with_egress(rule: &Value) -> Value {
    json!({"schema": "postern-policy/1", "ingress": [], "egress": [rule]})
}

#[test]
fn the_default_policy_is_valid_and_survives_its_json() {
    let policy = Policy::default();
    let document = serde_json::to_value(&policy).unwrap();
    assert_eq!(read(&document), Ok(policy));
}

#[test]
fn what_is_left_out_of_a_rule_is_no_condition() {
    let rule = json!({"name": "all", "effect": "allow"});
    let policy = read(&with_egress(&rule)).unwrap();
    let rule = &policy.egress[0];
    assert!(rule.who.cohorts.is_empty() && rule.who.tags.is_empty());
    assert!(rule.pools.is_empty() && rule.to.is_empty() && rule.ports.is_empty());
    assert_eq!(rule.protocol, Protocol::Any);
}

#[test]
fn ports_may_be_numbers_or_ranges() {
    let rule = json!({"name": "web", "effect": "allow", "ports": [443, "80", "8000-8100"]});
    let policy = read(&with_egress(&rule)).unwrap();
    let ports: Vec<_> = policy.egress[0]
        .ports
        .iter()
        .map(PortRange::to_string)
        .collect();
    assert_eq!(ports, ["443", "80", "8000-8100"]);
}

#[test]
fn a_mistake_is_refused_with_what_to_do() {
    let rule = |fields: &Value| {
        let mut rule = json!({"name": "one", "effect": "allow"});
        for (name, value) in fields.as_object().unwrap() {
            rule[name] = value.clone();
        }
        with_egress(&rule)
    };
    let mut other_schema = rule(&json!({}));
    other_schema["schema"] = json!("postern-policy/2");
    let mut twice = rule(&json!({}));
    twice["ingress"] = json!([{"name": "one", "effect": "deny"}]);
    let cases = [
        (other_schema, "write 'postern-policy/1'"),
        (twice, "two rules are called 'one'"),
        (rule(&json!({"ports": [0]})), "from 1 to 65535"),
        (rule(&json!({"ports": ["90-80"]})), "from 1 to 65535"),
        (rule(&json!({"ports": [70000]})), "from 1 to 65535"),
        (
            rule(&json!({"to": ["10.0.0.1/8"]})),
            "write 10.0.0.0/8, or 10.0.0.1/32",
        ),
        (
            rule(&json!({"protocol": "icmp"})),
            "expected one of `any`, `tcp`, `udp`",
        ),
        (
            rule(&json!({"effect": "permit"})),
            "expected `allow` or `deny`",
        ),
        (rule(&json!({"port": [443]})), "unknown field `port`"),
        (
            rule(&json!({"who": {"tag": ["staff"]}})),
            "unknown field `tag`",
        ),
        (
            rule(&json!({"who": {"tags": ["a", "b", "c", "d", "e"]}})),
            "the tags a, b, c, d, e",
        ),
    ];
    for (document, expected) in cases {
        let error = read(&document).unwrap_err();
        assert!(error.contains(expected), "{error}");
    }
}

#[test]
fn more_rules_than_a_person_can_check_are_refused() {
    let rule = |n: usize| json!({"name": format!("r-{n}"), "effect": "allow"});
    let document = |count: usize| {
        let rules: Vec<_> = (0..count).map(rule).collect();
        json!({"schema": "postern-policy/1", "ingress": rules, "egress": []})
    };
    assert!(read(&document(MOST_RULES)).is_ok());
    assert!(
        read(&document(MOST_RULES + 1))
            .unwrap_err()
            .contains("merge some")
    );
}

#[test]
fn a_policy_from_before_disclosure_is_sealed_in_one_slice() {
    let policy = read(&json!({"schema": Policy::SCHEMA, "ingress": [], "egress": []})).unwrap();
    assert_eq!(policy.disclosure, Disclosure::Sealed { slices: 1, held: 1 });
}

#[test]
fn a_disclosure_that_cannot_be_is_refused_with_what_can() {
    let with = |disclosure: &Value| {
        read(
            &json!({"schema": Policy::SCHEMA, "ingress": [], "egress": [],
                     "disclosure": disclosure}),
        )
        .map(|policy| policy.disclosure)
    };
    let sealed = |slices: u32, held: u32| json!({"mode": "sealed", "slices": slices, "held": held});

    assert_eq!(with(&json!({"mode": "open"})), Ok(Disclosure::Open {}));
    assert!(with(&sealed(256, 16)).is_ok());
    for (disclosure, why) in [
        (sealed(0, 1), "from 1 to 256 can be made"),
        (sealed(257, 1), "from 1 to 256 can be made"),
        (sealed(4, 0), "hold 0 of 4 slices: from 1 to 4 can be held"),
        (sealed(4, 5), "hold 5 of 4 slices: from 1 to 4 can be held"),
        (
            sealed(200, 17),
            "hold 17 of 200 slices: from 1 to 16 can be held",
        ),
        (
            json!({"mode": "sealed", "slices": 4}),
            "missing field `held`",
        ),
        (json!({"mode": "open", "slices": 4}), "unknown field"),
        (json!({"mode": "shut"}), "unknown variant"),
    ] {
        let refusal = with(&disclosure).unwrap_err();
        assert!(refusal.contains(why), "{disclosure}: {refusal}");
    }
}
