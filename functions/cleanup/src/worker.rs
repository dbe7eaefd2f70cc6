//! The function `cleanup` on Cloudflare Workers: requests, and a cron trigger.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use edge::workers::{Answering, Fetch};
use worker::{Context, Env, HttpRequest, ScheduleContext, ScheduledEvent, event};

use crate::CleanUp;

static FUNCTION: Answering<Arc<CleanUp>> = Answering::new(from_settings, crate::routes);

fn from_settings(reader: &mut edge::settings::Reader<'_>) -> Option<Arc<CleanUp>> {
    CleanUp::from_settings(reader, || Ok(Arc::new(Fetch)))
}

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _: Context) -> worker::Result<Response<Body>> {
    Ok(FUNCTION.answer(request, &env).await)
}

#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, _: ScheduleContext) {
    let run = async |edge: &edge::Edge, own: &Arc<CleanUp>| own.sweep(edge).await;
    FUNCTION.wake(&env, run).await;
}
