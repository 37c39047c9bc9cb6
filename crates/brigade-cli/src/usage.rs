//! What clap has to say about the arguments: help and versions as they are, errors in one line.

use std::io::Write;

use crate::exit::Exit;

/// Prints help to standard output and errors to standard error.
pub(crate) fn answer(error: &clap::Error) -> Exit {
    if !error.use_stderr() {
        return match error.print() {
            Ok(()) => Exit::Clean,
            Err(error) if error.kind() == std::io::ErrorKind::BrokenPipe => Exit::Clean,
            Err(error) => {
                note(&format!("error: cannot write the result: {error}"));
                Exit::Inconclusive
            }
        };
    }
    note(&line(&error.render().to_string()));
    Exit::Usage
}

/// Standard error may be closed as well; then nobody is left to tell.
fn note(text: &str) {
    let _ = writeln!(anstream::stderr().lock(), "{text}");
}

/// A longer list of possible values is not repeated, in bytes.
const MANY: usize = 100;

/// An error in one line: what clap says before it repeats the usage, with its tips in parentheses.
fn line(text: &str) -> String {
    let mut what: Vec<&str> = Vec::new();
    let mut tips: Vec<&str> = Vec::new();
    let mut possible = "";
    for line in text.lines().map(str::trim) {
        if line.starts_with("Usage:") || line.starts_with("For more information") {
            break;
        }
        match line.strip_prefix("tip: ") {
            Some(tip) => tips.push(tip),
            None if line.starts_with('[') => possible = line.trim_matches(['[', ']']),
            None if !line.is_empty() => what.push(line),
            None => {}
        }
    }
    let mut line = what.join(" ");
    if tips.is_empty() {
        tips.push(match possible.len() {
            0 => "see --help",
            1..MANY => possible,
            // Only the names of experiments and of task sets are so many.
            _ if line.contains("--builtin") => "'brigade sim list' has them all",
            _ => "'brigade lab list' has them all",
        });
    }
    line += &format!(" ({})", tips.join("; "));
    line
}

#[cfg(test)]
mod tests {
    use clap::Parser;

    use super::*;
    use crate::args::Cli;

    fn said(arguments: &[&str]) -> String {
        let all = ["brigade"].iter().chain(arguments);
        line(&Cli::try_parse_from(all).unwrap_err().render().to_string())
    }

    #[test]
    fn each_error_is_one_line_that_names_what_was_wrong_and_what_is_near() {
        assert_eq!(
            said(&["lab", "run", "context-swich"]),
            "error: invalid value 'context-swich' for '<NAME>...' \
             (a similar value exists: 'context-switch')"
        );
        assert_eq!(
            said(&["lab", "--only", "locks,zzzz"]),
            "error: invalid value 'zzzz' for '--only <NAME,...>' \
             ('brigade lab list' has them all)"
        );
        assert_eq!(
            said(&["docter"]),
            "error: unrecognized subcommand 'docter' (a similar subcommand exists: 'doctor')"
        );
        assert_eq!(
            said(&["lab", "run"]),
            "error: the following required arguments were not provided: <NAME>... (see --help)"
        );
        assert_eq!(
            said(&["sim", "--builtin", "zzzz"]),
            "error: invalid value 'zzzz' for '--builtin <NAME>' ('brigade sim list' has them all)"
        );
        let color = said(&["--color", "pink", "lab"]);
        assert!(
            color.contains("possible values: auto, always, never"),
            "{color}"
        );
        assert_eq!(color.lines().count(), 1);
    }
}
