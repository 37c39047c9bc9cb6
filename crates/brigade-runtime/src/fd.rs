//! What is known of each descriptor number: readiness, who waits, and facts that save system calls.
//!
//! A table with one entry per number, for the whole process, because numbers belong to the process. Entries are made
//! when a chunk of the table is first needed and never freed.
//!
//! # Who owns what
//!
//! | field | written by |
//! |---|---|
//! | `state` | whoever learns a fact or closes the number, by compare-exchange |
//! | `words` | the poller (a new edge), a reader or writer (drained), who closes |
//! | `waiters` | under its lock: the lists, and which reactor the file is registered with |
//!
//! # Readiness
//!
//! Files are registered edge-triggered, so each change is reported once. A word counts the edges of one direction
//! (*tick*) and remembers in `DRAINED` that an attempt since the last edge found nothing left; then the next attempt
//! is pointless until the tick moves. `STICKY` says that the end, an error or urgent data was reported: from then on a
//! short read proves nothing.
//!
//! # Invariants
//!
//! 1. A thread takes [`Seen`] *before* its attempt and sets `DRAINED`, or waits, only if the word is still the same.
//!    An edge that comes after the attempt began therefore makes it try again: no edge is lost.
//! 2. `generation` (upper half of `state`) changes when the number is closed or re-used, and with it every word. What
//!    was learnt of the old file cannot be stored for the new one: all stores compare.
//! 3. Waiters live on the stacks of the threads that wait. A waiter leaves its list under the lock, by the hand of who
//!    fires it or of its own thread; it is `FIRED_PARKED` only if its thread was parked and has not been queued yet.
//!    The waiter of a future (`alarm.rs`) lives in memory that its owner keeps until it has taken it out itself or has
//!    been told that it fired.
//! 4. Facts about a file are kept only while no other descriptor shares it (`KNOWN`): made by a call that Brigade
//!    interposes, closed on exec, never duplicated, sent away or forked.
//!
//! # Rejected
//!
//! One table per runtime: closing would have to visit all. A hash map: a lock on every I/O. Freeing entries: others
//! may look at them at any time.

use std::cell::Cell;
use std::ptr::{self, NonNull};

use libc::c_int;

use crate::alarm::Alarm;
use crate::prim::{AtomicPtr, AtomicU8, AtomicU64, Lock, Ordering};
use crate::queue::List;
use crate::readiness::{Glance, Readiness};
use crate::task::Task;

/// Entries of a chunk.
const CHUNK: usize = 4096;
/// Chunks of the table: 16 million descriptors.
const CHUNKS: usize = 4096;

static TABLE: [AtomicPtr<Entry>; CHUNKS] = [const { AtomicPtr::new(ptr::null_mut()) }; CHUNKS];

/// A direction of input or output.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub enum Interest {
    /// Until something can be read, accepted, or the end or an error is there.
    Read = 0,
    /// Until something can be written, or an error is there.
    Write = 1,
}

/// Facts about a descriptor; see [`Fd::facts`].
pub mod fact {
    /// No other descriptor shares the file, and its flags are as noted here.
    pub const KNOWN: u32 = 1;
    /// `O_NONBLOCK` is set (with `KNOWN`).
    pub const NONBLOCK: u32 = 2;
    /// It is a stream socket.
    pub const STREAM: u32 = 4;
    /// It is another kind of socket.
    pub const SOCKET: u32 = 8;
    /// `preadv2` and `pwritev2` refuse `RWF_NOWAIT`.
    pub const NO_NOWAIT: u32 = 16;
    /// It cannot be waited for: an ordinary file.
    pub const PLAIN: u32 = 32;
    /// It once had a receive timeout or a send timeout; those of now are noted beside (with `KNOWN`).
    pub const TIMEOUTS: u32 = 64;
    /// It is no ordinary file.
    pub const FLOW: u32 = 256;
    /// It has a setting for which only the kernel knows when it may go on.
    pub const ODD: u32 = 512;
    /// It is a plain TCP socket: a short read means that it is empty. Other streams have boundaries at which a read
    /// stops: descriptors sent along, messages, records.
    pub const BARE: u32 = 2048;
    /// The kernel was asked for the flags since the number was made (with `KNOWN`): a crate that makes its own system
    /// calls may have set `O_NONBLOCK` on what another one made.
    pub const ASKED: u32 = 1024;
    /// It listens.
    pub const LISTENS: u32 = 4096;
    /// It may be closed unseen, so nothing is learnt of it.
    pub const LENT: u32 = 8192;
    /// It belongs to a reactor: for everyone else the number is not open.
    pub(crate) const OURS: u32 = 128;
}

const WAITING: u8 = 0;
/// Fired; the thread was awake. It must pass through the lock before it leaves.
const FIRED: u8 = 1;
/// Fired, and the thread was parked: it runs only after the firing is over.
const FIRED_PARKED: u8 = 2;

/// What is done when a waiter fires.
#[derive(Clone, Copy)]
enum Target {
    /// The thread is woken.
    Thread(NonNull<Task>),
    /// The alarm rings.
    Alarm(NonNull<Alarm>),
}

/// A thread or a future that waits for one direction of one descriptor.
pub(crate) struct Waiter {
    next: Cell<*const Waiter>,
    target: Target,
    state: AtomicU8,
}

/// What the lock of an entry protects.
struct Waiters {
    first: [*const Waiter; 2],
    /// The number of the reactor that the file is registered with, or 0.
    reactor: u32,
}

// SAFETY: the pointers are to waiters of invariant 3, which are shared under the lock.
unsafe impl Send for Waiters {}

/// The entry of one number; see the module.
#[repr(align(64))]
pub(crate) struct Entry {
    waiters: Lock<Waiters>,
    words: [Readiness; 2],
    state: AtomicU64,
    timeouts_ns: [AtomicU64; 2],
}

/// A descriptor number and what is known of it.
#[derive(Clone, Copy)]
pub struct Fd {
    number: c_int,
    entry: &'static Entry,
}

/// The readiness of a direction before an attempt.
#[derive(Clone, Copy, Debug)]
pub struct Seen {
    word: Glance,
    generation: u32,
}

/// Facts, and the file they are about.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct Facts(u64);

impl Facts {
    /// Whether all of `bits` hold.
    #[inline(always)]
    #[must_use]
    pub fn has(self, bits: u32) -> bool {
        self.0 as u32 & bits == bits
    }

    /// Whether one of `bits` holds.
    #[inline(always)]
    #[must_use]
    pub fn has_any(self, bits: u32) -> bool {
        self.0 as u32 & bits != 0
    }

    /// These facts and `bits`.
    #[must_use]
    pub fn and(self, bits: u32) -> Facts {
        Facts(self.0 | u64::from(bits))
    }

    fn generation(self) -> u32 {
        (self.0 >> 32) as u32
    }
}

/// Memory of zeros for a chunk: every entry of it is free, unregistered and unknown.
#[cold]
fn make_chunk(place: &AtomicPtr<Entry>) -> *mut Entry {
    let bytes = CHUNK * size_of::<Entry>();
    // SAFETY: a new anonymous mapping touches nothing that exists.
    let memory = unsafe {
        libc::mmap(
            ptr::null_mut(),
            bytes,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_PRIVATE | libc::MAP_ANONYMOUS | libc::MAP_NORESERVE,
            -1,
            0,
        )
    };
    if memory == libc::MAP_FAILED {
        return ptr::null_mut();
    }
    let chunk = memory.cast::<Entry>();
    // ORDER: AcqRel: publishes nothing but zeros, and sees the chunk of who was faster.
    match place.compare_exchange(
        ptr::null_mut(),
        chunk,
        Ordering::AcqRel,
        Ordering::Acquire, // ORDER: as above.
    ) {
        Ok(_) => chunk,
        Err(other) => {
            // SAFETY: mapped above and known to nobody.
            unsafe { libc::munmap(memory, bytes) };
            other
        }
    }
}

impl Fd {
    /// The entry of `number`; none for a negative or absurdly high one, or without memory for the table.
    #[inline]
    #[must_use]
    pub fn get(number: c_int) -> Option<Fd> {
        let index = usize::try_from(number).ok()?;
        let place = TABLE.get(index / CHUNK)?;
        // ORDER: Acquire: pairs with `make_chunk`.
        let mut chunk = place.load(Ordering::Acquire);
        if chunk.is_null() {
            chunk = make_chunk(place);
        }
        Fd::in_chunk(number, chunk)
    }

    /// The entry of `number` if it may hold anything.
    #[inline]
    #[must_use]
    pub fn if_any(number: c_int) -> Option<Fd> {
        let index = usize::try_from(number).ok()?;
        // ORDER: Acquire: pairs with `make_chunk`.
        let chunk = TABLE.get(index / CHUNK)?.load(Ordering::Acquire);
        Fd::in_chunk(number, chunk)
    }

    #[inline(always)]
    fn in_chunk(number: c_int, chunk: *mut Entry) -> Option<Fd> {
        if chunk.is_null() {
            return None;
        }
        // SAFETY: chunks are never freed, and zeros are a valid entry: a free lock, no waiters, no facts.
        let entry = unsafe { &*chunk.add(number as usize % CHUNK) };
        Some(Fd { number, entry })
    }

    /// The number.
    #[inline(always)]
    #[must_use]
    pub fn number(self) -> c_int {
        self.number
    }

    /// What is known of the file.
    #[inline(always)]
    #[must_use]
    pub fn facts(self) -> Facts {
        // ORDER: Acquire: pairs with the Release of `set_timeouts` and `learn`.
        Facts(self.entry.state.load(Ordering::Acquire))
    }

    /// Notes facts about the file of which `known` was read; nothing happens if the number was closed meanwhile.
    pub fn learn(self, known: Facts, set: u32, clear: u32) {
        let mut old = known.0;
        loop {
            let bits = (old as u32 | set) & !clear;
            let new = old & !u64::from(u32::MAX) | u64::from(bits);
            if new == old {
                return;
            }
            // ORDER: AcqRel: publishes the timeouts that `set_timeout_ns` stored before; Acquire as in `facts`.
            match self.entry.state.compare_exchange(
                old,
                new,
                Ordering::AcqRel,
                Ordering::Acquire, // ORDER: as above.
            ) {
                Ok(_) => return,
                Err(now) if Facts(now).generation() != known.generation() => return,
                Err(now) => old = now,
            }
        }
    }

    /// As [`Fd::learn`], but only if nothing was learnt since `known` was read; whether that was so.
    #[must_use]
    pub fn learn_unless_changed(self, known: Facts, set: u32, clear: u32) -> bool {
        let bits = (known.0 as u32 | set) & !clear;
        let new = known.0 & !u64::from(u32::MAX) | u64::from(bits);
        let exchanged = self.entry.state.compare_exchange(
            known.0,
            new,
            // ORDER: AcqRel, Acquire: as in `learn`.
            Ordering::AcqRel,
            Ordering::Acquire, // ORDER: as above.
        );
        exchanged.is_ok()
    }

    /// The noted timeout of a direction, nanoseconds; 0 for none. Valid with `KNOWN` and `TIMEOUTS`.
    #[must_use]
    pub fn timeout_ns(self, interest: Interest) -> u64 {
        // ORDER: Relaxed: the caller has read `TIMEOUTS` from `state`, which was stored after it.
        self.entry.timeouts_ns[interest as usize].load(Ordering::Relaxed)
    }

    /// Notes a timeout; the caller then learns `TIMEOUTS`.
    pub fn set_timeout_ns(self, interest: Interest, timeout_ns: u64) {
        // ORDER: Relaxed: published by `learn`.
        self.entry.timeouts_ns[interest as usize].store(timeout_ns, Ordering::Relaxed);
    }

    /// The readiness of a direction; to be taken before an attempt.
    #[inline(always)]
    #[must_use]
    pub fn seen(self, interest: Interest) -> Seen {
        let generation = self.facts().generation();
        Seen {
            word: self.entry.words[interest as usize].glance(),
            generation,
        }
    }

    /// Notes that an attempt found nothing, or less than it asked for where that proves the same.
    #[inline(always)]
    pub fn set_drained(self, interest: Interest, seen: Seen, by_short_read: bool) {
        self.entry.words[interest as usize].set_drained(seen.word, by_short_read);
    }

    /// From now on a short read proves nothing.
    #[cold]
    pub fn distrust_short_reads(self) {
        self.entry.words[Interest::Read as usize].set_sticky();
    }

    /// Whether the number still names the file that it named when `seen` was taken.
    #[must_use]
    pub fn is_same(self, seen: Seen) -> bool {
        self.facts().generation() == seen.generation
    }

    /// A number that changes when the descriptor's number names another file.
    #[must_use]
    pub fn incarnation(self) -> u32 {
        self.facts().generation()
    }

    /// Whether nothing has happened since `seen` was taken.
    #[must_use]
    pub fn is_still(self, interest: Interest, seen: Seen) -> bool {
        self.is_same(seen) && self.entry.words[interest as usize].is_still(seen.word)
    }

    /// The number is about to be closed, or names a new file of which `bits` are known. Returns the reactor that the
    /// old file was registered with, or 0.
    pub(crate) fn renew(self, bits: u32, ready: &mut List<Task>) -> u32 {
        let mut waiters = self.entry.waiters.lock();
        let mut old = self.facts().0;
        // ORDER: AcqRel on success, Acquire on failure: as in `learn`.
        while let Err(now) = self.entry.state.compare_exchange_weak(
            old,
            (old | u64::from(u32::MAX)).wrapping_add(1) | u64::from(bits),
            Ordering::AcqRel,
            Ordering::Acquire, // ORDER: as above.
        ) {
            old = now;
        }
        for interest in [Interest::Read, Interest::Write] {
            self.entry.words[interest as usize].advance(false, true);
            fire(&mut waiters, interest, ready);
        }
        std::mem::take(&mut waiters.reactor)
    }

    /// The number has been closed: a thread that began to wait after [`Fd::renew`] looks again.
    pub(crate) fn stir(self, ready: &mut List<Task>) {
        let mut waiters = self.entry.waiters.lock();
        for interest in [Interest::Read, Interest::Write] {
            if !waiters.first[interest as usize].is_null() {
                self.entry.words[interest as usize].advance(false, false);
                fire(&mut waiters, interest, ready);
            }
        }
    }

    /// Something about the file has changed that the reactor may not hear of: whoever waits looks again, and so does
    /// whoever is about to wait.
    pub(crate) fn disturb(self, ready: &mut List<Task>) {
        let mut waiters = self.entry.waiters.lock();
        for interest in [Interest::Read, Interest::Write] {
            self.entry.words[interest as usize].advance(false, false);
            fire(&mut waiters, interest, ready);
        }
    }

    /// Whether the entry holds nothing but, perhaps, facts.
    pub(crate) fn is_registered(self) -> bool {
        self.entry.waiters.lock().reactor != 0
    }

    /// Registers the file with a reactor without waiting for it; `register` as for [`Fd::enlist`].
    pub(crate) fn enroll(
        self,
        register: impl FnOnce(u32, u32) -> Result<u32, c_int>,
    ) -> Result<(), c_int> {
        let mut waiters = self.entry.waiters.lock();
        waiters.reactor = register(waiters.reactor, self.facts().generation())?;
        Ok(())
    }

    /// Whether a future waits.
    fn has_alarms(self) -> bool {
        let waiters = self.entry.waiters.lock();
        waiters.first.iter().any(|&first| {
            let mut at = first;
            // SAFETY: the waiters of the list are alive while the lock is held (invariant 3).
            while let Some(waiter) = unsafe { at.as_ref() } {
                if matches!(waiter.target, Target::Alarm(_)) {
                    return true;
                }
                at = waiter.next.get();
            }
            false
        })
    }

    /// By a poller: an event for the file of `generation`.
    pub(crate) fn deliver(
        self,
        generation: u32,
        read: bool,
        write: bool,
        end: [bool; 2],
        ready: &mut List<Task>,
    ) {
        let mut waiters = self.entry.waiters.lock();
        if self.facts().generation() != generation {
            return;
        }
        for (interest, wanted) in [(Interest::Read, read), (Interest::Write, write)] {
            if wanted {
                self.entry.words[interest as usize].advance(end[interest as usize], false);
                fire(&mut waiters, interest, ready);
            }
        }
    }

    /// By a reactor that goes away: the file is no longer registered, and who waits must register it anew.
    pub(crate) fn orphan(self, reactor: u32, ready: &mut List<Task>) {
        let mut waiters = self.entry.waiters.lock();
        if waiters.reactor != reactor {
            return;
        }
        waiters.reactor = 0;
        for interest in [Interest::Read, Interest::Write] {
            self.entry.words[interest as usize].advance(false, true);
            fire(&mut waiters, interest, ready);
        }
    }

    /// Puts `waiter` into the list of its direction unless there is something to do at once. `register` is called
    /// under the lock with the reactor that the file is registered with (0: none) and the generation; it returns
    /// the one it is registered with afterwards.
    pub(crate) fn enlist(
        self,
        interest: Interest,
        seen: Seen,
        waiter: &Waiter,
        register: impl FnOnce(u32, u32) -> Result<u32, c_int>,
    ) -> Result<Enlisted, c_int> {
        let mut waiters = self.entry.waiters.lock();
        let facts = self.facts();
        if facts.generation() != seen.generation {
            return Ok(Enlisted::Closed);
        }
        waiters.reactor = register(waiters.reactor, seen.generation)?;
        // Also of a file that was registered just now: the kernel then tells what it is ready for, which is not all that
        // `disturb` may have been told of.
        if !self.entry.words[interest as usize].is_still(seen.word) {
            return Ok(Enlisted::Ready);
        }
        waiter.next.set(waiters.first[interest as usize]);
        waiters.first[interest as usize] = waiter;
        Ok(Enlisted::Waits)
    }

    /// By the waiter's own thread, before the waiter goes away. True: it was fired.
    pub(crate) fn withdraw(self, interest: Interest, waiter: &Waiter) -> bool {
        // ORDER: Acquire: pairs with the Release in `fire`.
        if waiter.state.load(Ordering::Acquire) == FIRED_PARKED {
            return true;
        }
        let mut waiters = self.entry.waiters.lock();
        // ORDER: Relaxed: changes only under the lock.
        if waiter.state.load(Ordering::Relaxed) != WAITING {
            return true;
        }
        let mut at = waiters.first[interest as usize];
        if ptr::eq(at, waiter) {
            waiters.first[interest as usize] = waiter.next.get();
            return false;
        }
        // SAFETY: the waiters of the list are alive while the lock is held (invariant 3).
        while let Some(other) = unsafe { at.as_ref() } {
            if ptr::eq(other.next.get(), waiter) {
                other.next.set(waiter.next.get());
                break;
            }
            at = other.next.get();
        }
        false
    }
}

/// What became of [`Fd::enlist`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Enlisted {
    /// The waiter is in the list.
    Waits,
    /// Something has happened since the attempt.
    Ready,
    /// The number was closed since the attempt.
    Closed,
}

/// Takes all waiters of a direction out; parked ones are added to `ready`.
fn fire(waiters: &mut Waiters, interest: Interest, ready: &mut List<Task>) {
    let mut at = std::mem::replace(&mut waiters.first[interest as usize], ptr::null());
    // SAFETY: the waiters of the list are alive while the lock is held (invariant 3).
    while let Some(waiter) = unsafe { at.as_ref() } {
        at = waiter.next.get();
        // ORDER: Release: pairs with the Acquire of `withdraw` and `is_fired`.
        waiter.state.store(FIRED, Ordering::Release);
        let task = match waiter.target {
            Target::Thread(task) => task,
            Target::Alarm(alarm) => {
                // SAFETY: the alarm was aimed before its waiter was enlisted, and lives as long as the waiter, which
                // has just left the list by our hand.
                if let Some(answerer) = unsafe { Alarm::ring(alarm) } {
                    ready.push(answerer.as_ptr());
                }
                continue;
            }
        };
        // SAFETY: the thread does not end before it has passed through the lock that the caller holds.
        if unsafe { task.as_ref() }.park.notify() {
            // ORDER: Release: as above; the thread runs only after the caller has queued it.
            waiter.state.store(FIRED_PARKED, Ordering::Release);
            ready.push(task.as_ptr());
        }
    }
}

impl Waiter {
    /// A waiter of `task`, the running thread.
    pub(crate) fn new(task: NonNull<Task>) -> Waiter {
        Waiter::of(Target::Thread(task))
    }

    /// A waiter that rings `alarm`, which must live as long as the waiter.
    pub(crate) fn ringing(alarm: NonNull<Alarm>) -> Waiter {
        Waiter::of(Target::Alarm(alarm))
    }

    fn of(target: Target) -> Waiter {
        Waiter {
            next: Cell::new(ptr::null()),
            target,
            state: AtomicU8::new(WAITING),
        }
    }

    /// Whether it was taken out of its list.
    #[inline(always)]
    pub(crate) fn is_fired(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `fire`.
        self.state.load(Ordering::Acquire) != WAITING
    }
}

impl Seen {
    /// Whether an attempt is pointless: the last one left nothing, and nothing has happened since.
    #[inline(always)]
    #[must_use]
    pub fn is_drained(self) -> bool {
        self.word.is_drained()
    }
}

/// Calls `f` for every descriptor of which anything may be known.
pub(crate) fn for_each(mut f: impl FnMut(Fd)) {
    for (index, place) in TABLE.iter().enumerate() {
        // ORDER: Acquire: pairs with `make_chunk`.
        let chunk = place.load(Ordering::Acquire);
        if chunk.is_null() {
            continue;
        }
        for offset in 0..CHUNK {
            if let Some(fd) = Fd::in_chunk((index * CHUNK + offset) as c_int, chunk) {
                // ORDER: Relaxed: zeros mean that the entry was never used.
                if fd.entry.state.load(Ordering::Relaxed) != 0
                    || fd.entry.words[0].is_used()
                    || fd.is_registered()
                {
                    f(fd);
                }
            }
        }
    }
}

/// Whether a future waits for any descriptor.
pub(crate) fn has_alarms() -> bool {
    let mut any = false;
    for_each(|fd| any = any || fd.has_alarms());
    any
}

/// In the parent of a fork: the child shares all files now.
pub(crate) fn forget_facts_after_fork() {
    for_each(|fd| {
        let known = fd.facts();
        if known.has(fact::KNOWN) {
            fd.learn(known, 0, fact::KNOWN);
        }
    });
}

/// In the child of a fork: nobody waits, nothing is registered, and locks may have been held by threads that are gone.
///
/// # Safety
///
/// The process has one thread, which holds no lock of this table.
pub(crate) unsafe fn reset_in_child() {
    for place in &TABLE {
        // ORDER: Relaxed: one thread.
        let chunk = place.load(Ordering::Relaxed);
        if !chunk.is_null() {
            let bytes = CHUNK * size_of::<Entry>();
            // SAFETY: the mapping is ours and anonymous: afterwards it reads as zeros, as when it was made.
            unsafe { libc::madvise(chunk.cast(), bytes, libc::MADV_DONTNEED) };
        }
    }
}
