//! Programs that the public API must refuse to compile, each beside a twin that compiles.
//!
//! A good twin that differs in one word shows that the bad one fails for the reason named by its error code.
//!
//! # What goes into `spawn` must be `Send`
//!
//! ```
//! let shared = std::sync::Arc::new(1);
//! assert_eq!(brigade::thread::spawn(move || *shared).join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(1);
//! assert_eq!(brigade::thread::spawn(move || *shared).join().unwrap(), 1);
//! ```
//!
//! # What comes out of `spawn` must be `Send`
//!
//! ```
//! let handle = brigade::thread::spawn(|| std::sync::Arc::new(1));
//! assert_eq!(*handle.join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let handle = brigade::thread::spawn(|| std::rc::Rc::new(1));
//! assert_eq!(*handle.join().unwrap(), 1);
//! ```
//!
//! # `spawn` borrows nothing from its caller's frame
//!
//! ```
//! let number = 1;
//! let handle = brigade::thread::spawn(move || number);
//! assert_eq!(handle.join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0373
//! let number = 1;
//! let handle = brigade::thread::spawn(|| number);
//! assert_eq!(handle.join().unwrap(), 1);
//! ```
//!
//! # `scope` borrows, but only what outlives the scope
//!
//! ```
//! let number = 1;
//! let sum = brigade::thread::scope(|scope| scope.spawn(|| number + 1).join().unwrap());
//! assert_eq!(sum, 2);
//! ```
//!
//! ```compile_fail,E0373
//! brigade::thread::scope(|scope| {
//!     let number = 1;
//!     scope.spawn(|| number + 1);
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let number = std::rc::Rc::new(1);
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| *number + 1);
//! });
//! ```
//!
//! # A scope's handle does not leave the scope
//!
//! ```compile_fail,E0521
//! let mut kept = None;
//! brigade::thread::scope(|scope| {
//!     kept = Some(scope.spawn(|| 1));
//! });
//! ```
//!
//! # What goes through `run` must be `Send`
//!
//! ```
//! let shared = std::sync::Arc::new(1);
//! assert_eq!(brigade::run(move || *shared), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let shared = std::rc::Rc::new(1);
//! assert_eq!(brigade::run(move || *shared), 1);
//! ```
//!
//! # A guard stays on its thread
//!
//! ```
//! use brigade::sync::{Mutex, MutexGuard, RwLock};
//!
//! let (mutex, lock) = (Mutex::new((1, 2)), RwLock::new(3));
//! let (guard, reader) = (mutex.lock().unwrap(), lock.read().unwrap());
//! let part = MutexGuard::map(guard, |pair| &mut pair.1);
//! let sum = brigade::thread::scope(|scope| scope.spawn(|| *part + *reader).join().unwrap());
//! assert_eq!(sum, 5);
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(1);
//! let guard = mutex.lock().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *guard).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new((1, 2));
//! let guard = mutex.lock().unwrap();
//! let part = brigade::sync::MutexGuard::map(guard, |pair| &mut pair.1);
//! brigade::thread::scope(|scope| scope.spawn(move || *part).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(1);
//! let reader = lock.read().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *reader).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(1);
//! let writer = lock.write().unwrap();
//! brigade::thread::scope(|scope| scope.spawn(move || *writer).join().unwrap());
//! ```
//!
//! # What a lock protects does not outlive the guard
//!
//! ```
//! let mutex = brigade::sync::Mutex::new(String::new());
//! let guard = mutex.lock().unwrap();
//! let text: &str = &guard;
//! assert!(text.is_empty());
//! drop(guard);
//! ```
//!
//! ```compile_fail,E0505
//! let mutex = brigade::sync::Mutex::new(String::new());
//! let guard = mutex.lock().unwrap();
//! let text: &str = &guard;
//! drop(guard);
//! assert!(text.is_empty());
//! ```
//!
//! # A mutex lends what can be sent, a lock for readers also what can be shared
//!
//! ```
//! use brigade::sync::{Mutex, RwLock};
//!
//! let (mutex, lock) = (Mutex::new(std::cell::Cell::new(1)), RwLock::new(1));
//! let sum = brigade::thread::scope(|scope| {
//!     let thread = scope.spawn(|| mutex.lock().unwrap().get() + *lock.read().unwrap());
//!     thread.join().unwrap()
//! });
//! assert_eq!(sum, 2);
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(std::rc::Rc::new(1));
//! brigade::thread::scope(|scope| scope.spawn(|| **mutex.lock().unwrap()).join().unwrap());
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(std::cell::Cell::new(1));
//! brigade::thread::scope(|scope| scope.spawn(|| lock.read().unwrap().get()).join().unwrap());
//! ```
//!
//! # A `Select` goes to other threads, so its messages must
//!
//! ```
//! let (sender, receiver) = brigade::sync::channel::bounded(1);
//! let mut select = brigade::sync::channel::Select::new();
//! select.recv(&receiver);
//! sender.send(std::sync::Arc::new(1)).unwrap();
//! let chosen = select.try_select().unwrap();
//! assert_eq!(*chosen.recv(&receiver).unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let (sender, receiver) = brigade::sync::channel::bounded(1);
//! let mut select = brigade::sync::channel::Select::new();
//! select.recv(&receiver);
//! sender.send(std::rc::Rc::new(1)).unwrap();
//! let chosen = select.try_select().unwrap();
//! assert_eq!(*chosen.recv(&receiver).unwrap(), 1);
//! ```
//!
//! # Handles of a channel are for one type of message, lifetimes included
//!
//! ```
//! use brigade::sync::channel::Sender;
//! fn same<'a>(sender: Sender<&'static str>, _: &'a str) -> Sender<&'static str> {
//!     sender
//! }
//! ```
//!
//! ```compile_fail
//! use brigade::sync::channel::Sender;
//! fn shorter<'a>(sender: Sender<&'static str>, _: &'a str) -> Sender<&'a str> {
//!     sender
//! }
//! ```
//!
//! # A guard does not let a shorter borrow in
//!
//! ```
//! use brigade::sync::MutexGuard;
//! fn same<'g, 'a>(guard: MutexGuard<'g, &'static str>, _: &'a str) -> MutexGuard<'g, &'static str> {
//!     guard
//! }
//! ```
//!
//! ```compile_fail
//! use brigade::sync::MutexGuard;
//! fn shorter<'g, 'a>(guard: MutexGuard<'g, &'static str>, _: &'a str) -> MutexGuard<'g, &'a str> {
//!     guard
//! }
//! ```
//!
//! ```compile_fail
//! use brigade::sync::MappedMutexGuard;
//! fn shorter<'g, 'a>(
//!     guard: MappedMutexGuard<'g, &'static str>,
//!     _: &'a str,
//! ) -> MappedMutexGuard<'g, &'a str> {
//!     guard
//! }
//! ```
//!
//! ```compile_fail
//! use brigade::sync::RwLockWriteGuard;
//! fn shorter<'g, 'a>(
//!     guard: RwLockWriteGuard<'g, &'static str>,
//!     _: &'a str,
//! ) -> RwLockWriteGuard<'g, &'a str> {
//!     guard
//! }
//! ```
//!
//! # A guard stays on its thread
//!
//! ```
//! let mutex = brigade::sync::Mutex::new(1);
//! let guard = mutex.lock().unwrap();
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| assert_eq!(*guard, 1));
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(1);
//! let guard = mutex.lock().unwrap();
//! brigade::thread::scope(|scope| {
//!     scope.spawn(move || assert_eq!(*guard, 1));
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(1);
//! let guard = lock.read().unwrap();
//! brigade::thread::scope(|scope| {
//!     scope.spawn(move || assert_eq!(*guard, 1));
//! });
//! ```
//!
//! # What is shared through a lock must be fit for it
//!
//! ```
//! let mutex = brigade::sync::Mutex::new(std::cell::Cell::new(1));
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| mutex.lock().unwrap().set(2));
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let lock = brigade::sync::RwLock::new(std::cell::Cell::new(1));
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| lock.read().unwrap().set(2));
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let mutex = brigade::sync::Mutex::new(std::cell::Cell::new(1));
//! let guard = mutex.lock().unwrap();
//! brigade::thread::scope(|scope| {
//!     scope.spawn(|| guard.set(2));
//! });
//! ```
//!
//! # A channel outlives what its messages borrow no longer than they do
//!
//! ```compile_fail,E0597
//! struct Loud<'a>(&'a str);
//! impl Drop for Loud<'_> {
//!     fn drop(&mut self) {
//!         println!("{}", self.0);
//!     }
//! }
//! let (sender, _receiver) = brigade::sync::channel::unbounded();
//! let text = String::from("gone too early");
//! sender.send(Loud(&text)).unwrap();
//! ```
//!
//! # A job of a pool owns what it uses, and may go to another thread
//!
//! ```
//! let pool = brigade::pool::ThreadPool::new(1);
//! let number = 1;
//! assert_eq!(pool.submit(move || number).join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0373
//! let pool = brigade::pool::ThreadPool::new(1);
//! let number = 1;
//! assert_eq!(pool.submit(|| number).join().unwrap(), 1);
//! ```
//!
//! ```compile_fail,E0277
//! let pool = brigade::pool::ThreadPool::new(1);
//! let number = std::rc::Rc::new(1);
//! pool.execute(move || drop(number));
//! ```
//!
//! ```compile_fail,E0277
//! let pool = brigade::pool::ThreadPool::new(1);
//! let _ = pool.submit(|| std::rc::Rc::new(1));
//! ```
//!
//! # A job of a pool's scope borrows only what outlives the scope, and its handle stays inside
//!
//! ```
//! let pool = brigade::pool::ThreadPool::new(1);
//! let number = 1;
//! assert_eq!(pool.scope(|scope| scope.submit(|| number).join().unwrap()), 1);
//! ```
//!
//! ```compile_fail,E0373
//! let pool = brigade::pool::ThreadPool::new(1);
//! pool.scope(|scope| {
//!     let number = 1;
//!     scope.execute(|| drop(number.to_string()));
//! });
//! ```
//!
//! ```compile_fail,E0521
//! let pool = brigade::pool::ThreadPool::new(1);
//! let mut kept = None;
//! pool.scope(|scope| {
//!     kept = Some(scope.submit(|| 1));
//! });
//! ```
//!
//! ```compile_fail,E0499
//! let pool = brigade::pool::ThreadPool::new(1);
//! let mut number = 1;
//! pool.scope(|scope| {
//!     scope.execute(|| number += 1);
//!     scope.execute(|| number += 1);
//! });
//! ```
//!
//! ```compile_fail,E0277
//! let pool = brigade::pool::ThreadPool::new(1);
//! let calls = std::cell::Cell::new(0);
//! pool.map([1, 2], |_| calls.set(1));
//! ```
//!
//! # Of two parts, the first may go to another thread, and they share nothing by accident
//!
//! ```
//! let stays = std::rc::Rc::new(1);
//! assert_eq!(brigade::pool::join(|| 2, || *stays), (2, 1));
//! ```
//!
//! ```compile_fail,E0277
//! let stays = std::rc::Rc::new(1);
//! assert_eq!(brigade::pool::join(|| *stays, || 2), (1, 2));
//! ```
//!
//! ```compile_fail,E0277
//! brigade::pool::join(|| std::rc::Rc::new(1), || 2);
//! ```
//!
//! ```compile_fail,E0499
//! let mut number = 1;
//! brigade::pool::join(|| number += 1, || number += 1);
//! ```
//!
//! # A thread of a fork scope borrows only what outlives the scope
//!
//! ```
//! let number = 1;
//! brigade::pool::fork_scope(|scope| scope.spawn(|_| assert_eq!(number, 1)));
//! ```
//!
//! ```compile_fail,E0373
//! brigade::pool::fork_scope(|scope| {
//!     let number = 1;
//!     scope.spawn(|_| assert_eq!(number, 1));
//! });
//! ```
//!
//! ```compile_fail,E0597
//! brigade::pool::fork_scope(|scope| {
//!     let number = 1;
//!     let borrowed = &number;
//!     scope.spawn(move |_| assert_eq!(*borrowed, 1));
//! });
//! ```
//!
//! ```compile_fail,E0521
//! let mut kept = None;
//! brigade::pool::fork_scope(|scope| kept = Some(scope));
//! ```
