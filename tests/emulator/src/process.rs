//! The emulator as a process: one for all tests of a program, gone when the program is.

use std::io::{BufRead, BufReader};
use std::net::{Ipv4Addr, TcpListener};
use std::path::{Path, PathBuf};
use std::process::{Child, Command, Stdio};
use std::sync::OnceLock;
use std::thread;

use crate::skipped;

/// Runs its arguments until its standard input ends, as it does when the test's process does,
/// however that comes about.
const WHILE_WE_LIVE: &str = r#""$@" & cat >/dev/null; kill "$!""#;
/// A port that was free may be taken before the emulator binds it.
const MOST_STARTS: u32 = 5;

/// The emulator, its items in memory.
pub struct Emulator {
    url: String,
    _process: Child,
}

impl Emulator {
    /// The one of this program, started when it is first asked for. `None`, which is said once, where
    /// it is not installed: then `tests` do not run.
    pub fn shared(tests: &str) -> Option<&'static Self> {
        static SHARED: OnceLock<Option<Emulator>> = OnceLock::new();
        let start = || {
            let program = program();
            if program.exists() {
                return Some(start(&program));
            }
            skipped(tests, "no emulator, infra/scripts/emulator installs it");
            None
        };
        SHARED.get_or_init(start).as_ref()
    }

    /// Its base URL.
    pub fn url(&self) -> &str {
        &self.url
    }
}

fn program() -> PathBuf {
    Path::new(env!("CARGO_MANIFEST_DIR")).join("../../.tools/bin/dynoxide")
}

fn start(program: &Path) -> Emulator {
    let mut said = String::new();
    for _ in 0..MOST_STARTS {
        let port = free_port();
        let mut process = Command::new("sh")
            .args(["-c", WHILE_WE_LIVE, "sh"])
            .arg(program)
            .args(["serve", "--port", &port.to_string()])
            .stdin(Stdio::piped())
            .stdout(Stdio::null())
            .stderr(Stdio::piped())
            .spawn()
            .expect("a shell starts");
        let mut lines = BufReader::new(process.stderr.take().expect("it is piped"));
        said.clear();
        lines.read_line(&mut said).expect("it writes text");
        if !said.contains("listening") {
            drop(process.stdin.take());
            process.wait().expect("it is our child");
            continue;
        }
        // What it still has to say must not fill the pipe.
        thread::spawn(move || {
            for line in lines.lines().map_while(Result::ok) {
                eprintln!("emulator: {line}");
            }
        });
        return Emulator {
            url: format!("http://127.0.0.1:{port}"),
            _process: process,
        };
    }
    panic!("the emulator does not start: {said}");
}

fn free_port() -> u16 {
    let listener = TcpListener::bind((Ipv4Addr::LOCALHOST, 0)).expect("loopback has free ports");
    listener.local_addr().expect("it is bound").port()
}
