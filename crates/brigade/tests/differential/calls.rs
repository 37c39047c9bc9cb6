//! Every call under test, through libc's name or as a plain system call.

use brigade_context::prim::sys;
use libc::{c_int, c_void, iovec, mmsghdr, msghdr, pollfd, size_t, sockaddr, socklen_t, ssize_t};

/// How a script calls.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Via {
    /// By the name that Brigade interposes.
    Libc,
    /// By a system call instruction.
    Kernel,
}

/// What a caller of libc sees: the result, or errno.
pub(crate) type Out = Result<usize, c_int>;

unsafe extern "C" {
    fn __read_chk(fd: c_int, buffer: *mut c_void, length: size_t, room: size_t) -> ssize_t;
    fn __recv_chk(
        fd: c_int,
        buffer: *mut c_void,
        length: size_t,
        room: size_t,
        flags: c_int,
    ) -> ssize_t;
}

fn libc_out(result: isize) -> Out {
    usize::try_from(result).map_err(|_| {
        std::io::Error::last_os_error()
            .raw_os_error()
            .expect("an error of the system")
    })
}

fn kernel(number: libc::c_long, arguments: [usize; 6]) -> Out {
    // SAFETY: the scripts pass what the kernel asks for, or what it refuses.
    let result = unsafe { sys::call(number, arguments) };
    usize::try_from(result).map_err(|_| c_int::try_from(-result).expect("an errno"))
}

/// One value after the other, as the arguments of a system call.
macro_rules! words {
    ($($word:expr),*) => {{
        let mut words = [0_usize; 6];
        let given = [$($word as usize),*];
        words[..given.len()].copy_from_slice(&given);
        words
    }};
}

/// A method per call: the name in libc, the system call, its arguments.
macro_rules! call {
    ($name:ident, $number:ident, ($($argument:ident: $type:ty),*)) => {
        pub(crate) fn $name(self, $($argument: $type),*) -> Out {
            match self {
                // SAFETY: as in `kernel`: libc's wrappers hand the arguments to the kernel.
                Via::Libc => libc_out(unsafe { libc::$name($($argument),*) } as isize),
                Via::Kernel => kernel(libc::$number, words![$($argument),*]),
            }
        }
    };
}

impl Via {
    call!(read, SYS_read, (fd: c_int, buffer: *mut c_void, length: usize));
    call!(write, SYS_write, (fd: c_int, buffer: *const c_void, length: usize));
    call!(readv, SYS_readv, (fd: c_int, parts: *const iovec, count: c_int));
    call!(writev, SYS_writev, (fd: c_int, parts: *const iovec, count: c_int));
    call!(pread, SYS_pread64, (fd: c_int, buffer: *mut c_void, length: usize, at: i64));
    call!(pread64, SYS_pread64, (fd: c_int, buffer: *mut c_void, length: usize, at: i64));
    call!(recvfrom, SYS_recvfrom, (fd: c_int, buffer: *mut c_void, length: usize, flags: c_int,
        address: *mut sockaddr, size: *mut socklen_t));
    call!(recvmsg, SYS_recvmsg, (fd: c_int, message: *mut msghdr, flags: c_int));
    call!(recvmmsg, SYS_recvmmsg, (fd: c_int, messages: *mut mmsghdr, count: u32, flags: c_int,
        timeout: *mut libc::timespec));
    call!(sendto, SYS_sendto, (fd: c_int, buffer: *const c_void, length: usize, flags: c_int,
        address: *const sockaddr, size: socklen_t));
    call!(sendmsg, SYS_sendmsg, (fd: c_int, message: *const msghdr, flags: c_int));
    call!(sendmmsg, SYS_sendmmsg, (fd: c_int, messages: *mut mmsghdr, count: u32, flags: c_int));
    call!(accept, SYS_accept, (fd: c_int, address: *mut sockaddr, size: *mut socklen_t));
    call!(accept4, SYS_accept4, (fd: c_int, address: *mut sockaddr, size: *mut socklen_t, flags: c_int));
    call!(connect, SYS_connect, (fd: c_int, address: *const sockaddr, size: socklen_t));
    call!(poll, SYS_poll, (fds: *mut pollfd, count: u64, timeout_ms: c_int));
    call!(epoll_wait, SYS_epoll_wait, (epoll: c_int, events: *mut libc::epoll_event, count: c_int,
        timeout_ms: c_int));
    call!(socket, SYS_socket, (domain: c_int, kind: c_int, protocol: c_int));
    call!(socketpair, SYS_socketpair, (domain: c_int, kind: c_int, protocol: c_int, pair: *mut c_int));
    call!(pipe2, SYS_pipe2, (pair: *mut c_int, flags: c_int));
    call!(dup, SYS_dup, (fd: c_int));
    call!(dup2, SYS_dup2, (old: c_int, new: c_int));
    call!(close, SYS_close, (fd: c_int));
    call!(fcntl, SYS_fcntl, (fd: c_int, command: c_int, argument: usize));
    call!(ioctl, SYS_ioctl, (fd: c_int, request: libc::c_ulong, argument: *mut c_void));
    call!(setsockopt, SYS_setsockopt, (fd: c_int, level: c_int, option: c_int, value: *const c_void,
        size: socklen_t));

    pub(crate) fn recv(self, fd: c_int, buffer: *mut c_void, length: usize, flags: c_int) -> Out {
        match self {
            // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
            Via::Libc => libc_out(unsafe { libc::recv(fd, buffer, length, flags) }),
            Via::Kernel => kernel(libc::SYS_recvfrom, words![fd, buffer, length, flags]),
        }
    }

    pub(crate) fn send(self, fd: c_int, buffer: *const c_void, length: usize, flags: c_int) -> Out {
        match self {
            // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
            Via::Libc => libc_out(unsafe { libc::send(fd, buffer, length, flags) }),
            Via::Kernel => kernel(libc::SYS_sendto, words![fd, buffer, length, flags]),
        }
    }

    pub(crate) fn read_chk(self, fd: c_int, buffer: *mut c_void, length: usize) -> Out {
        match self {
            // SAFETY: as in `kernel`; the room is the length.
            Via::Libc => libc_out(unsafe { __read_chk(fd, buffer, length, length) }),
            Via::Kernel => self.read(fd, buffer, length),
        }
    }

    pub(crate) fn recv_chk(
        self,
        fd: c_int,
        buffer: *mut c_void,
        length: usize,
        flags: c_int,
    ) -> Out {
        match self {
            // SAFETY: as in `kernel`; the room is the length.
            Via::Libc => libc_out(unsafe { __recv_chk(fd, buffer, length, length, flags) }),
            Via::Kernel => self.recv(fd, buffer, length, flags),
        }
    }

    pub(crate) fn preadv(self, fd: c_int, parts: *const iovec, count: c_int, at: i64) -> Out {
        match self {
            // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
            Via::Libc => libc_out(unsafe { libc::preadv(fd, parts, count, at) }),
            Via::Kernel => kernel(libc::SYS_preadv, words![fd, parts, count, at]),
        }
    }

    pub(crate) fn ppoll(
        self,
        fds: *mut pollfd,
        count: u64,
        time: Option<libc::timespec>,
        mask: *const libc::sigset_t,
    ) -> Out {
        let mut time = time;
        let at = time
            .as_mut()
            .map_or(std::ptr::null_mut(), std::ptr::from_mut);
        match self {
            // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
            Via::Libc => libc_out(unsafe { libc::ppoll(fds, count, at, mask) } as isize),
            Via::Kernel => kernel(libc::SYS_ppoll, words![fds, count, at, mask, 8]),
        }
    }

    pub(crate) fn select(
        self,
        count: c_int,
        sets: [*mut libc::fd_set; 3],
        time: *mut libc::timeval,
    ) -> Out {
        let [reads, writes, excepts] = sets;
        match self {
            Via::Libc => {
                // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
                libc_out(unsafe { libc::select(count, reads, writes, excepts, time) } as isize)
            }
            Via::Kernel => kernel(
                libc::SYS_select,
                words![count, reads, writes, excepts, time],
            ),
        }
    }

    pub(crate) fn pselect(
        self,
        count: c_int,
        sets: [*mut libc::fd_set; 3],
        time: Option<libc::timespec>,
        mask: *const libc::sigset_t,
    ) -> Out {
        let [reads, writes, excepts] = sets;
        let mut time = time;
        let at = time
            .as_mut()
            .map_or(std::ptr::null_mut(), std::ptr::from_mut);
        let pair = [mask as usize, 8];
        match self {
            Via::Libc => libc_out(
                // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
                unsafe { libc::pselect(count, reads, writes, excepts, at, mask) } as isize,
            ),
            Via::Kernel => kernel(
                libc::SYS_pselect6,
                words![count, reads, writes, excepts, at, &raw const pair],
            ),
        }
    }

    pub(crate) fn epoll_pwait(
        self,
        epoll: c_int,
        events: *mut libc::epoll_event,
        count: c_int,
        timeout_ms: c_int,
        mask: *const libc::sigset_t,
    ) -> Out {
        match self {
            Via::Libc => libc_out(
                // SAFETY: as in `kernel`: the scripts pass what the kernel asks for, or what it refuses.
                unsafe { libc::epoll_pwait(epoll, events, count, timeout_ms, mask) } as isize,
            ),
            Via::Kernel => kernel(
                libc::SYS_epoll_pwait,
                words![epoll, events, count, timeout_ms, mask, 8],
            ),
        }
    }
}

impl Via {
    /// Reads into `buffer`.
    pub(crate) fn read_to(self, fd: c_int, buffer: &mut [u8]) -> Out {
        self.read(fd, buffer.as_mut_ptr().cast(), buffer.len())
    }

    /// Receives into `buffer`.
    pub(crate) fn recv_to(self, fd: c_int, buffer: &mut [u8], flags: c_int) -> Out {
        self.recv(fd, buffer.as_mut_ptr().cast(), buffer.len(), flags)
    }

    /// Writes `bytes`.
    pub(crate) fn write_all_of(self, fd: c_int, bytes: &[u8]) -> Out {
        self.write(fd, bytes.as_ptr().cast(), bytes.len())
    }

    /// Sends `bytes`.
    pub(crate) fn send_all_of(self, fd: c_int, bytes: &[u8], flags: c_int) -> Out {
        self.send(fd, bytes.as_ptr().cast(), bytes.len(), flags)
    }

    /// The status flags of the file.
    pub(crate) fn flags(fd: c_int) -> Out {
        Via::Kernel.fcntl(fd, libc::F_GETFL, 0)
    }
}

/// The two halves of a buffer as parts.
pub(crate) fn halves(buffer: &mut [u8]) -> [iovec; 2] {
    let middle = buffer.len() / 2;
    let (first, second) = buffer.split_at_mut(middle);
    [first, second].map(|part| iovec {
        iov_base: part.as_mut_ptr().cast(),
        iov_len: part.len(),
    })
}

/// A message of some parts without an address.
pub(crate) fn message(parts: &mut [iovec]) -> msghdr {
    // SAFETY: zeros are an empty message.
    let mut message: msghdr = unsafe { std::mem::zeroed() };
    message.msg_iov = parts.as_mut_ptr();
    message.msg_iovlen = parts.len();
    message
}
