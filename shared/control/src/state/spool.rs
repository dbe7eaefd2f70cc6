//! Where records lie between the steps: a port, because it is a file for those who move real networks.

use std::collections::BTreeMap;
use std::ops::Bound;

/// A part of a spool with an order of its own.
#[derive(Clone, Copy, PartialEq, Eq, PartialOrd, Ord, Hash, Debug)]
#[repr(u8)]
pub enum Drawer {
    /// [`super::record::DeviceRecord`], by id.
    Devices = 0,
    /// [`super::record::GatewayRecord`], by id.
    Gateways = 1,
    /// [`super::record::LeaseRecord`], by index.
    Leases = 2,
    /// [`model::Invite`], by id.
    Invites = 3,
    /// [`api::policy::PolicyView`], by version.
    Policies = 4,
    /// [`super::record::FleetRecord`], by version.
    Fleet = 5,
    /// [`super::record::AdminRecord`], by id.
    Admins = 6,
    /// [`model::AuditEvent`], by id.
    Audit = 7,
    /// What belongs to a record and is an item of its own, by the record's id.
    Parts = 8,
    /// What only one record may have, by what it is.
    Claims = 9,
}

impl Drawer {
    /// Those that are sections of a document, in its order.
    pub const SECTIONS: [Self; 8] = [
        Self::Devices,
        Self::Gateways,
        Self::Leases,
        Self::Invites,
        Self::Policies,
        Self::Fleet,
        Self::Admins,
        Self::Audit,
    ];

    /// The section's name in a document.
    pub fn name(self) -> &'static str {
        match self {
            Self::Devices => "devices",
            Self::Gateways => "gateways",
            Self::Leases => "leases",
            Self::Invites => "invites",
            Self::Policies => "policies",
            Self::Fleet => "fleet",
            Self::Admins => "admins",
            Self::Audit => "audit",
            Self::Parts => "parts",
            Self::Claims => "claims",
        }
    }
}

/// Something on a drawer.
#[derive(Clone, PartialEq, Eq, Debug)]
pub struct Row {
    /// Which drawer.
    pub drawer: Drawer,
    /// Its place in the drawer's order, which is that of the bytes.
    pub key: String,
    /// The line of the document that it came from, from 1; 0 if from none.
    pub line: u64,
    /// A record as one line of JSON, or a text.
    pub body: String,
}

/// A spool failed.
#[derive(Debug, thiserror::Error)]
#[error("the spool: {0}")]
pub struct SpoolError(pub String);

/// Rows in order, for as long as one import or export takes. Nobody else uses it.
pub trait Spool: Send {
    /// Puts a row where none is; gives the one that is there and leaves it, otherwise.
    fn put(&mut self, row: Row) -> Result<Option<Row>, SpoolError>;

    /// Puts a row in the place of the one that is there, if one is.
    fn replace(&mut self, row: Row) -> Result<(), SpoolError>;

    /// Takes a row away, if it is there.
    fn remove(&mut self, drawer: Drawer, key: &str) -> Result<(), SpoolError>;

    /// A row.
    fn get(&self, drawer: Drawer, key: &str) -> Result<Option<Row>, SpoolError>;

    /// The first `most` rows of a drawer behind the key `after`; from the beginning where it is empty.
    fn page(&self, drawer: Drawer, after: &str, most: usize) -> Result<Vec<Row>, SpoolError>;

    /// How many rows a drawer has.
    fn count(&self, drawer: Drawer) -> Result<u64, SpoolError>;
}

/// A spool in memory: for tests, and for documents that are small.
#[derive(Default, Debug)]
pub struct MemorySpool {
    rows: BTreeMap<(Drawer, String), (u64, String)>,
}

impl MemorySpool {
    fn row(drawer: Drawer, key: &str, (line, body): &(u64, String)) -> Row {
        Row {
            drawer,
            key: key.to_owned(),
            line: *line,
            body: body.clone(),
        }
    }
}

impl Spool for MemorySpool {
    fn put(&mut self, row: Row) -> Result<Option<Row>, SpoolError> {
        let there = self.get(row.drawer, &row.key)?;
        if there.is_none() {
            self.replace(row)?;
        }
        Ok(there)
    }

    fn replace(&mut self, row: Row) -> Result<(), SpoolError> {
        self.rows
            .insert((row.drawer, row.key), (row.line, row.body));
        Ok(())
    }

    fn remove(&mut self, drawer: Drawer, key: &str) -> Result<(), SpoolError> {
        self.rows.remove(&(drawer, key.to_owned()));
        Ok(())
    }

    fn get(&self, drawer: Drawer, key: &str) -> Result<Option<Row>, SpoolError> {
        let row = self.rows.get(&(drawer, key.to_owned()));
        Ok(row.map(|row| Self::row(drawer, key, row)))
    }

    fn page(&self, drawer: Drawer, after: &str, most: usize) -> Result<Vec<Row>, SpoolError> {
        let from = Bound::Excluded((drawer, after.to_owned()));
        let rows = self.rows.range((from, Bound::Unbounded));
        let rows = rows.take_while(|((on, _), _)| *on == drawer).take(most);
        Ok(rows
            .map(|((drawer, key), row)| Self::row(*drawer, key, row))
            .collect())
    }

    fn count(&self, drawer: Drawer) -> Result<u64, SpoolError> {
        let rows = self.rows.keys().filter(|(on, _)| *on == drawer);
        Ok(rows.count() as u64)
    }
}

/// All rows of a drawer, a page at a time.
pub(super) struct Pages {
    drawer: Drawer,
    after: String,
    page: std::vec::IntoIter<Row>,
    over: bool,
}

impl Pages {
    /// From behind the key `after`; from the beginning where it is empty.
    pub fn of(drawer: Drawer, after: &str) -> Self {
        Self {
            drawer,
            after: after.to_owned(),
            page: Vec::new().into_iter(),
            over: false,
        }
    }

    /// The next row. Rows behind it may be changed meanwhile, and are then seen as they are when their page
    /// is read.
    pub fn next(&mut self, spool: &dyn Spool) -> Result<Option<Row>, SpoolError> {
        if self.page.len() == 0 && !self.over {
            let page = spool.page(self.drawer, &self.after, super::PAGE)?;
            self.over = page.is_empty();
            if let Some(last) = page.last() {
                self.after.clone_from(&last.key);
            }
            self.page = page.into_iter();
        }
        Ok(self.page.next())
    }
}
