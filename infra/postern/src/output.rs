//! What is printed, and the exit code.

use std::io::Write as _;
use std::process::ExitCode;

use client::Error;
use client::text::{plain, plain_lines};
use serde_json::{Value, json};

use crate::commands::Done;

/// Prints what a command has to say.
pub fn done(done: &Done, json: bool) -> ExitCode {
    let printed = if json {
        print(&format!("{:#}\n", done.json))
    } else {
        print(&plain_lines(&done.text))
    };
    match (printed, done.failed) {
        (ExitCode::SUCCESS, true) => ExitCode::FAILURE,
        (printed, _) => printed,
    }
}

/// Prints an error: one line on standard error, or a document on standard output.
pub fn failed(error: &Error, json: bool) -> ExitCode {
    if json {
        let _failed_anyway = print(&format!("{:#}\n", error_json(error)));
    } else {
        eprintln!("postern: {}", plain(&error.to_string()));
    }
    ExitCode::FAILURE
}

/// An error as a document.
pub fn error_json(error: &Error) -> Value {
    let mut document = json!({"error": {"kind": error.kind(), "message": error.to_string()}});
    if !error.outcomes().is_empty() {
        document["error"]["outcomes"] = json!(error.outcomes());
    }
    document
}

/// A closed pipe (`postern status | head -1`) is the reader's choice, not a failure.
fn print(text: &str) -> ExitCode {
    match std::io::stdout().lock().write_all(text.as_bytes()) {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => ExitCode::SUCCESS,
        Err(error) => {
            eprintln!("postern: could not print: {error}");
            ExitCode::FAILURE
        }
    }
}
