//! The hooked functions as a foreign crate sees them: through the `libc` crate, with a harmless call of each that has
//! one. Add a line for every hook.
//!
//! A call is harmless if it can neither block nor change anything: it names no file, no process and no time.

use std::ptr::{dangling_mut, null, null_mut};

use super::Call;

/// A process number beyond the kernel's largest.
const NOBODY: libc::pid_t = libc::pid_t::MAX;

const NO_TIME: libc::timespec = libc::timespec {
    tv_sec: 0,
    tv_nsec: 0,
};

const NO_TIMEVAL: libc::timeval = libc::timeval {
    tv_sec: 0,
    tv_usec: 0,
};

// Names that the `libc` crate lacks; only their addresses are taken.
unsafe extern "C" {
    fn __poll_chk();
    fn __ppoll_chk();
    fn __pread64_chk();
    fn __read_chk();
    fn __recv_chk();
    fn __recvfrom_chk();
    fn closefrom();
    fn epoll_pwait2();
    fn fcntl64();
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
pub(super) static CALLS: [Call; 86] = [
    silent("__poll_chk", __poll_chk as *const ()),
    silent("__ppoll_chk", __ppoll_chk as *const ()),
    silent("__pread64_chk", __pread64_chk as *const ()),
    silent("__read_chk", __read_chk as *const ()),
    silent("__recv_chk", __recv_chk as *const ()),
    silent("__recvfrom_chk", __recvfrom_chk as *const ()),
    call(
        "accept",
        libc::accept as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::accept(-1, null_mut(), null_mut());
        },
    ),
    call(
        "accept4",
        libc::accept4 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::accept4(-1, null_mut(), null_mut(), 0);
        },
    ),
    call(
        "clock_nanosleep",
        libc::clock_nanosleep as *const (),
        // SAFETY: there is no such clock, so nothing is read or written.
        || unsafe {
            libc::clock_nanosleep(-99, 0, null(), null_mut());
        },
    ),
    call(
        "close",
        libc::close as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::close(-1);
        },
    ),
    call(
        "close_range",
        libc::close_range as *const (),
        // SAFETY: a range that ends before it begins is refused.
        || unsafe {
            libc::close_range(1, 0, 0);
        },
    ),
    silent("closefrom", closefrom as *const ()),
    call(
        "connect",
        libc::connect as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::connect(-1, null(), 0);
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
        "dup",
        libc::dup as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::dup(-1);
        },
    ),
    call(
        "dup2",
        libc::dup2 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::dup2(-1, -1);
        },
    ),
    call(
        "dup3",
        libc::dup3 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::dup3(-1, -1, 0);
        },
    ),
    call(
        "epoll_pwait",
        libc::epoll_pwait as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::epoll_pwait(-1, null_mut(), 1, 0, null());
        },
    ),
    silent("epoll_pwait2", epoll_pwait2 as *const ()),
    call(
        "epoll_wait",
        libc::epoll_wait as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::epoll_wait(-1, null_mut(), 1, 0);
        },
    ),
    call(
        "fcntl",
        libc::fcntl as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::fcntl(-1, libc::F_GETFD);
        },
    ),
    silent("fcntl64", fcntl64 as *const ()),
    call(
        "fdatasync",
        libc::fdatasync as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::fdatasync(-1);
        },
    ),
    call(
        "fdopen",
        libc::fdopen as *const (),
        // SAFETY: descriptor -1 is never open; the mode is a string.
        || unsafe {
            libc::fdopen(-1, c"r".as_ptr());
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
        "ioctl",
        libc::ioctl as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::ioctl(-1, 0);
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
    call(
        "pipe",
        libc::pipe as *const (),
        // SAFETY: the kernel refuses the pointer.
        || unsafe {
            libc::pipe(null_mut());
        },
    ),
    call(
        "pipe2",
        libc::pipe2 as *const (),
        // SAFETY: the kernel refuses the flags and the pointer.
        || unsafe {
            libc::pipe2(null_mut(), -1);
        },
    ),
    call(
        "poll",
        libc::poll as *const (),
        // SAFETY: no descriptors are looked at, for no time.
        || unsafe {
            libc::poll(null_mut(), 0, 0);
        },
    ),
    silent("posix_spawn", libc::posix_spawn as *const ()),
    silent("posix_spawnp", libc::posix_spawnp as *const ()),
    call(
        "ppoll",
        libc::ppoll as *const (),
        // SAFETY: no descriptors are looked at, for no time.
        || unsafe {
            libc::ppoll(null_mut(), 0, &NO_TIME, null());
        },
    ),
    call(
        "pread",
        libc::pread as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::pread(-1, null_mut(), 0, 0);
        },
    ),
    call(
        "pread64",
        libc::pread64 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::pread64(-1, null_mut(), 0, 0);
        },
    ),
    call(
        "preadv",
        libc::preadv as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::preadv(-1, null(), 0, 0);
        },
    ),
    call(
        "preadv64",
        libc::preadv64 as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::preadv64(-1, null(), 0, 0);
        },
    ),
    call(
        "pselect",
        libc::pselect as *const (),
        // SAFETY: no descriptors are looked at, for no time.
        || unsafe {
            libc::pselect(0, null_mut(), null_mut(), null_mut(), &NO_TIME, null());
        },
    ),
    call(
        "read",
        libc::read as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::read(-1, null_mut(), 0);
        },
    ),
    call(
        "readv",
        libc::readv as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::readv(-1, null(), 0);
        },
    ),
    call(
        "recv",
        libc::recv as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::recv(-1, null_mut(), 0, 0);
        },
    ),
    call(
        "recvfrom",
        libc::recvfrom as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::recvfrom(-1, null_mut(), 0, 0, null_mut(), null_mut());
        },
    ),
    call(
        "recvmmsg",
        libc::recvmmsg as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::recvmmsg(-1, null_mut(), 0, 0, null_mut());
        },
    ),
    call(
        "recvmsg",
        libc::recvmsg as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::recvmsg(-1, null_mut(), 0);
        },
    ),
    call(
        "sched_yield",
        libc::sched_yield as *const (),
        // SAFETY: it has no preconditions.
        || unsafe {
            libc::sched_yield();
        },
    ),
    call(
        "select",
        libc::select as *const (),
        // SAFETY: no descriptors are looked at, for no time.
        || unsafe {
            libc::select(
                0,
                null_mut(),
                null_mut(),
                null_mut(),
                &mut NO_TIMEVAL.clone(),
            );
        },
    ),
    call(
        "send",
        libc::send as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::send(-1, null(), 0, 0);
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
        "sendmmsg",
        libc::sendmmsg as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sendmmsg(-1, null_mut(), 0, 0);
        },
    ),
    call(
        "sendmsg",
        libc::sendmsg as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sendmsg(-1, null(), 0);
        },
    ),
    call(
        "sendto",
        libc::sendto as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::sendto(-1, null(), 0, 0, null(), 0);
        },
    ),
    call(
        "setsockopt",
        libc::setsockopt as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::setsockopt(-1, 0, 0, null(), 0);
        },
    ),
    call(
        "shutdown",
        libc::shutdown as *const (),
        // SAFETY: descriptor -1 is never open.
        || unsafe {
            libc::shutdown(-1, libc::SHUT_WR);
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
        "socket",
        libc::socket as *const (),
        // SAFETY: there is no such family.
        || unsafe {
            libc::socket(-1, 0, 0);
        },
    ),
    call(
        "socketpair",
        libc::socketpair as *const (),
        // SAFETY: there is no such family, and the kernel refuses the pointer.
        || unsafe {
            libc::socketpair(-1, 0, 0, null_mut());
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
    call(
        "write",
        libc::write as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::write(-1, null(), 0);
        },
    ),
    call(
        "writev",
        libc::writev as *const (),
        // SAFETY: descriptor -1 is never open, and no memory is passed.
        || unsafe {
            libc::writev(-1, null(), 0);
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
