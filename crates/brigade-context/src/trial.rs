//! The live trial at the end of the self-check.
//!
//! A block is built and run on the calling kernel thread: the switch there and back, initial values of
//! thread-locals, errno, malloc, a thread-local with a destructor, floating point control.

use crate::arch::{self, Context};
use crate::stack::{self, DEFAULT_STACK_SIZE, SizeClass, Slot};
use crate::support::{Unsupported, UnsupportedKind};
use crate::{prepare, retire, run_destructors, switch};
use core::cell::Cell;
use core::ffi::c_void;

/// What the caller's thread-local holds, and what a new thread must find in it.
const MARK_INITIAL: u64 = 0x0b71_9ade_0000_0001;
const MARK_CALLER: u64 = 0x0b71_9ade_0000_0002;

thread_local! {
    static MARK: Cell<u64> = const { Cell::new(MARK_INITIAL) };
}

/// Shared by the two sides of the trial.
struct Trial {
    caller: Context,
    green: Context,
    thread_pointer: usize,
    failure: Option<&'static str>,
    destructor_runs: u32,
    rounds: u32,
}

/// Runs the trial.
pub(crate) fn run() -> Result<(), Unsupported> {
    let class = SizeClass::for_stack(DEFAULT_STACK_SIZE).map_err(resources)?;
    stack::reserve(class, 1).map_err(resources)?;
    let mut slots = Vec::new();
    let acquired = stack::acquire(class, &mut slots, 1).map_err(resources);
    let Some(mut slot) = slots.pop() else {
        stack::unreserve(class, 1);
        return acquired.and(Err(failed("no slot came out of the pool")));
    };
    let outcome = run_on(&mut slot);
    stack::release(class, core::iter::once(slot));
    stack::unreserve(class, 1);
    outcome
}

fn resources(error: std::io::Error) -> Unsupported {
    Unsupported::new(UnsupportedKind::Resources, error.to_string())
}

fn failed(what: &str) -> Unsupported {
    Unsupported::new(
        UnsupportedKind::TrialFailed,
        format!("the trial thread failed: {what}"),
    )
}

fn run_on(slot: &mut Slot) -> Result<(), Unsupported> {
    let mut trial = Trial {
        caller: Context::empty(),
        green: Context::empty(),
        thread_pointer: slot.tp(),
        failure: None,
        destructor_runs: 0,
        rounds: 0,
    };
    let before = MARK.replace(MARK_CALLER);
    let own_tp = arch::thread_pointer();
    for _ in 0..2 {
        let shared = &raw mut trial;
        // SAFETY: the slot is ours and idle; the check has learnt the block. The trial thread only runs
        // while this frame waits in `switch`, and ends by switching back for good.
        unsafe {
            (*shared).green = prepare(slot, entry, shared.cast()).map_err(resources)?;
            while (*shared).rounds % 3 != 2 {
                (*shared).rounds += 1;
                switch(&raw mut (*shared).caller, &raw const (*shared).green);
            }
            (*shared).rounds += 1;
            if !retire(slot) {
                return Err(failed("its block was not clean afterwards"));
            }
        }
        if arch::thread_pointer() != own_tp || MARK.get() != MARK_CALLER {
            return Err(failed("the calling thread's own thread-locals changed"));
        }
    }
    MARK.set(before);
    match trial.failure {
        Some(what) => Err(failed(what)),
        None if trial.destructor_runs != 2 => Err(failed("a thread-local destructor did not run")),
        None => Ok(()),
    }
}

unsafe extern "C" fn count_destructor(trial: *mut c_void) {
    // SAFETY: registered below with the trial, which outlives the trial thread.
    unsafe { (*trial.cast::<Trial>()).destructor_runs += 1 };
}

unsafe extern "C" fn entry(trial: *mut ()) -> ! {
    let trial = trial.cast::<Trial>();
    // SAFETY: the caller waits in `switch`, so the trial is this side's alone; both switches go to the
    // context that the caller saved on its way here.
    unsafe {
        (*trial).failure = (*trial).failure.or(first_half(&*trial));
        switch(&raw mut (*trial).green, &raw const (*trial).caller);
        (*trial).failure = (*trial).failure.or(second_half(&*trial));
        run_destructors();
        switch(&raw mut (*trial).green, &raw const (*trial).caller);
    }
    unreachable!("a finished trial thread was resumed");
}

fn first_half(trial: &Trial) -> Option<&'static str> {
    if arch::thread_pointer() != trial.thread_pointer {
        return Some("wrong thread pointer");
    }
    if MARK.replace(7) != MARK_INITIAL {
        return Some("a thread-local did not have its initial value");
    }
    // SAFETY: libc's own address of this thread's errno; a malloc and free pair.
    unsafe {
        let errno = libc::__errno_location();
        if *errno != 0 {
            return Some("errno was not 0");
        }
        *errno = 42;
        let memory = libc::malloc(100).cast::<u8>();
        if memory.is_null() {
            return Some("malloc failed");
        }
        memory.write_bytes(1, 100);
        libc::free(memory.cast());
    }
    crate::tls::register_dtor(count_destructor, (&raw const *trial).cast_mut().cast())
        .then_some(())
        .map_or(Some("a thread-local destructor was refused"), |()| None)
}

fn second_half(trial: &Trial) -> Option<&'static str> {
    if arch::thread_pointer() != trial.thread_pointer || MARK.get() != 7 {
        return Some("thread-locals changed over a switch");
    }
    // SAFETY: libc's own address of this thread's errno.
    if unsafe { *libc::__errno_location() } != 42 {
        return Some("errno changed over a switch");
    }
    None
}
