//! What the test binaries share: a runtime that migrates at every yield, checks in child processes, counters.
//!
//! Invariants the helpers keep for every test:
//!
//! 1. A test that says it migrates did: [`migrating`] fails when no thread was seen on a second kernel thread.
//! 2. Nothing hangs: every run is watched, and a run that does not end aborts (in process) or is killed (in a child)
//!    and fails. The limits are far above any honest duration and are never part of what a test asserts.
//! 3. What may abort the process runs in a child process.

#![allow(
    dead_code,
    reason = "each test binary uses its own part of this module"
)]

pub(crate) mod allocation;
pub(crate) mod child;
pub(crate) mod library;
pub(crate) mod locking;
pub(crate) mod memory;
pub(crate) mod mixed;
pub(crate) mod net;

use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::mpsc::{self, RecvTimeoutError};
use std::sync::{Arc, Mutex, MutexGuard, PoisonError};
use std::time::Duration;

use brigade::runtime::{Builder, Model, Runtime};

/// Every model a runtime can be built with.
pub(crate) const MODELS: [Model; 3] = [Model::ManyToMany, Model::ManyToOne, Model::OneToOne];

/// How long one watched run may take before it counts as hung, in seconds.
const HANG_AFTER_SECONDS: u64 = 300;

/// A counter that threads of every kind share.
#[derive(Debug)]
pub(crate) struct Count(AtomicUsize);

impl Count {
    pub(crate) const fn new() -> Count {
        Count(AtomicUsize::new(0))
    }

    /// Adds one and returns the value before.
    pub(crate) fn up(&self) -> usize {
        // ORDER: SeqCst, partner of every other access in this type: tests compare several counters with each other.
        self.0.fetch_add(1, Ordering::SeqCst)
    }

    /// Takes one away and returns the value before.
    pub(crate) fn down(&self) -> usize {
        // ORDER: SeqCst, as in `up`.
        self.0.fetch_sub(1, Ordering::SeqCst)
    }

    pub(crate) fn get(&self) -> usize {
        // ORDER: SeqCst, as in `up`.
        self.0.load(Ordering::SeqCst)
    }

    pub(crate) fn set(&self, value: usize) {
        // ORDER: SeqCst, as in `up`; whoever sees the value sees all that was written before it.
        self.0.store(value, Ordering::SeqCst);
    }

    /// Yields the green thread until the counter is at least `value`.
    pub(crate) fn wait_for(&self, value: usize) {
        while self.get() < value {
            hop();
        }
    }

    /// Gives the kernel thread away until the counter is at least `value`; for ordinary kernel threads.
    pub(crate) fn kernel_wait_for(&self, value: usize) {
        while self.get() < value {
            std::thread::yield_now();
        }
    }
}

/// Kernel thread id of the kernel thread that runs the caller.
pub(crate) fn gettid() -> i64 {
    // SAFETY: gettid takes no arguments and cannot fail.
    unsafe { libc::syscall(libc::SYS_gettid) }
}

static HOPS: Count = Count::new();
static MIGRATIONS: Count = Count::new();

/// Yields, and counts whether the green thread came back on another kernel thread.
pub(crate) fn hop() {
    let before = gettid();
    brigade::thread::yield_now();
    HOPS.up();
    if gettid() != before {
        MIGRATIONS.up();
    }
}

/// One migrating run at a time, so that the counters above belong to it.
static MIGRATING: Mutex<()> = Mutex::new(());

/// Makes the calling test the only migrating one of this process; a failed test does not spoil the next.
fn alone() -> MutexGuard<'static, ()> {
    MIGRATING.lock().unwrap_or_else(PoisonError::into_inner)
}

/// The runtime on which each yield and each wake puts a thread on the other of two processors.
pub(crate) fn migrating_runtime() -> Runtime {
    let runtime = Builder::new()
        .workers(2)
        .migrate_on_yield(true)
        .build()
        .expect("a runtime with two workers");
    assert_eq!(
        runtime.model(),
        Model::ManyToMany,
        "this machine cannot migrate threads; see `brigade doctor`"
    );
    runtime
}

/// Runs `body(0)`, ..., `body(threads - 1)` each on a green thread of its own, all alive together, on a runtime that
/// migrates at every yield; `body` calls [`hop`]. Fails if one of them panics, or if none was seen to migrate.
#[track_caller]
pub(crate) fn migrating(threads: usize, body: impl Fn(usize) + Send + Sync + 'static) {
    let _alone = alone();
    let runtime = migrating_runtime();
    migrating_on(&runtime, threads, body);
}

/// As [`migrating`], on a runtime that the caller keeps, so that stacks are used again by the next call.
#[track_caller]
pub(crate) fn migrating_on(
    runtime: &Runtime,
    threads: usize,
    body: impl Fn(usize) + Send + Sync + 'static,
) {
    let _watch = Watch::new("a migrating run");
    let (hops, migrations) = (HOPS.get(), MIGRATIONS.get());
    let body = Arc::new(body);
    let handles: Vec<_> = (0..threads)
        .map(|index| {
            let body = Arc::clone(&body);
            runtime.spawn(move || body(index))
        })
        .collect();
    let mut failed = 0;
    for handle in handles {
        failed += usize::from(handle.join().is_err());
    }
    assert_eq!(failed, 0, "of {threads} green threads, {failed} panicked");
    let (hops, migrations) = (HOPS.get() - hops, MIGRATIONS.get() - migrations);
    assert!(
        migrations > 0,
        "no thread migrated in {hops} yields: this run proves nothing"
    );
    eprintln!("{threads} threads, {hops} yields, {migrations} migrations");
}

/// Several migrating runs on one runtime, one after the other, that no other migrating run of the process disturbs.
pub(crate) fn alone_with_migrating_runtime(test: impl FnOnce(&Runtime)) {
    let _alone = alone();
    let runtime = migrating_runtime();
    test(&runtime);
}

/// Runs `test` on a fresh runtime of each model, watched.
pub(crate) fn on_each_model(test: impl Fn(&Runtime)) {
    for model in MODELS {
        on_model(model, &test);
    }
}

/// Runs `test` on a fresh runtime of `model`, watched.
pub(crate) fn on_model(model: Model, test: impl Fn(&Runtime)) {
    let _watch = Watch::new(&format!("a run under {model:?}"));
    eprintln!("model {model:?}");
    let runtime = Builder::new()
        .model(model)
        .build()
        .expect("a runtime of each model can be built");
    test(&runtime);
}

/// A run that must end: if the guard is not dropped in time, the process aborts with a message.
pub(crate) struct Watch {
    done: Option<mpsc::Sender<()>>,
}

impl Watch {
    pub(crate) fn new(what: &str) -> Watch {
        let (done, ended) = mpsc::channel();
        let what = what.to_owned();
        std::thread::spawn(move || {
            if ended.recv_timeout(Duration::from_secs(HANG_AFTER_SECONDS))
                == Err(RecvTimeoutError::Timeout)
            {
                eprintln!("{what} did not end within {HANG_AFTER_SECONDS} s: it hangs");
                std::process::abort();
            }
        });
        Watch { done: Some(done) }
    }
}

impl Drop for Watch {
    fn drop(&mut self) {
        drop(self.done.take());
    }
}
