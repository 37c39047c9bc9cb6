//! The states of a thread, and what is shown of them.
//!
//! One process of one thread is led through the states while another looks at the letter that the kernel shows for it.
//! Both may run on one CPU alone, the same: while the other one looks, the first one is not running, so when it
//! computes it is *ready* whenever it is looked at, and it can only be seen *running* by itself. That needs no luck and no
//! clock. The way into the state that cannot be interrupted is `vfork`: who calls it is suspended until the child has gone.
//!
//! The kernel has one letter, R, for both running and ready. Brigade has two words.
//!
//! # States
//!
//! | what the thread does | letter |
//! |---|---|
//! | computes and looks at itself | R |
//! | computes and is looked at by who has its CPU | R |
//! | reads an empty pipe | S |
//! | waits for a `vfork` | D |
//! | has got SIGSTOP | T |
//! | has ended and nobody has asked for its status | Z |
//!
//! # Rejected
//!
//! *D by a slow disk*: needs one. *T by ptrace*: forbidden to ordinary users on some systems. *Z by a thread*: the kernel
//! drops ended threads at once, except the first one of a process.

use std::collections::BTreeSet;
use std::ffi::{c_int, c_void};
use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::os::fd::{AsRawFd, BorrowedFd};
use std::ptr::without_provenance_mut;
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, Ordering};
use std::thread::sleep;
use std::time::{Duration, Instant};

use rustix::process::{Pid, Signal, WaitId, WaitIdOptions, kill_process, waitid};

use crate::cloned;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row, Track};
use crate::forked::{self, Forked};
use crate::green::{self, Green, Model, ThreadState};
use crate::kernel_view::{cpu_time_ns_of, letter_of};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, at_least, decided, fails_only_if};

/// The experiment.
pub(super) struct ThreadStates;

static INFO: Info = Info {
    name: "thread-states",
    claim: "A thread is always in one of a few states: running, ready, waiting, stopped or ended; the \
            kernel shows which.",
    said_in: "introductions to threads, as a diagram of five states; \"ps shows the state\"",
    method: "Lead a process of one thread through the states and look at the letter that /proc shows \
             for it, from another process that is bound to the same CPU. Lead green threads through \
             theirs and ask Brigade.",
    control: "A process that is looked at as often and does nothing.",
    premise: "The thread got into each state, used no CPU time where it was not to run, and was ready \
              when it was to be.",
    next: "thread-count (which threads are listed at all)",
};

const STATES: &str = "states";
const LOOKS: &str = "looks";
const SETTLED: &str = "settled";
const BURNT: &str = "burnt";
const STILL: &str = "still";
const READY_LOOKS: &str = "ready_looks";
const SHOWN: &str = "shown";
const DONE: &str = "done";
const LEAST: &str = "least";
const GIVEN: &str = "given";

static METRICS: [Metric; 8] = [
    Metric::main(STATES, "told apart", Unit::Count),
    Metric::aside(LOOKS, "looks", Unit::Count),
    Metric::data(SETTLED, "settled", Unit::Count),
    Metric::data(BURNT, "computed", Unit::Nanoseconds),
    Metric::data(STILL, "still", Unit::Nanoseconds),
    Metric::data(READY_LOOKS, "when ready", Unit::Count),
    Metric::data(LEAST, "seen", Unit::Share),
    Metric::data(GIVEN, "CPU given", Unit::Share),
];

/// What the thread is made to do: the key of its letter in a sample, and the words of the figures, which begin with
/// letters of their own.
const SITUATIONS: [(&str, &str); 6] = [
    ("runs", "looks at itself"),
    ("ready", "computes; another has its CPU"),
    ("waits", "reads an empty pipe"),
    ("suspended", "vfork: waits for its child"),
    ("stopped", "got SIGSTOP"),
    ("ended", "has ended, not waited for"),
];

const RUNS: usize = 0;
const READY: usize = 1;
const WAITS: usize = 2;
const SUSPENDED: usize = 3;
const STOPPED: usize = 4;
const ENDED: usize = 5;

/// The words that Brigade has, and the keys of how often each was seen where it was expected.
const GREEN: [(&str, &str); 5] = [
    ("new", "New"),
    ("runnable", "Runnable"),
    ("running", "Running"),
    ("waiting", "Waiting"),
    ("terminated", "Terminated"),
];

/// The share of its time for which the processor of green threads had a CPU where what it did not show counts: one that
/// stood still is taken away, and the states go on in between two looks.
const ENOUGH: f64 = 0.8;

/// How long the thread computes, in nanoseconds of CPU time.
const COMPUTES_NS: f64 = 20e6;
/// More than the rest of a system call takes that has announced its end.
const STILL_NS: f64 = 1e6;
/// Between two looks.
const PAUSE: Duration = Duration::from_micros(300);
/// How often a state is looked at.
const STAY: usize = 10;
/// When a thread that does not get into its state is given up.
const AT_MOST: Duration = Duration::from_secs(5);

impl Experiment for ThreadStates {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel", "kernel's letters"),
            Arm::measured("green", "Brigade's words"),
            Arm::control("alone", "looked at, not led"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            "kernel" => led(),
            "green" => Green::start(Model::ManyToMany, 1)?.run(|| green_led(scale.pick(20, 200))),
            "alone" => alone(),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let of = |key| samples.summary("kernel", key);
        let (settled, burnt, still) = (of(SETTLED).min, of(BURNT).min, of(STILL).max);
        let ready = of(READY_LOOKS).min;
        let alone = samples.summary("alone", STATES).max;
        vec![
            Premise::new(
                settled == SITUATIONS.len() as f64,
                format!(
                    "the thread got into each state ({} of {})",
                    show(settled, Unit::Count),
                    SITUATIONS.len()
                ),
            ),
            Premise::new(
                burnt >= COMPUTES_NS / 2.0 && ready >= 3.0,
                format!(
                    "it computed for {} and was looked at {} times while ready, at least",
                    show(burnt, Unit::Nanoseconds),
                    show(ready, Unit::Count)
                ),
            ),
            Premise::new(
                still <= STILL_NS,
                format!(
                    "it used no CPU time where it was not to run ({} at most)",
                    show(still, Unit::Nanoseconds)
                ),
            ),
            Premise::new(
                alone == 1.0,
                format!(
                    "looks alone change nothing ({} state)",
                    show(alone, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let letter = |at: usize| letter_in(samples, SITUATIONS[at].0);
        let word = |at: usize| letter(at).map_or("no letter for good".to_owned(), String::from);
        let differs = |at: usize| {
            let all = [RUNS, WAITS, SUSPENDED, STOPPED, ENDED].map(letter);
            match (letter(at), all.iter().all(Option::is_some)) {
                (Some(_), true) => {
                    let same = all.iter().filter(|other| **other == letter(at)).count();
                    decided(same == 1, 0.0)
                }
                _ => Tendency::Unclear,
            }
        };
        let apart = match (letter(RUNS), letter(READY)) {
            (Some(runs), Some(ready)) => decided(runs != ready, 0.0),
            _ => Tendency::Unclear,
        };
        let seen = samples.summary("green", LEAST);
        let given = samples.median("green", GIVEN) >= ENOUGH;
        vec![
            Part::new(
                apart,
                format!(
                    "a running thread is shown as {}, one that is ready and waits for the CPU as {}",
                    word(RUNS),
                    word(READY)
                ),
            ),
            Part::new(
                differs(WAITS),
                format!("one that waits for a pipe is shown as {}", word(WAITS)),
            ),
            Part::new(
                differs(SUSPENDED),
                format!(
                    "one that waits for a vfork, which no signal interrupts, as {}",
                    word(SUSPENDED)
                ),
            ),
            Part::new(
                differs(STOPPED),
                format!("a stopped one as {}", word(STOPPED)),
            ),
            Part::new(
                differs(ENDED),
                format!(
                    "one that has ended, until its status is asked for, as {}",
                    word(ENDED)
                ),
            ),
            Part::new(
                fails_only_if(given, at_least(&seen, 0.5)),
                format!(
                    "Brigade tells a green thread that runs from one that is ready: each of its {} \
                     words is seen where it is expected, in at least {} of the rounds",
                    GREEN.len(),
                    show(seen.median, Unit::Share)
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let Some(sample) = samples.of("kernel").last() else {
            return Vec::new();
        };
        let shown = spans(sample.series(SHOWN), |code| {
            letter_of_code(code).and_then(name_of)
        });
        let done = spans(sample.series(DONE), |at| {
            SITUATIONS.get(at as usize).map(|(_, what)| *what)
        });
        let tracks = vec![Track::new("it", done), Track::new("shown", shown)];
        let rows = SITUATIONS.iter().map(|(key, what)| {
            let letter = letter_in(samples, key).map_or("-".to_owned(), String::from);
            Row::new(what, [letter.as_str(), green_word(key)])
        });
        let matrix = Content::Matrix {
            columns: ["kernel", "Brigade"].map(str::to_owned).into(),
            rows: rows.collect(),
        };
        vec![
            Figure::new(
                "One thread led through its states, and the letter shown for it",
                Content::Timeline { tracks },
            ),
            Figure::new("What is shown of a thread in each situation", matrix),
        ]
    }
}

/// What Brigade calls a green thread in that situation; a green thread cannot be stopped apart from its process, and
/// `vfork` is one more wait.
fn green_word(key: &str) -> &'static str {
    match key {
        "runs" => "Running",
        "ready" => "Runnable",
        "waits" | "suspended" => "Waiting",
        "ended" => "Terminated",
        _ => "-",
    }
}

/// The letter that every sample has in that situation; none if they differ or there are none.
fn letter_in(samples: &Samples, key: &str) -> Option<char> {
    let codes = samples.summary("kernel", key);
    (codes.min == codes.max)
        .then_some(codes.min)
        .and_then(letter_of_code)
}

fn letter_of_code(code: f64) -> Option<char> {
    (code.is_finite() && code > 0.0).then_some(char::from(code as u8))
}

fn code(letter: char) -> f64 {
    f64::from(u32::from(letter))
}

/// What `ps` calls the states, for the figure.
fn name_of(letter: char) -> Option<&'static str> {
    Some(match letter {
        'R' => "R running or ready",
        'S' => "S sleeps",
        'D' => "D uninterruptible",
        'T' => "T stopped",
        'Z' => "Z zombie",
        _ => return None,
    })
}

/// Spans of a series of triples: from, to, and the number of a word.
fn spans(
    series: &[f64],
    word: impl Fn(f64) -> Option<&'static str>,
) -> Vec<(f64, f64, &'static str)> {
    let triples = series.chunks_exact(3);
    triples
        .filter_map(|triple| Some((triple[0], triple[1], word(triple[2])?)))
        .collect()
}

/// Who looks at a process, and what was seen.
struct Looker {
    process: u32,
    begun: Instant,
    /// From, to and letter, in nanoseconds.
    shown: Vec<[f64; 3]>,
    looks: usize,
}

impl Looker {
    fn new(process: u32) -> Looker {
        Looker {
            process,
            begun: Instant::now(),
            shown: Vec::new(),
            looks: 0,
        }
    }

    fn now_ns(&self) -> f64 {
        self.begun.elapsed().as_nanos() as f64
    }

    /// The letter shown now.
    fn look(&mut self) -> Option<char> {
        let letter = letter_of(self.process)?;
        self.looks += 1;
        let now = self.now_ns();
        if let Some(last) = self.shown.last_mut() {
            last[1] = now;
        }
        if self.shown.last().is_none_or(|last| last[2] != code(letter)) {
            self.shown.push([now, now, code(letter)]);
        }
        Some(letter)
    }

    /// Looks until the thread is out of R; whether that happened.
    fn settle(&mut self) -> bool {
        let begun = Instant::now();
        while begun.elapsed() < AT_MOST {
            match self.look() {
                Some('R') => sleep(PAUSE),
                Some(_) => return true,
                None => return false,
            }
        }
        false
    }

    /// Some more looks: the letters, and the CPU time that was used meanwhile.
    fn stay(&mut self) -> (BTreeSet<char>, f64) {
        let before = cpu_time_ns_of(self.process);
        let mut letters = BTreeSet::new();
        for _ in 0..STAY {
            letters.extend(self.look());
            sleep(PAUSE);
        }
        let after = cpu_time_ns_of(self.process);
        let used = before.zip(after).map(|(before, after)| after - before);
        (letters, used.unwrap_or(f64::NAN))
    }
}

/// The orders that the led process takes, one byte each.
const LOOK: u8 = b'l';
const COMPUTE: u8 = b'c';
const VFORK: u8 = b'v';
const END: u8 = b'e';

/// What the led process does: reads an order, obeys, says so.
fn obey(mut orders: PipeReader, mut replies: PipeWriter, release: &PipeReader) -> i32 {
    let mut order = [0];
    while orders.read_exact(&mut order).is_ok() {
        let reply = match order[0] {
            LOOK => letter_of(std::process::id()).map_or(b'?', |letter| letter as u8),
            COMPUTE => {
                let begun = probe::thread_cpu_time_ns();
                while probe::thread_cpu_time_ns() - begun < COMPUTES_NS {}
                COMPUTE
            }
            VFORK => {
                let descriptor = without_provenance_mut(release.as_raw_fd() as usize);
                // SAFETY: the body makes one system call and nothing else; the descriptor is open until it returns.
                match unsafe { cloned::while_suspended(libc::CLONE_VM, await_release, descriptor) }
                {
                    Ok(_) => VFORK,
                    Err(_) => b'?',
                }
            }
            _ => return 0,
        };
        if replies.write_all(&[reply]).is_err() {
            return 1;
        }
    }
    1
}

/// The child of the `vfork`: reads one byte, or the end of the pipe.
extern "C" fn await_release(descriptor: *mut c_void) -> c_int {
    // SAFETY: `obey` passes the number of a pipe that it keeps open.
    let pipe = unsafe { BorrowedFd::borrow_raw(descriptor.addr() as c_int) };
    // Whatever it is that ends the call, the child is to go.
    let _ = rustix::io::read(pipe, &mut [0]);
    0
}

/// A process to be led, and the ends of its pipes.
struct Led {
    process: Forked,
    pid: Pid,
    orders: PipeWriter,
    replies: PipeReader,
    release: PipeWriter,
}

impl Led {
    /// Starts it, on the CPU of this process and bound to it like this one.
    fn start() -> Result<Led, ArmError> {
        probe::pin_to_one_cpu()?;
        let (is_ordered, orders) = pipe()?;
        let (replies, reply) = pipe()?;
        let (is_released, release) = pipe()?;
        let mut own = Some((orders, replies, release));
        let mut others = Some((is_ordered, reply, is_released));
        let process = forked::whole(|| {
            // Copies of this process's ends would keep the pipes open when it has gone.
            drop(own.take());
            match others.take() {
                Some((orders, replies, release)) => obey(orders, replies, &release),
                None => 1,
            }
        })?;
        drop(others);
        match (own, process.pid()) {
            (Some((orders, replies, release)), Some(pid)) => Ok(Led {
                process,
                pid,
                orders,
                replies,
                release,
            }),
            _ => Err(ArmError::Failed("a forked process came back".into())),
        }
    }

    fn order(&mut self, order: u8) -> Result<(), ArmError> {
        Ok(self.orders.write_all(&[order])?)
    }

    fn reply(&mut self) -> Result<u8, ArmError> {
        let mut reply = [0];
        self.replies.read_exact(&mut reply)?;
        match reply[0] {
            b'?' => Err(ArmError::Skipped("the kernel refuses a vfork".into())),
            reply => Ok(reply),
        }
    }

    fn pid(&self) -> u32 {
        self.pid.as_raw_nonzero().get().unsigned_abs()
    }
}

/// What the arm of the kernel's letters gathers.
struct Log {
    looker: Looker,
    sample: Sample,
    done: Vec<[f64; 3]>,
    settled: usize,
    still_ns: f64,
}

impl Log {
    /// Notes the letters of a situation that began at `from_ns`; more than one letter count as none.
    fn note(&mut self, situation: usize, from_ns: f64, letters: &BTreeSet<char>) {
        let one = letters.iter().next().filter(|_| letters.len() == 1);
        let key = SITUATIONS[situation].0;
        self.sample = std::mem::take(&mut self.sample).with(key, one.map_or(0.0, |l| code(*l)));
        self.done
            .push([from_ns, self.looker.now_ns(), situation as f64]);
    }

    /// Looks at a situation in which the thread is not to run.
    fn watch(&mut self, situation: usize, from_ns: f64) {
        self.settled += usize::from(self.looker.settle());
        let (letters, used) = self.looker.stay();
        self.still_ns = self.still_ns.max(used);
        self.note(situation, from_ns, &letters);
    }
}

/// One process led through all states.
fn led() -> Result<Sample, ArmError> {
    let mut cook = Led::start()?;
    let mut log = Log {
        looker: Looker::new(cook.pid()),
        sample: Sample::new(),
        done: Vec::new(),
        settled: 0,
        still_ns: 0.0,
    };

    let from = log.looker.now_ns();
    cook.order(LOOK)?;
    let own = char::from(cook.reply()?);
    log.settled += 1;
    log.note(RUNS, from, &BTreeSet::from([own]));

    let (ready_looks, burnt) = computes(&mut cook, &mut log)?;

    let from = log.looker.now_ns();
    log.watch(WAITS, from);

    let from = log.looker.now_ns();
    cook.order(VFORK)?;
    // It still waits for the order at first.
    log.looker.settle_out_of('S');
    log.watch(SUSPENDED, from);
    cook.release.write_all(&[0])?;
    cook.reply()?;

    let from = log.looker.now_ns();
    kill_process(cook.pid, Signal::STOP)?;
    waitid(
        WaitId::Pid(cook.pid),
        WaitIdOptions::STOPPED | WaitIdOptions::NOWAIT,
    )?;
    log.watch(STOPPED, from);
    kill_process(cook.pid, Signal::CONT)?;

    let from = log.looker.now_ns();
    cook.order(END)?;
    waitid(
        WaitId::Pid(cook.pid),
        WaitIdOptions::EXITED | WaitIdOptions::NOWAIT,
    )?;
    log.watch(ENDED, from);
    cook.process.wait()?;

    let letters: BTreeSet<u64> = SITUATIONS
        .iter()
        .map(|(key, _)| log.sample.get(key) as u64)
        .collect();
    Ok(log
        .sample
        .with(STATES, letters.len() as f64)
        .with(LOOKS, log.looker.looks as f64)
        .with(SETTLED, log.settled as f64)
        .with(BURNT, burnt)
        .with(STILL, log.still_ns)
        .with(READY_LOOKS, ready_looks as f64)
        .with_series(SHOWN, log.looker.shown.concat())
        .with_series(DONE, log.done.concat()))
}

/// The process computes; it is looked at from its own CPU until it is done. How many looks certainly fell into a time in
/// which it did not run, and how much CPU time it used.
fn computes(cook: &mut Led, log: &mut Log) -> Result<(usize, f64), ArmError> {
    let pid = cook.pid();
    let cpu = || cpu_time_ns_of(pid).unwrap_or(f64::NAN);
    let from = log.looker.now_ns();
    let at_first = cpu();
    cook.order(COMPUTE)?;
    let begun = Instant::now();
    let (mut letters, mut looks) = (BTreeSet::new(), 0);
    // Some time before the end, which it reaches by itself; and after the order has been read.
    while cpu() - at_first < 0.9 * COMPUTES_NS && begun.elapsed() < AT_MOST {
        let before = cpu();
        let letter = log.looker.look();
        if before - at_first > 0.1 * COMPUTES_NS && cpu() == before {
            letters.extend(letter);
            looks += 1;
        }
        sleep(PAUSE);
    }
    cook.reply()?;
    log.settled += 1;
    log.note(READY, from, &letters);
    Ok((looks, cpu() - at_first))
}

impl Looker {
    /// Looks until another letter than `old` is shown.
    fn settle_out_of(&mut self, old: char) {
        let begun = Instant::now();
        while self.look() == Some(old) && begun.elapsed() < AT_MOST {
            sleep(PAUSE);
        }
    }
}

/// A process that waits for an order that never comes.
fn alone() -> Result<Sample, ArmError> {
    let cook = Led::start()?;
    let mut looker = Looker::new(cook.pid());
    looker.settle();
    let mut letters = BTreeSet::new();
    for _ in 0..SITUATIONS.len() {
        letters.append(&mut looker.stay().0);
    }
    Ok(Sample::new()
        .with(STATES, letters.len() as f64)
        .with(LOOKS, looker.looks as f64))
}

/// The place of a state among [`GREEN`]; a thread that is not listed any more has ended.
fn place(name: &str) -> usize {
    match green::threads_named(name)
        .first()
        .map(|thread| thread.state)
    {
        Some(ThreadState::New) => 0,
        Some(ThreadState::Runnable) => 1,
        Some(ThreadState::Running) => 2,
        Some(ThreadState::Waiting(_)) => 3,
        _ => 4,
    }
}

/// Green threads led through their states, one in each round, on one processor: while this thread looks, no other one
/// of them runs, unless the processor is taken away meanwhile. The looks of a round that missed its state do not count.
fn green_led(rounds: u32) -> Result<Sample, ArmError> {
    const NOT_YET: u8 = u8::MAX;
    let mut seen = [0_u32; GREEN.len()];
    let mut looks = 0;
    let (cpu_before, begun) = (probe::cpu_time_ns(), Instant::now());
    for round in 0..rounds {
        let name = format!("led-{round}.");
        let by_itself = Arc::new(AtomicU8::new(NOT_YET));
        let (own_name, own) = (name.clone(), Arc::clone(&by_itself));
        let cook = green::spawn_named(Some(name.clone()), move || {
            // Ready, and not running, while the one that looks does.
            green::yield_now();
            green::park();
            // ORDER: Relaxed, read after the thread has been joined.
            own.store(place(&own_name) as u8, Ordering::Relaxed);
        })?;
        seen[0] += u32::from(place(&name) == 0);
        green::yield_now();
        seen[1] += u32::from(place(&name) == 1);
        let parked = Instant::now();
        while place(&name) != 3 && parked.elapsed() < AT_MOST {
            looks += 1;
            green::yield_now();
        }
        seen[3] += u32::from(place(&name) == 3);
        cook.thread().unpark();
        cook.join()
            .map_err(|_| ArmError::Failed("a green thread panicked".into()))?;
        seen[4] += u32::from(place(&name) == 4);
        // ORDER: Relaxed, the thread has been joined.
        seen[2] += u32::from(by_itself.load(Ordering::Relaxed) == 2);
        looks += 5;
    }
    let given = (probe::cpu_time_ns() - cpu_before) / begun.elapsed().as_nanos() as f64;
    let shares = seen.map(|seen| f64::from(seen) / f64::from(rounds));
    let told = shares.iter().filter(|share| **share > 0.0).count();
    let least = Summary::of(shares).min;
    let sample = Sample::new()
        .with(STATES, told as f64)
        .with(LOOKS, f64::from(looks))
        .with(LEAST, least)
        .with(GIVEN, given);
    let keys = GREEN.iter().map(|(key, _)| *key);
    Ok(keys
        .zip(shares)
        .fold(sample, |sample, (key, share)| sample.with(key, share)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    struct Machine {
        letters: [char; 6],
        settled: f64,
        burnt: f64,
        still: f64,
        ready_looks: f64,
        alone: f64,
        green: f64,
        given: f64,
    }

    const GOOD: Machine = Machine {
        letters: ['R', 'Q', 'S', 'D', 'T', 'Z'],
        settled: 6.0,
        burnt: 20e6,
        still: 0.0,
        ready_looks: 20.0,
        alone: 1.0,
        green: 1.0,
        given: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for _ in 0..5 {
                let mut sample = Sample::new()
                    .with(SETTLED, self.settled)
                    .with(BURNT, self.burnt)
                    .with(STILL, self.still)
                    .with(READY_LOOKS, self.ready_looks)
                    .with_series(SHOWN, [0.0, 5.0, code('R'), 5.0, 9.0, code('S')])
                    .with_series(DONE, [0.0, 5.0, 1.0, 5.0, 9.0, 2.0]);
                for ((key, _), letter) in SITUATIONS.iter().zip(self.letters) {
                    sample = sample.with(key, code(letter));
                }
                samples.push("kernel", sample);
                samples.push("alone", Sample::new().with(STATES, self.alone));
                let green = Sample::new()
                    .with(LEAST, self.green)
                    .with(GIVEN, self.given);
                samples.push("green", green);
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &ThreadStates.premises(&samples),
                &ThreadStates.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for letters in [
            ['R', 'R', 'S', 'D', 'T', 'Z'],
            ['R', 'Q', 'S', 'S', 'T', 'Z'],
            ['R', 'Q', 'S', 'D', 'S', 'Z'],
            ['R', 'Q', 'S', 'D', 'T', 'R'],
        ] {
            assert_eq!(Machine { letters, ..GOOD }.verdict(), Verdict::NotHere);
        }
        assert_eq!(Machine { green: 0.0, ..GOOD }.verdict(), Verdict::NotHere);
    }

    /// Planted: a thread that never stops computing.
    #[test]
    fn green_threads_whose_processor_stood_still_do_not_count_against_the_claim() {
        let green = 0.0;
        let part = |given| {
            let machine = Machine {
                green,
                given,
                ..GOOD
            };
            let parts = ThreadStates.judge(&machine.samples());
            parts.last().map(|part| part.tendency)
        };
        assert_eq!(part(1.0), Some(Tendency::Fails));
        assert_eq!(part(0.2), Some(Tendency::Unclear));
    }

    #[test]
    fn a_thread_that_did_not_get_into_its_state_decides_nothing() {
        assert_inconclusive(
            &Machine {
                settled: 5.0,
                ..GOOD
            }
            .verdict(),
            "each state",
        );
        assert_inconclusive(&Machine { still: 3e6, ..GOOD }.verdict(), "no CPU time");
    }

    /// Planted: one that has a CPU of its own, so it is never ready when it is looked at.
    #[test]
    fn a_thread_that_was_not_seen_ready_decides_nothing() {
        assert_inconclusive(
            &Machine {
                ready_looks: 0.0,
                ..GOOD
            }
            .verdict(),
            "while ready",
        );
    }

    /// Planted: looks that wake who is looked at.
    #[test]
    fn looks_that_change_the_state_decide_nothing() {
        assert_inconclusive(&Machine { alone: 2.0, ..GOOD }.verdict(), "looks alone");
    }

    #[test]
    fn letters_that_change_between_repeats_are_noise() {
        let mut samples = GOOD.samples();
        let other = samples.of("kernel")[0].clone().with("waits", code('D'));
        samples.push("kernel", other);
        let verdict = decide(
            &ThreadStates.premises(&samples),
            &ThreadStates.judge(&samples),
        );
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn the_figures_are_drawn_from_the_samples() {
        let figures = ThreadStates.figures(&GOOD.samples());
        let Content::Timeline { tracks } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(tracks[1].spans[1].what, "S sleeps");
        let Content::Matrix { rows, .. } = &figures[1].content else {
            panic!("{figures:?}");
        };
        assert_eq!(rows[1].cells, ["Q", "Runnable"]);
        assert_eq!(ThreadStates.figures(&Samples::new()), []);
    }

    #[test]
    fn the_child_of_a_vfork_goes_when_its_pipe_ends() {
        let (reader, writer) = pipe().unwrap();
        drop(writer);
        let descriptor = without_provenance_mut(reader.as_raw_fd() as usize);
        assert_eq!(await_release(descriptor), 0);
    }
}
