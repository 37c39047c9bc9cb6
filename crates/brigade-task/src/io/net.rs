//! TCP and UDP.

use std::io;
use std::net::{SocketAddr, TcpListener, TcpStream, UdpSocket};
use std::pin::Pin;
use std::task::{Context, Poll};

use futures_core::Stream;
use socket2::{Domain, Protocol, SockAddr, Socket, Type};

use super::Async;

/// Connects a fresh socket: done, or under way.
pub(super) fn begin_connect(
    domain: Domain,
    protocol: Option<Protocol>,
    address: &SockAddr,
) -> io::Result<Socket> {
    // `SOCK_NONBLOCK` and `SOCK_CLOEXEC` at once: one system call, and no other process can have the file.
    let socket = Socket::new(domain, Type::STREAM.nonblocking(), protocol)?;
    match socket.connect(address) {
        Err(error) if error.raw_os_error() == Some(EINPROGRESS) => Ok(socket),
        result => result.map(|()| socket),
    }
}

/// `EINPROGRESS` on Linux.
const EINPROGRESS: i32 = 115;

impl Async<TcpListener> {
    /// Listens on `address`; port 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::bind`], and as [`Async::new`].
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Async<TcpListener>> {
        Async::new(TcpListener::bind(address.into())?)
    }

    /// Waits for a connection.
    ///
    /// # Errors
    ///
    /// As [`TcpListener::accept`] (too many open files, for one), and as [`Async::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_task::Async;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0))?;
    /// let address = listener.get_ref().local_addr()?;
    /// let client = std::thread::spawn(move || TcpStream::connect(address));
    /// let (stream, peer) = brigade_task::block_on(listener.accept())?;
    /// assert_eq!(stream.get_ref().peer_addr()?, peer);
    /// # client.join().unwrap()?;
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn accept(&self) -> io::Result<(Async<TcpStream>, SocketAddr)> {
        let (stream, peer) = self.read_with(|listener| listener.accept()).await?;
        Ok((Async::new(stream)?, peer))
    }

    /// The connections, one after the other; it does not end.
    #[must_use]
    pub fn incoming(&self) -> Incoming<'_> {
        Incoming { listener: self }
    }
}

/// The connections of a listener; see [`Async::<TcpListener>::incoming`].
#[derive(Debug)]
pub struct Incoming<'a> {
    listener: &'a Async<TcpListener>,
}

impl Stream for Incoming<'_> {
    type Item = io::Result<Async<TcpStream>>;

    fn poll_next(self: Pin<&mut Self>, cx: &mut Context<'_>) -> Poll<Option<Self::Item>> {
        let accepted = self
            .listener
            .poll_read_with(cx, |listener| listener.accept());
        accepted.map(|result| Some(result.and_then(|(stream, _)| Async::new(stream))))
    }
}

impl Async<TcpStream> {
    /// Connects to `address`.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::connect`], and as [`Async::new`].
    ///
    /// # Examples
    ///
    /// ```
    /// use brigade_task::Async;
    /// use std::net::{TcpListener, TcpStream};
    ///
    /// let listener = TcpListener::bind("127.0.0.1:0")?;
    /// let address = listener.local_addr()?;
    /// let stream = brigade_task::block_on(Async::<TcpStream>::connect(address))?;
    /// assert_eq!(stream.get_ref().peer_addr()?, address);
    /// // Nobody listens there any more.
    /// drop(listener);
    /// let refused = brigade_task::block_on(Async::<TcpStream>::connect(address));
    /// assert_eq!(refused.unwrap_err().kind(), std::io::ErrorKind::ConnectionRefused);
    /// # std::io::Result::Ok(())
    /// ```
    pub async fn connect(address: impl Into<SocketAddr>) -> io::Result<Async<TcpStream>> {
        let address = address.into();
        let domain = Domain::for_address(address);
        let socket = begin_connect(domain, Some(Protocol::TCP), &address.into())?;
        let stream = Async::new_nonblocking(TcpStream::from(socket))?;
        stream.writable().await?;
        match stream.get_ref().take_error()? {
            Some(error) => Err(error),
            None => Ok(stream),
        }
    }

    /// Reads without taking the bytes away.
    ///
    /// # Errors
    ///
    /// As [`TcpStream::peek`].
    pub async fn peek(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|stream| stream.peek(buffer)).await
    }
}

impl Async<UdpSocket> {
    /// A socket with this address of its own; port 0 lets the kernel choose.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::bind`], and as [`Async::new`].
    pub fn bind(address: impl Into<SocketAddr>) -> io::Result<Async<UdpSocket>> {
        Async::new(UdpSocket::bind(address.into())?)
    }

    /// Waits for a message; its length, and who sent it. What does not fit is lost.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv_from`].
    pub async fn recv_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.recv_from(buffer)).await
    }

    /// As [`Async::<UdpSocket>::recv_from`]; the message stays.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::peek_from`].
    pub async fn peek_from(&self, buffer: &mut [u8]) -> io::Result<(usize, SocketAddr)> {
        self.read_with(|socket| socket.peek_from(buffer)).await
    }

    /// Sends a message; the bytes sent.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send_to`].
    pub async fn send_to(&self, buffer: &[u8], to: impl Into<SocketAddr>) -> io::Result<usize> {
        let to = to.into();
        self.write_with(|socket| socket.send_to(buffer, to)).await
    }

    /// Waits for a message of the connected peer.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::recv`].
    pub async fn recv(&self, buffer: &mut [u8]) -> io::Result<usize> {
        self.read_with(|socket| socket.recv(buffer)).await
    }

    /// Sends a message to the connected peer.
    ///
    /// # Errors
    ///
    /// As [`UdpSocket::send`].
    pub async fn send(&self, buffer: &[u8]) -> io::Result<usize> {
        self.write_with(|socket| socket.send(buffer)).await
    }
}
