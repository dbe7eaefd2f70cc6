//! The signed repository of a network: TUF 1.0 metadata over catalogs, limits, keys and the
//! recovery kit.
//!
//! A front door is a public CDN or bucket that nobody has to trust: whatever it serves is checked
//! here, against a root that came with the first contact. The verification rules themselves (TUF
//! specification, section 5.3 and following) are not written again; they are those of
//! [`sigstore_tuf::TrustedMetadataSet`], a state machine without I/O that passes the official TUF
//! conformance suite. This crate adds what stands around it:
//!
//! - [`crypto`]: the signature algorithms, small enough for a browser and strict;
//! - [`key`], [`envelope`], [`repository`]: the signing side and the layout of the files;
//! - [`authority`], [`ceremony`]: who may sign what, and how that changes;
//! - [`bundle`]: the same signed files in one, so that a sync is one GET;
//! - [`client`]: the client workflow as a state machine that is fed bytes by whoever has them;
//! - [`limits`]: what offline keys allow online keys to say;
//! - [`slices`]: the parts of a catalog that only the holders of a key can read.
//!
//! Nothing in this crate does I/O, reads a clock or draws randomness: time and secrets are passed
//! in. The same code runs in a function, a gateway, a client and a browser.

pub mod authority;
pub mod bundle;
pub mod ceremony;
pub mod client;
pub mod crypto;
pub mod envelope;
mod error;
pub mod key;
#[cfg(feature = "key-files")]
pub mod key_file;
pub mod limits;
pub mod repository;
pub mod slices;

pub use authority::Authority;
pub use bundle::{Bundle, MOST_BUNDLE_BYTES};
pub use client::{
    Cache, LONGEST_LIFE, Next, Source, Start, TrustedState, Unread, Verified, Wanted, Whole,
    Workflow, read_state, verify_bundle, verify_bundle_unread, verify_source, verify_whole,
};
pub use error::{SignError, VerifyError};
pub use key::{PublicKey, SigningKey};
