//! A thread as the runtime sees it: a counted record with a saved context.
//!
//! # Who owns what
//!
//! | field | written by | when |
//! |---|---|---|
//! | `context` | the carrier that switches away from the thread | before the park word says `PARKED` or the thread is queued |
//! | `slot` | the carrier that runs the thread first and last | while the thread is in no queue |
//! | `link` | whoever holds the list the thread is in | while it is in the list |
//! | `entry` | who starts the thread | before anybody else knows it |
//! | the rest of the cells | any thread, they are atomic | |
//!
//! # References
//!
//! The record is counted. A live thread holds one reference to itself, from the spawn to the moment when the
//! next thread on its carrier has retired its stack. Handles, timers and joiners hold one each. The last one
//! frees the record; by then closure and result are gone (see `spawn.rs`), so freeing runs no foreign code.
//!
//! # Kinds
//!
//! A green thread is woken by queueing it. A kernel thread that uses Brigade has a record too, so that it can
//! be a joiner, park and be unparked; it is woken through a futex on its park word. A green thread in the
//! child of a fork turns from the first kind into the second.

use std::cell::UnsafeCell;
use std::mem::offset_of;
use std::num::NonZeroU64;
use std::panic::Location;
use std::ptr::{self, NonNull};

use crate::park_word::{NOTIFIED, ParkWord};
use crate::prim::{AtomicPtr, AtomicU8, AtomicU32, AtomicU64, Ordering, fence};
use crate::queue::Link;
use crate::roster::{self, Entry, Wait};
use brigade_context::{Context, SizeClass, Slot, prim::sys};
use brigade_event::ThreadLabel;
use brigade_event::outside::{Word, Words};

/// How a record of a certain type is run and freed.
pub(crate) struct TaskVtable {
    /// Runs the thread's closure on the thread's own stack, and its destructors.
    pub(crate) run: unsafe fn(*mut Task),
    /// Frees the memory of the record.
    pub(crate) dealloc: unsafe fn(*mut Task),
    /// Moves the result of a thread that has ended to a place of the result's type.
    pub(crate) take: unsafe fn(*mut Task, *mut ()),
    /// The handle was dropped: nobody will take the result.
    pub(crate) abandon: unsafe fn(*mut Task),
    /// The scope that waits for the thread.
    pub(crate) scope: unsafe fn(*const Task) -> Option<ScopeSeat>,
}

/// A scope that waits for a thread.
#[derive(Clone, Copy)]
pub(crate) struct ScopeSeat {
    /// The thread that opened it.
    pub(crate) owner: NonNull<Task>,
    /// What the owner waits for.
    pub(crate) object: usize,
}

/// The record of a thread; see the module.
#[repr(C)]
pub(crate) struct Task {
    pub(crate) park: ParkWord,
    refs: AtomicU32,
    pub(crate) context: UnsafeCell<Context>,
    pub(crate) slot: UnsafeCell<Option<Slot>>,
    link: UnsafeCell<*mut Task>,
    /// Null, the thread that waits for this one's end (marked with [`MAY_LEAVE`]), [`ENDING`], or [`DONE`].
    joiner: AtomicPtr<Task>,
    pub(crate) vtable: &'static TaskVtable,
    /// The runtime the thread belongs to, as its module knows it; null for kernel threads.
    pub(crate) home: *const (),
    pub(crate) id: NonZeroU64,
    name: Option<Box<str>>,
    site: &'static Location<'static>,
    /// What others may ask about the thread; written by who starts it.
    entry: AtomicPtr<Entry>,
    /// When the thread was made, in milliseconds of the cheap clock.
    pub(crate) born_ms: u64,
    /// Times it was switched to, doubled, and [`RUNNING`]; written by its carrier.
    switches: AtomicU32,
    kind: AtomicU8,
    /// The token of `thread::park`.
    token: AtomicU8,
    pub(crate) class: SizeClass,
    pub(crate) timer_seq: AtomicU32,
    /// The processor the thread ran on last (for the migrating test policy).
    pub(crate) last_processor: AtomicU32,
}

const GREEN: u8 = 0;
const KERNEL: u8 = 1;
/// In `switches`: a carrier runs the thread.
const RUNNING: u32 = 1;

/// The value of `joiner` after the thread's end: a pointer that is no record.
const DONE: *mut Task = ptr::without_provenance_mut(1);
/// The value of `joiner` when the thread is about to say so to one that might have left.
const ENDING: *mut Task = ptr::without_provenance_mut(3);
/// Marks a joiner that may stop waiting before the end.
const MAY_LEAVE: usize = 2;

const _: () = assert!(align_of::<Task>() > 3);

/// The thread in a value of `joiner`; null if there is none.
fn joiner_of(value: *mut Task) -> *mut Task {
    if value == DONE || value == ENDING {
        ptr::null_mut()
    } else {
        value.map_addr(|address| address & !MAY_LEAVE)
    }
}

// SAFETY: the table in the module says who may touch the unsynchronised cells when; all hand-overs go through
// the park word, a queue or a lock.
unsafe impl Sync for Task {}
// SAFETY: as for `Sync`.
unsafe impl Send for Task {}

// SAFETY: `link` is used by nothing but `List`.
unsafe impl Link for Task {
    unsafe fn next(this: *mut Task) -> *mut Task {
        // SAFETY: the caller holds the list that `this` is in.
        unsafe { *(*this).link.get() }
    }

    unsafe fn set_next(this: *mut Task, next: *mut Task) {
        // SAFETY: the caller holds the list that `this` is in.
        unsafe { *(*this).link.get() = next }
    }
}

/// What a new record is made of.
pub(crate) struct TaskParts {
    pub(crate) vtable: &'static TaskVtable,
    pub(crate) home: *const (),
    pub(crate) name: Option<Box<str>>,
    pub(crate) site: &'static Location<'static>,
    pub(crate) class: SizeClass,
    pub(crate) id: NonZeroU64,
    pub(crate) refs: u32,
}

impl Task {
    /// The record of a green thread.
    #[inline(always)]
    pub(crate) fn green(parts: TaskParts) -> Task {
        Task::new(parts, GREEN)
    }

    /// The record of a kernel thread.
    pub(crate) fn kernel(parts: TaskParts) -> Task {
        Task::new(parts, KERNEL)
    }

    #[inline(always)]
    fn new(parts: TaskParts, kind: u8) -> Task {
        Task {
            park: ParkWord::new(),
            refs: AtomicU32::new(parts.refs),
            context: UnsafeCell::new(Context::empty()),
            slot: UnsafeCell::new(None),
            link: UnsafeCell::new(ptr::null_mut()),
            joiner: AtomicPtr::new(ptr::null_mut()),
            vtable: parts.vtable,
            home: parts.home,
            id: parts.id,
            name: parts.name,
            site: parts.site,
            entry: AtomicPtr::new(ptr::from_ref(roster::nobody()).cast_mut()),
            born_ms: roster::cheap_now_ms(),
            switches: AtomicU32::new(0),
            kind: AtomicU8::new(kind),
            token: AtomicU8::new(0),
            class: parts.class,
            timer_seq: AtomicU32::new(0),
            last_processor: AtomicU32::new(0),
        }
    }

    pub(crate) fn name(&self) -> Option<&str> {
        self.name.as_deref()
    }

    /// How reports name the thread.
    pub(crate) fn label(&self) -> ThreadLabel {
        ThreadLabel::new(self.id.get(), self.name())
    }

    pub(crate) fn site(&self) -> &'static Location<'static> {
        self.site
    }

    /// Where the thread was spawned; none for a kernel thread that Brigade did not start.
    pub(crate) fn spawn_site(&self) -> Option<&'static Location<'static>> {
        (!self.home.is_null()).then_some(self.site)
    }

    #[inline(always)]
    pub(crate) fn is_green(&self) -> bool {
        // ORDER: Relaxed: changes only in the child of a fork, where one thread exists.
        self.kind.load(Ordering::Relaxed) == GREEN
    }

    /// In the child of a fork: the thread is the only one and owns its kernel thread.
    pub(crate) fn become_kernel_thread(&self) {
        // ORDER: Relaxed: one thread exists.
        self.kind.store(KERNEL, Ordering::Relaxed);
    }

    /// The thread's entry in the roster.
    #[inline(always)]
    pub(crate) fn entry(&self) -> &'static Entry {
        // SAFETY: only references to entries are stored, which live for ever.
        // ORDER: Relaxed: an entry is all atomics, and needs no publishing.
        unsafe { &*self.entry.load(Ordering::Relaxed) }
    }

    /// By who starts the thread, before anybody else knows it, or by a kernel thread of itself: gives it an entry.
    #[inline(always)]
    pub(crate) fn set_entry(&self, entry: &'static Entry) {
        self.use_entry(entry);
        entry.bind(ptr::from_ref(self).cast_mut().cast());
    }

    /// By a kernel thread of itself: as [`Task::set_entry`], but the entry does not know of the record.
    pub(crate) fn use_entry(&self, entry: &'static Entry) {
        // ORDER: Relaxed: as in `entry`.
        self.entry
            .store(ptr::from_ref(entry).cast_mut(), Ordering::Relaxed);
    }

    /// By the thread itself: it is going to wait.
    #[inline(always)]
    pub(crate) fn begin_wait(&self, wait: &Wait, timed: bool) {
        self.entry().begin_wait(wait, timed, roster::cheap_now_ms());
    }

    /// By the thread itself: it waits no longer.
    #[inline(always)]
    pub(crate) fn end_wait(&self) {
        self.entry().end_wait();
    }

    /// By the carrier that switches to the thread.
    #[inline(always)]
    pub(crate) fn note_dispatch(&self) {
        // ORDER: Relaxed: one writer at a time, and a statistic.
        let switches = self.switches.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.switches
            .store(switches.wrapping_add(2) | RUNNING, Ordering::Relaxed);
    }

    /// By the thread itself, when it switches away.
    #[inline(always)]
    pub(crate) fn note_switch_away(&self) {
        // ORDER: Relaxed: as in `note_dispatch`.
        let switches = self.switches.load(Ordering::Relaxed);
        // ORDER: Relaxed: as above.
        self.switches.store(switches & !RUNNING, Ordering::Relaxed);
    }

    /// Times the thread was switched to, modulo 2^31.
    pub(crate) fn switches(&self) -> u32 {
        // ORDER: Relaxed: a statistic.
        self.switches.load(Ordering::Relaxed) >> 1
    }

    /// Whether a carrier runs the thread.
    pub(crate) fn is_running(&self) -> bool {
        // ORDER: Relaxed: a guess.
        self.switches.load(Ordering::Relaxed) & RUNNING != 0
    }

    /// Whether a green thread that waited has been woken and waits for a processor. It takes its wait back itself, when
    /// it runs.
    pub(crate) fn is_woken(&self) -> bool {
        self.is_green() && !self.is_running() && self.park.is_notified()
    }

    /// Leaves a token for `thread::park`. True: there was none.
    pub(crate) fn put_token(&self) -> bool {
        // ORDER: Release: what the unparker wrote is visible to the thread whose `take_token` acquires.
        self.token.swap(1, Ordering::Release) == 0
    }

    /// By the thread itself: takes the token of `thread::park`.
    pub(crate) fn take_token(&self) -> bool {
        // ORDER: Acquire: pairs with `put_token`.
        self.token.swap(0, Ordering::Acquire) == 1
    }

    /// True after the thread has ended and run its destructors.
    #[inline]
    pub(crate) fn is_done(&self) -> bool {
        // ORDER: Acquire: pairs with `finish`: the result and all effects of the thread are visible.
        self.joiner.load(Ordering::Acquire) == DONE
    }

    /// By the thread `waiter` itself: it is the one to wake at this thread's end, and will not go away before
    /// [`Task::is_done`] says true. False: the thread has ended. Only one thread may wait.
    pub(crate) fn set_joiner(&self, waiter: &Task) -> bool {
        let waiter = ptr::from_ref(waiter).cast_mut();
        // ORDER: AcqRel: Release hands the waiter's record to `joiner_at_end`; Acquire sees the end (as `is_done`).
        let before = self.joiner.compare_exchange(
            ptr::null_mut(),
            waiter,
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        before.is_ok()
    }

    /// As [`Task::set_joiner`], by a thread that may go away after [`Task::unset_leaving_joiner`].
    pub(crate) fn set_leaving_joiner(&self, waiter: &Task) -> bool {
        // ORDER: AcqRel: as in `set_joiner`.
        let before = self.joiner.compare_exchange(
            ptr::null_mut(),
            Self::leaving(waiter),
            Ordering::AcqRel,
            Ordering::Acquire,
        );
        before.is_ok()
    }

    fn leaving(waiter: &Task) -> *mut Task {
        let waiter = ptr::from_ref(waiter).cast_mut();
        waiter.map_addr(|address| address | MAY_LEAVE)
    }

    /// By the waiter of [`Task::set_leaving_joiner`]: it waits no longer. False: the thread has ended meanwhile, or is
    /// about to say so, and the waiter must not go away before.
    pub(crate) fn unset_leaving_joiner(&self, waiter: &Task) -> bool {
        // ORDER: Acquire: as `is_done`, on failure; on success nothing is read.
        let before = self.joiner.compare_exchange(
            Self::leaving(waiter),
            ptr::null_mut(),
            Ordering::Acquire,
            Ordering::Acquire,
        );
        before.is_ok()
    }

    /// By the waiter that was set: it waits no longer. False: the thread has ended meanwhile, or is about to say so.
    pub(crate) fn unset_joiner(&self, waiter: &Task) -> bool {
        let waiter = ptr::from_ref(waiter).cast_mut();
        // ORDER: Acquire: as `is_done`, on failure; on success nothing is read.
        let before = self.joiner.compare_exchange(
            waiter,
            ptr::null_mut(),
            Ordering::Acquire,
            Ordering::Acquire,
        );
        before.is_ok()
    }

    /// The thread that waits for the end of this one; it does not go away before that.
    pub(crate) fn joiner(&self) -> Option<NonNull<Task>> {
        // ORDER: Acquire: pairs with `set_joiner`.
        let joiner = self.joiner.load(Ordering::Acquire);
        // One that may leave has a deadline, and is no edge.
        NonNull::new(joiner_of(joiner)).filter(|_| joiner.addr() & MAY_LEAVE == 0)
    }

    /// The scope that waits for the thread, if any.
    pub(crate) fn scope(&self) -> Option<ScopeSeat> {
        // SAFETY: the vtable belongs to the record's type.
        unsafe { (self.vtable.scope)(self) }
    }

    /// By the thread itself, when all of its code has run. Null: nobody waits and the thread is done. Else the
    /// waiter, which stays where it is until [`Task::set_done`].
    #[inline]
    pub(crate) fn joiner_at_end(&self) -> *mut Task {
        let mut expected: *mut Task = ptr::null_mut();
        loop {
            let is_leaving = expected.addr() & MAY_LEAVE != 0;
            let next = if is_leaving { ENDING } else { DONE };
            // ORDER: AcqRel: Release publishes the thread's effects to `is_done`; Acquire takes over the waiter.
            let before =
                self.joiner
                    .compare_exchange(expected, next, Ordering::AcqRel, Ordering::Acquire);
            match before {
                // One that might leave cannot do so from here on.
                Ok(waiter) => return joiner_of(waiter),
                Err(waiter) if waiter.is_null() || waiter.addr() & MAY_LEAVE != 0 => {
                    expected = waiter;
                }
                Err(waiter) => return waiter,
            }
        }
    }

    /// By the thread itself, after [`Task::joiner_at_end`] named a waiter.
    #[inline]
    pub(crate) fn set_done(&self) {
        // ORDER: Release: publishes the thread's effects to `is_done`.
        self.joiner.store(DONE, Ordering::Release);
    }
}

/// A counted reference to a record.
pub(crate) struct TaskRef(NonNull<Task>);

// SAFETY: the record is `Sync`, and the count is atomic.
unsafe impl Send for TaskRef {}
// SAFETY: as for `Send`.
unsafe impl Sync for TaskRef {}

impl TaskRef {
    /// Takes over a reference.
    ///
    /// # Safety
    ///
    /// `task` must be a record, and one counted reference to it must be the caller's to give.
    #[inline(always)]
    pub(crate) unsafe fn from_raw(task: *mut Task) -> TaskRef {
        // SAFETY: a record is never at null.
        TaskRef(unsafe { NonNull::new_unchecked(task) })
    }

    /// Makes a new reference.
    ///
    /// # Safety
    ///
    /// `task` must be a record that somebody holds a reference to.
    #[inline(always)]
    pub(crate) unsafe fn acquire(task: *mut Task) -> TaskRef {
        // ORDER: Relaxed: a new reference is made from an existing one, which keeps the record alive.
        // SAFETY: the caller vouches for the record.
        let before = unsafe { (*task).refs.fetch_add(1, Ordering::Relaxed) };
        if before > u32::MAX / 2 {
            fatal("brigade: too many references to one thread");
        }
        // SAFETY: the reference that was counted above becomes the new value's.
        unsafe { TaskRef::from_raw(task) }
    }

    #[inline(always)]
    pub(crate) fn as_ptr(&self) -> *mut Task {
        self.0.as_ptr()
    }
}

impl Clone for TaskRef {
    fn clone(&self) -> TaskRef {
        // SAFETY: `self` is a reference.
        unsafe { TaskRef::acquire(self.0.as_ptr()) }
    }
}

impl std::ops::Deref for TaskRef {
    type Target = Task;
    #[inline(always)]
    fn deref(&self) -> &Task {
        // SAFETY: the reference keeps the record alive.
        unsafe { self.0.as_ref() }
    }
}

impl Drop for TaskRef {
    #[inline]
    fn drop(&mut self) {
        // ORDER: Acquire: the only reference left is this one, so nobody can make another; pairs with the Release of
        // the others' drops.
        if self.refs.load(Ordering::Acquire) == 1 {
            // SAFETY: this is the last reference.
            return unsafe { (self.vtable.dealloc)(self.0.as_ptr()) };
        }
        // ORDER: Release: all uses of the record happen before it is freed.
        if self.refs.fetch_sub(1, Ordering::Release) == 1 {
            // ORDER: Acquire: pairs with the Release of the other references' drops.
            fence(Ordering::Acquire);
            // SAFETY: this was the last reference.
            unsafe { (self.vtable.dealloc)(self.0.as_ptr()) }
        }
    }
}

/// Where the fields are, for readers outside the process.
pub(crate) const fn describe(words: Words) -> Words {
    words
        .number(Word::TaskSize, size_of::<Task>())
        .number(Word::TaskJoiner, offset_of!(Task, joiner))
        .address(Word::TaskDone, DONE.cast_const())
        .number(Word::TaskHome, offset_of!(Task, home))
        .number(Word::TaskId, offset_of!(Task, id))
        .number(Word::TaskName, offset_of!(Task, name))
        .number(Word::TaskSite, offset_of!(Task, site))
        .number(Word::TaskEntry, offset_of!(Task, entry))
        .number(Word::TaskBorn, offset_of!(Task, born_ms))
        .number(Word::TaskSwitches, offset_of!(Task, switches))
        .number(Word::TaskKind, offset_of!(Task, kind))
        .number(Word::TaskGreen, GREEN as usize)
        .number(Word::TaskPark, offset_of!(Task, park))
        .number(Word::TaskWoken, NOTIFIED as usize)
}

/// A fresh number for a thread. Never zero, never given twice.
pub(crate) fn next_ids(count: u64) -> NonZeroU64 {
    static NEXT: AtomicU64 = AtomicU64::new(1);
    // ORDER: Relaxed: the numbers only need to be different.
    let first = NEXT.fetch_add(count, Ordering::Relaxed);
    NonZeroU64::new(first).unwrap_or_else(|| fatal("brigade: thread numbers are exhausted"))
}

/// Ends the process because an invariant of the runtime is broken.
#[cold]
pub(crate) fn fatal(message: &'static str) -> ! {
    sys::write_stderr(message.as_bytes());
    sys::write_stderr(b"\n");
    std::process::abort()
}
