use http::StatusCode;

use super::*;

fn secrets() -> ControlSecrets {
    ControlSecrets::default().with_new([7; 32]).unwrap()
}

#[test]
fn a_request_is_answered_under_seal() {
    let request = Request::get("/v1/devices/d-x").body(Vec::new()).unwrap();
    let sealed = seal(&secrets().public()[0], &request, [1; 32]).unwrap();

    let (sealer, opened) = open(&secrets(), &sealed.capsule).unwrap();
    let answer = Response::builder().status(404).body(b"none".to_vec());
    let answer = sealer.seal(&answer.unwrap(), [2; 32]);
    let read = sealed.opener.open(&answer).unwrap();

    assert_eq!(opened.unwrap().uri(), "/v1/devices/d-x");
    assert_eq!(
        (read.status(), &read.body()[..]),
        (StatusCode::NOT_FOUND, &b"none"[..])
    );
}

#[test]
fn what_is_not_sealed_is_believed_by_nobody() {
    let request = Request::get("/v1/devices/d-x").body(Vec::new()).unwrap();
    let Sealed { opener, .. } = seal(&secrets().public()[0], &request, [1; 32]).unwrap();
    let forged = Problem::new(Kind::DeviceRevoked, "go \u{1b}[31m away");
    let forged = serde_json::to_vec(&forged).unwrap();

    let page = opener.believe(StatusCode::BAD_GATEWAY, b"<html>oops</html>");
    let problem = opener.believe(StatusCode::FORBIDDEN, &forged);
    let taken = opener.believe(StatusCode::OK, b"{\"device\": \"d-x\"}");

    let page = page.unwrap_err().to_string();
    assert!(page.ends_with("(HTTP status 502 Bad Gateway)"), "{page}");
    let problem = problem.unwrap_err().to_string();
    assert!(
        problem.ends_with("(HTTP status 403 Forbidden, 'device-revoked')"),
        "{problem}"
    );
    assert_eq!(
        taken.unwrap_err(),
        NotBelieved::Unreadable(Unreadable::NotOurs)
    );
}

#[test]
fn a_capsule_without_a_request_in_it_can_still_be_answered() {
    let (capsule, asked) = capsule::seal(&secrets().public()[0], b"?", [1; 32]).unwrap();

    let (sealer, opened) = open(&secrets(), &capsule).unwrap();
    let answer = sealer.seal(&Response::new(b"what?".to_vec()), [2; 32]);

    assert_eq!(opened.map(drop), Err(Unreadable::NotHttp));
    assert!(Opener(asked).open(&answer).is_ok());
}

#[test]
fn the_most_that_is_taken_holds_the_largest_content() {
    let content = 64 * 1024;
    let request = Request::post("/v1/x").body(vec![b'x'; content]).unwrap();

    let sealed = seal(&secrets().public()[0], &request, [1; 32]).unwrap();

    assert!(sealed.capsule.len() <= most(content));
}
