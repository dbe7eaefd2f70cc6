//! Revocation: whoever is shut out stays out, and the address rests before another gets it.

mod common;

use api::Kind;
use common::{START, Stage, after, device_id, enroll_at_once, identity, kind, operator};
use control::devices;
use model::DeviceState;

/// The default rest of a lease.
const REST: i64 = 24 * 3600;

#[tokio::test]
async fn a_revoked_device_is_refused_wherever_it_asks() {
    let stage = Stage::memory();
    let invite = stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();

    let id = device_id(7);
    let revoked = devices::revoke(&stage.context(after(1)), &operator(), &id).await;
    let again = devices::revoke(&stage.context(after(2)), &operator(), &id).await;

    let revoked = revoked.unwrap();
    assert_eq!(revoked.state, DeviceState::Revoked);
    assert_eq!(revoked.revoked_at, Some(after(1)));
    assert_eq!(again.unwrap(), revoked, "doing it again changes nothing");
    assert_eq!(stage.subjects("device.revoked").await, [id.to_string()]);
    let enrolls = stage.enroll(after(3), 1, 7).await.unwrap_err();
    assert_eq!(kind(enrolls), Kind::DeviceRevoked);
    let shows = devices::show(&stage.context(after(3)), identity(7), &id).await;
    assert_eq!(kind(shows.unwrap_err()), Kind::DeviceRevoked);
    assert_eq!(
        stage.slots(after(3), &invite).await.len(),
        1,
        "the use stays taken"
    );
}

#[tokio::test]
async fn who_does_not_hold_the_key_cannot_tell_whether_a_device_exists() {
    let stage = Stage::memory();
    stage.invite(1, 5).await;
    stage.enroll(START, 1, 7).await.unwrap();

    let context = stage.context(START);
    let there = devices::show(&context, identity(8), &device_id(7)).await;
    let missing = devices::show(&context, identity(8), &device_id(9)).await;

    let text =
        |error: control::Error, id| error.to_string().replace(&device_id(id).to_string(), "");
    let (there, missing) = (there.unwrap_err(), missing.unwrap_err());
    assert_eq!(text(there, 7), text(missing, 9));
    let again = devices::show(&context, identity(8), &device_id(7)).await;
    assert_eq!(kind(again.unwrap_err()), Kind::DeviceUnknown);
}

#[tokio::test(flavor = "multi_thread", worker_threads = 4)]
async fn an_address_rests_and_then_goes_to_another() {
    for stage in Stage::of_each_kind(26) {
        // Valid for longer than the rest.
        let long = api::admin::NewInvite {
            id: model::InviteId::of(&common::secret(1)),
            cohort: "default".parse().unwrap(),
            tags: std::collections::BTreeSet::new(),
            uses: 100,
            expires_at: after(2 * REST),
            note: String::new(),
        };
        control::invites::create(&stage.context(START), &common::limits(), &operator(), long)
            .await
            .unwrap();
        let full = enroll_at_once(&stage, 1, 1000..1047).await;
        assert_eq!(full.answers.len(), 47);
        let address = full.answers[&1007].addresses.outer;
        devices::revoke(&stage.context(START), &operator(), &device_id(1007))
            .await
            .unwrap();

        let early = stage.enroll(after(REST - 1), 1, 7).await.unwrap_err();
        let late = stage.enroll(after(REST), 1, 7).await.unwrap();
        let next = stage.enroll(after(REST), 1, 8).await.unwrap_err();

        assert_eq!(kind(early), Kind::PoolCrowded);
        assert_eq!(late.addresses.outer, address);
        assert_ne!(late.addresses.outer6, full.answers[&1007].addresses.outer6);
        assert_eq!(kind(next), Kind::PoolCrowded, "it was the only one");
        // The new holder's lease is nobody's rest: it stays.
        let holders = stage.leases(after(10 * REST)).await;
        assert!(holders.values().any(|by| *by == device_id(7).to_string()));
    }
}

#[tokio::test]
async fn an_operator_who_revokes_a_device_that_is_not_there_is_told_where_to_look() {
    let stage = Stage::memory();

    let refused = devices::revoke(&stage.context(START), &operator(), &device_id(9)).await;

    let refused = refused.unwrap_err();
    assert!(refused.to_string().contains("see 'posternctl devices'"));
    assert_eq!(kind(refused), Kind::DeviceUnknown);
}
