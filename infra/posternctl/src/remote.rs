//! Calls to the control plane by one admin, as their profile says.
//!
//! A request shows the profile's session. Where that is missing or has ended, the profile's key
//! logs in and the request is sent again: nothing was done by the one that was refused.

use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use anyhow::{Context, bail};
use api::admin::List;
use api::admins::{
    CHALLENGES, ChallengeAnswer, SESSIONS, SETUP, SessionAnswer, SessionRequest, SetupRequest,
};
use api::contact::is_private;
use api::enroll::InviteSecret;
use api::http_client::http_client;
use api::{Kind, Problem, SetupText, signed as signature};
use http::header::AUTHORIZATION;
use http::{HeaderMap, HeaderValue, Method, Uri};
use model::{Admin, FirstContact};
use serde::Serialize;
use serde::de::DeserializeOwned;
use tuf::client::TrustedState;

use crate::now;
use crate::profile::{Place, Profile};
use crate::signed;

/// The longest that one request may take: more than a slow line and a cold start need together.
const TIMEOUT: Duration = Duration::from_mins(1);

/// The control plane, as an admin reaches it.
pub struct Remote {
    http: reqwest::Client,
    place: Place,
    profile: Mutex<Profile>,
}

impl Remote {
    /// The control plane of the profile at `place`.
    pub fn open(place: &Place) -> anyhow::Result<Self> {
        Self::with(place, place.read()?)
    }

    /// The control plane of `profile`, whose sessions are kept at `place`.
    pub fn with(place: &Place, profile: Profile) -> anyhow::Result<Self> {
        let http = http_client("posternctl", TIMEOUT)?;
        Ok(Self {
            http,
            place: place.clone(),
            profile: Mutex::new(profile),
        })
    }

    /// How others reach and trust the network.
    pub fn contact(&self) -> FirstContact {
        self.profile().contact
    }

    /// The same with the control key and the doors that the offline keys have signed by now, which the profile
    /// keeps. Where no front door tells, they are those that the profile knew, and that is said.
    pub async fn contact_in_force(&self) -> anyhow::Result<FirstContact> {
        match signed::learn(&self.profile()).await {
            Ok(learnt) => {
                let mut profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
                let known = profile.trusted.as_ref().map(TrustedState::digest);
                let before = profile.contact.clone();
                profile.contact.adopt(learnt.control_key);
                if !learnt.front_doors.is_empty() {
                    profile.contact.front_doors = learnt.front_doors;
                }
                if known != Some(learnt.trusted.digest()) || profile.contact != before {
                    profile.trusted = Some(learnt.trusted);
                    self.place.save(&profile)?;
                }
            }
            Err(error) => tracing::warn!(
                "{error:#}: if the network has another control key or other doors since this profile last \
                 heard, what it makes now cannot be used"
            ),
        }
        Ok(self.contact())
    }

    /// Reads `path`.
    pub async fn get<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<T> {
        self.call(Method::GET, path, Vec::new()).await
    }

    /// Sends `body` to `path`.
    pub async fn post<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::POST, path, serde_json::to_vec(body)?)
            .await
    }

    /// Puts `body` in the place of what is at `path`.
    pub async fn put<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        self.call(Method::PUT, path, serde_json::to_vec(body)?)
            .await
    }

    /// Reads a whole list, part by part.
    pub async fn list<T: DeserializeOwned>(&self, path: &str) -> anyhow::Result<Vec<T>> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let list: List<T> = self.get(&format!("{path}{after}")).await?;
            items.extend(list.items);
            let Some(next) = list.next else {
                return Ok(items);
            };
            let mark = if path.contains('?') { '&' } else { '?' };
            after = format!("{mark}after={next}");
        }
    }

    /// Makes the profile's key the first owner.
    pub async fn set_up(&self, code: &SetupText, name: &str) -> anyhow::Result<Admin> {
        let request = SetupRequest {
            code: InviteSecret::new(&code.secret),
            name: name.to_owned(),
        };
        self.post_signed(SETUP, &request).await
    }

    /// Logs in with the profile's key and keeps the session.
    pub async fn log_in(&self) -> anyhow::Result<SessionAnswer> {
        let ChallengeAnswer { challenge, .. } =
            self.post_signed(CHALLENGES, &serde_json::json!({})).await?;
        let session: SessionAnswer = self
            .post_signed(SESSIONS, &SessionRequest { challenge })
            .await?;
        self.keep(Some(session.clone()))?;
        Ok(session)
    }

    /// The session that is kept, if it is not over by this machine's clock.
    pub fn session(&self) -> Option<SessionAnswer> {
        let session = self.profile().session;
        session.filter(|session| session.expires_at > now())
    }

    /// Forgets the session.
    pub fn forget(&self) -> anyhow::Result<()> {
        self.keep(None)
    }

    fn profile(&self) -> Profile {
        let profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        profile.clone()
    }

    fn keep(&self, session: Option<SessionAnswer>) -> anyhow::Result<()> {
        let mut profile = self.profile.lock().unwrap_or_else(PoisonError::into_inner);
        profile.session = session;
        self.place.save(&profile)
    }

    async fn call<T: DeserializeOwned>(
        &self,
        method: Method,
        path: &str,
        body: Vec<u8>,
    ) -> anyhow::Result<T> {
        if let Some(session) = self.session() {
            match self.exchange(&method, path, &body, Some(&session)).await? {
                Err(problem) if is_over(&problem) => {}
                answered => return read(answered),
            }
        }
        let session = self.log_in().await?;
        read(self.exchange(&method, path, &body, Some(&session)).await?)
    }

    async fn post_signed<T: DeserializeOwned>(
        &self,
        path: &str,
        body: &impl Serialize,
    ) -> anyhow::Result<T> {
        let body = serde_json::to_vec(body)?;
        read(self.exchange(&Method::POST, path, &body, None).await?)
    }

    /// Asks the first control plane that takes a connection: with the session, or signed where
    /// there is none.
    async fn exchange(
        &self,
        method: &Method,
        path: &str,
        body: &[u8],
        session: Option<&SessionAnswer>,
    ) -> anyhow::Result<Result<Vec<u8>, Problem>> {
        let profile = self.profile();
        let mut unreached = None;
        for base in &profile.contact.control {
            // Codes and sessions would be read on the way.
            if !is_private(base) {
                bail!("{base} is not https: put a certificate in front of it (docs/runbooks)");
            }
            let url = format!("{base}{path}");
            let uri: Uri = url.parse()?;
            let network = &profile.contact.network;
            let headers = match session {
                Some(session) => bearer(session)?,
                None => signature::sign(&profile.key, network, method, &uri, body, now()),
            };
            let request = self.http.request(method.clone(), &url).headers(headers);
            match request.body(body.to_vec()).send().await {
                Ok(response) => return answer(response).await,
                // Nothing was sent: another may be asked.
                Err(error) if error.is_connect() => unreached = Some(error),
                Err(error) => {
                    let error = anyhow::Error::new(error);
                    return Err(error.context("the control plane did not answer"));
                }
            }
        }
        let Some(error) = unreached else {
            bail!("{} names no control plane", self.place.path().display());
        };
        let tried = profile.contact.control.join(", ");
        let why = format!("no control plane answers at {tried}: does it run ('posternctl up')?");
        Err(anyhow::Error::new(error).context(why))
    }
}

fn bearer(session: &SessionAnswer) -> anyhow::Result<HeaderMap> {
    let mut value = HeaderValue::from_str(&format!("Bearer {}", session.token))?;
    value.set_sensitive(true);
    Ok(HeaderMap::from_iter([(AUTHORIZATION, value)]))
}

async fn answer(response: reqwest::Response) -> anyhow::Result<Result<Vec<u8>, Problem>> {
    let status = response.status();
    let bytes = response.bytes().await?;
    if status.is_success() {
        return Ok(Ok(bytes.into()));
    }
    match serde_json::from_slice(&bytes) {
        Ok(problem) => Ok(Err(problem)),
        Err(_) => bail!("the control plane answered {status} without saying why"),
    }
}

fn read<T: DeserializeOwned>(answered: Result<Vec<u8>, Problem>) -> anyhow::Result<T> {
    serde_json::from_slice(&answered?).context("the answer cannot be read")
}

fn is_over(problem: &Problem) -> bool {
    problem.is(Kind::SessionMissing) || problem.is(Kind::SessionEnded)
}

/// Whether an error is the control plane's problem of this kind.
pub fn is(error: &anyhow::Error, kind: Kind) -> bool {
    let problem = error.downcast_ref::<Problem>();
    problem.is_some_and(|problem| problem.is(kind))
}
