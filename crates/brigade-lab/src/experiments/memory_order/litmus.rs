//! Litmus tests: two threads, two accesses each, and which of four outcomes they see.
//!
//! # Method
//!
//! Both threads go through an array of rounds. Each round has variables of its own, which no thread has touched since
//! the last batch, and begins when both threads have arrived; a short random delay then shifts the two against each
//! other, because the interesting moment is a few nanoseconds wide. After a batch the outcomes are counted and the
//! variables are cleared, with both threads at rest.
//!
//! A fence for the compiler alone stands between the two accesses of a thread: what is seen is what the CPU does with
//! the program as written, and not what a compiler made of it, which `Relaxed` would allow as well.
//!
//! # Who owns what
//!
//! The variables belong to both threads during a round, to the first one between the two meetings at the end of a
//! batch. A thread's outcomes and waits are written by that thread alone.
//!
//! # Invariants
//!
//! 1. Meetings are numbered; a thread is at most one meeting ahead of the other.
//! 2. Between the end of a batch and the next one, all that either thread wrote happens before all that follows: each
//!    arrival is a Release that the other's Acquire reads.
//! 3. A round counts as overlapped only if neither thread waited for long at its beginning or at its end; so both
//!    were running all the time.
//!
//! # Rejected
//!
//! *One pair of variables for all rounds*: clearing it would take another meeting in each round. *The CPU time used as
//! evidence of overlap*: a thread that waits for the other uses as much.

use std::hint::black_box;
use std::sync::atomic::{AtomicBool, AtomicU8, AtomicU32, AtomicU64, Ordering, compiler_fence};
use std::thread;
use std::time::Instant;

use brigade::sync::CachePadded;

use crate::experiment::ArmError;
use crate::probe;

/// How strong the accesses of a test are.
pub(super) trait Strength {
    const LOAD: Ordering;
    const STORE: Ordering;
}

/// `Ordering::Relaxed`.
pub(super) struct Relaxed;
/// `Ordering::Acquire` and `Ordering::Release`.
pub(super) struct AcquireRelease;
/// `Ordering::SeqCst`.
pub(super) struct SequentiallyConsistent;

impl Strength for Relaxed {
    // ORDER: Relaxed, what is tested: nothing may be concluded from what is read.
    const LOAD: Ordering = Ordering::Relaxed;
    // ORDER: Relaxed, as above.
    const STORE: Ordering = Ordering::Relaxed;
}

impl Strength for AcquireRelease {
    // ORDER: Acquire pairs with the Release store of the other thread in the same round.
    const LOAD: Ordering = Ordering::Acquire;
    // ORDER: Release pairs with the Acquire load of the other thread in the same round.
    const STORE: Ordering = Ordering::Release;
}

impl Strength for SequentiallyConsistent {
    // ORDER: SeqCst, one order of all four accesses of a round is what is tested.
    const LOAD: Ordering = Ordering::SeqCst;
    // ORDER: SeqCst, as above.
    const STORE: Ordering = Ordering::SeqCst;
}

/// The two variables of a round, both 0 at its beginning, in cache lines of their own.
#[derive(Default)]
pub(super) struct Variables {
    x: CachePadded<AtomicU32>,
    y: CachePadded<AtomicU32>,
}

/// What one thread does in a round; it returns what it read, and 0 if it reads nothing.
type Side = fn(&Variables) -> u32;

/// A test: the two sides, and how their results make one of four outcomes.
#[derive(Clone, Copy)]
pub(super) struct Litmus {
    sides: [Side; 2],
}

fn store_load<S: Strength>(store: &AtomicU32, load: &AtomicU32) -> u32 {
    store.store(1, S::STORE);
    compiler_fence(Ordering::SeqCst); // ORDER: SeqCst, for the compiler alone: no access moves over it.
    load.load(S::LOAD)
}

fn load_store<S: Strength>(load: &AtomicU32, store: &AtomicU32) -> u32 {
    let value = load.load(S::LOAD);
    compiler_fence(Ordering::SeqCst); // ORDER: SeqCst, for the compiler alone: no access moves over it.
    store.store(1, S::STORE);
    value
}

impl Litmus {
    /// Each stores to a variable of its own and then loads the other's. Both reading 0 means that the loads overtook
    /// the stores. Outcomes are what the first read, and what the second.
    pub(super) fn store_buffer<S: Strength>() -> Self {
        Self {
            sides: [
                |v| store_load::<S>(&v.x, &v.y),
                |v| store_load::<S>(&v.y, &v.x),
            ],
        }
    }

    /// One stores the message and then the flag; the other loads the flag and then the message. Flag 1 and message 0
    /// means that two stores or two loads were reordered. Outcomes are the flag and the message as read.
    pub(super) fn message_passing<S: Strength>() -> Self {
        Self {
            sides: [
                |v| {
                    v.x.store(1, S::STORE);
                    compiler_fence(Ordering::SeqCst); // ORDER: SeqCst, for the compiler alone.
                    v.y.store(1, S::STORE);
                    0
                },
                |v| {
                    let flag = v.y.load(S::LOAD);
                    compiler_fence(Ordering::SeqCst); // ORDER: SeqCst, for the compiler alone.
                    2 * flag + v.x.load(S::LOAD)
                },
            ],
        }
    }

    /// Each loads a variable and then stores to the one that the other loads. Both reading 1 means that the stores
    /// overtook the loads. Outcomes are what the first read, and what the second.
    pub(super) fn load_buffer<S: Strength>() -> Self {
        Self {
            sides: [
                |v| load_store::<S>(&v.x, &v.y),
                |v| load_store::<S>(&v.y, &v.x),
            ],
        }
    }
}

/// Whether both sides of a round run at once.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(super) enum How {
    AtOnce,
    /// The second side begins when the first is over, as no reordering can survive.
    InTurn,
}

/// What many rounds came to.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq)]
pub(super) struct Counts {
    /// By outcome: 00, 01, 10, 11.
    pub(super) outcomes: [u64; 4],
    /// Rounds during which both threads were running all the time.
    pub(super) overlapped: u64,
}

impl Counts {
    pub(super) fn rounds(&self) -> u64 {
        self.outcomes.iter().sum()
    }
}

/// Rounds between two looks at the clock.
const BATCH: usize = 512;
/// Who waits for so many looks at the other's arrival has waited for a thread that was not running: some microseconds.
const LONG: u32 = 2_000;
/// After so many looks the CPU is offered to others.
const GIVE_WAY: u32 = 50_000;
/// The delays are below this power of two, in steps of a fraction of a nanosecond.
const DELAYS: u32 = 128;

/// What one thread notes of each round of a batch, and of the meeting at its end.
struct Notes {
    read: Vec<AtomicU8>,
    waited: Vec<AtomicU32>,
}

/// Everything that the two threads share.
struct Field {
    variables: Vec<Variables>,
    notes: [Notes; 2],
    arrived: [CachePadded<AtomicU64>; 2],
    over: AtomicBool,
}

/// Runs `litmus` on the two `cpus` until `end`.
///
/// # Blocks
///
/// The kernel thread, until then and for the rest of a batch.
pub(super) fn run(
    litmus: Litmus,
    how: How,
    cpus: [usize; 2],
    end: Instant,
) -> Result<Counts, ArmError> {
    let field = Field::new();
    thread::scope(|scope| {
        let side = |me: usize| {
            let field = &field;
            scope.spawn(move || {
                // Where it cannot be pinned, both sides must know: a missing thread would be waited for.
                let pinned = probe::pin_to(cpus[me]);
                let counts = field.play(me, litmus.sides[me], how, end);
                pinned.map(|()| counts)
            })
        };
        let sides = [side(0), side(1)];
        let mut counts = sides.map(|side| {
            side.join()
                .unwrap_or_else(|_| Err(ArmError::Failed("a thread panicked".into())))
        });
        let [first, second] = &mut counts;
        second.clone()?;
        first.clone()
    })
}

impl Field {
    fn new() -> Self {
        let notes = || Notes {
            read: (0..BATCH).map(|_| AtomicU8::new(0)).collect(),
            waited: (0..=BATCH).map(|_| AtomicU32::new(0)).collect(),
        };
        Self {
            variables: (0..BATCH).map(|_| Variables::default()).collect(),
            notes: [notes(), notes()],
            arrived: Default::default(),
            over: AtomicBool::new(false),
        }
    }

    /// The part of thread `me`; what is counted, the first thread returns.
    fn play(&self, me: usize, side: Side, how: How, end: Instant) -> Counts {
        let mut random = fastrand::Rng::with_seed(me as u64 + 1);
        let mut counts = Counts::default();
        let mut meeting = 0;
        let mut meet = || {
            meeting += 1;
            self.meet(me, meeting)
        };
        let notes = &self.notes[me];
        loop {
            for (i, variables) in self.variables.iter().enumerate() {
                let delay = random.u32(..DELAYS);
                let mut waited = meet();
                if how == How::InTurn && me == 1 {
                    waited = waited.max(meet());
                }
                (0..delay).for_each(|step| _ = black_box(step));
                let read = side(variables);
                if how == How::InTurn && me == 0 {
                    meet();
                }
                // ORDER: Relaxed, published by the meeting at the end of the batch.
                notes.read[i].store(read as u8, Ordering::Relaxed);
                // ORDER: Relaxed, as above.
                notes.waited[i].store(waited, Ordering::Relaxed);
            }
            let waited = meet();
            // ORDER: Relaxed, published by the next meeting; it is read after that.
            notes.waited[BATCH].store(waited, Ordering::Relaxed);
            meet();
            if me == 0 {
                self.count(&mut counts);
                // ORDER: Relaxed, published by the meeting below.
                self.over.store(Instant::now() >= end, Ordering::Relaxed);
            }
            meet();
            // ORDER: Relaxed, written before the meeting above.
            if self.over.load(Ordering::Relaxed) {
                return counts;
            }
        }
    }

    /// Waits until the other thread has come to the same meeting, and returns how often it looked.
    fn meet(&self, me: usize, meeting: u64) -> u32 {
        // ORDER: Release pairs with the Acquire load below, of the other thread.
        self.arrived[me].store(meeting, Ordering::Release);
        let mut looks = 0_u32;
        // ORDER: Acquire pairs with the Release store above, of the other thread.
        while self.arrived[1 - me].load(Ordering::Acquire) < meeting {
            looks = looks.saturating_add(1);
            if looks > GIVE_WAY {
                thread::yield_now();
            }
        }
        looks
    }

    /// Adds a batch that is over, and clears its variables.
    fn count(&self, counts: &mut Counts) {
        // ORDER: Relaxed, here and below: the other thread is between two meetings and touches nothing.
        let waited = |i: usize, who: usize| self.notes[who].waited[i].load(Ordering::Relaxed);
        let short = |i: usize| waited(i, 0) <= LONG && waited(i, 1) <= LONG;
        for (i, variables) in self.variables.iter().enumerate() {
            // ORDER: Relaxed, as above.
            let read = |who: usize| self.notes[who].read[i].load(Ordering::Relaxed);
            // Message passing returns both bits from its second side.
            let outcome = (2 * read(0) + read(1)) as usize;
            counts.outcomes[outcome] += 1;
            counts.overlapped += u64::from(short(i) && short(i + 1));
            // ORDER: Relaxed, as above.
            variables.x.store(0, Ordering::Relaxed);
            // ORDER: Relaxed, as above.
            variables.y.store(0, Ordering::Relaxed);
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;

    fn once(litmus: Litmus, how: How) -> Counts {
        let cpus = [probe::current_cpu(); 2];
        run(litmus, how, cpus, Instant::now()).unwrap()
    }

    #[test]
    fn a_batch_is_counted_whole_even_where_both_threads_share_a_cpu() {
        let counts = once(Litmus::store_buffer::<Relaxed>(), How::AtOnce);
        assert_eq!(counts.rounds(), BATCH as u64);
        assert!(counts.overlapped <= counts.rounds());
    }

    #[test]
    fn sides_that_come_in_turn_see_exactly_what_the_first_has_stored() {
        let in_turn = |litmus| once(litmus, How::InTurn).outcomes;
        let all = BATCH as u64;
        assert_eq!(
            in_turn(Litmus::store_buffer::<Relaxed>()),
            [0, all, 0, 0],
            "the first reads 0, the second 1"
        );
        assert_eq!(
            in_turn(Litmus::message_passing::<Relaxed>()),
            [0, 0, 0, all],
            "the flag and the message are there"
        );
        assert_eq!(
            in_turn(Litmus::load_buffer::<Relaxed>()),
            [0, all, 0, 0],
            "the first reads 0, the second 1"
        );
    }

    #[test]
    fn the_strongest_order_never_lets_both_loads_overtake() {
        let cpus = probe::usable_cpus().unwrap();
        let ends = [cpus[0], cpus[cpus.len() - 1]];
        let end = Instant::now() + std::time::Duration::from_millis(20);
        let litmus = Litmus::store_buffer::<SequentiallyConsistent>();
        let counts = run(litmus, How::AtOnce, ends, end).unwrap();
        assert_eq!(counts.outcomes[0], 0, "{counts:?}");
    }
}
