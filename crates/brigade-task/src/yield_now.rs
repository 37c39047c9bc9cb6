//! Giving way to other tasks.

use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

/// Lets other tasks run: the task goes to the end of its queue once.
///
/// Under [`block_on`](crate::block_on) the thread runs its local tasks and polls again.
///
/// # Examples
///
/// ```
/// use brigade_task::{block_on, spawn, yield_now};
///
/// let task = spawn(async {
///     for _ in 0..10 {
///         yield_now().await;
///     }
/// });
/// block_on(task).unwrap();
/// ```
pub fn yield_now() -> YieldNow {
    YieldNow(false)
}

/// The future of [`yield_now`].
#[derive(Debug)]
#[must_use = "futures do nothing unless they are awaited"]
pub struct YieldNow(bool);

impl Future for YieldNow {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<()> {
        if self.0 {
            return Poll::Ready(());
        }
        self.0 = true;
        context.waker().wake_by_ref();
        Poll::Pending
    }
}
