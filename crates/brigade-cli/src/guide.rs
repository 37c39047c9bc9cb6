//! The guide names the program's commands and experiments as they are.
//!
//! A command is a line of a fence called `sh` that begins with `brigade`, or `brigade ...` between back-ticks in the
//! prose. Each must be accepted by the program's own definitions; words in capitals stand for something.

use std::collections::BTreeSet;
use std::fs;
use std::path::Path;

use clap::Parser;

use crate::args::Cli;

/// What the words in capitals are replaced by before the program is asked.
const PLACEHOLDERS: [(&str, &str); 10] = [
    ("NAME...", "context-switch"),
    ("NAME", "context-switch"),
    ("PID", "1"),
    ("FILE", "file"),
    ("FILE.json", "a.json"),
    ("A.json", "a.json"),
    ("B.json", "b.json"),
    ("COMMAND", "true"),
    ("COMMAND...", "true"),
    ("SHELL", "bash"),
];

/// The chapters and their names.
fn chapters() -> Vec<(String, String)> {
    let folder = Path::new(env!("CARGO_MANIFEST_DIR")).join("../../docs/src");
    fs::read_dir(folder)
        .expect("the folder is there")
        .map(|entry| entry.expect("an entry").path())
        .filter(|path| path.extension().is_some_and(|extension| extension == "md"))
        .map(|path| {
            let text = fs::read_to_string(&path).expect("a text");
            (path.display().to_string(), text)
        })
        .collect()
}

/// The command lines of a chapter.
fn commands(text: &str) -> Vec<String> {
    let (mut shell, mut prose, mut fence) = (Vec::new(), String::new(), None);
    for line in text.lines() {
        if let Some(language) = line.strip_prefix("```") {
            fence = fence.is_none().then_some(language);
        } else if fence == Some("sh") {
            shell.push(line.split(" #").next().unwrap_or_default().trim());
        } else if fence.is_none() {
            prose.push_str(line);
            prose.push(if line.is_empty() { '\n' } else { ' ' });
        }
    }
    let quoted = prose
        .lines()
        .flat_map(|line| line.split('`').skip(1).step_by(2));
    quoted
        .chain(shell)
        .filter(|command| command.split(' ').next() == Some("brigade"))
        .map(str::to_owned)
        .collect()
}

/// The words of a command line as the program gets them: without what the shell takes, and with something in the
/// places of the words in capitals.
fn words(command: &str) -> Vec<&str> {
    command
        .split_ascii_whitespace()
        .take_while(|word| !matches!(*word, ">" | "|" | "2>" | "&" | "&&"))
        .map(|word| {
            PLACEHOLDERS
                .iter()
                .find(|(capitals, _)| *capitals == word)
                .map_or(word, |(_, something)| something)
        })
        .collect()
}

/// Whether the program would carry it out, or print its help.
fn refusal(command: &str) -> Option<String> {
    match Cli::try_parse_from(words(command)) {
        Err(error) if error.use_stderr() => error.to_string().lines().next().map(str::to_owned),
        _ => None,
    }
}

#[test]
fn every_command_in_the_guide_is_one() {
    let chapters = chapters();
    let commands: Vec<_> = chapters
        .iter()
        .flat_map(|(path, text)| commands(text).into_iter().map(move |line| (path, line)))
        .collect();
    assert!(!commands.is_empty());
    let refused: Vec<_> = commands
        .iter()
        .filter_map(|(path, line)| Some(format!("{path}: {line}: {}", refusal(line)?)))
        .collect();
    assert!(refused.is_empty(), "{}", refused.join("\n"));
}

#[test]
fn a_command_that_is_none_is_refused() {
    let text = "a `brigade lab\nrun no-such` b\n```sh\nbrigade lab lsit\nbrigade lab list # all\n```\n`brigade::run`";
    let lines = commands(text);
    assert_eq!(
        lines,
        [
            "brigade lab run no-such",
            "brigade lab lsit",
            "brigade lab list"
        ]
    );
    assert!(refusal(&lines[0]).is_some());
    assert!(refusal(&lines[1]).is_some());
    assert!(refusal(&lines[2]).is_none());
}

/// The names in the first column of the table of experiments.
fn names_in_table(text: &str) -> BTreeSet<&str> {
    text.lines()
        .filter_map(|line| line.strip_prefix("| `")?.split('`').next())
        .collect()
}

#[test]
fn the_guide_lists_every_experiment_and_no_other() {
    let chapters = chapters();
    let (_, index) = chapters
        .iter()
        .find(|(path, _)| path.ends_with("/experiments.md"))
        .expect("the chapter is there");
    let due: BTreeSet<&str> = brigade_lab::all()
        .iter()
        .map(|experiment| experiment.info().name)
        .collect();
    assert_eq!(names_in_table(index), due);
}

#[test]
fn every_experiment_is_run_in_a_chapter() {
    let commands: Vec<String> = chapters()
        .iter()
        .flat_map(|(_, text)| commands(text))
        .collect();
    let run: BTreeSet<&str> = commands
        .iter()
        .filter_map(|command| command.strip_prefix("brigade lab run "))
        .flat_map(|names| names.split(' '))
        .collect();
    let silent: Vec<_> = brigade_lab::all()
        .iter()
        .map(|experiment| experiment.info().name)
        .filter(|name| !run.contains(name))
        .collect();
    assert!(silent.is_empty(), "no chapter runs {silent:?}");
}
