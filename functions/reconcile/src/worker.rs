//! The function `reconcile` on Cloudflare Workers: requests, and a cron trigger.

use std::sync::Arc;

use axum::body::Body;
use axum::http::Response;
use edge::workers::{Answering, Fetch};
use worker::{Context, Env, HttpRequest, ScheduleContext, ScheduledEvent, event};

use crate::Reconcile;

static FUNCTION: Answering<Arc<Reconcile>> = Answering::new(from_settings, crate::routes);

fn from_settings(reader: &mut edge::settings::Reader<'_>) -> Option<Arc<Reconcile>> {
    Reconcile::from_settings(reader, || Ok(Arc::new(Fetch)))
}

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _: Context) -> worker::Result<Response<Body>> {
    Ok(FUNCTION.answer(request, &env).await)
}

#[event(scheduled)]
async fn scheduled(_: ScheduledEvent, env: Env, _: ScheduleContext) {
    let run = async |edge: &edge::Edge, own: &Arc<Reconcile>| own.heal(edge).await;
    FUNCTION.wake(&env, run).await;
}
