//! Priority-inheritance mutexes are refused on green threads.
//!
//! The kernel keeps the owner of such a mutex by its kernel thread id, and a green thread has none that
//! stays: a contended lock would hang for ever. All other kinds work and pass through.

use super::Next;
use crate::carrier::on_green;
use crate::overflow::die;
use libc::{c_int, clockid_t, pthread_mutex_t, timespec};

/// Where glibc keeps the kind in a `pthread_mutex_t` (x86-64), and the bit for priority inheritance.
const KIND_OFFSET: usize = 16;
const PRIO_INHERIT: c_int = 32;

// SAFETY: the signature of that function in glibc.
static LOCK: Next<Lock> = unsafe { Next::new(c"pthread_mutex_lock") };
// SAFETY: the signature of that function in glibc.
static TRYLOCK: Next<Lock> = unsafe { Next::new(c"pthread_mutex_trylock") };
// SAFETY: the signature of that function in glibc.
static TIMEDLOCK: Next<TimedLock> = unsafe { Next::new(c"pthread_mutex_timedlock") };
// SAFETY: the signature of that function in glibc.
static CLOCKLOCK: Next<ClockLock> = unsafe { Next::new(c"pthread_mutex_clocklock") };

type Lock = unsafe extern "C" fn(*mut pthread_mutex_t) -> c_int;
type TimedLock = unsafe extern "C" fn(*mut pthread_mutex_t, *const timespec) -> c_int;
type ClockLock = unsafe extern "C" fn(*mut pthread_mutex_t, clockid_t, *const timespec) -> c_int;

/// # Safety
/// `mutex` is an initialised mutex.
#[inline]
unsafe fn check(mutex: *const pthread_mutex_t) {
    // SAFETY: the kind lies inside the mutex and does not change while it is in use.
    let kind = unsafe { mutex.byte_add(KIND_OFFSET).cast::<c_int>().read() };
    if kind & PRIO_INHERIT != 0 && on_green() {
        refuse();
    }
}

#[cold]
fn refuse() -> ! {
    die(format_args!(
        "locked a priority-inheritance mutex (PTHREAD_PRIO_INHERIT), which a green thread cannot own\n\
         lock it on a kernel thread (std::thread), or use a mutex without the protocol"
    ))
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_mutex_lock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    unsafe {
        check(mutex);
        LOCK.get()(mutex)
    }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_mutex_trylock(mutex: *mut pthread_mutex_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    unsafe {
        check(mutex);
        TRYLOCK.get()(mutex)
    }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_mutex_timedlock(
    mutex: *mut pthread_mutex_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    unsafe {
        check(mutex);
        TIMEDLOCK.get()(mutex, until)
    }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_mutex_clocklock(
    mutex: *mut pthread_mutex_t,
    clock: clockid_t,
    until: *const timespec,
) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    unsafe {
        check(mutex);
        CLOCKLOCK.get()(mutex, clock, until)
    }
}
