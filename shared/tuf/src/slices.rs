//! Sealed slices: parts of a catalog that only the holders of a key can read.
//!
//! Everybody can fetch a catalog from a bucket. What it lists stands in slices, each sealed by
//! ChaCha20-Poly1305 (RFC 8439) with a key of its own, and keys are derived by HKDF-SHA256 (RFC 5869):
//!
//! ```text
//! epoch's secret ── network, catalog, epoch, slices, slice ──▶ slice key   (what a device holds)
//! newest slice key ── version, hash of the contents ─────────▶ content key
//! each epoch's slice key ── hash of the sealed contents ─────▶ wrapping key, seals the content key
//! ```
//!
//! Sealing draws nothing: the same keys and contents give the same bytes, so that a version's files can be
//! made again. The nonce is zero throughout, because no key seals two things: a content key is the
//! pseudorandom function of its contents, a wrapping key that of what it is wrapped beside. All slices of
//! a catalog are padded to one length, a step of a coarse scale ([`padded`]).
//!
//! Opened entries are the signed catalog's like any other: [`crate::client`] holds them to the limits after it
//! has opened them.

use chacha20poly1305::aead::{Aead, AeadInOut, KeyInit, Payload};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use hkdf::Hkdf;
use model::{
    Catalog, CatalogGateway, CatalogName, EpochSecret, HeldKey, NetworkId, SealedSlice, Slice,
    SliceKey, WrappedKey, catalog,
};
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};

use crate::SignError;

/// Keeps these keys apart from any others that could be derived from the same secrets.
const SALT: &[u8] = b"postern-slice/1";
/// The least length of padded contents: some eight gateways.
const LEAST_BYTES: usize = 2048;
/// Up to here contents are padded to a power of two, beyond it to a quarter of one: larger catalogs are
/// not made much larger.
const MOST_DOUBLED: usize = 64 * 1024;

/// What the key of a slice is derived for.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Of<'a> {
    /// The network.
    pub network: &'a NetworkId,
    /// The catalog.
    pub catalog: &'a CatalogName,
    /// How many slices it has.
    pub slices: u16,
    /// Which of them, from 0.
    pub slice: u16,
}

impl Of<'_> {
    /// The key that opens it in `epoch`.
    pub fn key(&self, epoch: u64, secret: &EpochSecret) -> SliceKey {
        let info = format!("key\n{self}\n{epoch}");
        SliceKey::from_bytes(derive(secret.as_bytes(), &[info.as_bytes()]))
    }
}

impl std::fmt::Display for Of<'_> {
    /// No name holds a line's end.
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        let Self {
            network,
            catalog,
            slices,
            slice,
        } = self;
        write!(f, "{network}\n{catalog}\n{slices}\n{slice}")
    }
}

/// Seals the slices of the catalog `name`, whose contents last changed at `version`, so that the keys of
/// any of `epochs` open them; the newest first.
pub fn seal(
    (network, name, version): (&NetworkId, &CatalogName, u64),
    epochs: &[(u64, &EpochSecret)],
    slices: &[Vec<&CatalogGateway>],
) -> Result<Vec<SealedSlice>, SignError> {
    let count = u16::try_from(slices.len()).map_err(|_| refused("too many slices"))?;
    let mut contents = Vec::with_capacity(slices.len());
    for gateways in slices {
        let json = serde_json::to_vec(gateways).map_err(refused)?;
        contents.push(json);
    }
    let longest = contents.iter().map(Vec::len).max().unwrap_or(0);
    (0..count)
        .zip(contents)
        .map(|(slice, mut contents)| {
            contents.resize(padded(longest), b' ');
            let of = Of {
                network,
                catalog: name,
                slices: count,
                slice,
            };
            seal_one(&of, version, epochs, &contents)
        })
        .collect()
}

fn seal_one(
    of: &Of<'_>,
    version: u64,
    epochs: &[(u64, &EpochSecret)],
    contents: &[u8],
) -> Result<SealedSlice, SignError> {
    let keys: Vec<(u64, SliceKey)> = epochs
        .iter()
        .map(|(epoch, secret)| (*epoch, of.key(*epoch, secret)))
        .collect();
    let (_, newest) = keys.first().ok_or_else(|| refused("there is no epoch"))?;
    let hash = Sha256::digest(contents);
    let content_key = derive(
        newest.as_bytes(),
        &[b"content\n", &version.to_be_bytes(), &hash],
    );
    let context = context(of, version);
    let sealed = cipher(&content_key)
        .encrypt(&Nonce::default(), with(contents, &context))
        .map_err(refused)?;
    let beside = Sha256::digest(&sealed);
    let keys = keys
        .into_iter()
        .map(|(epoch, key)| {
            let wrapped = cipher(&wrapping_key(&key, &beside))
                .encrypt(&Nonce::default(), with(&content_key, &context))
                .map_err(refused)?;
            Ok(WrappedKey {
                epoch,
                key: wrapped,
            })
        })
        .collect::<Result<_, SignError>>()?;
    Ok(SealedSlice {
        slice: of.slice,
        slices: of.slices,
        keys,
        sealed,
    })
}

fn refused(why: impl std::fmt::Display) -> SignError {
    SignError::Sealing(why.to_string())
}

/// How many slices of a catalog are sealed, and what became of them.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Sealed {
    /// Sealed slices.
    pub slices: usize,
    /// Those that were opened.
    pub opened: usize,
}

impl Sealed {
    /// Whether there is something sealed, and nothing of it could be read.
    pub fn is_shut(&self) -> bool {
        self.slices > 0 && self.opened == 0
    }
}

/// Opens the slices of `catalog` that `keys` open, and takes the others out. A gateway may lie in
/// several. A slice that a key should open and does not, and entries that cannot be read, are left
/// out and named in `skipped`.
pub fn open(catalog: &mut Catalog, keys: &[HeldKey], skipped: &mut Vec<String>) -> Sealed {
    let opened = unseal(catalog, keys, skipped);
    let sealed = opened.sealed;
    opened.read(catalog, skipped);
    sealed
}

/// What stood in sealed slices, decrypted and not read yet.
#[derive(Debug)]
pub(crate) struct Opened {
    pub(crate) sealed: Sealed,
    /// By the number of the slice.
    contents: Vec<(usize, Vec<u8>)>,
}

/// Takes the sealed slices out of `catalog`, and decrypts those that `keys` open.
pub(crate) fn unseal(catalog: &mut Catalog, keys: &[HeldKey], skipped: &mut Vec<String>) -> Opened {
    let mut sealed = Sealed::default();
    let mut contents = Vec::new();
    let all = std::mem::take(&mut catalog.slices);
    for (number, slice) in all.into_iter().enumerate() {
        let mut slice = match slice {
            Slice::Open { .. } => {
                catalog.slices.push(slice);
                continue;
            }
            Slice::Sealed(slice) => slice,
        };
        sealed.slices += 1;
        let text = std::mem::take(&mut slice.sealed);
        let Some((held, wrapped)) = key_of(&catalog.name, &slice, keys) else {
            continue;
        };
        let of = Of {
            network: &catalog.network,
            catalog: &catalog.name,
            slices: slice.slices,
            slice: slice.slice,
        };
        let context = context(&of, catalog.version);
        match open_one(text, &held.key, wrapped, &context) {
            Some(text) => contents.push((number, text)),
            None => skipped.push(format!("slice {number}: the key held does not open it")),
        }
    }
    sealed.opened = contents.len();
    Opened { sealed, contents }
}

impl Opened {
    /// Puts the gateways that are listed in it into `catalog`, which it was taken out of.
    pub(crate) fn read(self, catalog: &mut Catalog, skipped: &mut Vec<String>) {
        let mut all: Vec<CatalogGateway> = Vec::new();
        for (number, text) in &self.contents {
            all.extend(catalog::gateways_from_json(*number, text, skipped));
        }
        if self.sealed.opened > 0 {
            let gateways = merged(all, skipped);
            catalog.slices.push(Slice::Open { gateways });
        }
    }
}

/// The gateways by id, each once: as the first slice that lists it describes it.
fn merged(mut gateways: Vec<CatalogGateway>, skipped: &mut Vec<String>) -> Vec<CatalogGateway> {
    gateways.sort_by(|one, other| one.id.cmp(&other.id));
    gateways.dedup_by(|later, first| {
        if later.id != first.id {
            return false;
        }
        if later != first {
            let id = &later.id;
            skipped.push(format!(
                "gateway {id}: another slice describes it otherwise"
            ));
        }
        true
    });
    gateways
}

/// Whether one of the sealed slices of `catalog` is what `held` opens.
pub fn is_for(held: &HeldKey, catalog: &Catalog) -> bool {
    catalog.slices.iter().any(|slice| match slice {
        Slice::Open { .. } => false,
        Slice::Sealed(slice) => key_of(&catalog.name, slice, std::slice::from_ref(held)).is_some(),
    })
}

/// The newest of `keys` that opens `slice`, and what it unwraps.
fn key_of<'a>(
    name: &CatalogName,
    slice: &'a SealedSlice,
    keys: &'a [HeldKey],
) -> Option<(&'a HeldKey, &'a WrappedKey)> {
    slice.keys.iter().find_map(|wrapped| {
        let held = keys.iter().find(|held| {
            (held.epoch, held.slices, held.slice) == (wrapped.epoch, slice.slices, slice.slice)
                && held.catalog == *name
        })?;
        Some((held, wrapped))
    })
}

/// What is sealed in `contents`, in its place: it is megabytes.
fn open_one(
    mut contents: Vec<u8>,
    key: &SliceKey,
    wrapped: &WrappedKey,
    context: &[u8],
) -> Option<Vec<u8>> {
    let content_key = cipher(&wrapping_key(key, &Sha256::digest(&contents)))
        .decrypt(&Nonce::default(), with(&wrapped.key, context))
        .ok()?;
    cipher(&content_key.try_into().ok()?)
        .decrypt_in_place(&Nonce::default(), context, &mut contents)
        .ok()?;
    Some(contents)
}

/// What a sealed thing is bound to besides its key.
fn context(of: &Of<'_>, version: u64) -> Vec<u8> {
    format!("{of}\n{version}").into_bytes()
}

fn wrapping_key(key: &SliceKey, beside: &[u8]) -> [u8; 32] {
    derive(key.as_bytes(), &[b"wrap\n", beside])
}

fn derive(secret: &[u8; 32], info: &[&[u8]]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(Some(SALT), secret)
        .expand_multi_info(info, &mut key)
        .expect("32 bytes are one block of SHA-256");
    key
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

fn with<'a>(msg: &'a [u8], aad: &'a [u8]) -> Payload<'a, 'a> {
    Payload { msg, aad }
}

/// The length to which contents of `length` bytes are padded.
pub fn padded(length: usize) -> usize {
    if length <= MOST_DOUBLED {
        return length.next_power_of_two().max(LEAST_BYTES);
    }
    let step = length.next_power_of_two() / 8;
    length.div_ceil(step) * step
}

#[cfg(test)]
mod tests;
