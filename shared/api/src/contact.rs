//! What people and nodes are handed, as text: `postern://invite/…`, `postern://bootstrap/…`,
//! `postern://setup/…` and `postern://contact/…`.
//!
//! Behind the slash stands base64url of a JSON object: the first contact (network, root pin, front
//! doors, control endpoints) and, but for a contact, a secret. The root is pinned by its SHA-256 and not carried
//! whole, so that an invite fits a QR code that a telephone can read (docs/adr/0002).

use data_encoding::BASE64URL_NOPAD;
use model::{FirstContact, GatewayId, Invalid, InviteId};
use serde::de::DeserializeOwned;
use serde::{Deserialize, Serialize};
use url::{Host, Url};

/// Length of the secrets of invites, bootstrap tokens and setup codes: 128 bits.
pub const SECRET_BYTES: usize = 16;
/// The longest text that is read, in bytes; a real one has some 500.
const MOST_TEXT: usize = 16 * 1024;

const INVITE: &str = "postern://invite/";
const BOOTSTRAP: &str = "postern://bootstrap/";
const SETUP: &str = "postern://setup/";
const CONTACT: &str = "postern://contact/";

/// What an invite's text holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct InviteText {
    /// How to reach and trust the network.
    #[serde(flatten)]
    pub contact: FirstContact,
    /// The right to enroll, base64url.
    #[serde(rename = "s", with = "secret")]
    pub secret: [u8; SECRET_BYTES],
}

impl InviteText {
    /// The invite's id.
    pub fn id(&self) -> InviteId {
        InviteId::of(&self.secret)
    }

    /// Reads the text of an invite; white space around it is allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse("invite", INVITE, text)
    }
}

impl std::fmt::Display for InviteText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write(f, INVITE, self)
    }
}

/// What a gateway's bootstrap token holds.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct BootstrapText {
    /// How to reach and trust the network.
    #[serde(flatten)]
    pub contact: FirstContact,
    /// The gateway that it is for.
    #[serde(rename = "g")]
    pub gateway: GatewayId,
    /// The right to register once, base64url.
    #[serde(rename = "s", with = "secret")]
    pub secret: [u8; SECRET_BYTES],
}

impl BootstrapText {
    /// Reads the text of a bootstrap token; white space around it is allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse("bootstrap token", BOOTSTRAP, text)
    }
}

impl std::fmt::Display for BootstrapText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write(f, BOOTSTRAP, self)
    }
}

/// What a setup code's text holds: the right to become the first owner, once.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
pub struct SetupText {
    /// How to reach and trust the network.
    #[serde(flatten)]
    pub contact: FirstContact,
    /// The right to become the first owner, base64url.
    #[serde(rename = "s", with = "secret")]
    pub secret: [u8; SECRET_BYTES],
}

impl SetupText {
    /// What the control plane knows of the code.
    pub fn hash(&self) -> String {
        model::id::setup_hash(&self.secret)
    }

    /// Reads the text of a setup code; white space around it is allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        parse("setup code", SETUP, text)
    }
}

impl std::fmt::Display for SetupText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write(f, SETUP, self)
    }
}

/// How to reach and trust the network, and no secret: what an admin to be is handed.
#[derive(Clone, PartialEq, Eq, Serialize, Deserialize)]
#[serde(transparent)]
pub struct ContactText {
    /// How to reach and trust the network.
    pub contact: FirstContact,
}

impl ContactText {
    /// Reads the text of a contact, or the contact of a setup code; white space around it is
    /// allowed.
    pub fn parse(text: &str) -> Result<Self, Invalid> {
        if text.trim().starts_with(SETUP) {
            let contact = SetupText::parse(text)?.contact;
            return Ok(Self { contact });
        }
        parse("contact", CONTACT, text)
    }
}

impl std::fmt::Display for ContactText {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        write(f, CONTACT, self)
    }
}

/// Whether nobody on the way reads what is sent to a control endpoint: HTTPS, or this machine
/// itself. What front doors serve is public and signed, so that for them plain HTTP will do.
pub fn is_private(base: &str) -> bool {
    let Ok(url) = Url::parse(base) else {
        return false;
    };
    let loopback = match url.host() {
        Some(Host::Ipv4(address)) => address.is_loopback(),
        Some(Host::Ipv6(address)) => address.is_loopback(),
        Some(Host::Domain(name)) => name == "localhost",
        None => false,
    };
    url.scheme() == "https" || (url.scheme() == "http" && loopback)
}

fn parse<T: DeserializeOwned>(what: &'static str, prefix: &str, text: &str) -> Result<T, Invalid> {
    let text = text.trim();
    if text.len() > MOST_TEXT {
        return Err(Invalid::new(what, "it is too long to be one"));
    }
    let Some(encoded) = text.strip_prefix(prefix) else {
        return Err(Invalid::new(what, format!("it must start with '{prefix}'")));
    };
    let damaged = "it is damaged: copy the whole text again";
    let json = BASE64URL_NOPAD
        .decode(encoded.as_bytes())
        .map_err(|_| Invalid::new(what, damaged))?;
    serde_json::from_slice(&json)
        .map_err(|error| Invalid::new(what, format!("{damaged} ({error})")))
}

fn write(
    f: &mut std::fmt::Formatter<'_>,
    prefix: &str,
    value: &impl Serialize,
) -> std::fmt::Result {
    let json = serde_json::to_vec(value).map_err(|_| std::fmt::Error)?;
    write!(f, "{prefix}{}", BASE64URL_NOPAD.encode(&json))
}

mod secret {
    use data_encoding::BASE64URL_NOPAD;
    use serde::{Deserialize, Deserializer, Serializer, de::Error};

    use super::SECRET_BYTES;

    pub fn serialize<S: Serializer>(
        secret: &[u8; SECRET_BYTES],
        serializer: S,
    ) -> Result<S::Ok, S::Error> {
        serializer.serialize_str(&BASE64URL_NOPAD.encode(secret))
    }

    pub fn deserialize<'de, D: Deserializer<'de>>(
        deserializer: D,
    ) -> Result<[u8; SECRET_BYTES], D::Error> {
        let text = String::deserialize(deserializer)?;
        let bytes = BASE64URL_NOPAD
            .decode(text.as_bytes())
            .map_err(D::Error::custom)?;
        bytes
            .try_into()
            .map_err(|_| D::Error::custom("a secret has 16 bytes"))
    }
}

#[cfg(test)]
mod tests {
    use model::{ControlKey, FrontDoor, RootPin};

    use super::*;

    fn invite() -> InviteText {
        let door = |n| FrontDoor {
            url: format!("https://door-{n}.example.net"),
            fallback: vec!["192.0.2.7".parse().unwrap()],
        };
        InviteText {
            contact: FirstContact {
                network: "n-abcdefgh".parse().unwrap(),
                root: RootPin {
                    version: 1,
                    sha256: "ab".repeat(32),
                },
                front_doors: vec![door(1), door(2), door(3)],
                control: vec!["https://control.example.net".to_owned()],
                control_key: Some(ControlKey::new(1, [9; 32])),
            },
            secret: [7; 16],
        }
    }

    #[test]
    fn an_invite_survives_its_text_and_fits_a_qr_code() {
        let text = invite().to_string();
        assert!(InviteText::parse(&format!("  {text}\n")).unwrap() == invite());
        // A QR code of version 20 with low correction holds 858 bytes (ISO/IEC 18004).
        assert!(text.len() < 858, "{} bytes", text.len());
    }

    #[test]
    fn a_damaged_invite_says_what_to_do() {
        let text = invite().to_string();
        let error = InviteText::parse(&text[..text.len() - 3]).err().unwrap();
        assert!(error.to_string().contains("copy the whole text again"));
        assert!(BootstrapText::parse(&text).is_err());
    }

    #[test]
    fn a_contact_is_read_from_its_own_text_and_from_a_setup_code_and_holds_no_secret() {
        let contact = invite().contact;
        let setup = SetupText {
            contact: contact.clone(),
            secret: [9; 16],
        };
        let shown = ContactText::parse(&setup.to_string()).unwrap();
        assert!(shown.contact == contact);
        assert!(ContactText::parse(&shown.to_string()).unwrap() == shown);
        assert!(SetupText::parse(&setup.to_string()).unwrap() == setup);
        assert!(SetupText::parse(&shown.to_string()).is_err());
        assert!(ContactText::parse(&invite().to_string()).is_err());
    }
}
