//! When to try again.

use std::time::Duration;

use crate::{Error, Trouble};

/// The first wait after a failure; it doubles.
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// The longest wait after a refusal: an operator who puts it right sees the gateway back in ten
/// minutes, and a thousand refused gateways ask less than twice a second.
const MOST_WAIT: Duration = Duration::from_mins(10);

/// The growing waits of one kind of work.
pub(crate) struct Retry {
    what: &'static str,
    wait: Duration,
}

impl Retry {
    /// The waits of `what`, in words.
    pub(crate) fn new(what: &'static str) -> Self {
        Self {
            what,
            wait: FIRST_WAIT,
        }
    }

    /// It was done: the next failure waits for a short time again.
    pub(crate) fn done(&mut self) {
        self.wait = FIRST_WAIT;
    }

    /// How long to wait after `trouble`, for a gateway whose heartbeats have this interval. An
    /// error where waiting cannot help.
    pub(crate) fn after(
        &mut self,
        trouble: Trouble,
        interval: Duration,
    ) -> Result<Duration, Error> {
        let what = self.what;
        let wait = match &trouble {
            Trouble::Refused(_) => self.wait.max(interval).min(MOST_WAIT),
            Trouble::State(_) | Trouble::OutOfStep(_) | Trouble::Later(_) => {
                self.wait.min(interval)
            }
        };
        self.wait = (wait * 2).max(FIRST_WAIT);
        let wait_ms = wait.as_millis();
        match trouble {
            Trouble::State(error) => return Err(error.into()),
            Trouble::Refused(problem) => tracing::error!(
                what,
                %problem,
                wait_ms,
                "the control plane refuses this gateway; if that is not a mistake, stop it"
            ),
            trouble @ (Trouble::OutOfStep(_) | Trouble::Later(_)) => {
                tracing::warn!(what, why = %trouble, wait_ms, "tried in vain");
            }
        }
        Ok(wait)
    }
}

#[cfg(test)]
mod tests {
    use api::{Kind, Problem};

    use super::*;

    #[test]
    fn a_refusal_is_tried_again_every_ten_minutes_and_silence_every_interval() {
        let interval = Duration::from_secs(30);
        let mut retry = Retry::new("heartbeat");
        let mut last = |trouble: fn() -> Trouble| {
            let waits = (0..20).map(|_| retry.after(trouble(), interval).unwrap());
            waits.last().unwrap()
        };

        let refused = last(|| Trouble::Refused(Problem::new(Kind::GatewayUnknown, "")));
        let silent = last(|| Trouble::Later(String::new()));

        assert_eq!((refused, silent), (MOST_WAIT, interval));
    }
}
