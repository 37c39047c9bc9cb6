//! Waits for descriptors where a wake-up could be lost, and readings that what is known of a file must not spoil.

mod common;

use std::fs::File;
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, FromRawFd, IntoRawFd, RawFd};
use std::os::unix::net::UnixStream;
use std::sync::mpsc;
use std::thread::sleep;
use std::time::Duration;

use brigade::runtime::{Builder, Runtime};
use common::Watch;

fn lone_runtime() -> Runtime {
    Builder::new().workers(1).build().expect("a runtime")
}

/// Long enough for the monitor to take a processor away and to go to sleep for good.
const STUCK: Duration = Duration::from_millis(200);

/// Blocks the kernel thread in a way that no hook sees.
fn block_unseen() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: i64::from(STUCK.subsec_nanos()),
    };
    let none = std::ptr::null_mut::<libc::timespec>();
    // SAFETY: a plain system call with a valid time.
    unsafe { libc::syscall(libc::SYS_nanosleep, &raw const time, none) };
}

fn read_one(mut from: &UnixStream) -> u8 {
    let mut byte = [0];
    from.read_exact(&mut byte).expect("a byte");
    byte[0]
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two sockets")
}

fn tcp_pair() -> (TcpStream, TcpStream) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let address = listener.local_addr().expect("an address");
    let client = TcpStream::connect(address).expect("it listens");
    (client, listener.accept().expect("a connection").0)
}

#[test]
fn the_first_wait_for_a_descriptor_is_woken_though_its_thread_had_lost_its_processor() {
    let _watch = Watch::new("a first wait adrift");
    let runtime = lone_runtime();
    let (mut near, far) = pair();
    let reader = runtime.spawn(move || {
        block_unseen();
        read_one(&far)
    });
    // Waits for the processor, so that it is taken from the carrier of the reader.
    runtime.spawn(|| ()).join().expect("no panic");
    sleep(3 * STUCK);
    near.write_all(&[7]).expect("room for a byte");
    assert_eq!(reader.join().expect("no panic"), 7);
}

#[test]
fn a_wait_is_woken_though_the_carrier_that_polled_has_lost_its_processor() {
    let _watch = Watch::new("a poller without a processor");
    let runtime = lone_runtime();
    let (mut near, far) = pair();
    let (mut near_other, far_other) = pair();
    // Both files are registered. For the other one nobody waits afterwards.
    let (far, _far_other) = runtime.run(move || {
        for file in [&far, &far_other] {
            let brief = Some(Duration::from_millis(1));
            file.set_read_timeout(brief).expect("a socket");
            let mut file = file;
            file.read(&mut [0]).expect_err("nobody has written");
            file.set_read_timeout(None).expect("a socket");
        }
        (far, far_other)
    });
    let reader = runtime.spawn(move || {
        // Another carrier gets the processor, and polls; then this one takes the processor back.
        brigade::blocking(block_unseen);
        read_one(&far)
    });
    sleep(3 * STUCK);
    near_other.write_all(&[1]).expect("room for a byte");
    sleep(STUCK);
    near.write_all(&[7]).expect("room for a byte");
    assert_eq!(reader.join().expect("no panic"), 7);
}

#[test]
fn the_longest_timeouts_of_std_are_taken() {
    let _watch = Watch::new("long timeouts");
    let set = || {
        let (near, far) = pair();
        near.set_read_timeout(Some(Duration::MAX))
            .expect("a socket");
        near.set_write_timeout(Some(Duration::MAX))
            .expect("a socket");
        (&far).write_all(&[9]).expect("room for a byte");
        assert_eq!(read_one(&near), 9);
    };
    set();
    lone_runtime().run(set);
}

#[test]
fn a_negative_timeout_of_a_socket_does_not_wait() {
    let _watch = Watch::new("a negative timeout");
    let read = || {
        let (near, _far) = pair();
        let negative = libc::timeval {
            tv_sec: -1,
            tv_usec: 0,
        };
        let size = size_of::<libc::timeval>() as libc::socklen_t;
        let option = libc::SO_RCVTIMEO;
        // SAFETY: a socket and a valid value.
        let set = unsafe {
            let value = (&raw const negative).cast();
            libc::setsockopt(near.as_raw_fd(), libc::SOL_SOCKET, option, value, size)
        };
        assert_eq!(set, 0);
        (&near).read(&mut [0]).expect_err("nobody writes").kind()
    };
    let plain = read();
    assert_eq!(lone_runtime().run(read), plain);
}

/// Waits once so that the file is registered, then reads the first message with room for more.
fn read_two_messages(stream: &mut (impl Read + AsRawFd), send: impl FnOnce()) -> Vec<Vec<u8>> {
    let mut room = [0; 64];
    let first = stream.read(&mut room).expect("a byte");
    assert_eq!(first, 1);
    send();
    // The reactor reports what has come before the thread reads it.
    brigade::thread::sleep(Duration::from_millis(20));
    let mut messages = Vec::new();
    for _ in 0..2 {
        let bytes = stream.read(&mut room).expect("a message");
        messages.push(room[..bytes].to_vec());
    }
    messages
}

fn send_flagged(fd: RawFd, bytes: &[u8], flags: libc::c_int) {
    // SAFETY: the bytes are valid for the length given.
    let sent = unsafe { libc::send(fd, bytes.as_ptr().cast(), bytes.len(), flags) };
    assert_eq!(sent, bytes.len() as isize);
}

#[test]
fn data_behind_an_urgent_byte_is_read() {
    let _watch = Watch::new("urgent data");
    let runtime = lone_runtime();
    let (mut near, mut far) = tcp_pair();
    near.set_nodelay(true).expect("a socket");
    let (start, started) = mpsc::channel();
    let reader = runtime.spawn(move || {
        read_two_messages(&mut far, || {
            start.send(()).expect("main waits");
            sleep(Duration::from_millis(40));
        })
    });
    sleep(Duration::from_millis(20));
    near.write_all(b"0").expect("room");
    started.recv().expect("the reader is there");
    near.write_all(b"abc").expect("room");
    send_flagged(near.as_raw_fd(), b"!", libc::MSG_OOB);
    near.write_all(b"def").expect("room");
    let messages = reader.join().expect("no panic");
    assert_eq!(messages, [b"abc".to_vec(), b"def".to_vec()]);
}

/// Sends `bytes` and a descriptor.
fn send_with_descriptor(to: &UnixStream, bytes: &[u8], descriptor: RawFd) {
    let mut part = libc::iovec {
        iov_base: bytes.as_ptr().cast_mut().cast(),
        iov_len: bytes.len(),
    };
    let mut control = [0_u64; 4];
    // SAFETY: a header of zeros, filled with valid parts; the control buffer is large enough for one descriptor.
    let sent = unsafe {
        let mut header: libc::msghdr = std::mem::zeroed();
        header.msg_iov = &raw mut part;
        header.msg_iovlen = 1;
        header.msg_control = control.as_mut_ptr().cast();
        header.msg_controllen = libc::CMSG_SPACE(4) as usize;
        let first = libc::CMSG_FIRSTHDR(&raw const header);
        (*first).cmsg_level = libc::SOL_SOCKET;
        (*first).cmsg_type = libc::SCM_RIGHTS;
        (*first).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(first)
            .cast::<RawFd>()
            .write_unaligned(descriptor);
        libc::sendmsg(to.as_raw_fd(), &raw const header, 0)
    };
    assert_eq!(sent, bytes.len() as isize);
}

#[test]
fn data_behind_a_message_with_descriptors_is_read() {
    let _watch = Watch::new("descriptors in a stream");
    let runtime = lone_runtime();
    let (near, mut far) = pair();
    let (start, started) = mpsc::channel();
    let reader = runtime.spawn(move || {
        read_two_messages(&mut far, || {
            start.send(()).expect("main waits");
            sleep(Duration::from_millis(40));
        })
    });
    sleep(Duration::from_millis(20));
    (&near).write_all(b"0").expect("room");
    started.recv().expect("the reader is there");
    send_with_descriptor(&near, b"abc", near.as_raw_fd());
    (&near).write_all(b"def").expect("room");
    let messages = reader.join().expect("no panic");
    assert_eq!(messages, [b"abc".to_vec(), b"def".to_vec()]);
}

#[test]
fn select_reads_no_more_of_its_sets_than_the_kernel() {
    let _watch = Watch::new("select with a high count");
    let runtime = lone_runtime();
    let (near, far) = pair();
    (&far).write_all(&[1]).expect("room for a byte");
    let selected = runtime.run(move || {
        let page = 4096;
        // SAFETY: a mapping of two pages of which the second cannot be touched; the set ends where it begins.
        unsafe {
            let protection = libc::PROT_READ | libc::PROT_WRITE;
            let flags = libc::MAP_PRIVATE | libc::MAP_ANONYMOUS;
            let memory = libc::mmap(std::ptr::null_mut(), 2 * page, protection, flags, -1, 0);
            assert_ne!(memory, libc::MAP_FAILED);
            let second = memory.cast::<u8>().add(page);
            assert_eq!(libc::mprotect(second.cast(), page, libc::PROT_NONE), 0);
            let set = second.sub(size_of::<libc::fd_set>()).cast::<libc::fd_set>();
            libc::FD_SET(near.as_raw_fd(), set);
            let none = std::ptr::null_mut();
            libc::select(1 << 20, set, none, none, std::ptr::null_mut())
        }
    });
    assert_eq!(selected, 1);
}

#[test]
fn a_number_that_changed_hands_unseen_is_read_and_written_as_what_it_is() {
    let _watch = Watch::new("a socket that became a file");
    let runtime = lone_runtime();
    runtime.run(|| {
        let (near, _far) = pair();
        let number = near.into_raw_fd();
        // SAFETY: the number is ours; the system calls go around the hooks.
        unsafe {
            let path = c"/tmp".as_ptr();
            let flags = libc::O_TMPFILE | libc::O_RDWR | libc::O_CLOEXEC;
            let opened = libc::syscall(libc::SYS_openat, libc::AT_FDCWD, path, flags, 0o600);
            assert!(opened >= 0, "a temporary file");
            let moved = libc::syscall(libc::SYS_dup3, opened, number, libc::O_CLOEXEC);
            assert_eq!(moved, i64::from(number));
            libc::syscall(libc::SYS_close, opened);
            let mut file = File::from_raw_fd(number);
            file.write_all(b"text").expect("a file takes bytes");
            assert_eq!(libc::lseek(number, 0, libc::SEEK_SET), 0);
            let mut text = String::new();
            file.read_to_string(&mut text).expect("a file gives bytes");
            assert_eq!(text, "text");
        }
    });
}

/// Calls that the kernel refuses at once, though nothing can be read: their results.
fn refused(call: impl Fn() -> (i64, i32) + Sync) {
    let plain = call();
    assert_eq!(plain.0, -1, "refused without us");
    let hooked = lone_runtime().run(&call);
    assert_eq!(hooked, plain);
}

fn with_errno(result: i64) -> (i64, i32) {
    let errno = std::io::Error::last_os_error().raw_os_error();
    (result, errno.expect("a number"))
}

#[test]
fn accept_refuses_at_once_what_can_never_be_accepted_from() {
    let _watch = Watch::new("accept on what does not listen");
    let accept = |fd: RawFd, flags| {
        let none = std::ptr::null_mut();
        // SAFETY: no address is asked for.
        with_errno(unsafe { libc::accept4(fd, none, std::ptr::null_mut(), flags) }.into())
    };
    refused(|| {
        let (near, _far) = pair();
        accept(near.as_raw_fd(), 0)
    });
    refused(|| {
        let socket = std::net::UdpSocket::bind("127.0.0.1:0").expect("a port");
        accept(socket.as_raw_fd(), 0)
    });
    refused(|| {
        let (reader, _writer) = std::io::pipe().expect("a pipe");
        accept(reader.as_raw_fd(), 0)
    });
    refused(|| {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
        accept(listener.as_raw_fd(), 1 << 20)
    });
}

#[test]
fn a_read_into_too_small_a_buffer_is_refused_at_once() {
    let _watch = Watch::new("a read into a small buffer");
    refused(|| {
        let mut room = 0_u32;
        // SAFETY: makes a descriptor; the buffer is as large as said.
        unsafe {
            let event = libc::eventfd(0, libc::EFD_CLOEXEC);
            let answer = with_errno(libc::read(event, (&raw mut room).cast(), 4) as i64);
            libc::close(event);
            answer
        }
    });
}

#[test]
fn a_timeout_limits_a_read_that_waits_for_all_of_its_bytes() {
    let _watch = Watch::new("a trickle");
    let runtime = lone_runtime();
    let (near, far) = pair();
    let timeout = Duration::from_millis(300);
    far.set_read_timeout(Some(timeout)).expect("a socket");
    let reader = runtime.spawn(move || {
        let mut room = [0_u8; 64];
        let flags = libc::MSG_WAITALL;
        // SAFETY: the buffer is as large as said.
        unsafe { libc::recv(far.as_raw_fd(), room.as_mut_ptr().cast(), room.len(), flags) }
    });
    // A byte comes within each timeout.
    let mut sent = 0;
    while !reader.is_finished() {
        if (&near).write_all(&[1]).is_err() {
            break;
        }
        sent += 1;
        sleep(timeout / 6);
    }
    let read = reader.join().expect("no panic");
    assert!(read > 0 && read < 64, "{read} bytes of {sent}");
}
