//! Threads of either kind that begin a loop together, and what each of them used.
//!
//! Without a starting line a thread may be over before the next one begins, and loops that are to disturb
//! each other run one after the other. Whether they really ran at the same time is read from the CPU time
//! they used, and never taken for granted.

use std::sync::atomic::{AtomicUsize, Ordering};
use std::thread;
use std::time::{Duration, Instant};

use crate::experiment::ArmError;
use crate::green::{self, Green, Model};
use crate::probe;

/// The starting line of a fixed number of threads.
pub(crate) struct Start {
    ready: AtomicUsize,
    threads: usize,
}

/// When one thread began and ended its loop, and the CPU time it used in between.
#[derive(Clone, Copy)]
pub(crate) struct Span {
    pub(crate) begun: Instant,
    pub(crate) ended: Instant,
    pub(crate) cpu_ns: f64,
}

impl Span {
    /// Runs `work`. The CPU time is that of the kernel thread: on a green thread that parks in `work` it
    /// means nothing.
    pub(crate) fn of(work: impl FnOnce()) -> Self {
        let cpu_before = probe::thread_cpu_time_ns();
        let begun = Instant::now();
        work();
        let ended = Instant::now();
        let cpu_ns = probe::thread_cpu_time_ns() - cpu_before;
        Self {
            begun,
            ended,
            cpu_ns,
        }
    }

    /// Between beginning and end, in nanoseconds.
    pub(crate) fn elapsed_ns(&self) -> f64 {
        (self.ended - self.begun).as_nanos() as f64
    }
}

impl Start {
    /// A starting line for `threads` threads.
    pub(crate) fn new(threads: usize) -> Self {
        Self {
            ready: AtomicUsize::new(0),
            threads,
        }
    }

    /// Waits until all threads are here and runs `work`. `give_way` lets the others get here.
    pub(crate) fn run(&self, give_way: impl Fn(), work: impl FnOnce()) -> Span {
        self.wait(give_way);
        Span::of(work)
    }

    /// Waits until all threads are here.
    pub(crate) fn wait(&self, give_way: impl Fn()) {
        // ORDER: Release pairs with the Acquire load below.
        self.ready.fetch_add(1, Ordering::Release);
        // ORDER: Acquire pairs with the Release addition above, of the other threads.
        while self.ready.load(Ordering::Acquire) < self.threads {
            give_way();
        }
    }
}

/// From the first beginning to the last end, in nanoseconds.
pub(crate) fn elapsed_ns(spans: &[Span]) -> f64 {
    let first = spans.iter().map(|span| span.begun).min();
    let last = spans.iter().map(|span| span.ended).max();
    first
        .zip(last)
        .map_or(f64::NAN, |(first, last)| (last - first).as_nanos() as f64)
}

/// How many CPUs the threads kept busy on average.
pub(crate) fn cpus_used(spans: &[Span]) -> f64 {
    spans.iter().map(|span| span.cpu_ns).sum::<f64>() / elapsed_ns(spans)
}

/// Threads of one kind or the other, for arms that differ in nothing else.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    /// Those of std.
    Kernel,
    /// Those of Brigade, on as many processors as there are CPUs and at least two.
    Green,
}

impl Kind {
    /// Runs `f` where [`spawn`](Self::spawn) makes threads of this kind.
    ///
    /// # Errors
    ///
    /// Those of `f`; skipped if this machine has no green threads.
    pub(crate) fn host<T: Send>(
        self,
        f: impl FnOnce() -> Result<T, ArmError> + Send,
    ) -> Result<T, ArmError> {
        match self {
            Self::Kernel => f(),
            Self::Green => Green::start(Model::ManyToMany, probe::cpus().max(2))?.run(f),
        }
    }

    /// Starts a thread of this kind.
    pub(crate) fn spawn<T: Send + 'static>(
        self,
        f: impl FnOnce() -> T + Send + 'static,
    ) -> Result<Handle<T>, ArmError> {
        Ok(match self {
            Self::Kernel => Handle::Kernel(thread::Builder::new().spawn(f)?),
            Self::Green => Handle::Green(green::spawn(f)?),
        })
    }

    /// Sleeps for `time`.
    pub(crate) fn sleep(self, time: Duration) {
        match self {
            Self::Kernel => thread::sleep(time),
            Self::Green => green::sleep_until(Instant::now() + time),
        }
    }

    /// Lets other threads run.
    pub(crate) fn yield_now(self) {
        match self {
            Self::Kernel => thread::yield_now(),
            Self::Green => green::yield_now(),
        }
    }
}

/// A running thread of either kind.
pub(crate) enum Handle<T> {
    Kernel(thread::JoinHandle<T>),
    Green(green::JoinHandle<T>),
}

impl<T> Handle<T> {
    /// Waits for its end.
    pub(crate) fn join(self) -> Result<T, ArmError> {
        let result = match self {
            Self::Kernel(handle) => handle.join(),
            Self::Green(handle) => handle.join(),
        };
        result.map_err(|_| ArmError::Failed("a thread panicked".into()))
    }
}

/// Waits for the end of all `handles`.
pub(crate) fn join_all<T>(
    handles: impl IntoIterator<Item = Handle<T>>,
) -> Result<Vec<T>, ArmError> {
    handles.into_iter().map(Handle::join).collect()
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn nobody_begins_before_everybody_is_there() {
        let start = Start::new(3);
        let arrived = AtomicUsize::new(0);
        thread::scope(|scope| {
            for _ in 0..3 {
                scope.spawn(|| {
                    arrived.fetch_add(1, Ordering::SeqCst); // ORDER: SeqCst, a test.
                    start.run(thread::yield_now, || {
                        // ORDER: SeqCst, a test.
                        assert_eq!(arrived.load(Ordering::SeqCst), 3);
                    });
                });
            }
        });
    }

    #[test]
    fn time_counts_from_the_first_beginning_to_the_last_end() {
        let now = Instant::now();
        let span = |from: u64, to: u64| Span {
            begun: now + Duration::from_nanos(from),
            ended: now + Duration::from_nanos(to),
            cpu_ns: (to - from) as f64,
        };
        let spans = [span(100, 500), span(0, 400)];
        assert_eq!((elapsed_ns(&spans), cpus_used(&spans)), (500.0, 1.6));
        assert!(elapsed_ns(&[]).is_nan());
    }
}
