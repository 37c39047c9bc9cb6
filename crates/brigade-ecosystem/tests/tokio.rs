//! `tokio` beside Brigade: its timers, sockets and tasks from green threads, and its IO traits on Brigade's reactor.

use std::net::{TcpListener, TcpStream};
use std::sync::mpsc;
use std::time::Duration;

use brigade::task::{self, Async};
use brigade_ecosystem::overlap::{Overlap, SLOW};
use brigade_ecosystem::payload;
use brigade_ecosystem::rig::{on_green_threads, on_two_workers};
use tokio::io::{AsyncReadExt, AsyncWriteExt};
use tokio::runtime::Handle;

/// Threads of tokio, and of the default runtime.
const OTHERS: usize = 12;

#[test]
fn its_timers_overlap_on_green_threads() {
    on_two_workers(|runtime| {
        let ended = Overlap::of(SLOW).own_kernel_threads(OTHERS).check(
            runtime,
            vec![(); 100],
            |index, ()| {
                task::tokio::block_on(async {
                    tokio::time::sleep(SLOW).await;
                    index
                })
            },
        );
        assert_eq!(ended, (0..100).collect::<Vec<_>>());
    });
}

#[test]
fn its_sockets_and_tasks_serve_green_threads() {
    const CLIENTS: usize = 20;
    on_two_workers(|runtime| {
        let (address, served) = task::tokio::block_on(async {
            let listener = tokio::net::TcpListener::bind("127.0.0.1:0").await?;
            let address = listener.local_addr()?;
            // A task of tokio, on its own thread.
            let served = tokio::spawn(async move {
                for _ in 0..CLIENTS {
                    let (mut stream, _) = listener.accept().await?;
                    tokio::spawn(async move {
                        let (mut reader, mut writer) = stream.split();
                        tokio::io::copy(&mut reader, &mut writer).await
                    });
                }
                std::io::Result::Ok(())
            });
            std::io::Result::Ok((address, served))
        })
        .expect("a server");
        on_green_threads(runtime, CLIENTS, move |client| {
            task::tokio::block_on(async {
                let mut stream = tokio::net::TcpStream::connect(address).await?;
                for round in 0..20 {
                    let sent = payload::bytes(client, round, 100 * round);
                    let mut got = vec![0; sent.len()];
                    stream.write_all(&sent).await?;
                    stream.read_exact(&mut got).await?;
                    assert!(got == sent, "other bytes");
                }
                std::io::Result::Ok(())
            })
            .expect("an echo");
        });
        let served = task::tokio::block_on(served);
        served.expect("no panic").expect("all connections");
    });
}

#[test]
fn a_green_thread_may_block_and_move_with_the_guard_in_its_hands() {
    on_two_workers(|runtime| {
        on_green_threads(runtime, 50, |_| {
            let guard = task::tokio::enter();
            for _ in 0..20 {
                std::thread::sleep(Duration::from_millis(1));
                brigade::thread::yield_now();
                Handle::try_current().expect("entered");
            }
            drop(guard);
            Handle::try_current().expect_err("left");
        });
    });
}

/// Says when it is dropped whether a runtime of tokio was there.
struct Witness(mpsc::Sender<bool>);

impl Drop for Witness {
    fn drop(&mut self) {
        let _ = self.0.send(Handle::try_current().is_ok());
    }
}

#[test]
fn a_future_is_dropped_with_the_runtime_entered_however_it_ends() {
    on_two_workers(|runtime| {
        let runs = runtime.spawn(|| {
            let (drops, dropped) = mpsc::channel();
            let witness = || Witness(drops.clone());
            // Never polled.
            drop(task::tokio::Entered::new({
                let witness = witness();
                async move { drop(witness) }
            }));
            // Aborted while it waits.
            let waits = task::tokio::spawn({
                let witness = witness();
                async move {
                    let _witness = witness;
                    tokio::time::sleep(Duration::from_secs(3600)).await;
                }
            });
            task::block_on(task::sleep(Duration::from_millis(5)));
            waits.abort();
            assert!(waits.join().expect_err("aborted").is_cancelled());
            // Panics, and ends.
            let witness_of_panic = witness();
            let panics = task::tokio::spawn(async move {
                let _witness = witness_of_panic;
                tokio::task::yield_now().await;
                panic!("planted by the test");
            });
            assert!(panics.join().expect_err("a panic").is_panic());
            let witness_of_end = witness();
            task::tokio::block_on(async move { drop(witness_of_end) });
            drop(drops);
            dropped.into_iter().collect::<Vec<bool>>()
        });
        assert_eq!(runs.join().expect("no panic"), [true; 4]);
    });
}

#[test]
fn waits_may_be_nested_and_mixed_with_those_of_brigade() {
    on_two_workers(|runtime| {
        let sum = runtime.spawn(|| {
            task::tokio::block_on(async {
                let inner = task::tokio::block_on(async {
                    tokio::time::sleep(Duration::from_millis(1)).await;
                    task::sleep(Duration::from_millis(1)).await;
                    1
                });
                let blocking = tokio::task::spawn_blocking(|| 2);
                let of_brigade = task::spawn(async { 4 });
                inner + blocking.await.expect("no panic") + of_brigade.await.expect("no panic")
            })
        });
        assert_eq!(sum.join().expect("no panic"), 7);
    });
}

#[test]
fn its_traits_work_on_the_reactor_of_brigade() {
    on_two_workers(|runtime| {
        let client = runtime.spawn(|| {
            let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port");
            let address = listener.get_ref().local_addr().expect("an address");
            // No runtime of tokio anywhere.
            let echo = task::spawn(async move {
                let (stream, _) = listener.accept().await?;
                let (mut reader, mut writer) = (&stream, &stream);
                let copied = tokio::io::copy(&mut reader, &mut writer).await?;
                writer.shutdown().await?;
                std::io::Result::Ok(copied)
            });
            let sent = payload::bytes(1, 1, 3_000_000);
            let expected = sent.clone();
            let got = task::block_on(async {
                let stream = Async::<TcpStream>::connect(address).await?;
                let (mut reader, mut writer) = tokio::io::split(stream);
                let writes = task::spawn(async move {
                    writer.write_all(&sent).await?;
                    writer.shutdown().await
                });
                let mut got = Vec::new();
                reader.read_to_end(&mut got).await?;
                writes.await.expect("no panic")?;
                std::io::Result::Ok(got)
            });
            assert!(got.expect("an echo") == expected, "other bytes");
            echo.join().expect("no panic").expect("an echo")
        });
        assert_eq!(client.join().expect("no panic"), 3_000_000);
    });
}

#[test]
fn the_traits_of_futures_work_on_the_reactor_of_brigade() {
    use futures_util::io::{AsyncReadExt, AsyncWriteExt, copy};
    on_two_workers(|runtime| {
        let client = runtime.spawn(|| {
            let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port");
            let address = listener.get_ref().local_addr().expect("an address");
            let echo = task::spawn(async move {
                let (stream, _) = listener.accept().await?;
                copy(&stream, &mut &stream).await
            });
            let sent = payload::bytes(2, 1, 3_000_000);
            let expected = sent.clone();
            let got = task::block_on(async {
                let stream = Async::<TcpStream>::connect(address).await?;
                let (mut reader, mut writer) = stream.split();
                let mut got = vec![0; sent.len()];
                let writes = task::spawn(async move { writer.write_all(&sent).await });
                reader.read_exact(&mut got).await?;
                writes.await.expect("no panic")?;
                std::io::Result::Ok(got)
            });
            assert!(got.expect("an echo") == expected, "other bytes");
            echo.join().expect("no panic").expect("an echo")
        });
        assert_eq!(client.join().expect("no panic"), 3_000_000);
    });
}
