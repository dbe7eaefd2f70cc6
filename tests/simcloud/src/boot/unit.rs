//! Unit files of simple services (systemd.service(5), systemd.exec(5)).

use std::time::Duration;

/// A service, as far as it is stood in for: what hardens it is left out.
#[derive(Clone, PartialEq, Eq, Debug)]
pub(super) struct Unit {
    pub command: Vec<String>,
    /// `KEY=VALUE`.
    pub environment: Vec<String>,
    /// Paths, and whether a file may be missing.
    pub environment_files: Vec<(String, bool)>,
    pub state_directory: Option<String>,
    pub working_directory: Option<String>,
    pub restart: Restart,
    pub restart_after: Duration,
}

#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Restart {
    Never,
    OnFailure,
    Always,
}

impl Unit {
    pub fn parse(text: &str) -> Result<Self, String> {
        let mut unit = Self {
            command: Vec::new(),
            environment: Vec::new(),
            environment_files: Vec::new(),
            state_directory: None,
            working_directory: None,
            restart: Restart::Never,
            // systemd's default.
            restart_after: Duration::from_millis(100),
        };
        let text = text.replace("\\\n", " ");
        let mut section = "";
        for line in text.lines().map(str::trim) {
            if line.starts_with('[') {
                section = line;
            }
            let is_setting = section == "[Service]" && !line.starts_with(['#', ';']);
            if let Some((key, value)) = line.split_once('=').filter(|_| is_setting) {
                unit.set(key.trim(), value.trim())?;
            }
        }
        if unit.command.is_empty() {
            return Err("it has no ExecStart".to_owned());
        }
        Ok(unit)
    }

    fn set(&mut self, key: &str, value: &str) -> Result<(), String> {
        match key {
            "ExecStart" => {
                let words = shlex::split(value).unwrap_or_default();
                if words.is_empty() || words.iter().any(|word| word.contains(['$', '%'])) {
                    return Err(format!("ExecStart={value} is not stood in for"));
                }
                self.command = words;
            }
            "Environment" => self
                .environment
                .extend(shlex::split(value).unwrap_or_default()),
            "EnvironmentFile" => {
                let path = value.strip_prefix('-');
                let file = (path.unwrap_or(value).to_owned(), path.is_some());
                self.environment_files.push(file);
            }
            "StateDirectory" => self.state_directory = Some(value.to_owned()),
            "WorkingDirectory" => self.working_directory = Some(value.to_owned()),
            "Restart" => {
                self.restart = match value {
                    "always" => Restart::Always,
                    "on-failure" => Restart::OnFailure,
                    "no" => Restart::Never,
                    other => return Err(format!("Restart={other} is not stood in for")),
                }
            }
            "RestartSec" => {
                let (number, unit) = value
                    .strip_suffix("ms")
                    .map_or((value.trim_end_matches('s'), 1000), |number| (number, 1));
                let number: u64 = number
                    .trim()
                    .parse()
                    .map_err(|_| format!("RestartSec={value} is not stood in for"))?;
                self.restart_after = Duration::from_millis(number * unit);
            }
            // Dependencies on order, limits and hardening: a stand-in has nothing to put there.
            _ => {}
        }
        Ok(())
    }
}

/// The variables of an environment file.
pub(super) fn variables(text: &str) -> Vec<(String, String)> {
    let lines = text.lines().map(str::trim);
    let lines = lines.filter(|line| !line.starts_with(['#', ';']));
    let pairs = lines.filter_map(|line| line.split_once('='));
    let pairs = pairs.map(|(key, value)| {
        let unquoted = ['"', '\''].iter().find_map(|quote| {
            let inner = value.strip_prefix(*quote)?;
            inner.strip_suffix(*quote)
        });
        (key.trim().to_owned(), unquoted.unwrap_or(value).to_owned())
    });
    pairs.collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_service_is_read() {
        let text = "[Unit]\nDescription=x\nExecStart=no\n\n[Service]\n# a comment\n\
            EnvironmentFile=/etc/postern/gateway.env\nEnvironmentFile=-/etc/other\n\
            Environment=A=1 \"B=2 3\"\nExecStart=/usr/local/bin/agent --data \\\n '/var/x y'\n\
            StateDirectory=agent\nRestart=always\nRestartSec=5\nProtectSystem=strict\n\
            [Install]\nWantedBy=multi-user.target\n";
        let unit = Unit::parse(text).unwrap();
        assert_eq!(unit.command, ["/usr/local/bin/agent", "--data", "/var/x y"]);
        assert_eq!(unit.environment, ["A=1", "B=2 3"]);
        let files = [
            ("/etc/postern/gateway.env".to_owned(), false),
            ("/etc/other".to_owned(), true),
        ];
        assert_eq!(unit.environment_files, files);
        assert_eq!(unit.state_directory.as_deref(), Some("agent"));
        assert_eq!(unit.restart, Restart::Always);
        assert_eq!(unit.restart_after, Duration::from_secs(5));
        assert!(Unit::parse("[Service]\nRestart=always\n").is_err());
        assert!(Unit::parse("[Service]\nExecStart=/bin/echo $HOME\n").is_err());
    }

    #[test]
    fn an_environment_file_is_read() {
        let read = variables("# x\nA=1\nB=\"2 = 3\"\n\nC='d'\n");
        let read: Vec<_> = read.iter().map(|(k, v)| (k.as_str(), v.as_str())).collect();
        assert_eq!(read, [("A", "1"), ("B", "2 = 3"), ("C", "d")]);
    }
}
