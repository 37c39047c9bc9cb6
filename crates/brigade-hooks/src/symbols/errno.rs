//! errno of the running thread, and the kernel's results as libc returns them.

/// Sets errno.
#[inline]
pub(crate) fn set_errno(value: i32) {
    // SAFETY: libc returns the address of the running thread's own errno.
    unsafe { *libc::__errno_location() = value };
}

/// errno of the running thread.
#[inline]
pub(crate) fn errno() -> i32 {
    // SAFETY: as in `set_errno`.
    unsafe { *libc::__errno_location() }
}

/// The result of a system call as libc returns it: -1 and errno for `-errno`.
#[inline]
pub(crate) fn from_kernel(result: isize) -> isize {
    if result < 0 {
        set_errno(-result as i32);
        return -1;
    }
    result
}
