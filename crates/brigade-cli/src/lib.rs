//! The `brigade` program: what the machine offers, the lab, and looks at other programs.
//!
//! # Conventions
//!
//! 1. Results go to standard output, progress and notes to standard error.
//! 2. `--json` writes one document with a `schema_version`, without colour and without progress.
//! 3. Exit codes are those of [`exit::Exit`]; `--help` lists them.
//! 4. A reader that closes the pipe ends the program quietly.
//! 5. Ctrl-C ends the arm that runs, prints what there is, and exits with 130. A second Ctrl-C exits
//!    at once; the kernel then ends the arm.

mod advise;
mod advise_text;
mod args;
mod args_observe;
mod compare;
mod doctor;
pub mod exit;
mod explain;
mod figures;
mod files;
mod generate;
#[cfg(test)]
mod guide;
mod html;
mod inspect;
mod inspect_text;
mod lab;
mod output;
mod progress;
mod render;
mod saved;
mod select;
mod short;
mod signals;
mod sim;
mod support;
mod usage;

use std::process::ExitCode;

use clap::{CommandFactory, Parser};

use crate::args::{ARM_COMMAND, ArmArgs, Cli, Command, LabCommand};
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
/// For as long as the command takes. The quick tour takes about two minutes.
#[must_use]
pub fn run(default: Default) -> ExitCode {
    brigade_lab::serve_if_worker();
    if std::env::args_os()
        .nth(1)
        .is_some_and(|word| word == ARM_COMMAND)
    {
        return arm();
    }
    let cli = match Cli::try_parse() {
        Ok(cli) => cli,
        Err(error) => return usage::answer(&error).into(),
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

/// Runs one arm, as the arguments after the first say.
fn arm() -> ExitCode {
    let exit = match ArmArgs::try_parse_from(std::env::args_os().skip(1)) {
        Ok(args) => {
            let sample = brigade_lab::child::serve(&args.experiment, &args.arm, args.scale.into());
            let written = Output::exact().print(&sample);
            written.map_or(Exit::Inconclusive, |()| Exit::Clean)
        }
        Err(error) => usage::answer(&error),
    };
    exit.into()
}

fn carry_out(command: Option<Command>, default: Default, out: &Output) -> std::io::Result<Exit> {
    match command {
        None if default == Default::Tour => lab::tour_of(&args::RunOptions::default(), out),
        None => {
            out.print(&Cli::command().render_help().ansi().to_string())?;
            Ok(Exit::Clean)
        }
        Some(Command::Doctor { json }) => doctor::run(json, out),
        Some(Command::Completions { shell }) => generate::completions(shell, out),
        Some(Command::Man { dir }) => generate::man(dir.as_deref(), out),
        Some(Command::Inspect(args)) => inspect::run(&args, out),
        Some(Command::Advise(args)) => advise::run(&args, out),
        Some(Command::Sim(args)) => sim::run(&args, out),
        Some(Command::Lab(lab)) => match lab.command {
            None => lab::tour_of(&lab.options, out),
            Some(LabCommand::List { json }) => lab::list(json, out),
            Some(LabCommand::Explain { names, full, json }) => {
                lab::explain(&names, full, json, out)
            }
            Some(LabCommand::Run { names, options }) => lab::run(&names, &options, out),
            Some(LabCommand::Compare(args)) => compare::run(&args, out),
            Some(LabCommand::Report(args)) => html::report(&args, out),
            Some(LabCommand::Schema) => {
                out.print_json(&brigade_lab::report::schema())?;
                Ok(Exit::Clean)
            }
        },
    }
}
