//! Calls that cannot be waited for give their processor away at once, without the monitor's help.
//!
//! The monitor hands a processor off only when somebody waits for it. Here nobody does, so a hand-off is the call's own.

mod common;

use std::fs::File;
use std::net::ToSocketAddrs;
use std::os::fd::AsRawFd;
use std::process::Command;
use std::thread;
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use common::{Watch, gettid};

fn lone_runtime() -> Runtime {
    Builder::new().workers(1).build().expect("a runtime")
}

/// How often `call` gave a processor away, made by the only green thread of a runtime.
fn given_away(call: impl FnOnce() + Send + 'static) -> u64 {
    let _watch = Watch::new("a call that blocks");
    let runtime = lone_runtime();
    let before = runtime.metrics().handoffs;
    runtime.spawn(call).join().expect("no panic");
    runtime.metrics().handoffs - before
}

fn temporary_file(name: &str) -> File {
    let path = std::env::temp_dir().join(format!("brigade-{name}-{}", std::process::id()));
    let file = File::create(&path).expect("a temporary file");
    std::fs::remove_file(&path).expect("the file was just made");
    file
}

#[test]
fn nothing_gives_a_processor_away_but_calls_that_may_block() {
    assert_eq!(given_away(|| assert!(gettid() > 0)), 0);
    assert_eq!(given_away(|| thread::sleep(Duration::from_micros(10))), 0);
}

#[test]
fn joining_a_kernel_thread_gives_the_processor_away() {
    let joined = || {
        let kernel = thread::spawn(|| thread::sleep(Duration::from_millis(1)));
        kernel.join().expect("no panic");
    };
    assert_eq!(given_away(joined), 1);
}

#[test]
fn syncing_a_file_gives_the_processor_away() {
    let file = temporary_file("sync");
    let sync = move || {
        file.sync_all().expect("an ordinary file");
        file.sync_data().expect("an ordinary file");
    };
    assert_eq!(given_away(sync), 2);
}

#[test]
fn resolving_a_name_gives_the_processor_away() {
    let resolve = || drop("localhost:1".to_socket_addrs().expect("it resolves"));
    assert_eq!(given_away(resolve), 1);
}

#[test]
fn starting_a_process_gives_the_processor_away_and_waiting_for_it_parks() {
    let _watch = Watch::new("a child process");
    let runtime = lone_runtime();
    let before = runtime.metrics();
    runtime.run(|| {
        let mut child = Command::new("sleep").arg("0.05").spawn();
        let child = child.as_mut().expect("a process can be started");
        assert!(child.wait().expect("it is our child").success());
    });
    let after = runtime.metrics();
    assert_eq!(after.handoffs - before.handoffs, 1);
    assert!(after.parks > before.parks);
}

#[test]
fn a_file_lock_is_waited_for_without_the_processor_and_taken_at_once_when_it_is_free() {
    let held = temporary_file("lock");
    let path = format!("/proc/self/fd/{}", held.as_raw_fd());
    let other = File::open(path).expect("the file is open");
    let free = held.try_clone().expect("a descriptor");
    assert_eq!(given_away(move || free.lock().expect("it is free")), 0);
    let holder = thread::spawn(move || {
        thread::sleep(Duration::from_millis(20));
        held.unlock().expect("it is locked");
    });
    assert_eq!(
        given_away(move || other.lock().expect("it becomes free")),
        1
    );
    holder.join().expect("no panic");
}

#[test]
fn a_futex_that_other_processes_could_use_blocks_without_the_processor() {
    let wait = || {
        let word = 5_u32;
        let time = libc::timespec {
            tv_sec: 0,
            tv_nsec: 1000,
        };
        // SAFETY: the word and the time are valid.
        let result = unsafe {
            libc::syscall(
                libc::SYS_futex,
                &raw const word,
                libc::FUTEX_WAIT,
                5,
                &raw const time,
            )
        };
        assert_eq!(result, -1);
    };
    assert_eq!(given_away(wait), 1);
}
