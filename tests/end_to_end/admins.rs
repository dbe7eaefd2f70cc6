//! Who may operate a network: the real programs over real sockets, from the setup code to the end
//! of a session, each admin with nothing but a profile.

use std::os::unix::fs::PermissionsExt;
use std::path::{Path, PathBuf};
use std::time::Duration;

use api::http_client::http_client;
use harness::programs::{free_ports, posternctl_command, run};
use harness::{Up, posternctl};
use serde_json::Value;

/// A network whose control plane runs and whose owner is elsewhere.
struct Network {
    folder: tempfile::TempDir,
    code: String,
    metrics: String,
    up: Up,
}

impl Network {
    async fn start() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let made = posternctl(&data, &["init", "--port=0", "--heartbeat=1"]).await;
        let code = made["setup"].as_str().expect("a setup code").to_owned();
        let metrics = format!("127.0.0.1:{}", free_ports(&mut fastrand::Rng::new()));
        let up = Up::start(&data, &["--no-setup", "--metrics", &metrics]).await;
        Self {
            folder,
            code,
            metrics,
            up,
        }
    }

    async fn restarted(self, arguments: &[&str]) -> Self {
        let data = self.up.data.clone();
        self.up.stop().await;
        let up = Up::start(&data, arguments).await;
        Self { up, ..self }
    }

    fn profile(&self, name: &str) -> PathBuf {
        self.folder.path().join(name).join("profile.json")
    }
}

/// Runs it and gives its document: it must succeed.
async fn may(profile: &Path, arguments: &[&str]) -> Value {
    let (ok, document) = run(posternctl_command(profile, arguments)).await;
    assert!(ok, "posternctl {arguments:?} failed: {document}");
    document
}

/// Runs it and gives the kind of the problem: it must be refused.
async fn refused(profile: &Path, arguments: &[&str]) -> String {
    let (ok, document) = run(posternctl_command(profile, arguments)).await;
    assert!(!ok, "posternctl {arguments:?} was to fail: {document}");
    let kind = document["error"]["kind"].as_str();
    kind.unwrap_or_else(|| panic!("no kind: {document}"))
        .to_owned()
}

fn text<'a>(document: &'a Value, field: &str) -> &'a str {
    document[field]
        .as_str()
        .unwrap_or_else(|| panic!("{document}"))
}

/// Makes a profile and has the owner let it in.
async fn join(owner: &Path, profile: &Path, name: &str, role: &str) -> String {
    let contact = may(owner, &["contact"]).await;
    let made = may(profile, &["profile", "new", text(&contact, "contact")]).await;
    let key = text(&made, "key");
    let add = ["admins", "add", key, "--name", name, "--role", role];
    let added = may(owner, &add).await;
    assert_eq!(added["id"], made["admin"]);
    text(&added, "id").to_owned()
}

/// Puts what is not the session's token in its place, as if the profile were of long ago.
fn break_session(profile: &Path) {
    let mut document = load(profile);
    let token = text(&document["session"], "token").to_owned();
    let last = if token.ends_with('A') { "E" } else { "A" };
    document["session"]["token"] = format!("{}{last}", &token[..token.len() - 1]).into();
    std::fs::write(profile, document.to_string()).unwrap();
}

fn load(profile: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(profile).unwrap()).unwrap()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn from_a_setup_code_to_an_auditor_who_is_removed() {
    let network = Network::start().await;
    let (owner, auditor) = (network.profile("owner"), network.profile("auditor"));

    the_code_makes_one_owner(&network, &owner).await;
    let id = join(&owner, &auditor, "aud", "auditor").await;
    the_auditor_sees_and_changes_nothing(&owner, &auditor).await;
    sessions_end_and_begin_by_themselves(&owner).await;
    a_role_and_a_removal_count_at_once(&owner, &auditor, &id).await;
    the_audit_names_who_did_what(&owner).await;
    the_metrics_count_refused_logins(&network).await;
    let network = a_restart_knows_its_owner(network, &owner).await;
    a_new_code_makes_another_owner(network, &owner).await;
}

async fn the_code_makes_one_owner(network: &Network, owner: &Path) {
    let setup = ["setup", &network.code, "--name", "ada"];
    let first = may(owner, &setup).await;
    let again = may(owner, &setup).await;
    let thief = refused(&network.profile("thief"), &setup).await;

    assert_eq!((text(&first, "role"), &first), ("owner", &again));
    assert_eq!(thief, "setup-refused");
    let stranger = refused(&network.profile("thief"), &["devices"]).await;
    assert_eq!(stranger, "not-allowed");
    let mode = std::fs::metadata(owner).unwrap().permissions().mode();
    assert_eq!(mode & 0o777, 0o600);
}

async fn the_auditor_sees_and_changes_nothing(owner: &Path, auditor: &Path) {
    let me = may(auditor, &["whoami"]).await;
    assert_eq!((text(&me, "name"), text(&me, "role")), ("aud", "auditor"));
    for seen in ["devices", "gateways", "catalog", "audit", "admins"] {
        may(auditor, &[seen]).await;
    }
    may(auditor, &["invite", "--list"]).await;
    let id = text(&me, "id");
    let device = format!("d-{}", &id[2..]);
    let invite = format!("i-{}", &id[2..]);
    let key = text(&may(auditor, &["profile", "show"]).await, "key").to_owned();
    let changes: [&[&str]; 7] = [
        &["invite"],
        &["invite", "--withdraw", &invite],
        &["devices", "revoke", &device],
        &[
            "gateways",
            "add",
            "--role=ingress",
            "--endpoint=127.0.0.1:1",
        ],
        &["admins", "add", &key, "--name=x", "--role=owner"],
        &["admins", "role", id, "owner"],
        &["admins", "remove", id],
    ];
    for change in changes {
        assert_eq!(refused(auditor, change).await, "not-allowed", "{change:?}");
    }
    assert_eq!(
        may(owner, &["invite", "--list"]).await,
        Value::Array(vec![])
    );
    assert_eq!(may(owner, &["gateways"]).await, Value::Array(vec![]));
}

async fn sessions_end_and_begin_by_themselves(owner: &Path) {
    let before = load(owner)["session"]["token"].clone();
    break_session(owner);
    may(owner, &["devices"]).await;
    let after = load(owner)["session"]["token"].clone();
    assert_ne!(before, after, "it logged in again");
    may(owner, &["devices"]).await;
    assert_eq!(
        load(owner)["session"]["token"],
        after,
        "and keeps the session"
    );

    let copy = load(owner);
    may(owner, &["logout"]).await;
    assert_eq!(load(owner)["session"], Value::Null);
    // The token of a copy from before is worth nothing; the key in it is.
    std::fs::write(owner, copy.to_string()).unwrap();
    may(owner, &["whoami"]).await;
    assert_ne!(load(owner)["session"]["token"], after);
    assert_eq!(text(&may(owner, &["login"]).await, "role"), "owner");
}

async fn a_role_and_a_removal_count_at_once(owner: &Path, auditor: &Path, id: &str) {
    may(owner, &["admins", "role", id, "operator"]).await;
    may(auditor, &["invite"]).await;
    assert_eq!(
        refused(auditor, &["admins", "remove", id]).await,
        "not-allowed"
    );

    may(owner, &["admins", "remove", id]).await;
    assert_eq!(refused(auditor, &["devices"]).await, "not-allowed");
    assert_eq!(refused(auditor, &["login"]).await, "not-allowed");

    let me = may(owner, &["whoami"]).await;
    let leave = ["admins", "remove", text(&me, "id")];
    assert_eq!(refused(owner, &leave).await, "last-owner");
}

async fn the_audit_names_who_did_what(owner: &Path) {
    let me = may(owner, &["whoami"]).await;
    let audit = may(owner, &["audit"]).await;
    let events = audit.as_array().unwrap();
    let of = |action: &str| {
        let events = events.iter().filter(|event| event["action"] == action);
        events.collect::<Vec<_>>()
    };
    let (added, removed) = (of("admin.added"), of("admin.removed"));
    assert_eq!((added.len(), removed.len()), (2, 1), "{audit}");
    assert_eq!(removed[0]["actor"]["kind"], "admin");
    assert_eq!(removed[0]["actor"]["id"], me["id"]);
    assert_eq!(of("admin.role-changed").len(), 1);
    assert_eq!(of("session.ended").len(), 1);
    assert_eq!(of("invite.created").len(), 1);
}

async fn the_metrics_count_refused_logins(network: &Network) {
    let http = http_client("tests", Duration::from_secs(10)).unwrap();
    let url = format!("http://{}/metrics", network.metrics);
    let answer = http.get(&url).send().await.unwrap();
    let text = answer.text().await.unwrap();
    let value = |name: &str| {
        let lines = text.lines().filter_map(|line| line.strip_prefix(name));
        let mut values = lines.map(|value| value.trim().parse::<f64>().unwrap());
        values.next().unwrap_or_else(|| panic!("{name} in {text}"))
    };

    // The thief's, the stranger's, and that of the auditor who was removed.
    assert!(value("postern_refused_logins_total ") >= 3.0, "{text}");
    assert!(value("postern_catalog_age_seconds ") >= 0.0, "{text}");
    assert!(value("postern_gateways_unhealthy ").abs() < 1e-9, "{text}");
    let control = format!("{}/metrics", network.up.control);
    let control = http.get(&control).send().await.unwrap();
    assert_eq!(control.status(), 404, "strangers are not told");
}

async fn a_restart_knows_its_owner(network: Network, owner: &Path) -> Network {
    // Without `--no-setup` it tries the code, which is burned, and runs on without an operator.
    let network = network.restarted(&[]).await;

    assert_eq!(network.up.invite, "");
    let code = network.up.data.join("setup");
    assert!(!code.exists(), "a burned code is not kept");
    assert_eq!(text(&may(owner, &["whoami"]).await, "role"), "owner");
    network
}

async fn a_new_code_makes_another_owner(network: Network, owner: &Path) {
    let rescue = network.profile("rescue");
    let made = posternctl(&network.up.data, &["init", "--new-setup-code"]).await;
    let network = network.restarted(&["--no-setup"]).await;

    let setup = ["setup", text(&made, "setup"), "--name", "rescue"];
    may(&rescue, &setup).await;

    let me = may(owner, &["whoami"]).await;
    may(&rescue, &["admins", "remove", text(&me, "id")]).await;
    assert_eq!(refused(owner, &["whoami"]).await, "not-allowed");
    network.up.stop().await;
}
