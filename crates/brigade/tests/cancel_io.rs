//! Ordinary std code whose waits for descriptors end with a token, and the waits in it that do not.

mod common;

use std::io::{BufRead, BufReader, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::panic::{catch_unwind, resume_unwind};
use std::sync::mpsc;
use std::time::{Duration, Instant};

use brigade::cancel::{self, CancelToken, Cancelled};
use brigade::runtime::{Builder, Model, Runtime};
use common::mixed::waiting;
use common::{Watch, net, on_model};

const HOUR: Duration = Duration::from_secs(3600);

/// With the models in which hooks park.
fn where_hooks_park(test: impl Fn(&Runtime)) {
    common::mixed::on_workers(&test);
    on_model(Model::ManyToOne, &test);
}

fn pair() -> (UnixStream, UnixStream) {
    UnixStream::pair().expect("two descriptors")
}

#[test]
fn inside_the_error_is_that_of_the_system_and_outside_it_says_what_happened() {
    where_hooks_park(|runtime| {
        let (near, far) = pair();
        let token = CancelToken::new();
        let theirs = token.clone();
        let (_, thread) = waiting(runtime, move || {
            theirs.io(|| {
                let mut line = String::new();
                let error = BufReader::new(&near)
                    .read_line(&mut line)
                    .expect_err("nobody writes");
                assert!(Cancelled::is(&error) && Cancelled::of(&error).is_none());
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED));
                Err::<(), _>(error)
            })
        });
        token.cancel();
        let error = thread.join().expect("no panic").expect_err("cancelled");
        let cancelled = Cancelled::of(&error).expect("it says so");
        assert!(!cancelled.is_timed_out());
        assert_eq!(
            cancelled.to_string(),
            "cancelled in the middle of input or output"
        );
        drop(far);
    });
}

#[test]
fn a_deadline_is_an_error_of_kind_timed_out() {
    where_hooks_park(|runtime| {
        let (mut near, _far) = pair();
        let error = runtime.run(move || {
            let token = CancelToken::with_timeout(Duration::from_millis(1));
            token.io(|| near.read(&mut [0])).expect_err("nobody writes")
        });
        assert_eq!(error.kind(), ErrorKind::TimedOut);
        assert!(Cancelled::of(&error).expect("it says so").is_timed_out());
    });
}

#[test]
fn the_operation_is_not_called_if_the_token_has_ended() {
    let token = CancelToken::new();
    token.cancel();
    let result = token.io(|| -> std::io::Result<()> { panic!("it is called") });
    assert!(result.is_err());
}

#[test]
fn a_token_around_another_one_ends_what_is_inside_of_both() {
    where_hooks_park(|runtime| {
        let (near, far) = pair();
        let (outer, inner) = (CancelToken::new(), CancelToken::new());
        let (outer_here, inner_here) = (outer.clone(), inner.clone());
        let (_, thread) = waiting(runtime, move || {
            let result = outer_here.io(|| {
                let result = inner_here.io(|| (&near).read(&mut [0]));
                let error = result.expect_err("nobody writes");
                assert_eq!(error.raw_os_error(), Some(libc::ECANCELED), "not the inner");
                Err::<(), _>(error)
            });
            let error = result.expect_err("the outer");
            assert!(Cancelled::of(&error).is_some());
            // The list of those who wait is whole again.
            assert!(inner_here.io(|| (&near).write(&[1])).is_ok());
        });
        outer.cancel();
        thread.join().expect("no panic");
        assert!(!inner.is_cancelled());
        drop(far);
    });
}

#[test]
fn a_write_that_is_cancelled_says_how_much_it_has_written() {
    const BYTES: usize = 8 << 20;
    where_hooks_park(|runtime| {
        for (near, far) in [pair(), pair()] {
            let token = CancelToken::new();
            let theirs = token.clone();
            let (_, thread) = waiting(runtime, move || {
                let bytes = vec![1; BYTES];
                let mut written = 0;
                let error = loop {
                    match theirs.io(|| (&near).write(&bytes[written..])) {
                        Ok(count) => written += count,
                        Err(error) => break error,
                    }
                };
                assert!(Cancelled::of(&error).is_some(), "{error}");
                written
            });
            token.cancel();
            let written = thread.join().expect("no panic");
            let mut arrived = Vec::new();
            (&far)
                .read_to_end(&mut arrived)
                .expect("the other end is closed");
            assert_eq!(arrived.len(), written, "bytes that nobody counted");
            assert!((1..BYTES).contains(&written));
        }
    });
}

/// A listener that answers nobody any more: its queue is full.
fn deaf_listener() -> (TcpListener, Vec<TcpStream>) {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    // SAFETY: an open socket; a smaller queue from now on.
    assert_eq!(unsafe { libc::listen(listener.as_raw_fd(), 0) }, 0);
    let address = listener.local_addr().expect("it is bound");
    let first = TcpStream::connect(address).expect("there is room for one");
    (listener, vec![first])
}

#[test]
fn a_connection_that_is_not_answered_is_cancelled() {
    where_hooks_park(|runtime| {
        let (listener, _first) = deaf_listener();
        let address = listener.local_addr().expect("it is bound");
        let token = CancelToken::new();
        let theirs = token.clone();
        let (_, thread) = waiting(runtime, move || {
            // The kernel may have room for one more; then the next one waits.
            let mut streams = Vec::new();
            loop {
                match theirs.io(|| TcpStream::connect(address)) {
                    Ok(stream) => streams.push(stream),
                    Err(error) => break error,
                }
            }
        });
        token.cancel();
        let error = thread.join().expect("no panic");
        assert!(Cancelled::of(&error).is_some(), "{error}");
    });
}

#[test]
fn a_timeout_of_the_socket_is_no_cancellation_and_the_earlier_of_both_counts() {
    where_hooks_park(|runtime| {
        runtime.run(|| {
            let (mut near, _far) = net::pair();
            let token = CancelToken::with_timeout(HOUR);
            let short = Some(Duration::from_millis(1));
            near.set_read_timeout(short).expect("it is a socket");
            let error = token.io(|| near.read(&mut [0])).expect_err("the socket's");
            assert_eq!(error.kind(), ErrorKind::WouldBlock);
            assert!(!Cancelled::is(&error));
            near.set_read_timeout(Some(HOUR)).expect("it is a socket");
            let token = CancelToken::with_timeout(Duration::from_millis(1));
            let error = token.io(|| near.read(&mut [0])).expect_err("the token's");
            assert!(Cancelled::of(&error).is_some(), "{error}");
        });
    });
}

#[test]
fn what_is_not_a_wait_for_a_descriptor_goes_on() {
    where_hooks_park(|runtime| {
        let token = CancelToken::new();
        let theirs = token.clone();
        let (sender, receiver) = mpsc::channel();
        let (_, thread) = waiting(runtime, move || {
            theirs.io(|| {
                // A lock of std, with and without a limit, and a sleep.
                assert_eq!(receiver.recv(), Ok(1));
                assert_eq!(receiver.recv_timeout(HOUR), Ok(2));
                let (before, time) = (Instant::now(), Duration::from_millis(2));
                std::thread::sleep(time);
                assert!(before.elapsed() >= time, "the sleep was cut short");
                // A lock of Brigade with a limit of its own.
                let event = brigade::sync::Event::new();
                let before = Instant::now();
                assert!(!event.wait_timeout(time));
                assert!(before.elapsed() >= time, "the wait was cut short");
                Ok(())
            })
        });
        token.cancel();
        sender.send(1).expect("it waits");
        sender.send(2).expect("it waits");
        let result = thread.join().expect("no panic");
        assert!(result.is_ok(), "{result:?}");
    });
}

#[test]
fn what_needs_no_waiting_succeeds_after_the_end_and_the_next_wait_does_not() {
    where_hooks_park(|runtime| {
        runtime.run(|| {
            let (mut near, mut far) = pair();
            far.write_all(b"ab").expect("there is room");
            let token = CancelToken::new();
            let result = token.io(|| {
                token.cancel();
                let mut bytes = [0; 2];
                near.read_exact(&mut bytes)?;
                assert_eq!(&bytes, b"ab");
                near.read(&mut bytes)
            });
            assert!(Cancelled::of(&result.expect_err("it waits")).is_some());
        });
    });
}

#[test]
fn a_panic_in_an_operation_leaves_the_waits_after_it_to_themselves() {
    where_hooks_park(|runtime| {
        let (near, mut far) = pair();
        let token = CancelToken::new();
        let theirs = token.clone();
        let (_, thread) = waiting(runtime, move || {
            let panicked = catch_unwind(|| {
                theirs.io(|| -> std::io::Result<()> { resume_unwind(Box::new(1)) })
            });
            assert!(panicked.is_err());
            (&near).read(&mut [0])
        });
        token.cancel();
        far.write_all(&[1]).expect("there is room");
        let read = thread.join().expect("no panic");
        assert_eq!(read.expect("no token is around it"), 1);
    });
}

/// What the page of the module says: there the hooks are not asked.
#[test]
fn on_a_kernel_thread_an_operation_under_way_is_not_cancelled() {
    let _watch = Watch::new("input on a kernel thread");
    let (mut near, mut far) = pair();
    let token = CancelToken::new();
    let theirs = token.clone();
    let (tell, told) = mpsc::channel();
    let thread = std::thread::spawn(move || {
        theirs.io(|| {
            tell.send(()).expect("the starter waits");
            near.read(&mut [0])
        })
    });
    told.recv().expect("it begins");
    token.cancel();
    far.write_all(&[1]).expect("there is room");
    assert_eq!(thread.join().expect("no panic").expect("a byte came"), 1);
}

#[test]
fn hundreds_of_readers_end_with_one_token() {
    let _watch = Watch::new("hundreds of readers");
    for workers in [1, 2, 8] {
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        runtime.run(|| {
            let pairs: Vec<_> = (0..200).map(|_| pair()).collect();
            let cancelled = cancel::scope(|s| {
                let readers: Vec<_> = pairs
                    .iter()
                    .map(|(near, _)| s.spawn(move || cancel::io(|| { near }.read(&mut [0]))))
                    .collect();
                brigade::thread::yield_now();
                s.token().cancel();
                let results = readers
                    .into_iter()
                    .map(|thread| thread.join().expect("no panic"));
                results
                    .filter(|result| result.as_ref().is_err_and(Cancelled::is))
                    .count()
            });
            assert_eq!(cancelled, pairs.len());
        });
    }
}
