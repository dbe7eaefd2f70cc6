use jiff::Timestamp;
use model::Role;
use proptest::prelude::*;

use super::*;

fn network() -> NetworkId {
    "n-abcdefgh".parse().unwrap()
}

fn name() -> CatalogName {
    "default".parse().unwrap()
}

fn secret(byte: u8) -> EpochSecret {
    EpochSecret::from_bytes([byte; 32])
}

fn gateway(number: usize) -> CatalogGateway {
    CatalogGateway {
        id: format!("g-{number:04}").parse().unwrap(),
        role: Role::Ingress,
        region: "r".to_owned(),
        endpoint: format!("192.0.2.{}:51820", number % 256).parse().unwrap(),
        tunnel_key: model::TunnelKey::from_bytes([7; 32]),
        load: 0,
    }
}

/// A catalog of so many slices of one gateway each, sealed for these epochs.
fn sealed(slices: usize, epochs: &[(u64, &EpochSecret)], version: u64) -> Catalog {
    let gateways: Vec<_> = (0..slices).map(gateway).collect();
    let each: Vec<_> = gateways.iter().map(|gateway| vec![gateway]).collect();
    catalog_of(
        seal((&network(), &name(), version), epochs, &each).unwrap(),
        version,
    )
}

fn catalog_of(slices: Vec<SealedSlice>, version: u64) -> Catalog {
    Catalog {
        schema: catalog::SCHEMA.to_owned(),
        network: network(),
        name: name(),
        version,
        changed_at: Timestamp::UNIX_EPOCH,
        front_doors: Vec::new(),
        slices: slices.into_iter().map(Slice::Sealed).collect(),
    }
}

fn held(epoch: u64, secret: &EpochSecret, slices: u16, slice: u16) -> HeldKey {
    let (network, catalog) = (network(), name());
    let of = Of {
        network: &network,
        catalog: &catalog,
        slices,
        slice,
    };
    HeldKey {
        key: of.key(epoch, secret),
        catalog,
        epoch,
        slices,
        slice,
    }
}

fn ids(catalog: &Catalog) -> Vec<&str> {
    catalog
        .gateways()
        .map(|gateway| gateway.id.as_str())
        .collect()
}

#[test]
fn a_key_opens_its_slice_in_its_epoch_and_no_other() {
    let (one, two, three) = (secret(1), secret(2), secret(3));
    let catalog = sealed(4, &[(2, &two), (1, &one)], 9);
    let open_with = |key: HeldKey| {
        let (mut catalog, mut skipped) = (catalog.clone(), Vec::new());
        let found = open(&mut catalog, &[key], &mut skipped);
        assert_eq!(found.slices, 4);
        let ids: Vec<String> = ids(&catalog).into_iter().map(str::to_owned).collect();
        (ids, skipped)
    };

    for (epoch, secret) in [(1, &one), (2, &two)] {
        let (ids, skipped) = open_with(held(epoch, secret, 4, 2));
        assert_eq!((ids, skipped), (vec!["g-0002".to_owned()], Vec::new()));
    }

    // Of another epoch, another number of slices, another catalog: not for any of them.
    let mut elsewhere = held(2, &two, 4, 2);
    elsewhere.catalog = "canary".parse().unwrap();
    for key in [held(3, &three, 4, 2), held(2, &two, 5, 2), elsewhere] {
        assert_eq!(open_with(key), (Vec::new(), Vec::new()));
    }

    // And what only says that it is for one opens nothing, and is named.
    let mut relabelled = held(2, &two, 4, 2);
    relabelled.slice = 3;
    let stolen = held(2, &secret(9), 4, 2);
    for key in [relabelled, stolen] {
        let (ids, skipped) = open_with(key);
        assert!(ids.is_empty());
        assert!(
            skipped[0].ends_with("the key held does not open it"),
            "{skipped:?}"
        );
    }
}

#[test]
fn altered_contents_or_another_place_do_not_open() {
    let one = secret(1);
    let good = sealed(2, &[(1, &one)], 9);
    let keys = [held(1, &one, 2, 0), held(1, &one, 2, 1)];
    let opened = |change: &dyn Fn(&mut Catalog)| {
        let mut catalog = good.clone();
        change(&mut catalog);
        open(&mut catalog, &keys, &mut Vec::new()).opened
    };
    assert_eq!(opened(&|_| ()), 2);

    assert_eq!(opened(&|catalog| catalog.version += 1), 0);
    assert_eq!(
        opened(&|catalog| catalog.network = "n-bcdefghi".parse().unwrap()),
        0
    );
    // A slice in the place of another.
    let swap = |catalog: &mut Catalog| {
        for slice in &mut catalog.slices {
            let Slice::Sealed(slice) = slice else {
                continue;
            };
            slice.slice = 1 - slice.slice;
        }
    };
    assert_eq!(opened(&swap), 0);
    let flip = |catalog: &mut Catalog| {
        let Slice::Sealed(slice) = &mut catalog.slices[0] else {
            return;
        };
        slice.sealed[100] ^= 1;
    };
    assert_eq!(opened(&flip), 1);
}

#[test]
fn what_is_no_base64_is_a_slice_that_nothing_opens() {
    let one = secret(1);
    let catalog = sealed(2, &[(1, &one)], 9);
    let mut json = serde_json::to_value(&catalog).unwrap();
    json["slices"][0]["sealed"] = "not base64".into();
    json["slices"][1]["keys"][0]["key"] = "AAA".into();
    let (mut catalog, unreadable) = Catalog::from_json(&json.to_string()).unwrap();
    let mut skipped = Vec::new();

    let keys = [held(1, &one, 2, 0), held(1, &one, 2, 1)];
    let opened = open(&mut catalog, &keys, &mut skipped);

    assert_eq!(unreadable, Vec::<String>::new());
    assert!(opened.is_shut(), "{opened:?}");
    let why = [0, 1].map(|number| format!("slice {number}: the key held does not open it"));
    assert_eq!(skipped, why);
}

#[test]
fn what_cannot_be_read_in_a_slice_is_named_and_the_others_stay() {
    let one = secret(1);
    let of = (network(), name());
    let of = Of {
        network: &of.0,
        catalog: &of.1,
        slices: 1,
        slice: 0,
    };
    let opened = |contents: &serde_json::Value| {
        let bytes = serde_json::to_vec(contents).unwrap();
        let slice = seal_one(&of, 9, &[(1, &one)], &bytes).unwrap();
        let (mut catalog, mut skipped) = (catalog_of(vec![slice], 9), Vec::new());
        open(&mut catalog, &[held(1, &one, 1, 0)], &mut skipped);
        (catalog.gateways().count(), skipped)
    };
    let mut malformed = serde_json::to_value(gateway(1)).unwrap();
    malformed["endpoint"] = "nowhere".into();

    let (count, skipped) = opened(&serde_json::json!([malformed, gateway(2)]));
    assert_eq!(count, 1);
    assert!(skipped[0].starts_with("slice 0, entry 0: "), "{skipped:?}");

    let (count, skipped) = opened(&serde_json::json!({"gateways": []}));
    assert_eq!(count, 0);
    assert!(
        skipped[0].starts_with("slice 0: no list of gateways"),
        "{skipped:?}"
    );
}

#[test]
fn a_gateway_in_two_slices_is_listed_once_and_one_described_in_two_ways_is_named() {
    let one = secret(1);
    let (first, mut other) = (gateway(1), gateway(1));
    other.load = 3;
    let keys = [
        held(1, &one, 3, 0),
        held(1, &one, 3, 1),
        held(1, &one, 3, 2),
    ];
    let contents = [vec![&first], vec![&first], vec![&other]];
    let slices = seal((&network(), &name(), 9), &[(1, &one)], &contents).unwrap();
    let (mut catalog, mut skipped) = (catalog_of(slices, 9), Vec::new());

    open(&mut catalog, &keys, &mut skipped);

    assert_eq!(catalog.gateways().collect::<Vec<_>>(), [&first]);
    assert_eq!(
        skipped,
        ["gateway g-0001: another slice describes it otherwise"]
    );
}

#[test]
fn sealing_draws_nothing_and_never_uses_a_key_for_two_contents() {
    let (one, two) = (secret(1), secret(2));
    let epochs: &[(u64, &EpochSecret)] = &[(2, &two), (1, &one)];
    assert_eq!(sealed(3, epochs, 9), sealed(3, epochs, 9));

    // Nothing that stands in one version stands in another with the same contents, so that nobody sees
    // which slice a change was in.
    let parts = |catalog: Catalog| -> Vec<Vec<u8>> {
        let slices = catalog.slices.into_iter();
        let parts = slices.flat_map(|slice| match slice {
            Slice::Sealed(slice) => {
                let keys = slice.keys.into_iter().map(|wrapped| wrapped.key);
                keys.chain([slice.sealed]).collect()
            }
            Slice::Open { .. } => Vec::new(),
        });
        parts.collect()
    };
    let mut all: Vec<_> = parts(sealed(3, epochs, 9));
    all.extend(parts(sealed(3, epochs, 10)));
    all.extend(parts(sealed(3, &epochs[1..], 9)));
    let count = all.len();
    all.sort();
    all.dedup();
    assert_eq!((all.len(), count), (9 + 9 + 6, 9 + 9 + 6));
}

#[test]
fn the_derivation_and_the_cipher_do_not_change() {
    // The hash was made by other implementations of HMAC, HKDF and the cipher (OpenSSL's). Whoever changes
    // it locks every device out of what is published: a new schema is needed then.
    let one = secret(1);
    let slice = sealed(1, &[(1, &one)], 1).slices.remove(0);
    let text = serde_json::to_string(&slice).unwrap();
    let hash = data_encoding::HEXLOWER.encode(&Sha256::digest(text.as_bytes()));
    assert_eq!(
        hash,
        "0d59f30a56e2c9d4fc0d4b04821a4aa367e523a416b66613a7904ea76836fd6b"
    );
}

#[test]
fn all_slices_of_a_catalog_have_one_length_of_a_coarse_scale() {
    let one = secret(1);
    let gateways: Vec<_> = (0..40).map(gateway).collect();
    let lengths = |sizes: &[usize]| -> Vec<usize> {
        let each: Vec<Vec<_>> = sizes
            .iter()
            .map(|size| gateways.iter().take(*size).collect())
            .collect();
        let slices = seal((&network(), &name(), 1), &[(1, &one)], &each).unwrap();
        slices.iter().map(|slice| slice.sealed.len()).collect()
    };
    let few = lengths(&[0, 1, 5]);
    assert!(few.iter().all(|length| *length == few[0]));
    assert_eq!(few, lengths(&[9, 2, 3]));
    assert_eq!(lengths(&[20, 0]), lengths(&[25, 25]));
}

proptest! {
    #[test]
    fn padding_adds_less_than_the_length_and_never_takes_away(length in LEAST_BYTES..8_000_000) {
        let padded = padded(length);
        prop_assert!(padded >= length && padded < 2 * length.max(LEAST_BYTES));
        prop_assert!(length <= MOST_DOUBLED || padded <= length + length / 4);
        prop_assert_eq!(super::padded(padded), padded);
    }
}
