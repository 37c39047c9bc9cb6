//! Timers and descriptors of futures together with tasks, green threads and the hooks: under each model, while threads
//! migrate, and when a runtime ends under them.

mod common;

use std::future::{Future, poll_fn};
use std::io::{self, Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::{AsRawFd, IntoRawFd};
use std::os::unix::net::UnixStream;
use std::pin::{Pin, pin};
use std::sync::Arc;
use std::sync::mpsc;
use std::task::{Context, Poll, Waker};
use std::time::{Duration, Instant};

use brigade::runtime::{Builder, Model, Runtime};
use brigade::task::{self, Async, block_on, sleep, timeout};
use brigade::thread;
use common::{Count, Watch, migrating_runtime, on_each_model};

const SHORT: Duration = Duration::from_millis(3);
const HOUR: Duration = Duration::from_secs(3600);

async fn read_some(from: &Async<UnixStream>) -> io::Result<Vec<u8>> {
    let mut buffer = [0; 64];
    let length = from.read_with(|mut io| io.read(&mut buffer)).await?;
    Ok(buffer[..length].to_vec())
}

async fn write_all(to: &Async<TcpStream>, mut bytes: &[u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = to.write_with(|mut io| io.write(bytes)).await?;
        bytes = &bytes[length..];
    }
    Ok(())
}

async fn read_exact(from: &Async<TcpStream>, mut bytes: &mut [u8]) -> io::Result<()> {
    while !bytes.is_empty() {
        let length = from.read_with(|mut io| io.read(bytes)).await?;
        if length == 0 {
            return Err(io::ErrorKind::UnexpectedEof.into());
        }
        bytes = &mut bytes[length..];
    }
    Ok(())
}

/// Echoes until the client is gone.
async fn echo(stream: Async<TcpStream>) -> io::Result<usize> {
    let mut total = 0;
    let mut buffer = [0; 512];
    loop {
        let length = stream.read_with(|mut io| io.read(&mut buffer)).await?;
        if length == 0 {
            return Ok(total);
        }
        write_all(&stream, &buffer[..length]).await?;
        total += length;
    }
}

/// Tasks serve `clients` asynchronous clients and as many blocking ones.
fn echo_to(runtime: &Runtime, clients: usize, rounds: usize) {
    let served: usize = runtime.run(move || {
        let listener = Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port");
        let address = listener.get_ref().local_addr().expect("an address");
        let server = task::spawn(async move {
            let mut tasks = Vec::new();
            for _ in 0..2 * clients {
                let (stream, _) = listener.accept().await.expect("a connection");
                tasks.push(task::spawn(echo(stream)));
            }
            let mut total = 0;
            for task in tasks {
                total += task.await.expect("no panic").expect("an echo");
            }
            total
        });
        let tasks: Vec<_> = (0..clients)
            .map(|client| {
                task::spawn(async move {
                    let stream = Async::<TcpStream>::connect(address).await?;
                    for round in 0..rounds {
                        let sent = [client as u8 ^ round as u8; 100];
                        write_all(&stream, &sent).await?;
                        let mut got = [0; 100];
                        read_exact(&stream, &mut got).await?;
                        assert_eq!(got, sent);
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        let threads: Vec<_> = (0..clients)
            .map(|client| {
                thread::spawn(move || {
                    let mut stream = TcpStream::connect(address)?;
                    for round in 0..rounds {
                        let sent = [client as u8 ^ !(round as u8); 100];
                        stream.write_all(&sent)?;
                        let mut got = [0; 100];
                        stream.read_exact(&mut got)?;
                        assert_eq!(got, sent);
                    }
                    io::Result::Ok(())
                })
            })
            .collect();
        for task in tasks {
            task.join()
                .expect("no panic")
                .expect("an asynchronous client");
        }
        for thread in threads {
            thread.join().expect("no panic").expect("a blocking client");
        }
        server.join().expect("no panic")
    });
    assert_eq!(served, 2 * clients * rounds * 100);
}

#[test]
fn tasks_serve_asynchronous_and_blocking_clients_under_each_model() {
    on_each_model(|runtime| echo_to(runtime, 20, 30));
}

#[test]
fn tasks_serve_while_threads_migrate() {
    let _watch = Watch::new("echo on a migrating runtime");
    echo_to(&migrating_runtime(), 15, 20);
}

#[test]
fn sleeps_of_tasks_and_threads_run_at_the_same_time_under_each_model() {
    on_each_model(|runtime| {
        runtime.run(|| {
            let begin = Instant::now();
            let tasks: Vec<_> = (0..200_u64)
                .map(|n| task::spawn(sleep(Duration::from_millis(50 + n % 10))))
                .collect();
            let threads: Vec<_> = (0..20)
                .map(|_| thread::spawn(|| block_on(sleep(Duration::from_millis(50)))))
                .collect();
            for task in tasks {
                task.join().expect("no panic");
            }
            for thread in threads {
                thread.join().expect("no panic");
            }
            // One after the other they would take ten seconds.
            let took = begin.elapsed();
            assert!(took >= Duration::from_millis(59), "{took:?}");
            assert!(took < Duration::from_secs(10), "{took:?}");
        });
    });
}

#[test]
fn a_runtime_ends_though_its_threads_have_waited_for_time_and_descriptors() {
    for model in [Model::ManyToMany, Model::ManyToOne, Model::OneToOne] {
        let _watch = Watch::new("the end of a runtime");
        for _ in 0..20 {
            let runtime = Builder::new()
                .model(model)
                .workers(2)
                .build()
                .expect("a runtime");
            let kept = runtime.run(|| {
                let (here, there) = Async::<UnixStream>::pair().expect("a pair");
                let waits = timeout(SHORT, read_some(&here));
                assert!(block_on(waits).is_err(), "nothing was sent");
                // An armed watch stays behind, and a waker of a poll function.
                let poll = poll_fn(|cx| {
                    assert!(here.poll_readable(cx).is_pending());
                    Poll::Ready(())
                });
                block_on(poll);
                (here, there)
            });
            let ended = runtime.shutdown_timeout(Duration::from_secs(60));
            ended.expect("no thread is left");
            drop(kept);
        }
    }
}

#[test]
fn what_waits_when_its_runtime_ends_is_woken_by_another() {
    for model in [Model::ManyToMany, Model::ManyToOne] {
        let _watch = Watch::new("futures that outlive a runtime");
        let runtime = Builder::new()
            .model(model)
            .workers(1)
            .build()
            .expect("a runtime");
        // Polled once on the runtime, so registered there.
        let (mut future, there) = runtime.run(|| {
            let (here, there) = Async::<UnixStream>::pair().expect("a pair");
            let mut future: Pin<Box<dyn Future<Output = (Vec<u8>, ())> + Send>> =
                Box::pin(async move {
                    let mut sleep = pin!(sleep(Duration::from_millis(100)));
                    let mut read = pin!(async { read_some(&here).await.expect("bytes") });
                    let mut got = None;
                    poll_fn(|cx| {
                        if got.is_none()
                            && let Poll::Ready(bytes) = read.as_mut().poll(cx)
                        {
                            got = Some(bytes);
                        }
                        let slept = sleep.as_mut().poll(cx).is_ready();
                        match got.take() {
                            Some(bytes) if slept => Poll::Ready((bytes, ())),
                            other => {
                                got = other;
                                Poll::Pending
                            }
                        }
                    })
                    .await
                });
            let mut context = Context::from_waker(Waker::noop());
            assert!(future.as_mut().poll(&mut context).is_pending());
            (future, there)
        });
        // Now a waker that counts, still on the old runtime; then that ends, and nobody polls in between.
        let (woken, wakes) = mpsc::channel();
        struct Tell(mpsc::Sender<()>);
        impl std::task::Wake for Tell {
            fn wake(self: Arc<Self>) {
                let _ = self.0.send(());
            }
        }
        let waker = Waker::from(Arc::new(Tell(woken)));
        let future = runtime.run(move || {
            assert!(
                future
                    .as_mut()
                    .poll(&mut Context::from_waker(&waker))
                    .is_pending()
            );
            future
        });
        runtime
            .shutdown_timeout(Duration::from_secs(60))
            .expect("no thread is left");
        wakes.recv().expect("the timer, or the descriptor");
        block_on(there.write_with(|mut io| io.write(b"late"))).expect("room");
        wakes.recv().expect("the other one");
        assert_eq!(block_on(future).0, b"late");
    }
}

#[test]
fn a_close_wakes_who_waits() {
    let _watch = Watch::new("a descriptor that is closed");
    brigade::run(|| {
        let (here, _there) = Async::<UnixStream>::pair().expect("a pair");
        let here = Arc::new(here);
        let reader = Arc::clone(&here);
        let (waits, begun) = mpsc::channel();
        let reads = task::spawn(async move {
            let mut readable = pin!(reader.readable());
            poll_fn(|cx| {
                let polled = readable.as_mut().poll(cx);
                let _ = waits.send(());
                polled
            })
            .await
        });
        begun.recv().expect("it waits");
        // SAFETY: closes a number that this test owns; `into_raw_fd` below gives up the object without another close.
        assert_eq!(unsafe { libc::close(here.get_ref().as_raw_fd()) }, 0);
        let error = reads.join().expect("no panic").expect_err("it is gone");
        assert_eq!(error.raw_os_error(), Some(libc::EBADF));
        let here = Arc::into_inner(here).expect("the only one");
        let _gone = here.into_inner().into_raw_fd();
    });
}

#[test]
fn an_async_object_becomes_a_blocking_one_again() {
    let _watch = Watch::new("a socket given back");
    brigade::run(|| {
        let (here, there) = Async::<UnixStream>::pair().expect("a pair");
        assert!(block_on(timeout(SHORT, read_some(&here))).is_err());
        let mut blocking = here.into_inner();
        blocking.set_nonblocking(false).expect("blocking");
        let reader = thread::spawn(move || {
            let mut byte = [0];
            blocking.read_exact(&mut byte).map(|()| byte)
        });
        block_on(sleep(SHORT));
        block_on(there.write_with(|mut io| io.write(b"x"))).expect("room");
        assert_eq!(reader.join().expect("no panic").expect("a byte"), *b"x");
    });
}

#[test]
fn an_aborted_task_takes_its_waits_with_it() {
    let _watch = Watch::new("aborted tasks");
    brigade::run(|| {
        struct Dropped(Arc<Count>);
        impl Drop for Dropped {
            fn drop(&mut self) {
                self.0.up();
            }
        }
        let dropped = Arc::new(Count::new());
        let (_here, there) = UnixStream::pair().expect("a pair");
        let there = Arc::new(Async::new(there).expect("asynchronous"));
        let tasks: Vec<_> = (0..300)
            .map(|n| {
                let (there, guard) = (Arc::clone(&there), Dropped(Arc::clone(&dropped)));
                task::spawn(async move {
                    let _guard = guard;
                    match n % 3 {
                        0 => sleep(HOUR).await,
                        1 => drop(read_some(&there).await),
                        _ => drop(timeout(HOUR, there.readable()).await),
                    }
                })
            })
            .collect();
        block_on(sleep(SHORT));
        for task in &tasks {
            task.abort();
        }
        for task in tasks {
            assert!(task.join().expect_err("aborted").is_cancelled());
        }
        assert_eq!(dropped.get(), 300);
        assert!(Arc::into_inner(there).is_some(), "a task still has it");
    });
}

#[test]
fn a_waker_that_blocks_holds_up_neither_threads_nor_its_own_work() {
    let _watch = Watch::new("a waker that blocks");
    brigade::run(|| {
        let (go, gone) = mpsc::channel::<()>();
        struct Blocks(std::sync::Mutex<mpsc::Receiver<()>>, thread::Thread);
        impl std::task::Wake for Blocks {
            fn wake(self: Arc<Self>) {
                // Parks the driver, as a green thread.
                let _ = self.0.lock().expect("no panic").recv();
                self.1.unpark();
            }
        }
        let blocks = Blocks(std::sync::Mutex::new(gone), thread::current());
        let waker = Waker::from(Arc::new(blocks));
        let mut late = sleep(Duration::from_millis(1));
        let mut context = Context::from_waker(&waker);
        if Pin::new(&mut late).poll(&mut context).is_pending() {
            thread::sleep(5 * SHORT);
            // Threads go on, and one of them lets the waker go on.
            thread::spawn(move || go.send(()))
                .join()
                .expect("no panic")
                .expect("it waits");
            thread::park();
            assert!(late.is_elapsed());
        }
        block_on(sleep(SHORT));
    });
}
