//! Programs with a data race, each with the error that refuses it and a twin that differs where it must.

/// One program, and its twin.
pub(super) struct Program {
    /// The arm.
    pub(super) key: &'static str,
    /// What is wrong with it, at most 26 characters.
    pub(super) what: &'static str,
    /// The number of the error.
    pub(super) code: f64,
    pub(super) text: &'static str,
    /// The same without the fault.
    pub(super) twin: &'static str,
}

pub(super) const PROGRAMS: [Program; 5] = [
    Program {
        key: "borrowed",
        what: "borrow outlives its owner",
        code: 373.0,
        text: "
pub fn start() -> std::thread::JoinHandle<usize> {
    let orders = vec![1, 2, 3];
    std::thread::spawn(|| orders.len())
}",
        twin: "
pub fn start() -> std::thread::JoinHandle<usize> {
    let orders = vec![1, 2, 3];
    std::thread::spawn(move || orders.len())
}",
    },
    Program {
        key: "rc",
        what: "Rc goes to a thread",
        code: 277.0,
        text: "
pub fn start() -> std::thread::JoinHandle<i32> {
    let shared = std::rc::Rc::new(5);
    std::thread::spawn(move || *shared)
}",
        twin: "
pub fn start() -> std::thread::JoinHandle<i32> {
    let shared = std::sync::Arc::new(5);
    std::thread::spawn(move || *shared)
}",
    },
    Program {
        key: "cell",
        what: "Cell shared by threads",
        code: 277.0,
        text: "
pub fn count() {
    let counter = std::cell::Cell::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| counter.set(1));
        scope.spawn(|| counter.set(2));
    });
}",
        twin: "
pub fn count() {
    let counter = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| *counter.lock().unwrap() = 1);
        scope.spawn(|| *counter.lock().unwrap() = 2);
    });
}",
    },
    Program {
        key: "two-writers",
        what: "two threads write a number",
        code: 499.0,
        text: "
pub fn count() -> u32 {
    let mut counter = 0;
    std::thread::scope(|scope| {
        scope.spawn(|| counter += 1);
        scope.spawn(|| counter += 1);
    });
    counter
}",
        twin: "
pub fn count() -> u32 {
    let counter = std::sync::Mutex::new(0);
    std::thread::scope(|scope| {
        scope.spawn(|| *counter.lock().unwrap() += 1);
        scope.spawn(|| *counter.lock().unwrap() += 1);
    });
    counter.into_inner().unwrap()
}",
    },
    Program {
        key: "static-mut",
        what: "static mut, no unsafe",
        code: 133.0,
        text: "
static mut COUNTER: u32 = 0;
pub fn add() {
    COUNTER += 1;
}",
        twin: "
static COUNTER: std::sync::atomic::AtomicU32 = std::sync::atomic::AtomicU32::new(0);
pub fn add() {
    COUNTER.fetch_add(1, std::sync::atomic::Ordering::Relaxed);
}",
    },
];

/// All twins in one program.
pub(super) fn twins() -> String {
    PROGRAMS
        .iter()
        .enumerate()
        .map(|(at, program)| format!("pub mod twin{at} {{{}\n}}\n", program.twin))
        .collect()
}
