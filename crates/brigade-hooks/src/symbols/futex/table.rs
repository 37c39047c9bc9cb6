//! The table of buckets: which bucket a word falls into, waiting, waking, and what a fork leaves of it.
//!
//! The protocol of one bucket is in `bucket.rs`.
//!
//! # Invariants
//!
//! 1. In the child of a fork no green thread waits and nobody holds a lock of the table: the handler makes every
//!    bucket as new. It is registered before the first waiter enters, hence before any bucket's lock is taken.

use core::sync::atomic::{AtomicBool, AtomicU32, Ordering};

use brigade_runtime::WaitReason;
use brigade_runtime::park::{Green, Runnable, Runnables, Sleeper, Wait};
use brigade_runtime::raw::on_fork_once;

use super::Turn;
use crate::bucket::{Bucket, Queue, Sleep, Waited};
use crate::prim::Lock;
use crate::symbols::clock::{NEVER, now_ns};

/// Enough that with a million waiting threads a wake passes some 60 waiters of other words. Memory that is not used
/// is not touched.
const BUCKETS: usize = 1 << 14;

/// One cache line, all zeros at first.
#[repr(align(64))]
struct Place {
    bucket: Bucket<Sleeper>,
    turn: Turn,
    /// Carriers that wait in the kernel and hold their processors.
    below: AtomicU32,
}

impl Place {
    const fn new() -> Place {
        Place {
            bucket: Bucket {
                queue: Lock::new(Queue::new()),
                waiters: AtomicU32::new(0),
            },
            turn: Turn::new(),
            below: AtomicU32::new(0),
        }
    }
}

const _: () = assert!(size_of::<Place>() == 64);

static TABLE: [Place; BUCKETS] = [const { Place::new() }; BUCKETS];

impl Sleep for Sleeper {
    type Runnable = Runnable;

    unsafe fn notify(self) -> Option<Runnable> {
        // SAFETY: the caller's contract.
        unsafe { Sleeper::notify(self) }
    }
}

#[inline(always)]
fn place(address: usize) -> &'static Place {
    const GOLDEN: u64 = 0x9E37_79B9_7F4A_7C15;
    let hash = ((address as u64) >> 2).wrapping_mul(GOLDEN);
    &TABLE[(hash >> (64 - BUCKETS.trailing_zeros())) as usize]
}

/// By a waker that has changed the word: whether there is surely no green thread that it should wake.
#[inline(always)]
pub(super) fn is_empty(address: usize) -> bool {
    place(address).bucket.is_empty()
}

/// Whose turn it is at the word.
pub(super) fn turn(address: usize) -> &'static Turn {
    &place(address).turn
}

/// How many carriers wait in the kernel, and hold their processors, for a word of the bucket.
pub(super) fn below(address: usize) -> &'static AtomicU32 {
    &place(address).below
}

/// Waits until a wake of `word`, while it has the value `expected`: 0 or `-errno`, as the kernel has it.
pub(super) fn wait(
    green: Green,
    word: &AtomicU32,
    expected: u32,
    bits: u32,
    deadline_ns: u64,
) -> isize {
    // ORDER: Relaxed: a hint; the load below counts.
    if word.load(Ordering::Relaxed) != expected {
        return -(libc::EAGAIN as isize);
    }
    register_fork_handler();
    let address = word.as_ptr() as usize;
    let bucket = &place(address).bucket;
    // ORDER: SeqCst: after the count was raised (`bucket.rs`, invariant 1). It also acquires what the thread that
    // stored another value did before.
    let is_due = || word.load(Ordering::SeqCst) == expected;
    let waits = Wait::anonymous(WaitReason::Futex, address);
    let park = || green.park(&waits, deadline_ns);
    let is_in_time = || deadline_ns == NEVER || now_ns() < deadline_ns;
    match bucket.wait((address, bits, green.sleeper()), is_due, park, is_in_time) {
        Waited::Woken => 0,
        Waited::NotDue => -(libc::EAGAIN as isize),
        Waited::TimedOut => -(libc::ETIMEDOUT as isize),
    }
}

/// Wakes up to `most` green threads that wait for the word; says how many.
pub(super) fn wake(address: usize, bits: u32, most: u32) -> u32 {
    let mut runnables = Runnables::new();
    let woken = place(address)
        .bucket
        .take(address, bits, most, |runnable| runnables.push(runnable));
    runnables.schedule();
    woken
}

#[inline]
fn register_fork_handler() {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: who reads false registers, which looks again under a lock.
    if !DONE.load(Ordering::Relaxed) {
        on_fork_once(&DONE, || {}, || {}, empty_after_fork);
    }
}

/// In the child of a fork.
fn empty_after_fork() {
    for place in &TABLE {
        // ORDER: Relaxed: the child has one thread.
        if place.below.load(Ordering::Relaxed) != 0 {
            // ORDER: Relaxed: as above.
            place.below.store(0, Ordering::Relaxed);
        }
        // ORDER: Relaxed: as above.
        let waiters = place.bucket.waiters.load(Ordering::Relaxed);
        if waiters == 0 && place.bucket.queue.try_lock().is_some() {
            continue;
        }
        // SAFETY: nobody else uses the bucket, and it holds no value that must be dropped. It lies in a static with
        // interior mutability in every field.
        unsafe {
            (&raw const place.bucket)
                .cast_mut()
                .write(Place::new().bucket)
        };
    }
}
