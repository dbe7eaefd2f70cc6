//! Logins and sessions of admins.
//!
//! A login costs two signed requests. The first stores a challenge for a minute, under its hash and
//! for the key that asked; the second deletes it in the commit that puts the session, so that of
//! many who show the same challenge one gets a session and a signed request that was listened to is
//! worth nothing. A session is stored under the hash of its secret: who reads the store can use
//! none. It lives for an hour, and every request reads it together with its admin, so that a
//! removal or another role counts at once.

use api::Kind;
use api::admins::{ChallengeAnswer, SessionAnswer, SessionRequest, Token, random_bytes};
use data_encoding::BASE64URL_NOPAD;
use jiff::{SignedDuration, Timestamp};
use model::{Actor, Admin, AdminId, IdentityKey, id};
use serde::{Deserialize, Serialize};
use store::{Change, CommitError, Expect, Write};

use crate::items::Read as _;
use crate::{Context, Error, audit, items};

/// How long a challenge may be answered: a program does it at once, over a slow line in seconds.
pub const CHALLENGE_LIFE: SignedDuration = SignedDuration::from_secs(60);
/// How long a session lasts. A stolen token is worth no more than that; programs log in again by
/// themselves.
pub const SESSION_LIFE: SignedDuration = SignedDuration::from_hours(1);

/// A challenge that was given and not yet answered.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Challenge {
    /// Who asked for it.
    pub admin: AdminId,
}

/// An open session.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Session {
    /// Whose it is.
    pub admin: AdminId,
    /// Since when.
    pub opened_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
}

/// Who asks, as their session shows.
#[derive(Clone, Debug)]
pub struct Asking {
    /// The admin, as of now.
    pub admin: Admin,
    /// Their session.
    pub session: Session,
    key: store::Key,
    version: u64,
}

/// Gives the admin who holds `signer` a challenge.
pub async fn challenge(
    context: &Context<'_>,
    signer: IdentityKey,
) -> Result<ChallengeAnswer, Error> {
    let id = AdminId::of(&signer);
    let found = context
        .store
        .get_many(context.moment.now, &[items::admin(&id)])
        .await?;
    let admin = current(&id, items::read(found[0].as_ref())?)?;

    let challenge = context.moment.random(0);
    let expires_at = until(context, CHALLENGE_LIFE)?;
    let write = items::put_until(
        items::challenge(&id::challenge_hash(&challenge)),
        Expect::Absent,
        &Challenge { admin: admin.id },
        Some(expires_at),
    );
    context
        .store
        .commit(context.moment.now, vec![write])
        .await?;
    Ok(ChallengeAnswer {
        challenge: BASE64URL_NOPAD.encode(&challenge),
        expires_at,
    })
}

/// Trades a challenge of the admin who holds `signer` for a session.
pub async fn open(
    context: &Context<'_>,
    signer: IdentityKey,
    request: &SessionRequest,
) -> Result<SessionAnswer, Error> {
    let now = context.moment.now;
    let Some(challenge) = random_bytes(&request.challenge) else {
        let detail = "'challenge' must be 32 bytes in base64url without padding";
        return Err(Error::refused(Kind::MalformedRequest, detail));
    };
    let id = AdminId::of(&signer);
    let challenge = items::challenge(&id::challenge_hash(&challenge));
    let found = context
        .store
        .get_many(now, &[items::admin(&id), challenge.clone()])
        .await?;
    let admin = current(&id, items::read(found[0].as_ref())?)?;
    let version = match &found[1] {
        Some(item) if item.read::<Challenge>()?.admin == id => item.version,
        _ => return Err(challenge_refused()),
    };

    let secret = context.moment.random(0);
    let session = Session {
        admin: id.clone(),
        opened_at: now,
        expires_at: until(context, SESSION_LIFE)?,
    };
    let actor = Actor::Admin(id.clone());
    let writes = vec![
        delete(challenge, version),
        items::put_until(
            items::session(&id, &id::session_hash(&secret)),
            Expect::Absent,
            &session,
            Some(session.expires_at),
        ),
        audit::write(context, 0, &actor, "session.opened", &id, ""),
    ];
    match context.store.commit(now, writes).await {
        Ok(()) => Ok(SessionAnswer {
            role: admin.role,
            expires_at: session.expires_at,
            token: Token {
                admin: id.clone(),
                secret,
            },
            admin: id,
        }),
        Err(CommitError::Failed(0)) => Err(challenge_refused()),
        Err(error) => Err(error.into()),
    }
}

/// Whose session `token` is: one read. A removed admin's sessions are ended.
pub async fn read(context: &Context<'_>, token: &Token) -> Result<Asking, Error> {
    let key = items::session(&token.admin, &id::session_hash(&token.secret));
    let keys = [key.clone(), items::admin(&token.admin)];
    let found = context.store.get_many(context.moment.now, &keys).await?;
    let (Some(session), Some(admin)) = (&found[0], &found[1]) else {
        return Err(ended("it has expired or was ended: log in again"));
    };
    let admin: Admin = admin.read()?;
    if let Some(removed_at) = admin.removed_at {
        return Err(ended(&format!(
            "{} was removed at {removed_at:.0}: ask an owner to be added with a new key",
            admin.id
        )));
    }
    Ok(Asking {
        admin,
        session: session.read()?,
        key,
        version: session.version,
    })
}

/// Ends the session that asks. Doing it again changes nothing.
pub async fn end(context: &Context<'_>, asking: &Asking) -> Result<(), Error> {
    let id = &asking.admin.id;
    let actor = Actor::Admin(id.clone());
    let writes = vec![
        delete(asking.key.clone(), asking.version),
        audit::write(context, 0, &actor, "session.ended", id, ""),
    ];
    match context.store.commit(context.moment.now, writes).await {
        Ok(()) | Err(CommitError::Failed(_)) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

/// The admin `id`, unless they are none or were removed.
fn current(id: &AdminId, admin: Option<Admin>) -> Result<Admin, Error> {
    let admin = admin.filter(|admin| admin.removed_at.is_none());
    admin.ok_or_else(|| {
        let detail = format!("{id} is no admin of this network: have an owner add your key");
        Error::refused(Kind::NotAllowed, detail)
    })
}

fn until(context: &Context<'_>, life: SignedDuration) -> Result<Timestamp, Error> {
    context
        .moment
        .now
        .checked_add(life)
        .map_err(|error| Error::Defect(format!("the clock is at the end of time: {error}")))
}

fn delete(key: store::Key, version: u64) -> Write {
    Write {
        key,
        expect: Expect::Version(version),
        change: Change::Delete,
    }
}

fn challenge_refused() -> Error {
    let detail = "it was used, has expired or is another's: ask for a new one";
    Error::refused(Kind::ChallengeRefused, detail)
}

fn ended(detail: &str) -> Error {
    Error::refused(Kind::SessionEnded, detail)
}
