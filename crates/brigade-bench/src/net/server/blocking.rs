//! Plain blocking code: one session for every kind of stream, on kernel threads, green threads and coroutines.

use std::convert::Infallible;
use std::io::{self, Read, Write};

use super::super::protocol::{HELLO, Protocol};
use super::listen;

/// Serves one connection until the client closes it.
fn session(stream: impl Read + Write, protocol: Protocol) {
    // A client that goes away ends its own session only.
    let _ = match protocol {
        Protocol::Byte | Protocol::Echo => echo(stream),
        Protocol::Http => http(stream),
    };
}

fn echo(mut stream: impl Read + Write) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

fn http(mut stream: impl Read + Write) -> io::Result<()> {
    let answer = format!(
        "HTTP/1.1 200 OK\r\ncontent-length: {}\r\n\r\n{HELLO}",
        HELLO.len()
    );
    let (mut buffer, mut filled) = ([0; 4096], 0);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 16];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&buffer[..filled]) {
            Ok(httparse::Status::Complete(length)) => {
                stream.write_all(answer.as_bytes())?;
                buffer.copy_within(length..filled, 0);
                filled -= length;
            }
            Ok(httparse::Status::Partial) if filled < buffer.len() => {
                match stream.read(&mut buffer[filled..])? {
                    0 => return Ok(()),
                    length => filled += length,
                }
            }
            _ => return Err(io::ErrorKind::InvalidData.into()),
        }
    }
}

/// Green threads.
pub(super) fn brigade(protocol: Protocol, workers: usize) -> Result<Infallible, String> {
    let runtime = brigade::runtime::Builder::new()
        .workers(workers)
        .build()
        .map_err(|e| format!("building Brigade's runtime: {e}"))?;
    match runtime.model() {
        brigade::runtime::Model::ManyToMany => {}
        other => return Err(format!("this machine falls back to the model {other:?}")),
    }
    runtime.run(|| {
        let listener = listen()?;
        loop {
            let (stream, _) = listener.accept().map_err(|e| format!("accepting: {e}"))?;
            brigade::thread::spawn(move || session(stream, protocol));
        }
    })
}

/// Kernel threads, on as many CPUs as the runtimes have workers.
pub(super) fn kernel(protocol: Protocol, workers: usize) -> Result<Infallible, String> {
    crate::rival::kernel::pin_to(workers)?;
    let listener = listen()?;
    loop {
        let (stream, _) = listener.accept().map_err(|e| format!("accepting: {e}"))?;
        std::thread::Builder::new()
            .spawn(move || session(stream, protocol))
            .map_err(|e| format!("starting a kernel thread: {e}"))?;
    }
}

/// may's coroutines, with its own sockets.
#[cfg(feature = "rivals")]
pub(super) fn may(protocol: Protocol, workers: usize) -> Result<Infallible, String> {
    may::config().set_workers(workers);
    let serve = move || {
        let listener = may::net::TcpListener::bind("0.0.0.0:0");
        let listener = listener.map_err(|e| format!("listening: {e}"))?;
        super::announce(&listener, listener.local_addr())?;
        loop {
            let (stream, _) = listener.accept().map_err(|e| format!("accepting: {e}"))?;
            // SAFETY: may asks that the coroutine use no thread-local across a yield and stay within its
            // stack; a session touches no thread-local of its own and needs a third of the default stack.
            unsafe { may::coroutine::spawn(move || session(stream, protocol)) };
        }
    };
    // SAFETY: as above; accepting uses little stack.
    let acceptor = unsafe { may::coroutine::spawn(serve) };
    acceptor
        .join()
        .map_err(|_| "the accepting coroutine panicked".to_owned())?
}
