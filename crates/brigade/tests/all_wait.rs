//! When every thread waits and nothing can wake one, that is reported, once; and only then.
//!
//! A harness of its own: the main thread of the usual one wakes up now and then, so that a process under it is never
//! without a thread that could wake the others.

use std::future::Future;
use std::io::{BufRead, BufReader, Read, Write};
use std::net::TcpListener;
use std::os::unix::net::UnixStream;
use std::pin::pin;
use std::process::{Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicU32, Ordering};
use std::sync::{Arc, mpsc};
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use brigade::pool::ThreadPool;
use brigade::sync::channel::{bounded, unbounded};
use brigade::sync::{Condvar, Mutex, Semaphore};
use brigade::task::{self, Async};
use brigade::thread;

const ROLE: &str = "BRIGADE_ALL_WAIT";
/// Far longer than a report takes, and than the twins live.
const HANG_AFTER: Duration = Duration::from_secs(30);
/// How long the clean twins leave time for a false report.
const SILENCE: Duration = Duration::from_millis(1_500);

/// A program, and words of the report that it must come to; none if it must stay silent and end.
struct Case {
    name: &'static str,
    run: fn(),
    words: &'static [&'static str],
}

const CASES: &[Case] = &[
    Case {
        name: "two_threads_that_wait_for_messages_of_each_other_are_reported",
        run: messages_of_each_other,
        words: &["deadlock: all ", "(no owners)", "by recv", "all_wait.rs"],
    },
    Case {
        name: "a_message_that_a_kernel_thread_will_send_keeps_it_silent",
        run: message_of_a_sleeping_kernel_thread,
        words: &[],
    },
    Case {
        name: "a_kernel_thread_that_waits_too_is_part_of_the_report",
        run: kernel_thread_waits_too,
        words: &["deadlock: all ", "a kernel thread"],
    },
    Case {
        name: "a_kernel_thread_that_reads_a_pipe_keeps_it_silent",
        run: kernel_thread_reads_a_pipe,
        words: &[],
    },
    Case {
        name: "two_std_mutexes_in_opposite_orders_are_reported_without_owners",
        run: std_mutexes,
        words: &["deadlock: all ", "owner unknown"],
    },
    Case {
        name: "a_thread_that_waits_to_accept_keeps_it_silent",
        run: somebody_accepts,
        words: &[],
    },
    Case {
        name: "a_wait_with_a_deadline_keeps_it_silent",
        run: somebody_has_a_deadline,
        words: &[],
    },
    Case {
        name: "a_futex_in_memory_that_other_processes_share_keeps_it_silent",
        run: shared_futex,
        words: &[],
    },
    Case {
        name: "a_park_that_nobody_ends_a_semaphore_and_a_condition_are_reported_together",
        run: waits_of_many_kinds,
        words: &["deadlock: all ", "by park", "by semaphore", "by condvar"],
    },
    Case {
        name: "a_deadlock_after_futures_have_waited_is_reported",
        run: futures_before,
        words: &["deadlock: all ", "by recv"],
    },
    Case {
        name: "a_future_that_waits_for_a_descriptor_keeps_it_silent",
        run: future_of_another_executor,
        words: &[],
    },
    Case {
        name: "a_deadlock_that_comes_long_after_the_last_work_is_reported",
        run: kernel_thread_waits_later,
        words: &["deadlock: all "],
    },
    Case {
        name: "a_pool_whose_threads_wait_for_a_job_in_its_own_queue_is_reported",
        run: pool_waits_for_its_queue,
        words: &["deadlock: all ", "by pool (job)", "by recv"],
    },
    Case {
        name: "a_pool_with_a_job_that_blocks_in_the_kernel_keeps_it_silent",
        run: pool_sleeps,
        words: &[],
    },
];

fn pool_waits_for_its_queue() {
    let pool = Arc::new(ThreadPool::new(1));
    let theirs = Arc::clone(&pool);
    let job = pool.submit(move || {
        let (sender, receiver) = bounded::<u8>(0);
        let queued = theirs.submit(move || sender.send(5));
        // Not by joining `queued`, which would run it.
        drop((receiver.recv(), queued));
    });
    let _ = brigade::run(move || job.join());
}

fn pool_sleeps() {
    let pool = ThreadPool::new(2);
    let job = pool.submit(|| std::thread::sleep(SILENCE));
    brigade::run(move || job.join()).expect("no panic");
}

fn messages_of_each_other() {
    brigade::run(|| {
        let ((to_a, from_b), (to_b, from_a)) = (bounded::<u8>(1), bounded::<u8>(1));
        let a = thread::spawn(move || from_b.recv().map(|n| to_b.send(n)));
        let b = thread::spawn(move || from_a.recv().map(|n| to_a.send(n)));
        drop((a.join(), b.join()));
    });
}

fn message_of_a_sleeping_kernel_thread() {
    let (sender, receiver) = unbounded();
    std::thread::spawn(move || {
        std::thread::sleep(SILENCE);
        sender.send(5).expect("somebody waits");
    });
    assert_eq!(brigade::run(move || receiver.recv()), Ok(5));
}

fn kernel_thread_waits_too() {
    let ((to_green, from_kernel), (to_kernel, from_green)) = (bounded::<u8>(0), bounded::<u8>(0));
    std::thread::spawn(move || from_green.recv().map(|n| to_green.send(n)));
    let _ = brigade::run(move || from_kernel.recv().map(|n| to_kernel.send(n)));
}

fn kernel_thread_reads_a_pipe() {
    let (mut reader, mut writer) = std::io::pipe().expect("a pipe");
    let (sender, receiver) = unbounded();
    std::thread::spawn(move || {
        let mut byte = [0];
        reader.read_exact(&mut byte).expect("somebody writes");
        sender.send(byte[0]).expect("somebody waits");
    });
    std::thread::spawn(move || {
        std::thread::sleep(SILENCE);
        writer.write_all(&[5]).expect("somebody reads");
    });
    assert_eq!(brigade::run(move || receiver.recv()), Ok(5));
}

fn std_mutexes() {
    let locks = Arc::new([std::sync::Mutex::new(0), std::sync::Mutex::new(0)]);
    let barrier = Arc::new(std::sync::Barrier::new(2));
    let cross = |first: usize, second: usize| {
        let (locks, barrier) = (Arc::clone(&locks), Arc::clone(&barrier));
        thread::spawn(move || {
            let _first = locks[first].lock();
            barrier.wait();
            let _second = locks[second].lock();
        })
    };
    let (a, b) = (cross(0, 1), cross(1, 0));
    drop((a.join(), b.join()));
}

fn somebody_accepts() {
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port");
    let (_sender, receiver) = bounded::<u8>(1);
    thread::spawn(move || listener.accept());
    thread::spawn(move || receiver.recv());
    std::thread::sleep(SILENCE);
}

fn somebody_has_a_deadline() {
    let (_sender, receiver) = bounded::<u8>(1);
    thread::spawn(|| thread::park());
    brigade::run(move || receiver.recv_timeout(SILENCE)).expect_err("nobody sends");
}

fn shared_futex() {
    // SAFETY: a new mapping touches nothing that exists.
    let memory = unsafe {
        libc::mmap(
            std::ptr::null_mut(),
            4096,
            libc::PROT_READ | libc::PROT_WRITE,
            libc::MAP_SHARED | libc::MAP_ANONYMOUS,
            -1,
            0,
        )
    };
    assert_ne!(memory, libc::MAP_FAILED);
    // SAFETY: zeroed memory that is never unmapped.
    let word: &'static AtomicU32 = unsafe { &*memory.cast::<AtomicU32>() };
    // The other process that could wake this one.
    // SAFETY: the child makes system calls only.
    if unsafe { libc::fork() } == 0 {
        let pause = libc::timespec {
            tv_sec: SILENCE.as_secs() as i64,
            tv_nsec: i64::from(SILENCE.subsec_nanos()),
        };
        // SAFETY: valid arguments; the word is mapped.
        unsafe {
            libc::syscall(libc::SYS_nanosleep, &pause, 0_usize);
            word.store(1, Ordering::SeqCst);
            libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAKE, 1);
            libc::_exit(0);
        }
    }
    thread::spawn(|| thread::park());
    // A kernel thread, because a process wakes the kernel's waiters only; nothing of Brigade's knows of it.
    while word.load(Ordering::SeqCst) == 0 {
        // SAFETY: a valid word, no time; the call reads nothing else.
        unsafe { libc::syscall(libc::SYS_futex, word, libc::FUTEX_WAIT, 0, 0_usize) };
    }
}

fn waits_of_many_kinds() {
    static NONE: Semaphore = Semaphore::new(0);
    brigade::run(|| {
        thread::spawn(|| thread::park());
        thread::spawn(|| drop(NONE.acquire()));
        let pair = (Mutex::new(()), Condvar::new());
        drop(pair.1.wait(pair.0.lock().unwrap()));
    });
}

fn futures_before() {
    brigade::run(|| {
        let (here, there) = Async::<UnixStream>::pair().expect("a pair");
        let read = here.read_with(|mut io| io.read(&mut [0]));
        let late = task::block_on(task::timeout(Duration::from_millis(1), read));
        late.expect_err("nobody writes");
        drop((here, there));
    });
    messages_of_each_other();
}

/// Sends when it is woken.
struct Tell(brigade::sync::channel::Sender<u8>);

impl Wake for Tell {
    fn wake(self: Arc<Self>) {
        let _ = self.0.send(5);
    }
}

fn future_of_another_executor() {
    let mut sleeper = Command::new("sleep")
        .arg(SILENCE.as_secs_f64().to_string())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process");
    let end = Async::new(sleeper.stdout.take().expect("a pipe")).expect("asynchronous");
    let (sender, receiver) = unbounded();
    let waker = Waker::from(Arc::new(Tell(sender)));
    let mut readable = pin!(end.readable());
    let polled = readable.as_mut().poll(&mut Context::from_waker(&waker));
    assert!(polled.is_pending());
    assert_eq!(brigade::run(move || receiver.recv()), Ok(5));
    sleeper.wait().expect("it has ended");
}

fn kernel_thread_waits_later() {
    let (sender, receiver) = mpsc::channel::<u8>();
    let (_kept, nothing) = mpsc::channel::<u8>();
    let late = std::thread::spawn(move || {
        std::thread::sleep(Duration::from_millis(700));
        let got = nothing.recv();
        drop(sender);
        got
    });
    let _ = brigade::run(move || receiver.recv());
    drop(late.join());
}

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE) {
        let case = CASES.iter().find(|case| case.name == role);
        (case.expect("a case of this name").run)();
        return ExitCode::SUCCESS;
    }
    // `cargo test NAME` reaches this program too.
    let filter: Vec<String> = std::env::args()
        .skip(1)
        .filter(|argument| !argument.starts_with('-'))
        .collect();
    if std::env::args().any(|argument| argument == "--list") {
        CASES
            .iter()
            .for_each(|case| println!("{}: test", case.name));
        return ExitCode::SUCCESS;
    }
    let (mut passed, mut failed) = (0, 0);
    for case in CASES {
        if !filter.is_empty() && !filter.iter().any(|word| case.name.contains(word.as_str())) {
            continue;
        }
        match check(case) {
            Ok(()) => {
                println!("test {} ... ok", case.name);
                passed += 1;
            }
            Err(why) => {
                println!("test {} ... FAILED\n{why}", case.name);
                failed += 1;
            }
        }
    }
    let word = if failed == 0 { "ok" } else { "FAILED" };
    println!("\ntest result: {word}. {passed} passed; {failed} failed; 0 ignored");
    ExitCode::from(u8::from(failed != 0))
}

/// Runs the case in a process of its own.
fn check(case: &Case) -> Result<(), String> {
    let program = std::env::current_exe().map_err(|error| error.to_string())?;
    let mut child = Command::new(program)
        .env(ROLE, case.name)
        .stderr(Stdio::piped())
        .spawn()
        .map_err(|error| error.to_string())?;
    let (lines, said) = mpsc::channel();
    let stderr = child.stderr.take().expect("it is piped");
    std::thread::spawn(move || {
        for line in BufReader::new(stderr).lines().map_while(Result::ok) {
            let _ = lines.send(line);
        }
    });
    let mut text = String::new();
    let mut wait = HANG_AFTER;
    // A report comes in one piece; what follows it would be a second one.
    let is_over = loop {
        match said.recv_timeout(wait) {
            Ok(line) => text += &(line + "\n"),
            Err(error) => break error == mpsc::RecvTimeoutError::Disconnected,
        }
        if text.contains("deadlock: ") {
            wait = SILENCE;
        }
    };
    let ended = if is_over { child.wait().ok() } else { None };
    let _ = child.kill();
    let _ = child.wait();
    let reports = text.matches("deadlock: ").count();
    let said_all = case.words.iter().all(|word| text.contains(word));
    match (case.words.is_empty(), reports, ended) {
        (true, 0, Some(status)) if status.success() => Ok(()),
        (false, 1, None) if said_all => Ok(()),
        _ => Err(format!(
            "{reports} reports, ended: {ended:?}, due: {:?}\n{text}",
            case.words
        )),
    }
}
