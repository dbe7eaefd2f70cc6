//! What an error of the server or of the way to it means: whether to try again, and what to tell whom.
//!
//! | what happened | what it is |
//! |---|---|
//! | a deadlock, a lock that was not to be had in time, a full server, a standby | passes, and nothing was changed |
//! | no answer, a cut connection, a server that stops or starts | passes; a commit that was under way may be in |
//! | no such database or table, no right, a refused password, TLS that does not hold | [`StoreError::Misconfigured`] |
//! | a page that is damaged, a column of another type | [`StoreError::Corrupt`] |
//!
//! The codes are those of PostgreSQL's appendix A, by their classes.

use std::error::Error as _;

use tokio_postgres::error::{DbError, Error, SqlState};

use crate::StoreError;
use crate::causes::chain;

/// Why an attempt did not do what it was to do.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be tried again.
    Passing {
        why: String,
        /// Whether the connection is gone, and its idle neighbours with it, perhaps.
        is_cut: bool,
    },
    /// It will not be another time.
    Lasting(StoreError),
}

impl Trouble {
    /// No answer within the time of an attempt.
    pub fn late() -> Self {
        Self::cut("no answer in time: look whether the server can be reached from here".to_owned())
    }

    pub fn cut(why: String) -> Self {
        Self::Passing { why, is_cut: true }
    }
}

/// What `error` means for whoever called the server at `place`.
pub(super) fn trouble(place: &str, error: &Error) -> Trouble {
    if let Some(said) = error.as_db_error() {
        return refused(place, said);
    }
    let text = error.to_string();
    let why = chain(error);
    if is_certificate(error) {
        return lasting(
            place,
            &format!(
                "the server's certificate does not hold, look at the host's name and at sslrootcert: {why}"
            ),
        );
    }
    // The kinds have no other names than their texts.
    if text.starts_with("error performing TLS") && why.contains("does not support TLS") {
        return lasting(
            place,
            "the server has no TLS: turn it on there, or say sslmode=disable where the way is safe",
        );
    }
    if text.starts_with("authentication error") || text.starts_with("invalid configuration") {
        return lasting(place, &format!("it cannot be logged in to: {why}"));
    }
    if text.starts_with("error deserializing") || text.starts_with("invalid column") {
        return Trouble::Lasting(StoreError::Corrupt(format!("{place}: {why}")));
    }
    if text.starts_with("error serializing") || text.starts_with("error encoding") {
        return Trouble::Lasting(StoreError::Misuse(format!("{place}: {why}")));
    }
    Trouble::cut(format!(
        "no answer ({why}): look whether the server runs and can be reached from here"
    ))
}

/// Whether the connection is gone, so that what was sent last may have been done or not.
pub(super) fn is_unclear(error: &Error) -> bool {
    // A server that stops says so in its last words, which may come behind a commit.
    error
        .code()
        .is_none_or(|code| code.code().starts_with("57P") || code.code().starts_with("08"))
}

fn is_certificate(error: &Error) -> bool {
    let mut source = error.source();
    while let Some(error) = source {
        let tls = error.downcast_ref::<rustls::Error>();
        // An error of I/O holds the one of TLS as its inner one, not as its source.
        let inner = error
            .downcast_ref::<std::io::Error>()
            .and_then(std::io::Error::get_ref)
            .and_then(|inner| inner.downcast_ref::<rustls::Error>());
        if let Some(rustls::Error::InvalidCertificate(_)) = tls.or(inner) {
            return true;
        }
        source = error.source();
    }
    false
}

/// What an answer means that names an error.
fn refused(place: &str, said: &DbError) -> Trouble {
    let code = said.code();
    let text = format!("{} {}", code.code(), said.message());
    let hint = match *code {
        SqlState::INVALID_CATALOG_NAME => "there is no such database: create it",
        SqlState::INVALID_PASSWORD | SqlState::INVALID_AUTHORIZATION_SPECIFICATION => {
            "the login is refused, look at user and password, and at the server's pg_hba.conf"
        }
        SqlState::INSUFFICIENT_PRIVILEGE => {
            "the user has no right to this: let it own the database, or grant it (docs/databases.md)"
        }
        SqlState::UNDEFINED_TABLE => {
            "Postern's tables are not there: 'posternctl prepare --store URL' makes them"
        }
        SqlState::DUPLICATE_TABLE => {
            return Trouble::Lasting(StoreError::Corrupt(format!(
                "{place}: a table of another program has a name of Postern's: {text}"
            )));
        }
        // A standby, or a server that is about to become one.
        SqlState::READ_ONLY_SQL_TRANSACTION => return passing(text, false),
        _ => match &code.code()[..2] {
            // Rolled back (deadlock, serialization), resources, limits, not in the right state, operator's
            // intervention, the system's errors.
            "40" | "53" | "54" | "55" | "57" | "58" => {
                return passing(text, code.code().starts_with("57P"));
            }
            "08" | "25" => return passing(text, true),
            "XX" => return Trouble::Lasting(StoreError::Corrupt(format!("{place}: {text}"))),
            _ => "refused",
        },
    };
    lasting(place, &format!("{hint}: {text}"))
}

fn passing(why: String, is_cut: bool) -> Trouble {
    Trouble::Passing { why, is_cut }
}

fn lasting(place: &str, why: &str) -> Trouble {
    Trouble::Lasting(StoreError::Misconfigured(format!("{place}: {why}")))
}
