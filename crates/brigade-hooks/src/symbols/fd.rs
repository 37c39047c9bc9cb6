//! Descriptors come, go and change: what keeps the table of facts true, and `connect` and `accept`.
//!
//! Every function here does what libc does and notes what it learnt, on kernel threads as well as on green ones. A
//! descriptor is *known* when nobody else can change its file's flags unseen: made by a call that is interposed and
//! closed on exec; not duplicated, not given to a `FILE`, not sent to another process.
//!
//! The descriptors of the runtime itself are not open for anybody: closing them fails with `EBADF`, and a duplicate
//! onto one moves it first.

use core::sync::atomic::{AtomicBool, Ordering};

use brigade_runtime::descriptors::{
    Fd, Interest, closed, closing, fact, lent, opened, replacing, shared, shut,
};
use brigade_runtime::park::{self, Green, blocking};
use libc::{c_char, c_int, c_uint, c_ulong, c_void, sockaddr, socklen_t};

use super::errno::{from_kernel, set_errno};
use super::next::Next;
use super::wait::{self, AGAIN, Operation, call, is_nonblocking, kind, poll_now, timeval_ns};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 19] = [
    SOCKET.hook(socket as *const ()),
    SOCKETPAIR.hook(socketpair as *const ()),
    PIPE.hook(pipe as *const ()),
    PIPE2.hook(pipe2 as *const ()),
    ACCEPT.hook(accept as *const ()),
    ACCEPT4.hook(accept4 as *const ()),
    CONNECT.hook(connect as *const ()),
    CLOSE.hook(close as *const ()),
    CLOSE_RANGE.hook(close_range as *const ()),
    CLOSEFROM.hook(closefrom as *const ()),
    DUP.hook(dup as *const ()),
    DUP2.hook(dup2 as *const ()),
    DUP3.hook(dup3 as *const ()),
    FCNTL.hook(fcntl as *const ()),
    FCNTL64.hook(fcntl64 as *const ()),
    IOCTL.hook(ioctl as *const ()),
    SETSOCKOPT.hook(setsockopt as *const ()),
    SHUTDOWN.hook(shutdown as *const ()),
    FDOPEN.hook(fdopen as *const ()),
];

type Socket = unsafe extern "C" fn(c_int, c_int, c_int) -> c_int;
// SAFETY: the signatures are compared below.
static SOCKET: Next<Socket> = unsafe { Next::new(c"socket") };
// SAFETY: libc's signature, compared below as well.
static DUP3: Next<Socket> = unsafe { Next::new(c"dup3") };
const _: [Socket; 4] = [socket, libc::socket, dup3, libc::dup3];

type SocketPair = unsafe extern "C" fn(c_int, c_int, c_int, *mut c_int) -> c_int;
// SAFETY: the signature is compared below.
static SOCKETPAIR: Next<SocketPair> = unsafe { Next::new(c"socketpair") };
const _: [SocketPair; 2] = [socketpair, libc::socketpair];

type Pipe = unsafe extern "C" fn(*mut c_int) -> c_int;
// SAFETY: the signature is compared below.
static PIPE: Next<Pipe> = unsafe { Next::new(c"pipe") };
const _: [Pipe; 2] = [pipe, libc::pipe];

type Pipe2 = unsafe extern "C" fn(*mut c_int, c_int) -> c_int;
// SAFETY: the signature is compared below.
static PIPE2: Next<Pipe2> = unsafe { Next::new(c"pipe2") };
const _: [Pipe2; 2] = [pipe2, libc::pipe2];

type Accept = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t) -> c_int;
// SAFETY: the signature is compared below.
static ACCEPT: Next<Accept> = unsafe { Next::new(c"accept") };
const _: [Accept; 2] = [accept, libc::accept];

type Accept4 = unsafe extern "C" fn(c_int, *mut sockaddr, *mut socklen_t, c_int) -> c_int;
// SAFETY: the signature is compared below.
static ACCEPT4: Next<Accept4> = unsafe { Next::new(c"accept4") };
const _: [Accept4; 2] = [accept4, libc::accept4];

type Connect = unsafe extern "C" fn(c_int, *const sockaddr, socklen_t) -> c_int;
// SAFETY: the signature is compared below.
static CONNECT: Next<Connect> = unsafe { Next::new(c"connect") };
const _: [Connect; 2] = [connect, libc::connect];

type One = unsafe extern "C" fn(c_int) -> c_int;
// SAFETY: the signatures are compared below.
static CLOSE: Next<One> = unsafe { Next::new(c"close") };
// SAFETY: libc's signature, compared below as well.
static DUP: Next<One> = unsafe { Next::new(c"dup") };
const _: [One; 4] = [close, libc::close, dup, libc::dup];

type CloseRange = unsafe extern "C" fn(c_uint, c_uint, c_int) -> c_int;
// SAFETY: the signature is compared below.
static CLOSE_RANGE: Next<CloseRange> = unsafe { Next::new(c"close_range") };
const _: [CloseRange; 2] = [close_range, libc::close_range];

type CloseFrom = unsafe extern "C" fn(c_int);
// SAFETY: glibc's signature (unistd.h).
static CLOSEFROM: Next<CloseFrom> = unsafe { Next::new(c"closefrom") };

type Dup2 = unsafe extern "C" fn(c_int, c_int) -> c_int;
// SAFETY: the signature is compared below.
static DUP2: Next<Dup2> = unsafe { Next::new(c"dup2") };
const _: [Dup2; 2] = [dup2, libc::dup2];

/// The last argument is an `int`, a pointer, or not there: it is passed on as it came.
type Control = unsafe extern "C" fn(c_int, c_int, *mut c_void) -> c_int;
// SAFETY: variadic in libc; on x86-64 a third argument comes in the same register.
static FCNTL: Next<Control> = unsafe { Next::new(c"fcntl") };
// SAFETY: libc's signature, compared below as well.
static FCNTL64: Next<Control> = unsafe { Next::new(c"fcntl64") };
const _: unsafe extern "C" fn(c_int, c_int, ...) -> c_int = libc::fcntl;

type Ioctl = unsafe extern "C" fn(c_int, c_ulong, *mut c_void) -> c_int;
// SAFETY: as for `FCNTL`.
static IOCTL: Next<Ioctl> = unsafe { Next::new(c"ioctl") };
const _: unsafe extern "C" fn(c_int, c_ulong, ...) -> c_int = libc::ioctl;

type SetOption = unsafe extern "C" fn(c_int, c_int, c_int, *const c_void, socklen_t) -> c_int;
// SAFETY: the signature is compared below.
static SETSOCKOPT: Next<SetOption> = unsafe { Next::new(c"setsockopt") };
const _: [SetOption; 2] = [setsockopt, libc::setsockopt];

type Shutdown = unsafe extern "C" fn(c_int, c_int) -> c_int;
// SAFETY: the signature is compared below.
static SHUTDOWN: Next<Shutdown> = unsafe { Next::new(c"shutdown") };
const _: [Shutdown; 2] = [shutdown, libc::shutdown];

type FdOpen = unsafe extern "C" fn(c_int, *const c_char) -> *mut libc::FILE;
// SAFETY: the signature is compared below.
static FDOPEN: Next<FdOpen> = unsafe { Next::new(c"fdopen") };
const _: [FdOpen; 2] = [fdopen, libc::fdopen];

/// What the flags of a call that makes a descriptor say about it.
fn from_flags(close_on_exec: bool, nonblocking: bool) -> u32 {
    let known = if close_on_exec { fact::KNOWN } else { 0 };
    let nonblock = if nonblocking { fact::NONBLOCK } else { 0 };
    known | nonblock
}

fn socket_facts(domain: c_int, kind: c_int, protocol: c_int) -> u32 {
    let flags = from_flags(
        kind & libc::SOCK_CLOEXEC != 0,
        kind & libc::SOCK_NONBLOCK != 0,
    );
    let plain = kind & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
    let stream = if plain == libc::SOCK_STREAM {
        fact::STREAM
    } else {
        fact::SOCKET
    };
    let is_tcp = stream == fact::STREAM
        && matches!(domain, libc::AF_INET | libc::AF_INET6)
        && matches!(protocol, 0 | libc::IPPROTO_TCP);
    let bare = if is_tcp { fact::BARE } else { 0 };
    flags | stream | bare | fact::FLOW
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn socket(domain: c_int, kind: c_int, protocol: c_int) -> c_int {
    // SAFETY: the caller's contract.
    let fd = unsafe { SOCKET.get()(domain, kind, protocol) };
    if fd >= 0 {
        opened(fd, socket_facts(domain, kind, protocol));
    }
    fd
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn socketpair(
    domain: c_int,
    kind: c_int,
    protocol: c_int,
    pair: *mut c_int,
) -> c_int {
    // SAFETY: the caller's contract; on success both numbers are there.
    unsafe {
        let result = SOCKETPAIR.get()(domain, kind, protocol, pair);
        if result == 0 {
            opened(*pair, socket_facts(domain, kind, protocol));
            opened(*pair.add(1), socket_facts(domain, kind, protocol));
        }
        result
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pipe(pair: *mut c_int) -> c_int {
    // SAFETY: the caller's contract; on success both numbers are there.
    unsafe {
        let result = PIPE.get()(pair);
        if result == 0 {
            opened(*pair, fact::FLOW);
            opened(*pair.add(1), fact::FLOW);
        }
        result
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pipe2(pair: *mut c_int, flags: c_int) -> c_int {
    // SAFETY: the caller's contract; on success both numbers are there.
    unsafe {
        let result = PIPE2.get()(pair, flags);
        if result == 0 {
            let known = from_flags(flags & libc::O_CLOEXEC != 0, flags & libc::O_NONBLOCK != 0);
            opened(*pair, known | fact::FLOW);
            opened(*pair.add(1), known | fact::FLOW);
        }
        result
    }
}

/// Notes what is known of a connection that `listener` has accepted with `flags`. It has the listener's timeouts.
fn note_accepted(listener: c_int, fd: c_int, flags: c_int) {
    if fd < 0 {
        return;
    }
    let mut bits = from_flags(
        flags & libc::SOCK_CLOEXEC != 0,
        flags & libc::SOCK_NONBLOCK != 0,
    );
    let from = Fd::get(listener).map(kind);
    match from {
        Some(facts) if facts.has(fact::STREAM) => bits |= fact::STREAM | fact::FLOW,
        Some(facts) if facts.has(fact::SOCKET) => bits |= fact::SOCKET | fact::FLOW,
        _ => {}
    }
    for inherited in [fact::BARE, fact::ODD] {
        if from.is_some_and(|facts| facts.has(inherited)) {
            bits |= inherited;
        }
    }
    let alike = from
        .is_some_and(|facts| facts.has(fact::KNOWN) && !facts.has_any(fact::TIMEOUTS | fact::ODD));
    if !alike {
        bits &= !fact::KNOWN;
    }
    opened(fd, bits);
}

/// Whether the kernel waits for a connection, rather than say at once that it cannot.
fn may_wait(listener: Fd, flags: c_int) -> bool {
    let facts = listener.facts();
    if flags & !(libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK) != 0
        || facts.has(fact::KNOWN | fact::NONBLOCK)
    {
        return false;
    }
    if facts.has(fact::LISTENS) {
        return true;
    }
    let listens = wait::socket_option(listener.number(), libc::SO_ACCEPTCONN) != 0;
    if listens && !facts.has(fact::LENT) {
        // Until it is closed or shut down, and then `poll` says so.
        listener.learn(facts, fact::LISTENS, 0);
    }
    listens
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn accept(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
) -> c_int {
    if Green::current().is_some() {
        // SAFETY: the caller's contract.
        return unsafe { accept4(listener, address, length, 0) };
    }
    // SAFETY: the caller's contract.
    let fd = unsafe { ACCEPT.get()(listener, address, length) };
    note_accepted(listener, fd, 0);
    fd
}

/// Whether a descriptor could be had at this moment.
fn has_number(any: c_int) -> bool {
    let duplicate = libc::F_DUPFD_CLOEXEC as usize;
    // SAFETY: duplicates a descriptor, or fails; what it made is closed, and was known to nobody.
    unsafe {
        let made = call(libc::SYS_fcntl, [any as usize, duplicate, 0, 0, 0, 0]);
        if made < 0 {
            return false;
        }
        call(libc::SYS_close, [made as usize, 0, 0, 0, 0, 0]);
    }
    true
}

/// Which listeners somebody is accepting from at this moment, by their numbers modulo the length.
static ACCEPTING: [AtomicBool; 64] = [const { AtomicBool::new(false) }; 64];

/// Does `look_and_accept` while no other green thread does so at the same listener: of two that saw one connection,
/// the second would block. Gives up waiting when the other one is stuck, because another process was faster there.
fn accept_in_turn(listener: c_int, look_and_accept: impl Fn() -> isize) -> isize {
    const PATIENCE: u32 = 64;
    let turn = &ACCEPTING[listener as usize % ACCEPTING.len()];
    for _ in 0..PATIENCE {
        // ORDER: Acquire: pairs with the Release below; what the other one accepted is gone from the kernel's queue.
        if !turn.swap(true, Ordering::Acquire) {
            let result = look_and_accept();
            // ORDER: Release: pairs with the Acquire above.
            turn.store(false, Ordering::Release);
            return result;
        }
        park::yield_now();
    }
    look_and_accept()
}

/// The kernel has no way to accept without blocking but the descriptor's own flag; so it is asked first whether
/// somebody is there. If another process or a kernel thread is faster, this thread blocks in the kernel and its
/// processor is handed on.
///
/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn accept4(
    listener: c_int,
    address: *mut sockaddr,
    length: *mut socklen_t,
    flags: c_int,
) -> c_int {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        let fd = unsafe { ACCEPT4.get()(listener, address, length, flags) };
        note_accepted(listener, fd, flags);
        return fd;
    };
    // SAFETY: the caller's contract.
    let operation = || unsafe {
        call(
            libc::SYS_accept4,
            [
                listener as usize,
                address as usize,
                length as usize,
                flags as usize,
                0,
                0,
            ],
        )
    };
    let attempt = || {
        accept_in_turn(listener, || match poll_now(listener, libc::POLLIN) {
            // The kernel takes a number before it waits.
            0 if has_number(listener) => AGAIN,
            _ => operation(),
        })
    };
    let result = match Fd::get(listener) {
        Some(fd) if may_wait(fd, flags) => {
            // The look before an attempt does not say `EAGAIN` for a descriptor with `O_NONBLOCK`; the wait does.
            Operation::new(green, fd, Interest::Read, true).run(attempt, operation)
        }
        _ => operation(),
    };
    note_accepted(listener, result as c_int, flags);
    from_kernel(result) as c_int
}

/// Without blocking: only a flag of the descriptor makes the kernel do that, so it is set for the length of a system
/// call, and only if nobody else can see it; else the call blocks without a processor.
///
/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn connect(
    number: c_int,
    address: *const sockaddr,
    length: socklen_t,
) -> c_int {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { CONNECT.get()(number, address, length) };
    };
    // SAFETY: the caller's contract.
    let operation = || unsafe {
        call(
            libc::SYS_connect,
            [number as usize, address as usize, length as usize, 0, 0, 0],
        )
    };
    let Some(fd) = Fd::get(number) else {
        return from_kernel(operation()) as c_int;
    };
    let facts = fd.facts();
    let at_once = facts.has(fact::SOCKET) || is_nonblocking(fd);
    from_kernel(if at_once {
        operation()
    } else if facts.has(fact::KNOWN | fact::STREAM) {
        connect_stream(green, fd, operation)
    } else {
        blocking(operation)
    }) as c_int
}

fn set_nonblocking(fd: c_int, on: bool) {
    let value = c_int::from(on);
    let request = libc::FIONBIO as usize;
    // SAFETY: the value outlives the call.
    unsafe {
        call(
            libc::SYS_ioctl,
            [fd as usize, request, &raw const value as usize, 0, 0, 0],
        )
    };
}

fn connect_stream(green: Green, fd: Fd, operation: impl Fn() -> isize) -> isize {
    let in_progress = -(libc::EINPROGRESS as isize);
    let mut waiting = Operation::new(green, fd, Interest::Write, true);
    let mut seen = waiting.seen();
    set_nonblocking(fd.number(), true);
    let first = operation();
    set_nonblocking(fd.number(), false);
    if first == AGAIN {
        // A Unix socket whose listener's queue is full.
        return blocking(operation);
    }
    if first != in_progress && first != -(libc::EALREADY as isize) {
        return first;
    }
    loop {
        match waiting.wait(seen) {
            wait::Next::Again => {}
            // The kernel goes on connecting, and says the same.
            wait::Next::Done(AGAIN) => return first,
            wait::Next::Done(result) => return result,
            wait::Next::Block => return blocking(operation),
        }
        seen = waiting.seen();
        if poll_now(fd.number(), libc::POLLOUT) != 0 {
            // Decided: the second call fetches the outcome and does not block.
            return operation();
        }
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close(fd: c_int) -> c_int {
    if !closing(fd) {
        set_errno(libc::EBADF);
        return -1;
    }
    // SAFETY: the caller's contract.
    let result = unsafe { CLOSE.get()(fd) };
    closed(fd);
    result
}

/// Calls `f` with the parts of a range of numbers that hold no descriptor of the runtime.
fn around_ours(first: c_uint, last: c_uint, mut f: impl FnMut(c_uint, c_uint) -> c_int) -> c_int {
    let mut begin = first;
    let mut at = first;
    let end = last.min(highest_open());
    while at <= end {
        if !closing(at as c_int) {
            if at > begin && f(begin, at - 1) != 0 {
                return -1;
            }
            begin = at + 1;
        }
        at += 1;
    }
    let result = if begin <= last { f(begin, last) } else { 0 };
    for number in first..=end {
        closed(number as c_int);
    }
    result
}

/// A number above which nothing is open that the table knows of.
fn highest_open() -> c_uint {
    // SAFETY: zeros are a valid place-holder.
    let mut limit: libc::rlimit = unsafe { core::mem::zeroed() };
    // SAFETY: a valid place.
    unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &mut limit) };
    // The limit may have been lowered since.
    limit.rlim_max.min(1 << 20) as c_uint
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn close_range(first: c_uint, last: c_uint, flags: c_int) -> c_int {
    const UNSHARE: c_int = 2;
    if flags & UNSHARE != 0 && Green::current().is_some() {
        // It would give the kernel thread, not the green thread, a table of its own.
        set_errno(libc::EINVAL);
        return -1;
    }
    if flags != 0 || first > last {
        // SAFETY: the caller's contract. The flags close nothing now, or not for this thread.
        return unsafe { CLOSE_RANGE.get()(first, last, flags) };
    }
    // SAFETY: the caller's contract.
    around_ours(first, last, |first, last| unsafe {
        CLOSE_RANGE.get()(first, last, 0)
    })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn closefrom(first: c_int) {
    // SAFETY: the caller's contract.
    unsafe { close_range(first.max(0) as c_uint, c_uint::MAX, 0) };
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dup(old: c_int) -> c_int {
    shared(old);
    // SAFETY: the caller's contract.
    let new = unsafe { DUP.get()(old) };
    if new >= 0 {
        opened(new, 0);
    }
    new
}

/// Before a duplicate is put at `new`. False: errno is set.
fn make_room(old: c_int, new: c_int) -> bool {
    if old == new {
        return true;
    }
    // SAFETY: asks whether the number is open.
    let open = unsafe {
        call(
            libc::SYS_fcntl,
            [old as usize, libc::F_GETFD as usize, 0, 0, 0, 0],
        )
    };
    if open < 0 {
        // The call will fail, and change nothing.
        return true;
    }
    shared(old);
    match replacing(new) {
        Ok(()) => true,
        Err(error) => {
            set_errno(error);
            false
        }
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dup2(old: c_int, new: c_int) -> c_int {
    if !make_room(old, new) {
        return -1;
    }
    // SAFETY: the caller's contract.
    let result = unsafe { DUP2.get()(old, new) };
    closed(new);
    result
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn dup3(old: c_int, new: c_int, flags: c_int) -> c_int {
    if !make_room(old, new) {
        return -1;
    }
    // SAFETY: the caller's contract.
    let result = unsafe { DUP3.get()(old, new, flags) };
    closed(new);
    result
}

/// What `fcntl` changed.
fn note_control(fd: c_int, command: c_int, argument: *mut c_void, result: c_int) {
    match command {
        libc::F_DUPFD | libc::F_DUPFD_CLOEXEC => {
            shared(fd);
            opened(result, 0);
        }
        libc::F_SETFL => note_nonblocking(fd, argument as usize as c_int & libc::O_NONBLOCK != 0),
        libc::F_SETFD if argument as usize as c_int & libc::FD_CLOEXEC == 0 => shared(fd),
        _ => {}
    }
}

fn note_nonblocking(fd: c_int, on: bool) {
    if let Some(fd) = Fd::if_any(fd) {
        let bit = fact::NONBLOCK;
        let (set, clear) = if on { (bit, 0) } else { (0, bit) };
        fd.learn(fd.facts(), set, clear);
    }
}

fn control(next: &Next<Control>, fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    let waits = matches!(command, libc::F_SETLKW | libc::F_OFD_SETLKW);
    // SAFETY: the contract of `fcntl`, which the callers of this function pass on.
    let operation = || unsafe { next.get()(fd, command, argument) };
    let result = if waits && Green::current().is_some() {
        blocking(operation)
    } else {
        operation()
    };
    if result >= 0 {
        note_control(fd, command, argument, result);
    }
    result
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fcntl(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    control(&FCNTL, fd, command, argument)
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fcntl64(fd: c_int, command: c_int, argument: *mut c_void) -> c_int {
    control(&FCNTL64, fd, command, argument)
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ioctl(fd: c_int, request: c_ulong, argument: *mut c_void) -> c_int {
    // SAFETY: the caller's contract.
    let result = unsafe { IOCTL.get()(fd, request, argument) };
    match request {
        _ if result < 0 => {}
        // SAFETY: the kernel has read the same word.
        libc::FIONBIO => note_nonblocking(fd, unsafe { *argument.cast::<c_int>() } != 0),
        libc::FIONCLEX => shared(fd),
        _ => {}
    }
    result
}

/// The options of 64-bit time, which on x86-64 mean the same.
const SO_RCVTIMEO_NEW: c_int = 66;
const SO_SNDTIMEO_NEW: c_int = 67;

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn setsockopt(
    number: c_int,
    level: c_int,
    option: c_int,
    value: *const c_void,
    length: socklen_t,
) -> c_int {
    // SAFETY: the caller's contract.
    let result = unsafe { SETSOCKOPT.get()(number, level, option, value, length) };
    let Some(fd) = Fd::get(number).filter(|_| result == 0) else {
        return result;
    };
    if level == libc::IPPROTO_TCP && option == libc::TCP_ULP {
        // Records end a read.
        fd.learn(fd.facts(), 0, fact::BARE);
    }
    if level != libc::SOL_SOCKET {
        return result;
    }
    let interest = match option {
        libc::SO_RCVTIMEO | SO_RCVTIMEO_NEW => Interest::Read,
        libc::SO_SNDTIMEO | SO_SNDTIMEO_NEW => Interest::Write,
        libc::SO_RCVLOWAT | libc::SO_PEEK_OFF => {
            fd.learn(fd.facts(), fact::ODD, 0);
            return result;
        }
        _ => return result,
    };
    // SAFETY: the kernel has read a structure of this size.
    let time = unsafe { value.cast::<libc::timeval>().read_unaligned() };
    if time.tv_sec < 0 {
        // The kernel takes it for "do not wait", and says nothing of it when asked.
        fd.learn(fd.facts(), fact::ODD, 0);
        return result;
    }
    fd.set_timeout_ns(interest, timeval_ns(time));
    fd.learn(fd.facts(), fact::TIMEOUTS, 0);
    result
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn shutdown(number: c_int, how: c_int) -> c_int {
    // SAFETY: the caller's contract.
    let result = unsafe { SHUTDOWN.get()(number, how) };
    if result == 0 {
        let unhinted =
            how == libc::SHUT_WR && wait::socket_option(number, libc::SO_DOMAIN) == libc::AF_UNIX;
        shut(number, unhinted);
    }
    result
}

/// The number is closed inside libc one day, by `fclose`, which nobody sees.
///
/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn fdopen(fd: c_int, mode: *const c_char) -> *mut libc::FILE {
    lent(fd);
    // SAFETY: the caller's contract.
    unsafe { FDOPEN.get()(fd, mode) }
}
