//! What a scheduled run may spend: every call to the store, a mirror or a provider is one call, because
//! that is how platforms count (Cloudflare Workers allow 50 subrequests a run on their free plan, and
//! their clock stands still between calls, so that no deadline can be measured there).
//!
//! Nobody can forget to count: a run reaches its store through [`Counted`], and a provider's adapter
//! sends its requests through [`CountedHttp`].

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::http::Http;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::Timestamp;
use providers::record::SPENT;
use store::{CommitError, Item, Key, Page, Range, Store, StoreError, Write};

/// Counts one run's calls.
#[derive(Debug)]
pub struct Meter {
    budget: u32,
    spent: AtomicU32,
    kept: AtomicU32,
}

impl Meter {
    /// For so many calls; `u32::MAX` is no limit.
    pub fn new(calls: u32) -> Self {
        Self {
            budget: calls,
            spent: AtomicU32::new(0),
            kept: AtomicU32::new(0),
        }
    }

    /// How many calls were made.
    pub fn spent(&self) -> u32 {
        self.spent.load(Ordering::Relaxed)
    }

    /// How many calls there are for work: what is left without what is kept back.
    pub fn spare(&self) -> u32 {
        let kept = self.kept.load(Ordering::Relaxed);
        self.budget
            .saturating_sub(self.spent())
            .saturating_sub(kept)
    }

    /// Keeps back so many calls, and no others.
    pub fn keep(&self, calls: usize) {
        let calls = u32::try_from(calls).unwrap_or(u32::MAX);
        self.kept.store(calls, Ordering::Relaxed);
    }

    /// Gives up one of the calls that were kept back.
    pub fn release(&self) {
        let less = |kept: u32| Some(kept.saturating_sub(1));
        let _ = self
            .kept
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, less);
    }

    /// Takes a call for work, if there is one.
    pub(crate) fn take_spare(&self) -> bool {
        self.spare() > 0 && self.take()
    }

    pub(crate) fn take(&self) -> bool {
        let one = |spent: u32| (spent < self.budget).then(|| spent + 1);
        let taken = self
            .spent
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, one);
        taken.is_ok()
    }
}

/// A store whose calls are counted. A run asks [`Meter::spare`] before it begins what it can leave
/// for later; what remains is reading the state, and fails where the budget does not hold it.
pub struct Counted<'a> {
    /// The store.
    pub store: &'a dyn Store,
    /// What counts.
    pub meter: &'a Meter,
}

impl Counted<'_> {
    fn take(&self) -> Result<(), StoreError> {
        if self.meter.take() {
            return Ok(());
        }
        Err(StoreError::Unavailable(
            "the run's budget of calls is spent: it is too small for this network".to_owned(),
        ))
    }
}

#[async_trait]
impl Store for Counted<'_> {
    async fn get_many(
        &self,
        now: Timestamp,
        keys: &[Key],
    ) -> Result<Vec<Option<Item>>, StoreError> {
        self.take()?;
        self.store.get_many(now, keys).await
    }

    async fn query(
        &self,
        now: Timestamp,
        range: &Range,
        after: Option<&str>,
        limit: usize,
    ) -> Result<Page, StoreError> {
        self.take()?;
        self.store.query(now, range, after, limit).await
    }

    async fn commit(&self, now: Timestamp, writes: Vec<Write>) -> Result<(), CommitError> {
        self.take()?;
        self.store.commit(now, writes).await
    }
}

/// HTTP whose requests are counted: before a provider's adapter it counts what a run asks there. What
/// is kept back is not spent on it, so that there is a commit for what came of the last request.
#[derive(Clone, Debug)]
pub struct CountedHttp {
    /// What carries the requests.
    pub http: Arc<dyn Http>,
    /// What counts.
    pub meter: Arc<Meter>,
}

#[async_trait]
impl Http for CountedHttp {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        if !self.meter.take_spare() {
            return Err(SPENT.to_owned());
        }
        self.http.send(request).await
    }
}
