//! The client against whole signed repositories, honest and not. Time is a constant.

mod attacks;
mod delegations;
mod limits;
mod repo;
mod rotation;
mod spelling;
mod sync;
mod whole;
