//! fork.
use core::sync::atomic::{AtomicU32, Ordering};

static GENERATION: AtomicU32 = AtomicU32::new(0);

/// How many forks lie between the first process and this one.
pub fn fork_generation() -> u32 {
    // ORDER: Relaxed: changes only in a child, which has one thread then.
    GENERATION.load(Ordering::Relaxed)
}

/// Registers handlers that run around every fork.
pub fn on_fork(_prepare: fn(), _parent: fn(), _child: fn()) {}
