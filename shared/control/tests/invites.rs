//! Invites: the same request twice makes one, and the list tells how much of each is used.

mod common;

use api::Kind;
use api::admin::NewInvite;
use common::{START, Stage, after, enroll_at_once, kind, limits, operator, secret};
use control::invites;
use model::InviteId;
use model::invite::MOST_USES;

fn new_invite(number: u8) -> NewInvite {
    NewInvite {
        id: InviteId::of(&secret(number)),
        cohort: "default".parse().unwrap(),
        tags: std::collections::BTreeSet::new(),
        uses: 5,
        expires_at: after(3600),
        note: "for friends".to_owned(),
    }
}

#[tokio::test]
async fn an_invite_that_is_made_twice_is_made_once() {
    let stage = Stage::memory();

    let first = invites::create(&stage.context(START), &limits(), &operator(), new_invite(1)).await;
    let again = invites::create(
        &stage.context(after(1)),
        &limits(),
        &operator(),
        new_invite(1),
    )
    .await;

    assert_eq!(first.unwrap(), again.unwrap());
    assert_eq!(stage.subjects("invite.created").await.len(), 1);
}

#[tokio::test]
async fn an_invite_with_other_terms_is_a_conflict() {
    let stage = Stage::memory();
    let context = stage.context(START);
    let first = invites::create(&context, &limits(), &operator(), new_invite(1)).await;
    let first = first.unwrap();

    let more = NewInvite {
        uses: 6,
        ..new_invite(1)
    };
    let conflict = invites::create(&stage.context(START), &limits(), &operator(), more).await;

    assert_eq!(kind(conflict.unwrap_err()), Kind::InviteConflict);
    let (listed, _) = invites::list(&context, None).await.unwrap();
    assert_eq!(listed[0].invite, first);
}

#[tokio::test]
async fn an_invite_outside_the_ranges_is_refused() {
    let stage = Stage::memory();
    let with = |change: fn(&mut NewInvite)| {
        let mut new = new_invite(1);
        change(&mut new);
        new
    };
    let wrong = [
        with(|new| new.uses = 0),
        with(|new| new.uses = MOST_USES + 1),
        with(|new| new.expires_at = START),
        with(|new| new.note = "x".repeat(501)),
    ];

    for new in wrong {
        let refused = invites::create(&stage.context(START), &limits(), &operator(), new).await;
        assert_eq!(kind(refused.unwrap_err()), Kind::MalformedRequest);
    }

    let (listed, next) = invites::list(&stage.context(START), None).await.unwrap();
    assert_eq!((listed, next), (Vec::new(), None));
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn the_list_tells_how_much_of_each_of_many_invites_is_used() {
    for stage in Stage::of_each_kind(24) {
        for number in 0..120 {
            stage.invite(number, 5).await;
        }
        enroll_at_once(&stage, 7, 0..3).await;

        let (mut listed, mut after) = (Vec::new(), None::<String>);
        loop {
            let context = stage.context(START);
            let (page, next) = invites::list(&context, after.as_deref()).await.unwrap();
            listed.extend(page);
            let Some(next) = next else { break };
            after = Some(next);
        }

        assert_eq!(listed.len(), 120);
        assert!(listed.is_sorted_by(|a, b| a.invite.id < b.invite.id));
        let used: Vec<_> = listed.iter().filter(|view| view.used > 0).collect();
        assert_eq!((used.len(), used[0].used), (1, 3));
        assert_eq!(used[0].invite.id, InviteId::of(&secret(7)));
    }
}

#[tokio::test]
async fn an_invite_that_can_never_work_is_refused_when_it_is_made() {
    let stage = Stage::memory();
    let mut elsewhere = new_invite(1);
    elsewhere.cohort = "canary".parse().unwrap();
    let mut noisy = new_invite(1);
    noisy.note = "\u{1b}[2Jfor friends".to_owned();

    let context = stage.context(START);
    let elsewhere = invites::create(&context, &limits(), &operator(), elsewhere).await;
    let noisy = invites::create(&context, &limits(), &operator(), noisy).await;

    let elsewhere = elsewhere.unwrap_err();
    assert_eq!(
        elsewhere.to_string(),
        "there is no cohort 'canary': the signed limits have default"
    );
    assert_eq!(kind(elsewhere), Kind::MalformedRequest);
    assert_eq!(kind(noisy.unwrap_err()), Kind::MalformedRequest);
    let (listed, _) = invites::list(&context, None).await.unwrap();
    assert_eq!(listed, []);
}

#[tokio::test]
async fn a_withdrawn_invite_lets_nobody_in_and_whoever_is_in_stays() {
    let stage = Stage::memory();
    let id = stage.invite(1, 5).await;
    let device = stage.enroll(START, 1, 7).await.unwrap();

    let withdrawn = invites::withdraw(&stage.context(after(1)), &operator(), &id).await;
    let again = invites::withdraw(&stage.context(after(2)), &operator(), &id).await;
    let stranger = stage.enroll(after(3), 1, 8).await.unwrap_err();
    let same = stage.enroll(after(3), 1, 7).await.unwrap();

    let withdrawn = withdrawn.unwrap();
    assert_eq!(withdrawn.withdrawn_at, Some(after(1)));
    assert_eq!(again.unwrap(), withdrawn, "doing it again changes nothing");
    assert_eq!(kind(stranger), Kind::InviteWithdrawn);
    assert_eq!(same, device);
    assert_eq!(stage.subjects("invite.withdrawn").await, [id.to_string()]);
    let context = stage.context(START);
    let unknown = invites::withdraw(&context, &operator(), &InviteId::of(&secret(2))).await;
    assert_eq!(kind(unknown.unwrap_err()), Kind::InviteUnknown);
}

#[tokio::test]
async fn an_invite_made_again_after_its_withdrawal_stays_withdrawn() {
    let stage = Stage::memory();
    let made = invites::create(&stage.context(START), &limits(), &operator(), new_invite(1)).await;
    invites::withdraw(&stage.context(START), &operator(), &made.unwrap().id)
        .await
        .unwrap();

    let again = invites::create(&stage.context(START), &limits(), &operator(), new_invite(1)).await;

    assert_eq!(again.unwrap().withdrawn_at, Some(START));
    assert_eq!(
        kind(stage.enroll(START, 1, 7).await.unwrap_err()),
        Kind::InviteWithdrawn
    );
}
