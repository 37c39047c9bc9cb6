//! The end of a token, as a future.

use std::fmt;
use std::future::{Future, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};

use brigade_runtime::WaitReason;
use brigade_runtime::cancel::Listener;
use brigade_task::Sleep;

use super::{CancelToken, Cancelled};

/// A future that is ready when its token has ended; see [`CancelToken::cancelled`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Cancellation {
    /// None: the token never ends.
    listener: Option<Listener>,
    /// None: it has no deadline.
    deadline: Option<Sleep>,
}

impl Cancellation {
    pub(super) fn new(token: CancelToken) -> Cancellation {
        Cancellation {
            deadline: token.remaining().map(brigade_task::sleep),
            listener: token.token.map(Listener::new),
        }
    }
}

impl Future for Cancellation {
    type Output = Cancelled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Cancelled> {
        let this = &mut *self;
        let Some(listener) = &mut this.listener else {
            return Poll::Pending;
        };
        let mut polled = listener.poll(context);
        if let Some(deadline) = &mut this.deadline
            && polled.is_pending()
            && Pin::new(deadline).poll(context).is_ready()
        {
            // The clock has been read later than the deadline.
            polled = listener.poll(context);
        }
        polled.map(|ended| Cancelled::new(ended, WaitReason::None))
    }
}

impl CancelToken {
    /// Runs `future` until it is ready, or the token ends; then the future is dropped. If both happen between two polls,
    /// the output counts.
    ///
    /// # Errors
    ///
    /// The token ended first. If it had ended before, the future is not polled.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::{cancel::CancelToken, task};
    ///
    /// let token = CancelToken::new();
    /// assert_eq!(task::block_on(token.limit(async { 1 })), Ok(1));
    /// let theirs = token.clone();
    /// let endless = task::spawn(async move { theirs.limit(std::future::pending::<()>()).await });
    /// token.cancel();
    /// assert!(endless.join().unwrap().is_err());
    /// ```
    pub async fn limit<F: Future>(&self, future: F) -> Result<F::Output, Cancelled> {
        self.check()?;
        let mut future = pin!(future);
        let mut cancelled = pin!(self.cancelled());
        poll_fn(|context| match future.as_mut().poll(context) {
            Poll::Ready(output) => Poll::Ready(Ok(output)),
            Poll::Pending => cancelled.as_mut().poll(context).map(Err),
        })
        .await
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation").finish_non_exhaustive()
    }
}
