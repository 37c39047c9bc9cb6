//! Locks of Brigade across a fork, in a process that has never had a runtime.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::sync::{Condvar, Mutex};
use common::{Watch, child};

#[test]
fn a_child_of_a_process_without_a_runtime_can_lock_and_wait() {
    let test = "a_child_of_a_process_without_a_runtime_can_lock_and_wait";
    let ended = child::run(test, &[], || {
        let _watch = Watch::new("forks among threads that lock");
        let stop = Arc::new(AtomicBool::new(false));
        let contended = Arc::new(Mutex::new(0_u64));
        let busy: Vec<_> = (0..6)
            .map(|_| {
                let (stop, contended) = (Arc::clone(&stop), Arc::clone(&contended));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // A new thread takes its place in the roster, waits in the lot, and leaves both.
                        let lock = Arc::clone(&contended);
                        let short = std::thread::spawn(move || {
                            for _ in 0..5 {
                                *lock.lock().unwrap() += 1;
                            }
                        });
                        short.join().expect("no panic");
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            fork_and_wait();
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|b| b.join().expect("no panic"));
    });
    ended.assert_success();
}

/// Forks; the child takes a lock that two threads want, and waits for a condition.
fn fork_and_wait() {
    // SAFETY: the child uses what the parent may have held at the fork: that is what is tested.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1);
    if pid == 0 {
        let pair = Arc::new((Mutex::new(0), Condvar::new()));
        let theirs = Arc::clone(&pair);
        let other = std::thread::spawn(move || {
            for _ in 0..100 {
                *theirs.0.lock().unwrap() += 1;
            }
            theirs.1.notify_all();
        });
        let mut count = pair.0.lock().unwrap();
        while *count < 100 {
            let waited = pair.1.wait_timeout(count, Duration::from_secs(10));
            count = waited.unwrap().0;
        }
        drop(count);
        let failed = i32::from(other.join().is_err());
        // SAFETY: ends the child without the handlers of the parent's harness.
        unsafe { libc::_exit(failed) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a valid place.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
}
