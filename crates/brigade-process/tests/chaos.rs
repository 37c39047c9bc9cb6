//! Workers are killed at random while jobs run: nothing is lost but what was killed, and nothing is done twice.

mod common;

use std::collections::HashSet;
use std::fs::{self, File, OpenOptions};
use std::io::Write;
use std::process::ExitCode;
use std::sync::atomic::{AtomicBool, Ordering};
use std::sync::{Mutex, mpsc};
use std::thread;
use std::time::{Duration, SystemTime};

use brigade_process::{Job, JobError, Jobs, ProcessPool};
use serde::{Deserialize, Serialize};

const CASES: &[common::Case] = &[
    (
        "random_kills_lose_no_job_but_those_they_hit_and_repeat_none",
        kills_without_retries,
    ),
    (
        "random_kills_lose_nothing_where_jobs_may_be_done_again",
        kills_with_retries,
    ),
    (
        "random_kills_while_pools_end_leave_no_process_and_no_job_behind",
        kills_while_pools_end,
    ),
];

const JOBS: u32 = 1000;
const SUBMITTERS: u32 = 8;
const WORKERS: usize = 4;

/// Notes in a file that it began, computes, and gives its number back, changed.
#[derive(Debug, Serialize, Deserialize)]
struct Noted {
    number: u32,
    file: String,
    payload: Vec<u8>,
}

const NOTE: usize = size_of::<u32>();

impl Job for Noted {
    type Reply = (u32, Vec<u8>);
    const NAME: &'static str = "noted";

    fn run(mut self) -> (u32, Vec<u8>) {
        let note = OpenOptions::new().append(true).open(&self.file);
        // So few bytes are written at once, or not at all.
        let noted = note.and_then(|mut file| file.write_all(&self.number.to_le_bytes()));
        noted.expect("the file can be written");
        for _ in 0..20_000 {
            std::hint::spin_loop();
        }
        self.payload.reverse();
        (!self.number, self.payload)
    }
}

type List = (Noted, ());
type Pool = ProcessPool<List>;
type Outcome = Result<(u32, Vec<u8>), JobError>;

fn jobs() -> Jobs<List> {
    Jobs::new().with::<Noted>()
}

fn main() -> ExitCode {
    jobs().serve_if_worker();
    common::run(CASES)
}

/// Numbers that look random (xorshift).
struct Random(u64);

impl Random {
    fn new() -> Random {
        let now = SystemTime::now().duration_since(SystemTime::UNIX_EPOCH);
        let seed = now.expect("after 1970").as_nanos() as u64 | 1;
        println!("seed {seed:#x}");
        Random(seed)
    }

    fn below(&mut self, bound: u64) -> u64 {
        self.0 ^= self.0 << 13;
        self.0 ^= self.0 >> 7;
        self.0 ^= self.0 << 17;
        self.0 % bound
    }
}

/// A file in which jobs note that they began.
struct Notes(String);

impl Notes {
    fn new(name: &str) -> Notes {
        let name = format!("brigade-chaos-{name}-{}", std::process::id());
        let path = std::env::temp_dir().join(name);
        File::create(&path).expect("a file");
        Notes(path.to_str().expect("a name of letters").to_owned())
    }

    fn job(&self, number: u32, payload: &[u8]) -> Noted {
        Noted {
            number,
            file: self.0.clone(),
            payload: payload.to_vec(),
        }
    }

    /// How often each job began.
    fn counts(&self) -> Vec<u32> {
        let mut counts = vec![0; JOBS as usize];
        let notes = fs::read(&self.0).expect("the file can be read");
        for note in notes.chunks(NOTE) {
            let number = u32::from_le_bytes(note.try_into().expect("whole notes"));
            counts[number as usize] += 1;
        }
        counts
    }
}

impl Drop for Notes {
    fn drop(&mut self) {
        let _ = fs::remove_file(&self.0);
    }
}

/// Kills a random worker whenever some jobs have come to their ends, until told to stop; gives the numbers of all it
/// killed. So the pool gets on however slow the machine is.
fn kill_workers(pool: &Pool, stop: &AtomicBool, random: &mut Random) -> HashSet<u32> {
    let mut killed = HashSet::new();
    let mut next = 0;
    // ORDER: SeqCst, partner of the store in `under_fire`.
    while !stop.load(Ordering::SeqCst) {
        thread::sleep(Duration::from_micros(random.below(2000)));
        let stats = pool.stats();
        let workers = pool.workers();
        let pick = random.below(workers.len().max(1) as u64) as usize;
        if let Some(worker) = workers.get(pick)
            && stats.completed + stats.crashed >= next
        {
            // SAFETY: takes numbers. A number that was given to another process in so short a time would be the
            // test's failure, not its success.
            unsafe { libc::kill(worker.pid.cast_signed(), libc::SIGKILL) };
            killed.insert(worker.pid);
            next = stats.completed + stats.crashed + 1 + random.below(8);
        }
    }
    killed
}

/// Submits all jobs from several threads and joins them, in random order, while workers are killed.
fn under_fire(pool: &Pool, notes: &Notes) -> (Vec<(u32, Outcome)>, HashSet<u32>) {
    let results = Mutex::new(Vec::new());
    let stop = AtomicBool::new(false);
    let payload: Vec<u8> = (0..20_000_u32).map(|n| n as u8).collect();
    let mut random = Random::new();
    thread::scope(|scope| {
        let killer = scope.spawn(|| kill_workers(pool, &stop, &mut random));
        let submitters: Vec<_> = (0..SUBMITTERS)
            .map(|first| {
                let (results, payload) = (&results, &payload);
                scope.spawn(move || {
                    let numbers = (first..JOBS).step_by(SUBMITTERS as usize);
                    // Some large, so that workers die over them while they read and write.
                    let length = |n: u32| {
                        if n.is_multiple_of(5) {
                            payload.len()
                        } else {
                            10
                        }
                    };
                    let handles: Vec<_> = numbers
                        .map(|n| (n, pool.submit(notes.job(n, &payload[..length(n)]))))
                        .collect();
                    for (n, handle) in handles {
                        let outcome = handle.join();
                        results.lock().expect("no panic").push((n, outcome));
                    }
                })
            })
            .collect();
        for submitter in submitters {
            submitter.join().expect("no panic");
        }
        // ORDER: SeqCst, partner of the load in `kill_workers`.
        stop.store(true, Ordering::SeqCst);
        let killed = killer.join().expect("no panic");
        let results = std::mem::take(&mut *results.lock().expect("no panic"));
        for (n, outcome) in &results {
            if let Ok((number, bytes)) = outcome {
                let length = if n.is_multiple_of(5) {
                    payload.len()
                } else {
                    10
                };
                assert_eq!(*number, !n);
                assert!(bytes.iter().rev().eq(&payload[..length]), "job {n}");
            }
        }
        (results, killed)
    })
}

fn kills_without_retries() {
    let notes = Notes::new("once");
    let pool = jobs().pool().workers(WORKERS).start().expect("a pool");
    let (results, killed) = under_fire(&pool, &notes);
    let numbers: HashSet<u32> = results.iter().map(|(n, _)| *n).collect();
    assert_eq!(numbers.len(), JOBS as usize, "each job has one result");
    let counts = notes.counts();
    let mut hit = HashSet::new();
    for (n, outcome) in &results {
        let began = counts[*n as usize];
        match outcome {
            Ok(_) => assert_eq!(began, 1, "job {n} is done"),
            Err(error) => {
                assert_eq!(error.signal(), Some(libc::SIGKILL), "job {n}: {error}");
                let worker = error.worker().expect("a worker had it");
                assert!(killed.contains(&worker), "job {n}: {error}");
                assert!(hit.insert(worker), "worker {worker} had two jobs");
                assert!(began <= 1, "job {n} began {began} times");
            }
        }
    }
    let stats = pool.stats();
    println!(
        "{} killed, {} jobs lost, {} given to others",
        killed.len(),
        hit.len(),
        stats.requeued
    );
    assert!(!hit.is_empty(), "the kills hit something");
    assert_eq!(stats.crashed, hit.len() as u64);
    assert_eq!(stats.completed, u64::from(JOBS) - stats.crashed);
    let others = stats.panicked + stats.timed_out + stats.cancelled + stats.failed;
    assert_eq!(others, 0);
}

fn kills_with_retries() {
    let notes = Notes::new("again");
    let pool = jobs().pool().workers(WORKERS).retries(u32::MAX).start();
    let pool = pool.expect("a pool");
    let (results, killed) = under_fire(&pool, &notes);
    assert_eq!(results.len(), JOBS as usize);
    for (n, outcome) in &results {
        assert!(outcome.is_ok(), "job {n}: {outcome:?}");
    }
    let again = pool.stats().requeued;
    println!("{} killed, {again} times given to others", killed.len());
    assert!(again > 0, "the kills hit something");
    assert!(notes.counts().iter().all(|&count| count >= 1));
}

fn kills_while_pools_end() {
    let mut random = Random::new();
    for round in 0..30 {
        let notes = Notes::new("end");
        let grace = Duration::from_micros(random.below(20_000));
        let pool = jobs().pool().workers(2).grace(grace).start();
        let pool = pool.expect("a pool");
        let handles: Vec<_> = (0..40).map(|n| pool.submit(notes.job(n, &[1]))).collect();
        let (sender, pids) = mpsc::channel();
        let killer = thread::spawn(move || {
            for pid in pids {
                thread::sleep(Duration::from_millis(2));
                // SAFETY: takes numbers, as above.
                unsafe { libc::kill(pid, libc::SIGKILL) };
            }
        });
        for worker in pool.workers() {
            let _ = sender.send(worker.pid.cast_signed());
        }
        drop(sender);
        drop(pool);
        killer.join().expect("no panic");
        for (n, handle) in handles.into_iter().enumerate() {
            assert!(handle.is_finished(), "round {round}, job {n}");
            if let Err(error) = handle.join() {
                let is_killed = error.signal() == Some(libc::SIGKILL);
                assert!(is_killed || error.is_cancelled(), "job {n}: {error}");
            }
        }
    }
}
