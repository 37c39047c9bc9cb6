//! What goes past the hooks blocks its kernel thread and no other green thread: system calls that a crate makes by
//! itself, those that the C library makes inside of its own functions, and machine code.
//!
//! Nothing here is timed. The calls are let go only after tickers on the same runtime have counted far enough, with
//! every call already under way: where they are frozen the run does not end, and the watch fails it. That the calls
//! really are past the hooks is seen from the kernel threads they hold.

mod common;

use std::ffi::CStr;
use std::io::{ErrorKind, PipeReader, Read, Write};
use std::net::ToSocketAddrs;
use std::os::fd::{AsRawFd, IntoRawFd, OwnedFd};
use std::os::unix::net::UnixStream;
use std::sync::Arc;

use brigade::runtime::{Builder, Model, Runtime};
use brigade::thread::{self, JoinHandle};
use common::{Count, Watch, child};

/// How often the tickers must have run beside the blocked threads.
const ENOUGH: usize = 2000;

/// Four times as many as the workers of the larger runtime.
const BLOCKED: usize = 8;

/// Runs `test` with one and with two workers.
fn on_each(what: &str, test: impl Fn(&Runtime)) {
    for workers in [1, 2] {
        let _watch = Watch::new(&format!("{what} with {workers} workers"));
        let runtime = Builder::new()
            .workers(workers)
            .build()
            .expect("a runtime with few workers");
        assert_eq!(
            runtime.model(),
            Model::ManyToMany,
            "this machine cannot run green threads; see `brigade doctor`"
        );
        test(&runtime);
    }
}

/// Threads that count up and yield until they are told to stop.
struct Tickers {
    ticks: Arc<Count>,
    stop: Arc<Count>,
    threads: Vec<JoinHandle<()>>,
}

impl Tickers {
    fn start(runtime: &Runtime) -> Tickers {
        let (ticks, stop) = (Arc::new(Count::new()), Arc::new(Count::new()));
        let threads = (0..4)
            .map(|_| {
                let (ticks, stop) = (Arc::clone(&ticks), Arc::clone(&stop));
                runtime.spawn(move || {
                    while stop.get() == 0 {
                        ticks.up();
                        thread::yield_now();
                    }
                })
            })
            .collect();
        Tickers {
            ticks,
            stop,
            threads,
        }
    }

    /// Waits on this kernel thread until they have run far enough from now on.
    fn go_on(&self) {
        let now = self.ticks.get();
        self.ticks.kernel_wait_for(now + ENOUGH);
    }

    fn stop(self) {
        self.stop.set(1);
        for thread in self.threads {
            thread.join().expect("no panic");
        }
    }
}

/// A system call as the kernel shows it: its number and its first argument.
type SystemCall = (i64, u64);

/// Kernel threads of this process that are in a system call of which `is_it` is true.
fn kernel_threads_in(is_it: impl Fn(SystemCall) -> bool) -> usize {
    let call = |text: String| {
        let mut words = text.split(' ');
        let number = words.next()?.parse().ok()?;
        let argument = words.next()?.strip_prefix("0x")?;
        Some((number, u64::from_str_radix(argument, 16).ok()?))
    };
    let threads = std::fs::read_dir("/proc/self/task").expect("the kernel lists the threads");
    threads
        .flatten()
        .filter_map(|thread| call(std::fs::read_to_string(thread.path().join("syscall")).ok()?))
        .filter(|call| is_it(*call))
        .count()
}

/// Runs [`BLOCKED`] threads that block in `call`, each in a system call of which `is_it` is true; lets the tickers
/// run beside them, then calls `release`. The results of the calls are the return value.
fn tick_beside<T: Send + 'static>(
    runtime: &Runtime,
    is_it: impl Fn(SystemCall) -> bool,
    mut call: impl FnMut() -> Box<dyn FnOnce() -> T + Send>,
    release: impl FnOnce(),
) -> Vec<T> {
    let blocked: Vec<_> = (0..BLOCKED).map(|_| runtime.spawn(call())).collect();
    let tickers = Tickers::start(runtime);
    while kernel_threads_in(&is_it) < BLOCKED {
        std::thread::yield_now();
    }
    tickers.go_on();
    release();
    let results = blocked
        .into_iter()
        .map(|thread| thread.join().expect("no panic"))
        .collect();
    tickers.stop();
    results
}

/// The number of a descriptor.
fn number_of(reader: &PipeReader) -> u64 {
    u64::try_from(reader.as_raw_fd()).expect("an open descriptor")
}

/// As [`tick_beside`], for calls that read one byte from a pipe each. The byte is the result.
fn tick_beside_readers(runtime: &Runtime, read: fn(PipeReader) -> u8) {
    let mut writers = Vec::new();
    let mut readers: Vec<_> = (0..BLOCKED)
        .map(|_| {
            let (reader, writer) = std::io::pipe().expect("a pipe");
            writers.push(writer);
            reader
        })
        .collect();
    let numbers: Vec<u64> = readers.iter().map(number_of).collect();
    let bytes = tick_beside(
        runtime,
        |(call, fd)| call == libc::SYS_read && numbers.contains(&fd),
        || {
            let reader = readers.pop().expect("a reader for each thread");
            Box::new(move || read(reader))
        },
        || {
            for mut writer in writers {
                writer.write_all(b"x\n").expect("the reader is there");
            }
        },
    );
    assert_eq!(bytes, [b'x'; BLOCKED]);
}

/// Rustix makes its system calls itself, without the C library.
fn read_with_rustix(reader: PipeReader) -> u8 {
    let mut byte = [0];
    assert_eq!(rustix::io::read(&reader, &mut byte), Ok(1));
    byte[0]
}

/// Reads a line as C programs do.
fn read_with_stdio(reader: PipeReader) -> u8 {
    let mut line = [0_u8; 16];
    let fd = OwnedFd::from(reader).into_raw_fd();
    // SAFETY: the descriptor is open and belongs to the stream from here on; the mode is a C string.
    let stream = unsafe { libc::fdopen(fd, c"r".as_ptr()) };
    assert!(!stream.is_null(), "fdopen");
    let size = i32::try_from(line.len()).expect("a small buffer");
    // SAFETY: the stream is open, nobody else has it, and the buffer is as long as said.
    let got = unsafe { libc::fgets(line.as_mut_ptr().cast(), size, stream) };
    assert!(!got.is_null(), "fgets");
    // SAFETY: the stream is open and is not used afterwards.
    assert_eq!(unsafe { libc::fclose(stream) }, 0);
    let line = CStr::from_bytes_until_nul(&line).expect("fgets ends the line");
    assert_eq!(line, c"x\n");
    line.to_bytes()[0]
}

#[test]
fn reads_by_rustix_do_not_freeze_the_others() {
    on_each("rustix", |runtime| {
        tick_beside_readers(runtime, read_with_rustix);
    });
}

#[test]
fn reads_by_c_stdio_do_not_freeze_the_others() {
    on_each("FILE*", |runtime| {
        tick_beside_readers(runtime, read_with_stdio);
    });
}

#[test]
fn waits_for_a_semaphore_inside_the_c_library_do_not_freeze_the_others() {
    /// A semaphore of the C library at an address that does not change.
    struct Semaphore(Box<std::cell::UnsafeCell<libc::sem_t>>);
    // SAFETY: a semaphore belongs to no thread: any of them may use and destroy it.
    unsafe impl Send for Semaphore {}
    // SAFETY: `sem_wait` and `sem_post` are made to be called by several threads on one semaphore at once.
    unsafe impl Sync for Semaphore {}
    on_each("sem_wait", |runtime| {
        // SAFETY: zeros are a valid place for `sem_init` to write to.
        let zeros: libc::sem_t = unsafe { std::mem::zeroed() };
        let semaphore = Arc::new(Semaphore(Box::new(zeros.into())));
        // SAFETY: the place is there and no other thread knows it yet. Shared between processes, with no permits.
        assert_eq!(unsafe { libc::sem_init(semaphore.0.get(), 1, 0) }, 0);
        let address = semaphore.0.get() as u64;
        let place = address..address + size_of::<libc::sem_t>() as u64;
        let results = tick_beside(
            runtime,
            |(call, address)| call == libc::SYS_futex && place.contains(&address),
            || {
                let semaphore = Arc::clone(&semaphore);
                // SAFETY: the semaphore is initialised, and the closure keeps it alive.
                Box::new(move || unsafe { libc::sem_wait(semaphore.0.get()) })
            },
            || {
                for _ in 0..BLOCKED {
                    // SAFETY: the semaphore is initialised and alive.
                    assert_eq!(unsafe { libc::sem_post(semaphore.0.get()) }, 0);
                }
            },
        );
        assert_eq!(results, [0; BLOCKED]);
        // SAFETY: nobody waits for it or will use it again.
        assert_eq!(unsafe { libc::sem_destroy(semaphore.0.get()) }, 0);
    });
}

/// Sleeps for a millisecond in a system call made by this very machine code.
#[cfg(target_arch = "x86_64")]
fn sleep_in_machine_code() {
    let time = libc::timespec {
        tv_sec: 0,
        tv_nsec: 1_000_000,
    };
    let result: isize;
    // SAFETY: nanosleep reads one valid structure and writes nothing when the second pointer is null; the
    // instruction changes the three registers that are named.
    unsafe {
        std::arch::asm!(
            "syscall",
            inlateout("rax") libc::SYS_nanosleep as isize => result,
            in("rdi") &raw const time,
            in("rsi") std::ptr::null_mut::<libc::timespec>(),
            lateout("rcx") _,
            lateout("r11") _,
            options(nostack),
        );
    }
    assert_eq!(result, 0);
}

#[test]
#[cfg(target_arch = "x86_64")]
fn sleeps_by_machine_code_do_not_freeze_the_others() {
    on_each("machine code", |runtime| {
        let over = Arc::new(Count::new());
        tick_beside(
            runtime,
            |(call, _)| call == libc::SYS_nanosleep,
            || {
                let over = Arc::clone(&over);
                Box::new(move || {
                    while over.get() == 0 {
                        sleep_in_machine_code();
                    }
                })
            },
            || over.set(1),
        );
    });
}

#[test]
fn name_lookups_do_not_freeze_the_others() {
    on_each("getaddrinfo", |runtime| {
        let tickers = Tickers::start(runtime);
        let ticks = Arc::clone(&tickers.ticks);
        let lookups: Vec<_> = (0..BLOCKED)
            .map(|_| {
                let ticks = Arc::clone(&ticks);
                runtime.spawn(move || {
                    let enough = ticks.get() + ENOUGH;
                    while ticks.get() < enough {
                        let found = ("localhost", 7).to_socket_addrs();
                        let mut found = found.expect("localhost is known");
                        assert!(found.all(|address| address.ip().is_loopback()));
                    }
                })
            })
            .collect();
        for lookup in lookups {
            lookup.join().expect("no panic");
        }
        tickers.stop();
    });
}

/// Puts the calling thread into a network of its own, with 127.0.0.1 and a name server there that is not running
/// yet. Says why if the kernel does not allow that.
fn enter_network_with_silent_name_server() -> Result<(), String> {
    let checked = |what: &str, result: i32| match result {
        0 => Ok(()),
        _ => Err(format!("{what}: {}", std::io::Error::last_os_error())),
    };
    // SAFETY: concerns only the calling thread, and those it starts from now on.
    let result = unsafe { libc::unshare(libc::CLONE_NEWNS | libc::CLONE_NEWNET) };
    checked("unshare", result)?;
    let none = std::ptr::null();
    let flags = libc::MS_REC | libc::MS_PRIVATE;
    // SAFETY: C strings, and null where the call takes none.
    let result = unsafe { libc::mount(none, c"/".as_ptr(), none, flags, none.cast()) };
    checked("mount", result)?;
    for (file, text) in [
        (
            c"/etc/resolv.conf",
            "nameserver 127.0.0.1\noptions timeout:60 attempts:1\n",
        ),
        (c"/etc/nsswitch.conf", "hosts: dns\n"),
    ] {
        let own =
            std::env::temp_dir().join(format!("brigade-{}-{}", std::process::id(), text.len()));
        std::fs::write(&own, text).map_err(|error| error.to_string())?;
        let path = std::ffi::CString::new(own.to_str().ok_or("a path in UTF-8")?)
            .map_err(|error| error.to_string())?;
        // SAFETY: C strings, and null where the call takes none.
        let result = unsafe {
            libc::mount(
                path.as_ptr(),
                file.as_ptr(),
                none,
                libc::MS_BIND,
                none.cast(),
            )
        };
        let bound = checked("bind", result);
        // The mount keeps the file.
        std::fs::remove_file(&own).map_err(|error| error.to_string())?;
        bound?;
    }
    // SAFETY: makes a descriptor or fails.
    let socket = unsafe { libc::socket(libc::AF_INET, libc::SOCK_DGRAM | libc::SOCK_CLOEXEC, 0) };
    // SAFETY: zeros are valid for this structure.
    let mut request: libc::ifreq = unsafe { std::mem::zeroed() };
    for (place, byte) in request.ifr_name.iter_mut().zip(b"lo") {
        *place = byte.cast_signed();
    }
    request.ifr_ifru.ifru_flags = (libc::IFF_UP | libc::IFF_RUNNING) as libc::c_short;
    // SAFETY: a request of this kind, filled in.
    let result = unsafe { libc::ioctl(socket, libc::SIOCSIFFLAGS as _, &raw mut request) };
    let up = checked("lo", result);
    // SAFETY: the descriptor was made above and is not used afterwards.
    unsafe { libc::close(socket) };
    up
}

/// Answers every question at `server` with "no such name", so that the one who asked goes on.
fn deny_all(server: &std::net::UdpSocket, questions: Vec<(Vec<u8>, std::net::SocketAddr)>) {
    for (mut question, from) in questions {
        question[2] |= 0x80;
        question[3] = 0x83;
        server.send_to(&question, from).expect("the asker is there");
    }
}

#[test]
fn lookups_that_wait_for_a_silent_name_server_do_not_freeze_the_others() {
    const NAME: &str = "lookups_that_wait_for_a_silent_name_server_do_not_freeze_the_others";
    let ended = child::run(NAME, &[], || {
        if let Err(reason) = enter_network_with_silent_name_server() {
            eprintln!("not allowed here: {reason}");
            return;
        }
        on_each("a silent name server", |runtime| {
            let server = std::net::UdpSocket::bind("127.0.0.1:53").expect("its own network");
            let tickers = Tickers::start(runtime);
            let lookups: Vec<_> = (0..BLOCKED)
                .map(|number| {
                    runtime.spawn(move || {
                        let name = format!("host{number}.brigade.test");
                        (name.as_str(), 7).to_socket_addrs().is_err()
                    })
                })
                .collect();
            let mut askers = std::collections::BTreeSet::new();
            let mut questions = Vec::new();
            let hear = |questions: &mut Vec<_>| {
                let mut question = vec![0; 512];
                let (size, from) = server.recv_from(&mut question).expect("a question");
                question.truncate(size);
                questions.push((question, from));
                from
            };
            while askers.len() < BLOCKED {
                askers.insert(hear(&mut questions));
            }
            tickers.go_on();
            tickers.stop();
            eprintln!("{BLOCKED} lookups waited");
            let done = Arc::new(Count::new());
            let all = Arc::clone(&done);
            let joining = std::thread::spawn(move || {
                for lookup in lookups {
                    assert!(lookup.join().expect("no panic"), "nobody has this name");
                }
                all.set(1);
            });
            let patience = std::time::Duration::from_millis(20);
            server.set_read_timeout(Some(patience)).expect("a timeout");
            while done.get() == 0 {
                deny_all(&server, std::mem::take(&mut questions));
                let mut question = vec![0; 512];
                if let Ok((size, from)) = server.recv_from(&mut question) {
                    question.truncate(size);
                    questions.push((question, from));
                }
            }
            joining.join().expect("no panic");
        });
    });
    ended.assert_success();
    let waited = ended.stderr.matches("lookups waited").count();
    if waited == 0 {
        eprintln!("skipped: {}", ended.stderr.trim());
        assert!(ended.stderr.contains("not allowed here"), "{ended:#?}");
    } else {
        assert_eq!(waited, 2, "with one and with two workers: {ended:#?}");
    }
}

#[test]
fn a_number_that_the_c_library_closed_is_known_as_what_it_became() {
    const NAME: &str = "a_number_that_the_c_library_closed_is_known_as_what_it_became";
    // In a process of its own, where nobody else takes the number.
    let ended = child::run(NAME, &[], || {
        on_each("fclose", |runtime| {
            runtime.run(|| {
                let (reader, mut writer) = std::io::pipe().expect("a pipe");
                writer.write_all(b"x\n").expect("room in the pipe");
                let closed = reader.as_raw_fd();
                assert_eq!(read_with_stdio(reader), b'x');
                let status = std::fs::File::open("/proc/self/status").expect("a kernel's file");
                assert_eq!(status.as_raw_fd(), closed);
                let text = std::io::read_to_string(status).expect("no pipe any more");
                assert!(text.starts_with("Name:"), "{text}");
            });
        });
    });
    ended.assert_success();
}

#[test]
fn a_flag_that_was_set_past_the_hooks_is_seen_by_the_first_wait() {
    const NAME: &str = "a_flag_that_was_set_past_the_hooks_is_seen_by_the_first_wait";
    // In a process of its own, which is killed if the read waits after all.
    let ended = child::run(NAME, &[], || {
        on_each("a flag", |runtime| {
            runtime.run(|| {
                let (mut reader, mut writer) = UnixStream::pair().expect("two sockets");
                rustix::io::ioctl_fionbio(&reader, true).expect("a flag may be set");
                let mut bytes = [0; 16];
                let error = reader.read(&mut bytes).expect_err("nothing was written");
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
                writer.write_all(b"x").expect("room");
                assert_eq!(reader.read(&mut bytes).expect("one byte"), 1);
                let error = reader.read(&mut bytes).expect_err("nothing is left");
                assert_eq!(error.kind(), ErrorKind::WouldBlock);
            });
        });
    });
    ended.assert_success();
}
