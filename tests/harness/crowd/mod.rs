//! A crowd: many devices that enroll at once, on any database.
//!
//! [`CLIENTS`] callers ask over HTTP, each for one device after the other, with signed requests of real
//! keys, as a correct client does ([`crate::plane`]): what was not answered is sent again, the same.
//! Some have no [`Manners`]: they hang up before the answer, send twice, or never ask again.
//!
//! What they were told is the [`Ledger`]; what must then hold of the database is in
//! [`crate::invariants`], which knows none. [`databases`] has them all.

pub mod databases;

use std::collections::BTreeSet;
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::time::Duration;

use api::admin::NewInvite;
use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest, InviteSecret};
use api::sealed::ControlSecrets;
use api::{IdentitySecret, WireGuardSecret};
use control::items::Read as _;
use control::{Context, items};
use edge::{Clock as _, Edge, SystemClock};
use fastrand::Rng;
use jiff::SignedDuration;
use model::{Actor, AddressPools, DeviceId, Invite, InviteId, Limits, Network, NetworkId, Timing};
use store::{Item, Range, Store};
use tokio::task::JoinSet;
use tokio::time::Instant;

use crate::invariants::Books;
use crate::ledger::{AdminTale, DeviceTale, KeySet, Ledger};
use crate::plane::{Ask, By, Plane};

/// How many ask at once.
pub const CLIENTS: usize = 64;
/// Among how many invites the devices are divided, so that many want the uses of the same one.
const INVITES: u32 = 16;
/// They hang up that do after 0.25 to 256 ms, and each doubling is as likely: an enrollment takes from one
/// to some hundred milliseconds, as the database and the machine have it, and is to be met anywhere.
const DOUBLINGS: f64 = 10.0;
const LEAST_PATIENCE: Duration = Duration::from_micros(250);

/// How callers behave: shares of the requests, 0 to 1.
#[derive(Clone, Copy, Debug)]
pub struct Manners {
    /// Their caller hangs up before the answer, and asks again.
    pub hangs_up: f64,
    /// They are sent twice at once.
    pub twice: f64,
    /// Their caller asks once and never again, whatever it hears; half of these hang up. Only of the first half of the devices:
    /// nothing of theirs is under way at the end.
    pub gives_up: f64,
}

impl Manners {
    /// Everybody waits for the answer.
    pub const GOOD: Self = Self {
        hangs_up: 0.0,
        twice: 0.0,
        gives_up: 0.0,
    };
    /// Worse than any network makes them.
    pub const BAD: Self = Self {
        hangs_up: 0.05,
        twice: 0.05,
        gives_up: 0.03,
    };
}

/// Devices that want to be enrolled.
pub struct Crowd {
    devices: u32,
    manners: Manners,
    seed: u64,
    next: AtomicU32,
}

/// What came of it.
pub struct Told {
    /// What the callers know.
    pub ledger: Ledger,
    /// How long all of it took.
    pub took: Duration,
    /// How long each device waited for its answer, the shortest first.
    pub waits: Vec<Duration>,
    /// Those whose callers do not know what became of them.
    unknown: Vec<DeviceTale>,
}

/// How it ended for one device.
enum Done {
    Told(DeviceTale, Duration),
    Unknown(DeviceTale),
}

impl Crowd {
    /// So many devices; their keys, and who behaves how, follow from `seed`.
    pub fn new(devices: u32, manners: Manners, seed: u64) -> Arc<Self> {
        Arc::new(Self {
            devices,
            manners,
            seed,
            next: AtomicU32::new(0),
        })
    }

    /// Makes the invites in `store`, which is `network`'s: with twice as many uses as devices have them.
    /// Tells of all invites that are there then.
    pub async fn invite(&self, store: &dyn Store, network: &Network) -> AdminTale {
        for number in 0..INVITES {
            let context = Context {
                store,
                network,
                moment: SystemClock.moment(),
            };
            let new = NewInvite {
                id: InviteId::of(&self.secret(number)),
                cohort: "default".parse().expect("a cohort"),
                tags: BTreeSet::new(),
                uses: self.devices.div_ceil(INVITES) * 2,
                expires_at: context.moment.now + SignedDuration::from_hours(1),
                note: String::new(),
            };
            let actor = Actor::Schedule("crowd".to_owned());
            let limits = limits(network);
            let made = control::invites::create(&context, &limits, &actor, new);
            made.await.expect("the invite is made");
        }
        let all = Range::all(items::INVITES);
        let all = store::query_all(store, SystemClock.moment().now, &all).await;
        let read = |item: Item| item.read::<Invite>().expect("an invite");
        let invites = all.expect("the store is read").into_iter().map(read);
        AdminTale {
            invites: invites.map(|invite| (invite.id.clone(), invite)).collect(),
            ..AdminTale::default()
        }
    }

    /// Enrolls all devices at `plane` with invites that were made before.
    pub async fn enroll(self: &Arc<Self>, plane: &Arc<Plane>, invites: AdminTale) -> Told {
        let mut callers = JoinSet::new();
        let began = Instant::now();
        for caller in 0..CLIENTS {
            let (crowd, plane) = (Arc::clone(self), Arc::clone(plane));
            let rng = Rng::with_seed(self.seed.wrapping_add(u64::try_from(caller).expect("few")));
            callers.spawn(async move { crowd.call(&plane, rng).await });
        }
        let mut told = Told {
            ledger: Ledger::default(),
            took: Duration::ZERO,
            waits: Vec::new(),
            unknown: Vec::new(),
        };
        told.ledger.admins.join(invites);
        while let Some(done) = callers.join_next().await {
            // What the caller saw is said here, and not only that it failed.
            let done = done.unwrap_or_else(|failed| std::panic::resume_unwind(failed.into_panic()));
            for done in done {
                match done {
                    Done::Told(tale, wait) => {
                        told.ledger.devices.push(tale);
                        told.waits.push(wait);
                    }
                    Done::Unknown(tale) => told.unknown.push(tale),
                }
            }
        }
        told.took = began.elapsed();
        told.waits.sort_unstable();
        told
    }

    /// One caller: the next device, until there is none.
    async fn call(&self, plane: &Plane, mut rng: Rng) -> Vec<Done> {
        let mut done = Vec::new();
        loop {
            let number = self.next.fetch_add(1, Ordering::Relaxed);
            if number >= self.devices {
                plane.leave();
                return done;
            }
            done.push(self.enroll_one(plane, number, &mut rng).await);
        }
    }

    async fn enroll_one(&self, plane: &Plane, number: u32, rng: &mut Rng) -> Done {
        let identity = IdentitySecret::from_seed(self.bytes(0, number));
        let set = KeySet {
            identity: identity.public(),
            tunnel: WireGuardSecret::from_random(self.bytes(1, number)).tunnel_key(),
            exit: WireGuardSecret::from_random(self.bytes(2, number)).exit_key(),
        };
        let secret = self.secret(number % INVITES);
        let request = EnrollRequest {
            invite: InviteSecret::new(&secret),
            tunnel_key: set.tunnel,
            exit_key: set.exit,
        };
        let mut tale = DeviceTale {
            id: DeviceId::of(&identity.public()),
            invite: InviteId::of(&secret),
            sets: vec![set],
            unclear: None,
            told: None,
            was_unheard: false,
        };
        let gives_up = rng.f64() < self.manners.gives_up && number < self.devices / 2;
        let hangs_up = rng.f64() < if gives_up { 0.5 } else { self.manners.hangs_up };
        let patience = LEAST_PATIENCE.mul_f64((rng.f64() * DOUBLINGS).exp2());
        let ask = Ask::post(ENROLL, &request)
            .twice(rng.f64() < self.manners.twice)
            .impatient(Some(patience).filter(|_| hangs_up));
        if gives_up {
            // What it hears is of no use to it: it may be there or not.
            let _heard = plane.ask_once(By::Key(&identity), &ask).await;
            return Done::Unknown(tale);
        }
        let began = Instant::now();
        let told = plane.ask(By::Key(&identity), &ask).await;
        let wait = began.elapsed();
        let answer: DeviceAnswer = told.must();
        assert_eq!(answer.device, tale.id, "the answer is for another device");
        tale.was_unheard = answer.enrolled_at < told.sent_at;
        tale.told = Some(answer);
        Done::Told(tale, wait)
    }

    fn secret(&self, invite: u32) -> [u8; 16] {
        let mut secret = [0; 16];
        secret.copy_from_slice(&self.bytes(3, invite)[16..]);
        secret
    }

    /// 32 bytes that only this seed, `kind` and `number` give.
    fn bytes(&self, kind: u64, number: u32) -> [u8; 32] {
        let mut bytes = [0; 32];
        bytes[..8].copy_from_slice(&self.seed.to_be_bytes());
        bytes[8..16].copy_from_slice(&kind.to_be_bytes());
        bytes[16..20].copy_from_slice(&number.to_be_bytes());
        Rng::with_seed(self.seed ^ (kind << 32) ^ u64::from(number)).fill(&mut bytes[20..]);
        bytes
    }
}

impl Told {
    /// Decides from the books what nobody was told: a device is there whole, or has left nothing.
    /// Returns how many are there.
    pub fn look_up(&mut self, books: &Books) -> usize {
        let mut there = 0;
        for mut tale in self.unknown.drain(..) {
            if books.items.contains_key(&items::device(&tale.id)) {
                there += 1;
            } else {
                tale.sets.clear();
            }
            self.ledger.devices.push(tale);
        }
        there
    }

    /// The time within which this share (0 to 1) of the devices had their answer.
    pub fn within(&self, share: f64) -> Duration {
        let last = self.waits.len().checked_sub(1).expect("somebody was told");
        #[allow(
            clippy::cast_possible_truncation,
            clippy::cast_sign_loss,
            clippy::cast_precision_loss,
            reason = "a place in a list of some thousands"
        )]
        let place = (last as f64 * share).ceil() as usize;
        self.waits[place]
    }
}

/// A network whose address pools have this prefix length.
pub fn network(prefix: u8) -> Network {
    let pool = |net: &str| format!("{net}/{prefix}").parse().expect("a network");
    let ula = "fd00:1:2::/48".parse().expect("a network");
    Network {
        id: NetworkId::from_random([7; 5]),
        pools: AddressPools::new(pool("100.64.0.0"), pool("100.96.0.0"), ula).expect("pools"),
        timing: Timing::default(),
        sealed_only: false,
    }
}

/// The prefix length of the smallest pools in which so many devices are less than two thirds: many want
/// an address that another has.
pub fn crowded(devices: u32) -> u8 {
    let indexes = (devices * 3 / 2).next_power_of_two().max(64);
    u8::try_from(32 - indexes.ilog2()).expect("at most 32")
}

/// The function `enroll` over `store`, on a port of loopback: its base URL.
pub async fn serve(store: Arc<dyn Store>, network: &Network) -> String {
    let edge = Edge {
        store,
        network: Arc::new(network.clone()),
        clock: Arc::new(SystemClock),
    };
    let app = edge::finish(
        enroll::routes(edge.clone(), ControlSecrets::default()),
        edge,
    );
    let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await;
    let listener = listener.expect("loopback has free ports");
    let url = format!("http://{}", listener.local_addr().expect("it is bound"));
    tokio::spawn(async move { axum::serve(listener, app).await.expect("it serves") });
    url
}

/// What the offline keys allow: a cohort.
fn limits(network: &Network) -> Limits {
    Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: network.id.clone(),
        front_door_hosts: Vec::new(),
        gateway_networks: Vec::new(),
        cohorts: vec!["default".parse().expect("a cohort")],
    }
}
