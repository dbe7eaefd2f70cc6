//! `posternctl deploy aws` against a whole AWS on loopback: the real template, the functions' real programs
//! as Lambdas, under their roles. A network is deployed, used, changed, rolled back and removed; each step of
//! that fails once; each role has what its function calls and nothing more; and what an operator is told to type
//! is typed.

mod failures;
mod roles;
mod story;
mod template;
mod walk;
