//! Sealed slices from end to end: who reads what of what is published, and until when.

mod common;

use std::collections::BTreeSet;

use api::Kind;
use api::enroll::DeviceAnswer;
use api::policy::BeginEpoch;
use common::client::{Client, Reads};
use common::world::World;
use common::{START, Stage, after, device_id, identity, kind, operator};
use control::epochs::Revocations;
use control::items::Read as _;
use control::{devices, epochs, items};
use model::{Disclosure, HeldKey, Policy, Role};
use rules::epochs::Epochs;
use tuf::Verified;

/// The defaults, in seconds.
const EPOCH: i64 = 7 * 24 * 3600;
const GRACE: i64 = 3 * 24 * 3600;
const NUMBERS: [u8; 12] = [1, 2, 3, 4, 5, 6, 7, 8, 9, 10, 11, 12];

async fn disclose(world: &World, disclosure: Disclosure) {
    let policy = Policy {
        disclosure,
        ..Policy::default()
    };
    world.stage.apply(START, &policy).await;
}

/// What a device with these keys verifies at `seconds`.
fn read(world: &World, keys: &[HeldKey], seconds: i64) -> Verified {
    let mut client = Client::new(Reads::Bundle, &world.stage.network.id, &world.pin);
    client.keys = keys.to_vec();
    let verified = client
        .sync(&world.mirrors[0].files(), after(seconds))
        .unwrap();
    assert!(verified.skipped.is_empty(), "{:?}", verified.skipped);
    verified
}

fn ids(verified: &Verified) -> BTreeSet<String> {
    let catalog = verified.catalog.as_ref().unwrap();
    catalog
        .gateways()
        .map(|gateway| gateway.id.to_string())
        .collect()
}

async fn shown(world: &World, seconds: i64, number: u32) -> DeviceAnswer {
    let context = world.stage.context(after(seconds));
    devices::show(&context, identity(number), &device_id(number))
        .await
        .unwrap()
}

/// `bytes` as they could stand in a file: plain, in hexadecimal, and in base64 wherever they begin in what
/// was encoded.
fn forms(bytes: &[u8]) -> Vec<Vec<u8>> {
    let mut forms = vec![
        bytes.to_vec(),
        data_encoding::HEXLOWER.encode(bytes).into_bytes(),
        data_encoding::HEXUPPER.encode(bytes).into_bytes(),
    ];
    for before in 0..3usize {
        let shifted: Vec<u8> = std::iter::repeat_n(0, before)
            .chain(bytes.iter().copied())
            .collect();
        for encoding in [data_encoding::BASE64_NOPAD, data_encoding::BASE64URL_NOPAD] {
            let text = encoding.encode(&shifted);
            // The first characters hold bits of what is before, the last one of what is behind.
            let own = &text[(before * 8).div_ceil(6)..text.len() - 1];
            if own.len() >= 5 {
                forms.push(own.as_bytes().to_vec());
            }
        }
    }
    forms
}

/// In which files something can be read that tells of a gateway: its id, its address, its key.
async fn telltales(world: &World) -> Vec<String> {
    let context = world.stage.context(START);
    let observed = control::gateways::observe(&context).await.unwrap();
    let mut told = Vec::new();
    for (observed, _) in &observed {
        let gateway = &observed.gateway;
        let key = gateway.keys.unwrap().tunnel;
        let address = match gateway.endpoint.ip() {
            std::net::IpAddr::V4(address) => address.octets().to_vec(),
            std::net::IpAddr::V6(address) => address.octets().to_vec(),
        };
        let texts = [
            gateway.id.to_string().into_bytes(),
            gateway.endpoint.ip().to_string().into_bytes(),
            gateway.endpoint.to_string().into_bytes(),
            address,
            key.as_bytes().to_vec(),
            key.to_string().into_bytes(),
        ];
        for form in texts.iter().flat_map(|text| forms(text)) {
            for (path, bytes) in world.mirrors[0].files() {
                let holds = bytes.windows(form.len()).any(|window| window == form);
                if holds
                    || path
                        .as_bytes()
                        .windows(form.len())
                        .any(|window| window == form)
                {
                    told.push(format!("{path}: {:?}", String::from_utf8_lossy(&form)));
                }
            }
        }
    }
    told
}

#[tokio::test]
async fn whoever_reads_all_that_is_published_learns_no_gateway() {
    let world = World::published(1, &NUMBERS).await;

    assert_eq!(telltales(&world).await, Vec::<String>::new());
    let verified = read(&world, &[], 0);
    assert!(verified.sealed.is_shut() && ids(&verified).is_empty());

    // The search finds them where a policy leaves catalogs open.
    disclose(&world, Disclosure::Open {}).await;
    world.publish(after(1)).await;
    let found = telltales(&world).await;
    let files: BTreeSet<_> = found
        .iter()
        .filter_map(|line| line.split_once(':'))
        .collect();
    let files: BTreeSet<_> = files.into_iter().map(|(path, _)| path).collect();
    assert_eq!(
        files.len(),
        3,
        "a catalog under both names, and its bundle: {files:?}"
    );
}

#[tokio::test]
async fn a_device_opens_its_slices_and_no_other() {
    let world = World::new(1);
    for number in NUMBERS {
        let role = if number % 2 == 0 {
            Role::Ingress
        } else {
            Role::Egress
        };
        world.stage.create_gateway(number, role).await;
        world.stage.register(START, number).await.unwrap();
    }
    world.stage.beat(START, &NUMBERS).await;
    disclose(&world, Disclosure::Sealed { slices: 5, held: 2 }).await;
    world.publish(after(1)).await;
    world.stage.invite(1, 9).await;
    let context = world.stage.context(after(1));
    let observed = control::gateways::observe(&context).await.unwrap();
    let mut gateways: Vec<_> = observed
        .iter()
        .map(|(observed, _)| (observed.gateway.id.clone(), observed.gateway.role))
        .collect();
    gateways.sort();
    let placed = rules::slices::place(gateways.iter().map(|(id, role)| (id, *role)), 5);
    let mut different = BTreeSet::new();
    for number in 1..=9 {
        let answer = world.stage.enroll(after(2), 1, number).await.unwrap();
        let mine: BTreeSet<u16> = answer.keys.iter().map(|key| key.slice).collect();

        let verified = read(&world, &answer.keys, 2);

        assert_eq!(
            (verified.sealed.slices, verified.sealed.opened, mine.len()),
            (5, 2, 2)
        );
        let lie_in = mine.iter().flat_map(|slice| &placed[usize::from(*slice)]);
        let expected: BTreeSet<_> = lie_in.map(|at| gateways[*at].0.to_string()).collect();
        assert_eq!(ids(&verified), expected);
        let catalog = verified.catalog.unwrap();
        for role in [Role::Ingress, Role::Egress] {
            assert!(catalog.gateways().any(|gateway| gateway.role == role));
        }
        different.insert(mine);
    }
    assert!(different.len() > 2, "{different:?}");
}

#[tokio::test]
async fn a_revoked_device_opens_nothing_once_an_epoch_and_a_grace_are_over() {
    let world = World::published(1, &[1, 2]).await;
    world.stage.invite(1, 9).await;
    let revoked = world.stage.enroll(START, 1, 7).await.unwrap();
    let stays = world.stage.enroll(START, 1, 8).await.unwrap();
    let away = world.stage.enroll(START, 1, 9).await.unwrap();
    let opens = |keys: &[HeldKey], seconds| read(&world, keys, seconds).sealed.opened == 1;
    assert!(opens(&revoked.keys, 1) && opens(&stays.keys, 1));

    let context = world.stage.context(after(10));
    devices::revoke(&context, &operator(), &device_id(7))
        .await
        .unwrap();
    world.publish(after(11)).await;
    let stays = {
        let next = shown(&world, 12, 8).await;
        assert!(
            next.keys
                .iter()
                .all(|key| stays.keys.contains(key) || !revoked.keys.contains(key))
        );
        assert_ne!(next.keys, stays.keys, "the next epoch's is another one");
        next
    };
    world.publish(after(EPOCH + 20)).await;
    assert!(opens(&revoked.keys, EPOCH + 21), "the grace is not over");
    assert!(opens(&away.keys, EPOCH + 21));
    world.publish(after(EPOCH + GRACE + 30)).await;

    let now = EPOCH + GRACE + 31;
    let shut = read(&world, &revoked.keys, now);
    assert!(shut.sealed.is_shut() && ids(&shut).is_empty());
    assert!(opens(&stays.keys, now), "by the keys of its last contact");
    // Whoever was away for the whole grace opens nothing, and everything after one contact.
    assert!(!opens(&away.keys, now));
    assert!(opens(&shown(&world, now, 9).await.keys, now));
    let refused = devices::show(&world.stage.context(after(now)), identity(7), &device_id(7)).await;
    assert_eq!(kind(refused.unwrap_err()), Kind::DeviceRevoked);
}

#[tokio::test]
async fn who_held_more_slices_reads_no_more_than_the_policy_says_from_the_next_epoch_on() {
    let world = World::published(1, &NUMBERS).await;
    world.stage.invite(1, 9).await;
    disclose(&world, Disclosure::Sealed { slices: 4, held: 3 }).await;
    world.publish(after(5)).await;
    let held = world.stage.enroll(after(6), 1, 7).await.unwrap().keys;
    disclose(&world, Disclosure::Sealed { slices: 4, held: 1 }).await;
    world.publish(after(20)).await;
    assert_eq!(read(&world, &held, 21).sealed.opened, 3);

    world.publish(after(EPOCH + 30)).await;
    world.publish(after(EPOCH + GRACE + 40)).await;

    let now = EPOCH + GRACE + 41;
    assert_eq!(read(&world, &held, now).sealed.opened, 0);
    let given = shown(&world, now, 7).await.keys;
    assert_eq!(read(&world, &given, now).sealed.opened, 1);
}

#[tokio::test]
async fn an_epoch_that_is_begun_by_hand_begins_once() {
    let world = World::published(1, &[1, 2]).await;
    let stage = &world.stage;
    let before = epochs::show(&stage.context(START)).await.unwrap();
    let present = before.present.unwrap().number;
    let ask = async |seconds, over| {
        epochs::begin(
            &stage.context(after(seconds)),
            &operator(),
            &BeginEpoch { over },
        )
        .await
    };

    ask(5, present).await.unwrap();
    let again = ask(6, present).await.unwrap();
    assert_eq!(
        again.next.unwrap().at,
        after(5),
        "the same request changes nothing"
    );
    world.publish(after(7)).await;
    let begun = epochs::show(&stage.context(after(7))).await.unwrap();
    assert_eq!(begun.present.unwrap().number, present + 1);
    assert_eq!(begun.past[0].at, after(7 + GRACE));
    let late = ask(8, present).await.unwrap();
    assert_eq!(late, begun, "nor does it once the epoch has begun");

    assert_eq!(kind(ask(9, 99).await.unwrap_err()), Kind::MalformedRequest);
    assert_eq!(stage.subjects("epoch.begin-wanted").await, ["1"]);
    assert_eq!(stage.subjects("epoch.begun").await.len(), 2);
}

#[tokio::test]
async fn before_anything_is_sealed_there_is_no_epoch_and_no_key() {
    let stage = Stage::memory();
    stage.invite(1, 1).await;

    let answer = stage.enroll(START, 1, 7).await.unwrap();
    let begin = epochs::begin(&stage.context(START), &operator(), &BeginEpoch { over: 0 }).await;

    assert!(answer.keys.is_empty() && answer.next_epoch_at.is_none());
    assert_eq!(kind(begin.unwrap_err()), Kind::NothingPublished);
    assert_eq!(
        epochs::show(&stage.context(START)).await.unwrap().present,
        None
    );
}

#[tokio::test]
async fn the_secret_of_an_epoch_is_forgotten_after_its_grace() {
    for opened in [false, true] {
        a_secret_is_forgotten(opened).await;
    }
}

/// Also where the policy has opened the catalogs meanwhile.
async fn a_secret_is_forgotten(opened: bool) {
    let world = World::published(1, &[1, 2]).await;
    let kept = async || {
        let found = world
            .stage
            .store
            .get_many(START, &[items::epochs()])
            .await
            .unwrap();
        let item = found[0].as_ref().unwrap();
        (
            item.read::<Epochs>().unwrap(),
            serde_json::to_string(&item.body).unwrap(),
        )
    };
    let (first, _) = kept().await;
    let secret = String::from(first.present.secret.clone());
    if opened {
        disclose(&world, Disclosure::Open {}).await;
    }

    world.publish(after(EPOCH)).await;
    assert!(kept().await.1.contains(&secret));
    world.publish(after(EPOCH + GRACE)).await;

    let (last, body) = kept().await;
    assert!(!body.contains(&secret));
    assert_eq!((last.salt, last.present.number), (first.salt, 2));
}

#[tokio::test]
async fn every_database_counts_revocations_and_replaces_the_next_secret_once() {
    for stage in Stage::of_each_kind_and_dynamodb(24).await {
        let world = World::on(stage.clone(), 1);
        stage.bring_up(START, &[1, 2]).await;
        world.publish(START).await;
        stage.invite(1, 2).await;
        for number in [7, 8] {
            stage.enroll(START, 1, number).await.unwrap();
            let context = stage.context(after(1));
            devices::revoke(&context, &operator(), &device_id(number))
                .await
                .unwrap();
        }

        world.publish(after(2)).await;
        world.publish(after(3)).await;

        let keys = [items::epochs(), items::revocations()];
        let found = stage.store.get_many(after(3), &keys).await.unwrap();
        let epochs: Epochs = found[0].as_ref().unwrap().read().unwrap();
        let counted: Revocations = found[1].as_ref().unwrap().read().unwrap();
        assert_eq!((counted.count, epochs.next.revocations), (2, 2));
        assert_eq!((epochs.present.number, epochs.next.number), (1, 3));
    }
}
