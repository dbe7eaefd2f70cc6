//! The functions under test, on one store in memory at a time that the test sets.

use std::path::Path;
use std::sync::atomic::{AtomicI64, AtomicU64, Ordering};
use std::sync::{Arc, Mutex};

use api::sealed::ControlSecrets;
use api::{IdentitySecret, Kind, Problem, signed};
use async_trait::async_trait;
use axum::Router;
use axum::body::{Body, to_bytes};
use cleanup::CleanUp;
use control::Moment;
use control::fleet::{Boot, BootstrapKey};
use edge::accounts::{Accounts, ProviderSetting, Shelf};
use edge::mirrors::Folder;
use edge::{Clock, Edge};
use harness::units::{Meter, Units};
use http::header::{ALLOW, AUTHORIZATION, CACHE_CONTROL, CONTENT_TYPE, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, Request, StatusCode};
use jiff::Timestamp;
use model::{
    AddressPools, FirstContact, Limits, Network, NetworkId, RootPin, SetupCode, Timing, id,
};
use reconcile::Reconcile;
use serde::de::DeserializeOwned;
use simcloud::SimCloud;
use store::{CommitError, Item, Key, MemoryStore, Page, Range, Store, StoreError, Write};
use tempfile::TempDir;
use tower::ServiceExt;
use tuf::key::SigningKey;

/// When every test begins, in seconds.
pub const START: i64 = 1_800_000_000;
/// The secret of the setup code.
pub const SETUP_SECRET: [u8; 16] = [5; 16];

/// A function, as it is deployed.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Function {
    Enroll,
    Register,
    Admin,
    Reconcile,
    Cleanup,
}

pub const FUNCTIONS: [Function; 5] = [
    Function::Enroll,
    Function::Register,
    Function::Admin,
    Function::Reconcile,
    Function::Cleanup,
];

pub struct Stage {
    enroll: Router,
    register: Router,
    admin: Router,
    reconcile: Router,
    cleanup: Router,
    /// What stands in for the provider.
    pub cloud: SimCloud,
    /// Where records go.
    _evidence: TempDir,
    pub edge: Edge,
    store: Arc<Breakable>,
    clock: Arc<TestClock>,
}

/// What is asked, before it is signed and sent.
#[derive(Clone, Debug)]
pub struct Ask {
    pub function: Function,
    pub method: Method,
    pub uri: String,
    pub by: By,
    pub body: Vec<u8>,
}

/// How a request says who asks.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum By {
    Nobody,
    /// Signed with the key of this number.
    Key(u8),
    /// With the token of a session.
    Token(String),
}

/// A request as it is sent, once or more often.
pub type Sent = Request<Vec<u8>>;

impl Stage {
    pub fn new() -> Self {
        let clock = Arc::new(TestClock::default());
        let store = Arc::new(Breakable::default());
        let pool = |third: u8| format!("10.0.{third}.0/26").parse().unwrap();
        let ula = "fd00:1:2::/48".parse().unwrap();
        let network = Network {
            id: NetworkId::from_random([7; 5]),
            pools: AddressPools::new(pool(0), pool(1), ula).unwrap(),
            timing: Timing::default(),
            sealed_only: false,
        };
        let limits = Limits {
            schema: Limits::SCHEMA.to_owned(),
            network: network.id.clone(),
            front_door_hosts: Vec::new(),
            gateway_networks: ["127.0.0.0/8", "198.18.0.0/15"]
                .map(|network| network.parse().unwrap())
                .to_vec(),
            cohorts: vec!["default".parse().unwrap()],
        };
        let code = SetupCode {
            hash: id::setup_hash(&SETUP_SECRET),
            expires_at: Timestamp::from_second(START + 24 * 3600).unwrap(),
        };
        let network_id = network.id.clone();
        let edge = Edge {
            store: store.clone(),
            network: Arc::new(network),
            clock: clock.clone(),
        };
        let cloud = SimCloud::new(simcloud::Settings {
            clock: simcloud::Clock::Virtual(clock.now()),
            ..simcloud::Settings::default()
        });
        let evidence = tempfile::tempdir().unwrap();
        let (reconcile, cleanup) = rented(&cloud, evidence.path(), &network_id, limits.clone());
        let finish = |routes| edge::finish(routes, edge.clone());
        Self {
            enroll: finish(enroll::routes(edge.clone(), control_secrets())),
            register: finish(register::routes(
                edge.clone(),
                config_key(),
                control_secrets(),
            )),
            admin: finish(admin::routes(edge.clone(), Some(code), Arc::new(limits))),
            reconcile: finish(reconcile::routes(edge.clone(), &reconcile)),
            cleanup: finish(cleanup::routes(edge.clone(), &cleanup)),
            cloud,
            _evidence: evidence,
            edge,
            store,
            clock,
        }
    }

    /// From now on devices and gateways are answered under seal alone.
    pub fn take_sealed_only(&mut self) {
        let mut network = self.edge.network.as_ref().clone();
        network.sealed_only = true;
        self.edge.network = Arc::new(network);
        let edge = &self.edge;
        let finish = |routes| edge::finish(routes, edge.clone());
        self.enroll = finish(enroll::routes(edge.clone(), control_secrets()));
        let register = register::routes(edge.clone(), config_key(), control_secrets());
        self.register = finish(register);
    }

    pub fn network(&self) -> &NetworkId {
        &self.edge.network.id
    }

    pub fn now(&self) -> Timestamp {
        self.clock.now()
    }

    pub fn wait(&self, seconds: i64) {
        self.clock.second.fetch_add(seconds, Ordering::Relaxed);
    }

    /// What the calls since the last time took.
    pub fn take_units(&self) -> Units {
        self.store.meter.take()
    }

    /// The calls of the store since this was asked last.
    pub fn take_calls(&self) -> Calls {
        std::mem::take(&mut self.store.calls.lock().unwrap())
    }

    /// From now on every call of the store fails, in this way.
    pub fn break_store(&self, fault: Fault) {
        *self.store.fault.lock().unwrap() = Some(fault);
    }

    /// All that is stored, with versions.
    pub fn dump(&self) -> String {
        format!("{:#?}", self.store.memory)
    }

    /// The request that `ask` describes, signed now for this network if it is signed.
    pub fn request(&self, ask: &Ask) -> Sent {
        Self::request_of(ask, self.network(), self.now())
    }

    /// The same, as a caller of another network or with another clock would sign it.
    pub fn request_of(ask: &Ask, network: &NetworkId, now: Timestamp) -> Sent {
        let mut request = Request::builder()
            .method(&ask.method)
            .uri(&ask.uri)
            .body(ask.body.clone())
            .unwrap();
        match &ask.by {
            By::Nobody => {}
            By::Key(number) => {
                let (uri, secret) = (request.uri(), key(*number));
                let headers = signed::sign(&secret, network, &ask.method, uri, &ask.body, now);
                request.headers_mut().extend(headers);
            }
            By::Token(token) => {
                let value = HeaderValue::try_from(format!("Bearer {token}")).unwrap();
                request.headers_mut().insert(AUTHORIZATION, value);
            }
        }
        request
    }

    pub async fn ask(&self, ask: &Ask) -> Answer {
        self.send(ask.function, self.request(ask)).await
    }

    pub async fn send(&self, function: Function, request: Sent) -> Answer {
        let router = match function {
            Function::Enroll => &self.enroll,
            Function::Register => &self.register,
            Function::Admin => &self.admin,
            Function::Reconcile => &self.reconcile,
            Function::Cleanup => &self.cleanup,
        };
        let response = router.clone().oneshot(request.map(Body::from)).await;
        let (parts, body) = response.unwrap().into_parts();
        Answer {
            status: parts.status,
            headers: parts.headers,
            body: to_bytes(body, usize::MAX).await.unwrap().to_vec(),
        }
    }

    /// Sends `request` and asserts all that is promised of a refusal: a problem of `kind` that
    /// `says` what to do, and nothing written. `what` is told where it is not so.
    pub async fn refuses(
        &self,
        what: &str,
        (function, request): (Function, Sent),
        (kind, says): (Kind, &str),
    ) -> Answer {
        let what = format!("{what}: {} {}", request.method(), request.uri());
        let before = self.dump();

        let answer = self.send(function, request).await;

        let problem = answer.problem(&what);
        assert!(problem.is(kind), "{what}: {problem:?} is not {kind:?}");
        assert!(problem.detail.contains(says), "{what}: {problem}");
        assert_eq!(answer.status.as_u16(), problem.status, "{what}");
        assert_eq!(
            answer
                .headers
                .get(RETRY_AFTER)
                .is_some_and(|wait| wait == "2"),
            problem.status == 503,
            "{what}"
        );
        assert_eq!(
            answer.headers.contains_key(ALLOW),
            problem.status == 405,
            "{what}"
        );
        assert_eq!(self.dump(), before, "{what}: something was written");
        answer
    }
}

/// The functions that hold credentials, of the account that `cloud` stands in for.
fn rented(
    cloud: &SimCloud,
    evidence: &Path,
    network: &NetworkId,
    limits: Limits,
) -> (Arc<Reconcile>, Arc<CleanUp>) {
    let accounts = || {
        let list = [ProviderSetting::Hetzner {
            url: Some("http://127.0.0.1/v1".to_owned()),
        }];
        let token = "sim-token".parse().unwrap();
        Accounts::new(&list, token, Arc::new(cloud.http()), u32::MAX).unwrap()
    };
    let shelf = Shelf::new(Arc::new(Folder::new("evidence", evidence).unwrap()));
    let boot = Boot {
        key: BootstrapKey::from_bytes([8; 32]),
        contact: FirstContact {
            network: network.clone(),
            root: RootPin {
                version: 1,
                sha256: "01".repeat(32),
            },
            front_doors: Vec::new(),
            control: Vec::new(),
            control_key: None,
        },
        limits,
    };
    let reconcile = Reconcile::new(accounts(), boot, shelf.clone());
    (
        Arc::new(reconcile),
        Arc::new(CleanUp::new(accounts(), shelf)),
    )
}

pub struct Answer {
    pub status: StatusCode,
    pub headers: HeaderMap,
    pub body: Vec<u8>,
}

impl Answer {
    /// What was answered; a problem panics.
    pub fn read<T: DeserializeOwned>(&self) -> T {
        let text = String::from_utf8_lossy(&self.body);
        assert_eq!(self.status, StatusCode::OK, "{text}");
        serde_json::from_slice(&self.body).unwrap()
    }

    /// The problem that was answered, whole as it is promised.
    pub fn problem(&self, what: &str) -> Problem {
        let text = String::from_utf8_lossy(&self.body);
        assert!(!self.status.is_success(), "{what} was taken: {text}");
        let media = &self.headers[CONTENT_TYPE];
        assert_eq!(media, api::problem::MEDIA_TYPE, "{what}: {text}");
        assert_eq!(self.headers[CACHE_CONTROL], "no-store", "{what}");
        let problem: Problem = serde_json::from_slice(&self.body).unwrap();
        let id = problem.request_id.as_deref().unwrap_or_default();
        assert_eq!(self.headers["x-request-id"], id, "{what}");
        assert!(!problem.detail.is_empty(), "{what}");
        problem
    }
}

fn config_key() -> Arc<SigningKey> {
    Arc::new(SigningKey::ed25519_from_seed([9; 32]))
}

/// What opens sealed requests: a key of now and one of before.
pub fn control_secrets() -> ControlSecrets {
    let before = ControlSecrets::default().with_new([1; 32]).unwrap();
    before.with_new([2; 32]).unwrap()
}

pub fn key(number: u8) -> IdentitySecret {
    IdentitySecret::from_seed([number; 32])
}

struct TestClock {
    second: AtomicI64,
    drawn: AtomicU64,
}

impl Default for TestClock {
    fn default() -> Self {
        Self {
            second: AtomicI64::new(START),
            drawn: AtomicU64::new(0),
        }
    }
}

impl TestClock {
    fn now(&self) -> Timestamp {
        Timestamp::from_second(self.second.load(Ordering::Relaxed)).unwrap()
    }
}

impl Clock for TestClock {
    fn moment(&self) -> Moment {
        let mut seed = [0; 32];
        seed[..8].copy_from_slice(&self.drawn.fetch_add(1, Ordering::Relaxed).to_be_bytes());
        Moment::new(self.now(), seed)
    }
}

/// What a database does at its worst.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Fault {
    /// It cannot be reached.
    Away,
    /// What it holds cannot be read.
    Corrupt,
    /// It is not set up for us.
    Misconfigured,
    /// A newer release wrote it.
    Newer,
    /// Others are always faster: reads work, no commit does.
    Contended,
}

/// How often the store was called. On DynamoDB each is one request (`shared/store/tests/dynamodb.rs`).
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default)]
pub struct Calls {
    /// Reads of items by their keys, several at once.
    pub reads: u32,
    /// Pages of a partition.
    pub queries: u32,
    /// Commits.
    pub commits: u32,
}

/// A store in memory that can be broken, and counts.
#[derive(Default)]
pub struct Breakable {
    memory: MemoryStore,
    calls: Mutex<Calls>,
    /// What the calls took.
    pub meter: Meter,
    fault: Mutex<Option<Fault>>,
}

impl Breakable {
    fn check(&self) -> Result<(), StoreError> {
        match *self.fault.lock().unwrap() {
            Some(Fault::Away) => Err(StoreError::Unavailable("by 10.0.0.1: timed out".to_owned())),
            Some(Fault::Corrupt) => Err(StoreError::Corrupt("device#x/y: secret".to_owned())),
            Some(Fault::Misconfigured) => {
                Err(StoreError::Misconfigured("device#x: no table".to_owned()))
            }
            Some(Fault::Newer) => Err(StoreError::Newer("device#x: the form 9".to_owned())),
            Some(Fault::Contended) | None => Ok(()),
        }
    }
}

#[async_trait]
impl Store for Breakable {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.calls.lock().unwrap().reads += 1;
        self.check()?;
        let found = self.memory.get_many(now, keys).await?;
        self.meter.got(keys, &found);
        Ok(found)
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.calls.lock().unwrap().queries += 1;
        self.check()?;
        let page = self.memory.query(now, range, after, limit).await?;
        self.meter.queried(&page);
        Ok(page)
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.calls.lock().unwrap().commits += 1;
        self.check()?;
        if *self.fault.lock().unwrap() == Some(Fault::Contended) {
            return Err(CommitError::Failed(0));
        }
        self.meter.committed(&writes);
        self.memory.commit(now, writes).await
    }
}
