use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

use axum::Router;
use axum::response::IntoResponse as _;
use axum::routing::get;
use http::header::{ETAG, IF_NONE_MATCH};
use http::{HeaderMap, StatusCode};
use rules::ranking::History;

use super::*;
use crate::doors::Options;
use crate::fixture::{Hand, NOW, PATIENCE, Repository, held, later, serve};
use crate::{Locked, Web};

/// A door that serves the repository to whoever has no entity tag, and how often it answered 304.
async fn door(repository: &Repository) -> (String, Arc<AtomicUsize>) {
    let unchanged = Arc::new(AtomicUsize::new(0));
    let counted = unchanged.clone();
    let bundle = repository.bundle();
    let path = tuf::repository::bundle_path(Some(&"default".parse().unwrap()));
    let answer = async move |headers: HeaderMap| {
        if headers.contains_key(IF_NONE_MATCH) {
            counted.fetch_add(1, Ordering::SeqCst);
            return StatusCode::NOT_MODIFIED.into_response();
        }
        ([(ETAG, "\"all\"")], bundle).into_response()
    };
    let url = serve(Router::new().route(&format!("/{path}"), get(answer))).await;
    (url, unchanged)
}

#[tokio::test]
async fn what_was_fetched_is_kept_and_who_is_stopped_before_it_is_read_lacks_nothing() {
    let repository = Repository {
        sealed: (2, &[1]),
        ..Repository::default()
    };
    let (door, unchanged) = door(&repository).await;
    let mut device = repository.device(&[door]);
    device.answer.as_mut().unwrap().keys = vec![held(1, (0, 2)), held(1, (1, 2))];
    let gone = ("g-gone".to_owned(), History::default());
    device.gateways.extend([gone]);
    let folder = tempfile::tempdir().unwrap();
    let path = folder.path().join("device.json");
    let file = Locked::open(&path, PATIENCE).await.unwrap();
    let (web, hand) = (Web::new().unwrap(), Hand::at(NOW));
    let context = Context {
        web: &web,
        clock: &hand,
        options: Options::default(),
    };

    let fetched = fetch(&mut device, &context).await.unwrap();
    file.save(&device).unwrap();
    let mut stopped = file.read().unwrap();
    let told = fetched.read(&mut device, NOW).unwrap();

    assert_eq!(
        (told.gateways, told.changed, told.sealed.opened),
        (4, true, 2)
    );
    assert!(device.gateways.is_empty());
    assert!(device.gist.is_some() && stopped.gist.is_none());
    assert_eq!(stopped.trusted, device.trusted);

    hand.set(later(1));
    let again = sync_kept(&file, &mut stopped, &context).await.unwrap();
    assert_eq!(unchanged.load(Ordering::SeqCst), 1);
    assert_eq!((again.gateways, again.changed), (4, false));
    assert_eq!(
        (again.catalog_version, again.sealed),
        (told.catalog_version, told.sealed)
    );
}

#[tokio::test]
async fn a_catalog_that_is_gone_from_the_device_file_is_fetched_though_nothing_is_new() {
    let repository = Repository::default();
    let (door, unchanged) = door(&repository).await;
    let mut device = repository.device(&[door]);
    let (web, hand) = (Web::new().unwrap(), Hand::at(NOW));
    let context = Context {
        web: &web,
        clock: &hand,
        options: Options::default(),
    };
    sync(&mut device, &context).await.unwrap();
    let mut state = serde_json::to_value(&device.trusted).unwrap();
    let files = state["files"].as_object_mut().unwrap();
    files.remove("catalogs/default.json").unwrap();
    device.trusted = serde_json::from_value(state).unwrap();

    let report = sync(&mut device, &context).await.unwrap();

    assert_eq!((report.gateways, report.changed), (4, true));
    assert_eq!(unchanged.load(Ordering::SeqCst), 0);
}
