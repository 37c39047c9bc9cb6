//! What a pool is built with: [`Builder`], [`WhenFull`].

use std::io;
use std::num::NonZero;
use std::sync::Arc;
use std::thread;

use crate::pool::ThreadPool;
use crate::shared::Shared;

/// Kernel threads that a pool may have.
const MAX_THREADS: usize = 65_536;

/// What a pool does with a job that finds its queue full.
///
/// Jobs of a scope, and those of [`ThreadPool::map`], are neither refused nor dropped: their submitter waits, except under
/// [`RunHere`](WhenFull::RunHere). A thread of the pool never waits for room in its own queue: where another one would
/// wait, it runs the job itself.
#[derive(Clone, Copy, Debug, Default, PartialEq, Eq, Hash)]
#[non_exhaustive]
pub enum WhenFull {
    /// The submitter waits for room: a green thread parks, a kernel thread blocks. First come, first served.
    #[default]
    Block,
    /// The job is refused.
    Reject,
    /// The submitter runs the job itself, before `submit` returns.
    RunHere,
    /// The job takes the place of the oldest one in the queue that no scope waits for. If there is none, as `Block`.
    DropOldest,
}

/// Configures a [`ThreadPool`].
///
/// | setting | default |
/// |---|---|
/// | threads | the parallelism of the machine, honouring affinity and cgroup quota |
/// | name | `pool`: the threads are `pool-0`, `pool-1` and so on |
/// | stack size | that of [`std::thread::Builder`] |
/// | capacity | none: the queue grows |
/// | when full | [`WhenFull::Block`] |
///
/// # Examples
///
/// ```
/// use brigade_pool::{ThreadPool, WhenFull};
///
/// let pool = ThreadPool::builder()
///     .threads(2)
///     .name("images")
///     .capacity(100)
///     .when_full(WhenFull::RunHere)
///     .build()?;
/// assert_eq!(pool.submit(|| 1 + 1).join().unwrap(), 2);
/// # Ok::<(), std::io::Error>(())
/// ```
///
/// A mistake is an error:
///
/// ```
/// let error = brigade_pool::ThreadPool::builder().threads(0).build().unwrap_err();
/// assert_eq!(error.kind(), std::io::ErrorKind::InvalidInput);
/// ```
#[derive(Clone, Debug, Default)]
#[must_use = "a builder does nothing until it is built"]
pub struct Builder {
    threads: Option<usize>,
    name: Option<String>,
    stack_size: Option<usize>,
    capacity: Option<usize>,
    when_full: WhenFull,
}

impl Builder {
    /// A builder with the defaults.
    pub fn new() -> Builder {
        Builder::default()
    }

    /// The number of kernel threads.
    pub fn threads(mut self, threads: usize) -> Builder {
        self.threads = Some(threads);
        self
    }

    /// What the names of the threads begin with. The kernel shows the first 15 bytes of a name.
    pub fn name(mut self, name: impl Into<String>) -> Builder {
        self.name = Some(name.into());
        self
    }

    /// The stack of each thread in bytes.
    pub fn stack_size(mut self, bytes: usize) -> Builder {
        self.stack_size = Some(bytes);
        self
    }

    /// How many jobs the queue holds at most; those that run do not count.
    pub fn capacity(mut self, jobs: usize) -> Builder {
        self.capacity = Some(jobs);
        self
    }

    /// What to do with a job that finds the queue full.
    pub fn when_full(mut self, when_full: WhenFull) -> Builder {
        self.when_full = when_full;
        self
    }

    /// Starts the threads.
    ///
    /// # Errors
    ///
    /// `InvalidInput` for no threads, more than 65,536, a capacity of 0, or a name with a NUL byte; the kernel's error
    /// when it allows no more threads. Then none is left behind.
    pub fn build(self) -> io::Result<ThreadPool> {
        let threads = match self.threads {
            Some(threads) => threads,
            None => thread::available_parallelism().map_or(1, NonZero::get),
        };
        let name = self.name.as_deref().unwrap_or("pool");
        if threads == 0 || threads > MAX_THREADS {
            return Err(invalid(format!(
                "cannot build a pool with {threads} threads: at least 1, at most {MAX_THREADS}"
            )));
        }
        if self.capacity == Some(0) {
            return Err(invalid(
                "cannot build a pool with a queue of capacity 0: at least 1".into(),
            ));
        }
        if name.contains('\0') {
            return Err(invalid(
                "cannot build a pool: its name contains a NUL byte".into(),
            ));
        }
        let shared = Shared::new(self.capacity.unwrap_or(usize::MAX), self.when_full);
        let mut pool = ThreadPool::without_threads(Arc::clone(&shared));
        for number in 0..threads {
            let mut builder = thread::Builder::new().name(format!("{name}-{number}"));
            if let Some(bytes) = self.stack_size {
                builder = builder.stack_size(bytes);
            }
            let theirs = Arc::clone(&shared);
            shared.thread_starts();
            match builder.spawn(move || theirs.work()) {
                Ok(handle) => pool.adopt(handle),
                Err(error) => {
                    // The drop of the pool ends those that were started.
                    shared.thread_ends();
                    let text = format!(
                        "cannot build a pool: no kernel thread number {number} of {threads}: {error}"
                    );
                    return Err(io::Error::new(error.kind(), text));
                }
            }
        }
        Ok(pool)
    }
}

fn invalid(text: String) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidInput, text)
}
