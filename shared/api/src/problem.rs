//! Problem details for HTTP APIs (RFC 9457).
//!
//! Each [`Kind`] has a stable `type`, a status and a title; `detail` says what to do about this
//! one. Clients decide by `type`, never by the texts.

use serde::{Deserialize, Serialize};

/// The media type of a problem.
pub const MEDIA_TYPE: &str = "application/problem+json";
/// What the `type` of all our problems starts with.
pub const TYPE_PREFIX: &str = "urn:postern:problem:";

/// An error as it travels.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize, thiserror::Error)]
#[error("{title}: {detail}")]
pub struct Problem {
    /// [`TYPE_PREFIX`] and the kind's name.
    #[serde(rename = "type")]
    pub type_: String,
    /// What kind of problem it is, in words.
    pub title: String,
    /// The HTTP status.
    pub status: u16,
    /// What happened and what to do.
    pub detail: String,
    /// The id of the request, as in the server's log.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub request_id: Option<String>,
    /// The version to go on from: for [`Kind::HeartbeatOutOfStep`] the one that the next heartbeat
    /// must expect, for [`Kind::PolicyConflict`] the one in force.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub version: Option<u64>,
}

impl Problem {
    /// A problem of `kind`; `detail` says what happened and what to do.
    pub fn new(kind: Kind, detail: impl Into<String>) -> Self {
        let (name, status, title) = kind.facts();
        Self {
            type_: format!("{TYPE_PREFIX}{name}"),
            title: title.to_owned(),
            status,
            detail: detail.into(),
            request_id: None,
            version: None,
        }
    }

    /// Whether this is a problem of `kind`.
    pub fn is(&self, kind: Kind) -> bool {
        self.type_.strip_prefix(TYPE_PREFIX) == Some(kind.name())
    }

    /// Seconds after which trying again may help, for the `Retry-After` header.
    pub fn retry_after(&self) -> Option<u32> {
        matches!(self.status, 429 | 503).then_some(2)
    }
}

macro_rules! kinds {
    ($($(#[$doc:meta])* $kind:ident = $name:literal, $status:literal, $title:literal;)*) => {
        /// The kinds of problems.
        #[derive(Clone, Copy, PartialEq, Eq, Debug)]
        pub enum Kind {
            $($(#[$doc])* $kind,)*
        }

        impl Kind {
            /// Every kind, for documentation and tests.
            pub const ALL: &[Self] = &[$(Self::$kind,)*];

            fn facts(self) -> (&'static str, u16, &'static str) {
                match self {
                    $(Self::$kind => ($name, $status, $title),)*
                }
            }
        }
    };
}

impl Kind {
    /// Its name: the end of the problem's `type`.
    pub fn name(self) -> &'static str {
        self.facts().0
    }
}

kinds! {
    /// The path, the query, a header or the body cannot be read.
    MalformedRequest = "malformed-request", 400, "The request cannot be read";
    /// No route has this path.
    UnknownRoute = "unknown-route", 404, "There is no such route";
    /// The path has routes, but none for this method.
    MethodNotAllowed = "method-not-allowed", 405, "The route does not take this method";
    /// The body is larger than the route takes.
    TooLarge = "too-large", 413, "The body is too large";
    /// The request carries no signature, or not the one asked for.
    SignatureMissing = "signature-missing", 401, "The request is not signed";
    /// The signature or the digest does not fit the request.
    SignatureInvalid = "signature-invalid", 401, "The signature does not fit the request";
    /// The signature was made too long ago, or in the future.
    SignatureStale = "signature-stale", 401, "The signature is not of now";
    /// The request is meant for another network.
    WrongNetwork = "wrong-network", 403, "The request is for another network";
    /// The request was sent in the plain, and the network takes sealed ones alone.
    SealedOnly = "sealed-only", 403, "Requests must be sealed";
    /// The request is sealed to a key that the control plane has not, or no longer.
    SealKeyUnknown = "seal-key-unknown", 400, "The control key is not known";
    /// The sealed request cannot be opened.
    SealBroken = "seal-broken", 400, "The sealed request cannot be opened";
    /// The invite is not known.
    InviteUnknown = "invite-unknown", 403, "The invite is not known";
    /// The invite has expired.
    InviteExpired = "invite-expired", 403, "The invite has expired";
    /// An operator has ended the invite before its time.
    InviteWithdrawn = "invite-withdrawn", 403, "The invite was withdrawn";
    /// All uses of the invite are taken.
    InviteUsedUp = "invite-used-up", 403, "The invite has no uses left";
    /// An invite of this id exists with other terms.
    InviteConflict = "invite-conflict", 409, "The invite exists with other terms";
    /// No free address was found.
    PoolCrowded = "pool-crowded", 503, "No free address was found";
    /// There is no such device.
    DeviceUnknown = "device-unknown", 404, "The device is not known";
    /// The device is shut out.
    DeviceRevoked = "device-revoked", 403, "The device was revoked";
    /// The device is enrolled with other keys.
    DeviceConflict = "device-conflict", 409, "The device is enrolled with other keys";
    /// Another device or gateway holds this key.
    KeyInUse = "key-in-use", 409, "The key is in use";
    /// There is no such gateway.
    GatewayUnknown = "gateway-unknown", 404, "The gateway is not known";
    /// A gateway of this id exists with other terms.
    GatewayConflict = "gateway-conflict", 409, "The gateway exists with other terms";
    /// The gateway's state does not allow this.
    GatewayState = "gateway-state", 409, "The gateway's state does not allow this";
    /// The bootstrap token is wrong, used or expired.
    BootstrapRefused = "bootstrap-refused", 403, "The bootstrap token is refused";
    /// The policy breaks a rule of its form.
    PolicyInvalid = "policy-invalid", 422, "The policy is not valid";
    /// Another policy was applied meanwhile.
    PolicyConflict = "policy-conflict", 409, "Another policy was applied meanwhile";
    /// The fleet breaks a rule of its form.
    FleetInvalid = "fleet-invalid", 422, "The fleet is not valid";
    /// Another fleet was applied meanwhile.
    FleetConflict = "fleet-conflict", 409, "Another fleet was applied meanwhile";
    /// What would be done now is not the plan that was shown.
    PlanChanged = "plan-changed", 409, "The plan is another one now";
    /// The plan needs a decision first: an approval, more money, another size.
    PlanRefused = "plan-refused", 409, "The plan cannot be applied as it is";
    /// The provider's mode does not allow this.
    ProviderMode = "provider-mode", 409, "The provider's mode does not allow this";
    /// The control plane has no credential of this provider.
    ProviderUnknown = "provider-unknown", 404, "The provider is not set up";
    /// The provider did not do what it was asked for.
    ProviderFailed = "provider-failed", 502, "The provider did not do it";
    /// The heartbeat does not follow the last one.
    HeartbeatOutOfStep = "heartbeat-out-of-step", 409, "The heartbeat does not follow the last one";
    /// The key or the role of whoever asks has no right to this.
    NotAllowed = "not-allowed", 403, "There is no right to this";
    /// The setup code is wrong, used or expired.
    SetupRefused = "setup-refused", 403, "The setup code is refused";
    /// The challenge of a login is unknown, used, expired or another's.
    ChallengeRefused = "challenge-refused", 403, "The challenge is refused";
    /// The request carries no session's token.
    SessionMissing = "session-missing", 401, "The request has no session";
    /// The session has ended, or there never was one.
    SessionEnded = "session-ended", 401, "The session has ended";
    /// There is no such admin.
    AdminUnknown = "admin-unknown", 404, "The admin is not known";
    /// The key is an admin's with other terms, or of one who was removed.
    AdminConflict = "admin-conflict", 409, "The key is an admin's with other terms";
    /// Without this owner nobody could change the admins any more.
    LastOwner = "last-owner", 409, "The last owner must stay";
    /// There is no catalog yet.
    NothingPublished = "nothing-published", 404, "Nothing was published yet";
    /// Others changed the same thing again and again.
    Contended = "contended", 503, "Too many changed the same thing at once";
    /// The database cannot be reached.
    StoreUnavailable = "store-unavailable", 503, "The database is unavailable";
    /// The database refuses the control plane: its place, credentials or rights are wrong.
    StoreMisconfigured = "store-misconfigured", 500, "The database is not set up for this";
    /// A newer release has written what this asks for than the one that answers.
    BeingUpdated = "being-updated", 503, "The control plane is being updated";
    /// Something is broken on the server.
    Internal = "internal", 500, "The control plane failed";
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn every_kind_has_a_name_of_its_own() {
        let mut names: Vec<_> = Kind::ALL.iter().map(|kind| kind.name()).collect();
        names.sort_unstable();
        names.dedup();
        assert_eq!(names.len(), Kind::ALL.len());
    }

    #[test]
    fn a_problem_is_of_its_kind_after_a_journey() {
        let sent = Problem::new(Kind::InviteUsedUp, "ask for another");
        let json = serde_json::to_string(&sent).unwrap();
        let received: Problem = serde_json::from_str(&json).unwrap();
        assert!(received.is(Kind::InviteUsedUp) && !received.is(Kind::InviteUnknown));
    }
}
