//! Bytes: `read`, `write` and their relatives, on whatever a descriptor may be.
//!
//! | file | read | write |
//! |---|---|---|
//! | stream socket | as `recv` | as `send` |
//! | pipe, eventfd, timerfd, other socket | `preadv2` with `RWF_NOWAIT`, else a wait | `pwritev2` alike, until all is written |
//! | terminal, named FIFO, inotify, signalfd | `poll` first | `poll` first, a page at a time |
//! | ordinary file | `RWF_NOWAIT`, which takes what is in the page cache; the rest in the kernel, without a processor | in the kernel: into the page cache |
//!
//! An offset of -1 means "at the file position", for both calls.

use brigade_runtime::descriptors::{Fd, Interest, closing, fact};
use brigade_runtime::park::{Green, blocking};
use libc::{c_int, c_void, iovec, off_t, size_t, ssize_t};

use super::errno::from_kernel;
use super::next::Next;
use super::socket::{Place, broken, receive, rest_of, restarts_timeout, transmit};
use super::wait::{self, AGAIN, Operation, call, is_nonblocking, kind};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 10] = [
    READ.hook(read as *const ()),
    READV.hook(readv as *const ()),
    WRITE.hook(write as *const ()),
    WRITEV.hook(writev as *const ()),
    PREAD.hook(pread as *const ()),
    PREAD64.hook(pread64 as *const ()),
    PREADV.hook(preadv as *const ()),
    PREADV64.hook(preadv64 as *const ()),
    READ_CHK.hook(__read_chk as *const ()),
    PREAD64_CHK.hook(__pread64_chk as *const ()),
];

type Read = unsafe extern "C" fn(c_int, *mut c_void, size_t) -> ssize_t;
// SAFETY: the signature is compared below.
static READ: Next<Read> = unsafe { Next::new(c"read") };
const _: [Read; 2] = [read, libc::read];

type Write = unsafe extern "C" fn(c_int, *const c_void, size_t) -> ssize_t;
// SAFETY: the signature is compared below.
static WRITE: Next<Write> = unsafe { Next::new(c"write") };
const _: [Write; 2] = [write, libc::write];

type Vector = unsafe extern "C" fn(c_int, *const iovec, c_int) -> ssize_t;
// SAFETY: the signatures are compared below.
static READV: Next<Vector> = unsafe { Next::new(c"readv") };
// SAFETY: libc's signature, compared below as well.
static WRITEV: Next<Vector> = unsafe { Next::new(c"writev") };
const _: [Vector; 4] = [readv, libc::readv, writev, libc::writev];

type ReadAt = unsafe extern "C" fn(c_int, *mut c_void, size_t, off_t) -> ssize_t;
// SAFETY: the signatures are compared below.
static PREAD: Next<ReadAt> = unsafe { Next::new(c"pread") };
// SAFETY: libc's signature, compared below as well.
static PREAD64: Next<ReadAt> = unsafe { Next::new(c"pread64") };
const _: [ReadAt; 4] = [pread, libc::pread, pread64, libc::pread64];

type VectorAt = unsafe extern "C" fn(c_int, *const iovec, c_int, off_t) -> ssize_t;
// SAFETY: the signatures are compared below.
static PREADV: Next<VectorAt> = unsafe { Next::new(c"preadv") };
// SAFETY: libc's signature, compared below as well.
static PREADV64: Next<VectorAt> = unsafe { Next::new(c"preadv64") };
const _: [VectorAt; 4] = [preadv, libc::preadv, preadv64, libc::preadv64];

type ReadChk = unsafe extern "C" fn(c_int, *mut c_void, size_t, size_t) -> ssize_t;
// SAFETY: glibc's signature (debug/read_chk.c).
static READ_CHK: Next<ReadChk> = unsafe { Next::new(c"__read_chk") };

type ReadAtChk = unsafe extern "C" fn(c_int, *mut c_void, size_t, off_t, size_t) -> ssize_t;
// SAFETY: glibc's signature (debug/pread64_chk.c).
static PREAD64_CHK: Next<ReadAtChk> = unsafe { Next::new(c"__pread64_chk") };

const NOWAIT: usize = libc::RWF_NOWAIT as usize;
/// At the file position.
const HERE: off_t = -1;
/// What a pipe takes at once if it takes anything.
const PIPE_BYTES: usize = libc::PIPE_BUF;

/// `preadv2` or `pwritev2`.
///
/// # Safety
/// As the call.
#[inline(always)]
unsafe fn vector(
    number: libc::c_long,
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    at: off_t,
    flags: usize,
) -> isize {
    // SAFETY: the caller's contract. The kernel takes the offset in two halves, of which the low one is all of it.
    unsafe {
        call(
            number,
            [
                fd as usize,
                parts as usize,
                count as usize,
                at as usize,
                0,
                flags,
            ],
        )
    }
}

/// The kernel cannot say without blocking, for this file.
const REFUSED: isize = -(libc::EOPNOTSUPP as isize);

/// Either the arguments are wrong, or the kernel cannot say without blocking: only the call itself can tell.
fn is_unclear(result: isize) -> bool {
    result == -(libc::EINVAL as isize) || result == -(libc::ENOSYS as isize)
}

/// `readv` or `preadv` on a green thread; the kernel's result.
///
/// # Safety
/// As the call.
#[inline(always)]
unsafe fn read_vector(
    green: Green,
    number: c_int,
    parts: *const iovec,
    count: c_int,
    at: off_t,
) -> isize {
    // SAFETY: the caller's contract.
    let with = |flags: usize| unsafe { vector(libc::SYS_preadv2, number, parts, count, at, flags) };
    let Some(fd) = Fd::get(number) else {
        return with(0);
    };
    let facts = fd.facts();
    if facts.has_any(fact::NO_NOWAIT | fact::ODD) || !facts.has_any(fact::PLAIN | fact::FLOW) {
        // SAFETY: the caller's contract.
        return unsafe { read_slow(green, fd, parts, count, at) };
    }
    if facts.has(fact::PLAIN) {
        // SAFETY: the caller's contract.
        return unsafe { read_file(green, fd, parts, count, at) };
    }
    if at != HERE || count <= 0 {
        return read_at_once(with);
    }
    let result =
        Operation::new(green, fd, Interest::Read, true).run_checked(|| with(NOWAIT), || with(0));
    if result != REFUSED {
        return result;
    }
    // A device; or what is known is not of this file: the number was closed where nobody sees it, and is another
    // one's now.
    fd.learn(fd.facts(), 0, fact::FLOW | fact::STREAM | fact::SOCKET);
    // SAFETY: the caller's contract; nothing was read.
    unsafe { read_slow(green, fd, parts, count, at) }
}

/// What is no ordinary file has no places, and the kernel says so at once; the few devices that have some do not wait.
#[cold]
fn read_at_once(with: impl Fn(usize) -> isize) -> isize {
    blocking(|| with(0))
}

/// A file of which less is known.
///
/// # Safety
/// As [`read_vector`].
#[cold]
unsafe fn read_slow(green: Green, fd: Fd, parts: *const iovec, count: c_int, at: off_t) -> isize {
    // SAFETY: the caller's contract.
    let with =
        |flags: usize| unsafe { vector(libc::SYS_preadv2, fd.number(), parts, count, at, flags) };
    let facts = kind(fd);
    if facts.has(fact::ODD) {
        return if is_nonblocking(fd) {
            with(0)
        } else {
            blocking(|| with(0))
        };
    }
    if facts.has(fact::PLAIN) {
        // SAFETY: the caller's contract.
        return unsafe { read_file(green, fd, parts, count, at) };
    }
    if at != HERE {
        return read_at_once(with);
    }
    let mut operation = Operation::new(green, fd, Interest::Read, true);
    // Also where this is known to be refused: it validates what the caller passed.
    let seen = operation.seen();
    match with(NOWAIT) {
        AGAIN => {
            fd.set_drained(Interest::Read, seen, false);
            operation.run(|| with(NOWAIT), || with(0))
        }
        REFUSED => {
            fd.learn(facts, fact::NO_NOWAIT, 0);
            operation.run_polled(|| with(0))
        }
        first if is_unclear(first) => blocking(|| with(0)),
        first => first,
    }
}

/// An ordinary file: what is cached at once, the rest without a processor.
///
/// # Safety
/// As [`read_vector`].
unsafe fn read_file(green: Green, fd: Fd, parts: *const iovec, count: c_int, at: off_t) -> isize {
    // SAFETY: the caller's contract.
    let with =
        |flags: usize| unsafe { vector(libc::SYS_preadv2, fd.number(), parts, count, at, flags) };
    if fd.facts().has(fact::NO_NOWAIT) {
        // In memory (tmpfs, procfs) for nearly all that matter; else the monitor notices.
        green.checkpoint();
        return with(0);
    }
    let first = with(NOWAIT);
    if first < 0 {
        if first == REFUSED {
            fd.learn(fd.facts(), fact::NO_NOWAIT, 0);
            return with(0);
        }
        return if first == AGAIN || is_unclear(first) {
            blocking(|| with(0))
        } else {
            first
        };
    }
    green.checkpoint();
    // SAFETY: the kernel has read the parts, so they are valid.
    let parts = unsafe { parts_of(parts, count) };
    let total: usize = parts.iter().map(|part| part.iov_len).sum();
    let done = first as usize;
    if done == 0 || done >= total {
        return first;
    }
    // The end of the file, or of what is cached.
    // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
    let rest = unsafe { rest_of(parts, done) };
    let at = if at == HERE {
        HERE
    } else {
        at + first as off_t
    };
    // SAFETY: the caller's contract; the parts are what is left of the caller's.
    let more = |flags: usize| unsafe {
        vector(
            libc::SYS_preadv2,
            fd.number(),
            rest.as_ptr(),
            rest.len() as c_int,
            at,
            flags,
        )
    };
    let second = match more(NOWAIT) {
        AGAIN => blocking(|| more(0)),
        result => result,
    };
    first + second.max(0)
}

/// # Safety
/// `parts` points to `count` valid parts.
unsafe fn parts_of<'a>(parts: *const iovec, count: c_int) -> &'a [iovec] {
    if count <= 0 {
        return &[];
    }
    // SAFETY: the caller's contract.
    unsafe { core::slice::from_raw_parts(parts, count as usize) }
}

/// `writev` on a green thread; the kernel's result.
///
/// # Safety
/// As the call.
unsafe fn write_vector(green: Green, number: c_int, parts: *const iovec, count: c_int) -> isize {
    // SAFETY: the caller's contract.
    let with = |parts: *const iovec, count: c_int, flags: usize| unsafe {
        vector(libc::SYS_pwritev2, number, parts, count, HERE, flags)
    };
    let Some(fd) = Fd::get(number) else {
        return with(parts, count, 0);
    };
    let facts = kind(fd);
    if facts.has(fact::PLAIN) {
        green.checkpoint();
        return with(parts, count, 0);
    }
    // Also where this is known to be refused: it validates what the caller passed.
    let first = with(parts, count, NOWAIT);
    if first < 0 && first != AGAIN {
        if first == REFUSED {
            fd.learn(facts, fact::NO_NOWAIT, 0);
            // SAFETY: the caller's contract.
            return unsafe { write_polled(green, fd, parts, count) };
        }
        return if is_unclear(first) {
            blocking(|| with(parts, count, 0))
        } else {
            first
        };
    }
    // SAFETY: the kernel has read the parts, so they are valid.
    let parts = unsafe { parts_of(parts, count) };
    let total: usize = parts.iter().map(|part| part.iov_len).sum();
    let done = first.max(0) as usize;
    if first >= 0 && done >= total {
        green.checkpoint();
        return first;
    }
    if is_nonblocking(fd) {
        return first;
    }
    write_rest(green, fd, parts, total, first)
}

/// What follows after an attempt to write that took less than all.
#[cold]
fn write_rest(green: Green, fd: Fd, parts: &[iovec], total: usize, first: isize) -> isize {
    let is_stream = fd.facts().has(fact::STREAM);
    let mut done = first.max(0) as usize;
    let mut operation = Operation::new(green, fd, Interest::Write, true);
    let mut seen = operation.seen();
    loop {
        // SAFETY: the kernel has read the parts, so they are valid.
        let rest = unsafe { rest_of(parts, done) };
        let with = |flags: usize| {
            if is_stream && done > 0 {
                // The signal of a broken connection belongs to a call that writes nothing.
                let wait = if flags == NOWAIT {
                    libc::MSG_DONTWAIT
                } else {
                    0
                };
                return send_parts(fd.number(), &rest, wait | libc::MSG_NOSIGNAL);
            }
            // SAFETY: the parts are what is left of the caller's.
            unsafe {
                vector(
                    libc::SYS_pwritev2,
                    fd.number(),
                    rest.as_ptr(),
                    rest.len() as c_int,
                    HERE,
                    flags,
                )
            }
        };
        let attempt = with(NOWAIT);
        let result = match attempt {
            AGAIN => match operation.wait(seen) {
                wait::Next::Again => 0,
                wait::Next::Done(result) => result,
                wait::Next::Block => blocking(|| with(0)),
            },
            result => result,
        };
        if result < 0 || attempt == 0 {
            return if done > 0 { done as isize } else { result };
        }
        done += result as usize;
        if done >= total {
            return done as isize;
        }
        seen = operation.seen();
        if result > 0 && is_stream && restarts_timeout(fd) {
            operation.restart();
        }
        if let Some(result) = is_stream.then(|| broken(fd, done)).flatten() {
            return result;
        }
    }
}

fn send_parts(fd: c_int, parts: &[iovec], flags: c_int) -> isize {
    // SAFETY: zeros are a valid header.
    let mut header: libc::msghdr = unsafe { core::mem::zeroed() };
    header.msg_iov = parts.as_ptr().cast_mut();
    header.msg_iovlen = parts.len();
    // SAFETY: a valid header, and parts that are the caller's.
    unsafe {
        call(
            libc::SYS_sendmsg,
            [
                fd as usize,
                &raw const header as usize,
                flags as usize,
                0,
                0,
                0,
            ],
        )
    }
}

/// A file that cannot say whether a write would block: `poll` says so, for a FIFO only for a page.
///
/// # Safety
/// As [`write_vector`].
#[cold]
unsafe fn write_polled(green: Green, fd: Fd, parts: *const iovec, count: c_int) -> isize {
    // SAFETY: the caller's contract.
    let whole = || unsafe { vector(libc::SYS_pwritev2, fd.number(), parts, count, HERE, 0) };
    if is_nonblocking(fd) || wait::poll_now(fd.number(), libc::POLLOUT) < 0 {
        return whole();
    }
    let page = || Operation::new(green, fd, Interest::Write, false);
    if count != 1 || !is_fifo(fd.number()) {
        return page().run_polled(whole);
    }
    // SAFETY: the caller's contract; a part that is not there makes the call below fail as libc's would.
    let part = unsafe { parts.read() };
    let mut done = 0;
    loop {
        let length = (part.iov_len - done).min(PIPE_BYTES);
        let piece = iovec {
            // SAFETY: `done` bytes are written, so the rest begins inside of the buffer.
            iov_base: unsafe { part.iov_base.cast::<u8>().add(done) }.cast(),
            iov_len: length,
        };
        // SAFETY: a piece of the caller's part.
        let result = page()
            .run_polled(|| unsafe { vector(libc::SYS_pwritev2, fd.number(), &piece, 1, HERE, 0) });
        if result <= 0 {
            return if done > 0 { done as isize } else { result };
        }
        done += result as usize;
        if done >= part.iov_len || (result as usize) < length {
            return done as isize;
        }
    }
}

fn is_fifo(fd: c_int) -> bool {
    // SAFETY: zeros are a valid place-holder.
    let mut stat: libc::stat = unsafe { core::mem::zeroed() };
    let place = &raw mut stat as usize;
    // SAFETY: the place is as large as the kernel's structure.
    let result = unsafe { call(libc::SYS_fstat, [fd as usize, place, 0, 0, 0, 0]) };
    result == 0 && stat.st_mode & libc::S_IFMT == libc::S_IFIFO
}

/// Whether the number no longer names the socket that it was known for: it was closed unseen (inside libc, or by a raw
/// system call) and is another file now. Forgets what was known.
#[inline]
fn was_no_socket(fd: c_int, result: isize) -> bool {
    result == -(libc::ENOTSOCK as isize) && closing(fd)
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn read(fd: c_int, buffer: *mut c_void, length: size_t) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { READ.get()(fd, buffer, length) };
    };
    if is_extreme(length) {
        // SAFETY: the caller's contract.
        return blocking(|| unsafe { READ.get()(fd, buffer, length) });
    }
    let is_stream = Fd::if_any(fd).is_some_and(|fd| fd.facts().has(fact::STREAM));
    if is_stream {
        let place = Place {
            buffer,
            length,
            address: core::ptr::null_mut(),
            address_length: core::ptr::null_mut(),
        };
        // SAFETY: the caller's contract.
        let result = unsafe { receive(green, fd, place, 0) };
        if !was_no_socket(fd, result) {
            return from_kernel(result);
        }
    }
    let part = iovec {
        iov_base: buffer,
        iov_len: length,
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { read_vector(green, fd, &part, 1, HERE) })
}

/// Whether vectors mean something else than plain buffers: nothing at all, and more than there can be.
#[inline(always)]
fn is_extreme(length: size_t) -> bool {
    length.wrapping_sub(1) >= isize::MAX as usize
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __read_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    room: size_t,
) -> ssize_t {
    if length > room || Green::current().is_none() {
        // SAFETY: the caller's contract; glibc ends the process for a buffer that is too small.
        return unsafe { READ_CHK.get()(fd, buffer, length, room) };
    }
    // SAFETY: the caller's contract.
    unsafe { read(fd, buffer, length) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn readv(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { READV.get()(fd, parts, count) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { read_vector(green, fd, parts, count, HERE) })
}

/// # Safety
/// As in libc.
unsafe fn read_at(
    green: Green,
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    at: off_t,
) -> isize {
    if at < 0 {
        return -(libc::EINVAL as isize);
    }
    let part = iovec {
        iov_base: buffer,
        iov_len: length,
    };
    // SAFETY: the caller's contract.
    unsafe { read_vector(green, fd, &part, 1, at) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pread(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { PREAD.get()(fd, buffer, length, at) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { read_at(green, fd, buffer, length, at) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pread64(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    at: off_t,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { PREAD64.get()(fd, buffer, length, at) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { read_at(green, fd, buffer, length, at) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __pread64_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    at: off_t,
    room: size_t,
) -> ssize_t {
    if length > room || Green::current().is_none() {
        // SAFETY: as in `__read_chk`.
        return unsafe { PREAD64_CHK.get()(fd, buffer, length, at, room) };
    }
    // SAFETY: the caller's contract.
    unsafe { pread64(fd, buffer, length, at) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn preadv(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    at: off_t,
) -> ssize_t {
    match Green::current() {
        // SAFETY: the caller's contract.
        Some(green) if at >= 0 => from_kernel(unsafe { read_vector(green, fd, parts, count, at) }),
        // SAFETY: the caller's contract.
        _ => unsafe { PREADV.get()(fd, parts, count, at) },
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn preadv64(
    fd: c_int,
    parts: *const iovec,
    count: c_int,
    at: off_t,
) -> ssize_t {
    match Green::current() {
        // SAFETY: the caller's contract.
        Some(green) if at >= 0 => from_kernel(unsafe { read_vector(green, fd, parts, count, at) }),
        // SAFETY: the caller's contract.
        _ => unsafe { PREADV64.get()(fd, parts, count, at) },
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn write(fd: c_int, buffer: *const c_void, length: size_t) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { WRITE.get()(fd, buffer, length) };
    };
    if is_extreme(length) {
        // SAFETY: the caller's contract.
        return blocking(|| unsafe { WRITE.get()(fd, buffer, length) });
    }
    let is_stream = Fd::if_any(fd).is_some_and(|fd| fd.facts().has(fact::STREAM));
    if is_stream {
        // SAFETY: the caller's contract.
        let result = unsafe { transmit(green, fd, buffer, length, 0, core::ptr::null(), 0) };
        if !was_no_socket(fd, result) {
            return from_kernel(result);
        }
    }
    let part = iovec {
        iov_base: buffer.cast_mut(),
        iov_len: length,
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { write_vector(green, fd, &part, 1) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn writev(fd: c_int, parts: *const iovec, count: c_int) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { WRITEV.get()(fd, parts, count) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { write_vector(green, fd, parts, count) })
}
