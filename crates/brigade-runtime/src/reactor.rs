//! The reactor of a runtime: one epoll, and an eventfd that ends a carrier's wait in it.
//!
//! # Who polls
//!
//! At most one carrier at a time, the one that holds `polling`: an idle carrier blocks here instead of on its futex,
//! until an event, its processor's next timer, or a message; a busy one looks without blocking when its queue is
//! empty, and every so often when it is not; the monitor looks when nobody else has for a while.
//!
//! # Descriptors
//!
//! Both descriptors are opened at the first wait and closed with the runtime. They are marked as ours in the table
//! (`fd.rs`): to `close` they are not open, `dup2` onto one moves it first. If somebody closes them behind our back, by a
//! raw system call, the next use aborts the program with a message: nothing could wake a carrier that waits in them.
//!
//! # Invariants
//!
//! 1. Events carry the number and generation of the descriptor they were registered for; late ones are dropped.
//! 2. A reactor's `id` is never used again, so an entry that names another id is not registered here. An entry may be
//!    registered with another runtime's reactor; that one wakes its waiters, until it goes and orphans them.
//! 3. Lock order: an entry of the table, `opening`, [`KNOWN`]. The lock of [`KNOWN`] is held over a fork.
//! 4. Who leaves `polling` either runs on and goes idle later, when it may take it again, or has lost its processor.
//!    Then the one who got it may be asleep already, as all may be when a thread without a processor opens the
//!    reactor; so both rouse the monitor, which does not sleep until somebody polls. So while all are idle somebody
//!    does.
//!
//! # Rejected
//!
//! io_uring as the engine: containers deny it; in the measurements of a prototype it was level with this. A thread of
//! its own that polls: two switches of kernel threads per wake-up. `EPOLLONESHOT`: a system call per wait.

use std::mem::MaybeUninit;
use std::ptr;

use brigade_context::prim::sys;
use libc::{c_int, c_long};

use crate::fd::{self, Fd, fact};
use crate::prim::{AtomicBool, AtomicI32, AtomicU32, AtomicU64, Lock, NEVER, Ordering, now_ns};
use crate::queue::List;
use crate::task::Task;

/// Events taken at a time.
const BATCH: usize = 256;
/// The event data of the eventfd: no descriptor has this number.
const WAKE: u64 = u64::MAX;

/// All changes of all files: readable, writable, urgent data, end.
const EVENTS: u32 =
    (libc::EPOLLIN | libc::EPOLLOUT | libc::EPOLLRDHUP | libc::EPOLLPRI | libc::EPOLLET) as u32;

static IDS: AtomicU32 = AtomicU32::new(0);

/// Reactors that `dup2` may have to ask to move; more than these are not found.
const KNOWN_MAX: usize = 64;
static KNOWN: Lock<[Option<Known>; KNOWN_MAX]> = Lock::new([const { None }; KNOWN_MAX]);

struct Known(*const Reactor);
// SAFETY: a reactor is shared; it leaves the list before it goes away.
unsafe impl Send for Known {}

/// See the module.
pub(crate) struct Reactor {
    /// 0 until it is open; then the number by which entries know it.
    id: AtomicU32,
    /// The process it was opened in: forks since the first one.
    generation: AtomicU32,
    epoll: AtomicI32,
    event: AtomicI32,
    opening: Lock<()>,
    polling: AtomicBool,
    last_poll_ns: AtomicU64,
}

/// How long [`Reactor::poll`] blocks.
#[derive(Clone, Copy, PartialEq, Eq)]
pub(crate) enum Until {
    /// Not at all.
    Now,
    /// Until the deadline; `NEVER` for none.
    Deadline(u64),
}

/// A system call's result, or the error number.
fn call(number: c_long, arguments: [usize; 6]) -> Result<usize, c_int> {
    // SAFETY: each caller passes what the kernel asks for.
    let result = unsafe { sys::call(number, arguments) };
    usize::try_from(result).map_err(|_| -result as c_int)
}

impl Reactor {
    pub(crate) const fn new() -> Reactor {
        Reactor {
            id: AtomicU32::new(0),
            generation: AtomicU32::new(0),
            epoll: AtomicI32::new(-1),
            event: AtomicI32::new(-1),
            opening: Lock::new(()),
            polling: AtomicBool::new(false),
            last_poll_ns: AtomicU64::new(0),
        }
    }

    /// Whether anything was ever waited for.
    #[inline(always)]
    pub(crate) fn is_open(&self) -> bool {
        self.id() != 0
    }

    #[inline(always)]
    fn id(&self) -> u32 {
        // ORDER: Acquire: pairs with the Release in `open`: who sees the id sees the descriptors.
        self.id.load(Ordering::Acquire)
    }

    fn epoll(&self) -> c_int {
        // ORDER: Acquire: as in `id`.
        self.epoll.load(Ordering::Acquire)
    }

    /// Opens it before anything waits, for a runtime that could not go on without. A failure is not one yet.
    pub(crate) fn open_early(&self) {
        let _later = self.open();
    }

    #[cold]
    fn open(&self) -> Result<u32, c_int> {
        let opening = self.opening.lock();
        if self.is_open() {
            return Ok(self.id());
        }
        let epoll = call(
            libc::SYS_epoll_create1,
            [libc::EPOLL_CLOEXEC as usize, 0, 0, 0, 0, 0],
        )? as c_int;
        let flags = (libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) as usize;
        let event = call(libc::SYS_eventfd2, [0, flags, 0, 0, 0, 0]).map(|fd| fd as c_int);
        let watched = event.and_then(|event| {
            control(epoll, libc::EPOLL_CTL_ADD, event, WAKE)?;
            Ok(event)
        });
        let event = match watched {
            Ok(event) => event,
            Err(error) => {
                let _ = call(libc::SYS_close, [epoll as usize, 0, 0, 0, 0, 0]);
                return Err(error);
            }
        };
        // ORDER: Relaxed: as for `epoll` below; the count changes only in a child.
        self.generation
            .store(brigade_context::fork_generation(), Ordering::Relaxed);
        // ORDER: Relaxed: published by the store of `id` below.
        self.epoll.store(epoll, Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.event.store(event, Ordering::Relaxed);
        // ORDER: Relaxed: a number that nobody else gets. Zero means "none".
        let id = IDS.fetch_add(1, Ordering::Relaxed) + 1;
        let mut known = KNOWN.lock();
        let me = ptr::from_ref(self);
        if !known.iter().flatten().any(|other| ptr::eq(other.0, me))
            && let Some(free) = known.iter_mut().find(|place| place.is_none())
        {
            *free = Some(Known(me));
        }
        drop(known);
        // ORDER: Release: pairs with the Acquire in `id`.
        self.id.store(id, Ordering::Release);
        // After the lock: it is taken under the locks of other entries.
        drop(opening);
        own(epoll);
        own(event);
        Ok(id)
    }

    /// Registers `fd` unless it is registered, here or with another reactor (`with`). `trusted`: nobody can have
    /// closed the file unseen. Returns the reactor it is registered with. Called under the lock of the entry.
    pub(crate) fn register(
        &self,
        fd: Fd,
        generation: u32,
        with: u32,
        trusted: bool,
    ) -> Result<u32, c_int> {
        if with != 0 && trusted {
            return Ok(with);
        }
        let id = match self.id() {
            0 => self.open()?,
            id => id,
        };
        let data = u64::from(generation) << 32 | fd.number() as u32 as u64;
        let operations = if with == id {
            [libc::EPOLL_CTL_MOD, libc::EPOLL_CTL_ADD]
        } else {
            [libc::EPOLL_CTL_ADD, libc::EPOLL_CTL_MOD]
        };
        let first = control(self.epoll(), operations[0], fd.number(), data);
        match first {
            Err(libc::ENOENT | libc::EEXIST) => {
                control(self.epoll(), operations[1], fd.number(), data)?;
            }
            Err(error) => return Err(error),
            Ok(()) => {}
        }
        Ok(id)
    }

    /// Becomes the one that polls. False: somebody is.
    #[inline]
    pub(crate) fn try_claim(&self) -> bool {
        // ORDER: Relaxed: a hint. Acquire on success pairs with `release`.
        !self.polling.load(Ordering::Relaxed) && !self.polling.swap(true, Ordering::Acquire)
    }

    /// Undoes [`Reactor::try_claim`].
    #[inline]
    pub(crate) fn release(&self) {
        // ORDER: Release: pairs with `try_claim`.
        self.polling.store(false, Ordering::Release);
    }

    /// Whether somebody polls, or has polled since `since_ns`.
    pub(crate) fn is_polled(&self, since_ns: u64) -> bool {
        // ORDER: Relaxed: hints for the monitor, which looks again.
        self.polling.load(Ordering::Relaxed)
            || self.last_poll_ns.load(Ordering::Relaxed) >= since_ns // ORDER: as above.
    }

    /// By who polls: takes events and adds the parked threads that they wake to `ready`.
    pub(crate) fn poll(&self, until: Until, ready: &mut List<Task>) {
        let mut events = [const { MaybeUninit::uninit() }; BATCH];
        let epoll = self.epoll();
        let taken = wait(epoll, &mut events, until);
        if until == Until::Now {
            // ORDER: Relaxed: see `is_polled`.
            self.last_poll_ns.store(now_ns(), Ordering::Relaxed);
        }
        match taken {
            Ok(taken) => {
                for event in &events[..taken] {
                    // SAFETY: the kernel has written the first `taken` events.
                    let event = unsafe { event.assume_init_ref() };
                    deliver(event.events, event.u64, ready);
                }
            }
            Err(libc::EBADF | libc::EINVAL) if self.epoll() == epoll => lost(),
            Err(_) => {}
        }
    }

    /// Ends the wait of who polls. May be called before the wait begins: then it ends at once.
    pub(crate) fn wake(&self) {
        // ORDER: Acquire: as in `id`.
        let event = self.event.load(Ordering::Acquire);
        let one = 1_u64;
        let written = call(
            libc::SYS_write,
            [event as usize, &raw const one as usize, 8, 0, 0, 0],
        );
        // ORDER: Acquire: as in `id`.
        if written.is_err() && self.event.load(Ordering::Acquire) == event {
            // The counter itself does not overflow: that takes 2^64 wake-ups.
            lost();
        }
    }

    /// The runtime ends: its descriptors are closed, and who waits for files that are registered here (threads of other
    /// runtimes) registers them anew.
    pub(crate) fn close(&self) -> List<Task> {
        let mut ready = List::new();
        // ORDER: Relaxed: see `open`.
        let generation = self.generation.load(Ordering::Relaxed);
        if self.id() == 0 || generation != brigade_context::fork_generation() {
            // In the child of a fork the parent's carriers, one of which may have been polling, do not exist.
            return ready;
        }
        // The carrier that polls has been told to stop; nobody polls after this.
        while !self.try_claim() {
            sys::sched_yield();
        }
        // ORDER: AcqRel: as in `id`.
        let id = self.id.swap(0, Ordering::AcqRel);
        fd::for_each(|fd| fd.orphan(id, &mut ready));
        for place in [&self.epoll, &self.event] {
            // ORDER: AcqRel: nobody else uses the reactor any more.
            let number = place.swap(-1, Ordering::AcqRel);
            disown(number);
            let _ = call(libc::SYS_close, [number as usize, 0, 0, 0, 0, 0]);
        }
        // Last: until now `dup2` may have asked us to move.
        let me = ptr::from_ref(self);
        for place in KNOWN.lock().iter_mut() {
            if place.as_ref().is_some_and(|other| ptr::eq(other.0, me)) {
                *place = None;
            }
        }
        ready
    }
}

/// A descriptor of ours is gone.
#[cold]
fn lost() -> ! {
    crate::task::fatal(
        "brigade: the program closed the runtime's epoll or event descriptor by a raw system call; close only \
         descriptors that you opened, or use close, closefrom or close_range of libc",
    )
}

/// Removes a file from the reactor `id` before its number is closed: another descriptor may keep it alive.
pub(crate) fn unregister(id: u32, number: c_int) {
    let known = KNOWN.lock();
    for place in known.iter().flatten() {
        // SAFETY: a reactor leaves the list, under the lock held here, before it goes away.
        let reactor = unsafe { &*place.0 };
        if reactor.id() == id {
            let _ = control(reactor.epoll(), libc::EPOLL_CTL_DEL, number, 0);
        }
    }
}

/// The number belongs to a reactor from now on.
fn own(number: c_int) {
    if let Some(fd) = Fd::get(number) {
        let mut none = List::new();
        fd.renew(fact::OURS, &mut none);
    }
}

fn disown(number: c_int) {
    if let Some(fd) = Fd::if_any(number) {
        fd.learn(fd.facts(), 0, fact::OURS);
    }
}

/// Moves whichever reactor uses `number` to another one, because the caller is about to put a file there.
///
/// # Errors
///
/// The kernel's, when there is no other number.
pub(crate) fn evacuate(number: c_int) -> Result<(), c_int> {
    let mut moved = None;
    for place in KNOWN.lock().iter().flatten() {
        // SAFETY: a reactor leaves the list, under the lock held here, before it goes away.
        let reactor = unsafe { &*place.0 };
        for descriptor in [&reactor.epoll, &reactor.event] {
            // ORDER: Acquire: as in `id`.
            if descriptor.load(Ordering::Acquire) == number {
                let duplicate = libc::F_DUPFD_CLOEXEC as usize;
                let copy =
                    call(libc::SYS_fcntl, [number as usize, duplicate, 3, 0, 0, 0])? as c_int;
                // ORDER: Release: as in `open`. A carrier that still uses the old number gets an error or an
                // event of nobody, and looks again.
                descriptor.store(copy, Ordering::Release);
                moved = Some(copy);
            }
        }
    }
    if let Some(copy) = moved {
        own(copy);
        disown(number);
    }
    Ok(())
}

/// Before a fork: no other thread changes the list of reactors.
pub(crate) fn before_fork() {
    KNOWN.acquire();
}

/// After a fork, in the parent.
///
/// # Safety
///
/// [`before_fork`] was called on this thread.
pub(crate) unsafe fn after_fork() {
    // SAFETY: the caller's contract.
    unsafe { KNOWN.release() };
}

/// After a fork, in the child: the parent's reactors are not ours.
///
/// # Safety
///
/// As [`after_fork`], and the process has one thread.
pub(crate) unsafe fn forget_in_child() {
    // SAFETY: the caller's contract.
    unsafe { KNOWN.release() };
    for place in KNOWN.lock().iter_mut() {
        let Some(known) = place.take() else { continue };
        // SAFETY: the record is the parent's, copied; nobody uses it here.
        let reactor = unsafe { &*known.0 };
        for descriptor in [&reactor.epoll, &reactor.event] {
            // ORDER: Relaxed: one thread.
            let number = descriptor.swap(-1, Ordering::Relaxed);
            let _ = call(libc::SYS_close, [number as usize, 0, 0, 0, 0, 0]);
        }
        // ORDER: Relaxed: one thread.
        reactor.id.store(0, Ordering::Relaxed);
    }
}

fn deliver(events: u32, data: u64, ready: &mut List<Task>) {
    if data == WAKE {
        return;
    }
    let has = |bits: c_int| events & bits as u32 != 0;
    let over = has(libc::EPOLLHUP | libc::EPOLLERR);
    // A read stops before urgent data, however much comes behind.
    let read_end = over || has(libc::EPOLLRDHUP | libc::EPOLLPRI);
    let read = read_end || has(libc::EPOLLIN);
    let write = over || has(libc::EPOLLOUT);
    if let Some(fd) = Fd::if_any(data as u32 as c_int) {
        fd.deliver((data >> 32) as u32, read, write, [read_end, over], ready);
    }
}

fn control(epoll: c_int, operation: c_int, fd: c_int, data: u64) -> Result<(), c_int> {
    let event = libc::epoll_event {
        events: EVENTS,
        u64: data,
    };
    call(
        libc::SYS_epoll_ctl,
        [
            epoll as usize,
            operation as usize,
            fd as usize,
            &raw const event as usize,
            0,
            0,
        ],
    )
    .map(drop)
}

/// `epoll_pwait2`, or `epoll_wait` with its milliseconds where the kernel has no such call.
fn wait(
    epoll: c_int,
    events: &mut [MaybeUninit<libc::epoll_event>],
    until: Until,
) -> Result<usize, c_int> {
    static COARSE: AtomicBool = AtomicBool::new(false);
    let place = events.as_mut_ptr() as usize;
    let count = events.len();
    let coarse = |timeout_ms: c_int| {
        call(
            libc::SYS_epoll_pwait,
            [epoll as usize, place, count, timeout_ms as usize, 0, 8],
        )
    };
    let left_ns = match until {
        Until::Now => return coarse(0),
        Until::Deadline(NEVER) => return coarse(-1),
        Until::Deadline(deadline_ns) => deadline_ns.saturating_sub(now_ns()),
    };
    // ORDER: Relaxed: a fact about the kernel, found out again if need be.
    if !COARSE.load(Ordering::Relaxed) {
        let timeout = libc::timespec {
            tv_sec: (left_ns / 1_000_000_000) as i64,
            tv_nsec: (left_ns % 1_000_000_000) as i64,
        };
        let at = &raw const timeout as usize;
        match call(
            libc::SYS_epoll_pwait2,
            [epoll as usize, place, count, at, 0, 8],
        ) {
            // EPERM: some containers answer so to calls that they do not know.
            Err(libc::ENOSYS | libc::EPERM) => COARSE.store(true, Ordering::Relaxed), // ORDER: Relaxed: as for the load above.
            result => return result,
        }
    }
    let left_ms = left_ns.div_ceil(1_000_000).min(c_int::MAX as u64);
    coarse(left_ms as c_int)
}

impl Drop for Reactor {
    fn drop(&mut self) {
        // Whoever waits here belongs to a runtime that is gone as well, or has been woken by `close`.
        let _woken = self.close();
    }
}
