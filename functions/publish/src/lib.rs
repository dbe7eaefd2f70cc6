//! The function `publish`: on a schedule, from the state to signed catalogs on every mirror. It
//! alone holds the online signing keys.
//!
//! The work is [`control::publish`]; here is what a deployment tells it ([`settings`]), and the mirror
//! that a plain folder makes, for one machine. A Worker has no folder, and there is no other kind of
//! mirror yet: so there is no Worker of this function.

#[cfg(not(target_family = "wasm"))]
mod folder;
pub mod settings;

#[cfg(not(target_family = "wasm"))]
pub use folder::Folder;
