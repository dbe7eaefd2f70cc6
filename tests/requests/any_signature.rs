//! What can be wrong with the signature of a request to any route that asks for one.

use api::Kind;
use http::{HeaderName, HeaderValue, Method};
use jiff::SignedDuration;
use model::NetworkId;

use crate::routes::{Line, Who, table};
use crate::stage::{Ask, By, Sent, Stage};
use crate::world::{STRANGER, World};

const HEADERS: [&str; 4] = [
    "signature",
    "signature-input",
    "content-digest",
    "postern-network",
];
const SIGN: &str = "must be there exactly once: sign the request";
const ANEW: &str = "sign method, path, query, digest and network as they are sent";

const UNREADABLE: &str = "the signature headers cannot be read";

fn signed() -> impl Iterator<Item = Line> {
    table().into_iter().filter(Line::is_signed)
}

#[tokio::test]
async fn a_request_without_or_with_two_of_the_headers_is_not_signed() {
    let world = World::new().await;
    for line in signed() {
        let good = world.stage.request(&line.good(&world));
        for header in HEADERS {
            let mut without = good.clone();
            without.headers_mut().remove(header);
            let mut twice = good.clone();
            let again = twice.headers()[header].clone();
            twice
                .headers_mut()
                .append(HeaderName::from_static(header), again);
            for request in [without, twice] {
                let expected = (Kind::SignatureMissing, SIGN);
                world
                    .stage
                    .refuses(header, (line.function, request), expected)
                    .await;
            }
        }
    }
}

/// So that a stranger learns nothing of a route's form.
#[tokio::test]
async fn who_signs_nothing_is_refused_before_path_query_and_body_are_read() {
    let world = World::new().await;
    for line in signed() {
        let ask = Ask {
            uri: format!("{}?x=y", line.path.replace("{id}", "%ff")),
            by: By::Nobody,
            body: b"{".to_vec(),
            ..line.good(&world)
        };
        let sent = (line.function, world.stage.request(&ask));
        world
            .stage
            .refuses("unsigned", sent, (Kind::SignatureMissing, SIGN))
            .await;
    }
}

#[tokio::test]
async fn a_request_that_was_changed_after_it_was_signed_is_refused() {
    let world = World::new().await;
    for line in signed() {
        let good = line.good(&world);
        let other = |change: fn(&mut Ask)| {
            let mut ask = good.clone();
            change(&mut ask);
            world.stage.request(&ask)
        };
        let as_sent = |mut request: Sent| {
            *request.uri_mut() = good.uri.parse().unwrap();
            *request.method_mut() = good.method.clone();
            request.body_mut().clone_from(&good.body);
            request
        };
        for (what, signed, says) in [
            ("another path", other(|ask| ask.uri.push('x')), ANEW),
            ("another query", other(|ask| ask.uri.push_str("?x=y")), ANEW),
            (
                "another method",
                other(|ask| ask.method = Method::PATCH),
                ANEW,
            ),
            (
                "another body",
                other(|ask| ask.body.push(b' ')),
                "sign the bytes that are sent",
            ),
        ] {
            let expected = (Kind::SignatureInvalid, says);
            world
                .stage
                .refuses(what, (line.function, as_sent(signed)), expected)
                .await;
        }
        let mut query = world.stage.request(&good);
        *query.uri_mut() = format!("{}?x=y", good.uri).parse().unwrap();
        let expected = (Kind::SignatureInvalid, ANEW);
        world
            .stage
            .refuses("a query more", (line.function, query), expected)
            .await;
    }
}

#[tokio::test]
async fn another_key_s_signature_and_a_stranger_s_own_are_refused() {
    let world = World::new().await;
    for line in signed() {
        let good = line.good(&world);
        let ask = Ask {
            by: By::Key(STRANGER),
            ..good.clone()
        };
        let stranger = world.stage.request(&ask);
        let mut forged = world.stage.request(&good);
        let signature = stranger.headers()["signature"].clone();
        forged.headers_mut().insert("signature", signature);

        let expected = (Kind::SignatureInvalid, "it was not made by this key");
        world
            .stage
            .refuses("forged", (line.function, forged), expected)
            .await;
        if let Who::Key(_, Some(kind)) = line.who {
            let says = match kind {
                Kind::DeviceUnknown => "enroll with an invite",
                Kind::GatewayUnknown => "register with its bootstrap token",
                Kind::NotAllowed => "have an owner add your key",
                _ => "'endorsement' was not made by 'from' over",
            };
            world
                .stage
                .refuses("stranger", (line.function, stranger), (kind, says))
                .await;
        }
    }
}

#[tokio::test]
async fn a_signature_of_another_time_or_network_is_refused() {
    let world = World::new().await;
    let (now, network) = (world.stage.now(), world.stage.network());
    let elsewhere: NetworkId = "n-bbbbbbbb".parse().unwrap();
    for line in signed() {
        let good = line.good(&world);
        for seconds in [-61, 61, -86400, 1_000_000_000] {
            let at = now + SignedDuration::from_secs(seconds);
            let request = Stage::request_of(&good, network, at);
            let expected = (Kind::SignatureStale, "set the clock and try again");
            world
                .stage
                .refuses("time", (line.function, request), expected)
                .await;
        }
        let request = Stage::request_of(&good, &elsewhere, now);
        let expected = (
            Kind::WrongNetwork,
            "ask the control endpoints of the network",
        );
        world
            .stage
            .refuses("network", (line.function, request), expected)
            .await;

        let mut renamed = Stage::request_of(&good, &elsewhere, now);
        let ours = HeaderValue::from_str(network.as_str()).unwrap();
        renamed.headers_mut().insert("postern-network", ours);
        let expected = (Kind::SignatureInvalid, ANEW);
        world
            .stage
            .refuses("network renamed", (line.function, renamed), expected)
            .await;
    }
}

/// A signature that was listened to is of use for a minute, and harmless in it: `any_route` sends every
/// request twice. After it, it is refused.
#[tokio::test]
async fn a_request_that_is_sent_again_after_a_minute_is_refused() {
    for line in signed() {
        let world = World::new().await;
        let request = world.stage.request(&line.good(&world));
        world
            .stage
            .send(line.function, request.clone())
            .await
            .read::<serde_json::Value>();
        world.stage.wait(61);
        let expected = (Kind::SignatureStale, "set the clock and try again");
        world
            .stage
            .refuses("replayed", (line.function, request), expected)
            .await;
    }
}

#[tokio::test]
async fn a_signature_input_of_another_form_is_refused() {
    const COVERS: &str = "the signature must cover exactly, in this order";
    const LEAVE: &str = "leave the rest out";
    const CREATED: &str = "add the time of signing";
    const KEY: &str = "'keyid' must be the public key that signs";
    let world = World::new().await;
    let now = format!("={}", world.stage.now().as_second());
    // What stands in a good one, what stands there instead, what is said to it.
    let changes = [
        (" \"@query\"", "", COVERS),
        ("\"@method\" \"@path\"", "\"@path\" \"@method\"", COVERS),
        ("\"@query\"", "\"@query\" \"@query\"", UNREADABLE),
        ("\"@query\"", "\"@query\";req", COVERS),
        ("ed25519", "hmac-sha256", LEAVE),
        (";alg", ";expires=4000000000;alg", LEAVE),
        (";created", ";made", CREATED),
        (&now, "=\"now\"", CREATED),
        (&now, "=-1", UNREADABLE),
        (&now, "=99999999999999999999", UNREADABLE),
        ("keyid=\"", "keyid=\"x", KEY),
        ("keyid=", "key=", KEY),
        ("sig=", "other=", UNREADABLE),
        ("sig=(", "sig=", UNREADABLE),
        (")", "", UNREADABLE),
    ];
    let whole = [
        ("", UNREADABLE),
        ("sig", UNREADABLE),
        ("sig=()", COVERS),
        ("sig=:AAAA:", UNREADABLE),
    ];
    for line in signed() {
        let good = world.stage.request(&line.good(&world));
        let given = good.headers()["signature-input"].to_str().unwrap();
        let altered = changes.map(|(from, to, says)| (given.replace(from, to), says));
        let whole = whole.map(|(input, says)| (input.to_owned(), says));
        for (input, says) in altered.into_iter().chain(whole) {
            assert_ne!(input, given);
            let request = with_header(&good, "signature-input", input.as_bytes());
            let expected = (Kind::SignatureInvalid, says);
            let sent = (line.function, request);
            world.stage.refuses(&input, sent, expected).await;
        }
    }
}

#[tokio::test]
async fn a_signature_of_another_form_is_refused() {
    let world = World::new().await;
    for line in signed() {
        let good = world.stage.request(&line.good(&world));
        let given = good.headers()["signature"].to_str().unwrap();
        let changed = [
            (String::new(), UNREADABLE),
            ("sig=:AAAA:".to_owned(), ANEW),
            ("sig=:?:".to_owned(), UNREADABLE),
            (given.replace("sig=", "other="), UNREADABLE),
            (format!("{given}, {given}"), "sign the request anew"),
        ];
        let changed = changed.map(|(signature, says)| (signature.into_bytes(), says));
        let not_ascii = (b"sig=:\xff:".to_vec(), "must be ASCII");
        for (signature, says) in changed.into_iter().chain([not_ascii]) {
            let request = with_header(&good, "signature", &signature);
            let what = String::from_utf8_lossy(&signature);
            let expected = (Kind::SignatureInvalid, says);
            let sent = (line.function, request);
            world.stage.refuses(&what, sent, expected).await;
        }
    }
}

#[tokio::test]
async fn a_second_signature_is_refused() {
    let world = World::new().await;
    for line in signed() {
        let mut request = world.stage.request(&line.good(&world));
        for header in ["signature", "signature-input"] {
            let given = request.headers()[header].to_str().unwrap();
            let both = format!("{given}, {}", given.replace("sig=", "sig2="));
            request = with_header(&request, header, both.as_bytes());
        }
        let expected = (
            Kind::SignatureMissing,
            "exactly one signature labelled 'sig'",
        );
        let sent = (line.function, request);
        world.stage.refuses("two signatures", sent, expected).await;
    }
}

fn with_header(request: &Sent, name: &'static str, value: &[u8]) -> Sent {
    let mut request = request.clone();
    let value = HeaderValue::from_bytes(value).unwrap();
    request.headers_mut().insert(name, value);
    request
}
