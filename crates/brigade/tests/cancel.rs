//! A kernel thread that waits in a hooked function can be cancelled, as in libc's own: hooks pass on to libc's
//! functions, which are cancellation points, and its unwinding goes through the hooks.

mod common;

use std::ffi::{c_int, c_void};
use std::os::fd::{AsRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::ptr::{null, null_mut};

use common::child;

/// A function by name, and a call of it that never returns: the descriptor never becomes ready.
type Call = (&'static str, unsafe fn(RawFd));

/// What the thread waits in.
static WAITS: [Call; 7] = [
    ("nanosleep", |_| {
        let long = libc::timespec {
            tv_sec: 1000,
            tv_nsec: 0,
        };
        // SAFETY: the time is valid, and no remainder is asked for.
        unsafe { libc::nanosleep(&long, null_mut()) };
    }),
    ("clock_nanosleep", |_| {
        let long = libc::timespec {
            tv_sec: 1000,
            tv_nsec: 0,
        };
        // SAFETY: the time is valid, and no remainder is asked for.
        unsafe { libc::clock_nanosleep(libc::CLOCK_MONOTONIC, 0, &long, null_mut()) };
    }),
    ("sleep", |_| {
        // SAFETY: any number will do.
        unsafe { libc::sleep(1000) };
    }),
    ("read", |fd| {
        let mut byte = [0_u8];
        // SAFETY: room for one byte.
        unsafe { libc::read(fd, byte.as_mut_ptr().cast(), 1) };
    }),
    ("recv", |fd| {
        let mut byte = [0_u8];
        // SAFETY: room for one byte.
        unsafe { libc::recv(fd, byte.as_mut_ptr().cast(), 1, 0) };
    }),
    ("poll", |fd| {
        let mut wanted = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        // SAFETY: one descriptor is passed, and one is said to be.
        unsafe { libc::poll(&mut wanted, 1, -1) };
    }),
    ("waitpid", |_| {
        // SAFETY: no status is asked for.
        unsafe { libc::waitpid(-1, null_mut(), 0) };
    }),
];

/// Which wait, and on what.
struct Wait {
    index: usize,
    fd: RawFd,
}

extern "C" fn wait_for_ever(wait: *mut c_void) -> *mut c_void {
    // SAFETY: the starter passes a `Wait` that lives until it has joined this thread.
    let wait = unsafe { &*wait.cast::<Wait>() };
    loop {
        // SAFETY: each takes a descriptor.
        unsafe { WAITS[wait.index].1(wait.fd) };
    }
}

/// Starts a thread that waits, cancels it, and says what it ended with.
fn cancel(index: usize) -> *mut c_void {
    let (silent, _other) = UnixStream::pair().expect("a pair of sockets");
    let mut wait = Wait {
        index,
        fd: silent.as_raw_fd(),
    };
    let mut thread = 0;
    let mut value = null_mut();
    let check = |failed: c_int| assert_eq!(failed, 0, "{}", WAITS[index].0);
    // SAFETY: the thread gets a valid argument, is cancelled while it is joinable, and is joined once.
    unsafe {
        check(libc::pthread_create(
            &mut thread,
            null(),
            wait_for_ever,
            (&raw mut wait).cast(),
        ));
        std::thread::sleep(std::time::Duration::from_millis(10));
        check(libc::pthread_cancel(thread));
        check(libc::pthread_join(thread, &mut value));
    }
    value
}

#[test]
fn a_kernel_thread_is_cancelled_in_every_kind_of_hook() {
    let name = "a_kernel_thread_is_cancelled_in_every_kind_of_hook";
    let ended = child::run(name, &[], || {
        let canceled = usize::MAX as *mut c_void;
        // A child that stays: waitpid has something to wait for.
        let mut sleeper = std::process::Command::new("sleep")
            .arg("100")
            .spawn()
            .expect("a process can be started");
        for (index, (what, _)) in WAITS.iter().enumerate() {
            assert_eq!(cancel(index), canceled, "{what}");
        }
        sleeper.kill().expect("it is our child");
        sleeper.wait().expect("it is our child");
    });
    ended.assert_success();
}
