//! The pool's end of the connection to a worker: nothing here waits.

use std::io;
use std::os::fd::{AsFd, AsRawFd, FromRawFd, OwnedFd};

use crate::frame::{Decoder, Frame, ReadError};

/// A socket, what is still to be written to it, and what has been read of a frame.
#[derive(Debug)]
pub(crate) struct Link {
    socket: OwnedFd,
    /// The last frame sent. Kept until the next, so that it can be sent to another worker.
    frame: Vec<u8>,
    written: usize,
    decoder: Decoder,
    is_reset: bool,
}

/// Both ends of a new connection.
pub(crate) fn pair() -> io::Result<(OwnedFd, OwnedFd)> {
    let mut ends = [-1; 2];
    let kind = libc::SOCK_STREAM | libc::SOCK_CLOEXEC;
    // SAFETY: there is room for two numbers.
    let failed = unsafe { libc::socketpair(libc::AF_UNIX, kind, 0, ends.as_mut_ptr()) };
    if failed != 0 {
        return Err(io::Error::last_os_error());
    }
    // SAFETY: the call made the descriptors, and nobody else knows of them.
    Ok(unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) })
}

/// Sends what the socket takes; a broken connection is an error and no signal.
pub(crate) fn send(socket: &impl AsFd, bytes: &[u8], flags: i32) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    // SAFETY: the bytes are readable, and the descriptor is open.
    let sent = unsafe {
        let data = bytes.as_ptr().cast();
        libc::send(fd, data, bytes.len(), flags | libc::MSG_NOSIGNAL)
    };
    usize::try_from(sent).map_err(|_| io::Error::last_os_error())
}

/// Receives what is there; `Ok(0)` at the end.
pub(crate) fn receive(socket: &impl AsFd, buffer: &mut [u8], flags: i32) -> io::Result<usize> {
    let fd = socket.as_fd().as_raw_fd();
    loop {
        // SAFETY: the buffer is writable, and the descriptor is open.
        let received = unsafe {
            let data = buffer.as_mut_ptr().cast();
            libc::recv(fd, data, buffer.len(), flags)
        };
        match usize::try_from(received).map_err(|_| io::Error::last_os_error()) {
            Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
            result => return result,
        }
    }
}

impl Link {
    pub(crate) fn new(socket: OwnedFd, limit: usize) -> Link {
        Link {
            socket,
            frame: Vec::new(),
            written: 0,
            decoder: Decoder::new(limit),
            is_reset: false,
        }
    }

    pub(crate) fn fd(&self) -> i32 {
        self.socket.as_raw_fd()
    }

    /// Begins to send a frame; the one before must be out.
    pub(crate) fn send(&mut self, frame: Vec<u8>) {
        debug_assert!(self.is_flushed());
        self.frame = frame;
        self.written = 0;
        self.flush();
    }

    /// Goes on sending. That the connection is broken is found by whoever reads.
    pub(crate) fn flush(&mut self) {
        while !self.is_flushed() {
            match send(
                &self.socket,
                &self.frame[self.written..],
                libc::MSG_DONTWAIT,
            ) {
                Ok(n) => self.written += n,
                Err(error) if error.kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    pub(crate) fn is_flushed(&self) -> bool {
        self.written == self.frame.len()
    }

    /// Takes the last frame back.
    pub(crate) fn take_frame(&mut self) -> Vec<u8> {
        self.written = 0;
        std::mem::take(&mut self.frame)
    }

    /// The next frame, if it is there as a whole; else, among others, [`io::ErrorKind::WouldBlock`].
    pub(crate) fn receive(&mut self) -> Result<Frame, ReadError> {
        let socket = &self.socket;
        let result = self
            .decoder
            .read(|buffer| receive(socket, buffer, libc::MSG_DONTWAIT));
        if let Err(ReadError::Io(error)) = &result
            && error.kind() == io::ErrorKind::ConnectionReset
        {
            self.is_reset = true;
        }
        result
    }

    /// Whether the worker ended without having read the whole of the last frame. Meaningful when the connection is
    /// broken and all was received.
    ///
    /// The kernel resets a connection when one end is closed while bytes for it are unread. A reset may also be
    /// reported to a `send`, but then the frame was not out.
    pub(crate) fn is_unread(&self) -> bool {
        self.is_reset || !self.is_flushed()
    }

    /// Tells the worker that nothing more will come.
    pub(crate) fn finish(&self) {
        // SAFETY: takes numbers; the descriptor is open.
        unsafe { libc::shutdown(self.fd(), libc::SHUT_WR) };
    }
}
