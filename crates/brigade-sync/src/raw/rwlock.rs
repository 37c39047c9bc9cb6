//! The word of a lock for many readers or one writer: the protocol.
//!
//! # States
//!
//! | bits | set by | cleared by |
//! |---|---|---|
//! | `WRITER` | a writer that takes the lock | it; who hands the lock over leaves it |
//! | `PARKED` | a thread that enters the lot, under the lot's lock | an owner, under the lot's lock, when it leaves nobody there |
//! | `WOKEN` | the owner that wakes a thread, under the lot's lock | that thread, when it takes the lock or enters the lot again |
//! | the rest | readers: how many there are | |
//!
//! `WRITER` and readers exclude each other. While threads wait, a reader that was not woken does not join others that
//! read, so that the lock becomes free; it may take a free lock, as a writer may. A thread that reads already may
//! therefore wait for itself if it reads once more.
//!
//! # Invariants
//!
//! 1. *Somebody cares.* While threads are in the lot, `PARKED` is set, and the lock is taken or `WOKEN` is set. The
//!    writer, and the last reader, see both when they unlock. A thread gives `WOKEN` back only in a step that sees what
//!    keeps it out.
//! 2. *One at a time.* While `WOKEN` is set nobody else is woken. A reader that was woken and got in lets in all
//!    readers that wait (they are counted by the thread that wakes them).
//! 3. *In turn.* A running thread may take the lock before the woken one does, but not for ever: half a millisecond
//!    after the last turn the next wake hands the lock over, to the writer that has waited longest or to all readers.
//!    So neither writers nor readers starve: all readers that wait enter together, and after them, since no new
//!    reader overtakes it, the writer that has waited longest.
//! 4. The last reader counts until it has chosen, under the lot's lock, who comes next; with `PARKED` set and `WOKEN`
//!    clear the count cannot rise meanwhile, because nobody joins it. So it may replace the word.
//! 5. After the step that gives the lock back, the unlocking thread does not touch the word again.
//!
//! The child of a fork: as in `mutex.rs`.
//!
//! # Rejected
//!
//! Two addresses, one for readers and one for writers: the order between them is lost. Readers that overtake waiting
//! writers without end: a stream of readers would starve writers. Readers that never take the free lock while others
//! wait: once two threads have met, each lock costs a switch (ten times the time on two workers).

use core::cell::Cell;

use brigade_event::Mode;

use super::Refusal;
use crate::prim::{
    AtomicU32, Choice, Ordering, Parked, SPINS, Turn, Waiting, are_woken_alive, spin_loop,
    unpark_each,
};

const WRITER: u32 = 1;
const PARKED: u32 = 2;
const WOKEN: u32 = 4;
const READER: u32 = 8;
const READERS: u32 = !(READER - 1);
/// More readers than this are a mistake, and would overflow the word.
const MOST_READERS: u32 = (READERS / 2) & READERS;

/// What a wake says: try again.
const TRY: usize = 0;
/// What a wake says: the lock is yours.
const OWN: usize = 1;

/// The word; see the module. 0 is free.
pub(crate) struct RawRwLock {
    pub(crate) state: AtomicU32,
}

/// What a holder in `mode` adds to the word.
const fn share(mode: Mode) -> u32 {
    match mode {
        Mode::Exclusive => WRITER,
        Mode::Shared => READER,
    }
}

/// Whether the lock can be taken. `mine` is `WOKEN` for a thread that was woken.
#[inline(always)]
fn is_open(state: u32, mode: Mode, mine: u32) -> bool {
    match mode {
        Mode::Exclusive => state & (WRITER | READERS) == 0,
        Mode::Shared => {
            let joins_others = state & READERS != 0 && state & PARKED != 0;
            state & WRITER == 0 && (state & mine != 0 || !joins_others)
        }
    }
}

impl RawRwLock {
    /// Takes the lock if that is possible in one step or two.
    #[inline(always)]
    pub(crate) fn read_now(&self) -> bool {
        // ORDER: Relaxed: the exchange acquires.
        let state = self.state.load(Ordering::Relaxed);
        is_open(state, Mode::Shared, 0)
            && state < MOST_READERS
            && self.exchange(state, state + READER).is_ok()
    }

    /// Takes the lock if nobody holds it or waits for it, in one step.
    #[inline(always)]
    pub(crate) fn write_now(&self) -> bool {
        self.exchange(0, WRITER).is_ok()
    }

    /// Takes the lock unless it is taken, or a reader would overtake.
    pub(crate) fn try_lock(&self, mode: Mode) -> bool {
        self.enter(mode, 0)
    }

    /// Takes the lock, unless somebody keeps the thread out. `mine` is `WOKEN` for a thread that was woken.
    #[inline]
    fn enter(&self, mode: Mode, mine: u32) -> bool {
        // ORDER: Relaxed: the exchange acquires.
        let mut state = self.state.load(Ordering::Relaxed);
        while is_open(state, mode, mine) {
            assert!(state < MOST_READERS, "too many readers of one RwLock");
            match self.exchange(state, (state & !mine) + share(mode)) {
                Ok(_) => return true,
                Err(now) => state = now,
            }
        }
        false
    }

    #[inline(always)]
    fn exchange(&self, from: u32, to: u32) -> Result<u32, u32> {
        // ORDER: Acquire: pairs with the Release of who gave the lock back. Relaxed on failure: the caller looks again.
        self.state
            .compare_exchange(from, to, Ordering::Acquire, Ordering::Relaxed)
    }

    /// Looks a few times whether the lock can be taken; true: took it. `is_owner_running` says whether that may happen
    /// soon.
    pub(crate) fn spin(&self, mode: Mode, is_owner_running: impl Fn() -> bool) -> bool {
        self.spin_as(mode, 0, is_owner_running)
    }

    fn spin_as(&self, mode: Mode, mine: u32, is_owner_running: impl Fn() -> bool) -> bool {
        for round in 0..SPINS {
            if self.enter(mode, mine) {
                return true;
            }
            if !is_owner_running() {
                return false;
            }
            (0..1 << round).for_each(|_| spin_loop());
        }
        false
    }

    /// Takes the lock; waits for it in the lot, at `address`.
    pub(crate) fn lock_parking(
        &self,
        mode: Mode,
        address: usize,
        waiting: &Waiting,
        is_owner_running: impl Fn() -> bool,
    ) -> Result<(), Refusal> {
        // The part of `WOKEN` that is this thread's to give back.
        let mut mine = 0;
        loop {
            let entered =
                self.enter(mode, mine) || mine != 0 && self.spin_as(mode, mine, &is_owner_running);
            if entered {
                if mine != 0 && mode == Mode::Shared {
                    self.admit_readers(address);
                }
                return Ok(());
            }
            let is_due = || self.is_due(mode, mine);
            match waiting.park_owned(address, mode, mine != 0, is_due) {
                Parked::NotDue => {}
                Parked::Woken(OWN) => return Ok(()),
                Parked::Woken(_) => mine = WOKEN,
                Parked::TimedOut => {
                    self.gave_up(mode, address);
                    return Err(Refusal::TimedOut);
                }
                Parked::Refused(reason) => {
                    self.gave_up(mode, address);
                    return Err(Refusal::Deadlock(reason));
                }
            }
        }
    }

    /// By a thread that enters the lot, under the lot's lock: says that it is there, if somebody keeps it out.
    fn is_due(&self, mode: Mode, mine: u32) -> bool {
        // ORDER: Relaxed: who unlocks looks at the list under the lot's lock. On failure: the closure looks again.
        self.state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                (!is_open(state, mode, mine)).then_some((state | PARKED) & !mine)
            })
            .is_ok()
    }

    /// By a thread that left the lot by itself: readers that waited only because a writer did may enter now.
    #[cold]
    fn gave_up(&self, mode: Mode, address: usize) {
        if mode == Mode::Shared {
            return;
        }
        // This thread counts as a reader until those that it lets in are counted, so that no writer comes between.
        let joined = Cell::new(false);
        let choose = |mode, _: &mut Turn| match mode {
            Mode::Exclusive => Choice::Stop,
            Mode::Shared if joined.get() => Choice::Take,
            Mode::Shared => {
                joined.set(self.join_readers());
                if joined.get() {
                    Choice::Take
                } else {
                    Choice::Stop
                }
            }
        };
        unpark_each(address, choose, |found| {
            let temporary = if joined.get() { READER } else { 0 };
            self.change(found.left, READER * found.taken as u32 - temporary);
            OWN
        });
    }

    /// Counts one reader more if there are readers.
    fn join_readers(&self) -> bool {
        // ORDER: Acquire: as any reader that enters. Relaxed on failure: the closure looks again.
        self.state
            .fetch_update(Ordering::Acquire, Ordering::Relaxed, |state| {
                (state & WRITER == 0 && (READER..MOST_READERS).contains(&(state & READERS)))
                    .then_some(state + READER)
            })
            .is_ok()
    }

    /// By a reader that was woken: lets in all readers that wait.
    #[inline]
    fn admit_readers(&self, address: usize) {
        // ORDER: Relaxed: a hint; who comes later to wait for readers alone is not kept out.
        if self.state.load(Ordering::Relaxed) & PARKED != 0 {
            self.admit_readers_slow(address);
        }
    }

    #[cold]
    #[inline(never)]
    fn admit_readers_slow(&self, address: usize) {
        let choose = |mode, _: &mut Turn| match mode {
            Mode::Shared => Choice::Take,
            Mode::Exclusive => Choice::Skip,
        };
        unpark_each(address, choose, |found| {
            self.change(found.left, READER * found.taken as u32);
            OWN
        });
    }

    /// Under the lot's lock: counts readers that enter, and says whether threads are `left` in the lot.
    fn change(&self, left: bool, came: u32) {
        let gone = if left { 0 } else { PARKED };
        // ORDER: Relaxed: the readers that are let in come after this one by the lot's lock, and this one has acquired
        // what the last writer did. The closure always answers.
        let _ = self
            .state
            .fetch_update(Ordering::Relaxed, Ordering::Relaxed, |state| {
                Some((state & !gone) + came)
            });
    }

    /// By the writer: gives the lock back.
    #[inline(always)]
    pub(crate) fn unlock_write(&self, address: usize) {
        // ORDER: Relaxed: only chooses the path.
        let state = self.state.load(Ordering::Relaxed);
        if state & PARKED == 0 && self.give_back(state, WRITER).is_ok() {
            return;
        }
        self.unlock_slow(address, WRITER);
    }

    /// By a reader: gives the lock back.
    #[inline(always)]
    pub(crate) fn unlock_read(&self, address: usize) {
        // ORDER: Relaxed: only chooses the path.
        let state = self.state.load(Ordering::Relaxed);
        if state & PARKED == 0 && self.give_back(state, READER).is_ok() {
            return;
        }
        self.unlock_slow(address, READER);
    }

    #[inline(always)]
    fn give_back(&self, state: u32, share: u32) -> Result<u32, u32> {
        // ORDER: Release: pairs with the Acquire of who takes the lock; readers too, for the next writer. Relaxed on
        // failure: the value is only compared.
        self.state
            .compare_exchange(state, state - share, Ordering::Release, Ordering::Relaxed)
    }

    #[cold]
    #[inline(never)]
    fn unlock_slow(&self, address: usize, share: u32) {
        if !self.give_back_unless_last(share) {
            self.pass_on(address, share);
        }
    }

    /// Gives the lock back, unless this thread is the only holder and must wake somebody (invariant 1).
    fn give_back_unless_last(&self, share: u32) -> bool {
        // ORDER: Relaxed: the exchange and the lot's lock order what follows.
        let mut state = self.state.load(Ordering::Relaxed);
        loop {
            let is_last = state & (WRITER | READERS) == share;
            let is_awaited = is_last && state & PARKED != 0;
            let is_cared_for = state & WOKEN != 0 && are_woken_alive();
            let next = match (is_awaited, is_cared_for) {
                (true, false) if state & WOKEN == 0 => return false,
                (true, false) => state & !WOKEN,
                _ => state - share,
            };
            // ORDER: Release: as in `give_back`.
            match self
                .state
                .compare_exchange(state, next, Ordering::Release, Ordering::Relaxed)
            {
                Ok(_) if !is_awaited || is_cared_for => return true,
                Ok(_) => return false,
                Err(now) => state = now,
            }
        }
    }

    /// By the only holder, while `PARKED` is set and `WOKEN` is clear: gives the lock back, or hands it over. Under the
    /// lot's lock it looks once more, because a thread that gave up may have let readers in.
    fn pass_on(&self, address: usize, share: u32) {
        let first = Cell::new(None);
        let is_turn = Cell::new(false);
        let is_gone = Cell::new(false);
        let choose = |mode, turn: &mut Turn| match first.get() {
            None if is_gone.get() || self.give_back_unless_last(share) => {
                is_gone.set(true);
                Choice::Stop
            }
            None => {
                first.set(Some(mode));
                is_turn.set(turn.take());
                Choice::Take
            }
            Some(Mode::Exclusive) => Choice::Stop,
            Some(Mode::Shared) if !is_turn.get() => Choice::Stop,
            Some(Mode::Shared) if mode == Mode::Exclusive => Choice::Skip,
            Some(Mode::Shared) => Choice::Take,
        };
        unpark_each(address, choose, |found| {
            let (holders, token) = match first.get() {
                None if is_gone.get() || self.give_back_unless_last(share) => return TRY,
                None => (0, TRY),
                Some(_) if !is_turn.get() => (WOKEN, TRY),
                Some(Mode::Exclusive) => (WRITER, OWN),
                Some(Mode::Shared) => (READER * found.taken as u32, OWN),
            };
            let parked = if found.left { PARKED } else { 0 };
            // ORDER: AcqRel: Release pairs with the Acquire of who takes the lock. Acquire: what other readers did goes on
            // to the thread that the lock is handed to, by the lot. Nobody else changes the word (invariant 4).
            self.state.swap(holders | parked, Ordering::AcqRel);
            token
        });
    }

    /// By the writer: becomes a reader, without a moment in which the lock is free.
    pub(crate) fn downgrade(&self, address: usize) {
        // ORDER: Release: pairs with the Acquire of readers that enter.
        self.state.fetch_add(READER - WRITER, Ordering::Release);
        self.admit_readers(address);
    }
}
