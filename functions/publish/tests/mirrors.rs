//! What publishing relies on, of every kind of mirror: a folder, a bucket of S3 (a stand-in's).

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use aws_credential_types::Credentials;
use control::publish::{Etag, Mirror, MirrorError, Replaced};
use publish::Folder;
use publish::s3::S3;

/// An empty mirror of each kind that can be had here.
async fn of_each_kind() -> Vec<(&'static str, Arc<dyn Mirror>)> {
    let folder = tempfile::tempdir().unwrap().keep();
    let mut all: Vec<(&'static str, Arc<dyn Mirror>)> =
        vec![("folder", Arc::new(Folder::new("m", folder).unwrap()))];
    if let Some(aws) = emulator::Aws::shared("mirrors on S3") {
        all.push(("s3", Arc::new(new_bucket(aws.url(), "below/here").await)));
    }
    all
}

/// A mirror in a new bucket at this endpoint.
async fn new_bucket(endpoint: &str, prefix: &str) -> S3 {
    static NEXT: AtomicU32 = AtomicU32::new(0);
    let bucket = format!("site-{}", NEXT.fetch_add(1, Ordering::Relaxed));
    let made = plain().put(format!("{endpoint}/{bucket}")).send().await;
    assert!(made.unwrap().status().is_success());
    s3(endpoint, &bucket, prefix)
}

fn s3(endpoint: &str, bucket: &str, prefix: &str) -> S3 {
    S3 {
        name: "m".to_owned(),
        bucket: bucket.to_owned(),
        prefix: prefix.to_owned(),
        region: "us-east-1".to_owned(),
        endpoint: Some(endpoint.to_owned()),
        credentials: Credentials::from_keys("test", "not to be shown", None),
        http: publish::native::http().unwrap(),
        now: || jiff::Timestamp::constant(1_795_608_000, 0),
    }
}

/// An HTTP client that signs nothing.
fn plain() -> reqwest::Client {
    api::http_client("tests", std::time::Duration::from_secs(20)).unwrap()
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
    let Some(aws) = emulator::Aws::shared("cache rules on S3") else {
        return;
    };
    let mirror = new_bucket(aws.url(), "site").await;
    mirror.create("metadata/1.root.json", b"x").await.unwrap();
    mirror.replace("bundles/trust", b"x", None).await.unwrap();

    let rules = async |path: &str| {
        let url = format!("{}/{}/site/{path}", aws.url(), mirror.bucket);
        let found = plain().get(url).send().await.unwrap();
        let value = |name: &str| found.headers()[name].to_str().unwrap().to_owned();
        (value("cache-control"), value("content-type"))
    };

    let (cached, kind) = rules("metadata/1.root.json").await;
    assert!(cached.contains("immutable"), "{cached}");
    assert_eq!(kind, "application/json");
    let (cached, kind) = rules("bundles/trust").await;
    assert_eq!(cached, "public, max-age=60");
    assert_eq!(kind, "application/octet-stream");
}

#[tokio::test]
async fn a_bucket_that_cannot_be_reached_says_so() {
    let nobody = std::net::TcpListener::bind("127.0.0.1:0").unwrap();
    let endpoint = format!("http://{}", nobody.local_addr().unwrap());
    drop(nobody);

    let unreached = s3(&endpoint, "site", "").get("bundles/trust").await;
    let error = unreached.unwrap_err().to_string();

    assert!(error.starts_with("bundles/trust: "), "{error}");
    assert!(error.contains("refused"), "{error}");
    assert!(!error.contains("not to be shown"), "{error}");
}

#[tokio::test]
async fn a_bucket_that_is_not_there_is_no_empty_one() {
    let Some(aws) = emulator::Aws::shared("an absent bucket on S3") else {
        return;
    };
    let mirror = s3(aws.url(), "site-that-is-not-there", "");

    let read = mirror.get("bundles/trust").await.unwrap_err().to_string();
    let made = mirror.create("a", b"x").await.unwrap_err().to_string();

    for error in [read, made] {
        assert!(error.contains("404 NoSuchBucket"), "{error}");
        assert!(error.contains("correct its name"), "{error}");
    }
}

/// The stand-in verifies no signature: that it is made over what S3 wants ("Signature Calculations for the
/// Authorization Header") is looked at here.
#[tokio::test]
async fn requests_are_signed_for_their_bucket_s_region_and_over_their_bytes() {
    #[derive(Debug, Default)]
    struct Seen(std::sync::Mutex<Option<http::Request<bytes::Bytes>>>);

    #[async_trait::async_trait]
    impl api::http::Http for Seen {
        async fn send(
            &self,
            request: http::Request<bytes::Bytes>,
        ) -> Result<http::Response<bytes::Bytes>, String> {
            *self.0.lock().unwrap() = Some(request);
            Err("nobody is there".to_owned())
        }
    }

    let seen = Arc::new(Seen::default());
    let mut mirror = s3("https://examplebucket.s3.amazonaws.com", "ignored", "");
    let secret = "wJalrXUtnFEMI/K7MDENG/bPxRfiCYEXAMPLEKEY";
    mirror.credentials = Credentials::from_keys("AKIAIOSFODNN7EXAMPLE", secret, None);
    mirror.http = seen.clone();
    mirror.now = || "2013-05-24T00:00:00Z".parse().unwrap();

    mirror.get("test.txt").await.unwrap_err();

    let request = seen.0.lock().unwrap().take().unwrap();
    let header = |name: &str| request.headers()[name].to_str().unwrap();
    assert_eq!(header("x-amz-date"), "20130524T000000Z");
    let empty = "e3b0c44298fc1c149afbf4c8996fb92427ae41e4649b934ca495991b7852b855";
    assert_eq!(header("x-amz-content-sha256"), empty);
    let authorization = header("authorization");
    let scope = "AWS4-HMAC-SHA256 Credential=AKIAIOSFODNN7EXAMPLE/20130524/us-east-1/s3/aws4_request, \
                 SignedHeaders=host;x-amz-content-sha256;x-amz-date, Signature=";
    assert!(authorization.starts_with(scope), "{authorization}");
}
