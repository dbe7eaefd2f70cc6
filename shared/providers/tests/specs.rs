//! Requests and answers against Hetzner's `OpenAPI` document: a validating proxy stands between the
//! adapter and `simcloud` while the suite of all providers runs.
//!
//! The document is not part of the project: `POSTERN_SPECS` names a folder that has it. It is a
//! community's, of February 2026, and differs from the API of autumn 2026 in what
//! [`known_differences`] lists. All else must agree.

mod common;

use std::fs;
use std::io::Write;
use std::net::TcpListener;
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex};
use std::time::Duration;

use api::http::{Http, NativeHttp};
use async_trait::async_trait;
use bytes::Bytes;
use common::Sim;
use http::{Request, Response};
use serde_json::{Value, json};
use simcloud::{Settings, SimCloud};
use tokio::io::{AsyncBufReadExt, BufReader};
use tokio::process::{Child, Command};

/// The header in which the proxy tells what violates the document.
const VIOLATIONS: &str = "sl-violations";

/// Collects what the proxy says of the requests and answers that pass.
#[derive(Debug)]
struct Watched {
    http: NativeHttp,
    violations: Mutex<Vec<String>>,
}

#[async_trait]
impl Http for Watched {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let asked = format!("{} {}", request.method(), request.uri().path());
        let answer = self.http.send(request).await?;
        if let Some(violations) = answer.headers().get(VIOLATIONS) {
            let line = format!("{asked}, {}: {violations:?}", answer.status());
            self.violations.lock().unwrap().push(line);
        }
        Ok(answer)
    }
}

impl Watched {
    fn take(&self) -> Vec<String> {
        std::mem::take(&mut *self.violations.lock().unwrap())
    }
}

/// Where the document of February 2026 is not the API of autumn 2026.
fn known_differences(document: &mut Value) {
    match document {
        Value::Object(object) => {
            // `datacenter` is gone from servers and Primary IPs since 2026-07-01.
            if let Some(Value::Array(required)) = object.get_mut("required") {
                required.retain(|field| field != "datacenter");
            }
            // A Primary IP of nobody has the assignee type `unassigned` since autumn 2026.
            if let Some(Value::Object(kind)) = object.get_mut("assignee_type") {
                kind.insert("enum".to_owned(), json!(["server", "unassigned"]));
            }
            // OpenAPI spells ranges of statuses with a capital X; the document does not, and a
            // validator would skip all answers that say no.
            if let Some(Value::Object(responses)) = object.get_mut("responses") {
                for range in ["4xx", "5xx"] {
                    if let Some(response) = responses.remove(range) {
                        responses.insert(range.to_uppercase(), response);
                    }
                }
            }
            object.values_mut().for_each(known_differences);
        }
        Value::Array(list) => list.iter_mut().for_each(known_differences),
        _ => {}
    }
}

/// Hetzner's document, where there is one; where there is none, that is said.
fn document() -> Option<Value> {
    let Some(folder) = std::env::var_os("POSTERN_SPECS") else {
        let line = "SKIPPED specs: POSTERN_SPECS names no folder of OpenAPI documents\n";
        std::io::stderr().write_all(line.as_bytes()).unwrap();
        return None;
    };
    let files = fs::read_dir(&folder).expect("the folder of POSTERN_SPECS");
    let mut files = files.map(|file| file.unwrap().path());
    let is_hetzners = |path: &PathBuf| {
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        name.starts_with("hcloud-openapi") && path.extension().is_some_and(|kind| kind == "json")
    };
    let path = files
        .find(is_hetzners)
        .expect("a document hcloud-openapi*.json");
    Some(serde_json::from_slice(&fs::read(path).unwrap()).unwrap())
}

fn prism() -> Option<PathBuf> {
    let workspace = Path::new(env!("CARGO_MANIFEST_DIR")).ancestors().nth(2)?;
    let installed = workspace.join(".tools/prism/node_modules/.bin/prism");
    installed.exists().then_some(installed)
}

/// The proxy before `upstream`, and its URL.
async fn start(prism: &Path, document: &Path, upstream: &str) -> (Child, String) {
    // The proxy cannot say which port it got, so it is given one that was free just now.
    let free = TcpListener::bind("127.0.0.1:0").unwrap();
    let port = free.local_addr().unwrap().port().to_string();
    drop(free);
    let mut child = Command::new(prism)
        .arg("proxy")
        .arg(document)
        .args([upstream, "--host", "127.0.0.1", "--port", &port])
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .kill_on_drop(true)
        .spawn()
        .unwrap();
    let mut lines = BufReader::new(child.stdout.take().unwrap()).lines();
    let listens = async {
        while let Some(line) = lines.next_line().await.unwrap() {
            if line.contains("is listening on") {
                return;
            }
        }
        panic!("the proxy ended before it listened");
    };
    let listens = tokio::time::timeout(Duration::from_mins(1), listens).await;
    listens.expect("the proxy listens within a minute");
    // It goes on talking, and would stop at a full pipe.
    tokio::spawn(async move { while let Ok(Some(_)) = lines.next_line().await {} });
    (child, format!("http://127.0.0.1:{port}"))
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn no_request_and_no_answer_violates_hetzners_document() {
    let Some(mut document) = document() else {
        return;
    };
    let Some(prism) = prism() else {
        emulator::skipped("specs", "no Prism; infra/scripts/prism installs it");
        return;
    };
    known_differences(&mut document);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("hetzner.json");
    fs::write(&path, document.to_string()).unwrap();
    let cloud = SimCloud::new(Settings::default());
    let served = cloud.serve().await.unwrap();
    let (_proxy, base) = start(&prism, &path, &served.url).await;
    let watched = Arc::new(Watched {
        http: NativeHttp::new("test", Duration::from_secs(30)).unwrap(),
        violations: Mutex::default(),
    });

    let stage = || {
        cloud.reset(Settings::default());
        Sim::new(cloud.clone(), watched.clone(), &base)
    };
    providers::conformance!(in_turn stage());
    assert_eq!(watched.take(), [""; 0]);

    // The proxy does say it where something is wrong, in a request and in an answer.
    let stage = stage();
    let wrong = Request::post(format!("{base}/firewalls"))
        .header("authorization", "Bearer sim-token")
        .header("content-type", "application/json")
        .body(Bytes::from(
            r#"{"name": "a", "rules": [{"direction": "sideways"}]}"#,
        ));
    watched.send(wrong.unwrap()).await.unwrap();
    assert_eq!(watched.take().len(), 1);
    stage.cloud.inject(simcloud::Rule::times(
        1,
        simcloud::Fault::Answer(simcloud::Refusal {
            status: 302,
            code: "moved",
            message: String::new(),
        }),
        |_| true,
    ));
    let read = Request::get(format!("{base}/pricing")).header("authorization", "Bearer sim-token");
    watched
        .send(read.body(Bytes::new()).unwrap())
        .await
        .unwrap();
    assert_eq!(watched.take().len(), 1);
}
