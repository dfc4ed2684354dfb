//! One process of another program, ended by its id.

use std::ffi::OsString;
use std::fs;
use std::path::Path;
use std::process::{Child, ChildStderr, ChildStdout, Command, ExitStatus};
use std::time::Duration;

use rustix::process::{Pid, Signal, kill_process};

use crate::wait::{Stopwatch, wait_for, wait_until};

/// How long a signal may take to show.
const SIGNAL_DEADLINE: Duration = Duration::from_secs(5);

/// A running program; killed when dropped.
#[derive(Debug)]
pub struct ServerProcess {
    child: Child,
}

impl ServerProcess {
    /// Starts `command`.
    ///
    /// # Panics
    ///
    /// Panics where it cannot be started, naming the `package` to install.
    pub fn spawn(command: &mut Command, package: &str) -> Self {
        match command.spawn() {
            Ok(child) => Self { child },
            Err(error) => {
                let program = command.get_program().display();
                panic!(
                    "{program} cannot be started ({error}): this test needs it, install the package {package}"
                )
            }
        }
    }

    /// Its process id.
    pub fn pid(&self) -> u32 {
        self.child.id()
    }

    /// Whether it has ended, and how.
    pub fn exited(&mut self) -> Option<ExitStatus> {
        self.child.try_wait().expect("the state of a child")
    }

    /// Ends it at once (SIGKILL).
    pub fn kill(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }

    /// Asks it to end (SIGTERM); [`wait`](Self::wait) sees it end.
    pub fn terminate(&self) {
        self.signal(Signal::TERM);
    }

    /// Asks it to read its configuration again (SIGHUP).
    pub fn hang_up(&self) {
        self.signal(Signal::HUP);
    }

    /// Stops it in its tracks (SIGSTOP): its sockets stay open and silent.
    pub fn pause(&self) {
        self.signal(Signal::STOP);
        wait_until("the process stops", SIGNAL_DEADLINE, || stat_fields(self.pid())[0] == "T");
    }

    /// Lets it go on (SIGCONT).
    pub fn resume(&self) {
        self.signal(Signal::CONT);
    }

    /// Waits until it has ended.
    pub fn wait(&mut self, within: Duration) -> ExitStatus {
        wait_for("the process ends", within, || self.exited())
    }

    /// Whether it ends in this time.
    pub fn ended(&mut self, within: Duration) -> bool {
        let watch = Stopwatch::start();
        wait_for("the process ends or the time is over", 2 * within, || {
            if self.exited().is_some() { Some(true) } else { (watch.elapsed() > within).then_some(false) }
        })
    }

    /// The processor time it has used, of all its threads, in steps of the system's tick (mostly 10 ms).
    pub fn cpu_micros(&self) -> u64 {
        let fields = stat_fields(self.pid());
        // proc(5): utime and stime are fields 14 and 15; these begin with the third.
        let ticks: u64 = [11, 12].iter().map(|&field| fields[field].parse::<u64>().unwrap()).sum();
        ticks * 1_000_000 / rustix::param::clock_ticks_per_second()
    }

    /// Standard output and standard error, where both are pipes and not taken yet.
    pub(crate) fn take_streams(&mut self) -> (ChildStdout, ChildStderr) {
        let (output, errors) = (self.child.stdout.take(), self.child.stderr.take());
        (output.expect("a pipe"), errors.expect("a pipe"))
    }

    /// The processes it has started and that run still.
    pub(crate) fn children(&self) -> Vec<u32> {
        let pid = self.pid();
        let listed = fs::read_to_string(format!("/proc/{pid}/task/{pid}/children")).unwrap_or_default();
        listed.split_whitespace().filter_map(|child| child.parse().ok()).collect()
    }

    fn signal(&self, signal: Signal) {
        signal_process(self.pid(), signal).unwrap_or_else(|error| panic!("process {}: {error}", self.pid()));
    }
}

impl Drop for ServerProcess {
    fn drop(&mut self) {
        self.kill();
    }
}

/// Ends a process that is not a child of this one, if it is still there.
pub(crate) fn kill_descendant(pid: u32) {
    let _ = signal_process(pid, Signal::KILL);
}

/// Stops a process that is not a child of this one, if it is still there.
pub(crate) fn stop_process(pid: u32) {
    let _ = signal_process(pid, Signal::STOP);
}

/// Lets a process that is not a child of this one go on, if it is still there.
pub(crate) fn continue_process(pid: u32) {
    let _ = signal_process(pid, Signal::CONT);
}

fn signal_process(pid: u32, signal: Signal) -> rustix::io::Result<()> {
    let pid = i32::try_from(pid).ok().and_then(Pid::from_raw).expect("a process id");
    kill_process(pid, signal)
}

/// The fields of `/proc/PID/stat` from the third on; the second is a name that may hold anything.
fn stat_fields(pid: u32) -> Vec<String> {
    let stat = fs::read_to_string(format!("/proc/{pid}/stat")).expect("the process runs");
    let (_, fields) = stat.rsplit_once(')').expect("a name in parentheses");
    fields.split_whitespace().map(str::to_owned).collect()
}

/// The program of the environment variable, or the usual one.
pub(crate) fn program(variable: &str, usual: &str) -> OsString {
    std::env::var_os(variable).unwrap_or_else(|| usual.into())
}

/// The last lines of a log, for a message.
pub(crate) fn tail(log: &Path) -> String {
    let text = fs::read(log).map(|bytes| String::from_utf8_lossy(&bytes).into_owned()).unwrap_or_default();
    let lines: Vec<&str> = text.lines().collect();
    lines[lines.len().saturating_sub(30)..].join("\n")
}
