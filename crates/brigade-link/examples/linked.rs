//! An example whose hooks must be live.

use std::process::ExitCode;

fn main() -> ExitCode {
    match brigade_link::check() {
        Ok(what) => {
            println!("{what}");
            ExitCode::SUCCESS
        }
        Err(what) => {
            eprintln!("{what}");
            ExitCode::FAILURE
        }
    }
}
