//! Nothing freezes: green threads that block in the kernel or compute without end cost the others nothing.
//!
//! Progress is counted, not timed: the offender lets go only after the others have counted far enough, so a run in
//! which they are frozen does not end, and the watch fails it.

mod common;

use std::io::{PipeReader, PipeWriter, Read, Write};
use std::sync::{Arc, Mutex};
use std::time::Duration;

use brigade::runtime::{Builder, Model, Runtime};
use brigade::thread::{self, JoinHandle};
use common::{Count, Watch};

/// How often the others must have run before the offender lets go.
const ENOUGH: usize = 2000;

/// The models that promise this; under many-to-one a thread that does not yield holds the only kernel thread.
const MODELS: [Model; 2] = [Model::ManyToMany, Model::OneToOne];

/// Runs `test` with one and with two workers, under each model that promises not to freeze.
fn on_each(test: impl Fn(&Runtime)) {
    for model in MODELS {
        for workers in [1, 2] {
            let _watch = Watch::new(&format!("{workers} workers under {model:?}"));
            let runtime = Builder::new()
                .model(model)
                .workers(workers)
                .build()
                .expect("a runtime");
            test(&runtime);
        }
    }
}

/// A thread that counts up and yields until `stop` is set.
fn ticker(runtime: &Runtime, ticks: &Arc<Count>, stop: &Arc<Count>) -> JoinHandle<()> {
    let (ticks, stop) = (Arc::clone(ticks), Arc::clone(stop));
    runtime.spawn(move || {
        while stop.get() == 0 {
            ticks.up();
            thread::yield_now();
        }
    })
}

/// Runs four tickers beside `offenders` threads that run `offend`, which must return once `ticks` is past [`ENOUGH`].
fn tick_beside(
    runtime: &Runtime,
    offenders: usize,
    offend: impl Fn(&Count) + Send + Sync + 'static,
) {
    let (ticks, stop) = (Arc::new(Count::new()), Arc::new(Count::new()));
    let offend = Arc::new(offend);
    let offenders: Vec<_> = (0..offenders)
        .map(|_| {
            let (offend, ticks) = (Arc::clone(&offend), Arc::clone(&ticks));
            runtime.spawn(move || offend(&ticks))
        })
        .collect();
    let tickers: Vec<_> = (0..4).map(|_| ticker(runtime, &ticks, &stop)).collect();
    offenders
        .into_iter()
        .for_each(|handle| handle.join().expect("no panic"));
    stop.set(1);
    tickers
        .into_iter()
        .for_each(|handle| handle.join().expect("no panic"));
    assert!(ticks.get() >= ENOUGH);
}

/// A thread that computes without a single call into the runtime.
fn compute_until_enough(ticks: &Count) {
    while ticks.get() < ENOUGH {
        std::hint::spin_loop();
    }
}

/// A pipe that a kernel thread writes to when `ticks` is past [`ENOUGH`].
fn read_until_enough(ticks: &Arc<Count>, mut reader: PipeReader, mut writer: PipeWriter) {
    let ticks = Arc::clone(ticks);
    let releaser = std::thread::spawn(move || {
        ticks.kernel_wait_for(ENOUGH);
        writer.write_all(&[1]).expect("the reader is there");
    });
    let mut byte = [0];
    reader.read_exact(&mut byte).expect("the writer writes");
    releaser.join().expect("no panic");
}

#[test]
fn one_busy_thread_does_not_freeze_the_others() {
    on_each(|runtime| tick_beside(runtime, 1, compute_until_enough));
}

#[test]
fn more_busy_threads_than_workers_do_not_freeze_the_others() {
    on_each(|runtime| tick_beside(runtime, 5, compute_until_enough));
}

/// Four tickers beside `readers` threads that block in read() on pipes nobody writes to before enough was counted.
fn tick_beside_blocked_reads(runtime: &Runtime, readers: usize) {
    let (ticks, stop) = (Arc::new(Count::new()), Arc::new(Count::new()));
    let blocked: Vec<_> = (0..readers)
        .map(|_| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let ticks = Arc::clone(&ticks);
            runtime.spawn(move || read_until_enough(&ticks, reader, writer))
        })
        .collect();
    let tickers: Vec<_> = (0..4).map(|_| ticker(runtime, &ticks, &stop)).collect();
    blocked
        .into_iter()
        .for_each(|handle| handle.join().expect("no panic"));
    stop.set(1);
    tickers
        .into_iter()
        .for_each(|handle| handle.join().expect("no panic"));
}

#[test]
fn one_undeclared_blocking_read_does_not_freeze_the_others() {
    on_each(|runtime| tick_beside_blocked_reads(runtime, 1));
}

#[test]
fn more_undeclared_blocking_reads_than_workers_do_not_freeze_the_others() {
    on_each(|runtime| tick_beside_blocked_reads(runtime, 8));
}

#[test]
fn declared_blocking_calls_do_not_freeze_the_others() {
    on_each(|runtime| {
        tick_beside(runtime, 8, |ticks| {
            brigade::blocking(|| compute_until_enough(ticks))
        });
    });
}

#[test]
fn a_busy_thread_does_not_keep_due_sleepers_from_waking() {
    on_each(|runtime| {
        let woken = Arc::new(Count::new());
        let seen = Arc::clone(&woken);
        let busy = runtime.spawn(move || {
            while seen.get() < 20 {
                std::hint::spin_loop();
            }
        });
        let sleeper = runtime.spawn(move || {
            for _ in 0..20 {
                thread::sleep(Duration::from_micros(200));
                woken.up();
            }
        });
        busy.join().expect("no panic");
        sleeper.join().expect("no panic");
    });
}

#[test]
fn a_busy_thread_does_not_keep_threads_from_being_spawned_and_joined() {
    on_each(|runtime| {
        let stop = Arc::new(Count::new());
        let seen = Arc::clone(&stop);
        let busy = runtime.spawn(move || {
            while seen.get() == 0 {
                std::hint::spin_loop();
            }
        });
        for number in 0..50 {
            assert_eq!(
                runtime
                    .spawn(move || thread::spawn(move || number).join().expect("no panic"))
                    .join()
                    .expect("no panic"),
                number
            );
        }
        stop.set(1);
        busy.join().expect("no panic");
    });
}

#[test]
fn a_thread_blocked_on_a_std_mutex_held_by_a_parked_thread_does_not_freeze_the_others() {
    on_each(|runtime| {
        let lock = Arc::new(Mutex::new(0));
        let locked = Arc::new(Count::new());
        let released = Arc::new(Count::new());
        let holder = {
            let (lock, locked, released) = (
                Arc::clone(&lock),
                Arc::clone(&locked),
                Arc::clone(&released),
            );
            runtime.spawn(move || {
                let mut guard = lock.lock().expect("not poisoned");
                locked.set(1);
                while released.get() == 0 {
                    thread::park();
                }
                *guard += 1;
            })
        };
        locked.kernel_wait_for(1);
        let waiters: Vec<_> = (0..4)
            .map(|_| {
                let lock = Arc::clone(&lock);
                runtime.spawn(move || *lock.lock().expect("not poisoned") += 1)
            })
            .collect();
        // The holder can be woken only if a processor is left for it.
        let others: Vec<_> = (0..20).map(|_| runtime.spawn(thread::yield_now)).collect();
        others
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
        released.set(1);
        holder.thread().unpark();
        holder.join().expect("no panic");
        waiters
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
        assert_eq!(*lock.lock().expect("not poisoned"), 5);
    });
}

#[test]
fn threads_that_only_yield_share_with_new_ones() {
    on_each(|runtime| {
        let (ticks, stop) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let tickers: Vec<_> = (0..8).map(|_| ticker(runtime, &ticks, &stop)).collect();
        for _ in 0..100 {
            runtime.spawn(|| ()).join().expect("no panic");
        }
        stop.set(1);
        tickers
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
    });
}

#[test]
fn a_thread_that_computes_after_blocking_does_not_hold_up_the_timers_of_its_processor() {
    let ended = common::child::run(
        "a_thread_that_computes_after_blocking_does_not_hold_up_the_timers_of_its_processor",
        &[],
        || {
            let runtime = brigade::runtime::Builder::new()
                .workers(1)
                .build()
                .expect("a runtime");
            let rung = std::sync::Arc::new(std::sync::atomic::AtomicBool::new(false));
            let bell = std::sync::Arc::clone(&rung);
            let sleeper = runtime.spawn(move || {
                brigade::thread::sleep(std::time::Duration::from_millis(400));
                // ORDER: Relaxed: the flag alone is looked at.
                bell.store(true, std::sync::atomic::Ordering::Relaxed);
            });
            let hog = runtime.spawn(move || {
                brigade::blocking(|| std::thread::sleep(std::time::Duration::from_millis(200)));
                // ORDER: Relaxed: the flag alone is looked at.
                while !rung.load(std::sync::atomic::Ordering::Relaxed) {
                    std::hint::spin_loop();
                }
            });
            hog.join().expect("no panic");
            sleeper.join().expect("no panic");
        },
    );
    ended.assert_success();
}
