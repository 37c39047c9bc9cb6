//! Descriptors are closed while somebody waits for them, and their numbers are used again: nobody hangs, and nobody
//! gets what was meant for the old file.
//!
//! One test at a time: a number that one test closes must not become another's.

mod common;

use std::fs::File;
use std::io::{Read, Seek, SeekFrom, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::{Mutex, OnceLock, PoisonError, mpsc};
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use brigade_context::prim::sys;
use common::Watch;

static ALONE: Mutex<()> = Mutex::new(());

/// Runtimes that live as long as the process and have opened their descriptors: numbers change hands only by what the
/// tests do.
fn runtimes() -> &'static [Runtime; 3] {
    static RUNTIMES: OnceLock<[Runtime; 3]> = OnceLock::new();
    RUNTIMES.get_or_init(|| {
        [1, 2, 8].map(|workers| {
            let runtime = Builder::new()
                .workers(workers)
                .build()
                .expect("a runtime with some workers");
            let [a, b] = unix_pair();
            let waiting = green(&runtime, move || receive(a));
            a_while();
            close(b);
            assert_eq!(waiting.get(), Err(0));
            close(a);
            runtime
        })
    })
}

/// Runs `test` on runtimes with 1, 2 and 8 workers.
fn on_each(test: impl Fn(&Runtime)) {
    let _alone = ALONE.lock().unwrap_or_else(PoisonError::into_inner);
    let _watch = Watch::new("a run with descriptors that are closed");
    for (runtime, workers) in runtimes().iter().zip([1, 2, 8]) {
        eprintln!("{workers} workers");
        test(runtime);
    }
}

/// How long a call may take that must not hang.
const SOON: Duration = Duration::from_secs(20);

/// Calls `f` on a green thread; the result, unless it hangs.
#[track_caller]
fn green<T: Send + 'static>(
    runtime: &Runtime,
    f: impl FnOnce() -> T + Send + 'static,
) -> Pending<T> {
    let (tell, hear) = mpsc::channel();
    runtime.spawn(move || {
        let _ = tell.send(f());
    });
    Pending(hear)
}

struct Pending<T>(mpsc::Receiver<T>);

impl<T> Pending<T> {
    #[track_caller]
    fn get(self) -> T {
        self.0.recv_timeout(SOON).expect("a call that ends")
    }
}

/// Long enough for a green thread to begin to wait, mostly; nothing depends on that.
fn a_while() {
    std::thread::sleep(Duration::from_millis(5));
}

/// One byte from `fd`, or errno.
fn receive(fd: RawFd) -> Result<u8, i32> {
    let mut byte = 0_u8;
    // SAFETY: a place for one byte.
    match unsafe { libc::read(fd, (&raw mut byte).cast(), 1) } {
        1 => Ok(byte),
        0 => Err(0),
        _ => Err(std::io::Error::last_os_error()
            .raw_os_error()
            .expect("an errno")),
    }
}

fn close(fd: RawFd) {
    // SAFETY: the tests close what they opened.
    assert_eq!(unsafe { libc::close(fd) }, 0);
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
    let address = listener.local_addr().expect("an address");
    let one = TcpStream::connect(address).expect("a connection");
    (one, listener.accept().expect("the other end").0)
}

fn unix_pair() -> [RawFd; 2] {
    let (a, b) = UnixStream::pair().expect("a pair");
    [a.into_raw_fd(), b.into_raw_fd()]
}

fn pipe() -> [RawFd; 2] {
    let (reader, writer) = std::io::pipe().expect("a pipe");
    [reader.into_raw_fd(), writer.into_raw_fd()]
}

#[test]
fn a_close_wakes_who_waits_with_ebadf() {
    on_each(|runtime| {
        for make in [unix_pair, pipe] {
            let [a, b] = make();
            let waiting: Vec<_> = (0..5).map(|_| green(runtime, move || receive(a))).collect();
            a_while();
            close(a);
            for result in waiting {
                assert_eq!(result.get(), Err(libc::EBADF));
            }
            close(b);
        }
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let fd = listener.as_raw_fd();
        let waiting: Vec<_> = (0..5)
            .map(|_| {
                green(runtime, move || {
                    // SAFETY: no address is asked for.
                    let result =
                        unsafe { libc::accept(fd, std::ptr::null_mut(), std::ptr::null_mut()) };
                    (result, std::io::Error::last_os_error().raw_os_error())
                })
            })
            .collect();
        a_while();
        drop(listener);
        for result in waiting {
            assert_eq!(result.get(), (-1, Some(libc::EBADF)));
        }
    });
}

#[test]
fn a_close_wakes_who_polls() {
    on_each(|runtime| {
        let [a, b] = unix_pair();
        let polled = green(runtime, move || {
            let mut one = libc::pollfd {
                fd: a,
                events: libc::POLLIN,
                revents: 0,
            };
            // SAFETY: one valid structure.
            let count = unsafe { libc::poll(&mut one, 1, -1) };
            (count, one.revents)
        });
        a_while();
        close(a);
        assert_eq!(polled.get(), (1, libc::POLLNVAL));
        close(b);
    });
}

/// The reader is anywhere in its call when the number is closed: also between the moment at which Brigade forgets the
/// number and the one at which the kernel closes it.
#[test]
fn a_close_at_any_moment_ends_a_reader() {
    on_each(|runtime| {
        for round in 0..400_u32 {
            let [a, b] = if round % 2 == 0 { unix_pair() } else { pipe() };
            let reader = green(runtime, move || {
                let mut bytes = 0_u32;
                loop {
                    match receive(a) {
                        Ok(_) => bytes += 1,
                        Err(error) => return (error, bytes),
                    }
                }
            });
            // Keeps the reader between waiting and reading, until nobody reads any more.
            let writer = std::thread::spawn(move || {
                // SAFETY: the byte is valid and outlives the call.
                while unsafe { libc::write(b, [1_u8].as_ptr().cast(), 1) } == 1 {
                    for _ in 0..round % 50 {
                        std::hint::spin_loop();
                    }
                }
                close(b);
            });
            for _ in 0..round * 10 {
                std::hint::spin_loop();
            }
            close(a);
            assert_eq!(reader.get().0, libc::EBADF);
            writer.join().expect("a writer that nobody reads");
        }
    });
}

#[test]
fn numbers_used_again_in_a_tight_loop_carry_the_right_bytes() {
    on_each(|runtime| {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
        let address = listener.local_addr().expect("an address");
        const CLIENTS: u32 = 100;
        const ROUNDS: u32 = 10;
        let server = runtime.spawn(move || {
            for _ in 0..CLIENTS * ROUNDS {
                let (mut stream, _) = listener.accept().expect("a client");
                brigade::thread::spawn(move || {
                    let mut token = [0; 8];
                    stream.read_exact(&mut token).expect("a token");
                    stream.write_all(&token).expect("a client that listens");
                    // The end of the client's half, so that this end does not close first.
                    assert_eq!(stream.read(&mut token).expect("the end"), 0);
                });
            }
        });
        let clients: Vec<_> = (0..CLIENTS)
            .map(|client| {
                green(runtime, move || {
                    for round in 0..ROUNDS {
                        let mut stream = TcpStream::connect(address).expect("a server");
                        let token = (u64::from(client) << 32 | u64::from(round)).to_ne_bytes();
                        stream
                            .write_all(&token[..3])
                            .expect("a server that listens");
                        brigade::thread::yield_now();
                        stream
                            .write_all(&token[3..])
                            .expect("a server that listens");
                        let mut answer = [0; 8];
                        stream.read_exact(&mut answer).expect("an answer");
                        assert_eq!(answer, token);
                    }
                    ROUNDS
                })
            })
            .collect();
        let rounds: u32 = clients.into_iter().map(Pending::get).sum();
        assert_eq!(rounds, CLIENTS * ROUNDS);
        server.join().expect("the server");
    });
}

#[test]
fn a_duplicate_onto_a_number_that_somebody_waits_for() {
    on_each(|runtime| {
        let [a, b] = unix_pair();
        let [c, d] = unix_pair();
        let parks = runtime.metrics().parks;
        let waiting = green(runtime, move || receive(a));
        // Whoever begins after the duplicate waits for the other file.
        while runtime.metrics().parks == parks {
            a_while();
        }
        // SAFETY: the call takes numbers only, of descriptors that the test owns.
        assert_eq!(unsafe { libc::dup2(c, a) }, a);
        assert_eq!(waiting.get(), Err(libc::EBADF));
        // From now on the number is the other file's: for who waits, and for who comes later.
        let waiting = green(runtime, move || receive(a));
        a_while();
        // SAFETY: the byte is valid and outlives the call.
        assert_eq!(unsafe { libc::write(d, [7_u8].as_ptr().cast(), 1) }, 1);
        assert_eq!(waiting.get(), Ok(7));
        for fd in [a, b, c, d] {
            close(fd);
        }
    });
}

/// A duplicate keeps the file alive behind the number that is closed: what happens to it must not be taken for news of
/// the next file with that number.
#[test]
fn a_duplicate_outlives_the_number() {
    on_each(|runtime| {
        for _ in 0..20 {
            let (mut one, other) = tcp_pair();
            let number = other.as_raw_fd();
            let mut clone = other.try_clone().expect("a duplicate");
            let waiting = green(runtime, move || receive(number));
            a_while();
            drop(other);
            assert_eq!(waiting.get(), Err(libc::EBADF));
            let (a, mut b) = UnixStream::pair().expect("a pair");
            let mut a = a;
            assert_eq!(a.as_raw_fd(), number, "the lowest free number");
            let first = green(runtime, move || {
                let mut byte = [0];
                a.read_exact(&mut byte).expect("a byte");
                byte
            });
            let second = green(runtime, move || {
                let mut byte = [0];
                clone.read_exact(&mut byte).expect("a byte");
                byte
            });
            a_while();
            one.write_all(&[1]).expect("the clone lives");
            assert_eq!(second.get(), [1]);
            b.write_all(&[2]).expect("a pair");
            assert_eq!(first.get(), [2]);
        }
    });
}

#[test]
fn one_half_is_dropped_while_the_other_waits() {
    on_each(|runtime| {
        let (mut one, other) = tcp_pair();
        let half = other.try_clone().expect("a duplicate");
        let waiting = green(runtime, move || {
            let mut other = other;
            let mut byte = [0];
            other
                .read_exact(&mut byte)
                .map(|()| byte[0])
                .map_err(|error| error.kind())
        });
        a_while();
        drop(half);
        one.write_all(&[9]).expect("the other half lives");
        assert_eq!(waiting.get(), Ok(9));
    });
}

fn temporary_file(bytes: &[u8]) -> File {
    // SAFETY: a valid name; the number is ours.
    let fd = unsafe { libc::memfd_create(c"file".as_ptr(), libc::MFD_CLOEXEC) };
    // SAFETY: the number was just returned by the kernel and belongs to nobody else.
    let mut file = unsafe { File::from_raw_fd(fd) };
    file.write_all(bytes).expect("memory");
    file.seek(SeekFrom::Start(0)).expect("an ordinary file");
    file
}

/// `fclose` closes inside libc, where nobody sees it.
#[test]
fn a_number_that_a_stream_of_c_has_closed() {
    on_each(|runtime| {
        let result = green(runtime, || {
            for kind in 0..3 {
                let [a, b] = unix_pair();
                // SAFETY: one valid byte, a valid mode, and a number that the stream takes over.
                unsafe {
                    assert_eq!(libc::write(b, [1_u8].as_ptr().cast(), 1), 1);
                    let file = libc::fdopen(a, c"r".as_ptr());
                    assert_eq!(libc::fgetc(file), 1);
                    // As a program may that mixes both.
                    assert_eq!(libc::write(b, [2_u8].as_ptr().cast(), 1), 1);
                    assert_eq!(receive(a), Ok(2));
                    assert_eq!(libc::fclose(file), 0);
                }
                let [c, d] = match kind {
                    0 => unix_pair(),
                    1 => pipe(),
                    _ => {
                        let file = temporary_file(b"content");
                        [file.into_raw_fd(), -1]
                    }
                };
                assert_eq!(c, a, "the lowest free number");
                if d >= 0 {
                    let late = std::thread::spawn(move || {
                        a_while();
                        // SAFETY: the byte is valid and outlives the call.
                        unsafe { libc::write(d, [3_u8].as_ptr().cast(), 1) }
                    });
                    assert_eq!(receive(c), Ok(3));
                    late.join().expect("the writer");
                    close(d);
                } else {
                    assert_eq!(receive(c), Ok(b'c'));
                    let mut rest = [0_u8; 20];
                    // SAFETY: the place is as large as said.
                    let count = unsafe { libc::read(c, rest.as_mut_ptr().cast(), 20) };
                    assert_eq!((count, &rest[..6]), (6, &b"ontent"[..]));
                }
                close(c);
                close(b);
            }
            true
        });
        assert!(result.get());
    });
}

fn raw(number: libc::c_long, arguments: [usize; 6]) -> isize {
    // SAFETY: the tests pass what the kernel asks for.
    unsafe { sys::call(number, arguments) }
}

/// A file at a number whose socket a system call closed, unseen.
#[test]
fn a_number_that_a_system_call_has_closed_becomes_a_file() {
    on_each(|runtime| {
        let result = green(runtime, || {
            let [a, b] = unix_pair();
            // SAFETY: the byte is valid and outlives the call.
            unsafe { libc::write(b, [1_u8].as_ptr().cast(), 1) };
            assert_eq!(receive(a), Ok(1));
            assert_eq!(raw(libc::SYS_close, [a as usize, 0, 0, 0, 0, 0]), 0);
            let mut file = temporary_file(b"content");
            assert_eq!(file.as_raw_fd(), a, "the lowest free number");
            let mut text = String::new();
            file.read_to_string(&mut text).expect("a file");
            file.write_all(b" and more").expect("a file");
            close(b);
            text
        });
        assert_eq!(result.get(), "content");
    });
}

/// And a socket that a hooked call makes there.
#[test]
fn a_number_that_a_system_call_has_closed_becomes_a_socket() {
    on_each(|runtime| {
        let [a, b] = unix_pair();
        let waiting = green(runtime, move || receive(a));
        a_while();
        // SAFETY: the byte is valid and outlives the call.
        unsafe { libc::write(b, [1_u8].as_ptr().cast(), 1) };
        assert_eq!(waiting.get(), Ok(1));
        assert_eq!(raw(libc::SYS_close, [a as usize, 0, 0, 0, 0, 0]), 0);
        let [c, d] = unix_pair();
        assert_eq!(c, a, "the lowest free number");
        let waiting = green(runtime, move || receive(c));
        a_while();
        // SAFETY: the byte is valid and outlives the call.
        unsafe { libc::write(d, [2_u8].as_ptr().cast(), 1) };
        assert_eq!(waiting.get(), Ok(2));
        for fd in [b, c, d] {
            close(fd);
        }
    });
}

#[test]
#[ignore = "a file that is known is taken for registered: closed and made again by system calls it is never woken"]
fn a_number_that_system_calls_have_closed_and_made_again() {
    on_each(|runtime| {
        let [a, b] = unix_pair();
        let waiting = green(runtime, move || receive(a));
        a_while();
        // SAFETY: the byte is valid and outlives the call.
        unsafe { libc::write(b, [1_u8].as_ptr().cast(), 1) };
        assert_eq!(waiting.get(), Ok(1));
        assert_eq!(raw(libc::SYS_close, [a as usize, 0, 0, 0, 0, 0]), 0);
        let mut pair = [0_i32; 2];
        let kind = (libc::SOCK_STREAM | libc::SOCK_CLOEXEC) as usize;
        let place = pair.as_mut_ptr() as usize;
        assert_eq!(
            raw(
                libc::SYS_socketpair,
                [libc::AF_UNIX as usize, kind, 0, place, 0, 0]
            ),
            0
        );
        let [c, d] = pair;
        assert_eq!(c, a, "the lowest free number");
        let waiting = green(runtime, move || receive(c));
        a_while();
        // SAFETY: the byte is valid and outlives the call.
        unsafe { libc::write(d, [2_u8].as_ptr().cast(), 1) };
        assert_eq!(waiting.get(), Ok(2));
        for fd in [b, c, d] {
            close(fd);
        }
    });
}

/// An ordinary file that a stream of C has closed; what was learnt of it would make a read wait for more.
#[test]
fn a_file_that_a_stream_of_c_has_closed_becomes_a_pipe() {
    on_each(|runtime| {
        let result = green(runtime, || {
            let a = temporary_file(b"content").into_raw_fd();
            // SAFETY: a valid mode, and a number that the stream takes over.
            unsafe {
                let file = libc::fdopen(a, c"r".as_ptr());
                assert_eq!(receive(a), Ok(b'c'));
                assert_eq!(libc::fclose(file), 0);
            }
            let mut pair = [0_i32; 2];
            let place = pair.as_mut_ptr() as usize;
            let flags = libc::O_CLOEXEC as usize;
            assert_eq!(raw(libc::SYS_pipe2, [place, flags, 0, 0, 0, 0]), 0);
            assert_eq!(pair[0], a, "the lowest free number");
            let mut bytes = [0_u8; 10];
            // SAFETY: the buffers are as large as said.
            let count = unsafe {
                assert_eq!(libc::write(pair[1], c"xyz".as_ptr().cast(), 3), 3);
                libc::read(a, bytes.as_mut_ptr().cast(), 10)
            };
            for fd in pair {
                close(fd);
            }
            (count, bytes)
        });
        assert_eq!(result.get(), (3, *b"xyz\0\0\0\0\0\0\0"));
    });
}
