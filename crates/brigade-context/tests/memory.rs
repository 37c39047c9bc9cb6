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
fn trim_gives_memory_back_and_slots_work_again() {
    let _alone = ALONE.lock();
    const THREADS: usize = 64;
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
        assert_eq!(resident_pages(&places), 0);
        for _ in 0..2 * THREADS {
            drop_slot(Green::new(pause).finish().expect("clean"));
        }
    });
}
