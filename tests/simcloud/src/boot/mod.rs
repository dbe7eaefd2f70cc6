//! Machines: what a server's user data says is really done, and the programs that it sets up run.
//!
//! A machine is a folder with a root of its own. Its programs see the host's `/usr`, read-only, and
//! their own `/etc`, `/var`, `/usr/local` and so on, in namespaces of their own for mounts and
//! processes (util-linux's `unshare`): it needs no Docker and, where ordinary users may make user
//! namespaces, no root. Its network is the host's. When power is cut, the kernel ends all of its
//! processes at once; what is on its disk stays until the server is deleted.
//!
//! cloud-init is stood in for as far as a gateway needs it: `write_files` and `runcmd` of a
//! `#cloud-config`, at the first boot; `runcmd` is one script, which goes on after a command that
//! failed, as cloud-init's does. Packages are taken to be there, owners to be root. Of systemd
//! there is `systemctl enable|start` and a supervisor that runs simple services.

mod cloud_init;
mod root;
mod supervisor;
mod unit;

use std::collections::BTreeMap;
use std::fs::{self, OpenOptions};
use std::io::{self, Write};
use std::path::{Path, PathBuf};
use std::process::Stdio;
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};

use tokio::runtime::Handle;
use tokio::task::JoinHandle;

use crate::nodes::{Booted, Nodes};
use cloud_init::CloudInit;
use root::{Isolation, Root};

pub use root::NoIsolation;

/// Runs the machines of a cloud.
#[derive(Debug)]
pub struct Machines {
    folder: PathBuf,
    isolation: Isolation,
    runtime: Handle,
    running: Mutex<BTreeMap<u64, JoinHandle<()>>>,
}

impl Machines {
    /// Machines with their disks in `folder`, or why there can be none here. It must be called on a
    /// runtime of tokio.
    pub async fn new(folder: &Path) -> Result<Arc<Self>, NoIsolation> {
        Ok(Arc::new(Self {
            folder: folder.to_owned(),
            isolation: Isolation::find().await?,
            runtime: Handle::current(),
            running: Mutex::default(),
        }))
    }

    /// What a machine has said: its cloud-init, its commands, its services.
    pub fn console(&self, server: u64) -> String {
        let console = fs::read(self.root(server).console());
        String::from_utf8_lossy(&console.unwrap_or_default()).into_owned()
    }

    /// Where a file of a machine is on the host.
    pub fn path(&self, server: u64, file: &str) -> PathBuf {
        self.root(server).path(file)
    }

    /// The servers that have power.
    pub fn powered(&self) -> Vec<u64> {
        self.running().keys().copied().collect()
    }

    fn root(&self, server: u64) -> Root {
        Root::new(self.folder.join(server.to_string()), self.isolation)
    }

    fn running(&self) -> MutexGuard<'_, BTreeMap<u64, JoinHandle<()>>> {
        self.running.lock().unwrap_or_else(PoisonError::into_inner)
    }
}

impl Nodes for Machines {
    fn boot(&self, server: &Booted) {
        let (root, server) = (self.root(server.id), server.clone());
        let id = server.id;
        let task = self.runtime.spawn(async move {
            if let Err(error) = run(&root, &server).await {
                root.say(&format!("the machine stopped: {error}"));
            }
        });
        if let Some(before) = self.running().insert(id, task) {
            before.abort();
        }
    }

    fn cut(&self, server: u64) {
        if let Some(task) = self.running().remove(&server) {
            task.abort();
        }
    }

    fn remove(&self, server: u64) {
        let task = self.running().remove(&server);
        let folder = self.root(server).folder;
        self.runtime.spawn(async move {
            if let Some(task) = task {
                task.abort();
                // An error says that it was aborted; what it wrote last is written.
                let _ = task.await;
            }
            // A machine that never had power has no disk.
            let _ = fs::remove_dir_all(folder);
        });
    }
}

impl Drop for Machines {
    fn drop(&mut self) {
        for task in self.running().values() {
            task.abort();
        }
    }
}

/// A machine, from power to its cut.
async fn run(root: &Root, server: &Booted) -> io::Result<()> {
    root.say(&format!("{} has power", server.name));
    if !root.is_made() {
        root.make(&server.name)?;
        match CloudInit::parse(&server.user_data) {
            Ok(init) => first_boot(root, &init).await?,
            Err(why) => root.say(&format!("cloud-init: {why}")),
        }
    }
    supervisor::run(root).await
}

async fn first_boot(root: &Root, init: &CloudInit) -> io::Result<()> {
    for name in &init.left_out {
        root.say(&format!("cloud-init: '{name}' is not stood in for"));
    }
    for file in &init.files {
        root.write(&file.path, &file.content, file.permissions, file.appends)?;
    }
    let Some(script) = &init.script else {
        return Ok(());
    };
    root.write(
        "/var/lib/cloud/instance/scripts/runcmd",
        script.as_bytes(),
        0o700,
        false,
    )?;
    let console = root.open_console()?;
    let mut command = root.command(None, &["/bin/sh", "/var/lib/cloud/instance/scripts/runcmd"]);
    command.stdout(console.try_clone()?).stderr(console);
    let ended = command.stdin(Stdio::null()).status().await?;
    root.say(&format!("cloud-init: runcmd ended with {ended}"));
    Ok(())
}

impl Root {
    /// A line of ours on the console.
    fn say(&self, line: &str) {
        // Whoever reads the console misses the line; nothing depends on it.
        if let Ok(mut console) = self.open_console() {
            let _ = writeln!(console, "[simcloud] {line}");
        }
    }

    fn open_console(&self) -> io::Result<fs::File> {
        fs::create_dir_all(&self.folder)?;
        let mut options = OpenOptions::new();
        options.create(true).append(true).open(self.console())
    }
}
