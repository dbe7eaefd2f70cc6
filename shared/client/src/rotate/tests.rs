//! Against the real function `enroll`, over a network that loses what it is told to lose.

use std::collections::VecDeque;
use std::path::PathBuf;
use std::sync::atomic::{AtomicU8, Ordering};
use std::sync::{Arc, Mutex};

use api::admin::NewInvite;
use api::sealed::ControlSecrets;
use axum::Router;
use axum::body::{Body, Bytes};
use axum::extract::{Request, State};
use axum::middleware::{self, Next};
use axum::response::Response;
use control::{Moment, devices};
use edge::Edge;
use futures_util::stream;
use jiff::SignedDuration;
use model::{
    Actor, AddressPools, AdminId, DeviceId, IdentityKey, InviteId, Limits, Network, Timing,
};
use store::MemoryStore;
use tokio::sync::Notify;

use super::*;
use crate::doors::Options;
use crate::fixture::{Hand, NOW, Repository, random, serve};
use crate::refresh::{Asking, refresh};
use crate::{Clock, Web, enroll, file};

/// What happens to a rotation's request.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
enum Do {
    /// It does not arrive.
    LoseRequest,
    /// It arrives, and the connection ends in the middle of the answer.
    LoseAnswer,
    /// It does not arrive, and nothing else happens.
    HoldRequest,
    /// It arrives, and the answer is on its way for ever.
    HoldAnswer,
}

/// The way to the control plane.
#[derive(Clone, Default)]
struct Way {
    todo: Arc<Mutex<VecDeque<Do>>>,
    /// The bodies of all rotations that were sent.
    sent: Arc<Mutex<Vec<Vec<u8>>>>,
    /// Something is held.
    held: Arc<Notify>,
}

async fn way(State(way): State<Way>, request: Request, next: Next) -> Response {
    if !request.uri().path().ends_with("/keys") {
        return next.run(request).await;
    }
    let (parts, body) = request.into_parts();
    let body = axum::body::to_bytes(body, 100_000).await.unwrap();
    way.sent.lock().unwrap().push(body.to_vec());
    let todo = way.todo.lock().unwrap().pop_front();
    let request = Request::from_parts(parts, Body::from(body));
    match todo {
        None => next.run(request).await,
        Some(Do::LoseRequest) => cut(),
        Some(Do::LoseAnswer) => {
            assert!(next.run(request).await.status().is_success());
            cut()
        }
        Some(Do::HoldRequest) => {
            way.held.notify_one();
            std::future::pending().await
        }
        Some(Do::HoldAnswer) => {
            assert!(next.run(request).await.status().is_success());
            way.held.notify_one();
            std::future::pending().await
        }
    }
}

/// An answer that breaks off.
fn cut() -> Response {
    let broken = stream::once(async { Err::<Bytes, _>(std::io::Error::other("cut")) });
    Response::new(Body::from_stream(broken))
}

/// The time of both sides.
struct Time {
    hand: Arc<Hand>,
    moments: AtomicU8,
}

impl edge::Clock for Time {
    fn moment(&self) -> Moment {
        let number = self.moments.fetch_add(1, Ordering::Relaxed);
        Moment::new(self.hand.now(), [number; 32])
    }
}

/// A control plane with one enrolled device, and that device's file.
struct World {
    edge: Edge,
    way: Way,
    hand: Arc<Hand>,
    web: Web,
    folder: tempfile::TempDir,
}

impl World {
    async fn new() -> Self {
        let hand = Arc::new(Hand::at(NOW));
        let edge = edge(hand.clone());
        let way = Way::default();
        let function = edge::finish(
            ::enroll::routes(edge.clone(), ControlSecrets::default()),
            edge.clone(),
        );
        let router: Router = function.layer(middleware::from_fn_with_state(way.clone(), self::way));
        let invite = Repository::default().invite(&[], &[serve(router).await]);
        let new = NewInvite {
            id: InviteId::of(&invite.secret),
            cohort: "default".parse().unwrap(),
            tags: std::collections::BTreeSet::new(),
            uses: 1,
            expires_at: NOW + SignedDuration::from_hours(1),
            note: String::new(),
        };
        let context = edge.context(edge.clock.moment());
        control::invites::create(&context, &limits(), &operator(), new)
            .await
            .unwrap();
        let world = Self {
            edge,
            way,
            hand,
            web: Web::new().unwrap(),
            folder: tempfile::tempdir().unwrap(),
        };
        let file = world.file().await;
        enroll::enroll(&file, &invite, &random(), &world.context())
            .await
            .unwrap();
        world
    }

    fn path(&self) -> PathBuf {
        self.folder.path().join("device.json")
    }

    async fn file(&self) -> Locked {
        Locked::open(&self.path(), crate::fixture::PATIENCE)
            .await
            .unwrap()
    }

    fn saved(&self) -> Device {
        file::read(&self.path()).unwrap()
    }

    fn context(&self) -> Context<'_> {
        Context {
            web: &self.web,
            clock: self.hand.as_ref(),
            options: Options::default(),
        }
    }

    /// `postern rotate`, as another process with other randomness.
    async fn rotate(&self) -> Result<Rotated, Error> {
        let file = self.file().await;
        let mut device = file.read()?;
        let random = drawn();
        rotate(&file, &mut device, &random, &self.context()).await
    }

    /// `postern sync`.
    async fn sync(&self) -> Option<Result<Rotated, Error>> {
        let file = self.file().await;
        let mut device = file.read().unwrap();
        let (random, context) = (drawn(), self.context());
        let refreshed = refresh(&file, &mut device, Asking::WhenDue, &random, &context).await;
        refreshed.unwrap().rotation
    }

    fn do_next(&self, todo: &[Do]) {
        self.way.todo.lock().unwrap().extend(todo);
    }

    fn pass(&self, hours: i64) {
        let now = self.hand.now() + SignedDuration::from_hours(hours);
        self.hand.set(now);
    }

    /// The device as the control plane knows it.
    async fn known(&self) -> model::Device {
        let context = self.edge.context(self.edge.clock.moment());
        devices::list(&context, None).await.unwrap().0.remove(0)
    }

    /// Whether the control plane answers this key.
    async fn answers(&self, key: IdentityKey) -> bool {
        let context = self.edge.context(self.edge.clock.moment());
        let id = self.saved().id();
        devices::show(&context, key, &id).await.is_ok()
    }

    /// Asserts that the file and the control plane agree on keys other than `first`, that these and,
    /// while the grace lasts, no other are answered, and that the device kept its place.
    async fn assert_rotated(&self, first: &Device, what: &str) {
        let (saved, known) = (self.saved(), self.known().await);
        assert_ne!(saved.identity, first.identity, "{what}");
        assert_eq!(saved.identity.public(), known.identity_key, "{what}");
        assert_eq!(saved.tunnel.tunnel_key(), known.tunnel_key, "{what}");
        assert_eq!(saved.exit.exit_key(), known.exit_key, "{what}");
        assert_eq!(saved.next_keys, None, "{what}");
        assert_eq!(saved.id(), first.id(), "{what}");
        assert_eq!(
            saved.enrolled().unwrap().addresses,
            first.enrolled().unwrap().addresses
        );
        let sent = self.way.sent.lock().unwrap().clone();
        assert!(sent.windows(2).all(|two| two[0] == two[1]), "{what}");

        self.pass(1000);
        assert!(!self.answers(first.identity.public()).await, "{what}");
        assert!(self.answers(saved.identity.public()).await, "{what}");
    }
}

/// Randomness that is another at each call.
fn drawn() -> [u8; RANDOM_BYTES] {
    static NEXT: AtomicU8 = AtomicU8::new(100);
    let salt = NEXT.fetch_add(1, Ordering::Relaxed);
    random().map(|byte| byte ^ salt)
}

fn edge(hand: Arc<Hand>) -> Edge {
    let pool = |text: &str| text.parse().unwrap();
    let ula = "fd00:1:2::/48".parse().unwrap();
    let network = Network {
        id: "n-abcdefgh".parse().unwrap(),
        pools: AddressPools::new(pool("10.0.0.0/24"), pool("10.0.1.0/24"), ula).unwrap(),
        timing: Timing::default(),
        sealed_only: false,
    };
    Edge {
        store: Arc::new(MemoryStore::new()),
        network: Arc::new(network),
        clock: Arc::new(Time {
            hand,
            moments: AtomicU8::new(0),
        }),
    }
}

fn limits() -> Limits {
    Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: "n-abcdefgh".parse().unwrap(),
        front_door_hosts: Vec::new(),
        gateway_networks: Vec::new(),
        cohorts: vec!["default".parse().unwrap()],
    }
}

fn operator() -> Actor {
    Actor::Admin(AdminId::of(&IdentityKey::from_bytes([9; 32])))
}

#[tokio::test]
async fn a_device_takes_new_keys_and_keeps_its_place() {
    let world = World::new().await;
    let first = world.saved();

    let rotated = world.rotate().await.unwrap();

    let end = NOW + SignedDuration::from_hours(48);
    assert_eq!(rotated.previous_until, Some(end));
    assert!(!rotated.resumed);
    assert!(world.answers(first.identity.public()).await, "the grace");
    world.assert_rotated(&first, "no fault").await;
}

/// Where an attempt ends.
#[derive(Clone, Copy, Debug)]
enum Ends {
    /// The network did this, and the program said so.
    Told(Do),
    /// The network did this, and the program was killed.
    Killed(Do),
    /// The answer came, and the program was killed before it wrote it down.
    Unwritten,
}

/// How the device goes on.
#[derive(Clone, Copy, Debug)]
enum GoesOn {
    /// By `postern rotate`, so many hours later.
    Rotate(i64),
    /// By `postern sync`, so many hours later.
    Sync(i64),
    /// By attempts whose requests and answers are lost, too, and then one that succeeds.
    Unlucky,
}

async fn attempt(world: &World, ends: Ends) {
    match ends {
        Ends::Told(what) => {
            world.do_next(&[what]);
            let error = world.rotate().await.unwrap_err();
            assert_eq!(error.kind(), "unreachable", "{error}");
        }
        Ends::Killed(what) => {
            world.do_next(&[what]);
            tokio::select! {
                done = world.rotate() => panic!("it is held: {done:?}"),
                () = world.way.held.notified() => {}
            }
        }
        Ends::Unwritten => {
            world.do_next(&[Do::LoseAnswer]);
            world.rotate().await.unwrap_err();
            let before = std::fs::read(world.path()).unwrap();
            world.rotate().await.unwrap();
            std::fs::write(world.path(), before).unwrap();
        }
    }
}

async fn go_on(world: &World, how: GoesOn) {
    match how {
        GoesOn::Rotate(hours) => {
            world.pass(hours);
            assert!(world.rotate().await.unwrap().resumed);
        }
        GoesOn::Sync(hours) => {
            world.pass(hours);
            assert!(world.sync().await.unwrap().unwrap().resumed);
        }
        GoesOn::Unlucky => {
            world.do_next(&[Do::LoseAnswer, Do::LoseRequest, Do::LoseAnswer]);
            for _ in 0..3 {
                world.rotate().await.unwrap_err();
            }
            world.rotate().await.unwrap();
        }
    }
}

#[tokio::test]
async fn wherever_an_attempt_ends_the_next_one_ends_well() {
    let ends = [
        Ends::Told(Do::LoseRequest),
        Ends::Told(Do::LoseAnswer),
        Ends::Killed(Do::HoldRequest),
        Ends::Killed(Do::HoldAnswer),
        Ends::Unwritten,
    ];
    // The default grace has 48 hours.
    let goes_on = [
        GoesOn::Rotate(0),
        GoesOn::Rotate(47),
        GoesOn::Rotate(1000),
        GoesOn::Sync(0),
        GoesOn::Sync(1000),
        GoesOn::Unlucky,
    ];
    for ends in ends {
        for how in goes_on {
            let world = World::new().await;
            let first = world.saved();

            attempt(&world, ends).await;
            go_on(&world, how).await;

            world
                .assert_rotated(&first, &format!("{ends:?}, {how:?}"))
                .await;
        }
    }
}

#[tokio::test]
async fn a_device_whose_rotation_is_undecided_is_answered_whichever_key_it_holds() {
    for what in [Do::LoseRequest, Do::LoseAnswer] {
        let world = World::new().await;
        attempt(&world, Ends::Told(what)).await;
        world.pass(47);

        let device = world.saved();
        let told = contact(&device, &world.context()).await.unwrap();

        let next = device.next_keys.unwrap().identity.public();
        let stands = [device.identity.public(), next];
        assert!(stands.contains(&told.identity_key), "{what:?}");
    }
}

#[tokio::test]
async fn sync_takes_new_keys_when_an_operator_wants_them_and_once() {
    let world = World::new().await;
    let first = world.saved();
    let context = world.edge.context(world.edge.clock.moment());
    devices::rotation::want(&context, &operator(), &first.id())
        .await
        .unwrap();

    // Contact was made at enrollment, and is not due yet.
    assert!(world.sync().await.is_none());
    world.pass(6);
    assert!(world.sync().await.unwrap().is_ok());
    world.pass(6);
    assert!(world.sync().await.is_none());

    world.assert_rotated(&first, "wanted").await;
}

#[tokio::test]
async fn keys_that_another_holds_are_given_up_and_others_made() {
    let world = World::new().await;
    let first = world.saved();
    attempt(&world, Ends::Told(Do::LoseRequest)).await;
    let taken = world.saved().next_keys.unwrap();
    world.take(&taken).await;

    let error = world.rotate().await.unwrap_err();
    assert_eq!(error.kind(), "key-in-use", "{error}");
    world.way.sent.lock().unwrap().clear();
    world.rotate().await.unwrap();

    assert_ne!(world.saved().tunnel, taken.tunnel);
    world.assert_rotated(&first, "taken").await;
}

#[tokio::test]
async fn of_two_copies_of_a_device_file_the_one_that_rotated_goes_on() {
    let world = World::new().await;
    let first = world.saved();
    let copy = std::fs::read(world.path()).unwrap();
    world.rotate().await.unwrap();
    let rotated = std::fs::read(world.path()).unwrap();

    std::fs::write(world.path(), copy).unwrap();
    let error = world.rotate().await.unwrap_err();
    assert_eq!(error.kind(), "device-conflict", "{error}");
    assert_eq!(world.saved().next_keys, None, "they would never stand");
    assert_eq!(world.saved().identity, first.identity);

    std::fs::write(world.path(), rotated).unwrap();
    world.way.sent.lock().unwrap().clear();
    world.assert_rotated(&first, "the copy that rotated").await;
}

impl World {
    /// Lets somebody else hold the WireGuard keys of `keys`.
    async fn take(&self, keys: &Keys) {
        let id = DeviceId::of(&IdentityKey::from_bytes([5; 32]));
        let take = |key: &[u8; 32]| {
            let taken = control::items::Taken::by(&id);
            store::Write::put(
                control::items::wireguard_key(key),
                store::Expect::Absent,
                &taken,
            )
        };
        let writes = vec![
            take(keys.tunnel.tunnel_key().as_bytes()),
            take(keys.exit.exit_key().as_bytes()),
        ];
        self.edge.store.commit(NOW, writes).await.unwrap();
    }
}
