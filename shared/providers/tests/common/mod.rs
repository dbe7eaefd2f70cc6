//! `simcloud` as the stage of the suite of all providers.

use std::sync::Arc;

use api::http::Http;
use providers::conformance::{Picks, Stage};
use providers::{Hetzner, Provider};
use simcloud::{Fault, Rule, SimCloud};

/// A cloud of which nothing is rented, and the way to it.
pub struct Sim {
    pub cloud: SimCloud,
    provider: Arc<Hetzner>,
    http: Arc<dyn Http>,
    base: String,
}

impl Sim {
    pub fn new(cloud: SimCloud, http: Arc<dyn Http>, base: &str) -> Self {
        let token = "sim-token".parse().unwrap();
        Self {
            cloud,
            provider: Arc::new(Hetzner::at(http.clone(), token, base)),
            http,
            base: base.to_owned(),
        }
    }

    fn next_change(&self, fault: Fault) {
        self.cloud
            .inject(Rule::times(1, fault, |asked| asked.is_change));
    }
}

impl Stage for Sim {
    fn provider(&self) -> Arc<dyn Provider> {
        self.provider.clone()
    }

    fn stranger(&self) -> (Arc<dyn Provider>, String) {
        let token = "some-other-token";
        let http = self.http.clone();
        let provider = Hetzner::at(http, token.parse().unwrap(), &self.base);
        (Arc::new(provider), token.to_owned())
    }

    fn picks(&self) -> Picks {
        Picks {
            region: "fsn1".parse().unwrap(),
            elsewhere: "hel1".parse().unwrap(),
            size: "cx23".parse().unwrap(),
            image: "debian-13".parse().unwrap(),
        }
    }

    fn finish_actions(&self) {
        self.cloud.finish_actions();
    }

    fn lose_next_answer(&self) {
        self.next_change(Fault::LostAnswer);
    }

    fn refuse_next(&self) {
        self.next_change(Fault::Refused);
    }

    fn break_next(&self, is_done: bool) {
        let Fault::Answer(refusal) = Fault::server_error() else {
            unreachable!("it is an answer");
        };
        self.next_change(if is_done {
            Fault::DoneBut(refusal)
        } else {
            Fault::Answer(refusal)
        });
    }

    fn throttle_next(&self) {
        self.cloud
            .inject(Rule::times(1, Fault::rate_limited(), |_| true));
    }

    fn fail_next_action(&self) {
        self.next_change(Fault::FailedAction("action_failed"));
    }

    fn sell_out(&self) {
        self.cloud
            .shop(|shop| shop.offer("cx23", "fsn1").capacity = Some(0));
    }

    fn reach_limit(&self) {
        self.cloud.settings(|settings| settings.limits.servers = 0);
    }

    fn calls(&self) -> u64 {
        self.cloud.calls()
    }
}
