//! `accept` and `accept4`.

use std::ptr;

use libc::c_int;

use super::calls::Via;
use super::objects::{
    IN_SIZE, Kind, Pair, UN_SIZE, bound, c_path, directory, fd_of, listener, loopback, port_of,
    unix_address,
};
use super::{Run, later, same};

/// Connects to `port`, on any thread.
fn connect_to(port: u16) -> c_int {
    let fd = fd_of(Via::Kernel.socket(libc::AF_INET, libc::SOCK_STREAM | libc::SOCK_CLOEXEC, 0));
    let address = loopback(port);
    Via::Kernel
        .connect(fd, (&raw const address).cast(), IN_SIZE)
        .expect("somebody listens");
    fd
}

#[test]
fn accepting_who_is_there_and_who_comes() {
    same(|run| {
        for flags in [0, libc::SOCK_CLOEXEC, libc::SOCK_NONBLOCK] {
            for own in [libc::SOCK_CLOEXEC, 0] {
                let listener = listener(run.via, own);
                let port = port_of(listener);
                for wait in [true, false] {
                    let client = if wait {
                        later(move || connect_to(port))
                    } else {
                        std::thread::spawn(move || connect_to(port))
                    };
                    let mut address = loopback(0);
                    let mut size = IN_SIZE;
                    let at = (&raw mut address).cast();
                    let accepted = if flags == 0 {
                        run.via.accept(listener, at, &mut size)
                    } else {
                        run.via.accept4(listener, at, &mut size, flags)
                    };
                    let client = client.join().expect("the client");
                    run.note(
                        (flags, own, wait),
                        (accepted.map(|_| ()), size, address.sin_family),
                    );
                    let accepted = fd_of(accepted);
                    run.note("flags", Via::flags(accepted));
                    run.note(
                        "close on exec",
                        Via::Kernel.fcntl(accepted, libc::F_GETFD, 0),
                    );
                    run.note("port", address.sin_port == port_of(client).to_be());
                    let _ = Via::Kernel.close(client);
                    let mut buffer = [0; 4];
                    run.note(
                        "end",
                        run.via
                            .read_to(accepted, &mut buffer)
                            .map_err(|error| error == libc::EAGAIN),
                    );
                    run.via.close(accepted).expect("open");
                }
                run.note("flags of the listener", Via::flags(listener));
                run.via.close(listener).expect("open");
            }
        }
    });
}

#[test]
fn a_listener_with_o_nonblock() {
    same(|run| {
        let way: [fn(&Run) -> c_int; 2] = [
            |run| listener(run.via, libc::SOCK_CLOEXEC | libc::SOCK_NONBLOCK),
            |run| {
                let fd = listener(run.via, 0);
                let mut one: c_int = 1;
                run.via
                    .ioctl(fd, libc::FIONBIO, (&raw mut one).cast())
                    .expect("a flag");
                fd
            },
        ];
        for make in way {
            let listener = make(run);
            run.note(
                "nobody",
                run.via.accept(listener, ptr::null_mut(), ptr::null_mut()),
            );
            run.note(
                "nobody",
                run.via
                    .accept4(listener, ptr::null_mut(), ptr::null_mut(), 0),
            );
            let client = connect_to(port_of(listener));
            run.note(
                "one",
                run.via
                    .accept(listener, ptr::null_mut(), ptr::null_mut())
                    .is_ok(),
            );
            run.note(
                "nobody",
                run.via.accept(listener, ptr::null_mut(), ptr::null_mut()),
            );
            let _ = Via::Kernel.close(client);
            run.via.close(listener).expect("open");
        }
    });
}

#[test]
fn what_cannot_be_accepted_fails_at_once() {
    same(|run| {
        let none = ptr::null_mut::<c_int>();
        for private in [libc::SOCK_CLOEXEC, 0] {
            let idle = bound(run.via, libc::SOCK_STREAM | private);
            run.note(
                "not listening",
                run.via.accept(idle, none.cast(), none.cast()),
            );
            run.via.close(idle).expect("open");
            let unconnected = fd_of(
                run.via
                    .socket(libc::AF_UNIX, libc::SOCK_STREAM | private, 0),
            );
            run.note(
                "not bound",
                run.via.accept(unconnected, none.cast(), none.cast()),
            );
            run.via.close(unconnected).expect("open");
            let listener = listener(run.via, private);
            run.note(
                "flags",
                run.via.accept4(listener, none.cast(), none.cast(), 1),
            );
            run.via.close(listener).expect("open");
        }
        for kind in [
            Kind::Tcp,
            Kind::Udp,
            Kind::UnixStream,
            Kind::UnixDatagram,
            Kind::UnixSequence,
            Kind::Pipe,
        ] {
            let pair = Pair::new(run.via, kind, true);
            run.note(kind, run.via.accept4(pair.a, none.cast(), none.cast(), 0));
        }
    });
}

#[test]
fn a_listener_that_is_shut_down_while_somebody_waits() {
    same(|run| {
        let listener = listener(run.via, libc::SOCK_CLOEXEC);
        let end = later(move || {
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            unsafe { libc::shutdown(listener, libc::SHUT_RDWR) }
        });
        run.note(
            "accept",
            run.via.accept(listener, ptr::null_mut(), ptr::null_mut()),
        );
        end.join().expect("the other thread");
        run.via.close(listener).expect("open");
    });
}

#[test]
fn unix_connections() {
    same(|run| {
        for kind in [libc::SOCK_STREAM, libc::SOCK_SEQPACKET] {
            let directory = directory();
            let path = directory.join("socket");
            let address = unix_address(&path);
            let listener = fd_of(run.via.socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0));
            // SAFETY: a valid address and plain numbers.
            unsafe {
                assert_eq!(
                    libc::bind(listener, (&raw const address).cast(), UN_SIZE),
                    0
                );
                assert_eq!(libc::listen(listener, 4), 0);
            }
            let client = later(move || {
                let fd = fd_of(Via::Kernel.socket(libc::AF_UNIX, kind | libc::SOCK_CLOEXEC, 0));
                let result = Via::Kernel.connect(fd, (&raw const address).cast(), UN_SIZE);
                let _ = Via::Kernel.write_all_of(fd, b"hello");
                let _ = Via::Kernel.close(fd);
                result
            });
            let accepted = fd_of(run.via.accept4(
                listener,
                ptr::null_mut(),
                ptr::null_mut(),
                libc::SOCK_CLOEXEC,
            ));
            let mut buffer = [0; 16];
            run.note((kind, "read"), run.via.read_to(accepted, &mut buffer));
            run.note((kind, "end"), run.via.read_to(accepted, &mut buffer));
            run.note("connect", client.join().expect("the client"));
            run.via.close(accepted).expect("open");
            run.via.close(listener).expect("open");
            // SAFETY: the path is a C string that outlives the call.
            unsafe { libc::unlink(c_path(&path).as_ptr()) };
            let _ = std::fs::remove_dir_all(directory);
        }
    });
}
