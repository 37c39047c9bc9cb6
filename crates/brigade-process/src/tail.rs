//! The end of what a worker writes to its standard error.

use std::io;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};

/// How much is kept, in bytes.
const KEPT: usize = 4096;

/// The end of a pipe that others write to. Nothing here waits.
#[derive(Debug)]
pub(crate) struct Tail {
    /// `None` after its end.
    pipe: Option<OwnedFd>,
    bytes: Vec<u8>,
}

impl Tail {
    /// A tail, and where to write for it.
    pub(crate) fn new() -> io::Result<(Tail, OwnedFd)> {
        let mut ends = [-1; 2];
        // SAFETY: there is room for two numbers.
        if unsafe { libc::pipe2(ends.as_mut_ptr(), libc::O_CLOEXEC) } != 0 {
            return Err(io::Error::last_os_error());
        }
        // SAFETY: the call made the descriptors, and nobody else knows of them.
        let (reader, writer) =
            unsafe { (OwnedFd::from_raw_fd(ends[0]), OwnedFd::from_raw_fd(ends[1])) };
        // SAFETY: takes numbers; the descriptor is open. Its other end is not concerned.
        if unsafe { libc::fcntl(reader.as_raw_fd(), libc::F_SETFL, libc::O_NONBLOCK) } != 0 {
            return Err(io::Error::last_os_error());
        }
        let tail = Tail {
            pipe: Some(reader),
            bytes: Vec::new(),
        };
        Ok((tail, writer))
    }

    /// The pipe, until its end.
    pub(crate) fn fd(&self) -> Option<i32> {
        self.pipe.as_ref().map(AsRawFd::as_raw_fd)
    }

    /// Reads what is there.
    pub(crate) fn read(&mut self) {
        let mut buffer = [0_u8; KEPT];
        while let Some(pipe) = &self.pipe {
            // SAFETY: the buffer is writable, and the descriptor is open.
            let read = unsafe {
                let place = buffer.as_mut_ptr().cast();
                libc::read(pipe.as_raw_fd(), place, buffer.len())
            };
            match usize::try_from(read) {
                Ok(0) => self.pipe = None,
                Ok(n) => self.keep(&buffer[..n]),
                Err(_) if io::Error::last_os_error().kind() == io::ErrorKind::Interrupted => {}
                Err(_) => return,
            }
        }
    }

    fn keep(&mut self, bytes: &[u8]) {
        self.bytes.extend_from_slice(bytes);
        let surplus = self.bytes.len().saturating_sub(KEPT);
        self.bytes.drain(..surplus);
    }

    /// Forgets what was read.
    pub(crate) fn clear(&mut self) {
        self.bytes.clear();
    }

    pub(crate) fn text(&self) -> String {
        String::from_utf8_lossy(&self.bytes).into_owned()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::io::Write;

    #[test]
    fn the_end_is_kept_and_nothing_waits() {
        let (mut tail, writer) = Tail::new().expect("a pipe");
        let mut writer = std::fs::File::from(writer);
        tail.read();
        assert_eq!(tail.text(), "");
        for n in 0..1000 {
            writeln!(writer, "line {n}").expect("the pipe takes it");
            tail.read();
        }
        assert!(tail.text().ends_with("line 998\nline 999\n"));
        assert_eq!(tail.text().len(), KEPT);
        drop(writer);
        tail.read();
        assert_eq!(tail.fd(), None);
    }
}
