//! Front doors that anybody can run: nginx, Varnish and Caddy of Debian's packages, with the configurations
//! of `infra/cdn` as `posternctl deploy doors` writes them. One story, told of each.
//!
//! And what the command says of a plain bucket, and of doors that do not do.
//!
//! What they stand before is the test's own, so that what is asked of it can be counted and it can fail; what
//! it serves, a real `posternctl up` publishes. The real `postern` syncs through them.

mod asked;
mod story;
mod world;

use harness::cdn::Cdn;
use harness::{Fault, postern};

use story::{
    comes_back, comes_up, keeps_what_it_may, passes_the_control_plane_on,
    serves_on_without_its_origin, syncs,
};
use world::{BUNDLE, COPY, TIMESTAMP, World};

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn nginx_keeps_what_it_may_and_serves_on_without_its_origin() {
    let Some(mut world) = World::make(Cdn::Nginx).await else {
        return;
    };
    let (door, device) = keeps_what_it_may(&mut world).await;
    serves_on_without_its_origin(&mut world, &device).await;

    // What it keeps is on disk: it may start while the origin is down.
    door.stop().await;
    let _door = world.start().await;
    let (status, bytes) = world.get(BUNDLE).await;
    assert_eq!((status, bytes.len()), (200, world.published(BUNDLE).len()));

    comes_back(&mut world).await;
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn varnish_keeps_what_it_may_and_serves_on_without_its_origin() {
    let Some(mut world) = World::make(Cdn::Varnish).await else {
        return;
    };
    let (door, device) = keeps_what_it_may(&mut world).await;
    // It has seen nothing but an origin that lives: what it serves then is not what its probe found out.
    door.stop().await;
    let _door = world.start().await;
    serves_on_without_its_origin(&mut world, &device).await;
    comes_back(&mut world).await;
}

/// It asks no origin: it serves what is published beside it, or a verified copy.
#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn caddy_serves_a_folder_or_a_verified_copy_and_no_origin_is_asked() {
    let Some(mut world) = World::make(Cdn::Caddy).await else {
        return;
    };
    let door = comes_up(&mut world).await;
    let newest = world.publish_anew().await;
    assert_eq!(world.get(TIMESTAMP).await, (200, newest), "at once");
    passes_the_control_plane_on(&world).await;
    let device = syncs(&world).await;

    // The same from a copy.
    let brought = world.pull().await;
    assert_eq!(brought[0]["changed"], true, "{brought:?}");
    let written = world.deployed(COPY).await;
    assert_eq!(written[0]["changed"], true, "{written:?}");
    door.stop().await;
    let _door = world.start().await;
    world.origin.take_answers();
    let copied = world.kept_for_good(COPY);
    assert!(copied.len() > 6, "{copied:?}");
    for path in copied {
        assert_eq!(
            world.get(&path).await,
            (200, world.published(&path)),
            "{path}"
        );
    }
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");
    assert_eq!(
        world.origin.take_answers(),
        vec![],
        "the door serves by itself"
    );
    // And where nothing is new, a copy costs one request.
    let again = world.pull().await;
    assert_eq!(again[0]["changed"], false, "{again:?}");
    assert_eq!(world.origin.take_answers().len(), 1);

    let older = world.get(TIMESTAMP).await.1;
    let newest = world.publish_anew().await;
    a_bad_origin_changes_nothing_of_the_copy(&mut world, &older).await;
    let report = postern(&device, &["sync"]).await;
    assert_eq!(report["door"], world.url(), "{report}");

    world.origin_fails(Fault::None).await;
    world.pull().await;
    assert_eq!(world.get(TIMESTAMP).await, (200, newest));
}

/// An origin that is down, or lies.
async fn a_bad_origin_changes_nothing_of_the_copy(world: &mut World, served: &[u8]) {
    let pull = world.pulling();
    for (fault, said) in [
        (Fault::Altered, "not to be believed"),
        (Fault::Stopped, "run the same command again"),
    ] {
        world.origin_fails(fault).await;
        let refused = world.refused(&pull).await;
        assert!(refused.contains(said), "{refused}");
        assert_eq!(world.get(TIMESTAMP).await, (200, served.to_vec()));
    }
}
