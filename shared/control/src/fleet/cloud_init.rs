//! What a node is told when it first boots (cloud-init's user data).
//!
//! `#cloud-config` followed by JSON, which is YAML: rendered by a serializer, so that nothing in a URL or
//! a token can become another key. It has no password and lets nobody in: root is locked, and what
//! a provider would set as its password is overruled. The agent is started only if the bytes that were
//! fetched have the hash that the fleet names.

use model::fleet::Agent;
use serde_json::json;

/// Where the agent finds its bootstrap token.
pub const ENVIRONMENT_FILE: &str = "/etc/postern/gateway.env";
/// The agent on a node.
pub const AGENT: &str = "/usr/local/bin/postern-gateway";
/// Its unit.
pub const UNIT_FILE: &str = "/etc/systemd/system/postern-gateway.service";

/// Fetches, checks and starts the agent. `runcmd` goes on after a command that failed, so all of it is
/// one. A mirror that is late, or a network that is not up yet, is tried again for some ten minutes.
const INSTALL: &str = "\
curl --fail --silent --show-error --location --retry 60 --retry-delay 10 --retry-all-errors \
--output /usr/local/bin/postern-gateway.new \"$1\"
echo \"$2  /usr/local/bin/postern-gateway.new\" | sha256sum --check --status
chmod 0755 /usr/local/bin/postern-gateway.new
mv /usr/local/bin/postern-gateway.new /usr/local/bin/postern-gateway
systemctl daemon-reload
systemctl enable --now postern-gateway.service
";

const UNIT: &str = "\
[Unit]
Description=Postern gateway
Wants=network-online.target
After=network-online.target

[Service]
EnvironmentFile=/etc/postern/gateway.env
ExecStart=/usr/local/bin/postern-gateway
StateDirectory=postern-gateway
Restart=always
RestartSec=5
NoNewPrivileges=true
ProtectHome=true

[Install]
WantedBy=multi-user.target
";

/// User data that a provider would not take.
#[derive(Clone, Copy, PartialEq, Eq, Debug, thiserror::Error)]
#[error(
    "the user data has {bytes} bytes, and the provider takes {most}: name fewer front doors in the \
     first contact"
)]
pub struct TooLong {
    /// How many bytes it has.
    pub bytes: usize,
    /// How many would be taken.
    pub most: usize,
}

/// The user data of the node that registers with `token`, in at most `most` bytes.
pub fn render(token: &str, agent: &Agent, most: usize) -> Result<String, TooLong> {
    let document = json!({
        "package_update": true,
        "packages": ["ca-certificates", "curl"],
        "disable_root": true,
        "ssh_pwauth": false,
        "users": [{"name": "root", "lock_passwd": true}],
        "chpasswd": {"expire": false, "users": []},
        "write_files": [
            {
                "path": ENVIRONMENT_FILE,
                "owner": "root:root",
                "permissions": "0600",
                "content": format!("POSTERN_TOKEN={token}\n"),
            },
            {
                "path": UNIT_FILE,
                "owner": "root:root",
                "permissions": "0644",
                "content": UNIT,
            },
        ],
        "runcmd": [["sh", "-euc", INSTALL, "install", agent.url, agent.sha256]],
    });
    let text = format!("#cloud-config\n{document:#}\n");
    if text.len() > most {
        return Err(TooLong {
            bytes: text.len(),
            most,
        });
    }
    Ok(text)
}

#[cfg(test)]
mod tests {
    use serde_json::Value;

    use super::*;

    fn agent() -> Agent {
        Agent {
            url: "https://example.org/agent?a=1&b='2'".to_owned(),
            sha256: "ab".repeat(32),
        }
    }

    fn document(text: &str) -> Value {
        serde_json::from_str(text.strip_prefix("#cloud-config\n").unwrap()).unwrap()
    }

    #[test]
    fn the_token_is_in_a_file_that_root_alone_reads_and_nowhere_else() {
        let text = render("postern-token", &agent(), 32 * 1024).unwrap();
        assert_eq!(text.matches("postern-token").count(), 1);
        let document = document(&text);
        let file = &document["write_files"][0];
        assert_eq!(file["path"], ENVIRONMENT_FILE);
        assert_eq!(file["permissions"], "0600");
        assert_eq!(file["content"], "POSTERN_TOKEN=postern-token\n");
    }

    #[test]
    fn nobody_logs_in() {
        let document = document(&render("t", &agent(), 32 * 1024).unwrap());
        assert_eq!(
            document["users"][0],
            json!({"name": "root", "lock_passwd": true})
        );
        assert_eq!(document["ssh_pwauth"], false);
    }

    #[test]
    fn a_url_is_an_argument_and_no_part_of_the_script() {
        let document = document(&render("t", &agent(), 32 * 1024).unwrap());
        let command = document["runcmd"][0].as_array().unwrap();
        assert_eq!(command[2], INSTALL);
        assert_eq!(command[4], agent().url);
        assert!(UNIT.contains(&format!("ExecStart={AGENT}")) && INSTALL.contains(AGENT));
    }

    #[test]
    fn what_a_provider_would_cut_off_is_refused() {
        let text = render("t", &agent(), 32 * 1024).unwrap();
        assert!(render("t", &agent(), text.len()).is_ok());
        assert!(render("t", &agent(), text.len() - 1).is_err());
    }
}
