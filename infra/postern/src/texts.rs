//! What commands say to people, and of a sync's other parts to programs.

use std::fmt::Write as _;

use client::refresh::{Contacted, Refreshed};
use client::reissue::Reissued;
use client::rotate::Rotated;
use client::status::{Online, Status};
use client::text::plain;
use serde_json::{Value, json};

/// What a refresh did beside the sync itself.
pub fn beside(refreshed: &Refreshed) -> (String, Value) {
    let mut text = String::new();
    let contact = match &refreshed.contact {
        None => json!({"state": "not-due"}),
        Some(Contacted::Answered { other_catalog }) => {
            json!({"state": "answered", "other_catalog": other_catalog})
        }
        Some(Contacted::OtherKeys { until }) => {
            let until = until.map_or("soon".to_owned(), |until| format!("at {until:.0}"));
            let _ = writeln!(
                text,
                "Another copy of this device file took new keys; those of this one end {until}: use the \
                 other copy, or enroll anew."
            );
            json!({"state": "other-keys"})
        }
        Some(Contacted::Failed(error)) => {
            let _ = writeln!(text, "The control plane was not reached: {error}");
            crate::output::error_json(error)
        }
    };
    let rotation = match &refreshed.rotation {
        None => Value::Null,
        Some(Ok(rotated)) => {
            text += &self::rotated(rotated);
            json!(rotated)
        }
        Some(Err(error)) => {
            let _ = writeln!(
                text,
                "The rotation has not ended, the next sync goes on: {error}"
            );
            crate::output::error_json(error)
        }
    };
    let reissue = match &refreshed.reissue {
        Ok(None) => Value::Null,
        Ok(Some(reissued)) => {
            text += &self::reissued(reissued);
            json!(reissued)
        }
        Err(error) => {
            let _ = writeln!(text, "The tunnel configs stay as they are: {error}");
            crate::output::error_json(error)
        }
    };
    let report = json!({"contact": contact, "rotation": rotation, "reissued": reissue});
    (text, report)
}

/// New keys.
pub fn rotated(rotated: &Rotated) -> String {
    let mut text = "This device has new keys.".to_owned();
    if let Some(until) = rotated.previous_until {
        let _ = write!(text, " Tunnels with the old ones work until {until:.0}.");
    }
    text.push('\n');
    text
}

/// Configs that were written anew.
pub fn reissued(reissued: &Reissued) -> String {
    let mut text = String::new();
    for change in &reissued.changes {
        let _ = writeln!(text, "Changed: {change}");
    }
    for file in &reissued.files {
        let _ = writeln!(text, "Wrote {} anew.", file.display());
    }
    if reissued.by_hand {
        text += "Next: postern config\n";
    }
    text += "Bring the tunnels up anew.\n";
    text
}

/// A sync's report.
pub fn sync(report: &client::sync::Report) -> String {
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
    if report.sealed.is_shut() {
        text += SHUT;
    }
    if report.stale {
        let _ = writeln!(text, "The catalog {}.", report.standing);
    }
    if !report.clock.is_plausible() {
        let _ = writeln!(text, "About the time: {}.", report.clock);
    }
    push_skipped(&mut text, &report.skipped);
    text
}

/// What is said where nothing of the newest catalog can be opened.
const SHUT: &str = "This device holds no key that opens the newest catalog: what is listed here is from the \
                    last one that it opened. It gets keys at its next contact with the control plane: \
                    sync again where that can be reached.\n";

/// What was left out of a catalog.
pub fn push_skipped(text: &mut String, skipped: &[String]) {
    for line in skipped {
        let _ = writeln!(text, "  left out: {}", plain(line));
    }
}

/// What a device knows.
pub fn status(status: &Status) -> String {
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
                "version {}, {} gateways, {}{}",
                catalog.version,
                catalog.gateways,
                catalog.standing,
                if catalog.sealed.is_shut() {
                    "; no key here opens the newest one: run postern sync"
                } else {
                    ""
                }
            ),
        ),
        (None, Some(why)) => line(
            "catalog",
            format!("damaged ({why}): run postern sync, which fetches it anew"),
        ),
        (None, None) => line("catalog", "none yet: run postern sync".to_owned()),
    }
    if !status.clock.is_plausible() {
        line("clock", status.clock.to_string());
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
    use api::InviteText;
    use client::Device;
    use client::device::RANDOM_BYTES;
    use jiff::Timestamp;
    use model::{FirstContact, FrontDoor, RootPin};

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
            control_key: None,
        };
        let invite = InviteText {
            contact,
            secret: [1; 16],
        };
        let mut device = Device::new(&invite, &[7; RANDOM_BYTES]);
        let memory = device.doors.entry(door).or_default();
        memory.history.rtt_ms = Some(0);
        let now = Timestamp::UNIX_EPOCH;
        let mut status = client::status::status(&device, now).unwrap();
        status.damaged = Some("altered".to_owned());

        let text = super::status(&status);

        assert!(text.contains("1/\u{fffd}[2J (under 1 ms)"), "{text}");
        assert!(text.contains("catalog  damaged (altered)"), "{text}");
        assert!(!text.contains('\u{1b}'));
    }
}
