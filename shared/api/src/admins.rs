//! Admins: their setup, their logins and sessions, and who they are.
//!
//! A login is two requests signed with the admin's key (RFC 9421): one fetches a challenge, the
//! other trades it for a session. All else is asked with that session's token as
//! `Authorization: Bearer <token>` (RFC 6750, section 2.1), which the control plane knows by its
//! hash alone.

use std::fmt;
use std::str::FromStr;

use data_encoding::BASE64URL_NOPAD;
use jiff::Timestamp;
use model::{Admin, AdminId, AdminRole, IdentityKey, Invalid};
use serde::{Deserialize, Serialize};

use crate::enroll::InviteSecret;

/// `POST`, signed by the admin to be: trades the one-time setup code for the role of an owner.
/// Idempotent for the same key.
pub const SETUP: &str = "/v1/admin/setup";
/// `POST`, signed by an admin: a fresh challenge.
pub const CHALLENGES: &str = "/v1/admin/challenges";
/// `POST`, signed by the same admin: trades the challenge for a session.
pub const SESSIONS: &str = "/v1/admin/sessions";
/// `POST` ends the session that asks.
pub const SESSION_END: &str = "/v1/admin/sessions/end";
/// `GET`: whose session asks.
pub const SESSION: &str = "/v1/admin/session";
/// `POST` adds an admin, `GET` lists them.
pub const ADMINS: &str = "/v1/admin/admins";

/// Bytes of a challenge and of a session's secret: 256 bits.
pub const RANDOM_BYTES: usize = 32;

/// `POST`: gives an admin another role.
pub fn role(admin: &AdminId) -> String {
    format!("{ADMINS}/{admin}/role")
}

/// `POST`: removes an admin, for good.
pub fn removal(admin: &AdminId) -> String {
    format!("{ADMINS}/{admin}/removal")
}

/// Makes whoever signs the first owner.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SetupRequest {
    /// The setup code's secret, base64url.
    pub code: InviteSecret,
    /// What the others will call them.
    pub name: String,
}

/// What the next request of a login must show.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct ChallengeAnswer {
    /// 32 random bytes, base64url.
    pub challenge: String,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// Asks for a session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct SessionRequest {
    /// The challenge of the answer before.
    pub challenge: String,
}

/// A session, told once.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionAnswer {
    /// What the following requests show.
    pub token: Token,
    /// Whose session it is.
    pub admin: AdminId,
    /// What they may do at the moment.
    pub role: AdminRole,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// Whose session asked.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct SessionView {
    /// The admin.
    #[serde(flatten)]
    pub admin: Admin,
    /// From when on the session is refused.
    pub expires_at: Timestamp,
}

/// Adds an admin.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct NewAdmin {
    /// The key that they will sign with.
    pub key: IdentityKey,
    /// What the others will call them.
    pub name: String,
    /// What they may do.
    pub role: AdminRole,
}

/// Gives an admin another role.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
pub struct RoleRequest {
    /// What they may do from now on.
    pub role: AdminRole,
}

/// A session's token: `<admin id>.<base64url of 32 bytes>`. It names the admin, so that one read
/// finds both the session and whose it is. `Debug` does not show the secret.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(try_from = "String", into = "String")]
pub struct Token {
    /// Whose session it is.
    pub admin: AdminId,
    /// What only they hold.
    pub secret: [u8; RANDOM_BYTES],
}

impl FromStr for Token {
    type Err = Invalid;

    fn from_str(text: &str) -> Result<Self, Invalid> {
        // The text holds a secret: no error repeats it.
        let form = || Invalid::new("token", "'<admin id>.<32 bytes in base64url>' expected");
        let (admin, secret) = text.split_once('.').ok_or_else(form)?;
        Ok(Self {
            admin: admin.parse().map_err(|_| form())?,
            secret: random_bytes(secret).ok_or_else(form)?,
        })
    }
}

impl fmt::Display for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}.{}", self.admin, BASE64URL_NOPAD.encode(&self.secret))
    }
}

impl fmt::Debug for Token {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Token({}.…)", self.admin)
    }
}

impl TryFrom<String> for Token {
    type Error = Invalid;

    fn try_from(text: String) -> Result<Self, Invalid> {
        text.parse()
    }
}

impl From<Token> for String {
    fn from(token: Token) -> Self {
        token.to_string()
    }
}

/// The 32 bytes of a challenge or a secret, or `None` if the text is no base64url of so many.
pub fn random_bytes(text: &str) -> Option<[u8; RANDOM_BYTES]> {
    let bytes = BASE64URL_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_token_survives_its_text_and_never_shows_in_debug() {
        let token = Token {
            admin: AdminId::of(&IdentityKey::from_bytes([7; 32])),
            secret: [8; 32],
        };
        assert_eq!(token.to_string().parse(), Ok(token.clone()));
        let encoded = BASE64URL_NOPAD.encode(&token.secret);
        assert!(!format!("{token:?}").contains(&encoded));
    }

    #[test]
    fn a_damaged_token_is_refused_without_being_repeated() {
        for text in ["", "a-x.y", "nobody", "a-aaaaaaaaaaaaaaaaaaaaaaaaaa.short"] {
            let error = text.parse::<Token>().unwrap_err();
            assert!(text.is_empty() || !error.to_string().contains(text));
        }
    }
}
