//! The threads of the process, read from its roster while they go on.
//!
//! # Never garbage
//!
//! 1. *Waits.* An entry is read three times in one call. If the wait word is the same in the first and the last, object
//!    and place of the second belong to that wait: the thread stores them before the word, and the epoch in the word
//!    changes with each wait.
//! 2. *Records.* The record of a thread may be freed while it is read. So it is read twice, and in between the entry is
//!    asked whether the record is still its: the number of the thread, which is never given twice, must be the same
//!    both times, and so must be all that never changes. What was read in between (the name) is then the thread's.
//! 3. What does not fit is read again a few times, and then counted as changing. What cannot be read is left out.
//! 4. Reading ends: what was not read when the time is up is not read, and the report says so. A process may claim
//!    millions of entries that cost a call to the kernel each.

use std::collections::HashMap;
use std::io;
use std::time::Instant;

use brigade_event::outside::{EPOCH_SHIFT, REASON_MASK, SINCE_SHIFT, TIMED, Word};
use brigade_event::{ThreadState, WaitReason};

use super::header::Header;
use super::memory::{Memory, Place, half, read_one, word};
use crate::proc_text::clean;

/// Entries read at a time: three places each, of the 1024 that the kernel takes.
const BATCH: usize = 256;
/// How often an entry is read that changes meanwhile.
const ATTEMPTS: usize = 4;
/// More entries are not looked at.
pub(crate) const MOST_ENTRIES: u64 = 4 << 20;
/// More of a name is not shown.
const MOST_NAME: u64 = 64;
/// More of a file's name is not read.
const MOST_FILE: u64 = 1024;
/// More different places in the source are not told apart.
const MOST_SITES: usize = 4096;

/// A place in the source, by number.
pub(crate) type SiteId = u32;

/// A thread as it was seen.
#[derive(Clone, Debug, PartialEq, Eq)]
pub(crate) struct Seen {
    pub(crate) entry: u64,
    pub(crate) id: u64,
    pub(crate) name: Option<String>,
    pub(crate) is_green: bool,
    pub(crate) state: ThreadState,
    pub(crate) spawned_at: Option<SiteId>,
    pub(crate) born_ms: u64,
    pub(crate) switches: u32,
    pub(crate) wait: Option<SeenWait>,
}

/// A wait as it was seen.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SeenWait {
    pub(crate) word: u64,
    pub(crate) reason: WaitReason,
    pub(crate) object: u64,
    pub(crate) site: Option<SiteId>,
    pub(crate) timed: bool,
    pub(crate) since_ms: u64,
}

/// Reads the threads of a process.
pub(crate) struct Reader<'a> {
    pub(crate) memory: &'a dyn Memory,
    pub(crate) header: Header,
    sites: HashMap<u64, Option<SiteId>>,
    pub(crate) site_texts: Vec<String>,
    pub(crate) seen: Vec<Seen>,
    /// Threads that changed whenever they were looked at.
    pub(crate) changing: usize,
    /// Whether there are more entries than were looked at.
    pub(crate) is_cut: bool,
    /// When the time is up.
    until: Instant,
}

/// An entry with a thread.
#[derive(Clone, Copy)]
struct Bound {
    entry: u64,
    task: u64,
    wait_word: u64,
    object: u64,
    site: u64,
}

/// What never changes in a record.
#[derive(Clone, Copy, PartialEq, Eq)]
struct Fixed {
    id: u64,
    entry: u64,
    home: u64,
    site: u64,
    name: u64,
    name_len: u64,
    born_ms: u64,
}

/// Is it the same wait?
pub(crate) fn same_wait(one: u64, other: u64) -> bool {
    let mask = (1 << SINCE_SHIFT) - 1;
    one & mask == other & mask
}

impl<'a> Reader<'a> {
    pub(crate) fn new(memory: &'a dyn Memory, header: Header, until: Instant) -> Reader<'a> {
        Reader {
            memory,
            header,
            sites: HashMap::new(),
            site_texts: Vec::new(),
            seen: Vec::new(),
            changing: 0,
            is_cut: false,
            until,
        }
    }

    /// Reads all threads.
    pub(crate) fn read_all(&mut self) -> io::Result<()> {
        let mut batch = Vec::with_capacity(BATCH);
        for (first, count) in self.chunks()? {
            let size = self.header.get(Word::EntrySize);
            for number in 0..count {
                batch.push(first.wrapping_add(number.wrapping_mul(size)));
                if batch.len() == BATCH {
                    if Instant::now() >= self.until {
                        self.is_cut = true;
                        return Ok(());
                    }
                    self.read_patiently(std::mem::take(&mut batch))?;
                }
            }
        }
        self.read_patiently(batch)
    }

    /// Address and number of used entries of each chunk.
    fn chunks(&mut self) -> io::Result<Vec<(u64, u64)>> {
        let used = read_one(self.memory, self.header.get(Word::Used), 8)?;
        let mut left = word(&used, 0).unwrap_or(0);
        self.is_cut = left > MOST_ENTRIES;
        left = left.min(MOST_ENTRIES);
        let table = self.header.get(Word::ChunkTable);
        let table = read_one(self.memory, table, 8 * self.header.size(Word::Chunks))?;
        let mut chunks = Vec::new();
        let mut room = self.header.get(Word::FirstChunk);
        for index in 0..self.header.size(Word::Chunks) {
            let count = left.min(room);
            match word(&table, 8 * index) {
                Some(first) if first != 0 && count > 0 => chunks.push((first, count)),
                _ => break,
            }
            left -= count;
            room = room.saturating_mul(2);
        }
        Ok(chunks)
    }

    fn read_patiently(&mut self, mut entries: Vec<u64>) -> io::Result<()> {
        for _ in 0..ATTEMPTS {
            if entries.is_empty() {
                return Ok(());
            }
            entries = self.read_batch(&entries)?;
        }
        self.changing += entries.len();
        Ok(())
    }

    /// Reads the threads of these entries; those that changed meanwhile are returned.
    fn read_batch(&mut self, entries: &[u64]) -> io::Result<Vec<u64>> {
        let mut again = Vec::new();
        let bound = self.bound(entries, &mut again)?;
        let size = self.header.size(Word::TaskSize);
        let task = |bound: &Bound| Place {
            address: bound.task,
            bytes: size,
        };
        let tasks: Vec<Place> = bound.iter().map(task).collect();
        let first = self.memory.read(&tasks)?;
        let fixed: Vec<Option<Fixed>> = first
            .iter()
            .map(|bytes| self.fixed(bytes.as_deref()?))
            .collect();
        let names = self.names(&fixed)?;
        let offset = self.header.get(Word::EntryTask);
        let mut places: Vec<Place> = bound
            .iter()
            .map(|bound| Place {
                address: bound.entry.wrapping_add(offset),
                bytes: 8,
            })
            .collect();
        places.extend(&tasks);
        let second = self.memory.read(&places)?;
        let (owners, second) = second.split_at(bound.len());
        for (index, bound) in bound.iter().enumerate() {
            let owner = owners[index].as_deref().and_then(|bytes| word(bytes, 0));
            let bytes = second[index].as_deref();
            let fixed = fixed[index].filter(|fixed| {
                owner == Some(bound.task)
                    && fixed.entry == bound.entry
                    && bytes.and_then(|bytes| self.fixed(bytes)) == Some(*fixed)
            });
            match (fixed, bytes) {
                (Some(fixed), Some(bytes)) => {
                    let seen = self.describe(bound, fixed, bytes, names[index].clone())?;
                    self.seen.push(seen);
                }
                _ => again.push(bound.entry),
            }
        }
        Ok(again)
    }

    /// The entries that have threads.
    fn bound(&self, entries: &[u64], again: &mut Vec<u64>) -> io::Result<Vec<Bound>> {
        let bytes = self.header.size(Word::EntrySize);
        let place = |address: &u64| Place {
            address: *address,
            bytes,
        };
        let thrice: Vec<Place> = entries.iter().flat_map(|entry| [place(entry); 3]).collect();
        let read = self.memory.read(&thrice)?;
        let mut bound = Vec::new();
        for (entry, looks) in entries.iter().zip(read.chunks_exact(3)) {
            let [Some(first), Some(second), Some(third)] = looks else {
                continue;
            };
            let get = |bytes: &[u8], of: Word| word(bytes, self.header.size(of)).unwrap_or(0);
            let wait_word = get(first, Word::EntryWait);
            let found = Bound {
                entry: *entry,
                task: get(second, Word::EntryTask),
                wait_word: get(third, Word::EntryWait),
                object: get(second, Word::EntryObject),
                site: get(second, Word::EntrySite),
            };
            if !same_wait(wait_word, found.wait_word) {
                again.push(*entry);
            } else if found.task != 0 {
                bound.push(found);
            }
        }
        Ok(bound)
    }

    fn fixed(&self, task: &[u8]) -> Option<Fixed> {
        let get = |of: Word| word(task, self.header.size(of));
        let name = self.header.size(Word::TaskName);
        let text = self.header.text;
        let fixed = Fixed {
            id: get(Word::TaskId)?,
            entry: get(Word::TaskEntry)?,
            home: get(Word::TaskHome)?,
            site: get(Word::TaskSite)?,
            name: word(task, name.checked_add(text.bytes)?)?,
            name_len: word(task, name.checked_add(text.len)?)?,
            born_ms: get(Word::TaskBorn)?,
        };
        Some(fixed).filter(|fixed| fixed.id != 0)
    }

    fn names(&self, fixed: &[Option<Fixed>]) -> io::Result<Vec<Option<String>>> {
        let named = |fixed: &Option<Fixed>| fixed.filter(|fixed| fixed.name != 0);
        let places: Vec<Place> = fixed
            .iter()
            .filter_map(named)
            .map(|fixed| Place {
                address: fixed.name,
                bytes: fixed.name_len.min(MOST_NAME) as usize,
            })
            .collect();
        let mut texts = self.memory.read(&places)?.into_iter();
        let name = |fixed: &Option<Fixed>| {
            named(fixed)?;
            let bytes = texts.next()??;
            Some(clean(&String::from_utf8_lossy(&bytes)))
        };
        Ok(fixed.iter().map(name).collect())
    }

    fn describe(
        &mut self,
        bound: &Bound,
        fixed: Fixed,
        task: &[u8],
        name: Option<String>,
    ) -> io::Result<Seen> {
        let get = |of: Word| word(task, self.header.size(of)).unwrap_or(0);
        let switches = half(task, self.header.size(Word::TaskSwitches)).unwrap_or(0);
        let kind = task.get(self.header.size(Word::TaskKind)).copied();
        let is_green = kind.map(u64::from) == Some(self.header.get(Word::TaskGreen));
        let is_done = get(Word::TaskJoiner) == self.header.get(Word::TaskDone);
        let park = half(task, self.header.size(Word::TaskPark)).unwrap_or(0);
        // Who was woken takes his wait back himself, when he runs.
        let is_woken = is_green
            && switches & 1 == 0
            && u64::from(park) & self.header.get(Word::TaskWoken) != 0;
        let reason = match WaitReason::from_u8((bound.wait_word & REASON_MASK) as u8) {
            _ if is_woken => WaitReason::None,
            reason => reason,
        };
        let state = match reason {
            _ if is_done => ThreadState::Terminated,
            WaitReason::None if switches & 1 != 0 || !is_green => ThreadState::Running,
            WaitReason::None if switches >> 1 == 0 => ThreadState::New,
            WaitReason::None => ThreadState::Runnable,
            reason => ThreadState::Waiting(reason),
        };
        let wait = match reason {
            WaitReason::None => None,
            reason => Some(SeenWait {
                word: bound.wait_word,
                reason,
                object: bound.object,
                site: self.site(bound.site)?,
                timed: bound.wait_word & TIMED != 0,
                since_ms: bound.wait_word >> SINCE_SHIFT,
            }),
        };
        Ok(Seen {
            entry: bound.entry,
            id: fixed.id,
            name,
            is_green,
            state,
            spawned_at: if fixed.home == 0 {
                None
            } else {
                self.site(fixed.site)?
            },
            born_ms: fixed.born_ms,
            switches: switches >> 1,
            wait,
        })
    }

    /// The number of the place in the source at this address.
    pub(crate) fn site(&mut self, address: u64) -> io::Result<Option<SiteId>> {
        if address == 0 || self.sites.len() >= MOST_SITES && !self.sites.contains_key(&address) {
            return Ok(None);
        }
        if let Some(known) = self.sites.get(&address) {
            return Ok(*known);
        }
        let text = self.read_site(address)?;
        let id = text.map(|text| {
            // The same place may stand in the program more than once.
            let known = self.site_texts.iter().position(|known| *known == text);
            known.unwrap_or_else(|| {
                self.site_texts.push(text);
                self.site_texts.len() - 1
            }) as SiteId
        });
        self.sites.insert(address, id);
        Ok(id)
    }

    fn read_site(&self, address: u64) -> io::Result<Option<String>> {
        let layout = self.header.site;
        let Some(bytes) = self.try_read(address, layout.bytes)? else {
            return Ok(None);
        };
        let len = word(&bytes, layout.file_len).unwrap_or(0);
        let len = len.saturating_sub(u64::from(layout.counts_zero));
        let file = word(&bytes, layout.file).unwrap_or(0);
        if len == 0 || len > MOST_FILE {
            return Ok(None);
        }
        let line = half(&bytes, layout.line).unwrap_or(0);
        let column = half(&bytes, layout.column).unwrap_or(0);
        let file = self.try_read(file, len as usize)?;
        Ok(file.map(|file| {
            let file = clean(&String::from_utf8_lossy(&file));
            format!("{file}:{line}:{column}")
        }))
    }

    /// The bytes, or none where they cannot be read.
    pub(crate) fn try_read(&self, address: u64, bytes: usize) -> io::Result<Option<Vec<u8>>> {
        Ok(self
            .memory
            .read(&[Place { address, bytes }])?
            .pop()
            .flatten())
    }

    /// A text in a structure, where the two words of one may be null.
    pub(crate) fn text(&self, bytes: &[u8], offset: usize) -> io::Result<Option<String>> {
        let at = |part: usize| word(bytes, offset.checked_add(part)?).filter(|word| *word != 0);
        let layout = self.header.text;
        let (Some(address), Some(len)) = (at(layout.bytes), at(layout.len)) else {
            return Ok(None);
        };
        let bytes = self.try_read(address, len.min(MOST_NAME) as usize)?;
        Ok(bytes.map(|bytes| clean(&String::from_utf8_lossy(&bytes))))
    }

    /// Whether each of these waits goes on, each a place and the word that was seen there.
    pub(crate) fn still_wait(&self, waits: &[(u64, u64)]) -> io::Result<Vec<bool>> {
        let offset = self.header.get(Word::EntryWait);
        let places: Vec<Place> = waits
            .iter()
            .map(|(entry, _)| Place {
                address: entry.wrapping_add(offset),
                bytes: 8,
            })
            .collect();
        let words = self.memory.read(&places)?;
        let is_same = |(now, (_, then)): (&Option<Vec<u8>>, &(u64, u64))| {
            let now = now.as_deref().and_then(|bytes| word(bytes, 0));
            now.is_some_and(|now| same_wait(now, *then))
        };
        Ok(words.iter().zip(waits).map(is_same).collect())
    }
}

const _: () = assert!(EPOCH_SHIFT < SINCE_SHIFT);
