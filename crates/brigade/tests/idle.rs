//! What waits costs nothing: no kernel thread per sleeper, no wake-up of an idle process.

mod common;

use std::collections::BTreeMap;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use brigade::runtime::{Builder, Model};
use brigade::{task, thread};
use common::{Count, child, gettid, memory};

const WAITERS: usize = 10_000;
const WORKERS: usize = 2;

/// Kernel threads that a runtime may have beside its carriers: the monitor, those of the test harness, and spare
/// carriers of hand-offs while the waiters were started.
const SPARE_KERNEL_THREADS: usize = 16;

/// Far longer than the test runs.
const FOR_EVER: Duration = Duration::from_secs(1_000_000);

/// Starts [`WAITERS`] threads that run `wait`, checks that they hold no kernel thread, and lets them go.
fn wait_without_kernel_threads(wait: fn()) {
    for model in [Model::ManyToMany, Model::ManyToOne] {
        let runtime = Builder::new()
            .model(model)
            .workers(if model == Model::ManyToOne {
                1
            } else {
                WORKERS
            });
        let runtime = runtime.build().expect("a runtime");
        let (started, released) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let handles: Vec<_> = (0..WAITERS)
            .map(|_| {
                let (started, released) = (Arc::clone(&started), Arc::clone(&released));
                runtime.spawn(move || {
                    started.up();
                    while released.get() == 0 {
                        wait();
                    }
                })
            })
            .collect();
        started.kernel_wait_for(WAITERS);
        let kernel_threads = memory::kernel_threads();
        released.set(1);
        handles.iter().for_each(|handle| handle.thread().unpark());
        handles
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
        assert!(
            kernel_threads <= WORKERS + SPARE_KERNEL_THREADS,
            "{kernel_threads} kernel threads under {model:?}"
        );
    }
}

#[test]
fn parked_threads_use_no_kernel_threads() {
    child::run("parked_threads_use_no_kernel_threads", &[], || {
        wait_without_kernel_threads(thread::park)
    })
    .assert_success();
}

#[test]
fn sleeping_threads_use_no_kernel_threads() {
    child::run("sleeping_threads_use_no_kernel_threads", &[], || {
        wait_without_kernel_threads(|| thread::sleep(Duration::from_millis(20)));
    })
    .assert_success();
}

#[test]
fn threads_parked_with_a_timeout_use_no_kernel_threads() {
    child::run(
        "threads_parked_with_a_timeout_use_no_kernel_threads",
        &[],
        || {
            wait_without_kernel_threads(|| thread::park_timeout(FOR_EVER));
        },
    )
    .assert_success();
}

#[test]
fn joining_threads_use_no_kernel_threads() {
    let ended = child::run("joining_threads_use_no_kernel_threads", &[], || {
        let runtime = Builder::new().workers(WORKERS).build().expect("a runtime");
        let released = Arc::new(Count::new());
        let gate = Arc::clone(&released);
        let mut last = runtime.spawn(move || {
            while gate.get() == 0 {
                thread::park();
            }
        });
        let first = last.thread().clone();
        for _ in 0..1000 {
            let before = last;
            last = runtime.spawn(move || before.join().expect("no panic"));
        }
        // Each thread waits for the one before it, so all of them have had to run to get there.
        runtime.spawn(thread::yield_now).join().expect("no panic");
        let kernel_threads = memory::kernel_threads();
        released.set(1);
        first.unpark();
        last.join().expect("no panic");
        assert!(
            kernel_threads <= WORKERS + SPARE_KERNEL_THREADS,
            "{kernel_threads} kernel threads"
        );
    });
    ended.assert_success();
}

/// How often each kernel thread of this process but the calling one was switched away from.
fn switches_of_the_others() -> BTreeMap<String, u64> {
    let own = gettid().to_string();
    let mut switches = BTreeMap::new();
    for entry in std::fs::read_dir("/proc/self/task").expect("/proc is mounted") {
        let entry = entry.expect("/proc can be listed");
        let id = entry.file_name().into_string().expect("a number");
        // A thread may have ended since it was listed.
        if let Ok(status) = std::fs::read_to_string(entry.path().join("status"))
            && id != own
        {
            let sum = status
                .lines()
                .filter(|line| line.contains("voluntary_ctxt_switches"))
                .filter_map(|line| line.split_whitespace().nth(1)?.parse::<u64>().ok())
                .sum();
            switches.insert(id, sum);
        }
    }
    switches
}

/// Fails unless three windows in a row pass in which no other kernel thread of the process ran at all.
fn assert_falls_silent() {
    const WINDOW: Duration = Duration::from_millis(400);
    const WINDOWS_MAX: usize = 40;
    let mut silent = 0;
    let mut history = Vec::new();
    for _ in 0..WINDOWS_MAX {
        let before = switches_of_the_others();
        std::thread::sleep(WINDOW);
        let after = switches_of_the_others();
        let moved: u64 = after
            .iter()
            .map(|(id, count)| count - before.get(id).unwrap_or(&0))
            .sum();
        history.push(moved);
        silent = if before == after { silent + 1 } else { 0 };
        if silent == 3 {
            return;
        }
    }
    panic!("the idle process kept waking up; switches per window: {history:?}");
}

#[test]
fn open_connections_that_nobody_uses_cause_no_wake_ups() {
    for model in ["ManyToMany", "ManyToOne"] {
        let name = "open_connections_that_nobody_uses_cause_no_wake_ups";
        let ended = child::run(name, &[("BRIGADE_TEST_MODEL", model)], || {
            let wanted = std::env::var("BRIGADE_TEST_MODEL").expect("the parent names a model");
            let model = common::MODELS
                .into_iter()
                .find(|model| format!("{model:?}") == wanted)
                .expect("a model");
            let runtime = Builder::new().model(model).build().expect("a runtime");
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
            let address = listener.local_addr().expect("an address");
            let open: Vec<_> = (0..50)
                .map(|_| {
                    let mut client = TcpStream::connect(address).expect("it listens");
                    let (mut served, _) = listener.accept().expect("a connection");
                    runtime.spawn(
                        move || while served.read(&mut [0; 64]).is_ok_and(|bytes| bytes > 0) {},
                    );
                    // Wakes the reader, which waits again.
                    client.write_all(b"x").expect("room");
                    client
                })
                .collect();
            runtime.spawn(move || listener.accept());
            // A call without a processor, after which the carrier that polls has none.
            let blocks = || brigade::blocking(|| std::thread::sleep(Duration::from_millis(30)));
            runtime.spawn(blocks).join().expect("no panic");
            assert_falls_silent();
            drop(open);
            std::process::exit(0);
        });
        ended.assert_success();
    }
}

#[test]
fn an_idle_runtime_with_waiting_threads_makes_no_wake_ups() {
    for model in common::MODELS {
        let name = "an_idle_runtime_with_waiting_threads_makes_no_wake_ups";
        let chosen = format!("{model:?}");
        let ended = child::run(name, &[("BRIGADE_TEST_MODEL", &chosen)], || {
            let wanted = std::env::var("BRIGADE_TEST_MODEL").expect("the parent names a model");
            let model = common::MODELS
                .into_iter()
                .find(|model| format!("{model:?}") == wanted)
                .expect("a model");
            let runtime = Builder::new().model(model).build().expect("a runtime");
            let started = Arc::new(Count::new());
            for number in 0..20 {
                let started = Arc::clone(&started);
                runtime.spawn(move || {
                    started.up();
                    if number % 2 == 0 {
                        thread::sleep(FOR_EVER)
                    } else {
                        thread::park()
                    }
                });
            }
            // Work and a hand-off first, so that whatever they start must come to rest again.
            runtime
                .spawn(|| std::thread::sleep(Duration::from_millis(30)))
                .join()
                .expect("no panic");
            started.kernel_wait_for(20);
            assert_falls_silent();
            std::process::exit(0);
        });
        ended.assert_success();
    }
}

#[test]
fn a_runtime_that_never_ran_anything_makes_no_wake_ups() {
    child::run(
        "a_runtime_that_never_ran_anything_makes_no_wake_ups",
        &[],
        || {
            let _runtime = Builder::new().build().expect("a runtime");
            assert_falls_silent();
            std::process::exit(0);
        },
    )
    .assert_success();
}

#[test]
fn a_thread_blocked_in_the_kernel_alone_makes_no_wake_ups() {
    child::run(
        "a_thread_blocked_in_the_kernel_alone_makes_no_wake_ups",
        &[],
        || {
            let runtime = Builder::new().build().expect("a runtime");
            let (reader, _writer) = std::io::pipe().expect("a pipe");
            runtime.spawn(move || std::io::read_to_string(reader));
            assert_falls_silent();
            std::process::exit(0);
        },
    )
    .assert_success();
}

#[test]
fn futures_that_wait_for_time_and_descriptors_cause_no_wake_ups() {
    let name = "futures_that_wait_for_time_and_descriptors_cause_no_wake_ups";
    let ended = child::run(name, &[], || {
        let mut peers = Vec::new();
        for n in 0..50 {
            let (here, mut there) = UnixStream::pair().expect("a pair");
            let here = task::Async::new(here).expect("asynchronous");
            let _reads = task::spawn(async move {
                let read = async {
                    let mut byte = [0];
                    here.read_with(|mut io| io.read(&mut byte)).await?;
                    here.read_with(|mut io| io.read(&mut byte)).await
                };
                drop(task::timeout(FOR_EVER, read).await);
            });
            // Wakes the reader, which waits again.
            there.write_all(b"x").expect("room");
            peers.push(there);
            // Some are over soon, and are forgotten then.
            let soon = Duration::from_millis(n % 20);
            let _sleeps =
                task::spawn(async move { task::timeout(FOR_EVER, task::sleep(soon)).await });
        }
        assert_falls_silent();
        drop(peers);
        std::process::exit(0);
    });
    ended.assert_success();
}
