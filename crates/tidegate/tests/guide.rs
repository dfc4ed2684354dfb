//! Goal: the pages of the guide that are sequences of commands are true: every command works, and says what the page says.
//! Method: each page is run from its first line to its last with bash, in a fresh folder, against the real binary.
//!
//! What counts on a page:
//!
//! - A block marked `sh` is run; it fails where a command in it fails. Variables that it exports live on.
//! - A block marked `sh fails` is run, and must fail.
//! - A block marked `sh server` is run beside the rest; the page goes on when the server is ready. A server that ran before
//!   is ended first, as a reader would end it with Ctrl-C.
//! - A block marked `sh beside PORT` is run beside the rest, too, until the page ends; the page goes on when something listens there.
//! - A block marked `text` or `json` right after one of these is what it prints, both streams together. `…` stands for
//!   anything within a line, and a line of `…` alone for any number of lines; blanks count as one. Of what a server prints, the page
//!   may leave lines out.
//! - Blocks with other marks are not run.
//! - In commands `tg_…` is the key that was printed last. The ports of the page, 8080 to 8082 and 6380, 8000 and 9000, are free ones here.
//!   `deploy` is that of the repository.
#![allow(clippy::unwrap_used, clippy::expect_used, clippy::panic, reason = "a test fails by panicking")]

use std::net::TcpStream;
use std::path::{Path, PathBuf};
use std::process::{Command, Stdio};
use std::time::Duration;

use tidegate_testkit::{PortLease, ServerProcess, TempDir, wait_for};

/// How long a server may take until it prints what the page says.
const DEADLINE: Duration = Duration::from_secs(20);

#[test]
fn limits_by_tier_works_as_written() {
    Walk::new("tiers").run();
}

#[test]
fn several_tenants_works_as_written() {
    Walk::new("tenants").run();
}

#[test]
fn changing_limits_safely_works_as_written() {
    Walk::new("changing-limits").run();
}

#[test]
fn coming_from_another_limiter_works_as_written() {
    Walk::new("migrating").run();
}

#[test]
fn redis_clients_works_as_written() {
    Walk::new("resp").run();
}

#[test]
fn protect_a_site_works_as_written() {
    Walk::new("protect-a-site").run();
}

#[test]
fn a_place_in_line_works_as_written() {
    Walk::new("valve").run();
}

#[test]
fn check_passes_yourself_works_as_written() {
    Walk::new("check-passes-yourself").run();
}

#[test]
fn output_that_differs_is_seen() {
    let shown = |text: &str| text.lines().map(str::to_owned).collect::<Vec<_>>();
    let agree = |page: &str, printed: &str| lines_agree(&shown(page), &shown(printed));
    assert!(agree("a … c\nd", "a b c\nd"));
    assert!(agree("a\n…\nd", "a\nb\nc\nd"));
    assert!(agree("…", ""));
    for (page, printed) in
        [("a", "b"), ("a", "a\nb"), ("a\nb", "a"), ("a … c", "a b d"), ("a…", "b a"), ("…a…a", "a")]
    {
        assert!(!agree(page, printed), "{page:?} is not {printed:?}");
    }
}

/// A block of a page: its mark, its text, and its line.
struct Block {
    mark: String,
    text: String,
    line: usize,
    /// Whether it stands right after another one, with at most an empty line between.
    follows: bool,
}

/// A walk through one page.
struct Walk {
    name: String,
    blocks: Vec<Block>,
    folder: TempDir,
    /// Of the doors.
    ports: [(String, PortLease); 4],
    /// Of what is run beside them.
    other_ports: [(String, PortLease); 2],
    server: Option<ServerProcess>,
    beside: Vec<ServerProcess>,
    key: String,
}

impl Walk {
    fn new(name: &str) -> Self {
        let page = Path::new(env!("CARGO_MANIFEST_DIR")).join(format!("../../docs/guide/{name}.md"));
        let text =
            std::fs::read_to_string(&page).unwrap_or_else(|error| panic!("{}: {error}", page.display()));
        let lease = |port: &str| (port.to_owned(), PortLease::new());
        let folder = TempDir::new("guide");
        let deploy = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../deploy");
        std::os::unix::fs::symlink(deploy, folder.join("deploy")).unwrap();
        Self {
            name: name.to_owned(),
            blocks: blocks_of(&text),
            folder,
            ports: [lease("8080"), lease("8081"), lease("8082"), lease("6380")],
            other_ports: [lease("8000"), lease("9000")],
            server: None,
            beside: Vec::new(),
            key: String::new(),
        }
    }

    fn run(mut self) {
        let blocks = std::mem::take(&mut self.blocks);
        assert!(blocks.iter().filter(|block| block.mark == "sh").count() > 3, "the page has its commands");
        for (index, block) in blocks.iter().enumerate() {
            let is_output = |block: &&Block| block.follows && matches!(block.mark.as_str(), "text" | "json");
            let output = blocks.get(index + 1).filter(is_output);
            match block.mark.as_str() {
                "sh" | "sh fails" => self.command(block, output),
                "sh server" => self.serve(block, output),
                mark => {
                    if let Some(port) = mark.strip_prefix("sh beside ") {
                        self.run_beside(block, port);
                    }
                }
            }
        }
    }

    /// Runs a block and compares what it prints.
    fn command(&mut self, block: &Block, output: Option<&Block>) {
        let kept = self.folder.join(".exported");
        let script = format!(
            "exec 2>&1; set -euo pipefail; [ ! -f {0} ] || . {0}; trap 'export -p > {0}' EXIT\n{1}",
            kept.display(),
            self.for_here(&block.text)
        );
        let ran = self.bash(&script).stdin(Stdio::null()).output().unwrap();
        let printed = self.for_the_page(&String::from_utf8_lossy(&ran.stdout));
        let place = format!("docs/guide/{}.md:{}", self.name, block.line);
        let must_fail = block.mark == "sh fails";
        assert!(
            ran.status.success() != must_fail,
            "{place} ends with {}:\n{}\nIt printed:\n{printed}\n{}",
            ran.status,
            block.text,
            self.log()
        );
        if let Some(output) = output {
            let lines = |text: &str| {
                text.trim_end().lines().map(|line| line.trim_end().to_owned()).collect::<Vec<_>>()
            };
            assert!(
                lines_agree(&lines(&output.text), &lines(&printed)),
                "{place} prints something else.\nThe page:\n{}\nHere:\n{printed}\n{}",
                output.text,
                self.log()
            );
        }
        self.remember_key(&printed);
    }

    /// Starts a server and waits until it has printed what the page says and listens.
    fn serve(&mut self, block: &Block, output: Option<&Block>) {
        if let Some(mut before) = self.server.take() {
            before.terminate();
            before.wait(DEADLINE);
        }
        let log = std::fs::File::create(self.log_path()).unwrap();
        let script = format!("exec {}", self.for_here(&block.text));
        let mut command = self.bash(&script);
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = ServerProcess::spawn(&mut command, "bash");
        let wanted: Vec<&str> = output.map_or(Vec::new(), |output| output.text.lines().collect());
        let listens = |port: &(String, PortLease)| TcpStream::connect(port.1.address()).is_ok();
        wait_for("the server prints what the page says", DEADLINE, || {
            let printed = self.for_the_page(&self.log());
            assert!(
                process.exited().is_none(),
                "{}.md:{}: the server ended:\n{printed}",
                self.name,
                block.line
            );
            let mut lines = printed.lines();
            let all = wanted
                .iter()
                .all(|&wanted| lines.any(|line| line_agrees(wanted.trim_end(), line.trim_end())));
            assert!(
                all || !printed.contains("Ctrl-C stops."),
                "{}.md:{}: the server prints something else:\n{printed}",
                self.name,
                block.line
            );
            (all && self.ports.iter().all(listens)).then_some(())
        });
        self.remember_key(&self.log());
        self.server = Some(process);
    }

    /// Starts something that goes on until the page ends, and waits until it listens.
    fn run_beside(&mut self, block: &Block, port: &str) {
        let path = self.folder.join(&format!(".beside-{port}.log"));
        let log = std::fs::File::create(&path).unwrap();
        let mut command = self.bash(&format!("exec {}", self.for_here(&block.text)));
        command.stdin(Stdio::null()).stdout(log.try_clone().unwrap()).stderr(log);
        let mut process = ServerProcess::spawn(&mut command, "bash");
        let lease = self.other_ports.iter().find(|(known, _)| known == port);
        let address = lease.expect("a port of this list").1.address();
        wait_for("something listens", DEADLINE, || {
            let ended = process.exited();
            let printed = || std::fs::read_to_string(&path).unwrap_or_default();
            assert!(ended.is_none(), "{}.md:{}: it ended:\n{}", self.name, block.line, printed());
            TcpStream::connect(address).ok()
        });
        self.beside.push(process);
    }

    fn bash(&self, script: &str) -> Command {
        let binary = PathBuf::from(env!("CARGO_BIN_EXE_tidegate"));
        let script = format!("PATH='{}':$PATH; {script}", binary.parent().unwrap().display());
        let mut command = Command::new("bash");
        command.args(["-c", &script]).current_dir(self.folder.path());
        for (name, _) in std::env::vars_os() {
            if name.to_string_lossy().starts_with("TIDEGATE_") {
                command.env_remove(name);
            }
        }
        let [(_, door), (_, grpc), (_, admin), (_, resp)] = &self.ports;
        command
            .env("TIDEGATE_LISTEN", door.address().to_string())
            .env("TIDEGATE_GRPC_LISTEN", grpc.address().to_string())
            .env("TIDEGATE_ADMIN_LISTEN", admin.address().to_string())
            .env("TIDEGATE_RESP_LISTEN", resp.address().to_string())
            .env("TIDEGATE_SERVER", format!("http://{}", door.address()))
            .env("TIDEGATE_ADMIN", format!("http://{}", admin.address()));
        command
    }

    /// Commands of the page, with the ports and the key of this walk.
    fn for_here(&self, text: &str) -> String {
        let mut text = text.replace("tg_…", &self.key);
        for (port, lease) in self.ports.iter().chain(&self.other_ports) {
            for host in ["localhost", "127.0.0.1"] {
                text = text.replace(&format!("{host}:{port}"), &lease.address().to_string());
            }
            // Programs that are told a port alone.
            text = text.replace(&format!(" {port} "), &format!(" {} ", lease.address().port()));
        }
        text
    }

    /// What was printed, with the ports of the page.
    fn for_the_page(&self, text: &str) -> String {
        let replaced = |text: String, (port, lease): &(String, PortLease)| {
            text.replace(&lease.address().to_string(), &format!("127.0.0.1:{port}"))
        };
        self.ports.iter().chain(&self.other_ports).fold(text.to_owned(), replaced)
    }

    fn remember_key(&mut self, printed: &str) {
        let is_of_key = |c: char| c.is_ascii_alphanumeric() || c == '_';
        let keys = printed.match_indices("tg_").map(|(at, _)| {
            let rest = &printed[at..];
            &rest[..rest.find(|c| !is_of_key(c)).unwrap_or(rest.len())]
        });
        if let Some(key) = keys.filter(|key| key.len() > 40).last() {
            key.clone_into(&mut self.key);
        }
    }

    fn log_path(&self) -> PathBuf {
        self.folder.join(".server.log")
    }

    fn log(&self) -> String {
        std::fs::read_to_string(self.log_path()).unwrap_or_default()
    }
}

impl Drop for Walk {
    /// Whatever has processes of its own is asked to end them.
    fn drop(&mut self) {
        for process in &mut self.beside {
            process.terminate();
            process.ended(DEADLINE);
        }
    }
}

fn blocks_of(page: &str) -> Vec<Block> {
    let mut blocks: Vec<Block> = Vec::new();
    let (mut open, mut follows) = (None::<Block>, false);
    for (index, line) in page.lines().enumerate() {
        match (&mut open, line.strip_prefix("```")) {
            (None, Some(mark)) => {
                let mark = mark.trim().to_owned();
                open = Some(Block { mark, text: String::new(), line: index + 1, follows });
            }
            (Some(_), Some(_)) => {
                blocks.extend(open.take());
                follows = true;
            }
            (Some(block), None) => {
                block.text.push_str(line);
                block.text.push('\n');
            }
            (None, None) => follows = follows && line.trim().is_empty(),
        }
    }
    assert!(open.is_none(), "a block is not closed");
    blocks
}

/// Whether lines are as the page shows them.
fn lines_agree(shown: &[String], printed: &[String]) -> bool {
    match shown.split_first() {
        None => printed.is_empty(),
        Some((first, rest)) if first.trim() == "…" => {
            (0..=printed.len()).any(|skipped| lines_agree(rest, &printed[skipped..]))
        }
        Some((first, rest)) => printed
            .split_first()
            .is_some_and(|(line, others)| line_agrees(first, line) && lines_agree(rest, others)),
    }
}

/// Whether a line is as the page shows it.
fn line_agrees(shown: &str, printed: &str) -> bool {
    let with_single_blanks =
        |line: &str| line.split(' ').filter(|word| !word.is_empty()).collect::<Vec<_>>().join(" ");
    let (shown, printed) = (with_single_blanks(shown), with_single_blanks(printed));
    let mut parts = shown.split('…');
    let Some(mut rest) = printed.strip_prefix(parts.next().unwrap_or_default()) else { return false };
    let parts: Vec<&str> = parts.collect();
    let Some((last, between)) = parts.split_last() else { return rest.is_empty() };
    for part in between {
        let Some(at) = rest.find(part) else { return false };
        rest = &rest[at + part.len()..];
    }
    rest.ends_with(last)
}
