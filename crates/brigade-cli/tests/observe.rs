//! `inspect` and `advise` from outside: exit codes, streams, JSON, signals, the terminal.

use std::fs::File;
use std::io::Read;
use std::os::fd::{FromRawFd, OwnedFd};
use std::process::{Child, Command, ExitStatus, Output, Stdio};
use std::time::{Duration, Instant};

use serde_json::Value;

/// Long enough for any answer on a busy machine.
const PATIENCE: Duration = Duration::from_secs(60);

fn brigade(arguments: &[&str]) -> Command {
    let mut command = Command::new(env!("CARGO_BIN_EXE_brigade"));
    command
        .args(arguments)
        .env_remove("NO_COLOR")
        .env_remove("CLICOLOR_FORCE")
        .stdin(Stdio::null());
    command
}

fn run(arguments: &[&str]) -> Output {
    brigade(arguments).output().expect("the program starts")
}

fn text(bytes: &[u8]) -> &str {
    std::str::from_utf8(bytes).expect("UTF-8")
}

fn json(bytes: &[u8]) -> Value {
    serde_json::from_slice(bytes).unwrap_or_else(|error| panic!("{error}: {}", text(bytes)))
}

#[track_caller]
fn assert_refused(arguments: &[&str], code: i32, word: &str) {
    let output = run(arguments);
    assert_eq!(
        output.status.code(),
        Some(code),
        "{arguments:?}: {output:?}"
    );
    assert_eq!(text(&output.stdout), "", "{arguments:?}");
    let note = text(&output.stderr);
    assert!(note.starts_with("error: ") && note.contains(word), "{note}");
    if code == 3 {
        assert_eq!(note.lines().count(), 1, "{note}");
    }
}

/// A child that does nothing, killed at the end.
struct Idle(Child);

impl Idle {
    fn start() -> Idle {
        Idle(Command::new("sleep").arg("600").spawn().expect("sleep"))
    }

    fn pid(&self) -> String {
        self.0.id().to_string()
    }
}

impl Drop for Idle {
    fn drop(&mut self) {
        let _ = self.0.kill();
        let _ = self.0.wait();
    }
}

fn send(child: &Child, signal: libc::c_int) {
    let pid = libc::pid_t::try_from(child.id()).unwrap();
    // SAFETY: kill takes two numbers; the child has not been waited for.
    assert_eq!(unsafe { libc::kill(pid, signal) }, 0);
}

#[track_caller]
fn wait(child: &mut Child) -> ExitStatus {
    let begun = Instant::now();
    loop {
        if let Some(status) = child.try_wait().unwrap() {
            return status;
        }
        if begun.elapsed() > PATIENCE {
            let _ = child.kill();
            panic!("it does not end");
        }
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn bad_numbers_are_usage_errors_and_processes_that_are_not_there_no_answer() {
    for pid in ["0", "-1", "x", "99999999999999"] {
        assert_refused(&["inspect", pid], 2, "");
        assert_refused(&["advise", pid], 2, "");
    }
    assert_refused(&["inspect"], 2, "PID");
    assert_refused(&["advise"], 2, "PID");
    assert_refused(&["inspect", "1", "--interval", "0.1"], 2, "0.25");
    assert_refused(&["inspect", "2147483647"], 3, "no process 2147483647");
    assert_refused(&["advise", "2147483647"], 3, "no process 2147483647");
    assert_refused(&["advise", "--", "/nonexistent/x"], 3, "/nonexistent/x");
}

#[test]
fn inspect_shows_a_process_in_80_columns() {
    let idle = Idle::start();
    let output = run(&["inspect", &idle.pid(), "--interval", "0.25"]);
    assert_eq!(output.status.code(), Some(0), "{output:?}");
    let page = text(&output.stdout);
    assert!(
        page.contains("sleep 600") && page.contains("nanosleep"),
        "{page}"
    );
    assert!(page.contains("inspect itself:"), "{page}");
    assert!(
        page.lines().all(|line| line.chars().count() <= 80),
        "{page}"
    );
    assert!(!page.contains("Green"), "{page}");
}

#[test]
fn inspect_writes_one_document_with_a_version() {
    let idle = Idle::start();
    let output = run(&["inspect", &idle.pid(), "--interval", "0.25", "--json"]);
    let document = json(&output.stdout);
    assert_eq!(document["schema_version"], brigade_observe::SCHEMA_VERSION);
    assert_eq!(document["process"]["name"], "sleep");
    assert_eq!(document["groups"][0]["state"], "S");
    assert_eq!(document["green"]["status"], "not_brigade");
    assert_eq!(document["each"], Value::Null);
    let output = run(&[
        "inspect",
        &idle.pid(),
        "--interval",
        "0.25",
        "--json",
        "--all",
    ]);
    assert_eq!(json(&output.stdout)["each"].as_array().unwrap().len(), 1);
}

#[test]
fn inspect_shows_the_green_threads_of_this_very_test() {
    let mut senders = Vec::new();
    for _ in 0..300 {
        let (sender, receiver) = std::sync::mpsc::channel::<()>();
        senders.push(sender);
        let wait = move || receiver.recv();
        brigade::thread::Builder::new()
            .spawn(wait)
            .expect("a thread");
    }
    let pid = std::process::id().to_string();
    let begun = Instant::now();
    let document = loop {
        let output = run(&["inspect", &pid, "--interval", "0.25", "--json"]);
        let document = json(&output.stdout);
        let group = &document["green"]["groups"][0];
        if group["count"] == 300 && group["state"] == "Waiting(futex)" {
            break document;
        }
        assert!(begun.elapsed() < PATIENCE, "{document:#}");
    };
    let place = &document["green"]["groups"][0]["spawned_at"];
    assert!(
        place.as_str().unwrap().contains("tests/observe.rs:"),
        "{place}"
    );
    let output = run(&["inspect", &pid, "--interval", "0.25"]);
    let page = text(&output.stdout);
    assert!(page.contains("300 Waiting(futex)"), "{page}");
    assert!(
        page.lines().all(|line| line.chars().count() <= 80),
        "{page}"
    );
    assert!(page.lines().count() < 40, "{page}");
}

#[test]
fn a_watched_process_that_ends_is_told_and_ends_the_pages() {
    let mut idle = Idle::start();
    let mut inspect = brigade(&[
        "inspect",
        &idle.pid(),
        "--watch",
        "--interval",
        "0.25",
        "--json",
    ])
    .stdout(Stdio::piped())
    .stderr(Stdio::piped())
    .spawn()
    .unwrap();
    let mut pages = std::io::BufReader::new(inspect.stdout.take().unwrap());
    for _ in 0..2 {
        let mut line = String::new();
        std::io::BufRead::read_line(&mut pages, &mut line).unwrap();
        assert_eq!(json(line.as_bytes())["process"]["name"], "sleep");
    }
    idle.0.kill().unwrap();
    idle.0.wait().unwrap();
    let mut rest = String::new();
    pages.read_to_string(&mut rest).unwrap();
    assert!(wait(&mut inspect).success());
    let mut note = String::new();
    inspect
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut note)
        .unwrap();
    assert!(note.contains("has ended"), "{note}");
}

#[test]
fn ctrl_c_shows_what_was_seen_and_exits_with_130() {
    let idle = Idle::start();
    for arguments in [
        &["inspect", &idle.pid(), "--interval", "600"][..],
        &["advise", &idle.pid(), "--seconds", "600"],
    ] {
        let mut child = brigade(arguments).stdout(Stdio::piped()).spawn().unwrap();
        wait_until_caught(&child);
        send(&child, libc::SIGINT);
        assert_eq!(wait(&mut child).code(), Some(130), "{arguments:?}");
        let mut page = String::new();
        child
            .stdout
            .take()
            .unwrap()
            .read_to_string(&mut page)
            .unwrap();
        assert!(page.contains(&idle.pid()), "{page}");
    }
}

/// Until the program catches SIGINT.
fn wait_until_caught(child: &Child) {
    let begun = Instant::now();
    loop {
        let status = std::fs::read_to_string(format!("/proc/{}/status", child.id())).unwrap();
        let caught = status.lines().find_map(|line| line.strip_prefix("SigCgt:"));
        let caught = u64::from_str_radix(caught.unwrap().trim(), 16).unwrap();
        if caught & 1 << (libc::SIGINT - 1) != 0 {
            return;
        }
        assert!(begun.elapsed() < PATIENCE);
        std::thread::sleep(Duration::from_millis(10));
    }
}

#[test]
fn a_terminal_is_redrawn_and_given_back() {
    let idle = Idle::start();
    let (mut master, mut slave) = (0, 0);
    let size = libc::winsize {
        ws_row: 24,
        ws_col: 80,
        ws_xpixel: 0,
        ws_ypixel: 0,
    };
    // SAFETY: both numbers and the size are places that live; null means no name and the usual settings.
    let opened = unsafe {
        libc::openpty(
            &mut master,
            &mut slave,
            std::ptr::null_mut(),
            std::ptr::null(),
            &size,
        )
    };
    assert_eq!(opened, 0);
    // SAFETY: the kernel has just made both, for nobody else.
    let (master, slave) = unsafe { (OwnedFd::from_raw_fd(master), OwnedFd::from_raw_fd(slave)) };
    let mut inspect = brigade(&["inspect", &idle.pid(), "--watch", "--interval", "0.25"])
        .stdout(slave)
        .spawn()
        .unwrap();
    let mut terminal = File::from(master);
    let mut seen = Vec::new();
    let mut buffer = [0; 4096];
    let count = |seen: &[u8]| String::from_utf8_lossy(seen).matches("\x1b[H").count();
    while count(&seen) < 3 {
        let read = terminal.read(&mut buffer).unwrap();
        seen.extend_from_slice(&buffer[..read]);
    }
    send(&inspect, libc::SIGINT);
    assert_eq!(wait(&mut inspect).code(), Some(130));
    // The terminal is closed at the other end: what is left is read until the error that says so.
    while let Ok(read @ 1..) = terminal.read(&mut buffer) {
        seen.extend_from_slice(&buffer[..read]);
    }
    let seen = String::from_utf8_lossy(&seen);
    let (pages, after) = seen
        .rsplit_once("\x1b[?25h\x1b[?1049l")
        .expect("the screen comes back");
    assert!(pages.starts_with("\x1b[?1049h\x1b[?25l"), "{pages:?}");
    assert!(
        after.contains("nanosleep"),
        "the last page stays: {after:?}"
    );
}

#[test]
fn the_output_of_a_command_goes_through_and_its_exit_code_is_told() {
    let output = run(&[
        "advise",
        "--",
        "sh",
        "-c",
        "echo hello; echo oops >&2; exit 7",
    ]);
    assert_eq!(
        output.status.code(),
        Some(3),
        "too short for advice: {output:?}"
    );
    let page = text(&output.stdout);
    assert!(page.starts_with("hello\n"), "{page}");
    assert!(
        page.contains("exit code 7") && page.contains("NOT ENOUGH DATA"),
        "{page}"
    );
    assert!(
        page.lines().all(|line| line.chars().count() <= 80),
        "{page}"
    );
    assert!(text(&output.stderr).contains("oops"));
}

#[test]
fn with_json_the_document_stands_alone_on_standard_output() {
    let output = run(&[
        "advise",
        "--json",
        "--",
        "sh",
        "-c",
        "echo hello; kill -9 $$",
    ]);
    let document = json(&output.stdout);
    assert_eq!(document["schema_version"], brigade_observe::SCHEMA_VERSION);
    assert_eq!(
        (&document["signal"], &document["exit_code"]),
        (&Value::from(9), &Value::Null)
    );
    assert_eq!(document["advice"]["model"], "not_enough_data");
    assert!(text(&output.stderr).contains("hello"));
}

#[test]
fn a_command_that_computes_gets_advice_and_ends_with_the_program_on_ctrl_c() {
    let loops = "echo $$ >&2; (while :; do :; done) & while :; do :; done";
    let mut advise = brigade(&["advise", "--", "sh", "-c", loops])
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut first = String::new();
    let mut notes = std::io::BufReader::new(advise.stderr.take().unwrap());
    std::io::BufRead::read_line(&mut notes, &mut first).unwrap();
    let shell = first.trim().to_owned();
    wait_until_caught(&advise);
    // Only the program is told, so it has to end the command and its child.
    let children = format!("/proc/{shell}/task/{shell}/children");
    let begun = Instant::now();
    let child = loop {
        let list = std::fs::read_to_string(&children).unwrap();
        if let Some(child) = list.split_whitespace().next() {
            break child.to_owned();
        }
        assert!(begun.elapsed() < PATIENCE);
    };
    send(&advise, libc::SIGINT);
    assert_eq!(wait(&mut advise).code(), Some(130));
    let mut page = String::new();
    advise
        .stdout
        .take()
        .unwrap()
        .read_to_string(&mut page)
        .unwrap();
    assert!(
        page.contains("interrupted") && page.contains("Advice"),
        "{page}"
    );
    for pid in [shell, child] {
        let begun = Instant::now();
        let is_alive = || {
            let stat = std::fs::read_to_string(format!("/proc/{pid}/stat")).unwrap_or_default();
            !stat.is_empty() && !stat.contains(") Z ")
        };
        while is_alive() {
            assert!(begun.elapsed() < PATIENCE, "process {pid} is left");
            std::thread::sleep(Duration::from_millis(10));
        }
    }
}

#[test]
fn after_the_advice_a_command_goes_on_and_its_end_is_told() {
    let script = "while [ ! -e \"$GO\" ]; do sleep 0.05; done; exit 5";
    let go = std::env::temp_dir().join(format!("brigade-go-{}", std::process::id()));
    let mut advise = brigade(&["advise", "--seconds", "0.6", "--", "sh", "-c", script])
        .env("GO", &go)
        .stdout(Stdio::piped())
        .stderr(Stdio::piped())
        .spawn()
        .unwrap();
    let mut page = String::new();
    let mut pages = std::io::BufReader::new(advise.stdout.take().unwrap());
    while !page.contains("Decision table") {
        let read = std::io::BufRead::read_line(&mut pages, &mut page).unwrap();
        assert!(read > 0, "{page}");
    }
    assert!(page.contains("it goes on"), "{page}");
    std::fs::write(&go, "").unwrap();
    wait(&mut advise);
    std::fs::remove_file(&go).unwrap();
    let mut notes = String::new();
    advise
        .stderr
        .take()
        .unwrap()
        .read_to_string(&mut notes)
        .unwrap();
    assert!(notes.contains("ended with exit code 5"), "{notes}");
}

#[test]
fn a_command_is_not_left_behind_when_nobody_reads_the_advice() {
    let mark = std::env::temp_dir().join(format!("brigade-left-{}", std::process::id()));
    let script = "sleep 1; : > \"$MARK\"";
    let (reader, writer) = std::io::pipe().unwrap();
    drop(reader);
    let mut advise = brigade(&["advise", "--seconds", "0.1", "--", "sh", "-c", script]);
    let mut advise = advise.env("MARK", &mark).stdout(writer).spawn().unwrap();
    wait(&mut advise);
    let is_left = std::fs::remove_file(&mark).is_err();
    assert!(!is_left, "the program ended before its command");
}
