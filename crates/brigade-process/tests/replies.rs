//! What comes back from a pool when nothing crashes: replies, panics, errors of the codec, order, futures, counts.

mod common;

use std::future::Future;
use std::pin::pin;
use std::process::ExitCode;
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};
use std::task::{Context, Poll, Wake, Waker};
use std::thread::{self, Thread};
use std::time::Duration;

use brigade_process::Jobs;
use common::jobs::{Act, Bytes, Echo, Square, jobs, pool};

const CASES: &[common::Case] = &[
    (
        "replies_come_back_to_the_jobs_they_belong_to",
        replies_belong_to_jobs,
    ),
    ("map_keeps_the_order_of_the_jobs", map_keeps_order),
    (
        "ten_megabytes_go_there_and_back",
        ten_megabytes_there_and_back,
    ),
    ("a_panic_is_an_error_with_its_text", panic_text),
    (
        "the_worker_of_a_panic_does_the_next_job",
        panic_spares_worker,
    ),
    (
        "a_job_that_is_too_large_is_not_sent",
        too_large_a_job_is_refused,
    ),
    (
        "a_reply_that_is_too_large_is_an_error_of_its_job_alone",
        too_large_a_reply_is_an_error,
    ),
    ("a_handle_is_a_future", handle_is_a_future),
    (
        "a_wait_that_is_over_too_early_gives_the_handle_back",
        early_wait_gives_handle_back,
    ),
    ("counts_are_exact", counts_are_exact),
    (
        "jobs_that_wait_are_done_before_a_shutdown_ends",
        shutdown_does_what_waits,
    ),
    (
        "a_drop_gives_up_what_outlasts_the_grace",
        drop_gives_up_after_grace,
    ),
    ("an_aborted_job_is_given_up_wherever_it_is", abort_anywhere),
    (
        "arguments_and_variables_reach_the_workers",
        arguments_and_variables,
    ),
    (
        "a_start_of_a_pool_in_a_job_is_refused",
        nested_start_is_refused,
    ),
    (
        "a_hundred_threads_that_submit_get_their_own_replies",
        many_threads,
    ),
];

fn main() -> ExitCode {
    jobs().serve_if_worker();
    common::run(CASES)
}

fn replies_belong_to_jobs() {
    let pool = pool(2).start().expect("a pool");
    let handles: Vec<_> = (0..200).map(|n| (n, pool.submit(Square(n)))).collect();
    for (n, handle) in handles.into_iter().rev() {
        assert_eq!(handle.join().expect("a square"), n * n);
    }
    let pid = pool.run(Act::Pid).expect("a number").parse();
    let pid = pid.expect("a number");
    assert!(pool.workers().iter().any(|worker| worker.pid == pid));
}

fn map_keeps_order() {
    let pool = pool(3).start().expect("a pool");
    // The longer ones come first.
    let jobs = (0..12_u64)
        .rev()
        .map(|n| Act::Say(String::new(), Box::new(Act::Sleep(n * 3))));
    assert!(pool.map(jobs).iter().all(Result::is_ok));
    let squares = pool.map((0..100).map(Square));
    for (n, square) in (0..100).zip(squares) {
        assert_eq!(square.expect("a square"), n * n);
    }
}

fn ten_megabytes_there_and_back() {
    let pool = pool(2).start().expect("a pool");
    let bytes: Vec<u8> = (0..10 << 20).map(|n: u32| (n % 251) as u8).collect();
    let due: Vec<u8> = bytes.iter().map(|byte| byte + 1).collect();
    let handles: Vec<_> = (0..4)
        .map(|_| {
            pool.submit(Echo {
                bytes: Bytes(bytes.clone()),
                more: 0,
            })
        })
        .collect();
    for handle in handles {
        assert!(handle.join().expect("the bytes").0 == due);
    }
}

fn panic_text() {
    let pool = pool(1).capture_stderr().start().expect("a pool");
    let error = pool
        .run(Act::Panic("of the job".to_owned()))
        .expect_err("it panics");
    assert!(error.is_panic() && !error.is_crash() && !error.is_lost());
    assert_eq!(error.panic_message(), Some("of the job"));
    let text = error.to_string();
    assert!(
        text.contains("\"act\"") && text.contains("of the job"),
        "{text}"
    );
    let error = pool.run(Act::PanicWithNumber).expect_err("it panics");
    assert_eq!(error.panic_message(), Some("a value that is no text"));
    let long = "ä".repeat(100_000);
    let error = pool.run(Act::Panic(long.clone())).expect_err("it panics");
    let message = error.panic_message().expect("a message");
    assert!(message.len() > 10_000 && long.starts_with(message));
}

fn panic_spares_worker() {
    let pool = pool(1).capture_stderr().start().expect("a pool");
    let pid = pool.run(Act::Pid).expect("a number");
    for _ in 0..5 {
        let error = pool.run(Act::Panic(String::new())).expect_err("it panics");
        assert_eq!(error.worker().map(|pid| pid.to_string()), Some(pid.clone()));
        assert_eq!(pool.run(Act::Pid).expect("a number"), pid);
    }
    assert_eq!(pool.stats().restarts, 0);
}

fn too_large_a_job_is_refused() {
    let pool = pool(1).max_message_bytes(5000).start().expect("a pool");
    let echo = |len| Echo {
        bytes: Bytes(vec![1; len]),
        more: 0,
    };
    let error = pool.run(echo(5001)).expect_err("too large");
    assert!(
        error.is_codec() && error.to_string().contains("5000"),
        "{error}"
    );
    assert_eq!(error.worker(), None);
    assert_eq!(pool.run(echo(4900)).expect("it fits").0.len(), 4900);
}

fn too_large_a_reply_is_an_error() {
    let pool = pool(1).max_message_bytes(5000).start().expect("a pool");
    let pid = pool.run(Act::Pid).expect("a number");
    let error = pool
        .run(Echo {
            bytes: Bytes(vec![1; 10]),
            more: 5000,
        })
        .expect_err("too large");
    assert!(
        error.is_codec() && error.to_string().contains("5000"),
        "{error}"
    );
    assert_eq!(pool.run(Act::Pid).expect("the worker lives on"), pid);
}

struct Unpark(Thread, AtomicBool);

impl Wake for Unpark {
    fn wake(self: Arc<Self>) {
        // ORDER: SeqCst, partner of the swap in `block_on`: what was done before the wake is seen after it.
        self.1.store(true, Ordering::SeqCst);
        self.0.unpark();
    }
}

fn block_on<F: Future>(future: F) -> F::Output {
    let unpark = Arc::new(Unpark(thread::current(), AtomicBool::new(false)));
    let waker = Waker::from(Arc::clone(&unpark));
    let mut future = pin!(future);
    loop {
        if let Poll::Ready(output) = future.as_mut().poll(&mut Context::from_waker(&waker)) {
            return output;
        }
        // ORDER: SeqCst, partner of the store in `wake`.
        while !unpark.1.swap(false, Ordering::SeqCst) {
            thread::park();
        }
    }
}

fn handle_is_a_future() {
    let pool = pool(1).start().expect("a pool");
    let slow = pool.submit(Act::Sleep(50));
    let square = pool.submit(Square(9));
    let (slow, square) = block_on(async { (slow.await, square.await) });
    slow.expect("it has slept");
    assert_eq!(square.expect("a square"), 81);
    let error = block_on(pool.submit(Act::Exit(1))).expect_err("it exits");
    assert_eq!(error.exit_code(), Some(1));
}

fn early_wait_gives_handle_back() {
    let pool = pool(1).start().expect("a pool");
    let handle = pool.submit(Act::Spin);
    let handle = handle
        .join_timeout(Duration::from_millis(10))
        .expect_err("it spins");
    assert!(!handle.is_finished());
    handle.abort();
    assert!(handle.join().expect_err("given up").is_cancelled());
    let done = pool
        .submit(Square(2))
        .join_timeout(Duration::from_secs(3600));
    assert_eq!(done.expect("in time").expect("a square"), 4);
}

fn counts_are_exact() {
    let pool = pool(2).start().expect("a pool");
    assert_eq!(pool.stats().workers, 2);
    pool.map((0..7).map(Square))
        .into_iter()
        .for_each(|r| assert!(r.is_ok()));
    for _ in 0..2 {
        pool.run(Act::Panic(String::new())).expect_err("a panic");
    }
    for _ in 0..3 {
        pool.run(Act::Exit(1)).expect_err("a crash");
    }
    let spin = pool.submit_timeout(Act::Spin, Duration::from_millis(20));
    spin.join().expect_err("a timeout");
    let spins = [pool.submit(Act::Spin), pool.submit(Act::Spin)];
    let queued = pool.submit(Square(1));
    while pool.stats().running < 2 {
        thread::yield_now();
    }
    assert_eq!(pool.stats().queued, 1);
    queued.abort();
    assert!(queued.join().expect_err("given up").is_cancelled());
    assert_eq!(pool.stats().queued, 0);
    for spin in spins {
        spin.abort();
        assert!(spin.join().expect_err("given up").is_cancelled());
    }
    let stats = pool.stats();
    assert_eq!(stats.submitted, 7 + 2 + 3 + 1 + 3);
    assert_eq!((stats.completed, stats.panicked, stats.crashed), (7, 2, 3));
    assert_eq!((stats.timed_out, stats.cancelled, stats.failed), (1, 3, 0));
    assert_eq!((stats.running, stats.requeued), (0, 0));
    while pool.stats().workers < 2 {
        thread::yield_now();
    }
    assert_eq!(pool.stats().restarts, 3 + 1 + 2);
}

fn shutdown_does_what_waits() {
    let pool = pool(1).start().expect("a pool");
    let slow = pool.submit(Act::Sleep(100));
    let handles: Vec<_> = (0..50).map(|n| pool.submit(Square(n))).collect();
    pool.shutdown();
    slow.join().expect("it was done");
    for (n, handle) in (0..50).zip(handles) {
        assert!(handle.is_finished());
        assert_eq!(handle.join().expect("it was done"), n * n);
    }
}

fn drop_gives_up_after_grace() {
    let pool = pool(2).grace(Duration::from_millis(50)).start();
    let pool = pool.expect("a pool");
    let done = pool.submit(Square(3));
    let spins: Vec<_> = (0..3).map(|_| pool.submit(Act::Spin)).collect();
    while !done.is_finished() {
        thread::yield_now();
    }
    drop(pool);
    assert_eq!(done.join().expect("it was done"), 9);
    for spin in spins {
        assert!(spin.is_finished());
        assert!(spin.join().expect_err("given up").is_cancelled());
    }
}

fn abort_anywhere() {
    let pool = pool(1).start().expect("a pool");
    let running = pool.submit(Act::Spin);
    let queued = pool.submit(Square(2));
    let kept = pool.submit(Square(3));
    queued.abort();
    assert!(queued.join().expect_err("given up").is_cancelled());
    running.abort();
    assert!(running.join().expect_err("given up").is_cancelled());
    let done = pool.submit(Square(4));
    assert_eq!(kept.join().expect("it is done"), 9);
    while !done.is_finished() {
        thread::yield_now();
    }
    done.abort();
    assert_eq!(done.join().expect("it was done before"), 16);
}

fn arguments_and_variables() {
    let pool = pool(1)
        .arg("one")
        .arg("two words")
        .env("BRIGADE_TEST_VARIABLE", "first")
        .env("BRIGADE_TEST_VARIABLE", "seen")
        .start()
        .expect("a pool");
    assert_eq!(pool.run(Act::Arguments).expect("a list"), "one\ntwo words");
    let variable = Act::Variable("BRIGADE_TEST_VARIABLE".to_owned());
    assert_eq!(pool.run(variable).expect("a variable"), "seen");
    let inherited = Act::Variable("PATH".to_owned());
    let path = std::env::var("PATH").unwrap_or_default();
    assert_eq!(pool.run(inherited).expect("a variable"), path);
}

fn nested_start_is_refused() {
    let pool = pool(1).start().expect("a pool");
    let said = pool.run(Act::Nest).expect("an answer");
    assert!(said.starts_with("nested: true, no process pool"), "{said}");
}

fn many_threads() {
    let pool = pool(2).start().expect("a pool");
    thread::scope(|scope| {
        for thread in 0..100_u64 {
            let pool = &pool;
            scope.spawn(move || {
                for n in 0..10 {
                    let n = thread * 1000 + n;
                    assert_eq!(pool.run(Square(n)).expect("a square"), n * n);
                }
            });
        }
    });
    assert_eq!(pool.stats().completed, 1000);
    let no_jobs = Jobs::new().pool().workers(1).start();
    assert!(no_jobs.is_err_and(|error| error.is_unregistered()));
}
