//! The workloads, written once for every system whose threads look like
//! `std::thread`: Brigade, kernel threads and may.
//!
//! The trait carries only spellings; the bodies below are what a user would
//! write. Generic code is compiled once per system, so no call is indirect.
//! Every workload checks its own result and fails when it is wrong. What threads
//! do with a lock is in `locks`, with channels in `channels`: a rival is a
//! system of threads with one kind of each.

use std::io::Read;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use super::channels::{self, Channels};
use super::locks::{self, Lock};
use crate::line::{self, Line, Work};
use crate::sample::{Memory, Sample, Stopwatch};

/// What a thread system is called by.
pub(super) trait Threads: 'static {
    /// Handle of a spawned thread.
    type Handle<T: Send + 'static>: Send + 'static;

    /// Builds the runtime with `workers` workers and runs `body` in it.
    fn run<T, F>(workers: usize, body: F) -> Result<T, String>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;
    /// Spawns.
    fn spawn<T, F>(body: F) -> Self::Handle<T>
    where
        T: Send + 'static,
        F: FnOnce() -> T + Send + 'static;
    /// Joins; the workloads never panic on purpose.
    fn join<T: Send + 'static>(handle: Self::Handle<T>) -> T;
    /// Lets others run.
    fn yield_now();
    /// Blocks until unparked; may return early.
    fn park();
    /// Sleeps.
    fn sleep(time: Duration);
}

/// Runs `work` on threads of `R`, with locks of `L` and channels of `C`.
///
/// # Errors
///
/// When the runtime cannot be built or a workload's result is wrong.
pub(super) fn run<R: Threads, L: Lock, C: Channels>(work: &Work) -> Result<Sample, String> {
    let Work {
        line,
        n,
        workers,
        passes,
    } = *work;
    match line {
        Line::SpawnJoinAll => in_passes::<R>(workers, passes, move || spawn_join_all::<R>(n)),
        Line::SpawnJoinOne => in_passes::<R>(workers, passes, move || spawn_join_one::<R>(n)),
        Line::Yield2 | Line::Yield1000 => {
            in_passes::<R>(workers, passes, move || yields::<R>(line.threads(), n))
        }
        Line::Skynet => in_passes::<R>(workers, passes, move || {
            check(skynet::<R>(0, n), line::sum_below(n), n, "skynet's sum")
        }),
        Line::Mutex8 | Line::Mutex1000 => in_passes::<R>(workers, passes, move || {
            locks::adders::<R, L>(line.threads(), n)
        }),
        Line::PingPong => in_passes::<R>(workers, passes, move || channels::ping_pong::<R, C>(n)),
        Line::Channel4x4 => {
            in_passes::<R>(workers, passes, move || channels::four_by_four::<R, C>(n))
        }
        Line::Ring503 => in_passes::<R>(workers, passes, move || {
            channels::ring::<R, C>(line.threads(), n)
        }),
        Line::Fib => in_passes::<R>(workers, passes, move || {
            check(fib::<R>(n), line::fib_value(n), line::fib_spawns(n), "fib")
        }),
        Line::ParkedMemory => R::run(workers, move || parked_memory::<R>(n))?,
        Line::Sleep1m => R::run(workers, move || sleepers::<R>(n))?,
        Line::TickerHogs => ticker::<R>(workers, n, |end| vec![Beside::Compute(end); 8]),
        Line::TickerBlocking => ticker::<R>(workers, n, blockers),
        Line::Echo100
        | Line::Echo1000
        | Line::Echo10000
        | Line::Http100
        | Line::Http1000
        | Line::Accept10000 => Err(format!("{} is about servers", line.name())),
    }
}

fn in_passes<R: Threads>(
    workers: usize,
    passes: u32,
    pass: impl FnMut() -> Result<u64, String> + Send + 'static,
) -> Result<Sample, String> {
    R::run(workers, move || Sample::of_passes(passes, pass))?
}

/// `ops` when `got` is what it must be.
pub(super) fn check(got: u64, want: u64, ops: u64, what: &str) -> Result<u64, String> {
    if got == want {
        Ok(ops)
    } else {
        Err(format!("{what} is {got}, must be {want}"))
    }
}

fn spawn_join_all<R: Threads>(n: u64) -> Result<u64, String> {
    let handles: Vec<_> = (0..n).map(|i| R::spawn(move || i)).collect();
    let sum = handles.into_iter().map(R::join).sum();
    check(
        sum,
        line::sum_below(n),
        n,
        "the sum of the threads' results",
    )
}

fn spawn_join_one<R: Threads>(n: u64) -> Result<u64, String> {
    let sum = (0..n).map(|i| R::join(R::spawn(move || i))).sum();
    check(
        sum,
        line::sum_below(n),
        n,
        "the sum of the threads' results",
    )
}

fn yields<R: Threads>(threads: u64, n: u64) -> Result<u64, String> {
    let each = n / threads;
    let body = move || (0..each).for_each(|_| R::yield_now());
    let handles: Vec<_> = (0..threads).map(|_| R::spawn(body)).collect();
    handles.into_iter().for_each(R::join);
    Ok(each * threads)
}

fn skynet<R: Threads>(first: u64, leaves: u64) -> u64 {
    if leaves == 1 {
        return first;
    }
    let part = leaves / 10;
    let child = |i: u64| R::spawn(move || skynet::<R>(first + i * part, part));
    let children: Vec<_> = (0..10).map(child).collect();
    children.into_iter().map(R::join).sum()
}

fn fib<R: Threads>(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let branch = R::spawn(move || fib::<R>(n - 1));
    let other = fib::<R>(n - 2);
    R::join(branch) + other
}

fn parked_memory<R: Threads>(n: u64) -> Result<Sample, String> {
    let arrived = Arc::new(AtomicU64::new(0));
    // One thread first, so that the runtime's own first-use memory is not counted.
    R::join(R::spawn(|| R::sleep(Duration::from_millis(1))));
    let before = Memory::now()?;
    let watch = Stopwatch::start();
    let park = |_| {
        let arrived = arrived.clone();
        R::spawn(move || {
            // ORDER: Relaxed; a count that publishes nothing, read below.
            arrived.fetch_add(1, Ordering::Relaxed);
            loop {
                R::park();
            }
        })
    };
    let handles: Vec<R::Handle<()>> = (0..n).map(park).collect();
    // ORDER: Relaxed; pairs with nothing, only the number matters.
    while arrived.load(Ordering::Relaxed) < n {
        R::sleep(Duration::from_millis(1));
    }
    // From the count to the park are a few instructions; let the last ones do them.
    R::sleep(Duration::from_millis(50));
    let started = watch.lap().wall.as_nanos() as f64 / n as f64;
    let sample = Memory::now()?
        .per_thread(before, n)
        .with("start_ns", started);
    // The parked threads end with the process.
    std::mem::forget(handles);
    Ok(sample)
}

fn sleepers<R: Threads>(n: u64) -> Result<Sample, String> {
    let watch = Stopwatch::start();
    let handles: Vec<_> = (0..n)
        .map(|_| R::spawn(|| R::sleep(Duration::from_secs(1))))
        .collect();
    handles.into_iter().for_each(R::join);
    let lap = watch.lap();
    Ok(Sample::default()
        .with("wall_s", lap.wall.as_secs_f64())
        .with("cpu_s", lap.cpu.as_secs_f64()))
}

/// The interval of the ticker.
pub(super) const TICK: Duration = Duration::from_millis(10);

/// What runs beside the ticker.
pub(super) enum Beside {
    /// Computes until then.
    Compute(Instant),
    /// Short blocking calls, back to back, until then.
    Sleep(Instant),
    /// One read that blocks until the other end is closed.
    Read(std::io::PipeReader),
}

impl Clone for Beside {
    fn clone(&self) -> Self {
        match self {
            Beside::Compute(end) => Beside::Compute(*end),
            Beside::Sleep(end) => Beside::Sleep(*end),
            Beside::Read(pipe) => Beside::Read(pipe.try_clone().expect("duplicating a pipe end")),
        }
    }
}

impl Beside {
    /// Runs it to its end. Calls nothing of the runtime under test.
    pub(super) fn act(self) {
        match self {
            Beside::Compute(end) => {
                while Instant::now() < end {
                    std::hint::black_box(
                        (0..10_000_u64).fold(0, |a, i| a ^ std::hint::black_box(i)),
                    );
                }
            }
            Beside::Sleep(end) => {
                while Instant::now() < end {
                    std::thread::sleep(Duration::from_millis(20));
                }
            }
            Beside::Read(mut pipe) => {
                let read = pipe.read(&mut [0]);
                assert_eq!(read.ok(), Some(0), "the pipe was to be closed, not written");
            }
        }
    }
}

/// Eight blocking threads: four sleep 20 ms again and again, four read a pipe that stays silent
/// until `end`, when a kernel thread outside the runtime closes it.
pub(super) fn blockers(end: Instant) -> Vec<Beside> {
    let (reader, writer) = std::io::pipe().expect("making a pipe");
    std::thread::spawn(move || {
        std::thread::sleep(end.saturating_duration_since(Instant::now()));
        drop(writer);
    });
    let mut all = vec![Beside::Sleep(end); 4];
    all.extend(vec![Beside::Read(reader); 4]);
    all
}

fn ticker<R: Threads>(
    workers: usize,
    n: u64,
    beside: impl FnOnce(Instant) -> Vec<Beside>,
) -> Result<Sample, String> {
    let end = Instant::now() + Duration::from_millis(n);
    let beside = beside(end);
    let late = R::run(workers, move || {
        let running = Arc::new(AtomicBool::new(false));
        let seen = running.clone();
        let ticker = R::spawn(move || {
            // ORDER: Relaxed; says only that this thread has started.
            seen.store(true, Ordering::Relaxed);
            tick_until::<R>(end)
        });
        // ORDER: Relaxed; as above.
        while !running.load(Ordering::Relaxed) {
            R::yield_now();
        }
        let others: Vec<_> = beside
            .into_iter()
            .map(|b| R::spawn(move || b.act()))
            .collect();
        others.into_iter().for_each(R::join);
        R::join(ticker)
    })?;
    Sample::of_lateness(late)
}

/// Lateness of every tick due before `end`. A tick missed while an earlier one was late counts
/// with its own lateness, so a long freeze is not one sample among hundreds.
fn tick_until<R: Threads>(end: Instant) -> Vec<Duration> {
    let mut late = Vec::new();
    let mut due = Instant::now() + TICK;
    while due < end {
        R::sleep(due.saturating_duration_since(Instant::now()));
        late.push(due.elapsed());
        due += TICK;
    }
    late
}
