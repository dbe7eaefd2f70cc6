//! `posternctl init`: makes a network.
//!
//! Two of three offline keys sign the root, two of three others the top-level targets (limits,
//! trust, recovery kit). They are encrypted where there is a passphrase; without one, as in the network
//! that `up` makes by itself, what is said afterwards says how. The online keys are made, too.
//! Everything is written before `network.json`, so that an `init` that was interrupted can simply be
//! run again.

use std::collections::{BTreeMap, BTreeSet};
use std::net::{IpAddr, Ipv4Addr, SocketAddr, TcpListener};

use anyhow::{Context, bail};
use api::sealed::ControlSecrets;
use api::{IdentitySecret, SetupText};
use clap::{Args, ValueEnum};
use ipnet::{IpNet, Ipv4Net};
use jiff::SignedDuration;
use model::{
    AddressPools, CohortName, ControlKey, FrontDoor, IdentityKey, Limits, Network, NetworkId,
    RecoveryKit, SetupCode, Timing, TrustedKeys,
};
use tuf::ceremony::Role;
use tuf::key::SigningKey;
use tuf::limits::host_of;
use tuf::repository::{Pin, RoleKeys, RootRoles, sign_root, sign_targets};

use crate::data::{Folder, Ports, SCHEMA, SETUP, Settings, root_file, signed_file, targets_file};
use crate::root::passphrase;
use crate::{now, random, root};

/// How long the first root and targets are valid.
const OFFLINE_LIFE: SignedDuration = SignedDuration::from_hours(365 * 24);
/// How long a setup code is good: made and used on one working day.
const SETUP_LIFE: SignedDuration = SignedDuration::from_hours(24);
/// Offline keys of a role, and how many of them must sign.
const OFFLINE_KEYS: usize = 3;
const OFFLINE_THRESHOLD: u32 = 2;
/// The cohort that every network has.
const COHORT: &str = "default";
/// The first port, if none is asked for.
pub const DEFAULT_PORT: u16 = 7700;
/// Seconds between heartbeats, if nothing else is asked for.
pub const DEFAULT_HEARTBEAT: u32 = 5;

/// How devices and gateways ask the control plane.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
pub enum Requests {
    /// Sealed to a control key; what comes in the plain is refused, even over a direct connection.
    Sealed,
    /// Sealed by whoever knows the control key, as all do who are let in from now on; from others in the
    /// plain, too.
    Either,
    /// In the plain: no control key is made, and whoever ends TLS reads along.
    Plain,
}

/// How the network shall be.
#[derive(Args, Clone)]
pub struct Options {
    /// The first of four ports in a row (control plane, then three front doors); 0 takes free ones.
    /// They stay for the network's life.
    #[arg(long, default_value_t = DEFAULT_PORT)]
    pub port: u16,
    /// The address that `up` listens on.
    #[arg(long, default_value_t = IpAddr::V4(Ipv4Addr::LOCALHOST))]
    pub listen: IpAddr,
    /// How many gateways `up` runs on this machine, half of them ingress, half egress.
    #[arg(long, default_value_t = 0)]
    pub gateways: u8,
    /// A URL at which others reach the control plane, if it is not this machine's own (repeatable).
    #[arg(long, value_name = "URL")]
    control: Vec<String>,
    /// Seconds from one heartbeat of a gateway to the next.
    #[arg(long, default_value_t = DEFAULT_HEARTBEAT)]
    pub heartbeat: u32,
    /// A front door's URL, where others than this machine's own serve the repository (repeatable).
    #[arg(long = "door", value_name = "URL")]
    doors: Vec<String>,
    /// A network that gateways may stand in, as 203.0.113.0/24 (repeatable).
    #[arg(
        long = "gateway-network",
        value_name = "CIDR",
        default_value = "127.0.0.0/8"
    )]
    gateway_networks: Vec<IpNet>,
    /// A cohort that devices may be in, besides 'default' (repeatable).
    #[arg(long = "cohort", value_name = "NAME")]
    cohorts: Vec<CohortName>,
    /// The pool of outer tunnel addresses, as 100.64.0.0/11.
    #[arg(long, requires = "inner_pool", value_name = "CIDR")]
    outer_pool: Option<Ipv4Net>,
    /// The pool of inner tunnel addresses, of the same size.
    #[arg(long, requires = "outer_pool", value_name = "CIDR")]
    inner_pool: Option<Ipv4Net>,
    /// How devices and gateways ask the control plane.
    #[arg(long, value_enum, default_value_t = Requests::Either)]
    requests: Requests,
    /// Only make a new setup code for the network that is there, which makes whoever holds it an
    /// owner: where the first one expired, or every owner lost their key. Restart 'up' after it.
    #[arg(long)]
    new_setup_code: bool,
    #[command(flatten)]
    passphrase: passphrase::Source,
}

/// Makes the network in `data`.
pub fn run(data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    if options.new_setup_code {
        // Without the lock: this works beside an 'up' that runs, which reads it when it restarts.
        let mut settings = data.settings()?;
        let code = make_code(data, &mut settings)?;
        tell(data, &settings, &code, json);
        return Ok(());
    }
    let _lock = data.lock()?;
    if data.is_made() {
        bail!(
            "{} holds a network already: name another folder with --data",
            data.root().display()
        );
    }
    // Bound to learn that they are free, and let go for `up`.
    let ports = bind(options.listen, options.port)?.ports()?;
    options.check_networks()?;
    let passphrase = passphrase::new(&options.passphrase)?;
    let (settings, code) = make(data, options, ports, passphrase.as_deref())?;
    if !json {
        say!(
            "Made the network {} in {}.",
            settings.network.id,
            data.root().display()
        );
        say!("{}\n", root::said_of_offline_keys(data)?);
    }
    tell(data, &settings, &code, json);
    Ok(())
}

/// Tells the setup code: this is the only time.
fn tell(data: &Folder, settings: &Settings, code: &SetupText, json: bool) {
    let code = code.to_string();
    if json {
        let network = &settings.network.id;
        let line = serde_json::json!({"network": network, "data": data.root(), "setup": code});
        say!("{line}");
        return;
    }
    say!("The first 'up' makes this machine the first owner. To make somebody else the one, start");
    say!("'up --no-setup', or 'deploy' it, and within 24 hours, where the owner is:\n");
    say!("posternctl setup '{code}' --name NAME");
}

/// Makes a new setup code: its text for this machine, its hash for the function.
pub fn make_code(data: &Folder, settings: &mut Settings) -> anyhow::Result<SetupText> {
    let text = SetupText {
        contact: data.first_contact(settings)?,
        secret: random()?,
    };
    settings.setup = Some(SetupCode {
        hash: text.hash(),
        expires_at: now().checked_add(SETUP_LIFE)?,
    });
    data.write(SETUP, text.to_string().as_bytes())?;
    data.write_settings(settings)?;
    Ok(text)
}

/// Makes the network in `data`, whose lock the caller holds, and returns its settings and its setup
/// code. With a passphrase, the offline keys are encrypted.
pub fn make(
    data: &Folder,
    options: &Options,
    ports: Ports,
    passphrase: Option<&str>,
) -> anyhow::Result<(Settings, SetupText)> {
    let mut settings = settings(options, ports)?;

    let root = offline_keys(data, "root", passphrase)?;
    let targets = offline_keys(data, "targets", passphrase)?;
    let online = |role: Role| -> anyhow::Result<SigningKey> {
        let key = SigningKey::ed25519_from_seed(random()?);
        data.write_online_key(role, &key)?;
        Ok(key)
    };
    let catalogs = single(&online(Role::Catalogs)?);
    let snapshot = single(&online(Role::Snapshot)?);
    let timestamp = single(&online(Role::Timestamp)?);
    // Configs are signed by a plain Ed25519 key whose public half the targets carry.
    let config_seed: [u8; 32] = random()?;
    data.write_online_key(Role::Config, &SigningKey::ed25519_from_seed(config_seed))?;
    let config_key = IdentitySecret::from_seed(config_seed).public();
    data.bootstrap_key()?;
    let mut control_keys = ControlSecrets::default();
    if options.requests != Requests::Plain {
        control_keys = control_keys.with_new(random()?)?;
        data.write_control_keys(&control_keys)?;
    }
    let online = OnlinePublic {
        config: config_key,
        control: control_keys.public().first().copied(),
    };

    let expires = now().checked_add(OFFLINE_LIFE)?;
    let roles = RootRoles {
        root: several(&root),
        targets: several(&targets),
        snapshot,
        timestamp,
    };
    let signed = sign_root(1, expires, &roles, &signers(&root))?;
    data.write(&root_file(1), &signed)?;
    let files = offline_files(&settings, options, online)?;
    let signed = sign_targets(1, expires, &files, &catalogs, &signers(&targets))?;
    data.write(&targets_file(1), &signed)?;
    for (path, bytes) in &files {
        data.write(&signed_file(path, &Pin::of(1, bytes).sha256), bytes)?;
    }
    // The settings are written with it, as the last file.
    let code = make_code(data, &mut settings)?;
    Ok((settings, code))
}

fn settings(options: &Options, ports: Ports) -> anyhow::Result<Settings> {
    let timing = Timing {
        heartbeat: options.heartbeat,
        ..Timing::default()
    };
    timing.check()?;
    let pools = match (options.outer_pool, options.inner_pool) {
        (Some(outer), Some(inner)) => {
            let ula = AddressPools::default_with(random()?);
            AddressPools::new(outer, inner, ula.ula())?
        }
        _ => AddressPools::default_with(random()?),
    };
    if options.listen.is_unspecified() && (options.control.is_empty() || options.doors.is_empty()) {
        bail!(
            "--listen {} needs --control URL and --door URL: how others reach it",
            options.listen
        );
    }
    let own = |port: &u16| format!("http://{}", SocketAddr::new(options.listen, *port));
    let urls = |given: &[String], own: Vec<String>| {
        let given: Vec<String> = given
            .iter()
            .map(|url| url.trim_end_matches('/').to_owned())
            .collect();
        if given.is_empty() { own } else { given }
    };
    let doors = urls(&options.doors, ports.doors.iter().map(own).collect());
    Ok(Settings {
        schema: SCHEMA.to_owned(),
        network: Network {
            id: NetworkId::from_random(random()?),
            pools,
            timing,
            sealed_only: options.requests == Requests::Sealed,
        },
        control: urls(&options.control, vec![own(&ports.control)]),
        front_doors: doors
            .into_iter()
            .map(|url| FrontDoor {
                url,
                fallback: Vec::new(),
            })
            .collect(),
        listen: options.listen,
        ports,
        gateways: options.gateways,
        setup: None,
    })
}

/// The sockets that `up` listens on.
pub struct Listeners {
    /// The control plane's.
    pub control: TcpListener,
    /// The three front doors'.
    pub doors: [TcpListener; 3],
}

impl Listeners {
    /// Their ports.
    pub fn ports(&self) -> anyhow::Result<Ports> {
        let port = |listener: &TcpListener| listener.local_addr().map(|address| address.port());
        let [one, two, three] = &self.doors;
        Ok(Ports {
            control: port(&self.control)?,
            doors: [port(one)?, port(two)?, port(three)?],
        })
    }
}

/// Binds four ports in a row from `first`, or four free ones if it is 0.
pub fn bind(listen: IpAddr, first: u16) -> anyhow::Result<Listeners> {
    if first > u16::MAX - 3 {
        bail!("--port must leave room for four ports");
    }
    let nth = |n: u16| if first == 0 { 0 } else { first + n };
    bind_to(
        listen,
        &Ports {
            control: nth(0),
            doors: [nth(1), nth(2), nth(3)],
        },
    )
}

/// Binds just these ports.
pub fn bind_to(listen: IpAddr, ports: &Ports) -> anyhow::Result<Listeners> {
    let bind = |port: u16| -> anyhow::Result<TcpListener> {
        let address = SocketAddr::new(listen, port);
        let listener = TcpListener::bind(address)
            .with_context(|| format!("{address} cannot be listened on: stop what listens there"))?;
        listener.set_nonblocking(true)?;
        Ok(listener)
    };
    let [one, two, three] = ports.doors;
    Ok(Listeners {
        control: bind(ports.control)?,
        doors: [bind(one)?, bind(two)?, bind(three)?],
    })
}

fn offline_keys(
    data: &Folder,
    role: &str,
    passphrase: Option<&str>,
) -> anyhow::Result<Vec<SigningKey>> {
    (1..=OFFLINE_KEYS)
        .map(|number| {
            let key = SigningKey::ed25519_from_seed(random()?);
            data.write_offline_key(&format!("{role}-{number}"), &key, passphrase)?;
            Ok(key)
        })
        .collect()
}

/// What the offline keys say of online ones.
#[derive(Clone, Copy)]
struct OnlinePublic {
    /// Signs configs.
    config: IdentityKey,
    /// Opens requests.
    control: Option<ControlKey>,
}

fn offline_files(
    settings: &Settings,
    options: &Options,
    online: OnlinePublic,
) -> anyhow::Result<BTreeMap<String, Vec<u8>>> {
    let network = settings.network.id.clone();
    let mut hosts = Vec::new();
    for door in &settings.front_doors {
        let Some(host) = host_of(&door.url) else {
            bail!(
                "the front door '{}' must be a URL with a host, as https://door.example.net",
                door.url
            );
        };
        hosts.push(host.to_ascii_lowercase());
    }
    hosts.sort();
    hosts.dedup();
    let mut cohorts = BTreeSet::from([COHORT.parse()?]);
    cohorts.extend(options.cohorts.iter().cloned());
    let limits = Limits {
        schema: Limits::SCHEMA.to_owned(),
        network: network.clone(),
        front_door_hosts: hosts,
        gateway_networks: options.gateway_networks.clone(),
        cohorts: cohorts.into_iter().collect(),
    };
    let trust = TrustedKeys {
        schema: TrustedKeys::SCHEMA.to_owned(),
        network: network.clone(),
        config_keys: vec![online.config],
        control_key: online.control,
    };
    let kit = RecoveryKit {
        schema: RecoveryKit::SCHEMA.to_owned(),
        network,
        front_doors: settings.front_doors.clone(),
        control: settings.control.clone(),
        control_key: online.control,
    };
    Ok(BTreeMap::from([
        (Limits::PATH.to_owned(), serde_json::to_vec(&limits)?),
        (TrustedKeys::PATH.to_owned(), serde_json::to_vec(&trust)?),
        (RecoveryKit::PATH.to_owned(), serde_json::to_vec(&kit)?),
    ]))
}

/// Whether the URL leads to this machine.
fn is_here(url: &str) -> bool {
    let host = host_of(url).unwrap_or_default();
    host == "localhost"
        || host
            .parse()
            .is_ok_and(|address: IpAddr| address.is_loopback())
}

fn single(key: &SigningKey) -> RoleKeys {
    RoleKeys {
        keys: vec![key.public()],
        threshold: 1,
    }
}

fn several(keys: &[SigningKey]) -> RoleKeys {
    RoleKeys {
        keys: keys.iter().map(SigningKey::public).collect(),
        threshold: OFFLINE_THRESHOLD,
    }
}

/// As many of the keys as must sign.
fn signers(keys: &[SigningKey]) -> Vec<&SigningKey> {
    keys.iter().take(OFFLINE_THRESHOLD as usize).collect()
}

impl Options {
    /// Fails where others shall reach the network, and its gateways may stand on this machine alone: the offline
    /// keys would sign that.
    fn check_networks(&self) -> anyhow::Result<()> {
        let mut urls = self.control.iter().chain(&self.doors);
        let mut networks = self.gateway_networks.iter();
        if urls.any(|url| !is_here(url)) && networks.all(|network| network.network().is_loopback())
        {
            bail!(
                "others reach the network, and its gateways could stand on this machine alone: say \
                 --gateway-network 203.0.113.0/24 for each range of theirs, or 0.0.0.0/0 and ::/0 for anywhere"
            );
        }
        Ok(())
    }

    /// The options of a network whose control plane and front door are at `url`, with gateways in these
    /// networks.
    pub fn deployed(url: &str, heartbeat: u32, gateway_networks: Vec<IpNet>) -> Self {
        let mut options = Self::local(0, heartbeat, 0);
        options.control = vec![url.to_owned()];
        options.doors = vec![url.to_owned()];
        options.gateway_networks = gateway_networks;
        options
    }

    /// The options of a network that `up` makes by itself.
    pub fn local(port: u16, heartbeat: u32, gateways: u8) -> Self {
        Self {
            port,
            listen: IpAddr::V4(Ipv4Addr::LOCALHOST),
            gateways,
            control: Vec::new(),
            heartbeat,
            cohorts: Vec::new(),
            doors: Vec::new(),
            gateway_networks: vec![IpNet::V4(Ipv4Net::new_assert(
                Ipv4Addr::new(127, 0, 0, 0),
                8,
            ))],
            outer_pool: None,
            inner_pool: None,
            requests: Requests::Either,
            new_setup_code: false,
            passphrase: passphrase::Source::default(),
        }
    }
}
