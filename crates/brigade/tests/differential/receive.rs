//! Calls that read.

use std::ptr;

use libc::{c_int, c_void, iovec};

use super::calls::{Out, Via, halves, message};
use super::objects::{KINDS, Kind, Pair, STREAMS};
use super::{Run, later, same};

/// A way to set a flag.
type Setting = (&'static str, fn(Via, c_int));

/// A way to read into a buffer.
type Reading = (&'static str, fn(Via, c_int, &mut [u8]) -> Out);

fn receive_message(via: Via, fd: c_int, buffer: &mut [u8], flags: c_int) -> Out {
    let mut parts = halves(buffer);
    via.recvmsg(fd, &mut message(&mut parts), flags)
}

fn receive_messages(via: Via, fd: c_int, buffer: &mut [u8], flags: c_int) -> Out {
    let mut parts = halves(buffer);
    let mut messages = [libc::mmsghdr {
        msg_hdr: message(&mut parts),
        msg_len: 0,
    }];
    via.recvmmsg(fd, messages.as_mut_ptr(), 1, flags, ptr::null_mut())
        .map(|count| count * 1000 + messages[0].msg_len as usize)
}

fn receive_from(via: Via, fd: c_int, buffer: &mut [u8]) -> Out {
    // SAFETY: zeros are a valid address.
    let mut address: libc::sockaddr_storage = unsafe { std::mem::zeroed() };
    let mut size = size_of_val(&address) as u32;
    let (at, length) = (buffer.as_mut_ptr().cast(), buffer.len());
    via.recvfrom(fd, at, length, 0, (&raw mut address).cast(), &mut size)
        .map(|result| result * 1000 + size as usize * 10 + usize::from(address.ss_family))
}

const READINGS: [Reading; 15] = [
    ("read", |via, fd, buffer| via.read_to(fd, buffer)),
    ("read_chk", |via, fd, buffer| {
        via.read_chk(fd, buffer.as_mut_ptr().cast(), buffer.len())
    }),
    ("readv", |via, fd, buffer| {
        via.readv(fd, halves(buffer).as_ptr(), 2)
    }),
    ("pread", |via, fd, buffer| {
        via.pread(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0)
    }),
    ("pread64", |via, fd, buffer| {
        via.pread64(fd, buffer.as_mut_ptr().cast(), buffer.len(), 3)
    }),
    ("preadv", |via, fd, buffer| {
        via.preadv(fd, halves(buffer).as_ptr(), 2, 0)
    }),
    ("recv", |via, fd, buffer| via.recv_to(fd, buffer, 0)),
    ("recv peek", |via, fd, buffer| {
        via.recv_to(fd, buffer, libc::MSG_PEEK)
    }),
    ("recv trunc", |via, fd, buffer| {
        via.recv_to(fd, buffer, libc::MSG_TRUNC)
    }),
    ("recv dontwait", |via, fd, buffer| {
        // Whether something is there by now is a matter of time.
        via.recv_to(fd, buffer, libc::MSG_DONTWAIT)
            .map(|_| 0)
            .or_else(|error| {
                if error == libc::EAGAIN {
                    Ok(0)
                } else {
                    Err(error)
                }
            })
    }),
    ("recv_chk", |via, fd, buffer| {
        via.recv_chk(fd, buffer.as_mut_ptr().cast(), buffer.len(), 0)
    }),
    ("recvfrom", receive_from),
    ("recvmsg", |via, fd, buffer| {
        receive_message(via, fd, buffer, 0)
    }),
    ("recvmmsg", |via, fd, buffer| {
        receive_messages(via, fd, buffer, 0)
    }),
    ("recvmmsg one", |via, fd, buffer| {
        receive_messages(via, fd, buffer, libc::MSG_WAITFORONE)
    }),
];

const BYTES: &[u8] = b"0123456789abcdefghijklmnopqrstuvwxyz";

/// Notes what `reading` does, the bytes and the flags.
fn note(run: &Run, case: impl std::fmt::Debug, fd: c_int, reading: Reading) -> Out {
    let (name, call) = reading;
    let before = Via::flags(fd);
    let mut buffer = [b'.'; 48];
    let result = call(run.via, fd, &mut buffer);
    assert_eq!(Via::flags(fd), before, "{name} changes flags");
    // A call that did not wait may have taken what came, or not.
    let bytes = if name == "recv dontwait" {
        &[][..]
    } else {
        &buffer[..]
    };
    run.note((name, case), (result, String::from_utf8_lossy(bytes)));
    result
}

#[test]
fn reading_what_is_there() {
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                for reading in READINGS {
                    let pair = Pair::new(run.via, kind, private);
                    pair.feed(BYTES);
                    let _ = note(run, (kind, private, 1), pair.a, reading);
                }
            }
        }
    });
}

#[test]
fn waiting_for_what_comes() {
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                for reading in READINGS {
                    let pair = Pair::new(run.via, kind, private);
                    let feeder = later(pair.feeder(BYTES));
                    let _ = note(run, (kind, private), pair.a, reading);
                    feeder.join().expect("the feeder");
                }
            }
        }
    });
}

#[test]
fn an_empty_descriptor_with_o_nonblock() {
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                pair.nonblocking(run.via);
                for reading in READINGS {
                    let _ = note(run, (kind, private), pair.a, reading);
                }
            }
        }
    });
}

#[test]
fn every_way_to_set_o_nonblock() {
    same(|run| {
        let ways: [Setting; 5] = [
            ("fcntl", |via, fd| {
                via.fcntl(
                    fd,
                    libc::F_SETFL,
                    libc::O_NONBLOCK as usize | libc::O_RDWR as usize,
                )
                .expect("a flag");
            }),
            ("ioctl", |via, fd| {
                let mut one: c_int = 1;
                via.ioctl(fd, libc::FIONBIO, (&raw mut one).cast())
                    .expect("a flag");
            }),
            ("through a duplicate", |via, fd| {
                let copy = c_int::try_from(via.dup(fd).expect("a duplicate")).expect("a number");
                via.fcntl(copy, libc::F_SETFL, libc::O_NONBLOCK as usize)
                    .expect("a flag");
                via.close(copy).expect("open");
            }),
            ("through F_DUPFD", |via, fd| {
                let copy = via
                    .fcntl(fd, libc::F_DUPFD_CLOEXEC, 100)
                    .expect("a duplicate");
                let copy = c_int::try_from(copy).expect("a number");
                let mut one: c_int = 1;
                via.ioctl(copy, libc::FIONBIO, (&raw mut one).cast())
                    .expect("a flag");
                via.close(copy).expect("open");
            }),
            ("by a child process", |_, fd| {
                // SAFETY: the child makes system calls only and ends.
                unsafe {
                    let child = libc::fork();
                    if child == 0 {
                        let _ = Via::Kernel.fcntl(fd, libc::F_SETFL, libc::O_NONBLOCK as usize);
                        libc::_exit(0);
                    }
                    let mut status = 0;
                    assert_eq!(libc::waitpid(child, &mut status, 0), child);
                }
            }),
        ];
        for kind in [
            Kind::Tcp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::Udp,
            Kind::Pipe,
        ] {
            for (way, set) in ways {
                let pair = Pair::new(run.via, kind, true);
                // First a wait, so that the file is registered and known to be empty.
                let feeder = later(pair.feeder(b"x"));
                let mut one = [0; 1];
                run.note("first", run.via.read_to(pair.a, &mut one));
                feeder.join().expect("the feeder");
                set(run.via, pair.a);
                run.note((kind, way, "flags"), Via::flags(pair.a));
                run.note((kind, way), run.via.read_to(pair.a, &mut one));
                run.note(
                    (kind, way, "readv"),
                    run.via.readv(pair.a, halves(&mut one).as_ptr(), 2),
                );
                run.note((kind, way, "flags after"), Via::flags(pair.a));
            }
        }
    });
}

/// A pair whose `a` has been waited for and read empty.
fn drained(run: &Run, kind: Kind, private: bool) -> Pair {
    let pair = Pair::new(run.via, kind, private);
    let feeder = later(pair.feeder(b"12345678"));
    let mut buffer = [0; 64];
    run.note("to be drained", run.via.read_to(pair.a, &mut buffer));
    feeder.join().expect("the feeder");
    if kind == Kind::Inotify {
        return pair;
    }
    pair.nonblocking(run.via);
    run.note("drained", run.via.read_to(pair.a, &mut buffer));
    run.via.fcntl(pair.a, libc::F_SETFL, 0).expect("a flag");
    pair
}

/// Calls that the kernel answers at once although nothing is there.
const AT_ONCE: [Reading; 12] = [
    ("read of nothing", |via, fd, buffer| {
        via.read(fd, buffer.as_mut_ptr().cast(), 0)
    }),
    ("pread", |via, fd, buffer| {
        via.pread(fd, buffer.as_mut_ptr().cast(), 8, 0)
    }),
    ("preadv", |via, fd, buffer| {
        via.preadv(fd, halves(buffer).as_ptr(), 2, 0)
    }),
    ("pread at a negative place", |via, fd, buffer| {
        via.pread(fd, buffer.as_mut_ptr().cast(), 8, -1)
    }),
    ("readv of -1 parts", |via, fd, buffer| {
        via.readv(fd, halves(buffer).as_ptr(), -1)
    }),
    ("readv of too many parts", |via, fd, _| {
        let parts = [const {
            iovec {
                iov_base: ptr::null_mut(),
                iov_len: 0,
            }
        }; 1025];
        via.readv(fd, parts.as_ptr(), 1025)
    }),
    ("readv of no parts", |via, fd, buffer| {
        via.readv(fd, halves(buffer).as_ptr(), 0)
    }),
    ("readv of parts nowhere", |via, fd, _| {
        via.readv(fd, ptr::without_provenance(8), 2)
    }),
    ("recvmsg of nowhere", |via, fd, _| {
        via.recvmsg(fd, ptr::without_provenance_mut(8), 0)
    }),
    ("recv of urgent data", |via, fd, buffer| {
        via.recv_to(fd, buffer, libc::MSG_OOB)
    }),
    ("recv of errors", |via, fd, buffer| {
        via.recv_to(fd, buffer, libc::MSG_ERRQUEUE)
    }),
    ("accept", |via, fd, _| {
        via.accept(fd, ptr::null_mut(), ptr::null_mut())
    }),
];

#[test]
fn calls_that_do_not_wait_although_nothing_is_there() {
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                let pair = drained(run, kind, private);
                for reading in AT_ONCE {
                    let unmoved = match reading.0 {
                        // Only streams know urgent data, and only the internet keeps errors.
                        "recv of urgent data" => {
                            kind.is_socket() && !matches!(kind, Kind::Tcp | Kind::UnixStream)
                        }
                        "recv of errors" => {
                            kind.is_socket() && !matches!(kind, Kind::Tcp | Kind::Udp)
                        }
                        // It waits for an event before it says that there is no room.
                        "read of nothing" => kind == Kind::Inotify,
                        _ => false,
                    };
                    if unmoved {
                        continue;
                    }
                    // Descriptors of one direction have no other; reading nothing from them still says so.
                    let _ = note(run, (kind, private), pair.a, reading);
                }
            }
        }
    });
}

#[test]
fn buffers_too_small_for_what_is_read() {
    same(|run| {
        for kind in [Kind::Event, Kind::Timer, Kind::Inotify] {
            let pair = Pair::new(run.via, kind, true);
            let mut small = [0; 4];
            if kind != Kind::Inotify {
                run.note((kind, "empty"), run.via.read_to(pair.a, &mut small));
            }
            pair.feed(b"");
            run.note((kind, "full"), run.via.read_to(pair.a, &mut small));
        }
    });
}

#[test]
fn the_wrong_direction() {
    same(|run| {
        let mut buffer = [0; 8];
        for kind in [Kind::Pipe, Kind::Fifo] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                run.note((kind, "write"), run.via.write_all_of(pair.a, b"x"));
                run.note((kind, "read"), run.via.read_to(pair.b, &mut buffer));
                run.note((kind, "write"), run.via.write_all_of(pair.b, b"x"));
                run.note((kind, "read again"), run.via.read_to(pair.b, &mut buffer));
                run.note(
                    (kind, "the right one"),
                    run.via.read_to(pair.a, &mut buffer),
                );
            }
        }
    });
}

#[test]
fn places_that_do_not_exist() {
    const NOWHERE: *mut c_void = ptr::without_provenance_mut(16);
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                for at in [ptr::null_mut(), NOWHERE] {
                    let pair = Pair::new(run.via, kind, private);
                    pair.feed(b"12345678");
                    run.note((kind, "read"), run.via.read(pair.a, at, 8));
                    let pair = Pair::new(run.via, kind, private);
                    pair.feed(b"12345678");
                    run.note((kind, "recv"), run.via.recv(pair.a, at, 8, 0));
                    let pair = Pair::new(run.via, kind, private);
                    pair.feed(b"12345678");
                    run.note((kind, "too much"), run.via.read(pair.a, at, usize::MAX));
                    run.note((kind, "write"), run.via.write(pair.b, at, 8));
                    run.note((kind, "send"), run.via.send(pair.b, at, 8, 0));
                }
            }
        }
    });
}

#[test]
fn descriptors_that_are_not_open() {
    same(|run| {
        // SAFETY: the call takes numbers only, of descriptors that the script owns.
        let closed = unsafe { libc::fcntl(2, libc::F_DUPFD_CLOEXEC, 700) };
        run.via.close(closed).expect("just made");
        for fd in [-1, closed, 1 << 28, c_int::MAX, c_int::MIN] {
            for reading in READINGS.into_iter().chain(AT_ONCE) {
                let mut buffer = [0; 8];
                run.note(
                    (reading.0, fd == closed),
                    reading.1(run.via, fd, &mut buffer),
                );
            }
            run.note("write", run.via.write_all_of(fd, b"x"));
            run.note("send", run.via.send_all_of(fd, b"x", 0));
            run.note("connect", run.via.connect(fd, ptr::null(), 0));
            run.note("close", run.via.close(fd));
            run.note("dup", run.via.dup(fd));
            run.note("dup2", run.via.dup2(fd, 701));
            run.note("fcntl", run.via.fcntl(fd, libc::F_SETFL, 0));
            run.note(
                "setsockopt",
                run.via
                    .setsockopt(fd, libc::SOL_SOCKET, libc::SO_RCVTIMEO, ptr::null(), 0),
            );
        }
    });
}

#[test]
fn datagrams_keep_their_bounds() {
    same(|run| {
        for kind in [Kind::Udp, Kind::UnixDatagram, Kind::UnixSequence] {
            let pair = Pair::new(run.via, kind, true);
            let feeder = later(pair.feeder(BYTES));
            let mut buffer = [0; 8];
            run.note(
                (kind, "truncated"),
                run.via.recv_to(pair.a, &mut buffer, libc::MSG_TRUNC),
            );
            feeder.join().expect("the feeder");
            for bytes in [&b"a"[..], b"", b"bc"] {
                run.note("sent", run.via.send_all_of(pair.b, bytes, 0));
            }
            for flags in [libc::MSG_PEEK, 0, 0, libc::MSG_WAITALL] {
                run.note((kind, flags), run.via.recv_to(pair.a, &mut buffer, flags));
                run.note("bytes", buffer);
            }
        }
    });
}

#[test]
fn the_end_of_a_stream() {
    same(|run| {
        for kind in STREAMS {
            for private in [true, false] {
                // Data and end at once, while a reader waits.
                let pair = Pair::new(run.via, kind, private);
                let b = pair.give_b();
                let writer = later(move || {
                    let _ = Via::Kernel.write_all_of(b, b"last words");
                    let _ = Via::Kernel.close(b);
                });
                let mut buffer = [0; 48];
                run.note((kind, "waited"), run.via.read_to(pair.a, &mut buffer));
                run.note("bytes", buffer);
                run.note((kind, "end"), run.via.read_to(pair.a, &mut buffer));
                run.note(
                    (kind, "end again"),
                    run.via.readv(pair.a, halves(&mut buffer).as_ptr(), 2),
                );
                run.note(
                    (kind, "end by recv"),
                    run.via.recv_to(pair.a, &mut buffer, 0),
                );
                writer.join().expect("the writer");
                // Data and end before anyone looks.
                let pair = Pair::new(run.via, kind, private);
                let _ = Via::Kernel.write_all_of(pair.b, b"xy");
                pair.close_b(Via::Kernel);
                run.note((kind, "there"), run.via.read_to(pair.a, &mut buffer));
                run.note((kind, "end"), run.via.read_to(pair.a, &mut buffer));
                // The end while a reader waits.
                let pair = Pair::new(run.via, kind, private);
                let b = pair.give_b();
                let closer = later(move || Via::Kernel.close(b));
                run.note(
                    (kind, "end while waiting"),
                    run.via.read_to(pair.a, &mut buffer),
                );
                closer.join().expect("the closer").expect("open until here");
            }
        }
    });
}

#[test]
fn a_half_closed_connection_still_goes_the_other_way() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            let pair = Pair::new(run.via, kind, true);
            let b = pair.b;
            let half = later(move || {
                // SAFETY: the call takes numbers only, of descriptors that the script owns.
                unsafe { libc::shutdown(b, libc::SHUT_WR) }
            });
            let mut buffer = [0; 8];
            run.note((kind, "end"), run.via.read_to(pair.a, &mut buffer));
            half.join().expect("the other end");
            run.note((kind, "write"), run.via.write_all_of(pair.a, b"still"));
            run.note((kind, "read"), run.via.read_to(pair.b, &mut buffer));
            run.note("bytes", buffer);
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            let own = unsafe { libc::shutdown(pair.a, libc::SHUT_RD) };
            run.note(
                (kind, "own half", own),
                run.via.read_to(pair.a, &mut buffer),
            );
        }
    });
}

/// Closes with a reset instead of an end.
fn reset(fd: c_int) {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    let size = size_of_val(&linger) as u32;
    Via::Kernel
        .setsockopt(
            fd,
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size,
        )
        .expect("a socket");
    Via::Kernel.close(fd).expect("open until here");
}

#[test]
fn a_connection_that_is_reset() {
    same(|run| {
        for private in [true, false] {
            let pair = Pair::new(run.via, Kind::Tcp, private);
            let b = pair.give_b();
            let end = later(move || reset(b));
            let mut buffer = [0; 8];
            run.note("waiting", run.via.read_to(pair.a, &mut buffer));
            run.note("then", run.via.read_to(pair.a, &mut buffer));
            run.note(
                "send",
                run.via.send_all_of(pair.a, b"x", libc::MSG_NOSIGNAL),
            );
            end.join().expect("the other end");
        }
    });
}

#[test]
fn all_of_a_message() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            let pair = Pair::new(run.via, kind, true);
            let b = pair.b;
            let writer = later(move || {
                for piece in BYTES.chunks(5) {
                    let _ = Via::Kernel.write_all_of(b, piece);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            let mut buffer = [0; 36];
            run.note(
                (kind, "all"),
                run.via.recv_to(pair.a, &mut buffer, libc::MSG_WAITALL),
            );
            run.note("bytes", buffer);
            writer.join().expect("the writer");
            // The end before all is there.
            let b = pair.give_b();
            let writer = later(move || {
                let _ = Via::Kernel.write_all_of(b, b"short");
                let _ = Via::Kernel.close(b);
            });
            run.note(
                (kind, "short"),
                run.via.recv_to(pair.a, &mut buffer, libc::MSG_WAITALL),
            );
            run.note(
                (kind, "end"),
                run.via.recv_to(pair.a, &mut buffer, libc::MSG_WAITALL),
            );
            writer.join().expect("the writer");
            // Into parts.
            let pair = Pair::new(run.via, kind, true);
            let b = pair.b;
            let writer = later(move || {
                for piece in BYTES.chunks(9) {
                    let _ = Via::Kernel.write_all_of(b, piece);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            run.note(
                (kind, "message"),
                receive_message(run.via, pair.a, &mut buffer, libc::MSG_WAITALL),
            );
            writer.join().expect("the writer");
        }
    });
}

#[test]
fn a_look_takes_nothing() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            let pair = Pair::new(run.via, kind, true);
            let feeder = later(pair.feeder(BYTES));
            let mut buffer = [0; 48];
            for _ in 0..3 {
                run.note(
                    (kind, "peek"),
                    run.via.recv_to(pair.a, &mut buffer, libc::MSG_PEEK),
                );
            }
            feeder.join().expect("the feeder");
            run.note((kind, "read"), run.via.read_to(pair.a, &mut buffer));
        }
    });
}

/// The second look is behind what the first one saw, so it finds nothing; but there is something to read.
#[test]
fn a_look_with_an_offset_says_nothing_about_reading() {
    same(|run| {
        let pair = Pair::new(run.via, Kind::UnixStream, true);
        let offset: c_int = 0;
        run.via
            .setsockopt(
                pair.a,
                libc::SOL_SOCKET,
                libc::SO_PEEK_OFF,
                (&raw const offset).cast(),
                4,
            )
            .expect("an option of Unix sockets");
        let feeder = later(pair.feeder(b"abcd"));
        let mut buffer = [0; 48];
        run.note("peek", run.via.recv_to(pair.a, &mut buffer, libc::MSG_PEEK));
        feeder.join().expect("the feeder");
        let more = later(pair.feeder(b"ef"));
        run.note(
            "peek behind",
            run.via.recv_to(pair.a, &mut buffer, libc::MSG_PEEK),
        );
        more.join().expect("the feeder");
        pair.nonblocking(run.via);
        run.note(
            "peek at nothing",
            run.via.recv_to(pair.a, &mut buffer, libc::MSG_PEEK),
        );
        run.via.fcntl(pair.a, libc::F_SETFL, 0).expect("a flag");
        run.note("read", run.via.read_to(pair.a, &mut buffer));
    });
}

#[test]
fn urgent_data_stops_a_read_but_not_the_next() {
    same(|run| {
        for inline in [0, 1] {
            let pair = Pair::new(run.via, Kind::Tcp, true);
            run.via
                .setsockopt(
                    pair.a,
                    libc::SOL_SOCKET,
                    libc::SO_OOBINLINE,
                    (&raw const inline).cast(),
                    4,
                )
                .expect("an option of sockets");
            // Registered by a first wait.
            let feeder = later(pair.feeder(b"x"));
            let mut buffer = [0; 48];
            run.note("first", run.via.read_to(pair.a, &mut buffer));
            feeder.join().expect("the feeder");
            for (bytes, flags) in [(b"abc", 0), (b"def", libc::MSG_OOB), (b"ghi", 0)] {
                let _ = Via::Kernel.send_all_of(pair.b, bytes, flags);
            }
            // Let the poller see all of it first.
            std::thread::sleep(std::time::Duration::from_millis(5));
            brigade::thread::sleep(std::time::Duration::from_millis(5));
            for _ in 0..2 {
                run.note(("read", inline), run.via.read_to(pair.a, &mut buffer));
                run.note("bytes", String::from_utf8_lossy(&buffer[..8]));
            }
            if inline == 0 {
                run.note(
                    "urgent",
                    run.via.recv_to(pair.a, &mut buffer, libc::MSG_OOB),
                );
            }
        }
    });
}

#[test]
fn a_low_water_mark() {
    same(|run| {
        for private in [true, false] {
            let pair = Pair::new(run.via, Kind::Tcp, private);
            let mark: c_int = 10;
            run.via
                .setsockopt(
                    pair.a,
                    libc::SOL_SOCKET,
                    libc::SO_RCVLOWAT,
                    (&raw const mark).cast(),
                    4,
                )
                .expect("an option of sockets");
            let b = pair.b;
            let writer = later(move || {
                for piece in BYTES[..12].chunks(4) {
                    let _ = Via::Kernel.write_all_of(b, piece);
                    std::thread::sleep(std::time::Duration::from_millis(2));
                }
            });
            let mut buffer = [0; 48];
            run.note("read", run.via.recv_to(pair.a, &mut buffer, 0));
            writer.join().expect("the writer");
        }
    });
}

fn with_descriptor(parts: &mut [iovec], control: &mut [u64; 3], fd: c_int) -> libc::msghdr {
    let mut message = message(parts);
    message.msg_control = control.as_mut_ptr().cast();
    message.msg_controllen = size_of_val(control);
    // SAFETY: the control buffer has room for a header and a number, and is aligned as a header is.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        (*header).cmsg_level = libc::SOL_SOCKET;
        (*header).cmsg_type = libc::SCM_RIGHTS;
        (*header).cmsg_len = libc::CMSG_LEN(4) as usize;
        libc::CMSG_DATA(header).cast::<c_int>().write_unaligned(fd);
    }
    message
}

/// Sends `fd` along with `bytes`.
fn send_descriptor(via: Via, over: c_int, bytes: &mut [u8], fd: c_int, many: bool) -> Out {
    let mut parts = [iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: bytes.len(),
    }];
    let mut control = [0; 3];
    let message = with_descriptor(&mut parts, &mut control, fd);
    if many {
        let mut messages = [libc::mmsghdr {
            msg_hdr: message,
            msg_len: 0,
        }];
        return via.sendmmsg(over, messages.as_mut_ptr(), 1, 0);
    }
    via.sendmsg(over, &message, 0)
}

fn receive_descriptor(run: &Run, over: c_int) -> c_int {
    let mut bytes = [0_u8; 16];
    let mut parts = [iovec {
        iov_base: bytes.as_mut_ptr().cast(),
        iov_len: 16,
    }];
    let mut control = [0_u64; 3];
    let mut message = with_descriptor(&mut parts, &mut control, -1);
    run.note(
        "recvmsg",
        run.via.recvmsg(over, &mut message, libc::MSG_CMSG_CLOEXEC),
    );
    run.note("header", (message.msg_flags, message.msg_controllen, bytes));
    // SAFETY: the kernel has filled the control buffer.
    unsafe {
        let header = libc::CMSG_FIRSTHDR(&message);
        assert!(!header.is_null(), "no descriptor came along");
        libc::CMSG_DATA(header).cast::<c_int>().read_unaligned()
    }
}

#[test]
fn a_socket_that_was_sent_works_at_both_ends() {
    same(|run| {
        for many in [false, true] {
            let over = Pair::new(run.via, Kind::UnixStream, true);
            let sent = Pair::new(run.via, Kind::Tcp, true);
            // Registered and known to be empty before it goes.
            let feeder = later(sent.feeder(b"x"));
            let mut buffer = [0; 8];
            run.note("first", run.via.read_to(sent.a, &mut buffer));
            feeder.join().expect("the feeder");
            let (from, fd, via) = (over.b, sent.a, run.via);
            run.note("sent", send_descriptor(via, from, &mut [b'!'], fd, many));
            let copy = receive_descriptor(run, over.a);
            // Whoever has the copy changes a flag of the file, unseen.
            Via::Kernel
                .fcntl(copy, libc::F_SETFL, libc::O_NONBLOCK as usize)
                .expect("a flag");
            run.note(
                ("nonblocking now", many),
                run.via.read_to(sent.a, &mut buffer),
            );
            Via::Kernel.fcntl(copy, libc::F_SETFL, 0).expect("a flag");
            let feeder = later(sent.feeder(b"to the copy"));
            run.note("copy", run.via.read_to(copy, &mut buffer));
            feeder.join().expect("the feeder");
            run.note("original", run.via.read_to(sent.a, &mut buffer));
            let feeder = later(sent.feeder(b"again"));
            run.note("original waits", run.via.read_to(sent.a, &mut buffer));
            feeder.join().expect("the feeder");
            sent.close_a(run.via);
            let feeder = later(sent.feeder(b"alone"));
            run.note("copy alone", run.via.read_to(copy, &mut buffer));
            feeder.join().expect("the feeder");
            run.via.close(copy).expect("open");
        }
    });
}

/// A Unix stream stops behind a message that brought a descriptor, although more is there.
#[test]
fn a_short_read_behind_a_descriptor_is_not_the_end() {
    same(|run| {
        let pair = Pair::new(run.via, Kind::UnixStream, true);
        let feeder = later(pair.feeder(b"x"));
        let mut buffer = [0; 48];
        run.note("first", run.via.read_to(pair.a, &mut buffer));
        feeder.join().expect("the feeder");
        let _ = Via::Kernel.write_all_of(pair.b, b"one");
        let _ = send_descriptor(Via::Kernel, pair.b, &mut b"two".to_owned(), 2, false);
        let _ = Via::Kernel.write_all_of(pair.b, b"three");
        // Let the poller see all of it first.
        std::thread::sleep(std::time::Duration::from_millis(5));
        brigade::thread::sleep(std::time::Duration::from_millis(5));
        run.note("read", run.via.read_to(pair.a, &mut buffer));
        run.note("the rest", run.via.read_to(pair.a, &mut buffer));
    });
}

#[test]
fn many_messages_with_one_call() {
    same(|run| {
        for kind in [Kind::Udp, Kind::UnixDatagram] {
            let pair = Pair::new(run.via, kind, true);
            let b = pair.b;
            let writer = later(move || {
                for bytes in [&b"a"[..], b"bb", b"ccc"] {
                    let _ = Via::Kernel.write_all_of(b, bytes);
                }
            });
            let mut buffers = [[0_u8; 8]; 3];
            let mut parts: Vec<[iovec; 2]> =
                buffers.iter_mut().map(|buffer| halves(buffer)).collect();
            let mut messages: Vec<libc::mmsghdr> = parts
                .iter_mut()
                .map(|parts| libc::mmsghdr {
                    msg_hdr: message(parts),
                    msg_len: 0,
                })
                .collect();
            let result = run
                .via
                .recvmmsg(pair.a, messages.as_mut_ptr(), 3, 0, ptr::null_mut());
            let lengths: Vec<u32> = messages.iter().map(|message| message.msg_len).collect();
            run.note(kind, (result, lengths));
            writer.join().expect("the writer");
        }
    });
}
