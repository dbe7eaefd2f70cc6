//! A catalog of 10,000 gateways: publishing it, and verifying it as a device does.

use model::Catalog;
use sha2::{Digest, Sha256};
use tuf::client::{Start, Wanted, verify_bundle};

use super::world::{World, moment};
use super::{median, ms, row, start};

const GATEWAYS: usize = 10_000;
const RUNS: usize = 15;

pub async fn run() {
    let world = World::new();
    world.gateways(GATEWAYS).await;
    let began = start();
    let report = world.publish().await;
    let published = began.elapsed();
    assert!(report.published && report.listed == GATEWAYS, "{report:?}");
    let began = start();
    assert!(!world.publish().await.published);
    let unchanged = began.elapsed();

    let bundle = world.bundle();
    let catalog = catalog_text(&bundle);
    let keys = world.device_keys().await;
    let opened = {
        let (mut opened, _) = Catalog::from_json(&catalog).expect("a catalog");
        tuf::slices::open(&mut opened, &keys, &mut Vec::new());
        assert_eq!(opened.gateways().count(), GATEWAYS);
        opened
    };
    let plain = serde_json::to_vec(&opened).expect("plain data");
    let serialize = median(RUNS, || {
        drop(serde_json::to_vec(&opened).expect("plain data"));
    });
    // What is fetched must be hashed, what is listed must be parsed: no way around either.
    let floor = median(RUNS, || {
        std::hint::black_box(Sha256::digest(&catalog));
        std::hint::black_box(serde_json::from_slice::<Catalog>(&plain).expect("a catalog"));
    });
    let (network, name) = (&world.network.id, "default".parse().expect("a name"));
    let wanted = Wanted {
        network,
        catalog: Some(&name),
        keys: &keys,
    };
    let first = || {
        verify_bundle(Start::Pin(&world.pin), &wanted, &bundle, moment().now).expect("it verifies")
    };
    let verified = median(RUNS, || drop(first()));
    let state = first().state;
    let again = median(RUNS, || {
        let start = Start::State(&state);
        drop(verify_bundle(start, &wanted, &bundle, moment().now).expect("it verifies"));
    });

    let size = bundle.len() / 1024;
    row(
        &format!("verifying, opening and parsing a catalog of {GATEWAYS} gateways ({size} KiB)"),
        &ms(verified),
        &format!(
            "{}: SHA-256 of its bytes, JSON parsing of what they list",
            ms(floor)
        ),
    );
    row(
        "the same bundle again, nothing new",
        &ms(again),
        "0 ms: a 304 is not verified",
    );
    row(
        &format!("publishing {GATEWAYS} gateways, all files to a folder"),
        &ms(published),
        &format!("{}: writing the catalog as JSON once", ms(serialize)),
    );
    row(
        &format!("a publishing run with {GATEWAYS} gateways and nothing new"),
        &ms(unchanged),
        "reading their items",
    );
}

/// The catalog's own bytes in the bundle.
fn catalog_text(bundle: &[u8]) -> String {
    let bundle = tuf::Bundle::read(bundle).expect("a bundle");
    let name = bundle
        .names()
        .find(|name| name.starts_with("targets/catalogs/"));
    let catalog = bundle.get(name.expect("it holds a catalog"));
    String::from_utf8(catalog.expect("the part is there").to_vec()).expect("a catalog is text")
}
