//! Alone in its process, because no other test may get the number that is closed here.

mod common;

use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;

use brigade_task::Async;
use common::block_on;

#[test]
fn a_descriptor_closed_behind_the_back_is_an_error() {
    let (here, _there) = Async::<UnixStream>::pair().expect("a pair of sockets");
    let number = here.get_ref().as_raw_fd();
    // SAFETY: the number is closed once: the socket that owned it is forgotten below.
    drop(unsafe { OwnedFd::from_raw_fd(number) });
    // No other thread of this process opens files, so the number stays free.
    let error = block_on(here.readable()).expect_err("nothing is there");
    assert_eq!(error.raw_os_error(), Some(9));
    let _gone = here.into_inner().into_raw_fd();
}
