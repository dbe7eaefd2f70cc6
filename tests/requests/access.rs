//! How admins get in and what their roles come to: logins, and changes that count at once.

use api::Kind;
use api::admin::INVITES;
use api::admins::{ADMINS, SESSION, SESSION_END, SESSIONS, SessionView, removal, role};
use api::policy::EXPLANATION;
use http::Method;
use model::{Admin, AdminRole, InviteId};
use serde_json::{Value, json};

use crate::any_route::by_role;
use crate::stage::{Ask, By, Function};
use crate::world::{
    AUDITOR, NEW_ADMIN, NEW_INVITE, OPERATOR, OWNER, World, admin_id, new_admin, new_invite, open,
};

#[test]
fn an_auditor_may_change_nothing_but_the_end_of_the_own_session() {
    let open = by_role().into_iter();
    let open =
        open.filter(|(line, role)| line.method != Method::GET && *role == AdminRole::Auditor);
    let paths: Vec<_> = open.map(|(line, _)| line.path).collect();
    // An explanation is a question, too long for a query.
    assert_eq!(paths, [SESSION_END, EXPLANATION]);
}

#[tokio::test]
async fn a_session_ends_for_itself_alone_and_lasts_an_hour() {
    let world = World::new().await;
    let show = |token: &str| session(&world, token, SESSION);
    let second = world.log_in(OWNER).await.token.to_string();
    let first = &world.tokens[&AdminRole::Owner];

    let end = Ask {
        method: Method::POST,
        ..session(&world, &second, SESSION_END)
    };
    world.stage.ask(&end).await.read::<Value>();
    world.stage.wait(3599);
    let view: SessionView = world.stage.ask(&show(first)).await.read();

    assert_eq!(
        (view.admin.id, view.admin.role),
        (admin_id(OWNER), AdminRole::Owner)
    );
    assert_eq!((view.expires_at - world.stage.now()).get_seconds(), 1);
}

#[tokio::test]
async fn of_a_login_that_was_listened_to_one_copy_is_of_use() {
    let world = World::new().await;
    let spoken = world.stage.request(&open(AUDITOR, &world.challenge));
    // Ed25519 is deterministic: signed twice in a second, both are the same bytes.
    let copy = world.stage.request(&open(AUDITOR, &world.challenge));
    assert_eq!(spoken.headers(), copy.headers());

    let (one, other) = tokio::join!(
        world.stage.send(Function::Admin, spoken),
        world.stage.send(Function::Admin, copy)
    );

    let taken = [&one, &other]
        .into_iter()
        .filter(|answer| answer.status.is_success());
    assert_eq!(taken.count(), 1, "{SESSIONS}");
}

#[tokio::test]
async fn changes_of_admins_count_at_once() {
    let world = World::new().await;
    let owner = |uri: &str, body: Value| world.by(AdminRole::Owner, Method::POST, uri, &body);
    let add = owner(ADMINS, json!(new_admin(NEW_ADMIN, AdminRole::Operator)));
    let added: Admin = world.stage.ask(&add).await.read();
    assert_eq!(
        (added.id, added.role),
        (admin_id(NEW_ADMIN), AdminRole::Operator)
    );
    let token = world.log_in(NEW_ADMIN).await.token.to_string();
    let invite = Ask {
        method: Method::POST,
        body: new_invite(&NEW_INVITE).to_string().into_bytes(),
        ..session(&world, &token, INVITES)
    };
    let list = session(&world, &token, INVITES);

    let demote = owner(&role(&admin_id(NEW_ADMIN)), json!({"role": "auditor"}));
    world.stage.ask(&demote).await.read::<Value>();
    let refused = (Kind::NotAllowed, "has 'auditor': ask an owner");
    let request = world.stage.request(&invite);
    world
        .stage
        .refuses("demoted", (Function::Admin, request), refused)
        .await;
    world.stage.ask(&list).await.read::<Value>();

    let remove = owner(&removal(&admin_id(NEW_ADMIN)), json!({}));
    world.stage.ask(&remove).await.read::<Value>();
    let refused = (Kind::SessionEnded, "was removed at");
    let request = world.stage.request(&list);
    world
        .stage
        .refuses("removed", (Function::Admin, request), refused)
        .await;
}

#[tokio::test]
async fn an_invite_is_made_and_withdrawn() {
    let world = World::new().await;
    let operator = |uri: &str, body| world.by(AdminRole::Operator, Method::POST, uri, &body);
    let made = operator(INVITES, new_invite(&NEW_INVITE));
    let withdrawal = api::admin::withdrawal(&InviteId::of(&NEW_INVITE));

    let made: Value = world.stage.ask(&made).await.read();
    let withdrawn: Value = world
        .stage
        .ask(&operator(&withdrawal, json!({})))
        .await
        .read();

    assert!(made["withdrawn_at"].is_null() && withdrawn["withdrawn_at"].is_string());
    assert_eq!(made["id"], withdrawn["id"]);
}

/// The scheme's name has no case (RFC 9110, section 11.1).
#[tokio::test]
async fn a_token_s_scheme_is_read_in_any_case() {
    let world = World::new().await;
    let ask = session(&world, &world.tokens[&AdminRole::Operator], SESSION);
    let mut request = world.stage.request(&ask);
    let value = request.headers()["authorization"].to_str().unwrap();
    let value = value.replace("Bearer", "bEARER").parse().unwrap();
    request.headers_mut().insert("authorization", value);

    let view: SessionView = world.stage.send(Function::Admin, request).await.read();

    assert_eq!(view.admin.id, admin_id(OPERATOR));
}

fn session(world: &World, token: &str, uri: &str) -> Ask {
    Ask {
        by: By::Token(token.to_owned()),
        body: Vec::new(),
        ..world.by(AdminRole::Auditor, Method::GET, uri, &json!({}))
    }
}
