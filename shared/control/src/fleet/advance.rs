//! One node's turn: what [`life::next`] says, until it has to wait.

use model::provider::{Address, ResourceId, ResourceKind, Server};
use model::{Fleet, GatewayId, Node, Stage};
use providers::{
    ActionId, ActionState, Family, Fault, NewAddress, NewServer, Provider, ProviderError,
    ServerStatus,
};
use rules::planning::{self, labels, life};

use super::Resource;
use super::faults::Turn;
use super::observe::has_little_left;
use super::worker::Worker;
use crate::Error;

/// The most that one node does in a run: more than there is from an intent to its end.
const MOST_TURNS: usize = 24;

/// What a node's provider shows under its name.
#[derive(Default)]
struct View {
    server: Option<Server>,
    address: Option<Address>,
    /// Whether it was looked at again in this turn, after an answer that nobody expected.
    looked: bool,
    /// Whether the turn before this one rented something.
    made: bool,
}

impl Worker<'_> {
    /// Takes a node as far as it gets.
    pub async fn advance(&mut self, id: &GatewayId) -> Result<(), Error> {
        let Some(node) = self.node(id).cloned() else {
            return Ok(());
        };
        if self.waits(&node) {
            return Ok(());
        }
        if !self.is_allowed(&node) {
            let mode = "its provider's mode does not allow going on with it";
            self.trouble(format_args!("{id}: {mode}"));
            return Ok(());
        }
        let Some(provider) = self.provider(&node.provider) else {
            self.trouble(format_args!(
                "{id}: provider {} is not set up here",
                node.provider
            ));
            return Ok(());
        };
        let Some(mut view) = self.view(&node) else {
            self.unreadable(&node);
            return Ok(());
        };
        for _ in 0..MOST_TURNS {
            if self.is_spent() {
                self.report.unfinished = true;
                // What the last call made is written down by a call that was kept for that.
                if view.made && !(self.run.is_late)() {
                    self.turn(id, provider.as_ref(), &mut view).await?;
                }
                return Ok(());
            }
            view.made = false;
            match self.turn(id, provider.as_ref(), &mut view).await? {
                Turn::Again => {}
                Turn::Look => {
                    if !self.look(id, provider.as_ref(), &mut view).await? {
                        return Ok(());
                    }
                }
                Turn::Over => return Ok(()),
            }
        }
        // Later runs go on; the others must not wait for one that goes in circles.
        self.trouble(format_args!("{id}: it did not get to an end in one run"));
        Ok(())
    }

    /// What the provider's list showed, if it could be read.
    fn view(&self, node: &Node) -> Option<View> {
        let lists = self.state.lists.get(&node.provider)?;
        let inventory = lists.inventory.as_ref().ok()?;
        let name = labels::node_name(&self.context.network.id, &node.gateway);
        // The oldest, where a provider's names are not unique: as looking it up by name does.
        let servers = inventory.servers.iter();
        let servers = servers.filter(|server| server.name == name);
        let addresses = inventory.addresses.iter();
        let addresses = addresses.filter(|address| address.name == name);
        let server = servers.min_by_key(|server| server.created_at);
        let address = addresses.min_by_key(|address| address.created_at);
        Some(View {
            server: server.cloned(),
            address: address.cloned(),
            looked: false,
            made: false,
        })
    }

    /// Says, once a run, that a provider's list cannot be read while nodes there are under way.
    fn unreadable(&mut self, node: &Node) {
        let lists = self.state.lists.get(&node.provider);
        let why = lists.and_then(|lists| lists.inventory.as_ref().err());
        let said = why.map(|why| format!("provider {}: {why}", node.provider));
        let is_news = |said: &String| !self.report.troubles.contains(said);
        let said = said.filter(is_news);
        self.report.troubles.extend(said);
    }

    async fn turn(
        &mut self,
        id: &GatewayId,
        provider: &dyn Provider,
        view: &mut View,
    ) -> Result<Turn, Error> {
        let Some(node) = self.node(id).cloned() else {
            return Ok(Turn::Over);
        };
        let next = self.next(&node, view);
        let calls = !matches!(
            next,
            life::Next::Wait
                | life::Next::Note(_)
                | life::Next::Leave { .. }
                | life::Next::Stuck(_)
        );
        if calls && self.closed.contains(&node.provider) {
            return Ok(Turn::Over);
        }
        match next {
            life::Next::Wait => Ok(Turn::Over),
            // The list that the run began with shows what carries our labels: whether it is gone is
            // asked by its name, whatever its labels became.
            life::Next::Stuck(_)
                if node.stage == Stage::Drained && view.server.is_none() && !view.looked =>
            {
                Ok(Turn::Look)
            }
            life::Next::Stuck(why) => self.stuck(&node, why).await,
            life::Next::Note(Stage::Off) if view.server.is_none() && !view.looked => Ok(Turn::Look),
            life::Next::Note(Stage::Absent) if !view.looked => Ok(Turn::Look),
            life::Next::Note(stage) => {
                let (server, address) = (view.server.as_ref(), view.address.as_ref());
                let noted = self.note(&node, stage, server, address).await?;
                Ok(self.noted(id, noted))
            }
            life::Next::Leave { why } => {
                let left = self.leave(&node, why).await?;
                Ok(self.noted(id, left))
            }
            life::Next::RentAddress => self.rent_address(&node, provider, view).await,
            life::Next::RentServer => self.rent_server(&node, provider, view).await,
            life::Next::PowerOff(server) => {
                let asked = provider.power_off(&server).await;
                self.asked(&node, provider, view, ResourceKind::Server, asked)
                    .await
            }
            life::Next::Release(address) => {
                let asked = provider.release_address(&address).await;
                self.asked(&node, provider, view, ResourceKind::Address, asked)
                    .await
            }
            life::Next::Delete(kind, resource) => {
                let asked = provider.delete(kind, &resource).await;
                if asked.is_ok() {
                    self.report
                        .deleted
                        .push(self.resource(&node, kind, &resource));
                }
                self.asked(&node, provider, view, kind, asked).await
            }
        }
    }

    fn next(&self, node: &Node, view: &View) -> life::Next {
        let gateway = self.state.gateways.get(&node.gateway);
        let fleet = self.state.fleet.fleet.as_ref();
        let seen_at = gateway.and_then(|(observed, _)| observed.seen_at);
        let now = self.context.moment.now;
        life::next(life::Sight {
            network: &self.context.network.id,
            node,
            gateway: gateway.map(|(observed, _)| &observed.gateway),
            seen_at,
            is_heard: planning::alive(seen_at, &self.context.network.timing, now),
            server: view.server.as_ref(),
            address: view.address.as_ref(),
            drain_seconds: fleet.map_or(Fleet::DRAIN_SECONDS, |fleet| fleet.drain_seconds),
            now,
        })
    }

    fn noted(&mut self, id: &GatewayId, noted: bool) -> Turn {
        if !noted {
            self.trouble(format_args!("{id}: somebody else changed it meanwhile"));
            return Turn::Over;
        }
        if self.node(id).is_none_or(|node| node.stage.is_over()) {
            self.report.gone.push(id.clone());
            return Turn::Over;
        }
        Turn::Again
    }

    /// Whether the provider's limit still has room for what is not a delete.
    fn has_room(&mut self, provider: &dyn Provider) -> bool {
        let is_low = has_little_left(provider);
        if is_low {
            let why = "few requests are left of its limit: they are kept for deletes";
            self.trouble(format_args!("{}: {why}", provider.name()));
            self.report.unfinished = true;
        }
        !is_low
    }

    async fn rent_address(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
        view: &mut View,
    ) -> Result<Turn, Error> {
        if !self.has_room(provider) {
            return Ok(Turn::Over);
        }
        match self.find_or_rent_address(node, provider).await {
            Ok(address) => {
                view.address = Some(address);
                view.made = true;
            }
            Err(error) => {
                let kind = ResourceKind::Address;
                return self.fault(&node.gateway, kind, error, view.looked).await;
            }
        }
        Ok(Turn::Again)
    }

    async fn rent_server(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
        view: &mut View,
    ) -> Result<Turn, Error> {
        let Some(address) = view.address.as_ref().map(|address| address.id.clone()) else {
            return Ok(Turn::Over);
        };
        if !self.has_room(provider) || !self.renew_token(node).await? {
            return Ok(Turn::Over);
        }
        let user_data = match self.user_data(node, provider) {
            Ok(Some(user_data)) => user_data,
            Ok(None) => return Ok(Turn::Over),
            Err(why) => return self.unable(node, why).await,
        };
        match self.find_or_rent(node, provider, address, user_data).await {
            Ok(Ok(server)) => {
                view.server = Some(server);
                view.made = true;
            }
            Ok(Err(why)) => return self.unable(node, why).await,
            Err(error) => {
                let kind = ResourceKind::Server;
                return self.fault(&node.gateway, kind, error, view.looked).await;
            }
        }
        Ok(Turn::Again)
    }

    async fn find_or_rent_address(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
    ) -> Result<Address, ProviderError> {
        let network = &self.context.network.id;
        let name = labels::node_name(network, &node.gateway);
        if let Some(there) = provider.address(&name).await? {
            return Ok(there);
        }
        let new = NewAddress {
            name,
            region: node.place.region.clone(),
            family: Family::Ipv4,
            labels: labels::of_node(network, node),
        };
        let started = provider.create_address(&new).await?;
        let made = self.resource(node, ResourceKind::Address, &started.resource.id);
        self.report.created.push(made);
        Ok(started.resource)
    }

    async fn find_or_rent(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
        address: ResourceId,
        user_data: String,
    ) -> Result<Result<Server, String>, ProviderError> {
        let network = &self.context.network.id;
        let name = labels::node_name(network, &node.gateway);
        if let Some(there) = provider.server(&name).await? {
            return Ok(Ok(there));
        }
        let firewall = match self.firewall(node, provider).await? {
            Ok(firewall) => firewall,
            Err(why) => return Ok(Err(why)),
        };
        let new = NewServer {
            name,
            region: node.place.region.clone(),
            size: node.place.size.clone(),
            image: node.place.image.clone(),
            address,
            family: Family::Ipv4,
            firewall,
            user_data,
            labels: labels::of_node(network, node),
        };
        let started = provider.create_server(&new).await?;
        let made = self.resource(node, ResourceKind::Server, &started.resource.id);
        self.report.created.push(made);
        Ok(Ok(started.resource))
    }

    /// What comes of having asked for something that takes its time: it is looked at once, and by
    /// the next run after that.
    async fn asked(
        &mut self,
        node: &Node,
        provider: &dyn Provider,
        view: &mut View,
        kind: ResourceKind,
        asked: Result<Option<ActionId>, ProviderError>,
    ) -> Result<Turn, Error> {
        let action = match asked {
            Ok(Some(action)) => action,
            Ok(None) => return Ok(Turn::Look),
            Err(error) if error.fault == Fault::Gone && !view.looked => return Ok(Turn::Look),
            Err(error) => return self.fault(&node.gateway, kind, error, view.looked).await,
        };
        match provider.poll(&action).await {
            Ok(ActionState::Done) => Ok(Turn::Look),
            Ok(ActionState::Running) => Ok(Turn::Over),
            Ok(ActionState::Failed { code, detail }) => {
                self.failed_action(node, &code, &detail).await?;
                Ok(Turn::Over)
            }
            Err(error) => self.fault(&node.gateway, kind, error, view.looked).await,
        }
    }

    /// Looks under the node's name; false if that cannot be done now. An address whose server is
    /// gone is nobody's, whatever the list that was read before said.
    async fn look(
        &mut self,
        id: &GatewayId,
        provider: &dyn Provider,
        view: &mut View,
    ) -> Result<bool, Error> {
        let name = labels::node_name(&self.context.network.id, id);
        let found = match provider.server(&name).await {
            Ok(server) => provider
                .address(&name)
                .await
                .map(|address| (server, address)),
            Err(error) => Err(error),
        };
        match found {
            Ok((server, address)) => {
                // What is on its way out is not asked again in this run.
                let waits = server
                    .as_ref()
                    .is_some_and(|server| server.status == ServerStatus::Deleting);
                view.looked = true;
                (view.server, view.address) = (server, address);
                Ok(!waits)
            }
            Err(error) => {
                self.fault(id, ResourceKind::Server, error, true).await?;
                Ok(false)
            }
        }
    }

    pub fn resource(&self, node: &Node, kind: ResourceKind, id: &ResourceId) -> Resource {
        Resource {
            provider: node.provider.clone(),
            kind,
            name: labels::node_name(&self.context.network.id, &node.gateway),
            id: id.clone(),
        }
    }
}

/// Whether a node needs no run: it serves, or it is gone.
pub(super) fn is_at_rest(node: &Node) -> bool {
    match node.mode {
        model::Mode::Smoke => node.stage.is_over(),
        _ => node.stage.is_over() || node.stage == Stage::Active,
    }
}
