//! The few calls to AWS that a deployment makes, each a signed request (docs/adr/0120: why not the SDKs).
//!
//! Who calls is in the variables that AWS's own programs read; other ways to log in end in them
//! (`aws configure export-credentials --format env`). What was refused for being too much is asked for
//! again, and nothing else: whoever runs the command again does that.

use std::time::Duration;

use anyhow::{Context, bail};
use api::http_client::http_client;
use aws_credential_types::Credentials;
use bytes::Bytes;
use http::header::CONTENT_TYPE;
use http::{HeaderMap, HeaderName, Method, Request, StatusCode};
use roxmltree::Document;
use serde_json::Value;

use crate::now;

/// The longest that one request may take: an archive of some megabytes over a slow line.
const TIMEOUT: Duration = Duration::from_mins(2);
/// How often what AWS has no room for now is tried: about six seconds in all.
const TRIES: u32 = 6;
const FIRST_WAIT: Duration = Duration::from_millis(200);
/// What AWS says to those who ask too much ("Common error types"; S3, "List of error codes").
const TOO_MUCH: [&str; 5] = [
    "Throttling",
    "ThrottlingException",
    "RequestLimitExceeded",
    "SlowDown",
    "TooManyRequestsException",
];

/// A service by the name that its signatures and its endpoint have.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub struct Service(&'static str);

/// Who calls.
pub const STS: Service = Service("sts");

/// AWS, as one who deploys calls it.
pub struct Client {
    http: reqwest::Client,
    credentials: Credentials,
    region: String,
    endpoint: Option<String>,
}

/// AWS refused a request.
#[derive(Debug, thiserror::Error)]
#[error("AWS refuses {what} ({code}): {message}{}", advice(code))]
pub struct Refused {
    what: String,
    status: StatusCode,
    /// AWS's own word for why.
    pub code: String,
    message: String,
}

/// What to do where AWS's own message does not say it.
fn advice(code: &str) -> &'static str {
    match code {
        "ExpiredToken" | "ExpiredTokenException" | "RequestExpired" => {
            ". Log in again, and give the new keys in the environment"
        }
        "InvalidClientTokenId" | "UnrecognizedClientException" | "SignatureDoesNotMatch" => {
            ". Check AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY and AWS_SESSION_TOKEN"
        }
        "AccessDenied" | "AccessDeniedException" => {
            ". Whoever deploys needs the rights that docs/deploy/aws.md lists"
        }
        _ => "",
    }
}

impl Client {
    /// AWS in `region` or in the one that the environment names, with the right that is there.
    pub fn from_environment(region: Option<&str>) -> anyhow::Result<Self> {
        let variable = |name: &str| std::env::var(name).ok().filter(|text| !text.is_empty());
        let region = region
            .map(str::to_owned)
            .or_else(|| variable("AWS_REGION"))
            .or_else(|| variable("AWS_DEFAULT_REGION"));
        let region = region.context("name the region with --region or AWS_REGION")?;
        let keys = variable("AWS_ACCESS_KEY_ID").zip(variable("AWS_SECRET_ACCESS_KEY"));
        let (id, secret) = keys.context(
            "there are no AWS credentials in the environment (AWS_ACCESS_KEY_ID, AWS_SECRET_ACCESS_KEY, and \
             AWS_SESSION_TOKEN for temporary ones): 'eval \"$(aws configure export-credentials --format \
             env)\"' puts there what 'aws login' or a profile gives",
        )?;
        let endpoint = variable("AWS_ENDPOINT_URL");
        if let Some(endpoint) = &endpoint
            && !api::contact::is_private(endpoint)
        {
            bail!("AWS_ENDPOINT_URL is not https, and secrets would be read on the way");
        }
        Ok(Self {
            http: http_client("posternctl", TIMEOUT)?,
            credentials: Credentials::new(id, secret, variable("AWS_SESSION_TOKEN"), None, "env"),
            region,
            endpoint,
        })
    }

    /// The region.
    pub fn region(&self) -> &str {
        &self.region
    }

    /// Calls `action` of a service of the query protocol, and gives the XML of its answer.
    pub async fn query(
        &self,
        service: Service,
        version: &str,
        action: &str,
        parameters: &[(&str, &str)],
    ) -> anyhow::Result<String> {
        let encoded =
            |text| percent_encoding::utf8_percent_encode(text, percent_encoding::NON_ALPHANUMERIC);
        let mut form = vec![format!("Action={action}&Version={version}")];
        form.extend(
            parameters
                .iter()
                .map(|(name, text)| format!("{name}={}", encoded(text))),
        );
        let form = form.join("&");
        let headers = [(CONTENT_TYPE, "application/x-www-form-urlencoded")];
        let what = format!("{}:{action}", service.0);
        let answer = self
            .send(service, &what, Method::POST, "/", &headers, form.into())
            .await?;
        Ok(String::from_utf8_lossy(&answer.body).into_owned())
    }

    /// One request, signed; `what` names it in errors. Only a success is an answer.
    pub async fn send(
        &self,
        service: Service,
        what: &str,
        method: Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: Bytes,
    ) -> anyhow::Result<Answer> {
        let mut wait = FIRST_WAIT;
        for _ in 1..TRIES {
            let tried = self.once(service, what, &method, path, headers, &body);
            match tried.await? {
                Err(refused) if TOO_MUCH.contains(&refused.code.as_str()) => {
                    tokio::time::sleep(wait).await;
                    wait *= 2;
                }
                answered => return Ok(answered?),
            }
        }
        let last = self.once(service, what, &method, path, headers, &body);
        Ok(last.await??)
    }

    async fn once(
        &self,
        service: Service,
        what: &str,
        method: &Method,
        path: &str,
        headers: &[(HeaderName, &str)],
        body: &Bytes,
    ) -> anyhow::Result<Result<Answer, Refused>> {
        let base = match &self.endpoint {
            Some(endpoint) => endpoint.trim_end_matches('/').to_owned(),
            None => format!("https://{}.{}.amazonaws.com", service.0, self.region),
        };
        let mut request = Request::builder()
            .method(method)
            .uri(format!("{base}{path}"));
        for (name, text) in headers {
            request = request.header(name, *text);
        }
        let mut request = request.body(body.clone())?;
        edge::aws::sign(
            &mut request,
            service.0,
            &self.region,
            &self.credentials,
            now(),
        )
        .map_err(|why| anyhow::anyhow!("{what} cannot be signed: {why}"))?;
        let sent = self.http.execute(request.try_into()?).await;
        let answer = sent.with_context(|| format!("{what}: AWS does not answer"))?;
        let (status, headers) = (answer.status(), answer.headers().clone());
        let body = answer.bytes().await;
        let body = body.with_context(|| format!("{what}: AWS's answer broke off"))?;
        if status.is_success() {
            return Ok(Ok(Answer { headers, body }));
        }
        Ok(Err(refused(what, status, &headers, &body)))
    }
}

/// What AWS answered.
pub struct Answer {
    /// The headers.
    #[allow(dead_code, reason = "the steps that follow read it")]
    pub headers: HeaderMap,
    /// The body.
    pub body: Bytes,
}

/// What an answer without success says, in whatever protocol the service speaks.
fn refused(what: &str, status: StatusCode, headers: &HeaderMap, body: &Bytes) -> Refused {
    let text = String::from_utf8_lossy(body);
    let (mut code, mut message) = (None, None);
    if let Ok(document) = Document::parse(&text) {
        code = element(&document, "Code").map(str::to_owned);
        message = element(&document, "Message").map(str::to_owned);
    } else if let Ok(document) = serde_json::from_slice::<Value>(body) {
        let member = |names: &[&str]| {
            let mut found = names.iter().filter_map(|name| document[*name].as_str());
            found.next().map(str::to_owned)
        };
        code = member(&["__type", "code", "Code"]);
        message = member(&["message", "Message"]);
    }
    let told = headers.get("x-amzn-errortype");
    let told = told.and_then(|told| told.to_str().ok()).map(str::to_owned);
    // "namespace#Code", or "Code:URL".
    let code = told.or(code).unwrap_or_else(|| status.as_u16().to_string());
    let code = code.rsplit('#').next().unwrap_or_default();
    let code = code.split(':').next().unwrap_or_default();
    Refused {
        what: what.to_owned(),
        status,
        code: code.to_owned(),
        message: message.unwrap_or_else(|| format!("it answers {status} without a reason")),
    }
}

/// The text of the first element of this name, whatever its namespace.
pub fn element<'a>(document: &'a Document<'_>, name: &str) -> Option<&'a str> {
    let mut all = document.descendants();
    let found = all.find(|node| node.tag_name().name() == name)?;
    Some(found.text().unwrap_or_default())
}
