//! A provider whose calls go through a board.

use std::future::Future;
use std::sync::Arc;

use async_trait::async_trait;
use model::provider::{Labels, ResourceId, ResourceKind};
use model::{NetworkId, ProviderName};
use providers::{
    ActionId, ActionState, Address, Fault, Firewall, Inventory, NewAddress, NewFirewall, NewServer,
    Offers, Provider, ProviderError, Rate, Server, Started,
};

use super::board::Board;
use super::fleets::hetzner;

/// A provider behind a board: its calls are named after what they do.
pub struct BoardProvider {
    pub board: Arc<Board>,
    pub provider: Arc<dyn Provider>,
}

impl BoardProvider {
    async fn call<T>(
        &self,
        doing: String,
        act: impl Future<Output = Result<T, ProviderError>> + Send,
    ) -> Result<T, ProviderError> {
        let error = || ProviderError {
            provider: hetzner(),
            doing: doing.clone(),
            fault: Fault::Unclear,
            code: None,
            detail: "by the board".to_owned(),
            request: None,
        };
        self.board
            .call(format!("provider {doing}"), error, act)
            .await
    }
}

#[async_trait]
impl Provider for BoardProvider {
    fn name(&self) -> ProviderName {
        self.provider.name()
    }

    fn most_user_data(&self) -> usize {
        self.provider.most_user_data()
    }

    fn rate(&self) -> Option<Rate> {
        self.provider.rate()
    }

    async fn offers(&self) -> Result<Offers, ProviderError> {
        self.call("offers".to_owned(), self.provider.offers()).await
    }

    async fn inventory(&self, network: &NetworkId) -> Result<Inventory, ProviderError> {
        self.call("inventory".to_owned(), self.provider.inventory(network))
            .await
    }

    async fn server(&self, name: &str) -> Result<Option<Server>, ProviderError> {
        self.call("server".to_owned(), self.provider.server(name))
            .await
    }

    async fn address(&self, name: &str) -> Result<Option<Address>, ProviderError> {
        self.call("address".to_owned(), self.provider.address(name))
            .await
    }

    async fn firewall(&self, name: &str) -> Result<Option<Firewall>, ProviderError> {
        self.call("firewall".to_owned(), self.provider.firewall(name))
            .await
    }

    async fn create_address(&self, new: &NewAddress) -> Result<Started<Address>, ProviderError> {
        self.call(
            "create_address".to_owned(),
            self.provider.create_address(new),
        )
        .await
    }

    async fn create_server(&self, new: &NewServer) -> Result<Started<Server>, ProviderError> {
        self.call("create_server".to_owned(), self.provider.create_server(new))
            .await
    }

    async fn create_firewall(&self, new: &NewFirewall) -> Result<Started<Firewall>, ProviderError> {
        self.call(
            "create_firewall".to_owned(),
            self.provider.create_firewall(new),
        )
        .await
    }

    async fn label(
        &self,
        what: ResourceKind,
        id: &ResourceId,
        labels: &Labels,
    ) -> Result<(), ProviderError> {
        self.call(
            format!("label {what}"),
            self.provider.label(what, id, labels),
        )
        .await
    }

    async fn power_off(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError> {
        self.call("power_off".to_owned(), self.provider.power_off(id))
            .await
    }

    async fn release_address(&self, id: &ResourceId) -> Result<Option<ActionId>, ProviderError> {
        self.call(
            "release_address".to_owned(),
            self.provider.release_address(id),
        )
        .await
    }

    async fn delete(
        &self,
        what: ResourceKind,
        id: &ResourceId,
    ) -> Result<Option<ActionId>, ProviderError> {
        self.call(format!("delete {what}"), self.provider.delete(what, id))
            .await
    }

    async fn poll(&self, action: &ActionId) -> Result<ActionState, ProviderError> {
        self.call("poll".to_owned(), self.provider.poll(action))
            .await
    }
}
