//! Enrollment when many want the same: an invite's last uses and a pool's last addresses go to
//! exactly as many as there are, whole, and the same request never takes two.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Kind;
use common::board::{Act, Board, BoardStore};
use common::{START, Stage, after, device_id, enroll_at_once, identity, kind, request};
use control::{devices, enroll};
use model::LeaseIndex;
use rules::probing;

/// Places that are left for so many devices that want one at once.
const LEFT: usize = 20;
const WANT: usize = 32;

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_at_once_as_many_enroll_as_the_invite_has_uses_left() {
    for (uses, used) in [(20, 0), (50, 30)] {
        for stage in Stage::of_each_kind_and_dynamodb(24).await {
            let invite = stage.invite(1, uses).await;
            let before = enroll_at_once(&stage, 1, 1000..1000 + used).await;
            assert_eq!(before.answers.len(), used as usize);

            let enrolled = enroll_at_once(&stage, 1, 0..32).await;

            assert_eq!(enrolled.answers.len(), LEFT);
            assert_eq!(enrolled.refused.len(), WANT - LEFT);
            assert!(enrolled.refused.values().all(|k| *k == Kind::InviteUsedUp));
            let mut numbers: BTreeSet<u32> = before.answers.keys().copied().collect();
            numbers.extend(enrolled.answers.keys());
            let refused: BTreeSet<u32> = enrolled.refused.keys().copied().collect();
            stage.assert_enrolled(&[&invite], &numbers, &refused).await;
            let answers = before.answers.values().chain(enrolled.answers.values());
            let outer: BTreeSet<_> = answers.clone().map(|a| a.addresses.outer).collect();
            let inner6: BTreeSet<_> = answers.map(|a| a.addresses.inner6).collect();
            assert_eq!((outer.len(), inner6.len()), (numbers.len(), numbers.len()));
        }
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_32_at_once_as_many_enroll_as_the_pool_has_addresses_left() {
    for stage in Stage::of_each_kind_and_dynamodb(26).await {
        let usable = (0..64).filter(|n| stage.network.pools.is_usable(LeaseIndex(*n)));
        let usable = u32::try_from(usable.count()).unwrap();
        assert_eq!(usable, 47);
        let invite = stage.invite(1, 1000).await;
        let before = enroll_at_once(&stage, 1, 1000..1000 + usable - 20).await;
        assert_eq!(before.answers.len(), 27);

        let enrolled = enroll_at_once(&stage, 1, 0..32).await;

        assert_eq!(enrolled.answers.len(), LEFT);
        assert_eq!(enrolled.refused.len(), WANT - LEFT);
        assert!(enrolled.refused.values().all(|k| *k == Kind::PoolCrowded));
        let mut numbers: BTreeSet<u32> = before.answers.keys().copied().collect();
        numbers.extend(enrolled.answers.keys());
        let refused: BTreeSet<u32> = enrolled.refused.keys().copied().collect();
        stage.assert_enrolled(&[&invite], &numbers, &refused).await;
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn the_same_request_at_once_and_again_makes_one_device() {
    for stage in Stage::of_each_kind_and_dynamodb(24).await {
        let invite = stage.invite(1, 5).await;

        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let stage = Arc::clone(&stage);
            tasks.spawn(async move { stage.enroll(START, 1, 7).await.unwrap() });
        }
        let answers = tasks.join_all().await;
        let later = stage.enroll(after(60), 1, 7).await.unwrap();

        assert!(answers.iter().all(|answer| *answer == later));
        stage
            .assert_enrolled(&[&invite], &BTreeSet::from([7]), &BTreeSet::new())
            .await;
    }
}

#[tokio::test]
async fn a_request_whose_twin_takes_the_invite_s_last_use_gets_the_twin_s_answer() {
    let stage = Arc::new(Stage::memory());
    let invite = stage.invite(1, 20).await;
    enroll_at_once(&stage, 1, 1000..1019).await;
    let taken = stage.slots(START, &invite).await;
    let free = (0..20).find(|n| !taken.contains_key(&format!("{n:05}")));
    // A device that comes to the free use only after it has begun to read.
    let number = (0..1000).find(|n| {
        let id = device_id(*n);
        let order = probing::sequence(id.as_str(), invite.as_str(), 20);
        order
            .take(probing::TRIED_ONE_BY_ONE)
            .all(|n| Some(n) != free)
    });
    let number = number.unwrap();

    let board = Board::new(|name| name == "store query", [(0, Act::Freeze)]);
    let (first, twin) = overtaken(&stage, &board, number).await;

    assert_eq!(first.unwrap(), twin);
}

#[tokio::test]
async fn a_request_whose_twin_takes_the_pool_s_last_address_gets_the_twin_s_answer() {
    let [stage, _] = Stage::of_each_kind(26);
    stage.invite(1, 1000).await;
    enroll_at_once(&stage, 1, 1000..1046).await;
    let taken = stage.leases(START).await;
    let free = (16..63).find(|n| !taken.contains_key(n));
    let number = (0..1000).find(|n| {
        let id = device_id(*n);
        let order = probing::sequence(id.as_str(), "lease", 64).filter(|n| (16..63).contains(n));
        let mut tried = order.take(probing::TRIED_ONE_BY_ONE);
        tried.all(|n| Some(n) != free)
    });
    let number = number.unwrap();

    // The first read is that of the device and the invite, the second one that of leases.
    let board = Board::new(|name| name == "store get_many", [(1, Act::Freeze)]);
    let (first, twin) = overtaken(&stage, &board, number).await;

    assert_eq!(first.unwrap(), twin);
}

/// Enrolls a device through `board` until it freezes, again without it, and lets the first go on.
async fn overtaken(
    stage: &Arc<Stage>,
    board: &Arc<Board>,
    number: u32,
) -> (
    Result<api::enroll::DeviceAnswer, control::Error>,
    api::enroll::DeviceAnswer,
) {
    let slow = stage.through(Arc::new(BoardStore {
        board: Arc::clone(board),
        store: Arc::clone(&stage.store),
    }));
    let first = tokio::spawn(async move { slow.enroll(START, 1, number).await });
    board.until_frozen().await;
    let twin = stage.enroll(START, 1, number).await.unwrap();
    board.thaw();
    (first.await.unwrap(), twin)
}

#[tokio::test]
async fn an_identity_with_other_keys_is_a_conflict() {
    let stage = Stage::memory();
    let invite = stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();

    let again = enroll::enroll(&stage.context(START), identity(7), request(1, 8)).await;

    assert_eq!(kind(again.unwrap_err()), Kind::DeviceConflict);
    let (enrolled, without) = (BTreeSet::from([7]), BTreeSet::from([8]));
    stage.assert_enrolled(&[&invite], &enrolled, &without).await;
}

#[tokio::test]
async fn a_wireguard_key_of_another_device_is_refused_in_either_place() {
    let stage = Stage::memory();
    let invite = stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();
    let other = request(1, 7);
    let mut same_tunnel = request(1, 8);
    same_tunnel.tunnel_key = other.tunnel_key;
    let mut same_exit = request(1, 8);
    same_exit.exit_key = other.exit_key;
    let mut crossed = request(1, 8);
    crossed.exit_key = model::ExitKey::from_bytes(*other.tunnel_key.as_bytes());

    for request in [same_tunnel, same_exit, crossed] {
        let refused = enroll::enroll(&stage.context(START), identity(8), request).await;
        assert_eq!(kind(refused.unwrap_err()), Kind::KeyInUse);
    }

    let (enrolled, without) = (BTreeSet::from([7]), BTreeSet::from([8]));
    stage.assert_enrolled(&[&invite], &enrolled, &without).await;
}

#[tokio::test]
async fn one_key_for_both_tunnels_is_refused() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    let mut request = request(1, 7);
    request.exit_key = model::ExitKey::from_bytes(*request.tunnel_key.as_bytes());

    let refused = enroll::enroll(&stage.context(START), identity(7), request).await;

    assert_eq!(kind(refused.unwrap_err()), Kind::MalformedRequest);
    assert_eq!(stage.devices(START).await, []);
}

#[tokio::test]
async fn an_unknown_and_an_expired_invite_are_refused() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;

    let unknown = stage.enroll(START, 2, 7).await.unwrap_err();
    let expired = stage.enroll(after(3600), 1, 7).await.unwrap_err();

    assert_eq!(kind(unknown), Kind::InviteUnknown);
    assert_eq!(kind(expired), Kind::InviteExpired);
    stage.enroll(after(3599), 1, 7).await.unwrap();
}

#[tokio::test]
async fn a_device_that_is_enrolled_outlives_its_invite() {
    let stage = Stage::memory();
    stage.invite(1, 1).await;
    let first = stage.enroll(START, 1, 7).await.unwrap();

    let again = stage.enroll(after(3600), 1, 7).await.unwrap();
    let shown = devices::show(&stage.context(after(3600)), identity(7), &device_id(7)).await;

    assert_eq!((&again, &shown.unwrap()), (&first, &first));
}
