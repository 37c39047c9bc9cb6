//! An allocator behind a standard lock: the scheduler itself wakes green threads that wait for it.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::hint::black_box;
use std::sync::Mutex;

use brigade::runtime::Builder;
use common::Watch;

struct Locked(Mutex<()>);

#[global_allocator]
static ALLOCATOR: Locked = Locked(Mutex::new(()));

impl Locked {
    /// Calls `f` under the lock, for so long that others come to wait for it.
    fn with<R>(&self, f: impl FnOnce() -> R) -> R {
        let _guard = self.0.lock();
        for _ in 0..20 {
            std::hint::spin_loop();
        }
        f()
    }
}

// SAFETY: the system's allocator, called with the caller's arguments.
unsafe impl GlobalAlloc for Locked {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        // SAFETY: the caller's contract.
        self.with(|| unsafe { System.alloc(layout) })
    }

    unsafe fn dealloc(&self, pointer: *mut u8, layout: Layout) {
        // SAFETY: the caller's contract.
        self.with(|| unsafe { System.dealloc(pointer, layout) });
    }
}

#[test]
fn a_scheduler_that_allocates_wakes_those_who_wait_for_the_allocator() {
    const THREADS: usize = 64;
    const ROUNDS: usize = 300;
    let _watch = Watch::new("threads that allocate behind a lock");
    let runtime = Builder::new().workers(4).build().expect("a runtime");
    let threads: Vec<_> = (0..THREADS)
        .map(|_| {
            runtime.spawn(|| {
                let mut sum = 0;
                for round in 0..ROUNDS {
                    sum += black_box(Box::new(round)).wrapping_mul(1);
                    // Timers and new stacks make the scheduler allocate.
                    match round % 8 {
                        0 => std::thread::sleep(std::time::Duration::from_micros(50)),
                        1 => sum += brigade::thread::spawn(|| 0).join().expect("no panic"),
                        _ => {}
                    }
                }
                sum
            })
        })
        .collect();
    for thread in threads {
        let sum = thread.join().expect("no panic");
        assert_eq!(sum, ROUNDS * (ROUNDS - 1) / 2);
    }
}
