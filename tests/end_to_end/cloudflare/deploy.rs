//! An account is filled, updated, rolled back and emptied, and each step of that fails once.

use std::collections::BTreeSet;
use std::path::PathBuf;

use emulator::Aws;
use harness::cloudflare::{ACCOUNT, Cloudflare, TOKEN, Worker, ZONE};
use harness::posternctl;
use harness::programs::program;
use harness::serverless::Bucket;
use harness::serverless::wrangler::{FUNCTIONS, Wrangler};
use serde_json::Value;
use tokio::process::Command;

use crate::{said, wrangler};

/// An account, and a network that is to be deployed there.
struct World {
    wrangler: PathBuf,
    cloudflare: Cloudflare,
    /// A stand-in for R2's S3 interface.
    s3: &'static Aws,
    folder: tempfile::TempDir,
}

const NAMES: [&str; 4] = ["net-enroll", "net-register", "net-admin", "net-publish"];

impl World {
    async fn make(test: &'static str) -> Option<Self> {
        let wrangler = wrangler(test)?;
        let s3 = Aws::shared(test)?;
        let cloudflare = Cloudflare::start().await;
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let control = cloudflare.control().to_owned();
        let init = [
            "init",
            "--port=0",
            "--control",
            &control,
            "--door",
            "https://door.example.org",
            "--gateway-network=198.18.0.0/15",
        ];
        posternctl(&data, &init).await;
        // What goes up is of no matter to wrangler and the imitation, as long as it can be told apart.
        for function in FUNCTIONS {
            let built = folder.path().join(format!("built/{function}-worker"));
            std::fs::create_dir_all(&built).unwrap();
            let module = "import wasm from \"./index_bg.wasm\"; export default { fetch() { return wasm; } };";
            std::fs::write(built.join("index.js"), module).unwrap();
            // An empty module: its magic number and version.
            std::fs::write(built.join("index_bg.wasm"), b"\0asm\x01\0\0\0").unwrap();
        }
        let own_secrets = folder.path().join("secrets");
        let lines = "AWS_ACCESS_KEY_ID=AKIASESAME\nAWS_SECRET_ACCESS_KEY=sesame-aws\n\
                    POSTERN_MIRROR_KEYS='{\"r2\":{\"access_key_id\":\"sesame-r2\",\"secret_access_key\":\"sesame\"}}'\n";
        std::fs::write(&own_secrets, lines).unwrap();
        let mut mode = std::fs::metadata(&own_secrets).unwrap().permissions();
        std::os::unix::fs::PermissionsExt::set_mode(&mut mode, 0o600);
        std::fs::set_permissions(&own_secrets, mode).unwrap();
        Some(Self {
            wrangler,
            cloudflare,
            s3,
            folder,
        })
    }

    /// `posternctl deploy cloudflare` with `more`: whether it went well, and what it said.
    async fn deploy(&self, more: &[&str]) -> (bool, String) {
        self.deploy_as(TOKEN, more).await
    }

    async fn deploy_as(&self, token: &str, more: &[&str]) -> (bool, String) {
        let mut command = Command::new(program("posternctl"));
        command
            .arg("--data")
            .arg(self.folder.path().join("network"));
        command.args(["deploy", "cloudflare", "--account", ACCOUNT, "--zone", ZONE]);
        command.args([
            "--prefix",
            "net",
            "--region",
            "eu-central-1",
            "--door",
            "door.example.org",
        ]);
        command
            .arg("--archives")
            .arg(self.folder.path().join("built"));
        command
            .arg("--secrets")
            .arg(self.folder.path().join("secrets"));
        command.arg("--wrangler").arg(&self.wrangler).args(more);
        command.env("CLOUDFLARE_API_TOKEN", token);
        command.env("CLOUDFLARE_API_BASE_URL", self.cloudflare.api());
        command.env("AWS_ENDPOINT_URL_S3", self.s3.url());
        command.env("HOME", self.folder.path());
        let done = command.output().await.unwrap();
        let said = said(&done);
        assert!(
            !said.to_lowercase().contains("sesame"),
            "a secret is told: {said}"
        );
        let unknown = self
            .cloudflare
            .with(|account| std::mem::take(&mut account.unknown));
        assert_eq!(
            unknown,
            Vec::<String>::new(),
            "the imitation lacks it: {said}"
        );
        (done.status.success(), said)
    }

    async fn deployed(&self, more: &[&str]) -> String {
        let mut all = vec!["--yes"];
        all.extend(more);
        let (ok, said) = self.deploy(&all).await;
        assert!(ok, "{said}");
        said
    }

    fn worker<T>(&self, name: &str, look: impl FnOnce(&Worker) -> T) -> T {
        self.cloudflare.with(|account| {
            let all: Vec<_> = account.workers.keys().cloned().collect();
            let worker = account.workers.get(name);
            look(worker.unwrap_or_else(|| panic!("no {name} among {all:?}")))
        })
    }

    fn changes(&self) -> Vec<String> {
        self.cloudflare
            .with(|account| std::mem::take(&mut account.changes))
    }

    /// Another setup code, which `admin` alone is told.
    async fn change_admin(&self) {
        let data = self.folder.path().join("network");
        posternctl(&data, &["init", "--new-setup-code"]).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_account_is_filled_updated_rolled_back_and_emptied() {
    let Some(world) = World::make("cloudflare-deploy").await else {
        return;
    };

    let (ok, said) = world.deploy_as("another-token", &["--yes"]).await;
    assert!(!ok && said.contains("step 2 (credentials)"), "{said}");
    assert!(said.contains("Check CLOUDFLARE_API_TOKEN"), "{said}");
    let (ok, said) = world.deploy(&["--dry-run"]).await;
    assert!(ok && said.contains("make net-publish"), "{said}");
    let (ok, said) = world.deploy(&[]).await;
    assert!(!ok && said.contains("then say --yes"), "{said}");
    assert_eq!(world.changes(), Vec::<String>::new(), "nobody has said yes");

    world.deployed(&[]).await;
    fills_the_account(&world);
    world.changes();

    let said = world.deployed(&[]).await;
    assert_eq!(
        world.changes(),
        Vec::<String>::new(),
        "nothing is new: {said}"
    );

    // What is told otherwise is a new version; it is tried by name before anybody is answered by it.
    world.change_admin().await;
    world.deployed(&[]).await;
    let changed: BTreeSet<_> = world.changes().into_iter().collect();
    let of_admin = |line: &String| line.contains("/net-admin/");
    assert!(
        !changed.is_empty() && changed.iter().all(of_admin),
        "{changed:?}"
    );
    let (first, second) = world.worker("net-admin", |admin| {
        let ids: Vec<_> = admin
            .versions
            .iter()
            .map(|version| version.id.clone())
            .collect();
        let expected = [
            vec![(ids[0].clone(), 100.0)],
            vec![(ids[1].clone(), 10.0), (ids[0].clone(), 90.0)],
            vec![(ids[1].clone(), 100.0)],
        ];
        let deployed = admin
            .deployments
            .iter()
            .map(|deployment| deployment.shares.clone());
        assert_eq!(deployed.collect::<Vec<_>>(), expected);
        // Once by name, and once at the end by whoever comes.
        assert_eq!(admin.versions[1].answered, 2);
        (ids[0].clone(), ids[1].clone())
    });

    let (ok, said) = world.deploy(&["--rollback", "--yes"]).await;
    assert!(ok, "{said}");
    assert_eq!(answers(&world), first);
    world.deployed(&[]).await;
    assert_ne!(
        answers(&world),
        first,
        "and forward again, with what is told now"
    );
    assert_ne!(
        answers(&world),
        second,
        "a version that was taken back is made anew"
    );

    let contents = Bucket::make(world.s3.url(), "net-site").await;
    contents.put("metadata/1.root.json", b"{}").await;
    contents.put("targets/a+b.json", b"{}").await;
    let (ok, said) = world.deploy(&["--destroy", "--yes"]).await;
    assert!(ok, "{said}");
    assert!(said.contains("removed, with 2 objects"), "{said}");
    world.cloudflare.with(|account| {
        assert!(
            account.workers.is_empty() && account.buckets.is_empty(),
            "{said}"
        );
    });
    assert_eq!(contents.paths().await, Vec::<String>::new());
    let (ok, said) = world.deploy(&["--destroy", "--yes"]).await;
    assert!(ok && said.contains("nothing: no Worker"), "{said}");
}

/// The version of `admin` that answers whoever comes.
fn answers(world: &World) -> String {
    world.worker("net-admin", |admin| {
        let shares = &admin.deployments.last().unwrap().shares;
        assert_eq!(shares.len(), 1, "{shares:?}");
        shares[0].0.clone()
    })
}

fn fills_the_account(world: &World) {
    let there = world.cloudflare.with(|account| {
        assert_eq!(account.buckets["net-site"], ["door.example.org"]);
        account.workers.keys().cloned().collect::<BTreeSet<_>>()
    });
    assert_eq!(there, NAMES.map(str::to_owned).into());
    for name in NAMES {
        let function = name.strip_prefix("net-").unwrap();
        let wrangler = Wrangler::of(function);
        world.worker(name, |worker| {
            let host = world.cloudflare.control().strip_prefix("http://").unwrap();
            let host = host.split(':').next().unwrap();
            let routes: Vec<_> = wrangler
                .prefixes
                .iter()
                .map(|path| format!("{host}{path}*"))
                .collect();
            assert_eq!(worker.routes, routes, "{name}");
            assert_eq!(worker.crons, wrangler.crons, "{name}");
            let version = worker.versions.last().unwrap();
            assert_eq!(
                version.metadata["compatibility_date"],
                wrangler.compatibility_date
            );
            assert!(
                version
                    .modules
                    .iter()
                    .any(|module| module == "index_bg.wasm"),
                "{:?}",
                version.modules
            );
            assert!(version.tag().is_string(), "{:?}", version.metadata);
            for secret in &wrangler.secrets {
                let text = version.binding("secret_text", secret);
                assert!(text.is_some_and(|text| !text.is_empty()), "{name} {secret}");
            }
            let region = version.binding("plain_text", "AWS_REGION");
            assert_eq!(region, Some("eu-central-1"), "{name}");
        });
    }
    world.worker("net-publish", |publish| {
        let version = publish.versions.last().unwrap();
        let mirrors = version.binding("plain_text", "POSTERN_MIRRORS").unwrap();
        let mirrors: Value = serde_json::from_str(mirrors).unwrap();
        assert_eq!(mirrors[0]["bucket"], "net-site");
        assert!(
            version
                .binding("secret_text", "POSTERN_MIRROR_KEYS")
                .is_some()
        );
    });
}

/// Each step is refused once: the run stops there and says so, and the same command goes on.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_deployment_goes_on_after_each_step_failed_once() {
    let Some(world) = World::make("cloudflare-failures").await else {
        return;
    };
    let fails_to = async |arguments: &[&str], refuse: &str, at: &str| {
        world
            .cloudflare
            .with(|account| account.refuse = Some(refuse.to_owned()));
        let (ok, said) = world.deploy(&[&["--yes"], arguments].concat()).await;
        assert!(!ok, "{refuse}: {said}");
        assert!(
            said.contains(at) && said.contains("run the same command again"),
            "{refuse}: {said}"
        );
        assert!(said.contains("refused by the test"), "{refuse}: {said}");
    };

    let fails = async |refuse: &str, at: &str| fails_to(&[], refuse, at).await;

    fails("GET /zones", "(zone)").await;
    fails("/r2/buckets", "(bucket)").await;
    fails("/domains/custom", "(door)").await;
    fails(
        "PUT /accounts/0123456789abcdef0123456789abcdef/workers/scripts/net-enroll",
        "(worker)",
    )
    .await;
    // The version is there, and what leads to it is not.
    fails("net-enroll/routes", "(worker)").await;
    fails("net-publish/schedules", "(worker)").await;
    world.deployed(&[]).await;
    fills_the_account(&world);
    let once = |name| world.worker(name, |worker| worker.versions.len());
    assert_eq!(
        NAMES.map(once),
        [1, 1, 1, 1],
        "what was done was not done again"
    );

    world.change_admin().await;
    fails("net-admin/versions", "(worker)").await;
    fails("net-admin/deployments", "(worker)").await;
    // A version that does not do never answers all, and the one before answers again.
    world.cloudflare.with(|account| account.breaks = true);
    let (ok, said) = world.deploy(&["--yes"]).await;
    assert!(
        !ok && said.contains("the one before answers again"),
        "{said}"
    );
    let before = world.worker("net-admin", |admin| admin.versions[0].id.clone());
    assert_eq!(answers(&world), before);
    world.cloudflare.with(|account| account.breaks = false);
    world.deployed(&[]).await;
    assert_ne!(answers(&world), before);

    let rollback = ["--rollback"];
    fails_to(&rollback, "net-admin/deployments", "(rollback)").await;
    world.deployed(&rollback).await;
    assert_eq!(answers(&world), before);

    let destroy = ["--destroy"];
    fails_to(&destroy, "services/net-register", "(remove)").await;
    fails_to(&destroy, "r2/buckets/net-site", "(bucket)").await;
    world.deployed(&destroy).await;
    world.cloudflare.with(|account| {
        assert!(account.workers.is_empty() && account.buckets.is_empty());
    });
}

/// A run without the provider's token would leave what holds it as it was, and nobody would see that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_rents_is_not_left_of_the_release_before() {
    let Some(world) = World::make("cloudflare-renting").await else {
        return;
    };
    let file = world.folder.path().join("secrets");
    let without = std::fs::read_to_string(&file).unwrap();
    std::fs::write(
        &file,
        format!("{without}POSTERN_HETZNER_TOKEN=sesame-token\n"),
    )
    .unwrap();
    world.deployed(&[]).await;
    world.worker("net-reconcile", |reconcile| {
        assert_eq!(reconcile.versions.len(), 1);
    });
    world.changes();
    std::fs::write(&file, without).unwrap();

    let (ok, said) = world.deploy(&["--yes"]).await;

    assert!(
        !ok && said.contains("would stay of the release before"),
        "{said}"
    );
    assert_eq!(world.changes(), Vec::<String>::new());
}
