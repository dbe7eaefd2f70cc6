//! The function `publish` on AWS Lambda, for an `EventBridge` schedule.

use std::process::ExitCode;

use publish::settings::Publish;

fn main() -> ExitCode {
    edge::lambda::on_schedule(Publish::from_settings, async |edge, publish| {
        publish.run(edge).await
    })
}
