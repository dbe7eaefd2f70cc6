//! What the tests of the backends share.

pub mod dynamodb;
