//! What every door must do, told of each.

use std::path::{Path, PathBuf};
use tokio::time::Instant;

use harness::cdn::{Cdn, Running};
use harness::{Answered, Fault, Signed, Up, postern, until};

use crate::world::{BRIEF, BUNDLE, PUBLISHED, ROUNDING, TIMESTAMP, World};

/// The configuration is written, and the door is found to be down; once it runs, the same command ends well.
pub async fn comes_up(world: &mut World) -> Running {
    let refused = world.refused(&world.deploy(PUBLISHED)).await;
    assert!(refused.contains("step 2 (answers)"), "{refused}");
    assert!(
        refused.contains("site.conf"),
        "how it is started: {refused}"
    );

    let door = world.start().await;
    // Its gateways come through the door, too.
    world.up = Some(Up::start(&world.data, &[]).await);
    // They may have asked before anything was published, which is remembered for as long.
    until("the first catalog", async || {
        let (trust, catalog) = (world.get("bundles/trust").await, world.get(BUNDLE).await);
        (trust.0 == 200 && catalog.0 == 200).then_some(())
    })
    .await;
    let steps = world.deployed(PUBLISHED).await;

    let names: Vec<_> = steps
        .iter()
        .map(|step| step["step"].as_str().unwrap())
        .collect();
    let expected = [
        "write", "answers", "verify", "current", "rules", "control", "named",
    ];
    assert_eq!(names, expected, "{steps:?}\n{}", door.said());
    assert!(
        steps.iter().all(|step| step["changed"] == false),
        "{steps:?}"
    );
    assert_eq!(steps[6]["said"], "the network names it");
    door
}

/// What a door with a cache does while its origin lives; the door, and a device that has synced through it.
pub async fn keeps_what_it_may(world: &mut World) -> (Running, PathBuf) {
    let door = comes_up(world).await;
    its_origin_is_asked_no_more_than_it_must_be(world).await;
    its_origin_is_told_nothing_of_who_asks(world).await;
    a_new_catalog_arrives_by_itself(world).await;
    passes_the_control_plane_on(world).await;
    let device = syncs(world).await;
    (door, device)
}

async fn its_origin_is_asked_no_more_than_it_must_be(world: &World) {
    let for_good = world.kept_for_good(PUBLISHED);
    for path in &for_good {
        world.get(path).await;
    }
    // Varnish asks for the first root to see whether the origin lives.
    let is_probe = |path: &str| world.cdn == Cdn::Varnish && path == "metadata/1.root.json";
    world.origin.take_answers();

    let begun = Instant::now();
    for number in 0..20 {
        for path in &for_good {
            let asked = format!("{path}?{number}");
            assert_eq!(
                world.get(&asked).await,
                (200, world.published(path)),
                "{path}"
            );
        }
        for path in [TIMESTAMP, BUNDLE] {
            assert_eq!(world.get(path).await.0, 200);
        }
    }
    let rounds = 1 + begun.elapsed().as_secs().div_ceil(BRIEF.as_secs());

    let asked = world.origin.take_answers();
    let changes = |path: &str| path == TIMESTAMP || path == BUNDLE;
    assert_eq!(
        count(&asked, |path| !changes(path) && !is_probe(path)),
        0,
        "{asked:?}"
    );
    for path in [TIMESTAMP, BUNDLE] {
        let times = count(&asked, |asked| asked == path) as u64;
        assert!(
            times <= rounds,
            "{times} times {path} in {rounds} rounds: {asked:?}"
        );
    }

    // What a door does not have, it does not ask for, or it asks once: a new root may come.
    for path in [
        "",
        "index.html",
        ".publish.lock",
        "metadata/../network.json",
        "bundles/x/y",
    ] {
        assert_eq!(world.get(path).await.0, 404, "{path}");
    }
    for _ in 0..3 {
        assert_eq!(world.get("metadata/99.root.json").await.0, 404);
    }
    let asked = world.origin.take_answers();
    assert!(
        count(&asked, |path| !is_probe(path) && !changes(path)) <= 2,
        "{asked:?}"
    );
}

async fn its_origin_is_told_nothing_of_who_asks(world: &World) {
    let url = format!("{}/metadata/98.root.json?sesame", world.url());
    let mut request = world.http.get(url);
    for name in [
        "authorization",
        "cookie",
        "referer",
        "user-agent",
        "accept-language",
    ] {
        request = request.header(name, "sesame");
    }
    request = request.header("x-forwarded-for", "192.0.2.98");
    world.origin.take_heard();

    let status = request.send().await.unwrap().status();

    let heard = world.origin.take_heard().to_lowercase();
    assert_eq!(status.as_u16(), 404);
    assert!(heard.contains("get /metadata/98.root.json\n"), "{heard}");
    for told in ["sesame", "192.0.2.98", "forwarded"] {
        assert!(!heard.contains(told), "{told}: {heard}");
    }
}

/// Who asks first after the time that it may be kept is given the new one, and not what the last one was given.
async fn a_new_catalog_arrives_by_itself(world: &World) {
    let before = world.get(TIMESTAMP).await.1;
    let newest = world.publish_anew().await;
    let meanwhile = world.get(TIMESTAMP).await;
    assert!(meanwhile.1 == before || meanwhile.1 == newest);

    // Nothing but time makes it old.
    tokio::time::sleep(BRIEF + ROUNDING).await;

    assert_eq!(world.get(TIMESTAMP).await, (200, newest));
}

/// An enrollment comes through, twice, and is one.
pub async fn passes_the_control_plane_on(world: &World) {
    let enrollment = Signed::enrollment(world.invite(), &world.url());

    let (first, again) = (enrollment.send().await, enrollment.send().await);

    assert_eq!(
        (first.status, again.status),
        (200, 200),
        "{first:?} {again:?}"
    );
    assert_eq!(first.body, again.body);
}

pub async fn syncs(world: &World) -> PathBuf {
    let device = world.path("device.json");
    postern(&device, &["enroll", world.invite()]).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    device
}

pub async fn serves_on_without_its_origin(world: &mut World, device: &Path) {
    let for_good = world.kept_for_good(PUBLISHED);
    for path in for_good
        .iter()
        .map(String::as_str)
        .chain([TIMESTAMP, BUNDLE])
    {
        world.get(path).await;
    }
    let before = world.published(TIMESTAMP);
    world.origin_fails(Fault::Stopped).await;
    let begun = Instant::now();

    // Until long after what it keeps has become old.
    until("the end of what may be kept", async || {
        for path in [TIMESTAMP, BUNDLE] {
            assert_eq!(
                world.get(path).await.0,
                200,
                "{path} after {:?}",
                begun.elapsed()
            );
        }
        (begun.elapsed() > 2 * BRIEF + ROUNDING).then_some(())
    })
    .await;
    for path in &for_good {
        assert_eq!(
            world.get(path).await,
            (200, world.published(path)),
            "{path}"
        );
    }
    assert_eq!(world.get(TIMESTAMP).await.1, before);
    let report = postern(device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    // Somebody who comes now finds the network, too.
    let newcomer = world.path("newcomer.json");
    postern(&newcomer, &["enroll", world.invite()]).await;
    let report = postern(&newcomer, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");

    // An origin that takes requests and says nothing is no better, and holds nobody up for long.
    world.origin_fails(Fault::Silent).await;
    for path in [TIMESTAMP, BUNDLE] {
        assert_eq!(world.get(path).await.0, 200, "{path} from a silent origin");
    }
}

/// With the origin, a new catalog comes.
pub async fn comes_back(world: &mut World) {
    let newest = world.publish_anew().await;
    world.origin_fails(Fault::None).await;
    until("the new catalog after all", async || {
        (world.get(TIMESTAMP).await == (200, newest.clone())).then_some(())
    })
    .await;
}

/// How often the origin was asked for each of `paths`.
fn count<'a>(answers: &[Answered], path: impl Fn(&str) -> bool + 'a) -> usize {
    answers.iter().filter(|answer| path(&answer.path)).count()
}
