//! The function `reconcile` on AWS Lambda: behind a function URL or an HTTP API, and for a schedule of
//! `EventBridge`.

use std::process::ExitCode;

use reconcile::Reconcile;

fn main() -> ExitCode {
    edge::lambda::serve_on_schedule(
        |reader| Reconcile::from_settings(reader, reconcile::native::http),
        reconcile::routes,
        async |edge, own| own.heal(edge).await,
    )
}
