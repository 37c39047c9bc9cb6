//! Children that tests look at.

use std::io::{BufRead, BufReader};
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

/// A child, killed when it goes out of scope.
pub(crate) struct Target(pub(crate) Child);

impl Target {
    /// Starts a program and waits until it says that it is ready.
    pub(crate) fn start(command: &mut Command) -> Target {
        let child = command
            .stdin(Stdio::piped())
            .stdout(Stdio::piped())
            .stderr(Stdio::null())
            .spawn()
            .expect("the program can be started");
        let mut target = Target(child);
        let stdout = target.0.stdout.take().expect("stdout is piped");
        let mut line = String::new();
        BufReader::new(stdout).read_line(&mut line).expect("a pipe");
        assert_eq!(line, "ready\n");
        target
    }

    pub(crate) fn pid(&self) -> u32 {
        self.0.id()
    }
}

impl Drop for Target {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

/// An example of this crate as cargo built it.
pub(crate) fn example(name: &str) -> PathBuf {
    let me = std::env::current_exe().expect("the path of this test");
    let directory = me.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let path = directory.join("examples").join(name);
    assert!(
        path.exists(),
        "build it: cargo build -p brigade-observe --examples"
    );
    path
}

/// Asks again and again until the answer is good enough; the last answer otherwise fails the test.
pub(crate) fn until<T: std::fmt::Debug>(ask: impl Fn() -> T, is_good: impl Fn(&T) -> bool) -> T {
    let begun = Instant::now();
    loop {
        let answer = ask();
        if is_good(&answer) {
            return answer;
        }
        assert!(begun.elapsed() < Duration::from_secs(60), "{answer:#?}");
        std::thread::sleep(Duration::from_millis(10));
    }
}
