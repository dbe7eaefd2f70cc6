//! What a deployment tells a function: the environment's variables on Lambda, the bindings on
//! Workers, under the same names and with the same contents.
//!
//! A [`Reader`] goes through all of them and keeps every fault, so that whoever deploys sees the
//! whole list at once and not one line a deployment. A fault names the setting and what it should
//! hold. What it does hold is never repeated: it may be a secret.

mod parts;

use std::fmt::{self, Display};

use api::sealed::ControlSecrets;
use model::Network;

pub use parts::{MOST_BINDING, in_parts, joined};

/// The network's settings.
pub const NETWORK: Setting = Setting {
    name: "POSTERN_NETWORK",
    holds: "the network's settings as JSON: the member 'network' of network.json",
};
/// The table of all items.
pub const TABLE: Setting = Setting {
    name: "POSTERN_TABLE",
    holds: "the name of the DynamoDB table, 3 to 255 of A-Z a-z 0-9 _ . -",
};
/// Where the table is. Lambda sets it, as the three that follow.
pub const REGION: Setting = Setting {
    name: "AWS_REGION",
    holds: "the table's AWS region, such as eu-central-1",
};
/// Whose right to the table is used.
pub const ACCESS_KEY: Setting = Setting {
    name: "AWS_ACCESS_KEY_ID",
    holds: "the id of an AWS access key that may read and write the table",
};
/// What proves it.
pub const SECRET_KEY: Setting = Setting {
    name: "AWS_SECRET_ACCESS_KEY",
    holds: "the secret of the access key",
};
/// What a temporary access key needs besides.
pub const SESSION_TOKEN: Setting = Setting {
    name: "AWS_SESSION_TOKEN",
    holds: "the session token of a temporary access key, or nothing",
};
/// The signed limits, without their signature.
pub const LIMITS: Setting = Setting {
    name: "POSTERN_LIMITS",
    holds: "the network's limits as JSON: the file limits.json that the offline keys have signed",
};
/// The secret halves of the control keys.
pub const CONTROL_KEY: Setting = Setting {
    name: "POSTERN_CONTROL_KEY",
    holds: "the control keys' file: JSON of the schema postern-control-keys/1, or nothing",
};
/// A stand-in for the region's DynamoDB, by the name that AWS's own programs know.
pub const ENDPOINT: Setting = Setting {
    name: "AWS_ENDPOINT_URL_DYNAMODB",
    holds: "an https URL to be used instead of the region's DynamoDB (http on loopback only), or nothing",
};
/// A stand-in for all of AWS, where none is named for a service, by the name that AWS's own programs know.
pub const ENDPOINT_OF_ALL: Setting = Setting {
    name: "AWS_ENDPOINT_URL",
    holds: "an https URL to be used instead of AWS (http on loopback only), or nothing",
};

/// One setting: what it is called, and what it should hold.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Setting {
    /// The name of the variable or the binding.
    pub name: &'static str,
    /// What it should hold, for whoever deploys.
    pub holds: &'static str,
}

/// Gives the text of a setting by its name, or says why there is one that cannot be had.
pub type Source<'a> = &'a dyn Fn(&str) -> Result<Option<String>, String>;

/// Reads settings and remembers what is wrong with them.
pub struct Reader<'a> {
    source: Source<'a>,
    faults: Vec<Fault>,
}

impl<'a> Reader<'a> {
    /// A reader of `source`.
    pub fn new(source: Source<'a>) -> Self {
        Self {
            source,
            faults: Vec::new(),
        }
    }

    /// A setting that must be there. `parse` says what it makes of the text, or, without repeating
    /// it, why it can make nothing of it.
    pub fn required<T>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        let Some(text) = self.text(setting)? else {
            return self.fault(setting, "is missing".to_owned());
        };
        self.parsed(setting, &text, parse)
    }

    /// A setting that need not be there: `Some(None)` without it.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there was a fault"
    )]
    pub fn optional<T>(
        &mut self,
        setting: Setting,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<Option<T>> {
        let Some(text) = self.text(setting)? else {
            return Some(None);
        };
        self.parsed(setting, &text, parse).map(Some)
    }

    /// Whether a setting is there, with whatever text.
    pub fn has(&self, setting: Setting) -> bool {
        (self.source)(setting.name).is_ok_and(|text| text.is_some_and(|text| !text.is_empty()))
    }

    /// What stands for a setting that is not there, or why it cannot be made.
    pub fn made<T>(
        &mut self,
        setting: Setting,
        make: impl FnOnce() -> Result<T, String>,
    ) -> Option<T> {
        match make() {
            Ok(value) => Some(value),
            Err(why) => self.fault(setting, format!("is missing, and without it ({why})")),
        }
    }

    /// What was wrong, if anything was.
    pub fn finish(self) -> Result<(), Faults> {
        if self.faults.is_empty() {
            return Ok(());
        }
        Err(Faults(self.faults))
    }

    /// The text of a setting. An empty one counts as missing, as it does for AWS's own programs.
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there was a fault"
    )]
    fn text(&mut self, setting: Setting) -> Option<Option<String>> {
        match (self.source)(setting.name) {
            Ok(text) => Some(text.filter(|text| !text.is_empty())),
            Err(why) => self.fault(setting, format!("cannot be had ({why})")),
        }
    }

    fn parsed<T>(
        &mut self,
        setting: Setting,
        text: &str,
        parse: impl FnOnce(&str) -> Result<T, String>,
    ) -> Option<T> {
        match parse(text) {
            Ok(value) => Some(value),
            Err(why) => self.fault(setting, format!("cannot be used ({why})")),
        }
    }

    fn fault<T>(&mut self, setting: Setting, why: String) -> Option<T> {
        self.faults.push(Fault { setting, why });
        None
    }
}

/// All that is wrong with a deployment's settings.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Faults(Vec<Fault>);

#[derive(Clone, PartialEq, Eq, Debug)]
struct Fault {
    setting: Setting,
    why: String,
}

impl std::error::Error for Faults {}

impl Display for Faults {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{} of the function's settings are wrong:", self.0.len())?;
        for Fault { setting, why } in &self.0 {
            write!(
                f,
                " {} {why}: it must hold {}.",
                setting.name, setting.holds
            )?;
        }
        Ok(())
    }
}

/// A DynamoDB table, and the right to it.
pub struct Table {
    /// The table's name.
    pub name: String,
    /// Where it is, and who calls.
    pub access: Access,
}

/// A region's DynamoDB, and the right to call it.
pub struct Access {
    /// The region.
    pub region: String,
    /// The id of the access key.
    pub access_key: String,
    /// Its secret.
    pub secret_key: String,
    /// The session token of a temporary one.
    pub session_token: Option<String>,
    /// What stands in for the region's DynamoDB.
    pub endpoint: Option<String>,
}

/// The stand-in for a service that `setting` names, or else for all of AWS.
#[allow(
    clippy::option_option,
    reason = "the outer one says whether there was a fault"
)]
pub fn endpoint_of(reader: &mut Reader<'_>, setting: Setting) -> Option<Option<String>> {
    let own = reader.optional(setting, endpoint);
    let of_all = reader.optional(ENDPOINT_OF_ALL, endpoint);
    own.zip(of_all).map(|(own, of_all)| own.or(of_all))
}

/// The network's settings; without a value the reader holds what is wrong.
pub fn network(reader: &mut Reader<'_>) -> Option<Network> {
    reader.required(NETWORK, parse_network)
}

impl Table {
    /// Reads it, its name from `setting`; without a value the reader holds what is wrong.
    pub fn read(reader: &mut Reader<'_>, setting: Setting) -> Option<Self> {
        let name = reader.required(setting, table);
        let access = Access::read(reader);
        Some(Self {
            name: name?,
            access: access?,
        })
    }
}

impl Access {
    /// Reads it; without a value the reader holds what is wrong.
    pub fn read(reader: &mut Reader<'_>) -> Option<Self> {
        let region = reader.required(REGION, region);
        let access_key = reader.required(ACCESS_KEY, one_word);
        let secret_key = reader.required(SECRET_KEY, one_word);
        let session_token = reader.optional(SESSION_TOKEN, one_word);
        let endpoint = endpoint_of(reader, ENDPOINT);
        Some(Self {
            region: region?,
            access_key: access_key?,
            secret_key: secret_key?,
            session_token: session_token?,
            endpoint: endpoint?,
        })
    }
}

/// A setting that holds JSON of the type `T`. The reason gives the place alone: serde's own text
/// may repeat what stands there.
pub fn json<T: serde::de::DeserializeOwned>(text: &str) -> Result<T, String> {
    serde_json::from_str(text).map_err(|error| {
        use serde_json::error::Category;
        let what = match error.classify() {
            Category::Data => "a member is missing or holds something else",
            Category::Syntax | Category::Eof | Category::Io => "it is not JSON",
        };
        let (line, column) = (error.line(), error.column());
        format!("{what}, line {line}, column {column}")
    })
}

/// The control keys; without the setting there are none, and no sealed request can be opened.
pub fn control_keys(reader: &mut Reader<'_>) -> Option<ControlSecrets> {
    // Its errors never quote the secret.
    let keys = |text: &str| ControlSecrets::from_json(text).map_err(|error| error.to_string());
    reader
        .optional(CONTROL_KEY, keys)
        .map(Option::unwrap_or_default)
}

fn parse_network(text: &str) -> Result<Network, String> {
    let network: Network = json(text)?;
    // A text of ranges, without the values.
    network.timing.check().map_err(|error| error.to_string())?;
    Ok(network)
}

/// The name of a table. The reason never repeats it.
pub fn table(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_alphanumeric() || matches!(c, '_' | '.' | '-');
    if (3..=255).contains(&text.len()) && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("it is no name of a table".to_owned())
}

fn region(text: &str) -> Result<String, String> {
    let plain = |c: char| c.is_ascii_lowercase() || c.is_ascii_digit() || c == '-';
    if text.contains('-') && text.chars().all(plain) {
        return Ok(text.to_owned());
    }
    Err("it is no name of a region".to_owned())
}

/// A setting that holds one word, such as a key. Blanks and line ends come along when a secret is pasted,
/// and would be signed with.
pub fn one_word(text: &str) -> Result<String, String> {
    if text.chars().all(|c| c.is_ascii_graphic()) {
        return Ok(text.to_owned());
    }
    Err("it has blanks or other characters that no key has".to_owned())
}

fn endpoint(text: &str) -> Result<String, String> {
    if api::contact::is_private(text) {
        return Ok(text.trim_end_matches('/').to_owned());
    }
    Err("it is not https, or no URL".to_owned())
}

#[cfg(test)]
mod tests;
