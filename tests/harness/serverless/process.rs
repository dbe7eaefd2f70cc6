//! A program that runs until it is dropped, and what it says.

use std::process::{ExitStatus, Stdio};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use tokio::io::{AsyncBufReadExt, AsyncRead, BufReader};
use tokio::process::Command;
use tokio::sync::watch;
use tokio::task::{JoinHandle, JoinSet};

/// Why a lock is never poisoned.
const HELD: &str = "nobody panics while holding it";

pub(crate) struct Process {
    id: u32,
    said: Arc<Mutex<String>>,
    /// Counts the lines; closed when the program has ended and everything it said was read.
    lines: watch::Receiver<usize>,
    watched: JoinHandle<ExitStatus>,
}

impl Process {
    pub(crate) fn start(mut command: Command) -> Self {
        let mut child = command
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true)
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?} does not start: {error}"));
        let id = child.id().expect("it has just started");
        let (count, lines) = watch::channel(0);
        let said = Arc::new(Mutex::new(String::new()));
        let mut readers = JoinSet::new();
        let stdout = child.stdout.take().expect("it is piped");
        readers.spawn(read(stdout, Arc::clone(&said), count.clone()));
        let stderr = child.stderr.take().expect("it is piped");
        readers.spawn(read(stderr, Arc::clone(&said), count));
        let watched = tokio::spawn(async move {
            readers.join_all().await;
            child.wait().await.expect("it is our child")
        });
        Self {
            id,
            said,
            lines,
            watched,
        }
    }

    /// The time that processors have spent on it so far, as Linux tells it of each thread
    /// (`/proc/<id>/task/<id>/schedstat`); a thread that has ended is not counted.
    pub(crate) fn processor_time(&self) -> Duration {
        let tasks = std::fs::read_dir(format!("/proc/{}/task", self.id)).expect("it runs");
        let spent = tasks.filter_map(|task| {
            let told = std::fs::read_to_string(task.ok()?.path().join("schedstat")).ok()?;
            told.split_whitespace().next()?.parse::<u64>().ok()
        });
        Duration::from_nanos(spent.sum())
    }

    /// The part of it that was spent in the program itself and not in the system for it, in whole
    /// hundredths of a second (`/proc/<id>/stat`, field 14).
    pub(crate) fn own_time(&self) -> Duration {
        let told = std::fs::read_to_string(format!("/proc/{}/stat", self.id)).expect("it runs");
        // Behind the name, which may hold anything, the fields are counted from the third.
        let (_, fields) = told.rsplit_once(')').expect("the name is in brackets");
        let ticks = fields.split_whitespace().nth(11).expect("it has 52 fields");
        Duration::from_millis(10 * ticks.parse::<u64>().expect("a number"))
    }

    pub(crate) fn said(&self) -> String {
        self.said.lock().expect(HELD).clone()
    }

    /// Waits until it has said `text`.
    pub(crate) async fn heard(&self, text: &str) {
        let mut lines = self.lines.clone();
        let heard = lines.wait_for(|_| self.said().contains(text));
        let heard = tokio::time::timeout(crate::PATIENCE, heard).await;
        assert!(
            heard.is_ok_and(|heard| heard.is_ok()),
            "it never said '{text}':\n{}",
            self.said()
        );
    }

    /// Waits until what it has said gives a value; `None` where patience ends first.
    pub(crate) async fn until<T>(&self, mut value: impl FnMut() -> Option<T>) -> Option<T> {
        let mut lines = self.lines.clone();
        let seen = async {
            loop {
                if let Some(value) = value() {
                    return Some(value);
                }
                lines.changed().await.ok()?;
            }
        };
        tokio::time::timeout(crate::PATIENCE, seen).await.ok()?
    }

    /// Waits until it has ended, and all that it said was read.
    pub(crate) async fn ended(&self) {
        let mut lines = self.lines.clone();
        while lines.changed().await.is_ok() {}
    }

    /// Asks it to stop (`SIGTERM`).
    pub(crate) fn terminate(&self) {
        let id = self.id.to_string();
        let sent = std::process::Command::new("kill").arg(id).status();
        assert!(sent.expect("kill runs").success(), "it has ended already");
    }

    /// Kills whatever is in its group, of which it is the leader: its own children, too.
    pub(crate) fn kill_group(&self) {
        let group = format!("-{}", self.id);
        let _may_have_ended = std::process::Command::new("kill")
            .args(["-KILL", "--", &group])
            .stderr(Stdio::null())
            .status();
    }

    /// Waits until it has ended by itself, and gives how.
    pub(crate) async fn status(&mut self) -> ExitStatus {
        let ended = tokio::time::timeout(crate::PATIENCE, &mut self.watched).await;
        let ended = ended.unwrap_or_else(|_| panic!("it goes on:\n{}", self.said()));
        ended.expect("nobody stops the task")
    }
}

impl Drop for Process {
    fn drop(&mut self) {
        // Drops the child, which kills it.
        self.watched.abort();
    }
}

async fn read(from: impl AsyncRead + Unpin, said: Arc<Mutex<String>>, count: watch::Sender<usize>) {
    let mut lines = BufReader::new(from).lines();
    while let Ok(Some(line)) = lines.next_line().await {
        let mut said = said.lock().expect(HELD);
        said.push_str(&line);
        said.push('\n');
        drop(said);
        count.send_modify(|count| *count += 1);
    }
}
