//! All kinds of wait that a token can end: how to begin one, how to let it come to its own end, and how to see afterwards
//! that nothing was lost.

use std::io::{Read, Write};
use std::net::{TcpListener, TcpStream};
use std::os::fd::AsRawFd;
use std::os::unix::net::UnixStream;
use std::process::{Child, Command, Stdio};
use std::sync::mpsc;
use std::sync::{Arc, Mutex as StdMutex, OnceLock};
use std::time::Duration;

use brigade::cancel::{CancelToken, Cancelled, LockError, RecvError, SendError};
use brigade::sync::channel::{Select, bounded, never, unbounded};
use brigade::sync::{Barrier, Condvar, Event, Mutex, RwLock, Semaphore, WaitGroup};
use brigade::thread::{self, Thread};

use crate::common::net;

/// The wait itself.
type Wait = Box<dyn FnOnce(&CancelToken) -> Result<(), Cancelled> + Send>;

/// One wait, made ready.
pub(crate) struct Case {
    /// Waits until `complete`, or the token ends. Looks itself that what it got is right.
    pub(crate) wait: Wait,
    /// Lets the wait come to its own end; none if only time does.
    pub(crate) complete: Option<Box<dyn FnOnce() + Send>>,
    /// After the wait: looks that what it waited for is there for others, if `is_done`, in the state after a success,
    /// else as if the wait had never been.
    settle: Box<dyn FnOnce(bool)>,
}

impl Case {
    pub(crate) fn settle(self, is_done: bool) {
        // What was not used holds messages, too.
        drop(self.wait);
        drop(self.complete);
        (self.settle)(is_done);
    }
}

/// A kind of wait.
#[derive(Clone, Copy)]
pub(crate) struct Kind {
    pub(crate) name: &'static str,
    pub(crate) make: fn() -> Case,
    /// Whether it waits in a hook, and so only where there are green threads.
    pub(crate) is_io: bool,
}

const fn kind(name: &'static str, make: fn() -> Case) -> Kind {
    Kind {
        name,
        make,
        is_io: false,
    }
}

const fn io(name: &'static str, make: fn() -> Case) -> Kind {
    Kind {
        name,
        make,
        is_io: true,
    }
}

/// All of them.
pub(crate) static KINDS: [Kind; 30] = [
    kind("sleep", sleep),
    kind("park", park),
    kind("join", join),
    kind("mutex", mutex),
    kind("rwlock, read", rwlock_read),
    kind("rwlock, write", rwlock_write),
    kind("condvar", condvar),
    kind("condvar, while", condvar_while),
    kind("recv, bounded", recv_bounded),
    kind("recv, unbounded", recv_unbounded),
    kind("recv, rendezvous", recv_rendezvous),
    kind("recv, never", recv_never),
    kind("send, bounded", send_bounded),
    kind("send, rendezvous", send_rendezvous),
    kind("select", select),
    kind("semaphore", semaphore),
    kind("semaphore, many", semaphore_many),
    kind("event", event),
    kind("barrier", barrier),
    kind("wait group", wait_group),
    kind("readable", readable),
    kind("writable", writable),
    io("socket, read", socket_read),
    io("socket, write", socket_write),
    io("accept", accept),
    io("Unix socket, read", unix_read),
    io("pipe, read", pipe_read),
    io("poll", poll),
    io("poll of nothing", poll_of_nothing),
    io("child process", child_process),
];

fn nothing(_: bool) {}

fn sleep() -> Case {
    Case {
        wait: Box::new(|token| token.sleep(Duration::from_secs(3600))),
        complete: None,
        settle: Box::new(nothing),
    }
}

fn park() -> Case {
    let (parked, waker) = {
        let place = Arc::new(OnceLock::<Thread>::new());
        (Arc::clone(&place), place)
    };
    Case {
        wait: Box::new(move |token| {
            parked.set(thread::current()).expect("one thread parks");
            token.park()
        }),
        complete: Some(Box::new(move || {
            while waker.get().is_none() {
                std::thread::yield_now();
            }
            waker.get().expect("it is set").unpark();
        })),
        settle: Box::new(nothing),
    }
}

fn join() -> Case {
    let gate = Arc::new(Event::new());
    let (theirs, ours) = (Arc::clone(&gate), Arc::clone(&gate));
    let joined = thread::spawn(move || {
        theirs.wait();
        7
    });
    let left = Arc::new(StdMutex::new(None));
    let left_here = Arc::clone(&left);
    Case {
        wait: Box::new(move |token| match token.join(joined) {
            Ok(result) => {
                assert_eq!(result.expect("it does not panic"), 7);
                Ok(())
            }
            Err(error) => {
                let cancelled = error.cancelled();
                *left_here.lock().expect("no panic") = Some(error.into_handle());
                Err(cancelled)
            }
        }),
        complete: Some(Box::new(move || ours.set())),
        settle: Box::new(move |is_done| {
            gate.set();
            let handle = left.lock().expect("no panic").take();
            assert_eq!(handle.is_none(), is_done);
            if let Some(handle) = handle {
                assert_eq!(handle.join().expect("it does not panic"), 7);
            }
        }),
    }
}

/// A kernel thread that runs `hold` until it is told to end; returns when `hold` has taken what it takes.
struct Holder {
    release: mpsc::Sender<()>,
    thread: std::thread::JoinHandle<()>,
}

impl Holder {
    /// `hold` takes something, calls what it is passed, and gives it back.
    fn new(hold: impl FnOnce(&dyn Fn()) + Send + 'static) -> Holder {
        let (release, released) = mpsc::channel();
        let (tell, told) = mpsc::channel();
        let thread = std::thread::spawn(move || {
            hold(&|| {
                tell.send(()).expect("the starter waits");
                // An error: the case is over.
                let _ = released.recv();
            });
        });
        told.recv().expect("it takes what it takes");
        Holder { release, thread }
    }

    fn release(self) {
        let _ = self.release.send(());
        self.thread.join().expect("no panic");
    }
}

/// A wait for something that a holder has; `settle` is called when the holder has given it back.
fn held(holder: Holder, wait: Wait, settle: impl FnOnce(bool) + 'static) -> Case {
    let holder = Arc::new(StdMutex::new(Some(holder)));
    let theirs = Arc::clone(&holder);
    let release = |holder: &StdMutex<Option<Holder>>| {
        let holder = holder.lock().expect("no panic").take();
        if let Some(holder) = holder {
            holder.release();
        }
    };
    Case {
        wait,
        complete: Some(Box::new(move || release(&theirs))),
        settle: Box::new(move |is_done| {
            release(&holder);
            settle(is_done);
        }),
    }
}

fn unless_poisoned<G>(result: Result<G, LockError<G>>) -> Result<G, Cancelled> {
    result.map_err(|error| match error {
        LockError::Cancelled(cancelled) => cancelled,
        LockError::Poisoned(_) => panic!("nobody panics with the lock"),
    })
}

fn mutex() -> Case {
    let mutex = Arc::new(Mutex::new(0));
    let (held_one, wanted) = (Arc::clone(&mutex), Arc::clone(&mutex));
    let holder = Holder::new(move |pause| {
        let _guard = held_one.lock().expect("no panic");
        pause();
    });
    let wait: Wait = Box::new(move |token| {
        *unless_poisoned(token.lock(&wanted))? += 1;
        Ok(())
    });
    held(holder, wait, move |is_done| {
        let value = *mutex.try_lock().expect("it is free and clean");
        assert_eq!(value, i32::from(is_done));
    })
}

fn rwlock_read() -> Case {
    let lock = Arc::new(RwLock::new(5));
    let (held_one, wanted) = (Arc::clone(&lock), Arc::clone(&lock));
    let holder = Holder::new(move |pause| {
        let _guard = held_one.write().expect("no panic");
        pause();
    });
    let wait: Wait = Box::new(move |token| {
        assert_eq!(*unless_poisoned(token.read(&wanted))?, 5);
        Ok(())
    });
    held(holder, wait, move |_| {
        drop(lock.try_write().expect("it is free and clean"));
    })
}

fn rwlock_write() -> Case {
    let lock = Arc::new(RwLock::new(0));
    let (held_one, wanted) = (Arc::clone(&lock), Arc::clone(&lock));
    let holder = Holder::new(move |pause| {
        let _guard = held_one.read().expect("no panic");
        pause();
    });
    let wait: Wait = Box::new(move |token| {
        *unless_poisoned(token.write(&wanted))? += 1;
        Ok(())
    });
    held(holder, wait, move |is_done| {
        let value = *lock.try_write().expect("it is free and clean");
        assert_eq!(value, i32::from(is_done));
    })
}

fn condvar() -> Case {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let (waits, notifies) = (Arc::clone(&shared), Arc::clone(&shared));
    Case {
        wait: Box::new(move |token| {
            let mut guard = waits.0.lock().expect("no panic");
            while !*guard {
                guard = unless_poisoned(token.wait_notified(&waits.1, guard))?;
            }
            Ok(())
        }),
        complete: Some(Box::new(move || {
            *notifies.0.lock().expect("no panic") = true;
            notifies.1.notify_one();
        })),
        settle: Box::new(move |is_done| {
            assert_eq!(*shared.0.try_lock().expect("it is free"), is_done);
        }),
    }
}

fn condvar_while() -> Case {
    let shared = Arc::new((Mutex::new(false), Condvar::new()));
    let (waits, notifies) = (Arc::clone(&shared), Arc::clone(&shared));
    Case {
        wait: Box::new(move |token| {
            let guard = waits.0.lock().expect("no panic");
            let waited = token.wait_while(&waits.1, guard, |is_ready| !*is_ready);
            assert!(*unless_poisoned(waited)?);
            Ok(())
        }),
        complete: Some(Box::new(move || {
            *notifies.0.lock().expect("no panic") = true;
            notifies.1.notify_one();
        })),
        settle: Box::new(move |is_done| {
            assert_eq!(*shared.0.try_lock().expect("it is free"), is_done);
        }),
    }
}

/// A wait for a message that counts itself.
fn recv(capacity: Option<usize>) -> Case {
    let (sender, receiver) = match capacity {
        Some(capacity) => bounded(capacity),
        None => unbounded(),
    };
    let message = Arc::new(());
    let (sent, gets, gives) = (Arc::clone(&message), receiver.clone(), sender.clone());
    Case {
        wait: Box::new(move |token| match token.recv(&gets) {
            Ok(message) => {
                drop::<Arc<()>>(message);
                Ok(())
            }
            Err(RecvError::Cancelled(cancelled)) => Err(cancelled),
            Err(RecvError::Disconnected) => panic!("a sender is left"),
        }),
        complete: Some(Box::new(move || gives.send(sent).expect("it waits"))),
        settle: Box::new(move |_| {
            assert!(receiver.try_recv().is_err(), "nobody has sent more");
            if capacity != Some(0) {
                sender
                    .send(Arc::clone(&message))
                    .expect("a receiver is left");
                assert!(receiver.try_recv().is_ok());
            }
            assert_eq!(Arc::strong_count(&message), 1, "messages are lost");
        }),
    }
}

fn recv_bounded() -> Case {
    recv(Some(1))
}

fn recv_unbounded() -> Case {
    recv(None)
}

fn recv_rendezvous() -> Case {
    recv(Some(0))
}

fn recv_never() -> Case {
    Case {
        wait: Box::new(|token| match token.recv(&never::<()>()) {
            Err(RecvError::Cancelled(cancelled)) => Err(cancelled),
            other => panic!("{other:?} from a channel without messages"),
        }),
        complete: None,
        settle: Box::new(nothing),
    }
}

/// A wait for room.
fn send(capacity: usize) -> Case {
    let (sender, receiver) = bounded(capacity);
    for filler in 0..capacity {
        sender.send(Arc::new(filler)).expect("there is room");
    }
    let message = Arc::new(77);
    let (sends, takes, theirs) = (sender.clone(), receiver.clone(), Arc::clone(&message));
    let got = Arc::new(StdMutex::new(Vec::new()));
    let got_here = Arc::clone(&got);
    Case {
        wait: Box::new(move |token| match token.send(&sends, theirs) {
            Ok(()) => Ok(()),
            Err(SendError::Cancelled(cancelled, message)) => {
                assert_eq!(*message, 77, "another message came back");
                Err(cancelled)
            }
            Err(SendError::Disconnected(_)) => panic!("a receiver is left"),
        }),
        complete: Some(Box::new(move || {
            let message = takes.recv().expect("a sender is left");
            got_here.lock().expect("no panic").push(*message);
        })),
        settle: Box::new(move |is_done| {
            let mut got = got.lock().expect("no panic");
            while let Ok(message) = receiver.try_recv() {
                got.push(*message);
            }
            assert_eq!(got.contains(&77), is_done, "sent, or come back");
            assert_eq!(got.len(), capacity + usize::from(is_done));
            assert_eq!(Arc::strong_count(&message), 1, "messages are lost");
            drop(sender);
        }),
    }
}

fn send_bounded() -> Case {
    send(2)
}

fn send_rendezvous() -> Case {
    send(0)
}

fn select() -> Case {
    let (one, other) = (bounded::<u32>(1), bounded::<u32>(0));
    let (first, second, gives) = (one.1.clone(), other.1.clone(), one.0.clone());
    Case {
        wait: Box::new(move |token| {
            let mut select = Select::new();
            let index = select.recv(&first);
            select.recv(&second);
            let operation = token.select(&mut select)?;
            assert_eq!(operation.index(), index);
            assert_eq!(operation.recv(&first), Ok(3));
            Ok(())
        }),
        complete: Some(Box::new(move || gives.send(3).expect("it waits"))),
        settle: Box::new(move |_| {
            assert!(one.1.try_recv().is_err() && other.1.try_recv().is_err());
            assert!(other.0.try_send(1).is_err(), "nobody waits any more");
        }),
    }
}

fn permits(count: usize) -> Case {
    let semaphore = Arc::new(Semaphore::new(count - 1));
    let (wants, gives) = (Arc::clone(&semaphore), Arc::clone(&semaphore));
    Case {
        wait: Box::new(move |token| {
            token.acquire_many(&wants, count)?.forget();
            Ok(())
        }),
        complete: Some(Box::new(move || gives.add_permits(1))),
        settle: Box::new(move |is_done| {
            let left = if is_done { 0 } else { count - 1 };
            assert_eq!(semaphore.available_permits(), left, "permits are lost");
            assert!(semaphore.try_acquire_many(left).is_some());
        }),
    }
}

fn semaphore() -> Case {
    permits(1)
}

fn semaphore_many() -> Case {
    permits(3)
}

fn event() -> Case {
    let event = Arc::new(Event::new());
    let (waits, sets) = (Arc::clone(&event), event);
    Case {
        wait: Box::new(move |token| token.wait(&waits)),
        complete: Some(Box::new(move || sets.set())),
        settle: Box::new(nothing),
    }
}

fn barrier() -> Case {
    let barrier = Arc::new(Barrier::new(2));
    let (waits, comes) = (Arc::clone(&barrier), Arc::clone(&barrier));
    Case {
        wait: Box::new(move |token| token.wait_barrier(&waits).map(drop)),
        complete: Some(Box::new(move || {
            comes.wait();
        })),
        settle: Box::new(move |_| {
            let early = barrier.wait_timeout(Duration::ZERO);
            assert!(early.is_none(), "who was cancelled counts as arrived");
        }),
    }
}

fn wait_group() -> Case {
    let group = WaitGroup::new();
    let member = Arc::new(StdMutex::new(Some(group.clone())));
    let theirs = Arc::clone(&member);
    let left = Arc::new(StdMutex::new(None));
    let left_here = Arc::clone(&left);
    Case {
        wait: Box::new(move |token| {
            token.wait_group(group).map_err(|(cancelled, group)| {
                *left_here.lock().expect("no panic") = Some(group);
                cancelled
            })
        }),
        complete: Some(Box::new(move || {
            drop(theirs.lock().expect("no panic").take());
        })),
        settle: Box::new(move |is_done| {
            drop(member.lock().expect("no panic").take());
            let group = left.lock().expect("no panic").take();
            assert_eq!(group.is_none(), is_done);
            group.into_iter().for_each(WaitGroup::wait);
        }),
    }
}

/// What `io` says.
fn cancelled_or<T>(result: std::io::Result<T>) -> Result<T, Cancelled> {
    result.map_err(|error| match Cancelled::of(&error) {
        Some(cancelled) => {
            assert!(Cancelled::is(&error));
            cancelled
        }
        None => panic!("another error: {error}"),
    })
}

/// A wait for a byte from `far`.
fn byte<S: Read + Send + Sync + 'static, W: Write + Send + 'static>(near: S, far: W) -> Case
where
    for<'a> &'a S: Read,
{
    let near = Arc::new(near);
    let reads = Arc::clone(&near);
    let far = Arc::new(StdMutex::new(far));
    let writes = Arc::clone(&far);
    let put = |far: &StdMutex<W>, byte: u8| {
        let written = far.lock().expect("no panic").write(&[byte]);
        assert_eq!(written.expect("the other end is open"), 1);
    };
    Case {
        wait: Box::new(move |token| {
            let mut bytes = [0; 8];
            let count = cancelled_or(token.io(|| (&*reads).read(&mut bytes)))?;
            assert_eq!(bytes[..count], [1]);
            Ok(())
        }),
        complete: Some(Box::new(move || put(&writes, 1))),
        settle: Box::new(move |_| {
            put(&far, 2);
            let mut bytes = [0; 8];
            let count = (&*near).read(&mut bytes).expect("there is a byte");
            assert_eq!(bytes[..count], [2], "bytes are lost");
        }),
    }
}

fn socket_read() -> Case {
    let (near, far) = net::pair();
    byte(near, far)
}

fn unix_read() -> Case {
    let (near, far) = UnixStream::pair().expect("two descriptors");
    byte(near, far)
}

fn pipe_read() -> Case {
    let (near, far) = std::io::pipe().expect("two descriptors");
    byte(near, far)
}

/// A socket to which nothing more can be written, and the other end.
fn full_pair() -> (UnixStream, UnixStream) {
    let (near, far) = UnixStream::pair().expect("two descriptors");
    near.set_nonblocking(true).expect("it is a socket");
    while (&near).write(&[1; 4096]).is_ok() {}
    near.set_nonblocking(false).expect("it is a socket");
    (near, far)
}

fn socket_write() -> Case {
    let (near, far) = full_pair();
    let near = Arc::new(near);
    let writes = Arc::clone(&near);
    let far = Arc::new(StdMutex::new(far));
    let drains = Arc::clone(&far);
    let drained = Arc::new(StdMutex::new(Vec::new()));
    let early = Arc::clone(&drained);
    Case {
        wait: Box::new(move |token| {
            let count = cancelled_or(token.io(|| (&*writes).write(&[2])))?;
            assert_eq!(count, 1);
            Ok(())
        }),
        complete: Some(Box::new(move || {
            // Everything: there is room only when much has gone.
            let mut far = drains.lock().expect("no panic");
            far.set_nonblocking(true).expect("it is a socket");
            let mut bytes = Vec::new();
            let _ = far.read_to_end(&mut bytes);
            far.set_nonblocking(false).expect("it is a socket");
            early.lock().expect("no panic").append(&mut bytes);
        })),
        settle: Box::new(move |is_done| {
            drop(near);
            let mut bytes = std::mem::take(&mut *drained.lock().expect("no panic"));
            let mut far = far.lock().expect("no panic");
            far.read_to_end(&mut bytes)
                .expect("the other end is closed");
            let twos = bytes.iter().filter(|byte| **byte == 2).count();
            assert_eq!(twos, usize::from(is_done), "sent, or not");
        }),
    }
}

fn readable() -> Case {
    let (near, far) = UnixStream::pair().expect("two descriptors");
    let far = Arc::new(far);
    let writes = Arc::clone(&far);
    Case {
        wait: Box::new(move |token| {
            cancelled_or(token.wait_readable(&near))?;
            assert_eq!((&near).read(&mut [0]).expect("there is a byte"), 1);
            Ok(())
        }),
        complete: Some(Box::new(move || {
            (&*writes).write_all(&[1]).expect("the other end is open");
        })),
        settle: Box::new(move |_| drop(far)),
    }
}

fn writable() -> Case {
    let (near, far) = full_pair();
    let far = Arc::new(far);
    let drains = Arc::clone(&far);
    Case {
        wait: Box::new(move |token| {
            cancelled_or(token.wait_writable(&near))?;
            assert_eq!((&near).write(&[2]).expect("there is room"), 1);
            Ok(())
        }),
        complete: Some(Box::new(move || {
            // Everything: there is room only when much has gone.
            drains.set_nonblocking(true).expect("it is a socket");
            let _ = (&*drains).read_to_end(&mut Vec::new());
        })),
        settle: Box::new(move |_| drop(far)),
    }
}

fn accept() -> Case {
    let listener = Arc::new(TcpListener::bind("127.0.0.1:0").expect("a port is free"));
    let address = listener.local_addr().expect("it is bound");
    let accepts = Arc::clone(&listener);
    Case {
        wait: Box::new(move |token| cancelled_or(token.io(|| accepts.accept())).map(drop)),
        complete: Some(Box::new(move || {
            drop(TcpStream::connect(address).expect("it listens"));
        })),
        settle: Box::new(move |_| {
            let _peer = TcpStream::connect(address).expect("it listens");
            listener.accept().expect("a peer has connected");
        }),
    }
}

/// `poll` for `fd`, or for nothing, without a limit.
fn poll_once(fd: Option<i32>) -> std::io::Result<i32> {
    let mut one = libc::pollfd {
        fd: fd.unwrap_or(-1),
        events: libc::POLLIN,
        revents: 0,
    };
    let count = u64::from(fd.is_some());
    // SAFETY: one live structure, or none.
    let result = unsafe { libc::poll(&raw mut one, count, -1) };
    if result < 0 {
        return Err(std::io::Error::last_os_error());
    }
    Ok(result)
}

fn poll() -> Case {
    let (near, far) = UnixStream::pair().expect("two descriptors");
    let far = Arc::new(far);
    let writes = Arc::clone(&far);
    Case {
        wait: Box::new(move |token| {
            let ready = cancelled_or(token.io(|| poll_once(Some(near.as_raw_fd()))))?;
            assert_eq!(ready, 1);
            Ok(())
        }),
        complete: Some(Box::new(move || {
            (&*writes).write_all(&[1]).expect("the other end is open");
        })),
        settle: Box::new(move |_| drop(far)),
    }
}

fn poll_of_nothing() -> Case {
    Case {
        wait: Box::new(|token| cancelled_or(token.io(|| poll_once(None))).map(drop)),
        complete: None,
        settle: Box::new(nothing),
    }
}

fn child_process() -> Case {
    let mut child = Command::new("cat")
        .stdin(Stdio::piped())
        .stdout(Stdio::null())
        .spawn()
        .expect("cat is there");
    let stdin = Arc::new(StdMutex::new(child.stdin.take()));
    let ends = Arc::clone(&stdin);
    let child: Arc<StdMutex<Child>> = Arc::new(StdMutex::new(child));
    let waits = Arc::clone(&child);
    Case {
        wait: Box::new(move |token| {
            let mut child = waits.lock().expect("no panic");
            let status = cancelled_or(token.io(|| child.wait()))?;
            assert!(status.success());
            Ok(())
        }),
        complete: Some(Box::new(move || {
            drop(ends.lock().expect("no panic").take());
        })),
        settle: Box::new(move |_| {
            drop(stdin.lock().expect("no panic").take());
            let status = child.lock().expect("no panic").wait();
            assert!(status.expect("it is ours").success());
        }),
    }
}
