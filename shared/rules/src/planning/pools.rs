//! What each pool needs: how many more, how many less, which of them go.

use std::cell::OnceCell;
use std::collections::{BTreeMap, BTreeSet};

use jiff::{SignedDuration, Timestamp};
use model::{Gateway, GatewayId, GatewayState, Mode, Node, Place, Pool, PoolName, Stage};

use super::seen::{Record, Seen};
use super::{Change, Draft, Gate, Input, REGISTRATION_SECONDS, choose, labels, life};

/// How a member of a pool stands to what is wanted.
enum Standing {
    /// As wanted.
    Good,
    /// It works, and is not what the pool asks for.
    Outdated(String),
    /// It serves nobody and will not.
    Dead { why: String, failed: bool },
    /// An operator drains it by hand.
    Drained,
}

struct Member<'a> {
    node: &'a Node,
    gateway: Option<&'a Gateway>,
    standing: Standing,
}

impl Member<'_> {
    /// Whether devices are sent to it.
    fn serves(&self) -> bool {
        self.state() == Some(GatewayState::Active)
    }

    fn state(&self) -> Option<GatewayState> {
        self.gateway.map(|gateway| gateway.state)
    }

    fn is_outdated(&self) -> bool {
        matches!(self.standing, Standing::Outdated(_))
    }
}

/// Plans every pool that is wanted or has nodes, and the end of trials that have expired.
pub(super) fn plan(input: &Input<'_>, seen: &Seen<'_>, draft: &mut Draft) {
    let mut members: BTreeMap<&PoolName, Vec<&Record<'_>>> = BTreeMap::new();
    for record in &seen.records {
        let node = record.node;
        if node.stage.is_leaving() {
            continue;
        }
        match node.mode {
            Mode::Smoke => end_trial(input, node, draft),
            _ => members.entry(&node.pool).or_default().push(record),
        }
    }
    let names: BTreeSet<&PoolName> = input
        .fleet
        .pools
        .keys()
        .chain(members.keys().copied())
        .collect();
    let ids_taken = OnceCell::new();
    for name in names {
        let records = members.remove(name).unwrap_or_default();
        plan_pool(input, name, &records, &ids_taken, draft);
    }
    if input.mass_silence {
        draft.block(
            "gateways".to_owned(),
            Gate::MassSilence,
            "too many went silent at once, so the control plane suspects itself and replaces \
             nothing: see the alarm in 'posternctl catalog'"
                .to_owned(),
        );
    }
}

fn end_trial(input: &Input<'_>, node: &Node, draft: &mut Draft) {
    if node.expires_at.is_none_or(|at| at <= input.now) {
        let change = Change::Remove {
            gateway: node.gateway.clone(),
            failed: false,
        };
        draft.step(&node.provider, change, "its smoke run is over".to_owned());
    }
}

fn plan_pool<'i>(
    input: &'i Input<'_>,
    name: &PoolName,
    records: &[&Record<'_>],
    ids_taken: &OnceCell<BTreeSet<&'i str>>,
    draft: &mut Draft,
) {
    let pool = input.fleet.pools.get(name);
    let mut kept: Vec<Member<'_>> = Vec::with_capacity(records.len());
    for record in records {
        let member = Member {
            node: record.node,
            gateway: record.gateway,
            standing: standing(input, pool, record),
        };
        adopt(input, record, draft);
        if is_unlisted(record) && input.heard.contains(&record.node.gateway) {
            let why = format!(
                "the list of {} lacks its server, but it is alive: is the token that of another \
                 project, or was the label removed?",
                record.node.provider
            );
            let what = format!("gateway {}", record.node.gateway);
            draft.block(what, Gate::Provider, why);
        }
        match &member.standing {
            Standing::Dead { why, failed } => remove(&member, *failed, why.clone(), draft),
            Standing::Drained => {
                let why = "an operator drains its gateway".to_owned();
                leave(&member, why, draft);
            }
            Standing::Good | Standing::Outdated(_) => kept.push(member),
        }
    }
    let want = pool.map_or(0, |pool| usize::try_from(pool.count).unwrap_or(usize::MAX));
    let good = kept.iter().filter(|member| !member.is_outdated()).count();
    let lacking = if good == kept.len() {
        want.saturating_sub(good)
    } else {
        // One more than wanted at most, while the new ones take the old ones' places.
        want.saturating_sub(good)
            .min((want + 1).saturating_sub(kept.len()))
    };
    if let (Some(pool), true) = (pool, lacking > 0) {
        create(input, name, pool, lacking, &kept, ids_taken, draft);
    }
    let staying = shrink(name, want, kept, draft);
    if let Some(pool) = pool {
        recohort(pool, &staying, draft);
    }
}

/// What is known of a member, and whether it is what the pool asks for.
fn standing(input: &Input<'_>, pool: Option<&Pool>, record: &Record<'_>) -> Standing {
    let state = record.gateway.map(|gateway| gateway.state);
    if matches!(state, Some(GatewayState::Draining | GatewayState::Drained)) {
        return Standing::Drained;
    }
    if !input.mass_silence
        && let Some(dead) = dead(input, record)
    {
        return dead;
    }
    let Some(pool) = pool.filter(|_| !input.mass_silence) else {
        return Standing::Good;
    };
    outdated(pool, record.node).map_or(Standing::Good, Standing::Outdated)
}

/// Whether it serves nobody and will not.
fn dead(input: &Input<'_>, record: &Record<'_>) -> Option<Standing> {
    let node = record.node;
    let over = |since: Timestamp, seconds: u32| {
        input.now >= since + SignedDuration::from_secs(i64::from(seconds))
    };
    let dead = |why: String, failed| Some(Standing::Dead { why, failed });
    // Looked up for the few that matter: with ten thousand it would take as long as all else.
    let is_heard = || input.heard.contains(&node.gateway);
    let state = record.gateway.map(|gateway| gateway.state);
    // One that counts as active has its heartbeats judged first: the network may not have been listening.
    if is_unlisted(record) && state != Some(GatewayState::Active) && !is_heard() {
        return dead(
            "its provider does not list its server any more".to_owned(),
            node.stage < Stage::Active,
        );
    }
    let gateway = record.gateway?;
    match gateway.state {
        GatewayState::Provisioning | GatewayState::Registered => {
            let began = match gateway.state {
                GatewayState::Provisioning => node.server_at?,
                _ => gateway.changed_at,
            };
            let done = match gateway.state {
                GatewayState::Provisioning => "registered",
                _ => "came into service",
            };
            // One that is heard waits for the judge of gateways, which may be down, and is not at fault.
            let is_provisioning = gateway.state == GatewayState::Provisioning;
            if !over(began, REGISTRATION_SECONDS) || !is_provisioning && is_heard() {
                return None;
            }
            let minutes = REGISTRATION_SECONDS / 60;
            dead(
                format!("it never {done} in {minutes} minutes from {began}"),
                true,
            )
        }
        GatewayState::Unhealthy if over(gateway.changed_at, input.fleet.unhealthy_seconds) => dead(
            format!("it is unhealthy since {}", gateway.changed_at),
            false,
        ),
        GatewayState::Retired | GatewayState::Failed => {
            dead(format!("its gateway is {}", gateway.state), false)
        }
        _ => None,
    }
}

/// Whether the node's server is not on its provider's list, and should be.
fn is_unlisted(record: &Record<'_>) -> bool {
    record.node.stage >= Stage::Server && record.server_is_gone()
}

/// What the pool asks for and the node is not.
fn outdated(pool: &Pool, node: &Node) -> Option<String> {
    let place = &node.place;
    let differs = |what: &str, is: &dyn std::fmt::Display| {
        Some(format!("the pool does not ask for {what} '{is}' any more"))
    };
    if node.provider != pool.provider {
        return differs("provider", &node.provider);
    }
    if node.role != pool.role {
        return differs("role", &node.role);
    }
    if !pool.regions.contains(&place.region) {
        return differs("region", &place.region);
    }
    if !pool.sizes.contains(&place.size) {
        return differs("size", &place.size);
    }
    if place.image != pool.image {
        return differs("image", &place.image);
    }
    if node.port != pool.port {
        return differs("port", &node.port);
    }
    None
}

/// Shows what a lost answer made: the record does not say yet that it is there.
fn adopt(input: &Input<'_>, record: &Record<'_>, draft: &mut Draft) {
    let node = record.node;
    for (kind, name, labels, made) in record.made_unnoticed() {
        if !labels::agree(input.network, node, labels) || life::is_older(node, made) {
            continue;
        }
        let change = Change::Adopt {
            gateway: node.gateway.clone(),
            kind,
            name: name.to_owned(),
        };
        let why = "it is there, and the answer that said so was lost".to_owned();
        draft.step(&node.provider, change, why);
    }
}

fn recohort(pool: &Pool, kept: &[Member<'_>], draft: &mut Draft) {
    for member in kept
        .iter()
        .filter(|member| member.node.cohorts != pool.cohorts)
    {
        let change = Change::Cohorts {
            gateway: member.node.gateway.clone(),
            cohorts: pool.cohorts.clone(),
        };
        let why = "the pool is for other cohorts now".to_owned();
        draft.step(&member.node.provider, change, why);
    }
}

fn create<'i>(
    input: &'i Input<'_>,
    name: &PoolName,
    pool: &Pool,
    lacking: usize,
    kept: &[Member<'_>],
    ids_taken: &OnceCell<BTreeSet<&'i str>>,
    draft: &mut Draft,
) {
    let what = format!("pool {name}");
    let state = input.pools.get(name);
    let Some(providing) = input.providers.get(&pool.provider) else {
        let why = format!(
            "provider '{}' is not set up: give this program its credential",
            pool.provider
        );
        return draft.block(what, Gate::Provider, why);
    };
    if let Err(why) = providing.inventory {
        return draft.block(
            format!("provider {}", pool.provider),
            Gate::Provider,
            why.to_owned(),
        );
    }
    let offers = match providing.offers {
        Ok(offers) => offers,
        Err(why) => {
            let what = format!("provider {}", pool.provider);
            return draft.block(what, Gate::Provider, why.to_owned());
        }
    };
    if let Some(until) = state
        .and_then(|state| state.not_before)
        .filter(|at| input.now < *at)
    {
        let alarm = state.and_then(|state| state.alarm.as_deref());
        let why = format!(
            "{}, so none is made before {until}: look at a node's console, at the agent's URL and at \
             the control plane's address",
            alarm.unwrap_or("its last nodes never came into service")
        );
        return draft.block(what, Gate::Failures, why);
    }
    match choose(input.fleet, pool, offers, state, None, input.now) {
        Ok((place, price)) => {
            let first = state.map_or(0, |state| state.intended);
            let why = why_create(pool, kept, &place);
            let free = (first..).map(|number| labels::node_id(input.network, name, number));
            let ids_taken = ids_taken.get_or_init(|| taken(input));
            let free = free.filter(|id| !ids_taken.contains(id.as_str()));
            for gateway in free.take(lacking) {
                let change = Change::Create {
                    gateway,
                    pool: name.clone(),
                    place: place.clone(),
                };
                draft.step(&pool.provider, change, why.clone()).adds = Some(price);
            }
        }
        Err((gate, why)) => draft.block(what, gate, why),
    }
}

/// The ids that were given out before, whatever a pool's count says: a database that was lost, or put
/// back as it was last week, begins to count anew while the old nodes still serve.
fn taken<'i>(input: &'i Input<'_>) -> BTreeSet<&'i str> {
    let prefix = labels::node_name_prefix(input.network);
    let mut taken: BTreeSet<&str> = input.gateways.keys().map(GatewayId::as_str).collect();
    taken.extend(input.nodes.iter().map(|node| node.gateway.as_str()));
    let lists = input.providers.values();
    for list in lists.filter_map(|providing| providing.inventory.ok()) {
        let servers = list.servers.iter().map(|one| (&one.name, &one.labels));
        let addresses = list.addresses.iter().map(|one| (&one.name, &one.labels));
        for (name, there) in servers.chain(addresses) {
            taken.extend(name.strip_prefix(&prefix));
            taken.extend(there.get(labels::GATEWAY).map(String::as_str));
        }
    }
    taken
}

fn why_create(pool: &Pool, kept: &[Member<'_>], place: &Place) -> String {
    let outdated = kept.iter().filter(|member| member.is_outdated()).count();
    let mut why = if outdated > 0 {
        format!("takes the place of one of {outdated} that are not as wanted")
    } else {
        format!("{} of {} are there", kept.len(), pool.count)
    };
    if place.region != pool.regions[0] || place.size != pool.sizes[0] {
        why = format!("{why}; the first choice cannot be had");
    }
    why
}

/// Lets go what is too many: first what serves nobody, and nothing that serves before enough others
/// do. The others are what it gives back.
fn shrink<'a>(
    name: &PoolName,
    want: usize,
    kept: Vec<Member<'a>>,
    draft: &mut Draft,
) -> Vec<Member<'a>> {
    let outdated = kept.iter().filter(|member| member.is_outdated()).count();
    let excess = kept.len().saturating_sub(want);
    if excess == 0 {
        return kept;
    }
    let mut serving = kept.iter().filter(|member| member.serves()).count();
    let mut order = kept;
    // While old ones are replaced one of them is too many by intention: only an old one goes for it.
    let spare = usize::from(outdated > 0).min(excess);
    let rank = |member: &Member<'_>| match (member.is_outdated(), member.serves()) {
        (true, false) => 0,
        (true, true) => 1,
        (false, false) => 2,
        (false, true) => 3,
    };
    // The youngest first: what has served for long has proved itself.
    order.sort_by(|a, b| {
        rank(a)
            .cmp(&rank(b))
            .then(b.node.created_at.cmp(&a.node.created_at))
            .then(a.node.gateway.cmp(&b.node.gateway))
    });
    let mut left = excess;
    let mut staying = Vec::new();
    for member in order {
        let may = if member.is_outdated() {
            left
        } else {
            left.saturating_sub(spare)
        };
        if may == 0 || (member.serves() && serving <= want) {
            staying.push(member);
            continue;
        }
        let why = match &member.standing {
            Standing::Outdated(why) => why.clone(),
            _ => format!("pool '{name}' has {want} and no more"),
        };
        serving -= usize::from(member.serves());
        left -= 1;
        leave(&member, why, draft);
    }
    staying
}

/// Drains what may have devices, and removes what never had any.
fn leave(member: &Member<'_>, why: String, draft: &mut Draft) {
    use GatewayState::{Active, Draining, Unhealthy};
    if matches!(member.state(), Some(Active | Unhealthy | Draining)) {
        let change = Change::Drain {
            gateway: member.node.gateway.clone(),
        };
        draft.step(&member.node.provider, change, why);
    } else {
        remove(member, false, why, draft);
    }
}

fn remove(member: &Member<'_>, failed: bool, why: String, draft: &mut Draft) {
    let change = Change::Remove {
        gateway: member.node.gateway.clone(),
        failed,
    };
    draft.step(&member.node.provider, change, why);
}
