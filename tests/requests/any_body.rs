//! What can be wrong with the body or the query of a request to any route that its caller may use.

use api::Kind;
use http::Method;
use serde_json::{Map, Value, json};

use crate::routes::{Line, Takes, table};
use crate::stage::Ask;
use crate::world::World;

/// Fields that a request may leave out.
const OPTIONAL: [&str; 5] = ["tags", "note", "through", "to", "protocol"];
const UNREADABLE: (Kind, &str) = (Kind::MalformedRequest, "the body cannot be read: ");

#[tokio::test]
async fn a_body_that_cannot_be_read_is_refused() {
    let world = World::new().await;
    for line in table() {
        if line.method == Method::GET {
            continue;
        }
        for (what, body) in unreadable(&line, &world) {
            refuse(&world, &line, &what, body).await;
        }
    }
}

#[tokio::test]
async fn a_body_that_is_too_large_is_refused() {
    let world = World::new().await;
    for line in table() {
        // White space before an object: of the right form, but for its size.
        let good = line.good(&world);
        let mut body = vec![b' '; edge::MOST_BODY + 1 - good.body.len()];
        body.extend(&good.body);
        let ask = Ask { body, ..good };
        let sent = (line.function, world.stage.request(&ask));
        let expected = (Kind::TooLarge, "at most 65536 bytes are taken: send less");
        world.stage.refuses("size", sent, expected).await;
    }
}

#[tokio::test]
async fn the_largest_body_is_taken() {
    for line in table() {
        let world = World::new().await;
        let good = line.good(&world);
        if good.body.is_empty() {
            continue;
        }
        let mut body = vec![b' '; edge::MOST_BODY - good.body.len()];
        body.extend(&good.body);
        world.stage.ask(&Ask { body, ..good }).await.read::<Value>();
    }
}

/// The queries of lists. A route that reads no query has none that is wrong.
#[tokio::test]
async fn a_query_that_cannot_be_read_is_refused() {
    let long = format!("?after=i-{}", "a".repeat(2000));
    let queries = [
        (
            "/v1/admin/invites",
            &["?after=x", "?after=d-aaaaaaaaaaaaaaaaaaaaaaaaaa", &long][..],
        ),
        (
            "/v1/admin/devices",
            &["?after=x", "?after=i-aaaaaaaaaaaaaaaaaaaaaaaaaa", &long],
        ),
        (
            "/v1/admin/audit",
            &[
                "?day=yesterday",
                "?day=2026-02-30",
                "?day=",
                "?after=x",
                "?day=2026-11-22&day=2026-11-22",
                &long,
            ],
        ),
    ];
    let world = World::new().await;
    for (path, wrong) in queries {
        let any = [
            "?other=1",
            "?after=",
            "?after=%ff",
            "?after=%00",
            "?after=1&after=2",
            "?after",
        ];
        let line = table()
            .into_iter()
            .find(|line| line.path == path && line.method == Method::GET);
        let line = line.unwrap();
        for query in any.iter().chain(wrong) {
            let ask = Ask {
                uri: format!("{path}{query}"),
                ..line.good(&world)
            };
            let sent = (line.function, world.stage.request(&ask));
            let expected = (Kind::MalformedRequest, "the query cannot be read: ");
            world.stage.refuses("query", sent, expected).await;
        }
    }
}

/// All that cannot be read in the place of a route's good body.
fn unreadable(line: &Line, world: &World) -> Vec<(String, Vec<u8>)> {
    let good = line.good(world).body;
    let fields: Map<String, Value> = serde_json::from_slice(&good).unwrap();
    let text = String::from_utf8(good).unwrap();
    let deep = "[".repeat(10_000);
    let mut bodies: Vec<(String, Vec<u8>)> = [
        "{", "null", "[]", "1", "\"text\"", "{}{}", "{'a': 1}", "\0", "{}\0", &deep,
    ]
    .iter()
    .map(|body| ((*body).to_owned(), body.as_bytes().to_vec()))
    .collect();
    bodies.push(("two".to_owned(), format!("{text}{text}").into_bytes()));
    bodies.push(("not UTF-8".to_owned(), b"{\"\xff\": 1}".to_vec()));

    let values: Vec<_> = fields.values().collect();
    bodies.push(("a list".to_owned(), serde_json::to_vec(&values).unwrap()));

    let mut add = |what: String, fields: &Map<String, Value>| {
        bodies.push((what, serde_json::to_vec(fields).unwrap()));
    };
    let mut more = fields.clone();
    more.insert("unheard_of".to_owned(), json!(1));
    add("an unknown field".to_owned(), &more);
    for name in fields.keys() {
        let mut other = fields.clone();
        if !OPTIONAL.contains(&name.as_str()) {
            other.remove(name);
            add(format!("without '{name}'"), &other);
        }
        other.insert(name.clone(), json!({"?": 1}));
        add(format!("another form of '{name}'"), &other);
        other.insert(name.clone(), json!([[]]));
        add(format!("a list as '{name}'"), &other);
    }
    if let (Takes::Body(_), Some((name, value))) = (&line.takes, fields.iter().next()) {
        let twice = format!("{{{}:{value},{}", json!(name), &text[1..]);
        bodies.push((format!("'{name}' twice"), twice.into_bytes()));
        bodies.push(("nothing".to_owned(), Vec::new()));
        bodies.push(("no field".to_owned(), b"{}".to_vec()));
    }
    bodies
}

async fn refuse(world: &World, line: &Line, what: &str, body: Vec<u8>) {
    let ask = Ask {
        body,
        ..line.good(world)
    };
    let sent = (line.function, world.stage.request(&ask));
    world.stage.refuses(what, sent, UNREADABLE).await;
}
