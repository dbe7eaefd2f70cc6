//! `posternctl state`: the whole state as one document, `postern-state/1` (docs/state.md).
//!
//! `export` and `import` work on the database itself, not through a control plane: whoever may open it may do
//! so. What is wrong with a document is printed record by record, as soon as it is found; with `--json` each
//! finding, and at last the summary, is a line of JSON. The exit code is 3 where a record was left out.

mod forms;
mod spool;
mod teller;

use std::collections::BTreeMap;
use std::fs::File;
use std::io::{BufReader, BufWriter, Write};
use std::path::{Path, PathBuf};

use anyhow::{Context, bail};
use clap::Subcommand;
use control::state::{self, Counts, Document, Exported, Imported, Rules, Settled, StateError};
use model::Network;
use store::Archive;
use tempfile::NamedTempFile;

use crate::data::Folder;
use crate::stores::StoreUrl;
use spool::FileSpool;
use teller::Teller;

/// How often an export begins anew where a database without snapshots changed too much meanwhile.
const MOST_TRIES: u32 = 5;

/// What to do with a document.
#[derive(Subcommand, Clone)]
pub enum StateAction {
    /// Write the state as of one moment as a document, while others go on.
    Export {
        /// The database, if it is not the network's: sqlite:PATH, postgres://…, dynamodb:TABLE.
        #[arg(long, value_name = "URL")]
        store: Option<StoreUrl>,
        /// The file, which is replaced as a whole; standard output if it is not given.
        #[arg(long, value_name = "FILE")]
        out: Option<PathBuf>,
    },
    /// Say of every record of a document that cannot be taken why, and change nothing.
    Check {
        /// The document.
        file: PathBuf,
    },
    /// How many items there are of each form, and how far writing the older ones anew is.
    Forms {
        /// The database, if it is not the network's.
        #[arg(long, value_name = "URL")]
        store: Option<StoreUrl>,
    },
    /// Put a document into an empty database, or go on with an import that was stopped.
    Import {
        /// The document.
        file: PathBuf,
        /// The database, if it is not the network's.
        #[arg(long, value_name = "URL")]
        store: Option<StoreUrl>,
        /// Import nothing if any record cannot be taken.
        #[arg(long)]
        strict: bool,
    },
}

/// Something was left out: the program says so with an exit code of its own.
#[derive(Debug, thiserror::Error)]
#[error("{0}")]
pub struct LeftOut(String);

impl LeftOut {
    /// The exit code.
    pub const EXIT: u8 = 3;
}

/// `posternctl state`.
pub async fn run(data: &Folder, action: StateAction, json: bool) -> anyhow::Result<()> {
    match action {
        StateAction::Export { store, out } => export(data, store, out.as_deref(), json).await,
        StateAction::Check { file } => check(data, &file, json),
        StateAction::Forms { store } => forms::show(data, &url(data, store)?, json).await,
        StateAction::Import {
            file,
            store,
            strict,
        } => import(data, &file, (store, strict), json).await,
    }
}

async fn export(
    data: &Folder,
    store: Option<StoreUrl>,
    out: Option<&Path>,
    json: bool,
) -> anyhow::Result<()> {
    let network = settings(data)?;
    let store = url(data, store)?.open_to_read(data).await?;
    // The document may go to standard output, so that nothing else does.
    let mut teller = Teller::on_stderr(json);
    let exported = if let Some(path) = out {
        let folder = path
            .parent()
            .filter(|folder| !folder.as_os_str().is_empty());
        let file = NamedTempFile::new_in(folder.unwrap_or(Path::new(".")));
        let mut file = file.with_context(|| path.display().to_string())?;
        let exported = write(&*store, network.as_ref(), &mut file, &mut teller).await?;
        file.as_file().sync_all()?;
        file.persist(path)
            .with_context(|| path.display().to_string())?;
        exported
    } else {
        // What was written cannot be taken back: it goes there when it is whole.
        let mut file = tempfile::tempfile()?;
        let exported = write(&*store, network.as_ref(), &mut file, &mut teller).await?;
        std::io::Seek::rewind(&mut file)?;
        match std::io::copy(&mut file, &mut std::io::stdout().lock()) {
            // A reader that has closed its end has seen enough.
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => {}
            copied => drop(copied?),
        }
        exported
    };
    teller.ends();
    tell_export(&exported, &teller)?;
    left_out(
        exported.counts.rejected,
        "in the store and not in the document",
    )
}

/// Writes the document, again where the database changed too much while it was read.
async fn write(
    store: &dyn Archive,
    network: Option<&Network>,
    file: &mut (impl Write + std::io::Seek + Truncate),
    teller: &mut Teller,
) -> anyhow::Result<Exported> {
    for tries in 1.. {
        let mut spool = FileSpool::new()?;
        let mut document = BufWriter::new(&mut *file);
        let places = (&mut spool as _, &mut document as _);
        match state::export(store, crate::now(), network, places, teller).await {
            Ok(exported) => {
                document.flush()?;
                return Ok(exported);
            }
            Err(StateError::Store(store::StoreError::Unavailable(why))) if tries < MOST_TRIES => {
                drop(document);
                tracing::warn!("the export begins anew: {why}");
                file.rewind()?;
                file.truncate()?;
            }
            Err(error) => return Err(error.into()),
        }
    }
    unreachable!("the last try returns")
}

/// A file that can be made empty.
trait Truncate {
    fn truncate(&mut self) -> std::io::Result<()>;
}

impl Truncate for File {
    fn truncate(&mut self) -> std::io::Result<()> {
        self.set_len(0)
    }
}

impl Truncate for NamedTempFile {
    fn truncate(&mut self) -> std::io::Result<()> {
        self.as_file().set_len(0)
    }
}

fn tell_export(exported: &Exported, teller: &Teller) -> anyhow::Result<()> {
    if teller.json {
        teller.line(&serde_json::to_string(
            &serde_json::json!({"exported": exported}),
        )?);
        return Ok(());
    }
    teller.line(&format!("{} records were written", exported.records));
    let left = exported.left.iter();
    let left: Vec<String> = left
        .map(|(kind, count)| format!("{count} {kind}"))
        .collect();
    if !left.is_empty() {
        teller.line(&format!(
            "made anew, and not in the document: {}",
            left.join(", ")
        ));
    }
    if exported.left.contains_key("nodes") {
        teller.line(
            "this network rents nodes, whose records stay behind: move it with 'posternctl backup', or \
             retire them first",
        );
    }
    Ok(())
}

fn check(data: &Folder, file: &Path, json: bool) -> anyhow::Result<()> {
    let mut teller = Teller::on_stdout(json);
    let mut spool = FileSpool::new()?;
    let (document, settled) = take(data, file, &mut spool, &mut teller)?;
    teller.ends();
    summary(&document, &settled, &teller, None)?;
    let counts = sum(&document, &settled);
    if counts.fatal > 0 {
        bail!("the document cannot be imported: see what is fatal");
    }
    left_out(counts.rejected, "that cannot be taken")
}

async fn import(
    data: &Folder,
    file: &Path,
    (store, strict): (Option<StoreUrl>, bool),
    json: bool,
) -> anyhow::Result<()> {
    // An 'up' that runs would find the state half there.
    let _lock = data.is_made().then(|| data.lock()).transpose()?;
    let mut teller = Teller::on_stdout(json);
    let mut spool = FileSpool::new()?;
    let (document, settled) = take(data, file, &mut spool, &mut teller)?;
    let counts = sum(&document, &settled);
    if strict && counts.rejected > 0 {
        teller.ends();
        bail!(
            "nothing was imported: {} cannot be taken, and --strict was said",
            records(counts.rejected)
        );
    }
    let store = url(data, store)?.open(data).await?;
    let sources = (&document, &settled);
    let imported = state::import(&*store, crate::now(), sources, &spool, &mut teller).await?;
    teller.ends();
    summary(&document, &settled, &teller, Some(&imported))?;
    if !json && imported.commits == 0 {
        say!("all of it was there already: nothing was changed");
    } else if !json && imported.before > 0 {
        say!(
            "an import that was stopped was gone on with: {} were there already",
            records(imported.before)
        );
    }
    left_out(counts.rejected, "left out")
}

/// Reads and settles the document at `path`.
fn take(
    data: &Folder,
    path: &Path,
    spool: &mut FileSpool,
    teller: &mut Teller,
) -> anyhow::Result<(Document, Settled)> {
    let file = File::open(path).with_context(|| path.display().to_string())?;
    let size = file.metadata().ok().map(|metadata| metadata.len());
    let document = state::read(BufReader::new(file), size, spool, teller)?;
    let mut rules = Rules::default();
    if let Some(network) = settings(data)? {
        fits(&document, &network)?;
        rules.cohorts = Some(data.offline()?.limits.cohorts.into_iter().collect());
    }
    let settled = state::settle(&document.network, &rules, spool, teller)?;
    Ok((document, settled))
}

/// The settings in the data folder, if a network was made there.
fn settings(data: &Folder) -> anyhow::Result<Option<Network>> {
    let settings = data.is_made().then(|| data.settings()).transpose()?;
    Ok(settings.map(|settings| settings.network))
}

/// Refuses a document that is of another network than the data folder, or whose devices would have other
/// addresses here.
fn fits(document: &Document, network: &Network) -> anyhow::Result<()> {
    let of = &document.network;
    if of.id != network.id {
        bail!(
            "the document is of the network {}, and the data folder of {}: name the folder of {} with --data",
            of.id,
            network.id,
            of.id
        );
    }
    if of.pools != network.pools {
        bail!(
            "the address pools of the document are not those of network.json: every device would have other \
             addresses"
        );
    }
    Ok(())
}

fn url(data: &Folder, store: Option<StoreUrl>) -> anyhow::Result<StoreUrl> {
    store.map_or_else(|| StoreUrl::of(data), Ok)
}

fn sum(document: &Document, settled: &Settled) -> Counts {
    Counts {
        notes: document.counts.notes + settled.counts.notes,
        rejected: document.counts.rejected + settled.counts.rejected,
        fatal: document.counts.fatal + settled.counts.fatal,
    }
}

fn summary(
    document: &Document,
    settled: &Settled,
    teller: &Teller,
    imported: Option<&Imported>,
) -> anyhow::Result<()> {
    let counts = sum(document, settled);
    if teller.json {
        let summary = serde_json::json!({"summary": {
            "network": document.network.id,
            "document": document.sha256,
            "records": document.records,
            "taken": settled.taken,
            "counts": counts,
            "imported": imported,
        }});
        teller.line(&serde_json::to_string(&summary)?);
        return Ok(());
    }
    let taken: BTreeMap<&str, u64> = settled.taken.clone();
    let taken: Vec<String> = taken
        .into_iter()
        .map(|(section, count)| format!("{count} {section}"))
        .collect();
    teller.line(&format!(
        "network {}, document {}: {}",
        document.network.id,
        &document.sha256[..16],
        taken.join(", ")
    ));
    teller.line(&format!(
        "{} read, {} rejected, {} noted",
        records(document.records),
        counts.rejected,
        counts.notes
    ));
    Ok(())
}

fn records(count: u64) -> String {
    match count {
        1 => "1 record".to_owned(),
        count => format!("{count} records"),
    }
}

/// Fails where something was left out.
fn left_out(count: u64, what: &str) -> anyhow::Result<()> {
    if count == 0 {
        return Ok(());
    }
    Err(LeftOut(format!("{} {what}: see above", records(count))).into())
}
