//! A small HTTP/1.1 server in plain blocking code: one green thread per connection, keep-alive, bodies with a
//! `Content-Length`.
//!
//! It is the other end for the clients under test, so it is strict: what it does not understand is a panic of its
//! thread, which [`Server::stop`] reports.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicBool, Ordering};

use brigade::runtime::Runtime;
use brigade::thread::JoinHandle;

/// A request as the handler sees it.
#[derive(Debug)]
pub struct Request {
    /// What stands between method and version.
    pub path: String,
    /// As long as `Content-Length` said.
    pub body: Vec<u8>,
}

/// A listening server, to be stopped with [`Server::stop`].
#[derive(Debug)]
pub struct Server {
    address: SocketAddr,
    stopping: Arc<AtomicBool>,
    acceptor: JoinHandle<usize>,
}

impl Server {
    /// Starts a server of plain connections on a free port of loopback; `handle` returns the body of the answer.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn start(
        runtime: &Runtime,
        handle: impl Fn(&Request) -> Vec<u8> + Send + Sync + 'static,
    ) -> Server {
        Server::accepting(runtime, move |stream| serve(stream, &handle))
    }

    /// Starts a server whose connections are served by `serve`, each on a green thread of its own.
    ///
    /// # Panics
    ///
    /// If there is no free port.
    pub fn accepting(
        runtime: &Runtime,
        serve: impl Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
    ) -> Server {
        let listener = TcpListener::bind(("127.0.0.1", 0)).expect("a free port on loopback");
        let address = listener.local_addr().expect("a bound socket");
        let stopping = Arc::new(AtomicBool::new(false));
        let stop = Arc::clone(&stopping);
        let acceptor = runtime.spawn(move || accept(&listener, &stop, Arc::new(serve)));
        Server {
            address,
            stopping,
            acceptor,
        }
    }

    /// Where it listens.
    #[must_use]
    pub fn address(&self) -> SocketAddr {
        self.address
    }

    /// Stops accepting, waits until every connection has been closed by its client, and returns how many there were.
    ///
    /// # Panics
    ///
    /// If a connection was not served to its end.
    #[track_caller]
    pub fn stop(self) -> usize {
        // ORDER: Release, partner of the acquire load in `accept`, which the connection below wakes.
        self.stopping.store(true, Ordering::Release);
        drop(TcpStream::connect(self.address).expect("the server still listens"));
        self.acceptor.join().expect("every connection is served")
    }
}

/// Accepts until told to stop; returns how many connections were served.
fn accept<F>(listener: &TcpListener, stopping: &AtomicBool, serve: Arc<F>) -> usize
where
    F: Fn(TcpStream) -> io::Result<()> + Send + Sync + 'static,
{
    let mut connections = Vec::new();
    loop {
        let (stream, _) = listener.accept().expect("a connection");
        // ORDER: Acquire, partner of the release store in `Server::stop`.
        if stopping.load(Ordering::Acquire) {
            break;
        }
        let serve = Arc::clone(&serve);
        connections.push(brigade::thread::spawn(move || {
            stream.set_nodelay(true).expect("a TCP socket");
            serve(stream).expect("a well-behaved client");
        }));
    }
    let served = connections.len();
    for connection in connections {
        connection
            .join()
            .expect("a connection is served to its end");
    }
    served
}

/// Answers the requests of one connection until the client closes it.
///
/// # Errors
///
/// Those of the connection, and `InvalidData` for what is no request.
pub fn serve(stream: impl Read + Write, handle: impl Fn(&Request) -> Vec<u8>) -> io::Result<()> {
    let mut stream = BufReader::new(stream);
    while let Some(request) = read_request(&mut stream)? {
        let body = handle(&request);
        let mut answer =
            format!("HTTP/1.1 200 OK\r\nContent-Length: {}\r\n\r\n", body.len()).into_bytes();
        answer.extend_from_slice(&body);
        stream.get_mut().write_all(&answer)?;
        stream.get_mut().flush()?;
    }
    Ok(())
}

/// Reads one request; `None` when the client has closed the connection before it.
fn read_request(stream: &mut impl BufRead) -> io::Result<Option<Request>> {
    let mut line = String::new();
    if stream.read_line(&mut line)? == 0 {
        return Ok(None);
    }
    let path = line.split(' ').nth(1).map(str::to_owned);
    let path = path.ok_or_else(|| invalid(&line))?;
    let mut length = 0;
    loop {
        line.clear();
        stream.read_line(&mut line)?;
        if line == "\r\n" {
            break;
        }
        let (name, value) = line.split_once(':').ok_or_else(|| invalid(&line))?;
        if name.eq_ignore_ascii_case("content-length") {
            length = value.trim().parse().map_err(|_| invalid(&line))?;
        }
    }
    let mut body = vec![0; length];
    stream.read_exact(&mut body)?;
    Ok(Some(Request { path, body }))
}

fn invalid(line: &str) -> io::Error {
    io::Error::new(io::ErrorKind::InvalidData, format!("no request: {line:?}"))
}
