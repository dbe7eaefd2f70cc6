//! Records and budgets before a real adapter.

use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};

use api::http::Http;
use async_trait::async_trait;
use bytes::Bytes;
use http::{Request, Response};
use jiff::SignedDuration;
use model::NetworkId;
use providers::record::{Call, Recorder, SPENT};
use providers::{Family, Fault, Hetzner, Labels, NewAddress, NewServer, Provider, ResourceKind};
use simcloud::{Rule, Settings, SimCloud};

fn hetzner(http: Arc<dyn Http>) -> Hetzner {
    Hetzner::at(http, "sim-token".parse().unwrap(), "http://sim/v1")
}

fn recorder(cloud: &SimCloud) -> Arc<Recorder> {
    let clock = cloud.clone();
    Arc::new(Recorder::new(
        Arc::new(cloud.http()),
        Arc::new(move || clock.now()),
    ))
}

fn network() -> NetworkId {
    "n-aaaaaaaa".parse().unwrap()
}

#[tokio::test]
async fn every_call_is_recorded_with_its_id_and_without_secrets() {
    let cloud = SimCloud::new(Settings {
        per_request: SignedDuration::from_millis(40),
        ..Settings::default()
    });
    let recorder = recorder(&cloud);
    let provider = hetzner(recorder.clone());
    let address = NewAddress {
        name: "postern-a".to_owned(),
        region: "fsn1".parse().unwrap(),
        family: Family::Ipv4,
        labels: Labels::new(),
    };
    let address = provider.create_address(&address).await.unwrap().resource;
    let firewall = providers::NewFirewall {
        name: "postern-a".to_owned(),
        lets_in: [].into(),
        labels: Labels::new(),
    };
    let firewall = provider.create_firewall(&firewall).await.unwrap().resource;
    let server = NewServer {
        name: "postern-a".to_owned(),
        region: "fsn1".parse().unwrap(),
        size: "cx23".parse().unwrap(),
        image: "debian-13".parse().unwrap(),
        address: address.id,
        family: Family::Ipv4,
        firewall: firewall.id,
        user_data: "POSTERN_TOKEN=s3cret".to_owned(),
        labels: Labels::new(),
    };
    let debug = format!("{server:?} {provider:?} {recorder:?}");
    provider.create_server(&server).await.unwrap();
    cloud.inject(Rule::times(1, simcloud::Fault::LostAnswer, |_| true));
    let lost = provider.delete(ResourceKind::Server, &firewall_id()).await;
    assert_eq!(lost.unwrap_err().fault, Fault::Unclear);

    let calls = recorder.calls();
    let seen: Vec<_> = calls
        .iter()
        .map(|call| (call.method.as_str(), call.path.as_str(), call.status))
        .collect();
    assert_eq!(
        seen,
        [
            ("POST", "/v1/primary_ips", Some(201)),
            ("POST", "/v1/firewalls", Some(201)),
            ("POST", "/v1/servers", Some(201)),
            ("DELETE", "/v1/servers/1", None),
        ]
    );
    assert!(
        calls[..3]
            .iter()
            .all(|call| call.request.is_some() && call.millis == 40)
    );
    let kept = serde_json::to_string(&calls).unwrap();
    for secret in ["s3cret", "sim-token", "root-password"] {
        assert!(
            !kept.contains(secret) && !debug.contains(secret),
            "{secret}"
        );
    }
    let read: Vec<Call> = serde_json::from_str(&kept).unwrap();
    assert_eq!(read, calls);
}

fn firewall_id() -> providers::ResourceId {
    providers::ResourceId("1".to_owned())
}

/// HTTP that lets so many calls pass, as a run's budget does.
#[derive(Debug)]
struct Limited {
    http: Arc<dyn Http>,
    left: AtomicU32,
}

impl Limited {
    fn new(http: Arc<dyn Http>, calls: u32) -> Arc<Self> {
        let left = AtomicU32::new(calls);
        Arc::new(Self { http, left })
    }

    fn left(&self) -> u32 {
        self.left.load(Ordering::Relaxed)
    }
}

#[async_trait]
impl Http for Limited {
    async fn send(&self, request: Request<Bytes>) -> Result<Response<Bytes>, String> {
        let take = |left: u32| left.checked_sub(1);
        let taken = self
            .left
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, take);
        taken.map_err(|_| SPENT.to_owned())?;
        self.http.send(request).await
    }
}

#[tokio::test]
async fn a_used_up_budget_sends_nothing_and_says_so() {
    let cloud = SimCloud::new(Settings::default());
    let recorder = recorder(&cloud);
    let budget = Limited::new(recorder.clone(), 4);
    let provider = hetzner(budget.clone());

    provider.inventory(&network()).await.unwrap();
    assert_eq!(budget.left(), 1);
    let cut = provider.inventory(&network()).await.unwrap_err();
    let next = provider.server("postern-a").await.unwrap_err();

    assert_eq!((cut.fault, next.fault), (Fault::Spent, Fault::Spent));
    assert!(next.to_string().contains("used up"), "{next}");
    assert_eq!((budget.left(), cloud.calls()), (0, 4));
    assert_eq!(recorder.calls().len(), 4, "what was not sent is no call");
}

#[tokio::test]
async fn a_refusal_is_not_recorded_where_the_record_is_before_the_budget() {
    let cloud = SimCloud::new(Settings::default());
    let budget = Limited::new(Arc::new(cloud.http()), 0);
    let recorder = Arc::new(Recorder::new(budget, Arc::new(move || cloud.now())));
    let provider = hetzner(recorder.clone());

    let refused = provider.server("postern-a").await.unwrap_err();

    assert_eq!(refused.fault, Fault::Spent);
    assert!(recorder.calls().is_empty());
}
