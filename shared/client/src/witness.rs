//! A witness: another door than the one that answered is asked for a newer root.
//!
//! The first door that has something newer ends a race. A thief with stolen online keys and a fast door
//! always has something newer by them, and need never show the root that ended them. So the doors that
//! did not answer are asked in turn whether there is a root after ours: one of them every [`EVERY`], which
//! is one small file, or the answer that there is none. Where there is one, that door's bundle is
//! fetched, and counts if it verifies under a newer root. A network is out of a thief's hands when the
//! first honest door has had its turn.

use std::sync::Arc;
use std::time::Duration;

use jiff::{SignedDuration, Timestamp};
use rules::ranking::Rank;
use tuf::repository::root_path;

use crate::doors::{self, Answer, Ask, DoorOutcome, Lane};
use crate::web::Fetched;
use crate::{Context, Device};

/// How often one door is asked: four times a day, so that with five doors an honest one has its turn
/// within a day and a bit, and no watcher is shown more than he sees anyway.
const EVERY: SignedDuration = SignedDuration::from_hours(6);
/// The most bytes of a root: what the workflow takes.
const MOST_ROOT: u64 = 512_000;
/// For how long a door is waited for. People wait for the sync.
const PATIENCE: Duration = Duration::from_secs(3);

/// The answer that a witness makes count instead of the race's.
pub(crate) struct Better {
    pub(crate) answer: Answer,
    pub(crate) outcomes: Vec<DoorOutcome>,
    /// What it was held against.
    pub(crate) ask: Arc<Ask>,
}

/// The lane of the door whose turn it is to be asked, if it is time: never the `winner`'s, one that rests
/// only where all others do, and of those the one that was asked longest ago.
pub(crate) fn due(
    device: &Device,
    ranks: &[Rank],
    lanes: &[Lane],
    winner: usize,
    now: Timestamp,
) -> Option<usize> {
    let asked_at = |lane: &Lane| device.doors.get(&lane.door.url)?.witness_at;
    let last = lanes.iter().filter_map(asked_at).max();
    // A time from the future was told by a clock that was ahead.
    let recent = last.is_some_and(|at| at <= now && now.duration_since(at) < EVERY);
    if recent {
        return None;
    }
    let rests = |lane: &Lane| {
        let mut ranks = ranks.iter().filter(|rank| rank.id == lane.door.url);
        ranks.any(|rank| rank.resting_until.is_some())
    };
    let others = (0..lanes.len()).filter(|lane| *lane != winner);
    others.min_by_key(|lane| (rests(&lanes[*lane]), asked_at(&lanes[*lane])))
}

/// Asks the door of `lane`, against what the race's answer made known; None where it knows no newer root.
pub(crate) async fn ask(
    context: &Context<'_>,
    ask: &Ask,
    answer: &Answer,
    lanes: &[Lane],
    lane: usize,
) -> Option<Better> {
    let served = answer.served.as_ref().map(|served| &served.verified.state);
    let known = served.or(ask.trusted.as_ref())?.clone();
    let door = &lanes[lane].door;
    let next = root_path(known.root_version() + 1);
    let url = format!("{}/{next}", door.url);
    let get = context.web.get(&url, &door.fallback, None, MOST_ROOT);
    let told = tokio::time::timeout(PATIENCE, get).await.ok()?;
    let (Ok(Fetched::Body { .. }), _) = told else {
        return None;
    };

    tracing::warn!(
        door = door.url,
        "it has a newer root than the door that answered"
    );
    let version = known.root_version();
    let ask = Arc::new(Ask {
        trusted: Some(known),
        damaged: ask.damaged && served.is_none(),
        ..ask.clone()
    });
    // All of it, whatever tag was known: what that stood for is not what is wanted now.
    let alone = [Lane {
        etag: None,
        ..lanes[lane].clone()
    }];
    let (answer, outcomes) = doors::fetch(
        context.web,
        context.clock,
        context.options,
        ask.clone(),
        &alone,
    )
    .await;
    let answer = answer.filter(|answer| {
        let served = answer.served.as_ref();
        served.is_some_and(|served| served.verified.state.root_version() > version)
    })?;
    Some(Better {
        answer: Answer { lane, ..answer },
        outcomes,
        ask,
    })
}
