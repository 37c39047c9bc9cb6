//! `brigade advise`: watches a process or a command, and says which model fits it.
//!
//! # The command
//!
//! It has the streams of this program, so its output goes through; with `--json` its standard output goes to standard
//! error, and standard output holds one document. A Ctrl-C on the terminal reaches it by itself; if it does not end by
//! that, it is asked to (SIGTERM) and then made to (SIGKILL), with all that descends from it.

use std::io;
use std::os::unix::process::ExitStatusExt;
use std::process::{Child, Command, ExitStatus, Stdio};
use std::time::{Duration, Instant};

use brigade_observe::{
    Advice, Missing, Model, Observations, Observer, SCHEMA_VERSION, Source, advise,
    ended_children_cpu_time,
};
use serde::Serialize;

use crate::advise_text;
use crate::args_observe::AdviseArgs;
use crate::exit::Exit;
use crate::inspect::{pause, refuse};
use crate::output::Output;
use crate::signals::Signals;

/// How long a process is watched if nothing else is said.
const DEFAULT: Duration = Duration::from_secs(5);
/// How often the command is asked whether it has ended.
const CHECK: Duration = Duration::from_millis(20);
/// How long a command may take to end by Ctrl-C, and then by SIGTERM.
const PATIENCE: [Duration; 2] = [Duration::from_millis(300), Duration::from_secs(2)];

/// What `--json` writes.
#[derive(Debug, Serialize)]
pub(crate) struct Document {
    schema_version: u32,
    program_version: &'static str,
    pub(crate) pid: u32,
    /// The command line that was started.
    pub(crate) command: Option<String>,
    /// Whether the program had ended when this was written.
    pub(crate) ended: bool,
    /// Exit code of the command; none if it did not end so.
    pub(crate) exit_code: Option<i32>,
    /// The signal that ended the command.
    pub(crate) signal: Option<i32>,
    pub(crate) interrupted: bool,
    pub(crate) observations: Observations,
    pub(crate) advice: Advice,
    pub(crate) missing: Vec<Missing>,
}

/// Watches and advises.
pub(crate) fn run(args: &AdviseArgs, out: &Output) -> io::Result<Exit> {
    let signals = Signals::catch();
    let source = Source::new();
    let Some((program, arguments)) = args.command.split_first() else {
        return watch_process(args, &source, &signals, out);
    };
    if !source.has_our_numbers() {
        // The command's number would be somebody else's there.
        out.note("error: cannot watch a command: /proc here is not that of this PID namespace");
        return Ok(Exit::Inconclusive);
    }
    let mut command = Command::new(program);
    command.args(arguments);
    if args.json {
        command.stdout(Stdio::from(io::stderr()));
    }
    let child = match command.spawn() {
        Ok(child) => child,
        Err(error) => {
            let program = program.display();
            out.note(&format!("error: cannot start '{program}': {error}"));
            return Ok(Exit::Inconclusive);
        }
    };
    watch_command(args, child, &source, &signals, out)
}

fn watch_process(
    args: &AdviseArgs,
    source: &Source,
    signals: &Signals,
    out: &Output,
) -> io::Result<Exit> {
    let mut observer = match Observer::new(source, args.pid.unwrap_or_default()) {
        Ok(observer) => observer,
        Err(error) => return Ok(refuse(&error, out)),
    };
    let time = args.seconds.map_or(DEFAULT, Duration::from_secs_f64);
    let begun = Instant::now();
    let mut ended = false;
    while begun.elapsed() < time && signals.caught().is_none() {
        match observer.look() {
            Ok(rest) => pause(rest.min(time.saturating_sub(begun.elapsed())), signals),
            Err(_) => {
                ended = true;
                break;
            }
        }
    }
    let end = End {
        ended,
        status: None,
        interrupted: signals.caught().is_some(),
    };
    conclude(args, observer, source, end, signals, out)
}

fn watch_command(
    args: &AdviseArgs,
    mut child: Child,
    source: &Source,
    signals: &Signals,
    out: &Output,
) -> io::Result<Exit> {
    let mut observer = match Observer::new(source, child.id()) {
        Ok(observer) => observer,
        Err(error) => {
            // It has ended already, or /proc is not there.
            let status = child.wait()?;
            out.note(&format!(
                "the command {}",
                advise_text::ending(Some(status))
            ));
            return Ok(refuse(&error, out));
        }
    };
    let begun = Instant::now();
    let time = args.seconds.map(Duration::from_secs_f64);
    let is_over = || time.is_some_and(|time| begun.elapsed() >= time);
    let mut status = None;
    let mut next_look = Instant::now();
    while signals.caught().is_none() && !is_over() {
        if Instant::now() >= next_look
            && let Ok(rest) = observer.look()
        {
            next_look = Instant::now() + rest;
        }
        status = child.try_wait()?;
        if status.is_some() {
            break;
        }
        let rest = next_look.saturating_duration_since(Instant::now());
        pause(rest.min(CHECK), signals);
    }
    observer.note_end();
    let interrupted = signals.caught().is_some();
    if interrupted && status.is_none() {
        status = Some(end(&mut child, &mut observer)?);
    }
    if status.is_some() {
        observer.set_cpu_time(ended_children_cpu_time());
    }
    let how = End {
        ended: status.is_some(),
        status,
        interrupted,
    };
    let concluded = conclude(args, observer, source, how, signals, out);
    if status.is_some() {
        return concluded;
    }
    // Also where nobody reads the advice: the command is not left behind.
    let exit = *concluded.as_ref().unwrap_or(&Exit::Inconclusive);
    let ended = wait_for(child, source, signals, exit, out)?;
    concluded.map(|_| ended)
}

/// The advice is given; the command goes on.
fn wait_for(
    mut child: Child,
    source: &Source,
    signals: &Signals,
    exit: Exit,
    out: &Output,
) -> io::Result<Exit> {
    let status = loop {
        if let Some(status) = child.try_wait()? {
            break status;
        }
        if signals.caught().is_some() {
            break match Observer::new(source, child.id()) {
                Ok(mut observer) => end(&mut child, &mut observer)?,
                Err(_) => child.wait()?,
            };
        }
        pause(CHECK, signals);
    };
    out.note(&format!(
        "the command {}",
        advise_text::ending(Some(status))
    ));
    Ok(signals.caught().map_or(exit, Exit::Signal))
}

/// Ends the command after a signal: by itself, asked, or made to.
fn end(child: &mut Child, observer: &mut Observer<'_>) -> io::Result<ExitStatus> {
    for (patience, force) in PATIENCE.into_iter().zip([false, true]) {
        let begun = Instant::now();
        while begun.elapsed() < patience {
            if let Some(status) = child.try_wait()? {
                return Ok(status);
            }
            std::thread::sleep(CHECK);
        }
        observer.terminate(force);
    }
    child.wait()
}

/// How the watching ended.
struct End {
    ended: bool,
    status: Option<ExitStatus>,
    interrupted: bool,
}

fn conclude(
    args: &AdviseArgs,
    observer: Observer<'_>,
    source: &Source,
    end: End,
    signals: &Signals,
    out: &Output,
) -> io::Result<Exit> {
    let pid = observer.pid();
    let cpus = std::thread::available_parallelism().map_or(1, usize::from);
    let observations = observer.finish(cpus);
    let advice = advise(&observations);
    let model = advice.model;
    let words = args.command.iter().map(|word| word.to_string_lossy());
    let document = Document {
        schema_version: SCHEMA_VERSION,
        program_version: env!("CARGO_PKG_VERSION"),
        pid,
        command: (!args.command.is_empty()).then(|| words.collect::<Vec<_>>().join(" ")),
        ended: end.ended,
        exit_code: end.status.and_then(|status| status.code()),
        signal: end.status.and_then(|status| status.signal()),
        interrupted: end.interrupted,
        observations,
        advice,
        missing: source.missing(),
    };
    if args.json {
        out.print_json(&document)?;
    } else {
        out.print(&advise_text::report(&document))?;
    }
    Ok(match signals.caught() {
        Some(signal) => Exit::Signal(signal),
        None if model == Model::NotEnoughData => Exit::Inconclusive,
        None => Exit::Clean,
    })
}
