//! One million green threads alive at once.
//!
//! Takes about 5 GB of memory and is meant for release builds; debug builds ignore it.

mod common;

use std::sync::Arc;

use brigade::thread;
use common::{Count, Watch, memory};

const THREADS: usize = 1_000_000;

/// More than the threads need (one page each and their bookkeeping), in bytes.
const MEMORY_NEEDED: u64 = 7 << 30;

/// Memory that the kernel says is available, in bytes.
fn available_memory() -> u64 {
    let info = std::fs::read_to_string("/proc/meminfo").expect("/proc is mounted");
    let line = info
        .lines()
        .find(|line| line.starts_with("MemAvailable:"))
        .expect("the kernel reports this line");
    line.split_whitespace()
        .nth(1)
        .and_then(|kib| kib.parse::<u64>().ok())
        .expect("a number")
        * 1024
}

#[test]
#[cfg_attr(
    debug_assertions,
    ignore = "takes several gigabytes and minutes without optimisation"
)]
fn a_million_threads_are_alive_at_once_and_are_joined() {
    let available = available_memory();
    if available < MEMORY_NEEDED {
        println!("skipped: {available} bytes of memory are available, {MEMORY_NEEDED} are needed");
        return;
    }
    let _watch = Watch::new("a million threads");
    let before = memory::resident_bytes();
    let (alive, peak, sum) = brigade::run(|| {
        let (alive, released) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let handles: Vec<_> = (0..THREADS)
            .map(|number| {
                let (alive, released) = (Arc::clone(&alive), Arc::clone(&released));
                thread::spawn(move || {
                    alive.up();
                    while released.get() == 0 {
                        thread::park();
                    }
                    alive.down();
                    number
                })
            })
            .collect();
        alive.wait_for(THREADS);
        let peak = memory::resident_bytes();
        released.set(1);
        handles.iter().for_each(|handle| handle.thread().unpark());
        let sum: usize = handles
            .into_iter()
            .map(|handle| handle.join().expect("no panic"))
            .sum();
        (alive.get(), peak, sum)
    });
    println!(
        "{} bytes resident per thread",
        peak.saturating_sub(before) / THREADS
    );
    assert_eq!((alive, sum), (0, THREADS * (THREADS - 1) / 2));
}
