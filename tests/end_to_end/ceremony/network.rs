//! A network whose offline keys lie with their holders: folders that have nothing in common but the
//! change that goes from hand to hand.

use std::fs;
use std::path::{Path, PathBuf};

use harness::programs::{program, run};
use harness::{Door, Gateway, Site, Up, postern, posternctl, until};
use serde_json::Value;
use tokio::process::Command;

/// The passphrase of all key files.
pub const PASSPHRASE: &str = "a long and silly passphrase";

/// A network, its doors, its gateways, and three holders of offline keys.
pub struct Network {
    pub folder: tempfile::TempDir,
    pub data: PathBuf,
    pub doors: Vec<Door>,
    pub gateways: Vec<Gateway>,
    pub up: Up,
}

impl Network {
    /// Makes it with so many doors and two gateways. Holder n has the n-th root and the n-th targets
    /// key; nobody else has.
    pub async fn start(doors: usize) -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        let passphrase = folder.path().join("passphrase");
        fs::write(&passphrase, format!("{PASSPHRASE}\n")).unwrap();
        let mut arguments = vec![
            "init".to_owned(),
            "--port=0".to_owned(),
            "--heartbeat=1".to_owned(),
            format!("--passphrase-file={}", passphrase.display()),
        ];
        let mut opened = Vec::new();
        for _ in 0..doors {
            let door = Door::open(Site::Folder(data.join("site"))).await;
            arguments.push(format!("--door={}", door.url()));
            opened.push(door);
        }
        let arguments: Vec<&str> = arguments.iter().map(String::as_str).collect();
        posternctl(&data, &arguments).await;
        for holder in 1..=3 {
            let home = folder.path().join(format!("holder-{holder}"));
            fs::create_dir(&home).unwrap();
            for role in ["root", "targets"] {
                let name = format!("{role}-{holder}.pem");
                fs::rename(data.join("keys/offline").join(&name), home.join(&name)).unwrap();
            }
        }
        let up = Up::start(&data, &[]).await;
        let mut gateways = Vec::new();
        for number in 1..=2 {
            gateways.push(Gateway::start(&data, folder.path(), number).await);
        }
        let network = Self {
            folder,
            data,
            doors: opened,
            gateways,
            up,
        };
        network.enroll("device").await;
        until("two gateways in the catalog", async || {
            let report = postern(&network.device("device"), &["sync"]).await;
            (report["gateways"] == 2).then_some(())
        })
        .await;
        network
    }

    /// Where a device's file is.
    pub fn device(&self, name: &str) -> PathBuf {
        self.folder.path().join(format!("{name}.json"))
    }

    /// Enrolls another device.
    pub async fn enroll(&self, name: &str) {
        postern(&self.device(name), &["enroll", &self.up.invite]).await;
    }

    /// Where a holder keeps what is theirs.
    pub fn home(&self, holder: u8) -> PathBuf {
        self.folder.path().join(format!("holder-{holder}"))
    }

    /// Begins a change where the network is; its file.
    pub async fn begin(&self, name: &str, arguments: &[&str]) -> PathBuf {
        let file = self.folder.path().join(format!("{name}.json"));
        let mut all = vec!["root", "begin", "--out", file.to_str().unwrap()];
        all.extend(arguments);
        posternctl(&self.data, &all).await;
        file
    }

    /// A holder gets the change and nothing else, signs it with a key of theirs, and hands it back.
    pub async fn sign(&self, file: &Path, holder: u8, key: &str) -> Value {
        let home = self.home(holder);
        fs::copy(file, home.join("change.json")).unwrap();
        let key = format!("{key}.pem");
        let (ok, said) = sign_at(&home, &["--key", &key]).await;
        assert!(ok, "{said}");
        fs::copy(home.join("change.json"), file).unwrap();
        fs::remove_file(home.join("change.json")).unwrap();
        said
    }

    /// Puts a change in force.
    pub async fn finish(&self, file: &Path) -> Value {
        posternctl(&self.data, &["root", "finish", file.to_str().unwrap()]).await
    }

    /// A whole ceremony: the first two holders sign with these of their keys.
    pub async fn ceremony(&self, name: &str, arguments: &[&str], roles: &[&str]) {
        let file = self.begin(name, arguments).await;
        for holder in 1..=2 {
            for role in roles {
                self.sign(&file, holder, &format!("{role}-{holder}")).await;
            }
        }
        self.finish(&file).await;
    }

    /// What is in force.
    pub async fn shown(&self) -> Value {
        posternctl(&self.data, &["root", "show"]).await
    }

    /// The ids of the keys of a role.
    pub async fn keys(&self, role: &str) -> Vec<String> {
        let shown = self.shown().await;
        let keys = shown["keys"].as_array().unwrap().iter();
        keys.filter(|key| key["role"] == role)
            .map(|key| key["key"].as_str().unwrap().to_owned())
            .collect()
    }

    /// Waits until what is in force is published, and gives the version of the repository.
    pub async fn await_published(&self) -> u64 {
        let shown = self.shown().await;
        let wanted = ["root", "targets"].map(|part| {
            let version = &shown[part]["version"];
            format!("metadata/{version}.{part}.json")
        });
        until("the new files in the bundle", async || {
            let bundle = fs::read(self.data.join("site/bundles/cohort/default")).ok()?;
            let first = bundle.split(|byte| *byte == b'\n').next()?;
            let index = String::from_utf8_lossy(first).into_owned();
            wanted.iter().all(|name| index.contains(name)).then_some(())
        })
        .await;
        let catalog = posternctl(&self.data, &["status"]).await;
        catalog["version"].as_u64().unwrap()
    }

    /// Waits until each gateway trusts the root and the targets that are in force, and has done so by
    /// itself.
    pub async fn await_gateways(&self) {
        let shown = self.shown().await;
        for gateway in &self.gateways {
            let file = self.folder.path().join(&gateway.id).join("gateway.json");
            until("a gateway that follows", async || {
                let trusted = Trusted::of(&file)?;
                let same = shown["root"]["version"] == trusted.root
                    && shown["targets"]["version"] == trusted.targets;
                same.then_some(())
            })
            .await;
        }
    }

    /// Asserts that no gateway has left service.
    pub async fn assert_in_service(&self) {
        let gateways = posternctl(&self.data, &["gateways"]).await;
        for gateway in gateways.as_array().unwrap() {
            assert_eq!(gateway["state"], "active", "{gateways}");
        }
    }
}

/// `posternctl root sign` in a holder's folder, which is all that it has.
pub async fn sign_at(home: &Path, arguments: &[&str]) -> (bool, Value) {
    let mut command = Command::new(program("posternctl"));
    command
        .current_dir(home)
        .args(["--json", "root", "sign", "change.json", "--yes"])
        .args(arguments)
        .env("POSTERN_PASSPHRASE", PASSPHRASE);
    run(command).await
}

/// `posternctl` on the data folder, which must refuse; what it says.
pub async fn refused(data: &Path, arguments: &[&str]) -> String {
    let mut command = Command::new(program("posternctl"));
    command
        .arg("--data")
        .arg(data)
        .arg("--json")
        .args(arguments);
    let (ok, said) = run(command).await;
    assert!(!ok, "{arguments:?} was to fail: {said}");
    said["error"]["message"].as_str().unwrap().to_owned()
}

/// What a device or a gateway trusts, by its file.
#[derive(Debug)]
pub struct Trusted {
    pub root: u64,
    pub targets: u64,
    pub timestamp: u64,
}

impl Trusted {
    /// None where nothing is trusted yet.
    pub fn of(file: &Path) -> Option<Self> {
        let state: Value = serde_json::from_slice(&fs::read(file).ok()?).ok()?;
        let trusted = &state["trusted"];
        let version = |text: &Value| {
            let signed: Value = serde_json::from_str(text.as_str()?).ok()?;
            signed["signed"]["version"].as_u64()
        };
        Some(Self {
            root: version(&trusted["root"])?,
            targets: version(&trusted["roles"]["targets"])?,
            timestamp: version(&trusted["timestamp"])?,
        })
    }
}
