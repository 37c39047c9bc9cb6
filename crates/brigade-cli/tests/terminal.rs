//! What is seen on a terminal: the tour's form, and progress that comes and goes.

mod common;

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Stdio};

use common::{brigade, run, text};

/// Two experiments of two themes that are over soon.
const TWO: &str = "spawn-cost,lost-updates";

#[test]
fn the_tour_says_claim_result_and_verdict_by_theme_and_sums_up_in_80_columns() {
    let output = run(&[
        "lab",
        "--only",
        "spawn-cost,lost-updates",
        "--quick",
        "--seed",
        "7",
    ]);
    assert_eq!(output.status.code(), Some(0));
    let text = text(&output.stdout);
    for line in text.lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
    let heads = [
        "Machine  ",
        "Threads and processes ====",
        "spawn-cost ----",
        "Claim    ",
        "Done     ",
        "Verdict  ",
        "Races and locks ====",
        "lost-updates ----",
        "Summary ====",
        "Verdicts   ",
    ];
    let mut lines = text.lines();
    for head in heads {
        assert!(lines.any(|line| line.starts_with(head)), "{head} in {text}");
    }
    assert!(text.contains("█") && text.contains("2 experiments in "));
    assert!(
        !text.contains("\nControl  ") && !text.contains("\nPremise"),
        "{text}"
    );
}

#[test]
fn with_v_the_tour_says_the_whole_and_ascii_is_ascii() {
    let output = run(&["lab", "--only", "spawn-cost", "-v", "--ascii"]);
    let text = text(&output.stdout);
    assert!(text.is_ascii(), "{text}");
    for head in ["Said in", "Control", "Premises", "Next"] {
        assert!(text.contains(&format!("\n{head} ")), "{head} in {text}");
    }
    assert!(text.contains("####"), "{text}");
}

#[test]
fn with_v_a_run_shows_every_sample_premise_and_part() {
    let plain = run(&["lab", "run", "spawn-cost"]);
    let verbose = run(&["lab", "run", "spawn-cost", "-v"]);
    let has = |output: &std::process::Output, word: &str| text(&output.stdout).contains(word);
    for word in ["in every repeat", "\nPremise  ", "\nPart     "] {
        assert!(has(&verbose, word) && !has(&plain, word), "{word}");
    }
    for line in text(&verbose.stdout).lines() {
        assert!(line.chars().count() <= 80, "{line}");
    }
}

#[test]
fn explain_runs_nothing_and_its_json_has_the_arms() {
    let output = run(&["lab", "explain", "locks", "--json"]);
    let list: serde_json::Value = serde_json::from_slice(&output.stdout).expect("one document");
    let experiments = list["experiments"].as_array().expect("experiments");
    assert!(experiments.len() > 3);
    for experiment in experiments {
        assert_eq!(experiment["theme"], "locks");
        assert!(!experiment["arms"].as_array().expect("arms").is_empty());
    }
}

/// A terminal of 80 columns: what a program writes to it, and its other end.
fn terminal() -> (File, OwnedFd) {
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    let (mut reader, mut writer) = (-1, -1);
    // SAFETY: both descriptors are written by the call, which takes the size as it is; name and
    // attributes may be null.
    let done = unsafe {
        libc::openpty(
            &mut reader,
            &mut writer,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    assert_eq!(done, 0, "{}", std::io::Error::last_os_error());
    // SAFETY: the call has just opened the descriptor, and nobody else owns it.
    let reader = unsafe { File::from_raw_fd(reader) };
    // SAFETY: the call has just opened this descriptor as well, and nobody else owns it.
    (reader, unsafe { OwnedFd::from_raw_fd(writer) })
}

/// Starts a tour whose standard error is a terminal.
fn on_terminal(arguments: &[&str]) -> (Child, File) {
    let (reader, writer) = terminal();
    let mut command = brigade();
    command.args(arguments).env("TERM", "xterm");
    command.stdout(Stdio::null()).stderr(writer);
    (command.spawn().expect("the program starts"), reader)
}

/// What is written until the last writer closes the terminal.
fn rest_of(mut terminal: File, mut seen: Vec<u8>) -> String {
    let mut buffer = [0; 4096];
    // The end of a terminal is an error, EIO.
    while let Ok(count @ 1..) = terminal.read(&mut buffer) {
        seen.extend(&buffer[..count]);
    }
    String::from_utf8(seen).expect("UTF-8")
}

/// What is left on the screen after `written`: enough of a terminal for a progress bar.
fn screen(written: &str) -> String {
    let mut lines = vec![Vec::new()];
    let (mut row, mut column) = (0_usize, 0_usize);
    let mut rest = written.chars();
    while let Some(c) = rest.next() {
        match c {
            '\u{1b}' => {
                let command: String = rest
                    .by_ref()
                    .skip(1)
                    .take_while(|c| !c.is_alphabetic())
                    .collect();
                // The final letter has been taken; a bar uses these with and without a number.
                let erases = command.is_empty() || command == "2";
                let up: usize = command.parse().unwrap_or(1);
                if erases {
                    lines[row].clear();
                } else {
                    row = row.saturating_sub(up);
                }
            }
            '\r' => column = 0,
            '\n' => {
                row += 1;
                column = 0;
                if row == lines.len() {
                    lines.push(Vec::new());
                }
            }
            c => {
                if lines[row].len() <= column {
                    lines[row].resize(column + 1, ' ');
                }
                lines[row][column] = c;
                column += 1;
            }
        }
    }
    let lines = lines
        .into_iter()
        .map(|line| line.into_iter().collect::<String>());
    lines.collect::<Vec<_>>().join("\n").trim().to_owned()
}

#[test]
fn progress_tells_the_remaining_time_and_is_erased_at_the_end() {
    let (mut child, terminal) = on_terminal(&["lab", "--only", TWO]);
    let written = rest_of(terminal, Vec::new());
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
    assert!(written.contains("2/2 lost-updates: "), "{written:?}");
    assert!(written.contains(" s left"), "{written:?}");
    assert_eq!(screen(&written), "", "{written:?}");
}

#[test]
fn an_interrupt_erases_progress_and_leaves_a_note() {
    let (mut child, mut terminal) = on_terminal(&["lab", "--only", "threads,switches"]);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    while !String::from_utf8_lossy(&seen).contains(" s left") {
        let count = terminal.read(&mut buffer).expect("progress is shown");
        assert_ne!(count, 0);
        seen.extend(&buffer[..count]);
    }
    let pid = i32::try_from(child.id()).expect("an id");
    // SAFETY: sends a signal to a child of this process that has not been waited for, so the id
    // still names it; no memory is involved.
    assert_eq!(unsafe { libc::kill(pid, libc::SIGINT) }, 0);
    let written = rest_of(terminal, seen);
    assert_eq!(child.wait().expect("it ends").code(), Some(130));
    let left = screen(&written);
    assert!(
        left.starts_with("interrupted: ") && left.lines().count() == 1,
        "{left:?}"
    );
}

#[test]
fn with_json_there_is_no_progress_even_on_a_terminal() {
    let (mut child, terminal) = on_terminal(&["lab", "--only", TWO, "--json"]);
    assert_eq!(rest_of(terminal, Vec::new()), "");
    assert_eq!(child.wait().expect("it ends").code(), Some(0));
}
