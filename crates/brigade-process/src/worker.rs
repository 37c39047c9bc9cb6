//! The worker's end: in a process that a pool started, jobs are done until the pool ends.
//!
//! # Invariants
//!
//! 1. A job begins only when the whole of its request has been read: the pool counts on it when it gives the jobs of
//!    dead workers to others (see `Link::is_unread`).
//! 2. The process ends when the connection does.

use std::os::fd::{FromRawFd, OwnedFd};
use std::sync::atomic::{AtomicBool, Ordering};

use crate::frame::{self, Decoder, Frame, Hello, Kind, NONCE, ReadError};
use crate::job::{Entry, fingerprint};
use crate::link::{receive, send};
use crate::marker::{self, CONNECTION, Origin, VARIABLE};

/// The longest Hello is far below this, in bytes.
const HANDSHAKE_LIMIT: usize = 4096;
/// How a worker exits when its pool does not keep to the protocol (`EX_PROTOCOL`).
const EXIT_PROTOCOL: i32 = 76;
/// How it exits when the pool has other jobs (`EX_CONFIG`).
const EXIT_REFUSED: i32 = 78;

/// Whether this worker serves already. Written once, by the thread that serves.
static SERVES: AtomicBool = AtomicBool::new(false);

/// Serves and does not return, if this process is a worker that does not serve yet.
pub(crate) fn serve_if_worker(entries: &[Entry]) {
    if let Origin::Worker(nonce) = marker::origin() {
        // ORDER: Relaxed; nothing is published with it. It only tells the one call that serves from later ones.
        if !SERVES.swap(true, Ordering::Relaxed) {
            serve(entries, nonce);
        }
    }
}

/// The worker that this process is, or descends from.
pub(crate) fn ancestor() -> Option<u32> {
    match marker::origin() {
        Origin::Ordinary => None,
        Origin::Worker(_) => Some(std::process::id()),
        Origin::Descendant(worker) => Some(worker),
    }
}

fn serve(entries: &[Entry], nonce: [u8; NONCE]) -> ! {
    assert!(
        is_stream_socket(CONNECTION),
        "{VARIABLE} is set, but descriptor {CONNECTION} is no connection to a pool of processes"
    );
    // SAFETY: the variable names this process, so a pool made the descriptor for this function, which runs once.
    let socket = unsafe { OwnedFd::from_raw_fd(CONNECTION) };
    // SAFETY: takes numbers; the descriptor is open. What the jobs start must not inherit it.
    unsafe { libc::fcntl(CONNECTION, libc::F_SETFD, libc::FD_CLOEXEC) };
    let mut decoder = Decoder::new(HANDSHAKE_LIMIT);
    let Some(hello) = read(&mut decoder, &socket)
        .as_ref()
        .and_then(Hello::from_frame)
    else {
        refuse(&socket, "it is of another version than the pool");
    };
    assert!(
        hello.nonce == nonce,
        "{VARIABLE} is set, but descriptor {CONNECTION} belongs to another pool of processes"
    );
    if hello.fingerprint != fingerprint(entries) {
        let names: Vec<_> = entries.iter().map(|entry| entry.name).collect();
        refuse(
            &socket,
            &format!(
                "the first jobs it came to, {names:?}, are not those of the pool; list all jobs of the program at one \
                 place, in one order"
            ),
        );
    }
    die_with_parent();
    limit_memory(hello.memory_limit);
    let limit = usize::try_from(hello.limit).unwrap_or(usize::MAX);
    decoder.set_limit(limit);
    let mut ready = frame::begin(Kind::Ready, 0);
    ready.extend_from_slice(&nonce);
    frame::finish(&mut ready, HANDSHAKE_LIMIT).expect("a nonce is short");
    write(&socket, &ready);
    loop {
        let Some(request) = read(&mut decoder, &socket) else {
            std::process::exit(EXIT_PROTOCOL);
        };
        let answer = answer(entries, &request, limit);
        drop(request);
        match answer {
            Some(answer) => write(&socket, &answer),
            None => std::process::exit(EXIT_PROTOCOL),
        }
    }
}

/// Does what a request asks for. `None` if it is none.
fn answer(entries: &[Entry], request: &Frame, limit: usize) -> Option<Vec<u8>> {
    let (index, job) = request.body.split_first_chunk::<4>()?;
    let entry = entries.get(u32::from_le_bytes(*index) as usize)?;
    (request.kind == Kind::Request).then(|| (entry.answer)(job, request.id, limit))
}

fn refuse(socket: &OwnedFd, why: &str) -> ! {
    write(socket, &frame::text(Kind::Refused, 0, why, HANDSHAKE_LIMIT));
    std::process::exit(EXIT_REFUSED);
}

/// Ends the process when the pool has gone; `None` if what it sends is no frame.
fn read(decoder: &mut Decoder, socket: &OwnedFd) -> Option<Frame> {
    match decoder.read(|buffer| receive(socket, buffer, 0)) {
        Ok(frame) => Some(frame),
        Err(ReadError::Malformed(_)) => None,
        Err(ReadError::Closed | ReadError::Torn | ReadError::Io(_)) => std::process::exit(0),
    }
}

/// Ends the process when the pool has gone.
fn write(socket: &OwnedFd, mut bytes: &[u8]) {
    while !bytes.is_empty() {
        match send(socket, bytes, 0) {
            Ok(n) => bytes = &bytes[n..],
            Err(error) if error.kind() == std::io::ErrorKind::Interrupted => {}
            Err(_) => std::process::exit(0),
        }
    }
}

fn is_stream_socket(fd: i32) -> bool {
    let mut kind = 0;
    let mut length = size_of_val(&kind) as libc::socklen_t;
    // SAFETY: there is room for the option, and the length says how much; any number of a descriptor will do.
    let failed = unsafe {
        let place = (&raw mut kind).cast();
        libc::getsockopt(fd, libc::SOL_SOCKET, libc::SO_TYPE, place, &raw mut length)
    };
    failed == 0 && kind == libc::SOCK_STREAM
}

/// Once more, for the kernel forgets it when a process changes its user or executes a privileged file. If the pool has
/// ended already, the answer to its Hello fails.
fn die_with_parent() {
    // SAFETY: the call takes numbers, of which the last three are not looked at, and touches no memory of this process.
    unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
}

fn limit_memory(bytes: u64) {
    if bytes == 0 {
        return;
    }
    let limit = libc::rlimit {
        rlim_cur: bytes,
        rlim_max: bytes,
    };
    // SAFETY: the limit is readable. It can only be lowered here; where a lower one holds, that stays.
    unsafe { libc::setrlimit(libc::RLIMIT_AS, &raw const limit) };
}
