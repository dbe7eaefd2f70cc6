//! What stands under a deployed function breaks: its settings are wrong, the database or the object
//! store refuses or is away. The same table on Lambda's Runtime API and in `workerd`.
//!
//! Each time: the caller is told a clear problem, and to come back where waiting helps; the operator
//! finds in the log what to do; and when it is mended the very same request is taken, once, so that
//! nothing was half done. The faults are those of stand-ins on loopback: the refusals have the form of
//! DynamoDB's, and a server that is down is a port that refuses.

use std::path::PathBuf;

use emulator::{Faults, Proxy};
use harness::serverless::{self, Bucket, Clouds, ControlPlane, REGION, Runtime, Table};
use harness::{Signed, Tap, posternctl};
use serde_json::Value;

const MIRROR_FAILED: &str = "the mirror failed";
const NO_RIGHT: &str = "User: postern is not authorized to perform: dynamodb on resource: table";

/// A network, and what its functions stand on.
struct Place {
    runtime: Runtime,
    folder: tempfile::TempDir,
    address: std::net::SocketAddr,
    /// The way to the database, behind the proxy.
    to_database: Tap,
    database: Proxy,
    /// The way to the object store.
    to_bucket: Tap,
    table: Table,
    /// The bucket, as who does not come through the tap sees it.
    bucket: Bucket,
    /// The functions, told all that is right.
    control: Option<ControlPlane>,
}

impl Place {
    /// `None`, which is said, where this machine lacks a tool.
    async fn make(runtime: Runtime, test: &'static str) -> Option<Self> {
        let clouds = Clouds::shared(runtime, test)?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let (listener, address) = serverless::listener();
        let at = format!("http://{address}");
        let init = [
            "init",
            "--port=0",
            "--control",
            &at,
            "--door",
            "http://127.0.0.1:9",
        ];
        let made = posternctl(&data, &init).await;

        let mut table = Table::make(clouds.database.url(), test).await;
        let to_database = Tap::to(clouds.database.url());
        let database = Proxy::start(&to_database.url(), Faults::NONE).await;
        table.endpoint = database.url().to_owned();
        let bucket = Bucket::make(clouds.aws.url(), test).await;
        let to_bucket = Tap::to(clouds.aws.url());
        let through_tap = bucket.at(&to_bucket.url());
        let buckets = std::slice::from_ref(&through_tap);
        let control = ControlPlane::start(runtime, &data, listener, &table, buckets).await;

        let place = Self {
            runtime,
            folder,
            address,
            to_database,
            database,
            to_bucket,
            table,
            bucket,
            control: Some(control),
        };
        let code = made["setup"].as_str().expect("a setup code");
        place.owner(&["setup", code, "--name", "owner"]).await;
        Some(place)
    }

    fn data(&self) -> PathBuf {
        self.folder.path().join("network")
    }

    async fn owner(&self, arguments: &[&str]) -> Value {
        let profile = self.folder.path().join("owner.json");
        self.control().asked_by(&profile, arguments).await
    }

    /// An enrollment by an invite that is good for one.
    async fn enrollment(&self) -> Signed {
        let made = self.owner(&["invite", "--uses", "1"]).await;
        let invite = made["invite"].as_str().expect("an invite");
        Signed::enrollment(invite, &format!("http://{}", self.address))
    }

    fn control(&self) -> &ControlPlane {
        self.control.as_ref().expect("the functions run")
    }

    fn said(&self) -> String {
        self.control().said()
    }

    /// Runs the functions anew at the same address, with their state where `table` says.
    async fn restart(&mut self, table: &Table) {
        self.control = None;
        let listener = serverless::listener_at(self.address).await;
        let buckets = [self.bucket.at(&self.to_bucket.url())];
        let control =
            ControlPlane::start(self.runtime, &self.data(), listener, table, &buckets).await;
        self.control = Some(control);
    }

    /// The enrollment is refused as `told` says, without a word of the inside.
    async fn refuses(&self, what: &str, enrollment: &Signed, told: &Told) {
        let said_before = self.control().times_said(told.log);
        let answer = enrollment.send().await;

        let said = format!("{what}: {answer:?}\n{}", self.said());
        assert_eq!(answer.status, told.status, "{said}");
        assert_eq!(answer.body["type"], told.problem, "{said}");
        assert_eq!(answer.retry_after.is_some(), told.waiting_helps, "{said}");
        let text = answer.body.to_string();
        for inside in ["dynamodb", "127.0.0.1", "table", "authorized"] {
            assert!(!text.to_lowercase().contains(inside), "{inside}: {said}");
        }
        self.control().heard_again(told.log, said_before).await;
    }

    /// The same request is taken now, once, though its invite is good for one.
    async fn takes(&self, what: &str, enrollment: &Signed, devices: usize) {
        let (first, again) = (enrollment.send().await, enrollment.send().await);

        let said = format!("{what}: {first:?} {again:?}\n{}", self.said());
        assert_eq!((first.status, again.status), (200, 200), "{said}");
        assert_eq!(first.body, again.body, "{said}");
        let all = self.owner(&["devices"]).await;
        assert_eq!(all.as_array().map(Vec::len), Some(devices), "{what}: {all}");
    }
}

/// What the caller and the operator are told.
struct Told {
    status: u16,
    problem: &'static str,
    waiting_helps: bool,
    /// What the log says.
    log: &'static str,
}

const fn misconfigured(log: &'static str) -> Told {
    Told {
        status: 500,
        problem: "urn:postern:problem:store-misconfigured",
        waiting_helps: false,
        log,
    }
}

const UNAVAILABLE: Told = Told {
    status: 503,
    problem: "urn:postern:problem:store-unavailable",
    waiting_helps: true,
    log: "no answer",
};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lambdas_say_what_broke_and_do_nothing_by_halves() {
    functions_say_what_broke_and_do_nothing_by_halves(Runtime::Lambda, "faults-lambda").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_say_what_broke_and_do_nothing_by_halves() {
    functions_say_what_broke_and_do_nothing_by_halves(Runtime::Workers, "faults-workers").await;
}

async fn functions_say_what_broke_and_do_nothing_by_halves(runtime: Runtime, test: &'static str) {
    let Some(mut place) = Place::make(runtime, test).await else {
        return;
    };
    a_right_that_is_missing(&place).await;
    a_database_that_is_down(&mut place).await;
    a_region_or_table_that_is_wrong(&mut place).await;
    an_object_store_that_is_down(&mut place).await;
}

async fn a_right_that_is_missing(place: &Place) {
    let enrollment = place.enrollment().await;
    let told = misconfigured("grant it to their role");

    place.database.refuse("AccessDeniedException", NO_RIGHT);
    place.refuses("no right", &enrollment, &told).await;
    let failed = place.control().try_to_publish().await;
    let error = failed.expect_err("nothing can be read");
    assert!(error.contains("grant it to their role"), "{error}");
    // It may read, and finds a use of the invite and an address that are free.
    place
        .database
        .refuse_writes("AccessDeniedException", NO_RIGHT);
    place.refuses("no right to write", &enrollment, &told).await;

    place.database.relent();
    place.takes("the right", &enrollment, 1).await;
}

async fn a_database_that_is_down(place: &mut Place) {
    let enrollment = place.enrollment().await;

    place.to_database.shut().await;
    place
        .refuses("database down", &enrollment, &UNAVAILABLE)
        .await;
    let failed = place.control().try_to_publish().await;
    let error = failed.expect_err("nothing can be read");
    assert!(error.contains("unavailable"), "{error}");

    place.to_database.open();
    place.takes("database up", &enrollment, 2).await;
}

async fn a_region_or_table_that_is_wrong(place: &mut Place) {
    let enrollment = place.enrollment().await;
    let right = place.table.clone();

    place.database.be_in(REGION);
    let elsewhere = Table {
        region: "eu-west-3",
        ..right.clone()
    };
    place.restart(&elsewhere).await;
    let told = misconfigured("look at key, region and clock");
    place.refuses("another region", &enrollment, &told).await;
    let absent = Table {
        name: "postern-absent".to_owned(),
        ..right.clone()
    };
    place.restart(&absent).await;
    let told = misconfigured("there is no such table: create it, or correct its name");
    place.refuses("no table", &enrollment, &told).await;

    place.restart(&right).await;
    place.takes("the right table", &enrollment, 3).await;
}

/// Enrollments do not need it, and go on.
async fn an_object_store_that_is_down(place: &mut Place) {
    place.to_bucket.shut().await;
    let not_once = place.control().try_to_publish().await;
    assert_eq!(place.bucket.site().get("bundles/trust").await, None);
    place.to_bucket.open();
    let published = place.control().publish().await;
    assert_eq!(
        published["published"], true,
        "{published} after {not_once:?}"
    );
    assert_eq!(published["lagging"], Value::Array(vec![]), "{published}");
    assert!(place.bucket.site().get("bundles/trust").await.is_some());
    let before = published["version"].as_u64().expect("a version");

    place.to_bucket.shut().await;
    let said_before = place.control().times_said(MIRROR_FAILED);
    let enrollment = place.enrollment().await;
    place.takes("object store down", &enrollment, 4).await;
    let failed = place.control().publish().await;
    let lagging = failed["lagging"][0][1].as_str().expect("why it lags");
    assert!(!lagging.is_empty(), "{failed}");
    let control = place.control();
    control.heard_again(MIRROR_FAILED, said_before).await;

    place.to_bucket.open();
    let mended = place.control().publish().await;
    assert_eq!(mended["lagging"], Value::Array(vec![]), "{mended}");
    assert_eq!(mended["version"], before, "nothing was new: {mended}");
}
