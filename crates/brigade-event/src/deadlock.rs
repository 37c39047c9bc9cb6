//! The report of a deadlock: threads that wait for each other, or a program in which everything waits.

use std::fmt;
use std::panic::Location;

use crate::report::taken;
use crate::{LockDescription, Mode, ThreadLabel, WaitReason};

/// How many threads the text of a report shows when all threads wait; `{:#}` shows all of them.
const SHOWN: usize = 20;

/// Threads that wait and that nothing can wake.
///
/// Its `Display` is a text of several lines, the first of which says the whole thing. If all threads of a program wait,
/// the text stops after some of them; the alternate form (`{:#}`) goes on.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlockReport {
    /// What was found.
    pub kind: DeadlockKind,
    /// The threads. In a cycle each waits for what the next one has, the last for what the first has, and the first is
    /// the one whose wait closed the cycle.
    pub threads: Vec<DeadlockedThread>,
}

/// What a [`DeadlockReport`] is about.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum DeadlockKind {
    /// Some threads wait for each other in a circle, each without a deadline. The rest of the program goes on.
    Cycle,
    /// Every thread waits without a deadline, and nothing outside can wake one.
    AllWait,
}

/// What is to be done about a deadlock.
#[derive(Clone, Copy, Debug, PartialEq, Eq, Hash, Default)]
#[non_exhaustive]
pub enum DeadlockResponse {
    /// Nothing more: the threads go on waiting.
    #[default]
    Continue,
    /// The thread whose wait closed the cycle panics with the report, so that what it holds is given back as it
    /// unwinds. Where no thread closed a cycle, as [`DeadlockResponse::Continue`].
    PanicClosing,
    /// The process aborts.
    Abort,
}

/// One thread of a [`DeadlockReport`].
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct DeadlockedThread {
    /// Number and name.
    pub thread: ThreadLabel,
    /// Whether it is a green thread.
    pub green: bool,
    /// Where it was spawned; none for a kernel thread that Brigade did not start.
    pub spawned_at: Option<&'static Location<'static>>,
    /// The locks it holds, in the order in which it took them.
    pub holds: Vec<HeldLockReport>,
    /// What it waits for.
    pub waits_for: WaitReport,
}

/// A lock that a thread holds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct HeldLockReport {
    /// The lock.
    pub lock: LockDescription,
    /// How it is held.
    pub mode: Mode,
    /// Where it was taken.
    pub taken_at: &'static Location<'static>,
}

/// A wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct WaitReport {
    /// Which operation waits.
    pub reason: WaitReason,
    /// What for.
    pub object: AwaitedObject,
    /// Where the operation was called; none where only libc knows.
    pub called_at: Option<&'static Location<'static>>,
    /// For how long it has waited, in milliseconds.
    pub waited_ms: u64,
    /// Whether the wait ends by itself at a deadline.
    pub timed: bool,
}

/// What a thread waits for.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub enum AwaitedObject {
    /// A lock of Brigade's, whose owners are known.
    Lock(LockDescription),
    /// The end of a thread.
    Thread(ThreadLabel),
    /// A lock of std, or anything else that waits for a futex at this address. Its owner is unknown.
    Foreign(usize),
    /// Something without owners, at this address: a channel, a semaphore, a condition variable.
    Unowned(usize),
    /// A descriptor with this number.
    Descriptor(i32),
    /// Nothing in particular: a sleep, a park.
    Nothing,
}

impl DeadlockReport {
    /// A report about these threads; see the fields.
    #[must_use]
    pub fn new(kind: DeadlockKind, threads: Vec<DeadlockedThread>) -> DeadlockReport {
        DeadlockReport { kind, threads }
    }
}

impl DeadlockedThread {
    /// A green thread that holds nothing and waits as told; the other fields are set one by one.
    #[must_use]
    pub fn new(thread: ThreadLabel, waits_for: WaitReport) -> DeadlockedThread {
        DeadlockedThread {
            thread,
            green: true,
            spawned_at: None,
            holds: Vec::new(),
            waits_for,
        }
    }
}

impl HeldLockReport {
    /// A lock held since it was taken at `taken_at`.
    #[must_use]
    pub fn new(
        lock: LockDescription,
        mode: Mode,
        taken_at: &'static Location<'static>,
    ) -> HeldLockReport {
        HeldLockReport {
            lock,
            mode,
            taken_at,
        }
    }
}

impl WaitReport {
    /// A wait without a deadline that has just begun, nobody knows where; the other fields are set one by one.
    #[must_use]
    pub fn new(reason: WaitReason, object: AwaitedObject) -> WaitReport {
        WaitReport {
            reason,
            object,
            called_at: None,
            waited_ms: 0,
            timed: false,
        }
    }
}

impl fmt::Display for DeadlockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("deadlock: ")?;
        match self.kind {
            DeadlockKind::Cycle => {
                for thread in &self.threads {
                    write!(f, "{} -> ", thread.thread)?;
                    // The end of a thread needs no words of its own: the thread comes next.
                    if !matches!(thread.waits_for.object, AwaitedObject::Thread(_)) {
                        write!(f, "{} -> ", thread.waits_for.object)?;
                    }
                }
                if let Some(first) = self.threads.first() {
                    write!(f, "{}", first.thread)?;
                }
            }
            DeadlockKind::AllWait => {
                let count = self.threads.len();
                write!(
                    f,
                    "{} wait, and nothing can wake one",
                    threads_in_all(count)
                )?;
            }
        }
        let shown = match self.kind {
            DeadlockKind::AllWait if !f.alternate() => SHOWN.min(self.threads.len()),
            _ => self.threads.len(),
        };
        for thread in &self.threads[..shown] {
            write!(f, "\n{thread}")?;
        }
        match self.threads.len() - shown {
            0 => Ok(()),
            rest => write!(f, "\n  ... and {rest} more"),
        }
    }
}

fn threads_in_all(count: usize) -> String {
    match count {
        1 => "the only thread".to_owned(),
        count => format!("all {count} threads"),
    }
}

/// Between what is held or awaited and where: `{:#}` puts both on one line.
fn next_line(f: &fmt::Formatter<'_>) -> &'static str {
    if f.alternate() { ", " } else { "\n      " }
}

impl fmt::Display for DeadlockedThread {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "  {}", self.thread)?;
        if !self.green {
            f.write_str(", a kernel thread")?;
        }
        if let Some(site) = self.spawned_at {
            write!(f, ", spawned at {site}")?;
        }
        for held in &self.holds {
            write!(f, "\n    {held}")?;
        }
        write!(f, "\n    {}", self.waits_for)
    }
}

impl fmt::Display for HeldLockReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(f, "holds {}{}", self.lock, next_line(f))?;
        write!(f, "{} at {}", taken(self.mode), self.taken_at)
    }
}

impl fmt::Display for WaitReport {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.object {
            AwaitedObject::Thread(thread) => write!(f, "waits for the end of {thread}")?,
            AwaitedObject::Nothing => f.write_str("waits")?,
            object => write!(f, "waits for {object}")?,
        }
        write!(f, "{}by {}", next_line(f), self.reason)?;
        if let Some(site) = self.called_at {
            write!(f, " at {site}")?;
        }
        write!(f, ", for {} ms", self.waited_ms)?;
        if self.timed {
            f.write_str(" (with a deadline)")?;
        }
        Ok(())
    }
}

impl fmt::Display for AwaitedObject {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match self {
            AwaitedObject::Lock(lock) => lock.fmt(f),
            AwaitedObject::Thread(thread) => thread.fmt(f),
            AwaitedObject::Foreign(address) => {
                write!(
                    f,
                    "a std lock or other futex at {address:#x} (owner unknown)"
                )
            }
            AwaitedObject::Unowned(address) => write!(f, "an object at {address:#x} (no owners)"),
            AwaitedObject::Descriptor(fd) => write!(f, "descriptor {fd}"),
            AwaitedObject::Nothing => f.write_str("nothing in particular"),
        }
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::{LockKind, LockTag};

    fn line(report: &DeadlockReport, number: usize) -> String {
        report.to_string().lines().nth(number).unwrap().to_owned()
    }

    fn waiter(id: u64, lock: &LockTag, holds: &LockTag) -> DeadlockedThread {
        let mut wait = WaitReport::new(
            WaitReason::Futex,
            AwaitedObject::Lock(LockDescription::of(lock)),
        );
        wait.waited_ms = 12;
        wait.called_at = Some(Location::caller());
        let mut thread = DeadlockedThread::new(ThreadLabel::new(id, None), wait);
        let held = LockDescription::of(holds);
        thread.holds.push(HeldLockReport::new(
            held,
            Mode::Exclusive,
            Location::caller(),
        ));
        thread
    }

    #[test]
    fn the_first_line_of_a_cycle_names_every_thread_and_every_lock() {
        let a = LockTag::new(LockKind::Mutex).with_name("a");
        let b = LockTag::new(LockKind::RwLock).with_name("b");
        let cycle = vec![waiter(1, &a, &b), waiter(2, &b, &a)];
        let report = DeadlockReport::new(DeadlockKind::Cycle, cycle);
        let (at_a, at_b) = (a.created(), b.created());
        assert_eq!(
            line(&report, 0),
            format!(
                "deadlock: thread 1 -> Mutex \"a\" ({at_a}) -> thread 2 -> RwLock \"b\" ({at_b}) -> thread 1"
            )
        );
    }

    #[test]
    fn each_thread_is_told_with_what_it_holds_and_what_it_waits_for() {
        let a = LockTag::new(LockKind::Mutex).with_name("a");
        let mut thread = waiter(1, &a, &a);
        thread.thread = ThreadLabel::new(1, Some("clerk"));
        thread.green = false;
        thread.spawned_at = Some(a.created());
        let report = DeadlockReport::new(DeadlockKind::Cycle, vec![thread.clone()]);
        let created = a.created();
        let rest: Vec<String> = report
            .to_string()
            .lines()
            .skip(1)
            .map(String::from)
            .collect();
        assert_eq!(
            rest,
            [
                format!("  thread 1 \"clerk\", a kernel thread, spawned at {created}"),
                format!("    holds Mutex \"a\" ({created})"),
                format!("      taken at {}", thread.holds[0].taken_at),
                format!("    waits for Mutex \"a\" ({created})"),
                format!(
                    "      by futex at {}, for 12 ms",
                    thread.waits_for.called_at.unwrap()
                ),
            ]
        );
    }

    #[test]
    fn a_join_in_a_cycle_names_the_joined_thread_once() {
        let join = |id, of| {
            let object = AwaitedObject::Thread(ThreadLabel::new(of, None));
            DeadlockedThread::new(
                ThreadLabel::new(id, None),
                WaitReport::new(WaitReason::Join, object),
            )
        };
        let report = DeadlockReport::new(DeadlockKind::Cycle, vec![join(1, 2), join(2, 1)]);
        assert_eq!(
            line(&report, 0),
            "deadlock: thread 1 -> thread 2 -> thread 1"
        );
        assert_eq!(line(&report, 2), "    waits for the end of thread 2");
    }

    #[test]
    fn a_report_about_a_crowd_stops_and_says_how_many_are_left_out() {
        let threads: Vec<_> = (1..=100)
            .map(|id| {
                let wait = WaitReport::new(WaitReason::Futex, AwaitedObject::Foreign(0x10));
                DeadlockedThread::new(ThreadLabel::new(id, None), wait)
            })
            .collect();
        let report = DeadlockReport::new(DeadlockKind::AllWait, threads);
        assert_eq!(
            line(&report, 0),
            "deadlock: all 100 threads wait, and nothing can wake one"
        );
        assert!(report.to_string().ends_with("\n  ... and 80 more"));
        assert!(format!("{report:#}").contains("\n  thread 100\n"));
    }

    #[test]
    fn an_owner_that_nobody_knows_is_said_to_be_unknown() {
        let wait = WaitReport::new(WaitReason::Futex, AwaitedObject::Foreign(0xbeef));
        assert!(
            wait.to_string()
                .starts_with("waits for a std lock or other futex at 0xbeef (owner unknown)\n")
        );
    }
}
