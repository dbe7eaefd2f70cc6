//! A device's side of the network: find a front door that tells the truth, keep what was
//! verified, choose gateways, write tunnels.
//!
//! Design, section 7. The crate stands on `api`, `tuf` and `rules` and never reaches the control
//! plane's insides.
//!
//! - [`file`], [`device`]: what a device remembers, and how that survives crashes and company;
//! - [`race`], [`doors`], [`sync`]: the hedged fetch of the signed catalog;
//! - [`enroll`], [`contact`], [`rotate`]: a place in the network from an invite, what is new of it
//!   afterwards, and new keys;
//! - [`select`], [`tunnel`], [`reissue`]: which gateways, the WireGuard configs of the two hops, and
//!   those anew when something in them changed;
//! - [`refresh`]: all of that in one go;
//! - `keys`: which keys of sealed slices it keeps, and for how long;
//! - [`standing`]: how long an old catalog serves; [`decisions`]: why what was done was done;
//! - [`verify`]: a repository or a bundle checked offline; [`text`]: remote words on a screen.
//!
//! Decisions are pure ([`rules::ranking`], [`race`], [`select::choose`]). Time comes from a
//! [`Clock`], randomness as bytes, waiting from tokio's clock, which tests can pause.

pub mod clock;
pub mod contact;
pub mod decisions;
pub mod device;
pub mod doors;
pub mod enroll;
pub mod error;
pub mod file;
pub mod gist;
mod keys;
pub mod race;
pub mod refresh;
pub mod reissue;
pub mod rotate;
pub mod select;
pub mod standing;
pub mod status;
pub mod sync;
pub mod text;
pub mod tunnel;
pub mod verify;
pub mod web;
mod witness;

pub use clock::Clock;
pub use device::Device;
pub use error::Error;
pub use file::Locked;
pub use web::Web;

#[cfg(test)]
mod fixture;

/// What every action that talks to the network needs.
#[derive(Clone, Copy)]
pub struct Context<'a> {
    /// The program's one HTTP client.
    pub web: &'a Web,
    /// The time.
    pub clock: &'a dyn Clock,
    /// Limits of waiting.
    pub options: doors::Options,
}
