//! `posternctl settings`: what a deployed function must be told, from the data folder.
//!
//! What depends on the place of a deployment is not here: the table, the right to it, `publish`'s
//! mirrors, where evidence goes, the providers and their tokens.

use clap::ValueEnum;
use edge::settings::{self, CONTROL_KEY, LIMITS, NETWORK};

use crate::data::Folder;

/// A function that can be deployed.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum, Debug)]
pub enum Function {
    /// Devices come in.
    Enroll,
    /// Gateways come in, and pull.
    Register,
    /// What admins see and do.
    Admin,
    /// Signs catalogs, on a schedule.
    Publish,
    /// Rents nodes as the fleet wants, on a schedule and when it is asked.
    Reconcile,
    /// Removes what nobody needs, on a schedule and when it is asked.
    Cleanup,
}

impl Function {
    /// Its name for people, for its archive and for clouds.
    pub fn name(self) -> String {
        let value = self.to_possible_value();
        value.map_or_else(String::new, |value| value.get_name().to_owned())
    }

    /// Whether it holds a provider's token, and is there only where there is one.
    pub fn rents(self) -> bool {
        matches!(self, Self::Reconcile | Self::Cleanup)
    }
}

/// What a function is deployed on.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Runtime {
    /// AWS Lambda: variables of the environment, or files of the package.
    Lambda,
    /// Cloudflare Workers: bindings. What is too long for one stands in several (`NAME`, `NAME_2`, …).
    Workers,
}

/// Prints the settings of a function, its secrets among them: as `NAME='text'`, a line each, or as
/// one JSON object.
pub fn run(data: &Folder, function: Function, runtime: Runtime, json: bool) -> anyhow::Result<()> {
    let whole = of(data, function)?.into_iter();
    let settings: Vec<(String, String)> = match runtime {
        Runtime::Lambda => whole.map(|(name, text)| (name.to_owned(), text)).collect(),
        Runtime::Workers => whole
            .flat_map(|(name, text)| settings::in_parts(name, &text))
            .collect(),
    };
    if json {
        let object: serde_json::Map<_, _> = settings
            .into_iter()
            .map(|(name, text)| (name, text.into()))
            .collect();
        say!("{}", serde_json::Value::Object(object));
        return Ok(());
    }
    for (name, text) in settings {
        // As a shell reads it, so that the lines can be sourced.
        say!("{name}='{}'", text.replace('\'', r"'\''"));
    }
    Ok(())
}

/// What opens sealed requests, where the network has it.
fn control_keys(data: &Folder) -> anyhow::Result<Option<(&'static str, String)>> {
    let keys = data.control_keys()?;
    Ok((!keys.is_empty()).then(|| (CONTROL_KEY.name, keys.to_json())))
}

/// The settings of a function that the data folder holds, by their names.
pub fn of(data: &Folder, function: Function) -> anyhow::Result<Vec<(&'static str, String)>> {
    let settings = data.settings()?;
    let network = serde_json::to_string(&settings.network)?;
    let mut all = vec![(NETWORK.name, network)];
    match function {
        Function::Cleanup => {}
        Function::Enroll => all.extend(control_keys(data)?),
        Function::Register => {
            all.extend(control_keys(data)?);
            let key = data.config_key(&data.offline()?)?;
            all.push((register::CONFIG_KEY.name, key.to_file_json()));
        }
        Function::Admin => {
            let limits = serde_json::to_string(&data.offline()?.limits)?;
            all.push((LIMITS.name, limits));
            if let Some(code) = &settings.setup {
                all.push((admin::SETUP_CODE.name, serde_json::to_string(code)?));
            }
        }
        Function::Reconcile => {
            let contact = data.first_contact(&settings)?;
            all.extend([
                (reconcile::BOOTSTRAP_KEY.name, data.bootstrap_key()?),
                (reconcile::CONTACT.name, serde_json::to_string(&contact)?),
                (LIMITS.name, serde_json::to_string(&data.offline()?.limits)?),
            ]);
        }
        Function::Publish => {
            use publish::settings as of;
            let offline = data.offline()?;
            let keys = data.online_keys(&offline.authority)?;
            let doors = settings.front_doors.iter();
            let doors: Vec<&String> = doors.map(|door| &door.url).collect();
            all.extend([
                (of::CATALOGS_KEY.name, keys.catalogs.to_file_json()),
                (of::SNAPSHOT_KEY.name, keys.snapshot.to_file_json()),
                (of::TIMESTAMP_KEY.name, keys.timestamp.to_file_json()),
                (of::OFFLINE.name, of::write_offline(&offline)),
                (of::FRONT_DOORS.name, serde_json::to_string(&doors)?),
            ]);
        }
    }
    Ok(all)
}
