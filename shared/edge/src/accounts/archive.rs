//! Where the evidence of runs is kept: a bucket, or a folder.

use std::sync::Arc;

use async_trait::async_trait;
use control::Moment;
use control::fleet::evidence::{Archive, Evidence, Listing};
use control::publish::Mirror;
use providers::Fault;

use super::Opened;
use crate::Edge;
use crate::mirrors::{Keys, MakeHttp, MirrorSetting};
use crate::settings::{self, Reader, Setting};

/// Where evidence is kept.
pub const EVIDENCE: Setting = Setting {
    name: "POSTERN_EVIDENCE",
    holds: r#"the bucket for the records of runs, as {"kind":"s3","name":"evidence","bucket":"postern-evidence","region":"eu-central-1"}"#,
};

/// What evidence is put on. Nobody serves it.
#[derive(Clone)]
pub struct Shelf(Arc<dyn Mirror>);

impl Shelf {
    /// A place that is opened already.
    pub fn new(place: Arc<dyn Mirror>) -> Self {
        Self(place)
    }

    /// Reads it from a deployment's settings; `http` reaches buckets.
    pub fn from_settings(reader: &mut Reader<'_>, http: MakeHttp) -> Option<Self> {
        let keys = Keys::read(reader);
        let place = reader.required(EVIDENCE, |text| {
            let place: MirrorSetting = settings::json(text)?;
            // Without keys there is a fault already.
            let none = Keys::default();
            place.open(keys.as_ref().unwrap_or(&none), &http()?)
        });
        keys.and(place).map(Self)
    }

    /// Ends the evidence of the run that began at `moment` with what the providers' lists show and all
    /// calls, and keeps it. It is whole even where it could not be kept, and says so.
    pub async fn record(
        &self,
        edge: &Edge,
        moment: &Moment,
        opened: &Opened,
        mut evidence: Evidence,
    ) -> Evidence {
        for provider in &opened.providers {
            let now = edge.clock.moment().now;
            match Listing::read(provider.as_ref(), &edge.network.id, now).await {
                Ok(listing) => evidence.lists.push(listing),
                // What the budget has no room for, the next run's evidence shows.
                Err(error) if error.fault == Fault::Spent => {}
                Err(error) => evidence.troubles.push(error.to_string()),
            }
        }
        evidence.calls = opened.calls();
        evidence.ended_at = edge.clock.moment().now;
        if let Err(why) = evidence.keep(&self.of(moment)).await {
            tracing::error!(why, "the evidence of a run is not kept");
            let trouble = format!("this record could not be kept: {why}");
            evidence.troubles.push(trouble);
        }
        evidence
    }

    /// It for the evidence of the run that began at `moment`: two of one second have names of their own.
    fn of(&self, moment: &Moment) -> impl Archive + use<> {
        let drawn = moment.random(u32::MAX - 1);
        let mark = u32::from_be_bytes([0, drawn[0], drawn[1], drawn[2]]);
        Marked {
            place: self.0.clone(),
            mark: format!("{mark:06x}"),
        }
    }
}

struct Marked {
    place: Arc<dyn Mirror>,
    mark: String,
}

#[async_trait]
impl Archive for Marked {
    async fn keep(&self, name: &str, bytes: &[u8]) -> Result<(), String> {
        let stem = name.strip_suffix(".json").unwrap_or(name);
        let path = format!("{stem}-{}.json", self.mark);
        let kept = self.place.create(&path, bytes).await;
        kept.map_err(|error| error.to_string())
    }
}
