//! A green thread has one identity, for std and for Brigade, wherever it runs.

mod common;

use std::collections::HashSet;
use std::sync::{Arc, Mutex};

use common::{hop, migrating};

const THREADS: usize = 1000;
const ROUNDS: usize = 20;

#[test]
fn std_thread_ids_are_unique_and_stable() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let all = Arc::clone(&ids);
    migrating(THREADS, move |_| {
        let thread = std::thread::current();
        let id = thread.id();
        assert!(
            all.lock().expect("not poisoned").insert(id),
            "two living threads share {id:?}"
        );
        for _ in 0..ROUNDS {
            hop();
            assert_eq!((std::thread::current().id(), thread.id()), (id, id));
        }
    });
    assert_eq!(ids.lock().expect("not poisoned").len(), THREADS);
}

#[test]
fn brigade_thread_ids_are_unique_and_stable() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let all = Arc::clone(&ids);
    migrating(THREADS, move |_| {
        let thread = brigade::thread::current();
        let id = thread.id();
        assert!(
            all.lock().expect("not poisoned").insert(id),
            "two living threads share {id:?}"
        );
        for _ in 0..ROUNDS {
            hop();
            assert_eq!((brigade::thread::current().id(), thread.id()), (id, id));
        }
    });
    assert_eq!(ids.lock().expect("not poisoned").len(), THREADS);
}

#[test]
fn the_handle_and_the_thread_itself_agree_on_the_id() {
    migrating(100, |_| {
        let handle = brigade::thread::spawn(|| {
            hop();
            brigade::thread::current().id()
        });
        let seen_from_outside = handle.thread().id();
        assert_eq!(
            handle.join().expect("the thread does not panic"),
            seen_from_outside
        );
    });
}

#[test]
fn names_belong_to_their_thread() {
    migrating(100, |index| {
        let name = format!("thread number {index}");
        let handle = brigade::thread::Builder::new()
            .name(name.clone())
            .spawn(|| {
                hop();
                brigade::thread::current().name().map(str::to_owned)
            })
            .expect("a thread can be spawned");
        assert_eq!(handle.thread().name(), Some(name.as_str()));
        assert_eq!(
            handle.join().expect("the thread does not panic"),
            Some(name)
        );
    });
}

#[test]
fn an_unpark_token_of_std_waits_for_its_thread() {
    migrating(THREADS, |_| {
        let thread = std::thread::current();
        hop();
        thread.unpark();
        hop();
        std::thread::park();
    });
}

#[test]
fn an_unpark_token_of_brigade_waits_for_its_thread() {
    migrating(THREADS, |_| {
        let thread = brigade::thread::current();
        hop();
        thread.unpark();
        hop();
        brigade::thread::park();
    });
}

#[test]
fn the_pthread_identity_is_unique_and_stable() {
    let ids = Arc::new(Mutex::new(HashSet::new()));
    let all = Arc::clone(&ids);
    migrating(THREADS, move |_| {
        // SAFETY: pthread_self has no preconditions.
        let own = || unsafe { libc::pthread_self() };
        let id = own();
        assert!(
            all.lock().expect("not poisoned").insert(id),
            "two living threads share one pthread_t"
        );
        for _ in 0..ROUNDS {
            hop();
            assert_eq!(own(), id);
        }
        // Keep every thread alive until all have been seen: a block may be used again once its thread has ended.
        while all.lock().expect("not poisoned").len() < THREADS {
            hop();
        }
    });
}
