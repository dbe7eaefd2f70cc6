//! The function `publish` on Cloudflare Workers, for a cron trigger.

use std::sync::Arc;

use edge::workers::{Fetch, Scheduled};
use worker::{Env, ScheduleContext, ScheduledEvent, event};

use crate::settings::Publish;

static FUNCTION: Scheduled<Publish> = Scheduled::new(from_settings);

fn from_settings(reader: &mut edge::settings::Reader<'_>) -> Option<Publish> {
    Publish::from_settings(reader, || Ok(Arc::new(Fetch)))
}

#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, _: ScheduleContext) {
    let run = async |edge: &edge::Edge, publish: &Publish| publish.run(edge).await;
    FUNCTION.wake(&env, run).await;
}
