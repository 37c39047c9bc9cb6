//! A crawler, one green thread per page, of a site of 300 pages that it serves itself.
//! `crawler [ADDRESS:PORT]`, by default any free port of 127.0.0.1. Each page takes 20 ms.

use std::io::{self, BufRead, BufReader, Read, Write};
use std::net::{SocketAddr, TcpListener, TcpStream};
use std::{collections::BTreeSet, sync::Mutex, thread::sleep, time::Duration};

use brigade::thread::{Builder, scope, spawn};

static SEEN: Mutex<BTreeSet<String>> = Mutex::new(BTreeSet::new());

fn serve(mut stream: TcpStream) -> io::Result<()> {
    let mut request = String::new();
    BufReader::new(&stream).take(100).read_line(&mut request)?;
    sleep(Duration::from_millis(20));
    let page = request.split(['/', ' ']).nth(2).unwrap_or("");
    let page: u64 = page.parse::<u32>().unwrap_or(0).into();
    let [a, b] = [page * 2 + 1, page * 2 + 2].map(|page| page % 300);
    write!(stream, "HTTP/1.0 200 OK\r\n\r\nSee \"/{a}\" and \"/{b}\".")
}

/// Fetches a page, then, all at once, those it links to that nobody has seen.
fn crawl(site: SocketAddr, path: &str) -> io::Result<()> {
    let (mut stream, mut page) = (TcpStream::connect(site)?, String::new());
    write!(stream, "GET {path} HTTP/1.0\r\n\r\n")?;
    stream.read_to_string(&mut page)?;
    scope(|all| {
        let links = page.split('"').skip(1).step_by(2);
        let new = links.filter(|&l| SEEN.lock().unwrap().insert(l.into()));
        let threads: Vec<_> = new.map(|l| all.spawn(move || crawl(site, l))).collect();
        threads.into_iter().try_for_each(|t| t.join().unwrap())
    })
}

#[brigade::main]
fn main() -> io::Result<()> {
    let arguments = std::env::args()
        .skip(1)
        .reduce(|all, more| all + " " + &more);
    let address = arguments.unwrap_or("127.0.0.1:0".into());
    let listener = TcpListener::bind(&address).unwrap_or_else(|error| {
        eprintln!("crawler: {address}: {error}; usage: crawler [ADDRESS:PORT]");
        std::process::exit(2)
    });
    let site = listener.local_addr()?;
    println!("listening on {site}");
    spawn(move || {
        for stream in listener.incoming() {
            if let Err(error) = stream.and_then(|s| Builder::new().spawn(|| serve(s))) {
                eprintln!("crawler: accept: {error}");
                sleep(Duration::from_millis(50));
            }
        }
    });
    SEEN.lock().unwrap().insert("/0".into());
    crawl(site, "/0")?;
    println!("{} pages", SEEN.lock().unwrap().len());
    Ok(())
}
