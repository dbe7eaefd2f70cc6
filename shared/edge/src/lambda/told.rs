//! What a Lambda is told: by its environment's variables, by files of its package, and by a secret of
//! Secrets Manager, in this order.
//!
//! Variables can be read by whoever may look at a function, and have room for 4 KB in all. So what must stay
//! secret, and what is long, is a JSON object of settings in one secret, of which a start reads one version
//! (docs/adr/0121). The function's role may read that secret and no other. Nothing here repeats what it
//! holds.

use std::collections::BTreeMap;
use std::env;
use std::path::Path;
use std::time::Duration;

use api::http::{Http as _, NativeHttp};
use aws_credential_types::Credentials;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderName, Request, StatusCode};
use serde::Deserialize;
use serde_json::json;
use store::dynamodb::AMAZON_ROOTS;

use crate::settings::{self, Access, Reader, Setting};
use crate::{Clock as _, SystemClock, aws};

/// The secret that holds further settings.
const SECRET: Setting = Setting {
    name: "POSTERN_SECRET",
    holds: "the ARN of a secret whose text is what 'posternctl --json settings FUNCTION' prints, or nothing",
};
/// Which version of it.
const SECRET_VERSION: Setting = Setting {
    name: "POSTERN_SECRET_VERSION",
    holds: "the version of the secret that is read, or nothing for the present one",
};
/// A stand-in for the region's Secrets Manager, by the name that AWS's own programs know.
const ENDPOINT: Setting = Setting {
    name: "AWS_ENDPOINT_URL_SECRETS_MANAGER",
    holds: "an https URL to be used instead of the region's Secrets Manager (http on loopback only), or nothing",
};
/// How long the answer may take: a start has ten seconds in all ("Lambda execution environment lifecycle").
const TIMEOUT: Duration = Duration::from_secs(2);
/// How often it is asked for. Lambda starts a function again that does not come up.
const TRIES: u32 = 3;
/// From one try to the next.
const WAIT: Duration = Duration::from_millis(100);

/// All that a function is told.
pub(super) struct Told {
    secret: BTreeMap<String, String>,
}

/// Where the secret is.
struct Place {
    arn: String,
    version: Option<String>,
    access: Access,
}

#[derive(Deserialize)]
#[serde(rename_all = "PascalCase")]
struct Answer {
    secret_string: String,
}

impl Told {
    /// Reads the secret, if one is named.
    pub(super) async fn read() -> Result<Self, lambda_runtime::Error> {
        let mut reader = Reader::new(&outside);
        let place = Place::read(&mut reader);
        reader.finish()?;
        let secret = match place.expect("what is not there has a fault") {
            Some(place) => place.ask().await?,
            None => BTreeMap::new(),
        };
        Ok(Self { secret })
    }

    /// What gives each setting.
    pub(super) fn source(&self) -> impl Fn(&str) -> Result<Option<String>, String> + '_ {
        |name| match outside(name)? {
            Some(text) => Ok(Some(text)),
            None => Ok(self.secret.get(name).cloned()),
        }
    }
}

impl Place {
    #[allow(
        clippy::option_option,
        reason = "the outer one says whether there was a fault"
    )]
    fn read(reader: &mut Reader<'_>) -> Option<Option<Self>> {
        let Some(arn) = reader.optional(SECRET, arn)? else {
            return Some(None);
        };
        let version = reader.optional(SECRET_VERSION, settings::one_word);
        let access = Access::read(reader);
        let endpoint = settings::endpoint_of(reader, ENDPOINT);
        let (version, mut access) = (version?, access?);
        access.endpoint = endpoint?;
        Some(Some(Self {
            arn,
            version,
            access,
        }))
    }

    /// Asks for the secret's text.
    async fn ask(&self) -> Result<BTreeMap<String, String>, String> {
        let region = &self.access.region;
        let (url, http) = match &self.access.endpoint {
            Some(endpoint) => (
                endpoint.clone(),
                NativeHttp::new("postern-settings", TIMEOUT)?,
            ),
            None => (
                format!("https://secretsmanager.{region}.amazonaws.com"),
                // The system's 140 would take a third of the start to read.
                NativeHttp::trusting("postern-settings", TIMEOUT, AMAZON_ROOTS)?,
            ),
        };
        let mut tries = 1;
        loop {
            let answer = http.send(self.request(&url)?).await;
            match answer {
                Ok(answer) if answer.status() == StatusCode::OK => return text(answer.body()),
                Ok(answer) if answer.status().is_client_error() || tries == TRIES => {
                    return Err(refused(answer.status(), answer.body()));
                }
                Err(why) if tries == TRIES => {
                    return Err(format!("{} cannot be read: {why}", SECRET.name));
                }
                Ok(_) | Err(_) => tokio::time::sleep(WAIT).await,
            }
            tries += 1;
        }
    }

    fn request(&self, url: &str) -> Result<Request<Bytes>, String> {
        let mut asked = json!({"SecretId": self.arn});
        if let Some(version) = &self.version {
            asked["VersionId"] = json!(version);
        }
        let request = Request::post(format!("{url}/"))
            .header(CONTENT_TYPE, "application/x-amz-json-1.1")
            .header(TARGET, "secretsmanager.GetSecretValue")
            .body(Bytes::from(asked.to_string()));
        let mut request = request.map_err(|error| error.to_string())?;
        let Access {
            region,
            access_key,
            secret_key,
            session_token,
            ..
        } = &self.access;
        let credentials = Credentials::new(
            access_key,
            secret_key,
            session_token.clone(),
            None,
            "settings",
        );
        let now = SystemClock.moment().now;
        aws::sign(&mut request, "secretsmanager", region, &credentials, now)?;
        Ok(request)
    }
}

const TARGET: HeaderName = HeaderName::from_static("x-amz-target");

/// A setting that comes from outside: a variable, or a file of the package.
fn outside(name: &str) -> Result<Option<String>, String> {
    if let Ok(text) = env::var(name) {
        return Ok(Some(text));
    }
    let Ok(file) = env::var(format!("{name}_FILE")) else {
        return Ok(None);
    };
    // Where Lambda unpacks the package ("Defined runtime environment variables").
    let package = env::var("LAMBDA_TASK_ROOT").unwrap_or_default();
    let path = Path::new(&package).join(file);
    let text = std::fs::read_to_string(&path);
    text.map(Some)
        .map_err(|error| format!("{}: {error}", path.display()))
}

fn arn(text: &str) -> Result<String, String> {
    let text = settings::one_word(text)?;
    if text.starts_with("arn:") && text.contains(":secretsmanager:") {
        return Ok(text);
    }
    Err("it is no ARN of a secret".to_owned())
}

/// The settings in the answer.
fn text(answer: &Bytes) -> Result<BTreeMap<String, String>, String> {
    let none = || format!("{} has no text: deploy it anew", SECRET.name);
    let answer: Answer = serde_json::from_slice(answer).map_err(|_| none())?;
    settings::json(&answer.secret_string)
        .map_err(|why| format!("{} holds no settings ({why}): deploy it anew", SECRET.name))
}

/// Why AWS gives no secret, in its own words, which are about the request and hold nothing of it.
fn refused(status: StatusCode, answer: &Bytes) -> String {
    let answer = String::from_utf8_lossy(answer);
    format!("{} cannot be read: {status}: {answer}", SECRET.name)
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_secret_that_holds_something_else_is_not_repeated() {
        for answer in [
            r#"{"SecretString": "{\"A\": hidden}"}"#,
            r#"{"SecretString": "{\"A\": {\"hidden\": 1}}"}"#,
            r#"{"SecretBinary": "hidden"}"#,
        ] {
            let error = text(&Bytes::from(answer)).unwrap_err();

            assert!(error.contains("deploy it anew"), "{error}");
            assert!(!error.contains("hidden"), "{error}");
        }
        let told = text(&Bytes::from(r#"{"SecretString": "{\"A\": \"b\"}"}"#)).unwrap();
        assert_eq!(told["A"], "b");
    }

    #[test]
    fn only_an_arn_of_a_secret_is_one() {
        assert!(arn("arn:aws:secretsmanager:eu-central-1:000000000000:secret:x-abcdef").is_ok());
        assert!(arn("POSTERN_CATALOGS_KEY").is_err());
        assert!(arn("arn:aws:s3:::bucket").is_err());
    }
}
