//! What each function reads of its secret: the settings that the data folder holds, and those that the
//! operator gives. A text's version is named by its hash, so that the same text is never stored twice and a
//! version of a function reads just the text that it was deployed with.

use std::collections::BTreeMap;

use anyhow::{Context, bail};
use bytes::Bytes;
use data_encoding::HEXLOWER;
use http::Method;
use http::header::CONTENT_TYPE;
use serde_json::{Value, json};
use sha2::{Digest, Sha256};

use super::client::{Client, Service, TARGET};
use crate::data::Folder;
use crate::deploy::secrets::Secrets;
use crate::settings::{self, Function};

const SECRETS_MANAGER: Service = Service("secretsmanager");
/// The most bytes of a secret ("AWS Secrets Manager quotas").
const MOST: usize = 65_536;

/// What an operator may give: a provider's token, and what else the two functions that rent are told.
pub const GIVEN: [&str; 3] = [TOKEN, "POSTERN_PROVIDERS", "POSTERN_CALLS"];
/// Without it, no function rents.
pub const TOKEN: &str = "POSTERN_HETZNER_TOKEN";

/// The text of one function's secret.
pub struct SecretText {
    /// Whose.
    pub function: Function,
    text: String,
    /// Its SHA-256 in hex, which is the version's name.
    pub version: String,
}

/// The texts of `functions`, of the network in `data`.
pub fn of(
    data: &Folder,
    given: &Secrets,
    functions: &[Function],
) -> anyhow::Result<Vec<SecretText>> {
    let texts = functions.iter().map(|function| {
        let mut all: BTreeMap<&str, String> = settings::of(data, *function)?.into_iter().collect();
        if function.rents() {
            for name in GIVEN {
                if let Some(text) = given.get(name) {
                    all.insert(name, text.to_owned());
                }
            }
        }
        let text = serde_json::to_string(&all)?;
        if text.len() > MOST {
            bail!(
                "the settings of {} have {} bytes, and a secret has room for {MOST}",
                function.name(),
                text.len()
            );
        }
        let version = HEXLOWER.encode(&Sha256::digest(&text));
        Ok(SecretText {
            function: *function,
            text,
            version,
        })
    });
    texts.collect()
}

/// Puts the text into the secret with this ARN, if it is not there; whether it was not.
pub async fn put(aws: &Client, arn: &str, secret: &SecretText) -> anyhow::Result<bool> {
    let about = call(aws, "DescribeSecret", &json!({"SecretId": arn})).await?;
    let versions = about["VersionIdsToStages"].as_object();
    let stages = versions.and_then(|versions| versions.get(&secret.version));
    let is_current = stages
        .and_then(Value::as_array)
        .is_some_and(|stages| stages.iter().any(|stage| stage == "AWSCURRENT"));
    if is_current {
        return Ok(false);
    }
    if stages.is_some() {
        // The text of before, which a second deployment or a rollback makes the present one again.
        let moved = json!({
            "SecretId": arn, "VersionStage": "AWSCURRENT", "MoveToVersionId": secret.version,
            "RemoveFromVersionId": current(&about).context("the secret has no present text")?,
        });
        call(aws, "UpdateSecretVersionStage", &moved).await?;
        return Ok(true);
    }
    let put = json!({
        "SecretId": arn, "SecretString": secret.text, "ClientRequestToken": secret.version,
    });
    call(aws, "PutSecretValue", &put).await?;
    Ok(true)
}

/// The version that is the present one.
fn current(about: &Value) -> Option<&str> {
    let versions = about["VersionIdsToStages"].as_object()?;
    let mut versions = versions.iter();
    let is_current = |stages: &Value| {
        stages
            .as_array()
            .is_some_and(|all| all.iter().any(|s| s == "AWSCURRENT"))
    };
    versions
        .find(|(_, stages)| is_current(stages))
        .map(|(id, _)| id.as_str())
}

async fn call(aws: &Client, action: &str, asked: &Value) -> anyhow::Result<Value> {
    let target = format!("secretsmanager.{action}");
    let headers = [
        (CONTENT_TYPE, "application/x-amz-json-1.1"),
        (TARGET, target.as_str()),
    ];
    let what = format!("secretsmanager:{action}");
    let body = Bytes::from(asked.to_string());
    let answer = aws.send(SECRETS_MANAGER, &what, Method::POST, "/", &headers, body);
    Ok(serde_json::from_slice(&answer.await?.body)?)
}
