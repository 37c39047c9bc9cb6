//! Asynchronous input and output: [`Async`], which waits for any descriptor in the runtime's reactor.
//!
//! An operation is tried first; only if it would block the task waits, until the reactor reports that something has
//! happened since the attempt. The files here: who waits ([`source`]), the sockets of std (`net.rs`, `unix.rs`), and the
//! traits of others (`futures_io.rs`, `tokio_io.rs`), each behind its feature.

pub(crate) mod source;

#[cfg(feature = "futures-io")]
mod futures_io;
mod net;
#[cfg(feature = "tokio-io")]
mod tokio_io;
mod unix;

use std::fmt;
use std::future::poll_fn;
use std::io::{self, ErrorKind};
use std::os::fd::{AsFd, AsRawFd, BorrowedFd};
use std::sync::Arc;
use std::task::{Context, Poll, ready};

use brigade_runtime::alarms::{enroll, is_ready, set_nonblocking};
use brigade_runtime::descriptors::{Fd, Interest, Seen};

use crate::waiters::Place;
use source::{Source, Wanted};

pub use net::Incoming;
pub use unix::IncomingUnix;

/// A descriptor of any kind, as an asynchronous object.
///
/// `Async<TcpStream>` has the methods of a socket with `async` in front; for every other type, [`Async::read_with`]
/// and [`Async::write_with`] turn its non-blocking operations into futures. With the features `futures-io`, `tokio-io`
/// and `hyper` it implements the traits of those crates.
///
/// The descriptor is put into non-blocking mode (`O_NONBLOCK`), for everybody who shares the file, and stays so after
/// [`Async::into_inner`].
///
/// Several tasks may wait for one `Async`, for reading and for writing; all who wait for a direction are woken by an
/// event of it. Its futures may be polled anywhere: by [`block_on`](crate::block_on()) on any thread, by a task, or by
/// another executor.
///
/// # Blocking
///
/// Nothing here blocks a thread, green or kernel, but what the operation itself does without `O_NONBLOCK`'s help: an
/// ordinary file cannot be waited for, and is refused.
///
/// # Behaviour today
///
/// The descriptor is registered with the reactor once, when the `Async` is made; after another one was put in
/// ([`Async::get_mut`]), each wait costs a system call. In the child of a fork an `Async` of the parent works, unless
/// another thread was registering a wait for it at the moment of the fork.
///
/// # Examples
///
/// ```
/// use std::io::{Read, Write};
///
/// let (reader, mut writer) = std::io::pipe()?;
/// let reader = brigade_task::Async::new(reader)?;
/// writer.write_all(b"hello")?;
/// let text = brigade_task::block_on(async {
///     let mut buffer = [0; 16];
///     let length = reader.read_with(|mut pipe| pipe.read(&mut buffer)).await?;
///     std::io::Result::Ok(buffer[..length].to_vec())
/// })?;
/// assert_eq!(text, b"hello");
/// # std::io::Result::Ok(())
/// ```
///
/// What cannot be waited for is refused:
///
/// ```
/// let file = std::fs::File::open("/proc/self/cmdline")?;
/// assert!(brigade_task::Async::new(file).is_err());
/// # std::io::Result::Ok(())
/// ```
pub struct Async<T> {
    // Goes first: nobody may wait for a descriptor that is closed.
    seat: Seat,
    io: T,
}

/// The part of an `Async` that does not depend on its type.
struct Seat {
    source: Arc<Source>,
    /// The file that was enrolled with a reactor: number and incarnation.
    enrolled: (i32, u32),
}

impl Drop for Seat {
    fn drop(&mut self) {
        self.source.close();
    }
}

impl Seat {
    fn new(fd: BorrowedFd<'_>) -> io::Result<Seat> {
        let fd = find(fd)?;
        let enrolled = (fd.number(), fd.incarnation());
        enroll(fd).map_err(io::Error::from_raw_os_error)?;
        Ok(Seat {
            source: Source::new(),
            enrolled,
        })
    }

    fn wanted(&self, fd: Fd, interest: Interest, seen: Seen) -> Wanted {
        Wanted {
            fd,
            interest,
            seen,
            trusted: self.enrolled == (fd.number(), fd.incarnation()),
        }
    }

    /// Pending: the task will be woken when something has happened since `seen` was taken.
    fn poll(
        &self,
        fd: Fd,
        interest: Interest,
        seen: Seen,
        cx: &Context<'_>,
    ) -> Poll<io::Result<()>> {
        let wanted = self.wanted(fd, interest, seen);
        self.source.poll(wanted, &mut Place::of_pollers(), cx)
    }

    /// Waits until something has happened since `seen` was taken.
    async fn wait(&self, fd: Fd, interest: Interest, seen: Seen) -> io::Result<()> {
        /// The place among those who wait, given up with the future.
        struct Waits<'a> {
            source: &'a Source,
            interest: Interest,
            place: Place,
        }
        impl Drop for Waits<'_> {
            fn drop(&mut self) {
                self.source.leave(self.interest, &self.place);
            }
        }
        let mut waits = Waits {
            source: &self.source,
            interest,
            place: Place::default(),
        };
        let wanted = self.wanted(fd, interest, seen);
        poll_fn(|cx| self.source.poll(wanted, &mut waits.place, cx)).await
    }
}

fn find(fd: BorrowedFd<'_>) -> io::Result<Fd> {
    Fd::get(fd.as_raw_fd())
        .ok_or_else(|| io::Error::new(ErrorKind::OutOfMemory, "no memory to wait for a descriptor"))
}

fn is_would_block<R>(result: &io::Result<R>) -> bool {
    matches!(result, Err(error) if error.kind() == ErrorKind::WouldBlock)
}

impl<T: AsFd> Async<T> {
    /// Puts the descriptor into non-blocking mode and registers it with the reactor.
    ///
    /// # Errors
    ///
    /// `EPERM` (`PermissionDenied`) for an ordinary file or directory, which is always ready; the kernel's error when the
    /// mode cannot be set or the reactor has no room (`fs.epoll.max_user_watches`), or the default runtime cannot be
    /// started.
    pub fn new(io: T) -> io::Result<Async<T>> {
        set_nonblocking(find(io.as_fd())?).map_err(io::Error::from_raw_os_error)?;
        Async::new_nonblocking(io)
    }

    /// As [`Async::new`], for a descriptor that is in non-blocking mode already. If it is not, operations on it block
    /// the thread that polls.
    ///
    /// # Errors
    ///
    /// As [`Async::new`].
    pub fn new_nonblocking(io: T) -> io::Result<Async<T>> {
        let seat = Seat::new(io.as_fd())?;
        Ok(Async { seat, io })
    }

    fn poll_ready(&self, interest: Interest, cx: &Context<'_>) -> Poll<io::Result<()>> {
        loop {
            let fd = find(self.io.as_fd())?;
            let seen = fd.seen(interest);
            if is_ready(fd, interest).map_err(io::Error::from_raw_os_error)? {
                return Poll::Ready(Ok(()));
            }
            ready!(self.seat.poll(fd, interest, seen, cx))?;
        }
    }

    async fn until_ready(&self, interest: Interest) -> io::Result<()> {
        loop {
            let fd = find(self.io.as_fd())?;
            let seen = fd.seen(interest);
            if is_ready(fd, interest).map_err(io::Error::from_raw_os_error)? {
                return Ok(());
            }
            self.seat.wait(fd, interest, seen).await?;
        }
    }

    async fn until_done<R>(
        &self,
        interest: Interest,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> io::Result<R> {
        loop {
            let fd = find(self.io.as_fd())?;
            let seen = fd.seen(interest);
            let result = operation(&self.io);
            if !is_would_block(&result) {
                return result;
            }
            self.seat.wait(fd, interest, seen).await?;
        }
    }

    /// Waits until a read would not block: there is data, a connection to accept, the end, or an error.
    ///
    /// Another task may be faster: then a read blocks again, which [`Async::read_with`] takes care of.
    ///
    /// # Errors
    ///
    /// The kernel's, when the descriptor cannot be waited for any more: `EBADF` if it was closed behind the `Async`'s
    /// back.
    pub async fn readable(&self) -> io::Result<()> {
        self.until_ready(Interest::Read).await
    }

    /// Waits until a write would not block: there is room, or an error.
    ///
    /// # Errors
    ///
    /// As [`Async::readable`].
    pub async fn writable(&self) -> io::Result<()> {
        self.until_ready(Interest::Write).await
    }

    /// As [`Async::readable`], for futures written by hand. A pending task is woken once, when something happens.
    ///
    /// # Errors
    ///
    /// As [`Async::readable`].
    pub fn poll_readable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Interest::Read, cx)
    }

    /// As [`Async::writable`], for futures written by hand.
    ///
    /// # Errors
    ///
    /// As [`Async::readable`].
    pub fn poll_writable(&self, cx: &mut Context<'_>) -> Poll<io::Result<()>> {
        self.poll_ready(Interest::Write, cx)
    }

    /// Calls `operation`, which reads, until it returns something else than `WouldBlock`; waits in between until
    /// something has happened.
    ///
    /// Cancel safe: a future that is dropped has made no attempt since it was pending.
    ///
    /// # Errors
    ///
    /// Those of `operation`, and those of [`Async::readable`].
    pub async fn read_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.until_done(Interest::Read, operation).await
    }

    /// As [`Async::read_with`], for an operation that writes.
    ///
    /// # Errors
    ///
    /// As [`Async::read_with`].
    pub async fn write_with<R>(&self, operation: impl FnMut(&T) -> io::Result<R>) -> io::Result<R> {
        self.until_done(Interest::Write, operation).await
    }

    /// One step of [`Async::read_with`], for futures written by hand.
    ///
    /// # Errors
    ///
    /// As [`Async::read_with`].
    pub fn poll_read_with<R>(
        &self,
        cx: &mut Context<'_>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(Interest::Read, cx, operation)
    }

    /// One step of [`Async::write_with`], for futures written by hand.
    ///
    /// # Errors
    ///
    /// As [`Async::read_with`].
    pub fn poll_write_with<R>(
        &self,
        cx: &mut Context<'_>,
        operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        self.poll_with(Interest::Write, cx, operation)
    }

    fn poll_with<R>(
        &self,
        interest: Interest,
        cx: &Context<'_>,
        mut operation: impl FnMut(&T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            let fd = find(self.io.as_fd())?;
            let seen = fd.seen(interest);
            let result = operation(&self.io);
            if !is_would_block(&result) {
                return Poll::Ready(result);
            }
            ready!(self.seat.poll(fd, interest, seen, cx))?;
        }
    }

    /// As `poll_with`, for operations that want the object to themselves.
    #[allow(dead_code, reason = "used by the traits behind features")]
    pub(crate) fn poll_with_mut<R>(
        &mut self,
        interest: Interest,
        cx: &Context<'_>,
        mut operation: impl FnMut(&mut T) -> io::Result<R>,
    ) -> Poll<io::Result<R>> {
        loop {
            let fd = find(self.io.as_fd())?;
            let seen = fd.seen(interest);
            let result = operation(&mut self.io);
            if !is_would_block(&result) {
                return Poll::Ready(result);
            }
            ready!(self.seat.poll(fd, interest, seen, cx))?;
        }
    }
}

impl<T> Async<T> {
    /// The object inside.
    pub fn get_ref(&self) -> &T {
        &self.io
    }

    /// The object inside. If another descriptor is put in its place, that one is waited for from then on; it must be in
    /// non-blocking mode. Tasks that wait through the poll functions for the one before are not woken.
    pub fn get_mut(&mut self) -> &mut T {
        &mut self.io
    }

    /// The object, still in non-blocking mode.
    pub fn into_inner(self) -> T {
        self.io
    }
}

impl<T> AsRef<T> for Async<T> {
    fn as_ref(&self) -> &T {
        &self.io
    }
}

impl<T: AsFd> AsFd for Async<T> {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.io.as_fd()
    }
}

impl<T: AsRawFd> AsRawFd for Async<T> {
    fn as_raw_fd(&self) -> std::os::fd::RawFd {
        self.io.as_raw_fd()
    }
}

impl<T: fmt::Debug> fmt::Debug for Async<T> {
    fn fmt(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
        f.debug_struct("Async")
            .field("io", &self.io)
            .finish_non_exhaustive()
    }
}

/// Says to the peer that nothing more comes. Objects that are no connected sockets say so when they are dropped.
#[cfg(any(feature = "tokio-io", feature = "hyper"))]
pub(crate) fn shut_down_write(io: &impl AsFd) -> io::Result<()> {
    /// "Not a socket" on Linux.
    const ENOTSOCK: i32 = 88;
    let result = socket2::SockRef::from(io).shutdown(std::net::Shutdown::Write);
    result.or_else(|error| {
        let harmless = error.raw_os_error() == Some(ENOTSOCK)
            || matches!(
                error.kind(),
                ErrorKind::NotConnected | ErrorKind::InvalidInput
            );
        if harmless { Ok(()) } else { Err(error) }
    })
}
