//! The destructors of pthread keys.
//!
//! glibc runs them only when a real thread ends, and does not tell which keys have one. So the key
//! functions are interposed (`deny`), and each key's destructor is noted here.
//!
//! Invariant: an entry is 0, or the destructor of the live key with that number.

use core::ffi::c_void;
use core::sync::atomic::{AtomicUsize, Ordering};

/// glibc's PTHREAD_KEYS_MAX.
const MAX_KEYS: usize = 1024;

pub(crate) type KeyDtor = unsafe extern "C" fn(*mut c_void);

static DTORS: [AtomicUsize; MAX_KEYS] = [const { AtomicUsize::new(0) }; MAX_KEYS];
/// One past the highest key that ever had a destructor.
static HIGHEST: AtomicUsize = AtomicUsize::new(0);

/// Notes the destructor of a new key, or that it has none.
pub(crate) fn note(key: u32, dtor: Option<KeyDtor>) {
    let Some(slot) = DTORS.get(key as usize) else {
        return;
    };
    // ORDER: Release pairs with the Acquire load in `run_round`.
    slot.store(dtor.map_or(0, |f| f as usize), Ordering::Release);
    if dtor.is_some() {
        // ORDER: Release pairs with the Acquire load in `run_round`.
        HIGHEST.fetch_max(key as usize + 1, Ordering::Release);
    }
}

/// Runs the destructor of each key that the calling thread has a value for. False when there was none.
pub(crate) fn run_round() -> bool {
    let mut any = false;
    // ORDER: Acquire pairs with the Release update in `note`.
    let highest = HIGHEST.load(Ordering::Acquire);
    for (key, slot) in DTORS[..highest].iter().enumerate() {
        // ORDER: Acquire pairs with the Release store in `note`.
        let address = slot.load(Ordering::Acquire);
        if address == 0 {
            continue;
        }
        // SAFETY: asking for and clearing a value touches only the calling thread's block; the address
        // is that of a `KeyDtor`, called with the key's non-null value, as POSIX has it.
        unsafe {
            let value = libc::pthread_getspecific(key as u32);
            if !value.is_null() {
                any = true;
                libc::pthread_setspecific(key as u32, core::ptr::null());
                core::mem::transmute::<usize, KeyDtor>(address)(value);
            }
        }
    }
    any
}
