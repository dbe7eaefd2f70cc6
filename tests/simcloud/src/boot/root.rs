//! A machine's disk, and programs on it.

use std::fs;
use std::io::{self, Write};
use std::os::unix::fs::{OpenOptionsExt, PermissionsExt, symlink};
use std::path::{Path, PathBuf};
use std::process::Stdio;

use tokio::process::Command;

/// What a program of a machine finds its own programs by.
const PATH: &str = "/usr/local/sbin:/usr/local/bin:/usr/sbin:/usr/bin:/sbin:/bin";
/// Folders that a machine has itself.
const OWN: [&str; 12] = [
    "etc/systemd/system",
    "var/lib",
    "var/log",
    "run/simcloud",
    "tmp",
    "root",
    "home",
    "usr",
    "dev",
    "proc",
    "opt",
    "srv",
];
/// What programs of the host need of its `/etc`.
const OF_ETC: [&str; 7] = [
    "passwd",
    "group",
    "nsswitch.conf",
    "hosts",
    "resolv.conf",
    "ld.so.cache",
    "localtime",
];
/// What is shown of the host's `/etc`.
const SHOWN: [&str; 3] = ["etc/ssl", "etc/ca-certificates", "etc/alternatives"];
/// Makes the host's programs visible in a root and runs one there: its arguments are the machine's
/// folder, the folder to run in, and the program with its arguments.
const ENTER: &str = r#"
set -e
machine=$1 within=$2 root=$1/root
shift 2
mount --rbind /usr "$root/usr"
mount -o remount,bind,ro "$root/usr"
mount --bind "$machine/local" "$root/usr/local"
if [ -e "$root/usr/bin/systemctl" ]; then
    mount --bind "$machine/local/bin/systemctl" "$root/usr/bin/systemctl"
fi
for folder in bin sbin lib lib32 lib64; do
    if [ -d "/$folder" ] && [ ! -L "/$folder" ]; then mount --rbind "/$folder" "$root/$folder"; fi
done
for folder in etc/ssl etc/ca-certificates etc/alternatives; do
    if [ -d "/$folder" ]; then mount --rbind "/$folder" "$root/$folder"; fi
done
mount --rbind /dev "$root/dev"
mount -t proc proc "$root/proc" 2>/dev/null || mount --rbind /proc "$root/proc"
exec chroot "$root" /usr/bin/env --chdir="$within" "$@"
"#;
/// systemctl, as far as a first boot needs it: what is enabled and what is to be started is noted.
const SYSTEMCTL: &str = r#"#!/bin/sh
verb= units= now=
for word in "$@"; do
    case $word in
        --now) now=yes ;;
        -*) ;;
        *) if [ -z "$verb" ]; then verb=$word; else units="$units ${word%.service}.service"; fi ;;
    esac
done
for unit in $units; do
    if [ ! -e "/etc/systemd/system/$unit" ]; then
        echo "Unit file $unit does not exist." >&2
        exit 5
    fi
done
case $verb in
    daemon-reload) ;;
    enable)
        mkdir -p /etc/systemd/system/multi-user.target.wants
        for unit in $units; do
            ln -sf "/etc/systemd/system/$unit" /etc/systemd/system/multi-user.target.wants/
            if [ -n "$now" ]; then echo "$unit" >> /run/simcloud/start; fi
        done ;;
    start | restart) for unit in $units; do echo "$unit" >> /run/simcloud/start; done ;;
    *) echo "systemctl $verb is not stood in for" >&2; exit 1 ;;
esac
"#;

/// How programs are kept apart from the host's.
#[derive(Clone, Copy, PartialEq, Eq, Debug)]
pub(super) enum Isolation {
    /// As root.
    Root,
    /// As an ordinary user, who is root in a user namespace.
    User,
}

/// Programs cannot be kept apart here.
#[derive(Debug, thiserror::Error)]
#[error("no machines here: unshare can make no namespace for mounts and processes")]
pub struct NoIsolation;

impl Isolation {
    /// The way that works here.
    pub(super) async fn find() -> Result<Self, NoIsolation> {
        for isolation in [Self::Root, Self::User] {
            let mut probe = Command::new("unshare");
            probe.args(isolation.arguments()).arg("true");
            probe.stdin(Stdio::null()).stderr(Stdio::null());
            if probe.status().await.is_ok_and(|status| status.success()) {
                return Ok(isolation);
            }
        }
        Err(NoIsolation)
    }

    fn arguments(self) -> &'static [&'static str] {
        const ALL: [&str; 5] = [
            "--map-root-user",
            "--mount",
            "--pid",
            "--fork",
            "--kill-child",
        ];
        match self {
            Self::Root => &ALL[1..],
            Self::User => &ALL,
        }
    }
}

/// A machine's disk.
#[derive(Clone, Debug)]
pub(super) struct Root {
    /// Its folder on the host; `root` in it is the machine's `/`, `local` its `/usr/local`.
    pub folder: PathBuf,
    isolation: Isolation,
}

impl Root {
    pub fn new(folder: PathBuf, isolation: Isolation) -> Self {
        Self { folder, isolation }
    }

    pub fn console(&self) -> PathBuf {
        self.folder.join("console.log")
    }

    /// Whether the machine has booted before.
    pub fn is_made(&self) -> bool {
        self.folder.join("root").exists()
    }

    /// Where a file of the machine is on the host.
    pub fn path(&self, file: &str) -> PathBuf {
        let inner = file.trim_start_matches('/');
        match inner.strip_prefix("usr/local/") {
            Some(local) => self.folder.join("local").join(local),
            None => self.folder.join("root").join(inner),
        }
    }

    /// Makes the disk of a machine of this name.
    pub fn make(&self, name: &str) -> io::Result<()> {
        let root = self.folder.join("root");
        for own in OWN.iter().chain(&SHOWN) {
            fs::create_dir_all(root.join(own))?;
        }
        for folder in ["bin", "sbin", "lib", "lib32", "lib64"] {
            // Links into /usr, where the host has them so.
            match fs::read_link(Path::new("/").join(folder)) {
                Ok(target) => symlink(target, root.join(folder))?,
                Err(_) => fs::create_dir_all(root.join(folder))?,
            }
        }
        for file in OF_ETC {
            // A host that lacks one of them runs its programs without.
            let _ = fs::copy(Path::new("/etc").join(file), root.join("etc").join(file));
        }
        fs::write(root.join("etc/hostname"), format!("{name}\n"))?;
        for folder in ["bin", "sbin", "lib"] {
            fs::create_dir_all(self.folder.join("local").join(folder))?;
        }
        self.write(
            "/usr/local/bin/systemctl",
            SYSTEMCTL.as_bytes(),
            0o755,
            false,
        )
    }

    /// Writes a file of the machine, and the folders to it. A path cannot leave its disk.
    pub fn write(
        &self,
        file: &str,
        content: &[u8],
        permissions: u32,
        appends: bool,
    ) -> io::Result<()> {
        if !file.starts_with('/') || file.split('/').any(|part| part == "..") {
            let error = format!("{file} is no path of a machine");
            return Err(io::Error::new(io::ErrorKind::InvalidInput, error));
        }
        let path = self.path(file);
        fs::create_dir_all(path.parent().unwrap_or(&self.folder))?;
        let mut options = fs::OpenOptions::new();
        options
            .create(true)
            .append(appends)
            .write(true)
            .truncate(!appends);
        // As cloud-init does not: nobody reads it before it has its permissions.
        let mut opened = options.mode(permissions & 0o700).open(&path)?;
        opened.write_all(content)?;
        fs::set_permissions(&path, fs::Permissions::from_mode(permissions))
    }

    /// A program of the machine, in a folder of it. It ends with whoever holds it.
    pub fn command(&self, within: Option<&str>, program: &[&str]) -> Command {
        let mut command = Command::new("unshare");
        command
            .args(self.isolation.arguments())
            .args(["sh", "-c", ENTER, "enter"])
            .arg(&self.folder)
            .arg(within.unwrap_or("/"))
            .args(program)
            .env_clear()
            .env("PATH", PATH)
            .env("HOME", "/root")
            .kill_on_drop(true);
        command
    }
}
