//! A global allocator with a lock of std: the scheduler itself allocates, and so waits for that lock, and wakes green
//! threads that wait for it, from inside.

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::{Mutex, PoisonError};
use std::time::Duration;

use brigade::runtime::Builder;

use super::Watch;

/// The system's allocator, one caller at a time, with the lock held long enough that others wait for it.
pub(crate) struct Locking(Mutex<usize>);

impl Locking {
    pub(crate) const fn new() -> Locking {
        Locking(Mutex::new(0))
    }
}

// SAFETY: passes on to the system's allocator, which keeps the contract.
unsafe impl GlobalAlloc for Locking {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        let mut calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        *calls += 1;
        (0..200).for_each(|_| std::hint::spin_loop());
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, memory: *mut u8, layout: Layout) {
        let _calls = self.0.lock().unwrap_or_else(PoisonError::into_inner);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(memory, layout) }
    }
}

/// Green threads allocate, and sleep, for which the scheduler keeps timers in a heap that grows; so do kernel threads,
/// but for the timers.
fn allocate_and_sleep(index: usize) {
    for round in 0..150 {
        black_box(vec![round; index % 7 + 1]);
        if (round + index).is_multiple_of(3) {
            std::thread::sleep(Duration::from_micros(20));
        }
    }
}

/// Runs such threads of both kinds on runtimes with one and four workers.
pub(crate) fn allocate_and_sleep_everywhere() {
    for workers in [1, 4] {
        let _watch = Watch::new("threads that allocate");
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        let greens: Vec<_> = (0..200)
            .map(|index| runtime.spawn(move || allocate_and_sleep(index)))
            .collect();
        let kernels: Vec<_> = (0..2)
            .map(|index| std::thread::spawn(move || allocate_and_sleep(index)))
            .collect();
        for thread in greens {
            thread.join().expect("no panic");
        }
        for thread in kernels {
            thread.join().expect("no panic");
        }
    }
}
