//! Routes that ask for an admin's session.
//!
//! [`crate::Route::guarded`] puts a check before a route: the token (`Authorization: Bearer …`, RFC 6750) is read,
//! its session and its admin are looked up, and the admin's role is compared with the one that the
//! route needs. Whoever is refused learns nothing of the route: neither its path, its query nor its
//! body is looked at before. [`BySession`] then hands the handler who asks, and is its only
//! extractor besides the state: path, query and body are read from it. A route that takes it and was
//! not guarded answers with an error, so that none can be left open by mistake.

use std::fmt::Display;
use std::str::FromStr;

use api::admins::Token;
use api::{Kind, Problem};
use axum::extract::{FromRequest, Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use axum::routing::MethodRouter;
use control::Moment;
use control::sessions::{self, Asking};
use http::HeaderMap;
use http::header::AUTHORIZATION;
use model::AdminRole;
use serde::de::DeserializeOwned;

use crate::parts::Parts;
use crate::{Edge, Failure};

/// `route`, for admins of `role` and above only.
pub(crate) fn guarded<S>(route: MethodRouter<S>, edge: Edge, role: AdminRole) -> MethodRouter<S>
where
    S: Clone + Send + Sync + 'static,
{
    route.route_layer(middleware::from_fn_with_state((edge, role), check))
}

/// A request whose session was checked: who asks, when it came, and what it says.
pub struct BySession {
    /// Who asks, and their session.
    pub asking: Asking,
    /// The request's moment.
    pub moment: Moment,
    parts: Parts,
}

impl BySession {
    /// The one parameter of the route's path as the type `T`.
    pub fn id<T: FromStr<Err: Display>>(&self) -> Result<T, Failure> {
        self.parts.id()
    }

    /// The query as the type `T`.
    pub fn query<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.parts.query()
    }

    /// Refuses a body other than none or `{}`.
    pub fn nothing(&self) -> Result<(), Failure> {
        self.parts.nothing()
    }

    /// The body as JSON of the type `T`.
    pub fn json<T: DeserializeOwned>(&self) -> Result<T, Failure> {
        self.parts.json()
    }
}

impl<S: Send + Sync> FromRequest<S> for BySession {
    type Rejection = Failure;

    async fn from_request(mut request: Request, state: &S) -> Result<Self, Failure> {
        let Some(Checked { asking, moment }) = request.extensions_mut().remove() else {
            tracing::error!("a route that asks for a session is not guarded");
            let detail = "tell the operator the request's id";
            return Err(Problem::new(Kind::Internal, detail).into());
        };
        let parts = Parts::of(request, state).await?;
        Ok(Self {
            asking,
            moment,
            parts,
        })
    }
}

/// What the check leaves for the handler.
#[derive(Clone)]
struct Checked {
    asking: Asking,
    moment: Moment,
}

async fn check(
    State((edge, role)): State<(Edge, AdminRole)>,
    mut request: Request,
    next: Next,
) -> Result<Response, Failure> {
    let token = token(request.headers())?;
    let moment = edge.clock.moment();
    let asking = sessions::read(&edge.context(moment), &token).await?;
    if asking.admin.role < role {
        let detail = format!(
            "this needs the role '{role}' and {} has '{}': ask an owner",
            asking.admin.id, asking.admin.role
        );
        return Err(Problem::new(Kind::NotAllowed, detail).into());
    }
    request.extensions_mut().insert(Checked { asking, moment });
    Ok(next.run(request).await)
}

fn token(headers: &HeaderMap) -> Result<Token, Problem> {
    let mut values = headers.get_all(AUTHORIZATION).iter();
    let value = match (values.next(), values.next()) {
        (Some(value), None) => value.to_str().ok(),
        _ => None,
    };
    // The scheme's name has no case (RFC 9110, section 11.1).
    let token = value
        .and_then(|value| value.split_once(' '))
        .filter(|(scheme, _)| scheme.eq_ignore_ascii_case("bearer"))
        .and_then(|(_, token)| token.parse().ok());
    token.ok_or_else(|| {
        let detail = "the header 'authorization' must be there exactly once, as \
                      'Bearer <token>' with the token of a login";
        Problem::new(Kind::SessionMissing, detail)
    })
}
