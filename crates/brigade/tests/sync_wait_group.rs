//! Wait groups between green and kernel threads: who waits returns when the last handle is gone, and not before.

mod common;

use std::sync::Arc;
use std::time::{Duration, Instant};

use brigade::runtime::Builder;
use brigade::sync::WaitGroup;
use brigade_runtime::WaitReason;
use common::mixed::{everywhere, mixed, waiting};
use common::{Count, Watch};

#[test]
fn the_wait_ends_when_the_last_handle_is_gone() {
    everywhere(|runtime| {
        for _ in 0..50 {
            let (group, done) = (WaitGroup::new(), Arc::new(Count::new()));
            let threads: Vec<_> = (0..20)
                .map(|index| {
                    let (member, done) = (group.clone(), Arc::clone(&done));
                    runtime.spawn(move || {
                        let grandchild = member.clone();
                        if index % 3 == 0 {
                            brigade::thread::yield_now();
                        }
                        drop(member);
                        done.up();
                        drop(grandchild);
                    })
                })
                .collect();
            group.wait();
            assert_eq!(done.get(), 20, "returned too early");
            for thread in threads {
                thread.join().expect("no panic");
            }
        }
    });
}

#[test]
fn all_that_wait_return_together() {
    everywhere(|runtime| {
        for _ in 0..20 {
            let (group, arrived) = (WaitGroup::new(), Arc::new(Count::new()));
            let members = Arc::new(std::sync::Mutex::new(vec![group; 12]));
            let counted = Arc::clone(&arrived);
            mixed(runtime, 8, 4, move |_| {
                let member = members.lock().expect("nobody panics").pop();
                counted.up();
                member.expect("one for each").wait();
                assert_eq!(counted.get(), 12, "somebody still had a handle");
            });
        }
    });
}

#[test]
fn a_panic_drops_the_handle() {
    everywhere(|runtime| {
        let group = WaitGroup::default();
        let member = group.clone();
        let thread = runtime.spawn(move || {
            let _member = member;
            std::panic::resume_unwind(Box::new(()));
        });
        group.wait();
        assert!(thread.join().is_err());
    });
}

#[test]
fn a_wait_that_times_out_keeps_its_handle() {
    everywhere(|runtime| {
        let group = WaitGroup::new();
        let member = group.clone();
        let group = group.wait_timeout(Duration::from_millis(1)).unwrap_err();
        let group = group.wait_deadline(Instant::now()).unwrap_err();
        // Both handles count: each keeps the other one waiting.
        let member = member.wait_timeout(Duration::ZERO).unwrap_err();
        let (_, thread) = waiting(runtime, move || group.wait());
        drop(member);
        thread.join().expect("no panic");
    });
}

#[test]
fn waits_that_time_out_beside_the_last_drop_agree_that_it_is_over() {
    everywhere(|runtime| {
        for round in 0..200_u64 {
            let (group, over) = (WaitGroup::new(), Arc::new(Count::new()));
            let members: Vec<_> = (0..3).map(|_| group.clone()).collect();
            let threads: Vec<_> = members
                .into_iter()
                .enumerate()
                .map(|(index, mut member)| {
                    let over = Arc::clone(&over);
                    runtime.spawn(move || {
                        let mut ns = (round * 131 + index as u64 * 977) % 5000;
                        while let Err(again) = member.wait_timeout(Duration::from_nanos(ns)) {
                            assert_eq!(over.get(), 0, "a handle was left");
                            member = again;
                            ns += 1000;
                        }
                    })
                })
                .collect();
            group.wait();
            over.set(1);
            for thread in threads {
                thread.join().expect("no panic");
            }
        }
    });
}

#[test]
fn the_only_handle_waits_for_nobody() {
    WaitGroup::new().wait();
    assert!(WaitGroup::new().wait_timeout(Duration::ZERO).is_ok());
}

#[test]
fn a_waiting_thread_tells_what_it_waits_for_and_where() {
    let _watch = Watch::new("a thread that waits for a group");
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let group = WaitGroup::new();
    let member = group.clone();
    let line = line!() + 1;
    let (record, thread) = waiting(&runtime, move || group.wait());
    drop(member);
    thread.join().expect("no panic");
    assert_eq!(record.wait.reason, WaitReason::WaitGroup);
    let site = record.wait.site.expect("a site");
    assert_eq!((site.file(), site.line()), (file!(), line));
}
