//! tokio: tasks on the multi-thread runtime, `tokio::sync::Mutex`, `tokio::time`, and any channels.
//!
//! Each workload is the async twin of the one in `threads`. The first function
//! runs as a spawned task, because `block_on` itself is not on a worker.

pub(super) mod channels;

use std::future::Future;
use std::pin::Pin;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, AtomicU64, Ordering};
use std::time::{Duration, Instant};

use tokio::runtime::{Builder, Runtime};
use tokio::sync::{Mutex, Notify};

use self::channels::Channels;
use super::threads::{Beside, TICK, blockers};
use crate::line::{self, Line, Work};
use crate::sample::{Memory, Sample, Stopwatch};

/// Runs `work` on a runtime of its own, with channels of `C`.
///
/// # Errors
///
/// When the runtime cannot be built or a workload's result is wrong.
pub(super) fn run<C: Channels>(work: &Work) -> Result<Sample, String> {
    let Work {
        line,
        n,
        workers,
        passes,
    } = *work;
    let runtime = Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_time()
        .build()
        .map_err(|e| format!("building tokio's runtime: {e}"))?;
    match line {
        Line::ParkedMemory => in_task(&runtime, parked_memory(n))?,
        Line::Sleep1m => in_task(&runtime, sleepers(n)),
        Line::TickerHogs => ticker(&runtime, n, |end| vec![Beside::Compute(end); 8]),
        Line::TickerBlocking => ticker(&runtime, n, blockers),
        _ => Sample::of_passes(passes, || in_task(&runtime, pass::<C>(line, n))?),
    }
}

/// Runs a future as a task, so that it is on a worker as in a server.
fn in_task<T: Send + 'static>(
    runtime: &Runtime,
    future: impl Future<Output = T> + Send + 'static,
) -> Result<T, String> {
    runtime
        .block_on(async { tokio::spawn(future).await })
        .map_err(|e| e.to_string())
}

async fn pass<C: Channels>(line: Line, n: u64) -> Result<u64, String> {
    let wrong = |what: &str| Err(format!("{what} is wrong"));
    match line {
        Line::SpawnJoinAll if spawn_join_all(n).await != line::sum_below(n) => wrong("the sum"),
        Line::SpawnJoinOne if spawn_join_one(n).await != line::sum_below(n) => wrong("the sum"),
        Line::Skynet if skynet(0, n).await != line::sum_below(n) => wrong("skynet's sum"),
        Line::Fib if fib(n).await != line::fib_value(n) => wrong("fib"),
        Line::PingPong if channels::ping_pong::<C>(n).await != n => wrong("the count"),
        Line::Channel4x4 if channels::four_by_four::<C>(n).await != line::sum_below(n) => {
            wrong("the sum")
        }
        Line::Ring503 if channels::ring::<C>(line.threads(), n).await != n => wrong("the count"),
        Line::SpawnJoinAll | Line::SpawnJoinOne | Line::Skynet => Ok(n),
        Line::PingPong | Line::Channel4x4 | Line::Ring503 => Ok(n),
        Line::Fib => Ok(line::fib_spawns(n)),
        Line::Yield2 | Line::Yield1000 => Ok(yields(line.threads(), n).await),
        Line::Mutex8 | Line::Mutex1000 => locks(line.threads(), n).await,
        _ => Err(format!("{} is not run in passes", line.name())),
    }
}

async fn spawn_join_all(n: u64) -> u64 {
    let handles: Vec<_> = (0..n).map(|i| tokio::spawn(async move { i })).collect();
    let mut sum = 0;
    for handle in handles {
        sum += handle.await.expect("a workload panicked");
    }
    sum
}

async fn spawn_join_one(n: u64) -> u64 {
    let mut sum = 0;
    for i in 0..n {
        sum += tokio::spawn(async move { i })
            .await
            .expect("a workload panicked");
    }
    sum
}

async fn yields(threads: u64, n: u64) -> u64 {
    let each = n / threads;
    let body = move || async move {
        for _ in 0..each {
            tokio::task::yield_now().await;
        }
    };
    let handles: Vec<_> = (0..threads).map(|_| tokio::spawn(body())).collect();
    for handle in handles {
        handle.await.expect("a workload panicked");
    }
    each * threads
}

fn skynet(first: u64, leaves: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if leaves == 1 {
            return first;
        }
        let part = leaves / 10;
        let child = |i: u64| tokio::spawn(skynet(first + i * part, part));
        let children: Vec<_> = (0..10).map(child).collect();
        let mut sum = 0;
        for child in children {
            sum += child.await.expect("a workload panicked");
        }
        sum
    })
}

async fn locks(threads: u64, n: u64) -> Result<u64, String> {
    let each = n / threads;
    let total = Arc::new(Mutex::new(0_u64));
    let body = |total: Arc<Mutex<u64>>| async move {
        for _ in 0..each {
            *total.lock().await += 1;
        }
    };
    let handles: Vec<_> = (0..threads)
        .map(|_| tokio::spawn(body(total.clone())))
        .collect();
    for handle in handles {
        handle.await.expect("a workload panicked");
    }
    match *total.lock().await {
        got if got == each * threads => Ok(got),
        got => Err(format!(
            "the count under the mutex is {got}, must be {}",
            each * threads
        )),
    }
}

fn fib(n: u64) -> Pin<Box<dyn Future<Output = u64> + Send>> {
    Box::pin(async move {
        if n < 2 {
            return n;
        }
        let branch = tokio::spawn(fib(n - 1));
        let other = fib(n - 2).await;
        branch.await.expect("a workload panicked") + other
    })
}

async fn parked_memory(n: u64) -> Result<Sample, String> {
    let arrived = Arc::new(AtomicU64::new(0));
    let never = Arc::new(Notify::new());
    let before = Memory::now()?;
    let watch = Stopwatch::start();
    let park = |_| {
        let (arrived, never) = (arrived.clone(), never.clone());
        tokio::spawn(async move {
            // ORDER: Relaxed; a count that publishes nothing, read below.
            arrived.fetch_add(1, Ordering::Relaxed);
            never.notified().await;
        })
    };
    let handles: Vec<_> = (0..n).map(park).collect();
    // ORDER: Relaxed; only the number matters.
    while arrived.load(Ordering::Relaxed) < n {
        tokio::time::sleep(Duration::from_millis(1)).await;
    }
    tokio::time::sleep(Duration::from_millis(50)).await;
    let started = watch.lap().wall.as_nanos() as f64 / n as f64;
    let sample = Memory::now()?
        .per_thread(before, n)
        .with("start_ns", started);
    // The parked tasks end with the process.
    std::mem::forget(handles);
    Ok(sample)
}

async fn sleepers(n: u64) -> Sample {
    let watch = Stopwatch::start();
    let sleep = || tokio::time::sleep(Duration::from_secs(1));
    let handles: Vec<_> = (0..n)
        .map(|_| tokio::spawn(async move { sleep().await }))
        .collect();
    for handle in handles {
        handle.await.expect("a workload panicked");
    }
    let lap = watch.lap();
    Sample::default()
        .with("wall_s", lap.wall.as_secs_f64())
        .with("cpu_s", lap.cpu.as_secs_f64())
}

fn ticker(
    runtime: &Runtime,
    n: u64,
    beside: impl FnOnce(Instant) -> Vec<Beside>,
) -> Result<Sample, String> {
    let end = Instant::now() + Duration::from_millis(n);
    let beside = beside(end);
    let late = in_task(runtime, async move {
        let running = Arc::new(AtomicBool::new(false));
        let seen = running.clone();
        let ticker = tokio::spawn(async move {
            // ORDER: Relaxed; says only that this task has started.
            seen.store(true, Ordering::Relaxed);
            tick_until(end).await
        });
        // ORDER: Relaxed; as above.
        while !running.load(Ordering::Relaxed) {
            tokio::task::yield_now().await;
        }
        let others: Vec<_> = beside
            .into_iter()
            .map(|b| tokio::spawn(async move { b.act() }))
            .collect();
        for other in others {
            other.await.expect("a workload panicked");
        }
        ticker.await.expect("a workload panicked")
    })?;
    Sample::of_lateness(late)
}

async fn tick_until(end: Instant) -> Vec<Duration> {
    let mut late = Vec::new();
    let mut due = Instant::now() + TICK;
    while due < end {
        tokio::time::sleep_until(due.into()).await;
        late.push(due.elapsed());
        due += TICK;
    }
    late
}
