//! Jobs that do what they are told.

use std::fmt;
use std::marker::PhantomData;
use std::os::unix::process::CommandExt;

use brigade_process::{Job, Jobs, PoolBuilder};
use serde::de::{Error, Visitor};
use serde::{Deserialize, Deserializer, Serialize, Serializer};

use super::procfs;

/// All jobs of the test programs.
pub(crate) type All = (Act, (Echo, (Square, ())));

pub(crate) fn jobs() -> Jobs<All> {
    Jobs::new().with::<Square>().with::<Echo>().with::<Act>()
}

pub(crate) fn pool(workers: usize) -> PoolBuilder<All> {
    // What is said about planned panics is long enough.
    jobs().pool().workers(workers).env("RUST_BACKTRACE", "0")
}

#[derive(Debug, Serialize, Deserialize)]
pub(crate) struct Square(pub(crate) u64);

impl Job for Square {
    type Reply = u64;
    const NAME: &'static str = "square";

    fn run(self) -> u64 {
        self.0 * self.0
    }
}

/// Bytes that are written as such; a vector is written number by number.
#[derive(Debug, PartialEq, Eq)]
pub(crate) struct Bytes(pub(crate) Vec<u8>);

impl Serialize for Bytes {
    fn serialize<S: Serializer>(&self, serializer: S) -> Result<S::Ok, S::Error> {
        serializer.serialize_bytes(&self.0)
    }
}

impl<'de> Deserialize<'de> for Bytes {
    fn deserialize<D: Deserializer<'de>>(deserializer: D) -> Result<Bytes, D::Error> {
        struct Owned(PhantomData<Bytes>);
        impl Visitor<'_> for Owned {
            type Value = Bytes;
            fn expecting(&self, f: &mut fmt::Formatter<'_>) -> fmt::Result {
                f.write_str("bytes")
            }
            fn visit_bytes<E: Error>(self, bytes: &[u8]) -> Result<Bytes, E> {
                Ok(Bytes(bytes.to_vec()))
            }
        }
        deserializer.deserialize_bytes(Owned(PhantomData))
    }
}

/// Gives the bytes back, each plus one, and again as many of them as asked for.
#[derive(Serialize, Deserialize)]
pub(crate) struct Echo {
    pub(crate) bytes: Bytes,
    pub(crate) more: usize,
}

impl Job for Echo {
    type Reply = Bytes;
    const NAME: &'static str = "echo";

    fn run(mut self) -> Bytes {
        let bytes = &mut self.bytes.0;
        bytes
            .iter_mut()
            .for_each(|byte| *byte = byte.wrapping_add(1));
        bytes.resize(bytes.len() + self.more, 7);
        self.bytes
    }
}

/// Something that a worker is to do to itself.
#[derive(Debug, Clone, Serialize, Deserialize)]
pub(crate) enum Act {
    /// Gives its process number.
    Pid,
    /// Gives what is asked for of `/proc/self`: open descriptors, one per line.
    Descriptors,
    /// Gives a line of its status.
    Status(String),
    /// Gives a variable of its environment.
    Variable(String),
    /// Gives its arguments but the first, one per line.
    Arguments,
    Exit(i32),
    Abort,
    Signal(i32),
    Panic(String),
    PanicWithNumber,
    /// Recurses until its stack is full.
    Overflow,
    /// Reads address zero.
    Segfault,
    /// Allocates this many bytes and touches them.
    Allocate(usize),
    /// Runs for ever.
    Spin,
    /// Writes to its standard error for ever.
    Flood,
    /// Sleeps for ever, and a child of it too, whose number it writes to the file.
    SleepWithChild(String),
    /// Ends by itself, and leaves a sleeping child, whose number it writes to the file.
    AbandonChild(String),
    /// Sleeps this long, in milliseconds.
    Sleep(u64),
    /// Writes these bytes to its connection, then sleeps for ever.
    WriteToConnection(Vec<u8>),
    /// Closes its connection, then sleeps for ever.
    CloseConnection,
    /// Stops the pool's process for some time, replies, and exits as soon as the reply is out.
    ReplyAndExit,
    /// Says something on its standard error, then does the other.
    Say(String, Box<Act>),
    /// Starts a pool, and gives what that said.
    Nest,
    /// Runs this program, and gives what it said.
    RunSelf(String),
    /// Reads its standard input to the end.
    ReadStdin,
}

impl Job for Act {
    type Reply = String;
    const NAME: &'static str = "act";

    fn run(self) -> String {
        match self {
            Act::Pid => std::process::id().to_string(),
            Act::Descriptors => lines(procfs::descriptors(std::process::id())),
            Act::Status(name) => procfs::status(std::process::id(), &name),
            Act::Variable(name) => std::env::var(name).unwrap_or_default(),
            Act::Arguments => std::env::args().skip(1).collect::<Vec<_>>().join("\n"),
            Act::Exit(code) => std::process::exit(code),
            Act::Abort => std::process::abort(),
            Act::Panic(text) => panic!("{text}"),
            Act::PanicWithNumber => std::panic::panic_any(5),
            Act::Allocate(bytes) => vec![1_u8; bytes].len().to_string(),
            Act::Sleep(ms) => {
                std::thread::sleep(std::time::Duration::from_millis(ms));
                String::new()
            }
            Act::Say(text, then) => {
                eprintln!("{text}");
                then.run()
            }
            Act::ReadStdin => std::io::read_to_string(std::io::stdin()).expect("it can be read"),
            Act::Nest => match jobs().pool().workers(1).start() {
                Ok(_) => "started".to_owned(),
                Err(error) => format!("nested: {}, {error}", error.is_nested()),
            },
            Act::RunSelf(role) => run_self(&role),
            other => other.misbehave(),
        }
    }
}

fn lines(descriptors: Vec<(u32, String)>) -> String {
    let lines: Vec<_> = descriptors
        .iter()
        .map(|(number, target)| format!("{number} {target}"))
        .collect();
    lines.join("\n")
}

/// The role that a test program plays when it is started by itself.
pub(crate) const ROLE: &str = "BRIGADE_TEST_ROLE";

fn run_self(role: &str) -> String {
    let program = std::env::current_exe().expect("this program");
    let output = std::process::Command::new(program).env(ROLE, role).output();
    let output = output.expect("it can be started");
    String::from_utf8_lossy(&output.stdout).into_owned()
}

#[expect(unconditional_recursion, reason = "the stack is to overflow")]
fn overflow(n: &mut [u8; 4096]) -> u8 {
    let mut more = std::hint::black_box(*n);
    overflow(&mut more) + more[5]
}

fn sleep_for_ever() -> ! {
    loop {
        std::thread::sleep(std::time::Duration::from_secs(3600));
    }
}

/// Starts something that sleeps, and says its number in the file.
fn start_sleeper(file: &str) {
    let child = std::process::Command::new("sleep").arg("3600").spawn();
    let pid = child.expect("sleep can be started").id();
    let draft = format!("{file}.new");
    std::fs::write(&draft, pid.to_string()).expect("the file can be written");
    std::fs::rename(&draft, file).expect("the file can be named");
}

/// What happens meanwhile comes to the parent all at once.
fn stop_parent_for_a_while() {
    let parent = std::os::unix::process::parent_id();
    let script = format!("sleep 0.3; kill -CONT {parent}");
    let shell = std::process::Command::new("sh")
        .args(["-c", &script])
        // Not in the worker's group, which is killed with the worker.
        .process_group(0)
        .spawn();
    drop(shell.expect("a shell can be started"));
    // SAFETY: takes numbers only; the parent is the pool's process.
    unsafe { libc::kill(parent.cast_signed(), libc::SIGSTOP) };
}

/// Exits when the main thread waits for the next request: then its reply has been written.
fn exit_when_main_reads() {
    let main = format!("/proc/self/task/{}/syscall", std::process::id());
    let reads = format!("{} 0x3 ", libc::SYS_recvfrom);
    while !std::fs::read_to_string(&main).is_ok_and(|call| call.starts_with(&reads)) {
        std::thread::yield_now();
    }
    std::process::exit(5);
}

impl Act {
    fn misbehave(self) -> String {
        match self {
            Act::Overflow => overflow(&mut [0; 4096]).to_string(),
            Act::Segfault => {
                // SAFETY: none; the worker is to die of it.
                let value = unsafe { std::hint::black_box(std::ptr::null::<u8>()).read_volatile() };
                value.to_string()
            }
            Act::Signal(number) => {
                // SAFETY: takes a number.
                unsafe { libc::raise(number) };
                sleep_for_ever()
            }
            Act::Spin => loop {
                std::hint::spin_loop();
            },
            Act::Flood => loop {
                let _ = std::io::Write::write(&mut std::io::stderr(), &[b'x'; 1 << 16]);
            },
            Act::SleepWithChild(file) => {
                start_sleeper(&file);
                sleep_for_ever()
            }
            Act::AbandonChild(file) => {
                start_sleeper(&file);
                std::process::exit(3)
            }
            Act::WriteToConnection(bytes) => {
                // SAFETY: the bytes are readable; the connection is descriptor 3.
                unsafe { libc::write(3, bytes.as_ptr().cast(), bytes.len()) };
                sleep_for_ever()
            }
            Act::CloseConnection => {
                // SAFETY: takes a number. Whoever uses it afterwards finds it closed.
                unsafe { libc::close(3) };
                sleep_for_ever()
            }
            Act::ReplyAndExit => {
                stop_parent_for_a_while();
                std::thread::spawn(exit_when_main_reads);
                "replied".to_owned()
            }
            other => unreachable!("{other:?} is done above"),
        }
    }
}
