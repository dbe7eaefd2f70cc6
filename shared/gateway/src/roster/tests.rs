use api::roster::{EgressPeer, IngressPeer, RosterShard};
use jiff::SignedDuration;
use model::{ExitKey, Policy, TunnelKey};
use tuf::SigningKey;

use super::*;

const START: Timestamp = Timestamp::constant(1_800_000_000, 0);

fn network() -> NetworkId {
    NetworkId::from_random([7; 5])
}

fn gateway() -> GatewayId {
    "g-0001".parse().unwrap()
}

fn shard(shard: &str, version: u64, keys: &[u8]) -> RosterShard {
    let peers = keys.iter().map(|key| IngressPeer {
        tunnel_key: TunnelKey::from_bytes([*key; 32]),
        previous: None,
        outer: "100.64.0.17".parse().unwrap(),
        outer6: "fd00::17".parse().unwrap(),
    });
    RosterShard {
        cohort: "default".parse().unwrap(),
        shard: shard.parse().unwrap(),
        version,
        peers: Peers::Ingress(peers.collect()),
    }
}

/// A part that was signed so many seconds after [`START`], with nothing behind it.
fn part(seconds: i64, policy_version: u64, shards: Vec<RosterShard>) -> RosterPart {
    RosterPart {
        schema: RosterPart::SCHEMA.to_owned(),
        network: network(),
        gateway: gateway(),
        signed_at: START + SignedDuration::from_secs(seconds),
        policy_version,
        cohorts: vec!["default".parse().unwrap()],
        shards,
        rules: BTreeMap::new(),
        more: false,
    }
}

fn take(roster: &mut Roster, part: RosterPart) -> Result<(), String> {
    roster.take(part, &network(), &gateway())
}

/// The first byte of each key that is let in.
fn let_in(roster: &Roster) -> Vec<u8> {
    roster.keys(START).iter().map(|key| key[0]).collect()
}

fn told(roster: &Roster) -> Vec<(String, u64)> {
    let shards = roster.request().shards.into_values().flatten();
    shards
        .map(|(shard, version)| (shard.to_string(), version))
        .collect()
}

#[test]
fn a_shard_takes_the_place_of_the_one_before_and_leaves_the_others() {
    let mut roster = Roster::default();
    take(
        &mut roster,
        part(0, 1, vec![shard("0a", 1, &[1, 2]), shard("0b", 1, &[3])]),
    )
    .unwrap();
    assert_eq!(let_in(&roster), [1, 2, 3]);

    take(&mut roster, part(1, 1, vec![shard("0a", 2, &[2])])).unwrap();

    assert_eq!(let_in(&roster), [2, 3], "the revoked one is gone");
    assert_eq!(told(&roster), [("0a".to_owned(), 2), ("0b".to_owned(), 1)]);
}

#[test]
fn an_older_part_and_one_for_another_are_refused_and_change_nothing() {
    let mut roster = Roster::default();
    take(&mut roster, part(10, 1, vec![shard("0a", 2, &[2])])).unwrap();
    let before = roster.clone();
    let of_another = RosterPart {
        gateway: "g-0002".parse().unwrap(),
        ..part(20, 1, vec![shard("0a", 3, &[9])])
    };
    let of_another_network = RosterPart {
        network: NetworkId::from_random([8; 5]),
        ..part(20, 1, vec![shard("0a", 3, &[9])])
    };
    let of_another_kind = RosterPart {
        schema: "postern-roster/2".to_owned(),
        ..part(20, 1, vec![shard("0a", 3, &[9])])
    };
    let replayed = part(9, 1, vec![shard("0a", 1, &[1, 2])]);

    for refused in [of_another, of_another_network, of_another_kind, replayed] {
        assert!(take(&mut roster, refused).is_err());
        assert_eq!(roster, before);
    }
}

#[test]
fn under_another_policy_shards_stand_until_theirs_came_and_are_asked_for_again() {
    let mut roster = Roster::default();
    let first = vec![
        shard("0a", 1, &[1]),
        shard("0b", 1, &[2]),
        shard("0c", 1, &[3]),
    ];
    take(&mut roster, part(0, 1, first)).unwrap();
    let begins = RosterPart {
        more: true,
        ..part(1, 2, vec![shard("0a", 1, &[])])
    };

    take(&mut roster, begins).unwrap();
    assert_eq!(let_in(&roster), [2, 3]);
    assert_eq!(roster.request().policy_version, 2);
    assert_eq!(told(&roster), [("0a".to_owned(), 1)]);

    // The shard '0c' is no longer there.
    take(&mut roster, part(2, 2, vec![shard("0b", 1, &[2])])).unwrap();
    assert_eq!(let_in(&roster), [2]);
    assert_eq!(told(&roster), [("0a".to_owned(), 1), ("0b".to_owned(), 1)]);
}

#[test]
fn a_cohort_that_the_gateway_no_longer_serves_is_dropped() {
    let mut roster = Roster::default();
    take(&mut roster, part(0, 1, vec![shard("0a", 1, &[1])])).unwrap();

    let retired = RosterPart {
        cohorts: Vec::new(),
        ..part(1, 1, vec![shard("0b", 1, &[2])])
    };
    take(&mut roster, retired).unwrap();

    assert_eq!(roster.keys(START), BTreeSet::new());
    assert_eq!(told(&roster), []);
}

#[test]
fn a_key_from_before_a_rotation_is_let_in_until_the_grace_ends() {
    let mut rotated = shard("0a", 1, &[1]);
    let Peers::Ingress(peers) = &mut rotated.peers else {
        panic!("the shard is an ingress gateway's")
    };
    let until = START + SignedDuration::from_secs(60);
    let key = TunnelKey::from_bytes([9; 32]);
    peers[0].previous = Some(Previous { key, until });
    let mut roster = Roster::default();

    take(&mut roster, part(0, 1, vec![rotated])).unwrap();

    assert_eq!(let_in(&roster), [1, 9]);
    assert_eq!(roster.keys(until).len(), 1);
}

#[test]
fn an_exit_key_s_rules_are_those_of_the_policy_that_its_shard_came_under() {
    let peer = EgressPeer {
        exit_key: ExitKey::from_bytes([1; 32]),
        previous: None,
        inner: "100.96.0.17".parse().unwrap(),
        inner6: "fd00::8017".parse().unwrap(),
        rules: "default".parse().unwrap(),
    };
    let egress = |shard: &str| RosterShard {
        cohort: "default".parse().unwrap(),
        shard: shard.parse().unwrap(),
        version: 1,
        peers: Peers::Egress(vec![peer.clone()]),
    };
    let with_rules = |part, rules: &[EgressRule]| RosterPart {
        rules: BTreeMap::from([("default".parse().unwrap(), rules.to_vec())]),
        ..part
    };
    let rules = Policy::default().egress;
    let mut roster = Roster::default();

    take(
        &mut roster,
        with_rules(part(0, 1, vec![egress("0a")]), &rules),
    )
    .unwrap();
    assert_eq!(roster.rules(&[1; 32], START), Some(&rules[..]));
    assert_eq!(roster.rules(&[2; 32], START), None);

    // Another shard came under the next policy; this one's has not yet.
    let more = RosterPart {
        more: true,
        ..part(1, 2, Vec::new())
    };
    take(&mut roster, with_rules(more, &[])).unwrap();
    assert_eq!(roster.rules(&[1; 32], START), Some(&rules[..]));
    take(
        &mut roster,
        with_rules(part(2, 2, vec![egress("0a")]), &rules[..1]),
    )
    .unwrap();
    assert_eq!(roster.rules(&[1; 32], START), Some(&rules[..1]));
    assert_eq!(roster.rules.len(), 1, "the rules of before are forgotten");
}

#[test]
fn it_survives_a_restart_and_a_damaged_file_is_pulled_anew() {
    let folder = tempfile::tempdir().unwrap();
    let mut roster = Roster::open(folder.path()).unwrap();
    take(&mut roster, part(0, 1, vec![shard("0a", 1, &[1])])).unwrap();
    roster.save(folder.path()).unwrap();

    assert_eq!(Roster::open(folder.path()).unwrap(), roster);

    fs::write(folder.path().join(FILE), b"{").unwrap();
    assert_eq!(Roster::open(folder.path()).unwrap(), Roster::default());
}

#[test]
fn nothing_new_is_not_written() {
    let folder = tempfile::tempdir().unwrap();
    let mut roster = Roster::default();
    take(&mut roster, part(0, 0, Vec::new())).unwrap();

    roster.save(folder.path()).unwrap();

    assert!(!folder.path().join(FILE).exists());
}

#[test]
fn a_signed_part_survives_its_journey_and_an_altered_one_does_not() {
    let key = SigningKey::ed25519_from_seed([1; 32]);
    let identity = api::IdentitySecret::from_seed([1; 32]).public();
    let sent = part(0, 1, vec![shard("0a", 1, &[1])]);

    let bytes = tuf::envelope::sign(&sent, &[&key]).unwrap();
    let received: RosterPart = tuf::envelope::verify(&bytes, &[identity]).unwrap();
    let altered = String::from_utf8(bytes)
        .unwrap()
        .replace("\"0a\"", "\"0b\"");

    assert_eq!(received, sent);
    assert!(tuf::envelope::verify::<RosterPart>(altered.as_bytes(), &[identity]).is_err());
}
