//! Secrets that the data folder does not hold: a provider's token, keys of buckets elsewhere.
//!
//! A file has a line `NAME=value` for each, the value in a shell's quotes where it needs them; empty lines
//! and those that begin with `#` are for people. It must be readable by its owner alone. No error quotes
//! a value, and no `Debug` shows one.

use std::collections::BTreeMap;
use std::fmt;
use std::fs;
use std::os::unix::fs::PermissionsExt;
use std::path::Path;

use anyhow::{Context, bail};

/// Secrets by the names of the functions' settings.
#[derive(Default)]
pub struct Secrets(BTreeMap<&'static str, String>);

impl fmt::Debug for Secrets {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_set().entries(self.0.keys()).finish()
    }
}

impl Secrets {
    /// Those of `names` that the file holds, or else `environment`. A file that holds others is refused:
    /// a name that was misspelt would be missing without a word.
    pub fn read(
        file: Option<&Path>,
        names: &[&'static str],
        environment: impl Fn(&str) -> Option<String>,
    ) -> anyhow::Result<Self> {
        let mut all = BTreeMap::new();
        for name in names {
            if let Some(text) = environment(name).filter(|text| !text.is_empty()) {
                all.insert(*name, text);
            }
        }
        if let Some(file) = file {
            let shown = file.display();
            for (name, text) in parse(&read_private(file)?).with_context(|| shown.to_string())? {
                let Some(known) = names.iter().find(|known| **known == name) else {
                    bail!(
                        "{shown} names {name}, which is not asked for here: it may name {}",
                        names.join(", ")
                    );
                };
                all.insert(known, text);
            }
        }
        Ok(Self(all))
    }

    /// The secret of this name.
    pub fn get(&self, name: &str) -> Option<&str> {
        self.0.get(name).map(String::as_str)
    }
}

/// A file's text, if its owner alone can read it.
fn read_private(file: &Path) -> anyhow::Result<String> {
    let shown = file.display();
    let about = fs::metadata(file).with_context(|| shown.to_string())?;
    if about.permissions().mode() & 0o077 != 0 {
        bail!("others on this machine can read {shown}: run 'chmod 600 {shown}'");
    }
    fs::read_to_string(file).with_context(|| shown.to_string())
}

fn parse(text: &str) -> anyhow::Result<Vec<(String, String)>> {
    let mut all: Vec<(String, String)> = Vec::new();
    for (number, line) in (1..).zip(text.lines()) {
        let line = line.trim();
        if line.is_empty() || line.starts_with('#') {
            continue;
        }
        let Some((name, text)) = line.split_once('=') else {
            bail!("line {number} is no NAME=value");
        };
        let (name, words) = (name.trim(), shlex::split(text));
        let text = match words.as_deref() {
            Some([]) => String::new(),
            Some([word]) => word.clone(),
            _ => bail!("the value in line {number} is more than one word: put it in quotes"),
        };
        if all.iter().any(|(other, _)| other == name) {
            bail!("line {number} names {name} a second time");
        }
        all.push((name.to_owned(), text));
    }
    Ok(all)
}

#[cfg(test)]
mod tests {
    use super::*;

    const NAMES: [&str; 2] = ["POSTERN_HETZNER_TOKEN", "POSTERN_MIRROR_KEYS"];

    fn file(text: &str, mode: u32) -> tempfile::NamedTempFile {
        let file = tempfile::NamedTempFile::new().unwrap();
        fs::write(file.path(), text).unwrap();
        fs::set_permissions(file.path(), fs::Permissions::from_mode(mode)).unwrap();
        file
    }

    #[test]
    fn a_file_goes_before_the_environment_and_quotes_are_as_in_a_shell() {
        let text = "# tokens\n\nPOSTERN_MIRROR_KEYS='{\"it'\\''s\": \"a key\"}'\n";
        let file = file(text, 0o600);
        let environment = |name: &str| Some(format!("from outside: {name}"));

        let secrets = Secrets::read(Some(file.path()), &NAMES, environment).unwrap();

        let keys = secrets.get("POSTERN_MIRROR_KEYS");
        assert_eq!(keys, Some("{\"it's\": \"a key\"}"));
        let token = secrets.get("POSTERN_HETZNER_TOKEN").unwrap();
        assert!(token.starts_with("from outside"));
        assert!(!format!("{secrets:?}").contains("outside"), "{secrets:?}");
    }

    #[test]
    fn a_file_that_others_can_read_or_that_cannot_be_meant_is_refused_without_its_secrets() {
        let refused = |text: &str, mode| {
            let file = file(text, mode);
            let error = Secrets::read(Some(file.path()), &NAMES, |_| None).unwrap_err();
            let error = format!("{error:#}");
            assert!(!error.contains("hidden"), "{error}");
            error
        };

        let readable = refused("POSTERN_HETZNER_TOKEN=hidden", 0o644);
        let misspelt = refused("POSTERN_HETZNER_TOKENS=hidden", 0o600);
        let two_words = refused("POSTERN_HETZNER_TOKEN=hidden hidden", 0o600);
        let twice = refused(
            "POSTERN_HETZNER_TOKEN=hidden\nPOSTERN_HETZNER_TOKEN=hidden",
            0o600,
        );
        let no_line = refused("hidden", 0o600);

        assert!(readable.contains("chmod 600"), "{readable}");
        assert!(misspelt.contains("not asked for"), "{misspelt}");
        assert!(two_words.contains("line 1"), "{two_words}");
        assert!(twice.contains("second time"), "{twice}");
        assert!(no_line.contains("line 1"), "{no_line}");
    }
}
