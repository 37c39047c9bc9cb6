//! Timers: [`sleep`], [`timeout`], [`interval`].
//!
//! They are futures of any executor; the wakers are called by the driver. A future that is dropped takes its timer with
//! it at once.

mod interval;
pub(crate) mod timers;

use std::fmt;
use std::future::{Future, IntoFuture, poll_fn};
use std::pin::{Pin, pin};
use std::task::{Context, Poll};
use std::time::{Duration, Instant};

use brigade_runtime::clock::{NEVER, deadline_after, now_ns};

use crate::driver::{Driver, driver};
use timers::Key;

pub use interval::{Interval, interval, interval_at};

/// A future that is ready when its time has come; see [`sleep`].
#[must_use = "a future does nothing unless it is polled"]
pub struct Sleep {
    deadline_ns: u64,
    /// The timer, and the driver that has it.
    timer: Option<(&'static Driver, Key)>,
}

/// Waits for `duration`, from now on.
///
/// # Blocking
///
/// Blocks nothing: the task waits, and threads do something else. For a thread that is to wait there is
/// `brigade::thread::sleep`.
///
/// Not earlier than asked, and later only by what the machine has to do otherwise; the clock stands still while the
/// machine is suspended. A duration that does not fit (some 584 years) waits for ever.
///
/// # Panics
///
/// When it is polled, if the thread that waits for all timers of the runtime, or the default runtime itself, cannot be
/// started.
///
/// # Examples
///
/// ```
/// use std::time::{Duration, Instant};
///
/// let before = Instant::now();
/// brigade_task::block_on(brigade_task::sleep(Duration::from_millis(5)));
/// assert!(before.elapsed() >= Duration::from_millis(5));
/// ```
pub fn sleep(duration: Duration) -> Sleep {
    Sleep::until_ns(deadline_after(duration))
}

/// Waits until `deadline`; see [`sleep`]. A deadline in the past is reached at once.
///
/// # Panics
///
/// As [`sleep`].
pub fn sleep_until(deadline: Instant) -> Sleep {
    sleep(deadline.saturating_duration_since(Instant::now()))
}

impl Sleep {
    fn until_ns(deadline_ns: u64) -> Sleep {
        Sleep {
            deadline_ns,
            timer: None,
        }
    }

    /// Whether the time has come.
    #[must_use]
    pub fn is_elapsed(&self) -> bool {
        self.deadline_ns != NEVER && now_ns() >= self.deadline_ns
    }

    /// Waits until `deadline` instead, also after the time has come. The task is woken at the new time once the future
    /// has been polled again.
    pub fn reset(&mut self, deadline: Instant) {
        self.cancel();
        self.deadline_ns = deadline_after(deadline.saturating_duration_since(Instant::now()));
    }

    fn cancel(&mut self) {
        if let Some((driver, key)) = self.timer.take()
            && driver.is_ours()
        {
            drop(driver.timers.remove(key));
        }
    }

    fn enter(&mut self, cx: &Context<'_>) {
        let mut waker = cx.waker().clone();
        if let Some((driver, key)) = self.timer
            && driver.is_ours()
        {
            match driver.timers.renew(key, waker) {
                Ok(_before) => return,
                // It has fired: the clock that the driver read was ahead of the one here.
                Err(mine) => waker = mine,
            }
        }
        let driver = match driver() {
            Ok(driver) => driver,
            Err(error) => panic!("brigade: cannot start the thread that waits for timers: {error}"),
        };
        let (key, is_earliest) = driver.timers.insert(self.deadline_ns, waker);
        self.timer = Some((driver, key));
        if is_earliest {
            driver.alarms.rouse();
        }
    }
}

impl Future for Sleep {
    type Output = ();

    fn poll(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<()> {
        if self.is_elapsed() {
            self.cancel();
            return Poll::Ready(());
        }
        if self.deadline_ns != NEVER {
            self.enter(cx);
        }
        Poll::Pending
    }
}

impl Drop for Sleep {
    fn drop(&mut self) {
        self.cancel();
    }
}

impl fmt::Debug for Sleep {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Sleep")
            .field("elapsed", &self.is_elapsed())
            .finish_non_exhaustive()
    }
}

/// The time was over before the future was ready; see [`timeout`].
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub struct TimedOut(());

impl fmt::Display for TimedOut {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.write_str("the time was over before the future was ready")
    }
}

impl std::error::Error for TimedOut {}

impl From<TimedOut> for std::io::Error {
    fn from(error: TimedOut) -> std::io::Error {
        std::io::Error::new(std::io::ErrorKind::TimedOut, error)
    }
}

/// Waits for `future`, but for `duration` at most, from now on.
///
/// The future is polled first: if it is ready, the time does not matter. When the time is over it is dropped with the
/// future returned here.
///
/// # Blocking
///
/// Blocks nothing, but a future that does not return from its poll is not interrupted.
///
/// # Errors
///
/// [`TimedOut`] when the time is over.
///
/// # Panics
///
/// As [`sleep`], and with the panic of the future.
///
/// # Examples
///
/// ```
/// use brigade_task::{block_on, timeout};
/// use std::time::Duration;
///
/// let hour = Duration::from_secs(3600);
/// assert_eq!(block_on(timeout(hour, async { 1 })), Ok(1));
///
/// let never = std::future::pending::<()>();
/// assert!(block_on(timeout(Duration::from_millis(1), never)).is_err());
/// ```
pub fn timeout<F: IntoFuture>(
    duration: Duration,
    future: F,
) -> impl Future<Output = Result<F::Output, TimedOut>> {
    let mut sleep = sleep(duration);
    let future = future.into_future();
    async move {
        let mut future = pin!(future);
        poll_fn(|cx| {
            if let Poll::Ready(output) = future.as_mut().poll(cx) {
                return Poll::Ready(Ok(output));
            }
            Pin::new(&mut sleep).poll(cx).map(|()| Err(TimedOut(())))
        })
        .await
    }
}
