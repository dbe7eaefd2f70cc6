//! What travels between programs: paths, requests, answers, signatures, problems, and the texts
//! that a person or a cloud-init file carries.
//!
//! A request to the control plane is signed (RFC 9421, [`signed`]) with the caller's Ed25519
//! identity key, and names that key itself: the edge proves possession without a read, and the use
//! case compares the key with its record. Admins sign their logins only, and then show the token of
//! a session ([`admins`]). What devices and gateways ask is besides sealed to the control key
//! ([`sealed`]), so that a CDN which ends TLS learns nothing of it. Every error is a problem (RFC 9457, [`problem`]).

pub mod admin;
pub mod admins;
pub mod contact;
pub mod enroll;
#[cfg(feature = "files")]
pub mod files;
pub mod fleet;
pub mod http;
#[cfg(feature = "http-client")]
pub mod http_client;
pub mod policy;
pub mod problem;
pub mod register;
pub mod roster;
pub mod rotation;
pub mod sealed;
pub mod secret;
pub mod signed;

pub use contact::{BootstrapText, ContactText, InviteText, SetupText};
#[cfg(feature = "http-client")]
pub use http_client::{NoClient, http_client, http_client_at};
pub use problem::{Kind, Problem};
pub use secret::{IdentitySecret, WireGuardSecret};
