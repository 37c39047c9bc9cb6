//! What a channel takes: a million of them must fit.

use std::alloc::{GlobalAlloc, Layout, System};
use std::cell::Cell;

use brigade::sync::channel::{Receiver, Select, Sender, bounded, unbounded};

thread_local! {
    /// Bytes that the thread has allocated and not given back.
    static BYTES: Cell<isize> = const { Cell::new(0) };
}

struct Counting;

// SAFETY: passes on to the system's allocator, whose contract is the same.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() + layout.size() as isize));
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        let _ = BYTES.try_with(|bytes| bytes.set(bytes.get() - layout.size() as isize));
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

fn bytes() -> isize {
    BYTES.get()
}

/// A message that was claimed is read after all others.
#[test]
fn blocks_are_given_back_by_their_last_reader() {
    const MESSAGES: usize = 100;
    for claimed in [0, 1, 15, 29, 30, 31, MESSAGES - 1] {
        let before = bytes();
        let (sender, receiver) = unbounded();
        for n in 0..MESSAGES {
            sender.send(n).expect("the receiver stays");
        }
        for n in 0..claimed {
            assert_eq!(receiver.recv(), Ok(n));
        }
        let mut select = Select::new();
        select.recv(&receiver);
        let operation = select.select();
        for n in claimed + 1..MESSAGES {
            assert_eq!(receiver.recv(), Ok(n));
        }
        assert_eq!(operation.recv(&receiver), Ok(claimed));
        drop(select);
        drop((sender, receiver));
        assert_eq!(bytes(), before, "claimed {claimed}: a block is left");
    }
}

#[test]
fn a_million_channels_take_less_than_256_bytes_each_and_give_them_back() {
    const CHANNELS: isize = 1_000_000;
    type Make = fn() -> (Sender<u64>, Receiver<u64>);
    let kinds: [(&str, Make); 3] = [
        ("bounded(0)", || bounded(0)),
        ("bounded(1)", || bounded(1)),
        ("unbounded", unbounded),
    ];
    for (name, make) in kinds {
        let mut channels = Vec::with_capacity(CHANNELS as usize);
        let before = bytes();
        channels.extend((0..CHANNELS).map(|_| make()));
        let each = (bytes() - before) / CHANNELS;
        assert!(each < 256, "{name}: {each} bytes");
        assert_eq!(size_of_val(&channels[0]), 32);
        channels.clear();
        assert_eq!(bytes(), before, "{name}: memory is not given back");
        eprintln!("{name}: {each} bytes");
    }
}
