//! The header by which a reader outside the process finds its threads; see `brigade_event::outside`.
//!
//! The linker throws away a section that no code refers to, whatever the compiler was told. So each start of a runtime
//! is counted in the header, and whoever can have green threads has the header.

use std::panic::Location;

use brigade_event::LockTag;
use brigade_event::outside::{Header, Word, Words};

use crate::{roster, task};

/// A place and a text that the header spells out.
static SITE: &Location<'static> = Location::caller();
static TEXT: &str = "brigade";

// A reader tells the words of the sample apart by their values.
const _: () = assert!(SITE.line() != SITE.column() && SITE.file().len() != TEXT.len());

// SAFETY: (link_section) the section has a name of its own, which neither the linker nor the loader gives a meaning. What
// is put there is initialised data that is written to, as the section's flags, which follow from the type, say.
#[used]
#[unsafe(link_section = ".brigade")]
static HEADER: Header = sample(LockTag::describe(task::describe(roster::describe(
    Words::new(),
))))
.header();

/// Shows how the compiler lays out places and texts.
const fn sample(words: Words) -> Words {
    words
        .number(Word::SiteSize, size_of::<Location<'static>>())
        .address(Word::SampleSite, &raw const *SITE)
        .address(Word::SampleFile, SITE.file().as_ptr())
        .number(Word::SampleFileLen, SITE.file().len())
        .number(Word::SampleLine, SITE.line() as usize)
        .number(Word::SampleColumn, SITE.column() as usize)
        .address(Word::SampleText, &raw const TEXT)
        .address(Word::SampleTextBytes, TEXT.as_ptr())
        .number(Word::SampleTextLen, TEXT.len())
}

/// A runtime is being started.
pub(crate) fn note_runtime() {
    HEADER.count(Word::Started);
}
