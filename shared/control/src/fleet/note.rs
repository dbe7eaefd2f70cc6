//! Writing down how far a node is, with what belongs to it: its gateway's record, its pool's luck, the
//! audit.

use std::net::SocketAddr;

use jiff::SignedDuration;
use model::gateway::Bootstrap;
use model::node::PoolState;
use model::provider::{Address, Server};
use model::{Gateway, GatewayState, Mode, Node, Stage, id};
use rules::planning::waiting;

use super::apply::{end_gateway, event, staged_pool};
use super::worker::{Staged, Worker};
use crate::gateways::states;
use crate::{Error, checks};

/// How long a bootstrap token is good for, in seconds. Its node is removed sooner if it does not
/// register; where its server cannot be rented for so long it is renewed.
pub(super) const TOKEN_SECONDS: i64 = 24 * 3600;

impl Worker<'_> {
    /// Commits that a node is at `stage`; false if somebody else changed its records meanwhile.
    pub async fn note(
        &mut self,
        node: &Node,
        stage: Stage,
        server: Option<&Server>,
        address: Option<&Address>,
    ) -> Result<bool, Error> {
        let now = self.context.moment.now;
        let mut after = Node {
            stage,
            changed_at: now,
            tries: 0,
            not_before: None,
            last_error: None,
            ..node.clone()
        };
        let mut staged = Staged::default();
        match stage {
            Stage::Address => {
                let Some(address) = address else {
                    return Ok(false);
                };
                let endpoint = SocketAddr::new(address.ip, node.port);
                if let Err(error) = checks::endpoint(&self.run.boot.limits, endpoint) {
                    let why = format!(
                        "{error}: have the offline keys sign wider limits, or {}",
                        "take another region"
                    );
                    return self.give_up(node, why).await;
                }
                after.hints.address = Some(address.id.clone());
                after.hints.ip = Some(address.ip);
                staged.gateways.push(self.provisioning(node, endpoint));
            }
            Stage::Server => {
                let made = server.and_then(|server| server.created_at);
                after.server_at = Some(made.map_or(now, |made| made.min(now)));
                after.hints.server = server.map(|server| server.id.clone());
            }
            Stage::Active => {
                after.proved_at = after.proved_at.or(Some(now));
                after.leaving = None;
                self.praise(node, &mut staged);
            }
            Stage::Drained => end_gateway(self, &node.gateway, &mut staged),
            Stage::Absent => self.retire(node, &mut staged),
            _ => {}
        }
        let detail = after.leaving.clone().unwrap_or_default();
        event(&mut staged, &format!("node.{stage}"), &after, detail);
        staged.nodes.push(after);
        self.commit(staged).await
    }

    /// Commits that a node leaves without draining.
    pub async fn leave(&mut self, node: &Node, why: String) -> Result<bool, Error> {
        self.leave_with(node, why, |_| None).await
    }

    /// Commits that a node leaves because of something that concerns all its pool: the pool waits,
    /// and says why.
    pub async fn give_up(&mut self, node: &Node, why: String) -> Result<bool, Error> {
        let now = self.context.moment.now;
        let alarm = why.clone();
        let wait = SignedDuration::from_mins(30);
        let is_trial = node.mode == Mode::Smoke;
        self.leave_with(node, why, move |pool| {
            if is_trial {
                return None;
            }
            let mut pool = waiting::failed(pool, now);
            pool.not_before = Some(pool.not_before.unwrap_or(now).max(now + wait));
            pool.alarm = Some(alarm);
            Some(pool)
        })
        .await
    }

    /// Commits that a node leaves, and what becomes of its pool.
    pub async fn leave_with(
        &mut self,
        node: &Node,
        why: String,
        pool: impl FnOnce(&PoolState) -> Option<PoolState>,
    ) -> Result<bool, Error> {
        self.trouble(format_args!("{}: {why}", node.gateway));
        let after = Node {
            stage: Stage::Drained,
            changed_at: self.context.moment.now,
            leaving: Some(why.clone()),
            tries: 0,
            not_before: None,
            ..node.clone()
        };
        let mut staged = Staged::default();
        end_gateway(self, &node.gateway, &mut staged);
        if let Some(pool) = pool(&staged_pool(self, &staged, &node.pool)) {
            staged.pools.insert(node.pool.clone(), pool);
        }
        event(&mut staged, "node.drained", &after, why);
        staged.nodes.push(after);
        self.commit(staged).await
    }

    /// The record of a node's gateway, with the hash of the secret that it will register with.
    fn provisioning(&self, node: &Node, endpoint: SocketAddr) -> Gateway {
        let now = self.context.moment.now;
        let secret = self
            .run
            .boot
            .key
            .secret(&self.context.network.id, &node.gateway);
        Gateway {
            id: node.gateway.clone(),
            role: node.role,
            state: GatewayState::Provisioning,
            region: node.place.region.to_string(),
            endpoint,
            pool: node.pool.clone(),
            cohorts: node.cohorts.clone(),
            bootstrap: Some(Bootstrap {
                hash: id::bootstrap_hash(&secret),
                expires_at: now + SignedDuration::from_secs(TOKEN_SECONDS),
            }),
            keys: None,
            previous: None,
            rotation_wanted_at: None,
            created_at: now,
            changed_at: now,
        }
    }

    /// A node came into service: its pool's failures are forgotten.
    fn praise(&self, node: &Node, staged: &mut Staged) {
        let before = staged_pool(self, staged, &node.pool);
        let after = waiting::succeeded(&before);
        if node.mode == Mode::Live && before != after {
            staged.pools.insert(node.pool.clone(), after);
        }
    }

    fn retire(&self, node: &Node, staged: &mut Staged) {
        let Some((observed, _)) = self.state.gateways.get(&node.gateway) else {
            return;
        };
        if observed.gateway.state != GatewayState::Retired {
            let now = self.context.moment.now;
            let (gateway, beats) = states::retired(&observed.gateway, now);
            staged.gateways.push(gateway);
            staged.others.extend(beats);
        }
    }
}
