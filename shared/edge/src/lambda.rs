//! A function on AWS Lambda.
//!
//! A start reads the settings, and ends the program with all that is wrong with them in the log
//! before anything else: Lambda then says that the function does not start. A setting that is too
//! long for the environment (Lambda allows 4 KB for all variables together) is read from a file of
//! the deployment's package, which `<NAME>_FILE` names.

use std::env;
use std::path::Path;
use std::process::ExitCode;

use axum::Router;
use control::Error;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use store::dynamodb::{Retries, Settings};
use store::{DynamoDbStore, StoreError};
use tower::Service;

use crate::Edge;
use crate::deployed::{self, FromSettings};
use crate::settings::{Database, Reader};

/// Answers requests, from a function URL or an HTTP API, as long as Lambda sends some.
pub fn serve(from_settings: FromSettings) -> ExitCode {
    program(async {
        let router = deployed::function(&source, from_settings, open)?;
        lambda_http::run(router).await
    })
}

/// Does `run` at each event of a schedule, with what `from_settings` made. What it gives is the
/// invocation's answer, for its log; an error is an invocation that failed.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the program's work, handed over"
)]
pub fn on_schedule<T, R: Serialize>(
    from_settings: fn(&mut Reader<'_>) -> Option<T>,
    run: impl AsyncFn(&Edge, &T) -> Result<R, Error>,
) -> ExitCode {
    program(async {
        let (edge, own) = deployed::edge(&source, from_settings, open)?;
        let (edge, own, run) = (&edge, &own, &run);
        let at_event = async |_: LambdaEvent<IgnoredAny>| {
            run(edge, own).await.map_err(lambda_runtime::Error::from)
        };
        lambda_runtime::run(service_fn(at_event)).await
    })
}

/// Does both: answers requests with `routes`, and does `run` at each event of a schedule. A request's event
/// is the one that says through what it came ("requestContext", in every payload format).
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the program's work, handed over"
)]
pub fn serve_on_schedule<T, R: Serialize>(
    from_settings: fn(&mut Reader<'_>) -> Option<T>,
    routes: fn(Edge, &T) -> Router,
    run: impl AsyncFn(&Edge, &T) -> Result<R, Error>,
) -> ExitCode {
    program(async {
        let (edge, own) = deployed::edge(&source, from_settings, open)?;
        let answers = crate::finish(routes(edge.clone(), &own), edge.clone());
        let (edge, own, run, answers) = (&edge, &own, &run, &answers);
        let at_event = async |event: LambdaEvent<Value>| {
            let (payload, context) = event.into_parts();
            if payload.get("requestContext").is_none() {
                let report = run(edge, own).await?;
                return Ok::<_, lambda_runtime::Error>(serde_json::to_value(report)?);
            }
            let request: LambdaRequest = serde_json::from_value(payload)?;
            let mut http = Adapter::from(answers.clone());
            let answer = http.call(LambdaEvent::new(request, context)).await?;
            Ok(serde_json::to_value(answer)?)
        };
        lambda_runtime::run(service_fn(at_event)).await
    })
}

fn program(work: impl Future<Output = Result<(), lambda_runtime::Error>>) -> ExitCode {
    tracing_subscriber::fmt().json().init();
    // One event at a time: a second thread would only cost its start.
    let runtime = tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build();
    let ended = runtime
        .map_err(Into::into)
        .and_then(|runtime| runtime.block_on(work));
    match ended {
        Ok(()) => ExitCode::SUCCESS,
        Err(error) => {
            tracing::error!("the function does not run: {error}");
            ExitCode::FAILURE
        }
    }
}

fn source(name: &str) -> Result<Option<String>, String> {
    if let Ok(text) = env::var(name) {
        return Ok(Some(text));
    }
    let Ok(file) = env::var(format!("{name}_FILE")) else {
        return Ok(None);
    };
    // Where Lambda unpacks the package ("Defined runtime environment variables").
    let package = env::var("LAMBDA_TASK_ROOT").unwrap_or_default();
    let path = Path::new(&package).join(file);
    let text = std::fs::read_to_string(&path);
    text.map(Some)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn open(database: Database) -> Result<DynamoDbStore, StoreError> {
    let Database { table, access } = database;
    let settings = Settings {
        region: access.region,
        endpoint: access.endpoint,
        access_key_id: access.access_key,
        secret_access_key: access.secret_key,
        session_token: access.session_token,
    };
    let randomness = deployed::randomness();
    DynamoDbStore::connect(settings, table, Retries::default(), randomness)
}
