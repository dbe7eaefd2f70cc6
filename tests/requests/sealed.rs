//! The sealed routes: every route of their functions works through them as in the plain, and whatever
//! can be wrong with a capsule is refused.

use api::sealed::{self, ControlSecrets, DEVICES, GATEWAYS, Opener, Sealed};
use api::{Kind, Problem};
use http::header::CONTENT_TYPE;
use http::{Method, Request, Response, StatusCode};
use serde_json::Value;

use crate::refusals::refusals;
use crate::routes::{Again, Line, table};
use crate::stage::{Answer, Ask, By, Function, Sent, Stage, control_secrets};
use crate::world::World;

/// The lines of the functions that have a sealed route.
fn lines() -> Vec<Line> {
    let lines = table().into_iter();
    lines
        .filter(|line| route(line.function).is_some())
        .collect()
}

fn route(function: Function) -> Option<&'static str> {
    match function {
        Function::Enroll => Some(DEVICES),
        Function::Register => Some(GATEWAYS),
        Function::Admin | Function::Reconcile | Function::Cleanup => None,
    }
}

/// A capsule with `request` in it, on its way to `function`, and what opens the answer. Each is made with
/// other randomness.
fn wrap(function: Function, request: &Sent) -> (Sent, Opener) {
    use std::sync::atomic::{AtomicU8, Ordering};
    static DRAWN: AtomicU8 = AtomicU8::new(0);
    let random = [DRAWN.fetch_add(1, Ordering::Relaxed); 32];
    let Sealed { capsule, opener } =
        sealed::seal(&control_secrets().public()[0], request, random).unwrap();
    (carry(function, capsule), opener)
}

fn carry(function: Function, capsule: Vec<u8>) -> Sent {
    Request::post(route(function).unwrap())
        .header(CONTENT_TYPE, sealed::REQUEST)
        .body(capsule)
        .unwrap()
}

/// Sends `request` under seal; the sealed answer, as one that came in the plain.
async fn send(stage: &Stage, function: Function, request: &Sent) -> Answer {
    let (carried, opener) = wrap(function, request);
    let answer = stage.send(function, carried).await;
    open(&answer, &opener)
}

fn open(answer: &Answer, opener: &Opener) -> Answer {
    let text = String::from_utf8_lossy(&answer.body);
    assert_eq!(answer.status, StatusCode::OK, "{text}");
    assert_eq!(answer.headers[CONTENT_TYPE], sealed::ANSWER);
    let opened: Response<Vec<u8>> = opener.open(&answer.body).unwrap();
    let (parts, body) = opened.into_parts();
    Answer {
        status: parts.status,
        headers: parts.headers,
        body,
    }
}

/// That a capsule is refused in the plain, with nothing written.
async fn refuses(world: &World, what: &str, capsule: Vec<u8>, expected: (Kind, &str)) {
    for function in [Function::Enroll, Function::Register] {
        let sent = (function, carry(function, capsule.clone()));
        world.stage.refuses(what, sent, expected).await;
    }
}

const BROKEN: (Kind, &str) = (Kind::SealBroken, "seal the request anew (RFC 9458)");

fn good(world: &World) -> (Function, Sent) {
    let line = lines().into_iter().find(|line| line.method == Method::GET);
    let line = line.unwrap();
    (line.function, world.stage.request(&line.good(world)))
}

#[tokio::test]
async fn every_route_takes_its_good_request_sealed_and_answers_as_in_the_plain() {
    for line in lines() {
        let (world, plain) = (World::new().await, World::new().await);
        let request = world.stage.request(&line.good(&world));
        let expected = plain.stage.send(line.function, request.clone()).await;

        let answer = send(&world.stage, line.function, &request).await;

        let name = line.name();
        assert_eq!(answer.read::<Value>(), expected.read::<Value>(), "{name}");
        assert_eq!(answer.headers[CONTENT_TYPE], expected.headers[CONTENT_TYPE]);
        assert_ne!(answer.headers.get("x-request-id"), None);
    }
}

/// Another capsule with the same request, and the same capsule again.
#[tokio::test]
async fn a_capsule_that_is_sent_twice_does_no_more_than_its_request_would() {
    for line in lines() {
        let world = World::new().await;
        let request = world.stage.request(&line.good(&world));
        let (carried, opener) = wrap(line.function, &request);
        let first = world.stage.send(line.function, carried.clone()).await;
        let after = world.stage.dump();

        let again = world.stage.send(line.function, carried).await;

        assert_eq!(line.again, Again::Same, "{}", line.name());
        assert_ne!(first.body, again.body, "sealed anew");
        let (first, again) = (open(&first, &opener), open(&again, &opener));
        assert_eq!(first.read::<Value>(), again.read::<Value>());
        assert_eq!(world.stage.dump(), after, "{}", line.name());
    }
}

#[tokio::test]
async fn a_capsule_is_of_no_use_after_its_signature_s_minute() {
    let world = World::new().await;
    let (function, request) = good(&world);
    let (carried, opener) = wrap(function, &request);
    world.stage.wait(61);

    let answer = world.stage.send(function, carried).await;

    let problem = open(&answer, &opener).problem("a replay");
    assert!(problem.is(Kind::SignatureStale), "{problem}");
}

#[tokio::test]
async fn what_is_refused_in_the_plain_is_refused_under_seal() {
    let mut tried = 0;
    for refusal in refusals(&World::new().await) {
        let Some(ask) = refusal.alone().filter(|ask| route(ask.function).is_some()) else {
            continue;
        };
        let kind = refusal.kind;
        let world = World::new().await;
        let before = world.stage.dump();

        let answer = send(&world.stage, ask.function, &world.stage.request(ask)).await;

        let problem = answer.problem("sealed");
        assert!(problem.is(kind), "{problem} is not {kind:?}");
        assert_eq!(answer.status.as_u16(), problem.status);
        assert_eq!(world.stage.dump(), before);
        tried += 1;
    }
    assert!(tried > 30, "{tried}");
}

#[tokio::test]
async fn a_capsule_that_was_changed_anywhere_or_cut_is_refused_alike() {
    let world = World::new().await;
    let (function, request) = good(&world);
    let capsule = wrap(function, &request).0.into_body();
    // The KEM, the KDF, the AEAD, the encapsulated key, what is sealed, its tag.
    let last = capsule.len() - 1;
    let places = [1, 2, 3, 4, 5, 6, 7, 20, 38, 39, 100, last - 16, last];
    for place in places {
        let mut changed = capsule.clone();
        changed[place] ^= 0x41;
        refuses(&world, &format!("byte {place}"), changed, BROKEN).await;
    }
    for length in [0, 1, 6, 7, 38, 39, 54, 55, last] {
        let cut = capsule[..length].to_vec();
        refuses(&world, &format!("{length} bytes"), cut, BROKEN).await;
    }
    let longer = [&capsule[..], &[0]].concat();
    refuses(&world, "a byte more", longer, BROKEN).await;
    // An encapsulated key of small order: every secret is the same with it.
    let mut small = capsule;
    small[7..39].fill(0);
    refuses(&world, "small order", small, BROKEN).await;
}

#[tokio::test]
async fn a_capsule_to_an_unknown_key_says_which_to_take() {
    let world = World::new().await;
    let (function, request) = good(&world);
    let capsule = wrap(function, &request).0.into_body();
    let known: Vec<u8> = control_secrets()
        .public()
        .iter()
        .map(model::ControlKey::id)
        .collect();
    let expected = (
        Kind::SealKeyUnknown,
        "seal to the one that the recovery kit or a new invite names",
    );
    for id in (0..=255).filter(|id| !known.contains(id)) {
        let mut other = capsule.clone();
        other[0] = id;
        refuses(&world, "key", other, expected).await;
    }
    // A key of before is taken as the one of now is; its number with another key is not.
    let before = control_secrets().public()[1];
    let sealed = sealed::seal(&before, &request, [9; 32]).unwrap();
    let answer = world
        .stage
        .send(function, carry(function, sealed.capsule))
        .await;
    open(&answer, &sealed.opener).read::<Value>();
    let foreign = ControlSecrets::default()
        .with_new([77; 32])
        .unwrap()
        .public()[0];
    assert!(known.contains(&foreign.id()));
    let sealed = sealed::seal(&foreign, &request, [9; 32]).unwrap();
    refuses(&world, "another network's key", sealed.capsule, BROKEN).await;
}

#[tokio::test]
async fn a_capsule_that_is_too_large_is_refused_and_the_largest_body_is_taken_or_not_as_in_the_plain()
 {
    let world = World::new().await;
    let most = sealed::most(edge::MOST_BODY);
    let expected = (Kind::TooLarge, "send less at once");
    refuses(&world, "size", vec![0; most + 1], expected).await;
    refuses(
        &world,
        "of the largest size",
        vec![0; most],
        (Kind::SealKeyUnknown, "0"),
    )
    .await;

    for line in lines()
        .into_iter()
        .filter(|line| line.method != Method::GET)
    {
        let world = World::new().await;
        let good = line.good(&world);
        let padded = |length: usize| {
            let mut body = vec![b' '; length - good.body.len()];
            body.extend(&good.body);
            world.stage.request(&Ask {
                body,
                ..good.clone()
            })
        };
        let larger = send(&world.stage, line.function, &padded(edge::MOST_BODY + 1)).await;
        assert!(
            larger.problem("too large").is(Kind::TooLarge),
            "{}",
            line.name()
        );
        let largest = send(&world.stage, line.function, &padded(edge::MOST_BODY)).await;
        largest.read::<Value>();
    }
}

#[tokio::test]
async fn what_is_in_a_capsule_meets_the_same_checks() {
    let world = World::new().await;
    let (function, request) = good(&world);
    let other = match function {
        Function::Enroll => Function::Register,
        _ => Function::Enroll,
    };
    let problem = async |function: Function, request: &Sent| -> Problem {
        let before = world.stage.dump();
        let answer = send(&world.stage, function, request).await;
        assert_eq!(world.stage.dump(), before);
        answer.problem("in a capsule")
    };

    let unsigned = Request::get(request.uri()).body(Vec::new()).unwrap();
    assert!(
        problem(function, &unsigned)
            .await
            .is(Kind::SignatureMissing)
    );
    let line = lines()
        .into_iter()
        .find(|line| line.method == Method::GET)
        .unwrap();
    let elsewhere = model::NetworkId::from_random([8; 5]);
    let foreign = Stage::request_of(&line.good(&world), &elsewhere, world.stage.now());
    assert!(problem(function, &foreign).await.is(Kind::WrongNetwork));
    assert!(problem(other, &request).await.is(Kind::UnknownRoute));
    let (nested, _) = wrap(function, &request);
    let nested = problem(function, &nested).await;
    assert!(nested.status == 404 || nested.status == 405, "{nested}");
    let mut tampered = request.clone();
    *tampered.uri_mut() = format!("{}?a=b", request.uri()).parse().unwrap();
    assert!(
        problem(function, &tampered)
            .await
            .is(Kind::SignatureInvalid)
    );
}

/// Messages for no route that there could be, sealed rightly: the answer is sealed, too.
#[tokio::test]
async fn what_is_no_request_is_refused_under_seal() {
    let world = World::new().await;
    for uri in ["*", "example.com:443"] {
        let request = Request::options(uri).body(Vec::new()).unwrap();

        let answer = send(&world.stage, Function::Enroll, &request).await;

        let problem = answer.problem(uri);
        assert!(problem.is(Kind::MalformedRequest), "{problem}");
        assert!(problem.detail.contains("seal it anew"), "{problem}");
    }
}

#[tokio::test]
async fn the_answer_to_one_request_opens_for_no_other() {
    let world = World::new().await;
    let (function, request) = good(&world);
    let (one, opens_one) = wrap(function, &request);
    let (other, opens_other) = wrap(function, &request);

    let one = world.stage.send(function, one).await;
    let other = world.stage.send(function, other).await;

    assert!(opens_one.open(&other.body).is_err() && opens_other.open(&one.body).is_err());
    open(&one, &opens_one).read::<Value>();
    open(&other, &opens_other).read::<Value>();
}

#[tokio::test]
async fn other_methods_of_the_sealed_route_are_refused() {
    let world = World::new().await;
    for function in [Function::Enroll, Function::Register] {
        let ask = Ask {
            function,
            method: Method::PUT,
            uri: route(function).unwrap().to_owned(),
            by: By::Nobody,
            body: Vec::new(),
        };
        let expected = (Kind::MethodNotAllowed, "the header 'allow' says what is");
        let sent = (function, world.stage.request(&ask));
        world.stage.refuses("method", sent, expected).await;
    }
}

#[tokio::test]
async fn a_network_that_takes_sealed_requests_alone_refuses_the_same_in_the_plain() {
    let expected = (Kind::SealedOnly, "the recovery kit names");
    for line in lines() {
        let mut world = World::new().await;
        world.stage.take_sealed_only();
        let request = world.stage.request(&line.good(&world));
        let sent = (line.function, request.clone());
        world.stage.refuses("in the plain", sent, expected).await;

        let before = world.stage.dump();
        send(&world.stage, line.function, &request)
            .await
            .read::<Value>();
        assert_eq!(world.stage.dump() != before, line.writes, "{}", line.name());
    }
}
