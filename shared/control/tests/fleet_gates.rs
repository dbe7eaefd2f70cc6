//! The gates: what somebody must decide first is refused before any change.

mod common;

use api::fleet::SetMode;
use common::fleets::{World, fleet_of, hetzner};
use common::operator;
use control::fleet::{Order, modes};
use jiff::SignedDuration;
use model::Mode;
use simcloud::{Asked, Fault, Rule};

#[tokio::test]
async fn what_must_be_decided_first_is_refused_before_any_change() {
    let pools = |region: &'static str, size: &'static str, count| {
        fleet_of(&[("ingress", "ingress", region, size, count)])
    };
    let cases: [(&str, &str); 5] = [
        ("approve of mode 'live'", "mode"),
        ("raise 'most_per_month'", "cap"),
        ("raise 'most_changes'", "changes"),
        ("no region 'moon1': it has", "region"),
        ("cx23 is sold out in fsn1: add a size", "sold out"),
    ];
    for (said, case) in cases {
        let mut fleet = match case {
            "region" => pools("moon1|fsn1", "cx23", 1),
            _ => pools("fsn1", "cx23", 3),
        };
        match case {
            "cap" => fleet.most_per_month = "10.00".parse().unwrap(),
            "changes" => fleet.most_changes = 2,
            _ => {}
        }
        let world = World::live(fleet).await;
        match case {
            "mode" => world.set_mode(Mode::Smoke).await,
            "sold out" => world
                .cloud
                .shop(|shop| shop.offer("cx23", "fsn1").capacity = Some(0)),
            _ => {}
        }
        let plan = world.plan().await;
        let order = Order::Apply {
            hash: plan.hash,
            by: operator(),
            remove_unknown: false,
        };

        let refused = world.run(order).await.unwrap_err();

        assert!(refused.to_string().contains(said), "{case}: {refused}");
        assert!(
            world
                .cloud
                .requests()
                .iter()
                .all(|request| request.method == "GET")
        );
        assert_eq!(world.nodes().await, [], "{case}");
    }
}

#[tokio::test]
async fn only_an_owner_with_a_reason_approves_of_live() {
    let world = World::new();
    let operator = model::Admin {
        role: model::AdminRole::Operator,
        ..common::fleets::owner()
    };
    let live = |reason: &str| SetMode {
        mode: Mode::Live,
        reason: reason.to_owned(),
        expires_at: Some(world.now() + SignedDuration::from_hours(1)),
        smoke_most_per_hour: None,
    };
    let context = world.context();
    let name = hetzner();

    let refused = modes::set(&context, &operator, &name, live("because")).await;
    assert!(refused.unwrap_err().to_string().contains("only an owner"));
    let refused = modes::set(&context, &common::fleets::owner(), &name, live(" ")).await;
    assert!(refused.unwrap_err().to_string().contains("'reason'"));
    assert_eq!(
        modes::show(&context, &name).await.unwrap().policy.mode,
        Mode::Plan
    );

    let set = modes::set(&context, &common::fleets::owner(), &name, live("launch")).await;
    let policy = set.unwrap().policy;
    assert_eq!(policy.mode_at(world.now()), Mode::Live);
    assert_eq!(
        policy.mode_at(world.now() + SignedDuration::from_hours(1)),
        Mode::Plan
    );
    let today = control::audit::day_of(world.now());
    let (events, _) = control::audit::list(&context, today, None).await.unwrap();
    let event = &events[0];
    assert_eq!(
        (event.action.as_str(), event.subject.as_str()),
        ("provider.live", "hetzner")
    );
    assert!(event.detail.contains("launch"), "{}", event.detail);
    assert_eq!(modes::list(&context).await.unwrap().len(), 1);
}

#[tokio::test]
async fn fallbacks_are_taken_in_order_also_where_the_offer_was_wrong() {
    let world = World::live(fleet_of(&[(
        "ingress",
        "ingress",
        "fsn1|nbg1",
        "cx23|cx33",
        1,
    )]))
    .await;
    // Both are on offer in fsn1, and there are none.
    let of_servers = |asked: &Asked<'_>| asked.is_change && asked.path == "/servers";
    world
        .cloud
        .inject(Rule::times(2, Fault::sold_out(), of_servers));
    world.settle().await;
    world.assert_nothing_leaked("sold out twice").await;
    let there = world.there().await;
    assert_eq!(there[0].place.region.as_str(), "nbg1");
    assert_eq!(there[0].place.size.as_str(), "cx23");
}

#[tokio::test]
async fn what_is_taken_instead_of_what_is_sold_out_fits_the_caps_and_is_in_the_audit() {
    // A cx23 is on offer at 4.00 or so and 0.50 for its address: the caps are put right above that.
    let sizes = |cap: Option<&str>, of_pool: bool| {
        let mut fleet = fleet_of(&[("ingress", "ingress", "fsn1", "cx23|cpx22|cx33", 1)]);
        match (cap, of_pool) {
            (Some(cap), true) => {
                let pool = fleet.pools.values_mut().next().unwrap();
                pool.most_per_month = Some(cap.parse().unwrap());
            }
            (Some(cap), false) => fleet.most_per_month = cap.parse().unwrap(),
            _ => {}
        }
        fleet
    };
    let cost = async |size: &str| {
        let mut fleet = sizes(None, false);
        fleet.pools.values_mut().next().unwrap().sizes = vec![size.parse().unwrap()];
        World::live(fleet)
            .await
            .plan()
            .await
            .after
            .month
            .to_string()
    };
    let (small, middle) = (cost("cx23").await, cost("cx33").await);
    let taken = async |cap: &str, of_pool: bool| {
        let world = World::live(sizes(Some(cap), of_pool)).await;
        let of_servers = |asked: &Asked<'_>| asked.is_change && asked.path == "/servers";
        world
            .cloud
            .inject(Rule::times(1, Fault::sold_out(), of_servers));
        let report = world.run(Order::Heal).await.unwrap();
        let place = world.nodes().await[0].place.size.to_string();
        let stage = world.nodes().await[0].stage;
        let today = control::audit::day_of(world.now());
        let (events, _) = control::audit::list(&world.context(), today, None)
            .await
            .unwrap();
        let event = events.iter().any(|event| event.action == "node.place");
        (place, stage.is_leaving(), event, report.troubles.join("; "))
    };
    for of_pool in [false, true] {
        let (place, leaves, event, troubles) = taken(&small, of_pool).await;
        assert!(leaves && place == "cx23" && !event, "{place}: {troubles}");
        assert!(troubles.contains("a month, and the"), "{troubles}");
        let (place, leaves, event, troubles) = taken(&middle, of_pool).await;
        assert!(!leaves && place == "cx33" && event, "{place}: {troubles}");
    }
}
