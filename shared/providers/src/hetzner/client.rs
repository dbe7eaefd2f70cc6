//! Requests and answers: the token, the rate limit, pages, and what an error means.

use std::sync::{Arc, Mutex, PoisonError};

use api::http::Http;
use bytes::Bytes;
use http::header::{ACCEPT, AUTHORIZATION, CONTENT_TYPE, DATE, RETRY_AFTER, USER_AGENT};
use http::{HeaderMap, Method, Request, Response, StatusCode};
use jiff::Timestamp;
use jiff::fmt::rfc2822::DateTimeParser;
use model::ProviderName;
use serde_json::Value;
use url::form_urlencoded;

use super::faults;
use crate::record::{SPENT, request_id};
use crate::{Fault, ProviderError, Rate, Token};

/// The most entries of a page that the API gives.
const PER_PAGE: usize = 50;
/// The most pages of a list that are read: no project has 50,000 resources. It ends what would go
/// on for ever.
const MOST_PAGES: u64 = 1000;
/// The most characters of an error's words that are kept.
const MOST_DETAIL: usize = 300;

/// The API of one project.
pub(super) struct Client {
    http: Arc<dyn Http>,
    token: Token,
    base: String,
    provider: ProviderName,
    rate: Mutex<Option<Rate>>,
}

/// An answer that says yes.
pub(super) struct Answer {
    pub body: Value,
    /// When it was given, by the provider's clock.
    pub date: Option<Timestamp>,
    request: Option<Box<str>>,
    provider: ProviderName,
    doing: String,
    is_change: bool,
}

impl Client {
    pub fn new(http: Arc<dyn Http>, token: Token, base: String, provider: ProviderName) -> Self {
        Self {
            http,
            token,
            base,
            provider,
            rate: Mutex::default(),
        }
    }

    pub fn rate(&self) -> Option<Rate> {
        *self.rate.lock().unwrap_or_else(PoisonError::into_inner)
    }

    pub async fn read(&self, doing: &str, path: &str) -> Result<Answer, ProviderError> {
        self.send(doing, Method::GET, path, None).await
    }

    /// The pages of a list.
    pub async fn pages(
        &self,
        list: &str,
        query: &[(&str, &str)],
    ) -> Result<Vec<Answer>, ProviderError> {
        let doing = format!("list {list}");
        let mut pages = Vec::new();
        let (mut read, mut next) = (0, Some(1));
        while let Some(page) = next {
            let query = form_urlencoded::Serializer::new(String::new())
                .extend_pairs(query)
                .append_pair("page", &page.to_string())
                .append_pair("per_page", &PER_PAGE.to_string())
                .finish();
            let answer = self.read(&doing, &format!("/{list}?{query}")).await?;
            let said = answer.body["meta"]["pagination"].get("next_page");
            next = said.and_then(Value::as_u64);
            // A full page that does not say that it is the last may not be: a list that was cut
            // short reads as if the rest were gone.
            let is_said = next.is_some() || said.is_some_and(Value::is_null);
            let count = answer.body[list].as_array().map_or(0, Vec::len);
            let is_whole = is_said || count < PER_PAGE;
            let goes_on = is_whole && next.is_none_or(|next| page < next && next <= MOST_PAGES);
            if !goes_on {
                return Err(answer.unreadable("a list with an end"));
            }
            read += count as u64;
            // What moved from one page to another while they were read is on none of them.
            let total = answer.body["meta"]["pagination"]["total_entries"].as_u64();
            if next.is_none() && total.is_some_and(|total| total != read) {
                return Err(answer.unreadable("a list that stayed the same while it was read"));
            }
            pages.push(answer);
        }
        Ok(pages)
    }

    /// One request and its answer, never repeated.
    pub async fn send(
        &self,
        doing: &str,
        method: Method,
        path: &str,
        body: Option<&Value>,
    ) -> Result<Answer, ProviderError> {
        let is_change = method != Method::GET;
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{}{path}", self.base))
            .header(AUTHORIZATION, self.token.header())
            .header(ACCEPT, "application/json")
            .header(USER_AGENT, concat!("postern/", env!("CARGO_PKG_VERSION")));
        if body.is_some() {
            request = request.header(CONTENT_TYPE, "application/json");
        }
        let body = body.map_or_else(Bytes::new, |body| Bytes::from(body.to_string()));
        let request = request
            .body(body)
            .map_err(|error| self.error(doing, Fault::Refused, error.to_string()))?;

        let answer = self.http.send(request).await.map_err(|why| {
            let fault = match why.as_str() {
                SPENT => Fault::Spent,
                _ => unanswered(is_change),
            };
            self.error(doing, fault, why)
        })?;
        self.note_rate(answer.headers());
        if !answer.status().is_success() {
            return Err(self.refused(doing, is_change, &answer));
        }
        let mut read = Answer {
            body: Value::Null,
            date: date(answer.headers()),
            request: request_id(answer.headers()),
            provider: self.provider.clone(),
            doing: doing.to_owned(),
            is_change,
        };
        if answer.status() != StatusCode::NO_CONTENT {
            let body = serde_json::from_slice(answer.body());
            read.body = body.map_err(|_| read.unreadable("JSON"))?;
        }
        Ok(read)
    }

    fn refused(&self, doing: &str, is_change: bool, answer: &Response<Bytes>) -> ProviderError {
        let body: Value = serde_json::from_slice(answer.body()).unwrap_or(Value::Null);
        let code = body["error"]["code"].as_str();
        let fault = match faults::class(answer.status(), code) {
            Fault::Wait { .. } => Fault::Wait {
                seconds: wait(answer.headers()),
            },
            Fault::Unclear => unanswered(is_change),
            fault => fault,
        };
        let words = body["error"]["message"].as_str();
        let words = words.map_or_else(|| answer.status().to_string(), str::to_owned);
        ProviderError {
            code: code.map(str::to_owned),
            request: request_id(answer.headers()),
            ..self.error(doing, fault, words.chars().take(MOST_DETAIL).collect())
        }
    }

    pub fn error(&self, doing: &str, fault: Fault, detail: String) -> ProviderError {
        ProviderError {
            provider: self.provider.clone(),
            doing: doing.to_owned(),
            fault,
            code: None,
            detail,
            request: None,
        }
    }

    fn note_rate(&self, headers: &HeaderMap) {
        let limit = number(headers, "ratelimit-limit");
        let remaining = number(headers, "ratelimit-remaining");
        if let (Some(limit), Some(remaining)) = (limit, remaining) {
            let full_at = number(headers, "ratelimit-reset");
            let full_at = full_at.and_then(|second| Timestamp::from_second(second).ok());
            let count = |number: i64| u32::try_from(number.max(0)).unwrap_or(u32::MAX);
            let rate = Rate {
                limit: count(limit),
                remaining: count(remaining),
                full_at,
            };
            *self.rate.lock().unwrap_or_else(PoisonError::into_inner) = Some(rate);
        }
    }
}

impl Answer {
    /// The entries of a list's page.
    pub fn entries(&self, field: &str) -> Result<&[Value], ProviderError> {
        let entries = self.body[field].as_array();
        entries
            .map(Vec::as_slice)
            .ok_or_else(|| self.unreadable(field))
    }

    /// The error of an answer that holds no `what`, though it says yes.
    pub fn unreadable(&self, what: &str) -> ProviderError {
        ProviderError {
            provider: self.provider.clone(),
            doing: self.doing.clone(),
            fault: unanswered(self.is_change),
            code: None,
            detail: format!("the answer cannot be read: {what} expected"),
            request: self.request.clone(),
        }
    }
}

/// What it means that there is no answer that says how it went.
fn unanswered(is_change: bool) -> Fault {
    if is_change {
        Fault::Unclear
    } else {
        Fault::Retry
    }
}

fn number(headers: &HeaderMap, name: &str) -> Option<i64> {
    headers.get(name)?.to_str().ok()?.trim().parse().ok()
}

fn date(headers: &HeaderMap) -> Option<Timestamp> {
    // RFC 9110, section 5.6.7: the preferred form is that of RFC 5322 with a fixed zone.
    let date = headers.get(DATE)?.to_str().ok()?;
    DateTimeParser::new().parse_timestamp(date).ok()
}

/// How long to wait after a 429: as the answer says, or until the bucket is full again, but no
/// longer than a minute, which is 60 requests at the documented one a second.
fn wait(headers: &HeaderMap) -> u32 {
    const MOST: i64 = 60;
    let told = number(headers, RETRY_AFTER.as_str());
    let full = number(headers, "ratelimit-reset").zip(date(headers));
    let full = full.map(|(second, date)| (second - date.as_second()).min(MOST));
    let seconds = told.or(full).unwrap_or(MOST).clamp(1, MOST);
    u32::try_from(seconds).unwrap_or(u32::MAX)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wait_is_as_told_or_until_the_bucket_is_full_and_at_most_a_minute() {
        let date = ("date", "Sun, 01 Nov 2026 00:00:00 GMT");
        let reset = |seconds: i64| {
            let date: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
            (date.as_second() + seconds).to_string()
        };
        let waits = |pairs: &[(&'static str, &str)]| {
            let pairs = pairs.iter();
            let headers = pairs.map(|(name, value)| {
                let name = http::HeaderName::from_static(name);
                (name, http::HeaderValue::from_str(value).unwrap())
            });
            wait(&headers.collect())
        };
        assert_eq!(waits(&[date, ("ratelimit-reset", &reset(30))]), 30);
        assert_eq!(waits(&[date, ("ratelimit-reset", &reset(3600))]), 60);
        assert_eq!(waits(&[date, ("ratelimit-reset", &reset(-5))]), 1);
        assert_eq!(
            waits(&[("retry-after", "7"), date, ("ratelimit-reset", &reset(30))]),
            7
        );
        assert_eq!(waits(&[("retry-after", "86400")]), 60);
        assert_eq!(waits(&[("ratelimit-reset", &reset(30))]), 60);
    }

    /// Answers every request with this body.
    #[derive(Debug)]
    struct Says(Value);

    #[async_trait::async_trait]
    impl Http for Says {
        async fn send(&self, _: Request<Bytes>) -> Result<Response<Bytes>, String> {
            Ok(Response::new(Bytes::from(self.0.to_string())))
        }
    }

    #[tokio::test]
    async fn a_full_page_that_does_not_say_that_it_is_the_last_is_not_the_whole_list() {
        let read = async |count: usize, meta: Value| {
            let body = serde_json::json!({"servers": vec![0; count], "meta": meta});
            let token = "token".parse().unwrap();
            let provider = "hetzner".parse().unwrap();
            let client = Client::new(Arc::new(Says(body)), token, "http://x".to_owned(), provider);
            let pages = client.pages("servers", &[]).await;
            pages.map(|pages| pages.len()).map_err(|error| error.fault)
        };
        let last = serde_json::json!({"pagination": {"next_page": null}});
        assert_eq!(read(50, last).await, Ok(1));
        assert_eq!(read(49, Value::Null).await, Ok(1));
        assert_eq!(read(50, Value::Null).await, Err(Fault::Retry));
        let cut = serde_json::json!({"pagination": {"page": 1}});
        assert_eq!(read(50, cut).await, Err(Fault::Retry));
    }
}
