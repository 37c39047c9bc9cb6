//! Micro benchmarks of green threads alone: one worker, no rivals.
//!
//! All of them run inside one green thread of a runtime with one processor, so
//! that a figure is the cost of an operation and not of a wake-up across CPUs.
//! `cargo bench -p brigade-bench` runs them; a word after `--` filters. Sample sizes are fixed: left to
//! itself the harness may settle on one operation per sample, and then shows its own cold caches.

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::Duration;

use brigade::thread;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    let runtime = brigade::runtime::Builder::new().workers(1).build();
    runtime
        .expect("a runtime with one worker can be built")
        .run(divan::main);
}

/// A yield with nobody else to run.
#[divan::bench(sample_size = 1000)]
fn yield_alone() {
    thread::yield_now();
}

/// One round of a yield among `others` + 1 threads: as many switches.
#[divan::bench(args = [1, 10, 1000], sample_size = 100)]
fn yield_among(bencher: Bencher<'_, '_>, others: usize) {
    let stop = Arc::new(AtomicBool::new(false));
    let spin = |_| {
        let stop = stop.clone();
        thread::spawn(move || {
            // ORDER: Relaxed; nothing is published with the flag.
            while !stop.load(Ordering::Relaxed) {
                thread::yield_now();
            }
        })
    };
    let handles: Vec<_> = (0..others).map(spin).collect();
    bencher
        .counter(ItemsCount::new(others + 1))
        .bench_local(thread::yield_now);
    // ORDER: Relaxed; as above.
    stop.store(true, Ordering::Relaxed);
    join_all(handles);
}

/// Spawn one thread and join it.
#[divan::bench(sample_size = 1000)]
fn spawn_join() -> u64 {
    let handle = thread::spawn(|| black_box(1_u64));
    handle.join().expect("the thread does not panic")
}

/// Spawn many threads, then join them.
#[divan::bench(args = [10, 1000], sample_size = 10)]
fn spawn_join_many(bencher: Bencher<'_, '_>, threads: usize) {
    bencher
        .counter(ItemsCount::new(threads))
        .bench_local(|| join_all((0..threads).map(|_| thread::spawn(|| ())).collect()));
}

/// There and back: unpark the other thread, park until it unparks us.
#[divan::bench(sample_size = 1000)]
fn park_unpark(bencher: Bencher<'_, '_>) {
    let stop = Arc::new(AtomicBool::new(false));
    let main = thread::current();
    let echo = {
        let stop = stop.clone();
        thread::spawn(move || {
            loop {
                thread::park();
                // ORDER: Relaxed; the unpark before it orders the flag.
                if stop.load(Ordering::Relaxed) {
                    return;
                }
                main.unpark();
            }
        })
    };
    bencher.bench_local(|| {
        echo.thread().unpark();
        thread::park();
    });
    // ORDER: Relaxed; the unpark after it orders the flag.
    stop.store(true, Ordering::Relaxed);
    echo.thread().unpark();
    echo.join().expect("the thread does not panic");
}

/// Unpark oneself, then park: the token alone, no switch.
#[divan::bench(sample_size = 1000)]
fn park_with_token(bencher: Bencher<'_, '_>) {
    let me = thread::current();
    bencher.bench_local(|| {
        me.unpark();
        thread::park();
    });
}

/// Park with a deadline far away among `others` timers, woken at once by another thread:
/// one timer inserted, one cancelled, two switches.
#[divan::bench(args = [0, 1000], sample_size = 100)]
fn timer_insert_cancel(bencher: Bencher<'_, '_>, others: usize) {
    const FAR: Duration = Duration::from_secs(3600);
    let sleepers: Vec<_> = (0..others)
        .map(|_| thread::spawn(|| thread::park_timeout(FAR)))
        .collect();
    let stop = Arc::new(AtomicBool::new(false));
    let main = thread::current();
    let waker = {
        let stop = stop.clone();
        thread::spawn(move || {
            // ORDER: Relaxed; nothing is published with the flag.
            while !stop.load(Ordering::Relaxed) {
                main.unpark();
                thread::yield_now();
            }
        })
    };
    bencher.bench_local(|| thread::park_timeout(FAR));
    // ORDER: Relaxed; as above.
    stop.store(true, Ordering::Relaxed);
    waker.join().expect("the thread does not panic");
    sleepers.iter().for_each(|s| s.thread().unpark());
    join_all(sleepers);
}

fn join_all(handles: Vec<thread::JoinHandle<()>>) {
    for handle in handles {
        handle.join().expect("the thread does not panic");
    }
}
