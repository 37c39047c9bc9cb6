//! hyper on Brigade: the traits of `hyper::rt`.
//!
//! [`Async`] implements `Read` and `Write`, so a connection is served as it is; [`TaskExecutor`] starts
//! what hyper wants to run beside it, and [`TaskTimer`] keeps its time. Nothing here needs tokio.
//!
//! # Examples
//!
//! One connection over loopback, served and used by hyper (`http-body-util` has the bodies):
//!
//! ```text
//! let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 8080))?;
//! loop {
//!     let (stream, _) = listener.accept().await?;
//!     spawn(
//!         hyper::server::conn::http1::Builder::new()
//!             .timer(TaskTimer)
//!             .serve_connection(stream, service_fn(hello)),
//!     );
//! }
//! ```

use std::future::Future;
use std::io::{self, IoSlice, Read, Write};
use std::os::fd::AsFd;
use std::pin::Pin;
use std::task::{Context, Poll, ready};
use std::time::{Duration, Instant};

use brigade_runtime::descriptors::Interest;
use hyper::rt::{self, ReadBufCursor};

use crate::{Async, Sleep};

/// Starts futures as tasks, as [`spawn`](crate::spawn) does. Their handles are dropped, so they run on by themselves.
///
/// # Examples
///
/// ```
/// use brigade_task::hyper::TaskExecutor;
/// use hyper::rt::Executor;
/// use std::sync::mpsc;
///
/// let (done, is_done) = mpsc::channel();
/// TaskExecutor.execute(async move { done.send(1).unwrap() });
/// assert_eq!(is_done.recv(), Ok(1));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskExecutor;

impl<F> rt::Executor<F> for TaskExecutor
where
    F: Future + Send + 'static,
    F::Output: Send + 'static,
{
    #[track_caller]
    fn execute(&self, future: F) {
        drop(crate::spawn(future));
    }
}

/// Keeps time with [`Sleep`].
///
/// # Examples
///
/// ```
/// use brigade_task::hyper::TaskTimer;
/// use hyper::rt::Timer;
/// use std::time::Duration;
///
/// brigade_task::block_on(TaskTimer.sleep(Duration::from_millis(1)));
/// ```
#[derive(Clone, Copy, Debug, Default)]
pub struct TaskTimer;

impl rt::Timer for TaskTimer {
    fn sleep(&self, duration: Duration) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(crate::sleep(duration))
    }

    fn sleep_until(&self, deadline: Instant) -> Pin<Box<dyn rt::Sleep>> {
        Box::pin(crate::sleep_until(deadline))
    }

    fn reset(&self, sleep: &mut Pin<Box<dyn rt::Sleep>>, deadline: Instant) {
        match sleep.as_mut().downcast_mut_pin::<Sleep>() {
            Some(sleep) => sleep.get_mut().reset(deadline),
            None => *sleep = self.sleep_until(deadline),
        }
    }
}

impl rt::Sleep for Sleep {}

impl<T: AsFd + Read + Unpin> rt::Read for Async<T> {
    fn poll_read(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        mut buffer: ReadBufCursor<'_>,
    ) -> Poll<io::Result<()>> {
        // SAFETY: what is written below are bytes, so nothing becomes uninitialised.
        let room = unsafe { buffer.as_mut() };
        // `Read` wants bytes that are initialised. Most reads are short, and the rest need not be.
        let length = room.len().min(READ_MAX);
        let room = &mut room[..length];
        room.fill(std::mem::MaybeUninit::new(0));
        // SAFETY: all of it was written just now.
        let bytes = unsafe { &mut *(std::ptr::from_mut(room) as *mut [u8]) };
        let read = self
            .get_mut()
            .poll_with_mut(Interest::Read, cx, |io| io.read(bytes));
        let filled = ready!(read)?;
        assert!(filled <= length, "more was read than there was room for");
        // SAFETY: so many bytes, or more, were initialised above, whatever `read` says.
        unsafe { buffer.advance(filled) };
        Poll::Ready(Ok(()))
    }
}

/// Bytes that are read at once. Each is set to zero before.
const READ_MAX: usize = 64 * 1024;

impl<T: AsFd + Write + Unpin> rt::Write for Async<T> {
    fn poll_write(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffer: &[u8],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_with_mut(Interest::Write, cx, |io| io.write(buffer))
    }

    fn poll_flush(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.get_mut()
            .poll_with_mut(Interest::Write, cx, Write::flush)
    }

    fn poll_shutdown(mut self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        ready!(self.as_mut().poll_flush(cx))?;
        Poll::Ready(crate::io::shut_down_write(&self.as_fd()))
    }

    fn is_write_vectored(&self) -> bool {
        true
    }

    fn poll_write_vectored(
        self: Pin<&mut Self>,
        cx: &mut Context<'_>,
        buffers: &[IoSlice<'_>],
    ) -> Poll<io::Result<usize>> {
        self.get_mut()
            .poll_with_mut(Interest::Write, cx, |io| io.write_vectored(buffers))
    }
}
