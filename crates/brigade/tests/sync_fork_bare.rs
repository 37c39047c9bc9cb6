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
        let held = contended.lock().unwrap();
        let busy: Vec<_> = (0..4)
            .map(|_| {
                let (stop, contended) = (Arc::clone(&stop), Arc::clone(&contended));
                std::thread::spawn(move || {
                    while !stop.load(Ordering::Relaxed) {
                        // Takes the lock of the place where threads wait, twice, again and again.
                        drop(contended.try_lock_for(Duration::from_nanos(1)));
                    }
                })
            })
            .collect();
        for _ in 0..300 {
            fork_and_wait(&contended);
        }
        stop.store(true, Ordering::Relaxed);
        busy.into_iter().for_each(|b| b.join().expect("no panic"));
        drop(held);
    });
    ended.assert_success();
}

/// Forks; the child waits at the lock that the parent's threads fight for, and for a condition. It starts no thread:
/// std's own locks do not outlive a fork among threads.
fn fork_and_wait(contended: &Mutex<u64>) {
    // SAFETY: the child uses what the parent may have held at the fork: that is what is tested.
    let pid = unsafe { libc::fork() };
    assert_ne!(pid, -1);
    if pid == 0 {
        let short = Duration::from_micros(100);
        // Whoever held it at the fork does not exist here.
        drop(contended.try_lock_for(short));
        let (mine, changed) = (Mutex::new(0), Condvar::new());
        let waited = changed.wait_timeout(mine.lock().unwrap(), short).unwrap();
        let failed = i32::from(!waited.1.timed_out());
        // SAFETY: ends the child without the handlers of the parent's harness.
        unsafe { libc::_exit(failed) };
    }
    let mut status = 0;
    // SAFETY: a child of this process, and a valid place.
    assert_eq!(unsafe { libc::waitpid(pid, &mut status, 0) }, pid);
    assert!(libc::WIFEXITED(status) && libc::WEXITSTATUS(status) == 0);
}
