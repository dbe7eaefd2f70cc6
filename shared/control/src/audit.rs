//! The audit: one event in every commit that changes what people care about.

use std::cmp::Reverse;

use jiff::civil::Date;
use jiff::tz::TimeZone;
use model::{Actor, AuditEvent};
use store::{Expect, Key, Range, Write};

use crate::items::Read as _;
use crate::{Context, Error, items};

/// The most events of one answer.
const PAGE: usize = 100;

/// The write that records an event of this moment; `number` tells several of one moment apart.
pub fn write(
    context: &Context<'_>,
    number: u32,
    actor: &Actor,
    action: &str,
    subject: &(impl ToString + ?Sized),
    detail: impl Into<String>,
) -> Write {
    let event = AuditEvent {
        id: context.moment.uuid(number),
        at: context.moment.now,
        actor: actor.clone(),
        action: action.to_owned(),
        subject: subject.to_string(),
        detail: detail.into(),
    };
    items::put(key(&event), Expect::Absent, &event)
}

/// Where an event is kept.
pub(crate) fn key(event: &AuditEvent) -> Key {
    let day = day_of(event.at).to_string();
    let spread = event.id.as_bytes()[15] % items::AUDIT_SPREAD;
    Key::new(items::audit(&day, spread), event.id.to_string())
}

/// The events of `day`, newest first, from before the event `before` if it is given; and where to
/// go on.
pub async fn list(
    context: &Context<'_>,
    day: Date,
    before: Option<&str>,
) -> Result<(Vec<AuditEvent>, Option<String>), Error> {
    let mut events: Vec<AuditEvent> = Vec::new();
    let mut more = false;
    for spread in 0..items::AUDIT_SPREAD {
        let range = Range {
            until: before.map(str::to_owned),
            descending: true,
            ..Range::all(items::audit(&day.to_string(), spread))
        };
        let (items, is_more) = items::read_up_to(context, &range, None, PAGE).await?;
        more |= is_more;
        for item in &items {
            events.push(item.read()?);
        }
    }
    events.sort_unstable_by_key(|event| Reverse(event.id));
    more |= events.len() > PAGE;
    events.truncate(PAGE);
    let next = events
        .last()
        .filter(|_| more)
        .map(|event| event.id.to_string());
    Ok((events, next))
}

/// The day (UTC) that an event at `at` is kept under.
pub fn day_of(at: jiff::Timestamp) -> Date {
    at.to_zoned(TimeZone::UTC).date()
}
