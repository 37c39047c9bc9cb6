//! The only door from the experiments to green threads.
//!
//! It holds exactly the calls that the experiments need, so that a change of the runtime's API ends
//! here. For now they stand on kernel threads, with all counters at zero: the experiments compile
//! and run, and their premises ("the green threads really switched") rightly do not hold.

use std::io;
use std::thread;
use std::time::Instant;

use crate::experiment::ArmError;

/// How green threads map to kernel threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Model {
    ManyToMany,
    ManyToOne,
    OneToOne,
}

/// Counters of a runtime.
#[derive(Clone, Copy, Debug, Default)]
pub(crate) struct Counts {
    pub(crate) spawned: u64,
    pub(crate) switches: u64,
}

/// A runtime of its own for one arm.
pub(crate) struct Green;

impl Green {
    /// Starts a runtime of `model` with `workers` processors.
    ///
    /// # Errors
    ///
    /// Skipped if the machine gets another model, failed if the runtime cannot be built.
    pub(crate) fn start(_model: Model, _workers: usize) -> Result<Self, ArmError> {
        Ok(Self)
    }

    /// Runs `f` on a green thread and waits for it.
    pub(crate) fn run<T: Send + 'static>(&self, f: impl FnOnce() -> T + Send + 'static) -> T {
        match thread::spawn(f).join() {
            Ok(value) => value,
            Err(payload) => std::panic::resume_unwind(payload),
        }
    }

    pub(crate) fn counts(&self) -> Counts {
        Counts::default()
    }
}

pub(crate) type JoinHandle<T> = thread::JoinHandle<T>;

/// Starts a green thread from a green thread.
pub(crate) fn spawn<T: Send + 'static>(
    f: impl FnOnce() -> T + Send + 'static,
) -> io::Result<JoinHandle<T>> {
    thread::Builder::new().spawn(f)
}

pub(crate) fn yield_now() {
    thread::yield_now();
}

pub(crate) fn park() {
    thread::park();
}

pub(crate) fn sleep_until(due: Instant) {
    thread::sleep(due.saturating_duration_since(Instant::now()));
}
