//! The primitives on the machine.

use std::ptr::NonNull;
use std::time::{Duration, Instant};

use brigade_context::prim::sys;

/// A value behind a futex lock. The standard locks are not used because they block through symbols that Brigade
/// interposes.
pub(crate) use brigade_context::prim::RawLock as Lock;

pub(crate) use std::hint::spin_loop;
/// Kernel threads, where one is wanted for each thread.
pub(crate) mod kernel_thread {
    pub(crate) use std::thread::{Builder, JoinHandle, available_parallelism, current};
}
pub(crate) use std::sync::atomic::{
    AtomicBool, AtomicI32, AtomicPtr, AtomicU8, AtomicU32, AtomicU64, AtomicUsize, Ordering,
    compiler_fence, fence,
};

/// Slots of a processor's ring; a power of two.
pub(crate) const RING_SLOTS: usize = 256;

/// True where the kernel has no `membarrier`: then the light side of the fence is a full fence too.
static FULL_FENCES: AtomicBool = AtomicBool::new(true);

/// The light side of the asymmetric fence: keeps the compiler from reordering; the machine is kept in order
/// by [`fence_heavy`] on the other side.
#[inline(always)]
pub(crate) fn fence_light() {
    // ORDER: a compiler fence; its partner is the membarrier of `fence_heavy`.
    compiler_fence(Ordering::SeqCst);
    // ORDER: Relaxed: set once, before the first carrier starts.
    if FULL_FENCES.load(Ordering::Relaxed) {
        // ORDER: pairs with the fence in `fence_heavy`.
        fence(Ordering::SeqCst);
    }
}

/// The heavy side of the asymmetric fence: every running thread of the process passes a full fence before it
/// returns.
pub(crate) fn fence_heavy() {
    // ORDER: Relaxed: as in `fence_light`.
    if FULL_FENCES.load(Ordering::Relaxed) {
        // ORDER: pairs with the fence in `fence_light`.
        fence(Ordering::SeqCst);
    } else {
        if !sys::membarrier() {
            sys::write_stderr(b"brigade: the kernel refused a fence that it had promised\n");
            std::process::abort();
        }
    }
}

/// Asks the kernel for the heavy fence. Called before the first carrier starts.
pub(crate) fn register_fence() {
    if sys::membarrier_register() {
        // ORDER: Relaxed: carriers are started afterwards, which synchronises.
        FULL_FENCES.store(false, Ordering::Relaxed);
    }
}

/// A full fence right after an atomic read-modify-write of this thread. On x86-64 every such instruction is one, so that
/// only the compiler has to be kept from reordering.
#[inline(always)]
pub(crate) fn fence_after_rmw() {
    if cfg!(target_arch = "x86_64") {
        // ORDER: the locked instruction before is the fence; the partner is the other side's call of this function.
        compiler_fence(Ordering::SeqCst);
    } else {
        // ORDER: the partner is the other side's call of this function.
        fence(Ordering::SeqCst);
    }
}

/// Marks a place where the total order of sequentially consistent accesses is relied upon. Nothing to do here; the
/// model checker knows no such order and needs a fence.
#[inline(always)]
pub(crate) fn total_order() {}

/// Nanoseconds of `CLOCK_MONOTONIC`.
#[inline]
pub fn now_ns() -> u64 {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_MONOTONIC, &mut time) };
    let now = (time.tv_sec as u64)
        .wrapping_mul(1_000_000_000)
        .wrapping_add(time.tv_nsec as u64);
    note_ms(now / 1_000_000);
    now
}

/// The last time that somebody read the clock, in milliseconds.
static COARSE_MS: AtomicU64 = AtomicU64::new(0);

#[inline(always)]
fn note_ms(now_ms: u64) {
    // ORDER: Relaxed: a number that stands for itself; stored once a millisecond, so that the line stays shared.
    if COARSE_MS.load(Ordering::Relaxed) < now_ms {
        // ORDER: Relaxed: as above; a store that overtakes a later one is put right within a millisecond.
        COARSE_MS.store(now_ms, Ordering::Relaxed);
    }
}

/// Milliseconds of `CLOCK_MONOTONIC` at the last reading of the clock by anybody: costs a load.
#[inline(always)]
pub(crate) fn coarse_ms() -> u64 {
    // ORDER: Relaxed: as in `note_ms`.
    COARSE_MS.load(Ordering::Relaxed)
}

/// So many zeroed bytes from the kernel, never to be given back; none when it has no more.
#[cold]
pub(crate) fn map_zeroed(bytes: usize) -> Option<NonNull<u8>> {
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    (memory != libc::MAP_FAILED)
        .then(|| NonNull::new(memory.cast()))
        .flatten()
}

/// The deadline `duration` from now in nanoseconds of `CLOCK_MONOTONIC`; saturates at "never".
pub fn deadline_after(duration: Duration) -> u64 {
    u64::try_from(duration.as_nanos()).map_or(NEVER, |ns| now_ns().saturating_add(ns))
}

/// The deadline of an `Instant`.
pub fn deadline_at(instant: Instant) -> u64 {
    deadline_after(instant.saturating_duration_since(Instant::now()))
}

/// The deadline that does not come.
pub const NEVER: u64 = u64::MAX;

/// Blocks the kernel thread while `*word == expected`, until a wake, a signal or the deadline. May return
/// early: callers re-check.
pub(crate) fn futex_wait(word: &AtomicU32, expected: u32, deadline_ns: u64) {
    let deadline = (deadline_ns != NEVER).then_some(deadline_ns);
    let _ = sys::futex_wait(word, expected, deadline);
}

/// Wakes up to `count` kernel threads that wait on `word`.
pub(crate) fn futex_wake(word: &AtomicU32, count: u32) {
    sys::futex_wake(word, count);
}
