//! Waiting for descriptors: the upper half of the reactor, which parks.
//!
//! The pattern of every blocking operation: take [`Seen`], try without blocking, and if that fails with `EAGAIN`
//! wait here and try again. What a wait costs depends on what is known: nothing for a file that only this
//! descriptor names (`fact::KNOWN`), else one `epoll_ctl` that registers it or proves that it still is.

use std::ptr::NonNull;

use brigade_context::prim::sys;
use brigade_event::WaitReason;
use libc::c_int;

use crate::cancel::{io_deadline_ns, is_io_over};
use crate::current::current_green;
use crate::fd::{self, Enlisted, Fd, Interest, Seen, Waiter, fact};
use crate::green::{Green, Runnable};
use crate::prim::{AtomicBool, NEVER, Ordering, now_ns};
use crate::queue::List;
use crate::reactor;
use crate::roster;
use crate::sched;
use crate::shared::Shared;
use crate::task::Task;

/// What ended a wait.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Wait {
    /// Something may have changed: try again.
    Ready,
    /// The deadline has passed.
    TimedOut,
    /// What the thread is in the middle of was cancelled.
    Cancelled,
    /// The number was closed, and may be another file by now.
    Closed,
}

/// One descriptor of several to wait for.
#[derive(Clone, Copy)]
pub struct Wanted {
    /// The descriptor.
    pub fd: Fd,
    /// The direction.
    pub interest: Interest,
    /// Taken before the look that found nothing.
    pub seen: Seen,
}

fn shared_here() -> &'static Shared {
    // SAFETY: called on a green thread, which runs on a carrier.
    let carrier = unsafe { &*sched::here() };
    // SAFETY: the runtime outlives its threads, and no caller keeps the reference for longer than its thread lives.
    unsafe { &*std::ptr::from_ref(sched::shared_of(carrier)) }
}

fn enlist(wanted: &Wanted, waiter: &Waiter) -> Result<Enlisted, c_int> {
    let shared = shared_here();
    let was_open = shared.reactor.is_open();
    let trusted = wanted.fd.facts().has(fact::KNOWN);
    let Wanted { fd, interest, seen } = *wanted;
    let enlisted = fd.enlist(interest, seen, waiter, |with, generation| {
        shared.reactor.register(fd, generation, with, trusted)
    });
    if !was_open {
        shared.see_to_polling();
    }
    enlisted
}

impl Green {
    fn to_wait(self) -> Result<NonNull<Task>, c_int> {
        NonNull::new(current_green())
            .filter(|_| self.is_on_own_stack())
            .ok_or(libc::EPERM)
    }

    /// Parks until `fd` may be ready, or the deadline (nanoseconds of `CLOCK_MONOTONIC`, `u64::MAX` for none).
    ///
    /// # Errors
    ///
    /// The kernel's number when the file cannot be waited for: `EPERM` for ordinary files and in a signal handler on a
    /// stack of its own, `EBADF`, `EMFILE` and `ENOMEM` when there is no reactor. Then the operation itself must block.
    pub fn wait_fd(
        self,
        fd: Fd,
        interest: Interest,
        seen: Seen,
        deadline_ns: u64,
    ) -> Result<Wait, c_int> {
        let task = self.to_wait()?;
        let waiter = Waiter::new(task);
        let wanted = Wanted { fd, interest, seen };
        match enlist(&wanted, &waiter)? {
            Enlisted::Ready => return Ok(Wait::Ready),
            Enlisted::Closed => return Ok(Wait::Closed),
            Enlisted::Waits => {}
        }
        let reason = match interest {
            Interest::Read => WaitReason::Read,
            Interest::Write => WaitReason::Write,
        };
        let waits = roster::Wait::anonymous(reason, fd.number() as usize);
        let limit_ns = io_deadline_ns(deadline_ns);
        while !waiter.is_fired() && may_wait(limit_ns) {
            self.park(&waits, limit_ns);
        }
        Ok(if !fd.withdraw(interest, &waiter) {
            gave_up()
        } else if fd.is_same(seen) {
            Wait::Ready
        } else {
            Wait::Closed
        })
    }

    /// Parks until one of several descriptors may be ready, or the deadline.
    ///
    /// # Errors
    ///
    /// As [`Green::wait_fd`], if one of them cannot be waited for.
    pub fn wait_fds(self, wanted: &[Wanted], deadline_ns: u64) -> Result<Wait, c_int> {
        let task = self.to_wait()?;
        let waiters: Vec<Waiter> = wanted.iter().map(|_| Waiter::new(task)).collect();
        let mut outcome = Ok(Wait::TimedOut);
        let mut enlisted = 0;
        for (wanted, waiter) in wanted.iter().zip(&waiters) {
            match enlist(wanted, waiter) {
                Ok(Enlisted::Waits) => enlisted += 1,
                Ok(Enlisted::Ready | Enlisted::Closed) => outcome = Ok(Wait::Ready),
                Err(error) => outcome = Err(error),
            }
            if outcome != Ok(Wait::TimedOut) {
                break;
            }
        }
        let limit_ns = io_deadline_ns(deadline_ns);
        while outcome == Ok(Wait::TimedOut)
            && !waiters.iter().any(Waiter::is_fired)
            && may_wait(limit_ns)
        {
            self.park(&roster::Wait::anonymous(WaitReason::Poll, 0), limit_ns);
        }
        if outcome == Ok(Wait::TimedOut) {
            outcome = Ok(gave_up());
        }
        for (wanted, waiter) in wanted.iter().zip(&waiters).take(enlisted) {
            if wanted.fd.withdraw(wanted.interest, waiter) && outcome.is_ok() {
                outcome = Ok(Wait::Ready);
            }
        }
        outcome
    }
}

/// Whether a wait until this deadline may go on.
#[inline]
fn may_wait(deadline_ns: u64) -> bool {
    (deadline_ns == u64::MAX || now_ns() < deadline_ns) && !is_io_over()
}

/// Why a wait gave up.
fn gave_up() -> Wait {
    if is_io_over() {
        Wait::Cancelled
    } else {
        Wait::TimedOut
    }
}

fn schedule(mut ready: List<Task>) {
    while let Some(task) = NonNull::new(ready.pop()) {
        Runnable::of(task).schedule();
    }
}

/// Polls the reactor of a runtime that has no carriers.
pub(crate) fn poll_for_ever(shared: &Shared) {
    if !shared.reactor.try_claim() {
        return;
    }
    loop {
        let mut ready = List::new();
        shared
            .reactor
            .poll(reactor::Until::Deadline(NEVER), &mut ready);
        schedule(ready);
    }
}

/// The number `fd` is about to be closed: forgets the file and wakes who waits for it. False: the number belongs to
/// Brigade, and the caller must answer that it is not open.
#[must_use]
pub fn closing(number: c_int) -> bool {
    let Some(fd) = Fd::if_any(number) else {
        return true;
    };
    let facts = fd.facts();
    if facts.has(fact::OURS) {
        return false;
    }
    if facts.has_any(u32::MAX) || fd.is_registered() {
        let mut ready = List::new();
        let reactor = fd.renew(0, &mut ready);
        if reactor != 0 && !facts.has(fact::KNOWN) {
            reactor::unregister(reactor, number);
        }
        schedule(ready);
    }
    true
}

/// The number has been closed, or names another file: who has begun to wait for it since [`closing`] tries again, and
/// hears from the kernel what is there.
pub fn closed(number: c_int) {
    if let Some(fd) = Fd::if_any(number)
        && fd.is_registered()
    {
        let mut ready = List::new();
        fd.stir(&mut ready);
        schedule(ready);
    }
}

/// A direction of the socket `number` has been shut, or both have: whoever waits for it tries again.
///
/// The kernel tells a reactor of that as of every change: by what the socket is ready for *now*. A Unix socket whose
/// peer reads nothing is ready for nothing when its own half is shut for writing (`unhinted`), though a write that waits
/// must end.
pub fn shut(number: c_int, unhinted: bool) {
    let Some(fd) = Fd::get(number) else {
        return;
    };
    let mut ready = List::new();
    fd.disturb(&mut ready);
    if unhinted && !fd.facts().has(fact::KNOWN) {
        // Other numbers may name the same socket.
        let own = identity(number);
        fd::for_each(|other| {
            let may_be =
                other.number() != number && !other.facts().has_any(fact::KNOWN | fact::OURS);
            if may_be && own.is_some() && identity(other.number()) == own {
                other.disturb(&mut ready);
            }
        });
    }
    schedule(ready);
}

/// What tells a file from all others: the same for all numbers that name it.
fn identity(number: c_int) -> Option<(u64, u64)> {
    let mut stat = std::mem::MaybeUninit::<libc::stat>::uninit();
    let arguments = [number as usize, stat.as_mut_ptr() as usize, 0, 0, 0, 0];
    // SAFETY: the place is as large as the kernel's structure; a number that is not open gives an error.
    let result = unsafe { sys::call(libc::SYS_fstat, arguments) };
    // SAFETY: the kernel has filled it.
    (result >= 0)
        .then(|| unsafe { stat.assume_init() })
        .map(|stat| (stat.st_dev, stat.st_ino))
}

/// Somebody may close `number` unseen (a `FILE` does): nothing is learnt of it until it is opened or closed again.
pub fn lent(number: c_int) {
    if let Some(fd) = Fd::get(number) {
        fd.learn(fd.facts(), fact::LENT, !(fact::LENT | fact::OURS));
    }
}

/// Set when the fork handlers are there: before that a fork would share files unseen.
static TRUSTED: AtomicBool = AtomicBool::new(false);

/// From now on files are known not to be shared by a fork unseen.
pub(crate) fn trust_facts() {
    // ORDER: Relaxed: a file that is taken for unknown costs a system call per wait, nothing else.
    TRUSTED.store(true, Ordering::Relaxed);
}

/// The number `fd` names a new file of which `bits` are known ([`fact`]).
pub fn opened(number: c_int, bits: u32) {
    let Some(fd) = Fd::get(number) else {
        return;
    };
    // ORDER: Relaxed: as in `trust_facts`.
    let trusted = TRUSTED.load(Ordering::Relaxed);
    let bits = if trusted { bits } else { bits & !fact::KNOWN };
    let mut ready = List::new();
    fd.renew(bits, &mut ready);
    schedule(ready);
}

/// Another descriptor shares the file of `number` from now on, perhaps in another process.
pub fn shared(number: c_int) {
    if let Some(fd) = Fd::if_any(number) {
        let facts = fd.facts();
        if facts.has(fact::KNOWN) {
            fd.learn(facts, 0, fact::KNOWN);
        }
    }
}

/// A file is about to be put at `number` (`dup2`): what Brigade keeps there moves elsewhere, what else was there is
/// forgotten.
///
/// # Errors
///
/// The kernel's number when there is no other place.
pub fn replacing(number: c_int) -> Result<(), c_int> {
    if closing(number) {
        return Ok(());
    }
    reactor::evacuate(number)
}

/// After a fork in the parent: the child shares all files.
pub(crate) fn after_fork_in_parent() {
    // SAFETY: `reactor::before_fork` was called by the handler that goes before this one.
    unsafe { reactor::after_fork() };
    fd::forget_facts_after_fork();
}

/// After a fork in the child: nobody else is there.
pub(crate) fn after_fork_in_child() {
    // SAFETY: the child of a fork has one thread, and it is in the fork handlers, where it holds no lock but the one
    // that `reactor::before_fork` took.
    unsafe {
        fd::reset_in_child();
        reactor::forget_in_child();
    }
}
