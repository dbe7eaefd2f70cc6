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
