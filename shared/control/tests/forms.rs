//! The forms of items' bodies: every one that was ever written is read, and none changes unseen.
//!
//! `data/fixtures/items/<kind>/<number>.json` has a body of each form that a program of this repository has
//! written, from the first on; the last one is the newest form with every field. A change of a type that a
//! body is made of does not compile here until [`present`] has it, and then needs a fixture of the next number
//! (`POSTERN_NEW_FORMS=1 cargo test -p control --test forms` writes it) and what leads to that form
//! (`control::items::forms`). Bodies of before they said their number stand as they were written, without one.

mod common;

use std::collections::{BTreeMap, BTreeSet};
use std::fmt::Debug;
use std::path::{Path, PathBuf};

use api::fleet::FleetView;
use api::policy::PolicyView;
use common::world::World;
use common::{START, after, device_id, exit_key, identity, secret, tunnel_key};
use control::epochs::Revocations;
use control::fleet::Rest;
use control::items::forms::{self, Kind, SCHEMA};
use control::items::{self, Body, Heartbeat, Read as _, Taken};
use control::migration::{self, Pass, Progress};
use control::publish::{
    Alarm, CatalogPin, Draft, Failing, Floor, Head, MetadataPins, MirrorState, Reserved, UnderWay,
    Whole,
};
use control::restore::Marker;
use control::roster::{Entry, PreviousKeys, ShardVersion};
use control::sessions::{Challenge, Session};
use control::state::{Cursor, Stage as ImportStage};
use model::device::PreviousDeviceKeys;
use model::fleet::{Agent, Pool};
use model::gateway::{Bootstrap, GatewayKeys, PreviousGatewayKeys};
use model::node::{Hints, Place, PoolState, SoldOut, Stage as NodeStage};
use model::policy::{Effect, EgressRule, IngressRule, PortRange, Protocol, Who};
use model::provider::{Approval, Price, ResourceId};
use model::{
    Actor, AddressPools, Admin, AdminId, AdminRole, Amount, AuditEvent, Device, DeviceState,
    Disclosure, EpochSecret, Fleet, Gateway, GatewayState, IdentityKey, Invite, InviteId,
    LeaseIndex, Mode, Network, Node, Policy, ProviderPolicy, Role, Timing,
};
use rules::epochs::{Epochs, NextEpoch, PastEpoch, PresentEpoch};
use rules::listening::Listening;
use serde_json::{Value, json};
use store::{Change, Expect, Item, Key, Write};

/// A kind of item, and its newest form with every field.
struct Present {
    kind: &'static Kind,
    body: Value,
}

fn kind<T: Body + PartialEq + Debug>(name: &str, present: &T) -> Present {
    assert_eq!(name, T::KIND.name);
    let body = serde_json::to_value(present).unwrap();
    let read: T = item(numbered(&body, T::KIND.known())).read().unwrap();
    assert_eq!(&read, present);
    Present {
        kind: T::KIND,
        body,
    }
}

/// An item somewhere.
fn item(body: Value) -> Item {
    Item {
        key: Key::new("some", "where"),
        version: 1,
        body,
        expires_at: None,
    }
}

/// `body` with the number of its form.
fn numbered(body: &Value, number: u32) -> Value {
    let mut body = body.clone();
    body[SCHEMA] = number.into();
    body
}

fn name<T: std::str::FromStr<Err: Debug>>(text: &str) -> T {
    text.parse().unwrap()
}

/// Every kind, each with all fields that it can have.
fn present() -> Vec<Present> {
    let mut kinds = enrolled();
    kinds.extend(gateways());
    kinds.extend(operated());
    kinds.extend(published());
    kinds.extend(imported());
    kinds.extend(rented());
    kinds.push(migrated());
    kinds
}

/// What the background keeps of itself.
fn migrated() -> Present {
    let numbers = |number| BTreeMap::from([("gateway".to_owned(), number)]);
    let progress = Progress {
        done: numbers(2),
        pass: Some(Pass {
            to: numbers(3),
            since: START,
            began_at: after(1),
            at: Some(migration::Place {
                partition: "gateway".to_owned(),
                after: "g-0001".to_owned(),
            }),
            read: 4,
            rewritten: 3,
            lost: 2,
            unreadable: 1,
        }),
    };
    kind("migration", &progress)
}

fn enrolled() -> Vec<Present> {
    let invite = Invite {
        id: InviteId::of(&secret(1)),
        cohort: name("default"),
        tags: BTreeSet::from([name("press")]),
        uses: 5,
        created_at: START,
        expires_at: after(3600),
        note: "for the office".to_owned(),
        withdrawn_at: Some(after(60)),
    };
    let device = Device {
        id: device_id(1),
        state: DeviceState::Revoked,
        identity_key: identity(1),
        tunnel_key: tunnel_key(1),
        exit_key: exit_key(1),
        lease: LeaseIndex(7),
        cohort: name("default"),
        tags: BTreeSet::from([name("press")]),
        invite: InviteId::of(&secret(1)),
        enrolled_at: START,
        previous: Some(PreviousDeviceKeys {
            identity_key: identity(2),
            tunnel_key: tunnel_key(2),
            exit_key: exit_key(2),
            until: after(60),
        }),
        rotation_wanted_at: Some(after(5)),
        revoked_at: Some(after(9)),
    };
    let entry = Entry {
        device: device_id(1),
        tunnel_key: tunnel_key(1),
        exit_key: exit_key(1),
        lease: LeaseIndex(7),
        tags: BTreeSet::from([name("press")]),
        previous: Some(PreviousKeys {
            tunnel_key: tunnel_key(2),
            exit_key: exit_key(2),
            until: after(60),
        }),
    };
    vec![
        kind("invite", &invite),
        kind("device", &device),
        kind("taken", &Taken::by(&device_id(1))),
        kind("roster-entry", &entry),
        kind("shard-version", &ShardVersion { version: 3 }),
    ]
}

fn gateways() -> Vec<Present> {
    let keys = |number| GatewayKeys {
        identity: identity(number),
        tunnel: tunnel_key(number),
    };
    let gateway = Gateway {
        id: name("g-0001"),
        role: Role::Ingress,
        state: GatewayState::Active,
        region: "fsn1".to_owned(),
        endpoint: "127.0.0.1:51820".parse().unwrap(),
        pool: name("ingress"),
        cohorts: vec![name("default")],
        bootstrap: Some(Bootstrap {
            hash: "00".repeat(32),
            expires_at: after(3600),
        }),
        keys: Some(keys(3)),
        previous: Some(PreviousGatewayKeys {
            keys: keys(4),
            until: after(60),
        }),
        rotation_wanted_at: Some(after(5)),
        created_at: START,
        changed_at: after(1),
    };
    let heartbeat = Heartbeat {
        gateway: name("g-0001"),
        seen_at: Some(after(5)),
        load: 7,
    };
    vec![kind("gateway", &gateway), kind("heartbeat", &heartbeat)]
}

fn operated() -> Vec<Present> {
    let key = IdentityKey::from_bytes([9; 32]);
    let admin = AdminId::of(&key);
    let who = Who {
        cohorts: BTreeSet::from([name("default")]),
        tags: BTreeSet::from([name("press")]),
    };
    let policy = PolicyView {
        version: 4,
        applied_at: Some(START),
        policy: Policy {
            schema: Policy::SCHEMA.to_owned(),
            ingress: vec![IngressRule {
                name: name("in"),
                effect: Effect::Allow,
                who: who.clone(),
                pools: BTreeSet::from([name("ingress")]),
            }],
            egress: vec![EgressRule {
                name: name("out"),
                effect: Effect::Deny,
                who,
                pools: BTreeSet::from([name("egress")]),
                to: vec!["10.0.0.0/8".parse().unwrap()],
                ports: vec![PortRange::one(25)],
                protocol: Protocol::Tcp,
            }],
            disclosure: Disclosure::Sealed { slices: 8, held: 2 },
        },
    };
    let event = AuditEvent {
        id: common::moment(START).uuid(0),
        at: START,
        actor: Actor::Admin(admin.clone()),
        action: "device.revoked".to_owned(),
        subject: device_id(1).to_string(),
        detail: "by hand".to_owned(),
    };
    // The seed counts the moments of this process: the event's id must not.
    let event = AuditEvent {
        id: "01900000-0000-7000-8000-000000000000".parse().unwrap(),
        ..event
    };
    let marker = Marker {
        backup: "00".repeat(32),
        taken_at: START,
        restored_at: after(60),
        as_it_was: true,
        done_at: Some(after(61)),
    };
    vec![
        kind(
            "admin",
            &Admin {
                id: admin.clone(),
                name: "Ada".to_owned(),
                role: AdminRole::Owner,
                key,
                created_at: START,
                removed_at: Some(after(9)),
            },
        ),
        kind(
            "challenge",
            &Challenge {
                admin: admin.clone(),
            },
        ),
        kind(
            "session",
            &Session {
                admin,
                opened_at: START,
                expires_at: after(3600),
            },
        ),
        kind("policy", &policy),
        kind("audit", &event),
        kind("restore", &marker),
    ]
}

/// What an import of a document leaves.
fn imported() -> Vec<Present> {
    let pool = |third: u8| format!("10.0.{third}.0/24").parse().unwrap();
    let network = Network {
        id: name("n-abcdefgh"),
        pools: AddressPools::new(pool(0), pool(1), "fd00:1:2::/48".parse().unwrap()).unwrap(),
        timing: Timing::default(),
        sealed_only: true,
    };
    vec![
        kind("network", &network),
        kind(
            "floor",
            &Floor {
                root_version: 2,
                targets_version: 3,
                epoch: 4,
            },
        ),
        kind(
            "import-cursor",
            &Cursor {
                document: "77".repeat(32),
                network: "n-abcdefgh".parse().unwrap(),
                begun_at: START,
                stage: ImportStage::Devices,
                after: device_id(1).to_string(),
                parts: 1,
                records: 9,
                done_at: Some(after(20)),
            },
        ),
    ]
}

fn published() -> Vec<Present> {
    let pins = BTreeMap::from([(
        name("default"),
        CatalogPin {
            sha256: "11".repeat(32),
            length: 700,
            version: 3,
            changed_at: START,
            list: "22".repeat(32),
            at: "mirror-0".to_owned(),
        },
    )]);
    let head = Head {
        version: 4,
        published_at: START,
        renew_at: after(3600),
        root_version: 1,
        targets_version: 2,
        root_expires: Some(after(7200)),
        targets_expires: Some(after(7200)),
        catalogs: pins.clone(),
        metadata: MetadataPins {
            catalogs: "33".repeat(32),
            snapshot: "44".repeat(32),
            timestamp: "55".repeat(32),
        },
        loads: BTreeMap::from([(name("g-0001"), 10)]),
    };
    let mirror = MirrorState {
        whole: Whole {
            version: 3,
            root_version: 1,
            targets_version: 2,
        },
        under_way: Some(UnderWay {
            version: 4,
            immutable: 2,
            changing: 1,
        }),
        etags: BTreeMap::from([("metadata/timestamp.json".to_owned(), "etag".to_owned())]),
        was_filled: true,
        seen: 4,
        seen_by: Some("66".repeat(32)),
        check_from: 2,
        failing: Some(Failing {
            runs: 2,
            retry_at: after(20),
            why: "it does not answer".to_owned(),
        }),
    };
    let secret = |number| EpochSecret::from_bytes([number; 32]);
    let epochs = Epochs {
        salt: secret(1),
        past: vec![PastEpoch {
            number: 1,
            secret: secret(2),
            until: after(60),
        }],
        present: PresentEpoch {
            number: 2,
            secret: secret(3),
            began_at: START,
        },
        next: NextEpoch {
            number: 3,
            secret: secret(4),
            begins_at: after(3600),
            revocations: 1,
        },
    };
    vec![
        kind("head", &head),
        kind(
            "draft",
            &Draft {
                version: 5,
                begun_at: START,
                catalogs: pins,
            },
        ),
        kind("reserved", &Reserved { version: 5 }),
        kind(
            "alarm",
            &Alarm {
                quiet: vec![name("g-0001")],
                active: 3,
                since: Some(START),
            },
        ),
        kind("mirror", &mirror),
        kind(
            "judged",
            &Listening {
                since: START,
                at: after(2),
                before: after(1),
            },
        ),
        kind("epochs", &epochs),
        kind("revocations", &Revocations { count: 3 }),
    ]
}

fn rented() -> Vec<Present> {
    let place = Place {
        region: name("fsn1"),
        size: name("cx23"),
        image: name("debian-13"),
    };
    let pool = Pool {
        role: Role::Ingress,
        provider: name("hetzner"),
        regions: vec![place.region.clone()],
        sizes: vec![place.size.clone()],
        image: place.image.clone(),
        count: 2,
        cohorts: vec![name("default")],
        port: 51_820,
        most_per_month: Some(Amount(9_000_000)),
    };
    let agent = Agent {
        url: "https://door.example/agent".to_owned(),
        sha256: "77".repeat(32),
    };
    let fleet = FleetView {
        version: 2,
        applied_at: Some(START),
        fleet: Some(Fleet {
            schema: Fleet::SCHEMA.to_owned(),
            currency: name("EUR"),
            most_per_month: Amount(20_000_000),
            most_changes: 4,
            agent: BTreeMap::from([("x86".to_owned(), agent)]),
            drain_seconds: 60,
            unhealthy_seconds: 120,
            pools: BTreeMap::from([(name("eu"), pool)]),
        }),
    };
    let node = Node {
        gateway: name("g-0002"),
        pool: name("eu"),
        role: Role::Ingress,
        provider: name("hetzner"),
        place,
        port: 51_820,
        cohorts: vec![name("default")],
        mode: Mode::Smoke,
        expires_at: Some(after(3600)),
        stage: NodeStage::Active,
        changed_at: after(9),
        created_at: START,
        hints: Hints {
            server: Some(ResourceId("42".to_owned())),
            address: Some(ResourceId("43".to_owned())),
            ip: Some("192.0.2.1".parse().unwrap()),
        },
        price: Some(Price {
            hour: Amount(6000),
            month: Amount(3_790_000),
        }),
        server_at: Some(after(3)),
        proved_at: Some(after(8)),
        leaving: Some("replaced".to_owned()),
        tries: 1,
        not_before: Some(after(12)),
        last_error: Some("429".to_owned()),
    };
    let state = PoolState {
        intended: 3,
        failures: 1,
        not_before: Some(after(60)),
        alarm: Some("two nodes never came".to_owned()),
        sold_out: vec![SoldOut {
            region: name("fsn1"),
            size: name("cx23"),
            until: after(60),
        }],
    };
    let provider = ProviderPolicy {
        mode: Mode::Live,
        approval: Some(Approval {
            by: AdminId::of(&IdentityKey::from_bytes([9; 32])),
            at: START,
            reason: "it is paid for".to_owned(),
            expires_at: Some(after(3600)),
        }),
        smoke_most_per_hour: Amount(50_000),
    };
    let rest = Rest {
        not_before: after(60),
        why: "rate limited".to_owned(),
    };
    vec![
        kind("fleet", &fleet),
        kind("node", &node),
        kind("pool", &state),
        kind("provider", &provider),
        kind("provider-rest", &rest),
    ]
}

fn folder() -> PathBuf {
    PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../../data/fixtures/items")
}

/// The forms of a kind, in the order in which they were introduced.
fn fixtures(kind: &str) -> Vec<Value> {
    let path = |number| folder().join(kind).join(format!("{number}.json"));
    let texts = (1..).map_while(|number| std::fs::read_to_string(path(number)).ok());
    texts
        .map(|text| serde_json::from_str(&text).unwrap())
        .collect()
}

#[test]
fn the_last_fixture_of_each_kind_is_its_newest_form() {
    for Present { kind, body } in present() {
        let fixtures = fixtures(kind.name);
        let mut last = fixtures.last().cloned().unwrap_or_default();
        if let Some(last) = last.as_object_mut() {
            last.remove(SCHEMA);
        }
        if last == body {
            assert_eq!(
                fixtures.len(),
                kind.known() as usize,
                "'{}' has another number of fixtures than of forms in control::items::forms",
                kind.name
            );
            continue;
        }
        let number = u32::try_from(fixtures.len() + 1).unwrap();
        let next = folder().join(format!("{}/{number}.json", kind.name));
        if std::env::var_os("POSTERN_NEW_FORMS").is_some() {
            std::fs::create_dir_all(next.parent().unwrap()).unwrap();
            let text = serde_json::to_string_pretty(&numbered(&body, number)).unwrap();
            std::fs::write(&next, format!("{text}\n")).unwrap();
            continue;
        }
        panic!(
            "the form of '{}' has changed. Items of the old form are out there: say in control::items::forms how \
             they become the new one, and have POSTERN_NEW_FORMS=1 write {}",
            kind.name,
            next.display()
        );
    }
}

#[test]
fn every_form_that_was_ever_written_is_read_and_written_anew() {
    for Present { kind, .. } in present() {
        for (number, body) in (1..).zip(fixtures(kind.name)) {
            let rewritten = |body: &Value| {
                let written = kind.rewritten(&item(body.clone()));
                written.unwrap_or_else(|error| panic!("{} {number}: {error}", kind.name))
            };

            let written = rewritten(&body);

            assert_eq!(written[SCHEMA], json!(kind.writes), "{}", kind.name);
            assert_eq!(rewritten(&written), written, "{}", kind.name);
            assert_eq!(
                rewritten(&numbered(&body, number)),
                written,
                "{}",
                kind.name
            );
        }
    }
}

#[test]
fn every_kind_has_a_folder_of_fixtures_and_none_has_another() {
    let names = |kinds: &mut dyn Iterator<Item = &'static Kind>| -> BTreeSet<String> {
        kinds.map(|kind| kind.name.to_owned()).collect()
    };
    let known = names(&mut forms::ALL.iter().copied());
    let folders = std::fs::read_dir(folder()).unwrap();
    let folders: BTreeSet<String> = folders
        .map(|entry| entry.unwrap().file_name().into_string().unwrap())
        .collect();

    assert_eq!(
        names(&mut present().iter().map(|present| present.kind)),
        known
    );
    assert_eq!(folders, known);
}

/// Where the bodies of items are written, and the only other places that see how.
const WRITERS: [(&str, &str); 3] = [
    ("shared/control/src/items/forms.rs", "adds the number"),
    (
        "shared/control/src/migration.rs",
        "writes what `Kind::rewritten` gives, which has it",
    ),
    ("shared/control/src/state/import.rs", "counts bytes"),
];

fn sources(folder: &Path, all: &mut Vec<PathBuf>) {
    for entry in std::fs::read_dir(folder).unwrap() {
        let path = entry.unwrap().path();
        let name = path.file_name().unwrap().to_string_lossy().into_owned();
        if path.is_dir() && name != "tests" {
            sources(&path, all);
        } else if path.extension().is_some_and(|end| end == "rs") && name != "tests.rs" {
            all.push(path);
        }
    }
}

/// What reads items is held to it by the compiler: there is no other way.
#[test]
fn nothing_writes_a_body_without_its_number() {
    let root = PathBuf::from(env!("CARGO_MANIFEST_DIR")).join("../..");
    let mut all = Vec::new();
    for folder in [
        "shared/control/src",
        "shared/edge/src",
        "functions",
        "infra",
    ] {
        sources(&root.join(folder), &mut all);
    }
    let mut writers = BTreeSet::new();
    for path in all {
        let source = std::fs::read_to_string(&path).unwrap();
        if source.contains("Write::put") || source.contains("Change::Put") {
            let name = path.strip_prefix(&root).unwrap();
            writers.insert(name.to_string_lossy().into_owned());
        }
    }

    let listed = WRITERS.map(|(name, _)| name.to_owned());
    assert_eq!(writers, BTreeSet::from(listed));
}

#[test]
fn a_gateway_from_before_there_were_pools_is_in_the_pool_of_its_role() {
    let first = fixtures("gateway").remove(0);
    let gateway: Gateway = item(first).read().unwrap();
    assert_eq!(gateway.pool.as_str(), "ingress");
}

/// What an old head pins cannot be made again: the next version takes its place.
#[tokio::test]
async fn an_old_head_is_published_over() {
    for old in fixtures("head").into_iter().take(2) {
        let world = World::published(1, &[1]).await;
        let mut old = old;
        // What the world has published.
        old["version"] = serde_json::json!(1);
        old["targets_version"] = serde_json::json!(1);
        let write = Write {
            key: items::head(),
            expect: Expect::Present,
            change: Change::Put {
                body: old,
                expires_at: None,
            },
        };
        world.stage.store.commit(START, vec![write]).await.unwrap();

        world.stage.beat(after(60), &[1]).await;
        let mut version = 0;
        for seconds in 60..64 {
            version = world.publish(after(seconds)).await.version;
        }

        assert_eq!(version, 2);
        assert_eq!(world.served(after(64)), (2, vec!["g-0001".to_owned()]));
    }
}
