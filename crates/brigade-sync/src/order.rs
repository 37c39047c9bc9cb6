//! Lock order: which classes of locks are taken while which others are held.

use std::panic::Location;

use brigade_event::{LockTag, Mode};
use brigade_runtime::park::Entry;

/// Whether the order of locks is watched.
#[inline(always)]
#[must_use]
pub fn is_on() -> bool {
    false
}

/// The current thread, which holds others, is going to take a lock and may block for it.
#[cold]
pub fn before_lock(
    _me: &'static Entry,
    _tag: &LockTag,
    _mode: Mode,
    _site: &'static Location<'static>,
) {
}
