//! What a CDN before the control plane sees, which ends TLS and keeps every byte: the real programs,
//! through a proxy that records, in the whole life of a device and of a gateway.
//!
//! The story is told twice. Sealed, as networks are made, nothing of anybody is in the recording: no
//! secret, key, address, id, path or config, however it is written. In the plain the same search finds
//! every one of them that travels, so that it is known to find.

use std::collections::{BTreeMap, BTreeSet};
use std::path::{Path, PathBuf};

use api::InviteText;
use api::sealed::{DEVICES, GATEWAYS};
use data_encoding::{BASE64, BASE64URL_NOPAD, HEXLOWER};
use harness::recorder::Recorded;
use harness::{Gateway, Recorder, Up, postern, posternctl, until};
use serde_json::Value;

/// The gateways' addresses end so: no other address of this test does.
const INGRESS: u8 = 221;
const EGRESS: u8 = 222;

/// What may be in a recording, by what it is.
#[derive(Default)]
struct Wanted {
    texts: BTreeMap<String, Vec<Vec<u8>>>,
    /// Those that never leave their machine, sealed or not.
    at_home: BTreeSet<String>,
}

impl Wanted {
    fn text(&mut self, what: &str, text: &str) {
        let forms = self.texts.entry(what.to_owned()).or_default();
        forms.push(text.as_bytes().to_vec());
    }

    /// Bytes as they are, and in every writing that is used for some.
    fn bytes(&mut self, what: &str, bytes: &[u8]) {
        let forms = self.texts.entry(what.to_owned()).or_default();
        forms.push(bytes.to_vec());
        for text in [
            BASE64.encode(bytes),
            BASE64URL_NOPAD.encode(bytes),
            HEXLOWER.encode(bytes),
        ] {
            forms.push(text.into_bytes());
        }
    }

    fn base64(&mut self, what: &str, text: &Value) {
        let text = text.as_str().expect("a key");
        self.bytes(what, &BASE64.decode(text.as_bytes()).expect("base64"));
    }

    fn secret(&mut self, what: &str, text: &Value) {
        self.base64(what, text);
        self.at_home.insert(what.to_owned());
    }

    /// What is in the recording.
    fn found(&self, recording: &[Recorded]) -> BTreeSet<&str> {
        let seen: Vec<&[u8]> = recording
            .iter()
            .flat_map(|one| [&one.asked[..], &one.answered[..]])
            .collect();
        let is_seen = |form: &Vec<u8>| seen.iter().any(|bytes| contains(bytes, form));
        let found = self
            .texts
            .iter()
            .filter(|(_, forms)| forms.iter().any(is_seen));
        found.map(|(what, _)| what.as_str()).collect()
    }

    /// All that travels to or from the control plane.
    fn travelling(&self) -> BTreeSet<&str> {
        let all = self.texts.keys();
        all.filter(|what| !self.at_home.contains(*what))
            .map(String::as_str)
            .collect()
    }
}

fn contains(bytes: &[u8], form: &[u8]) -> bool {
    bytes.windows(form.len()).any(|window| window == form)
}

/// A network behind the recorder, with a device and two gateways.
struct Network {
    folder: tempfile::TempDir,
    recorder: Recorder,
    up: Up,
    wanted: Wanted,
}

impl Network {
    async fn start(requests: &str) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let recorder = Recorder::open().await;
        let (url, requests) = (recorder.url(), format!("--requests={requests}"));
        let init = [
            "init",
            "--port=0",
            "--heartbeat=1",
            "--control",
            &url,
            &requests,
        ];
        let made = posternctl(&data, &init).await;
        let settings = json(&data.join("network.json"));
        let port = &settings["ports"]["control"];
        recorder.lead_to(&format!("http://127.0.0.1:{port}"));
        let mut wanted = Wanted::default();
        wanted.text("the network", made["network"].as_str().unwrap());
        let up = Up::start(&data, &[]).await;
        Self {
            folder,
            recorder,
            up,
            wanted,
        }
    }

    fn device(&self) -> PathBuf {
        self.folder.path().join("device.json")
    }

    async fn operate(&self, arguments: &[&str]) -> Value {
        posternctl(&self.up.data, arguments).await
    }

    /// What devices and gateways sent and got. The operator's own requests pass here, too; they are
    /// not sealed, and each is a connection of its own.
    fn recording(&self) -> Vec<Recorded> {
        let all = self.recorder.recorded().into_iter();
        all.filter(|one| !contains(first_line(one), b" /v1/admin/"))
            .collect()
    }

    /// Remembers the keys that the device has now.
    fn note_device(&mut self, when: &str) {
        let file = json(&self.device());
        let answer = &file["answer"];
        let wanted = &mut self.wanted;
        for name in ["identity", "tunnel", "exit"] {
            wanted.secret(&format!("the device's {name} secret, {when}"), &file[name]);
            let key = &answer[format!("{name}_key")];
            wanted.base64(&format!("the device's {name} key, {when}"), key);
        }
        wanted.text("the device's id", answer["device"].as_str().unwrap());
        let addresses = answer["addresses"].as_object().unwrap();
        for (name, address) in addresses {
            let what = format!("the device's address '{name}'");
            wanted.text(&what, address.as_str().unwrap());
        }
    }

    /// The same of a gateway.
    fn note_gateway(&mut self, id: &str, when: &str) -> Value {
        let file = self.state(id);
        let wanted = &mut self.wanted;
        for name in ["identity", "tunnel"] {
            let secret = file[name].as_str().unwrap().to_owned();
            wanted.secret(&format!("{id}'s {name} secret, {when}"), &file[name]);
            let public = public(name, &secret);
            wanted.bytes(&format!("{id}'s {name} key, {when}"), &public);
        }
        wanted.text(&format!("the id {id}"), id);
        file
    }

    fn state(&self, id: &str) -> Value {
        json(&self.folder.path().join(id).join("gateway.json"))
    }
}

/// The public half of a secret in a state file.
fn public(name: &str, secret: &str) -> Vec<u8> {
    let text = Value::from(secret);
    if name == "identity" {
        let secret: api::IdentitySecret = serde_json::from_value(text).unwrap();
        return secret.public().as_bytes().to_vec();
    }
    let secret: api::WireGuardSecret = serde_json::from_value(text).unwrap();
    secret.tunnel_key().as_bytes().to_vec()
}

fn json(path: &Path) -> Value {
    serde_json::from_slice(&std::fs::read(path).unwrap()).unwrap()
}

fn first_line(one: &Recorded) -> &[u8] {
    let end = one.asked.iter().position(|byte| *byte == b'\n');
    &one.asked[..end.unwrap_or(one.asked.len())]
}

/// The whole story, and the network with all that is looked for.
async fn story(requests: &str) -> Network {
    let mut network = Network::start(requests).await;
    let mut gateways = Vec::new();
    for number in [INGRESS, EGRESS] {
        let (data, folder) = (&network.up.data, network.folder.path());
        gateways.push(Gateway::start(data, folder, number).await);
        let what = format!("the address of gateway {number}");
        network.wanted.text(&what, &format!("127.0.0.{number}"));
    }
    for gateway in &gateways {
        until("a config and a roster", async || {
            let state =
                tokio::fs::read(network.folder.path().join(&gateway.id).join("gateway.json"));
            let state: Value = serde_json::from_slice(&state.await.ok()?).ok()?;
            (!state["config"].is_null()).then_some(())
        })
        .await;
    }
    a_device_lives(&mut network).await;
    a_gateway_lives(&mut network, &gateways[0].id).await;
    network.note_gateway(&gateways[1].id, "first");
    for (what, text) in [
        ("a config", "postern-gateway-config/1"),
        ("where an ingress forwards to", "forward_to"),
        ("a roster", "postern-roster"),
        ("a problem", "urn:postern:problem:"),
        ("the path of enrollment", "/v1/enroll"),
        ("the path of a device", "/v1/devices/d-"),
        ("the path of a gateway", "/v1/gateways/g-"),
        ("a heartbeat", "heartbeat"),
        ("a signature", "signature-input"),
    ] {
        network.wanted.text(what, text);
    }
    network
}

/// Enrollment, syncs with contact, a rotation and what follows of it, a refusal.
async fn a_device_lives(network: &mut Network) {
    let device = network.device();
    let invite = network.operate(&["invite", "--uses", "1"]).await;
    let invite = invite["invite"].as_str().unwrap();
    let secret = InviteText::parse(invite).unwrap().secret;
    network.wanted.bytes("the invite's secret", &secret);

    postern(&device, &["enroll", invite]).await;
    network.note_device("first");
    until("both gateways in the catalog", async || {
        let report = postern(&device, &["sync", "--contact"]).await;
        (report["gateways"] == 2).then_some(())
    })
    .await;
    postern(&device, &["select"]).await;
    let tunnels = network.folder.path().join("tunnels");
    postern(&device, &["config", "--out", tunnels.to_str().unwrap()]).await;
    postern(&device, &["rotate"]).await;
    network.note_device("rotated");
    postern(&device, &["sync", "--contact"]).await;

    let other = device.with_file_name("other.json");
    let refused = harness::postern_refused(&other, &["enroll", invite]).await;
    assert_eq!(refused["error"]["kind"], "invite-used-up", "{refused}");
}

/// It is registered already; heartbeats, rosters and configs come by themselves; new keys, draining and
/// the end.
async fn a_gateway_lives(network: &mut Network, id: &str) {
    let before = network.note_gateway(id, "first");
    network.operate(&["gateways", "rotate", id]).await;
    until("the gateway's new keys", async || {
        let state = network.state(id);
        (state["identity"] != before["identity"] && state["next_keys"].is_null()).then_some(())
    })
    .await;
    network.note_gateway(id, "rotated");
    network.operate(&["gateways", "drain", id]).await;
    network.operate(&["gateways", "retire", id]).await;
    let heard = network.recording().len();
    assert!(heard > 0);
}

/// The lengths of the requests' bodies.
fn lengths(recording: &[Recorded]) -> BTreeSet<String> {
    let asked = recording
        .iter()
        .map(|one| String::from_utf8_lossy(&one.asked));
    let lines: Vec<String> = asked
        .flat_map(|text| text.lines().map(str::to_owned).collect::<Vec<_>>())
        .collect();
    let lengths = lines.iter().filter_map(|line| {
        let (name, length) = line.split_once(": ")?;
        name.eq_ignore_ascii_case("content-length")
            .then(|| length.to_owned())
    });
    lengths.collect()
}

/// The methods and paths of all requests.
fn asked(recording: &[Recorded]) -> BTreeSet<String> {
    let lines = recording.iter().flat_map(|one| {
        let text = String::from_utf8_lossy(&one.asked).into_owned();
        let lines = text.split("\r\n").map(str::to_owned);
        lines.collect::<Vec<_>>()
    });
    let lines = lines.filter_map(|line| {
        // What was sent before it, a capsule, has no end of a line.
        let line = line.strip_suffix(" HTTP/1.1")?.to_owned();
        let (start, path) = line.rsplit_once(' ')?;
        let method = ["POST", "GET", "PUT"]
            .into_iter()
            .find(|method| start.ends_with(method))?;
        Some(format!("{method} {path}"))
    });
    lines.collect()
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_cdn_that_ends_tls_sees_nothing_of_what_is_sealed() {
    let network = story("sealed").await;

    let recording = network.recording();
    assert_eq!(network.wanted.found(&recording), BTreeSet::new());
    let routes = [format!("POST {DEVICES}"), format!("POST {GATEWAYS}")];
    assert_eq!(asked(&recording), BTreeSet::from(routes));
    assert_eq!(lengths(&recording).len(), 1, "all requests are of one size");
    network.up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn a_control_key_is_added_and_only_one_that_the_kit_does_not_name_is_removed() {
    let network = Network::start("either").await;
    let first = network.operate(&["control-keys"]).await;
    let named = first["control_keys"][0]["number"].to_string();

    let both = network.operate(&["control-keys", "new"]).await;
    let (data, device) = (network.up.data.clone(), network.device());
    let invite = network.up.invite.clone();
    network.up.stop().await;
    // Both open now; the kit and invites name the first until the offline keys name another.
    let up = Up::start(&data, &[]).await;
    postern(&device, &["enroll", &invite]).await;
    let new = both["control_keys"][0]["number"].to_string();
    let left = posternctl(&data, &["control-keys", "remove", &new]).await;

    assert_eq!(both["control_keys"].as_array().map(Vec::len), Some(2));
    assert_eq!(
        (&both["control_keys"][1], &both["control_keys"][0]["named"]),
        (&first["control_keys"][0], &Value::from(false))
    );
    assert_eq!(left, first);
    let mut remove = tokio::process::Command::new(harness::programs::program("posternctl"));
    remove.arg("--data").arg(&data).arg("--json");
    remove.args(["control-keys", "remove", &named]);
    let (ok, said) = harness::programs::run(remove).await;
    assert!(
        !ok && said.to_string().contains("Name another one first"),
        "{said}"
    );
    up.stop().await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_is_looked_for_in_what_is_sealed_is_found_in_the_plain() {
    let network = story("plain").await;

    let recording = network.recording();
    let found = network.wanted.found(&recording);
    assert_eq!(found, network.wanted.travelling());
    assert!(network.wanted.at_home.len() > 8, "secrets were looked for");
    network.up.stop().await;
}
