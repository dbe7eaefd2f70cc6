//! One function for each command.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use api::InviteText;
use client::device::RANDOM_BYTES;
use client::doors::Options;
use client::refresh::Asking;
use client::select::Request;
use client::text::{plain, plain_lines};
use client::{Clock, Context, Error, Locked, Web, decisions, enroll, file, select, status, sync};
use client::{refresh, reissue, rotate, tunnel, verify};
use jiff::Timestamp;
use model::{CatalogName, Invalid, Role};
use serde_json::{Value, json};

use crate::args::{Args, Command, Hop};
use crate::texts;

/// What a command has to say.
pub struct Done {
    /// For people.
    pub text: String,
    /// For programs.
    pub json: Value,
    /// Whether it is an answer that should fail a script (`explain` found a difference).
    pub failed: bool,
}

impl Done {
    fn new(text: String, report: &impl serde::Serialize) -> Result<Self, Error> {
        let json = serde_json::to_value(report)
            .map_err(|error| Error::Internal(format!("the report is not JSON: {error}")))?;
        Ok(Self {
            text,
            json,
            failed: false,
        })
    }
}

/// Does what the arguments ask.
pub async fn run(args: Args) -> Result<Done, Error> {
    let path = || file::locate(args.device);
    match args.command {
        Command::Enroll { invite } => run_enroll(&path()?, &invite).await,
        Command::Sync { contact } => {
            let asking = if contact {
                Asking::Now
            } else {
                Asking::WhenDue
            };
            run_sync(&path()?, asking).await
        }
        Command::Rotate => run_rotate(&path()?).await,
        Command::Status { online } => run_status(&path()?, online).await,
        Command::Select {
            again,
            failed,
            regions,
        } => run_select(&path()?, select_request(again, &failed, regions)).await,
        Command::Config { out, hop } => run_config(&path()?, out, hop).await,
        Command::Explain => run_explain(&path()?),
        Command::Verify {
            path: what,
            invite,
            catalog,
        } => {
            let basis = match invite {
                Some(invite) => verify::Basis::of_contact(read_invite(&invite)?.contact),
                None => verify::Basis::of_device(&file::read(&path()?)?),
            };
            run_verify(basis, &what, catalog)
        }
    }
}

/// The system's clock: the only place in this program that asks it.
struct SystemClock;

impl Clock for SystemClock {
    #[expect(clippy::disallowed_methods, reason = "this is the program's clock")]
    fn now(&self) -> Timestamp {
        Timestamp::now()
    }
}

fn context(web: &Web) -> Context<'_> {
    Context {
        web,
        clock: &SystemClock,
        options: Options::default(),
    }
}

async fn run_enroll(path: &Path, invite: &str) -> Result<Done, Error> {
    let invite = read_invite(invite)?;
    let random = random()?;
    let web = Web::new()?;
    let context = context(&web);
    let file = Locked::open(path, file::PATIENCE).await?;
    let enroll::Enrolled {
        mut device,
        already,
        new_doors,
    } = enroll::enroll(&file, &invite, &random, &context).await?;
    let synced = sync::sync_kept(&file, &mut device, &context).await;
    file.save(&device)?;

    let state = if already {
        "already enrolled"
    } else {
        "enrolled"
    };
    let mut text = format!(
        "This device is {state} as {} in {}.\n",
        device.id(),
        device.network()
    );
    if device.invite != invite.id() {
        let _ = writeln!(
            text,
            "It took {new_doors} new front doors from this invite. To enroll another device with it, name another \
             device file with --device FILE."
        );
    }
    // Enrollment stands, whatever the first sync came to.
    let sync = match &synced {
        Ok(report) => {
            text += &texts::sync(report);
            text += "Next: postern select, then postern config --out DIR\n";
            json!(report)
        }
        Err(error) => {
            let _ = writeln!(
                text,
                "The first sync did not work: {}\nNext: postern sync",
                plain(&error.to_string())
            );
            crate::output::error_json(error)
        }
    };
    let answer = device.enrolled()?;
    let report = json!({
        "device": answer.device, "network": device.network(), "cohort": answer.cohort,
        "state": answer.state, "addresses": answer.addresses, "already": already, "new_doors": new_doors,
        "file": path, "sync": sync,
    });
    Done::new(text, &report)
}

async fn run_sync(path: &Path, asking: Asking) -> Result<Done, Error> {
    let web = Web::new()?;
    let file = Locked::open(path, file::PATIENCE).await?;
    let mut device = file.read()?;
    let random = random()?;
    let refreshed = refresh::refresh(&file, &mut device, asking, &random, &context(&web)).await?;
    let (mut text, mut report) = texts::beside(&refreshed);
    match refreshed.sync {
        Ok(synced) => {
            text.insert_str(0, &texts::sync(&synced));
            if let (Value::Object(report), Value::Object(synced)) = (&mut report, json!(synced)) {
                report.extend(synced);
            }
            Done::new(text, &report)
        }
        Err(error) => {
            // What else was done stands, and is said.
            eprint!("{}", plain_lines(&text));
            Err(error)
        }
    }
}

async fn run_rotate(path: &Path) -> Result<Done, Error> {
    let web = Web::new()?;
    let file = Locked::open(path, file::PATIENCE).await?;
    let mut device = file.read()?;
    let random = random()?;
    let rotated = rotate::rotate(&file, &mut device, &random, &context(&web)).await?;
    let reissued = reissue::reissue(&mut device, SystemClock.now());
    file.save(&device)?;
    let mut text = texts::rotated(&rotated);
    let reissued = match reissued {
        Ok(None) => Value::Null,
        Ok(Some(reissued)) => {
            text += &texts::reissued(&reissued);
            json!(reissued)
        }
        // The keys are new all the same.
        Err(error) => {
            let _ = writeln!(text, "The tunnel configs are still the old ones: {error}");
            crate::output::error_json(&error)
        }
    };
    let report = json!({
        "device": device.id(), "previous_until": rotated.previous_until,
        "resumed": rotated.resumed, "reissued": reissued,
    });
    Done::new(text, &report)
}

/// Randomness for new keys.
fn random() -> Result<[u8; RANDOM_BYTES], Error> {
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Internal(format!("the system gives no randomness: {error}")))?;
    Ok(random)
}

async fn run_status(path: &Path, online: bool) -> Result<Done, Error> {
    let device = file::read(path)?;
    let status = if online {
        status::online(&device, &context(&Web::new()?)).await?
    } else {
        status::status(&device, SystemClock.now())?
    };
    Done::new(texts::status(&status), &status)
}

fn select_request(again: bool, failed: &[Hop], regions: Vec<String>) -> Request {
    Request {
        again,
        failed: failed.iter().copied().map(role).collect(),
        regions: match &regions[..] {
            [] => None,
            [any] if any == "any" => Some(Vec::new()),
            _ => Some(regions),
        },
    }
}

async fn run_select(path: &Path, request: Request) -> Result<Done, Error> {
    let file = Locked::open(path, file::PATIENCE).await?;
    let mut device = file.read()?;
    let report = select::select(&mut device, &request, SystemClock.now())?;
    file.save(&device)?;

    let mut text = String::new();
    for chosen in [&report.ingress, &report.egress] {
        let gateway = &chosen.gateway;
        let _ = writeln!(
            text,
            "{}: {} in {} ({})",
            gateway.role,
            gateway.id,
            plain(&gateway.region),
            chosen.why
        );
    }
    if report.catalog.is_stale() {
        let _ = writeln!(text, "The catalog {}.", report.catalog);
    }
    if report.changed {
        text += "Next: postern config --out DIR\n";
    }
    Done::new(text, &report)
}

async fn run_config(path: &Path, out: Option<PathBuf>, hop: Option<Hop>) -> Result<Done, Error> {
    let file = Locked::open(path, file::PATIENCE).await?;
    let mut device = file.read()?;
    let configs = tunnel::configs(&device, SystemClock.now())?;
    if configs.catalog.is_stale() {
        eprintln!("postern: the catalog {}", configs.catalog);
    }
    if let Some(folder) = &out {
        file::create_folder(folder).map_err(|source| unwritten(folder, source))?;
    }
    let (mut texts, mut files, mut changes) = (Vec::new(), Vec::new(), Vec::new());
    for (this, name) in [(Hop::Outer, tunnel::OUTER), (Hop::Inner, tunnel::INNER)] {
        if hop.is_some_and(|hop| hop != this) {
            continue;
        }
        let (config, _) = configs.of(role(this));
        let at = match &out {
            Some(folder) => Some(write_config(folder, name, config)?),
            None => None,
        };
        texts.push(match &at {
            Some(at) => format!("wrote {}", at.display()),
            None => config.to_owned(),
        });
        files.extend(at.clone());
        changes.extend(reissue::issued(&mut device, &configs, role(this), at));
    }
    file.save(&device)?;
    for change in &changes {
        eprintln!("postern: {change}: bring the tunnels up anew");
    }
    if out.is_none() {
        let mut done = Done::new(texts.join("\n"), &configs)?;
        done.json["changes"] = json!(changes);
        return Ok(done);
    }
    let report = json!({"files": files, "changes": changes, "catalog": configs.catalog});
    Done::new(texts.join("\n") + "\n", &report)
}

/// Writes one config, readable by its owner alone; where it is, for `sync`, which may run in another
/// folder.
fn write_config(folder: &Path, name: &str, config: &str) -> Result<PathBuf, Error> {
    let folder = folder
        .canonicalize()
        .map_err(|source| unwritten(folder, source))?;
    let at = folder.join(format!("{name}.conf"));
    file::replace(&at, config).map_err(|source| unwritten(&at, source))?;
    Ok(at)
}

fn unwritten(at: &Path, source: std::io::Error) -> Error {
    Error::File {
        path: at.to_owned(),
        doing: "write",
        source,
    }
}

fn role(hop: Hop) -> Role {
    match hop {
        Hop::Outer => Role::Ingress,
        Hop::Inner => Role::Egress,
    }
}

fn run_explain(path: &Path) -> Result<Done, Error> {
    let device = file::read(path)?;
    let replays = decisions::explain(&device.decisions);
    let identical = replays.iter().all(|replay| replay.identical);
    let mut text: String = replays.iter().map(decisions::Replay::text).collect();
    if replays.is_empty() {
        text += "No decision was made yet.\n";
    }
    let report = json!({"identical": identical, "decisions": replays});
    let mut done = Done::new(text, &report)?;
    done.failed = !identical;
    Ok(done)
}

fn run_verify(
    basis: verify::Basis,
    what: &Path,
    catalog: Option<CatalogName>,
) -> Result<Done, Error> {
    let basis = match catalog {
        Some(catalog) => basis.for_catalog(catalog),
        None => basis,
    };
    let report = basis.verify(what, SystemClock.now())?;
    let mut text = format!(
        "{} verifies: root {}, version {}, {}.\n",
        what.display(),
        report.root_version,
        report.version,
        report.standing
    );
    let _ = writeln!(text, "Checked {} files.", report.files);
    for listed in &report.catalogs {
        let (catalog, gateways) = (&listed.catalog, listed.gateways);
        let _ = write!(text, "The catalog '{catalog}' lists {gateways} gateways");
        let verify::Sealed { slices, opened } = listed.sealed;
        if slices > 0 {
            let _ = write!(
                text,
                " in {opened} of {slices} slices that the keys here open"
            );
        }
        text += ".\n";
    }
    if report.catalogs.is_empty() {
        text += "It holds no catalog: it is for gateways.\n";
    }
    texts::push_skipped(&mut text, &report.skipped);
    Done::new(text, &report)
}

/// An invite from its text, a file, or standard input.
fn read_invite(given: &str) -> Result<InviteText, Error> {
    if given.trim_start().starts_with("postern://") {
        return Ok(InviteText::parse(given)?);
    }
    let mut text = String::new();
    let read = if given == "-" {
        std::io::stdin().read_to_string(&mut text)
    } else {
        std::fs::File::open(given).and_then(|mut file| file.read_to_string(&mut text))
    };
    match read {
        Ok(_) => Ok(InviteText::parse(&text)?),
        Err(error) => {
            let why = format!(
                "'{given}' is neither an invite's text nor a file that can be read ({error})"
            );
            Err(Error::Invite(Invalid::new("invite", why)))
        }
    }
}
