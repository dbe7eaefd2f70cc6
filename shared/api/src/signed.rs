//! Signed requests: HTTP message signatures (RFC 9421) over content digests (RFC 9530).
//!
//! One profile, without options: a single signature labelled `sig`, made with Ed25519 by the key
//! that `keyid` holds (base64), covering exactly [`COVERED`], with `created` no more than
//! [`WINDOW_SECONDS`] from the server's clock. `@authority` is not covered because a CDN may
//! change it; the network's id, which is, keeps a request from being replayed against another
//! network. What makes a replay within the window harmless is the use case: each either answers
//! the same again or is guarded by a version.

use data_encoding::BASE64;
use http::{HeaderMap, HeaderName, HeaderValue, Method, Uri};
use httpsig::prelude::message_component::{HttpMessageComponent, HttpMessageComponentId};
use httpsig::prelude::{
    HttpSigError, HttpSignatureBase, HttpSignatureHeaders, HttpSignatureParams,
};
use jiff::Timestamp;
use model::{IdentityKey, NetworkId};
use sha2::{Digest, Sha256};

use crate::problem::{Kind, Problem};
use crate::secret::{self, IdentitySecret};

/// How far a signature's `created` may be from the server's clock, in seconds, either way.
pub const WINDOW_SECONDS: i64 = 60;
/// The components that a signature covers, in this order.
pub const COVERED: [&str; 5] = [
    "@method",
    "@path",
    "@query",
    "content-digest",
    "postern-network",
];
/// Which network the request is for.
pub const NETWORK: HeaderName = HeaderName::from_static("postern-network");

const DIGEST: HeaderName = HeaderName::from_static("content-digest");
const SIGNATURE: HeaderName = HeaderName::from_static("signature");
const SIGNATURE_INPUT: HeaderName = HeaderName::from_static("signature-input");
const LABEL: &str = "sig";
const ALGORITHM: &str = "ed25519";

/// The headers that sign a request.
pub fn sign(
    secret: &IdentitySecret,
    network: &NetworkId,
    method: &Method,
    uri: &Uri,
    body: &[u8],
    now: Timestamp,
) -> HeaderMap {
    let mut headers = HeaderMap::new();
    headers.insert(DIGEST, header(&digest(body)));
    headers.insert(NETWORK, header(network.as_str()));
    let params = HttpSignatureParams {
        created: u64::try_from(now.as_second()).ok(),
        alg: Some(ALGORITHM.to_owned()),
        keyid: Some(secret.public().to_string()),
        covered_components: covered(),
        ..HttpSignatureParams::default()
    };
    let base = base(&params, method, uri, &headers).expect("the covered components are constants");
    let signature = BASE64.encode(&secret.sign(&base));
    headers.insert(SIGNATURE_INPUT, header(&format!("{LABEL}={params}")));
    headers.insert(SIGNATURE, header(&format!("{LABEL}=:{signature}:")));
    headers
}

/// Who signed the request, after everything about the signature was checked.
pub fn verify(
    network: &NetworkId,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
    body: &[u8],
    now: Timestamp,
) -> Result<IdentityKey, Problem> {
    let input = single(headers, &SIGNATURE_INPUT)?;
    let signature = single(headers, &SIGNATURE)?;
    let sent_digest = single(headers, &DIGEST)?;
    let sent_network = single(headers, &NETWORK)?;

    let parsed =
        HttpSignatureHeaders::try_parse(signature, input).map_err(|error| unreadable(&error))?;
    let (1, Some(entry)) = (parsed.len(), parsed.get(LABEL)) else {
        return Err(Problem::new(
            Kind::SignatureMissing,
            format!("exactly one signature labelled '{LABEL}' is expected"),
        ));
    };
    let params = entry.signature_params();
    let key = check_params(params, now)?;

    let base = base(params, method, uri, headers).map_err(|error| unreadable(&error))?;
    let bytes = signature_bytes(signature)
        .ok_or_else(|| invalid("it is not base64: sign the request anew"))?;
    if !secret::verify(&key, &base, &bytes) {
        return Err(invalid(
            "it was not made by this key over this request: sign method, path, query, digest and \
             network as they are sent",
        ));
    }
    if sent_digest != digest(body) {
        return Err(invalid(
            "the content digest does not fit the body: sign the bytes that are sent",
        ));
    }
    if sent_network != network.as_str() {
        return Err(Problem::new(
            Kind::WrongNetwork,
            format!(
                "the request is for '{sent_network}', this is '{network}': ask the control endpoints \
                 of the network that it is for"
            ),
        ));
    }
    Ok(key)
}

/// `Content-Digest` of a body (RFC 9530, section 2).
fn digest(body: &[u8]) -> String {
    format!("sha-256=:{}:", BASE64.encode(&Sha256::digest(body)))
}

fn check_params(params: &HttpSignatureParams, now: Timestamp) -> Result<IdentityKey, Problem> {
    if params.covered_components != covered() {
        return Err(Problem::new(
            Kind::SignatureInvalid,
            format!(
                "the signature must cover exactly, in this order: {}",
                COVERED.join(", ")
            ),
        ));
    }
    // `expires` would make the library read the system's clock; the window says the same.
    if params.expires.is_some() || params.alg.as_deref().is_some_and(|alg| alg != ALGORITHM) {
        return Err(invalid(
            "only 'created', 'keyid' and alg=\"ed25519\" are taken: leave the rest out",
        ));
    }
    let created = params
        .created
        .and_then(|created| i64::try_from(created).ok());
    let Some(created) = created else {
        return Err(invalid("'created' is missing: add the time of signing"));
    };
    let off = created.saturating_sub(now.as_second());
    if off.saturating_abs() > WINDOW_SECONDS {
        return Err(Problem::new(
            Kind::SignatureStale,
            format!(
                "the signature's time is {off} seconds from the server's ({now}); \
                 at most {WINDOW_SECONDS} are allowed: set the clock and try again"
            ),
        ));
    }
    let key = params.keyid.as_deref().unwrap_or_default();
    key.parse().map_err(|error| {
        Problem::new(
            Kind::SignatureInvalid,
            format!("'keyid' must be the public key that signs: {error}"),
        )
    })
}

/// The signature base (RFC 9421, section 2.5).
fn base(
    params: &HttpSignatureParams,
    method: &Method,
    uri: &Uri,
    headers: &HeaderMap,
) -> Result<Vec<u8>, HttpSigError> {
    let field = |name: &HeaderName| {
        let value = headers.get(name).and_then(|value| value.to_str().ok());
        value.unwrap_or_default().to_owned()
    };
    let values = [
        method.as_str().to_owned(),
        uri.path().to_owned(),
        format!("?{}", uri.query().unwrap_or_default()),
        field(&DIGEST),
        field(&NETWORK),
    ];
    let lines: Vec<_> = covered()
        .iter()
        .zip(values)
        .map(|(id, value)| HttpMessageComponent::try_from((id, [value].as_slice())))
        .collect::<Result<_, _>>()?;
    Ok(HttpSignatureBase::try_new(&lines, params)?.as_bytes())
}

fn covered() -> Vec<HttpMessageComponentId> {
    COVERED
        .iter()
        .map(|name| HttpMessageComponentId::try_from(*name).expect("a constant, valid name"))
        .collect()
}

/// The bytes of the one signature in the header, which the parser has already accepted.
fn signature_bytes(header: &str) -> Option<Vec<u8>> {
    let encoded = header
        .trim()
        .strip_prefix(LABEL)?
        .strip_prefix("=:")?
        .strip_suffix(':')?;
    BASE64.decode(encoded.as_bytes()).ok()
}

fn single<'a>(headers: &'a HeaderMap, name: &HeaderName) -> Result<&'a str, Problem> {
    let mut values = headers.get_all(name).iter();
    let (Some(value), None) = (values.next(), values.next()) else {
        return Err(Problem::new(
            Kind::SignatureMissing,
            format!("the header '{name}' must be there exactly once: sign the request (RFC 9421)"),
        ));
    };
    value
        .to_str()
        .map_err(|_| invalid(&format!("the header '{name}' must be ASCII")))
}

fn header(value: &str) -> HeaderValue {
    HeaderValue::from_str(value).expect("ids, base64 and structured fields are visible ASCII")
}

fn invalid(why: &str) -> Problem {
    Problem::new(Kind::SignatureInvalid, why)
}

fn unreadable(error: &HttpSigError) -> Problem {
    Problem::new(
        Kind::SignatureInvalid,
        format!("the signature headers cannot be read: {error}. Sign the request anew (RFC 9421)"),
    )
}

#[cfg(test)]
mod tests {
    use proptest::prelude::*;

    use super::*;

    const NOW: Timestamp = Timestamp::constant(1_800_000_000, 0);

    fn network() -> NetworkId {
        "n-abcdefgh".parse().unwrap()
    }

    fn uri() -> Uri {
        "/v1/admin/audit?after=x".parse().unwrap()
    }

    fn signed(body: &[u8]) -> HeaderMap {
        let secret = IdentitySecret::from_seed([1; 32]);
        sign(&secret, &network(), &Method::POST, &uri(), body, NOW)
    }

    fn check(
        headers: &HeaderMap,
        uri: &Uri,
        body: &[u8],
        now: Timestamp,
    ) -> Result<IdentityKey, Problem> {
        verify(&network(), &Method::POST, uri, headers, body, now)
    }

    #[test]
    fn a_signed_request_names_its_signer() {
        let key = check(&signed(b"{}"), &uri(), b"{}", NOW).unwrap();
        assert_eq!(key, IdentitySecret::from_seed([1; 32]).public());
    }

    #[test]
    fn a_change_of_anything_covered_is_refused() {
        let headers = signed(b"{}");
        let other: Uri = "/v1/admin/audit?after=y".parse().unwrap();
        assert!(
            check(&headers, &other, b"{}", NOW)
                .unwrap_err()
                .is(Kind::SignatureInvalid)
        );
        assert!(
            check(&headers, &uri(), b"[]", NOW)
                .unwrap_err()
                .is(Kind::SignatureInvalid)
        );
        let wrong_method = verify(&network(), &Method::GET, &uri(), &headers, b"{}", NOW);
        assert!(wrong_method.unwrap_err().is(Kind::SignatureInvalid));

        let elsewhere: NetworkId = "n-bbbbbbbb".parse().unwrap();
        let wrong_network = verify(&elsewhere, &Method::POST, &uri(), &headers, b"{}", NOW);
        assert!(wrong_network.unwrap_err().is(Kind::WrongNetwork));
    }

    #[test]
    fn a_signature_counts_for_a_minute_either_way() {
        let headers = signed(b"");
        let at = |seconds| Timestamp::from_second(NOW.as_second() + seconds).unwrap();
        assert!(check(&headers, &uri(), b"", at(60)).is_ok());
        assert!(check(&headers, &uri(), b"", at(-60)).is_ok());
        assert!(
            check(&headers, &uri(), b"", at(61))
                .unwrap_err()
                .is(Kind::SignatureStale)
        );
        assert!(
            check(&headers, &uri(), b"", at(-61))
                .unwrap_err()
                .is(Kind::SignatureStale)
        );
    }

    #[test]
    fn fewer_covered_components_or_a_second_signature_are_refused() {
        let mut fewer = signed(b"");
        let input = fewer[SIGNATURE_INPUT]
            .to_str()
            .unwrap()
            .replace(" \"@query\"", "");
        fewer.insert(SIGNATURE_INPUT, header(&input));
        assert!(
            check(&fewer, &uri(), b"", NOW)
                .unwrap_err()
                .is(Kind::SignatureInvalid)
        );

        let mut twice = signed(b"");
        let again = twice[SIGNATURE].clone();
        twice.append(SIGNATURE, again);
        assert!(
            check(&twice, &uri(), b"", NOW)
                .unwrap_err()
                .is(Kind::SignatureMissing)
        );
    }

    proptest! {
        #[test]
        fn whatever_stands_in_the_headers_nobody_else_is_let_in_and_nothing_panics(
            any_input in "(sig[0-9]?=)?[ -~]{0,80}",
            any_signature in "(sig[0-9]?=:)?[ -~]{0,80}:?",
            changed in prop::sample::select(vec![SIGNATURE_INPUT, SIGNATURE, DIGEST, NETWORK]),
            at in any::<prop::sample::Index>(),
            with in "[ -~]{0,3}",
        ) {
            let good = signed(b"{}");
            let mut one_changed = good.clone();
            let mut text = good[&changed].to_str().unwrap().to_owned();
            let at = at.index(text.len());
            text.replace_range(at..=at, &with);
            one_changed.insert(changed, header(&text));

            let mut garbage = good;
            garbage.insert(SIGNATURE_INPUT, header(&any_input));
            let mut both = garbage.clone();
            both.insert(SIGNATURE, header(&any_signature));

            // Another spelling of the same input is as good as it.
            if let Ok(key) = check(&one_changed, &uri(), b"{}", NOW) {
                prop_assert_eq!(key, IdentitySecret::from_seed([1; 32]).public());
            }
            for headers in [garbage, both] {
                let checked = check(&headers, &uri(), b"{}", NOW);
                prop_assert!(checked.is_err());
            }
        }
    }
}
