//! Front doors that anybody can run, as real programs: nginx, Varnish and Caddy of Debian's packages.
//!
//! Each runs with the configuration that a test was given for it and nothing besides that matters here; what
//! they keep is below a folder of the test's.

use std::net::SocketAddr;
use std::os::unix::fs::MetadataExt;
use std::path::{Path, PathBuf};

use tokio::process::Command;

use crate::serverless::process::Process;

/// Which program.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub enum Cdn {
    /// nginx.
    Nginx,
    /// Varnish.
    Varnish,
    /// Caddy.
    Caddy,
}

/// A door that runs until it is dropped.
pub struct Running {
    process: Process,
    address: SocketAddr,
}

impl Cdn {
    /// Its name, as `posternctl deploy doors --server` takes it.
    pub fn name(self) -> &'static str {
        match self {
            Self::Nginx => "nginx",
            Self::Varnish => "varnish",
            Self::Caddy => "caddy",
        }
    }

    /// Where it is installed. `None`, which is said, where it is not: then `test` does not run.
    pub fn installed(self, test: &str) -> Option<PathBuf> {
        let name = match self {
            Self::Nginx => "nginx",
            Self::Varnish => "varnishd",
            Self::Caddy => "caddy",
        };
        let found = ["/usr/sbin", "/usr/bin", "/usr/local/sbin", "/usr/local/bin"]
            .into_iter()
            .map(|folder| Path::new(folder).join(name))
            .find(|path| path.exists());
        if found.is_none() {
            let why = format!("no {name}, infra/scripts/test installs Debian's");
            crate::skipped(test, &why);
        }
        found
    }

    /// Starts it with the site's configuration in the file `config`, which listens at `address`, and waits
    /// until it does.
    pub async fn start(
        self,
        program: &Path,
        config: &Path,
        address: SocketAddr,
        folder: &Path,
    ) -> Running {
        let mut command = Command::new(program);
        match self {
            Self::Nginx => {
                let main = folder.join("nginx.conf");
                std::fs::write(&main, nginx(config, folder)).expect("the folder is ours");
                command.arg("-p").arg(folder).arg("-c").arg(main);
                command.args(["-e", "stderr"]);
            }
            Self::Varnish => {
                let work = folder.join("varnish");
                command.args(["-F", "-j", "none", "-T", "none", "-s", "malloc,32m"]);
                command.args(["-a", &address.to_string()]);
                command.arg("-f").arg(config).arg("-n").arg(work);
            }
            Self::Caddy => {
                command.args(["run", "--adapter", "caddyfile", "--config"]);
                command.arg(config);
                command.env("HOME", folder).env("XDG_DATA_HOME", folder);
                command.env("XDG_CONFIG_HOME", folder);
            }
        }
        // nginx would leave its workers behind.
        command.process_group(0);
        let running = Running {
            process: Process::start(command),
            address,
        };
        let listens = async || tokio::net::TcpStream::connect(address).await.ok().map(drop);
        let begun = crate::until_or(listens).await;
        assert!(begun.is_some(), "it does not start: {}", running.said());
        running
    }
}

impl Running {
    /// Its base URL.
    pub fn url(&self) -> String {
        format!("http://{}", self.address)
    }

    /// What it wrote to its log.
    pub fn said(&self) -> String {
        self.process.said()
    }

    /// Asks it to stop and waits until it has.
    pub async fn stop(self) {
        self.process.terminate();
        let ended = tokio::time::timeout(crate::PATIENCE, self.process.ended()).await;
        assert!(ended.is_ok(), "it goes on: {}", self.said());
    }
}

impl Drop for Running {
    fn drop(&mut self) {
        self.process.kill_group();
    }
}

/// What Debian's own `nginx.conf` would have around the site.
fn nginx(site: &Path, folder: &Path) -> String {
    // Who runs as root here has folders that nobody else may enter.
    let is_root = std::fs::metadata(folder).expect("it is there").uid() == 0;
    let user = if is_root { "user root;" } else { "" };
    let at = folder.display();
    let temporary = ["client_body", "proxy", "fastcgi", "uwsgi", "scgi"]
        .map(|of| format!("    {of}_temp_path {at}/{of};\n"))
        .concat();
    format!(
        "daemon off;\nworker_processes 1;\n{user}\npid {}/nginx.pid;\nevents {{}}\nhttp {{\n{temporary}    \
         include {};\n}}\n",
        folder.display(),
        site.display()
    )
}
