//! What a server needs before it is rented: user data with a token that is good, and a firewall.

use jiff::SignedDuration;
use model::provider::{Firewall, ResourceId, ResourceKind};
use model::{GatewayState, Mode, Node};
use providers::{NewFirewall, Opening, Protocol, Provider, ProviderError};
use rules::planning::labels;

use super::apply::event;
use super::note::TOKEN_SECONDS;
use super::worker::{Staged, Worker};
use super::{Resource, cloud_init};
use crate::Error;

impl Worker<'_> {
    /// What the node is told when it boots; none if that cannot be said now, an error if it will not be
    /// by itself. A trial tries the fleet in force, the others come as the accepted one wants them.
    pub fn user_data(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
    ) -> Result<Option<String>, String> {
        let lists = self.state.lists.get(&node.provider);
        let offers = match lists.map(|lists| lists.offers.as_ref()) {
            Some(Ok(offers)) => offers,
            Some(Err(why)) => {
                let why = why.clone();
                self.trouble(format_args!("{}: {why}", node.gateway));
                return Ok(None);
            }
            None => return Ok(None),
        };
        let size = offers.sizes.get(&node.place.size);
        let fleet = match node.mode {
            Mode::Smoke => &self.state.in_force,
            _ => &self.state.fleet,
        };
        let fleet = fleet.fleet.as_ref();
        let agent = size
            .zip(fleet)
            .and_then(|(size, fleet)| fleet.agent.get(&size.architecture));
        let Some(agent) = agent else {
            return Err(format!(
                "{} is not on offer any more, or the fleet names no agent for it",
                node.place.size
            ));
        };
        let network = &self.context.network.id;
        let token = api::BootstrapText {
            contact: self.run.boot.contact.clone(),
            gateway: node.gateway.clone(),
            secret: self.run.boot.key.secret(network, &node.gateway),
        };
        let most = provider.most_user_data();
        cloud_init::render(&token.to_string(), agent, most)
            .map(Some)
            .map_err(|too_long| too_long.to_string())
    }

    /// Sees to it that the token with which the node's server will boot is good for an hour at least: its
    /// address may have waited for long. False if somebody else changed the record.
    pub async fn renew_token(&mut self, node: &Node) -> Result<bool, Error> {
        let now = self.context.moment.now;
        let soon = now + SignedDuration::from_hours(1);
        let there = self.state.gateways.get(&node.gateway);
        let Some((observed, _)) = there else {
            return Ok(true);
        };
        let gateway = &observed.gateway;
        let ends = gateway.bootstrap.as_ref().map(|token| token.expires_at);
        let waits = gateway.state == GatewayState::Provisioning;
        if !waits || ends.is_none_or(|ends| ends > soon) {
            return Ok(true);
        }
        let mut gateway = gateway.clone();
        if let Some(token) = &mut gateway.bootstrap {
            token.expires_at = now + SignedDuration::from_secs(TOKEN_SECONDS);
        }
        let mut staged = Staged::default();
        let why = "its bootstrap token was about to expire".to_owned();
        event(&mut staged, "node.token", node, why);
        staged.gateways.push(gateway);
        self.commit(staged).await
    }

    /// The firewall of the node's role and port, made if there is none yet; or why it is not ours.
    pub async fn firewall(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
    ) -> Result<Result<ResourceId, String>, ProviderError> {
        let network = &self.context.network.id;
        let name = labels::firewall_name(network, node.role, node.port);
        let listed = self.state.lists.get(&node.provider);
        let listed = listed.and_then(|lists| lists.inventory.as_ref().ok());
        let listed = listed.and_then(|inventory| {
            let mut firewalls = inventory.firewalls.iter();
            firewalls.find(|firewall| firewall.name == name).cloned()
        });
        let there = match listed {
            Some(there) => Some(there),
            None => provider.firewall(&name).await?,
        };
        let wanted = NewFirewall {
            name,
            lets_in: lets_in(node.port),
            labels: labels::of_firewall(network, node.role),
        };
        let firewall = if let Some(there) = there {
            there
        } else {
            let started = provider.create_firewall(&wanted).await?;
            self.report.created.push(Resource {
                provider: node.provider.clone(),
                kind: ResourceKind::Firewall,
                name: wanted.name.clone(),
                id: started.resource.id.clone(),
            });
            started.resource
        };
        if !is_ours(&firewall, &wanted) {
            return Ok(Err(format!(
                "the firewall {} is not as it should be (it lets in {:?}): delete it at {}",
                firewall.name, firewall.lets_in, node.provider
            )));
        }
        let lists = self.state.lists.get_mut(&node.provider);
        if let Some(inventory) = lists.and_then(|lists| lists.inventory.as_mut().ok())
            && !inventory.firewalls.iter().any(|one| one.id == firewall.id)
        {
            inventory.firewalls.push(firewall.clone());
        }
        Ok(Ok(firewall.id))
    }
}

/// What a gateway's firewall lets in: its tunnels, and what path MTU discovery needs.
fn lets_in(port: u16) -> std::collections::BTreeSet<Opening> {
    let tunnels = Opening {
        protocol: Protocol::Udp,
        port: Some(port),
    };
    let icmp = Opening {
        protocol: Protocol::Icmp,
        port: None,
    };
    [tunnels, icmp].into()
}

/// Whether a firewall carries our labels and lets in what it should.
fn is_ours(firewall: &Firewall, wanted: &NewFirewall) -> bool {
    let has = |(key, value): (&String, &String)| firewall.labels.get(key) == Some(value);
    wanted.labels.iter().all(has) && firewall.lets_in == wanted.lets_in
}
