use data_encoding::HEXLOWER;
use proptest::prelude::*;

use super::*;

fn request() -> Request<Vec<u8>> {
    Request::post("https://control.example.net/v1/enroll?a=b")
        .header("signature", "sig=:AA==:")
        .header("x-twice", "one")
        .header("x-twice", "two")
        .body(b"{}".to_vec())
        .unwrap()
}

#[test]
fn a_request_comes_back_as_it_was_but_for_where_it_was_sent() {
    let read = read_request(&write_request(&request())).unwrap();

    assert_eq!(read.method(), request().method());
    assert_eq!(read.uri(), "/v1/enroll?a=b");
    assert_eq!(read.headers(), request().headers());
    assert_eq!(read.body(), request().body());
}

#[test]
fn a_response_comes_back_as_it_was() {
    let response = Response::builder()
        .status(403)
        .header("content-type", "application/problem+json")
        .body(b"{\"status\": 403}".to_vec())
        .unwrap();

    let read = read_response(&write_response(&response)).unwrap();

    assert_eq!(read.status(), 403);
    assert_eq!(read.headers(), response.headers());
    assert_eq!(read.body(), response.body());
}

/// RFC 9458, appendix A: a request without headers and content, its end left out (RFC 9292, section
/// 3.8).
#[test]
fn the_messages_of_rfc_9458_appendix_a_are_read() {
    let hex = |text: &str| HEXLOWER.decode(text.as_bytes()).unwrap();
    let request = read_request(&hex("00034745540568747470730b6578616d706c652e636f6d012f"));
    let response = read_response(&hex("0140c8"));

    let request = request.unwrap();
    assert_eq!(
        (request.method(), request.uri().path()),
        (&Method::GET, "/")
    );
    assert_eq!(response.unwrap().status(), 200);
}

#[test]
fn sizes_come_in_few_steps() {
    let steps: std::collections::BTreeSet<_> = (0..300_000).step_by(7).map(padded).collect();
    let steps: Vec<_> = steps.into_iter().map(|step| step / 1024).collect();
    assert_eq!(steps, [2, 4, 8, 16, 32, 64, 128, 192, 256, 320]);
    for length in [0, 1, 2047, 2048, 2049, 65_536, 65_537, 1_000_000] {
        assert!(padded(length) >= length, "{length}");
    }
    assert_eq!(write_request(&request()).len(), SMALLEST);
}

#[test]
fn what_is_no_whole_message_of_its_kind_is_none() {
    let good = write_request(&request());
    let end = good.iter().rposition(|byte| *byte != 0).unwrap();

    let mut in_padding = good.clone();
    in_padding[end + 3] = 1;
    assert_eq!(read_request(&in_padding).map(drop), None);
    // What is cut off is missed, or was an end that may be left out (RFC 9292, section 3.8).
    for length in 0..end {
        let read = read_request(&good[..length]);
        assert!(
            read.is_none_or(|request| request.body().is_empty()),
            "{length}"
        );
    }
    assert!(read_response(&good).is_none(), "a request is no response");
    for framing in [2, 3, 4, 0xc0] {
        let mut other = good.clone();
        other[0] = framing;
        assert!(read_request(&other).is_none(), "{framing}");
    }
    for path in ["", "x", "*", "//[", "https://other/"] {
        let mut message = Message::request(b"GET".to_vec(), vec![], vec![], path.into());
        let bytes = write(&mut message, &HeaderMap::new(), b"");
        assert!(
            read_request(&bytes).is_none_or(|request| request.uri().path().starts_with('/')),
            "{path}"
        );
    }
    let mut upper = Message::request(b"GET".to_vec(), vec![], vec![], b"/".to_vec());
    upper.put_header("Upper", "x");
    assert!(read_request(&write(&mut upper, &HeaderMap::new(), b"")).is_none());
}

proptest! {
    #[test]
    fn no_bytes_make_reading_panic(bytes in proptest::collection::vec(any::<u8>(), 0..400)) {
        let _ = (read_request(&bytes), read_response(&bytes));
        let request = [&[0][..], &bytes].concat();
        let _ = read_request(&request);
    }

    #[test]
    fn any_content_comes_back_whole(content in proptest::collection::vec(any::<u8>(), 0..5000)) {
        let mut sent = request();
        *sent.body_mut() = content.clone();
        let read = read_request(&write_request(&sent)).unwrap();
        prop_assert_eq!(read.body(), &content);
    }
}
