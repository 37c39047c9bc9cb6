//! Completions and manual pages, judged by those who read them.

mod common;

use std::io::Write;
use std::process::{Command, Stdio};

use common::{Folder, run, text};

/// Whether there is a program of that name; a lacking one leaves its check out.
fn is_there(program: &str) -> bool {
    let there = Command::new(program)
        .arg("--version")
        .stdin(Stdio::null())
        .stdout(Stdio::null())
        .stderr(Stdio::null())
        .status();
    if there.is_err() {
        eprintln!("{program} is not installed: its check is left out");
    }
    there.is_ok()
}

/// What `command` says about `input`, and whether it liked it.
fn opinion(command: &mut Command, input: &[u8]) -> (bool, String) {
    let mut child = command
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .expect("the program starts");
    child
        .stdin
        .take()
        .expect("a pipe")
        .write_all(input)
        .expect("it reads");
    let output = child.wait_with_output().expect("it ends");
    let said = format!("{}{}", text(&output.stdout), text(&output.stderr));
    (output.status.success(), said)
}

#[test]
fn shells_accept_the_completions_which_know_commands_and_experiments() {
    for shell in ["bash", "zsh", "fish", "elvish", "powershell"] {
        let script = run(&["completions", shell]);
        assert_eq!(script.status.code(), Some(0), "{shell}");
        let script = text(&script.stdout);
        // Elvish and PowerShell complete words and options, not values.
        let values = ["bash", "zsh", "fish"].contains(&shell);
        let experiment = if values { "context-switch" } else { "lab" };
        for word in ["doctor", experiment, "--only"] {
            let word = if shell == "fish" {
                word.trim_start_matches('-')
            } else {
                word
            };
            assert!(script.contains(word), "{shell}: {word}");
        }
        assert!(!script.contains("__arm"), "{shell}");
        if values && is_there(shell) {
            let (fine, said) = opinion(Command::new(shell).arg("-n"), script.as_bytes());
            assert!(fine && said.is_empty(), "{shell}: {said}");
        }
    }
}

#[test]
fn a_broken_script_is_noticed() {
    let (fine, _) = opinion(Command::new("bash").arg("-n"), b"if true; then");
    assert!(!fine);
}

#[test]
fn there_is_a_page_for_every_command_and_formatters_accept_it() {
    let folder = Folder::new("man");
    let dir = folder.0.join("new/man1");
    let dir = dir.to_str().expect("a readable path");
    let output = run(&["man", dir]);
    assert_eq!(output.status.code(), Some(0), "{}", text(&output.stderr));
    let pages: Vec<_> = std::fs::read_dir(dir)
        .expect("the folder")
        .flatten()
        .collect();
    let names: Vec<_> = pages
        .iter()
        .map(|page| page.file_name().into_string().expect("UTF-8"))
        .collect();
    for name in [
        "brigade.1",
        "brigade-lab.1",
        "brigade-lab-run.1",
        "brigade-doctor.1",
    ] {
        assert!(names.iter().any(|known| known == name), "{names:?}");
    }
    assert!(names.iter().all(|name| name.ends_with(".1")), "{names:?}");
    let (groff, mandoc) = (is_there("groff"), is_there("mandoc"));
    for page in &pages {
        let source = std::fs::read(page.path()).expect("a page");
        if groff {
            let mut command = Command::new("groff");
            let (fine, said) = opinion(command.args(["-ww", "-man", "-z"]), &source);
            assert!(fine && said.is_empty(), "{}: {said}", page.path().display());
        }
        if mandoc {
            // Style, such as a page without a date, is a matter of taste; warnings are not.
            let mut command = Command::new("mandoc");
            let (fine, said) = opinion(command.args(["-T", "lint", "-W", "error"]), &source);
            assert!(fine, "{}: {said}", page.path().display());
        }
    }
}

#[test]
fn the_main_page_goes_to_standard_output() {
    let page = run(&["man"]);
    assert_eq!(page.status.code(), Some(0));
    assert!(text(&page.stdout).contains(".TH BRIGADE 1"));
}
