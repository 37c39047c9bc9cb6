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
/// assert_eq!(ThreadLabel::new(7, None).to_string(), "thread 7");
/// assert_eq!(ThreadLabel::new(7, Some("clerk")).to_string(), "thread 7 \"clerk\"");
/// ```
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub struct ThreadLabel {
    /// A number that no other thread of the process has; 0 for a kernel thread that has none yet.
    pub id: u64,
    /// The name it was given; empty for none.
    pub name: ThreadName,
}

/// The name of a thread, or its beginning, kept without memory of its own: some reports are written where nothing may be
/// allocated.
#[derive(Clone, Copy, PartialEq, Eq, Hash)]
pub struct ThreadName {
    len: u8,
    bytes: [u8; ThreadName::CAPACITY],
}

impl ThreadLabel {
    /// The thread with this number and this name.
    #[must_use]
    pub fn new(id: u64, name: Option<&str>) -> ThreadLabel {
        ThreadLabel {
            id,
            name: name.map_or(ThreadName::NONE, ThreadName::new),
        }
    }
}

impl ThreadName {
    /// How many bytes of a name are kept.
    pub const CAPACITY: usize = 31;

    /// No name.
    pub const NONE: ThreadName = ThreadName {
        len: 0,
        bytes: [0; ThreadName::CAPACITY],
    };

    /// As much of `name` as is kept.
    #[must_use]
    pub fn new(name: &str) -> ThreadName {
        let mut len = name.len().min(ThreadName::CAPACITY);
        while !name.is_char_boundary(len) {
            len -= 1;
        }
        let mut kept = ThreadName::NONE;
        kept.bytes[..len].copy_from_slice(&name.as_bytes()[..len]);
        kept.len = len as u8;
        kept
    }

    /// The name.
    #[must_use]
    pub fn as_str(&self) -> &str {
        std::str::from_utf8(&self.bytes[..usize::from(self.len)]).unwrap_or("")
    }

    /// The name; none if it is empty.
    #[must_use]
    pub fn get(&self) -> Option<&str> {
        Some(self.as_str()).filter(|name| !name.is_empty())
    }
}

impl fmt::Debug for ThreadName {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        self.as_str().fmt(f)
    }
}

impl fmt::Display for ThreadLabel {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self.id {
            0 => f.write_str("a kernel thread")?,
            id => write!(f, "thread {id}")?,
        }
        match self.name.get() {
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

#[cfg(test)]
mod tests {
    use super::ThreadName;

    #[test]
    fn a_long_name_is_cut_between_two_letters() {
        let name = "é".repeat(20);
        assert_eq!(ThreadName::new(&name).as_str(), "é".repeat(15));
        assert_eq!(ThreadName::new("short").get(), Some("short"));
        assert_eq!(ThreadName::new("").get(), None);
    }
}
