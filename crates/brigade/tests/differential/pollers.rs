//! `poll`, `select`, `epoll_wait` and their relatives.

use std::ptr;
use std::time::{Duration, Instant};

use libc::{c_int, epoll_event, pollfd, timespec};

use super::calls::Via;
use super::objects::{KINDS, Kind, Pair, listener};
use super::{Run, later, same};

const ALL: i16 = libc::POLLIN | libc::POLLOUT | libc::POLLPRI | libc::POLLRDHUP;

fn one(fd: c_int, events: i16) -> pollfd {
    pollfd {
        fd,
        events,
        revents: 0x7fff,
    }
}

fn poll(run: &Run, what: impl std::fmt::Debug, fds: &mut [pollfd], timeout_ms: c_int) {
    let start = Instant::now();
    let result = run.via.poll(fds.as_mut_ptr(), fds.len() as u64, timeout_ms);
    let waited = start.elapsed() >= Duration::from_millis(timeout_ms.max(0) as u64);
    // What is not ready comes only when the time is over.
    let in_time = result != Ok(0) || waited;
    let seen: Vec<i16> = fds.iter().map(|fd| fd.revents).collect();
    run.note(what, (result, seen, in_time));
}

#[test]
fn polling_each_kind() {
    same(|run| {
        for kind in KINDS {
            for private in [true, false] {
                let pair = Pair::new(run.via, kind, private);
                for events in [libc::POLLIN, libc::POLLOUT, ALL, 0] {
                    poll(run, (kind, events, "now"), &mut [one(pair.a, events)], 0);
                }
                if matches!(kind, Kind::Event) {
                    continue;
                }
                poll(run, (kind, "in time"), &mut [one(pair.a, libc::POLLIN)], 10);
                let feeder = later(pair.feeder(b"some"));
                poll(run, (kind, "waits"), &mut [one(pair.a, libc::POLLIN)], -1);
                feeder.join().expect("the feeder");
                poll(
                    run,
                    (kind, "ready"),
                    &mut [one(pair.a, libc::POLLIN), one(pair.b, 0)],
                    10,
                );
            }
        }
    });
}

#[test]
fn polling_until_the_other_end_goes() {
    same(|run| {
        for kind in [
            Kind::Tcp,
            Kind::UnixStream,
            Kind::UnixSequence,
            Kind::Pipe,
            Kind::Fifo,
            Kind::Terminal,
        ] {
            for events in [0, libc::POLLIN, libc::POLLRDHUP] {
                if kind == Kind::Tcp && events == 0 {
                    // Half of a connection is no hang-up.
                    continue;
                }
                let pair = Pair::new(run.via, kind, true);
                let b = pair.give_b();
                let closer = later(move || Via::Kernel.close(b));
                let mut fds = [one(pair.a, events)];
                let result = run.via.poll(fds.as_mut_ptr(), 1, 3000);
                // Data end and hang-up may come one after the other.
                run.note((kind, events), result);
                closer.join().expect("the closer").expect("open until here");
                poll(run, (kind, events, "then"), &mut fds, 0);
            }
        }
    });
}

#[test]
fn polling_what_cannot_be_polled() {
    same(|run| {
        poll(run, "nothing", &mut [], 5);
        poll(run, "a number that is not open", &mut [one(800, ALL)], 1000);
        poll(run, "a negative number", &mut [one(-1, ALL)], 5);
        poll(run, "huge", &mut [one(c_int::MAX, ALL)], 1000);
        let pair = Pair::new(run.via, Kind::Tcp, true);
        poll(
            run,
            "some",
            &mut [one(-5, ALL), one(pair.a, libc::POLLIN), one(801, 0)],
            1000,
        );
        run.note("nowhere", run.via.poll(ptr::null_mut(), 1, 1000));
        run.note(
            "nowhere",
            run.via.poll(ptr::without_provenance_mut(16), 3, -1),
        );
        run.note("too many", run.via.poll(ptr::null_mut(), u64::MAX, -1));
        for time in [(-1, 0), (0, -1), (0, 1_000_000_000)] {
            let time = timespec {
                tv_sec: time.0,
                tv_nsec: time.1,
            };
            let mut fds = [one(pair.a, libc::POLLIN)];
            run.note(
                "time",
                run.via.ppoll(fds.as_mut_ptr(), 1, Some(time), ptr::null()),
            );
        }
    });
}

#[test]
fn polling_many() {
    same(|run| {
        for ready in [0, 7, 19] {
            let pairs: Vec<Pair> = (0..20)
                .map(|index| {
                    Pair::new(
                        run.via,
                        [Kind::UnixStream, Kind::Pipe][index % 2],
                        index % 3 == 0,
                    )
                })
                .collect();
            let mut fds: Vec<pollfd> = pairs.iter().map(|pair| one(pair.a, libc::POLLIN)).collect();
            let feeder = later(pairs[ready].feeder(b"x"));
            poll(run, ready, &mut fds, -1);
            feeder.join().expect("the feeder");
            // The same descriptor twice.
            let mut twice = [
                one(pairs[1].a, libc::POLLIN),
                one(pairs[1].a, libc::POLLIN | libc::POLLRDHUP),
            ];
            poll(run, "twice", &mut twice, 5);
        }
    });
}

#[test]
fn polling_a_listener_and_urgent_data() {
    same(|run| {
        let listener = listener(run.via, libc::SOCK_CLOEXEC);
        let port = super::objects::port_of(listener);
        let client =
            later(move || std::net::TcpStream::connect(("127.0.0.1", port)).expect("a listener"));
        poll(run, "listener", &mut [one(listener, libc::POLLIN)], -1);
        drop(client.join().expect("the client"));
        run.via.close(listener).expect("open");
        let pair = Pair::new(run.via, Kind::Tcp, true);
        let b = pair.b;
        let urgent = later(move || Via::Kernel.send_all_of(b, b"!", libc::MSG_OOB));
        poll(run, "urgent", &mut [one(pair.a, libc::POLLPRI)], -1);
        urgent.join().expect("the sender").expect("one byte");
    });
}

#[test]
fn ppoll_with_and_without_a_mask() {
    same(|run| {
        // SAFETY: zeros are a set, and it is emptied.
        let mask = unsafe {
            let mut mask: libc::sigset_t = std::mem::zeroed();
            libc::sigemptyset(&mut mask);
            mask
        };
        for mask in [ptr::null(), &raw const mask] {
            let pair = Pair::new(run.via, Kind::Pipe, true);
            let time = timespec {
                tv_sec: 0,
                tv_nsec: 10_000_000,
            };
            let mut fds = [one(pair.a, libc::POLLIN)];
            run.note(
                "in time",
                run.via.ppoll(fds.as_mut_ptr(), 1, Some(time), mask),
            );
            let feeder = later(pair.feeder(b"x"));
            run.note("waits", run.via.ppoll(fds.as_mut_ptr(), 1, None, mask));
            run.note("events", fds[0].revents);
            feeder.join().expect("the feeder");
        }
    });
}

fn set_of(fds: &[c_int]) -> libc::fd_set {
    // SAFETY: zeros are an empty set; the numbers are below its size.
    unsafe {
        let mut set: libc::fd_set = std::mem::zeroed();
        for &fd in fds {
            libc::FD_SET(fd, &mut set);
        }
        set
    }
}

fn is_in(fd: c_int, set: &libc::fd_set) -> bool {
    // SAFETY: the number is below the size of the set.
    unsafe { libc::FD_ISSET(fd, set) }
}

#[test]
fn selecting() {
    same(|run| {
        for private in [true, false] {
            for kind in [Kind::Tcp, Kind::Pipe, Kind::UnixDatagram, Kind::Terminal] {
                let pair = Pair::new(run.via, kind, private);
                let count = pair.a.max(pair.b) + 1;
                let both = [pair.a, pair.b];
                let mut sets = [set_of(&both), set_of(&[pair.b]), set_of(&both)];
                let mut time = libc::timeval {
                    tv_sec: 5,
                    tv_usec: 0,
                };
                let places = sets.each_mut().map(ptr::from_mut);
                run.note((kind, "writable"), run.via.select(count, places, &mut time));
                run.note(
                    "sets",
                    both.map(|fd| sets.each_ref().map(|set| is_in(fd, set))),
                );
                run.note(
                    "time is left",
                    time.tv_sec == 4 && time.tv_usec > 0 || time.tv_sec == 5,
                );
                // Nothing until the time is over.
                let mut reads = set_of(&[pair.a]);
                let mut time = libc::timeval {
                    tv_sec: 0,
                    tv_usec: 10_000,
                };
                let places = [&raw mut reads, ptr::null_mut(), ptr::null_mut()];
                run.note((kind, "in time"), run.via.select(count, places, &mut time));
                run.note("sets", (is_in(pair.a, &reads), time.tv_sec, time.tv_usec));
                // Something comes.
                let feeder = later(pair.feeder(b"x"));
                let mut reads = set_of(&[pair.a]);
                let places = [&raw mut reads, ptr::null_mut(), ptr::null_mut()];
                run.note(
                    (kind, "waits"),
                    run.via.select(count, places, ptr::null_mut()),
                );
                run.note("sets", is_in(pair.a, &reads));
                feeder.join().expect("the feeder");
                let mut reads = set_of(&[pair.a]);
                let places = [&raw mut reads, ptr::null_mut(), ptr::null_mut()];
                let time = timespec {
                    tv_sec: 1,
                    tv_nsec: 0,
                };
                run.note(
                    (kind, "pselect"),
                    run.via.pselect(count, places, Some(time), ptr::null()),
                );
            }
        }
    });
}

#[test]
fn selecting_what_cannot_be_selected() {
    same(|run| {
        let none = ptr::null_mut();
        let mut time = libc::timeval {
            tv_sec: 0,
            tv_usec: 3000,
        };
        run.note("nothing", run.via.select(0, [none; 3], &mut time));
        run.note("time is over", (time.tv_sec, time.tv_usec));
        run.note("negative", run.via.select(-1, [none; 3], &mut time));
        for (sec, usec) in [(-1, 0), (0, -1)] {
            let mut time = libc::timeval {
                tv_sec: sec,
                tv_usec: usec,
            };
            run.note("time", run.via.select(0, [none; 3], &mut time));
        }
        let mut set = set_of(&[800]);
        run.note(
            "not open",
            run.via.select(801, [&raw mut set, none, none], &mut time),
        );
        let nowhere = ptr::without_provenance_mut(16);
        run.note(
            "nowhere",
            run.via.select(10, [nowhere, none, none], &mut time),
        );
        run.note(
            "nowhere",
            run.via
                .pselect(10, [none, none, nowhere], None, ptr::null()),
        );
    });
}

fn epoll_over(fds: &[(c_int, u32)]) -> c_int {
    // SAFETY: valid events and plain numbers.
    unsafe {
        let epoll = libc::epoll_create1(libc::EPOLL_CLOEXEC);
        assert!(epoll >= 0);
        for (index, &(fd, events)) in (0..).zip(fds) {
            let mut event = epoll_event { events, u64: index };
            assert_eq!(
                libc::epoll_ctl(epoll, libc::EPOLL_CTL_ADD, fd, &mut event),
                0
            );
        }
        epoll
    }
}

fn epoll_wait(run: &Run, what: impl std::fmt::Debug, epoll: c_int, timeout_ms: c_int, mask: bool) {
    let mut events = [epoll_event { events: 0, u64: 0 }; 4];
    // SAFETY: zeros are an empty set.
    let empty: libc::sigset_t = unsafe { std::mem::zeroed() };
    let start = Instant::now();
    let result = if mask {
        run.via
            .epoll_pwait(epoll, events.as_mut_ptr(), 4, timeout_ms, &empty)
    } else {
        run.via
            .epoll_wait(epoll, events.as_mut_ptr(), 4, timeout_ms)
    };
    let waited = start.elapsed() >= Duration::from_millis(timeout_ms.max(0) as u64);
    let seen: Vec<(u32, u64)> = events[..result.unwrap_or(0)]
        .iter()
        .map(|event| (event.events, event.u64))
        .collect();
    run.note(what, (result, seen, result != Ok(0) || waited));
}

#[test]
fn waiting_in_an_epoll_of_the_program() {
    same(|run| {
        for mask in [false, true] {
            for mode in [0, libc::EPOLLET as u32, libc::EPOLLONESHOT as u32] {
                let pairs = [Kind::Tcp, Kind::Pipe].map(|kind| Pair::new(run.via, kind, true));
                let events = libc::EPOLLIN as u32 | mode;
                let epoll = epoll_over(&pairs.each_ref().map(|pair| (pair.a, events)));
                epoll_wait(run, "now", epoll, 0, mask);
                epoll_wait(run, "in time", epoll, 10, mask);
                for pair in &pairs {
                    let feeder = later(pair.feeder(b"x"));
                    epoll_wait(run, ("waits", mode), epoll, -1, mask);
                    feeder.join().expect("the feeder");
                    epoll_wait(run, ("again", mode), epoll, 5, mask);
                    if mode == 0 {
                        run.note("read", run.via.read_to(pair.a, &mut [0; 4]));
                    }
                }
                run.via.close(epoll).expect("open");
            }
        }
    });
}

#[test]
fn an_epoll_that_cannot_be_waited_in() {
    same(|run| {
        let epoll = epoll_over(&[]);
        let mut event = epoll_event { events: 0, u64: 0 };
        run.note("no room", run.via.epoll_wait(epoll, &mut event, 0, -1));
        run.note(
            "less than no room",
            run.via.epoll_wait(epoll, &mut event, -1, 10),
        );
        run.note("nothing in it", run.via.epoll_wait(epoll, &mut event, 1, 5));
        run.note("not an epoll", run.via.epoll_wait(2, &mut event, 1, -1));
        run.note("not open", run.via.epoll_wait(800, &mut event, 1, -1));
        run.via.close(epoll).expect("open");
    });
}

#[test]
fn epolls_in_epolls() {
    same(|run| {
        for depth in 1..6 {
            let pair = Pair::new(run.via, Kind::Pipe, true);
            let mut epolls = vec![epoll_over(&[(pair.a, libc::EPOLLIN as u32)])];
            for _ in 1..depth {
                epolls.push(epoll_over(&[(
                    epolls[epolls.len() - 1],
                    libc::EPOLLIN as u32,
                )]));
            }
            let outer = epolls[epolls.len() - 1];
            let feeder = later(pair.feeder(b"x"));
            epoll_wait(run, depth, outer, -1, false);
            feeder.join().expect("the feeder");
            for epoll in epolls {
                run.via.close(epoll).expect("open");
            }
        }
    });
}
