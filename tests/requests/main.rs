//! Requests to the three functions that answer people, devices and gateways, good and bad: without a
//! socket, over the finished routers and one store in memory.
//!
//! The promise: whatever is wrong with a request, the answer is a problem (RFC 9457) with the right
//! status, a stable type and a word on what to do, and nothing was written. [`routes`] has a line for
//! every route; what can be wrong with a request to any route is made from such a line. [`refusals`] has
//! what can be wrong with the contents of a certain one.

mod access;
mod any_body;
mod any_route;
mod any_session;
mod any_signature;
mod calls;
mod costs;
mod documented;
#[allow(dead_code, reason = "benches use more of it")]
#[path = "../benches/figures/world.rs"]
mod published;
mod refusals;
mod routes;
mod sealed;
mod stage;
mod unavailable;
mod world;
