//! The hooked functions as a foreign crate sees them: through the `libc` crate, with a harmless call of each that has
//! one. Add a line for every hook.
//!
//! A call is harmless if it can neither block nor change anything: it names no file, no process and no time.

use std::ptr::{dangling_mut, null, null_mut};

use super::Call;

/// A process number beyond the kernel's largest.
const NOBODY: libc::pid_t = libc::pid_t::MAX;

// Names that the `libc` crate lacks; only their addresses are taken.
unsafe extern "C" {
    fn gethostbyaddr();
    fn gethostbyaddr_r();
    fn gethostbyname();
    fn gethostbyname2();
    fn gethostbyname2_r();
    fn gethostbyname_r();
    fn lockf64();
    fn wait3();
}

/// All hooked functions.
pub(super) static CALLS: [Call; 38] = [
    call(
        "clock_nanosleep",
        libc::clock_nanosleep as *const (),
        // SAFETY: there is no such clock, so nothing is read or written.
        || unsafe {
            libc::clock_nanosleep(-99, 0, null(), null_mut());
        },
    ),
    call(
        "copy_file_range",
        libc::copy_file_range as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::copy_file_range(-1, null_mut(), -1, null_mut(), 0, 0);
        },
    ),
    call(
        "fdatasync",
        libc::fdatasync as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::fdatasync(-1);
        },
    ),
    call(
        "flock",
        libc::flock as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::flock(-1, 0);
        },
    ),
    call(
        "fsync",
        libc::fsync as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::fsync(-1);
        },
    ),
    call(
        "getaddrinfo",
        libc::getaddrinfo as *const (),
        // SAFETY: asking for neither a host nor a service is an error; the result lives as long as the call.
        || unsafe {
            libc::getaddrinfo(null(), null(), null(), &mut null_mut());
        },
    ),
    silent("gethostbyaddr", gethostbyaddr as *const ()),
    silent("gethostbyaddr_r", gethostbyaddr_r as *const ()),
    silent("gethostbyname", gethostbyname as *const ()),
    silent("gethostbyname2", gethostbyname2 as *const ()),
    silent("gethostbyname2_r", gethostbyname2_r as *const ()),
    silent("gethostbyname_r", gethostbyname_r as *const ()),
    call(
        "getnameinfo",
        libc::getnameinfo as *const (),
        // SAFETY: an address of no bytes is refused.
        || unsafe {
            libc::getnameinfo(null(), 0, null_mut(), 0, null_mut(), 0, 0);
        },
    ),
    call(
        "lockf",
        libc::lockf as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::lockf(-1, libc::F_TEST, 0);
        },
    ),
    silent("lockf64", lockf64 as *const ()),
    call(
        "msync",
        libc::msync as *const (),
        // SAFETY: an address that is not a page's is refused.
        || unsafe {
            libc::msync(dangling_mut::<u32>().cast(), 0, 0);
        },
    ),
    call(
        "nanosleep",
        libc::nanosleep as *const (),
        // SAFETY: the kernel refuses the pointer.
        || unsafe {
            libc::nanosleep(null(), null_mut());
        },
    ),
    silent("pclose", libc::pclose as *const ()),
    silent("posix_spawn", libc::posix_spawn as *const ()),
    silent("posix_spawnp", libc::posix_spawnp as *const ()),
    call(
        "sched_yield",
        libc::sched_yield as *const (),
        // SAFETY: it has no preconditions.
        || unsafe {
            libc::sched_yield();
        },
    ),
    call(
        "sendfile",
        libc::sendfile as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sendfile(-1, -1, null_mut(), 0);
        },
    ),
    call(
        "sendfile64",
        libc::sendfile64 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sendfile64(-1, -1, null_mut(), 0);
        },
    ),
    call(
        "sleep",
        libc::sleep as *const (),
        // SAFETY: it has no preconditions.
        || unsafe {
            libc::sleep(0);
        },
    ),
    call(
        "splice",
        libc::splice as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::splice(-1, null_mut(), -1, null_mut(), 1, 0);
        },
    ),
    silent("sync", libc::sync as *const ()),
    call(
        "sync_file_range",
        libc::sync_file_range as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sync_file_range(-1, 0, 0, 0);
        },
    ),
    call(
        "syncfs",
        libc::syncfs as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::syncfs(-1);
        },
    ),
    call(
        "syscall",
        libc::syscall as *const (),
        // SAFETY: this system call takes no arguments.
        || unsafe {
            libc::syscall(libc::SYS_getpid);
        },
    ),
    silent("system", libc::system as *const ()),
    call(
        "tee",
        libc::tee as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::tee(-1, -1, 1, 0);
        },
    ),
    call(
        "usleep",
        libc::usleep as *const (),
        // SAFETY: it has no preconditions.
        || unsafe {
            libc::usleep(0);
        },
    ),
    call(
        "vmsplice",
        libc::vmsplice as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::vmsplice(-1, null(), 0, 0);
        },
    ),
    silent("wait", libc::wait as *const ()),
    silent("wait3", wait3 as *const ()),
    call(
        "wait4",
        libc::wait4 as *const (),
        // SAFETY: there is no such process, and nothing is written.
        || unsafe {
            libc::wait4(NOBODY, null_mut(), libc::WNOHANG, null_mut());
        },
    ),
    call(
        "waitid",
        libc::waitid as *const (),
        // SAFETY: waiting for no kind of change is refused.
        || unsafe {
            libc::waitid(libc::P_ALL, 0, null_mut(), 0);
        },
    ),
    call(
        "waitpid",
        libc::waitpid as *const (),
        // SAFETY: there is no such process, and nothing is written.
        || unsafe {
            libc::waitpid(NOBODY, null_mut(), libc::WNOHANG);
        },
    ),
];

const fn call(name: &'static str, address: *const (), harmless: fn()) -> Call {
    Call {
        name,
        address,
        harmless: Some(harmless),
    }
}

/// A function without a harmless call.
const fn silent(name: &'static str, address: *const ()) -> Call {
    Call {
        name,
        address,
        harmless: None,
    }
}
