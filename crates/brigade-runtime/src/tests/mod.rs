//! Tests of the protocols on the machine, small enough for Miri (`cargo miri test -p brigade-runtime --lib`), which
//! checks what loom does not: provenance, lifetimes and leaks.

mod park_word;
mod queue;
mod roster;
