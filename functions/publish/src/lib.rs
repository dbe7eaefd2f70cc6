//! The function `publish`: on a schedule, from the state to signed catalogs on every mirror. It
//! alone holds the online signing keys.
//!
//! The work is [`control::publish`]; here is the mirror that a plain folder makes, for one machine.

mod folder;

pub use folder::Folder;
