//! The age file format, version 1, with one recipient: a passphrase (age-encryption.org/v1, C2SP).
//!
//! It is a published format with several programs that read it: what is written here is opened by
//! `age --decrypt` with the same passphrase, on a machine where nothing of ours is left.
//!
//! ```text
//! age-encryption.org/v1
//! -> scrypt SALT LOG-N            the passphrase's key wraps the file key
//! WRAPPED FILE KEY
//! --- MAC                         HMAC-SHA-256 of all above, by the file key
//! NONCE CHUNK CHUNK …             ChaCha20-Poly1305; 64 KiB each, numbered, the last one marked
//! ```
//!
//! A chunk that was altered, moved or left out, and an end that was cut off, do not open. Memory holds one
//! chunk.

use std::io::{self, Read, Write};

use anyhow::{Context, bail};
use chacha20poly1305::aead::{Aead, KeyInit};
use chacha20poly1305::{ChaCha20Poly1305, Nonce};
use data_encoding::BASE64_NOPAD;
use hkdf::Hkdf;
use hmac::{Hmac, Mac};
use sha2::Sha256;

/// The first line.
const VERSION: &str = "age-encryption.org/v1";
/// What is put before the salt of scrypt.
const SCRYPT_LABEL: &[u8] = b"age-encryption.org/v1/scrypt";
/// The plain bytes of a chunk.
const CHUNK: usize = 64 * 1024;
/// What a chunk has more when it is sealed.
const TAG: usize = 16;
/// log₂ of scrypt's cost for new files, as age has it: a second and 256 MB.
pub const WORK: u8 = 18;
/// The highest that is read, as age has it: a file could else ask for any amount of memory.
const MOST_WORK: u8 = 22;
/// No line of a header that we read is longer.
const MOST_LINE: usize = 200;

/// What must be drawn afresh for each file.
pub struct Drawn {
    /// Encrypts everything, itself encrypted.
    pub file_key: [u8; 16],
    /// Of scrypt.
    pub salt: [u8; 16],
    /// Of the payload.
    pub nonce: [u8; 16],
}

/// Encrypts what is written to it.
pub struct Sealer<W: Write> {
    out: W,
    payload: Payload,
    plain: Vec<u8>,
}

impl<W: Write> Sealer<W> {
    /// Writes the header to `out`. `work` is log₂ of scrypt's cost, at most 22.
    pub fn begin(mut out: W, passphrase: &str, work: u8, drawn: &Drawn) -> anyhow::Result<Self> {
        let wrapping = wrapping_key(passphrase, &drawn.salt, work)?;
        let wrapped = cipher(&wrapping)
            .encrypt(&Nonce::default(), drawn.file_key.as_slice())
            .expect("16 bytes can be encrypted");
        let header = format!(
            "{VERSION}\n-> scrypt {} {work}\n{}\n---",
            BASE64_NOPAD.encode(&drawn.salt),
            BASE64_NOPAD.encode(&wrapped)
        );
        let mac = header_mac(&drawn.file_key, header.as_bytes()).finalize();
        let mac = BASE64_NOPAD.encode(&mac.into_bytes());
        out.write_all(format!("{header} {mac}\n").as_bytes())?;
        out.write_all(&drawn.nonce)?;
        Ok(Self {
            out,
            payload: Payload::new(&drawn.file_key, &drawn.nonce),
            plain: Vec::with_capacity(CHUNK),
        })
    }

    /// Writes the last chunk, and gives back where all was written to.
    pub fn finish(mut self) -> io::Result<W> {
        self.flush_chunk(true)?;
        Ok(self.out)
    }

    fn flush_chunk(&mut self, is_last: bool) -> io::Result<()> {
        let nonce = self.payload.next(is_last);
        let sealed = self
            .payload
            .cipher
            .encrypt(&nonce, self.plain.as_slice())
            .expect("a chunk can be encrypted");
        self.plain.clear();
        self.out.write_all(&sealed)
    }
}

impl<W: Write> Write for Sealer<W> {
    fn write(&mut self, bytes: &[u8]) -> io::Result<usize> {
        // A full chunk waits until more comes, for it may be the last.
        if self.plain.len() == CHUNK {
            self.flush_chunk(false)?;
        }
        let taken = bytes.len().min(CHUNK - self.plain.len());
        self.plain.extend_from_slice(&bytes[..taken]);
        Ok(taken)
    }

    fn flush(&mut self) -> io::Result<()> {
        Ok(())
    }
}

/// Decrypts what it reads. All that it gives was authenticated, and it ends without an error only where the
/// file does.
pub struct Opener<R: Read> {
    input: R,
    payload: Payload,
    /// The next sealed chunk, and the byte after it where there is one.
    sealed: Vec<u8>,
    plain: Vec<u8>,
    given: usize,
    is_over: bool,
}

impl<R: Read> Opener<R> {
    /// Reads the header.
    pub fn begin(mut input: R, passphrase: &str) -> anyhow::Result<Self> {
        if read_line(&mut input)? != VERSION {
            bail!("it is not encrypted by age, version 1, as backups are");
        }
        let stanza = read_line(&mut input)?;
        let parts: Vec<&str> = stanza.split(' ').collect();
        let ["->", "scrypt", salt, work] = parts.as_slice() else {
            bail!("it is encrypted for a key, not with a passphrase: decrypt it with 'age' first");
        };
        let damaged = "its header is damaged";
        let salt: [u8; 16] = decode(salt).context(damaged)?;
        let work: u8 = work.parse().context(damaged)?;
        if work > MOST_WORK {
            bail!(
                "its passphrase costs 2^{work} to try, more than the 2^{MOST_WORK} of any backup"
            );
        }
        let body = read_line(&mut input)?;
        let wrapped: [u8; 32] = decode(&body).context(damaged)?;
        let end = read_line(&mut input)?;
        let mac: [u8; 32] = end.strip_prefix("--- ").and_then(decode).context(damaged)?;

        let wrapping = wrapping_key(passphrase, &salt, work)?;
        let file_key = cipher(&wrapping).decrypt(&Nonce::default(), wrapped.as_slice());
        let Ok(Ok(file_key)) = file_key.map(<[u8; 16]>::try_from) else {
            bail!("the passphrase is another one, or its header is damaged");
        };
        let header = format!("{VERSION}\n{stanza}\n{body}\n---");
        header_mac(&file_key, header.as_bytes())
            .verify_slice(&mac)
            .ok()
            .context(damaged)?;
        let mut nonce = [0; 16];
        input.read_exact(&mut nonce).context("it is cut off")?;
        Ok(Self {
            input,
            payload: Payload::new(&file_key, &nonce),
            sealed: Vec::with_capacity(CHUNK + TAG + 1),
            plain: Vec::new(),
            given: 0,
            is_over: false,
        })
    }

    /// Opens the next chunk.
    fn open_chunk(&mut self) -> io::Result<()> {
        let room = CHUNK + TAG + 1 - self.sealed.len();
        let mut more = (&mut self.input).take(room as u64);
        more.read_to_end(&mut self.sealed)?;
        let is_last = self.sealed.len() <= CHUNK + TAG;
        let behind = if is_last { None } else { self.sealed.pop() };
        let is_first = self.payload.number == 0;
        let nonce = self.payload.next(is_last);
        let opened = self.payload.cipher.decrypt(&nonce, self.sealed.as_slice());
        // Only a file of nothing has a chunk of nothing.
        let opened = opened.ok().filter(|plain| is_first || !plain.is_empty());
        let Some(plain) = opened else {
            let why = if is_last {
                "damaged or cut off"
            } else {
                "damaged"
            };
            let number = self.payload.number;
            let text = format!("it is {why} in its chunk {number} of 64 KiB: use another copy");
            return Err(io::Error::new(io::ErrorKind::InvalidData, text));
        };
        self.plain = plain;
        self.given = 0;
        self.sealed.clear();
        self.sealed.extend(behind);
        self.is_over = is_last;
        Ok(())
    }
}

impl<R: Read> Read for Opener<R> {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        if self.given == self.plain.len() && !self.is_over {
            self.open_chunk()?;
        }
        let left = &self.plain[self.given..];
        let taken = left.len().min(buffer.len());
        buffer[..taken].copy_from_slice(&left[..taken]);
        self.given += taken;
        Ok(taken)
    }
}

/// The key of the chunks, and the number of the next one.
struct Payload {
    cipher: ChaCha20Poly1305,
    number: u64,
}

impl Payload {
    fn new(file_key: &[u8; 16], nonce: &[u8; 16]) -> Self {
        Self {
            cipher: cipher(&derive(file_key, Some(nonce), b"payload")),
            number: 0,
        }
    }

    /// The nonce of the next chunk: its number in 11 bytes, and whether it is the last.
    fn next(&mut self, is_last: bool) -> Nonce {
        let mut nonce = [0; 12];
        nonce[3..11].copy_from_slice(&self.number.to_be_bytes());
        nonce[11] = u8::from(is_last);
        self.number += 1;
        nonce.into()
    }
}

fn wrapping_key(passphrase: &str, salt: &[u8; 16], work: u8) -> anyhow::Result<[u8; 32]> {
    let params = scrypt::Params::new(work, 8, 1)?;
    let mut key = [0; 32];
    let salt = [SCRYPT_LABEL, salt].concat();
    scrypt::scrypt(passphrase.as_bytes(), &salt, &params, &mut key)?;
    Ok(key)
}

fn header_mac(file_key: &[u8; 16], header: &[u8]) -> Hmac<Sha256> {
    let key = derive(file_key, None, b"header");
    let mut mac = Hmac::<Sha256>::new_from_slice(&key).expect("a key may have any length");
    mac.update(header);
    mac
}

fn derive(file_key: &[u8; 16], salt: Option<&[u8]>, info: &[u8]) -> [u8; 32] {
    let mut key = [0; 32];
    Hkdf::<Sha256>::new(salt, file_key)
        .expand(info, &mut key)
        .expect("32 bytes are one block of SHA-256");
    key
}

fn cipher(key: &[u8; 32]) -> ChaCha20Poly1305 {
    ChaCha20Poly1305::new(key.into())
}

fn decode<const N: usize>(text: &str) -> Option<[u8; N]> {
    let bytes = BASE64_NOPAD.decode(text.as_bytes()).ok()?;
    bytes.try_into().ok()
}

/// A line of the header, without its end.
fn read_line(input: &mut impl Read) -> anyhow::Result<String> {
    let mut line = Vec::new();
    let mut byte = [0];
    loop {
        if input.read(&mut byte)? == 0 {
            bail!("it ends before its header does: it is cut off, or no backup");
        }
        if byte == *b"\n" {
            return String::from_utf8(line).context("its header is no text: it is no backup");
        }
        if line.len() == MOST_LINE {
            bail!("its header is no backup's");
        }
        line.extend(byte);
    }
}

#[cfg(test)]
mod tests;
