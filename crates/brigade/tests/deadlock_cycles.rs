//! Threads that wait for each other in a circle are found when the circle closes, once, and nothing else is.

mod common;

use std::any::Any;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::atomic::{AtomicUsize, Ordering};
use std::sync::{
    Arc, Barrier, Mutex as StdMutex, MutexGuard as StdMutexGuard, Once, PoisonError, mpsc,
};
use std::time::Duration;

use brigade::diag::{
    AwaitedObject, DeadlockKind, DeadlockReport, DeadlockResponse, WaitReason, on_deadlock,
};
use brigade::runtime::{Builder, Model, Runtime};
use brigade::sync::{Event, Mutex, OnceLock, RwLock};
use brigade::thread;
use common::{Watch, child, on_each_model};

/// Reports of this process so far.
static REPORTS: StdMutex<Vec<DeadlockReport>> = StdMutex::new(Vec::new());

fn reports() -> StdMutexGuard<'static, Vec<DeadlockReport>> {
    REPORTS.lock().unwrap_or_else(PoisonError::into_inner)
}

/// Collects reports from now on; the thread that closes a circle panics, so that the others go on.
fn collect() {
    static ONCE: Once = Once::new();
    ONCE.call_once(|| {
        on_deadlock(|report| {
            reports().push(report.clone());
            DeadlockResponse::PanicClosing
        });
    });
}

/// The reports about a lock of this name.
fn about(name: &str) -> Vec<DeadlockReport> {
    let all = reports();
    let names = |report: &DeadlockReport| report.to_string().contains(&format!("{name:?}"));
    all.iter().filter(|report| names(report)).cloned().collect()
}

fn is_deadlock(payload: &(dyn Any + Send)) -> bool {
    let text = payload.downcast_ref::<String>();
    text.is_some_and(|text| text.starts_with("deadlock: "))
}

/// Threads in a circle: each takes its lock, and when all have, wants the next one's. Returns how many panicked.
fn circle(runtime: &Runtime, threads: usize, name: &'static str) -> usize {
    let locks: Arc<Vec<_>> = Arc::new(
        (0..threads)
            .map(|n| Mutex::new(n).with_name(name).with_rank(n as u16 + 1))
            .collect(),
    );
    let all_hold = Arc::new(Barrier::new(threads));
    let handles: Vec<_> = (0..threads)
        .map(|n| {
            let (locks, all_hold) = (Arc::clone(&locks), Arc::clone(&all_hold));
            runtime.spawn(move || {
                let mine = locks[n].lock().unwrap_or_else(|e| e.into_inner());
                all_hold.wait();
                let next = locks[(n + 1) % locks.len()].lock();
                drop((next, mine));
            })
        })
        .collect();
    let ends = handles.into_iter().map(|handle| handle.join());
    ends.filter_map(Result::err)
        .map(|payload| assert!(is_deadlock(&*payload), "another panic"))
        .count()
}

#[test]
fn circles_of_two_three_and_ten_are_reported_once_and_one_thread_panics() {
    let _watch = Watch::new("circles");
    collect();
    brigade::diag::lock_order(false);
    for workers in [1, 2, 8] {
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        for (threads, name) in [(2, "of two"), (3, "of three"), (10, "of ten")] {
            let before = about(name).len();
            assert_eq!(circle(&runtime, threads, name), 1);
            let reports = about(name);
            assert_eq!(reports.len(), before + 1, "{workers} workers: {reports:?}");
            assert_eq!(reports[before].kind, DeadlockKind::Cycle);
            assert_eq!(reports[before].threads.len(), threads);
        }
    }
}

#[test]
fn circles_are_reported_under_each_model() {
    collect();
    brigade::diag::lock_order(false);
    on_each_model(|runtime| {
        let before = about("each model").len();
        assert_eq!(circle(runtime, 3, "each model"), 1);
        assert_eq!(about("each model").len(), before + 1);
    });
}

#[test]
fn a_circle_that_two_threads_close_at_once_is_reported_once() {
    let _watch = Watch::new("races to close a circle");
    collect();
    brigade::diag::lock_order(false);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    for round in 1..=200 {
        let panicked = circle(&runtime, 2, "raced");
        assert_eq!((panicked, about("raced").len()), (1, round));
    }
}

#[test]
fn the_report_names_threads_locks_and_places() {
    let _watch = Watch::new("a report");
    collect();
    brigade::diag::lock_order(false);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    runtime.run(|| {
        let left = Arc::new(Mutex::new(()).with_name("left shoe"));
        let right = Arc::new(Mutex::new(()).with_name("right shoe"));
        let both_hold = Arc::new(Barrier::new(2));
        let also_holds = Arc::clone(&both_hold);
        let (first, second) = (Arc::clone(&left), Arc::clone(&right));
        let ann = thread::Builder::new().name("ann".into());
        let ann = ann.spawn(move || {
            let _left = first.lock().unwrap();
            also_holds.wait();
            drop(second.lock());
        });
        let bob = thread::Builder::new().name("bob".into()).spawn(move || {
            let _right = right.lock().unwrap();
            both_hold.wait();
            wait_until(|| waits_in_mutex("ann"));
            drop(left.lock());
        });
        assert!(is_deadlock(&*bob.unwrap().join().unwrap_err()));
        ann.unwrap().join().unwrap();
    });
    let reports = about("left shoe");
    assert_eq!(reports.len(), 1);
    let threads = &reports[0].threads;
    let names: Vec<_> = threads.iter().map(|t| t.thread.name.get()).collect();
    assert_eq!(names, [Some("bob"), Some("ann")], "the closing one first");
    for thread in threads {
        assert!(thread.green);
        assert_eq!(thread.holds.len(), 1);
        assert!(
            thread.holds[0]
                .taken_at
                .file()
                .ends_with("deadlock_cycles.rs")
        );
        assert!(
            thread.holds[0].lock.facts.is_some(),
            "a lock of the circle is known"
        );
        let called_at = thread.waits_for.called_at.expect("the place is known");
        assert!(called_at.line() > thread.holds[0].taken_at.line());
        assert_eq!(thread.waits_for.reason, WaitReason::Mutex);
    }
    let text = reports[0].to_string();
    let first = text.lines().next().unwrap();
    let order = ["\"bob\"", "\"left shoe\"", "\"ann\"", "\"right shoe\""];
    let places: Vec<_> = order.iter().map(|word| first.find(word)).collect();
    assert!(
        places.iter().all(Option::is_some) && places.is_sorted(),
        "{first}"
    );
}

/// Waits, by yielding, until something is so.
fn wait_until(is_so: impl Fn() -> bool) {
    while !is_so() {
        thread::yield_now();
    }
}

fn waits_in_mutex(name: &str) -> bool {
    brigade::diag::threads().iter().any(|thread| {
        thread.thread.name.get() == Some(name)
            && thread
                .waits_for
                .is_some_and(|wait| wait.reason == WaitReason::Mutex)
    })
}

#[test]
fn green_and_kernel_threads_form_a_circle_together() {
    let _watch = Watch::new("a mixed circle");
    collect();
    brigade::diag::lock_order(false);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let locks = Arc::new([
        Mutex::new(()).with_name("mixed"),
        Mutex::new(()).with_name("mixed"),
    ]);
    let all_hold = Arc::new(Barrier::new(2));
    let cross = |first: usize, second: usize| {
        let (locks, all_hold) = (Arc::clone(&locks), Arc::clone(&all_hold));
        move || {
            let _first = locks[first].lock();
            all_hold.wait();
            drop(locks[second].lock());
        }
    };
    let green = runtime.spawn(cross(0, 1));
    let kernel = std::thread::spawn(cross(1, 0));
    let ends = [green.join().is_err(), kernel.join().is_err()];
    assert_eq!(ends.iter().filter(|end| **end).count(), 1);
    let reports = about("mixed");
    assert_eq!(reports.len(), 1);
    let green = reports[0].threads.iter().filter(|thread| thread.green);
    assert_eq!(green.count(), 1);
}

#[test]
fn a_thread_that_locks_what_it_holds_is_reported() {
    collect();
    on_each_model(|runtime| {
        let before = about("own").len();
        runtime.run(|| {
            let lock = Mutex::new(()).with_name("own");
            let guard = lock.lock().unwrap();
            let again = catch_unwind(AssertUnwindSafe(|| drop(lock.lock())));
            assert!(is_deadlock(&*again.unwrap_err()));
            drop(guard);
        });
        let reports = about("own");
        assert_eq!(reports.len(), before + 1);
        assert_eq!(reports[before].threads.len(), 1);
    });
}

#[test]
fn threads_that_join_each_other_are_reported() {
    collect();
    on_each_model(|runtime| {
        let (to_a, handles_a) = mpsc::channel::<thread::JoinHandle<bool>>();
        let (to_b, handles_b) = mpsc::channel::<thread::JoinHandle<bool>>();
        // True: the join was refused. The other one's handle is gone then, and its thread ends by itself.
        let joins = |handles: mpsc::Receiver<thread::JoinHandle<bool>>| {
            move || {
                let other = handles.recv().unwrap();
                match catch_unwind(AssertUnwindSafe(|| other.join())) {
                    Ok(_) => false,
                    Err(payload) => is_deadlock(&*payload),
                }
            }
        };
        let done = Arc::new(AtomicUsize::new(0));
        let counted = |body: Box<dyn FnOnce() -> bool + Send>| {
            let done = Arc::clone(&done);
            runtime.spawn(move || {
                let refused = body();
                done.fetch_add(1 + 10 * usize::from(refused), Ordering::SeqCst);
                refused
            })
        };
        let a = counted(Box::new(joins(handles_a)));
        let b = counted(Box::new(joins(handles_b)));
        to_a.send(b).unwrap();
        to_b.send(a).unwrap();
        while done.load(Ordering::SeqCst) % 10 < 2 {
            std::thread::yield_now();
        }
        assert_eq!(done.load(Ordering::SeqCst), 12, "one join is refused");
    });
}

#[test]
fn a_join_of_a_thread_that_wants_a_lock_of_the_joiner_is_reported() {
    collect();
    on_each_model(|runtime| {
        let before = about("kept").len();
        runtime.run(|| {
            let lock = Arc::new(Mutex::new(()).with_name("kept"));
            let guard = lock.lock().unwrap();
            let wanted = Arc::clone(&lock);
            let thread = thread::spawn(move || wanted.lock().is_ok());
            // Either side may close the circle: the join panics, or the lock does and the join returns that.
            match catch_unwind(AssertUnwindSafe(|| thread.join())) {
                Ok(Err(payload)) | Err(payload) => assert!(is_deadlock(&*payload)),
                Ok(Ok(_)) => panic!("the thread got the lock"),
            }
            drop(guard);
        });
        let reports = about("kept");
        assert_eq!(reports.len(), before + 1);
        let joins = reports[before].threads.iter();
        let is_join = |object: &AwaitedObject| matches!(object, AwaitedObject::Thread(_));
        assert_eq!(joins.filter(|t| is_join(&t.waits_for.object)).count(), 1);
    });
}

#[test]
fn a_scope_whose_owner_keeps_a_lock_that_a_thread_of_it_wants_is_reported() {
    let test = "a_scope_whose_owner_keeps_a_lock_that_a_thread_of_it_wants_is_reported";
    let ended = child::run(test, &[], || {
        collect();
        let lock = Mutex::new(()).with_name("scoped");
        brigade::run(|| {
            // The thread closes the circle, and is refused.
            let guard = lock.lock().unwrap();
            let refused = thread::scope(|s| {
                let thread = s.spawn(|| {
                    wait_until(|| {
                        let threads = brigade::diag::threads();
                        threads
                            .iter()
                            .any(|t| t.waits_for.is_some_and(|w| w.reason == WaitReason::Scope))
                    });
                    catch_unwind(AssertUnwindSafe(|| drop(lock.lock()))).is_err()
                });
                std::mem::forget(thread);
                true
            });
            assert!(refused);
            drop(guard);
            assert_eq!(about("scoped").len(), 1);
        });
    });
    ended.assert_success();
}

/// Everything that deadlocks above, but in one order, with a deadline, or let go in time.
#[test]
fn programs_without_a_circle_are_never_reported() {
    let _watch = Watch::new("clean twins");
    collect();
    for model in [Model::ManyToMany, Model::OneToOne] {
        let runtime = Builder::new().model(model).workers(2).build().unwrap();
        let locks: Arc<Vec<_>> = Arc::new(
            (0..8)
                .map(|n| Mutex::new(0).with_name("clean").with_rank(n + 1))
                .collect(),
        );
        let handles: Vec<_> = (0..40_usize)
            .map(|seed| {
                let locks = Arc::clone(&locks);
                runtime.spawn(move || nest_in_order(&locks, seed))
            })
            .collect();
        handles
            .into_iter()
            .for_each(|h| h.join().expect("no panic"));
        let total: u64 = locks.iter().map(|lock| *lock.lock().unwrap()).sum();
        assert_eq!(total, 40 * 200 * 2);
    }
    assert!(about("clean").is_empty(), "{:?}", about("clean"));
}

/// Two of the locks, the lower first; and scopes and joins in between while nothing is held.
fn nest_in_order(locks: &[Mutex<u64>], seed: usize) {
    let mut state = seed * 7 + 1;
    for round in 0..200 {
        state = state
            .wrapping_mul(6_364_136_223_846_793_005)
            .wrapping_add(1);
        let (a, b) = ((state >> 33) % 8, (state >> 40) % 8);
        let (low, high) = (a.min(b), a.max(b));
        if low == high {
            *locks[low].lock().unwrap() += 2;
        } else {
            let mut first = locks[low].lock().unwrap();
            let mut second = locks[high].lock().unwrap();
            *first += 1;
            *second += 1;
            if round % 16 == 0 {
                thread::yield_now();
            }
        }
        if round % 50 == 0 {
            let one = thread::scope(|s| s.spawn(|| 1).join().unwrap());
            assert_eq!(one, thread::spawn(|| 1).join().unwrap());
        }
    }
}

#[test]
fn a_circle_in_which_one_wait_has_a_deadline_is_not_reported() {
    let _watch = Watch::new("a circle with a deadline");
    collect();
    brigade::diag::lock_order(false);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let locks = Arc::new([
        Mutex::new(()).with_name("timed"),
        Mutex::new(()).with_name("timed"),
    ]);
    let all_hold = Arc::new(Barrier::new(2));
    let (theirs, hold) = (Arc::clone(&locks), Arc::clone(&all_hold));
    let patient = runtime.spawn(move || {
        let _first = theirs[0].lock().unwrap();
        hold.wait();
        drop(theirs[1].lock().unwrap());
    });
    let hurried = runtime.spawn(move || {
        let _second = locks[1].lock().unwrap();
        all_hold.wait();
        locks[0].try_lock_for(Duration::from_millis(50)).is_err()
    });
    assert!(hurried.join().expect("no panic"));
    patient.join().expect("the lock was let go");
    assert!(about("timed").is_empty());
}

#[test]
fn a_thread_that_ended_with_a_lock_is_nobodys_deadlock() {
    collect();
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let lock = Arc::new(Mutex::new(()).with_name("forgotten"));
    let taken = Arc::clone(&lock);
    let keeper = runtime.spawn(move || std::mem::forget(taken.lock()));
    keeper.join().expect("no panic");
    // Threads that come later may get what the first one left, but not its locks.
    for _ in 0..100 {
        let other = Mutex::new(()).with_name("forgotten");
        runtime.run(|| {
            let _other = other.lock();
            assert!(lock.try_lock_for(Duration::from_millis(1)).is_err());
        });
    }
    assert!(about("forgotten").is_empty());
}

#[test]
fn two_readers_that_both_want_to_write_are_reported() {
    let _watch = Watch::new("two upgrades");
    collect();
    brigade::diag::lock_order(false);
    on_each_model(|runtime| {
        let before = about("upgraded").len();
        let lock = Arc::new(RwLock::new(()).with_name("upgraded"));
        let all_read = Arc::new(Barrier::new(2));
        let upgrade = || {
            let (lock, all_read) = (Arc::clone(&lock), Arc::clone(&all_read));
            runtime.spawn(move || {
                let reads = lock.read().unwrap();
                all_read.wait();
                let refused = catch_unwind(AssertUnwindSafe(|| drop(lock.write())));
                // Who reads on would keep the other one waiting, rightly.
                drop(reads);
                refused.is_err()
            })
        };
        let both = [upgrade(), upgrade()].map(|thread| thread.join().expect("no panic"));
        // The first to write waits for the second's reading; whether its own is known to the search is one circle.
        assert!(both.contains(&true));
        assert!(about("upgraded").len() > before);
    });
}

#[test]
fn a_reader_that_wants_to_write_is_reported_at_once() {
    collect();
    on_each_model(|runtime| {
        let before = about("own upgrade").len();
        runtime.run(|| {
            let lock = RwLock::new(()).with_name("own upgrade");
            let reads = lock.read().unwrap();
            let refused = catch_unwind(AssertUnwindSafe(|| drop(lock.write())));
            assert!(is_deadlock(&*refused.unwrap_err()));
            drop(reads);
            drop(lock.write().unwrap());
        });
        assert_eq!(about("own upgrade").len(), before + 1);
    });
}

#[test]
fn a_circle_through_one_of_many_readers_is_reported() {
    let _watch = Watch::new("a circle through a reader");
    collect();
    brigade::diag::lock_order(false);
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let shelf = Arc::new(RwLock::new(()).with_name("shelf"));
    let key = Arc::new(Mutex::new(()).with_name("key"));
    let ready = Arc::new(Barrier::new(5));
    let release = Arc::new(Event::new());
    // Three that only read, until the end.
    let readers: Vec<_> = (0..3)
        .map(|_| {
            let (shelf, ready, release) =
                (Arc::clone(&shelf), Arc::clone(&ready), Arc::clone(&release));
            runtime.spawn(move || {
                let _reads = shelf.read().unwrap();
                ready.wait();
                release.wait();
            })
        })
        .collect();
    let (theirs, wanted, start) = (Arc::clone(&shelf), Arc::clone(&key), Arc::clone(&ready));
    let reader = runtime.spawn(move || {
        let _reads = theirs.read().unwrap();
        start.wait();
        drop(wanted.lock());
    });
    let writer = runtime.spawn(move || {
        let _key = key.lock().unwrap();
        ready.wait();
        drop(shelf.write());
    });
    wait_for_kernel(|| !about("shelf").is_empty());
    release.set();
    readers
        .into_iter()
        .for_each(|r| r.join().expect("no panic"));
    let refused = [reader.join().is_err(), writer.join().is_err()];
    assert_eq!(refused.iter().filter(|refused| **refused).count(), 1);
    assert_eq!(about("shelf").len(), 1);
    assert_eq!(about("shelf")[0].threads.len(), 2);
}

/// As [`wait_until`], on a kernel thread.
fn wait_for_kernel(is_so: impl Fn() -> bool) {
    while !is_so() {
        std::thread::yield_now();
    }
}

#[test]
fn readers_and_writers_without_a_circle_are_never_reported() {
    let _watch = Watch::new("clean readers");
    collect();
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let locks: Arc<Vec<_>> = Arc::new(
        (0..4)
            .map(|n| RwLock::new(0_u64).with_name("read well").with_rank(n + 1))
            .collect(),
    );
    let threads: Vec<_> = (0..24_usize)
        .map(|seed| {
            let locks = Arc::clone(&locks);
            runtime.spawn(move || {
                for round in 0..300 {
                    let low = (seed + round) % 3;
                    let first = locks[low].read().unwrap();
                    if round % 5 == 0 {
                        thread::yield_now();
                    }
                    if (seed + round) % 4 == 0 {
                        *locks[low + 1].write().unwrap() += 1;
                    } else {
                        drop(locks[low + 1].read().unwrap());
                    }
                    drop(first);
                }
            })
        })
        .collect();
    threads
        .into_iter()
        .for_each(|t| t.join().expect("no panic"));
    let total: u64 = locks.iter().map(|lock| *lock.read().unwrap()).sum();
    assert_eq!(total, 24 * 300 / 4);
    assert!(about("read well").is_empty());
}

#[test]
fn an_initialisation_that_needs_itself_panics() {
    let _watch = Watch::new("a cell that needs itself");
    collect();
    on_each_model(|runtime| {
        runtime.run(|| {
            let cell = OnceLock::new();
            let inner = || *cell.get_or_init(|| 2);
            let refused = catch_unwind(AssertUnwindSafe(|| {
                cell.get_or_init(|| inner() + 1);
            }));
            assert!(is_deadlock(&*refused.unwrap_err()));
        });
    });
}

#[test]
fn two_initialisations_that_need_each_other_are_reported() {
    let _watch = Watch::new("two cells that need each other");
    collect();
    on_each_model(|runtime| {
        let before = reports().len();
        let cells = Arc::new([OnceLock::new(), OnceLock::new()]);
        let both_run = Arc::new(Barrier::new(2));
        let begin = |first: usize, second: usize| {
            let (cells, both_run) = (Arc::clone(&cells), Arc::clone(&both_run));
            runtime.spawn(move || {
                *cells[first].get_or_init(|| {
                    both_run.wait();
                    *cells[second].get_or_init(|| 1) + 1
                })
            })
        };
        let ends = [begin(0, 1), begin(1, 0)].map(|thread| thread.join());
        let refused = ends.iter().filter_map(|end| end.as_ref().err());
        assert!(refused.filter(|payload| is_deadlock(&***payload)).count() >= 1);
        let new = reports()[before..].to_vec();
        let is_once = |report: &DeadlockReport| {
            report.threads.len() == 2 && report.threads[0].waits_for.reason == WaitReason::Once
        };
        assert_eq!(new.iter().filter(|report| is_once(report)).count(), 1);
    });
}
