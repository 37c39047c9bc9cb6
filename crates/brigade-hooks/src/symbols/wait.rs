//! The pattern of every operation on a descriptor: try without blocking, wait, try again.
//!
//! The caller passes an attempt that never blocks and answers `-EAGAIN` when it would have to. What a caller of libc
//! would see is kept: a descriptor with `O_NONBLOCK` gets its `EAGAIN`, a socket with a timeout gets it in time, a
//! descriptor that is closed meanwhile gets `EBADF`.
//!
//! Where the reactor cannot wait (an ordinary file, no descriptors left for an epoll), the operation blocks in the
//! kernel, without a processor.

use std::time::Duration;

use brigade_runtime::clock::{NEVER, deadline_after};
use brigade_runtime::descriptors::{Fd, Interest, Seen, Wait, fact, shut};
use brigade_runtime::park::{Green, blocking};
use brigade_runtime::raw::sys;
use libc::{c_int, c_long};

/// `-EAGAIN`: the attempt would have to block.
pub(super) const AGAIN: isize = -(libc::EAGAIN as isize);

/// `-ECANCELED`: what the thread is in the middle of was cancelled.
pub(super) const CANCELED: isize = -(libc::ECANCELED as isize);

/// The system call `number`; `-errno` on failure.
///
/// # Safety
/// What the kernel asks of the arguments.
#[inline(always)]
pub(super) unsafe fn call(number: c_long, arguments: [usize; 6]) -> isize {
    // SAFETY: the caller's contract.
    unsafe { sys::call(number, arguments) }
}

/// Whether `O_NONBLOCK` is set.
#[inline]
pub(super) fn is_nonblocking(fd: Fd) -> bool {
    let facts = fd.facts();
    if facts.has(fact::KNOWN | fact::ASKED) {
        return facts.has(fact::NONBLOCK);
    }
    ask_nonblocking(fd)
}

/// The kernel is asked once even for a descriptor whose flags are known: crates that make their own system calls set
/// `O_NONBLOCK` on what others have made, and they do so before the first wait. What `connect` sets for a moment is
/// never learnt: it notes its own answer before, so one from between comes too late.
#[cold]
fn ask_nonblocking(fd: Fd) -> bool {
    let get = libc::F_GETFL as usize;
    loop {
        let facts = fd.facts();
        if facts.has(fact::KNOWN | fact::ASKED) {
            return facts.has(fact::NONBLOCK);
        }
        // SAFETY: asks for flags; any number is allowed.
        let flags = unsafe { call(libc::SYS_fcntl, [fd.number() as usize, get, 0, 0, 0, 0]) };
        let on = flags >= 0 && flags as c_int & libc::O_NONBLOCK != 0;
        let (set, clear) = if on {
            (fact::ASKED | fact::NONBLOCK, 0)
        } else {
            (fact::ASKED, fact::NONBLOCK)
        };
        if !facts.has(fact::KNOWN) || fd.learn_unless_changed(facts, set, clear) {
            return on;
        }
    }
}

/// The deadline that a timeout of the socket sets to an operation which begins now.
fn socket_deadline(fd: Fd, interest: Interest) -> u64 {
    let facts = fd.facts();
    let timeout_ns = if facts.has(fact::KNOWN) {
        if !facts.has(fact::TIMEOUTS) {
            return NEVER;
        }
        fd.timeout_ns(interest)
    } else {
        ask_timeout_ns(fd.number(), interest)
    };
    match timeout_ns {
        0 => NEVER,
        ns => deadline_after(Duration::from_nanos(ns)),
    }
}

#[cold]
fn ask_timeout_ns(fd: c_int, interest: Interest) -> u64 {
    let option = match interest {
        Interest::Read => libc::SO_RCVTIMEO,
        Interest::Write => libc::SO_SNDTIMEO,
    };
    let mut value = libc::timeval {
        tv_sec: 0,
        tv_usec: 0,
    };
    let mut size = size_of::<libc::timeval>() as libc::socklen_t;
    // SAFETY: the places are as large as said; a descriptor that is no socket gives an error.
    let result = unsafe {
        call(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                option as usize,
                &raw mut value as usize,
                &raw mut size as usize,
                0,
            ],
        )
    };
    if result < 0 {
        return 0;
    }
    timeval_ns(value)
}

/// A timeout as sockets take it, nanoseconds. A negative one has passed when it begins.
pub(super) fn timeval_ns(value: libc::timeval) -> u64 {
    if value.tv_sec < 0 {
        return 1;
    }
    (value.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add((value.tv_usec as u64).saturating_mul(1000))
}

/// Which kind of file it is: learns [`fact::PLAIN`], [`fact::STREAM`], [`fact::SOCKET`] or [`fact::FLOW`] if that is
/// not known yet, and returns the facts.
pub(super) fn kind(fd: Fd) -> brigade_runtime::descriptors::Facts {
    let facts = fd.facts();
    if facts.has_any(fact::PLAIN | fact::FLOW) {
        return facts;
    }
    // SAFETY: zeros are a valid place-holder.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let place = &raw mut stat as usize;
    // SAFETY: the place is as large as the kernel's structure.
    let result = unsafe { call(libc::SYS_fstat, [fd.number() as usize, place, 0, 0, 0, 0]) };
    if result < 0 {
        return facts;
    }
    let bits = match stat.st_mode & libc::S_IFMT {
        libc::S_IFREG | libc::S_IFDIR | libc::S_IFBLK => fact::PLAIN,
        libc::S_IFSOCK if socket_option(fd.number(), libc::SO_TYPE) == libc::SOCK_STREAM => {
            fact::FLOW | fact::STREAM
        }
        libc::S_IFSOCK => fact::FLOW | fact::SOCKET,
        _ => fact::FLOW,
    };
    if facts.has(fact::LENT) {
        return facts.and(bits);
    }
    fd.learn(facts, bits, 0);
    fd.facts()
}

/// A setting of a socket that is a number.
pub(super) fn socket_option(fd: c_int, option: c_int) -> c_int {
    let mut value: c_int = 0;
    let mut size = size_of::<c_int>() as libc::socklen_t;
    // SAFETY: the places are as large as said.
    unsafe {
        call(
            libc::SYS_getsockopt,
            [
                fd as usize,
                libc::SOL_SOCKET as usize,
                option as usize,
                &raw mut value as usize,
                &raw mut size as usize,
                0,
            ],
        )
    };
    value
}

/// The events that are there, without waiting; negative on failure.
pub(super) fn poll_now(fd: c_int, events: libc::c_short) -> isize {
    let mut one = libc::pollfd {
        fd,
        events,
        revents: 0,
    };
    // SAFETY: one valid structure.
    let result = unsafe { call(libc::SYS_poll, [&raw mut one as usize, 1, 0, 0, 0, 0]) };
    if result <= 0 {
        return result;
    }
    isize::from(one.revents)
}

/// An operation on one descriptor that is under way.
pub(super) struct Operation {
    pub(super) green: Green,
    pub(super) fd: Fd,
    pub(super) interest: Interest,
    /// Set at the first wait.
    deadline_ns: Option<u64>,
    timed: bool,
}

/// How often a write that waits for a Unix socket looks again though nothing was heard.
const LOOK: Duration = Duration::from_secs(1);

/// What a wait says.
pub(super) enum Next {
    /// Try again.
    Again,
    /// Return this.
    Done(isize),
    /// The reactor cannot help: block in the kernel.
    Block,
}

impl Operation {
    /// `timed`: the socket's timeout limits it.
    #[inline(always)]
    pub(super) fn new(green: Green, fd: Fd, interest: Interest, timed: bool) -> Operation {
        Operation {
            green,
            fd,
            interest,
            deadline_ns: None,
            timed,
        }
    }

    /// Takes the readiness before an attempt.
    #[inline(always)]
    pub(super) fn seen(&self) -> Seen {
        self.fd.seen(self.interest)
    }

    /// Whether an attempt would find nothing for certain.
    #[inline(always)]
    pub(super) fn is_pointless(&self, seen: Seen) -> bool {
        let facts = self.fd.facts();
        seen.is_drained() && facts.has(fact::KNOWN) && !facts.has(fact::NONBLOCK)
    }

    /// Waits after an attempt that would have blocked, and was made after `seen` was taken.
    #[cold]
    #[inline(never)]
    pub(super) fn wait(&mut self, seen: Seen) -> Next {
        if is_nonblocking(self.fd) {
            return Next::Done(AGAIN);
        }
        self.fd.set_drained(self.interest, seen, false);
        let deadline_ns = match self.deadline_ns {
            Some(deadline_ns) => deadline_ns,
            None if self.timed => socket_deadline(self.fd, self.interest),
            None => NEVER,
        };
        self.deadline_ns = Some(deadline_ns);
        let look_ns = self.look_ns(deadline_ns);
        match self.green.wait_fd(self.fd, self.interest, seen, look_ns) {
            Ok(Wait::Ready) => Next::Again,
            Ok(Wait::TimedOut) if look_ns < deadline_ns => {
                shut(self.fd.number(), false);
                Next::Again
            }
            Ok(Wait::TimedOut) => Next::Done(AGAIN),
            Ok(Wait::Cancelled) => Next::Done(CANCELED),
            Ok(Wait::Closed) => Next::Done(-(libc::EBADF as isize)),
            Err(_) => Next::Block,
        }
    }

    /// Until when to wait before a look whether there is anything that the reactor did not hear of.
    ///
    /// That can only be a full Unix socket whose own half was shut by another process or by a raw system call: it is ready
    /// for nothing, and yet a write that waits must end ([`shut`](brigade_runtime::descriptors::shut) sees to the rest).
    fn look_ns(&self, deadline_ns: u64) -> u64 {
        let is_unix = || socket_option(self.fd.number(), libc::SO_DOMAIN) == libc::AF_UNIX;
        if self.interest == Interest::Write && is_unix() {
            deadline_ns.min(deadline_after(LOOK))
        } else {
            deadline_ns
        }
    }

    /// Tries until it need not block. `block` is the operation itself. If called again, for the next part, the timeout
    /// goes on.
    #[inline(always)]
    pub(super) fn run(
        mut self,
        attempt: impl FnMut() -> isize,
        block: impl FnOnce() -> isize,
    ) -> isize {
        self.run_again(attempt, block)
    }

    /// As [`Operation::run`], but the first attempt is made in any case: it validates what the caller passed.
    #[inline(always)]
    pub(super) fn run_checked(
        self,
        mut attempt: impl FnMut() -> isize,
        block: impl FnOnce() -> isize,
    ) -> isize {
        let seen = self.seen();
        if seen.is_drained() {
            let result = attempt();
            if result != AGAIN {
                self.green.checkpoint();
                return result;
            }
        }
        self.run(attempt, block)
    }

    /// The timeout counts from here on.
    pub(super) fn restart(&mut self) {
        self.deadline_ns = None;
    }

    /// As [`Operation::run`], for one piece of an operation: the timeout counts from the first wait of the first piece.
    #[inline(always)]
    pub(super) fn run_again(
        &mut self,
        mut attempt: impl FnMut() -> isize,
        block: impl FnOnce() -> isize,
    ) -> isize {
        loop {
            let seen = self.seen();
            if !self.is_pointless(seen) {
                let result = attempt();
                if result != AGAIN {
                    self.green.checkpoint();
                    return result;
                }
            }
            match self.wait(seen) {
                Next::Again => {}
                Next::Done(result) => return result,
                Next::Block => return blocking(block),
            }
        }
    }

    /// As [`Operation::run`] for files that have no attempt of their own: asks `poll` first. The operation may block
    /// nevertheless when somebody else is faster; then its processor is handed on.
    #[cold]
    pub(super) fn run_polled(&mut self, operation: impl Fn() -> isize) -> isize {
        let events = match self.interest {
            Interest::Read => libc::POLLIN,
            Interest::Write => libc::POLLOUT,
        };
        loop {
            let seen = self.seen();
            if poll_now(self.fd.number(), events) != 0 {
                return operation();
            }
            match self.wait(seen) {
                Next::Again => {}
                // With `O_NONBLOCK` the kernel says what it has to say; else the time is over.
                Next::Done(AGAIN) if is_nonblocking(self.fd) => return operation(),
                Next::Done(result) => return result,
                Next::Block => return blocking(&operation),
            }
        }
    }
}
