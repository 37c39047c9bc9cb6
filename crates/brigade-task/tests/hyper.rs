//! hyper's traits, where what is inside does not keep its word.
#![cfg(feature = "hyper")]

mod common;

use std::future::poll_fn;
use std::io::{self, Read};
use std::os::fd::{AsFd, BorrowedFd};
use std::os::unix::net::UnixStream;
use std::pin::Pin;

use brigade_task::Async;
use common::block_on;
use hyper::rt::{Read as _, ReadBuf};

/// Says that it has read more than there was room for.
struct Liar(UnixStream);

impl AsFd for Liar {
    fn as_fd(&self) -> BorrowedFd<'_> {
        self.0.as_fd()
    }
}

impl Read for Liar {
    fn read(&mut self, buffer: &mut [u8]) -> io::Result<usize> {
        Ok(buffer.len() + 1)
    }
}

#[test]
#[should_panic(expected = "more was read than there was room for")]
fn a_reader_that_lies_cannot_make_bytes_of_nothing() {
    let (here, _there) = UnixStream::pair().expect("a pair of sockets");
    let mut liar = Async::new(Liar(here)).expect("a socket can be waited for");
    let mut room = [std::mem::MaybeUninit::uninit(); 16];
    let mut buffer = ReadBuf::uninit(&mut room);
    let read = block_on(poll_fn(|cx| {
        Pin::new(&mut liar).poll_read(cx, buffer.unfilled())
    }));
    // Without the check it would seem that bytes behind the end were read.
    assert!(read.is_err() || buffer.filled().len() <= 16);
}
