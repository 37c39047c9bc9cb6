//! What it costs to start a thread and to wait for its end.
//!
//! Both kinds do the same nothing: note that they run on a stack other than the spawner's, and
//! return. The control calls the same boxed closure without any thread.

use std::sync::atomic::{AtomicU64, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, times_larger};

/// The experiment.
pub(super) struct SpawnCost;

static INFO: Info = Info {
    name: "spawn-cost",
    claim: "Starting and joining a green thread is at least ten times cheaper than a kernel \
            thread.",
    said_in: "every text on goroutines, virtual threads and coroutines",
    method: "Start threads that return at once and join them, one at a time and all at once; \
             divide by their number.",
    control: "The same boxed closure is called in place, without a thread.",
    premise: "Every closure ran, and on a stack of its own.",
    next: "thread-memory (what a thread costs while it waits)",
};

const TIME: &str = "ns";
const ELSEWHERE: &str = "elsewhere";

static METRICS: [Metric; 2] = [
    Metric::main(TIME, "per thread", Unit::Nanoseconds),
    Metric::aside(ELSEWHERE, "own stack", Unit::Share),
];

/// How many closures ran on a stack other than the one that spawned them.
static RAN_ELSEWHERE: AtomicU64 = AtomicU64::new(0);

/// Two frames further apart than this are on different stacks here: no arm nests deeper.
const FAR: usize = 16 * 1024;

impl Experiment for SpawnCost {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel-one", "kernel, one at a time"),
            Arm::measured("kernel-all", "kernel, all at once"),
            Arm::measured("green-one", "green, one at a time"),
            Arm::measured("green-all", "green, all at once"),
            Arm::control("call", "plain call, no thread"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let kernel = scale.pick(2_000, 10_000);
        let green = scale.pick(100_000, 1_000_000);
        match arm {
            "kernel-one" => one_at_a_time(kernel, start_kernel).and_then(|d| sample(kernel, d)),
            "kernel-all" => all_at_once(kernel, start_kernel).and_then(|d| sample(kernel, d)),
            "green-one" => on_green(green, one_at_a_time),
            "green-all" => on_green(green, all_at_once),
            "call" => sample(green, plain_calls(green)),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = ["kernel-one", "kernel-all", "green-one", "green-all"];
        let fewest = arms.map(|arm| samples.summary(arm, ELSEWHERE).min);
        let call = samples.summary("call", ELSEWHERE).max;
        vec![
            Premise::new(
                fewest.iter().all(|share| *share == 1.0),
                format!(
                    "every thread ran on a stack of its own (at least {})",
                    show(fewest.iter().copied().fold(f64::NAN, f64::min), Unit::Share)
                ),
            ),
            Premise::new(
                call == 0.0,
                format!("no plain call did ({})", show(call, Unit::Share)),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let compare = |kernel: &str, green: &str, how: &str| {
            let (kernel, green) = (samples.summary(kernel, TIME), samples.summary(green, TIME));
            let text = format!(
                "{how}: {} against {}, {} times less",
                show(green.median, Unit::Nanoseconds),
                show(kernel.median, Unit::Nanoseconds),
                show(kernel.median / green.median, Unit::Count)
            );
            Part::new(times_larger(&kernel, &green, 10.0), text)
        };
        vec![
            compare("kernel-one", "green-one", "one at a time"),
            compare("kernel-all", "green-all", "all at once"),
        ]
    }
}

/// A thread that can be joined.
trait Join {
    fn join(self) -> Result<(), ArmError>;
}

impl Join for thread::JoinHandle<()> {
    fn join(self) -> Result<(), ArmError> {
        self.join()
            .map_err(|_| ArmError::Failed("a thread panicked".into()))
    }
}

/// A green thread's handle.
struct GreenHandle(green::JoinHandle<()>);

impl Join for GreenHandle {
    fn join(self) -> Result<(), ArmError> {
        self.0
            .join()
            .map_err(|_| ArmError::Failed("a green thread panicked".into()))
    }
}

fn start_kernel(spawner: usize) -> Result<thread::JoinHandle<()>, ArmError> {
    let start = thread::Builder::new().spawn(move || note_stack(spawner));
    start.map_err(|error| ArmError::Skipped(format!("cannot start a kernel thread: {error}")))
}

fn start_green(spawner: usize) -> Result<GreenHandle, ArmError> {
    Ok(GreenHandle(green::spawn(move || note_stack(spawner))?))
}

/// The address of a frame of the calling function's stack.
#[inline(never)]
fn stack_address() -> usize {
    let here = 0_u8;
    std::ptr::from_ref(std::hint::black_box(&here)).addr()
}

/// What every thread does: count itself if it is not on the spawner's stack.
fn note_stack(spawner: usize) {
    if stack_address().abs_diff(spawner) > FAR {
        // ORDER: Relaxed, a counter; it is read after every thread was joined.
        RAN_ELSEWHERE.fetch_add(1, Ordering::Relaxed);
    }
}

fn one_at_a_time<J: Join>(
    count: u32,
    start: impl Fn(usize) -> Result<J, ArmError>,
) -> Result<Duration, ArmError> {
    let here = stack_address();
    let begun = Instant::now();
    (0..count).try_for_each(|_| start(here)?.join())?;
    Ok(begun.elapsed())
}

fn all_at_once<J: Join>(
    count: u32,
    start: impl Fn(usize) -> Result<J, ArmError>,
) -> Result<Duration, ArmError> {
    let here = stack_address();
    let mut handles = Vec::with_capacity(count as usize);
    let begun = Instant::now();
    for _ in 0..count {
        handles.push(start(here)?);
    }
    handles.into_iter().try_for_each(Join::join)?;
    Ok(begun.elapsed())
}

fn on_green(
    count: u32,
    how: impl FnOnce(u32, fn(usize) -> Result<GreenHandle, ArmError>) -> Result<Duration, ArmError>
    + Send
    + 'static,
) -> Result<Sample, ArmError> {
    let green = Green::start(Model::ManyToMany, probe::cpus())?;
    let before = green.counts();
    let elapsed = green.run(move || how(count, start_green))?;
    let after = green.counts();
    if after.spawned - before.spawned < u64::from(count) {
        return Err(ArmError::Failed(format!(
            "the runtime counted {} threads instead of {count}",
            after.spawned - before.spawned
        )));
    }
    sample(count, elapsed)
}

fn plain_calls(count: u32) -> Duration {
    let here = stack_address();
    let begun = Instant::now();
    for _ in 0..count {
        let call: Box<dyn FnOnce() + Send> = Box::new(move || note_stack(here));
        std::hint::black_box(call)();
    }
    begun.elapsed()
}

fn sample(count: u32, elapsed: Duration) -> Result<Sample, ArmError> {
    // ORDER: Relaxed, a counter; every thread that adds to it was joined before.
    let elsewhere = RAN_ELSEWHERE.load(Ordering::Relaxed);
    let count = f64::from(count);
    Ok(Sample::new()
        .with(TIME, elapsed.as_nanos() as f64 / count)
        .with(ELSEWHERE, elsewhere as f64 / count))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    fn machine(kernel: f64, green: f64, elsewhere: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.02 * f64::from(i);
            let mut add = |arm: &str, ns: f64, elsewhere: f64| {
                let sample = Sample::new()
                    .with(TIME, ns * noise)
                    .with(ELSEWHERE, elsewhere);
                samples.push(arm, sample);
            };
            add("kernel-one", kernel, 1.0);
            add("kernel-all", kernel / 2.0, 1.0);
            add("green-one", green, elsewhere);
            add("green-all", green, 1.0);
            add("call", 10.0, 0.0);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(&SpawnCost.premises(samples), &SpawnCost.judge(samples))
    }

    #[test]
    fn threads_that_run_on_the_spawners_stack_decide_nothing() {
        assert!(matches!(
            verdict(&machine(30_000.0, 300.0, 0.5)),
            Verdict::Inconclusive(reason) if reason.contains("stack of its own")
        ));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(&machine(30_000.0, 300.0, 1.0)), Verdict::Confirmed);
        assert_eq!(verdict(&machine(30_000.0, 9_000.0, 1.0)), Verdict::NotHere);
    }
}
