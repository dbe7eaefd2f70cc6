//! The rules that cost people money when they are forgotten, as the cloud keeps them.

mod common;

use common::Api;
use jiff::SignedDuration;
use serde_json::json;
use simcloud::{Fault, RateLimit, Rule, Settings, SimCloud};

#[tokio::test]
async fn an_address_outlives_its_server_and_goes_on_billing() {
    let api = Api::new(Settings::default());
    let (server, address) = api.server("a").await;
    api.cloud.advance(SignedDuration::from_mins(90));
    api.ok("DELETE", &format!("/servers/{server}"), json!(null))
        .await;
    api.cloud.finish_actions();
    let at_the_end = api.cloud.cost();
    api.cloud.advance(SignedDuration::from_hours(10));

    let kept = api
        .ok("GET", &format!("/primary_ips/{address}"), json!(null))
        .await;
    assert_eq!(kept["primary_ip"]["assignee_id"], json!(null));
    assert_eq!(kept["primary_ip"]["assignee_type"], "unassigned");
    assert_eq!(api.cloud.resources(), ["primary_ip a"]);
    // Two hours of the server, and by then two of the address, of 5,600 and 1,000 each.
    assert_eq!(at_the_end, 2 * 5_600 + 2 * 1_000);
    assert_eq!(api.cloud.cost(), 2 * 5_600 + 12 * 1_000);
    let bill = api.cloud.bill();
    assert_eq!(
        bill.running().map(|rent| rent.kind).collect::<Vec<_>>(),
        ["primary_ip"]
    );
    assert_eq!(bill.of("server", "a").len(), 1);
}

#[tokio::test]
async fn an_address_is_taken_from_a_server_that_is_off_and_then_deleted() {
    let api = Api::new(Settings::default());
    let (server, address) = api.server("a").await;
    let unassign = format!("/primary_ips/{address}/actions/unassign");
    let delete = format!("/primary_ips/{address}");

    assert_eq!(
        api.refused("POST", &unassign).await,
        (422, "server_not_stopped".to_owned())
    );
    assert_eq!(
        api.refused("DELETE", &delete).await,
        (422, "must_be_unassigned".to_owned())
    );
    api.ok(
        "POST",
        &format!("/servers/{server}/actions/poweroff"),
        json!(null),
    )
    .await;
    assert_eq!(
        api.refused("POST", &unassign).await,
        (422, "server_not_stopped".to_owned())
    );
    api.cloud.finish_actions();
    let action = api.ok("POST", &unassign, json!(null)).await;
    let action = format!("/actions/{}", action["action"]["id"]);
    assert_eq!(
        api.ok("GET", &action, json!(null)).await["action"]["status"],
        "running"
    );
    assert_eq!(
        api.refused("DELETE", &delete).await,
        (422, "must_be_unassigned".to_owned())
    );
    api.cloud.finish_actions();
    assert_eq!(
        api.ok("GET", &action, json!(null)).await["action"]["status"],
        "success"
    );
    api.ok("DELETE", &delete, json!(null)).await;
    assert_eq!(
        api.refused("GET", &delete).await,
        (404, "not_found".to_owned())
    );
}

#[tokio::test]
async fn what_an_action_is_about_is_locked_until_its_end() {
    let api = Api::new(Settings::default());
    let (server, _) = api.server("a").await;
    let path = format!("/servers/{server}");
    api.ok("POST", &format!("{path}/actions/poweroff"), json!(null))
        .await;
    assert_eq!(
        api.refused("DELETE", &path).await,
        (423, "locked".to_owned())
    );
    api.cloud.finish_actions();
    api.ok("DELETE", &path, json!(null)).await;
    assert_eq!(
        api.refused("DELETE", &path).await,
        (423, "locked".to_owned())
    );
    let seen = api.ok("GET", &path, json!(null)).await;
    assert_eq!(seen["server"]["status"], "deleting");
}

#[tokio::test]
async fn names_are_one_of_a_kind_and_limits_and_capacity_hold() {
    let api = Api::new(Settings::default());
    api.server("a").await;
    let order =
        json!({"name": "a", "server_type": "cx23", "image": "debian-13", "location": "fsn1"});
    assert_eq!(
        api.ask("POST", "/servers", order).await.1["error"]["code"],
        "uniqueness_error"
    );
    let order = |name: &str| json!({"name": name, "server_type": "cx23", "image": "debian-13", "location": "fsn1"});
    api.cloud
        .shop(|shop| shop.offer("cx23", "fsn1").capacity = Some(1));
    api.ok("POST", "/servers", order("b")).await;
    let (status, sold_out) = api.ask("POST", "/servers", order("c")).await;
    assert_eq!(
        (status, &sold_out["error"]["code"]),
        (412, &json!("resource_unavailable"))
    );
    let types = api.ok("GET", "/server_types?name=cx23", json!(null)).await;
    assert_eq!(types["server_types"][0]["locations"][0]["available"], false);
    api.cloud.settings(|settings| settings.limits.servers = 2);
    let (status, full) = api.ask("POST", "/servers", order("d")).await;
    assert_eq!(
        (status, &full["error"]["code"]),
        (403, &json!("resource_limit_exceeded"))
    );
}

#[tokio::test]
async fn a_server_without_an_address_of_ours_gets_some_that_go_with_it() {
    let api = Api::new(Settings::default());
    let order =
        json!({"name": "a", "server_type": "cx23", "image": "debian-13", "location": "fsn1"});
    let made = api.ok("POST", "/servers", order).await;
    api.cloud.finish_actions();
    assert_eq!(api.cloud.resources().len(), 3);
    api.ok(
        "DELETE",
        &format!("/servers/{}", made["server"]["id"]),
        json!(null),
    )
    .await;
    api.cloud.finish_actions();
    assert!(api.cloud.resources().is_empty());
    assert_eq!(api.cloud.bill().running().count(), 0);
}

#[tokio::test]
async fn requests_are_counted_and_one_too_many_is_refused() {
    let api = Api::new(Settings {
        rate: RateLimit {
            limit: 2,
            refill: SignedDuration::from_secs(1),
        },
        ..Settings::default()
    });
    api.ok("GET", "/servers", json!(null)).await;
    api.ok("GET", "/servers", json!(null)).await;
    let refused = api.send("GET", "/servers", json!(null)).await.unwrap();
    assert_eq!(refused.status(), 429);
    assert_eq!(refused.headers()["ratelimit-remaining"], "0");
    let reset: i64 = refused.headers()["ratelimit-reset"]
        .to_str()
        .unwrap()
        .parse()
        .unwrap();
    assert_eq!(reset, api.cloud.now().as_second() + 2);
    api.cloud.advance(SignedDuration::from_secs(1));
    api.ok("GET", "/servers", json!(null)).await;
}

#[tokio::test]
async fn faults_come_at_the_calls_that_are_chosen() {
    let api = Api::new(Settings::default());
    let new = |name: &str| json!({"name": name, "rules": []});
    api.cloud.inject(Rule::call(2, Fault::LostAnswer));
    api.cloud.inject(Rule::call(3, Fault::Refused));
    api.cloud.inject(Rule::times(1, Fault::conflict(), |asked| {
        asked.ordinal > 3 && asked.path == "/firewalls"
    }));
    api.ok("POST", "/firewalls", new("one")).await;
    assert!(api.send("POST", "/firewalls", new("two")).await.is_err());
    assert!(api.send("POST", "/firewalls", new("three")).await.is_err());
    assert_eq!(api.ask("POST", "/firewalls", new("four")).await.0, 409);
    api.ok("POST", "/firewalls", new("five")).await;
    assert_eq!(
        api.cloud.resources(),
        ["firewall one", "firewall two", "firewall five"]
    );
    let log = api.cloud.requests();
    let seen: Vec<_> = log
        .iter()
        .map(|call| (call.status, call.is_answered))
        .collect();
    assert_eq!(
        seen,
        [
            (Some(201), true),
            (Some(201), false),
            (None, false),
            (Some(409), true),
            (Some(201), true),
        ]
    );
}

#[tokio::test]
async fn a_failed_creation_leaves_a_server_that_is_paid_for() {
    let api = Api::new(Settings::default());
    api.cloud
        .inject(Rule::call(1, Fault::FailedAction("action_failed")));
    let order = json!({"name": "a", "server_type": "cx23", "image": "debian-13", "location": "fsn1",
        "user_data": "POSTERN_TOKEN=s3cret"});
    let made = api.ok("POST", "/servers", order).await;
    api.cloud.finish_actions();
    let action = format!("/actions/{}", made["action"]["id"]);
    let action = api.ok("GET", &action, json!(null)).await;
    assert_eq!(action["action"]["status"], "error");
    assert_eq!(action["action"]["error"]["code"], "action_failed");
    let server = format!("/servers/{}", made["server"]["id"]);
    assert_eq!(
        api.ok("GET", &server, json!(null)).await["server"]["status"],
        "off"
    );
    assert_eq!(api.cloud.bill().running().count(), 3);
    assert!(!format!("{:?}", api.cloud.requests()).contains("s3cret"));
}

#[tokio::test]
async fn a_slow_action_takes_longer_and_a_cloud_that_is_down_answers_nobody() {
    let api = Api::new(Settings::default());
    let (server, _) = api.server("a").await;
    let slow = Fault::SlowAction(SignedDuration::from_mins(10));
    api.cloud
        .inject(Rule::times(1, slow, |asked| asked.is_change));
    let path = format!("/servers/{server}");
    api.ok("DELETE", &path, json!(null)).await;
    api.cloud.advance(SignedDuration::from_mins(9));
    assert_eq!(
        api.ok("GET", &path, json!(null)).await["server"]["status"],
        "deleting"
    );
    let up_again = api.cloud.now() + SignedDuration::from_mins(2);
    let down = Rule::always(Fault::Refused, move |asked| asked.at < up_again);
    api.cloud.inject(down);
    assert!(api.send("GET", &path, json!(null)).await.is_err());
    api.cloud.advance(SignedDuration::from_mins(2));
    assert_eq!(api.refused("GET", &path).await.0, 404);
}

#[tokio::test]
async fn it_is_served_on_loopback_too_and_cuts_what_is_to_be_lost() {
    let cloud = SimCloud::new(Settings::served());
    let served = cloud.serve().await.unwrap();
    let api = Api::over(&cloud, common::native(), &served.url);
    let made = api
        .ok("POST", "/firewalls", json!({"name": "one", "rules": []}))
        .await;
    assert_eq!(made["firewall"]["name"], "one");
    cloud.inject(Rule::times(1, Fault::LostAnswer, |asked| asked.is_change));
    let lost = api
        .send("POST", "/firewalls", json!({"name": "two", "rules": []}))
        .await;
    assert!(lost.is_err());
    assert_eq!(cloud.resources().len(), 2);
}
