//! Are the libc hooks live in the program that asks?
//!
//! The hooks are symbols that the linker must find in the right place. So `.ci/run` builds the binary, the example
//! and the test of this crate with each linker and each kind of optimisation, and runs them; each calls [`check`].

use std::fs;
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::sync::{Arc, Barrier, Condvar, Mutex};

/// Threads that wait at the same time.
const THREADS: usize = 64;

/// Checks that every hook is linked, exported and reached, that the header for readers outside is there, and that std's own calls park green threads: 64 of them
/// block in `read`, 64 on a `Condvar`, and the process stays at a few kernel threads.
///
/// # Errors
///
/// What is not as it should be, in words.
pub fn check() -> Result<String, String> {
    let hooks = brigade::hooks::self_test().map_err(|error| error.to_string())?;
    let dead: Vec<&str> = hooks
        .iter()
        .filter(|hook| !hook.is_live())
        .map(brigade::hooks::Status::name)
        .collect();
    if hooks.is_empty() || !dead.is_empty() {
        return Err(format!("{} hooks, not live: {dead:?}", hooks.len()));
    }
    if !has_header().map_err(|error| error.to_string())? {
        return Err("the linker left out the header for readers outside the process".into());
    }
    let before = kernel_threads().map_err(|error| error.to_string())?;
    let during = brigade::run(wait_in_std).map_err(|error| error.to_string())?;
    if during > before + THREADS / 2 {
        return Err(format!(
            "{THREADS} green threads that wait took {during} kernel threads"
        ));
    }
    Ok(format!(
        "{} hooks live; {during} kernel threads while {THREADS} green threads waited",
        hooks.len()
    ))
}

/// Whether the program's file has the header by which its threads are found from outside. No code that runs needs it, so
/// a linker might think it superfluous.
fn has_header() -> io::Result<bool> {
    // Backwards, so that this text is not what is found.
    let magic: Vec<u8> = b"\nsdaerht.edagirb".iter().rev().copied().collect();
    let program = fs::read("/proc/self/exe")?;
    Ok(program.windows(magic.len()).any(|bytes| bytes == magic))
}

/// The number of kernel threads while many green threads wait in std.
fn wait_in_std() -> io::Result<usize> {
    let listener = TcpListener::bind("127.0.0.1:0")?;
    let address = listener.local_addr()?;
    let go = Arc::new((Mutex::new(false), Condvar::new()));
    let ready = Arc::new(Barrier::new(THREADS + 1));
    let mut threads = Vec::new();
    let mut peers = Vec::new();
    for _ in 0..THREADS {
        let (go, ready) = (Arc::clone(&go), Arc::clone(&ready));
        let mut stream = TcpStream::connect(address)?;
        peers.push(listener.accept()?.0);
        threads.push(brigade::thread::spawn(move || -> io::Result<()> {
            ready.wait();
            let (is_set, changed) = &*go;
            let mut set = is_set.lock().map_err(|_| io::Error::other("poisoned"))?;
            while !*set {
                set = changed
                    .wait(set)
                    .map_err(|_| io::Error::other("poisoned"))?;
            }
            drop(set);
            stream.read_exact(&mut [0; 1])
        }));
    }
    ready.wait();
    let on_condition = kernel_threads()?;
    *go.0.lock().map_err(|_| io::Error::other("poisoned"))? = true;
    go.1.notify_all();
    // Whoever waits for its byte at this moment waits in `recv`.
    brigade::thread::yield_now();
    let in_read = kernel_threads()?;
    for peer in &mut peers {
        peer.write_all(&[1])?;
    }
    for thread in threads {
        thread
            .join()
            .map_err(|_| io::Error::other("a thread panicked"))??;
    }
    Ok(on_condition.max(in_read))
}

fn kernel_threads() -> io::Result<usize> {
    Ok(fs::read_dir("/proc/self/task")?.count())
}
