//! Descriptors, without the hooks and without tasks: any executor will do.

mod common;

use std::future::Future;
use std::io::{self, ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::fd::AsRawFd;
use std::os::unix::net::{UnixDatagram, UnixListener, UnixStream};
use std::pin::pin;
use std::sync::Arc;
use std::task::{Context, Poll, Waker};
use std::thread;
use std::time::Duration;

use brigade_task::{Async, timeout};
use common::{Bell, Watch, block_on, both};

const SHORT: Duration = Duration::from_millis(3);

fn pair() -> (Async<UnixStream>, Async<UnixStream>) {
    Async::<UnixStream>::pair().expect("a pair of sockets")
}

async fn read_some(from: &Async<UnixStream>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 64];
    let length = from.read_with(|mut io| io.read(&mut buffer)).await?;
    Ok(buffer[..length].to_vec())
}

async fn write_some(to: &Async<UnixStream>, bytes: &[u8]) -> io::Result<usize> {
    to.write_with(|mut io| io.write(bytes)).await
}

/// Polls once, as the task of `bell`.
fn poll<F: Future>(future: std::pin::Pin<&mut F>, bell: &Arc<Bell>) -> Poll<F::Output> {
    let waker = Waker::from(Arc::clone(bell));
    future.poll(&mut Context::from_waker(&waker))
}

#[test]
fn two_tasks_on_one_thread_talk() {
    let (here, there) = pair();
    let ping = async {
        for n in 0..1000_u32 {
            write_some(&here, &n.to_le_bytes()).await?;
            assert_eq!(read_some(&here).await?, (n + 1).to_le_bytes());
        }
        io::Result::Ok(())
    };
    let pong = async {
        for n in 0..1000_u32 {
            assert_eq!(read_some(&there).await?, n.to_le_bytes());
            write_some(&there, &(n + 1).to_le_bytes()).await?;
        }
        io::Result::Ok(())
    };
    let (ping, pong) = block_on(both(ping, pong));
    ping.expect("the one");
    pong.expect("the other");
}

#[test]
fn reading_and_writing_of_one_descriptor_wait_apart() {
    let (here, mut there) = {
        let (here, there) = UnixStream::pair().expect("a pair");
        (Async::new(here).expect("asynchronous"), there)
    };
    // Fill it, so that writing waits, too.
    block_on(async { while timeout(SHORT, write_some(&here, &[7; 4096])).await.is_ok() {} });
    let (reader, writer) = (Bell::new(), Bell::new());
    let mut reads = pin!(read_some(&here));
    let mut writes = pin!(write_some(&here, &[8]));
    assert!(poll(reads.as_mut(), &reader).is_pending());
    assert!(poll(writes.as_mut(), &writer).is_pending());
    there.write_all(b"x").expect("room in this direction");
    let _watch = Watch::new();
    reader.wait_for(1);
    assert_eq!(block_on(reads.as_mut()).expect("what was written"), b"x");
    // Its direction is as full as before.
    assert!(poll(writes.as_mut(), &writer).is_pending());
    there.set_nonblocking(true).expect("non-blocking");
    let mut sink = [0; 65536];
    while there.read(&mut sink).is_ok() {}
    assert_eq!(block_on(writes).expect("room"), 1);
}

#[test]
fn each_of_many_readers_gets_one_message() {
    const READERS: usize = 50;
    let (here, there) = pair();
    let here = Arc::new(here);
    let readers: Vec<_> = (0..READERS)
        .map(|_| {
            let here = Arc::clone(&here);
            thread::spawn(move || {
                let mut byte = [0];
                block_on(here.read_with(|mut io| io.read(&mut byte))).expect("a byte");
                byte[0]
            })
        })
        .collect();
    for n in 0..READERS {
        block_on(write_some(&there, &[n as u8])).expect("room");
    }
    let mut got: Vec<usize> = readers
        .into_iter()
        .map(|reader| usize::from(reader.join().expect("a reader")))
        .collect();
    got.sort_unstable();
    assert_eq!(got, (0..READERS).collect::<Vec<_>>());
}

#[test]
fn readable_says_so_as_long_as_there_is_something() {
    let (here, there) = pair();
    let bell = Bell::new();
    let mut readable = Box::pin(here.readable());
    assert!(poll(readable.as_mut(), &bell).is_pending());
    block_on(write_some(&there, b"ab")).expect("room");
    block_on(readable).expect("readable");
    // Half of it taken, and asked again, twice: the level counts, not the edge.
    let mut byte = [0];
    block_on(here.read_with(|mut io| io.read(&mut byte))).expect("a byte");
    block_on(here.readable()).expect("still readable");
    block_on(here.readable()).expect("still readable");
    block_on(here.writable()).expect("writable");
    block_on(here.read_with(|mut io| io.read(&mut byte))).expect("a byte");
    assert!(poll(pin!(here.readable()), &bell).is_pending());
}

#[test]
fn urgent_data_that_a_read_does_not_give_is_not_readable() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let client =
        TcpStream::connect(listener.local_addr().expect("bound")).expect("somebody listens");
    let here = Async::new(listener.accept().expect("a client").0).expect("a socket");
    let sent = socket2::SockRef::from(&client).send_out_of_band(b"!");
    assert_eq!(sent.expect("connected"), 1);
    let bell = Bell::new();
    let mut readable = pin!(here.readable());
    for _ in 0..100 {
        if let Poll::Ready(answer) = poll(readable.as_mut(), &bell) {
            answer.expect("open");
            let attempt = here.get_ref().read(&mut [0; 8]);
            panic!("readable, but a read says {attempt:?}");
        }
        std::thread::yield_now();
    }
    (&client).write_all(b"x").expect("connected");
    block_on(readable).expect("open");
    assert!(here.get_ref().read(&mut [0; 8]).is_ok());
}

#[test]
fn the_end_of_the_peer_wakes_a_reader() {
    let (here, there) = pair();
    let bell = Bell::new();
    let mut reads = pin!(read_some(&here));
    assert!(poll(reads.as_mut(), &bell).is_pending());
    drop(there);
    assert_eq!(block_on(reads).expect("the end"), b"");
}

#[test]
fn a_dropped_future_leaves_no_waker_behind() {
    let (here, _there) = pair();
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    let before = Arc::strong_count(&bell);
    for _ in 0..1000 {
        let mut reads = pin!(read_some(&here));
        assert!(
            reads
                .as_mut()
                .poll(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    assert_eq!(Arc::strong_count(&bell), before);
}

#[test]
fn wakers_of_the_poll_functions_do_not_pile_up() {
    let (here, _there) = pair();
    let bells: Vec<_> = (0..1000).map(|_| Bell::new()).collect();
    for bell in &bells {
        let waker = Waker::from(Arc::clone(bell));
        assert!(
            here.poll_readable(&mut Context::from_waker(&waker))
                .is_pending()
        );
    }
    let kept = bells
        .iter()
        .filter(|bell| Arc::strong_count(bell) > 1)
        .count();
    let woken = bells.iter().filter(|bell| bell.rung() > 0).count();
    assert!(kept <= 16, "{kept} wakers are kept");
    assert_eq!(kept + woken, bells.len(), "whoever is dropped is woken");
}

#[test]
fn an_object_dropped_while_its_future_was_pending_lets_go_of_the_waker() {
    let bell = Bell::new();
    let waker = Waker::from(Arc::clone(&bell));
    for fires in [false, true] {
        for _ in 0..500 {
            let (here, there) = pair();
            assert!(
                here.poll_readable(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            if fires {
                block_on(write_some(&there, b"x")).expect("room");
            }
            drop(here);
        }
    }
    drop(waker);
    let _watch = Watch::new();
    while Arc::strong_count(&bell) > 1 {
        thread::yield_now();
    }
}

#[test]
fn futures_dropped_while_events_come_are_safe() {
    let (here, there) = pair();
    let there = Arc::new(there);
    let writer = Arc::clone(&there);
    let writer = thread::spawn(move || {
        for _ in 0..3000 {
            block_on(write_some(&writer, b"x")).expect("room");
        }
    });
    let mut total = 0;
    block_on(async {
        let mut round = 0_u64;
        while total < 3000 {
            round += 1;
            let patience = Duration::from_micros(round % 60);
            if let Ok(bytes) = timeout(patience, read_some(&here)).await {
                total += bytes.expect("bytes").len();
            }
        }
    });
    writer.join().expect("the writer");
    assert_eq!(total, 3000, "a dropped read takes nothing");
}

#[test]
fn a_number_used_again_is_another_file() {
    // Without the hooks nobody hears of a close; the new object must be registered all the same.
    let mut numbers = std::collections::BTreeMap::new();
    for n in 0..200_u8 {
        let (here, mut there) = UnixStream::pair().expect("a pair");
        *numbers.entry(here.as_raw_fd()).or_insert(0) += 1;
        let here = Async::new(here).expect("asynchronous");
        let bell = Bell::new();
        let mut reads = pin!(read_some(&here));
        assert!(poll(reads.as_mut(), &bell).is_pending());
        there.write_all(&[n]).expect("room");
        assert_eq!(block_on(reads).expect("a byte"), [n]);
    }
    assert!(
        numbers.values().any(|&uses| uses > 10),
        "no number came twice: this run proves nothing"
    );
}

#[test]
fn another_object_can_be_put_in() {
    let (mut here, _there) = pair();
    let bell = Bell::new();
    {
        let mut reads = pin!(read_some(&here));
        assert!(poll(reads.as_mut(), &bell).is_pending());
    }
    let (other, mut peer) = UnixStream::pair().expect("a pair");
    other.set_nonblocking(true).expect("non-blocking");
    *here.get_mut() = other;
    peer.write_all(b"new").expect("room");
    assert_eq!(block_on(read_some(&here)).expect("bytes"), b"new");
    let before = bell.rung();
    let mut reads = pin!(read_some(&here));
    assert!(poll(reads.as_mut(), &bell).is_pending());
    peer.write_all(b"er").expect("room");
    let _watch = Watch::new();
    bell.wait_for(before + 1);
    assert_eq!(block_on(reads).expect("bytes"), b"er");
}

#[test]
fn what_cannot_be_waited_for_is_refused() {
    let file = std::fs::File::open("/proc/self/exe").expect("this program");
    let refused = Async::new(file).expect_err("an ordinary file");
    assert_eq!(refused.kind(), ErrorKind::PermissionDenied);
}

#[test]
fn tcp_connects_and_accepts_and_says_when_nobody_listens() {
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port");
    let address = listener.get_ref().local_addr().expect("an address");
    let (accepted, connected) = block_on(both(
        listener.accept(),
        Async::<TcpStream>::connect(address),
    ));
    let ((server, peer), client) = (accepted.expect("accepted"), connected.expect("connected"));
    assert_eq!(client.get_ref().local_addr().expect("an address"), peer);
    let mut buffer = [0; 2];
    let (sent, got) = block_on(both(
        server.write_with(|mut io| io.write(b"hi")),
        client.peek(&mut buffer),
    ));
    assert_eq!((sent.expect("sent"), got.expect("peeked")), (2, 2));
    drop((server, client, listener));
    let refused = block_on(Async::<TcpStream>::connect(address)).expect_err("nobody listens");
    assert_eq!(refused.kind(), ErrorKind::ConnectionRefused);
}

#[test]
fn a_hundred_connections_at_once_are_all_accepted() {
    const CONNECTIONS: usize = 100;
    let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port");
    let address = listener.get_ref().local_addr().expect("an address");
    let clients: Vec<_> = (0..CONNECTIONS)
        .map(|n| {
            thread::spawn(move || {
                let mut stream = TcpStream::connect(address)?;
                stream.write_all(&[n as u8])?;
                stream.read_exact(&mut [0])
            })
        })
        .collect();
    block_on(async {
        for _ in 0..CONNECTIONS {
            let (stream, _) = listener.accept().await.expect("a connection");
            let mut byte = [0];
            stream
                .read_with(|mut io| io.read(&mut byte))
                .await
                .expect("a byte");
            stream
                .write_with(|mut io| io.write(&byte))
                .await
                .expect("room");
        }
    });
    for client in clients {
        client.join().expect("a client").expect("served");
    }
}

#[test]
fn messages_keep_their_bounds_and_senders() {
    let one = Async::<UdpSocket>::bind(([127, 0, 0, 1], 0)).expect("a port");
    let other = Async::<UdpSocket>::bind(([127, 0, 0, 1], 0)).expect("a port");
    let to = other.get_ref().local_addr().expect("an address");
    let mut buffer = [0; 16];
    let (sent, got) = block_on(both(one.send_to(b"abc", to), other.recv_from(&mut buffer)));
    assert_eq!(sent.expect("sent"), 3);
    let from = one.get_ref().local_addr().expect("an address");
    assert_eq!(got.expect("a message"), (3, from));

    let (one, other) = Async::<UnixDatagram>::pair().expect("a pair");
    let mut buffer = [0; 16];
    let (got, sent) = block_on(both(other.recv(&mut buffer), one.send(b"xy")));
    assert_eq!((got.expect("a message"), sent.expect("sent")), (2, 2));
}

#[test]
fn unix_sockets_connect_by_path() {
    let path = std::env::temp_dir().join(format!("brigade-task-{}", std::process::id()));
    let listener = Async::<UnixListener>::bind(&path).expect("a path");
    let (accepted, connected) =
        block_on(both(listener.accept(), Async::<UnixStream>::connect(&path)));
    std::fs::remove_file(&path).expect("the path that was made");
    let ((server, _), client) = (accepted.expect("accepted"), connected.expect("connected"));
    block_on(write_some(&client, b"x")).expect("room");
    assert_eq!(block_on(read_some(&server)).expect("a byte"), b"x");
}
