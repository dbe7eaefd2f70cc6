//! A deployment's steps: each says what it does, and the first error stops all.
//!
//! For people a step is a line when it begins and an indented line when it is done; with `--json` it is
//! one object, a line each: `{"step":"stack","changed":true,"said":"…"}`.

use anyhow::Context;
use serde_json::json;

/// The steps of one run.
pub struct Steps {
    json: bool,
    number: u32,
}

/// What came of a step.
pub struct Done<T = ()> {
    value: T,
    changed: bool,
    said: String,
}

impl<T> Done<T> {
    /// It changed something: what, in a few words.
    pub fn changed(value: T, said: impl Into<String>) -> Self {
        Self {
            value,
            changed: true,
            said: said.into(),
        }
    }

    /// All was as it should be: how, in a few words.
    pub fn as_it_was(value: T, said: impl Into<String>) -> Self {
        Self {
            value,
            changed: false,
            said: said.into(),
        }
    }
}

impl Steps {
    /// No step yet.
    pub fn new(json: bool) -> Self {
        Self { json, number: 0 }
    }

    /// Takes the step `name`, which does `what`, and gives what it found or made. An error says at which
    /// step the run stopped, and that the same command goes on.
    pub async fn take<T>(
        &mut self,
        name: &'static str,
        what: &str,
        work: impl Future<Output = anyhow::Result<Done<T>>>,
    ) -> anyhow::Result<T> {
        self.number += 1;
        if !self.json {
            say!("{}. {what}", self.number);
        }
        let Done {
            value,
            changed,
            said,
        } = work.await.with_context(|| stopped(self.number, name))?;
        if self.json {
            say!(
                "{}",
                json!({"step": name, "changed": changed, "said": said})
            );
        } else {
            say!("   {said}");
        }
        Ok(value)
    }
}

/// The text that stands before the cause. The cause says what to put right.
fn stopped(number: u32, name: &str) -> String {
    format!(
        "it stopped at step {number} ({name}), and what was done before stays. Put right what follows and run \
         the same command again: it goes on from here"
    )
}

#[cfg(test)]
mod tests {
    use super::*;

    #[tokio::test]
    async fn the_first_error_stops_a_run_and_says_at_which_step_and_what_to_do() {
        let mut steps = Steps::new(true);
        let first = steps.take("first", "Begins", async {
            Ok(Done::changed(7, "7 things"))
        });
        assert_eq!(first.await.unwrap(), 7);

        let second = steps.take::<()>("second", "Goes on", async {
            anyhow::bail!("no right to do it: ask for one")
        });
        let error = format!("{:#}", second.await.unwrap_err());

        assert!(error.contains("step 2 (second)"), "{error}");
        assert!(error.contains("run the same command again"), "{error}");
        assert!(error.ends_with("no right to do it: ask for one"), "{error}");
    }
}
