//! Each way in which a worker can end or misbehave is an error of its job alone.

mod common;

use std::process::ExitCode;
use std::thread;
use std::time::Duration;

use brigade_process::{JobError, ProcessPool, WorkerStatus};
use common::jobs::{Act, All, Bytes, Echo, Square, jobs, pool};
use common::procfs;

const CASES: &[common::Case] = &[
    (
        "every_kind_of_crash_is_an_error_that_names_it",
        every_kind_of_crash,
    ),
    ("every_signal_that_kills_is_named", every_signal),
    ("other_jobs_are_not_concerned", others_are_not_concerned),
    (
        "a_job_that_takes_too_long_is_killed_before_its_error_comes",
        timeouts_kill,
    ),
    ("a_timeout_counts_from_the_start_of_its_job", timeouts_start),
    (
        "timeouts_of_nothing_and_of_for_ever_are_kept",
        extreme_timeouts,
    ),
    ("a_worker_that_is_stopped_is_killed_in_time", stopped_worker),
    (
        "a_worker_without_memory_is_an_error_of_its_job",
        out_of_memory,
    ),
    (
        "whatever_is_no_frame_is_an_error_and_ends_the_worker",
        malformed_frames,
    ),
    (
        "a_frame_that_is_cut_off_by_the_end_of_the_worker_is_a_crash",
        torn_frame,
    ),
    (
        "a_worker_that_closes_its_connection_is_replaced",
        closed_connection,
    ),
    (
        "an_idle_worker_that_is_killed_is_replaced_and_no_job_is_lost",
        idle_workers_killed,
    ),
    (
        "a_reply_counts_though_its_worker_has_ended_when_it_is_read",
        reply_of_dead_worker,
    ),
    (
        "a_job_is_done_again_as_often_as_is_allowed_and_not_more",
        retries,
    ),
    (
        "the_end_of_what_a_worker_said_is_in_the_error",
        stderr_is_captured,
    ),
    (
        "a_worker_that_never_stops_writing_errors_holds_up_nobody",
        endless_stderr,
    ),
    (
        "a_job_that_no_worker_lives_to_read_is_not_tried_for_ever",
        unreadable_job,
    ),
];

fn main() -> ExitCode {
    jobs().serve_if_worker();
    common::run(CASES)
}

fn quiet(workers: usize) -> ProcessPool<All> {
    // Workers say much about their ends.
    pool(workers).capture_stderr().start().expect("a pool")
}

/// The pool works, with another worker than the one that failed.
#[track_caller]
fn goes_on(pool: &ProcessPool<All>, error: &JobError) {
    let pid = pool.run(Act::Pid).expect("the pool goes on");
    let failed = error.worker().expect("a worker had the job");
    assert_ne!(pid, failed.to_string());
    assert!(!procfs::exists(failed), "worker {failed} is gone");
}

fn every_kind_of_crash() {
    let pool = quiet(1);
    for (act, signal, code) in [
        (Act::Exit(0), None, Some(0)),
        (Act::Exit(7), None, Some(7)),
        (Act::Abort, Some(libc::SIGABRT), None),
        (Act::Overflow, Some(libc::SIGABRT), None),
        (Act::Segfault, Some(libc::SIGSEGV), None),
    ] {
        let error = pool.run(act.clone()).expect_err("it crashes");
        assert!(error.is_crash(), "{act:?}: {error}");
        assert_eq!(
            (error.signal(), error.exit_code()),
            (signal, code),
            "{act:?}: {error}"
        );
        assert_eq!(error.panic_message(), None);
        goes_on(&pool, &error);
    }
}

fn every_signal() {
    let pool = quiet(2);
    for signal in [
        libc::SIGHUP,
        libc::SIGINT,
        libc::SIGKILL,
        libc::SIGUSR1,
        libc::SIGALRM,
        libc::SIGTERM,
        libc::SIGXCPU,
        libc::SIGRTMIN() + 1,
    ] {
        let error = pool.run(Act::Signal(signal)).expect_err("it is killed");
        assert_eq!(error.signal(), Some(signal), "{error}");
        assert!(error.to_string().contains(&signal.to_string()), "{error}");
        goes_on(&pool, &error);
    }
}

fn others_are_not_concerned() {
    let pool = quiet(3);
    let mut handles = Vec::new();
    for n in 0..60 {
        handles.push(match n % 3 {
            0 => Err(pool.submit(Act::Abort)),
            1 => Err(pool.submit(Act::Panic("no".to_owned()))),
            _ => Ok(pool.submit(Square(n))),
        });
    }
    for (n, handle) in (0..60).zip(handles) {
        match handle {
            Ok(square) => assert_eq!(square.join().expect("a square"), n * n),
            Err(other) => {
                let error = other.join().expect_err("a failure");
                assert_eq!(error.is_crash(), n % 3 == 0, "{error}");
                assert_eq!(error.is_panic(), n % 3 == 1, "{error}");
            }
        }
    }
    assert_eq!((pool.stats().crashed, pool.stats().panicked), (20, 20));
}

fn timeouts_kill() {
    let pool = pool(2).timeout(Duration::from_millis(30)).start();
    let pool = pool.expect("a pool");
    for act in [Act::Spin, Act::Sleep(3_600_000)] {
        let error = pool.run(act).expect_err("too long");
        assert!(error.is_timeout() && !error.is_crash(), "{error}");
        assert!(error.to_string().contains("30ms"), "{error}");
        let worker = error.worker().expect("a worker had it");
        assert!(!procfs::exists(worker), "worker {worker} is gone");
    }
    let patient = pool.submit_timeout(Act::Sleep(100), Duration::from_secs(3600));
    patient.join().expect("it has its own timeout");
    assert_eq!(pool.stats().timed_out, 2);
}

fn timeouts_start() {
    let pool = pool(1).start().expect("a pool");
    let first = pool.submit(Act::Sleep(2500));
    // It waits for longer than it may take.
    let second = pool.submit_timeout(Square(5), Duration::from_secs(2));
    first.join().expect("it has slept");
    assert_eq!(second.join().expect("it had not begun"), 25);
}

fn out_of_memory() {
    let limit = 1 << 30;
    let pool = pool(1).memory_limit_bytes(limit).capture_stderr().start();
    let pool = pool.expect("a pool");
    assert_eq!(
        pool.run(Act::Allocate(64 << 20)).expect("enough"),
        (64 << 20).to_string()
    );
    let error = pool.run(Act::Allocate(2 << 30)).expect_err("too much");
    assert_eq!(error.signal(), Some(libc::SIGABRT), "{error}");
    assert!(
        error
            .stderr_tail()
            .contains("memory allocation of 2147483648"),
        "{error}"
    );
    goes_on(&pool, &error);
}

/// A frame as the worker would write it.
fn frame(length: u32, kind: u8, id: u64) -> Vec<u8> {
    let mut bytes = length.to_le_bytes().to_vec();
    bytes.push(kind);
    bytes.extend_from_slice(&id.to_le_bytes());
    bytes
}

fn malformed_frames() {
    const READY: u8 = 2;
    const REPLY: u8 = 5;
    const REQUEST: u8 = 4;
    let pool = quiet(1);
    for (bytes, words) in [
        (frame(0, 99, 1), "unknown kind 99"),
        (vec![0xff; 64], "unknown kind 255"),
        (frame(u32::MAX, REPLY, 1), "4294967295 bytes"),
        (frame(0, REPLY, u64::MAX), "out of turn"),
        (frame(0, READY, 0), "out of turn"),
        // Of its own job: the sixth of those that alternate with a square.
        (frame(0, REQUEST, 11), "wrong frame"),
        (b"some text that a library wrote".to_vec(), "frame"),
    ] {
        let error = pool
            .run(Act::WriteToConnection(bytes.clone()))
            .expect_err("no frame");
        assert!(error.is_lost(), "{bytes:?}: {error}");
        assert!(error.to_string().contains(words), "{bytes:?}: {error}");
        goes_on_lost(&pool);
    }
    assert_eq!(pool.stats().failed, 7);
}

#[track_caller]
fn goes_on_lost(pool: &ProcessPool<All>) {
    assert_eq!(pool.run(Square(3)).expect("the pool goes on"), 9);
}

fn torn_frame() {
    let pool = quiet(1);
    let bytes = frame(1000, 5, 1);
    let half = bytes[..7].to_vec();
    for bytes in [half, bytes] {
        let handle = pool.submit(Act::WriteToConnection(bytes));
        while pool.stats().running == 0 {
            thread::yield_now();
        }
        let worker = pool.workers()[0].pid;
        // Before it has read the request, the job would be given to another worker.
        let sleeps = format!("{} ", libc::SYS_clock_nanosleep);
        let call = format!("/proc/{worker}/syscall");
        while !std::fs::read_to_string(&call).is_ok_and(|call| call.starts_with(&sleeps)) {
            thread::yield_now();
        }
        // SAFETY: a child of this process.
        unsafe { libc::kill(worker.cast_signed(), libc::SIGTERM) };
        let error = handle.join().expect_err("killed");
        assert_eq!(error.signal(), Some(libc::SIGTERM), "{error}");
        goes_on(&pool, &error);
    }
}

fn closed_connection() {
    let pool = quiet(1);
    let error = pool.run(Act::CloseConnection).expect_err("no connection");
    assert!(error.is_lost(), "{error}");
    assert!(
        error.to_string().contains("closed its connection"),
        "{error}"
    );
    goes_on_lost(&pool);
}

fn idle_workers_killed() {
    let pool = quiet(2);
    let mut victims = std::collections::HashSet::new();
    for n in 0..20 {
        let victim = pool.workers()[n % 2].pid;
        assert!(victims.insert(victim), "{victim} was killed before");
        // SAFETY: a child of this process.
        let killed = unsafe { libc::kill(victim.cast_signed(), libc::SIGKILL) };
        assert_eq!(killed, 0, "{victim} is gone");
        // The pool may not know yet, and give it the job.
        let square = pool.run(Square(n as u64)).expect("done by another");
        assert_eq!(square, (n * n) as u64);
        // One look: between two, the pool may notice the death and not have its replacement yet.
        let is_replaced = |workers: &[WorkerStatus]| {
            workers.len() == 2 && workers.iter().all(|worker| worker.pid != victim)
        };
        while !is_replaced(&pool.workers()) {
            thread::yield_now();
        }
    }
    let stats = pool.stats();
    assert_eq!((stats.crashed, stats.completed), (0, 20));
    assert_eq!(stats.restarts, 20, "{stats:?}, {:?}", pool.workers());
}

fn reply_of_dead_worker() {
    let pool = quiet(1);
    for _ in 0..3 {
        let reply = pool.run(Act::ReplyAndExit).expect("it had replied");
        assert_eq!(reply, "replied");
    }
    assert_eq!(pool.stats().crashed, 0);
}

fn retries() {
    let pool = pool(1).capture_stderr().retries(2).start();
    let pool = pool.expect("a pool");
    let error = pool.run(Act::Abort).expect_err("it crashes again");
    assert!(error.is_crash(), "{error}");
    assert_eq!(pool.stats().requeued, 2);
    assert_eq!(pool.stats().crashed, 1);
    let error = pool.run(Act::Panic(String::new())).expect_err("a panic");
    assert!(error.is_panic());
    assert_eq!(pool.stats().requeued, 2, "a panic is not tried again");
}

fn stderr_is_captured() {
    let pool = pool(1).capture_stderr().discard_stdout().start();
    let pool = pool.expect("a pool");
    let say = |text: &str, act| Act::Say(text.to_owned(), Box::new(act));
    let error = pool.run(say("last words", Act::Exit(4))).expect_err("exit");
    assert_eq!(error.stderr_tail(), "last words\n");
    assert!(error.to_string().contains("last words"), "{error}");
    pool.run(say("earlier words", Act::Sleep(0)))
        .expect("it goes on");
    let error = pool
        .run(say("then", Act::Panic("p".to_owned())))
        .expect_err("panic");
    let tail = error.stderr_tail();
    assert!(
        tail.starts_with("then\n") && !tail.contains("earlier"),
        "{tail}"
    );
    let long = "x".repeat(100_000) + "end";
    let error = pool.run(say(&long, Act::Abort)).expect_err("abort");
    let tail = error.stderr_tail();
    assert!(
        tail.len() <= 4096 && tail.contains("xend\n"),
        "{}",
        tail.len()
    );
}

fn unreadable_job() {
    // Reading the request needs more memory than there is.
    let limit = 64 << 20;
    let pool = pool(1)
        .memory_limit_bytes(limit)
        .max_message_bytes(1 << 30)
        .capture_stderr()
        .start()
        .expect("a pool");
    let error = pool
        .run(Echo {
            bytes: Bytes(vec![1; 80 << 20]),
            more: 0,
        })
        .expect_err("it cannot be read");
    assert_eq!(error.signal(), Some(libc::SIGABRT), "{error}");
    assert_eq!(pool.stats().requeued, 3);
    goes_on(&pool, &error);
}

fn endless_stderr() {
    let pool = quiet(3);
    let floods = [
        pool.submit_timeout(Act::Flood, Duration::from_millis(300)),
        pool.submit_timeout(Act::Flood, Duration::from_millis(300)),
    ];
    for n in 0..50 {
        assert_eq!(pool.run(Square(n)).expect("a square"), n * n);
    }
    for flood in floods {
        let error = flood.join().expect_err("it is killed");
        assert!(error.is_timeout(), "{error:.200}");
        assert!(error.stderr_tail().starts_with("xxx"));
    }
}

fn extreme_timeouts() {
    let pool = pool(1)
        .timeout(Duration::MAX)
        .start_timeout(Duration::MAX)
        .grace(Duration::MAX)
        .start()
        .expect("a pool");
    let error = pool.submit_timeout(Act::Spin, Duration::ZERO).join();
    assert!(error.is_err_and(|error| error.is_timeout()));
    let square = pool.submit(Square(4)).join_timeout(Duration::MAX);
    assert_eq!(square.expect("in time").expect("a square"), 16);
    let late = pool.submit(Act::Sleep(10)).join_timeout(Duration::ZERO);
    assert!(late.is_err());
    pool.shutdown_timeout(Duration::MAX);
}

fn stopped_worker() {
    let pool = quiet(1);
    let stop = Act::Signal(libc::SIGSTOP);
    let error = pool.submit_timeout(stop, Duration::from_millis(50)).join();
    let error = error.expect_err("it never answers");
    assert!(error.is_timeout(), "{error}");
    goes_on(&pool, &error);
}
