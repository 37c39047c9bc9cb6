//! Events between green and kernel threads: who waits is released by a set, and by nothing else.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::sync::Event;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

#[test]
fn a_set_releases_all_that_wait_and_all_that_come_later() {
    everywhere(|runtime| {
        for _ in 0..20 {
            let (event, before) = (Arc::new(Event::new()), Arc::new(Count::new()));
            let (shared, written) = (Arc::clone(&event), Arc::clone(&before));
            mixed(runtime, 10, 3, move |index| {
                if index == 7 {
                    written.set(1);
                    shared.set();
                }
                shared.wait();
                assert_eq!(written.get(), 1, "released before it was set");
            });
            assert!(event.is_set());
            event.wait();
        }
    });
}

#[test]
fn who_waits_when_it_is_set_is_released_even_if_it_is_reset_at_once() {
    let _watch = Watch::new("events that are reset at once");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    for _ in 0..100 {
        let event = Arc::new(Event::new());
        let threads: Vec<_> = (0..4)
            .map(|_| {
                let event = Arc::clone(&event);
                waiting(&runtime, move || event.wait()).1
            })
            .collect();
        event.set();
        event.reset();
        for thread in threads {
            thread.join().expect("no panic");
        }
        assert!(!event.is_set());
        assert!(!event.wait_timeout(Duration::ZERO), "it was reset");
    }
}

#[test]
fn two_events_pass_a_turn_back_and_forth() {
    const TURNS: usize = 500;
    everywhere(|runtime| {
        let turns = Arc::new(([Event::new(), Event::new()], Count::new()));
        turns.0[0].set();
        let shared = Arc::clone(&turns);
        mixed(runtime, 1, 1, move |index| {
            for turn in 0..TURNS {
                let (events, count) = &*shared;
                events[index].wait();
                events[index].reset();
                assert_eq!(count.up(), 2 * turn + index);
                events[1 - index].set();
            }
        });
        assert_eq!(turns.1.get(), 2 * TURNS);
    });
}

#[test]
fn waits_that_time_out_beside_sets_and_resets_forget_nobody() {
    everywhere(|runtime| {
        let state = Arc::new((Event::new(), Count::new()));
        let shared = Arc::clone(&state);
        let (green, kernel, rounds) = (8, 4, 300);
        mixed(runtime, green, kernel, move |index| {
            let (event, ended) = &*shared;
            if index == 0 {
                // Sets and resets until all others are through; the last of them wait without a limit.
                while ended.get() < green + kernel - 1 {
                    event.set();
                    event.reset();
                    brigade::thread::yield_now();
                }
                return;
            }
            for round in 0..rounds {
                let ns = (round * 7919 + index * 104_729) % 5000;
                event.wait_timeout(Duration::from_nanos(ns as u64));
            }
            event.wait();
            ended.up();
        });
        assert!(!state.0.is_set());
    });
}

#[test]
fn a_waiter_that_gives_up_leaves_the_others_to_the_set() {
    let _watch = Watch::new("a waiter beside one that gives up");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let event = Arc::new(Event::new());
    let shared = Arc::clone(&event);
    let (_, patient) = waiting(&runtime, move || shared.wait());
    assert!(!event.wait_timeout(Duration::from_millis(1)));
    event.set();
    patient.join().expect("no panic");
}

#[test]
fn a_time_that_is_up_says_whether_it_is_set() {
    everywhere(|runtime| {
        runtime.run(|| {
            let event = Event::default();
            let past = Instant::now();
            assert!(!event.wait_deadline(past));
            assert!(!event.wait_timeout(Duration::from_millis(1)));
            event.set();
            event.set();
            assert!(event.wait_deadline(past) && event.wait_timeout(Duration::ZERO));
            event.reset();
            event.reset();
            assert!(!event.is_set());
        });
    });
}

#[test]
fn a_waiting_thread_tells_what_it_waits_for_and_where() {
    let _watch = Watch::new("a thread that waits for an event");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    static EVENT: Event = Event::new();
    let line = line!() + 1;
    let (record, thread) = waiting(&runtime, || EVENT.wait());
    EVENT.set();
    thread.join().expect("no panic");
    assert_eq!(record.wait.reason, WaitReason::Event);
    assert_eq!(record.wait.object, (&raw const EVENT).addr());
    let site = record.wait.site.expect("a site");
    assert_eq!((site.file(), site.line()), (file!(), line));
}
