//! Admins when many want the same at once: one setup wins, one session comes of a challenge, and
//! an owner always stays.

mod common;

use std::collections::BTreeSet;
use std::sync::Arc;

use api::Kind;
use api::admins::{NewAdmin, SessionAnswer, SessionRequest, SetupRequest};
use api::enroll::InviteSecret;
use common::board::{Act, Board, BoardStore};
use common::{START, Stage, after, kind};
use control::{Error, admins, sessions, setup};
use jiff::Timestamp;
use model::{Admin, AdminId, AdminRole, IdentityKey, SetupCode, id};

const SECRET: [u8; 16] = [5; 16];
const DAY: i64 = 24 * 3600;

fn key(number: u8) -> IdentityKey {
    IdentityKey::from_bytes([number; 32])
}

fn admin_id(number: u8) -> AdminId {
    AdminId::of(&key(number))
}

fn code() -> SetupCode {
    SetupCode {
        hash: id::setup_hash(&SECRET),
        expires_at: after(DAY),
    }
}

impl Stage {
    async fn set_up(&self, now: Timestamp, number: u8) -> Result<Admin, Error> {
        let request = SetupRequest {
            code: InviteSecret::new(&SECRET),
            name: format!("admin {number}"),
        };
        setup::setup(&self.context(now), Some(&code()), key(number), request).await
    }

    async fn add(&self, by: u8, number: u8, role: AdminRole) -> Result<Admin, Error> {
        let new = NewAdmin {
            key: key(number),
            name: format!("admin {number}"),
            role,
        };
        admins::add(&self.context(after(1)), &admin_id(by), new).await
    }

    async fn remove(&self, now: Timestamp, by: u8, number: u8) -> Result<Admin, Error> {
        admins::remove(&self.context(now), &admin_id(by), &admin_id(number)).await
    }

    async fn challenge(&self, now: Timestamp, number: u8) -> SessionRequest {
        let answer = sessions::challenge(&self.context(now), key(number)).await;
        let challenge = answer.unwrap().challenge;
        SessionRequest { challenge }
    }

    async fn open(
        &self,
        now: Timestamp,
        number: u8,
        request: &SessionRequest,
    ) -> Result<SessionAnswer, Error> {
        sessions::open(&self.context(now), key(number), request).await
    }

    async fn log_in(&self, now: Timestamp, number: u8) -> SessionAnswer {
        let request = self.challenge(now, number).await;
        self.open(now, number, &request).await.unwrap()
    }

    async fn owners(&self) -> Vec<AdminId> {
        let admins = admins::list(&self.context(after(1))).await.unwrap();
        let owners = admins.into_iter().filter(Admin::is_owner);
        owners.map(|admin| admin.id).collect()
    }
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn of_many_setups_at_once_one_wins_and_burns_the_code() {
    for stage in Stage::of_each_kind(24) {
        let mut tasks = tokio::task::JoinSet::new();
        for number in 1..=16 {
            let stage = Arc::clone(&stage);
            // Each key asks twice at once.
            tasks.spawn(async move { stage.set_up(START, number / 2 + 1).await });
        }
        let outcomes = tasks.join_all().await;

        let won: BTreeSet<_> = outcomes.iter().flatten().map(|admin| &admin.id).collect();
        assert_eq!(won.len(), 1);
        let winner = (1..=9).find(|n| won.contains(&admin_id(*n))).unwrap();
        assert_eq!(stage.owners().await, [admin_id(winner)]);
        for refused in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(kind(refused), Kind::SetupRefused);
        }
        assert_eq!(stage.subjects("admin.added").await.len(), 1);
        let again = stage.set_up(after(DAY + 1), winner).await.unwrap();
        assert_eq!(again.created_at, START);
        let late = stage.set_up(after(1), 99).await.unwrap_err();
        assert_eq!(kind(late), Kind::SetupRefused);
    }
}

#[tokio::test]
async fn a_setup_code_that_is_wrong_expired_or_not_there_is_refused() {
    let stage = Stage::memory();
    let request = |secret| SetupRequest {
        code: InviteSecret::new(&[secret; 16]),
        name: "ada".to_owned(),
    };
    let context = stage.context(START);

    let wrong = setup::setup(&context, Some(&code()), key(1), request(6)).await;
    let none = setup::setup(&context, None, key(1), request(5)).await;
    let expired = stage.set_up(after(DAY), 1).await;

    for refused in [wrong, none, expired] {
        assert_eq!(kind(refused.unwrap_err()), Kind::SetupRefused);
    }
    assert_eq!(stage.owners().await, []);
    assert!(stage.events().await.is_empty());
}

#[tokio::test]
async fn a_setup_whose_answer_is_lost_is_done_once() {
    let stage = Stage::memory();
    let board = Board::new(|name| name == "store commit", [(0, Act::FailAfter)]);
    let lossy = stage.through(Arc::new(BoardStore {
        board,
        store: Arc::clone(&stage.store),
    }));

    let lost = lossy.set_up(START, 1).await;
    let again = lossy.set_up(after(1), 1).await.unwrap();

    assert!(lost.is_err());
    assert_eq!(again.created_at, START);
    assert_eq!(stage.subjects("admin.added").await.len(), 1);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn a_challenge_that_is_shown_many_times_at_once_gives_one_session() {
    for stage in Stage::of_each_kind(24) {
        stage.set_up(START, 1).await.unwrap();
        let request = stage.challenge(START, 1).await;

        let mut tasks = tokio::task::JoinSet::new();
        for _ in 0..8 {
            let (stage, request) = (Arc::clone(&stage), request.clone());
            tasks.spawn(async move { stage.open(after(1), 1, &request).await });
        }
        let outcomes = tasks.join_all().await;

        assert_eq!(outcomes.iter().flatten().count(), 1);
        for refused in outcomes.into_iter().filter_map(Result::err) {
            assert_eq!(kind(refused), Kind::ChallengeRefused);
        }
        assert_eq!(stage.subjects("session.opened").await.len(), 1);
    }
}

#[tokio::test]
async fn a_challenge_counts_once_for_a_minute_and_for_its_own_admin() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Operator).await.unwrap();
    let (first, second) = (
        stage.challenge(START, 1).await,
        stage.challenge(START, 1).await,
    );

    let anothers = stage.open(after(1), 2, &first).await.unwrap_err();
    let in_time = stage.open(after(59), 1, &first).await;
    let replayed = stage.open(after(59), 1, &first).await.unwrap_err();
    let late = stage.open(after(60), 1, &second).await.unwrap_err();
    let stranger = sessions::challenge(&stage.context(START), key(3)).await;

    assert!(in_time.is_ok());
    for refused in [anothers, replayed, late] {
        assert_eq!(kind(refused), Kind::ChallengeRefused);
    }
    assert_eq!(kind(stranger.unwrap_err()), Kind::NotAllowed);
}

#[tokio::test]
async fn a_session_ends_after_an_hour_by_itself_or_when_it_is_ended() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    let session = stage.log_in(START, 1).await;
    let other = stage.log_in(START, 1).await;
    assert_ne!(session.token, other.token);

    let open = sessions::read(&stage.context(after(3599)), &session.token).await;
    let expired = sessions::read(&stage.context(after(3600)), &session.token).await;
    let asking = sessions::read(&stage.context(after(1)), &other.token).await;
    let asking = asking.unwrap();
    sessions::end(&stage.context(after(1)), &asking)
        .await
        .unwrap();
    sessions::end(&stage.context(after(2)), &asking)
        .await
        .unwrap();
    let ended = sessions::read(&stage.context(after(3)), &other.token).await;

    assert_eq!(open.unwrap().admin.id, admin_id(1));
    assert_eq!(kind(expired.unwrap_err()), Kind::SessionEnded);
    assert_eq!(kind(ended.unwrap_err()), Kind::SessionEnded);
    assert_eq!(stage.subjects("session.ended").await.len(), 1);
}

#[tokio::test]
async fn a_removed_admin_s_sessions_logins_and_key_are_refused_at_once() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Operator).await.unwrap();
    let session = stage.log_in(after(1), 2).await;
    let challenge = stage.challenge(after(1), 2).await;

    let removed = stage.remove(after(2), 1, 2).await.unwrap();
    let again = stage.remove(after(3), 1, 2).await.unwrap();

    assert_eq!(removed.removed_at, Some(after(2)));
    assert_eq!(again, removed);
    let read = sessions::read(&stage.context(after(2)), &session.token).await;
    assert_eq!(kind(read.unwrap_err()), Kind::SessionEnded);
    let open = stage.open(after(2), 2, &challenge).await;
    assert_eq!(kind(open.unwrap_err()), Kind::NotAllowed);
    let login = sessions::challenge(&stage.context(after(2)), key(2)).await;
    assert_eq!(kind(login.unwrap_err()), Kind::NotAllowed);
    let back = stage.add(1, 2, AdminRole::Operator).await;
    assert_eq!(kind(back.unwrap_err()), Kind::AdminConflict);
}

#[tokio::test]
async fn another_role_counts_in_a_session_that_is_open() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Owner).await.unwrap();
    let session = stage.log_in(after(1), 2).await;

    let context = stage.context(after(2));
    admins::change_role(&context, &admin_id(1), &admin_id(2), AdminRole::Auditor)
        .await
        .unwrap();

    let asking = sessions::read(&stage.context(after(3)), &session.token).await;
    assert_eq!(asking.unwrap().admin.role, AdminRole::Auditor);
    // The use case itself asks for an owner, whatever the edge let through.
    let refused = stage.add(2, 3, AdminRole::Owner).await.unwrap_err();
    assert_eq!(kind(refused), Kind::NotAllowed);
}

#[tokio::test]
async fn an_admin_who_is_added_again_is_the_same_and_other_terms_are_a_conflict() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();

    let first = stage.add(1, 2, AdminRole::Auditor).await.unwrap();
    let again = stage.add(1, 2, AdminRole::Auditor).await.unwrap();
    let other = stage.add(1, 2, AdminRole::Owner).await.unwrap_err();

    assert_eq!(again, first);
    assert_eq!(kind(other), Kind::AdminConflict);
    assert_eq!(stage.subjects("admin.added").await.len(), 2);
}

#[tokio::test]
async fn the_last_owner_can_neither_leave_nor_step_down() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Operator).await.unwrap();

    let leave = stage.remove(after(2), 1, 1).await.unwrap_err();
    let context = stage.context(after(2));
    let down = admins::change_role(&context, &admin_id(1), &admin_id(1), AdminRole::Operator).await;

    assert_eq!(kind(leave), Kind::LastOwner);
    assert_eq!(kind(down.unwrap_err()), Kind::LastOwner);
    assert_eq!(stage.owners().await, [admin_id(1)]);
}

#[tokio::test]
async fn of_two_owners_who_remove_each_other_one_stays_wherever_they_overlap() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Owner).await.unwrap();
    // The first has read that both are owners, and decides while the second is done.
    let board = Board::new(|name| name == "store commit", [(0, Act::Freeze)]);
    let slow = stage.through(Arc::new(BoardStore {
        board: Arc::clone(&board),
        store: Arc::clone(&stage.store),
    }));

    let first = tokio::spawn(async move { slow.remove(after(2), 1, 2).await });
    board.until_frozen().await;
    stage.remove(after(2), 2, 1).await.unwrap();
    board.thaw();

    assert_eq!(kind(first.await.unwrap().unwrap_err()), Kind::NotAllowed);
    assert_eq!(stage.owners().await, [admin_id(2)]);
    assert_eq!(stage.subjects("admin.removed").await.len(), 1);
}

#[tokio::test]
async fn of_two_owners_who_leave_at_once_one_stays() {
    let stage = Stage::memory();
    stage.set_up(START, 1).await.unwrap();
    stage.add(1, 2, AdminRole::Owner).await.unwrap();
    let board = Board::new(|name| name == "store commit", [(0, Act::Freeze)]);
    let slow = stage.through(Arc::new(BoardStore {
        board: Arc::clone(&board),
        store: Arc::clone(&stage.store),
    }));

    let first = tokio::spawn(async move { slow.remove(after(2), 1, 1).await });
    board.until_frozen().await;
    stage.remove(after(2), 2, 2).await.unwrap();
    board.thaw();

    assert_eq!(kind(first.await.unwrap().unwrap_err()), Kind::LastOwner);
    assert_eq!(stage.owners().await, [admin_id(1)]);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn owners_who_remove_each_other_in_a_storm_always_leave_one() {
    for round in 0..8 {
        for stage in Stage::of_each_kind(24) {
            stage.set_up(START, 1).await.unwrap();
            for number in 2..=4 {
                stage.add(1, number, AdminRole::Owner).await.unwrap();
            }
            let mut tasks = tokio::task::JoinSet::new();
            for by in 1..=4_u8 {
                for other in 0..4 {
                    let stage = Arc::clone(&stage);
                    let number = (by + other + round) % 4 + 1;
                    tasks.spawn(async move { stage.remove(after(2), by, number).await });
                }
            }
            let outcomes = tasks.join_all().await;

            let owners = stage.owners().await;
            assert!(!owners.is_empty(), "round {round}: {outcomes:?}");
            let removed = stage.subjects("admin.removed").await;
            assert_eq!(removed.len() + owners.len(), 4, "one event each");
        }
    }
}
