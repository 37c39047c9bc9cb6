//! The names of `x86_64.rs` for everything else. [`crate::support`] refuses before any of them runs.

/// Whether this build has a switch at all.
pub(crate) const SUPPORTED: bool = false;

const NEVER: &str = "brigade-context: support() refused this platform, yet it was used";

/// Where a suspended thread goes on: its stack pointer and its thread pointer.
#[derive(Debug)]
pub struct Context {
    sp: usize,
    tp: usize,
}

impl Context {
    /// A context that nothing was saved in yet.
    pub const fn empty() -> Context {
        Context { sp: 0, tp: 0 }
    }

    /// The saved stack pointer; 0 when nothing was saved yet.
    pub const fn stack_pointer(&self) -> usize {
        self.sp
    }

    /// The saved thread pointer; 0 when nothing was saved yet.
    pub const fn thread_pointer(&self) -> usize {
        self.tp
    }
}

/// Never to be called here: [`crate::support`] refuses this platform.
///
/// # Panics
/// Always.
///
/// # Safety
/// None is possible.
pub unsafe fn switch(_from: *mut Context, _to: *const Context) {
    unreachable!("{NEVER}");
}

pub(crate) unsafe fn initial_context(
    _top: usize,
    _tp: usize,
    _entry: unsafe extern "C" fn(*mut ()) -> !,
    _arg: *mut (),
) -> Context {
    unreachable!("{NEVER}");
}

pub(crate) fn thread_pointer() -> usize {
    0
}

pub(crate) unsafe fn set_thread_pointer(_tp: usize) {
    unreachable!("{NEVER}");
}

pub(crate) unsafe fn call_with_tp(_tp: usize, f: unsafe extern "C" fn(*mut ()), data: *mut ()) {
    // SAFETY: the caller's contract.
    unsafe { f(data) };
}

pub(crate) fn carrier_word() -> usize {
    0
}

pub(crate) fn set_carrier_word(_word: usize) {}

pub(crate) fn carrier_offset() -> isize {
    0
}

pub(crate) fn set_malloc_words(_words: [isize; 2]) {}

pub(crate) fn set_errno_offset(_offset: isize) {}

pub(crate) fn fsbase_is_writable() -> bool {
    false
}

pub(crate) fn shadow_stack_is_on() -> bool {
    false
}

pub(crate) fn rseq_area() -> Option<(isize, usize)> {
    None
}

/// One system call; the result is the kernel's, `-errno` on failure.
///
/// # Safety
/// As the call itself.
pub(crate) unsafe fn syscall(number: libc::c_long, args: [usize; 6]) -> isize {
    // SAFETY: the caller's contract; errno is put back, as the callers expect.
    unsafe {
        let errno = libc::__errno_location();
        let before = *errno;
        let r = libc::syscall(number, args[0], args[1], args[2], args[3], args[4], args[5]);
        let result = if r == -1 {
            -(*errno as isize)
        } else {
            r as isize
        };
        *errno = before;
        result
    }
}
