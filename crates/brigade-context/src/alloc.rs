//! An allocator whose caches belong to carriers, not to green threads.
//!
//! Allocators keep caches in thread-locals. With one TLS block per green thread each of a million threads
//! would grow its own. glibc's two words travel with the kernel thread at each switch; for any other
//! global allocator, [`CarrierAlloc`] makes each call with the kernel thread's own block.

use crate::carrier::on_carrier;
use core::alloc::{GlobalAlloc, Layout};

/// Wraps a global allocator that is not glibc's, so that its thread caches stay with the carriers.
///
/// On a green thread each call costs two changes of the thread pointer more (about 20 ns); elsewhere one
/// comparison. With the system allocator it is not needed. It does not cover C code's own `malloc`.
///
/// ```
/// use brigade_context::CarrierAlloc;
/// use std::alloc::System;
///
/// // In a real program: mimalloc, jemalloc, ...
/// #[global_allocator]
/// static ALLOCATOR: CarrierAlloc<System> = CarrierAlloc::new(System);
///
/// assert_eq!(vec![1, 2, 3].len(), 3);
/// ```
#[derive(Debug, Default)]
pub struct CarrierAlloc<A> {
    inner: A,
}

impl<A> CarrierAlloc<A> {
    /// Wraps `inner`.
    pub const fn new(inner: A) -> CarrierAlloc<A> {
        CarrierAlloc { inner }
    }
}

// SAFETY: every call is passed on unchanged to an allocator that fulfils the contract; on another TLS
// block, which an allocator must expect since memory may be freed by any thread.
unsafe impl<A: GlobalAlloc> GlobalAlloc for CarrierAlloc<A> {
    #[inline]
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        on_carrier(|| unsafe { self.inner.alloc(layout) })
    }

    #[inline]
    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        on_carrier(|| unsafe { self.inner.dealloc(memory, layout) });
    }

    #[inline]
    unsafe fn alloc_zeroed(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        on_carrier(|| unsafe { self.inner.alloc_zeroed(layout) })
    }

    #[inline]
    unsafe fn realloc(&self, memory: *mut u8, layout: Layout, size: usize) -> *mut u8 {
        // SAFETY: the caller's contract.
        on_carrier(|| unsafe { self.inner.realloc(memory, layout, size) })
    }
}
