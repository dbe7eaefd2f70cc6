use proptest::prelude::*;

use super::*;

fn size(devices: f64, gateways: f64) -> Size {
    Size {
        devices,
        gateways,
        listed: gateways,
        mirrors: 2.0,
        heartbeat: 30.0,
        schedule: 60.0,
        syncs: 24.0,
        catalogs: 4.0,
        enrollments: devices / 10.0,
    }
}

fn all(size: &Size) -> Usage {
    let usage = usage(size);
    usage
        .into_iter()
        .fold(Usage::default(), |sum, (_, one)| sum.plus(one))
}

const PRICES: Prices = Prices {
    base: 5.0,
    invocations: Tier {
        price: 0.2,
        free: 1.0,
    },
    milliseconds: Tier {
        price: 0.01,
        free: 0.0,
    },
    paid_share: 1.0,
    read_units: 0.125,
    write_units: 0.625,
    stored: 0.25,
    logged: Tier {
        price: 0.5,
        free: 5.0,
    },
    puts: Tier {
        price: 5.0,
        free: 0.0,
    },
    gets: Tier {
        price: 0.4,
        free: 0.0,
    },
    door_requests: Tier {
        price: 1.0,
        free: 10.0,
    },
    sent: Tier {
        price: 0.09,
        free: 100.0,
    },
};

#[test]
fn a_gateway_beats_as_often_as_its_interval_says() {
    let beats = usage(&size(0.0, 1.0))[0].1;

    // 30.4375 days of 2,880 heartbeats.
    assert!((beats.invocations - 87_660.0).abs() < 1e-6);
    assert!((beats.write_units - 87_660.0).abs() < 1e-6);
}

#[test]
fn a_device_that_syncs_seldom_gets_a_whole_catalog_each_time() {
    let seldom = Size {
        syncs: 2.0,
        ..size(1.0, 0.0)
    };
    let often = Size {
        syncs: 24.0,
        ..seldom
    };
    let days = MONTH / 86_400.0;

    assert!((all(&seldom).sent_bytes - days * 2.0 * BUNDLE).abs() < 1.0);
    let more = days * (4.0 * BUNDLE + 20.0 * NOTHING_NEW);
    assert!((all(&often).sent_bytes - more).abs() < 1.0);
}

#[test]
fn an_empty_network_costs_its_base_and_its_schedule() {
    let costs: f64 = bill(&all(&size(0.0, 0.0)), &PRICES)
        .iter()
        .map(|one| one.1)
        .sum();

    assert!(costs > 5.0 && costs < 8.0, "{costs}");
}

#[test]
fn what_is_free_is_not_paid_and_what_is_beyond_it_is() {
    let tier = Tier {
        price: 2.0,
        free: 3.0,
    };

    for (units, paid) in [(1.0, 0.0), (3.0, 0.0), (4.5, 3.0)] {
        assert!((tier.of(units) - paid).abs() < 1e-9, "{units}");
    }
}

proptest! {
    #[test]
    fn a_larger_network_never_costs_less(
        devices in 0..1_000_000_u32, gateways in 0..10_000_u32, more in 1..1_000_u32,
    ) {
        let costs = |devices: u32, gateways: u32| -> f64 {
            let usage = all(&size(devices.into(), gateways.into()));
            bill(&usage, &PRICES).iter().map(|one| one.1).sum()
        };
        prop_assert!(costs(devices + more, gateways) > costs(devices, gateways));
        prop_assert!(costs(devices, gateways + more) > costs(devices, gateways));
    }
}
