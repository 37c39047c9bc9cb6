//! Functions that take a `pthread_t` or end a thread, and pthread keys.

use super::Next;
use crate::blocking::blocking;
use crate::carrier::{carrier, on_green};
use crate::keys::{self, KeyDtor};
use crate::overflow::die;
use crate::stack::{GUARD_BYTES, region};
use crate::{arch, tls};
use core::ffi::c_void;
use libc::{c_int, clockid_t, cpu_set_t, pthread_attr_t, pthread_key_t, pthread_t, sched_param};

unsafe extern "C" {
    fn __pthread_key_create(key: *mut pthread_key_t, dtor: Option<KeyDtor>) -> c_int;
}

// SAFETY: the signature of that function in glibc.
static KEY_DELETE: Next<unsafe extern "C" fn(pthread_key_t) -> c_int> =
    unsafe { Next::new(c"pthread_key_delete") };
// SAFETY: the signature of that function in glibc.
static EXIT: Next<unsafe extern "C" fn(*mut c_void) -> !> = unsafe { Next::new(c"pthread_exit") };
// SAFETY: the signature of that function in glibc.
static CANCEL: Next<unsafe extern "C" fn(pthread_t) -> c_int> =
    unsafe { Next::new(c"pthread_cancel") };
// SAFETY: the signature of that function in glibc.
static JOIN: Next<unsafe extern "C" fn(pthread_t, *mut *mut c_void) -> c_int> =
    unsafe { Next::new(c"pthread_join") };
// SAFETY: the signature of that function in glibc.
static DETACH: Next<unsafe extern "C" fn(pthread_t) -> c_int> =
    unsafe { Next::new(c"pthread_detach") };
// SAFETY: the signature of that function in glibc.
static GETATTR: Next<unsafe extern "C" fn(pthread_t, *mut pthread_attr_t) -> c_int> =
    unsafe { Next::new(c"pthread_getattr_np") };
// SAFETY: the signature of that function in glibc.
static GETAFFINITY: Next<unsafe extern "C" fn(pthread_t, usize, *mut cpu_set_t) -> c_int> =
    unsafe { Next::new(c"pthread_getaffinity_np") };
// SAFETY: the signature of that function in glibc.
static SETAFFINITY: Next<unsafe extern "C" fn(pthread_t, usize, *const cpu_set_t) -> c_int> =
    unsafe { Next::new(c"pthread_setaffinity_np") };
// SAFETY: the signature of that function in glibc.
static GETSCHEDPARAM: Next<unsafe extern "C" fn(pthread_t, *mut c_int, *mut sched_param) -> c_int> =
    unsafe { Next::new(c"pthread_getschedparam") };
// SAFETY: the signature of that function in glibc.
static SETSCHEDPARAM: Next<unsafe extern "C" fn(pthread_t, c_int, *const sched_param) -> c_int> =
    unsafe { Next::new(c"pthread_setschedparam") };
// SAFETY: the signature of that function in glibc.
static GETCPUCLOCKID: Next<unsafe extern "C" fn(pthread_t, *mut clockid_t) -> c_int> =
    unsafe { Next::new(c"pthread_getcpuclockid") };

/// The stack of the green thread that `thread` names: lowest and one past the highest address.
#[inline]
fn green_stack(thread: pthread_t) -> Option<(usize, usize)> {
    let place = region::find(thread as usize)?;
    let above = tls::template_if_any()?.above;
    let end = place.base + place.size;
    (end - thread as usize >= above).then_some((place.base + GUARD_BYTES, thread as usize + above))
}

#[inline]
fn is_green(thread: pthread_t) -> bool {
    green_stack(thread).is_some()
}

/// What libc is asked instead of `thread`: the carrier for the running green thread itself, nobody for
/// another green thread (it has no kernel thread of its own), `thread` itself for any other.
fn kernel_thread(thread: pthread_t) -> Option<pthread_t> {
    if !is_green(thread) {
        return Some(thread);
    }
    if !on_green() || thread as usize != arch::thread_pointer() {
        return None;
    }
    // SAFETY: `on_green` says that the carrier word is valid.
    Some(unsafe { (*carrier()).tp } as pthread_t)
}

/// glibc's function; the destructor is noted for the ends of green threads.
///
/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_key_create(
    key: *mut pthread_key_t,
    dtor: Option<KeyDtor>,
) -> c_int {
    // SAFETY: the caller's contract.
    unsafe {
        let failed = __pthread_key_create(key, dtor);
        if failed == 0 {
            keys::note(*key, dtor);
        }
        failed
    }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_key_delete(key: pthread_key_t) -> c_int {
    // First: afterwards the number may already be another thread's new key.
    keys::note(key, None);
    // SAFETY: the caller's contract, which is the original's.
    unsafe { KEY_DELETE.get()(key) }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_exit(value: *mut c_void) -> ! {
    if on_green() {
        die(format_args!(
            "called pthread_exit, which would end the kernel thread under it\n\
             return from the thread's closure instead"
        ));
    }
    // SAFETY: the caller's contract, which is the original's.
    unsafe { EXIT.get()(value) }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_cancel(thread: pthread_t) -> c_int {
    if is_green(thread) {
        die(format_args!(
            "called pthread_cancel for a green thread, which cannot be cancelled\n\
             tell the thread to end by a flag or a channel"
        ));
    }
    // SAFETY: the caller's contract, which is the original's.
    unsafe { CANCEL.get()(thread) }
}

/// On a green thread: waits for the kernel thread `thread` without a processor.
///
/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_join(thread: pthread_t, value: *mut *mut c_void) -> c_int {
    if is_green(thread) {
        return libc::EINVAL;
    }
    if !on_green() {
        // SAFETY: the caller's contract, which is the original's.
        return unsafe { JOIN.get()(thread, value) };
    }
    let mut failed = 0;
    // SAFETY: the caller's contract, which is the original's; `blocking` makes the call once.
    blocking(&mut || failed = unsafe { JOIN.get()(thread, value) });
    failed
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_detach(thread: pthread_t) -> c_int {
    if is_green(thread) {
        return libc::EINVAL;
    }
    // SAFETY: the caller's contract, which is the original's.
    unsafe { DETACH.get()(thread) }
}

/// For a green thread: its true stack and guard.
///
/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_getattr_np(
    thread: pthread_t,
    attr: *mut pthread_attr_t,
) -> c_int {
    let Some((low, end)) = green_stack(thread) else {
        // SAFETY: the caller's contract, which is the original's.
        return unsafe { GETATTR.get()(thread, attr) };
    };
    // SAFETY: the caller's contract: `attr` is writable, and not initialised yet.
    unsafe {
        let mut failed = libc::pthread_attr_init(attr);
        if failed == 0 {
            failed = libc::pthread_attr_setguardsize(attr, GUARD_BYTES);
        }
        if failed == 0 {
            failed = libc::pthread_attr_setstack(attr, low as *mut c_void, end - low);
        }
        failed
    }
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_getaffinity_np(
    thread: pthread_t,
    size: usize,
    set: *mut cpu_set_t,
) -> c_int {
    let Some(thread) = kernel_thread(thread) else {
        return libc::ESRCH;
    };
    // SAFETY: the caller's contract, which is the original's.
    unsafe { GETAFFINITY.get()(thread, size, set) }
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_setaffinity_np(
    thread: pthread_t,
    size: usize,
    set: *const cpu_set_t,
) -> c_int {
    let Some(thread) = kernel_thread(thread) else {
        return libc::ESRCH;
    };
    // SAFETY: the caller's contract, which is the original's.
    unsafe { SETAFFINITY.get()(thread, size, set) }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_getschedparam(
    thread: pthread_t,
    policy: *mut c_int,
    param: *mut sched_param,
) -> c_int {
    let Some(thread) = kernel_thread(thread) else {
        return libc::ESRCH;
    };
    // SAFETY: the caller's contract, which is the original's.
    unsafe { GETSCHEDPARAM.get()(thread, policy, param) }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_setschedparam(
    thread: pthread_t,
    policy: c_int,
    param: *const sched_param,
) -> c_int {
    let Some(thread) = kernel_thread(thread) else {
        return libc::ESRCH;
    };
    // SAFETY: the caller's contract, which is the original's.
    unsafe { SETSCHEDPARAM.get()(thread, policy, param) }
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_getcpuclockid(
    thread: pthread_t,
    clock: *mut clockid_t,
) -> c_int {
    let Some(thread) = kernel_thread(thread) else {
        return libc::ESRCH;
    };
    // SAFETY: the caller's contract, which is the original's.
    unsafe { GETCPUCLOCKID.get()(thread, clock) }
}
