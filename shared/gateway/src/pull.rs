//! One pull of the config: the keys that may sign it from a front door, the config from the control
//! plane, and the checks. [`roster`] pulls one part of the roster, with the same keys and checks.

pub(crate) mod roster;

use api::register::{self, GatewayConfig};
use http::Method;
use jiff::{SignedDuration, Timestamp};
use model::{ControlKey, FrontDoor, RecoveryKit, TrustedKeys};
use tuf::client::{Start, TrustedState, Wanted, read_state, verify_bundle};

use crate::agent::Clock;
use crate::remote::{Ask, Remote};
use crate::{State, Trouble};

/// How far ahead of this node's clock a config or a roster may be signed. What is accepted is a floor for the
/// next, so one from the far future would lock out all others; clocks under NTP are within
/// seconds, and a signed request more than a minute off is refused as it is.
const MOST_AHEAD: SignedDuration = SignedDuration::from_mins(5);
/// For how long after its timestamp's expiry the last verified `trust.json` stays usable while no
/// front door serves a newer one: 14 days, as a device's catalog (`client::standing`). Without an
/// end, who blocks all doors would keep a withdrawn config key alive for ever.
const GRACE: SignedDuration = SignedDuration::from_hours(14 * 24);
/// For how long each front door is the one that is asked first.
const TURN: SignedDuration = SignedDuration::from_hours(1);
/// Heartbeat intervals that are believed, in seconds ([`model::Timing`]).
const HEARTBEAT_SECONDS: std::ops::RangeInclusive<u32> = 1..=3600;

/// A pull, with what the agent knew when it began.
pub(crate) struct Pull {
    pub(crate) state: State,
    pub(crate) remote: Remote,
    pub(crate) clock: Clock,
}

/// What came of a pull.
pub(crate) struct Pulled {
    /// The signed repository, as far as it is verified now.
    pub(crate) trusted: Option<TrustedState>,
    /// The control key that it names, or the one of before.
    pub(crate) control_key: Option<ControlKey>,
    /// The recovery kit that it holds, or the one of before.
    pub(crate) kit: Option<RecoveryKit>,
    /// The config, checked.
    pub(crate) config: Result<GatewayConfig, Trouble>,
}

impl Pull {
    /// Asks and checks.
    pub(crate) async fn run(mut self) -> Pulled {
        let config = self.config().await;
        Pulled {
            trusted: self.state.trusted,
            control_key: self.state.contact.control_key,
            kit: self.state.kit,
            config,
        }
    }

    async fn config(&mut self) -> Result<GatewayConfig, Trouble> {
        let trust = self.trusted_keys().await?;
        let ask = Ask {
            method: Method::GET,
            path: register::config(&self.state.gateway),
            body: Vec::new(),
        };
        let state = &self.state;
        let bytes = self
            .remote
            .control(&state.reach(), &state.identity, &ask, (self.clock)())
            .await?;
        let refuse = |why: String| Trouble::Later(format!("the config is refused: {why}"));
        let config = tuf::envelope::verify(&bytes, &trust.config_keys)
            .map_err(|error| refuse(error.to_string()))?;
        check(&config, state, (self.clock)()).map_err(refuse)?;
        Ok(config)
    }

    /// The keys that may sign configs and rosters, and the one to seal to: from the first front door that
    /// has news, or whose "nothing new" is still believed; or as they were verified last, within the grace.
    /// The doors [take turns](in_turn) at being first.
    async fn trusted_keys(&mut self) -> Result<TrustedKeys, Trouble> {
        let path = tuf::repository::bundle_path(None);
        let network = self.state.contact.network.clone();
        let wanted = Wanted {
            network: &network,
            catalog: None,
            keys: &[],
        };
        let mut said = Vec::new();
        let mut nothing_new = None;
        for door in in_turn(&self.state.reach().front_doors, (self.clock)()) {
            let start = match &self.state.trusted {
                Some(state) => Start::State(state),
                None => Start::Pin(&self.state.contact.root),
            };
            let bytes = self.remote.door(&door.url, &path).await;
            let verified = bytes.and_then(|bytes| {
                verify_bundle(start, &wanted, &bytes, (self.clock)())
                    .map_err(|error| error.to_string())
            });
            match verified {
                Ok(verified) => {
                    let is_news = verified.changed || (self.clock)() < verified.state.fresh_until();
                    self.state.trusted = Some(verified.state);
                    self.state.kit = verified.kit.or(self.state.kit.take());
                    if let Some(trust) = verified.trust {
                        self.state.contact.adopt(trust.control_key);
                        if is_news {
                            return Ok(trust);
                        }
                        // News is due: another door may have it.
                        nothing_new = Some(trust);
                    }
                }
                Err(why) => said.push(format!("{}: {why}", door.url)),
            }
        }
        if let Some(trust) = nothing_new {
            return Ok(trust);
        }
        let why = said.join("; ");
        let (trust, until) = self
            .known_keys()
            .map_err(|and| Trouble::Later(format!("no front door helped ({why}) and {and}")))?;
        tracing::warn!(
            why,
            %until,
            "no front door helped: the keys for configs are those that were verified last"
        );
        Ok(trust)
    }

    /// The keys as they were verified last, and when their grace ends; or in words why there are
    /// none.
    fn known_keys(&self) -> Result<(TrustedKeys, Timestamp), String> {
        let Some(state) = &self.state.trusted else {
            return Err("no keys for configs are known yet".to_owned());
        };
        let expired = state.timestamp_expires();
        let until = expired.checked_add(GRACE).unwrap_or(Timestamp::MAX);
        if (self.clock)() >= until {
            return Err(format!(
                "the known keys for configs expired at {expired:.0}, their grace at {until:.0}"
            ));
        }
        let wanted = Wanted {
            network: &self.state.contact.network,
            catalog: None,
            keys: &[],
        };
        let known = read_state(state, &wanted).map_err(|error| error.to_string())?;
        let trust = known.trust.ok_or("trust.json is missing")?;
        Ok((trust, until))
    }
}

/// The front doors in the order in which they are asked: each is the first for an hour. A thief who holds
/// stolen online keys and a door has something newer for ever; a door that knows the root which ended
/// those keys has its hour, too, and what that root ended is refused from then on.
fn in_turn(doors: &[FrontDoor], now: Timestamp) -> Vec<FrontDoor> {
    let mut doors = doors.to_vec();
    let count = i64::try_from(doors.len()).unwrap_or(i64::MAX).max(1);
    let first = now.as_second().div_euclid(TURN.as_secs()).rem_euclid(count);
    doors.rotate_left(usize::try_from(first).unwrap_or(0));
    doors
}

/// The interval if it is believable, or why it is not.
pub(crate) fn heartbeat_seconds(seconds: u32) -> Result<u32, String> {
    if !HEARTBEAT_SECONDS.contains(&seconds) {
        return Err(format!(
            "its heartbeat_seconds is {seconds}, not from {} to {}",
            HEARTBEAT_SECONDS.start(),
            HEARTBEAT_SECONDS.end()
        ));
    }
    Ok(seconds)
}

/// Whether a config with a good signature is one to follow at `now`, or why not.
fn check(config: &GatewayConfig, state: &State, now: Timestamp) -> Result<(), String> {
    if config.schema != GatewayConfig::SCHEMA {
        return Err(format!(
            "its schema is '{}', this program reads '{}': update it",
            config.schema,
            GatewayConfig::SCHEMA
        ));
    }
    if config.network != state.contact.network || config.gateway != state.gateway {
        return Err(format!(
            "it is for {} in {}",
            config.gateway, config.network
        ));
    }
    heartbeat_seconds(config.heartbeat_seconds)?;
    check_time(config.signed_at, now)?;
    if let Some(last) = &state.config
        && config.signed_at < last.signed_at
    {
        return Err(format!(
            "it was signed at {}, the last at {}",
            config.signed_at, last.signed_at
        ));
    }
    Ok(())
}

/// Whether something may have been signed at `signed_at` by this node's clock, or why not.
fn check_time(signed_at: Timestamp, now: Timestamp) -> Result<(), String> {
    let ahead = signed_at.duration_since(now);
    if ahead > MOST_AHEAD {
        return Err(format!(
            "it was signed {} seconds ahead of this node's clock ({now:.0}): check the clock",
            ahead.as_secs()
        ));
    }
    Ok(())
}

#[cfg(test)]
mod tests;
