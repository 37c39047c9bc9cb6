//! The command lines of `inspect` and `advise`, as data.

use std::ffi::OsString;

use clap::{Args, value_parser};

const INSPECT_EXAMPLES: &str = "\
Examples:
  brigade inspect 4711              what its threads did for a second
  brigade inspect 4711 --watch      the same, again and again, until Ctrl-C
  brigade inspect 4711 --all        each thread, not groups of like ones
  brigade inspect $$ --json         one JSON document

Columns:
  TID      the number of a thread, or how many like ones are summed up (x12)
  S        R runs or is queued, S waits, D waits for a disk, T is stopped, Z has ended
  CPU%     time on a CPU; 100 is one CPU
  QUEUE%   time in the run queue: wanted to run, and did not
  VOL/s    switches because it waited; INV/s: because another was to run
  WAITS IN the function of the kernel in which it waits

Exit codes:
  0    the threads are shown, also where some columns need more privilege
  2    wrong usage
  3    no answer: no such process, or no permission
  130  interrupted; the last table stays on the screen";

const ADVISE_EXAMPLES: &str = "\
Examples:
  brigade advise 4711                  watch a process for 5 s
  brigade advise 4711 --seconds 30     for longer
  brigade advise -- make -j8           watch a command until it ends
  brigade advise --json -- ./server    one JSON document; the command's output goes to stderr

A command's output goes through. With --seconds the advice is printed after so long, and the
command goes on; Ctrl-C ends both, and prints what was seen.

Exit codes:
  0    there is advice
  2    wrong usage
  3    no answer: not enough data, no such process or command, or no permission
  130  interrupted; what was seen until then is printed";

/// What `inspect` is asked.
#[derive(Debug, Args)]
#[command(after_long_help = INSPECT_EXAMPLES)]
pub(crate) struct InspectArgs {
    /// The number of the process
    #[arg(value_name = "PID", value_parser = value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    pub(crate) pid: u32,
    /// Look again and again, until Ctrl-C or the end of the process
    #[arg(long)]
    pub(crate) watch: bool,
    /// Seconds between two looks (at least 0.25)
    #[arg(long, value_name = "S", default_value = "1", value_parser = interval)]
    pub(crate) interval: f64,
    /// Write JSON: one document, or with --watch one line for each look
    #[arg(long)]
    pub(crate) json: bool,
    /// Show each thread instead of groups
    #[arg(long)]
    pub(crate) all: bool,
}

/// What `advise` is asked.
#[derive(Debug, Args)]
#[command(after_long_help = ADVISE_EXAMPLES)]
pub(crate) struct AdviseArgs {
    /// The number of a process that runs
    #[arg(value_name = "PID", value_parser = value_parser!(u32).range(1..=i64::from(i32::MAX)))]
    #[arg(required_unless_present = "command", conflicts_with = "command")]
    pub(crate) pid: Option<u32>,
    /// How long to watch (default: 5 for a PID; a command until it ends)
    #[arg(long, value_name = "N", value_parser = seconds)]
    pub(crate) seconds: Option<f64>,
    /// Write one JSON document
    #[arg(long)]
    pub(crate) json: bool,
    /// A command to start and watch
    #[arg(last = true, value_name = "COMMAND")]
    pub(crate) command: Vec<OsString>,
}

fn interval(text: &str) -> Result<f64, String> {
    number(text, 0.25, 3600.0)
}

fn seconds(text: &str) -> Result<f64, String> {
    number(text, 0.1, 86_400.0)
}

fn number(text: &str, least: f64, most: f64) -> Result<f64, String> {
    let number: f64 = text.parse().map_err(|_| "not a number".to_owned())?;
    if (least..=most).contains(&number) {
        Ok(number)
    } else {
        Err(format!("not between {least} and {most}"))
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn numbers_out_of_range_are_refused() {
        assert_eq!(interval("0.25"), Ok(0.25));
        for text in ["0.2", "-1", "NaN", "inf", "x", ""] {
            assert!(interval(text).is_err(), "{text}");
        }
        assert!(seconds("0").is_err());
    }
}
