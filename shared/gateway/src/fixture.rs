//! For tests: a control plane (the real function `register` over a store in memory), a front door,
//! and a network between them that fails as it is told. Time is tokio's, paused.

use std::collections::BTreeMap;
use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use api::admin::{GatewayView, NewGateway};
use api::sealed::{ControlSecret, ControlSecrets};
use api::{BootstrapText, Kind, Problem};
use async_trait::async_trait;
use axum::Router;
use axum::body::Body;
use control::Moment;
use edge::Edge;
use http::{Request, StatusCode};
use http_body_util::BodyExt as _;
use jiff::{SignedDuration, Timestamp};
use model::{
    Actor, AddressPools, AdminId, ControlKey, FirstContact, FrontDoor, GatewayId, IdentityKey,
    Limits, Network, RecoveryKit, Role, RootPin, Timing, TrustedKeys, id,
};
use serde_json::json;
use store::MemoryStore;
use tokio::time::Instant;
use tower::ServiceExt as _;
use tuf::repository::{self, Pin, RoleKeys, RootRoles};
use tuf::{Bundle, SigningKey};

use crate::remote::Transport;
use crate::{Agent, Clock, State};

/// When every test begins.
pub const START: Timestamp = Timestamp::constant(1_800_000_000, 0);
/// The secret of the gateway's bootstrap token.
const SECRET: [u8; 16] = [7; 16];

/// What happens to a request.
#[derive(Clone)]
pub enum Do {
    /// It arrives and is answered, and the answer is lost.
    LoseAnswer,
    /// Somebody on the way answers with a problem of this kind.
    Refuse(Kind),
    /// Nobody is there.
    Down,
    /// No answer ever comes.
    Hang,
    /// Somebody on the way answers with these bytes.
    Serve(Vec<u8>),
}

/// A request as the network saw it.
pub struct Sent {
    pub at: Instant,
    pub url: String,
    pub body: Vec<u8>,
}

/// The network.
pub struct Net {
    router: Mutex<Router>,
    bundle: Mutex<Vec<u8>>,
    rules: Mutex<Vec<(&'static str, usize, Do)>>,
    sent: Mutex<Vec<Sent>>,
}

impl Net {
    /// From now on, does this to the next `times` requests whose URL contains `part`.
    pub fn on(&self, part: &'static str, times: usize, what: Do) {
        self.rules.lock().unwrap().push((part, times, what));
    }

    /// From now on all goes well.
    pub fn heal(&self) {
        self.rules.lock().unwrap().clear();
    }

    /// The requests so far whose URL contains `part`: when, and with which body.
    pub fn sent(&self, part: &str) -> Vec<(Instant, Vec<u8>)> {
        let sent = self.sent.lock().unwrap();
        let of_part = sent.iter().filter(|sent| sent.url.contains(part));
        of_part.map(|sent| (sent.at, sent.body.clone())).collect()
    }

    fn rule(&self, url: &str) -> Option<Do> {
        let mut rules = self.rules.lock().unwrap();
        let rule = rules
            .iter_mut()
            .find(|(part, times, _)| *times > 0 && url.contains(part))?;
        rule.1 -= 1;
        Some(rule.2.clone())
    }

    async fn arrive(&self, request: Request<Vec<u8>>) -> (StatusCode, Vec<u8>) {
        if request.uri().host().unwrap().starts_with("door") {
            return (StatusCode::OK, self.bundle.lock().unwrap().clone());
        }
        let request = request.map(Body::from);
        let router = self.router.lock().unwrap().clone();
        let response = router.oneshot(request).await.unwrap();
        let status = response.status();
        let body = response.into_body().collect().await.unwrap();
        (status, body.to_bytes().to_vec())
    }
}

#[async_trait]
impl Transport for Net {
    async fn send(
        &self,
        request: Request<Vec<u8>>,
        _most: u64,
    ) -> Result<(StatusCode, Vec<u8>), String> {
        let url = request.uri().to_string();
        self.sent.lock().unwrap().push(Sent {
            at: Instant::now(),
            url: url.clone(),
            body: request.body().clone(),
        });
        match self.rule(&url) {
            None => Ok(self.arrive(request).await),
            Some(Do::LoseAnswer) => {
                self.arrive(request).await;
                Err("the answer was lost".to_owned())
            }
            Some(Do::Refuse(kind)) => {
                let problem = Problem::new(kind, "somebody says so");
                let status = StatusCode::from_u16(problem.status).unwrap();
                Ok((status, serde_json::to_vec(&problem).unwrap()))
            }
            Some(Do::Down) => Err("nobody is there".to_owned()),
            Some(Do::Hang) => std::future::pending().await,
            Some(Do::Serve(bytes)) => Ok((StatusCode::OK, bytes)),
        }
    }
}

/// The time on the control plane, which is right.
struct Right {
    began: Instant,
    moments: AtomicU8,
}

impl edge::Clock for Right {
    fn moment(&self) -> Moment {
        let number = self.moments.fetch_add(1, Ordering::Relaxed);
        Moment::new(time_since(self.began), [number; 32])
    }
}

fn time_since(began: Instant) -> Timestamp {
    START + SignedDuration::try_from(began.elapsed()).unwrap()
}

/// A network with one gateway that has not started yet.
pub struct World {
    pub net: Arc<Net>,
    pub folder: tempfile::TempDir,
    pub token: BootstrapText,
    edge: Edge,
    skew: Arc<AtomicI64>,
    began: Instant,
}

impl World {
    /// Two control endpoints, one front door, a heartbeat every 30 seconds. Its timestamp expires
    /// a day after [`START`].
    pub async fn new() -> Self {
        let began = Instant::now();
        let network = network();
        let edge = Edge {
            store: Arc::new(MemoryStore::new()),
            network: Arc::new(network.clone()),
            clock: Arc::new(Right {
                began,
                moments: AtomicU8::new(0),
            }),
        };
        let context = edge.context(Moment::new(START, [4; 32]));
        control::gateways::create(&context, &limits(), &operator(), record())
            .await
            .unwrap();
        let net = Net {
            router: Mutex::new(function(&edge, ControlSecrets::default())),
            bundle: Mutex::new(bundle(&network, 1, None)),
            rules: Mutex::default(),
            sent: Mutex::default(),
        };
        Self {
            net: Arc::new(net),
            folder: tempfile::tempdir().unwrap(),
            token: token("g-aaaa"),
            edge,
            skew: Arc::default(),
            began,
        }
    }

    /// The same, with a token that names the control key of the number.
    pub async fn sealed(number: u8) -> Self {
        let mut world = Self::new().await;
        world.token.contact.control_key = Some(control_key(number));
        world.open(&[number]);
        world
    }

    /// From now on the control plane opens what is sealed to the keys of these numbers alone.
    pub fn open(&self, numbers: &[u8]) {
        let secrets = numbers.iter().map(|number| control_secret(*number));
        let secrets = ControlSecrets::new(secrets.collect()).unwrap();
        *self.net.router.lock().unwrap() = function(&self.edge, secrets);
    }

    /// From now on the second version of `trust.json` names the control key of this number.
    pub fn publish(&self, number: u8) {
        let bundle = bundle(&network(), 2, Some(control_key(number)));
        *self.net.bundle.lock().unwrap() = bundle;
    }

    /// An operator asks the gateway for new keys.
    pub async fn want_rotation(&self) {
        let context = self.edge.context(self.edge.clock.moment());
        control::gateways::rotation::want(&context, &operator(), &self.token.gateway)
            .await
            .unwrap();
    }

    /// The gateway as the control plane knows it, and when it was heard last.
    pub async fn known(&self) -> GatewayView {
        let context = self.edge.context(self.edge.clock.moment());
        let mut all = control::gateways::list(&context).await.unwrap();
        all.remove(0)
    }

    /// So many seconds the node's clock is ahead from now on.
    pub fn skew(&self, seconds: i64) {
        self.skew.store(seconds, Ordering::Relaxed);
    }

    /// The node's clock.
    pub fn clock(&self) -> Clock {
        let (began, skew) = (self.began, self.skew.clone());
        Arc::new(move || {
            time_since(began) + SignedDuration::from_secs(skew.load(Ordering::Relaxed))
        })
    }

    /// The node's agent, as it starts for the first time or again.
    pub fn agent(&self) -> Agent {
        let folder = self.folder.path().to_owned();
        Agent::over(self.net.clone(), folder, Some(&self.token), self.clock()).unwrap()
    }

    /// What its file holds.
    pub fn state(&self) -> State {
        state(self.folder.path(), None).unwrap()
    }
}

/// Opens the state file with keys of no interest.
pub fn state(folder: &Path, token: Option<&BootstrapText>) -> Result<State, crate::StateError> {
    State::open(folder, token, || [9; 32])
}

/// The bootstrap token of this gateway.
pub fn token(gateway: &str) -> BootstrapText {
    let network = network();
    BootstrapText {
        contact: FirstContact {
            network: network.id,
            root: RootPin {
                version: 1,
                sha256: Pin::of(1, &root()).sha256,
            },
            front_doors: vec![FrontDoor {
                url: "http://door-1".to_owned(),
                fallback: Vec::new(),
            }],
            control: vec![
                "https://control-1".to_owned(),
                "https://control-2".to_owned(),
            ],
            control_key: None,
        },
        gateway: gateway.parse().unwrap(),
        secret: SECRET,
    }
}

/// The key that `trust.json` names.
pub fn config_key() -> SigningKey {
    key(7)
}

fn function(edge: &Edge, secrets: ControlSecrets) -> Router {
    let routes = register::routes(edge.clone(), Arc::new(config_key()), secrets);
    edge::finish(routes, edge.clone())
}

fn control_secret(number: u8) -> ControlSecret {
    ControlSecret::from_random(number, [number; 32])
}

/// What requests may be sealed to.
pub fn control_key(number: u8) -> ControlKey {
    control_secret(number).public()
}

/// The key with this number.
pub fn key(number: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([number; 32])
}

pub fn network() -> Network {
    let pool = |text: &str| text.parse().unwrap();
    let ula = "fd00:1:2::/48".parse().unwrap();
    Network {
        id: "n-abcdefgh".parse().unwrap(),
        pools: AddressPools::new(pool("10.0.0.0/24"), pool("10.0.1.0/24"), ula).unwrap(),
        timing: Timing::default(),
        sealed_only: false,
    }
}

fn operator() -> Actor {
    Actor::Admin(AdminId::of(&IdentityKey::from_bytes([9; 32])))
}

fn record() -> NewGateway {
    let id: GatewayId = token("g-aaaa").gateway;
    NewGateway {
        id,
        role: Role::Ingress,
        region: "test".to_owned(),
        endpoint: "192.0.2.1:51820".parse().unwrap(),
        pool: "ingress".parse().unwrap(),
        cohorts: vec!["default".parse().unwrap()],
        bootstrap_hash: id::bootstrap_hash(&SECRET),
        bootstrap_expires_at: later(24),
    }
}

fn limits() -> Limits {
    Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: network().id,
        front_door_hosts: Vec::new(),
        gateway_networks: vec!["192.0.2.0/24".parse().unwrap()],
        cohorts: vec!["default".parse().unwrap()],
    }
}

fn later(hours: i64) -> Timestamp {
    START + SignedDuration::from_hours(hours)
}

fn keys(number: u8) -> RoleKeys {
    RoleKeys {
        keys: vec![key(number).public()],
        threshold: 1,
    }
}

fn root() -> Vec<u8> {
    let roles = RootRoles {
        root: keys(1),
        targets: keys(2),
        snapshot: keys(3),
        timestamp: keys(4),
    };
    repository::sign_root(1, later(10_000), &roles, &[&key(1)]).unwrap()
}

/// The bundle for gateways.
pub fn bundle(network: &Network, version: u64, control_key: Option<ControlKey>) -> Vec<u8> {
    bundle_with(network, version, control_key, None)
}

/// The same with a recovery kit.
pub fn bundle_with(
    network: &Network,
    version: u64,
    control_key: Option<ControlKey>,
    kit: Option<&RecoveryKit>,
) -> Vec<u8> {
    let trust = json!({"schema": TrustedKeys::SCHEMA, "network": network.id,
    "config_keys": [match config_key() {
        SigningKey::Ed25519(pair) => IdentityKey::from_bytes(*pair.pk),
        SigningKey::EcdsaP256(_) => unreachable!("it was made with the other algorithm"),
    }], "control_key": control_key});
    let mut offline = BTreeMap::from([
        (
            Limits::PATH.to_owned(),
            serde_json::to_vec(&limits()).unwrap(),
        ),
        (TrustedKeys::PATH.to_owned(), trust.to_string().into_bytes()),
    ]);
    offline.extend(kit.map(|kit| {
        let bytes = serde_json::to_vec(kit).unwrap();
        (RecoveryKit::PATH.to_owned(), bytes)
    }));
    let far = later(10_000);
    let targets = repository::sign_targets(version, far, &offline, &keys(5), &[&key(2)]).unwrap();
    let catalogs = repository::sign_catalogs(version, far, &BTreeMap::new(), &[&key(5)]).unwrap();
    let pins = (Pin::of(version, &targets), Pin::of(version, &catalogs));
    let snapshot = repository::sign_snapshot(version, far, &pins.0, &pins.1, &[&key(3)]).unwrap();
    let pin = Pin::of(version, &snapshot);
    let timestamp = repository::sign_timestamp(version, later(24), &pin, &[&key(4)]).unwrap();
    let mut files = vec![
        (repository::root_path(1), root()),
        (repository::TIMESTAMP_PATH.to_owned(), timestamp),
        (repository::snapshot_path(version), snapshot),
        (repository::targets_path(version), targets),
    ];
    for (path, bytes) in offline {
        let hash = Pin::of(1, &bytes).sha256;
        files.push((repository::target_paths(&path, &hash)[0].clone(), bytes));
    }
    let parts: Vec<_> = files
        .iter()
        .map(|(name, bytes)| (name.as_str(), bytes.as_slice()))
        .collect();
    Bundle::write(&parts)
}
