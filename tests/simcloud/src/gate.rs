//! What every request passes: the log, the token, the rate limit, and what is to go wrong with it.

use axum::body::Body;
use axum::extract::State as Shared;
use axum::middleware::Next;
use axum::response::{IntoResponse, Response};
use bytes::Bytes;
use http::header::{AUTHORIZATION, DATE};
use http::request::Parts;
use http::{HeaderMap, Method, Request};
use serde_json::Value;

use crate::error::Refusal;
use crate::faults::{self, Asked, Fault};
use crate::log::{Logged, without_secrets};
use crate::state::{State, Twist};
use crate::{Settings, SimCloud};

/// The most bytes of a request.
const MOST: usize = 1 << 20;

/// In an answer's extensions: nobody gets it.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cut;

pub(crate) async fn pass(
    Shared(cloud): Shared<SimCloud>,
    request: Request<Body>,
    next: Next,
) -> Response {
    let (mut parts, body) = request.into_parts();
    let Ok(body) = axum::body::to_bytes(body, MOST).await else {
        return cut();
    };
    let (ordinal, verdict) = cloud.state().admit(&parts, &body);
    let (answer, after) = match verdict {
        Err(Some(refusal)) => (refusal.into_response(), None),
        Err(None) => return cut(),
        Ok((twist, after)) => {
            parts.extensions.insert(twist);
            let request = Request::from_parts(parts, Body::from(body));
            let answer = next.run(request).await;
            cloud.begun.notify_one();
            (answer, after)
        }
    };
    cloud.state().let_out(ordinal, answer, after.as_ref())
}

fn cut() -> Response {
    let mut response = Response::new(Body::empty());
    response.extensions_mut().insert(Cut);
    response
}

/// How a request goes on: to what answers it, and what then becomes of the answer; or not at all.
type Verdict = Result<(Twist, Option<Fault>), Option<Refusal>>;

impl State {
    fn admit(&mut self, parts: &Parts, body: &Bytes) -> (u64, Verdict) {
        self.now += self.settings.per_request;
        self.settle();
        let ordinal = u64::try_from(self.log.len()).expect("a count") + 1;
        let uri = parts.uri.path_and_query().map_or("", |uri| uri.as_str());
        let uri = uri.strip_prefix("/v1").unwrap_or(uri);
        self.log.push(Logged {
            ordinal,
            at: self.now,
            method: parts.method.clone(),
            path: uri.to_owned(),
            body: without_secrets(&serde_json::from_slice(body).unwrap_or(Value::Null)),
            status: None,
            is_answered: false,
        });
        let asked = Asked {
            ordinal,
            at: self.now,
            method: &parts.method,
            path: uri.split('?').next().unwrap_or(""),
            is_change: parts.method != Method::GET,
        };
        let fault = self.rules.iter_mut().find_map(|rule| rule.take(&asked));
        if self.is_down || fault == Some(Fault::Refused) {
            return (ordinal, Err(None));
        }
        if !is_authorized(&self.settings, &parts.headers) {
            let refusal = Refusal::new(401, "unauthorized", "unable to authenticate");
            return (ordinal, Err(Some(refusal)));
        }
        if !self.bucket.take(self.now) {
            return (ordinal, Err(Some(faults::rate_limited())));
        }
        let mut twist = Twist::default();
        match &fault {
            Some(Fault::Answer(refusal)) => return (ordinal, Err(Some(refusal.clone()))),
            Some(Fault::FailedAction(code)) => twist.error = Some(code),
            Some(Fault::SlowAction(delay)) => twist.delay = *delay,
            _ => {}
        }
        (ordinal, Ok((twist, fault)))
    }

    fn let_out(&mut self, ordinal: u64, answer: Response, after: Option<&Fault>) -> Response {
        let index = usize::try_from(ordinal - 1).expect("an index");
        let answer = match after {
            Some(Fault::DoneBut(refusal)) => refusal.clone().into_response(),
            _ => answer,
        };
        let logged = &mut self.log[index];
        logged.status = Some(answer.status().as_u16());
        logged.is_answered = after != Some(&Fault::LostAnswer);
        if !logged.is_answered {
            return cut();
        }
        let mut answer = answer;
        let headers = answer.headers_mut();
        self.bucket.headers(headers);
        if answer.status() == 429 {
            answer.headers_mut().insert("ratelimit-remaining", 0.into());
        }
        let now = self.now.strftime("%a, %d %b %Y %H:%M:%S GMT").to_string();
        let headers = answer.headers_mut();
        headers.insert(DATE, now.parse().expect("a header"));
        let id = format!("sim{ordinal:013x}");
        headers.insert("x-correlation-id", id.parse().expect("a header"));
        answer
    }
}

fn is_authorized(settings: &Settings, headers: &HeaderMap) -> bool {
    let shown = headers.get(AUTHORIZATION);
    let shown = shown.and_then(|shown| shown.to_str().ok());
    shown.and_then(|shown| shown.strip_prefix("Bearer ")) == Some(&settings.token)
}
