//! Who may operate the network: owners add and remove admins and change their roles.
//!
//! The invariant: there is always an owner. Every commit that changes the admins checks the item of
//! an owner who stays one: the one who asks, or, where they leave or step down themselves, another.
//! So after each commit that owner is there, whatever else is on its way; two owners who remove
//! each other at once cannot both succeed, and no item is shared by all. It also means that what an
//! owner asked for just before they were removed is not done after.

use api::Kind;
use api::admins::NewAdmin;
use model::{Actor, Admin, AdminId, AdminRole};
use store::{Change, CommitError, Expect, Range, Write};

use crate::items::Read as _;
use crate::{Context, Error, audit, items};

/// The longest name, in bytes: what fits a column of a list.
const MOST_NAME: usize = 64;
/// How often a change is tried against others: owners are few and change admins by hand.
const TRIES: usize = 4;

/// All admins, the removed ones too, in the order of their ids.
pub async fn list(context: &Context<'_>) -> Result<Vec<Admin>, Error> {
    let admins = Admins::read(context).await?.0;
    Ok(admins.into_iter().map(|(admin, _)| admin).collect())
}

/// Adds an admin. Doing it again changes nothing.
pub async fn add(context: &Context<'_>, by: &AdminId, new: NewAdmin) -> Result<Admin, Error> {
    check_name(&new.name)?;
    let admin = Admin {
        id: AdminId::of(&new.key),
        name: new.name,
        role: new.role,
        key: new.key,
        created_at: context.moment.now,
        removed_at: None,
    };
    change(context, by, |admins| {
        let Some((there, _)) = admins.find(&admin.id) else {
            let detail = format!("{} '{}'", admin.role, admin.name);
            return Ok(Step::Commit {
                admin: admin.clone(),
                expect: Expect::Absent,
                action: "admin.added",
                detail,
            });
        };
        let same_terms = there.name == admin.name && there.role == admin.role;
        if there.removed_at.is_none() && same_terms {
            return Ok(Step::Done(there.clone()));
        }
        let detail = if there.removed_at.is_some() {
            "this key was removed, for good: have them make a new profile"
        } else {
            "this key is an admin's with another name or role: change the role instead"
        };
        Err(Error::refused(Kind::AdminConflict, detail))
    })
    .await
}

/// Gives the admin `id` another role. It counts from their next request on.
pub async fn change_role(
    context: &Context<'_>,
    by: &AdminId,
    id: &AdminId,
    role: AdminRole,
) -> Result<Admin, Error> {
    change(context, by, |admins| {
        let there = admins.find(id);
        let there = there.filter(|(admin, _)| admin.removed_at.is_none());
        let (there, version) = there.ok_or_else(|| unknown(id))?;
        if there.role == role {
            return Ok(Step::Done(there.clone()));
        }
        Ok(Step::Commit {
            detail: format!("from {} to {role}", there.role),
            admin: Admin {
                role,
                ..there.clone()
            },
            expect: Expect::Version(*version),
            action: "admin.role-changed",
        })
    })
    .await
}

/// Removes the admin `id`, for good: from their next request on they are refused. Doing it again
/// changes nothing.
pub async fn remove(context: &Context<'_>, by: &AdminId, id: &AdminId) -> Result<Admin, Error> {
    change(context, by, |admins| {
        let (there, version) = admins.find(id).ok_or_else(|| unknown(id))?;
        if there.removed_at.is_some() {
            return Ok(Step::Done(there.clone()));
        }
        Ok(Step::Commit {
            detail: format!("{} '{}'", there.role, there.name),
            admin: Admin {
                removed_at: Some(context.moment.now),
                ..there.clone()
            },
            expect: Expect::Version(*version),
            action: "admin.removed",
        })
    })
    .await
}

/// Refuses a name that is empty, too long or would upset a terminal.
pub(crate) fn check_name(name: &str) -> Result<(), Error> {
    let fits = (1..=MOST_NAME).contains(&name.len());
    if fits && !name.chars().any(char::is_control) && name.trim() == name {
        return Ok(());
    }
    let detail = format!(
        "'name' must have 1 to {MOST_NAME} bytes, no control characters and no space at its ends"
    );
    Err(Error::refused(Kind::MalformedRequest, detail))
}

/// What a change comes to, given the admins that there are.
enum Step {
    /// It was done before.
    Done(Admin),
    /// It is this write.
    Commit {
        admin: Admin,
        expect: Expect,
        action: &'static str,
        detail: String,
    },
}

/// Reads the admins, decides by `step` and commits, again where others were faster.
async fn change(
    context: &Context<'_>,
    by: &AdminId,
    step: impl Fn(&Admins) -> Result<Step, Error>,
) -> Result<Admin, Error> {
    for _ in 0..TRIES {
        let admins = Admins::read(context).await?;
        if !admins.find(by).is_some_and(|(admin, _)| admin.is_owner()) {
            let detail = "only an owner changes the admins: ask one";
            return Err(Error::refused(Kind::NotAllowed, detail));
        }
        let (admin, expect, action, detail) = match step(&admins)? {
            Step::Done(admin) => return Ok(admin),
            Step::Commit {
                admin,
                expect,
                action,
                detail,
            } => (admin, expect, action, detail),
        };
        let actor = Actor::Admin(by.clone());
        let writes = vec![
            items::put(items::admin(&admin.id), expect, &admin),
            admins.who_stays(by, &admin.id)?,
            audit::write(context, 0, &actor, action, &admin.id, detail),
        ];
        match context.store.commit(context.moment.now, writes).await {
            Ok(()) => return Ok(admin),
            Err(CommitError::Failed(_)) => {}
            Err(error) => return Err(error.into()),
        }
    }
    Err(Error::Contended)
}

/// All admins with their versions. They are few: a network has as many as people who run it.
struct Admins(Vec<(Admin, u64)>);

impl Admins {
    async fn read(context: &Context<'_>) -> Result<Self, Error> {
        let range = Range::all(items::ADMINS);
        let found = store::query_all(context.store, context.moment.now, &range).await?;
        let admins = found.iter().map(|item| Ok((item.read()?, item.version)));
        Ok(Self(admins.collect::<Result<_, Error>>()?))
    }

    fn find(&self, id: &AdminId) -> Option<&(Admin, u64)> {
        self.0.iter().find(|(admin, _)| admin.id == *id)
    }

    /// The check that an owner other than `changed` is one still: `by` if it can be.
    fn who_stays(&self, by: &AdminId, changed: &AdminId) -> Result<Write, Error> {
        let stays = |(admin, _): &&(Admin, u64)| admin.is_owner() && admin.id != *changed;
        let owner = self.find(by).filter(stays);
        let Some((owner, version)) = owner.or_else(|| self.0.iter().find(stays)) else {
            let detail = "nobody could change the admins any more: make another owner first";
            return Err(Error::refused(Kind::LastOwner, detail));
        };
        Ok(Write {
            key: items::admin(&owner.id),
            expect: Expect::Version(*version),
            change: Change::Check,
        })
    }
}

fn unknown(id: &AdminId) -> Error {
    let detail = format!("{id} is no admin: 'posternctl admins' lists them");
    Error::refused(Kind::AdminUnknown, detail)
}
