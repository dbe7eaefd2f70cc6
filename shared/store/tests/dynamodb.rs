//! The suite, run on the store in a DynamoDB table: an emulator's, directly and behind a proxy that
//! throttles, refuses what overlaps and loses answers.

mod common;

use std::sync::Arc;

use common::dynamodb::{fresh, fresh_behind};
use emulator::Faults;
use store::Store;

mod on_the_emulator {
    use super::*;

    async fn make() -> Option<Arc<dyn Store>> {
        let store = fresh("the suite on DynamoDB").await?;
        Some(Arc::new(store))
    }

    store::conformance!(make);
}

mod behind_faults {
    use super::*;

    async fn make() -> Option<Arc<dyn Store>> {
        let behind = fresh_behind("the suite on a DynamoDB with faults", Faults::HARSH).await?;
        Some(Arc::new(behind))
    }

    store::conformance!(make);
}
