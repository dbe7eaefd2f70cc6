//! Many writers at once: what one commit promises holds between commits too.

use std::sync::Arc;

use serde_json::json;
use tokio::task::JoinSet;

use super::{apply, at, bump, contents, count, get, key, put, write};
use crate::{Change, CommitError, Expect, Store, StoreError, Write};

/// How many write at once.
const WRITERS: i64 = 32;
/// How often each of them does.
const ROUNDS: i64 = 4;
/// How often one commit may have an unclear outcome: more is a store that does not work.
const MOST_UNCLEAR: u32 = 20;

/// Runs `writer` so many times at once, and waits for all.
async fn together<F>(store: &Arc<dyn Store>, writer: impl Fn(Arc<dyn Store>, i64) -> F)
where
    F: Future<Output = ()> + Send + 'static,
{
    let mut writers = JoinSet::new();
    for number in 0..WRITERS {
        writers.spawn(writer(Arc::clone(store), number));
    }
    writers.join_all().await;
}

/// Whether the expectations held. Any other failure is one of the case.
fn is_applied(outcome: Result<(), CommitError>) -> bool {
    match outcome {
        Ok(()) => true,
        Err(CommitError::Failed(_)) => false,
        Err(CommitError::Store(error)) => panic!("the store failed: {error}"),
    }
}

/// Each reads the item, adds one, and writes it back at the version that it read. Where the outcome
/// is unclear, which a store may say now and then, it looks whether its own round is in.
pub async fn no_update_is_lost(store: Arc<dyn Store>) {
    apply(&*store, at(0), vec![put("a", Expect::Absent, 0)]).await;

    together(&store, |store, writer| async move {
        let own = format!("rounds of {writer}");
        for round in 1..=ROUNDS {
            let mut unclear = 0;
            loop {
                let found = get(&*store, at(0), "a").await.expect("it is there");
                let is_in = found.body[&own].as_i64() == Some(round);
                assert!(!is_in || unclear > 0, "a refused commit was applied");
                if is_in {
                    break;
                }
                let mut next = found.body;
                next["n"] = json!(next["n"].as_i64().expect("a count") + 1);
                next[&own] = json!(round);
                let put = Write::put(key("a"), Expect::Version(found.version), &next);
                let outcome = store.commit(at(0), vec![put]).await;
                if let Err(CommitError::Store(StoreError::Unavailable(_))) = outcome
                    && unclear < MOST_UNCLEAR
                {
                    unclear += 1;
                } else if is_applied(outcome) {
                    break;
                }
            }
        }
    })
    .await;

    let found = get(&*store, at(0), "a").await.expect("it is there");
    assert_eq!(count(&found), WRITERS * ROUNDS);
    assert_eq!(
        found.version,
        1 + found.body["n"].as_u64().expect("a count")
    );
}

/// All want the same slots, and write beside a slot that it is theirs.
pub async fn absent_has_one_winner(store: Arc<dyn Store>) {
    together(&store, |store, writer| async move {
        for slot in 0..ROUNDS {
            let writes = vec![
                bump(&format!("wins of {writer}"), Expect::Any),
                put(&format!("slot {slot}"), Expect::Absent, writer),
            ];
            is_applied(store.commit(at(0), writes).await);
        }
    })
    .await;

    let (slots, wins): (Vec<_>, Vec<_>) = contents(&*store, at(0))
        .await
        .into_iter()
        .partition(|item| item.key.sk.starts_with("slot"));
    assert_eq!(wins.iter().map(count).sum::<i64>(), ROUNDS);
    assert_eq!(i64::try_from(slots.len()), Ok(ROUNDS));
    for item in &slots {
        assert_eq!(item.version, 1);
        let winner = format!("wins of {}", count(item));
        assert!(wins.iter().any(|item| item.key.sk == winner));
    }
}

/// Without a guard nothing is refused, and nothing is lost.
pub async fn bumps_count_exactly(store: Arc<dyn Store>) {
    together(&store, |store, writer| async move {
        for _ in 0..ROUNDS {
            let own = format!("own {writer}");
            let writes = vec![bump("shared", Expect::Any), bump(&own, Expect::Any)];
            apply(&*store, at(0), writes).await;
        }
    })
    .await;

    let found = contents(&*store, at(0)).await;
    let (shared, own): (Vec<_>, Vec<_>) = found.iter().partition(|item| item.key.sk == "shared");
    assert_eq!(
        shared.into_iter().map(count).collect::<Vec<_>>(),
        [WRITERS * ROUNDS]
    );
    assert_eq!(own.into_iter().map(count).collect::<Vec<_>>(), [ROUNDS; 32]);
}

/// Each moves between two of a few items; a commit that was applied in part would make or lose some.
pub async fn transfers_keep_their_sum(store: Arc<dyn Store>) {
    const ACCOUNTS: i64 = 5;
    const START: i64 = 100;
    let open = (0..ACCOUNTS).map(|n| put(&n.to_string(), Expect::Absent, START));
    apply(&*store, at(0), open.collect()).await;

    together(&store, |store, writer| async move {
        for round in 0..ROUNDS {
            let from = (writer + round) % ACCOUNTS;
            let to = (from + 1 + writer % (ACCOUNTS - 1)) % ACCOUNTS;
            while !is_applied(transfer(&*store, from, to).await) {}
        }
    })
    .await;

    let found = contents(&*store, at(0)).await;
    assert_eq!(found.iter().map(count).sum::<i64>(), ACCOUNTS * START);
    let changes: u64 = found.iter().map(|item| item.version - 1).sum();
    assert_eq!(changes, (2 * WRITERS * ROUNDS).unsigned_abs());
}

/// Moves one between two items, at the versions that were read.
async fn transfer(store: &dyn Store, from: i64, to: i64) -> Result<(), CommitError> {
    let sks = [from, to].map(|n| n.to_string());
    let keys = [key(&sks[0]), key(&sks[1])];
    let found = store.get_many(at(0), &keys).await?;
    let [Some(from), Some(to)] = found.as_slice() else {
        panic!("accounts are never removed");
    };
    let moved = vec![
        put(&sks[0], Expect::Version(from.version), count(from) - 1),
        put(&sks[1], Expect::Version(to.version), count(to) + 1),
    ];
    store.commit(at(0), moved).await
}

/// While items are replaced, removed and made again, each read finds a body that one put wrote.
pub async fn readers_see_whole_items(store: Arc<dyn Store>) {
    together(&store, |store, writer| async move {
        let sk = (writer % 4).to_string();
        for round in 0..ROUNDS {
            let text = writer.to_string().repeat(1000);
            let body = json!({"writer": writer, "text": text});
            let change = if (writer + round) % 4 == 0 {
                Change::Delete
            } else {
                Change::Put {
                    body,
                    expires_at: None,
                }
            };
            apply(&*store, at(0), vec![write(&sk, Expect::Any, change)]).await;

            if let Some(item) = get(&*store, at(0), &sk).await {
                assert_whole(&item.body);
            }
            for item in contents(&*store, at(0)).await {
                assert_whole(&item.body);
            }
        }
    })
    .await;
}

fn assert_whole(body: &serde_json::Value) {
    let text = body["writer"].to_string().repeat(1000);
    assert_eq!(body["text"], text);
}
