//! Ceremonies of three holders, with no machine in common.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};
use model::IdentityKey;
use serde_json::json;

use super::check::config_keys;
use super::*;
use crate::SigningKey;
use crate::repository::{RoleKeys, RootRoles, sign_root, sign_targets};

const NETWORK: &str = "n-abcdefgh";

fn now() -> Timestamp {
    "2026-11-25T00:00:00Z".parse().unwrap()
}

fn in_a_year() -> Timestamp {
    now() + SignedDuration::from_hours(365 * 24)
}

fn key(seed: u8) -> SigningKey {
    SigningKey::ed25519_from_seed([seed; 32])
}

fn keys(seeds: &[u8], threshold: u32) -> RoleKeys {
    RoleKeys {
        keys: seeds.iter().map(|seed| key(*seed).public()).collect(),
        threshold,
    }
}

fn files(config: &[u8]) -> BTreeMap<String, String> {
    let config: Vec<String> = config
        .iter()
        .map(|seed| match key(*seed).public() {
            PublicKey::Ed25519(bytes) => IdentityKey::from_bytes(bytes).to_string(),
            PublicKey::EcdsaP256(_) => unreachable!(),
        })
        .collect();
    let limits = json!({"schema": Limits::SCHEMA, "network": NETWORK, "front_door_hosts": ["a.example"],
        "gateway_networks": ["192.0.2.0/24"], "cohorts": ["default"]});
    let trust = json!({"schema": TrustedKeys::SCHEMA, "network": NETWORK, "config_keys": config});
    let kit = json!({"schema": RecoveryKit::SCHEMA, "network": NETWORK, "front_doors": [], "control": []});
    [
        (Limits::PATH, limits),
        (TrustedKeys::PATH, trust),
        (RecoveryKit::PATH, kit),
    ]
    .map(|(path, value)| (path.to_owned(), value.to_string()))
    .into()
}

/// Root 1 (keys 1 to 3, two must sign), targets 1 (keys 11 to 13, two must sign), online keys 21 to
/// 23, config key 24.
fn base() -> Base {
    let roles = RootRoles {
        root: keys(&[1, 2, 3], 2),
        targets: keys(&[11, 12, 13], 2),
        snapshot: keys(&[21], 1),
        timestamp: keys(&[22], 1),
    };
    let files = files(&[24]);
    let bytes = files
        .iter()
        .map(|(path, text)| (path.clone(), text.clone().into_bytes()))
        .collect();
    let root = sign_root(1, in_a_year(), &roles, &[&key(1), &key(2)]).unwrap();
    let targets = sign_targets(
        1,
        in_a_year(),
        &bytes,
        &keys(&[23], 1),
        &[&key(11), &key(12)],
    );
    Base {
        root: utf8(root).unwrap(),
        targets: utf8(targets.unwrap()).unwrap(),
        files,
    }
}

fn nothing() -> Edits {
    Edits {
        roles: BTreeMap::new(),
        files: BTreeMap::new(),
        control_key: None,
        renew: std::collections::BTreeSet::new(),
        expires: in_a_year(),
    }
}

fn add(seed: u8) -> RoleEdit {
    RoleEdit {
        add: vec![key(seed).public()],
        ..RoleEdit::default()
    }
}

fn replace(seed: u8) -> RoleEdit {
    RoleEdit {
        replace: true,
        ..add(seed)
    }
}

fn replace_all(seeds: [u8; 2]) -> RoleEdit {
    RoleEdit {
        add: seeds.map(|seed| key(seed).public()).into(),
        replace: true,
        ..RoleEdit::default()
    }
}

fn swap(gone: u8, come: u8) -> RoleEdit {
    RoleEdit {
        remove: vec![key(gone).key_id()[..12].to_owned()],
        ..add(come)
    }
}

fn edits<const N: usize>(roles: [(Role, RoleEdit); N]) -> Edits {
    Edits {
        roles: roles.into(),
        ..nothing()
    }
}

fn begin(edits: &Edits) -> Result<Change, CeremonyError> {
    Change::begin(base(), edits, now())
}

/// The holder of a key takes the file, signs, and hands it on.
fn sign(change: &Change, seed: u8) -> Result<Change, CeremonyError> {
    let mut change = Change::read(&change.write())?;
    let key = key(seed);
    for wanted in change.to_sign(&key.public())? {
        change.add(wanted.document, &key.public(), &key.sign(&wanted.bytes))?;
    }
    Ok(change)
}

fn signed(edits: &Edits, seeds: &[u8]) -> Change {
    let begun = begin(edits).unwrap();
    seeds
        .iter()
        .fold(begun, |change, seed| sign(&change, *seed).unwrap())
}

/// What is in force after it.
fn after(change: &Change, before: &Base) -> Base {
    let finished = change.finish(before, now()).unwrap();
    let mut files = before.files.clone();
    files.extend(finished.files);
    Base {
        root: finished.root.map_or(before.root.clone(), |(_, text)| text),
        targets: finished
            .targets
            .map_or(before.targets.clone(), |(_, text)| text),
        files,
    }
}

#[test]
fn a_root_key_is_replaced_by_the_old_threshold_and_the_new() {
    let wanted = edits([(Role::Root, swap(3, 4))]);

    // 1 and 4 are two of the new keys, and one of the old.
    let half = signed(&wanted, &[1, 4]);
    let CeremonyError::Unsigned(open) = half.finish(&base(), now()).unwrap_err() else {
        panic!("the old threshold is missing")
    };
    assert_eq!(open.len(), 1);
    assert_eq!(open[0].of, "the root keys in force");
    let whole = sign(&half, 2).unwrap();
    let next = after(&whole, &base());

    let authority = next.authority().unwrap();
    assert_eq!(authority.root.version, 2);
    assert_eq!(authority.targets.version, 1);
    assert!(authority.root.roles.root.keys.contains(&key(4).public()));
    check_chain_of(&[&base(), &next]);
}

fn check_chain_of(all: &[&Base]) {
    let roots: Vec<Vec<u8>> = all
        .iter()
        .map(|base| base.root.clone().into_bytes())
        .collect();
    crate::authority::check_chain(&roots).unwrap();
}

#[test]
fn holders_may_sign_copies_at_the_same_time() {
    let begun = begin(&edits([(Role::Timestamp, replace(32))])).unwrap();
    let (one, other) = (sign(&begun, 1).unwrap(), sign(&begun, 3).unwrap());

    let mut merged = one;
    merged.merge(&other).unwrap();
    merged.merge(&other).unwrap();

    assert!(merged.finish(&base(), now()).is_ok());
    let another = begin(&edits([(Role::Timestamp, replace(33))])).unwrap();
    assert_eq!(merged.merge(&another).unwrap_err(), CeremonyError::Another);
}

#[test]
fn other_targets_keys_sign_the_targets_anew() {
    // 11 signed targets 1 and goes: only 12 of the new keys has signed it.
    let wanted = edits([(Role::Targets, swap(11, 14))]);

    let change = signed(&wanted, &[1, 2, 13, 14]);

    let meaning = change.meaning(now()).unwrap();
    let documents: Vec<_> = meaning
        .documents
        .iter()
        .map(|moved| moved.document)
        .collect();
    assert_eq!(documents, [Document::Root, Document::Targets]);
    assert_eq!(meaning.quorums[1].of, "the new targets keys");
    assert_eq!(
        after(&change, &base()).authority().unwrap().targets.version,
        2
    );
    // 13 did not sign it: the targets in force stay.
    let quiet = begin(&edits([(Role::Targets, swap(13, 14))])).unwrap();
    assert_eq!(quiet.meaning(now()).unwrap().documents.len(), 1);
}

#[test]
fn catalogs_and_config_keys_change_by_new_targets_alone() {
    let wanted = edits([(Role::Catalogs, replace(33)), (Role::Config, add(34))]);

    let change = signed(&wanted, &[12, 13]);

    let next = after(&change, &base());
    let authority = next.authority().unwrap();
    assert_eq!((authority.root.version, authority.targets.version), (1, 2));
    assert_eq!(authority.targets.catalogs, keys(&[33], 1));
    assert_eq!(
        config_keys(&next.files).unwrap(),
        config_keys(&files(&[24, 34])).unwrap()
    );
}

#[test]
fn what_requests_are_sealed_to_is_named_in_both_files() {
    let key = model::ControlKey::new(2, [7; 32]);
    let wanted = Edits {
        control_key: Some(key),
        ..nothing()
    };

    let change = signed(&wanted, &[12, 13]);

    let next = after(&change, &base());
    for path in [TrustedKeys::PATH, RecoveryKit::PATH] {
        assert!(next.files[path].contains(&key.to_string()), "{path}");
    }
    let again = Change::begin(next, &wanted, now()).unwrap_err();
    assert_eq!(again, CeremonyError::Nothing);
}

#[test]
fn a_change_says_what_it_means() {
    let mut wanted = edits([
        (
            Role::Root,
            RoleEdit {
                remove: vec![key(3).key_id()],
                ..RoleEdit::default()
            },
        ),
        (Role::Config, replace(34)),
    ]);
    let limits = base().files[Limits::PATH].replace("[\"default\"]", "[\"default\",\"beta\"]");
    wanted.files.insert(Limits::PATH.to_owned(), limits);
    wanted.expires = now() + SignedDuration::from_hours(24 * 30);

    let meaning = signed(&wanted, &[1]).meaning(now()).unwrap();

    let goes = meaning
        .keys
        .iter()
        .find(|change| change.role == Role::Root)
        .unwrap();
    assert!(
        !goes.comes
            && goes
                .power
                .starts_with("could (took 2 keys) name every other key")
    );
    assert_eq!(meaning.roles[0].spare, 0);
    let changed = meaning.roles.iter().filter(|role| role.changed);
    let changed: Vec<_> = changed.map(|role| role.role).collect();
    assert_eq!(changed, [Role::Root, Role::Config]);
    assert!(
        meaning
            .warnings
            .iter()
            .any(|said| said.contains("all 2 keys must sign")),
        "{meaning:?}"
    );
    assert!(
        meaning
            .warnings
            .iter()
            .any(|said| said.contains("expires in 30 days")),
        "{meaning:?}"
    );
    assert!(
        meaning
            .files
            .iter()
            .any(|file| file.what == "cohorts: + \"beta\""),
        "{meaning:?}"
    );
    let old = &meaning.quorums[0];
    assert_eq!((old.of, old.missing()), ("the root keys in force", 1));
    assert_eq!(old.signed, [key(1).key_id()]);
    assert_eq!(
        meaning.base_root,
        crate::crypto::sha256_hex(base().root.as_bytes())
    );
}

#[test]
fn who_must_sign_before_keys_are_destroyed_is_said() {
    let all = RoleEdit {
        add: vec![key(4).public(), key(5).public(), key(6).public()],
        replace: true,
        ..RoleEdit::default()
    };

    let meaning = begin(&edits([(Role::Root, all)]))
        .unwrap()
        .meaning(now())
        .unwrap();

    let said = meaning.warnings.join("\n");
    assert!(
        said.contains("0 of the root keys in force stay, and 2 of them must sign this"),
        "{said}"
    );
}

#[test]
fn a_renewal_changes_nothing_but_version_and_expiry() {
    let mut wanted = nothing();
    wanted.renew = [Document::Root, Document::Targets].into();
    wanted.expires = in_a_year() + SignedDuration::from_hours(1);

    let change = signed(&wanted, &[1, 3, 11, 13]);

    let meaning = change.meaning(now()).unwrap();
    assert!(meaning.keys.is_empty() && meaning.files.is_empty());
    // Who vouches for what stays sees what that is.
    let roles = meaning.roles.iter();
    let roles: Vec<_> = roles.map(|role| (role.role, role.changed)).collect();
    assert_eq!(roles, Role::ALL.map(|role| (role, false)));
    assert_eq!(meaning.roles[3].keys, [key(22).key_id()]);
    let next = after(&change, &base()).authority().unwrap();
    assert_eq!((next.root.version, next.targets.version), (2, 2));
    assert_eq!(next.root.expires, wanted.expires);
}

#[test]
fn five_roots_are_one_chain() {
    let mut all = vec![base()];
    for seed in 40..45 {
        let last = all.last().unwrap().clone();
        let wanted = edits([(Role::Timestamp, replace(seed))]);
        let begun = Change::begin(last.clone(), &wanted, now()).unwrap();
        let change = [2, 3]
            .iter()
            .fold(begun, |change, seed| sign(&change, *seed).unwrap());
        all.push(after(&change, &last));
    }

    check_chain_of(&all.iter().collect::<Vec<_>>());
    assert_eq!(all.last().unwrap().authority().unwrap().root.version, 6);
}

#[test]
fn expiry_is_said_in_time() {
    let authority = base().authority().unwrap();

    assert!(authority.warnings(now()).is_empty());
    let soon = authority.warnings(in_a_year() - NOTICE);
    assert_eq!(soon.len(), 2, "{soon:?}");
    let late = authority.warnings(in_a_year());
    assert!(late[0].contains("expired at"), "{late:?}");
}

/// A change of root and targets, and what is in force when its finish stops between the two.
fn interrupted() -> (Change, Base) {
    let wanted = edits([
        (Role::Timestamp, replace(32)),
        (Role::Catalogs, replace(33)),
    ]);
    let change = signed(&wanted, &[1, 2, 11, 12]);
    let mut half = base();
    half.targets = change.targets.clone().unwrap();
    (change, half)
}

#[test]
fn a_finish_that_was_interrupted_is_run_again() {
    let (change, half) = interrupted();

    let finished = change.finish(&half, now()).unwrap();

    assert_eq!(finished.targets, None, "they are in force");
    let whole = after(&change, &half);
    assert_eq!(
        (&whole.root, &whole.targets),
        (
            change.root.as_ref().unwrap(),
            change.targets.as_ref().unwrap()
        )
    );
    assert_eq!(change.finish(&whole, now()).unwrap().root, None);
}

/// What the data folder goes by: it takes older targets for the first reason and for no other.
#[test]
fn targets_of_other_keys_are_altered_and_damaged_ones_malformed() {
    let wanted = edits([
        (Role::Targets, replace_all([14, 15])),
        (Role::Catalogs, replace(33)),
    ]);
    let change = signed(&wanted, &[1, 2, 14, 15]);
    let targets = change.targets.clone().unwrap();

    let read = |text: &str| Authority::read(base().root.as_bytes(), text.as_bytes()).unwrap_err();

    assert_eq!(read(&targets).kind(), "altered");
    assert_eq!(read(&targets[..targets.len() / 2]).kind(), "malformed");
    assert_eq!(read("").kind(), "malformed");
    // The root is not there yet, and what is in force is what was: its finish is run again.
    let finished = change.finish(&base(), now()).unwrap();
    assert!(finished.root.is_some() && finished.targets.is_some());
}

#[test]
fn copies_merged_in_another_order_are_the_same_change() {
    let begun = begin(&edits([
        (Role::Timestamp, replace(32)),
        (Role::Catalogs, replace(33)),
    ]))
    .unwrap();
    let by = |seeds: [u8; 4]| {
        let begun = begun.clone();
        seeds
            .iter()
            .fold(begun, |change, seed| sign(&change, *seed).unwrap())
    };
    let (one, other) = (by([1, 2, 11, 12]), by([12, 3, 2, 13]));
    let mut half = base();
    half.targets = one.targets.clone().unwrap();

    assert_ne!(one.targets, other.targets);
    let whole = after(&other, &half);
    assert_eq!(whole.targets, half.targets);
    assert!(whole.authority().is_ok());
    assert_eq!(one.finish(&whole, now()).unwrap().root, None);
}

#[test]
fn what_a_terminal_would_obey_is_written_out() {
    let shown = visible("a\u{1b}[2K\n\u{202e}b\u{2067}\u{9b}\u{200f}");

    assert_eq!(
        shown,
        "a\\u{1b}[2K\\u{a}\\u{202e}b\\u{2067}\\u{9b}\\u{200f}"
    );
    assert_eq!(visible("größer als ‘x’: +"), "größer als ‘x’: +");
}

mod refusals;
