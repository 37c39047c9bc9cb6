//! Threads that compute without a pause, beside one that should tick.
//!
//! The published program for this shows no tick at all: its ticker is started after the computation
//! and cancelled before its first turn. Here the ticker ticks for a while before the computation
//! begins, and its times are fixed in advance, so a freeze shows as one gap and as the lateness of
//! every tick that was due in it.

use std::time::{Duration, Instant};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::ticker::{self, Ticks};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most};

/// The experiment.
pub(super) struct FrozenTicker;

static INFO: Info = Info {
    name: "frozen-ticker",
    claim: "A task that computes without a pause freezes everything else on its event loop; \
            threads go on.",
    said_in: "texts on event loops and async runtimes (\"never block the loop\")",
    method: "A ticker is due every 5 ms; after some ticks, four threads per CPU start to compute \
             without a pause. Its longest gap and the lateness of its ticks count.",
    control: "Green threads under M:1, which share one kernel thread as the tasks of an event loop \
              do; and the ticker without any computation.",
    premise: "The ticker ticked before the computation, and the computation used the CPUs.",
    next: "io-bound (threads that wait instead of computing)",
};

const GAP: &str = "gap";
const P99: &str = "p99";
const LATEST: &str = "latest";
const BUSY: &str = "busy";
const BEFORE: &str = "ticks_before";

static METRICS: [Metric; 5] = [
    Metric::main(GAP, "longest gap", Unit::Nanoseconds),
    Metric::aside(P99, "late p99", Unit::Nanoseconds),
    Metric::aside(LATEST, "latest", Unit::Nanoseconds),
    Metric::data(BUSY, "CPUs busy", Unit::Share),
    Metric::data(BEFORE, "before", Unit::Count),
];

const PERIOD: Duration = Duration::from_millis(5);
/// Ticks come before the computation starts, to show that the ticker runs.
const LEAD: Duration = Duration::from_millis(30);
const HOGS_PER_CPU: usize = 4;

/// How long the computation lasts.
fn hogging(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(250), Duration::from_secs(3))
}

impl Experiment for FrozenTicker {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel", "kernel threads"),
            Arm::measured("green", "green threads, M:N"),
            Arm::control("loop", "green threads, M:1"),
            Arm::control("calm", "green M:N, no computation"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let cpus = probe::cpus();
        let plan = Plan::new(hogging(scale), cpus * HOGS_PER_CPU);
        let calm = Plan { hogs: 0, ..plan };
        match arm {
            "kernel" => plan.carry_out_on_kernel_threads(cpus),
            "green" => plan.carry_out_on_green_threads(Model::ManyToMany, cpus),
            "loop" => plan.carry_out_on_green_threads(Model::ManyToOne, 1),
            "calm" => calm.carry_out_on_green_threads(Model::ManyToMany, cpus),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = ["kernel", "green", "loop"];
        let before = arms.map(|arm| samples.summary(arm, BEFORE).min);
        let busy = arms.map(|arm| samples.summary(arm, BUSY).median);
        let calm = samples.median("calm", GAP);
        let least = |values: [f64; 3]| values.into_iter().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                before.iter().all(|ticks| *ticks >= 1.0),
                format!(
                    "the ticker ticked before the computation ({} times at least)",
                    show(least(before), Unit::Count)
                ),
            ),
            Premise::new(
                busy.iter().all(|share| *share >= 0.5),
                format!(
                    "the computation had the CPUs it could use ({} of them at least)",
                    show(least(busy), Unit::Share)
                ),
            ),
            Premise::new(
                calm <= hogging(Scale::Quick).as_nanos() as f64 / 4.0,
                format!(
                    "without computation the ticker does not stand still (longest gap {})",
                    show(calm, Unit::Nanoseconds)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let freeze = samples.summary("loop", GAP);
        let time = |s: &Summary| show(s.median, Unit::Nanoseconds);
        let goes_on = |arm: &str, name: &str| {
            let gap = samples.summary(arm, GAP);
            let p99 = samples.summary(arm, P99);
            Part::new(
                at_most(&gap, freeze.median / 4.0),
                format!("on {name} at most {} (late p99 {})", time(&gap), time(&p99)),
            )
        };
        vec![
            Part::new(
                at_least(&freeze, 0.9 * hogging(Scale::Quick).as_nanos() as f64),
                format!("the ticker stands still for {} on one loop", time(&freeze)),
            ),
            goes_on("kernel", "kernel threads"),
            goes_on("green", "green threads"),
        ]
    }
}

/// What one run does and when.
#[derive(Clone, Copy)]
struct Plan {
    start: Instant,
    hog_from: Instant,
    end: Instant,
    hogs: usize,
}

impl Plan {
    fn new(hogging: Duration, hogs: usize) -> Self {
        let start = Instant::now();
        let hog_from = start + LEAD;
        Self {
            start,
            hog_from,
            end: hog_from + hogging,
            hogs,
        }
    }

    /// Starts over: a runtime that takes long to start must not eat into the plan.
    fn starting_now(self) -> Self {
        Self::new(self.end - self.hog_from, self.hogs)
    }

    fn carry_out_on_kernel_threads(self, cpus: usize) -> Result<Sample, ArmError> {
        let plan = self.starting_now();
        let sleep = |due: Instant| {
            std::thread::sleep(due.saturating_duration_since(Instant::now()));
        };
        let panicked = |_| ArmError::Failed("a thread panicked".into());
        let ticker = std::thread::spawn(move || plan.ticks(sleep));
        let hogs: Vec<_> = (0..plan.hogs)
            .map(|_| std::thread::spawn(move || plan.hog(sleep)))
            .collect();
        let before = plan.cpu_when_hogs_begin(sleep);
        let ticks = ticker.join().map_err(panicked)?;
        let used = probe::cpu_time_ns() - before;
        hogs.into_iter()
            .try_for_each(|hog| hog.join().map_err(panicked))?;
        Ok(plan.sample(&ticks, used, cpus))
    }

    fn carry_out_on_green_threads(self, model: Model, cpus: usize) -> Result<Sample, ArmError> {
        let green = Green::start(model, cpus)?;
        green.run(move || {
            let plan = self.starting_now();
            let panicked = |_| ArmError::Failed("a green thread panicked".into());
            let ticker = green::spawn(move || plan.ticks(green::sleep_until))?;
            let mut hogs = Vec::with_capacity(plan.hogs);
            for _ in 0..plan.hogs {
                hogs.push(green::spawn(move || plan.hog(green::sleep_until))?);
            }
            let before = plan.cpu_when_hogs_begin(green::sleep_until);
            let ticks = ticker.join().map_err(panicked)?;
            let used = probe::cpu_time_ns() - before;
            hogs.into_iter()
                .try_for_each(|hog| hog.join().map_err(panicked))?;
            Ok(plan.sample(&ticks, used, cpus))
        })
    }

    fn ticks(self, sleep_until: impl Fn(Instant)) -> (usize, Ticks) {
        let lead = ticker::tick(self.start, self.hog_from, PERIOD, &sleep_until);
        (
            lead.count(),
            ticker::tick(self.hog_from, self.end, PERIOD, &sleep_until),
        )
    }

    fn hog(self, sleep_until: impl Fn(Instant)) {
        sleep_until(self.hog_from);
        let mut x = 1_u64;
        while Instant::now() < self.end {
            for _ in 0..1_000 {
                x = std::hint::black_box(x.wrapping_mul(0x9e37_79b9_7f4a_7c15).rotate_left(7));
            }
        }
    }

    /// CPU time used so far. Read before the hogs begin: afterwards this thread may not get a turn.
    fn cpu_when_hogs_begin(self, sleep_until: impl Fn(Instant)) -> f64 {
        sleep_until(self.hog_from - LEAD / 3);
        probe::cpu_time_ns()
    }

    fn sample(self, (before, ticks): &(usize, Ticks), cpu_ns: f64, cpus: usize) -> Sample {
        let usable = (self.end - self.hog_from).as_nanos() as f64 * cpus as f64;
        Sample::new()
            .with(GAP, ticks.longest_gap)
            .with(P99, ticks.p99())
            .with(LATEST, ticks.latest())
            .with(BUSY, cpu_ns / usable)
            .with(BEFORE, *before as f64)
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    const MS: f64 = 1e6;

    fn machine(on_loop: f64, green: f64, busy: f64, before: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, gap: f64, busy: f64| {
                let sample = Sample::new()
                    .with(GAP, gap * noise)
                    .with(BUSY, busy)
                    .with(BEFORE, before);
                samples.push(arm, sample);
            };
            add("kernel", 9.0 * MS, busy);
            add("green", green, busy);
            add("loop", on_loop, 1.0);
            add("calm", 5.1 * MS, 0.0);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(
            &FrozenTicker.premises(samples),
            &FrozenTicker.judge(samples),
        )
    }

    #[test]
    fn a_ticker_that_never_ticked_before_the_computation_decides_nothing() {
        let verdict = verdict(&machine(300.0 * MS, 9.0 * MS, 0.9, 0.0));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("before")));
    }

    #[test]
    fn hogs_that_do_not_hog_decide_nothing() {
        let verdict = verdict(&machine(300.0 * MS, 9.0 * MS, 0.1, 5.0));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("CPUs")));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(
            verdict(&machine(301.0 * MS, 9.0 * MS, 0.9, 5.0)),
            Verdict::Confirmed
        );
        assert_eq!(
            verdict(&machine(301.0 * MS, 290.0 * MS, 0.9, 5.0)),
            Verdict::NotHere
        );
        assert_eq!(
            verdict(&machine(40.0 * MS, 9.0 * MS, 0.9, 5.0)),
            Verdict::NotHere
        );
    }
}
