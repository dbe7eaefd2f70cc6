//! What holds of every route: it is in the table, it takes its good request, a copy of that request is
//! harmless, and neither other methods nor other paths reach it.

use std::collections::BTreeSet;

use api::Kind;
use http::Method;
use http::header::ALLOW;

use crate::routes::{Again, Line, Who, table};
use crate::stage::{Ask, By, FUNCTIONS, Function};
use crate::world::World;

const METHODS: [Method; 6] = [
    Method::GET,
    Method::POST,
    Method::PUT,
    Method::PATCH,
    Method::DELETE,
    Method::OPTIONS,
];

#[test]
fn the_table_has_every_route_of_every_function() {
    for function in FUNCTIONS {
        let listed = match function {
            Function::Enroll => enroll::listed(),
            Function::Register => register::listed(),
            Function::Admin => admin::listed(),
            Function::Reconcile => reconcile::listed(),
            Function::Cleanup => cleanup::listed(),
        };
        let listed: BTreeSet<_> = listed
            .iter()
            .map(|route| format!("{} {} {:?}", route.method, route.path, route.role))
            .collect();
        let lines = table().into_iter().filter(|line| line.function == function);
        let tried: BTreeSet<_> = lines
            .map(|line| {
                let role = match line.who {
                    Who::Role(role) => Some(role),
                    Who::Key(..) => None,
                };
                format!("{} {} {role:?}", line.method, line.path)
            })
            .collect();
        assert_eq!(
            tried, listed,
            "add the route to `table` in tests/requests/routes.rs"
        );
    }
}

#[tokio::test]
async fn every_route_takes_its_good_request_and_a_copy_of_it_is_harmless() {
    for line in table() {
        let (world, name) = (World::new().await, line.name());
        let stage = &world.stage;
        let request = stage.request(&line.good(&world));
        let before = stage.dump();

        let first = stage.send(line.function, request.clone()).await;
        first.read::<serde_json::Value>();
        let after = stage.dump();
        assert_eq!(after != before, line.writes, "{name}");

        if let Again::Refused(kind, says) = line.again {
            let sent = (line.function, request);
            stage
                .refuses(&format!("sent twice: {name}"), sent, (kind, says))
                .await;
            continue;
        }
        let second = stage.send(line.function, request).await;
        second.read::<serde_json::Value>();
        let same = second.body == first.body && stage.dump() == after;
        assert_eq!(same, line.again == Again::Same, "{name}");
    }
}

#[tokio::test]
async fn a_method_that_a_path_has_not_is_refused_with_those_that_it_has() {
    let world = World::new().await;
    for line in table() {
        let taken: BTreeSet<_> = table()
            .iter()
            .filter(|other| other.path == line.path)
            .flat_map(|other| with_head(&other.method))
            .collect();
        for method in METHODS {
            if taken.contains(method.as_str()) {
                continue;
            }
            let ask = Ask {
                method,
                ..line.good(&world)
            };
            let sent = (line.function, world.stage.request(&ask));
            let expected = (Kind::MethodNotAllowed, "the header 'allow' says what is");
            let answer = world.stage.refuses("method", sent, expected).await;
            let allowed = answer.headers[ALLOW].to_str().unwrap();
            let allowed: BTreeSet<_> = allowed.split(',').map(str::to_owned).collect();
            assert_eq!(allowed, taken, "{}", line.name());
        }
    }
}

#[tokio::test]
async fn a_path_that_is_none_is_refused() {
    let world = World::new().await;
    for line in table() {
        let good = line.good(&world);
        let (start, end) = good.uri.split_at(4);
        for uri in [
            format!("{}/", good.uri),
            format!("{}/x", good.uri),
            format!("/{}", good.uri),
            // Paths are compared as they are sent: an encoded `v` is another.
            format!("{}{end}", start.replace('v', "%76")),
            good.uri.to_uppercase(),
        ] {
            // Most paths of this form are routes of their own where an id ends the path.
            let ask = Ask {
                uri,
                ..good.clone()
            };
            let sent = (line.function, world.stage.request(&ask));
            let expected = (
                Kind::UnknownRoute,
                "is not a path of this function: check it",
            );
            world.stage.refuses("path", sent, expected).await;
        }
    }
}

#[tokio::test]
async fn a_function_takes_no_route_of_another() {
    let world = World::new().await;
    for line in table() {
        for function in FUNCTIONS
            .into_iter()
            .filter(|other| *other != line.function)
        {
            let sent = (function, world.stage.request(&line.good(&world)));
            let expected = (Kind::UnknownRoute, "which function was asked");
            world.stage.refuses("function", sent, expected).await;
        }
    }
}

#[tokio::test]
async fn an_id_that_cannot_be_read_is_refused() {
    let world = World::new().await;
    for line in table().iter().filter(|line| line.has_id()) {
        let prefix = &line.id[..2];
        // Any word may be a provider's name.
        let is_name = line.path.contains("/providers/");
        for id in [
            "x",
            "%ff",
            "%00",
            "..%2f..%2fetc",
            &line.id.to_uppercase(),
            &format!("{prefix}%00{}", &line.id[3..]),
            &format!("{}%20", line.id),
            &format!("{prefix}{}", "a".repeat(5000)),
        ] {
            if is_name && id == "x" {
                continue;
            }
            let ask = Ask {
                uri: line.path.replace("{id}", id),
                ..line.good(&world)
            };
            let sent = (line.function, world.stage.request(&ask));
            let expected = (
                Kind::MalformedRequest,
                if id == "%ff" {
                    "the path cannot be read"
                } else {
                    "is not valid: "
                },
            );
            world.stage.refuses("id", sent, expected).await;
        }
    }
}

/// An encoded letter of an id is that letter, to whoever signed it as it was sent.
#[tokio::test]
async fn an_encoded_id_names_what_the_plain_one_names() {
    for line in table().iter().filter(|line| line.has_id()) {
        let world = World::new().await;
        let id = line.id.replace('-', "%2D");
        let ask = Ask {
            uri: line.path.replace("{id}", &id),
            ..line.good(&world)
        };
        world.stage.ask(&ask).await.read::<serde_json::Value>();
    }
}

/// RFC 9110, section 9.3.2: whoever refuses one sends no body either.
#[tokio::test]
async fn a_head_request_is_asked_as_its_get_is_and_answered_without_a_body() {
    let world = World::new().await;
    for line in table() {
        for by in [By::Nobody, line.good(&world).by] {
            let signed = by != By::Nobody;
            let ask = Ask {
                method: Method::HEAD,
                by,
                ..line.good(&world)
            };
            let answer = world.stage.ask(&ask).await;
            let has_get = table()
                .iter()
                .any(|other| other.path == line.path && other.method == Method::GET);
            let expected = match (has_get, signed) {
                (true, true) => 200,
                (true, false) => 401,
                (false, _) => 405,
            };
            assert_eq!(answer.status, expected, "{}", line.name());
            assert_eq!(answer.body, b"", "{}", line.name());
        }
    }
}

fn with_head(method: &Method) -> Vec<String> {
    // axum answers `HEAD` where it answers `GET` (RFC 9110, section 9.3.2).
    let head = (*method == Method::GET).then(|| "HEAD".to_owned());
    let method = method.to_string();
    [method].into_iter().chain(head).collect()
}

/// The lines that ask for a session, with the role.
pub fn by_role() -> Vec<(Line, model::AdminRole)> {
    let lines = table().into_iter();
    lines
        .filter_map(|line| match line.who {
            Who::Role(role) => Some((line, role)),
            Who::Key(..) => None,
        })
        .collect()
}
