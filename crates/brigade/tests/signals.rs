//! Signal handlers that interrupt green threads run with that thread's storage and leave it as it was.

mod common;

use std::cell::Cell;

use common::{Count, hop, migrating};

thread_local! {
    static NUMBER: Cell<usize> = const { Cell::new(0) };
    static INTERRUPTED: Cell<usize> = const { Cell::new(0) };
}

static HANDLED: Count = Count::new();

fn errno() -> i32 {
    // SAFETY: the pointer is this thread's errno and valid while the thread lives.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: i32) {
    // SAFETY: as in `errno`.
    unsafe { *libc::__errno_location() = value };
}

/// Writes to the storage of whatever thread it interrupts, as handlers do, and restores errno, as handlers must.
extern "C" fn handle(_signal: libc::c_int) {
    let saved = errno();
    set_errno(libc::EIO);
    INTERRUPTED.set(INTERRUPTED.get() + 1);
    HANDLED.up();
    set_errno(saved);
}

fn install(signal: libc::c_int, flags: libc::c_int) {
    let handler: extern "C" fn(libc::c_int) = handle;
    // SAFETY: an all-zero sigaction is valid; the handler only touches thread-locals without destructors, atomics
    // and errno.
    let result = unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = flags;
        libc::sigaction(signal, &raw const action, std::ptr::null_mut())
    };
    assert_eq!(result, 0);
}

/// Starts (or, with 0, stops) a timer that sends its signal over and over.
fn set_timer(which: libc::c_int, microseconds: libc::suseconds_t) {
    let interval = libc::timeval {
        tv_sec: 0,
        tv_usec: microseconds,
    };
    let timer = libc::itimerval {
        it_interval: interval,
        it_value: interval,
    };
    // SAFETY: the timer value is valid and the old one is not asked for.
    let result = unsafe { libc::setitimer(which, &raw const timer, std::ptr::null_mut()) };
    assert_eq!(result, 0);
}

/// Works until `signals` more signals were handled, checking its storage around each yield.
fn work_under_fire(index: usize, signals: usize) {
    let value = i32::try_from(index + 1).expect("a small number");
    NUMBER.set(index + 1);
    loop {
        set_errno(value);
        let block = vec![index; 100];
        hop();
        assert_eq!(NUMBER.get(), index + 1);
        assert_eq!(errno(), value);
        assert!(block.iter().all(|&number| number == index));
        if HANDLED.get() >= signals {
            return;
        }
    }
}

#[test]
fn timers_that_interrupt_everything_corrupt_nothing() {
    for (signal, timer) in [
        (libc::SIGALRM, libc::ITIMER_REAL),
        (libc::SIGPROF, libc::ITIMER_PROF),
    ] {
        for flags in [libc::SA_RESTART | libc::SA_ONSTACK, libc::SA_RESTART] {
            install(signal, flags);
            let enough = HANDLED.get() + 300;
            set_timer(timer, 500);
            migrating(100, move |index| work_under_fire(index, enough));
            set_timer(timer, 0);
        }
    }
}

#[test]
fn a_signal_raised_by_a_green_thread_is_handled_on_it_at_once() {
    for flags in [0, libc::SA_ONSTACK] {
        install(libc::SIGUSR1, flags);
        migrating(50, |_| {
            for round in 1..=10 {
                hop();
                // SAFETY: raise takes a number; the handler was installed above.
                let result = unsafe { libc::raise(libc::SIGUSR1) };
                assert_eq!(result, 0);
                assert!(
                    INTERRUPTED.get() >= round,
                    "the handler ran with another thread's storage"
                );
            }
        });
    }
}

#[test]
fn pthread_kill_reaches_the_calling_green_thread() {
    install(libc::SIGUSR2, libc::SA_ONSTACK);
    migrating(50, |_| {
        for round in 1..=10 {
            hop();
            // SAFETY: the calling thread is alive and the handler was installed above.
            let result = unsafe { libc::pthread_kill(libc::pthread_self(), libc::SIGUSR2) };
            assert_eq!(result, 0);
            assert!(
                INTERRUPTED.get() >= round,
                "the handler ran with another thread's storage"
            );
        }
    });
}

#[test]
fn the_signal_mask_can_be_read_on_a_green_thread() {
    migrating(10, |_| {
        hop();
        // SAFETY: an all-zero signal set is valid to be overwritten, and no new mask is given.
        let result = unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::pthread_sigmask(libc::SIG_BLOCK, std::ptr::null(), &raw mut mask)
        };
        assert_eq!(result, 0);
    });
}
