//! All that a plan and a run are made of: first the records, then the providers' lists. What was
//! made before its record says so is on the list then, and nothing that a record says is there can
//! be missing only because the list is the older one.

use std::collections::{BTreeMap, BTreeSet};
use std::sync::Arc;

use api::Kind;
use api::fleet::FleetView;
use model::node::PoolState;
use model::provider::{Inventory, Offers, Price};
use model::{Fleet, Gateway, GatewayId, Node, PoolName, ProviderName, ProviderPolicy};
use providers::{Fault, Provider, ProviderError};
use rules::health::Observed;
use rules::planning::{self, Input, Plan, Providing};
use store::{Expect, Item, Key, Range, StoreError};

use super::{Rest, desired, modes};
use crate::items::Read as _;
use crate::publish::Alarm;
use crate::{Context, Error, gateways, items};

/// The state of the fleet.
pub(super) struct State {
    /// The fleet that is planned for: the one in force, or the accepted one ([`State::accepted`]).
    pub fleet: FleetView,
    /// The fleet in force.
    pub in_force: FleetView,
    /// Where the fleet that is planned for is, and at which version.
    pub fleet_at: (Key, Expect),
    /// The last fleet of which somebody has carried out a plan.
    pub accepted: (FleetView, Expect),
    pub nodes: BTreeMap<GatewayId, (Node, u64)>,
    pub gateways: BTreeMap<GatewayId, (Observed, u64)>,
    pub pools: BTreeMap<PoolName, (PoolState, Expect)>,
    pub policies: BTreeMap<ProviderName, (ProviderPolicy, Expect)>,
    pub lists: BTreeMap<ProviderName, Lists>,
    pub mass_silence: bool,
    /// Providers that said when to come back, in this run: not written down yet.
    pub waits: BTreeMap<ProviderName, (u32, String)>,
    /// Whether the budget ended while the lists were read.
    pub spent: bool,
}

/// What a provider shows.
pub(super) struct Lists {
    pub inventory: Result<Inventory, String>,
    pub offers: Result<Offers, String>,
}

impl State {
    /// Reads the records, and then the lists of the providers that matter.
    pub async fn read(
        context: &Context<'_>,
        providers: &[Arc<dyn Provider>],
    ) -> Result<Self, Error> {
        let now = context.moment.now;
        let nodes = read_all::<Node>(context, items::NODES).await?;
        let pools = read_all::<PoolState>(context, items::POOLS).await?;
        let observed = gateways::observe(context).await?;

        let names: Vec<ProviderName> = providers.iter().map(|provider| provider.name()).collect();
        let mut keys = vec![items::fleet(), items::alarm(), items::fleet_accepted()];
        keys.extend(names.iter().map(items::provider));
        keys.extend(names.iter().map(items::rest));
        let found = context.store.get_many(now, &keys).await?;
        let fleet = found[0].as_ref();
        let alarm: Option<Alarm> = items::read(found[1].as_ref())?;
        let (policies, rests) = found[3..].split_at(names.len());
        let expect =
            |item: Option<&Item>| item.map_or(Expect::Absent, |item| Expect::Version(item.version));
        let accepted = found[2].as_ref();

        let mut state = Self {
            fleet: desired::in_force(fleet)?,
            in_force: desired::in_force(fleet)?,
            fleet_at: (items::fleet(), expect(fleet)),
            accepted: (desired::in_force(accepted)?, expect(accepted)),
            nodes: nodes
                .into_iter()
                .map(|(_, node, version)| (node.gateway.clone(), (node, version)))
                .collect(),
            gateways: observed
                .into_iter()
                .map(|(observed, version)| (observed.gateway.id.clone(), (observed, version)))
                .collect(),
            pools: BTreeMap::new(),
            policies: BTreeMap::new(),
            lists: BTreeMap::new(),
            mass_silence: alarm.is_some_and(|alarm| !alarm.quiet.is_empty()),
            waits: BTreeMap::new(),
            spent: false,
        };
        for (name, pool, version) in pools {
            let name = name.parse();
            let name =
                name.map_err(|error: model::Invalid| StoreError::Corrupt(error.to_string()))?;
            state.pools.insert(name, (pool, Expect::Version(version)));
        }
        for (name, item) in names.iter().zip(policies) {
            let policy = modes::in_force(item.as_ref())?;
            state.policies.insert(name.clone(), policy);
        }
        for ((provider, name), rest) in providers.iter().zip(&names).zip(rests) {
            let rest: Option<Rest> = items::read(rest.as_ref())?;
            let lists = match rest.filter(|rest| now < rest.not_before) {
                Some(rest) => Lists::closed(&format!(
                    "it wants to be left alone until {}: {}",
                    rest.not_before, rest.why
                )),
                None => state.look(context, provider.as_ref()).await,
            };
            let lists = state.believed(context, name, lists);
            state.lists.insert(name.clone(), lists);
        }
        Ok(state)
    }

    /// A provider's lists, or why they are not believed: then no node there is gone on with either.
    fn believed(&self, context: &Context<'_>, provider: &ProviderName, lists: Lists) -> Lists {
        let nodes = self.nodes.values().map(|(node, _)| {
            let gateway = self.gateways.get(&node.gateway);
            (node, gateway.map(|(observed, _)| &observed.gateway))
        });
        let network = &context.network.id;
        let why = lists.inventory.as_ref().ok();
        let why = why.and_then(|list| planning::disbelief(network, provider, nodes, list));
        Lists {
            inventory: why.map_or(lists.inventory, Err),
            offers: lists.offers,
        }
    }

    /// Reads a provider's lists.
    async fn look(&mut self, context: &Context<'_>, provider: &dyn Provider) -> Lists {
        let inventory = provider.inventory(&context.network.id).await;
        let inventory = inventory.map_err(|error| self.hear(&error));
        if let Err(why) = inventory {
            return Lists::closed(&why);
        }
        if has_little_left(provider) {
            let why = "few requests are left of its limit: they are kept for deletes";
            return Lists {
                inventory,
                offers: Err(format!("{}: {why}", provider.name())),
            };
        }
        let offers = provider.offers().await;
        Lists {
            inventory,
            offers: offers.map_err(|error| self.hear(&error)),
        }
    }

    fn hear(&mut self, error: &ProviderError) -> String {
        match error.fault {
            Fault::Wait { seconds } => {
                let wait = (seconds, error.to_string());
                self.waits.insert(error.provider.clone(), wait);
            }
            Fault::Spent => self.spent = true,
            _ => {}
        }
        error.to_string()
    }

    /// Plans for the accepted fleet from here on. If another is in force, says what that waits for.
    pub fn keep_to_accepted(&mut self) -> Option<String> {
        let (accepted, expect) = &self.accepted;
        let version = self.fleet.version;
        if version == accepted.version {
            return None;
        }
        let kept = match accepted.version {
            0 => "nothing is begun by itself".to_owned(),
            kept => format!("the schedule keeps to version {kept}"),
        };
        self.fleet = accepted.clone();
        self.fleet_at = (items::fleet_accepted(), *expect);
        Some(format!(
            "version {version} of the fleet is in force, and nobody has carried out a plan of it \
             ('posternctl reconcile'): until then {kept}"
        ))
    }

    /// The fleet that is planned for.
    pub fn fleet(&self) -> Result<&Fleet, Error> {
        self.fleet.fleet.as_ref().ok_or_else(|| {
            let detail = "there is no fleet yet: write one and apply it ('fleet apply')";
            Error::refused(Kind::PlanRefused, detail)
        })
    }

    /// The plan that leads from here to the fleet in force.
    pub fn plan(&self, context: &Context<'_>, remove_unknown: bool) -> Result<Plan, Error> {
        self.given(context, remove_unknown, planning::plan)
    }

    /// Whether the caps allow that an intended node costs `price`; else which of them does not.
    pub fn fits(
        &self,
        context: &Context<'_>,
        gateway: &GatewayId,
        price: Price,
    ) -> Result<Result<(), String>, Error> {
        self.given(context, false, |input| {
            planning::fits(input, gateway, price)
        })
    }

    /// What comes of all that a plan is made of.
    fn given<T>(
        &self,
        context: &Context<'_>,
        remove_unknown: bool,
        then: impl FnOnce(&Input<'_>) -> T,
    ) -> Result<T, Error> {
        let nodes: Vec<Node> = self.nodes.values().map(|(node, _)| node.clone()).collect();
        let gateways: BTreeMap<GatewayId, Gateway> = self
            .gateways
            .iter()
            .map(|(id, (observed, _))| (id.clone(), observed.gateway.clone()))
            .collect();
        let (timing, now) = (&context.network.timing, context.moment.now);
        let heard = self.gateways.iter();
        let heard = heard.filter(|(_, (one, _))| planning::alive(one.seen_at, timing, now));
        let heard: BTreeSet<GatewayId> = heard.map(|(id, _)| id.clone()).collect();
        let pools = self.pools.iter();
        let pools = pools
            .map(|(name, (state, _))| (name.clone(), state.clone()))
            .collect();
        let providers = self.lists.iter().filter_map(|(name, lists)| {
            let (policy, _) = self.policies.get(name)?;
            let providing = Providing {
                policy,
                inventory: lists.inventory.as_ref().map_err(String::as_str),
                offers: lists.offers.as_ref().map_err(String::as_str),
            };
            Some((name.clone(), providing))
        });
        Ok(then(&Input {
            network: &context.network.id,
            fleet: self.fleet()?,
            fleet_version: self.fleet.version,
            nodes: &nodes,
            gateways: &gateways,
            heard: &heard,
            pools: &pools,
            providers: &providers.collect(),
            mass_silence: self.mass_silence,
            remove_unknown,
            in_parts: self.fleet == self.accepted.0,
            now: context.moment.now,
        }))
    }
}

/// What part of a provider's rate limit is kept back for deletes: a twentieth.
const KEPT_FOR_DELETES: u32 = 20;

/// Whether a provider's limit has no room any more for what is not a delete.
pub(super) fn has_little_left(provider: &dyn Provider) -> bool {
    provider
        .rate()
        .is_some_and(|rate| rate.remaining <= rate.limit / KEPT_FOR_DELETES)
}

impl Lists {
    fn closed(why: &str) -> Self {
        Self {
            inventory: Err(why.to_owned()),
            offers: Err(why.to_owned()),
        }
    }
}

async fn read_all<T: items::Body>(
    context: &Context<'_>,
    partition: &str,
) -> Result<Vec<(String, T, u64)>, Error> {
    let range = Range::all(partition);
    let items = store::query_all(context.store, context.moment.now, &range).await?;
    let read = |item: Item| Ok((item.key.sk.clone(), item.read()?, item.version));
    let read: Result<_, StoreError> = items.into_iter().map(read).collect();
    Ok(read?)
}
