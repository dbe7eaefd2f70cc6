//! What publishing relies on, of every kind of mirror: a folder, a bucket in memory, a bucket of S3 (a
//! stand-in's).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use control::publish::{Etag, Mirror, MirrorError, Replaced};
use object_store::ObjectStoreExt as _;
use object_store::memory::InMemory;
use object_store::path::Path;
use publish::s3::S3;
use publish::{Bucket, Folder};

/// An empty mirror of each kind that can be had here.
async fn of_each_kind() -> Vec<(&'static str, Arc<dyn Mirror>)> {
    let folder = tempfile::tempdir().unwrap().keep();
    let mut all: Vec<(&'static str, Arc<dyn Mirror>)> = vec![
        ("folder", Arc::new(Folder::new("m", folder).unwrap())),
        (
            "memory",
            Arc::new(Bucket::new("m", "", Arc::new(InMemory::new()))),
        ),
    ];
    if let Some(aws) = emulator::Aws::shared("mirrors on S3") {
        let objects = s3(aws.url(), "secret").await;
        all.push(("s3", Arc::new(Bucket::new("m", "below/here", objects))));
    }
    all
}

/// A new bucket at this endpoint.
async fn s3(endpoint: &str, secret: &str) -> Arc<dyn object_store::ObjectStore> {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bucket = format!("site-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let client = api::http_client("tests", std::time::Duration::from_secs(20)).unwrap();
    let made = client.put(format!("{endpoint}/{bucket}")).send().await;
    assert!(made.unwrap().status().is_success());
    let settings = S3 {
        bucket,
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        access_key: "test".to_owned(),
        secret_key: secret.to_owned(),
        session_token: None,
    };
    settings.open(publish::native::http().unwrap()).unwrap()
}

#[tokio::test]
async fn what_is_not_there_is_none() {
    for (kind, mirror) in of_each_kind().await {
        assert_eq!(mirror.get("bundles/trust").await.unwrap(), None, "{kind}");
    }
}

#[tokio::test]
async fn a_replacement_over_other_bytes_changes_nothing() {
    for (kind, mirror) in of_each_kind().await {
        let replace = async |bytes: &[u8], over| mirror.replace("a/b", bytes, over).await.unwrap();
        let told = |replaced| match replaced {
            Replaced::Yes(told) => told,
            Replaced::Conflict => panic!("{kind}: nobody else is here"),
        };

        let etag: Option<Etag> = told(replace(b"1", None).await);
        let first = mirror.get("a/b").await.unwrap().unwrap();
        assert_eq!(first.bytes, "1");
        assert_eq!(etag, Some(first.etag.clone()), "{kind}");
        assert_eq!(replace(b"2", None).await, Replaced::Conflict, "{kind}");
        told(replace(b"2", Some(&first.etag)).await);
        assert_eq!(
            replace(b"3", Some(&first.etag)).await,
            Replaced::Conflict,
            "{kind}"
        );

        let there = mirror.get("a/b").await.unwrap().unwrap();
        assert_eq!(there.bytes, "2", "{kind}");
        assert_ne!(there.etag, first.etag, "{kind}");
    }
}

#[tokio::test]
async fn a_file_that_never_changes_is_made_once() {
    for (kind, mirror) in of_each_kind().await {
        let path = "metadata/1.root.json";
        mirror.create(path, b"x").await.unwrap();

        // A folder looks at the bytes; a bucket leaves that to whoever counts the calls.
        let again = mirror.create(path, b"x").await;
        let error = mirror.create(path, b"y").await.unwrap_err();

        if kind == "folder" {
            assert!(again.is_ok());
            assert!(matches!(error, MirrorError::Changed(_)), "{error}");
        } else {
            assert!(matches!(again, Err(MirrorError::Taken(_))), "{kind}");
            assert!(matches!(error, MirrorError::Taken(_)), "{kind}: {error}");
        }
        let there = mirror.get(path).await.unwrap().unwrap();
        assert_eq!(there.bytes, "x", "{kind}");
    }
}

#[tokio::test]
async fn of_many_replacements_over_the_same_bytes_one_wins() {
    for (kind, mirror) in of_each_kind().await {
        for over in [None, Some(b"first")] {
            let path = if over.is_some() { "second" } else { "first" };
            let mut etag = None;
            if let Some(bytes) = over {
                mirror.replace(path, bytes, None).await.unwrap();
                etag = Some(mirror.get(path).await.unwrap().unwrap().etag);
            }
            let tries = (0..16u8).map(|n| {
                let (mirror, etag) = (mirror.clone(), etag.clone());
                tokio::spawn(
                    async move { mirror.replace(path, &[n], etag.as_ref()).await.unwrap() },
                )
            });
            let mut wins = 0;
            for one in tries.collect::<Vec<_>>() {
                wins += usize::from(one.await.unwrap() != Replaced::Conflict);
            }
            assert_eq!(wins, 1, "{kind}, {path}");
        }
    }
}

#[tokio::test]
async fn large_and_empty_files_come_back_as_they_were() {
    for (kind, mirror) in of_each_kind().await {
        let large: Vec<u8> = (0..3_000_000u32).map(|n| n.to_le_bytes()[0]).collect();
        for (path, bytes) in [("large", &large[..]), ("empty", b"")] {
            mirror.create(path, bytes).await.unwrap();
            let there = mirror.get(path).await.unwrap().unwrap();
            assert!(there.bytes == bytes, "{kind}, {path}");
        }
    }
}

#[tokio::test]
async fn a_path_that_a_door_could_not_serve_is_refused() {
    for (kind, mirror) in of_each_kind().await {
        for path in ["../x", "/etc/passwd", "a//b", "a/./b"] {
            let refused = mirror.replace(path, b"x", None).await;
            assert!(refused.is_err(), "{kind}: {path}");
        }
    }
}

#[tokio::test]
async fn objects_carry_their_cache_rules_and_their_kind() {
    let objects = Arc::new(InMemory::new());
    let bucket = Bucket::new("m", "site", objects.clone());
    bucket.create("metadata/1.root.json", b"x").await.unwrap();
    bucket.replace("bundles/trust", b"x", None).await.unwrap();

    let rules = async |path: &str| {
        let found = objects.get(&Path::from(path)).await.unwrap();
        let value = |attribute| found.attributes.get(&attribute).unwrap().to_string();
        (
            value(object_store::Attribute::CacheControl),
            value(object_store::Attribute::ContentType),
        )
    };

    let (cached, kind) = rules("site/metadata/1.root.json").await;
    assert!(cached.contains("immutable"), "{cached}");
    assert_eq!(kind, "application/json");
    let (cached, kind) = rules("site/bundles/trust").await;
    assert_eq!(cached, "public, max-age=60");
    assert_eq!(kind, "application/octet-stream");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_reached_says_so() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);
    let settings = S3 {
        bucket: "site".to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint),
        access_key: "test".to_owned(),
        secret_key: "not to be shown".to_owned(),
        session_token: None,
    };
    let objects = settings.open(publish::native::http().unwrap()).unwrap();
    let bucket = Bucket::new("m", "", objects);

    let error = bucket.get("bundles/trust").await.unwrap_err().to_string();

    assert!(error.starts_with("bundles/trust: "), "{error}");
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("not to be shown"), "{error}");
}
