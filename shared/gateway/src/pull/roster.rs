//! One part of the roster: from the control plane, and believed by the keys that configs are.

use api::roster::{self, RosterPart, RosterRequest};
use http::Method;
use model::{ControlKey, RecoveryKit, TrustedKeys};
use tokio::time::Instant;
use tuf::client::TrustedState;
use tuf::envelope;

use super::{Pull, check_time};
use crate::Trouble;
use crate::remote::Ask;

/// Asks for what follows the parts that the agent holds.
pub(crate) struct RosterPull {
    pub(crate) pull: Pull,
    pub(crate) request: RosterRequest,
    /// Until when this part, and those that follow it at once, may come.
    pub(crate) until: Instant,
}

/// What came of it.
pub(crate) struct RosterPulled {
    /// The signed repository, as far as it is verified now.
    pub(crate) trusted: Option<TrustedState>,
    /// The control key that it names, or the one of before.
    pub(crate) control_key: Option<ControlKey>,
    /// The recovery kit that it holds, or the one of before.
    pub(crate) kit: Option<RecoveryKit>,
    /// The part, checked but for what the agent's roster says to it.
    pub(crate) part: Result<RosterPart, Trouble>,
    /// As it was asked.
    pub(crate) until: Instant,
}

impl RosterPull {
    /// Asks and checks, in its time.
    pub(crate) async fn run(mut self) -> RosterPulled {
        let part = tokio::time::timeout_at(self.until, self.part()).await;
        RosterPulled {
            part: part.unwrap_or_else(|_| Err(Trouble::Later("no answer in time".to_owned()))),
            trusted: self.pull.state.trusted,
            control_key: self.pull.state.contact.control_key,
            kit: self.pull.state.kit,
            until: self.until,
        }
    }

    async fn part(&mut self) -> Result<RosterPart, Trouble> {
        let state = &self.pull.state;
        let body = serde_json::to_vec(&self.request);
        let ask = Ask {
            method: Method::POST,
            path: roster::roster(&state.gateway),
            body: body.map_err(|error| Trouble::Later(error.to_string()))?,
        };
        let now = (self.pull.clock)();
        let remote = &self.pull.remote;
        let bytes = remote
            .control(&state.reach(), &state.identity, &ask, now)
            .await?;
        let part = self.verified(&bytes).await?;
        check_time(part.signed_at, (self.pull.clock)()).map_err(refuse)?;
        Ok(part)
    }

    /// The part, if a key that is trusted signed it. The front doors are only asked for newer keys
    /// where the known ones do not fit: they are asked with each config, too.
    async fn verified(&mut self, bytes: &[u8]) -> Result<RosterPart, Trouble> {
        let verify = |trust: &TrustedKeys| envelope::verify(bytes, &trust.config_keys);
        if let Ok((trust, _)) = self.pull.known_keys()
            && let Ok(part) = verify(&trust)
        {
            return Ok(part);
        }
        let trust = self.pull.trusted_keys().await?;
        verify(&trust).map_err(refuse)
    }
}

fn refuse(why: impl std::fmt::Display) -> Trouble {
    Trouble::Later(format!("the roster is refused: {why}"))
}
