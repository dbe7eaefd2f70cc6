//! What an error of the SDK means: whether to try again, and what to tell whom.
//!
//! | what happened | what it is |
//! |---|---|
//! | throttled, in conflict with another transaction | passes, and nothing was changed |
//! | no answer, a cut or unreadable one, a 5xx | passes; it may have been done or not |
//! | no such table, no right, refused credentials, another key schema | [`StoreError::Misconfigured`] |
//! | a request that breaks DynamoDB's rules | [`StoreError::Misuse`]: a defect of this program |

use std::error::Error;

use aws_sdk_dynamodb::error::{ProvideErrorMetadata, SdkError};

use super::Place;
use super::item::Attributes;
use crate::StoreError;
use crate::causes::chain;

/// Why an attempt did not do what it was to do.
#[derive(Debug)]
pub(super) enum Trouble {
    /// It may be tried again.
    Passing {
        why: String,
        /// Whether it may have been done all the same.
        is_unclear: bool,
    },
    /// It will not be another time.
    Lasting(StoreError),
}

/// What `error` means for whoever called DynamoDB at `place`.
pub(super) fn trouble<E>(place: &Place, error: &SdkError<E>) -> Trouble
where
    E: ProvideErrorMetadata + Error + 'static,
{
    match error {
        SdkError::ServiceError(answer) => {
            let status = answer.raw().status().as_u16();
            let code = answer.err().code().unwrap_or("no code");
            let message = answer.err().message().unwrap_or("no message");
            refused(place, status, code, message)
        }
        SdkError::ConstructionFailure(_) => lasting(place, &chain(error)),
        SdkError::DispatchFailure(failure) if failure.is_user() => lasting(place, &chain(error)),
        _ => Trouble::Passing {
            why: format!(
                "no answer ({}): look whether the region's name and the endpoint are right and \
                 can be reached from here",
                chain(error)
            ),
            is_unclear: true,
        },
    }
}

/// What an answer means that names an error.
fn refused(place: &Place, status: u16, code: &str, message: &str) -> Trouble {
    let said = format!("{code}: {message}");
    match code {
        "ProvisionedThroughputExceededException"
        | "RequestLimitExceeded"
        | "ReplicatedWriteConflictException"
        | "ThrottlingException"
        | "TransactionConflictException"
        | "TransactionInProgressException" => Trouble::Passing {
            why: said,
            is_unclear: false,
        },
        _ if status >= 500 => Trouble::Passing {
            why: format!("DynamoDB failed: {status} {said}"),
            is_unclear: true,
        },
        "ResourceNotFoundException" => lasting(
            place,
            "there is no such table: create it, or correct its name, the region or the account",
        ),
        "AccessDeniedException" => lasting(
            place,
            &format!("these credentials have no right to this, grant it to their role: {said}"),
        ),
        "ExpiredTokenException" | "ExpiredToken" => {
            lasting(place, &format!("the credentials have expired: {said}"))
        }
        "IncompleteSignatureException"
        | "InvalidSignatureException"
        | "MissingAuthenticationTokenException"
        | "UnrecognizedClientException" => lasting(
            place,
            &format!("the credentials are refused, look at key, region and clock: {said}"),
        ),
        "ValidationException" if message.contains("schema") => lasting(
            place,
            &format!("the table's key must be the strings pk and sk: {said}"),
        ),
        "ValidationException"
        | "SerializationException"
        | "IdempotentParameterMismatchException"
        | "ItemCollectionSizeLimitExceededException" => {
            Trouble::Lasting(StoreError::Misuse(format!("{place}: {said}")))
        }
        _ => lasting(place, &format!("refused: {status} {said}")),
    }
}

/// What became of one operation of a cancelled transaction.
#[derive(Debug)]
pub(super) enum Reason {
    /// It was not the reason.
    Fine,
    /// Its condition failed, with this in the item's place.
    Condition(Option<Attributes>),
    /// Others were in the way: it may be tried again.
    Busy(String),
    /// It breaks DynamoDB's rules.
    Invalid(String),
}

/// The reason with this code.
pub(super) fn reason(
    code: Option<&str>,
    message: Option<String>,
    item: Option<Attributes>,
) -> Reason {
    let message = message.unwrap_or_default();
    match code {
        None | Some("None") => Reason::Fine,
        Some("ConditionalCheckFailed") => Reason::Condition(item),
        Some(code @ ("ValidationError" | "ItemCollectionSizeLimitExceeded")) => {
            Reason::Invalid(format!("{code}: {message}"))
        }
        // TransactionConflict, ThrottlingError, ProvisionedThroughputExceeded, and what is new:
        // nothing was changed, and attempts are bounded.
        Some(code) => Reason::Busy(format!("{code}: {message}")),
    }
}

fn lasting(place: &Place, why: &str) -> Trouble {
    Trouble::Lasting(StoreError::Misconfigured(format!("{place}: {why}")))
}
