//! `/servers`.

use std::collections::BTreeSet;

use serde_json::{Value, json};

use crate::addresses::rent;
use crate::call::{Answer, Call, flag};
use crate::error::Refusal;
use crate::labels;
use crate::state::{Effect, Server, State, Status};
use crate::wire;

/// The most bytes of user data.
const MOST_USER_DATA: usize = 32 * 1024;

pub(crate) fn list(state: &mut State, call: &Call) -> Answer {
    let wanted = call.query.filter()?;
    let servers = state.servers.values();
    let listed = servers
        .filter(|server| wanted(&server.name, &server.labels))
        .map(|server| wire::server(state, server))
        .filter(|server| {
            call.query
                .wants("status", server["status"].as_str().unwrap_or(""))
        });
    let listed = listed.collect();
    Ok((200, call.query.page("servers", listed)?))
}

pub(crate) fn get(state: &mut State, call: &Call) -> Answer {
    let server = state.server(call.id()?)?;
    Ok((200, json!({"server": wire::server(state, server)})))
}

pub(crate) fn update(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.server(id)?;
    if !call.body["name"].is_null() {
        let name = call.text("name")?;
        check_name(state, name, Some(id))?;
    }
    let labels = labels::read(&call.body)?;
    let server = state.servers.get_mut(&id).expect("it was found");
    if let Some(name) = call.body["name"].as_str() {
        name.clone_into(&mut server.name);
    }
    if let Some(labels) = labels {
        server.labels = labels;
    }
    get(state, call)
}

/// What a server is to be, checked.
struct Order {
    server: Server,
    server_type: String,
    addresses: Vec<u64>,
    fresh: Vec<&'static str>,
    starts: bool,
}

pub(crate) fn create(state: &mut State, call: &Call) -> Answer {
    let order = check(state, call)?;
    let id = order.server.id;
    let (location, name) = (order.server.location.clone(), order.server.name.clone());
    let offer = state.settings.shop.offer(&order.server_type, &location);
    offer.capacity = offer.capacity.map(|left| left - 1);
    let price = offer.price;
    state.bill.begin("server", id, &name, price, state.now);
    state.servers.insert(id, order.server);
    for address in &order.addresses {
        let address = state.addresses.get_mut(address).expect("it was checked");
        address.server = Some(id);
    }
    for family in order.fresh {
        let fresh = rent(
            state,
            &format!("primary_ip-{id}-{family}"),
            family,
            &location,
        );
        fresh.auto_delete = true;
        fresh.server = Some(id);
    }

    let durations = state.settings.durations;
    let about: Vec<_> = [("server", id)]
        .into_iter()
        .chain(
            order
                .addresses
                .iter()
                .map(|address| ("primary_ip", *address)),
        )
        .collect();
    let made = state.act(
        "create_server",
        about,
        durations.create,
        call.twist,
        Effect::Made(id),
    );
    let mut next = Vec::new();
    if order.starts {
        let (after, about) = (durations.create + durations.power, vec![("server", id)]);
        let mut twist = call.twist;
        twist.error = None;
        next.push(state.act("start_server", about, after, twist, Effect::Started(id)));
    }
    let server = state.server(id)?;
    let body = json!({
        "server": wire::server(state, server),
        "action": wire::action(&state.actions[&made]),
        "next_actions": wire::actions(state, &next),
        "root_password": format!("root-password-of-{id}"),
    });
    Ok((201, body))
}

fn check(state: &mut State, call: &Call) -> Result<Order, Refusal> {
    let name = call.text("name")?.to_owned();
    let (type_name, image) = (call.name_or_id("server_type")?, call.name_or_id("image")?);
    let labels = labels::read(&call.body)?.unwrap_or_default();
    let user_data = call.body["user_data"].as_str().unwrap_or("").to_owned();
    if user_data.len() > MOST_USER_DATA {
        return Err(Refusal::invalid("user_data must be at most 32 KiB"));
    }
    if !call.body["datacenter"].is_null() {
        return Err(Refusal::invalid("datacenter was removed: use location"));
    }
    let location = place(state, call)?.unwrap_or_else(|| "fsn1".to_owned());
    let shop = &state.settings.shop;
    let server_type = shop.server_type(&type_name);
    let server_type = server_type.ok_or_else(|| Refusal::invalid("server_type not found"))?;
    let Some(offer) = server_type.locations.get(&location) else {
        return Err(Refusal::invalid("unsupported location for server type"));
    };
    let image = shop.images.iter().find(|known| {
        known.id.to_string() == image
            || (known.name == image && known.architecture == server_type.architecture)
    });
    let image = image.ok_or_else(|| Refusal::invalid("image not found"))?;
    if image.architecture != server_type.architecture {
        return Err(Refusal::invalid("image has another architecture"));
    }
    let (available, type_name, image) = (
        wire::is_available(offer, state.now),
        server_type.name.clone(),
        image.id,
    );
    let (addresses, fresh) = public_net(state, &call.body["public_net"], &location)?;
    let firewalls = firewalls(state, &call.body["firewalls"])?;
    check_name(state, &name, None)?;
    if state.servers.len() >= state.settings.limits.servers {
        return Err(Refusal::new(
            403,
            "resource_limit_exceeded",
            "server limit exceeded",
        ));
    }
    if !available {
        let message = format!("{type_name} is not available in {location}");
        return Err(Refusal::new(412, "resource_unavailable", message));
    }
    Ok(Order {
        server: Server {
            id: state.id(),
            name,
            labels,
            status: Status::Initializing,
            size: type_name.clone(),
            location,
            image,
            firewalls,
            user_data,
            created: state.now,
        },
        server_type: type_name,
        addresses,
        fresh,
        starts: call.flag("start_after_create", true)?,
    })
}

/// The location that a body names by its name or number.
pub(crate) fn place(state: &State, call: &Call) -> Result<Option<String>, Refusal> {
    if call.body["location"].is_null() {
        return Ok(None);
    }
    let wanted = call.name_or_id("location")?;
    let locations = &state.settings.shop.locations;
    let found = locations.iter().enumerate();
    let mut found = found.filter(|(n, (name, _))| *name == wanted || (n + 1).to_string() == wanted);
    let found = found.next().map(|(_, (name, _))| name.clone());
    found
        .map(Some)
        .ok_or_else(|| Refusal::invalid(format!("location '{wanted}' not found")))
}

/// The addresses that a server gets, and the families of which it gets a fresh one.
fn public_net(
    state: &State,
    net: &Value,
    location: &str,
) -> Result<(Vec<u64>, Vec<&'static str>), Refusal> {
    let (mut addresses, mut fresh) = (Vec::new(), Vec::new());
    for family in ["ipv4", "ipv6"] {
        let enabled = flag(&net[format!("enable_{family}")], true)
            .ok_or_else(|| Refusal::invalid(format!("invalid input in field 'enable_{family}'")))?;
        match (enabled, net[family].as_u64()) {
            (false, None) => {}
            (true, None) => fresh.push(family),
            (false, Some(_)) => {
                return Err(Refusal::invalid(format!(
                    "{family} is given but not enabled"
                )));
            }
            (true, Some(id)) => {
                let address = state.address(id)?;
                if address.server.is_some() {
                    let message = "the Primary IP is already assigned to a server";
                    return Err(Refusal::new(422, "primary_ip_assigned", message));
                }
                if address.family() != family {
                    let message = "the Primary IP has the wrong IP version";
                    return Err(Refusal::new(422, "primary_ip_version_mismatch", message));
                }
                if address.location != location {
                    let message = "the Primary IP is in a different location";
                    return Err(Refusal::new(422, "primary_ip_datacenter_mismatch", message));
                }
                state.unlocked("primary_ip", id)?;
                addresses.push(id);
            }
        }
    }
    Ok((addresses, fresh))
}

fn firewalls(state: &State, firewalls: &Value) -> Result<BTreeSet<u64>, Refusal> {
    let listed = firewalls.as_array().into_iter().flatten();
    listed
        .map(|firewall| {
            let id = firewall["firewall"].as_u64();
            let id = id.ok_or_else(|| Refusal::invalid("invalid input in field 'firewalls'"))?;
            state.firewall(id).map(|firewall| firewall.id)
        })
        .collect()
}

/// A server's name is a host's (RFC 1123), and its own in the project.
fn check_name(state: &State, name: &str, own: Option<u64>) -> Result<(), Refusal> {
    let is_part = |part: &str| {
        (1..=63).contains(&part.len())
            && !part.starts_with('-')
            && !part.ends_with('-')
            && part
                .bytes()
                .all(|byte| byte.is_ascii_alphanumeric() || byte == b'-')
    };
    if name.len() > 253 || !name.split('.').all(is_part) {
        return Err(Refusal::invalid(format!(
            "server name '{name}' is no host name"
        )));
    }
    let mut servers = state.servers.values();
    if servers.any(|server| server.name == name && Some(server.id) != own) {
        return Err(Refusal::taken("server", name));
    }
    Ok(())
}

pub(crate) fn delete(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.server(id)?;
    state.unlocked("server", id)?;
    state.set(id, Status::Deleting);
    let after = state.settings.durations.delete;
    let addresses = state
        .addresses_of(id)
        .map(|address| ("primary_ip", address.id));
    let about = [("server", id)].into_iter().chain(addresses).collect();
    let action = state.act(
        "delete_server",
        about,
        after,
        call.twist,
        Effect::Deleted(id),
    );
    Ok((
        200,
        json!({"action": wire::action(&state.actions[&action])}),
    ))
}

pub(crate) fn power_off(state: &mut State, call: &Call) -> Answer {
    switch(
        state,
        call,
        "stop_server",
        Status::Stopping,
        Effect::Stopped,
    )
}

pub(crate) fn shutdown(state: &mut State, call: &Call) -> Answer {
    switch(
        state,
        call,
        "shutdown_server",
        Status::Stopping,
        Effect::Stopped,
    )
}

pub(crate) fn power_on(state: &mut State, call: &Call) -> Answer {
    switch(
        state,
        call,
        "start_server",
        Status::Starting,
        Effect::Started,
    )
}

fn switch(
    state: &mut State,
    call: &Call,
    command: &'static str,
    meanwhile: Status,
    effect: fn(u64) -> Effect,
) -> Answer {
    let id = call.id()?;
    let status = state.server(id)?.status;
    state.unlocked("server", id)?;
    let there = if meanwhile == Status::Stopping {
        Status::Off
    } else {
        Status::Running
    };
    let effect = if status == there {
        Effect::Nothing
    } else {
        state.set(id, meanwhile);
        effect(id)
    };
    let after = state.settings.durations.power;
    let action = state.act(command, vec![("server", id)], after, call.twist, effect);
    Ok((
        201,
        json!({"action": wire::action(&state.actions[&action])}),
    ))
}
