//! Watches a program and its children: look after look, summed up.
//!
//! # What is summed up how
//!
//! * CPU time of the program: over the processes that live, their own and that of children they have waited for. A child
//!   that ends passes from the first sum to the second, so nothing is counted twice or lost.
//! * Times of threads: differences between looks. A thread that begins and ends between two looks is seen in the sum of
//!   its process alone.
//! * States and waits: each look stands for the time since the one before.

use std::collections::{BTreeMap, HashMap};
use std::path::Path;
use std::time::{Duration, Instant};

use super::observations::{Observations, WaitKind};
use crate::error::Error;
use crate::green::{Green, green_threads};
use crate::interpreter::Interpreter;
use crate::look::{Look, Process, ThreadLook};
use crate::proc_text::Stat;
use crate::source::Source;

/// The tree of processes is looked up again after so long.
const TREE_EVERY: Duration = Duration::from_millis(200);
/// A look is not taken before the last one is so long ago.
const LEAST_PAUSE: Duration = Duration::from_millis(20);
/// Of one CPU, the share that watching may take: one in so many.
const COST_SHARE: u32 = 30;
/// How often a process is asked for green threads: it may have just begun to be another program.
const GREEN_LOOKS: usize = 5;
/// A thread that computes runs for so long, on average, before it waits.
const LEAST_RUN_NS: u64 = 1_000_000;
/// A thread that was seen for less is not judged.
const LEAST_LIFE_S: f64 = 0.1;

/// Watches a program.
#[derive(Debug)]
pub struct Observer<'a> {
    source: &'a Source,
    root: u32,
    begun: Instant,
    last: Instant,
    looks: usize,
    tree: Vec<u32>,
    tree_at: Option<Instant>,
    processes: HashMap<(u32, u64), ProcessSum>,
    threads: HashMap<(u32, u32, u64), ThreadSum>,
    first_total_ns: Option<u64>,
    last_total_ns: u64,
    most_processes: usize,
    most_threads: usize,
    sockets: Option<usize>,
    thread_s: f64,
    waiting_s: f64,
    waits_s: BTreeMap<WaitKind, f64>,
    /// CPU time of the whole program, where somebody knows better.
    exact_total_ns: Option<u64>,
}

#[derive(Debug, Default)]
struct ProcessSum {
    interpreter: Option<Interpreter>,
    busy_ns: u64,
    green: Option<usize>,
    green_looks: usize,
}

/// What a thread had done at the first look and at the last.
#[derive(Debug)]
struct ThreadSum {
    first: Counts,
    last: Counts,
    first_at: Instant,
    last_at: Instant,
}

#[derive(Clone, Copy, Debug, Default)]
struct Counts {
    run_ns: u64,
    queue_ns: Option<u64>,
    user_ticks: u64,
    system_ticks: u64,
    voluntary: Option<u64>,
    involuntary: Option<u64>,
}

impl Counts {
    fn of(thread: &ThreadLook) -> Counts {
        Counts {
            run_ns: thread.run_ns,
            queue_ns: thread.queue_ns,
            user_ticks: thread.user_ticks,
            system_ticks: thread.system_ticks,
            voluntary: thread.voluntary,
            involuntary: thread.involuntary,
        }
    }
}

impl ThreadSum {
    fn of(&self, get: impl Fn(&Counts) -> u64) -> u64 {
        get(&self.last).saturating_sub(get(&self.first))
    }

    fn maybe(&self, get: impl Fn(&Counts) -> Option<u64>) -> Option<u64> {
        Some(get(&self.last)?.saturating_sub(get(&self.first).unwrap_or(0)))
    }

    fn wanted_ns(&self) -> u64 {
        self.of(|counts| counts.run_ns)
            .saturating_add(self.maybe(|counts| counts.queue_ns).unwrap_or(0))
    }

    fn lived_s(&self) -> f64 {
        self.last_at.duration_since(self.first_at).as_secs_f64()
    }

    /// Whether the thread works long for each time that it waits. Time in the run queue says nothing of that: on a busy
    /// machine a thread that wakes up often is there for long too.
    fn hardly_waits(&self) -> bool {
        let waits = self.maybe(|counts| counts.voluntary).unwrap_or(0);
        let run_ns = self.of(|counts| counts.run_ns);
        run_ns > 0 && run_ns >= waits.saturating_mul(LEAST_RUN_NS)
    }

    fn computes(&self) -> bool {
        self.hardly_waits()
            && self.lived_s() >= LEAST_LIFE_S
            && self.wanted_ns() as f64 / 1e9 >= 0.5 * self.lived_s()
    }
}

impl<'a> Observer<'a> {
    /// Begins to watch the process with this number, and its children.
    ///
    /// # Errors
    ///
    /// Those of [`Look::take`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_observe::{Model, Observer, Source, advise};
    ///
    /// let source = Source::new();
    /// let mut observer = Observer::new(&source, std::process::id())?;
    /// observer.look()?;
    /// // One look is too few for advice.
    /// assert_eq!(advise(&observer.finish(1)).model, Model::NotEnoughData);
    ///
    /// assert!(Observer::new(&source, u32::MAX).is_err());
    /// # Ok::<(), brigade_observe::Error>(())
    /// ```
    pub fn new(source: &'a Source, pid: u32) -> Result<Observer<'a>, Error> {
        let root = Look::take(source, pid)?.process.pid;
        let now = Instant::now();
        let mut observer = Observer {
            source,
            root,
            begun: now,
            last: now,
            looks: 0,
            tree: vec![root],
            tree_at: None,
            processes: HashMap::new(),
            threads: HashMap::new(),
            first_total_ns: None,
            last_total_ns: 0,
            most_processes: 0,
            most_threads: 0,
            sockets: None,
            thread_s: 0.0,
            waiting_s: 0.0,
            waits_s: BTreeMap::new(),
            exact_total_ns: None,
        };
        // It may have ended meanwhile: then there is nothing to see, which is no error.
        let _ = observer.look();
        Ok(observer)
    }

    /// Takes a look, and says how long to pause before the next: so that watching stays cheap.
    ///
    /// # Blocks
    ///
    /// The kernel thread, as [`Look::take`] for each process of the program.
    ///
    /// # Errors
    ///
    /// The program has ended, or was never there.
    pub fn look(&mut self) -> Result<Duration, Error> {
        let begun = Instant::now();
        let cpu = thread_cpu_time();
        self.find_tree(begun);
        let root = Look::take(self.source, self.root)?;
        if root.process.is_zombie {
            return Err(Error::from_io(
                self.root,
                &std::io::Error::from_raw_os_error(libc::ESRCH),
            ));
        }
        let mut looks = vec![root];
        let children = self.tree.iter().filter(|pid| **pid != self.root);
        looks.extend(children.filter_map(|pid| Look::take(self.source, *pid).ok()));
        let since = begun.duration_since(self.last).as_secs_f64();
        self.last = begun;
        self.looks += 1;
        self.most_processes = self.most_processes.max(looks.len());
        let threads = looks.iter().map(|look| look.threads.len()).sum();
        self.most_threads = self.most_threads.max(threads);
        let total = |look: &Look| look.run_ns.saturating_add(look.child_ns);
        self.last_total_ns = looks.iter().map(total).sum();
        let is_first = self.first_total_ns.is_none();
        self.first_total_ns.get_or_insert(self.last_total_ns);
        for look in &looks {
            self.add_process(look, since, is_first);
        }
        let cost = thread_cpu_time().saturating_sub(cpu);
        Ok((cost * COST_SHARE).max(LEAST_PAUSE))
    }

    /// The number of the program's process.
    #[must_use]
    pub fn pid(&self) -> u32 {
        self.root
    }

    /// The processes that are watched: the program's, and what descends from it.
    pub fn processes(&self) -> impl Iterator<Item = u32> {
        self.tree.iter().copied()
    }

    /// Asks the program and all that descends from it to end (SIGTERM), or ends them (SIGKILL).
    ///
    /// Those that cannot be ended are left alone: they have ended, or belong to somebody else. Nobody is ended where the
    /// numbers are not those of this program's PID namespace ([`Source::has_our_numbers`]).
    pub fn terminate(&mut self, force: bool) {
        if !self.source.has_our_numbers() {
            return;
        }
        self.tree_at = None;
        self.find_tree(Instant::now());
        let signal = if force { libc::SIGKILL } else { libc::SIGTERM };
        for pid in &self.tree {
            if let Ok(pid) = libc::pid_t::try_from(*pid) {
                // SAFETY: kill takes two numbers. The number was read a moment ago from a process of the tree.
                unsafe { libc::kill(pid, signal) };
            }
        }
    }

    /// CPU time that somebody knows better than the looks: of a child that has been waited for.
    pub fn set_cpu_time(&mut self, total: Duration) {
        self.exact_total_ns = u64::try_from(total.as_nanos()).ok();
    }

    /// The last look is over: the program ran on until now.
    pub fn note_end(&mut self) {
        self.last = Instant::now();
    }

    fn add_process(&mut self, look: &Look, since: f64, is_first: bool) {
        let pid = look.process.pid;
        let identity = (pid, look.process.started_ticks);
        let begun = self.begun;
        let mut busy_ns = 0;
        for thread in &look.threads {
            let counts = Counts::of(thread);
            let key = (pid, thread.tid, thread.started_ticks);
            let sum = self.threads.entry(key).or_insert_with(|| ThreadSum {
                // One that began while it was watched counts from its start.
                first: if is_first { counts } else { Counts::default() },
                last: counts,
                first_at: if is_first { begun } else { look.at },
                last_at: look.at,
            });
            sum.last = counts;
            sum.last_at = look.at;
            if sum.hardly_waits() {
                busy_ns += sum.wanted_ns();
            }
            self.add_state(thread, since);
        }
        let has_process = self.processes.contains_key(&identity);
        let process = self.processes.entry(identity).or_default();
        process.busy_ns = process.busy_ns.max(busy_ns);
        // Between a fork and the start of another program the process is a copy of its parent.
        if !has_process || self.tree_at == Some(self.last) {
            process.interpreter = Interpreter::of(self.source, look.process.memory_tid);
            let sockets = sockets(&self.source.process(look.process.memory_tid));
            self.sockets = self.sockets.max(sockets);
            if process.green.is_none() && process.green_looks < GREEN_LOOKS {
                process.green_looks += 1;
                process.green = green(self.source, &look.process);
            }
        }
    }

    fn add_state(&mut self, thread: &ThreadLook, since: f64) {
        self.thread_s += since;
        if !matches!(thread.state, 'S' | 'D' | 'I') {
            return;
        }
        self.waiting_s += since;
        let kind = match thread.wait_channel.as_deref() {
            None if thread.state == 'D' => WaitKind::Disk,
            channel => WaitKind::of_channel(channel),
        };
        *self.waits_s.entry(kind).or_default() += since;
    }

    /// The program and what descends from it.
    fn find_tree(&mut self, now: Instant) {
        let is_fresh = |at: Instant| now.duration_since(at) < TREE_EVERY;
        if self.tree_at.is_some_and(is_fresh) {
            return;
        }
        self.tree_at = Some(now);
        let parents = parents(self.source);
        let mut tree = vec![self.root];
        let mut at = 0;
        while let Some(parent) = tree.get(at).copied() {
            at += 1;
            let children = parents.iter().filter(|(_, of)| *of == parent);
            let fresh: Vec<u32> = children
                .map(|(pid, _)| *pid)
                .filter(|pid| !tree.contains(pid))
                .collect();
            tree.extend(fresh);
        }
        self.tree = tree;
    }

    /// What was seen, on a machine of which the program can use so many CPUs.
    #[must_use]
    pub fn finish(self, cpus: usize) -> Observations {
        let watched_s = self.last.duration_since(self.begun).as_secs_f64();
        let per_s = |much: f64| {
            if watched_s > 0.0 {
                much / watched_s
            } else {
                0.0
            }
        };
        let sums = self.sums();
        let run_s = self.run_s(&sums);
        let queue_s = sums.queue_s.unwrap_or(0.0);
        let is_computing =
            |process: &&ProcessSum| process.busy_ns as f64 / 1e9 >= 0.1 * watched_s.max(0.1);
        let processes = || self.processes.values();
        let busiest = processes().max_by_key(|process| process.busy_ns);
        let waits = self.waits_s.iter();
        Observations {
            watched_s,
            looks: self.looks,
            cpus,
            processes: self.most_processes,
            computing_processes: processes().filter(is_computing).count(),
            threads: self.most_threads,
            mean_threads: per_s(self.thread_s),
            user_s: run_s * sums.user_share,
            system_s: run_s * (1.0 - sums.user_share),
            cpus_used: per_s(run_s),
            cpus_wanted: per_s(run_s + queue_s),
            computing_threads: self.threads.values().filter(|t| t.computes()).count(),
            computing_share: sums.steady_s / sums.run_s.max(1e-9),
            computing_wanted: per_s(sums.steady_wanted_s),
            queue_share: sums.queue_s.map(|_| queue_s / (run_s + queue_s).max(1e-9)),
            waiting_share: self.waiting_s / self.thread_s.max(1e-9),
            waits: waits.map(|(kind, s)| (*kind, per_s(*s))).collect(),
            voluntary_per_s: sums.voluntary.map(per_s),
            involuntary_per_s: sums.involuntary.map(per_s),
            sockets: self.sockets,
            interpreter: busiest.and_then(|process| process.interpreter.clone()),
            green_threads: processes().filter_map(|process| process.green).max(),
        }
    }

    /// CPU time of the whole program: of its processes, or of its threads, whose times are exact.
    fn run_s(&self, sums: &Sums) -> f64 {
        let first = self.first_total_ns.unwrap_or(0);
        match self.exact_total_ns {
            Some(exact) => exact as f64 / 1e9,
            None => (self.last_total_ns.saturating_sub(first) as f64 / 1e9).max(sums.run_s),
        }
    }

    fn sums(&self) -> Sums {
        let threads = || self.threads.values();
        let maybe = |get: fn(&Counts) -> Option<u64>| -> Option<f64> {
            let mut known = threads().filter_map(|thread| thread.maybe(get)).peekable();
            known.peek()?;
            Some(known.sum::<u64>() as f64)
        };
        let run_ns = |thread: &ThreadSum| thread.of(|counts| counts.run_ns);
        let steady = || threads().filter(|thread| thread.hardly_waits());
        let user: u64 = threads().map(|t| t.of(|counts| counts.user_ticks)).sum();
        let system: u64 = threads().map(|t| t.of(|counts| counts.system_ticks)).sum();
        Sums {
            run_s: threads().map(run_ns).sum::<u64>() as f64 / 1e9,
            queue_s: maybe(|counts| counts.queue_ns).map(|ns| ns / 1e9),
            steady_s: steady().map(run_ns).sum::<u64>() as f64 / 1e9,
            steady_wanted_s: steady().map(ThreadSum::wanted_ns).sum::<u64>() as f64 / 1e9,
            user_share: if user + system > 0 {
                user as f64 / (user + system) as f64
            } else {
                1.0
            },
            voluntary: maybe(|counts| counts.voluntary),
            involuntary: maybe(|counts| counts.involuntary),
        }
    }
}

/// What all threads did together.
struct Sums {
    run_s: f64,
    queue_s: Option<f64>,
    /// Of threads that hardly wait.
    steady_s: f64,
    steady_wanted_s: f64,
    user_share: f64,
    voluntary: Option<f64>,
    involuntary: Option<f64>,
}

/// CPU time of the calling thread.
fn thread_cpu_time() -> Duration {
    let mut time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    // SAFETY: `time` is a valid place for the result; the clock exists on every Linux.
    unsafe { libc::clock_gettime(libc::CLOCK_THREAD_CPUTIME_ID, &mut time) };
    let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
    let nanos = u32::try_from(time.tv_nsec).unwrap_or(0);
    Duration::new(seconds, nanos)
}

/// CPU time of all children of this program that have ended and were waited for, with theirs.
///
/// # Examples
///
/// ```
/// let before = brigade_observe::ended_children_cpu_time();
/// std::process::Command::new("true").status()?;
/// assert!(brigade_observe::ended_children_cpu_time() >= before);
/// # Ok::<(), std::io::Error>(())
/// ```
#[must_use]
pub fn ended_children_cpu_time() -> Duration {
    let mut usage = std::mem::MaybeUninit::<libc::rusage>::zeroed();
    // SAFETY: `usage` is a place for the answer, and zeroes are a valid value of it.
    let usage = unsafe {
        libc::getrusage(libc::RUSAGE_CHILDREN, usage.as_mut_ptr());
        usage.assume_init()
    };
    let time = |time: libc::timeval| {
        let seconds = u64::try_from(time.tv_sec).unwrap_or(0);
        let micros = u64::try_from(time.tv_usec).unwrap_or(0);
        Duration::from_secs(seconds) + Duration::from_micros(micros)
    };
    time(usage.ru_utime) + time(usage.ru_stime)
}

/// Every process of the machine with its parent.
fn parents(source: &Source) -> Vec<(u32, u32)> {
    let Ok(entries) = std::fs::read_dir(source.root()) else {
        return Vec::new();
    };
    let parent = |pid: u32| {
        let text = source.text(&source.process(pid).join("stat")).ok()?;
        Some((pid, Stat::parse(&text)?.parent))
    };
    entries
        .filter_map(|entry| entry.ok()?.file_name().to_str()?.parse().ok())
        .filter_map(parent)
        .collect()
}

/// How many sockets the process has open.
fn sockets(process: &Path) -> Option<usize> {
    let is_socket = |path: &Path| {
        std::fs::read_link(path).is_ok_and(|to| to.to_string_lossy().starts_with("socket:"))
    };
    let open = std::fs::read_dir(process.join("fd")).ok()?;
    Some(open.flatten().filter(|fd| is_socket(&fd.path())).count())
}

fn green(source: &Source, process: &Process) -> Option<usize> {
    match green_threads(source, process) {
        Green::Threads(report) => Some(report.green),
        _ => None,
    }
}
