//! From a deployment's settings to a function that answers, the same for every runtime.

use axum::Router;

use crate::Edge;
use crate::settings::Reader;

/// Makes a function's routes of what they stand on.
pub type MakeRoutes = Box<dyn FnOnce(Edge) -> Router>;

/// Reads a function's own settings. Without a value the reader holds what is wrong.
pub type FromSettings = fn(&mut Reader<'_>) -> Option<MakeRoutes>;

#[cfg(feature = "deployed")]
pub(crate) use function::*;

#[cfg(feature = "deployed")]
mod function {
    use std::sync::Arc;

    use axum::Router;
    use control::restore::Guarded;
    use store::{Randomness, Store, StoreError};

    use super::FromSettings;
    use crate::settings::{self, Faults, Reader, Source};
    use crate::{Edge, SystemClock};

    /// Reads where a deployment's state is. Without a value the reader holds what is wrong.
    pub(crate) type FindStore = fn(&mut Reader<'_>) -> Option<OpenStore>;
    /// Makes the store there, without a call to it.
    pub(crate) type OpenStore = Box<dyn FnOnce() -> Result<Arc<dyn Store>, StoreError>>;

    /// Why a deployed function cannot work.
    #[derive(Debug, thiserror::Error)]
    pub(crate) enum NotSetUp {
        /// Its settings are wrong.
        #[error(transparent)]
        Settings(#[from] Faults),
        /// The store refuses them.
        #[error(transparent)]
        Store(#[from] StoreError),
    }

    /// The finished router of a function whose settings `source` gives.
    pub(crate) fn function(
        source: Source<'_>,
        from_settings: FromSettings,
        find_store: FindStore,
    ) -> Result<Router, NotSetUp> {
        let (edge, routes) = edge(source, from_settings, find_store)?;
        Ok(crate::finish(routes(edge.clone()), edge))
    }

    /// What a function stands on, and what it reads of `source` for itself.
    pub(crate) fn edge<T>(
        source: Source<'_>,
        from_settings: fn(&mut Reader<'_>) -> Option<T>,
        find_store: FindStore,
    ) -> Result<(Edge, T), NotSetUp> {
        let mut reader = Reader::new(source);
        let network = settings::network(&mut reader);
        let open_store = find_store(&mut reader);
        let own = from_settings(&mut reader);
        reader.finish()?;
        let read = network.zip(open_store).zip(own);
        let ((network, open_store), own) = read.expect("what is not there has a fault");
        let edge = Edge {
            store: Arc::new(Guarded::new(open_store()?)),
            network: Arc::new(network),
            clock: Arc::new(SystemClock),
        };
        Ok((edge, own))
    }

    /// The store's randomness.
    pub(crate) fn randomness() -> Randomness {
        Arc::new(|| {
            let mut bytes = [0; 16];
            // Two that drew the same token would take each other's commits for their own.
            getrandom::fill(&mut bytes).expect("the system's random source works");
            bytes
        })
    }
}
