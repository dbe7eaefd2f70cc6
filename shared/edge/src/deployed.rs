//! From a deployment's settings to a function that answers, the same for every runtime.

use axum::Router;

use crate::Edge;
use crate::settings::Reader;

/// Makes a function's routes of what they stand on.
pub type MakeRoutes = Box<dyn FnOnce(Edge) -> Router>;

/// Reads a function's own settings. Without a value the reader holds what is wrong.
pub type FromSettings = fn(&mut Reader<'_>) -> Option<MakeRoutes>;

#[cfg(feature = "deployed")]
pub(crate) use over_dynamodb::*;

#[cfg(feature = "deployed")]
mod over_dynamodb {
    use std::sync::Arc;

    use axum::Router;
    use store::dynamodb::Randomness;
    use store::{DynamoDbStore, StoreError};

    use super::FromSettings;
    use crate::settings::{Base, Database, Faults, Reader, Source};
    use crate::{Edge, SystemClock};

    /// Makes the store of a deployment's table.
    pub(crate) type Open = fn(Database) -> Result<DynamoDbStore, StoreError>;

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
        open: Open,
    ) -> Result<Router, NotSetUp> {
        let (edge, routes) = edge(source, from_settings, open)?;
        Ok(crate::finish(routes(edge.clone()), edge))
    }

    /// What a function stands on, and what it reads of `source` for itself.
    pub(crate) fn edge<T>(
        source: Source<'_>,
        from_settings: fn(&mut Reader<'_>) -> Option<T>,
        open: Open,
    ) -> Result<(Edge, T), NotSetUp> {
        let mut reader = Reader::new(source);
        let base = Base::read(&mut reader);
        let own = from_settings(&mut reader);
        reader.finish()?;
        let (base, own) = base.zip(own).expect("what is not there has a fault");
        let edge = Edge {
            store: Arc::new(open(base.database)?),
            network: Arc::new(base.network),
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
