//! Two sides that hand a byte back and forth on one CPU: strict turns, so that each one is a switch.
//!
//! The other side is a thread of the same process or another process. Each side may touch a buffer of its own
//! in its turn. The same calls by one thread alone ([`Alone`]) make no switch; what a pair takes longer than
//! that, it takes for switching. If the thread alone has only one buffer, what a side finds driven out of the
//! caches by the other one counts for switching too; if it has both, it does not.
//!
//! # Invariants
//!
//! 1. All of it happens on the one CPU that the caller is pinned to.
//! 2. Two pairs and the control go by turns, in blocks of about a millisecond. Blocks in which they did not have
//!    the CPU all the time ([`INTACT`]) are left out, and the median of the others counts: another program that
//!    takes the CPU now and then spoils some blocks and not the result. How many were left is reported.
//!
//! # Rejected
//!
//! *Touching lines in ascending order*: the processor fetches them before they are asked for, and hides what
//! the cache has lost.

use std::hint::black_box;
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::thread;
use std::time::{Duration, Instant};

use crate::account::{self, Account};
use crate::experiment::ArmError;
use crate::forked::{self, End, Forked};
use crate::probe;
use crate::stats::Summary;

/// Bytes between two places that are touched: a cache line.
pub(crate) const LINE: usize = 64;

/// The part of its time for which a block that counts had the CPU.
const INTACT: f64 = 0.9;

/// Writes to one place in each cache line, in an order that the processor does not foresee. The number of
/// lines is a power of two, or there are none.
pub(crate) fn touch(buffer: &mut [u8]) {
    // Odd, so that it meets each line once; the golden ratio keeps neighbours in time apart in space.
    let lines = buffer.len() / LINE;
    let stride = (lines as f64 * 0.618) as usize | 1;
    let mut at = 0;
    for _ in 0..lines {
        let byte = &mut buffer[at * LINE];
        *byte = byte.wrapping_add(1);
        at = (at + stride) & (lines - 1);
    }
    black_box(buffer);
}

/// One side: gets a byte, touches its buffer, sends the byte on.
pub(crate) struct Side {
    inbox: PipeReader,
    outbox: PipeWriter,
    buffer: Vec<u8>,
}

impl Side {
    /// Two sides that talk to each other.
    pub(crate) fn pair(bytes: usize) -> Result<(Side, Side), ArmError> {
        let (here, to_here) = pipe()?;
        let (there, to_there) = pipe()?;
        let side = |inbox, outbox| Side {
            inbox,
            outbox,
            buffer: vec![0; bytes],
        };
        Ok((side(here, to_there), side(there, to_here)))
    }

    /// Until the other side has gone.
    pub(crate) fn answer(&mut self) {
        let mut byte = [0];
        while self.inbox.read_exact(&mut byte).is_ok() {
            touch(&mut self.buffer);
            if self.outbox.write_all(&byte).is_err() {
                return;
            }
        }
    }

    /// Takes a turn and waits for the other side's.
    pub(crate) fn round(&mut self) -> Result<(), ArmError> {
        touch(&mut self.buffer);
        self.outbox.write_all(&[1])?;
        Ok(self.inbox.read_exact(&mut [0])?)
    }
}

/// Who answers.
enum Other {
    Thread(thread::JoinHandle<()>),
    Process(Forked),
}

/// The calling thread and somebody who answers it.
pub(crate) struct Pair {
    side: Side,
    other: Other,
}

impl Pair {
    /// With another process. Before any thread is started, and at most one in a process: a second one would
    /// hold copies of the first one's pipes.
    ///
    /// # Errors
    ///
    /// Failed if this process has several threads, or if there are no pipes.
    pub(crate) fn with_process(bytes: usize) -> Result<Pair, ArmError> {
        let (here, mut there) = Side::pair(bytes)?;
        let mut here = Some(here);
        let child = forked::whole(|| {
            // The copies of this side's ends would keep the pipes open.
            drop(here.take());
            there.answer();
            0
        })?;
        let Some(side) = here else {
            return Err(ArmError::Failed("a forked process came back".into()));
        };
        Ok(Pair {
            side,
            other: Other::Process(child),
        })
    }

    /// With another thread of this process.
    ///
    /// # Errors
    ///
    /// Failed if there are no pipes or no thread.
    pub(crate) fn with_thread(bytes: usize) -> Result<Pair, ArmError> {
        let (side, mut there) = Side::pair(bytes)?;
        let thread = thread::Builder::new().spawn(move || there.answer())?;
        Ok(Pair {
            side,
            other: Other::Thread(thread),
        })
    }

    /// So many rounds, and what both sides used.
    fn block(&mut self, count: u32) -> Result<Block, ArmError> {
        let elsewhere = |other: &Other| match other {
            Other::Thread(_) => Ok(0.0),
            Other::Process(child) => match child.pid() {
                Some(pid) => account::cpu_ns_of(pid.as_raw_nonzero().get().unsigned_abs()),
                None => Ok(f64::NAN),
            },
        };
        let theirs = elsewhere(&self.other)?;
        let mut block = Block::of(count, || self.side.round())?;
        block.cpu_ns += elsewhere(&self.other)? - theirs;
        Ok(block)
    }

    /// Ends the other side and waits for that.
    fn end(self) -> Result<(), ArmError> {
        drop(self.side);
        match self.other {
            Other::Thread(thread) => thread
                .join()
                .map_err(|_| ArmError::Failed("the other thread panicked".into())),
            Other::Process(child) => match child.wait()? {
                End::Status(0) => Ok(()),
                end => Err(ArmError::Failed(format!("a process ended by {end:?}"))),
            },
        }
    }
}

/// Both sides of a round by this thread alone.
pub(crate) struct Alone {
    reader: PipeReader,
    writer: PipeWriter,
    /// Touched by turns.
    buffers: Vec<Vec<u8>>,
}

impl Alone {
    /// Touches one buffer of `bytes` in each turn, as a side does that nobody disturbs.
    ///
    /// # Errors
    ///
    /// Failed if there is no pipe.
    pub(crate) fn with_own(bytes: usize) -> Result<Alone, ArmError> {
        Self::with(vec![vec![0; bytes]])
    }

    /// Touches two buffers of `bytes` by turns, as both sides do.
    ///
    /// # Errors
    ///
    /// Failed if there is no pipe.
    pub(crate) fn with_both(bytes: usize) -> Result<Alone, ArmError> {
        Self::with(vec![vec![0; bytes], vec![0; bytes]])
    }

    fn with(buffers: Vec<Vec<u8>>) -> Result<Alone, ArmError> {
        let (reader, writer) = pipe()?;
        Ok(Alone {
            reader,
            writer,
            buffers,
        })
    }

    /// What both sides do in one round: two turns.
    pub(crate) fn round(&mut self) -> Result<(), ArmError> {
        let buffers = self.buffers.len();
        for turn in 0..2 {
            touch(&mut self.buffers[turn % buffers]);
            self.writer.write_all(&[1])?;
            self.reader.read_exact(&mut [0])?;
        }
        Ok(())
    }
}

/// One block of rounds.
struct Block {
    ns: f64,
    cpu_ns: f64,
    account: Account,
}

impl Block {
    /// The CPU time is that of this process.
    fn of(count: u32, round: impl FnMut() -> Result<(), ArmError>) -> Result<Self, ArmError> {
        let account = Account::of_this_thread()?;
        let cpu_ns = probe::cpu_time_ns();
        let time = timed(count, round)?;
        let cpu_ns = probe::cpu_time_ns() - cpu_ns;
        Ok(Self {
            ns: time.as_nanos() as f64,
            cpu_ns,
            account: Account::of_this_thread()?.since(account),
        })
    }

    fn is_intact(&self) -> bool {
        self.cpu_ns >= INTACT * self.ns
    }

    fn switches(&self) -> f64 {
        self.account.voluntary + self.account.involuntary
    }
}

/// The median time of the blocks that are intact, and how large a part of all they are.
fn intact(blocks: &[Block]) -> (f64, f64) {
    let intact = blocks.iter().filter(|block| block.is_intact());
    let times = Summary::of(intact.map(|block| block.ns));
    (times.median, times.count as f64 / blocks.len() as f64)
}

/// How many rounds are timed together, and how often.
#[derive(Clone, Copy)]
pub(crate) struct Rounds {
    pub(crate) count: u32,
    pub(crate) blocks: u32,
}

/// What a pair took.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Cost {
    /// One turn, in nanoseconds: half a round, without what the control took for it.
    pub(crate) switch_ns: f64,
    /// How often the calling side was switched away from, for each round.
    pub(crate) switches: f64,
    /// The part of the blocks in which one side or the other had the CPU all the time.
    pub(crate) intact: f64,
}

/// Two pairs and the control.
#[derive(Clone, Copy, Debug)]
pub(crate) struct Compared {
    /// One turn of one thread alone, in nanoseconds: half a round.
    pub(crate) alone_ns: f64,
    /// How often it stopped wanting the CPU, for each round.
    pub(crate) alone_switches: f64,
    /// As that of a pair.
    pub(crate) alone_intact: f64,
    /// The pairs.
    pub(crate) pairs: [Cost; 2],
}

/// Lets `pairs` and one thread alone go by turns. The caller is pinned to one CPU.
///
/// # Errors
///
/// Failed if a side fails, skipped if the kernel does not count switches.
pub(crate) fn compare(
    mut pairs: [Pair; 2],
    mut alone: Alone,
    rounds: Rounds,
) -> Result<Compared, ArmError> {
    let Rounds { count, blocks } = rounds;
    timed(count, || alone.round())?;
    for pair in &mut pairs {
        timed(count, || pair.side.round())?;
    }
    let mut own = Vec::new();
    let mut taken = [Vec::new(), Vec::new()];
    for _ in 0..blocks {
        own.push(Block::of(count, || alone.round())?);
        for (pair, blocks) in pairs.iter_mut().zip(&mut taken) {
            blocks.push(pair.block(count)?);
        }
    }
    pairs.into_iter().try_for_each(Pair::end)?;
    let half_round = |ns: f64| ns / f64::from(count) / 2.0;
    let per_round = |blocks: &[Block], of: fn(&Block) -> f64| {
        blocks.iter().map(of).sum::<f64>() / f64::from(count) / blocks.len() as f64
    };
    let (alone_ns, alone_intact) = intact(&own);
    let alone_ns = half_round(alone_ns);
    let pairs = taken.map(|taken| {
        let (ns, intact) = intact(&taken);
        Cost {
            switch_ns: half_round(ns) - alone_ns,
            switches: per_round(&taken, Block::switches),
            intact,
        }
    });
    Ok(Compared {
        alone_ns,
        alone_switches: per_round(&own, |block| block.account.voluntary),
        alone_intact,
        pairs,
    })
}

fn timed(count: u32, mut once: impl FnMut() -> Result<(), ArmError>) -> Result<Duration, ArmError> {
    let begun = Instant::now();
    (0..count).try_for_each(|_| once())?;
    Ok(begun.elapsed())
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn each_line_is_touched_once() {
        for lines in [0, 1, 2, 64, 1024] {
            let mut buffer = vec![0; lines * LINE];
            touch(&mut buffer);
            let touched = buffer.iter().step_by(LINE).all(|byte| *byte == 1);
            assert!(touched, "{lines}");
            assert_eq!(buffer.iter().filter(|byte| **byte != 0).count(), lines);
        }
    }

    #[test]
    fn one_thread_alone_touches_its_own_buffer_twice_or_both_once() {
        let touched = |mut alone: Alone| {
            alone.round().unwrap();
            let first = alone.buffers.iter().map(|buffer| buffer[0]);
            first.collect::<Vec<u8>>()
        };
        assert_eq!(touched(Alone::with_own(LINE).unwrap()), [2]);
        assert_eq!(touched(Alone::with_both(LINE).unwrap()), [1, 1]);
    }

    #[test]
    fn a_side_answers_until_the_other_one_has_gone() {
        let (mut here, mut there) = Side::pair(2 * LINE).unwrap();
        let other = thread::spawn(move || {
            there.answer();
            there.buffer[0]
        });
        (0..3).for_each(|_| here.round().unwrap());
        drop(here);
        assert_eq!(other.join().unwrap(), 3);
    }

    #[test]
    fn turns_on_one_cpu_are_switches_and_the_same_calls_alone_are_none() {
        let measured = thread::spawn(|| {
            probe::pin_to_one_cpu()?;
            let rounds = Rounds {
                count: 50,
                blocks: 3,
            };
            let pairs = [Pair::with_thread(LINE)?, Pair::with_thread(LINE)?];
            compare(pairs, Alone::with_both(LINE)?, rounds)
        });
        let measured: Result<_, ArmError> = measured.join().unwrap();
        let compared = measured.unwrap();
        for cost in compared.pairs {
            assert!(cost.switches >= 0.95, "{cost:?}");
        }
        assert!(compared.alone_switches <= 0.1, "{compared:?}");
    }
}
