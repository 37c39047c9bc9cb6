//! `tiny_http` with clients that pipeline: several requests in flight on one connection.
//!
//! The crate keeps one kernel thread that accepts and one per connection; they are its own, and wait in the kernel.
//! What is ours are the handlers, which outnumber the crate's kernel threads here. The test has a process of its own,
//! because the crate's kernel threads stay for seconds after their connections.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::rig::on_two_workers;
use tiny_http::{Response, Server};

/// Connections, each of which sends [`PIPELINED`] requests before it reads an answer.
const CONNECTIONS: usize = 4;
const PIPELINED: usize = 10;

/// The crate's own kernel threads: the one that accepts, and a pool that keeps up to four beside those in use.
const OWN_KERNEL_THREADS: usize = 1 + CONNECTIONS + 4;

/// Sends all requests at once, then reads the bodies of the answers.
fn pipeline(address: SocketAddr, connection: usize) -> Vec<String> {
    let mut stream = TcpStream::connect(address).expect("a listening server");
    let requests: String = (0..PIPELINED)
        .map(|index| format!("GET /{connection}/{index} HTTP/1.1\r\nHost: here\r\n\r\n"))
        .collect();
    stream.write_all(requests.as_bytes()).expect("room");
    let mut stream = BufReader::new(stream);
    (0..PIPELINED).map(|_| read_answer(&mut stream)).collect()
}

/// Reads one answer with a `Content-Length`.
fn read_answer(stream: &mut impl BufRead) -> String {
    let mut length = 0;
    loop {
        let mut line = String::new();
        stream.read_line(&mut line).expect("a line of the head");
        if line == "\r\n" {
            break;
        }
        if let Some(value) = line.strip_prefix("Content-Length:") {
            length = value.trim().parse().expect("a number");
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body).expect("the whole body");
    String::from_utf8(body).expect("a text")
}

#[test]
fn slow_handlers_overlap_and_pipelined_answers_keep_their_order() {
    on_two_workers(|runtime| {
        let server = Server::http("127.0.0.1:0").expect("a free port on loopback");
        let address = server.server_addr().to_ip().expect("a TCP socket");
        let clients: Vec<_> = (0..CONNECTIONS)
            .map(|connection| runtime.spawn(move || pipeline(address, connection)))
            .collect();
        let handlers = vec![(); CONNECTIONS * PIPELINED];
        Overlap::of(SLOW)
            .own_kernel_threads(OWN_KERNEL_THREADS)
            .check(runtime, handlers, move |_, ()| {
                let request = server.recv().expect("a request");
                std::thread::sleep(SLOW);
                let answer = Response::from_string(request.url());
                request.respond(answer).expect("a client that reads");
            });
        for (connection, client) in clients.into_iter().enumerate() {
            let expected: Vec<String> = (0..PIPELINED)
                .map(|index| format!("/{connection}/{index}"))
                .collect();
            assert_eq!(client.join().expect("a client"), expected);
        }
    });
}
