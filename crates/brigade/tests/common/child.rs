//! Checks that may abort, hang or change the process run in a child: this same test binary, told to run one test.
//!
//! The test function is entered twice. In the parent, [`run`] starts the child and returns how it ended. In the
//! child, [`run`] calls the body and ends the process with success when the body returns.

use std::io::{BufReader, Read};
use std::os::fd::{AsRawFd, FromRawFd, OwnedFd};
use std::os::unix::process::{CommandExt, ExitStatusExt};
use std::process::{Child, ChildStdout, Command, ExitStatus, Stdio};
use std::thread::JoinHandle;

/// Names the test whose body this process is to run.
const ROLE: &str = "BRIGADE_TEST_CHILD";

/// A child that runs longer than this is killed, in seconds; only [`run_or_hang`] accepts that as an outcome.
const KILL_AFTER_SECONDS: i32 = 90;

/// How a child process ended.
#[derive(Debug)]
pub(crate) struct Ended {
    /// `None` if the child had to be killed.
    status: Option<ExitStatus>,
    pub(crate) stdout: String,
    pub(crate) stderr: String,
}

impl Ended {
    /// The child reached the end of its body.
    pub(crate) fn succeeded(&self) -> bool {
        self.status.is_some_and(|status| status.success())
    }

    /// The child had to be killed.
    pub(crate) fn hung(&self) -> bool {
        self.status.is_none()
    }

    /// The exit code, if the child left by `exit`.
    pub(crate) fn code(&self) -> Option<i32> {
        self.status.and_then(|status| status.code())
    }

    /// The signal that ended the child, if one did.
    pub(crate) fn signal(&self) -> Option<i32> {
        self.status.and_then(|status| status.signal())
    }

    #[track_caller]
    pub(crate) fn assert_success(&self) {
        assert!(self.succeeded(), "the child failed: {self:#?}");
    }

    /// The child aborted, and its message holds each of `words`.
    #[track_caller]
    pub(crate) fn assert_aborted_saying(&self, words: &[&str]) {
        assert_eq!(
            self.signal(),
            Some(libc::SIGABRT),
            "the child did not abort: {self:#?}"
        );
        for word in words {
            assert!(
                self.stderr.contains(word),
                "the message does not name {word:?}: {self:#?}"
            );
        }
    }
}

/// Runs `body` in a child process with `variables` set, and fails the test if the child hangs.
///
/// `test` is the full name of the calling test function, as `cargo test -- --list` prints it.
#[track_caller]
pub(crate) fn run(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Ended {
    let ended = run_or_hang(test, variables, body);
    assert!(
        !ended.hung(),
        "the child did not end within {KILL_AFTER_SECONDS} s: {ended:#?}"
    );
    ended
}

/// As [`run`], but a hang is one more way to end.
pub(crate) fn run_or_hang(test: &str, variables: &[(&str, &str)], body: impl FnOnce()) -> Ended {
    let mut command = command_unless_child(test, body);
    command.envs(variables.iter().copied());
    wait(command)
}

/// A child that the parent talks to while it runs; killed when it goes out of scope.
pub(crate) struct Running {
    pub(crate) process: Child,
    pub(crate) output: BufReader<ChildStdout>,
}

impl Drop for Running {
    fn drop(&mut self) {
        // It may have ended already.
        let _ = self.process.kill();
        let _ = self.process.wait();
    }
}

/// As [`run`], but returns while the child runs. What it says on standard error is shown.
pub(crate) fn start(test: &str, body: impl FnOnce()) -> Running {
    let mut process = command_unless_child(test, body)
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .spawn()
        .expect("a child process can be started");
    let output = BufReader::new(process.stdout.take().expect("stdout is piped"));
    Running { process, output }
}

/// In the child: runs the body and ends the process. In the parent: the command that starts the child.
fn command_unless_child(test: &str, body: impl FnOnce()) -> Command {
    if std::env::var(ROLE).is_ok_and(|role| role == test) {
        body();
        let _ = std::io::Write::flush(&mut std::io::stdout());
        // Not `process::exit`: its clean-up of the main thread's signal stack can meet a signal that glibc still
        // handles there after a change of ids.
        // SAFETY: ends the process; nothing of it is needed any more.
        unsafe { libc::_exit(0) };
    }
    let mut command = Command::new(std::env::current_exe().expect("the path of this test binary"));
    command
        .args([test, "--exact", "--nocapture", "--include-ignored"])
        .env(ROLE, test);
    command
}

/// Runs any command with the same time limit and the same report.
pub(crate) fn wait(mut command: Command) -> Ended {
    // A process group of its own, so that what the child forked is killed with it.
    command
        .stdin(Stdio::null())
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .process_group(0);
    let mut child = command.spawn().expect("a child process can be started");
    let stdout = collect(child.stdout.take().expect("stdout is piped"));
    let stderr = collect(child.stderr.take().expect("stderr is piped"));
    let status = end(&mut child);
    let text = |reader: JoinHandle<String>| reader.join().expect("the reader does not panic");
    Ended {
        status,
        stdout: text(stdout),
        stderr: text(stderr),
    }
}

/// Reads a pipe to its end on a kernel thread.
fn collect(mut pipe: impl Read + Send + 'static) -> JoinHandle<String> {
    std::thread::spawn(move || {
        let mut bytes = Vec::new();
        pipe.read_to_end(&mut bytes).expect("a pipe can be read");
        String::from_utf8_lossy(&bytes).into_owned()
    })
}

/// Waits for the child and kills what is left of its process group; `None` if the time was up.
fn end(child: &mut Child) -> Option<ExitStatus> {
    let pid = i32::try_from(child.id()).expect("a pid fits in an i32");
    // SAFETY: pidfd_open takes two numbers and returns a new descriptor or -1.
    let fd = unsafe { libc::syscall(libc::SYS_pidfd_open, pid, 0) };
    let fd = i32::try_from(fd).expect("a descriptor fits in an i32");
    assert!(
        fd >= 0,
        "pidfd_open({pid}): {}",
        std::io::Error::last_os_error()
    );
    // SAFETY: `fd` was just returned by the kernel and belongs to nobody else.
    let pidfd = unsafe { OwnedFd::from_raw_fd(fd) };
    let mut poll = libc::pollfd {
        fd: pidfd.as_raw_fd(),
        events: libc::POLLIN,
        revents: 0,
    };
    // SAFETY: one valid pollfd is passed with count one.
    let ready = unsafe { libc::poll(&mut poll, 1, KILL_AFTER_SECONDS * 1000) };
    // SAFETY: kill takes two numbers; the group is the child's own, because it was started with `process_group(0)`,
    // and the child has not been waited for, so its number is not used again.
    unsafe { libc::kill(-pid, libc::SIGKILL) };
    let status = child.wait().expect("the child can be waited for");
    (ready == 1).then_some(status)
}
