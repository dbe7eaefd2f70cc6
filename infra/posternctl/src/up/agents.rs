//! The gateways that `up` runs on this machine: agents like any other, over HTTP.
//!
//! Each has a plan in `gateways/<n>/plan.json`, written before its record is made: a start that was
//! interrupted anywhere goes on with the same gateways.

use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::Context;
use api::BootstrapText;
use api::admin::{GATEWAYS, GatewayView, NewGateway};
use gateway::{Agent, Event};
use model::{Gateway, GatewayState, Role};
use serde::{Deserialize, Serialize};
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::data::{Folder, Settings};
use crate::remote::Remote;
use crate::{now, show};

/// A gateway that shall run here.
#[derive(Serialize, Deserialize)]
struct Plan {
    /// Its bootstrap token.
    token: String,
    /// The record that is asked for, always with the same words.
    record: NewGateway,
}

/// The agents that run here.
pub struct Agents {
    events: Vec<watch::Receiver<Event>>,
    to_be_listed: usize,
}

impl Agents {
    /// How many of them the catalog shall list.
    pub fn to_be_listed(&self) -> usize {
        self.to_be_listed
    }

    /// Waits until every agent's first heartbeat was taken, or the agent has ended.
    pub async fn in_service(&self) {
        for events in &self.events {
            // An agent that ended has said why in the log; the others run on.
            let _ = events
                .clone()
                .wait_for(|event| *event != Event::Starting)
                .await;
        }
    }
}

/// Makes the records that are missing and starts the agents. Where nobody operates from here, only
/// the gateways of an earlier start run.
pub async fn start(
    data: &Folder,
    settings: &Settings,
    remote: Option<&Remote>,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Agents> {
    let known: Vec<GatewayView> = match remote {
        Some(remote) => remote.list(GATEWAYS).await?,
        None => Vec::new(),
    };
    let mut agents = Agents {
        events: Vec::new(),
        to_be_listed: 0,
    };
    for number in 1..=settings.gateways {
        let Some(plan) = plan(data, remote, number)? else {
            continue;
        };
        let state = known.iter().find(|view| view.gateway.id == plan.record.id);
        let state = state.map(|view| view.gateway.state);
        if let Some(remote) = remote.filter(|_| state.is_none()) {
            let _: Gateway = remote.post(GATEWAYS, &plan.record).await?;
        }
        match state {
            // Nobody would listen to it.
            Some(GatewayState::Retired | GatewayState::Failed) => continue,
            // It works, and no catalog lists it.
            Some(GatewayState::Draining | GatewayState::Drained) => {}
            _ => agents.to_be_listed += 1,
        }
        let token = BootstrapText::parse(&plan.token)?;
        let folder = data.path(&format!("gateways/{number}"));
        let agent = Agent::open(folder, Some(&token), Arc::new(now))?;
        agents.events.push(agent.events());
        let mut stopped = stopped.clone();
        tasks.spawn(async move {
            tokio::select! {
                ended = agent.run() => {
                    let Err(error) = ended;
                    // One gateway that cannot go on does not stop the others.
                    tracing::error!(%error, "a gateway's agent ended");
                }
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            Ok(())
        });
    }
    Ok(agents)
}

/// The plan of gateway `number`, as it was made at its first start; none where there was no operator.
fn plan(data: &Folder, remote: Option<&Remote>, number: u8) -> anyhow::Result<Option<Plan>> {
    let file = format!("gateways/{number}/plan.json");
    if data.path(&file).exists() {
        return serde_json::from_slice(&data.read(&file)?)
            .map(Some)
            .with_context(|| format!("{} cannot be read", data.path(&file).display()));
    }
    let Some(remote) = remote else {
        return Ok(None);
    };
    let options = show::GatewayOptions {
        role: if number % 2 == 1 {
            Role::Ingress
        } else {
            Role::Egress
        },
        endpoint: SocketAddr::from((Ipv4Addr::new(127, 0, 0, number), 51820)),
        region: "local".to_owned(),
        pool: None,
        cohorts: vec!["default".parse()?],
        id: None,
        hours: 24,
    };
    let (token, record) = show::plan_gateway(remote.contact(), &options)?;
    let plan = Plan {
        token: token.to_string(),
        record,
    };
    data.write(&file, &serde_json::to_vec_pretty(&plan)?)?;
    Ok(Some(plan))
}
