//! The API's JSON, read for what is needed of it. `None` is an entry that cannot be used at all.

use std::collections::{BTreeMap, BTreeSet};
use std::str::FromStr;

use serde_json::Value;

use crate::{
    ActionId, ActionState, Address, Firewall, Labels, Opening, Protocol, ResourceId, Server,
    ServerStatus,
};

/// The networks of a rule for everybody.
pub(super) const EVERYBODY: [&str; 2] = ["0.0.0.0/0", "::/0"];

pub(super) fn server(entry: &Value) -> Option<Server> {
    let net = &entry["public_net"];
    let image = &entry["image"];
    let image = parsed(&image["name"]).or_else(|| image["id"].as_u64()?.to_string().parse().ok());
    Some(Server {
        id: id(entry)?,
        name: name(entry)?,
        labels: labels(entry),
        status: status(entry["status"].as_str().unwrap_or("")),
        region: parsed(&entry["location"]["name"]),
        size: parsed(&entry["server_type"]["name"]),
        image,
        ipv4: parsed(&net["ipv4"]["ip"]),
        ipv6: host(&net["ipv6"]["ip"]),
        addresses: ["ipv4", "ipv6"]
            .iter()
            .filter_map(|ip| id(&net[ip]))
            .collect(),
        created_at: parsed(&entry["created"]),
    })
}

fn status(status: &str) -> ServerStatus {
    match status {
        "initializing" | "starting" | "rebuilding" | "migrating" => ServerStatus::Starting,
        "running" => ServerStatus::Running,
        "off" => ServerStatus::Off,
        "deleting" => ServerStatus::Deleting,
        other => ServerStatus::Other(other.to_owned()),
    }
}

pub(super) fn address(entry: &Value) -> Option<Address> {
    // What it is assigned to is a server, or a kind that is not ours to release.
    let assignee = entry["assignee_id"].as_u64();
    Some(Address {
        id: id(entry)?,
        name: name(entry)?,
        labels: labels(entry),
        ip: host(&entry["ip"])?,
        region: parsed(&entry["location"]["name"]),
        server: assignee.map(|id| ResourceId(id.to_string())),
        created_at: parsed(&entry["created"]),
    })
}

pub(super) fn firewall(entry: &Value) -> Option<Firewall> {
    let rules = entry["rules"].as_array().map_or(&[][..], Vec::as_slice);
    let lets_in: Option<BTreeSet<Opening>> = rules.iter().map(opening).collect();
    let applied = entry["applied_to"].as_array().into_iter().flatten();
    let servers = applied.flat_map(|applied| {
        // A server, or those that a selector matches now.
        let selected = applied["applied_to_resources"].as_array();
        [applied].into_iter().chain(selected.into_iter().flatten())
    });
    Some(Firewall {
        id: id(entry)?,
        name: name(entry)?,
        labels: labels(entry),
        lets_in: lets_in.unwrap_or_default(),
        servers: servers
            .filter_map(|applied| id(&applied["server"]))
            .collect(),
    })
}

/// A rule that lets everybody reach a port; none is any other.
fn opening(rule: &Value) -> Option<Opening> {
    let sources: BTreeSet<&str> = rule["source_ips"]
        .as_array()?
        .iter()
        .filter_map(Value::as_str)
        .collect();
    if rule["direction"] != "in" || sources != BTreeSet::from(EVERYBODY) {
        return None;
    }
    let port = match &rule["port"] {
        Value::Null => None,
        port => Some(parsed(port)?),
    };
    let protocol = match rule["protocol"].as_str()? {
        "tcp" => Protocol::Tcp,
        "udp" => Protocol::Udp,
        "icmp" => Protocol::Icmp,
        _ => return None,
    };
    Some(Opening { protocol, port })
}

pub(super) fn action_id(action: &Value) -> Option<ActionId> {
    let id = action["id"].as_u64()?;
    Some(ActionId(id.to_string()))
}

pub(super) fn action_state(action: &Value) -> Option<ActionState> {
    let text = |field: &str| action["error"][field].as_str().unwrap_or("").to_owned();
    Some(match action["status"].as_str()? {
        "success" => ActionState::Done,
        "error" => ActionState::Failed {
            code: text("code"),
            detail: text("message"),
        },
        _ => ActionState::Running,
    })
}

fn id(entry: &Value) -> Option<ResourceId> {
    let id = entry["id"].as_u64()?;
    Some(ResourceId(id.to_string()))
}

fn name(entry: &Value) -> Option<String> {
    entry["name"].as_str().map(str::to_owned)
}

fn labels(entry: &Value) -> Labels {
    let labels = entry["labels"].as_object().into_iter().flatten();
    let pairs = labels.filter_map(|(key, value)| Some((key.clone(), value.as_str()?.to_owned())));
    pairs.collect::<BTreeMap<_, _>>()
}

/// A text that is well-formed.
pub(super) fn parsed<T: FromStr>(value: &Value) -> Option<T> {
    value.as_str()?.parse().ok()
}

/// An address, or the first of a network.
fn host<T: FromStr>(value: &Value) -> Option<T> {
    let text = value.as_str()?;
    text.split('/').next()?.parse().ok()
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    #[test]
    fn what_nobody_knew_is_kept_and_what_is_missing_is_absent() {
        let least = server(&json!({"id": 7, "name": "a", "status": "frozen"})).unwrap();
        assert_eq!(least.status, ServerStatus::Other("frozen".to_owned()));
        assert_eq!(
            (least.region, least.ipv4, least.created_at),
            (None, None, None)
        );
        assert!(least.addresses.is_empty());

        let entry = json!({"id": 8, "name": "b", "ip": "2001:db8::/64",
            "assignee_type": "unassigned", "assignee_id": null});
        let address = address(&entry).unwrap();
        assert_eq!(address.ip.to_string(), "2001:db8::");
        assert_eq!(address.server, None);

        let state = action_state(&json!({"status": "queued"}));
        assert_eq!(state, Some(ActionState::Running));
        assert_eq!(server(&json!({"name": "no id"})), None);
    }

    #[test]
    fn a_firewall_of_another_form_lets_in_nothing_that_we_know() {
        let rule = |port: &str, source: &[&str]| json!({"direction": "in", "protocol": "udp", "port": port, "source_ips": source});
        let with = |rule: Value| {
            let entry = json!({"id": 9, "name": "f", "rules": [rule]});
            firewall(&entry).unwrap().lets_in.len()
        };
        assert_eq!(with(rule("51820", &EVERYBODY)), 1);
        assert_eq!(with(rule("1-9", &EVERYBODY)), 0);
        assert_eq!(with(rule("51820", &["10.0.0.0/8"])), 0);
    }
}
