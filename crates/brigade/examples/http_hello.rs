//! An HTTP/1.1 server with keep-alive: `std::net`, `httparse`, one green thread per connection.
//!
//! `http_hello [ADDRESS:PORT]`, by default 127.0.0.1:8080. Requests have no bodies here.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{thread::sleep, time::Duration};

use brigade::thread::Builder;

const HELLO: &[u8] = b"HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, World!";
const BAD: &[u8] = b"HTTP/1.1 400 Bad Request\r\nconnection: close\r\ncontent-length: 0\r\n\r\n";

fn answer(mut stream: TcpStream) -> io::Result<()> {
    let (mut buffer, mut filled) = ([0; 8192], 0);
    loop {
        let mut headers = [httparse::EMPTY_HEADER; 64];
        let mut request = httparse::Request::new(&mut headers);
        match request.parse(&buffer[..filled]) {
            Ok(httparse::Status::Complete(length)) => {
                stream.write_all(HELLO)?;
                if request.version == Some(0) || request.headers.iter().any(is_close) {
                    return Ok(());
                }
                buffer.copy_within(length..filled, 0);
                filled -= length;
            }
            Ok(_) if filled < buffer.len() => match stream.read(&mut buffer[filled..])? {
                0 => return Ok(()),
                length => filled += length,
            },
            _ => return stream.write_all(BAD),
        }
    }
}

fn is_close(header: &httparse::Header) -> bool {
    header.name.eq_ignore_ascii_case("connection") && header.value.eq_ignore_ascii_case(b"close")
}

#[brigade::main]
fn main() {
    let arguments = std::env::args()
        .skip(1)
        .reduce(|all, more| all + " " + &more);
    let address = arguments.unwrap_or("127.0.0.1:8080".into());
    let listener = TcpListener::bind(&address).unwrap_or_else(|error| {
        eprintln!("http_hello: {address}: {error}; usage: http_hello [ADDRESS:PORT]");
        std::process::exit(2)
    });
    println!("listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|s| Builder::new().spawn(|| answer(s))) {
            eprintln!("http_hello: accept: {error}");
            sleep(Duration::from_millis(50));
        }
    }
}
