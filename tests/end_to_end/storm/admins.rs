//! Admins in the storm: they make and withdraw invites, revoke devices, and want keys rotated.

use std::sync::{Arc, Mutex};

use api::admin::{
    DEVICES, GATEWAYS, INVITES, List, NewInvite, device_rotation, gateway_rotation, revocation,
    withdrawal,
};
use api::admins::{CHALLENGES, ChallengeAnswer, SESSIONS, SessionAnswer, SessionRequest, Token};
use api::{IdentitySecret, Kind};
use fastrand::Rng;
use jiff::SignedDuration;
use model::{Device, DeviceId, Gateway, GatewayId, Invite, InviteId};
use serde::de::DeserializeOwned;

use harness::ledger::{AdminTale, Want};
use harness::plane::{Ask, By, Plane, Told};

/// Why a lock is never poisoned.
const HELD: &str = "nobody panics while holding it";
/// How often a login is begun anew before something else must be wrong.
const MOST_LOGINS: u32 = 100;

/// The secret of an invite.
pub type InviteSecret = [u8; api::contact::SECRET_BYTES];

/// What callers know of each other.
#[derive(Default)]
pub struct Shared {
    /// Devices that have asked to be enrolled.
    devices: Mutex<Vec<DeviceId>>,
    /// Gateways that have registered.
    gateways: Mutex<Vec<GatewayId>>,
    /// Invites, the first with a use for everybody.
    invites: Mutex<Vec<InviteSecret>>,
}

impl Shared {
    /// A device asks to be enrolled.
    pub fn add_device(&self, id: &DeviceId) {
        self.devices.lock().expect(HELD).push(id.clone());
    }

    /// A gateway has registered.
    pub fn add_gateway(&self, id: &GatewayId) {
        self.gateways.lock().expect(HELD).push(id.clone());
    }

    /// Some invite: half the time the one with a use for everybody.
    pub fn invite(&self, rng: &mut Rng) -> InviteSecret {
        let invites = self.invites.lock().expect(HELD);
        if rng.bool() {
            return invites[0];
        }
        *rng.choice(invites.iter()).expect("the first is there")
    }

    fn device(&self, rng: &mut Rng) -> Option<DeviceId> {
        rng.choice(self.devices.lock().expect(HELD).iter()).cloned()
    }

    fn gateway(&self, rng: &mut Rng) -> Option<GatewayId> {
        rng.choice(self.gateways.lock().expect(HELD).iter())
            .cloned()
    }
}

/// An admin of the network, who logs in again with every run of the program.
pub struct Admin {
    plane: Arc<Plane>,
    key: IdentitySecret,
    session: Option<(u32, Token)>,
    /// What was done.
    pub tale: AdminTale,
}

impl Admin {
    /// The admin who holds `key`.
    pub fn new(plane: Arc<Plane>, key: IdentitySecret) -> Self {
        Self {
            plane,
            key,
            session: None,
            tale: AdminTale::default(),
        }
    }

    /// Asks in a session.
    pub async fn ask(&mut self, ask: &Ask) -> Told {
        let life = self.plane.life();
        let token = match &self.session {
            Some((of, token)) if *of == life => token.clone(),
            _ => {
                let token = self.log_in().await;
                self.session = Some((life, token.clone()));
                token
            }
        };
        self.plane.ask(By::Session(&token), ask).await
    }

    /// Reads a whole list, part by part.
    pub async fn list<T: DeserializeOwned>(&mut self, path: &str) -> Vec<T> {
        let mut items = Vec::new();
        let mut after = String::new();
        loop {
            let told = self.ask(&Ask::get(format!("{path}{after}"))).await;
            let list: List<T> = told.must();
            items.extend(list.items);
            let Some(next) = list.next else {
                return items;
            };
            let mark = if path.contains('?') { '&' } else { '?' };
            after = format!("{mark}after={next}");
        }
    }

    /// Makes an invite for so many.
    pub async fn invite(&mut self, shared: &Shared, rng: &mut Rng, uses: u32) {
        let mut secret = InviteSecret::default();
        rng.fill(&mut secret);
        let new = NewInvite {
            id: InviteId::of(&secret),
            cohort: "default".parse().expect("a cohort"),
            tags: std::collections::BTreeSet::new(),
            uses,
            expires_at: Plane::now() + SignedDuration::from_hours(24),
            note: String::new(),
        };
        let ask = Ask::post(INVITES, &new).twice(rng.u8(..) < 32);
        let invite: Invite = self.ask(&ask).await.must();
        self.tale.invites.insert(invite.id.clone(), invite);
        shared.invites.lock().expect(HELD).push(secret);
    }

    /// Trades a challenge for a session. A challenge is good once: where the answer to the trade was
    /// lost, a new one is needed.
    async fn log_in(&mut self) -> Token {
        for _ in 0..MOST_LOGINS {
            let by = By::Key(&self.key);
            let ask = Ask::post(CHALLENGES, &serde_json::json!({}));
            let ChallengeAnswer { challenge, .. } = self.plane.ask(by, &ask).await.must();
            let ask = Ask::post(SESSIONS, &SessionRequest { challenge });
            let told = self.plane.ask(by, &ask).await;
            match told.read::<SessionAnswer>() {
                Ok(session) => {
                    self.tale.sessions.push(session.token.clone());
                    return session.token;
                }
                Err(problem) => {
                    told.refused_as(problem, &[Kind::ChallengeRefused]);
                    assert!(told.lost > 0, "a fresh challenge was refused: {problem}");
                }
            }
        }
        panic!("{MOST_LOGINS} logins were cut off");
    }
}

/// An admin at work, until the storm is over.
pub async fn work(mut admin: Admin, shared: Arc<Shared>, mut rng: Rng) -> AdminTale {
    while !admin.plane.is_over() {
        match rng.u8(..100) {
            0..15 => {
                let uses = rng.u32(4..40);
                admin.invite(&shared, &mut rng, uses).await;
            }
            15..20 => withdraw(&mut admin, &mut rng).await,
            20..45 => {
                if let Some(id) = shared.device(&mut rng) {
                    revoke(&mut admin, &id, rng.u8(..) < 32).await;
                }
            }
            45..75 => {
                if let Some(id) = shared.device(&mut rng) {
                    want_device(&mut admin, &id).await;
                }
            }
            75..90 => {
                if let Some(id) = shared.gateway(&mut rng) {
                    want_gateway(&mut admin, &id).await;
                }
            }
            90..95 => look::<Device>(&mut admin, DEVICES).await,
            _ => look::<Gateway>(&mut admin, GATEWAYS).await,
        }
    }
    admin.tale
}

async fn withdraw(admin: &mut Admin, rng: &mut Rng) {
    let Some(id) = rng.choice(admin.tale.invites.keys()).cloned() else {
        return;
    };
    let told = admin
        .ask(&Ask::post(withdrawal(&id), &serde_json::json!({})))
        .await;
    let at = told.must::<Invite>().withdrawn_at;
    let at = at.expect("a withdrawn invite tells since when");
    let before = admin.tale.withdrawn.insert(id, at);
    assert!(before.is_none_or(|before| before == at));
}

async fn revoke(admin: &mut Admin, id: &DeviceId, twice: bool) {
    let told = admin
        .ask(&Ask::post(revocation(id), &serde_json::json!({})).twice(twice))
        .await;
    match told.read::<Device>() {
        Ok(device) => {
            let at = device
                .revoked_at
                .expect("a revoked device tells since when");
            let before = admin.tale.revoked.insert(id.clone(), at);
            assert!(
                before.is_none_or(|before| before == at),
                "{id}: revoked twice"
            );
        }
        // It asked to be enrolled, and is not, or not yet.
        Err(problem) => told.refused_as(problem, &[Kind::DeviceUnknown]),
    }
}

async fn want_device(admin: &mut Admin, id: &DeviceId) {
    let told = admin
        .ask(&Ask::post(device_rotation(id), &serde_json::json!({})))
        .await;
    let at = match told.read::<Device>() {
        Ok(device) => device.rotation_wanted_at,
        Err(problem) => {
            told.refused_as(problem, &[Kind::DeviceUnknown, Kind::DeviceRevoked]);
            None
        }
    };
    note_want(admin, id.to_string(), at, &told);
}

async fn want_gateway(admin: &mut Admin, id: &GatewayId) {
    let told = admin
        .ask(&Ask::post(gateway_rotation(id), &serde_json::json!({})))
        .await;
    let at = told.must::<Gateway>().rotation_wanted_at;
    assert!(at.is_some(), "{id} is to rotate, and does not show it");
    note_want(admin, id.to_string(), at, &told);
}

fn note_want(admin: &mut Admin, subject: String, at: Option<jiff::Timestamp>, told: &Told) {
    let lost = told.lost;
    admin.tale.wants.push(Want { subject, at, lost });
}

/// Reads a list, and keeps nothing of it.
async fn look<T: DeserializeOwned>(admin: &mut Admin, path: &str) {
    let _seen: Vec<T> = admin.list(path).await;
}
