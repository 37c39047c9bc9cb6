//! Pools of processes and green threads: waiting for a job parks one thread, and workers outlive what started them.
//!
//! A harness of its own: a worker is this program once more, so `main` begins with the registration.

use std::future::Future;
use std::panic::catch_unwind;
use std::path::PathBuf;
use std::pin::pin;
use std::process::{Command, ExitCode};
use std::sync::{Arc, Mutex, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use brigade::process::{Job, Jobs, ProcessPool};
use brigade::runtime::{Builder, Model};
use brigade::{task, thread};
use serde::{Deserialize, Serialize};

const HANG_AFTER: Duration = Duration::from_secs(120);
/// In the environment of workers that are to serve on a green thread.
const SERVES_GREEN: &str = "BRIGADE_TEST_SERVES_GREEN";
const MODELS: [Model; 3] = [Model::ManyToMany, Model::ManyToOne, Model::OneToOne];

const CASES: &[(&str, fn())] = &[
    (
        "a_green_thread_that_waits_for_a_job_lets_others_run",
        waiting_parks_one_thread,
    ),
    (
        "eight_threads_of_both_kinds_get_their_own_replies_in_every_model",
        eight_threads,
    ),
    (
        "workers_outlive_the_runtime_whose_thread_started_them",
        workers_outlive_a_runtime,
    ),
    (
        "a_pool_is_started_used_and_dropped_on_green_threads",
        everything_on_green_threads,
    ),
    ("jobs_are_awaited_by_tasks", jobs_are_awaited),
    ("a_job_may_use_green_threads", jobs_use_green_threads),
    ("a_worker_may_serve_on_a_green_thread", workers_serve_green),
    ("the_example_says_what_became_of_each_job", example_says_all),
    (
        "the_last_owner_of_a_pool_may_be_dropped_by_a_waker",
        pool_dropped_by_waker,
    ),
];

#[derive(Debug, Serialize, Deserialize)]
struct Square(u64);

impl Job for Square {
    type Reply = u64;
    const NAME: &'static str = "square";

    fn run(self) -> u64 {
        self.0 * self.0
    }
}

/// Ends when there is a file of this name.
#[derive(Debug, Serialize, Deserialize)]
struct AwaitFile(PathBuf);

impl Job for AwaitFile {
    type Reply = ();
    const NAME: &'static str = "await file";

    fn run(self) {
        while !self.0.exists() {
            std::thread::sleep(Duration::from_millis(1));
        }
    }
}

/// Sums the numbers below, one green thread each; says whether the job itself runs on one.
#[derive(Debug, Serialize, Deserialize)]
struct GreenSum(u64);

impl Job for GreenSum {
    type Reply = (u64, bool);
    const NAME: &'static str = "green sum";

    fn run(self) -> (u64, bool) {
        let is_green = std::thread::current().name() != Some("main");
        let sum = brigade::run(move || {
            let threads: Vec<_> = (0..self.0)
                .map(|n| {
                    thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(1));
                        n
                    })
                })
                .collect();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        (sum, is_green)
    }
}

#[derive(Debug, Serialize, Deserialize)]
struct Die;

impl Job for Die {
    type Reply = ();
    const NAME: &'static str = "die";

    fn run(self) {
        std::process::exit(9);
    }
}

type List = (Die, (GreenSum, (AwaitFile, (Square, ()))));
type Pool = ProcessPool<List>;

fn jobs() -> Jobs<List> {
    Jobs::new()
        .with::<Square>()
        .with::<AwaitFile>()
        .with::<GreenSum>()
        .with::<Die>()
}

fn pool(workers: usize) -> Pool {
    let start = jobs().pool().workers(workers).start();
    start.expect("a pool")
}

fn main() -> ExitCode {
    if std::env::var_os(SERVES_GREEN).is_some() {
        brigade::run(|| jobs().serve_if_worker());
    }
    jobs().serve_if_worker();
    let words: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        CASES.iter().for_each(|(name, _)| println!("{name}: test"));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for (name, test) in CASES {
        if !words.is_empty() && !words.iter().any(|word| name.contains(word.as_str())) {
            continue;
        }
        let is_ok = is_ok(name, *test);
        println!("test {name} ... {}", if is_ok { "ok" } else { "FAILED" });
        *(if is_ok { &mut passed } else { &mut failed }) += 1;
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed != 0))
}

fn is_ok(name: &'static str, test: fn()) -> bool {
    let (over, is_over) = mpsc::channel::<()>();
    let watch = std::thread::spawn(move || {
        if is_over.recv_timeout(HANG_AFTER) == Err(mpsc::RecvTimeoutError::Timeout) {
            eprintln!("test {name} hangs");
            std::process::abort();
        }
    });
    let is_ok = catch_unwind(test).is_ok();
    drop(over);
    watch.join().expect("it does not panic");
    is_ok
}

fn waiting_parks_one_thread() {
    let name = format!("brigade-process-pool-{}", std::process::id());
    let file = std::env::temp_dir().join(name);
    let _ = std::fs::remove_file(&file);
    let pool = Arc::new(pool(1));
    // With one kernel thread, a wait that blocked it would keep the other thread from ending it.
    let runtime = Builder::new().model(Model::ManyToOne).build();
    runtime.expect("a runtime").run(|| {
        let waits = {
            let (pool, file) = (Arc::clone(&pool), file.clone());
            thread::spawn(move || pool.run(AwaitFile(file)))
        };
        let creates = {
            let (pool, file) = (Arc::clone(&pool), file.clone());
            thread::spawn(move || {
                while pool.stats().running == 0 {
                    thread::yield_now();
                }
                std::fs::write(file, "").expect("it can be written");
            })
        };
        creates.join().expect("no panic");
        waits.join().expect("no panic").expect("it came to its end");
    });
    std::fs::remove_file(&file).expect("it is there");
}

/// A share of the work of one thread: replies and errors come to the jobs they belong to.
fn use_pool(pool: &Pool, thread: u64) {
    for n in 0..40 {
        let n = thread * 1000 + n;
        assert_eq!(pool.run(Square(n)).expect("a square"), n * n);
        if n.is_multiple_of(20) {
            let error = pool.run(Die).expect_err("it exits");
            assert_eq!(error.exit_code(), Some(9), "{error}");
        }
    }
    let squares = pool.map((0..20).map(|n| Square(thread + n)));
    for (n, square) in (thread..).zip(squares) {
        assert_eq!(square.expect("a square"), n * n);
    }
}

fn eight_threads() {
    for model in MODELS {
        let pool = Arc::new(pool(3));
        let runtime = Builder::new().model(model).build().expect("a runtime");
        std::thread::scope(|scope| {
            for thread in 0..4 {
                let pool = &pool;
                scope.spawn(move || use_pool(pool, thread));
            }
            runtime.run(|| {
                let threads: Vec<_> = (4..8)
                    .map(|thread| {
                        let pool = Arc::clone(&pool);
                        brigade::thread::spawn(move || use_pool(&pool, thread))
                    })
                    .collect();
                for thread in threads {
                    thread.join().expect("no panic");
                }
            });
        });
        let stats = pool.stats();
        assert_eq!((stats.completed, stats.crashed), (8 * 60, 8 * 2));
        assert_eq!(stats.submitted, 8 * 62);
    }
}

fn workers_outlive_a_runtime() {
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    let pool = runtime.run(|| pool(2));
    let before: Vec<_> = pool.workers().iter().map(|worker| worker.pid).collect();
    // Its carriers end with it.
    drop(runtime);
    for n in 0..20 {
        assert_eq!(pool.run(Square(n)).expect("they live"), n * n);
    }
    let after: Vec<_> = pool.workers().iter().map(|worker| worker.pid).collect();
    assert_eq!(before, after);
    assert_eq!(pool.stats().restarts, 0);
}

fn everything_on_green_threads() {
    for model in MODELS {
        let runtime = Builder::new().model(model).build().expect("a runtime");
        runtime.run(|| {
            let pool = pool(2);
            let handle = pool.submit(Square(7));
            assert_eq!(pool.run(Die).expect_err("exits").exit_code(), Some(9));
            drop(pool);
            assert_eq!(handle.join().expect("done before the end"), 49);
        });
    }
}

fn jobs_are_awaited() {
    let pool = Arc::new(pool(2));
    let tasks: Vec<_> = (0..100_u64)
        .map(|n| {
            let pool = Arc::clone(&pool);
            task::spawn(async move { pool.submit(Square(n)).await })
        })
        .collect();
    task::block_on(async {
        for (n, task) in (0..100).zip(tasks) {
            let square = task.await.expect("no panic");
            assert_eq!(square.expect("a square"), n * n);
        }
        let error = pool.submit(Die).await.expect_err("it exits");
        assert_eq!(error.exit_code(), Some(9));
    });
}

fn jobs_use_green_threads() {
    let pool = pool(2);
    for sum in pool.map((0..4).map(|_| GreenSum(100))) {
        assert_eq!(sum.expect("a sum"), (4950, false));
    }
}

fn workers_serve_green() {
    let pool = jobs().pool().workers(2).env(SERVES_GREEN, "1").start();
    let pool = pool.expect("a pool");
    for sum in pool.map((0..4).map(|_| GreenSum(100))) {
        assert_eq!(sum.expect("a sum"), (4950, true));
    }
    assert_eq!(pool.run(Die).expect_err("exits").exit_code(), Some(9));
    assert_eq!(pool.run(Square(3)).expect("goes on"), 9);
}

fn example_says_all() {
    let me = std::env::current_exe().expect("the path of this program");
    let directory = me.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let output = Command::new(directory.join("examples/isolated")).output();
    let output =
        output.expect("build it with `cargo build -p brigade --features process --examples`");
    let said = String::from_utf8_lossy(&output.stdout);
    let due = [
        "fib:90: 2880067194370816120",
        "panic: panicked: this job panics",
        "crash: killed by signal 6",
        "exit:3: exited with code 3",
        "greedy: killed by signal 6",
        "forever: killed, it took too long",
        "fib:50: 12586269025",
    ];
    assert_eq!(said.lines().collect::<Vec<_>>(), due);
}

/// Owns a pool; drops it where it is woken.
struct Owner(Mutex<Option<Pool>>, mpsc::Sender<()>);

impl Wake for Owner {
    fn wake(self: Arc<Self>) {
        drop(self.0.lock().expect("no panic").take());
        self.1.send(()).expect("the test waits");
    }
}

fn pool_dropped_by_waker() {
    let (sender, woken) = mpsc::channel();
    let pool = pool(1);
    let file = std::env::temp_dir().join(format!("brigade-waker-{}", std::process::id()));
    let mut handle = pin!(pool.submit(AwaitFile(file.clone())));
    let owner = Arc::new(Owner(Mutex::new(None), sender));
    let workers = pool.workers();
    *owner.0.lock().expect("no panic") = Some(pool);
    let waker = Waker::from(owner);
    let mut context = Context::from_waker(&waker);
    assert!(handle.as_mut().poll(&mut context).is_pending());
    std::fs::write(&file, "").expect("it can be written");
    woken.recv().expect("it is woken");
    std::fs::remove_file(&file).expect("it is there");
    assert!(handle.as_mut().poll(&mut context).is_ready());
    // Nobody waits for the end of the pool, but it comes.
    for worker in workers {
        while std::path::Path::new(&format!("/proc/{}", worker.pid)).exists() {
            std::thread::yield_now();
        }
    }
}
