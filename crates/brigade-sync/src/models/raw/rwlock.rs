//! The lock for many readers or one writer: writers are alone, nobody is forgotten, whoever gives up.

use std::sync::Arc;

use brigade_event::Mode;
use loom::sync::atomic::{AtomicU32, Ordering};
use loom::thread;

use super::{FOR_EVER, NOT_AT_ALL, Plain, Tally};
use crate::prim::{Waiting, always_in_turn, waiting};
use crate::raw::Refusal;
use crate::raw::rwlock::RawRwLock;

const ADDRESS: usize = 8;

struct Shared {
    lock: RawRwLock,
    value: Plain,
    written: Tally,
}

impl Shared {
    fn new() -> Arc<Shared> {
        Arc::new(Shared {
            lock: RawRwLock {
                state: AtomicU32::new(0),
            },
            value: Plain::new(),
            written: Tally::new(),
        })
    }

    fn take(&self, mode: Mode, waiting: Waiting) -> Result<(), Refusal> {
        let is_taken = match mode {
            Mode::Exclusive => self.lock.write_now(),
            Mode::Shared => self.lock.read_now(),
        };
        if is_taken {
            return Ok(());
        }
        self.lock.lock_parking(mode, ADDRESS, &waiting, || true)
    }

    fn read(&self, waiting: Waiting) {
        if self.take(Mode::Shared, waiting).is_ok() {
            self.value.get();
            self.lock.unlock_read(ADDRESS);
        }
    }

    fn write(&self, waiting: Waiting) {
        if self.take(Mode::Exclusive, waiting).is_ok() {
            self.value.add();
            self.written.up();
            self.lock.unlock_write(ADDRESS);
        }
    }

    fn spawn_read(shared: &Arc<Shared>) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || shared.read(FOR_EVER))
    }

    fn spawn_write(shared: &Arc<Shared>, waiting: Waiting) -> thread::JoinHandle<()> {
        let shared = Arc::clone(shared);
        thread::spawn(move || shared.write(waiting))
    }

    /// After all threads have ended: every write counted, and nobody waits.
    fn check(&self, least: u32) {
        assert!(self.take(Mode::Exclusive, FOR_EVER).is_ok());
        assert_eq!(self.value.get(), self.written.get());
        assert!(self.written.get() >= least);
        assert_eq!(waiting(), 0);
    }
}

#[test]
fn two_writers_and_a_reader_all_get_the_lock() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [
            Shared::spawn_write(&shared, FOR_EVER),
            Shared::spawn_read(&shared),
        ];
        shared.write(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(2);
    });
}

#[test]
fn two_writers_and_a_reader_all_get_the_lock_when_it_is_handed_over() {
    loom::model(|| {
        always_in_turn();
        let shared = Shared::new();
        let others = [
            Shared::spawn_write(&shared, FOR_EVER),
            Shared::spawn_read(&shared),
        ];
        shared.write(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(2);
    });
}

#[test]
fn a_writer_and_two_readers_all_get_the_lock() {
    loom::model(|| {
        let shared = Shared::new();
        let others = [Shared::spawn_read(&shared), Shared::spawn_read(&shared)];
        shared.write(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(1);
    });
}

#[test]
fn a_writer_and_two_readers_all_get_the_lock_when_it_is_handed_over() {
    loom::model(|| {
        always_in_turn();
        let shared = Shared::new();
        let others = [Shared::spawn_read(&shared), Shared::spawn_read(&shared)];
        shared.write(FOR_EVER);
        others.map(|other| other.join().unwrap());
        shared.check(1);
    });
}

#[test]
fn readers_behind_a_writer_that_gives_up_enter_beside_a_reader() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.take(Mode::Shared, FOR_EVER).is_ok());
        let others = [
            Shared::spawn_write(&shared, NOT_AT_ALL),
            Shared::spawn_read(&shared),
        ];
        others.map(|other| other.join().unwrap());
        shared.lock.unlock_read(ADDRESS);
        shared.check(0);
    });
}

#[test]
fn a_writer_that_gives_up_disturbs_no_reader_that_leaves() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.take(Mode::Shared, FOR_EVER).is_ok());
        let others = [
            Shared::spawn_write(&shared, NOT_AT_ALL),
            Shared::spawn_read(&shared),
        ];
        shared.lock.unlock_read(ADDRESS);
        others.map(|other| other.join().unwrap());
        shared.check(0);
    });
}

#[test]
fn a_writer_that_becomes_a_reader_lets_readers_in_and_keeps_writers_out() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.take(Mode::Exclusive, FOR_EVER).is_ok());
        shared.value.add();
        shared.written.up();
        let reader = Shared::spawn_read(&shared);
        let writer = Shared::spawn_write(&shared, FOR_EVER);
        shared.lock.downgrade(ADDRESS);
        let seen = shared.value.get();
        assert_eq!(seen, 1);
        shared.lock.unlock_read(ADDRESS);
        reader.join().unwrap();
        writer.join().unwrap();
        shared.check(2);
    });
}

/// Planted fault: a last reader that does not look who waits.
#[test]
#[should_panic(expected = "deadlock")]
fn the_checker_finds_a_reader_that_wakes_nobody() {
    loom::model(|| {
        let shared = Shared::new();
        assert!(shared.take(Mode::Shared, FOR_EVER).is_ok());
        let writer = Shared::spawn_write(&shared, FOR_EVER);
        // ORDER: Release: as in `unlock_read`; the fault is what is missing after it.
        shared.lock.state.fetch_sub(8, Ordering::Release);
        writer.join().unwrap();
    });
}

/// Planted fault: a writer that takes no notice of readers.
#[test]
#[should_panic(expected = "Causality violation")]
fn the_checker_finds_a_writer_beside_a_reader() {
    loom::model(|| {
        let shared = Shared::new();
        let reader = Shared::spawn_read(&shared);
        // ORDER: Acquire: as in `write_now`; the fault is that it does not compare.
        shared.lock.state.fetch_or(1, Ordering::Acquire);
        shared.value.add();
        shared.lock.unlock_write(ADDRESS);
        reader.join().unwrap();
    });
}
