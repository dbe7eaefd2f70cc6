//! The decisions of Postern: pure functions of their inputs and `now`.
//!
//! Nothing here does I/O, reads a clock or draws randomness, so every decision can be replayed,
//! explained and tested by property. What looks random (the order of devices over gateways, jitter)
//! is a hash of who asks and of what is asked about.

pub mod clock;
pub mod costs;
pub mod disclosure;
pub mod epochs;
pub mod health;
pub mod listening;
pub mod listing;
pub mod planning;
pub mod policy;
pub mod probing;
pub mod ranking;
pub mod slices;

use sha2::{Digest, Sha256};

/// The first 64 bits of SHA-256 over the parts, each followed by a zero byte.
pub fn hash64(parts: &[&[u8]]) -> u64 {
    let mut hash = Sha256::new();
    for part in parts {
        hash.update(part);
        hash.update([0]);
    }
    let mut first = [0; 8];
    first.copy_from_slice(&hash.finalize()[..8]);
    u64::from_be_bytes(first)
}
