//! Calls that change the process's user and group ids, made as the kernel thread.
//!
//! glibc changes the ids of all kernel threads by a signal to each but the caller, whom it knows by its
//! thread descriptor. On a green thread's descriptor it would signal its own carrier and wait for itself.

use super::Next;
use crate::carrier::on_carrier;
use libc::{c_char, c_int, gid_t, uid_t};

static SETUID: Next = Next::new(c"setuid");
static SETGID: Next = Next::new(c"setgid");
static SETEUID: Next = Next::new(c"seteuid");
static SETEGID: Next = Next::new(c"setegid");
static SETREUID: Next = Next::new(c"setreuid");
static SETREGID: Next = Next::new(c"setregid");
static SETRESUID: Next = Next::new(c"setresuid");
static SETRESGID: Next = Next::new(c"setresgid");
static SETGROUPS: Next = Next::new(c"setgroups");
static INITGROUPS: Next = Next::new(c"initgroups");

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setuid(uid: uid_t) -> c_int {
    type F = unsafe extern "C" fn(uid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETUID.get())(uid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setgid(gid: gid_t) -> c_int {
    type F = unsafe extern "C" fn(gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETGID.get())(gid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn seteuid(uid: uid_t) -> c_int {
    type F = unsafe extern "C" fn(uid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETEUID.get())(uid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setegid(gid: gid_t) -> c_int {
    type F = unsafe extern "C" fn(gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETEGID.get())(gid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setreuid(real: uid_t, effective: uid_t) -> c_int {
    type F = unsafe extern "C" fn(uid_t, uid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETREUID.get())(real, effective) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setregid(real: gid_t, effective: gid_t) -> c_int {
    type F = unsafe extern "C" fn(gid_t, gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETREGID.get())(real, effective) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int {
    type F = unsafe extern "C" fn(uid_t, uid_t, uid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETRESUID.get())(real, effective, saved) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setresgid(real: gid_t, effective: gid_t, saved: gid_t) -> c_int {
    type F = unsafe extern "C" fn(gid_t, gid_t, gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETRESGID.get())(real, effective, saved) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setgroups(count: usize, groups: *const gid_t) -> c_int {
    type F = unsafe extern "C" fn(usize, *const gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(SETGROUPS.get())(count, groups) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn initgroups(user: *const c_char, group: gid_t) -> c_int {
    type F = unsafe extern "C" fn(*const c_char, gid_t) -> c_int;
    // SAFETY: the caller's contract; the original has this signature and does not switch.
    on_carrier(|| unsafe { core::mem::transmute::<_, F>(INITGROUPS.get())(user, group) })
}
