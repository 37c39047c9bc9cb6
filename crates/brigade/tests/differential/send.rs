//! Calls that write.

use std::ptr;
use std::time::Duration;

use libc::c_int;

use super::calls::{Out, Via, halves, message};
use super::objects::{Kind, Pair, STREAMS};
use super::{later, same};

/// A way to write a buffer.
type Writing = (&'static str, fn(Via, c_int, &mut [u8]) -> Out);

const WRITINGS: [Writing; 6] = [
    ("write", |via, fd, bytes| via.write_all_of(fd, bytes)),
    ("writev", |via, fd, bytes| {
        via.writev(fd, halves(bytes).as_ptr(), 2)
    }),
    ("send", |via, fd, bytes| {
        via.send_all_of(fd, bytes, libc::MSG_NOSIGNAL)
    }),
    ("sendto", |via, fd, bytes| {
        via.sendto(
            fd,
            bytes.as_ptr().cast(),
            bytes.len(),
            libc::MSG_NOSIGNAL,
            ptr::null(),
            0,
        )
    }),
    ("sendmsg", |via, fd, bytes| {
        via.sendmsg(fd, &message(&mut halves(bytes)), libc::MSG_NOSIGNAL)
    }),
    ("sendmmsg", |via, fd, bytes| {
        let mut parts = halves(bytes);
        let mut messages = [libc::mmsghdr {
            msg_hdr: message(&mut parts),
            msg_len: 0,
        }];
        via.sendmmsg(fd, messages.as_mut_ptr(), 1, libc::MSG_NOSIGNAL)
            .map(|count| count * 1_000_000_000 + messages[0].msg_len as usize)
    }),
];

const WRITABLE: [Kind; 9] = [
    Kind::Tcp,
    Kind::Udp,
    Kind::UnixStream,
    Kind::UnixDatagram,
    Kind::UnixSequence,
    Kind::Pipe,
    Kind::Fifo,
    Kind::Terminal,
    Kind::Event,
];

#[test]
fn writing_a_little() {
    same(|run| {
        for kind in WRITABLE {
            for private in [true, false] {
                for (name, write) in WRITINGS {
                    let pair = Pair::new(run.via, kind, private);
                    let before = Via::flags(pair.b);
                    let mut bytes = [1_u8, 2, 3, 4, 5, 6, 7, 8];
                    let result = write(run.via, pair.b, &mut bytes);
                    run.note((kind, private, name), result);
                    run.note("nothing", write(run.via, pair.b, &mut []));
                    assert_eq!(Via::flags(pair.b), before);
                    if result.is_ok() {
                        let mut buffer = [0; 16];
                        run.note("arrived", run.via.read_to(pair.a, &mut buffer));
                        run.note("bytes", buffer);
                    }
                }
            }
        }
    });
}

/// Writes without waiting until nothing more fits.
fn fill(fd: c_int) {
    let before = Via::flags(fd).expect("open");
    let set = |flags: usize| Via::Kernel.fcntl(fd, libc::F_SETFL, flags).expect("a flag");
    set(before | libc::O_NONBLOCK as usize);
    let block = [b'f'; 4096];
    for size in [4096, 1024, 1] {
        while Via::Kernel.write(fd, block.as_ptr().cast(), size).is_ok() {}
    }
    set(before);
}

/// Reads whatever comes until nothing has come for a while, on a kernel thread.
fn empty(fd: c_int) -> usize {
    let mut buffer = vec![0; 65536];
    let mut all = 0;
    loop {
        let mut one = libc::pollfd {
            fd,
            events: libc::POLLIN,
            revents: 0,
        };
        if Via::Kernel.poll(&mut one, 1, 10) != Ok(1) {
            return all;
        }
        match Via::Kernel.read_to(fd, &mut buffer) {
            Ok(0) | Err(_) => return all,
            Ok(count) => all += count,
        }
    }
}

#[test]
fn a_full_descriptor_with_o_nonblock() {
    same(|run| {
        for kind in [
            Kind::Tcp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::UnixSequence,
            Kind::Pipe,
            Kind::Fifo,
        ] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                fill(pair.b);
                let flags = Via::flags(pair.b).expect("open");
                run.via
                    .fcntl(pair.b, libc::F_SETFL, flags | libc::O_NONBLOCK as usize)
                    .expect("a flag");
                for (name, write) in WRITINGS {
                    run.note((kind, private, name), write(run.via, pair.b, &mut [0; 100]));
                }
            }
        }
    });
}

#[test]
fn a_full_descriptor_without_waiting_for_once() {
    same(|run| {
        for kind in [
            Kind::Tcp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::UnixSequence,
        ] {
            let pair = Pair::new(run.via, kind, true);
            fill(pair.b);
            run.note(
                kind,
                run.via.send_all_of(pair.b, &[0; 100], libc::MSG_DONTWAIT),
            );
            let parts = &mut halves(&mut [0; 100]);
            run.note(
                kind,
                run.via.sendmsg(pair.b, &message(parts), libc::MSG_DONTWAIT),
            );
        }
    });
}

#[test]
fn a_full_descriptor_takes_all_in_the_end() {
    same(|run| {
        for kind in [
            Kind::Tcp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::UnixSequence,
            Kind::Pipe,
            Kind::Fifo,
        ] {
            for private in [true, false] {
                for (name, write) in WRITINGS {
                    let pair = Pair::new(run.via, kind, private);
                    fill(pair.b);
                    let a = pair.a;
                    let reader = later(move || empty(a));
                    run.note((kind, private, name), write(run.via, pair.b, &mut [0; 100]));
                    let _ = reader.join();
                }
            }
        }
    });
}

#[test]
fn nothing_to_write_does_not_wait() {
    same(|run| {
        for kind in [Kind::UnixStream, Kind::Pipe, Kind::Fifo] {
            let pair = Pair::new(run.via, kind, true);
            fill(pair.b);
            run.note((kind, "write"), run.via.write(pair.b, ptr::null(), 0));
            run.note(
                (kind, "writev"),
                run.via.writev(pair.b, halves(&mut []).as_ptr(), 2),
            );
            run.note(
                (kind, "writev of no parts"),
                run.via.writev(pair.b, ptr::null(), 0),
            );
            run.note(
                (kind, "writev of -1"),
                run.via.writev(pair.b, ptr::null(), -1),
            );
        }
    });
}

const MUCH: usize = 50_000_000;

fn pattern(at: usize) -> u8 {
    (at % 251) as u8
}

#[test]
fn much_is_written_by_one_call() {
    same(|run| {
        for kind in STREAMS {
            // A FIFO cannot say how much fits, so it takes a page at a time.
            let length = if kind == Kind::Fifo { MUCH / 50 } else { MUCH };
            let length = length / 251 * 251;
            let period: Vec<u8> = (0..251).map(pattern).collect();
            let mut bytes = period.repeat(length / 251);
            let ways = if kind == Kind::Tcp {
                &WRITINGS[..]
            } else {
                &WRITINGS[..2]
            };
            for (name, write) in ways {
                let pair = Pair::new(run.via, kind, true);
                let a = pair.a;
                let reader = std::thread::spawn(move || {
                    let mut buffer = vec![0; 1 << 18];
                    let mut at = 0;
                    while at < length {
                        let count = Via::Kernel.read_to(a, &mut buffer).expect("bytes");
                        assert!(count > 0, "the end after {at} bytes");
                        for (offset, byte) in buffer[..count].iter().enumerate().step_by(997) {
                            assert_eq!(*byte, pattern(at + offset), "after {at} bytes");
                        }
                        at += count;
                    }
                    at
                });
                run.note((kind, name), write(run.via, pair.b, &mut bytes));
                run.note("read", reader.join().expect("the right bytes"));
            }
        }
    });
}

/// How many bytes went before the end depends on buffers; that some did, and what the next call says, does not.
#[test]
fn the_reader_goes_away_in_the_middle() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            let mut bytes = vec![7; MUCH];
            for (name, write) in WRITINGS {
                if name.starts_with("write") {
                    continue;
                }
                let pair = Pair::new(run.via, kind, true);
                let a = pair.a;
                let reader = later(move || {
                    let mut buffer = vec![0; 100_000];
                    for _ in 0..5 {
                        let _ = Via::Kernel.read_to(a, &mut buffer);
                        std::thread::sleep(Duration::from_millis(1));
                    }
                    // Not a close: the number must not be another's while the script goes on.
                    let end = libc::linger {
                        l_onoff: 1,
                        l_linger: 0,
                    };
                    let size = size_of_val(&end) as u32;
                    let _ = Via::Kernel.setsockopt(
                        a,
                        libc::SOL_SOCKET,
                        libc::SO_LINGER,
                        (&raw const end).cast(),
                        size,
                    );
                    let _ = Via::Kernel.dup2(2, a);
                });
                let result = write(run.via, pair.b, &mut bytes).map(|sent| {
                    let sent = sent % 1_000_000_000;
                    sent > 0 && sent < MUCH
                });
                run.note((kind, name), result);
                reader.join().expect("the reader");
                // A reset that comes between two attempts of the call is told to the second of them, and cannot be told
                // again: then the next call finds a closed connection.
                let next = run.via.send_all_of(pair.b, b"x", libc::MSG_NOSIGNAL);
                let is_broken = matches!(next, Err(libc::ECONNRESET | libc::EPIPE));
                run.note("next", if is_broken { Err(libc::EPIPE) } else { next });
                run.note(
                    "after",
                    run.via.send_all_of(pair.b, b"x", libc::MSG_NOSIGNAL),
                );
            }
        }
    });
}

/// Shuts the half of `fd` for writing when bytes have come to `peer` and some time for the writer to block has passed.
fn shut_when_bytes_have_come_to(peer: c_int, fd: c_int) {
    let mut one = libc::pollfd {
        fd: peer,
        events: libc::POLLIN,
        revents: 0,
    };
    assert_eq!(Via::Kernel.poll(&mut one, 1, -1), Ok(1));
    std::thread::sleep(Duration::from_millis(10));
    // SAFETY: the call takes numbers only, of a descriptor that the script owns.
    assert_eq!(unsafe { libc::shutdown(fd, libc::SHUT_WR) }, 0);
}

#[test]
fn our_own_half_is_shut_in_the_middle() {
    same(|run| {
        let bytes = vec![1; MUCH];
        for kind in [Kind::Tcp, Kind::UnixStream] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                let (a, b) = (pair.a, pair.b);
                let end = later(move || shut_when_bytes_have_come_to(a, b));
                let result = run.via.send_all_of(b, &bytes, libc::MSG_NOSIGNAL);
                run.note((kind, private), result.map(|sent| sent > 0 && sent < MUCH));
                let next = run.via.send_all_of(b, b"x", libc::MSG_NOSIGNAL);
                run.note("next", next);
                end.join().expect("the other thread");
            }
        }
    });
}

#[test]
fn our_own_half_is_shut_by_another_name_while_it_is_full() {
    same(|run| {
        for kind in [Kind::UnixStream, Kind::UnixSequence] {
            for writes_by_the_new_name in [true, false] {
                let pair = Pair::new(run.via, kind, true);
                let (a, b) = (pair.a, pair.b);
                // SAFETY: the call takes a number only.
                let new = unsafe { libc::dup(b) };
                assert!(new >= 0);
                let (writes, shuts) = match writes_by_the_new_name {
                    true => (new, b),
                    false => (b, new),
                };
                fill(b);
                let end = later(move || shut_when_bytes_have_come_to(a, shuts));
                let result = run.via.send_all_of(writes, &[0; 100], libc::MSG_NOSIGNAL);
                run.note((kind, writes_by_the_new_name), result);
                end.join().expect("the other thread");
                // SAFETY: `new` was made above and is nobody else's.
                unsafe { libc::close(new) };
            }
        }
    });
}

#[test]
fn our_own_half_is_shut_where_no_hook_sees_it() {
    same(|run| {
        let pair = Pair::new(run.via, Kind::UnixStream, true);
        fill(pair.b);
        let b = pair.b;
        let end = later(move || {
            // SAFETY: the call takes numbers only, of a descriptor that the script owns.
            unsafe { libc::syscall(libc::SYS_shutdown, b, libc::SHUT_WR) }
        });
        run.note(
            "write",
            run.via.send_all_of(b, &[0; 100], libc::MSG_NOSIGNAL),
        );
        end.join().expect("the other thread");
    });
}

/// Nothing tells the kernel thread that shuts it whether the writer has begun to wait.
#[test]
fn our_own_half_is_shut_at_any_time() {
    same(|run| {
        for round in 0..300_u64 {
            let pair = Pair::new(run.via, Kind::UnixStream, true);
            fill(pair.b);
            let b = pair.b;
            let end = std::thread::spawn(move || {
                let begun = std::time::Instant::now();
                while begun.elapsed() < Duration::from_micros(round % 60) {}
                // SAFETY: the call takes numbers only, of a descriptor that the script owns.
                unsafe { libc::shutdown(b, libc::SHUT_WR) }
            });
            run.note(round, run.via.send_all_of(b, &[0; 100], libc::MSG_NOSIGNAL));
            end.join().expect("the other thread");
        }
    });
}

#[test]
fn nobody_reads_any_more() {
    same(|run| {
        // The test binary ignores SIGPIPE, as every Rust program does.
        for kind in [
            Kind::UnixStream,
            Kind::UnixSequence,
            Kind::UnixDatagram,
            Kind::Pipe,
            Kind::Fifo,
        ] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                pair.close_a(Via::Kernel);
                for (name, write) in WRITINGS {
                    run.note((kind, name), write(run.via, pair.b, &mut [0; 10]));
                }
            }
            // And while a writer waits.
            if matches!(kind, Kind::UnixDatagram) {
                continue;
            }
            let pair = Pair::new(run.via, kind, true);
            fill(pair.b);
            let a = pair.a;
            let closer = later(move || Via::Kernel.dup2(2, a));
            let written = run.via.write_all_of(pair.b, &[0; 100]);
            // A writer that waits is told of the reset, one that comes when all is over that nobody reads: the kernel
            // answers both, and which it is depends on who was first.
            let is_socket = matches!(kind, Kind::UnixStream | Kind::UnixSequence);
            let is_broken = matches!(written, Err(libc::ECONNRESET | libc::EPIPE));
            let told = if is_socket && is_broken {
                Err(libc::EPIPE)
            } else {
                written
            };
            run.note((kind, "while waiting"), told);
            let _ = closer.join();
        }
    });
}

#[test]
fn messages_that_are_too_long() {
    same(|run| {
        let bytes = vec![0; 1 << 20];
        for kind in [Kind::Udp, Kind::UnixDatagram, Kind::UnixSequence] {
            let pair = Pair::new(run.via, kind, true);
            run.note(kind, run.via.send_all_of(pair.b, &bytes, 0));
            run.note(kind, run.via.write_all_of(pair.b, &bytes));
            let parts = &mut halves(&mut [0; 10]);
            let mut messages = [libc::mmsghdr {
                msg_hdr: message(parts),
                msg_len: 9,
            }; 2];
            messages[1].msg_hdr.msg_iovlen = 5000;
            run.note(
                "the second is bad",
                run.via.sendmmsg(pair.b, messages.as_mut_ptr(), 2, 0),
            );
            run.note("lengths", messages.map(|message| message.msg_len));
        }
    });
}

#[test]
fn at_most_1024_messages_with_one_call() {
    same(|run| {
        let pair = Pair::new(run.via, Kind::Tcp, true);
        let parts = &mut halves(&mut [0; 2]);
        let mut messages = vec![
            libc::mmsghdr {
                msg_hdr: message(parts),
                msg_len: 0
            };
            1100
        ];
        run.note(
            "sent",
            run.via
                .sendmmsg(pair.b, messages.as_mut_ptr(), 1100, libc::MSG_NOSIGNAL),
        );
        run.note("read", run.via.read_to(pair.a, &mut [0; 4096]));
    });
}
