//! What a waiting thread costs in memory, in page tables and in address space.
//!
//! The texts multiply the size of a stack by the number of threads and call the product memory. A
//! stack is a range of addresses: pages are taken when they are first touched. So address space is
//! read apart from memory, and memory is all of it: what is resident, and what the kernel holds for
//! the process outside of that, page tables and the kernel's own stack of each kernel thread. The
//! kernel tells the sum of those stacks for the whole machine only, so other processes add noise.
//! Its smaller records (a few KiB for each kernel thread) are told nowhere and not counted. The
//! kernel threads get 8 MiB stacks, which is what a C program on Linux gets.

use std::sync::Arc;

use crate::crowd::{Crowd, KERNEL_STACK, Roll};
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{Green, Model};
use crate::probe::{self, Memory};
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most};

/// The experiment.
pub(super) struct ThreadMemory;

static INFO: Info = Info {
    name: "thread-memory",
    claim: "A waiting kernel thread takes megabytes of memory for its stack; a waiting green \
            thread takes a few kilobytes.",
    said_in: "introductions to goroutines and virtual threads (\"100,000 threads need 800 GB\")",
    method: "Start threads that wait, count that all are alive, and divide the growth of memory \
             (resident, page tables, kernel stacks) and of address space by their number. Kernel \
             threads get 8 MiB stacks.",
    control: "The same number of boxed closures without threads: what the bookkeeping takes.",
    premise: "All threads are alive and waiting at once; the green ones hold no kernel thread \
              each.",
    next: "models (what happens when one of many threads blocks)",
};

const MEMORY: &str = "memory";
const VIRTUAL: &str = "virtual";
const KERNEL: &str = "in_kernel";
const ALIVE: &str = "alive";
const KERNEL_THREADS: &str = "kernel_threads";

static METRICS: [Metric; 5] = [
    Metric::main(MEMORY, "memory each", Unit::Bytes),
    Metric::aside(KERNEL, "in kernel", Unit::Bytes),
    Metric::aside(VIRTUAL, "addresses", Unit::Bytes),
    Metric::data(ALIVE, "alive", Unit::Share),
    Metric::data(KERNEL_THREADS, "kernel thr.", Unit::Share),
];

impl Experiment for ThreadMemory {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let mut arms = vec![
            Arm::measured("kernel-1k", "1,000 kernel threads"),
            Arm::measured("kernel-10k", "10,000 kernel threads")
                .optional()
                .timeout(60),
            Arm::measured("green-1k", "1,000 green threads"),
            Arm::measured("green-10k", "10,000 green threads"),
            Arm::measured("green-100k", "100,000 green threads"),
            Arm::measured("green-1m", "1,000,000 green threads")
                .optional()
                .timeout(120),
            Arm::control("closures", "10,000 closures, no thread"),
        ];
        if scale == Scale::Quick {
            arms.retain(|arm| !matches!(arm.key, "kernel-10k" | "green-1m"));
        }
        arms
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            "kernel-1k" => threads(Kind::Kernel, 1_000),
            "kernel-10k" => threads(Kind::Kernel, 10_000),
            "green-1k" => green(1_000),
            "green-10k" => green(10_000),
            "green-100k" => green(100_000),
            "green-1m" => green(1_000_000),
            "closures" => closures(10_000),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let alive = ["kernel-1k", "green-1k", "green-10k", "green-100k"]
            .map(|arm| samples.summary(arm, ALIVE).min);
        let per_kernel = samples.summary("kernel-1k", KERNEL_THREADS).min;
        let per_green = samples.summary("green-100k", KERNEL_THREADS).max;
        vec![
            Premise::new(
                alive.iter().all(|share| *share == 1.0),
                format!(
                    "all threads are alive and waiting at once (at least {})",
                    show(alive.iter().copied().fold(f64::NAN, f64::min), Unit::Share)
                ),
            ),
            Premise::new(
                per_kernel >= 1.0 && per_green <= 0.01,
                format!(
                    "a kernel thread each for the kernel threads ({}) and not for 100,000 green \
                     ones ({})",
                    show(per_kernel, Unit::Count),
                    show(per_green, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        const MEGABYTE: f64 = 1e6;
        const FEW_KILOBYTES: f64 = 8.0 * 1024.0;
        let kernel = samples.summary("kernel-1k", MEMORY);
        let green = samples.summary("green-100k", MEMORY);
        let bytes = |bytes| show(bytes, Unit::Bytes);
        vec![
            Part::new(
                at_least(&kernel, MEGABYTE),
                format!(
                    "a waiting kernel thread takes {}; the {} of its stack are addresses",
                    bytes(kernel.median),
                    bytes(KERNEL_STACK as f64)
                ),
            ),
            Part::new(
                at_most(&green, FEW_KILOBYTES),
                format!(
                    "one of 100,000 waiting green threads takes {}",
                    bytes(green.median)
                ),
            ),
        ]
    }
}

fn per_thread(before: Memory, after: Memory, count: u32, alive: u64) -> Sample {
    let count = f64::from(count);
    let grown = |read: fn(&Memory) -> f64| (read(&after) - read(&before)) / count;
    let kernel = grown(|memory| memory.page_tables + memory.kernel_stacks);
    Sample::new()
        .with(MEMORY, grown(|memory| memory.resident) + kernel)
        .with(KERNEL, kernel)
        .with(VIRTUAL, grown(|memory| memory.address_space))
        .with(ALIVE, alive as f64 / count)
        .with(
            KERNEL_THREADS,
            (after.threads - before.threads.min(after.threads)) as f64 / count,
        )
}

fn threads(kind: Kind, count: u32) -> Result<Sample, ArmError> {
    let before = probe::memory()?;
    let crowd = Crowd::gather(kind, count, None)?;
    let after = probe::memory()?;
    let alive = crowd.alive();
    crowd.dismiss()?;
    Ok(per_thread(before, after, count, alive))
}

fn green(count: u32) -> Result<Sample, ArmError> {
    let green = Green::start(Model::ManyToMany, probe::cpus())?;
    green.run(|| threads(Kind::Green, count))
}

fn closures(count: u32) -> Result<Sample, ArmError> {
    let roll = Arc::new(Roll::default());
    let before = probe::memory()?;
    let mut kept: Vec<Box<dyn Fn() -> u64>> = Vec::with_capacity(count as usize);
    for _ in 0..count {
        let roll = Arc::clone(&roll);
        kept.push(Box::new(move || roll.here()));
    }
    let after = probe::memory()?;
    let called: u64 = kept.iter().map(|closure| closure()).sum();
    Ok(per_thread(before, after, count, called))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    fn machine_with(kernel: f64, green: f64, alive: f64, per_green: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, bytes: f64, alive: f64, threads: f64| {
                let sample = Sample::new()
                    .with(MEMORY, bytes * noise)
                    .with(ALIVE, alive)
                    .with(KERNEL_THREADS, threads);
                samples.push(arm, sample);
            };
            add("kernel-1k", kernel, 1.0, 1.0);
            add("green-1k", green, 1.0, per_green);
            add("green-10k", green, 1.0, per_green);
            add("green-100k", green, alive, per_green);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(
            &ThreadMemory.premises(samples),
            &ThreadMemory.judge(samples),
        )
    }

    #[test]
    fn threads_that_are_not_alive_at_once_decide_nothing() {
        let verdict = verdict(&machine_with(9e6, 4_300.0, 0.4, 0.0));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("alive")));
    }

    #[test]
    fn green_threads_that_are_kernel_threads_decide_nothing() {
        let verdict = verdict(&machine_with(9e6, 4_300.0, 1.0, 1.0));
        assert!(matches!(verdict, Verdict::Inconclusive(_)));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(
            verdict(&machine_with(8.5e6, 4_300.0, 1.0, 0.0)),
            Verdict::Confirmed
        );
        assert_eq!(
            verdict(&machine_with(12_000.0, 4_300.0, 1.0, 0.0)),
            Verdict::NotHere
        );
        assert_eq!(
            verdict(&machine_with(8.5e6, 90_000.0, 1.0, 0.0)),
            Verdict::NotHere
        );
    }

    #[test]
    fn growth_is_divided_by_the_number_of_threads() {
        let memory = |resident, threads| Memory {
            resident,
            address_space: 0.0,
            page_tables: 0.0,
            kernel_stacks: 0.0,
            threads,
        };
        let sample = per_thread(memory(1e6, 1), memory(9e6, 1_001), 1_000, 1_000);
        assert_eq!(sample.get(MEMORY), 8_000.0);
        assert_eq!(sample.get(KERNEL_THREADS), 1.0);
    }
}
