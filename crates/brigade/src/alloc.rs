//! Memory allocators on green threads.
//!
//! An allocator that keeps a cache per thread would keep one per green thread. For the C library's own malloc,
//! which `std` uses unless told otherwise, Brigade takes care of that by itself. For other allocators wrap them
//! in [`CarrierAlloc`].

pub use brigade_context::CarrierAlloc;
