//! Unix sockets.

use std::io;
use std::os::unix::net::{SocketAddr, UnixDatagram, UnixListener, UnixStream};
use std::path::Path;
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use socket2::{Domain, SockAddr};

use super::Async;
use super::net::begin_connect;

impl Async<UnixListener> {
    /// Listens at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::bind`], and as [`Async::new`].
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Async<UnixListener>> {
        Async::new(UnixListener::bind(path)?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`UnixListener::accept`], and as [`Async::new`].
    pub async fn accept(&self) -> io::Result<(Async<UnixStream>, SocketAddr)> {
        let (stream, peer) = self.read_with(|listener| listener.accept()).await?;
        Ok((Async::new(stream)?, peer))
    }

    /// The connections, one after the other; it does not end.
    #[must_use]
    pub fn incoming(&self) -> IncomingUnix<'_> {
        IncomingUnix { listener: self }
    }
}

/// The connections of a listener; see [`Async::<UnixListener>::incoming`].
#[derive(Debug)]
pub struct IncomingUnix<'a> {
    listener: &'a Async<UnixListener>,
}

impl Stream for IncomingUnix<'_> {
    type Item = io::Result<Async<UnixStream>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self
            .listener
            .poll_read_with(cx, |listener| listener.accept());
        accepted.map(|result| Some(result.and_then(|(stream, _)| Async::new(stream))))
    }
}

impl Async<UnixStream> {
    /// Connects to the socket at `path`.
    ///
    /// # Errors
    ///
    /// As [`UnixStream::connect`], and as [`Async::new`]. `WouldBlock` when too many wait to be accepted there: the
    /// kernel does not tell when there is room, so try again later.
    pub async fn connect(path: impl AsRef<Path>) -> io::Result<Async<UnixStream>> {
        let socket = begin_connect(Domain::UNIX, None, &SockAddr::unix(path)?)?;
        let stream = Async::new_nonblocking(UnixStream::from(socket))?;
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// As [`UnixStream::pair`], and as [`Async::new`].
    pub fn pair() -> io::Result<(Async<UnixStream>, Async<UnixStream>)> {
        let (one, other) = UnixStream::pair()?;
        Ok((Async::new(one)?, Async::new(other)?))
    }
}

impl Async<UnixDatagram> {
    /// A socket at `path`, which must not exist.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::bind`], and as [`Async::new`].
    pub fn bind(path: impl AsRef<Path>) -> io::Result<Async<UnixDatagram>> {
        Async::new(UnixDatagram::bind(path)?)
    }

    /// A socket without an address.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::unbound`], and as [`Async::new`].
    pub fn unbound() -> io::Result<Async<UnixDatagram>> {
        Async::new(UnixDatagram::unbound()?)
    }

    /// Two sockets that are connected to each other.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::pair`], and as [`Async::new`].
    pub fn pair() -> io::Result<(Async<UnixDatagram>, Async<UnixDatagram>)> {
        let (one, other) = UnixDatagram::pair()?;
        Ok((Async::new(one)?, Async::new(other)?))
    }

    /// Waits for a message; its length, and who sent it. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::recv_from`].
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buffer)).await
    }

    /// Sends a message to the socket at `path`; the bytes sent.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::send_to`].
    pub async fn send_to(&self, buffer: &[u8], path: impl AsRef<Path>) -> io::Result<usize> {
        let path = path.as_ref();
        self.write_with(|socket| socket.send_to(buffer, path)).await
    }

    /// Waits for a message of the connected peer.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::recv`].
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.recv(buffer)).await
    }

    /// Sends a message to the connected peer.
    ///
    /// # Errors
    ///
    /// As [`UnixDatagram::send`].
    pub async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.write_with(|socket| socket.send(buffer)).await
    }
}
