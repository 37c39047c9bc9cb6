//! Sleeping and yielding.
//!
//! | call on a green thread | what happens |
//! |---|---|
//! | relative, `CLOCK_REALTIME` or `CLOCK_MONOTONIC`; absolute, `CLOCK_MONOTONIC` | parks until the deadline |
//! | absolute, `CLOCK_REALTIME` | sleeps in the kernel, without a processor: the clock may be set |
//! | any other clock | as above: some stop or go on while the machine is suspended |
//! | `sched_yield`, or a sleep of no length | lets other green threads run |
//!
//! A relative sleep on `CLOCK_REALTIME` is not affected when the clock is set, in the kernel as here. Signals do not
//! end the sleep of a green thread, so none reports a remainder.
//!
//! # Invariants
//!
//! 1. A sleep that was woken early gives the wake-up back when it ends: a signal handler may have slept between a
//!    wait's last look at its condition and its park, and the wake-up was the wait's.

use brigade_runtime::WaitReason;
use brigade_runtime::park::{self, Green, Wait};
use libc::{c_int, c_uint, clockid_t, timespec, useconds_t};

use super::clock;
use super::memory;
use super::next::Next;
use super::parkable;
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 5] = [
    CLOCK_NANOSLEEP.hook(clock_nanosleep as *const ()),
    NANOSLEEP.hook(nanosleep as *const ()),
    USLEEP.hook(usleep as *const ()),
    SLEEP.hook(sleep as *const ()),
    SCHED_YIELD.hook(sched_yield as *const ()),
];

type ClockNanosleep =
    unsafe extern "C" fn(clockid_t, c_int, *const timespec, *mut timespec) -> c_int;
// SAFETY: the signature is compared in the line after.
static CLOCK_NANOSLEEP: Next<ClockNanosleep> = unsafe { Next::new(c"clock_nanosleep") };
const _: [ClockNanosleep; 2] = [clock_nanosleep, libc::clock_nanosleep];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn clock_nanosleep(
    clock: clockid_t,
    flags: c_int,
    request: *const timespec,
    remainder: *mut timespec,
) -> c_int {
    let pass_on = || {
        // SAFETY: the caller's contract, which is the original's.
        unsafe { CLOCK_NANOSLEEP.get()(clock, flags, request, remainder) }
    };
    let Some(green) = parkable() else {
        return pass_on();
    };
    let is_absolute = flags & libc::TIMER_ABSTIME != 0;
    let is_ours = clock == libc::CLOCK_MONOTONIC || (clock == libc::CLOCK_REALTIME && !is_absolute);
    match memory::read(green, request) {
        Some(time) if is_ours && clock::is_valid(time) => {
            if is_absolute {
                sleep_until(green, clock::to_ns(time));
            } else {
                sleep_for(green, time);
            }
            0
        }
        _ => park::blocking(pass_on),
    }
}

type Nanosleep = unsafe extern "C" fn(*const timespec, *mut timespec) -> c_int;
// SAFETY: the signature is compared in the line after.
static NANOSLEEP: Next<Nanosleep> = unsafe { Next::new(c"nanosleep") };
const _: [Nanosleep; 2] = [nanosleep, libc::nanosleep];

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn nanosleep(
    request: *const timespec,
    remainder: *mut timespec,
) -> c_int {
    if let Some(green) = parkable()
        && let Some(time) = memory::read(green, request)
        && clock::is_valid(time)
    {
        sleep_for(green, time);
        return 0;
    }
    // SAFETY: the caller's contract, which is the original's.
    unsafe { NANOSLEEP.get()(request, remainder) }
}

type Usleep = unsafe extern "C" fn(useconds_t) -> c_int;
// SAFETY: the signature is compared in the line after.
static USLEEP: Next<Usleep> = unsafe { Next::new(c"usleep") };
const _: [Usleep; 2] = [usleep, libc::usleep];

/// # Safety
/// None: any number will do.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn usleep(duration_us: useconds_t) -> c_int {
    let Some(green) = parkable() else {
        // SAFETY: as above: any number will do.
        return unsafe { USLEEP.get()(duration_us) };
    };
    let time = timespec {
        tv_sec: (duration_us / 1_000_000).into(),
        tv_nsec: (duration_us % 1_000_000 * 1000).into(),
    };
    sleep_for(green, time);
    0
}

type Sleep = unsafe extern "C" fn(c_uint) -> c_uint;
// SAFETY: the signature is compared in the line after.
static SLEEP: Next<Sleep> = unsafe { Next::new(c"sleep") };
const _: [Sleep; 2] = [sleep, libc::sleep];

/// # Safety
/// None: any number will do.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sleep(duration_s: c_uint) -> c_uint {
    let Some(green) = parkable() else {
        // SAFETY: as above: any number will do.
        return unsafe { SLEEP.get()(duration_s) };
    };
    let time = timespec {
        tv_sec: duration_s.into(),
        tv_nsec: 0,
    };
    sleep_for(green, time);
    0
}

type Yield = unsafe extern "C" fn() -> c_int;
// SAFETY: the signature is compared in the line after.
static SCHED_YIELD: Next<Yield> = unsafe { Next::new(c"sched_yield") };
const _: [Yield; 2] = [sched_yield, libc::sched_yield];

/// # Safety
/// None.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sched_yield() -> c_int {
    if parkable().is_none() {
        // SAFETY: the function has no preconditions.
        return unsafe { SCHED_YIELD.get()() };
    }
    park::yield_now();
    0
}

fn sleep_for(green: Green, time: timespec) {
    if clock::to_ns(time) == 0 {
        return park::yield_now();
    }
    sleep_until(green, clock::deadline_after(time));
}

fn sleep_until(green: Green, deadline_ns: u64) {
    let mut woken_early = false;
    loop {
        green.park(&Wait::anonymous(WaitReason::Sleep, 0), deadline_ns);
        if clock::now_ns() >= deadline_ns && deadline_ns != clock::NEVER {
            break;
        }
        woken_early = true;
    }
    if woken_early {
        // SAFETY: the thread is this one.
        let runnable = unsafe { green.sleeper().notify() };
        debug_assert!(runnable.is_none(), "a running thread is not parked");
    }
}
