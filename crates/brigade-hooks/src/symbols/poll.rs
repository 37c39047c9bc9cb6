//! Waiting for several descriptors: `poll`, `select`, `epoll_wait`.
//!
//! The kernel is asked with a timeout of zero, and the thread parks until an edge comes on one of the descriptors;
//! then the kernel is asked again. So the answers are the kernel's own.
//!
//! A call with a signal mask blocks in the kernel, without a processor: the mask belongs to the kernel thread.

use brigade_runtime::clock::{NEVER, now_ns};
use brigade_runtime::descriptors::{Fd, Interest, Wait, Wanted};
use brigade_runtime::park::{Green, blocking};
use libc::{c_int, c_long, fd_set, nfds_t, pollfd, sigset_t, size_t, timespec, timeval};

use super::errno::from_kernel;
use super::next::Next;
use super::wait::{CANCELED, call};
use crate::status::Hook;

/// The hooks of this module.
pub(super) static HOOKS: [Hook; 9] = [
    POLL.hook(poll as *const ()),
    PPOLL.hook(ppoll as *const ()),
    SELECT.hook(select as *const ()),
    PSELECT.hook(pselect as *const ()),
    EPOLL_WAIT.hook(epoll_wait as *const ()),
    EPOLL_PWAIT.hook(epoll_pwait as *const ()),
    EPOLL_PWAIT2.hook(epoll_pwait2 as *const ()),
    POLL_CHK.hook(__poll_chk as *const ()),
    PPOLL_CHK.hook(__ppoll_chk as *const ()),
];

type PollFn = unsafe extern "C" fn(*mut pollfd, nfds_t, c_int) -> c_int;
// SAFETY: the signature is compared below.
static POLL: Next<PollFn> = unsafe { Next::new(c"poll") };
const _: [PollFn; 2] = [poll, libc::poll];

type PPoll = unsafe extern "C" fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t) -> c_int;
// SAFETY: the signature is compared below.
static PPOLL: Next<PPoll> = unsafe { Next::new(c"ppoll") };
const _: [PPoll; 2] = [ppoll, libc::ppoll];

type Select =
    unsafe extern "C" fn(c_int, *mut fd_set, *mut fd_set, *mut fd_set, *mut timeval) -> c_int;
// SAFETY: the signature is compared below.
static SELECT: Next<Select> = unsafe { Next::new(c"select") };
const _: [Select; 2] = [select, libc::select];

type PSelect = unsafe extern "C" fn(
    c_int,
    *mut fd_set,
    *mut fd_set,
    *mut fd_set,
    *const timespec,
    *const sigset_t,
) -> c_int;
// SAFETY: the signature is compared below.
static PSELECT: Next<PSelect> = unsafe { Next::new(c"pselect") };
const _: [PSelect; 2] = [pselect, libc::pselect];

type EpollWait = unsafe extern "C" fn(c_int, *mut libc::epoll_event, c_int, c_int) -> c_int;
// SAFETY: the signature is compared below.
static EPOLL_WAIT: Next<EpollWait> = unsafe { Next::new(c"epoll_wait") };
const _: [EpollWait; 2] = [epoll_wait, libc::epoll_wait];

type EpollPwait =
    unsafe extern "C" fn(c_int, *mut libc::epoll_event, c_int, c_int, *const sigset_t) -> c_int;
// SAFETY: the signature is compared below.
static EPOLL_PWAIT: Next<EpollPwait> = unsafe { Next::new(c"epoll_pwait") };
const _: [EpollPwait; 2] = [epoll_pwait, libc::epoll_pwait];

type EpollPwait2 = unsafe extern "C" fn(
    c_int,
    *mut libc::epoll_event,
    c_int,
    *const timespec,
    *const sigset_t,
) -> c_int;
// SAFETY: glibc's signature (sys/epoll.h).
static EPOLL_PWAIT2: Next<EpollPwait2> = unsafe { Next::new(c"epoll_pwait2") };

type PollChk = unsafe extern "C" fn(*mut pollfd, nfds_t, c_int, size_t) -> c_int;
// SAFETY: glibc's signature (debug/poll_chk.c).
static POLL_CHK: Next<PollChk> = unsafe { Next::new(c"__poll_chk") };

type PPollChk =
    unsafe extern "C" fn(*mut pollfd, nfds_t, *const timespec, *const sigset_t, size_t) -> c_int;
// SAFETY: glibc's signature (debug/ppoll_chk.c).
static PPOLL_CHK: Next<PPollChk> = unsafe { Next::new(c"__ppoll_chk") };

/// Descriptors of a `poll` that need no allocation.
const FEW: usize = 4;

/// The deadline of a timeout in milliseconds; negative for none.
fn deadline_of_ms(timeout_ms: c_int) -> u64 {
    match u64::try_from(timeout_ms) {
        Ok(ms) => now_ns().saturating_add(ms * 1_000_000),
        Err(_) => NEVER,
    }
}

/// The deadline of a timeout; none where it is one that the kernel refuses.
fn deadline_of(timeout: &timespec) -> Option<u64> {
    if timeout.tv_sec < 0 || !(0..1_000_000_000).contains(&timeout.tv_nsec) {
        return None;
    }
    let ns = (timeout.tv_sec as u64)
        .saturating_mul(1_000_000_000)
        .saturating_add(timeout.tv_nsec as u64);
    Some(now_ns().saturating_add(ns))
}

const READS: i16 =
    libc::POLLIN | libc::POLLPRI | libc::POLLRDNORM | libc::POLLRDBAND | libc::POLLRDHUP;
const WRITES: i16 = libc::POLLOUT | libc::POLLWRNORM | libc::POLLWRBAND;

/// The waits that `one` stands for: an end or an error counts as both directions.
fn wanted_of(one: &pollfd) -> impl Iterator<Item = Wanted> {
    let writes = one.events & WRITES != 0;
    let reads = one.events & READS != 0 || !writes;
    let fd = Fd::get(one.fd);
    [(reads, Interest::Read), (writes, Interest::Write)]
        .into_iter()
        .filter(|(asked, _)| *asked)
        .filter_map(move |(_, interest)| {
            fd.map(|fd| Wanted {
                fd,
                interest,
                seen: fd.seen(interest),
            })
        })
}

/// Asks `look` (the kernel, without waiting) until it answers other than 0 or the deadline passes; between two looks
/// the thread parks until one of `fds` may have changed. `block` waits in the kernel, until the deadline.
fn wait_for(
    green: Green,
    fds: &[pollfd],
    deadline_ns: u64,
    look: impl Fn() -> isize,
    block: impl Fn() -> isize,
) -> isize {
    let mut some = Vec::new();
    loop {
        let mut few: [Option<Wanted>; FEW] = [None; FEW];
        some.clear();
        for (index, wanted) in fds.iter().flat_map(wanted_of).enumerate() {
            match few.get_mut(index) {
                Some(place) => *place = Some(wanted),
                None => some.push(wanted),
            }
        }
        let result = look();
        if result != 0 {
            green.checkpoint();
            return result;
        }
        if now_ns() >= deadline_ns {
            return 0;
        }
        for wanted in few.iter().flatten() {
            some.push(*wanted);
        }
        match green.wait_fds(&some, deadline_ns) {
            Ok(Wait::Ready | Wait::Closed) => {}
            Ok(Wait::TimedOut) => return look(),
            Ok(Wait::Cancelled) => return CANCELED,
            Err(_) => return blocking(&block),
        }
    }
}

/// What is left of a deadline, as the kernel takes it.
fn left(deadline_ns: u64) -> timespec {
    let ns = deadline_ns.saturating_sub(now_ns());
    timespec {
        tv_sec: (ns / 1_000_000_000) as i64,
        tv_nsec: (ns % 1_000_000_000) as i64,
    }
}

/// `ppoll` without a mask, until a deadline; the kernel's result.
///
/// # Safety
/// As `poll`.
unsafe fn raw_poll(fds: *mut pollfd, count: nfds_t, deadline_ns: Option<u64>) -> isize {
    let time = deadline_ns.map_or(left(0), left);
    let at = if deadline_ns == Some(NEVER) {
        0
    } else {
        &raw const time as usize
    };
    // SAFETY: the caller's contract.
    unsafe { call(libc::SYS_ppoll, [fds as usize, count as usize, at, 0, 8, 0]) }
}

/// `poll` on a green thread; the kernel's result.
///
/// # Safety
/// As `poll`.
unsafe fn poll_until(green: Green, fds: *mut pollfd, count: nfds_t, deadline_ns: u64) -> isize {
    // SAFETY: the caller's contract, here and below.
    let look = || unsafe { raw_poll(fds, count, None) };
    let first = look();
    if first != 0 || now_ns() >= deadline_ns {
        green.checkpoint();
        return first;
    }
    let slice = if count == 0 {
        &[]
    } else {
        // SAFETY: the kernel has read the array, so it is valid.
        unsafe { core::slice::from_raw_parts(fds, count as usize) }
    };
    let open: Vec<pollfd> = slice.iter().filter(|one| one.fd >= 0).copied().collect();
    // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
    wait_for(green, &open, deadline_ns, look, || unsafe {
        raw_poll(fds, count, Some(deadline_ns))
    })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn poll(fds: *mut pollfd, count: nfds_t, timeout_ms: c_int) -> c_int {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { POLL.get()(fds, count, timeout_ms) };
    };
    // SAFETY: the caller's contract.
    from_kernel(unsafe {
        if timeout_ms == 0 {
            raw_poll(fds, count, None)
        } else {
            poll_until(green, fds, count, deadline_of_ms(timeout_ms))
        }
    }) as c_int
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __poll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout_ms: c_int,
    room: size_t,
) -> c_int {
    if room / size_of::<pollfd>() < count as usize || Green::current().is_none() {
        // SAFETY: the caller's contract; glibc ends the process for an array that is too small.
        return unsafe { POLL_CHK.get()(fds, count, timeout_ms, room) };
    }
    // SAFETY: the caller's contract.
    unsafe { poll(fds, count, timeout_ms) }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn ppoll(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's contract.
    let operation = || unsafe { PPOLL.get()(fds, count, timeout, mask) };
    let Some(green) = Green::current() else {
        return operation();
    };
    // SAFETY: the caller's contract: null or a valid time.
    let deadline_ns = unsafe { timeout.as_ref() }.map_or(Some(NEVER), deadline_of);
    match deadline_ns {
        Some(deadline_ns) if mask.is_null() => {
            // SAFETY: the caller's contract.
            from_kernel(unsafe { poll_until(green, fds, count, deadline_ns) }) as c_int
        }
        _ => blocking(operation),
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn __ppoll_chk(
    fds: *mut pollfd,
    count: nfds_t,
    timeout: *const timespec,
    mask: *const sigset_t,
    room: size_t,
) -> c_int {
    if room / size_of::<pollfd>() < count as usize || Green::current().is_none() {
        // SAFETY: as in `__poll_chk`.
        return unsafe { PPOLL_CHK.get()(fds, count, timeout, mask, room) };
    }
    // SAFETY: the caller's contract.
    unsafe { ppoll(fds, count, timeout, mask) }
}

/// Counts for which the sets are copied; larger ones are for the kernel.
const SELECTABLE: core::ops::Range<c_int> = 0..(1 << 16);

/// The three sets of `select`, as many words of each as `count` numbers need.
struct Sets {
    at: [*mut fd_set; 3],
    count: c_int,
    saved: [Vec<c_long>; 3],
}

/// Copies what the caller passed, which may not exist: then the kernel's error.
fn copy_in(from: *const c_long, to: &mut [c_long]) -> Result<(), isize> {
    let bytes = size_of_val(to);
    let local = libc::iovec {
        iov_base: to.as_mut_ptr().cast(),
        iov_len: bytes,
    };
    let remote = libc::iovec {
        iov_base: from.cast_mut().cast(),
        iov_len: bytes,
    };
    let own = std::process::id() as usize;
    // SAFETY: the kernel checks the foreign place; the local one is as large as said.
    let result = unsafe {
        call(
            libc::SYS_process_vm_readv,
            [
                own,
                &raw const local as usize,
                1,
                &raw const remote as usize,
                1,
                0,
            ],
        )
    };
    if result == -(libc::EFAULT as isize) || result >= 0 && (result as usize) < bytes {
        return Err(-(libc::EFAULT as isize));
    }
    if result < 0 {
        // A sandbox without the call: the caller's word is taken for it.
        // SAFETY: the contract of `select`.
        unsafe { core::ptr::copy_nonoverlapping(from, to.as_mut_ptr(), to.len()) };
    }
    Ok(())
}

impl Sets {
    /// # Safety
    /// The sets are null or hold `count` numbers.
    unsafe fn new(count: c_int, at: [*mut fd_set; 3]) -> Result<Sets, isize> {
        let words = (count as usize).div_ceil(c_long::BITS as usize);
        let mut saved = [const { Vec::new() }; 3];
        for (set, saved) in at.iter().zip(&mut saved) {
            if !set.is_null() && words > 0 {
                saved.resize(words, 0);
                copy_in(set.cast::<c_long>(), saved)?;
            }
        }
        Ok(Sets { at, count, saved })
    }

    /// Puts the caller's sets back, which a look has cleared.
    fn restore(&self) {
        for (set, saved) in self.at.iter().zip(&self.saved) {
            // SAFETY: the set is as large as the copy, which was made of it.
            unsafe {
                core::ptr::copy_nonoverlapping(
                    saved.as_ptr(),
                    (*set).cast::<c_long>(),
                    saved.len(),
                );
            }
        }
    }

    /// The numbers in the sets, as `poll` would have them.
    fn fds(&self) -> Vec<pollfd> {
        let events = [libc::POLLIN, libc::POLLOUT, libc::POLLPRI];
        (0..self.count)
            .filter_map(|fd| {
                let (word, bit) = (
                    fd as usize / c_long::BITS as usize,
                    fd as u32 % c_long::BITS,
                );
                let asked = self
                    .saved
                    .iter()
                    .zip(events)
                    .filter(|(set, _)| set.get(word).is_some_and(|&w| w >> bit & 1 == 1))
                    .fold(0, |all, (_, event)| all | event);
                (asked != 0).then_some(pollfd {
                    fd,
                    events: asked,
                    revents: 0,
                })
            })
            .collect()
    }

    /// `pselect6` without a mask.
    fn ask(&self, time: *const timespec) -> isize {
        self.restore();
        let [reads, writes, excepts] = self.at;
        // SAFETY: the caller of `new` passed valid sets; the kernel may write to the time, which is a copy.
        unsafe {
            call(
                libc::SYS_pselect6,
                [
                    self.count as usize,
                    reads as usize,
                    writes as usize,
                    excepts as usize,
                    time as usize,
                    0,
                ],
            )
        }
    }
}

/// `select` on a green thread; the kernel's result.
///
/// # Safety
/// As `select`, with a count that is not negative.
unsafe fn select_until(
    green: Green,
    count: c_int,
    at: [*mut fd_set; 3],
    deadline_ns: u64,
) -> isize {
    // SAFETY: the caller's contract.
    let sets = match unsafe { Sets::new(count, at) } {
        Ok(sets) => sets,
        Err(error) => return error,
    };
    let look = || {
        let zero = left(0);
        sets.ask(&zero)
    };
    wait_for(green, &sets.fds(), deadline_ns, look, || {
        let time = left(deadline_ns);
        sets.ask(if deadline_ns == NEVER {
            core::ptr::null()
        } else {
            &time
        })
    })
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn select(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    excepts: *mut fd_set,
    timeout: *mut timeval,
) -> c_int {
    // SAFETY: the caller's contract.
    let operation = || unsafe { SELECT.get()(count, reads, writes, excepts, timeout) };
    let Some(green) = Green::current() else {
        return operation();
    };
    // SAFETY: the caller's contract: null or a valid time.
    let deadline_ns = match unsafe { timeout.as_ref() } {
        None => Some(NEVER),
        Some(time) if (0..1_000_000).contains(&time.tv_usec) => deadline_of(&timespec {
            tv_sec: time.tv_sec,
            tv_nsec: time.tv_usec * 1000,
        }),
        Some(_) => None,
    };
    let Some(deadline_ns) = deadline_ns.filter(|_| SELECTABLE.contains(&count)) else {
        return blocking(operation);
    };
    // SAFETY: the caller's contract.
    let result = unsafe { select_until(green, count, [reads, writes, excepts], deadline_ns) };
    // SAFETY: as above: the arguments are those of the caller, who keeps libc's contract.
    if let Some(time) = unsafe { timeout.as_mut() } {
        let rest = left(deadline_ns);
        *time = timeval {
            tv_sec: rest.tv_sec,
            tv_usec: rest.tv_nsec / 1000,
        };
    }
    from_kernel(result) as c_int
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn pselect(
    count: c_int,
    reads: *mut fd_set,
    writes: *mut fd_set,
    excepts: *mut fd_set,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's contract.
    let operation = || unsafe { PSELECT.get()(count, reads, writes, excepts, timeout, mask) };
    let Some(green) = Green::current() else {
        return operation();
    };
    // SAFETY: the caller's contract: null or a valid time.
    let deadline_ns = unsafe { timeout.as_ref() }.map_or(Some(NEVER), deadline_of);
    match deadline_ns {
        Some(deadline_ns) if mask.is_null() && SELECTABLE.contains(&count) => {
            // SAFETY: the caller's contract.
            let result =
                unsafe { select_until(green, count, [reads, writes, excepts], deadline_ns) };
            from_kernel(result) as c_int
        }
        _ => blocking(operation),
    }
}

/// `epoll_wait` on a green thread; the kernel's result. An epoll is itself a descriptor to wait for.
///
/// # Safety
/// As `epoll_wait`.
unsafe fn epoll_until(
    green: Green,
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    deadline_ns: u64,
) -> isize {
    // SAFETY: the caller's contract.
    let with = |timeout_ms: c_int| unsafe {
        call(
            libc::SYS_epoll_pwait,
            [
                epoll as usize,
                events as usize,
                count as usize,
                timeout_ms as usize,
                0,
                8,
            ],
        )
    };
    let first = with(0);
    if first != 0 {
        green.checkpoint();
        return first;
    }
    let one = [pollfd {
        fd: epoll,
        events: libc::POLLIN,
        revents: 0,
    }];
    wait_for(
        green,
        &one,
        deadline_ns,
        || with(0),
        || {
            let time = left(deadline_ns);
            let ms = time.tv_sec.saturating_mul(1000) + (time.tv_nsec + 999_999) / 1_000_000;
            with(if deadline_ns == NEVER {
                -1
            } else {
                ms.min(i64::from(c_int::MAX)) as c_int
            })
        },
    )
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_wait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout_ms: c_int,
) -> c_int {
    let Some(green) = Green::current() else {
        // SAFETY: the caller's contract.
        return unsafe { EPOLL_WAIT.get()(epoll, events, count, timeout_ms) };
    };
    let deadline_ns = deadline_of_ms(timeout_ms);
    // SAFETY: the caller's contract.
    from_kernel(unsafe { epoll_until(green, epoll, events, count, deadline_ns) }) as c_int
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_pwait(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout_ms: c_int,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's contract.
    let operation = || unsafe { EPOLL_PWAIT.get()(epoll, events, count, timeout_ms, mask) };
    match Green::current() {
        None => operation(),
        Some(_) if !mask.is_null() => blocking(operation),
        // SAFETY: the caller's contract.
        Some(_) => unsafe { epoll_wait(epoll, events, count, timeout_ms) },
    }
}

/// # Safety
/// As in libc.
#[unsafe(no_mangle)]
pub(crate) unsafe extern "C" fn epoll_pwait2(
    epoll: c_int,
    events: *mut libc::epoll_event,
    count: c_int,
    timeout: *const timespec,
    mask: *const sigset_t,
) -> c_int {
    // SAFETY: the caller's contract.
    let operation = || unsafe { EPOLL_PWAIT2.get()(epoll, events, count, timeout, mask) };
    let Some(green) = Green::current() else {
        return operation();
    };
    // SAFETY: the caller's contract: null or a valid time.
    let deadline_ns = unsafe { timeout.as_ref() }.map_or(Some(NEVER), deadline_of);
    match deadline_ns {
        Some(deadline_ns) if mask.is_null() => {
            // SAFETY: the caller's contract.
            let result = unsafe { epoll_until(green, epoll, events, count, deadline_ns) };
            from_kernel(result) as c_int
        }
        _ => blocking(operation),
    }
}
