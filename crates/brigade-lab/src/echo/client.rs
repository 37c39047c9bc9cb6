//! The client: one kernel thread, however many connections, the same for every server.

use std::io::{self, ErrorKind, Read, Write};
use std::net::{SocketAddr, TcpStream};
use std::num::NonZeroU64;
use std::thread;
use std::time::{Duration, Instant};

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::MESSAGE;

/// Open connections to one server.
pub(crate) struct Client {
    address: SocketAddr,
    streams: Vec<TcpStream>,
}

impl Client {
    /// A client of the server at `address`, without connections.
    pub(crate) fn new(address: SocketAddr) -> Self {
        Self {
            address,
            streams: Vec::new(),
        }
    }

    /// Opens `count` more connections, one after the other; each gets one answer before the next one is
    /// opened, so the server has accepted it and whoever serves it has run.
    pub(crate) fn open(&mut self, count: usize) -> io::Result<()> {
        for _ in 0..count {
            let mut stream = TcpStream::connect(self.address)?;
            stream.set_nodelay(true)?;
            let (message, mut answer) = (message(self.streams.len(), 0), [0; MESSAGE]);
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
            check(&message, &answer)?;
            self.streams.push(stream);
        }
        Ok(())
    }

    /// Sends `messages` on each of the last `active` connections, the next one when the answer to the last
    /// one is there; the other connections stay idle. Returns how long each answer took, in nanoseconds,
    /// ascending.
    pub(crate) fn talk(&mut self, active: usize, messages: u32) -> io::Result<Vec<f64>> {
        let ready = epoll::create(CreateFlags::CLOEXEC)?;
        let idle = self.streams.len() - active;
        let mut talks: Vec<Talk<'_>> = Vec::with_capacity(active);
        for (number, stream) in self.streams[idle..].iter().enumerate() {
            stream.set_nonblocking(true)?;
            let data = EventData::new_u64(number as u64);
            epoll::add(&ready, stream, data, EventFlags::IN)?;
            talks.push(Talk::new(number, stream));
        }
        let mut latencies = Vec::with_capacity(active * messages as usize);
        let mut events: Vec<Event> = Vec::with_capacity(active.max(1));
        let mut open = active;
        for talk in &mut talks {
            talk.ask()?;
        }
        while open > 0 {
            events.clear();
            epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), None)?;
            for event in &events {
                let talk = &mut talks[event.data.u64() as usize];
                let Some(latency_ns) = talk.hear()? else {
                    continue;
                };
                latencies.push(latency_ns);
                if talk.asked < messages {
                    talk.ask()?;
                } else {
                    open -= 1;
                }
            }
        }
        latencies.sort_by(f64::total_cmp);
        Ok(latencies)
    }

    /// Sends `messages`, one every `interval`, on each connection in turn, and waits for the answer to each.
    /// If one comes late, the next ones are sent sooner. Returns how long all of it took.
    pub(crate) fn pace(&mut self, messages: u32, interval: Duration) -> io::Result<Duration> {
        // Or else the kernel may let a sleep take 50 µs longer; it is no error if it does.
        let _ = rustix::thread::set_current_timer_slack(NonZeroU64::new(1));
        let connections = self.streams.len();
        let begun = Instant::now();
        for count in 0..messages {
            let due = begun + interval * count;
            thread::sleep(due.saturating_duration_since(Instant::now()));
            let number = count as usize % connections;
            let (message, mut answer) = (message(number, count), [0; MESSAGE]);
            let stream = &mut self.streams[number];
            stream.write_all(&message)?;
            stream.read_exact(&mut answer)?;
            check(&message, &answer)?;
        }
        Ok(begun.elapsed())
    }
}

/// One active connection.
struct Talk<'a> {
    number: usize,
    stream: &'a TcpStream,
    asked: u32,
    sent: Instant,
    answer: [u8; MESSAGE],
    got: usize,
}

impl<'a> Talk<'a> {
    fn new(number: usize, stream: &'a TcpStream) -> Self {
        Self {
            number,
            stream,
            asked: 0,
            sent: Instant::now(),
            answer: [0; MESSAGE],
            got: 0,
        }
    }

    fn ask(&mut self) -> io::Result<()> {
        self.asked += 1;
        self.got = 0;
        self.sent = Instant::now();
        self.stream.write_all(&message(self.number, self.asked))
    }

    /// Reads what there is of the answer; how long it took once it is whole and right.
    fn hear(&mut self) -> io::Result<Option<f64>> {
        match self.stream.read(&mut self.answer[self.got..]) {
            Ok(0) => return Err(ErrorKind::UnexpectedEof.into()),
            Ok(bytes) => self.got += bytes,
            Err(error) if error.kind() == ErrorKind::WouldBlock => return Ok(None),
            Err(error) => return Err(error),
        }
        if self.got < MESSAGE {
            return Ok(None);
        }
        let latency_ns = self.sent.elapsed().as_nanos() as f64;
        check(&message(self.number, self.asked), &self.answer)?;
        Ok(Some(latency_ns))
    }
}

/// A message unlike the others of the same run, so that an answer to another one is noticed.
fn message(connection: usize, count: u32) -> [u8; MESSAGE] {
    let mut message = [0; MESSAGE];
    message[..8].copy_from_slice(&(connection as u64).to_le_bytes());
    message[MESSAGE - 4..].copy_from_slice(&count.to_le_bytes());
    message
}

fn check(asked: &[u8; MESSAGE], answered: &[u8; MESSAGE]) -> io::Result<()> {
    if asked == answered {
        return Ok(());
    }
    Err(io::Error::new(
        ErrorKind::InvalidData,
        "the server answered something else than it was sent",
    ))
}

#[cfg(test)]
mod tests {
    use super::*;

    #[test]
    fn a_wrong_answer_is_an_error() {
        check(&message(1, 2), &message(1, 2)).expect("the same message");
        assert!(check(&message(1, 2), &message(1, 3)).is_err());
        assert!(check(&message(1, 2), &message(2, 2)).is_err());
    }
}
