//! How fast a deployed function is there: from the start of its program to the answer of a signed request,
//! and what a scheduled run costs a processor. `docs/performance.md` has the figures.
//!
//!     POSTERN_FUNCTIONS=target/functions cargo bench -p tests --bench starts --profile dev
//!
//! after `infra/scripts/sizes`, which builds the functions as they are deployed. This program's own profile
//! matters little: it waits. It is bounded, uses loopback alone, and asserts nothing about time.

use std::collections::BTreeMap;
use std::net::TcpListener;
use std::path::PathBuf;
use std::time::{Duration, Instant};

use axum::http::Method;
use emulator::{Faults, Proxy};
use harness::programs::{posternctl_command, run};
use harness::serverless::lambda::Function;
use harness::serverless::workers::Workers;
use harness::serverless::{self, Bucket, Clouds, Environment, Runtime, Table, environment};
use harness::{Signed, posternctl};
use model::NetworkId;
use serde_json::Value;

/// Starts of each program.
const STARTS: usize = 25;
/// Scheduled runs with nothing new.
const RUNS: usize = 20;
/// Workers' free plan.
const CALLS: &str = "50";
const COHORTS: usize = 20;
const MIRRORS: usize = 3;

fn main() {
    // `cargo test` also builds and starts benches, to see that they start.
    if !std::env::args().any(|argument| argument == "--bench") {
        return;
    }
    if std::env::var_os("POSTERN_FUNCTIONS").is_none() {
        eprintln!("starts: not measured, since no functions are named (POSTERN_FUNCTIONS)");
        return;
    }
    let runtime = tokio::runtime::Runtime::new().expect("the runtime starts");
    runtime.block_on(async {
        let Some(place) = Place::make().await else {
            return;
        };
        println!("| what | half of the runs within | least and most |");
        println!("|---|---|---|");
        place.lambda_enrolls().await;
        for function in ["enroll", "register", "admin"] {
            place.worker_answers(function).await;
        }
        place.worker_publishes().await;
    });
}

/// A network, and what its functions stand on.
struct Place {
    folder: tempfile::TempDir,
    network: NetworkId,
    table: Table,
    database: Proxy,
    buckets: Vec<Bucket>,
    invite: String,
}

impl Place {
    async fn make() -> Option<Self> {
        let clouds = Clouds::shared(Runtime::Workers, "starts")?;
        let folder = tempfile::tempdir().expect("a temporary folder");
        let data = folder.path().join("network");
        let (listener, address) = serverless::listener();
        let control = format!("--control=http://{address}");
        let mut init = vec!["init".to_owned(), "--port=0".to_owned(), control];
        init.extend((1..COHORTS).map(|number| format!("--cohort=ring-{number:02}")));
        let init: Vec<&str> = init.iter().map(String::as_str).collect();
        let made = posternctl(&data, &init).await;
        let network = made["network"].as_str().expect("an id").parse();

        let mut table = Table::make(clouds.database.url(), "starts").await;
        let database = Proxy::start(clouds.database.url(), Faults::NONE).await;
        table.endpoint = database.url().to_owned();
        let mut buckets = Vec::new();
        for number in 0..MIRRORS {
            buckets.push(Bucket::make(clouds.aws.url(), &format!("starts-{number}")).await);
        }
        let mut place = Self {
            folder,
            network: network.expect("an id"),
            table,
            database,
            buckets,
            invite: String::new(),
        };
        place.invite = place
            .invited(made["setup"].as_str().expect("a code"), listener)
            .await;
        Some(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("network")
    }

    /// An invite for many, by the function `admin` on Lambda's Runtime API.
    async fn invited(&self, code: &str, listener: TcpListener) -> String {
        let told = BTreeMap::from([("admin", self.told(Runtime::Lambda, "admin").await)]);
        let _front = serverless::lambda::Front::start(told, listener).await;
        let profile = self.folder.path().join("owner.json");
        let setup = ["setup", code, "--name", "owner"];
        let (ok, set_up) = run(posternctl_command(&profile, &setup)).await;
        assert!(ok, "{set_up}");
        let (ok, made) = run(posternctl_command(&profile, &["invite", "--uses", "1000"])).await;
        assert!(ok, "{made}");
        made["invite"].as_str().expect("an invite").to_owned()
    }

    async fn told(&self, runtime: Runtime, function: &str) -> Environment {
        environment(runtime, &self.data(), function, &self.table).await
    }

    /// Process start to the answer of a signed enrollment, less its database calls.
    async fn lambda_enrolls(&self) {
        let told = self.told(Runtime::Lambda, "enroll").await;
        let (mut whole, mut own) = (Vec::new(), Vec::new());
        for _ in 0..STARTS {
            let enrollment = Signed::enrollment(&self.invite, "http://localhost");
            self.database.take_spent();
            let began = start();
            let function = Function::start("enroll", &told).await;
            let answer = function.answer(enrollment.request()).await;
            let took = began.elapsed();
            let status = answer.expect("it answers").status();
            assert!(status.is_success(), "{status}\n{}", function.said());
            whole.push(took);
            own.push(took.saturating_sub(self.database.take_spent()));
        }
        row(
            "Lambda `enroll`: start to the answer of a signed enrollment",
            whole,
        );
        row("the same less its database calls", own);
    }

    /// Start of `workerd` to the answer of a signed request, database and all.
    async fn worker_answers(&self, function: &'static str) {
        let told = BTreeMap::from([(function, self.told(Runtime::Workers, function).await)]);
        let mut took = Vec::new();
        for _ in 0..STARTS {
            let (listener, address) = serverless::listener();
            let control = format!("http://{address}");
            let request = match function {
                "enroll" => Signed::enrollment(&self.invite, &control),
                "register" => {
                    self.stranger(&control, Method::GET, "/v1/gateways/g-stranger/config")
                }
                _ => self.stranger(&control, Method::POST, api::admins::CHALLENGES),
            };
            self.database.take_requests();
            let began = start();
            let workers = Workers::start(&told, listener);
            let answer = request.send().await;
            took.push(began.elapsed());
            // Strangers are refused, after the signature was verified and the database asked.
            assert!(answer.status < 500, "{answer:?}\n{}", workers.said());
            assert!(!self.database.take_requests().is_empty(), "{answer:?}");
        }
        let what =
            format!("Worker `{function}`: start of `workerd` to the answer of a signed request");
        row(&what, took);
    }

    fn stranger(&self, control: &str, method: Method, path: &str) -> Signed {
        Signed::new(
            &self.network,
            method,
            format!("{control}{path}"),
            Vec::new(),
        )
    }

    /// What runs of `publish` cost processors: the runtime's every thread is counted, and a Worker that
    /// stands for the platform's clock.
    async fn worker_publishes(&self) {
        let mut told = self.told(Runtime::Workers, "publish").await;
        let mirrors: Value = self.buckets.iter().map(Bucket::setting).collect();
        told.insert("POSTERN_MIRRORS".to_owned(), mirrors.to_string());
        told.insert("POSTERN_CALLS".to_owned(), CALLS.to_owned());
        let (listener, _) = serverless::listener();
        let workers = Workers::start(&BTreeMap::from([("publish", told)]), listener);

        let mut first = Vec::new();
        loop {
            let (report, cost) = cost(&workers).await;
            first.push(cost);
            if report["unfinished"] == false {
                break;
            }
        }
        let before = workers.own_time();
        let (mut quiet, mut calls) = (Vec::new(), 0);
        for _ in 0..RUNS {
            let (report, cost) = cost(&workers).await;
            assert_eq!(report["published"], false, "{report}");
            calls = calls.max(report["calls"].as_u64().expect("a number"));
            quiet.push(cost);
        }
        let runs = u32::try_from(RUNS).expect("a bench's count is small");
        let own = workers.own_time().saturating_sub(before) / runs;
        let place = format!("{COHORTS} cohorts, {MIRRORS} mirrors");
        let runs = first.len();
        row(
            &format!(
                "Worker `publish`, processor time of a run, first publication ({place}, {runs} runs)"
            ),
            first,
        );
        row(
            &format!("the same with nothing new (at most {calls} calls)"),
            quiet,
        );
        row("of that in the runtime itself, the mean of all", vec![own]);
    }
}

/// A run, and the processors' time for it.
async fn cost(workers: &Workers) -> (Value, Duration) {
    let before = workers.processor_time();
    let report = workers.wake("publish").await;
    let report = report.unwrap_or_else(|error| panic!("{error}\n{}", workers.said()));
    (report, workers.processor_time().saturating_sub(before))
}

fn row(what: &str, mut times: Vec<Duration>) {
    times.sort_unstable();
    let ms = |time: Duration| format!("{:.1}", time.as_secs_f64() * 1000.0);
    let (least, most) = (ms(times[0]), ms(times[times.len() - 1]));
    let half = ms(times[times.len() / 2]);
    println!("| {what} | {half} ms | {least} to {most} ms |");
}

/// What the clock on the wall says: a bench measures just that.
#[allow(clippy::disallowed_methods, reason = "a bench measures time")]
fn start() -> Instant {
    Instant::now()
}
