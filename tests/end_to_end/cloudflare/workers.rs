//! All Workers in `workerd`, and wrangler's dry run of each.

use harness::serverless::wrangler::{FUNCTIONS, ROUTES, Wrangler};
use harness::serverless::{self, Account, Bucket, Clouds, ControlPlane, Runtime, Table};
use harness::{posternctl, skipped};
use tokio::process::Command;

use crate::{said, wrangler};

/// All six, each told what its configuration declares, answer at their routes and are woken by their triggers.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn every_worker_starts_in_workerd_from_its_wrangler_configuration() {
    let test = "wrangler-workerd";
    let Some(clouds) = Clouds::shared(Runtime::Workers, test) else {
        return;
    };
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
    posternctl(&data, &init).await;
    let table = Table::make(clouds.database.url(), test).await;
    let bucket = Bucket::make(clouds.aws.url(), test).await;
    let evidence = Bucket::make(clouds.aws.url(), "wrangler-evidence").await;
    let account = Account {
        // Nobody is rented anything here.
        url: "http://127.0.0.1:9".to_owned(),
        evidence,
        calls: 50,
    };

    let buckets = [bucket];
    let control = ControlPlane::start_renting(
        Runtime::Workers,
        &data,
        listener,
        &table,
        &buckets,
        Some(&account),
    );
    let control = control.await;

    let http = api::http_client("tests", std::time::Duration::from_secs(30)).unwrap();
    for (prefix, function) in ROUTES.iter() {
        let answer = http.get(format!("{at}{prefix}")).send().await.unwrap();
        let (status, kind) = (
            answer.status(),
            answer.headers().get("content-type").cloned(),
        );
        let said = format!(
            "{prefix} of {function}: {status} {kind:?}\n{}",
            control.said()
        );
        assert!(status.is_client_error(), "{said}");
        assert_eq!(kind.unwrap(), "application/problem+json", "{said}");
    }
    for function in FUNCTIONS {
        let wrangler = Wrangler::of(function);
        if !wrangler.crons.is_empty() {
            control.wake(function).await;
        }
        // What is deployed with less than it needs would be refused by wrangler.
        let told = serverless::environment(Runtime::Workers, &data, function, &table).await;
        let elsewhere = ["POSTERN_HETZNER_TOKEN"];
        let missing = wrangler
            .secrets
            .iter()
            .find(|name| !told.contains_key(*name) && !elsewhere.contains(&name.as_str()));
        assert_eq!(missing, None, "{function}");
    }
}

/// wrangler takes each configuration with what is built, and would send just that.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn wrangler_makes_a_dry_run_of_every_worker() {
    let test = "wrangler-dry-run";
    let Some(wrangler) = wrangler(test) else {
        return;
    };
    if let Some(missing) = serverless::missing_tools(Runtime::Workers) {
        skipped(test, missing);
        return;
    }
    let built = serverless::built(Runtime::Workers);
    let folder = tempfile::tempdir().unwrap();
    for function in FUNCTIONS {
        let out = folder.path().join(function);
        let modules = built.join(format!("{function}-worker"));
        let mut command = Command::new(&wrangler);
        command.arg("deploy").arg(modules.join("index.js"));
        command.arg("--config").arg(Wrangler::path(function));
        command.arg("--dry-run").arg("--outdir").arg(&out);
        command.env("CI", "1").env("WRANGLER_SEND_METRICS", "false");
        command.env("WRANGLER_LOG_PATH", folder.path().join("log"));
        command.current_dir(folder.path());
        let done = command.output().await.unwrap();

        let said = said(&done);
        assert!(done.status.success(), "{function}: {said}");
        assert!(!said.contains("WARNING"), "{function}: {said}");
        for file in ["index.js", "index_bg.wasm"] {
            let (sent, tested) = (
                std::fs::read(out.join(file)),
                std::fs::read(modules.join(file)),
            );
            assert!(
                sent.unwrap() == tested.unwrap(),
                "{function}: {file} is another: {said}"
            );
        }
        for name in &Wrangler::of(function).vars {
            assert!(said.contains(name.as_str()), "{function} {name}: {said}");
        }
    }
}
