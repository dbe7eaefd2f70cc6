//! Gateways as the tests make them.

use api::admin::NewGateway;
use api::enroll::InviteSecret;
use api::register::{HeartbeatRequest, RegisterAnswer, RegisterRequest};
use control::{Error, gateways};
use jiff::Timestamp;
use model::{GatewayId, IdentityKey, Role, TunnelKey, id};

use super::{START, Stage, after, limits, operator};

pub fn gateway_id(number: u8) -> GatewayId {
    format!("g-{number:04}").parse().unwrap()
}

pub fn gateway_identity(number: u8) -> IdentityKey {
    IdentityKey::from_bytes([number; 32])
}

/// The bootstrap secret of a gateway.
pub fn token(number: u8) -> [u8; 16] {
    [number; 16]
}

/// A gateway at 127.0.0.`number`:51820 whose token is valid for an hour.
pub fn new_gateway(number: u8, role: Role) -> NewGateway {
    NewGateway {
        id: gateway_id(number),
        role,
        region: "test".to_owned(),
        endpoint: format!("127.0.0.{number}:51820").parse().unwrap(),
        pool: role.to_string().parse().unwrap(),
        cohorts: vec!["default".parse().unwrap()],
        bootstrap_hash: id::bootstrap_hash(&token(number)),
        bootstrap_expires_at: after(3600),
    }
}

pub fn registration(secret: u8, tunnel: u8) -> RegisterRequest {
    RegisterRequest {
        secret: InviteSecret::new(&token(secret)),
        tunnel_key: TunnelKey::from_bytes([tunnel.wrapping_add(100); 32]),
    }
}

impl Stage {
    /// Makes the record of the gateway `number`.
    pub async fn create_gateway(&self, number: u8, role: Role) {
        let context = self.context(START);
        gateways::create(&context, &limits(), &operator(), new_gateway(number, role))
            .await
            .unwrap();
    }

    /// Registers the gateway `number` with its own token and keys.
    pub async fn register(&self, now: Timestamp, number: u8) -> Result<RegisterAnswer, Error> {
        let context = self.context(now);
        gateways::register(
            &context,
            gateway_identity(number),
            &gateway_id(number),
            &registration(number, number),
        )
        .await
    }

    /// One sign of life of the gateway `number` that follows `version`.
    pub async fn heartbeat(
        &self,
        now: Timestamp,
        number: u8,
        version: u64,
        load: u8,
    ) -> Result<u64, Error> {
        let context = self.context(now);
        let answer = gateways::heartbeat(
            &context,
            gateway_identity(number),
            &gateway_id(number),
            &HeartbeatRequest { version, load },
        )
        .await?;
        Ok(answer.version)
    }

    /// A sign of life of each of these registered gateways, whatever their last version was.
    pub async fn beat(&self, now: Timestamp, numbers: &[u8]) {
        for number in numbers {
            let version = self.register(now, *number).await.unwrap().version;
            self.heartbeat(now, *number, version, 0).await.unwrap();
        }
    }

    /// Makes, registers and hears the ingress gateways `numbers`: the next publishing takes them
    /// into service.
    pub async fn bring_up(&self, now: Timestamp, numbers: &[u8]) {
        for number in numbers {
            self.create_gateway(*number, Role::Ingress).await;
            self.register(now, *number).await.unwrap();
        }
        self.beat(now, numbers).await;
    }
}
