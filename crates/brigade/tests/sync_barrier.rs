//! Barriers between green and kernel threads: nobody passes early, each round has one leader.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::sync::Barrier;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

#[test]
fn all_pass_together_each_time_and_one_leads() {
    everywhere(|runtime| {
        let (green, kernel, rounds) = (10, 3, 100);
        let barrier = Barrier::new(green + kernel);
        let (arrived, leaders) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let (seen, led) = (Arc::clone(&arrived), Arc::clone(&leaders));
        mixed(runtime, green, kernel, move |_| {
            for round in 1..=rounds {
                seen.up();
                if barrier.wait().is_leader() {
                    led.up();
                }
                let (arrived, all) = (seen.get(), green + kernel);
                assert!(arrived >= round * all, "passed before all had come");
                assert!(arrived <= (round + 1) * all, "rounds mix");
            }
        });
        assert_eq!(leaders.get(), rounds);
    });
}

#[test]
fn a_barrier_for_one_or_none_stops_nobody() {
    for size in [0, 1] {
        let barrier = Barrier::new(size);
        assert!(barrier.wait().is_leader());
        let result = barrier.wait_timeout(Duration::ZERO);
        assert!(result.is_some_and(|result| result.is_leader()));
    }
}

#[test]
fn a_thread_that_gives_up_has_not_arrived() {
    let _watch = Watch::new("a barrier with a thread that gives up");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let barrier = Arc::new(Barrier::new(2));
    assert!(barrier.wait_timeout(Duration::from_millis(1)).is_none());
    assert!(barrier.wait_deadline(Instant::now()).is_none());
    let shared = Arc::clone(&barrier);
    let (_, first) = waiting(&runtime, move || shared.wait().is_leader());
    assert!(barrier.wait().is_leader());
    assert!(!first.join().expect("no panic"));
}

#[test]
fn arrivals_that_time_out_leave_rounds_whole() {
    everywhere(|runtime| {
        let barrier = Barrier::new(3);
        let counts = Arc::new([Count::new(), Count::new(), Count::new()]);
        let counted = Arc::clone(&counts);
        let (green, kernel, rounds) = (8, 3, 300);
        mixed(runtime, green, kernel, move |index| {
            let [led, followed, left] = &*counted;
            for round in 0..rounds {
                let ns = (round * 7919 + index * 104_729) % 50_000;
                match barrier.wait_timeout(Duration::from_nanos(ns as u64)) {
                    Some(result) if result.is_leader() => led.up(),
                    Some(_) => followed.up(),
                    None => left.up(),
                };
            }
        });
        let [led, followed, left] = [0, 1, 2].map(|place: usize| counts[place].get());
        assert_eq!(led * 2, followed, "each leader has two followers");
        assert_eq!(led + followed + left, (green + kernel) * rounds);
        assert!(led > 0, "no round was complete");
    });
}

#[test]
fn a_waiting_thread_tells_what_it_waits_for_and_where() {
    let _watch = Watch::new("a thread that waits at a barrier");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    static BARRIER: Barrier = Barrier::new(2);
    let line = line!() + 2;
    let (record, thread) = waiting(&runtime, || {
        BARRIER.wait();
    });
    BARRIER.wait();
    thread.join().expect("no panic");
    assert_eq!(record.wait.reason, WaitReason::Barrier);
    assert_eq!(record.wait.object, (&raw const BARRIER).addr());
    let site = record.wait.site.expect("a site");
    assert_eq!((site.file(), site.line()), (file!(), line));
}
