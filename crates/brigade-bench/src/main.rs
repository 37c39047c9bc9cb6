//! `brigade-bench`: Brigade beside its rivals, in one run on one machine.
//!
//! The parent takes a plan from the command line (`Options`), runs every sample
//! in a child process (`child`), interleaved (`runner`), and prints medians,
//! spreads, ratios and targets (`report`). The table of lines is in `line`.
//! Results go to stdout, progress to stderr on a terminal only. Exit codes: 0 all
//! samples taken, 1 a rival failed, 2 wrong usage. A missed target is no failure.

mod child;
mod line;
mod machine;
mod net;
mod report;
mod rival;
mod runner;
mod sample;
mod stats;

use std::io::{IsTerminal, Write};
use std::process::ExitCode;

use clap::{Args, Parser, Subcommand, ValueEnum};
use indicatif::{ProgressBar, ProgressDrawTarget};

use line::{LINES, Line, Work};
use machine::Machine;
use net::{Protocol, server::serve};
use rival::{Rival, go};
use runner::Plan;

/// Measures Brigade beside tokio, may, rayon, Go and kernel threads.
#[derive(Parser)]
#[command(version, args_conflicts_with_subcommands = true)]
struct Cli {
    #[command(subcommand)]
    command: Option<Command>,
    #[command(flatten)]
    options: Options,
}

#[derive(Subcommand)]
enum Command {
    /// One sample in this process; how the parent starts its children.
    #[command(hide = true)]
    Child(ChildWork),
    /// A server; how a child starts the one that it measures.
    #[command(hide = true)]
    Serve(ServeWork),
}

#[derive(Args)]
struct ServeWork {
    #[arg(long)]
    rival: Rival,
    #[arg(long)]
    protocol: Protocol,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[arg(long, default_value_t = 100)]
    connections: usize,
}

#[derive(Args)]
struct ChildWork {
    #[arg(long)]
    rival: Rival,
    #[arg(long)]
    line: Line,
    #[arg(long)]
    n: u64,
    #[arg(long, default_value_t = 2)]
    workers: usize,
    #[arg(long, default_value_t = 4)]
    passes: u32,
}

#[derive(Args)]
struct Options {
    /// Lines to measure [default: all]
    #[arg(long, short, value_name = "LINE", value_delimiter = ',')]
    lines: Vec<Line>,
    /// Rivals to measure [default: all there are]
    #[arg(long, short, value_name = "RIVAL", value_delimiter = ',')]
    rivals: Vec<Rival>,
    /// Worker counts, e.g. 1,2
    #[arg(
        long,
        short,
        value_name = "COUNT",
        value_delimiter = ',',
        default_value = "2"
    )]
    workers: Vec<usize>,
    /// Processes per rival and line
    #[arg(long, value_name = "COUNT", default_value_t = 5)]
    repeats: u32,
    /// Seconds to spend, in all, on waiting for a quiet machine and on repeating disturbed samples
    #[arg(long, value_name = "SECONDS", default_value_t = 0)]
    patience: u64,
    /// Tiny sizes and one repeat: shows that everything runs; the figures mean nothing
    #[arg(long)]
    quick: bool,
    /// One JSON document instead of the table
    #[arg(long)]
    json: bool,
    /// List the lines and exit
    #[arg(long)]
    list: bool,
}

fn main() -> ExitCode {
    let cli = Cli::parse();
    match cli.command {
        Some(Command::Child(c)) => {
            let work = Work {
                line: c.line,
                n: c.n,
                workers: c.workers,
                passes: c.passes,
            };
            child::main(c.rival, &work);
        }
        Some(Command::Serve(s)) => {
            let Err(why) = serve(s.rival, s.protocol, s.workers, s.connections);
            eprintln!("{why}");
            return ExitCode::FAILURE;
        }
        None => {}
    }
    if cli.options.list {
        return match print(&list()) {
            Ok(()) => ExitCode::SUCCESS,
            Err(_) => ExitCode::FAILURE,
        };
    }
    if cli.options.workers.contains(&0) || cli.options.repeats == 0 {
        eprintln!("brigade-bench: --workers and --repeats must be at least 1");
        return ExitCode::from(2);
    }
    measure(&cli.options)
}

fn measure(options: &Options) -> ExitCode {
    let plan = plan(options);
    let machine = Machine::look();
    if cfg!(debug_assertions) && !plan.quick {
        eprintln!("brigade-bench: a debug build; use cargo run --release for figures that count");
    }
    let wants_go = plan.rivals.contains(&Rival::Go) && Rival::Go.unavailable().is_none();
    let program = match wants_go.then(go::Program::build).transpose() {
        Ok(program) => program,
        Err(why) => {
            eprintln!("brigade-bench: the Go rival is left out: {why}");
            None
        }
    };
    let mut code = ExitCode::SUCCESS;
    let mut say = |text: &str| {
        if let Err(why) = print(text) {
            eprintln!("brigade-bench: writing the result: {why}");
            code = ExitCode::FAILURE;
        }
    };
    if !options.json {
        say(&format!("{machine}\n\n"));
    }
    let outcomes = runner::run(&plan, program.as_ref(), &progress(), |outcome| {
        if !options.json {
            say(&report::text::block(outcome));
        }
    });
    match options.json {
        true => say(&(report::json::render(&machine, &outcomes) + "\n")),
        false => say(&report::text::end(&outcomes)),
    }
    let failed = outcomes.iter().flat_map(|o| &o.columns).any(|c| c.failed);
    if failed { ExitCode::FAILURE } else { code }
}

fn plan(options: &Options) -> Plan {
    let lines = LINES
        .iter()
        .filter(|s| options.lines.is_empty() || options.lines.contains(&s.line));
    let rivals = match options.rivals.is_empty() {
        true => Rival::value_variants().to_vec(),
        false => options.rivals.clone(),
    };
    let (repeats, passes) = if options.quick {
        (1, 2)
    } else {
        (options.repeats, 4)
    };
    let workers = options.workers.clone();
    Plan {
        lines: lines.collect(),
        rivals,
        workers,
        repeats,
        passes,
        patience: std::time::Duration::from_secs(options.patience),
        quick: options.quick,
    }
}

fn progress() -> ProgressBar {
    match std::io::stderr().is_terminal() {
        true => ProgressBar::with_draw_target(None, ProgressDrawTarget::stderr()),
        false => ProgressBar::hidden(),
    }
}

fn list() -> String {
    let row = |s: &line::Spec| format!("{:<16} {} (n = {})\n", s.line.name(), s.about, s.full);
    LINES.iter().map(row).collect()
}

/// Prints to stdout; a reader that went away is no failure.
fn print(text: &str) -> std::io::Result<()> {
    let mut out = std::io::stdout().lock();
    match out.write_all(text.as_bytes()).and_then(|()| out.flush()) {
        Err(e) if e.kind() == std::io::ErrorKind::BrokenPipe => Ok(()),
        other => other,
    }
}
