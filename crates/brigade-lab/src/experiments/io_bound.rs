//! Many waits for a server: do they add up, or do they overlap?
//!
//! The server answers each request after the delay it was asked for, so what the waits add up to and how
//! long the longest is are known beforehand and can be compared with what was measured. It runs in a
//! process of its own and has a kernel thread per connection, so that every arm has the same one. One arm
//! asks for no delay at all: what is left is connecting and answering.

use std::io::{self, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::thread;
use std::time::{Duration, Instant};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::green::{self, Green, Model};
use crate::peer::Peer;
use crate::probe;
use crate::sample::{Sample, Samples};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, at_least, at_most_unless_past};

/// The experiment.
pub(super) struct IoBound;

static INFO: Info = Info {
    name: "io-bound",
    claim: "Many waits for a server take as long as the longest of them when each has a thread of \
            its own, and as long as their sum without.",
    said_in: "every text on threads and on event loops (\"3 seconds instead of 6\")",
    method: "Requests to a server in another process, which answers each one after another delay, \
             by plain blocking code: one after the other, on a kernel thread each, on a green \
             thread each.",
    control: "The same requests one after the other, with their delays and without any.",
    premise: "Each answer came after its delay, and without delays the requests take next to no \
              time.",
    next: "event-loop-scale (a server with many connections)",
};

const NAME: &str = "io-bound";
const ROLE: &str = "delay";

const TOOK: &str = "took";
const LONGEST: &str = "longest";
const SUM: &str = "sum";
const ASKED_LONGEST: &str = "asked_longest";
const ASKED_SUM: &str = "asked_sum";
const EARLIEST: &str = "earliest";

static METRICS: [Metric; 6] = [
    Metric::main(TOOK, "all done in", Unit::Nanoseconds),
    Metric::aside(LONGEST, "longest", Unit::Nanoseconds),
    Metric::aside(SUM, "sum", Unit::Nanoseconds),
    Metric::data(ASKED_LONGEST, "asked max", Unit::Nanoseconds),
    Metric::data(ASKED_SUM, "asked sum", Unit::Nanoseconds),
    Metric::data(EARLIEST, "earliest", Unit::Nanoseconds),
];

/// By how much "as long as the longest" may be missed: starting the threads takes time too.
const SLACK: f64 = 1.5;

/// The arms in which each request has a thread.
const TOGETHER: [(&str, &str); 3] = [
    ("kernel", "on kernel threads"),
    ("green", "on green threads"),
    ("green-one", "on green threads that share one kernel thread"),
];

/// What the server is asked for, in the order of the requests.
fn delays(scale: Scale) -> Vec<Duration> {
    let (count, step_ms) = scale.pick((20, 2), (100, 1));
    (0..count)
        .map(|i| Duration::from_millis(5 + i * step_ms))
        .collect()
}

impl Experiment for IoBound {
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
            Arm::measured("green-one", "green threads, M:1"),
            Arm::control("in-turn", "one after the other"),
            Arm::control("no-delay", "one by one, no delay"),
        ]
    }

    fn measure(&self, arm: &str, scale: Scale) -> Result<Sample, ArmError> {
        let cpus = probe::cpus();
        let mut delays = delays(scale);
        if arm == "no-delay" {
            delays.fill(Duration::ZERO);
        }
        match arm {
            "kernel" => on_kernel_threads(&delays, Peer::start(NAME, ROLE, scale)?.address()),
            "green" | "green-one" => {
                let (model, workers) = match arm {
                    "green" => (Model::ManyToMany, cpus),
                    _ => (Model::ManyToOne, 1),
                };
                let peer = Peer::start(NAME, ROLE, scale)?;
                let green = Green::start(model, workers)?;
                green.run(|| on_green_threads(&delays, peer.address()))
            }
            "in-turn" | "no-delay" => in_turn(&delays, Peer::start(NAME, ROLE, scale)?.address()),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn serve(&self, role: &str, listener: TcpListener) -> Result<(), ArmError> {
        match role {
            ROLE => answer_late(&listener),
            _ => Err(unknown_arm(role)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let arms = ["kernel", "green", "green-one", "in-turn"];
        let early = arms.map(|arm| samples.summary(arm, EARLIEST).min);
        let asked = samples.median("in-turn", ASKED_SUM);
        let bare = samples.median("no-delay", TOOK);
        let time = |ns| show(ns, Unit::Nanoseconds);
        vec![
            Premise::new(
                early.iter().all(|ns| *ns >= 0.0),
                format!(
                    "each answer came after its delay (the earliest {} after it)",
                    time(early.into_iter().fold(f64::NAN, f64::min))
                ),
            ),
            Premise::new(
                asked > 0.0 && bare <= asked / 10.0,
                format!(
                    "without delays the requests take next to no time ({} against {})",
                    time(bare),
                    time(asked)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let asked_sum = samples.median("in-turn", ASKED_SUM);
        let turns = samples.summary("in-turn", TOOK);
        let time = |ns| show(ns, Unit::Nanoseconds);
        let mut parts = vec![Part::new(
            at_least(&turns, asked_sum),
            format!(
                "one after the other {}, the sum being {}",
                time(turns.median),
                time(asked_sum)
            ),
        )];
        for (arm, how) in TOGETHER {
            let took = samples.summary(arm, TOOK);
            let longest = samples.median(arm, ASKED_LONGEST);
            parts.push(Part::new(
                at_most_unless_past(&took, SLACK * longest, asked_sum / 2.0),
                format!(
                    "{how} {}, the longest being {}",
                    time(took.median),
                    time(longest)
                ),
            ));
        }
        parts
    }
}

/// The server: reads a delay in microseconds, waits, answers with one byte.
fn answer_late(listener: &TcpListener) -> Result<(), ArmError> {
    loop {
        let (mut stream, _) = listener.accept()?;
        thread::Builder::new().spawn(move || {
            let mut delay = [0; 4];
            // An error is the end of this connection, and nobody is left to be told.
            if stream.read_exact(&mut delay).is_ok() {
                thread::sleep(Duration::from_micros(u32::from_le_bytes(delay).into()));
                let _ = stream.write_all(&[1]);
            }
        })?;
    }
}

/// One request by plain blocking code; returns how long it took.
fn request(address: SocketAddr, delay: Duration) -> io::Result<Duration> {
    let begun = Instant::now();
    let mut stream = TcpStream::connect(address)?;
    let delay = u32::try_from(delay.as_micros()).map_err(io::Error::other)?;
    stream.write_all(&delay.to_le_bytes())?;
    stream.read_exact(&mut [0])?;
    Ok(begun.elapsed())
}

fn in_turn(delays: &[Duration], address: SocketAddr) -> Result<Sample, ArmError> {
    let begun = Instant::now();
    let waits: io::Result<Vec<Duration>> = delays
        .iter()
        .map(|delay| request(address, *delay))
        .collect();
    Ok(sample(delays, &waits?, begun.elapsed()))
}

fn on_kernel_threads(delays: &[Duration], address: SocketAddr) -> Result<Sample, ArmError> {
    let begun = Instant::now();
    let start = |delay: Duration| thread::Builder::new().spawn(move || request(address, delay));
    let threads: io::Result<Vec<_>> = delays.iter().copied().map(start).collect();
    let mut waits = Vec::with_capacity(delays.len());
    for thread in threads? {
        let panicked = |_| ArmError::Failed("a thread panicked".into());
        waits.push(thread.join().map_err(panicked)??);
    }
    Ok(sample(delays, &waits, begun.elapsed()))
}

fn on_green_threads(delays: &[Duration], address: SocketAddr) -> Result<Sample, ArmError> {
    let begun = Instant::now();
    let start = |delay: Duration| green::spawn(move || request(address, delay));
    let threads: io::Result<Vec<_>> = delays.iter().copied().map(start).collect();
    let mut waits = Vec::with_capacity(delays.len());
    for thread in threads? {
        let panicked = |_| ArmError::Failed("a green thread panicked".into());
        waits.push(thread.join().map_err(panicked)??);
    }
    Ok(sample(delays, &waits, begun.elapsed()))
}

fn sample(delays: &[Duration], waits: &[Duration], took: Duration) -> Sample {
    let ns = |time: Duration| time.as_nanos() as f64;
    let longest = |times: &[Duration]| times.iter().copied().map(ns).fold(f64::NAN, f64::max);
    let sum = |times: &[Duration]| times.iter().copied().map(ns).sum();
    let earliest = waits
        .iter()
        .zip(delays)
        .map(|(wait, delay)| ns(*wait) - ns(*delay))
        .fold(f64::NAN, f64::min);
    Sample::new()
        .with(TOOK, ns(took))
        .with(LONGEST, longest(waits))
        .with(SUM, sum(waits))
        .with(ASKED_LONGEST, longest(delays))
        .with(ASKED_SUM, sum(delays))
        .with(EARLIEST, earliest)
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    const MS: f64 = 1e6;

    /// Requests whose delays add up to 480 ms, the longest being 43 ms.
    fn machine(green: f64, in_turn: f64, earliest: f64, no_delay: f64) -> Samples {
        let mut samples = Samples::new();
        for i in 0..5 {
            let noise = 1.0 + 0.01 * f64::from(i);
            let mut add = |arm: &str, took: f64, earliest: f64| {
                let sample = Sample::new()
                    .with(TOOK, took * noise)
                    .with(ASKED_LONGEST, 43.0 * MS)
                    .with(ASKED_SUM, 480.0 * MS)
                    .with(EARLIEST, earliest);
                samples.push(arm, sample);
            };
            add("kernel", 45.0 * MS, earliest);
            add("green", green, earliest);
            add("green-one", 45.0 * MS, earliest);
            add("in-turn", in_turn, earliest);
            add("no-delay", no_delay, 0.1 * MS);
        }
        samples
    }

    fn verdict(samples: &Samples) -> Verdict {
        decide(&IoBound.premises(samples), &IoBound.judge(samples))
    }

    #[test]
    fn a_server_that_answers_before_the_delay_decides_nothing() {
        let verdict = verdict(&machine(45.0 * MS, 490.0 * MS, -4.0 * MS, 2.0 * MS));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("after")));
    }

    #[test]
    fn requests_that_are_slow_without_any_delay_decide_nothing() {
        let verdict = verdict(&machine(45.0 * MS, 490.0 * MS, 0.1 * MS, 200.0 * MS));
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("no time")));
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(
            verdict(&machine(45.0 * MS, 490.0 * MS, 0.1 * MS, 2.0 * MS)),
            Verdict::Confirmed
        );
        assert_eq!(
            verdict(&machine(481.0 * MS, 490.0 * MS, 0.1 * MS, 2.0 * MS)),
            Verdict::NotHere
        );
        assert_eq!(
            verdict(&machine(45.0 * MS, 50.0 * MS, 0.1 * MS, 2.0 * MS)),
            Verdict::NotHere
        );
    }

    #[test]
    fn waits_that_scatter_around_the_limit_are_noise() {
        let mut samples = machine(45.0 * MS, 490.0 * MS, 0.1 * MS, 2.0 * MS);
        for took in [90.0, 95.0, 99.0, 120.0, 300.0] {
            let sample = Sample::new().with(TOOK, took * MS).with(EARLIEST, 0.1 * MS);
            samples.push("green", sample);
        }
        assert!(
            matches!(verdict(&samples), Verdict::Inconclusive(reason) if reason.starts_with("noise"))
        );
    }

    #[test]
    fn a_sample_holds_the_sum_the_longest_and_the_earliest() {
        let ms = |times: [u64; 2]| times.map(Duration::from_millis);
        let sample = sample(&ms([5, 7]), &ms([6, 10]), Duration::from_millis(11));
        assert_eq!((sample.get(SUM), sample.get(LONGEST)), (16e6, 10e6));
        assert_eq!(
            (sample.get(ASKED_SUM), sample.get(ASKED_LONGEST)),
            (12e6, 7e6)
        );
        assert_eq!((sample.get(EARLIEST), sample.get(TOOK)), (1e6, 11e6));
    }

    #[test]
    fn the_server_waits_for_as_long_as_it_is_asked_to() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || answer_late(&listener));
        let delay = Duration::from_millis(3);
        assert!(request(address, delay).expect("an answer") >= delay);
    }
}
