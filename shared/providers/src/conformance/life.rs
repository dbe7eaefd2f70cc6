//! The life of what is rented.

use super::{Stage, done, labels, network, new_address, new_firewall, prepared, running};
use crate::{Fault, ResourceKind, ServerStatus};

/// Made with an address and a firewall, it has both and runs.
pub async fn a_server_has_its_address_and_firewall_and_runs(stage: &impl Stage) {
    let (rented, server) = running(stage, "postern-a").await;
    assert_eq!(server.status, ServerStatus::Running);
    assert_eq!(server.ipv4.map(Into::into), Some(rented.address.ip));
    assert_eq!(server.addresses, [rented.address.id.clone()].into());
    assert_eq!(server.region, Some(rented.order.region));
    assert_eq!(server.size, Some(rented.order.size));
    assert_eq!(server.labels, rented.order.labels);
    assert!(server.created_at.is_some());
    let provider = stage.provider();
    let address = provider.address("postern-a").await.unwrap().unwrap();
    assert_eq!(address.server, Some(server.id.clone()));
    let firewall = provider.firewall("postern-a").await.unwrap().unwrap();
    assert_eq!(firewall.id, rented.firewall.id);
    assert_eq!(firewall.servers, [server.id].into());
}

/// So that control can count and be stopped before and behind each.
pub async fn a_change_is_one_request(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    let provider = stage.provider();
    let before = stage.calls();
    let server = provider.create_server(&rented.order).await.unwrap();
    let server = server.resource.id;
    stage.finish_actions();
    let all = labels(&network());
    let kind = ResourceKind::Server;
    provider.label(kind, &server, &all).await.unwrap();
    provider.power_off(&server).await.unwrap();
    stage.finish_actions();
    provider.release_address(&rented.address.id).await.unwrap();
    stage.finish_actions();
    provider.delete(kind, &server).await.unwrap();
    assert_eq!(stage.calls() - before, 5);
}

/// An address goes on when its server goes: it must be deleted itself.
pub async fn an_address_outlives_its_server(stage: &impl Stage) {
    let (rented, server) = running(stage, "postern-a").await;
    let provider = stage.provider();
    let deleted = provider.delete(ResourceKind::Server, &server.id).await;
    done(stage, &deleted.unwrap()).await;

    let inventory = provider.inventory(&network()).await.unwrap();
    assert!(inventory.servers.is_empty());
    assert_eq!(inventory.addresses.len(), 1);
    assert_eq!(inventory.addresses[0].id, rented.address.id);
    assert_eq!(inventory.addresses[0].server, None);
}

/// An address in use is neither released from a running server nor deleted; in order, it goes.
pub async fn an_address_is_released_when_its_server_is_off(stage: &impl Stage) {
    let (rented, server) = running(stage, "postern-a").await;
    let (provider, address) = (stage.provider(), rented.address.id);
    let early = provider.release_address(&address).await.unwrap_err();
    assert_eq!(early.fault, Fault::Retry, "{early}");
    let early = provider.delete(ResourceKind::Address, &address).await;
    assert_eq!(early.unwrap_err().fault, Fault::Retry);

    let off = provider.power_off(&server.id).await.unwrap();
    done(stage, &off).await;
    let seen = provider.server("postern-a").await.unwrap().unwrap();
    assert_eq!(seen.status, ServerStatus::Off);
    let released = provider.release_address(&address).await.unwrap();
    done(stage, &released).await;
    let seen = provider.address("postern-a").await.unwrap().unwrap();
    assert_eq!(seen.server, None);
    let deleted = provider.delete(ResourceKind::Address, &address).await;
    done(stage, &deleted.unwrap()).await;
    assert_eq!(provider.address("postern-a").await, Ok(None));
}

/// A label that is not given again is gone.
pub async fn labels_are_replaced_as_a_whole(stage: &impl Stage) {
    let rented = prepared(stage, "postern-a").await;
    let provider = stage.provider();
    let mut changed = labels(&network());
    changed.remove("postern-mode");
    changed.insert("postern-state".to_owned(), "drained".to_owned());
    for (kind, id) in [
        (ResourceKind::Address, &rented.address.id),
        (ResourceKind::Firewall, &rented.firewall.id),
    ] {
        provider.label(kind, id, &changed).await.unwrap();
    }
    let inventory = provider.inventory(&network()).await.unwrap();
    assert_eq!(inventory.addresses[0].labels, changed);
    assert_eq!(inventory.firewalls[0].labels, changed);
}

/// No list has it, and to delete it again says that it is gone.
pub async fn what_is_deleted_is_gone(stage: &impl Stage) {
    let (rented, server) = running(stage, "postern-a").await;
    let provider = stage.provider();
    let kinds = [
        (ResourceKind::Server, &server.id),
        (ResourceKind::Address, &rented.address.id),
        (ResourceKind::Firewall, &rented.firewall.id),
    ];
    for (kind, id) in kinds {
        let deleted = provider.delete(kind, id).await.unwrap();
        done(stage, &deleted).await;
    }
    assert!(provider.inventory(&network()).await.unwrap().is_empty());
    for (kind, id) in kinds {
        let again = provider.delete(kind, id).await.unwrap_err();
        assert_eq!(again.fault, Fault::Gone, "{again}");
    }
}

/// As it was made, and with nothing else.
pub async fn a_firewall_lets_in_what_it_was_made_with(stage: &impl Stage) {
    let provider = stage.provider();
    let new = new_firewall("postern-f");
    let made = provider.create_firewall(&new).await.unwrap().resource;
    assert_eq!(made.lets_in, new.lets_in);
    let seen = provider.firewall("postern-f").await.unwrap().unwrap();
    assert_eq!((seen.lets_in, seen.labels), (new.lets_in, new.labels));
}

/// It stays, and can be deleted when its servers are gone.
pub async fn a_firewall_in_use_is_not_deleted(stage: &impl Stage) {
    let (rented, server) = running(stage, "postern-a").await;
    let (provider, id) = (stage.provider(), &rented.firewall.id);
    let early = provider.delete(ResourceKind::Firewall, id).await;
    assert_eq!(early.unwrap_err().fault, Fault::Retry);
    let deleted = provider.delete(ResourceKind::Server, &server.id).await;
    done(stage, &deleted.unwrap()).await;
    provider.delete(ResourceKind::Firewall, id).await.unwrap();
}

/// As much as the provider says is taken, and no more.
pub async fn user_data_has_a_most_size(stage: &impl Stage) {
    let mut rented = prepared(stage, "postern-a").await;
    let (provider, most) = (stage.provider(), stage.provider().most_user_data());
    rented.order.user_data = "#".repeat(most + 1);
    let refused = provider.create_server(&rented.order).await.unwrap_err();
    assert_eq!(refused.fault, Fault::Refused, "{refused}");
    rented.order.user_data = "#".repeat(most);
    provider.create_server(&rented.order).await.unwrap();
    let other = new_address(&stage.picks(), "postern-b");
    provider.create_address(&other).await.unwrap();
}
