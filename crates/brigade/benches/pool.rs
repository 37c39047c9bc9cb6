//! What jobs of a pool and forks cost, beside rayon and a plain pool. `cargo bench -p brigade --bench pool`, with a part of
//! a name to select.
//!
//! Each line is the best and the median of several runs, in nanoseconds of wall time per operation.

use std::sync::mpsc::{self, Receiver, Sender};
use std::sync::{Arc, Mutex};
use std::time::{Duration, Instant};

use brigade::pool::{self, ThreadPool};
use brigade::runtime::{Builder, Runtime};

const RUNS: usize = 7;
const THREADS: usize = 2;
const ROUND_TRIPS: usize = 20_000;
const JOBS: usize = 200_000;
const FIB: u64 = 27;
const FORKS: usize = 317_810;

fn report(name: &str, operations: usize, mut run: impl FnMut() -> Duration) {
    if let Some(part) = std::env::args().skip(1).find(|a| !a.starts_with("--"))
        && !name.contains(&part)
    {
        return;
    }
    run();
    let mut times: Vec<f64> = (0..RUNS)
        .map(|_| run().as_nanos() as f64 / operations as f64)
        .collect();
    times.sort_by(f64::total_cmp);
    println!("{name:<34} {:>8.1} {:>8.1}", times[0], times[RUNS / 2]);
}

fn timed(runtime: &Runtime, body: impl FnOnce() + Send) -> Duration {
    runtime.run(|| {
        let start = Instant::now();
        body();
        start.elapsed()
    })
}

fn clocked(body: impl FnOnce()) -> Duration {
    let start = Instant::now();
    body();
    start.elapsed()
}

type Job = Box<dyn FnOnce() + Send>;

/// The pool that everybody writes first: a channel behind a mutex.
struct Plain {
    jobs: Option<Sender<Job>>,
    threads: Vec<std::thread::JoinHandle<()>>,
}

impl Plain {
    fn new() -> Plain {
        let (jobs, queue) = mpsc::channel::<Job>();
        let queue = Arc::new(Mutex::new(queue));
        let work = |queue: Arc<Mutex<Receiver<Job>>>| {
            move || {
                loop {
                    let Ok(job) = queue.lock().unwrap().recv() else {
                        return;
                    };
                    job();
                }
            }
        };
        let threads = (0..THREADS)
            .map(|_| std::thread::spawn(work(Arc::clone(&queue))))
            .collect();
        Plain {
            jobs: Some(jobs),
            threads,
        }
    }

    fn execute(&self, job: impl FnOnce() + Send + 'static) {
        let jobs = self.jobs.as_ref().expect("open");
        jobs.send(Box::new(job)).expect("the threads run");
    }
}

impl Drop for Plain {
    fn drop(&mut self) {
        self.jobs = None;
        for thread in self.threads.drain(..) {
            thread.join().expect("no panic");
        }
    }
}

/// Submits an empty job and waits for its result, again and again.
fn round_trips(execute: impl Fn(Job)) {
    for _ in 0..ROUND_TRIPS {
        let (done, is_done) = mpsc::sync_channel(1);
        execute(Box::new(move || done.send(()).expect("waited for")));
        is_done.recv().expect("sent");
    }
}

/// Submits many empty jobs and waits for the last.
fn many(execute: impl Fn(Job)) {
    let (done, is_done) = mpsc::channel();
    for _ in 0..JOBS {
        let done = done.clone();
        execute(Box::new(move || done.send(()).expect("waited for")));
    }
    drop(done);
    assert_eq!(is_done.iter().count(), JOBS);
}

fn fib_join(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (left, right) = pool::join(|| fib_join(n - 1), || fib_join(n - 2));
    left + right
}

fn fib_spawn(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let left = brigade::thread::spawn(move || fib_spawn(n - 1));
    let right = fib_spawn(n - 2);
    left.join().expect("no panic") + right
}

fn fib_rayon(n: u64) -> u64 {
    if n < 2 {
        return n;
    }
    let (left, right) = rayon::join(|| fib_rayon(n - 1), || fib_rayon(n - 2));
    left + right
}

fn main() {
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let pool = ThreadPool::new(THREADS);
    let plain = Plain::new();
    let rayon = rayon::ThreadPoolBuilder::new()
        .num_threads(THREADS)
        .build()
        .expect("a pool");
    println!("{:<34} {:>8} {:>8}", "ns", "best", "median");
    let joins = || (0..ROUND_TRIPS).for_each(|_| pool.submit(|| ()).join().expect("no panic"));
    report("round trip, brigade, green", ROUND_TRIPS, || {
        timed(&runtime, joins)
    });
    report("round trip, brigade, kernel", ROUND_TRIPS, || {
        clocked(joins)
    });
    report("round trip, rayon", ROUND_TRIPS, || {
        clocked(|| round_trips(|job| rayon.spawn(job)))
    });
    report("round trip, mpsc and mutex", ROUND_TRIPS, || {
        clocked(|| round_trips(|job| plain.execute(job)))
    });
    report("many, brigade", JOBS, || {
        clocked(|| many(|job| pool.execute(job)))
    });
    report("many, brigade, handles", JOBS, || {
        clocked(|| {
            let handles: Vec<_> = (0..JOBS).map(|_| pool.submit(|| ())).collect();
            handles
                .into_iter()
                .for_each(|handle| handle.join().expect("no panic"));
        })
    });
    report("many, rayon", JOBS, || {
        clocked(|| many(|job| rayon.spawn(job)))
    });
    report("many, mpsc and mutex", JOBS, || {
        clocked(|| many(|job| plain.execute(job)))
    });
    report("fib, pool::join", FORKS, || {
        timed(&runtime, || assert_eq!(fib_join(FIB), 196_418))
    });
    report("fib, spawn and join", FORKS, || {
        timed(&runtime, || assert_eq!(fib_spawn(FIB), 196_418))
    });
    report("fib, rayon::join", FORKS, || {
        clocked(|| rayon.install(|| assert_eq!(fib_rayon(FIB), 196_418)))
    });
}
