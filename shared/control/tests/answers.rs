//! What requests cost, and that a lost answer costs nothing: a commit that was applied though its
//! caller heard of a failure is found by the next try.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use common::board::{Act, Board, BoardStore};
use common::nodes::gateway_identity;
use common::{START, Stage, after, enroll_at_once};
use control::Error;
use model::Role;

fn behind(board: &Arc<Board>, stage: &Stage) -> Stage {
    stage.through(Arc::new(BoardStore {
        board: Arc::clone(board),
        store: Arc::clone(&stage.store),
    }))
}

#[tokio::test]
async fn an_enrollment_without_rivals_is_one_read_and_one_commit() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    let board = Board::watching();
    let counted = behind(&board, &stage);

    counted.enroll(START, 1, 7).await.unwrap();

    assert_eq!(board.calls(), ["store get_many", "store commit"]);
}

#[tokio::test]
async fn a_heartbeat_is_one_commit_and_nothing_else() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    let version = stage.register(START, 1).await.unwrap().version;
    let board = Board::watching();
    let counted = behind(&board, &stage);

    let next = counted.heartbeat(after(1), 1, version, 10).await.unwrap();
    counted.heartbeat(after(2), 1, next, 10).await.unwrap();

    assert_eq!(board.calls(), ["store commit", "store commit"]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn an_enrollment_whose_answers_are_lost_is_done_once() {
    for rivals in [0, 4, 19] {
        let most = if rivals == 0 { 1 } else { 4 };
        for lost in 1..=most {
            for stage in Stage::of_each_kind(24) {
                let invite = stage.invite(1, rivals + 1).await;
                enroll_at_once(&stage, 1, 1000..1000 + rivals).await;
                let is_commit = |name: &str| name == "store commit";
                let plan = (0..lost).map(|number| (number, Act::FailAfter));
                let board = Board::new(is_commit, plan);
                let lossy = behind(&board, &stage);

                let mut tries = 0;
                let answer = loop {
                    tries += 1;
                    match lossy.enroll(after(tries), 1, 7).await {
                        Ok(answer) => break answer,
                        Err(Error::Store(store::StoreError::Unavailable(_))) => {}
                        Err(other) => panic!("try {tries}: {other:?}"),
                    }
                };

                assert!(tries > 1, "an answer was lost");
                let again = stage.enroll(after(100), 1, 7).await.unwrap();
                assert_eq!(again, answer);
                let numbers: BTreeSet<u32> = (1000..1000 + rivals).chain([7]).collect();
                stage
                    .assert_enrolled(&[&invite], &numbers, &BTreeSet::new())
                    .await;
            }
        }
    }
}

#[tokio::test]
async fn a_gateway_whose_answers_are_lost_goes_on_in_step() {
    let stage = Stage::memory();
    stage.create_gateway(1, Role::Ingress).await;
    let is_commit = |name: &str| name == "store commit";
    let board = Board::new(is_commit, (0..2).map(|number| (number * 2, Act::FailAfter)));
    let lossy = behind(&board, &stage);

    let registered = lossy.register(START, 1).await;
    let version = lossy.register(after(1), 1).await.unwrap().version;
    let kept = lossy.heartbeat(after(2), 1, version, 10).await.unwrap();
    let lost = lossy.heartbeat(after(3), 1, kept, 20).await;
    let again = lossy.heartbeat(after(4), 1, kept, 20).await.unwrap();

    assert!(registered.is_err() && lost.is_err() && board.is_spent());
    assert_eq!(again, kept + 1);
    let next = lossy.heartbeat(after(5), 1, again, 30).await.unwrap();
    assert_eq!(next, again + 1);
    assert_eq!(stage.subjects("gateway.registered").await.len(), 1);
    let seen = control::gateways::list(&stage.context(after(6)))
        .await
        .unwrap();
    assert_eq!(seen[0].seen_at, Some(after(5)));
    assert_eq!(seen[0].gateway.keys.unwrap().identity, gateway_identity(1));
}

#[tokio::test]
async fn a_revocation_whose_answer_is_lost_is_done_once() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    let device = stage.enroll(START, 1, 7).await.unwrap().device;
    let board = Board::new(|name| name == "store commit", [(0, Act::FailAfter)]);
    let lossy = behind(&board, &stage);

    let actor = common::operator();
    let lost = control::devices::revoke(&lossy.context(after(1)), &actor, &device).await;
    let again = control::devices::revoke(&lossy.context(after(2)), &actor, &device).await;

    assert!(lost.is_err());
    assert_eq!(again.unwrap().revoked_at, Some(after(1)));
    assert_eq!(stage.subjects("device.revoked").await.len(), 1);
}

/// Freezes `first` at its first commit, lets `second` do the same, and gives both answers.
async fn at_once<T: Send + 'static, F>(
    stage: &Arc<Stage>,
    act: impl Fn(Arc<Stage>) -> F,
) -> (Result<T, Error>, Result<T, Error>)
where
    F: Future<Output = Result<T, Error>> + Send + 'static,
{
    let board = Board::new(|name| name == "store commit", [(0, Act::Freeze)]);
    let slow = tokio::spawn(act(Arc::new(behind(&board, stage))));
    board.until_frozen().await;
    let fast = act(Arc::clone(stage)).await;
    board.thaw();
    (slow.await.unwrap(), fast)
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_revocations_at_once_give_the_same_answer() {
    for stage in Stage::of_each_kind(24) {
        stage.invite(1, 5).await;
        let id = stage.enroll(START, 1, 7).await.unwrap().device;

        let (slow, fast) = at_once(&stage, |stage| {
            let id = id.clone();
            async move {
                let actor = common::operator();
                control::devices::revoke(&stage.context(after(1)), &actor, &id).await
            }
        })
        .await;

        assert_eq!(slow.unwrap(), fast.unwrap());
        assert_eq!(stage.subjects("device.revoked").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_withdrawals_at_once_give_the_same_answer() {
    for stage in Stage::of_each_kind(24) {
        let id = stage.invite(1, 5).await;

        let (slow, fast) = at_once(&stage, |stage| {
            let id = id.clone();
            async move {
                let actor = common::operator();
                control::invites::withdraw(&stage.context(after(1)), &actor, &id).await
            }
        })
        .await;

        assert_eq!(slow.unwrap(), fast.unwrap());
        assert_eq!(stage.subjects("invite.withdrawn").await.len(), 1);
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn two_identical_registrations_at_once_give_the_same_answer() {
    for stage in Stage::of_each_kind(24) {
        stage.create_gateway(1, Role::Ingress).await;

        let (slow, fast) = at_once(
            &stage,
            |stage| async move { stage.register(after(1), 1).await },
        )
        .await;

        assert_eq!(slow.unwrap(), fast.unwrap());
        assert_eq!(stage.subjects("gateway.registered").await.len(), 1);
    }
}
