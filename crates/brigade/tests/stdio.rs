//! Standard output from many green threads: whole lines, and a lock that may be held across a migration.

mod common;

use std::io::Write;

use common::{Count, child, hop, migrating};

const PRINTERS: usize = 2000;
const HOLDERS: usize = 16;
const LINES: usize = 5;

#[test]
fn lines_of_2000_threads_come_out_whole() {
    let ended = child::run("lines_of_2000_threads_come_out_whole", &[], || {
        migrating(PRINTERS, |index| {
            for line in 0..LINES {
                println!("<{index} {line}>");
                hop();
            }
        });
    });
    ended.assert_success();
    let whole = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('<') && line.ends_with('>'))
        .count();
    assert_eq!(whole, PRINTERS * LINES);
}

#[test]
fn the_stdout_lock_is_held_across_a_migration_and_is_reentrant() {
    let ended = child::run(
        "the_stdout_lock_is_held_across_a_migration_and_is_reentrant",
        &[],
        || {
            static TURN: Count = Count::new();
            migrating(HOLDERS, |index| {
                for line in 0..LINES {
                    // One holder at a time: waiting for the lock itself would hold a kernel thread.
                    TURN.wait_for(line * HOLDERS + index);
                    let mut lock = std::io::stdout().lock();
                    write!(lock, "<{index}").expect("stdout is open");
                    hop();
                    print!(" {line}");
                    hop();
                    writeln!(lock, ">").expect("stdout is open");
                    drop(lock);
                    TURN.up();
                }
            });
        },
    );
    ended.assert_success();
    for (index, line) in (0..HOLDERS).flat_map(|index| (0..LINES).map(move |line| (index, line))) {
        let whole = format!("<{index} {line}>");
        assert!(
            ended.stdout.lines().any(|seen| seen == whole),
            "{whole} was torn apart: {ended:#?}"
        );
    }
}

#[test]
fn a_stdout_lock_held_across_migrations_delays_other_printers_but_freezes_nobody() {
    let name = "a_stdout_lock_held_across_migrations_delays_other_printers_but_freezes_nobody";
    let ended = child::run(name, &[], || {
        migrating(HOLDERS, |index| {
            for line in 0..LINES {
                let mut lock = std::io::stdout().lock();
                write!(lock, "<{index}").expect("stdout is open");
                hop();
                writeln!(lock, " {line}>").expect("stdout is open");
                drop(lock);
                hop();
            }
        });
    });
    ended.assert_success();
    let whole = ended
        .stdout
        .lines()
        .filter(|line| line.starts_with('<') && line.ends_with('>'))
        .count();
    assert_eq!(whole, HOLDERS * LINES);
}
