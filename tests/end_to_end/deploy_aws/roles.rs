//! Each role allows what its function was seen to call, and nothing more. That it allows no less, the story
//! itself shows: the stand-in refuses what a role does not allow.

use std::collections::{BTreeMap, BTreeSet};

use emulator::Call;
use harness::amazon::FUNCTIONS;
use serde_json::Value;

/// What no call was seen of, and why it is allowed.
const UNSEEN: [(&str, &str, &str); 4] = [
    (
        "enroll",
        "dynamodb:Query",
        "the uses of an invite of which 16 in a row were found taken (control::enroll)",
    ),
    (
        "cleanup",
        "dynamodb:PutItem",
        "the audit event of a run that removed something (control::fleet::cleanup); nothing was left to remove",
    ),
    (
        "publish",
        "dynamodb:DeleteItem",
        "a draft that a run left whose calls were spent (control::publish); here none was",
    ),
    (
        "publish",
        "s3:ListBucket",
        "without it S3 answers 403 for a file that is not there, and not 404; nobody lists",
    ),
];
/// What every function's role allows although no function calls it.
const UNSEEN_OF_ALL: [(&str, &str); 2] = [
    (
        "logs:CreateLogStream",
        "Lambda itself keeps a function's log, by the function's role",
    ),
    (
        "logs:PutLogEvents",
        "Lambda itself keeps a function's log, by the function's role",
    ),
];

/// Compares `roles`, as AWS tells them, with the calls that were seen.
pub fn check(calls: &[Call], roles: &Value) {
    let seen = by_function(calls);
    let mut faults = Vec::new();
    for function in FUNCTIONS {
        let allowed = allowed(roles, function);
        let nothing = BTreeSet::new();
        let seen = seen.get(function).unwrap_or(&nothing);
        let unseen: BTreeSet<&str> = UNSEEN
            .iter()
            .filter(|(of, ..)| *of == function)
            .map(|(_, action, _)| *action)
            .chain(UNSEEN_OF_ALL.iter().map(|(action, _)| *action))
            .collect();
        for action in &allowed {
            if !seen.contains(action) && !unseen.contains(action.as_str()) {
                faults.push(format!("{function} may {action} and never did"));
            }
        }
        for action in seen {
            if !allowed.contains(action) {
                faults.push(format!("{function} called {action} and may not"));
            }
            if unseen.contains(action.as_str()) {
                faults.push(format!(
                    "{function} called {action}, which is listed as unseen"
                ));
            }
        }
        for action in unseen {
            if !allowed.contains(action) {
                faults.push(format!("{action} is listed for {function}, which may not"));
            }
        }
    }
    assert!(faults.is_empty(), "{faults:#?}");
    the_schedule_wakes_three_functions_and_no_other(roles);
}

fn the_schedule_wakes_three_functions_and_no_other(roles: &Value) {
    let mut found = roles.as_object().expect("roles by name").iter();
    let found = found.find(|(name, _)| name.contains("-ScheduleRole-"));
    let (_, role) = found.expect("the schedules' role");
    let statements = role["statements"].as_array().expect("statements");
    assert_eq!(statements.len(), 1, "{role}");
    assert_eq!(statements[0]["Action"], "lambda:InvokeFunction", "{role}");
    let woken = statements[0]["Resource"].as_array().expect("a list").iter();
    let woken: BTreeSet<&str> = woken
        .filter_map(|arn| arn.as_str()?.rsplit_once(":function:"))
        .map(|(_, name)| name)
        .collect();
    let expected = [
        "postern-cleanup:live",
        "postern-publish:live",
        "postern-reconcile:live",
    ];
    assert_eq!(woken, BTreeSet::from(expected));
}

/// The actions that each function called. Its access key is the one that asked for its secret.
fn by_function(calls: &[Call]) -> BTreeMap<&'static str, BTreeSet<String>> {
    let mut keys: BTreeMap<&str, &'static str> = BTreeMap::new();
    for call in calls
        .iter()
        .filter(|call| call.action == "secretsmanager:GetSecretValue")
    {
        let owner = FUNCTIONS
            .into_iter()
            .find(|name| call.resource.contains(&format!("-{}Secret-", part(name))));
        let owner = owner.unwrap_or_else(|| panic!("whose secret is that? {call:?}"));
        let before = keys.insert(&call.key, owner);
        assert!(
            before.is_none_or(|before| before == owner),
            "one key for two secrets: {call:?}"
        );
    }
    let mut seen: BTreeMap<&'static str, BTreeSet<String>> = BTreeMap::new();
    for call in calls {
        if let Some(function) = keys.get(call.key.as_str()) {
            seen.entry(function)
                .or_default()
                .insert(call.action.clone());
        }
    }
    seen
}

/// What the function's role allows, each on a resource of the stack and not on all.
fn allowed(roles: &Value, function: &str) -> BTreeSet<String> {
    let mark = format!("-{}Role-", part(function));
    let mut found = roles.as_object().expect("roles by name").iter();
    let (name, role) = found
        .find(|(name, _)| name.contains(&mark))
        .unwrap_or_else(|| panic!("no role of {function} in {roles}"));
    assert_eq!(role["attached"], serde_json::json!([]), "{name}");
    let mut allowed = BTreeSet::new();
    for statement in role["statements"].as_array().expect("statements") {
        assert_eq!(statement["Effect"], "Allow", "{name}");
        let resource = statement["Resource"].as_str().expect("one resource");
        assert!(
            resource.starts_with("arn:aws:") && resource.contains("postern"),
            "{name}: {statement}"
        );
        let actions = match &statement["Action"] {
            Value::Array(actions) => actions.clone(),
            action => vec![action.clone()],
        };
        for action in actions {
            let action = action.as_str().expect("a text");
            assert!(!action.contains('*'), "{name}: {statement}");
            assert!(
                allowed.insert(action.to_owned()),
                "{name} allows {action} twice"
            );
        }
    }
    allowed
}

/// Its name in the template.
fn part(function: &str) -> String {
    let (first, rest) = function.split_at(1);
    first.to_uppercase() + rest
}
