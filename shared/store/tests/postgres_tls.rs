//! How the way to a PostgreSQL server is secured: by whom its certificate must be, and for what name.

mod common;

use std::path::Path;
use std::process::Command;

use common::postgres::open;
use emulator::Postgres;
use jiff::Timestamp;
use store::{Key, Store, StoreError};

const NOW: Timestamp = Timestamp::constant(1_767_225_600, 0);

/// Runs `openssl`, which Debian's server stands on, in `folder`.
fn openssl(folder: &Path, arguments: &[&str]) {
    let output = Command::new("openssl")
        .args(arguments)
        .current_dir(folder)
        .output()
        .expect("openssl is there where PostgreSQL is");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "openssl {arguments:?}: {said}");
}

/// Makes an authority, `<name>.pem`.
fn make_authority(folder: &Path, name: &str) {
    let (key, certificate) = (format!("{name}.key"), format!("{name}.pem"));
    let subject = format!("/CN={name}");
    openssl(
        folder,
        &[
            "req",
            "-x509",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-days",
            "2",
            "-subj",
            &subject,
            "-keyout",
            &key,
            "-out",
            &certificate,
            "-addext",
            "basicConstraints=critical,CA:TRUE",
        ],
    );
}

/// Makes a certificate of the authority `by` for `localhost`, `server.pem`.
fn make_certificate(folder: &Path, by: &str) {
    std::fs::write(folder.join("names"), "subjectAltName=DNS:localhost\n").unwrap();
    openssl(
        folder,
        &[
            "req",
            "-newkey",
            "ec",
            "-pkeyopt",
            "ec_paramgen_curve:prime256v1",
            "-nodes",
            "-subj",
            "/CN=server",
            "-keyout",
            "server.key",
            "-out",
            "server.csr",
        ],
    );
    let (key, certificate) = (format!("{by}.key"), format!("{by}.pem"));
    openssl(
        folder,
        &[
            "x509",
            "-req",
            "-in",
            "server.csr",
            "-CA",
            &certificate,
            "-CAkey",
            &key,
            "-CAcreateserial",
            "-days",
            "2",
            "-extfile",
            "names",
            "-out",
            "server.pem",
        ],
    );
}

#[tokio::test]
async fn a_certificate_must_be_by_whom_and_for_what_the_url_says() {
    let folder = tempfile::tempdir().unwrap();
    if Postgres::shared("TLS").is_none() {
        return;
    }
    make_authority(folder.path(), "ours");
    make_authority(folder.path(), "theirs");
    make_certificate(folder.path(), "ours");
    let file = |name: &str| std::fs::read(folder.path().join(name)).unwrap();
    let (certificate, key) = (file("server.pem"), file("server.key"));
    let settings = [
        ("ssl", "on"),
        ("ssl_cert_file", "server.pem"),
        ("ssl_key_file", "server.key"),
    ];
    let files = [("server.pem", &certificate[..]), ("server.key", &key[..])];
    let server = Postgres::start_with("TLS", &settings, &files).unwrap();
    let by_address = server.fresh_database();
    let by_name = by_address.replace("127.0.0.1", "localhost");
    open(&by_address).prepare().await.unwrap();
    let roots = |name: &str| format!("sslrootcert={}", folder.path().join(name).display());
    let (ours, theirs) = (roots("ours.pem"), roots("theirs.pem"));

    for (url, is_secured) in [
        (format!("{by_name}?{ours}"), true),
        (format!("{by_name}?sslmode=verify-full&{ours}"), true),
        (format!("{by_address}?sslmode=verify-ca&{ours}"), true),
        (format!("{by_address}?sslmode=require&{ours}"), true),
        (format!("{by_address}?sslmode=require"), true),
        (format!("{by_address}?sslmode=disable"), false),
    ] {
        let url = format!("{url}&application_name=asked");
        let store = open(&url);
        let found = store.get_many(NOW, &[Key::new("p", "a")]).await;
        assert_eq!(found.unwrap(), [None], "{url}");
        let sql = "SELECT bool_and(ssl) FROM pg_stat_ssl JOIN pg_stat_activity USING (pid)
                   WHERE application_name = 'asked'";
        let secured = server.sql("postgres", sql);
        assert_eq!(secured.trim(), if is_secured { "t" } else { "f" }, "{url}");
        drop(store);
        let gone = "SELECT pg_terminate_backend(pid, 10000) FROM pg_stat_activity
                    WHERE application_name = 'asked'";
        server.sql("postgres", gone);
    }

    for (url, expected) in [
        // Another name, and another authority.
        (format!("{by_address}?{ours}"), "certificate does not hold"),
        (format!("{by_name}?{theirs}"), "certificate does not hold"),
        (
            format!("{by_address}?sslmode=verify-ca&{theirs}"),
            "certificate does not hold",
        ),
        (
            format!("{by_address}?sslmode=require&{theirs}"),
            "certificate does not hold",
        ),
        // The system knows neither.
        (format!("{by_name}?sslmode=verify-full"), "certificate"),
    ] {
        let refused = refusal(&url).await;
        assert!(refused.contains(expected), "{url}: {refused}");
    }
    for (name, expected) in [
        ("missing.pem", "cannot be read"),
        ("names", "holds no certificate"),
    ] {
        let url = format!("{by_name}?{}", roots(name));
        let refused = refusal(&url).await;
        assert!(
            refused.contains(expected) && refused.contains(name),
            "{refused}"
        );
    }
}

/// What a store of `url` says, opened and read.
async fn refusal(url: &str) -> String {
    let randomness = std::sync::Arc::new(|| fastrand::u128(..).to_be_bytes());
    let settings = url.parse().unwrap();
    let store = store::PostgresStore::new(settings, store::Retries::default(), randomness);
    let read = match store {
        Ok(store) => store.get_many(NOW, &[Key::new("p", "a")]).await.map(drop),
        Err(error) => Err(error),
    };
    match read {
        Err(StoreError::Misconfigured(text)) => text,
        other => panic!("{url}: {other:?}"),
    }
}
