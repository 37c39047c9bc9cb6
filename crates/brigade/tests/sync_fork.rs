//! Locks across a fork: the child has one thread, and what others waited for in the parent does not stop it.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::runtime::Builder;
use brigade::sync::{Condvar, InterpreterLock, Mutex, RwLock};
use common::Watch;

/// Far above what a child needs, in seconds; a child that hangs is killed by the alarm.
const CHILD_HANGS_AFTER: u32 = 60;

struct Shared {
    mutex: Mutex<usize>,
    lock: RwLock<usize>,
    changed: Condvar,
    stop: AtomicBool,
}

/// Forks; the child exits with 0 if `body` holds. True if it did.
fn holds_in_child(body: impl FnOnce() -> bool) -> bool {
    // SAFETY: the child leaves by `_exit`; what it runs before is what this test is about.
    let pid = unsafe { libc::fork() };
    assert!(pid >= 0, "fork: {}", std::io::Error::last_os_error());
    if pid == 0 {
        // SAFETY: an alarm has no preconditions.
        unsafe { libc::alarm(CHILD_HANGS_AFTER) };
        let code = i32::from(!body());
        // SAFETY: `_exit` has no preconditions.
        unsafe { libc::_exit(code) };
    }
    let mut status = 0;
    loop {
        // SAFETY: the status is written by the call; the pid is our child.
        if unsafe { libc::waitpid(pid, &raw mut status, 0) } == pid {
            return status == 0;
        }
        let error = std::io::Error::last_os_error();
        assert_eq!(error.kind(), std::io::ErrorKind::Interrupted, "{error}");
    }
}

/// In the child: threads of both kinds fight for the locks and wait for each other; the sums are exact.
fn use_the_locks(shared: &Arc<Shared>) -> bool {
    const EACH: usize = 300;
    let before = *shared.mutex.lock().expect("not poisoned");
    let work = |shared: &Shared| {
        for _ in 0..EACH {
            *shared.mutex.lock().expect("not poisoned") += 1;
            *shared.lock.write().expect("not poisoned") += 1;
            drop(shared.lock.read().expect("not poisoned"));
            brigade::thread::yield_now();
        }
        shared.changed.notify_all();
    };
    let greens: Vec<_> = (0..4)
        .map(|_| {
            let shared = Arc::clone(shared);
            brigade::thread::spawn(move || work(&shared))
        })
        .collect();
    let theirs = Arc::clone(shared);
    let kernel = std::thread::spawn(move || work(&theirs));
    let sum = shared.mutex.lock().expect("not poisoned");
    let sum = shared
        .changed
        .wait_while(sum, |sum| *sum < before + 5 * EACH)
        .expect("not poisoned");
    let is_exact = *sum == before + 5 * EACH;
    drop(sum);
    is_exact && greens.into_iter().all(|thread| thread.join().is_ok()) && kernel.join().is_ok()
}

#[test]
fn a_child_uses_locks_that_others_waited_for_in_its_parent() {
    let _watch = Watch::new("forks amid locks");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let shared = Arc::new(Shared {
        mutex: Mutex::new(0),
        lock: RwLock::new(0),
        changed: Condvar::new(),
        stop: AtomicBool::new(false),
    });
    let busy: Vec<_> = (0..6)
        .map(|index| {
            let shared = Arc::clone(&shared);
            runtime.spawn(move || {
                // ORDER: Relaxed: it only ends the thread.
                while !shared.stop.load(Ordering::Relaxed) {
                    let sum = shared.mutex.lock().expect("not poisoned");
                    if index == 0 {
                        let wait = Duration::from_micros(100);
                        drop(shared.changed.wait_timeout(sum, wait).expect("no poison"));
                    } else {
                        brigade::thread::yield_now();
                        drop(sum);
                    }
                    let value = shared.lock.read().expect("not poisoned");
                    brigade::thread::yield_now();
                    drop(value);
                    *shared.lock.write().expect("not poisoned") += 1;
                }
            })
        })
        .collect();
    let theirs = Arc::clone(&shared);
    let forks = runtime.spawn(move || {
        (0..15).all(|round| {
            // The locks are this thread's when it forks, and the child's thread gives them back.
            let sum = theirs.mutex.lock().expect("not poisoned");
            let value = theirs.lock.write().expect("not poisoned");
            if round % 2 == 0 {
                brigade::thread::yield_now();
            }
            let guards = Some((sum, value));
            let theirs = &theirs;
            holds_in_child(move || {
                drop(guards);
                use_the_locks(theirs)
            })
        })
    });
    let held = forks.join().expect("no panic");
    // ORDER: Relaxed: as above.
    shared.stop.store(true, Ordering::Relaxed);
    for thread in busy {
        thread.join().expect("no panic");
    }
    assert!(held, "a child failed, or hung and was killed");
}

#[test]
fn the_child_of_one_that_holds_an_interpreter_lock_ticks_and_leaves() {
    let _watch = Watch::new("an interpreter lock in a child");
    let lock = Arc::new(InterpreterLock::new().with_switch_interval(Duration::from_millis(1)));
    let inside = lock.enter();
    let theirs = Arc::clone(&lock);
    let waiter = std::thread::spawn(move || drop(theirs.enter()));
    while lock.stats().requests == 0 {
        std::thread::yield_now();
    }
    // The thread that has asked for the lock does not exist there.
    assert!(holds_in_child(|| {
        inside.released(|| assert!(lock.try_enter().is_some()));
        lock.is_inside()
    }));
    assert!(holds_in_child(|| {
        inside.tick();
        let stays = lock.is_inside() && lock.stats().forced_switches == 0;
        inside.released(|| ());
        let again = lock.is_inside();
        drop(inside);
        stays && again && lock.try_enter().is_some()
    }));
    // The guard of this process went away with the closure, which only the child has called.
    waiter.join().expect("no panic");
}
