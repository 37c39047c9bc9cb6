//! Every message is dropped exactly once, whatever becomes of it.

mod common;

use std::panic::{AssertUnwindSafe, catch_unwind};
use std::sync::Arc;
use std::time::Duration;

use brigade::select;
use brigade::sync::channel::{Receiver, Select, Sender, bounded, unbounded};
use common::mixed::{mixed, on_workers};
use common::{Count, on_each_model};

/// Counts messages made and dropped.
#[derive(Clone, Default)]
struct Ledger(Arc<(Count, Count)>);

/// A message of some size, on the heap, so that a second drop is found by the allocator too.
struct Message {
    ledger: Ledger,
    panics: bool,
    _filling: Box<[u8]>,
}

impl Default for Count {
    fn default() -> Count {
        Count::new()
    }
}

impl Ledger {
    fn message(&self) -> Message {
        self.make(false)
    }

    fn make(&self, panics: bool) -> Message {
        self.0.0.up();
        Message {
            ledger: self.clone(),
            panics,
            _filling: vec![0; 100].into(),
        }
    }

    #[track_caller]
    fn check(&self) {
        assert_eq!(self.0.0.get(), self.0.1.get(), "made, and dropped");
    }

    fn dropped(&self) -> usize {
        self.0.1.get()
    }
}

impl Drop for Message {
    fn drop(&mut self) {
        self.ledger.0.1.up();
        assert!(!self.panics, "a message that cannot be dropped");
    }
}

type Pair = (Sender<Message>, Receiver<Message>);

/// Every kind of channel that has room for at least 40 messages.
fn with_room() -> [fn() -> Pair; 2] {
    [|| bounded(40), unbounded]
}

fn kinds() -> [fn() -> Pair; 4] {
    [|| bounded(0), || bounded(1), || bounded(5), unbounded]
}

#[test]
fn messages_that_nobody_received_are_dropped_with_the_last_receiver() {
    for make in with_room() {
        let ledger = Ledger::default();
        let (sender, receiver) = make();
        for _ in 0..40 {
            assert!(sender.send(ledger.message()).is_ok());
        }
        for _ in 0..7 {
            drop(receiver.recv());
        }
        assert_eq!(ledger.dropped(), 7);
        let other = receiver.clone();
        drop(receiver);
        assert_eq!(ledger.dropped(), 7);
        drop(other);
        assert_eq!(ledger.dropped(), 40);
        assert!(sender.send(ledger.message()).is_err());
        drop(sender);
        ledger.check();
    }
}

#[test]
fn messages_survive_the_last_sender_until_they_are_received() {
    for make in with_room() {
        let ledger = Ledger::default();
        let (sender, receiver) = make();
        for _ in 0..40 {
            assert!(sender.send(ledger.message()).is_ok());
        }
        drop(sender);
        assert_eq!(receiver.iter().count(), 40);
        drop(receiver);
        ledger.check();
    }
}

#[test]
fn an_error_gives_the_message_back() {
    for make in kinds() {
        let ledger = Ledger::default();
        let (sender, receiver) = make();
        drop(receiver);
        let back = [
            sender.send(ledger.message()).unwrap_err().into_inner(),
            sender.try_send(ledger.message()).unwrap_err().into_inner(),
            sender
                .send_timeout(ledger.message(), Duration::from_millis(1))
                .unwrap_err()
                .into_inner(),
            select! {
                send(sender, ledger.message()) -> sent => sent.unwrap_err().into_inner(),
            },
        ];
        assert_eq!(ledger.dropped(), 0);
        drop(back);
        ledger.check();
    }
}

#[test]
fn a_panic_of_one_message_does_not_keep_or_repeat_the_others() {
    for make in with_room() {
        for position in [0, 1, 20, 31, 39] {
            let ledger = Ledger::default();
            let (sender, receiver) = make();
            for n in 0..40 {
                assert!(sender.send(ledger.make(n == position)).is_ok());
            }
            assert!(catch_unwind(AssertUnwindSafe(|| drop(receiver))).is_err());
            let _ = catch_unwind(AssertUnwindSafe(|| drop(sender)));
            ledger.check();
        }
    }
}

#[test]
fn a_receiver_that_panics_takes_only_its_own_message_with_it() {
    on_each_model(|runtime| {
        for make in kinds() {
            let ledger = Ledger::default();
            let (sender, receiver) = make();
            let other = receiver.clone();
            let made = ledger.clone();
            let sends = runtime.spawn(move || {
                for _ in 0..20 {
                    assert!(sender.send(made.message()).is_ok());
                }
            });
            let panics = runtime.spawn(move || {
                let _message = receiver.recv();
                panic!("planted");
            });
            assert!(panics.join().is_err());
            assert_eq!(other.iter().count(), 19);
            sends.join().expect("no panic");
            ledger.check();
        }
    });
}

#[test]
fn a_send_of_a_select_whose_message_panics_leaves_the_channel_as_it_was() {
    on_each_model(|runtime| {
        for make in kinds() {
            let ledger = Ledger::default();
            let (sender, receiver) = make();
            let made = ledger.clone();
            let receives = runtime.spawn(move || receiver.iter().count());
            let sends = runtime.spawn(move || {
                for n in 0..50 {
                    let message = || {
                        assert!(n % 2 == 0, "planted");
                        made.message()
                    };
                    let sent = catch_unwind(AssertUnwindSafe(|| {
                        select! {
                            send(sender, message()) -> sent => assert!(sent.is_ok()),
                        }
                    }));
                    assert_eq!(sent.is_ok(), n % 2 == 0);
                }
            });
            sends.join().expect("no panic");
            assert_eq!(receives.join().expect("no panic"), 25);
            ledger.check();
        }
    });
}

#[test]
fn an_arm_that_panics_drops_what_it_received_and_no_more() {
    for make in with_room() {
        let ledger = Ledger::default();
        let (sender, receiver) = make();
        for _ in 0..10 {
            assert!(sender.send(ledger.message()).is_ok());
        }
        for round in 1..=10 {
            let received = catch_unwind(AssertUnwindSafe(|| {
                select! {
                    recv(receiver) -> _message => panic!("planted"),
                }
            }));
            assert!(received.is_err());
            assert_eq!(ledger.dropped(), round);
        }
        ledger.check();
    }
}

#[test]
fn an_operation_that_is_not_completed_panics_and_loses_nothing_but_what_it_claimed() {
    for make in with_room() {
        let ledger = Ledger::default();
        let (sender, receiver) = make();
        let sends = || {
            let mut select = Select::new();
            select.send(&sender);
            drop(select.select());
        };
        assert!(catch_unwind(AssertUnwindSafe(sends)).is_err());
        assert!(receiver.try_recv().is_err_and(|error| error.is_empty()));
        assert_eq!(receiver.len(), 0);
        assert!(sender.send(ledger.message()).is_ok());
        assert!(sender.send(ledger.message()).is_ok());
        let receives = || {
            let mut select = Select::new();
            select.recv(&receiver);
            drop(select.select());
        };
        assert!(catch_unwind(AssertUnwindSafe(receives)).is_err());
        assert_eq!(ledger.dropped(), 1);
        assert_eq!(receiver.len(), 1);
        drop((sender, receiver));
        ledger.check();
    }
}

#[test]
fn nothing_leaks_when_both_sides_leave_in_the_middle() {
    on_workers(|runtime| {
        for make in kinds() {
            for _ in 0..30 {
                let ledger = Ledger::default();
                let (sender, receiver) = make();
                let ends = Arc::new((
                    std::sync::Mutex::new(Some(sender)),
                    std::sync::Mutex::new(Some(receiver)),
                ));
                let made = ledger.clone();
                mixed(runtime, 4, 2, move |index| {
                    // The first two take the channel away from the others, which go on with clones.
                    let sender = ends.0.lock().expect("no panic").clone();
                    let receiver = ends.1.lock().expect("no panic").clone();
                    if index == 0 {
                        drop(ends.0.lock().expect("no panic").take());
                    } else if index == 1 {
                        drop(ends.1.lock().expect("no panic").take());
                    }
                    for n in 0..index * 10 {
                        if n % 2 == 0 {
                            let _ = sender.as_ref().map(|s| s.try_send(made.message()));
                        } else {
                            let _ = receiver.as_ref().map(Receiver::try_recv);
                        }
                    }
                });
                ledger.check();
            }
        }
    });
}
