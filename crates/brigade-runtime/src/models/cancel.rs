//! Tokens that are cancelled while threads and tasks begin to wait, leave, and make and drop other tokens: no
//! cancellation is lost, and nobody is touched after its end.

use std::sync::Arc;
use std::task::{Wake, Waker};

use loom::sync::Notify;
use loom::sync::atomic::{AtomicBool, AtomicU32, Ordering};
use loom::thread;

use crate::cancel::{CANCELLED, LIVE, Node, NodeRef, Slot, Waiter};
use crate::lot::Sleep;
use crate::prim::NEVER;

const RUNNING: u32 = 0;
const NOTIFIED: u32 = 1;
const PARKED: u32 = 2;

/// A thread with a park word, as far as a waiter sees it. The model never frees it, so that a late look is found and not
/// undefined.
struct Body {
    word: AtomicU32,
    scheduled: Notify,
    has_left: AtomicBool,
}

#[derive(Clone, Copy)]
struct Sleeper(&'static Body);

impl Sleep for Sleeper {
    type Runnable = &'static Body;

    unsafe fn notify(self) -> Option<&'static Body> {
        // ORDER: Acquire: pairs with the Release in `wait`.
        let has_left = self.0.has_left.load(Ordering::Acquire);
        assert!(!has_left, "touched after its end");
        // ORDER: AcqRel: the runtime's park word has its own proof.
        let before = self.0.word.fetch_or(NOTIFIED, Ordering::AcqRel);
        (before == PARKED).then_some(self.0)
    }
}

impl Body {
    fn new() -> &'static Body {
        Box::leak(Box::new(Body {
            word: AtomicU32::new(RUNNING),
            scheduled: Notify::new(),
            has_left: AtomicBool::new(false),
        }))
    }

    fn park(&self) {
        // ORDER: AcqRel: as in `notify`.
        let parked =
            self.word
                .compare_exchange(RUNNING, PARKED, Ordering::AcqRel, Ordering::Acquire);
        if parked.is_err() {
            // ORDER: AcqRel: as above; takes the notification.
            self.word.swap(RUNNING, Ordering::AcqRel);
            return;
        }
        // ORDER: Acquire: pairs with `schedule`.
        while self.word.load(Ordering::Acquire) != RUNNING {
            self.scheduled.wait();
        }
    }

    /// Stands for a switch to others and back: the dispatcher takes the notification.
    fn yield_now(&self) {
        // ORDER: AcqRel: as in `notify`.
        self.word.swap(RUNNING, Ordering::AcqRel);
    }

    fn schedule(&self) {
        // ORDER: Release: pairs with the Acquire in `park`.
        self.word.store(RUNNING, Ordering::Release);
        self.scheduled.notify();
    }
}

/// How a waiting thread behaves.
#[derive(Clone, Copy, PartialEq, Eq)]
enum How {
    /// Until the token ends.
    Endless,
    /// Does not park, as if its wait had come to its own end.
    GivesUp,
    /// As the first, and lets others run before each look, which uses notifications up (`in_time.rs`, invariant 1).
    YieldsAndLooks,
    /// A planted fault: looks at the word before it enters the list, and not again.
    LooksBefore,
    /// A planted fault: lets others run between a look and the park.
    LooksAndYields,
}

/// Waits as a thread of its own.
fn wait(node: &Node<Sleeper>, how: How) {
    let body = Body::new();
    let waiter = Waiter::new(Sleeper(body));
    let was_live = node.state() == LIVE;
    // SAFETY: the waiter stays here until `leave`.
    let is_in = unsafe { node.enter(&waiter) };
    match how {
        How::Endless if is_in => {
            while node.state() == LIVE {
                body.park();
            }
        }
        How::YieldsAndLooks if is_in => loop {
            body.yield_now();
            if node.state() != LIVE {
                break;
            }
            body.park();
        },
        How::LooksBefore if was_live => body.park(),
        How::LooksAndYields if is_in => {
            while node.state() == LIVE {
                body.yield_now();
                body.park();
            }
        }
        _ => {}
    }
    node.leave(&waiter);
    // ORDER: Release: pairs with the Acquire in `notify`.
    body.has_left.store(true, Ordering::Release);
}

fn cancel(node: &Node<Sleeper>) {
    let mut runnables = Vec::new();
    let slots = node.cancel(0, |runnable| runnables.push(runnable));
    runnables.into_iter().for_each(Body::schedule);
    slots.wake();
}

fn root() -> NodeRef<Sleeper> {
    NodeRef::root_of_tree(NEVER)
}

fn waiter_and_canceller(how: How) {
    loom::model(move || {
        let node = root();
        let waits = node.clone();
        let waiter = thread::spawn(move || wait(&waits, how));
        cancel(&node);
        waiter.join().unwrap();
        assert_eq!(node.state(), CANCELLED);
    });
}

#[test]
fn who_waits_is_woken_and_who_comes_later_does_not_wait() {
    waiter_and_canceller(How::Endless);
}

#[test]
fn who_leaves_meanwhile_is_not_touched_any_more() {
    waiter_and_canceller(How::GivesUp);
}

#[test]
fn a_thread_that_lets_others_run_before_it_looks_is_woken() {
    waiter_and_canceller(How::YieldsAndLooks);
}

/// The checker notices a thread that waits for ever. The node is never freed, so that the failure ends in one panic.
fn waiter_that_is_lost(how: How) {
    loom::model(move || {
        let node: &'static NodeRef<Sleeper> = Box::leak(Box::new(root()));
        let waiter = thread::spawn(move || wait(node, how));
        cancel(node);
        waiter.join().unwrap();
    });
}

#[test]
#[should_panic]
fn planted_a_look_before_the_list_loses_a_cancellation() {
    waiter_that_is_lost(How::LooksBefore);
}

#[test]
#[should_panic]
fn planted_a_switch_between_look_and_park_loses_a_cancellation() {
    waiter_that_is_lost(How::LooksAndYields);
}

#[test]
fn two_waiters_and_two_cancellers() {
    loom::model(|| {
        let node = root();
        let threads: Vec<_> = [How::Endless, How::GivesUp]
            .into_iter()
            .map(|how| {
                let node = node.clone();
                thread::spawn(move || wait(&node, how))
            })
            .collect();
        let other = node.clone();
        let canceller = thread::spawn(move || cancel(&other));
        cancel(&node);
        threads
            .into_iter()
            .for_each(|thread| thread.join().unwrap());
        canceller.join().unwrap();
    });
}

#[test]
fn a_child_that_is_made_meanwhile_ends_too() {
    loom::model(|| {
        let node = root();
        let parent = node.clone();
        let maker = thread::spawn(move || {
            let child = parent.child(NEVER);
            wait(&child, How::Endless);
            child.state()
        });
        cancel(&node);
        assert_eq!(maker.join().unwrap(), CANCELLED);
    });
}

/// A canceller finds the tree whole while its nodes come and go; a node whose handles are gone still passes on what its
/// parent tells it.
#[test]
fn nodes_that_are_dropped_meanwhile_are_left_out() {
    loom::model(|| {
        let node = root();
        let middle = node.child(NEVER);
        let leaf = middle.child(NEVER);
        let sibling = node.child(NEVER);
        let dropper = thread::spawn(move || {
            drop(middle);
            drop(sibling);
        });
        let waits = leaf.clone();
        let waiter = thread::spawn(move || wait(&waits, How::Endless));
        cancel(&node);
        dropper.join().unwrap();
        waiter.join().unwrap();
        assert_eq!(leaf.state(), CANCELLED);
    });
}

#[test]
fn a_parent_does_not_end_with_its_child() {
    loom::model(|| {
        let node = root();
        let (child, other) = (node.child(NEVER), node.child(NEVER));
        let grandchild = child.child(NEVER);
        let canceller = thread::spawn(move || cancel(&child));
        wait(&other, How::GivesUp);
        canceller.join().unwrap();
        assert_eq!((node.state(), other.state()), (LIVE, LIVE));
        assert_eq!(grandchild.state(), CANCELLED);
    });
}

/// A task: what it is woken by.
struct Woken(AtomicBool);

impl Wake for Woken {
    fn wake(self: Arc<Self>) {
        // ORDER: Release: pairs with the Acquire in `tasks`.
        self.0.store(true, Ordering::Release);
    }
}

fn tasks(leaves: bool) {
    loom::model(move || {
        let node = root();
        let listens = node.clone();
        let task = thread::spawn(move || {
            let woken = Arc::new(Woken(AtomicBool::new(false)));
            let slot = Slot::new();
            let enlisted = listens.enlist(&slot, Waker::from(Arc::clone(&woken)));
            let is_in = enlisted.is_ok();
            drop(enlisted);
            if leaves {
                drop(listens.delist(&slot));
            }
            (woken, slot, is_in)
        });
        cancel(&node);
        let (woken, slot, is_in) = task.join().unwrap();
        // ORDER: Acquire: pairs with the Release in `wake`.
        let was_woken = woken.0.load(Ordering::Acquire);
        if leaves {
            assert!(!was_woken || is_in);
        } else {
            // In the list, it was there when the node ended, or is refused.
            assert_eq!(was_woken, is_in);
        }
        assert_eq!(Arc::strong_count(&slot), 1, "the list has kept a slot");
        assert_eq!(Arc::strong_count(&woken), 1, "the list has kept a waker");
    });
}

#[test]
fn a_task_is_woken_or_refused() {
    tasks(false);
}

#[test]
fn a_task_that_leaves_meanwhile_leaves_nothing_behind() {
    tasks(true);
}
