//! Whom a crash takes along: nobody if a thread panics, every thread of the process if one of them faults, nobody else if
//! the one that faults is a process.
//!
//! All scenes happen in processes that this one forks or is, and are looked at from outside. The others of a scene finish
//! their work after the crash, so that what they had done before does not count.

use std::io::{PipeReader, PipeWriter, Read, Write, pipe};
use std::panic::resume_unwind;
use std::process::abort;
use std::ptr;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicUsize, Ordering};
use std::sync::mpsc::channel;
use std::thread;
use std::time::Duration;

use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use serde::{Deserialize, Serialize};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::forked::{self, End, Forked};
use crate::sample::{Sample, Samples};
use crate::together::{Kind, join_all};
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};
use crate::worker;

/// The experiment.
pub(super) struct CrashIsolation;

static INFO: Info = Info {
    name: "crash-isolation",
    claim: "A crash of one thread ends all threads of its process, a crash of one process ends that \
            one alone; a panic is no crash.",
    said_in: "every introduction to threads and processes (\"processes are isolated\"), most of which \
              call any failure a crash",
    method: "One of four panics, reads memory that it may not read, or aborts: four threads of a \
             process that is watched from outside, four processes, or four workers of a pool. How many of the other three \
             finish after it is counted.",
    control: "The same threads and processes of which none crashes.",
    premise: "The crash was the one that was meant, and the others had begun before it.",
    next: "process-vs-thread (what the isolation costs)",
};

const FINISHED: &str = "finished";
const SIGNAL: &str = "signal";
const TOLD: &str = "told";
const BEGUN: &str = "begun";

static METRICS: [Metric; 4] = [
    Metric::main(FINISHED, "others done", Unit::Share),
    Metric::aside(SIGNAL, "signal", Unit::Count),
    Metric::aside(TOLD, "told", Unit::Share),
    Metric::data(BEGUN, "begun", Unit::Share),
];

const OTHERS: usize = 3;
/// How much later than the crash the other threads finish. A signal ends them at once.
const LATER: Duration = Duration::from_millis(20);
/// How long the other jobs of a pool take: longer than it takes to see that a worker has ended.
const NAP: Duration = Duration::from_millis(80);

/// How it goes wrong.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Serialize, Deserialize)]
pub(crate) enum Crash {
    /// It does not.
    No,
    /// By a read of memory that may not be read.
    Fault,
    /// By `abort`.
    Abort,
}

impl Crash {
    fn signal(self) -> f64 {
        f64::from(match self {
            Crash::No => 0,
            Crash::Fault => libc::SIGSEGV,
            Crash::Abort => libc::SIGABRT,
        })
    }

    /// Ends this process, unless it is [`Crash::No`].
    pub(crate) fn happen(self) -> i32 {
        match self {
            Crash::No => {}
            Crash::Fault => fault(),
            Crash::Abort => abort(),
        }
        0
    }
}

/// Reads where nobody may.
fn fault() {
    // SAFETY: a new mapping, wherever there is room.
    let page =
        unsafe { mmap_anonymous(ptr::null_mut(), 4096, ProtFlags::empty(), MapFlags::PRIVATE) };
    if let Ok(page) = page {
        // SAFETY: not to be answered: the page is mapped so that the processor refuses the read and the kernel ends this
        // process, which is what is measured. No value is ever read.
        let byte = unsafe { page.cast::<u8>().read_volatile() };
        std::hint::black_box(byte);
    }
}

/// Scenes of threads: the arm, what happens.
const THREADS: [(&str, Crash, &str); 3] = [
    ("fault-thread", Crash::Fault, "one thread faults"),
    ("abort-thread", Crash::Abort, "one thread aborts"),
    ("calm-threads", Crash::No, "no thread crashes"),
];

/// Scenes of processes.
const PROCESSES: [(&str, Crash, &str); 3] = [
    ("fault-process", Crash::Fault, "one process faults"),
    ("abort-process", Crash::Abort, "one process aborts"),
    ("calm-processes", Crash::No, "no process crashes"),
];

/// Scenes of a pool of processes.
const POOLS: [(&str, Crash, &str); 2] = [
    ("fault-worker", Crash::Fault, "one pool worker faults"),
    ("abort-worker", Crash::Abort, "one pool worker aborts"),
];

/// Scenes in which something crashes, or would.
fn scenes() -> impl Iterator<Item = (&'static str, Crash, &'static str)> + Clone {
    THREADS.into_iter().chain(PROCESSES).chain(POOLS)
}

/// Scenes of panics.
const PANICS: [(&str, Kind, &str); 2] = [
    ("panic-kernel", Kind::Kernel, "one kernel thread panics"),
    ("panic-green", Kind::Green, "one green thread panics"),
];

impl Experiment for CrashIsolation {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let panics = PANICS.map(|(arm, _, label)| Arm::measured(arm, label));
        let crashes = scenes().map(|(arm, crash, label)| match crash {
            Crash::No => Arm::control(arm, label),
            _ => Arm::measured(arm, label),
        });
        panics.into_iter().chain(crashes).collect()
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        if let Some((_, kind, _)) = PANICS.iter().find(|(name, ..)| *name == arm) {
            return kind.host(|| panic_among(*kind));
        }
        if let Some((_, crash, _)) = THREADS.iter().find(|(name, ..)| *name == arm) {
            return crash_among_threads(*crash);
        }
        if let Some((_, crash, _)) = POOLS.iter().find(|(name, ..)| *name == arm) {
            return crash_in_pool(*crash);
        }
        match PROCESSES.iter().find(|(name, ..)| *name == arm) {
            Some((_, crash, _)) => crash_among_processes(*crash),
            None => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let as_meant = scenes().all(|(arm, crash, _)| {
            let seen = samples.summary(arm, SIGNAL);
            seen.min == crash.signal() && seen.max == crash.signal()
        });
        let signals: Vec<String> = scenes()
            .map(|(arm, ..)| show(samples.median(arm, SIGNAL), Unit::Count))
            .collect();
        let begun = scenes()
            .map(|(arm, ..)| arm)
            .chain(PANICS.map(|(arm, ..)| arm))
            .map(|arm| samples.summary(arm, BEGUN).min);
        let fewest = begun.clone().fold(f64::NAN, f64::min);
        vec![
            Premise::new(
                as_meant,
                format!(
                    "each ended by the signal that was meant ({})",
                    signals.join(", ")
                ),
            ),
            Premise::new(
                begun.clone().all(|share| share == 1.0),
                format!(
                    "the others had begun before it ({} at least)",
                    show(fewest, Unit::Share)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let others = |arm: &str, what: &str, survive: bool| {
            let finished = samples.summary(arm, FINISHED);
            let told = samples.summary(arm, TOLD).min == 1.0;
            let text = format!(
                "{what}: {} of the others finish",
                show(finished.median, Unit::Share)
            );
            let (holds, number) = if survive {
                (finished.min == 1.0 && told, finished.min)
            } else {
                (finished.max == 0.0 && told, finished.max)
            };
            Part::new(decided(holds, number), text)
        };
        let mut parts: Vec<Part> = PANICS.map(|(arm, _, what)| others(arm, what, true)).into();
        parts.extend(THREADS.map(|(arm, crash, what)| others(arm, what, crash == Crash::No)));
        parts.extend(PROCESSES.map(|(arm, _, what)| others(arm, what, true)));
        parts.extend(POOLS.map(|(arm, _, what)| others(arm, what, true)));
        parts
    }
}

fn share(count: usize) -> f64 {
    count as f64 / OTHERS as f64
}

/// One thread panics; the others go on when it has been joined.
fn panic_among(kind: Kind) -> Result<Sample, ArmError> {
    let begun = Arc::new(AtomicUsize::new(0));
    let mut goes = Vec::new();
    let mut others = Vec::new();
    for number in 0..OTHERS {
        let (go, is_to_go) = channel::<()>();
        let begun = Arc::clone(&begun);
        goes.push(go);
        others.push(kind.spawn(move || {
            // ORDER: Release: pairs with the Acquire below.
            begun.fetch_add(1, Ordering::Release);
            is_to_go.recv().map(|()| number)
        })?);
    }
    // ORDER: Acquire: pairs with the Release above.
    while begun.load(Ordering::Acquire) < OTHERS {
        kind.yield_now();
    }
    // Without the text of a panic, which would go to a terminal.
    let panics = kind.spawn(|| resume_unwind(Box::new("as planned")))?;
    let told = panics.join().is_err();
    for go in goes {
        go.send(())
            .map_err(|_| ArmError::Failed("another thread has gone".into()))?;
    }
    let finished = join_all(others)?.iter().flatten().count();
    Ok(Sample::new()
        .with(FINISHED, share(finished))
        .with(TOLD, f64::from(u8::from(told)))
        .with(BEGUN, 1.0))
}

const BEGINS: u8 = b'b';
const FINISHES: u8 = b'f';

/// One thread of a forked process crashes; the others say so when they finish later.
fn crash_among_threads(crash: Crash) -> Result<Sample, ArmError> {
    let (reader, writer) = pipe()?;
    let mut writer = Some(writer);
    let child = forked::whole(|| writer.take().map_or(2, |writer| threads(crash, &writer)))?;
    drop(writer);
    let (begun, finished) = read_marks(reader)?;
    Ok(sample(crash, child.wait()?, begun, finished))
}

/// In the forked process.
fn threads(crash: Crash, writer: &PipeWriter) -> i32 {
    let has_crashed = AtomicBool::new(false);
    let begun = AtomicUsize::new(0);
    let other = || {
        // What cannot be written is missed by the reader.
        let mut writer = writer;
        let _ = writer.write_all(&[BEGINS]);
        // ORDER: Release: pairs with the Acquire below.
        begun.fetch_add(1, Ordering::Release);
        // ORDER: Acquire: pairs with the Release below.
        while !has_crashed.load(Ordering::Acquire) {
            thread::yield_now();
        }
        thread::sleep(LATER);
        let _ = writer.write_all(&[FINISHES]);
    };
    thread::scope(|scope| {
        (0..OTHERS).for_each(|_| {
            scope.spawn(other);
        });
        scope.spawn(|| {
            // ORDER: Acquire: pairs with the Release above.
            while begun.load(Ordering::Acquire) < OTHERS {
                thread::yield_now();
            }
            // ORDER: Release: pairs with the Acquire above.
            has_crashed.store(true, Ordering::Release);
            crash.happen()
        });
    });
    0
}

/// One of several processes crashes; the others finish when its end has been seen.
fn crash_among_processes(crash: Crash) -> Result<Sample, ArmError> {
    let (reader, writer) = pipe()?;
    let mut others = Vec::new();
    let mut goes = Vec::new();
    for _ in 0..OTHERS {
        let (is_to_go, go) = pipe()?;
        let mut go = Some(go);
        let (writer, is_to_go) = (&writer, &is_to_go);
        others.push(forked::whole(|| {
            drop(go.take());
            process(writer, is_to_go)
        })?);
        goes.extend(go);
    }
    let (mut writer, mut begun) = (Some(writer), [0; OTHERS]);
    let crashing = forked::whole(|| crash.happen())?;
    drop(writer.take());
    let mut reader = reader;
    reader.read_exact(&mut begun)?;
    let end = crashing.wait()?;
    for mut go in goes {
        go.write_all(&[0])?;
    }
    let (_, finished) = read_marks(reader)?;
    let ends: Result<Vec<End>, ArmError> = others.into_iter().map(Forked::wait).collect();
    let well = ends?.iter().filter(|end| **end == End::Status(0)).count();
    let begun = begun.iter().filter(|mark| **mark == BEGINS).count();
    Ok(sample(crash, end, begun, finished.min(well)))
}

/// One job of a pool ends its worker; those that other workers have at that moment get done, and so does a later one.
fn crash_in_pool(crash: Crash) -> Result<Sample, ArmError> {
    let pool = worker::pool(OTHERS + 1)?;
    let others: Vec<_> = (0..OTHERS).map(|_| pool.submit(worker::Nap(NAP))).collect();
    while pool.stats().running < OTHERS {
        thread::yield_now();
    }
    let error = pool.run(worker::End(crash)).err();
    let begun = others.iter().filter(|job| !job.is_finished()).count();
    let done = others.into_iter().filter_map(|job| job.join().ok()).count();
    let goes_on = pool.run(worker::Nap(Duration::ZERO)).is_ok();
    let signal = error.and_then(|error| error.signal()).unwrap_or(0);
    let finished = if goes_on { done } else { 0 };
    Ok(sample(crash, End::Signal(signal), begun, finished))
}

/// In a forked process that does not crash.
fn process(mut writer: &PipeWriter, mut is_to_go: &PipeReader) -> i32 {
    let goes = writer.write_all(&[BEGINS]).is_ok() && is_to_go.read_exact(&mut [0]).is_ok();
    i32::from(!(goes && writer.write_all(&[FINISHES]).is_ok()))
}

/// How many have begun and finished, by the marks that they left until all had gone.
fn read_marks(mut reader: PipeReader) -> Result<(usize, usize), ArmError> {
    let mut marks = Vec::new();
    reader.read_to_end(&mut marks)?;
    let count = |mark| marks.iter().filter(|seen| **seen == mark).count();
    Ok((count(BEGINS), count(FINISHES)))
}

fn sample(crash: Crash, end: End, begun: usize, finished: usize) -> Sample {
    let signal = match end {
        End::Signal(signal) => signal,
        End::Status(_) => 0,
    };
    let told = f64::from(signal) == crash.signal();
    Sample::new()
        .with(FINISHED, share(finished))
        .with(SIGNAL, f64::from(signal))
        .with(TOLD, f64::from(u8::from(told)))
        .with(BEGUN, share(begun))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, decide};

    fn verdict(threads: f64, processes: f64, panics: f64, fault: i32) -> Verdict {
        let mut samples = Samples::new();
        for _ in 0..5 {
            let mut add = |arm: &str, finished: f64, signal: f64| {
                let sample = Sample::new()
                    .with(FINISHED, finished)
                    .with(SIGNAL, signal)
                    .with(TOLD, 1.0)
                    .with(BEGUN, 1.0);
                samples.push(arm, sample);
            };
            for (arm, ..) in PANICS {
                add(arm, panics, 0.0);
            }
            for (scenes, finished) in [(THREADS, threads), (PROCESSES, processes)] {
                add(scenes[0].0, finished, f64::from(fault));
                add(scenes[1].0, finished, Crash::Abort.signal());
                add(scenes[2].0, 1.0, 0.0);
            }
            add(POOLS[0].0, processes, f64::from(fault));
            add(POOLS[1].0, processes, Crash::Abort.signal());
        }
        decide(
            &CrashIsolation.premises(&samples),
            &CrashIsolation.judge(&samples),
        )
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        let fault = libc::SIGSEGV;
        assert_eq!(verdict(0.0, 1.0, 1.0, fault), Verdict::Confirmed);
        assert_eq!(verdict(share(1), 1.0, 1.0, fault), Verdict::NotHere);
        assert_eq!(verdict(0.0, share(2), 1.0, fault), Verdict::NotHere);
        assert_eq!(verdict(0.0, 1.0, share(2), fault), Verdict::NotHere);
    }

    #[test]
    fn a_crash_of_another_kind_decides_nothing() {
        let verdict = verdict(0.0, 1.0, 1.0, libc::SIGKILL);
        assert!(matches!(verdict, Verdict::Inconclusive(reason) if reason.contains("signal")));
    }

    #[test]
    fn a_panic_is_joined_and_the_others_finish() {
        let sample = panic_among(Kind::Kernel).unwrap();
        assert_eq!((sample.get(FINISHED), sample.get(TOLD)), (1.0, 1.0));
    }

    #[test]
    fn threads_of_which_none_crashes_finish() {
        let (reader, writer) = pipe().unwrap();
        assert_eq!(threads(Crash::No, &writer), 0);
        drop(writer);
        assert_eq!(read_marks(reader).unwrap(), (OTHERS, OTHERS));
    }
}
