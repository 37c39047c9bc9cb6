//! tokio: a task per connection; HTTP by hyper.

use std::convert::Infallible;
use std::future::Future;
use std::io;

use http_body_util::Full;
use hyper::body::{Bytes, Incoming};
use hyper::server::conn::http1;
use hyper::service::service_fn;
use hyper::{Request, Response};
use hyper_util::rt::TokioIo;
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::net::{TcpListener, TcpStream};

use super::super::protocol::{HELLO, Protocol};
use super::listen;

/// Serves on the multi-thread runtime.
pub(super) fn serve(protocol: Protocol, workers: usize) -> Result<Infallible, String> {
    let runtime = tokio::runtime::Builder::new_multi_thread()
        .worker_threads(workers)
        .enable_io()
        .build()
        .map_err(|e| format!("building tokio's runtime: {e}"))?;
    // `block_on` itself is not on a worker, so the accepting task is spawned.
    let served = runtime.block_on(async move {
        match protocol {
            Protocol::Byte | Protocol::Echo => tokio::spawn(accept(echo)).await,
            Protocol::Http => tokio::spawn(accept(http)).await,
        }
    });
    served.map_err(|e| e.to_string())?
}

async fn accept<F>(session: fn(TcpStream) -> F) -> Result<Infallible, String>
where
    F: Future<Output = ()> + Send + 'static,
{
    let listener = listen()?;
    listener
        .set_nonblocking(true)
        .map_err(|e| format!("listening: {e}"))?;
    let listener = TcpListener::from_std(listener).map_err(|e| format!("listening: {e}"))?;
    loop {
        let (stream, _) = listener
            .accept()
            .await
            .map_err(|e| format!("accepting: {e}"))?;
        tokio::spawn(session(stream));
    }
}

async fn echo(stream: TcpStream) {
    // A client that goes away ends its own session only.
    let _ = echo_until_closed(stream).await;
}

async fn echo_until_closed(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer).await? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length]).await?,
        }
    }
}

async fn http(stream: TcpStream) {
    // As above.
    let _ = http1::Builder::new()
        .serve_connection(TokioIo::new(stream), service_fn(hello))
        .await;
}

async fn hello(_: Request<Incoming>) -> Result<Response<Full<Bytes>>, Infallible> {
    Ok(Response::new(Full::new(Bytes::from_static(
        HELLO.as_bytes(),
    ))))
}
