//! Messages as Binary HTTP (RFC 9292), of known length, padded.
//!
//! Padding (section 3.8) is to steps, so that a size tells little: nearly all requests and answers are in
//! the first one. A larger answer, a gateway's config or roster, tells how large a network is only by a
//! factor of two, and beyond [`LARGE`] by that much.

use std::io::Cursor;

use bhttp::{Message, Mode};
use http::{HeaderMap, HeaderName, HeaderValue, Method, Request, Response, StatusCode, Uri};

/// The smallest message: a signed request has some 700 bytes, one with two keys' proofs 1,300.
const SMALLEST: usize = 2 * 1024;
/// From here on steps are this large; below, each is twice the one before.
const LARGE: usize = 64 * 1024;

/// The length that a message of `length` is padded to.
pub(super) const fn padded(length: usize) -> usize {
    if length > LARGE {
        return length.div_ceil(LARGE) * LARGE;
    }
    let step = length.next_power_of_two();
    if step < SMALLEST { SMALLEST } else { step }
}

pub(super) fn write_request(request: &Request<Vec<u8>>) -> Vec<u8> {
    let uri = request.uri();
    let text = |text: Option<&str>| text.unwrap_or_default().as_bytes().to_vec();
    let mut message = Message::request(
        request.method().as_str().as_bytes().to_vec(),
        text(Some(uri.scheme_str().unwrap_or("https"))),
        text(uri.authority().map(http::uri::Authority::as_str)),
        text(uri.path_and_query().map(http::uri::PathAndQuery::as_str)),
    );
    write(&mut message, request.headers(), request.body())
}

pub(super) fn write_response(response: &Response<Vec<u8>>) -> Vec<u8> {
    let status = bhttp::StatusCode::try_from(response.status().as_u16());
    let mut message = Message::response(status.expect("both libraries take 100 to 599"));
    write(&mut message, response.headers(), response.body())
}

fn write(message: &mut Message, headers: &HeaderMap, content: &[u8]) -> Vec<u8> {
    for (name, value) in headers {
        message.put_header(name.as_str(), value.as_bytes());
    }
    message.write_content(content);
    let mut bytes = Vec::new();
    let written = message.write_bhttp(Mode::KnownLength, &mut bytes);
    written.expect("a vector takes all that is written");
    bytes.resize(padded(bytes.len()), 0);
    bytes
}

/// The request, if the bytes are one. Where it goes is its path alone: whoever opened it is who it is for.
pub(super) fn read_request(bytes: &[u8]) -> Option<Request<Vec<u8>>> {
    let (message, headers) = read(bytes)?;
    let control = message.control();
    let mut request = Request::new(message.content().to_vec());
    *request.method_mut() = Method::from_bytes(control.method()?).ok()?;
    let path = control.path()?;
    // What begins otherwise would be read as an authority.
    if path.first() != Some(&b'/') {
        return None;
    }
    *request.uri_mut() = Uri::try_from(path).ok()?;
    *request.headers_mut() = headers;
    Some(request)
}

pub(super) fn read_response(bytes: &[u8]) -> Option<Response<Vec<u8>>> {
    let (message, headers) = read(bytes)?;
    let mut response = Response::new(message.content().to_vec());
    let status = message.control().status()?.code();
    *response.status_mut() = StatusCode::from_u16(status).ok()?;
    *response.headers_mut() = headers;
    Some(response)
}

/// A whole message without trailers: nothing of ours has any.
fn read(bytes: &[u8]) -> Option<(Message, HeaderMap)> {
    // The framing indicator: request and response of known length (RFC 9292, section 3.3).
    if !matches!(bytes.first(), Some(0 | 1)) {
        return None;
    }
    let mut reader = Cursor::new(bytes);
    let message = Message::read_bhttp(&mut reader).ok()?;
    let end = usize::try_from(reader.position()).ok()?;
    // Padding is zeros, or the message is malformed (section 3.8).
    if bytes[end..].iter().any(|byte| *byte != 0) || !message.trailer().is_empty() {
        return None;
    }
    let mut headers = HeaderMap::new();
    for field in message.header().fields() {
        let name = HeaderName::from_lowercase(field.name()).ok()?;
        let value = HeaderValue::from_bytes(field.value()).ok()?;
        headers.try_append(name, value).ok()?;
    }
    Some((message, headers))
}

#[cfg(test)]
mod tests;
