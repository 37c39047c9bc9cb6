//! The client: any number of connections on one thread, with epoll.
//!
//! It does as little as it can beside its system calls, of which a request costs two and a share of a third, so that
//! the server is the bottleneck where there are two CPUs.

use std::io::{self, ErrorKind, Read, Write};
use std::net::TcpStream;
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd, RawFd};
use std::time::{Duration, Instant};

use super::protocol::{Protocol, Request};

/// Connections to one server.
pub(super) struct Client {
    port: u16,
    protocol: Protocol,
    epoll: Epoll,
    connections: Vec<Connection>,
    /// Whether an answer is followed by the next request.
    repeats: bool,
}

struct Connection {
    stream: TcpStream,
    request: Request,
    sent: Instant,
    /// What has arrived of an answer that came in pieces.
    pieces: Vec<u8>,
    connected: bool,
}

impl Client {
    /// A client without connections.
    pub(super) fn new(port: u16, protocol: Protocol, capacity: usize) -> Result<Self, String> {
        Ok(Self {
            port,
            protocol,
            epoll: Epoll::new().map_err(|e| format!("epoll: {e}"))?,
            connections: Vec::with_capacity(capacity),
            repeats: false,
        })
    }

    /// Opens `count` more connections at once, and waits until each has had the answer to one request.
    pub(super) fn open(&mut self, count: usize) -> Result<(), String> {
        for _ in 0..count {
            let connection = self.connections.len();
            let stream = start_connecting(self.port, connection);
            let stream = stream.map_err(|e| format!("connection {connection}: {e}"))?;
            self.epoll
                .control(libc::EPOLL_CTL_ADD, &stream, libc::EPOLLOUT, connection)?;
            self.connections.push(Connection {
                stream,
                request: Request {
                    connection,
                    number: 0,
                },
                sent: Instant::now(),
                pieces: Vec::new(),
                connected: false,
            });
        }
        self.drive(count as u64).map(drop)
    }

    /// Sends a request, and from then on another after each answer.
    pub(super) fn request(&mut self, connection: usize) -> Result<(), String> {
        self.repeats = true;
        self.connections[connection].send(self.protocol)
    }

    /// Goes on until `count` more requests have been answered; returns how long each took.
    pub(super) fn answered(&mut self, count: u64) -> Result<Vec<Duration>, String> {
        self.drive(count)
    }

    fn drive(&mut self, count: u64) -> Result<Vec<Duration>, String> {
        let mut latencies = Vec::with_capacity(count as usize);
        let mut events = [libc::epoll_event { events: 0, u64: 0 }; 256];
        while (latencies.len() as u64) < count {
            let ready = self.epoll.wait(&mut events)?;
            for event in &events[..ready] {
                let connection = &mut self.connections[event.u64 as usize];
                if !connection.connected {
                    connection.begin(&self.epoll, self.protocol)?;
                } else if let Some(latency) = connection.receive(self.protocol)? {
                    latencies.push(latency);
                    if self.repeats {
                        connection.send(self.protocol)?;
                    }
                }
            }
        }
        // What came with the last events is beyond the count.
        latencies.truncate(count as usize);
        Ok(latencies)
    }
}

impl Connection {
    /// The first request, as soon as the connection is there.
    fn begin(&mut self, epoll: &Epoll, protocol: Protocol) -> Result<(), String> {
        if let Some(error) = self.stream.take_error().map_err(|e| self.broken(&e))? {
            return Err(self.broken(&error));
        }
        self.connected = true;
        reset_on_drop(&self.stream).map_err(|e| self.broken(&e))?;
        let index = self.request.connection;
        epoll.control(libc::EPOLL_CTL_MOD, &self.stream, libc::EPOLLIN, index)?;
        self.send(protocol)
    }

    fn send(&mut self, protocol: Protocol) -> Result<(), String> {
        let mut text = Vec::with_capacity(64);
        self.request.number += 1;
        self.request.write(protocol, &mut text);
        self.sent = Instant::now();
        // A request is far smaller than a socket's buffer, which is empty.
        match self.stream.write(&text) {
            Ok(length) if length == text.len() => Ok(()),
            Ok(length) => Err(format!("only {length} bytes of a request were taken")),
            Err(error) => Err(self.broken(&error)),
        }
    }

    /// How long the answer took, when it is complete.
    fn receive(&mut self, protocol: Protocol) -> Result<Option<Duration>, String> {
        let mut buffer = [0; 1024];
        let text = match self.stream.read(&mut buffer) {
            Ok(0) => return Err(self.broken(&ErrorKind::UnexpectedEof.into())),
            Ok(length) => &buffer[..length],
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(self.broken(&error)),
        };
        let text = match self.pieces.is_empty() {
            true => text,
            false => {
                self.pieces.extend_from_slice(text);
                &self.pieces
            }
        };
        if self.request.is_answered_by(protocol, text)? {
            let latency = self.sent.elapsed();
            self.pieces.clear();
            return Ok(Some(latency));
        }
        if self.pieces.is_empty() {
            self.pieces = text.to_vec();
        }
        Ok(None)
    }

    fn broken(&self, error: &io::Error) -> String {
        let Request { connection, number } = self.request;
        format!("connection {connection}, request {number}: {error}")
    }
}

/// A non-blocking socket that is connecting to one of four addresses of this machine: the kernel is slow to find a
/// local port when most of those towards one address are taken.
fn start_connecting(port: u16, number: usize) -> io::Result<TcpStream> {
    let kind = libc::SOCK_STREAM | libc::SOCK_NONBLOCK | libc::SOCK_CLOEXEC;
    // SAFETY: socket takes three numbers.
    let fd = check(unsafe { libc::socket(libc::AF_INET, kind, 0) })?;
    // SAFETY: the kernel has just returned this descriptor, so nobody else owns it.
    let fd = unsafe { OwnedFd::from_raw_fd(fd) };
    let host = [127, 0, 0, 1 + (number % 4) as u8];
    let address = libc::sockaddr_in {
        sin_family: libc::AF_INET as libc::sa_family_t,
        sin_port: port.to_be(),
        sin_addr: libc::in_addr {
            s_addr: u32::from_ne_bytes(host),
        },
        sin_zero: [0; 8],
    };
    // SAFETY: the address is a live sockaddr_in of the size given.
    let result = check(unsafe {
        libc::connect(
            fd.as_raw_fd(),
            (&raw const address).cast(),
            size_of_val(&address) as libc::socklen_t,
        )
    });
    match result {
        Err(error) if error.raw_os_error() != Some(libc::EINPROGRESS) => Err(error),
        _ => Ok(TcpStream::from(fd)),
    }
}

/// Closes without TIME_WAIT, of which the next sample would meet ten thousand.
fn reset_on_drop(stream: &TcpStream) -> io::Result<()> {
    let linger = libc::linger {
        l_onoff: 1,
        l_linger: 0,
    };
    // SAFETY: the option value is a live `linger` of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_LINGER,
            (&raw const linger).cast(),
            size_of_val(&linger) as libc::socklen_t,
        )
    };
    check(result).map(drop)
}

/// How long the client waits for anything at all to happen.
const SILENCE: Duration = Duration::from_secs(20);

struct Epoll(OwnedFd);

impl Epoll {
    fn new() -> io::Result<Self> {
        // SAFETY: epoll_create1 takes a number.
        let fd = check(unsafe { libc::epoll_create1(libc::EPOLL_CLOEXEC) })?;
        // SAFETY: the kernel has just returned this descriptor, so nobody else owns it.
        Ok(Self(unsafe { OwnedFd::from_raw_fd(fd) }))
    }

    fn control(
        &self,
        operation: libc::c_int,
        stream: &TcpStream,
        interest: libc::c_int,
        index: usize,
    ) -> Result<(), String> {
        let mut event = libc::epoll_event {
            events: interest as u32,
            u64: index as u64,
        };
        let (epoll, fd): (RawFd, RawFd) = (self.0.as_raw_fd(), stream.as_raw_fd());
        // SAFETY: both descriptors are open and the event is live.
        check(unsafe { libc::epoll_ctl(epoll, operation, fd, &raw mut event) })
            .map(drop)
            .map_err(|e| format!("epoll_ctl for connection {index}: {e}"))
    }

    /// Waits for events and returns how many there are.
    fn wait(&self, events: &mut [libc::epoll_event]) -> Result<usize, String> {
        let (room, timeout) = (events.len() as i32, SILENCE.as_millis() as i32);
        // SAFETY: the kernel writes at most `room` events, for which there is place.
        let ready = check(unsafe {
            libc::epoll_wait(self.0.as_raw_fd(), events.as_mut_ptr(), room, timeout)
        });
        match ready {
            Ok(0) => Err(format!("the server is silent for {SILENCE:?}")),
            Ok(ready) => Ok(ready as usize),
            Err(error) if error.kind() == ErrorKind::Interrupted => Ok(0),
            Err(error) => Err(format!("epoll_wait: {error}")),
        }
    }
}

fn check(result: libc::c_int) -> io::Result<libc::c_int> {
    match result {
        -1 => Err(io::Error::last_os_error()),
        value => Ok(value),
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use std::net::TcpListener;

    /// A server of one connection that answers each 64 bytes as `answer` does; ends when that returns false.
    fn serve(answer: impl Fn(&mut TcpStream, &[u8; 64]) -> bool + Send + 'static) -> Client {
        let listener = TcpListener::bind("0.0.0.0:0").unwrap();
        let port = listener.local_addr().unwrap().port();
        std::thread::spawn(move || {
            let mut stream = listener.accept().unwrap().0;
            let mut message = [0; 64];
            while stream.read_exact(&mut message).is_ok() && answer(&mut stream, &message) {}
        });
        Client::new(port, Protocol::Echo, 1).unwrap()
    }

    #[test]
    fn every_right_answer_is_counted_also_in_pieces() {
        let mut client = serve(|stream, message| {
            stream.write_all(&message[..10]).unwrap();
            std::thread::yield_now();
            stream.write_all(&message[10..]).is_ok()
        });
        client.open(1).unwrap();
        client.request(0).unwrap();
        assert_eq!(client.answered(50).unwrap().len(), 50);
    }

    #[test]
    fn a_wrong_byte_is_an_error() {
        let mut client = serve(|stream, message| {
            let mut wrong = *message;
            wrong[40] ^= 1;
            stream.write_all(&wrong).is_ok()
        });
        assert!(client.open(1).unwrap_err().contains("echoed"));
    }

    #[test]
    fn an_answer_to_an_earlier_request_is_an_error() {
        let first = std::sync::Mutex::new(None);
        let mut client = serve(move |stream, message| {
            let first = *first.lock().unwrap().get_or_insert(*message);
            stream.write_all(&first).is_ok()
        });
        client.open(1).unwrap();
        client.request(0).unwrap();
        assert!(client.answered(1).unwrap_err().contains("echoed"));
    }

    #[test]
    fn a_connection_that_ends_is_an_error() {
        let mut client = serve(|_, _| false);
        assert!(client.open(1).unwrap_err().contains("connection 0"));
    }
}
