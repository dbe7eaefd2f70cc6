//! The configurations of `infra/cdn/`, with their variables filled in.
//!
//! A variable stands between at signs, as no other text of the three languages does. What is put there
//! must not end a directive or begin another one: it is checked, and not escaped.

use std::path::PathBuf;
use std::str::FromStr;

use anyhow::{Context, bail};
use url::Url;

const NGINX: &str = include_str!("../../../../cdn/nginx.conf");
const NGINX_CONTROL: &str = include_str!("../../../../cdn/nginx-control.conf");
const VARNISH: &str = include_str!("../../../../cdn/varnish.vcl");
const VARNISH_CONTROL: &str = include_str!("../../../../cdn/varnish-control.vcl");
const VARNISH_NO_CONTROL: &str = "# No control plane.\nsub control {\n    return (synth(404));\n}";
const CADDY: &str = include_str!("../../../../cdn/Caddyfile");
const CADDY_CONTROL: &str = include_str!("../../../../cdn/Caddyfile-control");

type Variables = Vec<(&'static str, String)>;

/// What a configuration is made of.
pub struct Facts {
    /// For which program.
    pub server: Server,
    /// For how many seconds what changes is kept.
    pub brief: u32,
    /// Where requests to the control plane go; it passes none on without one.
    pub control: Option<Base>,
}

/// A program, and what it alone is told.
pub enum Server {
    /// nginx.
    Nginx {
        /// What its directive `listen` takes.
        listen: String,
        /// A certificate and its key.
        certificate: Option<(PathBuf, PathBuf)>,
        /// What it stands before.
        origin: Base,
        /// The DNS server that it asks.
        resolver: String,
        /// The folder in which it keeps things.
        cache: PathBuf,
        /// The most that it keeps.
        size: String,
    },
    /// Varnish.
    Varnish {
        /// What it stands before.
        origin: Base,
    },
    /// Caddy.
    Caddy {
        /// The address of its site.
        listen: String,
        /// The folder that it serves.
        site: PathBuf,
    },
}

/// A base URL, plain enough to stand in a configuration.
#[derive(Debug)]
pub struct Base(Url);

impl FromStr for Base {
    type Err = anyhow::Error;

    fn from_str(text: &str) -> anyhow::Result<Self> {
        let url: Url = text
            .parse()
            .with_context(|| format!("'{text}' is no URL"))?;
        let is_plain = |c: char| c.is_ascii_alphanumeric() || "-_.~/".contains(c);
        let has_more = url.query().is_some() || url.fragment().is_some();
        let has_user = !url.username().is_empty() || url.password().is_some();
        let is_http = matches!(url.scheme(), "http" | "https");
        if !is_http || has_more || has_user || !url.path().chars().all(is_plain) {
            bail!("'{text}' is not the plain base URL of a web server");
        }
        Ok(Self(url))
    }
}

impl Base {
    /// Without a slash at its end.
    fn text(&self) -> &str {
        self.0.as_str().trim_end_matches('/')
    }

    /// The name, and the port where it is not the scheme's own.
    fn authority(&self) -> String {
        let host = self.name();
        self.0
            .port()
            .map_or_else(|| host.clone(), |port| format!("{host}:{port}"))
    }

    fn name(&self) -> String {
        self.0.host_str().unwrap_or_default().to_owned()
    }

    /// The part of the URL that stands before every path; empty for none.
    fn prefix(&self) -> &str {
        self.0.path().trim_end_matches('/')
    }

    /// Name and port of a server that is spoken to without TLS.
    fn over_http(&self, program: &str) -> anyhow::Result<(String, String)> {
        if self.0.scheme() != "http" {
            bail!(
                "{program} speaks no TLS to what is behind it, and {} wants it: name an http URL (a bucket's \
                 website, a door of 'up'), put nginx between them, or use nginx alone",
                self.text()
            );
        }
        let port = self.0.port_or_known_default().unwrap_or(80);
        // Varnish writes the addresses of IPv6 without brackets.
        let name = self.name().trim_matches(['[', ']']).to_owned();
        Ok((name, port.to_string()))
    }
}

/// The configuration.
pub fn fill(facts: &Facts) -> anyhow::Result<String> {
    let control = facts.control.as_ref();
    if let Some(control) = control
        && !control.prefix().is_empty()
    {
        bail!(
            "the control plane's URL is {}, and a door passes requests on to a host: it may have no path",
            control.text()
        );
    }
    let (template, mut variables) = match &facts.server {
        Server::Nginx { .. } => (NGINX, nginx(&facts.server, control)?),
        Server::Varnish { origin } => (VARNISH, varnish(origin, control)?),
        Server::Caddy { listen, site } => {
            let listen = word(listen)?.to_owned();
            let site = path(site)?.to_owned();
            let control = passed_on(CADDY_CONTROL, control);
            let variables = vec![("LISTEN", listen), ("SITE", site), ("CONTROL", control)];
            (CADDY, variables)
        }
    };
    variables.push(("BRIEF", facts.brief.to_string()));
    Ok(put(template, &variables))
}

fn nginx(server: &Server, control: Option<&Base>) -> anyhow::Result<Variables> {
    let Server::Nginx {
        listen,
        certificate,
        origin,
        resolver,
        cache,
        size,
    } = server
    else {
        return Ok(Vec::new());
    };
    let tls = match certificate {
        Some((certificate, key)) => format!(
            "ssl_certificate {};\n    ssl_certificate_key {};",
            path(certificate)?,
            path(key)?
        ),
        None => "# No TLS of its own.".to_owned(),
    };
    Ok(vec![
        ("LISTEN", word(listen)?.to_owned()),
        ("TLS", tls),
        ("ORIGIN", origin.text().to_owned()),
        ("HOST", origin.authority()),
        ("NAME", origin.name()),
        ("RESOLVER", word(resolver)?.to_owned()),
        ("CACHE", path(cache)?.to_owned()),
        ("SIZE", word(size)?.to_owned()),
        ("CONTROL", passed_on(NGINX_CONTROL, control)),
    ])
}

fn varnish(origin: &Base, control: Option<&Base>) -> anyhow::Result<Variables> {
    let (name, port) = origin.over_http("Varnish")?;
    let control = match control {
        Some(base) => {
            let (name, port) = base.over_http("Varnish")?;
            let variables = [
                ("CONTROL_NAME", name),
                ("CONTROL_PORT", port),
                ("CONTROL_HOST", base.authority()),
            ];
            put(VARNISH_CONTROL, &variables)
        }
        None => VARNISH_NO_CONTROL.to_owned(),
    };
    Ok(vec![
        ("HOST", name),
        ("PORT", port),
        ("HOST_HEADER", origin.authority()),
        ("PREFIX", origin.prefix().to_owned()),
        ("CONTROL", control),
    ])
}

/// The rules for a control plane, or that there is none.
fn passed_on(template: &str, control: Option<&Base>) -> String {
    let Some(base) = control else {
        return "# No control plane.".to_owned();
    };
    let variables = [
        ("CONTROL_HOST", base.authority()),
        ("CONTROL_NAME", base.name()),
        ("CONTROL_URL", base.text().to_owned()),
    ];
    put(template, &variables).trim().to_owned()
}

/// The DNS server that a system's `resolv.conf` names first; this machine where it names none.
pub fn resolver(resolv_conf: &str) -> String {
    let servers = resolv_conf.lines();
    let named = servers.filter_map(|line| line.trim().strip_prefix("nameserver"));
    let address = named.map(str::trim).find_map(|text| text.parse().ok());
    match address {
        Some(std::net::IpAddr::V6(address)) => format!("[{address}]"),
        Some(address) => address.to_string(),
        None => "127.0.0.1".to_owned(),
    }
}

fn put(template: &str, variables: &[(&str, String)]) -> String {
    variables
        .iter()
        .fold(template.to_owned(), |text, (name, value)| {
            text.replace(&format!("@{name}@"), value)
        })
}

/// What can stand in a directive without ending it.
fn word(text: &str) -> anyhow::Result<&str> {
    let is_plain = |c: char| c.is_ascii_alphanumeric() || " -_.~/:[]*,".contains(c);
    if text.is_empty() || !text.chars().all(is_plain) {
        bail!(
            "'{text}' cannot stand in a configuration: letters, digits and - _ . ~ / : [ ] * only"
        );
    }
    Ok(text)
}

fn path(path: &std::path::Path) -> anyhow::Result<&str> {
    let text = path.to_str().unwrap_or_default();
    let text = word(text)?;
    if text.contains(' ') || !path.is_absolute() {
        bail!("{text} must be a whole path, from / on, without spaces");
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use super::*;

    fn nginx(listen: &str, origin: &str) -> anyhow::Result<String> {
        fill(&Facts {
            server: Server::Nginx {
                listen: listen.to_owned(),
                certificate: None,
                origin: origin.parse()?,
                resolver: "127.0.0.1".to_owned(),
                cache: "/var/cache/door".into(),
                size: "1g".to_owned(),
            },
            brief: 60,
            control: None,
        })
    }

    #[test]
    fn every_variable_of_every_program_is_filled_in() {
        let control = || "http://control.example:8080".parse().ok();
        let varnish = Server::Varnish {
            origin: "http://origin.example/bucket".parse().unwrap(),
        };
        let caddy = Server::Caddy {
            listen: "door.example".to_owned(),
            site: "/srv/site".into(),
        };
        let mut filled = vec![nginx("443 ssl", "https://origin.example/bucket/").unwrap()];
        for server in [varnish, caddy] {
            let facts = Facts {
                server,
                brief: 60,
                control: control(),
            };
            filled.push(fill(&facts).unwrap());
        }

        for text in filled {
            let upper = |part: &&str| {
                !part.is_empty() && part.chars().all(|c| c.is_ascii_uppercase() || c == '_')
            };
            let left: Vec<_> = text.split('@').filter(upper).collect();
            assert!(left.is_empty(), "{left:?} in\n{text}");
        }
    }

    #[test]
    fn what_would_end_a_directive_is_refused() {
        let listen = nginx("80; return 200", "http://origin.example").unwrap_err();
        let query = nginx("80", "http://origin.example/?x").unwrap_err();
        let path = nginx("80", "http://origin.example/$x;").unwrap_err();
        let secret = nginx("80", "https://user:word@origin.example").unwrap_err();

        assert!(listen.to_string().contains("cannot stand"), "{listen}");
        assert!(query.to_string().contains("plain base URL"), "{query}");
        assert!(path.to_string().contains("plain base URL"), "{path}");
        assert!(secret.to_string().contains("plain base URL"), "{secret}");
    }

    #[test]
    fn varnish_is_not_put_before_what_wants_tls() {
        let facts = Facts {
            server: Server::Varnish {
                origin: "https://origin.example".parse().unwrap(),
            },
            brief: 60,
            control: None,
        };

        let refused = fill(&facts).unwrap_err().to_string();

        assert!(refused.contains("use nginx alone"), "{refused}");
    }

    #[test]
    fn the_first_dns_server_of_the_system_is_asked() {
        let conf = "# made by\nsearch example\nnameserver fe80::1\nnameserver 192.0.2.1\n";

        assert_eq!(resolver(conf), "[fe80::1]");
        assert_eq!(resolver("nameserver 192.0.2.1"), "192.0.2.1");
        assert_eq!(resolver("options edns0"), "127.0.0.1");
    }
}
