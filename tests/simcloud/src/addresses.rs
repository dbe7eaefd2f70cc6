//! `/primary_ips`.

use serde_json::json;

use crate::call::{Answer, Call};
use crate::error::Refusal;
use crate::labels;
use crate::servers::place;
use crate::settings::Price;
use crate::state::{Address, Effect, State, Status};
use crate::wire;

pub(crate) fn list(state: &mut State, call: &Call) -> Answer {
    let wanted = call.query.filter()?;
    let addresses = state.addresses.values();
    let listed = addresses
        .filter(|address| wanted(&address.name, &address.labels))
        .filter(|address| call.query.wants("ip", &address.ip.to_string()))
        .map(|address| wire::address(state, address));
    let listed = listed.collect();
    Ok((200, call.query.page("primary_ips", listed)?))
}

pub(crate) fn get(state: &mut State, call: &Call) -> Answer {
    let address = state.address(call.id()?)?;
    Ok((200, json!({"primary_ip": wire::address(state, address)})))
}

pub(crate) fn create(state: &mut State, call: &Call) -> Answer {
    let name = call.text("name")?.to_owned();
    let family = match call.text("type")? {
        "ipv4" => "ipv4",
        "ipv6" => "ipv6",
        _ => return Err(Refusal::invalid("invalid input in field 'type'")),
    };
    let labels = labels::read(&call.body)?.unwrap_or_default();
    let auto_delete = call.flag("auto_delete", false)?;
    // The official client leaves it out where the address is nobody's.
    if !matches!(
        call.body["assignee_type"].as_str(),
        None | Some("server" | "unassigned")
    ) {
        return Err(Refusal::invalid("invalid input in field 'assignee_type'"));
    }
    let server = call.body["assignee_id"].as_u64();
    let location = match (server, place(state, call)?) {
        (None, Some(location)) => location,
        (Some(server), None) => state.server(server)?.location.clone(),
        _ => {
            return Err(Refusal::invalid(
                "either location or assignee_id must be given",
            ));
        }
    };
    if let Some(server) = server {
        assignable(state, server, family)?;
    }
    check_name(state, &name, None)?;
    if state.addresses.len() >= state.settings.limits.addresses {
        return Err(Refusal::new(
            403,
            "resource_limit_exceeded",
            "primary_ip limit exceeded",
        ));
    }

    let address = rent(state, &name, family, &location);
    address.labels = labels;
    address.auto_delete = auto_delete;
    let id = address.id;
    let mut body = json!({});
    if let Some(server) = server {
        let action = assigned(state, call, id, server);
        body["action"] = wire::action(&state.actions[&action]);
    }
    body["primary_ip"] = wire::address(state, state.address(id)?);
    Ok((201, body))
}

/// Rents an address of nobody.
pub(crate) fn rent<'a>(
    state: &'a mut State,
    name: &str,
    family: &str,
    location: &str,
) -> &'a mut Address {
    let id = state.id();
    let ip = state.fresh_ip(family);
    let price = if ip.is_ipv4() {
        state.settings.shop.ipv4
    } else {
        Price { hour: 0, month: 0 }
    };
    state.bill.begin("primary_ip", id, name, price, state.now);
    let address = Address {
        id,
        name: name.to_owned(),
        labels: labels::Labels::new(),
        ip,
        location: location.to_owned(),
        server: None,
        auto_delete: false,
        created: state.now,
    };
    state.addresses.entry(id).or_insert(address)
}

pub(crate) fn update(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.address(id)?;
    if !call.body["name"].is_null() {
        check_name(state, call.text("name")?, Some(id))?;
    }
    let labels = labels::read(&call.body)?;
    let auto_delete = call.flag("auto_delete", state.address(id)?.auto_delete)?;
    let address = state.addresses.get_mut(&id).expect("it was found");
    address.auto_delete = auto_delete;
    if let Some(name) = call.body["name"].as_str() {
        name.clone_into(&mut address.name);
    }
    if let Some(labels) = labels {
        address.labels = labels;
    }
    get(state, call)
}

pub(crate) fn delete(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    if state.address(id)?.server.is_some() {
        let message = "the Primary IP must be unassigned before it can be deleted";
        return Err(Refusal::new(422, "must_be_unassigned", message));
    }
    state.unlocked("primary_ip", id)?;
    state.addresses.remove(&id);
    state.bill.end(id, state.now);
    Ok((204, serde_json::Value::Null))
}

pub(crate) fn assign(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    let address = state.address(id)?;
    let (family, location) = (address.family(), address.location.clone());
    if address.server.is_some() {
        let message = "the Primary IP is already assigned to a different server";
        return Err(Refusal::new(422, "primary_ip_already_assigned", message));
    }
    let server = call.body["assignee_id"].as_u64();
    let server = server.ok_or_else(|| Refusal::invalid("invalid input in field 'assignee_id'"))?;
    if state.server(server)?.location != location {
        return Err(Refusal::invalid(
            "server and Primary IP are in different locations",
        ));
    }
    assignable(state, server, family)?;
    state.unlocked("primary_ip", id)?;
    let action = assigned(state, call, id, server);
    Ok((
        201,
        json!({"action": wire::action(&state.actions[&action])}),
    ))
}

pub(crate) fn unassign(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    let Some(server) = state.address(id)?.server else {
        return Err(Refusal::new(
            422,
            "invalid_input",
            "the Primary IP is not assigned",
        ));
    };
    stopped(state, server)?;
    state.unlocked("primary_ip", id)?;
    state.unlocked("server", server)?;
    let about = vec![("primary_ip", id), ("server", server)];
    let after = state.settings.durations.assign;
    let effect = Effect::Unassigned(id);
    let action = state.act("unassign_primary_ip", about, after, call.twist, effect);
    Ok((
        201,
        json!({"action": wire::action(&state.actions[&action])}),
    ))
}

fn assigned(state: &mut State, call: &Call, address: u64, server: u64) -> u64 {
    let about = vec![("primary_ip", address), ("server", server)];
    let after = state.settings.durations.assign;
    let effect = Effect::Assigned(address, server);
    state.act("assign_primary_ip", about, after, call.twist, effect)
}

/// Whether a server can get an address of this family now.
fn assignable(state: &State, server: u64, family: &'static str) -> Result<(), Refusal> {
    stopped(state, server)?;
    state.unlocked("server", server)?;
    if state
        .addresses_of(server)
        .any(|address| address.family() == family)
    {
        let code = if family == "ipv4" {
            "server_has_ipv4"
        } else {
            "server_has_ipv6"
        };
        let message = format!("the server already has an {family} address");
        return Err(Refusal::new(422, code, message));
    }
    Ok(())
}

fn stopped(state: &State, server: u64) -> Result<(), Refusal> {
    if state.server(server)?.status != Status::Off {
        let message = "the server is running, but needs to be powered off";
        return Err(Refusal::new(422, "server_not_stopped", message));
    }
    Ok(())
}

fn check_name(state: &State, name: &str, own: Option<u64>) -> Result<(), Refusal> {
    let mut addresses = state.addresses.values();
    if addresses.any(|address| address.name == name && Some(address.id) != own) {
        return Err(Refusal::taken("primary_ip", name));
    }
    Ok(())
}
