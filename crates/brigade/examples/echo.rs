//! A TCP echo server: plain blocking `std::net`, one green thread per connection.
//!
//! `echo [ADDRESS:PORT]`, by default 127.0.0.1:7007.

use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::{thread::sleep, time::Duration};

use brigade::thread::Builder;

fn echo(mut stream: TcpStream) -> io::Result<()> {
    let mut buffer = [0; 4096];
    loop {
        match stream.read(&mut buffer)? {
            0 => return Ok(()),
            length => stream.write_all(&buffer[..length])?,
        }
    }
}

#[brigade::main]
fn main() {
    let arguments = std::env::args()
        .skip(1)
        .reduce(|all, more| all + " " + &more);
    let address = arguments.unwrap_or("127.0.0.1:7007".into());
    let listener = TcpListener::bind(&address).unwrap_or_else(|error| {
        eprintln!("echo: {address}: {error}; usage: echo [ADDRESS:PORT]");
        std::process::exit(2)
    });
    println!("listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|s| Builder::new().spawn(|| echo(s))) {
            // Out of descriptors, for example: let some connections end first.
            eprintln!("echo: accept: {error}");
            sleep(Duration::from_millis(50));
        }
    }
}
