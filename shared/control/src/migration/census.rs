//! How many items there are of each form.

use std::collections::BTreeMap;
use std::fmt;

use serde::Serialize;
use store::Item;

use crate::items::forms::{self, Kind};

/// How many items that cannot be read are named.
const MOST_NAMED: usize = 20;
/// What items are called of which this program knows no kind.
const UNKNOWN: &str = "unknown";

/// Counts items by kind and form.
#[derive(Default, Debug)]
pub struct Census {
    counts: BTreeMap<(&'static str, u32), (u64, Standing)>,
    unreadable: Vec<String>,
}

/// What a form is to this program.
#[derive(Clone, Copy, PartialEq, Eq, Debug, Serialize)]
#[serde(rename_all = "kebab-case")]
pub enum Standing {
    /// It writes this one.
    Written,
    /// It reads this one, and writes such items anew.
    Older,
    /// It reads this one, which a newer release writes.
    Coming,
    /// It does not know this one, or not even the kind: a newer release wrote it.
    Newer,
}

/// Items of one kind and form.
#[derive(Clone, PartialEq, Eq, Debug, Serialize)]
pub struct Row {
    /// The kind.
    pub kind: &'static str,
    /// The number of the form.
    pub form: u32,
    /// How many items.
    pub items: u64,
    /// What the form is to this program.
    pub standing: Standing,
}

impl Census {
    /// Counts `item`.
    pub fn add(&mut self, item: &Item) {
        let kind = forms::of(&item.key);
        let number = match forms::number(item) {
            Ok(number) => number,
            Err(error) => {
                if self.unreadable.len() < MOST_NAMED {
                    self.unreadable.push(error.to_string());
                }
                return;
            }
        };
        let standing = kind.map_or(Standing::Newer, |kind| Standing::of(kind, number));
        let name = kind.map_or(UNKNOWN, |kind| kind.name);
        let count = self.counts.entry((name, number)).or_insert((0, standing));
        count.0 += 1;
    }

    /// What was counted, by kind and form.
    pub fn rows(&self) -> Vec<Row> {
        let counts = self.counts.iter();
        counts
            .map(|(&(kind, form), &(items, standing))| Row {
                kind,
                form,
                items,
                standing,
            })
            .collect()
    }

    /// Some of the items whose form is none, and why.
    pub fn unreadable(&self) -> &[String] {
        &self.unreadable
    }
}

impl Standing {
    fn of(kind: &Kind, number: u32) -> Self {
        match number {
            number if number > kind.known() => Self::Newer,
            number if number > kind.writes => Self::Coming,
            number if number < kind.writes => Self::Older,
            _ => Self::Written,
        }
    }
}

impl fmt::Display for Standing {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str(match self {
            Self::Written => "",
            Self::Older => "older: written anew in the background",
            Self::Coming => "of a newer release, known here",
            Self::Newer => "NOT KNOWN HERE: install the newest release",
        })
    }
}
