//! What a worker has of its parent, what becomes of it when the parent or the pool ends, and programs that do not
//! register their jobs.

mod common;

use std::fs;
use std::io::{BufRead, BufReader, Write};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::path::PathBuf;
use std::process::{Child, Command, ExitCode, Stdio};
use std::sync::atomic::{AtomicBool, Ordering};
use std::thread;
use std::time::Duration;

use brigade_process::Jobs;
use common::jobs::{Act, ROLE, Square, jobs, pool};
use common::procfs;

const CASES: &[common::Case] = &[
    (
        "a_worker_has_three_standard_descriptors_and_its_connection",
        descriptors_are_not_leaked,
    ),
    (
        "a_worker_has_its_descriptors_when_its_parent_lacks_the_standard_ones",
        parent_without_descriptors,
    ),
    ("the_standard_input_of_a_worker_is_empty", stdin_is_empty),
    (
        "the_standard_output_of_a_worker_can_be_discarded",
        stdout_is_discarded,
    ),
    (
        "a_worker_blocks_ignores_and_handles_no_signals_of_its_parent",
        signals_are_reset,
    ),
    ("a_worker_leads_a_process_group", worker_leads_group),
    ("what_a_killed_worker_started_is_killed", group_is_killed),
    (
        "what_a_worker_that_ended_has_left_is_killed",
        abandoned_children_are_killed,
    ),
    (
        "workers_die_with_a_parent_that_is_killed_even_if_they_compute",
        no_orphans,
    ),
    (
        "workers_die_with_a_parent_that_exits_without_dropping_its_pool",
        no_orphans_of_exit,
    ),
    (
        "workers_that_lost_the_signal_for_it_before_they_registered_die_with_a_parent_that_is_killed",
        no_orphans_of_unarmed,
    ),
    (
        "workers_outlive_the_thread_that_started_the_pool",
        starting_thread_ends,
    ),
    ("workers_that_end_leave_no_zombies", no_zombies),
    (
        "a_pool_keeps_no_descriptors_of_workers_that_ended",
        no_descriptors_of_the_dead,
    ),
    (
        "a_pool_without_descriptors_for_a_worker_recovers_when_there_are_some",
        descriptors_run_out,
    ),
    (
        "a_worker_that_never_registers_is_an_error_of_the_start",
        silent_program,
    ),
    (
        "a_worker_that_ends_before_it_registers_is_an_error_of_the_start",
        program_that_ends,
    ),
    (
        "a_worker_that_registers_other_jobs_is_an_error_of_the_start",
        program_with_other_jobs,
    ),
    (
        "a_program_that_a_worker_starts_is_no_worker_and_starts_no_pool",
        descendants_start_no_pool,
    ),
    (
        "a_pool_whose_workers_all_fail_to_start_gives_up",
        workers_fail_later,
    ),
    (
        "a_pool_recovers_when_workers_can_be_started_again",
        workers_fail_for_a_while,
    ),
    (
        "an_argument_that_no_process_can_have_is_an_error_of_the_start",
        impossible_argument,
    ),
    ("a_fork_of_the_parent_gets_errors", fork_gets_errors),
    (
        "a_fork_of_the_parent_gets_errors_for_jobs_that_are_under_way",
        fork_joins_jobs_of_its_parent,
    ),
    (
        "a_fork_gets_errors_while_its_parent_submits",
        fork_while_others_submit,
    ),
];

fn main() -> ExitCode {
    if let Ok(role) = std::env::var(ROLE)
        && let Some(code) = play(&role)
    {
        return code;
    }
    jobs().serve_if_worker();
    common::run(CASES)
}

/// What this program does when a test starts it in a role. `None`: it goes on as usual.
fn play(role: &str) -> Option<ExitCode> {
    let (role, argument) = role.split_once(' ').unwrap_or((role, ""));
    match role {
        "silent" => loop {
            thread::sleep(Duration::from_secs(3600));
        },
        "ends" => {
            eprintln!("not today");
            return Some(ExitCode::from(5));
        }
        "other" => Jobs::new().with::<Square>().serve_if_worker(),
        "unless" if PathBuf::from(argument).exists() => return Some(ExitCode::from(6)),
        "nested" => {
            jobs().serve_if_worker();
            let said = match pool(1).start() {
                Ok(_) => "started".to_owned(),
                Err(error) => format!("nested: {}, {error}", error.is_nested()),
            };
            println!("{said}");
            return Some(ExitCode::SUCCESS);
        }
        "parent" => {
            if argument == "unarmed" {
                // As the kernel does when a process changes its user.
                // SAFETY: the call takes numbers, and touches no memory of this process.
                unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, 0, 0, 0, 0) };
            }
            jobs().serve_if_worker();
            return Some(be_parent(argument));
        }
        "bare" => {
            jobs().serve_if_worker();
            return Some(be_bare(argument));
        }
        _ => {}
    }
    None
}

/// A directory for files of this test.
struct Directory(PathBuf);

impl Directory {
    fn new(name: &str) -> Directory {
        let path = std::env::temp_dir().join(format!("brigade-{name}-{}", std::process::id()));
        fs::create_dir_all(&path).expect("a directory");
        Directory(path)
    }

    fn file(&self, name: &str) -> String {
        let path = self.0.join(name);
        path.to_str().expect("a name of letters").to_owned()
    }
}

impl Drop for Directory {
    fn drop(&mut self) {
        let _ = fs::remove_dir_all(&self.0);
    }
}

fn descriptors_are_not_leaked() {
    // Others leave descriptors open, near and far, without a mark.
    let file = fs::File::open("/proc/self/exe").expect("this program");
    let mut leaked = Vec::new();
    for number in [100, 1000] {
        // SAFETY: takes numbers; the descriptor is open.
        let copy = unsafe { libc::fcntl(file.as_raw_fd(), libc::F_DUPFD, number) };
        assert!(copy >= number);
        leaked.push(copy);
    }
    let pool = pool(2).start().expect("a pool");
    let seen = pool.run(Act::Descriptors).expect("a list");
    for fd in leaked {
        // SAFETY: takes a number; the descriptor was opened above and is used by nobody.
        unsafe { libc::close(fd) };
    }
    let lines: Vec<&str> = seen.lines().collect();
    assert_eq!(lines.len(), 5, "{seen}");
    assert_eq!(lines[0], "0 /dev/null");
    assert!(
        lines[1].starts_with("1 ") && lines[2].starts_with("2 "),
        "{seen}"
    );
    assert!(lines[3].starts_with("3 socket:"), "{seen}");
    // The directory of the list.
    assert!(
        lines[4].starts_with("4 /proc/") && lines[4].ends_with("/fd"),
        "{seen}"
    );
}

/// What a test has started ends with it, however that ends.
fn die_with_test() {
    // SAFETY: the call takes numbers, and touches no memory of this process.
    let failed = unsafe { libc::prctl(libc::PR_SET_PDEATHSIG, libc::SIGKILL, 0, 0, 0) };
    assert_eq!(failed, 0);
}

/// A parent whose standard descriptors are closed: at first, so that those of its pool get their numbers; or later,
/// with the next one, so that those of a worker that is being started do.
fn be_bare(argument: &str) -> ExitCode {
    die_with_test();
    let is_first = argument == "first";
    let close_all = |numbers: std::ops::Range<i32>| {
        for fd in numbers {
            // SAFETY: takes a number; nobody uses the descriptors any more.
            unsafe { libc::close(fd) };
        }
    };
    if is_first {
        close_all(0..3);
    }
    let next = fs::File::open("/dev/null").expect("a descriptor");
    let setup = if is_first {
        pool(1).capture_stderr()
    } else {
        pool(1)
    };
    let pool = setup.start().expect("a pool");
    if !is_first {
        // Whoever started this program may have left it more than the standard ones.
        close_all(0..next.into_raw_fd() + 1);
    }
    let error = pool.run(Act::Say("heard".to_owned(), Box::new(Act::Exit(1))));
    let error = error.expect_err("it exits");
    let is_heard = error.stderr_tail() == if is_first { "heard\n" } else { "" };
    // Of a worker that took the place of another.
    let seen = pool.run(Act::Descriptors).expect("a list");
    let lines: Vec<&str> = seen.lines().collect();
    let stderr = if is_first { "2 pipe:" } else { "2 /dev/null" };
    let is_right = lines.len() == 5
        && lines[0] == "0 /dev/null"
        && lines[1] == "1 /dev/null"
        && lines[2].starts_with(stderr)
        && lines[3].starts_with("3 socket:")
        && pool.run(Square(4)).is_ok_and(|square| square == 16);
    ExitCode::from(u8::from(!is_right) + 2 * u8::from(!is_heard))
}

fn stdout_is_discarded() {
    let pool = pool(1).discard_stdout().start().expect("a pool");
    let seen = pool.run(Act::Descriptors).expect("a list");
    assert!(seen.contains("\n1 /dev/null\n2 "), "{seen}");
}

fn parent_without_descriptors() {
    for when in ["bare first", "bare later"] {
        let status = this_program(when).status().expect("it can be started");
        assert_eq!(status.code(), Some(0), "{when}");
    }
}

fn stdin_is_empty() {
    let pool = pool(1).start().expect("a pool");
    assert_eq!(pool.run(Act::ReadStdin).expect("it ends"), "");
}

fn signals_are_reset() {
    extern "C" fn handler(_: i32) {}
    // SAFETY: the sets are filled in before they are used, and the handler does nothing.
    unsafe {
        let mut set: libc::sigset_t = std::mem::zeroed();
        libc::sigemptyset(&raw mut set);
        libc::sigaddset(&raw mut set, libc::SIGUSR1);
        libc::pthread_sigmask(libc::SIG_BLOCK, &raw const set, std::ptr::null_mut());
        libc::signal(libc::SIGHUP, libc::SIG_IGN);
        libc::signal(libc::SIGUSR2, handler as *const () as usize);
    }
    let pool = pool(1).start().expect("a pool");
    let status = |name: &str| {
        let line = pool.run(Act::Status(name.to_owned())).expect("a line");
        u64::from_str_radix(&line, 16).expect("a number")
    };
    let bit = |signal: i32| 1_u64 << (signal - 1);
    assert_eq!(status("SigBlk"), 0);
    // Rust's own start ignores one and handles two.
    assert_eq!(status("SigIgn"), bit(libc::SIGPIPE));
    assert_eq!(status("SigCgt"), bit(libc::SIGSEGV) | bit(libc::SIGBUS));
    // SAFETY: takes numbers only, and touches no memory.
    unsafe {
        libc::signal(libc::SIGHUP, libc::SIG_DFL);
        libc::signal(libc::SIGUSR2, libc::SIG_DFL);
    }
}

fn worker_leads_group() {
    let pool = pool(1).start().expect("a pool");
    let pid = pool.run(Act::Pid).expect("a number");
    let group = pool.run(Act::Status("NSpgid".to_owned()));
    assert_eq!(group.expect("a line"), pid);
}

/// Makes this process the parent of what loses its own.
fn adopt() {
    // SAFETY: takes numbers only, and touches no memory.
    let failed = unsafe { libc::prctl(libc::PR_SET_CHILD_SUBREAPER, 1, 0, 0, 0) };
    assert_eq!(failed, 0);
}

/// The signal that ended a process which this one has adopted, or will. Waits for its end.
#[track_caller]
fn signal_of_adopted(pid: u32) -> Option<i32> {
    let mut status = 0;
    loop {
        // SAFETY: the status is written by the call.
        let ended = unsafe { libc::waitpid(pid.cast_signed(), &raw mut status, 0) };
        if ended == pid.cast_signed() {
            return libc::WIFSIGNALED(status).then(|| libc::WTERMSIG(status));
        }
        // Not adopted yet.
        assert!(procfs::exists(pid), "process {pid} is gone");
        thread::yield_now();
    }
}

fn group_is_killed() {
    adopt();
    let directory = Directory::new("group");
    let file = directory.file("sleeper");
    let pool = pool(1).start().expect("a pool");
    let job = pool.submit(Act::SleepWithChild(file.clone()));
    let sleeper = wait_for_number(&file);
    job.abort();
    assert!(job.join().expect_err("given up").is_cancelled());
    assert_eq!(signal_of_adopted(sleeper), Some(libc::SIGKILL));
}

fn abandoned_children_are_killed() {
    adopt();
    let directory = Directory::new("abandoned");
    let file = directory.file("sleeper");
    let pool = pool(1).start().expect("a pool");
    let error = pool
        .run(Act::AbandonChild(file.clone()))
        .expect_err("it exits");
    assert_eq!(error.exit_code(), Some(3));
    let sleeper = wait_for_number(&file);
    assert_eq!(signal_of_adopted(sleeper), Some(libc::SIGKILL));
}

fn wait_for_number(file: &str) -> u32 {
    loop {
        if let Ok(text) = fs::read_to_string(file) {
            return text.parse().expect("a number");
        }
        thread::yield_now();
    }
}

fn this_program(role: &str) -> Command {
    let mut command = Command::new(std::env::current_exe().expect("this program"));
    command.env(ROLE, role).env("RUST_BACKTRACE", "0");
    command
}

/// Starts a pool of four, keeps two of them busy, says the numbers of all; then waits to be killed, or exits.
fn be_parent(argument: &str) -> ExitCode {
    die_with_test();
    let pool = pool(4).start().expect("a pool");
    let busy = [pool.submit(Act::Spin), pool.submit(Act::Sleep(3_600_000))];
    while pool.stats().running < busy.len() {
        thread::yield_now();
    }
    let mut out = std::io::stdout().lock();
    for worker in pool.workers() {
        writeln!(out, "{} {}", worker.pid, worker.is_busy).expect("somebody reads");
    }
    writeln!(out, "ready")
        .and_then(|()| out.flush())
        .expect("somebody reads");
    if argument == "exits" {
        std::process::exit(0);
    }
    loop {
        thread::sleep(Duration::from_secs(3600));
    }
}

/// Number and business of each worker that a parent says it has.
fn workers_of(parent: &mut Child) -> Vec<(u32, bool)> {
    let out = parent.stdout.take().expect("it is piped");
    let lines = BufReader::new(out).lines().map_while(Result::ok);
    let workers: Vec<_> = lines
        .take_while(|line| line != "ready")
        .map(|line| {
            let (pid, is_busy) = line.split_once(' ').expect("two words");
            (pid.parse().expect("a number"), is_busy == "true")
        })
        .collect();
    assert_eq!(workers.len(), 4);
    assert_eq!(workers.iter().filter(|(_, is_busy)| *is_busy).count(), 2);
    workers
}

fn assert_all_end(workers: Vec<(u32, bool)>) {
    for (pid, is_busy) in workers {
        let signal = signal_of_adopted(pid);
        // An idle one may see the end of its connection first, and exit.
        assert!(
            signal == Some(libc::SIGKILL) || (signal.is_none() && !is_busy),
            "worker {pid}, busy: {is_busy}, signal: {signal:?}"
        );
    }
}

fn no_orphans() {
    kill_parent("parent");
}

fn no_orphans_of_unarmed() {
    kill_parent("parent unarmed");
}

fn kill_parent(role: &str) {
    adopt();
    let mut parent = this_program(role)
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let workers = workers_of(&mut parent);
    parent.kill().expect("it lives");
    parent.wait().expect("it has ended");
    assert_all_end(workers);
}

fn no_orphans_of_exit() {
    adopt();
    let mut parent = this_program("parent exits")
        .stdout(Stdio::piped())
        .spawn()
        .expect("it can be started");
    let workers = workers_of(&mut parent);
    assert!(parent.wait().expect("it has ended").success());
    assert_all_end(workers);
}

fn starting_thread_ends() {
    let start = || pool(2).start().expect("a pool");
    let pool = thread::spawn(start).join().expect("no panic");
    let before: Vec<_> = pool.workers().iter().map(|worker| worker.pid).collect();
    for n in 0..10 {
        assert_eq!(pool.run(Square(n)).expect("they live"), n * n);
    }
    let after: Vec<_> = pool.workers().iter().map(|worker| worker.pid).collect();
    assert_eq!(before, after);
    assert_eq!(pool.stats().restarts, 0);
}

fn no_zombies() {
    let pool = pool(3).capture_stderr().start().expect("a pool");
    for n in 0..30 {
        let error = pool.run(Act::Exit(n)).expect_err("it exits");
        assert_eq!(error.exit_code(), Some(n));
    }
    while pool.stats().workers < 3 {
        thread::yield_now();
    }
    let children = procfs::children(std::process::id());
    assert_eq!(children.len(), 3, "{children:?}");
    assert!(children.iter().all(|(_, state)| *state != 'Z'));
    drop(pool);
    assert!(procfs::children(std::process::id()).is_empty());
}

fn silent_program() {
    let start = pool(2)
        .env(ROLE, "silent")
        .start_timeout(Duration::from_millis(300))
        .start();
    let error = start.expect_err("nobody registers");
    assert!(error.is_unregistered() && !error.is_nested(), "{error}");
    let text = error.to_string();
    assert!(
        text.contains("300ms") && text.contains("serve_if_worker"),
        "{text}"
    );
}

fn program_that_ends() {
    let start = pool(1).env(ROLE, "ends").capture_stderr().start();
    let error = start.expect_err("nobody registers");
    let text = error.to_string();
    assert!(error.is_unregistered(), "{text}");
    assert!(
        text.contains("code 5") && text.contains("not today"),
        "{text}"
    );
}

fn program_with_other_jobs() {
    let start = pool(1).env(ROLE, "other").start();
    let error = start.expect_err("other jobs");
    let text = error.to_string();
    assert!(
        error.is_unregistered() && text.contains("[\"square\"]"),
        "{text}"
    );
}

fn descendants_start_no_pool() {
    let pool = pool(1).start().expect("a pool");
    let said = pool.run(Act::RunSelf("nested".to_owned()));
    let said = said.expect("an answer");
    assert!(said.starts_with("nested: true, no process pool"), "{said}");
}

fn workers_fail_later() {
    let directory = Directory::new("later");
    let file = directory.file("stop");
    let pool = pool(2).env(ROLE, format!("unless {file}")).start();
    let pool = pool.expect("a pool");
    fs::write(&file, "").expect("it can be written");
    for _ in 0..2 {
        let error = pool.run(Act::Exit(1)).expect_err("it exits");
        assert!(error.is_crash(), "{error}");
    }
    // Nobody is left. This one waits until the pool gives up; the next does not wait.
    for _ in 0..2 {
        let error = pool.run(Square(1)).expect_err("no worker");
        assert!(
            error.is_lost() && error.to_string().contains("code 6"),
            "{error}"
        );
    }
    assert_eq!(pool.stats().failed, 2);
}

fn workers_fail_for_a_while() {
    let directory = Directory::new("while");
    let file = directory.file("stop");
    let pool = pool(1).env(ROLE, format!("unless {file}")).start();
    let pool = pool.expect("a pool");
    fs::write(&file, "").expect("it can be written");
    pool.run(Act::Exit(1)).expect_err("it exits");
    let handle = pool.submit(Square(3));
    fs::remove_file(&file).expect("it is there");
    assert_eq!(handle.join().expect("a new worker"), 9);
}

fn impossible_argument() {
    let error = pool(1).arg("a\0b").start().expect_err("a zero");
    assert!(error.io_error().is_some(), "{error}");
}

fn fork_gets_errors() {
    let pool = pool(1).start().expect("a pool");
    // SAFETY: the child runs what a fork of a program with threads may not in general, but this one's other threads hold
    // no lock that it needs: the pool is idle.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        let error = pool.run(Square(2)).err();
        let is_lost = error.is_some_and(|error| error.is_lost());
        drop(pool);
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!is_lost)) };
    }
    let mut status = -1;
    // SAFETY: the status is written by the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    assert_eq!(status, 0);
    assert_eq!(pool.run(Square(2)).expect("the parent goes on"), 4);
}

/// The status of a child that runs `body`, and is killed after a while: it has one thread, and nobody else to watch it.
fn status_of_fork(body: impl FnOnce() -> bool) -> i32 {
    // SAFETY: as in `fork_gets_errors`, but for the locks, which `body` must not need.
    let pid = unsafe { libc::fork() };
    if pid == 0 {
        // SAFETY: takes a number.
        unsafe { libc::alarm(20) };
        let is_ok = body();
        // SAFETY: ends the child at once.
        unsafe { libc::_exit(i32::from(!is_ok)) };
    }
    let mut status = -1;
    // SAFETY: the status is written by the call.
    assert_eq!(unsafe { libc::waitpid(pid, &raw mut status, 0) }, pid);
    status
}

fn fork_joins_jobs_of_its_parent() {
    let pool = pool(1).start().expect("a pool");
    let done = pool.submit(Square(3));
    while !done.is_finished() {
        thread::yield_now();
    }
    let mut handles = Some([pool.submit(Act::Spin), pool.submit(Act::Spin)]);
    let status = status_of_fork(|| {
        let [running, queued] = handles.take().expect("they are there");
        let is_late = queued.join_timeout(Duration::MAX);
        done.join().is_ok_and(|square| square == 9)
            && running.join().is_err_and(|error| error.is_lost())
            && is_late.is_ok_and(|result| result.is_err_and(|error| error.is_lost()))
    });
    assert_eq!(status, 0);
    handles.into_iter().flatten().for_each(|job| job.abort());
}

fn fork_while_others_submit() {
    let pool = pool(1).start().expect("a pool");
    let stop = AtomicBool::new(false);
    thread::scope(|scope| {
        scope.spawn(|| {
            // ORDER: SeqCst, partner of the store below.
            while !stop.load(Ordering::SeqCst) {
                let _ = pool.stats();
            }
        });
        let mut statuses = Vec::new();
        for _ in 0..100 {
            statuses.push(status_of_fork(|| {
                let error = pool.run(Square(2)).err();
                let _ = (pool.stats(), pool.workers());
                error.is_some_and(|error| error.is_lost())
            }));
        }
        // ORDER: SeqCst, partner of the load above.
        stop.store(true, Ordering::SeqCst);
        assert_eq!(statuses, [0; 100]);
    });
}

fn no_descriptors_of_the_dead() {
    let pool = pool(2).capture_stderr().start().expect("a pool");
    let count = || {
        while pool.stats().workers < 2 {
            thread::yield_now();
        }
        procfs::descriptors(std::process::id()).len()
    };
    let before = count();
    for n in 0..200 {
        pool.run(Act::Signal(libc::SIGKILL)).expect_err("it dies");
        if n % 20 == 0 {
            assert_eq!(count(), before);
        }
    }
    assert_eq!(count(), before);
}

fn descriptors_run_out() {
    let pool = pool(1).start().expect("a pool");
    // SAFETY: the limits are written by the first call and read by the others.
    let limited = |soft: Option<u64>| unsafe {
        let mut limits: libc::rlimit = std::mem::zeroed();
        assert_eq!(libc::getrlimit(libc::RLIMIT_NOFILE, &raw mut limits), 0);
        let before = limits.rlim_cur;
        limits.rlim_cur = soft.unwrap_or(before);
        assert_eq!(libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limits), 0);
        before
    };
    let before = limited(Some(3));
    let died = pool.run(Act::Signal(libc::SIGKILL)).map(drop);
    let waits = pool.submit(Square(5));
    let early = waits.join_timeout(Duration::from_millis(10));
    limited(Some(before));
    assert_eq!(died.expect_err("it dies").signal(), Some(libc::SIGKILL));
    let waits = early.expect_err("no worker can be started");
    assert_eq!(waits.join().expect("now it can"), 25);
}
