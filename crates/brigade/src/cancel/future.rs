//! The end of a token, as a future.

use std::fmt;
use std::future::Future;
use std::pin::Pin;
use std::task::{Context, Poll};

use brigade_runtime::WaitReason;
use brigade_runtime::cancel::Listener;

use super::{CancelToken, Cancelled};

/// A future that is ready when its token has ended; see [`CancelToken::cancelled`].
#[must_use = "a future does nothing unless it is awaited"]
pub struct Cancellation {
    /// None: the token never ends.
    listener: Option<Listener>,
}

impl Cancellation {
    pub(super) fn new(token: CancelToken) -> Cancellation {
        Cancellation {
            listener: token.token.map(Listener::new),
        }
    }
}

impl Future for Cancellation {
    type Output = Cancelled;

    fn poll(mut self: Pin<&mut Self>, context: &mut Context<'_>) -> Poll<Cancelled> {
        match &mut self.listener {
            Some(listener) => listener
                .poll(context)
                .map(|ended| Cancelled::new(ended, WaitReason::None)),
            None => Poll::Pending,
        }
    }
}

impl fmt::Debug for Cancellation {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Cancellation").finish_non_exhaustive()
    }
}
