//! Each step of a deployment fails once: it stops there and says what to do, and the same command, run again,
//! goes on. The state between two runs is AWS's own, and the data folder.

use std::path::Path;

use harness::amazon::{Said, release};
use harness::{Amazon, posternctl};
use serde_json::Value;

struct Deployment {
    amazon: Amazon,
}

impl Deployment {
    async fn run(&self, arguments: &[&str]) -> Said {
        let archives = release().to_str().unwrap();
        let mut all = vec![
            "--yes",
            "--archives",
            archives,
            "--gateway-network=198.18.0.0/15",
        ];
        all.extend_from_slice(arguments);
        let data = self.amazon.path("network");
        self.amazon.deploy(&data, &all, &[]).await
    }

    /// The run with `arguments` stops at `step` where its call of `action`, after so many of them, is refused.
    async fn stops(&self, step: &str, action: &str, passing: usize, arguments: &[&str]) {
        self.amazon.watch.refuse(action, passing);

        let said = self.run(arguments).await;

        assert!(
            !self.amazon.watch.relent(),
            "{action} was not called: {said:?}"
        );
        stopped_at(&said, step);
        assert!(said.error().contains("AccessDenied"), "{said:?}");
    }

    /// The network in the data folder, its names leading to where they do here.
    fn lead_names_here(&self) {
        let file = self.amazon.path("network").join("network.json");
        let text = std::fs::read_to_string(&file).unwrap();
        let settings: Value = serde_json::from_str(&text).unwrap();
        let door = self.amazon.watch.front_door().expect("a front door");
        let named = format!("https://{door}");
        assert_eq!(settings["control"], serde_json::json!([named]));
        assert_eq!(settings["front_doors"][0]["url"], named);
        std::fs::write(&file, text.replace(&named, self.amazon.front.url())).unwrap();
    }
}

/// It stopped at `step`, after others, and says what to do.
fn stopped_at(said: &Said, step: &str) {
    assert!(!said.ok, "{said:?}");
    let error = said.error();
    assert!(error.contains(&format!("({step})")), "{step}: {error}");
    assert!(error.contains("run the same command again"), "{error}");
    let taken = said.steps();
    assert!(taken.iter().all(|(taken, _)| *taken != step), "{taken:?}");
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn each_step_fails_once_and_the_same_command_goes_on() {
    let Some(amazon) = Amazon::start("deploy-aws-failures").await else {
        return;
    };
    let deployment = Deployment { amazon };

    it_is_made_step_by_failing_step(&deployment).await;
    it_is_changed_step_by_failing_step(&deployment).await;
    it_is_removed_step_by_failing_step(&deployment).await;
}

async fn it_is_made_step_by_failing_step(deployment: &Deployment) {
    let data = deployment.amazon.path("network");
    deployment
        .stops("credentials", "sts:GetCallerIdentity", 0, &[])
        .await;
    deployment
        .stops("stack", "cloudformation:DescribeStacks", 0, &[])
        .await;
    deployment
        .stops("limits", "lambda:GetAccountSettings", 0, &[])
        .await;
    let nothing = deployment.amazon.path("nothing");
    let arguments = ["--yes", "--archives", nothing.to_str().unwrap()];
    let nowhere = deployment.amazon.deploy(&data, &arguments, &[]).await;
    assert!(!nowhere.ok, "{nowhere:?}");
    assert!(nowhere.error().contains("--gateway-network"), "{nowhere:?}");
    let arguments = [arguments.as_slice(), &["--gateway-network=0.0.0.0/0"]].concat();
    let missing = deployment.amazon.deploy(&data, &arguments, &[]);
    stopped_at(&missing.await, "archives");
    deployment
        .stops("ground", "cloudformation:ExecuteChangeSet", 0, &[])
        .await;

    a_network_that_cannot_be_made_stops_it(deployment, &data).await;
    deployment
        .stops("plan", "cloudformation:CreateChangeSet", 0, &[])
        .await;
    deployment.lead_names_here();
    deployment.stops("upload", "s3:PutObject", 2, &[]).await;
    deployment
        .stops("secrets", "secretsmanager:PutSecretValue", 1, &[])
        .await;
    a_change_that_cannot_be_made_is_taken_back(deployment).await;
    deployment
        .stops("functions", "cloudformation:ExecuteChangeSet", 0, &[])
        .await;
    deployment
        .stops("health", "lambda:InvokeFunction", 1, &[])
        .await;
    deployment.amazon.front.set_down(true);
    stopped_at(&deployment.run(&[]).await, "smoke");
    deployment.amazon.front.set_down(false);

    let done = deployment.run(&[]).await;
    assert!(done.ok, "{done:?}");
    assert_eq!(done.end()["deployed"], true, "{done:?}");
    let changed: Vec<_> = done
        .steps()
        .into_iter()
        .filter(|(_, changed)| *changed)
        .collect();
    assert_eq!(changed, [], "all was done by the runs that failed");
}

/// A name is taken: the change fails when other functions and their versions were made already.
async fn a_change_that_cannot_be_made_is_taken_back(deployment: &Deployment) {
    deployment.amazon.ask("occupy").await;

    let said = deployment.run(&[]).await;

    stopped_at(&said, "functions");
    let error = said.error();
    assert!(
        error.contains("took it back (UPDATE_ROLLBACK_COMPLETE)"),
        "{error}"
    );
    assert!(error.contains("Register"), "{error}");
    deployment.amazon.ask("vacate").await;
}

async fn a_network_that_cannot_be_made_stops_it(deployment: &Deployment, data: &Path) {
    // A file where the keys' folder is to be.
    std::fs::create_dir(data).unwrap();
    let keys = data.join("keys");
    std::fs::write(&keys, "").unwrap();

    let said = deployment.run(&[]).await;

    stopped_at(&said, "network");
    assert_eq!(said.step("ground")["changed"], true, "{said:?}");
    std::fs::remove_file(keys).unwrap();
}

async fn it_is_changed_step_by_failing_step(deployment: &Deployment) {
    let data = deployment.amazon.path("network");
    // Another text for admin's secret, and so another release.
    posternctl(&data, &["init", "--new-setup-code"]).await;
    let execute = "cloudformation:ExecuteChangeSet";
    deployment.stops("switch", execute, 1, &[]).await;
    let done = deployment.run(&[]).await;
    assert!(done.ok, "{done:?}");
    assert_eq!(done.step("functions")["changed"], false, "{done:?}");
    assert_eq!(done.step("switch")["changed"], true, "{done:?}");

    deployment
        .stops("switch", execute, 0, &["--rollback"])
        .await;
    let back = deployment.run(&["--rollback"]).await;
    assert!(back.ok, "{back:?}");
    assert_eq!(back.end()["live"][0], "1", "{back:?}");
    assert_eq!(back.end()["taken_back"], true, "{back:?}");

    // The same release would answer again: that is a change, though CloudFormation's is none before.
    let shown = deployment.run(&["--dry-run"]).await;
    let change = shown.end()["changes"][0].as_str().expect("a change");
    assert!(change.starts_with("Let the versions 2,"), "{shown:?}");
}

async fn it_is_removed_step_by_failing_step(deployment: &Deployment) {
    for (step, action) in [
        ("still", "cloudformation:ExecuteChangeSet"),
        ("buckets", "s3:DeleteObject"),
        ("removal", "cloudformation:DeleteStack"),
        ("left", "tagging:GetResources"),
    ] {
        deployment.stops(step, action, 0, &["--destroy"]).await;
    }

    let gone = deployment.run(&["--destroy"]).await;
    assert!(gone.ok, "{gone:?}");
    assert_eq!(gone.step("left")["said"], "nothing", "{gone:?}");
}
