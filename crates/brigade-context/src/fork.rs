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
//! 4. Nobody holds a lock of this crate before the handlers are registered ([`install`]), so no child is
//!    born with a lock that nobody gives back.
//! 5. Two threads may register the handlers at once. Only the outermost pair of calls around a fork acts;
//!    `OWNER` and `DEPTH` tell.
//!
//! Rejected: a lock around the registration (a child could be born with it held), registration before
//! `main` (a program that links the crate and never uses it would pay).

use crate::prim::RawLock;
use crate::tls::refresh;
use crate::{arch, overflow, reaper, stack, support};
use core::sync::atomic::{AtomicBool, AtomicU32, AtomicUsize, Ordering};
use std::io;

/// How many other layers may register.
const MAX_HOOKS: usize = 16;

type Hook = fn();

static GENERATION: AtomicU32 = AtomicU32::new(0);
static HOOKS: RawLock<[Option<[Hook; 3]>; MAX_HOOKS]> = RawLock::new([None; MAX_HOOKS]);
static COUNT: AtomicUsize = AtomicUsize::new(0);

/// Held by the thread that forks.
static FORKING: RawLock<()> = RawLock::new(());
/// Thread pointer of the holder of `FORKING`; the child's thread has the same one.
static OWNER: AtomicUsize = AtomicUsize::new(0);
/// Inner registrations that the holder of `FORKING` is in.
static DEPTH: AtomicUsize = AtomicUsize::new(0);

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
/// When more than 16 are registered.
pub fn on_fork(prepare: fn(), parent: fn(), child: fn()) {
    register(&mut HOOKS.lock(), [prepare, parent, child]);
}

fn register(hooks: &mut [Option<[Hook; 3]>; MAX_HOOKS], functions: [Hook; 3]) {
    // ORDER: Relaxed: changes only under the lock of `hooks`.
    let count = COUNT.load(Ordering::Relaxed);
    assert!(
        count < MAX_HOOKS,
        "on_fork: more than {MAX_HOOKS} registrations"
    );
    hooks[count] = Some(functions);
    // ORDER: Release pairs with the Acquire load in `count`.
    COUNT.store(count + 1, Ordering::Release);
}

/// As [`on_fork`], unless `done` is set already; sets it. No fork comes between the two, so in a child as in
/// its parent `done` tells the truth, which a lock or a flag of the caller cannot promise.
///
/// # Panics
/// When more than 16 are registered.
pub fn on_fork_once(done: &AtomicBool, prepare: fn(), parent: fn(), child: fn()) {
    // Without memory for it, forks are as they are without this crate.
    let _ = install();
    let mut hooks = HOOKS.lock();
    // ORDER: Relaxed: read and written under the lock held here.
    if !done.load(Ordering::Relaxed) {
        register(&mut hooks, [prepare, parent, child]);
        // ORDER: Relaxed: as above.
        done.store(true, Ordering::Relaxed);
    }
}

/// Registers this crate's own handlers, if they are not yet. Every thread calls it before it takes the
/// first lock of the self-check.
pub(crate) fn install() -> io::Result<()> {
    static INSTALLED: AtomicBool = AtomicBool::new(false);
    // ORDER: Relaxed: whoever reads false registers again, which invariant 5 allows.
    if INSTALLED.load(Ordering::Relaxed) {
        return Ok(());
    }
    // SAFETY: the handlers are functions of this crate and live for ever.
    let failed = unsafe { libc::pthread_atfork(Some(before), Some(in_parent), Some(in_child)) };
    if failed != 0 {
        return Err(io::Error::from_raw_os_error(failed));
    }
    // ORDER: Relaxed: as above.
    INSTALLED.store(true, Ordering::Relaxed);
    Ok(())
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
    let me = arch::thread_pointer();
    // ORDER: Relaxed: only this thread stores its own thread pointer here.
    if OWNER.load(Ordering::Relaxed) == me {
        // ORDER: Relaxed: used by the holder of `FORKING` only, here and below.
        DEPTH.fetch_add(1, Ordering::Relaxed);
        return;
    }
    FORKING.acquire();
    // ORDER: Relaxed: as above.
    OWNER.store(me, Ordering::Relaxed);
    for i in (0..count()).rev() {
        if let Some(prepare) = hook(i, PREPARE) {
            prepare();
        }
    }
    HOOKS.acquire();
    support::lock();
    refresh::lock();
    reaper::lock();
    stack::lock_all();
    overflow::lock();
}

/// Gives the locks back. False in the handlers of an inner registration, which do nothing.
fn release() -> bool {
    // ORDER: Relaxed: used by the holder of `FORKING` only, which this thread is.
    if DEPTH.load(Ordering::Relaxed) != 0 {
        DEPTH.fetch_sub(1, Ordering::Relaxed); // ORDER: as above.
        return false;
    }
    // ORDER: Relaxed: see `before`.
    OWNER.store(0, Ordering::Relaxed);
    // SAFETY: `before` took them on this thread, and only `in_parent` or `in_child` gives them back.
    unsafe {
        overflow::unlock();
        stack::unlock_all();
        reaper::unlock();
        refresh::unlock();
        support::unlock();
        HOOKS.release();
        FORKING.release();
    }
    true
}

fn after(which: usize) {
    for i in 0..count() {
        if let Some(f) = hook(i, which) {
            f();
        }
    }
}

unsafe extern "C" fn in_parent() {
    if release() {
        after(PARENT);
    }
}

unsafe extern "C" fn in_child() {
    if !release() {
        return;
    }
    // ORDER: Relaxed: the child has one thread.
    GENERATION.fetch_add(1, Ordering::Relaxed);
    reaper::after_fork_in_child();
    after(CHILD);
    // SAFETY: this is the child of a fork.
    unsafe { crate::forget_carrier_after_fork() };
}
