//! The servers. Each serves until its process is killed or its listener fails.

use std::io::{ErrorKind, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::thread;

use rustix::event::epoll::{self, CreateFlags, Event, EventData, EventFlags};

use super::MESSAGE;
use crate::experiment::ArmError;
use crate::green::{self, Green, Model};
use crate::probe;

/// Answers every message of one connection until the other side closes it. Plain blocking code.
fn answer_all(mut stream: TcpStream) {
    let mut message = [0; MESSAGE];
    // An error is the end of this connection, and nobody is left to be told.
    let _ = stream.set_nodelay(true);
    while stream.read_exact(&mut message).is_ok() && stream.write_all(&message).is_ok() {}
}

/// A kernel thread for each connection.
pub(crate) fn kernel_threads(listener: &TcpListener) -> Result<(), ArmError> {
    loop {
        let (stream, _) = listener.accept()?;
        thread::Builder::new().spawn(move || answer_all(stream))?;
    }
}

/// A green thread for each connection.
pub(crate) fn green_threads(listener: &TcpListener) -> Result<(), ArmError> {
    let green = Green::start(Model::ManyToMany, probe::cpus())?;
    green.run(move || {
        loop {
            let (stream, _) = listener.accept()?;
            green::spawn(move || answer_all(stream))?;
        }
    })
}

/// One connection of the event loop.
struct Connection {
    stream: TcpStream,
    message: [u8; MESSAGE],
    /// How much of the message has come.
    got: usize,
}

/// One kernel thread that waits for all connections at once.
pub(crate) fn event_loop(listener: &TcpListener) -> Result<(), ArmError> {
    const LISTENER: u64 = u64::MAX;
    listener.set_nonblocking(true)?;
    let ready = epoll::create(CreateFlags::CLOEXEC)?;
    epoll::add(
        &ready,
        listener,
        EventData::new_u64(LISTENER),
        EventFlags::IN,
    )?;
    let mut connections: Vec<Option<Connection>> = Vec::new();
    let mut events: Vec<Event> = Vec::with_capacity(1024);
    loop {
        events.clear();
        epoll::wait(&ready, rustix::buffer::spare_capacity(&mut events), None)?;
        for event in &events {
            match event.data.u64() {
                LISTENER => {
                    while let Some(stream) = accepted(listener)? {
                        let number = EventData::new_u64(connections.len() as u64);
                        epoll::add(&ready, &stream, number, EventFlags::IN)?;
                        connections.push(Some(Connection {
                            stream,
                            message: [0; MESSAGE],
                            got: 0,
                        }));
                    }
                }
                number => {
                    let place = &mut connections[number as usize];
                    if place.as_mut().is_some_and(|open| !open.answer_what_came()) {
                        *place = None;
                    }
                }
            }
        }
    }
}

/// The next connection that is waiting to be accepted, if there is one.
fn accepted(listener: &TcpListener) -> Result<Option<TcpStream>, ArmError> {
    match listener.accept() {
        Ok((stream, _)) => {
            stream.set_nonblocking(true)?;
            stream.set_nodelay(true)?;
            Ok(Some(stream))
        }
        Err(error) if error.kind() == ErrorKind::WouldBlock => Ok(None),
        Err(error) => Err(error.into()),
    }
}

impl Connection {
    /// Reads what there is and answers each whole message; `false` when the connection is over. A
    /// message is far smaller than a socket's buffer and the client waits for it, so writing it never
    /// has to wait.
    fn answer_what_came(&mut self) -> bool {
        match self.stream.read(&mut self.message[self.got..]) {
            Ok(0) => return false,
            Ok(bytes) => self.got += bytes,
            Err(error) => return error.kind() == ErrorKind::WouldBlock,
        }
        if self.got < MESSAGE {
            return true;
        }
        self.got = 0;
        self.stream.write_all(&self.message).is_ok()
    }
}

#[cfg(test)]
mod tests {
    use super::*;
    use crate::echo::client::Client;

    /// The server's thread is left behind: it ends with the test's process.
    fn echoes(serve: fn(&TcpListener) -> Result<(), ArmError>) {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || serve(&listener));
        let mut client = Client::new(address);
        client.open(5).expect("connections");
        let latencies = client.talk(3, 20).expect("answers");
        assert_eq!(latencies.len(), 3 * 20);
    }

    #[test]
    fn a_paced_client_sends_no_sooner_than_it_should() {
        let listener = TcpListener::bind("127.0.0.1:0").expect("a listener");
        let address = listener.local_addr().expect("an address");
        thread::spawn(move || kernel_threads(&listener));
        let mut client = Client::new(address);
        client.open(2).expect("connections");
        let interval = std::time::Duration::from_micros(300);
        let took = client.pace(5, interval).expect("answers");
        assert!(took >= interval * 4);
    }

    #[test]
    fn a_thread_per_connection_answers_every_message() {
        echoes(kernel_threads);
    }

    #[test]
    fn the_event_loop_answers_every_message() {
        echoes(event_loop);
    }

    #[test]
    fn green_threads_answer_every_message() {
        echoes(green_threads);
    }
}
