//! A chat: what one says goes to all. Two green threads per client, one reads and one writes.
//! `chat [ADDRESS:PORT]`, by default 127.0.0.1:7009. Who lags 1000 lines behind is thrown out.

use std::collections::BTreeMap;
use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::sync::{Mutex, mpsc};
use std::{thread::sleep, time::Duration};

use brigade::thread::Builder;

type Clients = BTreeMap<SocketAddr, (TcpStream, mpsc::SyncSender<String>)>;
static CLIENTS: Mutex<Clients> = Mutex::new(BTreeMap::new());

fn tell_all(line: &str) {
    CLIENTS.lock().unwrap().retain(|_, (stream, lines)| {
        let told = lines.try_send(format!("{line}\n"));
        told.inspect_err(|_| drop(stream.shutdown(Shutdown::Both)))
            .is_ok()
    });
}

fn attend(mut stream: TcpStream) -> io::Result<()> {
    let (me, mut input) = (stream.peer_addr()?, BufReader::new(stream.try_clone()?));
    stream.set_nodelay(true)?;
    let (sender, lines) = mpsc::sync_channel::<String>(1000);
    let entry = (stream.try_clone()?, sender);
    let write = move |line: String| stream.write_all(line.as_bytes());
    Builder::new().spawn(move || lines.iter().try_for_each(write))?;
    CLIENTS.lock().unwrap().insert(me, entry);
    tell_all(&format!("{me} is here"));
    let mut line = String::new();
    while matches!(input.by_ref().take(1000).read_line(&mut line), Ok(1..)) {
        tell_all(&format!("{me}: {}", line.trim_end()));
        line.clear();
    }
    CLIENTS.lock().unwrap().remove(&me);
    tell_all(&format!("{me} is gone"));
    Ok(())
}

#[brigade::main]
fn main() {
    let arguments = std::env::args()
        .skip(1)
        .reduce(|all, more| all + " " + &more);
    let address = arguments.unwrap_or("127.0.0.1:7009".into());
    let listener = TcpListener::bind(&address).unwrap_or_else(|error| {
        eprintln!("chat: {address}: {error}; usage: chat [ADDRESS:PORT]");
        std::process::exit(2)
    });
    println!("listening on {}", listener.local_addr().unwrap());
    for stream in listener.incoming() {
        if let Err(error) = stream.and_then(|s| Builder::new().spawn(|| attend(s))) {
            eprintln!("chat: accept: {error}");
            sleep(Duration::from_millis(50));
        }
    }
}
