//! The function `cleanup` on AWS Lambda: behind a function URL or an HTTP API, and for a schedule of
//! `EventBridge`.

use std::process::ExitCode;

use cleanup::CleanUp;

fn main() -> ExitCode {
    edge::lambda::serve_on_schedule(
        |reader| CleanUp::from_settings(reader, cleanup::native::http),
        cleanup::routes,
        async |edge, own| own.sweep(edge).await,
    )
}
