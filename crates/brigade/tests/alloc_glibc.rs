//! glibc's allocator, whose cache stays with the kernel thread while green threads come and go.

mod common;

use common::{Count, allocation, child, hop, memory, migrating};

const PARKED: usize = 10_000;

/// What a parked thread may hold on glibc's heap: its bookkeeping and its dtv, but no cache. A cache of its own would
/// keep the blocks that the thread freed, about 7.8 kB of them.
const HEAP_BYTES_MAX: usize = 2048;

#[test]
fn blocks_stay_intact_under_migration_and_cross_thread_frees() {
    allocation::blocks_stay_intact_under_migration_and_cross_thread_frees();
}

#[test]
fn a_parked_thread_keeps_no_malloc_cache() {
    let ended = child::run("a_parked_thread_keeps_no_malloc_cache", &[], || {
        let growth = allocation::growth_per_parked_thread(PARKED, memory::allocated_bytes);
        assert!(
            growth <= HEAP_BYTES_MAX,
            "each parked thread holds {growth} bytes of the heap"
        );
    });
    ended.assert_success();
}

#[test]
fn a_buffer_allocated_on_one_kernel_thread_is_freed_on_another_many_times_over() {
    static FREED: Count = Count::new();
    migrating(200, |index| {
        for round in 0..50 {
            let buffer = vec![index as u8; 64 + round * 40];
            hop();
            assert!(buffer.iter().all(|&byte| byte == index as u8));
            drop(buffer);
            FREED.up();
        }
    });
    assert_eq!(FREED.get(), 200 * 50);
}
