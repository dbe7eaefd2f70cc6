//! `/firewalls`.

use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::error::Refusal;
use crate::labels;
use crate::state::{Effect, Firewall, State};
use crate::wire;

/// The most rules of a firewall.
const MOST_RULES: usize = 50;

pub(crate) fn list(state: &mut State, call: &Call) -> Answer {
    let wanted = call.query.filter()?;
    let firewalls = state.firewalls.values();
    let listed = firewalls
        .filter(|firewall| wanted(&firewall.name, &firewall.labels))
        .map(|firewall| wire::firewall(state, firewall));
    let listed = listed.collect();
    Ok((200, call.query.page("firewalls", listed)?))
}

pub(crate) fn get(state: &mut State, call: &Call) -> Answer {
    let firewall = state.firewall(call.id()?)?;
    Ok((200, json!({"firewall": wire::firewall(state, firewall)})))
}

pub(crate) fn create(state: &mut State, call: &Call) -> Answer {
    let name = call.text("name")?.to_owned();
    let labels = labels::read(&call.body)?.unwrap_or_default();
    let rules = rules(&call.body)?;
    let servers = servers(state, &call.body["apply_to"])?;
    check_name(state, &name, None)?;
    if state.firewalls.len() >= state.settings.limits.firewalls {
        return Err(Refusal::new(
            403,
            "resource_limit_exceeded",
            "firewall limit exceeded",
        ));
    }
    let id = state.id();
    let firewall = Firewall {
        id,
        name,
        labels,
        rules,
        created: state.now,
    };
    state.firewalls.insert(id, firewall);
    let actions = change(state, call, id, &servers, true);
    let body = json!({
        "firewall": wire::firewall(state, state.firewall(id)?),
        "actions": wire::actions(state, &actions),
    });
    Ok((201, body))
}

pub(crate) fn update(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    if !call.body["name"].is_null() {
        check_name(state, call.text("name")?, Some(id))?;
    }
    let labels = labels::read(&call.body)?;
    let firewall = state.firewalls.get_mut(&id).expect("it was found");
    if let Some(name) = call.body["name"].as_str() {
        name.clone_into(&mut firewall.name);
    }
    if let Some(labels) = labels {
        firewall.labels = labels;
    }
    get(state, call)
}

pub(crate) fn delete(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    let mut servers = state.servers.values();
    if servers.any(|server| server.firewalls.contains(&id)) {
        let message = "the firewall is still applied to a resource";
        return Err(Refusal::new(422, "resource_in_use", message));
    }
    state.unlocked("firewall", id)?;
    state.firewalls.remove(&id);
    Ok((204, Value::Null))
}

pub(crate) fn set_rules(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    let rules = rules(&call.body)?;
    state.firewalls.get_mut(&id).expect("it was found").rules = rules;
    let about = vec![("firewall", id)];
    let after = state.settings.durations.firewall;
    let action = state.act(
        "set_firewall_rules",
        about,
        after,
        call.twist,
        Effect::Nothing,
    );
    Ok((201, json!({"actions": wire::actions(state, &[action])})))
}

pub(crate) fn apply(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    let servers = servers(state, &call.body["apply_to"])?;
    let has = |server: &u64| state.servers[server].firewalls.contains(&id);
    if servers.iter().any(has) {
        let message = "the firewall is already applied to the resource";
        return Err(Refusal::new(422, "firewall_already_applied", message));
    }
    let actions = change(state, call, id, &servers, true);
    Ok((201, json!({"actions": wire::actions(state, &actions)})))
}

pub(crate) fn remove(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    let servers = servers(state, &call.body["remove_from"])?;
    let actions = change(state, call, id, &servers, false);
    Ok((201, json!({"actions": wire::actions(state, &actions)})))
}

/// Starts to apply a firewall to servers, or to remove it from them.
fn change(state: &mut State, call: &Call, id: u64, servers: &[u64], applies: bool) -> Vec<u64> {
    let after = state.settings.durations.firewall;
    let change = |server: &u64| {
        let about = vec![("firewall", id), ("server", *server)];
        let (command, effect) = if applies {
            ("apply_firewall", Effect::FirewallApplied(id, *server))
        } else {
            ("remove_firewall", Effect::FirewallRemoved(id, *server))
        };
        state.act(command, about, after, call.twist, effect)
    };
    servers.iter().map(change).collect()
}

fn servers(state: &State, listed: &Value) -> Result<Vec<u64>, Refusal> {
    let listed = listed.as_array().into_iter().flatten();
    listed
        .map(|resource| {
            let id = resource["server"]["id"].as_u64();
            // Firewalls by label selector are not stood in for.
            let id = id.ok_or_else(|| Refusal::invalid("only servers can be given"))?;
            let found = state.server(id).map(|server| server.id);
            found.map_err(|_| {
                let message = format!("server {id} not found");
                Refusal::new(422, "firewall_resource_not_found", message)
            })
        })
        .collect()
}

fn rules(body: &Value) -> Result<Vec<Value>, Refusal> {
    let rules = body["rules"].as_array().into_iter().flatten();
    let rules: Vec<Value> = rules.map(rule).collect::<Result<_, _>>()?;
    if rules.len() > MOST_RULES {
        return Err(Refusal::invalid("a firewall has at most 50 rules"));
    }
    Ok(rules)
}

fn rule(rule: &Value) -> Result<Value, Refusal> {
    let refuse = |why: &str| Err(Refusal::invalid(format!("rule {rule}: {why}")));
    let (direction, protocol) = (rule["direction"].as_str(), rule["protocol"].as_str());
    let ips = match direction {
        Some("in") => &rule["source_ips"],
        Some("out") => &rule["destination_ips"],
        _ => return refuse("direction must be in or out"),
    };
    if ips.as_array().is_none_or(Vec::is_empty) {
        return refuse("it needs networks");
    }
    let port = rule["port"].as_str();
    match protocol {
        Some("tcp" | "udp") if port.is_none_or(|port| !is_port(port)) => {
            return refuse("it needs a port");
        }
        Some("icmp" | "esp" | "gre") if port.is_some() => return refuse("it has no port"),
        Some("tcp" | "udp" | "icmp" | "esp" | "gre") => {}
        _ => return refuse("the protocol is not known"),
    }
    let networks = |field: &str| rule[field].as_array().cloned().unwrap_or_default();
    Ok(json!({
        "direction": direction,
        "protocol": protocol,
        "port": port,
        "source_ips": networks("source_ips"),
        "destination_ips": networks("destination_ips"),
        "description": rule["description"],
    }))
}

/// A port, a range of them, or `any`.
fn is_port(text: &str) -> bool {
    let (from, to) = text.split_once('-').unwrap_or((text, text));
    let number = |text: &str| text.parse::<u16>().ok().filter(|port| *port > 0);
    text == "any"
        || number(from)
            .zip(number(to))
            .is_some_and(|(from, to)| from <= to)
}

fn check_name(state: &State, name: &str, own: Option<u64>) -> Result<(), Refusal> {
    let mut firewalls = state.firewalls.values();
    if firewalls.any(|firewall| firewall.name == name && Some(firewall.id) != own) {
        return Err(Refusal::taken("firewall", name));
    }
    Ok(())
}
