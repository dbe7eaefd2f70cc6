//! `posternctl up`: the whole network on this machine.
//!
//! Every function in one process over SQLite, a folder as object storage behind three front doors,
//! and a few gateway agents that register over HTTP as any other would. Everything is kept in the
//! data folder, so that a restart goes on where it was; Ctrl-C stops it cleanly.

mod door;
mod owner;
mod schedule;

use std::fs::{self, File, TryLockError};
use std::net::{Ipv4Addr, SocketAddr};
use std::sync::Arc;

use anyhow::{Context, bail};
use api::admin::{INVITES, InviteView};
use api::{BootstrapText, InviteText, SetupText};
use axum::Router;
use clap::Args;
use edge::{Edge, SystemClock};
use gateway::{Agent, Event};
use model::Role;
use store::SqliteStore;
use tokio::net::TcpListener;
use tokio::sync::watch;
use tokio::task::JoinSet;

use crate::data::{Folder, Settings};
use crate::remote::Remote;
use crate::{init, now, show};

/// How long a start may take before it says what it waits for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How to run.
#[derive(Args, Clone)]
pub struct Options {
    /// How many gateways to run; half of them ingress, half egress. For a new network only.
    #[arg(long, default_value_t = 4)]
    gateways: u8,
    /// For a new network: the first of its four ports; 0 takes free ones.
    #[arg(long, default_value_t = 7700)]
    port: u16,
    /// For a new network: seconds from one heartbeat of a gateway to the next.
    #[arg(long, default_value_t = 5)]
    heartbeat: u32,
    /// Leave the setup code to whoever holds it: this machine becomes no owner, and makes no
    /// gateways and no invite of its own.
    #[arg(long)]
    no_setup: bool,
}

/// Runs until Ctrl-C or a terminate signal.
pub async fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    let is_new = !data.is_made();
    if is_new {
        init::make(data, &init::defaults(options.port, options.heartbeat))?;
    }
    let _lock = lock(data)?;
    let mut settings = data.settings()?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();

    let edge = Edge {
        store: Arc::new(SqliteStore::open(&data.path("state.sqlite"))?),
        network: Arc::new(settings.network.clone()),
        clock: Arc::new(SystemClock),
    };
    let code = owner::prepare(data, &mut settings, &edge, !options.no_setup).await?;
    listen(data, &settings, &edge, &stopped, &mut tasks).await?;
    let mut published = schedule::start(data, &settings, edge, stopped.clone(), &mut tasks)?;

    let used = code.as_ref().filter(|_| !options.no_setup);
    let remote = owner::open(data, &settings, used).await?;
    if is_new && let Some(remote) = &remote {
        make_gateways(data, remote, options.gateways).await?;
    }
    let agents = start_agents(data, &stopped, &mut tasks)?;
    await_service(&agents, &mut published).await?;
    let news = News {
        invite: match &remote {
            Some(remote) => Some(invite(data, remote).await?),
            None => None,
        },
        setup: code.filter(|_| options.no_setup),
    };
    announce(data, &settings, &news, json)?;

    let ended = wait(&mut tasks).await;
    stop.send_replace(true);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    if !json {
        println!("Stopped. 'posternctl up' goes on where this was.");
    }
    ended
}

/// One `up` at a time for a data folder.
fn lock(data: &Folder) -> anyhow::Result<File> {
    let file = File::options()
        .create(true)
        .append(true)
        .open(data.path(".up.lock"))?;
    match file.try_lock() {
        Ok(()) => Ok(file),
        Err(TryLockError::WouldBlock) => {
            bail!(
                "another 'posternctl up' runs in {}: stop it first",
                data.root().display()
            )
        }
        Err(TryLockError::Error(error)) => Err(error.into()),
    }
}

/// Starts the control plane and the front doors on their ports.
async fn listen(
    data: &Folder,
    settings: &Settings,
    edge: &Edge,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let routes = enroll::routes(edge.clone())
        .merge(register::routes(edge.clone(), data.config_key()?))
        .merge(admin::routes(edge.clone(), settings.setup.clone()));
    serve(
        settings.ports.control,
        edge::finish(routes, edge.clone()),
        stopped,
        tasks,
    )
    .await?;
    let site = data.path("site");
    for port in settings.ports.doors {
        serve(port, door::router(site.clone()), stopped, tasks).await?;
    }
    Ok(())
}

async fn serve(
    port: u16,
    router: Router,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let address = SocketAddr::from((Ipv4Addr::LOCALHOST, port));
    let listener = TcpListener::bind(address).await.with_context(|| {
        format!(
            "{address} is taken: stop what listens there, or make a network with another --port"
        )
    })?;
    let mut stopped = stopped.clone();
    tasks.spawn(async move {
        let end = async move {
            // An error means that the sender is gone, which is an end, too.
            let _ = stopped.wait_for(|stopped| *stopped).await;
        };
        Ok(axum::serve(listener, router)
            .with_graceful_shutdown(end)
            .await?)
    });
    Ok(())
}

/// Makes the records of the gateways that this machine runs, and keeps their tokens.
async fn make_gateways(data: &Folder, remote: &Remote, count: u8) -> anyhow::Result<()> {
    for number in 1..=count {
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
        let (token, gateway) = show::make_gateway(remote, &options).await?;
        data.write(
            &format!("gateways/{}/token", gateway.id),
            token.to_string().as_bytes(),
        )?;
    }
    Ok(())
}

/// The agents that run here.
struct Agents {
    count: usize,
    events: Vec<watch::Receiver<Event>>,
}

impl Agents {
    /// Waits until every agent's first heartbeat was taken.
    async fn in_service(&self) -> anyhow::Result<()> {
        for events in &self.events {
            let in_service = |event: &Event| *event != Event::Starting;
            events
                .clone()
                .wait_for(in_service)
                .await
                .context("a gateway's agent ended")?;
        }
        Ok(())
    }
}

fn start_agents(
    data: &Folder,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<Agents> {
    let mut agents = Agents {
        count: 0,
        events: Vec::new(),
    };
    let Ok(folders) = fs::read_dir(data.path("gateways")) else {
        return Ok(agents);
    };
    for folder in folders {
        let folder = folder?.path();
        let token = fs::read_to_string(folder.join("token"))?;
        let token = BootstrapText::parse(&token)?;
        let agent = Agent::open(folder, Some(&token), Arc::new(now))?;
        agents.count += 1;
        agents.events.push(agent.events());
        let mut stopped = stopped.clone();
        tasks.spawn(async move {
            tokio::select! {
                ended = agent.run() => {
                    let Err(error) = ended;
                    // One gateway that was refused does not stop the others.
                    tracing::error!(%error, "a gateway's agent ended");
                }
                _ = stopped.wait_for(|stopped| *stopped) => {}
            }
            Ok(())
        });
    }
    Ok(agents)
}

/// Waits until every gateway of this machine is in service and listed, or says that it waits.
async fn await_service(
    agents: &Agents,
    published: &mut watch::Receiver<Option<schedule::Published>>,
) -> anyhow::Result<()> {
    let ready = async {
        agents.in_service().await?;
        let listed = |published: &Option<schedule::Published>| {
            published
                .as_ref()
                .is_some_and(|published| published.gateways >= agents.count)
        };
        published
            .wait_for(listed)
            .await
            .context("publishing ended")?;
        Ok::<_, anyhow::Error>(())
    };
    if let Ok(done) = tokio::time::timeout(PATIENCE, ready).await {
        done?;
    } else {
        tracing::warn!("not every gateway is in service yet; see 'posternctl gateways'");
    }
    Ok(())
}

/// The invite of the last start while it is good, or a new one.
async fn invite(data: &Folder, remote: &Remote) -> anyhow::Result<InviteText> {
    if data.path("invite").exists() {
        let text = String::from_utf8(data.read("invite")?)?;
        if let Ok(text) = InviteText::parse(&text) {
            let invites: Vec<InviteView> = remote.list(INVITES).await?;
            let good = |view: &InviteView| {
                view.invite.id == text.id()
                    && view.used < view.invite.uses
                    && view.invite.expires_at > now()
            };
            if invites.iter().any(good) {
                return Ok(text);
            }
        }
    }
    let options = show::InviteOptions {
        uses: 5,
        days: 7,
        cohort: "default".parse()?,
        tags: Vec::new(),
        note: "made by 'up'".to_owned(),
        list: false,
    };
    let (text, _) = show::make_invite(remote, &options).await?;
    data.write("invite", text.to_string().as_bytes())?;
    Ok(text)
}

/// What a start has to hand out.
struct News {
    /// For devices, where this machine has an operator.
    invite: Option<InviteText>,
    /// For the first owner, where that is somebody else.
    setup: Option<SetupText>,
}

/// Says that the network runs and what to try next.
fn announce(data: &Folder, settings: &Settings, news: &News, json: bool) -> anyhow::Result<()> {
    let local = |port: u16| format!("http://127.0.0.1:{port}");
    let control = local(settings.ports.control);
    let doors = settings.ports.doors.map(local);
    let invite = news.invite.as_ref().map(ToString::to_string);
    if json {
        let line = serde_json::json!({
            "ready": true, "invite": invite, "control": control, "doors": doors, "data": data.root(),
        });
        println!("{line}");
        return Ok(());
    }
    if let Some(invite) = &invite {
        println!("{}", show::qr(invite)?);
    }
    println!("The network {} runs.\n", settings.network.id);
    println!("  control plane  {control}");
    println!("  front doors    {}", doors.join("  "));
    println!("  data folder    {}\n", data.root().display());
    if let Some(invite) = invite {
        println!("Try in a second terminal:\n");
        println!("  cargo run --release --bin postern -- --device me.json enroll '{invite}'");
        println!("  cargo run --release --bin postern -- --device me.json sync");
        println!("  cargo run --release --bin postern -- --device me.json select");
        println!("  cargo run --release --bin postern -- --device me.json config\n");
    }
    if let Some(code) = &news.setup {
        println!("It has no owner yet. Where the owner is:\n");
        println!("  posternctl setup '{code}' --name NAME\n");
    }
    println!("Ctrl-C stops it; what it holds stays in the data folder.");
    Ok(())
}

/// Until somebody says stop, or a part fails.
async fn wait(tasks: &mut JoinSet<anyhow::Result<()>>) -> anyhow::Result<()> {
    let mut terminate = tokio::signal::unix::signal(tokio::signal::unix::SignalKind::terminate())?;
    loop {
        tokio::select! {
            signal = tokio::signal::ctrl_c() => return Ok(signal?),
            _ = terminate.recv() => return Ok(()),
            Some(ended) = tasks.join_next() => ended.context("a part ended")??,
        }
    }
}
