//! What a run works on: the state as it is after each of its commits.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use jiff::SignedDuration;
use model::node::PoolState;
use model::{Actor, Gateway, GatewayId, Mode, Node, PoolName, ProviderName};
use providers::{Provider, ProviderError};
use rules::health::Observed;
use store::{CommitError, Expect, Write};

use super::observe::State;
use super::{Report, Rest, Run};
use crate::{Context, Error, audit, items};

/// One run under way.
pub(super) struct Worker<'a> {
    pub run: &'a Run<'a>,
    pub context: Context<'a>,
    pub state: State,
    pub report: Report,
    pub actor: Actor,
    /// Providers that are asked nothing more in this run.
    pub closed: BTreeSet<ProviderName>,
    /// How many audit events the run has made: each has an id of its own.
    events: u32,
}

/// Records that change together.
#[derive(Default)]
pub(super) struct Staged {
    pub nodes: Vec<Node>,
    pub gateways: Vec<Gateway>,
    pub pools: BTreeMap<PoolName, PoolState>,
    /// Audit events: action, gateway, detail.
    pub events: Vec<(String, GatewayId, String)>,
    /// What else is written with them.
    pub others: Vec<Write>,
}

impl<'a> Worker<'a> {
    pub fn new(run: &'a Run<'a>, context: Context<'a>, state: State, actor: Actor) -> Self {
        Self {
            run,
            context,
            state,
            report: Report::default(),
            actor,
            closed: BTreeSet::new(),
            events: 0,
        }
    }

    pub fn provider(&self, name: &ProviderName) -> Option<&'a Arc<dyn Provider>> {
        let mut providers = self.run.providers.iter();
        providers.find(|provider| provider.name() == *name)
    }

    /// The record of a node, as of the run's last commit.
    pub fn node(&self, id: &GatewayId) -> Option<&Node> {
        self.state.nodes.get(id).map(|(node, _)| node)
    }

    /// Whether a trial, or the fleet, may be worked on at a provider. What a trial left behind may go
    /// whatever the mode is.
    pub fn is_allowed(&self, node: &Node) -> bool {
        let policy = self.state.policies.get(&node.provider);
        let mode = policy.map_or(Mode::Plan, |(policy, _)| {
            policy.mode_at(self.context.moment.now)
        });
        match node.mode {
            Mode::Smoke => mode >= Mode::Smoke || node.stage.is_leaving(),
            _ => mode == Mode::Live,
        }
    }

    /// Whether nothing new should be begun. What came of the last call can still be written then.
    pub fn is_spent(&self) -> bool {
        self.run.meter.spare() == 0 || (self.run.is_late)()
    }

    pub fn trouble(&mut self, what: impl std::fmt::Display) {
        self.report.troubles.push(what.to_string());
    }

    /// Commits records that change together, each in the place of the one that this run has seen;
    /// false, and nothing, if somebody else was faster.
    pub async fn commit(&mut self, staged: Staged) -> Result<bool, Error> {
        let now = self.context.moment.now;
        let Staged {
            nodes,
            gateways,
            pools,
            events,
            others,
        } = staged;
        let mut writes = others;
        for node in &nodes {
            let expect = expect(self.state.nodes.get(&node.gateway));
            let kept = SignedDuration::from_hours(24 * super::KEPT_DAYS);
            let until = node.stage.is_over().then(|| now + kept);
            writes.push(items::put_until(
                items::node(&node.gateway),
                expect,
                node,
                until,
            ));
        }
        for gateway in &gateways {
            let expect = expect(self.state.gateways.get(&gateway.id));
            writes.push(items::put(items::gateway(&gateway.id), expect, gateway));
        }
        for (name, pool) in &pools {
            let there = self.state.pools.get(name);
            let expect = there.map_or(Expect::Absent, |(_, expect)| *expect);
            writes.push(items::put(items::pool(name), expect, pool));
        }
        for (action, subject, detail) in events {
            self.events += 1;
            let (context, actor) = (&self.context, &self.actor);
            writes.push(audit::write(
                context,
                self.events,
                actor,
                &action,
                &subject,
                detail,
            ));
        }
        match self.context.store.commit(now, writes).await {
            Ok(()) => {}
            Err(CommitError::Failed(_)) => return Ok(false),
            Err(error) => return Err(error.into()),
        }
        self.absorb(nodes, gateways, pools);
        Ok(true)
    }

    /// Takes what was committed into the state.
    fn absorb(
        &mut self,
        nodes: Vec<Node>,
        gateways: Vec<Gateway>,
        pools: BTreeMap<PoolName, PoolState>,
    ) {
        for node in nodes {
            self.report.noted.push((node.gateway.clone(), node.stage));
            let version = self
                .state
                .nodes
                .get(&node.gateway)
                .map_or(0, |(_, version)| *version);
            self.state
                .nodes
                .insert(node.gateway.clone(), (node, version + 1));
        }
        for gateway in gateways {
            let there = self.state.gateways.remove(&gateway.id);
            let (seen_at, load, version) = there.map_or((None, 0, 0), |(observed, version)| {
                (observed.seen_at, observed.load, version)
            });
            let id = gateway.id.clone();
            let observed = Observed {
                gateway,
                seen_at,
                load,
            };
            self.state.gateways.insert(id, (observed, version + 1));
        }
        for (name, pool) in pools {
            let version = match self.state.pools.get(&name) {
                Some((_, Expect::Version(version))) => version + 1,
                _ => 1,
            };
            self.state
                .pools
                .insert(name, (pool, Expect::Version(version)));
        }
    }

    /// Writes down that a provider wants to be left alone, and asks it nothing more in this run.
    pub async fn rest(
        &mut self,
        provider: &ProviderName,
        seconds: u32,
        why: String,
    ) -> Result<(), Error> {
        let now = self.context.moment.now;
        self.closed.insert(provider.clone());
        self.trouble(&why);
        // Some seconds more, drawn: whoever waits for the same limit does not come at once.
        let drawn = self.context.moment.random(u32::MAX)[0] % 8;
        let seconds = i64::from(seconds.max(1)) + i64::from(drawn);
        let rest = Rest {
            not_before: now + SignedDuration::from_secs(seconds),
            why,
        };
        let until = Some(rest.not_before);
        let put = items::put_until(items::rest(provider), Expect::Any, &rest, until);
        self.context.store.commit(now, vec![put]).await?;
        Ok(())
    }

    /// Asks a provider nothing more in this run, because nobody would be told.
    pub fn close(&mut self, error: &ProviderError) {
        self.closed.insert(error.provider.clone());
        self.trouble(error);
    }
}

fn expect<T>(there: Option<&(T, u64)>) -> Expect {
    there.map_or(Expect::Absent, |(_, version)| Expect::Version(*version))
}
