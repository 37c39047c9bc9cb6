//! `connect`.

use std::ptr;

use libc::c_int;

use super::calls::{Out, Via};
use super::objects::{
    IN_SIZE, UN_SIZE, bound, directory, fd_of, listener, loopback, port_of, unix_address,
};
use super::{Run, later, same};

fn tcp(run: &Run, flags: c_int) -> c_int {
    fd_of(run.via.socket(libc::AF_INET, libc::SOCK_STREAM | flags, 0))
}

fn connect(run: &Run, fd: c_int, port: u16) -> Out {
    let address = loopback(port);
    run.via.connect(fd, (&raw const address).cast(), IN_SIZE)
}

#[test]
fn connecting_by_tcp() {
    same(|run| {
        for flags in [libc::SOCK_CLOEXEC, 0] {
            let listener = listener(run.via, flags);
            let fd = tcp(run, flags);
            run.note("connect", connect(run, fd, port_of(listener)));
            run.note("again", connect(run, fd, port_of(listener)));
            run.note("flags", Via::flags(fd));
            run.via.close(fd).expect("open");
            let fd = tcp(run, flags);
            run.note(
                "nowhere",
                run.via.connect(fd, ptr::without_provenance(16), IN_SIZE),
            );
            run.note("short", run.via.connect(fd, (&raw const run.via).cast(), 1));
            run.via.close(fd).expect("open");
            run.via.close(listener).expect("open");
            let silent = bound(run.via, libc::SOCK_STREAM);
            let fd = tcp(run, flags);
            run.note("refused", connect(run, fd, port_of(silent)));
            run.note("refused again", connect(run, fd, port_of(silent)));
            run.note("flags", Via::flags(fd));
            run.via.close(fd).expect("open");
            run.via.close(silent).expect("open");
        }
    });
}

#[test]
fn connecting_with_o_nonblock() {
    same(|run| {
        let listener = listener(run.via, libc::SOCK_CLOEXEC);
        for flags in [
            libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK,
            libc::SOCK_NONBLOCK,
        ] {
            let fd = tcp(run, flags);
            run.note("begun", connect(run, fd, port_of(listener)));
            let mut one = libc::pollfd {
                fd,
                events: libc::POLLOUT,
                revents: 0,
            };
            run.note("poll", run.via.poll(&mut one, 1, 5000));
            run.note("events", one.revents);
            run.note("done", connect(run, fd, port_of(listener)));
            run.note("again", connect(run, fd, port_of(listener)));
            run.note("flags", Via::flags(fd));
            run.via.close(fd).expect("open");
        }
        run.via.close(listener).expect("open");
    });
}

/// A listener whose queue is full, so that the next connection takes long.
fn full_listener(run: &Run) -> (c_int, Vec<c_int>) {
    let fd = bound(run.via, libc::SOCK_STREAM | libc::SOCK_CLOEXEC);
    // SAFETY: the call takes numbers only, of descriptors that the script owns.
    assert_eq!(unsafe { libc::listen(fd, 0) }, 0);
    let address = loopback(port_of(fd));
    let clients = (0..3)
        .map(|_| {
            let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK;
            let client = fd_of(Via::Kernel.socket(libc::AF_INET, kind, 0));
            let _ = Via::Kernel.connect(client, (&raw const address).cast(), IN_SIZE);
            client
        })
        .collect();
    (fd, clients)
}

#[test]
fn a_connection_that_takes_longer_than_its_timeout() {
    same(|run| {
        for flags in [libc::SOCK_CLOEXEC, 0] {
            let (listener, clients) = full_listener(run);
            let fd = tcp(run, flags);
            let time = libc::timeval {
                tv_sec: 0,
                tv_usec: 30_000,
            };
            let size = size_of_val(&time) as u32;
            run.via
                .setsockopt(
                    fd,
                    libc::SOL_SOCKET,
                    libc::SO_SNDTIMEO,
                    (&raw const time).cast(),
                    size,
                )
                .expect("an option of sockets");
            run.note("connect", connect(run, fd, port_of(listener)));
            // The kernel goes on, and a second call waits for the same connection.
            run.note("connect again", connect(run, fd, port_of(listener)));
            run.note("flags", Via::flags(fd));
            for fd in clients.into_iter().chain([fd, listener]) {
                run.via.close(fd).expect("open");
            }
        }
    });
}

/// What was begun without waiting is waited for by a second call with waiting.
#[test]
fn a_connection_begun_without_waiting_can_be_waited_for() {
    same(|run| {
        let (listener, clients) = full_listener(run);
        let fd = tcp(run, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK);
        run.note("begun", connect(run, fd, port_of(listener)));
        run.via.fcntl(fd, libc::F_SETFL, 0).expect("a flag");
        let acceptor = later(move || {
            let none = ptr::null_mut::<c_int>();
            let accept = || Via::Kernel.accept(listener, none.cast(), none.cast());
            // The queue empties; the kernel sends the request again within a second or so.
            [accept(), accept()].map(fd_of)
        });
        run.note("waited for", connect(run, fd, port_of(listener)));
        run.note("then", connect(run, fd, port_of(listener)));
        let accepted = acceptor.join().expect("the acceptor");
        for fd in clients.into_iter().chain(accepted).chain([fd, listener]) {
            run.via.close(fd).expect("open");
        }
    });
}

#[test]
fn connecting_by_unix_sockets() {
    same(|run| {
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
            for flags in [libc::SOCK_CLOEXEC, 0] {
                let directory = directory();
                let address = unix_address(&directory.join("socket"));
                let at = (&raw const address).cast();
                let socket =
                    |more: c_int| fd_of(run.via.socket(libc::AF_UNIX, kind | flags | more, 0));
                let lonely = socket(0);
                run.note("nothing there", run.via.connect(lonely, at, UN_SIZE));
                let listener = socket(0);
                // SAFETY: a valid address and plain numbers.
                unsafe { assert_eq!(libc::bind(listener, at, UN_SIZE), 0) };
                run.note("nobody listens", run.via.connect(lonely, at, UN_SIZE));
                // SAFETY: the call takes numbers only, of descriptors that the script owns.
                unsafe { assert_eq!(libc::listen(listener, 0), 0) };
                run.note("first", run.via.connect(lonely, at, UN_SIZE));
                let impatient = socket(libc::SOCK_NONBLOCK);
                run.note("full", run.via.connect(impatient, at, UN_SIZE));
                let patient = socket(0);
                let acceptor = later(move || {
                    let none = ptr::null_mut::<c_int>();
                    fd_of(Via::Kernel.accept(listener, none.cast(), none.cast()))
                });
                run.note("waits", run.via.connect(patient, at, UN_SIZE));
                run.note("flags", Via::flags(patient));
                let accepted = acceptor.join().expect("the acceptor");
                for fd in [lonely, listener, impatient, patient, accepted] {
                    run.via.close(fd).expect("open");
                }
                let _ = std::fs::remove_dir_all(directory);
            }
        }
    });
}

#[test]
fn connecting_datagram_sockets() {
    same(|run| {
        let fd = fd_of(
            run.via
                .socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0),
        );
        run.note("nobody", run.via.send_all_of(fd, b"x", 0));
        let silent = bound(run.via, libc::SOCK_DGRAM);
        let port = port_of(silent);
        run.via.close(silent).expect("open");
        run.note("connect", connect(run, fd, port));
        run.note("send", run.via.send_all_of(fd, b"x", 0));
        let mut buffer = [0; 4];
        run.note("refused", run.via.recv_to(fd, &mut buffer, 0));
        run.via.close(fd).expect("open");
    });
}
