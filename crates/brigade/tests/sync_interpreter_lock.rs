//! `brigade::sync::InterpreterLock` between green and kernel threads in any mix: exclusion, turns, release around what
//! blocks, and what others are told.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::mpsc;
use std::sync::{Arc, Mutex as StdMutex, PoisonError};
use std::time::Duration;

use brigade::diag::{DeadlockReport, DeadlockResponse, WaitReason, on_deadlock};
use brigade::runtime::{Builder, Runtime};
use brigade::sync::{InterpreterLock, Mutex};
use brigade_runtime::park::me;
use common::mixed::{
    everywhere, mixed, numbered, until_in_futex, waiting, where_computing_freezes_nobody,
};
use common::{Count, Watch, hop, migrating};

const SHORT: Duration = Duration::from_millis(1);
/// As good as no limit.
const AGES: Duration = Duration::from_secs(1_000_000);

fn runtime(workers: usize) -> Runtime {
    Builder::new().workers(workers).build().expect("a runtime")
}

/// A lock, how many threads are inside, and what they have done.
struct Engine {
    lock: InterpreterLock,
    inside: Count,
    done: Count,
}

impl Engine {
    fn new(interval: Duration) -> Arc<Engine> {
        Arc::new(Engine {
            lock: InterpreterLock::new().with_switch_interval(interval),
            inside: Count::new(),
            done: Count::new(),
        })
    }

    /// What only one thread does at a time.
    fn step(&self) {
        assert_eq!(self.inside.up(), 0, "somebody else is inside");
        self.done.up();
        self.inside.down();
    }
}

#[test]
fn nobody_else_is_inside_and_no_step_is_lost() {
    const GREEN: usize = 12;
    const KERNEL: usize = 3;
    const ROUNDS: usize = 200;
    everywhere(|runtime| {
        let engine = Engine::new(Duration::from_micros(20));
        let theirs = Arc::clone(&engine);
        mixed(runtime, GREEN, KERNEL, move |index| {
            for round in 0..ROUNDS {
                let inside = theirs.lock.enter();
                theirs.step();
                if (round + index).is_multiple_of(7) {
                    inside.released(brigade::thread::yield_now);
                }
                inside.tick();
                theirs.step();
            }
        });
        assert_eq!(engine.done.get(), 2 * (GREEN + KERNEL) * ROUNDS);
        assert!(!engine.lock.is_inside() && !me().holds_any());
        assert!(engine.lock.try_enter().is_some(), "nobody waits for it");
    });
}

#[test]
fn every_thread_gets_a_turn_beside_one_that_computes_and_ticks() {
    const GREEN: usize = 6;
    const KERNEL: usize = 2;
    where_computing_freezes_nobody(|runtime| {
        let engine = Engine::new(SHORT);
        let (theirs, started) = (Arc::clone(&engine), Arc::new(Count::new()));
        let starts = Arc::clone(&started);
        let computing = runtime.spawn(move || {
            let inside = theirs.lock.enter();
            starts.up();
            while theirs.done.get() < GREEN + KERNEL {
                inside.tick();
                std::hint::spin_loop();
            }
        });
        started.kernel_wait_for(1);
        let theirs = Arc::clone(&engine);
        mixed(runtime, GREEN, KERNEL, move |_| {
            let _inside = theirs.lock.enter();
            theirs.step();
        });
        computing.join().expect("no panic");
        let stats = engine.lock.stats();
        assert!(stats.forced_switches >= 1 && stats.requests >= stats.forced_switches);
        assert!(stats.switches >= (GREEN + KERNEL) as u64);
    });
}

#[test]
fn all_threads_that_compute_advance_by_turns() {
    const THREADS: usize = 5;
    const TURNS: usize = 4;
    where_computing_freezes_nobody(|runtime| {
        let engine = Engine::new(SHORT);
        let turns: Arc<Vec<Count>> = Arc::new((0..THREADS).map(|_| Count::new()).collect());
        let last = Arc::new(Count::new());
        let (theirs, counts) = (Arc::clone(&engine), Arc::clone(&turns));
        // Each computes until all have had their turns: one that is never served keeps all others here.
        mixed(runtime, THREADS - 1, 1, move |index| {
            let inside = theirs.lock.enter();
            while counts.iter().any(|turns| turns.get() < TURNS) {
                if last.get() != index + 1 {
                    last.set(index + 1);
                    counts[index].up();
                }
                inside.tick();
            }
        });
        assert!(engine.lock.stats().forced_switches >= ((TURNS - 1) * THREADS) as u64);
    });
}

#[test]
fn threads_are_served_in_the_order_in_which_they_came() {
    let _watch = Watch::new("an order");
    let engine = Engine::new(AGES);
    let order = Arc::new(StdMutex::new(Vec::new()));
    let inside = engine.lock.enter();
    let mut waiters = Vec::new();
    for index in 0..6 {
        let (theirs, order) = (Arc::clone(&engine), Arc::clone(&order));
        let (tid, handle) = numbered(move || {
            let inside = theirs.lock.enter();
            order.lock().unwrap().push(index);
            inside.tick();
        });
        // Who sleeps has its place.
        until_in_futex(tid);
        waiters.push(handle);
    }
    // The one that leaves and comes again is behind them.
    inside.released(|| ());
    order.lock().unwrap().push(6);
    drop(inside);
    for waiter in waiters {
        waiter.join().expect("no panic");
    }
    assert_eq!(*order.lock().unwrap(), [0, 1, 2, 3, 4, 5, 6]);
}

#[test]
fn a_wait_says_what_it_is_and_has_no_deadline() {
    where_computing_freezes_nobody(|runtime| {
        let lock = Arc::new(InterpreterLock::new().with_switch_interval(SHORT));
        let inside = lock.enter();
        let theirs = Arc::clone(&lock);
        let (record, handle) = waiting(runtime, move || drop(theirs.enter()));
        assert_eq!(record.wait.reason, WaitReason::InterpreterLock);
        assert!(!record.timed, "it waits for as long as it takes");
        drop(inside);
        handle.join().expect("no panic");
    });
}

#[test]
fn each_thread_that_has_the_lock_after_another_one_is_a_switch() {
    let lock = Arc::new(InterpreterLock::new());
    // One after the other, so that what a thread leaves behind is used again by the next.
    for switches in 0..10 {
        let theirs = Arc::clone(&lock);
        let twice = move || (0..2).for_each(|_| drop(theirs.enter()));
        std::thread::spawn(twice).join().expect("no panic");
        assert_eq!(lock.stats().switches, switches);
    }
}

#[test]
fn one_that_is_patient_asks_for_nothing_and_one_that_is_not_asks() {
    let _watch = Watch::new("requests");
    let runtime = runtime(2);
    let patient = Engine::new(AGES);
    let inside = patient.lock.enter();
    let theirs = Arc::clone(&patient);
    let (_, handle) = waiting(&runtime, move || drop(theirs.lock.enter()));
    (0..1000).for_each(|_| inside.tick());
    assert_eq!(patient.lock.stats().requests, 0);
    drop(inside);
    handle.join().expect("no panic");
    assert_eq!(patient.lock.stats().forced_switches, 0);

    let hasty = Engine::new(SHORT);
    let inside = hasty.lock.enter();
    let theirs = Arc::clone(&hasty);
    let (_, handle) = waiting(&runtime, move || drop(theirs.lock.enter()));
    while hasty.lock.stats().requests == 0 {
        std::thread::yield_now();
    }
    assert_eq!(hasty.lock.stats().forced_switches, 0, "not without a tick");
    inside.tick();
    assert_eq!(hasty.lock.stats().forced_switches, 1);
    assert!(hasty.lock.is_inside());
    drop(inside);
    handle.join().expect("no panic");
}

/// Runs `release` inside of an engine, and in it another thread that must be able to enter.
fn another_can_enter(release: impl Fn(&Engine, &mut dyn FnMut()) + Send) {
    let _watch = Watch::new("a release");
    let runtime = runtime(2);
    let engine = Engine::new(AGES);
    let theirs = Arc::clone(&engine);
    runtime.run(move || {
        release(&engine, &mut || {
            assert!(!engine.lock.is_inside());
            let theirs = Arc::clone(&theirs);
            let other = brigade::thread::spawn(move || {
                let _inside = theirs.lock.enter();
                theirs.step();
            });
            other.join().expect("no panic");
        });
        assert_eq!(engine.done.get(), 1);
        assert!(!engine.lock.is_inside());
    });
}

#[test]
fn another_thread_is_inside_while_one_is_released() {
    another_can_enter(|engine, other| {
        let inside = engine.lock.enter();
        inside.released(other);
        assert!(engine.lock.is_inside());
    });
}

#[test]
fn another_thread_is_inside_while_one_allows_threads() {
    another_can_enter(|engine, other| {
        let _inside = engine.lock.enter();
        InterpreterLock::allow_threads(other);
        assert!(engine.lock.is_inside());
    });
}

#[test]
fn another_thread_is_inside_while_one_declares_that_it_blocks() {
    another_can_enter(|engine, other| {
        let _inside = engine.lock.enter();
        brigade::blocking(other);
        assert!(engine.lock.is_inside());
    });
}

#[test]
fn declared_blocking_gives_up_all_locks_and_takes_all_again() {
    let first = InterpreterLock::new();
    let second = InterpreterLock::new();
    let outer = first.enter();
    let inner = second.enter();
    brigade::blocking(|| {
        assert!(!first.is_inside() && !second.is_inside());
        // What is given up already is not given up twice, nor taken too early.
        outer.released(|| brigade::blocking(|| assert!(!first.is_inside())));
        inner.tick();
        assert!(!first.is_inside() && !second.is_inside());
    });
    assert!(first.is_inside() && second.is_inside());
    drop(outer);
    assert!(!first.is_inside() && second.is_inside());
}

#[test]
fn a_guard_that_goes_away_while_it_is_released_is_not_taken_again() {
    let lock = InterpreterLock::new();
    let guard = lock.enter();
    std::thread::scope(|scope| {
        let (inside, is_inside) = mpsc::channel();
        let (go, is_to_go) = mpsc::channel::<()>();
        let other = &lock;
        scope.spawn(move || {
            let _inside = other.enter();
            inside.send(()).expect("the owner of the guard waits");
            let _ = is_to_go.recv();
        });
        brigade::blocking(move || {
            is_inside.recv().expect("the other thread enters");
            drop(guard);
        });
        assert!(lock.try_enter().is_none(), "it belongs to the other thread");
        drop(go);
    });
    assert!(!lock.is_inside() && lock.try_enter().is_some());
}

#[test]
fn a_lock_may_be_entered_inside_of_a_release() {
    let lock = InterpreterLock::new();
    let guard = lock.enter();
    guard.released(|| {
        let inner = lock.enter();
        assert!(lock.is_inside());
        drop(inner);
    });
    assert!(lock.is_inside());
}

#[test]
fn entering_twice_panics_with_the_place_and_leaves_the_first_guard() {
    let lock = InterpreterLock::new();
    let guard = lock.enter();
    let payload = catch_unwind(AssertUnwindSafe(|| drop(lock.enter()))).expect_err("it panics");
    let text = payload.downcast_ref::<String>().expect("a text");
    assert!(text.contains("deadlock") && text.contains("sync_interpreter_lock.rs"));
    assert!(lock.is_inside());
    drop(guard);
    assert!(lock.try_enter().is_some());
}

#[test]
fn a_panic_inside_gives_the_lock_back_and_poisons_nothing() {
    everywhere(|runtime| {
        let engine = Engine::new(SHORT);
        let theirs = Arc::clone(&engine);
        let panics = runtime.spawn(move || {
            let inside = theirs.lock.enter();
            inside.released(|| panic!("outside, and then inside again"));
        });
        panics.join().expect_err("it panicked");
        let theirs = Arc::clone(&engine);
        let next = runtime.spawn(move || {
            let _inside = theirs.lock.enter();
            theirs.step();
        });
        next.join().expect("no panic");
    });
}

#[test]
fn a_guard_works_on_another_kernel_thread_than_it_was_made_on() {
    static LOCK: InterpreterLock = InterpreterLock::new().with_switch_interval(SHORT);
    static STEPS: Count = Count::new();
    migrating(20, |_| {
        for _ in 0..5 {
            let inside = LOCK.enter();
            let seen = STEPS.get();
            hop();
            STEPS.set(seen + 1);
            inside.tick();
            inside.released(hop);
            assert!(LOCK.is_inside());
        }
    });
    assert_eq!(STEPS.get(), 100);
}

#[test]
fn a_guard_that_is_forgotten_may_outlive_its_lock() {
    std::thread::spawn(|| {
        let lock = Box::new(InterpreterLock::new());
        std::mem::forget(lock.enter());
        drop(lock);
        // It is taken up and down again, though nobody can see it any more.
        brigade::blocking(|| ());
    })
    .join()
    .expect("no panic");
}

#[test]
fn a_dump_shows_who_is_inside_and_who_waits() {
    let _watch = Watch::new("a dump");
    let runtime = runtime(2);
    let lock = Arc::new(InterpreterLock::new().with_name("the engine of the dump"));
    let inside = lock.enter();
    let theirs = Arc::clone(&lock);
    let (_, handle) = waiting(&runtime, move || drop(theirs.enter()));
    let threads = format!("{:?}", brigade::diag::threads());
    drop(inside);
    handle.join().expect("no panic");
    assert!(threads.contains("InterpreterLock"), "{threads}");
    assert!(!format!("{:?}", brigade::diag::threads()).contains("the engine of the dump"));
}

static REPORTS: StdMutex<Vec<DeadlockReport>> = StdMutex::new(Vec::new());

/// Collects reports from now on; the thread that closes a circle panics.
fn collect() {
    brigade::diag::lock_order(false);
    on_deadlock(|report| {
        let mut reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
        reports.push(report.clone());
        DeadlockResponse::PanicClosing
    });
}

/// How many reports are about a lock of this name.
fn about(name: &str) -> usize {
    let reports = REPORTS.lock().unwrap_or_else(PoisonError::into_inner);
    let names = |report: &&DeadlockReport| report.to_string().contains(name);
    reports.iter().filter(names).count()
}

#[test]
fn a_circle_with_a_mutex_is_reported_once_and_its_last_thread_panics() {
    let _watch = Watch::new("a circle");
    collect();
    let runtime = runtime(2);
    // The alarm rings again and again meanwhile: that must not be reported, nor hide anything.
    let interval = Duration::from_micros(50);
    let lock = InterpreterLock::new().with_switch_interval(interval);
    let lock = Arc::new(lock.with_name("of the circle"));
    let mutex = Arc::new(Mutex::new(()));
    let (tell, told) = mpsc::channel();
    let (theirs, wanted) = (Arc::clone(&lock), Arc::clone(&mutex));
    let inside = runtime.spawn(move || {
        let _inside = theirs.enter();
        told.recv().expect("the other one tells");
        while theirs.stats().requests == 0 {
            std::thread::yield_now();
        }
        drop(wanted.lock());
    });
    while lock.try_enter().is_some() {
        std::thread::yield_now();
    }
    let theirs = Arc::clone(&lock);
    let outside = runtime.spawn(move || {
        let _held = mutex.lock();
        tell.send(()).expect("the other one waits");
        drop(theirs.enter());
    });
    let panicked = [inside.join().is_err(), outside.join().is_err()];
    assert_eq!(panicked, [true, false], "the one that closes the circle");
    assert_eq!(about("InterpreterLock \"of the circle\""), 1);
}

#[test]
fn one_that_must_not_wait_leaves_somebody_who_keeps_time() {
    let _watch = Watch::new("a refusal");
    collect();
    let runtime = runtime(2);
    let lock = InterpreterLock::new().with_switch_interval(SHORT);
    let lock = Arc::new(lock.with_name("of the refusal"));
    let mutex = Arc::new(Mutex::new(()));
    let served = Arc::new(Count::new());
    let ready = Arc::new(Count::new());
    let is_ready = Arc::clone(&ready);

    let (theirs, wanted, counts) = (Arc::clone(&lock), Arc::clone(&mutex), Arc::clone(&served));
    let (say, is_inside) = mpsc::channel();
    let (tid, inside) = numbered(move || {
        let inside = theirs.enter();
        say.send(()).expect("the starter waits");
        is_ready.kernel_wait_for(1);
        drop(wanted.lock());
        // Nobody but the one that waits on can ask for the lock now.
        while counts.get() == 0 {
            inside.tick();
        }
    });
    is_inside.recv().expect("the holder tells");
    let (theirs, counts) = (Arc::clone(&lock), Arc::clone(&served));
    let (_, patient) = waiting(&runtime, move || {
        let _inside = theirs.enter();
        counts.up();
    });
    let theirs = Arc::clone(&lock);
    let closing = runtime.spawn(move || {
        let _held = mutex.lock();
        ready.up();
        until_in_futex(tid);
        drop(theirs.enter());
    });
    assert!(closing.join().is_err(), "it closed the circle");
    patient.join().expect("no panic");
    inside.join().expect("no panic");
    assert_eq!(about("of the refusal"), 1);
}
