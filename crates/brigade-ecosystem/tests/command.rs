//! `std::process::Command` with pipes: children are started, fed, read and waited for on green threads.

use std::io::{Read, Write};
use std::process::{Child, Command, Stdio};

use brigade::runtime::Runtime;
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};

/// A shell with piped input and output.
fn shell(script: &str) -> Child {
    Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::piped())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a shell")
}

/// As many children that run `script`, started one after the other on a green thread.
fn shells(runtime: &Runtime, script: impl Fn(usize) -> String + Sync) -> Vec<Child> {
    runtime.run(|| (0..40).map(|index| shell(&script(index))).collect())
}

/// Writes to the child, closes its input, and returns what it says until it ends.
fn converse(mut child: Child, index: usize) -> String {
    let mut stdin = child.stdin.take().expect("stdin is piped");
    write!(stdin, "child {index}").expect("a pipe with room");
    drop(stdin);
    let output = child.wait_with_output().expect("a child of this process");
    assert!(output.status.success());
    String::from_utf8(output.stdout).expect("a text")
}

#[test]
fn children_that_are_started_together_overlap() {
    on_two_workers(|runtime| {
        let script = format!("sleep {}; cat", SLOW.as_secs_f64());
        // `posix_spawn` returns when the child runs its program; meanwhile it holds its kernel thread.
        let answers = Overlap::of(SLOW).any_kernel_threads().check(
            runtime,
            vec![(); 40],
            move |index, ()| converse(shell(&script), index),
        );
        let expected: Vec<String> = (0..40).map(|index| format!("child {index}")).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn reading_from_slow_children_overlaps() {
    on_two_workers(|runtime| {
        // Each sleeps when its input has been closed.
        let children = shells(runtime, |_| {
            format!(
                "text=$(cat); sleep {}; printf '%s' \"$text\"",
                SLOW.as_secs_f64()
            )
        });
        let answers =
            Overlap::of(SLOW).check(runtime, children, |index, child| converse(child, index));
        let expected: Vec<String> = (0..40).map(|index| format!("child {index}")).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn waiting_for_children_overlaps() {
    on_two_workers(|runtime| {
        // `wait` closes the input, and then each sleeps.
        let children = shells(runtime, |index| {
            format!("read line; sleep {}; exit {index}", SLOW.as_secs_f64())
        });
        let codes = Overlap::of(SLOW).check(runtime, children, |_, mut child| {
            child.wait().expect("a child of this process").code()
        });
        assert_eq!(codes, (0..40).map(Some).collect::<Vec<_>>());
    });
}

#[test]
fn bytes_through_children_are_exact_under_load() {
    const PARENTS: usize = 16;
    const ROUNDS: usize = 4;
    on_two_workers(|runtime| {
        on_green_threads(runtime, PARENTS, |index| {
            for round in 0..ROUNDS {
                // More than the pipes hold: writer and reader must take turns.
                let sent = payload::bytes(index, round, 300_000 + index);
                let mut child = Command::new("sh")
                    .args(["-c", "tee /dev/stderr"])
                    .stdin(Stdio::piped())
                    .stdout(Stdio::piped())
                    .stderr(Stdio::piped())
                    .spawn()
                    .expect("a shell");
                let mut stdin = child.stdin.take().expect("stdin is piped");
                let feed = sent.clone();
                let writer = brigade::thread::spawn(move || {
                    stdin.write_all(&feed).expect("a child that reads");
                });
                // Both pipes at once: std polls them.
                let output = child.wait_with_output().expect("a child of this process");
                writer.join().expect("a writer");
                assert!(output.status.success());
                assert!(output.stdout == sent, "{index}/{round}: stdout differs");
                assert!(output.stderr == sent, "{index}/{round}: stderr differs");
            }
        });
    });
}

#[test]
fn a_conversation_with_a_child_is_exact_line_by_line() {
    on_two_workers(|runtime| {
        on_green_threads(runtime, 16, |index| {
            let mut child = Command::new("cat")
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("cat");
            let mut stdin = child.stdin.take().expect("stdin is piped");
            let mut stdout = child.stdout.take().expect("stdout is piped");
            for round in 0..50 {
                let sent = payload::bytes(index, round, 1 + round * 13);
                stdin.write_all(&sent).expect("a child that reads");
                let mut seen = vec![0; sent.len()];
                stdout.read_exact(&mut seen).expect("a child that answers");
                assert!(seen == sent, "{index}/{round} differs");
            }
            drop(stdin);
            assert!(child.wait().expect("a child of this process").success());
        });
    });
}
