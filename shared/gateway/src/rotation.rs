//! New keys for this gateway.

use api::Kind;
use api::rotation::{GatewayRotated, RotateGateway, gateway_keys};

use crate::state::PreviousTunnel;
use crate::{Agent, Error, Keys, Trouble};

impl Agent {
    /// Takes the keys that are waiting, if any are; forgets those that have served. What does not
    /// work now is tried again before the next heartbeat.
    pub(crate) async fn rotate(&mut self) -> Result<(), Error> {
        self.forget_previous()?;
        let Some(next) = self.state.next_keys.clone() else {
            return Ok(());
        };
        // A control plane that is slow with this must not hold up the heartbeat.
        let patience = self.interval() / 2;
        let asked = tokio::time::timeout(patience, self.ask_for(&next)).await;
        let late = || Err(Trouble::Later("no answer in time".to_owned()));
        match asked.unwrap_or_else(|_| late()) {
            Ok(rotated) => self.adopt(next, &rotated),
            Err(Trouble::State(error)) => Err(error.into()),
            // The heartbeat that follows is signed with the present key: if that one is taken, these
            // never will be.
            Err(Trouble::Refused(problem)) if problem.is(Kind::KeyInUse) => {
                tracing::error!(%problem, "the new keys cannot be had: others are made");
                if self.heartbeat().await.is_ok() {
                    self.state.next_keys = Some(Keys::from_random(crate::agent::random));
                    self.state.save(&self.folder)?;
                }
                Ok(())
            }
            Err(trouble) => {
                tracing::warn!(why = %trouble, "no new keys yet");
                Ok(())
            }
        }
    }

    async fn ask_for(&self, next: &Keys) -> Result<GatewayRotated, Trouble> {
        let state = &self.state;
        let request = RotateGateway::new(
            &state.contact.network,
            &state.gateway,
            &state.identity,
            next.identity.public(),
            next.tunnel.tunnel_key(),
        );
        let path = gateway_keys(&state.gateway);
        self.post(&next.identity, path, &request).await
    }

    fn adopt(&mut self, next: Keys, rotated: &GatewayRotated) -> Result<(), Error> {
        let state = &mut self.state;
        let before = std::mem::replace(&mut state.tunnel, next.tunnel);
        state.previous_tunnel = Some(PreviousTunnel {
            secret: before,
            until: rotated.previous_until,
        });
        state.identity = next.identity;
        state.version = rotated.version;
        state.next_keys = None;
        state.save(&self.folder)?;
        tracing::info!(gateway = %self.state.gateway, "the keys are new");
        Ok(())
    }

    fn forget_previous(&mut self) -> Result<(), Error> {
        let now = (self.clock)();
        let ended = |previous: &PreviousTunnel| previous.until <= now;
        if self.state.previous_tunnel.as_ref().is_some_and(ended) {
            self.state.previous_tunnel = None;
            self.state.save(&self.folder)?;
        }
        Ok(())
    }
}

#[cfg(test)]
mod tests;
