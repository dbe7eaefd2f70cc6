//! Invites: the right of so many devices to enroll.
//!
//! The operator's program makes the secret and tells its hash, which is the invite's id: the same
//! request twice makes one invite, and the store never holds what would let a thief in.

use api::Kind;
use api::admin::{InviteView, NewInvite};
use model::{Actor, Invite, InviteId, Limits, invite::MOST_USES};
use store::{CommitError, Expect, Range};

use crate::items::Read as _;
use crate::{Context, Error, MOST_TRIES, audit, checks, items};

/// Makes an invite to a cohort of the signed `limits`.
pub async fn create(
    context: &Context<'_>,
    limits: &Limits,
    actor: &Actor,
    new: NewInvite,
) -> Result<Invite, Error> {
    let now = context.moment.now;
    if !(1..=MOST_USES).contains(&new.uses) {
        return Err(checks::malformed(format!(
            "'uses' must be from 1 to {MOST_USES}"
        )));
    }
    if new.expires_at <= now {
        let detail = "'expires_at' is in the past: choose a later time";
        return Err(checks::malformed(detail));
    }
    checks::note(&new.note)?;
    checks::cohort(limits, &new.cohort)?;
    let invite = Invite {
        id: new.id,
        cohort: new.cohort,
        tags: new.tags,
        uses: new.uses,
        created_at: now,
        expires_at: new.expires_at,
        note: new.note,
        withdrawn_at: None,
    };
    let detail = format!("{} uses, cohort {}", invite.uses, invite.cohort);
    let writes = vec![
        items::put(items::invite(&invite.id), Expect::Absent, &invite),
        audit::write(context, 0, actor, "invite.created", &invite.id, detail),
    ];
    match context.store.commit(now, writes).await {
        Ok(()) => Ok(invite),
        Err(CommitError::Failed(_)) => same_again(context, invite).await,
        Err(error) => Err(error.into()),
    }
}

/// The invite that is there already, if it has the same terms.
async fn same_again(context: &Context<'_>, wanted: Invite) -> Result<Invite, Error> {
    let (there, _) = find(context, &wanted.id).await?.ok_or(Error::Contended)?;
    let same_terms = Invite {
        created_at: there.created_at,
        withdrawn_at: there.withdrawn_at,
        ..wanted
    } == there;
    if !same_terms {
        let detail = "make a new secret for other terms";
        return Err(Error::refused(Kind::InviteConflict, detail));
    }
    Ok(there)
}

/// Ends the invite `id` before its time: nobody enrolls with it any more, whoever did stays. Doing
/// it again changes nothing. An enrollment that read the invite before may still be let in.
pub async fn withdraw(
    context: &Context<'_>,
    actor: &Actor,
    id: &InviteId,
) -> Result<Invite, Error> {
    let now = context.moment.now;
    for _ in 0..MOST_TRIES {
        let Some((mut invite, version)) = find(context, id).await? else {
            let detail = format!("there is no invite {id}: see 'posternctl invite --list'");
            return Err(Error::refused(Kind::InviteUnknown, detail));
        };
        if invite.withdrawn_at.is_some() {
            return Ok(invite);
        }
        invite.withdrawn_at = Some(now);
        let writes = vec![
            items::put(items::invite(id), Expect::Version(version), &invite),
            audit::write(context, 0, actor, "invite.withdrawn", id, ""),
        ];
        match context.store.commit(now, writes).await {
            Ok(()) => return Ok(invite),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

async fn find(context: &Context<'_>, id: &InviteId) -> Result<Option<(Invite, u64)>, Error> {
    let found = context
        .store
        .get_many(context.moment.now, &[items::invite(id)])
        .await?;
    let Some(item) = &found[0] else {
        return Ok(None);
    };
    Ok(Some((item.read()?, item.version)))
}

/// Up to 50 invites with their use, from behind the id `after`; and where to go on.
pub async fn list(
    context: &Context<'_>,
    after: Option<&str>,
) -> Result<(Vec<InviteView>, Option<String>), Error> {
    let now = context.moment.now;
    let page = context
        .store
        .query(now, &Range::all(items::INVITES), after, 50)
        .await?;
    let mut views = Vec::with_capacity(page.items.len());
    for item in &page.items {
        let invite: Invite = item.read()?;
        let taken =
            store::query_all(context.store, now, &Range::all(items::slots(&invite.id))).await?;
        let used = u32::try_from(taken.len()).unwrap_or(u32::MAX);
        views.push(InviteView { invite, used });
    }
    Ok((views, page.next))
}
