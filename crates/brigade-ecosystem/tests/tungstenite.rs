//! `tungstenite`: WebSockets, both ends on green threads.

use std::net::TcpStream;

use brigade_ecosystem::http::Server;
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use tungstenite::{Message, WebSocket};

/// Serves one connection: a text comes back after a while, bytes come back at once, backwards.
fn serve(stream: TcpStream) -> std::io::Result<()> {
    let mut socket = tungstenite::accept(stream).expect("a handshake");
    loop {
        let answer = match socket.read() {
            Ok(Message::Text(text)) => {
                std::thread::sleep(SLOW);
                Message::Text(text)
            }
            Ok(Message::Binary(bytes)) => {
                Message::binary(bytes.iter().rev().copied().collect::<Vec<u8>>())
            }
            Ok(_) => continue,
            Err(tungstenite::Error::ConnectionClosed) => return Ok(()),
            Err(error) => panic!("{error}"),
        };
        socket.send(answer).expect("a client that reads");
    }
}

fn connect(address: std::net::SocketAddr) -> WebSocket<TcpStream> {
    let stream = TcpStream::connect(address).expect("a listening server");
    let (socket, _) = tungstenite::client(format!("ws://{address}/"), stream).expect("a handshake");
    socket
}

/// Says good-bye and waits for the other end to say so too.
fn close(mut socket: WebSocket<TcpStream>) {
    socket.close(None).expect("an open connection");
    while !matches!(socket.read(), Err(tungstenite::Error::ConnectionClosed)) {}
}

#[test]
fn slow_conversations_overlap() {
    on_two_workers(|runtime| {
        let server = Server::accepting(runtime, serve);
        let address = server.address();
        let sockets = on_green_threads(runtime, 40, move |_| connect(address));
        Overlap::of(SLOW).check(runtime, sockets, |index, mut socket| {
            let text = Message::text(format!("message {index}"));
            socket.send(text.clone()).expect("a server that reads");
            assert_eq!(socket.read().expect("an answer"), text);
            close(socket);
        });
        assert_eq!(server.stop(), 40);
    });
}

#[test]
fn many_messages_of_many_sizes_come_back_exactly() {
    const CLIENTS: usize = 32;
    on_two_workers(|runtime| {
        let server = Server::accepting(runtime, serve);
        let address = server.address();
        on_green_threads(runtime, CLIENTS, move |index| {
            let mut socket = connect(address);
            for round in 0..24 {
                // From nothing to 64 KiB and more: all three forms of the length in a frame.
                let length = (1_usize << (round % 17)) - 1 + index;
                let sent = payload::bytes(index, round, length);
                let message = Message::binary(sent.clone());
                socket.send(message).expect("a server that reads");
                let Message::Binary(seen) = socket.read().expect("an answer") else {
                    panic!("bytes are answered with bytes");
                };
                assert!(seen.iter().rev().eq(&sent), "{index}/{round} differs");
            }
            close(socket);
        });
        assert_eq!(server.stop(), CLIENTS);
    });
}
