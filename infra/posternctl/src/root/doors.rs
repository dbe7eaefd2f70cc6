//! Front doors that come and go.
//!
//! A door stands at three places: its host in the limits and its URL in the recovery kit, which the offline
//! keys sign, and its URL in `network.json`, by which invites and catalogs name it. A change that begins
//! with `--add-door` changes the first two, and the third follows when it is finished.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use model::{FrontDoor, Limits, RecoveryKit};
use tuf::limits::{MOST_FRONT_DOORS, allows_front_door};

use crate::data::Settings;

/// The signed files as they become when the doors of `add` come and those of `remove` go.
pub fn change(
    files: &BTreeMap<String, String>,
    settings: &Settings,
    add: &[String],
    remove: &[String],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut limits: Limits = read(files, Limits::PATH)?;
    let mut kit: RecoveryKit = read(files, RecoveryKit::PATH)?;
    for url in remove {
        let url = plain(url);
        let before = kit.front_doors.len();
        kit.front_doors.retain(|door| plain(&door.url) != url);
        if kit.front_doors.len() == before {
            let there: Vec<_> = kit.front_doors.iter().map(|door| &*door.url).collect();
            bail!(
                "{url} is no door of the recovery kit, which names {}",
                there.join(", ")
            );
        }
        let mut left = kit.front_doors.iter().chain(&settings.front_doors);
        let host = host(url)?;
        let is_left = left.any(|door| {
            plain(&door.url) != url && self::host(&door.url).is_ok_and(|of| of == host)
        });
        if !is_left {
            limits.front_door_hosts.retain(|of| *of != host);
        }
    }
    for url in add {
        let url = plain(url);
        if kit.front_doors.iter().any(|door| plain(&door.url) == url) {
            bail!("{url} is a door of the recovery kit already");
        }
        let host = host(url)?;
        if !limits.front_door_hosts.contains(&host) {
            limits.front_door_hosts.push(host);
        }
        if !allows_front_door(&limits, url) {
            bail!("{}", unusable(url));
        }
        kit.front_doors.push(FrontDoor {
            url: url.to_owned(),
            fallback: Vec::new(),
        });
    }
    if kit.front_doors.is_empty() {
        bail!(
            "no door would be left by which anybody finds the network: add one in the same change"
        );
    }
    if kit.front_doors.len() > MOST_FRONT_DOORS {
        bail!(
            "a catalog names {MOST_FRONT_DOORS} doors at most: take others out in the same change"
        );
    }
    limits.front_door_hosts.sort();
    Ok(BTreeMap::from([
        (Limits::PATH.to_owned(), serde_json::to_string(&limits)?),
        (RecoveryKit::PATH.to_owned(), serde_json::to_string(&kit)?),
    ]))
}

/// Lets the network's own doors follow a kit that becomes another; whether they changed. A door that no kit
/// ever named stays.
pub fn follow(settings: &mut Settings, before: &RecoveryKit, after: &RecoveryKit) -> bool {
    let is_in =
        |doors: &[FrontDoor], url: &str| doors.iter().any(|door| plain(&door.url) == plain(url));
    let was = settings.front_doors.clone();
    settings.front_doors.retain(|door| {
        !is_in(&before.front_doors, &door.url) || is_in(&after.front_doors, &door.url)
    });
    for door in &after.front_doors {
        if !is_in(&before.front_doors, &door.url) && !is_in(&settings.front_doors, &door.url) {
            settings.front_doors.push(door.clone());
        }
    }
    settings.front_doors != was
}

/// The signed file at `path`.
pub fn read<T: serde::de::DeserializeOwned>(
    files: &BTreeMap<String, String>,
    path: &str,
) -> anyhow::Result<T> {
    let text = files
        .get(path)
        .with_context(|| format!("the offline keys have signed no {path}"))?;
    serde_json::from_str(text).with_context(|| path.to_owned())
}

fn plain(url: &str) -> &str {
    url.trim_end_matches('/')
}

fn host(url: &str) -> anyhow::Result<String> {
    let uri: http::Uri = url.parse().with_context(|| unusable(url))?;
    let host = uri.host().with_context(|| unusable(url))?;
    Ok(host.to_owned())
}

fn unusable(url: &str) -> String {
    format!("'{url}' cannot be a front door: it must be as https://door.example.org")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::network;

    const NEW: &str = "https://door.example.org";

    fn kit_of(files: &BTreeMap<String, String>) -> RecoveryKit {
        read(files, RecoveryKit::PATH).unwrap()
    }

    #[test]
    fn a_door_comes_into_limits_and_kit_and_goes_again() {
        let (_folder, data) = network();
        let (base, mut settings) = (data.base().unwrap(), data.settings().unwrap());
        let own = settings.front_doors.clone();

        let with = change(&base.files, &settings, &[format!("{NEW}/")], &[]).unwrap();

        let limits: Limits = read(&with, Limits::PATH).unwrap();
        assert!(allows_front_door(&limits, NEW));
        assert!(follow(&mut settings, &kit_of(&base.files), &kit_of(&with)));
        assert_eq!(settings.front_doors.len(), own.len() + 1);
        assert_eq!(settings.front_doors.last().unwrap().url, NEW);
        assert!(
            !follow(&mut settings, &kit_of(&base.files), &kit_of(&with)),
            "once"
        );

        let without = change(&with, &settings, &[], &[NEW.to_owned()]).unwrap();
        let limits: Limits = read(&without, Limits::PATH).unwrap();
        assert!(!allows_front_door(&limits, NEW));
        assert!(allows_front_door(&limits, &own[0].url));
        assert!(follow(&mut settings, &kit_of(&with), &kit_of(&without)));
        assert_eq!(settings.front_doors, own);
    }

    #[test]
    fn a_host_stays_while_another_door_is_there() {
        let (_folder, data) = network();
        let (base, settings) = (data.base().unwrap(), data.settings().unwrap());
        let second = format!("{NEW}:8443");
        let both = [NEW.to_owned(), second.clone()];
        let with = change(&base.files, &settings, &both, &[]).unwrap();

        let without = change(&with, &settings, &[], &[second]).unwrap();

        let limits: Limits = read(&without, Limits::PATH).unwrap();
        assert!(allows_front_door(&limits, NEW));
    }

    #[test]
    fn what_cannot_be_is_refused_with_the_reason() {
        let (_folder, data) = network();
        let (base, settings) = (data.base().unwrap(), data.settings().unwrap());
        let all: Vec<_> = settings
            .front_doors
            .iter()
            .map(|door| door.url.clone())
            .collect();
        let said = |add: &[&str], remove: &[String]| {
            let add: Vec<_> = add.iter().map(|url| (*url).to_owned()).collect();
            change(&base.files, &settings, &add, remove)
                .unwrap_err()
                .to_string()
        };
        let many: Vec<_> = (0..=MOST_FRONT_DOORS)
            .map(|n| format!("https://door-{n}.example.org"))
            .collect();
        let many: Vec<_> = many.iter().map(String::as_str).collect();

        for wrong in [
            "door.example.org",
            "ftp://door.example.org",
            "https://door.example.org/?a",
        ] {
            assert!(
                said(&[wrong], &[]).contains("must be as https://"),
                "{wrong}"
            );
        }
        assert!(said(&[&all[0]], &[]).contains("already"));
        assert!(said(&[], &[NEW.to_owned()]).contains(&all[0]));
        assert!(said(&[], &all).contains("no door would be left"));
        assert!(said(&many, &[]).contains("at most"));
    }
}
