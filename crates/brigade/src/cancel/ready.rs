//! Waiting for one descriptor, on threads of any kind.
//!
//! A green thread polls in a hook, which the token ends. A kernel thread polls in the kernel, for the descriptor and for
//! an eventfd that the end of the token writes to.

use std::io;
use std::os::fd::{AsFd, AsRawFd, BorrowedFd, FromRawFd, OwnedFd, RawFd};
use std::sync::Arc;
use std::task::{Context, Poll, Wake, Waker};

use brigade_runtime::cancel::{Listener, Token};
use brigade_runtime::park::with_current;
use brigade_runtime::{WaitReason, clock};
use libc::{c_int, c_short};

use super::{CancelToken, Cancelled};

impl CancelToken {
    /// Waits until there is something to read from `fd`, or an end or an error to be told of, unless the token ends first.
    ///
    /// On green threads [`io`](CancelToken::io) does more; this works on kernel threads, too. Another thread may read
    /// first, so that a read afterwards waits nevertheless, unless the descriptor does not block.
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or those of `poll`. See [`Cancelled::of`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade::cancel::{CancelToken, Cancelled};
    /// use std::io::{Read, Write};
    /// use std::os::unix::net::UnixStream;
    /// use std::time::Duration;
    ///
    /// let (mut near, mut far) = UnixStream::pair()?;
    /// let token = CancelToken::with_timeout(Duration::from_millis(1));
    /// let error = token.wait_readable(&near).unwrap_err();
    /// assert!(Cancelled::of(&error).is_some());
    ///
    /// far.write_all(&[1])?;
    /// CancelToken::new().wait_readable(&near)?;
    /// assert_eq!(near.read(&mut [0])?, 1);
    /// # Ok::<(), std::io::Error>(())
    /// ```
    pub fn wait_readable(&self, fd: impl AsFd) -> io::Result<()> {
        self.wait_ready(fd.as_fd(), libc::POLLIN)
    }

    /// Waits until `fd` has room for something to be written, or there is an error to be told of, unless the token ends
    /// first. See [`wait_readable`](CancelToken::wait_readable).
    ///
    /// # Blocking
    ///
    /// Blocks the calling thread only.
    ///
    /// # Errors
    ///
    /// The token ended first, or those of `poll`.
    pub fn wait_writable(&self, fd: impl AsFd) -> io::Result<()> {
        self.wait_ready(fd.as_fd(), libc::POLLOUT)
    }

    fn wait_ready(&self, fd: BorrowedFd<'_>, events: c_short) -> io::Result<()> {
        let mut polled = [one(fd.as_raw_fd(), events)];
        match &self.token {
            Some(token) if !with_current(|current| current.is_green()) => {
                self.wait_ready_in_kernel(token, polled[0])
            }
            _ => self.io(|| poll(&mut polled, -1)),
        }
    }

    fn wait_ready_in_kernel(&self, token: &Token, wanted: libc::pollfd) -> io::Result<()> {
        let bell = Arc::new(Bell::new()?);
        let waker = Waker::from(Arc::clone(&bell));
        let mut listener = Listener::new(token.clone());
        if let Poll::Ready(ended) = listener.poll(&Context::from_waker(&waker)) {
            return Err(Cancelled::new(ended, WaitReason::Poll).into());
        }
        let mut polled = [wanted, one(bell.0.as_raw_fd(), libc::POLLIN)];
        loop {
            poll(&mut polled, self.remaining_ms())?;
            if polled[0].revents != 0 {
                return Ok(());
            }
            self.check_for(WaitReason::Poll)?;
        }
    }

    /// How long it is to the deadline, as `poll` takes it: rounded up, so that it has passed then.
    fn remaining_ms(&self) -> c_int {
        match self.deadline_ns() {
            clock::NEVER => -1,
            deadline_ns => {
                let ns = deadline_ns.saturating_sub(clock::now_ns());
                c_int::try_from(ns.div_ceil(1_000_000)).unwrap_or(c_int::MAX)
            }
        }
    }
}

fn one(fd: RawFd, events: c_short) -> libc::pollfd {
    libc::pollfd {
        fd,
        events,
        revents: 0,
    }
}

/// `poll`, again after a signal; fewer milliseconds than 0 are for ever.
fn poll(polled: &mut [libc::pollfd], timeout_ms: c_int) -> io::Result<()> {
    loop {
        // SAFETY: as many live structures as said.
        let result = unsafe {
            libc::poll(
                polled.as_mut_ptr(),
                polled.len() as libc::nfds_t,
                timeout_ms,
            )
        };
        if result >= 0 {
            return Ok(());
        }
        let error = io::Error::last_os_error();
        if error.kind() != io::ErrorKind::Interrupted {
            return Err(error);
        }
    }
}

/// An eventfd that is written to when a token ends.
struct Bell(OwnedFd);

impl Bell {
    fn new() -> io::Result<Bell> {
        // SAFETY: the call takes two numbers, of which any will do, and touches no memory of ours.
        let fd = unsafe { libc::eventfd(0, libc::EFD_CLOEXEC | libc::EFD_NONBLOCK) };
        if fd < 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: just opened, and given to nobody else.
        Ok(Bell(unsafe { OwnedFd::from_raw_fd(fd) }))
    }
}

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        // SAFETY: eight live bytes, and a descriptor that does not block.
        unsafe { libc::eventfd_write(self.0.as_raw_fd(), 1) };
    }
}
