//! The commands about admins: who one is, how one gets in, and who else there is.

use anyhow::bail;
use api::admin::List;
use api::admins::{self, ADMINS, NewAdmin, RoleRequest, SESSION, SESSION_END, SessionView};
use api::{ContactText, SetupText};
use clap::{Args, Subcommand};
use model::{Admin, AdminId, AdminRole, IdentityKey};
use serde_json::json;

use crate::profile::{Place, Profile};
use crate::remote::Remote;
use crate::show::print;

/// Who becomes the first owner.
#[derive(Args, Clone)]
pub struct SetupOptions {
    /// The setup code that 'posternctl init' printed.
    pub code: String,
    /// What the other admins will call you.
    #[arg(long)]
    pub name: String,
}

/// What to do with admins.
#[derive(Subcommand, Clone)]
pub enum AdminAction {
    /// List them, the removed ones too.
    List,
    /// Let somebody in: they hand you the key that their 'posternctl profile new' printed.
    Add {
        /// Their key.
        key: IdentityKey,
        /// What the other admins will call them.
        #[arg(long)]
        name: String,
        /// auditor (sees), operator (changes the network), or owner (changes admins, too).
        #[arg(long)]
        role: AdminRole,
    },
    /// Give an admin another role.
    Role {
        /// Their id.
        id: AdminId,
        /// auditor, operator or owner.
        role: AdminRole,
    },
    /// Remove an admin, for good. Their sessions end at once.
    Remove {
        /// Their id.
        id: AdminId,
    },
}

/// What to do with the profile.
#[derive(Subcommand, Clone)]
pub enum ProfileAction {
    /// Make one, with a key to hand to an owner.
    New {
        /// What an owner's 'posternctl contact' printed, or a setup code.
        contact: String,
    },
    /// Whose key it holds, of which network. It asks nobody.
    Show,
}

/// `posternctl setup`.
pub async fn setup(place: &Place, options: &SetupOptions, json: bool) -> anyhow::Result<()> {
    let code = SetupText::parse(&options.code)?;
    let (admin, _) = become_owner(place, &code, &options.name).await?;
    if json {
        say!("{}", serde_json::to_string(&admin)?);
        return Ok(());
    }
    say!("{} '{}' is an owner now.", admin.id, admin.name);
    say!(
        "Keep {}: its key is your right to the network.",
        place.path().display()
    );
    Ok(())
}

/// Makes the profile at `place` an owner. The key is kept before it is sent, so that this can be
/// done again after a lost answer.
pub async fn become_owner(
    place: &Place,
    code: &SetupText,
    name: &str,
) -> anyhow::Result<(Admin, Remote)> {
    let contact = code.contact.clone();
    let profile = match place.load()? {
        Some(mut profile) if profile.contact.network == contact.network => {
            profile.contact = contact;
            profile
        }
        Some(_) => bail!(
            "{} is a profile of another network: name another file with --profile",
            place.path().display()
        ),
        None => Profile::new(contact)?,
    };
    place.save(&profile)?;
    let remote = Remote::with(place, profile)?;
    let admin = remote.set_up(code, name).await?;
    Ok((admin, remote))
}

/// `posternctl login`.
pub async fn login(place: &Place, json: bool) -> anyhow::Result<()> {
    let session = Remote::open(place)?.log_in().await?;
    if json {
        let line = json!({
            "admin": session.admin, "role": session.role, "expires_at": session.expires_at,
        });
        say!("{line}");
    } else {
        say!(
            "{} is logged in as {} until {:.0}.",
            session.admin,
            session.role,
            session.expires_at
        );
    }
    Ok(())
}

/// `posternctl logout`.
pub async fn logout(place: &Place, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    if remote.session().is_some() {
        // One that has ended meanwhile is opened and ended again: what counts is the end.
        let _: serde_json::Value = remote.post(SESSION_END, &json!({})).await?;
    }
    remote.forget()?;
    if json {
        say!("{}", json!({"logged_out": true}));
    } else {
        say!("Logged out. The next command logs in again with the profile's key.");
    }
    Ok(())
}

/// `posternctl whoami`.
pub async fn whoami(place: &Place, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let view: SessionView = remote.get(SESSION).await?;
    if json {
        say!("{}", serde_json::to_string(&view)?);
        return Ok(());
    }
    let Admin { id, name, role, .. } = &view.admin;
    say!("{id} '{name}', {role} of {}", remote.contact().network);
    say!("profile  {}", place.path().display());
    say!("session  until {:.0}", view.expires_at);
    Ok(())
}

/// `posternctl admins`.
pub async fn admins(place: &Place, action: Option<AdminAction>, json: bool) -> anyhow::Result<()> {
    let remote = Remote::open(place)?;
    let admin: Admin = match action.unwrap_or(AdminAction::List) {
        AdminAction::List => return list(&remote, json).await,
        AdminAction::Add { key, name, role } => {
            remote.post(ADMINS, &NewAdmin { key, name, role }).await?
        }
        AdminAction::Role { id, role } => {
            remote
                .post(&admins::role(&id), &RoleRequest { role })
                .await?
        }
        AdminAction::Remove { id } => remote.post(&admins::removal(&id), &json!({})).await?,
    };
    if json {
        say!("{}", serde_json::to_string(&admin)?);
    } else if admin.removed_at.is_some() {
        say!("{} '{}' is removed.", admin.id, admin.name);
    } else {
        say!("{} '{}' is {} now.", admin.id, admin.name, admin.role);
    }
    Ok(())
}

async fn list(remote: &Remote, json: bool) -> anyhow::Result<()> {
    let List { items, .. }: List<Admin> = remote.get(ADMINS).await?;
    let header = ["admin", "name", "role", "since", "removed"];
    print(json, &items, &header, |admin| {
        let removed = admin.removed_at.map(|at| format!("{at:.0}"));
        vec![
            admin.id.to_string(),
            admin.name.clone(),
            admin.role.to_string(),
            format!("{:.0}", admin.created_at),
            removed.unwrap_or_default(),
        ]
    })
}

/// `posternctl profile`.
pub fn profile(place: &Place, action: ProfileAction, json: bool) -> anyhow::Result<()> {
    let profile = match action {
        ProfileAction::New { contact } => {
            let contact = ContactText::parse(&contact)?.contact;
            if place.load()?.is_some() {
                bail!(
                    "{} is there already: name another file with --profile",
                    place.path().display()
                );
            }
            let profile = Profile::new(contact)?;
            place.save(&profile)?;
            profile
        }
        ProfileAction::Show => place.read()?,
    };
    let (key, admin) = (profile.key.public(), profile.admin());
    let network = &profile.contact.network;
    if json {
        let line = json!({
            "profile": place.path(), "network": network, "admin": admin, "key": key,
        });
        say!("{line}");
        return Ok(());
    }
    say!("profile  {}", place.path().display());
    say!("network  {network}");
    say!("admin    {admin}");
    say!("key      {key}\n");
    say!("An owner lets it in: posternctl admins add '{key}' --name NAME --role ROLE");
    Ok(())
}

/// `posternctl contact`.
pub async fn contact(place: &Place, json: bool) -> anyhow::Result<()> {
    let contact = Remote::open(place)?.contact_in_force().await?;
    let text = ContactText { contact }.to_string();
    if json {
        say!("{}", json!({"contact": text}));
    } else {
        say!("{text}");
    }
    Ok(())
}
