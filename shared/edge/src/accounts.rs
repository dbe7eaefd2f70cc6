//! Accounts at providers, for the two functions that hold their credentials.
//!
//! A deployment says which providers are set up and gives a token for each. A run opens them anew
//! ([`Accounts::open`]), so that all its requests are counted against its budget and recorded for its
//! evidence, and none of another run's. A token is in the header of each request and nowhere else.

use std::fmt;
use std::net::IpAddr;
use std::sync::Arc;

use api::http::Http;
use api::{Kind, Problem};
use control::calls::{CountedHttp, Meter};
use control::fleet::evidence::Against;
use model::{Admin, AdminRole, ProviderName};
use providers::record::{Call, Recorder};
use providers::{Hetzner, Provider, Token, hetzner};
use serde::{Deserialize, Serialize};

use crate::Clock;
use crate::mirrors::MakeHttp;
use crate::settings::{self, Reader, Setting};

mod archive;

pub use archive::{EVIDENCE, Shelf};

/// Which providers are set up.
pub const PROVIDERS: Setting = Setting {
    name: "POSTERN_PROVIDERS",
    holds: r#"a JSON list of providers, each once, such as [{"kind":"hetzner"}]; with "url" for a stand-in, https or on loopback; nothing for Hetzner's own API"#,
};
/// What pays at Hetzner.
pub const HETZNER_TOKEN: Setting = Setting {
    name: "POSTERN_HETZNER_TOKEN",
    holds: "a token that may read and write one Hetzner project",
};
/// How many calls a run may make.
pub const CALLS: Setting = Setting {
    name: "POSTERN_CALLS",
    holds: "how many requests a run may make, 40 or more, such as 50 on Workers' free plan; nothing for 150",
};

/// What a run may make where nothing is said: a dozen nodes from their intent to their servers.
const CALLS_UNSAID: u32 = 150;
/// The least that is taken: reading the state and the lists of one provider, and some steps.
const LEAST_CALLS: u32 = 40;
/// What an invocation spends besides its run: whose session it is, what all costs, the evidence.
const CALLS_AROUND: u32 = 4;
/// A provider as a deployment names it.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(tag = "kind", rename_all = "kebab-case", deny_unknown_fields)]
pub enum ProviderSetting {
    /// Hetzner Cloud, one project of it.
    Hetzner {
        /// Where its API is, if not at Hetzner: a stand-in.
        #[serde(default, skip_serializing_if = "Option::is_none")]
        url: Option<String>,
    },
}

/// An account: where, and what pays.
struct Account {
    url: Option<String>,
    token: Token,
}

/// The accounts of a deployment.
pub struct Accounts {
    hetzner: Option<Account>,
    http: Option<Arc<dyn Http>>,
    calls: u32,
}

impl fmt::Debug for Accounts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let hetzner = self.hetzner.as_ref().map(|account| &account.url);
        write!(f, "Accounts(hetzner: {hetzner:?})")
    }
}

/// The providers of one run, its budget and its record.
pub struct Opened {
    /// The providers that are set up.
    pub providers: Vec<Arc<dyn Provider>>,
    /// What the run may spend.
    pub meter: Arc<Meter>,
    recorder: Option<Arc<Recorder>>,
}

impl Opened {
    /// The requests to providers so far.
    pub fn calls(&self) -> Vec<Call> {
        let recorder = self.recorder.as_ref();
        recorder
            .map(|recorder| recorder.calls())
            .unwrap_or_default()
    }

    /// The provider of this name, if it is set up.
    pub fn provider(&self, name: &ProviderName) -> Option<&Arc<dyn Provider>> {
        let mut providers = self.providers.iter();
        providers.find(|provider| provider.name() == *name)
    }
}

impl Accounts {
    /// None at all.
    pub fn none() -> Self {
        Self {
            hetzner: None,
            http: None,
            calls: u32::MAX,
        }
    }

    /// Those of a list, with their tokens; `http` carries their requests, of which a run may make so
    /// many.
    pub fn new(
        list: &[ProviderSetting],
        hetzner_token: Token,
        http: Arc<dyn Http>,
        calls: u32,
    ) -> Result<Self, String> {
        let [ProviderSetting::Hetzner { url }] = list else {
            return Err("it must name each provider once, and at least one".to_owned());
        };
        if let Some(url) = url
            && !api::contact::is_private(url)
        {
            return Err("the URL of 'hetzner' is not https".to_owned());
        }
        // It is part of every record.
        if url.as_deref().is_some_and(|url| url.contains('@')) {
            return Err(
                "the URL of 'hetzner' holds a user: a token is all that it takes".to_owned(),
            );
        }
        Ok(Self {
            hetzner: Some(Account {
                url: url.clone(),
                token: hetzner_token,
            }),
            http: Some(http),
            calls,
        })
    }

    /// Reads them from a deployment's settings; `http` carries their requests.
    pub fn from_settings(reader: &mut Reader<'_>, http: MakeHttp) -> Option<Self> {
        let token = reader.required(HETZNER_TOKEN, |text| {
            text.parse()
                .map_err(|error: model::Invalid| error.to_string())
        });
        let calls = reader.optional(CALLS, calls);
        // Without a token there is a fault already, and the list is still looked at.
        let stand_in = || {
            "none"
                .parse()
                .map_err(|error: model::Invalid| error.to_string())
        };
        let list = |text: &str| {
            let list: Vec<ProviderSetting> = settings::json(text)?;
            let token = token.clone().map_or_else(stand_in, Ok)?;
            let calls = calls.flatten().unwrap_or(CALLS_UNSAID);
            Self::new(&list, token, http()?, calls)
        };
        let accounts = reader.optional(PROVIDERS, list)?;
        let accounts = match accounts {
            Some(accounts) => accounts,
            None => reader.made(PROVIDERS, || list(r#"[{"kind":"hetzner"}]"#))?,
        };
        token.and(calls).map(|_| accounts)
    }

    /// Whether no provider is set up.
    pub fn is_empty(&self) -> bool {
        self.hetzner.is_none()
    }

    /// Opens them for one run.
    pub fn open(&self, clock: &Arc<dyn Clock>) -> Opened {
        let meter = Arc::new(Meter::new(self.calls.saturating_sub(CALLS_AROUND)));
        let (Some(account), Some(http)) = (&self.hetzner, &self.http) else {
            return Opened {
                providers: Vec::new(),
                meter,
                recorder: None,
            };
        };
        let counted = Arc::new(CountedHttp {
            http: http.clone(),
            meter: meter.clone(),
        });
        let clock = clock.clone();
        let recorder = Recorder::new(counted, Arc::new(move || clock.moment().now));
        let recorder = Arc::new(recorder);
        let url = account.url.as_deref().unwrap_or(hetzner::BASE_URL);
        let hetzner = Hetzner::at(recorder.clone(), account.token.clone(), url);
        Opened {
            providers: vec![Arc::new(hetzner)],
            meter,
            recorder: Some(recorder),
        }
    }

    /// What a run is against: live is whatever is not on this machine.
    pub fn against(&self) -> Against {
        let account = self.hetzner.as_ref();
        let url = account.and_then(|account| account.url.as_deref());
        let url = url.unwrap_or(hetzner::BASE_URL);
        Against {
            providers: account.iter().map(|_| name("hetzner")).collect(),
            live: account.is_some() && !is_here(url),
            base_url: url.to_owned(),
        }
    }
}

/// Whether a URL is one of loopback.
fn is_here(url: &str) -> bool {
    let Ok(url) = url.parse::<http::Uri>() else {
        return false;
    };
    let host = url.host().unwrap_or_default();
    let address: Option<IpAddr> = host.trim_matches(['[', ']']).parse().ok();
    host == "localhost" || address.is_some_and(|address| address.is_loopback())
}

/// Why a provider cannot be asked.
pub fn unknown(provider: &ProviderName) -> Problem {
    let detail = format!(
        "there is no credential of '{provider}' here: check its name; the functions that hold \
         credentials are told one ({}), and so is 'posternctl up'",
        HETZNER_TOKEN.name
    );
    Problem::new(Kind::ProviderUnknown, detail)
}

/// Whether `admin` may have live things removed that no record knows: a database that was lost looks the
/// same, and they may be what people are connected through.
pub fn may_remove_unknown(admin: &Admin) -> Result<(), Problem> {
    if admin.role == AdminRole::Owner {
        return Ok(());
    }
    let detail = "only an owner may have live things removed that no record knows: ask one";
    Err(Problem::new(Kind::NotAllowed, detail))
}

fn name(text: &str) -> ProviderName {
    text.parse().expect("a constant, valid name")
}

fn calls(text: &str) -> Result<u32, String> {
    let calls = text.parse().ok().filter(|calls| *calls >= LEAST_CALLS);
    calls.ok_or_else(|| format!("it is no number from {LEAST_CALLS} on"))
}

#[cfg(test)]
mod tests;
