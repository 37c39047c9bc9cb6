//! What a channel takes: a million of them must fit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::sync::atomic::{AtomicUsize, Ordering};

use brigade::sync::channel::{Receiver, Sender, bounded, unbounded};

/// Bytes that are allocated.
static BYTES: AtomicUsize = AtomicUsize::new(0);

struct Counting;

// SAFETY: passes on to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // ORDER: Relaxed: read by the one thread of the test that allocates.
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        // ORDER: Relaxed: as in `alloc`.
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn bytes() -> usize {
    // ORDER: Relaxed: as in `alloc`.
    BYTES.load(Ordering::Relaxed)
}

/// One test, so that no other one allocates meanwhile.
#[test]
fn a_million_channels_take_less_than_256_bytes_each_and_give_them_back() {
    const CHANNELS: usize = 1_000_000;
    let kinds: [(&str, fn() -> (Sender<u64>, Receiver<u64>)); 3] = [
        ("bounded(0)", || bounded(0)),
        ("bounded(1)", || bounded(1)),
        ("unbounded", unbounded),
    ];
    for (name, make) in kinds {
        let mut channels = Vec::with_capacity(CHANNELS);
        let before = bytes();
        channels.extend((0..CHANNELS).map(|_| make()));
        let each = (bytes() - before) / CHANNELS;
        eprintln!("{name}: {each} bytes");
        assert!(each < 256, "{name}: {each} bytes");
        assert_eq!(size_of_val(&channels[0]), 32);
        channels.clear();
        assert!(bytes() <= before, "{name}: memory is not given back");
    }
}
