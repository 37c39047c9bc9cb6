//! Cleans blocks that only a real thread end can clean.
use crate::stack::{self, SizeClass, Slot};

/// Cleans a slot with residue and releases it to the pool.
pub fn reap(class: SizeClass, slot: Slot) {
    stack::release(class, core::iter::once(slot));
}
