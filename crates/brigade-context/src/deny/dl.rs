//! Loading and unloading libraries.
//!
//! A library with initial-exec thread-locals gets a place in the static TLS of every thread. glibc fills
//! that place in the threads that it knows; the blocks of green threads are filled here, from a new
//! template. Where the place does not fit into the blocks, nothing can be done any more: message, abort.
//!
//! Known limit: library constructors that run inside `dlopen` on a green thread see such thread-locals
//! before they are filled (as zero).

use super::Next;
use crate::tls::refresh;
use core::ffi::{c_char, c_int, c_long, c_void};

// SAFETY: the signature of that function in glibc.
static OPEN: Next<unsafe extern "C" fn(*const c_char, c_int) -> *mut c_void> =
    unsafe { Next::new(c"dlopen") };
// SAFETY: the signature of that function in glibc.
static MOPEN: Next<unsafe extern "C" fn(c_long, *const c_char, c_int) -> *mut c_void> =
    unsafe { Next::new(c"dlmopen") };
// SAFETY: the signature of that function in glibc.
static CLOSE: Next<unsafe extern "C" fn(*mut c_void) -> c_int> = unsafe { Next::new(c"dlclose") };

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dlopen(file: *const c_char, mode: c_int) -> *mut c_void {
    // SAFETY: the caller's contract, which is the original's.
    let handle = unsafe { OPEN.get()(file, mode) };
    if !handle.is_null() {
        refresh::after_load();
    }
    handle
}

/// # Safety
/// As glibc has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dlmopen(
    namespace: c_long,
    file: *const c_char,
    mode: c_int,
) -> *mut c_void {
    // SAFETY: the caller's contract, which is the original's.
    let handle = unsafe { MOPEN.get()(namespace, file, mode) };
    if !handle.is_null() {
        refresh::after_load();
    }
    handle
}

/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dlclose(handle: *mut c_void) -> c_int {
    // SAFETY: the caller's contract, which is the original's.
    let failed = unsafe { CLOSE.get()(handle) };
    if failed == 0 {
        refresh::after_unload();
    }
    failed
}
