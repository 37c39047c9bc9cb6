//! fork: the child has one thread, and every lock of this crate must be free in it.
//!
//! `pthread_atfork` handlers take all static locks before the fork and give them back on both sides. Other
//! layers register their own handlers with [`on_fork`].
//!
//! Invariants
//! 1. Order before a fork: registered handlers, last registered first; then this crate's locks, from the
//!    outermost in. After it the reverse.
//! 2. In the child the forking thread, green or not, is an ordinary kernel thread: glibc has made its
//!    block the main thread's, and the carrier is gone.
//! 3. The generation changes only in a child, before the registered child handlers run.

use crate::prim::RawLock;
use crate::tls::refresh;
use crate::{reaper, stack};
use core::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use std::io;

/// How many other layers may register.
const MAX_HOOKS: usize = 8;

type Hook = fn();

static GENERATION: AtomicU32 = AtomicU32::new(0);
static HOOKS: RawLock<[Option<[Hook; 3]>; MAX_HOOKS]> = RawLock::new([None; MAX_HOOKS]);
static COUNT: AtomicUsize = AtomicUsize::new(0);

const PREPARE: usize = 0;
const PARENT: usize = 1;
const CHILD: usize = 2;

/// How many forks lie between the first process and this one.
#[inline]
pub fn fork_generation() -> u32 {
    // ORDER: Relaxed: changes only in a child, which has one thread then.
    GENERATION.load(Ordering::Relaxed)
}

/// Registers three functions: called before every fork, after it in the parent, after it in the child.
/// They run on the forking thread, which may be a green one, and must not switch.
///
/// # Panics
/// When more than 8 are registered.
pub fn on_fork(prepare: fn(), parent: fn(), child: fn()) {
    let mut hooks = HOOKS.lock();
    // ORDER: Relaxed: changes only under the lock held here.
    let count = COUNT.load(Ordering::Relaxed);
    assert!(
        count < MAX_HOOKS,
        "on_fork: more than {MAX_HOOKS} registrations"
    );
    hooks[count] = Some([prepare, parent, child]);
    // ORDER: Release pairs with the Acquire load in `each`.
    COUNT.store(count + 1, Ordering::Release);
}

/// Registers this crate's own handlers; called once, by the self-check.
pub(crate) fn install() -> io::Result<()> {
    // SAFETY: the handlers are functions of this crate and live for ever.
    let failed = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if failed == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(failed))
    }
}

fn hook(index: usize, which: usize) -> Option<Hook> {
    // The lock is held only to copy: a handler may take any time.
    HOOKS.lock()[index].map(|hooks| hooks[which])
}

fn count() -> usize {
    // ORDER: Acquire pairs with the Release store in `on_fork`.
    COUNT.load(Ordering::Acquire)
}

unsafe extern "C" fn before() {
    for i in (0..count()).rev() {
        if let Some(prepare) = hook(i, PREPARE) {
            prepare();
        }
    }
    HOOKS.acquire();
    refresh::lock();
    reaper::lock();
    stack::lock_all();
}

fn release() {
    // SAFETY: `before` took them on this thread, and only `in_parent` or `in_child` gives them back.
    unsafe {
        stack::unlock_all();
        reaper::unlock();
        refresh::unlock();
        HOOKS.release();
    }
}

fn after(which: usize) {
    for i in 0..count() {
        if let Some(f) = hook(i, which) {
            f();
        }
    }
}

unsafe extern "C" fn in_parent() {
    release();
    after(PARENT);
}

unsafe extern "C" fn in_child() {
    // ORDER: Relaxed: the child has one thread.
    GENERATION.fetch_add(1, Ordering::Relaxed);
    release();
    reaper::after_fork_in_child();
    after(CHILD);
    // SAFETY: this is the child of a fork.
    unsafe { crate::forget_carrier_after_fork() };
}
