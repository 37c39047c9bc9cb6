//! Each green thread has its own panic count: unwinding threads yield, migrate, catch and panic again, and nobody
//! else notices.

mod common;

use std::any::Any;
use std::panic::{self, AssertUnwindSafe, catch_unwind, panic_any};
use std::sync::{Mutex, Once};
use std::thread::panicking;

use common::{Count, hop, migrating};

const THREADS: usize = 300;
const ROUNDS: usize = 10;

/// A payload that the panic hook does not report; every other panic is reported as always.
#[derive(Debug, PartialEq)]
struct Planned(usize);

fn hush_planned_panics() {
    static HOOK: Once = Once::new();
    HOOK.call_once(|| {
        let report = panic::take_hook();
        panic::set_hook(Box::new(move |info| {
            if !info.payload().is::<Planned>() {
                report(info);
            }
        }));
    });
}

fn planned(payload: &(dyn Any + Send)) -> usize {
    payload
        .downcast_ref::<Planned>()
        .expect("the payload that was thrown")
        .0
}

/// Yields while it is dropped, and says so if `panicking()` is not what it should be there.
struct YieldsInDrop {
    number: usize,
    unwinding: bool,
}

impl Drop for YieldsInDrop {
    fn drop(&mut self) {
        for _ in 0..6 {
            assert_eq!(panicking(), self.unwinding);
            hop();
        }
        let number = self.number;
        let nested = catch_unwind(|| {
            if number.is_multiple_of(2) {
                hop();
            }
            panic_any(Planned(number + 1_000_000));
        });
        let payload = nested.expect_err("the closure panics");
        assert_eq!(planned(&*payload), number + 1_000_000);
        assert_eq!(panicking(), self.unwinding);
    }
}

#[test]
fn threads_that_yield_while_unwinding_do_not_make_others_panicking() {
    hush_planned_panics();
    migrating(THREADS, |index| {
        for _ in 0..ROUNDS {
            let unwinding = index % 3 != 0;
            assert!(!panicking());
            let result = catch_unwind(|| {
                let _yields = YieldsInDrop {
                    number: index,
                    unwinding,
                };
                hop();
                if unwinding {
                    panic_any(Planned(index));
                }
            });
            match result {
                Ok(()) => assert!(!unwinding),
                Err(payload) => assert_eq!((planned(&*payload), unwinding), (index, true)),
            }
            assert!(!panicking());
        }
    });
    assert!(!panicking());
}

#[test]
fn brigade_panicking_agrees_with_std() {
    struct Agrees(&'static Count);
    impl Drop for Agrees {
        fn drop(&mut self) {
            hop();
            assert_eq!(brigade::thread::panicking(), panicking());
            if brigade::thread::panicking() {
                self.0.up();
            }
        }
    }
    static SEEN: Count = Count::new();
    hush_planned_panics();
    migrating(THREADS, |index| {
        drop(Agrees(&SEEN));
        let result = catch_unwind(|| {
            let _agrees = Agrees(&SEEN);
            panic_any(Planned(index));
        });
        assert!(result.is_err());
    });
    assert_eq!(SEEN.get(), THREADS);
}

#[test]
fn a_panic_carries_its_payload_to_join_and_disturbs_no_other_thread() {
    hush_planned_panics();
    migrating(1, |_| {
        let handles: Vec<_> = (0..THREADS)
            .map(|index| {
                brigade::thread::spawn(move || {
                    hop();
                    if index % 2 == 0 {
                        panic_any(Planned(index));
                    }
                    hop();
                    index
                })
            })
            .collect();
        for (index, handle) in handles.into_iter().enumerate() {
            match handle.join() {
                Ok(value) => assert_eq!((value, index % 2), (index, 1)),
                Err(payload) => assert_eq!((planned(&*payload), index % 2), (index, 0)),
            }
        }
    });
}

#[test]
fn a_payload_crosses_several_migrating_frames() {
    fn descend(depth: usize) {
        let _yields = YieldsInDrop {
            number: depth,
            unwinding: true,
        };
        if depth == 0 {
            panic_any(Planned(7));
        }
        descend(depth - 1);
    }
    hush_planned_panics();
    migrating(50, |_| {
        let payload = catch_unwind(|| descend(20)).expect_err("the bottom panics");
        assert_eq!(planned(&*payload), 7);
    });
}

#[test]
fn a_mutex_is_poisoned_by_the_thread_that_panics_and_by_no_other() {
    hush_planned_panics();
    static CLEAN: Mutex<usize> = Mutex::new(0);
    migrating(THREADS, |index| {
        let own = Mutex::new(0);
        let result = catch_unwind(AssertUnwindSafe(|| {
            let _guard = own.lock().expect("nobody else has this mutex");
            hop();
            if index % 2 == 0 {
                panic_any(Planned(index));
            }
        }));
        assert_eq!(
            (result.is_err(), own.is_poisoned()),
            (index % 2 == 0, index % 2 == 0)
        );
        // Locked while other threads are in the middle of unwinding.
        *CLEAN.lock().expect("nobody panics with this mutex") += 1;
        hop();
    });
    assert_eq!(*CLEAN.lock().expect("not poisoned"), THREADS);
}

#[test]
fn the_panic_hook_runs_on_the_green_thread_that_panics() {
    thread_local! {
        static NUMBER: std::cell::Cell<usize> = const { std::cell::Cell::new(0) };
    }
    struct Watched(usize);
    static SEEN: Count = Count::new();
    hush_planned_panics();
    let report = panic::take_hook();
    panic::set_hook(Box::new(move |info| {
        match info.payload().downcast_ref::<Watched>() {
            Some(watched) if NUMBER.get() == watched.0 => _ = SEEN.up(),
            _ => report(info),
        }
    }));
    migrating(THREADS, |index| {
        NUMBER.set(index);
        hop();
        catch_unwind(|| panic_any(Watched(index))).expect_err("the closure panics");
    });
    assert_eq!(SEEN.get(), THREADS);
}
