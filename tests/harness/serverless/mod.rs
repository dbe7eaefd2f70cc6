//! The control plane as it is deployed: every function a program of its own, the state in DynamoDB's
//! emulator or in PostgreSQL. What a test does with it does not know the runtime, which is a parameter.

pub mod lambda;
pub(crate) mod process;
pub mod workers;
pub mod wrangler;

use std::collections::BTreeMap;
use std::net::{Ipv4Addr, SocketAddr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::Command;
use std::sync::{Arc, OnceLock};

use aws_credential_types::Credentials;
use control::publish::Mirror as _;
use edge::{Clock as _, SystemClock};
use emulator::{Aws, Emulator};
use publish::s3::S3;
use serde_json::{Value, json};
use store::DynamoDbStore;
use store::dynamodb::{Retries, Settings};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::TcpStream;
use tokio::task::JoinHandle;

use self::wrangler::ROUTES;
use crate::programs::{posternctl_command, run};
use crate::{Site, posternctl};

/// The functions that answer requests in every network.
const SERVED: [&str; 3] = ["enroll", "register", "admin"];
/// Those that hold the credentials of providers, in a network that has an account.
const RENTING: [&str; 2] = ["reconcile", "cleanup"];
/// The region that functions are told. The emulator asks for none and for no credentials, and the
/// functions must have them.
pub const REGION: &str = "eu-central-1";
/// The stand-in for S3 has one region and sends who names another one elsewhere, as S3 does.
const BUCKET_REGION: &str = "us-east-1";
const ACCESS_KEY: &str = "AKIAEMULATOR";
const SECRET_KEY: &str = "emulator";

/// What functions run on.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Runtime {
    /// The binaries that Lambda would run, against its Runtime API.
    Lambda,
    /// The modules that Cloudflare would run, in its runtime `workerd`.
    Workers,
}

/// A table of the emulator's, as functions are told of it.
#[derive(Clone, Debug)]
pub struct Table {
    /// Where the database is.
    pub endpoint: String,
    /// The table's name.
    pub name: String,
    /// The region.
    pub region: &'static str,
}

impl Table {
    /// Makes the table `name` at the emulator's `endpoint`.
    pub async fn make(endpoint: &str, name: &str) -> Self {
        let table = Self {
            endpoint: endpoint.to_owned(),
            name: name.to_owned(),
            region: REGION,
        };
        let store = table.open(Retries::default());
        store
            .create_table()
            .await
            .expect("the emulator makes tables");
        table
    }

    /// The store in it, which tries as often as `retries` says.
    pub fn open(&self, retries: Retries) -> DynamoDbStore {
        let settings = Settings {
            region: self.region.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            access_key_id: ACCESS_KEY.to_owned(),
            secret_access_key: SECRET_KEY.to_owned(),
            session_token: None,
        };
        let randomness = Arc::new(|| {
            let mut bytes = [0; 16];
            getrandom::fill(&mut bytes).expect("the system's random source works");
            bytes
        });
        DynamoDbStore::connect(settings, &self.name, retries, randomness)
            .expect("the settings are complete")
    }
}

/// What a function is told: texts by the settings' names.
pub type Environment = BTreeMap<String, String>;

/// Where the state of functions is.
pub trait State: Sync {
    /// What they are told of it.
    fn told(&self) -> Environment;
}

impl State for Table {
    fn told(&self) -> Environment {
        let told = [
            ("POSTERN_TABLE", self.name.as_str()),
            ("AWS_ENDPOINT_URL_DYNAMODB", &self.endpoint),
            ("AWS_REGION", self.region),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        let told = told.map(|(name, text)| (name.to_owned(), text.to_owned()));
        told.into_iter().collect()
    }
}

/// A PostgreSQL database, made ready for functions.
pub struct Database {
    url: String,
}

impl Database {
    /// Makes the database at `url` ready, as who deploys does.
    pub async fn prepare(url: String) -> Self {
        // It reads nothing of a data folder.
        posternctl(Path::new("nowhere"), &["prepare", "--store", &url]).await;
        Self { url }
    }
}

impl State for Database {
    fn told(&self) -> Environment {
        let told = [
            ("POSTERN_DATABASE", self.url.as_str()),
            // Lambda sets them, for the mirrors.
            ("AWS_REGION", REGION),
            ("AWS_ACCESS_KEY_ID", ACCESS_KEY),
            ("AWS_SECRET_ACCESS_KEY", SECRET_KEY),
        ];
        let told = told.map(|(name, text)| (name.to_owned(), text.to_owned()));
        told.into_iter().collect()
    }
}

/// What `function` of the network in `data` is told on `runtime`, with its state in `state`.
pub async fn environment(
    runtime: Runtime,
    data: &Path,
    function: &str,
    state: &dyn State,
) -> Environment {
    let runtime = match runtime {
        Runtime::Lambda => "--runtime=lambda",
        Runtime::Workers => "--runtime=workers",
    };
    let of_network = posternctl(data, &["settings", function, runtime]).await;
    let of_network: Environment =
        serde_json::from_value(of_network).expect("texts by the settings' names");
    of_network.into_iter().chain(state.told()).collect()
}

/// A bucket that is served as it is: a mirror of a network.
#[derive(Clone, Debug)]
pub struct Bucket {
    endpoint: String,
    name: String,
}

impl Bucket {
    /// Makes the bucket `name` at the stand-in's `endpoint`.
    pub async fn make(endpoint: &str, name: &str) -> Self {
        let client = api::http_client("tests", crate::PATIENCE).expect("this machine has HTTP");
        let made = client.put(format!("{endpoint}/{name}")).send().await;
        let made = made.expect("the stand-in answers");
        assert!(made.status().is_success(), "no bucket: {}", made.status());
        Self {
            endpoint: endpoint.to_owned(),
            name: name.to_owned(),
        }
    }

    /// The same bucket, reached by another endpoint.
    #[must_use]
    pub fn at(&self, endpoint: &str) -> Self {
        Self {
            endpoint: endpoint.to_owned(),
            name: self.name.clone(),
        }
    }

    /// What front doors serve of it.
    pub fn site(&self) -> Site {
        Site::Bucket(Arc::new(self.clone()))
    }

    /// It, as who may read and write it sees it.
    pub(crate) fn mirror(&self) -> S3 {
        S3 {
            name: self.name.clone(),
            bucket: self.name.clone(),
            prefix: String::new(),
            region: BUCKET_REGION.to_owned(),
            endpoint: Some(self.endpoint.clone()),
            credentials: Credentials::from_keys(ACCESS_KEY, SECRET_KEY, None),
            http: publish::native::http().expect("this machine has HTTP"),
            now: || SystemClock.moment().now,
        }
    }

    /// Puts an object there, as anybody might have done.
    pub async fn put(&self, path: &str, bytes: &[u8]) {
        let client = api::http_client("tests", crate::PATIENCE).expect("this machine has HTTP");
        let to = format!("{}/{}/{path}", self.endpoint, self.name);
        let put = client.put(to).body(bytes.to_vec()).send().await;
        let put = put.expect("the stand-in answers");
        assert!(put.status().is_success(), "not put: {}", put.status());
    }

    /// Puts the repository in the folder `site` there, as publishing does: by the mirror's own code.
    pub async fn fill(&self, site: &Path) {
        let mirror = self.mirror();
        let mut folders = vec![site.to_owned()];
        while let Some(folder) = folders.pop() {
            for entry in std::fs::read_dir(folder).expect("it is a folder") {
                let path = entry.expect("it can be read").path();
                if path.is_dir() {
                    folders.push(path);
                    continue;
                }
                let name = path.strip_prefix(site).expect("it is below");
                let name = name.to_str().expect("a plain name");
                if name.starts_with('.') {
                    continue;
                }
                let bytes = std::fs::read(&path).expect("it can be read");
                let changes = name.starts_with("bundles/") || name.ends_with("timestamp.json");
                if changes {
                    let put = mirror.replace(name, &bytes, None).await;
                    put.expect("the bucket takes it");
                } else {
                    let put = mirror.create(name, &bytes).await;
                    put.expect("the bucket takes it");
                }
            }
        }
    }

    /// The paths of all its objects.
    pub async fn paths(&self) -> Vec<String> {
        let client = api::http_client("tests", crate::PATIENCE).expect("this machine has HTTP");
        let list = format!("{}/{}?list-type=2", self.endpoint, self.name);
        let list = client.get(list).send().await.expect("the stand-in answers");
        let list = list.text().await.expect("a whole answer");
        assert!(list.contains("<IsTruncated>false"), "{list}");
        let keys = list.split("<Key>").skip(1);
        let keys = keys.filter_map(|rest| Some(rest.split_once("</Key>")?.0.to_owned()));
        keys.collect()
    }

    /// It, as `POSTERN_MIRRORS` names it.
    pub fn setting(&self) -> Value {
        json!({
            "kind": "s3", "name": self.name, "bucket": self.name, "region": BUCKET_REGION,
            "endpoint": self.endpoint,
        })
    }
}

/// An account at the stand-in for Hetzner, as functions are told of it.
#[derive(Clone, Debug)]
pub struct Account {
    /// Where its API is.
    pub url: String,
    /// Where evidence goes.
    pub evidence: Bucket,
    /// How many requests a run may make.
    pub calls: u32,
}

impl Account {
    fn settings(&self) -> Environment {
        let providers = json!([{"kind": "hetzner", "url": self.url}]);
        let settings = [
            ("POSTERN_HETZNER_TOKEN", "sim-token".to_owned()),
            ("POSTERN_PROVIDERS", providers.to_string()),
            ("POSTERN_EVIDENCE", self.evidence.setting().to_string()),
            ("POSTERN_CALLS", self.calls.to_string()),
        ];
        let settings = settings.into_iter();
        settings
            .map(|(name, text)| (name.to_owned(), text))
            .collect()
    }
}

/// A control plane that runs.
#[derive(Clone)]
pub struct ControlPlane(Arc<Running>);

struct Running {
    /// Where publishing is a program of its own.
    publish: Option<lambda::Function>,
    served: Served,
}

/// A schedule that goes on until it is dropped.
pub struct Schedule(JoinHandle<()>);

impl Drop for Schedule {
    fn drop(&mut self) {
        self.0.abort();
    }
}

enum Served {
    Lambda(lambda::Front),
    Workers(workers::Workers),
}

impl ControlPlane {
    /// Runs the functions of the network in `data` behind `listener`, with their state in `state` and
    /// `buckets` as the mirrors.
    pub async fn start(
        runtime: Runtime,
        data: &Path,
        listener: TcpListener,
        state: &dyn State,
        buckets: &[Bucket],
    ) -> Self {
        Self::start_renting(runtime, data, listener, state, buckets, None).await
    }

    /// The same with the functions that rent nodes, where there is an account.
    pub async fn start_renting(
        runtime: Runtime,
        data: &Path,
        listener: TcpListener,
        state: &dyn State,
        buckets: &[Bucket],
        account: Option<&Account>,
    ) -> Self {
        let mut told = BTreeMap::new();
        for function in SERVED {
            told.insert(function, environment(runtime, data, function, state).await);
        }
        if let Some(account) = account {
            for function in RENTING {
                let mut environment = environment(runtime, data, function, state).await;
                environment.extend(account.settings());
                told.insert(function, environment);
            }
        }
        let mut for_publish = environment(runtime, data, "publish", state).await;
        let mirrors: Value = buckets.iter().map(Bucket::setting).collect();
        for_publish.insert("POSTERN_MIRRORS".to_owned(), mirrors.to_string());
        Self(Arc::new(match runtime {
            Runtime::Lambda => Running {
                publish: Some(lambda::Function::start("publish", &for_publish).await),
                served: Served::Lambda(lambda::Front::start(told, listener).await),
            },
            Runtime::Workers => {
                told.insert("publish", for_publish);
                Running {
                    publish: None,
                    served: Served::Workers(workers::Workers::start(&told, listener)),
                }
            }
        }))
    }

    /// One run of publishing, begun as the platform's schedule begins it: what it did.
    pub async fn publish(&self) -> Value {
        let done = self.try_to_publish().await;
        done.unwrap_or_else(|error| panic!("publishing failed: {error}\n{}", self.said()))
    }

    /// The same, or what the platform is told of the failure.
    pub async fn try_to_publish(&self) -> Result<Value, String> {
        self.try_to_wake("publish").await
    }

    /// One run of `function`, begun as the platform's schedule begins it: what it did.
    pub async fn wake(&self, function: &str) -> Value {
        let done = self.try_to_wake(function).await;
        done.unwrap_or_else(|error| panic!("{function} failed: {error}\n{}", self.said()))
    }

    async fn try_to_wake(&self, function: &str) -> Result<Value, String> {
        let event = json!({
            "version": "0", "source": "aws.events", "detail-type": "Scheduled Event", "detail": {},
        });
        let done = match (&self.0.publish, &self.0.served) {
            (Some(publish), _) if function == "publish" => publish.invoke(event).await,
            (_, Served::Lambda(front)) => front.invoke(function, event).await,
            (_, Served::Workers(workers)) => return workers.wake(function).await,
        };
        done.map_err(|error| error.to_string())
    }

    /// Publishes every second, as a schedule would every minute.
    pub fn on_schedule(&self) -> Schedule {
        let control = self.clone();
        Schedule(tokio::spawn(async move {
            let mut ticks = tokio::time::interval(std::time::Duration::from_secs(1));
            ticks.set_missed_tick_behavior(tokio::time::MissedTickBehavior::Delay);
            loop {
                ticks.tick().await;
                control.publish().await;
            }
        }))
    }

    /// Runs `posternctl` with the profile; a failure shows the functions' logs.
    pub async fn asked_by(&self, profile: &Path, arguments: &[&str]) -> Value {
        let (ok, document) = run(posternctl_command(profile, arguments)).await;
        assert!(ok, "{arguments:?} failed: {document}\n{}", self.said());
        document
    }

    /// How often functions have written `text` to their logs so far.
    pub fn times_said(&self, text: &str) -> usize {
        self.said().matches(text).count()
    }

    /// Waits until one has written `text` more often than so many times.
    pub async fn heard_again(&self, text: &str, times: usize) {
        let heard = async || (self.times_said(text) > times).then_some(());
        crate::until(&format!("'{text}' in\n{}", self.said()), heard).await;
    }

    /// What the functions wrote to their logs so far.
    pub fn said(&self) -> String {
        let served = match &self.0.served {
            Served::Lambda(front) => front.said(),
            Served::Workers(workers) => workers.said(),
        };
        let publish = self.0.publish.as_ref().map(lambda::Function::said);
        format!("{served}\n{}", publish.unwrap_or_default())
    }
}

/// What `function` on `runtime` says and answers when it is told only this: its log after a start,
/// or after a first request where a start reads nothing.
pub async fn start_alone(runtime: Runtime, function: &'static str, told: Environment) -> String {
    match runtime {
        Runtime::Lambda => lambda::Function::start(function, &told).await.ended().await,
        Runtime::Workers => {
            let (listener, address) = listener();
            let workers = workers::Workers::start(&BTreeMap::from([(function, told)]), listener);
            let (route, _) = ROUTES
                .iter()
                .find(|(_, of)| *of == function)
                .expect("a route");
            let answer = get(address, route).await;
            workers.heard("settings are wrong").await;
            format!("{answer}\n{}", workers.said())
        }
    }
}

/// A free port of loopback, taken before a network is made that names it.
pub fn listener() -> (TcpListener, SocketAddr) {
    let listener = bind(SocketAddr::from((Ipv4Addr::LOCALHOST, 0)));
    let listener = listener.expect("loopback has free ports");
    let address = listener.local_addr().expect("it is bound");
    (listener, address)
}

/// The same at an address that was in use: when whoever had it is gone.
pub async fn listener_at(address: SocketAddr) -> TcpListener {
    crate::until("the address is free", async || bind(address).ok()).await
}

fn bind(address: SocketAddr) -> std::io::Result<TcpListener> {
    let listener = TcpListener::bind(address)?;
    listener.set_nonblocking(true)?;
    Ok(listener)
}

/// An address of loopback that is free now.
fn free_port() -> SocketAddr {
    let (_let_go, address) = listener();
    address
}

/// The whole answer to a plain request, head and body, as it came.
async fn get(address: SocketAddr, path: &str) -> String {
    let request = format!("GET {path} HTTP/1.1\r\nhost: {address}\r\nconnection: close\r\n\r\n");
    let mut stream = TcpStream::connect(address).await.expect("it listens");
    stream
        .write_all(request.as_bytes())
        .await
        .expect("it reads");
    let mut answer = String::new();
    stream
        .read_to_string(&mut answer)
        .await
        .expect("it answers");
    answer
}

/// The stand-ins that functions stand on.
pub struct Clouds {
    /// For DynamoDB.
    pub database: &'static Emulator,
    /// For S3.
    pub aws: &'static Aws,
}

impl Clouds {
    /// Those of this program, if this machine has all that functions on `runtime` need; else it is
    /// said that `test` does not run.
    pub fn shared(runtime: Runtime, test: &str) -> Option<Self> {
        if let Some(missing) = missing_tools(runtime) {
            crate::skipped(test, missing);
            return None;
        }
        Some(Self {
            database: Emulator::shared(test)?,
            aws: Aws::shared(test)?,
        })
    }
}

/// Why functions cannot be run on this machine; `None` where they can.
pub fn missing_tools(runtime: Runtime) -> Option<&'static str> {
    let tools: &[&str] = match runtime {
        Runtime::Lambda => &[],
        Runtime::Workers => &[
            "bin/wasm-bindgen",
            "node/node_modules/.bin/esbuild",
            "node/node_modules/.bin/workerd",
        ],
    };
    let missing = tools
        .iter()
        .any(|tool| !root().join(".tools").join(tool).exists());
    missing.then_some("no tools for Workers, infra/scripts/wasm installs them")
}

/// Where the functions are, built first as quickly as may be. `POSTERN_FUNCTIONS` names a folder of
/// functions to be tested as they are, `target/functions` of those to be deployed.
pub fn built(runtime: Runtime) -> PathBuf {
    static LAMBDA: OnceLock<PathBuf> = OnceLock::new();
    static WORKERS: OnceLock<PathBuf> = OnceLock::new();
    if let Some(folder) = std::env::var_os("POSTERN_FUNCTIONS") {
        return root().join(folder);
    }
    let build = |runtime: &str| {
        let script = root().join("infra/scripts/functions");
        let mut command = Command::new("bash");
        command.arg(script).args([runtime, "--quick"]);
        crate::programs::without_this_package(&mut command);
        let built = command.output().expect("bash runs");
        let said = String::from_utf8_lossy(&built.stderr);
        assert!(
            built.status.success(),
            "the functions do not build:\n{said}"
        );
        let folder = String::from_utf8_lossy(&built.stdout);
        root().join(folder.trim())
    };
    match runtime {
        Runtime::Lambda => LAMBDA.get_or_init(|| build("lambda")).clone(),
        Runtime::Workers => WORKERS.get_or_init(|| build("worker")).clone(),
    }
}

fn root() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("..")
}
