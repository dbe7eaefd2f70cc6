//! How many calls of the database a request costs, where nobody contends: on the clouds each is a round
//! trip and has its price.
//!
//! Whoever asks with a session costs one read more, for the session and the admin. Why something costs
//! more than one read and one commit besides is said above its line.

use api::enroll::ENROLL;
use http::Method;

use crate::routes::{Who, table};
use crate::stage::{Calls, Function};
use crate::world::{World, enrollment, signed};

/// The calls of the route that `method` and `path` name, without the session's: reads of items, pages of
/// partitions, commits.
#[rustfmt::skip]
#[allow(clippy::match_same_arms, reason = "a line for each route, where it is looked for")]
fn expected(method: &Method, path: &str) -> Calls {
    let (reads, queries, commits) = match (method.as_str(), path) {
        // The first place that it tries is taken by the device that is there; else it is one commit.
        ("POST", "/v1/enroll") => (1, 0, 2),
        ("GET", "/v1/devices/{id}") => (1, 0, 0),
        ("POST", "/v1/devices/{id}/keys") => (1, 0, 1),
        ("POST", "/v1/gateways/{id}/registration") => (1, 0, 1),
        ("POST", "/v1/gateways/{id}/keys") => (1, 0, 1),
        ("POST", "/v1/gateways/{id}/heartbeat") => (0, 0, 1),
        ("GET", "/v1/gateways/{id}/config") => (0, 1, 0),
        // The versions of all shards, and each of the two that differ here.
        ("POST", "/v1/gateways/{id}/roster") => (1, 3, 0),
        ("POST", "/v1/admin/setup") => (1, 0, 1),
        ("POST", "/v1/admin/challenges") => (1, 0, 1),
        ("POST", "/v1/admin/sessions") => (1, 0, 1),
        ("GET", "/v1/admin/session") => (0, 0, 0),
        ("POST", "/v1/admin/sessions/end") => (0, 0, 1),
        ("GET", "/v1/admin/admins") => (0, 1, 0),
        // Who stays an owner is looked for among all of them.
        ("POST", "/v1/admin/admins" | "/v1/admin/admins/{id}/role" | "/v1/admin/admins/{id}/removal") => (0, 1, 1),
        // The list, and a page of the taken uses of each invite.
        ("GET", "/v1/admin/invites") => (0, 2, 0),
        ("POST", "/v1/admin/invites") => (0, 0, 1),
        ("POST", "/v1/admin/invites/{id}/withdrawal") => (1, 0, 1),
        // Each of the 32 partitions that devices spread over, by hand and in pages of 500.
        ("GET", "/v1/admin/devices") => (0, 32, 0),
        ("POST", "/v1/admin/devices/{id}/revocation" | "/v1/admin/devices/{id}/rotation") => (1, 0, 1),
        // The gateways and their heartbeats.
        ("GET", "/v1/admin/gateways") => (0, 2, 0),
        ("POST", "/v1/admin/gateways") => (0, 0, 1),
        ("POST", "/v1/admin/gateways/{id}/state" | "/v1/admin/gateways/{id}/rotation") => (1, 0, 1),
        ("GET", "/v1/admin/catalog" | "/v1/admin/policy" | "/v1/admin/epochs") => (1, 0, 0),
        ("POST", "/v1/admin/epochs/begin") => (1, 0, 1),
        // Each of the 8 partitions that a day's events spread over.
        ("GET", "/v1/admin/audit") => (0, 8, 0),
        ("PUT", "/v1/admin/policy") => (1, 0, 1),
        // The policy and the device, and then the gateway that was asked about.
        ("POST", "/v1/admin/policy/explanation") => (2, 0, 0),
        ("GET", "/v1/admin/fleet") => (1, 0, 0),
        // The fleet in force and the accepted one, and the modes where there is none.
        ("PUT", "/v1/admin/fleet") => (2, 1, 1),
        ("PUT", "/v1/admin/providers/{id}/mode") => (1, 0, 1),
        ("GET", "/v1/admin/providers") => (0, 1, 0),
        // What may be done there; the rest is the provider's.
        ("POST", "/v1/reconcile/providers/{id}/check") => (1, 0, 0),
        ("GET", "/v1/reconcile/providers/{id}/inventory") => (0, 0, 0),
        // Nodes, pools, gateways, heartbeats; fleet, alarm, modes and rests at once.
        ("POST", "/v1/reconcile/plan") => (1, 4, 0),
        // The same, the lease taken and given back, and the fleet before it.
        ("POST", "/v1/reconcile/providers/{id}/smoke") => (2, 4, 3),
        // The lease, that there is an address, that there is a server; then what it costs, from the fleet and its nodes.
        ("POST", "/v1/reconcile/smoke/{id}" | "/v1/reconcile/runs") => (2, 5, 4),
        // The mode, without which live leftovers stay, and the nodes.
        ("POST", "/v1/cleanup/providers/{id}") => (1, 1, 0),
        other => panic!("say what {other:?} costs"),
    };
    Calls { reads, queries, commits }
}

#[tokio::test]
async fn a_request_costs_the_calls_that_its_line_says() {
    for line in table() {
        let world = World::new().await;
        let request = world.stage.request(&line.good(&world));
        world.stage.take_calls();

        let answer = world.stage.send(line.function, request).await;

        assert!(answer.status.is_success(), "{}", line.name());
        let mut calls = world.stage.take_calls();
        if matches!(line.who, Who::Role(_)) {
            calls.reads -= 1;
        }
        assert_eq!(calls, expected(&line.method, line.path), "{}", line.name());
    }
}

#[tokio::test]
async fn an_enrollment_whose_first_place_is_free_is_one_read_and_one_commit() {
    // Whose first lease and use the device that is there has not taken is found among some.
    for number in 100..110 {
        let world = World::new().await;
        let ask = signed(Function::Enroll, number, ENROLL, &enrollment(number));
        world.stage.take_calls();

        assert!(world.stage.ask(&ask).await.status.is_success());

        let calls = world.stage.take_calls();
        assert_eq!((calls.reads, calls.queries), (1, 0));
        if calls.commits == 1 {
            return;
        }
    }
    panic!("of ten devices none found its first place free");
}
