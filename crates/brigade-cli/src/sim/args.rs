//! The arguments of `brigade sim`.

use std::path::PathBuf;

use brigade_sim::{Kernel, Model, Scheduler, builtin};
use clap::builder::PossibleValuesParser;
use clap::{Args, Subcommand, ValueEnum};

const EXAMPLES: &str = "\
Examples:
  brigade sim list                            the built-in task sets
  brigade sim --builtin nice --policy cfs,eevdf
  brigade sim my.toml --policy all --cores 4  a file of your own ('sim list' has its form)
  brigade sim - --json < my.toml              from standard input, as JSON";

#[derive(Debug, Args)]
#[command(args_conflicts_with_subcommands = true, after_help = EXAMPLES)]
pub(crate) struct SimArgs {
    #[command(subcommand)]
    pub(super) command: Option<SimCommand>,
    #[command(flatten)]
    pub(super) options: SimOptions,
}

#[derive(Debug, Subcommand)]
pub(super) enum SimCommand {
    /// List the built-in task sets and show the form of a file
    List {
        /// Write one JSON document
        #[arg(long)]
        json: bool,
    },
}

#[derive(Debug, Args)]
pub(super) struct SimOptions {
    /// The task set, in TOML; '-' is standard input
    #[arg(value_name = "FILE")]
    pub(super) file: Option<PathBuf>,
    /// A built-in task set (default: io-beside-cpu)
    #[arg(
        long,
        value_name = "NAME",
        conflicts_with = "file",
        hide_possible_values = true
    )]
    #[arg(value_parser = builtins())]
    pub(super) builtin: Option<String>,
    /// What to play it under, separated by commas
    #[arg(
        long,
        value_name = "POLICY",
        value_delimiter = ',',
        default_value = "all"
    )]
    #[arg(value_enum)]
    pub(super) policy: Vec<Policy>,
    /// The kernel's policy below the models of green threads
    #[arg(long, value_name = "POLICY", default_value = "eevdf")]
    #[arg(value_enum)]
    pub(super) kernel: Below,
    /// How many cores, instead of what the set says
    #[arg(long, value_name = "N", value_parser = clap::value_parser!(u8).range(1..=64))]
    pub(super) cores: Option<u8>,
    /// What random lengths and the order of stealing are drawn from
    #[arg(long, value_name = "NUMBER", default_value_t = 1)]
    pub(super) seed: u64,
    /// The quantum of round robin, such as 4ms
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) quantum: Option<u64>,
    /// Stop at this time, such as 100ms
    #[arg(long, value_name = "TIME", value_parser = time)]
    pub(super) until: Option<u64>,
    /// Write one JSON document with every span
    #[arg(long)]
    pub(super) json: bool,
}

fn builtins() -> PossibleValuesParser {
    let names = builtin::ALL.iter().map(|entry| entry.name);
    names.collect::<Vec<_>>().into()
}

fn time(text: &str) -> Result<u64, String> {
    match brigade_sim::task::parse_time(text) {
        Ok(0) => Err("it must not be 0".to_owned()),
        other => other,
    }
}

/// What a set can be played under.
#[derive(Clone, Copy, Debug, PartialEq, Eq, ValueEnum)]
pub(super) enum Policy {
    /// Kernel threads, first in, first out
    Fifo,
    /// Kernel threads, round robin
    Rr,
    /// Kernel threads under CFS (Linux to 6.5)
    Cfs,
    /// Kernel threads under EEVDF (Linux from 6.6 on)
    Eevdf,
    /// Kernel threads (1:1) under the policy of --kernel
    OneToOne,
    /// Green threads on one kernel thread (M:1)
    ManyToOne,
    /// Green threads on one kernel thread per core (M:N), with work stealing
    ManyToMany,
    /// The same with hand-off, as in Brigade
    HandOff,
    /// All of them
    All,
}

/// The policy below green threads.
#[derive(Clone, Copy, Debug, ValueEnum)]
pub(super) enum Below {
    Fifo,
    Rr,
    Cfs,
    Eevdf,
}

impl From<Below> for Kernel {
    fn from(below: Below) -> Self {
        match below {
            Below::Fifo => Self::Fifo,
            Below::Rr => Self::RoundRobin,
            Below::Cfs => Self::Cfs,
            Below::Eevdf => Self::Eevdf,
        }
    }
}

impl SimOptions {
    /// The schedulers asked for, each once, in the order they were named.
    pub(super) fn schedulers(&self) -> Vec<Scheduler> {
        let kernel = Kernel::from(self.kernel);
        let green = |model| Scheduler { kernel, model };
        let of = |policy: &Policy| match policy {
            Policy::Fifo => vec![Scheduler::FIFO],
            Policy::Rr => vec![Scheduler::ROUND_ROBIN],
            Policy::Cfs => vec![Scheduler::CFS],
            Policy::Eevdf => vec![Scheduler::EEVDF],
            Policy::OneToOne => vec![green(Model::OneToOne)],
            Policy::ManyToOne => vec![green(Model::ManyToOne)],
            Policy::ManyToMany => vec![green(Model::ManyToMany)],
            Policy::HandOff => vec![green(Model::HandOff)],
            Policy::All => vec![
                Scheduler::FIFO,
                Scheduler::ROUND_ROBIN,
                Scheduler::CFS,
                Scheduler::EEVDF,
                green(Model::ManyToOne),
                green(Model::ManyToMany),
                green(Model::HandOff),
            ],
        };
        let mut chosen: Vec<Scheduler> = Vec::new();
        for scheduler in self.policy.iter().flat_map(of) {
            if !chosen.contains(&scheduler) {
                chosen.push(scheduler);
            }
        }
        chosen
    }
}
