//! The `xtask` program: `cargo run -p xtask -- check`.

use std::path::{Path, PathBuf};
use std::process::ExitCode;

use clap::{Parser, Subcommand};
use xtask::checks;
use xtask::tree::Tree;

/// Checks of the workspace that the compiler does not make.
#[derive(Parser)]
#[command(name = "xtask")]
struct Arguments {
    #[command(subcommand)]
    command: Command,
}

#[derive(Subcommand)]
enum Command {
    /// Run every check, print what each examined and every fault; exit code 1 when there is one.
    Check {
        /// The workspace to look at; default: the one this program was built in.
        #[arg(long)]
        root: Option<PathBuf>,
    },
}

fn main() -> ExitCode {
    let Command::Check { root } = Arguments::parse().command;
    let own = || Path::new(env!("CARGO_MANIFEST_DIR")).join("..");
    match Tree::load(&root.unwrap_or_else(own)) {
        Ok(tree) => check(&tree),
        Err(error) => {
            eprintln!("xtask: {error}");
            ExitCode::from(2)
        }
    }
}

fn check(tree: &Tree) -> ExitCode {
    let (mut passed, mut failed) = (0, 0);
    for check in &checks::ALL {
        let outcome = checks::run(check, tree);
        let verdict = if outcome.faults.is_empty() {
            "ok"
        } else {
            "FAILED"
        };
        println!(
            "{:<10} {:>6} {:<24} {verdict}",
            check.name, outcome.examined, check.unit
        );
        for fault in &outcome.faults {
            println!("    {fault}");
        }
        *if outcome.faults.is_empty() {
            &mut passed
        } else {
            &mut failed
        } += 1;
    }
    println!("{} ignored tests", checks::markers::ignored_tests(tree));
    println!("{passed} checks passed, {failed} failed");
    if failed == 0 {
        ExitCode::SUCCESS
    } else {
        ExitCode::FAILURE
    }
}
