//! What many kernel threads really take of a machine: addresses, which cost nothing, and memory.
//!
//! A text that multiplies the size of a stack by a number of threads gets addresses. The kernel hands pages out when they
//! are first touched, so the same threads take the same memory whatever the size of their stacks, which the control shows.
//! Memory is what is resident, the page tables, and the kernel's own stacks (see `thread-memory`, which compares a
//! kernel thread with a green one). The arenas of the C library's `malloc` are addresses, too: some for all threads.
//!
//! A hundred thousand kernel threads are not started: that could leave other programs of the machine without a process
//! number. What they would take follows from ten thousand, and which limit would stop them follows from the limits, of
//! which one is usually met long before memory is full. Each is told in threads:
//!
//! | limit | threads |
//! |---|---|
//! | `kernel.pid_max`, `kernel.threads-max`, `pids.max`, `ulimit -u` | as many as it says |
//! | `vm.max_map_count` | by the mappings that a thread is seen to add: a stack, a stack for signals, and a guard for each |
//! | `ulimit -v`, strict overcommit | by the addresses that a thread is seen to add |
//! | memory that is free | by the memory that a thread is seen to add |

use std::fs;

use crate::crowd::{Crowd, KERNEL_STACK};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Bar, Content, Figure};
use crate::machine;
use crate::probe::{self, Memory};
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, times_larger};

/// The experiment.
pub(super) struct AddressSpace;

static INFO: Info = Info {
    name: "address-space",
    claim: "100,000 kernel threads need 800 GB of memory, because each has a stack of 8 MB.",
    said_in: "introductions to goroutines and virtual threads (\"800 GB\"; \"200 GB\" with 2 MB each)",
    method: "Start 1,000 and 10,000 kernel threads that wait, with stacks of 8 MiB, and read how much \
             address space, memory and mappings the process has more. Compute what 100,000 would take \
             and which limit of this machine would stop them. Beside it, green threads.",
    control: "The same number of kernel threads with stacks of 64 KiB.",
    premise: "All threads are alive and waiting at once, and their stacks have the size they were to \
              have.",
    next: "thread-memory (a kernel thread beside a green one)",
};

const MEMORY: &str = "memory";
const VIRTUAL: &str = "virtual";
const MAPS: &str = "maps";
const RESIDENT: &str = "resident";
const TABLES: &str = "page_tables";
const KERNEL_STACKS: &str = "kernel_stacks";
const ALIVE: &str = "alive";

static METRICS: [Metric; 7] = [
    Metric::main(MEMORY, "memory each", Unit::Bytes),
    Metric::aside(VIRTUAL, "addresses", Unit::Bytes),
    Metric::aside(MAPS, "mappings", Unit::Count),
    Metric::data(RESIDENT, "resident", Unit::Bytes),
    Metric::data(TABLES, "page tables", Unit::Bytes),
    Metric::data(KERNEL_STACKS, "in kernel", Unit::Bytes),
    Metric::data(ALIVE, "alive", Unit::Share),
];

/// Keys of how many threads a limit allows, and the names of the limits.
const LIMITS: [(&str, &str); 8] = [
    ("limit_pid_max", "kernel.pid_max"),
    ("limit_threads_max", "kernel.threads-max"),
    ("limit_map_count", "vm.max_map_count"),
    ("limit_cgroup", "pids.max of the cgroup"),
    ("limit_tasks", "ulimit -u"),
    ("limit_addresses", "ulimit -v"),
    ("limit_commit", "strict overcommit"),
    ("limit_memory", "free memory"),
];

/// What the claim is about.
const CLAIMED_THREADS: f64 = 100_000.0;
const CLAIMED_BYTES: f64 = 800e9;
/// The stacks of the control.
const SMALL_STACK: usize = 64 << 10;

impl Experiment for AddressSpace {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel-1k", "1,000 kernel, 8 MiB stacks"),
            Arm::measured("kernel-10k", "10,000 kernel, 8 MiB")
                .optional()
                .timeout(60),
            Arm::measured("green-10k", "10,000 green threads").optional(),
            Arm::control("small-1k", "1,000 kernel, 64 KiB"),
        ]
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            "kernel-1k" => threads(Kind::Kernel, 1_000, KERNEL_STACK),
            "kernel-10k" => threads(Kind::Kernel, 10_000, KERNEL_STACK),
            "green-10k" => Kind::Green.host(|| threads(Kind::Green, 10_000, KERNEL_STACK)),
            "small-1k" => threads(Kind::Kernel, 1_000, SMALL_STACK),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let alive = samples.summary(most_threads(samples), ALIVE).min;
        let few = samples.summary("small-1k", ALIVE).min;
        let large = samples.summary("kernel-1k", VIRTUAL).min;
        let small = samples.summary("small-1k", VIRTUAL).max;
        vec![
            Premise::new(
                alive == 1.0 && few == 1.0,
                format!(
                    "all threads are alive and waiting at once ({})",
                    show(alive, Unit::Share)
                ),
            ),
            Premise::new(
                large >= KERNEL_STACK as f64 && large - small >= 0.8 * KERNEL_STACK as f64,
                format!(
                    "the stacks have the size they were to have (addresses of a thread: {}, and {})",
                    show(large, Unit::Bytes),
                    show(small, Unit::Bytes)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let arm = most_threads(samples);
        let addresses = claimed(samples, arm, VIRTUAL);
        let memory = claimed(samples, arm, MEMORY);
        let large = samples.summary("kernel-1k", MEMORY);
        let small = samples.summary("small-1k", MEMORY);
        let bytes = |bytes| show(bytes, Unit::Bytes);
        vec![
            Part::new(
                at_least(&addresses, CLAIMED_BYTES),
                format!(
                    "100,000 threads take {} of addresses",
                    bytes(addresses.median)
                ),
            ),
            Part::new(
                at_least(&memory, CLAIMED_BYTES / 2.0),
                format!(
                    "of memory they take {}; {}",
                    bytes(memory.median),
                    stopped(samples)
                ),
            ),
            Part::new(
                times_larger(&large, &small, 10.0),
                format!(
                    "a thread takes {} of memory with a stack of 8 MiB and {} with one of 64 KiB",
                    bytes(large.median),
                    bytes(small.median)
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let arm = most_threads(samples);
        let taken = [
            (VIRTUAL, "addresses"),
            (RESIDENT, "resident memory"),
            (TABLES, "page tables"),
            (KERNEL_STACKS, "kernel's stacks"),
        ];
        let bars = taken.iter().filter_map(|(key, label)| {
            Bar::of(label, &claimed(samples, arm, key)).filter(|bar| bar.low > 0.0)
        });
        let limits = LIMITS
            .iter()
            .filter_map(|(key, label)| Bar::of(label, &samples.summary(arm, key)));
        let figure = |title: &str, label: &str, unit, bars: Vec<Bar>| {
            let axis = Axis::logarithmic(label, unit);
            let content = Content::Bars { axis, bars };
            Figure::new(title, content)
        };
        let figures = [
            figure(
                "What 100,000 kernel threads would take",
                "bytes",
                Unit::Bytes,
                bars.collect(),
            ),
            figure(
                "How many kernel threads each limit of this machine allows",
                "threads",
                Unit::Count,
                limits.collect(),
            ),
        ];
        let drawn = |figure: &Figure| matches!(&figure.content, Content::Bars { bars, .. } if !bars.is_empty());
        figures.into_iter().filter(drawn).collect()
    }
}

/// The arm that the numbers for 100,000 follow from.
fn most_threads(samples: &Samples) -> &'static str {
    match samples.of("kernel-10k").is_empty() {
        true => "kernel-1k",
        false => "kernel-10k",
    }
}

/// What as many threads would take as the claim is about.
fn claimed(samples: &Samples, arm: &str, key: &str) -> Summary {
    let each = samples.of(arm).iter().map(|sample| sample.get(key));
    Summary::of(each.map(|each| each * CLAIMED_THREADS))
}

/// Which limit would stop 100,000 threads first.
fn stopped(samples: &Samples) -> String {
    let arm = most_threads(samples);
    let allowed = LIMITS.map(|(key, name)| (samples.median(arm, key), name));
    let lowest = allowed
        .into_iter()
        .filter(|(threads, _)| threads.is_finite())
        .min_by(|(one, _), (other, _)| one.total_cmp(other));
    match lowest {
        Some((threads, name)) if threads < CLAIMED_THREADS => format!(
            "{name} would stop them before, at about {}",
            show(threads.floor(), Unit::Count)
        ),
        Some((threads, name)) => format!(
            "the lowest limit, {name}, would allow {}",
            show(threads.floor(), Unit::Count)
        ),
        None => "no limit could be read".to_owned(),
    }
}

fn mappings() -> Result<usize, ArmError> {
    let maps = fs::read("/proc/self/maps")
        .map_err(|error| ArmError::Skipped(format!("cannot read /proc/self/maps: {error}")))?;
    Ok(maps.iter().filter(|byte| **byte == b'\n').count())
}

/// What the process has more when it has `count` threads more.
fn threads(kind: Kind, count: u32, stack_bytes: usize) -> Result<Sample, ArmError> {
    let (before, maps_before) = (probe::memory()?, mappings()?);
    let free = machine::memory_available();
    let crowd = Crowd::with_stacks(kind, count, None, stack_bytes)?;
    let (after, maps_after) = (probe::memory()?, mappings()?);
    let alive = crowd.alive();
    crowd.dismiss()?;
    let each = |before: f64, after: f64| (after - before) / f64::from(count);
    let grown = |read: fn(&Memory) -> f64| each(read(&before), read(&after));
    let sample = Sample::new()
        .with(MEMORY, grown(Memory::total))
        .with(VIRTUAL, grown(|memory| memory.address_space))
        .with(MAPS, each(maps_before as f64, maps_after as f64))
        .with(RESIDENT, grown(|memory| memory.resident))
        .with(TABLES, grown(|memory| memory.page_tables))
        .with(KERNEL_STACKS, grown(|memory| memory.kernel_stacks))
        .with(ALIVE, alive as f64 / f64::from(count));
    Ok(match kind {
        Kind::Kernel => with_limits(sample, free),
        Kind::Green => sample,
    })
}

/// The sample with the number of threads that each limit allows, for those limits that there are.
fn with_limits(sample: Sample, free_bytes: f64) -> Sample {
    let number = |path| machine::number(path).map(|number| number as f64);
    let own = machine::limits();
    let strict = machine::number("/proc/sys/vm/overcommit_memory") == Some(2);
    let commit = fs::read_to_string("/proc/meminfo")
        .ok()
        .and_then(|text| probe::field(&text, "CommitLimit"))
        .filter(|_| strict);
    let (maps, addresses, memory) = (sample.get(MAPS), sample.get(VIRTUAL), sample.get(MEMORY));
    let allowed = [
        number("/proc/sys/kernel/pid_max"),
        number("/proc/sys/kernel/threads-max"),
        number("/proc/sys/vm/max_map_count").map(|most| most / maps),
        machine::cgroup_tasks(),
        own.tasks.map(|most| most as f64),
        own.address_space.map(|bytes| bytes as f64 / addresses),
        commit.map(|kib| kib as f64 * 1024.0 / addresses),
        Some(free_bytes / memory),
    ];
    let each = LIMITS.iter().zip(allowed);
    each.fold(sample, |sample, ((key, _), threads)| {
        sample.with(
            key,
            threads.filter(|threads| *threads > 0.0).unwrap_or(f64::NAN),
        )
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MIB: f64 = 1048576.0;

    struct Machine {
        memory: f64,
        small_memory: f64,
        stack: f64,
        small_stack: f64,
        alive: f64,
        pid_max: f64,
    }

    const GOOD: Machine = Machine {
        memory: 8.5 * MIB,
        small_memory: 0.1 * MIB,
        stack: 8.01 * MIB,
        small_stack: 0.07 * MIB,
        alive: 1.0,
        pid_max: 32_768.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + 0.01 * f64::from(i);
                let mut add = |arm: &str, memory: f64, addresses: f64| {
                    let sample = Sample::new()
                        .with(MEMORY, memory * noise)
                        .with(VIRTUAL, addresses)
                        .with(ALIVE, self.alive)
                        .with("limit_pid_max", self.pid_max)
                        .with("limit_threads_max", 190_000.0);
                    samples.push(arm, sample);
                };
                add("kernel-1k", self.memory, self.stack);
                add("kernel-10k", self.memory, self.stack);
                add("small-1k", self.small_memory, self.small_stack);
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &AddressSpace.premises(&samples),
                &AddressSpace.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        let small = 30.0 * 1024.0;
        for bad in [
            Machine {
                memory: small,
                ..GOOD
            },
            Machine {
                memory: small,
                small_memory: small,
                ..GOOD
            },
            Machine {
                small_memory: 8.0 * MIB,
                ..GOOD
            },
        ] {
            assert_eq!(bad.verdict(), Verdict::NotHere);
        }
    }

    /// Planted: threads that have ended before the process is looked at.
    #[test]
    fn threads_that_are_not_alive_at_once_decide_nothing() {
        assert_inconclusive(&Machine { alive: 0.3, ..GOOD }.verdict(), "alive");
    }

    /// Planted: a library that gives each thread a stack of 2 MiB whatever it is asked for.
    #[test]
    fn stacks_of_another_size_decide_nothing() {
        let two = 2.0 * MIB;
        let verdict = Machine {
            stack: two,
            small_stack: two,
            ..GOOD
        }
        .verdict();
        assert_inconclusive(&verdict, "size");
    }

    #[test]
    fn memory_on_both_sides_of_the_claim_is_noise() {
        let mut samples = GOOD.samples();
        for _ in 0..5 {
            let mut little = GOOD.samples().of("kernel-10k")[0].clone();
            little = little.with(MEMORY, 30_000.0);
            samples.push("kernel-10k", little);
        }
        let verdict = decide(
            &AddressSpace.premises(&samples),
            &AddressSpace.judge(&samples),
        );
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn the_lowest_limit_is_named_with_its_number() {
        assert!(
            stopped(&GOOD.samples())
                .contains("kernel.pid_max would stop them before, at about 32,768")
        );
        let roomy = Machine {
            pid_max: 4_194_304.0,
            ..GOOD
        }
        .samples();
        assert!(stopped(&roomy).contains("kernel.threads-max, would allow 190,000"));
        assert_eq!(stopped(&Samples::new()), "no limit could be read");
    }

    #[test]
    fn limits_are_told_in_threads() {
        let sample = Sample::new()
            .with(MAPS, 2.0)
            .with(VIRTUAL, 8.0 * MIB)
            .with(MEMORY, 1e4);
        let sample = with_limits(sample, 1e9);
        assert_eq!(sample.get("limit_memory"), 1e5);
        let most = machine::number("/proc/sys/vm/max_map_count").unwrap() as f64;
        assert_eq!(sample.get("limit_map_count"), most / 2.0);
    }

    #[test]
    fn the_figures_are_drawn_from_the_samples() {
        let figures = AddressSpace.figures(&GOOD.samples());
        let Content::Bars { bars, .. } = &figures[1].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            (bars[0].label.as_str(), bars[0].value),
            ("kernel.pid_max", 32_768.0)
        );
        assert_eq!(AddressSpace.figures(&Samples::new()), []);
    }
}
