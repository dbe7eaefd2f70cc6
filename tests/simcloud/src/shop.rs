//! `/locations`, `/server_types`, `/images`, `/pricing`: what is rented, and for how much.

use serde_json::{Value, json};

use crate::call::{Answer, Call};
use crate::error::Refusal;
use crate::labels::Labels;
use crate::settings::Price;
use crate::state::State;
use crate::wire;

fn page(call: &Call, field: &str, all: Vec<Value>) -> Answer {
    let wanted = call.query.filter()?;
    let named = |entry: &Value| wanted(entry["name"].as_str().unwrap_or(""), &Labels::new());
    let listed = all.into_iter().filter(named).collect();
    Ok((200, call.query.page(field, listed)?))
}

fn one(call: &Call, field: &str, all: Vec<Value>) -> Answer {
    let id = call.id()?;
    let found = all.into_iter().find(|entry| entry["id"] == id);
    let found = found.ok_or_else(|| Refusal::not_found(field, id))?;
    Ok((200, json!({field: found})))
}

fn all_locations(state: &State) -> Vec<Value> {
    let shop = &state.settings.shop;
    let names = shop.locations.iter().map(|(name, _)| name);
    names.map(|name| wire::location(shop, name)).collect()
}

fn all_types(state: &State) -> Vec<Value> {
    let shop = &state.settings.shop;
    let types = shop.types.iter();
    types
        .map(|known| wire::type_of(shop, known, state.now))
        .collect()
}

pub(crate) fn locations(state: &mut State, call: &Call) -> Answer {
    page(call, "locations", all_locations(state))
}

pub(crate) fn location(state: &mut State, call: &Call) -> Answer {
    one(call, "location", all_locations(state))
}

pub(crate) fn types(state: &mut State, call: &Call) -> Answer {
    page(call, "server_types", all_types(state))
}

pub(crate) fn server_type(state: &mut State, call: &Call) -> Answer {
    one(call, "server_type", all_types(state))
}

pub(crate) fn images(state: &mut State, call: &Call) -> Answer {
    let deprecated = call.query.get("include_deprecated") == Some("true");
    let images = state.settings.shop.images.iter();
    let listed = images
        .filter(|image| deprecated || image.deprecated.is_none())
        .map(wire::image_of)
        .filter(|image| {
            let is = |field: &str| image[field].as_str().unwrap_or("").to_owned();
            ["type", "status", "architecture"]
                .iter()
                .all(|field| call.query.wants(field, &is(field)))
        });
    let listed = listed.collect();
    page(call, "images", listed)
}

pub(crate) fn image(state: &mut State, call: &Call) -> Answer {
    let images = state.settings.shop.images.iter().map(wire::image_of);
    one(call, "image", images.collect())
}

#[allow(clippy::unnecessary_wraps, reason = "it is a handler as the others")]
pub(crate) fn pricing(state: &mut State, _call: &Call) -> Answer {
    let shop = &state.settings.shop;
    let types = shop.types.iter().map(|known| {
        json!({"id": known.id, "name": known.name, "prices": wire::type_prices(shop, known)})
    });
    let free = Price { hour: 0, month: 0 };
    let addresses = [("ipv4", shop.ipv4), ("ipv6", free)].map(|(family, price)| {
        let locations = shop.locations.iter().map(|(name, _)| {
            let mut price = wire::price(shop, price);
            price["location"] = json!(name);
            price
        });
        json!({"type": family, "prices": locations.collect::<Vec<_>>()})
    });
    let some = wire::amount(shop, 1_190_000);
    Ok((
        200,
        json!({"pricing": {
            "currency": "EUR",
            "vat_rate": format!("{}.000000", shop.vat),
            "image": {"price_per_gb_month": some},
            "floating_ip": {"price_monthly": some},
            "floating_ips": [],
            "load_balancer_types": [],
            "primary_ips": addresses,
            "server_backup": {"percentage": "20.000000"},
            "server_types": types.collect::<Vec<_>>(),
            "volume": {"price_per_gb_month": some},
        }}),
    ))
}
