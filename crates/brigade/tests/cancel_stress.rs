//! Cancellations that race with what the threads wait for: each wait has one outcome, and everything is accounted for.

mod common;

use std::io::{Read, Write};
use std::os::unix::net::UnixStream;
use std::sync::Arc;
use std::time::Duration;

use brigade::cancel::{self, CancelToken, LockError, RecvError, SendError};
use brigade::runtime::{Builder, Runtime};
use brigade::sync::channel::{Receiver, Sender, bounded, unbounded};
use brigade::sync::{Condvar, Event, Mutex, Semaphore};
use common::allocation::Numbers;
use common::{Count, Watch};

const ROUNDS: usize = 10_000;
/// Races under way at the same time.
const PAIRS: usize = 8;

/// Runs `race(index, numbers)` so often, on several threads at once, with 1, 2 and 8 workers.
fn races(what: &str, race: impl Fn(usize, &mut Numbers) + Send + Sync + 'static) {
    let _watch = Watch::new(what);
    let race = Arc::new(race);
    for workers in [1, 2, 8] {
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        run(&runtime, &race);
        let ended = runtime.shutdown_timeout(Duration::from_secs(60));
        assert!(ended.is_ok(), "threads are left: {ended:?}");
    }
}

fn run(runtime: &Runtime, race: &Arc<impl Fn(usize, &mut Numbers) + Send + Sync + 'static>) {
    let threads: Vec<_> = (0..PAIRS)
        .map(|pair| {
            let race = Arc::clone(race);
            runtime.spawn(move || {
                let mut numbers = Numbers::new(pair as u64 + 1);
                for round in 0..ROUNDS / PAIRS / 3 {
                    race(round * PAIRS + pair, &mut numbers);
                }
            })
        })
        .collect();
    for thread in threads {
        thread.join().expect("no race is lost");
    }
}

/// Lets others run for a while of random length.
fn dawdle(numbers: &mut Numbers) {
    for _ in 0..numbers.below(4) {
        brigade::thread::yield_now();
    }
    for _ in 0..numbers.below(200) {
        std::hint::spin_loop();
    }
}

/// Runs `wait` on a thread of its own, and races `complete` against a cancellation.
fn race<T: Send>(
    numbers: &mut Numbers,
    wait: impl FnOnce(&CancelToken) -> T + Send,
    complete: impl FnOnce(),
) -> T {
    cancel::scope(|s| {
        let token = s.token().clone();
        let waiter = s.spawn(move || wait(&token));
        let theirs = s.token().clone();
        let mut other = Numbers::new(numbers.below(1 << 30) as u64);
        let canceller = s.spawn(move || {
            dawdle(&mut other);
            theirs.cancel();
        });
        dawdle(numbers);
        complete();
        canceller.join().expect("no panic");
        waiter.join().expect("no panic")
    })
}

/// How often the wait was cancelled and how often not, over all races of a test: both must happen.
#[derive(Default)]
struct Tally(Mutex<[usize; 2]>);

impl Tally {
    fn count(&self, is_done: bool) {
        self.0.lock().expect("no panic")[usize::from(is_done)] += 1;
    }

    #[track_caller]
    fn assert_both(&self) {
        let [cancelled, done] = *self.0.lock().expect("no panic");
        eprintln!("{cancelled} cancelled, {done} done");
        assert!(cancelled > 0 && done > 0, "the race was always won by one");
    }
}

/// A message that is counted as long as it exists.
struct Message(Arc<Count>);

impl Message {
    fn new(alive: &Arc<Count>) -> Message {
        alive.up();
        Message(Arc::clone(alive))
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.0.down();
    }
}

fn receivers(make: fn() -> (Sender<Message>, Receiver<Message>)) {
    let (tally, alive) = (Arc::new(Tally::default()), Arc::new(Count::new()));
    let (results, living) = (Arc::clone(&tally), Arc::clone(&alive));
    races("receivers that are cancelled", move |_, numbers| {
        let (sender, receiver) = make();
        let received = race(
            numbers,
            |token| match token.recv(&receiver) {
                Ok(message) => Some(message),
                Err(RecvError::Cancelled(_)) => None,
                Err(RecvError::Disconnected) => panic!("a sender is left"),
            },
            || {
                // With capacity 0 nobody may be there any more.
                let _ = sender.try_send(Message::new(&living));
            },
        );
        let left = receiver.try_recv().ok();
        assert!(received.is_none() || left.is_none(), "received twice");
        assert!(sender.capacity() == Some(0) || received.is_some() || left.is_some());
        results.count(received.is_some());
    });
    tally.assert_both();
    assert_eq!(alive.get(), 0, "messages leak");
}

#[test]
fn a_message_is_received_or_left_in_a_bounded_channel() {
    receivers(|| bounded(1));
}

#[test]
fn a_message_is_received_or_left_in_an_unbounded_channel() {
    receivers(unbounded);
}

#[test]
fn a_rendezvous_is_made_by_both_sides_or_by_none() {
    let (tally, alive) = (Arc::new(Tally::default()), Arc::new(Count::new()));
    let (results, living) = (Arc::clone(&tally), Arc::clone(&alive));
    races("rendezvous that are cancelled", move |_, numbers| {
        let (sender, receiver) = bounded(0);
        let other = CancelToken::new();
        let (sent, received) = brigade::thread::scope(|s| {
            let ours = s.spawn(|| other.recv(&receiver).ok());
            let sent = race(
                numbers,
                |token| match token.send(&sender, Message::new(&living)) {
                    Ok(()) => true,
                    Err(SendError::Cancelled(_, message)) => {
                        drop(message);
                        false
                    }
                    Err(SendError::Disconnected(_)) => panic!("a receiver is left"),
                },
                || {},
            );
            other.cancel();
            (sent, ours.join().expect("no panic"))
        });
        assert_eq!(sent, received.is_some(), "one side alone");
        results.count(sent);
    });
    tally.assert_both();
    assert_eq!(alive.get(), 0, "messages leak");
}

#[test]
fn a_message_is_sent_or_comes_back() {
    let (tally, alive) = (Arc::new(Tally::default()), Arc::new(Count::new()));
    let (results, living) = (Arc::clone(&tally), Arc::clone(&alive));
    races("senders that are cancelled", move |_, numbers| {
        let (sender, receiver) = bounded(1);
        sender
            .send(Message::new(&living))
            .expect("a receiver is left");
        let back = race(
            numbers,
            |token| match token.send(&sender, Message::new(&living)) {
                Ok(()) => None,
                Err(SendError::Cancelled(_, message)) => Some(message),
                Err(SendError::Disconnected(_)) => panic!("a receiver is left"),
            },
            || drop(receiver.recv().expect("a sender is left")),
        );
        assert_eq!(receiver.try_recv().is_err(), back.is_some());
        results.count(back.is_none());
    });
    tally.assert_both();
    assert_eq!(alive.get(), 0, "messages leak");
}

#[test]
fn a_lock_is_taken_or_free() {
    let tally = Arc::new(Tally::default());
    let results = Arc::clone(&tally);
    races("locks that are cancelled", move |_, numbers| {
        let mutex = Mutex::new(0);
        let mut guard = Some(mutex.lock().expect("no panic"));
        let is_done = race(
            numbers,
            |token| match token.lock(&mutex) {
                Ok(mut guard) => {
                    *guard += 1;
                    true
                }
                Err(LockError::Cancelled(_)) => false,
                Err(LockError::Poisoned(_)) => panic!("nobody panics with the lock"),
            },
            || drop(guard.take()),
        );
        assert_eq!(*mutex.try_lock().expect("it is free"), i32::from(is_done));
        results.count(is_done);
    });
    tally.assert_both();
}

#[test]
fn permits_are_taken_or_there() {
    let tally = Arc::new(Tally::default());
    let results = Arc::clone(&tally);
    races("permits that are cancelled", move |index, numbers| {
        let (semaphore, want) = (Semaphore::new(1), 2 + index % 3);
        let is_done = race(
            numbers,
            |token| match token.acquire_many(&semaphore, want) {
                Ok(permits) => {
                    permits.forget();
                    true
                }
                Err(_) => false,
            },
            || semaphore.add_permits(want - 1),
        );
        let left = if is_done { 0 } else { want };
        assert_eq!(semaphore.available_permits(), left);
        results.count(is_done);
    });
    tally.assert_both();
}

/// A notification that came first is not lost to the other thread that waits: one of both is woken by it.
#[test]
fn a_notification_wakes_somebody_who_is_not_cancelled() {
    let tally = Arc::new(Tally::default());
    let results = Arc::clone(&tally);
    races("notifications and cancellations", move |_, numbers| {
        let (tickets, changed) = (Mutex::new(0), Condvar::new());
        let (tickets, changed) = (&tickets, &changed);
        let take = |token: &CancelToken| {
            let guard = tickets.lock().expect("no panic");
            match token.wait_while(changed, guard, |tickets| *tickets == 0) {
                Ok(mut tickets) => {
                    *tickets -= 1;
                    true
                }
                Err(LockError::Cancelled(_)) => false,
                Err(LockError::Poisoned(_)) => panic!("nobody panics with the lock"),
            }
        };
        let is_done = brigade::thread::scope(|s| {
            let mut others = Numbers::new(numbers.below(1 << 30) as u64);
            let other = s.spawn(move || {
                // So that it is not always the first of both.
                for _ in 0..others.below(8) {
                    brigade::thread::yield_now();
                }
                take(&CancelToken::never())
            });
            let is_done = race(numbers, take, || {
                *tickets.lock().expect("no panic") += 1;
                changed.notify_one();
            });
            if is_done {
                *tickets.lock().expect("no panic") += 1;
                changed.notify_one();
            }
            // It waits for ever if the one notification was lost to a thread that was cancelled.
            assert!(other.join().expect("no panic"));
            is_done
        });
        assert_eq!(*tickets.lock().expect("no panic"), 0);
        results.count(is_done);
    });
    tally.assert_both();
}

#[test]
fn a_thread_is_joined_or_its_handle_comes_back() {
    let tally = Arc::new(Tally::default());
    let results = Arc::clone(&tally);
    races("joins that are cancelled", move |index, numbers| {
        let gate = Arc::new(Event::new());
        let theirs = Arc::clone(&gate);
        let joined = brigade::thread::spawn(move || {
            theirs.wait();
            index
        });
        let handle = race(
            numbers,
            |token| match token.join(joined) {
                Ok(result) => {
                    assert_eq!(result.expect("no panic"), index);
                    None
                }
                Err(error) => Some(error.into_handle()),
            },
            || gate.set(),
        );
        results.count(handle.is_none());
        if let Some(handle) = handle {
            assert_eq!(handle.join().expect("no panic"), index);
        }
    });
    tally.assert_both();
}

#[test]
fn a_byte_is_read_or_left_in_the_socket() {
    let tally = Arc::new(Tally::default());
    let results = Arc::clone(&tally);
    races("reads that are cancelled", move |index, numbers| {
        let (mut near, mut far) = UnixStream::pair().expect("two descriptors");
        let byte = index as u8;
        let mut place = [0];
        let is_done = race(
            numbers,
            |token| match token.io(|| near.read(&mut place)) {
                Ok(count) => {
                    assert_eq!((count, place[0]), (1, byte));
                    true
                }
                Err(error) => {
                    assert!(cancel::Cancelled::of(&error).is_some(), "{error}");
                    false
                }
            },
            || far.write_all(&[byte]).expect("the other end is open"),
        );
        drop(far);
        let mut rest = Vec::new();
        near.read_to_end(&mut rest)
            .expect("the other end is closed");
        assert_eq!(rest.len(), usize::from(!is_done));
        results.count(is_done);
    });
    tally.assert_both();
}

/// One token and a thousand threads, of which a part gets what it waits for.
#[test]
fn a_thousand_waits_end_with_one_token_and_no_message_is_lost() {
    const WAITERS: usize = 1000;
    let _watch = Watch::new("a thousand waits");
    for workers in [1, 2, 8] {
        let runtime = Builder::new().workers(workers).build().expect("a runtime");
        let (sent, received) = runtime.run(|| {
            let (sender, receiver) = unbounded();
            let received = Count::new();
            cancel::scope(|s| {
                for _ in 0..WAITERS {
                    s.spawn(|| {
                        let token = CancelToken::current().child();
                        while token.recv(&receiver).is_ok() {
                            received.up();
                        }
                    });
                }
                for message in 0..WAITERS / 2 {
                    sender.send(message).expect("a receiver is left");
                }
                s.token().cancel();
            });
            (WAITERS / 2 - receiver.len(), received.get())
        });
        assert_eq!(sent, received);
    }
}
