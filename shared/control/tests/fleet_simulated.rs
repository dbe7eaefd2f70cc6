//! Whatever happens, drawn at random: fleets that change while requests fail in every way, runs that die
//! at any call, nodes that never boot, time that passes in jumps. When the world is well again it
//! converges: nothing is leaked, and nothing was ever rented twice under one name.
//!
//! A failure names its seed; `POSTERN_SEED=<seed>` runs that one alone.

mod common;

use common::board::{Act, Board};
use common::fleets::{World, fleet_of};
use control::fleet::Order;
use fastrand::Rng;
use simcloud::{Fault, Rule};

/// How many worlds are drawn.
const SEEDS: u64 = 12;
/// For how many runs each of them is unwell.
const ROUNDS: usize = 40;

#[tokio::test]
async fn whatever_happens_the_fleet_converges_and_nothing_leaks() {
    let chosen = std::env::var("POSTERN_SEED").ok();
    let chosen = chosen.map(|seed| seed.parse::<u64>().expect("POSTERN_SEED is a number"));
    let seeds = chosen.map_or((0..SEEDS).collect(), |seed| vec![seed]);
    for seed in seeds {
        storm(seed).await;
    }
}

async fn storm(seed: u64) {
    let shown = format!("seed {seed}");
    let mut rng = Rng::with_seed(seed);
    let mut world = World::live(drawn_fleet(&mut rng)).await;
    // Of a hundred requests so many fail.
    let percent = rng.u64(1..25);
    let faults: Vec<Fault> = Fault::all().into_iter().map(|(_, fault)| fault).collect();
    for (number, fault) in (0..).zip(&faults) {
        let kinds = u64::try_from(faults.len()).unwrap();
        world
            .cloud
            .inject(Rule::always(fault.clone(), move |asked| {
                let drawn = Rng::with_seed(seed ^ (asked.ordinal << 16)).u64(0..100 * kinds);
                drawn < percent * kinds && drawn % kinds == number
            }));
    }
    for _ in 0..ROUNDS {
        if rng.u8(0..10) == 0 {
            world.want(drawn_fleet(&mut rng)).await;
        }
        if rng.u8(0..8) == 0 {
            let is_dumb = rng.bool();
            *world.machines.dumb.lock().unwrap() = is_dumb;
        }
        let at = rng.usize(0..80);
        let act = if rng.bool() {
            Act::FailBefore
        } else {
            Act::FailAfter
        };
        let dead = (at + 1..at + 500).map(|number| (number, Act::FailBefore));
        let board = Board::new(|_| true, dead.chain([(at, act)]));
        // It may die, or get to its end before.
        let _ = world.run_through(Order::Heal, Some(&board)).await;
        world.pass(rng.i64(50..400)).await;
        assert_rented_once(&world, &shown).await;
    }

    world.cloud.heal();
    *world.machines.dumb.lock().unwrap() = false;
    // Longer than any pool waits after failures.
    world.pass(25 * 3600).await;
    for _ in 0..60 {
        let report = world.run(Order::Heal).await.unwrap();
        world.pass(120).await;
        let plan = world.plan().await;
        if report.under_way == 0 && plan.steps.is_empty() && plan.blocked.is_empty() {
            break;
        }
    }

    world.assert_nothing_leaked(&shown).await;
    let plan = world.plan().await;
    assert!(
        plan.steps.is_empty() && plan.blocked.is_empty(),
        "{shown}: {plan:#?}"
    );
    let fleet = control::fleet::desired::show(&world.context())
        .await
        .unwrap();
    let pools = fleet.fleet.unwrap().pools;
    let want: u32 = pools.values().map(|pool| pool.count).sum();
    assert_eq!(
        world.there().await.len(),
        usize::try_from(want).unwrap(),
        "{shown}"
    );
}

fn drawn_fleet(rng: &mut Rng) -> model::Fleet {
    let sizes = ["cx23|cx33", "cx33|cpx22", "cpx22"];
    let regions = ["fsn1|nbg1", "nbg1|hel1"];
    let mut pools = Vec::new();
    for (name, role) in [
        ("ingress", "ingress"),
        ("egress", "egress"),
        ("more", "egress"),
    ] {
        if rng.u8(0..4) > 0 {
            let size = sizes[rng.usize(0..sizes.len())];
            let region = regions[rng.usize(0..regions.len())];
            pools.push((name, role, region, size, rng.u32(0..4)));
        }
    }
    fleet_of(&pools)
}

async fn assert_rented_once(world: &World, shown: &str) {
    let bill = world.cloud.bill();
    for node in world.nodes().await {
        let name = format!("postern-{}-{}", world.network(), node.gateway);
        for kind in ["server", "primary_ip"] {
            let running = bill.of(kind, &name);
            let running = running.iter().filter(|rent| rent.until.is_none());
            assert!(running.count() <= 1, "{shown}: two of {kind} {name}");
        }
    }
}
