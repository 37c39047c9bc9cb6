//! Each future that waits for time or a descriptor, ended at each moment in each way: nothing is left of it, and what it
//! waited for serves the next one.
//!
//! | kind of wait | moment | end |
//! |---|---|---|
//! | [`Kind`] | [`Moment`] | [`End`] |

mod common;

use std::future::{Future, poll_fn};
use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream, UdpSocket};
use std::os::unix::net::UnixStream;
use std::panic::{AssertUnwindSafe, catch_unwind};
use std::pin::Pin;
use std::sync::Arc;
use std::task::{Context, Wake, Waker};
use std::time::Duration;

use brigade::task::{self, Async, block_on, interval_at, sleep, timeout};
use brigade::thread;
use common::{Count, Watch, hop, on_each_model};

/// Soon enough to wait for, and late enough to be pending first.
const SOON: Duration = Duration::from_millis(2);
const HOUR: Duration = Duration::from_secs(3600);

#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Kind {
    Sleep,
    Timeout,
    Tick,
    Readable,
    PollReadable,
    Read,
    ReadInTime,
    Write,
    Accept,
    Receive,
}

const KINDS: [Kind; 10] = [
    Kind::Sleep,
    Kind::Timeout,
    Kind::Tick,
    Kind::Readable,
    Kind::PollReadable,
    Kind::Read,
    Kind::ReadInTime,
    Kind::Write,
    Kind::Accept,
    Kind::Receive,
];

/// When the future ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum Moment {
    BeforeItIsPolled,
    WhileItWaits,
    /// What it waits for comes at this moment, on another thread.
    WhileItIsWoken,
    AfterItWasWoken,
}

const MOMENTS: [Moment; 4] = [
    Moment::BeforeItIsPolled,
    Moment::WhileItWaits,
    Moment::WhileItIsWoken,
    Moment::AfterItWasWoken,
];

/// How the future ends.
#[derive(Clone, Copy, Debug, PartialEq, Eq)]
enum End {
    Drop,
    Panic,
    Abort,
}

const ENDS: [End; 3] = [End::Drop, End::Panic, End::Abort];

type Wait = Pin<Box<dyn Future<Output = ()> + Send>>;

/// What is waited for.
struct Scene {
    here: Arc<Async<UnixStream>>,
    there: UnixStream,
    listener: Arc<Async<TcpListener>>,
    receiver: Arc<Async<UdpSocket>>,
    sender: UdpSocket,
}

impl Scene {
    fn new(kind: Kind) -> Scene {
        let (here, there) = UnixStream::pair().expect("a pair");
        let here = Async::new(here).expect("asynchronous");
        if kind == Kind::Write {
            // Full, so that a write waits.
            while here.get_ref().write(&[0; 4096]).is_ok() {}
            while here.get_ref().write(&[0]).is_ok() {}
        }
        Scene {
            here: Arc::new(here),
            there,
            listener: Arc::new(Async::<TcpListener>::bind(([127, 0, 0, 1], 0)).expect("a port")),
            receiver: Arc::new(Async::<UdpSocket>::bind(([127, 0, 0, 1], 0)).expect("a port")),
            sender: UdpSocket::bind("127.0.0.1:0").expect("a port"),
        }
    }

    fn wait(&self, kind: Kind) -> Wait {
        let (here, listener) = (Arc::clone(&self.here), Arc::clone(&self.listener));
        let receiver = Arc::clone(&self.receiver);
        match kind {
            Kind::Sleep => Box::pin(sleep(SOON)),
            Kind::Timeout => Box::pin(async {
                let late = timeout(SOON, std::future::pending::<()>()).await;
                late.expect_err("it never ends");
            }),
            Kind::Tick => Box::pin(async {
                let mut ticks = interval_at(std::time::Instant::now() + SOON, HOUR);
                ticks.tick().await;
            }),
            Kind::Readable => Box::pin(async move { here.readable().await.expect("open") }),
            Kind::PollReadable => {
                Box::pin(async move { poll_fn(|cx| here.poll_readable(cx)).await.expect("open") })
            }
            Kind::Read => Box::pin(async move {
                let read = here.read_with(|mut io| io.read(&mut [0]));
                assert_eq!(read.await.expect("a byte"), 1);
            }),
            Kind::ReadInTime => Box::pin(async move {
                let read = here.read_with(|mut io| io.read(&mut [0]));
                let read = timeout(HOUR, read).await.expect("in time");
                assert_eq!(read.expect("a byte"), 1);
            }),
            Kind::Write => Box::pin(async move {
                let write = here.write_with(|mut io| io.write(&[1]));
                assert_eq!(write.await.expect("room"), 1);
            }),
            Kind::Accept => Box::pin(async move {
                listener.accept().await.expect("a connection");
            }),
            Kind::Receive => Box::pin(async move {
                let (length, _) = receiver.recv_from(&mut [0; 8]).await.expect("a message");
                assert_eq!(length, 3);
            }),
        }
    }

    /// Brings about what the future waits for.
    fn bring(&mut self, kind: Kind) {
        match kind {
            Kind::Sleep | Kind::Timeout | Kind::Tick => thread::sleep(2 * SOON),
            Kind::Readable | Kind::PollReadable | Kind::Read | Kind::ReadInTime => {
                self.there.write_all(&[1]).expect("room");
            }
            Kind::Write => {
                self.there.set_nonblocking(true).expect("non-blocking");
                while self.there.read(&mut [0; 65536]).is_ok() {}
            }
            Kind::Accept => {
                let address = self.listener.get_ref().local_addr().expect("an address");
                TcpStream::connect(address).expect("it listens");
            }
            Kind::Receive => {
                let address = self.receiver.get_ref().local_addr().expect("an address");
                self.sender.send_to(b"abc", address).expect("sent");
            }
        }
    }
}

/// Counts its calls.
struct Bell(Count);

impl Wake for Bell {
    fn wake(self: Arc<Self>) {
        self.0.up();
    }
}

/// The future, and a guard that counts its drop.
struct Guarded {
    wait: Wait,
    bell: Arc<Bell>,
    polled: Arc<Count>,
    dropped: Arc<Count>,
}

impl Future for Guarded {
    type Output = ();
    fn poll(mut self: Pin<&mut Self>, _: &mut Context<'_>) -> std::task::Poll<()> {
        // With a waker of its own, so that the wakers left behind can be counted.
        let waker = Waker::from(Arc::clone(&self.bell));
        let polled = self.wait.as_mut().poll(&mut Context::from_waker(&waker));
        self.polled.up();
        polled
    }
}

impl Drop for Guarded {
    fn drop(&mut self) {
        self.dropped.up();
    }
}

fn end(future: Guarded, end: End, polls: bool) {
    let polled = Arc::clone(&future.polled);
    let mut future = Box::pin(future);
    if polls && end != End::Abort {
        let _ = future
            .as_mut()
            .poll(&mut Context::from_waker(Waker::noop()));
    }
    match end {
        End::Drop => drop(future),
        End::Panic => {
            let unwound = catch_unwind(AssertUnwindSafe(|| {
                let _future = future;
                std::panic::resume_unwind(Box::new("planted by the test"));
            }));
            assert!(unwound.is_err());
        }
        End::Abort => {
            let task = task::spawn(future);
            if polls {
                polled.wait_for(1);
            }
            task.abort();
            // What was ready at once has ended.
            let _ = task.join();
        }
    }
}

fn cancel(kind: Kind, moment: Moment, how: End) {
    let mut scene = Scene::new(kind);
    let bell = Arc::new(Bell(Count::new()));
    let dropped = Arc::new(Count::new());
    let future = Guarded {
        wait: scene.wait(kind),
        bell: Arc::clone(&bell),
        polled: Arc::new(Count::new()),
        dropped: Arc::clone(&dropped),
    };
    match moment {
        Moment::BeforeItIsPolled => end(future, how, false),
        Moment::WhileItWaits => end(future, how, true),
        Moment::WhileItIsWoken => {
            let brings = thread::spawn(move || {
                hop();
                scene.bring(kind);
                scene
            });
            end(future, how, true);
            scene = brings.join().expect("no panic");
        }
        Moment::AfterItWasWoken => {
            let mut future = future;
            let polled = Pin::new(&mut future).poll(&mut Context::from_waker(Waker::noop()));
            scene.bring(kind);
            if polled.is_pending() {
                bell.0.wait_for(1);
            }
            end(future, how, false);
        }
    }
    assert_eq!(
        dropped.get(),
        1,
        "{kind:?}, {moment:?}, {how:?}: not dropped"
    );
    // The next one gets what comes, or what the first has left.
    let next = scene.wait(kind);
    scene.bring(kind);
    block_on(next);
    // An event has come, so the wakers of poll functions are gone, too.
    while Arc::strong_count(&bell) > 1 {
        hop();
    }
    let Scene { here, listener, .. } = scene;
    assert_eq!(
        (Arc::strong_count(&here), Arc::strong_count(&listener)),
        (1, 1),
        "{kind:?}, {moment:?}, {how:?}: something is kept"
    );
}

#[test]
fn every_wait_can_be_ended_at_every_moment_in_every_way_under_each_model() {
    on_each_model(|runtime| {
        runtime.run(|| {
            for kind in KINDS {
                for moment in MOMENTS {
                    for end in ENDS {
                        (0..3).for_each(|_| cancel(kind, moment, end));
                    }
                }
            }
        });
    });
}

#[test]
fn every_wait_can_be_ended_at_every_moment_while_threads_migrate() {
    let _watch = Watch::new("cancelling on a migrating runtime");
    let runtime = common::migrating_runtime();
    runtime.run(|| {
        for kind in KINDS {
            for end in ENDS {
                (0..5).for_each(|_| cancel(kind, Moment::WhileItIsWoken, end));
            }
        }
    });
}
