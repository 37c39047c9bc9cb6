//! Sockets for the tests: what std has no name for.

use std::io;
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;

/// Both ends of a TCP connection over loopback.
pub(crate) fn pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let near = TcpStream::connect(address).expect("the listener's backlog is empty");
    let (far, _) = listener.accept().expect("a peer has connected");
    (near, far)
}

/// Sends what is waiting no more: dropping the stream resets the connection.
pub(crate) fn reset_on_drop(stream: &TcpStream) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option value is a live `linger` of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// The soft limit on descriptors and the hard one.
pub(crate) fn descriptor_limits() -> (u64, u64) {
    let mut limit = libc::rlimit {
        rlim_cur: 0,
        rlim_max: 0,
    };
    // SAFETY: the kernel writes one rlimit to a live one.
    let result = unsafe { libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limit) };
    assert_eq!(result, 0);
    (limit.rlim_cur, limit.rlim_max)
}

/// Sets the soft limit on descriptors; the hard one stays.
pub(crate) fn limit_descriptors(soft: u64) {
    let limit = libc::rlimit {
        rlim_cur: soft,
        rlim_max: descriptor_limits().1,
    };
    // SAFETY: the limit is a valid structure.
    let result = unsafe { libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) };
    assert_eq!(result, 0, "{}", io::Error::last_os_error());
}

/// Bytes that differ from their neighbours and from those of other seeds, so that a lost, doubled or swapped piece
/// shows.
pub(crate) fn bytes(seed: usize, length: usize) -> Vec<u8> {
    (0..length)
        .map(|index| ((index * 31) ^ (index >> 8) ^ (seed * 7)) as u8)
        .collect()
}
