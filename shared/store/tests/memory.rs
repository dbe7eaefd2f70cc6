//! The suite, run on the store in memory.

use std::future::{Ready, ready};
use std::sync::Arc;

use store::{Archive, MemoryStore};

fn make() -> Ready<Arc<dyn Archive>> {
    ready(Arc::new(MemoryStore::new()))
}

store::conformance!(make);
