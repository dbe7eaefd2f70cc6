//! What a ceremony refuses, by the program, and keys that are not in files of this program.

use std::fs;
use std::path::Path;
use std::process::Stdio;

use harness::{posternctl, skipped};
use serde_json::Value;
use tokio::process::Command;

use crate::network::{PASSPHRASE, refused, sign_at};

/// A network that does not run, its keys in place and encrypted.
struct Folder {
    folder: tempfile::TempDir,
    data: std::path::PathBuf,
}

impl Folder {
    async fn make() -> Self {
        let folder = tempfile::tempdir().unwrap();
        let data = folder.path().join("network");
        fs::write(folder.path().join("passphrase"), PASSPHRASE).unwrap();
        let passphrase = folder.path().join("passphrase");
        let passphrase = format!("--passphrase-file={}", passphrase.display());
        posternctl(&data, &["init", "--port=0", &passphrase]).await;
        Self { folder, data }
    }

    fn path(&self) -> &Path {
        self.folder.path()
    }

    /// Begins a change whose file is the one that `sign` signs.
    async fn begin(&self, arguments: &[&str]) -> Value {
        let file = self.path().join("change.json");
        let mut all = vec!["root", "begin", "--out", file.to_str().unwrap()];
        all.extend(arguments);
        posternctl(&self.data, &all).await
    }

    fn key(&self, name: &str) -> String {
        let file = self.data.join(format!("keys/offline/{name}"));
        file.to_str().unwrap().to_owned()
    }

    async fn sign(&self, name: &str) -> (bool, Value) {
        sign_at(self.path(), &["--key", &self.key(&format!("{name}.pem"))]).await
    }
}

fn message(said: &Value) -> &str {
    said["error"]["message"].as_str().unwrap()
}

#[tokio::test]
async fn a_change_that_would_lock_out_or_lie_is_refused() {
    let made = Folder::make().await;
    let public = made.key("targets-1.pub");
    let keys = || fs::read_dir(made.data.join("keys/online")).unwrap().count();
    let before = keys();
    for (arguments, why) in [
        (
            vec![format!("--add=root={public}")],
            "given to both 'root' and 'targets'",
        ),
        (
            vec![format!("--add=timestamp={public}")],
            "given to both 'targets' and 'timestamp'",
        ),
        (
            vec!["--threshold=root=4".to_owned()],
            "nobody could sign it",
        ),
        (
            vec![
                "--threshold=snapshot=2".to_owned(),
                "--new=snapshot".to_owned(),
            ],
            "one function",
        ),
        (vec!["--remove=root=ffffffffffff".to_owned()], "has no key"),
        (
            vec!["--renew=root".to_owned(), "--days=0".to_owned()],
            "expired already",
        ),
        (vec![], "nothing would change"),
    ] {
        let file = made.path().join("none.json");
        let mut all = vec!["root", "begin", "--out", file.to_str().unwrap()];
        all.extend(arguments.iter().map(String::as_str));
        let said = refused(&made.data, &all).await;
        assert!(said.contains(why), "{arguments:?}: {said}");
        assert!(!file.exists(), "{arguments:?}");
    }
    assert_eq!(keys(), before, "a refused change leaves no key");
}

#[tokio::test]
async fn only_the_right_keys_sign_and_nothing_may_be_altered_after_them() {
    let made = Folder::make().await;
    made.begin(&["--rotate=timestamp"]).await;
    let change = made.path().join("change.json");

    let (ok, said) = made.sign("targets-1").await;
    assert!(!ok && message(&said).contains("need not sign"), "{said}");
    let (ok, said) = made.sign("root-1").await;
    assert!(ok, "{said}");
    let (ok, said) = made.sign("root-1").await;
    assert!(
        !ok && message(&said).contains("has signed this change already"),
        "{said}"
    );
    let other = [
        "--key",
        &made.key("root-2.pem"),
        "--base-root",
        &"0".repeat(64),
    ];
    let (ok, said) = sign_at(made.path(), &other).await;
    assert!(!ok && message(&said).contains("do not sign it"), "{said}");

    let good = fs::read_to_string(&change).unwrap();
    let mut altered: Value = serde_json::from_str(&good).unwrap();
    let root = altered["root"].as_str().unwrap();
    altered["root"] = root
        .replacen("\"threshold\":2", "\"threshold\":1", 1)
        .into();
    fs::write(&change, altered.to_string()).unwrap();
    let (ok, said) = made.sign("root-2").await;
    assert!(!ok && message(&said).contains("altered after"), "{said}");
    fs::write(&change, good).unwrap();

    // Another change is finished first: this one is stale.
    let one = fs::read(&change).unwrap();
    fs::remove_file(&change).unwrap();
    made.begin(&["--rotate=snapshot"]).await;
    for key in ["root-2", "root-3"] {
        assert!(made.sign(key).await.0);
    }
    let file = change.to_str().unwrap();
    posternctl(&made.data, &["root", "finish", file]).await;
    let again = posternctl(&made.data, &["root", "finish", file]).await;
    assert_eq!(again["was_in_force"], true, "{again}");
    fs::write(&change, one).unwrap();
    assert!(made.sign("root-3").await.0);
    let said = refused(&made.data, &["root", "finish", file]).await;
    assert!(said.contains("another was finished meanwhile"), "{said}");
}

#[tokio::test]
async fn a_wrong_passphrase_and_a_secret_in_place_of_a_public_key_are_refused() {
    let made = Folder::make().await;
    made.begin(&["--renew=root"]).await;
    fs::write(made.path().join("wrong"), "another").unwrap();

    let key = made.key("root-1.pem");
    let (ok, said) = sign_at(made.path(), &["--key", &key, "--passphrase-file", "wrong"]).await;

    assert!(
        !ok && message(&said).contains("the passphrase is another"),
        "{said}"
    );
    let secret = format!("--add=root={key}");
    let said = refused(&made.data, &["root", "begin", "--out=x.json", &secret]).await;
    assert!(said.contains("give the public half"), "{said}");
}

#[tokio::test]
async fn openssl_reads_our_keys_and_signs_with_its_own() {
    if !openssl(Path::new("."), &["version"]).await {
        return skipped("openssl_reads_our_keys_and_signs_with_its_own", "openssl");
    }
    let made = Folder::make().await;
    let home = made.path();
    let (ours, pass) = (made.key("root-1.pem"), format!("pass:{PASSPHRASE}"));
    assert!(
        openssl(
            home,
            &[
                "pkey",
                "-in",
                &ours,
                "-passin",
                &pass,
                "-pubout",
                "-out",
                "of-ours.pub"
            ]
        )
        .await
    );
    assert_eq!(
        fs::read_to_string(home.join("of-ours.pub")).unwrap(),
        fs::read_to_string(made.key("root-1.pub")).unwrap()
    );
    // One of its own, with its own parameters, and one of P-256 that only it can use.
    let pass = ["-aes256", "-pass", &pass];
    let ed25519 = [
        &["genpkey", "-algorithm", "ed25519", "-out", "ed.pem"][..],
        &pass,
    ]
    .concat();
    assert!(openssl(home, &ed25519).await);
    let public = [
        "pkey", "-in", "ed.pem", "-passin", pass[2], "-pubout", "-out", "ed.pub",
    ];
    assert!(openssl(home, &public).await);
    let p256 = [
        "-algorithm",
        "EC",
        "-pkeyopt",
        "ec_paramgen_curve:P-256",
        "-out",
        "token.pem",
    ];
    assert!(openssl(home, &[&["genpkey"][..], &p256].concat()).await);
    assert!(
        openssl(
            home,
            &["pkey", "-in", "token.pem", "-pubout", "-out", "token.pub"]
        )
        .await
    );

    let (ed, token) = (home.join("ed.pub"), home.join("token.pub"));
    let (ed, token) = (
        format!("--add=root={}", ed.display()),
        format!("--add=root={}", token.display()),
    );
    made.begin(&[&ed, &token, "--threshold=root=4"]).await;
    for key in ["root-1", "root-2"] {
        assert!(made.sign(key).await.0);
    }
    let command = "openssl dgst -sha256 -sign token.pem";
    let by_token = ["--public", "token.pub", "--command", command];
    let (ok, said) = sign_at(home, &by_token).await;
    assert!(ok, "{said}");
    // The password-based scheme of OpenSSL is read as well.
    let (ok, said) = sign_at(home, &["--key", "ed.pem"]).await;
    assert!(ok, "{said}");

    let file = home.join("change.json");
    let finished = posternctl(&made.data, &["root", "finish", file.to_str().unwrap()]).await;
    assert_eq!(finished["root"], 2, "{finished}");
    // A command that signs something else, or nothing, adds nothing.
    fs::remove_file(&file).unwrap();
    made.begin(&["--renew=root"]).await;
    for command in [
        "echo other | openssl dgst -sha256 -sign token.pem",
        "true",
        "false",
    ] {
        let (ok, said) = sign_at(home, &["--public", "token.pub", "--command", command]).await;
        assert!(!ok, "{command}: {said}");
    }
}

async fn openssl(home: &Path, arguments: &[&str]) -> bool {
    let mut command = Command::new("openssl");
    command
        .current_dir(home)
        .args(arguments)
        .stdout(Stdio::null())
        .stderr(Stdio::null());
    command.status().await.is_ok_and(|status| status.success())
}
