//! Who operates a network that runs here: at the first start, this machine becomes the first owner
//! with the code that `init` left in the data folder, and keeps the profile there. Where somebody
//! else has used the code, or shall (`--no-setup`), the network runs without an operator here.

use std::fs;

use anyhow::Context;
use api::admins::{SESSION, SessionView};
use api::{Kind, Problem, SetupText};
use edge::Edge;
use model::{AdminRole, SetupCode};

use crate::data::{Folder, SETUP, Settings};
use crate::profile::Place;
use crate::remote::Remote;
use crate::{admins, init, now};

/// What the other admins call the one of this machine.
const NAME: &str = "up";

/// The code that makes the first owner, if it can be used, before the routes are told of it. One
/// that has expired is replaced while the network has no admin and `may_renew`.
pub async fn prepare(
    data: &Folder,
    settings: &mut Settings,
    edge: &Edge,
    may_renew: bool,
) -> anyhow::Result<Option<SetupText>> {
    if data.path(SETUP).exists() {
        let text = SetupText::parse(&String::from_utf8(data.read(SETUP)?)?)?;
        let is_good = |code: &SetupCode| code.hash == text.hash() && code.expires_at > now();
        if settings.setup.as_ref().is_some_and(is_good) {
            return Ok(Some(text));
        }
    }
    let admins = control::admins::list(&edge.context(edge.clock.moment())).await?;
    if admins.is_empty() && may_renew {
        return Ok(Some(init::make_code(data, settings)?));
    }
    forget_code(data)?;
    Ok(None)
}

/// The control plane as this machine's operator reaches it, if there is one; `code` makes it the
/// first owner.
pub async fn open(
    data: &Folder,
    settings: &Settings,
    code: Option<&SetupText>,
) -> anyhow::Result<Option<Remote>> {
    let place = Place::of(data);
    if let Some(code) = code {
        let done = admins::become_owner(&place, code, NAME).await;
        let done = unless(&[Kind::SetupRefused, Kind::AdminConflict], done)?;
        forget_code(data)?;
        if done.is_none() {
            return Ok(None);
        }
    }
    let Some(mut profile) = place.load()? else {
        return Ok(None);
    };
    profile.contact = data.first_contact(settings)?;
    place.save(&profile)?;
    let remote = Remote::with(&place, profile)?;
    let view = remote.get::<SessionView>(SESSION).await;
    let view = unless(&[Kind::NotAllowed], view)?;
    let may_change = |view: &SessionView| view.admin.role >= AdminRole::Operator;
    Ok(view.filter(may_change).map(|_| remote))
}

/// `None`, and a line for the operator, where a problem of one of these kinds was the answer.
fn unless<T>(kinds: &[Kind], answer: anyhow::Result<T>) -> anyhow::Result<Option<T>> {
    match answer {
        Ok(answer) => Ok(Some(answer)),
        Err(error) => match error.downcast_ref::<Problem>() {
            Some(problem) if kinds.iter().any(|kind| problem.is(*kind)) => {
                eprintln!("posternctl: this machine does not operate the network: {problem}");
                Ok(None)
            }
            _ => Err(error),
        },
    }
}

fn forget_code(data: &Folder) -> anyhow::Result<()> {
    let path = data.path(SETUP);
    if path.exists() {
        fs::remove_file(&path).with_context(|| path.display().to_string())?;
    }
    Ok(())
}
