//! What cannot work: one clear line on standard error, the documented exit code, nothing half-written.

mod common;

use std::fs::File;
use std::path::Path;
use std::process::Stdio;

use common::{Folder, brigade, text};

/// Where a case's standard output goes.
#[derive(Clone, Copy, Debug)]
enum Stdout {
    Kept,
    /// A disk without room.
    Full,
}

/// A call that cannot work.
struct Case {
    arguments: &'static [&'static str],
    stdout: Stdout,
    code: i32,
    /// What the line must contain.
    said: &'static [&'static str],
}

const USAGE: i32 = 2;
const NO_ANSWER: i32 = 3;

const fn case(
    arguments: &'static [&'static str],
    code: i32,
    said: &'static [&'static str],
) -> Case {
    Case {
        arguments,
        stdout: Stdout::Kept,
        code,
        said,
    }
}

const fn full_disk(arguments: &'static [&'static str]) -> Case {
    Case {
        arguments,
        stdout: Stdout::Full,
        code: NO_ANSWER,
        said: &["cannot write the result", "No space left"],
    }
}

/// `DIR` in an argument stands for a folder of the test's own.
const CASES: &[Case] = &[
    // Words that do not exist.
    case(
        &["lab", "run", "context-swich"],
        USAGE,
        &["'context-swich'", "'context-switch'"],
    ),
    case(
        &["lab", "run", "zzzz"],
        USAGE,
        &["'zzzz'", "brigade lab list"],
    ),
    case(
        &["lab", "explain", "dedlock"],
        USAGE,
        &["'dedlock'", "'deadlock'"],
    ),
    case(
        &["lab", "--only", "gil,dedlock"],
        USAGE,
        &["'dedlock'", "'deadlock'"],
    ),
    case(
        &["lab", "--skip", "switchs"],
        USAGE,
        &["'switchs'", "'switches'"],
    ),
    case(&["lab", "runn"], USAGE, &["'runn'", "'run'"]),
    case(&["docter"], USAGE, &["'docter'", "'doctor'"]),
    case(&["lab", "--ful"], USAGE, &["'--ful'", "'--full'"]),
    case(&["completions", "bsh"], USAGE, &["'bsh'", "bash"]),
    case(&["doctor", "x"], USAGE, &["'x'"]),
    // Words that are missing or contradict each other.
    case(&["lab", "run"], USAGE, &["<NAME>"]),
    case(&["lab", "explain"], USAGE, &["<NAME>"]),
    case(&["lab", "--quick", "--full"], USAGE, &["--quick", "--full"]),
    case(&["lab", "--seed", "many"], USAGE, &["'many'", "--seed"]),
    case(&["lab", "--seed", "-1"], USAGE, &["'-1'"]),
    case(&["lab", "--seed"], USAGE, &["--seed"]),
    case(
        &["lab", "--only", "locks", "--skip", "locks"],
        USAGE,
        &["--only", "--skip"],
    ),
    case(&["lab", "run", "gil", "--skip", "all"], USAGE, &["--skip"]),
    case(&["--color", "pink", "doctor"], USAGE, &["'pink'", "never"]),
    // Places that cannot be written.
    case(&["man", "/dev/null/pages"], USAGE, &["/dev/null/pages"]),
    case(&["man", "DIR/taken"], USAGE, &["DIR/taken"]),
    case(
        &["lab", "--html", "DIR/none/page.html"],
        USAGE,
        &["DIR/none/page.html", "No such file"],
    ),
    case(
        &["lab", "run", "gil", "--html", "DIR"],
        USAGE,
        &["DIR", "folder"],
    ),
    case(
        &["lab", "run", "gil", "--html", "/proc/version"],
        USAGE,
        &["/proc/version"],
    ),
    // Documents that are none.
    case(
        &["lab", "compare", "DIR/cut.json", "DIR/cut.json"],
        USAGE,
        &["DIR/cut.json", "line 1", "cut off"],
    ),
    case(
        &["lab", "compare", "DIR/none.json", "DIR/cut.json"],
        USAGE,
        &["DIR/none.json", "No such file"],
    ),
    case(
        &["lab", "compare", "DIR/old.json", "DIR/old.json"],
        USAGE,
        &["DIR/old.json", "version 1"],
    ),
    case(
        &["lab", "report", "DIR/cut.json", "--html", "DIR/page.html"],
        USAGE,
        &["DIR/cut.json", "cut off"],
    ),
    case(
        &["lab", "report", "DIR/taken", "--html", "DIR/page.html"],
        USAGE,
        &["DIR/taken", "no JSON"],
    ),
    case(
        &["lab", "compare", "/dev/zero", "/dev/zero"],
        USAGE,
        &["/dev/zero", "64 MiB"],
    ),
    case(
        &["lab", "report", "/dev/zero", "--html", "DIR/page.html"],
        USAGE,
        &["/dev/zero", "64 MiB"],
    ),
    case(&["lab", "compare", "DIR/cut.json"], USAGE, &["<B.json>"]),
    // Processes and commands that are none.
    case(&["inspect"], USAGE, &["<PID>"]),
    case(&["inspect", "x"], USAGE, &["'x'"]),
    case(&["inspect", "0"], USAGE, &["0"]),
    case(&["inspect", "2147483646"], NO_ANSWER, &["2147483646"]),
    case(&["inspect", "1", "--interval", "0"], USAGE, &["'0'"]),
    case(&["advise"], USAGE, &["PID"]),
    case(&["advise", "2147483646"], NO_ANSWER, &["2147483646"]),
    case(
        &["advise", "--", "/none/command"],
        NO_ANSWER,
        &["/none/command"],
    ),
    case(&["sim", "/none/set.toml"], USAGE, &["/none/set.toml"]),
    case(&["sim", "DIR/taken"], USAGE, &["DIR/taken"]),
    case(&["sim", "--builtin", "convoi"], USAGE, &["'convoi'"]),
    full_disk(&["lab", "list"]),
    full_disk(&["lab", "list", "--json"]),
    full_disk(&["lab", "explain", "deadlock"]),
    full_disk(&["lab", "schema"]),
    full_disk(&["sim", "--builtin", "convoy"]),
    full_disk(&["doctor"]),
    full_disk(&["man"]),
    full_disk(&["completions", "bash"]),
    full_disk(&["--help"]),
    full_disk(&[]),
    full_disk(&["lab", "--only", "spawn-cost"]),
    full_disk(&["lab", "run", "spawn-cost", "--json"]),
];

#[test]
fn what_cannot_work_is_one_line_with_the_documented_exit_code_and_leaves_nothing() {
    let folder = Folder::new("bad-input");
    std::fs::write(folder.0.join("taken"), "a file").expect("a file");
    std::fs::write(folder.0.join("cut.json"), "{\"schema_version\": 2, \"prog").expect("a file");
    std::fs::write(folder.0.join("old.json"), "{\"schema_version\": 1}").expect("a file");
    let before = folder.names();
    for case in CASES {
        check(case, &folder.0);
        assert_eq!(folder.names(), before, "{:?}", case.arguments);
    }
}

fn check(case: &Case, folder: &Path) {
    let place = folder.to_str().expect("a readable path");
    let arguments: Vec<String> = case
        .arguments
        .iter()
        .map(|argument| argument.replace("DIR", place))
        .collect();
    let mut command = brigade();
    command.args(&arguments).stderr(Stdio::piped());
    command.stdout(match case.stdout {
        Stdout::Kept => Stdio::piped(),
        Stdout::Full => File::create("/dev/full").expect("a full disk").into(),
    });
    let output = command.output().expect("the program starts");
    let said = text(&output.stderr);
    let what = format!("{:?} said {said:?}", case.arguments);
    assert_eq!(output.status.code(), Some(case.code), "{what}");
    assert_eq!(said.lines().count(), 1, "{what}");
    assert!(
        said.starts_with("error: ") && said.ends_with('\n'),
        "{what}"
    );
    assert_eq!(text(&output.stdout), "", "{what}");
    for word in case.said {
        assert!(said.contains(&word.replace("DIR", place)), "{word}: {what}");
    }
}

#[test]
fn a_document_of_a_stranger_does_not_reach_the_terminal_as_commands() {
    let folder = Folder::new("stranger");
    let honest = include_str!("../../brigade-report/tests/data/every-figure.json");
    let evil = honest.replace("\"title\":\"", "\"title\":\"\\u001b[2J\\r");
    let evil = evil.replace("\"label\":\"", "\"label\":\"\\u001b[2J\\r");
    assert!(evil.contains("\\u001b"), "nothing is planted");
    let file = folder.0.join("evil.json");
    std::fs::write(&file, evil).expect("a file");
    let mut command = brigade();
    let command = command.args(["--color", "always", "lab", "compare"]);
    let output = command.args([&file, &file]).output().expect("it starts");
    let page = text(&output.stdout);
    assert!(
        page.contains("[2J"),
        "what was planted is not shown: {page}"
    );
    assert!(!page.contains(['\x1b', '\r']), "{page:?}");
}

#[test]
fn a_reader_that_leaves_is_no_error_whatever_was_asked() {
    for arguments in [
        &["--help"][..],
        &[],
        &["lab", "list"],
        &["lab", "list", "--json"],
        &["lab", "explain", "all"],
        &["doctor"],
        &["man"],
        &["completions", "zsh"],
    ] {
        let (reader, writer) = std::io::pipe().expect("a pipe");
        drop(reader);
        let mut command = brigade();
        let command = command.args(arguments).stdout(writer);
        let output = command
            .stderr(Stdio::piped())
            .output()
            .expect("the program starts");
        assert_eq!(output.status.code(), Some(0), "{arguments:?}");
        assert_eq!(text(&output.stderr), "", "{arguments:?}");
    }
}

#[test]
fn an_error_that_nobody_can_read_keeps_its_exit_code() {
    let mut command = brigade();
    command.args(["lab", "run", "zzzz"]);
    command.stderr(File::create("/dev/full").expect("a full disk"));
    let output = command.output().expect("the program starts");
    assert_eq!(output.status.code(), Some(USAGE));
}
