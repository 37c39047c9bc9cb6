//! The life of a green thread's context: its beginning, its destructors, its end.
//!
//! [`prepare`] makes a slot ready for its first switch. On the dying stack [`run_destructors`] does what
//! glibc does when a thread returns. After the last switch away, [`retire`] makes the block fresh again,
//! or says that it must go through the reaper.
//!
//! Invariants
//! 1. A built slot that nobody runs on is fresh: [`retire`] does all cleaning, while the block is still
//!    in the cache, so that [`prepare`] touches one line.
//! 2. The frames here are small: a parked thread's memory is one page.

use crate::arch::{self, Context};
use crate::keys;
use crate::stack::Slot;
use crate::tls::{self, block};
use core::sync::atomic::{AtomicBool, Ordering};
use std::io;

/// Test aid: green threads keep the thread pointer of whoever prepares them.
static KEEP_THREAD_POINTER: AtomicBool = AtomicBool::new(false);

/// Test aid, unsound by intent: from now on all green threads share their maker's thread-locals. A test
/// that still passes then proves nothing.
pub(crate) fn plant_keep_thread_pointer() {
    // ORDER: Relaxed: set before any thread exists.
    KEEP_THREAD_POINTER.store(true, Ordering::Relaxed);
}

/// The first function of a green thread; it never returns.
pub type Entry = unsafe extern "C" fn(arg: *mut ()) -> !;

/// Makes the slot ready and returns the context whose first switch calls `entry(arg)` on its stack.
///
/// The thread starts with default floating point control (round to nearest, all exceptions masked).
///
/// # Errors
/// When there is no memory for the block's module vector.
///
/// # Safety
/// [`crate::support`] returned `Ok`; no thread runs on the slot, and the slot outlives the context.
#[inline]
pub unsafe fn prepare(slot: &mut Slot, entry: Entry, arg: *mut ()) -> io::Result<Context> {
    if !slot.built {
        build_slow(slot)?;
    }
    // ORDER: Relaxed: a test aid, set before any thread exists.
    let tp = if KEEP_THREAD_POINTER.load(Ordering::Relaxed) {
        arch::thread_pointer()
    } else {
        slot.tp()
    };
    // SAFETY: the top of the slot's stack is 64-aligned, writable and nobody's.
    Ok(unsafe { arch::initial_context(slot.top(), tp, entry, arg) })
}

#[cold]
fn build_slow(slot: &mut Slot) -> io::Result<()> {
    // SAFETY: the slot owns its memory and has no built block.
    unsafe { block::build(slot.tp(), slot.limit(), slot.index()) }?;
    slot.built = true;
    Ok(())
}

/// Runs the calling green thread's thread-local destructors and then those of its pthread keys, as
/// often as glibc does when a thread returns. They may park, and run anything else.
pub fn run_destructors() {
    /// POSIX's PTHREAD_DESTRUCTOR_ITERATIONS.
    const ROUNDS: usize = 4;
    call_tls_dtors();
    for _ in 0..ROUNDS {
        if !keys::run_round() {
            break;
        }
        // A key's destructor may have touched a thread-local that has one.
        call_tls_dtors();
    }
}

fn call_tls_dtors() {
    if let Some(run) = tls::call_tls_dtors() {
        // SAFETY: glibc's own function for the calling thread's destructors.
        unsafe { run() };
    }
}

/// Cleans the slot of a dead thread. True: it is as new; false: it needs [`crate::reap`].
///
/// # Safety
/// The thread has switched away from the slot for good.
#[inline]
pub unsafe fn retire(slot: &mut Slot) -> bool {
    debug_assert!(slot.built, "retire of a slot that was never prepared");
    // SAFETY: the block is built and its thread is dead.
    unsafe { block::freshen(slot.tp()) }
}
