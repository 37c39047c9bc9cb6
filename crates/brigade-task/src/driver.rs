//! The driver: the one thread that calls the wakers of timers and descriptors.
//!
//! It is an ordinary thread of the default runtime, green where that is possible, started when the first future waits.
//! It parks until an alarm rings (`brigade_runtime::alarms`) or the earliest timer is due, so an idle process makes no
//! wake-ups. Because it is a thread and not a part of the scheduler, wakers may do there whatever code may do: take
//! locks, panic, block. One that blocks holds up the others, though.
//!
//! # Life
//!
//! It never ends. In the child of a fork it does not exist; the first future that waits there starts another, and what
//! was registered with the parent's is registered anew when it is polled ([`Driver::is_ours`]).
//!
//! # Rejected
//!
//! A driver per runtime: a thread that waits for ever would keep its runtime from shutting down, and futures move between
//! runtimes. Whoever finds the events calls the wakers: see `alarm.rs` of the runtime.

use std::io;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, Ordering};
use std::task::Waker;

use brigade_runtime::SpawnOptions;
use brigade_runtime::alarms::{Alarms, default_runtime};
use brigade_runtime::clock::now_ns;
use brigade_runtime::raw::fork_generation;

use crate::io::source;
use crate::time::timers::Timers;

/// See the module.
pub(crate) struct Driver {
    pub(crate) alarms: Alarms,
    pub(crate) timers: Timers,
    generation: u32,
    dismissed: AtomicBool,
}

static DRIVER: AtomicPtr<Driver> = AtomicPtr::new(ptr::null_mut());

/// The driver of this process, started if need be.
#[inline]
pub(crate) fn driver() -> io::Result<&'static Driver> {
    // ORDER: Acquire: pairs with the Release in `start_slow`.
    let known = DRIVER.load(Ordering::Acquire);
    // SAFETY: only drivers that live for ever are stored.
    match unsafe { known.as_ref() } {
        Some(driver) if driver.is_ours() => Ok(driver),
        _ => start_slow(known),
    }
}

/// The thread is started before others can know of the driver: whoever knows it is served.
#[cold]
fn start_slow(known: *mut Driver) -> io::Result<&'static Driver> {
    let made: &'static Driver = Box::leak(Box::new(Driver {
        alarms: Alarms::new(),
        timers: Timers::new(),
        generation: fork_generation(),
        dismissed: AtomicBool::new(false),
    }));
    let options = SpawnOptions {
        name: Some("brigade-driver".into()),
        stack: None,
        site: Location::caller(),
        scope: None,
    };
    drop(default_runtime()?.spawn(options, move || made.run())?);
    let place = ptr::from_ref(made).cast_mut();
    // ORDER: AcqRel / Acquire: publishes the driver; who comes second takes the first one's.
    match DRIVER.compare_exchange(known, place, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => Ok(made),
        Err(first) => {
            // ORDER: Release: pairs with the Acquire in `run`.
            made.dismissed.store(true, Ordering::Release);
            made.alarms.rouse();
            // SAFETY: only drivers that live for ever are stored, and null is not put back.
            Ok(unsafe { &*first })
        }
    }
}

impl Driver {
    /// Whether it is of this process, and not of one that forked it.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == fork_generation()
    }

    fn run(&'static self) {
        self.alarms.be_answerer();
        let mut wakers = Vec::new();
        // ORDER: Acquire: pairs with the Release in `start_slow`.
        while !self.dismissed.load(Ordering::Acquire) {
            // SAFETY: every token of these alarms comes from a source that armed a watch with it.
            let rang = self
                .alarms
                .answer(|token| unsafe { source::fired(token, &mut wakers) });
            let due = self.timers.take_due(now_ns(), &mut wakers);
            if !rang && !due {
                self.alarms.wait(self.timers.begin_wait());
                self.timers.end_wait();
                continue;
            }
            for waker in wakers.drain(..) {
                call(waker);
            }
        }
    }
}

/// Calls a waker. Its panic has been reported by the panic hook, and concerns nobody else.
fn call(waker: Waker) {
    let panicked = catch_unwind(AssertUnwindSafe(|| waker.wake()));
    if let Err(payload) = panicked {
        // The payload is foreign, too.
        let _ = catch_unwind(AssertUnwindSafe(|| drop(payload)));
    }
}
