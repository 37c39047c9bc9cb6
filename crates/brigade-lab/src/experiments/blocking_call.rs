//! Many threads block at once, in calls of three kinds: which of them stop a ticker, and which hold a
//! kernel thread?
//!
//! `std::thread::sleep` goes through a function of the C library, which Brigade answers itself: the green
//! thread parks. A raw system call goes past the C library, and `fgetc` waits in a system call inside of
//! it: neither can be turned into a wait of the runtime. There the processor must be taken away from the
//! kernel thread that is stuck, and the call costs that kernel thread, as it would without green threads.
//!
//! All calls end at the same moment, so that under M:1, where they come one after the other, the ticker
//! stands still once and for as long as one of them takes.

use std::os::fd::{IntoRawFd, OwnedFd};
use std::time::{Duration, Instant};

use rustix::thread::{NanosleepRelativeResult, Timespec, nanosleep};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::ticker::{self, Ticks};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past};

/// The experiment.
pub(super) struct BlockingCall;

static INFO: Info = Info {
    name: "blocking-call",
    claim: "Blocking calls freeze what shares their kernel thread, the more surely inside a C \
            library where nobody can see them; threads go on, and green threads too.",
    said_in: "texts on async runtimes (\"never call blocking code\")",
    method: "A ticker is due every 5 ms; four threads per CPU block together: in \
             std::thread::sleep, in a raw system call, in the C library's fgetc. The longest gap \
             between ticks and the kernel threads of the process meanwhile count.",
    control: "fgetc under M:1, where all green threads share one kernel thread as the tasks of an \
              event loop do; and the ticker with nobody blocking.",
    premise: "Each call blocked for as long as it should, and the ticker does not stand still \
              without them.",
    next: "frozen-ticker (threads that compute instead of blocking)",
};

const GAP: &str = "gap";
const P99: &str = "p99";
const THREADS: &str = "kernel_threads";
const BLOCKED: &str = "blocked";
const BEFORE: &str = "ticks_before";

static METRICS: [Metric; 5] = [
    Metric::main(GAP, "longest gap", Unit::Nanoseconds),
    Metric::aside(P99, "late p99", Unit::Nanoseconds),
    Metric::aside(THREADS, "kernel thr.", Unit::Count),
    Metric::data(BLOCKED, "blocked for", Unit::Nanoseconds),
    Metric::data(BEFORE, "before", Unit::Count),
];

const PERIOD: Duration = Duration::from_millis(5);
/// Ticks come before the calls and after them, so that a gap is seen to begin and to end.
const LEAD: Duration = Duration::from_millis(30);
const TAIL: Duration = Duration::from_millis(10);
const CALLERS_PER_CPU: usize = 4;

/// How long the calls block.
fn block(scale: Scale) -> Duration {
    scale.pick(Duration::from_millis(100), Duration::from_secs(1))
}

/// The arms in which the ticker should go on: what runs them, what blocks, how it is spoken of.
const GO_ON: [(&str, &str); 5] = [
    ("kernel-c", "beside fgetc on kernel threads"),
    ("mn-c", "beside fgetc under M:N"),
    ("mn-raw", "beside raw system calls under M:N"),
    ("mn-std", "beside std::thread::sleep under M:N"),
    ("m1-std", "and even under M:1"),
];

impl Experiment for BlockingCall {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel-c", "kernel threads, fgetc"),
            Arm::measured("mn-c", "M:N, fgetc"),
            Arm::measured("mn-raw", "M:N, raw system call"),
            Arm::measured("mn-std", "M:N, std::thread::sleep"),
            Arm::measured("m1-std", "M:1, std::thread::sleep"),
            Arm::control("m1-c", "M:1, fgetc"),
            Arm::control("calm", "M:N, nobody blocks"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let cpus = probe::cpus();
        let (model, workers, call) = match arm {
            "kernel-c" => (Model::OneToOne, cpus, Some(Call::InC)),
            "mn-c" => (Model::ManyToMany, cpus, Some(Call::InC)),
            "mn-raw" => (Model::ManyToMany, cpus, Some(Call::Raw)),
            "mn-std" => (Model::ManyToMany, cpus, Some(Call::Std)),
            "m1-std" => (Model::ManyToOne, 1, Some(Call::Std)),
            "m1-c" => (Model::ManyToOne, 1, Some(Call::InC)),
            "calm" => (Model::ManyToMany, cpus, None),
            _ => return Err(unknown_arm(arm)),
        };
        let green = Green::start(model, workers)?;
        let callers = call.map(|call| vec![call; cpus * CALLERS_PER_CPU]);
        let block = block(scale);
        green.run(move || ticker_and_calls(&callers.unwrap_or_default(), block))
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = GO_ON.map(|(arm, _)| arm);
        let shortest = |arms: &[&str]| {
            let blocked = arms.iter().map(|arm| samples.summary(arm, BLOCKED).min);
            (blocked
                .clone()
                .all(|ns| ns >= block(Scale::Quick).as_nanos() as f64))
            .then(|| blocked.fold(f64::NAN, f64::min))
        };
        let with_control: Vec<&str> = arms.iter().copied().chain(["m1-c"]).collect();
        let blocked = shortest(&with_control);
        let before = with_control
            .iter()
            .map(|arm| samples.summary(arm, BEFORE).min);
        let ticked = before.clone().all(|ticks| ticks >= 1.0);
        let calm = samples.summary("calm", GAP).q3;
        let time = |ns| show(ns, Unit::Nanoseconds);
        vec![
            Premise::new(
                blocked.is_some(),
                format!(
                    "each call blocked as long as it should (for {} at least)",
                    time(blocked.unwrap_or(f64::NAN))
                ),
            ),
            Premise::new(
                ticked,
                format!(
                    "the ticker ticked before the calls ({} times at least)",
                    show(before.fold(f64::NAN, f64::min), Unit::Count)
                ),
            ),
            Premise::new(
                calm <= block(Scale::Quick).as_nanos() as f64 / 4.0,
                format!(
                    "with nobody blocking the ticker does not stand still (longest gap {})",
                    time(calm)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let freeze = samples.summary("m1-c", GAP);
        let time = |s: &Summary| show(s.median, Unit::Nanoseconds);
        let mut parts = vec![Part::new(
            at_least(&freeze, 0.9 * block(Scale::Quick).as_nanos() as f64),
            format!("fgetc stops the ticker for {} under M:1", time(&freeze)),
        )];
        for (arm, beside) in GO_ON {
            let gap = samples.summary(arm, GAP);
            parts.push(Part::new(
                at_most_unless_past(&gap, freeze.median / 4.0, freeze.median / 2.0),
                format!("{beside} it stops for {} at most", time(&gap)),
            ));
        }
        parts
    }
}

/// A call that blocks.
#[derive(Clone, Copy)]
enum Call {
    /// `std::thread::sleep`.
    Std,
    /// `nanosleep` by a raw system call.
    Raw,
    /// `fgetc` on a pipe that stays empty.
    InC,
}

impl Call {
    /// Blocks until `end`.
    fn until(self, end: Instant, empty: Option<OwnedFd>) -> Result<(), ArmError> {
        match self {
            Self::Std => std::thread::sleep(end.saturating_duration_since(Instant::now())),
            Self::Raw => sleep_by_raw_call(end),
            Self::InC => {
                let empty = empty.ok_or_else(|| ArmError::Failed("no pipe to read".into()))?;
                read_a_byte_in_c(empty)?;
            }
        }
        Ok(())
    }
}

fn sleep_by_raw_call(end: Instant) {
    let time = end.saturating_duration_since(Instant::now());
    let mut left = Timespec {
        tv_sec: time.as_secs() as i64,
        tv_nsec: time.subsec_nanos().into(),
    };
    while let NanosleepRelativeResult::Interrupted(rest) = nanosleep(&left) {
        left = rest;
    }
}

/// Reads one byte as a C program does; the wait happens inside the C library.
fn read_a_byte_in_c(pipe: OwnedFd) -> Result<(), ArmError> {
    let failed = |what: &str| {
        let error = std::io::Error::last_os_error();
        Err(ArmError::Failed(format!("{what}: {error}")))
    };
    // SAFETY: the descriptor is open, and belongs to the stream from here on; the mode is a C string.
    let stream = unsafe { libc::fdopen(pipe.into_raw_fd(), c"r".as_ptr()) };
    if stream.is_null() {
        return failed("fdopen");
    }
    // SAFETY: the stream is open and no other thread has it.
    let byte = unsafe { libc::fgetc(stream) };
    // SAFETY: the stream is open, is closed once, and is not used afterwards.
    unsafe { libc::fclose(stream) };
    if byte == libc::EOF {
        return failed("fgetc");
    }
    Ok(())
}

/// Runs on a green thread: starts the ticker, and a thread for each of `calls`.
fn ticker_and_calls(calls: &[Call], block: Duration) -> Result<Sample, ArmError> {
    let start = Instant::now();
    let from = start + LEAD;
    let until = from + block;
    let ticker = green::spawn(move || {
        let lead = ticker::tick(start, from, PERIOD, green::sleep_until);
        let ticks = ticker::tick(from, until + TAIL, PERIOD, green::sleep_until);
        (lead.count(), ticks)
    })?;
    let mut writers = Vec::new();
    let mut callers = Vec::with_capacity(calls.len());
    for call in calls {
        let mut empty = None;
        if matches!(call, Call::InC) {
            let (reader, writer) = std::io::pipe()?;
            empty = Some(OwnedFd::from(reader));
            writers.push(writer);
        }
        let call = *call;
        callers.push(green::spawn(move || {
            green::sleep_until(from);
            let begun = Instant::now();
            call.until(until, empty).map(|()| (begun, begun.elapsed()))
        })?);
    }
    let writer = std::thread::Builder::new().spawn(move || write_at(until, writers))?;
    green::sleep_until(from + block / 2);
    let threads = probe::memory()?.threads;
    let panicked = |_| ArmError::Failed("a thread panicked".into());
    let mut shortest = Duration::MAX;
    for caller in callers {
        let (begun, blocked) = caller.join().map_err(panicked)??;
        // Under M:1 only the first call has the whole time before it.
        let late = begun.saturating_duration_since(from);
        shortest = shortest.min(blocked + late);
    }
    let (before, ticks) = ticker.join().map_err(panicked)?;
    writer.join().map_err(panicked)??;
    Ok(sample(before, &ticks, threads, shortest))
}

/// On a kernel thread of its own: writes a byte to each pipe at `time`.
fn write_at(time: Instant, pipes: Vec<std::io::PipeWriter>) -> std::io::Result<()> {
    use std::io::Write;
    std::thread::sleep(time.saturating_duration_since(Instant::now()));
    pipes
        .into_iter()
        .try_for_each(|mut pipe| pipe.write_all(&[1]))
}

fn sample(before: usize, ticks: &Ticks, threads: u64, blocked: Duration) -> Sample {
    let blocked = match blocked {
        Duration::MAX => f64::NAN,
        blocked => blocked.as_nanos() as f64,
    };
    Sample::new()
        .with(GAP, ticks.longest_gap)
        .with(P99, ticks.p99())
        .with(THREADS, threads as f64)
        .with(BLOCKED, blocked)
        .with(BEFORE, before as f64)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    const MS: f64 = 1e6;

    fn machine(m1: f64, mn: f64, blocked: f64, before: f64, calm: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, gap: f64| {
                let sample = Sample::new()
                    .with(GAP, gap * noise)
                    .with(BLOCKED, blocked)
                    .with(BEFORE, before);
                samples.push(arm, sample);
            };
            for (arm, _) in GO_ON {
                add(arm, if arm == "mn-c" { mn } else { 7.0 * MS });
            }
            add("m1-c", m1);
            add("calm", calm);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(
            &BlockingCall.premises(samples),
            &BlockingCall.judge(samples),
        )
    }

    fn inconclusive_for(samples: &Samples, word: &str) {
        assert_inconclusive(&verdict(samples), word);
    }

    #[test]
    fn calls_that_do_not_block_decide_nothing() {
        let samples = machine(101.0 * MS, 7.0 * MS, 0.2 * MS, 5.0, 6.0 * MS);
        inconclusive_for(&samples, "each call blocked");
    }

    #[test]
    fn a_ticker_that_never_ticked_before_the_calls_decides_nothing() {
        let samples = machine(101.0 * MS, 7.0 * MS, 100.0 * MS, 0.0, 6.0 * MS);
        inconclusive_for(&samples, "before the calls");
    }

    #[test]
    fn a_ticker_that_stands_still_by_itself_decides_nothing() {
        let samples = machine(101.0 * MS, 7.0 * MS, 100.0 * MS, 5.0, 60.0 * MS);
        inconclusive_for(&samples, "nobody blocking");
    }

    #[test]
    fn gaps_that_other_programs_explain_are_noise() {
        let verdict = verdict(&machine(101.0 * MS, 36.0 * MS, 100.0 * MS, 5.0, 6.0 * MS));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.starts_with("noise")));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        let machine = |m1: f64, mn: f64| machine(m1 * MS, mn * MS, 100.0 * MS, 5.0, 6.0 * MS);
        assert_eq!(verdict(&machine(101.0, 7.0)), Verdict::Confirmed);
        assert_eq!(verdict(&machine(101.0, 99.0)), Verdict::NotHere);
        assert_eq!(verdict(&machine(9.0, 2.0)), Verdict::NotHere);
    }

    #[test]
    fn each_call_blocks_until_the_end() {
        for call in [Call::Std, Call::Raw, Call::InC] {
            let end = Instant::now() + Duration::from_millis(2);
            let (reader, writer) = std::io::pipe().expect("a pipe");
            let kept = reader.try_clone().expect("a second descriptor");
            let writing = std::thread::spawn(move || write_at(end, vec![writer]));
            call.until(end, Some(reader.into())).expect("the call ends");
            assert!(Instant::now() >= end);
            writing.join().expect("no panic").expect("written");
            drop(kept);
        }
    }
}
