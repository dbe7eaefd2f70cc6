//! What can go wrong when signing, and what can be wrong with a door's files.
//!
//! The variants of [`VerifyError`] are what a door can do wrong, because that is what the caller
//! acts on: it counts the failure against the door, tries the next and writes the
//! [`kind`](VerifyError::kind) into its decision log.

use jiff::Timestamp;

/// Why something could not be signed. All are mistakes of the caller; none leaves anything behind.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum SignError {
    /// Nobody was named to sign.
    #[error("no signing key was given")]
    NoSigner,
    /// The same key was given twice: TUF refuses metadata with two signatures of one key.
    #[error("the key {0} would sign twice")]
    SignsTwice(String),
    /// A signature that was made elsewhere is not the key's over what was to be signed.
    #[error("the signature is not one of the key {0} over these bytes")]
    NotItsSignature(String),
    /// Versions start at 1.
    #[error("a version must be at least 1")]
    VersionZero,
    /// A role's threshold is 0 or more than its distinct keys can reach.
    #[error("the role '{role}' wants {threshold} signatures of {keys} distinct keys")]
    Threshold {
        /// The role.
        role: String,
        /// The threshold that was asked for.
        threshold: u32,
        /// How many distinct keys the role has.
        keys: usize,
    },
    /// One key was given to two roles: whoever steals it would hold both.
    #[error("the key {key_id} is given to both '{first}' and '{second}'")]
    SharedKey {
        /// The key.
        key_id: String,
        /// The role that has it first.
        first: &'static str,
        /// The other role.
        second: &'static str,
    },
    /// A target path that the signing role may not list, or that is no plain relative path.
    #[error("'{path}' is not a path that '{role}' may sign")]
    Path {
        /// The path.
        path: String,
        /// The role.
        role: &'static str,
    },
    /// A value that canonical JSON cannot hold (a fraction), or that is no JSON.
    #[error("not signable: {0}")]
    NotCanonical(String),
    /// Bytes that are not a valid secret key, or a key file that cannot be read.
    #[error("not a signing key: {0}")]
    Key(String),
    /// Slices that cannot be sealed.
    #[error("the slices cannot be sealed: {0}")]
    Sealing(String),
}

/// Why bytes were refused.
#[derive(Debug, Clone, PartialEq, Eq, thiserror::Error)]
pub enum VerifyError {
    /// A signature, a hash or a length does not match: somebody changed the bytes.
    #[error("altered: {0}")]
    Altered(String),
    /// The root does not have the pinned version and hash.
    #[error("root {version} is not the pinned one: SHA-256 is {found}, {expected} was expected")]
    WrongRoot {
        /// The version that was pinned.
        version: u64,
        /// The pinned hash, lowercase hexadecimal.
        expected: String,
        /// The hash of what was served.
        found: String,
    },
    /// Older than what is already trusted.
    #[error("older than what is known: {role} {new} was offered, {trusted} is trusted")]
    Rollback {
        /// The role, as TUF names it.
        role: String,
        /// The trusted version.
        trusted: u64,
        /// The offered version.
        new: u64,
    },
    /// New metadata, or the only one there is, has expired.
    #[error("expired: {role} was valid until {expires}")]
    Expired {
        /// The role, as TUF names it.
        role: String,
        /// When it expired.
        expires: Timestamp,
    },
    /// Not of the form that it must have.
    #[error("malformed: {0}")]
    Malformed(String),
    /// A file that must be there is not.
    #[error("missing: {0}")]
    Missing(String),
    /// A source that failed before it gave an answer (a folder that cannot be read, a refused
    /// connection). Only the `source` of [`verify_source`](crate::client::verify_source) makes it.
    #[error("{name} could not be read: {why}")]
    Unreadable {
        /// The file.
        name: String,
        /// What happened.
        why: String,
    },
    /// More bytes than its kind may have.
    #[error("{name} is larger than {most} bytes")]
    TooLarge {
        /// The file.
        name: String,
        /// The most bytes that it may have.
        most: u64,
    },
    /// Well signed, but for another network.
    #[error("{what} belongs to the network {found}, not to {expected}")]
    WrongNetwork {
        /// The file.
        what: String,
        /// The network that was wanted.
        expected: String,
        /// The network that it names.
        found: String,
    },
    /// Online keys signed what the limits of the offline keys do not allow.
    #[error("outside the signed limits: {0}")]
    OutsideLimits(String),
}

impl VerifyError {
    /// A short stable word for the decision log.
    pub fn kind(&self) -> &'static str {
        match self {
            Self::Altered(_) | Self::WrongRoot { .. } => "altered",
            Self::Rollback { .. } => "older",
            Self::Expired { .. } => "expired",
            Self::Malformed(_) => "malformed",
            Self::Missing(_) => "missing",
            Self::Unreadable { .. } => "unreadable",
            Self::TooLarge { .. } => "too-large",
            Self::WrongNetwork { .. } => "wrong-network",
            Self::OutsideLimits(_) => "outside-limits",
        }
    }
}

impl From<sigstore_tuf::Error> for VerifyError {
    fn from(error: sigstore_tuf::Error) -> Self {
        use sigstore_tuf::Error;
        match error {
            Error::Rollback { role, trusted, new } => Self::Rollback { role, trusted, new },
            Error::Expired { role, expires } => Self::Expired { role, expires },
            Error::BadRootVersion { trusted, new } if new <= trusted => Self::Rollback {
                role: "root".to_owned(),
                trusted,
                new,
            },
            Error::ThresholdNotMet { .. }
            | Error::DuplicateSignature { .. }
            | Error::IntegrityMismatch(_)
            | Error::BadRootVersion { .. } => Self::Altered(error.to_string()),
            Error::Json(source) => Self::Malformed(source.to_string()),
            other => Self::Malformed(other.to_string()),
        }
    }
}
