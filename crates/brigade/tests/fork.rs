//! A green thread forks, and the child is a whole process: it allocates, starts threads of both kinds and forks.

mod common;

use std::cell::Cell;
use std::process::Command;

use common::mixed::{numbered, until_in_futex};
use common::{child, hop, migrating};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
}

/// What a forked child of the thread with this number does; whether it held.
type Step = fn(usize) -> bool;

/// The steps a forked child takes; the exit code of a child that fails is the number of the step.
const STEPS: [(&str, Step); 7] = [
    ("keeps its thread-locals", |index| NUMBER.get() == index + 1),
    ("allocates and frees", |index| {
        let texts: Vec<_> = (0..1000)
            .map(|number| format!("{number} {index}"))
            .collect();
        texts
            .iter()
            .zip(0..)
            .all(|(text, number)| *text == format!("{number} {index}"))
    }),
    ("starts kernel threads", |_| {
        let threads: Vec<_> = (0..4)
            .map(|number| std::thread::spawn(move || vec![number; 100_000].len()))
            .collect();
        threads
            .into_iter()
            .all(|thread| thread.join().is_ok_and(|length| length == 100_000))
    }),
    ("starts green threads", |index| {
        let threads: Vec<_> = (0..20)
            .map(|number| {
                brigade::thread::spawn(move || {
                    NUMBER.set(number);
                    brigade::thread::yield_now();
                    NUMBER.get()
                })
            })
            .collect();
        let all = threads
            .into_iter()
            .zip(0..)
            .all(|(thread, number)| thread.join().is_ok_and(|seen| seen == number));
        all && NUMBER.get() == index + 1
    }),
    ("sleeps", |_| {
        brigade::thread::sleep(std::time::Duration::from_millis(1));
        true
    }),
    ("runs a command", |_| {
        Command::new("true")
            .status()
            .is_ok_and(|status| status.success())
    }),
    ("forks again", |_| fork_and_wait(|| true) == 0),
];

/// Forks; the child exits with 0 if `body` holds. Returns the child's wait status.
fn fork_and_wait(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child leaves by `_exit`; what it runs before is what this test is about.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let code = i32::from(!body());
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(code) };
    }
    wait_for(pid)
}

fn wait_for(pid: libc::pid_t) -> i32 {
    let mut status = 0;
    loop {
        // SAFETY: the status is written by the call; the pid is our child.
        let result = unsafe { libc::waitpid(pid, &raw mut status, 0) };
        if result == pid {
            return status;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(
            error.kind(),
            std::io::ErrorKind::Interrupted,
            "waitpid({pid}): {error}"
        );
    }
}

/// Forks from a migrating green thread, one step per child.
fn check_step(step: usize) {
    let (name, holds) = STEPS[step];
    migrating(50, move |index| {
        NUMBER.set(index + 1);
        hop();
        if index % 10 == 0 {
            let status =
                fork_and_wait(|| std::panic::catch_unwind(|| holds(index)).is_ok_and(|held| held));
            assert_eq!(
                status, 0,
                "a child that {name} failed; its wait status is {status:#x}"
            );
        }
        hop();
        assert_eq!(NUMBER.get(), index + 1);
    });
}

#[test]
fn a_forked_child_keeps_its_thread_locals() {
    child::run("a_forked_child_keeps_its_thread_locals", &[], || {
        check_step(0)
    })
    .assert_success();
}

#[test]
fn a_forked_child_allocates_and_frees() {
    child::run("a_forked_child_allocates_and_frees", &[], || check_step(1)).assert_success();
}

#[test]
fn a_forked_child_starts_kernel_threads() {
    child::run("a_forked_child_starts_kernel_threads", &[], || {
        check_step(2)
    })
    .assert_success();
}

#[test]
fn a_forked_child_starts_green_threads() {
    child::run("a_forked_child_starts_green_threads", &[], || check_step(3)).assert_success();
}

#[test]
fn a_forked_child_sleeps() {
    child::run("a_forked_child_sleeps", &[], || check_step(4)).assert_success();
}

#[test]
fn a_forked_child_runs_a_command() {
    child::run("a_forked_child_runs_a_command", &[], || check_step(5)).assert_success();
}

#[test]
fn a_forked_child_forks_again() {
    child::run("a_forked_child_forks_again", &[], || check_step(6)).assert_success();
}

#[test]
fn a_kernel_thread_forks_while_green_threads_run() {
    let ended = child::run("a_kernel_thread_forks_while_green_threads_run", &[], || {
        static FORKED: common::Count = common::Count::new();
        let forker = std::thread::spawn(|| {
            for _ in 0..20 {
                let held = fork_and_wait(|| brigade::run(|| vec![1_u8; 1000].len() == 1000));
                assert_eq!(held, 0);
                FORKED.up();
            }
        });
        migrating(20, |_| {
            hop();
            FORKED.wait_for(20);
        });
        forker.join().expect("the kernel thread does not panic");
    });
    ended.assert_success();
}

/// A lock for which green threads wait when the process forks.
static WANTED: std::sync::Mutex<usize> = std::sync::Mutex::new(0);

#[test]
fn who_waited_for_a_lock_in_the_parent_takes_no_wake_up_in_the_child() {
    let ended = child::run(
        "who_waited_for_a_lock_in_the_parent_takes_no_wake_up_in_the_child",
        &[],
        || {
            static WAITING: common::Count = common::Count::new();
            let runtime = common::migrating_runtime();
            let status = runtime.run(|| {
                let held = WANTED.lock().expect("nobody panics");
                for _ in 0..20 {
                    brigade::thread::spawn(|| {
                        WAITING.up();
                        *WANTED.lock().expect("nobody panics") += 1;
                    });
                }
                WAITING.wait_for(20);
                (0..50).for_each(|_| hop());
                fork_and_wait(move || {
                    let mut held = Some(held);
                    // Some wakes serve the kernel first, so one round would prove nothing.
                    (0..10).all(|_| {
                        let (tid, waiter) = numbered(|| WANTED.lock().is_ok());
                        until_in_futex(tid);
                        held = None;
                        let locked = waiter.join().is_ok_and(|locked| locked);
                        held = WANTED.lock().ok();
                        locked
                    })
                })
            });
            assert_eq!(status, 0);
        },
    );
    ended.assert_success();
}
