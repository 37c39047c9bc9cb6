//! What a switch between kernel threads costs, and one between green threads.
//!
//! Two kernel threads on one CPU hand a byte back and forth through two pipes, so that neither can
//! go on before the other ran: a round trip is two switches. The published form of this measurement
//! uses one pipe in one direction; the pipe's buffer of 64 KiB then lets the writer run ahead, and
//! it makes about one switch in four of those it divides by. So the kernel's own count of switches
//! is read before and after, on both threads, and the cost is divided by that count.
//!
//! The controls make the same system calls on one thread, where nothing can switch; their time is
//! subtracted.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::sync::Arc;
use std::sync::atomic::{AtomicU32, Ordering};
use std::thread;
use std::time::Instant;

use rustix::thread::futex;

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, fails_only_if, times_larger, within};

/// The experiment.
pub(super) struct ContextSwitch;

static INFO: Info = Info {
    name: "context-switch",
    claim: "A switch between kernel threads costs 1 to 10 µs; one between green threads \
            costs at least ten times less.",
    said_in: "most introductions to threads and event loops, as \"1-10 µs\" against \"nanoseconds\"",
    method: "Two threads on one CPU take strict turns, through two pipes and through a futex; the \
             kernel's count of switches is read on both. Two green threads on one processor \
             yield to each other; the runtime counts.",
    control: "The same system calls by one thread alone, which cannot switch; their time is \
              subtracted.",
    premise: "Every round trip makes two switches, and the controls make none.",
    next: "spawn-cost (what it costs to start a thread instead of switching to one)",
};

const TIME: &str = "ns";
const SWITCHES: &str = "switches";
const GIVEN: &str = "given";

static METRICS: [Metric; 3] = [
    Metric::main(TIME, "time", Unit::Nanoseconds),
    Metric::aside(SWITCHES, "switches", Unit::Count),
    Metric::data(GIVEN, "CPU given", Unit::Share),
];

/// The claim is made in whole microseconds, and so it is judged: this rounds to 1 µs.
const SHORTEST: f64 = 500.0;
/// The longest time that rounds to 10 µs.
const LONGEST: f64 = 10_500.0;

/// The share of its time for which a pair that counts against the claim had the CPU: where other programs had it, a
/// turn takes as long as theirs.
const ENOUGH: f64 = 0.9;

/// Round trips before the measurement starts.
const WARM_UP: u32 = 1_000;

impl Experiment for ContextSwitch {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("pipe", "two pipes, round trip"),
            Arm::control("self-pipe", "same calls, alone"),
            Arm::measured("futex", "futex, round trip"),
            Arm::control("self-futex", "same calls, alone"),
            Arm::measured("green", "green yield, round trip"),
            Arm::derived("kernel-pipe", "= kernel switch (pipes)"),
            Arm::derived("kernel-futex", "= kernel switch (futex)"),
            Arm::derived("green-switch", "= green switch"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let rounds = scale.pick(20_000, 200_000);
        match arm {
            "pipe" => by_pipes(rounds),
            "self-pipe" => pipe_alone(rounds),
            "futex" => by_futex(rounds),
            "self-futex" => futex_alone(rounds),
            "green" => by_green_yield(scale.pick(1_000_000, 10_000_000)),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn derive(&self, samples: &mut Samples) {
        let pairs = [
            ("kernel-pipe", "pipe", Some("self-pipe")),
            ("kernel-futex", "futex", Some("self-futex")),
            ("green-switch", "green", None),
        ];
        for (derived, arm, control) in pairs {
            for i in 0..samples.of(arm).len() {
                let round = &samples.of(arm)[i];
                let idle = match control.map(|control| samples.of(control).get(i)) {
                    Some(None) => break,
                    Some(Some(control)) => control.get(TIME),
                    None => 0.0,
                };
                let one = (round.get(TIME) - idle) / round.get(SWITCHES);
                samples.push(derived, Sample::new().with(TIME, one));
            }
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let two = |arm: &str, what: &str| {
            let counted = samples.summary(arm, SWITCHES);
            // A loaded machine takes the CPU away from a pair now and then. The claim is judged by the middle half of
            // the repeats, so that must be clean, and not the one that is spoilt.
            let text = format!(
                "each round trip {what} makes two switches (counted {} to {} in the middle half of the repeats)",
                show(counted.q1, Unit::Count),
                show(counted.q3, Unit::Count)
            );
            Premise::new(counted.q1 >= 1.9 && counted.q3 <= 3.0, text)
        };
        let none = |arm: &str, what: &str| {
            let counted = samples.summary(arm, SWITCHES);
            let text = format!(
                "{what} alone make no switches (counted {} per round)",
                show(counted.median, Unit::Count)
            );
            Premise::new(counted.median <= 0.05, text)
        };
        vec![
            two("pipe", "through pipes"),
            two("futex", "through the futex"),
            two("green", "of green threads"),
            none("self-pipe", "the pipe calls"),
            none("self-futex", "the futex calls"),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let kernel = samples.summary("kernel-pipe", TIME);
        let futex = samples.summary("kernel-futex", TIME);
        let green = samples.summary("green-switch", TIME);
        let time = |ns| show(ns, Unit::Nanoseconds);
        let given = ["pipe", "self-pipe", "green"].map(|arm| samples.median(arm, GIVEN));
        let given = given.iter().all(|share| *share >= ENOUGH);
        vec![
            Part::new(
                fails_only_if(given, within(&kernel, SHORTEST, LONGEST)),
                format!(
                    "a kernel switch costs {} by pipes, {} by futex",
                    time(kernel.median),
                    time(futex.median)
                ),
            ),
            Part::new(
                fails_only_if(given, times_larger(&kernel, &green, 10.0)),
                format!(
                    "a green switch costs {}, {} times less",
                    time(green.median),
                    show(kernel.median / green.median, Unit::Count)
                ),
            ),
        ]
    }
}

/// One side of a strict exchange: `turn` waits for the other side and hands over to it.
trait Turns: Send + 'static {
    /// Takes one turn.
    fn turn(&mut self) -> Result<(), ArmError>;
}

/// Runs both sides on one CPU and reports time and counted switches per round trip.
fn exchange(rounds: u32, mut here: impl Turns, mut there: impl Turns) -> Result<Sample, ArmError> {
    probe::pin_to_one_cpu()?;
    let other = thread::spawn(move || -> Result<u64, ArmError> {
        repeat(WARM_UP, || there.turn())?;
        let before = probe::switches_of_this_thread()?;
        repeat(rounds, || there.turn())?;
        Ok(probe::switches_of_this_thread()? - before)
    });
    repeat(WARM_UP, || here.turn())?;
    let before = probe::switches_of_this_thread()?;
    let clock = Clock::start();
    repeat(rounds, || here.turn())?;
    let taken = clock.stop();
    let own = probe::switches_of_this_thread()? - before;
    // The last switch to the other side belongs to nobody's round; joining comes after the clock.
    let theirs = other
        .join()
        .map_err(|_| ArmError::Failed("the other side panicked".into()))??;
    Ok(per_round(rounds, taken, (own + theirs) as f64))
}

fn repeat(times: u32, mut turn: impl FnMut() -> Result<(), ArmError>) -> Result<(), ArmError> {
    (0..times).try_for_each(|_| turn())
}

/// The time and the CPU time of this process, from one moment on.
struct Clock {
    cpu_ns: f64,
    begun: Instant,
}

/// What passed of both.
struct Taken {
    ns: f64,
    cpu_ns: f64,
}

impl Clock {
    fn start() -> Self {
        Self {
            cpu_ns: probe::cpu_time_ns(),
            begun: Instant::now(),
        }
    }

    fn stop(self) -> Taken {
        Taken {
            ns: self.begun.elapsed().as_nanos() as f64,
            cpu_ns: probe::cpu_time_ns() - self.cpu_ns,
        }
    }
}

fn per_round(rounds: u32, taken: Taken, switches: f64) -> Sample {
    let rounds = f64::from(rounds);
    Sample::new()
        .with(TIME, taken.ns / rounds)
        .with(SWITCHES, switches / rounds)
        .with(GIVEN, taken.cpu_ns / taken.ns)
}

/// One side of the exchange by pipes. The side that leads writes first.
struct PipeSide {
    leads: bool,
    input: PipeReader,
    output: PipeWriter,
}

impl Turns for PipeSide {
    fn turn(&mut self) -> Result<(), ArmError> {
        let mut byte = [0];
        if self.leads {
            self.output.write_all(&byte)?;
            self.input.read_exact(&mut byte)?;
        } else {
            self.input.read_exact(&mut byte)?;
            self.output.write_all(&byte)?;
        }
        Ok(())
    }
}

fn by_pipes(rounds: u32) -> Result<Sample, ArmError> {
    let (from_there, to_here) = pipe()?;
    let (from_here, to_there) = pipe()?;
    exchange(
        rounds,
        PipeSide {
            leads: true,
            input: from_there,
            output: to_there,
        },
        PipeSide {
            leads: false,
            input: from_here,
            output: to_here,
        },
    )
}

/// Two writes and two reads per round on a pipe to itself, as in a round trip.
fn pipe_alone(rounds: u32) -> Result<Sample, ArmError> {
    let (input, output) = pipe()?;
    let mut side = PipeSide {
        leads: true,
        input,
        output,
    };
    alone(rounds, || {
        side.turn()?;
        side.turn()
    })
}

fn alone(rounds: u32, mut round: impl FnMut() -> Result<(), ArmError>) -> Result<Sample, ArmError> {
    probe::pin_to_one_cpu()?;
    repeat(WARM_UP, &mut round)?;
    let before = probe::switches_of_this_thread()?;
    let clock = Clock::start();
    repeat(rounds, &mut round)?;
    let taken = clock.stop();
    let switches = probe::switches_of_this_thread()? - before;
    Ok(per_round(rounds, taken, switches as f64))
}

/// One side of the exchange by futex. The word holds whose turn it is.
struct FutexSide {
    word: Arc<AtomicU32>,
    me: u32,
}

impl FutexSide {
    fn hand_over(&self) -> Result<(), ArmError> {
        let other = 1 - self.me;
        // ORDER: Release pairs with the Acquire load in `wait_for_turn` of the other side.
        self.word.store(other, Ordering::Release);
        futex::wake(&self.word, futex::Flags::PRIVATE, 1)?;
        Ok(())
    }

    fn wait_for_turn(&self) -> Result<(), ArmError> {
        let other = 1 - self.me;
        // ORDER: Acquire pairs with the Release store in `hand_over` of the other side.
        while self.word.load(Ordering::Acquire) != self.me {
            wait_while(&self.word, other)?;
        }
        Ok(())
    }
}

/// Sleeps if `word` still holds `value`; returns at once if it does not.
fn wait_while(word: &AtomicU32, value: u32) -> Result<(), ArmError> {
    use rustix::io::Errno;
    match futex::wait(word, futex::Flags::PRIVATE, value, None) {
        Ok(()) | Err(Errno::AGAIN | Errno::INTR) => Ok(()),
        Err(error) => Err(error.into()),
    }
}

impl Turns for FutexSide {
    fn turn(&mut self) -> Result<(), ArmError> {
        self.wait_for_turn()?;
        self.hand_over()
    }
}

fn by_futex(rounds: u32) -> Result<Sample, ArmError> {
    let word = Arc::new(AtomicU32::new(0));
    let side = |me| FutexSide {
        word: Arc::clone(&word),
        me,
    };
    exchange(rounds, side(0), side(1))
}

/// Two wakes that find nobody and two waits that return at once, as many calls as a round trip.
fn futex_alone(rounds: u32) -> Result<Sample, ArmError> {
    let word = AtomicU32::new(0);
    let call_both = || {
        futex::wake(&word, futex::Flags::PRIVATE, 1)?;
        wait_while(&word, 1)
    };
    alone(rounds, || {
        call_both()?;
        call_both()
    })
}

fn by_green_yield(rounds: u32) -> Result<Sample, ArmError> {
    let green = Green::start(Model::ManyToMany, 1)?;
    let before = green.counts();
    let taken = green.run(move || -> Result<Taken, ArmError> {
        let other = green::spawn(move || (0..WARM_UP + rounds).for_each(|_| green::yield_now()))?;
        (0..WARM_UP).for_each(|_| green::yield_now());
        let clock = Clock::start();
        (0..rounds).for_each(|_| green::yield_now());
        let taken = clock.stop();
        other
            .join()
            .map_err(|_| ArmError::Failed("the other side panicked".into()))?;
        Ok(taken)
    })?;
    let switches = (green.counts().switches - before.switches) as f64;
    let share_measured = f64::from(rounds) / f64::from(rounds + WARM_UP);
    Ok(per_round(rounds, taken, switches * share_measured))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Tendency, Verdict, assert_inconclusive, decide};

    /// Samples of a machine where a kernel switch costs `kernel` ns and a green one `green` ns, and
    /// where `switches` are counted per round trip.
    fn machine(kernel: f64, green: f64, switches: f64) -> Samples {
        machine_given(kernel, green, [switches; 5], 1.0)
    }

    fn machine_given(kernel: f64, green: f64, switches: [f64; 5], given: f64) -> Samples {
        let mut samples = Samples::new();
        for (i, switches) in switches.into_iter().enumerate() {
            let noise = 1.0 + 0.01 * i as f64;
            let mut add = |arm: &str, ns: f64, switches: f64| {
                samples.push(
                    arm,
                    Sample::new()
                        .with(TIME, ns * noise)
                        .with(SWITCHES, switches)
                        .with(GIVEN, given),
                );
            };
            add("pipe", 1_200.0 + 2.0 * kernel, switches);
            add("self-pipe", 1_200.0, 0.0);
            add("futex", 200.0 + 2.0 * kernel, switches);
            add("self-futex", 200.0, 0.0);
            add("green", 2.0 * green, 2.0);
        }
        ContextSwitch.derive(&mut samples);
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(
            &ContextSwitch.premises(samples),
            &ContextSwitch.judge(samples),
        )
    }

    #[test]
    fn a_ping_pong_that_does_not_switch_decides_nothing() {
        assert!(matches!(
            verdict(&machine(1_600.0, 30.0, 0.26)),
            Verdict::Inconclusive(reason) if reason.contains("0.26")
        ));
    }

    #[test]
    fn one_repeat_that_was_spoilt_leaves_the_verdict_and_two_do_not() {
        let spoilt = |switches| verdict(&machine_given(1_600.0, 30.0, switches, 1.0));
        assert_eq!(spoilt([2.0, 0.28, 2.0, 2.0, 2.0]), Verdict::Confirmed);
        let reason = "two switches";
        assert_inconclusive(&spoilt([2.0, 0.28, 2.0, 2.0, 0.28]), reason);
        assert_inconclusive(&spoilt([2.0, 9.0, 2.0, 2.0, 9.0]), reason);
    }

    #[test]
    fn turns_that_other_programs_took_do_not_count_against_the_claim() {
        let loaded = |kernel, green| verdict(&machine_given(kernel, green, [2.0; 5], 0.3));
        assert_inconclusive(&loaded(90_000.0, 30.0), "noise");
        assert_inconclusive(&loaded(1_600.0, 900.0), "noise");
        assert_eq!(loaded(1_600.0, 30.0), Verdict::Confirmed);
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(verdict(&machine(1_600.0, 30.0, 2.0)), Verdict::Confirmed);
        assert_eq!(verdict(&machine(400.0, 30.0, 2.0)), Verdict::NotHere);
        assert_eq!(verdict(&machine(13_000.0, 30.0, 2.0)), Verdict::NotHere);
        assert_eq!(verdict(&machine(1_600.0, 900.0, 2.0)), Verdict::NotHere);
    }

    #[test]
    fn the_control_is_subtracted_and_the_rest_divided_by_the_counted_switches() {
        let samples = machine(1_600.0, 30.0, 4.0);
        let one = samples.summary("kernel-pipe", TIME);
        assert!((one.min - 800.0).abs() < 1.0, "{one:?}");
    }

    #[test]
    fn noise_around_the_limit_is_left_open() {
        let mut samples = machine(1_600.0, 30.0, 2.0);
        for ns in [300.0, 350.0, 400.0, 450.0, 30_000.0] {
            samples.push("kernel-pipe", Sample::new().with(TIME, ns));
        }
        assert_eq!(ContextSwitch.judge(&samples)[0].tendency, Tendency::Unclear);
    }
}
