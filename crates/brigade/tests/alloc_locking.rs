//! The scheduler gets the lock of an allocator that waits through the hooks, and is not entered from inside it.

mod common;

use common::locking::{Locking, allocate_and_sleep_everywhere};

#[global_allocator]
static ALLOCATOR: Locking = Locking::new();

#[test]
fn threads_of_both_kinds_allocate_through_a_lock_of_std() {
    allocate_and_sleep_everywhere();
}
