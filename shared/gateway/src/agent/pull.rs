//! Pulling the roster: what changed, part by part.

use api::roster::{self, RosterPart};
use http::Method;
use model::TrustedKeys;
use tuf::envelope;

use super::Agent;
use crate::Error;

impl Agent {
    /// Brings the roster up to date as far as that goes now: whatever fails, the last one stands
    /// and the next heartbeat tries again. Only a folder that cannot be written ends the agent.
    pub(super) async fn refresh_roster(&mut self) -> Result<(), Error> {
        // A long roster comes over several heartbeats and holds none of them up.
        let limit = self.interval() / 2;
        let pulled = tokio::time::timeout(limit, self.pull_roster()).await;
        self.roster.save(&self.folder)?;
        match pulled {
            Ok(Ok(())) => {}
            Ok(Err(error @ Error::State(_))) => return Err(error),
            Ok(Err(error)) => tracing::info!(%error, "no new roster yet"),
            Err(_) => tracing::info!("the roster is long: the rest comes with the next heartbeat"),
        }
        Ok(())
    }

    async fn pull_roster(&mut self) -> Result<(), Error> {
        let path = roster::roster(&self.state.gateway);
        loop {
            let body = serde_json::to_vec(&self.roster.request())
                .map_err(|error| Error::Later(error.to_string()))?;
            let bytes = self.send(Method::POST, &path, body).await?;
            let part = self.verified(&bytes).await?;
            let shards = part.shards.len();
            let goes_on = part.more && shards > 0;
            self.roster
                .take(part, &self.state.contact.network, &self.state.gateway)
                .map_err(Error::Later)?;
            if shards > 0 {
                tracing::info!(shards, "the roster changed");
            }
            if !goes_on {
                return Ok(());
            }
        }
    }

    /// The part, if a key that is trusted signed it. The front doors are only asked for newer keys
    /// where the known ones do not fit.
    async fn verified(&mut self, bytes: &[u8]) -> Result<RosterPart, Error> {
        let verify = |trust: &TrustedKeys| envelope::verify(bytes, &trust.config_keys);
        if let Some(Ok(part)) = self.known_keys().as_ref().map(verify) {
            return Ok(part);
        }
        let trust = self.trusted_keys().await?;
        verify(&trust).map_err(|error| Error::Later(format!("the roster is refused: {error}")))
    }
}
