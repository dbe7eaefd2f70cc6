//! The hashes of AWS's signatures (Signature Version 4), by `RustCrypto`.

use hmac::{Hmac, KeyInit as _, Mac as _};
use object_store::client::{
    CryptoProvider, DigestAlgorithm, DigestContext, HmacContext, Signer, SigningAlgorithm,
};
use object_store::{Error, Result};
use sha2::{Digest as _, Sha256};

#[derive(Debug)]
pub(super) struct RustCrypto;

impl CryptoProvider for RustCrypto {
    fn digest(&self, algorithm: DigestAlgorithm) -> Result<Box<dyn DigestContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Hash::default())),
            other => Err(unsupported(&other)),
        }
    }

    fn hmac(&self, algorithm: DigestAlgorithm, secret: &[u8]) -> Result<Box<dyn HmacContext>> {
        match algorithm {
            DigestAlgorithm::Sha256 => Ok(Box::new(Keyed {
                mac: Hmac::new_from_slice(secret).expect("a key of HMAC has any length"),
                done: [0; 32],
            })),
            other => Err(unsupported(&other)),
        }
    }

    fn sign(&self, algorithm: SigningAlgorithm, _: &[u8]) -> Result<Box<dyn Signer>> {
        Err(unsupported(&algorithm))
    }
}

fn unsupported(what: &impl std::fmt::Debug) -> Error {
    Error::NotSupported {
        source: format!("{what:?}: S3 asks for SHA-256 alone").into(),
    }
}

#[derive(Default)]
struct Hash {
    hash: Sha256,
    done: [u8; 32],
}

impl DigestContext for Hash {
    fn update(&mut self, data: &[u8]) {
        self.hash.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.done = self.hash.clone().finalize().into();
        Ok(&self.done)
    }
}

struct Keyed {
    mac: Hmac<Sha256>,
    done: [u8; 32],
}

impl HmacContext for Keyed {
    fn update(&mut self, data: &[u8]) {
        self.mac.update(data);
    }

    fn finish(&mut self) -> Result<&[u8]> {
        self.done = self.mac.clone().finalize().into_bytes().into();
        Ok(&self.done)
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn hmac_is_that_of_rfc_4231_case_2() {
        let mut mac = RustCrypto.hmac(DigestAlgorithm::Sha256, b"Jefe").unwrap();
        mac.update(b"what do ya want ");
        mac.update(b"for nothing?");
        let expected = "5bdcc146bf60754e6a042426089575c75a003f089d2739839dec58b964ec3843";
        let made = mac.finish().unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(made), expected);
    }

    #[test]
    fn the_digest_is_that_of_fips_180_2_for_abc() {
        let mut hash = RustCrypto.digest(DigestAlgorithm::Sha256).unwrap();
        hash.update(b"abc");
        let expected = "ba7816bf8f01cfea414140de5dae2223b00361a396177a9cb410ff61f20015ad";
        let made = hash.finish().unwrap();
        assert_eq!(data_encoding::HEXLOWER.encode(made), expected);
    }
}
