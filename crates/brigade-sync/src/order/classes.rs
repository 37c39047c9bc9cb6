//! Classes of locks: all that were made at one place in the source, or given one name.
//!
//! A class has a number from 1 on, which a lock remembers in its tag. Classes are never forgotten.
//!
//! # Invariants
//!
//! 1. A cell is written once, under the lock of [`ClassTable::count`], before its number is in `index`; afterwards it is
//!    only read. Who found the number in `index`, or holds a lock that was taken after it was found, may read the cell.
//! 2. A number in `index` stays where it is, and no cell between the place where the search for it begins and its
//!    own is empty. So a search that meets an empty one has missed only what came in since.
//!
//! # Rejected
//!
//! A map under a lock: each new lock of a program asks for its class once, perhaps on many processors. The address of
//! the `Location` as the key: one place can have several.

use std::cell::UnsafeCell;
use std::mem::MaybeUninit;
use std::sync::atomic::{AtomicU16, Ordering};

use brigade_event::{LockClass, LockTag};
use brigade_runtime::park::RawLock;

/// Numbers of classes are below this.
pub(super) const MAX_CLASSES: usize = 4096;

/// What the tag of a lock says for which there was no number left.
pub(super) const NO_CLASS: u16 = u16::MAX;

const INDEX_LEN: usize = 2 * MAX_CLASSES;

/// The classes of a process.
pub(super) struct ClassTable {
    /// Open addressing: numbers of classes, or 0.
    index: [AtomicU16; INDEX_LEN],
    cells: [ClassCell; MAX_CLASSES],
    /// Numbers given out.
    count: RawLock<usize>,
}

struct ClassCell(UnsafeCell<MaybeUninit<LockClass>>);

// SAFETY: written once before it is shared (invariant 1), and `LockClass` is `Sync`.
unsafe impl Sync for ClassCell {}

impl ClassTable {
    pub(super) const fn new() -> ClassTable {
        ClassTable {
            index: [const { AtomicU16::new(0) }; INDEX_LEN],
            cells: [const { ClassCell(UnsafeCell::new(MaybeUninit::uninit())) }; MAX_CLASSES],
            count: RawLock::new(0),
        }
    }

    /// The number of the lock's class; none if there are too many classes.
    #[inline]
    pub(super) fn number_of(&self, tag: &LockTag) -> Option<u16> {
        let known = tag.class() as u16;
        match known {
            0 => self.number_of_slow(tag),
            NO_CLASS => None,
            _ => Some(known),
        }
    }

    #[cold]
    #[inline(never)]
    fn number_of_slow(&self, tag: &LockTag) -> Option<u16> {
        let class = LockClass::new(tag.kind(), tag.name(), tag.created());
        let number = match self.find(&class) {
            Ok(number) => number,
            Err(_) => self.add(class),
        };
        tag.set_class(u32::from(number));
        Some(number).filter(|&number| number != NO_CLASS)
    }

    /// The number of the class, or the place in `index` where it belongs.
    fn find(&self, class: &LockClass) -> Result<u16, usize> {
        let mut place = hash(class) % INDEX_LEN;
        loop {
            // ORDER: Acquire: pairs with the Release in `add`: the cell was written before.
            let number = self.index[place].load(Ordering::Acquire);
            if number == 0 {
                return Err(place);
            }
            // SAFETY: invariant 1: found in `index`.
            if unsafe { self.read(number) }.is_same(class) {
                return Ok(number);
            }
            place = (place + 1) % INDEX_LEN;
        }
    }

    #[cold]
    fn add(&self, class: LockClass) -> u16 {
        let mut count = self.count.lock();
        let place = match self.find(&class) {
            Ok(number) => return number,
            Err(place) => place,
        };
        let number = *count + 1;
        if number == MAX_CLASSES {
            return NO_CLASS;
        }
        // SAFETY: under the lock, and the number is in `index` only below: nobody else reads or writes the cell.
        unsafe { (*self.cells[number].0.get()).write(class) };
        // ORDER: Release: pairs with the Acquire in `find`.
        self.index[place].store(number as u16, Ordering::Release);
        *count = number;
        number as u16
    }

    /// The class with this number.
    ///
    /// # Safety
    ///
    /// The caller has found the number in `index`, or it was told by somebody who had (invariant 1).
    pub(super) unsafe fn read(&self, number: u16) -> LockClass {
        // SAFETY: the caller's contract: the cell is written, and is never written again.
        unsafe { (*self.cells[usize::from(number)].0.get()).assume_init() }
    }

    /// How many classes there are.
    pub(super) fn count(&self) -> usize {
        *self.count.lock()
    }

    pub(super) fn lock_for_fork(&self) {
        self.count.acquire();
    }

    /// # Safety
    ///
    /// The caller has called [`ClassTable::lock_for_fork`].
    pub(super) unsafe fn unlock_after_fork(&self) {
        // SAFETY: the caller's contract.
        unsafe { self.count.release() };
    }
}

trait SameClass {
    fn is_same(&self, other: &Self) -> bool;
}

impl SameClass for LockClass {
    /// A name makes the class; without one, the place does.
    fn is_same(&self, other: &LockClass) -> bool {
        self.kind == other.kind
            && match (self.name, other.name) {
                (Some(mine), Some(others)) => mine == others,
                (None, None) => self.created == other.created,
                _ => false,
            }
    }
}

fn hash(class: &LockClass) -> usize {
    /// Of Fowler, Noll and Vo's hash, 64 bits.
    const PRIME: u64 = 0x0100_0000_01b3;
    const BASIS: u64 = 0xcbf2_9ce4_8422_2325;
    let mix = |hash: u64, value: u64| (hash ^ value).wrapping_mul(PRIME);
    let hash = match class.name {
        Some(name) => name
            .bytes()
            .fold(BASIS, |hash, byte| mix(hash, u64::from(byte))),
        None => [
            u64::from(class.created.line()),
            u64::from(class.created.column()),
            class.created.file().len() as u64,
        ]
        .into_iter()
        .fold(BASIS, mix),
    };
    (hash ^ hash >> 32) as usize
}

#[cfg(test)]
mod tests {
    use super::*;
    use brigade_event::LockKind;

    fn here(kind: LockKind) -> LockTag {
        LockTag::new(kind)
    }

    #[test]
    fn locks_made_at_one_place_are_one_class_and_those_made_elsewhere_another() {
        static TABLE: ClassTable = ClassTable::new();
        let first: Vec<_> = (0..3).map(|_| here(LockKind::Mutex)).collect();
        let other = LockTag::new(LockKind::Mutex);
        let numbers: Vec<_> = first.iter().map(|tag| TABLE.number_of(tag)).collect();
        assert_eq!(numbers, [Some(1); 3]);
        assert_eq!(TABLE.number_of(&other), Some(2));
        assert_eq!(TABLE.count(), 2);
    }

    #[test]
    fn a_name_makes_one_class_of_locks_made_at_many_places() {
        static TABLE: ClassTable = ClassTable::new();
        let a = LockTag::new(LockKind::Mutex).with_name("a");
        let also_a = LockTag::new(LockKind::Mutex).with_name("a");
        let b = here(LockKind::Mutex).with_name("b");
        let unnamed = here(LockKind::Mutex);
        assert_eq!(TABLE.number_of(&a), TABLE.number_of(&also_a));
        let numbers = [&a, &b, &unnamed].map(|tag| TABLE.number_of(tag));
        assert_eq!(numbers, [Some(1), Some(2), Some(3)]);
    }

    #[test]
    fn a_kind_of_lock_is_part_of_the_class() {
        static TABLE: ClassTable = ClassTable::new();
        let tags = [LockKind::Mutex, LockKind::RwLock].map(here);
        assert_ne!(TABLE.number_of(&tags[0]), TABLE.number_of(&tags[1]));
    }

    #[test]
    fn a_lock_beyond_the_last_class_has_none_and_the_earlier_ones_keep_theirs() {
        static TABLE: ClassTable = ClassTable::new();
        let names: Vec<&'static str> = (0..MAX_CLASSES)
            .map(|number| &*Box::leak(number.to_string().into_boxed_str()))
            .collect();
        let number_of = |name| TABLE.number_of(&here(LockKind::Mutex).with_name(name));
        let first: Vec<_> = names.iter().copied().map(number_of).collect();
        let room = MAX_CLASSES - 1;
        assert!(first[..room].iter().all(Option::is_some));
        assert_eq!(first[room], None);
        let again: Vec<_> = names.iter().copied().map(number_of).collect();
        assert_eq!(again, first);
    }
}
