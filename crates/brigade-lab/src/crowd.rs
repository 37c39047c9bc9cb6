//! Many threads that wait at once, for arms that look at a process while it has them.
//!
//! # Invariants
//!
//! 1. [`Crowd::gather`] returns when every thread of the crowd has begun and none has been released, so whoever looks
//!    between that and [`Crowd::dismiss`] sees all of them alive.
//! 2. A crowd that cannot be gathered whole leaves no thread waiting for ever in a process that goes on: the arm fails
//!    or is skipped, and its process ends.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::thread;
use std::time::Duration;

use crate::experiment::ArmError;
use crate::green;
use crate::probe;
use crate::together::{Handle, Kind, join_all};

/// The stack a C program's threads get on Linux unless it asks for another.
pub(crate) const KERNEL_STACK: usize = 8 << 20;

/// More than a waiting kernel thread takes, in bytes, to ask for before trying.
const KERNEL_THREAD: f64 = 40.0 * 1024.0;

/// More than a waiting green thread takes, in bytes, to ask for before trying.
const GREEN_THREAD: f64 = 6.0 * 1024.0;

/// What the threads of a crowd share with the one that counts them.
#[derive(Default)]
pub(crate) struct Roll {
    started: AtomicU64,
    released: AtomicBool,
}

impl Roll {
    /// What every thread does: report, and wait with `park` until released.
    fn attend(&self, park: impl Fn()) {
        // ORDER: Release pairs with the Acquire load in `here`.
        self.started.fetch_add(1, Ordering::Release);
        // ORDER: Acquire pairs with the Release store in `release`.
        while !self.released.load(Ordering::Acquire) {
            park();
        }
    }

    /// How many have begun.
    pub(crate) fn here(&self) -> u64 {
        // ORDER: Acquire pairs with the Release addition in `attend`.
        self.started.load(Ordering::Acquire)
    }

    fn release(&self) {
        // ORDER: Release pairs with the Acquire load in `attend`; the wake-up follows it.
        self.released.store(true, Ordering::Release);
    }
}

/// Threads that wait.
pub(crate) struct Crowd {
    roll: Arc<Roll>,
    handles: Vec<Handle<()>>,
}

impl Crowd {
    /// Starts `count` threads of `kind`, kernel threads with stacks of [`KERNEL_STACK`], and waits until all have
    /// begun. With a `name` they are called that and their number. Green ones: within [`Kind::host`].
    ///
    /// # Errors
    ///
    /// Skipped, with the limit that is in the way, if the machine cannot have so many.
    pub(crate) fn gather(kind: Kind, count: u32, name: Option<&str>) -> Result<Crowd, ArmError> {
        Crowd::with_stacks(kind, count, name, KERNEL_STACK)
    }

    /// As [`gather`](Crowd::gather), kernel threads with stacks of `stack_bytes`.
    pub(crate) fn with_stacks(
        kind: Kind,
        count: u32,
        name: Option<&str>,
        stack_bytes: usize,
    ) -> Result<Crowd, ArmError> {
        let each = match kind {
            Kind::Kernel => {
                probe::require_kernel_threads(count)?;
                KERNEL_THREAD
            }
            Kind::Green => GREEN_THREAD,
        };
        probe::require_memory(f64::from(count) * each)?;
        let mut crowd = Crowd {
            roll: Arc::default(),
            handles: Vec::with_capacity(count as usize),
        };
        for started in 0..count {
            let name = name.map(|name| format!("{name}{started}"));
            let handle =
                attend(kind, Arc::clone(&crowd.roll), name, stack_bytes).map_err(|error| {
                    ArmError::Skipped(format!("only {started} threads could start: {error}"))
                })?;
            crowd.handles.push(handle);
        }
        while crowd.alive() < u64::from(count) {
            match kind {
                Kind::Kernel => thread::sleep(Duration::from_millis(1)),
                Kind::Green => green::yield_now(),
            }
        }
        Ok(crowd)
    }

    /// How many are there.
    pub(crate) fn alive(&self) -> u64 {
        self.roll.here()
    }

    /// Lets all of them end, and waits for that.
    pub(crate) fn dismiss(self) -> Result<(), ArmError> {
        self.roll.release();
        for handle in &self.handles {
            match handle {
                Handle::Kernel(handle) => handle.thread().unpark(),
                Handle::Green(handle) => handle.thread().unpark(),
            }
        }
        join_all(self.handles).map(drop)
    }
}

fn attend(
    kind: Kind,
    roll: Arc<Roll>,
    name: Option<String>,
    stack_bytes: usize,
) -> std::io::Result<Handle<()>> {
    match kind {
        Kind::Kernel => {
            let mut builder = thread::Builder::new().stack_size(stack_bytes);
            if let Some(name) = name {
                builder = builder.name(name);
            }
            let thread = builder.spawn(move || roll.attend(thread::park))?;
            Ok(Handle::Kernel(thread))
        }
        Kind::Green => {
            let thread = green::spawn_named(name, move || roll.attend(green::park))?;
            Ok(Handle::Green(thread))
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_crowd_is_alive_until_it_is_dismissed() {
        let crowd = Crowd::gather(Kind::Kernel, 3, Some("crowd-")).unwrap();
        assert_eq!(crowd.alive(), 3);
        let running = |handle: &Handle<()>| match handle {
            Handle::Kernel(handle) => !handle.is_finished(),
            Handle::Green(_) => false,
        };
        assert!(crowd.handles.iter().all(running));
        crowd.dismiss().unwrap();
    }
}
