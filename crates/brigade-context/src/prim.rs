//! Locks and system calls that go through no libc symbol.
//!
//! Brigade defines some libc symbols itself, so the layers below must not call them: a lock
//! that parks a green thread while the scheduler holds it would deadlock. Everything here talks to
//! the kernel directly.
//!
//! [`RawLock`] has three states: 0 free, 1 held, 2 held and somebody may sleep on it.
//!
//! Invariants
//! 1. A `RawLock` is held for a bounded piece of code that never switches the green thread.
//! 2. Whoever stores 0 over a 2 wakes one sleeper; a sleeper always leaves the state at 2 when it
//!    gets the lock, so no later sleeper is forgotten.
//! 3. [`sys`] never touches `errno`.
//! 4. A holder is pinned to its carrier (`carrier.rs`): whatever it calls, an allocator with a standard lock or a signal
//!    handler, blocks the kernel thread rather than switch with the lock held.
//!
//! Rejected: `std::sync::Mutex` (its futex calls go through the interposed `syscall` symbol), spin
//! locks (a preempted holder stalls every core).

use crate::carrier::{pin, unpin};
use core::cell::UnsafeCell;
use core::ops::{Deref, DerefMut};
use core::sync::atomic::{AtomicU32, Ordering};

/// A small mutex around `T` whose waiting goes straight to the kernel.
///
/// It blocks the kernel thread, so it must only protect short pieces of code that never switch.
#[derive(Debug)]
pub struct RawLock<T> {
    state: AtomicU32,
    value: UnsafeCell<T>,
}

// SAFETY: the lock hands out one `&mut T` at a time, so sharing it needs only `T: Send`.
unsafe impl<T: Send> Sync for RawLock<T> {}

const FREE: u32 = 0;
const HELD: u32 = 1;
const SLEEPERS: u32 = 2;

impl<T> RawLock<T> {
    /// Makes a free lock around `value`.
    pub const fn new(value: T) -> RawLock<T> {
        RawLock {
            state: AtomicU32::new(FREE),
            value: UnsafeCell::new(value),
        }
    }

    /// Takes the lock; blocks the kernel thread while somebody else holds it.
    #[inline]
    pub fn lock(&self) -> RawGuard<'_, T> {
        self.acquire();
        RawGuard { lock: self }
    }

    /// Takes the lock if it is free.
    #[inline]
    pub fn try_lock(&self) -> Option<RawGuard<'_, T>> {
        pin();
        // ORDER: Acquire pairs with the Release swap in `release`; Relaxed on failure reads nothing.
        let taken = self
            .state
            .compare_exchange(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_ok();
        if !taken {
            unpin();
        }
        taken.then_some(RawGuard { lock: self })
    }

    /// Takes the lock without a guard, for fork handlers; pair it with [`RawLock::release`].
    #[inline]
    pub fn acquire(&self) {
        pin();
        // ORDER: Acquire pairs with the Release swap in `release`; Relaxed on failure reads nothing.
        if self
            .state
            .compare_exchange_weak(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
            .is_err()
        {
            self.acquire_slow();
        }
    }

    #[cold]
    fn acquire_slow(&self) {
        for _ in 0..64 {
            // ORDER: Relaxed: a hint; the exchange below synchronises.
            if self.state.load(Ordering::Relaxed) == FREE
                && self
                    .state
                    // ORDER: Acquire pairs with the Release swap in `release`; failure reads nothing.
                    .compare_exchange_weak(FREE, HELD, Ordering::Acquire, Ordering::Relaxed)
                    .is_ok()
            {
                return;
            }
            core::hint::spin_loop();
        }
        // ORDER: Acquire pairs with the Release swap in `release`.
        while self.state.swap(SLEEPERS, Ordering::Acquire) != FREE {
            sys::futex_wait(&self.state, SLEEPERS, None);
        }
    }

    /// Gives a lock back that was taken with [`RawLock::acquire`].
    ///
    /// # Safety
    /// The caller holds the lock and no guard of it exists.
    #[inline]
    pub unsafe fn release(&self) {
        // ORDER: Release pairs with the Acquire exchanges in `acquire`, `acquire_slow`, `try_lock`.
        if self.state.swap(FREE, Ordering::Release) == SLEEPERS {
            sys::futex_wake(&self.state, 1);
        }
        unpin();
    }
}

/// The right to use the value inside a [`RawLock`]; gives the lock back when dropped.
#[derive(Debug)]
pub struct RawGuard<'a, T> {
    lock: &'a RawLock<T>,
}

// SAFETY: a shared guard gives out only `&T`.
unsafe impl<T: Sync> Sync for RawGuard<'_, T> {}

impl<T> Deref for RawGuard<'_, T> {
    type Target = T;
    #[inline]
    fn deref(&self) -> &T {
        // SAFETY: the guard exists, so this thread holds the lock and nobody else has a reference.
        unsafe { &*self.lock.value.get() }
    }
}

impl<T> DerefMut for RawGuard<'_, T> {
    #[inline]
    fn deref_mut(&mut self) -> &mut T {
        // SAFETY: as in `deref`, and the guard is borrowed uniquely.
        unsafe { &mut *self.lock.value.get() }
    }
}

impl<T> Drop for RawGuard<'_, T> {
    #[inline]
    fn drop(&mut self) {
        // SAFETY: the guard held the lock and is gone after this.
        unsafe { self.lock.release() }
    }
}

/// Raw system calls. Results are the kernel's: a negative value is `-errno`.
pub mod sys {
    use crate::arch::syscall;
    use core::sync::atomic::AtomicU32;
    use core::time::Duration;

    /// The system call `number`.
    ///
    /// # Safety
    /// What the kernel asks of the arguments of that call.
    #[inline(always)]
    pub unsafe fn call(number: libc::c_long, arguments: [usize; 6]) -> isize {
        // SAFETY: the caller's contract.
        unsafe { syscall(number, arguments) }
    }

    /// A point on `CLOCK_MONOTONIC`, nanoseconds since its origin.
    pub type MonotonicNs = u64;

    /// Why [`futex_wait`] came back.
    #[derive(Debug, Clone, Copy, PartialEq, Eq)]
    pub enum Woken {
        /// Somebody woke it, the value had changed already, or a signal arrived.
        Maybe,
        /// The deadline passed.
        TimedOut,
    }

    const FUTEX_WAIT_BITSET_PRIVATE: usize = 9 | 128;
    const FUTEX_WAKE_PRIVATE: usize = 1 | 128;

    #[repr(C)]
    struct Timespec {
        sec: i64,
        nsec: i64,
    }

    /// Sleeps while `*word == expected`, at the latest until `deadline` on `CLOCK_MONOTONIC`.
    pub fn futex_wait(word: &AtomicU32, expected: u32, deadline: Option<MonotonicNs>) -> Woken {
        let at = deadline.map(|ns| Timespec {
            sec: (ns / 1_000_000_000) as i64,
            nsec: (ns % 1_000_000_000) as i64,
        });
        let at_ptr = at.as_ref().map_or(0, |t| &raw const *t as usize);
        // SAFETY: `word` is a live aligned u32 and the timespec outlives the call.
        let r = unsafe {
            syscall(
                libc::SYS_futex,
                [
                    word.as_ptr() as usize,
                    FUTEX_WAIT_BITSET_PRIVATE,
                    expected as usize,
                    at_ptr,
                    0,
                    u32::MAX as usize,
                ],
            )
        };
        if r == -(libc::ETIMEDOUT as isize) {
            Woken::TimedOut
        } else {
            Woken::Maybe
        }
    }

    /// Wakes up to `n` sleepers on `word`; returns how many it woke.
    pub fn futex_wake(word: &AtomicU32, n: u32) -> usize {
        // SAFETY: waking reads no user memory; a stale address is harmless for private futexes.
        let r = unsafe {
            syscall(
                libc::SYS_futex,
                [
                    word.as_ptr() as usize,
                    FUTEX_WAKE_PRIVATE,
                    n as usize,
                    0,
                    0,
                    0,
                ],
            )
        };
        r.max(0) as usize
    }

    /// The kernel's id of the calling kernel thread.
    pub fn gettid() -> u32 {
        // SAFETY: no arguments, no memory.
        unsafe { syscall(libc::SYS_gettid, [0; 6]) as u32 }
    }

    /// Gives the rest of the kernel thread's time slice away.
    pub fn sched_yield() {
        // SAFETY: no arguments, no memory.
        unsafe { syscall(libc::SYS_sched_yield, [0; 6]) };
    }

    /// `madvise(2)`.
    ///
    /// # Errors
    /// `Err(errno)` when the kernel refuses.
    ///
    /// # Safety
    /// The caller owns `[addr, addr + len)` and the advice keeps what it still needs there.
    pub unsafe fn madvise(addr: usize, len: usize, advice: i32) -> Result<(), i32> {
        // SAFETY: the caller's contract.
        let r = unsafe { syscall(libc::SYS_madvise, [addr, len, advice as usize, 0, 0, 0]) };
        if r < 0 { Err(-r as i32) } else { Ok(()) }
    }

    /// Most ranges that [`madvise_each`] passes to the kernel at once.
    const MOST_RANGES: usize = 64;
    /// The descriptor that stands for the calling process itself (Linux 6.14).
    const PIDFD_SELF: isize = -10_000;

    /// `process_madvise(2)` on the calling process: the same advice for many ranges of `len` bytes, one call
    /// for up to 64.
    ///
    /// # Errors
    /// `Err(errno)` when the kernel refuses; a part of the ranges may be advised then.
    ///
    /// # Safety
    /// As [`madvise`], for every range.
    pub unsafe fn madvise_each(
        starts: impl Iterator<Item = usize>,
        len: usize,
        advice: i32,
    ) -> Result<(), i32> {
        let mut ranges = [[0usize; 2]; MOST_RANGES];
        let mut starts = starts.peekable();
        while starts.peek().is_some() {
            let mut count = 0;
            for (range, start) in ranges.iter_mut().zip(&mut starts) {
                *range = [start, len];
                count += 1;
            }
            let mut done = 0;
            while done < count {
                let rest = ranges[done..count].as_ptr() as usize;
                let args = [
                    PIDFD_SELF as usize,
                    rest,
                    count - done,
                    advice as usize,
                    0,
                    0,
                ];
                // SAFETY: the ranges are the caller's by contract; the array outlives the call.
                let bytes = unsafe { syscall(libc::SYS_process_madvise, args) };
                if bytes < 0 {
                    return Err(-bytes as i32);
                }
                if (bytes as usize) < len {
                    return Err(libc::EINVAL);
                }
                done += bytes as usize / len;
            }
        }
        Ok(())
    }

    const MEMBARRIER_PRIVATE_EXPEDITED: usize = 1 << 3;
    const MEMBARRIER_REGISTER_PRIVATE_EXPEDITED: usize = 1 << 4;

    /// Registers the process for [`membarrier`]; false where the kernel has none.
    pub fn membarrier_register() -> bool {
        // SAFETY: no memory is passed.
        unsafe {
            syscall(
                libc::SYS_membarrier,
                [MEMBARRIER_REGISTER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0],
            ) == 0
        }
    }

    /// Makes every running thread of the process pass a full memory barrier; false when the kernel
    /// refuses (not registered, not there).
    pub fn membarrier() -> bool {
        // SAFETY: no memory is passed.
        unsafe {
            syscall(
                libc::SYS_membarrier,
                [MEMBARRIER_PRIVATE_EXPEDITED, 0, 0, 0, 0, 0],
            ) == 0
        }
    }

    /// Blocks the calling kernel thread for `time`.
    pub fn nanosleep(time: Duration) {
        let t = Timespec {
            sec: time.as_secs() as i64,
            nsec: i64::from(time.subsec_nanos()),
        };
        // SAFETY: the timespec outlives the call; no remainder is asked for.
        unsafe { syscall(libc::SYS_nanosleep, [&raw const t as usize, 0, 0, 0, 0, 0]) };
    }

    /// The signals that the calling kernel thread blocks, one bit each.
    pub fn blocked_signals() -> u64 {
        let mut set = 0_u64;
        let arguments = [
            libc::SIG_SETMASK as usize,
            0,
            &raw mut set as usize,
            8,
            0,
            0,
        ];
        // SAFETY: no new set, and a place for the old one of the size that is passed.
        unsafe { syscall(libc::SYS_rt_sigprocmask, arguments) };
        set
    }

    /// Asks the kernel's fair scheduler for time slices of `slice_ns` for the kernel thread `tid` of this
    /// process (0 for the caller); 0 ns restores the kernel's default. A thread with a shorter slice is
    /// scheduled sooner after it wakes; its share of the processor stays the same. Ignored by kernels
    /// before 6.12 and for other scheduling policies.
    pub fn set_time_slice(tid: u32, slice_ns: u64) {
        /// `struct sched_attr` of the kernel, its first version.
        #[repr(C)]
        #[derive(Default)]
        struct SchedAttr {
            size: u32,
            policy: u32,
            flags: u64,
            nice: i32,
            priority: u32,
            runtime_ns: u64,
            deadline_ns: u64,
            period_ns: u64,
        }
        let size = size_of::<SchedAttr>();
        let mut attr = SchedAttr::default();
        let to = &raw mut attr as usize;
        // SAFETY: the kernel writes at most `size` bytes to `attr`.
        let got = unsafe { syscall(libc::SYS_sched_getattr, [tid as usize, to, size, 0, 0, 0]) };
        if got != 0 || attr.policy != libc::SCHED_OTHER as u32 {
            return;
        }
        attr.runtime_ns = slice_ns;
        let from = &raw const attr as usize;
        // SAFETY: the kernel reads `size` bytes of `attr`; policy and nice value stay as they were.
        unsafe { syscall(libc::SYS_sched_setattr, [tid as usize, from, 0, 0, 0, 0]) };
    }

    /// Writes `bytes` to standard error, ignoring errors; async-signal-safe.
    pub fn write_stderr(mut bytes: &[u8]) {
        while !bytes.is_empty() {
            // SAFETY: the slice is readable for the length given.
            let n = unsafe {
                syscall(
                    libc::SYS_write,
                    [2, bytes.as_ptr() as usize, bytes.len(), 0, 0, 0],
                )
            };
            if n == -(libc::EINTR as isize) {
                continue;
            }
            if n <= 0 {
                return;
            }
            bytes = &bytes[n as usize..];
        }
    }
}
