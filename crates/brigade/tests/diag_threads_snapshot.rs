//! Snapshots of all threads: what they say of each, and that they say it of everybody.
//!
//! The tests of this file share one process, so each looks only at threads that it has named.

mod common;

use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::time::{Duration, Instant};

use brigade::diag::{AwaitedObject, ThreadInfo, ThreadState, Threads, ToJson, WaitReason, threads};
use brigade::runtime::Builder;
use brigade::sync::Mutex;

use common::{Watch, migrating_runtime};

/// The threads with names that begin so.
fn named(prefix: &str) -> Threads {
    threads().filter(|info| is_named(info, prefix))
}

fn is_named(info: &ThreadInfo, prefix: &str) -> bool {
    info.thread
        .name
        .get()
        .is_some_and(|name| name.starts_with(prefix))
}

/// The only thread of this name, once `is_so`.
fn until(name: &str, is_so: impl Fn(&ThreadInfo) -> bool) -> ThreadInfo {
    let _watch = Watch::new(&format!("the wait for {name}"));
    loop {
        let found = named(name);
        match &found[..] {
            [info] if is_so(info) => return info.clone(),
            _ => std::thread::yield_now(),
        }
    }
}

fn is_waiting(info: &ThreadInfo) -> bool {
    matches!(info.state, ThreadState::Waiting(_))
}

/// One that has just been joined may still be seen for a moment.
fn has_ended(info: &ThreadInfo) -> bool {
    info.state == ThreadState::Terminated
}

fn builder(name: &str) -> brigade::thread::Builder {
    brigade::thread::Builder::new().name(name.to_owned())
}

#[test]
fn a_thread_is_told_with_name_number_spawn_site_and_what_it_waits_for() {
    let begun = Instant::now();
    let line = line!() + 2;
    let parked = builder("told").spawn(brigade::thread::park).unwrap();
    let info = until("told", is_waiting);
    let id = format!("{:?}", parked.thread().id());
    assert!(id.contains(&info.thread.id.to_string()), "{id}");
    assert!(info.green);
    assert_eq!(info.state, ThreadState::Waiting(WaitReason::Park));
    let spawned_at = info.spawned_at.unwrap();
    assert_eq!(spawned_at.file(), file!());
    assert!(spawned_at.line().abs_diff(line) <= 1);
    let wait = info.waits_for.unwrap();
    assert_eq!(wait.reason, WaitReason::Park);
    assert!(!wait.timed);
    assert!(info.switches >= 1);
    assert!(info.age_ms >= wait.waited_ms);
    assert!(
        info.age_ms <= begun.elapsed().as_millis() as u64 + 1,
        "{info:?}"
    );
    parked.thread().unpark();
    parked.join().unwrap();
    assert!(named("told").iter().all(has_ended));
}

/// With one worker, what is spawned does not run before its spawner lets it; a hand-off may disturb that, so it is tried
/// until it is seen.
#[test]
fn the_states_of_threads_are_told_apart() {
    let _watch = Watch::new("the wait for all states");
    let runtime = Builder::new().workers(1).build().unwrap();
    let may_stop = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&may_stop);
    runtime.run(move || {
        let state_of = |name| named(name).first().map(|info| info.state);
        loop {
            let fresh = builder("state new").spawn(|| ()).unwrap();
            let state = state_of("state new");
            fresh.join().unwrap();
            if state == Some(ThreadState::New) {
                break;
            }
        }
        let yielder = builder("state runnable").spawn(move || {
            // ORDER: Relaxed: a flag that publishes nothing.
            while !stop.load(Ordering::Relaxed) {
                common::hop();
            }
        });
        while state_of("state runnable") != Some(ThreadState::Runnable) {
            common::hop();
        }
        let mine = builder("state running").spawn(move || state_of("state running"));
        assert_eq!(mine.unwrap().join().unwrap(), Some(ThreadState::Running));
        // ORDER: Relaxed: as above.
        may_stop.store(true, Ordering::Relaxed);
        yielder.unwrap().join().unwrap();
        assert!(named("state").iter().all(has_ended));
    });
}

#[test]
fn a_thread_that_waits_for_a_lock_is_told_with_the_place_and_the_holder() {
    let lock = Arc::new(Mutex::new(()));
    let guard = lock.lock().unwrap();
    let theirs = Arc::clone(&lock);
    let line = line!() + 2;
    let body = move || {
        drop(theirs.lock().unwrap());
    };
    let waiter = builder("lock waiter").spawn(body).unwrap();
    let info = until("lock waiter", is_waiting);
    let wait = info.waits_for.unwrap();
    assert_eq!(wait.reason, WaitReason::Mutex);
    assert_eq!(wait.called_at.map(|site| site.line()), Some(line));
    let AwaitedObject::Lock(wanted) = wait.object else {
        panic!("a lock: {wait}");
    };
    // This test's kernel thread holds it, and is in the snapshot once it has waited for something.
    brigade::thread::sleep(Duration::from_millis(1));
    let all = threads();
    let holders: Vec<_> = all.holders(wanted.address).collect();
    assert_eq!(holders.len(), 1);
    let (holder, held) = holders[0];
    assert!(!holder.green);
    assert_eq!(holder.spawned_at, None);
    assert_eq!(held.taken_at.file(), file!());
    assert!(all.to_string().contains(" holds, taken at "));
    drop(guard);
    waiter.join().unwrap();
}

#[test]
fn a_wait_with_a_deadline_is_told_to_have_one() {
    let body = || brigade::thread::park_timeout(Duration::from_secs(3600));
    let handle = builder("has deadline").spawn(body).unwrap();
    let info = until("has deadline", is_waiting);
    assert!(info.waits_for.unwrap().timed);
    handle.thread().unpark();
    handle.join().unwrap();
}

#[test]
fn a_crowd_is_counted_exactly_and_grouped_by_the_place_of_its_spawn() {
    const CROWD: usize = if cfg!(debug_assertions) {
        20_000
    } else {
        100_000
    };
    let handles: Vec<_> = (0..CROWD)
        .map(|_| builder("crowd").spawn(brigade::thread::park).unwrap())
        .collect();
    let _watch = Watch::new("the wait for the crowd");
    let crowd = loop {
        let crowd = named("crowd");
        if crowd.len() == CROWD && crowd.iter().all(is_waiting) {
            break crowd;
        }
    };
    let sites = crowd.by_spawn_site();
    assert_eq!(sites.len(), 1);
    assert_eq!(sites[0].total, CROWD);
    let parked = ThreadState::Waiting(WaitReason::Park);
    assert_eq!(sites[0].states, [(parked, CROWD)]);
    assert_eq!(
        crowd.to_json().matches("\"state\":\"waiting\"").count(),
        CROWD
    );
    let mut text = Vec::new();
    crowd.write_text(&mut text).unwrap();
    let rows = text.split(|&byte| byte == b'\n').count();
    assert_eq!(rows, 2 * CROWD + 2, "a heading, two lines each, the end");
    for handle in &handles {
        handle.thread().unpark();
    }
    for handle in handles {
        handle.join().unwrap();
    }
    assert!(named("crowd").iter().all(has_ended));
}

/// With one worker, who is woken does not run before its waker lets it; a hand-off may disturb that, so it is tried until
/// it is seen. A thread that is about to run looks like a waiting one for some instructions, hence the count.
#[test]
fn a_thread_that_was_woken_and_has_not_run_is_runnable_and_waits_for_nothing() {
    let _watch = Watch::new("a woken thread");
    let runtime = Builder::new().workers(1).build().unwrap();
    runtime.run(|| {
        let mut waiting = 0;
        loop {
            let parked = builder("woken").spawn(brigade::thread::park).unwrap();
            while !named("woken").iter().any(is_waiting) {
                common::hop();
            }
            parked.thread().unpark();
            let woken = named("woken").first().cloned();
            parked.join().unwrap();
            match woken.map(|info| (info.state, info.waits_for)) {
                Some((ThreadState::Runnable, None)) => break,
                Some((ThreadState::Waiting(_), _)) => waiting += 1,
                _ => (),
            }
            assert!(waiting < 20, "a woken thread looks like a waiting one");
        }
    });
}

#[test]
fn snapshots_may_be_taken_while_threads_begin_and_end() {
    let _watch = Watch::new("snapshots of a storm");
    let runtime = migrating_runtime();
    let may_stop = Arc::new(AtomicBool::new(false));
    let stop = Arc::clone(&may_stop);
    let storm = runtime.spawn(move || {
        let mut spawned = 0_usize;
        // ORDER: Relaxed: a flag that publishes nothing.
        while !stop.load(Ordering::Relaxed) {
            let children: Vec<_> = (0..100)
                .map(|_| builder("storm").spawn(common::hop).unwrap())
                .collect();
            spawned += children.len();
            children.into_iter().for_each(|child| child.join().unwrap());
        }
        spawned
    });
    let mut seen = 0;
    let mut snapshots = 0;
    while seen < 1000 || snapshots < 200 {
        snapshots += 1;
        let storm = named("storm");
        seen += storm.len();
        for info in &storm {
            assert_eq!(info.spawned_at.unwrap().file(), file!());
            assert!(info.waits_for.is_some() || !is_waiting(info));
        }
    }
    // ORDER: Relaxed: as above.
    may_stop.store(true, Ordering::Relaxed);
    assert!(storm.join().unwrap() > 0);
}
