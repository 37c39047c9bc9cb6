//! New threads: the typed part of a record, and the handle that waits for it.
//!
//! # Who drops what
//!
//! Closure and result are foreign code's values; they are dropped only by foreign code's own threads:
//!
//! * the closure is moved to the new thread's stack before it is called;
//! * the result is taken by `join`, or dropped by whoever comes second: the thread that ends, or the drop of
//!   its handle. `flags` decides: each side sets its bit, the one that finds the other's bit drops the result.
//!
//! So the last reference to the record, which may be dropped in the scheduler, frees memory and runs nothing.
//!
//! # Order at the end of a thread
//!
//! Closure, result stored, `flags`, scope told, thread-local destructors, joiner woken. `join` therefore returns
//! after the destructors, as with kernel threads; a scope does not wait for them, as in std.

use std::alloc::Layout;
use std::any::Any;
use std::cell::UnsafeCell;
use std::io;
use std::marker::PhantomData;
use std::mem::{self, MaybeUninit};
use std::num::NonZeroU64;
use std::panic::{AssertUnwindSafe, Location, catch_unwind};
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use brigade_context::{self as context, SizeClass, run_destructors};
use brigade_event::WaitReason;

use crate::current::{self, park, park_again, unpark};
use crate::edges::{self, Target};
use crate::in_time::is_in_time;
use crate::prim::{
    AtomicBool, AtomicU8, AtomicUsize, NEVER, Ordering, fence, fence_light, kernel_thread,
};
use crate::processor::CREDIT_BATCH;
use crate::roster::{self, Wait};
use crate::sched;
use crate::shared::{Model, Shared};
use crate::task::{ScopeSeat, Task, TaskParts, TaskRef, TaskVtable, fatal, next_ids};
use crate::thread::Thread;

/// What a thread ends with: its value, or the payload of its panic.
pub type ThreadResult<T> = Result<T, Box<dyn Any + Send + 'static>>;

const FINISHED: u8 = 1;
const ABANDONED: u8 = 2;

/// The threads of a scope.
pub struct ScopeCount {
    running: AtomicUsize,
    panicked: AtomicBool,
    owner: TaskRef,
}

impl ScopeCount {
    /// The count of a scope that the current thread opens.
    #[must_use]
    pub fn new() -> Arc<ScopeCount> {
        Arc::new(ScopeCount {
            running: AtomicUsize::new(0),
            panicked: AtomicBool::new(false),
            owner: current::current(),
        })
    }

    /// Blocks the thread that opened the scope until no thread of it runs. True: one of them panicked and
    /// nobody took its result.
    #[track_caller]
    pub fn wait(&self) -> bool {
        // ORDER: Acquire: pairs with the Release in `leave`.
        if self.running.load(Ordering::Acquire) != 0 {
            self.wait_slow(Location::caller());
        }
        // ORDER: Relaxed: written before the Release in `leave`, or by this thread.
        self.panicked.load(Ordering::Relaxed)
    }

    fn wait_slow(&self, site: &'static Location<'static>) {
        let wait = Wait::new(WaitReason::Scope, std::ptr::from_ref(self).addr(), site);
        self.owner.begin_wait(&wait, false);
        // ORDER: SeqCst: what `check` wants before it; its partner is that of another thread.
        fence(Ordering::SeqCst);
        // A scope cannot be left, so the answer does not matter.
        let _ = edges::check(&self.owner, &wait, Target::Scope(wait.object));
        // ORDER: Acquire: as above.
        while self.running.load(Ordering::Acquire) != 0 {
            park_again(&self.owner, NEVER);
        }
        self.owner.end_wait();
    }

    fn enter(&self) {
        // ORDER: Relaxed: the thread that is counted starts afterwards.
        if self.running.fetch_add(1, Ordering::Relaxed) > usize::MAX / 2 {
            fatal("brigade: too many threads in one scope");
        }
    }

    fn mark_panicked(&self) {
        // ORDER: Relaxed: published by the Release in `leave`, or read by the same thread.
        self.panicked.store(true, Ordering::Relaxed);
    }

    fn leave(&self) {
        // ORDER: Release: what the thread did is visible to `wait`.
        if self.running.fetch_sub(1, Ordering::Release) == 1 {
            unpark(&self.owner);
        }
    }
}

enum Stage<F, T> {
    Pending(F),
    Running,
    Done(ThreadResult<T>),
}

/// The record of a thread with its closure or result. `task` is first, so a pointer to one is one to both.
#[repr(C)]
struct Cell<F, T> {
    task: Task,
    flags: AtomicU8,
    stage: UnsafeCell<Stage<F, T>>,
    scope: Option<Arc<ScopeCount>>,
}

impl<F: FnOnce() -> T, T> Cell<F, T> {
    const VTABLE: TaskVtable = TaskVtable {
        run: Self::run_green,
        dealloc: Self::dealloc,
        take: Self::take,
        abandon: Self::abandon,
        scope: Self::scope,
    };

    /// On the new green thread: everything up to the wake-up of the joiner.
    unsafe fn run_green(task: *mut Task) {
        // SAFETY: the vtable belongs to this type.
        unsafe { Self::execute(task) };
        run_destructors();
        // SAFETY: a running thread's record is alive.
        unsafe { Self::finish(task) };
    }

    /// Runs the closure and stores its result.
    unsafe fn execute(task: *mut Task) {
        let cell = task.cast::<Self>();
        // SAFETY: the record is alive, and until FINISHED is set the stage belongs to the running thread.
        unsafe {
            let Stage::Pending(f) = mem::replace(&mut *(*cell).stage.get(), Stage::Running) else {
                fatal("brigade: a thread was started twice")
            };
            let result = catch_unwind(AssertUnwindSafe(f));
            *(*cell).stage.get() = Stage::Done(result);
            // ORDER: AcqRel: Release publishes the result to the handle; Acquire sees that it was dropped.
            if (*cell).flags.fetch_or(FINISHED, Ordering::AcqRel) & ABANDONED != 0 {
                Self::drop_result(cell);
            }
            if let Some(scope) = &(*cell).scope {
                scope.leave();
            }
        }
    }

    unsafe fn finish(task: *mut Task) {
        // SAFETY: a running thread's record is alive.
        current::finish(unsafe { &*task });
    }

    /// Drops the result that nobody will take. A panic in its drop cannot go anywhere: abort, as std does.
    unsafe fn drop_result(cell: *mut Self) {
        // SAFETY: of thread and handle the caller came second, so the stage is the caller's.
        let stage = unsafe { mem::replace(&mut *(*cell).stage.get(), Stage::Running) };
        // SAFETY: the record is alive, and its scope is never written after the start.
        let scope = unsafe { (*cell).scope.as_ref() };
        if let (Stage::Done(Err(_)), Some(scope)) = (&stage, scope) {
            scope.mark_panicked();
        }
        if catch_unwind(AssertUnwindSafe(|| drop(stage))).is_err() {
            fatal("brigade: the result of a thread panicked when it was dropped");
        }
    }

    unsafe fn take(task: *mut Task, to: *mut ()) {
        let cell = task.cast::<Self>();
        // SAFETY: the thread is done and the caller is its only handle, so the stage is the caller's.
        match unsafe { mem::replace(&mut *(*cell).stage.get(), Stage::Running) } {
            // SAFETY: the caller is a `Join<T>`, which passes a place for this type.
            Stage::Done(result) => unsafe { to.cast::<ThreadResult<T>>().write(result) },
            _ => fatal("brigade: a thread ended without a result"),
        }
    }

    unsafe fn abandon(task: *mut Task) {
        let cell = task.cast::<Self>();
        // SAFETY: the caller's handle keeps the record alive.
        unsafe {
            // ORDER: AcqRel: as in `execute`.
            if (*cell).flags.fetch_or(ABANDONED, Ordering::AcqRel) & FINISHED != 0 {
                Self::drop_result(cell);
            }
        }
    }

    /// The scope, as long as it counts the thread.
    unsafe fn scope(task: *const Task) -> Option<ScopeSeat> {
        let cell = task.cast::<Self>();
        // SAFETY: the vtable belongs to this type, and the caller keeps the record alive; the scope is never written
        // after the start.
        let (scope, flags) = unsafe { ((*cell).scope.as_ref()?, &(*cell).flags) };
        // ORDER: Relaxed: asked by the thread itself, or while it is stopped.
        (flags.load(Ordering::Relaxed) & FINISHED == 0).then(|| ScopeSeat {
            owner: NonNull::from(&*scope.owner),
            object: Arc::as_ptr(scope).addr(),
        })
    }

    /// Undoes [`allocate`] for a thread that cannot be started: drops the closure and the thread's own reference.
    fn cancel(join: Join<T>) {
        let task = join.thread.0.as_ptr();
        let cell = task.cast::<Self>();
        // SAFETY: the thread was not started, so the closure and the thread's own reference are the caller's.
        unsafe {
            drop(mem::replace(&mut *(*cell).stage.get(), Stage::Running));
            if let Some(scope) = &(*cell).scope {
                scope.leave();
            }
            drop(TaskRef::from_raw(task));
        }
    }

    unsafe fn dealloc(task: *mut Task) {
        // SAFETY: allocated as a Box of this type; the last reference is gone.
        drop(unsafe { Box::from_raw(task.cast::<Self>()) });
    }
}

/// The handle of a thread: waits for its end and takes its result.
pub struct Join<T> {
    thread: Thread,
    kernel: Option<Box<kernel_thread::JoinHandle<()>>>,
    result: PhantomData<T>,
}

// SAFETY: a handle gives access to the `T` of another thread, which that thread has finished with.
unsafe impl<T> Send for Join<T> {}
// SAFETY: a shared handle gives no access to the `T`.
unsafe impl<T> Sync for Join<T> {}

impl<T> Join<T> {
    /// The thread.
    #[must_use]
    pub fn thread(&self) -> &Thread {
        &self.thread
    }

    /// True when the closure has ended.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        self.thread.0.is_done()
    }

    /// Blocks the current thread until this one has ended; its value or the payload of its panic.
    ///
    /// # Errors
    ///
    /// The payload of the thread's panic.
    #[track_caller]
    pub fn join(self) -> ThreadResult<T> {
        self.join_at(Location::caller())
    }

    /// As [`Join::join`], but until the deadline (nanoseconds of `CLOCK_MONOTONIC`).
    ///
    /// # Errors
    ///
    /// The handle, if the thread had not ended then.
    #[track_caller]
    pub fn join_until(self, deadline_ns: u64) -> Result<ThreadResult<T>, Join<T>> {
        if is_done_in_time(&self.thread.0, deadline_ns, Location::caller()) {
            Ok(self.take_result())
        } else {
            Err(self)
        }
    }

    /// As [`Join::join`], called at `site`.
    pub(crate) fn join_at(self, site: &'static Location<'static>) -> ThreadResult<T> {
        wait_done(&self.thread.0, site, true);
        self.take_result()
    }

    /// As [`Join::join`], called at `site`, and never left before the thread has ended: a circle of threads that wait for
    /// each other is reported and not left. For threads that borrow from the frame of the caller.
    ///
    /// # Errors
    ///
    /// The payload of the thread's panic.
    pub fn join_to_the_end(self, site: &'static Location<'static>) -> ThreadResult<T> {
        wait_done(&self.thread.0, site, false);
        self.take_result()
    }

    /// By the handle of a thread that is done.
    fn take_result(self) -> ThreadResult<T> {
        let mut this = mem::ManuallyDrop::new(self);
        if let Some(kernel) = this.kernel.take() {
            // The closure catches panics; what is left to wait for are the thread's destructors.
            let _ = kernel.join();
        }
        let mut result = MaybeUninit::<ThreadResult<T>>::uninit();
        let task = this.thread.0.as_ptr();
        // SAFETY: the thread is done, this was its handle, and the record is one of a thread that ends with a `T`;
        // `take` fills the place. `this` is never used again.
        unsafe {
            ((*task).vtable.take)(task, result.as_mut_ptr().cast());
            ptr::drop_in_place(&raw mut this.thread);
            result.assume_init()
        }
    }
}

impl<T> Drop for Join<T> {
    fn drop(&mut self) {
        // SAFETY: this was the thread's handle.
        unsafe { (self.thread.0.vtable.abandon)(self.thread.0.as_ptr()) }
    }
}

/// Waits for the end of a thread. If the wait closes a circle it may be left by a panic, where the caller allows it.
fn wait_done(task: &TaskRef, site: &'static Location<'static>, may_leave: bool) {
    if !task.is_done() {
        current::with(|me| {
            let wait = Wait::new(WaitReason::Join, task.entry().address(), site);
            me.begin_wait(&wait, false);
            if task.set_joiner(me) {
                if may_leave {
                    refuse_circle(me, &wait, task);
                } else {
                    // Whoever must stay has no use for the answer.
                    let _ = edges::check(me, &wait, Target::Thread(task));
                }
                while !task.is_done() {
                    park_again(me, NEVER);
                }
            }
            me.end_wait();
        });
    }
}

/// Waits until the thread is done, but not longer than the deadline; false: it is not.
fn is_done_in_time(task: &TaskRef, deadline_ns: u64, site: &'static Location<'static>) -> bool {
    let wait = Wait::new(WaitReason::Join, task.entry().address(), site);
    current::with(|me| {
        if task.is_done() || !task.set_leaving_joiner(me) {
            return true;
        }
        while !task.is_done() {
            if is_in_time(deadline_ns) {
                park(me, &wait, deadline_ns);
            } else if task.unset_leaving_joiner(me) {
                return false;
            } else {
                // It is about to say that it is done.
                park(me, &wait, NEVER);
            }
        }
        true
    })
}

/// Panics instead of a join that would never end, if that is what the program wants.
fn refuse_circle(me: &Task, wait: &Wait, task: &TaskRef) {
    if let Some(text) = edges::check(me, wait, Target::Thread(task))
        && task.unset_joiner(me)
    {
        edges::pass_search();
        me.end_wait();
        panic!("{text}");
    }
}

/// Blocks the current thread until its park token is there or the deadline has passed. True: it was there, and is taken.
#[track_caller]
pub fn park_for_token(deadline_ns: u64) -> bool {
    let wait = Wait::new(WaitReason::Park, 0, Location::caller());
    current::with(|me| wait_token(me, &wait, deadline_ns))
}

fn wait_token(me: &Task, wait: &Wait, deadline_ns: u64) -> bool {
    while !me.take_token() {
        if !is_in_time(deadline_ns) {
            return false;
        }
        park(me, wait, deadline_ns);
    }
    true
}

/// Blocks the current thread until the deadline has passed.
#[track_caller]
pub fn sleep_until(deadline_ns: u64) {
    let wait = Wait::new(WaitReason::Sleep, 0, Location::caller());
    current::with(|me| {
        while is_in_time(deadline_ns) {
            park(me, &wait, deadline_ns);
        }
    });
}

/// What a thread is spawned with.
pub struct SpawnOptions {
    /// The thread's name.
    pub name: Option<Box<str>>,
    /// The stack in bytes; the runtime's default if none.
    pub stack: Option<usize>,
    /// Where the thread was spawned.
    pub site: &'static Location<'static>,
    /// The scope that the thread belongs to.
    pub scope: Option<Arc<ScopeCount>>,
}

/// Spawns a thread on `shared`.
///
/// # Safety
///
/// What `f` and `T` borrow must outlive the thread (with a scope: until [`ScopeCount::wait`] has returned, else until
/// [`Join::join_to_the_end`] has), and both must be allowed to move to another thread.
pub(crate) unsafe fn spawn<F, T>(
    shared: &Shared,
    options: SpawnOptions,
    f: F,
) -> io::Result<Join<T>>
where
    F: FnOnce() -> T,
{
    if shared.model == Model::OneToOne {
        // SAFETY: the caller's promise.
        return unsafe { spawn_kernel(shared, options, f) };
    }
    let class = match options.stack {
        Some(bytes) => SizeClass::for_stack(bytes)?,
        None => shared.class,
    };
    if shared.generation != context::fork_generation() {
        return Err(io::Error::other(
            "cannot spawn a thread: its runtime was left behind by a fork; use a new one",
        ));
    }
    let join = allocate(shared, class, options, f)?;
    let started = if class == shared.class {
        start_inside(shared, join.thread.0.as_ptr())
    } else {
        Ok(false)
    };
    let started = match started {
        Ok(false) => start_outside(shared, class, join.thread.0.as_ptr()),
        Ok(true) => Ok(()),
        Err(error) => Err(error),
    };
    match started {
        Ok(()) => Ok(join),
        Err(error) => {
            Cell::<F, T>::cancel(join);
            Err(error)
        }
    }
}

/// Starts a new thread at the caller's processor. `Ok(false)`: the caller has none of this runtime.
#[inline(always)]
fn start_inside(shared: &Shared, task: *mut Task) -> io::Result<bool> {
    let mut fresh = 0;
    // SAFETY: a non-null carrier is the one this code runs on.
    while let Some(carrier) = unsafe { sched::here().as_ref() } {
        if carrier.home != shared.home().cast() || carrier.guest.get() {
            break;
        }
        let processor = sched::enter(carrier);
        // SAFETY: a non-null processor lives as long as the runtime.
        let Some(p) = (unsafe { processor.as_ref() }) else {
            carrier.handoff.exit();
            break;
        };
        // SAFETY: the carrier holds the processor; the reference ends before the thread is queued.
        let local = unsafe { p.local() };
        local.credits += mem::take(&mut fresh);
        if local.credits > 0 {
            local.credits -= 1;
            // SAFETY: nobody else knows the thread yet.
            unsafe {
                (*task).id = local.next_id();
                (*task).set_entry(local.entry());
            }
            p.spawned.bump();
            sched::ready_local(shared, p, task);
            sched::exit_or_yield(carrier, p);
            return Ok(true);
        }
        carrier.handoff.exit();
        fresh = reserve_some(shared.class)?;
    }
    if fresh > 0 {
        context::unreserve(shared.class, fresh);
    }
    Ok(false)
}

/// Reserves a batch of stacks, or one where a batch is too many.
#[cold]
fn reserve_some(class: SizeClass) -> io::Result<usize> {
    match context::reserve(class, CREDIT_BATCH) {
        Ok(()) => Ok(CREDIT_BATCH),
        Err(_) => reserve_one(class).map(|()| 1),
    }
}

/// Reserves one stack. A refusal is not final at once: processors that are about to go idle still hold
/// reservations of threads that have ended.
fn reserve_one(class: SizeClass) -> io::Result<()> {
    let mut refused = context::reserve(class, 1);
    for _ in 0..5 {
        if refused.is_ok() {
            break;
        }
        brigade_context::prim::sys::nanosleep(Duration::from_millis(1));
        refused = context::reserve(class, 1);
    }
    refused
}

/// Starts a new thread through the global queue.
#[cold]
fn start_outside(shared: &Shared, class: SizeClass, task: *mut Task) -> io::Result<()> {
    reserve_one(class)?;
    // SAFETY: a non-null carrier is the one this code runs on.
    let inside = unsafe { sched::here().as_ref() }
        .is_some_and(|carrier| carrier.home == shared.home().cast() && !carrier.guest.get());
    // Counted first: a close that does not see the count sees that nobody is left, and is seen below.
    shared.outside_spawned.add_shared(1);
    // ORDER: SeqCst: pairs with the fence in `stop_if_done`.
    fence(Ordering::SeqCst);
    if !inside && !shared.is_open() {
        shared.outside_finished.add_shared(1);
        if let Some(daemon) = shared.stop_if_done() {
            sched::ready(ptr::null(), shared.home().cast(), daemon.as_ptr());
        }
        context::unreserve(class, 1);
        return Err(io::Error::other(
            "cannot spawn a thread: the runtime is shutting down",
        ));
    }
    // SAFETY: nobody else knows the thread yet.
    unsafe {
        (*task).id = next_ids(1);
        (*task).set_entry(roster::fetch_one());
        // Nobody may have read the clock for long.
        (*task).born_ms = roster::now_ms();
    }
    sched::ready(ptr::null(), shared.home().cast(), task);
    Ok(())
}

/// Makes the record: one reference for the handle, one for the thread.
#[inline(always)]
fn allocate<F, T>(
    shared: &Shared,
    class: SizeClass,
    options: SpawnOptions,
    f: F,
) -> io::Result<Join<T>>
where
    F: FnOnce() -> T,
{
    let layout = Layout::new::<Cell<F, T>>();
    // SAFETY: the layout is not empty: it holds a Task.
    let memory = unsafe { std::alloc::alloc(layout) }.cast::<MaybeUninit<Cell<F, T>>>();
    // SAFETY: a non-null allocation of that layout.
    let Some(memory) = (unsafe { memory.as_mut() }) else {
        return Err(io::Error::new(
            io::ErrorKind::OutOfMemory,
            "cannot spawn a thread: no memory for its record",
        ));
    };
    if let Some(scope) = &options.scope {
        scope.enter();
    }
    let parts = TaskParts {
        vtable: &Cell::<F, T>::VTABLE,
        home: shared.home().cast(),
        name: options.name,
        site: options.site,
        class,
        id: NonZeroU64::MIN,
        refs: 2,
    };
    let task = if shared.model == Model::OneToOne {
        Task::kernel(parts)
    } else {
        Task::green(parts)
    };
    let cell = memory.write(Cell {
        task,
        flags: AtomicU8::new(0),
        stage: UnsafeCell::new(Stage::Pending(f)),
        scope: options.scope,
    });
    // SAFETY: a fresh record; one of its two references goes to the handle.
    let task = unsafe { TaskRef::from_raw(ptr::from_mut(cell).cast()) };
    Ok(Join {
        thread: Thread(task),
        kernel: None,
        result: PhantomData,
    })
}

/// A raw pointer that may go to another thread.
struct SendPtr(*mut Task);
// SAFETY: the record is `Sync` and counted.
unsafe impl Send for SendPtr {}

/// One kernel thread per thread.
unsafe fn spawn_kernel<F, T>(shared: &Shared, options: SpawnOptions, f: F) -> io::Result<Join<T>>
where
    F: FnOnce() -> T,
{
    let is_inside = || current::home().is_some_and(|home| ptr::eq(Arc::as_ptr(&home), shared));
    if !shared.is_open() && !is_inside() {
        return Err(io::Error::other(
            "cannot spawn a thread: the runtime is shutting down",
        ));
    }
    let mut builder = kernel_thread::Builder::new();
    if let Some(name) = &options.name {
        builder = builder.name(name.to_string());
    }
    if let Some(bytes) = options.stack.or(shared.explicit_stack) {
        SizeClass::for_stack(bytes)?;
        builder = builder.stack_size(bytes);
    }
    let mut join = allocate(shared, SizeClass::default(), options, f)?;
    let task = join.thread.0.as_ptr();
    // SAFETY: nobody else knows the thread yet.
    unsafe {
        (*task).id = next_ids(1);
        (*task).born_ms = roster::now_ms();
    }
    let task = SendPtr(join.thread.0.as_ptr());
    let home = shared.to_arc();
    home.kernel_thread_starts();
    shared.outside_spawned.add_shared(1);
    let started = builder.spawn(move || {
        let SendPtr(task) = { task };
        // SAFETY: the thread's own reference keeps the record alive; the caller of `spawn` promised that the
        // closure may run here.
        unsafe {
            current::set_current(TaskRef::acquire(task), Arc::clone(&home));
            Cell::<F, T>::execute(task);
            Cell::<F, T>::finish(task);
            drop(TaskRef::from_raw(task));
        }
        home.outside_finished.add_shared(1);
        fence_light();
        if home.is_closing() {
            let daemon = home.stop_if_done();
            debug_assert!(daemon.is_none(), "daemons are green threads");
        }
        home.kernel_thread_ends();
    });
    match started {
        Ok(kernel) => {
            join.kernel = Some(Box::new(kernel));
            Ok(join)
        }
        Err(error) => {
            shared.outside_finished.add_shared(1);
            shared.kernel_thread_ends();
            Cell::<F, T>::cancel(join);
            let text = format!(
                "cannot spawn a kernel thread: {error}; the limits are ulimit -u, \
                kernel.threads-max and vm.max_map_count"
            );
            Err(io::Error::new(error.kind(), text))
        }
    }
}

/// Spawns a thread of the runtime that the current green thread belongs to. `Err` hands both arguments back when
/// there is none.
///
/// # Errors
///
/// As [`crate::RuntimeHandle::spawn`].
#[inline]
pub fn spawn_here<F, T>(
    options: SpawnOptions,
    f: F,
) -> Result<io::Result<Join<T>>, (SpawnOptions, F)>
where
    F: FnOnce() -> T + Send + 'static,
    T: Send + 'static,
{
    // SAFETY: nothing is borrowed.
    unsafe { spawn_here_borrowing(options, f) }
}

/// As [`spawn_here`], for a thread that borrows.
///
/// # Errors
///
/// As [`crate::RuntimeHandle::spawn`].
///
/// # Safety
///
/// As [`crate::RuntimeHandle::spawn_borrowing`].
#[inline]
pub unsafe fn spawn_here_borrowing<F, T>(
    options: SpawnOptions,
    f: F,
) -> Result<io::Result<Join<T>>, (SpawnOptions, F)>
where
    F: FnOnce() -> T + Send,
    T: Send,
{
    // SAFETY: a non-null carrier is the one this code runs on.
    match unsafe { sched::here().as_ref() } {
        Some(carrier) if !carrier.guest.get() && !carrier.current.get().is_null() => {
            // SAFETY: the caller's promise, and both may move to another thread.
            Ok(unsafe { spawn(sched::shared_of(carrier), options, f) })
        }
        _ => Err((options, f)),
    }
}
