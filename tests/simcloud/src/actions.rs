//! `/actions`, and those of a resource.

use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::error::Refusal;
use crate::state::{Action, State};
use crate::wire;

pub(crate) fn get(state: &mut State, call: &Call) -> Answer {
    one(state, call.id()?)
}

pub(crate) fn of_resource(state: &mut State, call: &Call) -> Answer {
    one(state, call.number("action")?)
}

fn one(state: &State, id: u64) -> Answer {
    let action = state.actions.get(&id);
    let action = action.ok_or_else(|| Refusal::not_found("action", id))?;
    Ok((200, json!({"action": wire::action(action)})))
}

/// Only those that are asked for by their ids: since 2025 there is no list of all.
pub(crate) fn list(state: &mut State, call: &Call) -> Answer {
    let ids: Vec<u64> = call
        .query
        .all("id")
        .filter_map(|id| id.parse().ok())
        .collect();
    if ids.is_empty() {
        let message = "the list of all actions was removed: give ids";
        return Err(Refusal::new(410, "deprecated_api_endpoint", message));
    }
    page(state, call, |action| ids.contains(&action.id))
}

pub(crate) fn of_server(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.server(id)?;
    page(state, call, |action| {
        action.resources.contains(&("server", id))
    })
}

pub(crate) fn of_address(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.address(id)?;
    page(state, call, |action| {
        action.resources.contains(&("primary_ip", id))
    })
}

pub(crate) fn of_firewall(state: &mut State, call: &Call) -> Answer {
    let id = call.id()?;
    state.firewall(id)?;
    page(state, call, |action| {
        action.resources.contains(&("firewall", id))
    })
}

fn page(state: &State, call: &Call, wanted: impl Fn(&Action) -> bool) -> Answer {
    let actions = state.actions.values().filter(|action| wanted(action));
    let listed = actions.map(wire::action).filter(|action: &Value| {
        call.query
            .wants("status", action["status"].as_str().unwrap_or(""))
    });
    let listed = listed.collect();
    Ok((200, call.query.page("actions", listed)?))
}
