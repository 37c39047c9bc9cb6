//! What the test programs share: a runner without a harness (a worker is the test program itself, so `main` must begin
//! with the registration), jobs, and a look at the processes of the machine.

#![allow(
    dead_code,
    reason = "each test program uses its own part of this module"
)]

pub(crate) mod jobs;
pub(crate) mod procfs;

use std::panic::{UnwindSafe, catch_unwind};
use std::process::ExitCode;
use std::sync::mpsc;
use std::time::Duration;

/// How long one test may take before it counts as hung.
const HANG_AFTER: Duration = Duration::from_secs(120);

/// A test: its name says the property.
pub(crate) type Case = (&'static str, fn());

/// Runs the tests one after the other, as the usual harness would, and says so in its form.
pub(crate) fn run(cases: &[Case]) -> ExitCode {
    // `cargo test NAME` reaches this program too.
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        cases.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let is_chosen =
        |name: &str| words.is_empty() || words.iter().any(|word| name.contains(word.as_str()));
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in cases.iter().filter(|(name, _)| is_chosen(name)) {
        if is_ok(name, test) {
            println!("test {name} ... ok");
            passed += 1;
        } else {
            println!("test {name} ... FAILED");
            failed += 1;
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed != 0))
}

/// Each test leaves the process as it was: without children.
fn is_ok(name: &str, test: impl FnOnce() + UnwindSafe) -> bool {
    let (over, is_over) = mpsc::channel::<()>();
    let name = name.to_owned();
    let watch = std::thread::spawn(move || {
        if is_over.recv_timeout(HANG_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("test {name} hangs");
            std::process::abort();
        }
    });
    let is_ok = catch_unwind(|| {
        test();
        let children = procfs::children(std::process::id());
        assert!(children.is_empty(), "left behind: {children:?}");
    })
    .is_ok();
    drop(over);
    watch.join().expect("it does not panic");
    is_ok
}
