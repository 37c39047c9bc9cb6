//! What a thread writes, and who sees it: another thread, a green one, a forked process.
//!
//! One thread changes ten things; somebody who was there before looks at each of them afterwards. A thing is *seen* if
//! the new value is read. The one who changes reads everything back, so that a change that did not happen is not taken for
//! one that is not seen.
//!
//! Two things correct what is commonly said. A thread's stack is memory like any other: who has an address reads it, and
//! what keeps it private is convention (in Rust, the borrow checker). And a process shares with the one that forked it
//! what both inherited by reference: the position in an open file, and mappings that are declared shared.
//!
//! A green thread answers as a thread does, with the exception of the signal mask: that belongs to the kernel thread that
//! happens to run it.

use std::cell::Cell;
use std::env;
use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write, pipe};
use std::mem::MaybeUninit;
use std::os::fd::{AsFd, BorrowedFd, IntoRawFd, RawFd};
use std::path::Path;
use std::ptr::{self, with_exposed_provenance};
use std::sync::Arc;
use std::sync::atomic::{AtomicU8, AtomicU64, AtomicUsize, Ordering};

use rustix::fs::{MemfdFlags, memfd_create};
use rustix::io::{fcntl_dupfd_cloexec, fcntl_getfd};
use rustix::mm::{MapFlags, ProtFlags, mmap_anonymous};

use crate::experiment::{Arm, ArmError, Experiment, Info, Metric, Scale, unknown_arm};
use crate::figure::{Content, Figure, Row};
use crate::forked;
use crate::green::{Green, Model};
use crate::sample::{Sample, Samples};
use crate::together::Kind;
use crate::units::{Unit, show};
use crate::verdict::{Part, Premise, decided};

/// The experiment.
pub(super) struct SharedPrivate;

static INFO: Info = Info {
    name: "shared-private",
    claim: "Threads share memory, open files and the current directory; a thread's stack and \
            thread-locals are private to it; processes share nothing.",
    said_in: "every introduction to threads and processes, as a table of two columns",
    method: "One thread changes a global, the heap, a shared mapping, a file's position, and so on. \
             Another kernel thread, another green thread, and a process forked before then look for \
             the new values.",
    control: "The one who changes looks for them, and a thread looks when nothing has been changed.",
    premise: "The one who changes finds all of its changes, and nobody finds one that was not made.",
    next: "clone-flags (what decides what is shared)",
};

const SEEN: &str = "seen";
const WROTE: &str = "wrote";

static METRICS: [Metric; 2] = [
    Metric::main(SEEN, "seen of 10", Unit::Count),
    Metric::data(WROTE, "wrote", Unit::Count),
];

/// Keys of a sample, and the rows of the figure.
const THINGS: [(&str, &str); 10] = [
    ("global", "global variable"),
    ("heap", "memory on the heap"),
    ("opened", "file it opens"),
    ("directory", "current directory"),
    ("offset", "position in a file"),
    ("mapping", "shared mapping"),
    ("address", "its stack, by address"),
    ("local", "thread-local"),
    ("errno", "errno"),
    ("mask", "signal mask"),
];

/// What threads are said to share; the last two are shared by processes, too.
const SHARED: [&str; 6] = ["global", "heap", "opened", "directory", "offset", "mapping"];
const STACK: &str = "address";
const OWN: [&str; 3] = ["local", "errno", "mask"];
/// What the kernel keeps for each kernel thread, whichever green thread it runs.
const OF_THE_CARRIER: &str = "mask";

const VIEWERS: [(&str, &str); 3] = [
    ("kernel", "thread"),
    ("green", "green thread"),
    ("process", "process"),
];

impl Experiment for SharedPrivate {
    fn info(&self) -> &'static Info {
        &INFO
    }

    fn metrics(&self) -> &'static [Metric] {
        &METRICS
    }

    fn arms(&self, _scale: Scale) -> Vec<Arm> {
        vec![
            Arm::measured("kernel", "by another kernel thread"),
            Arm::measured("green", "by another green thread"),
            Arm::measured("process", "by a forked process"),
            Arm::control("itself", "by who changes it"),
            Arm::control("untouched", "with nothing changed"),
        ]
    }

    fn measure(&self, arm: &str, _scale: Scale) -> Result<Sample, ArmError> {
        match arm {
            "kernel" => by_thread(Kind::Kernel, true),
            // On one processor, so that both are run by one kernel thread.
            "green" => Green::start(Model::ManyToMany, 1)?.run(|| by_thread(Kind::Green, true)),
            "process" => by_process(),
            "itself" => by_itself(),
            "untouched" => by_thread(Kind::Kernel, false),
            _ => Err(unknown_arm(arm)),
        }
    }

    fn premises(&self, samples: &Samples) -> Vec<Premise> {
        let all = THINGS.len() as f64;
        let wrote = VIEWERS.map(|(arm, _)| samples.summary(arm, WROTE).min);
        let itself = samples.summary("itself", SEEN).min;
        let untouched = samples.summary("untouched", SEEN).max;
        vec![
            Premise::new(
                wrote.iter().all(|wrote| *wrote == all) && itself == all,
                format!(
                    "who changes the {} things finds all changed ({})",
                    THINGS.len(),
                    show(
                        itself.min(wrote.into_iter().fold(itself, f64::min)),
                        Unit::Count
                    )
                ),
            ),
            Premise::new(
                untouched == 0.0,
                format!(
                    "what was not changed is not seen changed ({})",
                    show(untouched, Unit::Count)
                ),
            ),
        ]
    }

    fn judge(&self, samples: &Samples) -> Vec<Part> {
        let fewest = |arm: &str, keys: &[&str]| extreme(samples, arm, keys, f64::min);
        let most = |arm: &str, keys: &[&str]| extreme(samples, arm, keys, f64::max);
        let every: Vec<&str> = THINGS.iter().map(|(key, _)| *key).collect();
        let alike = every.iter().filter(|key| **key != OF_THE_CARRIER);
        let differ = alike.filter(|key| {
            let of = |arm| samples.summary(arm, key);
            let (kernel, green) = (of("kernel"), of("green"));
            kernel.min != green.min || kernel.max != green.max
        });
        let green = samples.summary("green", SEEN).min + 0.0 * fewest("kernel", &every);
        let shared = fewest("kernel", &SHARED);
        let own = most("kernel", &OWN);
        let stack = most("kernel", &[STACK]);
        let process = most("process", &every);
        vec![
            Part::new(
                decided(shared == 1.0, shared),
                format!(
                    "of another thread's writes a thread sees {} of 6 that are said to be shared: memory, \
                     files, the directory",
                    count_seen(samples, "kernel", &SHARED)
                ),
            ),
            Part::new(
                decided(own == 0.0, own),
                format!(
                    "of 3 that are said to be its own it sees {}: thread-local, errno, signal mask",
                    count_seen(samples, "kernel", &OWN)
                ),
            ),
            Part::new(
                decided(stack == 0.0, stack),
                if stack == 0.0 {
                    "a thread cannot read the stack of another one".to_owned()
                } else {
                    "a thread reads the stack of another one by address: private by convention alone"
                        .to_owned()
                },
            ),
            Part::new(
                decided(process == 0.0, process),
                format!("a forked process sees {}", list_seen(samples, "process")),
            ),
            Part::new(
                decided(differ.count() == 0, green),
                format!(
                    "a green thread sees what a thread sees; the signal mask belongs to the kernel thread \
                     ({})",
                    match most("green", &[OF_THE_CARRIER]) {
                        1.0 => "seen by the next one it runs",
                        _ => "not seen here",
                    }
                ),
            ),
        ]
    }

    fn figures(&self, samples: &Samples) -> Vec<Figure> {
        if VIEWERS.iter().any(|(arm, _)| samples.of(arm).is_empty()) {
            return Vec::new();
        }
        let rows = THINGS.iter().map(|(key, what)| {
            let cells = VIEWERS.map(|(arm, _)| {
                let seen = samples.summary(arm, key);
                match (seen.min == 1.0, seen.max == 0.0) {
                    (true, _) => "seen",
                    (_, true) => "-",
                    _ => "at times",
                }
            });
            Row::new(what, cells)
        });
        let content = Content::Matrix {
            columns: VIEWERS.map(|(_, viewer)| viewer.to_owned()).into(),
            rows: rows.collect(),
        };
        vec![Figure::new("Who sees what a thread has changed", content)]
    }
}

/// The smallest or largest number that `keys` have in the samples of `arm`, NaN without samples.
fn extreme(samples: &Samples, arm: &str, keys: &[&str], pick: fn(f64, f64) -> f64) -> f64 {
    let samples = samples.of(arm).iter();
    let numbers = samples.flat_map(|sample| keys.iter().map(|key| sample.get(key)));
    numbers.fold(f64::NAN, pick)
}

fn count_seen(samples: &Samples, arm: &str, keys: &[&str]) -> usize {
    let seen = |key: &&&str| samples.summary(arm, key).max == 1.0;
    keys.iter().filter(seen).count()
}

/// The words for what `arm` sees.
fn list_seen(samples: &Samples, arm: &str) -> String {
    let seen = THINGS
        .iter()
        .filter(|(key, _)| samples.summary(arm, key).max == 1.0);
    let words: Vec<&str> = seen.map(|(_, what)| *what).collect();
    match words.is_empty() {
        true => "nothing".to_owned(),
        false => words.join(" and "),
    }
}

/// What everything is changed to.
const NEW: u64 = 4242;
/// No error of the kernel's.
const NEW_ERRNO: i32 = 4242;
/// The number that a file gets which is opened.
const DESCRIPTOR: RawFd = 200;
const OLD_DIRECTORY: &str = "/";
const NEW_DIRECTORY: &str = "/proc";
const NEW_OFFSET: u64 = 17;

static GLOBAL: AtomicU64 = AtomicU64::new(0);

thread_local! {
    static LOCAL: Cell<u64> = const { Cell::new(0) };
}

/// What can be changed and looked at.
struct Scene {
    heap: Box<AtomicU64>,
    /// In memory that is shared with processes forked later; never given back.
    mapping: &'static AtomicU64,
    file: File,
    /// Where a variable on the stack of the one who changes lies.
    address: AtomicUsize,
}

impl Scene {
    fn new() -> Result<Scene, ArmError> {
        env::set_current_dir(OLD_DIRECTORY)?;
        let file = File::from(memfd_create(c"brigade-lab", MemfdFlags::CLOEXEC)?);
        Ok(Scene {
            heap: Box::new(AtomicU64::new(0)),
            mapping: shared_number()?,
            file,
            address: AtomicUsize::new(0),
        })
    }

    /// Changes everything; `variable` lies on the caller's stack.
    fn change(&self, variable: &AtomicU64) -> Result<(), ArmError> {
        // ORDER: Relaxed here and below: whoever looks has been told to after the last change, by `Turn` or a pipe.
        GLOBAL.store(NEW, Ordering::Relaxed);
        // ORDER: as above.
        self.heap.store(NEW, Ordering::Relaxed);
        // ORDER: as above.
        self.mapping.store(NEW, Ordering::Relaxed);
        // ORDER: as above.
        variable.store(NEW, Ordering::Relaxed);
        LOCAL.set(NEW);
        (&self.file).seek(SeekFrom::Start(NEW_OFFSET))?;
        // Left open: it is looked for by its number, and the process ends soon.
        let _ = fcntl_dupfd_cloexec(self.file.as_fd(), DESCRIPTOR)?.into_raw_fd();
        env::set_current_dir(NEW_DIRECTORY)?;
        block_signal()?;
        // The last one: calls may change it.
        set_errno(NEW_ERRNO);
        Ok(())
    }

    /// Which things look changed to the caller, in the order of [`THINGS`].
    ///
    /// # Safety
    ///
    /// The variable that `address` tells of is alive.
    unsafe fn look(&self) -> [bool; THINGS.len()] {
        let own_errno = errno();
        // ORDER: Relaxed here and below, as in `change`.
        let address = self.address.load(Ordering::Relaxed);
        // SAFETY: the caller vouches for it; it was exposed when it was stored.
        let variable = unsafe { &*with_exposed_provenance::<AtomicU64>(address) };
        // SAFETY: if there is no such file the call fails, which is an answer.
        let opened = fcntl_getfd(unsafe { BorrowedFd::borrow_raw(DESCRIPTOR) });
        let offset = (&self.file).stream_position();
        // ORDER: as above.
        let is_new = |number: &AtomicU64| number.load(Ordering::Relaxed) == NEW;
        [
            is_new(&GLOBAL),
            is_new(&self.heap),
            opened.is_ok(),
            env::current_dir().is_ok_and(|now| now == Path::new(NEW_DIRECTORY)),
            offset.is_ok_and(|now| now == NEW_OFFSET),
            is_new(self.mapping),
            is_new(variable),
            LOCAL.get() == NEW,
            own_errno == NEW_ERRNO,
            signal_is_blocked(),
        ]
    }
}

/// A number in a mapping that forked processes share.
fn shared_number() -> Result<&'static AtomicU64, ArmError> {
    let access = ProtFlags::READ | ProtFlags::WRITE;
    // SAFETY: a new mapping, wherever there is room.
    let page = unsafe { mmap_anonymous(ptr::null_mut(), 4096, access, MapFlags::SHARED)? };
    // SAFETY: zeroed, aligned to a page, never unmapped, and used as an atomic alone.
    Ok(unsafe { &*page.cast::<AtomicU64>() })
}

fn errno() -> i32 {
    // SAFETY: the place is the calling thread's.
    unsafe { *libc::__errno_location() }
}

fn set_errno(value: i32) {
    // SAFETY: the place is the calling thread's, and there is no reference to it.
    unsafe { *libc::__errno_location() = value };
}

/// The mask of the calling thread, with SIGUSR1 added to it if `block`.
fn mask(block: bool) -> Result<libc::sigset_t, ArmError> {
    let mut added = MaybeUninit::<libc::sigset_t>::zeroed();
    let mut before = MaybeUninit::<libc::sigset_t>::zeroed();
    // SAFETY: both point to room for a set; `added` is initialised before it is read, and `before` by the calls.
    unsafe {
        libc::sigemptyset(added.as_mut_ptr());
        if block {
            libc::sigaddset(added.as_mut_ptr(), libc::SIGUSR1);
        }
        match libc::pthread_sigmask(libc::SIG_BLOCK, added.as_ptr(), before.as_mut_ptr()) {
            0 => Ok(before.assume_init()),
            error => Err(std::io::Error::from_raw_os_error(error).into()),
        }
    }
}

fn block_signal() -> Result<(), ArmError> {
    mask(true).map(drop)
}

fn signal_is_blocked() -> bool {
    // SAFETY: the set is initialised.
    mask(false).is_ok_and(|mask| unsafe { libc::sigismember(&raw const mask, libc::SIGUSR1) } == 1)
}

fn sample(seen: &[bool], wrote: &[bool]) -> Sample {
    let count = |seen: &[bool]| seen.iter().filter(|seen| **seen).count() as f64;
    let sample = Sample::new()
        .with(SEEN, count(seen))
        .with(WROTE, count(wrote));
    let each = THINGS.iter().zip(seen);
    each.fold(sample, |sample, ((key, _), seen)| {
        sample.with(key, f64::from(u8::from(*seen)))
    })
}

/// Whose turn it is.
#[derive(Default)]
struct Turn(AtomicU8);

impl Turn {
    /// The looker has yet to come.
    const COMING: u8 = 0;
    /// The looker is there.
    const CHANGE: u8 = 1;
    /// The changes are made.
    const LOOK: u8 = 2;
    /// There is nothing to look at.
    const LEAVE: u8 = 3;

    fn give(&self, to: u8) {
        // ORDER: Release: pairs with the Acquire in `wait`, so that all that was changed before can be looked at.
        self.0.store(to, Ordering::Release);
    }

    /// Waits until it is no longer the turn of `now`; whose it is then.
    fn wait(&self, kind: Kind, now: u8) -> u8 {
        loop {
            // ORDER: Acquire: pairs with the Release in `give`.
            let turn = self.0.load(Ordering::Acquire);
            if turn != now {
                return turn;
            }
            kind.yield_now();
        }
    }
}

/// A thread of that kind looks at what this one has changed, if it has.
fn by_thread(kind: Kind, changes: bool) -> Result<Sample, ArmError> {
    let scene = Arc::new(Scene::new()?);
    let turn = Arc::new(Turn::default());
    let variable = AtomicU64::new(0);
    let address = (&raw const variable).expose_provenance();
    // ORDER: Relaxed: published by the start of the thread.
    scene.address.store(address, Ordering::Relaxed);
    let (its_scene, its_turn) = (Arc::clone(&scene), Arc::clone(&turn));
    let looker = kind.spawn(move || {
        set_errno(0);
        its_turn.give(Turn::CHANGE);
        if its_turn.wait(kind, Turn::CHANGE) == Turn::LEAVE {
            return None;
        }
        // SAFETY: it is the turn to look, so the one who changes waits for this thread's end.
        Some(unsafe { its_scene.look() })
    })?;
    turn.wait(kind, Turn::COMING);
    let changed = match changes {
        true => scene.change(&variable),
        false => Ok(()),
    };
    // SAFETY: the variable is this function's.
    let wrote = unsafe { scene.look() };
    turn.give(match changed {
        Ok(()) => Turn::LOOK,
        Err(_) => Turn::LEAVE,
    });
    let seen = looker.join()?;
    changed?;
    let seen = seen.ok_or_else(|| ArmError::Failed("the looker left too early".into()))?;
    Ok(sample(&seen, &wrote))
}

/// The control: who changes looks.
fn by_itself() -> Result<Sample, ArmError> {
    let scene = Scene::new()?;
    let variable = AtomicU64::new(0);
    let address = (&raw const variable).expose_provenance();
    // ORDER: Relaxed: read by this thread.
    scene.address.store(address, Ordering::Relaxed);
    scene.change(&variable)?;
    // SAFETY: the variable is this function's.
    let seen = unsafe { scene.look() };
    Ok(sample(&seen, &seen))
}

/// A process that was forked before looks at what this one has changed.
fn by_process() -> Result<Sample, ArmError> {
    let scene = Scene::new()?;
    let variable = AtomicU64::new(0);
    let address = (&raw const variable).expose_provenance();
    // ORDER: Relaxed: the process that is forked has a copy.
    scene.address.store(address, Ordering::Relaxed);
    let (mut is_to_look, mut go) = pipe()?;
    let (mut answers, mut answer) = pipe()?;
    let child = forked::whole(|| {
        if is_to_look.read_exact(&mut [0]).is_err() {
            return 1;
        }
        // SAFETY: the copy of the variable, on the copy of the stack, which this process goes on with.
        let seen = unsafe { scene.look() }.map(u8::from);
        i32::from(answer.write_all(&seen).is_err())
    })?;
    scene.change(&variable)?;
    // SAFETY: the variable is this function's.
    let wrote = unsafe { scene.look() };
    go.write_all(&[0])?;
    let mut seen = [0; THINGS.len()];
    answers.read_exact(&mut seen)?;
    child.wait()?;
    Ok(sample(&seen.map(|seen| seen == 1), &wrote))
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::verdict::{Verdict, assert_inconclusive, decide};

    /// What a looker sees, by keys.
    type Seen<'a> = &'a [&'a str];

    struct Machine<'a> {
        kernel: Seen<'a>,
        green: Seen<'a>,
        process: Seen<'a>,
        untouched: Seen<'a>,
        wrote: usize,
    }

    const GOOD: Machine<'static> = Machine {
        kernel: &SHARED,
        green: &SHARED,
        process: &[],
        untouched: &[],
        wrote: THINGS.len(),
    };

    impl Machine<'_> {
        fn samples(&self) -> Samples {
            let mut samples = Samples::new();
            let wrote: Vec<bool> = (0..THINGS.len()).map(|at| at < self.wrote).collect();
            let every = THINGS.map(|(key, _)| key);
            for _ in 0..5 {
                for (arm, seen) in [
                    ("kernel", self.kernel),
                    ("green", self.green),
                    ("process", self.process),
                    ("untouched", self.untouched),
                    ("itself", &every[..self.wrote]),
                ] {
                    let seen = THINGS.map(|(key, _)| seen.contains(&key));
                    samples.push(arm, sample(&seen, &wrote));
                }
            }
            samples
        }

        fn verdict(&self) -> Verdict {
            let samples = self.samples();
            decide(
                &SharedPrivate.premises(&samples),
                &SharedPrivate.judge(&samples),
            )
        }
    }

    #[test]
    fn the_verdict_follows_the_samples_both_ways() {
        assert_eq!(GOOD.verdict(), Verdict::Confirmed);
        let with_mask = [&SHARED[..], &["mask"]].concat();
        let unlike = [&SHARED[..], &["local"]].concat();
        let stack = [&SHARED[..], &[STACK]].concat();
        let carrier = Machine {
            green: &with_mask,
            ..GOOD
        };
        assert_eq!(carrier.verdict(), Verdict::Confirmed);
        for bad in [
            Machine {
                kernel: &SHARED[1..],
                green: &SHARED[1..],
                ..GOOD
            },
            Machine {
                kernel: &unlike,
                green: &unlike,
                ..GOOD
            },
            Machine {
                kernel: &stack,
                green: &stack,
                ..GOOD
            },
            Machine {
                green: &unlike,
                ..GOOD
            },
            Machine {
                process: &["offset"],
                ..GOOD
            },
        ] {
            assert_eq!(bad.verdict(), Verdict::NotHere);
        }
    }

    /// Planted: a change that was never made, which nobody sees for that reason.
    #[test]
    fn changes_that_were_not_made_decide_nothing() {
        assert_inconclusive(&Machine { wrote: 9, ..GOOD }.verdict(), "finds all changed");
    }

    /// Planted: something that looks changed from the beginning.
    #[test]
    fn changes_that_nobody_made_decide_nothing() {
        let verdict = Machine {
            untouched: &["mask"],
            ..GOOD
        }
        .verdict();
        assert_inconclusive(&verdict, "not changed");
    }

    #[test]
    fn a_process_that_has_no_sample_leaves_its_part_open() {
        let mut samples = Samples::new();
        for arm in ["kernel", "green", "untouched", "itself"] {
            samples.push(arm, GOOD.samples().of(arm)[0].clone());
        }
        let verdict = decide(&[], &SharedPrivate.judge(&samples));
        assert_inconclusive(&verdict, "noise");
    }

    #[test]
    fn the_figure_is_drawn_from_the_samples() {
        let figures = SharedPrivate.figures(
            &Machine {
                process: &["offset"],
                ..GOOD
            }
            .samples(),
        );
        let Content::Matrix { rows, .. } = &figures[0].content else {
            panic!("{figures:?}");
        };
        assert_eq!(
            rows[4],
            Row::new("position in a file", ["seen", "seen", "seen"])
        );
        assert_eq!(rows[7], Row::new("thread-local", ["-", "-", "-"]));
    }

    #[test]
    fn the_mask_of_a_thread_is_read_as_it_was_set() {
        let check = || {
            let before = signal_is_blocked();
            block_signal().unwrap();
            (before, signal_is_blocked())
        };
        assert_eq!(std::thread::spawn(check).join().unwrap(), (false, true));
    }
}
