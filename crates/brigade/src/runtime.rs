//! Runtimes: how many processors, which model, how large the stacks.
//!
//! Most programs need none of this: the default runtime starts at the first [`crate::thread::spawn`] or
//! [`crate::run`].

use std::fmt;
use std::io;
use std::panic::Location;
use std::time::Duration;

use brigade_runtime::{RuntimeConfig, RuntimeHandle, SpawnOptions};

use crate::thread::JoinHandle;

pub use brigade_runtime::{Metrics, Model};

/// Configures a [`Runtime`].
///
/// | setting | default |
/// |---|---|
/// | workers | the parallelism of the machine, honouring affinity and cgroup quota |
/// | model | [`Model::ManyToMany`] |
/// | stack size | 256 KiB of address space per thread, of which only touched pages take memory |
/// | most carriers | 4096 kernel threads |
///
/// # Examples
///
/// ```
/// let runtime = brigade::runtime::Builder::new().workers(2).stack_size(64 * 1024).build()?;
/// assert_eq!(runtime.run(|| 1 + 1), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A mistake is an error, not a guess:
///
/// ```
/// let error = brigade::runtime::Builder::new().workers(0).build().unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    config: RuntimeConfig,
}

impl Builder {
    /// A builder with the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The number of processors: how many green threads run at the same time.
    pub fn workers(mut self, workers: usize) -> Builder {
        self.config.workers = Some(workers);
        self
    }

    /// How threads map to kernel threads. [`Model::ManyToOne`] has one worker whatever was asked for.
    pub fn model(mut self, model: Model) -> Builder {
        self.config.model = model;
        self
    }

    /// The stack of each thread in bytes, guard page and thread-local storage included; rounded up to a power of
    /// two of at least 16 KiB. At most 1 GiB.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.config.stack_size = Some(bytes);
        self
    }

    /// How many kernel threads the runtime may use, those that carry stuck green threads included. When they are
    /// used up, processors are no longer handed on, and stuck threads hold up others.
    pub fn max_carriers(mut self, carriers: usize) -> Builder {
        self.config.max_carriers = carriers;
        self
    }

    /// Test policy: every yield and every wake moves the thread to another processor.
    #[doc(hidden)]
    pub fn migrate_on_yield(mut self, migrate: bool) -> Builder {
        self.config.migrate_on_yield = migrate;
        self
    }

    /// Starts the runtime. May be called on any thread; a runtime that is started on a green thread is
    /// independent of that thread's own.
    ///
    /// Where the machine cannot have green threads (see `brigade doctor`), the model becomes
    /// [`Model::OneToOne`], which is said once on standard error.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for zero or more than 1024 workers, a stack size of zero or above 1 GiB, fewer carriers than
    /// workers. The kernel's error when it allows no kernel thread.
    pub fn build(self) -> io::Result<Runtime> {
        crate::hooks::check_once();
        self.config.build().map(|handle| Runtime {
            handle: Handle { inner: handle },
        })
    }
}

/// A runtime: processors and the threads that run on them.
///
/// # Dropping
///
/// Dropping a runtime neither blocks nor kills: no more threads can be spawned from outside, its threads run to
/// their end, and its kernel threads end with the last of them. To wait for that, use
/// [`Runtime::shutdown_timeout`].
#[derive(Debug)]
pub struct Runtime {
    handle: Handle,
}

impl Runtime {
    /// Runs `f` as a thread of this runtime and returns what it returns.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread until `f` has returned; a green thread, of this runtime or another, parks.
    ///
    /// # Panics
    ///
    /// With the panic of `f`, and if the thread cannot be spawned.
    #[track_caller]
    pub fn run<F, T>(&self, f: F) -> T
    where
        F: FnOnce() -> T + Send,
        T: Send,
    {
        self.handle.inner.run(f)
    }

    /// Spawns a thread on this runtime.
    ///
    /// # Panics
    ///
    /// If the thread cannot be spawned.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        self.handle.spawn(f)
    }

    /// A handle that can be cloned and sent, and that does not keep the runtime open.
    #[must_use]
    pub fn handle(&self) -> Handle {
        self.handle.clone()
    }

    /// The model that is really active.
    #[must_use]
    pub fn model(&self) -> Model {
        self.handle.inner.model()
    }

    /// What the runtime has done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.handle.inner.metrics()
    }

    /// Refuses new threads from outside and waits until all threads of the runtime and its kernel threads have
    /// ended.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread for at most `timeout`. On a green thread of this very runtime it cannot succeed,
    /// because that thread is still alive.
    ///
    /// # Errors
    ///
    /// [`ShutdownError`] when threads are left. They go on, as after a drop.
    ///
    /// # Examples
    ///
    /// ```
    /// use std::time::Duration;
    /// let runtime = brigade::runtime::Builder::new().workers(1).build()?;
    /// runtime.spawn(|| brigade::thread::sleep(Duration::from_millis(1)));
    /// assert!(runtime.shutdown_timeout(Duration::from_secs(10)).is_ok());
    ///
    /// let runtime = brigade::runtime::Builder::new().workers(1).build()?;
    /// runtime.spawn(|| loop { brigade::thread::park() });
    /// assert_eq!(runtime.shutdown_timeout(Duration::from_millis(1)).unwrap_err().alive(), 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn shutdown_timeout(self, timeout: Duration) -> Result<(), ShutdownError> {
        if self.handle.inner.shut_down(timeout) {
            Ok(())
        } else {
            Err(ShutdownError {
                alive: self.handle.inner.live(),
            })
        }
    }
}

impl Drop for Runtime {
    fn drop(&mut self) {
        self.handle.inner.close();
    }
}

/// A reference to a runtime through which threads can be spawned.
#[derive(Clone)]
pub struct Handle {
    pub(crate) inner: RuntimeHandle,
}

impl Handle {
    /// The runtime of the current green thread; on an ordinary kernel thread the default runtime, which is started
    /// if need be.
    ///
    /// # Panics
    ///
    /// If the default runtime cannot be started.
    #[must_use]
    #[track_caller]
    pub fn current() -> Handle {
        match crate::hooks::runtime_here() {
            Ok(inner) => Handle { inner },
            Err(error) => panic!("brigade: cannot start the default runtime: {error}"),
        }
    }

    /// Spawns a thread.
    ///
    /// # Panics
    ///
    /// If the thread cannot be spawned: a limit of the machine was hit, or the runtime is shutting down.
    #[track_caller]
    pub fn spawn<F, T>(&self, f: F) -> JoinHandle<T>
    where
        F: FnOnce() -> T + Send + 'static,
        T: Send + 'static,
    {
        let options = SpawnOptions {
            name: None,
            stack: None,
            site: Location::caller(),
            scope: None,
        };
        match self.inner.spawn(options, f) {
            Ok(join) => JoinHandle::new(join),
            Err(error) => panic!("brigade: failed to spawn a thread: {error}"),
        }
    }

    /// Starts a task on this runtime; see [`task::spawn`](crate::task::spawn).
    ///
    /// # Errors
    ///
    /// The runtime is shutting down, or has no thread for polling and cannot start one. The future is dropped.
    pub fn spawn_task<F>(&self, future: F) -> io::Result<crate::task::JoinHandle<F::Output>>
    where
        F: Future + Send + 'static,
        F::Output: Send + 'static,
    {
        brigade_task::spawn_on(&self.inner, future)
    }

    /// The number of processors; 0 with one kernel thread per thread is never returned.
    #[must_use]
    pub fn workers(&self) -> usize {
        self.inner.workers()
    }

    /// The model that is really active.
    #[must_use]
    pub fn model(&self) -> Model {
        self.inner.model()
    }

    /// What the runtime has done so far.
    #[must_use]
    pub fn metrics(&self) -> Metrics {
        self.inner.metrics()
    }
}

impl fmt::Debug for Handle {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Handle")
            .field("model", &self.inner.model())
            .field("workers", &self.inner.workers())
            .finish_non_exhaustive()
    }
}

/// [`Runtime::shutdown_timeout`] ran out of time.
#[derive(Debug)]
pub struct ShutdownError {
    alive: u64,
}

impl ShutdownError {
    /// How many threads were still alive. 0 when all had ended but their kernel threads had not yet.
    #[must_use]
    pub fn alive(&self) -> u64 {
        self.alive
    }
}

impl fmt::Display for ShutdownError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        write!(
            f,
            "the runtime did not shut down in time: {} threads are alive; end them, or give more time",
            self.alive
        )
    }
}

impl std::error::Error for ShutdownError {}
