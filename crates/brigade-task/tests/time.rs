//! Timers, without the hooks and without tasks: any executor will do.

mod common;

use std::future::pending;
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};
use std::task::{Poll, Wake, Waker};
use std::time::{Duration, Instant};

use brigade_task::{TimedOut, interval, sleep, sleep_until, timeout};
use common::{Bell, Watch, block_on, both, poll_once};

const SHORT: Duration = Duration::from_millis(3);
const HOUR: Duration = Duration::from_secs(3600);

#[test]
fn a_sleep_is_not_ready_before_its_time() {
    let begin = Instant::now();
    block_on(sleep(SHORT));
    assert!(begin.elapsed() >= SHORT);
}

#[test]
fn a_deadline_in_the_past_is_reached_at_once() {
    let bell = Bell::new();
    let mut sleep = sleep_until(Instant::now());
    assert_eq!(poll_once(&mut sleep, &Waker::from(bell)), Poll::Ready(()));
}

#[test]
fn an_earlier_sleep_overtakes_one_the_driver_waits_for() {
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let mut long = sleep(HOUR);
    assert!(poll_once(&mut long, &waker).is_pending());
    // The driver sleeps for an hour now, and must be roused.
    block_on(sleep(SHORT));
    assert_eq!(bell.rung(), 0);
}

#[test]
fn a_hundred_thousand_sleeps_end_each_in_its_time() {
    const SLEEPS: usize = 100_000;
    struct Counted(AtomicUsize, std::thread::Thread);
    impl Wake for Counted {
        fn wake(self: Arc<Self>) {
            // ORDER: SeqCst: pairs with the load below.
            if self.0.fetch_add(1, Ordering::SeqCst) + 1 == SLEEPS {
                self.1.unpark();
            }
        }
    }
    let _watch = Watch::new();
    let counted = Arc::new(Counted(AtomicUsize::new(0), std::thread::current()));
    let waker = Waker::from(Arc::clone(&counted));
    let mut sleeps: Vec<_> = (0..SLEEPS)
        .map(|n| sleep(Duration::from_millis(300 + (n % 97) as u64)))
        .collect();
    for sleep in &mut sleeps {
        if poll_once(sleep, &waker).is_ready() {
            // ORDER: SeqCst: as above. A slow machine: it was over before it was registered.
            counted.0.fetch_add(1, Ordering::SeqCst);
        }
    }
    // ORDER: SeqCst: as above.
    while counted.0.load(Ordering::SeqCst) < SLEEPS {
        std::thread::park();
    }
    assert!(sleeps.iter().all(|sleep| sleep.is_elapsed()));
}

#[test]
fn a_future_in_time_wins_and_a_late_one_does_not() {
    assert_eq!(block_on(timeout(HOUR, async { 7 })), Ok(7));
    let late: Result<(), TimedOut> = block_on(timeout(SHORT, pending()));
    assert!(late.is_err());
    // What is ready does not care that the time is over.
    assert_eq!(block_on(timeout(Duration::ZERO, async { 7 })), Ok(7));
}

#[test]
fn a_sleep_polled_with_another_waker_wakes_that_one_alone() {
    let (first, second) = (Bell::new(), Bell::new());
    let mut sleep = sleep(SHORT);
    let pending_first = poll_once(&mut sleep, &Waker::from(Arc::clone(&first))).is_pending();
    let pending_second = poll_once(&mut sleep, &Waker::from(Arc::clone(&second))).is_pending();
    if pending_first && pending_second {
        let _watch = Watch::new();
        second.wait_for(1);
        // It may have fired between the two polls.
        assert!(first.rung() == 0 || sleep.is_elapsed());
    }
}

#[test]
fn a_sleep_that_is_reset_ends_at_the_new_time() {
    let bell = Bell::new();
    let mut sleep = sleep(HOUR);
    assert!(poll_once(&mut sleep, &Waker::from(bell)).is_pending());
    let begin = Instant::now();
    sleep.reset(begin + SHORT);
    block_on(sleep);
    assert!(begin.elapsed() >= SHORT && begin.elapsed() < HOUR);
}

#[test]
fn sleeps_in_one_task_run_at_the_same_time() {
    let begin = Instant::now();
    let hour = timeout(HOUR, sleep(Duration::from_millis(30)));
    block_on(both(hour, sleep(SHORT))).0.expect("in time");
    assert!(begin.elapsed() >= Duration::from_millis(30));
}

#[test]
fn ticks_stay_at_multiples_of_the_period() {
    let period = Duration::from_millis(2);
    let ticks = block_on(async {
        let mut ticks = interval(period);
        let mut due = Vec::new();
        for _ in 0..5 {
            due.push(ticks.tick().await);
        }
        due
    });
    for pair in ticks.windows(2) {
        let apart = pair[1] - pair[0];
        assert_eq!(apart.as_nanos() % period.as_nanos(), 0, "{apart:?}");
        assert!(!apart.is_zero());
    }
}

#[test]
fn the_waker_of_a_dropped_sleep_is_gone_with_it() {
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let before = Arc::strong_count(&bell);
    for _ in 0..10_000 {
        let mut sleep = sleep(HOUR);
        assert!(poll_once(&mut sleep, &waker).is_pending());
    }
    assert_eq!(Arc::strong_count(&bell), before);
}

#[test]
fn sleeps_dropped_while_they_fire_are_safe() {
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    for round in 0..3_000_u64 {
        let mut sleep = sleep(Duration::from_micros(round % 150));
        let _ = poll_once(&mut sleep, &waker);
        while round % 3 == 0 && !sleep.is_elapsed() {
            std::hint::spin_loop();
        }
        drop(sleep);
    }
    drop(waker);
    // The driver may hold the last ones for a moment.
    let _watch = Watch::new();
    while Arc::strong_count(&bell) > 1 {
        std::thread::yield_now();
    }
}

#[test]
fn a_waker_that_panics_does_not_keep_others_from_waking() {
    struct Panics;
    impl Wake for Panics {
        fn wake(self: Arc<Self>) {
            panic!("a waker's panic, planted by the test");
        }
    }
    let waker = Waker::from(Arc::new(Panics));
    let mut bad: Vec<_> = (0..3).map(|_| sleep(SHORT)).collect();
    for sleep in &mut bad {
        let _ = poll_once(sleep, &waker);
    }
    block_on(sleep(2 * SHORT));
    block_on(sleep(SHORT));
}
