//! Calls that change the process's user and group ids, made as the kernel thread.
//!
//! glibc changes the ids of all kernel threads by a signal to each but the caller, whom it knows by its
//! thread descriptor. On a green thread's descriptor it would signal its own carrier and wait for itself.

use super::Next;
use crate::carrier::on_carrier;
use crate::tls::ids_change;
use libc::{c_char, c_int, gid_t, uid_t};

// SAFETY: the signature of that function in glibc.
static SETUID: Next<unsafe extern "C" fn(uid_t) -> c_int> = unsafe { Next::new(c"setuid") };
// SAFETY: the signature of that function in glibc.
static SETGID: Next<unsafe extern "C" fn(gid_t) -> c_int> = unsafe { Next::new(c"setgid") };
// SAFETY: the signature of that function in glibc.
static SETEUID: Next<unsafe extern "C" fn(uid_t) -> c_int> = unsafe { Next::new(c"seteuid") };
// SAFETY: the signature of that function in glibc.
static SETEGID: Next<unsafe extern "C" fn(gid_t) -> c_int> = unsafe { Next::new(c"setegid") };
// SAFETY: the signature of that function in glibc.
static SETREUID: Next<unsafe extern "C" fn(uid_t, uid_t) -> c_int> =
    unsafe { Next::new(c"setreuid") };
// SAFETY: the signature of that function in glibc.
static SETREGID: Next<unsafe extern "C" fn(gid_t, gid_t) -> c_int> =
    unsafe { Next::new(c"setregid") };
// SAFETY: the signature of that function in glibc.
static SETRESUID: Next<unsafe extern "C" fn(uid_t, uid_t, uid_t) -> c_int> =
    unsafe { Next::new(c"setresuid") };
// SAFETY: the signature of that function in glibc.
static SETRESGID: Next<unsafe extern "C" fn(gid_t, gid_t, gid_t) -> c_int> =
    unsafe { Next::new(c"setresgid") };
// SAFETY: the signature of that function in glibc.
static SETGROUPS: Next<unsafe extern "C" fn(usize, *const gid_t) -> c_int> =
    unsafe { Next::new(c"setgroups") };
// SAFETY: the signature of that function in glibc.
static INITGROUPS: Next<unsafe extern "C" fn(*const c_char, gid_t) -> c_int> =
    unsafe { Next::new(c"initgroups") };

/// Makes the call as the kernel thread. The self-check learns that every kernel thread is marked meanwhile.
fn changing(call: impl FnOnce() -> c_int) -> c_int {
    ids_change();
    let result = on_carrier(call);
    ids_change();
    result
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setuid(uid: uid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETUID.get()(uid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setgid(gid: gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETGID.get()(gid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn seteuid(uid: uid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETEUID.get()(uid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setegid(gid: gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETEGID.get()(gid) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setreuid(real: uid_t, effective: uid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETREUID.get()(real, effective) })
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setregid(real: gid_t, effective: gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETREGID.get()(real, effective) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setresuid(real: uid_t, effective: uid_t, saved: uid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETRESUID.get()(real, effective, saved) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setresgid(real: gid_t, effective: gid_t, saved: gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETRESGID.get()(real, effective, saved) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setgroups(count: usize, groups: *const gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { SETGROUPS.get()(count, groups) })
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn initgroups(user: *const c_char, group: gid_t) -> c_int {
    // SAFETY: the caller's contract, which is the original's; it does not switch.
    changing(|| unsafe { INITGROUPS.get()(user, group) })
}
