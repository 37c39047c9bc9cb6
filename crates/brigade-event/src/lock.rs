//! What a lock says about itself: who holds it, where it was made, what it is called.
//!
//! A [`LockTag`] is part of every lock that has owners. Its address is the lock's identity in wait records, in lists of
//! held locks and in the table of waiting threads.
//!
//! # Invariants
//!
//! 1. `owner` is the entry of the thread that holds the lock exclusively, or null: it is stored after the lock was taken
//!    and cleared before it is given back, by the holder. So it never names a thread that does not hold the lock.
//! 2. Everything but `owner` and `class` is constant.

use core::fmt;
use core::mem::offset_of;
use core::panic::Location;
use core::ptr;
use core::sync::atomic::{AtomicPtr, AtomicU32, Ordering};

use crate::outside::{Word, Words};

/// What kind of lock it is.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
#[non_exhaustive]
pub enum LockKind {
    /// A mutex.
    Mutex,
    /// A lock for many readers or one writer.
    RwLock,
    /// Something that is initialised once, by one thread while others wait.
    Once,
    /// The lock of an interpreter, which threads take in turn.
    InterpreterLock,
}

impl LockKind {
    /// The kind stored as `value`, if there is such a one.
    #[must_use]
    pub fn from_u8(value: u8) -> Option<LockKind> {
        [
            LockKind::Mutex,
            LockKind::RwLock,
            LockKind::Once,
            LockKind::InterpreterLock,
        ]
        .into_iter()
        .find(|kind| *kind as u8 == value)
    }
}

impl fmt::Display for LockKind {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.pad(match self {
            LockKind::Mutex => "Mutex",
            LockKind::RwLock => "RwLock",
            LockKind::Once => "Once",
            LockKind::InterpreterLock => "InterpreterLock",
        })
    }
}

/// How a lock is held.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[repr(u8)]
pub enum Mode {
    /// By one thread alone.
    Exclusive = 0,
    /// By readers.
    Shared = 1,
}

/// What a lock says about itself; see the module.
pub struct LockTag {
    owner: AtomicPtr<()>,
    created: &'static Location<'static>,
    name: Option<&'static str>,
    class: AtomicU32,
    rank: u16,
    kind: LockKind,
}

impl LockTag {
    /// The tag of a lock made by the caller's caller.
    #[must_use]
    #[track_caller]
    pub const fn new(kind: LockKind) -> LockTag {
        LockTag::made_at(kind, Location::caller())
    }

    /// The tag of a lock that was made at `created`, before its tag.
    #[must_use]
    pub const fn made_at(kind: LockKind, created: &'static Location<'static>) -> LockTag {
        LockTag {
            owner: AtomicPtr::new(ptr::null_mut()),
            created,
            name: None,
            class: AtomicU32::new(0),
            rank: 0,
            kind,
        }
    }

    /// The same with a name.
    #[must_use]
    pub const fn with_name(mut self, name: &'static str) -> LockTag {
        self.name = Some(name);
        self
    }

    /// The same with a rank: locks of one class are taken in rising ranks.
    #[must_use]
    pub const fn with_rank(mut self, rank: u16) -> LockTag {
        self.rank = rank;
        self
    }

    /// Gives the lock a name.
    pub const fn set_name(&mut self, name: &'static str) {
        self.name = Some(name);
    }

    /// Gives the lock a rank; see [`LockTag::with_rank`].
    pub const fn set_rank(&mut self, rank: u16) {
        self.rank = rank;
    }

    /// Where the fields are, for readers outside the process.
    #[must_use]
    pub const fn describe(words: Words) -> Words {
        words
            .number(Word::TagSize, size_of::<LockTag>())
            .number(Word::TagOwner, offset_of!(LockTag, owner))
            .number(Word::TagCreated, offset_of!(LockTag, created))
            .number(Word::TagName, offset_of!(LockTag, name))
            .number(Word::TagKind, offset_of!(LockTag, kind))
    }

    /// Mutex, RwLock, ...
    #[must_use]
    pub fn kind(&self) -> LockKind {
        self.kind
    }

    /// The name it was given.
    #[must_use]
    pub fn name(&self) -> Option<&'static str> {
        self.name
    }

    /// Where it was made.
    #[must_use]
    pub fn created(&self) -> &'static Location<'static> {
        self.created
    }

    /// Its rank among locks of its class; 0 is none.
    #[must_use]
    pub fn rank(&self) -> u16 {
        self.rank
    }

    /// Its address, which is its identity.
    #[inline(always)]
    #[must_use]
    pub fn address(&self) -> usize {
        ptr::from_ref(self).expose_provenance()
    }

    /// The number of its class, or 0 while nobody has looked it up.
    #[inline(always)]
    #[must_use]
    pub fn class(&self) -> u32 {
        // ORDER: Relaxed: the number stands for itself; what it indexes is published by its table.
        self.class.load(Ordering::Relaxed)
    }

    /// Remembers the number of the class.
    pub fn set_class(&self, class: u32) {
        // ORDER: Relaxed: as in `class`.
        self.class.store(class, Ordering::Relaxed);
    }

    /// By the thread that has just taken the lock exclusively.
    #[inline(always)]
    pub fn set_owner<T>(&self, entry: &'static T) {
        // ORDER: Relaxed: a searcher reads it behind a full fence of its own and of the owner's next wait (roster.rs).
        self.owner
            .store(ptr::from_ref(entry).cast_mut().cast(), Ordering::Relaxed);
    }

    /// By the owner, before it gives the lock back.
    #[inline(always)]
    pub fn clear_owner(&self) {
        // ORDER: Relaxed: comes before the Release of the unlock, so the next owner's store comes after it.
        self.owner.store(ptr::null_mut(), Ordering::Relaxed);
    }

    /// The entry of the exclusive owner, or null: a hint unless the caller knows that the owner is stopped.
    #[inline(always)]
    #[must_use]
    pub fn owner(&self) -> *const () {
        // ORDER: Relaxed: see `set_owner`.
        self.owner.load(Ordering::Relaxed)
    }
}

impl fmt::Debug for LockTag {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("LockTag")
            .field("kind", &self.kind)
            .field("name", &self.name)
            .field("created", &self.created)
            .finish_non_exhaustive()
    }
}
