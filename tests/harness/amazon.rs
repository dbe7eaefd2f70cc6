//! A whole AWS on loopback, and `posternctl deploy aws` to it.
//!
//! Who deploys, and every function, calls it through a [`Watch`]; people reach the network through another
//! one, which leads to the distribution, as the network's name would.

use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::OnceLock;

use emulator::{Aws, Watch};
use serde_json::Value;
use tempfile::TempDir;
use tokio::process::Command;

use crate::programs::{free_ports, program};
use crate::serverless::{Runtime, built};

/// The functions, in the order of the template's lists.
pub const FUNCTIONS: [&str; 6] = [
    "admin",
    "cleanup",
    "enroll",
    "publish",
    "reconcile",
    "register",
];
/// Packs the program `argv[1]` as Lambda's archive `argv[2]`.
const PACK: &str = r"
import sys, zipfile
about = zipfile.ZipInfo('bootstrap')
about.external_attr = 0o755 << 16
about.compress_type = zipfile.ZIP_DEFLATED
with zipfile.ZipFile(sys.argv[2], 'w') as archive, open(sys.argv[1], 'rb') as program:
    archive.writestr(about, program.read(), compresslevel=1)
";

/// An account with nothing in it.
pub struct Amazon {
    /// What whoever deploys and the functions call.
    pub watch: Watch,
    /// What people reach the network by.
    pub front: Watch,
    aws: Aws,
    folder: TempDir,
}

/// What a run of `posternctl deploy aws` said.
#[derive(Debug)]
pub struct Said {
    /// Whether it came to its end.
    pub ok: bool,
    /// Its lines.
    pub lines: Vec<Value>,
}

impl Said {
    /// What is said of the step `name`.
    pub fn step(&self, name: &str) -> &Value {
        let found = self.lines.iter().find(|line| line["step"] == name);
        found.unwrap_or_else(|| panic!("no step '{name}' in {self:?}"))
    }

    /// The names of the steps that were taken, and whether each changed something.
    pub fn steps(&self) -> Vec<(&str, bool)> {
        let steps = self.lines.iter();
        steps
            .filter_map(|line| Some((line["step"].as_str()?, line["changed"].as_bool()?)))
            .collect()
    }

    /// The last line.
    pub fn end(&self) -> &Value {
        self.lines.last().expect("it says something")
    }

    /// Why it stopped.
    pub fn error(&self) -> &str {
        let error = self.end()["error"]["message"].as_str();
        error.unwrap_or_else(|| panic!("no error in {self:?}"))
    }
}

impl Amazon {
    /// A new one for `test`; `None`, which is said, where this machine lacks a tool.
    pub async fn start(test: &str) -> Option<Self> {
        let folder = tempfile::tempdir().expect("a folder of our own");
        let (watch, front) = (Watch::open().await, Watch::open().await);
        let aws = Aws::alone(test, watch.url(), folder.path())?;
        watch.lead_to(aws.url());
        front.lead_to(aws.url());
        front.follow(&watch);
        Some(Self {
            watch,
            front,
            aws,
            folder,
        })
    }

    /// The stand-in itself, which nobody watches.
    pub fn url(&self) -> &str {
        self.aws.url()
    }

    /// What whoever deploys is told of the account.
    fn variables(&self) -> [(&'static str, &str); 4] {
        [
            ("AWS_ENDPOINT_URL", self.watch.url()),
            ("AWS_REGION", "eu-central-1"),
            ("AWS_ACCESS_KEY_ID", "test"),
            ("AWS_SECRET_ACCESS_KEY", "test"),
        ]
    }

    /// The same as a file for shells, with `DOOR`, where people reach the network, and `SECOND`, where another
    /// door may stand.
    pub fn for_shells(&self) -> String {
        let mut lines = vec!["unset AWS_SESSION_TOKEN AWS_PROFILE".to_owned()];
        let second = free_ports(&mut fastrand::Rng::new());
        let second = format!("http://127.0.0.1:{second}");
        let named = self.variables().into_iter();
        for (name, text) in named.chain([("DOOR", self.front.url()), ("SECOND", &second)]) {
            lines.push(format!("export {name}={text}"));
        }
        lines.join("\n") + "\n"
    }

    /// A place for files of the test.
    pub fn path(&self, name: &str) -> PathBuf {
        self.folder.path().join(name)
    }

    /// Runs `posternctl deploy aws` for the network in `data`, with these variables beside the account's.
    pub async fn deploy(&self, data: &Path, arguments: &[&str], told: &[(&str, &str)]) -> Said {
        let mut command = Command::new(program("posternctl"));
        command
            .arg("--data")
            .arg(data)
            .args(["--json", "deploy", "aws"])
            .args(arguments)
            .envs(self.variables())
            .env_remove("AWS_SESSION_TOKEN")
            .env_remove("POSTERN_HETZNER_TOKEN")
            .envs(told.iter().copied())
            .stdin(Stdio::null());
        let output = command.output().await.expect("posternctl starts");
        let text = String::from_utf8_lossy(&output.stdout);
        let lines = text.lines().map(serde_json::from_str);
        let lines: Result<_, _> = lines.collect();
        let lines = lines.unwrap_or_else(|error| {
            let said = String::from_utf8_lossy(&output.stderr);
            panic!("{arguments:?}: not JSON ({error}): {text}\n{said}")
        });
        Said {
            ok: output.status.success(),
            lines,
        }
    }

    /// Fails if anything is left of any type that the template has.
    pub async fn holds_nothing(&self) {
        let left = self.ask("left").await;
        let left = left.as_object().expect("lists by type");
        assert!(left.len() > 10, "{left:?}");
        for (kind, left) in left {
            assert_eq!(left, &serde_json::json!([]), "{kind}");
        }
    }

    /// Asks the stand-in `what` through AWS's own client: `tests/end_to_end/deploy_aws/aws.py`.
    pub async fn ask(&self, what: &str) -> Value {
        let root = Path::new(env!("CARGO_MANIFEST_DIR"));
        let mut command = Command::new(root.join("../.tools/aws/bin/python"));
        command
            .arg(root.join("end_to_end/deploy_aws/aws.py"))
            .args([self.url(), what])
            .stdin(Stdio::null());
        let output = command.output().await.expect("Python starts");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{what}: {said}");
        serde_json::from_slice(&output.stdout).expect("it prints JSON")
    }
}

/// The folder of a release of the functions as they are built for tests, without what debuggers need.
pub fn release() -> &'static Path {
    static RELEASE: OnceLock<TempDir> = OnceLock::new();
    let pack = || {
        let functions = built(Runtime::Lambda);
        let folder = tempfile::tempdir().expect("a folder of our own");
        for name in FUNCTIONS {
            let binary = functions.join(format!("{name}-lambda"));
            let stripped = folder.path().join(name);
            let mut strip = std::process::Command::new("strip");
            strip.arg("-o").arg(&stripped).arg(&binary);
            run(&mut strip);
            let archive = folder.path().join(format!("{name}-lambda.zip"));
            pack_program(&stripped, &archive);
            std::fs::remove_file(&stripped).expect("it was made just now");
        }
        folder
    };
    RELEASE.get_or_init(pack).path()
}

/// Makes the archive of a program.
pub fn pack_program(program: &Path, archive: &Path) {
    let python = Path::new(env!("CARGO_MANIFEST_DIR")).join("../.tools/aws/bin/python");
    let mut pack = std::process::Command::new(python);
    pack.args(["-c", PACK]).arg(program).arg(archive);
    run(&mut pack);
}

fn run(command: &mut std::process::Command) {
    let output = command.output().expect("the program starts");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "{command:?}: {said}");
}
