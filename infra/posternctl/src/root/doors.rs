//! Front doors that come and go.
//!
//! A door stands at three places: its host in the limits and its URL in the recovery kit, which the offline
//! keys sign, and its URL in `network.json`, by which catalogs name it. A change that begins
//! with `--add-door` changes the first two, and the third follows when it is finished.

use std::collections::{BTreeMap, BTreeSet};

use anyhow::{Context, bail};
use model::{FrontDoor, Limits, RecoveryKit};
use tuf::limits::{MOST_FRONT_DOORS, allows_front_door, host_of};

use crate::data::Settings;

/// The signed files as they become when the doors of `add` come and those of `remove` go.
pub fn change(
    files: &BTreeMap<String, String>,
    settings: &Settings,
    add: &[String],
    remove: &[String],
) -> anyhow::Result<BTreeMap<String, String>> {
    let mut limits: Limits = read(files, Limits::PATH)?;
    let before: RecoveryKit = read(files, RecoveryKit::PATH)?;
    let mut kit = before.clone();
    for url in remove {
        take_out(&mut kit, url)?;
    }
    let is_gone = |door: &&FrontDoor| remove.iter().any(|url| is_same(&door.url, url));
    let left = kit.front_doors.iter().chain(&settings.front_doors);
    let left: BTreeSet<String> = left
        .filter(|door| !is_gone(door))
        .filter_map(|door| host(&door.url).ok())
        .collect();
    for url in remove {
        let host = host(url)?;
        limits
            .front_door_hosts
            .retain(|of| left.contains(&host) || !of.eq_ignore_ascii_case(&host));
    }
    for url in add {
        bring_in(&mut kit, &mut limits, url)?;
    }
    let mut named = settings.clone();
    follow(&mut named, &before.front_doors, &kit.front_doors);
    if kit.front_doors.is_empty() {
        bail!(
            "no door would be left by which anybody finds the network: add one in the same change"
        );
    }
    if kit.front_doors.len().max(named.front_doors.len()) > MOST_FRONT_DOORS {
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

fn take_out(kit: &mut RecoveryKit, url: &str) -> anyhow::Result<()> {
    let there: Vec<_> = kit
        .front_doors
        .iter()
        .map(|door| door.url.clone())
        .collect();
    kit.front_doors.retain(|door| !is_same(&door.url, url));
    if kit.front_doors.len() == there.len() {
        bail!(
            "{url} is no door of the recovery kit, which names {}; if network.json names it, take it out there",
            there.join(", ")
        );
    }
    Ok(())
}

fn bring_in(kit: &mut RecoveryKit, limits: &mut Limits, url: &str) -> anyhow::Result<()> {
    let url = url.trim_end_matches('/');
    if kit.front_doors.iter().any(|door| is_same(&door.url, url)) {
        bail!(
            "{url} is a door of the recovery kit already; if network.json lacks it, finish the last change again"
        );
    }
    let host = host(url)?;
    if !allows_front_door(limits, url) {
        limits.front_door_hosts.push(host);
    }
    kit.front_doors.push(FrontDoor {
        url: url.to_owned(),
        fallback: Vec::new(),
    });
    Ok(())
}

/// Lets the network's own doors follow a kit whose doors become others; whether they changed. A door that no kit
/// ever named stays, and one is always left.
pub fn follow(settings: &mut Settings, before: &[FrontDoor], after: &[FrontDoor]) -> bool {
    let is_in = |doors: &[FrontDoor], url: &str| doors.iter().any(|door| is_same(&door.url, url));
    let was = settings.front_doors.clone();
    settings
        .front_doors
        .retain(|door| !is_in(before, &door.url) || is_in(after, &door.url));
    let is_empty = settings.front_doors.is_empty();
    for door in after {
        let is_new = is_empty || !is_in(before, &door.url);
        if is_new && !is_in(&settings.front_doors, &door.url) {
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

/// Whether two URLs lead to one door.
fn is_same(one: &str, other: &str) -> bool {
    let plain = |url: &str| url.trim_end_matches('/').to_ascii_lowercase();
    plain(one) == plain(other)
}

fn host(url: &str) -> anyhow::Result<String> {
    let host = host_of(url).with_context(|| unusable(url))?;
    Ok(host.to_ascii_lowercase())
}

fn unusable(url: &str) -> String {
    format!("'{url}' cannot be a front door: it must be as https://door.example.org")
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::data::tests::network;

    const NEW: &str = "https://door.example.org";

    fn doors_of(files: &BTreeMap<String, String>) -> Vec<FrontDoor> {
        read::<RecoveryKit>(files, RecoveryKit::PATH)
            .unwrap()
            .front_doors
    }

    #[test]
    fn a_door_comes_into_limits_and_kit_and_goes_again() {
        let (_folder, data) = network();
        let (base, mut settings) = (data.base().unwrap(), data.settings().unwrap());
        let own = settings.front_doors.clone();

        let with = change(&base.files, &settings, &[format!("{NEW}/")], &[]).unwrap();

        let limits: Limits = read(&with, Limits::PATH).unwrap();
        assert!(allows_front_door(&limits, NEW));
        assert!(follow(
            &mut settings,
            &doors_of(&base.files),
            &doors_of(&with)
        ));
        assert_eq!(settings.front_doors.len(), own.len() + 1);
        assert_eq!(settings.front_doors.last().unwrap().url, NEW);
        assert!(
            !follow(&mut settings, &doors_of(&base.files), &doors_of(&with)),
            "once"
        );

        let without = change(&with, &settings, &[], &[NEW.to_owned()]).unwrap();
        let limits: Limits = read(&without, Limits::PATH).unwrap();
        assert!(!allows_front_door(&limits, NEW));
        assert!(allows_front_door(&limits, &own[0].url));
        assert!(follow(&mut settings, &doors_of(&with), &doors_of(&without)));
        assert_eq!(settings.front_doors, own);
    }

    #[test]
    fn the_last_doors_of_a_host_take_it_out_of_the_limits_and_leave_others_in_network_json() {
        let (_folder, data) = network();
        let (base, mut settings) = (data.base().unwrap(), data.settings().unwrap());
        let own = settings.front_doors.clone();
        let both = [NEW.to_owned(), format!("{NEW}:8443/")];
        let with = change(&base.files, &settings, &both, &[]).unwrap();
        follow(&mut settings, &own, &doors_of(&with));
        // The others were taken out by hand.
        settings
            .front_doors
            .retain(|door| door.url.starts_with(NEW));

        let without = change(&with, &settings, &[], &both).unwrap();

        let limits: Limits = read(&without, Limits::PATH).unwrap();
        assert!(!allows_front_door(&limits, NEW));
        assert!(follow(&mut settings, &doors_of(&with), &doors_of(&without)));
        assert_eq!(settings.front_doors, own);
    }

    #[test]
    fn a_door_at_an_address_is_taken_and_its_name_s_case_makes_no_other() {
        let (_folder, data) = network();
        let (base, settings) = (data.base().unwrap(), data.settings().unwrap());
        let six = "http://[2001:db8::1]:8080";
        let with = change(
            &base.files,
            &settings,
            &[six.to_owned(), NEW.to_owned()],
            &[],
        )
        .unwrap();

        let limits: Limits = read(&with, Limits::PATH).unwrap();
        assert!(allows_front_door(&limits, six));
        let again = change(&with, &settings, &[NEW.replace("door", "Door")], &[]);
        assert!(again.unwrap_err().to_string().contains("already"));
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
