//! The function `publish`: on a schedule, from the state to signed catalogs on every mirror. It
//! alone holds the online signing keys.
//!
//! The work is [`control::publish`]; here is what a deployment tells it ([`settings`]), and its mirrors: the
//! buckets and folders of [`edge::mirrors`].

#[cfg(not(target_family = "wasm"))]
pub mod native;
pub mod settings;
#[cfg(feature = "workers")]
mod worker;

#[cfg(not(target_family = "wasm"))]
pub use edge::mirrors::Folder;
pub use edge::mirrors::s3;
