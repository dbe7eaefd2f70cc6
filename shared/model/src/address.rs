//! Tunnel addresses.
//!
//! One lease gives an index. A device's outer and inner IPv4 addresses are that index in two
//! pools of the same size, and its IPv6 addresses come from its id, so that no counter and no
//! second lease is needed (design, section 5).

use std::net::{Ipv4Addr, Ipv6Addr};

use ipnet::{Ipv4Net, Ipv6Net};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::{DeviceId, Invalid};

/// Indexes at the start of a pool that no device gets: the network address and room for
/// gateways' own addresses.
pub const RESERVED_AT_START: u32 = 16;

/// The position of a device's address in both pools.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug, Serialize, Deserialize)]
#[serde(transparent)]
pub struct LeaseIndex(pub u32);

/// The pools that a network's tunnel addresses come from.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
#[serde(try_from = "RawPools", into = "RawPools")]
pub struct AddressPools {
    outer: Ipv4Net,
    inner: Ipv4Net,
    ula: Ipv6Net,
}

#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct RawPools {
    outer: Ipv4Net,
    inner: Ipv4Net,
    ula: Ipv6Net,
}

impl AddressPools {
    /// Pools of the same size that do not overlap, between /11 and /26, and a /48 of `fd00::/8`
    /// (RFC 4193).
    pub fn new(outer: Ipv4Net, inner: Ipv4Net, ula: Ipv6Net) -> Result<Self, Invalid> {
        let refuse = |why: &str| Err(Invalid::new("address pools", why));
        if outer.prefix_len() != inner.prefix_len() {
            return refuse("the outer and the inner pool must have the same prefix length");
        }
        if !(8..=26).contains(&outer.prefix_len()) {
            return refuse("the prefix length of the IPv4 pools must be from 8 to 26");
        }
        if outer.contains(&inner.network()) || inner.contains(&outer.network()) {
            return refuse("the outer and the inner pool overlap");
        }
        if ula.prefix_len() != 48 || ula.network().octets()[0] != 0xfd {
            return refuse("the IPv6 prefix must be a /48 inside fd00::/8 (RFC 4193)");
        }
        Ok(Self {
            outer: outer.trunc(),
            inner: inner.trunc(),
            ula: ula.trunc(),
        })
    }

    /// The default pools, `100.64.0.0/11` and `100.96.0.0/11` (RFC 6598), with the ULA prefix
    /// made from 5 random bytes.
    pub fn default_with(random: [u8; 5]) -> Self {
        let mut prefix = [0; 16];
        prefix[0] = 0xfd;
        prefix[1..6].copy_from_slice(&random);
        Self {
            outer: Ipv4Net::new_assert(Ipv4Addr::new(100, 64, 0, 0), 11),
            inner: Ipv4Net::new_assert(Ipv4Addr::new(100, 96, 0, 0), 11),
            ula: Ipv6Net::new_assert(Ipv6Addr::from(prefix), 48),
        }
    }

    /// The IPv6 prefix.
    pub fn ula(&self) -> Ipv6Net {
        self.ula
    }

    /// How many indexes a pool has, reserved ones included; a power of two.
    pub fn size(&self) -> u32 {
        1 << (32 - self.outer.prefix_len())
    }

    /// Whether a device may hold `index`: it lies in the pool and is none of the first
    /// [`RESERVED_AT_START`] nor the last (broadcast) one.
    pub fn is_usable(&self, index: LeaseIndex) -> bool {
        (RESERVED_AT_START..self.size() - 1).contains(&index.0)
    }

    /// The four addresses of the device `id` that holds `index`.
    pub fn addresses(&self, id: &DeviceId, index: LeaseIndex) -> Addresses {
        let at = |pool: &Ipv4Net| Ipv4Addr::from(u32::from(pool.network()) + index.0);
        Addresses {
            outer: at(&self.outer),
            inner: at(&self.inner),
            outer6: self.ipv6(id, false),
            inner6: self.ipv6(id, true),
        }
    }

    /// 79 bits of the id's hash behind one bit that tells the two tunnels apart: two devices of
    /// a million share an address with a probability of about 10^-12.
    fn ipv6(&self, id: &DeviceId, inner: bool) -> Ipv6Addr {
        let hash = Sha256::digest(id.as_str().as_bytes());
        let mut octets = self.ula.network().octets();
        octets[6..].copy_from_slice(&hash[..10]);
        octets[6] = (octets[6] & 0x7f) | if inner { 0x80 } else { 0 };
        Ipv6Addr::from(octets)
    }
}

impl TryFrom<RawPools> for AddressPools {
    type Error = Invalid;

    fn try_from(raw: RawPools) -> Result<Self, Invalid> {
        Self::new(raw.outer, raw.inner, raw.ula)
    }
}

impl From<AddressPools> for RawPools {
    fn from(pools: AddressPools) -> Self {
        Self {
            outer: pools.outer,
            inner: pools.inner,
            ula: pools.ula,
        }
    }
}

/// A device's tunnel addresses: the outer tunnel ends at an ingress gateway, the inner one at an
/// egress gateway.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Addresses {
    /// IPv4 of the outer tunnel.
    pub outer: Ipv4Addr,
    /// IPv4 of the inner tunnel.
    pub inner: Ipv4Addr,
    /// IPv6 of the outer tunnel.
    pub outer6: Ipv6Addr,
    /// IPv6 of the inner tunnel.
    pub inner6: Ipv6Addr,
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::IdentityKey;

    fn device(n: u8) -> DeviceId {
        DeviceId::of(&IdentityKey::from_bytes([n; 32]))
    }

    #[test]
    fn an_index_gives_the_same_place_in_both_pools() {
        let pools = AddressPools::default_with([1, 2, 3, 4, 5]);
        let addresses = pools.addresses(&device(1), LeaseIndex(300));
        assert_eq!(addresses.outer, Ipv4Addr::new(100, 64, 1, 44));
        assert_eq!(addresses.inner, Ipv4Addr::new(100, 96, 1, 44));
        assert_ne!(addresses.outer6, addresses.inner6);
        assert_eq!(addresses.outer6.octets()[..6], [0xfd, 1, 2, 3, 4, 5]);
    }

    #[test]
    fn reserved_indexes_and_the_broadcast_address_are_not_usable() {
        let pools = AddressPools::default_with([0; 5]);
        assert!(!pools.is_usable(LeaseIndex(15)));
        assert!(pools.is_usable(LeaseIndex(16)));
        assert!(pools.is_usable(LeaseIndex(pools.size() - 2)));
        assert!(!pools.is_usable(LeaseIndex(pools.size() - 1)));
        assert!(!pools.is_usable(LeaseIndex(pools.size())));
    }

    #[test]
    fn pools_that_overlap_or_differ_in_size_are_refused() {
        let ula = "fd00:1:2::/48".parse().unwrap();
        let pools =
            |a: &str, b: &str| AddressPools::new(a.parse().unwrap(), b.parse().unwrap(), ula);
        assert!(pools("10.0.0.0/24", "10.0.1.0/24").is_ok());
        assert!(pools("10.0.0.0/16", "10.0.1.0/24").is_err());
        assert!(pools("10.0.0.0/24", "10.0.0.0/24").is_err());
    }
}
