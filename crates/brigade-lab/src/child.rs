//! One run of one arm in a process of its own.
//!
//! The parent starts its own program again with a hidden subcommand; the child runs the arm and
//! writes one JSON value to its standard output. Everything the arm did ends with the child:
//! affinity, memory, threads, runtimes.
//!
//! # Invariants
//!
//! 1. No child outlives [`Launcher::run_arm`]: it is waited for, or killed and waited for.
//! 2. A child whose parent is killed is killed by the kernel (`PR_SET_PDEATHSIG`).
//! 3. When memory runs out the kernel ends the child and not its parent (`oom_score_adj`).
//! 4. The parent sleeps while the arm runs, except for one look at the cancel flag every 50 ms.

use std::ffi::OsString;
use std::io::{self, Read};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, Command, ExitStatus, Stdio};
use std::sync::mpsc::{Receiver, RecvTimeoutError, channel};
use std::thread;
use std::time::{Duration, Instant};

use rustix::process::{Resource, Rlimit, Signal};
use serde::{Deserialize, Serialize};

use crate::experiment::{Arm, ArmError, Scale};
use crate::peer;
use crate::sample::Sample;

/// How often the parent looks at the cancel flag while an arm runs.
const LOOK: Duration = Duration::from_millis(50);

/// What became of one run of one arm.
#[derive(Clone, Debug, PartialEq)]
pub enum Outcome {
    /// It measured something.
    Sample(Sample),
    /// It has no sample.
    Error(ArmError),
    /// It was given up because the caller asked to stop.
    Cancelled,
}

/// Runs arms; the seam that lets a test put samples in place of processes.
pub trait RunArm {
    /// Runs `arm` of the experiment named `experiment` once and waits for it.
    fn run_arm(
        &self,
        experiment: &str,
        arm: &Arm,
        scale: Scale,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome;
}

/// Starts this program again for each run of an arm.
#[derive(Clone, Debug)]
pub struct Launcher {
    prefix: Vec<OsString>,
}

impl Launcher {
    /// A launcher that starts the running program with the arguments `prefix`, the experiment,
    /// the arm and the scale. The program must answer with the text of [`serve`] on its standard
    /// output.
    #[must_use]
    pub fn new(prefix: &[&str]) -> Self {
        Self {
            prefix: prefix.iter().map(OsString::from).collect(),
        }
    }

    fn start(&self, experiment: &str, arm: &Arm, scale: Scale) -> io::Result<Child> {
        // The link names the running file even after a rebuild has replaced it on disk.
        Command::new("/proc/self/exe")
            .arg0("brigade-arm")
            .args(&self.prefix)
            .args([experiment, arm.key, scale.name()])
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .stderr(Stdio::piped())
            .spawn()
    }
}

impl RunArm for Launcher {
    fn run_arm(
        &self,
        experiment: &str,
        arm: &Arm,
        scale: Scale,
        cancelled: &dyn Fn() -> bool,
    ) -> Outcome {
        let mut child = match self.start(experiment, arm, scale) {
            Ok(child) => child,
            Err(error) => return failed(format!("cannot start a process for the arm: {error}")),
        };
        let output = read_in_background(child.stdout.take());
        let errors = read_in_background(child.stderr.take());
        let ending = watch(&output, Duration::from_secs(arm.timeout_s), cancelled);
        if !matches!(ending, Ending::Over(_)) {
            // An error here means that the child is gone already, which is what is wanted.
            let _ = child.kill();
        }
        let status = child.wait();
        match (ending, status) {
            // On a terminal Ctrl-C reaches the child too, which may end first.
            (Ending::Cancelled, _) => Outcome::Cancelled,
            (Ending::Over(_), _) if cancelled() => Outcome::Cancelled,
            (Ending::TimedOut, _) => failed(format!("no result within {} s", arm.timeout_s)),
            (Ending::Over(text), Ok(status)) => read_reply(&text, status, &errors),
            (Ending::Over(_), Err(error)) => failed(format!("cannot wait for the arm: {error}")),
        }
    }
}

enum Ending {
    Over(String),
    TimedOut,
    Cancelled,
}

/// Waits until the child closed its standard output, the time is up or the caller asks to stop.
fn watch(output: &Receiver<String>, timeout: Duration, cancelled: &dyn Fn() -> bool) -> Ending {
    let deadline = Instant::now() + timeout;
    loop {
        match output.recv_timeout(LOOK) {
            Ok(text) => return Ending::Over(text),
            Err(RecvTimeoutError::Disconnected) => return Ending::Over(String::new()),
            Err(RecvTimeoutError::Timeout) if cancelled() => return Ending::Cancelled,
            Err(RecvTimeoutError::Timeout) if Instant::now() >= deadline => {
                return Ending::TimedOut;
            }
            Err(RecvTimeoutError::Timeout) => {}
        }
    }
}

fn read_in_background(pipe: Option<impl Read + Send + 'static>) -> Receiver<String> {
    let (sender, receiver) = channel();
    if let Some(mut pipe) = pipe {
        thread::spawn(move || {
            let mut bytes = Vec::new();
            // What arrived before a read error is still worth reading; the receiver may have gone.
            let _ = pipe.read_to_end(&mut bytes);
            let _ = sender.send(String::from_utf8_lossy(&bytes).into_owned());
        });
    }
    receiver
}

fn failed(reason: String) -> Outcome {
    Outcome::Error(ArmError::Failed(reason))
}

/// What a child writes.
#[derive(Debug, Serialize, Deserialize)]
#[serde(rename_all = "snake_case")]
enum Reply {
    Sample(Sample),
    Error(ArmError),
}

fn read_reply(text: &str, status: ExitStatus, errors: &Receiver<String>) -> Outcome {
    match serde_json::from_str(text) {
        Ok(Reply::Sample(sample)) => Outcome::Sample(sample),
        Ok(Reply::Error(error)) => Outcome::Error(error),
        Err(_) => {
            let said = errors.recv_timeout(LOOK).unwrap_or_default();
            failed(describe_end(status, &said))
        }
    }
}

/// One line about a child that left without a reply.
fn describe_end(status: ExitStatus, said: &str) -> String {
    let how = match (status.signal(), status.code()) {
        (Some(signal), _) => format!("ended by signal {signal}"),
        (None, code) => format!("ended with status {}", code.unwrap_or(-1)),
    };
    match said.lines().find(|line| !line.trim().is_empty()) {
        Some(line) => format!("{how}: {}", line.trim()),
        None => how,
    }
}

/// Runs an arm in this process, which exists for it alone, and returns the text for the parent; or
/// plays the far end of one, until it is killed.
///
/// # Blocks
///
/// For as long as the arm runs.
#[must_use]
pub fn serve(experiment: &str, arm: &str, scale: Scale) -> String {
    settle_in();
    let result = match (crate::find(experiment), peer::role_of(arm)) {
        (Some(found), Some(role)) => peer::play(found, role).map(|()| Sample::new()),
        (Some(found), None) => found.measure(arm, scale),
        (None, _) => Err(ArmError::Failed(format!(
            "there is no experiment named {experiment}"
        ))),
    };
    let reply = match result {
        Ok(sample) => Reply::Sample(sample),
        Err(error) => Reply::Error(error),
    };
    serde_json::to_string(&reply).unwrap_or_else(|error| {
        format!(r#"{{"error":{{"kind":"failed","reason":"cannot write the sample: {error}"}}}}"#)
    })
}

/// Makes this process the one to go first. Each step is a courtesy: where the kernel refuses it,
/// the arm runs all the same.
fn settle_in() {
    let _ = rustix::process::set_parent_process_death_signal(Some(Signal::KILL));
    let _ = std::fs::write("/proc/self/oom_score_adj", "1000");
    let none = Rlimit {
        current: Some(0),
        maximum: Some(0),
    };
    let _ = rustix::process::setrlimit(Resource::Core, none);
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_child_that_dies_is_described_by_its_signal_and_first_words() {
        let killed = ExitStatus::from_raw(9);
        assert_eq!(describe_end(killed, ""), "ended by signal 9");
        let left = ExitStatus::from_raw(101 << 8);
        assert_eq!(
            describe_end(left, "\n  thread 'main' panicked\nmore"),
            "ended with status 101: thread 'main' panicked"
        );
    }

    #[test]
    fn a_garbled_reply_is_a_failure_and_never_a_sample() {
        let (_sender, errors) = channel();
        let outcome = read_reply("{\"sample\":", ExitStatus::from_raw(0), &errors);
        assert!(matches!(outcome, Outcome::Error(ArmError::Failed(_))));
    }

    #[test]
    fn an_unknown_experiment_is_answered_and_not_ignored() {
        let text = serde_json::to_string(&Reply::Error(ArmError::Skipped("x".into()))).unwrap();
        let (_sender, errors) = channel();
        let outcome = read_reply(&text, ExitStatus::from_raw(0), &errors);
        assert_eq!(outcome, Outcome::Error(ArmError::Skipped("x".into())));
    }
}
