//! The header of the process, and what it says about layouts. Everything is checked before it is used: the process may
//! lie.

use std::io;

use brigade_event::outside::{COUNT, MAGIC, VERSION, Word};

use super::memory::{Memory, half, read_one, word};

/// The words of a header that is worth reading on.
#[derive(Clone, Debug)]
pub(crate) struct Header {
    words: Vec<u64>,
    pub(crate) site: SiteLayout,
    pub(crate) text: TextLayout,
}

/// Where a place in the source keeps its parts.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct SiteLayout {
    pub(crate) bytes: usize,
    pub(crate) file: usize,
    pub(crate) file_len: usize,
    /// The length counts a zero at the end.
    pub(crate) counts_zero: bool,
    pub(crate) line: usize,
    pub(crate) column: usize,
}

/// Where the two words of a text are.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) struct TextLayout {
    pub(crate) bytes: usize,
    pub(crate) len: usize,
}

/// Two words.
pub(crate) const TEXT_BYTES: usize = 16;

/// No structure of the runtime is larger.
const MOST_STRUCTURE: u64 = 4096;

impl Header {
    /// Reads the header at this address.
    ///
    /// # Errors
    ///
    /// `InvalidData`, with the reason, for a header that this program does not understand; those of the memory.
    pub(crate) fn read(memory: &dyn Memory, address: u64) -> io::Result<Header> {
        let bytes = read_one(memory, address, MAGIC.len() + 8 * COUNT)?;
        let words: Vec<u64> = (0..COUNT)
            .filter_map(|index| word(&bytes, MAGIC.len() + 8 * index))
            .collect();
        if bytes.get(..MAGIC.len()) != Some(&MAGIC[..]) {
            return Err(invalid("its header is damaged"));
        }
        let get = |word: Word| words.get(word as usize).copied().unwrap_or(0);
        if get(Word::Version) != VERSION as u64 || get(Word::Count) < COUNT as u64 {
            return Err(invalid(
                "it has another version of Brigade than this program",
            ));
        }
        check(&get)?;
        let text = text_layout(memory, &get)?;
        let site = site_layout(memory, &get)?;
        Ok(Header { words, site, text })
    }

    pub(crate) fn get(&self, word: Word) -> u64 {
        self.words.get(word as usize).copied().unwrap_or(0)
    }

    pub(crate) fn size(&self, word: Word) -> usize {
        // Checked to be small.
        self.get(word) as usize
    }
}

pub(crate) fn invalid(text: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, text.to_owned())
}

fn check(get: &impl Fn(Word) -> u64) -> io::Result<()> {
    let sizes = [
        Word::EntrySize,
        Word::TaskSize,
        Word::TagSize,
        Word::SiteSize,
    ];
    let is_size = |size: &Word| (8..=MOST_STRUCTURE).contains(&get(*size));
    let table =
        (1..=64).contains(&get(Word::Chunks)) && (1..=1 << 20).contains(&get(Word::FirstChunk));
    if sizes.iter().all(is_size) && table {
        Ok(())
    } else {
        Err(invalid("its header makes no sense"))
    }
}

/// Finds the parts of the sample by their values.
fn site_layout(memory: &dyn Memory, get: &impl Fn(Word) -> u64) -> io::Result<SiteLayout> {
    let size = get(Word::SiteSize) as usize;
    let bytes = read_one(memory, get(Word::SampleSite), size)?;
    let word_at = |value: u64| {
        (0..size)
            .step_by(8)
            .find(|at| word(&bytes, *at) == Some(value))
    };
    let half_at = |value: u64| {
        (0..size)
            .step_by(4)
            .find(|at| half(&bytes, *at).map(u64::from) == Some(value))
    };
    let len = get(Word::SampleFileLen);
    let plain = word_at(len).map(|at| (at, false));
    let found = || {
        let (file_len, counts_zero) =
            plain.or_else(|| Some((word_at(len.checked_add(1)?)?, true)))?;
        Some(SiteLayout {
            bytes: size,
            file: word_at(get(Word::SampleFile))?,
            file_len,
            counts_zero,
            line: half_at(get(Word::SampleLine))?,
            column: half_at(get(Word::SampleColumn))?,
        })
    };
    found().ok_or_else(|| invalid("its places in the source cannot be read"))
}

fn text_layout(memory: &dyn Memory, get: &impl Fn(Word) -> u64) -> io::Result<TextLayout> {
    let bytes = read_one(memory, get(Word::SampleText), TEXT_BYTES)?;
    let word_at = |value: u64| {
        [0, 8]
            .into_iter()
            .find(|at| word(&bytes, *at) == Some(value))
    };
    let found = || {
        Some(TextLayout {
            bytes: word_at(get(Word::SampleTextBytes))?,
            len: word_at(get(Word::SampleTextLen))?,
        })
    };
    found().ok_or_else(|| invalid("its texts cannot be read"))
}
