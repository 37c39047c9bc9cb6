//! Starting and ending the kernel threads of a runtime.
//!
//! A carrier's kernel thread has a small stack of its own: only the scheduler runs there. Each holds a counted
//! reference to the runtime, so the runtime outlives it. Carrier records are re-used and freed with the runtime:
//! a late wake-up may still touch the record of a carrier that has just ended.

use std::ffi::c_void;
use std::io;
use std::sync::Arc;

use brigade_context::CarrierBase;
use brigade_context::prim::sys;

use crate::carrier::Carrier;
use crate::prim::{Lock, Ordering};
use crate::processor::Processor;
use crate::shared::{CarrierPtr, Shared};

/// The stack of a carrier's kernel thread: the scheduler's frames, malloc's and a signal frame.
const CARRIER_STACK: usize = 256 * 1024;

/// Starts a carrier that holds `p`.
pub(crate) fn start(
    shared: &Shared,
    p: &Processor<Carrier>,
    searching: bool,
    main: extern "C" fn(*mut c_void) -> *mut c_void,
) -> io::Result<()> {
    // ORDER: Relaxed: a limit, not an exact one.
    if shared.kernel_threads.load(Ordering::Relaxed) as usize > shared.max_carriers {
        return Err(io::Error::other(
            "the runtime's max_carriers kernel threads are in use",
        ));
    }
    let home = shared.home();
    let reused = shared.free_carriers.lock().pop();
    let carrier = match reused {
        Some(CarrierPtr(record)) => {
            // SAFETY: a record in the free list lives as long as the runtime; its carrier has ended.
            unsafe { (*record).reset(p, searching) };
            record
        }
        None => Box::into_raw(Box::new(Carrier::new(
            home.cast(),
            &raw const shared.reactor,
            p,
            searching,
        ))),
    };
    p.set_owner(carrier);
    // SAFETY: `home` came from the `Arc` that the caller's runtime lives in.
    unsafe { Arc::increment_strong_count(home) };
    shared.kernel_thread_starts();
    shared.carriers_started.add_shared(1);
    let started = spawn_kernel_thread(main, carrier.cast());
    if started.is_err() {
        p.set_owner(std::ptr::null_mut());
        shared.free_carriers.lock().push(CarrierPtr(carrier));
        shared.kernel_thread_ends();
        // SAFETY: the count taken above; the caller holds another.
        unsafe { Arc::decrement_strong_count(home) };
    }
    started
}

/// The kernel's time slice of a thread that holds a processor or hands one on: short, so that it runs soon after
/// it wakes even when stuck threads compute on every core. A stuck thread gets the kernel's default back.
pub(crate) const SLICE_NS: u64 = 200_000;

/// Lets the kernel wake this thread when its time comes, not up to 50 µs later, and run it soon then.
pub(crate) fn be_prompt() {
    sys::set_time_slice(0, SLICE_NS);
    // SAFETY: a plain system call on the calling thread; a failure leaves the default.
    unsafe { libc::prctl(libc::PR_SET_TIMERSLACK, 1_u64) };
}

/// The first thing on a carrier's kernel thread. Returns the carrier.
///
/// # Safety
///
/// `argument` is what [`start`] passed to the kernel thread this runs on.
pub(crate) unsafe fn enter_carrier(argument: *mut c_void) -> *const Carrier {
    let carrier = argument.cast::<Carrier>();
    // SAFETY: the record was made for this thread and lives as long as the runtime.
    let record = unsafe { &*carrier };
    // SAFETY: this thread holds a reference to the runtime.
    let shared = unsafe { &*record.home.cast::<Shared>() };
    // ORDER: Relaxed: read by the monitor as a number.
    record.tid.store(sys::gettid(), Ordering::Relaxed);
    note_start(sys::gettid());
    be_prompt();
    record.blocked_signals.set(sys::blocked_signals());
    // SAFETY: on the carrier's own kernel thread; `base` is the first field.
    if unsafe { CarrierBase::attach(carrier.cast()) }.is_err() {
        crate::task::fatal("brigade: no memory for the signal stack of a carrier");
    }
    shared.registry.lock().push(CarrierPtr(carrier));
    carrier
}

/// The last thing on a carrier's kernel thread.
///
/// # Safety
///
/// As [`enter_carrier`]; the carrier has no processor and runs no thread. No reference to the record or the
/// runtime is used afterwards: both may be gone before this returns.
pub(crate) unsafe fn leave_carrier(carrier: *mut Carrier) {
    // SAFETY: attached by `enter_carrier` on this kernel thread; the record is alive until it is in the free list.
    let home = unsafe {
        CarrierBase::detach(carrier.cast());
        (*carrier).home.cast::<Shared>()
    };
    // SAFETY: this thread holds a reference to the runtime until the end of `end_kernel_thread`.
    unsafe {
        (*home).registry.lock().retain(|other| other.0 != carrier);
        (*home).free_carriers.lock().push(CarrierPtr(carrier));
    }
    end_kernel_thread(home);
}

/// The kernel's numbers of all carriers and monitors of the process.
static KERNEL_THREADS: Lock<Vec<u32>> = Lock::new(Vec::new());

/// By a carrier or a monitor that starts.
pub(crate) fn note_start(tid: u32) {
    KERNEL_THREADS.lock().push(tid);
}

/// By a carrier or a monitor that ends.
fn note_end(tid: u32) {
    KERNEL_THREADS.lock().retain(|other| *other != tid);
}

/// The kernel's numbers of the threads that belong to runtimes: they run green threads, or wait for one to run.
#[must_use]
pub fn kernel_threads() -> Vec<u32> {
    KERNEL_THREADS.lock().clone()
}

/// Before a fork.
pub(crate) fn lock_for_fork() {
    KERNEL_THREADS.acquire();
}

/// After a fork, in the parent and in the child; there no such thread exists.
///
/// # Safety
///
/// The caller has called [`lock_for_fork`].
pub(crate) unsafe fn unlock_after_fork(in_child: bool) {
    // SAFETY: the caller's contract.
    unsafe { KERNEL_THREADS.release() };
    if in_child {
        KERNEL_THREADS.lock().clear();
    }
}

/// The last thing a kernel thread of a runtime does.
pub(crate) fn end_kernel_thread(home: *const Shared) {
    note_end(sys::gettid());
    // SAFETY: this thread holds the reference that was counted when it was started. It lets go only after it
    // has said that it ends.
    unsafe {
        (*home).kernel_thread_ends();
        Arc::decrement_strong_count(home);
    }
}

/// Starts a detached kernel thread.
pub(crate) fn spawn_kernel_thread(
    main: extern "C" fn(*mut c_void) -> *mut c_void,
    argument: *mut c_void,
) -> io::Result<()> {
    // SAFETY: zero is a valid place-holder for the attributes until they are initialised.
    let mut attributes: libc::pthread_attr_t = unsafe { std::mem::zeroed() };
    let mut thread: libc::pthread_t = 0;
    // SAFETY: the attributes are initialised before use and destroyed after; the stack size is a multiple of
    // the page size above the minimum; `main` accepts the argument.
    let code = unsafe {
        libc::pthread_attr_init(&mut attributes);
        libc::pthread_attr_setstacksize(&mut attributes, CARRIER_STACK);
        libc::pthread_attr_setdetachstate(&mut attributes, libc::PTHREAD_CREATE_DETACHED);
        let code = libc::pthread_create(&mut thread, &attributes, main, argument);
        libc::pthread_attr_destroy(&mut attributes);
        code
    };
    if code == 0 {
        Ok(())
    } else {
        Err(io::Error::from_raw_os_error(code))
    }
}
