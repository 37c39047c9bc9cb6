//! A thread as a snapshot shows it.

use std::fmt;
use std::panic::Location;

use crate::{HeldLockReport, ThreadLabel, WaitReason, WaitReport};

/// The state of a thread.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum ThreadState {
    /// It was spawned and has not run yet.
    New,
    /// It could run, and is queued.
    Runnable,
    /// It runs.
    Running,
    /// It waits.
    Waiting(WaitReason),
    /// It has ended; a handle to it is left.
    Terminated,
}

impl fmt::Display for ThreadState {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            ThreadState::New => f.write_str("New"),
            ThreadState::Runnable => f.write_str("Runnable"),
            ThreadState::Running => f.write_str("Running"),
            ThreadState::Waiting(reason) => write!(f, "Waiting({reason})"),
            ThreadState::Terminated => f.write_str("Terminated"),
        }
    }
}

/// A thread as it was at one moment. Others went on meanwhile: two threads of one snapshot were looked at one after the
/// other.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadInfo {
    /// Number and name.
    pub thread: ThreadLabel,
    /// Whether it is a green thread.
    pub green: bool,
    /// What it did.
    pub state: ThreadState,
    /// What it waited for, if it waited.
    pub waits_for: Option<WaitReport>,
    /// The locks it held, in the order in which it took them.
    pub holds: Vec<HeldLockReport>,
    /// Where it was spawned; none for a kernel thread that Brigade did not start.
    pub spawned_at: Option<&'static Location<'static>>,
    /// How long ago it was spawned, or first waited through Brigade, in milliseconds.
    pub age_ms: u64,
    /// How often it was switched to.
    pub switches: u64,
}

impl ThreadInfo {
    /// A green thread that has just been spawned; the other fields are set one by one.
    #[must_use]
    pub fn new(thread: ThreadLabel, spawned_at: Option<&'static Location<'static>>) -> ThreadInfo {
        ThreadInfo {
            thread,
            green: true,
            state: ThreadState::New,
            waits_for: None,
            holds: Vec::new(),
            spawned_at,
            age_ms: 0,
            switches: 0,
        }
    }
}
