//! Signal handlers that write to a pipe, while green threads do input and output: every byte arrives once, in order.
//!
//! The handler does what self-pipe handlers do: it writes a byte without waiting, through libc's name. It may interrupt
//! a green thread anywhere, also inside malloc; if it let other threads run there, they would find malloc's cache
//! half changed.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::sync::atomic::{AtomicI32, Ordering};

use brigade::runtime::{Builder, Runtime};
use common::{Count, child};

static HANDLED: Count = Count::new();
static WRITTEN: Count = Count::new();
static PIPE: AtomicI32 = AtomicI32::new(-1);

/// Handlers that run, by the number of the kernel thread.
static INSIDE: [Count; 1 << 15] = [const { Count::new() }; 1 << 15];

fn inside() -> &'static Count {
    let id = usize::try_from(common::gettid()).expect("a positive number");
    &INSIDE[id % INSIDE.len()]
}

/// While a handler runs on a kernel thread, nothing else does.
fn assert_outside() {
    assert_eq!(
        inside().get(),
        0,
        "a thread runs where a handler has not returned"
    );
}

extern "C" fn handle(_signal: libc::c_int) {
    let inside = inside();
    inside.up();
    // SAFETY: errno is the interrupted thread's and put back; the byte is valid.
    unsafe {
        let errno = libc::__errno_location();
        let saved = *errno;
        HANDLED.up();
        // Often enough to come to the places where a call lets others run.
        for _ in 0..32 {
            // ORDER: Relaxed: stored before the handler was installed.
            if libc::write(PIPE.load(Ordering::Relaxed), [1_u8].as_ptr().cast(), 1) == 1 {
                WRITTEN.up();
            }
        }
        *errno = saved;
    }
    inside.down();
}

fn install(flags: libc::c_int) {
    let handler: extern "C" fn(libc::c_int) = handle;
    // SAFETY: zeros are a valid action; the handler makes system calls and counts.
    unsafe {
        let mut action: libc::sigaction = std::mem::zeroed();
        action.sa_sigaction = handler as libc::sighandler_t;
        action.sa_flags = flags;
        assert_eq!(
            libc::sigaction(libc::SIGALRM, &raw const action, std::ptr::null_mut()),
            0
        );
    }
}

/// Sends signals to all kernel threads but the main one and its own, round and round, until it is told to stop: a timer's
/// would nearly all go to the main thread, which runs no green threads.
fn fire(stop: &AtomicI32) {
    let process = std::process::id();
    let own = common::gettid();
    // ORDER: Relaxed: it stops soon.
    while stop.load(Ordering::Relaxed) == 0 {
        for task in std::fs::read_dir("/proc/self/task").expect("the threads of the process") {
            let name = task.expect("a thread").file_name();
            let id: i64 = name.to_string_lossy().parse().expect("a number");
            if id != own && id != i64::from(process) {
                // SAFETY: plain numbers; a thread that has ended gives an error.
                unsafe { libc::syscall(libc::SYS_tgkill, process, id, libc::SIGALRM) };
            }
        }
        std::thread::sleep(std::time::Duration::from_micros(100));
    }
}

/// The bytes of message `number` of the pair `pair`.
fn message(pair: u32, number: u32) -> Vec<u8> {
    let length = 1 + (pair as usize * 31 + number as usize * 17) % 3000;
    (0..length)
        .map(|at| (at as u32 ^ pair ^ number) as u8)
        .collect()
}

const PAIRS: u32 = 20;
const MESSAGES: u32 = 60;

/// Two green threads that compute for as long as the others talk, and come to no call but those of the handlers.
fn compute(runtime: &Runtime, done: &Arc<Count>) -> Vec<brigade::thread::JoinHandle<()>> {
    (0..2)
        .map(|_| {
            let done = Arc::clone(done);
            runtime.spawn(move || {
                let mut kept = Vec::new();
                while done.get() == 0 {
                    assert_outside();
                    kept.push(vec![kept.len(); 1 + kept.len() % 50]);
                    if kept.len() == 500 {
                        assert!(
                            kept.iter()
                                .enumerate()
                                .all(|(at, block)| block.iter().all(|&word| word == at))
                        );
                        kept.clear();
                    }
                }
            })
        })
        .collect()
}

/// Pairs of green threads that send messages to and fro until `signals` signals were handled and all messages went.
fn talk(workers: usize, signals: usize) {
    let runtime = Builder::new().workers(workers).build().expect("a runtime");
    let done = Arc::new(Count::new());
    let computing = compute(&runtime, &done);
    let threads: Vec<_> = (0..PAIRS)
        .flat_map(|pair| {
            let (mut near, mut far) = UnixStream::pair().expect("a pair");
            let echo = runtime.spawn(move || {
                let mut bytes = Vec::new();
                let mut buffer = [0; 700];
                let mut messages = 0_u32;
                loop {
                    let count = match far.read(&mut buffer) {
                        Err(error) if error.kind() == std::io::ErrorKind::Interrupted => continue,
                        result => result.expect("a stream"),
                    };
                    if count == 0 {
                        return messages;
                    }
                    bytes.extend_from_slice(&buffer[..count]);
                    let expected = message(pair, messages);
                    if bytes.len() == expected.len() {
                        assert!(bytes == expected, "wrong bytes in message {messages}");
                        far.write_all(&bytes).expect("a stream");
                        bytes = Vec::new();
                        messages += 1;
                    }
                }
            });
            let talker = runtime.spawn(move || {
                let mut number = 0;
                while number < MESSAGES || HANDLED.get() < signals {
                    let sent = message(pair, number);
                    near.write_all(&sent).expect("a stream");
                    let mut answer = vec![0; sent.len()];
                    near.read_exact(&mut answer).expect("a stream");
                    assert!(answer == sent, "wrong bytes in answer {number}");
                    assert_outside();
                    number += 1;
                }
                number
            });
            [talker, echo]
        })
        .map(|thread| thread.join().expect("exact messages"))
        .collect();
    done.up();
    for thread in computing {
        thread.join().expect("a heap that is whole");
    }
    for pair in threads.chunks(2) {
        assert_eq!(pair[0], pair[1]);
    }
}

fn under_fire(name: &str, flags: libc::c_int) {
    child::run(name, &[], || {
        let (mut reader, writer) = UnixStream::pair().expect("a pair");
        writer.set_nonblocking(true).expect("a flag");
        // ORDER: Relaxed: before the handler is installed.
        PIPE.store(std::os::fd::AsRawFd::as_raw_fd(&writer), Ordering::Relaxed);
        install(flags);
        let drain = std::thread::spawn(move || {
            let mut all = 0;
            let mut buffer = [0; 512];
            loop {
                match reader.read(&mut buffer) {
                    Ok(0) => return all,
                    Ok(count) => all += count,
                    Err(error) => assert_eq!(error.kind(), std::io::ErrorKind::Interrupted),
                }
            }
        });
        for workers in [1, 2, 8] {
            let stop = AtomicI32::new(0);
            std::thread::scope(|scope| {
                scope.spawn(|| fire(&stop));
                talk(workers, HANDLED.get() + 1000);
                // ORDER: Relaxed: as in `fire`.
                stop.store(1, Ordering::Relaxed);
            });
        }
        // The last signal may be on its way.
        std::thread::sleep(std::time::Duration::from_millis(10));
        drop(writer);
        assert_eq!(drain.join().expect("a reader"), WRITTEN.get());
        assert!(WRITTEN.get() > 0);
    })
    .assert_success();
}

#[test]
fn a_handler_on_its_own_stack_that_restarts_calls() {
    under_fire(
        "a_handler_on_its_own_stack_that_restarts_calls",
        libc::SA_ONSTACK | libc::SA_RESTART,
    );
}

#[test]
fn a_handler_on_its_own_stack_that_interrupts_calls() {
    under_fire(
        "a_handler_on_its_own_stack_that_interrupts_calls",
        libc::SA_ONSTACK,
    );
}

#[test]
fn a_handler_on_the_stack_of_the_thread_that_restarts_calls() {
    under_fire(
        "a_handler_on_the_stack_of_the_thread_that_restarts_calls",
        libc::SA_RESTART,
    );
}

#[test]
fn a_handler_on_the_stack_of_the_thread_that_interrupts_calls() {
    under_fire(
        "a_handler_on_the_stack_of_the_thread_that_interrupts_calls",
        0,
    );
}
