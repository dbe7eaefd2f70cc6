//! Names and labels of what is rented: the same for the same node, whoever makes them and however
//! often.
//!
//! They are all that is left when a database is lost or an answer never came, so they say enough to
//! find a resource again, to tell whose it is, and to remove it. Values fit the narrowest provider:
//! at most 63 of `A-Z a-z 0-9 . _ -`; a time is in epoch seconds, because RFC 3339 has colons.

use jiff::Timestamp;
use model::provider::{Labels, NETWORK_LABEL};
use model::{GatewayId, Mode, NetworkId, Node, PoolName, Role};
use sha2::{Digest, Sha256};

/// The gateway that a resource is for.
pub const GATEWAY: &str = "postern-gateway";
/// What the gateway does.
pub const ROLE: &str = "postern-role";
/// The pool that it belongs to.
pub const POOL: &str = "postern-pool";
/// `live` or `smoke`.
pub const MODE: &str = "postern-mode";
/// From when on anybody may remove it, in epoch seconds.
pub const EXPIRES: &str = "postern-expires";

/// The name of a gateway's server and of its address.
pub fn node_name(network: &NetworkId, gateway: &GatewayId) -> String {
    format!("postern-{network}-{gateway}")
}

/// What the names of all nodes' servers and addresses start with; the gateway's id follows.
pub(super) fn node_name_prefix(network: &NetworkId) -> String {
    format!("postern-{network}-")
}

/// The name of the firewall of a role's servers whose tunnels have this port. What a firewall lets in
/// never changes: another port is another firewall.
pub fn firewall_name(network: &NetworkId, role: Role, port: u16) -> String {
    format!("postern-{network}-{role}-{port}")
}

/// The id of the node number `number` of a pool: who plans it twice plans the same one.
pub fn node_id(network: &NetworkId, pool: &PoolName, number: u64) -> GatewayId {
    let mut hash = Sha256::new();
    for part in ["postern node", network.as_str(), pool.as_str()] {
        hash.update(part.as_bytes());
        hash.update([0]);
    }
    hash.update(number.to_be_bytes());
    let mut random = [0; 10];
    random.copy_from_slice(&hash.finalize()[..10]);
    GatewayId::from_random(random)
}

/// The labels of a node's server and address.
pub fn of_node(network: &NetworkId, node: &Node) -> Labels {
    let fixed = fixed(network, node).into_iter();
    let expires = node
        .expires_at
        .map(|at| (EXPIRES, at.as_second().to_string()));
    fixed
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .chain(expires.map(|(key, value)| (key.to_owned(), value)))
        .collect()
}

/// The labels of the firewall of a role's servers.
pub fn of_firewall(network: &NetworkId, role: Role) -> Labels {
    let entry = |key: &str, value: String| (key.to_owned(), value);
    Labels::from([
        entry(NETWORK_LABEL, network.to_string()),
        entry(ROLE, role.to_string()),
    ])
}

fn text_of_role(role: Role) -> &'static str {
    match role {
        Role::Ingress => "ingress",
        Role::Egress => "egress",
    }
}

fn text_of_mode(mode: Mode) -> &'static str {
    match mode {
        Mode::Plan => "plan",
        Mode::Smoke => "smoke",
        Mode::Live => "live",
    }
}

/// The labels that every node's resources have, with their values.
fn fixed<'a>(network: &'a NetworkId, node: &'a Node) -> [(&'static str, &'a str); 5] {
    [
        (NETWORK_LABEL, network.as_str()),
        (GATEWAY, node.gateway.as_str()),
        (ROLE, text_of_role(node.role)),
        (POOL, node.pool.as_str()),
        (MODE, text_of_mode(node.mode)),
    ]
}

/// Whether a resource with these labels is the node's: what a lost answer made is adopted only then.
pub fn agree(network: &NetworkId, node: &Node, labels: &Labels) -> bool {
    let is = |key: &str, value: &str| labels.get(key).is_some_and(|there| there == value);
    is(NETWORK_LABEL, network.as_str())
        && is(GATEWAY, node.gateway.as_str())
        && is(POOL, node.pool.as_str())
}

/// What a resource's labels must become to say all that they should, if they do not: ours as they
/// ought to be, and what others wrote beside them.
pub fn corrected(network: &NetworkId, node: &Node, labels: &Labels) -> Option<Labels> {
    let is = |(key, value): (&str, &str)| labels.get(key).is_some_and(|there| there == value);
    let expires = match node.expires_at {
        Some(at) => is((EXPIRES, &at.as_second().to_string())),
        None => !labels.contains_key(EXPIRES),
    };
    if expires && fixed(network, node).into_iter().all(is) {
        return None;
    }
    let mut corrected = labels.clone();
    corrected.remove(EXPIRES);
    corrected.extend(of_node(network, node));
    Some(corrected)
}

/// What a resource's labels say, as far as they can be read.
#[derive(Clone, PartialEq, Eq, Debug, Default)]
pub struct Said {
    /// The gateway that it is for.
    pub gateway: Option<GatewayId>,
    /// The role of that gateway, or of a firewall.
    pub role: Option<Role>,
    /// The pool.
    pub pool: Option<PoolName>,
    /// What it was made for.
    pub mode: Option<Mode>,
    /// From when on anybody may remove it.
    pub expires_at: Option<Timestamp>,
}

impl Said {
    /// Whether it was made for a trial that is over at `now`.
    pub fn is_expired_trial(&self, now: Timestamp) -> bool {
        self.mode == Some(Mode::Smoke) && self.expires_at.is_none_or(|at| at <= now)
    }
}

/// Reads the labels of a resource; none if they are another network's, or nobody's.
pub fn parse(network: &NetworkId, labels: &Labels) -> Option<Said> {
    let text = |key: &str| labels.get(key).map(String::as_str);
    if text(NETWORK_LABEL) != Some(network.as_str()) {
        return None;
    }
    let seconds = text(EXPIRES).and_then(|text| text.parse().ok());
    Some(Said {
        gateway: text(GATEWAY).and_then(|text| text.parse().ok()),
        role: match text(ROLE) {
            Some("ingress") => Some(Role::Ingress),
            Some("egress") => Some(Role::Egress),
            _ => None,
        },
        pool: text(POOL).and_then(|text| text.parse().ok()),
        mode: text(MODE).and_then(|text| text.parse().ok()),
        expires_at: seconds.and_then(|seconds| Timestamp::from_second(seconds).ok()),
    })
}

#[cfg(test)]
mod tests {
    use jiff::SignedDuration;

    use super::*;
    use crate::planning::fixture::{NOW, network, node};

    #[test]
    fn labels_say_what_they_were_made_of() {
        let mut node = node("ingress", 1);
        node.mode = Mode::Smoke;
        node.expires_at = Some(NOW);

        let labels = of_node(&network(), &node);
        let said = parse(&network(), &labels).unwrap();

        assert_eq!(
            said,
            Said {
                gateway: Some(node.gateway.clone()),
                role: Some(node.role),
                pool: Some(node.pool.clone()),
                mode: Some(Mode::Smoke),
                expires_at: Some(NOW),
            }
        );
        assert!(said.is_expired_trial(NOW));
        assert!(!said.is_expired_trial(NOW - SignedDuration::from_secs(1)));
    }

    #[test]
    fn every_name_and_label_fits_the_narrowest_provider() {
        let mut node = node(&"p".repeat(32), 1);
        node.gateway = format!("g-{}", "a".repeat(32)).parse().unwrap();
        node.expires_at = Some(NOW);
        let alphanumeric = |byte: u8| byte.is_ascii_alphanumeric();
        for (key, value) in of_node(&network(), &node) {
            for text in [key.as_bytes(), value.as_bytes()] {
                assert!(text.len() <= 63);
                assert!(
                    text.iter()
                        .all(|byte| alphanumeric(*byte) || b"._-".contains(byte))
                );
                assert!(alphanumeric(text[0]) && alphanumeric(text[text.len() - 1]));
            }
        }
        assert!(node_name(&network(), &node.gateway).len() <= 63);
    }

    #[test]
    fn another_network_s_labels_are_nobody_s() {
        let labels = of_node(&network(), &node("ingress", 1));
        let other = "n-zzzzzzzz".parse().unwrap();
        assert_eq!(parse(&other, &labels), None);
        assert!(!agree(&other, &node("ingress", 1), &labels));
        assert_eq!(parse(&network(), &Labels::new()), None);
    }

    #[test]
    fn correcting_keeps_what_others_wrote() {
        let node = node("ingress", 1);
        let right = of_node(&network(), &node);
        assert_eq!(corrected(&network(), &node, &right), None);

        let mut wrong = right.clone();
        wrong.insert(MODE.to_owned(), "smoke".to_owned());
        wrong.insert(EXPIRES.to_owned(), "1".to_owned());
        wrong.insert("team".to_owned(), "blue".to_owned());
        let corrected = corrected(&network(), &node, &wrong).unwrap();

        let mut wanted = right;
        wanted.insert("team".to_owned(), "blue".to_owned());
        assert_eq!(corrected, wanted);
    }

    #[test]
    fn a_number_gives_one_id_and_each_pool_its_own() {
        let id = |pool: &str, number| node_id(&network(), &pool.parse().unwrap(), number);
        assert_eq!(id("a", 1), id("a", 1));
        assert_ne!(id("a", 1), id("a", 2));
        assert_ne!(id("a", 1), id("b", 1));
    }
}
