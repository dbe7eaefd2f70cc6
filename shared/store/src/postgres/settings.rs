//! Which database, and how the way to it is secured: a URL as `psql` knows it.
//!
//! | parameter | meaning |
//! |---|---|
//! | `sslmode` | `disable`; `require`: encrypted, whoever answers; `verify-ca`: by somebody with a certificate of the roots; `verify-full`: by the host that is named |
//! | `sslrootcert` | a file with the roots as PEM, or `system`; with it `require` is `verify-ca`, as it is for `psql` |
//! | `connections` | the most connections at once, 1 to 1,000; 16 without it |
//!
//! Without `sslmode` a host elsewhere is asked for `verify-full`, and one on this machine for no TLS:
//! no mode here falls back to the plain where TLS fails. The other parameters are those of
//! `tokio_postgres` (`connect_timeout`, `application_name`, `target_session_attrs`, `options`, …).

use std::fmt;
use std::path::PathBuf;
use std::str::FromStr;
use std::time::Duration;

use percent_encoding::percent_decode_str;
use tokio_postgres::Config;
use tokio_postgres::config::{Host, SslMode};

use crate::causes::chain;

/// How many connections at once, where nothing is said: a tenth of them would do for a server of two cores;
/// the rest are commits that wait for the disk together, and for each other.
const CONNECTIONS: usize = 16;
/// PostgreSQL's port.
const PORT: u16 = 5432;
/// How long a connection may take to be made: three handshakes, half around the world, and a fork.
const CONNECT_TIMEOUT: Duration = Duration::from_secs(3);
/// After how long in silence the system asks whether the other end is there: before routers forget.
const KEEPALIVES_IDLE: Duration = Duration::from_secs(60);

/// Which database, who calls, and how. It has no `Debug`, so that no password is printed.
#[derive(Clone)]
pub struct Settings {
    pub(super) config: Config,
    pub(super) tls: Tls,
    pub(super) connections: usize,
}

/// How the way to the server is secured.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Tls {
    /// Not at all.
    Plain,
    /// Encrypted, whoever answers.
    Unchecked,
    /// Whoever answers has a certificate of the roots.
    Chain(Roots),
    /// And it is for the host that was called.
    Full(Roots),
}

/// Which authorities vouch for servers.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) enum Roots {
    /// Those that the system trusts.
    System,
    /// Those of a file.
    File(PathBuf),
}

impl FromStr for Settings {
    /// Why it cannot be used; it never repeats the URL, which may hold a password.
    type Err = String;

    fn from_str(url: &str) -> Result<Self, String> {
        let (base, query) = url.split_once('?').unwrap_or((url, ""));
        let (mut mode, mut roots, mut connections) = (None, None, CONNECTIONS);
        let mut others = Vec::new();
        for pair in query.split('&').filter(|pair| !pair.is_empty()) {
            let (name, value) = pair.split_once('=').unwrap_or((pair, ""));
            let value = percent_decode_str(value).decode_utf8();
            let value = value.map_err(|_| format!("{name} is no text in UTF-8"))?;
            match name {
                "sslmode" => mode = Some(value.into_owned()),
                "sslrootcert" if value == "system" => roots = Some(Roots::System),
                "sslrootcert" => roots = Some(Roots::File(PathBuf::from(value.into_owned()))),
                "connections" => connections = parse_connections(&value)?,
                _ => others.push(pair),
            }
        }
        let url = format!("{base}?{}", others.join("&"));
        let mut config: Config = url.parse().map_err(|error| chain(&error))?;
        if config.get_hosts().is_empty() || config.get_dbname().is_none() {
            return Err(
                "it names no host or no database: postgres://USER:PASSWORD@HOST/DATABASE".into(),
            );
        }
        if config.get_connect_timeout().is_none() {
            config.connect_timeout(CONNECT_TIMEOUT);
        }
        if !query.contains("keepalives_idle") {
            config.keepalives_idle(KEEPALIVES_IDLE);
        }
        let tls = tls(mode.as_deref(), roots, &config)?;
        config.ssl_mode(match tls {
            Tls::Plain => SslMode::Disable,
            _ => SslMode::Require,
        });
        Ok(Self {
            config,
            tls,
            connections,
        })
    }
}

/// The database and who calls, without the password.
impl fmt::Display for Settings {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        let user = self.config.get_user().map(|user| format!("{user}@"));
        write!(
            f,
            "postgres://{}{}",
            user.unwrap_or_default(),
            self.database()
        )
    }
}

impl Settings {
    /// Where the database is: the same for all who call it.
    pub fn database(&self) -> String {
        let ports = self.config.get_ports();
        let hosts = self
            .config
            .get_hosts()
            .iter()
            .enumerate()
            .map(|(nth, host)| {
                // One port is that of all hosts.
                let port = ports.get(nth).or(ports.first()).unwrap_or(&PORT);
                match host {
                    Host::Tcp(name) => format!("{name}:{port}"),
                    #[cfg(unix)]
                    Host::Unix(folder) => format!("{}:{port}", folder.display()),
                }
            });
        let hosts: Vec<String> = hosts.collect();
        format!(
            "{}/{}",
            hosts.join(","),
            self.config.get_dbname().unwrap_or_default()
        )
    }
}

fn parse_connections(text: &str) -> Result<usize, String> {
    match text.parse() {
        Ok(connections @ 1..=1000) => Ok(connections),
        _ => Err("connections is no number from 1 to 1,000".to_owned()),
    }
}

fn tls(mode: Option<&str>, roots: Option<Roots>, config: &Config) -> Result<Tls, String> {
    if mode.is_none() && roots.is_none() && config.get_hosts().iter().all(is_here) {
        return Ok(Tls::Plain);
    }
    match mode {
        None | Some("verify-full") => Ok(Tls::Full(roots.unwrap_or(Roots::System))),
        Some("verify-ca") => Ok(Tls::Chain(roots.unwrap_or(Roots::System))),
        Some("require") => Ok(roots.map_or(Tls::Unchecked, Tls::Chain)),
        Some("disable") => Ok(Tls::Plain),
        Some("allow" | "prefer") => Err(
            "sslmode may not be allow or prefer, which anybody on the way turns into no TLS: say \
             verify-full, or disable where the way is safe"
                .to_owned(),
        ),
        Some(_) => Err("sslmode is none of disable, require, verify-ca and verify-full".to_owned()),
    }
}

/// Whether the host is this machine.
fn is_here(host: &Host) -> bool {
    match host {
        Host::Tcp(name) => {
            let address = name.trim_start_matches('[').trim_end_matches(']').parse();
            name == "localhost" || address.is_ok_and(|ip: std::net::IpAddr| ip.is_loopback())
        }
        #[cfg(unix)]
        Host::Unix(_) => true,
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn parse(url: &str) -> Settings {
        url.parse().unwrap_or_else(|why| panic!("{url}: {why}"))
    }

    #[test]
    fn a_host_elsewhere_is_verified_unless_something_else_is_said() {
        let file = Roots::File(PathBuf::from("/etc/ca s.pem"));
        let cases = [
            ("postgres://u@db.example/p", Tls::Full(Roots::System)),
            (
                "postgres://u@db.example/p?sslrootcert=system",
                Tls::Full(Roots::System),
            ),
            (
                "postgres://u@db.example/p?sslrootcert=/etc/ca%20s.pem",
                Tls::Full(file.clone()),
            ),
            ("postgres://u@db.example/p?sslmode=require", Tls::Unchecked),
            (
                "postgres://u@db.example/p?sslmode=require&sslrootcert=/etc/ca%20s.pem",
                Tls::Chain(file.clone()),
            ),
            (
                "postgres://u@db.example/p?sslmode=verify-ca",
                Tls::Chain(Roots::System),
            ),
            ("postgres://u@db.example/p?sslmode=disable", Tls::Plain),
            ("postgres://u@localhost/p", Tls::Plain),
            ("postgres://u@127.0.0.1:5433/p", Tls::Plain),
            ("postgres://u@[::1]/p", Tls::Plain),
            ("postgres:///p?host=/run/postgresql", Tls::Plain),
            (
                "postgres://u@localhost/p?sslmode=verify-full",
                Tls::Full(Roots::System),
            ),
            (
                "postgres://u@localhost,db.example/p",
                Tls::Full(Roots::System),
            ),
        ];
        for (url, expected) in cases {
            assert_eq!(parse(url).tls, expected, "{url}");
        }
    }

    #[test]
    fn what_falls_back_to_the_plain_or_is_unknown_is_refused_without_repeating_it() {
        for url in [
            "postgres://u:hidden@db.example/p?sslmode=prefer",
            "postgres://u:hidden@db.example/p?sslmode=hidden",
            "postgres://u:hidden@db.example/p?connections=0",
            "postgres://u:hidden@db.example/p?connections=hidden",
            "postgres://u:hidden@db.example/p?port=hidden",
            "postgres://u:hidden@db.example/p?sslrootcert=%ff",
            "postgres://u:hidden@db.example:hidden/p",
            "postgres://u:hidden@db.example",
            "postgres://u:hidden@/p",
            "mysql://u:hidden@db.example/p",
        ] {
            let why = url.parse::<Settings>().err().unwrap_or_default();
            assert!(!why.is_empty() && !why.contains("hidden"), "{url}: {why}");
        }
    }

    #[test]
    fn it_is_shown_without_its_password() {
        let settings = parse("postgresql://u%40:hidden@a:1,b/p?connections=3&application_name=x");

        assert_eq!(settings.to_string(), "postgres://u@@a:1,b:5432/p");
        assert_eq!(settings.database(), "a:1,b:5432/p");
        assert_eq!(settings.connections, 3);
    }
}
