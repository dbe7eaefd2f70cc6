//! What is printed while a document is worked on: findings as they come, and how far the work is.
//!
//! Progress is for people and goes to standard error: on a terminal one line that changes, else a line at
//! every tenth.

use std::io::{IsTerminal, Write};

use control::state::{Finding, Step, Watcher};

/// Without a known end, a line is printed after so many records.
const EVERY: u64 = 50_000;

/// Where findings go.
enum Stream {
    Stdout,
    Stderr,
}

/// Prints findings and progress.
pub struct Teller {
    /// Whether lines are JSON.
    pub json: bool,
    findings: Stream,
    is_terminal: bool,
    /// The last mark that was told of.
    told: Option<(Step, u64)>,
    /// Whether the terminal's line must be ended before another is printed.
    open: bool,
}

impl Teller {
    /// Findings are what was asked for.
    pub fn on_stdout(json: bool) -> Self {
        Self::new(json, Stream::Stdout)
    }

    /// Standard output is for something else.
    pub fn on_stderr(json: bool) -> Self {
        Self::new(json, Stream::Stderr)
    }

    fn new(json: bool, findings: Stream) -> Self {
        Self {
            json,
            findings,
            is_terminal: std::io::stderr().is_terminal(),
            told: None,
            open: false,
        }
    }

    /// Prints a line where findings go.
    pub fn line(&self, text: &str) {
        match self.findings {
            Stream::Stderr => eprintln!("{text}"),
            Stream::Stdout => say!("{text}"),
        }
    }

    /// Ends the line of progress.
    pub fn ends(&mut self) {
        if self.open {
            eprintln!();
            self.open = false;
        }
    }
}

impl Watcher for Teller {
    fn found(&mut self, finding: Finding) {
        self.ends();
        if self.json {
            let finding = serde_json::json!({ "finding": finding });
            self.line(&finding.to_string());
        } else {
            self.line(&finding.to_string());
        }
    }

    fn progress(&mut self, step: Step, done: u64, of: Option<u64>) {
        let tenths = if self.is_terminal { 100 } else { 10 };
        let mark = match of {
            Some(of) => done.saturating_mul(tenths) / of.max(1),
            None => done / EVERY,
        };
        if self.told == Some((step, mark)) {
            return;
        }
        let is_next = self.told.is_some_and(|(told, _)| told != step);
        self.told = Some((step, mark));
        let text = text(step, done, of);
        if !self.is_terminal {
            eprintln!("{text}");
            return;
        }
        if is_next {
            self.ends();
        }
        eprint!("\r{text}\u{1b}[K");
        // Nothing is lost with a line of progress that cannot be shown.
        let _ = std::io::stderr().flush();
        self.open = true;
    }
}

fn text(step: Step, done: u64, of: Option<u64>) -> String {
    let (what, unit) = match step {
        Step::Reading => ("reading the document", "KB"),
        Step::Checking => ("checking", "records"),
        Step::Importing => ("importing", "records"),
        Step::Gathering => ("reading the store", "items"),
        Step::Writing => ("writing", "records"),
    };
    let scaled = |count: u64| match step {
        Step::Reading => count / 1000,
        _ => count,
    };
    match of {
        Some(of) => {
            let percent = done.saturating_mul(100) / of.max(1);
            let (done, of) = (scaled(done), scaled(of));
            format!("{what}: {done} of {of} {unit} ({percent} %)")
        }
        None => format!("{what}: {} {unit}", scaled(done)),
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn progress_says_how_far_it_is_where_that_is_known() {
        assert_eq!(
            text(Step::Importing, 2500, Some(10_000)),
            "importing: 2500 of 10000 records (25 %)"
        );
        assert_eq!(
            text(Step::Gathering, 500, None),
            "reading the store: 500 items"
        );
        assert_eq!(
            text(Step::Reading, 1_000_000, Some(4_000_000)),
            "reading the document: 1000 of 4000 KB (25 %)"
        );
    }
}
