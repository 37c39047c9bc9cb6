//! Messages: `recv`, `send` and their relatives.
//!
//! An attempt is the same call with `MSG_DONTWAIT`, so no flag of the descriptor is touched. A blocking `send` on a
//! stream returns only when everything is sent, so what is left over is sent after a wait; an error after a part is
//! left in the socket for the next call, as the kernel does.
//!
//! Calls that never wait (`MSG_DONTWAIT`, `MSG_OOB`, `MSG_ERRQUEUE`) go straight to the kernel.

use brigade_runtime::descriptors::{Fd, Interest, fact, shared};
use brigade_runtime::park::{Green, blocking};
use libc::{c_int, c_uint, c_void, iovec, msghdr, size_t, sockaddr, socklen_t, ssize_t};

use super::errno::from_kernel;
use super::next::Next;
use super::wait::{self, AGAIN, Operation, call, kind, poll_now};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 10] = [
    RECV.hook(recv as *const ()),
    RECVFROM.hook(recvfrom as *const ()),
    RECVMSG.hook(recvmsg as *const ()),
    RECVMMSG.hook(recvmmsg as *const ()),
    SEND.hook(send as *const ()),
    SENDTO.hook(sendto as *const ()),
    SENDMSG.hook(sendmsg as *const ()),
    SENDMMSG.hook(sendmmsg as *const ()),
    RECV_CHK.hook(__recv_chk as *const ()),
    RECVFROM_CHK.hook(__recvfrom_chk as *const ()),
];

type Recv = unsafe extern "C" fn(c_int, *mut c_void, size_t, c_int) -> ssize_t;
// SAFETY: the signature is compared below.
static RECV: Next<Recv> = unsafe { Next::new(c"recv") };
const _: [Recv; 2] = [recv, libc::recv];

type RecvFrom = unsafe extern "C" fn(
    c_int,
    *mut c_void,
    size_t,
    c_int,
    *mut sockaddr,
    *mut socklen_t,
) -> ssize_t;
// SAFETY: the signature is compared below.
static RECVFROM: Next<RecvFrom> = unsafe { Next::new(c"recvfrom") };
const _: [RecvFrom; 2] = [recvfrom, libc::recvfrom];

type RecvMsg = unsafe extern "C" fn(c_int, *mut msghdr, c_int) -> ssize_t;
// SAFETY: the signature is compared below.
static RECVMSG: Next<RecvMsg> = unsafe { Next::new(c"recvmsg") };
const _: [RecvMsg; 2] = [recvmsg, libc::recvmsg];

type RecvMmsg =
    unsafe extern "C" fn(c_int, *mut libc::mmsghdr, c_uint, c_int, *mut libc::timespec) -> c_int;
// SAFETY: the signature is compared below.
static RECVMMSG: Next<RecvMmsg> = unsafe { Next::new(c"recvmmsg") };
const _: [RecvMmsg; 2] = [recvmmsg, libc::recvmmsg];

type Send = unsafe extern "C" fn(c_int, *const c_void, size_t, c_int) -> ssize_t;
// SAFETY: the signature is compared below.
static SEND: Next<Send> = unsafe { Next::new(c"send") };
const _: [Send; 2] = [send, libc::send];

type SendTo = unsafe extern "C" fn(
    c_int,
    *const c_void,
    size_t,
    c_int,
    *const sockaddr,
    socklen_t,
) -> ssize_t;
// SAFETY: the signature is compared below.
static SENDTO: Next<SendTo> = unsafe { Next::new(c"sendto") };
const _: [SendTo; 2] = [sendto, libc::sendto];

type SendMsg = unsafe extern "C" fn(c_int, *const msghdr, c_int) -> ssize_t;
// SAFETY: the signature is compared below.
static SENDMSG: Next<SendMsg> = unsafe { Next::new(c"sendmsg") };
const _: [SendMsg; 2] = [sendmsg, libc::sendmsg];

type SendMmsg = unsafe extern "C" fn(c_int, *mut libc::mmsghdr, c_uint, c_int) -> c_int;
// SAFETY: the signature is compared below.
static SENDMMSG: Next<SendMmsg> = unsafe { Next::new(c"sendmmsg") };
const _: [SendMmsg; 2] = [sendmmsg, libc::sendmmsg];

type RecvChk = unsafe extern "C" fn(c_int, *mut c_void, size_t, size_t, c_int) -> ssize_t;
// SAFETY: glibc's signature (debug/recv_chk.c).
static RECV_CHK: Next<RecvChk> = unsafe { Next::new(c"__recv_chk") };

type RecvFromChk = unsafe extern "C" fn(
    c_int,
    *mut c_void,
    size_t,
    size_t,
    c_int,
    *mut sockaddr,
    *mut socklen_t,
) -> ssize_t;
// SAFETY: glibc's signature (debug/recvfrom_chk.c).
static RECVFROM_CHK: Next<RecvFromChk> = unsafe { Next::new(c"__recvfrom_chk") };

/// Flags with which the kernel never waits.
const NO_WAIT: c_int = libc::MSG_DONTWAIT | libc::MSG_OOB | libc::MSG_ERRQUEUE;
/// Flags that do not change what a short read means.
const HARMLESS: c_int = libc::MSG_NOSIGNAL | libc::MSG_CMSG_CLOEXEC;

/// Where a message is received to, as `recvfrom` has it.
#[derive(Clone, Copy)]
pub(super) struct Place {
    pub(super) buffer: *mut c_void,
    pub(super) length: size_t,
    pub(super) address: *mut sockaddr,
    pub(super) address_length: *mut socklen_t,
}

/// # Safety
/// As `recvfrom`.
unsafe fn raw_receive(fd: c_int, place: Place, flags: c_int) -> isize {
    // SAFETY: the caller's contract.
    unsafe {
        call(
            libc::SYS_recvfrom,
            [
                fd as usize,
                place.buffer as usize,
                place.length,
                flags as usize,
                place.address as usize,
                place.address_length as usize,
            ],
        )
    }
}

/// `recvfrom` on a green thread; the kernel's result.
///
/// # Safety
/// As `recvfrom`.
#[inline(always)]
pub(super) unsafe fn receive(green: Green, number: c_int, place: Place, flags: c_int) -> isize {
    // SAFETY: the caller's contract, here and below.
    let block = || unsafe { raw_receive(number, place, flags) };
    let Some(fd) = Fd::get(number) else {
        return block();
    };
    if flags & NO_WAIT != 0 {
        if flags & libc::MSG_OOB != 0 {
            fd.distrust_short_reads();
        }
        return block();
    }
    let facts = fd.facts();
    if flags & libc::MSG_WAITALL != 0 || facts.has(fact::ODD) {
        return receive_odd(green, fd, place, flags);
    }
    let operation = Operation::new(green, fd, Interest::Read, true);
    if flags & !HARMLESS != 0 || !facts.has(fact::KNOWN | fact::BARE) {
        return operation.run(
            // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
            || unsafe { raw_receive(number, place, flags | libc::MSG_DONTWAIT) },
            block,
        );
    }
    operation.run(
        || {
            let seen = fd.seen(Interest::Read);
            // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
            let result = unsafe { raw_receive(number, place, flags | libc::MSG_DONTWAIT) };
            if result > 0 && (result as usize) < place.length {
                fd.set_drained(Interest::Read, seen, true);
            }
            result
        },
        block,
    )
}

/// `MSG_WAITALL`, and sockets whose settings only the kernel can follow.
#[cold]
fn receive_odd(green: Green, fd: Fd, place: Place, flags: c_int) -> isize {
    // SAFETY: the contract of `receive`, here and below.
    let block = || unsafe { raw_receive(fd.number(), place, flags) };
    let whole = flags & libc::MSG_WAITALL != 0 && flags & libc::MSG_PEEK == 0;
    let facts = kind(fd);
    if facts.has(fact::ODD) || !whole && flags & libc::MSG_WAITALL != 0 {
        return if wait::is_nonblocking(fd) {
            block()
        } else {
            blocking(block)
        };
    }
    // One for all pieces: the socket's timeout is for the call.
    let mut operation = Operation::new(green, fd, Interest::Read, true);
    let mut done = 0;
    loop {
        let rest = Place {
            // SAFETY: `done` bytes of the buffer are filled, so the sum stays inside.
            buffer: unsafe { place.buffer.cast::<u8>().add(done) }.cast(),
            length: place.length - done,
            ..place
        };
        // Once a part has been received, the kernel returns it rather than an error.
        if done > 0 && poll_now(fd.number(), 0) & isize::from(libc::POLLERR) != 0 {
            return done as isize;
        }
        let result = operation.run_again(
            // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
            || unsafe { raw_receive(fd.number(), rest, flags | libc::MSG_DONTWAIT) },
            // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
            || unsafe { raw_receive(fd.number(), rest, flags) },
        );
        if result <= 0 {
            return if done > 0 { done as isize } else { result };
        }
        done += result as usize;
        if done >= place.length || !facts.has(fact::STREAM) {
            return done as isize;
        }
        if wait::is_nonblocking(fd) {
            return done as isize;
        }
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn recv(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { RECV.get()(fd, buffer, length, flags) };
    };
    let place = Place {
        buffer,
        length,
        address: core::ptr::null_mut(),
        address_length: core::ptr::null_mut(),
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { receive(green, fd, place, flags) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn recvfrom(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { RECVFROM.get()(fd, buffer, length, flags, address, address_length) };
    };
    let place = Place {
        buffer,
        length,
        address,
        address_length,
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { receive(green, fd, place, flags) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __recv_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
) -> ssize_t {
    if length > room || Green::current().is_none() {
        // SAFETY: the caller's contract; glibc ends the process for a buffer that is too small.
        return unsafe { RECV_CHK.get()(fd, buffer, length, room, flags) };
    }
    // SAFETY: the caller's contract.
    unsafe { recv(fd, buffer, length, flags) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __recvfrom_chk(
    fd: c_int,
    buffer: *mut c_void,
    length: size_t,
    room: size_t,
    flags: c_int,
    address: *mut sockaddr,
    address_length: *mut socklen_t,
) -> ssize_t {
    if length > room || Green::current().is_none() {
        // SAFETY: as in `__recv_chk`.
        return unsafe {
            RECVFROM_CHK.get()(fd, buffer, length, room, flags, address, address_length)
        };
    }
    // SAFETY: the caller's contract.
    unsafe { recvfrom(fd, buffer, length, flags, address, address_length) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn recvmsg(
    number: c_int,
    message: *mut msghdr,
    flags: c_int,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { RECVMSG.get()(number, message, flags) };
    };
    // SAFETY: the caller's contract, here and below.
    let with = |flags: c_int| unsafe {
        call(
            libc::SYS_recvmsg,
            [number as usize, message as usize, flags as usize, 0, 0, 0],
        )
    };
    let fd = Fd::get(number).filter(|_| flags & NO_WAIT == 0);
    let Some(fd) = fd else {
        return from_kernel(with(flags));
    };
    from_kernel(
        if flags & libc::MSG_WAITALL != 0 || fd.facts().has(fact::ODD) {
            blocking(|| with(flags))
        } else {
            // A failed attempt leaves the lengths in the header alone.
            Operation::new(green, fd, Interest::Read, true)
                .run_checked(|| with(flags | libc::MSG_DONTWAIT), || with(flags))
        },
    )
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn recvmmsg(
    number: c_int,
    messages: *mut libc::mmsghdr,
    count: c_uint,
    flags: c_int,
    timeout: *mut libc::timespec,
) -> c_int {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { RECVMMSG.get()(number, messages, count, flags, timeout) };
    };
    // SAFETY: the caller's contract.
    let with = |flags: c_int| unsafe {
        call(
            libc::SYS_recvmmsg,
            [
                number as usize,
                messages as usize,
                count as usize,
                flags as usize,
                timeout as usize,
                0,
            ],
        )
    };
    let one_will_do = count == 1 || flags & libc::MSG_WAITFORONE != 0;
    let fd = Fd::get(number).filter(|_| flags & NO_WAIT == 0);
    from_kernel(match fd {
        None => with(flags),
        Some(fd) if one_will_do && timeout.is_null() => {
            Operation::new(green, fd, Interest::Read, true)
                .run_checked(|| with(flags | libc::MSG_DONTWAIT), || with(flags))
        }
        Some(_) => blocking(|| with(flags)),
    }) as c_int
}

/// Sends all of `total` bytes. `attempt` sends what is left after the bytes it is told, with the flags it is told
/// besides its own.
#[inline(always)]
pub(super) fn send_all(
    green: Green,
    fd: Fd,
    total: usize,
    attempt: impl Fn(usize, c_int) -> isize,
) -> isize {
    let mut operation = Operation::new(green, fd, Interest::Write, true);
    let mut done = 0;
    loop {
        let seen = operation.seen();
        // The signal of a broken connection belongs to a call that sends nothing.
        let quiet = if done > 0 { libc::MSG_NOSIGNAL } else { 0 };
        let result = attempt(done, libc::MSG_DONTWAIT | quiet);
        if result >= 0 {
            done += result as usize;
            if done >= total {
                green.checkpoint();
                return done as isize;
            }
        } else if result != AGAIN {
            return if done > 0 { done as isize } else { result };
        }
        let partly = |result| if done > 0 { done as isize } else { result };
        if result > 0 && restarts_timeout(fd) {
            operation.restart();
        }
        match operation.wait(seen) {
            wait::Next::Again => {}
            wait::Next::Done(result) => return partly(result),
            wait::Next::Block => {
                let result = blocking(|| attempt(done, quiet));
                return if result >= 0 {
                    (done as isize) + result
                } else {
                    partly(result)
                };
            }
        }
        if let Some(result) = broken(fd, done) {
            return result;
        }
    }
}

/// Whether the socket's send timeout is for each piece, and not for the call: so it is in a Unix stream.
pub(super) fn restarts_timeout(fd: Fd) -> bool {
    !fd.facts().has(fact::BARE) && !is_internet(fd.number())
}

/// What a call that has sent `done` bytes and waited for room returns if the socket broke meanwhile. The error is left
/// to the next call if something was sent, else it is taken, as the kernel does. (A break between this look and the next
/// attempt is taken by that attempt, which the kernel, holding the socket, does not do.)
pub(super) fn broken(fd: Fd, done: usize) -> Option<isize> {
    if poll_now(fd.number(), 0) & isize::from(libc::POLLERR) == 0 {
        return None;
    }
    if done > 0 {
        return Some(done as isize);
    }
    match wait::socket_option(fd.number(), libc::SO_ERROR) {
        0 => None,
        error => Some(-(error as isize)),
    }
}

/// `sendto` on a green thread; the kernel's result.
///
/// # Safety
/// As `sendto`.
#[inline(always)]
pub(super) unsafe fn transmit(
    green: Green,
    number: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> isize {
    // SAFETY: the caller's contract; `done` bytes are sent, so the rest begins inside of the buffer.
    let attempt = |done: usize, more: c_int| unsafe {
        call(
            libc::SYS_sendto,
            [
                number as usize,
                buffer.cast::<u8>().add(done) as usize,
                length - done,
                (flags | more) as usize,
                address as usize,
                address_length as usize,
            ],
        )
    };
    let fd = Fd::get(number).filter(|_| flags & NO_WAIT & !libc::MSG_OOB == 0);
    let Some(fd) = fd else {
        return attempt(0, 0);
    };
    if flags & libc::MSG_FASTOPEN != 0 {
        // It connects, and cannot be tried twice.
        return blocking(|| attempt(0, 0));
    }
    if fd.facts().has(fact::STREAM) {
        return send_all(green, fd, length, attempt);
    }
    transmit_unknown(green, fd, length, attempt)
}

/// A socket that is no stream, or not known to be one.
#[cold]
fn transmit_unknown(
    green: Green,
    fd: Fd,
    length: usize,
    attempt: impl Fn(usize, c_int) -> isize,
) -> isize {
    let first = attempt(0, libc::MSG_DONTWAIT);
    transmit_rest(green, fd, length, first, attempt)
}

/// What follows after a first attempt to send `length` bytes that ended in `first`.
fn transmit_rest(
    green: Green,
    fd: Fd,
    length: usize,
    first: isize,
    attempt: impl Fn(usize, c_int) -> isize,
) -> isize {
    if first >= 0 && first as usize >= length || first < 0 && first != AGAIN {
        green.checkpoint();
        return first;
    }
    if wait::is_nonblocking(fd) {
        return first;
    }
    let facts = kind(fd);
    if first >= 0 {
        // A stream took a part; the next attempt begins behind it.
        if !facts.has(fact::STREAM) {
            return first;
        }
        let done = first as usize;
        let rest = send_all(green, fd, length - done, |more, flags| {
            attempt(done + more, flags | libc::MSG_NOSIGNAL)
        });
        return first + rest.max(0);
    }
    if facts.has(fact::STREAM) || is_internet(fd.number()) {
        return send_all(green, fd, length, attempt);
    }
    // A datagram in a Unix socket waits for its receiver, of which our socket's readiness says nothing.
    blocking(|| attempt(0, 0))
}

/// Whether the socket's own readiness says when it can send.
fn is_internet(fd: c_int) -> bool {
    let domain = wait::socket_option(fd, libc::SO_DOMAIN);
    domain == libc::AF_INET || domain == libc::AF_INET6
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn send(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { SEND.get()(fd, buffer, length, flags) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { transmit(green, fd, buffer, length, flags, core::ptr::null(), 0) })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendto(
    fd: c_int,
    buffer: *const c_void,
    length: size_t,
    flags: c_int,
    address: *const sockaddr,
    address_length: socklen_t,
) -> ssize_t {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { SENDTO.get()(fd, buffer, length, flags, address, address_length) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe { transmit(green, fd, buffer, length, flags, address, address_length) })
}

/// What is left of `parts` after `done` bytes.
///
/// # Safety
/// `parts` are valid.
pub(super) unsafe fn rest_of(parts: &[iovec], mut done: usize) -> Vec<iovec> {
    let mut rest = Vec::with_capacity(parts.len());
    for part in parts {
        if done >= part.iov_len {
            done -= part.iov_len;
            continue;
        }
        rest.push(iovec {
            // SAFETY: `done` is less than the length of the part.
            iov_base: unsafe { part.iov_base.cast::<u8>().add(done) }.cast(),
            iov_len: part.iov_len - done,
        });
        done = 0;
    }
    rest
}

/// The files that a message has sent along are shared from now on.
///
/// # Safety
/// The kernel has accepted the header.
unsafe fn share_rights(message: *const msghdr) {
    // SAFETY: the caller's contract.
    unsafe {
        if (*message).msg_control.is_null() {
            return;
        }
        let mut header = libc::CMSG_FIRSTHDR(message);
        while let Some(control) = header.as_ref() {
            if control.cmsg_level == libc::SOL_SOCKET && control.cmsg_type == libc::SCM_RIGHTS {
                let bytes = control.cmsg_len - libc::CMSG_LEN(0) as usize;
                let numbers = libc::CMSG_DATA(header).cast::<c_int>();
                for index in 0..bytes / size_of::<c_int>() {
                    shared(numbers.add(index).read_unaligned());
                }
            }
            header = libc::CMSG_NXTHDR(message, header);
        }
    }
}

/// `sendmsg` on a green thread; the kernel's result.
///
/// # Safety
/// As `sendmsg`.
unsafe fn transmit_message(
    green: Green,
    number: c_int,
    message: *const msghdr,
    flags: c_int,
) -> isize {
    // SAFETY: the caller's contract, here and below.
    let with = |message: *const msghdr, flags: c_int| unsafe {
        call(
            libc::SYS_sendmsg,
            [number as usize, message as usize, flags as usize, 0, 0, 0],
        )
    };
    let fd = Fd::get(number).filter(|_| flags & libc::MSG_DONTWAIT == 0);
    let Some(fd) = fd else {
        return with(message, flags);
    };
    if flags & libc::MSG_FASTOPEN != 0 {
        return blocking(|| with(message, flags));
    }
    let first = with(message, flags | libc::MSG_DONTWAIT);
    if first < 0 && first != AGAIN {
        return first;
    }
    // SAFETY: the kernel has read the header, so it is valid.
    let header = unsafe { *message };
    let parts: &[iovec] = if header.msg_iovlen == 0 {
        &[]
    } else {
        // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
        unsafe { core::slice::from_raw_parts(header.msg_iov, header.msg_iovlen) }
    };
    let total: usize = parts.iter().map(|part| part.iov_len).sum();
    transmit_rest(green, fd, total, first, |done, extra| {
        if done == 0 {
            return with(message, flags | extra);
        }
        // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
        let mut rest = unsafe { rest_of(parts, done) };
        let left = msghdr {
            msg_iov: rest.as_mut_ptr(),
            msg_iovlen: rest.len(),
            // Control data went with the first part.
            msg_control: core::ptr::null_mut(),
            msg_controllen: 0,
            ..header
        };
        with(&left, flags | extra)
    })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendmsg(
    number: c_int,
    message: *const msghdr,
    flags: c_int,
) -> ssize_t {
    // SAFETY: the caller's contract.
    let result = unsafe {
        match Green::current() {
            None => SENDMSG.get()(number, message, flags),
            Some(green) => from_kernel(transmit_message(green, number, message, flags)),
        }
    };
    if result >= 0 {
        // SAFETY: the kernel has accepted the header.
        unsafe { share_rights(message) };
    }
    result
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn sendmmsg(
    number: c_int,
    messages: *mut libc::mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    // SAFETY: the caller's contract.
    let result = unsafe {
        match Green::current() {
            None => SENDMMSG.get()(number, messages, count, flags),
            Some(green) => transmit_messages(green, number, messages, count, flags),
        }
    };
    for index in 0..usize::try_from(result).unwrap_or(0) {
        // SAFETY: the kernel has accepted this many messages.
        unsafe { share_rights(&raw const (*messages.add(index)).msg_hdr) };
    }
    result
}

/// What the kernel takes with one call (`UIO_MAXIOV`).
const MESSAGES_MAX: c_uint = 1024;

/// `sendmmsg` on a green thread.
///
/// # Safety
/// As `sendmmsg`.
unsafe fn transmit_messages(
    green: Green,
    number: c_int,
    messages: *mut libc::mmsghdr,
    count: c_uint,
    flags: c_int,
) -> c_int {
    let count = count.min(MESSAGES_MAX);
    // SAFETY: the caller's contract.
    let with = |flags: c_int| unsafe {
        call(
            libc::SYS_sendmmsg,
            [
                number as usize,
                messages as usize,
                count as usize,
                flags as usize,
                0,
                0,
            ],
        )
    };
    let fd = Fd::get(number).filter(|_| flags & libc::MSG_DONTWAIT == 0);
    let Some(fd) = fd else {
        return from_kernel(with(flags)) as c_int;
    };
    // A stream would take a part of a message.
    let first = match kind(fd).has(fact::STREAM) && !wait::is_nonblocking(fd) && count > 0 {
        true => AGAIN,
        false => with(flags | libc::MSG_DONTWAIT),
    };
    let all_sent = first >= 0 && first as usize >= count as usize;
    if all_sent || first < 0 && first != AGAIN || wait::is_nonblocking(fd) {
        green.checkpoint();
        return from_kernel(first) as c_int;
    }
    // Some were sent, or none: one by one from here on, as the kernel does.
    let mut sent = first.max(0) as usize;
    while sent < count as usize {
        // SAFETY: the caller passes `count` messages.
        let message = unsafe { &mut *messages.add(sent) };
        // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
        let result = unsafe { transmit_message(green, number, &message.msg_hdr, flags) };
        if result < 0 {
            return if sent > 0 {
                sent as c_int
            } else {
                from_kernel(result) as c_int
            };
        }
        message.msg_len = result as c_uint;
        sent += 1;
    }
    sent as c_int
}
