//! A group: who waits returns when there is no member, not before, and for good.

use loom::sync::atomic::{AtomicU32, AtomicUsize, Ordering};
use loom::thread;

use super::green::{Green, Sleeper};
use crate::members::Members;
use crate::prim::Lock;
use crate::wait_queue::{Inner, WaitQueue};

struct Group {
    members: Members<Sleeper>,
    /// Members whose work is not done, as they say themselves.
    busy: AtomicU32,
}

// SAFETY: the queue's pointers are used only under its lock, which the models check.
unsafe impl Sync for Group {}

impl Group {
    /// Never freed: a planted fault unwinds in the middle of a run.
    fn new(members: u32) -> &'static Group {
        Box::leak(Box::new(Group {
            members: Members {
                number: AtomicUsize::new(members as usize),
                queue: WaitQueue {
                    inner: Lock::new(Inner::new(())),
                },
            },
            busy: AtomicU32::new(members),
        }))
    }

    /// By a member: its work is done and it leaves.
    fn leave(&self) -> bool {
        // ORDER: Relaxed: published by the group, which is what is checked.
        self.busy.fetch_sub(1, Ordering::Relaxed);
        self.members.remove()
    }

    /// By a member, as a thread of its own: leaves and waits; false if its time was up, then it is a member again.
    fn wait(&self, gives_up: bool) -> bool {
        let is_over = self.leave() || {
            let green = Green::new();
            let is_over = self
                .members
                .wait(Sleeper(green), || green.park(gives_up), || !gives_up);
            green.end();
            is_over
        };
        if is_over {
            // ORDER: Relaxed: as in `leave`.
            assert_eq!(self.busy.load(Ordering::Relaxed), 0, "not over");
        } else {
            // ORDER: Relaxed: as in `leave`.
            self.busy.fetch_add(1, Ordering::Relaxed);
        }
        is_over
    }
}

fn spawn<T: 'static>(
    group: &'static Group,
    body: impl FnOnce(&Group) -> T + 'static,
) -> thread::JoinHandle<T> {
    thread::spawn(move || body(group))
}

#[test]
fn waits_end_when_the_last_member_leaves() {
    loom::model(|| {
        let group = Group::new(3);
        let worker = spawn(group, Group::leave);
        let other = spawn(group, |group| group.wait(false));
        assert!(group.wait(false));
        assert!(other.join().unwrap());
        worker.join().unwrap();
    });
}

#[test]
fn a_timeout_beside_the_last_member_keeps_the_others_waiting_or_is_over_too() {
    loom::model(|| {
        let group = Group::new(3);
        let hasty = spawn(group, |group| {
            if group.wait(true) {
                return true;
            }
            // Still a member, so nobody may have returned; the main thread checks it in `wait`.
            group.leave();
            false
        });
        let worker = spawn(group, Group::leave);
        assert!(group.wait(false));
        hasty.join().unwrap();
        worker.join().unwrap();
        assert_eq!(group.members.number.load(Ordering::Relaxed), 0); // ORDER: Relaxed: joined.
    });
}

/// Planted fault: a waiter whose time is up becomes a member again though it is over.
#[test]
#[should_panic]
fn the_checker_finds_a_member_that_comes_back_after_the_end() {
    loom::model(|| {
        let group = Group::new(2);
        let over: &AtomicU32 = Box::leak(Box::new(AtomicU32::new(0)));
        let worker = spawn(group, move |group| {
            let is_over = group.leave();
            over.store(u32::from(is_over), Ordering::Relaxed); // ORDER: Relaxed: read after the join.
        });
        group.members.number.fetch_sub(1, Ordering::AcqRel); // ORDER: AcqRel: as in `remove`.
        let green = Green::new();
        group.members.queue.wait(
            (Sleeper(green), 0),
            |_| true,
            || green.park(true),
            || false,
            |_| group.members.add(),
        );
        green.end();
        worker.join().unwrap();
        // ORDER: Relaxed: joined.
        let (is_over, number) = (
            over.load(Ordering::Relaxed),
            group.members.number.load(Ordering::Relaxed),
        );
        assert!(is_over == 0 || number == 0, "over, with a member");
    });
}
