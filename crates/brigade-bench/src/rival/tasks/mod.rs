//! Tasks: futures on tokio's multi-thread runtime, or on Brigade's processors; `tokio::sync::Mutex` and any channels,
//! which work on either.
//!
//! Each workload is the async twin of the one in `threads`. The first function
//! runs as a spawned task, because `block_on` itself is not on a worker.

pub(super) mod brigade;
pub(super) mod channels;
pub(super) mod tokio;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use ::tokio::sync::{Mutex, Notify};

use self::channels::Channels;
use super::threads::{Beside, TICK, blockers};
use crate::line::{self, Line, Work};
use crate::sample::{Memory, Sample, Stopwatch};

/// What runs tasks.
pub(crate) trait Executor: Sized + 'static {
    /// A runtime of its own with so many workers.
    ///
    /// # Errors
    ///
    /// When the runtime cannot be built.
    fn start(workers: usize) -> Result<Self, String>;

    /// Runs a future as a task, so that it is on a worker as in a server.
    ///
    /// # Errors
    ///
    /// When it panics.
    fn run<T: Send + 'static>(
        &self,
        future: impl Future<Output = T> + Send + 'static,
    ) -> Result<T, String>;

    /// Starts a task; a panic of it comes out where its output is awaited.
    fn spawn<T: Send + 'static>(
        future: impl Future<Output = T> + Send + 'static,
    ) -> impl Future<Output = T> + Send + 'static;

    /// Lets other tasks run.
    fn yield_now() -> impl Future<Output = ()> + Send;

    /// Waits until `time`.
    fn sleep_until(time: Instant) -> impl Future<Output = ()> + Send;
}

/// Runs `work` on a runtime of its own, with channels of `C`.
///
/// # Errors
///
/// When the runtime cannot be built or a workload's result is wrong.
pub(super) fn run<E: Executor, C: Channels>(work: &Work) -> Result<Sample, String> {
    let Work {
        line,
        n,
        workers,
        passes,
    } = *work;
    let runtime = E::start(workers)?;
    match line {
        Line::ParkedMemory => runtime.run(parked_memory::<E>(n))?,
        Line::Sleep1m => runtime.run(sleepers::<E>(n)),
        Line::TickerHogs => ticker(&runtime, n, |end| vec![Beside::Compute(end); 8]),
        Line::TickerBlocking => ticker(&runtime, n, blockers),
        _ => Sample::of_passes(passes, || runtime.run(pass::<E, C>(line, n))?),
    }
}

async fn pass<E: Executor, C: Channels>(line: Line, n: u64) -> Result<u64, String> {
    let wrong = |what: &str| Err(format!("{what} is wrong"));
    match line {
        Line::SpawnJoinAll if spawn_join_all::<E>(n).await != line::sum_below(n) => {
            wrong("the sum")
        }
        Line::SpawnJoinOne if spawn_join_one::<E>(n).await != line::sum_below(n) => {
            wrong("the sum")
        }
        Line::Skynet if skynet::<E>(0, n).await != line::sum_below(n) => wrong("skynet's sum"),
        Line::Fib if fib::<E>(n).await != line::fib_value(n) => wrong("fib"),
        Line::PingPong if channels::ping_pong::<E, C>(n).await != n => wrong("the count"),
        Line::Channel4x4 if channels::four_by_four::<E, C>(n).await != line::sum_below(n) => {
            wrong("the sum")
        }
        Line::Ring503 if channels::ring::<E, C>(line.threads(), n).await != n => wrong("the count"),
        Line::SpawnJoinAll | Line::SpawnJoinOne | Line::Skynet => Ok(n),
        Line::PingPong | Line::Channel4x4 | Line::Ring503 => Ok(n),
        Line::Fib => Ok(line::fib_spawns(n)),
        Line::Yield2 | Line::Yield1000 => Ok(yields::<E>(line.threads(), n).await),
        Line::Mutex8 | Line::Mutex1000 => locks::<E>(line.threads(), n).await,
        _ => Err(format!("{} is not run in passes", line.name())),
    }
}

async fn spawn_join_all<E: Executor>(n: u64) -> u64 {
    let handles: Vec<_> = (0..n).map(|i| E::spawn(async move { i })).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await;
    }
    sum
}

async fn spawn_join_one<E: Executor>(n: u64) -> u64 {
    let mut sum = 0;
    for i in 0..n {
        sum += E::spawn(async move { i }).await;
    }
    sum
}

async fn yields<E: Executor>(threads: u64, n: u64) -> u64 {
    let each = n / threads;
    let body = move || async move {
        for _ in 0..each {
            E::yield_now().await;
        }
    };
    let handles: Vec<_> = (0..threads).map(|_| E::spawn(body())).collect();
    for handle in handles {
        handle.await;
    }
    each * threads
}

fn skynet<E: Executor>(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let child = |i: u64| E::spawn(skynet::<E>(first + i * part, part));
        let children: Vec<_> = (0..10).map(child).collect();
        let mut sum = 0;
        for child in children {
            sum += child.await;
        }
        sum
    })
}

async fn locks<E: Executor>(threads: u64, n: u64) -> Result<u64, String> {
    let each = n / threads;
    let total = Arc::new(Mutex::new(0_u64));
    let body = |total: Arc<Mutex<u64>>| async move {
        for _ in 0..each {
            *total.lock().await += 1;
        }
    };
    let handles: Vec<_> = (0..threads)
        .map(|_| E::spawn(body(total.clone())))
        .collect();
    for handle in handles {
        handle.await;
    }
    match *total.lock().await {
        got if got == each * threads => Ok(got),
        got => Err(format!(
            "the count under the mutex is {got}, must be {}",
            each * threads
        )),
    }
}

fn fib<E: Executor>(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let branch = E::spawn(fib::<E>(n - 1));
        let other = fib::<E>(n - 2).await;
        branch.await + other
    })
}

async fn parked_memory<E: Executor>(n: u64) -> Result<Sample, String> {
    let arrived = Arc::new(AtomicU64::new(0));
    let never = Arc::new(Notify::new());
    let before = Memory::now()?;
    let watch = Stopwatch::start();
    let park = |_| {
        let (arrived, never) = (arrived.clone(), never.clone());
        E::spawn(async move {
            // ORDER: Relaxed; a count that publishes nothing, read below.
            arrived.fetch_add(1, Ordering::Relaxed);
            never.notified().await;
        })
    };
    let handles: Vec<_> = (0..n).map(park).collect();
    // ORDER: Relaxed; only the number matters.
    while arrived.load(Ordering::Relaxed) < n {
        E::sleep_until(Instant::now() + Duration::from_millis(1)).await;
    }
    E::sleep_until(Instant::now() + Duration::from_millis(50)).await;
    let started = watch.lap().wall.as_nanos() as f64 / n as f64;
    let sample = Memory::now()?
        .per_thread(before, n)
        .with("start_ns", started);
    // The parked tasks end with the process.
    std::mem::forget(handles);
    Ok(sample)
}

async fn sleepers<E: Executor>(n: u64) -> Sample {
    let watch = Stopwatch::start();
    let sleep = || E::sleep_until(Instant::now() + Duration::from_secs(1));
    let handles: Vec<_> = (0..n)
        .map(|_| E::spawn(async move { sleep().await }))
        .collect();
    for handle in handles {
        handle.await;
    }
    let lap = watch.lap();
    Sample::default()
        .with("wall_s", lap.wall.as_secs_f64())
        .with("cpu_s", lap.cpu.as_secs_f64())
}

fn ticker<E: Executor>(
    runtime: &E,
    n: u64,
    beside: impl FnOnce(Instant) -> Vec<Beside>,
) -> Result<Sample, String> {
    let end = Instant::now() + Duration::from_millis(n);
    let beside = beside(end);
    let late = runtime.run(async move {
        let running = Arc::new(AtomicBool::new(false));
        let seen = running.clone();
        let ticker = E::spawn(async move {
            // ORDER: Relaxed; says only that this task has started.
            seen.store(true, Ordering::Relaxed);
            tick_until::<E>(end).await
        });
        // ORDER: Relaxed; as above.
        while !running.load(Ordering::Relaxed) {
            E::yield_now().await;
        }
        let others: Vec<_> = beside
            .into_iter()
            .map(|b| E::spawn(async move { b.act() }))
            .collect();
        for other in others {
            other.await;
        }
        ticker.await
    })?;
    Sample::of_lateness(late)
}

async fn tick_until<E: Executor>(end: Instant) -> Vec<Duration> {
    let mut late = Vec::new();
    let mut due = Instant::now() + TICK;
    while due < end {
        E::sleep_until(due).await;
        late.push(due.elapsed());
        due += TICK;
    }
    late
}
