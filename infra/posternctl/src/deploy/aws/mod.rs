//! `posternctl deploy aws`: one `CloudFormation` stack, `infra/aws/postern.yaml`, and what is put into it.

mod client;

use clap::Args;
use roxmltree::Document;

use self::client::{Client, STS, element};
use super::Common;
use super::secrets::Secrets;
use super::steps::{Done, Steps};
use crate::data::Folder;

/// What is deployed, and how.
#[derive(Args)]
pub struct Options {
    #[command(flatten)]
    common: Common,
    /// The region; without it, the one that `AWS_REGION` names.
    #[arg(long)]
    region: Option<String>,
}

/// Deploys the network in `data`.
pub async fn run(_data: &Folder, options: &Options, json: bool) -> anyhow::Result<()> {
    let _secrets = Secrets::read(options.common.secrets.as_deref(), &[], |_| None)?;
    let aws = Client::from_environment(options.region.as_deref())?;
    let mut steps = Steps::new(json);
    steps
        .take("credentials", "Who deploys", credentials(&aws))
        .await?;
    Ok(())
}

/// Asks AWS whose the credentials are, and gives the account.
async fn credentials(aws: &Client) -> anyhow::Result<Done<String>> {
    let answer = aws
        .query(STS, "2011-06-15", "GetCallerIdentity", &[])
        .await?;
    let document = Document::parse(&answer)?;
    let found = element(&document, "Account").zip(element(&document, "Arn"));
    let (account, who) =
        found.ok_or_else(|| anyhow::anyhow!("AWS does not say whose the credentials are"))?;
    let said = format!("{who} in account {account}, region {}", aws.region());
    Ok(Done::as_it_was(account.to_owned(), said))
}
