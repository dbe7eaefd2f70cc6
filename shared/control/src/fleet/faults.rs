//! What is done about a provider's error: look again, wait, take another place, give up.

use jiff::SignedDuration;
use model::node::PoolState;
use model::provider::{Price, ResourceKind};
use model::{GatewayId, Node, Place};
use providers::{Fault, ProviderError};
use rules::planning::{choose, waiting};

use super::apply::event;
use super::worker::{Staged, Worker};
use crate::Error;

/// After so many refusals in a row a node that is not in service yet is given up: it would be refused
/// again.
const MOST_REFUSALS: u32 = 5;
/// After so many failures of any kind in a row, some two hours, it is given up as well: it may have an
/// address that is paid for.
const MOST_TRIES: u32 = 14;

/// Whether a node that is not in service yet failed for too often.
fn is_hopeless(node: &Node, fault: Fault) -> bool {
    let most = match fault {
        Fault::Refused => MOST_REFUSALS,
        _ => MOST_TRIES,
    };
    !node.stage.is_leaving() && node.tries.saturating_add(1) >= most
}

/// Another place and its price, if there is one; and why one that was passed over costs too much.
type Instead = (Option<(Place, Price)>, Option<String>);

/// How a node's turn goes on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Turn {
    /// Decide again, by what is known now.
    Again,
    /// Look under its name first.
    Look,
    /// Nothing more in this run.
    Over,
}

impl Worker<'_> {
    /// What comes of an error in renting or removing something of a node.
    pub async fn fault(
        &mut self,
        id: &GatewayId,
        doing: ResourceKind,
        error: ProviderError,
        looked: bool,
    ) -> Result<Turn, Error> {
        let Some(node) = self.node(id).cloned() else {
            return Ok(Turn::Over);
        };
        match error.fault {
            Fault::Adopt | Fault::Gone if !looked => return Ok(Turn::Look),
            Fault::Spent => {
                self.report.unfinished = true;
                self.closed.insert(error.provider);
            }
            Fault::Credential => self.close(&error),
            Fault::Wait { seconds } => {
                let why = error.to_string();
                self.rest(&error.provider, seconds, why).await?;
            }
            Fault::Unavailable if !node.stage.is_leaving() => {
                return self.sold_out(&node, doing, &error).await;
            }
            Fault::Limit if !node.stage.is_leaving() => {
                let why = format!("{error}: ask the provider for a higher limit");
                self.give_up(&node, why).await?;
            }
            fault if is_hopeless(&node, fault) => {
                self.give_up(&node, error.to_string()).await?;
            }
            _ => self.remember(&node, &error).await?,
        }
        Ok(Turn::Over)
    }

    /// Something that a node which is not in service lacks, and that does not come by itself: after some
    /// tries it is given up, since its address is paid for.
    pub async fn unable(&mut self, node: &Node, why: String) -> Result<Turn, Error> {
        if is_hopeless(node, Fault::Refused) {
            self.give_up(node, why).await?;
        } else {
            self.put_off(node, why).await?;
        }
        Ok(Turn::Over)
    }

    /// Something that no run can go on with: written down once, and said every time.
    pub async fn stuck(&mut self, node: &Node, why: String) -> Result<Turn, Error> {
        self.trouble(format_args!("{}: {why}", node.gateway));
        if node.last_error.as_ref() != Some(&why) {
            let staged = Staged {
                nodes: vec![Node {
                    last_error: Some(why),
                    ..node.clone()
                }],
                ..Staged::default()
            };
            self.commit(staged).await?;
        }
        Ok(Turn::Over)
    }

    /// Writes down what went wrong, and until when the node is left alone.
    pub async fn remember(&mut self, node: &Node, error: &ProviderError) -> Result<(), Error> {
        self.put_off(node, error.to_string()).await
    }

    async fn put_off(&mut self, node: &Node, why: String) -> Result<(), Error> {
        let now = self.context.moment.now;
        self.trouble(format_args!("{}: {why}", node.gateway));
        let tries = node.tries.saturating_add(1);
        let staged = Staged {
            nodes: vec![Node {
                tries,
                not_before: Some(waiting::again(&node.gateway, tries, 0, now)),
                last_error: Some(why),
                ..node.clone()
            }],
            ..Staged::default()
        };
        // If somebody else changed the record meanwhile, it is as well to look at it anew.
        self.commit(staged).await?;
        Ok(())
    }

    /// What was on offer is sold out: the next size in the same region, where the address is; if
    /// there is none, the node leaves, and the next one is planned elsewhere.
    async fn sold_out(
        &mut self,
        node: &Node,
        doing: ResourceKind,
        error: &ProviderError,
    ) -> Result<Turn, Error> {
        let now = self.context.moment.now;
        let there = self.state.pools.get(&node.pool);
        let before = there.map(|(pool, _)| pool.clone()).unwrap_or_default();
        let after = waiting::sold_out(&before, &node.place, now);
        let (next, too_dear) = match doing {
            ResourceKind::Server => self.next_place(node, &after)?,
            _ => (None, None),
        };
        let Some((place, price)) = next else {
            let dear = too_dear.map_or_else(String::new, |why| format!(" ({why})"));
            let why = format!("{error}{dear}: the next one is planned elsewhere");
            self.leave_with(node, why, |_| Some(after)).await?;
            return Ok(Turn::Over);
        };
        let why = format!("{error}: takes {} in {}", place.size, place.region);
        self.trouble(format_args!("{}: {why}", node.gateway));
        let mut staged = Staged::default();
        staged.pools.insert(node.pool.clone(), after);
        event(&mut staged, "node.place", node, why);
        staged.nodes.push(Node {
            place,
            price: Some(price),
            ..node.clone()
        });
        Ok(if self.commit(staged).await? {
            Turn::Again
        } else {
            Turn::Over
        })
    }

    /// The first other place of a node's pool in its region that is on offer and that the caps allow;
    /// and, if one was passed over, why it costs too much.
    fn next_place(&self, node: &Node, state: &PoolState) -> Result<Instead, Error> {
        let now = self.context.moment.now;
        let lists = self.state.lists.get(&node.provider);
        let offers = lists.and_then(|lists| lists.offers.as_ref().ok());
        let (Some(fleet), Some(offers)) = (self.state.fleet.fleet.as_ref(), offers) else {
            return Ok((None, None));
        };
        // A trial's choices are not in its record: the next one begins with another.
        let Some(pool) = fleet.pools.get(&node.pool) else {
            return Ok((None, None));
        };
        let only = Some(&node.place.region);
        let mut passed = state.clone();
        let mut too_dear = None;
        while let Ok((place, price)) = choose(fleet, pool, offers, Some(&passed), only, now) {
            match self.state.fits(&self.context, &node.gateway, price)? {
                Ok(()) => return Ok((Some((place, price)), too_dear)),
                Err(why) => {
                    // Only for this choice: it is not sold out, and nobody remembers that it is.
                    passed = waiting::sold_out(&passed, &place, now);
                    too_dear = Some(format!("{}: {why}", place.size));
                }
            }
        }
        Ok((None, too_dear))
    }

    /// Writes down that an action that was under way failed.
    pub async fn failed_action(
        &mut self,
        node: &Node,
        code: &str,
        detail: &str,
    ) -> Result<(), Error> {
        let error = ProviderError {
            provider: node.provider.clone(),
            doing: "carry out what it had taken on".to_owned(),
            fault: Fault::Retry,
            code: Some(code.to_owned()),
            detail: detail.to_owned(),
            request: None,
        };
        self.remember(node, &error).await
    }

    /// Whether a node is left alone for now, after what went wrong.
    pub fn waits(&self, node: &Node) -> bool {
        let now = self.context.moment.now;
        let longest = SignedDuration::from_hours(24);
        // A time too far away is a record that somebody's wrong clock wrote.
        node.not_before
            .is_some_and(|at| now < at && at < now + longest)
    }
}
