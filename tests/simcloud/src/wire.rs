//! Resources as JSON, in the shapes of Hetzner's API.

use jiff::Timestamp;
use serde_json::{Value, json};

use crate::settings::{Image, Offer, Price, ServerType, Shop};
use crate::state::{Action, Address, Firewall, Server, State, Status};

pub(crate) fn action(action: &Action) -> Value {
    let status = match (action.finished, action.error) {
        (None, _) => "running",
        (Some(_), None) => "success",
        (Some(_), Some(_)) => "error",
    };
    let resources = action.resources.iter();
    let error = action.error.filter(|_| action.finished.is_some());
    json!({
        "id": action.id,
        "command": action.command,
        "status": status,
        "progress": if action.finished.is_some() { 100 } else { 50 },
        "started": time(action.started),
        "finished": action.finished.map(time),
        "resources": resources.map(|(kind, id)| json!({"id": id, "type": kind})).collect::<Vec<_>>(),
        "error": error.map(|code| json!({"code": code, "message": "the action failed"})),
    })
}

pub(crate) fn actions(state: &State, ids: &[u64]) -> Vec<Value> {
    ids.iter().map(|id| action(&state.actions[id])).collect()
}

pub(crate) fn server(state: &State, server: &Server) -> Value {
    let shop = &state.settings.shop;
    let server_type = shop.server_type(&server.size).expect("it was rented");
    let image = shop.images.iter().find(|image| image.id == server.image);
    let address = |family: &str| {
        let mut addresses = state.addresses_of(server.id);
        addresses.find(|address| address.family() == family)
    };
    let ipv4 = address("ipv4").map(|address| {
        let name = format!("static.{}.clients.example", address.ip);
        json!({"id": address.id, "ip": address.ip, "blocked": false, "dns_ptr": name})
    });
    let ipv6 = address("ipv6").map(
        |address| json!({"id": address.id, "ip": ip(address), "blocked": false, "dns_ptr": []}),
    );
    let firewalls = server.firewalls.iter();
    json!({
        "id": server.id,
        "name": server.name,
        "status": status(server.status),
        "created": time(server.created),
        "public_net": {
            "ipv4": ipv4,
            "ipv6": ipv6,
            "floating_ips": [],
            "firewalls": firewalls
                .map(|id| json!({"id": id, "status": "applied"}))
                .collect::<Vec<_>>(),
        },
        "private_net": [],
        "server_type": type_of(shop, server_type, state.now),
        "location": location(shop, &server.location),
        "image": image.map(image_of),
        "iso": null,
        "rescue_enabled": false,
        "locked": matches!(server.status, Status::Initializing | Status::Deleting),
        "backup_window": null,
        "outgoing_traffic": 0,
        "ingoing_traffic": 0,
        "included_traffic": 21_990_232_555_520_u64,
        "protection": {"delete": false, "rebuild": false},
        "labels": server.labels,
        "volumes": [],
        "load_balancers": [],
        "primary_disk_size": server_type.disk,
        "placement_group": null,
    })
}

fn status(status: Status) -> &'static str {
    match status {
        Status::Initializing => "initializing",
        Status::Starting => "starting",
        Status::Running => "running",
        Status::Stopping => "stopping",
        Status::Off => "off",
        Status::Deleting => "deleting",
    }
}

pub(crate) fn address(state: &State, address: &Address) -> Value {
    // Since autumn 2026 an address of nobody says so.
    let assignee_type = if address.server.is_some() {
        "server"
    } else {
        "unassigned"
    };
    json!({
        "id": address.id,
        "name": address.name,
        "type": address.family(),
        "ip": ip(address),
        "assignee_type": assignee_type,
        "assignee_id": address.server,
        "auto_delete": address.auto_delete,
        "blocked": false,
        "created": time(address.created),
        "dns_ptr": [],
        "labels": address.labels,
        "location": location(&state.settings.shop, &address.location),
        "protection": {"delete": false},
    })
}

fn ip(address: &Address) -> String {
    let network = if address.ip.is_ipv4() { "" } else { "/64" };
    format!("{}{network}", address.ip)
}

pub(crate) fn firewall(state: &State, firewall: &Firewall) -> Value {
    let servers = state.servers.values();
    let guarded = servers.filter(|server| server.firewalls.contains(&firewall.id));
    json!({
        "id": firewall.id,
        "name": firewall.name,
        "labels": firewall.labels,
        "created": time(firewall.created),
        "rules": firewall.rules,
        "applied_to": guarded
            .map(|server| json!({"type": "server", "server": {"id": server.id}}))
            .collect::<Vec<_>>(),
    })
}

pub(crate) fn location(shop: &Shop, name: &str) -> Value {
    let place = shop.locations.iter().position(|(known, _)| known == name);
    let place = place.expect("a location of the shop");
    json!({
        "id": place + 1,
        "name": name,
        "description": format!("{name} data center park"),
        "country": "DE",
        "city": name,
        "latitude": 50.5,
        "longitude": 12.5,
        "network_zone": shop.locations[place].1,
    })
}

pub(crate) fn image_of(image: &Image) -> Value {
    let (flavor, version) = image.name.split_once('-').unwrap_or((&image.name, ""));
    json!({
        "id": image.id,
        "name": image.name,
        "type": "system",
        "status": "available",
        "description": image.name,
        "image_size": null,
        "disk_size": 5,
        "created": "2026-01-01T00:00:00Z",
        "created_from": null,
        "bound_to": null,
        "os_flavor": flavor,
        "os_version": version,
        "rapid_deploy": true,
        "protection": {"delete": false},
        "deprecated": image.deprecated.map(time),
        "deleted": null,
        "labels": {},
        "architecture": image.architecture,
    })
}

pub(crate) fn type_of(shop: &Shop, server_type: &ServerType, now: Timestamp) -> Value {
    let offers = server_type.locations.iter();
    let locations = offers.clone().map(|(name, offer)| {
        let place = shop.locations.iter().position(|(known, _)| known == name);
        let deprecation = offer.unavailable_after.map(
            |after| json!({"announced": "2026-10-01T00:00:00Z", "unavailable_after": time(after)}),
        );
        json!({
            "id": place.expect("a location of the shop") + 1,
            "name": name,
            "available": is_available(offer, now),
            "recommended": is_available(offer, now),
            "deprecation": deprecation,
        })
    });
    json!({
        "id": server_type.id,
        "name": server_type.name,
        "description": server_type.name.to_uppercase(),
        "category": "cost_optimized",
        "cores": server_type.cores,
        "memory": server_type.memory,
        "disk": server_type.disk,
        "deprecated": false,
        "deprecation": null,
        "storage_type": "local",
        "cpu_type": "shared",
        "architecture": server_type.architecture,
        "prices": type_prices(shop, server_type),
        "locations": locations.collect::<Vec<_>>(),
    })
}

/// Whether somebody gets one now.
pub(crate) fn is_available(offer: &Offer, now: Timestamp) -> bool {
    offer.capacity != Some(0) && offer.unavailable_after.is_none_or(|after| now < after)
}

pub(crate) fn type_prices(shop: &Shop, server_type: &ServerType) -> Vec<Value> {
    let offers = server_type.locations.iter();
    offers
        .map(|(name, offer)| {
            let mut price = price(shop, offer.price);
            price["location"] = json!(name);
            price["included_traffic"] = json!(21_990_232_555_520_u64);
            price["price_per_tb_traffic"] = amount(shop, 1_190_000);
            price
        })
        .collect()
}

pub(crate) fn price(shop: &Shop, price: Price) -> Value {
    json!({
        "price_hourly": amount(shop, price.hour),
        "price_monthly": amount(shop, price.month),
    })
}

/// An amount, net and gross, as decimal strings.
pub(crate) fn amount(shop: &Shop, gross: u64) -> Value {
    let net = gross * 100_000 / (100 + u64::from(shop.vat));
    let (whole, part) = (net / 1_000_000_000, net % 1_000_000_000);
    json!({
        "net": format!("{whole}.{part:09}0"),
        "gross": format!("{}.{:06}0000000000", gross / 1_000_000, gross % 1_000_000),
    })
}

/// A time as Hetzner writes it.
pub(crate) fn time(time: Timestamp) -> String {
    time.strftime("%Y-%m-%dT%H:%M:%SZ").to_string()
}
