//! The run queue: nothing is lost, nothing comes out twice, also when it overflows.

use loom::sync::Arc;
use loom::thread;

use crate::prim::RING_SLOTS;
use crate::queue::{Link, List, LocalQueue};

struct Item {
    next: *mut Item,
    number: usize,
}

// SAFETY: `next` is used by lists alone.
unsafe impl Link for Item {
    unsafe fn next(this: *mut Item) -> *mut Item {
        // SAFETY: the caller's contract: a live element.
        unsafe { (*this).next }
    }

    unsafe fn set_next(this: *mut Item, next: *mut Item) {
        // SAFETY: the caller's contract: a live element.
        unsafe { (*this).next = next }
    }
}

fn item(number: usize) -> *mut Item {
    Box::into_raw(Box::new(Item {
        next: std::ptr::null_mut(),
        number,
    }))
}

fn take(item: *mut Item) -> Option<usize> {
    if item.is_null() {
        return None;
    }
    // SAFETY: made by `item`; the model asserts that it comes out once.
    Some(unsafe { Box::from_raw(item) }.number)
}

fn drain(queue: &LocalQueue<Item>, out: &mut Vec<usize>) {
    while let Some(number) = take(queue.pop_next()).or_else(|| take(queue.pop())) {
        out.push(number);
    }
}

fn check(mut out: Vec<usize>, count: usize) {
    out.sort_unstable();
    assert_eq!(out, (0..count).collect::<Vec<_>>());
}

#[test]
fn owner_and_thief_share_without_loss() {
    loom::model(|| {
        let queue = Arc::new(LocalQueue::new());
        let thief = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let own = LocalQueue::new();
                let mut out = Vec::new();
                let (first, _) = queue.steal_into(&own);
                out.extend(take(first));
                drain(&own, &mut out);
                out
            })
        };
        let mut out = Vec::new();
        for number in 0..3 {
            queue.push(item(number), &mut |_| panic!("overflow"));
        }
        out.extend(take(queue.pop()));
        out.extend(thief.join().unwrap());
        drain(&queue, &mut out);
        check(out, 3);
    });
}

#[test]
fn an_overflow_beside_a_thief_loses_nothing() {
    loom::model(|| {
        let queue = Arc::new(LocalQueue::new());
        for number in 0..RING_SLOTS {
            queue.push(item(number), &mut |_| panic!("overflow"));
        }
        let thief = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let own = LocalQueue::new();
                let mut out = Vec::new();
                let (first, _) = queue.steal_into(&own);
                out.extend(take(first));
                drain(&own, &mut out);
                out
            })
        };
        let mut out = Vec::new();
        let mut overflow = |mut list: List<Item>| {
            while let Some(number) = take(list.pop()) {
                out.push(number);
            }
        };
        queue.push(item(RING_SLOTS), &mut overflow);
        out.extend(thief.join().unwrap());
        drain(&queue, &mut out);
        check(out, RING_SLOTS + 1);
    });
}

#[test]
fn run_next_comes_out_once() {
    loom::model(|| {
        let queue = Arc::new(LocalQueue::new());
        assert!(take(queue.push_next(item(0))).is_none());
        let thief = {
            let queue = Arc::clone(&queue);
            thread::spawn(move || {
                let seen = queue.next_item();
                if seen.is_null() {
                    None
                } else {
                    take(queue.steal_next(seen))
                }
            })
        };
        let mut out = Vec::new();
        let displaced = queue.push_next(item(1));
        out.extend(take(displaced));
        out.extend(thief.join().unwrap());
        drain(&queue, &mut out);
        check(out, 2);
    });
}

#[test]
fn two_thieves_take_different_tasks() {
    loom::model(|| {
        let queue = Arc::new(LocalQueue::new());
        queue.push(item(0), &mut |_| panic!("overflow"));
        queue.push(item(1), &mut |_| panic!("overflow"));
        let thieves: Vec<_> = (0..2)
            .map(|_| {
                let queue = Arc::clone(&queue);
                thread::spawn(move || {
                    let own = LocalQueue::new();
                    let (first, _) = queue.steal_into(&own);
                    let mut out: Vec<_> = take(first).into_iter().collect();
                    drain(&own, &mut out);
                    out
                })
            })
            .collect();
        let mut out = Vec::new();
        for thief in thieves {
            out.extend(thief.join().unwrap());
        }
        drain(&queue, &mut out);
        check(out, 2);
    });
}
