//! Destructors of thread-locals run once, on their own thread, and leave a fresh block for the next thread.

mod common;

use std::cell::{Cell, RefCell};
use std::rc::Rc;

use common::{Count, alone_with_migrating_runtime, hop, migrating, migrating_on};

const THREADS: usize = 500;

thread_local! {
    static OWNER: Cell<usize> = const { Cell::new(0) };
}

/// Counts what it sees when it is dropped as the value of a thread-local.
struct Probe {
    owner: Cell<usize>,
    dropped: &'static Count,
    misplaced: &'static Count,
}

impl Probe {
    const fn new(dropped: &'static Count, misplaced: &'static Count) -> Probe {
        Probe {
            owner: Cell::new(0),
            dropped,
            misplaced,
        }
    }
}

impl Drop for Probe {
    fn drop(&mut self) {
        for _ in 0..3 {
            if OWNER.get() != self.owner.get() {
                self.misplaced.up();
            }
            hop();
        }
        self.dropped.up();
    }
}

#[test]
fn each_destructor_runs_once_on_its_own_thread_and_may_yield() {
    static DROPPED: Count = Count::new();
    static MISPLACED: Count = Count::new();
    thread_local! {
        static PROBE: Probe = const { Probe::new(&DROPPED, &MISPLACED) };
    }
    migrating(THREADS, |index| {
        OWNER.set(index);
        PROBE.with(|probe| probe.owner.set(index));
        hop();
    });
    assert_eq!((DROPPED.get(), MISPLACED.get()), (THREADS, 0));
}

#[test]
fn a_used_stack_gives_the_next_thread_a_fresh_block() {
    thread_local! {
        static LIST: RefCell<Vec<Rc<usize>>> = const { RefCell::new(Vec::new()) };
        static TEXT: RefCell<String> = RefCell::new(String::from("fresh"));
    }
    alone_with_migrating_runtime(|runtime| {
        for _ in 0..6 {
            migrating_on(runtime, THREADS, |index| {
                assert_eq!(OWNER.replace(index + 1), 0);
                LIST.with_borrow_mut(|list| {
                    assert!(list.is_empty());
                    list.push(Rc::new(index));
                });
                TEXT.with_borrow_mut(|text| {
                    assert_eq!(text, "fresh");
                    text.push_str(" no more, and long enough to be allocated again");
                });
                hop();
                assert_eq!(OWNER.get(), index + 1);
            });
        }
    });
}

#[test]
fn a_destructor_may_initialise_another_thread_local_whose_destructor_runs_too() {
    static SECOND_DROPPED: Count = Count::new();
    struct First;
    struct Second(Cell<usize>);
    thread_local! {
        static FIRST: First = const { First };
        static SECOND: Second = const { Second(Cell::new(0)) };
    }
    impl Drop for First {
        fn drop(&mut self) {
            hop();
            SECOND.with(|second| second.0.set(OWNER.get()));
            hop();
        }
    }
    impl Drop for Second {
        fn drop(&mut self) {
            hop();
            assert_eq!(self.0.get(), OWNER.get());
            SECOND_DROPPED.up();
        }
    }
    migrating(THREADS, |index| {
        OWNER.set(index);
        FIRST.with(|_| hop());
    });
    assert_eq!(SECOND_DROPPED.get(), THREADS);
}

#[test]
fn a_destroyed_thread_local_reports_an_access_error_to_later_destructors() {
    static REFUSED: Count = Count::new();
    struct First;
    struct Second;
    thread_local! {
        static FIRST: First = const { First };
        static SECOND: Second = const { Second };
    }
    // The order is not specified; whichever destructor comes second finds the other value gone.
    impl Drop for First {
        fn drop(&mut self) {
            hop();
            if SECOND.try_with(|_| ()).is_err() {
                REFUSED.up();
            }
        }
    }
    impl Drop for Second {
        fn drop(&mut self) {
            hop();
            if FIRST.try_with(|_| ()).is_err() {
                REFUSED.up();
            }
        }
    }
    migrating(THREADS, |_| {
        FIRST.with(|_| hop());
        SECOND.with(|_| hop());
    });
    assert_eq!(REFUSED.get(), THREADS);
}

#[test]
fn join_returns_after_the_destructors_of_thread_locals_ran() {
    static DROPPED: Count = Count::new();
    struct Slow;
    thread_local! {
        static SLOW: Slow = const { Slow };
    }
    impl Drop for Slow {
        fn drop(&mut self) {
            for _ in 0..20 {
                hop();
            }
            DROPPED.up();
        }
    }
    migrating(1, |_| {
        for round in 0..100 {
            brigade::thread::spawn(|| SLOW.with(|_| hop()))
                .join()
                .expect("the thread does not panic");
            assert_eq!(DROPPED.get(), round + 1);
        }
    });
}

#[test]
fn destructors_run_when_the_thread_panics() {
    static DROPPED: Count = Count::new();
    static MISPLACED: Count = Count::new();
    thread_local! {
        static PROBE: Probe = const { Probe::new(&DROPPED, &MISPLACED) };
    }
    migrating(1, |_| {
        let handles: Vec<_> = (1..=THREADS)
            .map(|index| {
                brigade::thread::spawn(move || {
                    OWNER.set(index);
                    PROBE.with(|probe| probe.owner.set(index));
                    hop();
                    std::panic::resume_unwind(Box::new(index));
                })
            })
            .collect();
        for handle in handles {
            handle.join().expect_err("the thread panics");
        }
    });
    assert_eq!((DROPPED.get(), MISPLACED.get()), (THREADS, 0));
}

#[test]
fn a_destructor_may_spawn_and_join_a_thread() {
    static SUM: Count = Count::new();
    struct Spawns;
    thread_local! {
        static SPAWNS: Spawns = const { Spawns };
    }
    impl Drop for Spawns {
        fn drop(&mut self) {
            brigade::thread::spawn(|| {
                hop();
                SUM.up();
            })
            .join()
            .expect("the thread does not panic");
        }
    }
    migrating(THREADS, |_| SPAWNS.with(|_| hop()));
    assert_eq!(SUM.get(), THREADS);
}
