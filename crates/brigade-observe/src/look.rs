//! One look at a process: what each of its threads has done so far.
//!
//! Threads end and begin while the look is taken: one that is gone when its turn comes is left out. A number that a
//! process gets again after its end is told by the time of the start ([`Look::is_same_process`]).

use std::io;
use std::path::Path;
use std::time::Instant;

use serde::Serialize;

use crate::error::{Error, is_gone};
use crate::proc_text::{KERNEL_THREAD, SchedStat, Stat, class_name, clean, keyed};
use crate::source::{SCHED, SCHEDSTAT, STATUS, Source, WCHAN};

/// What is known of the process as a whole.
#[derive(Clone, Debug, PartialEq, Eq, Serialize)]
#[non_exhaustive]
pub struct Process {
    /// Its number.
    pub pid: u32,
    /// Its name, at most 15 bytes.
    pub name: String,
    /// The command line; empty for threads of the kernel and for zombies.
    pub command: String,
    /// The user whose rights it has, if the kernel says so.
    pub user: Option<u32>,
    /// Whether it is a thread of the kernel.
    pub is_kernel_thread: bool,
    /// Whether it has ended and its parent has not asked for that. A process whose main thread alone has ended has not.
    pub is_zombie: bool,
    /// The number of a thread through which the kernel shows the memory: that of the process, unless its main thread has
    /// ended before others.
    #[serde(skip)]
    pub memory_tid: u32,
    /// The number of its parent.
    pub parent: u32,
    /// When it was started, in clock ticks since the machine was.
    pub started_ticks: u64,
}

/// A thread, and what it has done since it was started.
#[derive(Clone, Debug, PartialEq, Eq)]
#[non_exhaustive]
pub struct ThreadLook {
    /// Its number.
    pub tid: u32,
    /// Its name.
    pub name: String,
    /// Its state, as the kernel's letter: R, S, D, T, t, Z, I.
    pub state: char,
    /// What it waits in, if it waits and the kernel says so.
    pub wait_channel: Option<String>,
    /// Scheduling class.
    pub class: &'static str,
    /// Nice value.
    pub nice: i32,
    /// Priority in a real-time class; 0 elsewhere.
    pub rt_priority: u32,
    /// The CPU it ran on last.
    pub cpu: Option<u32>,
    /// Time on a CPU, in nanoseconds: exact, or of clock ticks where the kernel does not say.
    pub run_ns: u64,
    /// Time in user code, in clock ticks.
    pub user_ticks: u64,
    /// Time in the kernel, in clock ticks.
    pub system_ticks: u64,
    /// Time in the run queue, runnable and not running, in nanoseconds.
    pub queue_ns: Option<u64>,
    /// Time waiting for disks, in nanoseconds.
    pub io_ns: Option<u64>,
    /// Switches because it waited.
    pub voluntary: Option<u64>,
    /// Switches because another was to run.
    pub involuntary: Option<u64>,
    /// Moves between CPUs.
    pub migrations: Option<u64>,
    /// When it was started, in clock ticks.
    pub started_ticks: u64,
}

/// A look at a process.
#[derive(Clone, Debug)]
#[non_exhaustive]
pub struct Look {
    /// When it was taken.
    pub at: Instant,
    /// The process.
    pub process: Process,
    /// CPU time of the whole process, ended threads included, in nanoseconds; counted in clock ticks.
    pub run_ns: u64,
    /// CPU time of children that have ended and were waited for, in nanoseconds.
    pub child_ns: u64,
    /// Its threads, in the order of their numbers.
    pub threads: Vec<ThreadLook>,
}

impl Look {
    /// Takes a look at the process with this number, or the one that has the thread with this number.
    ///
    /// # Blocks
    ///
    /// The kernel thread, for about 30 microseconds for each thread of the process.
    ///
    /// # Errors
    ///
    /// There is no such process; `/proc` is not there; the kernel refuses.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_observe::{Look, Source};
    ///
    /// let me = Look::take(&Source::new(), std::process::id())?;
    /// assert!(!me.threads.is_empty());
    ///
    /// let nobody = Look::take(&Source::new(), u32::MAX).unwrap_err();
    /// assert!(nobody.is_no_such_process());
    /// # Ok::<(), brigade_observe::Error>(())
    /// ```
    pub fn take(source: &Source, pid: u32) -> Result<Look, Error> {
        if !source.root().join("self").exists() && !source.process(pid).exists() {
            return Err(Error::no_proc(pid));
        }
        let directory = source.process(pid);
        let io = |error: io::Error| Error::from_io(pid, &error);
        let status = source.text(&directory.join("status")).map_err(io)?;
        let group = keyed(&status, "Tgid").and_then(|group| u32::try_from(group).ok());
        if let Some(group) = group.filter(|group| *group != pid) {
            return Look::take(source, group);
        }
        let text = source.text(&directory.join("stat")).map_err(io)?;
        let stat =
            Stat::parse(&text).ok_or_else(|| Error::other(pid, "its stat cannot be read"))?;
        let threads = threads(source, &directory.join("task")).map_err(io)?;
        // The main thread may end before the others; what belongs to all is then theirs.
        let alive = match stat.state {
            'Z' => threads.iter().find(|thread| thread.state != 'Z'),
            _ => None,
        };
        let memory_tid = alive.map_or(pid, |thread| thread.tid);
        let command = source
            .text(&source.process(memory_tid).join("cmdline"))
            .unwrap_or_default();
        let process = Process {
            pid,
            command: clean(command.trim_end_matches('\0').replace('\0', " ").trim()),
            user: keyed(&status, "Uid").and_then(|user| u32::try_from(user).ok()),
            is_kernel_thread: stat.flags & KERNEL_THREAD != 0,
            is_zombie: stat.state == 'Z' && alive.is_none(),
            memory_tid,
            parent: stat.parent,
            started_ticks: stat.started_ticks,
            name: stat.name,
        };
        Ok(Look {
            at: Instant::now(),
            process,
            run_ns: ticks_ns(stat.user_ticks.saturating_add(stat.system_ticks)),
            child_ns: ticks_ns(stat.child_ticks),
            threads,
        })
    }

    /// Whether both looks are at one process, and not at two that had the same number.
    #[must_use]
    pub fn is_same_process(&self, other: &Look) -> bool {
        let identity = |look: &Look| (look.process.pid, look.process.started_ticks);
        identity(self) == identity(other)
    }
}

fn threads(source: &Source, tasks: &Path) -> io::Result<Vec<ThreadLook>> {
    let mut threads = Vec::new();
    for entry in std::fs::read_dir(tasks)? {
        let entry = match entry {
            Err(error) if is_gone(&error) => break,
            entry => entry?,
        };
        let tid = entry
            .file_name()
            .to_str()
            .and_then(|name| name.parse().ok());
        if let Some(thread) = tid.and_then(|tid| thread(source, &entry.path(), tid)) {
            threads.push(thread);
        }
    }
    threads.sort_by_key(|thread| thread.tid);
    Ok(threads)
}

/// The thread; none if it has ended.
fn thread(source: &Source, directory: &Path, tid: u32) -> Option<ThreadLook> {
    let stat = Stat::parse(&source.text(&directory.join("stat")).ok()?)?;
    let status = source.part(directory, STATUS).unwrap_or_default();
    let sched = source.part(directory, SCHED);
    let time = times(source, directory, &stat);
    Some(ThreadLook {
        tid,
        wait_channel: wait_channel(source, directory, stat.state),
        class: class_name(stat.policy),
        nice: stat.nice,
        rt_priority: stat.rt_priority,
        cpu: stat.cpu,
        run_ns: time.map_or_else(
            || ticks_ns(stat.user_ticks.saturating_add(stat.system_ticks)),
            |time| time.run_ns,
        ),
        user_ticks: stat.user_ticks,
        system_ticks: stat.system_ticks,
        queue_ns: time.map(|time| time.queue_ns),
        io_ns: stat.io_ticks.map(ticks_ns),
        voluntary: keyed(&status, "voluntary_ctxt_switches"),
        involuntary: keyed(&status, "nonvoluntary_ctxt_switches"),
        migrations: sched.and_then(|sched| keyed(&sched, "se.nr_migrations")),
        started_ticks: stat.started_ticks,
        name: stat.name,
        state: stat.state,
    })
}

/// The exact times, unless the kernel keeps none: then all are zero, also of a thread that has run.
fn times(source: &Source, directory: &Path, stat: &Stat) -> Option<SchedStat> {
    let time = SchedStat::parse(&source.part(directory, SCHEDSTAT)?)?;
    if time.run_ns == 0 && stat.user_ticks.saturating_add(stat.system_ticks) > 1 {
        source.lacks(SCHEDSTAT, "this kernel does not count it");
        return None;
    }
    Some(time)
}

fn wait_channel(source: &Source, directory: &Path, state: char) -> Option<String> {
    if !matches!(state, 'S' | 'D' | 'I') {
        return None;
    }
    let text = source.part(directory, WCHAN)?;
    match text.trim() {
        // What the kernel says of threads that the asking one may not trace.
        "0" => {
            source.denied(WCHAN);
            None
        }
        "" => None,
        channel => Some(clean(channel)),
    }
}

/// Clock ticks as nanoseconds.
fn ticks_ns(ticks: u64) -> u64 {
    // SAFETY: sysconf takes a number and answers with one.
    let per_second = u64::try_from(unsafe { libc::sysconf(libc::_SC_CLK_TCK) }).unwrap_or(100);
    ticks.saturating_mul(1_000_000_000 / per_second.max(1))
}
