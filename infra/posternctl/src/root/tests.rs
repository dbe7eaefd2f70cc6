//! What `posternctl root` refuses before anything is written.

use clap::Parser;

use super::*;
use crate::data::tests::network;

#[derive(Parser)]
struct Line {
    #[command(subcommand)]
    action: Action,
}

fn refusal(data: &Folder, line: &[&str]) -> String {
    let action = Line::parse_from([&["root"], line].concat()).action;
    let error = run(data, &action, true).expect_err("it is refused");
    format!("{error:#}")
}

#[test]
fn a_secret_is_not_made_where_its_public_half_would_lie() {
    let (folder, data) = network();
    for name in ["root-4.pub", "root-4.PUB"] {
        let file = folder.path().join(name);

        let said = refusal(&data, &["key", file.to_str().unwrap()]);

        assert!(said.contains("Name the secret's file"), "{said}");
        assert!(!file.exists());
    }
}

#[test]
fn a_control_key_whose_secret_is_not_here_is_not_named() {
    let (folder, data) = network();
    let out = folder.path().join("change.json");
    let out_option = format!("--out={}", out.display());
    let key = format!("--control-key={}", model::ControlKey::new(9, [7; 32]));

    let said = refusal(&data, &["begin", &out_option, &key]);

    assert!(
        said.contains("holds no secret of the control key"),
        "{said}"
    );
    assert!(!out.exists());
}

#[test]
fn a_refusal_that_quotes_a_change_moves_no_cursor() {
    let folder = tempfile::tempdir().unwrap();
    let change = folder.path().join("change.json");
    let text = r#"{"schema":"\u001b[2K\u202e","network":"n-abcdefgh","base":{"root":"","targets":"","files":{}}}"#;
    fs::write(&change, text).unwrap();

    let said = format!("{:#}", read_change(&change).expect_err("it is refused"));

    assert!(said.contains(r"\u{1b}[2K\u{202e}"), "{said}");
}

#[test]
fn a_key_file_gets_the_passphrase_of_its_holder() {
    let (folder, data) = network();
    let at = |name: &str| folder.path().join(name);
    let told = |name: &str, text: &str| {
        fs::write(at(name), text).unwrap();
        at(name).display().to_string()
    };
    let (first, second) = (
        told("first", "of the maker\n"),
        told("second", "of the holder\n"),
    );
    let key = at("root-4.pem").display().to_string();
    let (before, after) = (
        format!("--passphrase-file={first}"),
        format!("--passphrase-file={second}"),
    );
    let new = format!("--new-passphrase-file={second}");
    let does = |line: &[&str]| {
        run(
            &data,
            &Line::parse_from([&["root"], line].concat()).action,
            true,
        )
    };
    does(&["key", &key, &before]).unwrap();
    let made = keys::read(&at("root-4.pem"), &source(&before)).unwrap();

    does(&["passphrase", &key, &before, &new]).unwrap();

    let again = keys::read(&at("root-4.pem"), &source(&after)).unwrap();
    assert_eq!(again.key_id(), made.key_id());
    assert!(keys::read(&at("root-4.pem"), &source(&before)).is_err());
    let said = refusal(&data, &["passphrase", &key, &before, &new]);
    assert!(said.contains("passphrase"), "{said}");
}

fn source(option: &str) -> passphrase::Source {
    #[derive(Parser)]
    struct Only {
        #[command(flatten)]
        source: passphrase::Source,
    }
    Only::parse_from(["only", option]).source
}

#[test]
fn nothing_is_signed_unseen() {
    let (folder, data) = network();
    let change = folder.path().join("change.json");
    let out = format!("--out={}", change.display());
    let action = Line::parse_from(["root", "begin", &out, "--rotate=timestamp"]).action;
    run(&data, &action, true).unwrap();
    let key = data.path("keys/offline/root-1.pem");
    let before = fs::read(&change).unwrap();

    let said = refusal(
        &data,
        &[
            "sign",
            change.to_str().unwrap(),
            "--key",
            key.to_str().unwrap(),
        ],
    );

    assert!(said.contains("root show"), "{said}");
    assert_eq!(fs::read(&change).unwrap(), before);
}
