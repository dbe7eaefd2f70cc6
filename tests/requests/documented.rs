//! `docs/problems.md` has every kind of problem as the code has it, and every kind was seen; and every test
//! that `docs/threat-model.md` names is there.

use std::collections::BTreeMap;
use std::path::Path;

use api::{Kind, Problem};

use crate::refusals::refusals;
use crate::world::World;

/// Kinds that the tests of any route, of what is sealed, of unavailability, of access and of `control::fleet` look for; all
/// others are among the [`refusals`].
const ELSEWHERE: [Kind; 25] = [
    Kind::UnknownRoute,
    Kind::MethodNotAllowed,
    Kind::TooLarge,
    Kind::SignatureMissing,
    Kind::SignatureInvalid,
    Kind::SignatureStale,
    Kind::WrongNetwork,
    Kind::SealedOnly,
    Kind::SealKeyUnknown,
    Kind::SealBroken,
    Kind::SessionMissing,
    Kind::SessionEnded,
    Kind::NothingPublished,
    Kind::FleetInvalid,
    Kind::FleetConflict,
    Kind::PlanChanged,
    Kind::PlanRefused,
    Kind::ProviderMode,
    Kind::ProviderFailed,
    Kind::PoolCrowded,
    Kind::Contended,
    Kind::StoreUnavailable,
    Kind::StoreMisconfigured,
    Kind::BeingUpdated,
    Kind::Internal,
];

#[test]
fn the_page_of_problems_has_every_kind_as_it_is() {
    let page = include_str!("../../docs/problems.md");
    let rows = page.lines().filter_map(|line| line.strip_prefix("| `"));
    let rows: Vec<Vec<&str>> = rows
        .map(|row| row.split('|').map(str::trim).collect())
        .collect();

    let documented: Vec<_> = rows.iter().map(|row| (row[0], row[1], row[2])).collect();
    let facts: Vec<_> = Kind::ALL
        .iter()
        .map(|kind| {
            let problem = Problem::new(*kind, "");
            (
                format!("{}`", kind.name()),
                problem.status.to_string(),
                problem.title,
            )
        })
        .collect();
    let facts: Vec<_> = facts
        .iter()
        .map(|(name, status, title)| (name.as_str(), status.as_str(), title.as_str()))
        .collect();
    assert_eq!(
        documented, facts,
        "docs/problems.md, in the order of api::Kind"
    );
    for row in rows {
        assert!(row[3].len() > 10, "say what to do: {row:?}");
    }
}

#[tokio::test]
async fn every_kind_is_expected_of_some_request() {
    let mut seen: BTreeMap<&str, usize> = BTreeMap::new();
    let world = World::new().await;
    let refused = refusals(&world).into_iter().map(|refusal| refusal.kind);
    for kind in refused.chain(ELSEWHERE) {
        *seen.entry(kind.name()).or_default() += 1;
    }
    for kind in Kind::ALL {
        assert!(seen.contains_key(kind.name()), "no test expects {kind:?}");
    }
}

#[test]
fn every_test_that_the_threat_model_names_is_in_its_file() {
    let root = Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    let page = include_str!("../../docs/threat-model.md");
    let rows = page.lines().filter(|line| line.starts_with("| "));
    let cells = rows.filter_map(|row| row.trim_end_matches(" |").rsplit(" | ").next());
    let mut named = 0;
    for cell in cells {
        let (mut path, mut source) = ("", String::new());
        for word in cell.split('`').skip(1).step_by(2) {
            if word.contains('/') {
                path = word;
                source = std::fs::read_to_string(root.join(word)).expect(word);
                continue;
            }
            if path.is_empty() {
                continue; // no test: the table of who may do what
            }
            let is_defined =
                [format!("fn {word}("), format!("def {word}(")].map(|form| source.contains(&form));
            assert!(is_defined.contains(&true), "{path} has no test {word}");
            named += 1;
        }
    }
    assert!(named > 80, "the page was read: {named} tests are named");
}
