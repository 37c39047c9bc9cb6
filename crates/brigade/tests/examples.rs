//! The example programs do what their first lines say, run as a user would run them.

mod common;

use std::io::{BufRead, BufReader, Read, Write};
use std::net::{Shutdown, SocketAddr, TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::process::CommandExt;
use std::path::PathBuf;
use std::process::{Child, Command, Stdio};
use std::time::{Duration, Instant};

use common::{Watch, child};

/// Long enough for any answer on a busy machine; a peer that never answers fails the test instead of hanging it.
const PATIENCE: Duration = Duration::from_secs(60);

/// A running example, killed when it goes out of scope.
struct Example {
    child: Child,
    address: SocketAddr,
}

impl Example {
    /// Starts an example on a port that is free and waits until it listens.
    fn start(name: &str, more_arguments: &[&str]) -> Example {
        let mut command = command(name);
        command.arg("127.0.0.1:0").args(more_arguments);
        Example::start_command(command)
    }

    fn start_command(mut command: Command) -> Example {
        let mut child = command
            .stdin(Stdio::null())
            .stdout(Stdio::piped())
            .spawn()
            .expect("an example can be started");
        let mut line = String::new();
        BufReader::new(child.stdout.take().expect("stdout is piped"))
            .read_line(&mut line)
            .expect("a pipe can be read");
        let address = line.strip_prefix("listening on ").map(str::trim);
        let address = address.and_then(|address| address.parse().ok());
        let address = address.unwrap_or_else(|| panic!("the example says {line:?}"));
        Example { child, address }
    }

    fn connect(&self) -> TcpStream {
        let stream = TcpStream::connect(self.address).expect("the example listens");
        stream
            .set_read_timeout(Some(PATIENCE))
            .expect("a timeout can be set");
        stream.set_nodelay(true).expect("a TCP socket");
        stream
    }
}

impl Drop for Example {
    fn drop(&mut self) {
        let _ = self.child.kill();
        let _ = self.child.wait();
    }
}

/// The example as cargo built it, next to this test.
fn command(name: &str) -> Command {
    let me = std::env::current_exe().expect("the path of this test binary");
    let directory = me.ancestors().nth(2).expect("it is in target/PROFILE/deps");
    let path: PathBuf = directory.join("examples").join(name);
    assert!(
        path.exists(),
        "{} is not there; build it with `cargo build -p brigade --examples`",
        path.display()
    );
    Command::new(path)
}

fn assert_echoes(stream: &mut TcpStream, text: &[u8]) {
    stream.write_all(text).expect("the example reads");
    let mut answer = vec![0; text.len()];
    stream
        .read_exact(&mut answer)
        .expect("the example answers in time");
    assert!(answer == text, "the answer differs from what was sent");
}

fn read_to_end(stream: &mut TcpStream) -> String {
    let mut text = String::new();
    stream
        .read_to_string(&mut text)
        .expect("the example answers and closes");
    text
}

#[test]
fn bad_arguments_are_told_in_one_line_with_exit_code_2() {
    let all = [
        ("echo", vec!["nonsense"]),
        ("echo", vec!["127.0.0.1:0", "more"]),
        ("http_hello", vec!["127.0.0.1:99999"]),
        ("proxy", vec!["127.0.0.1:0", "nonsense"]),
        ("proxy", vec!["nonsense"]),
        ("crawler", vec![""]),
        ("chat", vec!["--help"]),
    ];
    for (name, arguments) in all {
        let mut command = command(name);
        command.args(&arguments);
        let ended = child::wait(command);
        assert_eq!(ended.code(), Some(2), "{name} {arguments:?}: {ended:#?}");
        assert_eq!(ended.stdout, "", "{name} {arguments:?}");
        let told = ended.stderr.starts_with(&format!("{name}: "))
            && ended.stderr.contains("usage: ")
            && ended.stderr.lines().count() == 1;
        assert!(told, "{name} {arguments:?}: {}", ended.stderr);
    }
}

#[test]
fn the_readme_shows_the_echo_example_as_it_is() {
    let readme = include_str!("../../../README.md");
    assert!(readme.contains(include_str!("../examples/echo.rs")));
}

#[test]
fn echo_answers_many_connections_at_once() {
    let _watch = Watch::new("echo");
    let echo = Example::start("echo", &[]);
    let mut streams: Vec<_> = (0..100).map(|_| echo.connect()).collect();
    for round in 0..3 {
        for (index, stream) in streams.iter_mut().enumerate() {
            assert_echoes(stream, format!("{round} {index}").as_bytes());
        }
    }
    let long: Vec<u8> = (0..30_000).map(|index| (index % 251) as u8).collect();
    assert_echoes(&mut streams[7], &long);
    let mut last = streams.pop().expect("there are 100");
    last.write_all(b"rest").expect("the example reads");
    last.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(read_to_end(&mut last), "rest");
}

#[test]
fn echo_goes_on_after_it_ran_out_of_descriptors() {
    const DESCRIPTORS: u64 = 32;
    let _watch = Watch::new("echo with few descriptors");
    let mut command = command("echo");
    command.arg("127.0.0.1:0").stderr(Stdio::null());
    // SAFETY: setrlimit is async-signal-safe and the limit is a valid structure.
    unsafe {
        command.pre_exec(|| {
            let limit = libc::rlimit {
                rlim_cur: DESCRIPTORS,
                rlim_max: DESCRIPTORS,
            };
            match libc::setrlimit(libc::RLIMIT_NOFILE, &raw const limit) {
                0 => Ok(()),
                _ => Err(std::io::Error::last_os_error()),
            }
        });
    }
    let echo = Example::start_command(command);
    let mut streams: Vec<_> = (0..3 * DESCRIPTORS).map(|_| echo.connect()).collect();
    for stream in &mut streams {
        stream.write_all(b"x").expect("the kernel takes a byte");
    }
    // Each answer frees a descriptor for one that waits in the backlog.
    for mut stream in streams {
        let mut answer = [0];
        stream
            .read_exact(&mut answer)
            .expect("every connection is served in the end");
        assert_eq!(&answer, b"x");
    }
}

#[test]
fn http_hello_keeps_connections_alive_and_closes_when_asked_to() {
    const GET: &[u8] = b"GET / HTTP/1.1\r\nhost: x\r\n\r\n";
    const HELLO: &str = "HTTP/1.1 200 OK\r\ncontent-length: 13\r\n\r\nHello, World!";
    let _watch = Watch::new("http_hello");
    let server = Example::start("http_hello", &[]);
    let mut kept = server.connect();
    for _ in 0..3 {
        assert_answers(&mut kept, GET, HELLO);
    }
    // Two requests at once, and one that comes in pieces.
    assert_answers(&mut kept, &[GET, GET].concat(), &[HELLO, HELLO].concat());
    kept.write_all(&GET[..5]).expect("the example reads");
    assert_answers(&mut kept, &GET[5..], HELLO);

    for closing in [
        "GET / HTTP/1.1\r\nConnection: close\r\n\r\n",
        "GET / HTTP/1.0\r\n\r\n",
    ] {
        let mut stream = server.connect();
        stream
            .write_all(closing.as_bytes())
            .expect("the example reads");
        assert_eq!(read_to_end(&mut stream), HELLO, "{closing}");
    }
}

#[test]
fn http_hello_refuses_what_is_not_http() {
    let _watch = Watch::new("http_hello with bad requests");
    let server = Example::start("http_hello", &[]);
    for bad in ["\u{1}\u{2}\r\n\r\n".to_owned(), "A".repeat(8192)] {
        let mut stream = server.connect();
        stream.write_all(bad.as_bytes()).expect("the example reads");
        assert!(read_to_end(&mut stream).starts_with("HTTP/1.1 400 "));
    }
}

fn assert_answers(stream: &mut TcpStream, request: &[u8], answer: &str) {
    stream.write_all(request).expect("the example reads");
    let mut got = vec![0; answer.len()];
    stream
        .read_exact(&mut got)
        .expect("the example answers in time");
    assert_eq!(String::from_utf8_lossy(&got), answer);
}

#[test]
fn proxy_passes_on_both_directions_and_the_end_of_each() {
    let _watch = Watch::new("proxy");
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = upstream.local_addr().expect("it is bound").to_string();
    let proxy = Example::start("proxy", &[&address]);
    let mut client = proxy.connect();
    let (mut server, _) = upstream.accept().expect("the proxy connects");
    server
        .set_read_timeout(Some(PATIENCE))
        .expect("a timeout can be set");
    client.write_all(b"question").expect("the proxy reads");
    client.shutdown(Shutdown::Write).expect("it is connected");
    assert_eq!(read_to_end(&mut server), "question");
    // The client has closed its half; the other is still open.
    let long = "answer".repeat(50_000);
    server
        .write_all(long.as_bytes())
        .expect("the proxy still reads");
    drop(server);
    assert!(read_to_end(&mut client) == long, "the answer was changed");
}

#[test]
fn proxy_closes_connections_that_lead_nowhere_and_goes_on() {
    let _watch = Watch::new("proxy without upstream");
    let upstream = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = upstream.local_addr().expect("it is bound");
    drop(upstream);
    let mut command = command("proxy");
    command.args(["127.0.0.1:0", &address.to_string()]);
    let proxy = Example::start_command({
        command.stderr(Stdio::null());
        command
    });
    for _ in 0..3 {
        assert_eq!(read_to_end(&mut proxy.connect()), "");
    }
}

#[test]
fn crawler_finds_every_page_many_at_a_time() {
    let start = Instant::now();
    let ended = child::wait(command("crawler"));
    ended.assert_success();
    assert_eq!(ended.stdout.lines().last(), Some("300 pages"), "{ended:#?}");
    // One page after the other takes 300 times 20 ms.
    assert!(
        start.elapsed() < Duration::from_secs(3),
        "{:?}",
        start.elapsed()
    );
}

/// A client of the chat, by lines.
struct Talker {
    input: BufReader<TcpStream>,
    name: String,
}

impl Talker {
    /// Joins and waits until the chat has said so.
    fn join(chat: &Example) -> Talker {
        let stream = chat.connect();
        let name = stream.local_addr().expect("it is connected").to_string();
        let mut talker = Talker {
            input: BufReader::new(stream),
            name,
        };
        while talker.hear() != format!("{} is here", talker.name) {}
        talker
    }

    fn say(&self, text: &str) {
        let line = format!("{text}\n");
        let mut stream = self.input.get_ref();
        stream.write_all(line.as_bytes()).expect("the chat reads");
    }

    fn hear(&mut self) -> String {
        let mut line = String::new();
        let length = self.input.read_line(&mut line);
        assert!(length.expect("the chat talks in time") > 0, "thrown out");
        line.trim_end().to_owned()
    }
}

#[test]
fn chat_tells_everybody_every_line_in_order() {
    let _watch = Watch::new("chat");
    let chat = Example::start("chat", &[]);
    let mut talkers: Vec<_> = (0..10).map(|_| Talker::join(&chat)).collect();
    for index in 0..talkers.len() {
        let (first, second) = (format!("{index} one"), format!("{index} two"));
        talkers[index].say(&first);
        talkers[index].say(&second);
        let name = talkers[index].name.clone();
        for talker in &mut talkers {
            let mut next = talker.hear();
            while next.ends_with(" is here") {
                next = talker.hear();
            }
            assert_eq!(next, format!("{name}: {first}"));
            assert_eq!(talker.hear(), format!("{name}: {second}"));
        }
    }
    let gone = talkers.remove(0);
    drop(gone.input);
    for talker in &mut talkers {
        assert_eq!(talker.hear(), format!("{} is gone", gone.name));
    }
}

#[test]
fn chat_throws_out_who_does_not_read_and_serves_the_others() {
    /// What is said before the answers are awaited; far less than a client may lag behind.
    const BATCH: usize = 20;
    /// More than the socket buffers and the queue of a client hold.
    const BATCHES: usize = 2_000;
    let _watch = Watch::new("chat with a slow reader");
    let chat = Example::start("chat", &[]);
    let deaf = Talker::join(&chat);
    receive_little(deaf.input.get_ref());
    let mut quick = Talker::join(&chat);
    let text = "x".repeat(900);
    let gone = format!("{} is gone", deaf.name);
    for batch in 0..BATCHES {
        for line in 0..BATCH {
            quick.say(&format!("{batch} {line} {text}"));
        }
        for line in 0..BATCH {
            let heard = quick.hear();
            if heard == gone {
                return;
            }
            let said = format!("{}: {batch} {line} {text}", quick.name);
            assert!(heard == said, "line {line} of {batch} is {heard:?}");
        }
    }
    panic!("a client that does not read is still there");
}

/// Makes the receive buffer of a socket as small as the kernel allows.
fn receive_little(stream: &TcpStream) {
    let least: libc::c_int = 1;
    // SAFETY: the option value is a live c_int of the size given.
    let result = unsafe {
        libc::setsockopt(
            stream.as_raw_fd(),
            libc::SOL_SOCKET,
            libc::SO_RCVBUF,
            (&raw const least).cast(),
            size_of_val(&least) as libc::socklen_t,
        )
    };
    assert_eq!(result, 0);
}
