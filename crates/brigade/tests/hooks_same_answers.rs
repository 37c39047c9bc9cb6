//! Hooked calls answer on a green thread as libc does on a kernel thread: result and errno, also for bad input.

mod common;

use std::ffi::{c_int, c_long};
use std::ptr::{null, null_mut};
use std::sync::atomic::{AtomicU32, Ordering};

use brigade::runtime::Builder;
use common::Watch;
use libc::timespec;

/// What a caller sees of a call: its result and errno.
type Answer = (i64, c_int);

const UNTOUCHED: c_int = 4077;

fn answer(call: impl FnOnce() -> i64) -> Answer {
    // SAFETY: the address is that of this thread's errno.
    unsafe { *libc::__errno_location() = UNTOUCHED };
    let result = call();
    // SAFETY: as before the call: this thread's errno.
    (result, unsafe { *libc::__errno_location() })
}

/// A call by name.
type Case = (String, Box<dyn Fn() -> i64 + Send + Sync>);

/// Makes every call of `cases` on a kernel thread and on a green thread, and compares the answers.
#[track_caller]
fn compare(cases: &[Case]) {
    let _watch = Watch::new("a comparison");
    let runtime = Builder::new().workers(2).build().expect("a runtime");
    for (name, call) in cases {
        let plain = answer(call);
        let hooked = runtime.run(|| answer(call));
        assert_eq!(hooked, plain, "{name}: (result, errno), hooked and plain");
    }
    assert!(cases.len() >= 5);
}

fn case(name: impl Into<String>, call: impl Fn() -> i64 + Send + Sync + 'static) -> Case {
    (name.into(), Box::new(call))
}

/// Times, good and bad, and pointers that lead to none.
fn times() -> Vec<(&'static str, usize)> {
    let leak = |tv_sec, tv_nsec| &raw const *Box::leak(Box::new(timespec { tv_sec, tv_nsec }));
    vec![
        ("zero", leak(0, 0) as usize),
        ("a microsecond", leak(0, 1000) as usize),
        ("negative nanoseconds", leak(0, -1) as usize),
        ("a billion nanoseconds", leak(0, 1_000_000_000) as usize),
        ("negative seconds", leak(-1, 0) as usize),
        ("null", 0),
        ("address 8", 8),
        ("an address of the kernel", usize::MAX - 63),
        ("an address without memory", 0x7000_0000_0000),
        ("memory that cannot be read", unreadable()),
    ]
}

/// A page without permissions.
fn unreadable() -> usize {
    // SAFETY: a new mapping touches nothing that exists.
    let page = unsafe {
        libc::mmap(
            null_mut(),
            4096,
            libc::PROT_NONE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(page, libc::MAP_FAILED);
    page as usize
}

#[test]
fn sleeps_on_every_clock_answer_alike() {
    let mut cases = Vec::new();
    // Not the clocks of CPU time: a sleep on them ends when the process has computed enough.
    let clocks = [
        libc::CLOCK_REALTIME,
        libc::CLOCK_MONOTONIC,
        libc::CLOCK_THREAD_CPUTIME_ID,
        libc::CLOCK_MONOTONIC_RAW,
        libc::CLOCK_REALTIME_COARSE,
        libc::CLOCK_BOOTTIME,
        libc::CLOCK_TAI,
        99,
        -1,
    ];
    for clock in clocks {
        for flags in [0, libc::TIMER_ABSTIME, 1 << 20] {
            for (name, time) in times() {
                cases.push(case(
                    format!("clock_nanosleep({clock}, {flags}, {name})"),
                    move || {
                        // SAFETY: the kernel checks the pointer, and no remainder is asked for.
                        i64::from(unsafe {
                            libc::clock_nanosleep(clock, flags, time as *const _, null_mut())
                        })
                    },
                ));
            }
        }
    }
    compare(&cases);
}

#[test]
fn short_and_wrong_sleeps_answer_alike() {
    let mut cases = Vec::new();
    for (name, time) in times() {
        cases.push(case(format!("nanosleep({name})"), move || {
            // SAFETY: the kernel checks the pointer, and no remainder is asked for.
            i64::from(unsafe { libc::nanosleep(time as *const _, null_mut()) })
        }));
    }
    for us in [0, 1, 1000] {
        // SAFETY: any number will do.
        cases.push(case(format!("usleep({us})"), move || unsafe {
            libc::usleep(us).into()
        }));
    }
    // SAFETY: any number will do.
    cases.push(case("sleep(0)", || unsafe { libc::sleep(0).into() }));
    // SAFETY: it has no preconditions.
    cases.push(case("sched_yield()", || unsafe {
        libc::sched_yield().into()
    }));
    compare(&cases);
}

#[test]
fn a_sleep_leaves_the_remainder_alone() {
    let call = || {
        let time = timespec {
            tv_sec: 0,
            tv_nsec: 1000,
        };
        let mut remainder = timespec {
            tv_sec: 11,
            tv_nsec: 12,
        };
        // SAFETY: both are valid.
        let result = unsafe { libc::nanosleep(&time, &mut remainder) };
        (result, remainder.tv_sec, remainder.tv_nsec)
    };
    assert_eq!(brigade::run(call), call());
}

fn futex(
    word: usize,
    operation: c_int,
    value: u32,
    timeout: usize,
    second: usize,
    third: u32,
) -> i64 {
    // SAFETY: the kernel checks the addresses; the words of the tests stay where they are.
    unsafe {
        libc::syscall(
            libc::SYS_futex,
            word,
            operation,
            value,
            timeout,
            second,
            third,
        )
    }
}

const PRIVATE: c_int = libc::FUTEX_PRIVATE_FLAG;
const REALTIME: c_int = libc::FUTEX_CLOCK_REALTIME;

/// A word with the value 5 that nobody waits for.
fn word() -> usize {
    Box::leak(Box::new(AtomicU32::new(5))).as_ptr() as usize
}

/// A word, and addresses where there is none. An address that merely lacks memory is not among them: see the limits
/// in `futex/mod.rs`.
fn words() -> Vec<(&'static str, usize)> {
    vec![
        ("a word", word()),
        ("a misaligned word", word() + 1),
        ("null", 0),
        ("address 8", 8),
        ("an address of the kernel", usize::MAX - 63),
    ]
}

#[test]
fn futex_waits_answer_alike() {
    let mut cases = Vec::new();
    for private in [0, PRIVATE] {
        for clock in [0, REALTIME] {
            for (operation, bits) in [
                (libc::FUTEX_WAIT, 0),
                (libc::FUTEX_WAIT_BITSET, 1),
                (libc::FUTEX_WAIT_BITSET, 0),
            ] {
                for (place, word) in words() {
                    for (name, time) in times() {
                        // A wait for ever is no case: value 4 is not there, value 5 only with a time.
                        for value in if time == 0 { vec![4] } else { vec![4, 5] } {
                            let operation = operation | private | clock;
                            cases.push(case(
                                format!("futex({place}, {operation:#x}, {value}, {name}, {bits})"),
                                move || futex(word, operation, value, time, 0, bits),
                            ));
                        }
                    }
                }
            }
        }
    }
    compare(&cases);
}

#[test]
fn futex_wakes_without_waiters_answer_alike() {
    let mut cases = Vec::new();
    for private in [0, PRIVATE] {
        for (place, word) in words() {
            for count in [0, 1, u32::MAX, i32::MAX as u32] {
                for (operation, bits) in [
                    (libc::FUTEX_WAKE, 0),
                    (libc::FUTEX_WAKE_BITSET, 0),
                    (libc::FUTEX_WAKE_BITSET, 2),
                ] {
                    let operation = operation | private;
                    cases.push(case(
                        format!("futex({place}, {operation:#x}, {count}, bits {bits})"),
                        move || futex(word, operation, count, 0, 0, bits),
                    ));
                }
            }
        }
    }
    compare(&cases);
}

#[test]
fn other_futex_operations_answer_alike() {
    let mut cases = Vec::new();
    for private in [0, PRIVATE] {
        for (place, first) in words() {
            for operation in [
                libc::FUTEX_REQUEUE,
                libc::FUTEX_CMP_REQUEUE,
                libc::FUTEX_WAKE_OP,
                libc::FUTEX_UNLOCK_PI,
                99,
            ] {
                for (other, second) in words() {
                    for third in [4, 5] {
                        let operation = operation | private;
                        cases.push(case(
                            format!("futex({place}, {operation:#x}, {other}, {third})"),
                            move || futex(first, operation, 1, 1, second, third),
                        ));
                    }
                }
            }
        }
    }
    compare(&cases);
}

#[test]
fn other_system_calls_answer_alike() {
    let numbers: [c_long; 5] = [
        libc::SYS_getpid,
        libc::SYS_close,
        libc::SYS_read,
        libc::SYS_fsync,
        100_000,
    ];
    let cases: Vec<_> = numbers
        .into_iter()
        .map(|number| {
            case(format!("syscall({number}, -1)"), move || {
                // SAFETY: descriptor -1 is never open.
                unsafe { libc::syscall(number, -1, 0, 0) }
            })
        })
        .collect();
    compare(&cases);
}

/// Calls that are made without a processor, on descriptors of every kind.
#[test]
fn calls_for_files_answer_alike() {
    let mut cases = Vec::new();
    let directory = std::env::temp_dir();
    let path = directory.join(format!("brigade-hooks-{}", std::process::id()));
    let file = std::fs::File::options()
        .create(true)
        .truncate(true)
        .read(true)
        .write(true)
        .open(&path)
        .expect("a temporary file");
    std::fs::remove_file(&path).expect("the file was just made");
    let (reader, writer) = std::io::pipe().expect("a pipe");
    let number = |fd: &dyn std::os::fd::AsRawFd| fd.as_raw_fd();
    let fds = [-1, 1 << 20, number(&file), number(&reader), number(&writer)];
    for fd in fds {
        // SAFETY: here and below: the calls take numbers, and null pointers where they are allowed.
        cases.push(case(format!("fsync({fd})"), move || unsafe {
            libc::fsync(fd).into()
        }));
        // SAFETY: as above: numbers only.
        cases.push(case(format!("fdatasync({fd})"), move || unsafe {
            libc::fdatasync(fd).into()
        }));
        for operation in [
            libc::LOCK_SH,
            libc::LOCK_UN,
            99,
            libc::LOCK_EX,
            libc::LOCK_UN,
        ] {
            // SAFETY: as above: numbers only.
            cases.push(case(format!("flock({fd}, {operation})"), move || unsafe {
                libc::flock(fd, operation).into()
            }));
        }
        for command in [libc::F_TEST, libc::F_LOCK, libc::F_ULOCK, 99] {
            // SAFETY: as above: numbers only.
            cases.push(case(format!("lockf({fd}, {command})"), move || unsafe {
                libc::lockf(fd, command, 0).into()
            }));
        }
        for other in fds {
            // SAFETY: as above: numbers and null pointers.
            cases.push(case(
                format!("sendfile({fd}, {other}, 0)"),
                move || unsafe { libc::sendfile(fd, other, null_mut(), 0) as i64 },
            ));
            // SAFETY: as above: numbers and null pointers.
            cases.push(case(format!("splice({fd}, {other}, 0)"), move || unsafe {
                libc::splice(fd, null_mut(), other, null_mut(), 0, 0) as i64
            }));
            cases.push(case(
                format!("copy_file_range({fd}, {other}, 0)"),
                // SAFETY: as above: numbers and null pointers.
                move || unsafe {
                    libc::copy_file_range(fd, null_mut(), other, null_mut(), 0, 0) as i64
                },
            ));
        }
    }
    compare(&cases);
}

#[test]
fn names_of_hosts_answer_alike() {
    let names = [
        c"localhost",
        c"127.0.0.1",
        c"256.0.0.1",
        c"no host has spaces",
        c"",
    ];
    let mut cases: Vec<_> = names
        .into_iter()
        .map(|name| {
            case(format!("getaddrinfo({name:?})"), move || {
                let mut result = null_mut();
                // SAFETY: the name and the place for the result are valid; no hints are given.
                unsafe {
                    let failed = libc::getaddrinfo(name.as_ptr(), null(), null(), &mut result);
                    if failed == 0 {
                        libc::freeaddrinfo(result);
                    }
                    // libc leaves errno as it likes.
                    *libc::__errno_location() = UNTOUCHED;
                    failed.into()
                }
            })
        })
        .collect();
    cases.push(case("getnameinfo(null)", || {
        // SAFETY: an address of no bytes is refused.
        unsafe { libc::getnameinfo(null(), 0, null_mut(), 0, null_mut(), 0, 0).into() }
    }));
    compare(&cases);
}

#[test]
fn the_comparison_sees_a_difference() {
    let runtime = Builder::new().workers(1).build().expect("a runtime");
    let word = AtomicU32::new(5);
    let address = word.as_ptr() as usize;
    let wait = move |value| move || futex(address, libc::FUTEX_WAIT | PRIVATE, value, 8, 0, 0);
    let (wrong, right) = (answer(wait(4)), runtime.run(|| answer(wait(4))));
    assert_eq!(wrong, right);
    assert_eq!(right.1, libc::EFAULT);
    // ORDER: Relaxed: only keeps the word alive.
    assert_eq!(word.load(Ordering::Relaxed), 5);
}
