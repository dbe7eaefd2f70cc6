//! What a backup holds, inside of its encryption: lines of JSON.
//!
//! ```text
//! {"schema":"postern-backup/1","network":"…","taken_at":"…","store":"sqlite:/…","by":"posternctl 0.1.0"}
//! {"pk":"…","sk":"…","version":3,"body":{…},"expires_at":"…"}        one for each item, in any order
//! {"end":{"items":1,"sha256":"…"}}                                   of all bytes before this line
//! ```
//!
//! The encryption notices what was altered or cut off. The last line notices what was never written, and its
//! hash is the backup's name: a restore that was interrupted goes on with the same one.

use std::io::{BufRead, BufReader, Read, Write};

use anyhow::{Context, bail};
use jiff::Timestamp;
use model::NetworkId;
use serde::{Deserialize, Serialize};
use sha2::{Digest, Sha256};
use store::{Item, Key};

/// What this program writes and reads.
const SCHEMA: &str = "postern-backup/1";
/// How the last line begins; no item's does.
const END: &[u8] = b"{\"end\":";
/// The longest line that is read: the largest item there can be, with room.
const MOST_LINE: u64 = 1_000_000;

/// The first line.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Header {
    /// [`SCHEMA`].
    schema: String,
    /// Whose state it is.
    pub network: NetworkId,
    /// When the state was as it is in here, or a moment before.
    pub taken_at: Timestamp,
    /// The store that it is of, without secrets; backups of before do not say.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub store: Option<String>,
    /// The program that wrote it.
    pub by: String,
}

impl Header {
    /// Of a backup of `store` that is made now.
    pub fn new(network: NetworkId, taken_at: Timestamp, store: String) -> Self {
        Self {
            schema: SCHEMA.to_owned(),
            network,
            taken_at,
            store: Some(store),
            by: format!("posternctl {}", env!("CARGO_PKG_VERSION")),
        }
    }
}

/// What the last line says.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Totals {
    /// How many items there are.
    pub items: u64,
    /// SHA-256 of all bytes before the last line, lowercase hexadecimal.
    pub sha256: String,
}

#[derive(Serialize, Deserialize)]
struct End {
    end: Totals,
}

/// An item's line.
#[derive(Serialize, Deserialize)]
#[serde(deny_unknown_fields)]
struct Line<'a> {
    pk: std::borrow::Cow<'a, str>,
    sk: std::borrow::Cow<'a, str>,
    version: u64,
    body: std::borrow::Cow<'a, serde_json::Value>,
    #[serde(default, skip_serializing_if = "Option::is_none")]
    expires_at: Option<Timestamp>,
}

/// Writes a backup, item by item.
pub struct Writer<W: Write> {
    out: W,
    hash: Sha256,
    items: u64,
}

impl<W: Write> Writer<W> {
    /// Begins with the header.
    pub fn begin(out: W, header: &Header) -> anyhow::Result<Self> {
        let mut writer = Self {
            out,
            hash: Sha256::new(),
            items: 0,
        };
        writer.line(header)?;
        Ok(writer)
    }

    /// Adds an item.
    pub fn item(&mut self, item: &Item) -> anyhow::Result<()> {
        self.line(&line(item))?;
        self.items += 1;
        Ok(())
    }

    /// Adds the last line; gives back where all was written to.
    pub fn finish(mut self) -> anyhow::Result<(W, Totals)> {
        let totals = Totals {
            items: self.items,
            sha256: data_encoding::HEXLOWER.encode(&self.hash.finalize_reset()),
        };
        let end = End {
            end: totals.clone(),
        };
        self.line(&end)?;
        Ok((self.out, totals))
    }

    fn line(&mut self, line: &impl Serialize) -> anyhow::Result<()> {
        let mut bytes = serde_json::to_vec(line)?;
        bytes.push(b'\n');
        self.hash.update(&bytes);
        self.out.write_all(&bytes)?;
        Ok(())
    }
}

/// The bytes that stand for an item, the same for the same item.
pub fn bytes(item: &Item) -> anyhow::Result<Vec<u8>> {
    Ok(serde_json::to_vec(&line(item))?)
}

fn line(item: &Item) -> Line<'_> {
    use std::borrow::Cow::Borrowed;
    Line {
        pk: Borrowed(&item.key.pk),
        sk: Borrowed(&item.key.sk),
        version: item.version,
        body: Borrowed(&item.body),
        expires_at: item.expires_at,
    }
}

/// Reads a backup, item by item.
pub struct Reader<R: Read> {
    lines: BufReader<R>,
    hash: Sha256,
    items: u64,
    header: Header,
    line: Vec<u8>,
    totals: Option<Totals>,
}

impl<R: Read> Reader<R> {
    /// Reads the header.
    pub fn begin(input: R) -> anyhow::Result<Self> {
        let mut lines = BufReader::new(input);
        let mut hash = Sha256::new();
        let mut line = Vec::new();
        read_line(&mut lines, &mut line)?;
        hash.update(&line);
        let said: serde_json::Value =
            serde_json::from_slice(&line).context("it holds no backup of Postern")?;
        let schema = said["schema"].as_str().unwrap_or("none");
        if schema != SCHEMA {
            bail!(
                "it holds the schema '{schema}', this program reads '{SCHEMA}': use the release that made it"
            );
        }
        let header = serde_json::from_slice(&line).context("its first line cannot be read")?;
        Ok(Self {
            lines,
            hash,
            items: 0,
            header,
            line,
            totals: None,
        })
    }

    /// The first line.
    pub fn header(&self) -> &Header {
        &self.header
    }

    /// The next item; none once the last line was read and found to be right.
    pub fn next(&mut self) -> anyhow::Result<Option<Item>> {
        if self.totals.is_some() {
            return Ok(None);
        }
        read_line(&mut self.lines, &mut self.line)?;
        if self.line.starts_with(END) {
            let End { end } = serde_json::from_slice(&self.line).context("its last line")?;
            self.check_end(end)?;
            return Ok(None);
        }
        self.hash.update(&self.line);
        self.items += 1;
        let number = self.items;
        let read: Line<'_> = serde_json::from_slice(&self.line)
            .with_context(|| format!("its item {number} cannot be read"))?;
        Ok(Some(Item {
            key: Key::new(read.pk, read.sk),
            version: read.version,
            body: read.body.into_owned(),
            expires_at: read.expires_at,
        }))
    }

    /// What the last line says, once it was read.
    pub fn totals(&self) -> Option<&Totals> {
        self.totals.as_ref()
    }

    fn check_end(&mut self, end: Totals) -> anyhow::Result<()> {
        let sha256 = data_encoding::HEXLOWER.encode(&self.hash.finalize_reset());
        if end.items != self.items || end.sha256 != sha256 {
            bail!(
                "it holds {} items with the hash {sha256}, and says that it has {} with {}: use another copy",
                self.items,
                end.items,
                end.sha256
            );
        }
        if self.lines.read(&mut [0])? != 0 {
            bail!("something stands behind its last line: use another copy");
        }
        self.totals = Some(end);
        Ok(())
    }
}

/// Reads one line with its end into `line`.
fn read_line(lines: &mut impl BufRead, line: &mut Vec<u8>) -> anyhow::Result<()> {
    line.clear();
    let mut limited = lines.take(MOST_LINE);
    limited.read_until(b'\n', line)?;
    if !line.ends_with(b"\n") {
        bail!("it ends in the middle, or a line of it is too long: use another copy");
    }
    Ok(())
}

#[cfg(test)]
mod tests {
    use serde_json::json;

    use super::*;

    fn items() -> Vec<Item> {
        let item = |sk: &str, version, expires_at| Item {
            key: Key::new("p\0ä", sk),
            version,
            body: json!({"": [null, {"end": "\n"}], "n": -1, "big": u64::MAX}),
            expires_at,
        };
        let end = Timestamp::from_millisecond(1_800_000_000_123).unwrap();
        vec![
            item("a", 1, None),
            item("b", u64::MAX, Some(end)),
            item("{\"end\":", 2, None),
        ]
    }

    fn written(items: &[Item]) -> (Vec<u8>, Totals) {
        let network = NetworkId::from_random([7; 5]);
        let mut writer = Writer::begin(
            Vec::new(),
            &Header::new(network, Timestamp::UNIX_EPOCH, "sqlite:/s".to_owned()),
        )
        .unwrap();
        for item in items {
            writer.item(item).unwrap();
        }
        writer.finish().unwrap()
    }

    fn read(bytes: &[u8]) -> anyhow::Result<(Vec<Item>, Totals)> {
        let mut reader = Reader::begin(bytes)?;
        let mut items = Vec::new();
        while let Some(item) = reader.next()? {
            items.push(item);
        }
        Ok((items, reader.totals().cloned().context("no end")?))
    }

    #[test]
    fn items_come_back_as_they_were() {
        for items in [Vec::new(), items()] {
            let (bytes, totals) = written(&items);

            let (found, end) = read(&bytes).unwrap();

            assert_eq!(found, items);
            assert_eq!((end.items, &end), (items.len() as u64, &totals));
        }
    }

    #[test]
    fn a_file_without_one_of_its_lines_is_refused() {
        let (bytes, _) = written(&items());
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for gone in 0..lines.len() {
            let mut left = lines.clone();
            left.remove(gone);
            assert!(read(&left.concat()).is_err(), "without line {gone}");
        }
        for end in 0..bytes.len() {
            assert!(read(&bytes[..end]).is_err(), "{end} bytes");
        }
    }

    #[test]
    fn a_file_with_a_line_more_is_refused() {
        let (bytes, _) = written(&items());
        let lines: Vec<&[u8]> = bytes.split_inclusive(|byte| *byte == b'\n').collect();
        for again in 0..lines.len() {
            let mut more = lines.clone();
            more.insert(again, lines[again]);
            assert!(read(&more.concat()).is_err(), "line {again} twice");
        }
    }

    #[test]
    fn another_schema_is_named() {
        let (bytes, _) = written(&items());
        let text = String::from_utf8(bytes).unwrap();
        let error = read(text.replace("backup/1", "backup/2").as_bytes()).unwrap_err();
        assert!(error.to_string().contains("postern-backup/2"), "{error}");
    }
}
