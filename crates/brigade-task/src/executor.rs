//! The executor of a runtime: its tasks are polled by green threads, the *pollers*.
//!
//! A poller takes a task from the queues, polls it, and takes the next. Since it is a green thread, a poll may do
//! whatever a green thread may: block in plain std code, take locks, compute. Then the other tasks are polled by another
//! poller, which is woken, or started, as soon as a task is queued and no poller searches (`gate.rs`). It waits in the
//! processor's run queue like any thread; if the poll blocks it runs at once, and if the poll computes the processor is
//! handed off. So nothing a task does freezes another.
//!
//! # How many pollers
//!
//! Under the model of many to many: as many as processors, one that searches, and one more for each poll that is held
//! up. Those that are left over sleep, [`KEPT`] for each processor; others end. Where a thread is a kernel thread
//! ([`Model::OneToOne`]) a poller that searches competes with those that poll, so it holds back as long as they get on.
//!
//! # Life
//!
//! A task that has not ended counts as `live`, as a thread would: a runtime that is closing waits for it. Pollers end
//! when it is closing and nothing is live. The executor belongs to the runtime and does not keep it; the pollers do, and
//! while something is live there is one, unless the runtime could not start it.
//!
//! A closing runtime refuses threads to who wakes a task from outside. So while it is closing a poller that goes to poll
//! sees to it that another one searches, and hence sleeps when it has found nothing: there is always one to be woken.
//!
//! # Forks
//!
//! In the child of a fork the parent's tasks do not exist: a waker that is called there does nothing, and leaks.
//!
//! # Rejected
//!
//! Tasks in the run queues of the processors, beside the threads: each place that takes something from a queue would
//! have to ask what it is, and the record of a thread, which is what the queues link, is larger than what a task may
//! cost. Polling on the scheduler's own stack: a poll that blocks would block the carrier, and the thread-locals of what
//! is polled would be the carrier's.

use std::cell::Cell;
use std::io;
use std::mem;
use std::panic::Location;
use std::ptr::{self, NonNull};
use std::sync::Arc;
use std::time::Duration;

use async_task::Builder;
use brigade_event::WaitReason;
use brigade_runtime::park::{is_turn_over, note_foreign_wakers, processor_hint, yield_now};
use brigade_runtime::{
    Extension, Model, RuntimeHandle, SpawnOptions, WeakRuntime, current_or_default,
};

use crate::gate::Gate;
use crate::join::{JoinHandle, Shielded};
use crate::prim::{AtomicBool, AtomicUsize, Bed, Ordering, Slept};
use crate::queue::Queues;

/// Pollers that sleep, for each processor.
const KEPT: usize = 2;
/// How long a poller that is a kernel thread holds back while others get on.
const HOLD_BACK: Duration = Duration::from_millis(1);

/// Bytes of a future that is boxed first. Without optimisation it is copied a dozen times on the way into its task, which
/// is more than a green thread has stack for.
const LARGE: usize = 2048;

/// What the cell of a task keeps: the executor, unless the task is local to a thread.
pub(crate) type Home = Option<Arc<Executor>>;
/// A task that is to be polled.
pub(crate) type Runnable = async_task::Runnable<Home>;

thread_local! {
    /// The executor that this thread is a poller of, which it keeps.
    static POLLS_FOR: Cell<*const Executor> = const { Cell::new(ptr::null()) };
}

/// See the module.
pub(crate) struct Executor {
    runtime: WeakRuntime,
    model: Model,
    workers: usize,
    gate: Gate,
    queues: Queues,
    /// Where pollers sleep.
    bed: Bed,
    /// Tasks that have not ended.
    live: AtomicUsize,
    /// Pollers that have not ended.
    pollers: AtomicUsize,
    sleepers: AtomicUsize,
    /// Tasks polled, modulo its size: whether the pollers get on.
    polls: AtomicUsize,
    is_closing: AtomicBool,
}

impl Extension for Executor {
    fn closing(&self) {
        // ORDER: SeqCst: in one order with `live`: the last task or this wakes the pollers that are to end.
        self.is_closing.swap(true, Ordering::SeqCst);
        if self.is_over() {
            self.bed.wake_all();
        } else if self.gate.claim_if(|| true) {
            self.rouse();
        }
    }
}

/// A task that has not ended. It lies in the task's cell, which keeps the executor.
pub(crate) struct Alive(NonNull<Executor>);

// SAFETY: the executor is shared.
unsafe impl Send for Alive {}

impl Alive {
    /// # Safety
    ///
    /// The executor must outlive the value.
    unsafe fn new(executor: &Executor) -> Alive {
        // ORDER: SeqCst: as in `closing`.
        if executor.live.fetch_add(1, Ordering::SeqCst) == 0 {
            note_foreign_wakers(true);
        }
        Alive(NonNull::from(executor))
    }
}

impl Drop for Alive {
    fn drop(&mut self) {
        // SAFETY: `new` was promised that the executor is still there.
        let executor = unsafe { self.0.as_ref() };
        // ORDER: SeqCst: as in `closing`.
        if executor.live.fetch_sub(1, Ordering::SeqCst) == 1 {
            note_foreign_wakers(false);
            if executor.is_over() {
                executor.bed.wake_all();
            }
        }
    }
}

/// The executor of a runtime.
fn of(runtime: &RuntimeHandle) -> Arc<Executor> {
    let make = || -> Arc<dyn Extension> {
        Arc::new(Executor {
            runtime: runtime.downgrade(),
            model: runtime.model(),
            workers: runtime.workers(),
            gate: Gate::new(),
            queues: Queues::new(runtime.workers()),
            bed: Bed::new(WaitReason::Tasks),
            live: AtomicUsize::new(0),
            pollers: AtomicUsize::new(0),
            sleepers: AtomicUsize::new(0),
            polls: AtomicUsize::new(0),
            is_closing: AtomicBool::new(false),
        })
    };
    let extension: Arc<dyn std::any::Any + Send + Sync> = Arc::clone(runtime.extension(make)) as _;
    match extension.downcast::<Executor>() {
        Ok(executor) => executor,
        Err(_) => panic!("the extension of a runtime is another one than this crate's executor"),
    }
}

/// Starts a task on the current thread's runtime, or on the default one: what `brigade::task::spawn` does once the hooks
/// have been checked, and where it is described.
///
/// A task costs its future or its output, whichever is larger, and at most 128 bytes.
///
/// # Blocking
///
/// Does not block.
///
/// # Panics
///
/// Where [`try_spawn`] returns an error.
///
/// # Examples
///
/// ```
/// use brigade_task::{block_on, spawn};
///
/// assert_eq!(block_on(spawn(async { 6 * 7 })).unwrap(), 42);
/// ```
#[track_caller]
pub fn spawn<F>(future: F) -> JoinHandle<F::Output>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    match try_spawn(future) {
        Ok(handle) => handle,
        Err(error) => panic!("brigade: cannot spawn a task: {error}"),
    }
}

/// As [`spawn`], but returns the error.
///
/// # Errors
///
/// The runtime cannot be started or is shutting down, or has no thread for polling and cannot start one. The future is
/// dropped.
pub fn try_spawn<F>(future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    spawn_on(&current_or_default()?, future)
}

/// As [`try_spawn`], on a certain runtime.
///
/// # Errors
///
/// As [`try_spawn`].
pub fn spawn_on<F>(runtime: &RuntimeHandle, future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    if size_of::<F>() > LARGE {
        start(runtime, Box::pin(future))
    } else {
        start(runtime, future)
    }
}

fn start<F>(runtime: &RuntimeHandle, future: F) -> io::Result<JoinHandle<F::Output>>
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    let executor = of(runtime);
    // ORDER: Relaxed: a task that comes at the same time is polled, or dropped by `drop_queued`.
    if executor.is_closing.load(Ordering::Relaxed) && !is_here(runtime) {
        return Err(io::Error::other("the runtime is shutting down"));
    }
    // SAFETY: `executor` goes into the cell of the task, where it is dropped after the future; until then it is here,
    // declared before.
    let alive = unsafe { Alive::new(&executor) };
    // The first poller is started here, where its error can be told.
    // ORDER: Relaxed: it never falls back to zero while something is live.
    if executor.pollers.load(Ordering::Relaxed) == 0 {
        executor.gate.search();
        executor.start_poller(runtime)?;
    }
    let shielded = Shielded::new(future, alive);
    let (task, handle) = Builder::new()
        .metadata(Some(executor))
        .spawn(|_| shielded, schedule);
    task.schedule();
    Ok(JoinHandle::new(handle))
}

/// By a waker: the task is to be polled. It has no state, which saves `async-task` two counts of references.
fn schedule(task: Runnable) {
    let Some(executor) = task.metadata() else {
        return;
    };
    if ptr::eq(POLLS_FOR.get(), Arc::as_ptr(executor)) {
        // SAFETY: a poller keeps its executor, and this is one. The task may be gone as soon as it is queued.
        let executor = unsafe { &*Arc::as_ptr(executor) };
        return executor.schedule(task);
    }
    let executor = Arc::clone(executor);
    executor.schedule(task);
}

/// Whether the current thread is one of the runtime's.
fn is_here(runtime: &RuntimeHandle) -> bool {
    RuntimeHandle::current().is_some_and(|current| current.is_same(runtime))
}

impl Executor {
    /// By a waker: the task is to be polled.
    #[inline]
    fn schedule(&self, task: Runnable) {
        if self.is_stale() {
            // Its future belongs to the parent of a fork.
            return mem::forget(task);
        }
        self.queues.push(processor_hint(), task);
        if self.gate.task_queued() {
            self.rouse();
        }
    }

    fn is_stale(&self) -> bool {
        brigade_runtime::raw::fork_generation() != 0
            && self
                .runtime
                .upgrade()
                .is_none_or(|runtime| runtime.is_stale())
    }

    /// Makes a poller search, which is counted already.
    #[cold]
    #[inline(never)]
    fn rouse(&self) {
        if self.bed.wake_one() {
            return;
        }
        let started = match self.runtime.upgrade() {
            Some(runtime) => self.start_poller(&runtime).is_ok(),
            None => {
                self.gate.stop_searching();
                false
            }
        };
        // Without memory for one more, those that are there must do.
        // ORDER: Relaxed: it does not rise again once the runtime refuses threads.
        if !started && self.pollers.load(Ordering::Relaxed) == 0 {
            self.drop_queued();
        }
    }

    /// Nobody will poll: the tasks are cancelled.
    fn drop_queued(&self) {
        while let Some(task) = self.queues.pop(0) {
            drop(task);
        }
    }

    /// Starts a poller that searches, which is counted already.
    fn start_poller(&self, runtime: &RuntimeHandle) -> io::Result<()> {
        // ORDER: Relaxed: a count; see `spawn_on`.
        self.pollers.fetch_add(1, Ordering::Relaxed);
        let options = SpawnOptions {
            name: Some("task poller".into()),
            stack: None,
            site: Location::caller(),
            scope: None,
        };
        let executor = of(runtime);
        let started = runtime.spawn(options, move || executor.run());
        if started.is_err() {
            // ORDER: Relaxed: as above.
            self.pollers.fetch_sub(1, Ordering::Relaxed);
            self.gate.stop_searching();
        }
        started.map(drop)
    }

    /// A poller. It begins as one that searches.
    fn run(&self) {
        POLLS_FOR.set(self);
        loop {
            if self.model == Model::OneToOne {
                self.hold_back();
            }
            if let Some(task) = self.queues.pop(processor_hint()) {
                self.poll_on(task);
            } else if !self.sleep() {
                break;
            }
        }
        // What is woken by the destructors of thread-locals may find the executor gone.
        POLLS_FOR.set(ptr::null());
        // ORDER: Relaxed: the fence in `claim_if` orders it before what is looked at there; its partner is the fence in
        // `stop_searching`, after which `rouse` looks at this count.
        self.pollers.fetch_sub(1, Ordering::Relaxed);
        // Who came after the last look, and could not start a poller, has relied on this one.
        if self.gate.claim_if(|| !self.queues.is_empty()) {
            self.rouse();
        }
    }

    /// Polls `first` and what comes after it, until there is nothing or others are to run. Then it searches again.
    fn poll_on(&self, first: Runnable) {
        // ORDER: SeqCst: as in `closing`, which sees to one more itself.
        let is_closing = || self.is_closing.load(Ordering::SeqCst);
        if self.gate.found(|| !self.queues.is_empty() || is_closing()) {
            self.rouse();
        }
        let mut next = Some(first);
        while let Some(task) = next {
            task.run();
            if self.model == Model::OneToOne {
                // ORDER: Relaxed: a statistic.
                self.polls.fetch_add(1, Ordering::Relaxed);
            }
            if is_turn_over() {
                self.gate.search();
                return yield_now();
            }
            next = self.queues.pop(processor_hint());
        }
        self.gate.search();
    }

    /// By one that searches and has found nothing: sleeps until it is to search. False: it is to end.
    fn sleep(&self) -> bool {
        self.gate.stop_searching();
        // ORDER: Relaxed: a limit, not an exact one.
        let is_kept = self.sleepers.fetch_add(1, Ordering::Relaxed) < KEPT * self.workers;
        let mut ends = false;
        let is_due = || {
            let is_empty = self.queues.is_empty();
            ends = is_empty && (!is_kept || self.is_over());
            is_empty && !ends
        };
        let slept = self.bed.sleep(Location::caller(), is_due);
        // ORDER: Relaxed: as above.
        self.sleepers.fetch_sub(1, Ordering::Relaxed);
        // Who wakes one has counted it (`rouse`).
        if slept != Slept::UntilOne && !ends {
            self.gate.search();
        }
        !ends
    }

    /// The runtime is closing, and no task is left.
    fn is_over(&self) -> bool {
        // ORDER: SeqCst: as in `closing`.
        self.is_closing.load(Ordering::SeqCst) && self.live.load(Ordering::SeqCst) == 0
    }

    /// By a kernel thread that searches: while as many as processors poll, and get on, it waits.
    #[cold]
    fn hold_back(&self) {
        // ORDER: Relaxed: guesses, here and below.
        let others = || {
            let (all, asleep) = (
                self.pollers.load(Ordering::Relaxed),
                self.sleepers.load(Ordering::Relaxed),
            );
            all.saturating_sub(asleep + 1)
        };
        while others() >= self.workers && !self.queues.is_empty() {
            // ORDER: Relaxed: a guess, here and below.
            let before = self.polls.load(Ordering::Relaxed);
            std::thread::sleep(HOLD_BACK);
            // ORDER: Relaxed: as above.
            if self.polls.load(Ordering::Relaxed) == before {
                break;
            }
        }
    }
}

/// Tasks of the current thread's runtime that have not ended.
///
/// # Examples
///
/// ```
/// use brigade_task::{live, spawn};
///
/// let task = spawn(std::future::pending::<()>());
/// assert!(live() >= 1);
/// # task.abort();
/// ```
#[must_use]
pub fn live() -> usize {
    // ORDER: Relaxed: a statistic.
    current_or_default().map_or(0, |runtime| of(&runtime).live.load(Ordering::Relaxed))
}
