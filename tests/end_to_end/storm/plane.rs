//! The control plane as callers see it: a program that answers, dies at any moment and comes back.
//!
//! A caller never loses a request: where no answer came, it waits until the program is back and
//! sends the same again, until there is an answer. It notes how often an answer was lost, for then
//! the request may have been carried out before.

use std::sync::atomic::{AtomicU64, Ordering};
use std::time::Duration;

use api::admins::Token;
use api::http_client::http_client;
use api::{IdentitySecret, Kind, Problem, signed};
use edge::{Clock, SystemClock};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};
use jiff::Timestamp;
use model::Network;
use reqwest::Client;
use serde::Serialize;
use serde::de::DeserializeOwned;
use tokio::sync::watch;

/// How long an answer, and the program's way back, may take: far more than a loaded machine needs.
const PATIENCE: Duration = Duration::from_mins(1);
/// How often in a row a caller may be told to try again in a moment.
const MOST_AGAIN: u32 = 100;

/// A control plane that is killed again and again.
pub struct Plane {
    /// The network's settings.
    pub network: Network,
    base: String,
    life: watch::Sender<Life>,
    answers: watch::Sender<u64>,
    over: watch::Sender<bool>,
    lost: AtomicU64,
}

/// One run of the program.
#[derive(Clone)]
struct Life {
    number: u32,
    /// Its callers' connections; none while it is down.
    http: Option<Client>,
}

impl Life {
    fn new(number: u32) -> Self {
        let http = http_client("storm", PATIENCE).expect("there is an HTTP client");
        Self {
            number,
            http: Some(http),
        }
    }
}

/// Who asks.
#[derive(Clone, Copy)]
pub enum By<'a> {
    /// Whoever holds this key, which signs.
    Key(&'a IdentitySecret),
    /// The admin of this session.
    Session(&'a Token),
}

/// A request: always the same bytes, however often it is sent.
pub struct Ask {
    method: Method,
    path: String,
    body: Vec<u8>,
    twice: bool,
}

impl Ask {
    /// Reads `path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Vec::new(),
            twice: false,
        }
    }

    /// Sends `body` to `path`.
    pub fn post(path: impl Into<String>, body: &impl Serialize) -> Self {
        Self {
            method: Method::POST,
            body: serde_json::to_vec(body).expect("plain data"),
            ..Self::get(path)
        }
    }

    /// The same, sent twice at once, as callers do that lose patience.
    pub fn twice(self, twice: bool) -> Self {
        Self { twice, ..self }
    }
}

/// What a caller was told in the end.
pub struct Told {
    answer: Result<Vec<u8>, Problem>,
    /// How many answers were lost before it.
    pub lost: usize,
    /// When the request was sent that was answered.
    pub sent_at: Timestamp,
    what: String,
}

impl Told {
    /// The answer, or why there is none.
    pub fn read<T: DeserializeOwned>(&self) -> Result<T, &Problem> {
        let bytes = self.answer.as_ref()?;
        let read = serde_json::from_slice(bytes);
        Ok(
            read.unwrap_or_else(|error| {
                panic!("{}: the answer cannot be read: {error}", self.what)
            }),
        )
    }

    /// The answer, which must not be a refusal.
    pub fn must<T: DeserializeOwned>(&self) -> T {
        self.read()
            .unwrap_or_else(|problem| panic!("{}: {problem}", self.what))
    }

    /// Fails unless the refusal is of one of `kinds`.
    pub fn refused_as(&self, problem: &Problem, kinds: &[Kind]) {
        let expected = kinds.iter().any(|kind| problem.is(*kind));
        assert!(
            expected,
            "{}: {problem} ({} answers were lost before)",
            self.what, self.lost
        );
    }
}

impl Plane {
    /// The control plane at `base`, which runs.
    pub fn new(network: Network, base: String) -> Self {
        Self {
            network,
            base,
            life: watch::Sender::new(Life::new(0)),
            answers: watch::Sender::new(0),
            over: watch::Sender::new(false),
            lost: AtomicU64::new(0),
        }
    }

    /// Now.
    pub fn now() -> Timestamp {
        SystemClock.moment().now
    }

    /// Which run of the program this is, from 0.
    pub fn life(&self) -> u32 {
        self.life.borrow().number
    }

    /// How many requests were answered, and how many answers were lost.
    pub fn counts(&self) -> (u64, u64) {
        (*self.answers.borrow(), self.lost.load(Ordering::Relaxed))
    }

    /// Waits for so many more answers.
    pub async fn answered(&self, more: u64) {
        let mut answers = self.answers.subscribe();
        let enough = *answers.borrow() + more;
        let seen = answers.wait_for(|count| *count >= enough);
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        let _ = seen.expect("the callers are answered in time");
    }

    /// The program is gone.
    pub fn goes_down(&self) {
        self.life.send_modify(|life| life.http = None);
    }

    /// The program is back.
    pub fn comes_back(&self) {
        self.life
            .send_modify(|life| *life = Life::new(life.number + 1));
    }

    /// Whether callers shall begin nothing new.
    pub fn is_over(&self) -> bool {
        *self.over.borrow()
    }

    /// Callers shall begin nothing new.
    pub fn end(&self) {
        self.over.send_replace(true);
    }

    /// Asks until there is an answer.
    pub async fn ask(&self, by: By<'_>, ask: &Ask) -> Told {
        let what = format!("{} {}", ask.method, ask.path);
        let (mut lost, mut again) = (0, 0);
        let mut number = 0;
        loop {
            let life = self.alive(number, &what).await;
            let Some(http) = &life.http else { continue };
            let sent_at = Self::now();
            match self.exchange(http, by, ask).await {
                Some(Err(problem)) if is_passing(&problem) => {
                    again += 1;
                    assert!(again < MOST_AGAIN, "{what}: again and again: {problem}");
                    number = life.number;
                }
                Some(answer) => {
                    self.answers.send_modify(|count| *count += 1);
                    return Told {
                        answer,
                        lost,
                        sent_at,
                        what,
                    };
                }
                None => {
                    lost += 1;
                    self.lost.fetch_add(1, Ordering::Relaxed);
                    number = life.number + 1;
                }
            }
        }
    }

    /// Waits for the run `number` or a later one. Nothing but a kill may cost an answer: without one,
    /// there is no later run and this fails.
    async fn alive(&self, number: u32, what: &str) -> Life {
        let mut life = self.life.subscribe();
        let alive = life.wait_for(|life| life.number >= number && life.http.is_some());
        let alive = tokio::time::timeout(PATIENCE, alive).await;
        let alive =
            alive.unwrap_or_else(|_| panic!("{what}: no answer, though nobody killed the program"));
        alive.expect("the plane is there").clone()
    }

    /// Sends it, twice at once if it shall be; none if no answer came.
    async fn exchange(
        &self,
        http: &Client,
        by: By<'_>,
        ask: &Ask,
    ) -> Option<Result<Vec<u8>, Problem>> {
        if !ask.twice {
            return self.send(http, by, ask).await;
        }
        match tokio::join!(self.send(http, by, ask), self.send(http, by, ask)) {
            (Some(Ok(answer)), _) | (_, Some(Ok(answer))) => Some(Ok(answer)),
            (Some(answer), Some(other)) if answer.as_ref().is_err_and(is_passing) => Some(other),
            (Some(answer), Some(_)) => Some(answer),
            // A refusal beside a lost answer: what was lost may have been a success.
            _ => None,
        }
    }

    async fn send(&self, http: &Client, by: By<'_>, ask: &Ask) -> Option<Result<Vec<u8>, Problem>> {
        let url = format!("{}{}", self.base, ask.path);
        let uri: Uri = url.parse().expect("a URL");
        let headers = match by {
            By::Key(secret) => signed::sign(
                secret,
                &self.network.id,
                &ask.method,
                &uri,
                &ask.body,
                Self::now(),
            ),
            By::Session(token) => bearer(token),
        };
        let request = http.request(ask.method.clone(), url).headers(headers);
        let response = request.body(ask.body.clone()).send().await.ok()?;
        let status = response.status();
        let bytes = response.bytes().await.ok()?;
        if status.is_success() {
            return Some(Ok(bytes.into()));
        }
        let problem = serde_json::from_slice(&bytes);
        Some(Err(problem.unwrap_or_else(|_| {
            panic!("{} was answered {status} without a reason", ask.path)
        })))
    }
}

/// Whether the caller is asked to try again in a moment.
fn is_passing(problem: &Problem) -> bool {
    problem.is(Kind::Contended)
}

fn bearer(token: &Token) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is plain");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
