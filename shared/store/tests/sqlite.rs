//! The suite, run on the store in a SQLite file.

use std::future::{Ready, ready};
use std::sync::Arc;

use store::conformance::Kept;
use store::{Archive, SqliteStore};

fn make() -> Ready<Arc<dyn Archive>> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store")).unwrap();
    ready(Arc::new(Kept::new(store, folder)))
}

store::conformance!(make);
