//! Pusher and sleeper: no work is left beside a sleeping processor.

use loom::sync::Arc;
use loom::sync::atomic::{AtomicBool, Ordering};
use loom::thread;

use crate::idle::IdleSet;
use crate::queue::{Link, LocalQueue};

struct Item;

// SAFETY: the models below never put an item into a list.
unsafe impl Link for Item {
    unsafe fn next(_: *mut Item) -> *mut Item {
        unreachable!()
    }

    unsafe fn set_next(_: *mut Item, _: *mut Item) {
        unreachable!()
    }
}

struct World {
    idle: IdleSet,
    /// The pusher's queue.
    queue: LocalQueue<Item>,
    /// The sleeper was taken out of the set by the pusher and will be woken.
    woken: AtomicBool,
}

impl World {
    fn new() -> Arc<World> {
        Arc::new(World {
            idle: IdleSet::new(2),
            queue: LocalQueue::new(),
            woken: AtomicBool::new(false),
        })
    }

    /// What `wake_for_work` does.
    fn wake(&self) {
        if self.idle.claim_search() {
            match self.idle.pop() {
                Some(processor) => {
                    assert_eq!(processor, 1);
                    // ORDER: Relaxed: read after a join.
                    self.woken.store(true, Ordering::Relaxed);
                }
                None => {
                    self.idle.end_search();
                }
            }
        }
    }

    /// What a carrier does that finds nothing. True: it sleeps.
    fn fall_asleep(&self, searching: bool) -> bool {
        self.idle.insert(1);
        if searching {
            self.idle.end_search();
        }
        let work = !self.queue.ring_is_empty();
        !(work && self.idle.remove_where(|p| p == 1).is_some())
    }
}

fn push_beside_sleeper(searching: bool) {
    loom::model(move || {
        let world = World::new();
        if searching {
            assert!(world.idle.begin_search(2));
        }
        let sleeper = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.fall_asleep(searching))
        };
        world
            .queue
            .push(std::ptr::dangling_mut(), &mut |_| unreachable!());
        world.wake();
        let asleep = sleeper.join().unwrap();
        // ORDER: Relaxed: everything has been joined.
        let woken = world.woken.load(Ordering::Relaxed);
        assert!(!asleep || woken, "work is left beside a sleeping processor");
    });
}

#[test]
fn a_push_beside_a_carrier_that_falls_asleep_is_seen() {
    push_beside_sleeper(false);
}

#[test]
fn a_push_beside_the_last_searcher_is_seen() {
    push_beside_sleeper(true);
}

#[test]
fn two_pushers_wake_one_processor() {
    loom::model(|| {
        let world = World::new();
        world.idle.insert(1);
        let other = {
            let world = Arc::clone(&world);
            thread::spawn(move || world.wake())
        };
        world.wake();
        other.join().unwrap();
        // ORDER: Relaxed: everything has been joined.
        assert!(world.woken.load(Ordering::Relaxed));
        assert_eq!(world.idle.count(), 0);
    });
}

/// Planted fault: a sleeper that looks before it publishes itself.
#[test]
#[should_panic(expected = "work is left")]
fn the_checker_finds_a_sleeper_that_looks_too_early() {
    loom::model(|| {
        let world = World::new();
        let sleeper = {
            let world = Arc::clone(&world);
            thread::spawn(move || {
                let work = !world.queue.ring_is_empty();
                world.idle.insert(1);
                !(work && world.idle.remove_where(|p| p == 1).is_some())
            })
        };
        world
            .queue
            .push(std::ptr::dangling_mut(), &mut |_| unreachable!());
        world.wake();
        let asleep = sleeper.join().unwrap();
        // ORDER: Relaxed: everything has been joined.
        assert!(
            !asleep || world.woken.load(Ordering::Relaxed),
            "work is left"
        );
    });
}
