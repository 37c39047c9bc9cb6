//! The primitives under the model checker.

pub(crate) use loom::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};

use std::panic::Location;
use std::sync::Arc;

use brigade_event::WaitReason;
use loom::sync::{Mutex, MutexGuard, Notify};

use super::Slept;

/// A value behind a lock.
pub(crate) struct Lock<T>(Mutex<T>);

impl<T> Lock<T> {
    pub(crate) fn new(value: T) -> Lock<T> {
        Lock(Mutex::new(value))
    }

    pub(crate) fn lock(&self) -> MutexGuard<'_, T> {
        self.0.lock().unwrap()
    }
}

/// A full fence right after an atomic read-modify-write of this thread.
pub(crate) fn fence_after_rmw() {
    // ORDER: SeqCst: the partner is the other side's call.
    loom::sync::atomic::fence(Ordering::SeqCst);
}

/// Where threads sleep. It does what the runtime's table of waiters promises, with nothing of how: the runtime has models
/// of its own.
pub(crate) struct Bed(Mutex<Vec<Arc<Sleeper>>>);

struct Sleeper {
    is_woken: AtomicBool,
    /// Written before `is_woken`.
    with_all: AtomicBool,
    notify: Notify,
}

impl Sleeper {
    fn wake(&self, with_all: bool) {
        // ORDER: Relaxed: published by `is_woken`.
        self.with_all.store(with_all, Ordering::Relaxed);
        // ORDER: Release: pairs with the Acquire in `sleep`.
        self.is_woken.store(true, Ordering::Release);
        self.notify.notify();
    }
}

impl Bed {
    pub(crate) fn new(_reason: WaitReason) -> Bed {
        Bed(Mutex::new(Vec::new()))
    }

    pub(crate) fn sleep(
        &self,
        _site: &'static Location<'static>,
        is_due: impl FnOnce() -> bool,
    ) -> Slept {
        let sleeper = Arc::new(Sleeper {
            is_woken: AtomicBool::new(false),
            with_all: AtomicBool::new(false),
            notify: Notify::new(),
        });
        {
            let mut sleepers = self.0.lock().unwrap();
            if !is_due() {
                return Slept::Not;
            }
            sleepers.push(Arc::clone(&sleeper));
        }
        // The checker's wait may end without a reason.
        // ORDER: Acquire: pairs with the Release in `wake`.
        while !sleeper.is_woken.load(Ordering::Acquire) {
            sleeper.notify.wait();
        }
        // ORDER: Relaxed: as in `wake`.
        if sleeper.with_all.load(Ordering::Relaxed) {
            Slept::UntilAll
        } else {
            Slept::UntilOne
        }
    }

    pub(crate) fn wake_one(&self) -> bool {
        let mut sleepers = self.0.lock().unwrap();
        if sleepers.is_empty() {
            return false;
        }
        sleepers.remove(0).wake(false);
        true
    }

    pub(crate) fn wake_all(&self) {
        self.0
            .lock()
            .unwrap()
            .drain(..)
            .for_each(|sleeper| sleeper.wake(true));
    }
}
