//! The `brigade` program: what the machine offers, and the lab.
//!
//! # Conventions
//!
//! 1. Results go to standard output, progress and notes to standard error.
//! 2. `--json` writes one document with a `schema_version`, without colour and without progress.
//! 3. Exit codes are those of [`exit::Exit`]; `--help` lists them.
//! 4. A reader that closes the pipe ends the program quietly.
//! 5. Ctrl-C ends the arm that runs, prints what there is, and exits with 130. A second Ctrl-C exits
//!    at once; the kernel then ends the arm.

mod args;
mod doctor;
pub mod exit;
mod lab;
mod output;
mod progress;
mod render;
mod signals;
mod sim;
mod support;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{Cli, Command, LabCommand};
use crate::exit::Exit;
use crate::output::Output;

/// What the program does when it is started without arguments.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Default {
    /// Prints a short help.
    Help,
    /// Runs the quick tour of the lab.
    Tour,
}

/// Reads the arguments of this process, does what they say and returns the exit code.
///
/// # Blocks
///
/// For as long as the command takes. The quick tour takes less than a minute.
#[must_use]
pub fn run(default: Default) -> ExitCode {
    brigade_lab::serve_if_worker();
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage(&error),
    };
    cli.color.apply();
    let out = Output::new(cli.ascii);
    let exit = match carry_out(cli.command, default, &out) {
        Ok(exit) => exit,
        Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Clean,
        Err(error) => {
            out.note(&format!("error: cannot write the result: {error}"));
            Exit::Inconclusive
        }
    };
    exit.into()
}

/// Prints help to standard output and errors to standard error, as clap decides.
fn usage(error: &clap::Error) -> ExitCode {
    // Standard error may be closed as well; then nobody is left to tell.
    let _ = error.print();
    if error.use_stderr() {
        Exit::Usage.into()
    } else {
        Exit::Clean.into()
    }
}

fn carry_out(command: Option<Command>, default: Default, out: &Output) -> std::io::Result<Exit> {
    match command {
        None if default == Default::Tour => lab::tour(&args::RunOptions::default(), out),
        None => {
            out.print(&Cli::command().render_help().ansi().to_string())?;
            Ok(Exit::Clean)
        }
        Some(Command::Doctor { json }) => doctor::run(json, out),
        Some(Command::Arm {
            experiment,
            arm,
            scale,
        }) => {
            out.print(&brigade_lab::child::serve(&experiment, &arm, scale.into()))?;
            Ok(Exit::Clean)
        }
        Some(Command::Sim(args)) => sim::run(&args, out),
        Some(Command::Lab(lab)) => match lab.command {
            None => lab::tour(&lab.options, out),
            Some(LabCommand::List { json }) => lab::list(json, out),
            Some(LabCommand::Run { names, options }) => lab::run(&names, &options, out),
        },
    }
}
