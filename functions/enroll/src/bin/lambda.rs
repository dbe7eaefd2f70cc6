//! The function `enroll` on AWS Lambda, behind a function URL or an HTTP API.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge::lambda::serve(enroll::from_settings)
}
