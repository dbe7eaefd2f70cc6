//! What is there, and what can be had.

use super::{Stage, labels, network, new_address, new_firewall, running};
use crate::{Family, Price};

/// Another network's resources are not in it, however they are named.
pub async fn the_inventory_has_all_of_the_network_and_nothing_else(stage: &impl Stage) {
    running(stage, "postern-a").await;
    let (provider, picks) = (stage.provider(), stage.picks());
    let other = "n-bbbbbbbb".parse().unwrap();
    let mut foreign = new_address(&picks, "postern-b");
    foreign.labels = labels(&other);
    provider.create_address(&foreign).await.unwrap();
    let mut bare = new_firewall("postern-c");
    bare.labels.clear();
    provider.create_firewall(&bare).await.unwrap();

    let inventory = provider.inventory(&network()).await.unwrap();
    assert_eq!(inventory.servers.len(), 1);
    assert_eq!(inventory.addresses.len(), 1);
    assert_eq!(inventory.firewalls.len(), 1);
    assert_eq!(inventory.servers[0].labels, labels(&network()));
    let inventory = provider.inventory(&other).await.unwrap();
    assert_eq!(inventory.addresses.len(), 1);
    assert!(inventory.servers.is_empty() && inventory.firewalls.is_empty());
}

/// More than a page of any provider, in the order of their names.
pub async fn an_inventory_of_several_pages_is_whole(stage: &impl Stage) {
    let (provider, picks) = (stage.provider(), stage.picks());
    let names: Vec<String> = (0..61).rev().map(|n| format!("postern-{n:03}")).collect();
    for name in &names {
        let new = new_address(&picks, name);
        provider.create_address(&new).await.unwrap();
    }
    let inventory = provider.inventory(&network()).await.unwrap();
    let seen = inventory.addresses.iter().map(|address| &address.name);
    assert!(seen.eq(names.iter().rev()));
}

/// Nothing is not an error.
pub async fn what_does_not_exist_is_not_found(stage: &impl Stage) {
    let provider = stage.provider();
    assert_eq!(provider.server("postern-a").await, Ok(None));
    assert_eq!(provider.address("postern-a").await, Ok(None));
    assert_eq!(provider.firewall("postern-a").await, Ok(None));
    assert!(provider.inventory(&network()).await.unwrap().is_empty());
}

/// The size in its regions, the image, the addresses; hours cost less than months.
pub async fn offers_name_prices_of_all_that_is_rented(stage: &impl Stage) {
    let picks = stage.picks();
    let offers = stage.provider().offers().await.unwrap();
    let is_price = |price: Price| price.hour.0 > 0 && price.hour < price.month;
    let size = &offers.sizes[&picks.size];
    for region in [&picks.region, &picks.elsewhere] {
        assert!(offers.regions.contains(region));
        assert!(size.regions[region].available);
        assert!(is_price(size.regions[region].price));
        assert!(is_price(offers.addresses[&Family::Ipv4][region]));
    }
    let image = &offers.images[&picks.image];
    assert!(image.architectures.contains(&size.architecture));
}

/// Before anybody tries.
pub async fn what_is_sold_out_is_not_available(stage: &impl Stage) {
    let picks = stage.picks();
    stage.sell_out();
    let offers = stage.provider().offers().await.unwrap();
    let size = &offers.sizes[&picks.size];
    assert!(!size.regions[&picks.region].available);
    assert!(size.regions[&picks.elsewhere].available);
}
