//! What can be made to go wrong, and at which calls.

use std::fmt;

use http::Method;
use jiff::{SignedDuration, Timestamp};

use crate::error::Refusal;

/// What goes wrong with a call.
#[derive(Clone, PartialEq, Eq, Debug)]
pub enum Fault {
    /// Nothing gets there: nothing is done, and there is no answer.
    Refused,
    /// It is done, but the answer is lost.
    LostAnswer,
    /// It is not done; this is the answer.
    Answer(Refusal),
    /// It is done, but this is the answer.
    DoneBut(Refusal),
    /// It is answered as ever; what it started fails in the end, with this code.
    FailedAction(&'static str),
    /// It is answered as ever; what it started takes so much longer.
    SlowAction(SignedDuration),
}

impl Fault {
    /// Each fault that a call which changes something can have, with a name for the test's message.
    pub fn all() -> Vec<(&'static str, Self)> {
        vec![
            ("refused", Self::Refused),
            ("answer lost", Self::LostAnswer),
            ("409", Self::conflict()),
            ("412", Self::sold_out()),
            ("423", Self::locked()),
            ("429", Self::rate_limited()),
            ("500", Self::server_error()),
            ("503", Self::unavailable()),
            ("done behind a 500", Self::DoneBut(server_error())),
            (
                "done behind a 504",
                Self::DoneBut(Refusal::new(504, "timeout", "timed out")),
            ),
            ("failed action", Self::FailedAction("action_failed")),
            (
                "slow action",
                Self::SlowAction(SignedDuration::from_mins(10)),
            ),
        ]
    }

    /// 409 `conflict`.
    pub fn conflict() -> Self {
        let message = "the resource has changed during the request, please retry";
        Self::Answer(Refusal::new(409, "conflict", message))
    }

    /// 412 `resource_unavailable`.
    pub fn sold_out() -> Self {
        let message = "the requested resource is currently unavailable";
        Self::Answer(Refusal::new(412, "resource_unavailable", message))
    }

    /// 423 `locked`.
    pub fn locked() -> Self {
        Self::Answer(Refusal::locked("the item"))
    }

    /// 429 `rate_limit_exceeded`, with its headers.
    pub fn rate_limited() -> Self {
        Self::Answer(rate_limited())
    }

    /// 500 `server_error`.
    pub fn server_error() -> Self {
        Self::Answer(server_error())
    }

    /// 503 `unavailable`.
    pub fn unavailable() -> Self {
        Self::Answer(Refusal::new(503, "unavailable", "try again later"))
    }

    /// 403 `resource_limit_exceeded`.
    pub fn limit() -> Self {
        let message = "the maximum quantity of a resource is reached";
        Self::Answer(Refusal::new(403, "resource_limit_exceeded", message))
    }
}

pub(crate) fn rate_limited() -> Refusal {
    let message = "limit of 3600 requests per hour reached";
    Refusal::new(429, "rate_limit_exceeded", message)
}

fn server_error() -> Refusal {
    Refusal::new(500, "server_error", "an internal error occurred")
}

/// A call, as the choice of a fault sees it.
#[derive(Clone, Copy, Debug)]
pub struct Asked<'a> {
    /// Which one it is, from 1.
    pub ordinal: u64,
    /// When it comes: a cloud that is down for a while refuses all that come until then.
    pub at: Timestamp,
    /// Its method.
    pub method: &'a Method,
    /// Its path behind the version, as `/servers/7`.
    pub path: &'a str,
    /// Whether it may change something.
    pub is_change: bool,
}

type Choice = Box<dyn Fn(&Asked<'_>) -> bool + Send>;

/// A fault, and which calls have it.
pub struct Rule {
    choice: Choice,
    left: Option<u32>,
    fault: Fault,
}

impl Rule {
    /// All calls of this choice.
    pub fn always(fault: Fault, choice: impl Fn(&Asked<'_>) -> bool + Send + 'static) -> Self {
        Self {
            choice: Box::new(choice),
            left: None,
            fault,
        }
    }

    /// The first so many calls of this choice.
    pub fn times(
        times: u32,
        fault: Fault,
        choice: impl Fn(&Asked<'_>) -> bool + Send + 'static,
    ) -> Self {
        Self {
            left: Some(times),
            ..Self::always(fault, choice)
        }
    }

    /// The one call of this ordinal.
    pub fn call(ordinal: u64, fault: Fault) -> Self {
        Self::times(1, fault, move |asked| asked.ordinal == ordinal)
    }

    /// What this call has, where it is chosen.
    pub(crate) fn take(&mut self, asked: &Asked<'_>) -> Option<Fault> {
        if self.left == Some(0) || !(self.choice)(asked) {
            return None;
        }
        self.left = self.left.map(|left| left - 1);
        Some(self.fault.clone())
    }
}

impl fmt::Debug for Rule {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{:?}, {:?} times", self.fault, self.left)
    }
}
