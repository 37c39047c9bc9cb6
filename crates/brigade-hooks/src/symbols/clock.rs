//! Points and lengths of time as libc's functions take them.

use libc::timespec;

pub(crate) use brigade_runtime::clock::{NEVER, now_ns};

const NS_PER_S: u64 = 1_000_000_000;

/// Whether the kernel takes it as a time.
#[inline]
pub(crate) fn is_valid(time: timespec) -> bool {
    time.tv_sec >= 0 && (0..NS_PER_S as i64).contains(&time.tv_nsec)
}

/// Nanoseconds of a valid time; `NEVER` if there are too many.
#[inline]
pub(crate) fn to_ns(time: timespec) -> u64 {
    (time.tv_sec as u64)
        .saturating_mul(NS_PER_S)
        .saturating_add(time.tv_nsec as u64)
}

/// The deadline `time` from now.
#[inline]
pub(crate) fn deadline_after(time: timespec) -> u64 {
    now_ns().saturating_add(to_ns(time))
}
