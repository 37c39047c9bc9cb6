//! Peers that are slow, half gone, or gone without a word disturb nobody, and every byte arrives.
//!
//! Servers and clients are green threads with `std::net`, one per connection, as many as would be kernel threads.

mod common;

use std::io::{ErrorKind, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;

use brigade::thread;
use common::net::{bytes, pair, reset_on_drop};
use common::{Count, on_each_model};

/// More than the two socket buffers of a connection hold when nobody reads; the test that relies on it checks it.
const LARGE: usize = 8 << 20;

/// Serves each connection on a thread of its own until the process ends.
fn serve(session: impl Fn(TcpStream) + Send + Sync + 'static) -> SocketAddr {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener.local_addr().expect("it is bound");
    let session = Arc::new(session);
    thread::spawn(move || {
        for stream in listener.incoming() {
            let (stream, session) = (stream.expect("a peer connects"), Arc::clone(&session));
            thread::spawn(move || session(stream));
        }
    });
    address
}

/// Runs `clients` threads with their numbers and fails if one of them panics.
fn all(clients: usize, client: impl Fn(usize) + Send + Sync) {
    thread::scope(|scope| {
        for number in 0..clients {
            let client = &client;
            scope.spawn(move || client(number));
        }
    });
}

fn read_to_end(mut stream: &TcpStream) -> Vec<u8> {
    let mut all = Vec::new();
    stream.read_to_end(&mut all).expect("the peer sends");
    all
}

/// Answers each request, which is a length and a seed, with so many bytes; counts the large answers that are written.
fn send_what_is_asked_for(mut stream: TcpStream, large: &Count) {
    let mut request = [0; 16];
    while stream.read_exact(&mut request).is_ok() {
        let (length, seed) = request.split_at(8);
        let number = |bytes: &[u8]| usize::from_le_bytes(bytes.try_into().expect("8 bytes"));
        let answer = bytes(number(seed), number(length));
        stream.write_all(&answer).expect("the client is there");
        if answer.len() == LARGE {
            large.up();
        }
    }
}

fn ask(mut stream: &TcpStream, length: usize, seed: usize) {
    let request = [length.to_le_bytes(), seed.to_le_bytes()].concat();
    stream.write_all(&request).expect("the server is there");
}

fn assert_answer(mut stream: &TcpStream, length: usize, seed: usize) {
    let mut answer = vec![0; length];
    stream.read_exact(&mut answer).expect("the server answers");
    assert!(answer == bytes(seed, length), "an answer was changed");
}

#[test]
fn slow_readers_stall_nobody_and_get_every_byte() {
    const SLOW: usize = 4;
    on_each_model(|runtime| {
        runtime.run(|| {
            let written = Arc::new(Count::new());
            let counter = Arc::clone(&written);
            let address = serve(move |stream| send_what_is_asked_for(stream, &counter));
            let slow: Vec<_> = (0..SLOW)
                .map(|seed| {
                    let stream = TcpStream::connect(address).expect("the server listens");
                    ask(&stream, LARGE, seed);
                    let mut first = [0];
                    (&stream).read_exact(&mut first).expect("the server writes");
                    assert_eq!(first[0], bytes(seed, 1)[0]);
                    stream
                })
                .collect();
            // The server's threads for these are in their writes now and stay there.
            all(20, |number| {
                let stream = TcpStream::connect(address).expect("the server listens");
                for round in 0..50 {
                    ask(&stream, 1000, number + round);
                    assert_answer(&stream, 1000, number + round);
                }
            });
            assert_eq!(written.get(), 0, "the slow ones were not slow");
            all(SLOW, |seed| {
                read_slowly(&slow[seed], &bytes(seed, LARGE)[1..])
            });
            written.wait_for(SLOW);
        });
    });
}

fn read_slowly(mut stream: &TcpStream, want: &[u8]) {
    let mut at = 0;
    while at < want.len() {
        let mut piece = [0; 9973];
        let length = stream.read(&mut piece).expect("the server answers");
        assert!(length > 0, "the end came after {at} bytes");
        assert!(
            piece[..length] == want[at..at + length],
            "{length} bytes from {at} on were changed"
        );
        at += length;
        thread::yield_now();
    }
}

#[test]
fn a_client_that_has_closed_its_half_gets_the_whole_answer() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let address = serve(|mut stream| {
                let mut request = read_to_end(&stream);
                request.reverse();
                stream.write_all(&request).expect("the client still reads");
            });
            all(20, |number| {
                let mut stream = TcpStream::connect(address).expect("the server listens");
                let mut request = bytes(number, 100_000 * number);
                for piece in request.chunks(7001) {
                    stream.write_all(piece).expect("the server reads");
                }
                stream.shutdown(Shutdown::Write).expect("it is connected");
                request.reverse();
                assert!(read_to_end(&stream) == request, "client {number}");
            });
        });
    });
}

#[test]
fn a_server_that_has_closed_its_half_gets_the_whole_request() {
    on_each_model(|runtime| {
        runtime.run(|| {
            all(20, |number| {
                let (mut client, server) = pair();
                let request = bytes(number, 1_000_000);
                let received = thread::spawn(move || {
                    server.shutdown(Shutdown::Write).expect("it is connected");
                    read_to_end(&server)
                });
                assert!(read_to_end(&client).is_empty());
                client.write_all(&request).expect("the server reads");
                client.shutdown(Shutdown::Write).expect("it is connected");
                assert!(received.join().expect("no panic") == request);
            });
        });
    });
}

#[test]
fn a_thread_that_reads_is_woken_when_another_shuts_the_stream_down() {
    on_each_model(|runtime| {
        runtime.run(|| {
            all(20, |_| {
                let (client, _server) = pair();
                let client = Arc::new(client);
                let (reader, reading) = (Arc::clone(&client), Arc::new(Count::new()));
                let started = Arc::clone(&reading);
                let reader = thread::spawn(move || {
                    started.up();
                    read_to_end(&reader)
                });
                reading.wait_for(1);
                client.shutdown(Shutdown::Both).expect("it is connected");
                assert!(reader.join().expect("no panic").is_empty());
            });
        });
    });
}

#[test]
fn a_reset_is_an_error_for_who_reads_and_the_server_goes_on() {
    const CLIENTS: usize = 60;
    on_each_model(|runtime| {
        let reset = Arc::new(Count::new());
        let seen = Arc::clone(&reset);
        runtime.run(move || {
            let counter = Arc::clone(&seen);
            let address = serve(move |mut stream| {
                let mut byte = [0];
                loop {
                    match stream.read(&mut byte) {
                        Ok(0) => return,
                        Ok(_) => stream.write_all(&byte).expect("the client waits for it"),
                        Err(error) => {
                            assert_eq!(error.kind(), ErrorKind::ConnectionReset);
                            counter.up();
                            return;
                        }
                    }
                }
            });
            all(CLIENTS, |number| {
                let mut stream = TcpStream::connect(address).expect("the server listens");
                for byte in 0..10 {
                    stream.write_all(&[byte]).expect("the server reads");
                    let mut answer = [0];
                    stream.read_exact(&mut answer).expect("the server answers");
                    assert_eq!(answer, [byte]);
                }
                if number % 2 == 0 {
                    reset_on_drop(&stream);
                }
            });
            seen.wait_for(CLIENTS / 2);
        });
        assert_eq!(reset.get(), CLIENTS / 2);
    });
}

#[test]
fn a_reset_is_an_error_for_who_writes_into_full_buffers() {
    on_each_model(|runtime| {
        runtime.run(|| {
            all(8, |number| {
                let (client, mut server) = pair();
                let writer = thread::spawn(move || {
                    loop {
                        if let Err(error) = server.write_all(&bytes(number, 1 << 16)) {
                            return error.kind();
                        }
                    }
                });
                // The first bytes are here, the buffers fill up meanwhile.
                let mut first = [0; 100];
                (&client).read_exact(&mut first).expect("the server writes");
                reset_on_drop(&client);
                drop(client);
                assert_eq!(writer.join().expect("no panic"), ErrorKind::ConnectionReset);
            });
        });
    });
}
