//! Reports of the lab as pages, and two of them side by side.
//!
//! [`page`] turns a [`Document`] into one HTML file with everything in it: the verdicts, the
//! machine, a section per experiment with drawings, the samples themselves and the command that repeats
//! them. [`Comparison`] sets two documents side by side, and [`compare_page`] makes a page of that.
//!
//! # Map
//!
//! | module | holds |
//! |---|---|
//! | `scale` | where values are along one direction, and which places have a number |
//! | `canvas` | plotters' SVG in the colours of the page |
//! | `marker` | the marks that tell series apart without colour |
//! | `rows` | drawings with a row per thing: samples, bars, timelines |
//! | `curves` | drawings with two axes: lines, histograms |
//! | `shell` | what every page has |
//! | `section` | one experiment |
//! | `page` | the page of a document |
//! | [`compare`] | two documents side by side, as data |
//! | `compare_page` | the page of that |
//!
//! # Invariants
//!
//! 1. A page asks no address for anything; its own content security policy forbids it.
//! 2. Text of a document reaches a page through `maud`, which escapes it, through plotters' texts, which are
//!    escaped too, or as JSON without a `<`.
//! 3. Nothing is said by colour alone: a verdict has a word and a sign, a series a mark, a span a letter.
//! 4. The same input gives the same page, byte for byte.
//!
//! # Rejected
//!
//! *Drawing in the browser*: a page that is printed, or read without scripts, would have no figures. *One
//! drawing scaled to every width*: its texts would be 5 pixels high on a phone.
//!
//! [`Document`]: brigade_lab::Document

mod canvas;
pub mod compare;
mod compare_page;
mod curves;
mod marker;
mod page;
mod rows;
mod scale;
mod section;
mod shell;

pub use compare::Comparison;
pub use compare_page::compare_page;
pub use page::page;
