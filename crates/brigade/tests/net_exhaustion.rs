//! A process that has no descriptor left is told so, hangs nowhere, and goes on when it has some again.
//!
//! The limit belongs to the process, so each test runs in a child.

mod common;

use std::fs::File;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::time::Duration;

use brigade::runtime::{Builder, Model, Runtime};
use brigade::thread;
use common::net::{limit_descriptors, pair};
use common::{Count, child, on_model};

/// The limit while a test runs; more than the test itself has open.
const DESCRIPTORS: u64 = 150;

/// All descriptors that were left.
struct Taken(Vec<File>);

impl Taken {
    fn take() -> Taken {
        limit_descriptors(DESCRIPTORS);
        let mut taken = Taken(Vec::new());
        taken.take_again();
        taken
    }

    fn take_again(&mut self) {
        loop {
            match File::open("/dev/null") {
                Ok(file) => self.0.push(file),
                Err(error) => {
                    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                    assert!(!self.0.is_empty(), "the limit is below what is open");
                    return;
                }
            }
        }
    }

    fn give_back(&mut self, count: usize) {
        self.0.truncate(self.0.len().saturating_sub(count));
    }
}

#[track_caller]
fn assert_none_left<T>(result: io::Result<T>) {
    let error = result.err().expect("there was one left");
    assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
}

/// Runs `body` on each model in a child process.
fn in_child(test: &str, body: impl Fn() + Send + Sync) {
    let ended = child::run(test, &[], || {
        for model in common::MODELS {
            eprintln!("model {model:?}");
            let runtime = Builder::new().model(model).build().expect("a runtime");
            runtime.run(&body);
            // Its own descriptors are closed before the next one counts what is left.
            let ended = runtime.shutdown_timeout(Duration::from_secs(20));
            assert!(ended.is_ok(), "{ended:?}");
        }
    });
    ended.assert_success();
}

#[test]
fn accepting_and_connecting_fail_and_go_on_later() {
    const CLIENTS: usize = 20;
    in_child("accepting_and_connecting_fail_and_go_on_later", || {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
        let address = listener.local_addr().expect("it is bound");
        // They wait in the backlog.
        let clients: Vec<_> = (0..CLIENTS)
            .map(|_| TcpStream::connect(address).expect("the backlog has room"))
            .collect();
        let mut taken = Taken::take();
        for _ in 0..3 {
            // Whatever else the process has let go of.
            taken.take_again();
            assert_none_left(listener.accept());
            assert_none_left(TcpStream::connect(address));
            assert_none_left(TcpListener::bind("127.0.0.1:0"));
            assert_none_left(listener.try_clone());
        }
        // As many are accepted as there are descriptors again, and then the next is refused.
        taken.give_back(CLIENTS / 2);
        let mut servers: Vec<_> = (0..CLIENTS / 2)
            .map(|_| listener.accept().expect("there are descriptors again").0)
            .collect();
        taken.take_again();
        assert_none_left(listener.accept());
        taken.give_back(CLIENTS);
        servers.extend(
            (CLIENTS / 2..CLIENTS)
                .map(|_| listener.accept().expect("there are descriptors again").0),
        );
        for (mut client, mut server) in clients.into_iter().zip(servers) {
            client.write_all(b"late").expect("the server is there");
            let mut text = [0; 4];
            server.read_exact(&mut text).expect("the client has sent");
            assert_eq!(&text, b"late");
        }
    });
}

#[test]
fn a_thread_that_waits_to_accept_when_the_last_descriptor_goes_accepts_later() {
    in_child(
        "a_thread_that_waits_to_accept_when_the_last_descriptor_goes_accepts_later",
        || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let waiting = Arc::new(Count::new());
            let started = Arc::clone(&waiting);
            let acceptor = thread::spawn(move || {
                started.up();
                loop {
                    // The kernel sets a descriptor aside before it waits; Brigade does not.
                    match listener.accept() {
                        Ok((stream, _)) => return stream,
                        Err(error) => assert_eq!(error.raw_os_error(), Some(libc::EMFILE)),
                    }
                    thread::sleep(Duration::from_millis(1));
                }
            });
            waiting.wait_for(1);
            let mut taken = Taken::take();
            taken.give_back(1);
            let mut client = TcpStream::connect(address).expect("there is one left");
            taken.give_back(1);
            let mut server = acceptor.join().expect("no panic");
            client.write_all(b"x").expect("the server is there");
            server.read_exact(&mut [0]).expect("the client has sent");
        },
    );
}

#[test]
fn threads_still_wait_and_wake_when_there_is_nothing_left_to_wait_with() {
    let body = |runtime: &Runtime| {
        // Made on this kernel thread, so that the runtime has not waited for any descriptor yet.
        let pairs: Vec<_> = (0..20).map(|_| pair()).collect();
        let _taken = Taken::take();
        runtime.run(|| each_reader_wakes_when_its_peer_writes(pairs));
    };
    let test = "threads_still_wait_and_wake_when_there_is_nothing_left_to_wait_with";
    child::run(test, &[], || {
        on_model(Model::ManyToMany, body);
        on_model(Model::ManyToOne, body);
        on_model(Model::OneToOne, body);
    })
    .assert_success();
}

fn each_reader_wakes_when_its_peer_writes(pairs: Vec<(TcpStream, TcpStream)>) {
    let (reading, woken) = (Arc::new(Count::new()), Arc::new(Count::new()));
    let readers: Vec<_> = pairs
        .into_iter()
        .map(|(near, mut far)| {
            let (started, woken) = (Arc::clone(&reading), Arc::clone(&woken));
            let reader = thread::spawn(move || {
                started.up();
                let mut byte = [0];
                far.read_exact(&mut byte).expect("the peer sends");
                woken.up();
                byte[0]
            });
            (near, reader)
        })
        .collect();
    reading.wait_for(readers.len());
    for (number, (mut near, reader)) in readers.into_iter().enumerate() {
        assert_eq!(woken.get(), number, "a reader woke before its time");
        near.write_all(&[number as u8])
            .expect("the reader is there");
        assert_eq!(reader.join().expect("no panic"), number as u8);
    }
}

#[test]
fn a_server_that_was_out_of_descriptors_serves_all_in_the_end() {
    const CLIENTS: usize = 60;
    in_child(
        "a_server_that_was_out_of_descriptors_serves_all_in_the_end",
        || {
            let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
            let address = listener.local_addr().expect("it is bound");
            let (refused, served) = (Arc::new(Count::new()), Arc::new(Count::new()));
            let clients: Vec<_> = (0..CLIENTS)
                .map(|_| TcpStream::connect(address).expect("the backlog has room"))
                .collect();
            let mut taken = Taken::take();
            taken.give_back(5);
            let (refusals, answers) = (Arc::clone(&refused), Arc::clone(&served));
            thread::spawn(move || {
                let mut accepted = 0;
                while accepted < CLIENTS {
                    match listener.accept() {
                        Ok((mut stream, _)) => {
                            accepted += 1;
                            let answers = Arc::clone(&answers);
                            thread::spawn(move || {
                                let mut text = Vec::new();
                                stream.read_to_end(&mut text).expect("the client sends");
                                stream.write_all(&text).expect("the client reads");
                                answers.up();
                            });
                        }
                        Err(error) => {
                            assert_eq!(error.raw_os_error(), Some(libc::EMFILE), "{error}");
                            refusals.up();
                            thread::sleep(Duration::from_millis(1));
                        }
                    }
                }
            });
            refused.wait_for(3);
            // Each client that is done makes room for two that wait: its own end and the server's.
            for (number, mut client) in clients.into_iter().enumerate() {
                let text = format!("client {number}");
                client.write_all(text.as_bytes()).expect("it is connected");
                client
                    .shutdown(std::net::Shutdown::Write)
                    .expect("it is connected");
                let mut answer = String::new();
                client.read_to_string(&mut answer).expect("it is served");
                assert_eq!(answer, text);
            }
            served.wait_for(CLIENTS);
        },
    );
}
