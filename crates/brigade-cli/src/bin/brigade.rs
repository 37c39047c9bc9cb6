//! The `brigade` program. Without arguments it prints a short help.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade_cli::run(brigade_cli::Default::Help)
}
