//! What a hook costs on an ordinary kernel thread: calls through the symbol, which come to the hook, beside calls of
//! the next definition, which is libc's. `cargo bench -p brigade-hooks`.
//!
//! Both arms run in turns of a few milliseconds; the figures are the median over the turns and the least of them. libc
//! skips the bookkeeping for cancellation in a process with one thread, so each call is measured without and with a
//! second one.

use std::ffi::{CStr, c_int, c_long, c_void};
use std::hint::black_box;
use std::mem::transmute;
use std::time::Instant;

use brigade_hooks::hooks;
use libc::{size_t, ssize_t};

const TURNS: usize = 41;
const CALLS: u32 = 10_000;

type Read = unsafe extern "C" fn(c_int, *mut c_void, size_t) -> ssize_t;
type Write = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;
type Recv = unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int) -> ssize_t;
type Syscall = unsafe extern "C" fn(c_long, ...) -> c_long;

/// A call by name: through the hook, and not.
type Arms = (&'static str, [Box<dyn FnMut()>; 2]);

/// The definition of `name` after this program's.
fn next(name: &CStr) -> *mut c_void {
    // SAFETY: a lookup by a valid C string.
    let address = unsafe { libc::dlsym(libc::RTLD_NEXT, name.as_ptr()) };
    let hook = hooks().find(|hook| Ok(hook.name()) == name.to_str());
    let hook = hook.expect("it is hooked");
    assert!(!address.is_null() && !hook.is_at(address.cast_const().cast()));
    assert!(hook.is_exported(), "this program does not come to the hook");
    address
}

fn turn_ns(call: &mut dyn FnMut()) -> f64 {
    let start = Instant::now();
    for _ in 0..CALLS {
        call();
    }
    start.elapsed().as_nanos() as f64 / f64::from(CALLS)
}

fn median_and_least(turns: &mut [f64]) -> (f64, f64) {
    turns.sort_by(f64::total_cmp);
    (turns[turns.len() / 2], turns[0])
}

fn compare(what: &str, mut hooked: impl FnMut(), mut plain: impl FnMut()) {
    let (mut with, mut without) = (Vec::new(), Vec::new());
    turn_ns(&mut hooked);
    turn_ns(&mut plain);
    for _ in 0..TURNS {
        with.push(turn_ns(&mut hooked));
        without.push(turn_ns(&mut plain));
    }
    let (with, with_least) = median_and_least(&mut with);
    let (without, without_least) = median_and_least(&mut without);
    println!(
        "{what:<28} libc {without:>6.1}  hook {with:>6.1}  more {:>+6.1}  (least: {without_least:>6.1} {with_least:>6.1} {:>+6.1})",
        with - without,
        with_least - without_least,
    );
}

/// Descriptors that answer at once: the null device and a socket with nothing to read.
fn descriptors() -> (c_int, c_int) {
    let mut pair = [0; 2];
    // SAFETY: the path is a string, the pair has room for two numbers.
    let null = unsafe {
        let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
        assert_eq!(
            libc::socketpair(libc::AF_UNIX, kind, 0, pair.as_mut_ptr()),
            0
        );
        libc::open(c"/dev/null".as_ptr(), libc::O_RDWR)
    };
    assert!(null >= 0);
    (null, pair[0])
}

fn run() {
    let (null, socket) = descriptors();
    let mut byte = [0_u8];
    let at = byte.as_mut_ptr();
    // SAFETY: the next definitions have the signatures of the functions whose names they go by.
    let (read, write, recv, syscall) = unsafe {
        (
            transmute::<*mut c_void, Read>(next(c"read")),
            transmute::<*mut c_void, Write>(next(c"write")),
            transmute::<*mut c_void, Recv>(next(c"recv")),
            transmute::<*mut c_void, Syscall>(next(c"syscall")),
        )
    };
    let mut arms: Vec<Arms> = Vec::new();
    // The pointers are hidden from the optimiser, so the calls are made as they stand.
    let reads = [black_box(libc::read as Read), read].map(|f| -> Box<dyn FnMut()> {
        // SAFETY: an open descriptor and room for one byte.
        Box::new(move || assert_eq!(unsafe { f(null, at.cast(), 1) }, 0))
    });
    arms.push(("read(/dev/null)", reads));
    let writes = [black_box(libc::write as Write), write].map(|f| -> Box<dyn FnMut()> {
        // SAFETY: an open descriptor and one byte.
        Box::new(move || assert_eq!(unsafe { f(null, at.cast(), 1) }, 1))
    });
    arms.push(("write(/dev/null)", writes));
    let receives = [black_box(libc::recv as Recv), recv].map(|f| -> Box<dyn FnMut()> {
        // SAFETY: an open descriptor and room for one byte.
        Box::new(move || assert_eq!(unsafe { f(socket, at.cast(), 1, 0) }, -1))
    });
    arms.push(("recv -> EAGAIN", receives));
    let word: &'static u32 = Box::leak(Box::new(5));
    for (name, operation, value, result) in [
        ("FUTEX_WAKE, no waiter", libc::FUTEX_WAKE, 1, 0),
        ("FUTEX_WAIT -> EAGAIN", libc::FUTEX_WAIT, 4, -1),
    ] {
        let operation = operation | libc::FUTEX_PRIVATE_FLAG;
        let calls = [black_box(libc::syscall as Syscall), syscall].map(|f| -> Box<dyn FnMut()> {
            Box::new(move || {
                // SAFETY: the word lives on, and no time is given.
                let got =
                    unsafe { f(libc::SYS_futex, word, operation, value, 0_usize, 0_usize, 0) };
                assert_eq!(got, result);
            })
        });
        arms.push((name, calls));
    }
    let others = [black_box(libc::syscall as Syscall), syscall].map(|f| -> Box<dyn FnMut()> {
        // SAFETY: this system call takes no arguments.
        Box::new(move || assert!(unsafe { f(libc::SYS_getppid) } >= 0))
    });
    arms.push(("syscall(getppid)", others));
    for (name, [hooked, plain]) in arms {
        compare(name, hooked, plain);
    }
}

fn main() {
    println!("ns per call on a kernel thread, one thread in the process");
    run();
    let other = std::thread::spawn(std::thread::park);
    println!("with a second thread");
    run();
    other.thread().unpark();
    other.join().expect("no panic");
}
