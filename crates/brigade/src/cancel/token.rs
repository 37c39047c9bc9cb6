//! The token: [`CancelToken`].

use std::cell::Cell;
use std::fmt;
use std::ptr;
use std::time::{Duration, Instant};

use brigade_runtime::WaitReason;
use brigade_runtime::cancel::Token;
use brigade_runtime::clock;

use super::{Cancellation, Cancelled};

thread_local! {
    /// The token of the innermost scope that the thread runs in; null for none.
    static CURRENT: Cell<*const CancelToken> = const { Cell::new(ptr::null()) };
}

/// Something that ends once: by [`cancel`](CancelToken::cancel), at its deadline, or with its parent.
///
/// A clone is the same token. Dropping tokens ends nothing; see [`cancel_on_drop`](CancelToken::cancel_on_drop).
///
/// # Blocking
///
/// None of its functions block but those that say so in their names: the waits.
///
/// # Examples
///
/// ```
/// use brigade::cancel::CancelToken;
///
/// let server = CancelToken::new();
/// let request = server.child();
/// request.cancel();
/// assert!(!server.is_cancelled(), "not the other way round");
/// let request = server.child();
/// server.cancel();
/// assert!(request.is_cancelled());
/// ```
#[derive(Clone)]
pub struct CancelToken {
    /// None: it never ends.
    pub(super) token: Option<Token>,
}

impl CancelToken {
    /// A token without a deadline.
    #[must_use]
    pub fn new() -> CancelToken {
        CancelToken::until_ns(clock::NEVER)
    }

    /// A token that cannot end. Waits with it are as those without one, and its children are new tokens.
    #[must_use]
    pub const fn never() -> CancelToken {
        CancelToken { token: None }
    }

    /// A token that ends at `deadline`.
    #[must_use]
    pub fn with_deadline(deadline: Instant) -> CancelToken {
        CancelToken::until_ns(clock::deadline_at(deadline))
    }

    /// A token that ends after `timeout`.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use std::time::Duration;
    ///
    /// let token = CancelToken::with_timeout(Duration::from_secs(3600));
    /// assert!(token.remaining().unwrap() > Duration::from_secs(60));
    /// let token = CancelToken::with_timeout(Duration::ZERO);
    /// assert!(token.check().unwrap_err().is_timed_out());
    /// ```
    #[must_use]
    pub fn with_timeout(timeout: Duration) -> CancelToken {
        CancelToken::until_ns(clock::deadline_after(timeout))
    }

    fn until_ns(deadline_ns: u64) -> CancelToken {
        CancelToken {
            token: Some(Token::new(deadline_ns)),
        }
    }

    /// A token that ends with this one.
    #[must_use]
    pub fn child(&self) -> CancelToken {
        self.child_until_ns(clock::NEVER)
    }

    /// A token that ends with this one, or at `deadline`.
    #[must_use]
    pub fn child_with_deadline(&self, deadline: Instant) -> CancelToken {
        self.child_until_ns(clock::deadline_at(deadline))
    }

    /// A token that ends with this one, or after `timeout`.
    #[must_use]
    pub fn child_with_timeout(&self, timeout: Duration) -> CancelToken {
        self.child_until_ns(clock::deadline_after(timeout))
    }

    fn child_until_ns(&self, deadline_ns: u64) -> CancelToken {
        match &self.token {
            Some(token) => CancelToken {
                token: Some(token.child(deadline_ns)),
            },
            None => CancelToken::until_ns(deadline_ns),
        }
    }

    /// The token of the innermost [`scope`](super::scope) or [`enter`](CancelToken::enter) that the calling thread runs
    /// in; outside of them [`never`](CancelToken::never).
    ///
    /// A thread that is spawned otherwise than in a scope does not run in the scope of its parent.
    #[must_use]
    pub fn current() -> CancelToken {
        // SAFETY: null, or the token of an `enter` that this thread is in.
        match unsafe { CURRENT.get().as_ref() } {
            Some(token) => token.clone(),
            None => CancelToken::never(),
        }
    }

    /// Calls `f` with this token as the [current](CancelToken::current) one.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::{self, CancelToken};
    ///
    /// let token = CancelToken::new();
    /// token.cancel();
    /// assert!(token.enter(cancel::check).is_err());
    /// assert!(cancel::check().is_ok());
    /// ```
    pub fn enter<T>(&self, f: impl FnOnce() -> T) -> T {
        /// Puts the token back that was the current one, also when `f` unwinds.
        struct Leave(*const CancelToken);
        impl Drop for Leave {
            fn drop(&mut self) {
                CURRENT.set(self.0);
            }
        }
        let _leave = Leave(CURRENT.replace(self));
        f()
    }

    /// Ends the token and all below it: their waits end at once. Does nothing if it has ended, or cannot end.
    ///
    /// It wakes others, and takes time in proportion to how many tokens are below and how many wait.
    pub fn cancel(&self) {
        if let Some(token) = &self.token {
            token.cancel();
        }
    }

    /// Whether it has ended, in whatever way.
    #[inline]
    #[must_use]
    pub fn is_cancelled(&self) -> bool {
        self.check().is_err()
    }

    /// Nothing, if it has not ended.
    ///
    /// # Errors
    ///
    /// It has ended.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::{CancelToken, Cancelled};
    ///
    /// fn sum(numbers: &[u64], token: &CancelToken) -> Result<u64, Cancelled> {
    ///     let mut sum = 0;
    ///     for chunk in numbers.chunks(1000) {
    ///         token.check()?;
    ///         sum += chunk.iter().sum::<u64>();
    ///     }
    ///     Ok(sum)
    /// }
    /// let token = CancelToken::new();
    /// assert_eq!(sum(&[1; 5000], &token), Ok(5000));
    /// token.cancel();
    /// assert!(sum(&[1; 5000], &token).is_err());
    /// ```
    #[inline]
    pub fn check(&self) -> Result<(), Cancelled> {
        self.check_for(WaitReason::None)
    }

    #[inline]
    pub(super) fn check_for(&self, wait: WaitReason) -> Result<(), Cancelled> {
        match self.token.as_ref().and_then(Token::ended) {
            Some(ended) => Err(Cancelled::new(ended, wait)),
            None => Ok(()),
        }
    }

    /// When it ends at the latest: the earliest deadline of the token and those above it.
    #[must_use]
    pub fn deadline(&self) -> Option<Instant> {
        Instant::now().checked_add(self.remaining()?)
    }

    /// How long it is to the [`deadline`](CancelToken::deadline); zero if that has passed.
    #[must_use]
    pub fn remaining(&self) -> Option<Duration> {
        match self.deadline_ns() {
            clock::NEVER => None,
            deadline_ns => {
                let ns = deadline_ns.saturating_sub(clock::now_ns());
                Some(Duration::from_nanos(ns))
            }
        }
    }

    pub(super) fn deadline_ns(&self) -> u64 {
        self.token.as_ref().map_or(clock::NEVER, Token::deadline_ns)
    }

    /// A future that is ready when the token has ended. Any executor may poll it.
    ///
    /// # Panics
    ///
    /// When it is polled, if the token has a deadline and the default runtime, which keeps the time, cannot be started.
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::CancelToken;
    /// use std::pin::pin;
    /// use std::task::{Context, Waker};
    ///
    /// let token = CancelToken::new();
    /// let mut cancelled = pin!(token.cancelled());
    /// let mut context = Context::from_waker(Waker::noop());
    /// assert!(cancelled.as_mut().poll(&mut context).is_pending());
    /// token.cancel();
    /// assert!(cancelled.as_mut().poll(&mut context).is_ready());
    /// ```
    pub fn cancelled(&self) -> Cancellation {
        Cancellation::new(self.clone())
    }

    /// A guard that cancels the token when it is dropped, on a panic too.
    ///
    /// # Examples
    ///
    /// ```
    /// let token = brigade::cancel::CancelToken::new();
    /// let guard = token.cancel_on_drop();
    /// assert!(!token.is_cancelled());
    /// drop(guard);
    /// assert!(token.is_cancelled());
    /// ```
    pub fn cancel_on_drop(&self) -> CancelOnDrop {
        CancelOnDrop {
            token: self.clone(),
        }
    }
}

impl Default for CancelToken {
    /// As [`CancelToken::new`].
    fn default() -> CancelToken {
        CancelToken::new()
    }
}

impl PartialEq for CancelToken {
    /// Whether both are the same token.
    fn eq(&self, other: &CancelToken) -> bool {
        match (&self.token, &other.token) {
            (Some(one), Some(other)) => one.is_same(other),
            (one, other) => one.is_none() && other.is_none(),
        }
    }
}

impl Eq for CancelToken {}

impl fmt::Debug for CancelToken {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("CancelToken")
            .field("is_cancelled", &self.is_cancelled())
            .field("remaining", &self.remaining())
            .finish_non_exhaustive()
    }
}

/// Cancels a token when it is dropped; see [`CancelToken::cancel_on_drop`].
#[derive(Debug)]
#[must_use = "a guard that is not kept cancels its token at once"]
pub struct CancelOnDrop {
    token: CancelToken,
}

impl CancelOnDrop {
    /// Keeps the token from being cancelled.
    pub fn disarm(self) -> CancelToken {
        let mut this = self;
        std::mem::replace(&mut this.token, CancelToken::never())
    }
}

impl Drop for CancelOnDrop {
    fn drop(&mut self) {
        self.token.cancel();
    }
}
