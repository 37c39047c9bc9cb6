//! The driver: the one thread of a runtime that calls the wakers of timers and descriptors.
//!
//! It is an ordinary thread, green where that is possible, started when the first future waits; futures that are polled on
//! kernel threads use the default runtime's. It parks until an alarm rings (`brigade_runtime::alarms`) or the earliest
//! timer is due, so an idle process makes no wake-ups. Because it is a thread and not a part of the scheduler, wakers may
//! do there whatever code may do: take locks, panic, block. One that blocks holds up the others, though, and one that
//! waits for a timer or a descriptor of a future waits for the driver, hence for ever.
//!
//! # Life
//!
//! | the driver | what becomes of what is registered with it |
//! |---|---|
//! | of the default runtime | it never ends |
//! | of another runtime, when this is closing and has no other thread | timers are called; alarms ring at the default runtime's driver from then on |
//! | of the parent, in the child of a fork | it does not exist: what is polled again is registered with a new one |
//!
//! The record of a driver (a few hundred bytes) is never freed: futures of other runtimes may still know it.
//!
//! # Invariants
//!
//! 1. A driver is published after its thread was started: whoever knows it is served.
//! 2. Only threads of a driver's runtime register with it, and it retires when there are none; so nothing comes after
//!    [`Driver::retire`] but alarms that were armed before.
//!
//! # Rejected
//!
//! One driver for all runtimes: each event of another runtime would cost two switches of kernel threads. Whoever finds
//! the events calls the wakers: see `alarm.rs` of the runtime.

use std::io;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::ptr;
use std::sync::atomic::{AtomicBool, AtomicPtr, AtomicUsize, Ordering};
use std::task::Waker;

use brigade_runtime::alarms::{Alarms, Home, is_last, make_daemon, spawn_at_place, with_place};
use brigade_runtime::clock::now_ns;
use brigade_runtime::raw::fork_generation;

use crate::io::source;
use crate::time::timers::Timers;

/// See the module.
pub(crate) struct Driver {
    pub(crate) alarms: Alarms,
    pub(crate) timers: Timers,
    /// Watches that are armed and have not been answered.
    armed: AtomicUsize,
    generation: u32,
    dismissed: AtomicBool,
}

/// The driver for this thread, started if need be.
#[inline]
pub(crate) fn driver() -> io::Result<&'static Driver> {
    driver_of(Home::OfThread)
}

#[inline]
fn driver_of(home: Home) -> io::Result<&'static Driver> {
    let known = with_place(home, get)?;
    match known {
        Some(driver) if driver.is_ours() => Ok(driver),
        _ => start_slow(home),
    }
}

fn get(place: &AtomicPtr<()>) -> Option<&'static Driver> {
    // ORDER: Acquire: pairs with the Release in `publish`.
    let known = place.load(Ordering::Acquire).cast::<Driver>();
    // SAFETY: only drivers are stored in the place, and they live for ever.
    unsafe { known.as_ref() }
}

#[cold]
fn start_slow(home: Home) -> io::Result<&'static Driver> {
    let made: &'static Driver = Box::leak(Box::new(Driver {
        alarms: Alarms::new(),
        timers: Timers::new(),
        armed: AtomicUsize::new(0),
        generation: fork_generation(),
        dismissed: AtomicBool::new(false),
    }));
    let thread = spawn_at_place(home, "brigade-driver", move || made.run())?;
    let first = with_place(home, |place| publish(place, made))?;
    if std::ptr::eq(first, made) {
        make_daemon(home, &thread);
    } else {
        // ORDER: Release: pairs with the Acquire in `run`.
        made.dismissed.store(true, Ordering::Release);
        made.alarms.rouse();
    }
    Ok(first)
}

/// Puts `made` into the place, unless another one is there by now; the one that is.
fn publish(place: &AtomicPtr<()>, made: &'static Driver) -> &'static Driver {
    loop {
        let known = get(place);
        if let Some(first) = known.filter(|driver| driver.is_ours()) {
            return first;
        }
        let before = known.map_or(ptr::null_mut(), address);
        // ORDER: AcqRel / Relaxed: publishes the driver; after a failure it is looked at again.
        let exchanged =
            place.compare_exchange(before, address(made), Ordering::AcqRel, Ordering::Relaxed);
        if exchanged.is_ok() {
            return made;
        }
    }
}

fn address(driver: &'static Driver) -> *mut () {
    ptr::from_ref(driver).cast_mut().cast()
}

impl Driver {
    /// Whether it is of this process, and not of one that forked it.
    #[inline]
    pub(crate) fn is_ours(&self) -> bool {
        self.generation == fork_generation()
    }

    /// A watch was armed.
    pub(crate) fn note_armed(&self) {
        // ORDER: Relaxed: read by the driver alone, when all threads that armed have ended.
        self.armed.fetch_add(1, Ordering::Relaxed);
    }

    /// A watch was taken back, or answered.
    pub(crate) fn note_disarmed(&self) {
        // ORDER: Relaxed: as in `note_armed`.
        self.armed.fetch_sub(1, Ordering::Relaxed);
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
            if rang || due {
                wakers.drain(..).for_each(call);
            } else if is_last() {
                return self.retire();
            } else {
                self.alarms.wait(self.timers.begin_wait());
                self.timers.end_wait();
            }
        }
    }

    /// The runtime ends. Who waits for a timer is woken, and finds another driver.
    fn retire(&'static self) {
        let mut wakers = Vec::new();
        while self.timers.take_due(u64::MAX, &mut wakers) {
            wakers.drain(..).for_each(call);
        }
        // ORDER: Relaxed: as in `note_armed`.
        if self.armed.load(Ordering::Relaxed) == 0 {
            return;
        }
        // Without a default runtime nobody can wait any more.
        if let Ok(successor) = driver_of(Home::Default) {
            self.alarms.retire(&successor.alarms);
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
