//! Waiting for child processes: what every form of wait returns, and that many waits need few kernel threads.
//!
//! The tests of this file take turns: a wait for any child would see the children of another.

mod common;

use std::ffi::c_int;
use std::mem;
use std::process::{Command, Stdio};
use std::ptr::null_mut;
use std::sync::{Mutex, MutexGuard, PoisonError};

use brigade::runtime::Builder;
use common::Watch;
use libc::{id_t, idtype_t, pid_t, rusage, siginfo_t};

static TURN: Mutex<()> = Mutex::new(());

fn turn() -> (MutexGuard<'static, ()>, Watch) {
    let turn = TURN.lock().unwrap_or_else(PoisonError::into_inner);
    (turn, Watch::new("waiting for children"))
}

/// Starts a shell and forgets it: who waits is the test.
#[expect(
    clippy::zombie_processes,
    reason = "the callers wait for it by its number"
)]
fn shell(script: &str) -> pid_t {
    let child = Command::new("sh")
        .args(["-c", script])
        .stdin(Stdio::null())
        .spawn()
        .expect("a shell can be started");
    child.id().cast_signed()
}

fn errno() -> c_int {
    std::io::Error::last_os_error().raw_os_error().unwrap_or(0)
}

/// Runs `test` on a kernel thread and on a green thread: both must give the same.
#[track_caller]
fn both<T: PartialEq + std::fmt::Debug + Send>(test: impl Fn() -> T + Sync) -> T {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let plain = test();
    let hooked = runtime.run(&test);
    assert_eq!(hooked, plain, "hooked and plain");
    plain
}

fn waitpid(pid: pid_t, options: c_int) -> (bool, c_int, c_int) {
    let mut status = -1;
    // SAFETY: the place for the status is valid.
    let result = unsafe { libc::waitpid(pid, &mut status, options) };
    (result == pid, status, if result < 0 { errno() } else { 0 })
}

#[test]
fn the_status_of_a_child_is_the_same() {
    let _turn = turn();
    for script in [
        "exit 0",
        "exit 7",
        "sleep 0.05; exit 9",
        "kill -9 $$",
        "sleep 0.05; kill $$",
    ] {
        let (is_it, status, error) = both(|| waitpid(shell(script), 0));
        assert!(is_it && status != -1 && error == 0, "{script}");
    }
}

#[test]
fn a_child_that_has_ended_is_found_by_every_wait() {
    let _turn = turn();
    both(|| {
        let pid = shell("exit 3");
        let mut status = 0;
        // SAFETY: the places for the results are valid, here and below.
        unsafe {
            assert_eq!(libc::wait(&mut status), pid);
            assert_eq!(libc::WEXITSTATUS(status), 3);
            let mut usage: rusage = mem::zeroed();
            let pid = shell("sleep 0.02; exit 4");
            assert_eq!(libc::wait4(pid, &mut status, 0, &mut usage), pid);
            assert_eq!(libc::WEXITSTATUS(status), 4);
            assert!(usage.ru_maxrss > 0, "the usage is filled in");
            assert_eq!(libc::wait4(pid, null_mut(), 0, null_mut()), -1);
            assert_eq!(errno(), libc::ECHILD);
            let pid = shell("sleep 0.02");
            assert_eq!(libc::waitpid(-1, null_mut(), 0), pid);
            let pid = shell("sleep 0.02");
            assert_eq!(libc::waitpid(0, null_mut(), 0), pid);
        }
    });
}

#[test]
fn wrong_waits_fail_alike() {
    let _turn = turn();
    for (pid, options) in [
        (1, 0),
        (-1, 0),
        (0, 0),
        (pid_t::MAX, 0),
        (pid_t::MIN, 0),
        (1, 1 << 20),
        (1, libc::WNOHANG),
        (1, libc::WUNTRACED),
    ] {
        let (_, _, error) = both(|| waitpid(pid, options));
        assert_ne!(error, 0, "waitpid({pid}, {options:#x})");
    }
    // SAFETY: the kernel refuses the pointer when it comes to write the status.
    let bad = || unsafe {
        (
            libc::waitpid(shell("exit 0"), 8 as *mut c_int, 0) < 0,
            errno(),
        )
    };
    assert_eq!(both(bad), (true, libc::EFAULT));
}

#[test]
fn a_wait_that_may_not_block_does_not() {
    let _turn = turn();
    both(|| {
        let pid = shell("sleep 10");
        // SAFETY: the child is ours; no place for a status is given.
        unsafe {
            assert_eq!(libc::waitpid(pid, null_mut(), libc::WNOHANG), 0);
            assert_eq!(libc::kill(pid, libc::SIGKILL), 0);
            assert_eq!(libc::waitpid(pid, null_mut(), 0), pid);
        }
    });
}

/// What `waitid` says: result, errno, and from the record code, status, and whether the process is `pid`.
fn waitid(
    kind: idtype_t,
    id: id_t,
    pid: pid_t,
    options: c_int,
) -> (c_int, c_int, c_int, c_int, bool) {
    // SAFETY: all zeros are a valid record; the place for it is valid; it is one of a child, or empty.
    unsafe {
        let mut info: siginfo_t = mem::zeroed();
        let result = libc::waitid(kind, id, &mut info, options);
        let error = if result < 0 { errno() } else { 0 };
        (
            result,
            error,
            info.si_code,
            info.si_status(),
            info.si_pid() == pid,
        )
    }
}

#[test]
fn waitid_reports_the_same() {
    let _turn = turn();
    let ended = (0, 0, libc::CLD_EXITED, 6, true);
    let again = both(|| {
        let pid = shell("sleep 0.02; exit 6");
        let id = pid.cast_unsigned();
        let seen = waitid(libc::P_PID, id, pid, libc::WEXITED | libc::WNOWAIT);
        assert_eq!(seen, ended);
        assert_eq!(waitid(libc::P_PID, id, pid, libc::WEXITED), ended);
        waitid(libc::P_PID, id, pid, libc::WEXITED)
    });
    assert_eq!((again.0, again.1), (-1, libc::ECHILD));
    for (kind, options) in [
        (libc::P_PID, 0),
        (libc::P_PIDFD, libc::WEXITED),
        (99, libc::WEXITED),
    ] {
        let wrong = both(|| waitid(kind, id_t::MAX, 0, options));
        assert_eq!(wrong.0, -1, "kind {kind}, options {options}");
    }
    both(|| {
        let id = shell("sleep 0.02; exit 6").cast_unsigned();
        // SAFETY: no record is asked for.
        unsafe { libc::waitid(libc::P_PID, id, null_mut(), libc::WEXITED) }
    });
}

#[test]
fn a_pidfd_is_waited_for_and_a_nonblocking_one_is_not() {
    let _turn = turn();
    let wait = |flags: u32| {
        let pid = shell("sleep 0.05; exit 5");
        // SAFETY: the call takes numbers.
        let pidfd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, flags) } as c_int;
        let first = waitid(libc::P_PIDFD, pidfd.cast_unsigned(), pid, libc::WEXITED);
        // SAFETY: opened above; the child is reaped if it was not.
        unsafe {
            libc::close(pidfd);
            libc::waitpid(pid, null_mut(), 0);
        }
        first
    };
    assert_eq!(both(|| wait(0)), (0, 0, libc::CLD_EXITED, 5, true));
    let nonblocking = libc::O_NONBLOCK.cast_unsigned();
    assert_eq!(both(|| wait(nonblocking)).1, libc::EAGAIN);
}

#[test]
fn many_children_are_waited_for_at_once_on_few_kernel_threads() {
    let _turn = turn();
    const CHILDREN: u32 = 30;
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let children: Vec<_> = (0..CHILDREN).map(|_| shell("sleep 0.2")).collect();
    let before = runtime.metrics().carriers_started;
    let waits: Vec<_> = children
        .into_iter()
        .map(|pid| runtime.spawn(move || assert_eq!(waitpid(pid, 0), (true, 0, 0))))
        .collect();
    waits
        .into_iter()
        .for_each(|wait| wait.join().expect("no panic"));
    let started = runtime.metrics().carriers_started - before;
    assert!(started <= 4, "{started} kernel threads were started");
}
