//! The function `publish` on AWS Lambda, for a schedule of `EventBridge`.

use std::process::ExitCode;

use publish::settings::Publish;

fn main() -> ExitCode {
    edge::lambda::on_schedule(
        |reader| Publish::from_settings(reader, publish::native::http),
        async |edge, publish| publish.run(edge).await,
    )
}
