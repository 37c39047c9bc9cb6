//! The command line, as data.

use std::path::PathBuf;

use brigade_lab::{Scale, Theme};
use clap::builder::PossibleValuesParser;
use clap::{Args, Parser, Subcommand, ValueEnum};

use crate::args_observe::{AdviseArgs, InspectArgs};
use crate::compare::CompareArgs;
use crate::html::ReportArgs;
use crate::sim::SimArgs;

/// The word that makes the program run one arm.
pub(crate) const ARM_COMMAND: &str = "__arm";

/// What is written after the long help; the man page has it too, under its own headings.
pub(crate) const EXAMPLES: &str = "\
Examples:
  brigade lab                      the quick tour, about two minutes
  brigade lab --only locks,gil     a part of it: themes and experiments
  brigade lab list                 the experiments and what each one checks
  brigade lab explain deadlock     what is done to check it, and why
  brigade lab run context-switch   one experiment, with all its numbers
  brigade lab run all --full       all of them, with larger counts
  brigade lab --html report.html   the tour, and a page with every figure
  brigade lab compare a.json b.json  two runs that --json wrote
  brigade inspect PID              what the threads of a process do just now
  brigade advise -- make -j8       which model of threads fits a program
  brigade sim --builtin convoy     a simulation of schedulers
  brigade doctor                   what this machine offers green threads
  brigade inspect PID              what the threads of a process do
  brigade advise -- COMMAND        which model of threads fits a program

Exit codes:
  0    all claims confirmed (lab run), the same verdicts (lab compare), everything
       there (doctor);
       lab, the tour: every experiment could be carried out, whatever it found
  1    a claim is refuted here (lab run), the machine lacks something (doctor),
       a verdict differs (lab compare)
  2    wrong usage, a file that cannot be read or written or makes no sense
  3    no answer: inconclusive or skipped (lab run), an arm failed (lab), no such
       process or no permission (inspect, advise), no room for the result
  130  interrupted; what was measured until then is printed";

const SHORT: &str = "\
Start with 'brigade lab' (the quick tour) or 'brigade doctor'.
'brigade --help' has examples and exit codes.";

/// Green threads with the semantics of std::thread: what this machine offers, and a lab that
/// measures what is commonly said about threads.
#[derive(Debug, Parser)]
#[command(name = "brigade", version, max_term_width = 80)]
#[command(after_help = SHORT, after_long_help = EXAMPLES)]
pub(crate) struct Cli {
    #[command(subcommand)]
    pub(crate) command: Option<Command>,

    /// When to use colour
    #[arg(
        long,
        global = true,
        value_enum,
        value_name = "WHEN",
        default_value = "auto"
    )]
    pub(crate) color: Color,

    /// Write ASCII only ("us" for microseconds); the default where the locale is not UTF-8
    #[arg(long, global = true)]
    pub(crate) ascii: bool,
}

#[derive(Debug, Subcommand)]
pub(crate) enum Command {
    /// Show what this machine offers, which model is active, and why
    Doctor {
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Measure what is commonly said about threads; alone, the quick tour
    Lab(LabArgs),
    /// Write the completions of a shell to standard output
    Completions {
        /// The shell
        shell: clap_complete::Shell,
    },
    /// Write the manual: the main page to standard output, or every page into a folder
    Man {
        /// The folder; it is made if it is not there
        dir: Option<PathBuf>,
    },
    /// Show what the threads of a process do, green ones too
    Inspect(InspectArgs),
    /// Watch a process or a command, and say which model of threads fits it
    Advise(AdviseArgs),
    /// Play a set of tasks under schedulers, and show who ran when and who waited
    Sim(SimArgs),
}

/// Runs one arm in this process and writes its sample: for the program itself, so that no help, completion or page
/// knows of it.
#[derive(Debug, Parser)]
#[command(name = ARM_COMMAND)]
pub(crate) struct ArmArgs {
    pub(crate) experiment: String,
    pub(crate) arm: String,
    pub(crate) scale: ScaleArg,
}

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true)]
pub(crate) struct LabArgs {
    #[command(subcommand)]
    pub(crate) command: Option<LabCommand>,
    #[command(flatten)]
    pub(crate) options: RunOptions,
}

#[derive(Debug, Subcommand)]
pub(crate) enum LabCommand {
    /// List the experiments by theme, and the claim each one checks
    List {
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Say what an experiment does, without running it
    Explain {
        /// Names of experiments or themes from 'brigade lab list', or 'all'
        #[arg(required = true, value_name = "NAME", hide_possible_values = true)]
        #[arg(value_parser = names())]
        names: Vec<String>,
        /// The arms of a full run
        #[arg(long)]
        full: bool,
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
    /// Run experiments by name and report each with all its numbers
    Run {
        /// Names of experiments or themes from 'brigade lab list', or 'all'
        #[arg(required = true, value_name = "NAME", hide_possible_values = true)]
        #[arg(value_parser = names())]
        names: Vec<String>,
        #[command(flatten)]
        options: RunOptions,
    },
    /// Set two saved documents side by side: machines, medians, verdicts
    Compare(CompareArgs),
    /// Make a page of a saved document
    Report(ReportArgs),
    /// Write the JSON Schema of the documents
    Schema,
}

#[derive(Debug, Default, Args)]
pub(crate) struct RunOptions {
    /// Small counts and five repeats, a few seconds each (the default)
    #[arg(long, conflicts_with = "full")]
    pub(crate) quick: bool,
    /// Larger counts and more repeats; takes minutes
    #[arg(long)]
    pub(crate) full: bool,
    /// Only these experiments or themes
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    #[arg(value_parser = names(), hide_possible_values = true)]
    pub(crate) only: Vec<String>,
    /// Not these experiments or themes
    #[arg(long, value_name = "NAME,...", value_delimiter = ',')]
    #[arg(value_parser = names(), hide_possible_values = true)]
    pub(crate) skip: Vec<String>,
    /// Say more: methods, controls and premises in the tour, the spread of samples in 'run'
    #[arg(long, short)]
    pub(crate) verbose: bool,
    /// Write one JSON document with every sample
    #[arg(long)]
    pub(crate) json: bool,
    /// Draw the order of runs from this number (default: a new one, which is printed)
    #[arg(long, value_name = "NUMBER")]
    pub(crate) seed: Option<u64>,
    /// Write a page with every figure and sample as well
    #[arg(long, value_name = "FILE")]
    pub(crate) html: Option<PathBuf>,
}

impl RunOptions {
    pub(crate) fn scale(&self) -> Scale {
        if self.full { Scale::Full } else { Scale::Quick }
    }
}

/// What stands for every experiment.
pub(crate) const EVERY: &str = "all";

/// Every name that stands for experiments; a wrong one is answered with the nearest.
fn names() -> PossibleValuesParser {
    let experiments = brigade_lab::tour();
    let names = experiments.iter().map(|experiment| experiment.info().name);
    let themes = Theme::ALL.into_iter();
    let themes = themes.filter(|theme| !theme.experiments().is_empty());
    let themes = themes.map(Theme::key);
    names
        .chain(themes)
        .chain([EVERY])
        .collect::<Vec<_>>()
        .into()
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum ScaleArg {
    Quick,
    Full,
}

impl From<ScaleArg> for Scale {
    fn from(scale: ScaleArg) -> Self {
        match scale {
            ScaleArg::Quick => Self::Quick,
            ScaleArg::Full => Self::Full,
        }
    }
}

#[derive(Clone, Copy, Debug, ValueEnum)]
pub(crate) enum Color {
    /// On a terminal, unless NO_COLOR is set or TERM is dumb
    Auto,
    Always,
    Never,
}

impl Color {
    /// Makes it the rule for everything written from now on.
    pub(crate) fn apply(self) {
        let choice = match self {
            Self::Auto => anstream::ColorChoice::Auto,
            Self::Always => anstream::ColorChoice::Always,
            Self::Never => anstream::ColorChoice::Never,
        };
        choice.write_global();
    }
}

#[cfg(test)]
mod tests {
    use clap::CommandFactory;

    use super::*;

    #[test]
    fn the_command_line_is_well_formed() {
        Cli::command().debug_assert();
    }

    #[test]
    fn all_is_no_experiment() {
        assert!(brigade_lab::find(EVERY).is_none() && Theme::find(EVERY).is_none());
    }
}
