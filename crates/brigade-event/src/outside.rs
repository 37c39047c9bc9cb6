//! What a reader outside the process needs to find its threads: a header in a section of its own.
//!
//! The header stands in the program's file and in its memory, and survives `strip`: section names are kept. It says
//! where the runtime keeps its threads and at which offsets the fields are, in words of the machine's size. A reader
//! finds it in the file, adds the address to which the file was loaded, and reads the memory of the process. Nothing
//! runs in the process for that, so one that hangs can be read too.
//!
//! # Invariants
//!
//! 1. The meaning of a [`Word`] never changes, and neither does its place. New ones are added at the end; [`COUNT`]
//!    tells a reader how many there are.
//! 2. [`VERSION`] changes when what the words point to is to be read in another way. A reader that does not know the
//!    version reads nothing else.
//! 3. The layout of what the compiler lays out as it likes (places in the source, texts) is not stated but shown: the
//!    header points to a place and a text that it also spells out, so a reader can find the parts.
//!
//! # Rejected
//!
//! Debug information: it is stripped. An exported symbol: so are those. A socket that answers: somebody in the process
//! would have to run, and a process that hangs is the one that is asked about.

use core::ptr;
use core::sync::atomic::{AtomicPtr, Ordering};

/// The section of the header.
pub const SECTION: &str = ".brigade";

/// What the header begins with.
pub const MAGIC: [u8; 16] = *b"brigade.threads\n";

/// How what the words point to is to be read.
pub const VERSION: usize = 1;

/// Reason of a wait, in the wait word of an entry.
pub const REASON_MASK: u64 = 0x7f;
/// In the wait word: the wait has a deadline.
pub const TIMED: u64 = 0x80;
/// The epoch in the wait word: 16 bits that change when a wait begins.
pub const EPOCH_SHIFT: u32 = 8;
/// Milliseconds of `CLOCK_MONOTONIC` since when, in the wait word.
pub const SINCE_SHIFT: u32 = 24;

/// The words of the header, in their order. Offsets and sizes are in bytes.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[repr(usize)]
pub enum Word {
    /// [`VERSION`].
    Version = 0,
    /// [`COUNT`].
    Count,
    /// Runtimes that were ever started.
    Started,
    /// Address of the table of chunks of entries: an array of pointers, null where there is none yet.
    ChunkTable,
    /// Pointers in the table.
    Chunks,
    /// Entries in the first chunk; each further one has twice as many.
    FirstChunk,
    /// Address of the number of entries that were ever given out.
    Used,
    /// Size of an entry.
    EntrySize,
    /// In an entry: the record of its thread, or null.
    EntryTask,
    /// In an entry: what the thread waits for.
    EntryObject,
    /// In an entry: where the wait was called, or null.
    EntrySite,
    /// In an entry: the wait word.
    EntryWait,
    /// Size of a record.
    TaskSize,
    /// In a record: the thread that joins it.
    TaskJoiner,
    /// The value of `TaskJoiner` after the end.
    TaskDone,
    /// In a record: the runtime; null for a kernel thread that Brigade did not start.
    TaskHome,
    /// In a record: the number of the thread, which no other thread ever has.
    TaskId,
    /// In a record: the name, an optional text.
    TaskName,
    /// In a record: the place where the thread was spawned.
    TaskSite,
    /// In a record: its entry.
    TaskEntry,
    /// In a record: when it was made, in milliseconds of `CLOCK_MONOTONIC`.
    TaskBorn,
    /// In a record: a `u32`, twice the number of switches to it, plus one while it runs.
    TaskSwitches,
    /// In a record: a byte, the kind of thread.
    TaskKind,
    /// The value of `TaskKind` of green threads.
    TaskGreen,
    /// Size of a lock's tag.
    TagSize,
    /// In a tag: the entry of the exclusive owner, or null.
    TagOwner,
    /// In a tag: the place where the lock was made.
    TagCreated,
    /// In a tag: the name, an optional text.
    TagName,
    /// In a tag: a byte, the kind of lock.
    TagKind,
    /// Size of a place in the source.
    SiteSize,
    /// Address of a place in the source that the next words spell out.
    SampleSite,
    /// Address of its file name.
    SampleFile,
    /// Length of its file name.
    SampleFileLen,
    /// Its line.
    SampleLine,
    /// Its column.
    SampleColumn,
    /// Address of a text (of the two words that stand for it) that the next words spell out.
    SampleText,
    /// Address of its bytes.
    SampleTextBytes,
    /// Its length.
    SampleTextLen,
    /// In a record: a `u32`, the park word.
    TaskPark,
    /// The bit of the park word that says: woken, and not run since.
    TaskWoken,
}

/// How many words there are.
pub const COUNT: usize = Word::TaskWoken as usize + 1;

/// The header; see the module.
#[derive(Debug)]
#[repr(C, align(16))]
pub struct Header {
    magic: [u8; 16],
    words: [AtomicPtr<()>; COUNT],
}

/// A header in the making. All words are zero at first.
#[derive(Clone, Copy, Debug)]
pub struct Words([*mut (); COUNT]);

impl Words {
    /// The version and the number of words.
    #[must_use]
    pub const fn new() -> Words {
        Words([ptr::null_mut(); COUNT])
            .number(Word::Version, VERSION)
            .number(Word::Count, COUNT)
    }

    /// The same, with a number.
    #[must_use]
    pub const fn number(mut self, word: Word, value: usize) -> Words {
        self.0[word as usize] = ptr::without_provenance_mut(value);
        self
    }

    /// The same, with an address.
    #[must_use]
    pub const fn address<T>(mut self, word: Word, of: *const T) -> Words {
        self.0[word as usize] = of.cast_mut().cast();
        self
    }

    /// The header.
    #[must_use]
    pub const fn header(self) -> Header {
        let mut words = [const { AtomicPtr::new(ptr::null_mut()) }; COUNT];
        let mut index = 0;
        while index < COUNT {
            words[index] = AtomicPtr::new(self.0[index]);
            index += 1;
        }
        Header {
            magic: MAGIC,
            words,
        }
    }
}

impl Default for Words {
    fn default() -> Words {
        Words::new()
    }
}

impl Header {
    /// Adds one to a number.
    pub fn count(&self, word: Word) {
        let number = &self.words[word as usize];
        // ORDER: Relaxed: a statistic; readers are outside the process.
        let before = number.load(Ordering::Relaxed).addr();
        let after = ptr::without_provenance_mut(before.wrapping_add(1));
        // ORDER: Relaxed: as above; two at once count as one, which is as good as two.
        number.store(after, Ordering::Relaxed);
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_header_begins_with_the_magic_and_keeps_each_word_in_its_place() {
        let header = Words::new().number(Word::SampleLine, 7).header();
        assert_eq!(header.magic, MAGIC);
        assert_eq!(core::mem::offset_of!(Header, words), MAGIC.len());
        let word = |word: Word| header.words[word as usize].load(Ordering::Relaxed).addr();
        assert_eq!(word(Word::Version), VERSION);
        assert_eq!(word(Word::Count), COUNT);
        assert_eq!(word(Word::SampleLine), 7);
        header.count(Word::Started);
        assert_eq!(word(Word::Started), 1);
    }
}
