//! The published benchmark of a context switch, and what it really measures.
//!
//! One thread writes bytes into a pipe, one at a time, another one reads them; the time is divided by the
//! bytes and called the cost of a switch. But the pipe holds 64 KiB: the writer need not wait for the reader,
//! and the kernel switches when it has a reason to, not at each byte. So the number is that of two system
//! calls, and in Python of the interpreter and its lock.
//!
//! The kernel counts the switches of every thread. The verdict rests on that count alone, which other
//! programs disturb little, and not on times.

use std::io::{Read, Write, pipe};
use std::thread;
use std::time::Instant;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Axis, Bar, Content, Figure};
use crate::probe;
use crate::python;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::turns::{Alone, Side};
use crate::units::{Unit, counted, show};
use crate::verdict::{Part, Premise, Tendency};

/// The experiment.
pub(super) struct PipeBenchmark;

static INFO: Info = Info {
    name: "pipe-benchmark",
    claim: "Bytes that one thread writes into a pipe, one at a time, and another one reads, measure \
            a context switch each: 4.9 µs.",
    said_in: "texts on the GIL and event loops, with a Python program of one pipe in one direction",
    method: "The benchmark as published, by Python's threads and natively, on any CPU and on one. \
             The kernel's count of switches is read beside the clock.",
    control: "Strict turns through two pipes on one CPU, where each byte must make a switch; and the \
              same two calls by one thread alone, which make none.",
    premise: "All bytes arrived; strict turns made a switch for each byte, the calls alone none.",
    next: "context-switch (what a switch costs, by a count of switches)",
};

const TIME: &str = "ns";
/// For a thousand bytes.
const SWITCHES: &str = "switches";
const EACH: &str = "each";
const ARRIVED: &str = "arrived";

static METRICS: [Metric; 4] = [
    Metric::main(TIME, "a byte", Unit::Nanoseconds),
    Metric::aside(SWITCHES, "sw. / 1,000", Unit::Count),
    Metric::aside(EACH, "per switch", Unit::Nanoseconds),
    Metric::data(ARRIVED, "arrived", Unit::Share),
];

/// The arms of this program that the claim is about.
const NATIVE: [(&str, &str); 2] = [("any", "on any CPU"), ("one", "on one CPU")];
const STRICT: &str = "strict";
const ALONE: &str = "alone";

/// Fewer switches for a thousand bytes than this are not one for each.
const TOO_FEW: f64 = 500.0;

const SCRIPT: &str = "
import os, resource, signal, sys, threading, time
signal.alarm(20)
count = int(sys.argv[1])
arrived = 0
def run(count):
    global arrived
    r, w = os.pipe()
    def writer():
        for _ in range(count):
            os.write(w, b'x')
        os.close(w)
    def reader():
        global arrived
        while os.read(r, 1):
            arrived += 1
        os.close(r)
    threads = [threading.Thread(target=writer), threading.Thread(target=reader)]
    for t in threads:
        t.start()
    for t in threads:
        t.join()
def switches():
    usage = resource.getrusage(resource.RUSAGE_SELF)
    return usage.ru_nvcsw + usage.ru_nivcsw
run(200)
arrived = 0
before, begun = switches(), time.perf_counter()
run(count)
took, made = time.perf_counter() - begun, switches() - before
print('ns', took / count * 1e9)
print('switches', made / count * 1000)
if made:
    print('each', took / made * 1e9)
print('arrived', arrived / count)
print('version', sys.version_info[0] * 1000 + sys.version_info[1])
";

impl Experiment for PipeBenchmark {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, scale: Scale) -> Vec<Arm> {
        let mut arms = python::arms(scale, "one way", &[]);
        arms.extend([
            Arm::measured("any", "native, one way"),
            Arm::measured("one", "native, one way, one CPU"),
            Arm::control(STRICT, "strict turns, one CPU"),
            Arm::control(ALONE, "the same calls, alone"),
        ]);
        arms
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        if python::is_arm(arm) {
            let count: u32 = scale.pick(20_000, 200_000);
            return python::run(arm, SCRIPT, &[count.to_string()]);
        }
        let count = scale.pick(50_000, 500_000);
        if arm != "any" {
            probe::pin_to_one_cpu()?;
        }
        match arm {
            "any" | "one" => one_way(count),
            STRICT => strict_turns(count / 4),
            ALONE => alone(count),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let mut arrived: Vec<f64> = NATIVE
            .iter()
            .map(|(arm, _)| *arm)
            .chain([STRICT, ALONE])
            .map(|arm| samples.summary(arm, ARRIVED).min)
            .collect();
        let pythons = python::measured(samples).into_iter();
        arrived.extend(pythons.map(|(arm, _)| samples.summary(&arm, ARRIVED).min));
        let strict = samples.summary(STRICT, SWITCHES);
        let alone = samples.summary(ALONE, SWITCHES).median;
        vec![
            Premise::new(
                arrived.iter().all(|share| *share == 1.0),
                format!(
                    "all bytes arrived ({} at least)",
                    show(
                        arrived.iter().copied().fold(f64::NAN, f64::min),
                        Unit::Share
                    )
                ),
            ),
            Premise::new(
                strict.min >= 950.0 && strict.median <= 1_500.0,
                format!(
                    "strict turns made a switch for each byte ({} for 1,000)",
                    show(strict.median, Unit::Count)
                ),
            ),
            Premise::new(
                alone <= 50.0,
                format!(
                    "the calls alone made no switches ({} for 1,000 bytes)",
                    show(alone, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let time = |arm: &str| show(samples.median(arm, TIME), Unit::Nanoseconds);
        let part = |arm: &str, who: &str| {
            let switches = samples.summary(arm, SWITCHES);
            let text = format!(
                "{who}: {} for 1,000 bytes of {} each",
                counted(switches.median, "switch", "switches"),
                time(arm)
            );
            Part::new(one_each(&switches), text)
        };
        let mut parts: Vec<Part> = python::measured(samples)
            .iter()
            .map(|(arm, name)| part(arm, name))
            .collect();
        parts.extend(NATIVE.map(|(arm, who)| part(arm, &format!("natively {who}"))));
        if let Some(last) = parts.last_mut() {
            let switch = samples.median(STRICT, TIME) - samples.median(ALONE, TIME);
            last.text += &format!(
                "; the two calls alone take {}, and a switch by strict turns {} more",
                time(ALONE),
                show(switch, Unit::Nanoseconds)
            );
        }
        parts
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let bar = |arm: &str, label: &str| Bar::of(label, &samples.summary(arm, SWITCHES));
        let mut bars: Vec<Bar> = python::measured(samples)
            .iter()
            .filter_map(|(arm, name)| bar(arm, &format!("{name}, one way")))
            .collect();
        bars.extend(
            NATIVE
                .iter()
                .filter_map(|(arm, who)| bar(arm, &format!("one way, {who}"))),
        );
        bars.extend(bar(STRICT, "strict turns"));
        bars.extend(bar(ALONE, "alone"));
        if bars.is_empty() {
            return Vec::new();
        }
        let axis = Axis::linear("switches for 1,000 bytes", Unit::Count);
        let title =
            "How often the kernel switched for 1,000 bytes; the benchmark takes it for 1,000";
        vec![Figure::new(title, Content::Bars { axis, bars })]
    }
}

/// Did each byte make a switch? Not if there was less than one for every two bytes; what lies between is left
/// open.
fn one_each(switches: &Summary) -> Tendency {
    if switches.q1 >= 900.0 && switches.q3 <= 1_500.0 {
        Tendency::Holds
    } else if switches.q3 < TOO_FEW {
        Tendency::Fails
    } else {
        Tendency::Unclear
    }
}

/// What `work` takes and how often this process is switched away from meanwhile, for each of `count` bytes;
/// `work` says how many of them arrived.
fn per_byte(count: u32, work: impl FnOnce() -> Result<u32, ArmError>) -> Result<Sample, ArmError> {
    let before = probe::switches();
    let begun = Instant::now();
    let arrived = work()?;
    let ns = begun.elapsed().as_nanos() as f64;
    let switches = probe::switches() - before;
    let count = f64::from(count);
    Ok(Sample::new()
        .with(TIME, ns / count)
        .with(SWITCHES, switches / count * 1e3)
        .with(EACH, ns / switches)
        .with(ARRIVED, f64::from(arrived) / count))
}

fn other_side_panicked<T>(_: T) -> ArmError {
    ArmError::Failed("the other side panicked".into())
}

/// As published.
fn one_way(count: u32) -> Result<Sample, ArmError> {
    let (mut input, mut output) = pipe()?;
    per_byte(count, || {
        let writer = thread::Builder::new()
            .spawn(move || (0..count).try_for_each(|_| output.write_all(b"x")))?;
        let mut arrived = 0;
        while input.read(&mut [0])? == 1 {
            arrived += 1;
        }
        writer.join().map_err(other_side_panicked)??;
        Ok(arrived)
    })
}

/// Each side waits for the other one's byte: `rounds` bytes in each direction.
fn strict_turns(rounds: u32) -> Result<Sample, ArmError> {
    let (mut here, mut there) = Side::pair(0)?;
    let other = thread::Builder::new().spawn(move || there.answer())?;
    let sample = per_byte(2 * rounds, || {
        let mut arrived = 0;
        for _ in 0..rounds {
            here.round()?;
            arrived += 2;
        }
        Ok(arrived)
    });
    drop(here);
    other.join().map_err(other_side_panicked)?;
    sample
}

/// A write and a read for each byte, by one thread.
fn alone(count: u32) -> Result<Sample, ArmError> {
    let mut alone = Alone::with_own(0)?;
    per_byte(count, || {
        let mut arrived = 0;
        for _ in 0..count / 2 {
            alone.round()?;
            arrived += 2;
        }
        Ok(arrived)
    })
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    #[derive(Clone, Copy)]
    struct Machine {
        one_way: f64,
        noise: f64,
        strict: f64,
        alone: f64,
        arrived: f64,
    }

    const AS_CLAIMED: Machine = Machine {
        one_way: 1.0,
        noise: 0.01,
        strict: 1.0,
        alone: 0.0,
        arrived: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for i in 0..5 {
                let noise = 1.0 + self.noise * f64::from(i);
                let mut add = |arm: &str, switches: f64, arrived: f64| {
                    let sample = Sample::new()
                        .with(TIME, 2_000.0)
                        .with(SWITCHES, switches * 1e3)
                        .with(ARRIVED, arrived)
                        .with(python::VERSION, 3_011.0);
                    samples.push(arm, sample);
                };
                for arm in ["any", "one", "python:/usr/bin/python3"] {
                    add(arm, self.one_way * noise, self.arrived);
                }
                add(STRICT, self.strict, 1.0);
                add(ALONE, self.alone, 1.0);
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &PipeBenchmark.premises(&samples),
                &PipeBenchmark.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(AS_CLAIMED.verdict(), Verdict::Confirmed);
        let buffered = Machine {
            one_way: 0.004,
            ..AS_CLAIMED
        };
        assert_eq!(buffered.verdict(), Verdict::NotHere);
    }

    #[test]
    fn one_of_several_ways_that_does_not_switch_is_enough() {
        let mut samples = AS_CLAIMED.samples();
        let key = "python:/usr/bin/python3.9";
        for _ in 0..5 {
            let sample = Sample::new()
                .with(SWITCHES, 260.0)
                .with(ARRIVED, 1.0)
                .with(python::VERSION, 3_009.0);
            samples.push(key, sample);
        }
        let parts = PipeBenchmark.judge(&samples);
        let premises = PipeBenchmark.premises(&samples);
        assert_eq!(decide(&premises, &parts), Verdict::NotHere);
        let failing = parts.iter().find(|part| part.tendency == Tendency::Fails);
        let text = &failing.unwrap().text;
        assert!(text.starts_with("Python 3.9: 260 switches"), "{text}");
    }

    #[test]
    fn a_ping_pong_that_does_not_switch_decides_nothing() {
        let planted = Machine {
            strict: 0.26,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "260 for 1,000");
    }

    #[test]
    fn bytes_that_were_lost_decide_nothing() {
        let planted = Machine {
            arrived: 0.99,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "99 % at least");
    }

    #[test]
    fn calls_that_switch_by_themselves_decide_nothing() {
        let planted = Machine {
            alone: 0.7,
            ..AS_CLAIMED
        };
        assert_inconclusive(&planted.verdict(), "alone made no switches");
    }

    #[test]
    fn a_switch_for_some_bytes_and_not_for_others_is_left_open() {
        let between = Machine {
            one_way: 0.7,
            noise: 0.1,
            ..AS_CLAIMED
        };
        assert_inconclusive(&between.verdict(), "noise");
    }

    #[test]
    fn every_byte_arrives_and_strict_turns_switch_for_each() {
        assert_eq!(one_way(2_000).unwrap().get(ARRIVED), 1.0);
        let strict = thread::spawn(|| {
            probe::pin_to_one_cpu()?;
            strict_turns(500)
        });
        let strict = strict.join().unwrap().unwrap();
        assert_eq!(strict.get(ARRIVED), 1.0);
        assert!(strict.get(SWITCHES) >= 950.0, "{strict:?}");
    }
}
