//! The rate limit: a bucket of requests that fills up evenly.

use http::HeaderMap;
use jiff::Timestamp;

use crate::settings::RateLimit;

#[derive(Debug)]
pub(crate) struct Bucket {
    rate: RateLimit,
    remaining: u32,
    /// Until when what has come is counted.
    counted: Timestamp,
}

impl Bucket {
    pub fn new(rate: RateLimit, now: Timestamp) -> Self {
        Self {
            rate,
            remaining: rate.limit,
            counted: now,
        }
    }

    /// Leaves so many requests in it.
    pub fn leave(&mut self, remaining: u32, now: Timestamp) {
        self.remaining = remaining.min(self.rate.limit);
        self.counted = now;
    }

    /// Takes a request out of it, where there is one.
    pub fn take(&mut self, now: Timestamp) -> bool {
        self.fill(now);
        let had = self.remaining > 0;
        self.remaining = self.remaining.saturating_sub(1);
        had
    }

    fn fill(&mut self, now: Timestamp) {
        let refill = self.rate.refill.as_millis().max(1);
        let passed = now.duration_since(self.counted).as_millis() / refill;
        let missing = self.rate.limit - self.remaining;
        let passed = u32::try_from(passed.max(0)).unwrap_or(u32::MAX);
        self.remaining += passed.min(missing);
        let whole = self.rate.refill * i32::try_from(passed).unwrap_or(i32::MAX);
        self.counted = (self.counted + whole).min(now);
        if self.remaining == self.rate.limit {
            self.counted = now;
        }
    }

    /// `RateLimit-Limit`, `-Remaining` and `-Reset`: the second in which the bucket is full again.
    pub fn headers(&self, headers: &mut HeaderMap) {
        let missing = i32::try_from(self.rate.limit - self.remaining).unwrap_or(i32::MAX);
        let full = (self.counted + self.rate.refill * missing).as_second();
        headers.insert("ratelimit-limit", self.rate.limit.into());
        headers.insert("ratelimit-remaining", self.remaining.into());
        headers.insert("ratelimit-reset", full.into());
    }
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;

    #[test]
    fn an_empty_bucket_gives_one_more_when_its_time_has_come() {
        let now: Timestamp = "2026-11-01T00:00:00Z".parse().unwrap();
        let second = SignedDuration::from_secs(1);
        let mut bucket = Bucket::new(
            RateLimit {
                limit: 2,
                refill: second,
            },
            now,
        );
        assert!(bucket.take(now) && bucket.take(now) && !bucket.take(now));
        assert!(bucket.take(now + second));
        assert!(!bucket.take(now + second));
        let mut headers = HeaderMap::new();
        bucket.headers(&mut headers);
        assert_eq!(
            headers["ratelimit-reset"],
            (now.as_second() + 3).to_string()
        );
    }
}
