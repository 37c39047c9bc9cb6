//! The `brigade` program under the name that `cargo run` starts. Without arguments it gives the
//! quick tour of the lab; with arguments it is `brigade`.

use std::process::ExitCode;

fn main() -> ExitCode {
    brigade_cli::run(brigade_cli::Default::Tour)
}
