//! `posternctl state forms`: how many items a store has of each form, and how far the background is.

use control::migration::{self, Census, Left};
use serde_json::json;

use crate::data::Folder;
use crate::stores::StoreUrl;
use crate::{now, show};

/// How many items are read at once.
const PAGE: usize = 500;

/// Reads all items, and says of which forms they are.
pub async fn show(data: &Folder, url: &StoreUrl, json: bool) -> anyhow::Result<()> {
    let store = url.open_to_read(data).await?;
    let progress = migration::progress(store.as_ref(), now()).await?;
    // Others may change items while it reads: so the counts are of about now, which is enough.
    let mut snapshot = store.snapshot(now(), |_| false).await?;
    let mut census = Census::default();
    loop {
        let items = snapshot.next(PAGE).await?;
        if items.is_empty() {
            break;
        }
        for item in &items {
            census.add(item);
        }
    }
    let left = migration::left(&progress, now());
    if json {
        let line = json!({"forms": census.rows(), "unreadable": census.unreadable(), "left": left, "progress": progress});
        say!("{line}");
        return Ok(());
    }
    let mut table = show::table(&["kind", "form", "items", ""]);
    for row in census.rows() {
        table.add_row(vec![
            row.kind.to_owned(),
            row.form.to_string(),
            row.items.to_string(),
            row.standing.to_string(),
        ]);
    }
    say!("{table}");
    for why in census.unreadable() {
        say!("cannot be read: {why}");
    }
    say!("{}", said(&progress, &left));
    Ok(())
}

/// How far the background is, in words.
fn said(progress: &migration::Progress, left: &Left) -> String {
    match (left, &progress.pass) {
        (Left::Nothing, _) => "Nothing is left to be written anew.".to_owned(),
        (Left::Waits { until }, Some(pass)) => format!(
            "The background has written {} items anew, and looks through all of them once more after {until:.0}.",
            pass.rewritten
        ),
        (_, Some(pass)) => format!(
            "The background is at it since {:.0}: {} items read, {} written anew, {} that others were faster with, {} \
             that it cannot read.",
            pass.began_at, pass.read, pass.rewritten, pass.lost, pass.unreadable
        ),
        (_, None) => {
            "The background has not begun: 'posternctl up' or the schedule of 'publish' does it."
                .to_owned()
        }
    }
}
