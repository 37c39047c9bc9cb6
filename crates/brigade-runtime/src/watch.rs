//! Waiting for descriptors without a thread, for futures: the upper half of `alarm.rs`.
//!
//! A [`Watch`] is one place in the list of a descriptor's waiters. Its owner arms it, and is told through [`Alarms`]
//! when it fired. The pattern is that of `io.rs`: take [`Seen`], try without blocking, and if that fails with `EAGAIN`
//! arm the watch and try again when it fired.
//!
//! # Which reactor
//!
//! A file is registered with the reactor of the green thread that waits, elsewhere with the default runtime's, unless it
//! is registered already. Where green threads are not possible nobody polls that one: then a kernel thread is started
//! that does nothing else (`RuntimeHandle::poll_descriptors`).
//!
//! # Invariants
//!
//! 1. A watch is in a list of waiters, or in the list of alarms that rang, or at its owner's disposal. Its owner knows
//!    which after it has looked ([`Watch::disarm`]) or was told.
//! 2. Calls for one watch are made one after the other: its owner has a lock around them.

use std::cell::Cell;
use std::io;
use std::panic::Location;
use std::ptr::NonNull;

use brigade_context::prim::sys;
use brigade_event::WaitReason;
use libc::c_int;

use crate::alarm::{Alarm, Alarms};
use crate::fd::{Enlisted, Fd, Interest, Seen, Waiter, fact};
use crate::green::{Green, Runnable, with_current};
use crate::prim::AtomicPtr;
use crate::roster::Wait;
use crate::runtime::{current_or_default, default_runtime};
use crate::sched;
use crate::shared::Shared;
use crate::spawn::SpawnOptions;
use crate::task::TaskRef;
use crate::thread::Thread;

/// What became of [`Watch::arm`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Armed {
    /// It will fire.
    Waits,
    /// Something has happened since the attempt: try again.
    Again,
}

/// One place in a list of waiters; see the module.
#[repr(C)]
pub struct Watch {
    // Before the waiter, which points to it: both stay where they are while the watch is armed.
    alarm: Alarm,
    waiter: Cell<Option<Waiter>>,
    fd: Cell<Option<Fd>>,
    interest: Interest,
}

// SAFETY: the owner makes one call at a time (invariant 2); what others touch is protected by the lists' locks.
unsafe impl Send for Watch {}
// SAFETY: as for `Send`.
unsafe impl Sync for Watch {}

impl std::fmt::Debug for Watch {
    fn fmt(&self, f: &mut std::fmt::Formatter<'_>) -> std::fmt::Result {
        f.debug_struct("Watch")
            .field("interest", &self.interest)
            .finish_non_exhaustive()
    }
}

/// The runtime of the green thread that this code runs on.
fn home_of_green<'a>() -> Option<&'a Shared> {
    Green::current()?;
    // SAFETY: a green thread runs on a carrier, and its runtime outlives it; no caller keeps the reference for longer.
    Some(unsafe { &*std::ptr::from_ref(sched::shared_of(&*sched::here())) })
}

/// Calls `f` with the runtime whose reactor a wait of this thread belongs to.
fn with_home<R>(f: impl FnOnce(&Shared) -> R) -> Result<R, c_int> {
    if let Some(shared) = home_of_green() {
        return Ok(f(shared));
    }
    let home = default_runtime().map_err(|error| error.raw_os_error().unwrap_or(libc::EAGAIN))?;
    home.poll_descriptors()
        .map_err(|error| error.raw_os_error().unwrap_or(libc::EAGAIN))?;
    Ok(f(home.shared()))
}

/// A runtime that serves futures.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Home {
    /// That of the green thread that asks; on all other threads the default runtime.
    OfThread,
    /// The default runtime.
    Default,
}

impl Home {
    fn of_green<'a>(self) -> Option<&'a Shared> {
        (self == Home::OfThread).then(home_of_green).flatten()
    }
}

/// Calls `f` with the place where the layer above keeps what serves the futures of a runtime. It begins as null.
///
/// # Errors
///
/// The default runtime could not be started.
pub fn with_place<R>(home: Home, f: impl FnOnce(&AtomicPtr<()>) -> R) -> io::Result<R> {
    match home.of_green() {
        Some(shared) => Ok(f(&shared.futures)),
        None => Ok(f(&default_runtime()?.shared().futures)),
    }
}

/// Starts a thread of the runtime with this place.
///
/// # Errors
///
/// As [`RuntimeHandle::spawn`](crate::RuntimeHandle::spawn).
#[track_caller]
pub fn spawn_at_place(
    home: Home,
    name: &str,
    f: impl FnOnce() + Send + 'static,
) -> io::Result<Thread> {
    let runtime = match home.of_green() {
        Some(_) => current_or_default()?,
        None => default_runtime()?,
    };
    let options = SpawnOptions {
        name: Some(name.into()),
        stack: None,
        site: Location::caller(),
        scope: None,
    };
    Ok(runtime.spawn(options, f)?.thread().clone())
}

/// Makes `thread`, which was started by [`spawn_at_place`], the daemon of its runtime: that is not kept from ending by it,
/// but wakes it when it is the last thread ([`is_last`]). The default runtime does not end.
pub fn make_daemon(home: Home, thread: &Thread) {
    if let Some(shared) = home.of_green() {
        shared.set_daemon(Some(thread.0.clone()));
    }
}

/// By a daemon: whether its runtime is closing and waits for nobody else, so that it must end.
#[must_use]
pub fn is_last() -> bool {
    home_of_green().is_some_and(Shared::is_last)
}

fn register(
    shared: &Shared,
    fd: Fd,
    generation: u32,
    with: u32,
    trusted: bool,
) -> Result<u32, c_int> {
    let was_open = shared.reactor.is_open();
    let registered = shared.reactor.register(fd, generation, with, trusted);
    if !was_open {
        shared.see_to_polling();
    }
    registered
}

impl Watch {
    /// A watch for one direction, of no descriptor yet.
    #[must_use]
    pub fn new(interest: Interest) -> Watch {
        Watch {
            alarm: Alarm::new(),
            waiter: Cell::new(None),
            fd: Cell::new(None),
            interest,
        }
    }

    /// Waits for `fd`: when something has happened since `seen`, `alarms` will hand out `token`, once. `trusted`: the
    /// file was enrolled by the caller, and nobody can have closed it unseen since.
    ///
    /// # Errors
    ///
    /// The kernel's number when the file cannot be waited for.
    ///
    /// # Safety
    ///
    /// The watch must be at its owner's disposal, and must stay where it is, alive, until [`Watch::disarm`] has said
    /// true or the token was handed out.
    pub unsafe fn arm(
        &self,
        fd: Fd,
        seen: Seen,
        trusted: bool,
        alarms: &'static Alarms,
        token: usize,
    ) -> Result<Armed, c_int> {
        self.alarm.aim(alarms, token);
        self.waiter
            .set(Some(Waiter::ringing(NonNull::from(&self.alarm))));
        self.fd.set(Some(fd));
        let trusted = trusted || fd.facts().has(fact::KNOWN);
        let enlisted = with_home(|shared| {
            fd.enlist(self.interest, seen, self.waiter(), |with, generation| {
                register(shared, fd, generation, with, trusted)
            })
        })??;
        Ok(match enlisted {
            Enlisted::Waits => Armed::Waits,
            Enlisted::Ready | Enlisted::Closed => Armed::Again,
        })
    }

    fn waiter(&self) -> &Waiter {
        // SAFETY: the owner makes one call at a time, and the cell is only set while no list has the waiter.
        match unsafe { &*self.waiter.as_ptr() } {
            Some(waiter) => waiter,
            None => crate::task::fatal("brigade: a watch was used before it was armed"),
        }
    }

    /// Takes an armed watch out of its list. False: it has fired, and its token is about to be handed out.
    #[must_use]
    pub fn disarm(&self) -> bool {
        let Some(fd) = self.fd.get() else {
            return true;
        };
        !fd.withdraw(self.interest, self.waiter())
    }
}

/// Registers `fd`, so that what happens to it is noted from now on, and nothing has to be asked at its waits.
///
/// # Errors
///
/// The kernel's number when the file cannot be waited for: `EPERM` for ordinary files.
pub fn enroll(fd: Fd) -> Result<(), c_int> {
    with_home(|shared| fd.enroll(|with, generation| register(shared, fd, generation, with, false)))?
}

/// Makes operations on `fd` return at once with `EAGAIN` where they would wait.
///
/// # Errors
///
/// The kernel's number.
pub fn set_nonblocking(fd: Fd) -> Result<(), c_int> {
    let on: c_int = 1;
    let arguments = [
        fd.number() as usize,
        libc::FIONBIO as usize,
        &raw const on as usize,
        0,
        0,
        0,
    ];
    let facts = fd.facts();
    // SAFETY: the kernel reads the word, which outlives the call.
    let result = unsafe { sys::call(libc::SYS_ioctl, arguments) };
    if result < 0 {
        return Err(-result as c_int);
    }
    fd.learn(facts, fact::NONBLOCK | fact::ASKED, 0);
    Ok(())
}

/// Whether an operation on `fd` would not wait, by the kernel's word at this moment.
///
/// # Errors
///
/// `EBADF` when the number is not open.
pub fn is_ready(fd: Fd, interest: Interest) -> Result<bool, c_int> {
    let mut wanted = libc::pollfd {
        fd: fd.number(),
        events: match interest {
            // Not `POLLPRI`: a read does not give urgent data, and would wait.
            Interest::Read => libc::POLLIN | libc::POLLRDHUP,
            Interest::Write => libc::POLLOUT,
        },
        revents: 0,
    };
    let at_once = libc::timespec {
        tv_sec: 0,
        tv_nsec: 0,
    };
    let place = &raw mut wanted as usize;
    let arguments = [place, 1, &raw const at_once as usize, 0, 8, 0];
    // SAFETY: both places outlive the call, and there is one entry.
    let result = unsafe { sys::call(libc::SYS_ppoll, arguments) };
    match result {
        _ if result < 0 => Err(-result as c_int),
        _ if wanted.revents & libc::POLLNVAL != 0 => Err(libc::EBADF),
        _ => Ok(result > 0),
    }
}

impl Alarms {
    /// Makes the current thread the one that answers, for good.
    pub fn be_answerer(&self) {
        with_current(|me| {
            // SAFETY: the current thread holds a reference to itself.
            self.set_answerer(unsafe { TaskRef::acquire(me.sleeper().task().as_ptr()) });
        });
    }

    /// By the answerer: parks until an alarm rings, somebody calls [`Alarms::rouse`], the deadline passes (nanoseconds of
    /// `CLOCK_MONOTONIC`, `u64::MAX` for none), or for no reason.
    pub fn wait(&self, deadline_ns: u64) {
        if self.is_silent() {
            with_current(|me| me.park(&Wait::anonymous(WaitReason::Alarm, 0), deadline_ns));
        }
    }

    /// By the answerer, which is about to end: leaves all alarms, now and later, to the answerer of `successor`.
    pub fn retire(&self, successor: &'static Alarms) {
        if let Some(answerer) = self.hand_over(successor) {
            Runnable::of(answerer).schedule();
        }
    }

    /// Makes the answerer's present or next wait return.
    pub fn rouse(&self) {
        if let Some(answerer) = self.stir() {
            Runnable::of(answerer).schedule();
        }
    }
}
