//! Micro benchmarks of locks and channels: one operation, nobody else about, or one peer on the same processor.
//!
//! All of them run inside one green thread of a runtime with one processor, Brigade's kinds beside std's,
//! parking_lot's and crossbeam's, which are on that green thread too. What the lines of `brigade-bench` measure is
//! contention and many threads; here is what an operation costs by itself. `cargo bench -p brigade-bench --bench
//! sync` runs them; a word after `--` filters. Sample sizes are fixed, as in `thread`.
//!
//! What the record of a wait costs: `park_unpark` and `park_with_token` of `thread`, this commit against one from
//! before the records, in turns; a build cannot leave them out.

use std::sync::mpsc;

use brigade::thread;
use divan::{Bencher, black_box, counter::ItemsCount};

fn main() {
    let runtime = brigade::runtime::Builder::new().workers(1).build();
    runtime
        .expect("a runtime with one worker can be built")
        .run(divan::main);
}

/// A kind of mutex around a number.
trait Locks {
    type Mutex;

    fn mutex() -> Self::Mutex;
    fn add(mutex: &Self::Mutex);
}

struct Brigade;
struct Std;
struct ParkingLot;
struct Crossbeam;

impl Locks for Brigade {
    type Mutex = brigade::sync::Mutex<u64>;

    fn mutex() -> Self::Mutex {
        brigade::sync::Mutex::new(0)
    }

    fn add(mutex: &Self::Mutex) {
        *mutex.lock().expect("nobody panics") += 1;
    }
}

impl Locks for Std {
    type Mutex = std::sync::Mutex<u64>;

    fn mutex() -> Self::Mutex {
        std::sync::Mutex::new(0)
    }

    fn add(mutex: &Self::Mutex) {
        *mutex.lock().expect("nobody panics") += 1;
    }
}

impl Locks for ParkingLot {
    type Mutex = parking_lot::Mutex<u64>;

    fn mutex() -> Self::Mutex {
        parking_lot::Mutex::new(0)
    }

    fn add(mutex: &Self::Mutex) {
        *mutex.lock() += 1;
    }
}

/// Lock, add one, unlock; nobody else wants it.
#[divan::bench(types = [Brigade, Std, ParkingLot], sample_size = 10_000)]
fn lock_unlock<L: Locks>(bencher: Bencher<'_, '_>) {
    let mutex = L::mutex();
    bencher.bench_local(|| L::add(black_box(&mutex)));
}

/// The same with another lock held all the time.
#[divan::bench(types = [Brigade, Std, ParkingLot], sample_size = 10_000)]
fn lock_unlock_nested<L: Locks>(bencher: Bencher<'_, '_>) {
    let outer = brigade::sync::Mutex::new(());
    let held = outer.lock().expect("nobody panics");
    let inner = L::mutex();
    bencher.bench_local(|| L::add(black_box(&inner)));
    drop(held);
}

/// Brigade's mutex under another one, a pair seen before, while the order of locks is watched or is not.
#[divan::bench(args = [false, true], sample_size = 10_000)]
fn lock_order_watched(bencher: Bencher<'_, '_>, watched: bool) {
    let outer = brigade::sync::Mutex::new(());
    let inner = Brigade::mutex();
    brigade::diag::lock_order(watched);
    let held = outer.lock().expect("nobody panics");
    bencher.bench_local(|| Brigade::add(black_box(&inner)));
    drop(held);
    brigade::diag::lock_order(cfg!(debug_assertions));
}

/// A family of channels.
trait Channels {
    type Sender: Send + 'static;
    type Receiver: Send + 'static;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver);
    fn send(sender: &Self::Sender, value: u64);
    fn receive(receiver: &Self::Receiver) -> Option<u64>;
}

impl Channels for Brigade {
    type Sender = brigade::sync::channel::Sender<u64>;
    type Receiver = brigade::sync::channel::Receiver<u64>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        brigade::sync::channel::bounded(capacity)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect("the receiver lives");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }
}

impl Channels for Crossbeam {
    type Sender = crossbeam_channel::Sender<u64>;
    type Receiver = crossbeam_channel::Receiver<u64>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        crossbeam_channel::bounded(capacity)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect("the receiver lives");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }
}

impl Channels for Std {
    type Sender = mpsc::SyncSender<u64>;
    type Receiver = mpsc::Receiver<u64>;

    fn bounded(capacity: usize) -> (Self::Sender, Self::Receiver) {
        mpsc::sync_channel(capacity)
    }

    fn send(sender: &Self::Sender, value: u64) {
        sender.send(value).expect("the receiver lives");
    }

    fn receive(receiver: &Self::Receiver) -> Option<u64> {
        receiver.recv().ok()
    }
}

/// Send a message and receive it, in one thread.
#[divan::bench(types = [Brigade, Crossbeam, Std], sample_size = 10_000)]
fn send_receive<C: Channels>(bencher: Bencher<'_, '_>) {
    let (sender, receiver) = C::bounded(128);
    bencher.bench_local(|| {
        C::send(&sender, black_box(1));
        C::receive(&receiver)
    });
}

/// Fill a channel, then empty it, in one thread; per message.
#[divan::bench(types = [Brigade, Crossbeam, Std], sample_size = 100)]
fn fill_drain<C: Channels>(bencher: Bencher<'_, '_>) {
    const CAPACITY: u64 = 128;
    let (sender, receiver) = C::bounded(CAPACITY as usize);
    bencher.counter(ItemsCount::new(CAPACITY)).bench_local(|| {
        (0..CAPACITY).for_each(|value| C::send(&sender, value));
        (0..CAPACITY)
            .filter_map(|_| C::receive(&receiver))
            .sum::<u64>()
    });
}

/// There and back over two rendezvous channels: two hops, each of which blocks.
#[divan::bench(types = [Brigade, Crossbeam, Std], sample_size = 1000)]
fn round_trip<C: Channels>(bencher: Bencher<'_, '_>) {
    let (ping, pinged) = C::bounded(0);
    let (pong, ponged) = C::bounded(0);
    let echo = thread::spawn(move || {
        while let Some(value) = C::receive(&pinged) {
            C::send(&pong, value);
        }
    });
    bencher.bench_local(|| {
        C::send(&ping, black_box(1));
        C::receive(&ponged)
    });
    drop(ping);
    echo.join().expect("the thread does not panic");
}
