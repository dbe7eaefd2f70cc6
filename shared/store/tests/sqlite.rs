//! The suite, run on the store in a SQLite file.

use std::future::{Ready, ready};
use std::sync::Arc;

use store::conformance::{Kept, Watched};
use store::{Archive, SqliteStore};

fn make() -> Ready<Arc<dyn Archive>> {
    let folder = tempfile::tempdir().unwrap();
    let store = SqliteStore::open(&folder.path().join("store")).unwrap();
    ready(Arc::new(Watched::new(store, Kept(folder))))
}

store::conformance!(make);
