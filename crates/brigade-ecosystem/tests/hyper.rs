//! `hyper`: server and client on Brigade's reactor and tasks, without tokio.

use std::convert::Infallible;
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::time::Duration;

use brigade::runtime::Runtime;
use brigade::task::hyper::{TaskExecutor, TaskTimer};
use brigade::task::{self, Async, JoinHandle};
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use bytes::Bytes;
use http_body_util::{BodyExt, Full};
use hyper::body::Incoming;
use hyper::service::service_fn;
use hyper::{Request, Response, client, server};

/// Kernel threads of the default runtime, which are none of the test's.
const DEFAULT_RUNTIME: usize = 8;
/// Longer than any test.
const HOUR: Duration = Duration::from_secs(3600);

/// Answers with the path, `SLOW` later if that begins with `/slow`, and with what was sent.
async fn echo(request: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    let path = request.uri().path().to_owned();
    if path.starts_with("/slow") {
        task::sleep(SLOW).await;
    }
    let sent = match request.into_body().collect().await {
        Ok(body) => body.to_bytes(),
        Err(error) => panic!("a body that ends: {error}"),
    };
    let mut answer = path.into_bytes();
    answer.extend_from_slice(&sent);
    Ok(Response::new(Full::new(Bytes::from(answer))))
}

/// A server on a task; it is aborted when the guard is dropped, connections end with their clients.
struct Server {
    address: SocketAddr,
    accepts: JoinHandle<()>,
}

impl Server {
    /// `patience`: how long a client may take for the head of its request.
    fn start(runtime: &Runtime, http2: bool, patience: Duration) -> Server {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a free port");
        let address = listener.get_ref().local_addr().expect("a bound socket");
        let accepts = async move {
            loop {
                let (stream, _) = listener.accept().await.expect("a connection");
                // A client that goes away is an error of its connection.
                let _connection = if http2 {
                    let builder = server::conn::http2::Builder::new(TaskExecutor);
                    let served = builder.serve_connection(stream, service_fn(echo));
                    task::spawn(async move { served.await.is_ok() })
                } else {
                    let mut builder = server::conn::http1::Builder::new();
                    builder.timer(TaskTimer).header_read_timeout(patience);
                    let served = builder.serve_connection(stream, service_fn(echo));
                    task::spawn(async move { served.await.is_ok() })
                };
            }
        };
        let accepts = runtime.handle().spawn_task(accepts).expect("a task");
        Server { address, accepts }
    }
}

impl Drop for Server {
    fn drop(&mut self) {
        self.accepts.abort();
    }
}

async fn read(response: Response<Incoming>) -> Vec<u8> {
    let body = response.into_body().collect().await.expect("a body");
    body.to_bytes().to_vec()
}

/// Sends the bodies one after the other over one connection, and returns the answers.
async fn ask(address: SocketAddr, path: String, bodies: Vec<Vec<u8>>) -> Vec<Vec<u8>> {
    let stream = Async::<TcpStream>::connect(address)
        .await
        .expect("a server");
    let (mut sender, connection) = client::conn::http1::handshake(stream)
        .await
        .expect("a connection");
    let connection = task::spawn(connection);
    let mut answers = Vec::new();
    for body in bodies {
        let request = Request::post(&path)
            .header("host", "test")
            .body(Full::new(Bytes::from(body)))
            .expect("a request");
        sender.ready().await.expect("an open connection");
        let response = sender.send_request(request).await.expect("an answer");
        answers.push(read(response).await);
    }
    drop(sender);
    connection.await.expect("no panic").expect("a good end");
    answers
}

fn expected(path: &str, body: &[u8]) -> Vec<u8> {
    [path.as_bytes(), body].concat()
}

#[test]
fn slow_answers_overlap_and_hold_no_kernel_threads() {
    const CLIENTS: usize = 60;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, false, HOUR);
        let address = server.address;
        let answers = Overlap::of(SLOW).own_kernel_threads(DEFAULT_RUNTIME).check(
            runtime,
            vec![(); CLIENTS],
            move |index, ()| {
                task::block_on(ask(address, format!("/slow{index}"), vec![Vec::new()]))
            },
        );
        for (index, answer) in answers.into_iter().enumerate() {
            assert_eq!(answer, [expected(&format!("/slow{index}"), b"")]);
        }
    });
}

#[test]
fn many_requests_get_their_own_answers() {
    const CLIENTS: usize = 16;
    const ROUNDS: usize = 30;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, false, HOUR);
        let address = server.address;
        on_green_threads(runtime, CLIENTS, move |client| {
            // From nothing to more than the buffers of both sockets.
            let bodies: Vec<_> = (0..ROUNDS)
                .map(|round| payload::bytes(client, round, round * round * 200))
                .collect();
            let path = format!("/{client}");
            let answers = task::block_on(ask(address, path.clone(), bodies.clone()));
            for (body, answer) in bodies.iter().zip(answers) {
                assert!(answer == expected(&path, body), "another answer");
            }
        });
    });
}

#[test]
fn streams_of_one_connection_share_it() {
    const STREAMS: usize = 40;
    on_two_workers(|runtime| {
        let server = Server::start(runtime, true, HOUR);
        let address = server.address;
        let client = runtime.spawn(move || {
            task::block_on(async move {
                let stream = Async::<TcpStream>::connect(address)
                    .await
                    .expect("a server");
                let (sender, connection) = client::conn::http2::handshake(TaskExecutor, stream)
                    .await
                    .expect("a connection");
                let connection = task::spawn(connection);
                let asked: Vec<_> = (0..STREAMS)
                    .map(|index| {
                        let mut sender = sender.clone();
                        task::spawn(async move {
                            let request = Request::get(format!("http://test/slow{index}"))
                                .body(Full::new(Bytes::new()))
                                .expect("a request");
                            let response = sender.send_request(request).await.expect("an answer");
                            read(response).await
                        })
                    })
                    .collect();
                for (index, answer) in asked.into_iter().enumerate() {
                    let answer = answer.await.expect("no panic");
                    assert_eq!(answer, expected(&format!("/slow{index}"), b""));
                }
                drop(sender);
                connection.await.expect("no panic").expect("a good end");
            });
        });
        client.join().expect("all streams");
    });
}

#[test]
fn the_timer_ends_a_connection_that_says_nothing() {
    on_two_workers(|runtime| {
        let server = Server::start(runtime, false, Duration::from_millis(50));
        let address = server.address;
        let silent = runtime.spawn(move || {
            use std::io::{Read, Write};
            let mut stream = TcpStream::connect(address)?;
            stream.write_all(b"GET / HT")?;
            // The server hangs up, with or without a word.
            stream.read_to_end(&mut Vec::new())
        });
        silent.join().expect("no panic").expect("an end");
    });
}
