//! What reports about locks have in common: how they name threads and locks.
//!
//! Reports are plain data: built below (the runtime, the locks), shown above. Nothing in them points into a lock or a
//! thread, so a report may be kept for as long as somebody likes.

use std::fmt;
use std::panic::Location;

use crate::{LockKind, LockTag, Mode};

/// A thread, as reports name it.
///
/// # Examples
///
/// ```
/// use brigade_event::ThreadLabel;
///
/// assert_eq!(ThreadLabel::new(7).to_string(), "thread 7");
/// assert_eq!(ThreadLabel::new(7).with_name("clerk").to_string(), "thread 7 \"clerk\"");
/// ```
#[derive(Clone, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ThreadLabel {
    /// A number that no other thread of the process has; 0 if the thread has none.
    pub id: u64,
    /// The name it was given.
    pub name: Option<String>,
}

impl ThreadLabel {
    /// The thread with this number, without a name.
    #[must_use]
    pub fn new(id: u64) -> ThreadLabel {
        ThreadLabel { id, name: None }
    }

    /// The same with a name.
    #[must_use]
    pub fn with_name(mut self, name: impl Into<String>) -> ThreadLabel {
        self.name = Some(name.into());
        self
    }
}

impl fmt::Display for ThreadLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            0 => f.write_str("a thread")?,
            id => write!(f, "thread {id}")?,
        }
        match &self.name {
            Some(name) => write!(f, " {name:?}"),
            None => Ok(()),
        }
    }
}

/// A lock, as reports name it: `Mutex "accounts" (src/bank.rs:10:9)`.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockDescription {
    /// The address of the lock's tag, which is its identity while it exists.
    pub address: usize,
    /// What the lock says about itself; none if the report's writer could not know that the lock still exists.
    pub facts: Option<LockFacts>,
}

/// What a lock says about itself.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct LockFacts {
    /// Mutex, RwLock, ...
    pub kind: LockKind,
    /// The name it was given.
    pub name: Option<&'static str>,
    /// Where it was made.
    pub created: &'static Location<'static>,
    /// Its rank among the locks of its class; 0 is none.
    pub rank: u16,
}

impl LockDescription {
    /// The lock that `tag` is part of.
    #[must_use]
    pub fn of(tag: &LockTag) -> LockDescription {
        LockDescription {
            address: tag.address(),
            facts: Some(LockFacts {
                kind: tag.kind(),
                name: tag.name(),
                created: tag.created(),
                rank: tag.rank(),
            }),
        }
    }

    /// A lock that may be gone, of which only the address of its tag is known.
    #[must_use]
    pub fn unknown(address: usize) -> LockDescription {
        LockDescription {
            address,
            facts: None,
        }
    }
}

impl fmt::Display for LockDescription {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.facts {
            Some(facts) => facts.fmt(f),
            None => write!(f, "lock at {:#x}", self.address),
        }
    }
}

impl fmt::Display for LockFacts {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "{}", self.kind)?;
        if let Some(name) = self.name {
            write!(f, " {name:?}")?;
        }
        write!(f, " ({})", self.created)
    }
}

/// How a lock is or was taken, as a word before "at".
pub(crate) fn taken(mode: Mode) -> &'static str {
    match mode {
        Mode::Exclusive => "taken",
        Mode::Shared => "taken for reading",
    }
}
