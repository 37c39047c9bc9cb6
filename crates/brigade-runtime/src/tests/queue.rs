//! Lists and the ring, single-threaded and with a thief.

use std::sync::Arc;

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
    let next = std::ptr::null_mut();
    Box::into_raw(Box::new(Item { next, number }))
}

fn take(item: *mut Item) -> Option<usize> {
    // SAFETY: made by `item`, and handed out once by the queue.
    (!item.is_null()).then(|| unsafe { Box::from_raw(item) }.number)
}

fn drain(queue: &LocalQueue<Item>) -> Vec<usize> {
    std::iter::from_fn(|| take(queue.pop_next()).or_else(|| take(queue.pop()))).collect()
}

fn no_overflow(_: List<Item>) {
    panic!("the ring overflowed");
}

#[test]
fn a_list_is_first_in_first_out() {
    let mut list = List::new();
    let mut other = List::new();
    assert!(take(list.pop()).is_none());
    for number in 0..3 {
        list.push(item(number));
        other.push(item(number + 3));
    }
    list.append(other);
    list.append(List::new());
    assert_eq!(list.len(), 6);
    let out: Vec<_> = std::iter::from_fn(|| take(list.pop())).collect();
    assert_eq!(out, [0, 1, 2, 3, 4, 5]);
    list.push(item(6));
    assert_eq!(take(list.pop()), Some(6));
}

#[test]
fn run_next_goes_before_the_ring_and_gives_way() {
    let queue = LocalQueue::new();
    queue.push(item(0), &mut no_overflow);
    assert!(take(queue.push_next(item(1))).is_none());
    assert_eq!(take(queue.push_next(item(2))), Some(1));
    assert!(!queue.is_empty());
    assert_eq!(drain(&queue), [2, 0]);
    assert!(queue.is_empty());
}

#[test]
fn a_full_ring_hands_over_its_older_half() {
    let queue = LocalQueue::new();
    for number in 0..RING_SLOTS {
        queue.push(item(number), &mut no_overflow);
    }
    let mut spilled = Vec::new();
    queue.push_quiet(item(RING_SLOTS), &mut |mut list: List<Item>| {
        spilled.extend(std::iter::from_fn(|| take(list.pop())));
    });
    let mut expected: Vec<_> = (0..RING_SLOTS / 2).collect();
    expected.push(RING_SLOTS);
    assert_eq!(spilled, expected);
    assert_eq!(
        drain(&queue),
        (RING_SLOTS / 2..RING_SLOTS).collect::<Vec<_>>()
    );
}

#[test]
fn a_thief_takes_half_and_nothing_twice() {
    let queue = LocalQueue::new();
    let own = LocalQueue::new();
    for number in 0..10 {
        queue.push(item(number), &mut no_overflow);
    }
    let (first, count) = queue.steal_into(&own);
    assert_eq!((take(first), count), (Some(0), 5));
    assert_eq!(drain(&own), [1, 2, 3, 4]);
    assert_eq!(drain(&queue), [5, 6, 7, 8, 9]);
}

#[test]
fn owner_and_thief_together_see_every_item_once() {
    const ITEMS: usize = if cfg!(miri) { 300 } else { 100_000 };
    let queue = Arc::new(LocalQueue::new());
    let thief = {
        let queue = Arc::clone(&queue);
        std::thread::spawn(move || {
            let own = LocalQueue::new();
            let mut out = Vec::new();
            while out.last() != Some(&usize::MAX) {
                let (first, _) = queue.steal_into(&own);
                match take(first) {
                    Some(number) => out.push(number),
                    None => std::thread::yield_now(),
                }
                out.extend(drain(&own));
            }
            out.retain(|&number| number != usize::MAX);
            out
        })
    };
    let mut out = Vec::new();
    for number in 0..ITEMS {
        queue.push(item(number), &mut |mut list: List<Item>| {
            out.extend(std::iter::from_fn(|| take(list.pop())));
        });
        if number % 3 == 0 {
            out.extend(take(queue.pop()));
        }
    }
    out.extend(drain(&queue));
    queue.push(item(usize::MAX), &mut no_overflow);
    out.extend(thief.join().unwrap());
    out.sort_unstable();
    assert!(out.into_iter().eq(0..ITEMS));
}
