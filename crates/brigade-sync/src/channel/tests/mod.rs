//! Rings and lists as plain data structures, small enough for Miri: nobody waits, so the runtime is not called.

mod array;
mod list;
