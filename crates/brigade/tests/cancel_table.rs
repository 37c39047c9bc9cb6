//! Every kind of wait, ended in every way, at every time, on every kind of thread: the wait says what has happened, and
//! nothing is lost.

mod cancel_kinds;
mod common;

use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::pin::pin;
use std::sync::Arc;
use std::sync::mpsc;
use std::time::Duration;

use brigade::cancel::{self, CancelToken, Cancelled};
use brigade::runtime::{Builder, Model, Runtime};
use brigade_runtime::WaitReason;
use brigade_runtime::cancel::{Seat, Token};
use brigade_runtime::park::{Entry, NEVER, Wait, is_in_time, me, with_current};
use cancel_kinds::{Case, KINDS, Kind};
use common::mixed::everywhere;

/// How a token ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    /// By hand.
    Cancel,
    /// By hand, two levels above.
    CancelAbove,
    /// A guard is dropped.
    GuardDropped,
    /// Its deadline passes.
    Deadline,
    /// The deadline of its parent passes.
    DeadlineAbove,
    /// The owner of the scope panics.
    OwnerPanics,
    /// A sibling in the scope panics.
    SiblingPanics,
}

const ENDS: [End; 7] = [
    End::Cancel,
    End::CancelAbove,
    End::GuardDropped,
    End::Deadline,
    End::DeadlineAbove,
    End::OwnerPanics,
    End::SiblingPanics,
];

/// Where a wait is made.
#[derive(Clone, Copy)]
enum Place<'a> {
    Green(&'a Runtime),
    Kernel,
}

type Outcome = Result<(), Cancelled>;

/// A thread that waits, and what it says in the end.
struct Waiter {
    entry: &'static Entry,
    /// The kernel thread that began it.
    tid: i64,
    outcome: mpsc::Receiver<Outcome>,
}

impl Place<'_> {
    fn spawn(self, f: impl FnOnce() + Send + 'static) {
        match self {
            Place::Green(runtime) => drop(runtime.spawn(f)),
            Place::Kernel => drop(std::thread::spawn(f)),
        }
    }

    /// Whether hooks park here.
    fn has_hooks(self) -> bool {
        match self {
            Place::Green(runtime) => runtime.model() != Model::OneToOne,
            Place::Kernel => false,
        }
    }

    fn begin(self, case: &mut Case, token: &CancelToken) -> Waiter {
        let wait = std::mem::replace(&mut case.wait, Box::new(|_| unreachable!("it waits once")));
        let (say, outcome) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let token = token.clone();
        self.spawn(move || {
            tell.send((me(), common::gettid()))
                .expect("the starter waits");
            let outcome = wait(&token);
            drop(token);
            say.send(outcome).expect("the starter waits");
        });
        let (entry, tid) = told.recv().expect("the thread tells");
        Waiter {
            entry,
            tid,
            outcome,
        }
    }
}

impl Waiter {
    /// Returns when the thread waits.
    fn until_it_waits(&self) {
        while self.entry.wait_record().is_none() && !self.is_in_poll() {
            std::thread::yield_now();
        }
    }

    /// Whether it waits in the kernel, of which Brigade has no record.
    fn is_in_poll(&self) -> bool {
        let path = format!("/proc/self/task/{}/syscall", self.tid);
        let number = format!("{} ", libc::SYS_poll);
        std::fs::read_to_string(&path).is_ok_and(|call| call.starts_with(&number))
    }

    fn outcome(self) -> Outcome {
        self.outcome.recv().expect("the thread does not panic")
    }
}

/// A token, and what ends it; none for those that only a scope can end.
fn token_that_ends(end: End) -> Option<(CancelToken, Box<dyn FnOnce()>)> {
    // Short enough for a test, and long enough that a wait has begun before, most of the time.
    let soon = Duration::from_millis(5);
    let wait_for = |token: &CancelToken| {
        let token = token.clone();
        Box::new(move || assert!(token.sleep(Duration::from_secs(3600)).is_err()))
    };
    let root = CancelToken::new();
    match end {
        End::Cancel => Some((root.clone(), Box::new(move || root.cancel()))),
        End::CancelAbove => Some((root.child().child(), Box::new(move || root.cancel()))),
        End::GuardDropped => {
            let guard = root.cancel_on_drop();
            Some((root, Box::new(move || drop(guard))))
        }
        End::Deadline => {
            let token = root.child_with_timeout(soon);
            let ends = wait_for(&token);
            Some((token, ends))
        }
        End::DeadlineAbove => {
            let parent = root.child_with_timeout(soon);
            let token = parent.child_with_timeout(Duration::from_secs(3600));
            let ends = wait_for(&token);
            Some((token, ends))
        }
        End::OwnerPanics | End::SiblingPanics => None,
    }
}

fn is_deadline(end: End) -> bool {
    matches!(end, End::Deadline | End::DeadlineAbove)
}

#[track_caller]
fn assert_cancelled(outcome: Outcome, end: End) {
    let cancelled = outcome.expect_err("the token ended, and nothing else");
    assert_eq!(cancelled.is_timed_out(), is_deadline(end), "{cancelled}");
}

/// The token has ended before the wait begins: the wait fails, whether it could have succeeded or not.
fn before(kind: Kind, end: End, place: Place<'_>, can_succeed: bool) {
    let Some((token, ends)) = token_that_ends(end) else {
        return;
    };
    let mut case = (kind.make)();
    ends();
    if can_succeed {
        // The others need the thread that waits, or look at a condition first, which holds then.
        let needs_waiter = ["park", "barrier", "rendezvous", "condvar"];
        if needs_waiter.iter().any(|name| kind.name.contains(name)) {
            return;
        }
        let Some(complete) = case.complete.take() else {
            return;
        };
        complete();
        return assert_cancelled(place.begin(&mut case, &token).outcome(), end);
    }
    assert_cancelled(place.begin(&mut case, &token).outcome(), end);
    case.settle(false);
}

/// The token ends while the thread waits.
fn meanwhile(kind: Kind, end: End, place: Place<'_>) {
    let Some((token, ends)) = token_that_ends(end) else {
        return;
    };
    let mut case = (kind.make)();
    let waiter = place.begin(&mut case, &token);
    if !is_deadline(end) {
        waiter.until_it_waits();
    }
    ends();
    assert_cancelled(waiter.outcome(), end);
    case.settle(false);
}

/// The wait has come to its own end, before a deadline that is far; then the token ends, which changes nothing.
fn after(kind: Kind, end: End, place: Place<'_>) {
    const HOUR: Duration = Duration::from_secs(3600);
    let made = match end {
        End::Deadline => Some(CancelToken::with_timeout(HOUR)),
        End::DeadlineAbove => Some(CancelToken::with_timeout(HOUR).child()),
        _ => None,
    };
    let made = made.map(|token| {
        let theirs = token.clone();
        (
            token,
            Box::new(move || theirs.cancel()) as Box<dyn FnOnce()>,
        )
    });
    let Some((token, ends)) = made.or_else(|| token_that_ends(end)) else {
        return;
    };
    let mut case = (kind.make)();
    let Some(complete) = case.complete.take() else {
        return;
    };
    let waiter = place.begin(&mut case, &token);
    waiter.until_it_waits();
    complete();
    let outcome = waiter.outcome();
    ends();
    assert!(token.is_cancelled());
    assert!(outcome.is_ok(), "{outcome:?}");
    case.settle(true);
}

/// All other handles of the token and of its parent are dropped while the thread waits: that ends nothing.
fn dropped(kind: Kind, place: Place<'_>) {
    let parent = CancelToken::new();
    let token = parent.child();
    let mut case = (kind.make)();
    let Some(complete) = case.complete.take() else {
        return;
    };
    let waiter = place.begin(&mut case, &token);
    waiter.until_it_waits();
    drop((parent, token));
    complete();
    let outcome = waiter.outcome();
    assert!(outcome.is_ok(), "{outcome:?}");
    case.settle(true);
}

/// The thread waits in a scope whose owner, or another thread of it, panics.
fn in_scope(kind: Kind, end: End, runtime: &Runtime) {
    if !matches!(end, End::OwnerPanics | End::SiblingPanics) {
        return;
    }
    let mut case = (kind.make)();
    let wait = std::mem::replace(&mut case.wait, Box::new(|_| unreachable!("it waits once")));
    // There it waits in the kernel, of which Brigade has no record.
    let is_elsewhere = kind.name.ends_with("able") && runtime.model() == Model::OneToOne;
    let (say, outcome) = mpsc::channel();
    runtime.run(move || {
        let (tell, told) = mpsc::channel();
        let scope = catch_unwind(AssertUnwindSafe(|| {
            cancel::scope(|s| {
                s.spawn(move || {
                    tell.send(me()).expect("the starter waits");
                    say.send(wait(&CancelToken::current())).expect("no panic");
                });
                let entry: &Entry = told.recv().expect("the thread tells");
                while !is_elsewhere && entry.wait_record().is_none() {
                    brigade::thread::yield_now();
                }
                if end == End::OwnerPanics {
                    panic!("the owner");
                }
                let sibling = s.spawn(|| std::panic::panic_any("the sibling"));
                assert!(sibling.join().is_err());
            });
        }));
        assert_eq!(scope.is_err(), end == End::OwnerPanics);
    });
    assert_cancelled(outcome.recv().expect("no panic"), end);
    case.settle(false);
}

/// Panics are part of these tests: says nothing about those with these words.
fn be_quiet_about_planned_panics() {
    static ONCE: std::sync::Once = std::sync::Once::new();
    ONCE.call_once(|| {
        let usual = std::panic::take_hook();
        std::panic::set_hook(Box::new(move |info| {
            let words = info.payload().downcast_ref::<&str>();
            if !words.is_some_and(|words| ["the owner", "the sibling"].contains(words)) {
                usual(info);
            }
        }));
    });
}

fn kinds(place: Place<'_>) -> impl Iterator<Item = Kind> {
    let all = place.has_hooks();
    KINDS.into_iter().filter(move |kind| all || !kind.is_io)
}

/// All times and ends for all kinds at one place.
fn table(place: Place<'_>) {
    for kind in kinds(place) {
        for end in ENDS {
            eprintln!("{}, {end:?}", kind.name);
            before(kind, end, place, false);
            before(kind, end, place, true);
            meanwhile(kind, end, place);
            after(kind, end, place);
            if let Place::Green(runtime) = place {
                in_scope(kind, end, runtime);
            }
        }
        dropped(kind, place);
    }
}

#[test]
fn each_wait_of_a_green_thread_ends_with_its_token_and_loses_nothing() {
    be_quiet_about_planned_panics();
    everywhere(|runtime| table(Place::Green(runtime)));
}

#[test]
fn each_wait_of_a_kernel_thread_ends_with_its_token_and_loses_nothing() {
    be_quiet_about_planned_panics();
    let _watch = common::Watch::new("cancellation on kernel threads");
    table(Place::Kernel);
}

#[test]
fn input_and_output_do_not_begin_when_the_token_has_ended_on_any_thread() {
    let _watch = common::Watch::new("input and output with a token that has ended");
    for kind in KINDS.into_iter().filter(|kind| kind.is_io) {
        for end in ENDS {
            before(kind, end, Place::Kernel, false);
        }
    }
}

#[test]
fn no_thread_is_left_after_cancellations_of_all_kinds() {
    let _watch = common::Watch::new("threads after cancellations");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    for kind in KINDS {
        meanwhile(kind, End::Cancel, Place::Green(&runtime));
        meanwhile(kind, End::Deadline, Place::Green(&runtime));
    }
    let ended = runtime.shutdown_timeout(Duration::from_secs(60));
    assert!(ended.is_ok(), "{ended:?}");
}

/// The seam below the waits. A thread that is notified while it runs, and switches to others and back, has lost the
/// notification; then it must not park for ever.
#[test]
fn a_cancellation_is_not_lost_to_a_thread_that_switches_before_it_parks() {
    let _watch = common::Watch::new("a thread that switches before it parks");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let done = Arc::new(common::Count::new());
    let theirs = Arc::clone(&done);
    let other = runtime.spawn(move || theirs.wait_for(1));
    runtime.run(|| {
        let token = Token::new(NEVER);
        let seat = pin!(Seat::new(&token));
        // SAFETY: the only seat of the thread, dropped at the end of this closure.
        let taken = unsafe { seat.as_ref().take_for_operation() };
        assert_eq!(taken, Ok(()));
        token.cancel();
        let before = done.get();
        brigade::thread::yield_now();
        assert_eq!(before, 0);
        let wait = Wait::new(WaitReason::Park, 0, Location::caller());
        // With a deadline that is too far for the test to end by it.
        with_current(|current| current.park(&wait, NEVER - 1));
        assert!(!is_in_time(NEVER - 1));
        done.up();
    });
    other.join().expect("no panic");
}
