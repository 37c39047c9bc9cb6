//! Once, OnceLock and LazyLock between green and kernel threads: one initialises, the others wait, and a failure is
//! seen as std shows it.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::sync::Arc;
use std::thread;

use brigade::runtime::Builder;
use brigade::sync::{LazyLock, Once, OnceLock};
use brigade_runtime::WaitReason;
use brigade_runtime::park::me;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch, hop, migrating};

/// Whether `body` panics, silently if it does so by [`fail`].
fn panics<T>(body: impl FnOnce() -> T) -> bool {
    catch_unwind(AssertUnwindSafe(body)).is_err()
}

/// The message that `body` panics with.
fn message(body: impl FnOnce()) -> String {
    let payload = catch_unwind(AssertUnwindSafe(body)).expect_err("a panic");
    *payload.downcast::<String>().expect("a message")
}

fn fail() {
    resume_unwind(Box::new(()));
}

#[test]
fn one_thread_initialises_while_the_others_wait() {
    everywhere(|runtime| {
        for _ in 0..50 {
            let (once, runs) = (Once::new(), Arc::new(Count::new()));
            let counted = Arc::clone(&runs);
            mixed(runtime, 8, 3, move |index| {
                if index % 4 == 3 {
                    once.wait();
                } else {
                    once.call_once(|| {
                        brigade::thread::yield_now();
                        thread::yield_now();
                        counted.up();
                    });
                }
                assert_eq!(counted.get(), 1);
                assert!(once.is_completed());
            });
        }
    });
}

#[test]
fn an_initialiser_that_migrates_stays_the_owner() {
    let once = Arc::new(Once::new());
    migrating(20, move |_| {
        let before = me().holds_any();
        once.call_once(|| {
            assert!(me().holds_any());
            (0..50).for_each(|_| hop());
            assert!(me().holds_any());
        });
        assert!(!before && !me().holds_any());
        hop();
    });
}

#[test]
fn after_a_failure_exactly_one_of_those_that_force_goes_on() {
    everywhere(|runtime| {
        for _ in 0..50 {
            let (once, runs) = (Once::new(), Arc::new(Count::new()));
            let counted = Arc::clone(&runs);
            mixed(runtime, 6, 3, move |index| {
                if index == 4 {
                    return once.wait_force();
                }
                let _ = catch_unwind(AssertUnwindSafe(|| {
                    once.call_once_force(|state| {
                        brigade::thread::yield_now();
                        assert_eq!(state.is_poisoned(), counted.get() > 0);
                        if counted.up() < 3 {
                            fail();
                        }
                    });
                }));
            });
            assert_eq!(runs.get(), 4, "three that fail and one that does not");
        }
    });
}

/// What happens to a once, as std's and ours tell it.
macro_rules! story {
    ($once:ty) => {{
        let once = <$once>::new();
        let mut told = vec![once.is_completed()];
        told.push(panics(|| once.call_once(fail)));
        told.push(once.is_completed());
        told.push(panics(|| once.call_once(|| ())));
        told.push(panics(|| once.wait()));
        told.push(panics(|| once.call_once_force(|_| fail())));
        once.call_once_force(|state| told.push(state.is_poisoned()));
        told.push(once.is_completed());
        told.push(panics(|| once.call_once(fail)));
        once.call_once_force(|_| fail());
        once.wait();
        once.wait_force();
        told
    }};
}

#[test]
fn poisoning_is_that_of_std() {
    let ours = story!(Once);
    assert_eq!(ours, story!(std::sync::Once));
    assert_eq!(ours, brigade::run(|| story!(Once)));
}

#[test]
fn the_initialiser_holds_the_once_until_it_ends_or_panics() {
    static ONCE: Once = Once::new().with_name("planted");
    let line = line!() + 2;
    assert!(panics(|| {
        ONCE.call_once(|| {
            let mut lines = Vec::new();
            me().for_each_held(|held| lines.push(held.site.line()));
            assert_eq!(lines, [line]);
            fail();
        });
    }));
    assert!(!me().holds_any());
}

#[test]
fn an_initialiser_that_needs_itself_panics_with_both_places() {
    let made = line!() + 1;
    let once = Once::new();
    let began = line!() + 2;
    let text = message(|| {
        once.call_once(|| {
            let inner = message(|| once.call_once(|| ()));
            assert_eq!(inner, message(|| once.wait()));
            assert_eq!(inner, message(|| once.wait_force()));
            std::panic::panic_any(inner);
        });
    });
    let place = |line| format!("{}:{line}:", file!());
    assert!(text.contains(&place(began)), "where it began: {text}");
    assert!(text.contains(&place(made)), "where it was made: {text}");

    let cell = OnceLock::new();
    assert!(panics(|| *cell.get_or_init(|| *cell.get_or_init(|| 1))));
    assert!(panics(
        || *cell.get_or_init(|| cell.set(1).map_or(1, |()| 2))
    ));
    assert!(panics(|| *cell.get_or_init(|| *cell.wait())));
    assert_eq!(*cell.get_or_init(|| 3), 3);

    static LAZY: LazyLock<u32> = LazyLock::new(|| *LAZY + 1);
    assert!(panics(|| *LazyLock::force(&LAZY)));
}

#[test]
fn an_initialiser_may_initialise_others_of_its_kind() {
    struct Node {
        value: OnceLock<u32>,
    }
    let nodes: Vec<_> = (0..5)
        .map(|_| Node {
            value: OnceLock::new(),
        })
        .collect();
    fn value(nodes: &[Node]) -> u32 {
        *nodes[0].value.get_or_init(|| match &nodes[1..] {
            [] => 1,
            rest => value(rest) + 1,
        })
    }
    brigade::sync::order::watch(true);
    let reports = brigade::sync::order::stats().reports;
    assert_eq!(value(&nodes), 5);
    assert_eq!(brigade::sync::order::stats().reports, reports);
}

/// A value that counts how often it is dropped.
#[derive(Debug)]
struct Dropped(Arc<Count>, usize);

impl Drop for Dropped {
    fn drop(&mut self) {
        self.0.up();
    }
}

#[test]
fn one_of_many_sets_wins_and_every_value_is_dropped_once() {
    everywhere(|runtime| {
        for _ in 0..50 {
            let (drops, wins) = (Arc::new(Count::new()), Arc::new(Count::new()));
            let cell = Arc::new(OnceLock::new());
            let (shared, made, won) = (Arc::clone(&cell), Arc::clone(&drops), Arc::clone(&wins));
            mixed(runtime, 8, 3, move |index| {
                match shared.set(Dropped(Arc::clone(&made), index)) {
                    Ok(()) => {
                        won.up();
                        assert_eq!(shared.get().map(|value| value.1), Some(index));
                    }
                    Err(refused) => assert_eq!(refused.1, index, "its own value comes back"),
                }
                assert!(shared.get().is_some());
            });
            assert_eq!((wins.get(), drops.get()), (1, 10));
            drop(Arc::into_inner(cell));
            assert_eq!(drops.get(), 11);
        }
    });
}

#[test]
fn an_initialiser_that_panics_leaves_no_value_and_the_next_one_makes_it() {
    everywhere(|runtime| {
        let (drops, runs) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let cell = Arc::new(OnceLock::<Dropped>::new());
        let (shared, made, counted) = (Arc::clone(&cell), Arc::clone(&drops), Arc::clone(&runs));
        mixed(runtime, 6, 3, move |index| {
            if index == 5 {
                assert_eq!(shared.wait().1, 4);
                return;
            }
            let _ = catch_unwind(AssertUnwindSafe(|| {
                let value = shared.get_or_init(|| {
                    let value = Dropped(Arc::clone(&made), counted.up());
                    brigade::thread::yield_now();
                    if value.1 < 4 {
                        fail();
                    }
                    value
                });
                assert_eq!(value.1, 4);
            }));
        });
        assert_eq!((runs.get(), drops.get()), (5, 4));
        let mut cell = Arc::into_inner(cell).expect("the threads are gone");
        assert_eq!(cell.get_mut().map(|value| value.1), Some(4));
        assert_eq!(cell.take().map(|value| value.1), Some(4));
        assert_eq!(drops.get(), 5);
        assert!(cell.get().is_none() && cell.take().is_none());
        cell.set(Dropped(Arc::clone(&drops), 9))
            .expect("empty again");
        assert_eq!(cell.into_inner().map(|value| value.1), Some(9));
        assert_eq!(drops.get(), 6);
    });
}

#[test]
fn the_traits_of_a_once_lock_are_those_of_std() {
    let (ours, theirs) = (OnceLock::from(1), std::sync::OnceLock::from(1));
    assert_eq!(format!("{ours:?}"), format!("{theirs:?}"));
    let (empty, nothing) = (OnceLock::<u8>::default(), std::sync::OnceLock::<u8>::new());
    assert_eq!(format!("{empty:?}"), format!("{nothing:?}"));
    assert_eq!(ours.clone(), ours);
    assert_ne!(ours, OnceLock::new());
    fn is_shared<T: Send + Sync + std::panic::UnwindSafe + std::panic::RefUnwindSafe>(_: &T) {}
    is_shared(&ours);
    is_shared(&Once::new());
    is_shared(&LazyLock::<u8>::default());
}

#[test]
fn a_lazy_value_is_made_once_for_all() {
    everywhere(|runtime| {
        let (drops, runs) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let (made, counted) = (Arc::clone(&drops), Arc::clone(&runs));
        let lazy = LazyLock::new(move || {
            brigade::thread::yield_now();
            Dropped(Arc::clone(&made), counted.up())
        });
        assert!(!format!("{lazy:?}").contains("Dropped"));
        mixed(runtime, 10, 3, move |_| assert_eq!(lazy.1, 0));
        assert_eq!((runs.get(), drops.get()), (1, 1));
    });
}

#[test]
fn a_lazy_value_whose_making_panics_never_is() {
    everywhere(|runtime| {
        let runs = Arc::new(Count::new());
        let counted = Arc::clone(&runs);
        let lazy = LazyLock::<u32, _>::new(move || {
            counted.up();
            brigade::thread::yield_now();
            resume_unwind(Box::new(()))
        });
        mixed(runtime, 4, 2, move |_| {
            assert!(panics(|| *LazyLock::force(&lazy)));
            assert!(panics(|| *lazy));
        });
        assert_eq!(runs.get(), 1);
    });
}

#[test]
fn waiting_threads_tell_what_they_wait_for_and_where() {
    let _watch = Watch::new("threads that wait for a once");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let once = Arc::new(Once::new());
    let (first, second) = (Arc::clone(&once), Arc::clone(&once));
    let line = line!() + 1;
    let (early, waiter) = waiting(&runtime, move || first.wait());
    once.call_once(|| {
        let (late, caller) = waiting(&runtime, move || second.call_once(fail));
        assert_eq!(late.wait.reason, WaitReason::Once);
        assert_eq!(late.wait.object, early.wait.object);
        let site = late.wait.site.expect("a site");
        assert_eq!((site.file(), site.line()), (file!(), line + 2));
        drop(caller);
    });
    waiter.join().expect("no panic");
    assert_eq!(early.wait.reason, WaitReason::OnceWait);
    let site = early.wait.site.expect("a site");
    assert_eq!((site.file(), site.line()), (file!(), line));
}
