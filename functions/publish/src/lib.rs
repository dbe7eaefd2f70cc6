//! The function `publish`: on a schedule, from the state to signed catalogs on every mirror. It
//! alone holds the online signing keys.
//!
//! The work is [`control::publish`]; here is what a deployment tells it ([`settings`]), and its mirrors: a
//! [`Bucket`] of object storage, and a plain folder for one machine, which a Worker has not.

mod bucket;
#[cfg(not(target_family = "wasm"))]
mod folder;
#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod s3;
pub mod settings;
#[cfg(feature = "workers")]
mod worker;

pub use bucket::Bucket;
#[cfg(not(target_family = "wasm"))]
pub use folder::Folder;
