//! A server process that cannot outlive the kernel thread that started it.

use std::fs::File;
use std::io;
use std::os::unix::process::CommandExt;
use std::path::Path;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// How long a server may take to be ready, in seconds.
const READY_WITHIN_SECONDS: u64 = 60;

/// How long a server may take to end before it is killed, in seconds.
const END_WITHIN_SECONDS: u64 = 10;

/// The pause between two looks at a server that starts or ends.
const LOOK_EVERY: Duration = Duration::from_millis(10);

/// A running server process.
#[derive(Debug)]
pub(super) struct Daemon {
    child: Child,
    /// The signal that ends the server and what it has forked at once.
    end_signal: i32,
}

impl Daemon {
    /// Starts the server, its output in the file `log`, and waits until `ready` says so.
    ///
    /// `end_signal` is sent to it on drop, and by the kernel when the calling kernel thread dies.
    ///
    /// # Errors
    ///
    /// The end of the log, if the server ends before it is ready or is not ready in time.
    pub(super) fn start(
        mut command: Command,
        log: &Path,
        end_signal: i32,
        ready: impl Fn() -> bool,
    ) -> Result<Daemon, String> {
        let output = File::create(log).expect("a log in the data directory");
        let errors = output.try_clone().expect("a second handle of the log");
        command
            .stdin(Stdio::null())
            .stdout(output)
            .stderr(errors)
            .process_group(0);
        die_with_parent(&mut command, end_signal);
        let child = command
            .spawn()
            .unwrap_or_else(|error| panic!("{command:?}: {error}"));
        let mut daemon = Daemon { child, end_signal };
        let deadline = Instant::now() + Duration::from_secs(READY_WITHIN_SECONDS);
        while !ready() {
            let ended = daemon.child.try_wait().expect("a child of this process");
            if ended.is_some() || Instant::now() > deadline {
                let said = std::fs::read_to_string(log).unwrap_or_default();
                return Err(format!("{command:?}: {ended:?}: {said}"));
            }
            std::thread::sleep(LOOK_EVERY);
        }
        Ok(daemon)
    }
}

impl Drop for Daemon {
    fn drop(&mut self) {
        if !matches!(self.child.try_wait(), Ok(None)) {
            return;
        }
        let pid = i32::try_from(self.child.id()).expect("a pid fits in an i32");
        // SAFETY: kill takes two numbers; the child has not been waited for, so its number is not used again.
        unsafe { libc::kill(pid, self.end_signal) };
        let deadline = Instant::now() + Duration::from_secs(END_WITHIN_SECONDS);
        while let Ok(None) = self.child.try_wait() {
            if Instant::now() > deadline {
                let _ = self.child.kill();
            }
            std::thread::sleep(LOOK_EVERY);
        }
    }
}

/// Lets the kernel send `signal` to the child when the calling kernel thread dies, however it dies.
fn die_with_parent(command: &mut Command, signal: i32) {
    let parent = std::process::id();
    let ask = move || {
        // SAFETY: prctl and getppid take numbers and are async-signal-safe.
        let orphan = unsafe {
            if libc::prctl(libc::PR_SET_PDEATHSIG, signal) != 0 {
                return Err(io::Error::last_os_error());
            }
            libc::getppid().cast_unsigned() != parent
        };
        if orphan {
            return Err(io::Error::from_raw_os_error(libc::ESRCH));
        }
        Ok(())
    };
    // SAFETY: the closure allocates nothing, takes no lock and makes only async-signal-safe calls. It runs after the
    // change of user, which would clear the setting.
    unsafe { command.pre_exec(ask) };
}
