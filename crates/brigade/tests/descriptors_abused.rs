//! A program forks, execs, daemonises, or closes every descriptor, while green threads wait for input: it keeps
//! working, or ends with a clear message. Each case is a process of its own.

mod common;

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::RawFd;
use std::os::unix::net::UnixStream;
use std::os::unix::process::CommandExt;
use std::process::Command;
use std::sync::mpsc;
use std::time::Duration;

use brigade_context::prim::sys;
use common::child;

/// How long something may take that must not hang.
const SOON: Duration = Duration::from_secs(30);

/// Some green threads that wait for ever, each for a socket of its own, and one that waits with a timeout.
fn live_threads() {
    let (tell, hear) = mpsc::channel();
    for index in 0..20_u64 {
        let tell = tell.clone();
        brigade::thread::spawn(move || {
            let (mut a, b) = UnixStream::pair().expect("a pair");
            if index == 0 {
                a.set_read_timeout(Some(Duration::from_millis(20)))
                    .expect("a timeout");
            }
            tell.send(()).expect("the test waits");
            // The other threads' descriptors may be closed by the test: any end will do.
            loop {
                if a.read(&mut [0])
                    .is_err_and(|error| error.raw_os_error() != Some(libc::EAGAIN))
                {
                    break;
                }
            }
            std::mem::forget((a, b));
        });
    }
    for _ in 0..20 {
        hear.recv_timeout(SOON).expect("the threads begin");
    }
    std::thread::sleep(Duration::from_millis(10));
}

/// Echo over fresh sockets, by green threads, while others compute: the runtime works.
fn io_works() {
    let (tell, hear) = mpsc::channel();
    let mut threads = Vec::new();
    for index in 0..50_u32 {
        let tell = tell.clone();
        threads.push(brigade::thread::spawn(move || {
            let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a listener");
            let address = listener.local_addr().expect("an address");
            let server = brigade::thread::spawn(move || {
                let (mut stream, _) = listener.accept().expect("a client");
                let mut bytes = [0; 4];
                stream.read_exact(&mut bytes).expect("a request");
                stream.write_all(&bytes).expect("a client");
            });
            let mut stream = TcpStream::connect(address).expect("a server");
            brigade::thread::sleep(Duration::from_millis(2));
            stream.write_all(&index.to_ne_bytes()).expect("a server");
            let mut bytes = [0; 4];
            stream.read_exact(&mut bytes).expect("an answer");
            server.join().expect("a server");
            tell.send(u32::from_ne_bytes(bytes))
                .expect("the test waits");
        }));
    }
    let mut sum = 0;
    for _ in 0..50 {
        sum += hear.recv_timeout(SOON).expect("input and output go on");
    }
    assert_eq!(sum, (0..50).sum::<u32>());
    // They close what they opened.
    for thread in threads {
        thread.join().expect("a client");
    }
}

/// Runs `f` on a green thread of the default runtime; its result.
#[track_caller]
fn on_green<T: Send + 'static>(f: impl FnOnce() -> T + Send + 'static) -> T {
    let (tell, hear) = mpsc::channel();
    brigade::thread::spawn(move || {
        let _ = tell.send(f());
    });
    hear.recv_timeout(SOON).expect("a green thread that ends")
}

/// Forks; the child calls `f` and ends with 0 if it held. Returns the child's wait status, on the forking thread.
fn fork_and_wait(f: impl FnOnce() -> bool) -> i32 {
    // SAFETY: the child is a whole process, which is what this file tests; it leaves without exit handlers.
    unsafe {
        let child = libc::fork();
        assert!(child >= 0);
        if child == 0 {
            let held = std::panic::catch_unwind(std::panic::AssertUnwindSafe(f)).unwrap_or(false);
            libc::_exit(i32::from(!held));
        }
        let mut status = -1;
        assert_eq!(libc::waitpid(child, &mut status, 0), child);
        status
    }
}

#[test]
fn a_forked_child_does_blocking_io() {
    let name = "a_forked_child_does_blocking_io";
    child::run(name, &[], || {
        live_threads();
        let statuses: Vec<_> = (0..8)
            .map(|_| {
                brigade::thread::spawn(|| {
                    let (mut ours, mut theirs) = UnixStream::pair().expect("a pair");
                    let late = ours.try_clone().expect("a duplicate");
                    std::thread::spawn(move || {
                        std::thread::sleep(Duration::from_millis(20));
                        (&late).write_all(b"ping").expect("the child");
                    });
                    let status = fork_and_wait(|| {
                        let mut bytes = [0; 4];
                        theirs.read_exact(&mut bytes).expect("the parent writes");
                        theirs.write_all(b"pong").expect("the parent reads");
                        bytes == *b"ping"
                    });
                    let mut bytes = [0; 4];
                    ours.read_exact(&mut bytes).expect("the child has written");
                    assert_eq!(&bytes, b"pong");
                    status
                })
            })
            .collect();
        for status in statuses {
            assert_eq!(status.join().expect("a fork"), 0);
        }
        io_works();
    })
    .assert_success();
}

#[test]
fn a_forked_child_has_a_runtime_with_input_and_output_of_its_own() {
    let name = "a_forked_child_has_a_runtime_with_input_and_output_of_its_own";
    child::run(name, &[], || {
        live_threads();
        io_works();
        let status = on_green(|| {
            fork_and_wait(|| {
                io_works();
                live_threads();
                io_works();
                true
            })
        });
        assert_eq!(status, 0);
        let status = fork_and_wait(|| {
            io_works();
            true
        });
        assert_eq!(status, 0);
        io_works();
    })
    .assert_success();
}

#[test]
fn commands_with_pre_exec_start_from_many_threads() {
    let name = "commands_with_pre_exec_start_from_many_threads";
    child::run(name, &[], || {
        live_threads();
        let threads: Vec<_> = (0..16)
            .map(|index| {
                brigade::thread::spawn(move || {
                    let mut command = Command::new("sh");
                    command.args(["-c", &format!("read line; echo $line {index}")]);
                    command
                        .stdin(std::process::Stdio::piped())
                        .stdout(std::process::Stdio::piped());
                    // SAFETY: the closure makes one system call, which is allowed between fork and exec.
                    unsafe {
                        command.pre_exec(|| {
                            libc::umask(0o22);
                            Ok(())
                        });
                    }
                    let mut child = command.spawn().expect("a shell");
                    let mut input = child.stdin.take().expect("a pipe");
                    input.write_all(b"hello\n").expect("a shell that reads");
                    drop(input);
                    let output = child.wait_with_output().expect("a shell that ends");
                    assert_eq!(
                        String::from_utf8_lossy(&output.stdout),
                        format!("hello {index}\n")
                    );
                })
            })
            .collect();
        for thread in threads {
            thread.join().expect("a command");
        }
        io_works();
    })
    .assert_success();
}

/// As `daemon(0, 0)`: fork, a new session, fork again, standard descriptors to the null device.
#[test]
fn a_daemon_works() {
    let name = "a_daemon_works";
    child::run(name, &[], || {
        live_threads();
        let (mut ours, theirs) = UnixStream::pair().expect("a pair");
        let status = fork_and_wait(|| {
            // SAFETY: the calls take numbers and C strings that outlive them.
            unsafe {
                assert!(libc::setsid() > 0);
            }
            let again = fork_and_wait(|| {
                // SAFETY: the calls take numbers and C strings that outlive them.
                unsafe {
                    let null = libc::open(c"/dev/null".as_ptr(), libc::O_RDWR);
                    for standard in 0..3 {
                        assert_eq!(libc::dup2(null, standard), standard);
                    }
                }
                io_works();
                (&theirs).write_all(b"alive").is_ok()
            });
            again == 0
        });
        assert_eq!(status, 0);
        let mut bytes = [0; 5];
        ours.read_exact(&mut bytes).expect("the daemon has written");
        assert_eq!(&bytes, b"alive");
        io_works();
        // The function of libc itself, in the middle of everything; it ends the parent.
        let status = fork_and_wait(|| {
            let (mut near, far) = UnixStream::pair().expect("a pair");
            let status = fork_and_wait(|| {
                io_works();
                // SAFETY: the call takes numbers only, of descriptors that the script owns.
                assert_eq!(unsafe { libc::daemon(0, 0) }, 0);
                io_works();
                (&far).write_all(b"alive").is_ok()
            });
            let mut bytes = [0; 5];
            status == 0 && near.read_exact(&mut bytes).is_ok() && &bytes == b"alive"
        });
        assert_eq!(status, 0);
    })
    .assert_success();
}

/// Closes everything in one of three ways. Called by name, so through libc.
fn close_everything(way: usize) {
    // SAFETY: whatever was open is nobody's afterwards; that is the point.
    unsafe {
        match way {
            0 => {
                for fd in 3..1024 {
                    libc::close(fd);
                }
            }
            1 => assert_eq!(libc::close_range(3, u32::MAX, 0), 0),
            _ => {
                unsafe extern "C" {
                    fn closefrom(first: libc::c_int);
                }
                closefrom(3);
            }
        }
    }
}

fn open_numbers() -> Vec<RawFd> {
    (3..1024)
        // SAFETY: asks whether the number is open, by a system call.
        .filter(|&fd| unsafe {
            sys::call(
                libc::SYS_fcntl,
                [fd as usize, libc::F_GETFD as usize, 0, 0, 0, 0],
            ) >= 0
        })
        .collect()
}

#[test]
fn every_descriptor_is_closed_while_green_threads_wait() {
    let name = "every_descriptor_is_closed_while_green_threads_wait";
    for way in ["0", "1", "2"] {
        child::run(name, &[("WAY", way)], || {
            let way = std::env::var("WAY")
                .expect("set above")
                .parse()
                .expect("a number");
            live_threads();
            io_works();
            let before = open_numbers().len();
            on_green(move || close_everything(way));
            let left = open_numbers();
            assert!(
                before > 20 && left.len() <= 2,
                "{before} were open, {left:?} still are"
            );
            io_works();
            close_everything(way);
            io_works();
            live_threads();
            io_works();
        })
        .assert_success();
    }
}

#[test]
fn a_duplicate_is_put_onto_each_number() {
    let name = "a_duplicate_is_put_onto_each_number";
    child::run(name, &[], || {
        live_threads();
        io_works();
        // SAFETY: the name is a C string that outlives the call.
        let null = unsafe { libc::open(c"/dev/null".as_ptr(), libc::O_RDWR | libc::O_CLOEXEC) };
        for number in 3..64 {
            if number == null {
                continue;
            }
            // SAFETY: what was there is nobody's afterwards.
            let (result, again) = on_green(move || unsafe {
                (
                    libc::dup2(null, number),
                    libc::dup3(null, number, libc::O_CLOEXEC),
                )
            });
            assert_eq!((result, again), (number, number));
            if number % 8 == 0 {
                io_works();
            }
        }
        io_works();
        for number in 3..64 {
            let path = std::fs::read_link(format!("/proc/self/fd/{number}")).expect("it is open");
            assert_eq!(path.to_str(), Some("/dev/null"), "{number}");
        }
    })
    .assert_success();
}

/// The numbers of the runtime's own descriptors.
fn own_numbers(what: &str) -> Vec<RawFd> {
    (3..1024)
        .filter(|fd| {
            std::fs::read_link(format!("/proc/self/fd/{fd}"))
                .is_ok_and(|path| path.to_str().is_some_and(|path| path.contains(what)))
        })
        .collect()
}

#[test]
fn the_descriptors_of_the_runtime_are_not_open_for_the_program() {
    let name = "the_descriptors_of_the_runtime_are_not_open_for_the_program";
    child::run(name, &[], || {
        live_threads();
        let own = [own_numbers("eventpoll"), own_numbers("eventfd")].concat();
        assert_eq!(own.len(), 2, "{own:?}");
        for fd in own {
            // SAFETY: the call takes numbers only, of descriptors that the script owns.
            let result = unsafe { libc::close(fd) };
            assert_eq!(
                (result, std::io::Error::last_os_error().raw_os_error()),
                (-1, Some(libc::EBADF))
            );
        }
        io_works();
    })
    .assert_success();
}

#[test]
fn closing_the_reactor_by_a_system_call_aborts_with_a_message() {
    let name = "closing_the_reactor_by_a_system_call_aborts_with_a_message";
    for what in ["eventpoll", "eventfd"] {
        child::run(name, &[("WHAT", what)], || {
            let what = std::env::var("WHAT").expect("set above");
            live_threads();
            let own = own_numbers(&what);
            assert_eq!(own.len(), 1);
            // SAFETY: a system call that the program must not make.
            unsafe { sys::call(libc::SYS_close, [own[0] as usize, 0, 0, 0, 0, 0]) };
            for _ in 0..1000 {
                io_works();
            }
        })
        .assert_aborted_saying(&[
            "brigade: the program closed the runtime's epoll or event descriptor",
        ]);
    }
}

#[test]
fn exec_from_a_green_thread_leaves_no_descriptor_behind() {
    let name = "exec_from_a_green_thread_leaves_no_descriptor_behind";
    let ended = child::run(name, &[], || {
        live_threads();
        on_green(|| {
            let error = Command::new("ls").args(["/proc/self/fd"]).exec();
            panic!("{error}");
        });
    });
    ended.assert_success();
    // The standard ones, the directory that `ls` reads, and what the harness of the tests left open.
    assert!(ended.stdout.lines().count() < 10, "{ended:#?}");
    assert!(ended.stdout.contains('2'), "{ended:#?}");
}

#[test]
fn the_descriptors_of_many_runtimes_go_with_them() {
    let name = "the_descriptors_of_many_runtimes_go_with_them";
    child::run(name, &[], || {
        let before = open_numbers().len();
        for _ in 0..100 {
            let runtime = brigade::runtime::Builder::new()
                .workers(2)
                .build()
                .expect("a runtime");
            let (a, b) = UnixStream::pair().expect("a pair");
            let reader = runtime.spawn(move || (&a).read(&mut [0]).expect("the end"));
            std::thread::yield_now();
            drop(b);
            assert_eq!(reader.join().expect("a reader"), 0);
        }
        // The last kernel thread of a runtime closes them.
        let start = std::time::Instant::now();
        while open_numbers().len() > before && start.elapsed() < SOON {
            std::thread::yield_now();
        }
        assert_eq!(open_numbers().len(), before);
    })
    .assert_success();
}
