//! `posternctl deploy aws --destroy`: back to nothing.
//!
//! First all stands still: schedules end, and the table loses its protection. Then the buckets are emptied, as
//! AWS removes no other, and the stack is removed. In the end AWS is asked what still carries the stack's tag.

use std::time::Duration;

use anyhow::Context;
use bytes::Bytes;
use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};

use super::client::{Client, Refused, Service, TARGET};
use super::shelf;
use super::stack::{Stack, State, Template, Texts};
use crate::deploy::Common;
use crate::deploy::steps::{Done, Steps};

const TAGGING: Service = Service("tagging");
const DYNAMODB: Service = Service("dynamodb");
/// The buckets, by their names in the template.
const BUCKETS: [&str; 2] = ["Site ", "Shelf "];
/// How long AWS may still list what is gone.
const PATIENCE: Duration = Duration::from_mins(3);
/// From one look to the next.
const LOOK: Duration = Duration::from_secs(5);

/// Removes the stack and all that it holds.
pub async fn run(
    aws: &Client,
    stack: &Stack<'_>,
    common: &Common,
    steps: &mut Steps,
    json: bool,
) -> anyhow::Result<()> {
    let state = steps
        .take("stack", "Looking at the stack", async {
            let state = stack.settled().await?;
            let said = state
                .as_ref()
                .map_or("there is none", |state| &state.status);
            Ok(Done::as_it_was(state.clone(), said))
        })
        .await?;
    if let Some(state) = state {
        let parts = stack.parts().await?;
        let shown: Vec<String> = parts
            .iter()
            .map(|(what, _)| format!("Remove {what}"))
            .collect();
        steps.list("changes", &shown);
        let question = "Remove all this, with the network's state and its catalogs?";
        if common.dry_run || !common.is_wanted(question, json)? {
            return Ok(());
        }
        steps
            .take(
                "still",
                "Ending schedules and the table's protection",
                still(stack, &state),
            )
            .await?;
        let buckets: Vec<&str> = parts
            .iter()
            .filter(|(what, _)| BUCKETS.iter().any(|bucket| what.starts_with(bucket)))
            .map(|(_, bucket)| bucket.as_str())
            .collect();
        steps
            .take("buckets", "Emptying the buckets", empty(aws, &buckets))
            .await?;
        steps
            .take("removal", "Removing the stack (some minutes)", async {
                stack.delete().await?;
                Ok(Done::changed((), format!("{} parts", parts.len())))
            })
            .await?;
    }
    if common.dry_run {
        return Ok(());
    }
    steps
        .take("left", "Looking for what is left", left(aws, stack.name()))
        .await
}

/// Ends what would go on while all is removed. A stack that failed cannot be changed, and has nothing that
/// runs.
async fn still(stack: &Stack<'_>, state: &State) -> anyhow::Result<Done> {
    if !matches!(
        state.status.as_str(),
        "CREATE_COMPLETE" | "UPDATE_COMPLETE" | "UPDATE_ROLLBACK_COMPLETE"
    ) {
        return Ok(Done::as_it_was((), "nothing runs"));
    }
    let no = || "no".to_owned();
    let asked = Texts::from([("Running".to_owned(), no()), ("Protect".to_owned(), no())]);
    let Some(plan) = stack.plan(Some(state), Template::AsItIs, &asked).await? else {
        return Ok(Done::as_it_was((), "it is still"));
    };
    stack.execute(&plan).await?;
    Ok(Done::changed((), "it is still"))
}

async fn empty(aws: &Client, buckets: &[&str]) -> anyhow::Result<Done> {
    let mut gone = 0;
    for bucket in buckets {
        gone += shelf::empty(aws, bucket).await?;
    }
    Ok(match gone {
        0 => Done::as_it_was((), "they are empty"),
        gone => Done::changed((), format!("{gone} objects deleted")),
    })
}

/// Asks AWS what carries the stack's tag, until it is nothing.
async fn left(aws: &Client, stack: &str) -> anyhow::Result<Done> {
    let began = tokio::time::Instant::now();
    loop {
        let left = tagged(aws, stack).await?;
        if left.is_empty() {
            return Ok(Done::as_it_was((), "nothing"));
        }
        if began.elapsed() > PATIENCE {
            anyhow::bail!(
                "AWS still lists {}: look whether they are there, and remove them by hand",
                left.join(", ")
            );
        }
        tokio::time::sleep(LOOK).await;
    }
}

async fn tagged(aws: &Client, stack: &str) -> anyhow::Result<Vec<String>> {
    let asked = json!({"TagFilters": [{"Key": "postern", "Values": [stack]}]});
    let headers = [
        (CONTENT_TYPE, "application/x-amz-json-1.1"),
        (TARGET, "ResourceGroupsTaggingAPI_20170126.GetResources"),
    ];
    let body = Bytes::from(asked.to_string());
    let answer = aws.send(
        TAGGING,
        "tag:GetResources",
        Method::POST,
        "/",
        &headers,
        body,
    );
    let answer: Value = serde_json::from_slice(&answer.await?.body)?;
    let list = answer["ResourceTagMappingList"].as_array();
    let list = list.context("AWS gives no list of what is left")?;
    let mut left = Vec::new();
    for arn in list.iter().filter_map(|one| one["ResourceARN"].as_str()) {
        if !is_gone_table(aws, arn).await? {
            left.push(arn.to_owned());
        }
    }
    Ok(left)
}

/// Whether it is a table that is gone, whose tags may be listed longer than it is there.
async fn is_gone_table(aws: &Client, arn: &str) -> anyhow::Result<bool> {
    let Some((_, table)) = arn.split_once(":table/") else {
        return Ok(false);
    };
    let headers = [
        (CONTENT_TYPE, "application/x-amz-json-1.0"),
        (TARGET, "DynamoDB_20120810.DescribeTable"),
    ];
    let body = Bytes::from(json!({"TableName": table}).to_string());
    let what = "dynamodb:DescribeTable";
    let answer = aws.send(DYNAMODB, what, Method::POST, "/", &headers, body);
    match answer.await {
        Ok(_) => Ok(false),
        Err(error) => match error.downcast_ref::<Refused>() {
            Some(refused) if refused.code == "ResourceNotFoundException" => Ok(true),
            _ => Err(error),
        },
    }
}
