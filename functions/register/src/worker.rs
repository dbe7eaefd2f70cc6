//! The function `register` on Cloudflare Workers.

use axum::body::Body;
use axum::http::Response;
use edge::workers::Function;
use worker::{Context, Env, HttpRequest, event};

static FUNCTION: Function = Function::new(crate::from_settings);

#[event(fetch)]
async fn fetch(request: HttpRequest, env: Env, _: Context) -> worker::Result<Response<Body>> {
    Ok(FUNCTION.answer(request, &env).await)
}
