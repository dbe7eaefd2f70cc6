//! The functions' archives: a zip with one program, `bootstrap`, each.
//!
//! A release has them as `<function>-lambda.zip`. Where there is a binary `<function>-lambda` alone, as
//! `infra/scripts/functions` leaves it, its archive is made here, the same bytes each time. What an archive
//! holds is looked at before anything is deployed: a program for Linux, all for one kind of processor.

use std::io::{Cursor, Read as _, Write as _};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use data_encoding::HEXLOWER;
use sha2::{Digest, Sha256};
use zip::write::SimpleFileOptions;
use zip::{CompressionMethod, ZipArchive, ZipWriter};

use crate::settings::Function;

/// The one file of an archive ("Building a custom runtime for AWS Lambda").
const PROGRAM: &str = "bootstrap";
/// The most bytes of an archive that is unpacked, of 250 MB with layers ("Lambda quotas"). It is far above
/// any of ours, and bounds what a strange archive can make of this machine's memory.
const MOST_UNPACKED: u64 = 250 * 1024 * 1024;

/// The minor version of glibc 2 that `provided.al2023` has (Amazon Linux 2023 has glibc 2.34 for good).
const LIBC: u32 = 34;
/// What a program asks of it stands before its code, in far less than so many bytes.
const HEAD: u64 = 1024 * 1024;

/// The archive of one function.
pub struct Archive {
    /// Which function's.
    pub function: Function,
    /// The zip.
    pub bytes: Vec<u8>,
    /// Its SHA-256, in hex.
    pub sha256: String,
    /// For which processor: `arm64` or `x86_64`.
    pub architecture: &'static str,
}

/// Those of `functions` in `folder`.
pub fn read(folder: &Path, functions: &[Function]) -> anyhow::Result<Vec<Archive>> {
    let archives: Vec<Archive> = functions
        .iter()
        .map(|function| one(folder, *function))
        .collect::<Result<_, _>>()?;
    let mut kinds = archives.iter().map(|archive| archive.architecture);
    let first = kinds.next();
    if kinds.any(|kind| Some(kind) != first) {
        bail!(
            "the archives in {} are for different processors: build all of them anew for one",
            folder.display()
        );
    }
    Ok(archives)
}

fn one(folder: &Path, function: Function) -> anyhow::Result<Archive> {
    let name = function.name();
    let zip = folder.join(format!("{name}-lambda.zip"));
    let binary = folder.join(format!("{name}-lambda"));
    let read = |path: &PathBuf| std::fs::read(path).with_context(|| path.display().to_string());
    let bytes = if zip.exists() {
        read(&zip)?
    } else if binary.exists() {
        pack(&read(&binary)?)?
    } else {
        bail!(
            "{} is not there: name the folder of a release with --archives, or build the functions with \
             'infra/scripts/functions lambda'",
            zip.display()
        );
    };
    let shown = if zip.exists() { &zip } else { &binary };
    let architecture = architecture(&bytes).with_context(|| shown.display().to_string())?;
    Ok(Archive {
        function,
        sha256: HEXLOWER.encode(&Sha256::digest(&bytes)),
        bytes,
        architecture,
    })
}

/// An archive of the program. Its times are those that zip begins with, so that it does not depend on when
/// it is made.
fn pack(program: &[u8]) -> anyhow::Result<Vec<u8>> {
    let mut zip = ZipWriter::new(Cursor::new(Vec::new()));
    let options = SimpleFileOptions::default()
        .compression_method(CompressionMethod::Deflated)
        .last_modified_time(zip::DateTime::default())
        .unix_permissions(0o755);
    zip.start_file(PROGRAM, options)?;
    zip.write_all(program)?;
    Ok(zip.finish()?.into_inner())
}

/// For which processor the program in the archive is.
fn architecture(archive: &[u8]) -> anyhow::Result<&'static str> {
    let mut zip = ZipArchive::new(Cursor::new(archive)).context("it is no zip")?;
    let program = zip.by_name(PROGRAM);
    let program = program.with_context(|| format!("it holds no '{PROGRAM}'"))?;
    if program.size() > MOST_UNPACKED {
        bail!("'{PROGRAM}' is larger than Lambda takes");
    }
    if program.unix_mode().is_none_or(|mode| mode & 0o111 == 0) {
        bail!("'{PROGRAM}' may not be executed");
    }
    // ELF's header: the magic, a class for 64 bits, the byte order, and at 18 the machine (System V ABI,
    // "ELF header").
    let mut head = Vec::new();
    program.take(HEAD).read_to_end(&mut head)?;
    if !head.starts_with(b"\x7fELF\x02\x01") || head.len() < 20 {
        bail!("'{PROGRAM}' is no program for Linux");
    }
    if let Some(newer) = libc(&head).filter(|minor| *minor > LIBC) {
        bail!(
            "'{PROGRAM}' needs glibc 2.{newer}, and Lambda's Linux has 2.{LIBC}: build it on an older system"
        );
    }
    match u16::from_le_bytes([head[18], head[19]]) {
        62 => Ok("x86_64"),
        183 => Ok("arm64"),
        other => bail!("'{PROGRAM}' is for the machine {other} of ELF, which Lambda has not"),
    }
}

/// The newest minor version of glibc 2 that a program asks for, by the names of its symbols' versions.
fn libc(head: &[u8]) -> Option<u32> {
    let texts = head.split(|byte| *byte == 0);
    let versions = texts.filter_map(|text| {
        let text = std::str::from_utf8(text.strip_prefix(b"GLIBC_2.")?).ok()?;
        text.split('.').next()?.parse().ok()
    });
    versions.max()
}

#[cfg(test)]
mod tests {
    use super::*;

    fn program(machine: u8) -> Vec<u8> {
        let mut program = b"\x7fELF\x02\x01\x01".to_vec();
        program.resize(18, 0);
        program.extend([machine, 0]);
        program.resize(4096, 7);
        program
    }

    #[test]
    fn an_archive_is_the_same_bytes_each_time_and_says_its_processor() {
        let folder = tempfile::tempdir().unwrap();
        for name in ["enroll", "publish"] {
            let path = folder.path().join(format!("{name}-lambda"));
            std::fs::write(path, program(183)).unwrap();
        }
        let functions = [Function::Enroll, Function::Publish];

        let first = read(folder.path(), &functions).unwrap();
        std::fs::write(folder.path().join("enroll-lambda.zip"), &first[0].bytes).unwrap();
        let again = read(folder.path(), &functions).unwrap();

        assert_eq!(first[0].architecture, "arm64");
        assert_eq!(first[0].sha256, again[0].sha256);
        assert_eq!(first[0].sha256, first[1].sha256);
    }

    #[test]
    fn what_lambda_could_not_run_is_refused_before_it_is_deployed() {
        let folder = tempfile::tempdir().unwrap();
        let refused = |name: &str, bytes: &[u8]| {
            std::fs::write(folder.path().join(name), bytes).unwrap();
            let error = read(folder.path(), &[Function::Admin]).err().unwrap();
            format!("{error:#}")
        };
        let missing = read(folder.path(), &[Function::Admin]).err().unwrap();
        let script = refused("admin-lambda", b"#!/bin/sh\nexit 0\n");
        let riscv = refused("admin-lambda", &program(243));
        let mut newer = program(62);
        newer.extend(b"\0GLIBC_2.34\0GLIBC_2.9\0GLIBC_2.36\0");
        let newer = refused("admin-lambda", &newer);
        let no_zip = refused("admin-lambda.zip", b"admin");

        assert!(missing.to_string().contains("--archives"), "{missing}");
        assert!(script.contains("no program for Linux"), "{script}");
        assert!(riscv.contains("machine 243"), "{riscv}");
        assert!(newer.contains("needs glibc 2.36"), "{newer}");
        assert!(no_zip.contains("no zip"), "{no_zip}");
    }

    #[test]
    fn archives_for_different_processors_are_not_mixed() {
        let folder = tempfile::tempdir().unwrap();
        std::fs::write(folder.path().join("admin-lambda"), program(62)).unwrap();
        std::fs::write(folder.path().join("enroll-lambda"), program(183)).unwrap();

        let error = read(folder.path(), &[Function::Admin, Function::Enroll]);

        let error = error.err().unwrap().to_string();
        assert!(error.contains("different processors"), "{error}");
    }
}
