//! What an entry remembers of the locks that a thread holds.

use std::panic::Location;

use brigade_event::{LockKind, LockTag, Mode};

use crate::roster::{Entry, HeldLock, fetch_one};

fn held(entry: &Entry) -> Vec<HeldLock> {
    let mut locks = Vec::new();
    entry.for_each_held(|lock| locks.push(lock));
    locks
}

#[test]
fn a_held_lock_is_remembered_with_its_class_rank_mode_and_site() {
    let entry = fetch_one();
    let tag = LockTag::new(LockKind::RwLock).with_rank(0x8001);
    tag.set_class(0xfffe);
    let site = Location::caller();
    entry.lock_taken(&tag, Mode::Shared, site);
    let locks = held(entry);
    assert_eq!(locks.len(), 1);
    assert_eq!(locks[0].address, tag.address());
    assert_eq!((locks[0].class, locks[0].rank), (0xfffe, 0x8001));
    assert_eq!(locks[0].mode, Mode::Shared);
    assert_eq!(locks[0].site, site);
    entry.lock_released(&tag, Mode::Shared);
    assert!(!entry.holds_any());
}

#[test]
fn locks_given_back_in_any_order_leave_the_others_in_the_order_taken() {
    let entry = fetch_one();
    let tags: Vec<LockTag> = (1..=40)
        .map(|rank| LockTag::new(LockKind::Mutex).with_rank(rank))
        .collect();
    for tag in &tags {
        entry.lock_taken(tag, Mode::Exclusive, Location::caller());
    }
    for tag in tags.iter().filter(|tag| tag.rank() % 3 == 0) {
        entry.lock_released(tag, Mode::Exclusive);
    }
    let ranks: Vec<u16> = held(entry).iter().map(|lock| lock.rank).collect();
    let left: Vec<u16> = (1..=40).filter(|rank| rank % 3 != 0).collect();
    assert_eq!(ranks, left);
    for tag in &tags {
        entry.lock_released(tag, Mode::Exclusive);
    }
    assert!(!entry.holds_any());
}
