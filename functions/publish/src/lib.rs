//! The function `publish`: on a schedule, from the state to signed catalogs on every mirror. It
//! alone holds the online signing keys.
//!
//! The work is [`control::publish`]; here is what a deployment tells it ([`settings`]), and its mirrors: a
//! bucket of object storage ([`s3`]), and a plain folder for one machine, which a Worker has not.

#[cfg(not(target_family = "wasm"))]
mod folder;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod s3;
pub mod settings;
#[cfg(feature = "workers")]
mod worker;

#[cfg(not(target_family = "wasm"))]
pub use folder::Folder;
