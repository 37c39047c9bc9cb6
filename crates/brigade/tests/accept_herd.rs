//! Many green threads that accept from one listener.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::Arc;
use std::sync::atomic::{AtomicUsize, Ordering};

const ACCEPTORS: usize = 16;
/// Fewer than the backlog of std's listeners, so that the kernel refuses none.
const CLIENTS: usize = 64;
const CONNECTIONS: usize = 6 * CLIENTS;

#[test]
fn each_connection_is_accepted_once_by_many_acceptors() {
    for workers in [1, 2, 8] {
        let runtime = brigade::runtime::Builder::new()
            .workers(workers)
            .build()
            .expect("a runtime");
        runtime.run(|| {
            let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port"));
            let address = listener.local_addr().expect("an address");
            let accepted = Arc::new(AtomicUsize::new(0));
            for _ in 0..ACCEPTORS {
                let (listener, accepted) = (Arc::clone(&listener), Arc::clone(&accepted));
                brigade::thread::spawn(move || {
                    while let Ok((mut stream, _)) = listener.accept() {
                        accepted.fetch_add(1, Ordering::Relaxed);
                        let _ = stream.write_all(&[7]);
                        if accepted.load(Ordering::Relaxed) >= CONNECTIONS + ACCEPTORS {
                            return;
                        }
                    }
                });
            }
            let ask = move || {
                for _ in 0..CONNECTIONS / CLIENTS {
                    let mut byte = [0];
                    let mut stream = TcpStream::connect(address).expect("a listener");
                    stream.read_exact(&mut byte).expect("an acceptor");
                    assert_eq!(byte, [7]);
                }
            };
            let threads: Vec<_> = (0..CLIENTS).map(|_| brigade::thread::spawn(ask)).collect();
            for thread in threads {
                thread.join().expect("an answer");
            }
            assert_eq!(accepted.load(Ordering::Relaxed), CONNECTIONS);
            // Each waits for one more, and ends.
            for _ in 0..2 * ACCEPTORS {
                if let Ok(mut stream) = TcpStream::connect(address) {
                    let _ = stream.set_read_timeout(Some(std::time::Duration::from_millis(20)));
                    let _ = stream.read(&mut [0]);
                }
            }
        });
    }
}
