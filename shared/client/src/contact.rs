//! Contact with the control plane: a signed request to one control endpoint after another.
//!
//! A device needs it to enroll and to take new keys, and now and then to hear what is new of itself:
//! its cohort and catalog, whether an operator wants its keys rotated. Day to day it needs none: the
//! catalog comes from front doors. So a sync asks seldom ([`Contacts::is_due`]), which is also less to
//! see for whoever watches, waits for little and does without an answer where there is none.
//!
//! Where the device knows a control key it seals every request (`api::sealed`), and nothing that comes
//! back unsealed moves it to ask in the plain: only an operator's text without a key could.

use std::time::Duration;

use api::contact::is_private;
use api::enroll::DeviceAnswer;
use api::{IdentitySecret, Problem, sealed, signed};
use futures_util::StreamExt as _;
use futures_util::stream::FuturesUnordered;
use http::{HeaderValue, Method, Request, StatusCode, Uri, header::CONTENT_TYPE};
use jiff::{SignedDuration, Timestamp};

use crate::device::Contacts;
use crate::gist::gist_if_sound;
use crate::{Context, Device, Error};

/// From one contact to the next. A rotation's grace is at least eight of them by default
/// ([`model::Timing`]), so that a few lost ones cost nobody a tunnel.
pub const EVERY: SignedDuration = SignedDuration::from_hours(6);
/// From a contact that failed to the next try; it doubles up to [`EVERY`].
const AFTER_FAILURE: SignedDuration = SignedDuration::from_mins(15);

/// For how long one endpoint may be silent before the next is asked, too.
const STAGGER: Duration = Duration::from_secs(1);

/// A request to the control plane.
pub(crate) struct Ask {
    method: Method,
    path: String,
    body: Vec<u8>,
}

impl Ask {
    /// A request without a body.
    pub(crate) fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Vec::new(),
        }
    }

    /// A request with a JSON body.
    pub(crate) fn json(
        method: Method,
        path: impl Into<String>,
        body: &impl serde::Serialize,
    ) -> Result<Self, Error> {
        Ok(Self {
            method,
            path: path.into(),
            body: serde_json::to_vec(body)
                .map_err(|error| Error::Internal(format!("the request is not JSON: {error}")))?,
        })
    }
}

impl Ask {
    /// The request as it is sent to `url`.
    fn signed(
        &self,
        device: &Device,
        signer: &IdentitySecret,
        url: &str,
        context: &Context<'_>,
    ) -> Result<Request<Vec<u8>>, String> {
        let uri: Uri = url.parse().map_err(|error| format!("no URL: {error}"))?;
        let (network, now) = (device.network(), context.clock.now());
        let mut request = Request::new(self.body.clone());
        *request.headers_mut() = signed::sign(signer, network, &self.method, &uri, &self.body, now);
        if !self.body.is_empty() {
            let json = HeaderValue::from_static("application/json");
            request.headers_mut().insert(CONTENT_TYPE, json);
        }
        *request.method_mut() = self.method.clone();
        *request.uri_mut() = uri;
        Ok(request)
    }
}

impl Contacts {
    /// Whether it is time for another contact.
    pub fn is_due(&self, now: Timestamp) -> bool {
        // One further off than it can be was set by a clock that ran ahead.
        let furthest = now.checked_add(EVERY).unwrap_or(Timestamp::MAX);
        self.due_at.is_none_or(|due| due <= now || due > furthest)
    }

    /// The control plane answered.
    pub(crate) fn answered(&mut self, now: Timestamp) {
        *self = Self {
            answered_at: Some(now),
            failures: 0,
            due_at: now.checked_add(EVERY).ok(),
        };
    }

    /// It did not.
    pub(crate) fn failed(&mut self, now: Timestamp) {
        // Five doublings of a quarter of an hour pass six hours.
        let doublings = self.failures.min(5);
        let wait = (0..doublings).fold(AFTER_FAILURE, |wait, _| (wait * 2).min(EVERY));
        self.failures = self.failures.saturating_add(1);
        self.due_at = now.checked_add(wait).ok();
    }
}

/// Asks the control plane what it knows of this device.
pub async fn contact(device: &Device, context: &Context<'_>) -> Result<DeviceAnswer, Error> {
    let path = api::enroll::device(&device.enrolled()?.device);
    ask(device, &device.identity, &Ask::get(path), context).await
}

/// Sends a signed request to one control endpoint after another, the next where one failed or has been
/// silent for [`STAGGER`], until one answers for this device. A refusal is not believed while another
/// endpoint may say yes; if none does, the first one counts. That several are asked at once does no
/// harm: every request is right however often it arrives.
pub(crate) async fn ask(
    device: &Device,
    signer: &IdentitySecret,
    ask: &Ask,
    context: &Context<'_>,
) -> Result<DeviceAnswer, Error> {
    let ours = device.id();
    let mut refused = None;
    let mut tried = Vec::new();
    let mut waiting = Vec::new();
    for base in endpoints(device, context)? {
        if is_private(&base) {
            waiting.push(base);
        } else {
            tried.push(format!("{base}: not https, not asked"));
        }
    }
    let mut waiting = waiting.into_iter().peekable();
    let mut asking = FuturesUnordered::new();
    loop {
        if let Some(base) = waiting.next() {
            asking.push(async move {
                let came = ask_one(device, signer, &base, ask, context).await;
                (base, came)
            });
        }
        let (base, came) = tokio::select! {
            biased;
            came = asking.next() => match came {
                Some(came) => came,
                None => break,
            },
            () = tokio::time::sleep(STAGGER), if waiting.peek().is_some() => continue,
        };
        match came {
            Ok(Ok(answer)) if answer.device == ours => return Ok(answer),
            Ok(Ok(answer)) => tried.push(format!(
                "{base}: it answered for {}, this device is {ours}",
                answer.device
            )),
            Ok(Err(problem)) if problem.status < 500 && problem.status != 429 => {
                refused.get_or_insert(problem);
            }
            Ok(Err(problem)) => tried.push(format!("{base}: {problem}")),
            Err(why) => tried.push(format!("{base}: {why}")),
        }
    }
    match refused {
        Some(problem) => Err(Error::Problem(problem)),
        None => Err(Error::Unreachable { tried }),
    }
}

/// The control endpoints of the first contact, then those that only the recovery kit names.
fn endpoints(device: &Device, context: &Context<'_>) -> Result<Vec<String>, Error> {
    let known = gist_if_sound(device, context.clock.now())?;
    let kit = known
        .and_then(|known| known.kit)
        .map_or(Vec::new(), |kit| kit.control);
    let mut all: Vec<String> = Vec::new();
    for base in device.contact.control.iter().chain(&kit) {
        let base = base.trim_end_matches('/').to_owned();
        if !all.contains(&base) {
            all.push(base);
        }
    }
    Ok(all)
}

/// One endpoint: an answer, a problem, or why there was neither. Sealed, an answer or a problem is the
/// control plane's; what somebody between says instead is no refusal, but an endpoint that failed.
async fn ask_one(
    device: &Device,
    signer: &IdentitySecret,
    base: &str,
    ask: &Ask,
    context: &Context<'_>,
) -> Result<Result<DeviceAnswer, Problem>, String> {
    let came = if let Some(key) = &device.contact.control_key {
        // Signed as the control plane opens it: whatever stands before the path is of the way.
        let request = ask.signed(device, signer, &ask.path, context)?;
        let url = format!("{base}{}", sealed::DEVICES);
        context.web.send_sealed(&url, &request, key).await
    } else {
        let url = format!("{base}{}", ask.path);
        let request = ask.signed(device, signer, &url, context)?;
        context.web.send(&url, request).await
    };
    let (status, answer) = came.map_err(|failure| failure.why)?;
    if status == StatusCode::OK || status == StatusCode::CREATED {
        return match serde_json::from_slice(&answer) {
            Ok(answer) => Ok(Ok(answer)),
            Err(error) => Err(format!("its answer cannot be read: {error}")),
        };
    }
    match serde_json::from_slice::<Problem>(&answer) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => Err(format!("HTTP status {status}")),
    }
}

#[cfg(test)]
mod sealed_tests;

#[cfg(test)]
mod tests {
    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn after(minutes: i64) -> Timestamp {
        NOW + SignedDuration::from_mins(minutes)
    }

    #[test]
    fn contact_is_due_at_once_then_every_six_hours() {
        let mut contacts = Contacts::default();
        assert!(contacts.is_due(NOW));
        contacts.answered(NOW);
        assert!(!contacts.is_due(after(359)));
        assert!(contacts.is_due(after(360)));
    }

    #[test]
    fn failed_contacts_are_tried_again_more_and_more_seldom() {
        let mut contacts = Contacts::default();
        for (failures, minutes) in [
            (1, 15),
            (2, 30),
            (3, 60),
            (4, 120),
            (5, 240),
            (6, 360),
            (7, 360),
        ] {
            contacts.failed(NOW);
            assert_eq!(contacts.failures, failures);
            assert!(!contacts.is_due(after(minutes - 1)), "{failures}");
            assert!(contacts.is_due(after(minutes)), "{failures}");
        }
        contacts.answered(NOW);
        contacts.failed(NOW);
        assert!(contacts.is_due(after(15)), "an answer ends the row");
    }

    #[test]
    fn a_clock_that_was_set_back_does_not_put_contact_off() {
        let mut contacts = Contacts::default();
        contacts.answered(after(60 * 24 * 365));
        assert!(contacts.is_due(NOW));
    }
}
