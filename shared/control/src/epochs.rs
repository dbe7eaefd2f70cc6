//! Epochs of the keys that open sealed slices, and the keys that a device is given.
//!
//! All epochs that matter are one item, which every answer to a device reads together with the device and
//! the policy. `publish` alone changes it, ahead of time and conditionally ([`rules::epochs`]), except that
//! an operator can let the next epoch begin at once. A revocation only counts: its commit bumps a counter
//! that nobody checks but the publisher, which then replaces the secret that the revoked device may hold.

use api::Kind;
use api::policy::{BeginEpoch, EpochView, EpochsView};
use model::{Actor, CatalogName, Device, Disclosure, HeldKey, NetworkId, Policy};
use rules::epochs::{Advanced, Epochs, advance};
use serde::{Deserialize, Serialize};
use store::{Change, CommitError, Expect, Item, Write};

use crate::{Context, Error, MOST_TRIES, audit, items};

/// How many epochs may be in their grace when another is begun by hand: answers hold the keys of all.
const MOST_PAST: usize = 8;

/// How many devices were revoked, ever.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Default, Serialize, Deserialize)]
pub struct Revocations {
    /// So many.
    pub count: u64,
}

/// The keys that `device` is given of the catalog `name`: those of its slices, in every epoch whose
/// secret there is. None while catalogs are open, or before the first epoch.
pub(crate) fn keys(
    context: &Context<'_>,
    policy: &Policy,
    epochs: Option<&Epochs>,
    device: &Device,
    name: &CatalogName,
) -> Vec<HeldKey> {
    let (Disclosure::Sealed { slices, held }, Some(epochs)) = (policy.disclosure, epochs) else {
        return Vec::new();
    };
    let mine = rules::slices::held(&epochs.salt, &device.id, slices, held);
    keys_of(&context.network.id, name, epochs, (slices, &mine))
}

/// The keys of these of so many slices of the catalog `name`, in every epoch whose secret there is.
pub fn keys_of(
    network: &NetworkId,
    name: &CatalogName,
    epochs: &Epochs,
    (slices, which): (u16, &[u16]),
) -> Vec<HeldKey> {
    let mut keys = Vec::new();
    for (epoch, secret) in epochs.given() {
        for slice in which {
            let of = tuf::slices::Of {
                network,
                catalog: name,
                slices,
                slice: *slice,
            };
            keys.push(HeldKey {
                catalog: name.clone(),
                epoch,
                slices,
                slice: *slice,
                key: of.key(epoch, secret),
            });
        }
    }
    keys
}

/// What a revocation adds to its commit: the next epoch's secret must be another.
pub(crate) fn revoked() -> Write {
    Write {
        key: items::revocations(),
        expect: Expect::Any,
        change: Change::Bump {
            field: "count".to_owned(),
        },
    }
}

/// The epochs as they must be now. `epochs` and `revocations` are those items as they were read; they are
/// read again only where others changed them meanwhile. The first epoch follows the epoch `floor`.
pub(crate) async fn advanced(
    context: &Context<'_>,
    (epochs, revocations): (Option<&Item>, Option<&Item>),
    floor: u64,
    (actor, event): (&Actor, u32),
) -> Result<Epochs, Error> {
    let now = context.moment.now;
    let mut read = vec![epochs.cloned(), revocations.cloned()];
    for _ in 0..MOST_TRIES {
        let last: Option<Epochs> = items::read(read[0].as_ref())?;
        let count = items::read::<Revocations>(read[1].as_ref())?.unwrap_or_default();
        let mut drawn = 0;
        let draw = || {
            drawn += 1;
            context.moment.random(drawn)
        };
        let timing = &context.network.timing;
        let next = match (advance(last.as_ref(), count.count, timing, now, draw), last) {
            (Some(next), None) => next.after(floor),
            (Some(next), Some(_)) => next,
            (None, Some(last)) => return Ok(last),
            (None, None) => return Err(Error::Defect("there is no first epoch".to_owned())),
        };
        let expect =
            |item: Option<&Item>| item.map_or(Expect::Absent, |item| Expect::Version(item.version));
        let number = next.epochs.present.number;
        let mut writes = vec![
            items::put(items::epochs(), expect(read[0].as_ref()), &next.epochs),
            // The secret of what begins here was drawn after the last revocation.
            Write {
                key: items::revocations(),
                expect: expect(read[1].as_ref()),
                change: Change::Check,
            },
        ];
        if let Some((what, detail)) = told(&next) {
            writes.push(audit::write(context, event, actor, what, &number, detail));
        }
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(next.epochs),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
        let keys = [items::epochs(), items::revocations()];
        read = context.store.get_many(now, &keys).await?;
    }
    Err(Error::Contended)
}

/// What the audit says; that an old secret was forgotten, it need not.
fn told(next: &Advanced) -> Option<(&'static str, &'static str)> {
    match (next.began, next.replaced) {
        (true, false) => Some(("epoch.begun", "")),
        (true, true) => Some((
            "epoch.begun",
            "with another secret than was given: a device was revoked",
        )),
        (false, true) => Some((
            "epoch.next-replaced",
            "the next epoch has another secret: a device was revoked",
        )),
        (false, false) => None,
    }
}

/// The epochs, without their secrets; nothing before the first publication.
pub async fn show(context: &Context<'_>) -> Result<EpochsView, Error> {
    let now = context.moment.now;
    let found = context.store.get_many(now, &[items::epochs()]).await?;
    let epochs: Option<Epochs> = items::read(found[0].as_ref())?;
    Ok(view(epochs.as_ref()))
}

/// Lets the next epoch begin with the next publishing run, in the place of the epoch that the caller has
/// seen. The same request again begins no other.
pub async fn begin(
    context: &Context<'_>,
    actor: &Actor,
    request: &BeginEpoch,
) -> Result<EpochsView, Error> {
    let now = context.moment.now;
    for _ in 0..MOST_TRIES {
        let found = context.store.get_many(now, &[items::epochs()]).await?;
        let epochs: Option<Epochs> = items::read(found[0].as_ref())?;
        let (Some(mut epochs), Some(item)) = (epochs, &found[0]) else {
            let detail = "the first epoch begins when a sealed catalog is published";
            return Err(Error::refused(Kind::NothingPublished, detail));
        };
        let present = epochs.present.number;
        if request.over > present {
            let detail = format!("'over' must be the present epoch, {present}");
            return Err(Error::refused(Kind::MalformedRequest, detail));
        }
        if request.over < present || epochs.next.begins_at <= now {
            return Ok(view(Some(&epochs)));
        }
        if epochs.past.len() >= MOST_PAST {
            let detail = format!(
                "{MOST_PAST} epochs are still in their grace, and devices are given the keys of each: wait \
                 until one is over ('policy epoch')"
            );
            return Err(Error::refused(Kind::MalformedRequest, detail));
        }
        epochs.next.begins_at = now;
        let writes = vec![
            items::put(items::epochs(), Expect::Version(item.version), &epochs),
            audit::write(context, 0, actor, "epoch.begin-wanted", &present, ""),
        ];
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(view(Some(&epochs))),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

fn view(epochs: Option<&Epochs>) -> EpochsView {
    let Some(epochs) = epochs else {
        return EpochsView::default();
    };
    EpochsView {
        past: epochs
            .past
            .iter()
            .map(|epoch| EpochView {
                number: epoch.number,
                at: epoch.until,
            })
            .collect(),
        present: Some(EpochView {
            number: epochs.present.number,
            at: epochs.present.began_at,
        }),
        next: Some(EpochView {
            number: epochs.next.number,
            at: epochs.next.begins_at,
        }),
    }
}
