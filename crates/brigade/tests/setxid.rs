//! Changing the user and group ids works from a green thread and beside green threads.
//!
//! glibc changes the ids of every kernel thread by a signal that its threads answer; a green thread is in none of its
//! lists, so the calls go through the kernel thread underneath. The ids are set to what they are, so no privilege is
//! needed.

mod common;

use std::io::{Read, Write};

use common::{Count, child, hop, migrating};

/// A call that changes ids; 0, or -1 with errno set.
type Call = fn() -> libc::c_int;

/// Each call of the family, named; every one returns 0.
fn calls() -> Vec<(&'static str, Call)> {
    // SAFETY: the calls take numbers only, and these are the ids the process has already.
    unsafe {
        vec![
            ("setuid", || libc::setuid(libc::getuid())),
            ("setgid", || libc::setgid(libc::getgid())),
            ("seteuid", || libc::seteuid(libc::geteuid())),
            ("setegid", || libc::setegid(libc::getegid())),
            ("setreuid", || {
                libc::setreuid(libc::getuid(), libc::geteuid())
            }),
            ("setregid", || {
                libc::setregid(libc::getgid(), libc::getegid())
            }),
            ("setresuid", || {
                libc::setresuid(libc::getuid(), libc::geteuid(), libc::geteuid())
            }),
            ("setresgid", || {
                libc::setresgid(libc::getgid(), libc::getegid(), libc::getegid())
            }),
        ]
    }
}

#[test]
fn a_green_thread_sets_each_kind_of_id() {
    let ended = child::run("a_green_thread_sets_each_kind_of_id", &[], || {
        migrating(8, |_| {
            for (name, call) in calls() {
                hop();
                assert_eq!(call(), 0, "{name}: {}", std::io::Error::last_os_error());
            }
        });
    });
    ended.assert_success();
}

#[test]
fn a_failing_call_reports_its_errno_on_the_green_thread() {
    let ended = child::run(
        "a_failing_call_reports_its_errno_on_the_green_thread",
        &[],
        || {
            migrating(8, |_| {
                hop();
                // SAFETY: the call takes a number; the kernel refuses -1 as an id for everyone.
                let result = unsafe { libc::setuid(libc::uid_t::MAX) };
                let error = std::io::Error::last_os_error();
                assert_eq!((result, error.raw_os_error()), (-1, Some(libc::EINVAL)));
            });
        },
    );
    ended.assert_success();
}

#[test]
fn a_kernel_thread_sets_ids_while_green_threads_run() {
    let ended = child::run(
        "a_kernel_thread_sets_ids_while_green_threads_run",
        &[],
        || {
            const CALLS: usize = 200;
            static DONE: Count = Count::new();
            let setter = std::thread::spawn(|| {
                for _ in 0..CALLS {
                    // SAFETY: the id is the one the process has.
                    let result = unsafe { libc::setuid(libc::getuid()) };
                    assert_eq!(result, 0);
                    DONE.up();
                }
            });
            migrating(20, |_| {
                hop();
                DONE.wait_for(CALLS);
            });
            setter.join().expect("the kernel thread does not panic");
        },
    );
    ended.assert_success();
}

#[test]
fn green_and_kernel_threads_set_ids_at_the_same_time() {
    let ended = child::run(
        "green_and_kernel_threads_set_ids_at_the_same_time",
        &[],
        || {
            let set_often = || {
                for _ in 0..50 {
                    // SAFETY: the id is the one the process has.
                    let result = unsafe { libc::setgid(libc::getgid()) };
                    assert_eq!(result, 0);
                }
            };
            let setters: Vec<_> = (0..2).map(|_| std::thread::spawn(set_often)).collect();
            migrating(8, move |_| {
                hop();
                set_often();
            });
            setters
                .into_iter()
                .for_each(|setter| setter.join().expect("the kernel thread does not panic"));
        },
    );
    ended.assert_success();
}

/// Set when [`set_ids_beside`] has set the ids.
static DONE: Count = Count::new();

/// Calls setuid on a kernel thread while `green` holds a kernel thread, until the call has returned.
fn set_ids_beside(green: impl FnOnce(&Count) + Send + 'static) {
    static STARTED: Count = Count::new();
    let runtime = common::migrating_runtime();
    let beside = runtime.spawn(move || {
        STARTED.up();
        green(&DONE);
    });
    STARTED.kernel_wait_for(1);
    // SAFETY: the id is the one the process has.
    let result = unsafe { libc::setuid(libc::getuid()) };
    DONE.up();
    assert_eq!(result, 0);
    beside.join().expect("no panic");
}

#[test]
fn ids_are_set_while_a_green_thread_computes_without_end() {
    let name = "ids_are_set_while_a_green_thread_computes_without_end";
    let ended = child::run(name, &[], || {
        set_ids_beside(|done| {
            while done.get() == 0 {
                std::hint::spin_loop();
            }
        });
    });
    ended.assert_success();
}

#[test]
fn ids_are_set_while_a_green_thread_is_blocked_in_the_kernel() {
    let name = "ids_are_set_while_a_green_thread_is_blocked_in_the_kernel";
    let ended = child::run(name, &[], || {
        let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
        let releaser = std::thread::spawn(move || {
            DONE.kernel_wait_for(1);
            writer.write_all(b"x").expect("the reader is there");
        });
        set_ids_beside(move |_| reader.read_exact(&mut [0]).expect("the writer writes"));
        releaser.join().expect("no panic");
    });
    ended.assert_success();
}
