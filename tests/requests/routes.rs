//! The table: every route, and the request that is taken in a [`World`].
//!
//! To add a route, add a line to [`table`]; a test fails until it is there. What can be wrong with a
//! request to any route is then tried with it by itself. What can be wrong with its contents alone goes
//! to [`crate::refusals`].

use api::Kind;
use api::admins::{
    ADMINS, CHALLENGES, SESSION, SESSION_END, SESSIONS, SETUP, SessionRequest, SetupRequest,
};
use api::enroll::{ENROLL, InviteSecret};
use api::fleet::{FLEET, PLAN, PROVIDERS, RUNS};
use api::policy::{BEGIN_EPOCH, EPOCHS, EXPLANATION, POLICY};
use api::rotation::{RotateDevice, RotateGateway};
use http::Method;
use model::{AdminRole, InviteId, Policy};
use serde_json::{Value, json};

use crate::stage::{Ask, By, Function, SETUP_SECRET, key};
use crate::world::{
    AUDITOR, DEVICE, DEVICE_NEXT, GATEWAY, GATEWAY_NEXT, INVITE, NEW_ADMIN, NEW_DEVICE,
    NEW_GATEWAY, NEW_INVITE, OWNER, SECOND_OWNER, World, admin_id, device, enrollment, exit_key,
    fleet, gateway, new_admin, new_gateway, new_invite, register, tunnel_key,
};

/// A route, and a request to it that is taken.
pub struct Line {
    pub function: Function,
    pub method: Method,
    /// As the function lists it.
    pub path: &'static str,
    pub who: Who,
    /// What stands for `{id}`.
    pub id: String,
    pub takes: Takes,
    /// Whether the request changes what is stored.
    pub writes: bool,
    /// What comes of the same bytes, sent again.
    pub again: Again,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Who {
    /// Whoever signs with the key of this number. A stranger's signature is answered with the problem,
    /// if the key has to be known.
    Key(u8, Option<Kind>),
    /// An admin of this role or above.
    Role(AdminRole),
}

pub enum Takes {
    /// No body that says anything; a query, if there is one in the lists of `any_body`.
    Nothing,
    /// This body.
    Body(fn(&World) -> Value),
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Again {
    /// The same answer, and nothing more is written.
    Same,
    /// Another answer that is worth as much: what the first one gave is not used up.
    Fresh,
    /// A refusal.
    Refused(Kind, &'static str),
}

/// Every route.
#[rustfmt::skip]
pub fn table() -> Vec<Line> {
    use AdminRole::{Auditor, Operator, Owner};
    use Function::{Admin, Cleanup, Enroll, Reconcile, Register};
    use Takes::Body;
    let (get, post, put) = (Method::GET, Method::POST, Method::PUT);
    let (post, get) = (&post, &get);
    let nobody_s_device = Some(Kind::DeviceUnknown);
    let nobody_s_gateway = Some(Kind::GatewayUnknown);
    vec![
        line(Enroll, post, ENROLL, Who::Key(NEW_DEVICE, None)).takes(Body(enroll)).writes(),
        line(Enroll, get, "/v1/devices/{id}", Who::Key(DEVICE, nobody_s_device)).id(&device(DEVICE)),
        line(Enroll, post, "/v1/devices/{id}/keys", Who::Key(DEVICE_NEXT, Some(Kind::SignatureInvalid)))
            .id(&device(DEVICE)).takes(Body(device_keys)).writes(),

        line(Register, post, "/v1/gateways/{id}/registration", Who::Key(NEW_GATEWAY, None))
            .id(&gateway(1)).takes(Body(|_| json!(register(1, NEW_GATEWAY)))).writes(),
        line(Register, post, "/v1/gateways/{id}/keys", Who::Key(GATEWAY_NEXT, Some(Kind::SignatureInvalid)))
            .id(&gateway(2)).takes(Body(gateway_keys)).writes(),
        line(Register, post, "/v1/gateways/{id}/heartbeat", Who::Key(GATEWAY, nobody_s_gateway))
            .id(&gateway(2)).takes(Body(|_| json!({"version": 1, "load": 7}))).writes(),
        line(Register, get, "/v1/gateways/{id}/config", Who::Key(GATEWAY, nobody_s_gateway)).id(&gateway(2)),
        line(Register, post, "/v1/gateways/{id}/roster", Who::Key(GATEWAY, nobody_s_gateway))
            .id(&gateway(2)).takes(Body(|_| json!({"policy_version": 0, "shards": {"default": {"0f": 1}}}))),

        line(Admin, post, SETUP, Who::Key(SECOND_OWNER, None)).takes(Body(setup)).writes(),
        line(Admin, post, CHALLENGES, Who::Key(OWNER, Some(Kind::NotAllowed))).writes().again(Again::Fresh),
        line(Admin, post, SESSIONS, Who::Key(AUDITOR, Some(Kind::NotAllowed))).takes(Body(open)).writes()
            .again(Again::Refused(Kind::ChallengeRefused, "ask for a new one")),
        line(Admin, get, SESSION, Who::Role(Auditor)),
        line(Admin, post, SESSION_END, Who::Role(Auditor)).writes()
            .again(Again::Refused(Kind::SessionEnded, "log in again")),
        line(Admin, get, ADMINS, Who::Role(Auditor)),
        line(Admin, post, ADMINS, Who::Role(Owner)).takes(Body(|_| json!(new_admin(NEW_ADMIN, Auditor)))).writes(),
        line(Admin, post, "/v1/admin/admins/{id}/role", Who::Role(Owner))
            .id(&admin_id(AUDITOR)).takes(Body(|_| json!({"role": "operator"}))).writes(),
        line(Admin, post, "/v1/admin/admins/{id}/removal", Who::Role(Owner)).id(&admin_id(AUDITOR)).writes(),
        line(Admin, get, "/v1/admin/invites", Who::Role(Auditor)),
        line(Admin, post, "/v1/admin/invites", Who::Role(Operator)).takes(Body(|_| new_invite(&NEW_INVITE))).writes(),
        line(Admin, post, "/v1/admin/invites/{id}/withdrawal", Who::Role(Operator)).id(&InviteId::of(&INVITE)).writes(),
        line(Admin, get, "/v1/admin/devices", Who::Role(Auditor)),
        line(Admin, post, "/v1/admin/devices/{id}/revocation", Who::Role(Operator)).id(&device(DEVICE)).writes(),
        line(Admin, post, "/v1/admin/devices/{id}/rotation", Who::Role(Operator)).id(&device(DEVICE)).writes(),
        line(Admin, get, "/v1/admin/gateways", Who::Role(Auditor)),
        line(Admin, post, "/v1/admin/gateways", Who::Role(Operator)).takes(Body(|_| new_gateway(3))).writes(),
        line(Admin, post, "/v1/admin/gateways/{id}/state", Who::Role(Operator))
            .id(&gateway(1)).takes(Body(|_| json!({"state": "retired"}))).writes(),
        line(Admin, post, "/v1/admin/gateways/{id}/rotation", Who::Role(Operator)).id(&gateway(2)).writes(),
        line(Admin, get, "/v1/admin/catalog", Who::Role(Auditor)),
        line(Admin, get, "/v1/admin/audit", Who::Role(Auditor)),
        line(Admin, get, POLICY, Who::Role(Auditor)),
        line(Admin, &put, POLICY, Who::Role(Operator)).takes(Body(policy)).writes(),
        line(Admin, post, EXPLANATION, Who::Role(Auditor)).takes(Body(explain)),
        line(Admin, get, EPOCHS, Who::Role(Auditor)),
        line(Admin, post, BEGIN_EPOCH, Who::Role(Operator)).takes(Body(|_| json!({"over": 1}))).writes(),
        line(Admin, get, FLEET, Who::Role(Auditor)),
        line(Admin, &put, FLEET, Who::Role(Operator)).takes(Body(|_| json!({"expected_version": 1, "fleet": fleet(3)}))).writes(),
        line(Admin, get, PROVIDERS, Who::Role(Auditor)),
        line(Admin, &put, "/v1/admin/providers/{id}/mode", Who::Role(Operator)).id(&"hetzner")
            .takes(Body(|_| json!({"mode": "plan"}))).writes().again(Again::Fresh),

        // How many requests are left of the provider's limit is another number each time.
        line(Reconcile, post, "/v1/reconcile/providers/{id}/check", Who::Role(Operator)).id(&"hetzner").again(Again::Fresh),
        line(Reconcile, get, "/v1/reconcile/providers/{id}/inventory", Who::Role(Operator)).id(&"hetzner"),
        line(Reconcile, post, "/v1/reconcile/providers/{id}/smoke", Who::Role(Operator)).id(&"hetzner")
            .takes(Body(|_| json!({"role": "ingress"}))).writes(),
        // It goes on with what is under way.
        line(Reconcile, post, "/v1/reconcile/smoke/{id}", Who::Role(Operator)).id(&World::trial()).writes().again(Again::Fresh),
        line(Reconcile, post, PLAN, Who::Role(Operator)).takes(Body(|_| json!({"remove_unknown": false}))),
        line(Reconcile, post, RUNS, Who::Role(Operator)).takes(Body(|_| json!({"order": "finish"}))).writes().again(Again::Fresh),
        line(Cleanup, post, "/v1/cleanup/providers/{id}", Who::Role(Operator)).id(&"hetzner")
            .takes(Body(|_| json!({"dry_run": true, "all_trials": true, "unknown_live": false}))),
    ]
}

impl Line {
    /// The request that is taken.
    pub fn good(&self, world: &World) -> Ask {
        let by = match self.who {
            Who::Key(number, _) => By::Key(number),
            Who::Role(role) => By::Token(world.tokens[&role].clone()),
        };
        let body = match self.takes {
            Takes::Body(body) => body(world).to_string(),
            Takes::Nothing if self.method == Method::GET => String::new(),
            Takes::Nothing => "{}".to_owned(),
        };
        Ask {
            function: self.function,
            method: self.method.clone(),
            uri: self.path.replace("{id}", &self.id),
            by,
            body: body.into_bytes(),
        }
    }

    pub fn is_signed(&self) -> bool {
        matches!(self.who, Who::Key(..))
    }

    pub fn has_id(&self) -> bool {
        self.path.contains("{id}")
    }

    /// How a failing test names it.
    pub fn name(&self) -> String {
        format!("{} {}", self.method, self.path)
    }

    fn id(mut self, id: &impl ToString) -> Self {
        self.id = id.to_string();
        self
    }

    fn takes(mut self, takes: Takes) -> Self {
        self.takes = takes;
        self
    }

    fn writes(mut self) -> Self {
        self.writes = true;
        self
    }

    fn again(mut self, again: Again) -> Self {
        self.again = again;
        self
    }
}

fn line(function: Function, method: &Method, path: &'static str, who: Who) -> Line {
    Line {
        function,
        method: method.clone(),
        path,
        who,
        id: String::new(),
        takes: Takes::Nothing,
        writes: false,
        again: Again::Same,
    }
}

fn enroll(_: &World) -> Value {
    json!(enrollment(NEW_DEVICE))
}

fn device_keys(world: &World) -> Value {
    json!(rotate_device(world, DEVICE, DEVICE_NEXT))
}

/// The rotation of the device of [`DEVICE`] from one key to another.
pub fn rotate_device(world: &World, from: u8, to: u8) -> RotateDevice {
    let keys = (tunnel_key(to), exit_key(to));
    let network = world.stage.network();
    RotateDevice::new(network, &device(DEVICE), &key(from), key(to).public(), keys)
}

fn gateway_keys(world: &World) -> Value {
    json!(rotate_gateway(world, GATEWAY, GATEWAY_NEXT))
}

/// The rotation of the gateway `g-0002` from one key to another.
pub fn rotate_gateway(world: &World, from: u8, to: u8) -> RotateGateway {
    let (network, new) = (world.stage.network(), key(to).public());
    RotateGateway::new(network, &gateway(2), &key(from), new, tunnel_key(to))
}

fn setup(_: &World) -> Value {
    json!(SetupRequest {
        code: InviteSecret::new(&SETUP_SECRET),
        name: "second".to_owned(),
    })
}

fn open(world: &World) -> Value {
    json!(SessionRequest {
        challenge: world.challenge.clone(),
    })
}

/// The default policy less its last rule.
fn policy(_: &World) -> Value {
    let mut policy = Policy::default();
    policy.egress.pop();
    json!({"expected_version": 0, "policy": policy})
}

fn explain(_: &World) -> Value {
    json!({
        "who": {"device": device(DEVICE)}, "through": {"gateway": gateway(2)},
        "to": "192.0.2.1:443", "protocol": "tcp",
    })
}
