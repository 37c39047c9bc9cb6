//! A global allocator behind locks of Brigade: what watches their order may not allocate while they are held.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;

use brigade::diag::lock_order_stats;
use brigade::sync::Mutex;

use common::child;

/// Takes one lock inside the other for each call; for blocks of [`ODD`] bytes in the other order.
struct Nested {
    outer: Mutex<()>,
    inner: Mutex<()>,
}

const ODD: usize = 123_457;

#[global_allocator]
static ALLOCATOR: Nested = Nested {
    outer: Mutex::new(()).with_name("arena"),
    inner: Mutex::new(()).with_name("page"),
};

impl Nested {
    fn with<R>(&self, size: usize, f: impl FnOnce() -> R) -> R {
        let (first, second) = match size {
            ODD => (&self.inner, &self.outer),
            _ => (&self.outer, &self.inner),
        };
        let _first = first.lock();
        let _second = second.lock();
        f()
    }
}

// SAFETY: the system's allocator, called with the caller's arguments.
unsafe impl GlobalAlloc for Nested {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        self.with(layout.size(), || unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        self.with(layout.size(), || unsafe { System.dealloc(pointer, layout) });
    }
}

#[test]
fn an_inversion_inside_the_global_allocator_is_reported_without_allocating() {
    let test = "an_inversion_inside_the_global_allocator_is_reported_without_allocating";
    let ended = child::run(test, &[("BRIGADE_LOCK_ORDER", "1")], || {
        assert_eq!(lock_order_stats().reports, 0);
        black_box(vec![0_u8; ODD]);
        assert_eq!(lock_order_stats().reports, 1);
    });
    ended.assert_success();
    let reports = ended.stderr.matches("brigade: lock order: ").count();
    assert_eq!(reports, 1, "{}", ended.stderr);
    assert!(ended.stderr.contains("Mutex \"page\""));
}
