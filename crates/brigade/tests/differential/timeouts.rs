//! `SO_RCVTIMEO` and `SO_SNDTIMEO`.

use std::time::{Duration, Instant};

use libc::c_int;

use super::calls::{Via, halves, message};
use super::objects::{Kind, Pair, listener};
use super::{later, same};

fn set(via: Via, fd: c_int, option: c_int, seconds: i64, microseconds: i64) -> super::calls::Out {
    let time = libc::timeval {
        tv_sec: seconds,
        tv_usec: microseconds,
    };
    let size = size_of_val(&time) as u32;
    via.setsockopt(fd, libc::SOL_SOCKET, option, (&raw const time).cast(), size)
}

/// The kernel counts the timeouts of sockets in its own ticks, of which the first may be nearly over.
const TICK: Duration = Duration::from_millis(10);

/// Whether `f` took at least as long as the timeout, and the result. The upper bound is hundreds of times longer.
fn timed<T>(timeout_ms: u64, f: impl FnOnce() -> T) -> (T, bool, bool) {
    let start = Instant::now();
    let result = f();
    let took = start.elapsed();
    (
        result,
        took + TICK >= Duration::from_millis(timeout_ms),
        took < Duration::from_secs(10),
    )
}

#[test]
fn a_receive_ends_in_time_and_not_before() {
    same(|run| {
        for kind in [
            Kind::Tcp,
            Kind::Udp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::UnixSequence,
        ] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                run.note("set", set(run.via, pair.a, libc::SO_RCVTIMEO, 0, 20_000));
                let mut buffer = [0; 8];
                run.note(
                    (kind, "recv"),
                    timed(20, || run.via.recv_to(pair.a, &mut buffer, 0)),
                );
                run.note(
                    (kind, "read"),
                    timed(20, || run.via.read_to(pair.a, &mut buffer)),
                );
                run.note(
                    (kind, "readv"),
                    timed(20, || {
                        run.via.readv(pair.a, halves(&mut buffer).as_ptr(), 2)
                    }),
                );
                let parts = &mut halves(&mut buffer);
                run.note(
                    (kind, "recvmsg"),
                    timed(20, || run.via.recvmsg(pair.a, &mut message(parts), 0)),
                );
                pair.feed(b"x");
                run.note((kind, "in time"), run.via.recv_to(pair.a, &mut buffer, 0));
                run.note("none", set(run.via, pair.a, libc::SO_RCVTIMEO, 0, 0));
                let feeder = std::thread::spawn({
                    let feed = pair.feeder(b"late");
                    move || {
                        std::thread::sleep(Duration::from_millis(40));
                        feed();
                    }
                });
                run.note((kind, "without"), run.via.recv_to(pair.a, &mut buffer, 0));
                feeder.join().expect("the feeder");
            }
        }
    });
}

/// A timeout is for the call, not for each piece that comes.
#[test]
fn a_timeout_holds_for_all_of_a_message() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            let pair = Pair::new(run.via, kind, true);
            run.note("set", set(run.via, pair.a, libc::SO_RCVTIMEO, 0, 120_000));
            let b = pair.b;
            let writer = std::thread::spawn(move || {
                for _ in 0..10 {
                    let _ = Via::Kernel.write_all_of(b, b"x");
                    std::thread::sleep(Duration::from_millis(40));
                }
            });
            let mut buffer = [0; 10];
            let result = run.via.recv_to(pair.a, &mut buffer, libc::MSG_WAITALL);
            run.note((kind, "some"), result.map(|count| (1..10).contains(&count)));
            writer.join().expect("the writer");
        }
    });
}

#[test]
fn timeouts_that_are_odd() {
    same(|run| {
        for private in [true, false] {
            let pair = Pair::new(run.via, Kind::Tcp, private);
            run.note(
                "microseconds",
                set(run.via, pair.a, libc::SO_RCVTIMEO, 0, 1_000_000),
            );
            run.note(
                "negative microseconds",
                set(run.via, pair.a, libc::SO_RCVTIMEO, 0, -1),
            );
            run.note(
                "for ever",
                set(run.via, pair.a, libc::SO_RCVTIMEO, i64::MAX, 999_999),
            );
            let feeder = later(pair.feeder(b"x"));
            let mut buffer = [0; 8];
            run.note("waits", run.via.recv_to(pair.a, &mut buffer, 0));
            feeder.join().expect("the feeder");
            run.note("years", set(run.via, pair.a, libc::SO_RCVTIMEO, 1 << 40, 0));
            let feeder = later(pair.feeder(b"x"));
            run.note("waits", run.via.recv_to(pair.a, &mut buffer, 0));
            feeder.join().expect("the feeder");
            run.note("before now", set(run.via, pair.a, libc::SO_RCVTIMEO, -1, 0));
            run.note("does not wait", run.via.recv_to(pair.a, &mut buffer, 0));
            run.note("tiny", set(run.via, pair.a, libc::SO_RCVTIMEO, 0, 1));
            run.note("waits a little", run.via.recv_to(pair.a, &mut buffer, 0));
        }
    });
}

#[test]
fn a_timeout_set_through_a_duplicate() {
    same(|run| {
        let pair = Pair::new(run.via, Kind::Tcp, true);
        let copy = super::objects::fd_of(run.via.dup(pair.a));
        run.note("set", set(run.via, copy, libc::SO_RCVTIMEO, 0, 20_000));
        let mut buffer = [0; 8];
        run.note(
            "recv",
            timed(20, || run.via.recv_to(pair.a, &mut buffer, 0)),
        );
        run.via.close(copy).expect("open");
    });
}

#[test]
fn an_accept_ends_in_time() {
    same(|run| {
        for flags in [libc::SOCK_CLOEXEC, 0] {
            let listener = listener(run.via, flags);
            run.note("set", set(run.via, listener, libc::SO_RCVTIMEO, 0, 20_000));
            let none = std::ptr::null_mut::<c_int>();
            run.note(
                "accept",
                timed(20, || run.via.accept(listener, none.cast(), none.cast())),
            );
            run.via.close(listener).expect("open");
        }
    });
}

#[test]
fn a_send_ends_in_time_with_a_part() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                run.note("set", set(run.via, pair.b, libc::SO_SNDTIMEO, 0, 30_000));
                let bytes = vec![0; 20_000_000];
                let (result, not_early, in_time) =
                    timed(30, || run.via.send_all_of(pair.b, &bytes, 0));
                run.note(
                    (kind, "part"),
                    (
                        result.map(|sent| sent > 0 && sent < bytes.len()),
                        not_early,
                        in_time,
                    ),
                );
            }
        }
    });
}

/// A slow reader keeps a Unix stream going for longer than the timeout, because the kernel counts anew for each piece;
/// TCP counts the call.
#[test]
fn what_a_send_timeout_counts() {
    same(|run| {
        for kind in [Kind::Tcp, Kind::UnixStream] {
            for vector in [false, true] {
                let pair = Pair::new(run.via, kind, true);
                run.note("set", set(run.via, pair.b, libc::SO_SNDTIMEO, 0, 250_000));
                let a = pair.a;
                let (stop, stopped) = std::sync::mpsc::channel::<()>();
                let reader = std::thread::spawn(move || {
                    let mut buffer = vec![0; 120_000];
                    while stopped.try_recv().is_err() {
                        let mut one = libc::pollfd {
                            fd: a,
                            events: libc::POLLIN,
                            revents: 0,
                        };
                        if Via::Kernel.poll(&mut one, 1, 20) == Ok(1) {
                            let _ = Via::Kernel.read_to(a, &mut buffer);
                        }
                        std::thread::sleep(Duration::from_millis(30));
                    }
                });
                let length = if kind == Kind::Tcp {
                    30_000_000
                } else {
                    1_200_000
                };
                let mut bytes = vec![0; length];
                let result = if vector {
                    run.via.writev(pair.b, halves(&mut bytes).as_ptr(), 2)
                } else {
                    run.via.send_all_of(pair.b, &bytes, 0)
                };
                run.note((kind, vector), result.map(|sent| sent == length));
                let _ = stop.send(());
                reader.join().expect("the reader");
            }
        }
    });
}
