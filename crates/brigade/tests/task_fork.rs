//! Futures in the child of a fork, and where green threads are not possible. Each in a process of its own.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::time::Duration;

use brigade::runtime::Model;
use brigade::task::{self, Async, block_on, sleep, timeout};
use brigade::thread;
use common::child;

const SHORT: Duration = Duration::from_millis(3);

fn pair() -> (Async<UnixStream>, Async<UnixStream>) {
    Async::<UnixStream>::pair().expect("a pair")
}

/// A future waits for time and one for a descriptor, on this thread and as tasks.
fn futures_work(here: &Async<UnixStream>, there: &Async<UnixStream>) -> bool {
    let mut byte = [0];
    let late = block_on(timeout(SHORT, here.read_with(|mut io| io.read(&mut byte))));
    let slept = task::spawn(sleep(SHORT));
    let (one, other) = pair();
    let read = task::spawn(async move {
        let mut byte = [0];
        one.read_with(|mut io| io.read(&mut byte))
            .await
            .is_ok_and(|_| byte == *b"y")
    });
    block_on(sleep(SHORT));
    let wrote = block_on(there.write_with(|mut io| io.write(b"x")));
    let wrote_other = block_on(other.write_with(|mut io| io.write(b"y")));
    let got = block_on(here.read_with(|mut io| io.read(&mut byte)));
    late.is_err()
        && wrote.is_ok()
        && wrote_other.is_ok()
        && got.is_ok_and(|length| length == 1)
        && byte == *b"x"
        && slept.join().is_ok()
        && read.join().is_ok_and(|right| right)
}

fn fork(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child leaves by `_exit`; what it runs before is what this test is about.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(body));
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(i32::from(!held.is_ok_and(|held| held))) };
    }
    let mut status = 0;
    // SAFETY: the status is written by the call; the pid is our child.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

fn fork_after_waits() {
    let (here, there) = pair();
    assert!(futures_work(&here, &there));
    // Waits in both processes: armed in the parent, and to be armed anew in the child.
    let mut old = Box::pin(sleep(Duration::from_millis(20)));
    let waits = block_on(timeout(SHORT, &mut old));
    assert!(waits.is_err());
    let status = fork(|| {
        block_on(&mut old);
        futures_work(&here, &there)
    });
    assert_eq!(
        status, 0,
        "the child failed; its wait status is {status:#x}"
    );
    block_on(old);
    assert!(futures_work(&here, &there));
}

#[test]
fn futures_wait_in_the_child_of_a_kernel_thread() {
    let name = "futures_wait_in_the_child_of_a_kernel_thread";
    child::run(name, &[], fork_after_waits).assert_success();
}

#[test]
fn futures_wait_in_the_child_of_a_green_thread() {
    child::run("futures_wait_in_the_child_of_a_green_thread", &[], || {
        thread::spawn(fork_after_waits).join().expect("no panic");
    })
    .assert_success();
}

#[test]
fn futures_wait_where_green_threads_are_not_possible() {
    let name = "futures_wait_where_green_threads_are_not_possible";
    child::run(name, &[("BRIGADE_PLANT", "no-fsgsbase")], || {
        let model = brigade::run(|| brigade::runtime::Handle::current().model());
        assert_eq!(model, Model::OneToOne, "the fault was not planted");
        let (here, there) = pair();
        for _ in 0..20 {
            assert!(futures_work(&here, &there));
        }
        thread::spawn(move || assert!(futures_work(&here, &there)))
            .join()
            .expect("no panic");
    })
    .assert_success();
}
