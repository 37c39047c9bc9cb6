//! Every hook is live in an ordinary test program.

use std::thread;
use std::time::Duration;

use brigade::hooks::{self, Status};

fn names(hooks: &[Status], is: impl Fn(&Status) -> bool) -> Vec<&'static str> {
    hooks
        .iter()
        .filter(|hook| is(hook))
        .map(Status::name)
        .collect()
}

#[test]
fn every_hook_is_linked_and_exported() {
    let all = hooks::status();
    assert!(all.len() >= 86, "{}", all.len());
    assert_eq!(names(&all, |hook| !hook.is_linked()), [""; 0], "not linked");
    assert_eq!(
        names(&all, |hook| !hook.is_exported()),
        [""; 0],
        "not exported"
    );
}

#[test]
fn every_harmless_call_reaches_its_hook() {
    let all = hooks::self_test().expect("a kernel thread can be started");
    assert_eq!(
        names(&all, |hook| hook.is_reached() == Some(false)),
        [""; 0]
    );
    let called = names(&all, |hook| hook.is_reached() == Some(true));
    assert!(called.len() >= 62, "{called:?}");
}

/// Whether the standard library's way of `call` goes through the hook `name`.
fn std_reaches(name: &str, call: impl FnOnce()) -> bool {
    let hook = brigade_hooks::hooks()
        .find(|hook| hook.name() == name)
        .expect("a hook of that name");
    hook.is_reached_by(call)
}

#[test]
fn the_standard_library_calls_the_hooks() {
    assert!(std_reaches("clock_nanosleep", || thread::sleep(
        Duration::from_nanos(1)
    )));
    assert!(std_reaches("sched_yield", thread::yield_now));
    assert!(std_reaches("syscall", || thread::park_timeout(
        Duration::from_nanos(1)
    )));
    assert!(std_reaches("fsync", || {
        let file = std::fs::File::open("/dev/null").expect("the null device");
        file.sync_all().expect_err("it has no disk");
    }));
    assert!(std_reaches("getaddrinfo", || {
        let found = std::net::ToSocketAddrs::to_socket_addrs("localhost:1");
        found.expect("localhost resolves");
    }));
    assert!(std_reaches("posix_spawnp", || {
        let status = std::process::Command::new("true").status();
        assert!(status.expect("a process can be started").success());
    }));
    // The control: nobody in this program makes such a call.
    assert!(!std_reaches("wait3", thread::yield_now));
}
