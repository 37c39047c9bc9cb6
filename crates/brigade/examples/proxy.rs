//! A TCP proxy: two green threads per connection, one for each direction.
//!
//! `proxy [ADDRESS:PORT [UPSTREAM:PORT]]`, by default from 127.0.0.1:7008 to `echo` at 127.0.0.1:7007.

use std::io;
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::{thread::sleep, time::Duration};

use brigade::thread::{Builder, scope};

fn relay(client: TcpStream, upstream: SocketAddr) -> io::Result<()> {
    let server = TcpStream::connect(upstream)
        .inspect_err(|error| eprintln!("proxy: {upstream}: {error}"))?;
    client.set_nodelay(true).and(server.set_nodelay(true))?;
    scope(|both| {
        both.spawn(|| one_way(&client, &server));
        one_way(&server, &client);
    });
    Ok(())
}

/// The end of one stream is passed on as such: the other direction may go on for long.
fn one_way(mut from: &TcpStream, mut to: &TcpStream) {
    if io::copy(&mut from, &mut to).is_err() {
        // The connection is broken; that one side or both may be gone already is no matter.
        let _ = (from.shutdown(Shutdown::Both), to.shutdown(Shutdown::Both));
    }
    let _ = to.shutdown(Shutdown::Write);
}

fn usage(error: impl std::fmt::Display) -> ! {
    eprintln!("proxy: {error}; usage: proxy [ADDRESS:PORT [UPSTREAM:PORT]]");
    std::process::exit(2)
}

#[brigade::main]
fn main() {
    let mut arguments = std::env::args().skip(1);
    let address = arguments.next().unwrap_or("127.0.0.1:7008".into());
    let upstream = arguments.reduce(|all, more| all + " " + &more);
    let upstream = upstream.unwrap_or("127.0.0.1:7007".into());
    let upstream = upstream
        .parse()
        .unwrap_or_else(|error| usage(format!("{upstream}: {error}")));
    let listener =
        TcpListener::bind(&address).unwrap_or_else(|error| usage(format!("{address}: {error}")));
    println!("listening on {}", listener.local_addr().unwrap());
    for client in listener.incoming() {
        let spawned = client.and_then(|c| Builder::new().spawn(move || relay(c, upstream)));
        if let Err(error) = spawned {
            eprintln!("proxy: accept: {error}");
            sleep(Duration::from_millis(50));
        }
    }
}
