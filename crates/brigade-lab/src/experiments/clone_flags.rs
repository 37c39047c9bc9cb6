//! The one call that makes processes and threads, with different flags: what is shared follows the flags.
//!
//! The new one changes memory, opens a file, changes the current directory and the disposition of a signal, and notes its
//! numbers in a page that is shared in any case. Its maker is suspended meanwhile ([`cloned`]) and looks afterwards. What
//! the new one did is counted there, too, so that what it could not do is not taken for what is not shared.
//!
//! `clone` has more flags than these, for namespaces and for what a thread library needs; the C library's threads are
//! made with those of the arm "all" and some of the latter.

use std::env;
use std::ffi::{c_int, c_void};
use std::fs::File;
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::Path;
use std::process;
use std::ptr;
use std::sync::atomic::{AtomicI32, AtomicU64, Ordering};
use std::thread;

use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};
use rustix::thread::gettid;

use crate::cloned;
use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::sample::{Sample, Samples};
use crate::stats::Summary;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, Tendency, decided};

/// The experiment.
pub(super) struct CloneFlags;

static INFO: Info = Info {
    name: "clone-flags",
    claim: "Threads and processes are made by the same call, clone: its flags decide what they share, \
            and a thread of the same process has to share the memory.",
    said_in: "texts about Linux (\"to the kernel a thread is a process that shares\")",
    method: "Call clone with different flags. The new one writes to memory, opens a file, changes the \
             current directory and what a signal does, and tells its numbers; its maker looks which \
             of these changes happened to itself.",
    control: "No flags, which is what fork does.",
    premise: "The new one did all of it, and had a number of its own.",
    next: "shared-private (what else threads share, or not)",
};

const SHARED: &str = "shared";
const DID: &str = "did";
const OWN_NUMBER: &str = "own_number";
const REFUSED: &str = "refused";

static METRICS: [Metric; 4] = [
    Metric::main(SHARED, "shared of 5", Unit::Count),
    Metric::data(DID, "did", Unit::Count),
    Metric::data(OWN_NUMBER, "own number", Unit::Count),
    Metric::data(REFUSED, "refused", Unit::Count),
];

/// What may be shared: the key in a sample, the head of a column, and the flag.
const THINGS: [(&str, &str, c_int); 5] = [
    ("memory", "memory", libc::CLONE_VM),
    ("files", "files", libc::CLONE_FILES),
    ("directory", "directory", libc::CLONE_FS),
    ("signals", "signals", libc::CLONE_SIGHAND),
    ("process", "process id", libc::CLONE_THREAD),
];

const ALL: c_int =
    libc::CLONE_VM | libc::CLONE_FILES | libc::CLONE_FS | libc::CLONE_SIGHAND | libc::CLONE_THREAD;

/// What is called with which flags: the arm, its label, the flags.
const CALLS: [(&str, &str, c_int); 7] = [
    ("none", "no flags", 0),
    ("vm", "VM", libc::CLONE_VM),
    ("files", "FILES", libc::CLONE_FILES),
    ("fs", "FS", libc::CLONE_FS),
    (
        "sighand",
        "VM, SIGHAND",
        libc::CLONE_VM | libc::CLONE_SIGHAND,
    ),
    (
        "process",
        "VM, FILES, FS, SIGHAND",
        ALL & !libc::CLONE_THREAD,
    ),
    ("all", "all and THREAD", ALL),
];

const STD: &str = "std";
const THREAD_ALONE: &str = "thread-alone";

impl Experiment for CloneFlags {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        let mut arms: Vec<Arm> = CALLS
            .iter()
            .map(|(arm, label, flags)| match flags {
                0 => Arm::control(arm, label),
                _ => Arm::measured(arm, label),
            })
            .collect();
        arms.push(Arm::measured(STD, "std::thread::spawn"));
        arms.push(Arm::measured(THREAD_ALONE, "THREAD alone"));
        arms
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            STD => by_std(),
            THREAD_ALONE => by_clone(libc::CLONE_THREAD),
            _ => match CALLS.iter().find(|(name, ..)| *name == arm) {
                Some((_, _, flags)) => by_clone(*flags),
                None => Err(unknown_arm(arm)),
            },
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        // The least of any arm; NaN if one of them has no samples.
        let all = |key: &str| {
            let made = CALLS.iter().map(|(arm, ..)| *arm).chain([STD]);
            let least = Summary::of(made.map(|arm| samples.summary(arm, key).min));
            if least.count == CALLS.len() + 1 {
                least.min
            } else {
                f64::NAN
            }
        };
        let (did, own) = (all(DID), all(OWN_NUMBER));
        vec![
            Premise::new(
                did == DEEDS,
                format!(
                    "the new one did all that it was to do ({} of {DEEDS} at least)",
                    show(did, Unit::Count)
                ),
            ),
            Premise::new(
                own == 1.0,
                format!("it had a number of its own ({})", show(own, Unit::Count)),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let shares = |arm: &str| show(samples.median(arm, SHARED), Unit::Count);
        let refused = samples.summary(THREAD_ALONE, REFUSED);
        let single = ["vm", "files", "fs", "sighand"].map(|arm| follows(samples, arm));
        vec![
            Part::new(
                follows(samples, "none"),
                format!("without flags {} of 5 things are shared", shares("none")),
            ),
            Part::new(
                worst(&single),
                format!(
                    "each flag shares the thing it names: memory ({}), files ({}), the directory ({}), \
                     memory and signals ({})",
                    shares("vm"),
                    shares("files"),
                    shares("fs"),
                    shares("sighand")
                ),
            ),
            Part::new(
                worst(&[follows(samples, "process"), follows(samples, "all")]),
                format!(
                    "all four ({}) make a process yet, one with CLONE_THREAD ({}) is a thread: the same \
                     process id",
                    shares("process"),
                    shares("all")
                ),
            ),
            Part::new(
                follows(samples, STD),
                format!("a thread of std shares as much ({})", shares(STD)),
            ),
            Part::new(
                decided(refused.min == 1.0, refused.min),
                format!(
                    "CLONE_THREAD without CLONE_VM is {}",
                    if refused.min == 1.0 {
                        "refused"
                    } else {
                        "allowed"
                    }
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        let calls = CALLS.iter().map(|(arm, label, _)| (*arm, *label));
        let rows = calls
            .chain([(STD, "std::thread")])
            .filter_map(|(arm, label)| {
                let sample = samples.of(arm).last()?;
                let cells = THINGS.map(|(key, ..)| match sample.get(key) {
                    1.0 => "shared",
                    _ => "own",
                });
                Some(Row::new(label, cells))
            });
        let rows: Vec<Row> = rows.collect();
        if rows.is_empty() {
            return Vec::new();
        }
        let columns = THINGS.map(|(_, column, _)| column.to_owned()).into();
        let content = Content::Matrix { columns, rows };
        vec![Figure::new(
            "What is shared with which flags of clone",
            content,
        )]
    }
}

/// The flags that an arm stands for.
fn flags_of(arm: &str) -> c_int {
    let call = CALLS.iter().find(|(name, ..)| *name == arm);
    call.map_or(ALL, |(_, _, flags)| *flags)
}

/// One that fails beats one that is unclear.
fn worst(parts: &[Tendency]) -> Tendency {
    let order = [Tendency::Fails, Tendency::Unclear];
    let found = order.into_iter().find(|tendency| parts.contains(tendency));
    found.unwrap_or(Tendency::Holds)
}

/// Is in every sample of `arm` shared what its flags say, and nothing else?
fn follows(samples: &Samples, arm: &str) -> Tendency {
    let flags = flags_of(arm);
    let off = samples.of(arm).iter().flat_map(|sample| {
        THINGS.map(|(key, _, flag)| {
            let expected = f64::from(u8::from(flags & flag != 0));
            (sample.get(key) - expected).abs()
        })
    });
    let off = off.fold(f64::NAN, f64::max);
    decided(off == 0.0, off)
}

/// How many things the new one does.
const DEEDS: f64 = 5.0;

const NEW: u64 = 4242;
/// The number that the opened file gets.
const DESCRIPTOR: RawFd = 300;
const NEW_DIRECTORY: &str = "/proc";
const SIGNAL: c_int = libc::SIGUSR2;

/// What the new one tells, in memory that both share in any case.
#[derive(Default)]
struct Note {
    did: AtomicI32,
    process: AtomicI32,
    thread: AtomicI32,
}

/// What the new one changes.
struct Scene {
    memory: AtomicU64,
    file: File,
    note: &'static Note,
}

impl Scene {
    fn new() -> Result<Scene, ArmError> {
        env::set_current_dir("/")?;
        let access = ProtFlags::READ | ProtFlags::WRITE;
        // SAFETY: a new mapping, wherever there is room.
        let page = unsafe { mmap_anonymous(ptr::null_mut(), 4096, access, MapFlags::SHARED)? };
        // SAFETY: zeroed, which is a valid note, aligned to a page and larger than it, and never unmapped.
        let note = unsafe { &*page.cast::<Note>() };
        Ok(Scene {
            memory: AtomicU64::new(0),
            file: File::open("/dev/null")?,
            note,
        })
    }

    /// What the new one does: system calls and stores, nothing that uses thread-locals or allocates.
    fn act(&self) {
        // ORDER: Relaxed here and below: the maker looks after the end of the new one.
        self.memory.store(NEW, Ordering::Relaxed);
        let mut did = 1;
        if let Ok(opened) = fcntl_dupfd_cloexec(self.file.as_fd(), DESCRIPTOR) {
            // Left open, to be looked for.
            did += i32::from(opened.into_raw_fd() == DESCRIPTOR);
        }
        did += i32::from(rustix::process::chdir(c"/proc").is_ok());
        did += i32::from(ignore_signal());
        let (process, thread) = (rustix::process::getpid(), gettid());
        let note = self.note;
        // ORDER: as above.
        note.process
            .store(process.as_raw_nonzero().get(), Ordering::Relaxed);
        // ORDER: as above.
        note.thread
            .store(thread.as_raw_nonzero().get(), Ordering::Relaxed);
        // ORDER: as above.
        note.did.store(did + 1, Ordering::Relaxed);
    }

    /// What the maker sees of it, in the order of [`THINGS`].
    fn look(&self) -> [bool; THINGS.len()] {
        // SAFETY: if there is no such file the call fails, which is an answer.
        let opened = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(DESCRIPTOR) });
        [
            // ORDER: Relaxed here and below, as in `act`.
            self.memory.load(Ordering::Relaxed) == NEW,
            opened.is_ok(),
            env::current_dir().is_ok_and(|now| now == Path::new(NEW_DIRECTORY)),
            signal_is_ignored(),
            // ORDER: as above.
            self.note.process.load(Ordering::Relaxed) == process::id() as i32,
        ]
    }

    fn sample(&self, maker: i32) -> Sample {
        let shared = self.look();
        let count = shared.iter().filter(|shared| **shared).count();
        // ORDER: Relaxed, as in `act`.
        let number = self.note.thread.load(Ordering::Relaxed);
        let own_number = number != 0 && number != maker;
        let sample = Sample::new()
            .with(SHARED, count as f64)
            // ORDER: Relaxed, as in `act`.
            .with(DID, f64::from(self.note.did.load(Ordering::Relaxed)))
            .with(OWN_NUMBER, f64::from(u8::from(own_number)))
            .with(REFUSED, 0.0);
        let each = THINGS.iter().zip(shared);
        each.fold(sample, |sample, ((key, ..), shared)| {
            sample.with(key, f64::from(u8::from(shared)))
        })
    }
}

/// Whether it worked.
fn ignore_signal() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: all zeroes is an action without flags and with an empty mask; SIG_IGN runs nothing.
    unsafe {
        (*action.as_mut_ptr()).sa_sigaction = libc::SIG_IGN;
        libc::sigaction(SIGNAL, action.as_ptr(), ptr::null_mut()) == 0
    }
}

fn signal_is_ignored() -> bool {
    let mut action = MaybeUninit::<libc::sigaction>::zeroed();
    // SAFETY: room for one action, which the call fills in; all zeroes is one, too.
    unsafe {
        let asked = libc::sigaction(SIGNAL, ptr::null(), action.as_mut_ptr());
        asked == 0 && action.assume_init().sa_sigaction == libc::SIG_IGN
    }
}

/// What `clone` runs.
extern "C" fn act(scene: *mut c_void) -> c_int {
    // SAFETY: `by_clone` passes its scene, which it, or the copy of it, has until this returns.
    let scene = unsafe { &*scene.cast::<Scene>() };
    scene.act();
    0
}

fn own_number() -> i32 {
    gettid().as_raw_nonzero().get()
}

fn by_clone(flags: c_int) -> Result<Sample, ArmError> {
    let scene = Scene::new()?;
    let argument = (&raw const scene).cast_mut().cast();
    // SAFETY: `act` makes system calls and stores to atomics alone, and what it changes of this process is only looked
    // at; the scene outlives the call.
    match unsafe { cloned::while_suspended(flags, act, argument) } {
        Ok(_) => Ok(scene.sample(own_number())),
        Err(error) if error.raw_os_error() == Some(libc::EINVAL) => {
            Ok(Sample::new().with(REFUSED, 1.0).with(SHARED, 0.0))
        }
        Err(error) => Err(ArmError::Skipped(format!("cannot call clone: {error}"))),
    }
}

fn by_std() -> Result<Sample, ArmError> {
    let scene = Scene::new()?;
    thread::scope(|scope| {
        let made = thread::Builder::new().spawn_scoped(scope, || scene.act())?;
        made.join()
            .map_err(|_| ArmError::Failed("a thread panicked".into()))
    })?;
    Ok(scene.sample(own_number()))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    struct Machine {
        /// An arm that shares something that its flags do not say.
        wrong: Option<(&'static str, &'static str)>,
        did: f64,
        own_number: f64,
        refused: f64,
    }

    const GOOD: Machine = Machine {
        wrong: None,
        did: DEEDS,
        own_number: 1.0,
        refused: 1.0,
    };

    impl Machine {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            for _ in 0..5 {
                for arm in CALLS.iter().map(|(arm, ..)| *arm).chain([STD]) {
                    let mut sample = Sample::new()
                        .with(DID, self.did)
                        .with(OWN_NUMBER, self.own_number);
                    for (key, _, flag) in THINGS {
                        let shared = flags_of(arm) & flag != 0;
                        let shared = shared != (self.wrong == Some((arm, key)));
                        sample = sample.with(key, f64::from(u8::from(shared)));
                    }
                    samples.push(arm, sample);
                }
                let alone = Sample::new().with(REFUSED, self.refused);
                samples.push(THREAD_ALONE, alone);
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(&CloneFlags.premises(&samples), &CloneFlags.judge(&samples))
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        for wrong in [
            ("none", "files"),
            ("fs", "directory"),
            ("process", "process"),
            ("all", "memory"),
            (STD, "signals"),
        ] {
            let bad = Machine {
                wrong: Some(wrong),
                ..GOOD
            };
            assert_eq!(bad.verdict(), Verdict::NotHere, "{wrong:?}");
        }
        assert_eq!(
            Machine {
                refused: 0.0,
                ..GOOD
            }
            .verdict(),
            Verdict::NotHere
        );
    }

    /// Planted: a new one that could not open its file, which nobody sees for that reason.
    #[test]
    fn deeds_that_were_not_done_decide_nothing() {
        assert_inconclusive(&Machine { did: 4.0, ..GOOD }.verdict(), "did all");
    }

    /// Planted: a "new one" that is its maker.
    #[test]
    fn one_that_is_its_own_maker_decides_nothing() {
        assert_inconclusive(
            &Machine {
                own_number: 0.0,
                ..GOOD
            }
            .verdict(),
            "own",
        );
    }

    #[test]
    fn an_arm_without_samples_leaves_its_part_open() {
        let mut samples = Samples::new();
        for arm in CALLS.map(|(arm, ..)| arm) {
            samples.push(arm, GOOD.samples().of(arm)[0].clone());
        }
        let verdict = decide(&[], &CloneFlags.judge(&samples));
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn the_figure_is_drawn_from_the_samples() {
        let figures = CloneFlags.figures(&GOOD.samples());
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            rows[4],
            Row::new("VM, SIGHAND", ["shared", "own", "own", "shared", "own"])
        );
        assert_eq!(CloneFlags.figures(&Samples::new()), []);
    }
}
