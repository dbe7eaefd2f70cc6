//! `posternctl control-keys`: what devices and gateways seal their requests to, on this machine.
//!
//! A key takes another's place in steps, and in none of them is anybody shut out (docs/adr/0094):
//! `new` adds it, the functions are told, and only then do the offline keys name it in the recovery
//! kit and in `trust.json`. Clients learn it there; when all have, `remove` ends the one of before.

use anyhow::bail;
use api::sealed::ControlSecrets;
use clap::Subcommand;
use model::ControlKey;
use serde_json::json;

use crate::data::{Folder, signed_control_keys};
use crate::random;

/// What to do.
#[derive(Subcommand)]
pub enum ControlKeysAction {
    /// Make one more. Nothing is sealed to it before the offline keys have named it.
    New,
    /// Forget one: what is sealed to it is refused from then on.
    Remove {
        /// Its number.
        number: u8,
    },
}

/// Lists the keys, after what `action` asks for.
pub fn run(data: &Folder, action: Option<&ControlKeysAction>, json: bool) -> anyhow::Result<()> {
    data.settings()?;
    // Without the lock: this works beside an 'up' that runs, which reads them when it restarts.
    // Also when the named one is lost: 'new' is the way out.
    let keys = data.control_keys_held()?;
    let signed = signed_control_keys(&data.offline()?)?;
    // A key that was made for a lost one may have its number, and is another.
    let named = |key: &ControlKey| signed.contains(key);
    let keys = match action {
        None => keys,
        Some(ControlKeysAction::New) => {
            let keys = keys.with_new(random()?)?;
            data.write_control_keys(&keys)?;
            keys
        }
        Some(ControlKeysAction::Remove { number }) => {
            if signed.iter().any(|signed| signed.id() == *number) {
                bail!(
                    "the recovery kit or trust.json names the key {number}: clients seal to it. Name another \
                     one first ('posternctl root begin --control-key KEY'), and wait until they have synced"
                );
            }
            let left = keys.without(*number);
            if left == keys {
                bail!("there is no control key {number}: 'posternctl control-keys' lists them");
            }
            data.write_control_keys(&left)?;
            left
        }
    };
    if json {
        let list = keys.public().into_iter();
        let list = list.map(|key| json!({"number": key.id(), "key": key, "named": named(&key)}));
        say!("{}", json!({"control_keys": list.collect::<Vec<_>>()}));
        return Ok(());
    }
    tell(&keys, named);
    if action.is_some() {
        say!(
            "\nTell the functions 'enroll' and 'register' ('posternctl settings'), or restart 'up'."
        );
    }
    Ok(())
}

fn tell(keys: &ControlSecrets, named: impl Fn(&ControlKey) -> bool) {
    if keys.is_empty() {
        say!("This network has no control key: requests travel in the plain.");
    }
    for key in keys.public() {
        let is_named = if named(&key) { "named" } else { "" };
        say!("{:>3}  {key}  {is_named}", key.id());
    }
}
