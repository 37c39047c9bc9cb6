//! Blocking of the kernel thread on behalf of a green thread: what to do about it knows the scheduler, which this crate
//! does not know. So the scheduler leaves a function here.

use crate::carrier::on_green;
use core::sync::atomic::{AtomicPtr, Ordering};

/// Makes the call, once, while the running green thread holds no processor.
pub type RunBlocking = fn(call: &mut dyn FnMut());

static RUN: AtomicPtr<()> = AtomicPtr::new(core::ptr::null_mut());

/// From now on, calls that block for long are made through `run` where they come from a green thread.
pub fn install_blocking(run: RunBlocking) {
    // ORDER: Release pairs with the Acquire load in `blocking`.
    RUN.store(run as *mut (), Ordering::Release);
}

/// Makes `call`, which may block the kernel thread for long.
pub(crate) fn blocking(call: &mut dyn FnMut()) {
    // ORDER: Acquire pairs with the Release store in `install_blocking`.
    let run = RUN.load(Ordering::Acquire);
    if run.is_null() || !on_green() {
        return call();
    }
    // SAFETY: only `install_blocking` stores here, and it stores a function of this type.
    unsafe { core::mem::transmute::<*mut (), RunBlocking>(run)(call) }
}
