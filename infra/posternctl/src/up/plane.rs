//! The control plane of `up`: the routes of all functions, made anew when a ceremony has changed what
//! they stand on. Requests that are under way end with the routes that they began with.

use std::convert::Infallible;
use std::sync::Arc;

use axum::Router;
use axum::extract::Request;
use edge::Edge;
use tokio::sync::watch;
use tokio::task::JoinSet;
use tower::ServiceExt as _;

use super::fleet::Rented;
use super::in_force::InForce;
use super::metrics::Gauges;
use crate::data::{Folder, Settings};

/// What is made of what is in force.
type Made = (watch::Receiver<Router>, watch::Receiver<Arc<Rented>>);

/// Makes the routes and what they rent nodes with, now and whenever something else is in force.
pub fn start(
    data: &Folder,
    settings: &Settings,
    edge: &Edge,
    mut in_force: watch::Receiver<Arc<InForce>>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Made> {
    let (data, settings, edge) = (data.clone(), settings.clone(), edge.clone());
    let make = move |given: &InForce| -> anyhow::Result<(Router, Arc<Rented>)> {
        let rented = Rented::open(&data, &settings, &given.offline)?;
        let limits = Arc::new(given.offline.limits.clone());
        let control_keys = data.control_keys()?;
        let config_key = given.config_key.clone();
        let routes = enroll::routes(edge.clone(), control_keys.clone())
            .merge(register::routes(edge.clone(), config_key, control_keys))
            .merge(admin::routes(edge.clone(), settings.setup.clone(), limits))
            .merge(rented.routes(&edge));
        Ok((edge::finish(routes, edge.clone()), Arc::new(rented)))
    };
    let (routes, rented) = make(&in_force.borrow_and_update().clone())?;
    let (tell_routes, told_routes) = watch::channel(routes);
    let (tell_rented, told_rented) = watch::channel(rented);
    let mut stopped = stopped.clone();
    tasks.spawn(async move {
        loop {
            tokio::select! {
                changed = in_force.changed() => if changed.is_err() { return Ok(()) },
                _ = stopped.wait_for(|stopped| *stopped) => return Ok(()),
            }
            let given = in_force.borrow_and_update().clone();
            match make(&given) {
                Ok((routes, rented)) => {
                    tell_routes.send_modify(|present| *present = routes);
                    tell_rented.send_replace(rented);
                }
                Err(error) => tracing::error!("the routes stay as they were: {error:#}"),
            }
        }
    });
    Ok((told_routes, told_rented))
}

/// A router that hands each request to the present routes.
pub fn router(routes: watch::Receiver<Router>, gauges: Gauges) -> Router {
    Router::new().fallback(move |request: Request| {
        let (present, gauges) = (routes.borrow().clone(), gauges.clone());
        async move {
            let path = request.uri().path().to_owned();
            let answer = present.oneshot(request).await?;
            gauges.answered(&path, answer.status());
            Ok::<_, Infallible>(answer)
        }
    })
}
