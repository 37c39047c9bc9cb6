//! What a process costs beside a thread: to start, by the memory of its parent, and to switch to, by the memory it uses.
//!
//! A fork copies no memory but the tables that describe it, so its cost grows with what the parent has touched. Programs
//! are started without a fork (`posix_spawn` shares the parent's memory until the new program runs), so theirs does not.
//! All kinds take turns in one process of the given size. Its pages are small ones: with huge pages the tables would be
//! five hundred times smaller.
//!
//! Switches are those of two sides that hand a byte back and forth on one CPU, and touch a line in each 64 bytes of a
//! buffer of their own at each turn. The same calls and two buffers by one thread alone are subtracted, so what the caches
//! cannot hold counts for neither.

use std::process::Command;
use std::thread;
use std::time::{Duration, Instant};

use rustix::mm::{Advice, MapFlags, ProtFlags, madvise, mmap_anonymous, munmap};

use crate::account::Account;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::forked::{self, End, Forked};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::turns::{self, Alone, Pair, Rounds};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past, fails_only_if, times_larger};

/// The experiment.
pub(super) struct ProcessVsThread;

static INFO: Info = Info {
    name: "process-vs-thread",
    claim: "A process costs more to start than a thread, and a fork the more, the more memory its \
            parent has; a switch to another process costs little more than one to another thread.",
    said_in: "every introduction to threads (\"threads are lightweight processes\"; \"fork copies the \
              memory\")",
    method: "Fork and wait, start a program, start and join a thread, by turns in one process, whose \
             memory is 1 MiB and more. Two threads, and two processes, hand a byte back and forth \
             on one CPU and touch nothing, 64 KiB or 1 MiB at each turn.",
    control: "The same calls and memory by one thread alone, which cannot switch; their time is \
              subtracted. A green thread beside a kernel thread.",
    premise: "The parent had the memory, each turn made a switch, and the control made none.",
    next: "crash-isolation (what a process gives for it)",
};

const TIME: &str = "ns";
const MEMORY: &str = "memory";
const SWITCHES: &str = "switches";
const FORK: &str = "fork";
const SPAWN: &str = "spawn";
const KERNEL: &str = "kernel";
const OTHER: &str = "process";
const OTHER_SWITCHES: &str = "process_switches";
const RATIO: &str = "ratio";
const GIVEN: &str = "given";

static METRICS: [Metric; 10] = [
    Metric::main(TIME, "each", Unit::Nanoseconds),
    Metric::aside(MEMORY, "memory", Unit::Bytes),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::data(FORK, "fork", Unit::Nanoseconds),
    Metric::data(SPAWN, "spawn", Unit::Nanoseconds),
    Metric::data(KERNEL, "thread", Unit::Nanoseconds),
    Metric::data(OTHER, "process", Unit::Nanoseconds),
    Metric::data(OTHER_SWITCHES, "p. switches", Unit::Count),
    Metric::data(RATIO, "ratio", Unit::Count),
    Metric::data(GIVEN, "CPU given", Unit::Share),
];

/// The share of its time for which who started others was not kept from a CPU, where it counts against the claim: in a
/// long queue for the CPUs, starting a thread and starting a process both take as long as the queue.
const ENOUGH: f64 = 0.95;

const KIB: usize = 1024;
const MIB: usize = 1024 * KIB;

/// Parents: the arm, its derived ones, and how much memory it has touched.
const PARENTS: [(&str, &str, &str); 3] = [
    ("thread-small", "fork-small", "spawn-small"),
    ("thread-medium", "fork-medium", "spawn-medium"),
    ("thread-large", "fork-large", "spawn-large"),
];

/// Pairs that take turns: the arm, its derived one, and the buffer of each side.
const PAIRS: [(&str, &str, usize); 3] = [
    ("switch-none", "process-none", 0),
    ("switch-64k", "process-64k", 64 * KIB),
    ("switch-1m", "process-1m", MIB),
];

fn parent_bytes(arm: &str, scale: Scale) -> Option<usize> {
    let at = PARENTS.iter().position(|(parent, ..)| *parent == arm)?;
    Some(scale.pick([1, 16, 128], [1, 64, 512])[at] * MIB)
}

impl Experiment for ProcessVsThread {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("thread-small", "thread, small process"),
            Arm::measured("thread-medium", "thread, medium process"),
            Arm::measured("thread-large", "thread, large process"),
            Arm::derived("fork-small", "fork, small process"),
            Arm::derived("fork-medium", "fork, medium process"),
            Arm::derived("fork-large", "fork, large process"),
            Arm::derived("spawn-small", "program, small process"),
            Arm::derived("spawn-medium", "program, medium process"),
            Arm::derived("spawn-large", "program, large process"),
            Arm::measured("green", "green thread"),
            Arm::measured("switch-none", "switch of threads"),
            Arm::derived("process-none", "switch of processes"),
            Arm::measured("switch-64k", "... threads, 64 KiB each"),
            Arm::derived("process-64k", "... processes, 64 KiB"),
            Arm::measured("switch-1m", "... threads, 1 MiB each"),
            Arm::derived("process-1m", "... processes, 1 MiB"),
            Arm::control("alone", "same calls, alone"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        if let Some(bytes) = parent_bytes(arm, scale) {
            return start_each(bytes, scale);
        }
        if let Some((.., bytes)) = PAIRS.iter().find(|(pair, ..)| *pair == arm) {
            return take_turns(*bytes, scale);
        }
        match arm {
            "green" => start_green(scale.pick(2_000, 20_000)),
            "alone" => alone(scale),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn derive(&self, samples: &mut Samples) {
        for (parent, fork, spawn) in PARENTS {
            for sample in samples.of(parent).to_vec() {
                for (derived, number) in [(fork, FORK), (spawn, SPAWN)] {
                    let derived_sample = Sample::new()
                        .with(TIME, sample.get(number))
                        .with(MEMORY, sample.get(MEMORY));
                    samples.push(derived, derived_sample);
                }
            }
        }
        for (threads, processes, _) in PAIRS {
            for sample in samples.of(threads).to_vec() {
                let derived = Sample::new()
                    .with(TIME, sample.get(OTHER))
                    .with(MEMORY, sample.get(MEMORY))
                    .with(SWITCHES, sample.get(OTHER_SWITCHES));
                samples.push(processes, derived);
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let small = samples.summary("thread-small", MEMORY);
        let large = samples.summary("thread-large", MEMORY);
        let counted = |key: &str| {
            let fewest = PAIRS.map(|(arm, ..)| samples.summary(arm, key).median);
            // `fold` passes over a NaN; the comparison must not.
            let all = fewest.iter().all(|count| *count >= 0.95);
            (all, fewest.into_iter().fold(f64::NAN, f64::min))
        };
        let (threads, processes) = (counted(SWITCHES), counted(OTHER_SWITCHES));
        let alone = samples.summary("alone", SWITCHES).median;
        vec![
            Premise::new(
                large.min >= 4.0 * small.max,
                format!(
                    "the large parent had {}, the small one {}",
                    show(large.median, Unit::Bytes),
                    show(small.median, Unit::Bytes)
                ),
            ),
            Premise::new(
                threads.0 && processes.0,
                format!(
                    "each side was switched away from at each turn ({} times between threads, {} \
                     between processes)",
                    show(threads.1, Unit::Count),
                    show(processes.1, Unit::Count)
                ),
            ),
            Premise::new(
                alone <= 0.05,
                format!(
                    "the same calls alone made no switches ({})",
                    show(alone, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let of = |arm: &str| samples.summary(arm, TIME);
        let time = |ns| show(ns, Unit::Nanoseconds);
        // Of one repeat each: what the machine did meanwhile falls on both.
        let times = |arm: &str, other: &str| {
            let pairs = samples.of(arm).iter().zip(samples.of(other));
            Summary::of(pairs.map(|(one, other)| one.get(TIME) / other.get(TIME)))
        };
        let given = |arms: &[&str]| {
            let share = |arm: &&str| samples.median(arm, GIVEN);
            arms.iter().all(|arm| share(arm) >= ENOUGH)
        };
        let (all_given, green_given) =
            (given(&["thread-small", "thread-large"]), given(&["green"]));
        let grown = |large: &str, small: &str, what: &str| {
            let text = format!(
                "{what} {} there, {} here",
                time(of(large).median),
                time(of(small).median)
            );
            let tendency = at_most_unless_past(&times(large, small), 2.0, 2.5);
            Part::new(fails_only_if(all_given, tendency), text)
        };
        let (thread, fork, large) = (of("thread-small"), of("fork-small"), of("fork-large"));
        let memory = |arm: &str| show(samples.median(arm, MEMORY), Unit::Bytes);
        let (green, kernel) = (of("green"), samples.summary("green", KERNEL));
        let ratio = |arm: &str| samples.summary(arm, RATIO);
        vec![
            Part::new(
                fails_only_if(
                    all_given,
                    at_least(&times("fork-small", "thread-small"), 2.0),
                ),
                format!(
                    "a fork {}, a thread {}",
                    time(fork.median),
                    time(thread.median)
                ),
            ),
            Part::new(
                fails_only_if(all_given, at_least(&times("fork-large", "fork-small"), 3.0)),
                format!(
                    "a fork of a process with {} {}",
                    memory("thread-large"),
                    time(large.median)
                ),
            ),
            grown_apart(samples, all_given),
            grown("spawn-large", "spawn-small", "a program costs"),
            Part::new(
                fails_only_if(green_given, times_larger(&kernel, &green, 5.0)),
                format!("a green thread {}", time(green.median)),
            ),
            Part::new(
                at_most_unless_past(&ratio("switch-none"), 2.0, 3.0),
                format!(
                    "a switch between processes costs {} times one between threads ({}); {} times \
                     with 64 KiB on each side, {} times with 1 MiB",
                    show(ratio("switch-none").median, Unit::Count),
                    time(of("switch-none").median),
                    show(ratio("switch-64k").median, Unit::Count),
                    show(ratio("switch-1m").median, Unit::Count)
                ),
            ),
        ]
    }
}

/// Memory of small pages that has been touched; given back when dropped.
struct Touched {
    start: *mut std::ffi::c_void,
    bytes: usize,
}

impl Touched {
    fn new(bytes: usize) -> Result<Touched, ArmError> {
        probe::require_memory(bytes as f64)?;
        // SAFETY: a new mapping, wherever there is room.
        let start = unsafe {
            mmap_anonymous(
                std::ptr::null_mut(),
                bytes,
                ProtFlags::READ | ProtFlags::WRITE,
                MapFlags::PRIVATE,
            )?
        };
        let touched = Touched { start, bytes };
        // A kernel without huge pages refuses, which is as well.
        // SAFETY: the mapping above; the advice changes no contents.
        let _ = unsafe { madvise(start, bytes, Advice::LinuxNoHugepage) };
        for offset in (0..bytes).step_by(4 * KIB) {
            // SAFETY: inside of the mapping above, which nobody else uses.
            unsafe { start.cast::<u8>().add(offset).write_volatile(1) };
        }
        Ok(touched)
    }
}

impl Drop for Touched {
    fn drop(&mut self) {
        // SAFETY: the mapping of `new`; no reference into it exists.
        let _ = unsafe { munmap(self.start, self.bytes) };
    }
}

fn timed(count: u32, mut once: impl FnMut() -> Result<(), ArmError>) -> Result<Duration, ArmError> {
    let begun = Instant::now();
    (0..count).try_for_each(|_| once())?;
    Ok(begun.elapsed())
}

fn each(total: Duration, count: u32) -> f64 {
    total.as_nanos() as f64 / f64::from(count)
}

fn ended_well(end: End) -> Result<(), ArmError> {
    match end {
        End::Status(0) => Ok(()),
        end => Err(ArmError::Failed(format!("a process ended by {end:?}"))),
    }
}

fn thread_once() -> Result<(), ArmError> {
    let thread = thread::Builder::new().spawn(|| ())?;
    let panicked = |_| ArmError::Failed("a thread panicked".into());
    thread.join().map_err(panicked)
}

fn fork_once() -> Result<(), ArmError> {
    // SAFETY: the body does nothing.
    unsafe { forked::bare(|| 0) }
        .and_then(Forked::wait)
        .and_then(ended_well)
}

fn program_once() -> Result<(), ArmError> {
    let status = Command::new("true").status();
    let status = status
        .map_err(|error| ArmError::Skipped(format!("cannot start the program true: {error}")))?;
    if status.success() {
        Ok(())
    } else {
        Err(ArmError::Failed(format!("true ended with {status}")))
    }
}

/// Threads, forks and programs by turns, in a process that has so much memory.
fn start_each(bytes: usize, scale: Scale) -> Result<Sample, ArmError> {
    const PROCESSES: u32 = 2;
    const THREADS: u32 = 20;
    let blocks = scale.pick(4, 10);
    let _touched = Touched::new(bytes)?;
    timed(2, thread_once)?;
    fork_once()?;
    program_once()?;
    let (mut threads, mut forks, mut programs) = (Duration::ZERO, Duration::ZERO, Duration::ZERO);
    let queued = Account::of_this_thread()?.queue_ns;
    for _ in 0..blocks {
        threads += timed(THREADS, thread_once)?;
        forks += timed(PROCESSES, fork_once)?;
        programs += timed(PROCESSES, program_once)?;
    }
    let queued = Account::of_this_thread()?.queue_ns - queued;
    let elapsed = (threads + forks + programs).as_nanos() as f64;
    Ok(Sample::new()
        .with(GIVEN, 1.0 - queued / elapsed)
        .with(TIME, each(threads, blocks * THREADS))
        .with(FORK, each(forks, blocks * PROCESSES))
        .with(SPAWN, each(programs, blocks * PROCESSES))
        .with(MEMORY, probe::memory()?.resident))
}

fn start_green(count: u32) -> Result<Sample, ArmError> {
    let green = Green::start(Model::ManyToMany, probe::cpus())?;
    green.run(|| {
        let once = || {
            let panicked = |_| ArmError::Failed("a green thread panicked".into());
            green::spawn(|| ())?.join().map_err(panicked)
        };
        timed(count / 10, once)?;
        let kernel = timed(count / 20, thread_once)?;
        let cpu_before = probe::cpu_time_ns();
        let green = timed(count, once)?;
        let cpu_ns = probe::cpu_time_ns() - cpu_before;
        Ok(Sample::new()
            .with(GIVEN, cpu_ns / green.as_nanos() as f64)
            .with(TIME, each(green, count))
            .with(KERNEL, each(kernel, count / 20)))
    })
}

/// How many rounds are timed together, and how often.
fn rounds(bytes: usize, scale: Scale) -> Rounds {
    Rounds {
        count: if bytes < MIB { 300 } else { 60 },
        blocks: scale.pick(5, 30),
    }
}

/// A pair of threads, a pair of processes, and one thread alone, by turns on one CPU.
fn take_turns(bytes: usize, scale: Scale) -> Result<Sample, ArmError> {
    probe::pin_to_one_cpu()?;
    let process = Pair::with_process(bytes)?;
    let pairs = [Pair::with_thread(bytes)?, process];
    let alone = Alone::with_both(bytes)?;
    let [threads, processes] = turns::compare(pairs, alone, rounds(bytes, scale))?.pairs;
    Ok(Sample::new()
        .with(TIME, threads.switch_ns)
        .with(OTHER, processes.switch_ns)
        .with(RATIO, processes.switch_ns / threads.switch_ns)
        .with(MEMORY, bytes as f64)
        .with(SWITCHES, threads.switches)
        .with(OTHER_SWITCHES, processes.switches))
}

/// Memory makes a fork dearer than a thread. The first thread after a fork pays for pages that were shared with the
/// child, so it grows a little, too.
fn grown_apart(samples: &Samples, given: bool) -> Part {
    let growth = |large: &str, small: &str| -> Vec<f64> {
        let pairs = samples.of(large).iter().zip(samples.of(small));
        pairs
            .map(|(one, other)| one.get(TIME) / other.get(TIME))
            .collect()
    };
    let forks = growth("fork-large", "fork-small");
    let threads = growth("thread-large", "thread-small");
    let apart = Summary::of(
        forks
            .iter()
            .zip(&threads)
            .map(|(fork, thread)| fork / thread),
    );
    let times = |growth: Vec<f64>| show(Summary::of(growth).median, Unit::Count);
    Part::new(
        fails_only_if(given, at_least(&apart, 3.0)),
        format!(
            "that memory makes a fork {} times as dear, a thread {} times",
            times(forks),
            times(threads)
        ),
    )
}

fn alone(scale: Scale) -> Result<Sample, ArmError> {
    probe::pin_to_one_cpu()?;
    let Rounds { count, blocks } = rounds(0, scale);
    let mut alone = Alone::with_own(0)?;
    timed(count, || alone.round())?;
    let before = probe::switches_of_this_thread()?;
    let time = timed(count * blocks, || alone.round())?;
    let switches = probe::switches_of_this_thread()? - before;
    let count = count * blocks;
    Ok(Sample::new()
        .with(TIME, each(time, count))
        .with(SWITCHES, switches as f64 / f64::from(count)))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const US: f64 = 1e3;

    struct Machine {
        fork: f64,
        large_fork: f64,
        large_thread: f64,
        ratio: f64,
        switches: f64,
        large_bytes: f64,
        given: f64,
    }

    const GOOD: Machine = Machine {
        fork: 150.0 * US,
        large_fork: 2_500.0 * US,
        large_thread: 30.0 * US,
        ratio: 1.1,
        switches: 1.0,
        large_bytes: 130e6,
        given: 0.97,
    };

    impl Machine {
        fn verdict(&self) -> Verdict {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + 0.01 * f64::from(i);
                let mut parent = |arm: &str, thread: f64, fork: f64, memory: f64| {
                    let sample = Sample::new()
                        .with(TIME, thread * noise)
                        .with(FORK, fork * noise)
                        .with(SPAWN, 600.0 * US * noise)
                        .with(GIVEN, self.given)
                        .with(MEMORY, memory);
                    samples.push(arm, sample);
                };
                parent("thread-small", 28.0 * US, self.fork, 4e6);
                parent("thread-medium", 28.0 * US, 2.0 * self.fork, 20e6);
                parent(
                    "thread-large",
                    self.large_thread,
                    self.large_fork,
                    self.large_bytes,
                );
                for (arm, ..) in PAIRS {
                    let sample = Sample::new()
                        .with(TIME, 2.0 * US * noise)
                        .with(OTHER, self.ratio * 2.0 * US * noise)
                        .with(RATIO, self.ratio * noise)
                        .with(SWITCHES, 1.0)
                        .with(OTHER_SWITCHES, self.switches);
                    samples.push(arm, sample);
                }
                let green = Sample::new()
                    .with(TIME, 0.4 * US)
                    .with(KERNEL, 28.0 * US)
                    .with(GIVEN, self.given);
                samples.push("green", green);
                let alone = Sample::new().with(TIME, US).with(SWITCHES, 0.0);
                samples.push("alone", alone);
            }
            ProcessVsThread.derive(&mut samples);
            decide(
                &ProcessVsThread.premises(&samples),
                &ProcessVsThread.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for bad in [
            Machine {
                fork: 20.0 * US,
                ..GOOD
            },
            Machine {
                large_fork: 160.0 * US,
                ..GOOD
            },
            Machine {
                large_thread: 600.0 * US,
                ..GOOD
            },
            Machine { ratio: 4.0, ..GOOD },
        ] {
            assert_eq!(bad.verdict(), Verdict::NotHere);
        }
    }

    #[test]
    fn in_a_queue_for_the_cpus_a_fork_as_dear_as_a_thread_is_not_blamed_on_the_claim() {
        let loaded = Machine { given: 0.3, ..GOOD };
        assert_eq!(loaded.verdict(), Verdict::Confirmed);
        // As seen with 24 programs on two CPUs: a fork 144 us, a thread 128 us.
        let fork = 31.0 * US;
        for loaded in [
            Machine { fork, ..loaded },
            Machine {
                large_fork: 160.0 * US,
                ..loaded
            },
        ] {
            assert_inconclusive(&loaded.verdict(), "noise");
        }
    }

    #[test]
    fn turns_that_made_no_switch_decide_nothing() {
        let verdict = Machine {
            switches: 0.3,
            ..GOOD
        }
        .verdict();
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("switched")));
    }

    #[test]
    fn a_parent_without_its_memory_decides_nothing() {
        let verdict = Machine {
            large_bytes: 5e6,
            ..GOOD
        }
        .verdict();
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("parent had")));
    }

    #[test]
    fn memory_that_was_touched_is_resident() {
        const BYTES: usize = 8 * MIB;
        let touched = Touched::new(BYTES).unwrap();
        // Of these pages alone: the process as a whole may shrink meanwhile, by what other tests free.
        let mut pages = vec![0_u8; BYTES / rustix::param::page_size()];
        // SAFETY: the mapping exists, and there is a byte for each of its pages.
        let failed = unsafe { libc::mincore(touched.start, BYTES, pages.as_mut_ptr()) };
        assert_eq!(failed, 0);
        let resident = pages.iter().filter(|page| **page & 1 == 1).count();
        assert!(
            resident * 10 >= pages.len() * 9,
            "{resident} of {}",
            pages.len()
        );
    }
}
