use super::*;
use crate::fixture::{NOW, Repository, later};

fn again() -> Request {
    Request {
        again: true,
        ..Request::default()
    }
}

#[test]
fn a_selection_has_both_roles_and_stays() {
    let mut device = Repository::default().synced_device();
    let first = select(&mut device, &Request::default(), NOW).unwrap();
    let second = select(&mut device, &Request::default(), later(1)).unwrap();
    assert_eq!(first.ingress.gateway.role, Role::Ingress);
    assert_eq!(first.egress.gateway.role, Role::Egress);
    assert!(first.changed && !second.changed);
    assert!(second.ingress.kept && second.egress.kept);
}

#[test]
fn a_gateway_in_use_stays_though_another_is_better_until_asked_again() {
    let mut device = Repository::default().synced_device();
    let first = select(&mut device, &Request::default(), NOW)
        .unwrap()
        .ingress;
    let slow = device
        .gateways
        .entry(first.gateway.id.to_string())
        .or_default();
    slow.rtt_ms = Some(500);
    let kept = select(&mut device, &Request::default(), NOW).unwrap();
    assert_eq!(kept.ingress.gateway, first.gateway);
    let anew = select(&mut device, &again(), NOW).unwrap();
    assert_ne!(anew.ingress.gateway, first.gateway);
    assert!(anew.changed);
}

#[test]
fn a_gateway_that_rests_left_or_is_no_longer_preferred_is_left() {
    let mut device = Repository::default().synced_device();
    let first = select(&mut device, &Request::default(), NOW).unwrap();
    let resting = device.gateways.entry(first.ingress.gateway.id.to_string());
    resting.or_default().failed(NOW);
    let second = select(&mut device, &Request::default(), NOW).unwrap();
    assert_ne!(second.ingress.gateway, first.ingress.gateway);
    assert!(second.egress.kept);

    let other = if first.egress.gateway.region == "r-t1" {
        "r-t2"
    } else {
        "r-t1"
    };
    let request = Request {
        regions: Some(vec![other.to_owned()]),
        ..Request::default()
    };
    let third = select(&mut device, &request, NOW).unwrap();
    assert_eq!(third.egress.gateway.region, other);
    assert_eq!(device.preferences.regions, [other]);

    assert!(choose(&[], Some("g-gone"), false).is_none());
}

#[test]
fn a_new_key_of_the_same_gateway_is_a_change() {
    let repository = Repository::default();
    let mut device = repository.synced_device();
    select(&mut device, &Request::default(), NOW).unwrap();
    let selection = device.selection.as_mut().unwrap();
    selection.ingress.tunnel_key = selection.egress.tunnel_key;
    let report = select(&mut device, &Request::default(), NOW).unwrap();
    assert!(report.ingress.kept && report.changed);
}

#[test]
fn a_catalog_without_a_role_and_none_at_all_are_told_apart() {
    let mut repository = Repository::default();
    repository.gateways.truncate(2);
    let mut device = repository.synced_device();
    let error = select(&mut device, &Request::default(), NOW).unwrap_err();
    assert_eq!(error.kind(), "no-gateway");
    device.trusted = None;
    let error = select(&mut device, &Request::default(), NOW).unwrap_err();
    assert_eq!(error.kind(), "no-catalog");
}

#[test]
fn a_gateway_that_is_reported_as_failed_is_left_and_rests() {
    let mut device = Repository::default().synced_device();
    let request = Request {
        failed: vec![Role::Egress],
        ..Request::default()
    };
    let early = select(&mut device, &request, NOW).unwrap_err();
    assert_eq!(early.kind(), "not-selected");

    let first = select(&mut device, &Request::default(), NOW).unwrap();
    let second = select(&mut device, &request, NOW).unwrap();
    assert!(second.ingress.kept && !second.egress.kept);
    assert!(second.egress.why.contains("rests until"));
    let failed = &device.gateways[first.egress.gateway.id.as_str()];
    assert_eq!(failed.failures, 1);
    // It does not take the device back when it has rested.
    let third = select(&mut device, &Request::default(), later(2)).unwrap();
    assert_eq!(third.egress.gateway, second.egress.gateway);
}
