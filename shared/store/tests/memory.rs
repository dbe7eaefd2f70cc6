//! The suite, run on the store in memory.

use std::future::{Ready, ready};
use std::sync::Arc;

use store::{MemoryStore, Store};

fn make() -> Ready<Arc<dyn Store>> {
    ready(Arc::new(MemoryStore::new()))
}

store::conformance!(make);
