//! Hetzner Cloud: <https://docs.hetzner.cloud/reference/cloud>, as it was in autumn 2026.
//!
//! What the adapter relies on:
//!
//! - Names are unique per kind in a project: a creation that is repeated is refused with
//!   `uniqueness_error`, and what has the name can be looked up by it.
//! - An address ("Primary IP") that is rented apart with `auto_delete` off stays when its server
//!   goes, and is billed on. It must be unassigned before it can be deleted, and its server off
//!   before it can be unassigned.
//! - Labels are replaced as a whole, and lists can be asked for by them.
//! - Whatever takes time is an action; deleting a server is one.
//!
//! Answers are read for what is needed of them and no more: a field that is missing, or has a value
//! that nobody knew, is an absent one here. Only what makes a list worthless, an entry without id
//! or name, is an error: to leave it out would be to forget what is paid for.
//!
//! The time that deprecations and waits are reckoned against is the answers' own `Date`: the
//! adapter has no clock.

mod client;
mod faults;
mod offers;
mod wire;

use std::fmt;
use std::sync::Arc;

use api::http::Http;
use async_trait::async_trait;
use http::Method;
use model::{NetworkId, ProviderName};
use serde_json::{Value, json};

use crate::{
    ActionId, ActionState, Address, Family, Fault, Firewall, Inventory, Labels, NETWORK_LABEL,
    NewAddress, NewFirewall, NewServer, Offers, Opening, Protocol, Provider, ProviderError, Rate,
    ResourceId, ResourceKind, Server, Started, Token,
};
use client::Client;

/// Where the API is.
pub const BASE_URL: &str = "https://api.hetzner.cloud/v1";
/// The most bytes of user data (API documentation, "Create a Server": 32 KiB).
const MOST_USER_DATA: usize = 32 * 1024;

/// Hetzner Cloud, one project of it.
pub struct Hetzner {
    client: Client,
}

impl Hetzner {
    /// The project of this token.
    pub fn new(http: Arc<dyn Http>, token: Token) -> Self {
        Self::at(http, token, BASE_URL)
    }

    /// The same, with its API elsewhere.
    pub fn at(http: Arc<dyn Http>, token: Token, base_url: &str) -> Self {
        let base = base_url.trim_end_matches('/').to_owned();
        Self {
            client: Client::new(http, token, base, provider_name()),
        }
    }
}

impl fmt::Debug for Hetzner {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("Hetzner")
    }
}

fn provider_name() -> ProviderName {
    "hetzner".parse().expect("it is of the form of names")
}

fn path(what: ResourceKind) -> &'static str {
    match what {
        ResourceKind::Server => "servers",
        ResourceKind::Address => "primary_ips",
        ResourceKind::Firewall => "firewalls",
    }
}

#[async_trait]
impl Provider for Hetzner {
    fn name(&self) -> ProviderName {
        provider_name()
    }

    fn most_user_data(&self) -> usize {
        MOST_USER_DATA
    }

    fn rate(&self) -> Option<Rate> {
        self.client.rate()
    }

    async fn offers(&self) -> Result<Offers, ProviderError> {
        offers::read(&self.client).await
    }

    async fn inventory(&self, network: &NetworkId) -> Result<Inventory, ProviderError> {
        let selector = format!("{NETWORK_LABEL}={network}");
        let query = [("label_selector", selector.as_str()), ("sort", "id:asc")];
        let mut inventory = Inventory {
            servers: self.list("servers", &query, wire::server).await?,
            addresses: self.list("primary_ips", &query, wire::address).await?,
            firewalls: self.list("firewalls", &query, wire::firewall).await?,
        };
        inventory.servers.sort_by(|a, b| a.name.cmp(&b.name));
        inventory.addresses.sort_by(|a, b| a.name.cmp(&b.name));
        inventory.firewalls.sort_by(|a, b| a.name.cmp(&b.name));
        Ok(inventory)
    }

    async fn server(&self, name: &str) -> Result<Option<Server>, ProviderError> {
        self.named("servers", name, wire::server).await
    }

    async fn address(&self, name: &str) -> Result<Option<Address>, ProviderError> {
        self.named("primary_ips", name, wire::address).await
    }

    async fn firewall(&self, name: &str) -> Result<Option<Firewall>, ProviderError> {
        self.named("firewalls", name, wire::firewall).await
    }

    async fn create_address(&self, new: &NewAddress) -> Result<Started<Address>, ProviderError> {
        let family = match new.family {
            Family::Ipv4 => "ipv4",
            Family::Ipv6 => "ipv6",
        };
        let body = json!({
            "name": new.name,
            "type": family,
            "location": new.region,
            "assignee_type": "server",
            "auto_delete": false,
            "labels": new.labels,
        });
        let doing = format!("create the address {}", new.name);
        self.create(&doing, "/primary_ips", &body, "primary_ip", wire::address)
            .await
    }

    async fn create_server(&self, new: &NewServer) -> Result<Started<Server>, ProviderError> {
        let doing = format!("create the server {}", new.name);
        let address = self.number(&doing, &new.address)?;
        let firewall = self.number(&doing, &new.firewall)?;
        // Its own address and no other: one that comes with a server bears no label of ours.
        let public_net = match new.family {
            Family::Ipv4 => json!({"enable_ipv4": true, "ipv4": address, "enable_ipv6": false}),
            Family::Ipv6 => json!({"enable_ipv4": false, "enable_ipv6": true, "ipv6": address}),
        };
        let body = json!({
            "name": new.name,
            "server_type": new.size,
            "image": new.image,
            "location": new.region,
            "start_after_create": true,
            "user_data": new.user_data,
            "labels": new.labels,
            "firewalls": [{"firewall": firewall}],
            "public_net": public_net,
        });
        self.create(&doing, "/servers", &body, "server", wire::server)
            .await
    }

    async fn create_firewall(&self, new: &NewFirewall) -> Result<Started<Firewall>, ProviderError> {
        let rules: Vec<Value> = new.lets_in.iter().copied().map(rule).collect();
        let body = json!({"name": new.name, "labels": new.labels, "rules": rules});
        let doing = format!("create the firewall {}", new.name);
        self.create(&doing, "/firewalls", &body, "firewall", wire::firewall)
            .await
    }

    async fn label(
        &self,
        what: ResourceKind,
        id: &ResourceId,
        labels: &Labels,
    ) -> Result<(), ProviderError> {
        let doing = format!("label {}/{}", path(what), id.0);
        let url = format!("/{}/{}", path(what), self.number(&doing, id)?);
        let body = json!({"labels": labels});
        let answer = self
            .client
            .send(&doing, Method::PUT, &url, Some(&body))
            .await;
        answer.map(|_| ())
    }

    async fn power_off(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError> {
        let doing = format!("power off servers/{}", id.0);
        let url = format!("/servers/{}/actions/poweroff", self.number(&doing, id)?);
        self.act(&doing, Method::POST, &url).await
    }

    async fn release_address(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError> {
        let doing = format!("release primary_ips/{}", id.0);
        let url = format!("/primary_ips/{}/actions/unassign", self.number(&doing, id)?);
        self.act(&doing, Method::POST, &url).await
    }

    async fn delete(
        &self,
        what: ResourceKind,
        id: &ResourceId,
    ) -> Result<Option<ActionId>, ProviderError> {
        let doing = format!("delete {}/{}", path(what), id.0);
        let url = format!("/{}/{}", path(what), self.number(&doing, id)?);
        self.act(&doing, Method::DELETE, &url).await
    }

    async fn poll(&self, action: &ActionId) -> Result<ActionState, ProviderError> {
        let doing = format!("poll the action {}", action.0);
        let id = self.number(&doing, &ResourceId(action.0.clone()))?;
        let answer = self.client.read(&doing, &format!("/actions/{id}")).await?;
        let state = wire::action_state(&answer.body["action"]);
        state.ok_or_else(|| answer.unreadable("an action"))
    }
}

impl Hetzner {
    /// All entries of a list.
    async fn list<T>(
        &self,
        field: &str,
        query: &[(&str, &str)],
        read: fn(&Value) -> Option<T>,
    ) -> Result<Vec<T>, ProviderError> {
        let pages = self.client.pages(field, query).await?;
        let mut list = Vec::new();
        for page in pages {
            for entry in page.entries(field)? {
                list.push(read(entry).ok_or_else(|| page.unreadable(field))?);
            }
        }
        Ok(list)
    }

    async fn named<T>(
        &self,
        field: &str,
        name: &str,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Option<T>, ProviderError> {
        let mut found = self.list(field, &[("name", name)], read).await?;
        Ok(if found.is_empty() {
            None
        } else {
            Some(found.swap_remove(0))
        })
    }

    async fn create<T>(
        &self,
        doing: &str,
        url: &str,
        body: &Value,
        field: &str,
        read: fn(&Value) -> Option<T>,
    ) -> Result<Started<T>, ProviderError> {
        let sent = self.client.send(doing, Method::POST, url, Some(body));
        let answer = sent.await?;
        let resource = read(&answer.body[field]).ok_or_else(|| answer.unreadable(field))?;
        let lists = ["next_actions", "actions"].iter();
        let more = lists.filter_map(|field| answer.body[field].as_array());
        let actions = [&answer.body["action"]].into_iter().chain(more.flatten());
        Ok(Started {
            resource,
            actions: actions.filter_map(wire::action_id).collect(),
        })
    }

    /// A change that at most starts an action.
    async fn act(
        &self,
        doing: &str,
        method: Method,
        url: &str,
    ) -> Result<Option<ActionId>, ProviderError> {
        let answer = self.client.send(doing, method, url, None).await?;
        Ok(wire::action_id(&answer.body["action"]))
    }

    /// The number that an id is here.
    fn number(&self, doing: &str, id: &ResourceId) -> Result<u64, ProviderError> {
        id.0.parse().map_err(|_| {
            let detail = format!("'{}' is no id of this provider", id.0);
            self.client.error(doing, Fault::Refused, detail)
        })
    }
}

/// A firewall's rule that lets everybody reach a port.
fn rule(opening: Opening) -> Value {
    let protocol = match opening.protocol {
        Protocol::Tcp => "tcp",
        Protocol::Udp => "udp",
        Protocol::Icmp => "icmp",
    };
    let mut rule = json!({
        "direction": "in",
        "protocol": protocol,
        "source_ips": wire::EVERYBODY,
    });
    if let Some(port) = opening.port {
        rule["port"] = json!(port.to_string());
    }
    rule
}
