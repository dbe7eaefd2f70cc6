//! `posternctl deploy doors`: a front door that anybody can run.
//!
//! A door is somebody's own nginx, Varnish or Caddy, so nothing is started or stopped here: the program's
//! configuration is written from the network's facts (`infra/cdn/`), and then the door is asked, as a
//! device would, whether it serves the network's repository: all of it, verified, no older than what it
//! stands before, and with the right rules for caches after it. The check alone does for any other CDN.
//!
//! `--pull` keeps a verified copy of the repository in a folder, for a door that has no cache.

mod check;
mod door;
mod pull;
mod template;

use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::{Args, ValueEnum};
use model::FirstContact;
use serde_json::json;

use self::door::Door;
use self::template::{Facts, Server};
use super::steps::{Done, Steps};
use crate::data::{Folder, Settings};
use crate::profile::Place;

/// For how many seconds what changes may be kept: as long as the mirrors' own rules say.
const BRIEF: u32 = 60;

/// The program of a door.
#[derive(Clone, Copy, PartialEq, Eq, ValueEnum)]
enum Program {
    /// Before anything that speaks HTTP; keeps on disk.
    Nginx,
    /// Before what speaks plain HTTP; keeps in memory.
    Varnish,
    /// Before a folder; gets its certificates by itself.
    Caddy,
}

/// What is written or asked.
#[derive(Args)]
pub struct Options {
    /// Write the configuration of this program.
    #[arg(long, requires = "out")]
    server: Option<Program>,
    /// The base URL that the door stands before: a bucket, another door, or one of 'up'.
    #[arg(long, value_name = "URL")]
    origin: Option<String>,
    /// Where to write the configuration.
    #[arg(long, value_name = "FILE")]
    out: Option<PathBuf>,
    /// Where nginx or Caddy listens: '443 ssl' or '127.0.0.1:8080' for nginx; for Caddy 'door.example.org', or
    /// with 'http://' before it where something else ends TLS. Varnish is told by its own '-a'.
    #[arg(long, value_name = "ADDRESS")]
    listen: Option<String>,
    /// The certificate for nginx, with its chain.
    #[arg(long, value_name = "FILE", requires = "certificate_key")]
    certificate: Option<PathBuf>,
    /// The certificate's key.
    #[arg(long, value_name = "FILE", requires = "certificate")]
    certificate_key: Option<PathBuf>,
    /// The folder in which nginx keeps what it serves.
    #[arg(
        long,
        value_name = "FOLDER",
        default_value = "/var/cache/nginx/postern"
    )]
    cache: PathBuf,
    /// The most that nginx keeps, as 1g.
    #[arg(long, value_name = "SIZE", default_value = "1g")]
    size: String,
    /// The DNS server that nginx asks for the origin's addresses; the system's own if it is not given.
    #[arg(long, value_name = "ADDRESS")]
    resolver: Option<String>,
    /// The folder that Caddy serves.
    #[arg(long, value_name = "FOLDER")]
    site: Option<PathBuf>,
    /// For how many seconds what changes is kept: the longest that a new catalog is held up.
    #[arg(long, value_name = "SECONDS", default_value_t = BRIEF, value_parser = clap::value_parser!(u32).range(1..=3600))]
    brief: u32,
    /// Pass requests to the control plane on, at the URL that the network names first.
    #[arg(long)]
    control: bool,
    /// The door's URL, as devices reach it: ask it for the whole repository.
    #[arg(long, value_name = "URL")]
    url: Option<String>,
    /// Bring a verified copy of what --origin serves into this folder.
    #[arg(long, value_name = "FOLDER", requires = "origin", conflicts_with_all = ["server", "url"])]
    pull: Option<PathBuf>,
    /// Print the configuration instead of writing it, and ask nobody.
    #[arg(long, requires = "server")]
    dry_run: bool,
    /// Remove the configuration that was written.
    #[arg(long, requires = "out", conflicts_with_all = ["server", "url", "pull"])]
    destroy: bool,
}

/// Writes, asks, or both.
pub async fn run(
    data: &Folder,
    place: impl FnOnce() -> anyhow::Result<Place>,
    options: &Options,
    json: bool,
) -> anyhow::Result<()> {
    let mut steps = Steps::new(json);
    if let (Some(out), true) = (&options.out, options.destroy) {
        let work = async { remove(out) };
        return steps
            .take("remove", "Removes the configuration", work)
            .await;
    }
    let network = Known::of(data, place)?;
    if let (Some(folder), Some(origin)) = (&options.pull, &options.origin) {
        let origin = Door::new(origin)?;
        let work = pull::pull(&network.contact, &origin, folder);
        return steps
            .take("pull", "Brings a verified copy of the repository", work)
            .await;
    }
    if let (Some(server), Some(out)) = (options.server, &options.out) {
        let text = template::fill(&facts(server, options, &network)?)?;
        if options.dry_run {
            if json {
                say!("{}", json!({"configuration": text}));
            } else {
                say!("{text}");
            }
            return Ok(());
        }
        let work = async { write(out, &text) };
        steps
            .take("write", "Writes the configuration", work)
            .await?;
    }
    let Some(url) = &options.url else {
        if options.server.is_none() {
            bail!(
                "say what to do: --server writes a configuration, --url asks a door, --pull brings a copy"
            );
        }
        return Ok(());
    };
    let door = Door::new(url)?;
    let how = options.server.zip(options.out.as_deref());
    let work = async { check::answers(&door).await.with_context(|| start(how)) };
    steps.take("answers", "Asks the door", work).await?;
    let work = check::whole(&door, &network.contact);
    let version = steps
        .take("verify", "Verifies all that it serves", work)
        .await?;
    if let Some(origin) = &options.origin {
        let origin = Door::new(origin)?;
        let work = check::is_current(&origin, version, options.brief);
        steps
            .take("current", "Compares it with its origin", work)
            .await?;
    }
    let work = check::rules(&door, options.brief);
    steps
        .take("rules", "Looks at its rules for caches", work)
        .await?;
    if options.control {
        let work = check::control(&door);
        steps
            .take("control", "Asks for the control plane through it", work)
            .await?;
    }
    let work = async { Ok(check::is_named(&network, &door)) };
    steps
        .take("named", "Looks whether devices know of it", work)
        .await
}

/// What is known of the network here: all on the machine that holds its data folder, and what a profile
/// says elsewhere, as on the machine of a door.
struct Known {
    contact: FirstContact,
    settings: Option<Settings>,
}

impl Known {
    fn of(data: &Folder, place: impl FnOnce() -> anyhow::Result<Place>) -> anyhow::Result<Self> {
        if data.is_made() {
            let settings = data.settings()?;
            return Ok(Self {
                contact: data.first_contact(&settings)?,
                settings: Some(settings),
            });
        }
        let profile = place()?.read().context(
            "a door is checked against the network's root, which a data folder (--data) or a profile has",
        )?;
        Ok(Self {
            contact: profile.contact,
            settings: None,
        })
    }
}

fn facts(program: Program, options: &Options, network: &Known) -> anyhow::Result<Facts> {
    let origin = options.origin.as_deref();
    let origin = || origin.context("name what the door stands before, with --origin URL");
    let listen = options.listen.clone();
    let listen = || listen.context("say where it listens, with --listen ADDRESS");
    let server = match program {
        Program::Nginx => Server::Nginx {
            listen: listen()?,
            certificate: options
                .certificate
                .clone()
                .zip(options.certificate_key.clone()),
            origin: origin()?.parse()?,
            resolver: match &options.resolver {
                Some(resolver) => resolver.clone(),
                None => template::resolver(
                    &std::fs::read_to_string("/etc/resolv.conf").unwrap_or_default(),
                ),
            },
            cache: options.cache.clone(),
            size: options.size.clone(),
        },
        Program::Varnish => Server::Varnish {
            origin: origin()?.parse()?,
        },
        Program::Caddy => Server::Caddy {
            listen: listen()?,
            site: match (&options.site, &network.settings) {
                (Some(site), _) => site.clone(),
                _ => bail!(
                    "name the folder that Caddy serves, with --site: see docs/deploy/doors.md"
                ),
            },
        },
    };
    let control = network.contact.control.first();
    let control = control.filter(|_| options.control).map(|url| url.parse());
    Ok(Facts {
        server,
        brief: options.brief,
        control: control.transpose()?,
    })
}

fn write(out: &Path, text: &str) -> anyhow::Result<Done> {
    let shown = out.display();
    if std::fs::read(out).is_ok_and(|there| there == text.as_bytes()) {
        return Ok(Done::as_it_was((), format!("{shown} is as it should be")));
    }
    if let Some(folder) = out.parent().filter(|folder| !folder.as_os_str().is_empty()) {
        std::fs::create_dir_all(folder).with_context(|| folder.display().to_string())?;
    }
    pull::replace(out, text.as_bytes()).with_context(|| shown.to_string())?;
    Ok(Done::changed((), format!("wrote {shown}")))
}

fn remove(out: &Path) -> anyhow::Result<Done> {
    let shown = out.display();
    match std::fs::remove_file(out) {
        Ok(()) => Ok(Done::changed(
            (),
            format!(
                "removed {shown}: reload the program that read it, and take the door out of the network"
            ),
        )),
        Err(error) if error.kind() == std::io::ErrorKind::NotFound => {
            Ok(Done::as_it_was((), format!("{shown} is not there")))
        }
        Err(error) => Err(error).with_context(|| shown.to_string()),
    }
}

/// How a door is started whose configuration was just written.
fn start(written: Option<(Program, &Path)>) -> String {
    let Some((program, out)) = written else {
        return "the door must run, and be reached from here".to_owned();
    };
    let out = out.display();
    match program {
        Program::Nginx => format!(
            "put {out} into /etc/nginx/sites-enabled, then 'nginx -t' and 'systemctl reload nginx'"
        ),
        Program::Varnish => format!(
            "run 'varnishd -f {out} -a :8080 -s malloc,256m', or name {out} in varnish.service"
        ),
        Program::Caddy => format!(
            "run 'caddy run --config {out}', or put it at /etc/caddy/Caddyfile and 'systemctl reload caddy'"
        ),
    }
}
