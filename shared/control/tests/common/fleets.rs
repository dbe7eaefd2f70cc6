//! A fleet over a cloud that remembers, with nodes that boot from their user data, register and beat.

use std::collections::BTreeMap;
use std::sync::{Arc, Mutex};

use api::BootstrapText;
use api::enroll::InviteSecret;
use api::fleet::{ApplyFleet, FleetView, SetMode};
use api::register::{HeartbeatRequest, RegisterRequest};
use control::calls::{CountedHttp, Meter};
use control::fleet::{Boot, BootstrapKey, Order, Report, Run, desired, modes, reconcile};
use control::items::Read as _;
use control::{Context, Error, gateways, items};
use jiff::{SignedDuration, Timestamp};
use model::{
    Admin, AdminId, AdminRole, FirstContact, Fleet, Gateway, GatewayState, IdentityKey, Limits,
    Mode, NetworkId, Node, ProviderName, RootPin, Stage, TunnelKey,
};
use providers::{Hetzner, Provider};
use rules::planning::{self, Plan};
use serde_json::{Value, json};
use sha2::{Digest, Sha256};
use simcloud::{Booted, Nodes, Settings, SimCloud};
use store::{Expect, Store, Write};

use super::board::{Board, BoardStore};
use super::board_provider::BoardProvider;
use super::{Stage as Control, moment};

/// How long a run may last.
const SECONDS: u32 = 20;

pub fn hetzner() -> ProviderName {
    "hetzner".parse().unwrap()
}

/// An owner.
pub fn owner() -> Admin {
    let key = IdentityKey::from_bytes([9; 32]);
    Admin {
        id: AdminId::of(&key),
        name: "owner".to_owned(),
        role: AdminRole::Owner,
        key,
        created_at: super::START,
        removed_at: None,
    }
}

/// A fleet document: pools as name, role, region, size and count.
pub fn fleet_of(pools: &[(&str, &str, &str, &str, u32)]) -> Fleet {
    let pool = |role: &str, region: &str, size: &str, count: u32| {
        json!({
            "role": role,
            "provider": "hetzner",
            "regions": region.split('|').collect::<Vec<_>>(),
            "sizes": size.split('|').collect::<Vec<_>>(),
            "image": "debian-12",
            "count": count,
            "cohorts": ["default"],
        })
    };
    let pools: serde_json::Map<String, Value> = pools
        .iter()
        .map(|(name, role, region, size, count)| {
            ((*name).to_owned(), pool(role, region, size, *count))
        })
        .collect();
    let fleet = json!({
        "schema": Fleet::SCHEMA,
        "currency": "EUR",
        "most_per_month": "500.00",
        "most_changes": 20,
        "drain_seconds": 120,
        "agent": {"x86": {"url": "https://example.org/agent", "sha256": "ab".repeat(32)}},
        "pools": pools,
    });
    serde_json::from_value(fleet).unwrap()
}

/// The machines of the cloud's servers.
#[derive(Debug, Default)]
pub struct Machines {
    up: Mutex<BTreeMap<u64, Booted>>,
    /// Whether they do nothing when they boot.
    pub dumb: Mutex<bool>,
}

impl Nodes for Machines {
    fn boot(&self, server: &Booted) {
        self.up.lock().unwrap().insert(server.id, server.clone());
    }

    fn cut(&self, server: u64) {
        self.up.lock().unwrap().remove(&server);
    }

    fn remove(&self, server: u64) {
        self.up.lock().unwrap().remove(&server);
    }
}

/// A network, its control plane's state, and the cloud that it rents from.
pub struct World {
    pub control: Control,
    pub cloud: SimCloud,
    pub machines: Arc<Machines>,
    pub boot: Boot,
    pub calls: u32,
    pub version: u64,
}

impl World {
    pub fn new() -> Self {
        Self::with(Settings::default())
    }

    pub fn with(settings: Settings) -> Self {
        let cloud = SimCloud::new(settings);
        let machines = Arc::new(Machines::default());
        cloud.run_nodes(machines.clone());
        let control = Control::memory();
        let boot = Boot {
            key: BootstrapKey::from_bytes([3; 32]),
            contact: FirstContact {
                network: control.network.id.clone(),
                root: RootPin {
                    version: 1,
                    sha256: "ab".repeat(32),
                },
                front_doors: Vec::new(),
                control: vec!["https://control.example".to_owned()],
                control_key: None,
            },
            limits: Limits {
                gateway_networks: vec!["0.0.0.0/0".parse().unwrap()],
                ..super::limits()
            },
        };
        Self {
            control,
            cloud,
            machines,
            boot,
            calls: u32::MAX,
            version: 0,
        }
    }

    /// A world whose provider is live, with this fleet in force and nothing rented.
    pub async fn live(fleet: Fleet) -> Self {
        let mut world = Self::new();
        world.set_mode(Mode::Live).await;
        world.want(fleet).await;
        world
    }

    pub fn now(&self) -> Timestamp {
        self.cloud.now()
    }

    pub fn context(&self) -> Context<'_> {
        self.control.context(self.now())
    }

    pub fn network(&self) -> &NetworkId {
        &self.control.network.id
    }

    pub async fn set_mode(&self, mode: Mode) {
        let request = SetMode {
            mode,
            reason: "a test".to_owned(),
            expires_at: None,
            smoke_most_per_hour: None,
        };
        modes::set(&self.context(), &owner(), &hetzner(), request)
            .await
            .unwrap();
    }

    /// Puts a fleet in force, as one of which somebody has carried out a plan before.
    pub async fn want(&mut self, fleet: Fleet) {
        let view = self.apply(fleet).await;
        let accept = Write::put(items::fleet_accepted(), Expect::Any, &view);
        let committed = self.control.store.commit(self.now(), vec![accept]).await;
        committed.unwrap();
    }

    /// Puts a fleet in force.
    pub async fn apply(&mut self, fleet: Fleet) -> FleetView {
        let request = ApplyFleet {
            expected_version: self.version,
            fleet,
        };
        let context = self.context();
        let view = desired::apply(&context, &self.boot.limits, &owner(), request).await;
        let view = view.unwrap();
        self.version = view.version;
        view
    }

    fn adapter(&self, meter: &Arc<Meter>) -> Arc<dyn Provider> {
        let http = CountedHttp {
            http: Arc::new(self.cloud.http()),
            meter: Arc::clone(meter),
        };
        let token = "sim-token".parse().unwrap();
        Arc::new(Hetzner::at(Arc::new(http), token, "http://sim/v1"))
    }

    /// A run, with everything that it holds made anew.
    pub async fn run(&self, order: Order) -> Result<Report, Error> {
        self.run_through(order, None).await
    }

    /// A run whose calls go through a board.
    pub async fn run_through(
        &self,
        order: Order,
        board: Option<&Arc<Board>>,
    ) -> Result<Report, Error> {
        let meter = Arc::new(Meter::new(self.calls));
        let (store, provider) = self.means(&meter, board);
        let providers = [provider];
        let context = Context {
            store: store.as_ref(),
            network: &self.control.network,
            moment: moment(self.now()),
        };
        let run = Run {
            context,
            providers: &providers,
            boot: &self.boot,
            meter: &meter,
            seconds: SECONDS,
            is_late: &|| false,
        };
        reconcile(&run, order).await
    }

    /// The store and the provider of a run, behind a board if there is one.
    pub fn means(
        &self,
        meter: &Arc<Meter>,
        board: Option<&Arc<Board>>,
    ) -> (Arc<dyn Store>, Arc<dyn Provider>) {
        let provider = self.adapter(meter);
        match board {
            None => (Arc::clone(&self.control.store), provider),
            Some(board) => {
                let store = BoardStore {
                    board: Arc::clone(board),
                    store: Arc::clone(&self.control.store),
                };
                let provider = BoardProvider {
                    board: Arc::clone(board),
                    provider,
                };
                (Arc::new(store), Arc::new(provider))
            }
        }
    }

    pub fn provider(&self) -> Arc<dyn Provider> {
        self.adapter(&Arc::new(Meter::new(u32::MAX)))
    }

    pub async fn plan(&self) -> Plan {
        let providers = [self.provider()];
        control::fleet::plan(&self.context(), &providers, false)
            .await
            .unwrap()
    }

    /// Lets time go by: the cloud's actions end, nodes boot, register and beat, and the gateways that
    /// were heard come into service, as `publish` sees to.
    pub async fn pass(&self, seconds: i64) {
        self.cloud.advance(SignedDuration::from_secs(seconds));
        if *self.machines.dumb.lock().unwrap() {
            return;
        }
        let up: Vec<Booted> = self.machines.up.lock().unwrap().values().cloned().collect();
        for machine in up {
            self.live_on(&machine).await;
        }
        self.judge().await;
    }

    /// Takes the silent out of service, as `publish` sees to.
    async fn judge(&self) {
        let timing = &self.control.network.timing;
        let observed = gateways::observe(&self.context()).await.unwrap();
        for (one, version) in observed {
            let is_silent = !planning::alive(one.seen_at, timing, self.now());
            if is_silent && one.gateway.state == GatewayState::Active {
                self.set_state(&one.gateway, version, GatewayState::Unhealthy)
                    .await;
            }
        }
    }

    async fn live_on(&self, machine: &Booted) {
        let token = token_of(&machine.user_data);
        let context = self.context();
        let hash = Sha256::digest(token.gateway.as_str().as_bytes());
        let identity = IdentityKey::from_bytes(hash.into());
        let tunnel: [u8; 32] = Sha256::digest(hash).into();
        let request = RegisterRequest {
            secret: InviteSecret::new(&token.secret),
            tunnel_key: TunnelKey::from_bytes(tunnel),
        };
        let id = &token.gateway;
        // A node whose record is not there yet, or not any more, is refused, and asks again.
        let Ok(answer) = gateways::register(&context, identity, id, &request).await else {
            return;
        };
        let beat = HeartbeatRequest {
            version: answer.version,
            load: 0,
        };
        gateways::heartbeat(&context, identity, id, &beat)
            .await
            .unwrap();
        let found = context
            .store
            .get_many(context.moment.now, &[items::gateway(id)])
            .await
            .unwrap();
        let item = found[0].as_ref().unwrap();
        let gateway: Gateway = item.read().unwrap();
        if matches!(
            gateway.state,
            GatewayState::Registered | GatewayState::Unhealthy
        ) {
            self.set_state(&gateway, item.version, GatewayState::Active)
                .await;
        }
    }

    pub async fn set_state(&self, gateway: &Gateway, version: u64, state: GatewayState) {
        let after = Gateway {
            state,
            changed_at: self.now(),
            ..gateway.clone()
        };
        let write = Write::put(
            items::gateway(&gateway.id),
            Expect::Version(version),
            &after,
        );
        self.control
            .store
            .commit(self.now(), vec![write])
            .await
            .unwrap();
    }

    /// Runs every minute until nothing is under way and nothing is left to do.
    pub async fn settle(&self) {
        for _ in 0..60 {
            let report = self.run(Order::Heal).await.unwrap();
            self.pass(60).await;
            if report.under_way == 0 && self.plan().await.free().count() == 0 {
                return;
            }
        }
        let report = self.run(Order::Heal).await;
        panic!(
            "no end: {report:?}\n{:#?}\n{:?}",
            self.nodes().await,
            self.cloud.resources()
        );
    }

    pub async fn nodes(&self) -> Vec<Node> {
        control::fleet::nodes(&self.context()).await.unwrap()
    }

    /// Nodes that are not gone.
    pub async fn there(&self) -> Vec<Node> {
        let mut nodes = self.nodes().await;
        nodes.retain(|node| !node.stage.is_over());
        nodes
    }

    pub async fn states(&self) -> Vec<GatewayState> {
        let observed = gateways::observe(&self.context()).await.unwrap();
        let states = observed.into_iter();
        states.map(|(observed, _)| observed.gateway.state).collect()
    }

    /// What the provider has is what the records say, each thing was rented once, and what is paid for
    /// is there.
    pub async fn assert_nothing_leaked(&self, shown: &str) {
        let there = self.there().await;
        let mut wanted: Vec<String> = Vec::new();
        for node in &there {
            assert_eq!(node.stage, Stage::Active, "{shown}: {node:?}");
            let name = format!("postern-{}-{}", self.network(), node.gateway);
            wanted.push(format!("server {name}"));
            wanted.push(format!("primary_ip {name}"));
            let firewall = format!("postern-{}-{}-{}", self.network(), node.role, node.port);
            wanted.push(format!("firewall {firewall}"));
        }
        wanted.sort();
        wanted.dedup();
        let mut resources = self.cloud.resources();
        resources.sort();
        assert_eq!(resources, wanted, "{shown}");

        let bill = self.cloud.bill();
        for node in self.nodes().await {
            let name = format!("postern-{}-{}", self.network(), node.gateway);
            for kind in ["server", "primary_ip"] {
                let rents = bill.of(kind, &name).len();
                assert!(
                    rents <= 1,
                    "{shown}: {kind} {name} was rented {rents} times"
                );
            }
        }
        assert_eq!(bill.running().count(), there.len() * 2, "{shown}");
    }
}

/// The token in a node's user data.
pub fn token_of(user_data: &str) -> BootstrapText {
    let json = user_data.strip_prefix("#cloud-config\n").unwrap();
    let document: Value = serde_json::from_str(json).unwrap();
    let files = document["write_files"].as_array().unwrap();
    let file = files
        .iter()
        .find(|file| file["path"] == "/etc/postern/gateway.env")
        .unwrap();
    let content = file["content"].as_str().unwrap();
    let token = content.trim().strip_prefix("POSTERN_TOKEN=").unwrap();
    BootstrapText::parse(token).unwrap()
}
