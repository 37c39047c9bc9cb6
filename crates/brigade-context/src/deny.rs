//! libc functions that cannot work unchanged on a green thread, interposed.
use crate::keys::{self, KeyDtor};

unsafe extern "C" {
    fn __pthread_key_create(key: *mut libc::pthread_key_t, dtor: Option<KeyDtor>) -> i32;
}

/// glibc's function; the destructor is noted for the ends of green threads.
///
/// # Safety
/// As POSIX has it.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pthread_key_create(
    key: *mut libc::pthread_key_t,
    dtor: Option<KeyDtor>,
) -> i32 {
    // SAFETY: the caller's contract.
    unsafe {
        let r = __pthread_key_create(key, dtor);
        if r == 0 {
            keys::note(*key, dtor);
        }
        r
    }
}
