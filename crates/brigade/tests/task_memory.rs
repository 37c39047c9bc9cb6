//! What tasks cost in memory, and that the threads which poll them stay few.

mod common;

use std::alloc::{GlobalAlloc, Layout, System};
use std::future::pending;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{Arc, Mutex, mpsc};
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::task::spawn;
use brigade::thread;
use common::Watch;
use common::memory::resident_bytes;

/// What a task may cost beside its future.
const ALLOWED_BYTES: usize = 128;

/// The system's allocator, which counts.
struct Counting;

static BYTES: AtomicUsize = AtomicUsize::new(0);

// SAFETY: the system's allocator does all the work.
unsafe impl GlobalAlloc for Counting {
    unsafe fn alloc(&self, layout: Layout) -> *mut u8 {
        BYTES.fetch_add(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.alloc(layout) }
    }

    unsafe fn dealloc(&self, place: *mut u8, layout: Layout) {
        BYTES.fetch_sub(layout.size(), Ordering::Relaxed);
        // SAFETY: the caller's contract.
        unsafe { System.dealloc(place, layout) }
    }
}

#[global_allocator]
static ALLOCATOR: Counting = Counting;

/// A future of so many bytes that never ends.
async fn parked<const BYTES: usize>() {
    let ballast = [1_u8; BYTES];
    pending::<()>().await;
    std::hint::black_box(ballast);
}

/// Parks a million tasks; returns the bytes each takes, by the allocator and by the kernel.
fn cost<const BYTES_EACH: usize>(tasks: usize) -> (usize, usize) {
    let mut handles = Vec::with_capacity(tasks);
    // The queues take memory once.
    (0..tasks).for_each(|_| handles.push(spawn(async {})));
    handles.drain(..).for_each(|task| task.join().unwrap());
    let (allocated, resident) = (BYTES.load(Ordering::Relaxed), resident_bytes());
    (0..tasks).for_each(|_| handles.push(spawn(parked::<BYTES_EACH>())));
    while !is_idle() {
        thread::yield_now();
    }
    let cost = (
        (BYTES.load(Ordering::Relaxed) - allocated) / tasks,
        resident_bytes().saturating_sub(resident) / tasks,
    );
    handles.iter().for_each(|task| task.abort());
    handles
        .into_iter()
        .for_each(|task| assert!(task.join().unwrap_err().is_cancelled()));
    cost
}

/// Every poller sleeps.
fn is_idle() -> bool {
    let all = brigade::diag::threads();
    let mut pollers = all
        .iter()
        .filter(|info| info.thread.to_string().contains("task poller"));
    pollers.all(|info| info.state.to_string().contains("tasks"))
}

#[test]
fn a_parked_task_costs_its_future_and_at_most_128_bytes() {
    let _watch = Watch::new("a million parked tasks");
    let tasks = if cfg!(debug_assertions) {
        100_000
    } else {
        1_000_000
    };
    let runtime = Builder::new().workers(2).build().unwrap();
    let (small, resident) = runtime.run(|| cost::<8>(tasks));
    let future = size_of_val(&parked::<8>());
    assert!(
        small <= future + ALLOWED_BYTES,
        "{small} bytes for a future of {future}"
    );
    // The promise for a million is 450 MB.
    assert!(
        resident <= 450,
        "{resident} bytes resident for a future of {future}"
    );
    let (large, _) = runtime.run(|| cost::<1024>(tasks / 10));
    let future = size_of_val(&parked::<1024>());
    assert!(
        large <= future + ALLOWED_BYTES,
        "{large} bytes for a future of {future}"
    );
    eprintln!("{small} bytes allocated, {resident} resident; {large} for a future of {future}");
}

#[test]
fn pollers_end_when_there_are_too_many_and_stay_few() {
    let _watch = Watch::new("idle pollers");
    let runtime = Builder::new().workers(2).build().unwrap();
    runtime.run(|| {
        let (sender, receiver) = mpsc::channel::<()>();
        let receiver = Arc::new(Mutex::new(receiver));
        let blocked: Vec<_> = (0..100)
            .map(|_| {
                let receiver = Arc::clone(&receiver);
                spawn(async move { receiver.lock().unwrap().recv().is_ok() })
            })
            .collect();
        drop(sender);
        blocked
            .into_iter()
            .for_each(|task| assert!(!task.join().unwrap()));
    });
    let begin = Instant::now();
    let pollers = || {
        let all = brigade::diag::threads();
        all.iter()
            .filter(|info| info.thread.to_string().contains("task poller"))
            .count()
    };
    // Two for each processor; the other test has a runtime of its own.
    while pollers() > 8 {
        assert!(
            begin.elapsed() < Duration::from_secs(120),
            "{} pollers",
            pollers()
        );
        thread::yield_now();
    }
}
