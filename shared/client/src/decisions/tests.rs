use super::*;
use crate::fixture::{NOW, Repository, gateway, later};
use crate::select::{Request, select};

#[test]
fn replay_decides_the_same_and_notices_a_difference() {
    let mut device = Repository::default().synced_device();
    let best = select(&mut device, &Request::default(), NOW)
        .unwrap()
        .ingress;
    let resting = device
        .gateways
        .entry(best.gateway.id.to_string())
        .or_default();
    resting.failed(NOW);
    select(&mut device, &Request::default(), NOW).unwrap();

    let json = serde_json::to_string(&device.decisions).unwrap();
    let mut log: Log = serde_json::from_str(&json).unwrap();
    assert_eq!(explain(&log).len(), 4);
    assert!(explain(&log).iter().all(|replay| replay.identical));

    log.entries[0].device.push('x');
    log.entries[0].at = later(1);
    log.entries[2].candidates.remembered.clear();
    let identical: Vec<_> = explain(&log)
        .iter()
        .map(|replay| replay.identical)
        .collect();
    assert!(
        !identical[2] && identical[1] && identical[3],
        "{identical:?}"
    );
}

#[test]
fn the_log_stays_small_whatever_the_catalog() {
    let mut repository = Repository {
        gateways: Vec::new(),
        ..Repository::default()
    };
    for number in 0..10_000 {
        let role = [Role::Ingress, Role::Egress][number % 2];
        let address = format!("192.0.2.{}", number % 250);
        let entry = gateway(&format!("g-{number:020}"), role, &address);
        repository.gateways.push(entry);
    }
    let mut device = repository.synced_device();
    let request = Request {
        again: true,
        ..Request::default()
    };
    for _ in 0..8 {
        select(&mut device, &request, NOW).unwrap();
    }
    let bytes = serde_json::to_vec(&device.decisions).unwrap().len();
    assert!(bytes <= MOST_BYTES + MOST_ENTRIES, "{bytes}");
    let replays = explain(&device.decisions);
    assert!(replays.len() >= 8, "{}", replays.len());
    assert!(replays.iter().all(|replay| replay.identical));
    assert_eq!(replays[0].candidates, 5_000);
}

#[test]
fn the_oldest_decisions_go_first() {
    let mut log = Log::default();
    for second in 0..60 {
        let at = Timestamp::from_second(second).unwrap();
        let about = About::Sync {
            winner: None,
            outcomes: Vec::new(),
            clock: None,
        };
        log.push(Decision::new(at, "d", &[], &[], about));
    }
    assert_eq!(log.entries().len(), MOST_ENTRIES);
    assert_eq!(log.entries()[0].at.as_second(), 10);
}
