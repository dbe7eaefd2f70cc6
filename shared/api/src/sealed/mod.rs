//! Sealed requests: what a device or a gateway asks the control plane, and what it is answered, for
//! nobody's eyes but theirs.
//!
//! The control plane is reached through CDNs, which end TLS: without more, each would see invites,
//! keys, addresses and configs, and who asks. So the request that would be sent in the plain, its
//! signature ([`crate::signed`]) included, is written as Binary HTTP (RFC 9292, `binary`) and
//! encapsulated as Oblivious HTTP does it (RFC 9458, section 4, `capsule`) to the control key, which comes
//! with the first contact and with what the offline keys sign. A CDN sees one path for each function,
//! times, and sizes in steps.
//!
//! What an opened answer says was said by whoever holds the control key, to this request: an answer to
//! another one cannot be opened. What is not sealed was said by whoever stands between, and a client
//! that sealed believes none of it: it never sends the same again in the plain.
//!
//! A capsule can be sent twice by whoever saw it. It opens twice to the same request, against which the
//! signature's time and the use cases' own guards hold as ever, and the second answer is sealed to the
//! same asker.

mod binary;
mod capsule;
mod keys;

use http::{HeaderValue, Request, Response, StatusCode};
use model::ControlKey;

use crate::{Kind, Problem};

pub use capsule::Refused;
pub use keys::{ControlSecret, ControlSecrets};

/// `POST`: a sealed request of a device to the function `enroll`.
pub const DEVICES: &str = "/v1/devices/sealed";
/// `POST`: a sealed request of a gateway to the function `register`.
pub const GATEWAYS: &str = "/v1/gateways/sealed";

/// The media type of a sealed request (RFC 9458, section 9.2).
pub const REQUEST: HeaderValue = HeaderValue::from_static("message/ohttp-req");
/// The media type of a sealed answer (RFC 9458, section 9.3).
pub const ANSWER: HeaderValue = HeaderValue::from_static("message/ohttp-res");

/// Bytes that a message may have besides its content: its headers, where it goes. A signed request
/// has some 700 of them.
const MOST_AROUND: usize = 8 * 1024;

/// Why a sealed message cannot be read.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Unreadable {
    /// It was not sealed to whoever opens it, or was changed on the way.
    #[error("it is not sealed for us, or was changed on the way")]
    NotOurs,
    /// It is for us, but what is in it is no HTTP message.
    #[error("what was sealed is no HTTP message")]
    NotHttp,
    /// The control key is none that anything can be sealed to.
    #[error("the control key is none to seal to")]
    Key,
}

/// A request that was sealed.
pub struct Sealed {
    /// What to send, as [`REQUEST`].
    pub capsule: Vec<u8>,
    /// What opens the answer.
    pub opener: Opener,
}

/// Opens the answer to one request, and no other.
pub struct Opener(capsule::Asked);

/// Seals the answer to one request.
pub struct Sealer(capsule::Opened);

/// Seals `request` to `key`. `random` is fresh for each request: of two that were sealed with the
/// same, whoever sees both learns what is in them.
pub fn seal(
    key: &ControlKey,
    request: &Request<Vec<u8>>,
    random: [u8; 32],
) -> Result<Sealed, Unreadable> {
    let message = binary::write_request(request);
    let (capsule, asked) = capsule::seal(key, &message, random).ok_or(Unreadable::Key)?;
    Ok(Sealed {
        capsule,
        opener: Opener(asked),
    })
}

/// Why what came back to a sealed request is not the control plane's word.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
pub enum NotBelieved {
    /// It is not sealed: somebody between answered, or the control plane cannot open what was sent.
    /// Neither can be told from the other, and neither counts.
    #[error("an unsealed answer, which is nobody's word (HTTP status {status}{named})")]
    Unsealed {
        /// Its HTTP status.
        status: StatusCode,
        /// The problem that it says it is, if that is one of ours.
        named: String,
    },
    /// It is sealed, and not to be opened.
    #[error("the answer cannot be opened: {0}")]
    Unreadable(#[from] Unreadable),
}

impl Opener {
    /// The answer, if what came back with this status is the control plane's to this request.
    pub fn believe(
        &self,
        status: StatusCode,
        body: &[u8],
    ) -> Result<Response<Vec<u8>>, NotBelieved> {
        // Whatever was asked, a sealed answer comes with 200 (RFC 9458, section 5).
        if status == StatusCode::OK {
            return Ok(self.open(body)?);
        }
        let said: Option<Problem> = serde_json::from_slice(body).ok();
        let known = Kind::ALL.iter();
        let mut known = known.filter(|kind| said.as_ref().is_some_and(|said| said.is(**kind)));
        let named = known.next().map(|kind| format!(", '{}'", kind.name()));
        Err(NotBelieved::Unsealed {
            status,
            named: named.unwrap_or_default(),
        })
    }

    /// The answer, if it is one to this request.
    pub fn open(&self, answer: &[u8]) -> Result<Response<Vec<u8>>, Unreadable> {
        let message = self.0.open(answer).ok_or(Unreadable::NotOurs)?;
        binary::read_response(&message).ok_or(Unreadable::NotHttp)
    }
}

/// Opens a capsule: what seals the answer, and the request that was in it, if it was one.
pub fn open(
    secrets: &ControlSecrets,
    capsule: &[u8],
) -> Result<(Sealer, Result<Request<Vec<u8>>, Unreadable>), Refused> {
    let (message, opened) = capsule::open(secrets, capsule)?;
    let request = binary::read_request(&message).ok_or(Unreadable::NotHttp);
    Ok((Sealer(opened), request))
}

impl Sealer {
    /// Seals the answer. `random` is fresh for each: a capsule that is sent twice is answered twice
    /// under the same secret.
    pub fn seal(&self, answer: &Response<Vec<u8>>, random: [u8; 32]) -> Vec<u8> {
        self.0.seal(&binary::write_response(answer), random)
    }
}

/// The most bytes of a sealed message whose content has at most `content`.
pub const fn most(content: usize) -> usize {
    binary::padded(content + MOST_AROUND) + capsule::MOST_OVERHEAD
}

#[cfg(test)]
mod tests;
