//! A runtime from outside: made by [`RuntimeConfig::build`], used through [`RuntimeHandle`].
//!
//! # Default runtime
//!
//! The first use of a thread function outside any runtime starts the default one, which lives as long as the
//! process. In the child of a fork the parent's runtimes are gone with their kernel threads: a handle made before
//! the fork is stale there, and the default runtime is started anew when it is needed.

use std::io::{self, Write};
use std::num::NonZeroUsize;
use std::panic::{self, AssertUnwindSafe};
use std::sync::{Arc, Weak};
use std::time::Duration;

use brigade_context::{
    DEFAULT_STACK_SIZE, SizeClass, fork_generation, install_blocking, install_overflow_handler,
    on_fork_once, support,
};
use brigade_event::Metrics;

use crate::current;
use crate::green::{Green, Runnable};
use crate::io as descriptors;
use crate::outside;
use crate::prim::{AtomicBool, AtomicPtr, Ordering, deadline_after, kernel_thread, register_fence};
use crate::reactor;
use crate::sched;
use crate::shared::{Config, Extension, Model, Shared};
use crate::spawn::{self, Join, ScopeCount, SpawnOptions};

/// Kernel threads a runtime starts at most, by default.
pub const DEFAULT_MAX_CARRIERS: usize = 4096;
/// Processors a runtime may have.
pub const MAX_WORKERS: usize = 1024;

/// What a runtime is made with.
#[derive(Clone, Debug)]
pub struct RuntimeConfig {
    /// Processors; the machine's parallelism if none.
    pub workers: Option<usize>,
    /// The model.
    pub model: Model,
    /// The stack of a thread in bytes, if set.
    pub stack_size: Option<usize>,
    /// Kernel threads at most.
    pub max_carriers: usize,
    /// Test policy: each yield and wake moves the thread to another processor.
    pub migrate_on_yield: bool,
}

impl Default for RuntimeConfig {
    fn default() -> RuntimeConfig {
        RuntimeConfig {
            workers: None,
            model: Model::ManyToMany,
            stack_size: None,
            max_carriers: DEFAULT_MAX_CARRIERS,
            migrate_on_yield: false,
        }
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}

impl RuntimeConfig {
    /// Starts a runtime.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero or too many workers, a zero or absurd stack size, fewer carriers than workers;
    /// the kernel's error when it allows no kernel thread.
    pub fn build(&self) -> io::Result<RuntimeHandle> {
        let config = self.check()?;
        let shared = Shared::new(&config);
        let handle = RuntimeHandle { shared };
        outside::note_runtime();
        if config.model != Model::OneToOne {
            prepare_process()?;
            if config.model == Model::ManyToOne {
                // A wait without it would block the only kernel thread.
                handle.shared.reactor.open_early();
            }
            if let Err(error) = handle.start(config.model) {
                handle.close();
                let text =
                    format!("cannot build a runtime: no kernel thread for a carrier: {error}");
                return Err(io::Error::new(error.kind(), text));
            }
        }
        Ok(handle)
    }

    fn check(&self) -> io::Result<Config> {
        let workers = match self.workers {
            Some(0) => {
                return Err(invalid(
                    "cannot build a runtime: workers must be at least 1".into(),
                ));
            }
            Some(n) if n > MAX_WORKERS => {
                return Err(invalid(format!(
                    "cannot build a runtime: {n} workers are more than the limit of {MAX_WORKERS}"
                )));
            }
            Some(n) => n,
            None => kernel_thread::available_parallelism()
                .map_or(1, NonZeroUsize::get)
                .min(MAX_WORKERS),
        };
        let model = active_model(self.model);
        let workers = if model == Model::ManyToOne {
            1
        } else {
            workers
        };
        if self.max_carriers < workers {
            return Err(invalid(format!(
                "cannot build a runtime: max_carriers is {}, but {workers} workers need a kernel thread each",
                self.max_carriers
            )));
        }
        let class = SizeClass::for_stack(self.stack_size.unwrap_or(DEFAULT_STACK_SIZE))?;
        Ok(Config {
            model,
            workers,
            class,
            explicit_stack: self.stack_size,
            max_carriers: self.max_carriers,
            carrier_main: sched::carrier_main,
            migrate: self.migrate_on_yield && workers > 1,
        })
    }
}

/// The model that this machine allows where `wanted` is asked for. Says once on stderr if it is another one.
fn active_model(wanted: Model) -> Model {
    static SAID: AtomicBool = AtomicBool::new(false);
    if wanted == Model::OneToOne {
        return wanted;
    }
    match support() {
        Ok(_) => wanted,
        Err(reason) => {
            // ORDER: Relaxed: a message that is printed once.
            if !SAID.swap(true, Ordering::Relaxed) {
                let _ = writeln!(
                    io::stderr(),
                    "brigade: green threads are not possible here ({reason}); using one kernel thread per thread"
                );
            }
            Model::OneToOne
        }
    }
}

/// What has to be done once per process before the first carrier starts.
///
/// No lock: a fork in another thread would leave it held in the child for ever. Each caller does all steps before
/// it goes on, unless they are known to be done; they may be repeated.
fn prepare_process() -> io::Result<()> {
    static DONE: AtomicBool = AtomicBool::new(false);
    // ORDER: Acquire: pairs with the Release below.
    if DONE.load(Ordering::Acquire) {
        return Ok(());
    }
    install_overflow_handler(describe)?;
    install_blocking(run_blocking);
    register_fence();
    prepare_descriptors();
    // ORDER: Release: who sees it finds all steps done.
    DONE.store(true, Ordering::Release);
    Ok(())
}

/// What has to be done before the first reactor is opened; may be repeated.
fn prepare_descriptors() {
    static HANDLERS: AtomicBool = AtomicBool::new(false);
    current::register_fork_handlers();
    on_fork_once(
        &HANDLERS,
        reactor::before_fork,
        descriptors::after_fork_in_parent,
        in_child,
    );
    descriptors::trust_facts();
}

/// Makes a call of the context layer that blocks: without a processor, where the thread may switch.
fn run_blocking(call: &mut dyn FnMut()) {
    match Green::current().filter(|green| green.is_on_own_stack()) {
        Some(_) => current::blocking(call),
        None => call(),
    }
}

/// Writes the running green thread's name and number, `NAME (id N)`, for the reports of the context layer. Async-signal-safe.
fn describe(buffer: &mut [u8]) -> usize {
    let task = crate::current::current_green();
    // SAFETY: the running thread's record is alive.
    let Some(task) = (unsafe { task.as_ref() }) else {
        return 0;
    };
    let mut length = 0;
    let mut put = |bytes: &[u8]| {
        for &byte in bytes {
            if length < buffer.len() {
                buffer[length] = byte;
                length += 1;
            }
        }
    };
    put(task.name().unwrap_or("<unnamed>").as_bytes());
    put(b" (id ");
    let mut digits = [0_u8; 20];
    let mut at = digits.len();
    let mut number = task.id.get();
    loop {
        at -= 1;
        digits[at] = b'0' + (number % 10) as u8;
        number /= 10;
        if number == 0 {
            break;
        }
    }
    put(&digits[at..]);
    put(b")");
    length
}

/// In the child of a fork: the forking thread is alone. A green one keeps its carrier's kernel thread for
/// itself.
fn in_child() {
    descriptors::after_fork_in_child();
    // ORDER: Release: pairs with the load in `default_runtime`; one thread exists anyway.
    DEFAULT.store(std::ptr::null_mut(), Ordering::Release);
    // SAFETY: a non-null carrier is the one this code runs on.
    let Some(carrier) = (unsafe { sched::here().as_ref() }) else {
        return;
    };
    // SAFETY: the running thread's record is alive.
    if let Some(task) = unsafe { carrier.current.get().as_ref() } {
        task.become_kernel_thread();
        carrier.guest.set(true);
    }
}

static DEFAULT: AtomicPtr<Shared> = AtomicPtr::new(std::ptr::null_mut());

/// The runtime of the current thread, or the default one, which is started if need be.
///
/// # Errors
///
/// The default runtime could not be started.
pub fn current_or_default() -> io::Result<RuntimeHandle> {
    if let Some(handle) = RuntimeHandle::current() {
        return Ok(handle);
    }
    default_runtime()
}

/// The default runtime, which is started if need be.
///
/// # Errors
///
/// It could not be started.
pub(crate) fn default_runtime() -> io::Result<RuntimeHandle> {
    // ORDER: Acquire: pairs with the Release of the store below.
    let known = DEFAULT.load(Ordering::Acquire);
    // SAFETY: a pointer stored there came from an Arc that is never dropped.
    if let Some(shared) = unsafe { known.as_ref() }
        && shared.generation == fork_generation()
    {
        // SAFETY: as above; one more reference is counted for the handle.
        return Ok(unsafe { RuntimeHandle::from_ptr(known) });
    }
    let made = RuntimeConfig::default().build()?;
    let fresh = Arc::as_ptr(&made.shared).cast_mut();
    // ORDER: AcqRel / Acquire: publishes the runtime; the loser takes the winner's.
    match DEFAULT.compare_exchange(known, fresh, Ordering::AcqRel, Ordering::Acquire) {
        Ok(_) => {
            std::mem::forget(made.clone());
            Ok(made)
        }
        Err(winner) => {
            made.close();
            // SAFETY: a pointer stored in DEFAULT came from an Arc that is never dropped.
            Ok(unsafe { RuntimeHandle::from_ptr(winner) })
        }
    }
}

/// A reference to a runtime that does not keep it.
#[derive(Clone)]
pub struct WeakRuntime(Weak<Shared>);

impl WeakRuntime {
    /// The runtime, unless it is gone.
    #[must_use]
    pub fn upgrade(&self) -> Option<RuntimeHandle> {
        Some(RuntimeHandle {
            shared: self.0.upgrade()?,
        })
    }
}

/// A counted reference to a runtime.
#[derive(Clone)]
pub struct RuntimeHandle {
    shared: Arc<Shared>,
}

impl RuntimeHandle {
    fn start(&self, model: Model) -> io::Result<()> {
        for processor in &self.shared.processors {
            sched::launch_processor(&self.shared, processor)?;
        }
        if model == Model::ManyToMany {
            crate::monitor::start(&self.shared)?;
        }
        Ok(())
    }

    /// The runtime of the current thread, if it is a thread of one.
    #[inline]
    #[must_use]
    pub fn current() -> Option<RuntimeHandle> {
        // SAFETY: a non-null carrier is the one this code runs on.
        let Some(carrier) = (unsafe { sched::here().as_ref() }) else {
            return current::home().map(|shared| RuntimeHandle { shared });
        };
        if carrier.guest.get() || carrier.current.get().is_null() {
            return None;
        }
        // SAFETY: a carrier's runtime is alive and lives in an Arc.
        Some(unsafe { RuntimeHandle::from_ptr(carrier.home.cast::<Shared>()) })
    }

    /// # Safety
    ///
    /// `shared` must live in an `Arc`.
    unsafe fn from_ptr(shared: *const Shared) -> RuntimeHandle {
        // SAFETY: the caller's promise; the count is raised for the new handle.
        unsafe {
            Arc::increment_strong_count(shared);
            RuntimeHandle {
                shared: Arc::from_raw(shared),
            }
        }
    }

    /// Whether the runtime is that of the parent of this process, which was forked: nothing runs in it here.
    #[must_use]
    pub fn is_stale(&self) -> bool {
        self.shared.generation != fork_generation()
    }

    /// Whether both are the same runtime.
    #[must_use]
    pub fn is_same(&self, other: &RuntimeHandle) -> bool {
        Arc::ptr_eq(&self.shared, &other.shared)
    }

    /// What a layer above keeps for this runtime; `make` makes it, once. It lives as long as the runtime.
    pub fn extension(&self, make: impl FnOnce() -> Arc<dyn Extension>) -> &Arc<dyn Extension> {
        self.shared.extension_or(make)
    }

    /// A reference that does not keep the runtime.
    #[must_use]
    pub fn downgrade(&self) -> WeakRuntime {
        WeakRuntime(Arc::downgrade(&self.shared))
    }

    pub(crate) fn shared(&self) -> &Shared {
        &self.shared
    }

    /// Sees to it that somebody polls the runtime's reactor: with one kernel thread per thread there are no carriers to
    /// do so, and a kernel thread is started for it, once, which stays as long as the process.
    pub(crate) fn poll_descriptors(&self) -> io::Result<()> {
        // ORDER: Relaxed: only decides whether the exchange is worth it.
        let polled = self.shared.has_poller.load(Ordering::Relaxed);
        // ORDER: Relaxed: one thread sees false; it starts the poller, and nothing is published through the word.
        if self.shared.model != Model::OneToOne
            || polled
            || self.shared.has_poller.swap(true, Ordering::Relaxed)
        {
            return Ok(());
        }
        prepare_descriptors();
        self.shared.reactor.open_early();
        let shared = Arc::clone(&self.shared);
        let started = kernel_thread::Builder::new()
            .name("brigade-reactor".into())
            .spawn(move || descriptors::poll_for_ever(&shared));
        // ORDER: Relaxed: as above; the next one tries again.
        started.map(drop).inspect_err(|_| {
            self.shared.has_poller.store(false, Ordering::Relaxed);
        })
    }

    /// The model that is active.
    #[must_use]
    pub fn model(&self) -> Model {
        self.shared.model
    }

    /// The number of processors.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.shared.processors.len()
    }

    /// What the runtime has done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.shared.metrics()
    }

    /// Live threads.
    #[must_use]
    pub fn live(&self) -> u64 {
        self.shared.live()
    }

    /// Spawns a thread.
    ///
    /// # Errors
    ///
    /// The limit that was hit, by name; or that the runtime is shutting down.
    #[inline]
    pub fn spawn<F, T>(&self, options: SpawnOptions, f: F) -> io::Result<Join<T>>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        // SAFETY: nothing is borrowed, and both may move to another thread.
        unsafe { spawn::spawn(&self.shared, options, f) }
    }

    /// Spawns a thread that borrows.
    ///
    /// # Errors
    ///
    /// As [`RuntimeHandle::spawn`].
    ///
    /// # Safety
    ///
    /// What `f` and `T` borrow must live until [`ScopeCount::wait`] of `options.scope` has returned; if no scope is set,
    /// until [`Join::join_to_the_end`] of the handle has.
    pub unsafe fn spawn_borrowing<F, T>(&self, options: SpawnOptions, f: F) -> io::Result<Join<T>>
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        // SAFETY: the caller's promise.
        unsafe { spawn::spawn(&self.shared, options, f) }
    }

    /// Runs `f` as a thread of the runtime and blocks the current thread until it has ended.
    ///
    /// # Panics
    ///
    /// With the panic of `f`; and if the thread cannot be spawned.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        let scope = ScopeCount::new();
        let options = SpawnOptions {
            name: Some("main".into()),
            stack: None,
            site: panic::Location::caller(),
            scope: Some(Arc::clone(&scope)),
        };
        // SAFETY: the join below returns after the thread has ended, and nothing in between can unwind.
        let join = unsafe { self.spawn_borrowing(options, f) };
        let join = match join {
            Ok(join) => join,
            Err(error) => panic!("brigade: cannot run: {error}"),
        };
        let site = panic::Location::caller();
        let result = panic::catch_unwind(AssertUnwindSafe(|| join.join_at(site)));
        scope.wait();
        match result {
            Ok(Ok(value)) => value,
            Ok(Err(payload)) | Err(payload) => panic::resume_unwind(payload),
        }
    }

    /// Refuses spawns from outside from now on. The runtime's kernel threads end when its last thread has.
    pub fn close(&self) {
        if let Some(daemon) = self.shared.close() {
            Runnable::of(daemon).schedule();
        }
    }

    /// Closes the runtime and blocks the current thread until all of its threads have ended, or the time is
    /// over. True: they have.
    #[must_use]
    pub fn shut_down(&self, timeout: Duration) -> bool {
        self.close();
        let deadline_ns = deadline_after(timeout);
        current::blocking(|| self.shared.wait_ended(deadline_ns))
    }
}
