//! The agent's life: register, then heartbeats, configs and rosters until it is told to stop.

mod pull;

use std::path::PathBuf;
use std::sync::Arc;
use std::time::Duration;

use api::register::{
    GatewayConfig, HeartbeatAnswer, HeartbeatRequest, RegisterAnswer, RegisterRequest,
};
use api::{BootstrapText, Kind, register};
use http::Method;
use jiff::Timestamp;
use model::TrustedKeys;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;
use tuf::client::{Start, Wanted, verify_bundle};

use crate::remote::Remote;
use crate::{Error, Roster, State};

/// After how many heartbeats the config is asked for again.
const HEARTBEATS_PER_CONFIG: u32 = 10;
/// The first wait after a failure; it doubles up to a heartbeat's interval.
const FIRST_WAIT: Duration = Duration::from_millis(200);
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
    folder: PathBuf,
    state: State,
    roster: Roster,
    remote: Remote,
    clock: Clock,
    events: watch::Sender<Event>,
}

impl Agent {
    /// The agent whose state is in `folder`, which is made from `token` if it is not there.
    pub fn open(
        folder: PathBuf,
        token: Option<&BootstrapText>,
        clock: Clock,
    ) -> Result<Self, Error> {
        let state = State::open(&folder, token, random)?;
        let roster = Roster::open(&folder)?;
        let remote = Remote::new()?;
        Ok(Self {
            folder,
            state,
            roster,
            remote,
            clock,
            events: watch::Sender::new(Event::Starting),
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

    /// Works until the control plane refuses for good. Dropping the future stops it at any point.
    pub async fn run(mut self) -> Result<std::convert::Infallible, Error> {
        self.until_done("registration", Self::register).await?;
        let mut beats: u32 = 0;
        loop {
            self.until_done("heartbeat", Self::heartbeat).await?;
            if *self.events.borrow() == Event::Starting {
                self.events.send_replace(Event::InService);
            }
            // Counted from the heartbeat: what is pulled meanwhile must not delay the next.
            let rest = tokio::time::sleep(self.interval());
            let wants_config =
                self.state.config.is_none() || beats.is_multiple_of(HEARTBEATS_PER_CONFIG);
            if wants_config {
                match self.pull_config().await {
                    Ok(()) => drop(self.events.send_replace(Event::Configured)),
                    // The last config stands; the next heartbeat tries again.
                    Err(Error::Later(why)) => tracing::info!(why, "no new config yet"),
                    Err(error) => return Err(error),
                }
            }
            self.refresh_roster().await?;
            beats = beats.wrapping_add(1);
            rest.await;
        }
    }

    /// Does `work` until it succeeds or cannot, with growing waits.
    async fn until_done(
        &mut self,
        what: &str,
        work: impl AsyncFn(&mut Self) -> Result<(), Error>,
    ) -> Result<(), Error> {
        let mut wait = FIRST_WAIT;
        loop {
            match work(self).await {
                Err(Error::Later(why)) => {
                    tracing::warn!(what, why, wait_ms = wait.as_millis(), "tried in vain");
                    tokio::time::sleep(wait).await;
                    wait = (wait * 2).min(self.interval());
                }
                done => return done,
            }
        }
    }

    fn interval(&self) -> Duration {
        match self.state.heartbeat_seconds {
            0 => UNTOLD_INTERVAL,
            seconds => Duration::from_secs(seconds.into()),
        }
    }

    async fn register(&mut self) -> Result<(), Error> {
        let Some(secret) = self.state.bootstrap.clone() else {
            return Ok(());
        };
        let request = RegisterRequest {
            secret,
            tunnel_key: self.state.tunnel.tunnel_key(),
        };
        let path = register::registration(&self.state.gateway);
        let answer: RegisterAnswer = self.post(&path, &request).await?;
        self.state.version = answer.version;
        self.state.heartbeat_seconds = answer.heartbeat_seconds;
        self.state.bootstrap = None;
        self.state.save(&self.folder)?;
        tracing::info!(gateway = %self.state.gateway, "registered");
        Ok(())
    }

    async fn heartbeat(&mut self) -> Result<(), Error> {
        // No tunnels yet, so that there is no load to tell.
        let request = HeartbeatRequest {
            version: self.state.version,
            load: 0,
        };
        let path = register::heartbeat(&self.state.gateway);
        match self.post::<HeartbeatAnswer>(&path, &request).await {
            // Not saved with every heartbeat: after a restart the control plane tells it again.
            Ok(answer) => self.state.version = answer.version,
            Err(Error::Refused(problem)) if problem.is(Kind::HeartbeatOutOfStep) => {
                self.state.version = problem.version.unwrap_or(self.state.version);
                return Err(Error::Later(problem.to_string()));
            }
            Err(Error::Refused(problem)) if problem.is(Kind::SignatureStale) => {
                return Err(Error::Later(problem.to_string()));
            }
            Err(error) => return Err(error),
        }
        Ok(())
    }

    async fn pull_config(&mut self) -> Result<(), Error> {
        let trust = self.trusted_keys().await?;
        let path = register::config(&self.state.gateway);
        let bytes = self.send(Method::GET, &path, Vec::new()).await?;
        let config: GatewayConfig = tuf::envelope::verify(&bytes, &trust.config_keys)
            .map_err(|error| Error::Later(format!("the config is refused: {error}")))?;
        let older = self
            .state
            .config
            .as_ref()
            .is_some_and(|last| config.signed_at < last.signed_at);
        let ours = config.schema == GatewayConfig::SCHEMA
            && config.network == self.state.contact.network
            && config.gateway == self.state.gateway;
        if older || !ours {
            let why = "the config is refused: it is older than the last, or not for this gateway";
            return Err(Error::Later(why.to_owned()));
        }
        self.state.heartbeat_seconds = config.heartbeat_seconds;
        self.state.config = Some(config);
        self.state.save(&self.folder)?;
        Ok(())
    }

    /// The keys that may sign configs, from the first front door whose bundle verifies, or as they
    /// were verified last.
    async fn trusted_keys(&mut self) -> Result<TrustedKeys, Error> {
        let path = tuf::repository::bundle_path(None);
        let network = self.state.contact.network.clone();
        let wanted = Wanted {
            network: &network,
            catalog: None,
        };
        let mut last = "no front door is known".to_owned();
        for door in self.state.contact.front_doors.clone() {
            let start = match &self.state.trusted {
                Some(state) => Start::State(state),
                None => Start::Pin(&self.state.contact.root),
            };
            let verified = match self.remote.door(&door.url, &path).await {
                Ok(bytes) => verify_bundle(start, &wanted, &bytes, (self.clock)())
                    .map_err(|error| error.to_string()),
                Err(error) => Err(error.to_string()),
            };
            match verified {
                Ok(verified) => {
                    self.state.trusted = Some(verified.state);
                    if let Some(trust) = verified.trust {
                        return Ok(trust);
                    }
                }
                Err(why) => last = format!("{}: {why}", door.url),
            }
        }
        self.known_keys().ok_or(Error::Later(last))
    }

    /// The keys that may sign configs and rosters, as they were verified last.
    fn known_keys(&self) -> Option<TrustedKeys> {
        let wanted = Wanted {
            network: &self.state.contact.network,
            catalog: None,
        };
        let verified = tuf::client::read_state(self.state.trusted.as_ref()?, &wanted).ok()?;
        verified.trust
    }

    async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> Result<T, Error> {
        let body = serde_json::to_vec(body).map_err(|error| Error::Later(error.to_string()))?;
        let bytes = self.send(Method::POST, path, body).await?;
        serde_json::from_slice(&bytes).map_err(|error| Error::Later(format!("the answer: {error}")))
    }

    async fn send(&self, method: Method, path: &str, body: Vec<u8>) -> Result<Vec<u8>, Error> {
        let (contact, identity) = (&self.state.contact, &self.state.identity);
        self.remote
            .control(contact, identity, method, path, body, (self.clock)())
            .await
    }
}

fn random() -> [u8; 32] {
    let mut bytes = [0; 32];
    // A key that is not random would be worse than no gateway.
    getrandom::fill(&mut bytes).expect("the system's random source works");
    bytes
}
