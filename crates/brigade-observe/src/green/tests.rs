//! Processes that lie: whatever their memory holds, reading it ends, and shows nothing that was not there.

use std::cell::Cell;
use std::io;
use std::time::Instant;

use brigade_event::outside::{COUNT, MAGIC, VERSION, Word};

use super::memory::{Memory, Place, fake::Fake};
use super::report::GreenReport;
use super::{MOST_TIME, read_memory};

fn read_for_long(memory: &dyn Memory, address: u64) -> io::Result<GreenReport> {
    read_memory(memory, address, Instant::now() + MOST_TIME)
}

const HEADER: u64 = 0x1_0000;
const SITE: u64 = 0x2_0000;
const FILE: u64 = 0x3_0000;
const TEXT: u64 = 0x4_0000;
const TABLE: u64 = 0x5_0000;
const USED: u64 = 0x6_0000;
const ENTRIES: u64 = 0x10_0000;

/// The words of a process with one chunk of entries, laid out simply.
fn words() -> Vec<u64> {
    let mut words = vec![0; COUNT];
    let numbers = [
        (Word::Version, VERSION as u64),
        (Word::Count, COUNT as u64),
        (Word::Started, 1),
        (Word::ChunkTable, TABLE),
        (Word::Chunks, 2),
        (Word::FirstChunk, 16),
        (Word::Used, USED),
        (Word::EntrySize, 64),
        (Word::EntryTask, 0),
        (Word::EntryObject, 8),
        (Word::EntrySite, 16),
        (Word::EntryWait, 24),
        (Word::TaskSize, 128),
        (Word::TaskJoiner, 0),
        (Word::TaskDone, 1),
        (Word::TaskHome, 8),
        (Word::TaskId, 16),
        (Word::TaskName, 24),
        (Word::TaskSite, 40),
        (Word::TaskEntry, 48),
        (Word::TaskBorn, 56),
        (Word::TaskSwitches, 64),
        (Word::TaskKind, 68),
        (Word::TagSize, 40),
        (Word::TagOwner, 0),
        (Word::TagCreated, 8),
        (Word::TagName, 16),
        (Word::TagKind, 32),
        (Word::SiteSize, 24),
        (Word::SampleSite, SITE),
        (Word::SampleFile, FILE),
        (Word::SampleFileLen, 4),
        (Word::SampleLine, 5),
        (Word::SampleColumn, 6),
        (Word::SampleText, TEXT),
        (Word::SampleTextBytes, FILE),
        (Word::SampleTextLen, 4),
        (Word::TaskPark, 72),
        (Word::TaskWoken, 1),
    ];
    for (word, number) in numbers {
        words[word as usize] = number;
    }
    words
}

fn bytes(words: &[u64]) -> Vec<u8> {
    words.iter().flat_map(|word| word.to_ne_bytes()).collect()
}

/// A process with `used` entries and nothing in them.
fn process(words: &[u64], used: u64) -> Fake {
    let mut fake = Fake::default();
    fake.0.insert(HEADER, [&MAGIC[..], &bytes(words)].concat());
    fake.0.insert(SITE, bytes(&[FILE, 4, 5 | 6 << 32]));
    fake.0.insert(FILE, b"a.rs".to_vec());
    fake.0.insert(TEXT, bytes(&[FILE, 4]));
    fake.0.insert(TABLE, bytes(&[ENTRIES, 0]));
    fake.0.insert(USED, bytes(&[used]));
    fake.0.insert(ENTRIES, vec![0; 16 * 64]);
    fake
}

/// Writes an entry and its record: a green thread with this number, which waits in a mutex.
fn add_thread(fake: &mut Fake, number: u64, id: u64) {
    let entry = ENTRIES + 64 * number;
    let task = 0x100_0000 + 0x1000 * number;
    let wait = 10 | 1 << 8 | 1000 << 24;
    let at = usize::try_from(64 * number).unwrap();
    let words = bytes(&[task, 0xdead_0000, SITE, wait]);
    fake.0.get_mut(&ENTRIES).unwrap()[at..at + 32].copy_from_slice(&words);
    let record = [
        0, 0x77, id, FILE, 4, SITE, entry, 900, 6, 0, 0, 0, 0, 0, 0, 0,
    ];
    fake.0.insert(task, bytes(&record));
}

#[test]
fn a_process_that_tells_the_truth_is_read() {
    let mut fake = process(&words(), 16);
    add_thread(&mut fake, 3, 7);
    let report = read_for_long(&fake, HEADER).unwrap();
    assert_eq!(
        (report.green, report.each.len(), report.changing),
        (1, 1, 0)
    );
    let thread = &report.each[0];
    assert_eq!((thread.id, thread.name.as_deref()), (7, Some("a.rs")));
    assert_eq!(thread.state, "Waiting(mutex)");
    assert_eq!(thread.waits_at.as_deref(), Some("a.rs:5:6"));
    assert_eq!(thread.spawned_at.as_deref(), Some("a.rs:5:6"));
    assert_eq!((thread.switches, thread.lock.as_deref()), (3, None));
}

#[test]
fn a_thread_that_was_woken_and_has_not_run_is_runnable_and_waits_for_nothing() {
    let mut fake = process(&words(), 16);
    add_thread(&mut fake, 3, 7);
    let record = fake.0.get_mut(&(0x100_0000 + 0x3000)).unwrap();
    record[72] = 2 | 1;
    let report = read_for_long(&fake, HEADER).unwrap();
    let thread = &report.each[0];
    assert_eq!(
        (thread.state.as_str(), &thread.waits_at),
        ("Runnable", &None)
    );
    let record = fake.0.get_mut(&(0x100_0000 + 0x3000)).unwrap();
    record[72] = 2;
    let report = read_for_long(&fake, HEADER).unwrap();
    assert_eq!(report.each[0].state, "Waiting(mutex)");
}

#[test]
fn a_record_that_belongs_to_another_entry_is_not_shown() {
    let mut fake = process(&words(), 16);
    add_thread(&mut fake, 3, 7);
    let record = fake.0.get_mut(&(0x100_0000 + 0x3000)).unwrap();
    record[48] ^= 64;
    let report = read_for_long(&fake, HEADER).unwrap();
    assert_eq!((report.each.len(), report.changing), (0, 1));
}

/// A process that does something between two reads.
struct Turning {
    before: Fake,
    after: Fake,
    reads: Cell<usize>,
    /// The first read of what is after.
    turn: usize,
}

impl Memory for Turning {
    fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>> {
        self.reads.set(self.reads.get() + 1);
        if self.reads.get() < self.turn {
            self.before.read(places)
        } else {
            self.after.read(places)
        }
    }
}

const NAME: u64 = 0x7_0000;

/// The process with one thread of this number and name, always at the same addresses.
fn process_with(id: u64, name: &str) -> Fake {
    let mut fake = process(&words(), 16);
    add_thread(&mut fake, 3, id);
    let task = fake.0.get_mut(&(0x100_0000 + 0x3000)).unwrap();
    task[24..40].copy_from_slice(&bytes(&[NAME, name.len() as u64]));
    fake.0.insert(NAME, name.as_bytes().to_vec());
    fake
}

#[test]
fn a_record_that_is_used_again_while_it_is_read_is_one_thread_or_the_other() {
    let mut last = None;
    for turn in 6..20 {
        let turning = Turning {
            before: process_with(7, "first"),
            after: process_with(8, "other"),
            reads: Cell::new(0),
            turn,
        };
        let report = read_for_long(&turning, HEADER).unwrap();
        assert_eq!(report.each.len(), 1);
        let thread = &report.each[0];
        let seen = (thread.id, thread.name.as_deref().unwrap());
        assert!(
            [(7, "first"), (8, "other")].contains(&seen),
            "{turn}: {seen:?}"
        );
        last = Some(thread.id);
    }
    assert_eq!(last, Some(7), "the process turned before it was read");
}

/// An entry whose wait word never stands still.
struct Restless(Fake, Cell<u64>);

impl Memory for Restless {
    fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let mut answers = self.0.read(places)?;
        for bytes in answers
            .iter_mut()
            .flatten()
            .filter(|bytes| bytes.len() == 64)
        {
            if bytes[24] != 0 {
                self.1.set(self.1.get() + 1);
                bytes[25] = self.1.get() as u8;
            }
        }
        Ok(answers)
    }
}

#[test]
fn a_thread_whose_wait_changes_at_each_look_is_counted_and_not_described() {
    let mut fake = process(&words(), 16);
    add_thread(&mut fake, 3, 7);
    let report = read_for_long(&Restless(fake, Cell::new(0)), HEADER).unwrap();
    assert_eq!((report.each.len(), report.changing), (0, 1));
}

#[test]
fn when_the_time_is_up_the_rest_is_not_read_and_the_report_says_so() {
    let mut words = words();
    words[Word::FirstChunk as usize] = 1 << 20;
    words[Word::Chunks as usize] = 2;
    let mut fake = process(&words, 1 << 20);
    add_thread(&mut fake, 3, 7);
    let report = read_memory(&fake, HEADER, Instant::now()).unwrap();
    assert_eq!((report.each.len(), report.is_cut), (0, true));
    let report = read_for_long(&fake, HEADER).unwrap();
    assert_eq!((report.each.len(), report.is_cut), (1, false));
}

#[test]
fn headers_that_are_damaged_or_of_another_version_are_refused_with_the_reason() {
    for (word, value) in [
        (Word::Version, VERSION as u64 + 1),
        (Word::Count, 3),
        (Word::EntrySize, 1 << 40),
        (Word::TaskSize, 0),
        (Word::Chunks, 1 << 30),
        (Word::FirstChunk, 0),
        (Word::SampleLine, 99),
        (Word::SampleTextLen, 99),
    ] {
        let mut words = words();
        words[word as usize] = value;
        let error = read_for_long(&process(&words, 0), HEADER).unwrap_err();
        assert_eq!(
            error.kind(),
            io::ErrorKind::InvalidData,
            "{word:?}: {error}"
        );
    }
    let mut fake = process(&words(), 0);
    fake.0.get_mut(&HEADER).unwrap()[0] = b'x';
    let error = read_for_long(&fake, HEADER).unwrap_err();
    assert_eq!(error.kind(), io::ErrorKind::InvalidData);
}

/// Answers with the process where it has something, and with noise elsewhere.
struct Liar {
    fake: Fake,
    seed: Cell<u64>,
}

impl Liar {
    fn next(&self) -> u64 {
        let mut x = self.seed.get();
        x ^= x << 13;
        x ^= x >> 7;
        x ^= x << 17;
        self.seed.set(x);
        x
    }
}

impl Memory for Liar {
    fn read(&self, places: &[Place]) -> io::Result<Vec<Option<Vec<u8>>>> {
        let mut answers = self.fake.read(places)?;
        for (place, answer) in places.iter().zip(&mut answers) {
            assert!(place.bytes <= 1 << 16, "asks for {} bytes", place.bytes);
            if answer.is_none() && !self.next().is_multiple_of(8) {
                let noise = |_| match self.next() % 4 {
                    0 => 0,
                    1 => 1,
                    2 => 0xff,
                    _ => self.next() as u8,
                };
                *answer = Some((0..place.bytes).map(noise).collect());
            }
        }
        Ok(answers)
    }
}

#[test]
fn whatever_a_process_has_in_its_memory_reading_it_ends_without_a_panic() {
    for seed in 1..400_u64 {
        let liar = Liar {
            fake: Fake::default(),
            seed: Cell::new(seed.wrapping_mul(0x9e37_79b9_7f4a_7c15)),
        };
        let mut words = words();
        // Offsets and sizes are anything; the rest must make sense to be read on.
        for word in &mut words[Word::EntryTask as usize..=Word::TagKind as usize] {
            if liar.next().is_multiple_of(3) {
                let sizes = [8, 24, 4096, 4095, u64::MAX, 1 << 63];
                *word = sizes[liar.next() as usize % sizes.len()];
            }
        }
        let mut fake = process(&words, liar.next() % 3000);
        fake.0.remove(&ENTRIES);
        fake.0
            .insert(TABLE, bytes(&[liar.next() | 1, liar.next() | 1]));
        if let Ok(report) = read_for_long(&Liar { fake, ..liar }, HEADER) {
            assert!(report.each.len() + report.changing <= 48);
        }
    }
}
