//! Memory of finished threads. One test per process state, so these run one after the other.

mod common;

use brigade_context::*;
use common::*;
use std::sync::Mutex;

/// Both tests look at counters of the whole process.
static ALONE: Mutex<()> = Mutex::new(());

fn leave_residue() {
    // SAFETY: both calls make buffers that libc keeps for the thread until it ends.
    unsafe {
        libc::strerror(98765);
        libc::dlopen(c"/nonexistent/library.so".as_ptr(), libc::RTLD_NOW);
    }
}

fn wait_until_pooled(count: usize) {
    while stats().pooled < count {
        std::thread::yield_now();
    }
}

#[test]
fn leftovers_of_libc_go_through_the_reaper_and_memory_stays_flat() {
    let _alone = ALONE.lock();
    const THREADS: usize = 200;
    as_carrier(|| {
        let mut after_first = 0;
        for round in 0..10 {
            for _ in 0..THREADS {
                assert!(
                    Green::new(leave_residue).finish().is_none(),
                    "residue was not seen"
                );
                wait_until_pooled(1);
            }
            if round == 0 {
                after_first = malloc_bytes();
            }
        }
        let grown = malloc_bytes().saturating_sub(after_first);
        assert!(
            grown < 64 * 1024,
            "{grown} bytes were lost in {} threads",
            9 * THREADS
        );
    });
}

fn resident_pages(slots: &[(usize, usize)]) -> usize {
    let pages = |&(base, size): &(usize, usize)| {
        let mut present = vec![0u8; size / 4096];
        // SAFETY: asks about a range that is mapped for ever.
        let r = unsafe { libc::mincore(base as *mut _, size, present.as_mut_ptr()) };
        assert_eq!(r, 0);
        present.iter().filter(|p| **p & 1 != 0).count()
    };
    slots.iter().map(pages).sum()
}

#[test]
fn trim_gives_memory_back_but_for_the_warm_slots_and_slots_work_again() {
    let _alone = ALONE.lock();
    const THREADS: usize = WARM_SLOTS + 600;
    as_carrier(|| {
        let mut greens: Vec<Green> = (0..THREADS).map(|_| Green::new(pause)).collect();
        for green in &mut greens {
            green.resume();
        }
        let slots: Vec<Slot> = greens
            .into_iter()
            .map(|g| g.finish().expect("clean"))
            .collect();
        let places: Vec<(usize, usize)> =
            slots.iter().map(|s| (s.guard().start, s.size())).collect();
        assert!(resident_pages(&places) >= THREADS);
        slots.into_iter().for_each(drop_slot);
        trim();
        let (cold, warm) = places.split_at(THREADS - WARM_SLOTS);
        assert_eq!(resident_pages(cold), 0, "pages of slots that went cold");
        assert!(resident_pages(warm) >= WARM_SLOTS, "warm slots lost pages");
        assert!(stats().pooled >= THREADS);
        let again: Vec<Green> = (0..THREADS).map(|_| Green::new(pause)).collect();
        for green in again {
            drop_slot(green.finish().expect("clean"));
        }
    });
}

#[test]
fn keys_beyond_the_first_block_are_residue_even_if_they_are_older_than_the_self_check() {
    if !is_child() {
        let name =
            "keys_beyond_the_first_block_are_residue_even_if_they_are_older_than_the_self_check";
        let output = child(name, &[]);
        assert!(output.status.success(), "{}", stderr(&output));
        return;
    }
    let keys: Vec<libc::pthread_key_t> = (0..40)
        .map(|_| {
            let mut key = 0;
            // SAFETY: the key is written by the call.
            assert_eq!(unsafe { libc::pthread_key_create(&mut key, None) }, 0);
            key
        })
        .collect();
    let low = keys[0];
    let set = |key| {
        // SAFETY: the key is alive; the value is never dereferenced.
        assert_eq!(unsafe { libc::pthread_setspecific(key, 9 as *const _) }, 0);
    };
    as_carrier(|| {
        for _ in 0..3 {
            let green = Green::new(move || set(low));
            drop_slot(green.finish().expect("the first block is cleared at once"));
            let keys = keys.clone();
            let green = Green::new(move || keys.into_iter().for_each(set));
            assert!(green.finish().is_none(), "the second block was not seen");
            wait_until_pooled(1);
        }
    });
}
