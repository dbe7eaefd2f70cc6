//! Devices in the storm: they enroll, rotate their keys, ask for their record, and try what is
//! not allowed.

use std::sync::Arc;

use api::enroll::{DeviceAnswer, ENROLL, EnrollRequest, InviteSecret, device};
use api::rotation::{RotateDevice, device_keys};
use api::{IdentitySecret, Kind, WireGuardSecret};
use fastrand::Rng;
use model::{DeviceId, DeviceState, InviteId};

use super::admins::Shared;
use harness::ledger::{DeviceTale, KeySet};
use harness::plane::{Ask, By, Plane};

/// The most devices of one worker; more only where all of these were shut out.
const MOST: usize = 25;

/// Somebody with many devices.
struct Owner {
    plane: Arc<Plane>,
    shared: Arc<Shared>,
    rng: Rng,
    devices: Vec<Own>,
}

/// One of their devices.
struct Own {
    tale: DeviceTale,
    /// The key that signs now.
    identity: IdentitySecret,
    /// The request that it was enrolled with, and who signed it.
    first: (IdentitySecret, EnrollRequest),
    /// Whether it may still use the network, as far as it knows.
    is_in: bool,
}

/// Devices at work, until the storm is over.
pub async fn work(plane: Arc<Plane>, shared: Arc<Shared>, rng: Rng) -> Vec<DeviceTale> {
    let mut owner = Owner {
        plane,
        shared,
        rng,
        devices: Vec::new(),
    };
    while !owner.plane.is_over() {
        let all = 0..owner.devices.len();
        let is_in = all.filter(|number| owner.devices[*number].is_in);
        let some = owner.rng.choice(is_in.collect::<Vec<_>>());
        let is_full = owner.devices.len() >= MOST;
        match (some, owner.rng.u8(..100)) {
            (None, _) => owner.enroll().await,
            (Some(_), 0..30) if !is_full => owner.enroll().await,
            (Some(number), 0..65) => owner.rotate(number).await,
            (Some(number), 65..85) => owner.ask(number).await,
            (Some(number), 85..93) => owner.enroll_again(number).await,
            (Some(number), _) => owner.rotate_to_the_key_of_another(number).await,
        }
    }
    owner.devices.into_iter().map(|own| own.tale).collect()
}

impl Owner {
    /// A device asks to be let in, now and then with a key that another holds.
    async fn enroll(&mut self) {
        let (identity, mut set) = self.new_keys();
        let stolen = self.stolen().filter(|_| self.rng.u8(..) < 16);
        if let Some(stolen) = stolen {
            set.tunnel = stolen.tunnel;
        }
        let secret = self.shared.invite(&mut self.rng);
        let request = EnrollRequest {
            invite: InviteSecret::new(&secret),
            tunnel_key: set.tunnel,
            exit_key: set.exit,
        };
        let id = DeviceId::of(&identity.public());
        self.shared.add_device(&id);
        let ask = Ask::post(ENROLL, &request).twice(self.rng.u8(..) < 32);
        let told = self.plane.ask(By::Key(&identity), &ask).await;

        let mut own = Own {
            tale: DeviceTale {
                id,
                invite: InviteId::of(&secret),
                sets: vec![set],
                unclear: None,
                told: None,
                was_unheard: false,
            },
            first: (identity.clone(), request),
            identity,
            is_in: true,
        };
        match told.read::<DeviceAnswer>() {
            Ok(answer) => {
                assert!(stolen.is_none(), "{answer:?} was let in with another's key");
                own.tale.was_unheard = answer.enrolled_at < told.sent_at;
                own.hear(answer);
            }
            Err(problem) if problem.is(Kind::DeviceRevoked) => {
                assert!(told.lost > 0, "refused before it was let in: {problem}");
                own.is_in = false;
            }
            Err(problem) => {
                let kinds = [Kind::InviteUsedUp, Kind::InviteWithdrawn, Kind::KeyInUse];
                let kinds = &kinds[..if stolen.is_some() { 3 } else { 2 }];
                told.refused_as(problem, kinds);
                own.tale.sets.clear();
                own.is_in = false;
            }
        }
        self.devices.push(own);
    }

    /// A device takes new keys.
    async fn rotate(&mut self, number: usize) {
        let (identity, set) = self.new_keys();
        let twice = self.rng.u8(..) < 32;
        let own = &mut self.devices[number];
        let ask = own.rotation(&self.plane, set).twice(twice);
        let told = self.plane.ask(By::Key(&identity), &ask).await;
        match told.read::<DeviceAnswer>() {
            Ok(answer) => {
                // A copy that comes later may be told of a later wish.
                let is_first = told.lost == 0 && !twice;
                let wanted = answer.rotation_wanted_at.filter(|_| is_first);
                assert_eq!(wanted, None, "{}: it has rotated", own.tale.id);
                own.tale.sets.push(set);
                own.identity = identity;
                own.hear(answer);
            }
            Err(problem) => {
                told.refused_as(problem, &[Kind::DeviceRevoked]);
                own.is_in = false;
                own.tale.unclear = (told.lost > 0).then_some(set);
            }
        }
    }

    /// A device tries to take a key that another holds or held.
    async fn rotate_to_the_key_of_another(&mut self, number: usize) {
        let (identity, mut set) = self.new_keys();
        let Some(stolen) = self.stolen() else { return };
        set.exit = stolen.exit;
        let own = &mut self.devices[number];
        let ask = own.rotation(&self.plane, set);
        let told = self.plane.ask(By::Key(&identity), &ask).await;
        let Err(problem) = told.read::<DeviceAnswer>() else {
            panic!("{} was given a key that is taken", own.tale.id);
        };
        told.refused_as(problem, &[Kind::KeyInUse, Kind::DeviceRevoked]);
        own.is_in = !problem.is(Kind::DeviceRevoked);
    }

    /// A device asks what the control plane knows of it.
    async fn ask(&mut self, number: usize) {
        let own = &mut self.devices[number];
        let ask = Ask::get(device(&own.tale.id));
        let told = self.plane.ask(By::Key(&own.identity), &ask).await;
        match told.read::<DeviceAnswer>() {
            Ok(answer) => own.hear(answer),
            Err(problem) => {
                told.refused_as(problem, &[Kind::DeviceRevoked]);
                own.is_in = false;
            }
        }
    }

    /// A device's first request arrives once more, long after it was answered.
    async fn enroll_again(&mut self, number: usize) {
        let own = &mut self.devices[number];
        let (identity, request) = &own.first;
        let ask = Ask::post(ENROLL, request);
        let told = self.plane.ask(By::Key(identity), &ask).await;
        let rotated = own.tale.sets.len() > 1;
        match told.read::<DeviceAnswer>() {
            Ok(answer) => {
                assert!(!rotated, "{}: an old request was taken", own.tale.id);
                own.hear(answer);
            }
            Err(problem) if problem.is(Kind::DeviceRevoked) => own.is_in = false,
            Err(problem) => {
                told.refused_as(problem, &[Kind::DeviceConflict]);
                assert!(rotated, "{}: {problem}", own.tale.id);
            }
        }
    }

    fn new_keys(&mut self) -> (IdentitySecret, KeySet) {
        let mut random = || {
            let mut bytes = [0; 32];
            self.rng.fill(&mut bytes);
            bytes
        };
        let identity = IdentitySecret::from_seed(random());
        let set = KeySet {
            identity: identity.public(),
            tunnel: WireGuardSecret::from_random(random()).tunnel_key(),
            exit: WireGuardSecret::from_random(random()).exit_key(),
        };
        (identity, set)
    }

    /// Keys that are taken for good.
    fn stolen(&mut self) -> Option<KeySet> {
        let sets = self.devices.iter().flat_map(|own| &own.tale.sets);
        self.rng.choice(sets.collect::<Vec<_>>()).copied()
    }
}

impl Own {
    fn rotation(&self, plane: &Plane, set: KeySet) -> Ask {
        let id = &self.tale.id;
        let request = RotateDevice::new(
            &plane.network.id,
            id,
            &self.identity,
            set.identity,
            (set.tunnel, set.exit),
        );
        Ask::post(device_keys(id), &request)
    }

    /// Takes an answer, which must tell what every answer before it told.
    fn hear(&mut self, answer: DeviceAnswer) {
        let id = &self.tale.id;
        let set = KeySet {
            identity: answer.identity_key,
            tunnel: answer.tunnel_key,
            exit: answer.exit_key,
        };
        assert_eq!(&answer.device, id);
        assert_eq!(
            Some(&set),
            self.tale.sets.last(),
            "{id} was told other keys"
        );
        assert_eq!(answer.state, DeviceState::Active);
        if let Some(told) = &self.tale.told {
            assert_eq!(answer.addresses, told.addresses, "{id}");
            assert_eq!(answer.enrolled_at, told.enrolled_at, "{id}");
        }
        self.tale.told = Some(answer);
    }
}
