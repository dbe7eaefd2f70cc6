//! The suite that every provider passes, over a stand-in for its API: what `control::fleet` relies on.
//!
//! [`conformance!`](crate::conformance!) makes a test of each case:
//!
//! ```ignore
//! fn stage() -> impl Stage { /* an empty account */ }
//! providers::conformance!(stage);
//! ```
//!
//! A case takes from its stage what to rent, and how the stand-in is made to fail. Where providers
//! differ (whether names are unique), a case holds for both.
#![allow(
    clippy::missing_panics_doc,
    reason = "a case is a test: it panics where the provider is wrong"
)]

pub mod faults;
pub mod life;
pub mod listing;

use std::sync::Arc;

use model::{ImageName, NetworkId, RegionName, SizeName};

use crate::{
    ActionId, ActionState, Address, Family, Firewall, Labels, NETWORK_LABEL, NewAddress,
    NewFirewall, NewServer, Opening, Protocol, Provider, ProviderError, Server, Started,
};

/// A stand-in of which nothing is rented yet, and the provider before it.
pub trait Stage {
    /// The adapter.
    fn provider(&self) -> Arc<dyn Provider>;
    /// The adapter with a token that is not accepted, and the text of that token.
    fn stranger(&self) -> (Arc<dyn Provider>, String);
    /// What can be rented.
    fn picks(&self) -> Picks;
    /// Lets time pass until every action is at its end.
    fn finish_actions(&self);
    /// The next change is carried out and its answer is lost.
    fn lose_next_answer(&self);
    /// The next change does not get there.
    fn refuse_next(&self);
    /// The next change is answered by a server's error, and is carried out or not.
    fn break_next(&self, is_done: bool);
    /// The next request is one too many.
    fn throttle_next(&self);
    /// What the next change starts fails.
    fn fail_next_action(&self);
    /// The size of the picks is sold out.
    fn sell_out(&self);
    /// The account may have no further server.
    fn reach_limit(&self);
    /// How many requests came.
    fn calls(&self) -> u64;
}

/// What can be rented on a stage.
#[derive(Clone, Debug)]
pub struct Picks {
    /// A region.
    pub region: RegionName,
    /// Another one.
    pub elsewhere: RegionName,
    /// A size that is offered in both.
    pub size: SizeName,
    /// An image for it.
    pub image: ImageName,
}

/// Makes one test of each case of the suite. `$stage` is a function without arguments that returns
/// a [`Stage`].
///
/// `conformance!(in_turn $stage)` is an expression in an async function that runs all cases one
/// after the other, where a stage is dear: there, `$stage` is evaluated for each.
#[macro_export]
macro_rules! conformance {
    ($stage:expr) => {
        $crate::conformance! { @list cases $stage }
    };
    (in_turn $stage:expr) => {
        $crate::conformance! { @list each $stage }
    };
    (@list $mode:ident $stage:expr) => {
        $crate::conformance! { @$mode $stage;
            life:
                a_server_has_its_address_and_firewall_and_runs,
                a_change_is_one_request,
                an_address_outlives_its_server,
                an_address_is_released_when_its_server_is_off,
                labels_are_replaced_as_a_whole,
                what_is_deleted_is_gone,
                a_firewall_lets_in_what_it_was_made_with,
                a_firewall_in_use_is_not_deleted,
                user_data_has_a_most_size;
            listing:
                the_inventory_has_all_of_the_network_and_nothing_else,
                an_inventory_of_several_pages_is_whole,
                what_does_not_exist_is_not_found,
                offers_name_prices_of_all_that_is_rented,
                what_is_sold_out_is_not_available;
            faults:
                a_lost_answer_is_unclear_and_what_it_made_is_found,
                what_did_not_get_there_is_unclear_and_made_nothing,
                a_servers_error_is_unclear,
                a_name_that_is_taken_makes_no_second_unseen,
                what_is_sold_out_is_unavailable,
                a_full_account_is_a_limit,
                too_many_requests_say_how_long_to_wait,
                a_failed_action_says_so,
                a_wrong_token_is_told_and_never_shown,
                a_read_that_fails_can_be_repeated,
                the_rate_is_kept;
        }
    };
    (@each $stage:expr; $($module:ident: $($case:ident),+;)+) => {
        $($( $crate::conformance::$module::$case(&$stage).await; )+)+
    };
    (@cases $stage:expr; $($module:ident: $($case:ident),+;)+) => {
        $($(
            #[test]
            fn $case() {
                $crate::conformance::run(async {
                    $crate::conformance::$module::$case(&$stage()).await;
                });
            }
        )+)+
    };
}

/// Runs one case to its end.
pub fn run(case: impl Future<Output = ()>) {
    tokio::runtime::Builder::new_current_thread()
        .enable_all()
        .build()
        .expect("a runtime")
        .block_on(case);
}

/// The network of the cases.
fn network() -> NetworkId {
    "n-aaaaaaaa".parse().expect("a network id")
}

fn labels(network: &NetworkId) -> Labels {
    [(NETWORK_LABEL, network.as_str()), ("postern-mode", "smoke")]
        .map(|(key, value)| (key.to_owned(), value.to_owned()))
        .into()
}

fn new_address(picks: &Picks, name: &str) -> NewAddress {
    NewAddress {
        name: name.to_owned(),
        region: picks.region.clone(),
        family: Family::Ipv4,
        labels: labels(&network()),
    }
}

fn new_firewall(name: &str) -> NewFirewall {
    let opening = |protocol, port| Opening { protocol, port };
    let openings = [
        opening(Protocol::Udp, Some(51820)),
        opening(Protocol::Tcp, Some(443)),
        opening(Protocol::Icmp, None),
    ];
    NewFirewall {
        name: name.to_owned(),
        lets_in: openings.into(),
        labels: labels(&network()),
    }
}

/// What a server needs, and then the order of it.
struct Rented {
    address: Address,
    firewall: Firewall,
    order: NewServer,
}

/// Rents an address and a firewall, and gives the order of a server with them.
async fn prepared(stage: &impl Stage, name: &str) -> Rented {
    let (provider, picks) = (stage.provider(), stage.picks());
    let address = provider.create_address(&new_address(&picks, name)).await;
    let address = address.expect("an address").resource;
    let firewall = provider.create_firewall(&new_firewall(name)).await;
    let firewall = firewall.expect("a firewall").resource;
    let order = NewServer {
        name: name.to_owned(),
        region: picks.region,
        size: picks.size,
        image: picks.image,
        address: address.id.clone(),
        family: Family::Ipv4,
        firewall: firewall.id.clone(),
        user_data: "#cloud-config\n".to_owned(),
        labels: labels(&network()),
    };
    stage.finish_actions();
    Rented {
        address,
        firewall,
        order,
    }
}

/// A server that runs.
async fn running(stage: &impl Stage, name: &str) -> (Rented, Server) {
    let rented = prepared(stage, name).await;
    let provider = stage.provider();
    let started: Result<Started<Server>, ProviderError> =
        provider.create_server(&rented.order).await;
    let started = started.expect("a server");
    done(stage, &started.actions).await;
    let server = provider.server(name).await.expect("an answer");
    (rented, server.expect("the server"))
}

/// Awaits the end of actions.
async fn done(stage: &impl Stage, actions: impl IntoIterator<Item = &ActionId>) {
    stage.finish_actions();
    for action in actions {
        let seen = stage.provider().poll(action).await;
        assert_eq!(seen, Ok(ActionState::Done), "{action:?}");
    }
}
