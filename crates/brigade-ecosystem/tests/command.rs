//! `std::process::Command` with pipes: children are started, fed, read and waited for on green threads.

use std::io::{Read, Write};
use std::process::{Command, Stdio};

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};

#[test]
fn slow_children_overlap() {
    on_two_workers(|runtime| {
        let answers = Overlap::of(SLOW).check(runtime, vec![(); 40], |index, ()| {
            let mut child = Command::new("sh")
                .args(["-c", &format!("sleep {}; cat", SLOW.as_secs_f64())])
                .stdin(Stdio::piped())
                .stdout(Stdio::piped())
                .spawn()
                .expect("a shell");
            let mut stdin = child.stdin.take().expect("stdin is piped");
            write!(stdin, "child {index}").expect("a pipe with room");
            drop(stdin);
            let output = child.wait_with_output().expect("a child of this process");
            assert!(output.status.success());
            String::from_utf8(output.stdout).expect("a text")
        });
        let expected: Vec<String> = (0..40).map(|index| format!("child {index}")).collect();
        assert_eq!(answers, expected);
    });
}

#[test]
fn waiting_for_children_overlaps() {
    on_two_workers(|runtime| {
        let children = on_green_threads(runtime, 40, |index| {
            // Waits for its input to close, then sleeps: none ends before it is waited for.
            Command::new("sh")
                .args([
                    "-c",
                    &format!("read line; sleep {}; exit {index}", SLOW.as_secs_f64()),
                ])
                .stdin(Stdio::piped())
                .spawn()
                .expect("a shell")
        });
        let codes = Overlap::of(SLOW).check(runtime, children, |_, mut child| {
            // `wait` closes the input first.
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
