//! Front doors that anybody can run: nginx, Varnish and Caddy of Debian's packages, with the configurations
//! of `infra/cdn` as `posternctl deploy doors` writes them. One story, told of each.
//!
//! What they stand before is the test's own, so that what is asked of it can be counted and it can fail; what
//! it serves, a real `posternctl up` publishes. The real `postern` syncs through them.

use std::net::SocketAddr;
use std::path::{Path, PathBuf};
use std::time::{Duration, Instant};

use harness::cdn::{Cdn, Running};
use harness::programs::{posternctl_lines, program};
use harness::{Answered, Door, Fault, Signed, Site, Up, postern, posternctl, until};
use serde_json::Value;
use tokio::process::Command;

/// For how long the doors keep what changes here. Their own rule says a minute.
const BRIEF: Duration = Duration::from_secs(2);
/// The programs count whole seconds, and a look takes a while.
const ROUNDING: Duration = Duration::from_millis(1500);
const TIMESTAMP: &str = "metadata/timestamp.json";
/// What `up` publishes, and a copy of it, in the test's folder.
const PUBLISHED: &str = "network/site";
const COPY: &str = "copy";
const BUNDLE: &str = "bundles/cohort/default";

/// A network with one front door.
struct World {
    cdn: Cdn,
    program: PathBuf,
    folder: tempfile::TempDir,
    data: PathBuf,
    address: SocketAddr,
    /// What the door stands before.
    origin: Door,
    /// What publishes, once the door runs.
    up: Option<Up>,
    http: reqwest::Client,
}

impl World {
    /// `None`, which is said, where this machine lacks the program.
    async fn make(cdn: Cdn) -> Option<Self> {
        let program = cdn.installed(&format!("doors-{}", cdn.name()))?;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let (_let_go, address) = harness::serverless::listener();
        let door = format!("http://{address}");
        let init = [
            "init",
            "--port=0",
            "--gateways=4",
            "--heartbeat=1",
            "--door",
            &door,
        ];
        posternctl(&data, &init).await;
        Some(Self {
            cdn,
            program,
            address,
            origin: Door::open(Site::Folder(data.join("site"))).await,
            up: None,
            http: api::http_client("tests", Duration::from_secs(30)).unwrap(),
            folder,
            data,
        })
    }

    fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// `posternctl deploy doors` for this door, which serves the folder `site` if it serves one.
    fn deploy(&self, site: &str) -> Vec<String> {
        let path = |name: &str| self.path(name).to_str().unwrap().to_owned();
        let listen = match self.cdn {
            Cdn::Caddy => self.url(),
            Cdn::Nginx | Cdn::Varnish => self.address.to_string(),
        };
        let brief = BRIEF.as_secs().to_string();
        let (url, origin) = (self.url(), self.origin.url());
        let (out, cache, site) = (path("site.conf"), path("cache"), path(site));
        let arguments = [
            "deploy",
            "doors",
            "--server",
            self.cdn.name(),
            "--origin",
            &origin,
            "--listen",
            &listen,
            "--out",
            &out,
            "--cache",
            &cache,
            "--site",
            &site,
            "--brief",
            &brief,
            "--control",
            "--url",
            &url,
        ];
        let all = arguments.iter();
        all.map(|argument| (*argument).to_owned()).collect()
    }

    async fn deployed(&self, site: &str) -> Vec<Value> {
        let arguments = self.deploy(site);
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        posternctl_lines(&self.data, &arguments).await
    }

    /// What it says on a failure.
    async fn refused(&self, arguments: &[String]) -> String {
        let mut command = Command::new(program("posternctl"));
        command.arg("--data").arg(&self.data).args(arguments);
        let output = command.output().await.unwrap();
        assert!(
            !output.status.success(),
            "{arguments:?} was to fail: {output:?}"
        );
        String::from_utf8(output.stderr).unwrap()
    }

    async fn start(&self) -> Running {
        let config = self.path("site.conf");
        let work = self.folder.path();
        self.cdn
            .start(&self.program, &config, self.address, work)
            .await
    }

    /// Brings a copy for a door that has no cache.
    async fn pull(&self) -> Vec<Value> {
        let (origin, site) = (self.origin.url(), self.path(COPY));
        let pull = [
            "deploy",
            "doors",
            "--pull",
            site.to_str().unwrap(),
            "--origin",
            &origin,
        ];
        posternctl_lines(&self.data, &pull).await
    }

    async fn get(&self, path: &str) -> (u16, Vec<u8>) {
        let answer = self.http.get(format!("{}/{path}", self.url())).send().await;
        let answer = answer.expect("the door answers");
        let status = answer.status().as_u16();
        (status, answer.bytes().await.expect("a whole answer").into())
    }

    fn invite(&self) -> &str {
        &self.up.as_ref().expect("it publishes").invite
    }

    fn published(&self, path: &str) -> Vec<u8> {
        std::fs::read(self.data.join("site").join(path)).unwrap()
    }

    /// What never changes, as it stands in the folder `site` now.
    fn kept_for_good(&self, site: &str) -> Vec<String> {
        let site = self.path(site);
        let mut files = Vec::new();
        list(&site, &site, &mut files);
        files.retain(|path| path != TIMESTAMP && !path.starts_with("bundles/"));
        files
    }

    /// Takes a gateway out, so that there is a new catalog, and gives the new timestamp.
    async fn publish_anew(&self) -> Vec<u8> {
        let before = self.published(TIMESTAMP);
        let gateways = posternctl(&self.data, &["gateways"]).await;
        let mut gateways = gateways.as_array().unwrap().iter();
        let active = gateways.find(|gateway| gateway["state"] == "active");
        let id = active.unwrap()["id"].as_str().unwrap();
        posternctl(&self.data, &["gateways", "drain", id]).await;
        until("a new catalog", async || {
            let now = self.published(TIMESTAMP);
            (now != before).then_some(now)
        })
        .await
    }
}

fn list(site: &Path, folder: &Path, files: &mut Vec<String>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.strip_prefix(site).unwrap().to_str().unwrap();
        // What a publisher locks, or is about to put in its place, is not served.
        if name.split('/').any(|part| part.starts_with('.')) {
            continue;
        }
        if path.is_dir() {
            list(site, &path, files);
        } else {
            files.push(name.to_owned());
        }
    }
}

/// How often the origin was asked for each of `paths`.
fn count<'a>(answers: &[Answered], path: impl Fn(&str) -> bool + 'a) -> usize {
    answers.iter().filter(|answer| path(&answer.path)).count()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_keeps_what_it_may_and_serves_on_without_its_origin() {
    let Some(mut world) = World::make(Cdn::Nginx).await else {
        return;
    };
    let door = comes_up(&mut world).await;
    its_origin_is_asked_no_more_than_it_must_be(&world).await;
    a_new_catalog_arrives_by_itself(&world).await;
    passes_the_control_plane_on(&world).await;
    let device = syncs(&world).await;
    serves_on_without_its_origin(&mut world, &device).await;

    // What it keeps is on disk: it may start while the origin is down.
    door.stop().await;
    let _door = world.start().await;
    let (status, bytes) = world.get(BUNDLE).await;
    assert_eq!((status, bytes.len()), (200, world.published(BUNDLE).len()));

    comes_back(&mut world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn varnish_keeps_what_it_may_and_serves_on_without_its_origin() {
    let Some(mut world) = World::make(Cdn::Varnish).await else {
        return;
    };
    let _door = comes_up(&mut world).await;
    its_origin_is_asked_no_more_than_it_must_be(&world).await;
    a_new_catalog_arrives_by_itself(&world).await;
    passes_the_control_plane_on(&world).await;
    let device = syncs(&world).await;
    serves_on_without_its_origin(&mut world, &device).await;
    comes_back(&mut world).await;
}

/// It asks no origin: it serves what is published beside it, or a verified copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_serves_a_folder_or_a_verified_copy_and_no_origin_is_asked() {
    let Some(mut world) = World::make(Cdn::Caddy).await else {
        return;
    };
    let door = comes_up(&mut world).await;
    let newest = world.publish_anew().await;
    assert_eq!(world.get(TIMESTAMP).await, (200, newest), "at once");
    passes_the_control_plane_on(&world).await;
    let device = syncs(&world).await;

    // The same from a copy.
    let brought = world.pull().await;
    assert_eq!(brought[0]["changed"], true, "{brought:?}");
    let written = world.deployed(COPY).await;
    assert_eq!(written[0]["changed"], true, "{written:?}");
    door.stop().await;
    let _door = world.start().await;
    world.origin.take_answers();
    let copied = world.kept_for_good(COPY);
    assert!(copied.len() > 6, "{copied:?}");
    for path in copied {
        assert_eq!(
            world.get(&path).await,
            (200, world.published(&path)),
            "{path}"
        );
    }
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    assert_eq!(
        world.origin.take_answers(),
        vec![],
        "the door serves by itself"
    );
    // And where nothing is new, a copy costs one request.
    let again = world.pull().await;
    assert_eq!(again[0]["changed"], false, "{again:?}");
    assert_eq!(world.origin.take_answers().len(), 1);

    let older = world.get(TIMESTAMP).await.1;
    let newest = world.publish_anew().await;
    a_bad_origin_changes_nothing_of_the_copy(&mut world, &older).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");

    world.origin.set(Fault::None).await;
    world.pull().await;
    assert_eq!(world.get(TIMESTAMP).await, (200, newest));
}

/// An origin that is down, or lies.
async fn a_bad_origin_changes_nothing_of_the_copy(world: &mut World, served: &[u8]) {
    let (origin, site) = (world.origin.url(), world.path(COPY));
    let pull = [
        "deploy",
        "doors",
        "--pull",
        site.to_str().unwrap(),
        "--origin",
        &origin,
    ];
    let pull = pull.map(str::to_owned);
    for (fault, said) in [
        (Fault::Altered, "not to be believed"),
        (Fault::Stopped, "run the same command again"),
    ] {
        world.origin.set(fault).await;
        let refused = world.refused(&pull).await;
        assert!(refused.contains(said), "{refused}");
        assert_eq!(world.get(TIMESTAMP).await, (200, served.to_vec()));
    }
}

/// The configuration is written, and the door is found to be down; once it runs, the same command ends well.
async fn comes_up(world: &mut World) -> Running {
    let refused = world.refused(&world.deploy(PUBLISHED)).await;
    assert!(refused.contains("step 2 (answers)"), "{refused}");
    assert!(
        refused.contains("site.conf"),
        "how it is started: {refused}"
    );

    let door = world.start().await;
    // Its gateways come through the door, too.
    world.up = Some(Up::start(&world.data, &[]).await);
    // They may have asked before anything was published, which is remembered for as long.
    until("the first catalog", async || {
        let (trust, catalog) = (world.get("bundles/trust").await, world.get(BUNDLE).await);
        (trust.0 == 200 && catalog.0 == 200).then_some(())
    })
    .await;
    let steps = world.deployed(PUBLISHED).await;

    let names: Vec<_> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let expected = [
        "write", "answers", "verify", "current", "rules", "control", "named",
    ];
    assert_eq!(names, expected, "{steps:?}\n{}", door.said());
    assert!(
        steps.iter().all(|step| step["changed"] == false),
        "{steps:?}"
    );
    assert_eq!(steps[6]["said"], "invites and catalogs name it");
    door
}

async fn its_origin_is_asked_no_more_than_it_must_be(world: &World) {
    let for_good = world.kept_for_good(PUBLISHED);
    for path in &for_good {
        world.get(path).await;
    }
    // Varnish asks for the first root to see whether the origin lives.
    let is_probe = |path: &str| world.cdn == Cdn::Varnish && path == "metadata/1.root.json";
    world.origin.take_answers();

    let begun = Instant::now();
    for number in 0..20 {
        for path in &for_good {
            let asked = format!("{path}?{number}");
            assert_eq!(
                world.get(&asked).await,
                (200, world.published(path)),
                "{path}"
            );
        }
        for path in [TIMESTAMP, BUNDLE] {
            assert_eq!(world.get(path).await.0, 200);
        }
    }
    let rounds = 1 + begun.elapsed().as_secs().div_ceil(BRIEF.as_secs());

    let asked = world.origin.take_answers();
    let changes = |path: &str| path == TIMESTAMP || path == BUNDLE;
    assert_eq!(
        count(&asked, |path| !changes(path) && !is_probe(path)),
        0,
        "{asked:?}"
    );
    for path in [TIMESTAMP, BUNDLE] {
        let times = count(&asked, |asked| asked == path) as u64;
        assert!(
            times <= rounds,
            "{times} times {path} in {rounds} rounds: {asked:?}"
        );
    }

    // What a door does not have, it does not ask for, or it asks once: a new root may come.
    for path in [
        "",
        "index.html",
        ".publish.lock",
        "metadata/../network.json",
        "bundles/x/y",
    ] {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
    for _ in 0..3 {
        assert_eq!(world.get("metadata/99.root.json").await.0, 404);
    }
    let asked = world.origin.take_answers();
    assert!(
        count(&asked, |path| !is_probe(path) && !changes(path)) <= 2,
        "{asked:?}"
    );
}

async fn a_new_catalog_arrives_by_itself(world: &World) {
    // It has what was there before.
    let before = world.get(TIMESTAMP).await.1;
    let newest = world.publish_anew().await;
    let begun = Instant::now();

    until("the new catalog", async || {
        let (status, bytes) = world.get(TIMESTAMP).await;
        assert_eq!(status, 200);
        assert!(bytes == before || bytes == newest);
        (bytes == newest).then_some(())
    })
    .await;

    let held_up = begun.elapsed();
    assert!(
        held_up <= BRIEF + ROUNDING,
        "it was held up for {held_up:?}"
    );
}

/// An enrollment comes through, twice, and is one.
async fn passes_the_control_plane_on(world: &World) {
    let enrollment = Signed::enrollment(world.invite(), &world.url());

    let (first, again) = (enrollment.send().await, enrollment.send().await);

    assert_eq!(
        (first.status, again.status),
        (200, 200),
        "{first:?} {again:?}"
    );
    assert_eq!(first.body, again.body);
}

async fn syncs(world: &World) -> PathBuf {
    let device = world.path("device.json");
    postern(&device, &["enroll", world.invite()]).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    device
}

async fn serves_on_without_its_origin(world: &mut World, device: &Path) {
    let for_good = world.kept_for_good(PUBLISHED);
    for path in &for_good {
        world.get(path).await;
    }
    let before = world.published(TIMESTAMP);
    world.origin.set(Fault::Stopped).await;
    let begun = Instant::now();

    // Until long after what it keeps has become old.
    until("the end of what may be kept", async || {
        for path in [TIMESTAMP, BUNDLE] {
            assert_eq!(
                world.get(path).await.0,
                200,
                "{path} after {:?}",
                begun.elapsed()
            );
        }
        (begun.elapsed() > 2 * BRIEF + ROUNDING).then_some(())
    })
    .await;
    for path in &for_good {
        assert_eq!(
            world.get(path).await,
            (200, world.published(path)),
            "{path}"
        );
    }
    assert_eq!(world.get(TIMESTAMP).await.1, before);
    let report = postern(device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    // Somebody who comes now finds the network, too.
    let newcomer = world.path("newcomer.json");
    postern(&newcomer, &["enroll", world.invite()]).await;
    let report = postern(&newcomer, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");

    // An origin that takes requests and says nothing is no better, and holds nobody up for long.
    world.origin.set(Fault::Silent).await;
    for path in [TIMESTAMP, BUNDLE] {
        assert_eq!(world.get(path).await.0, 200, "{path} from a silent origin");
    }
}

/// With the origin, a new catalog comes.
async fn comes_back(world: &mut World) {
    let newest = world.publish_anew().await;
    world.origin.set(Fault::None).await;
    until("the new catalog after all", async || {
        (world.get(TIMESTAMP).await == (200, newest.clone())).then_some(())
    })
    .await;
}
