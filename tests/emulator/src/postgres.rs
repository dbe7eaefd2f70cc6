//! A PostgreSQL server for tests: Debian's, in a folder of its own, on a free port of loopback, gone
//! with its folder when the test's process is. It syncs to the disk as one in use does.

use std::fs::{self, Permissions};
use std::io::{BufRead, BufReader, Write};
use std::os::unix::fs::{MetadataExt, PermissionsExt, chown};
use std::path::{Path, PathBuf};
use std::process::{Child, ChildStdin, Command, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::mpsc::{Receiver, channel};
use std::sync::{Mutex, OnceLock};
use std::thread;
use std::time::Duration;

use crate::process::{self, MOST_STARTS, free_port};
use crate::skipped;

/// Names the folder of another release's programs, to be used instead of the newest that is installed.
const OTHER: &str = "POSTERN_POSTGRES";
/// Where Debian puts the programs of each release.
const DEBIAN: &str = "/usr/lib/postgresql";
/// The oldest release that Postern knows.
const OLDEST: u32 = 15;

/// Runs the server, its arguments, whenever its input says `start`, kills it and its children with `-9`
/// at `kill`, and when the input ends, as it does when the test's process does, stops it and removes its folder.
const KEEPER: &str = r#"
folder=$1; shift
while read -r word; do
    case $word in
        start) echo "$folder starts" >&2; "$@" & server=$!;;
        kill) kill -9 "$server" $(cat "/proc/$server/task/$server/children"); wait "$server";;
    esac
done
kill -QUIT "$server"; wait "$server"; rm -rf "$folder"
"#;
/// What the server says once it can be connected to.
const READY: &str = "ready to accept connections";
/// How long it may take to be there, on a busy machine and after a crash.
const MOST_START_TIME: Duration = Duration::from_mins(1);
/// How long those that outlive a killed server get to notice it.
const PAUSE: Duration = Duration::from_millis(50);

/// The one user, who may do everything, and the password.
const USER: &str = "postern";
const PASSWORD: &str = "of+tests";

/// Where Debian puts `PgBouncer`.
const POOLER: &str = "/usr/sbin/pgbouncer";

/// A server.
pub struct Postgres {
    programs: PathBuf,
    folder: PathBuf,
    port: u16,
    /// It is told to start and to kill the server; it stops and cleans up when this is closed.
    orders: Mutex<Option<ChildStdin>>,
    keeper: Child,
    said: Mutex<Receiver<String>>,
    databases: AtomicU32,
    pooler: OnceLock<Option<Pooler>>,
}

/// `PgBouncer` before a server, in the mode that gives each transaction another connection.
struct Pooler {
    url: String,
    /// It ends when its standard input is closed.
    _process: Child,
}

impl Postgres {
    /// The one of this program, started when it is first asked for. `None`, which is said once, where
    /// it is not installed: then `tests` do not run.
    pub fn shared(tests: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Postgres>> = OnceLock::new();
        SHARED.get_or_init(|| Self::start(tests)).as_ref()
    }

    /// One of the caller's own, to be killed and started again.
    pub fn start(tests: &str) -> Option<Self> {
        Self::start_with(tests, &[], &[])
    }

    /// One with these `settings`, as `postgresql.conf` has them, and these `files` in its folder, readable
    /// for it alone.
    pub fn start_with(
        tests: &str,
        settings: &[(&str, &str)],
        files: &[(&str, &[u8])],
    ) -> Option<Self> {
        let Some(programs) = programs() else {
            skipped(
                tests,
                "no PostgreSQL 15 or newer (Debian: postgresql); POSTERN_POSTGRES names its programs' folder",
            );
            return None;
        };
        let mut said = String::new();
        for _ in 0..MOST_STARTS {
            match Self::try_start(programs.clone(), settings, files) {
                Ok(server) => return Some(server),
                Err(why) => said = why,
            }
        }
        panic!("the server does not start: {said}");
    }

    /// Starts one on a port that was free. What it said where another took the port.
    fn try_start(
        programs: PathBuf,
        settings: &[(&str, &str)],
        files: &[(&str, &[u8])],
    ) -> Result<Self, String> {
        let folder = make_cluster(&programs);
        for (name, bytes) in files {
            let path = folder.join("data").join(name);
            fs::write(&path, bytes).expect("the folder is there");
            fs::set_permissions(&path, Permissions::from_mode(0o600)).expect("it is ours");
            hand_over(&path);
        }
        let port = free_port();
        let mut command = Command::new("sh");
        command.args(["-c", KEEPER, "sh"]).arg(&folder);
        let server = unprivileged(&programs.join("postgres"));
        command.args(server).arg("-D").arg(folder.join("data"));
        let port_setting = port.to_string();
        let own = [
            ("listen_addresses", "127.0.0.1"),
            ("port", port_setting.as_str()),
            ("unix_socket_directories", ""),
            ("max_connections", "200"),
        ];
        for (name, value) in own.iter().chain(settings) {
            command.arg("-c").arg(format!("{name}={value}"));
        }
        let mut keeper = command
            .current_dir("/")
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let orders = keeper.stdin.take().expect("it is piped");
        let lines = BufReader::new(keeper.stderr.take().expect("it is piped"));
        let (say, said) = channel();
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                // Nobody listens once it runs; what it says must not fill the pipe.
                let _ = say.send(line);
            }
        });
        let server = Self {
            programs,
            folder,
            port,
            orders: Mutex::new(Some(orders)),
            keeper,
            said: Mutex::new(said),
            databases: AtomicU32::new(0),
            pooler: OnceLock::new(),
        };
        server.try_run()?;
        Ok(server)
    }

    /// A URL of a new and empty database.
    pub fn fresh_database(&self) -> String {
        let number = self.databases.fetch_add(1, Ordering::Relaxed);
        let name = format!("fresh_{number}");
        self.sql("postgres", &format!("CREATE DATABASE {name}"));
        self.url(&name)
    }

    /// The URL of `database`, for the user who may do everything.
    pub fn url(&self, database: &str) -> String {
        let password = PASSWORD.replace('+', "%2B");
        format!(
            "postgres://{USER}:{password}@127.0.0.1:{}/{database}",
            self.port
        )
    }

    /// The same behind `PgBouncer` with `pool_mode = transaction`. `None`, which is said once, where it is
    /// not installed: then `tests` do not run.
    pub fn pooled_url(&self, tests: &str, database: &str) -> Option<String> {
        let pooler = self
            .pooler
            .get_or_init(|| self.start_pooler(tests))
            .as_ref()?;
        let address = pooler.url.trim_start_matches("http://");
        Some(format!("postgres://{USER}@{address}/{database}"))
    }

    fn start_pooler(&self, tests: &str) -> Option<Pooler> {
        if !Path::new(POOLER).exists() {
            skipped(tests, "no PgBouncer (Debian: pgbouncer)");
            return None;
        }
        let program = unprivileged(Path::new(POOLER));
        let settings = self.folder.join("pgbouncer.ini");
        // Fewer connections than clients, so that they are handed around.
        let (url, process) =
            process::start(Path::new(&program[0]), "process up", |command, port| {
                let text = format!(
                    "[databases]\n* = host=127.0.0.1 port={} user={USER} password={PASSWORD}\n\
                 [pgbouncer]\nlisten_addr = 127.0.0.1\nlisten_port = {port}\nunix_socket_dir =\n\
                 auth_type = any\npool_mode = transaction\ndefault_pool_size = 4\n",
                    self.port
                );
                fs::write(&settings, text).expect("the folder is there");
                hand_over(&settings);
                command.args(&program[1..]).arg(&settings);
            });
        Some(Pooler {
            url,
            _process: process,
        })
    }

    /// Its port on 127.0.0.1.
    pub fn port(&self) -> u16 {
        self.port
    }

    /// Runs `sql` in `database`, and gives what it prints: lines of values with `|` between them.
    ///
    /// # Panics
    ///
    /// If it fails.
    pub fn sql(&self, database: &str, sql: &str) -> String {
        let output = Command::new(self.programs.join("psql"))
            .args(["--no-psqlrc", "-qAt", "-v", "ON_ERROR_STOP=1", "-c", sql])
            .arg(self.url(database))
            .output()
            .expect("psql comes with the server");
        let said = String::from_utf8_lossy(&output.stderr);
        assert!(output.status.success(), "{sql}: {said}");
        String::from_utf8_lossy(&output.stdout).into_owned()
    }

    /// Kills the server and its children with `kill -9`: as a machine that fails, but for what only its disk's cache held.
    pub fn kill(&self) {
        self.order("kill");
    }

    /// Starts it again after [`Postgres::kill`], and waits until it can be connected to.
    pub fn start_again(&self) {
        let mut said = String::new();
        // Its children notice that it is gone, and end, within some milliseconds.
        for _ in 0..MOST_START_TIME.as_millis() / PAUSE.as_millis() {
            match self.try_run() {
                Ok(()) => return,
                Err(why) => said = why,
            }
            thread::sleep(PAUSE);
        }
        panic!("the server does not start again: {said}");
    }

    /// Starts the server and waits until it is ready, or gives what it said before it ended.
    fn try_run(&self) -> Result<(), String> {
        self.order("start");
        let said = self.said.lock().expect("nobody panics with it");
        let begins = format!("{} starts", self.folder.display());
        let mut all = String::new();
        let mut has_begun = false;
        while let Ok(line) = said.recv_timeout(MOST_START_TIME) {
            has_begun |= line == begins;
            if !has_begun {
                continue;
            }
            if line.contains(READY) {
                return Ok(());
            }
            all.push_str(&line);
            all.push('\n');
            if is_its_end(&line) {
                return Err(all);
            }
        }
        panic!("the server says no more: {all}");
    }

    fn order(&self, word: &str) {
        let mut orders = self.orders.lock().expect("nobody panics with it");
        let orders = orders.as_mut().expect("it is there until it is dropped");
        writeln!(orders, "{word}").expect("the keeper lives as long as we do");
    }
}

impl Drop for Postgres {
    /// Stops the server and waits until its folder is gone.
    fn drop(&mut self) {
        if let Ok(mut orders) = self.orders.lock() {
            drop(orders.take());
        }
        // It is our child, and ends as its input does.
        let _ = self.keeper.wait();
    }
}

/// Whether the server gives up with this line. It says the same of those who call while it starts, and those
/// that outlive a killed one say it of themselves.
fn is_its_end(line: &str) -> bool {
    let of_others = ["the database system is", "postmaster exit", "terminating"];
    line.contains("FATAL") && !of_others.iter().any(|text| line.contains(text))
}

/// The folder of the programs of the newest release, if there is one.
fn programs() -> Option<PathBuf> {
    if let Some(other) = std::env::var_os(OTHER) {
        return Some(PathBuf::from(other));
    }
    let releases = fs::read_dir(DEBIAN).ok()?.filter_map(Result::ok);
    let numbers = releases.filter_map(|entry| entry.file_name().to_str()?.parse::<u32>().ok());
    let newest = numbers.filter(|number| *number >= OLDEST).max()?;
    let programs = Path::new(DEBIAN).join(newest.to_string()).join("bin");
    programs.join("initdb").exists().then_some(programs)
}

/// Makes a folder with an empty cluster in `data`, of the user that the server runs as.
fn make_cluster(programs: &Path) -> PathBuf {
    let folder = tempfile::Builder::new()
        .prefix("postern-postgres-")
        .tempdir()
        .expect("the system has room for temporary files")
        // The keeper removes it.
        .keep();
    let password = folder.join("password");
    fs::write(&password, PASSWORD).expect("the folder is new");
    hand_over(&password);
    hand_over(&folder);
    let initdb = unprivileged(&programs.join("initdb"));
    let output = Command::new(&initdb[0])
        .args(&initdb[1..])
        .arg("-D")
        .arg(folder.join("data"))
        .args(["--username", USER, "--auth=scram-sha-256", "--pwfile"])
        .arg(&password)
        // What it makes is whole before a test begins; a test that kills the server does not kill the disk.
        .args(["--encoding=UTF8", "--locale=C.UTF-8", "--no-sync"])
        .current_dir("/")
        .output()
        .expect("initdb is there");
    let said = String::from_utf8_lossy(&output.stderr);
    assert!(output.status.success(), "initdb: {said}");
    folder
}

/// The command line that runs `program` as a user who may not do everything, which the server insists on.
fn unprivileged(program: &Path) -> Vec<std::ffi::OsString> {
    let Some((user, group)) = other_user() else {
        return vec![program.into()];
    };
    let options = [
        "setpriv".to_owned(),
        format!("--reuid={user}"),
        format!("--regid={group}"),
        "--clear-groups".to_owned(),
    ];
    let options = options.into_iter().map(Into::into);
    options.chain([program.into()]).collect()
}

/// Gives `path` to the user that the server runs as.
fn hand_over(path: &Path) {
    if let Some((user, group)) = other_user() {
        chown(path, Some(user), Some(group)).expect("root gives away what it likes");
    }
}

/// Who runs the server where we are root: Debian's user for it, else nobody.
fn other_user() -> Option<(u32, u32)> {
    let we = fs::metadata("/proc/self").map(|process| process.uid());
    if we.ok()? != 0 {
        return None;
    }
    let users = fs::read_to_string("/etc/passwd").unwrap_or_default();
    let ids = |name: &str| {
        let line = users
            .lines()
            .find(|line| line.split(':').next() == Some(name))?;
        let mut fields = line.split(':').skip(2);
        Some((fields.next()?.parse().ok()?, fields.next()?.parse().ok()?))
    };
    // What Linux calls nobody.
    ids("postgres")
        .or_else(|| ids("nobody"))
        .or(Some((65534, 65534)))
}
