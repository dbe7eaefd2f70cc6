//! The agent's life: register, then heartbeats, configs and rosters until it is told to stop.

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::register::{
    self, GatewayConfig, HeartbeatAnswer, HeartbeatRequest, RegisterAnswer, RegisterRequest,
};
use api::roster::RosterPart;
use api::{BootstrapText, IdentitySecret};
use http::Method;
use jiff::Timestamp;
use model::{ControlKey, RecoveryKit};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tokio::task::{JoinError, JoinSet};
use tokio::time::Instant;
use tuf::client::TrustedState;

use crate::pull::roster::{RosterPull, RosterPulled};
use crate::pull::{Pull, Pulled, heartbeat_seconds};
use crate::remote::{Ask, Http, Remote, Transport};
use crate::retry::Retry;
use crate::{Error, Keys, Roster, State, Trouble};

/// After how many heartbeats the config is asked for again.
const HEARTBEATS_PER_CONFIG: u32 = 10;
/// The interval while the control plane has not told one.
const UNTOLD_INTERVAL: Duration = Duration::from_secs(30);

/// The system's time, passed in by the program.
pub type Clock = Arc<dyn Fn() -> Timestamp + Send + Sync>;

/// What an agent tells whoever watches it.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Event {
    /// It has not registered yet.
    Starting,
    /// It is registered and its first heartbeat was taken.
    InService,
    /// It holds a verified config.
    Configured,
}

/// A gateway's agent.
pub struct Agent {
    pub(crate) folder: PathBuf,
    pub(crate) state: State,
    roster: Roster,
    remote: Remote,
    pub(crate) clock: Clock,
    events: watch::Sender<Event>,
    /// The pull that is under way, if one is: a slow front door must hold up no heartbeat.
    pulls: JoinSet<Pulled>,
    /// After how many more heartbeats the next pull is due.
    pull_in: u32,
    /// The same of the roster, of which a part is asked for at a time.
    roster_pulls: JoinSet<RosterPulled>,
}

impl Agent {
    /// The agent whose state is in `folder`, which is made from `token` if it is not there.
    pub fn open(
        folder: PathBuf,
        token: Option<&BootstrapText>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let transport = Arc::new(Http::new()?);
        Self::over(transport, folder, token, clock)
    }

    /// The same over another transport.
    pub(crate) fn over(
        transport: Arc<dyn Transport>,
        folder: PathBuf,
        token: Option<&BootstrapText>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let state = State::open(&folder, token, random)?;
        let roster = Roster::open(&folder)?;
        Ok(Self {
            folder,
            state,
            roster,
            remote: Remote::new(transport),
            clock,
            events: watch::Sender::new(Event::Starting),
            pulls: JoinSet::new(),
            pull_in: 0,
            roster_pulls: JoinSet::new(),
        })
    }

    /// How far the agent is, to be awaited.
    pub fn events(&self) -> watch::Receiver<Event> {
        self.events.subscribe()
    }

    /// Which gateway it is.
    pub fn id(&self) -> &model::GatewayId {
        &self.state.gateway
    }

    /// Works until one of its files fails: nothing that the network says ends it. Dropping the future
    /// stops it at any point.
    pub async fn run(mut self) -> Result<std::convert::Infallible, Error> {
        let mut retry = Retry::new("registration");
        while let Err(trouble) = self.register().await {
            // Where it is sealed and fails, the control key may be another by now: front doors tell.
            if self.state.contact.control_key.is_some() {
                let pulled = self.pull().run().await;
                self.trust(pulled.trusted, pulled.control_key, pulled.kit)?;
            }
            tokio::time::sleep(retry.after(trouble, self.interval())?).await;
        }
        let mut retry = Retry::new("heartbeat");
        let mut next = Instant::now();
        loop {
            tokio::select! {
                Some(pulled) = self.pulls.join_next() => self.take(pulled)?,
                Some(pulled) = self.roster_pulls.join_next() => self.take_roster(pulled)?,
                () = tokio::time::sleep_until(next) => {
                    self.rotate().await?;
                    let wait = match self.heartbeat().await {
                        Ok(()) => {
                            retry.done();
                            self.alive();
                            self.interval()
                        }
                        Err(trouble) => {
                            self.look_for_control_key();
                            retry.after(trouble, self.interval())?
                        }
                    };
                    next = Instant::now() + wait;
                }
            }
        }
    }

    pub(crate) fn interval(&self) -> Duration {
        match heartbeat_seconds(self.state.heartbeat_seconds) {
            Ok(seconds) => Duration::from_secs(seconds.into()),
            Err(_) => UNTOLD_INTERVAL,
        }
    }

    async fn register(&mut self) -> Result<(), Trouble> {
        let Some(secret) = self.state.bootstrap.clone() else {
            return Ok(());
        };
        let request = RegisterRequest {
            secret,
            tunnel_key: self.state.tunnel.tunnel_key(),
        };
        let path = register::registration(&self.state.gateway);
        let answer: RegisterAnswer = self.post(&self.state.identity, path, &request).await?;
        let interval = heartbeat_seconds(answer.heartbeat_seconds)
            .map_err(|why| Trouble::Later(format!("the answer is refused: {why}")))?;
        self.state.version = answer.version;
        self.state.heartbeat_seconds = interval;
        self.state.bootstrap = None;
        self.state.save(&self.folder)?;
        tracing::info!(gateway = %self.state.gateway, "registered");
        Ok(())
    }

    pub(crate) async fn heartbeat(&mut self) -> Result<(), Trouble> {
        // No tunnels yet, so that there is no load to tell.
        let request = HeartbeatRequest {
            version: self.state.version,
            load: 0,
        };
        let path = register::heartbeat(&self.state.gateway);
        let identity = &self.state.identity;
        let answer = self.post::<HeartbeatAnswer>(identity, path, &request).await;
        // Not saved with every heartbeat: after a restart the control plane tells it again.
        match answer {
            Ok(answer) => self.state.version = answer.version,
            Err(Trouble::OutOfStep(version)) => {
                self.state.version = version;
                return Err(Trouble::OutOfStep(version));
            }
            Err(trouble) => return Err(trouble),
        }
        Ok(())
    }

    /// A heartbeat was taken: says so, and begins the pulls that are due.
    fn alive(&mut self) {
        if *self.events.borrow() == Event::Starting {
            self.events.send_replace(Event::InService);
        }
        if self.pull_in > 0 {
            self.pull_in -= 1;
        } else if self.pulls.is_empty() {
            self.pulls.spawn(self.pull().run());
        }
        if self.roster_pulls.is_empty() {
            // A long roster comes over several heartbeats.
            self.ask_roster(Instant::now() + self.interval() / 2);
        }
    }

    /// Where heartbeats are sealed and fail, the control key may be another by now: front doors tell.
    fn look_for_control_key(&mut self) {
        if self.state.contact.control_key.is_some() && self.pulls.is_empty() {
            self.pulls.spawn(self.pull().run());
        }
    }

    fn pull(&self) -> Pull {
        Pull {
            state: self.state.clone(),
            remote: self.remote.clone(),
            clock: self.clock.clone(),
        }
    }

    fn ask_roster(&mut self, until: Instant) {
        let ask = RosterPull {
            pull: self.pull(),
            request: self.roster.request(),
            until,
        };
        self.roster_pulls.spawn(ask.run());
    }

    /// Keeps what a pull brought. Where it brought no config, the last one stands, and the next
    /// heartbeat begins another pull.
    fn take(&mut self, pulled: Result<Pulled, JoinError>) -> Result<(), Error> {
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::error!(%error, "a pull of the config ended early");
                return Ok(());
            }
        };
        self.trust(pulled.trusted, pulled.control_key, pulled.kit)?;
        match pulled.config {
            Ok(config) => self.follow(config)?,
            Err(trouble) => tracing::warn!(why = %trouble, "no new config"),
        }
        Ok(())
    }

    /// Takes a part of the roster and asks for the next, if one follows and there is time. Where
    /// none came, the last roster stands, and the next heartbeat asks again.
    fn take_roster(&mut self, pulled: Result<RosterPulled, JoinError>) -> Result<(), Error> {
        let pulled = match pulled {
            Ok(pulled) => pulled,
            Err(error) => {
                tracing::error!(%error, "a pull of the roster ended early");
                return Ok(());
            }
        };
        self.trust(pulled.trusted, pulled.control_key, pulled.kit)?;
        match pulled.part.and_then(|part| self.follow_roster(part)) {
            Ok(true) if Instant::now() < pulled.until => {
                self.ask_roster(pulled.until);
                return Ok(());
            }
            Ok(true) => {
                tracing::info!("the roster is long: the rest comes with the next heartbeat");
            }
            Ok(false) => {}
            Err(trouble) => tracing::warn!(why = %trouble, "no new roster"),
        }
        Ok(self.roster.save(&self.folder)?)
    }

    /// Whether more follows.
    fn follow_roster(&mut self, part: RosterPart) -> Result<bool, Trouble> {
        let (shards, more) = (part.shards.len(), part.more);
        self.roster
            .take(part, &self.state.contact.network, &self.state.gateway)
            .map_err(Trouble::Later)?;
        if shards > 0 {
            tracing::info!(shards, "the roster changed");
        }
        Ok(more && shards > 0)
    }

    /// Keeps what a pull verified of the signed repository, the control key and the kit in it, unless another
    /// has verified newer. What is new is saved at once: after a restart it must still be the floor.
    fn trust(
        &mut self,
        verified: Option<TrustedState>,
        control_key: Option<ControlKey>,
        kit: Option<RecoveryKit>,
    ) -> Result<(), Error> {
        let age = |state: &TrustedState| (state.root_version(), state.timestamp_version());
        let (known, came) = (self.state.trusted.as_ref(), verified.as_ref());
        if came.map(age) < known.map(age) {
            return Ok(());
        }
        let is_news = came.map(age) > known.map(age);
        self.state.trusted = verified;
        self.state.contact.adopt(control_key);
        self.state.kit = kit;
        if is_news {
            self.state.save(&self.folder)?;
        }
        Ok(())
    }

    fn follow(&mut self, config: GatewayConfig) -> Result<(), Error> {
        self.pull_in = HEARTBEATS_PER_CONFIG - 1;
        self.state.heartbeat_seconds = config.heartbeat_seconds;
        if config.rotation_wanted_at.is_some()
            && config.identity_key == self.state.identity.public()
        {
            self.state
                .next_keys
                .get_or_insert_with(|| Keys::from_random(random));
        }
        self.state.config = Some(config);
        self.state.save(&self.folder)?;
        self.events.send_replace(Event::Configured);
        Ok(())
    }

    pub(crate) async fn post<T: DeserializeOwned>(
        &self,
        identity: &IdentitySecret,
        path: String,
        body: &impl Serialize,
    ) -> Result<T, Trouble> {
        let body = serde_json::to_vec(body).map_err(|error| Trouble::Later(error.to_string()))?;
        let ask = Ask {
            method: Method::POST,
            path,
            body,
        };
        let bytes = self
            .remote
            .control(&self.state.reach(), identity, &ask, (self.clock)())
            .await?;
        serde_json::from_slice(&bytes)
            .map_err(|error| Trouble::Later(format!("the answer cannot be read: {error}")))
    }
}

pub(crate) fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    // A key that is not random would be worse than no gateway.
    getrandom::fill(&mut bytes).expect("the system's random source works");
    bytes
}

#[cfg(test)]
pub(crate) mod tests;
