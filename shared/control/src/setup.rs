//! Setup: from a one-time code to the first owner.
//!
//! The function is told the hash of a code and when it expires; whoever holds the code signs with a
//! key of their own and becomes an owner. The commit that makes them one burns the code (an item
//! that must be absent), so of many who try at once one is let in, and all others are refused from
//! then on. The winner's request may be sent again: it finds its own admin and gets the same
//! answer.

use api::Kind;
use api::admins::SetupRequest;
use model::{Actor, Admin, AdminId, AdminRole, IdentityKey, SetupCode, id};
use store::{CommitError, Expect};

use crate::items::Taken;
use crate::{Context, Error, admins, audit, items};

/// Makes the holder of `signer` an owner, if the request shows the secret of `code`.
pub async fn setup(
    context: &Context<'_>,
    code: Option<&SetupCode>,
    signer: IdentityKey,
    request: SetupRequest,
) -> Result<Admin, Error> {
    admins::check_name(&request.name)?;
    let shown = request.code.bytes().map(|secret| id::setup_hash(&secret));
    let Some(code) = code.filter(|code| shown.as_ref() == Some(&code.hash)) else {
        let detail = "it is not this network's code: check that all of it was copied";
        return Err(Error::refused(Kind::SetupRefused, detail));
    };
    let owner = Admin {
        id: AdminId::of(&signer),
        name: request.name,
        role: AdminRole::Owner,
        key: signer,
        created_at: context.moment.now,
        removed_at: None,
    };
    if let Some(owner) = decided(context, code, &owner.id).await? {
        return Ok(owner);
    }
    if code.expires_at <= context.moment.now {
        let detail = format!(
            "it expired at {:.0}: have a new one made where the network was made",
            code.expires_at
        );
        return Err(Error::refused(Kind::SetupRefused, detail));
    }

    let actor = Actor::Admin(owner.id.clone());
    let detail = format!("owner '{}', by the setup code", owner.name);
    let writes = vec![
        items::put(
            items::setup(&code.hash),
            Expect::Absent,
            &Taken::by(&owner.id),
        ),
        items::put(items::admin(&owner.id), Expect::Absent, &owner),
        audit::write(context, 0, &actor, "admin.added", &owner.id, detail),
    ];
    match context.store.commit(context.moment.now, writes).await {
        Ok(()) => Ok(owner),
        // Another was faster, or this very request, sent twice.
        Err(CommitError::Failed(_)) => decided(context, code, &owner.id)
            .await?
            .ok_or(Error::Contended),
        Err(error) => Err(error.into()),
    }
}

/// The owner `id`, if they are one already; `None` while nobody has used the code.
async fn decided(
    context: &Context<'_>,
    code: &SetupCode,
    id: &AdminId,
) -> Result<Option<Admin>, Error> {
    let keys = [items::admin(id), items::setup(&code.hash)];
    let found = context.store.get_many(context.moment.now, &keys).await?;
    match items::read::<Admin>(found[0].as_ref())? {
        Some(admin) if admin.is_owner() => return Ok(Some(admin)),
        Some(_) => {
            let detail = format!("{id} was removed or has another role: use a new profile");
            return Err(Error::refused(Kind::AdminConflict, detail));
        }
        None => {}
    }
    if found[1].is_some() {
        let detail = "somebody else has used it: if that was none of yours, the network is theirs";
        return Err(Error::refused(Kind::SetupRefused, detail));
    }
    Ok(None)
}
