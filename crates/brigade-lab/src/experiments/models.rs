//! One thread of many makes a blocking call that nobody declared: who stands still?
//!
//! Under M:1 all green threads share one kernel thread, and a call that blocks it stops them all.
//! Under 1:1 each has its own. Under M:N the runtime must notice and hand the processor over; with
//! one processor there is no other worker to fall back on, so that arm shows the hand-off alone.
//!
//! The blocking call is a raw `nanosleep`: a system call that goes past the C library, so that
//! nothing can turn it into a wait of the runtime.

use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::ticker::{self, Ticks};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most};

/// The experiment.
pub(super) struct Models;

static INFO: Info = Info {
    name: "models",
    claim: "One blocking call stops every thread under M:1, and no other thread under 1:1 or M:N.",
    said_in: "operating-systems courses, under \"threading models\"",
    method: "Eight threads tick every 5 ms; a ninth makes one blocking system call that is not \
             declared to the runtime. The longest gap between two ticks of any ticker counts.",
    control: "The same tickers with nobody blocking, under M:1 and under M:N.",
    premise: "The call blocked for as long as it should, and tickers without it do not stand \
              still.",
    next: "blocking-call (calls that the runtime can see and calls that it cannot)",
};

const GAP: &str = "gap";
const BLOCKED: &str = "blocked";
const TICKS: &str = "ticks";

static METRICS: [Metric; 3] = [
    Metric::main(GAP, "longest gap", Unit::Nanoseconds),
    Metric::aside(BLOCKED, "blocked for", Unit::Nanoseconds),
    Metric::aside(TICKS, "ticks", Unit::Count),
];

const TICKERS: usize = 8;
const PERIOD: Duration = Duration::from_millis(5);
/// Ticks come before and after the call, so that a gap is seen to begin and to end.
const MARGIN: Duration = Duration::from_millis(30);

/// How long the call blocks.
fn block(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(120), Duration::from_secs(1))
}

const BLOCKED_ARMS: [&str; 4] = ["m1", "one", "mn1", "mn"];

impl Experiment for Models {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("m1", "M:1, one blocks"),
            Arm::measured("one", "1:1, one blocks"),
            Arm::measured("mn1", "M:N on 1 proc., one blocks"),
            Arm::measured("mn", "M:N, one blocks"),
            Arm::control("m1-calm", "M:1, nobody blocks"),
            Arm::control("mn-calm", "M:N, nobody blocks"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let (model, workers, blocks) = match arm {
            "m1" => (Model::ManyToOne, 1, true),
            "one" => (Model::OneToOne, probe::cpus(), true),
            "mn1" => (Model::ManyToMany, 1, true),
            "mn" => (Model::ManyToMany, probe::cpus(), true),
            "m1-calm" => (Model::ManyToOne, 1, false),
            "mn-calm" => (Model::ManyToMany, probe::cpus(), false),
            _ => return Err(unknown_arm(arm)),
        };
        let green = Green::start(model, workers)?;
        let block = block(scale);
        green.run(move || tickers_and_one_call(block, blocks))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let blocked = BLOCKED_ARMS.map(|arm| samples.summary(arm, BLOCKED));
        let shortest = blocked.iter().map(|s| s.min).fold(f64::NAN, f64::min);
        let called = blocked
            .iter()
            .all(|s| s.min >= block(Scale::Quick).as_nanos() as f64);
        let calm = ["m1-calm", "mn-calm"].map(|arm| samples.summary(arm, GAP));
        let widest = calm.iter().map(|s| s.median).fold(f64::NAN, f64::max);
        // Both controls must have samples: `fold` passes over a NaN, the comparison must not.
        let quiet = calm.iter().all(|s| s.median <= shortest / 4.0);
        vec![
            Premise::new(
                called,
                format!(
                    "the call blocked (for {} at least)",
                    show(shortest, Unit::Nanoseconds)
                ),
            ),
            Premise::new(
                quiet,
                format!(
                    "with nobody blocking no ticker stands still (longest gap {})",
                    show(widest, Unit::Nanoseconds)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let block = samples.median("m1", BLOCKED);
        let gap = |arm: &str| samples.summary(arm, GAP);
        let time = |s: &Summary| show(s.median, Unit::Nanoseconds);
        let goes_on = |arm: &str, name: &str| {
            let gap = gap(arm);
            Part::new(
                at_most(&gap, block / 4.0),
                format!("a gap of {} {name}", time(&gap)),
            )
        };
        let stops = gap("m1");
        vec![
            Part::new(
                at_least(&stops, 0.9 * block),
                format!(
                    "a gap of {} under M:1 beside a call of {}",
                    time(&stops),
                    show(block, Unit::Nanoseconds)
                ),
            ),
            goes_on("one", "under 1:1"),
            goes_on("mn1", "under M:N with one processor"),
            goes_on("mn", "under M:N"),
        ]
    }
}

/// Runs on a green thread: starts the tickers, and one thread that blocks if `blocks`.
fn tickers_and_one_call(block: Duration, blocks: bool) -> Result<Sample, ArmError> {
    let start = Instant::now();
    let end = start + MARGIN + block + MARGIN;
    let mut tickers = Vec::with_capacity(TICKERS);
    for _ in 0..TICKERS {
        tickers.push(green::spawn(move || {
            ticker::tick(start, end, PERIOD, green::sleep_until)
        })?);
    }
    let caller = green::spawn(move || {
        green::sleep_until(start + MARGIN);
        if blocks {
            block_in_kernel(block)
        } else {
            Duration::ZERO
        }
    })?;
    let panicked = || ArmError::Failed("a thread panicked".into());
    let mut ticks = Vec::with_capacity(TICKERS);
    for ticker in tickers {
        ticks.push(ticker.join().map_err(|_| panicked())?);
    }
    let blocked = caller.join().map_err(|_| panicked())?;
    Ok(worst(&ticks).with(BLOCKED, blocked.as_nanos() as f64))
}

fn worst(ticks: &[Ticks]) -> Sample {
    let gap = ticks
        .iter()
        .map(|ticks| ticks.longest_gap)
        .fold(f64::NAN, f64::max);
    let fewest = ticks.iter().map(Ticks::count).min().unwrap_or(0);
    Sample::new().with(GAP, gap).with(TICKS, fewest as f64)
}

/// Blocks the kernel thread for `time`, by a system call that passes the C library by.
fn block_in_kernel(time: Duration) -> Duration {
    let begun = Instant::now();
    let mut left = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
    begun.elapsed()
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    const MS: f64 = 1e6;

    fn machine(m1: f64, mn: f64, blocked: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, gap: f64, blocked: f64| {
                let sample = Sample::new().with(GAP, gap * noise).with(BLOCKED, blocked);
                samples.push(arm, sample);
            };
            add("m1", m1, blocked);
            add("one", 6.0 * MS, blocked);
            add("mn1", mn, blocked);
            add("mn", mn, blocked);
            add("m1-calm", 5.2 * MS, 0.0);
            add("mn-calm", 5.2 * MS, 0.0);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(&Models.premises(samples), &Models.judge(samples))
    }

    #[test]
    fn a_call_that_does_not_block_decides_nothing() {
        let verdict = verdict(&machine(6.0 * MS, 6.0 * MS, 0.1 * MS));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("blocked")));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(
            verdict(&machine(151.0 * MS, 7.0 * MS, 150.0 * MS)),
            Verdict::Confirmed
        );
        assert_eq!(
            verdict(&machine(151.0 * MS, 149.0 * MS, 150.0 * MS)),
            Verdict::NotHere
        );
        assert_eq!(
            verdict(&machine(9.0 * MS, 7.0 * MS, 150.0 * MS)),
            Verdict::NotHere
        );
    }

    #[test]
    fn the_worst_ticker_counts() {
        let start = Instant::now() - Duration::from_secs(9);
        let end = start + Duration::from_secs(3);
        let two = ticker::tick(start, end, Duration::from_secs(1), |_| ());
        let none = ticker::tick(start, start, Duration::from_secs(1), |_| ());
        let sample = worst(&[two, none]);
        assert_eq!(sample.get(TICKS), 0.0);
        assert!(sample.get(GAP) >= 9e9);
    }
}
