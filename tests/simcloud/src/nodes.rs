//! Who runs the machines: nobody, unless a test wants real ones.

use std::fmt;
use std::net::IpAddr;

/// What runs the nodes of a cloud's servers. It must not wait: it is called while the cloud is
/// locked.
pub trait Nodes: fmt::Debug + Send + Sync {
    /// A server has power: its user data is carried out at the first boot, what that set up runs at
    /// every one.
    fn boot(&self, server: &Booted);
    /// A server's power was cut.
    fn cut(&self, server: u64);
    /// A server is gone, with its disk.
    fn remove(&self, server: u64);
}

/// A server that has power.
#[derive(Clone)]
pub struct Booted {
    /// Its id.
    pub id: u64,
    /// Its name.
    pub name: String,
    /// Its user data; it may hold a secret.
    pub user_data: String,
    /// Its public addresses.
    pub addresses: Vec<IpAddr>,
}

impl fmt::Debug for Booted {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "Booted({}, {})", self.id, self.name)
    }
}
