//! Everyday calls into std and libc give the same answers on a green thread that migrates.

mod common;

use std::net::{TcpListener, TcpStream, ToSocketAddrs};
use std::process::Command;
use std::time::{Duration, Instant, SystemTime};

use common::{Count, hop, migrating};

#[test]
fn clocks_go_forward() {
    migrating(500, |_| {
        let mut last = Instant::now();
        for _ in 0..20 {
            hop();
            let now = Instant::now();
            assert!(now >= last);
            last = now;
            assert!(SystemTime::now() > SystemTime::UNIX_EPOCH);
        }
    });
}

#[test]
fn localhost_resolves() {
    migrating(50, |index| {
        let port = u16::try_from(index + 1).expect("a small number");
        let addresses: Vec<_> = ("localhost", port)
            .to_socket_addrs()
            .expect("localhost resolves")
            .collect();
        hop();
        assert!(
            addresses
                .iter()
                .all(|address| address.ip().is_loopback() && address.port() == port)
        );
        assert!(!addresses.is_empty());
    });
}

#[test]
fn child_processes_start_and_are_waited_for() {
    migrating(20, |index| {
        let mut child = Command::new("true")
            .spawn()
            .expect("a process can be started");
        hop();
        assert!(child.wait().expect("a child can be waited for").success());
        let output = Command::new("echo")
            .arg(index.to_string())
            .output()
            .expect("a process can be started");
        hop();
        assert_eq!(
            String::from_utf8_lossy(&output.stdout),
            format!("{index}\n")
        );
    });
}

#[test]
fn kernel_threads_start_and_are_joined_from_green_threads() {
    migrating(50, |index| {
        let thread = std::thread::spawn(move || {
            brigade::thread::yield_now();
            index + 1
        });
        hop();
        assert_eq!(
            thread.join().expect("the kernel thread does not panic"),
            index + 1
        );
    });
}

#[test]
fn std_scoped_threads_borrow_from_a_green_stack() {
    migrating(20, |index| {
        let number = index;
        let sum: usize = std::thread::scope(|scope| {
            let threads: Vec<_> = (0..3)
                .map(|extra| scope.spawn(move || number + extra))
                .collect();
            hop();
            threads
                .into_iter()
                .map(|thread| thread.join().expect("no panic"))
                .sum()
        });
        assert_eq!(sum, 3 * index + 3);
    });
}

#[test]
fn a_std_channel_carries_values_between_green_and_kernel_threads() {
    migrating(20, |index| {
        let (sender, receiver) = std::sync::mpsc::channel();
        let thread = std::thread::spawn(move || {
            for value in 0..10 {
                sender.send(index + value).expect("the receiver is there");
            }
        });
        hop();
        assert!(receiver.iter().eq((0..10).map(|value| index + value)));
        thread.join().expect("the kernel thread does not panic");
    });
}

#[test]
fn the_cpu_number_is_one_of_this_machine() {
    // SAFETY: sysconf takes a number and has no other preconditions.
    let cpus = unsafe { libc::sysconf(libc::_SC_NPROCESSORS_CONF) };
    migrating(500, move |_| {
        for _ in 0..20 {
            hop();
            // SAFETY: sched_getcpu has no preconditions.
            let cpu = unsafe { libc::sched_getcpu() };
            assert!((0..cpus).contains(&cpu.into()), "cpu {cpu} of {cpus}");
        }
    });
}

#[test]
fn std_sleep_and_available_parallelism_work() {
    migrating(8, |_| {
        hop();
        let start = Instant::now();
        std::thread::sleep(Duration::from_millis(1));
        assert!(start.elapsed() >= Duration::from_millis(1));
        assert!(
            std::thread::available_parallelism()
                .expect("the kernel answers")
                .get()
                >= 1
        );
    });
}

#[test]
fn std_sockets_work_between_green_threads() {
    static ECHOED: Count = Count::new();
    let listener = TcpListener::bind("127.0.0.1:0").expect("a port is free");
    let address = listener
        .local_addr()
        .expect("a bound socket has an address");
    migrating(8, move |index| {
        use std::io::{Read, Write};
        if index % 2 == 0 {
            let (mut stream, _) = listener.accept().expect("a peer connects");
            hop();
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the peer sends");
            stream.write_all(&byte).expect("the peer reads");
        } else {
            hop();
            let mut stream = TcpStream::connect(address).expect("a listener accepts");
            stream.write_all(&[7]).expect("the peer reads");
            hop();
            let mut byte = [0];
            stream.read_exact(&mut byte).expect("the peer sends");
            assert_eq!(byte, [7]);
            ECHOED.up();
        }
    });
    assert_eq!(ECHOED.get(), 4);
}
