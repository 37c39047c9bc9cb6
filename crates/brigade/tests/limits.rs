//! When the machine has no more to give, spawning returns an error that names the limit, and the program goes on.

mod common;

use std::sync::Arc;

use brigade::runtime::{Builder, Runtime};
use brigade::thread;
use common::{Count, child, memory};

const MIB: usize = 1 << 20;

/// Spawns threads that park, until that fails; returns their number and the error after it has let them all go.
fn spawn_until_refused(runtime: &Runtime, limit: usize) -> (usize, Option<std::io::Error>) {
    runtime.run(|| {
        let released = Arc::new(Count::new());
        let mut handles = Vec::new();
        let mut refused = None;
        while refused.is_none() && handles.len() < limit {
            let gate = Arc::clone(&released);
            let spawned = thread::Builder::new().spawn(move || {
                while gate.get() == 0 {
                    thread::park();
                }
            });
            match spawned {
                Ok(handle) => handles.push(handle),
                Err(error) => refused = Some(error),
            }
        }
        let count = handles.len();
        released.set(1);
        handles.iter().for_each(|handle| handle.thread().unpark());
        handles
            .into_iter()
            .for_each(|handle| handle.join().expect("no panic"));
        (count, refused)
    })
}

fn limit_address_space(bytes: usize) {
    let limit = libc::rlimit {
        rlim_cur: bytes as u64,
        rlim_max: bytes as u64,
    };
    // SAFETY: the limit is a valid structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
    assert_eq!(result, 0);
}

#[test]
fn an_exhausted_address_space_is_an_error_that_names_it() {
    let ended = child::run(
        "an_exhausted_address_space_is_an_error_that_names_it",
        &[],
        || {
            let runtime = Builder::new().workers(2).build().expect("a runtime");
            runtime.spawn(|| ()).join().expect("no panic");
            limit_address_space(memory::virtual_bytes() + 300 * MIB);
            for _ in 0..3 {
                let (count, error) = spawn_until_refused(&runtime, 1_000_000);
                let message = error.expect("300 MiB hold no million stacks").to_string();
                println!("{count} threads, then: {message}");
                assert!(
                    message.contains("address space") || message.contains("RLIMIT_AS"),
                    "{message}"
                );
                assert!(count > 0);
                assert_eq!(
                    runtime.spawn(|| 3).join().expect("no panic"),
                    3,
                    "the runtime does not go on"
                );
            }
        },
    );
    ended.assert_success();
}

#[test]
fn the_panicking_spawn_names_the_limit_too_and_the_program_goes_on() {
    let ended = child::run(
        "the_panicking_spawn_names_the_limit_too_and_the_program_goes_on",
        // A backtrace maps the program's debug information, for which the limit may leave no room.
        &[("RUST_BACKTRACE", "0")],
        || {
            let runtime = Builder::new().workers(1).build().expect("a runtime");
            runtime.spawn(|| ()).join().expect("no panic");
            limit_address_space(memory::virtual_bytes() + 100 * MIB);
            let panicked = runtime.run(|| {
                let released = Arc::new(Count::new());
                let mut handles = Vec::new();
                let result: std::thread::Result<()> =
                    std::panic::catch_unwind(std::panic::AssertUnwindSafe(|| {
                        loop {
                            let gate = Arc::clone(&released);
                            handles.push(thread::spawn(move || {
                                while gate.get() == 0 {
                                    thread::park();
                                }
                            }));
                        }
                    }));
                released.set(1);
                handles
                    .iter()
                    .for_each(|handle: &thread::JoinHandle<()>| handle.thread().unpark());
                handles
                    .into_iter()
                    .for_each(|handle| handle.join().expect("no panic"));
                result.is_err()
            });
            assert!(panicked);
            assert_eq!(runtime.spawn(|| 3).join().expect("no panic"), 3);
        },
    );
    ended.assert_success();
    assert!(
        ended.stderr.contains("failed to spawn"),
        "the panic does not say what failed: {ended:#?}"
    );
}

#[test]
fn the_kernels_limit_on_mappings_is_an_error_that_names_it() {
    // Without lightweight guards each stack costs two mappings, of which a process has 65,530 by default.
    let plant = [("BRIGADE_PLANT", "no-guard-install")];
    let ended = child::run(
        "the_kernels_limit_on_mappings_is_an_error_that_names_it",
        &plant,
        || {
            let mappings =
                std::fs::read_to_string("/proc/sys/vm/max_map_count").expect("/proc is mounted");
            let mappings: usize = mappings.trim().parse().expect("a number");
            if mappings > 500_000 {
                println!("skipped: vm.max_map_count is {mappings}");
                return;
            }
            let runtime = Builder::new().workers(2).build().expect("a runtime");
            let (count, error) = spawn_until_refused(&runtime, mappings);
            let message = error
                .expect("there are more threads than mappings")
                .to_string();
            println!("{count} threads, then: {message}");
            assert!(message.contains("vm.max_map_count"), "{message}");
            assert!(count > 1000);
            // What the error left over is enough to go on with.
            assert!(std::thread::spawn(|| vec![0_u8; MIB].len()).join().is_ok());
            assert_eq!(runtime.spawn(|| 3).join().expect("no panic"), 3);
        },
    );
    ended.assert_success();
}

#[test]
fn a_closure_that_could_not_be_spawned_is_dropped_once() {
    struct Counted(Arc<Count>);
    impl Drop for Counted {
        fn drop(&mut self) {
            self.0.up();
        }
    }
    brigade::run(|| {
        let count = Arc::new(Count::new());
        let value = Counted(Arc::clone(&count));
        let result = thread::Builder::new()
            .stack_size(usize::MAX / 2)
            .spawn(move || drop(value));
        assert!(result.is_err());
        assert_eq!(count.get(), 1);
    });
}
