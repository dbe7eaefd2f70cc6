//! Gateways in the storm: they register, send heartbeats in step, rotate their keys and pull their
//! rosters.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use api::admin::{GATEWAYS, NewGateway};
use api::enroll::InviteSecret;
use api::register::{
    HeartbeatAnswer, HeartbeatRequest, RegisterAnswer, RegisterRequest, heartbeat, registration,
};
use api::roster::{RosterPart, roster};
use api::rotation::{GatewayRotated, RotateGateway, gateway_keys};
use api::{IdentitySecret, WireGuardSecret};
use fastrand::Rng;
use gateway::Roster;
use jiff::SignedDuration;
use model::gateway::GatewayKeys;
use model::{Gateway, GatewayId, Role, id};
use serde::Deserialize;

use super::admins::{Admin, Shared};
use harness::ledger::GatewayTale;
use harness::plane::{Ask, By, Plane};

/// The most gateways of one worker.
const MOST: usize = 4;

/// A gateway and its secrets.
pub struct Node {
    plane: Arc<Plane>,
    /// What it knows of itself.
    pub tale: GatewayTale,
    identity: IdentitySecret,
    /// Whom it lets in.
    pub roster: Roster,
}

/// The signed envelope. Who signs is tested elsewhere: here, what is in it.
#[derive(Deserialize)]
struct Envelope {
    signed: RosterPart,
}

/// Gateways at work, until the storm is over; `admin` makes their records.
pub async fn work(
    mut admin: Admin,
    plane: Arc<Plane>,
    shared: Arc<Shared>,
    (worker, mut rng): (u8, Rng),
) -> (Admin, Vec<Node>) {
    let mut nodes: Vec<Node> = Vec::new();
    while !plane.is_over() {
        let is_due = nodes.is_empty() || (nodes.len() < MOST && rng.u8(..) < 8);
        if is_due {
            let number = u8::try_from(nodes.len()).expect("a few") + 1;
            let address = Ipv4Addr::new(127, 1, worker, number);
            let node = Node::start(&mut admin, &plane, address.into(), &mut rng).await;
            shared.add_gateway(node.tale.id());
            nodes.push(node);
            continue;
        }
        let node = rng.choice(nodes.iter_mut()).expect("there is one");
        match rng.u8(..100) {
            0..65 => node.beat(&mut rng).await,
            65..80 => node.rotate(&mut rng).await,
            _ => node.pull().await,
        }
    }
    (admin, nodes)
}

impl Node {
    async fn start(
        admin: &mut Admin,
        plane: &Arc<Plane>,
        address: std::net::IpAddr,
        rng: &mut Rng,
    ) -> Self {
        let (mut chosen, mut secret) = ([0; 10], [0; 16]);
        rng.fill(&mut chosen);
        rng.fill(&mut secret);
        let role = if rng.bool() {
            Role::Ingress
        } else {
            Role::Egress
        };
        let new = NewGateway {
            id: GatewayId::from_random(chosen),
            role,
            region: "storm".to_owned(),
            endpoint: SocketAddr::new(address, 51820),
            pool: role.to_string().parse().expect("a pool"),
            cohorts: vec!["default".parse().expect("a cohort")],
            bootstrap_hash: id::bootstrap_hash(&secret),
            bootstrap_expires_at: Plane::now() + SignedDuration::from_hours(24),
        };
        let made: Gateway = admin.ask(&Ask::post(GATEWAYS, &new)).await.must();

        let (identity, keys) = new_keys(rng);
        let request = RegisterRequest {
            secret: InviteSecret::new(&secret),
            tunnel_key: keys.tunnel,
        };
        let ask = Ask::post(registration(&made.id), &request).twice(rng.bool());
        let answer: RegisterAnswer = plane.ask(By::Key(&identity), &ask).await.must();
        assert_eq!(answer.version, 1, "{}: it has sent no heartbeat", made.id);
        Self {
            plane: plane.clone(),
            tale: GatewayTale {
                made,
                sets: vec![keys],
                version: answer.version,
                load: None,
                previous_until: None,
            },
            identity,
            roster: Roster::default(),
        }
    }

    /// A heartbeat counts once, however often it is sent: the versions go up by one.
    async fn beat(&mut self, rng: &mut Rng) {
        let tale = &mut self.tale;
        let request = HeartbeatRequest {
            version: tale.version,
            load: rng.u8(..=100),
        };
        let ask = Ask::post(heartbeat(tale.id()), &request).twice(rng.u8(..) < 32);
        let told = self.plane.ask(By::Key(&self.identity), &ask).await;
        let answer: HeartbeatAnswer = told.must();
        assert_eq!(answer.version, request.version + 1, "{}", tale.id());
        tale.version = answer.version;
        tale.load = Some(request.load);
    }

    async fn rotate(&mut self, rng: &mut Rng) {
        let (identity, keys) = new_keys(rng);
        let tale = &mut self.tale;
        let request = RotateGateway::new(
            &self.plane.network.id,
            tale.id(),
            &self.identity,
            keys.identity,
            keys.tunnel,
        );
        let ask = Ask::post(gateway_keys(tale.id()), &request).twice(rng.u8(..) < 32);
        let told = self.plane.ask(By::Key(&identity), &ask).await;
        let answer: GatewayRotated = told.must();
        assert_eq!(answer.version, 1, "{}: a new row begins", tale.id());
        tale.version = answer.version;
        tale.previous_until = Some(answer.previous_until);
        tale.sets.push(keys);
        self.identity = identity;
    }

    /// Pulls what changed of the roster. The versions of its shards never go back.
    pub async fn pull(&mut self) {
        loop {
            let before = self.roster.request();
            let ask = Ask::post(roster(self.tale.id()), &before);
            let told = self.plane.ask(By::Key(&self.identity), &ask).await;
            let Envelope { signed: part } = told.must();
            let more = part.more;
            let taken = self
                .roster
                .take(part, &self.plane.network.id, self.tale.id());
            taken.expect("the roster is this gateway's");
            let after = self.roster.request();
            for (cohort, shards) in before.shards {
                for (shard, version) in shards {
                    let now = after.shards.get(&cohort).and_then(|held| held.get(&shard));
                    let kept = now.is_some_and(|now| *now >= version);
                    assert!(kept, "{cohort} {shard}: version {version}, then {now:?}");
                }
            }
            if !more {
                return;
            }
        }
    }
}

fn new_keys(rng: &mut Rng) -> (IdentitySecret, GatewayKeys) {
    let mut random = || {
        let mut bytes = [0; 32];
        rng.fill(&mut bytes);
        bytes
    };
    let identity = IdentitySecret::from_seed(random());
    let keys = GatewayKeys {
        identity: identity.public(),
        tunnel: WireGuardSecret::from_random(random()).tunnel_key(),
    };
    (identity, keys)
}
