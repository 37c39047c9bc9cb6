//! An allocator with a lock of std behind `CarrierAlloc` runs as the kernel thread, where nothing may park.

mod common;

use brigade::alloc::CarrierAlloc;
use common::locking::{Locking, allocate_and_sleep_everywhere};

#[global_allocator]
static ALLOCATOR: CarrierAlloc<Locking> = CarrierAlloc::new(Locking::new());

#[test]
fn an_allocator_that_runs_as_the_kernel_thread_waits_as_the_kernel_thread() {
    allocate_and_sleep_everywhere();
}
