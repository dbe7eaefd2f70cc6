//! `posternctl up`: the whole network on this machine.
//!
//! Every function in one process over a store (SQLite, if no other is asked for), a folder as object
//! storage behind three front doors, and a few gateway agents that register over HTTP as any other would.
//! Everything else is kept in the data folder, so that a restart goes on where it was; Ctrl-C stops it
//! cleanly.

mod agents;
mod door;
mod fleet;
mod in_force;
mod metrics;
mod owner;
mod plane;
mod schedule;
mod upkeep;

use std::net::SocketAddr;
use std::sync::Arc;

use anyhow::{Context, bail};
use api::admin::{INVITES, InviteView};
use api::{InviteText, SetupText};
use axum::Router;
use clap::Args;
use edge::{Edge, SystemClock};
use tokio::net::TcpListener;
use tokio::signal::unix::{Signal, SignalKind, signal};
use tokio::sync::watch;
use tokio::task::JoinSet;

use metrics::Gauges;

use crate::data::{Folder, Settings};
use crate::init::Listeners;
use crate::remote::Remote;
use crate::root::{self, passphrase};
use crate::stores::{NAMES, StoreUrl};
use crate::{init, now, show};

/// How many gateways a new network runs on this machine.
const GATEWAYS: u8 = 4;
/// How long a start may take before it says what it waits for.
const PATIENCE: std::time::Duration = std::time::Duration::from_secs(30);

/// How to run. All but the first start only check that they are what the network was made with.
#[derive(Args, Clone)]
pub struct Options {
    /// How many gateways to run here; half of them ingress, half egress [default: 4].
    #[arg(long)]
    gateways: Option<u8>,
    /// The first of four ports in a row; 0 takes free ones [default: 7700].
    #[arg(long)]
    port: Option<u16>,
    /// Seconds from one heartbeat of a gateway to the next [default: 5].
    #[arg(long)]
    heartbeat: Option<u32>,
    /// Seconds from one run of 'reconcile' to the next, where a provider is set up.
    #[arg(long, default_value_t = fleet::EVERY, value_parser = clap::value_parser!(u32).range(1..))]
    reconcile_every: u32,
    /// Serve figures for Prometheus at this address (127.0.0.1:9464, say), at the path /metrics.
    #[arg(long, value_name = "ADDRESS")]
    metrics: Option<SocketAddr>,
    /// Leave the setup code to whoever holds it: this machine becomes no owner, and makes no
    /// gateways and no invite of its own.
    #[arg(long)]
    no_setup: bool,
    #[arg(
        long,
        value_name = "URL",
        env = "POSTERN_STORE",
        hide_env_values = true,
        help = format!("Where the state is: {NAMES} [default: a SQLite file in the data folder]")
    )]
    store: Option<StoreUrl>,
}

/// Runs until Ctrl-C or a terminate signal.
pub async fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    let mut signals = Signals::listen()?;
    // Held until all parts have stopped.
    let _lock = data.lock()?;
    let url = StoreUrl::for_up(data, options.store.as_ref())?;
    let (stop, stopped) = watch::channel(false);
    let mut tasks = JoinSet::new();
    let ended = tokio::select! {
        ended = start_and_wait(data, options, &url, json, &stopped, &mut tasks) => ended,
        () = signals.received() => Ok(()),
    };
    stop.send_replace(true);
    while let Some(done) = tasks.join_next().await {
        done??;
    }
    ended?;
    if !json && url.is_memory() {
        say!("Stopped. What it held in memory is gone.");
    } else if !json {
        say!("Stopped. 'posternctl up' goes on where this was.");
    }
    Ok(())
}

/// Starts all parts, says so, and waits until one of them fails.
async fn start_and_wait(
    data: &Folder,
    options: &Options,
    url: &StoreUrl,
    json: bool,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let (mut settings, listeners) = open(data, options)?;
    let store = url.open(data).await?;
    if let Some((marker, _)) = control::restore::marker(store.as_ref(), now()).await?
        && marker.done_at.is_none()
    {
        bail!("a backup was restored into {url} in part: run 'posternctl restore' again first");
    }
    url.keep(data)?;
    let edge = Edge {
        store,
        network: Arc::new(settings.network.clone()),
        clock: Arc::new(SystemClock),
    };
    let code = owner::prepare(data, &mut settings, &edge, !options.no_setup).await?;
    let in_force = in_force::watch(data, stopped, tasks)?;
    let (routes, rented) = plane::start(data, &settings, &edge, in_force.clone(), stopped, tasks)?;
    let gauges = Gauges::default();
    if let Some(address) = options.metrics {
        let listener = std::net::TcpListener::bind(address)
            .with_context(|| format!("--metrics {address}: choose another"))?;
        listener.set_nonblocking(true)?;
        serve(listener, metrics::router(gauges.clone()), stopped, tasks)?;
    }
    let control = plane::router(routes, gauges.clone());
    serve(listeners.control, control, stopped, tasks)?;
    for listener in listeners.doors {
        serve(listener, door::router(data.path("site")), stopped, tasks)?;
    }
    let said = rented.borrow().said();
    let present = rented.borrow().clone();
    upkeep::start(edge.clone(), stopped.clone(), tasks);
    let every = options.reconcile_every;
    present.start(&edge, rented, every, &gauges, stopped, tasks);
    let mut published = schedule::start(
        data,
        &settings,
        in_force,
        (edge, gauges),
        stopped.clone(),
        tasks,
    )?;

    let used = code.as_ref().filter(|_| !options.no_setup);
    let remote = owner::open(data, &settings, used).await?;
    let agents = agents::start(data, &settings, remote.as_ref(), stopped, tasks).await?;
    let ready = async {
        agents.in_service().await;
        let listed = |published: &Option<schedule::Published>| {
            published
                .as_ref()
                .is_some_and(|published| published.gateways >= agents.to_be_listed())
        };
        published
            .wait_for(listed)
            .await
            .context("publishing ended")
            .map(drop)
    };
    if let Ok(done) = tokio::time::timeout(PATIENCE, ready).await {
        done?;
    } else {
        tracing::warn!("not every gateway is in service yet; see 'posternctl gateways'");
    }
    let news = News {
        invite: match &remote {
            Some(remote) => Some(invite(data, remote).await?),
            None => None,
        },
        setup: code.filter(|_| options.no_setup),
    };
    announce(data, &settings, url, &news, json)?;
    if !json {
        say!("{said}");
        let keys = root::said_of_offline_keys(data)?;
        if !keys.is_empty() {
            say!("\n{keys}");
        }
    }
    while let Some(ended) = tasks.join_next().await {
        ended.context("a part ended")??;
    }
    Ok(())
}

/// The network's settings and its sockets; makes the network if it is not there. The ports are
/// taken first, so that a network is made only where it can run.
fn open(data: &Folder, options: &Options) -> anyhow::Result<(Settings, Listeners)> {
    if data.is_made() {
        let settings = data.settings()?;
        check(options, &settings)?;
        let listeners = init::bind_to(settings.listen, &settings.ports)?;
        return Ok((settings, listeners));
    }
    let wanted = init::Options::local(
        options.port.unwrap_or(init::DEFAULT_PORT),
        options.heartbeat.unwrap_or(init::DEFAULT_HEARTBEAT),
        options.gateways.unwrap_or(GATEWAYS),
    );
    let listeners = init::bind(wanted.listen, wanted.port)
        .context("choose other ports with --port, or --port 0 for free ones")?;
    // Nobody is asked anything here: the keys are encrypted if a passphrase is told, and else it is said how.
    let told = passphrase::told(&passphrase::Source::default())?;
    let ports = listeners.ports()?;
    let (settings, _) = init::make(data, &wanted, ports, told.as_deref())?;
    Ok((settings, listeners))
}

/// Refuses options that the network was not made with: they would be ignored.
fn check(options: &Options, settings: &Settings) -> anyhow::Result<()> {
    let port = options
        .port
        .is_some_and(|port| port != 0 && port != settings.ports.control);
    let heartbeat = options
        .heartbeat
        .is_some_and(|beat| beat != settings.network.timing.heartbeat);
    let gateways = options
        .gateways
        .is_some_and(|count| count != settings.gateways);
    if port || heartbeat || gateways {
        bail!(
            "this network was made with --port {} --heartbeat {} --gateways {}: \
             leave the options out, or make another network with --data",
            settings.ports.control,
            settings.network.timing.heartbeat,
            settings.gateways
        );
    }
    Ok(())
}

/// What stops a program: Ctrl-C, and what `kill` sends.
struct Signals {
    interrupt: Signal,
    terminate: Signal,
}

impl Signals {
    fn listen() -> anyhow::Result<Self> {
        Ok(Self {
            interrupt: signal(SignalKind::interrupt())?,
            terminate: signal(SignalKind::terminate())?,
        })
    }

    async fn received(&mut self) {
        tokio::select! {
            _ = self.interrupt.recv() => {}
            _ = self.terminate.recv() => {}
        }
    }
}

fn serve(
    listener: std::net::TcpListener,
    router: Router,
    stopped: &watch::Receiver<bool>,
    tasks: &mut JoinSet<anyhow::Result<()>>,
) -> anyhow::Result<()> {
    let listener = TcpListener::from_std(listener)?;
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

/// The invite of the last start while it is good, or a new one: also where the network is reached or sealed
/// to otherwise since.
async fn invite(data: &Folder, remote: &Remote) -> anyhow::Result<InviteText> {
    if data.path("invite").exists() {
        let text = String::from_utf8(data.read("invite")?)?;
        if let Ok(text) = InviteText::parse(&text)
            && text.contact == remote.contact()
        {
            let invites: Vec<InviteView> = remote.list(INVITES).await?;
            let good = |view: &InviteView| {
                view.invite.id == text.id()
                    && view.invite.withdrawn_at.is_none()
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
        withdraw: None,
    };
    let (text, _) = show::make_invite(remote, remote.contact(), &options).await?;
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
fn announce(
    data: &Folder,
    settings: &Settings,
    url: &StoreUrl,
    news: &News,
    json: bool,
) -> anyhow::Result<()> {
    let local = |port: u16| format!("http://{}", SocketAddr::new(settings.listen, port));
    let control = local(settings.ports.control);
    let doors = settings.ports.doors.map(local);
    let device = data.path("me.json");
    let device = device.display();
    let invite = news.invite.as_ref().map(ToString::to_string);
    if json {
        let line = serde_json::json!({
            "ready": true, "invite": invite, "control": control, "doors": doors, "data": data.root(),
            "store": url.to_string(),
        });
        say!("{line}");
        return Ok(());
    }
    if let Some(invite) = &invite {
        say!("{}", show::qr(invite)?);
    }
    say!("The network {} runs.\n", settings.network.id);
    say!("  control plane  {control}");
    say!("  front doors    {}", doors.join("  "));
    say!("  data folder    {}", data.root().display());
    say!("  state          {}\n", url.shown(data));
    if let Some(invite) = invite {
        say!("Try in a second terminal:\n");
        say!("  cargo run --release --bin postern -- --device {device} enroll '{invite}'");
        say!("  cargo run --release --bin postern -- --device {device} sync");
        say!("  cargo run --release --bin postern -- --device {device} select");
        say!(
            "  cargo run --release --bin postern -- --device {device} config --out {}\n",
            data.path("tunnels").display()
        );
    }
    if let Some(code) = &news.setup {
        say!("It has no owner yet. Where the owner is:\n");
        say!("  posternctl setup '{code}' --name NAME\n");
    }
    if url.is_memory() {
        say!("Ctrl-C ends it: its state is in memory, and nothing outlives this process.\n");
    } else {
        say!("Ctrl-C stops it; what it holds stays.\n");
    }
    Ok(())
}
