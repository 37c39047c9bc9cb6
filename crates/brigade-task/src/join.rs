//! The handle of a task, and the shield around its future.

use std::any::Any;
use std::fmt;
use std::future::Future;
use std::mem::{self, ManuallyDrop};
use std::panic::{AssertUnwindSafe, catch_unwind, resume_unwind};
use std::pin::Pin;
use std::task::{Context, Poll, Waker};

use async_task::{FallibleTask, Task};

use crate::block_on;
use crate::executor::Home;
use crate::prim::Lock;

type Payload = Box<dyn Any + Send>;

/// A future whose panics stay inside: its output is the payload. Drops the future before it says that it is ready, and
/// `G` after the future.
pub(crate) struct Shielded<F, G> {
    future: Option<F>,
    _guard: G,
}

impl<F, G> Shielded<F, G> {
    pub(crate) fn new(future: F, guard: G) -> Shielded<F, G> {
        Shielded {
            future: Some(future),
            _guard: guard,
        }
    }
}

impl<F: Future, G> Future for Shielded<F, G> {
    type Output = Outcome<F::Output>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // SAFETY: the future is pinned with `self`: it is not moved, only dropped in place by the assignments below, and
        // `Shielded` is `Unpin` only if the future is (no field is `Unpin` by itself where the future is not).
        let this = unsafe { self.get_unchecked_mut() };
        let result = catch_unwind(AssertUnwindSafe(|| {
            let Some(future) = &mut this.future else {
                panic!("a task was polled after its end");
            };
            // SAFETY: `future` is a field of the pinned `self`, and is not moved (above).
            let ready = unsafe { Pin::new_unchecked(future) }.poll(context);
            if ready.is_ready() {
                this.future = None;
            }
            ready
        }));
        match result {
            Ok(Poll::Pending) => Poll::Pending,
            Ok(Poll::Ready(output)) => Poll::Ready(Outcome::new(Ok(output))),
            Err(payload) => {
                this.drop_future();
                Poll::Ready(Outcome::new(Err(payload)))
            }
        }
    }
}

impl<F, G> Shielded<F, G> {
    /// Drops the future in place.
    fn drop_future(&mut self) {
        shield(|| self.future = None);
    }
}

/// Drops something foreign; a panic ends here, after the panic hook has told it.
fn shield(drop: impl FnOnce()) {
    if let Err(payload) = catch_unwind(AssertUnwindSafe(drop)) {
        // Its destructor might panic, too.
        mem::forget(payload);
    }
}

impl<F, G> Drop for Shielded<F, G> {
    fn drop(&mut self) {
        self.drop_future();
    }
}

/// Why a task has no output.
pub struct JoinError(Option<Payload>);

impl JoinError {
    /// The task was cancelled before it ended: by [`JoinHandle::abort`], or with the thread it belonged to.
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.0.is_none()
    }

    /// The task panicked.
    #[must_use]
    pub fn is_panic(&self) -> bool {
        self.0.is_some()
    }

    /// The payload of the task's panic.
    ///
    /// # Panics
    ///
    /// If the task did not panic: ask [`JoinError::is_panic`] before.
    #[must_use]
    #[track_caller]
    pub fn into_panic(self) -> Box<dyn Any + Send + 'static> {
        match self.0 {
            Some(payload) => payload,
            None => panic!("the task did not panic, it was cancelled"),
        }
    }

    /// Panics on with the task's panic.
    ///
    /// # Panics
    ///
    /// Always: with the payload of the task, or because there is none.
    #[track_caller]
    pub fn resume(self) -> ! {
        resume_unwind(self.into_panic())
    }

    fn message(&self) -> Option<&str> {
        let payload = self.0.as_ref()?;
        let text = payload.downcast_ref::<&str>().copied();
        text.or_else(|| payload.downcast_ref::<String>().map(String::as_str))
    }
}

impl fmt::Debug for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match &self.0 {
            None => f.write_str("JoinError(cancelled)"),
            Some(_) => write!(f, "JoinError(panic: {:?})", self.message()),
        }
    }
}

impl fmt::Display for JoinError {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        match (&self.0, self.message()) {
            (None, _) => f.write_str("the task was cancelled before it ended"),
            (Some(_), Some(message)) => write!(f, "the task panicked: {message}"),
            (Some(_), None) => f.write_str("the task panicked"),
        }
    }
}

impl std::error::Error for JoinError {}

/// What a task ends with. If nobody takes it, it is dropped where the task or the handle is, and a panic in its destructor
/// ends there.
pub(crate) struct Outcome<T>(ManuallyDrop<Result<T, Payload>>);

impl<T> Outcome<T> {
    fn new(result: Result<T, Payload>) -> Outcome<T> {
        Outcome(ManuallyDrop::new(result))
    }

    fn take(self) -> Result<T, Payload> {
        let mut this = ManuallyDrop::new(self);
        // SAFETY: it is taken once: `this` is neither used nor dropped after this.
        unsafe { ManuallyDrop::take(&mut this.0) }
    }
}

impl<T> Drop for Outcome<T> {
    fn drop(&mut self) {
        // SAFETY: it is dropped once, here, and was not taken: `take` does not drop `self`.
        shield(|| unsafe { ManuallyDrop::drop(&mut self.0) });
    }
}

type Cancelling<T> = Pin<Box<dyn Future<Output = Option<Outcome<T>>>>>;

/// What a handle waits for.
enum State<T> {
    Runs(FallibleTask<Outcome<T>, Home>),
    /// The task was told to end; this is the wait until it has, and the waker that it was polled with.
    Ends(Cancelling<T>, Waker),
    Ended(Option<Outcome<T>>),
    /// A call on the handle has it in hand, or its output was taken.
    Away,
}

/// The handle of a task: a future of what the task ends with.
///
/// Dropping it lets the task run on; its output is dropped when it ends.
///
/// # Examples
///
/// ```
/// use brigade_task::{block_on, spawn};
///
/// let task = spawn(async { 6 * 7 });
/// assert_eq!(block_on(task).unwrap(), 42);
/// ```
///
/// A task that never ends can be told to:
///
/// ```
/// use brigade_task::spawn;
///
/// let task = spawn(std::future::pending::<()>());
/// task.abort();
/// assert!(task.join().unwrap_err().is_cancelled());
/// ```
#[must_use = "dropping the handle lets the task run on, unobserved"]
pub struct JoinHandle<T>(Lock<State<T>>);

// SAFETY: of what the handle holds, only the boxed wait is not known to be `Send`: it holds a `FallibleTask`, which is
// `Send` if the outcome is, and that is if the output is.
unsafe impl<T: Send> Send for JoinHandle<T> {}
// SAFETY: shared handles reach the state under its lock alone; the output comes out through `&mut` or by value.
unsafe impl<T: Send> Sync for JoinHandle<T> {}

impl<T> Unpin for JoinHandle<T> {}

impl<T: 'static> JoinHandle<T> {
    pub(crate) fn new(task: Task<Outcome<T>, Home>) -> JoinHandle<T> {
        JoinHandle(Lock::new(State::Runs(task.fallible())))
    }

    /// Tells the task to end. At its next turn its future is dropped; a poll that runs now goes on to its end. A task
    /// that has ended is not touched.
    ///
    /// Awaiting or joining the handle afterwards waits until the future was dropped, or gives the output if the task
    /// was faster.
    ///
    /// Does not block.
    pub fn abort(&self) {
        // Dropping and waking may be foreign code, so nothing of it runs under the lock.
        let Some(task) = self.take_running() else {
            return;
        };
        // The first look tells the task.
        self.look_at_end(Box::pin(task.cancel()), Waker::noop().clone());
    }

    /// Looks whether a task that was told to end has, and puts the state back that the caller took away.
    fn look_at_end(&self, mut wait: Cancelling<T>, waker: Waker) -> bool {
        let ended = wait.as_mut().poll(&mut Context::from_waker(&waker));
        let (state, has_ended) = match ended {
            Poll::Ready(outcome) => (State::Ended(outcome), true),
            Poll::Pending => (State::Ends(wait, waker), false),
        };
        *self.0.lock() = state;
        has_ended
    }

    /// The task, if nobody has told it to end.
    fn take_running(&self) -> Option<FallibleTask<Outcome<T>, Home>> {
        let mut state = self.0.lock();
        match mem::replace(&mut *state, State::Away) {
            State::Runs(task) => Some(task),
            other => {
                *state = other;
                None
            }
        }
    }

    /// Whether the task has ended and its future is gone. While another thread asks the same of a task that was aborted,
    /// the answer may still be no.
    #[must_use]
    pub fn is_finished(&self) -> bool {
        let mut state = self.0.lock();
        match &*state {
            State::Runs(task) => return task.is_finished(),
            State::Away => return false,
            State::Ended(_) => return true,
            State::Ends(..) => {}
        }
        let aborted = mem::replace(&mut *state, State::Away);
        drop(state);
        match aborted {
            // With the same waker, so that who awaits the handle is still woken.
            State::Ends(wait, waker) => self.look_at_end(wait, waker),
            _ => false,
        }
    }

    /// Waits until the task has ended.
    ///
    /// # Blocking
    ///
    /// On a green thread it parks that thread only; on an ordinary kernel thread it blocks that. In a future it holds up
    /// the thread that polls: await the handle there.
    ///
    /// # Errors
    ///
    /// The task panicked or was cancelled.
    #[track_caller]
    pub fn join(self) -> Result<T, JoinError> {
        block_on::block_on(self)
    }
}

impl<T> Future for JoinHandle<T> {
    type Output = Result<T, JoinError>;

    fn poll(self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Self::Output> {
        // The handle is borrowed uniquely, so nobody misses the state meanwhile.
        let mut state = mem::replace(&mut *self.0.lock(), State::Away);
        let outcome = match &mut state {
            State::Runs(task) => Pin::new(task).poll(context),
            State::Ends(wait, waker) => {
                waker.clone_from(context.waker());
                wait.as_mut().poll(context)
            }
            State::Ended(outcome) => Poll::Ready(outcome.take()),
            State::Away => panic!("a handle of a task was polled after it had given the output"),
        };
        match outcome {
            Poll::Pending => {
                *self.0.lock() = state;
                Poll::Pending
            }
            Poll::Ready(Some(outcome)) => {
                Poll::Ready(outcome.take().map_err(|payload| JoinError(Some(payload))))
            }
            Poll::Ready(None) => Poll::Ready(Err(JoinError(None))),
        }
    }
}

impl<T> Drop for JoinHandle<T> {
    fn drop(&mut self) {
        let state = mem::replace(&mut *self.0.lock(), State::Away);
        if let State::Runs(task) = state {
            task.detach();
        }
    }
}

impl<T> fmt::Debug for JoinHandle<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("JoinHandle").finish_non_exhaustive()
    }
}
