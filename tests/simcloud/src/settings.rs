//! What a cloud is told when it is made: its token, its shop, its limits, how long things take.

use std::collections::BTreeMap;

use jiff::{SignedDuration, Timestamp};

/// How a [`SimCloud`](crate::SimCloud) is to be.
#[derive(Clone, Debug)]
pub struct Settings {
    /// The only token that it accepts.
    pub token: String,
    /// What time it is.
    pub clock: Clock,
    /// How far each request moves a virtual clock.
    pub per_request: SignedDuration,
    /// How long its actions take.
    pub durations: Durations,
    /// How many requests it answers.
    pub rate: RateLimit,
    /// How many resources an account may have.
    pub limits: Limits,
    /// What it rents, where, for how much.
    pub shop: Shop,
}

/// Where the time comes from.
#[derive(Clone, Copy, Debug)]
pub enum Clock {
    /// It stands at this moment until a test moves it.
    Virtual(Timestamp),
    /// The system's.
    System,
}

/// How long actions take.
#[derive(Clone, Copy, Debug)]
pub struct Durations {
    /// To make a server.
    pub create: SignedDuration,
    /// To switch a server on or off.
    pub power: SignedDuration,
    /// To delete a server and detach what it had.
    pub delete: SignedDuration,
    /// To assign or unassign an address.
    pub assign: SignedDuration,
    /// To apply a firewall.
    pub firewall: SignedDuration,
}

impl Durations {
    /// Every action takes so long.
    pub fn all(duration: SignedDuration) -> Self {
        Self {
            create: duration,
            power: duration,
            delete: duration,
            assign: duration,
            firewall: duration,
        }
    }
}

/// A bucket of requests, refilled evenly.
#[derive(Clone, Copy, Debug)]
pub struct RateLimit {
    /// The size of the bucket.
    pub limit: u32,
    /// How long one more request takes to come.
    pub refill: SignedDuration,
}

/// How many resources of a kind an account may have.
#[derive(Clone, Copy, Debug)]
pub struct Limits {
    /// Servers.
    pub servers: usize,
    /// Primary IPs.
    pub addresses: usize,
    /// Firewalls.
    pub firewalls: usize,
}

/// What a cloud rents.
#[derive(Clone, Debug)]
pub struct Shop {
    /// The names of locations, with the zones they are in.
    pub locations: Vec<(String, String)>,
    /// The types of servers.
    pub types: Vec<ServerType>,
    /// The images.
    pub images: Vec<Image>,
    /// What an IPv4 address costs, gross. An IPv6 network costs nothing.
    pub ipv4: Price,
    /// The value-added tax, in percent.
    pub vat: u32,
}

/// A type of servers.
#[derive(Clone, Debug)]
pub struct ServerType {
    /// Its id.
    pub id: u64,
    /// As `cx23`.
    pub name: String,
    /// `x86` or `arm`.
    pub architecture: String,
    /// How many processors it has.
    pub cores: u32,
    /// Its memory in GB.
    pub memory: u32,
    /// Its disk in GB.
    pub disk: u32,
    /// Where it is offered.
    pub locations: BTreeMap<String, Offer>,
}

/// A type of servers in one location.
#[derive(Clone, Debug)]
pub struct Offer {
    /// What it costs, gross.
    pub price: Price,
    /// How many more there are; none is as many as anybody wants.
    pub capacity: Option<u32>,
    /// From when on nobody gets one any more, once that was announced.
    pub unavailable_after: Option<Timestamp>,
}

/// A price in millionths of the currency's unit.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Price {
    /// An hour.
    pub hour: u64,
    /// The most for a month.
    pub month: u64,
}

/// An image.
#[derive(Clone, Debug)]
pub struct Image {
    /// Its id.
    pub id: u64,
    /// As `debian-13`; one name may stand for an image of each architecture.
    pub name: String,
    /// `x86` or `arm`.
    pub architecture: String,
    /// Since when it is deprecated.
    pub deprecated: Option<Timestamp>,
}

impl Default for Settings {
    /// A virtual clock that begins with November 2026, seconds-long actions, Hetzner's documented
    /// rate limit (3,600, one a second), a shop of five locations.
    fn default() -> Self {
        let start = "2026-11-01T00:00:00Z".parse().expect("a time");
        Self {
            token: "sim-token".to_owned(),
            clock: Clock::Virtual(start),
            per_request: SignedDuration::ZERO,
            durations: Durations {
                create: SignedDuration::from_secs(8),
                power: SignedDuration::from_secs(3),
                delete: SignedDuration::from_secs(5),
                assign: SignedDuration::from_secs(2),
                firewall: SignedDuration::from_secs(1),
            },
            rate: RateLimit {
                limit: 3600,
                refill: SignedDuration::from_secs(1),
            },
            limits: Limits {
                servers: 100,
                addresses: 100,
                firewalls: 50,
            },
            shop: Shop::default(),
        }
    }
}

impl Settings {
    /// For programs: the system's clock, actions of 100 ms.
    pub fn served() -> Self {
        Self {
            clock: Clock::System,
            durations: Durations::all(SignedDuration::from_millis(100)),
            ..Self::default()
        }
    }
}

impl Default for Shop {
    fn default() -> Self {
        let eu = ["fsn1", "nbg1", "hel1"];
        let everywhere = ["fsn1", "nbg1", "hel1", "ash", "sin"];
        let zones = [
            "eu-central",
            "eu-central",
            "eu-central",
            "us-east",
            "ap-southeast",
        ];
        let locations = everywhere.iter().zip(zones);
        Self {
            locations: locations
                .map(|(name, zone)| ((*name).to_owned(), zone.to_owned()))
                .collect(),
            types: vec![
                server_type(45, "cax11", "arm", (2, 4, 40), &eu, (5_300, 3_290_000)),
                server_type(
                    109,
                    "cpx22",
                    "x86",
                    (2, 4, 80),
                    &everywhere,
                    (11_600, 7_190_000),
                ),
                server_type(114, "cx23", "x86", (2, 4, 40), &eu, (5_600, 3_490_000)),
                server_type(115, "cx33", "x86", (4, 8, 80), &eu, (8_800, 5_490_000)),
            ],
            images: vec![
                image(114_690_387, "debian-12", "x86"),
                image(114_690_389, "debian-12", "arm"),
                image(310_557_660, "debian-13", "x86"),
                image(310_557_661, "debian-13", "arm"),
                image(161_547_269, "ubuntu-24.04", "x86"),
            ],
            ipv4: Price {
                hour: 1_000,
                month: 600_000,
            },
            vat: 19,
        }
    }
}

impl Shop {
    /// The type of this name or id.
    pub(crate) fn server_type(&self, wanted: &str) -> Option<&ServerType> {
        let mut types = self.types.iter();
        types.find(|known| known.name == wanted || known.id.to_string() == wanted)
    }

    /// The offer of a type in a location.
    pub fn offer(&mut self, server_type: &str, location: &str) -> &mut Offer {
        let mut types = self.types.iter_mut();
        let found = types.find(|known| known.name == server_type);
        let found = found.unwrap_or_else(|| panic!("no type {server_type}"));
        let offer = found.locations.get_mut(location);
        offer.unwrap_or_else(|| panic!("no {server_type} in {location}"))
    }
}

fn server_type(
    id: u64,
    name: &str,
    architecture: &str,
    (cores, memory, disk): (u32, u32, u32),
    locations: &[&str],
    (hour, month): (u64, u64),
) -> ServerType {
    let offer = Offer {
        price: Price { hour, month },
        capacity: None,
        unavailable_after: None,
    };
    let locations = locations.iter();
    ServerType {
        id,
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        cores,
        memory,
        disk,
        locations: locations
            .map(|location| ((*location).to_owned(), offer.clone()))
            .collect(),
    }
}

fn image(id: u64, name: &str, architecture: &str) -> Image {
    Image {
        id,
        name: name.to_owned(),
        architecture: architecture.to_owned(),
        deprecated: None,
    }
}
