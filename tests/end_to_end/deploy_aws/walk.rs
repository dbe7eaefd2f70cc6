//! A new operator's walk: what `docs/deploy.md` has its readers type is typed at a terminal, word for word, in
//! an empty folder. What people would copy from one line into the next is copied.

use std::path::PathBuf;
use std::process::Stdio;
use std::sync::Mutex;
use std::time::Duration;

use harness::amazon::release;
use harness::cdn::Cdn;
use harness::programs::{Background, program};
use harness::{Amazon, until};
use serde_json::Value;
use tokio::io::AsyncWriteExt;
use tokio::process::Command;

const PAGE: &str = include_str!("../../../docs/deploy.md");
/// How the blocks begin that are for others than a rehearsal, or are done here in another way: the programs are
/// those that the tests have built, the account is the test's own stand-in.
const NOT_HERE: [&str; 3] = [
    "bash infra/scripts/release",
    "export AWS_REGION",
    "bash infra/scripts/emulator",
];
/// What goes on running in a terminal of its own.
const GOES_ON: [&str; 2] = ["postern-gateway", "caddy"];
/// What is copied, and how it begins where it was printed.
const COPIED: [(&str, &str); 4] = [
    ("THE CODE", "postern://setup/"),
    ("THE TOKEN", "postern://bootstrap/"),
    ("THE INVITE", "postern://invite/"),
    ("THE STATE", "dynamodb:"),
];
/// What it answers who asks: whether to go on, and whether to sign.
const ANSWER: &str = "yes\n";
/// The longest that a line takes: a whole stack is made.
const LINE: Duration = Duration::from_mins(3);

struct Walk {
    amazon: Amazon,
    folder: PathBuf,
    /// All that was printed so far.
    printed: Mutex<String>,
    running: Mutex<Vec<Background>>,
}

impl Walk {
    /// Someone with the programs and a release in an otherwise empty folder, and an account.
    async fn start(test: &str) -> Option<Self> {
        let amazon = Amazon::start(test).await?;
        Cdn::Caddy.installed(test)?;
        let folder = amazon.path("my-relay");
        std::fs::create_dir(&folder).unwrap();
        let link = |from: PathBuf, name: &str| {
            std::os::unix::fs::symlink(from, folder.join(name)).unwrap();
        };
        for name in ["postern", "posternctl", "postern-gateway"] {
            link(program(name), name);
        }
        link(release().to_owned(), "lambda-x86_64");
        std::fs::write(folder.join("aws.env"), amazon.for_shells()).unwrap();
        Some(Self {
            amazon,
            folder,
            printed: Mutex::default(),
            running: Mutex::default(),
        })
    }

    /// `program` where this operator works, with what they have told their shell.
    fn here(&self, program: &str) -> Command {
        let path = std::env::var("PATH").unwrap();
        let mut command = Command::new(program);
        command
            .current_dir(&self.folder)
            .env("PATH", format!("{}:{path}", self.folder.display()))
            .env("HOME", &self.folder)
            .env("SHELL", "/bin/sh")
            .env("POSTERN_PASSPHRASE", "of an operator")
            .env_remove("XDG_CONFIG_HOME")
            .env_remove("XDG_DATA_HOME")
            .env_remove("XDG_STATE_HOME")
            .env_remove("POSTERN_HETZNER_TOKEN");
        command
    }

    /// Types the line, answers what is asked, and gives what was printed; a line of `Err` if it failed.
    async fn tries(&self, line: &str) -> Result<String, String> {
        let line = self.copied(line);
        let mut terminal = self.here("script");
        terminal
            .args(["--quiet", "--echo", "never", "--return", "--command"])
            .args([&told(&line), "/dev/null"])
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .kill_on_drop(true);
        let mut shell = terminal.spawn().expect("a terminal");
        let mut keyboard = shell.stdin.take().expect("it is piped");
        let typed = async {
            keyboard
                .write_all(ANSWER.as_bytes())
                .await
                .expect("it reads");
            shell.wait_with_output().await.expect("it is our child")
        };
        let output = tokio::time::timeout(LINE, typed).await;
        let output = output.unwrap_or_else(|_| panic!("{line} goes on and on"));
        let said = String::from_utf8_lossy(&output.stdout).replace("\r\n", "\n");
        self.printed.lock().unwrap().push_str(&said);
        if output.status.success() {
            Ok(said)
        } else {
            Err(format!(
                "{line}\n{said}{}",
                String::from_utf8_lossy(&output.stderr)
            ))
        }
    }

    async fn types(&self, line: &str) -> String {
        let said = self.tries(line).await;
        said.unwrap_or_else(|failed| panic!("{failed}"))
    }

    /// Leaves it running.
    fn leaves(&self, line: &str) {
        let mut shell = self.here("/bin/sh");
        shell.args(["-c", &told(&self.copied(line))]);
        self.running.lock().unwrap().push(Background::start(shell));
    }

    /// What all has said that was left running.
    fn heard(&self) -> String {
        let running = self.running.lock().unwrap();
        running.iter().map(Background::said).collect()
    }

    /// The line with what is to be copied into it: what was printed last.
    fn copied(&self, line: &str) -> String {
        let printed = self.printed.lock().unwrap();
        let mut line = line.to_owned();
        for (name, beginning) in COPIED {
            if line.contains(name) {
                let at = printed
                    .rfind(beginning)
                    .unwrap_or_else(|| panic!("no {name} in\n{printed}"));
                let ends = |c: char| c.is_whitespace() || c == '\'';
                let text = printed[at..].split(ends).next().expect("it begins there");
                line = line.replace(name, text);
            }
        }
        line
    }
}

/// The line, in a shell that was told of the account as the page says.
fn told(line: &str) -> String {
    format!("set -e; [ ! -e aws.env ] || . ./aws.env; {line}")
}

/// The blocks of the page that are typed in a rehearsal, a line each.
fn blocks() -> Vec<Vec<&'static str>> {
    let fenced = PAGE.split("```\n").skip(1).step_by(2);
    let blocks: Vec<Vec<_>> = fenced.map(|block| block.lines().collect()).collect();
    let is_here = |block: &Vec<&str>| !NOT_HERE.iter().any(|begins| block[0].starts_with(begins));
    let here: Vec<_> = blocks
        .iter()
        .filter(|block| is_here(block))
        .cloned()
        .collect();
    assert_eq!(here.len() + NOT_HERE.len(), blocks.len(), "{blocks:?}");
    here
}

#[tokio::test(flavor = "multi_thread", worker_threads = 2)]
async fn what_the_page_says_is_typed_word_for_word() {
    let Some(walk) = Walk::start("deploy-aws-walk").await else {
        return;
    };
    let lines: Vec<_> = blocks().into_iter().flatten().collect();
    for line in &lines {
        if GOES_ON.iter().any(|program| line.starts_with(program)) {
            walk.leaves(line);
        } else if *line == "postern sync" {
            let second = syncs(&walk).await;
            if let Some(second) = second {
                goes_on_without_its_first_door(&walk, &lines, &second).await;
                no_version_of_before_a_ceremony_comes_back(&walk).await;
            }
        } else if line.contains("--url") {
            // Until the server listens.
            until(line, async || walk.tries(line).await.ok()).await;
        } else {
            if line.contains("--destroy") {
                // The stand-in lets a function that is asked while it goes make its log anew, whatever its role says.
                walk.running.lock().unwrap().clear();
            }
            walk.types(line).await;
        }
    }

    let config = std::fs::read_dir(walk.folder.join("tunnels")).unwrap();
    assert!(config.count() > 0, "no tunnel's configuration");
    assert!(walk.folder.join("my-network.age").exists());
    walk.amazon.holds_nothing().await;
}

/// The schedule publishes each minute: until the catalog has both gateways, and the door that was added, which
/// is given.
async fn syncs(walk: &Walk) -> Option<String> {
    let is_added = walk.folder.join("change.json").exists();
    let second = walk.types("echo SECOND=$SECOND").await;
    let second = second.split_once('=').expect("it echoes").1.trim();
    let began = tokio::time::Instant::now();
    loop {
        walk.types("postern sync").await;
        let said = walk.types("postern --json status").await;
        let document = said.find('{').map(|at| &said[at..]).expect("a document");
        let status: Value = serde_json::from_str(document).expect("a document");
        let knows = status["doors"]
            .as_object()
            .expect("doors")
            .contains_key(second);
        if status["catalog"]["gateways"] == 2 && knows == is_added {
            return is_added.then(|| second.to_owned());
        }
        assert!(began.elapsed() < LINE, "{said}\n{}", walk.heard());
        tokio::time::sleep(Duration::from_secs(1)).await;
    }
}

/// What was put in force since cannot be taken back over: the versions of before do not know it.
async fn no_version_of_before_a_ceremony_comes_back(walk: &Walk) {
    let back = "posternctl --data my-network deploy aws --rollback";

    let refused = walk.tries(back).await.expect_err("it is refused");

    assert!(refused.contains("(health)"), "{refused}");
    assert!(refused.contains("ceremony"), "{refused}");
}

/// The network's own door, and with it the control plane, is shut: the second one has the same catalog.
async fn goes_on_without_its_first_door(walk: &Walk, lines: &[&str], second: &str) {
    let pull = lines.iter().find(|line| line.contains("--pull"));
    walk.types(pull.expect("the page pulls")).await;
    walk.amazon.front.set_down(true);

    let said = walk.types("postern sync").await;

    assert!(said.contains(&format!("from {second}")), "{said}");
    walk.amazon.front.set_down(false);
}
