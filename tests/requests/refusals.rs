//! What can be wrong with the contents of a request to one route: a line each, with what happens before,
//! the problem, and what it says.

use api::Kind;
use api::admins::{ADMINS, SESSIONS, SETUP, removal, role};
use api::enroll::{ENROLL, InviteSecret};
use api::fleet::{FLEET, RUNS, check, cleanup, inventory, mode, smoke_step};
use api::policy::{EXPLANATION, POLICY};
use api::{admin, enroll, register, rotation};
use http::Method;
use model::{AdminRole, InviteId, Policy, id};
use serde_json::{Value, json};

use crate::routes::{rotate_device, rotate_gateway};
use crate::stage::{Ask, By, Function, SETUP_SECRET};
use crate::world::{
    AUDITOR, DEVICE, DEVICE_NEXT, GATEWAY, GATEWAY_NEXT, INVITE, NEW_ADMIN, NEW_DEVICE,
    NEW_GATEWAY, NEW_INVITE, OPERATOR, OWNER, SECOND_OWNER, STRANGER, World, admin_id, ask, device,
    enrollment, fleet, gateway, new_admin, new_gateway, new_invite, open, register as registering,
    signed, tunnel_key,
};

/// A request that is refused for what it says.
pub struct Refusal {
    what: &'static str,
    /// What is taken before.
    before: Vec<Step>,
    ask: Ask,
    pub kind: Kind,
    says: &'static str,
}

impl Refusal {
    /// What is asked, where nothing has to happen before.
    pub fn alone(&self) -> Option<&Ask> {
        self.before.is_empty().then_some(&self.ask)
    }
}

enum Step {
    Wait(i64),
    Take(Ask),
}

#[tokio::test]
async fn what_could_never_work_or_may_not_be_is_refused() {
    for refusal in refusals(&World::new().await) {
        // Worlds are alike to the last token, so that requests made for one are good in all.
        let world = World::new().await;
        for step in refusal.before {
            match step {
                Step::Wait(seconds) => world.stage.wait(seconds),
                Step::Take(ask) => {
                    world.stage.ask(&ask).await.read::<Value>();
                }
            }
        }
        let sent = (refusal.ask.function, world.stage.request(&refusal.ask));
        let answer = world
            .stage
            .refuses(refusal.what, sent, (refusal.kind, refusal.says))
            .await;
        let version = answer.problem(refusal.what).version;
        let has_version = [
            Kind::HeartbeatOutOfStep,
            Kind::PolicyConflict,
            Kind::FleetConflict,
        ]
        .contains(&refusal.kind);
        assert_eq!(version.is_some(), has_version, "{}", refusal.what);
    }
}

/// What looks odd and is right.
#[tokio::test]
async fn the_edges_of_what_is_allowed_are_taken() {
    let world = World::new().await;
    let operator = |uri, body: Value| world.by(AdminRole::Operator, Method::POST, uri, &body);
    let last_day = "9999-12-30T22:00:00Z";
    let note = "ü".repeat(250);
    let invite = with(
        new_invite(&NEW_INVITE),
        &[
            ("expires_at", json!(last_day)),
            ("note", json!(note)),
            ("uses", json!(10_000)),
        ],
    );
    let gateway = with(
        new_gateway(3),
        &[
            ("bootstrap_expires_at", json!(last_day)),
            ("endpoint", json!("127.0.0.1:65535")),
        ],
    );
    for ask in [
        operator(admin::INVITES, invite),
        operator(admin::GATEWAYS, gateway),
    ] {
        world.stage.ask(&ask).await.read::<Value>();
    }
}

/// All of them, made for any world.
pub fn refusals(world: &World) -> Vec<Refusal> {
    let mut all = devices(world);
    all.extend(gateways(world));
    all.extend(admins(world));
    all.extend(sessions(world));
    all.extend(invites(world));
    all.extend(new_gateways(world));
    all.extend(states(world));
    all.extend(policies(world));
    all.extend(fleets(world));
    all.extend(rented(world));
    all
}

#[rustfmt::skip]
fn devices(world: &World) -> Vec<Refusal> {
    use Kind::{DeviceConflict, DeviceRevoked, DeviceUnknown, InviteExpired, InviteUnknown, InviteUsedUp, InviteWithdrawn, KeyInUse, MalformedRequest, SignatureInvalid};
    let enroll = |number, fields: &[(&str, Value)]| {
        signed(Function::Enroll, number, ENROLL, &with(json!(enrollment(number)), fields))
    };
    let new = |fields: &[(&str, Value)]| enroll(NEW_DEVICE, fields);
    let rotate = |from, to| json!(rotate_device(world, from, to));
    let keys = |number, body: Value| signed(Function::Enroll, number, &rotation::device_keys(&device(DEVICE)), &body);
    let show = ask(Function::Enroll, Method::GET, &enroll::device(&device(DEVICE)), By::Key(DEVICE), "");
    let nobody_s = ask(Function::Enroll, Method::GET, &enroll::device(&device(STRANGER)), By::Key(STRANGER), "");
    let elsewhere = signed(Function::Enroll, NEW_DEVICE, &rotation::device_keys(&device(STRANGER)), &rotate(DEVICE, NEW_DEVICE));
    let revoke = operator(world, &admin::revocation(&device(DEVICE)), &json!({}));
    let withdraw = operator(world, &admin::withdrawal(&InviteId::of(&INVITE)), &json!({}));
    let their_key = ("tunnel_key", json!(tunnel_key(DEVICE)));
    vec![
        refusal("an unknown invite", new(&[("invite", json!(InviteSecret::new(&[9; 16])))]), InviteUnknown, "ask for a new one"),
        refusal("an invite of no bytes", new(&[("invite", json!(""))]), InviteUnknown, "ask for a new one"),
        refusal("an invite in no base64url", new(&[("invite", json!("+/="))]), MalformedRequest, "must be base64url"),
        refusal("a key too short", new(&[("exit_key", json!("AAAA"))]), MalformedRequest, "32 bytes expected"),
        refusal("one key for both tunnels", new(&[("exit_key", json!(tunnel_key(NEW_DEVICE)))]), MalformedRequest, "must differ"),
        refusal("another's key", new(std::slice::from_ref(&their_key)), KeyInUse, "make new keys and enroll again"),
        refusal("other keys than before", enroll(DEVICE, &[("tunnel_key", json!(tunnel_key(90)))]), DeviceConflict, "use its device file"),
        refusal("an expired invite", new(&[]), InviteExpired, "ask for a new one").after(Step::Wait(7200)),
        refusal("a withdrawn invite", new(&[]), InviteWithdrawn, "ask for a new one").after(Step::Take(withdraw)),
        refusal("an invite without uses", new(&[]), InviteUsedUp, "ask for a new invite").after(Step::Take(enroll(13, &[]))),
        refusal("a device that is not enrolled", nobody_s, DeviceUnknown, "enroll with an invite"),
        refusal("a revoked device enrolls", enroll(DEVICE, &[]), DeviceRevoked, "ask the operator for a new invite").after(Step::Take(revoke.clone())),
        refusal("a revoked device asks", show, DeviceRevoked, "ask the operator for a new invite").after(Step::Take(revoke.clone())),
        refusal("a revoked device rotates", keys(DEVICE_NEXT, rotate(DEVICE, DEVICE_NEXT)), DeviceRevoked, "new invite").after(Step::Take(revoke)),
        refusal("a key follows itself", keys(DEVICE, rotate(DEVICE, DEVICE)), MalformedRequest, "make new keys"),
        refusal("an endorsement of other keys", keys(DEVICE_NEXT, with(rotate(DEVICE, DEVICE_NEXT), &[their_key])), SignatureInvalid, "was not made by 'from'"),
        refusal("an endorsement for another device", elsewhere, SignatureInvalid, "was not made by 'from'"),
        refusal("an endorsement by a stranger", keys(DEVICE_NEXT, rotate(STRANGER, DEVICE_NEXT)), DeviceUnknown, "enroll with an invite"),
        refusal("an endorsement of no bytes", keys(DEVICE_NEXT, with(rotate(DEVICE, DEVICE_NEXT), &[("endorsement", json!(""))])), MalformedRequest, "64 bytes in standard base64"),
        refusal("an endorsement by the key of before", keys(14, rotate(DEVICE, 14)), DeviceConflict, "only the present identity key").after(Step::Take(keys(DEVICE_NEXT, rotate(DEVICE, DEVICE_NEXT)))),
        refusal("a rotation to a key of another", keys(GATEWAY, rotate(DEVICE, GATEWAY)), KeyInUse, "make new keys and try again"),
    ]
}

#[rustfmt::skip]
fn gateways(world: &World) -> Vec<Refusal> {
    use Kind::{BootstrapRefused, GatewayConflict, GatewayUnknown, HeartbeatOutOfStep, KeyInUse, MalformedRequest, SignatureInvalid};
    let register = |number, fields: &[(&str, Value)]| {
        signed(Function::Register, number, &register::registration(&gateway(1)), &with(json!(registering(1, number)), fields))
    };
    let config = ask(Function::Register, Method::GET, &register::config(&gateway(9)), By::Key(GATEWAY), "");
    let nowhere = signed(Function::Register, NEW_GATEWAY, &register::registration(&gateway(9)), &registering(9, NEW_GATEWAY));
    let beat = |body: Value| signed(Function::Register, GATEWAY, &register::heartbeat(&gateway(2)), &body);
    let raw = |body: &str| Ask { body: body.as_bytes().to_vec(), ..beat(json!({})) };
    let keys = |number, body: Value| signed(Function::Register, number, &rotation::gateway_keys(&gateway(2)), &body);
    let rotate = |from, to| json!(rotate_gateway(world, from, to));
    let roster = |shards: Value| {
        let body = json!({"policy_version": 0, "shards": shards});
        signed(Function::Register, GATEWAY, &api::roster::roster(&gateway(2)), &body)
    };
    let beaten = || Step::Take(beat(json!({"version": 1, "load": 0})));
    let again = || Step::Take(beat(json!({"version": 2, "load": 0})));
    vec![
        refusal("a gateway that is not there", nowhere, GatewayUnknown, "register with its bootstrap token"),
        refusal("the config of no gateway", config, GatewayUnknown, "register with its bootstrap token"),
        refusal("another's bootstrap secret", register(NEW_GATEWAY, &[("secret", json!(InviteSecret::new(&[2; 16])))]), BootstrapRefused, "check that the whole token was copied"),
        refusal("a secret in no base64url", register(NEW_GATEWAY, &[("secret", json!("+/="))]), BootstrapRefused, "check that the whole token was copied"),
        refusal("an expired bootstrap token", register(NEW_GATEWAY, &[]), BootstrapRefused, "make a new gateway").after(Step::Wait(3600)),
        refusal("a used bootstrap token", register(STRANGER, &[]), BootstrapRefused, "make a new gateway").after(Step::Take(register(NEW_GATEWAY, &[]))),
        refusal("a retired gateway's token", register(NEW_GATEWAY, &[]), BootstrapRefused, "make a new gateway")
            .after(Step::Take(operator(world, &admin::gateway_state(&gateway(1)), &json!({"state": "retired"})))),
        refusal("a device's key", register(NEW_GATEWAY, &[("tunnel_key", json!(tunnel_key(DEVICE)))]), KeyInUse, "make a new one"),

        refusal("a load over 100", beat(json!({"version": 1, "load": 101})), MalformedRequest, "from 0 to 100"),
        refusal("a load over a byte", beat(json!({"version": 1, "load": 256})), MalformedRequest, "256"),
        refusal("a load under 0", beat(json!({"version": 1, "load": -1})), MalformedRequest, "-1"),
        refusal("a version that is no whole number", raw(r#"{"version":1.5,"load":0}"#), MalformedRequest, "1.5"),
        refusal("a version over 64 bits", raw(r#"{"version":18446744073709551616,"load":0}"#), MalformedRequest, "the body cannot be read"),
        refusal("a number over all bounds", raw(r#"{"version":1e999,"load":0}"#), MalformedRequest, "out of range"),
        refusal("a version that never was", beat(json!({"version": 0, "load": 0})), HeartbeatOutOfStep, "go on from version 2").after(beaten()),
        refusal("a version of long ago", beat(json!({"version": 1, "load": 0})), HeartbeatOutOfStep, "go on from version 3").after(beaten()).after(again()),
        refusal("the last version of all", beat(json!({"version": u64::MAX, "load": 0})), HeartbeatOutOfStep, "go on from version 1"),

        refusal("a key follows itself", keys(GATEWAY, rotate(GATEWAY, GATEWAY)), MalformedRequest, "make new keys"),
        refusal("an endorsement of another key", keys(GATEWAY_NEXT, with(rotate(GATEWAY, GATEWAY_NEXT), &[("tunnel_key", json!(tunnel_key(90)))])), SignatureInvalid, "was not made by 'from'"),
        refusal("an endorsement by a stranger", keys(GATEWAY_NEXT, rotate(STRANGER, GATEWAY_NEXT)), GatewayUnknown, "register with its bootstrap token"),
        refusal("an endorsement by the key of before", keys(23, rotate(GATEWAY, 23)), GatewayConflict, "only the present identity key").after(Step::Take(keys(GATEWAY_NEXT, rotate(GATEWAY, GATEWAY_NEXT)))),
        refusal("a rotation to a device's key", keys(DEVICE, rotate(GATEWAY, DEVICE)), KeyInUse, "make a new one"),

        refusal("a shard that is none", roster(json!({"default": {"100": 1}})), MalformedRequest, "from '00' to 'ff'"),
        refusal("a cohort that is none", roster(json!({"NO": {}})), MalformedRequest, "1 to 32 of a-z"),
    ]
}

#[rustfmt::skip]
fn admins(world: &World) -> Vec<Refusal> {
    use Kind::{AdminConflict, AdminUnknown, LastOwner, MalformedRequest, SetupRefused};
    let setup = |number, fields: &[(&str, Value)]| {
        let good = json!({"code": InviteSecret::new(&SETUP_SECRET), "name": "second"});
        signed(Function::Admin, number, SETUP, &with(good, fields))
    };
    let owner = |uri: &str, body: Value| world.by(AdminRole::Owner, Method::POST, uri, &body);
    let add = |fields: &[(&str, Value)]| owner(ADMINS, with(json!(new_admin(NEW_ADMIN, AdminRole::Auditor)), fields));
    let remove = |number| owner(&removal(&admin_id(number)), json!({}));
    let change = |number, to: &str| owner(&role(&admin_id(number)), json!({"role": to}));
    let form = "'name' must have 1 to 64 bytes";
    let mut all = vec![
        refusal("a wrong setup code", setup(SECOND_OWNER, &[("code", json!(InviteSecret::new(&[9; 16])))]), SetupRefused, "check that all of it was copied"),
        refusal("a setup code in no base64url", setup(SECOND_OWNER, &[("code", json!("+/="))]), SetupRefused, "check that all of it was copied"),
        refusal("an expired setup code", setup(SECOND_OWNER, &[]), SetupRefused, "have a new one made").after(Step::Wait(24 * 3600)),
        refusal("a used setup code", setup(STRANGER, &[]), SetupRefused, "somebody else has used it").after(Step::Take(setup(SECOND_OWNER, &[]))),
        refusal("a removed owner's setup code", setup(SECOND_OWNER, &[]), AdminConflict, "use a new profile").after(Step::Take(setup(SECOND_OWNER, &[]))).after(Step::Take(remove(SECOND_OWNER))),

        refusal("an admin again with another role", add(&[("key", json!(crate::stage::key(AUDITOR).public())), ("role", json!("owner"))]), AdminConflict, "change the role instead"),
        refusal("a removed admin again", add(&[]), AdminConflict, "have them make a new profile").after(Step::Take(add(&[]))).after(Step::Take(remove(NEW_ADMIN))),
        refusal("a role that is none", add(&[("role", json!("root"))]), MalformedRequest, "unknown variant `root`"),
        refusal("the role of nobody", change(STRANGER, "owner"), AdminUnknown, "'posternctl admins' lists them"),
        refusal("the role of a removed admin", change(AUDITOR, "owner"), AdminUnknown, "'posternctl admins' lists them").after(Step::Take(remove(AUDITOR))),
        refusal("the removal of nobody", remove(STRANGER), AdminUnknown, "'posternctl admins' lists them"),
        refusal("the last owner steps down", change(OWNER, "operator"), LastOwner, "make another owner first"),
        refusal("the last owner leaves", remove(OWNER), LastOwner, "make another owner first"),
    ];
    for name in ["", " ", " ada", "ada\n", "a\0da", "a\u{1b}[2Jda", &"a".repeat(65), &"ü".repeat(33)] {
        let name = [("name", json!(name))];
        all.push(refusal("an admin's name", add(&name), MalformedRequest, form));
        all.push(refusal("an owner's name", setup(SECOND_OWNER, &name), MalformedRequest, form));
    }
    all
}

#[rustfmt::skip]
fn sessions(world: &World) -> Vec<Refusal> {
    use Kind::{ChallengeRefused, MalformedRequest, NotAllowed};
    let removed = || Step::Take(world.by(AdminRole::Owner, Method::POST, &removal(&admin_id(AUDITOR)), &json!({})));
    let good = || open(AUDITOR, &world.challenge);
    let ask = signed(Function::Admin, AUDITOR, api::admins::CHALLENGES, &json!({}));
    vec![
        refusal("an expired challenge", good(), ChallengeRefused, "ask for a new one").after(Step::Wait(60)),
        refusal("another's challenge", open(OPERATOR, &world.challenge), ChallengeRefused, "ask for a new one"),
        refusal("a challenge that never was", open(AUDITOR, &"A".repeat(43)), ChallengeRefused, "ask for a new one"),
        refusal("a used challenge, signed anew", good(), ChallengeRefused, "ask for a new one").after(Step::Take(good())).after(Step::Wait(1)),
        refusal("a challenge too short", open(AUDITOR, "AAAA"), MalformedRequest, "32 bytes in base64url"),
        refusal("a challenge in no base64url", open(AUDITOR, "?"), MalformedRequest, "32 bytes in base64url"),
        refusal("a challenge as a number", signed(Function::Admin, AUDITOR, SESSIONS, &json!({"challenge": 1})), MalformedRequest, "expected a string"),
        refusal("a removed admin asks for a challenge", ask, NotAllowed, "have an owner add your key").after(removed()),
        refusal("a removed admin answers a challenge", good(), NotAllowed, "have an owner add your key").after(removed()),
    ]
}

#[rustfmt::skip]
fn invites(world: &World) -> Vec<Refusal> {
    use Kind::{DeviceRevoked, DeviceUnknown, InviteConflict, InviteUnknown, MalformedRequest};
    let create = |name: &str, value: Value| operator(world, admin::INVITES, &with(new_invite(&NEW_INVITE), &[(name, value)]));
    let other_terms = operator(world, admin::INVITES, &with(new_invite(&INVITE), &[("uses", json!(3))]));
    let withdraw = operator(world, &admin::withdrawal(&InviteId::of(&[9; 16])), &json!({}));
    let revoke = |number| operator(world, &admin::revocation(&device(number)), &json!({}));
    let rotate = |number| operator(world, &admin::device_rotation(&device(number)), &json!({}));
    let later = "choose a later time";
    let control = "'note' must have no control characters";
    vec![
        refusal("no use", create("uses", json!(0)), MalformedRequest, "'uses' must be from 1 to"),
        refusal("too many uses", create("uses", json!(10_001)), MalformedRequest, "'uses' must be from 1 to"),
        refusal("uses over 32 bits", create("uses", json!(4_294_967_296_u64)), MalformedRequest, "4294967296"),
        refusal("uses under 0", create("uses", json!(-1)), MalformedRequest, "-1"),
        refusal("half a use", create("uses", json!(0.5)), MalformedRequest, "0.5"),
        refusal("an expiry now", create("expires_at", json!("2027-01-15T08:00:00Z")), MalformedRequest, later),
        refusal("an expiry before all time", create("expires_at", json!("-009999-01-03T00:00:00Z")), MalformedRequest, later),
        refusal("an expiry after all time", create("expires_at", json!("9999-12-31T23:59:59Z")), MalformedRequest, "the body cannot be read"),
        refusal("an expiry with a year too long", create("expires_at", json!("+10000-01-01T00:00:00Z")), MalformedRequest, "the body cannot be read"),
        refusal("an expiry without a zone", create("expires_at", json!("2027-12-01T00:00:00")), MalformedRequest, "the body cannot be read"),
        refusal("an expiry as a number", create("expires_at", json!(1_900_000_000)), MalformedRequest, "the body cannot be read"),
        refusal("a day that is none", create("expires_at", json!("2027-02-30T00:00:00Z")), MalformedRequest, "the body cannot be read"),
        refusal("a note with a zero byte", create("note", json!("a\0b")), MalformedRequest, control),
        refusal("a note that moves the cursor", create("note", json!("\u{1b}[2J")), MalformedRequest, control),
        refusal("a note of two lines", create("note", json!("a\nb")), MalformedRequest, control),
        refusal("a note too long", create("note", json!("n".repeat(501))), MalformedRequest, "more than 500 bytes"),
        refusal("a cohort outside the limits", create("cohort", json!("canary")), MalformedRequest, "the signed limits have default"),
        refusal("a cohort that is no name", create("cohort", json!("a/b")), MalformedRequest, "1 to 32 of a-z"),
        refusal("a tag that is no name", create("tags", json!(["a b"])), MalformedRequest, "1 to 32 of a-z"),
        refusal("an id that is none", create("id", json!("i-x")), MalformedRequest, "'i-' and then 26"),
        refusal("other terms", other_terms, InviteConflict, "make a new secret"),
        refusal("the withdrawal of no invite", withdraw, InviteUnknown, "see 'posternctl invite --list'"),
        refusal("the revocation of no device", revoke(STRANGER), DeviceUnknown, "see 'posternctl devices'"),
        refusal("the rotation of no device", rotate(STRANGER), DeviceUnknown, "see 'posternctl devices'"),
        refusal("the rotation of a revoked device", rotate(DEVICE), DeviceRevoked, "was revoked").after(Step::Take(revoke(DEVICE))),
    ]
}

#[rustfmt::skip]
fn new_gateways(world: &World) -> Vec<Refusal> {
    use Kind::{GatewayConflict, MalformedRequest};
    let create = |name: &str, value: Value| operator(world, admin::GATEWAYS, &with(new_gateway(3), &[(name, value)]));
    let other_terms = operator(world, admin::GATEWAYS, &with(new_gateway(1), &[("region", json!("fsn1"))]));
    let region = "'region' must be 1 to 32 visible ASCII";
    let hash = "'bootstrap_hash' must be the hash of the secret";
    vec![
        refusal("no cohort", create("cohorts", json!([])), MalformedRequest, "must name at least one cohort"),
        refusal("a cohort outside the limits", create("cohorts", json!(["default", "canary"])), MalformedRequest, "there is no cohort 'canary'"),
        refusal("no region", create("region", json!("")), MalformedRequest, region),
        refusal("a region with a space", create("region", json!("a b")), MalformedRequest, region),
        refusal("a region with a zero byte", create("region", json!("a\0")), MalformedRequest, region),
        refusal("a region beyond ASCII", create("region", json!("münchen")), MalformedRequest, region),
        refusal("a region too long", create("region", json!("r".repeat(33))), MalformedRequest, region),
        refusal("an address outside the limits", create("endpoint", json!("192.0.2.1:51820")), MalformedRequest, "outside the networks of the signed limits"),
        refusal("an address in another's clothes", create("endpoint", json!("[::ffff:127.0.0.1]:51820")), MalformedRequest, "outside the networks of the signed limits"),
        refusal("no port", create("endpoint", json!("127.0.0.1:0")), MalformedRequest, "a port from 1 to 65535"),
        refusal("a port over 16 bits", create("endpoint", json!("127.0.0.1:65536")), MalformedRequest, "invalid socket address"),
        refusal("a host's name", create("endpoint", json!("localhost:51820")), MalformedRequest, "invalid socket address"),
        refusal("an id that climbs", create("id", json!("g-../..")), MalformedRequest, "'g-' and then 4 to 32"),
        refusal("a role that is none", create("role", json!("relay")), MalformedRequest, "unknown variant `relay`"),
        refusal("no hash", create("bootstrap_hash", json!("")), MalformedRequest, hash),
        refusal("a hash that is none", create("bootstrap_hash", json!("x".repeat(60_000))), MalformedRequest, hash),
        refusal("a hash in capitals", create("bootstrap_hash", json!(id::bootstrap_hash(&[3; 16]).to_uppercase())), MalformedRequest, hash),
        refusal("a token that has expired", create("bootstrap_expires_at", json!("2027-01-15T08:00:00Z")), MalformedRequest, "choose a later time"),
        refusal("other terms", other_terms, GatewayConflict, "choose another id"),
    ]
}

#[rustfmt::skip]
fn states(world: &World) -> Vec<Refusal> {
    use Kind::{GatewayState, GatewayUnknown, MalformedRequest};
    let state = |number, state: &str| operator(world, &admin::gateway_state(&gateway(number)), &json!({"state": state}));
    let rotate = |number| operator(world, &admin::gateway_rotation(&gateway(number)), &json!({}));
    let retired = || Step::Take(state(1, "retired"));
    vec![
        refusal("a state that none may ask for", state(1, "failed"), MalformedRequest, "unknown variant `failed`"),
        refusal("a gateway that waits is drained", state(1, "draining"), GatewayState, "it is provisioning: "),
        refusal("a gateway that waits is put back", state(1, "active"), GatewayState, "only a draining gateway can be put back"),
        refusal("a retired gateway is put back", state(1, "active"), GatewayState, "make a new gateway").after(retired()),
        refusal("the state of no gateway", state(9, "retired"), GatewayUnknown, "see 'posternctl gateways'"),
        refusal("the rotation of no gateway", rotate(9), GatewayUnknown, "see 'posternctl gateways'"),
        refusal("the rotation of a gateway without keys", rotate(1), GatewayState, "only one that has registered"),
    ]
}

#[rustfmt::skip]
fn policies(world: &World) -> Vec<Refusal> {
    use Kind::{DeviceUnknown, GatewayUnknown, MalformedRequest, PolicyConflict, PolicyInvalid};
    let apply = |version: Value, change: fn(&mut Value)| {
        let mut policy = json!(Policy::default());
        change(&mut policy);
        world.by(AdminRole::Operator, Method::PUT, POLICY, &json!({"expected_version": version, "policy": policy}))
    };
    let first = |change| apply(json!(0), change);
    let explain = |body: Value| world.by(AdminRole::Auditor, Method::POST, EXPLANATION, &body);
    let kind = json!({"kind": {"cohort": "default"}});
    vec![
        refusal("a schema of another time", first(|policy| policy["schema"] = json!("postern-policy/2")), PolicyInvalid, "write 'postern-policy/1'"),
        refusal("two rules of a name", first(|policy| policy["ingress"][0]["name"] = json!("internet")), PolicyInvalid, "give each a name of its own"),
        refusal("an address inside a network", first(|policy| policy["egress"][0]["to"] = json!(["10.0.0.1/8"])), PolicyInvalid, "write 10.0.0.0/8"),
        refusal("tags without end", first(|policy| policy["ingress"][0]["who"] = json!({"tags": ["a", "b", "c", "d", "e"]})), PolicyInvalid, "at most 4 may be named"),
        refusal("a network that is none", first(|policy| policy["egress"][0]["to"] = json!(["10.0.0.0/33"])), MalformedRequest, "the body cannot be read"),
        refusal("ports out of order", first(|policy| policy["egress"][0]["ports"] = json!(["443-80"])), MalformedRequest, "the body cannot be read"),
        refusal("an unknown field in a rule", first(|policy| policy["ingress"][0]["until"] = json!(1)), MalformedRequest, "unknown field `until`"),
        refusal("a version that is not in force", apply(json!(7), |_| ()), PolicyConflict, "version 0 is in force"),
        refusal("the last version of all", apply(json!(u64::MAX), |_| ()), PolicyConflict, "version 0 is in force"),
        refusal("a version under 0", apply(json!(-1), |_| ()), MalformedRequest, "-1"),
        refusal("a device that is not enrolled", explain(json!({"who": {"device": device(STRANGER)}})), DeviceUnknown, "see the list of devices"),
        refusal("a gateway that is not there", explain(json!({"who": kind, "through": {"gateway": "g-0009"}})), GatewayUnknown, "see the list of gateways"),
        refusal("two answers to who", explain(json!({"who": {"device": device(DEVICE), "kind": {"cohort": "default"}}})), MalformedRequest, "the body cannot be read"),
        refusal("two ways through", explain(json!({"who": kind, "through": {"gateway": "g-0002", "pool": "ingress"}})), MalformedRequest, "the body cannot be read"),
        refusal("an unknown field in who", explain(json!({"who": {"kind": {"cohort": "default", "name": "x"}}})), MalformedRequest, "unknown field `name`"),
        refusal("a destination without a port", explain(json!({"who": kind, "to": "192.0.2.1"})), MalformedRequest, "invalid socket address"),
    ]
}

#[rustfmt::skip]
fn fleets(world: &World) -> Vec<Refusal> {
    use Kind::{FleetConflict, FleetInvalid, MalformedRequest, NotAllowed};
    let apply = |version: u64, change: fn(&mut Value)| {
        let mut fleet = fleet(2);
        change(&mut fleet);
        world.by(AdminRole::Operator, Method::PUT, FLEET, &json!({"expected_version": version, "fleet": fleet}))
    };
    let hetzner = "hetzner".parse().unwrap();
    let set = |role, body: Value| world.by(role, Method::PUT, &mode(&hetzner), &body);
    let (operator, owner) = (AdminRole::Operator, AdminRole::Owner);
    let past = json!({"mode": "live", "reason": "we open", "expires_at": "2020-01-01T00:00:00Z"});
    vec![
        refusal("a fleet of another time", apply(1, |fleet| fleet["schema"] = json!("postern-fleet/2")), FleetInvalid, "postern-fleet/1"),
        refusal("a cohort that is not signed", apply(1, |fleet| fleet["pools"]["in"]["cohorts"] = json!(["others"])), MalformedRequest, "limits"),
        refusal("a version that is not in force", apply(7, |fleet| fleet["most_changes"] = json!(3)), FleetConflict, "version 1 is in force"),
        refusal("an amount that is none", apply(1, |fleet| fleet["most_per_month"] = json!("much")), MalformedRequest, "the body cannot be read"),
        refusal("live by an operator", set(operator, json!({"mode": "live", "reason": "we open"})), NotAllowed, "only an owner may approve"),
        refusal("dearer trials by an operator", set(operator, json!({"mode": "smoke", "smoke_most_per_hour": "9"})), NotAllowed, "only an owner may approve"),
        refusal("live without a reason", set(owner, json!({"mode": "live"})), MalformedRequest, "must say why"),
        refusal("live until yesterday", set(owner, past), MalformedRequest, "is in the past"),
        refusal("a mode that is none", set(owner, json!({"mode": "dead"})), MalformedRequest, "the body cannot be read"),
    ]
}

#[rustfmt::skip]
fn rented(world: &World) -> Vec<Refusal> {
    use Kind::{GatewayUnknown, MalformedRequest, NotAllowed, PlanChanged, PlanRefused, ProviderMode, ProviderUnknown};
    let of = |function, method, uri: &str, body: Value| Ask {
        function,
        ..world.by(AdminRole::Operator, method, uri, &body)
    };
    let post = |uri: &str, body: Value| of(Function::Reconcile, Method::POST, uri, body);
    let (hetzner, other) = ("hetzner".parse().unwrap(), "digitalocean".parse().unwrap());
    let apply = |plan: &str| post(RUNS, json!({"order": "apply", "plan": plan, "remove_unknown": false}));
    let smoke = |body: Value| post(&api::fleet::smoke(&hetzner), body);
    let plan = world.by(AdminRole::Operator, Method::PUT, &mode(&hetzner), &json!({"mode": "plan"}));
    let no_egress = json!({"expected_version": 1, "fleet": {
        "schema": "postern-fleet/1", "currency": "EUR", "most_per_month": "50", "most_changes": 10,
        "agent": {"x86": {"url": "https://front.example/agent", "sha256": "ab".repeat(32)}}, "pools": {},
    }});
    let emptied = world.by(AdminRole::Operator, Method::PUT, FLEET, &no_egress);
    let clean = json!({"dry_run": true, "all_trials": false, "unknown_live": false});
    let unknown = json!({"dry_run": false, "all_trials": false, "unknown_live": true});
    let with_unknown = post(RUNS, json!({"order": "apply", "plan": "0000", "remove_unknown": true}));
    vec![
        refusal("a check of whom nobody set up", post(&check(&other), json!({})), ProviderUnknown, "no credential of 'digitalocean'"),
        refusal("their inventory", of(Function::Reconcile, Method::GET, &inventory(&other), json!({})), ProviderUnknown, "no credential"),
        refusal("a trial of them", post(&api::fleet::smoke(&other), json!({"role": "egress"})), ProviderUnknown, "no credential"),
        refusal("a clean-up of them", of(Function::Cleanup, Method::POST, &cleanup(&other), clean), ProviderUnknown, "no credential"),
        refusal("a clean-up of the unknown by an operator", of(Function::Cleanup, Method::POST, &cleanup(&hetzner), unknown), NotAllowed, "only an owner may"),
        refusal("a plan with the unknown by an operator", with_unknown, NotAllowed, "only an owner may"),
        refusal("a plan that was never shown", apply("0000"), PlanChanged, "look at the new plan"),
        refusal("an order that is none", post(RUNS, json!({"order": "heal"})), MalformedRequest, "the body cannot be read"),
        refusal("a trial of a size that is none", smoke(json!({"role": "ingress", "size": "huge"})), PlanRefused, "huge"),
        refusal("a trial of a role that no pool has", smoke(json!({"role": "ingress"})), PlanRefused, "name region, size and image").after(Step::Take(emptied)),
        refusal("a trial where nothing may be changed", smoke(json!({"role": "ingress"})), ProviderMode, "set it to 'smoke' first").after(Step::Take(plan)),
        refusal("a trial that nobody began", post(&smoke_step(&gateway(9)), json!({})), GatewayUnknown, "there is no smoke run g-0009"),
    ]
}

impl Refusal {
    fn after(mut self, step: Step) -> Self {
        self.before.push(step);
        self
    }
}

fn refusal(what: &'static str, ask: Ask, kind: Kind, says: &'static str) -> Refusal {
    Refusal {
        what,
        before: Vec::new(),
        ask,
        kind,
        says,
    }
}

fn operator(world: &World, uri: &str, body: &Value) -> Ask {
    world.by(AdminRole::Operator, Method::POST, uri, body)
}

/// `body` with these fields instead of its own.
fn with(mut body: Value, fields: &[(&str, Value)]) -> Value {
    for (name, value) in fields {
        body[*name] = value.clone();
    }
    body
}
