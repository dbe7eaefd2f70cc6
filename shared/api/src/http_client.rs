//! The HTTP client of every native program: `postern`, `posternctl`, a gateway.
//!
//! - No redirects: who is sent elsewhere was not answered, and a signed request is for one place.
//! - TLS is rustls with `ring`, against the system's root certificates. A machine without any can
//!   still use plain HTTP: what front doors serve is signed. It is warned once, by the log.
//! - The proxies that the usual variables name (`HTTP_PROXY`, `HTTPS_PROXY`, `ALL_PROXY`,
//!   `NO_PROXY`) are honoured as other programs do, but never for this machine itself: a proxy's
//!   loopback is another machine's.

use std::net::SocketAddr;
use std::time::Duration;

use reqwest::{Client, ClientBuilder, NoProxy, Proxy, redirect};

/// How long a connection may take: two retransmissions of a lost SYN (1 s and 2 s, RFC 6298) and
/// a margin.
pub const CONNECT: Duration = Duration::from_secs(5);
/// What no proxy is asked for.
const LOOPBACK: &str = "localhost,127.0.0.0/8,::1";

/// There is no HTTP client, and why.
#[derive(Clone, PartialEq, Eq, Debug, thiserror::Error)]
#[error("no HTTP client: {0}")]
pub struct NoClient(String);

/// A client that gives each request, from connecting to the last byte of its answer, at most
/// `timeout`. A program makes one, of this or of each kind, and shares it.
pub fn http_client(user_agent: &str, timeout: Duration) -> Result<Client, NoClient> {
    build(&|| builder(user_agent, timeout, &environment))
}

/// The same for `http:` URLs alone: it reads no root certificates, which takes milliseconds. None where the
/// environment names a proxy, which may want them.
pub fn plain_http_client(user_agent: &str, timeout: Duration) -> Result<Option<Client>, NoClient> {
    plain(user_agent, timeout, &environment)
}

fn plain(
    user_agent: &str,
    timeout: Duration,
    variable: &dyn Fn(&str) -> Option<String>,
) -> Result<Option<Client>, NoClient> {
    if !proxies(variable).is_empty() {
        return Ok(None);
    }
    build(&|| direct(user_agent, timeout).tls_certs_only([])).map(Some)
}

/// The same, but `host` is at `addresses`, whatever DNS says.
pub fn http_client_at(
    user_agent: &str,
    timeout: Duration,
    host: &str,
    addresses: &[SocketAddr],
) -> Result<Client, NoClient> {
    build(&|| builder(user_agent, timeout, &environment).resolve_to_addrs(host, addresses))
}

/// The same for servers that these roots vouch for and no other: it reads none of the system's. The roots are
/// certificates in PEM, one after the other.
pub fn http_client_trusting(
    user_agent: &str,
    timeout: Duration,
    roots: &str,
) -> Result<Client, NoClient> {
    let roots = reqwest::Certificate::from_pem_bundle(roots.as_bytes());
    let roots = roots.map_err(|error| NoClient(innermost(&error)))?;
    build(&|| builder(user_agent, timeout, &environment).tls_certs_only(roots.clone()))
}

/// A client of this builder, without HTTPS where the system has no root certificates.
fn build(builder: &dyn Fn() -> ClientBuilder) -> Result<Client, NoClient> {
    // An error says that the process has one already, which is as good.
    let _already = rustls::crypto::ring::default_provider().install_default();
    if let Ok(client) = builder().build() {
        return Ok(client);
    }
    let client = builder()
        .tls_certs_only([])
        .build()
        .map_err(|error| NoClient(innermost(&error)))?;
    tracing::warn!("https will not work here: the system has no root certificates");
    Ok(client)
}

fn builder(
    user_agent: &str,
    timeout: Duration,
    variable: &dyn Fn(&str) -> Option<String>,
) -> ClientBuilder {
    proxies(variable)
        .into_iter()
        .fold(direct(user_agent, timeout), ClientBuilder::proxy)
}

/// Without a proxy.
fn direct(user_agent: &str, timeout: Duration) -> ClientBuilder {
    Client::builder()
        .user_agent(user_agent)
        .redirect(redirect::Policy::none())
        .connect_timeout(CONNECT)
        .timeout(timeout)
        // reqwest's own reading of the environment knows no exception for loopback.
        .no_proxy()
}

/// The proxies that the environment names, the specific before the general. In a CGI program
/// `HTTP_PROXY` is a header that a stranger sent (CVE-2016-5385): there, none.
fn proxies(variable: &dyn Fn(&str) -> Option<String>) -> Vec<Proxy> {
    if variable("REQUEST_METHOD").is_some() {
        return Vec::new();
    }
    let either = |upper: &str| variable(upper).or_else(|| variable(&upper.to_ascii_lowercase()));
    let direct = match either("NO_PROXY") {
        Some(more) => format!("{LOOPBACK},{more}"),
        None => LOOPBACK.to_owned(),
    };
    let mut proxies = Vec::new();
    for name in ["HTTP_PROXY", "HTTPS_PROXY", "ALL_PROXY"] {
        let Some(value) = either(name).filter(|value| !value.trim().is_empty()) else {
            continue;
        };
        let proxy = match name {
            "HTTP_PROXY" => Proxy::http(value),
            "HTTPS_PROXY" => Proxy::https(value),
            _ => Proxy::all(value),
        };
        match proxy {
            Ok(proxy) => proxies.push(proxy.no_proxy(NoProxy::from_string(&direct))),
            // The value may hold a password.
            Err(error) => tracing::warn!("{name} is no proxy's URL: {}", innermost(&error)),
        }
    }
    proxies
}

fn environment(name: &str) -> Option<String> {
    std::env::var(name).ok()
}

/// The innermost cause, which is the one that says something.
fn innermost(error: &dyn std::error::Error) -> String {
    let mut inner: &dyn std::error::Error = error;
    while let Some(source) = inner.source() {
        inner = source;
    }
    inner.to_string()
}

#[cfg(test)]
mod tests {
    use std::io::{Read as _, Write as _};
    use std::net::TcpListener;
    use std::thread;

    use super::*;

    /// A server that answers everything with `status` and its own name, and where it is.
    fn server(status: &'static str) -> String {
        let listener = TcpListener::bind("127.0.0.1:0").unwrap();
        let url = format!("http://{}", listener.local_addr().unwrap());
        thread::spawn(move || {
            while let Ok((mut stream, _)) = listener.accept() {
                let _read = stream.read(&mut [0; 4096]);
                let answer = format!(
                    "HTTP/1.1 {status}\r\nlocation: http://127.0.0.1:9/\r\ncontent-length: 0\r\nconnection: close\r\n\r\n"
                );
                let _written = stream.write_all(answer.as_bytes());
            }
        });
        url
    }

    async fn status(variables: &[(&str, &str)], url: &str) -> u16 {
        let variable = |name: &str| {
            let found = variables.iter().find(|(known, _)| *known == name);
            found.map(|(_, value)| (*value).to_owned())
        };
        let client = build(&|| builder("test", Duration::from_secs(5), &variable)).unwrap();
        client.get(url).send().await.unwrap().status().as_u16()
    }

    #[tokio::test]
    async fn a_proxy_is_used_but_never_for_this_machine() {
        let proxy = server("418 Proxy");
        let origin = server("200 OK");
        let by_name = origin.replace("127.0.0.1", "localhost");
        for variable in ["HTTP_PROXY", "http_proxy", "ALL_PROXY"] {
            let variables = [(variable, proxy.as_str())];
            assert_eq!(status(&variables, "http://front.invalid/").await, 418);
            assert_eq!(status(&variables, &origin).await, 200);
            assert_eq!(status(&variables, &by_name).await, 200);
        }
        let more = [("HTTP_PROXY", proxy.as_str()), ("NO_PROXY", "example.com")];
        assert_eq!(status(&more, &origin).await, 200);
        assert_eq!(status(&more, "http://front.invalid/").await, 418);
    }

    #[tokio::test]
    async fn plain_http_needs_no_root_certificates() {
        let origin = server("200 OK");
        let no_variable = |_: &str| None;
        let client = plain("test", Duration::from_secs(5), &no_variable).unwrap();
        let status = client.unwrap().get(&origin).send().await.unwrap().status();
        assert_eq!(status.as_u16(), 200);
    }

    #[test]
    fn where_a_proxy_is_named_no_client_does_without_root_certificates() {
        let variable =
            |name: &str| (name == "ALL_PROXY").then(|| "https://proxy.invalid".to_owned());
        let client = plain("test", Duration::from_secs(5), &variable).unwrap();
        assert!(client.is_none());
    }

    #[tokio::test]
    async fn a_redirect_is_an_answer_and_is_not_followed() {
        let origin = server("302 Found");
        assert_eq!(status(&[], &origin).await, 302);
    }

    #[tokio::test]
    async fn a_host_is_where_the_caller_says() {
        let origin = server("200 OK");
        let address: SocketAddr = origin.trim_start_matches("http://").parse().unwrap();
        let host = "front.invalid";
        let timeout = Duration::from_secs(5);
        let client = http_client_at("test", timeout, host, &[address]).unwrap();
        let url = format!("http://{host}:{}/", address.port());
        assert_eq!(client.get(url).send().await.unwrap().status(), 200);
    }

    #[test]
    fn what_a_cgi_server_passes_on_is_no_proxy() {
        let variable = |name: &str| (name != "NO_PROXY").then(|| "http://proxy:1".to_owned());
        assert!(proxies(&variable).is_empty());
    }
}
