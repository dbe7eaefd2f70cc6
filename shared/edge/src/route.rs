//! Tables of routes. A function writes its routes down once, and its router, its list for tests and
//! documentation, and the roles that are asked for are all made of that table: none of them can
//! drift from the others.

use axum::Router;
use axum::handler::Handler;
use axum::routing::{MethodFilter, MethodRouter, on};
use http::Method;
use model::AdminRole;

use crate::Edge;
use crate::session::guarded;

/// A route of a function with the state `S`: what it takes, who may use it, and what handles it.
pub struct Route<S> {
    listed: Listed,
    handler: MethodRouter<S>,
}

/// A route, as it is listed.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Listed {
    /// Its method.
    pub method: Method,
    /// Its path; a parameter stands in braces.
    pub path: &'static str,
    /// The least role that it needs of an admin's session; `None` where a signature is asked for.
    pub role: Option<AdminRole>,
}

impl<S: Clone + Send + Sync + 'static> Route<S> {
    /// A route that asks for a signature: its handler takes [`crate::Signed`].
    pub fn signed<H, T>(method: Method, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        Self::new(method, None, path, handler)
    }

    /// A route that asks for the session of an admin of `role` or above: its handler takes
    /// [`crate::BySession`].
    pub fn guarded<H, T>(method: Method, role: AdminRole, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        Self::new(method, Some(role), path, handler)
    }

    fn new<H, T>(method: Method, role: Option<AdminRole>, path: &'static str, handler: H) -> Self
    where
        H: Handler<T, S>,
        T: 'static,
    {
        let filter = MethodFilter::try_from(method.clone()).expect("a standard method");
        Self {
            listed: Listed { method, path, role },
            handler: on(filter, handler),
        }
    }
}

/// The routes of a table, as they are listed.
pub fn listed<S>(table: Vec<Route<S>>) -> Vec<Listed> {
    table.into_iter().map(|route| route.listed).collect()
}

/// The router of a table. Sessions and roles are checked before a handler runs.
pub fn router<S: Clone + Send + Sync + 'static>(table: Vec<Route<S>>, edge: &Edge) -> Router<S> {
    table.into_iter().fold(Router::new(), |router, route| {
        let handler = match route.listed.role {
            Some(role) => guarded(route.handler, edge.clone(), role),
            None => route.handler,
        };
        router.route(route.listed.path, handler)
    })
}
