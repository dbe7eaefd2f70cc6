//! The signature algorithms, and no others.
//!
//! `sigstore-tuf` takes its cryptography from a provider that is installed once for the process.
//! Ours is pure Rust, so that it runs natively, in a Worker and in a browser alike: Ed25519 by
//! `ed25519-compact`, ECDSA on P-256 with SHA-256 by `p256` (the keys that hardware tokens and
//! cloud KMS hold), SHA-2 by `sha2`. RSA and everything else is refused as unsupported, which makes
//! its signatures count as absent. With the feature `p384`, for programs that read repositories of
//! others, ECDSA on P-384 with SHA-384 is supported, too.
//!
//! Ed25519 is checked strictly: a scalar that is not reduced (RFC 8032, section 5.1.7), a point
//! that is not encoded canonically and a public key or `R` of small order are refused. The last
//! matters most: under a key of small order one signature fits many messages.
//!
//! Every public entry point of this crate calls [`install`], so nobody can forget it.

use std::sync::OnceLock;

use p256::ecdsa::signature::Verifier as _;
use p256::ecdsa::signature::hazmat::PrehashVerifier as _;
use sha2::{Digest, Sha256, Sha384, Sha512};
use sigstore_crypto::{
    CryptoProvider, Error, HashContext, Result, SigningScheme, install_default_provider,
};
use sigstore_types::HashAlgorithm;

/// The provider that [`install`] installs.
#[derive(Debug)]
pub struct Provider;

#[cfg(not(feature = "p384"))]
const SUPPORTED: &str = "Ed25519 and ECDSA P-256 with SHA-256";
#[cfg(feature = "p384")]
const SUPPORTED: &str = "Ed25519, ECDSA P-256 with SHA-256 and ECDSA P-384 with SHA-384";

static PROVIDER: Provider = Provider;

/// Makes [`Provider`] the process's provider. Calling it again does nothing.
///
/// # Panics
///
/// If another crate has installed another provider before: two sets of rules for the same
/// signatures in one process would be a mistake of the build, and no answer to it is safe.
pub fn install() {
    static INSTALLED: OnceLock<()> = OnceLock::new();
    INSTALLED.get_or_init(|| {
        assert!(
            install_default_provider(&PROVIDER).is_ok(),
            "another sigstore-crypto provider was installed before tuf::crypto::install: \
             nothing else in this process may install one"
        );
    });
}

impl CryptoProvider for Provider {
    fn hash(&self, algorithm: HashAlgorithm) -> Result<Box<dyn HashContext>> {
        Ok(match algorithm {
            HashAlgorithm::Sha2256 => Box::new(Hasher(Sha256::new())),
            HashAlgorithm::Sha2384 => Box::new(Hasher(Sha384::new())),
            HashAlgorithm::Sha2512 => Box::new(Hasher(Sha512::new())),
            other => return Err(Error::UnsupportedAlgorithm(format!("{other:?}"))),
        })
    }

    fn sha256(&self, data: &[u8]) -> [u8; 32] {
        Sha256::digest(data).into()
    }

    fn sha512(&self, data: &[u8]) -> [u8; 64] {
        Sha512::digest(data).into()
    }

    fn verify_raw(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        data: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        match scheme {
            SigningScheme::Ed25519 => verify_ed25519(key, data, signature).map_err(refused),
            SigningScheme::EcdsaP256Sha256 => {
                let (key, signature) = p256_parts(key, signature)?;
                key.verify(data, &signature).map_err(refused)
            }
            #[cfg(feature = "p384")]
            SigningScheme::EcdsaP384Sha384 => {
                let (key, signature) = p384_parts(key, signature)?;
                key.verify(data, &signature).map_err(refused)
            }
            other => Err(unsupported(other)),
        }
    }

    fn verify_prehashed(
        &self,
        scheme: SigningScheme,
        key: &[u8],
        digest: &[u8],
        signature: &[u8],
    ) -> Result<()> {
        match scheme {
            SigningScheme::EcdsaP256Sha256 => {
                let (key, signature) = p256_parts(key, signature)?;
                key.verify_prehash(digest, &signature).map_err(refused)
            }
            #[cfg(feature = "p384")]
            SigningScheme::EcdsaP384Sha384 => {
                let (key, signature) = p384_parts(key, signature)?;
                key.verify_prehash(digest, &signature).map_err(refused)
            }
            other => Err(unsupported(other)),
        }
    }
}

/// Checks an Ed25519 signature strictly (see the module's page).
pub(crate) fn verify_ed25519(
    key: &[u8],
    data: &[u8],
    signature: &[u8],
) -> std::result::Result<(), ed25519_compact::Error> {
    let key = ed25519_compact::PublicKey::from_slice(key)?;
    let signature = ed25519_compact::Signature::from_slice(signature)?;
    key.verify(data, &signature)
}

/// SHA-256 as lowercase hexadecimal.
pub(crate) fn sha256_hex(bytes: &[u8]) -> String {
    data_encoding::HEXLOWER.encode(&Sha256::digest(bytes))
}

fn p256_parts(
    key: &[u8],
    signature: &[u8],
) -> Result<(p256::ecdsa::VerifyingKey, p256::ecdsa::Signature)> {
    let key = p256::ecdsa::VerifyingKey::from_sec1_bytes(key)
        .map_err(|error| Error::InvalidKey(error.to_string()))?;
    let signature = p256::ecdsa::Signature::from_der(signature).map_err(refused)?;
    Ok((key, signature))
}

#[cfg(feature = "p384")]
fn p384_parts(
    key: &[u8],
    signature: &[u8],
) -> Result<(p384::ecdsa::VerifyingKey, p384::ecdsa::Signature)> {
    let key = p384::ecdsa::VerifyingKey::from_sec1_bytes(key)
        .map_err(|error| Error::InvalidKey(error.to_string()))?;
    let signature = p384::ecdsa::Signature::from_der(signature).map_err(refused)?;
    Ok((key, signature))
}

fn refused(error: impl std::fmt::Display) -> Error {
    Error::Verification(error.to_string())
}

fn unsupported(scheme: SigningScheme) -> Error {
    Error::UnsupportedAlgorithm(format!("{} (only {SUPPORTED} are)", scheme.name()))
}

struct Hasher<D>(D);

impl<D: Digest + Send> HashContext for Hasher<D> {
    fn update(&mut self, data: &[u8]) {
        Digest::update(&mut self.0, data);
    }

    fn finalize(self: Box<Self>) -> Vec<u8> {
        self.0.finalize().to_vec()
    }
}

#[cfg(test)]
mod tests;
