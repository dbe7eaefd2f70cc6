//! What goes wrong, and what it means.

use super::{Stage, network, new_address, new_firewall, prepared, running};
use crate::{ActionState, Fault, ResourceKind};

/// The caller looks, and adopts.
pub async fn a_lost_answer_is_unclear_and_what_it_made_is_found(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    let provider = stage.provider();
    stage.lose_next_answer();
    let lost = provider.create_server(&rented.order).await.unwrap_err();
    assert_eq!(lost.fault, Fault::Unclear, "{lost}");
    let found = provider.server("postern-a").await.unwrap().unwrap();
    assert_eq!(found.labels, rented.order.labels);

    stage.finish_actions();
    stage.lose_next_answer();
    let lost = provider.delete(ResourceKind::Server, &found.id).await;
    assert_eq!(lost.unwrap_err().fault, Fault::Unclear);
    stage.finish_actions();
    assert_eq!(provider.server("postern-a").await, Ok(None));
}

/// The caller cannot tell it from the above, looks, and asks again.
pub async fn what_did_not_get_there_is_unclear_and_made_nothing(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    let provider = stage.provider();
    stage.refuse_next();
    let lost = provider.create_server(&rented.order).await.unwrap_err();
    assert_eq!(lost.fault, Fault::Unclear, "{lost}");
    assert_eq!(provider.server("postern-a").await, Ok(None));
    provider.create_server(&rented.order).await.unwrap();
}

/// Done or not: nobody knows.
pub async fn a_servers_error_is_unclear(stage: &impl Stage) {
    let provider = stage.provider();
    for (is_done, name) in [(true, "postern-a"), (false, "postern-b")] {
        stage.break_next(is_done);
        let new = new_firewall(name);
        let broken = provider.create_firewall(&new).await.unwrap_err();
        assert_eq!(broken.fault, Fault::Unclear, "{broken}");
        let found = provider.firewall(name).await.unwrap();
        assert_eq!(found.is_some(), is_done);
    }
}

/// It is refused; or it is made, and the inventory shows both.
pub async fn a_name_that_is_taken_makes_no_second_unseen(stage: &impl Stage) {
    let (provider, picks) = (stage.provider(), stage.picks());
    let new = new_address(&picks, "postern-a");
    provider.create_address(&new).await.unwrap();
    let second = provider.create_address(&new).await;
    let seen = provider.inventory(&network()).await.unwrap();
    match second {
        Ok(_) => assert_eq!(seen.addresses.len(), 2),
        Err(error) => {
            assert_eq!(error.fault, Fault::Adopt, "{error}");
            assert_eq!(seen.addresses.len(), 1);
        }
    }
}

/// The caller takes the fallback.
pub async fn what_is_sold_out_is_unavailable(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    let provider = stage.provider();
    stage.sell_out();
    let refused = provider.create_server(&rented.order).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Unavailable, "{refused}");
    assert_eq!(provider.server("postern-a").await, Ok(None));
}

/// An operator must act.
pub async fn a_full_account_is_a_limit(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    stage.reach_limit();
    let refused = stage.provider().create_server(&rented.order).await;
    assert_eq!(refused.unwrap_err().fault, Fault::Limit);
}

/// Some time, and not for ever.
pub async fn too_many_requests_say_how_long_to_wait(stage: &impl Stage) {
    let provider = stage.provider();
    stage.throttle_next();
    let new = new_firewall("postern-a");
    let refused = provider.create_firewall(&new).await.unwrap_err();
    let Fault::Wait { seconds } = refused.fault else {
        panic!("{refused}");
    };
    assert!((1..=3600).contains(&seconds), "{seconds}");
    assert_eq!(provider.firewall("postern-a").await, Ok(None));
}

/// What was asked for was accepted, and did not come to pass.
pub async fn a_failed_action_says_so(stage: &impl Stage) {
    let (_, server) = running(stage, "postern-a").await;
    let provider = stage.provider();
    stage.fail_next_action();
    let action = provider.power_off(&server.id).await.unwrap();
    let action = action.expect("switching a server takes time");
    assert_eq!(provider.poll(&action).await, Ok(ActionState::Running));
    stage.finish_actions();
    let ActionState::Failed { code, .. } = provider.poll(&action).await.unwrap() else {
        panic!("it failed");
    };
    assert!(!code.is_empty());
}

/// Not in the error, not in any debug text.
pub async fn a_wrong_token_is_told_and_never_shown(stage: &impl Stage) {
    let (provider, token) = stage.stranger();
    let refused = provider.inventory(&network()).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Credential);
    let texts = format!("{refused} {refused:?} {:?}", provider.name());
    assert!(!texts.contains(&token));
}

/// A read changed nothing: it is asked again.
pub async fn a_read_that_fails_can_be_repeated(stage: &impl Stage) {
    let provider = stage.provider();
    stage.throttle_next();
    let refused = provider.inventory(&network()).await.unwrap_err();
    assert!(matches!(refused.fault, Fault::Wait { .. }), "{refused}");
    assert!(provider.inventory(&network()).await.unwrap().is_empty());
}

/// None before the first answer; then what it said, which goes down by one for each.
pub async fn the_rate_is_kept(stage: &impl Stage) {
    let provider = stage.provider();
    assert_eq!(provider.rate(), None);
    provider.server("postern-a").await.unwrap();
    let first = provider.rate().expect("a rate");
    provider.server("postern-a").await.unwrap();
    let second = provider.rate().expect("a rate");
    assert_eq!(second.remaining + 1, first.remaining);
    assert!(second.remaining < second.limit && second.full_at.is_some());
}
