//! The function `register` on AWS Lambda, behind a function URL or an HTTP API.

use std::process::ExitCode;

fn main() -> ExitCode {
    edge::lambda::serve(register::from_settings)
}
