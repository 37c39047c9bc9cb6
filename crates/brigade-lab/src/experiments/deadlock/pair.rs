//! Two threads that each need the same two resources, round after round.
//!
//! In a program a deadlock is bad luck with timing. Here the two *meet* in each round: who has its first
//! resource waits until the other one has its first too, and only then asks for the second. Where the two
//! cannot both have one (because both want the same one first) the meeting is given up after a short time;
//! the round then goes on without the danger, which is the point of that cure.

use std::sync::Arc;
use std::sync::atomic::{AtomicI32, AtomicU32, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use crate::experiment::ArmError;
use crate::probe;
use crate::together::Kind;

/// For how long who has its first resource waits for the other one to have its first, where it will: longer
/// than any program keeps a thread from its CPU.
pub(super) const PATIENCE: Duration = Duration::from_secs(1);
/// The same where the two cannot both have one.
pub(super) const GLANCE: Duration = Duration::from_millis(2);
/// How often somebody looks at the threads.
const LOOK: Duration = Duration::from_millis(5);
/// After how many looks without a change threads that wait are taken to wait for ever.
const LOOKS: u32 = 30;
/// For how long somebody who has seen enough stays, in case that there is more.
const LINGER: Duration = Duration::from_millis(20);
/// For how long a thread leaves its resources to the other one before it begins again.
const PAUSE: Duration = Duration::from_millis(1);
/// After what time a run is given up, whatever its threads do; before the parent gives up the process.
const LIMIT: Duration = Duration::from_secs(20);

/// Which of the two threads.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(super) enum Side {
    Left,
    Right,
}

impl Side {
    fn index(self) -> usize {
        self as usize
    }
}

/// What the two threads share beside the resources.
pub(super) struct Pair {
    patience: Duration,
    /// Both resources' contents: how often a thread worked on them while it had both.
    worked: [AtomicU64; 2],
    sides: [Progress; 2],
    /// In how many rounds both had their first resource at the same time.
    met: AtomicU32,
}

/// How far a thread is.
#[derive(Default)]
struct Progress {
    kernel_thread: AtomicI32,
    /// Twice the round, counted from 1, to whose meeting it has come; one more if it has given that up.
    meeting: AtomicU32,
    /// Rounds it has begun.
    begun: AtomicU32,
    /// Rounds it has ended.
    done: AtomicU32,
}

/// One thread in one round.
pub(super) struct Turn<'a> {
    pair: &'a Pair,
    kind: Kind,
    pub(super) side: Side,
    round: u32,
}

impl Turn<'_> {
    /// Called with the first resource in hand: waits until the other thread has its first too. At most once in
    /// a round; later calls return at once.
    pub(super) fn meet(&self) {
        let [own, other] = [self.side.index(), 1 - self.side.index()];
        let meeting = |side: usize| &self.pair.sides[side].meeting;
        let (here, gone) = (2 * self.round, 2 * self.round + 1);
        // ORDER: SeqCst on all: of two threads that come at the same time, one at least must see the other.
        if meeting(own).fetch_max(here, Ordering::SeqCst) >= here {
            return;
        }
        let deadline = Instant::now() + self.pair.patience;
        loop {
            // ORDER: SeqCst, as above.
            let seen = meeting(other).load(Ordering::SeqCst);
            if seen == here && self.side == Side::Left {
                // ORDER: Relaxed, a counter that is read when the run is over.
                self.pair.met.fetch_add(1, Ordering::Relaxed);
            }
            if seen >= here {
                return;
            }
            if Instant::now() >= deadline {
                // ORDER: SeqCst, as above.
                meeting(own).store(gone, Ordering::SeqCst);
                return;
            }
            self.kind.yield_now();
        }
    }

    /// Called with nothing in hand: lets the other thread have both resources.
    pub(super) fn pause(&self) {
        self.kind.sleep(PAUSE);
    }

    /// What is to be done with both resources in hand.
    pub(super) fn work(&self) {
        for resource in &self.pair.worked {
            // ORDER: Relaxed, a counter that is read when the run is over. It need not be guarded: where the
            // cure is to exclude nobody, both threads are here at once.
            resource.fetch_add(1, Ordering::Relaxed);
        }
    }
}

/// What became of a run.
#[derive(Clone, Copy, Debug, PartialEq)]
pub(super) struct Outcome {
    /// Share of the rounds that both threads ended.
    pub(super) done: f64,
    /// Share of the rounds in which both had their first resource at the same time.
    pub(super) met: f64,
    /// How many pieces of work are missing from the rounds that were ended.
    pub(super) missing: f64,
    /// How many of the two threads wait in the kernel for somebody to wake them.
    pub(super) stuck: f64,
}

/// A run that is under way.
pub(super) struct Run {
    pair: Arc<Pair>,
    kind: Kind,
    rounds: u32,
    begun: Instant,
}

impl Run {
    /// Starts two threads of `kind`, each of which calls `turn` once in each round and waits
    /// for as long as `patience` in a meeting.
    pub(super) fn start(
        kind: Kind,
        rounds: u32,
        patience: Duration,
        turn: impl Fn(&Turn<'_>) + Send + Sync + 'static,
    ) -> Result<Self, ArmError> {
        let (pair, turn) = (Arc::new(Pair::new(patience)), Arc::new(turn));
        let begun = Instant::now();
        for side in [Side::Left, Side::Right] {
            let (pair, turn) = (Arc::clone(&pair), Arc::clone(&turn));
            kind.spawn(move || pair.play(kind, side, rounds, &*turn))?;
        }
        Ok(Self {
            pair,
            kind,
            rounds,
            begun,
        })
    }

    /// Whether both threads have ended all rounds.
    pub(super) fn is_over(&self) -> bool {
        self.pair.rounds_done() == self.rounds
    }

    /// Waits until the two have ended, or for a little while after `enough` says so, or (kernel threads) until
    /// both wait and nothing has moved for a while.
    pub(super) fn watch(self, enough: impl Fn() -> bool) -> Result<Outcome, ArmError> {
        let mut still = 0;
        let mut before = Vec::new();
        while !self.is_over() && !enough() && still < LOOKS && self.begun.elapsed() < LIMIT {
            self.kind.sleep(LOOK);
            let now = self.asleep()?;
            still = if now.len() == 2 && now == before {
                still + 1
            } else {
                0
            };
            before = now;
        }
        if enough() {
            self.kind.sleep(LINGER);
        }
        self.outcome()
    }

    /// Of each of the two that waits in the kernel for somebody to wake it, how often it has been switched away
    /// from. A green thread that waits is not in the kernel.
    fn asleep(&self) -> Result<Vec<u64>, ArmError> {
        let asleep = self.kernel_threads().map(probe::asleep_in_futex);
        asleep.filter_map(Result::transpose).collect()
    }

    /// Those that have come so far.
    fn kernel_threads(&self) -> impl Iterator<Item = i32> {
        let sides = self.pair.sides.iter();
        // ORDER: Relaxed, a number that stands for itself.
        sides
            .map(|side| side.kernel_thread.load(Ordering::Relaxed))
            .filter(|thread| *thread != 0)
    }

    fn outcome(&self) -> Result<Outcome, ArmError> {
        let rounds = f64::from(self.rounds);
        let done = self.pair.rounds_done();
        let share = |count: u32| f64::from(count) / rounds;
        // ORDER: Relaxed, as where it is counted.
        let met = self.pair.met.load(Ordering::Relaxed);
        Ok(Outcome {
            done: share(done),
            met: share(met),
            missing: self.pair.missing(done),
            stuck: self.asleep()?.len() as f64,
        })
    }
}

impl Pair {
    fn new(patience: Duration) -> Self {
        Self {
            patience,
            worked: Default::default(),
            sides: Default::default(),
            met: AtomicU32::new(0),
        }
    }

    fn play(&self, kind: Kind, side: Side, rounds: u32, turn: &dyn Fn(&Turn<'_>)) {
        let own = &self.sides[side.index()];
        if kind == Kind::Kernel {
            let thread = rustix::thread::gettid().as_raw_nonzero().get();
            // ORDER: Relaxed, a number that stands for itself.
            own.kernel_thread.store(thread, Ordering::Relaxed);
        }
        for round in 1..=rounds {
            self.line_up(kind, side, round);
            let turn_of_round = Turn {
                pair: self,
                kind,
                side,
                round,
            };
            turn(&turn_of_round);
            // ORDER: Release pairs with the Acquire load in `rounds_done`: the work of the round is seen.
            own.done.store(round, Ordering::Release);
        }
    }

    /// Waits until both threads have come to `round`.
    fn line_up(&self, kind: Kind, side: Side, round: u32) {
        let [own, other] = [side.index(), 1 - side.index()];
        // ORDER: Relaxed on both: nothing is published, the threads are only kept together.
        self.sides[own].begun.store(round, Ordering::Relaxed);
        // ORDER: Relaxed, as above.
        while self.sides[other].begun.load(Ordering::Relaxed) < round {
            kind.yield_now();
        }
    }

    /// How many rounds both threads have ended.
    fn rounds_done(&self) -> u32 {
        // ORDER: Acquire pairs with the Release store in `play`.
        let done = |side: &Progress| side.done.load(Ordering::Acquire);
        self.sides.iter().map(done).min().unwrap_or(0)
    }

    /// How many pieces of work are missing, if both threads have ended `rounds` rounds.
    fn missing(&self, rounds: u32) -> f64 {
        let due = 2 * u64::from(rounds);
        let missing = |resource: &AtomicU64| {
            // ORDER: Relaxed, `rounds_done` has acquired the rounds that must be seen.
            due.saturating_sub(resource.load(Ordering::Relaxed))
        };
        self.worked.iter().map(missing).sum::<u64>() as f64
    }
}

#[cfg(test)]
mod tests {
    use std::sync::Mutex;

    use super::*;

    const FOREVER: Duration = Duration::from_secs(60);
    const BRIEFLY: Duration = Duration::from_millis(1);

    #[test]
    fn threads_that_are_not_in_each_others_way_meet_and_end() {
        let run = Run::start(Kind::Kernel, 3, FOREVER, |turn| {
            turn.meet();
            turn.work();
        });
        let outcome = run.unwrap().watch(|| false).unwrap();
        assert_eq!((outcome.done, outcome.met), (1.0, 1.0));
        assert_eq!((outcome.missing, outcome.stuck), (0.0, 0.0));
    }

    #[test]
    fn a_meeting_that_cannot_be_is_given_up_and_not_counted() {
        let one = Mutex::new(());
        let run = Run::start(Kind::Kernel, 1, BRIEFLY, move |turn| {
            let _only_one_has_it = one.lock().unwrap();
            turn.meet();
            turn.work();
        });
        let outcome = run.unwrap().watch(|| false).unwrap();
        assert_eq!((outcome.done, outcome.missing), (1.0, 0.0));
        assert_eq!(outcome.met, 0.0);
    }

    #[test]
    fn work_that_was_not_done_is_missed() {
        let run = Run::start(Kind::Kernel, 2, BRIEFLY, |turn| {
            if turn.side == Side::Left {
                turn.work();
            }
        });
        let outcome = run.unwrap().watch(|| false).unwrap();
        assert_eq!((outcome.done, outcome.missing), (1.0, 4.0));
    }
}
