//! The encapsulation of Oblivious HTTP (RFC 9458, sections 4.3 to 4.6): HPKE in base mode (RFC 9180) for
//! the request, and for the answer a key that is exported from the same context.
//!
//! It is written for any AEAD, because the RFC's vectors are of another one than ours.

use std::marker::PhantomData;

use chacha20poly1305::aead::{Aead as Cipher, KeyInit, Nonce};
use hkdf::Hkdf;
use hpke::aead::{Aead, ChaCha20Poly1305};
use hpke::kdf::HkdfSha256;
use hpke::kem::X25519HkdfSha256;
use hpke::rand_core::{Infallible, TryCryptoRng, TryRng};
use hpke::{Deserializable, Kem, OpModeR, OpModeS, Serializable};
use model::ControlKey;
use sha2::Sha256;

use super::keys::ControlSecrets;

/// What the request's context is bound to, before the header (RFC 9458, section 4.3).
const REQUEST_LABEL: &[u8] = b"message/bhttp request\0";
/// What the answer's secret is exported for (section 4.4).
const RESPONSE_LABEL: &[u8] = b"message/bhttp response";
/// Key id, KEM, KDF, AEAD.
const HEADER: usize = 7;
/// The encapsulated key of X25519.
const ENCAPSULATED: usize = 32;
/// The tag of each of the AEADs.
const TAG: usize = 16;
/// `max(Nn, Nk)` of our AEAD, which is what an answer's nonce has.
const RESPONSE_NONCE: usize = 32;

/// The most bytes that a capsule has besides its message: a request's. An answer has fewer.
pub(super) const MOST_OVERHEAD: usize = HEADER + ENCAPSULATED + TAG;

/// Why a capsule is refused.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
pub enum Refused {
    /// It names a key that is not, or no longer, one of ours.
    #[error("it is sealed to the control key {0}, which is none of now")]
    UnknownKey(u8),
    /// Anything else. What it was is not told: it would help whoever probes, and nobody else.
    #[error("it cannot be opened")]
    Broken,
}

/// An AEAD, by HPKE's number and as it is used for answers.
pub(super) trait Suite {
    type Hpke: Aead;
    type Cipher: Cipher + KeyInit;
    /// The length of its key.
    const KEY: usize;
}

/// The suite of the control key.
pub(super) struct Ours;

impl Suite for Ours {
    type Hpke = ChaCha20Poly1305;
    type Cipher = chacha20poly1305::ChaCha20Poly1305;
    const KEY: usize = 32;
}

/// What is left of a request's context: the secret that its answer is sealed with.
struct Context<S: Suite> {
    encapsulated: [u8; ENCAPSULATED],
    secret: [u8; RESPONSE_NONCE],
    suite: PhantomData<S>,
}

/// The asker's end.
pub(super) struct Asked(Context<Ours>);

/// The answerer's end.
pub(super) struct Opened(Context<Ours>);

/// Seals `message`; `None` if nothing can be sealed to the key.
pub(super) fn seal(key: &ControlKey, message: &[u8], random: [u8; 32]) -> Option<(Vec<u8>, Asked)> {
    let (capsule, context) = seal_with::<Ours>(key, message, random)?;
    Some((capsule, Asked(context)))
}

/// Opens a capsule with the one of `secrets` that it names.
pub(super) fn open(secrets: &ControlSecrets, capsule: &[u8]) -> Result<(Vec<u8>, Opened), Refused> {
    let id = *capsule.first().ok_or(Refused::Broken)?;
    let secret = secrets.find(id).ok_or(Refused::UnknownKey(id))?;
    let (message, context) =
        open_with::<Ours>(id, secret.as_bytes(), capsule).ok_or(Refused::Broken)?;
    Ok((message, Opened(context)))
}

impl Asked {
    pub(super) fn open(&self, answer: &[u8]) -> Option<Vec<u8>> {
        let (nonce, sealed) = answer.split_at_checked(RESPONSE_NONCE)?;
        let (cipher, iv) = self.0.cipher(nonce);
        cipher.decrypt(&iv, sealed).ok()
    }
}

impl Opened {
    pub(super) fn seal(&self, message: &[u8], random: [u8; RESPONSE_NONCE]) -> Vec<u8> {
        self.0.seal(message, &random)
    }
}

fn seal_with<S: Suite>(
    key: &ControlKey,
    message: &[u8],
    random: [u8; 32],
) -> Option<(Vec<u8>, Context<S>)> {
    let header = header::<S>(key.id());
    let recipient = <X25519HkdfSha256 as Kem>::PublicKey::from_bytes(key.as_bytes()).ok()?;
    let (encapsulated, mut sender) =
        hpke::setup_sender_with_rng::<S::Hpke, HkdfSha256, X25519HkdfSha256>(
            &OpModeS::Base,
            &recipient,
            &info(&header),
            &mut Once(Some(random)),
        )
        .ok()?;
    let sealed = sender.seal(message, &[]).ok()?;
    let encapsulated: [u8; ENCAPSULATED] = encapsulated.to_bytes().into();
    let context = Context::of(encapsulated, |secret| {
        sender.export(RESPONSE_LABEL, secret).ok()
    })?;
    Some(([&header[..], &encapsulated, &sealed].concat(), context))
}

fn open_with<S: Suite>(id: u8, secret: &[u8; 32], capsule: &[u8]) -> Option<(Vec<u8>, Context<S>)> {
    let (header, rest) = capsule.split_first_chunk::<HEADER>()?;
    if *header != self::header::<S>(id) {
        return None;
    }
    let (encapsulated, sealed) = rest.split_first_chunk::<ENCAPSULATED>()?;
    let secret = <X25519HkdfSha256 as Kem>::PrivateKey::from_bytes(secret).ok()?;
    let sent = <X25519HkdfSha256 as Kem>::EncappedKey::from_bytes(encapsulated).ok()?;
    let mut receiver = hpke::setup_receiver::<S::Hpke, HkdfSha256, X25519HkdfSha256>(
        &OpModeR::Base,
        &secret,
        &sent,
        &info(header),
    )
    .ok()?;
    let message = receiver.open(sealed, &[]).ok()?;
    let context = Context::of(*encapsulated, |secret| {
        receiver.export(RESPONSE_LABEL, secret).ok()
    })?;
    Some((message, context))
}

impl<S: Suite> Context<S> {
    /// The context whose secret `export` writes: as many bytes as the AEAD's key has.
    fn of(
        encapsulated: [u8; ENCAPSULATED],
        export: impl FnOnce(&mut [u8]) -> Option<()>,
    ) -> Option<Self> {
        let mut secret = [0; RESPONSE_NONCE];
        export(&mut secret[..S::KEY])?;
        Some(Self {
            encapsulated,
            secret,
            suite: PhantomData,
        })
    }

    fn seal(&self, message: &[u8], nonce: &[u8]) -> Vec<u8> {
        let (cipher, iv) = self.cipher(nonce);
        let sealed = cipher
            .encrypt(&iv, message)
            .expect("an answer is shorter than the AEAD's limit of 256 GiB");
        [nonce, &sealed].concat()
    }

    /// The answer's key and nonce (RFC 9458, section 4.4).
    fn cipher(&self, nonce: &[u8]) -> (S::Cipher, Nonce<S::Cipher>) {
        let salt = [&self.encapsulated, nonce].concat();
        let hkdf = Hkdf::<Sha256>::new(Some(&salt), &self.secret[..S::KEY]);
        let mut key = chacha20poly1305::aead::Key::<S::Cipher>::default();
        let mut iv = Nonce::<S::Cipher>::default();
        let expanded = hkdf
            .expand(b"key", &mut key)
            .and(hkdf.expand(b"nonce", &mut iv));
        expanded.expect("both are shorter than 255 hashes");
        (S::Cipher::new(&key), iv)
    }
}

fn header<S: Suite>(id: u8) -> [u8; HEADER] {
    let [kem, kdf] = [
        X25519HkdfSha256::KEM_ID,
        <HkdfSha256 as hpke::kdf::Kdf>::KDF_ID,
    ];
    let mut header = [id, 0, 0, 0, 0, 0, 0];
    for (place, number) in [kem, kdf, S::Hpke::AEAD_ID].into_iter().enumerate() {
        header[1 + 2 * place..][..2].copy_from_slice(&number.to_be_bytes());
    }
    header
}

fn info(header: &[u8; HEADER]) -> Vec<u8> {
    [REQUEST_LABEL, header].concat()
}

/// The randomness of one encapsulation: 32 bytes, from which HPKE derives the ephemeral key (RFC 9180,
/// section 7.1.3). It is given once; who asked for more would get the same again, and must not.
struct Once(Option<[u8; 32]>);

impl TryRng for Once {
    type Error = Infallible;

    fn try_next_u32(&mut self) -> Result<u32, Infallible> {
        unreachable!("an encapsulation draws bytes")
    }

    fn try_next_u64(&mut self) -> Result<u64, Infallible> {
        unreachable!("an encapsulation draws bytes")
    }

    fn try_fill_bytes(&mut self, bytes: &mut [u8]) -> Result<(), Infallible> {
        let random = self.0.take();
        let random = random.expect("an encapsulation draws once: the secret of one key");
        bytes.copy_from_slice(&random);
        Ok(())
    }
}

impl TryCryptoRng for Once {}

#[cfg(test)]
mod tests;
