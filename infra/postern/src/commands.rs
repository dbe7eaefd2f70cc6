//! One function for each command.

use std::fmt::Write as _;
use std::io::Read as _;
use std::path::{Path, PathBuf};

use api::InviteText;
use client::device::RANDOM_BYTES;
use client::doors::Options;
use client::select::Request;
use client::status::{Online, Status};
use client::text::plain;
use client::{Clock, Context, Error, Locked, Web, decisions, enroll, file, select, status, sync};
use client::{tunnel, verify};
use jiff::Timestamp;
use model::{CatalogName, Invalid, Role};
use serde_json::{Value, json};

use crate::args::{Args, Command, Hop};

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
        Command::Sync => run_sync(&path()?).await,
        Command::Status { online } => run_status(&path()?, online).await,
        Command::Select {
            again,
            failed,
            regions,
        } => run_select(&path()?, select_request(again, &failed, regions)).await,
        Command::Config { out, hop } => run_config(&path()?, out, hop),
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
    let mut random = [0; RANDOM_BYTES];
    getrandom::fill(&mut random)
        .map_err(|error| Error::Internal(format!("the system gives no randomness: {error}")))?;
    let web = Web::new()?;
    let context = context(&web);
    let file = Locked::open(path, file::PATIENCE).await?;
    let enroll::Enrolled {
        mut device,
        already,
    } = enroll::enroll(&file, &invite, &random, &context).await?;
    let synced = sync::sync(&mut device, &context).await;
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
    // Enrollment stands, whatever the first sync came to.
    let sync = match &synced {
        Ok(report) => {
            text += &sync_text(report);
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
        "state": answer.state, "addresses": answer.addresses, "already": already,
        "file": path, "sync": sync,
    });
    Done::new(text, &report)
}

async fn run_sync(path: &Path) -> Result<Done, Error> {
    let web = Web::new()?;
    let file = Locked::open(path, file::PATIENCE).await?;
    let mut device = file.read()?;
    let synced = sync::sync(&mut device, &context(&web)).await;
    // What was learnt of the doors is kept in either case.
    file.save(&device)?;
    let report = synced?;
    Done::new(sync_text(&report), &report)
}

async fn run_status(path: &Path, online: bool) -> Result<Done, Error> {
    let device = file::read(path)?;
    let status = if online {
        status::online(&device, &context(&Web::new()?)).await?
    } else {
        status::status(&device, SystemClock.now())?
    };
    Done::new(status_text(&status), &status)
}

fn select_request(again: bool, failed: &[Hop], regions: Vec<String>) -> Request {
    let role = |hop: &Hop| match hop {
        Hop::Outer => Role::Ingress,
        Hop::Inner => Role::Egress,
    };
    Request {
        again,
        failed: failed.iter().map(role).collect(),
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

fn run_config(path: &Path, out: Option<PathBuf>, hop: Option<Hop>) -> Result<Done, Error> {
    let device = file::read(path)?;
    let configs = tunnel::configs(&device, SystemClock.now())?;
    for note in &configs.notes {
        eprintln!("postern: {note}: bring the tunnels up anew");
    }
    if configs.catalog.is_stale() {
        eprintln!("postern: the catalog {}", configs.catalog);
    }
    let hops = [
        (Hop::Outer, tunnel::OUTER, &configs.outer),
        (Hop::Inner, tunnel::INNER, &configs.inner),
    ];
    let wanted = hops
        .iter()
        .filter(|(this, ..)| hop.is_none_or(|hop| hop == *this));
    let Some(folder) = out else {
        let texts: Vec<_> = wanted.map(|(.., text)| text.as_str()).collect();
        return Done::new(texts.join("\n"), &configs);
    };

    let written = |at: &Path, source| Error::File {
        path: at.to_owned(),
        doing: "write",
        source,
    };
    file::create_folder(&folder).map_err(|source| written(&folder, source))?;
    let mut text = String::new();
    let mut files = Vec::new();
    for (_, name, config) in wanted {
        let at = folder.join(format!("{name}.conf"));
        file::replace(&at, config.as_bytes()).map_err(|source| written(&at, source))?;
        let _ = writeln!(text, "wrote {}", at.display());
        files.push(at);
    }
    let report = json!({"files": files, "notes": configs.notes, "catalog": configs.catalog});
    Done::new(text, &report)
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
    for verify::Listed { catalog, gateways } in &report.catalogs {
        let _ = writeln!(text, "The catalog '{catalog}' lists {gateways} gateways.");
    }
    if report.catalogs.is_empty() {
        text += "It holds no catalog: it is for gateways.\n";
    }
    push_skipped(&mut text, &report.skipped);
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

fn sync_text(report: &sync::Report) -> String {
    let news = if report.changed { "New" } else { "Nothing new" };
    let mut text = format!(
        "{news}: version {} lists {} gateways, valid until {:.0}, from {}.\n",
        report.version, report.gateways, report.expires, report.door
    );
    for outcome in &report.outcomes {
        if outcome.door != report.door {
            let _ = writeln!(text, "  {}", plain(&outcome.text()));
        }
    }
    if report.stale {
        let _ = writeln!(text, "The catalog {}.", report.standing);
    }
    push_skipped(&mut text, &report.skipped);
    text
}

fn push_skipped(text: &mut String, skipped: &[String]) {
    for line in skipped {
        let _ = writeln!(text, "  left out: {}", plain(line));
    }
}

fn status_text(status: &Status) -> String {
    let mut text = format!("device   {} in {}\n", status.device, status.network);
    let mut line = |name: &str, value: String| {
        let _ = writeln!(text, "{name:<8} {}", plain(&value));
    };
    match (&status.cohort, &status.addresses) {
        (Some(cohort), Some(addresses)) => {
            line("cohort", cohort.to_string());
            line(
                "outer",
                format!("{}, {}", addresses.outer, addresses.outer6),
            );
            line(
                "inner",
                format!("{}, {}", addresses.inner, addresses.inner6),
            );
        }
        _ => line("enrolled", "not yet: run postern enroll again".to_owned()),
    }
    match (&status.catalog, &status.damaged) {
        (Some(catalog), _) => line(
            "catalog",
            format!(
                "version {}, {} gateways, {}",
                catalog.version, catalog.gateways, catalog.standing
            ),
        ),
        (None, Some(why)) => line(
            "catalog",
            format!("damaged ({why}): run postern sync, which fetches it anew"),
        ),
        (None, None) => line("catalog", "none yet: run postern sync".to_owned()),
    }
    match &status.selection {
        Some(selection) => {
            for gateway in [&selection.ingress, &selection.egress] {
                let role = gateway.role.to_string();
                line(&role, format!("{} in {}", gateway.id, gateway.region));
            }
        }
        None => line("gateways", "none selected: run postern select".to_owned()),
    }
    for (door, history) in &status.doors {
        let time = match history.rtt_ms {
            None => "never measured".to_owned(),
            Some(0) => "under 1 ms".to_owned(),
            Some(ms) => format!("{ms} ms"),
        };
        let failures = match history.failures {
            0 => String::new(),
            failures => format!(", failed {failures} times in a row"),
        };
        line("door", format!("{door} ({time}{failures})"));
    }
    match &status.online {
        None => {}
        Some(Online::Answer(answer)) => {
            line(
                "online",
                format!("the control plane says: {:?}", answer.state).to_lowercase(),
            );
        }
        Some(Online::Error { message, .. }) => line("online", message.clone()),
    }
    text
}

#[cfg(test)]
mod tests {
    use client::Device;
    use model::{FirstContact, FrontDoor, RootPin};

    use super::*;

    #[test]
    fn a_status_says_under_1_ms_and_what_is_damaged_and_obeys_nobody() {
        let door = "http://127.0.0.1:1/\u{1b}[2J".to_owned();
        let contact = FirstContact {
            network: "n-abcdefgh".parse().unwrap(),
            root: RootPin {
                version: 1,
                sha256: "0".repeat(64),
            },
            front_doors: vec![FrontDoor {
                url: door.clone(),
                fallback: Vec::new(),
            }],
            control: Vec::new(),
        };
        let invite = InviteText {
            contact,
            secret: [1; 16],
        };
        let mut device = Device::new(&invite, &[7; RANDOM_BYTES]);
        let memory = device.doors.entry(door).or_default();
        memory.history.rtt_ms = Some(0);
        let mut status = status::status(&device, Timestamp::UNIX_EPOCH).unwrap();
        status.damaged = Some("altered".to_owned());

        let text = status_text(&status);

        assert!(text.contains("1/\u{fffd}[2J (under 1 ms)"), "{text}");
        assert!(text.contains("catalog  damaged (altered)"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
