//! `posternctl deploy aws` against a whole AWS on loopback: the real template, the functions' real programs
//! as Lambdas, under their roles. A network is deployed, used, changed, rolled back and removed; each step of
//! that fails once; and each role has what its function calls and nothing more.

mod failures;
mod roles;
mod story;
mod template;
