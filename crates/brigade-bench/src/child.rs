//! One measurement in a process of its own, and how the parent starts it.
//!
//! A child is this same binary with the hidden `child` command (or the Go
//! program). It prints one JSON sample on stdout and ends at once, so that
//! threads it left parked cost no shutdown. What it says on stderr is kept for
//! the failure message.
//!
//! Invariants:
//! 1. A child never outlives `run`: it is killed at its timeout, and waited for. It does not outlive the
//!    parent either: the kernel kills it when the thread that started it, the main one, ends.
//! 2. Only one child runs at a time.

use std::io::{Read, Write};
use std::os::unix::process::CommandExt;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::time::Duration;

use crate::line::Work;
use crate::rival::{self, Rival, go};
use crate::sample::Sample;

/// The child's side: does the work, prints the sample, ends the process.
pub(crate) fn main(rival: Rival, work: &Work) -> ! {
    match rival::run(rival, work) {
        Ok(sample) => {
            let text = serde_json::to_string(&sample).expect("a map of numbers is valid JSON");
            let mut out = std::io::stdout().lock();
            let written = writeln!(out, "{text}").and_then(|()| out.flush());
            std::process::exit(i32::from(written.is_err()));
        }
        Err(why) => {
            eprintln!("{why}");
            std::process::exit(1);
        }
    }
}

/// The parent's side: runs `work` on `rival` in a new process.
///
/// # Errors
///
/// A sentence, when the child cannot be started, fails, or is not done after `timeout`.
pub(crate) fn run(
    rival: Rival,
    work: &Work,
    go: Option<&go::Program>,
    timeout: Duration,
) -> Result<Sample, String> {
    let mut command = match (rival, go) {
        (Rival::Go, Some(program)) => program.command(work),
        (Rival::Go, None) => return Err("the Go program was not built".to_owned()),
        _ => own_command(rival, work)?,
    };
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped());
    die_with_parent(&mut command);
    let mut child = command
        .spawn()
        .map_err(|e| format!("starting the {} child: {e}", rival.name()))?;
    let output = collect(&mut child);
    let done = output.recv_timeout(timeout);
    if done.is_err() {
        // It may have ended in this very moment; `wait` below tells.
        let _ = child.kill();
    }
    let status = child
        .wait()
        .map_err(|e| format!("waiting for the {} child: {e}", rival.name()))?;
    let Ok((stdout, stderr)) = done else {
        return Err(format!("not done after {} s, killed", timeout.as_secs()));
    };
    if !status.success() {
        return Err(format!("{status}; {}", last_line(&stderr)));
    }
    serde_json::from_str(&stdout).map_err(|e| format!("reading the sample: {e}"))
}

/// Has the kernel kill the child when this thread ends.
pub(crate) fn die_with_parent(command: &mut Command) {
    // SAFETY: between fork and exec the closure makes one system call, which is async-signal-safe, and
    // touches no memory that another thread may hold locked.
    unsafe {
        command.pre_exec(
            || match libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            },
        );
    }
}

fn own_command(rival: Rival, work: &Work) -> Result<Command, String> {
    let me = std::env::current_exe().map_err(|e| format!("finding this program: {e}"))?;
    let mut command = Command::new(me);
    command.args([
        "child",
        "--rival",
        rival.name(),
        "--line",
        &work.line.name(),
    ]);
    command.args([
        "--n",
        &work.n.to_string(),
        "--workers",
        &work.workers.to_string(),
    ]);
    command.args(["--passes", &work.passes.to_string()]);
    Ok(command)
}

/// Reads both outputs to their end on threads of this process; both are short.
fn collect(child: &mut Child) -> mpsc::Receiver<(String, String)> {
    let (send, receive) = mpsc::channel();
    let stdout = child.stdout.take();
    let stderr = child.stderr.take();
    std::thread::spawn(move || {
        let errors = std::thread::spawn(move || read_all(stderr));
        let text = read_all(stdout);
        // The receiver is gone when the child was killed for its timeout.
        let _ = send.send((text, errors.join().unwrap_or_default()));
    });
    receive
}

fn read_all(from: Option<impl Read>) -> String {
    let mut bytes = Vec::new();
    if let Some(mut from) = from {
        // What was read before an error is still the best there is to show.
        let _ = from.read_to_end(&mut bytes);
    }
    String::from_utf8_lossy(&bytes).into_owned()
}

fn last_line(text: &str) -> &str {
    text.lines()
        .map(str::trim)
        .rfind(|l| !l.is_empty())
        .unwrap_or("it said nothing")
}
