//! What can be wrong with the session of a request to any route that asks for one.

use api::Kind;
use api::admins::{SESSION_END, removal};
use http::header::{AUTHORIZATION, WWW_AUTHENTICATE};
use http::{HeaderValue, Method};
use model::AdminRole;
use serde_json::json;

use crate::any_route::by_role;
use crate::stage::{Ask, By};
use crate::world::{AUDITOR, OPERATOR, OWNER, STRANGER, World, admin_id};

const TOKEN: &str = "exactly once, as 'Bearer <token>' with the token of a login";

#[tokio::test]
async fn a_request_without_one_readable_token_is_refused_before_it_is_read() {
    let world = World::new().await;
    let token = &world.tokens[&AdminRole::Owner];
    let bearer = format!("Bearer {token}");
    // The token of one admin with the secret of another's.
    let swapped = format!(
        "Bearer {}.{}",
        admin_id(STRANGER),
        token.split_once('.').unwrap().1
    );
    let missing = (Kind::SessionMissing, TOKEN);
    let cases: [(&[&str], _); 9] = [
        (&[], missing),
        (&[""], missing),
        (&["Bearer"], missing),
        (&["Bearer "], missing),
        (&[token], missing),
        (&[&format!("Basic {token}")], missing),
        (&[&format!("{bearer}A")], missing),
        (&[&bearer, &bearer], missing),
        (&[&swapped], (Kind::SessionEnded, "log in again")),
    ];
    for (line, _) in by_role() {
        for (headers, expected) in cases {
            let ask = Ask {
                uri: format!("{}?x=y", line.path.replace("{id}", "%ff")),
                by: By::Nobody,
                body: b"{".to_vec(),
                ..line.good(&world)
            };
            let mut request = world.stage.request(&ask);
            for header in headers {
                let header = HeaderValue::from_str(header).unwrap();
                request.headers_mut().append(AUTHORIZATION, header);
            }
            let what = format!("{headers:?}");
            let answer = world
                .stage
                .refuses(&what, (line.function, request), expected)
                .await;
            assert!(
                answer.headers.contains_key(WWW_AUTHENTICATE),
                "RFC 9110, 15.5.2"
            );
        }
    }
}

#[tokio::test]
async fn a_signature_is_no_session() {
    let world = World::new().await;
    for (line, _) in by_role() {
        let ask = Ask {
            by: By::Key(OWNER),
            ..line.good(&world)
        };
        let sent = (line.function, world.stage.request(&ask));
        world
            .stage
            .refuses("signed", sent, (Kind::SessionMissing, TOKEN))
            .await;
    }
}

#[tokio::test]
async fn a_role_that_does_not_suffice_is_refused_before_anything_is_read() {
    use AdminRole::{Auditor, Operator};
    let world = World::new().await;
    for (line, least) in by_role() {
        for role in [Auditor, Operator].into_iter().filter(|role| *role < least) {
            for garbled in [false, true] {
                let mut ask = Ask {
                    by: By::Token(world.tokens[&role].clone()),
                    ..line.good(&world)
                };
                if garbled {
                    ask.uri = format!("{}?x=y", line.path.replace("{id}", "%ff"));
                    ask.body = b"{".to_vec();
                }
                let sent = (line.function, world.stage.request(&ask));
                let says = format!("this needs the role '{least}'");
                let answer = world
                    .stage
                    .refuses("role", sent, (Kind::NotAllowed, &says))
                    .await;
                assert!(answer.problem("role").detail.ends_with("ask an owner"));
            }
        }
    }
}

#[tokio::test]
async fn a_role_above_the_least_is_taken() {
    for (line, least) in by_role() {
        for role in [AdminRole::Operator, AdminRole::Owner] {
            if role < least {
                continue;
            }
            let world = World::new().await;
            let ask = Ask {
                by: By::Token(world.tokens[&role].clone()),
                ..line.good(&world)
            };
            world.stage.ask(&ask).await.read::<serde_json::Value>();
        }
    }
}

#[tokio::test]
async fn a_session_that_ended_expired_or_is_a_removed_admin_s_is_refused() {
    let post = |world: &World, role, uri: &str| world.by(role, Method::POST, uri, &json!({}));
    let number = |role| match role {
        AdminRole::Owner => OWNER,
        AdminRole::Operator => OPERATOR,
        AdminRole::Auditor => AUDITOR,
    };
    for (line, role) in by_role() {
        let ended = World::new().await;
        let request = ended.stage.request(&line.good(&ended));
        ended
            .stage
            .ask(&post(&ended, role, SESSION_END))
            .await
            .read::<serde_json::Value>();
        let expected = (Kind::SessionEnded, "log in again");
        ended
            .stage
            .refuses("ended", (line.function, request), expected)
            .await;

        let expired = World::new().await;
        let request = expired.stage.request(&line.good(&expired));
        expired.stage.wait(3600);
        expired
            .stage
            .refuses("expired", (line.function, request), expected)
            .await;

        let removed = World::new().await;
        // An owner is removed by themselves, once there is another.
        let promote = format!("/v1/admin/admins/{}/role", admin_id(OPERATOR));
        let owner = json!({"role": "owner"});
        if role == AdminRole::Owner {
            let promote = removed.by(AdminRole::Owner, Method::POST, &promote, &owner);
            removed
                .stage
                .ask(&promote)
                .await
                .read::<serde_json::Value>();
        }
        let removal = removal(&admin_id(number(role)));
        let request = removed.stage.request(&line.good(&removed));
        let remove = post(&removed, AdminRole::Owner, &removal);
        removed.stage.ask(&remove).await.read::<serde_json::Value>();
        let expected = (
            Kind::SessionEnded,
            "ask an owner to be added with a new key",
        );
        removed
            .stage
            .refuses("removed", (line.function, request), expected)
            .await;
    }
}
