//! Things with descriptors, made anew for each call under test.

use std::cell::Cell;
use std::ffi::CString;
use std::path::PathBuf;
use std::ptr;
use std::sync::atomic::{AtomicUsize, Ordering};

use libc::{c_int, sockaddr_in, sockaddr_un, socklen_t};

use super::calls::Via;

/// A kind of file that one end reads and another end (or a call) feeds.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
pub(crate) enum Kind {
    Tcp,
    Udp,
    UnixStream,
    UnixDatagram,
    UnixSequence,
    Pipe,
    Fifo,
    Terminal,
    Event,
    Timer,
    Inotify,
}

pub(crate) const KINDS: [Kind; 11] = [
    Kind::Tcp,
    Kind::Udp,
    Kind::UnixStream,
    Kind::UnixDatagram,
    Kind::UnixSequence,
    Kind::Pipe,
    Kind::Fifo,
    Kind::Terminal,
    Kind::Event,
    Kind::Timer,
    Kind::Inotify,
];

pub(crate) const STREAMS: [Kind; 4] = [Kind::Tcp, Kind::UnixStream, Kind::Pipe, Kind::Fifo];

impl Kind {
    pub(crate) fn is_socket(self) -> bool {
        matches!(
            self,
            Kind::Tcp | Kind::Udp | Kind::UnixStream | Kind::UnixDatagram | Kind::UnixSequence
        )
    }
}

/// Two descriptors of a kind: `a` is fed from `b`.
#[derive(Debug)]
pub(crate) struct Pair {
    pub(crate) kind: Kind,
    pub(crate) a: c_int,
    pub(crate) b: c_int,
    closed: Cell<[bool; 2]>,
    directory: Option<PathBuf>,
}

/// A directory of its own below `base`.
pub(crate) fn directory_in(base: &str) -> PathBuf {
    static NUMBER: AtomicUsize = AtomicUsize::new(0);
    // ORDER: Relaxed: a number that nobody else gets.
    let number = NUMBER.fetch_add(1, Ordering::Relaxed);
    let path = PathBuf::from(base).join(format!("brigade-{}-{number}", std::process::id()));
    std::fs::create_dir_all(&path).expect("a temporary directory");
    path
}

pub(crate) fn directory() -> PathBuf {
    directory_in(&std::env::temp_dir().to_string_lossy())
}

pub(crate) fn c_path(path: &std::path::Path) -> CString {
    CString::new(path.to_str().expect("a path in UTF-8")).expect("a path without zeros")
}

/// The loopback address with this port.
pub(crate) fn loopback(port: u16) -> sockaddr_in {
    // SAFETY: zeros are a valid address.
    let mut address: sockaddr_in = unsafe { std::mem::zeroed() };
    address.sin_family = libc::AF_INET as u16;
    address.sin_port = port.to_be();
    address.sin_addr.s_addr = u32::from_be_bytes([127, 0, 0, 1]).to_be();
    address
}

pub(crate) fn unix_address(path: &std::path::Path) -> sockaddr_un {
    // SAFETY: zeros are a valid address.
    let mut address: sockaddr_un = unsafe { std::mem::zeroed() };
    address.sun_family = libc::AF_UNIX as u16;
    let bytes = path.to_str().expect("a path in UTF-8").as_bytes();
    for (to, from) in address.sun_path.iter_mut().zip(bytes) {
        *to = *from as i8;
    }
    address
}

pub(crate) const IN_SIZE: socklen_t = size_of::<sockaddr_in>() as socklen_t;
pub(crate) const UN_SIZE: socklen_t = size_of::<sockaddr_un>() as socklen_t;

/// The port that a socket is bound to.
pub(crate) fn port_of(fd: c_int) -> u16 {
    let mut address = loopback(0);
    let mut size = IN_SIZE;
    // SAFETY: the places are as large as said.
    let result = unsafe { libc::getsockname(fd, (&raw mut address).cast(), &mut size) };
    assert_eq!(result, 0);
    u16::from_be(address.sin_port)
}

pub(crate) fn fd_of(made: super::calls::Out) -> c_int {
    c_int::try_from(made.expect("a descriptor")).expect("a number")
}

/// A socket bound to a free port of the loopback interface.
pub(crate) fn bound(via: Via, kind: c_int) -> c_int {
    let fd = fd_of(via.socket(libc::AF_INET, kind, 0));
    let address = loopback(0);
    // SAFETY: the address is valid, as large as said, and outlives the call.
    let result = unsafe { libc::bind(fd, (&raw const address).cast(), IN_SIZE) };
    assert_eq!(result, 0);
    fd
}

/// A listening TCP socket.
pub(crate) fn listener(via: Via, flags: c_int) -> c_int {
    let fd = bound(via, libc::SOCK_STREAM | flags);
    // SAFETY: the call takes numbers only, of descriptors that the script owns.
    assert_eq!(unsafe { libc::listen(fd, 16) }, 0);
    fd
}

fn connected(via: Via, fd: c_int, port: u16) {
    let address = loopback(port);
    via.connect(fd, (&raw const address).cast(), IN_SIZE)
        .expect("a connection to our own port");
}

fn tcp(via: Via, flags: c_int) -> [c_int; 2] {
    let listener = listener(via, flags);
    let b = fd_of(via.socket(libc::AF_INET, libc::SOCK_STREAM | flags, 0));
    connected(via, b, port_of(listener));
    let a = fd_of(via.accept4(listener, ptr::null_mut(), ptr::null_mut(), flags));
    via.close(listener).expect("the listener is open");
    [a, b]
}

fn udp(via: Via, flags: c_int) -> [c_int; 2] {
    let pair = [
        bound(via, libc::SOCK_DGRAM | flags),
        bound(via, libc::SOCK_DGRAM | flags),
    ];
    connected(via, pair[0], port_of(pair[1]));
    connected(via, pair[1], port_of(pair[0]));
    pair
}

fn fifo(directory: &std::path::Path, flags: c_int) -> [c_int; 2] {
    let path = c_path(&directory.join("fifo"));
    // SAFETY: valid paths and plain numbers.
    unsafe {
        assert_eq!(libc::mkfifo(path.as_ptr(), 0o600), 0);
        let a = libc::open(path.as_ptr(), libc::O_RDONLY | libc::O_NONBLOCK | flags);
        let b = libc::open(path.as_ptr(), libc::O_WRONLY | flags);
        assert!(a >= 0 && b >= 0);
        assert_eq!(libc::fcntl(a, libc::F_SETFL, 0), 0);
        [a, b]
    }
}

fn terminal(flags: c_int) -> [c_int; 2] {
    // SAFETY: valid places and plain numbers; the name is copied by `open` before another call can change it, because
    // the buffer is ours.
    unsafe {
        let b = libc::posix_openpt(libc::O_RDWR | libc::O_NOCTTY | flags);
        assert!(b >= 0);
        assert_eq!(libc::grantpt(b), 0);
        assert_eq!(libc::unlockpt(b), 0);
        let mut name = [0_i8; 64];
        assert_eq!(libc::ptsname_r(b, name.as_mut_ptr(), name.len()), 0);
        let a = libc::open(name.as_ptr(), libc::O_RDWR | libc::O_NOCTTY | flags);
        assert!(a >= 0);
        let mut mode: libc::termios = std::mem::zeroed();
        assert_eq!(libc::tcgetattr(a, &mut mode), 0);
        libc::cfmakeraw(&mut mode);
        assert_eq!(libc::tcsetattr(a, libc::TCSANOW, &mode), 0);
        [a, b]
    }
}

fn single(fd: c_int) -> [c_int; 2] {
    assert!(fd >= 0, "{}", std::io::Error::last_os_error());
    [fd, fd]
}

impl Pair {
    /// A fresh pair. `private`: closed on exec, so that Brigade may rely on what it knows of it.
    pub(crate) fn new(via: Via, kind: Kind, private: bool) -> Pair {
        let socket = if private { libc::SOCK_CLOEXEC } else { 0 };
        let open = if private { libc::O_CLOEXEC } else { 0 };
        let directory = matches!(kind, Kind::Fifo | Kind::Inotify).then(directory);
        let mut pair = [0; 2];
        let unix = |kind: c_int| {
            let mut pair = [0; 2];
            via.socketpair(libc::AF_UNIX, kind | socket, 0, pair.as_mut_ptr())
                .expect("a pair of sockets");
            pair
        };
        let [a, b] = match kind {
            Kind::Tcp => tcp(via, socket),
            Kind::Udp => udp(via, socket),
            Kind::UnixStream => unix(libc::SOCK_STREAM),
            Kind::UnixDatagram => unix(libc::SOCK_DGRAM),
            Kind::UnixSequence => unix(libc::SOCK_SEQPACKET),
            Kind::Pipe => {
                via.pipe2(pair.as_mut_ptr(), open).expect("a pipe");
                pair
            }
            Kind::Fifo => fifo(directory.as_ref().expect("made above"), open),
            Kind::Terminal => terminal(open),
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            Kind::Event => single(unsafe { libc::eventfd(0, open) }),
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            Kind::Timer => single(unsafe { libc::timerfd_create(libc::CLOCK_MONOTONIC, open) }),
            Kind::Inotify => {
                // SAFETY: the call takes numbers only, of descriptors that the script owns.
                let fd = single(unsafe { libc::inotify_init1(open) });
                let path = c_path(directory.as_ref().expect("made above"));
                // SAFETY: the path is a C string that outlives the call.
                let watch =
                    unsafe { libc::inotify_add_watch(fd[0], path.as_ptr(), libc::IN_CREATE) };
                assert!(watch >= 0);
                fd
            }
        };
        Pair {
            kind,
            a,
            b,
            closed: Cell::new([false, a == b]),
            directory,
        }
    }

    /// What makes `a` readable, on any thread, by a system call.
    pub(crate) fn feeder(&self, bytes: &'static [u8]) -> impl FnOnce() + Send + 'static {
        let (kind, b, directory) = (self.kind, self.b, self.directory.clone());
        move || match kind {
            Kind::Event => {
                let _ = Via::Kernel.write_all_of(b, &7_u64.to_ne_bytes());
            }
            Kind::Timer => {
                // SAFETY: zeros are a valid setting.
                let mut time: libc::itimerspec = unsafe { std::mem::zeroed() };
                time.it_value.tv_nsec = 1;
                // SAFETY: the setting is valid and outlives the call; the old one is not asked for.
                unsafe { libc::timerfd_settime(b, 0, &time, ptr::null_mut()) };
            }
            Kind::Inotify => {
                let path = directory.expect("a watched directory").join("new");
                let _ = std::fs::write(&path, b"");
                let _ = std::fs::remove_file(&path);
            }
            _ => {
                let _ = Via::Kernel.write_all_of(b, bytes);
            }
        }
    }

    /// Makes `a` readable now.
    pub(crate) fn feed(&self, bytes: &'static [u8]) {
        self.feeder(bytes)();
    }

    pub(crate) fn close_a(&self, via: Via) {
        let [_, b] = self.closed.get();
        self.closed.set([true, b]);
        via.close(self.a).expect("open until here");
    }

    pub(crate) fn close_b(&self, via: Via) {
        let [a, _] = self.closed.get();
        self.closed.set([a, true]);
        via.close(self.b).expect("open until here");
    }

    /// Somebody else closes `b`.
    pub(crate) fn give_b(&self) -> c_int {
        let [a, _] = self.closed.get();
        self.closed.set([a, true]);
        self.b
    }

    pub(crate) fn nonblocking(&self, via: Via) {
        let flags = Via::flags(self.a).expect("an open descriptor");
        via.fcntl(self.a, libc::F_SETFL, flags | libc::O_NONBLOCK as usize)
            .expect("a flag that can be set");
    }
}

impl Drop for Pair {
    fn drop(&mut self) {
        let [a, b] = self.closed.get();
        for (fd, closed) in [(self.a, a), (self.b, b)] {
            if !closed {
                let _ = Via::Libc.close(fd);
            }
        }
        if let Some(directory) = &self.directory {
            let _ = std::fs::remove_dir_all(directory);
        }
    }
}
