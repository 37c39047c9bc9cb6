//! jemalloc as the global allocator: behind `CarrierAlloc` it sees kernel threads only, so green threads have no cache.

mod common;

use brigade::alloc::CarrierAlloc;
use common::{allocation, child, memory};

#[global_allocator]
static ALLOCATOR: CarrierAlloc<tikv_jemallocator::Jemalloc> =
    CarrierAlloc::new(tikv_jemallocator::Jemalloc);

const PARKED: usize = 5000;

/// What a parked thread may keep resident: the pages of its stack and its thread-local block, and its bookkeeping. A
/// cache of jemalloc per thread takes about 48 kB after the few allocations of the check.
const RESIDENT_BYTES_MAX: usize = 20 * 1024;

#[test]
fn blocks_stay_intact_under_migration_and_cross_thread_frees() {
    allocation::blocks_stay_intact_under_migration_and_cross_thread_frees();
}

#[test]
fn a_parked_thread_keeps_no_cache_of_the_allocator() {
    let ended = child::run(
        "a_parked_thread_keeps_no_cache_of_the_allocator",
        &[],
        || {
            let growth = allocation::growth_per_parked_thread(PARKED, memory::resident_bytes);
            assert!(
                growth <= RESIDENT_BYTES_MAX,
                "each parked thread keeps {growth} bytes resident"
            );
        },
    );
    ended.assert_success();
}

#[test]
fn zeroed_and_grown_blocks_go_through_the_wrapper_intact() {
    common::migrating(100, |index| {
        let mut grown = vec![0_u8; 4096];
        for round in 0..20 {
            common::hop();
            assert!(
                grown.iter().all(|&byte| byte == 0),
                "a zeroed block was not zero"
            );
            grown.resize(4096 + index * 16 + round * 512, 0);
        }
        let aligned = Box::new(Aligned([index as u8; 256]));
        common::hop();
        assert!(std::ptr::from_ref(&*aligned).is_aligned());
        assert!(aligned.0.iter().all(|&byte| byte == index as u8));
    });
}

/// A type that asks for more than the allocator's usual alignment.
#[repr(align(256))]
struct Aligned([u8; 256]);
