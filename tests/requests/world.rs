//! A small network in which the good request of every route is taken: three admins with a session
//! each, an invite, a device, a gateway in service and one that waits for its node, a catalog.

use std::collections::BTreeMap;

use api::admins::{
    ADMINS, CHALLENGES, ChallengeAnswer, NewAdmin, SESSIONS, SessionAnswer, SessionRequest,
    SetupRequest,
};
use api::enroll::{ENROLL, EnrollRequest, InviteSecret};
use api::fleet::{FLEET, SmokeBegun};
use api::register::{RegisterRequest, registration};
use control::publish::{Head, MetadataPins};
use control::{items, setup};
use http::Method;
use model::fleet::SMOKE_POOL;
use model::{
    AdminId, AdminRole, DeviceId, ExitKey, Fleet, GatewayId, InviteId, NetworkId, SetupCode,
    TunnelKey, id,
};
use rules::epochs;
use rules::planning::labels;
use serde::Serialize;
use serde_json::{Value, json};
use store::{Expect, Write};

use crate::stage::{Ask, By, Function, START, Stage, key};

// Numbers of identity keys.
pub const OWNER: u8 = 1;
pub const OPERATOR: u8 = 2;
pub const AUDITOR: u8 = 3;
/// Holds the setup code and has not used it.
pub const SECOND_OWNER: u8 = 4;
pub const NEW_ADMIN: u8 = 5;
/// Enrolled.
pub const DEVICE: u8 = 10;
pub const DEVICE_NEXT: u8 = 11;
/// Holds the invite and has not used it.
pub const NEW_DEVICE: u8 = 12;
/// In service as `g-0002`.
pub const GATEWAY: u8 = 20;
pub const GATEWAY_NEXT: u8 = 21;
/// Holds the bootstrap secret of `g-0001` and has not used it.
pub const NEW_GATEWAY: u8 = 22;
pub const STRANGER: u8 = 99;

/// The invite's secret; it has two uses, of which one is taken.
pub const INVITE: [u8; 16] = [1; 16];
pub const NEW_INVITE: [u8; 16] = [2; 16];

const FIRST_SETUP: [u8; 16] = [6; 16];

pub struct World {
    pub stage: Stage,
    /// The token of each role's admin.
    pub tokens: BTreeMap<AdminRole, String>,
    /// A challenge that the auditor was given.
    pub challenge: String,
}

impl World {
    pub async fn new() -> Self {
        let mut world = Self {
            stage: Stage::new(),
            tokens: BTreeMap::new(),
            challenge: String::new(),
        };
        world.add_admins().await;
        world.challenge = world.challenge(AUDITOR).await;
        world.admit_device().await;
        world.admit_gateways().await;
        world.publish().await;
        world.rent().await;
        world
    }

    /// What an admin of `role` asks of the function `admin`.
    pub fn by(&self, role: AdminRole, method: Method, uri: &str, body: &impl Serialize) -> Ask {
        let by = By::Token(self.tokens[&role].clone());
        ask(Function::Admin, method, uri, by, body)
    }

    /// Opens a session of the admin with the key `number`.
    pub async fn log_in(&self, number: u8) -> SessionAnswer {
        let challenge = self.challenge(number).await;
        let request = open(number, &challenge);
        self.stage.ask(&request).await.read()
    }

    async fn challenge(&self, number: u8) -> String {
        let request = signed(Function::Admin, number, CHALLENGES, &json!({}));
        let answer: ChallengeAnswer = self.stage.ask(&request).await.read();
        answer.challenge
    }

    /// The first owner is made by a code of before, so that the one of now is unused.
    async fn add_admins(&mut self) {
        let code = SetupCode {
            hash: id::setup_hash(&FIRST_SETUP),
            expires_at: jiff::Timestamp::from_second(START + 60).unwrap(),
        };
        let request = SetupRequest {
            code: InviteSecret::new(&FIRST_SETUP),
            name: "owner".to_owned(),
        };
        let edge = &self.stage.edge;
        let context = edge.context(edge.clock.moment());
        setup::setup(&context, Some(&code), key(OWNER).public(), request)
            .await
            .unwrap();
        let owner = self.log_in(OWNER).await.token.to_string();
        self.tokens.insert(AdminRole::Owner, owner);
        for (role, number) in [
            (AdminRole::Operator, OPERATOR),
            (AdminRole::Auditor, AUDITOR),
        ] {
            self.take(&self.by(
                AdminRole::Owner,
                Method::POST,
                ADMINS,
                &new_admin(number, role),
            ))
            .await;
            let token = self.log_in(number).await.token.to_string();
            self.tokens.insert(role, token);
        }
    }

    async fn admit_device(&self) {
        let invite = new_invite(&INVITE);
        self.take(&self.operator(api::admin::INVITES, &invite))
            .await;
        self.take(&signed(
            Function::Enroll,
            DEVICE,
            ENROLL,
            &enrollment(DEVICE),
        ))
        .await;
    }

    async fn admit_gateways(&self) {
        for number in [1, 2] {
            let gateway = new_gateway(number);
            self.take(&self.operator(api::admin::GATEWAYS, &gateway))
                .await;
        }
        let path = registration(&gateway(2));
        let request = register(2, GATEWAY);
        self.take(&signed(Function::Register, GATEWAY, &path, &request))
            .await;
    }

    async fn publish(&self) {
        let now = self.stage.now();
        let head = Head {
            version: 1,
            published_at: now,
            renew_at: now,
            root_version: 1,
            targets_version: 1,
            root_expires: None,
            targets_expires: None,
            catalogs: BTreeMap::new(),
            metadata: MetadataPins {
                catalogs: String::new(),
                snapshot: String::new(),
                timestamp: String::new(),
            },
            loads: BTreeMap::new(),
        };
        let timing = &self.stage.edge.network.timing;
        let mut drawn = 0;
        let first = epochs::advance(None, 0, timing, now, || {
            drawn += 1;
            [drawn; 32]
        });
        let writes = vec![
            Write::put(items::head(), Expect::Absent, &head),
            Write::put(items::epochs(), Expect::Absent, &first.unwrap().epochs),
        ];
        let store = &self.stage.edge.store;
        store.commit(now, writes).await.unwrap();
    }

    /// A fleet is applied, and a trial of an egress gateway has begun; nothing is rented yet.
    async fn rent(&self) {
        let body = json!({"expected_version": 0, "fleet": fleet(2)});
        self.take(&self.by(AdminRole::Operator, Method::PUT, FLEET, &body))
            .await;
        let hetzner = "hetzner".parse().unwrap();
        let smoke = json!({"mode": "smoke", "reason": "a trial"});
        let mode = api::fleet::mode(&hetzner);
        self.take(&self.by(AdminRole::Operator, Method::PUT, &mode, &smoke))
            .await;
        let begin = Ask {
            function: Function::Reconcile,
            ..self.operator(&api::fleet::smoke(&hetzner), &json!({"role": "egress"}))
        };
        let trial: SmokeBegun = self.stage.ask(&begin).await.read();
        assert_eq!(trial.gateway, Self::trial());
    }

    /// The gateway of the trial that has begun.
    pub fn trial() -> GatewayId {
        let pool = SMOKE_POOL.parse().unwrap();
        labels::node_id(&NetworkId::from_random([7; 5]), &pool, 0)
    }

    fn operator(&self, uri: &str, body: &impl Serialize) -> Ask {
        self.by(AdminRole::Operator, Method::POST, uri, body)
    }

    async fn take(&self, ask: &Ask) {
        self.stage.ask(ask).await.read::<Value>();
    }
}

pub fn ask(
    function: Function,
    method: Method,
    uri: &str,
    by: By,
    body: &(impl Serialize + ?Sized),
) -> Ask {
    Ask {
        function,
        method,
        uri: uri.to_owned(),
        by,
        body: serde_json::to_vec(body).unwrap(),
    }
}

/// A `POST` that is signed with the key `number`.
pub fn signed(function: Function, number: u8, uri: &str, body: &(impl Serialize + ?Sized)) -> Ask {
    ask(function, Method::POST, uri, By::Key(number), body)
}

/// Trades a challenge for a session.
pub fn open(number: u8, challenge: &str) -> Ask {
    let request = SessionRequest {
        challenge: challenge.to_owned(),
    };
    signed(Function::Admin, number, SESSIONS, &request)
}

/// A fleet of so many ingress gateways and one egress gateway.
pub fn fleet(ingress: u32) -> Value {
    let pool = |role: &str, count: u32| {
        json!({
            "role": role, "provider": "hetzner", "regions": ["fsn1"], "sizes": ["cx23"],
            "image": "debian-13", "count": count, "cohorts": ["default"],
        })
    };
    json!({
        "schema": Fleet::SCHEMA, "currency": "EUR", "most_per_month": "50", "most_changes": 10,
        "agent": {"x86": {"url": "https://front.example/agent", "sha256": "ab".repeat(32)}},
        "pools": {"in": pool("ingress", ingress), "out": pool("egress", 1)},
    })
}

pub fn device(number: u8) -> DeviceId {
    DeviceId::of(&key(number).public())
}

pub fn admin_id(number: u8) -> AdminId {
    AdminId::of(&key(number).public())
}

pub fn gateway(number: u8) -> GatewayId {
    format!("g-{number:04}").parse().unwrap()
}

pub fn tunnel_key(number: u8) -> TunnelKey {
    TunnelKey::from_bytes([number; 32])
}

pub fn exit_key(number: u8) -> ExitKey {
    ExitKey::from_bytes([number + 100; 32])
}

pub fn new_admin(number: u8, role: AdminRole) -> NewAdmin {
    NewAdmin {
        key: key(number).public(),
        name: format!("admin {number}"),
        role,
    }
}

pub fn new_invite(secret: &[u8]) -> Value {
    json!({
        "id": InviteId::of(secret), "cohort": "default", "tags": ["staff"], "uses": 2,
        "expires_at": jiff::Timestamp::from_second(START + 7200).unwrap(), "note": "by hand",
    })
}

pub fn enrollment(number: u8) -> EnrollRequest {
    EnrollRequest {
        invite: InviteSecret::new(&INVITE),
        tunnel_key: tunnel_key(number),
        exit_key: exit_key(number),
    }
}

/// The gateway's bootstrap secret has one byte, again and again: its number.
pub fn new_gateway(number: u8) -> Value {
    json!({
        "id": gateway(number), "role": "ingress", "region": "home",
        "endpoint": format!("127.0.0.1:{}", 51820 + u32::from(number)),
        "pool": "ingress", "cohorts": ["default"], "bootstrap_hash": id::bootstrap_hash(&[number; 16]),
        "bootstrap_expires_at": jiff::Timestamp::from_second(START + 3600).unwrap(),
    })
}

/// What the node with the key `key` asks to become the gateway `number`.
pub fn register(number: u8, key: u8) -> RegisterRequest {
    RegisterRequest {
        secret: InviteSecret::new(&[number; 16]),
        tunnel_key: tunnel_key(key),
    }
}
