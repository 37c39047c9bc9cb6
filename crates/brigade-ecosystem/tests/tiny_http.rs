//! `tiny_http`: its requests are received and answered on green threads.
//!
//! The crate keeps one kernel thread that accepts and one per connection (a pool that starts with four); they are its
//! own, and wait in the kernel. What is ours are the handlers: a client that pipelines has several requests in
//! flight on one connection, so handlers can outnumber the crate's kernel threads.

use std::io::{BufRead, BufReader, Write};
use std::net::{SocketAddr, TcpStream};
use std::sync::Arc;

use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use tiny_http::{Response, Server};

/// Connections, each of which sends [`PIPELINED`] requests before it reads an answer.
const CONNECTIONS: usize = 4;
const PIPELINED: usize = 10;

/// The crate's own kernel threads: the one that accepts, and a pool that keeps up to four beside those in use.
const OWN_KERNEL_THREADS: usize = 1 + CONNECTIONS + 4;

fn listen() -> (Arc<Server>, SocketAddr) {
    let server = Server::http("127.0.0.1:0").expect("a free port on loopback");
    let address = server.server_addr().to_ip().expect("a TCP socket");
    (Arc::new(server), address)
}

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
        let (server, address) = listen();
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

#[test]
fn slow_handlers_overlap_for_a_ureq_client_per_green_thread() {
    const CLIENTS: usize = 40;
    on_two_workers(|runtime| {
        let (server, address) = listen();
        let handlers: Vec<_> = (0..CLIENTS)
            .map(|_| {
                let server = Arc::clone(&server);
                runtime.spawn(move || {
                    let request = server.recv().expect("a request");
                    std::thread::sleep(SLOW);
                    let answer = Response::from_string(request.url());
                    request.respond(answer).expect("a client that reads");
                })
            })
            .collect();
        // The crate's own kernel threads are at least one per connection here.
        let answers = Overlap::of(SLOW).any_kernel_threads().check(
            runtime,
            vec![(); CLIENTS],
            move |index, ()| {
                let mut answer = ureq::get(format!("http://{address}/{index}"))
                    .call()
                    .expect("an answer");
                answer.body_mut().read_to_string().expect("a text")
            },
        );
        let expected: Vec<String> = (0..CLIENTS).map(|index| format!("/{index}")).collect();
        assert_eq!(answers, expected);
        for handler in handlers {
            handler.join().expect("a handler");
        }
    });
}

#[test]
fn many_requests_get_their_own_answers() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 40;
    const HANDLERS: usize = 8;
    on_two_workers(|runtime| {
        let (server, address) = listen();
        let handlers: Vec<_> = (0..HANDLERS)
            .map(|_| {
                let server = Arc::clone(&server);
                runtime.spawn(move || {
                    let mut served = 0;
                    while let Ok(mut request) = server.recv() {
                        let mut body = Vec::new();
                        request.as_reader().read_to_end(&mut body).expect("a body");
                        body.reverse();
                        let answer = Response::from_data(body);
                        request.respond(answer).expect("a client that reads");
                        served += 1;
                    }
                    served
                })
            })
            .collect();
        on_green_threads(runtime, CLIENTS, move |index| {
            let agent = ureq::Agent::new_with_defaults();
            for round in 0..ROUNDS {
                let body = payload::bytes(index, round, 91 * (index + 1) * (round % 8));
                let mut answer = agent
                    .post(format!("http://{address}/"))
                    .send(&body[..])
                    .expect("an answer");
                let answer = answer.body_mut().read_to_vec().expect("a body");
                assert!(answer.iter().rev().eq(&body), "{index}/{round} differs");
            }
        });
        // Each call ends one `recv`.
        (0..HANDLERS).for_each(|_| server.unblock());
        let served: usize = handlers
            .into_iter()
            .map(|handler| handler.join().expect("a handler"))
            .sum();
        assert_eq!(served, CLIENTS * ROUNDS);
    });
}
