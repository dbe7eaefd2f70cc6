//! What makes a body of one form the next: pure functions, each of the first form that needs it.
//!
//! Bodies of before there were numbers count as the first form, whichever of the forms of then they have: so a
//! lift that leads to one of those must leave a body as it is that has been there already. What a lift cannot
//! make sense of it leaves, too; the type then refuses it.

use serde_json::{Map, Value};

/// What makes a body the next form.
pub type Lift = fn(&mut Map<String, Value>);

/// Fields came that may be absent.
pub fn grew(_: &mut Map<String, Value>) {}

/// `gateway` 2: a gateway has a pool. There were none at first: what the default policy knows pools of each
/// role by is what they were.
pub fn gateway_in_a_pool(body: &mut Map<String, Value>) {
    let role = body.get("role").cloned();
    if let (false, Some(role)) = (body.contains_key("pool"), role) {
        body.insert("pool".to_owned(), role);
    }
}

/// `head` 3 (ADR 50): catalogs are pinned by what they can be made again of. What was there before, hashes of
/// files, pins nothing: of such a head the versions and times stay, and the next version takes its place.
pub fn head_of_pins(body: &mut Map<String, Value>) {
    body.remove("files");
    if let Some(Value::Object(catalogs)) = body.get_mut("catalogs") {
        catalogs.retain(|_, pin| pin.is_object());
    }
}

/// `mirror` 2: how far a mirror is on its way. The version of before does not say which files it holds.
pub fn mirror_on_its_way(body: &mut Map<String, Value>) {
    body.remove("version");
}
