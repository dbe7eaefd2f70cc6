//! The control plane as callers see it: it answers, it or its database dies at any moment, and it
//! comes back.
//!
//! A caller never loses a request: where no answer came, or one that asks to try again, it sends the
//! same again, until there is an answer; where something was killed, once that is back. It notes how
//! often an answer was lost, for then the request may have been carried out before.

use std::collections::BTreeMap;
use std::sync::atomic::{AtomicU64, AtomicUsize, Ordering};
use std::time::Duration;

use api::admins::Token;
use api::http_client::http_client;
use api::{IdentitySecret, Kind, Problem, signed};
use edge::{Clock, SystemClock};
use http::header::{AUTHORIZATION, RETRY_AFTER};
use http::{HeaderMap, HeaderValue, Method, StatusCode, Uri};
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
/// How long a caller waits that is told to try again by a control plane whose database is not known to
/// be down. It is told two seconds, and these callers are in a hurry.
const PAUSE: Duration = Duration::from_millis(50);

/// A control plane that is killed again and again.
pub struct Plane {
    /// The network's settings.
    pub network: Network,
    base: String,
    is_lossy: bool,
    life: watch::Sender<Life>,
    answers: watch::Sender<u64>,
    /// How many callers wait for the end of each life.
    waiting: watch::Sender<BTreeMap<u32, usize>>,
    /// How many callers need it no more.
    left: AtomicUsize,
    over: watch::Sender<bool>,
    lost: AtomicU64,
    unavailable: AtomicU64,
}

/// The time from one kill to the next.
#[derive(Clone)]
struct Life {
    number: u32,
    /// Its callers' connections; none while it is known to be gone.
    http: Option<Client>,
    /// Whether it fails whoever asks, until the next life.
    fails: bool,
}

impl Life {
    fn new(number: u32) -> Self {
        let http = http_client("storm", PATIENCE).expect("there is an HTTP client");
        Self {
            number,
            http: Some(http),
            fails: false,
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
    patience: Option<Duration>,
}

impl Ask {
    /// Reads `path`.
    pub fn get(path: impl Into<String>) -> Self {
        Self {
            method: Method::GET,
            path: path.into(),
            body: Vec::new(),
            twice: false,
            patience: None,
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
    #[must_use]
    pub fn twice(self, twice: bool) -> Self {
        Self { twice, ..self }
    }

    /// The same, whose caller hangs up after `patience` the first time, if it is given.
    #[must_use]
    pub fn impatient(self, patience: Option<Duration>) -> Self {
        Self { patience, ..self }
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
            is_lossy: false,
            life: watch::Sender::new(Life::new(0)),
            answers: watch::Sender::new(0),
            waiting: watch::Sender::new(BTreeMap::new()),
            left: AtomicUsize::new(0),
            over: watch::Sender::new(false),
            lost: AtomicU64::new(0),
            unavailable: AtomicU64::new(0),
        }
    }

    /// The same, behind something that loses answers although nobody was killed.
    #[must_use]
    pub fn lossy(self) -> Self {
        Self {
            is_lossy: true,
            ..self
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

    /// How often a caller was told that the database is unavailable.
    pub fn unavailable(&self) -> u64 {
        self.unavailable.load(Ordering::Relaxed)
    }

    /// Waits until each of so many callers has asked in vain and waits for it to come back, or needs it
    /// no more.
    pub async fn awaited_by(&self, callers: usize) {
        let mut waiting = self.waiting.subscribe();
        let life = self.life();
        let count = |waiting: &BTreeMap<u32, usize>| {
            let waiting = waiting.get(&life).copied().unwrap_or_default();
            waiting + self.left.load(Ordering::Relaxed)
        };
        let all = waiting.wait_for(|waiting| count(waiting) >= callers);
        let all = tokio::time::timeout(PATIENCE, all).await.map(|_| ());
        all.unwrap_or_else(|_| {
            let count = count(&self.waiting.borrow());
            panic!("{count} of {callers} callers were told that it is down, the others nothing")
        });
    }

    /// A caller needs it no more.
    pub fn leave(&self) {
        self.left.fetch_add(1, Ordering::Relaxed);
        // Whoever counts is to count again.
        self.waiting.send_modify(|_| {});
    }

    /// Waits for so many more answers.
    pub async fn answered(&self, more: u64) {
        let mut answers = self.answers.subscribe();
        let enough = *answers.borrow() + more;
        let seen = answers.wait_for(|count| *count >= enough);
        let seen = tokio::time::timeout(PATIENCE, seen).await;
        let _ = seen.expect("the callers are answered in time");
    }

    /// Its database is gone, or it is itself, which callers are to find out: each asks in vain before it
    /// waits.
    pub fn fails(&self) {
        self.life.send_modify(|life| life.fails = true);
    }

    /// It is gone, and nobody asks before it is back.
    pub fn goes_down(&self) {
        self.life.send_modify(|life| life.http = None);
    }

    /// It is back.
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
        let mut patience = ask.patience;
        loop {
            let life = self.alive(number, &what).await;
            let Some(http) = &life.http else { continue };
            let sent_at = Self::now();
            let exchange = self.exchange(http, by, ask);
            let answer = match patience.take() {
                Some(patience) => tokio::time::timeout(patience, exchange).await,
                None => Ok(exchange.await),
            };
            match answer.ok().flatten() {
                Some(Err(problem)) if is_passing(&problem) => {
                    again += 1;
                    assert!(again < MOST_AGAIN, "{what}: again and again: {problem}");
                    number = self.rest(&problem, life.number).await;
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
                    // Where nothing else costs an answer, the program is gone.
                    let is_gone = !self.is_lossy || self.has_failed(life.number);
                    number = life.number + u32::from(is_gone);
                }
            }
        }
    }

    /// Asks once: the answer, if one came that is not to try again.
    pub async fn ask_once(&self, by: By<'_>, ask: &Ask) -> Option<Result<Vec<u8>, Problem>> {
        let life = self.alive(0, &ask.path).await;
        let exchange = self.exchange(life.http.as_ref()?, by, ask);
        let patience = ask.patience.unwrap_or(PATIENCE);
        let answer = tokio::time::timeout(patience, exchange).await.ok()??;
        Some(answer).filter(|answer| !answer.as_ref().is_err_and(is_passing))
    }

    /// What a caller does that is told to try again in the life `number`: the life in which it does.
    async fn rest(&self, problem: &Problem, number: u32) -> u32 {
        if !problem.is(Kind::StoreUnavailable) {
            return number;
        }
        self.unavailable.fetch_add(1, Ordering::Relaxed);
        if self.has_failed(number) {
            return number + 1;
        }
        tokio::time::sleep(PAUSE).await;
        number
    }

    fn has_failed(&self, number: u32) -> bool {
        let now = self.life.borrow();
        now.number == number && now.fails
    }

    /// Waits for the life `number` or a later one. Nothing but a kill may cost an answer, unless it is
    /// lossy: without one, there is no later life and this fails.
    async fn alive(&self, number: u32, what: &str) -> Life {
        let mut life = self.life.subscribe();
        let is_alive = |life: &Life| life.number >= number && life.http.is_some();
        let now = life.borrow().clone();
        if is_alive(&now) {
            return now;
        }
        let count =
            |waiting: &mut BTreeMap<u32, usize>| *waiting.entry(now.number).or_default() += 1;
        self.waiting.send_modify(count);
        let alive = tokio::time::timeout(PATIENCE, life.wait_for(is_alive)).await;
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
        if status == StatusCode::SERVICE_UNAVAILABLE {
            let when = response.headers().get(RETRY_AFTER);
            assert!(when.is_some(), "{}: no word on when to try again", ask.path);
        }
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
    problem.is(Kind::Contended) || problem.is(Kind::StoreUnavailable)
}

fn bearer(token: &Token) -> HeaderMap {
    let value = HeaderValue::from_str(&format!("Bearer {token}")).expect("a token is plain");
    HeaderMap::from_iter([(AUTHORIZATION, value)])
}
