//! A function on AWS Lambda.
//!
//! A start reads the settings, and ends the program with all that is wrong with them in the log
//! before anything else: Lambda then says that the function does not start. A setting that is too
//! long for the environment (Lambda allows 4 KB for all variables together) is read from a file of
//! the deployment's package, which `<NAME>_FILE` names, or from a secret that holds several ([`told`]).

mod told;

use std::process::ExitCode;
use std::sync::Arc;

use axum::Router;
use control::Error;
use control::measures::Measured;
use lambda_http::Adapter;
use lambda_http::request::LambdaRequest;
use lambda_runtime::{LambdaEvent, service_fn};
use serde::Serialize;
use serde::de::IgnoredAny;
use serde_json::Value;
use store::dynamodb::Settings;
use store::{DynamoDbStore, PostgresStore, Retries};
use tower::Service;

use crate::Edge;
use crate::deployed::{self, FromSettings, OpenStore};
use crate::measures;
use crate::settings::{Reader, Setting, TABLE, Table};
use told::Told;

/// Answers requests, from a function URL or an HTTP API, as long as Lambda sends some.
pub fn serve(from_settings: FromSettings) -> ExitCode {
    program(async {
        let told = Told::read().await?;
        let router = deployed::function(&told.source(), from_settings, find_store)?;
        lambda_http::run(router).await
    })
}

/// Does `run` at each event of a schedule, with what `from_settings` made. What it gives is the
/// invocation's answer, for its log; an error is an invocation that failed.
#[allow(
    clippy::needless_pass_by_value,
    reason = "it is the program's work, handed over"
)]
pub fn on_schedule<T, R: Serialize + Measured>(
    from_settings: fn(&mut Reader<'_>) -> Option<T>,
    run: impl AsyncFn(&Edge, &T) -> Result<R, Error>,
) -> ExitCode {
    program(async {
        let told = Told::read().await?;
        let (edge, own) = deployed::edge(&told.source(), from_settings, find_store)?;
        let (edge, own, run) = (&edge, &own, &run);
        let at_event = async |_: LambdaEvent<IgnoredAny>| {
            let report = run(edge, own).await.map_err(lambda_runtime::Error::from)?;
            tell(edge, &report)
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
pub fn serve_on_schedule<T, R: Serialize + Measured>(
    from_settings: fn(&mut Reader<'_>) -> Option<T>,
    routes: fn(Edge, &T) -> Router,
    run: impl AsyncFn(&Edge, &T) -> Result<R, Error>,
) -> ExitCode {
    program(async {
        let told = Told::read().await?;
        let (edge, own) = deployed::edge(&told.source(), from_settings, find_store)?;
        let answers = crate::finish(routes(edge.clone(), &own), edge.clone());
        let (edge, own, run, answers) = (&edge, &own, &run, &answers);
        let at_event = async |event: LambdaEvent<Value>| {
            let (payload, context) = event.into_parts();
            if payload.get("requestContext").is_none() {
                let report = run(edge, own).await?;
                return tell(edge, &report);
            }
            let request: LambdaRequest = serde_json::from_value(payload)?;
            let mut http = Adapter::from(answers.clone());
            let answer = http.call(LambdaEvent::new(request, context)).await?;
            Ok(serde_json::to_value(answer)?)
        };
        lambda_runtime::run(service_fn(at_event)).await
    })
}

/// Says what a run did and, in lines that `CloudWatch` makes metrics of, what it measured; the report is also its
/// answer.
fn tell(edge: &Edge, report: &(impl Measured + Serialize)) -> Result<Value, lambda_runtime::Error> {
    let now = edge.clock.moment().now;
    // Lambda's own name for the function, by which the stack's alarms know it.
    let function = std::env::var("AWS_LAMBDA_FUNCTION_NAME").ok();
    let measured = report.measures(now);
    let report = serde_json::to_value(report)?;
    tracing::info!(%report, "done");
    for line in measures::lines(&edge.network.id, function.as_deref(), now, &measured) {
        println!("{line}");
    }
    Ok(report)
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

/// The DynamoDB table, where no other database is named.
const TABLE_ALONE: Setting = Setting {
    name: TABLE.name,
    holds: "the name of the DynamoDB table, 3 to 255 of A-Z a-z 0-9 _ . -, or nothing where \
            POSTERN_DATABASE names a PostgreSQL database",
};
/// A PostgreSQL database instead of a DynamoDB table. Only Lambda's functions read it: a Worker has no
/// sockets of the kind that its client needs.
const DATABASE: Setting = Setting {
    name: "POSTERN_DATABASE",
    holds: "the URL of a PostgreSQL database, postgres://USER:PASSWORD@HOST/DATABASE, without POSTERN_TABLE \
            beside it; or nothing",
};

/// Which database, and how to open it. Nothing is made there: 'posternctl prepare' does that before.
fn find_store(reader: &mut Reader<'_>) -> Option<OpenStore> {
    let has_table = reader.has(TABLE);
    let parse = |url: &str| {
        if has_table {
            return Err(format!("{} is there, too", TABLE.name));
        }
        url.parse::<store::postgres::Settings>()
    };
    if let Some(settings) = reader.optional(DATABASE, parse)? {
        return Some(Box::new(move || {
            let randomness = deployed::randomness();
            let store = PostgresStore::new(settings, Retries::default(), randomness)?;
            Ok(Arc::new(store))
        }));
    }
    let Table { name, access } = Table::read(reader, TABLE_ALONE)?;
    let settings = Settings {
        region: access.region,
        endpoint: access.endpoint,
        access_key_id: access.access_key,
        secret_access_key: access.secret_key,
        session_token: access.session_token,
    };
    Some(Box::new(move || {
        let randomness = deployed::randomness();
        let store = DynamoDbStore::connect(settings, name, Retries::default(), randomness)?;
        Ok(Arc::new(store))
    }))
}
