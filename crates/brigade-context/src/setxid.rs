//! glibc's signal for changes of the process's ids, answered as the kernel thread.
//!
//! glibc marks every kernel thread, signals each, and goes on signalling until the thread's handler has
//! taken the mark off the descriptor at its thread pointer. With a green thread's block there, the mark of the
//! kernel thread would stay until the green thread switches away. So the handler is wrapped: it
//! runs with the kernel thread's own thread pointer.
//!
//! Invariants
//! 1. The wrapper changes nothing but the handler's address: mask, flags and restorer stay glibc's.
//! 2. The interrupted thread's errno is as it was.
//! 3. Whoever runs on a block that is not the kernel thread's own has a carrier word that leads to that
//!    kernel thread (`switch` writes it before the thread pointer; `reaper.rs` lends one).

use crate::arch;
use crate::carrier::{carrier, on_green};
use core::ffi::{c_int, c_void};
use core::sync::atomic::{AtomicUsize, Ordering};

/// glibc's SIGSETXID, the second signal that it keeps for itself.
const SIGSETXID: usize = 33;
const MASK_BYTES: usize = 8;

/// The kernel's `struct sigaction` on x86-64.
#[repr(C)]
#[derive(Default)]
struct Action {
    handler: usize,
    flags: usize,
    restorer: usize,
    mask: u64,
}

type Handler = unsafe extern "C" fn(c_int, *mut c_void, *mut c_void);

/// glibc's handler; 0 before [`install`].
static ORIGINAL: AtomicUsize = AtomicUsize::new(0);

struct Call {
    original: Handler,
    arguments: (c_int, *mut c_void, *mut c_void),
}

/// Wraps glibc's handler; after the first kernel thread was started, which is when glibc sets it. Does
/// nothing where glibc has none.
pub(crate) fn install() {
    let mut action = Action::default();
    let wrapper = on_signal as *const () as usize;
    // SAFETY: the kernel writes one action.
    let asked = unsafe { sigaction(0, &raw mut action as usize) };
    if asked != 0 || action.handler <= 1 || action.handler == wrapper {
        return;
    }
    // ORDER: Release pairs with the Acquire load in `on_signal`.
    ORIGINAL.store(action.handler, Ordering::Release);
    action.handler = wrapper;
    // SAFETY: the wrapper has the signature that glibc's flags (SA_SIGINFO) ask for; the rest is glibc's.
    unsafe { sigaction(&raw const action as usize, 0) };
}

/// `rt_sigaction(2)`; libc's own function refuses this signal.
///
/// # Safety
/// Both are 0 or addresses of an [`Action`]; a new action's handler has the right signature.
unsafe fn sigaction(new: usize, old: usize) -> isize {
    let arguments = [SIGSETXID, new, old, MASK_BYTES, 0, 0];
    // SAFETY: the caller's contract.
    unsafe { arch::syscall(libc::SYS_rt_sigaction, arguments) }
}

unsafe extern "C" fn on_signal(signal: c_int, info: *mut c_void, context: *mut c_void) {
    // ORDER: Acquire pairs with the Release store in `install`.
    let original = ORIGINAL.load(Ordering::Acquire);
    // SAFETY: `install` stored the address of glibc's handler before it set this one.
    let original = unsafe { core::mem::transmute::<usize, Handler>(original) };
    let mut call = Call {
        original,
        arguments: (signal, info, context),
    };
    let call = (&raw mut call).cast::<()>();
    // SAFETY: invariant 3; glibc's handler neither switches nor unwinds, and the call is a local. errno is
    // the interrupted thread's, before and after.
    unsafe {
        if on_green() {
            let errno = libc::__errno_location();
            let before = *errno;
            arch::call_with_tp((*carrier()).tp, pass_on, call);
            *errno = before;
        } else {
            pass_on(call);
        }
    }
}

unsafe extern "C" fn pass_on(call: *mut ()) {
    // SAFETY: `on_signal` passes its local; the arguments are the kernel's.
    unsafe {
        let call = &*call.cast::<Call>();
        (call.original)(call.arguments.0, call.arguments.1, call.arguments.2);
    }
}
