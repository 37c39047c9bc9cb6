//! What the guide quotes is what the program prints.

use std::fs;
use std::path::Path;
use std::process::Command;

/// The commands of the guide that an excerpt follows: a fence `sh` with one line, and then a fence `text`.
fn quotes() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    let mut quotes = Vec::new();
    for entry in fs::read_dir(folder).expect("the guide is there") {
        let text = fs::read_to_string(entry.expect("an entry").path()).expect("a text");
        quotes.extend(text.split("\n```sh\n").skip(1).filter_map(quote));
    }
    quotes
}

/// The command at the beginning of `text`, and its excerpt.
fn quote(text: &str) -> Option<(String, String)> {
    let (command, rest) = text.split_once("\n```\n\n```text\n")?;
    let (excerpt, _) = rest.split_once("```")?;
    (!command.contains('\n')).then(|| (command.to_owned(), excerpt.to_owned()))
}

#[test]
fn every_quoted_experiment_ends_in_a_verdict() {
    let mut seen = 0;
    for (command, excerpt) in quotes() {
        if command.starts_with("brigade lab run ") {
            seen += 1;
            let verdict = excerpt
                .lines()
                .find_map(|line| line.strip_prefix("Verdict  "));
            let verdict = verdict.unwrap_or_else(|| panic!("{command}: no verdict is quoted"));
            let words = ["CONFIRMED: ", "NOT HERE: ", "INCONCLUSIVE: ", "SKIPPED: "];
            assert!(
                words.iter().any(|word| verdict.starts_with(word)),
                "{command}: {verdict}"
            );
        }
    }
    assert!(seen > 0);
}

/// The simulator is exact, so its excerpts are too. `.ci/guide-excerpts sim` mends them.
#[test]
fn quoted_simulations_are_what_the_program_prints() {
    let mut seen = 0;
    for (command, excerpt) in quotes() {
        if let Some(arguments) = command.strip_prefix("brigade sim ") {
            seen += 1;
            let output = Command::new(env!("CARGO_BIN_EXE_brigade"))
                .args(["--color", "never", "sim"])
                .args(arguments.split(' '))
                .env("LC_ALL", "C.UTF-8")
                .output()
                .expect("the program starts");
            let printed = String::from_utf8(output.stdout).expect("text");
            assert_eq!(printed, excerpt, "{command}");
        }
    }
    assert!(seen > 0);
}
