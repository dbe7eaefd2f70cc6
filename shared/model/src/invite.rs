//! Invites.

use std::collections::BTreeSet;

use jiff::Timestamp;
use serde::{Deserialize, Serialize};

use crate::{CohortName, InviteId, Tag};

/// The most uses of one invite. Each use is an item; an invite for more people than this should
/// be several, so that a leaked one can be revoked alone.
pub const MOST_USES: u32 = 10_000;

/// The right of so many devices to enroll, as the control plane keeps it: not the secret.
#[derive(Clone, PartialEq, Eq, Debug, Serialize, Deserialize)]
pub struct Invite {
    /// Derived from the secret.
    pub id: InviteId,
    /// The cohort that its devices join.
    pub cohort: CohortName,
    /// The tags that its devices get.
    #[serde(default, skip_serializing_if = "BTreeSet::is_empty")]
    pub tags: BTreeSet<Tag>,
    /// How many devices may enroll with it, from 1 to [`MOST_USES`].
    pub uses: u32,
    /// When it was made.
    pub created_at: Timestamp,
    /// From when on it is refused.
    pub expires_at: Timestamp,
    /// What the operator wrote down about it; empty if nothing.
    #[serde(default, skip_serializing_if = "String::is_empty")]
    pub note: String,
    /// When an operator ended it before its time, if one did: refused since then.
    #[serde(default, skip_serializing_if = "Option::is_none")]
    pub withdrawn_at: Option<Timestamp>,
}
