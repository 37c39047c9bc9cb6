//! Building a block, and making it fresh between two threads.
//!
//! States of a block: *unbuilt* (memory of unknown content), *fresh* (as a just-born thread's), *used*.
//! [`build`] takes unbuilt to fresh. [`freshen`] takes used to fresh, or says that glibc left something
//! in it that only a real thread end can free. [`dismantle`] takes any built block to unbuilt.
//!
//! Invariants
//! 1. The word at the thread pointer equals the thread pointer exactly while the block is built; it is
//!    written last and cleared first, so a walk over all slots sees only complete blocks.
//! 2. Whoever copied from a template looks afterwards whether it is still the current one (`refresh.rs`).
//! 3. A fresh block's dtv holds nothing that has to be freed.
//!
//! Rejected: recopying the whole image between two threads (2.7 KB written; comparing reads it only).

use super::{FIRST_TID, Keys, Template, template};
use core::ffi::c_void;
use core::sync::atomic::{Ordering, compiler_fence, fence};
use std::io;

/// Values below this are counts or flags, no pointers.
const SMALLEST_POINTER: u32 = 4096;
/// "Not allocated" in a dtv entry.
const UNALLOCATED: usize = usize::MAX;

fn base(template: &Template, tp: usize) -> *mut u64 {
    (tp - template.below) as *mut u64
}

/// Writes a complete fresh block at `tp`.
///
/// # Errors
/// When there is no memory for the dtv.
///
/// # Safety
/// `[tp - below, tp + above)` is writable and nobody else's; no built block lies there. `lowest` is the
/// lowest address of the stack that goes with it.
#[cold]
pub(crate) unsafe fn build(tp: usize, lowest: usize, index: u32) -> io::Result<()> {
    let t = template();
    let dtv = new_dtv(t.modules)?;
    let words = base(t, tp);
    let tcb = ((t.below) / 8) as u32;
    // SAFETY: all indices are inside the image, which has the size of the range that the caller owns.
    unsafe {
        core::ptr::copy_nonoverlapping(t.image.as_ptr(), words, tcb as usize);
        // Invariant 1: the first word of the TCB comes last.
        core::ptr::copy_nonoverlapping(
            t.image.as_ptr().add(tcb as usize + 1),
            words.add(tcb as usize + 1),
            t.image.len() - tcb as usize - 1,
        );
        for &i in t.relocations.iter().filter(|i| **i != tcb) {
            *words.add(i as usize) = t.image[i as usize].wrapping_add(tp as u64);
        }
        ((tp + 8) as *mut usize).write(dtv as usize);
        (tp.wrapping_add_signed(t.tid_offset) as *mut u32).write(FIRST_TID + index);
        (tp.wrapping_add_signed(t.stack_offset) as *mut usize).write(lowest);
        if let Some(size) = t.stack_size_offset {
            (tp.wrapping_add_signed(size) as *mut usize).write(tp - lowest);
        }
        // ORDER: Release: a walk that reads the word below sees the complete block.
        fence(Ordering::Release);
        (tp as *mut usize).write_volatile(tp);
        // ORDER: SeqCst pairs with the membarrier in `refresh`: either the walk there sees the word
        // above, or this thread sees the new template.
        fence(Ordering::SeqCst);
        if !core::ptr::eq(t, template()) {
            copy_user_slow(tp);
        }
    }
    Ok(())
}

/// A module vector for `modules` modules, nothing allocated: glibc fills entries on first use.
fn new_dtv(modules: usize) -> io::Result<*mut usize> {
    // Two words per entry: [-1] holds the length, [0] the generation, then one per module.
    let bytes = (modules + 2) * 16;
    // SAFETY: a plain malloc; glibc's since glibc reallocates it.
    let memory = unsafe { libc::malloc(bytes) }.cast::<usize>();
    if memory.is_null() {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            format!("no memory for a thread's module vector ({bytes} bytes)"),
        ));
    }
    // SAFETY: `memory` has `2 * (modules + 2)` words.
    unsafe {
        memory.write(modules);
        memory.add(1).write(0);
        memory.add(2).write(0);
        memory.add(3).write(0);
        for entry in 2..modules + 2 {
            memory.add(entry * 2).write(UNALLOCATED);
            memory.add(entry * 2 + 1).write(0);
        }
        Ok(memory.add(2))
    }
}

/// Makes a used block fresh. False: it has residue that only a real thread end frees.
///
/// # Safety
/// The block at `tp` is built, its thread is dead and runs nowhere.
#[inline]
pub(crate) unsafe fn freshen(tp: usize) -> bool {
    let t = template();
    let words = base(t, tp);
    // SAFETY: all indices are inside the image and so inside the block, which is ours by contract.
    unsafe {
        if let Some(keys) = t.keys
            && *words.add(keys.flag as usize) != *t.image.as_ptr().add(keys.flag as usize)
            && !clear_keys(t, keys, words)
        {
            return false;
        }
        for &i in &t.reset {
            *words.add(i as usize) = *t.image.as_ptr().add(i as usize);
        }
        let mut differs = false;
        for span in &t.checked {
            let (at, words_count) = (span.start as usize, (span.end - span.start) as usize);
            differs |= libc::memcmp(
                words.add(at).cast::<c_void>(),
                t.image.as_ptr().add(at).cast::<c_void>(),
                words_count * 8,
            ) != 0;
        }
        if differs && !settle(t, words, tp) {
            return false;
        }
        empty_dtv(tp);
        copy_user(t, words, tp);
        // ORDER: SeqCst for the compiler only; the processor's half is the membarrier in `refresh`.
        compiler_fence(Ordering::SeqCst);
        if !core::ptr::eq(t, template()) {
            copy_user_slow(tp);
        }
    }
    true
}

/// A library was loaded while a block was made: copies again until the template stays.
///
/// # Safety
/// As [`freshen`].
#[cold]
unsafe fn copy_user_slow(tp: usize) {
    loop {
        let t = template();
        // SAFETY: the caller's contract; the geometry is the same in all templates.
        unsafe { copy_user(t, base(t, tp), tp) };
        // ORDER: SeqCst pairs with the membarrier in `refresh`: the copy is out before the look below.
        fence(Ordering::SeqCst);
        if core::ptr::eq(t, template()) {
            return;
        }
    }
}

/// Clears the first block of pthread keys. False when the thread has further blocks.
///
/// # Safety
/// As [`freshen`].
#[cold]
unsafe fn clear_keys(t: &Template, keys: Keys, words: *mut u64) -> bool {
    let (first, more) = (keys.values.start as usize, keys.values.end as usize + 1);
    // SAFETY: as in `freshen`.
    unsafe {
        if (more..keys.flag as usize).any(|i| *words.add(i) != 0) {
            return false;
        }
        words
            .add(first)
            .write_bytes(0, keys.values.end as usize - first);
        *words.add(keys.flag as usize) = t.image[keys.flag as usize];
    }
    true
}

/// Copies the initial thread-locals of everything but libc.
///
/// # Safety
/// As [`freshen`].
#[inline]
unsafe fn copy_user(t: &Template, words: *mut u64, tp: usize) {
    // SAFETY: as in `freshen`.
    unsafe {
        for span in &t.user {
            core::ptr::copy_nonoverlapping(
                t.image.as_ptr().add(span.start as usize),
                words.add(span.start as usize),
                (span.end - span.start) as usize,
            );
        }
        for &i in &t.user_relocations {
            *words.add(i as usize) = t.image[i as usize].wrapping_add(tp as u64);
        }
    }
}

/// Puts back the words that differ. False when one of them may own something.
///
/// # Safety
/// As [`freshen`].
#[cold]
unsafe fn settle(t: &Template, words: *mut u64, tp: usize) -> bool {
    // SAFETY: the stack's lowest address was written by `build`.
    let lowest = unsafe { *(tp.wrapping_add_signed(t.stack_offset) as *const usize) };
    for span in &t.checked {
        for i in span.start as usize..span.end as usize {
            // SAFETY: as in `freshen`.
            let word = unsafe { &mut *words.add(i) };
            // Counts, flags, and pointers into the dead stack own nothing.
            let owns_nothing = is_count(*word) || (lowest as u64..tp as u64).contains(&*word);
            if *word != t.image[i] {
                if !owns_nothing {
                    return false;
                }
                *word = t.image[i];
            }
        }
    }
    true
}

/// Whether the word is a count or a flag, or two of them: a change of the process's ids leaves a 1 in the
/// upper half of a word (`setxid_futex`) of whatever block its signal finds.
fn is_count(word: u64) -> bool {
    (word as u32) < SMALLEST_POINTER && (word >> 32) < u64::from(SMALLEST_POINTER)
}

/// Frees what loaded libraries' thread-locals were given.
///
/// # Safety
/// As [`freshen`].
#[inline]
unsafe fn empty_dtv(tp: usize) {
    // SAFETY: the second word of a built block is its dtv: [-1] length, [0] generation.
    unsafe {
        let dtv = *((tp + 8) as *const *mut usize);
        // Entries with memory of their own appear only together with a generation.
        if *dtv != 0 {
            empty_dtv_slow(dtv);
        }
    }
}

/// # Safety
/// `dtv` is the module vector of a dead thread.
#[cold]
unsafe fn empty_dtv_slow(dtv: *mut usize) {
    // SAFETY: entries 1..=length are (address, memory to free).
    unsafe {
        for entry in 1..=*dtv.sub(2) {
            let memory = dtv.add(entry * 2 + 1);
            if *memory != 0 {
                libc::free(*memory as *mut c_void);
                dtv.add(entry * 2).write(UNALLOCATED);
                memory.write(0);
            }
        }
    }
}

/// Frees the dtv and marks the block as unbuilt.
///
/// # Safety
/// The block at `tp` is built, its thread is dead and runs nowhere.
pub(crate) unsafe fn dismantle(tp: usize) {
    // SAFETY: invariant 1 and the caller's contract.
    unsafe {
        (tp as *mut usize).write_volatile(0);
        // ORDER: Release: a walk that reads the old word may still write; the memory stays mapped.
        fence(Ordering::Release);
        let dtv = *((tp + 8) as *const *mut usize);
        empty_dtv_slow(dtv);
        libc::free(dtv.sub(2).cast::<c_void>());
        ((tp + 8) as *mut usize).write(0);
    }
}

/// Takes malloc's words out of a dead block, so that a thread end on it frees no cache of a carrier.
///
/// # Safety
/// As [`freshen`].
pub(crate) unsafe fn forget_malloc(tp: usize) {
    for offset in template().malloc_words.into_iter().flatten() {
        // SAFETY: the offsets are inside the block.
        unsafe { (tp.wrapping_add_signed(offset) as *mut usize).write(0) };
    }
}
