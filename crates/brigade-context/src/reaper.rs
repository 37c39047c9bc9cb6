//! Cleans blocks that only a real thread end can clean.
//!
//! glibc frees what it keeps per thread (buffers of `strerror` and `dlerror`, further blocks of pthread
//! keys, resolver state) when a thread returns from its start routine, and exports no function for
//! it. So a real kernel thread takes the dead block as its own in its last act, and returns.
//!
//! States of the background thread: not started, running (asleep on `SIGNAL` when the queue is empty).
//!
//! Who owns what: a queued slot is the reaper's; it ends in the pool, unbuilt.
//!
//! Invariants
//! 1. The dead block's malloc words are zeroed first: the cache in them is some carrier's.
//! 2. No lock of this crate is held while a kernel thread is started or joined.
//! 3. More than [`MAX_BACKLOG`] queued slots make [`reap`] wait, so dead memory is bounded.
//!
//! Orderings: `SIGNAL` counts pushes, `DRAINED` counts cleaned slots; both only wake sleepers, the queue
//! itself is under a lock.

use crate::carrier::CarrierBase;
use crate::prim::{RawLock, sys};
use crate::stack::{self, SizeClass, Slot};
use crate::{arch, tls::block};
use core::ffi::c_void;
use core::mem::MaybeUninit;
use core::sync::atomic::{AtomicU32, Ordering};

/// Slots that may wait for the background thread.
const MAX_BACKLOG: usize = 128;

struct Queue {
    slots: Vec<Slot>,
    running: bool,
    /// Slots whose cleaning did not work; kept out of use.
    lost: usize,
}

static QUEUE: RawLock<Queue> = RawLock::new(Queue {
    slots: Vec::new(),
    running: false,
    lost: 0,
});
static SIGNAL: AtomicU32 = AtomicU32::new(0);
static DRAINED: AtomicU32 = AtomicU32::new(0);

/// Cleans a slot that [`crate::retire`] refused and releases it to the pool of its class, in the
/// background. Blocks the kernel thread while more than 128 slots wait.
pub fn reap(class: SizeClass, slot: Slot) {
    debug_assert_eq!(slot.class(), class, "slot reaped into another class");
    let start = {
        let mut queue = QUEUE.lock();
        if queue.slots.try_reserve(1).is_err() {
            drop(queue);
            clean(slot);
            return;
        }
        queue.slots.push(slot);
        !core::mem::replace(&mut queue.running, true)
    };
    if start && !start_thread() {
        QUEUE.lock().running = false;
        drain();
        return;
    }
    // ORDER: Release pairs with the Acquire load in `serve`; the queue itself is under its lock.
    SIGNAL.fetch_add(1, Ordering::Release);
    sys::futex_wake(&SIGNAL, 1);
    wait_for_room();
}

fn wait_for_room() {
    loop {
        // ORDER: Acquire pairs with the Release addition in `drain`.
        let drained = DRAINED.load(Ordering::Acquire);
        let queue = QUEUE.lock();
        if queue.slots.len() <= MAX_BACKLOG || !queue.running {
            return;
        }
        drop(queue);
        sys::futex_wait(&DRAINED, drained, None);
    }
}

fn start_thread() -> bool {
    std::thread::Builder::new()
        .name("brigade-reaper".to_owned())
        .stack_size(64 * 1024)
        .spawn(serve)
        .is_ok()
}

fn serve() {
    loop {
        // ORDER: Acquire pairs with the Release addition in `reap`.
        let seen = SIGNAL.load(Ordering::Acquire);
        drain();
        sys::futex_wait(&SIGNAL, seen, None);
    }
}

/// Cleans until the queue is empty.
fn drain() {
    loop {
        // The guard must be gone before the slot is cleaned.
        let next = QUEUE.lock().slots.pop();
        let Some(slot) = next else {
            return;
        };
        clean(slot);
        // ORDER: Release pairs with the Acquire load in `wait_for_room`.
        DRAINED.fetch_add(1, Ordering::Release);
        sys::futex_wake(&DRAINED, u32::MAX >> 1);
    }
}

fn clean(mut slot: Slot) {
    let tp = slot.tp();
    // SAFETY: a reaped slot's thread is dead, its block is built and ours.
    let ended = unsafe {
        block::forget_malloc(tp);
        end_a_thread_on(tp)
    };
    if !ended {
        // Without kernel threads its leftovers stay allocated; the block itself is rebuilt.
        QUEUE.lock().lost += 1;
    }
    // SAFETY: as above; the thread that ended on it was joined.
    unsafe { block::dismantle(tp) };
    slot.built = false;
    stack::release(slot.class(), core::iter::once(slot));
}

/// Lets a kernel thread end with the block at `tp` as its own. False when none could be started.
///
/// # Safety
/// The block is built and nobody runs on it.
unsafe fn end_a_thread_on(tp: usize) -> bool {
    /// Lives until the thread was joined.
    struct Loan {
        tp: usize,
        base: CarrierBase,
    }
    extern "C" fn take_over(loan: *mut c_void) -> *mut c_void {
        // SAFETY: the loan outlives this thread. The block is complete and nobody's; this frame touches no
        // thread-local afterwards, and glibc's end of thread is meant to see the dead block. Its carrier
        // word leads to this kernel thread (`setxid.rs`).
        unsafe {
            let loan = &mut *loan.cast::<Loan>();
            loan.base.tp = arch::thread_pointer();
            let word = loan.tp.wrapping_add_signed(arch::carrier_offset());
            (word as *mut *mut CarrierBase).write(&raw mut loan.base);
            arch::set_thread_pointer(loan.tp);
        }
        core::ptr::null_mut()
    }
    let mut loan = Loan {
        tp,
        base: CarrierBase::new(),
    };
    // SAFETY: plain old data, filled below.
    let (mut all, mut before): (libc::sigset_t, libc::sigset_t) =
        unsafe { (core::mem::zeroed(), core::mem::zeroed()) };
    let mut thread = MaybeUninit::<libc::pthread_t>::uninit();
    // SAFETY: all pointers are to locals; the thread is joined. Signals stay out of it: a handler must
    // not run on the dead block.
    unsafe {
        libc::sigfillset(&mut all);
        libc::pthread_sigmask(libc::SIG_SETMASK, &all, &mut before);
        let failed = libc::pthread_create(
            thread.as_mut_ptr(),
            core::ptr::null(),
            take_over,
            (&raw mut loan).cast(),
        );
        libc::pthread_sigmask(libc::SIG_SETMASK, &before, core::ptr::null_mut());
        failed == 0 && libc::pthread_join(thread.assume_init(), core::ptr::null_mut()) == 0
    }
}

/// Takes the lock of this module, for fork.
pub(crate) fn lock() {
    QUEUE.acquire();
}

/// Gives back what [`lock`] took.
///
/// # Safety
/// The caller called [`lock`] before, once.
pub(crate) unsafe fn unlock() {
    // SAFETY: the caller holds it.
    unsafe { QUEUE.release() };
}

/// In the child of a fork: the background thread is gone; the next slot starts a new one.
pub(crate) fn after_fork_in_child() {
    QUEUE.lock().running = false;
}
