//! Every word of two photographed TLS blocks gets a meaning, or the machine is refused.
//!
//! A word that is equal in both threads belongs to the image. A word that differs must be one of
//! [`Meaning`]; anything else means that this libc keeps something per thread that we do not know, and
//! [`classify`] returns its offset. Where glibc exports its debugger tables (`_thread_db_*`), they
//! must agree with what was found.

use super::Fault;
use super::snapshot::{Photo, in_rseq_area};
use crate::arch;

/// What a word of the block is for.
#[derive(Debug, Clone, Copy, PartialEq, Eq)]
pub(super) enum Meaning {
    /// The same in every thread.
    Image,
    /// Points into the block itself: moves with it.
    SelfRelative,
    /// The vector of thread-local modules; each block has its own.
    Dtv,
    /// The kernel's thread id in the low half; each block gets an id no kernel thread can have.
    Tid,
    /// Next and previous link of glibc's list of threads; linked to itself.
    ListLink,
    /// Lowest address and size of the stack.
    StackBlock,
    StackSize,
    /// Belongs to the kernel's restartable sequences; marked as not registered.
    RseqCpu,
    Rseq,
    /// The raw thread's argument or a pointer into its stack; null in a new block.
    Null,
}

/// Gives each word from `-below` to `above` bytes around the thread pointer its meaning.
pub(super) fn classify(
    [a, b]: &[Box<Photo>; 2],
    below: isize,
    above: isize,
) -> Result<Vec<Meaning>, Fault> {
    let mut meanings = Vec::with_capacity(((below + above) / 8) as usize);
    let mut list_next = None;
    let mut offset = -below;
    while offset < above {
        let meaning = meaning_of(a, b, offset, -below, &mut list_next);
        meanings.push(meaning.ok_or(Fault::UnclassifiedWord(offset))?);
        offset += 8;
    }
    let count = |m: Meaning| meanings.iter().filter(|x| **x == m).count();
    for (meaning, name) in [
        (Meaning::Tid, "thread id"),
        (Meaning::StackBlock, "stack address"),
        (Meaning::Dtv, "module vector"),
    ] {
        if count(meaning) != 1 {
            return Err(Fault::UnknownLayout(name));
        }
    }
    if count(Meaning::ListLink) != 2 {
        return Err(Fault::UnknownLayout("list of threads"));
    }
    Ok(meanings)
}

fn meaning_of(
    a: &Photo,
    b: &Photo,
    offset: isize,
    lowest: isize,
    list_next: &mut Option<isize>,
) -> Option<Meaning> {
    let (x, y) = (a.word(offset), b.word(offset));
    if in_rseq_area(offset) {
        let first = arch::rseq_area().is_some_and(|(at, _)| offset == at);
        return Some(if first {
            Meaning::RseqCpu
        } else {
            Meaning::Rseq
        });
    }
    if offset == 8 {
        return Some(Meaning::Dtv);
    }
    let own = |photo: &Photo, v: usize| v >= photo.tp.wrapping_add_signed(lowest);
    if a.contains(x) && b.contains(y) {
        let same_place = x.wrapping_sub(a.tp) == y.wrapping_sub(b.tp);
        if same_place && own(a, x) && own(b, y) {
            return Some(Meaning::SelfRelative);
        }
        if offset > 0 && x == a.region && y == b.region {
            return Some(Meaning::StackBlock);
        }
        // A pointer into the raw thread's own frames (glibc's cleanup buffer).
        return Some(Meaning::Null);
    }
    if offset > 0 && x == a.region_bytes && y == b.region_bytes {
        return Some(Meaning::StackSize);
    }
    if offset > 0 && x as u32 == a.tid && y as u32 == b.tid && x >> 32 == y >> 32 {
        return Some(Meaning::Tid);
    }
    if x == a.argument && y == b.argument {
        return Some(Meaning::Null);
    }
    // The second thread was put in front of the first: its next link is the first's. The previous link
    // of both was the head of the list when they were photographed.
    if offset > 0 && list_next.is_none() && y == a.tp.wrapping_add_signed(offset) {
        *list_next = Some(offset);
        return Some(Meaning::ListLink);
    }
    if *list_next == Some(offset - 8) && x == y {
        return Some(Meaning::ListLink);
    }
    (x == y).then_some(Meaning::Image)
}
