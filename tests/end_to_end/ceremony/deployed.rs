//! A ceremony of a network whose functions are deployed: they take it up with their next deployment, and
//! until then all goes on as before.

use harness::serverless::{self, Bucket, Clouds, ControlPlane, Runtime, Table};
use harness::{Door, Gateway, postern, posternctl, until};

use crate::network::Trusted;

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn lambdas_take_a_ceremony_up_with_their_next_deployment() {
    the_next_deployment_takes_a_ceremony_up(Runtime::Lambda, "ceremony-lambda").await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn workers_take_a_ceremony_up_with_their_next_deployment() {
    the_next_deployment_takes_a_ceremony_up(Runtime::Workers, "ceremony-workers").await;
}

async fn the_next_deployment_takes_a_ceremony_up(runtime: Runtime, test: &'static str) {
    let Some(clouds) = Clouds::shared(runtime, test) else {
        return;
    };
    let folder = tempfile::tempdir().unwrap();
    let path = |name: &str| folder.path().join(name);
    let (data, owner, device) = (path("network"), path("owner.json"), path("device.json"));
    let bucket = Bucket::make(clouds.aws.url(), test).await;
    let door = Door::open(bucket.site()).await;
    let table = Table::make(clouds.database.url(), test).await;
    let (listener, address) = serverless::listener();
    let (control, door) = (
        format!("--control=http://{address}"),
        format!("--door={}", door.url()),
    );
    let init = ["init", "--port=0", "--heartbeat=1", &control, &door];
    let made = posternctl(&data, &init).await;
    let buckets = [bucket];
    let plane = ControlPlane::start(runtime, &data, listener, &table, &buckets).await;
    let code = made["setup"].as_str().unwrap();
    plane
        .asked_by(&owner, &["setup", code, "--name", "owner"])
        .await;
    let invite = plane.asked_by(&owner, &["invite", "--uses", "1"]).await;
    postern(&device, &["enroll", invite["invite"].as_str().unwrap()]).await;
    let gateway = Gateway::start_by(&owner, folder.path(), 1).await;
    let state = path(&gateway.id).join("gateway.json");
    until("a gateway in the catalog", async || {
        (plane.publish().await["listed"] == 1).then_some(())
    })
    .await;
    postern(&device, &["sync"]).await;

    let change = path("change.json");
    let change = change.to_str().unwrap();
    let begin = [
        "root",
        "begin",
        "--out",
        change,
        "--rotate=timestamp",
        "--rotate=snapshot",
        "--rotate=catalogs",
        "--rotate=config",
    ];
    posternctl(&data, &begin).await;
    for key in ["root-1", "root-3", "targets-1", "targets-3"] {
        let key = data.join(format!("keys/offline/{key}.pem"));
        let key = key.to_str().unwrap();
        posternctl(&data, &["root", "sign", change, "--yes", "--key", key]).await;
    }
    posternctl(&data, &["root", "finish", change]).await;

    // Nobody was told: the functions go on with what they have.
    assert_eq!(plane.publish().await["published"], false);
    drop(plane);
    let listener = serverless::listener_at(address).await;
    let plane = ControlPlane::start(runtime, &data, listener, &table, &buckets).await;
    let published = plane.publish().await;
    assert_eq!(published["published"], true, "{published}");
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["gateways"], 1, "{report}");
    let trusted = Trusted::of(&device).unwrap();
    assert_eq!((trusted.root, trusted.targets), (2, 2));
    until("a gateway that follows", async || {
        let trusted = Trusted::of(&state)?;
        ((trusted.root, trusted.targets) == (2, 2)).then_some(())
    })
    .await;
    assert_eq!(plane.publish().await["listed"], 1);
}
